"""The cold start, phase by phase (contract C1), as a distribution, against a budget.

Each phase has a law: measured (from result events, `calibrate`), given, or assumed from bytes and speeds. The total
is their sum: assumed phases are drawn independently, measured ones as whole starts, and a calibration states how far
an estimate from some of its starts is from the others. Verification runs while the bytes stream in, so it only shows
by what it takes longer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from keepwarm_planner.answers.calibration import Calibration
from keepwarm_planner.answers.cold_path import QUANTILES, RESTORE, ColdPath, phase_laws, quantiles_of, sample
from keepwarm_planner.answers.explain import Figure
from keepwarm_planner.errors import PlannerError
from keepwarm_planner.traffic.law import Law, empirical
from keepwarm_runtime.phases import PHASES

BUDGETED = ("runtime_init", "imports", "fetch", "verify", "load", "warmup")
"""Phases that a stack budgets, beside the total."""

HEADROOM = 1.25
"""A stack's budget over the estimated 99th percentile."""

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
        """`keepwarm:budgets_ms` of a stack that holds what is estimated: 99th percentiles times the headroom, in ms,
        rounded up to two figures."""
        if not headroom >= 1.0:
            raise PlannerError("KW500", "budget --headroom", headroom, "1 or more")
        p99 = {row.name: row.quantiles["p99"] for row in self.rows}
        limits_ms = {name: _ceiling(p99[name] * headroom * 1000.0) for name in BUDGETED}
        total = _ceiling(self.total.quantiles["p99"] * headroom * 1000.0)
        return {**limits_ms, "total": max(total, *limits_ms.values())}

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
            "settings": {"budgets_ms": self.settings()},
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
        # a law that the caller gives takes precedence over a measured one
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
    totals = sample(laws, PHASES, seed, starts, measured)
    kinds = {row.basis for row in rows}
    total = PhaseRow(
        "total", quantiles_of(totals), 1.0, budgets.get("total"), kinds.pop() if len(kinds) == 1 else "mixed"
    )
    return BudgetReport(
        rows=rows,
        total=total,
        law=empirical(totals, "sum of the phases"),
        removed=_removed(laws, seed, starts, measured),
        figures=figures,
        calibration=calibration,
    )


def _removed(
    laws: Mapping[str, Law], seed: int, starts: Sequence[Mapping[str, float]], measured: set[str]
) -> list[tuple[str, tuple[str, ...], float, str]]:
    """What each measure removes and the 99th percentile it leaves, best first."""
    out = []
    for by, (phases, remark) in MITIGATIONS.items():
        if all(laws[p].mean == 0.0 for p in phases):
            continue
        left, rest, still = [p for p in PHASES if p not in phases], dict(laws), measured
        if by == "SnapStart":
            rest["load"], still = RESTORE, measured - {"load"}
            left.append("load")
        after = quantiles_of(sample(rest, left, seed, starts, still))["p99"] if left else 0.0
        out.append((by, phases, after, remark))
    return sorted(out, key=lambda x: x[2])


def _ceiling(ms: float) -> int:
    """The next number of two figures; a budget of nothing is 1 ms."""
    if ms <= 10.0:
        return max(ceil(ms), 1)
    step = int(10 ** (len(str(int(ms))) - 2))
    return ceil(ms / step - 1e-9) * step
