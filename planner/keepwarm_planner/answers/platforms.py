"""Platforms that a workload could run on: what forbids each, what it would miss, and what it would cost."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from math import ceil, exp, sqrt

from keepwarm import limits
from keepwarm_planner import cost
from keepwarm_planner.answers.cold_path import RESTORE, ColdPath, phase_laws
from keepwarm_planner.answers.workload import FitWorkload, Gpu, State
from keepwarm_planner.cost import MONTH_S, FunctionUse
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

GPU_MEMORY_GIB = (3, 6, 12, 16, 24, 48)
"""Accelerator sizes of Lambda managed instances
(https://docs.aws.amazon.com/lambda/latest/dg/lambda-managed-instances-gpu-scaling.html)."""

SELDOM = 0.01
"""Share of cold requests up to which the 99th percentile does not see them."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A platform for the workload."""

    name: str
    excluded: list[str]
    """Limits that forbid it; empty when it can be done."""
    misses: list[str]
    """What it does not meet."""
    cold_p99_s: float | None
    """Start-up of a cold request at its 99th percentile; 0 where no request waits for one."""
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


def cold_path(w: FitWorkload) -> ColdPath:
    """The path of its cold start as a function."""
    memory = min(max(w.memory_mb, limits.LAMBDA_MEMORY_MIN_MB), limits.LAMBDA_MEMORY_MAX_MB)
    return ColdPath(
        artifact_mb=w.artifact_mb,
        container_image=w.container_image,
        model_mb=w.model_mb,
        memory_mb=memory,
        bandwidth_mb_s=80.0,
    )


def p99(laws: Mapping[str, Law], names: tuple[str, ...]) -> float:
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
def cold_share(rate: float, service_s: float) -> float:
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


def needed(w: FitWorkload) -> int:
    """Resident units at the peak."""
    return max(
        1, ceil(w.requests_per_s * w.peak_factor * w.service_s / (w.concurrency_per_task * UTILIZATION))
    )


def duty_cycle(w: FitWorkload) -> float:
    """Busy share of the resident capacity that the peak asks for."""
    return min(w.requests_per_s * w.service_s / (w.concurrency_per_task * needed(w)), 1.0)


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


def month_requests(w: FitWorkload) -> float:
    """Requests in a month."""
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


def candidates_of(w: FitWorkload, prices: Prices) -> list[Candidate]:
    """Every platform, excluded ones too."""
    month = month_requests(w)
    laws, _ = phase_laws(cold_path(w))
    cold = p99(laws, PHASES)
    share = cold_share(w.requests_per_s, w.service_s)
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

    month = month_requests(w)
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
    month = month_requests(w)
    excluded = list(common)
    room = _room_mb(w)
    if w.efs:
        excluded.append("SnapStart does not go with EFS")
    if room > limits.SNAPSTART_EPHEMERAL_MAX_MB:
        excluded.append(f"SnapStart allows {limits.SNAPSTART_EPHEMERAL_MAX_MB} MB of /tmp, needed {room}")
    if w.container_image and "container images" in limits.SNAPSTART_EXCLUDES:
        excluded.append("SnapStart does not take container images")
    left = ("scheduling", "sandbox", "image_pull")
    cold = p99({**laws, "load": RESTORE}, (*left, "load"))
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
    model = p99(laws, ("imports", "fetch", "verify", "compile", "load", "allocate", "warmup"))
    units = needed(w)
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
            + cost.item("requests", month_requests(w), "requests", prices).usd,
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
    units = needed(w)
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
    cold = POD_START_S + p99(laws, ("imports", "fetch", "verify", "compile", "load", "allocate", "warmup"))
    return Candidate(
        "knative",
        excluded,
        _residency_misses(w) + _cold_misses(w, cold, share),
        cold,
        share,
        None,
        "the activator buffers while a pod starts; the cluster's own cost is not in here",
    )
