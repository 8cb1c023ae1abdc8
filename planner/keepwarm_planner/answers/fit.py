"""Does serverless fit? A verdict per workload, a candidate by candidate table, and what would change both.

The verdicts are those of the source document's table (`PRESETS` has its six rows). They follow from rules over
numbers: duty cycle, cold-start budget, model residency, artifact size, deadline, side effects, task length, burst. A
candidate platform is excluded only by a limit that AWS states (`keepwarm.limits`) or by arithmetic shown beside it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from functools import lru_cache
from math import ceil, exp, isfinite, log10, sqrt
from pathlib import Path
from typing import Any

from keepwarm import limits
from keepwarm_planner import cost
from keepwarm_planner.answers.budget import RESTORE, ColdPath, phase_laws
from keepwarm_planner.answers.explain import Figure
from keepwarm_planner.cost import MONTH_S, Architecture, FunctionSize, FunctionUse
from keepwarm_planner.errors import PlannerError
from keepwarm_planner.kernel import PYTHON
from keepwarm_planner.prices import Prices
from keepwarm_planner.traffic.law import Law
from keepwarm_runtime.phases import PHASES

IDLE_TIMEOUT_S = 600.0
"""Assumed idle expiry of on-demand environments: AWS publishes none; five to fifteen minutes are reported."""

TASK_IDLE_S = 900.0
"""Seconds without demand after which a scale-to-zero service lets its last task go (the stack's default)."""

INSTANCE_START_S = 150.0
"""Assumed: EC2 launch, ECS registration and container start of a GPU instance, model load apart."""

MANAGED_START_S = 180.0
"""Assumed for "several minutes" that AWS states for scaling Lambda managed instances with GPU from zero."""

POD_START_S = 8.0
"""Assumed: Knative activation with the image on the node."""

UTILIZATION = 0.7
"""Busy share that resident capacity is sized for at the peak."""

LARGE_MODEL_MB = 10_240.0
"""Weights beyond this do not enter any function: the limit of memory and of /tmp alike."""

GPU_MEMORY_GIB = (3, 6, 12, 16, 24, 48)
"""Accelerator sizes of Lambda managed instances
(https://docs.aws.amazon.com/lambda/latest/dg/lambda-managed-instances-gpu-scaling.html)."""

SELDOM = 0.01
"""Share of cold requests up to which the 99th percentile does not see them."""


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


class Verdict(StrEnum):
    """The words of the source's table."""

    STRONG = "Strong"
    MODERATE_STRONG = "Moderate-strong"
    MODERATE = "Moderate"
    WEAK = "Weak unless specialized service"
    WORKFLOW = "Workflow plus functions"


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
    memory_mb: int = 1769
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


@dataclass(frozen=True, slots=True)
class Candidate:
    """A platform for the workload."""

    name: str
    excluded: list[str]
    """Limits that forbid it; empty when it can be done."""
    misses: list[str]
    """What it does not meet."""
    cold_p99_s: float | None
    """Start-up of a cold request at its 99th percentile; 0 where nobody waits for one."""
    cold_share: float
    """Requests that meet it."""
    cost_month: float | None
    remark: str
    formula: str = ""
    """How the cost is formed."""
    inputs: Mapping[str, object] = field(default_factory=dict)

    @property
    def fits(self) -> bool:
        """Possible, and meets what was asked."""
        return not self.excluded and not self.misses

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "name": self.name,
            "fits": self.fits,
            "excluded": self.excluded,
            "misses": self.misses,
            "cold_p99_s": self.cold_p99_s,
            "cold_share": self.cold_share,
            "cost_month": self.cost_month,
            "cost_formula": self.formula,
            "remark": self.remark,
        }


@dataclass(frozen=True, slots=True)
class FitReport:
    """The verdict with what decided it."""

    workload: FitWorkload
    verdict: Verdict
    reasons: list[str]
    recommended: Candidate | None
    candidates: list[Candidate]
    would_change: list[str]
    figures: list[Figure]

    @property
    def price_names(self) -> list[str]:
        """Prices that the candidates' costs are made of."""
        return [
            *cost.function_price_names(self.workload.architecture),
            "snapstart_cache_gb_s",
            "snapstart_restore_gb",
            "sfn_transition",
            "managed_instances_fee",
            "fargate_vcpu_hour",
            "fargate_gb_hour",
            self.workload.instance_type,
        ]

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "workload": self.workload.name,
            "verdict": self.verdict.value,
            "reasons": self.reasons,
            "recommended": self.recommended.name if self.recommended else None,
            "candidates": [c.as_dict() for c in self.candidates],
            "would_change": self.would_change,
            "figures": [f.as_dict() for f in self.figures],
        }


def _cold_path(w: FitWorkload) -> ColdPath:
    memory = min(max(w.memory_mb, limits.LAMBDA_MEMORY_MIN_MB), limits.LAMBDA_MEMORY_MAX_MB)
    return ColdPath(
        artifact_mb=w.artifact_mb,
        container_image=w.container_image,
        model_mb=w.model_mb,
        memory_mb=memory,
        bandwidth_mb_s=80.0,
    )


def _p99(laws: Mapping[str, Law], names: tuple[str, ...]) -> float:
    """99th percentile of a sum of independent phases: mean + 2.6 standard deviations (skewed sums lie between the
    normal's 2.33 and a single lognormal's)."""
    mean = variance = 0.0
    for name in names:
        law = laws[name]
        mean += law.mean
        if law.table:
            square = sum(x * x for x in law.table) / len(law.table)
            variance += max(square - law.mean**2, 0.0)
    return mean + 2.6 * sqrt(variance)


ON_DEMAND = (
    "requests x (service s + cold share x cold p99 / 2) x GB x price + requests x price + /tmp above 512 MB x service "
    "s x price"
)

SCALED_COST = (
    f"up share x running x instance price x 730 h; up share = 1 - exp(-requests/s x {TASK_IDLE_S:g} s); running = mean "
    f"load / (concurrency per task x {UTILIZATION:g}), at least 1 and at most the units of the peak"
)

DENSE = 5.0
"""Requests per second beyond which the cold share is estimated: a run would take longer than its figure is worth."""


@lru_cache(maxsize=512)
def _cold_share(rate: float, service_s: float) -> float:
    """Cold share of on-demand environments.

    exp(-rate x idle timeout) where services are short against the gaps, else a short run of the plain model after its
    warm-up; for dense traffic root(load) / (rate x idle timeout), which lay one to four times above simulated points.
    """
    if rate * service_s < 0.02:
        return exp(-rate * IDLE_TIMEOUT_S)
    if rate > DENSE or service_s > IDLE_TIMEOUT_S / 4:
        return min(sqrt(max(rate * service_s, 1.0)) / (rate * IDLE_TIMEOUT_S), 1.0)
    warm = 2.0 * IDLE_TIMEOUT_S
    horizon = warm + min(2000.0 / rate, 400.0 * IDLE_TIMEOUT_S)
    rows = PYTHON.plain(rate, service_s, IDLE_TIMEOUT_S, 0, 2**62, "fit", [warm, horizon])
    arrivals = rows[1][0] - rows[0][0]
    return (rows[1][1] - rows[0][1]) / arrivals if arrivals else 1.0


def _needed(w: FitWorkload) -> int:
    """Resident units at the peak."""
    return max(
        1, ceil(w.requests_per_s * w.peak_factor * w.service_s / (w.concurrency_per_task * UTILIZATION))
    )


def duty_cycle(w: FitWorkload) -> float:
    """Busy share of the resident capacity that the peak asks for."""
    return min(w.requests_per_s * w.service_s / (w.concurrency_per_task * _needed(w)), 1.0)


def _room_mb(w: FitWorkload) -> int:
    """Of /tmp; a model on a mounted file system takes none."""
    return w.ephemeral_mb if w.efs else max(w.ephemeral_mb, ceil(w.model_mb))


def _function_limits(w: FitWorkload) -> list[str]:
    out = []
    if w.task_s > limits.LAMBDA_TIMEOUT_MAX_S:
        out.append(f"runs {w.task_s:g} s, a function at most {limits.LAMBDA_TIMEOUT_MAX_S} s")
    if w.memory_mb > limits.LAMBDA_MEMORY_MAX_MB:
        out.append(f"needs {w.memory_mb} MB memory, a function has at most {limits.LAMBDA_MEMORY_MAX_MB}")
    room = _room_mb(w)
    if room > limits.LAMBDA_EPHEMERAL_MAX_MB:
        out.append(f"needs {room} MB of /tmp, a function has at most {limits.LAMBDA_EPHEMERAL_MAX_MB}")
    most = (limits.LAMBDA_IMAGE_MAX_BYTES if w.container_image else limits.LAMBDA_UNZIPPED_MAX_BYTES) / 1e6
    if w.artifact_mb > most:
        kind = "image" if w.container_image else "unzipped package"
        out.append(f"{kind} of {w.artifact_mb:g} MB, allowed {most:.0f}")
    if w.gpu is Gpu.REQUIRED:
        out.append("needs a GPU, functions have none")
    return out


def _month(w: FitWorkload) -> float:
    return w.requests_per_s * MONTH_S


def _cold_misses(w: FitWorkload, cold_p99: float, share: float) -> list[str]:
    if share > SELDOM and cold_p99 > w.cold_budget_s:
        return [f"{share:.1%} of requests start cold and take {cold_p99:.1f} s, budget {w.cold_budget_s:g} s"]
    return []


def _residency_misses(w: FitWorkload) -> list[str]:
    out = []
    if w.state is State.KV:
        out.append("keeps state in the process from request to request")
    if w.state is State.DURABLE:
        out.append("needs progress that survives the process")
    return out


def _candidates(w: FitWorkload, prices: Prices) -> list[Candidate]:
    month = _month(w)
    laws, _ = phase_laws(_cold_path(w))
    cold = _p99(laws, PHASES)
    share = _cold_share(w.requests_per_s, w.service_s)
    common = _function_limits(w)
    residency = _residency_misses(w)
    worked_s = month * (w.service_s + share * cold / 2)
    on_demand = cost.total(
        cost.function(prices, w.priced_by, FunctionUse(on_demand_s=worked_s, requests=month))
    )
    basis = {
        "requests_month": month,
        "gb": w.priced_by.memory_gb,
        "service_s": w.service_s,
        "cold_share": share,
    }
    out = [
        Candidate(
            "lambda-on-demand",
            common,
            residency + _cold_misses(w, cold, share),
            cold,
            share,
            on_demand,
            "scales to zero; every new environment starts cold",
            ON_DEMAND,
            basis,
        )
    ]
    out.append(_provisioned(w, prices, common, residency, cold))
    out.append(_snapstart(w, prices, common, residency, laws, share))
    out += _gpu_candidates(w, prices, laws)
    out.append(_fargate(w, prices))
    out.append(_knative(w, laws, share))
    steps = ceil(w.task_s / (limits.LAMBDA_TIMEOUT_MAX_S * 0.8))
    transitions = cost.item("transitions", month * (6 + 2 * steps), "transitions", prices)
    workflow_limits = [x for x in common if not x.startswith("runs")]
    workflow_misses = ["keeps state in the process from request to request"] if w.state is State.KV else []
    if not w.asynchronous:
        workflow_misses.append("the caller waits for the answer; a workflow answers later")
    out.append(
        Candidate(
            "workflow-plus-functions",
            workflow_limits,
            workflow_misses + ([] if w.asynchronous else _cold_misses(w, cold, share)),
            cold,
            share,
            on_demand + transitions.usd,
            f"checkpointed steps ({steps} per task at 80 % of 15 minutes); retries and compensation live outside",
            f"as lambda-on-demand + requests x (6 + 2 x {steps} steps) transitions x price per transition",
            {"transitions_month": transitions.amount},
        )
    )
    return out


def _provisioned(
    w: FitWorkload,
    prices: Prices,
    common: list[str],
    residency: list[str],
    cold: float,
) -> Candidate:
    from keepwarm_runtime.scaling import warm_target_for

    month = _month(w)
    size = warm_target_for(w.requests_per_s * w.peak_factor, w.service_s, 0.01)
    excluded = list(common)
    if size > limits.LAMBDA_ACCOUNT_CONCURRENCY:
        excluded.append(f"needs {size} environments, the account has {limits.LAMBDA_ACCOUNT_CONCURRENCY}")
    use = FunctionUse(provisioned_s=size * MONTH_S, provisioned_busy_s=month * w.service_s, requests=month)
    misses = list(residency)
    return Candidate(
        "lambda-provisioned",
        excluded,
        misses,
        cold,
        0.01,
        cost.total(cost.function(prices, w.priced_by, use)),
        f"{size} environments warm, 1 % spill-over at the peak",
        "environments x GB x 730 h x 3600 s x provisioned price + requests x service s x GB x price there + requests x "
        "price + /tmp above 512 MB; environments: Erlang B of 1 % at the peak",
        {
            "environments": size,
            "gb": w.priced_by.memory_gb,
            "requests_month": month,
            "service_s": w.service_s,
        },
    )


def _snapstart(
    w: FitWorkload,
    prices: Prices,
    common: list[str],
    residency: list[str],
    laws: Mapping[str, Law],
    share: float,
) -> Candidate:
    month = _month(w)
    excluded = list(common)
    room = _room_mb(w)
    if w.efs:
        excluded.append("SnapStart does not go with EFS")
    if room > limits.SNAPSTART_EPHEMERAL_MAX_MB:
        excluded.append(f"SnapStart allows {limits.SNAPSTART_EPHEMERAL_MAX_MB} MB of /tmp, needed {room}")
    if w.container_image and "container images" in limits.SNAPSTART_EXCLUDES:
        excluded.append("SnapStart does not take container images")
    left = ("scheduling", "sandbox", "image_pull")
    cold = _p99({**laws, "load": RESTORE}, (*left, "load"))
    usd: float | None = None
    if prices.snapstart_cache_gb_s is not None and prices.snapstart_restore_gb is not None:
        worked = FunctionUse(on_demand_s=month * w.service_s, requests=month)
        usd = cost.total(
            [
                *cost.function(prices, w.priced_by, worked),
                *cost.snapstart(prices, w.priced_by, restores=month * share),
            ]
        )
    return Candidate(
        "lambda-snapstart",
        excluded,
        residency + _cold_misses(w, cold, share),
        cold,
        share,
        usd,
        "no provisioned concurrency, EFS or $LATEST; restore hooks must reseed and reconnect",
        "requests x service s x GB x price + requests x price + GB x 730 h x 3600 s x cache price + requests x cold "
        "share x GB x restore price",
        {
            "requests_month": month,
            "gb": w.priced_by.memory_gb,
            "service_s": w.service_s,
            "cold_share": share,
        },
    )


def _gpu_fit(w: FitWorkload) -> list[str]:
    if w.gpu_memory_gib <= 0:
        return []
    instance = limits.GPU_INSTANCES.get(w.instance_type)
    if instance is None:
        return [f"{w.instance_type} is not a GPU instance type that is known here"]
    have = instance.gpus * instance.gpu_memory_mib / 1024
    if w.gpu_memory_gib > have:
        return [f"needs {w.gpu_memory_gib:g} GiB of GPU memory, {w.instance_type} has {have:.0f}"]
    return []


def _gpu_candidates(w: FitWorkload, prices: Prices, laws: Mapping[str, Law]) -> list[Candidate]:
    model = _p99(laws, ("imports", "fetch", "verify", "compile", "load", "allocate", "warmup"))
    units = _needed(w)
    hour = prices.instance_hour(w.instance_type)
    fits_gpu = _gpu_fit(w) if w.gpu is Gpu.REQUIRED else []
    idle = [] if w.gpu is Gpu.REQUIRED else ["has no use for a GPU"]
    durable = ["needs progress that survives the process"] if w.state is State.DURABLE else []
    up = 1.0 - exp(-w.requests_per_s * TASK_IDLE_S)
    wake = INSTANCE_START_S + model
    asleep = exp(-w.requests_per_s * TASK_IDLE_S)
    managed_excluded = []
    size = next((g for g in GPU_MEMORY_GIB if g >= w.gpu_memory_gib), None)
    if w.gpu is Gpu.REQUIRED and size is None:
        managed_excluded.append(
            f"needs {w.gpu_memory_gib:g} GiB of GPU memory, managed instances offer {GPU_MEMORY_GIB[-1]}"
        )
    if w.gpu is Gpu.REQUIRED and not w.container_image:
        managed_excluded.append("GPU on managed instances takes container images only")
    if w.artifact_mb > limits.LAMBDA_IMAGE_MAX_BYTES / 1e6:
        managed_excluded.append(f"image of {w.artifact_mb:g} MB, allowed 10 GiB")
    longest = limits.LAMBDA_MANAGED_INSTANCES_TIMEOUT_MAX_S if w.asynchronous else limits.LAMBDA_TIMEOUT_MAX_S
    if w.task_s > longest:
        managed_excluded.append(f"runs {w.task_s:g} s, managed instances at most {longest} s")
    state = ["keeps state in the process from request to request"] if w.state is State.KV else []
    managed_wake = MANAGED_START_S + model
    zero_misses = []
    patience = w.latency_target_s if w.asynchronous else w.cold_budget_s
    if wake > patience and asleep > 0.001:
        zero_misses.append(
            f"waking takes {wake:.0f} s and {asleep:.1%} of requests meet a sleeping service;"
            f" {'latency target' if w.asynchronous else 'budget'} {patience:g} s"
        )
    managed_misses = []
    if managed_wake > patience and asleep > 0.001:
        managed_misses.append(f"scaling from zero takes minutes ({managed_wake:.0f} s assumed)")
    always = cost.service(prices, w.instance_type, units * MONTH_S).usd
    resident = {"units": units, "instance_hour": hour}
    # a service that scales has the peak's units at the peak only: on average what the mean load needs, one while up
    running = min(
        max(w.requests_per_s * w.service_s / (w.concurrency_per_task * UTILIZATION), 1.0), float(units)
    )
    up_s = up * running * MONTH_S
    elastic = {"up_share": up, "running": running, "instance_hour": hour}
    return [
        Candidate(
            "lambda-managed-gpu",
            managed_excluded,
            idle + durable + state + managed_misses,
            managed_wake,
            asleep,
            cost.managed_instances(prices, w.instance_type, up_s)
            + cost.item("requests", _month(w), "requests", prices).usd,
            f"EC2 price plus {prices.managed_instances_fee:.0%}; a request may fail while no GPU can be had",
            f"{SCALED_COST} x (1 + fee) + requests x price",
            {**elastic, "fee": prices.managed_instances_fee},
        ),
        Candidate(
            "ecs-gpu-always-on",
            fits_gpu,
            idle + durable,
            0.0,
            0.0,
            always,
            f"{units} x {w.instance_type}; Fargate has no GPU, so EC2 capacity",
            "units x instance price x 730 h; units as under duty_cycle",
            resident,
        ),
        Candidate(
            "ecs-gpu-scale-to-zero",
            fits_gpu,
            idle + durable + state + zero_misses,
            wake,
            asleep,
            cost.service(prices, w.instance_type, up_s).usd,
            f"up {up:.0%} of the time: until {TASK_IDLE_S:g} s pass without a request",
            SCALED_COST,
            elastic,
        ),
    ]


def _fargate(w: FitWorkload, prices: Prices) -> Candidate:
    excluded = ["needs a GPU, Fargate has none"] if w.gpu is Gpu.REQUIRED else []
    vcpu = max(w.memory_mb / limits.LAMBDA_MB_PER_VCPU, 0.25)
    units = _needed(w)
    usd = cost.total(cost.fargate(prices, vcpu, w.memory_mb, units * MONTH_S))
    misses = ["needs progress that survives the process"] if w.state is State.DURABLE else []
    return Candidate(
        "ecs-fargate-always-on",
        excluded,
        misses,
        0.0,
        0.0,
        usd,
        f"{units} resident tasks of {vcpu:.1f} vCPU, at x86 prices",
        "units x 730 h x (vCPU x price + GB x price)",
        {"units": units, "vcpu": vcpu, "gb": w.memory_mb / 1024},
    )


def _knative(w: FitWorkload, laws: Mapping[str, Law], share: float) -> Candidate:
    excluded = [] if w.kubernetes else ["no cluster with Knative was named (kubernetes: true)"]
    cold = POD_START_S + _p99(laws, ("imports", "fetch", "verify", "compile", "load", "allocate", "warmup"))
    return Candidate(
        "knative",
        excluded,
        _residency_misses(w) + _cold_misses(w, cold, share),
        cold,
        share,
        None,
        "the activator buffers while a pod starts; the cluster's own cost is not in here",
    )


def _verdict(w: FitWorkload, candidates: list[Candidate]) -> tuple[Verdict, list[str]]:
    by = {c.name: c for c in candidates}
    on_demand = by["lambda-on-demand"]
    durable = _durable_reasons(w)
    if durable:
        return Verdict.WORKFLOW, durable
    resident = _resident_reasons(w)
    if resident:
        return Verdict.WEAK, resident
    if on_demand.excluded:
        return Verdict.MODERATE, list(on_demand.excluded)
    if w.bounded_backend and not w.asynchronous:
        return Verdict.MODERATE, [
            "routing is elastic, the backend it calls is not: admission and deadlines decide"
        ]
    if not w.asynchronous and on_demand.misses:
        reasons = list(on_demand.misses)
        if by["lambda-provisioned"].fits or by["lambda-snapstart"].fits:
            reasons.append("a warm pool or a snapshot meets the budget")
        return Verdict.MODERATE, reasons
    reasons = []
    if w.bounded_backend or w.side_effects is not SideEffects.NONE:
        if w.asynchronous:
            reasons.append("asynchronous: a queue absorbs bursts and cold starts")
        if w.bounded_backend:
            reasons.append("its backend is bounded: fan-out needs permits")
        if w.side_effects is not SideEffects.NONE:
            reasons.append("effects must be keyed: events are delivered more than once")
        return Verdict.MODERATE_STRONG, reasons
    reasons.append(
        f"{w.service_s:g} s of work, {w.artifact_mb + w.model_mb:.0f} MB of artifact and model, busy"
        f" {duty_cycle(w):.1%} of a resident unit"
    )
    return Verdict.STRONG, reasons


def _durable_reasons(w: FitWorkload) -> list[str]:
    """Why only a workflow will do."""
    if w.state is not State.DURABLE and w.task_s <= limits.LAMBDA_TIMEOUT_MAX_S:
        return []
    reasons = []
    if w.task_s > limits.LAMBDA_TIMEOUT_MAX_S:
        reasons.append(f"a task of {w.task_s:g} s outlives a function ({limits.LAMBDA_TIMEOUT_MAX_S} s)")
    if w.state is State.DURABLE:
        reasons.append("durable state: checkpoints and retries belong to a workflow")
    if w.side_effects is SideEffects.IRREVERSIBLE:
        reasons.append("irreversible effects need a ledger: functions are retried")
    return reasons


def _resident_reasons(w: FitWorkload) -> list[str]:
    """Why the model has to stay loaded."""
    reasons = []
    if w.model_mb > LARGE_MODEL_MB:
        reasons.append(f"weights of {w.model_mb / 1000:.0f} GB do not enter a function (10 GB)")
    if w.state is State.KV:
        reasons.append("KV state binds requests to a resident process")
    if w.gpu is Gpu.REQUIRED and duty_cycle(w) > 0.3:
        reasons.append(f"a GPU busy {duty_cycle(w):.0%} of the time is sustained load")
    if w.gpu is Gpu.REQUIRED and w.streaming:
        reasons.append("tight streaming from a GPU: a cold start is a stall in the stream")
    return reasons


def _recommend(w: FitWorkload, verdict: Verdict, candidates: list[Candidate]) -> Candidate | None:
    fitting = [c for c in candidates if c.fits and c.cost_month is not None]
    if verdict is Verdict.WORKFLOW:
        fitting = [c for c in fitting if c.name == "workflow-plus-functions"]
    else:
        # a workflow is for what needs one: it is never the cheaper way to call one function
        fitting = [c for c in fitting if c.name != "workflow-plus-functions"] or fitting
    if verdict is Verdict.WEAK:
        fitting = [c for c in fitting if c.name.startswith("ecs")] or fitting
    return min(fitting, key=lambda c: (c.cost_month or 0.0, c.name), default=None)


def _quick(w: FitWorkload, prices: Prices) -> tuple[Verdict, str | None]:
    candidates = _candidates(w, prices)
    verdict, _ = _verdict(w, candidates)
    best = _recommend(w, verdict, candidates)
    return verdict, best.name if best else None


SCALED = (
    "requests_per_s",
    "service_s",
    "task_s",
    "model_mb",
    "artifact_mb",
    "cold_budget_s",
    "latency_target_s",
)
FLIPPED = ("asynchronous", "bounded_backend", "streaming", "container_image")


def _flip(w: FitWorkload, prices: Prices, name: str, up: bool) -> str | None:
    """The nearest value of a number at which verdict or recommendation changes, within a factor of 1,000."""
    here = _quick(w, prices)
    value = float(getattr(w, name)) or 1.0

    def at(power: float) -> FitWorkload:
        moved: dict[str, Any] = {name: value * 10.0**power}
        changed = replace(w, **moved)
        # one request can't take longer than its longest run
        return replace(changed, task_s=max(changed.task_s, changed.service_s))

    low, high = 0.0, None
    for step in (0.25, 0.5, 1.0, 1.5, 2.0, 3.0):
        if _quick(at(step if up else -step), prices) != here:
            high = step
            break
        low = step
    if high is None:
        return None
    for _ in range(12):
        middle = (low + high) / 2
        if _quick(at(middle if up else -middle), prices) != here:
            high = middle
        else:
            low = middle
    new = at(high if up else -high)
    verdict, best = _quick(new, prices)
    there = getattr(new, name)
    change = f"{verdict.value}" if verdict is not here[0] else f"{best or 'nothing that fits'}"
    digits = max(2 - int(log10(there)), 0) if there > 0 else 2
    return f"{name} {'from' if up else 'below'} {there:,.{min(digits, 6)}f} (now {value:g}): {change}"


def fit(workload: FitWorkload, prices: Prices) -> FitReport:
    """Judges a workload."""
    candidates = _candidates(workload, prices)
    verdict, reasons = _verdict(workload, candidates)
    recommended = _recommend(workload, verdict, candidates)
    changes = [
        note
        for name in SCALED
        for up in (True, False)
        if (note := _flip(workload, prices, name, up)) is not None
    ]
    here = (verdict, recommended.name if recommended else None)
    for name in FLIPPED:
        opposite: dict[str, Any] = {name: not getattr(workload, name)}
        other = _quick(replace(workload, **opposite), prices)
        if other != here:
            change = other[0].value if other[0] is not verdict else other[1] or "nothing that fits"
            changes.append(f"{name} {str(not getattr(workload, name)).lower()}: {change}")
    order: Callable[[Candidate], tuple[bool, bool, float]] = lambda c: (  # noqa: E731
        not c.fits,
        bool(c.excluded),
        c.cost_month if c.cost_month is not None else float("inf"),
    )
    laws, phase_figures = phase_laws(_cold_path(workload))
    figures = [
        Figure(
            "duty_cycle",
            duty_cycle(workload),
            "",
            "requests/s x service s / (concurrency per task x units); units = ceil(requests/s x peak x service s / "
            "(concurrency per task x 0.7))",
            {
                "units": _needed(workload),
                "requests_per_s": workload.requests_per_s,
                "service_s": workload.service_s,
            },
        ),
        Figure(
            "cold_p99_s",
            _p99(laws, PHASES),
            "s",
            "sum of phase means + 2.6 x root of the summed variances",
            {name: round(law.mean, 4) for name, law in laws.items()},
        ),
        Figure(
            "cold_share",
            _cold_share(workload.requests_per_s, workload.service_s),
            "",
            "exp(-requests/s x 600 s) for short services, a run of the plain model up to 5/s, beyond root(load) / "
            "(requests/s x 600 s)",
            {"idle_timeout_s": IDLE_TIMEOUT_S},
        ),
        Figure("requests_month", _month(workload), "", "requests/s x 730 h x 3600 s"),
        *phase_figures,
        *(
            Figure(f"{c.name} cost", c.cost_month, "USD/month", c.formula, c.inputs)
            for c in sorted(candidates, key=order)
            if c.cost_month is not None
        ),
    ]
    return FitReport(workload, verdict, reasons, recommended, sorted(candidates, key=order), changes, figures)


def load_workloads(path: Path) -> list[FitWorkload]:
    """Workloads of a YAML file: a list, or `workloads:` with one. Raises KW513 with a suggestion for a wrong key."""
    import yaml

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise PlannerError("KW503", str(path), e.strerror or str(e), "a readable file") from e
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        mark = getattr(e, "problem_mark", None)
        raise PlannerError(
            "KW513", str(path), str(e).splitlines()[0], "YAML", line=mark.line + 1 if mark else None
        ) from e
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
