"""Platforms that a workload could run on: what forbids each, what it would miss, and what it would cost."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil, exp

from keepwarm import limits
from keepwarm_planner import cost
from keepwarm_planner.answers.cold_path import RESTORE, phase_laws
from keepwarm_planner.answers.load import UTILIZATION, cold_path, cold_share, month_requests, needed, p99
from keepwarm_planner.answers.workload import FitWorkload, Gpu, State
from keepwarm_planner.assumed import INSTANCE_START_S, MANAGED_START_S, POD_START_S, SERVICE_IDLE_S
from keepwarm_planner.cost import MONTH_S, FunctionUse
from keepwarm_planner.prices import Prices
from keepwarm_planner.traffic.law import Law
from keepwarm_runtime.phases import PHASES

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


ON_DEMAND = (
    "requests x (service s + cold share x cold p99 / 2) x GB x price + requests x price + /tmp above 512 MB x service "
    "s x price"
)

SCALED_COST = (
    f"up share x running x instance price x 730 h; up share = 1 - exp(-requests/s x {SERVICE_IDLE_S:g} s); running = "
    f"mean load / (concurrency per task x {UTILIZATION:g}), at least 1 and at most the units of the peak"
)


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


def _cold_misses(w: FitWorkload, cold_p99: float, share: float) -> list[str]:
    if share > SELDOM and cold_p99 > w.cold_budget_s:
        return [f"{share:.1%} of requests start cold and take {cold_p99:.1f} s, budget {w.cold_budget_s:g} s"]
    return []


IN_PROCESS = "keeps state in the process from request to request"
SURVIVES = "needs progress that survives the process"
MODEL_PHASES = ("imports", "fetch", "verify", "compile", "load", "allocate", "warmup")
"""What a container does after it has started and before it is ready."""


def _residency_misses(w: FitWorkload) -> list[str]:
    return _misses((w.state is State.KV, IN_PROCESS), (w.state is State.DURABLE, SURVIVES))


def _misses(*checked: tuple[bool, str]) -> list[str]:
    """The sentences of what holds."""
    return [text for holds, text in checked if holds]


@dataclass(frozen=True, slots=True)
class _Case:
    """A workload with what several platforms are judged by."""

    w: FitWorkload
    prices: Prices
    laws: Mapping[str, Law]
    """Of the phases of a function's start."""
    cold_p99_s: float
    cold_share: float
    function_limits: list[str]

    @property
    def on_demand(self) -> float:
        """USD a month of a function on demand, cold starts included at half their 99th percentile."""
        month = month_requests(self.w)
        worked_s = month * (self.w.service_s + self.cold_share * self.cold_p99_s / 2)
        use = FunctionUse(on_demand_s=worked_s, requests=month)
        return cost.total(cost.function(self.prices, self.w.priced_by, use))

    @property
    def basis(self) -> dict[str, object]:
        """Inputs of a function's cost."""
        return {
            "requests_month": month_requests(self.w),
            "gb": self.w.priced_by.memory_gb,
            "service_s": self.w.service_s,
            "cold_share": self.cold_share,
        }


def candidates_of(w: FitWorkload, prices: Prices) -> list[Candidate]:
    """Every platform, excluded ones too."""
    laws, _ = phase_laws(cold_path(w))
    case = _Case(
        w=w,
        prices=prices,
        laws=laws,
        cold_p99_s=p99(laws, PHASES),
        cold_share=cold_share(w.requests_per_s, w.service_s),
        function_limits=_function_limits(w),
    )
    service = _Sleeper.of(w, laws)
    return [
        _on_demand(case),
        _provisioned(case),
        _snapstart(case),
        _managed_gpu(case, service),
        _gpu_always_on(case),
        _gpu_scale_to_zero(case, service),
        _fargate(case),
        _knative(case),
        _workflow(case),
    ]


# ---- functions


def _on_demand(case: _Case) -> Candidate:
    w = case.w
    return Candidate(
        name="lambda-on-demand",
        excluded=case.function_limits,
        misses=_residency_misses(w) + _cold_misses(w, case.cold_p99_s, case.cold_share),
        cold_p99_s=case.cold_p99_s,
        cold_share=case.cold_share,
        cost_month=case.on_demand,
        remark="scales to zero; every new environment starts cold",
        formula=ON_DEMAND,
        inputs=case.basis,
    )


def _provisioned(case: _Case) -> Candidate:
    from keepwarm_runtime.scaling import warm_target_for

    w, month = case.w, month_requests(case.w)
    size = warm_target_for(w.requests_per_s * w.peak_factor, w.service_s, SELDOM)
    most = limits.LAMBDA_ACCOUNT_CONCURRENCY
    use = FunctionUse(provisioned_s=size * MONTH_S, provisioned_busy_s=month * w.service_s, requests=month)
    return Candidate(
        name="lambda-provisioned",
        excluded=case.function_limits
        + _misses((size > most, f"needs {size} environments, the account has {most}")),
        misses=_residency_misses(w),
        cold_p99_s=case.cold_p99_s,
        cold_share=SELDOM,
        cost_month=cost.total(cost.function(case.prices, w.priced_by, use)),
        remark=f"{size} environments warm, 1 % spill-over at the peak",
        formula="environments x GB x 730 h x 3600 s x provisioned price + requests x service s x GB x price there + "
        "requests x price + /tmp above 512 MB; environments: Erlang B of 1 % at the peak",
        inputs={
            "environments": size,
            "gb": w.priced_by.memory_gb,
            "requests_month": month,
            "service_s": w.service_s,
        },
    )


def _snapstart(case: _Case) -> Candidate:
    w, room, allowed = case.w, _room_mb(case.w), limits.SNAPSTART_EPHEMERAL_MAX_MB
    no_image = w.container_image and "container images" in limits.SNAPSTART_EXCLUDES
    cold = p99({**case.laws, "load": RESTORE}, ("scheduling", "sandbox", "image_pull", "load"))
    return Candidate(
        name="lambda-snapstart",
        excluded=case.function_limits
        + _misses(
            (w.efs, "SnapStart does not go with EFS"),
            (room > allowed, f"SnapStart allows {allowed} MB of /tmp, needed {room}"),
            (no_image, "SnapStart does not take container images"),
        ),
        misses=_residency_misses(w) + _cold_misses(w, cold, case.cold_share),
        cold_p99_s=cold,
        cold_share=case.cold_share,
        cost_month=_snapstart_month(case),
        remark="no provisioned concurrency, EFS or $LATEST; restore hooks must reseed and reconnect",
        formula="requests x service s x GB x price + requests x price + GB x 730 h x 3600 s x cache price + requests x "
        "cold share x GB x restore price",
        inputs=case.basis,
    )


def _snapstart_month(case: _Case) -> float | None:
    """USD a month; None where the region's prices are not known."""
    prices, w = case.prices, case.w
    if prices.snapstart_cache_gb_s is None or prices.snapstart_restore_gb is None:
        return None
    month = month_requests(w)
    worked = FunctionUse(on_demand_s=month * w.service_s, requests=month)
    snapshots = cost.snapstart(prices, w.priced_by, restores=month * case.cold_share)
    return cost.total([*cost.function(prices, w.priced_by, worked), *snapshots])


def _workflow(case: _Case) -> Candidate:
    w = case.w
    steps = ceil(w.task_s / (limits.LAMBDA_TIMEOUT_MAX_S * 0.8))
    taken = month_requests(w) * (6 + 2 * steps)
    misses = _misses(
        (w.state is State.KV, IN_PROCESS),
        (not w.asynchronous, "the caller waits for the answer; a workflow answers later"),
    )
    return Candidate(
        name="workflow-plus-functions",
        excluded=[x for x in case.function_limits if not x.startswith("runs")],
        misses=misses + ([] if w.asynchronous else _cold_misses(w, case.cold_p99_s, case.cold_share)),
        cold_p99_s=case.cold_p99_s,
        cold_share=case.cold_share,
        cost_month=case.on_demand + cost.item("transitions", taken, "transitions", case.prices).usd,
        remark=f"checkpointed steps ({steps} per task at 80 % of 15 minutes); retries and compensation live outside",
        formula=f"as lambda-on-demand + requests x (6 + 2 x {steps} steps) transitions x price per transition",
        inputs={"transitions_month": taken},
    )


# ---- services with a GPU


@dataclass(frozen=True, slots=True)
class _Sleeper:
    """A service that scales from zero: how often it sleeps, and what it runs while it is up."""

    up_share: float
    """Time in which it is up: until `SERVICE_IDLE_S` pass without a request."""
    asleep_share: float
    """Requests that meet it asleep."""
    running: float
    """Units while it is up: what the mean load needs, at least one and at most the peak's."""
    model_s: float
    """Start of the model at its 99th percentile, the instance apart."""

    @classmethod
    def of(cls, w: FitWorkload, laws: Mapping[str, Law]) -> "_Sleeper":
        asleep = exp(-w.requests_per_s * SERVICE_IDLE_S)
        mean_units = w.requests_per_s * w.service_s / (w.concurrency_per_task * UTILIZATION)
        running = min(max(mean_units, 1.0), float(needed(w)))
        return cls(1.0 - asleep, asleep, running, p99(laws, MODEL_PHASES))

    @property
    def month_s(self) -> float:
        """Instance seconds in a month."""
        return self.up_share * self.running * MONTH_S

    def inputs(self, w: FitWorkload, prices: Prices) -> dict[str, object]:
        """Inputs of its cost."""
        hour = prices.instance_hour(w.instance_type)
        return {"up_share": self.up_share, "running": self.running, "instance_hour": hour}

    def too_slow(self, w: FitWorkload, wake_s: float) -> bool:
        """Whether waking takes longer than a request has patience, and requests do meet it asleep."""
        return wake_s > _patience_s(w) and self.asleep_share > 0.001


def _patience_s(w: FitWorkload) -> float:
    return w.latency_target_s if w.asynchronous else w.cold_budget_s


def _gpu_misses(w: FitWorkload) -> list[str]:
    return _misses((w.gpu is not Gpu.REQUIRED, "has no use for a GPU"), (w.state is State.DURABLE, SURVIVES))


def _gpu_fit(w: FitWorkload) -> list[str]:
    if w.gpu is not Gpu.REQUIRED or w.gpu_memory_gib <= 0:
        return []
    instance = limits.GPU_INSTANCES.get(w.instance_type)
    if instance is None:
        return [f"{w.instance_type} is not a GPU instance type that is known here"]
    have = instance.gpus * instance.gpu_memory_mib / 1024
    if w.gpu_memory_gib > have:
        return [f"needs {w.gpu_memory_gib:g} GiB of GPU memory, {w.instance_type} has {have:.0f}"]
    return []


def _managed_limits(w: FitWorkload) -> list[str]:
    needs_gpu = w.gpu is Gpu.REQUIRED
    largest = GPU_MEMORY_GIB[-1]
    longest = limits.LAMBDA_MANAGED_INSTANCES_TIMEOUT_MAX_S if w.asynchronous else limits.LAMBDA_TIMEOUT_MAX_S
    return _misses(
        (
            needs_gpu and w.gpu_memory_gib > largest,
            f"needs {w.gpu_memory_gib:g} GiB of GPU memory, managed instances offer {largest}",
        ),
        (needs_gpu and not w.container_image, "GPU on managed instances takes container images only"),
        (
            w.artifact_mb > limits.LAMBDA_IMAGE_MAX_BYTES / 1e6,
            f"image of {w.artifact_mb:g} MB, allowed 10 GiB",
        ),
        (w.task_s > longest, f"runs {w.task_s:g} s, managed instances at most {longest} s"),
    )


def _managed_gpu(case: _Case, service: _Sleeper) -> Candidate:
    w, prices = case.w, case.prices
    wake_s = MANAGED_START_S + service.model_s
    requests = cost.item("requests", month_requests(w), "requests", prices)
    return Candidate(
        name="lambda-managed-gpu",
        excluded=_managed_limits(w),
        misses=_gpu_misses(w)
        + _misses(
            (w.state is State.KV, IN_PROCESS),
            (service.too_slow(w, wake_s), f"scaling from zero takes minutes ({wake_s:.0f} s assumed)"),
        ),
        cold_p99_s=wake_s,
        cold_share=service.asleep_share,
        cost_month=cost.managed_instances(prices, w.instance_type, service.month_s) + requests.usd,
        remark=f"EC2 price plus {prices.managed_instances_fee:.0%}; a request may fail while no GPU can be had",
        formula=f"{SCALED_COST} x (1 + fee) + requests x price",
        inputs={**service.inputs(w, prices), "fee": prices.managed_instances_fee},
    )


def _gpu_always_on(case: _Case) -> Candidate:
    w, units = case.w, needed(case.w)
    return Candidate(
        name="ecs-gpu-always-on",
        excluded=_gpu_fit(w),
        misses=_gpu_misses(w),
        cold_p99_s=0.0,
        cold_share=0.0,
        cost_month=cost.service(case.prices, w.instance_type, units * MONTH_S).usd,
        remark=f"{units} x {w.instance_type}; Fargate has no GPU, so EC2 capacity",
        formula="units x instance price x 730 h; units as under duty_cycle",
        inputs={"units": units, "instance_hour": case.prices.instance_hour(w.instance_type)},
    )


def _gpu_scale_to_zero(case: _Case, service: _Sleeper) -> Candidate:
    w = case.w
    wake_s = INSTANCE_START_S + service.model_s
    slow = (
        f"waking takes {wake_s:.0f} s and {service.asleep_share:.1%} of requests meet a sleeping service;"
        f" {'latency target' if w.asynchronous else 'budget'} {_patience_s(w):g} s"
    )
    return Candidate(
        name="ecs-gpu-scale-to-zero",
        excluded=_gpu_fit(w),
        misses=_gpu_misses(w)
        + _misses((w.state is State.KV, IN_PROCESS), (service.too_slow(w, wake_s), slow)),
        cold_p99_s=wake_s,
        cold_share=service.asleep_share,
        cost_month=cost.service(case.prices, w.instance_type, service.month_s).usd,
        remark=f"up {service.up_share:.0%} of the time: until {SERVICE_IDLE_S:g} s pass without a request",
        formula=SCALED_COST,
        inputs=service.inputs(w, case.prices),
    )


# ---- other containers


def _fargate(case: _Case) -> Candidate:
    w, units = case.w, needed(case.w)
    vcpu = max(w.memory_mb / limits.LAMBDA_MB_PER_VCPU, 0.25)
    return Candidate(
        name="ecs-fargate-always-on",
        excluded=_misses((w.gpu is Gpu.REQUIRED, "needs a GPU, Fargate has none")),
        misses=_misses((w.state is State.DURABLE, SURVIVES)),
        cold_p99_s=0.0,
        cold_share=0.0,
        cost_month=cost.total(cost.fargate(case.prices, vcpu, w.memory_mb, units * MONTH_S)),
        remark=f"{units} resident tasks of {vcpu:.1f} vCPU, at x86 prices",
        formula="units x 730 h x (vCPU x price + GB x price)",
        inputs={"units": units, "vcpu": vcpu, "gb": w.memory_mb / 1024},
    )


def _knative(case: _Case) -> Candidate:
    w, cold = case.w, POD_START_S + p99(case.laws, MODEL_PHASES)
    return Candidate(
        name="knative",
        excluded=_misses((not w.kubernetes, "no cluster with Knative was named (kubernetes: true)")),
        misses=_residency_misses(w) + _cold_misses(w, cold, case.cold_share),
        cold_p99_s=cold,
        cold_share=case.cold_share,
        cost_month=None,
        remark="the activator buffers while a pod starts; the cluster's own cost is not in here",
    )
