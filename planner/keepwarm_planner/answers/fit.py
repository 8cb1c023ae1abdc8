"""Does serverless fit? A verdict per workload, a candidate by candidate table, and what would change both.

The verdicts are those of the source document's table (`PRESETS` has its six rows). They follow from rules over
numbers: duty cycle, cold-start budget, model residency, artifact size, deadline, side effects, task length, burst. A
candidate platform is excluded only by a limit that AWS states (`keepwarm.limits`) or by arithmetic shown beside it.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from math import inf, log10
from typing import Any

from keepwarm import limits
from keepwarm_planner import cost
from keepwarm_planner.answers.cold_path import phase_laws
from keepwarm_planner.answers.explain import Figure
from keepwarm_planner.answers.load import (
    cold_path,
    cold_share,
    duty_cycle,
    month_requests,
    needed,
    p99,
)
from keepwarm_planner.answers.platforms import Candidate, candidates_of
from keepwarm_planner.answers.workload import FitWorkload, Gpu, SideEffects, State
from keepwarm_planner.assumed import IDLE_TIMEOUT_S
from keepwarm_planner.prices import Prices
from keepwarm_runtime.phases import PHASES

LARGE_MODEL_MB = 10_240.0
"""Weights beyond this do not enter any function: the limit of memory and of /tmp alike."""


class Verdict(StrEnum):
    """The words of the source's table."""

    STRONG = "Strong"
    MODERATE_STRONG = "Moderate-strong"
    MODERATE = "Moderate"
    WEAK = "Weak unless specialized service"
    WORKFLOW = "Workflow plus functions"


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
    candidates = candidates_of(w, prices)
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
    candidates = candidates_of(workload, prices)
    verdict, reasons = _verdict(workload, candidates)
    recommended = _recommend(workload, verdict, candidates)
    return FitReport(
        workload=workload,
        verdict=verdict,
        reasons=reasons,
        recommended=recommended,
        candidates=sorted(candidates, key=_order),
        would_change=_would_change(workload, prices, verdict, recommended),
        figures=_figures(workload, candidates),
    )


def _order(c: Candidate) -> tuple[bool, bool, float]:
    """What fits first, then what is possible, the cheapest first."""
    return not c.fits, bool(c.excluded), c.cost_month if c.cost_month is not None else inf


def _would_change(
    w: FitWorkload, prices: Prices, verdict: Verdict, recommended: Candidate | None
) -> list[str]:
    flips = [_flip(w, prices, name, up) for name in SCALED for up in (True, False)]
    changes = [note for note in flips if note is not None]
    here = (verdict, recommended.name if recommended else None)
    for name in FLIPPED:
        opposite: dict[str, Any] = {name: not getattr(w, name)}
        other, best = _quick(replace(w, **opposite), prices)
        if (other, best) != here:
            change = other.value if other is not verdict else best or "nothing that fits"
            changes.append(f"{name} {str(opposite[name]).lower()}: {change}")
    return changes


def _figures(workload: FitWorkload, candidates: list[Candidate]) -> list[Figure]:
    laws, phase_figures = phase_laws(cold_path(workload))
    return [
        Figure(
            "duty_cycle",
            duty_cycle(workload),
            "",
            "requests/s x service s / (concurrency per task x units); units = ceil(requests/s x peak x service s / "
            "(concurrency per task x 0.7))",
            {
                "units": needed(workload),
                "requests_per_s": workload.requests_per_s,
                "service_s": workload.service_s,
            },
        ),
        Figure(
            "cold_p99_s",
            p99(laws, PHASES),
            "s",
            "sum of phase means + 2.6 x root of the summed variances",
            {name: round(law.mean, 4) for name, law in laws.items()},
        ),
        Figure(
            "cold_share",
            cold_share(workload.requests_per_s, workload.service_s),
            "",
            "exp(-requests/s x 600 s) for short services, a run of the plain model up to 5/s, beyond root(load) / "
            "(requests/s x 600 s)",
            {"idle_timeout_s": IDLE_TIMEOUT_S},
        ),
        Figure("requests_month", month_requests(workload), "", "requests/s x 730 h x 3600 s"),
        *phase_figures,
        *(
            Figure(f"{c.name} cost", c.cost_month, "USD/month", c.formula, c.inputs)
            for c in sorted(candidates, key=_order)
            if c.cost_month is not None
        ),
    ]
