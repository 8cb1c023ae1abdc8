"""The stack as a wiring diagram: one component per paragraph, from intake to result.

`main` is what `pulumi up` and the embedded cloud run. Settings are read and checked before anything is created; bundles
are built (or found built) before that is asked of a cloud.
"""

import json
from collections.abc import Mapping
from typing import Any, cast

import pulumi
from pulumi.runtime.config import CONFIG, get_config_env

from infra import bundles
from infra.settings import NAMESPACE, FunctionSettings, Settings
from infra.settings import Capacity as CapacitySetting
from keepwarm import (
    Admission,
    BurstQueue,
    Capacity,
    CostRates,
    DataBucket,
    DurableWorkflow,
    DurableWorkflowArgs,
    EffectLedger,
    GpuService,
    GpuServiceArgs,
    ModelRegistry,
    NetworkPath,
    Observability,
    ObservabilityArgs,
    PreprocessingFunction,
    PreprocessingFunctionArgs,
    PrivateEndpoints,
    PrivateEndpointsArgs,
    RuntimeFunction,
    RuntimeFunctionArgs,
    SeedModel,
    WarmPool,
    grants,
)
from keepwarm_build import BundleError
from keepwarm_planner import cost
from keepwarm_runtime.models import manifest as manifests

POOL = "reader"
"""Permit pool of the GPU service."""


class BuildFailed(pulumi.RunError):
    """A bundle can't be built; the line says which and why. Shown without a traceback."""


def main() -> None:
    """Read the settings of the current stack and declare everything."""
    settings = settings_of({**get_config_env(), **CONFIG.get()}, pulumi.get_stack())
    deploy(settings, build(settings))


def settings_of(config: Mapping[str, str], stack: str) -> Settings:
    """Settings of a stack from its raw configuration, as `main` reads them.

    Raises:
        InvalidSettings: with every problem found.
    """
    return Settings.load(_namespace(config), stack)


def build(settings: Settings) -> bundles.Build:
    """Build the bundles of a stack, or find them built.

    Raises:
        BuildFailed: a bundle can't be built.
    """
    host = settings.service.capacity is CapacitySetting.LOCAL
    try:
        return bundles.build_all(
            architecture=settings.runtime.architecture_name(),
            python_version=settings.runtime.python_version(),
            target="host" if host else "lambda",
        )
    except BundleError as error:
        raise BuildFailed(str(error)) from None


def deploy(settings: Settings, built: bundles.Build) -> None:
    """Declare the stack."""
    keep = settings.models.keep
    days = settings.observability.log_retention_days

    intake = DataBucket("intake", {"expire_days": 30, "keep_data": keep})

    results = DataBucket("results", {"expire_days": 30, "expire_prefix": "work/", "keep_data": keep})

    registry = ModelRegistry(
        "models", {"models": [_seed(m, settings) for m in built.models.values()], "keep_data": keep}
    )

    queue = BurstQueue(
        "burst",
        {
            "consumer_timeout_s": settings.functions.classify.timeout_s,
            "batch_size": settings.queue.batch_size,
            "batch_window_s": settings.queue.batch_window_s,
            "max_concurrency": settings.queue.max_concurrency,
            "max_receive_count": settings.queue.max_receive_count,
            "max_event_age_s": settings.queue.max_event_age_s,
            "intake": [{"bucket": intake.bucket, "bucket_arn": intake.arn}],
        },
    )

    ledger = EffectLedger("effects", {"keep_data": keep})

    reader = None
    if settings.service.enabled:
        # Tasks and the functions that call them have no way to the internet, so AWS comes to them.
        endpoints = PrivateEndpoints("private", _network(settings))

        reader = GpuService(
            "reader",
            _placed(
                settings,
                {
                    "image": settings.service.image or built.image.uri,
                    "model": registry.binding("rapidocr", channel=settings.models.reader_channel),
                    "gpus": settings.service.gpus,
                    "capacity": _CAPACITY[settings.service.capacity],
                    "instance_types": list(settings.service.instance_types),
                    "min_tasks": settings.service.min_tasks,
                    "max_tasks": settings.service.max_tasks,
                    "concurrency_per_task": settings.service.concurrency_per_task,
                    "max_batch": settings.service.max_batch,
                    "grants": [grants.read_objects(intake.arn), grants.read_objects(results.arn, "work/")],
                    "network_path": NetworkPath.ENDPOINTS,
                    "termination_protection": keep,
                    "log_retention_days": days,
                },
            ),
            pulumi.ResourceOptions(depends_on=[endpoints]),
        )

    admission = Admission("admission", {"pools": {POOL: reader.permits()}}) if reader else None

    extract = RuntimeFunction(
        "extract",
        {
            **_function("extract", settings, built),
            "sources": [intake.binding()],
            "results": results.binding(),
        },
    )

    ocr = None
    if reader and admission:
        ocr = RuntimeFunction(
            "ocr",
            {
                **_function("ocr", settings, built),
                **reader.caller_network(),
                "service": reader.binding(),
                "admission": admission.binding(POOL),
                "sources": [intake.binding()],
                "results": results.binding(),
            },
        )

    enrich = RuntimeFunction("enrich", {**_function("enrich", settings, built), "results": results.binding()})

    publish = RuntimeFunction(
        "publish",
        {**_function("publish", settings, built), "results": results.binding(), "ledger": ledger.binding()},
    )

    steps = {"extract": extract, "ocr": ocr, "enrich": enrich, "publish": publish}
    flow: DurableWorkflowArgs = {
        "functions": {label: step.arn for label, step in steps.items() if step is not None},
        "dead_letters": queue.binding(),
        "deadline_s": settings.workflow.deadline_s,
        "log_retention_days": days,
    }
    if reader:
        flow["service"] = reader.binding()
    workflow = DurableWorkflow("documents", flow)

    classify = PreprocessingFunction(
        "classify",
        {
            **cast("PreprocessingFunctionArgs", _function("classify", settings, built)),
            "queue": queue.binding(),
            "model": registry.binding("magika", channel=settings.models.classifier_channel),
            "workflow": workflow.binding(),
            "sources": [intake.binding()],
            "dead_letters": queue.binding(),
        },
    )

    if settings.warm_pool.enabled:
        WarmPool(
            "warm",
            {
                "target": classify.warm_target(),
                "environments": settings.warm_pool.environments,
                "max_environments": settings.warm_pool.max_environments,
                "target_utilization": settings.warm_pool.target_utilization,
                "schedules": [
                    {
                        "schedule_expression": s.schedule_expression,
                        "environments": s.environments,
                        "max_environments": s.max_environments,
                        "timezone": s.timezone,
                    }
                    for s in settings.warm_pool.schedules
                ],
            },
        )

    functions: dict[str, RuntimeFunction | PreprocessingFunction] = {"classify": classify}
    functions |= {label: step for label, step in steps.items() if step is not None}
    if settings.observability.enabled:
        watched: ObservabilityArgs = {
            "functions": {label: f.function_name for label, f in functions.items()},
            "queues": {"burst": queue.queue_name},
            "parked_queues": {"burst": queue.parked_name},
            "services": {"reader": reader.discovery_name} if reader else {},
            "tasks": {"reader": reader.tasks()} if reader else {},
            "workflow_arn": workflow.arn,
            "budgets_ms": {k.removesuffix("_ms"): v for k, v in settings.budget},
            "alarm_topic_arns": [t for t in [settings.observability.alarm_topic_arn] if t],
        }
        if costs := _costs(settings, list(functions)):
            watched["costs"] = costs
        Observability("observe", watched)

    pulumi.export("intake_bucket", intake.bucket)
    pulumi.export("results_bucket", results.bucket)
    pulumi.export("models_bucket", registry.bucket)
    pulumi.export("queue_url", queue.url)
    pulumi.export("dead_letter_url", queue.parked_url)
    pulumi.export("workflow_arn", workflow.arn)
    pulumi.export("classify_arn", classify.arn)
    pulumi.export("functions", {label: f.function_name for label, f in functions.items()})
    pulumi.export("memory_mb", {label: getattr(settings.functions, label).memory_mb for label in functions})


_CAPACITY = {
    CapacitySetting.ASG: Capacity.ASG,
    CapacitySetting.MANAGED: Capacity.MANAGED,
    # The embedded cloud has no instance below a task; a task that asks for no GPU runs as on Fargate.
    CapacitySetting.LOCAL: Capacity.FARGATE,
}


def _function(label: str, settings: Settings, built: bundles.Build) -> RuntimeFunctionArgs:
    """Arguments every function shares: its bundle, its size, its runtime."""
    chosen: FunctionSettings = getattr(settings.functions, label)
    bundle = built.functions[label]
    # mypy's strict mode wants every optional key named where a dict is unpacked.
    args: RuntimeFunctionArgs = {
        **bundle.as_args(),  # type: ignore[typeddict-item]
        "memory_mb": chosen.memory_mb,
        "timeout_s": chosen.timeout_s,
        "ephemeral_mb": chosen.ephemeral_mb,
        "log_retention_days": settings.observability.log_retention_days,
    }
    if chosen.reserved_concurrency is not None:
        args["reserved_concurrency"] = chosen.reserved_concurrency
    return args


def _costs(settings: Settings, labels: list[str]) -> CostRates | None:
    """Prices of the dashboard's cost graph; none where the price file does not know the region."""
    rates = cost.dashboard_rates(pulumi.Config("aws").get("region"), settings.runtime.architecture_name())
    if rates is None:
        return None
    return {
        **rates,
        "memory_mb": {label: getattr(settings.functions, label).memory_mb for label in labels},
    }


def _seed(model: bundles.Model, settings: Settings) -> SeedModel:
    """A built model as the registry publishes it, on the channel of the settings."""
    channels = {"magika": settings.models.classifier_channel, "rapidocr": settings.models.reader_channel}
    channel = channels[model.name]
    manifest = manifests.parse(model.manifest.encode(), expected_digest=model.digest)
    return {
        "name": model.name,
        "version": model.version,
        "channel": channel,
        "manifest": model.manifest,
        "pointer": manifests.pointer(manifest, channel).decode(),
        "files": {path: pulumi.FileAsset(str(file)) for path, file in model.files.items()},
    }


def _placed(settings: Settings, args: GpuServiceArgs) -> GpuServiceArgs:
    """The service's arguments with what only some settings have: a network, instances kept started."""
    network = _network(settings)
    if "vpc_id" in network:
        args |= {"vpc_id": network["vpc_id"], "subnet_ids": list(settings.network.subnet_ids)}
    if settings.service.capacity is CapacitySetting.ASG and settings.service.warm_instances:
        args["warm_instances"] = settings.service.warm_instances
    return args


def _network(settings: Settings) -> PrivateEndpointsArgs:
    """Network of the GPU service; empty takes the account's default VPC."""
    if settings.network.vpc_id is None:
        return {}
    return {"vpc_id": settings.network.vpc_id, "subnet_ids": list(settings.network.subnet_ids)}


def _namespace(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of our namespace without their prefix."""
    prefix = f"{NAMESPACE}:"
    found = {k.removeprefix(prefix): v for k, v in config.items() if k.startswith(prefix)}
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in found.items()}
