"""How `keepwarm plan` shows its answers: tables with rich, files with matplotlib, JSON documents."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from keepwarm_planner.answers.breakeven import BreakEven
from keepwarm_planner.answers.budget import BudgetReport
from keepwarm_planner.answers.calibration import FOLDED
from keepwarm_planner.answers.checklist import Answer
from keepwarm_planner.answers.explain import SIMULATED, Figure
from keepwarm_planner.answers.fit import FitReport
from keepwarm_planner.answers.size import SizeReport
from keepwarm_planner.cost import price_name
from keepwarm_planner.model.design import Workload
from keepwarm_planner.model.engine import Outcome, Run
from keepwarm_planner.model.estimate import Estimate
from keepwarm_planner.model.plain import PlainFigures, PlainReport
from keepwarm_planner.model.system import SystemOutcome
from keepwarm_planner.prices import Prices


@dataclass(frozen=True, slots=True)
class StackChange:
    """What an answer changes in a stack file."""

    file: Path
    sections: Mapping[str, Any]
    checked: bool
    """The program's own reader accepted the whole; False where it can't be imported."""
    written: bool


def finite(value: Any) -> Any:
    """JSON has no infinity: an unbounded figure is null."""
    if isinstance(value, dict):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    if isinstance(value, float) and not isfinite(value):
        return None
    return value


def _console() -> Console:
    console = Console(highlight=False)
    # a pipe has no width of its own: tables must not wrap at 80 there
    return console if console.is_terminal else Console(highlight=False, width=140)


class _Titled(Table):
    """A table under its title; rich would wrap a long title to the width of a narrow table."""

    heading = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(self.heading, style="bold")
        yield from super().__rich_console__(console, options)


def _table(title: str, *columns: str, right: Sequence[int] = ()) -> Table:
    table = _Titled(box=box.SIMPLE_HEAD, pad_edge=False)
    table.heading = title
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i in right else "left", overflow="fold")
    return table


def percent(value: float) -> str:
    """A share, never rounded to nothing."""
    if value < 1e-9:
        return "0"
    return f"{value:.2%}" if value >= 0.001 else f"{value * 100:.2g}%"


def seconds(value: float) -> str:
    """A duration with three figures."""
    if value == inf:
        return "-"
    return f"{value * 1000:.0f} ms" if 0.0 < value < 1.0 else f"{value:.3g} s"


def money(value: float | None) -> str:
    """USD."""
    if value is None:
        return "-"
    return f"{value:,.2f}" if value < 10_000 else f"{value:,.0f}"


def _share(e: Estimate) -> str:
    # a single replication has no interval: fractions are then clipped to 0..1
    if e.low == -inf or (e.low, e.high) == (0.0, 1.0):
        return percent(e.mean)
    return f"{percent(e.mean)} [dim]{percent(e.low)}..{percent(e.high)}[/dim]"


def _number(e: Estimate, digits: int = 4) -> str:
    if e.low == -inf:
        return f"{e.mean:.{digits}g}"
    half = (e.high - e.low) / 2
    return f"{e.mean:.{digits}g} [dim]+-{half:.2g}[/dim]"


def _explain(console: Console, figures: Sequence[Figure], title: str = "How each figure is formed") -> None:
    table = _table(title, "figure", "value", "formula", "with")
    for f in figures:
        value = "" if f.value is None else f"{f.value:.4g}" if isinstance(f.value, float) else str(f.value)
        given = ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in f.inputs.items())
        table.add_row(escape(f.name), escape(f"{value} {f.unit}".strip()), escape(f.formula), escape(given))
    console.print(table)


def _explain_prices(console: Console, prices: Prices, names: Sequence[str]) -> None:
    """The prices behind a figure: page, and what they were checked against."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name in names:
        value = prices.value(name)
        if value is not None:
            key = (prices.page(name), prices.checks.get(name, ""))
            groups.setdefault(key, []).append(f"{name} {value:.6g}")
    table = _table("Prices used, in USD", "price", "page", "checked against")
    for (page, source), members in groups.items():
        checked = escape(source) if source else "[yellow]unchecked[/yellow]"
        table.add_row(escape("\n".join(members)), page, checked)
    console.print(table)


def _explain_simulated(console: Console, names: Sequence[str]) -> None:
    _explain(console, [Figure(n, None, "", SIMULATED[n]) for n in names if n in SIMULATED])


# ---- plain ------------------------------------------------------------------------------------------------


def plain(report: PlainReport, explain: bool) -> None:
    """The plain case."""
    console, s = _console(), report.scenario
    cap = "no cap" if s.max_concurrency is None else f"at most {s.max_concurrency}"
    table = _table(
        f"{s.rate:g}/s, {s.service_mean_s:g} s, idle expiry {s.idle_timeout_s:g} s, {cap},"
        f" {s.environments} provisioned",
        "",
        "whole horizon",
        *(["steady state"] if report.steady else []),
    )

    def row(name: str, show: Any, pick: Any) -> None:
        cells = [show(pick(report.figures))]
        if report.steady:
            cells.append(show(pick(report.steady)))
        table.add_row(name, *cells)

    def share_of(name: str) -> Any:
        return lambda f: getattr(f, name)

    row("cold", _share, share_of("cold_fraction"))
    row("rejected", _share, share_of("rejected_fraction"))
    if s.environments:
        row("on the pool", _share, share_of("provisioned_fraction"))
    row("environments", _number, share_of("instances"))
    row("busy", _number, share_of("busy"))

    def requests(f: PlainFigures) -> int:
        return f.requests

    row("requests", lambda n: f"{n:,}", requests)
    console.print(table)
    start = "from an empty platform" if not s.warmup_s else f"after a warm-up of {s.warmup_s:g} s"
    console.print(
        f"[dim]{s.replications} replications of {s.horizon:,.0f} s, {start}; 95 % intervals; seed {s.seed}; "
        f"{report.kernel} kernel, {report.cpu_s:.2f} CPU s[/dim]"
    )
    if report.kernel_note:
        console.print(f"[yellow]{escape(report.kernel_note)}[/yellow]")
    if explain:
        _explain_simulated(
            console, ("cold_fraction", "rejected_fraction", "provisioned_fraction", "instances", "busy")
        )


# ---- engine and full model --------------------------------------------------------------------------------


def _row_of(result: Outcome | SystemOutcome) -> dict[str, Any]:
    if isinstance(result, Outcome):
        return {
            "name": result.design.name,
            "cold": result.cold_fraction,
            "refused": result.throttled_fraction,
            "lost": result.dropped_fraction,
            "good": result.good_fraction,
            "latency": result.latency_s,
            "busy": result.max_busy,
            "cost": result.cost_month,
            "queue": seconds(result.wait_s["p99"]) if result.design.queue_limit else "-",
            "pool": percent(result.utilization.mean) if result.environments.mean else "-",
            "parts": result.cost_parts,
            "design": result.design,
            "instance": "",
        }
    lost = Estimate(
        *(
            getattr(result.failed_fraction, k) + getattr(result.dropped_fraction, k)
            for k in ("mean", "low", "high")
        )
    )
    return {
        "name": result.name,
        "cold": result.cold_fraction,
        "refused": result.throttles_per_request,
        "lost": lost,
        "good": result.good_fraction,
        "latency": result.latency_s,
        "busy": result.max_busy,
        "cost": result.cost_month,
        "queue": seconds(result.queue_age_s["p99"]),
        "pool": "-",
        "parts": result.cost_parts,
        "design": result.system.design,
        "instance": result.system.downstream.instance_type if result.system.downstream else "",
    }


def _priced(row: dict[str, Any]) -> list[tuple[str, float, str]]:
    """Parts of a design's cost that cost something, with the price in each."""
    return [
        (part, value, price_name(part, row["design"].architecture, instance_type=row["instance"]))
        for part, value in row["parts"].items()
        if value > 0.0
    ]


def _cost_figures(row: dict[str, Any], prices: Prices, prefix: str = "") -> list[Figure]:
    """Each part of a design's cost with its formula and the price in it."""
    figures = []
    for part, value, name in _priced(row):
        given: dict[str, object] = {name: prices.value(name)}
        if name.endswith(("_arm", "_x86")):
            given["memory_mb"] = row["design"].memory_mb
        figures.append(Figure(f"{prefix}{part}", value, "USD/month", SIMULATED.get(part, ""), given))
    return figures


def price_names(outcomes: Sequence[Outcome | SystemOutcome]) -> list[str]:
    """Prices that went into the costs of these designs."""
    return list(dict.fromkeys(name for row in map(_row_of, outcomes) for _, _, name in _priced(row)))


def front(results: Sequence[Outcome | SystemOutcome]) -> list[str]:
    """Names on the Pareto front of cost, p99, cold fraction and lost Goodput."""
    from keepwarm_planner.model.design_file import pareto

    points = {}
    for row in map(_row_of, results):
        points[row["name"]] = (
            round(row["cost"].mean, 2),
            round(row["latency"]["p99"], 4),
            row["cold"].mean,
            round(1.0 - row["good"].mean, 6),
        )
    return pareto(points)


def results(
    outcomes: Sequence[Outcome | SystemOutcome],
    workload: Workload,
    prices: Prices,
    replications: int,
    explain: bool,
    front: Sequence[str] | None = None,
) -> None:
    """One row per design."""
    console = _console()
    table = _table(
        f"{workload.source.name}",
        *(["front"] if front is not None else []),
        "design",
        "cold",
        "throttled",
        "lost",
        "Goodput",
        "p50",
        "p99",
        "queue p99",
        "busiest",
        "pool used",
        "USD/month",
    )
    rows = [_row_of(r) for r in outcomes]
    if front is not None:
        rows.sort(key=lambda r: r["cost"].mean)
    for r in rows:
        best = [] if front is None else ["[green]*[/green]" if r["name"] in front else ""]
        table.add_row(
            *best,
            escape(r["name"]),
            _share(r["cold"]),
            percent(r["refused"].mean),
            percent(r["lost"].mean),
            percent(r["good"].mean),
            seconds(r["latency"]["p50"]),
            seconds(r["latency"]["p99"]),
            r["queue"],
            f"{r['busy']:.0f}",
            r["pool"],
            money(r["cost"].mean),
        )
    console.print(table)
    service = workload.service.text if workload.service else "durations of the trace"
    total = (outcomes[0].requests // replications) if outcomes else 0
    console.print(
        f"[dim]{total:,} requests x {replications} replications; service {escape(service)}; cold start"
        f" {escape(workload.cold.text or 'measured')}; {escape(prices.stamp(price_names(outcomes)))};"
        f" {'95 % intervals' if replications > 1 else 'one replication: no intervals'}[/dim]",
        soft_wrap=True,
    )
    if front is not None:
        console.print(
            "[dim]* no other design is at least as good in cost, p99, cold fraction and Goodput[/dim]"
        )
    for full in outcomes:
        if not isinstance(full, SystemOutcome):
            continue
        notes = [
            f"{full.retries_per_request.mean:.3g} retries",
            f"{full.refused_per_request.mean:.3g} refusals per request{_reasons(full)}",
            f"{percent(full.open_fraction.mean)} open at the end",
        ]
        if full.max_tasks:
            notes += [
                f"{full.tasks.mean:.2f} tasks on average (at most {full.max_tasks}, used"
                f" {full.task_utilization.mean:.0%})",
                f"{full.wakes.mean:.1f} wake-ups",
            ]
        console.print(f"[dim]{escape(full.name)}: {', '.join(notes)}[/dim]", soft_wrap=True)
    if explain:
        names = [
            "cold_fraction",
            "throttled_fraction",
            "dropped_fraction",
            "good_fraction",
            "latency",
            "queue_wait",
            "max_busy",
            "utilization",
        ]
        if any(isinstance(o, SystemOutcome) for o in outcomes):
            names += ["lost_full", "retries", "refusals", "open_fraction", "tasks", "wakes"]
        _explain_simulated(console, names)
        figures = [f for row in rows for f in _cost_figures(row, prices, f"{row['name']}: ")]
        _explain(console, figures, "How each cost is formed")
        _explain_prices(console, prices, price_names(outcomes))


def _reasons(outcome: SystemOutcome) -> str:
    given = [f"{name.replace('_', ' ')} {share:.3g}" for name, share in outcome.refusals.items() if share]
    return f" ({', '.join(given)})" if given else ""


def results_document(
    outcomes: Sequence[Outcome | SystemOutcome],
    workload: Workload,
    prices: Prices,
    seed: int,
    replications: int,
    run: Run | None,
    timeline: bool,
) -> dict[str, Any]:
    """The same as JSON."""
    return {
        "trace": workload.source.name,
        "service": workload.service.text if workload.service else None,
        "cold_start": workload.cold.text,
        "latency_target_s": workload.latency_target_s,
        "seed": seed,
        "replications": replications,
        "requests": outcomes[0].requests // replications if outcomes else 0,
        "horizon_s": run.horizon_s if run else None,
        "kernel": run.kernel if run else "python (full model)",
        "cpu_s": sum(r.cpu_s for r in outcomes if isinstance(r, SystemOutcome)) + (run.cpu_s if run else 0.0),
        "region": prices.region,
        "prices_dated": prices.dated,
        "prices_unchecked": prices.unchecked(price_names(outcomes)),
        "designs": [r.as_dict(timeline=timeline) for r in outcomes],
    }


def _tables(outcomes: Sequence[Outcome | SystemOutcome]) -> list[tuple[str, list[list[str]]]]:
    rows = [["design", "cold", "throttled", "lost", "Goodput", "p50", "p99", "USD/month"]]
    for r in map(_row_of, outcomes):
        rows.append(
            [
                r["name"],
                percent(r["cold"].mean),
                percent(r["refused"].mean),
                percent(r["lost"].mean),
                percent(r["good"].mean),
                seconds(r["latency"]["p50"]),
                seconds(r["latency"]["p99"]),
                money(r["cost"].mean),
            ]
        )
    return [("Designs", rows)]


def plot_timelines(outcomes: Sequence[Outcome | SystemOutcome], path: Path) -> None:
    """A timeline per design: one file, or numbered files for pictures."""
    from keepwarm_planner.answers import plots

    drawn = []
    for r in outcomes:
        name = r.design.name if isinstance(r, Outcome) else r.name
        if r.timeline:
            drawn.append((name, plots.timeline(name, r.timeline)))
    if path.suffix.lower() == ".html":
        path.write_text(plots.page("keepwarm plan simulate", drawn, _tables(outcomes)), encoding="utf-8")
        return
    for i, (name, figure) in enumerate(drawn):
        target = path if len(drawn) == 1 else path.with_stem(f"{path.stem}-{i + 1}")
        plots.save(figure, target, title=name)


def plot_pareto(outcomes: Sequence[Outcome | SystemOutcome], names: Sequence[str], path: Path) -> None:
    """The comparison as a plot."""
    from keepwarm_planner.answers import plots

    figure = plots.pareto([_point(r) for r in outcomes], names)
    plots.save(figure, path, title="keepwarm plan compare", tables=_tables(outcomes))


def _point(r: Outcome | SystemOutcome) -> Any:
    from keepwarm_planner.answers.plots import Dot

    row = _row_of(r)
    return Dot(row["name"], row["cost"].mean, row["cold"].mean, row["latency"]["p99"])


# ---- size -------------------------------------------------------------------------------------------------


def _pool_text(report: SizeReport) -> str:
    d = report.answer.design
    if not d.peak_environments:
        return "no warm pool: scale to zero"
    tracking = "" if d.tracking is None else f", target tracking at {d.tracking.target_utilization:.0%}"
    if d.schedule:
        text = f"a daily schedule of {min(s for _, s in d.schedule)} to {max(s for _, s in d.schedule)} environments"
        return text + (f"{tracking} up to {d.tracking.max_environments}" if d.tracking else "")
    if d.tracking:
        return f"{d.tracking.environments} to {d.tracking.max_environments} environments{tracking}"
    return f"{d.environments} environments, constant"


def size(
    report: SizeReport,
    workload: Workload,
    prices: Prices,
    explain: bool,
    stack: StackChange | None = None,
) -> None:
    """The answer, what decided it, what would change it, the settings to paste."""
    console, a = _console(), report.answer
    cold = f"{percent(a.cold_fraction.mean)} cold (95 %: at most {percent(a.cold_fraction.high)})"
    console.print(f"[bold green]{escape(_pool_text(report))}[/bold green]", soft_wrap=True)
    console.print(
        f"{cold} for a target of {percent(report.target.cold_fraction)}, p99 {seconds(a.latency_s['p99'])},"
        f" {money(a.cost_month.mean)} USD a month",
        soft_wrap=True,
    )
    console.print()
    console.print(f"[bold]decided by[/bold]     {escape(report.decided_by)}", soft_wrap=True)
    for i, note in enumerate(report.would_change):
        console.print(
            f"[bold]{'would change' if i == 0 else '            '}[/bold]   {escape(note)}", soft_wrap=True
        )
    console.print()
    table = _table(
        "Cheapest of each kind that meets the target",
        "kind",
        "design",
        "cold",
        "p99",
        "pool used",
        "USD/month",
    )
    for kind, outcome in report.best_by_kind.items():
        if outcome is None:
            table.add_row(kind, "[dim]none meets the target[/dim]", "", "", "", "")
            continue
        style = "bold" if outcome.design.name == a.design.name else None
        table.add_row(
            kind,
            escape(outcome.design.name),
            _share(outcome.cold_fraction),
            seconds(outcome.latency_s["p99"]),
            percent(outcome.utilization.mean) if outcome.environments.mean else "-",
            money(outcome.cost_month.mean),
            style=style,
        )
    console.print(table)
    from keepwarm_planner.answers.settings import POOLED, settings_yaml

    if stack is None:
        console.print("[bold]stack settings[/bold] [dim](stacks/Pulumi.<stack>.yaml)[/dim]")
        console.print(settings_yaml(report.settings), markup=False, soft_wrap=True)
        if len(report.settings["functions"]) == 1 and POOLED not in report.settings["functions"]:  # type: ignore[arg-type,operator]
            console.print(f"[yellow]the stack keeps a warm pool and a queue for {POOLED} only[/yellow]")
    else:
        _stack_change(console, stack)
    console.print(
        f"[dim]{report.run.requests:,} requests, {report.screened} designs; service"
        f" {escape(workload.service.text if workload.service else 'of the trace')}; cold start"
        f" {escape(workload.cold.text or 'measured')}; {escape(prices.stamp(price_names([a])))};"
        f" {report.run.kernel} kernel, {report.run.wall_s:.1f} s[/dim]",
        soft_wrap=True,
    )
    if explain:
        _explain(console, report.figures)
        _explain_simulated(console, ("cold_fraction", "latency", "utilization"))
        _explain(console, _cost_figures(_row_of(a), prices), "How the cost is formed")
        _explain_prices(console, prices, price_names([a]))


def change_document(change: StackChange) -> dict[str, Any]:
    """The same as JSON."""
    return {
        "file": str(change.file),
        "sections": dict(change.sections),
        "checked": change.checked,
        "written": change.written,
    }


def _stack_change(console: Console, change: StackChange) -> None:
    file, sections, checked = change.file, change.sections, change.checked
    if not sections:
        console.print(f"[bold]{escape(str(file))}[/bold] has these settings already")
        return
    from keepwarm_planner.answers.stack import rendered

    verdict = (
        "the program accepts them" if checked else "not checked: the program's settings can't be read here"
    )
    console.print(f"[bold]sections of {escape(str(file))}[/bold] [dim]({verdict})[/dim]", soft_wrap=True)
    console.print("config:\n" + rendered(sections), markup=False, soft_wrap=True, end="")
    if change.written:
        console.print(f"[green]written to {escape(str(file))}[/green]")
    console.print()


def plot_size(report: SizeReport, path: Path) -> None:
    """Cost against cold starts of all confirmed designs, the answer marked."""
    from keepwarm_planner.answers import plots

    outcomes: list[Outcome] = list(report.run.outcomes)
    figure = plots.pareto(
        [_point(o) for o in outcomes],
        front(outcomes),
        target_cold=report.target.cold_fraction,
        chosen=report.answer.design.name,
    )
    plots.save(figure, path, title="keepwarm plan size", tables=_tables(outcomes))


# ---- budget -----------------------------------------------------------------------------------------------


def budget(
    report: BudgetReport,
    assumed: Mapping[str, float] | None,
    settings: Mapping[str, Any],
    headroom: float,
    explain: bool,
    stack: StackChange | None = None,
) -> None:
    """Phases against their budget. `assumed`: what the assumptions alone say of the measured phases."""
    console = _console()
    budgeted = any(row.budget_s is not None for row in [*report.rows, report.total])
    table = _table(
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
            *(seconds(row.quantiles[q]) for q in ("p50", "p95", "p99")),
            f"{row.share:.0%}",
            *([seconds(row.budget_s) if row.budget_s is not None else "", mark] if budgeted else []),
            row.basis,
            style="bold" if row.name == "total" else None,
        )
    console.print(table)
    removed = _table("What removes what", "by", "p99 left", "removes", "")
    for by, phases, left, remark in report.removed:
        names = "everything" if len(phases) == len(report.rows) else ", ".join(phases)
        removed.add_row(by, seconds(left) if left else "0", names, escape(remark))
    console.print(removed)
    c = report.calibration
    if c is not None:
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
    console.print()
    if stack is None:
        from keepwarm_planner.answers.stack import rendered

        console.print("[bold]stack settings[/bold] [dim](stacks/Pulumi.<stack>.yaml)[/dim]")
        console.print("config:\n" + rendered(settings), markup=False, soft_wrap=True)
    else:
        _stack_change(console, stack)
    if explain:
        figures = list(report.figures)
        figures.append(
            Figure(
                "total",
                report.total.quantiles["p99"],
                "s (p99)",
                "quantile of 20,000 sums: assumed and given phases drawn independently, measured ones as whole starts",
            )
        )
        figures.append(
            Figure(
                "keepwarm:budget",
                None,
                "ms",
                "p99 x headroom, two figures, rounded up; the total at least its largest phase",
                {"headroom": headroom},
            )
        )
        figures.append(
            Figure("p99 left", None, "s", "the same sum without the phases that the measure removes")
        )
        if c is not None:
            figures.append(
                Figure(
                    "error",
                    None,
                    "",
                    "(predicted quantile - seen quantile) / seen quantile; " + c.error_basis,
                )
            )
        _explain(console, figures)


def plot_budget(report: BudgetReport, path: Path) -> None:
    """Phases as stacked bars."""
    from keepwarm_planner.answers import plots

    rows = [["phase", "p50", "p95", "p99", "budget"]]
    for r in [*report.rows, report.total]:
        rows.append(
            [
                r.name,
                *(seconds(r.quantiles[q]) for q in ("p50", "p95", "p99")),
                seconds(r.budget_s) if r.budget_s else "",
            ]
        )
    plots.save(plots.budget(report), path, title="keepwarm plan budget", tables=[("Phases", rows)])


# ---- fit --------------------------------------------------------------------------------------------------

_COLOUR = {"Strong": "green", "Moderate-strong": "green", "Moderate": "yellow"}


def fit(reports: Sequence[FitReport], prices: Prices, explain: bool, detailed: bool) -> None:
    """Verdicts, and for a single workload the candidates."""
    console = _console()
    table = _table("Serverless fit", "workload", "verdict", "runs on", "USD/month", "because")
    for r in reports:
        colour = _COLOUR.get(r.verdict.value, "red" if r.verdict.value.startswith("Weak") else "cyan")
        table.add_row(
            escape(r.workload.name),
            f"[{colour}]{r.verdict.value}[/{colour}]",
            r.recommended.name if r.recommended else "[red]nothing here[/red]",
            money(r.recommended.cost_month) if r.recommended else "",
            escape("; ".join(r.reasons)),
        )
    console.print(table)
    for r in reports if detailed else []:
        rows = _table(
            f"{r.workload.name}: candidates",
            "",
            "platform",
            "cold p99",
            "meet it",
            "USD/month",
            "why not, or remark",
        )
        for c in r.candidates:
            mark = (
                "[green]fits[/green]"
                if c.fits
                else "[red]excluded[/red]"
                if c.excluded
                else "[yellow]misses[/yellow]"
            )
            rows.add_row(
                mark,
                c.name,
                seconds(c.cold_p99_s) if c.cold_p99_s else "-",
                percent(c.cold_share),
                money(c.cost_month),
                escape("; ".join([*c.excluded, *c.misses]) or c.remark),
            )
        console.print(rows)
        if r.would_change:
            console.print("[bold]would change it[/bold]")
            for note in r.would_change:
                console.print(f"  {escape(note)}")
        else:
            console.print("[bold]would change it[/bold]  nothing within a factor of 1,000")
        if explain:
            _explain(console, r.figures)
    used = list(dict.fromkeys(name for r in reports for name in r.price_names))
    if explain:
        _explain_prices(console, prices, used)
    console.print(f"[dim]{escape(prices.stamp(used))}[/dim]")


# ---- breakeven, checklist, prices -------------------------------------------------------------------------


def breakeven(report: BreakEven, prices: Prices, explain: bool) -> None:
    """Crossing, curve and sensitivity."""
    console = _console()
    console.print(f"[bold green]{escape(report.note)}[/bold green]")
    table = _table(
        "Per month and unit",
        "duty",
        "requests/s",
        "scale to zero",
        "always on",
        "meet a cold start",
        right=(0, 1, 2, 3, 4),
    )
    for p in report.points[::10]:
        cheaper = p.zero < p.always
        table.add_row(
            f"{p.duty:.0%}",
            f"{p.requests_per_s:.3g}",
            f"[green]{money(p.zero)}[/green]" if cheaper else money(p.zero),
            money(p.always) if cheaper else f"[green]{money(p.always)}[/green]",
            percent(p.cold_share),
        )
    console.print(table)
    moves = _table("What moves the crossing", "change", "crossing then")
    for change, crossing in report.sensitivity:
        moves.add_row(change, "none" if crossing is None else f"{crossing:.2%}")
    console.print(moves)
    console.print(f"[dim]{escape(prices.stamp(report.price_names))}[/dim]")
    if explain:
        _explain(console, report.figures)
        _explain_prices(console, prices, report.price_names)


def plot_breakeven(report: BreakEven, path: Path) -> None:
    """Both cost lines."""
    from keepwarm_planner.answers import plots

    rows = [["duty", "scale to zero", "always on"]]
    rows += [[f"{p.duty:.0%}", money(p.zero), money(p.always)] for p in report.points[::5]]
    plots.save(
        plots.breakeven(report), path, title="keepwarm plan breakeven", tables=[("USD per month", rows)]
    )


def checklist(answers: Sequence[Answer], stack: Path) -> None:
    """The seven answers."""
    console = _console()
    table = _table(f"Checklist of {stack}", "", "question", "answer and evidence")
    for a in answers:
        mark = "[green]ok[/green]" if a.ok else "[red]fail[/red]" if a.answered else "[yellow]open[/yellow]"
        lines = [f"[bold]{escape(a.text)}[/bold]", *(f"- {escape(e)}" for e in a.evidence)]
        if a.fix:
            lines.append(f"[yellow]fix: {escape(a.fix)}[/yellow]")
        table.add_row(mark, f"{a.number}. {escape(a.question)}", "\n".join(lines))
    console.print(table)
    left = sum(not a.answered for a in answers)
    if left:
        console.print(f"[yellow]{left} of {len(answers)} questions are unanswered[/yellow]")


def resolved_settings(stack: Path) -> dict[str, Any]:
    """Settings of a stack with their defaults where the program's own reader can be imported, else as written.

    Raises KW513 with everything that the program refuses.
    """
    from keepwarm_planner.answers.stack import stack_settings

    written = stack_settings(stack)
    resolved = _resolved(stack, written)
    return written if resolved is None else resolved


def _resolved(stack: Path, written: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the program's reader makes of these settings; None where there is none to ask. Raises KW513."""
    import json

    from keepwarm_planner.errors import PlannerError

    reader = _reader(stack)
    if reader is None:
        return None
    raw = {k: v if isinstance(v, str) else json.dumps(v) for k, v in written.items()}
    try:
        settings = reader.load(raw, stack.stem.removeprefix("Pulumi."))
    except Exception as e:
        problems = getattr(e, "problems", None)
        if problems is None:
            raise
        raise PlannerError(
            "KW513", str(stack), "; ".join(problems), "settings that the program accepts"
        ) from e
    resolved: dict[str, Any] = settings.model_dump(mode="json")
    return resolved


def _reader(stack: Path) -> Any:
    """The program's `Settings`, beside whose folder the stack files lie; None where it can't be imported."""
    import sys
    from importlib.util import module_from_spec, spec_from_file_location

    file = stack.resolve().parent.parent / "infra" / "settings.py"
    spec = spec_from_file_location("keepwarm_stack_settings", file) if file.is_file() else None
    if spec is None or spec.loader is None:
        return None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except ImportError:
        return None
    return module.Settings


def accepted(stack: Path, written: dict[str, Any]) -> bool:
    """Whether the program's reader took these settings; False where there is none to ask. Raises KW513."""
    return _resolved(stack, written) is not None


def stack_of(stack: Path) -> tuple[dict[str, Any], str | None]:
    """A stack's settings with their defaults, and its region."""
    from keepwarm_planner.answers.stack import own_settings, stack_config

    config = stack_config(stack)
    written, region = own_settings(config), config.get("aws:region")
    resolved = _resolved(stack, written)
    return written if resolved is None else resolved, region if isinstance(region, str) else None


def price_document(table: Prices) -> dict[str, Any]:
    """Prices as JSON."""
    return {
        **{name: getattr(table, name) for name in table.__dataclass_fields__},
        "unchecked": table.unchecked(),
    }


def prices(tables: Sequence[Prices]) -> None:
    """Prices side by side."""
    console = _console()
    table = _table(f"USD, {tables[0].dated}", "price", *(t.region for t in tables))
    skip = {"region", "dated", "sources", "notes", "ec2_hour", "checks"}
    kinds = sorted({k for t in tables for k in t.ec2_hour})
    for name in [n for n in tables[0].__dataclass_fields__ if n not in skip] + kinds:
        cells = []
        for t in tables:
            value = t.value(name) if name in t.ec2_hour or name not in kinds else None
            mark = "" if name in t.checks else "[yellow]?[/yellow]"
            cells.append("-" if value is None else f"{value:.6g}{mark}")
        table.add_row(f"{name} per hour" if name in kinds else name, *cells)
    console.print(table)
    if any(t.unchecked() for t in tables):
        console.print("[yellow]?[/yellow] [dim]unchecked: not read against any source[/dim]")
    if len(tables) == 1:
        _explain_prices(console, tables[0], sorted(tables[0].checks))
    for service, page in tables[0].sources.items():
        console.print(f"[dim]{service}: {page}[/dim]")
    for note in tables[0].notes:
        console.print(f"[dim]{escape(note)}[/dim]", soft_wrap=True)
