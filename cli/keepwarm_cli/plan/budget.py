"""`keepwarm plan budget`: a cold start by phase, against a budget."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keepwarm_cli.command_line import CHECK_FAILED, Options
from keepwarm_cli.plan.options import Plotted, law_of, print_json

if TYPE_CHECKING:
    from rich.console import Console

    from keepwarm_cli.plan.stack_file import StackChange
    from keepwarm_planner.answers.budget import BudgetReport
    from keepwarm_planner.answers.calibration import Calibration
    from keepwarm_planner.answers.cold_path import ColdPath
    from keepwarm_planner.answers.explain import Figure
    from keepwarm_planner.traffic.law import Law

MEMORY_MB = 1769
"""One vCPU."""
POOLED = "classify"
"""The function whose budget a stack's is."""


@dataclass(frozen=True, kw_only=True)
class Assumptions(Options, heading="Assumptions about the cold start"):
    """What is not measured."""

    artifact_mb: Annotated[float, typer.Option(help="Function bundle or image, MB.")] = 60.0
    image: Annotated[bool, typer.Option("--image", help="The artifact is a container image.")] = False
    model_mb: Annotated[float, typer.Option(help="Model files fetched at start, MB.")] = 20.0
    memory_mb: Annotated[
        int | None,
        typer.Option(
            help="Memory of the function, MB; 1,769 MB are one vCPU. Default: the stack's, else 1769."
        ),
    ] = None
    bandwidth_mb_s: Annotated[float, typer.Option(help="Registry to environment, MB/s.")] = 80.0
    hash_mb_s: Annotated[float, typer.Option(help="Digest speed on one vCPU, MB/s.")] = 1800.0
    load_mb_s: Annotated[float, typer.Option(help="Deserialization on one vCPU, MB/s.")] = 700.0
    imports_s: Annotated[float, typer.Option(help="Imports on one vCPU, seconds.")] = 0.6
    compile_s: Annotated[float, typer.Option(help="Compilation for this hardware, seconds.")] = 0.0
    warmup_s: Annotated[float, typer.Option(help="First inference less a later one, seconds.")] = 0.1
    phase: Annotated[
        list[str] | None,
        typer.Option(help="PHASE=LAW replaces an assumption, e.g. imports=lognormal:p50=0.4,p99=1."),
    ] = None

    def cold_path(self, memory_mb: int | None) -> "ColdPath":
        """The assumptions as the planner takes them.

        Raises:
            PlannerError: KW500 and KW517, a phase that can't be read.
        """
        from keepwarm_planner.answers.cold_path import ColdPath

        return ColdPath(
            artifact_mb=self.artifact_mb,
            container_image=self.image,
            model_mb=self.model_mb,
            memory_mb=MEMORY_MB if memory_mb is None else memory_mb,
            bandwidth_mb_s=self.bandwidth_mb_s,
            hash_mb_s=self.hash_mb_s,
            load_mb_s=self.load_mb_s,
            imports_s=self.imports_s,
            compile_s=self.compile_s,
            warmup_s=self.warmup_s,
            given=self._given(),
        )

    def _given(self) -> "dict[str, Law]":
        from keepwarm_planner.errors import PlannerError

        given = {}
        for item in self.phase or []:
            key, equals, text = item.partition("=")
            if not equals:
                raise PlannerError("KW500", "budget --phase", repr(item), "PHASE=LAW")
            given[key] = law_of(text, f"budget --phase {key}")
        return given


@dataclass(frozen=True, kw_only=True)
class Measurements(Options, heading="Measurements"):
    """Starts that were seen."""

    from_events: Annotated[
        list[Path] | None,
        typer.Option(
            "--from-events", help="Result events (JSON lines) of real or local runs; may be given repeatedly."
        ),
    ] = None
    function: Annotated[
        str | None, typer.Option(help="Only events of this function or service, e.g. classify.")
    ] = None


@dataclass(frozen=True, kw_only=True)
class Budget(Options, heading="Budget"):
    """What the cold start may take."""

    limit: Annotated[
        list[str] | None,
        typer.Option(
            "--budget", help="PHASE=SECONDS or total=SECONDS at the 99th percentile; may be repeated."
        ),
    ] = None
    stack: Annotated[
        Path | None,
        typer.Option(help="Stack file: its budget applies, to the classifier with its memory."),
    ] = None
    headroom: Annotated[float, typer.Option(help="The stack's budget is the 99th percentile times this.")] = (
        1.25
    )
    write: Annotated[
        bool, typer.Option("--write", help="Write that budget into --stack, in place of its own.")
    ] = False

    def check(self) -> None:
        """Refuse to write to no file."""
        from keepwarm_planner.errors import PlannerError

        if self.write and self.stack is None:
            raise PlannerError("KW500", "budget --write", "no --stack", "a stack file to write to")

    def limits(self) -> dict[str, float]:
        """Seconds by phase, as given on the command line.

        Raises:
            PlannerError: KW500, not PHASE=SECONDS above 0.
        """
        from keepwarm_planner.errors import PlannerError

        limits = {}
        for item in self.limit or []:
            key, _, text = item.partition("=")
            try:
                limits[key] = float(text)
            except ValueError:
                raise PlannerError("KW500", "budget --budget", repr(item), "PHASE=SECONDS") from None
            if not limits[key] > 0.0:
                raise PlannerError("KW500", "budget --budget", repr(item), "seconds above 0")
        return limits


@dataclass(frozen=True, kw_only=True)
class BudgetOptions(Budget, Measurements, Assumptions, Plotted):
    """Everything that `budget` can be asked."""


def run(options: BudgetOptions) -> None:
    """Cold start by phase as a distribution, against a budget; calibrated from result events."""
    from keepwarm_planner.answers.budget import estimate
    from keepwarm_planner.answers.calibration import calibrate

    budgets, memory_mb = _of_stack(options)
    path = options.cold_path(memory_mb if options.memory_mb is None else options.memory_mb)
    calibration = None
    if options.from_events:
        prefer = POOLED if options.stack else None
        calibration = calibrate(options.from_events, function=options.function, prefer=prefer)
    report = estimate(path, {**budgets, **options.limits()}, calibration=calibration)
    assumed = calibration.assumed_total(path) if calibration else None
    settings = {"budgets_ms": report.settings(options.headroom)}
    change = None
    if options.stack is not None:
        from keepwarm_cli.plan.stack_file import merge

        change = merge(options.stack, settings, write=options.write)
    if options.plot is not None:
        _plot(report, options.plot)
    if options.json:
        print_json(
            {
                **report.as_dict(),
                "settings": settings,
                **({"stack": change.as_dict()} if change else {}),
                **({"assumed_total_of_measured_phases_s": assumed} if assumed is not None else {}),
            }
        )
    else:
        _show(report, assumed, settings, change, options)
    # a budget that was just replaced is not broken
    if not report.ok and not options.write:
        raise typer.Exit(CHECK_FAILED)


def _of_stack(options: BudgetOptions) -> tuple[dict[str, float], int | None]:
    """Budget in seconds by phase and memory of the classifier, as the stack has them."""
    if options.stack is None:
        return {}, None
    from keepwarm_cli.plan.stack_file import resolved_settings
    from keepwarm_planner.errors import PlannerError

    settings = resolved_settings(options.stack)
    section = settings.get("budgets_ms") or {}
    budgets = {phase: float(ms) / 1000.0 for phase, ms in section.items()}
    if not budgets and not options.write:
        raise PlannerError(
            "KW513",
            str(options.stack),
            "no keepwarm:budgets_ms",
            "a section budgets_ms",
            fix="--budget total=6",
        )
    return budgets, ((settings.get("functions") or {}).get(POOLED) or {}).get("memory_mb")


def _show(
    report: "BudgetReport",
    assumed: Mapping[str, float] | None,
    settings: Mapping[str, Any],
    change: "StackChange | None",
    options: BudgetOptions,
) -> None:
    """Phases against their budget. `assumed`: what the assumptions alone say of the measured phases."""
    from keepwarm_cli.plan import view
    from keepwarm_cli.plan.stack_file import show_change, show_settings

    console = view.console()
    console.print(_phases(report))
    console.print(_removals(report))
    if report.calibration is not None:
        _show_calibration(console, report.calibration, assumed)
    console.print()
    if change is None:
        show_settings(console, settings)
    else:
        show_change(console, change)
    if options.explain:
        view.explain(console, _figures(report, options.headroom))


def _phases(report: "BudgetReport") -> Any:
    from keepwarm_cli.plan import view

    budgeted = any(row.budget_s is not None for row in [*report.rows, report.total])
    table = view.table(
        "Cold start",
        "phase",
        "p50",
        "p95",
        "p99",
        "share",
        *(["budget p99", ""] if budgeted else []),
        "basis",
        right=(1, 2, 3, 4, *((5,) if budgeted else ())),
    )
    for row in [*report.rows, report.total]:
        mark = {True: "[green]ok[/green]", False: "[red]over[/red]", None: ""}[row.within]
        table.add_row(
            row.name,
            *(view.seconds(row.quantiles[q]) for q in ("p50", "p95", "p99")),
            f"{row.share:.0%}",
            *([view.seconds(row.budget_s) if row.budget_s is not None else "", mark] if budgeted else []),
            row.basis,
            style="bold" if row.name == "total" else None,
        )
    return table


def _removals(report: "BudgetReport") -> Any:
    from rich.markup import escape

    from keepwarm_cli.plan import view

    table = view.table("What removes what", "by", "p99 left", "removes", "")
    for by, phases, left, remark in report.removed:
        names = "everything" if len(phases) == len(report.rows) else ", ".join(phases)
        table.add_row(by, view.seconds(left) if left else "0", names, escape(remark))
    return table


def _show_calibration(
    console: "Console", calibration: "Calibration", assumed: Mapping[str, float] | None
) -> None:
    from rich.markup import escape

    from keepwarm_planner.answers.calibration import FOLDED

    c = calibration
    whose = f" of {escape(c.function)}" if c.function else ""
    console.print(f"calibrated from {c.starts} starts{whose} in {c.events} events", soft_wrap=True)
    if c.holdout_error:
        sign = "" if c.starts < FOLDED else "+"
        errors = ", ".join(f"{q} {e:{sign}.1%}" for q, e in c.holdout_error.items())
        console.print(f"error of the estimate on starts it has not seen: {errors}")
        console.print(f"[dim]({escape(c.error_basis)})[/dim]", soft_wrap=True)
    else:
        console.print(f"[yellow]{escape(c.error_basis)}[/yellow]")
    if assumed is not None:
        off = ", ".join(f"{q} {assumed[q] / v - 1:+.0%}" for q, v in c.measured_total.items() if v > 0.0)
        console.print(f"[dim]the assumptions alone would have been off by {off} on these phases[/dim]")


def _figures(report: "BudgetReport", headroom: float) -> "list[Figure]":
    """Every figure with how it is formed."""
    from keepwarm_planner.answers.explain import Figure

    figures = [
        *report.figures,
        Figure(
            "total",
            report.total.quantiles["p99"],
            "s (p99)",
            "quantile of 20,000 sums: assumed and given phases drawn independently, measured ones as whole starts",
        ),
        Figure(
            "keepwarm:budgets_ms",
            None,
            "ms",
            "p99 x headroom, two figures, rounded up; the total at least its largest phase",
            {"headroom": headroom},
        ),
        Figure("p99 left", None, "s", "the same sum without the phases that the measure removes"),
    ]
    if report.calibration is not None:
        basis = "(predicted quantile - seen quantile) / seen quantile; " + report.calibration.error_basis
        figures.append(Figure("error", None, "", basis))
    return figures


def _plot(report: "BudgetReport", path: Path) -> None:
    """Phases as stacked bars."""
    from keepwarm_cli.plan import view
    from keepwarm_planner.answers import plots

    rows = [["phase", "p50", "p95", "p99", "budget"]]
    for r in [*report.rows, report.total]:
        quantiles = [view.seconds(r.quantiles[q]) for q in ("p50", "p95", "p99")]
        rows.append([r.name, *quantiles, view.seconds(r.budget_s) if r.budget_s else ""])
    plots.save(plots.budget(report), path, title="keepwarm plan budget", tables=[("Phases", rows)])
