"""`keepwarm plan fit`: which platform a workload belongs on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keepwarm_cli.plan.options import Explained, Pricing, print_json

if TYPE_CHECKING:
    from rich.console import Console

    from keepwarm_planner.answers.fit import FitReport
    from keepwarm_planner.answers.workload import FitWorkload
    from keepwarm_planner.prices import Prices

_COLOR = {"Strong": "green", "Moderate-strong": "green", "Moderate": "yellow"}


@dataclass(frozen=True, kw_only=True)
class FitOptions(Pricing, Explained):
    """Everything that `fit` can be asked."""

    workload: Annotated[
        str | None,
        typer.Argument(
            help="One of the six known workloads. Default: all of them. With --file: a name in the file."
        ),
    ] = None
    file: Annotated[Path | None, typer.Option(help="YAML with your own workloads.")] = None


def run(options: FitOptions) -> None:
    """Verdict per workload: which platform, decided by which numbers, and what would change it."""
    from keepwarm_planner.answers.fit import fit
    from keepwarm_planner.answers.workload import PRESETS, load_workloads

    known = {w.name: w for w in load_workloads(options.file)} if options.file is not None else PRESETS
    prices = options.table()
    reports = [fit(workload, prices) for workload in _chosen(known, options.workload)]
    if options.json:
        names = dict.fromkeys(name for report in reports for name in report.price_names)
        print_json(
            {
                "region": prices.region,
                "prices_dated": prices.dated,
                "prices_unchecked": prices.unchecked(names),
                "workloads": [report.as_dict() for report in reports],
            }
        )
    else:
        _show(reports, prices, options)


def _chosen(known: "Mapping[str, FitWorkload]", name: str | None) -> "list[FitWorkload]":
    from difflib import get_close_matches

    from keepwarm_planner.errors import PlannerError

    if name is None:
        return list(known.values())
    if name not in known:
        near = get_close_matches(name, known, n=1)
        raise PlannerError(
            "KW513", "fit", repr(name), ", ".join(known), fix=f"did you mean {near[0]!r}?" if near else ""
        )
    return [known[name]]


def _show(reports: "Sequence[FitReport]", prices: "Prices", options: FitOptions) -> None:
    """Verdicts, and for a single workload or the user's own the candidates."""
    from rich.markup import escape

    from keepwarm_cli.plan import view

    console = view.console()
    console.print(_verdicts(reports))
    for report in reports if len(reports) == 1 or options.file is not None else []:
        _show_candidates(console, report)
        if options.explain:
            view.explain(console, report.figures)
    used = list(dict.fromkeys(name for report in reports for name in report.price_names))
    if options.explain:
        view.explain_prices(console, prices, used)
    console.print(f"[dim]{escape(prices.stamp(used))}[/dim]")


def _verdicts(reports: "Sequence[FitReport]") -> Any:
    from rich.markup import escape

    from keepwarm_cli.plan import view

    table = view.table("Serverless fit", "workload", "verdict", "runs on", "USD/month", "because")
    for r in reports:
        color = _COLOR.get(r.verdict.value, "red" if r.verdict.value.startswith("Weak") else "cyan")
        table.add_row(
            escape(r.workload.name),
            f"[{color}]{r.verdict.value}[/{color}]",
            r.recommended.name if r.recommended else "[red]nothing here[/red]",
            view.money(r.recommended.cost_month) if r.recommended else "",
            escape("; ".join(r.reasons)),
        )
    return table


def _show_candidates(console: "Console", report: "FitReport") -> None:
    from rich.markup import escape

    from keepwarm_cli.plan import view

    table = view.table(
        f"{report.workload.name}: candidates",
        "",
        "platform",
        "cold p99",
        "meet it",
        "USD/month",
        "why not, or remark",
    )
    for c in report.candidates:
        mark = "[red]excluded[/red]" if c.excluded else "[yellow]misses[/yellow]"
        table.add_row(
            "[green]fits[/green]" if c.fits else mark,
            c.name,
            view.seconds(c.cold_p99_s) if c.cold_p99_s else "-",
            view.percent(c.cold_share),
            view.money(c.cost_month),
            escape("; ".join([*c.excluded, *c.misses]) or c.remark),
        )
    console.print(table)
    if report.would_change:
        console.print("[bold]would change it[/bold]")
        for note in report.would_change:
            console.print(f"  {escape(note)}")
    else:
        console.print("[bold]would change it[/bold]  nothing within a factor of 1,000")
