"""`keepwarm plan breakeven`: scale to zero against always on."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keepwarm_cli.command_line import Options
from keepwarm_cli.plan.options import Architecture, Plotted, Pricing, print_json

if TYPE_CHECKING:
    from keepwarm_planner.answers.breakeven import BreakEven
    from keepwarm_planner.prices import Prices


class Kind(StrEnum):
    """What may sleep."""

    SERVICE = "service"
    FUNCTION = "function"


COLD_S = {Kind.SERVICE: 180.0, Kind.FUNCTION: 2.0}
IDLE_S = {Kind.SERVICE: 600.0, Kind.FUNCTION: 600.0}


def _each(seconds: dict[Kind, float]) -> str:
    return ", ".join(f"{kind} {value:g}" for kind, value in seconds.items())


@dataclass(frozen=True, kw_only=True)
class Demand(Options, heading="Demand"):
    """What arrives, and what a cold start does to it."""

    service_s: Annotated[float, typer.Option(help="Mean time of a request, seconds.")] = 1.0
    session_s: Annotated[float, typer.Option(help="Length of a stretch of work, seconds (service).")] = 3600.0
    cold_cost: Annotated[float, typer.Option(help="USD per request that met a cold start.")] = 0.0


@dataclass(frozen=True, kw_only=True)
class Platform(Options, heading="Platform"):
    """What serves it."""

    kind: Annotated[
        Kind,
        typer.Option(help="A task that sleeps or always runs, or a function on demand or provisioned."),
    ] = Kind.SERVICE
    cold_s: Annotated[float | None, typer.Option(help=f"Cold start, seconds. Default: {_each(COLD_S)}.")] = (
        None
    )
    idle_s: Annotated[
        float | None,
        typer.Option(
            help=f"Idle seconds before the environment or task is released. Default: {_each(IDLE_S)}."
        ),
    ] = None
    memory_mb: Annotated[int, typer.Option(help="Memory of the function, MB.")] = 1769
    architecture: Annotated[
        Architecture, typer.Option(help="Instruction set of the function, for its prices.")
    ] = Architecture.X86_64
    instance_type: Annotated[str, typer.Option(help="Instance of the service.")] = "g4dn.xlarge"
    concurrency_per_task: Annotated[int, typer.Option(help="Requests one task serves at a time.")] = 1


@dataclass(frozen=True, kw_only=True)
class BreakevenOptions(Platform, Demand, Pricing, Plotted):
    """Everything that `breakeven` can be asked."""


def run(options: BreakevenOptions) -> None:
    """Scale to zero against always on over the duty cycle: curve, crossing, sensitivity."""
    from keepwarm_planner import cost
    from keepwarm_planner.answers.breakeven import Comparison, breakeven

    comparison = Comparison(
        kind=options.kind,
        service_s=options.service_s,
        cold_s=COLD_S[options.kind] if options.cold_s is None else options.cold_s,
        idle_s=IDLE_S[options.kind] if options.idle_s is None else options.idle_s,
        session_s=options.session_s,
        cold_cost=options.cold_cost,
        memory_mb=options.memory_mb,
        architecture=cost.architecture(options.architecture, "breakeven --architecture"),
        instance_type=options.instance_type,
        concurrency_per_task=options.concurrency_per_task,
    )
    prices = options.table()
    report = breakeven(comparison, prices)
    if options.plot is not None:
        _plot(report, options.plot)
    if options.json:
        print_json(
            {
                **report.as_dict(),
                "region": prices.region,
                "prices_dated": prices.dated,
                "prices_unchecked": prices.unchecked(report.price_names),
            }
        )
    else:
        _show(report, prices, explain=options.explain)


def _show(report: "BreakEven", prices: "Prices", *, explain: bool) -> None:
    """Crossing, curve and sensitivity."""
    from rich.markup import escape

    from keepwarm_cli.plan import view

    console = view.console()
    console.print(f"[bold green]{escape(report.note)}[/bold green]")
    console.print(_curve(report))
    moves = view.table("What moves the crossing", "change", "crossing then")
    for change, crossing in report.sensitivity:
        moves.add_row(change, "none" if crossing is None else f"{crossing:.2%}")
    console.print(moves)
    console.print(f"[dim]{escape(prices.stamp(report.price_names))}[/dim]")
    if explain:
        view.explain(console, report.figures)
        view.explain_prices(console, prices, report.price_names)


def _curve(report: "BreakEven") -> Any:
    from keepwarm_cli.plan import view

    table = view.table(
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
            f"[green]{view.money(p.zero)}[/green]" if cheaper else view.money(p.zero),
            view.money(p.always) if cheaper else f"[green]{view.money(p.always)}[/green]",
            view.percent(p.cold_share),
        )
    return table


def _plot(report: "BreakEven", path: Path) -> None:
    """Both cost lines."""
    from keepwarm_cli.plan import view
    from keepwarm_planner.answers import plots

    rows = [["duty", "scale to zero", "always on"]]
    rows += [[f"{p.duty:.0%}", view.money(p.zero), view.money(p.always)] for p in report.points[::5]]
    plots.save(
        plots.breakeven(report), path, title="keepwarm plan breakeven", tables=[("USD per month", rows)]
    )
