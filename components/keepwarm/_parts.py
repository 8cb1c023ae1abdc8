"""The parts of a stack: how each is made, for real or as a check, and what all of them are together."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, cast

import pulumi

from keepwarm.admission import Admission, AdmissionArgs, AdmissionSpec
from keepwarm.burst_queue import BurstQueue, BurstQueueArgs, BurstQueueSpec
from keepwarm.checks.problems import Report, Where
from keepwarm.data_bucket import DataBucket, DataBucketArgs, DataBucketSpec
from keepwarm.durable_workflow import DurableWorkflow, DurableWorkflowArgs, DurableWorkflowSpec
from keepwarm.effect_ledger import EffectLedger, EffectLedgerArgs, EffectLedgerSpec
from keepwarm.errors import InvalidArgs
from keepwarm.gpu_service import GpuService
from keepwarm.iam.bindings import QueueBinding, StoreBinding, WorkflowBinding
from keepwarm.model_registry import ModelRegistry, ModelRegistryArgs, ModelRegistrySpec
from keepwarm.observability import Observability
from keepwarm.preprocessing_function import (
    PreprocessingFunction,
    PreprocessingFunctionArgs,
    PreprocessingFunctionSpec,
)
from keepwarm.private_endpoints import PrivateEndpoints, PrivateEndpointsArgs, PrivateEndpointsSpec
from keepwarm.runtime_function import RuntimeFunction, RuntimeFunctionArgs, RuntimeFunctionSpec
from keepwarm.service.spec import GpuServiceArgs, GpuServiceSpec
from keepwarm.warm_pool import WarmPool, WarmPoolArgs, WarmPoolSpec
from keepwarm.watch.spec import ObservabilityArgs, ObservabilitySpec

if TYPE_CHECKING:
    pass

SECTIONS = (
    "intake",
    "results",
    "queue",
    "models",
    "ledger",
    "service",
    "admission",
    "workflow",
    "warm_pool",
    "observability",
)
"""Parts that are one component each, by the name of their inputs."""


@dataclass(frozen=True)
class Kind:
    """A component, its inputs and its check."""

    component: type[Any]
    declared: type
    spec: type[Any]


ADMISSION = Kind(Admission, AdmissionArgs, AdmissionSpec)
BUCKET = Kind(DataBucket, DataBucketArgs, DataBucketSpec)
ENDPOINTS = Kind(PrivateEndpoints, PrivateEndpointsArgs, PrivateEndpointsSpec)
ENTRY = Kind(PreprocessingFunction, PreprocessingFunctionArgs, PreprocessingFunctionSpec)
FUNCTION = Kind(RuntimeFunction, RuntimeFunctionArgs, RuntimeFunctionSpec)
LEDGER = Kind(EffectLedger, EffectLedgerArgs, EffectLedgerSpec)
OBSERVABILITY = Kind(Observability, ObservabilityArgs, ObservabilitySpec)
QUEUE = Kind(BurstQueue, BurstQueueArgs, BurstQueueSpec)
REGISTRY = Kind(ModelRegistry, ModelRegistryArgs, ModelRegistrySpec)
SERVICE = Kind(GpuService, GpuServiceArgs, GpuServiceSpec)
WARM_POOL = Kind(WarmPool, WarmPoolArgs, WarmPoolSpec)
WORKFLOW = Kind(DurableWorkflow, DurableWorkflowArgs, DurableWorkflowSpec)


@dataclass(frozen=True)
class Wanted:
    """One part that is to be made."""

    kind: Kind
    at: str
    """Section in which the stack's author wrote its inputs."""
    name: str
    args: Mapping[str, Any]
    after: Sequence[Any] = ()
    """Parts that must stand before it."""
    written: Mapping[str, str] = field(default_factory=dict)
    """Inputs that stand in another section than `at`, and where."""


Make = Callable[[Wanted], Any]
"""Makes one part: a component, or its check."""


def build(owner: pulumi.ComponentResource) -> Make:
    """Make components below `owner`."""

    def make(part: Wanted) -> Any:
        opts = pulumi.ResourceOptions(parent=owner, depends_on=list(part.after) or None)
        return part.kind.component(part.name, part.args, opts)

    return make


def check(where: Where, report: Report) -> Make:
    """Make checks that report together."""

    def make(part: Wanted) -> Any:
        elsewhere = {key: where.inside(path).path for key, path in part.written.items()}
        here = dataclasses.replace(where.inside(part.at), written=elsewhere)
        return Planned(part.kind.spec.of(part.name, part.args, where=here, report=report), part.name, report)

    return make


class Planned:
    """Stands for a component that was checked and is not built."""

    def __init__(self, spec: Any, name: str, report: Report) -> None:
        self._spec = spec
        self._name = name
        self._report = report

    def __getattr__(self, attribute: str) -> Any:
        """A number of the spec, or a stand-in for what AWS names."""
        return getattr(self._spec, attribute, f"{self._name}-{attribute}")

    def binding(self, *which: Any, **how: Any) -> Any:
        """Binding with stand-ins for what AWS names; what can't be bound is reported and stands for nothing."""
        try:
            return self._spec.planned(self._name, *which, **how)
        except InvalidArgs as refused:
            self._report.refusals += str(refused).splitlines()
            return None

    def numbers(self) -> dict[str, Any]:
        """What of the spec is plain: numbers, choices, texts, and lists and mappings of them."""
        found = {name: _plainly(value) for name, value in _flat(self._spec).items()}
        return {name: value for name, value in found.items() if value is not None}

    @property
    def arn(self) -> str:
        """Alias of a function."""
        return cast(str, self._spec.planned_arn(self._name))

    def warm_target(self) -> Any:
        """What a WarmPool needs to know of a function."""
        return self._spec.planned(self._name)

    def permits(self) -> Any:
        """Requests that a service takes at a time."""
        return self._spec.permits()

    def tasks(self) -> Any:
        """How the tasks of a service are watched."""
        return {"cluster_name": f"{self._name}-cluster", "service_name": f"{self._name}-service"}

    def caller_network(self) -> Any:
        """How callers reach a service."""
        network: dict[str, Any] = {
            "subnet_ids": self._spec.subnet_ids or ["subnet-00000001", "subnet-00000002"],
            "security_group_ids": ["sg-00000001"],
        }
        if self._spec.network_path is not None:
            network["network_path"] = self._spec.network_path
        return network


@dataclass
class Parts:
    """What a stack is made of: components, or their checks; None is not made."""

    stores: dict[str, StoreBinding] = field(default_factory=dict)
    """Bindings of `intake` and `results`."""
    queue_binding: QueueBinding = field(default_factory=lambda: cast(QueueBinding, {}))
    workflow_binding: WorkflowBinding | None = None
    intake: DataBucket | None = None
    results: DataBucket | None = None
    queue: BurstQueue | None = None
    models: ModelRegistry | None = None
    ledger: EffectLedger | None = None
    endpoints: PrivateEndpoints | None = None
    service: GpuService | None = None
    admission: Admission | None = None
    functions: dict[str, RuntimeFunction | PreprocessingFunction] = field(default_factory=dict)
    workflow: DurableWorkflow | None = None
    warm_pool: WarmPool | None = None
    observability: Observability | None = None
    function_names: dict[str, pulumi.Input[str]] = field(default_factory=dict)

    def numbers(self) -> dict[str, Any]:
        """Every plain number and choice of the parts, defaults included, by section as the stack's inputs name them.

        For parts that are their checks.
        """
        sections: dict[str, Any] = {}
        for section in SECTIONS:
            part = getattr(self, section)
            if part is not None:
                sections[section] = part.numbers()
        functions: dict[str, Any] = dict(self.functions)
        sections["functions"] = {label: part.numbers() for label, part in functions.items()}
        if self.observability is not None:
            sections["budgets_ms"] = sections["observability"].pop("budgets_ms", {})
        return sections


def _flat(spec: Any) -> dict[str, Any]:
    """Fields of a spec; those of the specs inside it and its `numbers` stand beside its own."""
    found: dict[str, Any] = {}
    names = getattr(spec, "_fields", None) or [field_.name for field_ in dataclasses.fields(spec)]
    for name in names:
        value = getattr(spec, name)
        if dataclasses.is_dataclass(value) or hasattr(value, "_fields"):
            found |= _flat(value)
        elif name == "numbers":
            found |= value
        else:
            found[name] = value
    return found


def _plainly(value: Any) -> Any:
    """The value if it is plain through and through, else None."""
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, list | tuple):
        items = [_plainly(item) for item in value]
        return None if None in items else items
    if isinstance(value, Mapping):
        entries = {key: _plainly(item) for key, item in value.items()}
        return None if None in entries.values() else entries
    return None
