"""`keepwarm plan size`: how many environments to keep warm."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keepwarm_cli.command_line import Options
from keepwarm_cli.plan.options import (
    DEFAULT_REGION,
    Architecture,
    Arrivals,
    Plotted,
    Repeats,
    StackPricing,
    Work,
    print_json,
)
from keepwarm_cli.plan.progress import Bar
from keepwarm_cli.plan.simulate import IDLE_TIMEOUT_S

if TYPE_CHECKING:
    from rich.console import Console

    from keepwarm_cli.plan.stack_file import StackChange
    from keepwarm_planner.answers.size import SizeReport
    from keepwarm_planner.model.design import Workload
    from keepwarm_planner.prices import Prices

MEMORY_MB = 1769
"""One vCPU."""
EPHEMERAL_MB = 512


@dataclass(frozen=True, kw_only=True)
class Targets(Options, heading="Targets"):
    """What the answer must hold."""

    cold_fraction: Annotated[float, typer.Option(help="Share of requests that may start cold.")] = 0.01
    latency_s: Annotated[float | None, typer.Option(help="99th percentile of latency to keep, seconds.")] = (
        None
    )
    max_event_age_s: Annotated[
        float | None,
        typer.Option(help="Age at which a queued message is worthless, seconds. Default: the stack's."),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Function(Options, heading="Function and the service it calls"):
    """What is sized."""

    name: Annotated[str, typer.Option(help="Function in the stack settings.")] = "classify"
    memory_mb: Annotated[
        int | None, typer.Option(help=f"Memory of the function, MB. Default: the stack's, else {MEMORY_MB}.")
    ] = None
    ephemeral_mb: Annotated[
        int | None, typer.Option(help=f"Ephemeral storage, MB. Default: the stack's, else {EPHEMERAL_MB}.")
    ] = None
    architecture: Annotated[
        Architecture | None,
        typer.Option(help="Instruction set, for its prices. Default: the stack's, else x86_64."),
    ] = None
    max_concurrency: Annotated[int | None, typer.Option(help="Reserved concurrency of the function.")] = None
    idle_timeout_s: Annotated[float, typer.Option(help="Seconds an idle environment lives.")] = IDLE_TIMEOUT_S
    downstream_s: Annotated[
        float | None, typer.Option(help="Mean time of a call to that service, seconds; sizes its permits.")
    ] = None
    concurrency_per_task: Annotated[
        int | None,
        typer.Option(
            help="Requests one task of that service serves at a time. Default: the stack's, else 1."
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class SizeOptions(Targets, Function, Arrivals, Work, Repeats, StackPricing, Plotted):
    """Everything that `size` can be asked."""

    stack: Annotated[
        Path | None,
        typer.Option(help="Stack file that the settings are merged into and checked against."),
    ] = None
    write: Annotated[bool, typer.Option("--write", help="Write the merged sections into --stack.")] = False

    def check(self) -> None:
        """Refuse to write to no file."""
        from keepwarm_planner.errors import PlannerError

        if self.write and self.stack is None:
            raise PlannerError("KW500", "size --write", "no --stack", "a stack file to write to")


@dataclass(frozen=True)
class _Sized:
    """What a stack file and the options say together of what is sized; the options first."""

    memory_mb: int
    ephemeral_mb: int
    architecture: str
    max_event_age_s: float | None
    concurrency_per_task: int
    region: str


def _sized(options: SizeOptions) -> _Sized:
    settings: dict[str, Any] = {}
    region = None
    if options.stack is not None:
        from keepwarm_cli.plan.stack_file import settings_and_region

        settings, region = settings_and_region(options.stack)
    function = (settings.get("functions") or {}).get(options.name) or {}

    def first(*values: Any) -> Any:
        return next((value for value in values if value is not None), None)

    return _Sized(
        first(options.memory_mb, function.get("memory_mb"), MEMORY_MB),
        first(options.ephemeral_mb, function.get("ephemeral_mb"), EPHEMERAL_MB),
        first(options.architecture, (settings.get("runtime") or {}).get("architecture"), Architecture.X86_64),
        first(options.max_event_age_s, (settings.get("queue") or {}).get("max_event_age_s")),
        first(options.concurrency_per_task, (settings.get("service") or {}).get("concurrency_per_task"), 1),
        first(options.region, region, DEFAULT_REGION),
    )


def run(options: SizeOptions) -> None:
    """The cheapest warm pool, schedule or target tracking that meets a cold-start and latency target."""
    from math import inf

    from keepwarm_planner import cost, prices
    from keepwarm_planner.answers.size import Target
    from keepwarm_planner.answers.size import size as search
    from keepwarm_planner.model.design import Design

    target = Target(options.cold_fraction, inf if options.latency_s is None else options.latency_s)
    sized = _sized(options)
    with Bar("searching", quiet=options.quiet or options.json) as bar:
        workload = options.workload(options.source(), latency_target_s=options.latency_s)
        base = Design(
            "base",
            max_concurrency=options.max_concurrency,
            memory_mb=sized.memory_mb,
            ephemeral_mb=sized.ephemeral_mb,
            architecture=cost.architecture(sized.architecture, "size --architecture"),
            idle_timeout_s=options.idle_timeout_s,
        )
        table = prices.load(sized.region, options.prices)
        report = search(
            workload,
            table,
            target,
            base,
            seed=options.seed,
            function=options.name,
            max_event_age_s=sized.max_event_age_s,
            downstream_s=options.downstream_s,
            concurrency_per_task=sized.concurrency_per_task,
            progress=bar,
        )
    change = None
    if options.stack is not None:
        from keepwarm_cli.plan.stack_file import merge

        change = merge(options.stack, report.settings, write=options.write)
    if options.plot is not None:
        _plot(report, options.plot)
    if options.json:
        print_json(_document(report, table, options.seed, change))
    else:
        _show(report, workload, table, change, explain=options.explain)


def _document(
    report: "SizeReport", prices: "Prices", seed: int, change: "StackChange | None"
) -> dict[str, Any]:
    from keepwarm_cli.plan.outcomes import price_names

    return {
        **report.as_dict(),
        "seed": seed,
        "region": prices.region,
        "prices_dated": prices.dated,
        "prices_unchecked": prices.unchecked(price_names([report.answer])),
        **({"stack": change.as_dict()} if change else {}),
    }


def _pool_text(report: "SizeReport") -> str:
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


def _show(
    report: "SizeReport",
    workload: "Workload",
    prices: "Prices",
    change: "StackChange | None",
    *,
    explain: bool,
) -> None:
    from rich.markup import escape

    from keepwarm_cli.plan import view
    from keepwarm_cli.plan.outcomes import price_names, row_of

    console = view.console()
    _show_answer(console, report)
    console.print(_by_kind(report))
    _show_settings(console, report, change)
    console.print(
        f"[dim]{report.run.requests:,} requests, {report.screened} designs; service"
        f" {escape(workload.service.text if workload.service else 'of the trace')}; cold start"
        f" {escape(workload.cold.text or 'measured')}; {escape(prices.stamp(price_names([report.answer])))};"
        f" {report.run.kernel} kernel, {report.run.wall_s:.1f} s[/dim]",
        soft_wrap=True,
    )
    if explain:
        view.explain(console, report.figures)
        view.explain_simulated(console, ("cold_fraction", "latency", "utilization"))
        view.explain(console, row_of(report.answer).cost_figures(prices), "How the cost is formed")
        view.explain_prices(console, prices, price_names([report.answer]))


def _show_answer(console: "Console", report: "SizeReport") -> None:
    """Print the answer, what decided it and what would change it."""
    from rich.markup import escape

    from keepwarm_cli.plan import view

    a = report.answer
    cold = f"{view.percent(a.cold_fraction.mean)} cold (95 %: at most {view.percent(a.cold_fraction.high)})"
    console.print(f"[bold green]{escape(_pool_text(report))}[/bold green]", soft_wrap=True)
    console.print(
        f"{cold} for a target of {view.percent(report.target.cold_fraction)},"
        f" p99 {view.seconds(a.latency_s['p99'])}, {view.money(a.cost_month.mean)} USD a month",
        soft_wrap=True,
    )
    console.print()
    console.print(f"[bold]decided by[/bold]     {escape(report.decided_by)}", soft_wrap=True)
    for i, note in enumerate(report.would_change):
        heading = "would change" if i == 0 else "            "
        console.print(f"[bold]{heading}[/bold]   {escape(note)}", soft_wrap=True)
    console.print()


def _by_kind(report: "SizeReport") -> Any:
    from rich.markup import escape

    from keepwarm_cli.plan import view

    table = view.table(
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
        table.add_row(
            kind,
            escape(outcome.design.name),
            view.share(outcome.cold_fraction),
            view.seconds(outcome.latency_s["p99"]),
            view.percent(outcome.utilization.mean) if outcome.environments.mean else "-",
            view.money(outcome.cost_month.mean),
            style="bold" if outcome.design.name == report.answer.design.name else None,
        )
    return table


def _show_settings(console: "Console", report: "SizeReport", change: "StackChange | None") -> None:
    from keepwarm_cli.plan.stack_file import show_change
    from keepwarm_planner.answers.settings import POOLED, settings_yaml

    if change is not None:
        show_change(console, change)
        return
    console.print("[bold]stack settings[/bold] [dim](stacks/Pulumi.<stack>.yaml)[/dim]")
    console.print(settings_yaml(report.settings), markup=False, soft_wrap=True)
    functions: Any = report.settings["functions"]
    if len(functions) == 1 and POOLED not in functions:
        console.print(f"[yellow]the stack keeps a warm pool and a queue for {POOLED} only[/yellow]")


def _plot(report: "SizeReport", path: Path) -> None:
    """Cost against cold starts of all confirmed designs, the answer marked."""
    from keepwarm_cli.plan.outcomes import dot, front, plot_table
    from keepwarm_planner.answers import plots

    outcomes = list(report.run.outcomes)
    figure = plots.pareto(
        [dot(outcome) for outcome in outcomes],
        front(outcomes),
        target_cold=report.target.cold_fraction,
        chosen=report.answer.design.name,
    )
    plots.save(figure, path, title="keepwarm plan size", tables=plot_table(outcomes))
