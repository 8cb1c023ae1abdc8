"""Workloads that `fit` judges: the six of the source document's table, and those of a YAML file."""

from dataclasses import dataclass, fields
from enum import StrEnum
from math import isfinite
from pathlib import Path

from keepwarm import limits
from keepwarm_planner import yaml_file
from keepwarm_planner.cost import Architecture, FunctionSize
from keepwarm_planner.errors import PlannerError


class SideEffects(StrEnum):
    """What a repeated attempt would repeat."""

    NONE = "none"
    IDEMPOTENT = "idempotent"
    IRREVERSIBLE = "irreversible"


class State(StrEnum):
    """What must live from one request to the next."""

    NONE = "none"
    KV = "kv"
    """In the process: key-value caches of a conversation."""
    DURABLE = "durable"
    """Progress that must survive the process."""


class Gpu(StrEnum):
    """Need of an accelerator."""

    NONE = "none"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class FitWorkload:
    """A workload as the seven questions describe it. Sizes in MB (10**6 bytes), times in seconds."""

    name: str
    requests_per_s: float = 1.0
    """Mean over a day."""
    peak_factor: float = 3.0
    """Busiest minutes over the mean."""
    service_s: float = 0.2
    """Mean time of one request on the chosen hardware."""
    concurrency_per_task: int = 1
    """Requests that a resident unit works on at once (batching); functions take one each."""
    task_s: float = 1.0
    """Longest single run without a checkpoint."""
    artifact_mb: float = 60.0
    model_mb: float = 20.0
    memory_mb: int = limits.LAMBDA_MB_PER_VCPU
    architecture: Architecture = Architecture.X86_64
    """Of the functions; arm64 costs a fifth less."""
    ephemeral_mb: int = 512
    container_image: bool = False
    efs: bool = False
    """The function mounts an EFS file system, where its model then lies."""
    cold_budget_s: float = 6.0
    """Start-up that the 99th percentile of requests may contain."""
    latency_target_s: float = 30.0
    """Latency within which an answer is worth having."""
    asynchronous: bool = False
    streaming: bool = False
    """Tokens go out as they come: a stall shows."""
    state: State = State.NONE
    side_effects: SideEffects = SideEffects.NONE
    gpu: Gpu = Gpu.NONE
    gpu_memory_gib: float = 0.0
    bounded_backend: bool = False
    """A request needs a service that can't grow with it."""
    kubernetes: bool = False
    """A cluster with Knative is there."""
    instance_type: str = "g5.xlarge"

    def __post_init__(self) -> None:
        who = f"workload {self.name!r}"
        for name in ("requests_per_s", "service_s", "task_s", "cold_budget_s", "latency_target_s"):
            value = getattr(self, name)
            if not (isfinite(value) and value > 0.0):
                raise PlannerError("KW513", f"{who} {name}", value, "a finite number above 0")
        for name in ("artifact_mb", "model_mb", "memory_mb", "ephemeral_mb", "gpu_memory_gib"):
            value = getattr(self, name)
            if not (isfinite(value) and value >= 0.0):
                raise PlannerError("KW513", f"{who} {name}", value, "a finite number, 0 or more")
        if not (isfinite(self.peak_factor) and self.peak_factor >= 1.0):
            raise PlannerError("KW513", f"{who} peak_factor", self.peak_factor, "1 or more")
        if self.concurrency_per_task < 1:
            raise PlannerError("KW513", f"{who} concurrency_per_task", self.concurrency_per_task, "1 or more")

    @property
    def priced_by(self) -> FunctionSize:
        """What a second of its function is priced by."""
        return FunctionSize(self.memory_mb, self.architecture, self.ephemeral_mb)


PRESETS: dict[str, FitWorkload] = {
    w.name: w
    for w in (
        FitWorkload(
            "small-event-classifier",
            requests_per_s=0.5,
            service_s=0.05,
            artifact_mb=60,
            model_mb=3,
            asynchronous=True,
        ),
        FitWorkload(
            "large-llm-endpoint",
            requests_per_s=4.0,
            service_s=6.0,
            concurrency_per_task=16,
            task_s=60.0,
            artifact_mb=6000,
            model_mb=16_000,
            memory_mb=10_240,
            container_image=True,
            cold_budget_s=2.0,
            streaming=True,
            state=State.KV,
            gpu=Gpu.REQUIRED,
            gpu_memory_gib=20,
            instance_type="g5.xlarge",
        ),
        FitWorkload(
            "document-enrichment",
            requests_per_s=0.2,
            peak_factor=20.0,
            service_s=2.0,
            task_s=60.0,
            artifact_mb=180,
            model_mb=16,
            ephemeral_mb=1024,
            latency_target_s=900.0,
            asynchronous=True,
            side_effects=SideEffects.IDEMPOTENT,
            bounded_backend=True,
        ),
        FitWorkload(
            "long-running-agent",
            requests_per_s=0.01,
            service_s=20.0,
            task_s=7200.0,
            artifact_mb=120,
            model_mb=0,
            latency_target_s=86_400.0,
            asynchronous=True,
            state=State.DURABLE,
            side_effects=SideEffects.IRREVERSIBLE,
            bounded_backend=True,
        ),
        FitWorkload(
            "periodic-evaluation",
            requests_per_s=1 / 3600,
            peak_factor=1.0,
            service_s=300.0,
            task_s=300.0,
            artifact_mb=200,
            model_mb=100,
            memory_mb=4096,
            ephemeral_mb=2048,
            cold_budget_s=60.0,
            latency_target_s=3600.0,
            asynchronous=True,
        ),
        FitWorkload(
            "hybrid-routing-gateway",
            requests_per_s=20.0,
            service_s=0.15,
            artifact_mb=30,
            model_mb=0,
            memory_mb=512,
            cold_budget_s=1.5,
            latency_target_s=10.0,
            bounded_backend=True,
        ),
    )
}
"""The six rows of the source document's serverless-fit table."""


def load_workloads(path: Path) -> list[FitWorkload]:
    """Workloads of a YAML file: a list, or `workloads:` with one. Raises KW513 with a suggestion for a wrong key."""
    document = yaml_file.read(path)
    if isinstance(document, dict) and set(document) == {"workloads"}:
        document = document["workloads"]
    if not isinstance(document, list) or not document:
        raise PlannerError("KW513", str(path), type(document).__name__, "a list of workloads")
    return [workload_from(item, f"{path} workload {i + 1}") for i, item in enumerate(document)]


def workload_from(item: object, who: str) -> FitWorkload:
    """A workload of plain values. Raises KW513."""
    if not isinstance(item, dict) or "name" not in item:
        raise PlannerError("KW513", who, repr(item)[:40], "a mapping with a name")
    known = {f.name: f for f in fields(FitWorkload)}
    kinds: dict[str, type[StrEnum]] = {
        "state": State,
        "side_effects": SideEffects,
        "gpu": Gpu,
        "architecture": Architecture,
    }
    values: dict[str, object] = {}
    for key, value in item.items():
        if key not in known:
            from difflib import get_close_matches

            near = get_close_matches(str(key), known, n=1)
            fix = f"did you mean {near[0]!r}?" if near else "remove it"
            raise PlannerError("KW513", who, f"key {key!r}", ", ".join(known), fix=fix)
        if key in kinds:
            try:
                values[key] = kinds[key](str(value))
            except ValueError:
                raise PlannerError("KW513", f"{who} {key}", repr(value), ", ".join(kinds[key])) from None
            continue
        default = known[key].default
        wanted = (
            bool if isinstance(default, bool) else str if isinstance(default, str) or key == "name" else float
        )
        if wanted is bool and not isinstance(value, bool):
            raise PlannerError("KW513", f"{who} {key}", repr(value), "true or false")
        if wanted is float and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise PlannerError("KW513", f"{who} {key}", repr(value), "a number")
        values[key] = int(value) if isinstance(default, int) and wanted is float else value
    return FitWorkload(**values)  # type: ignore[arg-type]
