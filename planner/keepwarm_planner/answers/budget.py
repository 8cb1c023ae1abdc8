"""The cold start, phase by phase (contract C1), as a distribution, against a budget.

Each phase has a law: measured (from result events, `calibrate`), given, or assumed from bytes and speeds. The total
is their sum: assumed phases are drawn independently, measured ones as whole starts, and a calibration states how far
an estimate from some of its starts is from the others. Verification runs while the bytes stream in, so it only shows
by what it takes longer.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, fsum, isfinite
from pathlib import Path
from random import Random

from keepwarm import limits
from keepwarm_planner.answers.explain import Figure
from keepwarm_planner.errors import PlannerError
from keepwarm_planner.kernel import choose
from keepwarm_planner.kernel.shape import Cold
from keepwarm_planner.traffic.law import Law, constant, empirical, lognormal_quantiles
from keepwarm_runtime.phases import PHASES

DRAWS = 20_000
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}

SPREAD = 2.2
"""Assumed ratio of the 99th percentile to the median of a transfer; measured runs replace it."""

ASSUMED: dict[str, tuple[float, float, str]] = {
    "scheduling": (0.030, 0.120, "assumption: placement of a new environment"),
    "sandbox": (0.125, 0.250, "Firecracker's specification: guest boot within 125 ms"),
    "runtime_init": (0.060, 0.160, "measured here: bare awslambdaric answers after 55 ms"),
    "allocate": (0.010, 0.040, "assumption: host memory; a GPU context takes longer"),
}
"""Median and 99th percentile in seconds of phases that no byte count explains."""

OUTSIDE = ("scheduling", "sandbox", "image_pull")
"""Phases that are over before the runtime starts: an event can only have them from the platform."""

BUDGETED = ("runtime_init", "imports", "fetch", "verify", "load", "warmup")
"""Phases that a stack budgets, beside the total."""

HEADROOM = 1.25
"""Of a stack's budget over the estimated 99th percentile."""

MITIGATIONS: dict[str, tuple[tuple[str, ...], str]] = {
    "provisioned concurrency": (
        PHASES,
        "everything happens before the request; spill-over still pays in full",
    ),
    "SnapStart": (
        ("runtime_init", "imports", "fetch", "verify", "compile", "load", "allocate", "warmup"),
        "the initialized memory is restored; a restore takes its place",
    ),
    "model on the host (cache or image)": (("fetch",), "bytes are local; they are still verified"),
    "image layers cached": (("image_pull",), "the worker has the layers"),
    "compiled engine shipped": (("compile",), "built ahead for this hardware"),
    "resident service": (PHASES, "the model stays loaded; costs run while idle"),
}
"""What removes which phases."""

RESTORE = lognormal_quantiles(0.200, 0.600)
"""Restore of a snapshot: assumption until measured; AWS publishes no figure per size."""


@dataclass(frozen=True, slots=True)
class ColdPath:
    """What a cold start has to do. Sizes in MB (10**6 bytes), speeds as named."""

    artifact_mb: float = 60.0
    """Function bundle or image."""
    container_image: bool = False
    model_mb: float = 20.0
    memory_mb: int = limits.LAMBDA_MB_PER_VCPU
    bandwidth_mb_s: float = 80.0
    """From the registry into the environment."""
    artifact_bandwidth_mb_s: float = 250.0
    hash_mb_s: float = 1800.0
    """SHA-256 on one core with SHA instructions."""
    load_mb_s: float = 700.0
    """Deserialization into ready sessions, on one vCPU."""
    imports_s: float = 0.6
    """Of the handler and its libraries, on one vCPU."""
    compile_s: float = 0.0
    warmup_s: float = 0.1
    """First inference less a later one."""
    given: Mapping[str, Law] = field(default_factory=dict)
    """Laws by phase that replace what is assumed."""

    def __post_init__(self) -> None:
        for name in (
            "artifact_mb",
            "model_mb",
            "bandwidth_mb_s",
            "artifact_bandwidth_mb_s",
            "hash_mb_s",
            "load_mb_s",
            "imports_s",
            "compile_s",
            "warmup_s",
        ):
            value = getattr(self, name)
            speed = name.endswith("_mb_s")
            if not isfinite(value) or value < 0.0 or (speed and value == 0.0):
                raise PlannerError(
                    "KW500",
                    f"budget {name}",
                    value,
                    "a finite number above 0" if speed else "a finite number, 0 or more",
                )
        if not limits.LAMBDA_MEMORY_MIN_MB <= self.memory_mb <= limits.LAMBDA_MEMORY_MAX_MB:
            raise PlannerError(
                "KW500",
                "budget memory_mb",
                self.memory_mb,
                f"{limits.LAMBDA_MEMORY_MIN_MB} to {limits.LAMBDA_MEMORY_MAX_MB}",
            )
        unknown = set(self.given) - set(PHASES)
        if unknown:
            raise PlannerError("KW500", "budget phase", repr(min(unknown)), ", ".join(PHASES))

    @property
    def vcpu(self) -> float:
        """Share of a vCPU that one thread gets: memory / 1,769 MB, at most one."""
        return min(self.memory_mb / limits.LAMBDA_MB_PER_VCPU, 1.0)


def _around(median: float, spread: float = SPREAD) -> Law:
    return lognormal_quantiles(median, median * spread) if median > 0.0 else constant(0.0)


def phase_laws(path: ColdPath) -> tuple[dict[str, Law], list[Figure]]:
    """A law per phase and how each came about."""
    fetch = path.model_mb / path.bandwidth_mb_s
    hashing = path.model_mb / (path.hash_mb_s * path.vcpu)
    # A lazily loaded image starts on the chunks it touches; a zip is there in full.
    pulled = path.artifact_mb * (0.2 if path.container_image else 1.0)
    medians: dict[str, tuple[float, str, dict[str, object]]] = {
        "image_pull": (
            pulled / path.artifact_bandwidth_mb_s,
            "artifact MB (a fifth of an image: chunks are loaded on demand) / artifact MB/s",
            {"artifact_mb": path.artifact_mb, "artifact_bandwidth_mb_s": path.artifact_bandwidth_mb_s},
        ),
        "imports": (
            path.imports_s / path.vcpu,
            "imports on one vCPU / share of a vCPU",
            {"imports_s": path.imports_s, "vcpu": path.vcpu},
        ),
        "fetch": (
            fetch,
            "model MB / MB/s",
            {"model_mb": path.model_mb, "bandwidth_mb_s": path.bandwidth_mb_s},
        ),
        "verify": (
            max(hashing - fetch, 0.0),
            "max(0, model MB / (hash MB/s x vCPU) - fetch): hashing overlaps the download",
            {"hash_mb_s": path.hash_mb_s, "vcpu": path.vcpu, "fetch_s": fetch},
        ),
        "compile": (path.compile_s, "as given", {"compile_s": path.compile_s}),
        "load": (
            path.model_mb / (path.load_mb_s * path.vcpu),
            "model MB / (load MB/s x vCPU)",
            {"model_mb": path.model_mb, "load_mb_s": path.load_mb_s, "vcpu": path.vcpu},
        ),
        "warmup": (
            path.warmup_s / path.vcpu,
            "first inference less a later one / vCPU",
            {"warmup_s": path.warmup_s, "vcpu": path.vcpu},
        ),
    }
    laws: dict[str, Law] = {}
    figures = []
    for name in PHASES:
        if name in path.given:
            laws[name] = path.given[name]
            formula, inputs = f"given: {path.given[name].text}", dict[str, object]()
        elif name in medians:
            median, formula, inputs = medians[name]
            laws[name] = _around(median)
            formula = f"median {formula}; p99 = {SPREAD:g} x median (assumed)"
        else:
            p50, p99, formula = ASSUMED[name]
            laws[name], inputs = lognormal_quantiles(p50, p99), {"p50_s": p50, "p99_s": p99}
        figures.append(Figure(name, laws[name].quantile(0.5), "s (median)", formula, inputs))
    return laws, figures


def _sample(
    laws: Mapping[str, Law],
    names: Sequence[str],
    seed: int,
    starts: Sequence[Mapping[str, float]] = (),
    measured: Collection[str] = (),
) -> list[float]:
    """Sums of the named phases, one stream per phase.

    The `measured` ones come from whole starts: a slow host is slow in every phase, and a phase that a start did not
    have is not added to it.
    """
    totals = [0.0] * DRAWS
    kernel = choose(DRAWS)
    together = [n for n in names if n in measured]
    if together:
        sums = [fsum(s.get(n, 0.0) for n in together) for s in starts]
        totals = Random(f"{seed}/starts").choices(sums, k=DRAWS)  # noqa: S311
    for name in names:
        if name in measured:
            continue
        law = laws[name]
        if law.kind is Cold.CONSTANT:
            totals = [x + law.mean for x in totals]
            continue
        drawn = kernel.source(f"{seed}/{name}").fill(law.kind, law.mean, law.table, DRAWS)
        totals = [x + y for x, y in zip(totals, drawn, strict=True)]
    return totals


def _quantiles(values: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values)
    n = len(ordered)
    return {name: ordered[min(int(q * n), n - 1)] for name, q in QUANTILES.items()}


@dataclass(frozen=True, slots=True)
class PhaseRow:
    """One phase against its budget; seconds."""

    name: str
    quantiles: dict[str, float]
    share: float
    """Of the mean total."""
    budget_s: float | None
    basis: str = "assumed"
    """assumed, given, measured; `mixed` for a total."""

    @property
    def within(self) -> bool | None:
        """Whether the 99th percentile keeps the budget; None without one."""
        return None if self.budget_s is None else self.quantiles["p99"] <= self.budget_s


@dataclass(frozen=True, slots=True)
class BudgetReport:
    """The estimate and what would shorten it. Seconds."""

    rows: list[PhaseRow]
    total: PhaseRow
    law: Law
    """The total as a law, for simulations."""
    removed: list[tuple[str, tuple[str, ...], float, str]]
    """(mitigation, phases it removes, 99th percentile left, remark), best first."""
    figures: list[Figure]
    calibration: "Calibration | None" = None

    def settings(self, headroom: float = HEADROOM) -> dict[str, int]:
        """`keepwarm:budget` of a stack that holds what is estimated: 99th percentiles times the headroom, in ms, two
        figures, rounded up."""
        if not headroom >= 1.0:
            raise PlannerError("KW500", "budget --headroom", headroom, "1 or more")
        p99 = {row.name: row.quantiles["p99"] for row in self.rows}
        limits_ms = {f"{name}_ms": _ceiling(p99[name] * headroom * 1000.0) for name in BUDGETED}
        total = _ceiling(self.total.quantiles["p99"] * headroom * 1000.0)
        return {**limits_ms, "total_ms": max(total, *limits_ms.values())}

    @property
    def ok(self) -> bool:
        """No phase and not the total is over its budget."""
        return all(row.within is not False for row in [*self.rows, self.total])

    def as_dict(self) -> dict[str, object]:
        """For JSON."""

        def row(r: PhaseRow) -> dict[str, object]:
            return {
                "phase": r.name,
                **{f"{k}_s": v for k, v in r.quantiles.items()},
                "share": r.share,
                "budget_s": r.budget_s,
                "within": r.within,
                "basis": r.basis,
            }

        return {
            "ok": self.ok,
            "phases": [row(r) for r in self.rows],
            "total": row(self.total),
            "removed": [
                {"by": by, "phases": list(phases), "p99_left_s": left, "remark": remark}
                for by, phases, left, remark in self.removed
            ],
            "figures": [f.as_dict() for f in self.figures],
            "settings": {"budget": self.settings()},
            "calibration": self.calibration.as_dict() if self.calibration else None,
        }


def estimate(
    path: ColdPath,
    budgets_s: Mapping[str, float] | None = None,
    *,
    calibration: "Calibration | None" = None,
    seed: int = 1,
) -> BudgetReport:
    """Cold start per phase and in total, against budgets by phase name or `total` (99th percentile, seconds).

    Measured phases of a calibration replace the assumed ones.
    """
    budgets = dict(budgets_s or {})
    unknown = set(budgets) - {*PHASES, "total"}
    if unknown:
        raise PlannerError("KW500", "budget --budget", repr(min(unknown)), f"total, {', '.join(PHASES)}")
    laws, figures = phase_laws(path)
    starts: Sequence[Mapping[str, float]] = ()
    measured: set[str] = set()
    if calibration is not None:
        starts = calibration.samples
        # what the caller states himself stands above what was measured elsewhere
        measured = set(calibration.laws) - set(path.given)
        for name in measured:
            law = laws[name] = calibration.laws[name]
            figures = [
                Figure(name, law.quantile(0.5), "s (median)", f"measured: {law.text}")
                if f.name == name
                else f
                for f in figures
            ]
    mean_total = sum(law.mean for law in laws.values())
    rows = [
        PhaseRow(
            name,
            {q: laws[name].quantile(p) for q, p in QUANTILES.items()},
            laws[name].mean / mean_total if mean_total else 0.0,
            budgets.get(name),
            "measured" if name in measured else "given" if name in path.given else "assumed",
        )
        for name in PHASES
    ]
    totals = _sample(laws, PHASES, seed, starts, measured)
    kinds = {row.basis for row in rows}
    total = PhaseRow(
        "total", _quantiles(totals), 1.0, budgets.get("total"), kinds.pop() if len(kinds) == 1 else "mixed"
    )
    removed = []
    for by, (phases, remark) in MITIGATIONS.items():
        if all(laws[p].mean == 0.0 for p in phases):
            continue
        left = [p for p in PHASES if p not in phases]
        rest = dict(laws)
        still = measured
        if by == "SnapStart":
            rest["load"] = RESTORE
            left.append("load")
            still = measured - {"load"}
        after = _quantiles(_sample(rest, left, seed, starts, still))["p99"] if left else 0.0
        removed.append((by, phases, after, remark))
    removed.sort(key=lambda x: x[2])
    return BudgetReport(
        rows=rows,
        total=total,
        law=empirical(totals, "sum of the phases"),
        removed=removed,
        figures=figures,
        calibration=calibration,
    )


def _ceiling(ms: float) -> int:
    """The next number of two figures; a budget of nothing is 1 ms."""
    if ms <= 10.0:
        return max(ceil(ms), 1)
    step = int(10 ** (len(str(int(ms))) - 2))
    return ceil(ms / step - 1e-9) * step


# ---- calibration ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Calibration:
    """Phase laws measured by result events (C5) of one function, and how wrong an estimate from them is."""

    function: str
    """Whose starts they are; empty where the events name none."""
    events: int
    starts: int
    """Events of a first invocation: those with phases."""
    laws: dict[str, Law]
    """By phase; a start without a phase counts as 0 s of it."""
    samples: tuple[Mapping[str, float], ...] = field(repr=False)
    """The starts themselves, seconds by phase."""
    measured_total: dict[str, float]
    """Quantiles of the measured sums."""
    holdout_error: dict[str, float] | None
    """Relative error of the total's quantiles on starts the estimate has not seen, see `error_basis`. None for one."""
    error_basis: str
    """How that error was found."""
    skipped_lines: int

    def assumed_total(self, path: ColdPath, seed: int = 1) -> dict[str, float]:
        """What the assumptions alone say of the very phases that were measured."""
        laws, _ = phase_laws(path)
        return _quantiles(_sample(laws, [p for p in PHASES if p in self.laws], seed))

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "function": self.function,
            "events": self.events,
            "starts": self.starts,
            "phases": {
                name: {"mean_s": law.mean, **{f"{q}_s": law.quantile(p) for q, p in QUANTILES.items()}}
                for name, law in self.laws.items()
            },
            "measured_total_s": self.measured_total,
            "holdout_error": self.holdout_error,
            "error_basis": self.error_basis,
            "skipped_lines": self.skipped_lines,
        }


FOLDED = 8
"""Starts from which halves can judge each other; below, each start is held against the rest."""


def _holdout(sums: Sequence[float]) -> tuple[dict[str, float] | None, str]:
    """Error of quantiles on unseen starts: the larger of the two when either half of the starts predicts the other."""
    n = len(sums)
    if n < 2:
        return None, "a single start: no error can be stated"
    if n < FOLDED:
        errors = []
        for i, truth in enumerate(sums):
            others = sorted([*sums[:i], *sums[i + 1 :]])
            guess = (others[(n - 2) // 2] + others[(n - 1) // 2]) / 2.0
            errors.append(abs(guess - truth) / truth if truth else 0.0)
        basis = f"mean over {n} starts, each against the median of the others; too few to judge p95 and p99"
        return {"p50": fsum(errors) / n}, basis
    one, other = _quantiles(sums[::2]), _quantiles(sums[1::2])
    worst = {}
    for q in QUANTILES:
        ways = [(a - b) / b for a, b in ((one[q], other[q]), (other[q], one[q])) if b]
        worst[q] = max(ways, key=abs, default=0.0)
    basis = f"the larger of two: every other start predicts the rest, of {n}"
    if n < 200:
        basis += f"; the p99 of {n // 2} starts is their longest"
    return worst, basis


def _laws(starts: Sequence[Mapping[str, float]]) -> dict[str, Law]:
    present = {name for s in starts for name in s}
    return {
        name: empirical([s.get(name, 0.0) for s in starts], f"{len(starts)} starts")
        for name in PHASES
        if name in present
    }


@dataclass
class _Read:
    """What was read of one function."""

    names: set[str] = field(default_factory=set)
    events: int = 0
    starts: list[dict[str, float]] = field(default_factory=list)


def calibrate(
    files: Sequence[Path],
    *,
    function: str | None = None,
    prefer: str | None = None,
    option: str = "--function",
) -> Calibration:
    """Reads result events, one JSON object per line; other lines (logs) are counted and left out.

    Starts of different functions are never mixed: `function` names one, by its name or its service's; without it the
    events must have a single one, or the one that `prefer` names.

    Raises:
        PlannerError: KW503 for an unreadable file, KW514 for an event with impossible phases, for several functions
            of which none is named, or for files without any start.
    """
    who = ", ".join(str(f) for f in files) or "--from-events"
    found, skipped = _read_events(files)
    wanted = function
    if wanted is None:
        begun = [name for name, read in found.items() if read.starts]
        if len(begun) > 1:
            preferred = [n for n in begun if prefer is not None and prefer in found[n].names]
            if not preferred:
                counts = ", ".join(f"{name} {len(found[name].starts)}" for name in begun)
                raise PlannerError(
                    "KW514",
                    who,
                    f"starts of {len(begun)} functions ({counts})",
                    "one function",
                    because="starts of different functions are no one distribution",
                    fix=f"{option} {begun[0]}",
                )
            wanted = prefer
        elif begun:
            wanted = begun[0]
    chosen = [read for read in found.values() if wanted is None or wanted in read.names]
    starts = [s for read in chosen for s in read.starts]
    if not starts:
        have = ", ".join(name for name, read in found.items() if read.starts)
        raise PlannerError(
            "KW514",
            who,
            f"{sum(read.events for read in chosen)} result events{f' of {wanted!r}' if wanted else ''}, none of a first"
            " invocation",
            f"a function with starts: {have}" if have else "at least one event with phases",
            fix="" if have else "run `keepwarm local run` and give its events file",
        )
    sums = [fsum(s.values()) for s in starts]
    error, basis = _holdout(sums)
    return Calibration(
        function=wanted or "",
        events=sum(read.events for read in chosen),
        starts=len(starts),
        laws=_laws(starts),
        samples=tuple(starts),
        measured_total=_quantiles(sums),
        holdout_error=error,
        error_basis=basis,
        skipped_lines=skipped,
    )


def _read_events(files: Sequence[Path]) -> tuple[dict[str, _Read], int]:
    """Events by function (the service's name where the event has one), and the lines that are no events."""
    found: dict[str, _Read] = {}
    skipped = 0
    for file in files:
        try:
            with file.open(encoding="utf-8", errors="replace") as lines:
                for number, line in enumerate(lines, 1):
                    event = _event(line)
                    if event is None:
                        skipped += bool(line.strip())
                        continue
                    names = [str(event[k]) for k in ("service", "function") if event.get(k)]
                    read = found.setdefault(names[0] if names else "", _Read())
                    read.names.update(names or [""])
                    read.events += 1
                    phases = _phases(event, file, number)
                    if phases:
                        read.starts.append(phases)
        except OSError as e:
            raise PlannerError("KW503", str(file), e.strerror or str(e), "a readable file") from e
    return found, skipped


def _event(line: str) -> dict[str, object] | None:
    if '"keepwarm.result"' not in line:
        return None
    try:
        event = json.loads(line[line.index("{") :])
    except ValueError:
        return None
    return event if isinstance(event, dict) and event.get("event") == "keepwarm.result" else None


def _phases(event: Mapping[str, object], file: Path, line: int) -> dict[str, float]:
    phases = event.get("phases") or {}
    if not isinstance(phases, dict):
        raise PlannerError(
            "KW514", str(file), f"phases {phases!r:.40}", "an object of milliseconds", line=line
        )
    out: dict[str, float] = {}
    nothing: dict[str, float] = {}
    for name, value in phases.items():
        if name not in PHASES:
            raise PlannerError("KW514", str(file), f"phase {name!r}", ", ".join(PHASES), line=line)
        if value is None:
            # the runtime would have timed its own phases: null says there was none, not that nobody looked
            if name not in OUTSIDE:
                nothing[name] = 0.0
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or value < 0:
            raise PlannerError("KW514", str(file), f"{name} {value!r}", "milliseconds, 0 or more", line=line)
        out[name] = value / 1000.0
    # a warm event of a proactive start may carry one stray phase; a start has at least its own initialization
    return {**nothing, **out} if {"runtime_init", "imports"} & set(out) else {}
