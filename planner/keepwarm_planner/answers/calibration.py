"""Cold starts as they were measured: phases from result events, and the error of what they predict."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import fsum, isfinite
from pathlib import Path

from keepwarm_planner.answers.cold_path import QUANTILES, ColdPath, phase_laws, quantiles_of, sample
from keepwarm_planner.errors import PlannerError
from keepwarm_planner.traffic.law import Law, empirical
from keepwarm_runtime.phases import PHASES

OUTSIDE = ("scheduling", "sandbox", "image_pull")
"""Phases that are over before the runtime starts: an event can only have them from the platform."""


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
        """What the assumptions alone predict for the phases that were measured."""
        laws, _ = phase_laws(path)
        return quantiles_of(sample(laws, [p for p in PHASES if p in self.laws], seed))

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
    one, other = quantiles_of(sums[::2]), quantiles_of(sums[1::2])
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
    wanted = _chosen(found, who, function, prefer, option)
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
        measured_total=quantiles_of(sums),
        holdout_error=error,
        error_basis=basis,
        skipped_lines=skipped,
    )


def _chosen(
    found: Mapping[str, _Read], who: str, function: str | None, prefer: str | None, option: str
) -> str | None:
    """The function whose starts count; None where the events have no starts. Raises KW514 when several have."""
    if function is not None:
        return function
    begun = [name for name, read in found.items() if read.starts]
    if len(begun) <= 1:
        return begun[0] if begun else None
    if prefer is not None and any(prefer in found[name].names for name in begun):
        return prefer
    counts = ", ".join(f"{name} {len(found[name].starts)}" for name in begun)
    raise PlannerError(
        "KW514",
        who,
        f"starts of {len(begun)} functions ({counts})",
        "one function",
        because="different functions' starts don't come from one distribution",
        fix=f"{option} {begun[0]}",
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
            # the runtime would have timed its own phases: null means that there was none, not that it was not timed
            if name not in OUTSIDE:
                nothing[name] = 0.0
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or value < 0:
            raise PlannerError("KW514", str(file), f"{name} {value!r}", "milliseconds, 0 or more", line=line)
        out[name] = value / 1000.0
    # a warm event of a proactive start may carry one stray phase; a start has at least its own initialization
    return {**nothing, **out} if {"runtime_init", "imports"} & set(out) else {}
