"""The whole stack as one component: intake, queue, functions, workflow, models, service, ledger, dashboards."""

from typing import Any, NotRequired, TypedDict

import pulumi

from keepwarm._assembly import FUNCTION_SWITCHES, SERVICE_SWITCHES, assemble
from keepwarm._parts import Parts, build, check
from keepwarm.admission import Admission, AdmissionArgs
from keepwarm.burst_queue import BurstQueue, BurstQueueArgs
from keepwarm.checks.inputs import Checks
from keepwarm.checks.problems import Report, Where, show
from keepwarm.data_bucket import DataBucket, DataBucketArgs
from keepwarm.durable_workflow import DurableWorkflow, StackWorkflowArgs
from keepwarm.effect_ledger import EffectLedger, EffectLedgerArgs
from keepwarm.gpu_service import GpuService, GpuServiceArgs
from keepwarm.iam.bindings import (
    AdmissionBinding,
    CallerNetwork,
    LedgerBinding,
    QueueBinding,
    ServiceBinding,
    StoreBinding,
    WorkflowBinding,
)
from keepwarm.model_registry import ModelRegistry, ModelRegistryArgs
from keepwarm.observability import Observability
from keepwarm.preprocessing_function import PreprocessingFunction
from keepwarm.private_endpoints import PrivateEndpoints, PrivateEndpointsArgs
from keepwarm.runtime_function import RuntimeFunction, RuntimeFunctionArgs
from keepwarm.warm_pool import WarmPool, WarmPoolArgs
from keepwarm.watch.spec import ObservabilityArgs


class StackFunctionArgs(RuntimeFunctionArgs):
    """A function of the stack: all inputs of a RuntimeFunction, and what it uses of the stack's other parts."""

    loads_model: NotRequired[str]
    """Model of the registry that it loads, ``name`` or ``name:channel``. Default: none, or its own `model`."""
    calls_service: NotRequired[bool]
    """Whether it calls the service, with a permit and within the service's network. Default: false."""
    guards_effects: NotRequired[bool]
    """Whether it has side effects, which then go through the ledger. Default: false."""
    paused: NotRequired[pulumi.Input[bool]]
    """Stop reading the queue without losing a message; for the entry only. Default: false."""


class StackServiceArgs(GpuServiceArgs):
    """The model service of the stack: all inputs of a GpuService, and what it uses of the stack's other parts."""

    loads_model: NotRequired[str]
    """Model of the registry that it serves, ``name`` or ``name:channel``. Default: none, or its own `model`."""
    reads_documents: NotRequired[bool]
    """Whether it may read the intake, and of the results what lies below their `expire_prefix`, or all without one.
    Default: false."""


class ExistingFunction(TypedDict):
    """A function made elsewhere."""

    arn: pulumi.Input[str]
    """ARN of its alias."""
    function_name: pulumi.Input[str]
    """Its name, for metrics."""


class ExistingService(TypedDict):
    """A model service made elsewhere."""

    binding: ServiceBinding
    """How it is found (``GpuService.binding()``)."""
    network: CallerNetwork
    """How its callers reach it (``GpuService.caller_network()``)."""
    admission: AdmissionBinding
    """The permits in front of it (``Admission.binding(pool)``)."""


class ExistingParts(TypedDict):
    """Parts made elsewhere, by this program or another; the stack uses them and makes none of its own."""

    intake: NotRequired[StoreBinding]
    """Bucket whose documents the functions read. Default: one of its own."""
    results: NotRequired[StoreBinding]
    """Bucket of the results. Default: one of its own."""
    queue: NotRequired[QueueBinding]
    """Queue that the entry reads; what feeds it is its maker's business. Default: one of its own, fed by the intake."""
    ledger: NotRequired[LedgerBinding]
    """Ledger of the side effects. Default: one of its own where a function guards effects."""
    service: NotRequired[ExistingService]
    """Model service. Default: the one of `service`."""
    workflow: NotRequired[WorkflowBinding]
    """Workflow that the entry starts. Default: one of its own when there are other functions."""
    functions: NotRequired[dict[str, ExistingFunction]]
    """Steps of the workflow made elsewhere, by name. Default: none."""


class ServerlessRuntimeArgs(TypedDict):
    """Inputs of a ServerlessRuntime: one section for each part, with all inputs of its component."""

    functions: dict[str, StackFunctionArgs]
    """Functions by name. With the default workflow these are extract, ocr (optional), enrich and publish beside the
    entry."""
    entry: str
    """Function that reads the queue."""
    intake: NotRequired[DataBucketArgs]
    """Bucket whose new objects enter. Default: a DataBucket with its defaults."""
    results: NotRequired[DataBucketArgs]
    """Bucket of the results. Default: a DataBucket with its defaults."""
    queue: NotRequired[BurstQueueArgs]
    """Queue before the entry, sized for its timeout. Default: a BurstQueue with its defaults."""
    models: NotRequired[ModelRegistryArgs]
    """Model registry. Default: none."""
    ledger: NotRequired[EffectLedgerArgs]
    """Effect ledger. Default: one with its defaults where a function guards effects, else none."""
    service: NotRequired[StackServiceArgs]
    """Model service. Default: none."""
    admission: NotRequired[AdmissionArgs]
    """Permit pools beside the service's own, which follows from the service. Default: none."""
    network: NotRequired[PrivateEndpointsArgs]
    """Private endpoints of the VPC in which the service and its callers live. Default: no endpoints; the service states
    its own `vpc_id` and `network_path`."""
    workflow: NotRequired[StackWorkflowArgs]
    """Workflow of all functions but the entry. Default: one with its defaults when there are any."""
    warm_pool: NotRequired[WarmPoolArgs]
    """Warm pool of the entry. Default: none."""
    observability: NotRequired[ObservabilityArgs]
    """Dashboard and alarms. Default: one with its defaults."""
    observe: NotRequired[bool]
    """Whether there are a dashboard and its alarms. Default: true."""
    existing: NotRequired[ExistingParts]
    """Parts made elsewhere. Default: the stack makes all of its own."""
    budgets_ms: NotRequired[dict[str, pulumi.Input[int]]]
    """Cold-start budgets by phase in ms. Default: none."""
    alarm_topic_arns: NotRequired[list[pulumi.Input[str]]]
    """SNS topics that every alarm of every part notifies. Default: the topic that the dashboard's alarms make."""
    kms_key_arn: NotRequired[pulumi.Input[str]]
    """KMS key of everything that stores (see EncryptionKey). Default: keys owned by AWS."""
    tags: NotRequired[dict[str, pulumi.Input[str]]]
    """Tags of every part. Default: none."""
    functions_network: NotRequired[CallerNetwork]
    """VPC of the functions that do not call the service; those that do live in the service's. Default: no VPC."""
    access_log_bucket: NotRequired[pulumi.Input[str]]
    """Bucket that takes the access logs of every bucket of the stack. Default: no access logs."""
    code_signing_config_arn: NotRequired[pulumi.Input[str]]
    """Code signing that every function's bundle must pass. Default: none."""
    log_retention_days: NotRequired[pulumi.Input[int]]
    """Days logs are kept. Default: 30."""
    keep_data: NotRequired[bool]
    """Whether buckets, tables and models outlive the stack. Default: true."""


class ServerlessRuntime(pulumi.ComponentResource):
    """Takes objects in, works on them in functions and writes results.

    All parts are checked together before the first of them is registered. The built parts are attributes: `intake`,
    `results`, `queue`, `models`, `ledger`, `service`, `admission`, `endpoints`, `functions`, `workflow`, `warm_pool`
    and `observability`; what the stack did not make is None.
    """

    intake_bucket: pulumi.Output[str]
    """Bucket whose new objects enter."""
    results_bucket: pulumi.Output[str]
    """Bucket of the results."""
    models_bucket: pulumi.Output[str]
    """Bucket of the models; empty without a registry."""
    queue_url: pulumi.Output[str]
    """URL of the queue, for events that are no objects."""
    dead_letter_url: pulumi.Output[str]
    """URL of the dead-letter queue."""
    workflow_arn: pulumi.Output[str]
    """ARN of the state machine; empty without a workflow."""
    entry_arn: pulumi.Output[str]
    """ARN of the entry's alias."""
    function_names: pulumi.Output[dict[str, str]]
    """Function names by their names in the stack."""
    dashboard_name: pulumi.Output[str]
    """Name of the dashboard; empty without one."""

    def __init__(
        self, name: str, args: ServerlessRuntimeArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        planned(name, args)
        read = Checks("ServerlessRuntime", name, args, ServerlessRuntimeArgs, report=Report(), deep=False)
        args = read.args
        super().__init__("keepwarm:index:ServerlessRuntime", name, {}, opts)
        parts: Parts = assemble(name, args, build(self))
        self._parts = parts
        stores = parts.stores
        nothing = pulumi.Output.from_input("")
        self.intake_bucket = pulumi.Output.from_input(stores["intake"]["bucket"])
        self.results_bucket = pulumi.Output.from_input(stores["results"]["bucket"])
        self.models_bucket = parts.models.bucket if parts.models else nothing
        self.queue_url = pulumi.Output.from_input(parts.queue_binding["url"])
        self.dead_letter_url = pulumi.Output.from_input(parts.queue_binding["parked_url"])
        self.workflow_arn = (
            pulumi.Output.from_input(parts.workflow_binding["arn"]) if parts.workflow_binding else nothing
        )
        self.entry_arn = parts.functions[args["entry"]].arn
        self.function_names = pulumi.Output.all(**parts.function_names)
        self.dashboard_name = parts.observability.dashboard_name if parts.observability else nothing
        self.register_outputs(
            {
                "intake_bucket": self.intake_bucket,
                "results_bucket": self.results_bucket,
                "models_bucket": self.models_bucket,
                "queue_url": self.queue_url,
                "dead_letter_url": self.dead_letter_url,
                "workflow_arn": self.workflow_arn,
                "entry_arn": self.entry_arn,
                "function_names": self.function_names,
                "dashboard_name": self.dashboard_name,
            }
        )

    @property
    def intake(self) -> DataBucket | None:
        """Bucket whose new objects enter."""
        return self._parts.intake

    @property
    def results(self) -> DataBucket | None:
        """Bucket of the results."""
        return self._parts.results

    @property
    def queue(self) -> BurstQueue | None:
        """Queue before the entry."""
        return self._parts.queue

    @property
    def models(self) -> ModelRegistry | None:
        """Model registry."""
        return self._parts.models

    @property
    def ledger(self) -> EffectLedger | None:
        """Effect ledger."""
        return self._parts.ledger

    @property
    def endpoints(self) -> PrivateEndpoints | None:
        """Private endpoints of the service's VPC."""
        return self._parts.endpoints

    @property
    def service(self) -> GpuService | None:
        """Model service."""
        return self._parts.service

    @property
    def admission(self) -> Admission | None:
        """Permit pools."""
        return self._parts.admission

    @property
    def functions(self) -> dict[str, RuntimeFunction | PreprocessingFunction]:
        """Functions that the stack made, by name."""
        return dict(self._parts.functions)

    @property
    def workflow(self) -> DurableWorkflow | None:
        """Workflow of all functions but the entry."""
        return self._parts.workflow

    @property
    def warm_pool(self) -> WarmPool | None:
        """Warm pool of the entry."""
        return self._parts.warm_pool

    @property
    def observability(self) -> Observability | None:
        """Dashboard and alarms."""
        return self._parts.observability


def planned(
    name: str, args: ServerlessRuntimeArgs, *, where: Where | None = None, report: Report | None = None
) -> Parts | None:
    """Check the inputs of the stack and of every part of it; nothing is registered.

    Args:
        name: Name of the stack's component.
        args: Its inputs.
        where: Where their author wrote them. Default: the component's own inputs.
        report: Takes the refusals instead of raising them.

    Returns:
        The parts that would be built, as their checks; None when the inputs are too ill formed to say.

    Raises:
        InvalidArgs: something was refused, and no report was passed in; one line for each problem of any part.
    """
    together = Report() if report is None else report
    checks = Checks(
        "ServerlessRuntime", name, args, ServerlessRuntimeArgs, where=where, report=together, deep=False
    )
    _agree(checks, checks.args)
    checks.done()
    complete = checks.args.get("entry") in checks.args.get("functions", {})
    parts = assemble(name, checks.args, check(checks.where, together)) if complete else None
    if report is None:
        together.done()
    return parts


def _agree(checks: Checks[ServerlessRuntimeArgs], args: ServerlessRuntimeArgs) -> None:
    """Refuse what contradicts itself between parts, in the stack's own words."""
    functions = args.get("functions", {})
    existing = args.get("existing", {})
    entry = args.get("entry")
    if entry is not None and entry not in functions:
        checks.add(
            code="KW102",
            key="entry",
            got=repr(entry),
            allowed=f"one of {', '.join(functions) or 'the functions'}",
            because="the queue needs a function that reads it",
            fix="name an existing function",
        )
    serves = "service" in args or "service" in existing
    _check_switches(checks, args)
    for label, given in functions.items():
        if given.get("calls_service") and not serves:
            checks.add(
                code="KW102",
                key=f"functions.{label}.calls_service",
                got="true without a service",
                allowed="a service",
                because="there is nothing to call",
                fix="add service, or set calls_service to false",
            )
        if "paused" in given and label != entry:
            checks.add(
                code="KW102",
                key=f"functions.{label}.paused",
                got="a function that reads no queue",
                allowed=f"the entry, {entry}",
                because="only the entry reads the queue",
                fix="remove it",
            )
    loaders = {f"functions.{label}": given.get("loads_model") for label, given in functions.items()}
    loaders["service"] = args["service"].get("loads_model") if "service" in args else None
    for at, model in loaders.items():
        if model is not None and "models" not in args:
            checks.add(
                code="KW102",
                key=f"{at}.loads_model",
                got=repr(model),
                allowed="a model of the registry",
                because="the stack has no registry",
                fix="add models, or bind a registry of yours with model",
            )
    for part in sorted(set(args) & set(existing) - {"functions"}):
        checks.add(
            code="KW102",
            key=part,
            got=f"inputs and existing.{part}",
            allowed="one of them",
            because="a part is made here or elsewhere",
            fix=f"remove {part} or existing.{part}",
        )
    if "workflow" in args and len(functions) < 2 and not existing.get("functions"):
        checks.add(
            code="KW102",
            key="workflow",
            got="a workflow beside one function",
            allowed="no workflow",
            because="it would have no step",
            fix="add functions, or remove workflow",
        )


def _check_switches(checks: Checks[ServerlessRuntimeArgs], args: ServerlessRuntimeArgs) -> None:
    """Check the inputs that bind one part to another: no part checks them for itself."""
    sections: dict[str, Any] = {
        f"functions.{label}": given for label, given in args.get("functions", {}).items()
    }
    if "service" in args:
        sections["service"] = args["service"]
    for at, given in sections.items():
        for switch in sorted(given.keys() & (FUNCTION_SWITCHES | SERVICE_SWITCHES)):
            form, allowed = (str, "text") if switch == "loads_model" else (bool, "true or false")
            if not isinstance(given[switch], form):
                checks.add(
                    code="KW101",
                    key=f"{at}.{switch}",
                    got=show(given[switch]),
                    allowed=allowed,
                    because="it decides what is created and must be known before the deployment",
                    fix="pass a plain value",
                )
