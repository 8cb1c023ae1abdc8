"""`keepwarm plan prices`: the prices in use and where they come from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keepwarm_cli.command_line import Json
from keepwarm_cli.plan.options import print_json

if TYPE_CHECKING:
    from keepwarm_planner.prices import Prices

_NOT_A_PRICE = frozenset({"region", "dated", "sources", "notes", "ec2_hour", "checks"})


@dataclass(frozen=True, kw_only=True)
class PricesOptions(Json):
    """Everything that `prices` can be asked."""

    region: Annotated[str | None, typer.Option(help="Default: every region of the file.")] = None
    file: Annotated[
        Path | None,
        typer.Option("--prices", help="JSON with prices that replace or extend the shipped ones."),
    ] = None


def run(options: PricesOptions) -> None:
    """The prices in use, their date and the pages they come from."""
    from keepwarm_planner import prices

    regions = [options.region] if options.region else prices.regions()
    tables = [prices.load(region, options.file) for region in regions]
    if options.json:
        print_json({"regions": [_document(table) for table in tables]})
    else:
        _show(tables)


def _document(prices: "Prices") -> dict[str, Any]:
    return {
        **{name: getattr(prices, name) for name in prices.__dataclass_fields__},
        "unchecked": prices.unchecked(),
    }


def _show(tables: "Sequence[Prices]") -> None:
    """Prices of the regions side by side."""
    from rich.markup import escape

    from keepwarm_cli.plan import view

    console, first = view.console(), tables[0]
    console.print(_side_by_side(tables))
    if any(t.unchecked() for t in tables):
        console.print("[yellow]?[/yellow] [dim]unchecked: not read against any source[/dim]")
    if len(tables) == 1:
        view.explain_prices(console, first, sorted(first.checks))
    for service, page in first.sources.items():
        console.print(f"[dim]{service}: {page}[/dim]")
    for note in first.notes:
        console.print(f"[dim]{escape(note)}[/dim]", soft_wrap=True)


def _side_by_side(tables: "Sequence[Prices]") -> Any:
    from keepwarm_cli.plan import view

    shown = view.table(f"USD, {tables[0].dated}", "price", *(t.region for t in tables))
    kinds = sorted({kind for t in tables for kind in t.ec2_hour})
    for name in [n for n in tables[0].__dataclass_fields__ if n not in _NOT_A_PRICE] + kinds:
        cells = []
        for t in tables:
            value = t.value(name) if name in t.ec2_hour or name not in kinds else None
            mark = "" if name in t.checks else "[yellow]?[/yellow]"
            cells.append("-" if value is None else f"{value:.6g}{mark}")
        shown.add_row(f"{name} per hour" if name in kinds else name, *cells)
    return shown
