"""What simulated designs came to, as rows, JSON and plots: the answers of simulate, compare and size.

Imports the planner and rich: a command imports it when it has an answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from keepwarm_cli.plan import view
from keepwarm_planner.answers.explain import SIMULATED, Figure
from keepwarm_planner.answers.plots import Dot
from keepwarm_planner.cost import price_name
from keepwarm_planner.model.design import Design, Workload
from keepwarm_planner.model.engine import Outcome, Run
from keepwarm_planner.model.estimate import Estimate
from keepwarm_planner.model.system import SystemOutcome
from keepwarm_planner.prices import Prices

Simulated = Outcome | SystemOutcome


@dataclass(frozen=True, slots=True)
class Results:
    """Designs simulated on the same arrivals."""

    outcomes: Sequence[Simulated]
    workload: Workload
    prices: Prices
    seed: int
    replications: int
    run: Run | None
    """What the fast engine says of its run; None when every design needed the full model."""

    @property
    def requests(self) -> int:
        """Requests of one replication."""
        return self.outcomes[0].requests // self.replications if self.outcomes else 0


@dataclass(frozen=True, slots=True)
class Row:
    """One design in the table."""

    name: str
    cold: Estimate
    throttled: Estimate
    lost: Estimate
    good: Estimate
    latency_s: dict[str, float]
    busiest: float
    cost_month: Estimate
    queue: str
    pool_used: str
    cost_parts: dict[str, float]
    design: Design
    instance_type: str

    def priced(self) -> list[tuple[str, float, str]]:
        """Parts of its cost that cost something, with the price in each."""
        return [
            (part, value, price_name(part, self.design.architecture, instance_type=self.instance_type))
            for part, value in self.cost_parts.items()
            if value > 0.0
        ]

    def cost_figures(self, prices: Prices, prefix: str = "") -> list[Figure]:
        """Each part of its cost with the formula and the price in it."""
        figures = []
        for part, value, name in self.priced():
            given: dict[str, object] = {name: prices.value(name)}
            if name.endswith(("_arm", "_x86")):
                given["memory_mb"] = self.design.memory_mb
            figures.append(Figure(f"{prefix}{part}", value, "USD/month", SIMULATED.get(part, ""), given))
        return figures


def row_of(result: Simulated) -> Row:
    """The row of a design."""
    return _row_of_engine(result) if isinstance(result, Outcome) else _row_of_system(result)


def _row_of_engine(result: Outcome) -> Row:
    return Row(
        name=result.design.name,
        cold=result.cold_fraction,
        throttled=result.throttled_fraction,
        lost=result.dropped_fraction,
        good=result.good_fraction,
        latency_s=result.latency_s,
        busiest=result.max_busy,
        cost_month=result.cost_month,
        queue=view.seconds(result.wait_s["p99"]) if result.design.queue_limit else "-",
        pool_used=view.percent(result.utilization.mean) if result.environments.mean else "-",
        cost_parts=result.cost_parts,
        design=result.design,
        instance_type="",
    )


def _row_of_system(result: SystemOutcome) -> Row:
    failed, dropped = result.failed_fraction, result.dropped_fraction
    downstream = result.system.downstream
    return Row(
        name=result.name,
        cold=result.cold_fraction,
        throttled=result.throttles_per_request,
        lost=Estimate(failed.mean + dropped.mean, failed.low + dropped.low, failed.high + dropped.high),
        good=result.good_fraction,
        latency_s=result.latency_s,
        busiest=result.max_busy,
        cost_month=result.cost_month,
        queue=view.seconds(result.queue_age_s["p99"]),
        pool_used="-",
        cost_parts=result.cost_parts,
        design=result.system.design,
        instance_type=downstream.instance_type if downstream else "",
    )


def price_names(outcomes: Sequence[Simulated]) -> list[str]:
    """Prices that went into the costs of these designs."""
    return list(dict.fromkeys(name for row in map(row_of, outcomes) for _, _, name in row.priced()))


def front(outcomes: Sequence[Simulated]) -> list[str]:
    """Names on the Pareto front of cost, p99, cold fraction and lost Goodput."""
    from keepwarm_planner.model.design_file import pareto

    return pareto(
        {
            row.name: (
                round(row.cost_month.mean, 2),
                round(row.latency_s["p99"], 4),
                row.cold.mean,
                round(1.0 - row.good.mean, 6),
            )
            for row in map(row_of, outcomes)
        }
    )


def show(results: Results, *, explain: bool, front: Sequence[str] | None = None) -> None:
    """Print a row per design.

    Args:
        results: what was simulated.
        explain: print the formulas too.
        front: names that nothing beats; given, they are marked and the rows sorted by cost.
    """
    console = view.console()
    rows = [row_of(outcome) for outcome in results.outcomes]
    if front is not None:
        rows.sort(key=lambda row: row.cost_month.mean)
    console.print(_table(results, rows, front))
    workload = results.workload
    service = workload.service.text if workload.service else "durations of the trace"
    console.print(
        f"[dim]{results.requests:,} requests x {results.replications} replications; service {escape(service)};"
        f" cold start {escape(workload.cold.text or 'measured')};"
        f" {escape(results.prices.stamp(price_names(results.outcomes)))};"
        f" {'95 % intervals' if results.replications > 1 else 'one replication: no intervals'}[/dim]",
        soft_wrap=True,
    )
    if front is not None:
        console.print(
            "[dim]* no other design is at least as good in cost, p99, cold fraction and Goodput[/dim]"
        )
    for outcome in results.outcomes:
        if isinstance(outcome, SystemOutcome):
            console.print(f"[dim]{escape(outcome.name)}: {_notes(outcome)}[/dim]", soft_wrap=True)
    if explain:
        _explain(console, results, rows)


def _table(results: Results, rows: Sequence[Row], front: Sequence[str] | None) -> Any:
    table = view.table(
        results.workload.source.name,
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
    for row in rows:
        best = [] if front is None else ["[green]*[/green]" if row.name in front else ""]
        table.add_row(
            *best,
            escape(row.name),
            view.share(row.cold),
            view.percent(row.throttled.mean),
            view.percent(row.lost.mean),
            view.percent(row.good.mean),
            view.seconds(row.latency_s["p50"]),
            view.seconds(row.latency_s["p99"]),
            row.queue,
            f"{row.busiest:.0f}",
            row.pool_used,
            view.money(row.cost_month.mean),
        )
    return table


def _notes(full: SystemOutcome) -> str:
    """What only the full model knows of a design."""
    notes = [
        f"{full.retries_per_request.mean:.3g} retries",
        f"{full.refused_per_request.mean:.3g} refusals per request{_reasons(full)}",
        f"{view.percent(full.open_fraction.mean)} open at the end",
    ]
    if full.max_tasks:
        notes += [
            f"{full.tasks.mean:.2f} tasks on average (at most {full.max_tasks}, used"
            f" {full.task_utilization.mean:.0%})",
            f"{full.wakes.mean:.1f} wake-ups",
        ]
    return ", ".join(notes)


def _reasons(outcome: SystemOutcome) -> str:
    given = [f"{name.replace('_', ' ')} {share:.3g}" for name, share in outcome.refusals.items() if share]
    return f" ({', '.join(given)})" if given else ""


def _explain(console: Console, results: Results, rows: Sequence[Row]) -> None:
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
    if any(isinstance(o, SystemOutcome) for o in results.outcomes):
        names += ["lost_full", "retries", "refusals", "open_fraction", "tasks", "wakes"]
    view.explain_simulated(console, names)
    figures = [f for row in rows for f in row.cost_figures(results.prices, f"{row.name}: ")]
    view.explain(console, figures, "How each cost is formed")
    view.explain_prices(console, results.prices, price_names(results.outcomes))


def document(results: Results, *, timeline: bool = False) -> dict[str, Any]:
    """The results as JSON; with a row per minute where `timeline` asks for it."""
    workload, prices, run = results.workload, results.prices, results.run
    full_model_s = sum(o.cpu_s for o in results.outcomes if isinstance(o, SystemOutcome))
    return {
        "trace": workload.source.name,
        "service": workload.service.text if workload.service else None,
        "cold_start": workload.cold.text,
        "latency_target_s": workload.latency_target_s,
        "seed": results.seed,
        "replications": results.replications,
        "requests": results.requests,
        "horizon_s": run.horizon_s if run else None,
        "kernel": run.kernel if run else "python (full model)",
        "cpu_s": full_model_s + (run.cpu_s if run else 0.0),
        "region": prices.region,
        "prices_dated": prices.dated,
        "prices_unchecked": prices.unchecked(price_names(results.outcomes)),
        "designs": [outcome.as_dict(timeline=timeline) for outcome in results.outcomes],
    }


def plot_table(outcomes: Sequence[Simulated]) -> list[tuple[str, list[list[str]]]]:
    """The table under a plot."""
    rows = [["design", "cold", "throttled", "lost", "Goodput", "p50", "p99", "USD/month"]]
    for row in map(row_of, outcomes):
        rows.append(
            [
                row.name,
                view.percent(row.cold.mean),
                view.percent(row.throttled.mean),
                view.percent(row.lost.mean),
                view.percent(row.good.mean),
                view.seconds(row.latency_s["p50"]),
                view.seconds(row.latency_s["p99"]),
                view.money(row.cost_month.mean),
            ]
        )
    return [("Designs", rows)]


def dot(outcome: Simulated) -> Dot:
    """A design in the plane of cost and cold starts."""
    row = row_of(outcome)
    return Dot(row.name, row.cost_month.mean, row.cold.mean, row.latency_s["p99"])


def plot_front(outcomes: Sequence[Simulated], names: Sequence[str], path: Path) -> None:
    """Draw cost against cold starts, the front marked."""
    from keepwarm_planner.answers import plots

    figure = plots.pareto([dot(outcome) for outcome in outcomes], names)
    plots.save(figure, path, title="keepwarm plan compare", tables=plot_table(outcomes))
