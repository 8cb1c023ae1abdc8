"""Plots as PNG or SVG files, and one self-contained HTML page. Needs matplotlib (`keepwarm-planner[plot]`)."""

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from keepwarm_planner.errors import PlannerError

if TYPE_CHECKING:
    from keepwarm_planner.answers.breakeven import BreakEven
    from keepwarm_planner.answers.budget import BudgetReport

FORMATS = (".png", ".svg", ".html")
INK, MUTED, GRID = "#1f2933", "#6b7785", "#e3e8ee"
COLORS = (
    "#1f6feb",
    "#d9480f",
    "#2b8a3e",
    "#862e9c",
    "#e8a317",
    "#0b7285",
    "#c2255c",
    "#5c677d",
    "#74b816",
    "#364fc7",
    "#a61e4d",
)
"""Distinct in hue and in lightness."""


def pyplot() -> Any:
    """matplotlib without a display. Raises KW516 when it is not installed."""
    try:
        import matplotlib as mpl

        mpl.use("Agg")
        from matplotlib import pyplot as plt
    except ImportError as e:
        raise PlannerError(
            "KW516",
            "plots",
            "no matplotlib",
            "matplotlib 3.10 or later",
            fix="pip install keepwarm-planner[plot]",
        ) from e
    plt.rcParams.update(
        {
            "font.size": 10,
            "axes.edgecolor": MUTED,
            "axes.labelcolor": INK,
            "axes.titlesize": 12,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": GRID,
            "xtick.color": MUTED,
            "ytick.color": MUTED,
            "text.color": INK,
            "legend.frameon": False,
            "svg.hashsalt": "keepwarm",
            "figure.dpi": 110,
        }
    )
    return plt


def checked_path(path: Path) -> Path:
    """A path whose ending is one of the formats. Raises KW500."""
    if path.suffix.lower() not in FORMATS:
        raise PlannerError("KW500", "--plot", repr(path.name), f"a name ending in {', '.join(FORMATS)}")
    if not path.parent.exists():
        raise PlannerError("KW503", "--plot", str(path.parent), "a folder that exists")
    return path


def save(
    figure: Any, path: Path, *, title: str, tables: Sequence[tuple[str, Sequence[Sequence[str]]]] = ()
) -> Path:
    """Writes one figure; as HTML with its tables, everything inside the one file."""
    if path.suffix.lower() == ".html":
        path.write_text(page(title, [(title, figure)], tables), encoding="utf-8")
    else:
        metadata = {"Date": None} if path.suffix.lower() == ".svg" else {"Software": "keepwarm plan"}
        figure.savefig(path, bbox_inches="tight", metadata=metadata)
    pyplot().close(figure)
    return path


def page(
    title: str, figures: Sequence[tuple[str, Any]], tables: Sequence[tuple[str, Sequence[Sequence[str]]]] = ()
) -> str:
    """A self-contained page: pictures inline, no script, no request to anywhere."""
    parts = []
    for name, figure in figures:
        buffer = io.BytesIO()
        figure.savefig(
            buffer, format="png", bbox_inches="tight", dpi=140, metadata={"Software": "keepwarm plan"}
        )
        data = base64.b64encode(buffer.getvalue()).decode("ascii")
        parts.append(f'<figure><img alt="{escape(name)}" src="data:image/png;base64,{data}"></figure>')
    for name, rows in tables:
        head = "".join(f"<th>{escape(c)}</th>" for c in rows[0])
        body = "".join("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>" for row in rows[1:])
        parts.append(
            f"<h2>{escape(name)}</h2><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><style>'
        f"body{{font:15px/1.5 system-ui,sans-serif;color:{INK};max-width:1080px;margin:2rem auto;padding:0 1rem}}"
        "img{max-width:100%}figure{margin:1rem 0}table{border-collapse:collapse;width:100%;font-size:14px}"
        f"th,td{{text-align:left;padding:.35rem .6rem;border-bottom:1px solid {GRID}}}"
        "td:not(:first-child){font-variant-numeric:tabular-nums}</style></head>"
        f"<body><h1>{escape(title)}</h1>{''.join(parts)}</body></html>"
    )


class Dot(NamedTuple):
    """A design as a point."""

    name: str
    cost: float
    cold: float
    p99: float


def pareto(
    dots: Sequence[Dot], front: Sequence[str], target_cold: float | None = None, chosen: str = ""
) -> Any:
    """Cost against cold fraction and against p99; the front named, the chosen one marked."""
    plt = pyplot()
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.6))
    least = min((d.cold for d in dots if d.cold > 0.0), default=1e-6)

    def floor(d: Dot) -> float:
        return d.cold if d.cold > 0.0 else least / 3

    def p99(d: Dot) -> float:
        return d.p99

    for axis, label, value in (
        (axes[0], "cold fraction", floor),
        (axes[1], "p99 latency (s)", p99),
    ):
        inside = sorted((d for d in dots if d.name in front), key=lambda d: d.cost)
        rest = [d for d in dots if d.name not in front]
        if rest:
            axis.scatter(
                [d.cost for d in rest], [value(d) for d in rest], color=MUTED, s=26, label="dominated"
            )
        axis.scatter(
            [d.cost for d in inside], [value(d) for d in inside], color=COLORS[0], s=44, label="Pareto front"
        )
        for d in dots:
            if d.name == chosen:
                axis.scatter(
                    [d.cost],
                    [value(d)],
                    facecolor="none",
                    edgecolor=COLORS[1],
                    s=130,
                    linewidth=1.8,
                    label="chosen",
                )
        axis.set_xlabel("USD per month")
        axis.set_ylabel(label)
        axis.margins(x=0.12, y=0.15)
    axes[0].set_yscale("log")
    # 4 x 10^-4 says less than 0.04 %
    for ticks in (axes[0].yaxis.set_major_formatter, axes[0].yaxis.set_minor_formatter):
        ticks(plt.FuncFormatter(lambda y, _: f"{y * 100:.3g}%" if f"{y:e}"[0] in "125" else ""))
    axes[1].set_ylim(bottom=0)
    if target_cold is not None:
        axes[0].axhline(target_cold, color=COLORS[1], linewidth=1, linestyle="--")
        axes[0].annotate(
            f"target {target_cold * 100:.3g}%",
            (0.99, target_cold),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="bottom",
            fontsize=8,
            color=COLORS[1],
        )
    axes[0].set_title("Cost against cold starts")
    axes[1].set_title("Cost against latency")
    axes[0].legend(loc="best", fontsize=8)
    figure.tight_layout()
    first = [d for d in dots if d.name == chosen]
    named = [*first, *(d for d in dots if d.name in front and d.name != chosen)]
    if len(dots) <= NAMED:
        named += [d for d in dots if d.name not in front]
    _name(figure, axes[0], [(d.name, d.cost, floor(d)) for d in named if d in first or len(front) <= NAMED])
    _name(figure, axes[1], [(d.name, d.cost, d.p99) for d in (first or named)])
    return figure


NAMED = 10
"""Points up to which each has its name in the plot; the tables have all."""


def _name(figure: Any, axis: Any, points: Sequence[tuple[str, float, float]]) -> None:
    """Names beside their points, where neither a point nor a name before it stands; else none."""
    renderer = figure.canvas.get_renderer()
    inside = axis.get_window_extent(renderer)
    spots = [axis.transData.transform((x, y)) for _, x, y in points]
    taken: list[Any] = [t.get_window_extent(renderer) for t in axis.texts]
    if axis.get_legend() is not None:
        taken.append(axis.get_legend().get_window_extent(renderer))
    for k, (text, x, y) in enumerate(points):
        for dx, dy in ((7, 7), (7, -13), (-7, 7), (-7, -13)):
            label = axis.annotate(
                text,
                (x, y),
                xytext=(dx, dy),
                textcoords="offset points",
                ha="left" if dx > 0 else "right",
                fontsize=8,
            )
            box = label.get_window_extent(renderer)
            fits = inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1
            free = not any(box.overlaps(other) for other in taken)
            if fits and free and not any(i != k and box.contains(*spot) for i, spot in enumerate(spots)):
                taken.append(box)
                break
            label.remove()


def timeline(name: str, rows: Sequence[Mapping[str, float]]) -> Any:
    """Load, environments and trouble over time."""
    plt = pyplot()
    figure, axes = plt.subplots(2, 1, figsize=(11, 6), sharex=True, height_ratios=(3, 2))
    hours = [r["t_s"] / 3600 for r in rows]
    top = axes[0]
    if "instances" in rows[0]:
        top.plot(hours, [r["instances"] for r in rows], color=MUTED, linewidth=1.2, label="environments")
    top.fill_between(hours, [r["busy"] for r in rows], color=COLORS[0], alpha=0.35, linewidth=0, label="busy")
    top.step(
        hours,
        [r["environments"] for r in rows],
        where="post",
        color=COLORS[2],
        linewidth=1.6,
        label="provisioned",
    )
    if any(r.get("tasks", 0.0) for r in rows):
        top.step(
            hours, [r["tasks"] for r in rows], where="post", color=COLORS[3], linewidth=1.4, label="tasks"
        )
    top.set_ylabel("environments")
    top.set_title(name)
    top.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=4, fontsize=8)
    low = axes[1]
    span = (rows[1]["t_s"] - rows[0]["t_s"]) / 60 if len(rows) > 1 else 1.0
    shown = False
    for key, color in (
        ("cold", COLORS[0]),
        ("throttled", COLORS[1]),
        ("dropped", COLORS[3]),
        ("refused", COLORS[4]),
        ("failed", COLORS[6]),
    ):
        values = [r.get(key, 0.0) / span for r in rows]
        if any(values):
            low.plot(hours, values, color=color, linewidth=1.2, label=key)
            shown = True
    if any(r.get("queue", 0.0) for r in rows):
        low.plot(hours, [r["queue"] for r in rows], color=MUTED, linewidth=1.2, label="queue length")
        shown = True
    low.set_ylabel("per minute")
    low.set_xlabel("hours")
    if shown:
        low.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=5, fontsize=8)
    figure.tight_layout()
    return figure


def breakeven(report: "BreakEven") -> Any:
    """The two cost lines and their crossing."""
    plt = pyplot()
    figure, axis = plt.subplots(figsize=(8.5, 4.8))
    duty = [p.duty * 100 for p in report.points]
    axis.plot(duty, [p.zero for p in report.points], color=COLORS[0], linewidth=2, label="scale to zero")
    axis.plot(duty, [p.always for p in report.points], color=COLORS[1], linewidth=2, label="always on")
    if report.crossing is not None:
        axis.axvline(report.crossing * 100, color=MUTED, linestyle="--", linewidth=1)
        left = report.crossing > 0.7
        axis.annotate(
            f"break-even {report.crossing:.1%}",
            (report.crossing * 100, axis.get_ylim()[1] * 0.06),
            xytext=(-6 if left else 6, 0),
            textcoords="offset points",
            ha="right" if left else "left",
            fontsize=9,
        )
    axis.set_ylim(bottom=0)
    axis.set_xlim(0, 100)
    axis.set_xlabel("duty cycle (%)")
    axis.set_ylabel("USD per month and unit")
    axis.set_title(f"Scale to zero against always on ({report.comparison.kind})")
    axis.legend(loc="lower right")
    figure.tight_layout()
    return figure


def budget(report: "BudgetReport") -> Any:
    """Phases stacked at three percentiles, with the budget."""
    plt = pyplot()
    figure, axis = plt.subplots(figsize=(10, 3.8))
    names = ("p50", "p95", "p99")
    left = [0.0, 0.0, 0.0]
    shown = [r for r in report.rows if r.quantiles["p99"] > 0.0]
    for i, row in enumerate(shown):
        # phases are not at their percentile together: each bar is scaled to the total's own percentile
        widths = []
        for q in names:
            whole = sum(r.quantiles[q] for r in shown)
            widths.append(row.quantiles[q] / whole * report.total.quantiles[q])
        axis.barh(names, widths, left=left, color=COLORS[i % len(COLORS)], label=row.name, height=0.6)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    for k, q in enumerate(names):
        axis.annotate(
            f"{report.total.quantiles[q]:.2f} s",
            (left[k], k),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
    if report.total.budget_s is not None:
        axis.axvline(report.total.budget_s, color=INK, linestyle="--", linewidth=1.2)
        axis.annotate(
            f"budget {report.total.budget_s:g} s",
            (report.total.budget_s, 2.42),
            fontsize=9,
            ha="right",
            xytext=(-4, 0),
            textcoords="offset points",
        )
    axis.grid(axis="y", visible=False)
    axis.set_xlim(right=max([*left, report.total.budget_s or 0.0]) * 1.1)
    axis.set_xlabel("seconds")
    axis.set_title("Cold start by phase")
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=6, fontsize=8)
    figure.tight_layout()
    return figure
