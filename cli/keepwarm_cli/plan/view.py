"""Tables and figures of `keepwarm plan`, drawn with rich. Imported when a command has an answer, not before."""

from collections.abc import Sequence
from math import inf

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from keepwarm_planner.answers.explain import SIMULATED, Figure
from keepwarm_planner.model.estimate import Estimate
from keepwarm_planner.prices import Prices


def console() -> Console:
    """Return the console that answers are printed on."""
    terminal = Console(highlight=False)
    # a pipe has no width of its own: tables must not wrap at 80 there
    return terminal if terminal.is_terminal else Console(highlight=False, width=140)


class _Titled(Table):
    """A table under its title; rich would wrap a long title to the width of a narrow table."""

    heading = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(self.heading, style="bold")
        yield from super().__rich_console__(console, options)


def table(title: str, *columns: str, right: Sequence[int] = ()) -> Table:
    """Make an empty table under a title; `right` are the columns whose cells stand to the right."""
    made = _Titled(box=box.SIMPLE_HEAD, pad_edge=False)
    made.heading = title
    for i, column in enumerate(columns):
        made.add_column(column, justify="right" if i in right else "left", overflow="fold")
    return made


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


def share(e: Estimate) -> str:
    """Format a share with its 95 % interval."""
    # a single replication has no interval: fractions are then clipped to 0..1
    if e.low == -inf or (e.low, e.high) == (0.0, 1.0):
        return percent(e.mean)
    return f"{percent(e.mean)} [dim]{percent(e.low)}..{percent(e.high)}[/dim]"


def number(e: Estimate, digits: int = 4) -> str:
    """Format a figure with its 95 % interval."""
    if e.low == -inf:
        return f"{e.mean:.{digits}g}"
    half = (e.high - e.low) / 2
    return f"{e.mean:.{digits}g} [dim]+-{half:.2g}[/dim]"


def explain(console: Console, figures: Sequence[Figure], title: str = "How each figure is formed") -> None:
    """Print figures with their formulas and what went into them."""
    shown = table(title, "figure", "value", "formula", "with")
    for f in figures:
        value = "" if f.value is None else f"{f.value:.4g}" if isinstance(f.value, float) else str(f.value)
        given = ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in f.inputs.items())
        shown.add_row(escape(f.name), escape(f"{value} {f.unit}".strip()), escape(f.formula), escape(given))
    console.print(shown)


def explain_prices(console: Console, prices: Prices, names: Sequence[str]) -> None:
    """The prices behind a figure: page, and what they were checked against."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name in names:
        value = prices.value(name)
        if value is not None:
            key = (prices.page(name), prices.checks.get(name, ""))
            groups.setdefault(key, []).append(f"{name} {value:.6g}")
    shown = table("Prices used, in USD", "price", "page", "checked against")
    for (page, source), members in groups.items():
        checked = escape(source) if source else "[yellow]unchecked[/yellow]"
        shown.add_row(escape("\n".join(members)), page, checked)
    console.print(shown)


def explain_simulated(console: Console, names: Sequence[str]) -> None:
    """Print what simulated figures mean."""
    explain(console, [Figure(n, None, "", SIMULATED[n]) for n in names if n in SIMULATED])
