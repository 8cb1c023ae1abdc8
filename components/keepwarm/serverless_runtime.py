"""The whole stack from plain arguments: intake, queue, stages, workflow, models, GPU service, ledger, dashboards."""

from typing import Any, NotRequired, TypedDict

import pulumi

from keepwarm.admission import Admission
from keepwarm.burst_queue import BurstQueue
from keepwarm.checks.function import Architecture
from keepwarm.checks.inputs import Checks
from keepwarm.checks.service import Capacity
from keepwarm.data_bucket import DataBucket
from keepwarm.durable_workflow import DurableWorkflow
from keepwarm.effect_ledger import EffectLedger
from keepwarm.gpu_service import GpuService
from keepwarm.iam.bindings import NetworkPath
from keepwarm.iam.grants import Statement
from keepwarm.model_registry import ModelRegistry, SeedModel
from keepwarm.observability import Observability
from keepwarm.preprocessing_function import PreprocessingFunction
from keepwarm.runtime_function import RuntimeFunction
from keepwarm.warm_pool import WarmPool, WarmSchedule

TIMEOUT_S = 60
DEADLINE_S = 3600
MAX_CONCURRENCY = 10
BATCH_SIZE = 10
POOL = "service"
STAGE_INPUTS = (
    "code",
    "image",
    "handler",
    "runtime",
    "architecture",
    "memory_mb",
    "timeout_s",
    "ephemeral_mb",
    "environment",
    "grants",
    "layer_archives",
    "unzipped_bytes",
    "reserved_concurrency",
    "snap_start",
)
SERVICE_INPUTS = (
    "image",
    "gpus",
    "capacity",
    "instance_types",
    "cpu_units",
    "memory_mb",
    "min_tasks",
    "max_tasks",
    "concurrency_per_task",
    "warm_instances",
    "duty_cycle",
    "vpc_id",
    "subnet_ids",
    "network_path",
)


class StageArgs(TypedDict):
    """One function of the stack."""

    code: NotRequired[pulumi.Archive]
    """The function's bundle. Exactly one of `code` and `image` is needed."""
    image: NotRequired[pulumi.Input[str]]
    """Container image in ECR, pinned by digest. Exactly one of `code` and `image` is needed."""
    handler: NotRequired[pulumi.Input[str]]
    """Entry point of a bundle. Default: handler.handler."""
    runtime: NotRequired[pulumi.Input[str]]
    """Lambda runtime. Default: python3.12."""
    architecture: NotRequired[Architecture]
    """Instruction set. Default: x86_64."""
    memory_mb: NotRequired[pulumi.Input[int]]
    """Memory in MB. Default: 1024."""
    timeout_s: NotRequired[pulumi.Input[int]]
    """Longest run in seconds. Default: 60."""
    ephemeral_mb: NotRequired[pulumi.Input[int]]
    """Size of /tmp in MB. Default: 512."""
    environment: NotRequired[dict[str, pulumi.Input[str]]]
    """Variables beside those of the bindings, no secrets. Default: none."""
    grants: NotRequired[list[Statement]]
    """What it may do beside its bindings. Default: nothing."""
    layer_archives: NotRequired[dict[str, pulumi.Archive]]
    """Layers published with it. Default: none."""
    unzipped_bytes: NotRequired[int]
    """Unzipped size of code and layers. Default: not checked."""
    reserved_concurrency: NotRequired[pulumi.Input[int]]
    """Concurrency kept for it. Default: none reserved."""
    snap_start: NotRequired[bool]
    """Snapshot its versions. Default: false."""
    model: NotRequired[str]
    """Name of the seeded model it loads. Default: none."""
    calls_service: NotRequired[bool]
    """Whether it calls the GPU service, with a permit. Default: false."""
    side_effects: NotRequired[bool]
    """Whether it has side effects, which then go through the ledger. Default: false."""


class ServiceArgs(TypedDict):
    """The GPU service of the stack."""

    image: pulumi.Input[str]
    """Container image pinned by digest; ``file:///...`` on the embedded cloud."""
    model: NotRequired[str]
    """Name of the seeded model it serves. Default: none."""
    gpus: NotRequired[int]
    """GPUs of one task; 0 runs on CPUs. Default: 1."""
    capacity: NotRequired[Capacity]
    """What the tasks run on. Default: asg."""
    instance_types: NotRequired[list[str]]
    """Instance types tasks may run on. Default: g6.xlarge."""
    cpu_units: NotRequired[pulumi.Input[int]]
    """CPU of one task. Default: its share of the smallest instance."""
    memory_mb: NotRequired[pulumi.Input[int]]
    """Memory of one task in MB. Default: its share of the smallest instance."""
    min_tasks: NotRequired[int]
    """Tasks kept running. Default: 0."""
    max_tasks: NotRequired[int]
    """Most tasks. Default: 1."""
    concurrency_per_task: NotRequired[int]
    """Requests one task serves at a time. Default: 1."""
    warm_instances: NotRequired[int]
    """Stopped instances kept initialised. Default: no warm pool."""
    duty_cycle: NotRequired[float]
    """Expected share of time in which there is work. Default: no tag."""
    vpc_id: NotRequired[pulumi.Input[str]]
    """VPC of the service. Default: the account's default VPC."""
    subnet_ids: NotRequired[list[pulumi.Input[str]]]
    """Subnets of the service. Default: those of the default VPC."""
    network_path: NotRequired[NetworkPath]
    """How AWS services are reached from the VPC. Default: not stated, which is warned about."""


class WarmArgs(TypedDict):
    """The warm pool of the entry stage."""

    environments: NotRequired[pulumi.Input[int]]
    """Environments kept initialised. Default: 1."""
    max_environments: NotRequired[pulumi.Input[int]]
    """Environments target tracking may grow to. Default: no target tracking."""
    schedules: NotRequired[list[WarmSchedule]]
    """Sizes by time of day. Default: none."""


class ServerlessRuntimeArgs(TypedDict):
    """Inputs of a ServerlessRuntime; a part that is left out does not exist."""

    stages: dict[str, StageArgs]
    """Functions by name. With the default workflow these are extract, ocr (optional), enrich and publish."""
    entry: str
    """Stage that reads the queue."""
    models: NotRequired[list[SeedModel]]
    """Models published with the stack. Default: no registry."""
    service: NotRequired[ServiceArgs]
    """GPU service. Default: none, and no Admission."""
    warm: NotRequired[WarmArgs]
    """Warm pool of the entry stage. Default: none."""
    workflow: NotRequired[bool]
    """Whether the other stages form a workflow that the entry starts. Default: true when there are any."""
    workflow_template: NotRequired[str]
    """Template of the workflow. Default: the document workflow."""
    ledger: NotRequired[bool]
    """Whether there is an effect ledger. Default: true when a stage has side effects."""
    observe: NotRequired[bool]
    """Whether there are a dashboard and alarms. Default: true."""
    deadline_s: NotRequired[pulumi.Input[int]]
    """Deadline of an event and of its workflow, in seconds. Default: 3600."""
    max_concurrency: NotRequired[pulumi.Input[int]]
    """Most concurrent invocations of the entry. Default: 10."""
    batch_size: NotRequired[pulumi.Input[int]]
    """Most messages per invocation of the entry. Default: 10."""
    budgets_ms: NotRequired[dict[str, pulumi.Input[int]]]
    """Cold-start budgets by phase in ms. Default: none."""
    log_retention_days: NotRequired[pulumi.Input[int]]
    """Days logs are kept. Default: 30."""
    kms_key_arn: NotRequired[pulumi.Input[str]]
    """KMS key of everything that stores. Default: keys owned by AWS."""
    keep_data: NotRequired[bool]
    """Whether buckets and records outlive the stack. Default: true."""


class ServerlessRuntime(pulumi.ComponentResource):
    """Takes objects in, works on them in stages and writes results; every part but the entry can be left out."""

    intake_bucket: pulumi.Output[str]
    """Bucket whose new objects enter."""
    results_bucket: pulumi.Output[str]
    """Bucket of the results."""
    models_bucket: pulumi.Output[str]
    """Bucket of the models; empty without models."""
    queue_url: pulumi.Output[str]
    """URL of the queue, for events that are no objects."""
    dead_letter_url: pulumi.Output[str]
    """URL of the dead-letter queue."""
    workflow_arn: pulumi.Output[str]
    """ARN of the state machine; empty without a workflow."""
    entry_arn: pulumi.Output[str]
    """ARN of the entry stage's alias."""
    functions: pulumi.Output[dict[str, str]]
    """Function names by stage."""
    dashboard_name: pulumi.Output[str]
    """Name of the dashboard; empty without one."""

    def __init__(
        self, name: str, args: ServerlessRuntimeArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        checks = Checks("ServerlessRuntime", name, args, ServerlessRuntimeArgs)
        args = checks.args
        parts = _checked(checks, args)
        checks.done()
        super().__init__("keepwarm:index:ServerlessRuntime", name, {}, opts)
        self._name, self._args = name, args
        self._child = pulumi.ResourceOptions(parent=self)
        self._keep = args.get("keep_data", True)
        self._shared = {"kms_key_arn": args["kms_key_arn"]} if "kms_key_arn" in args else {}
        entry = args["stages"][args["entry"]]

        self._intake = DataBucket(f"{name}-intake", self._with({"keep_data": self._keep}), self._child)
        self._results = DataBucket(f"{name}-results", self._with({"keep_data": self._keep}), self._child)
        self._queue = BurstQueue(
            f"{name}-burst",
            self._with(
                {
                    "consumer_timeout_s": entry.get("timeout_s", TIMEOUT_S),
                    "batch_size": args.get("batch_size", BATCH_SIZE),
                    "max_concurrency": args.get("max_concurrency", MAX_CONCURRENCY),
                    "max_event_age_s": args.get("deadline_s", DEADLINE_S),
                    "intake": [{"bucket": self._intake.bucket, "bucket_arn": self._intake.arn}],
                }
            ),
            self._child,
        )
        self._registry = self._models() if parts["models"] else None
        self._ledger = self._effects() if parts["ledger"] else None
        self._service = self._serve() if parts["service"] else None
        self._admission = self._admit() if self._service else None

        others = {stage: self._stage(stage) for stage in args["stages"] if stage != args["entry"]}
        workflow = self._workflow(others) if parts["workflow"] else None
        first = self._enter(workflow)
        if "warm" in args:
            warm: Any = {"target": first.warm_target(), **args["warm"]}
            WarmPool(f"{name}-warm", warm, self._child)
        everything: dict[str, pulumi.Output[str]] = {
            args["entry"]: first.function_name,
            **{stage: function.function_name for stage, function in others.items()},
        }
        dashboard = self._observe(everything, workflow) if parts["observe"] else None

        nothing = pulumi.Output.from_input("")
        self.intake_bucket = self._intake.bucket
        self.results_bucket = self._results.bucket
        self.models_bucket = self._registry.bucket if self._registry else nothing
        self.queue_url = self._queue.url
        self.dead_letter_url = self._queue.parked_url
        self.workflow_arn = workflow.arn if workflow else nothing
        self.entry_arn = first.arn
        self.functions = pulumi.Output.all(**everything)
        self.dashboard_name = dashboard.dashboard_name if dashboard else nothing
        self.register_outputs(
            {
                "intake_bucket": self.intake_bucket,
                "results_bucket": self.results_bucket,
                "models_bucket": self.models_bucket,
                "queue_url": self.queue_url,
                "dead_letter_url": self.dead_letter_url,
                "workflow_arn": self.workflow_arn,
                "entry_arn": self.entry_arn,
                "functions": self.functions,
                "dashboard_name": self.dashboard_name,
            }
        )

    def _with(self, inputs: dict[str, Any]) -> Any:
        """Inputs of a part with what all parts share."""
        return {**inputs, **self._shared}

    def _models(self) -> ModelRegistry:
        return ModelRegistry(
            f"{self._name}-models",
            self._with({"models": self._args["models"], "keep_data": self._keep}),
            self._child,
        )

    def _effects(self) -> EffectLedger:
        return EffectLedger(
            f"{self._name}-effects",
            self._with({"redelivery_s": self._queue.retention_s, "keep_data": self._keep}),
            self._child,
        )

    def _serve(self) -> GpuService:
        given = self._args["service"]
        inputs: Any = {key: given[key] for key in SERVICE_INPUTS if key in given}  # type: ignore[literal-required]
        inputs |= self._shared
        if "model" in given and self._registry is not None:
            inputs["model"] = self._registry.binding(given["model"])
        if "log_retention_days" in self._args:
            inputs["log_retention_days"] = self._args["log_retention_days"]
        return GpuService(f"{self._name}-service", inputs, self._child)

    def _admit(self) -> Admission:
        assert self._service is not None
        return Admission(
            f"{self._name}-admission", self._with({"pools": {POOL: self._service.permits()}}), self._child
        )

    def _function(self, stage: str) -> Any:
        """Inputs every stage shares, and what its own switches bind it to."""
        given = self._args["stages"][stage]
        inputs: Any = {key: given[key] for key in STAGE_INPUTS if key in given}  # type: ignore[literal-required]
        inputs |= {"results": self._results.binding(), "sources": [self._intake.binding()], **self._shared}
        if "log_retention_days" in self._args:
            inputs["log_retention_days"] = self._args["log_retention_days"]
        if "model" in given and self._registry is not None:
            inputs["model"] = self._registry.binding(given["model"])
        if given.get("side_effects") and self._ledger is not None:
            inputs["ledger"] = self._ledger.binding()
        if given.get("calls_service") and self._service is not None and self._admission is not None:
            inputs |= {
                "service": self._service.binding(),
                "admission": self._admission.binding(POOL),
                **self._service.caller_network(),
            }
        return inputs

    def _stage(self, stage: str) -> RuntimeFunction:
        return RuntimeFunction(f"{self._name}-{stage}", self._function(stage), self._child)

    def _enter(self, workflow: DurableWorkflow | None) -> PreprocessingFunction:
        inputs = self._function(self._args["entry"])
        inputs |= {"queue": self._queue.binding(), "dead_letters": self._queue.binding()}
        if workflow is not None:
            inputs["workflow"] = workflow.binding()
        return PreprocessingFunction(f"{self._name}-{self._args['entry']}", inputs, self._child)

    def _workflow(self, stages: dict[str, RuntimeFunction]) -> DurableWorkflow:
        inputs: Any = {
            "functions": {stage: function.arn for stage, function in stages.items()},
            "dead_letters": self._queue.binding(),
            "deadline_s": self._args.get("deadline_s", DEADLINE_S),
            **self._shared,
        }
        if self._service is not None:
            inputs["service"] = self._service.binding()
        for key, given in (("template", "workflow_template"), ("log_retention_days", "log_retention_days")):
            if given in self._args:
                inputs[key] = self._args[given]  # type: ignore[literal-required]
        return DurableWorkflow(f"{self._name}-workflow", inputs, self._child)

    def _observe(
        self, functions: dict[str, pulumi.Output[str]], workflow: DurableWorkflow | None
    ) -> Observability:
        inputs: Any = {
            "functions": functions,
            "queues": {"burst": self._queue.queue_name},
            "parked_queues": {"burst": self._queue.parked_name},
            "budgets_ms": self._args.get("budgets_ms", {}),
        }
        if self._service is not None:
            inputs["services"] = {POOL: self._service.discovery_name}
        if workflow is not None:
            inputs["workflow_arn"] = workflow.arn
        return Observability(f"{self._name}-observe", inputs, self._child)


def _checked(checks: Checks[Any], args: ServerlessRuntimeArgs) -> dict[str, bool]:
    """Which parts exist; contradictions between them are refused in the stack's own words."""
    stages = args.get("stages", {})
    entry = args.get("entry")
    if entry is not None and entry not in stages:
        checks.add(
            code="KW102",
            key="entry",
            got=repr(entry),
            allowed=f"one of {', '.join(stages) or 'the stages'}",
            because="the queue needs a stage that reads it",
            fix="name an existing stage",
        )
    names = [seed.get("name") for seed in args.get("models", [])]
    wanted = {f"stages.{stage}.model": given.get("model") for stage, given in stages.items()}
    wanted["service.model"] = args["service"].get("model") if "service" in args else None
    for at, model in wanted.items():
        if model is not None and model not in names:
            checks.add(
                code="KW102",
                key=at,
                got=repr(model),
                allowed=f"one of {', '.join(str(n) for n in names) or 'no models'}",
                because="the stack publishes no other model",
                fix="add it to models, or bind it yourself with a ModelRegistry",
            )
    for stage, given in stages.items():
        if given.get("calls_service") and "service" not in args:
            checks.add(
                code="KW102",
                key=f"stages.{stage}.calls_service",
                got="true without a service",
                allowed="a service",
                because="there is nothing to call",
                fix="add service, or set calls_service to false",
            )
    effects = [stage for stage, given in stages.items() if given.get("side_effects")]
    ledger = checks.flag("ledger", bool(effects))
    if effects and not ledger:
        checks.add(
            code="KW102",
            key="ledger",
            got=f"false with side effects in {', '.join(effects)}",
            allowed="true",
            because="events are delivered more than once, and so would be the effects",
            fix="set ledger to true, or side_effects to false where a retry is harmless",
        )
    others = [stage for stage in stages if stage != entry]
    workflow = checks.flag("workflow", bool(others))
    if workflow and not others:
        checks.add(
            code="KW102",
            key="workflow",
            got="true with one stage",
            allowed="false",
            because="it would have no step",
            fix="add stages",
        )
    return {
        "models": bool(args.get("models")),
        "service": "service" in args,
        "ledger": ledger,
        "workflow": workflow,
        "observe": checks.flag("observe", True),
    }
