"""`keepwarm plan simulate`: the plain case, or designs on a trace or generator."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keepwarm_cli.command_line import Options
from keepwarm_cli.plan.options import (
    Arrivals,
    Kernel,
    Plotted,
    Pricing,
    Repeats,
    Work,
    print_json,
)
from keepwarm_cli.plan.progress import Bar

if TYPE_CHECKING:
    from keepwarm_cli.plan.outcomes import Results, Simulated
    from keepwarm_planner.model.design import System
    from keepwarm_planner.model.plain import PlainFigures, PlainReport
    from keepwarm_planner.traffic.law import Law

IDLE_TIMEOUT_S = 600.0


@dataclass(frozen=True, kw_only=True)
class PlainCase(Options, heading="Plain case (Poisson arrivals, exponential service times)"):
    """A case so plain that theory has its answer."""

    rate: Annotated[float | None, typer.Option(help="Arrivals per second.")] = None
    service_mean_s: Annotated[float | None, typer.Option(help="Mean service time, seconds.")] = None
    horizon_s: Annotated[
        float | None,
        typer.Option(help="Seconds simulated per replication. Default: a day, less for high rates."),
    ] = None
    warmup_s: Annotated[float, typer.Option(help="Seconds at the start left out of the figures.")] = 0.0
    precision: Annotated[
        float | None,
        typer.Option(help="Run until half the cold fraction's interval is this share of it, e.g. 0.01."),
    ] = None

    @property
    def is_plain(self) -> bool:
        """Whether the plain case is what was asked."""
        return self.rate is not None or self.service_mean_s is not None

    def check(self) -> None:
        """Refuse half a plain case, and options that only make sense with a whole one."""
        from keepwarm_planner.errors import PlannerError

        if not self.is_plain:
            self._check_without()
        elif self.rate is None or self.service_mean_s is None:
            raise PlannerError("KW500", "simulate", "one of --rate and --service-mean-s", "both")
        elif self.precision is not None and self.warmup_s:
            raise PlannerError(
                "KW500",
                "simulate --precision",
                f"--warmup-s {self.warmup_s:g}",
                "no warm-up",
                because="the steady figures come beside those of the whole horizon",
            )

    def _check_without(self) -> None:
        from keepwarm_planner.errors import PlannerError

        for option, given in (
            ("--precision", self.precision is not None),
            ("--horizon-s", self.horizon_s is not None),
            ("--warmup-s", self.warmup_s != 0.0),
        ):
            if given:
                raise PlannerError(
                    "KW500",
                    f"simulate {option}",
                    "a trace or a generator",
                    "the plain case, --rate and --service-mean-s",
                    because="a trace has its own length; a generator takes hours=H",
                )


@dataclass(frozen=True, kw_only=True)
class DesignsOptions(Arrivals, Work, Repeats, Pricing, Plotted):
    """What every command that simulates designs is asked."""


@dataclass(frozen=True, kw_only=True)
class SimulateOptions(PlainCase, DesignsOptions):
    """Everything that `simulate` can be asked."""

    design: Annotated[
        Path | None,
        typer.Option(help="YAML with designs: pools, queues, retries, downstream (docs/planner.md)."),
    ] = None
    environments: Annotated[int, typer.Option(help="Environments kept initialized.")] = 0
    max_concurrency: Annotated[
        int | None, typer.Option(help="Cap on requests in flight; beyond it a request is rejected.")
    ] = None
    idle_timeout_s: Annotated[float, typer.Option(help="Seconds an idle environment lives.")] = IDLE_TIMEOUT_S
    replications: Annotated[
        int | None, typer.Option(help="Independent runs behind the intervals. Default: 20, with a trace 5.")
    ] = None
    kernel: Annotated[Kernel | None, typer.Option(help="Kernel of the simulation.")] = None
    timeline: Annotated[bool, typer.Option("--timeline", help="Put a row per minute into the JSON.")] = False

    def check(self) -> None:
        """Refuse two ways of saying what arrives, and two of saying the design."""
        from keepwarm_planner.errors import PlannerError

        if self.is_plain and (
            self.trace
            or self.generate
            or self.design
            or self.service
            or self.cold
            or self.from_events
            or self.plot
            or self.timeline
            or self.latency_target_s
        ):
            raise PlannerError(
                "KW500",
                "simulate",
                "--rate together with a trace, a design, laws, a target, a timeline or a plot",
                "one way of saying it",
                fix="--generate poisson:rate=R with --service exp:S is the same with everything else",
            )
        if self.design is not None and (self.environments or self.max_concurrency is not None):
            raise PlannerError(
                "KW500", "simulate", "--design with --environments or --max-concurrency", "one of the two"
            )


def run(options: SimulateOptions) -> None:
    """Simulate a design: cold fraction, throttles, latency, cost, with 95 % intervals."""
    if options.is_plain:
        _run_plain(options)
        return
    from keepwarm_cli.plan import outcomes

    designs = _designs(options)
    results = simulate_designs(
        designs,
        options,
        label="simulating",
        replications=5 if options.replications is None else options.replications,
        timeline=bool(options.plot or options.timeline),
        kernel=options.kernel,
    )
    if options.plot is not None:
        _plot_timelines(results.outcomes, options.plot)
    if options.json:
        print_json(outcomes.document(results, timeline=options.timeline))
    else:
        outcomes.show(results, explain=options.explain)


@dataclass(frozen=True)
class Designs:
    """Systems to simulate, and what their file says of the work."""

    systems: "list[System]"
    service: "str | Law | None" = None
    cold: "str | Law | None" = None
    latency_target_s: float | None = None


def designs_of(file: Path) -> Designs:
    """Read a design file.

    Raises:
        PlannerError: KW503 and KW513, it can't be read.
    """
    from keepwarm_planner.model import design_file

    loaded = design_file.load(file)
    return Designs(loaded.systems, loaded.service, loaded.cold, loaded.latency_target_s)


def _designs(options: SimulateOptions) -> Designs:
    from keepwarm_planner.model.design import Design, System

    if options.design is not None:
        return designs_of(options.design)
    name = f"{options.environments} provisioned" if options.environments else "on-demand"
    one = Design(
        name,
        environments=options.environments,
        max_concurrency=options.max_concurrency,
        idle_timeout_s=options.idle_timeout_s,
    )
    return Designs([System(one)])


def simulate_designs(
    designs: Designs,
    options: DesignsOptions,
    *,
    label: str,
    replications: int,
    timeline: bool = False,
    kernel: str | None = None,
) -> "Results":
    """Simulate designs on the arrivals of the options: plain pools by the fast engine, all else by the full model.

    Raises:
        PlannerError: arrivals, laws, events or prices that can't be used.
    """
    from keepwarm_cli.plan.outcomes import Results
    from keepwarm_planner.model import engine, system

    with Bar(label, quiet=options.quiet or options.json) as bar:
        # A trace shows its own progress while it is read, and is then run as fast as it was read.
        source = options.source(bar if options.trace else None)
        workload = options.workload(
            source,
            service=designs.service,
            cold=designs.cold,
            latency_target_s=designs.latency_target_s,
        )
        prices = options.table()
        fast = [s.design for s in designs.systems if s.queue is None and s.downstream is None]
        done = None
        outcomes: list[Simulated] = []
        if fast:
            done = engine.run(
                fast,
                workload,
                prices,
                seed=options.seed,
                replications=replications,
                timeline=timeline,
                kernel=kernel,
                progress=None if options.trace else bar,
            )
            outcomes += done.outcomes
        outcomes += [
            system.simulate(one, workload, prices, seed=options.seed, replications=replications, progress=bar)
            for one in designs.systems
            if one.design not in fast
        ]
    return Results(outcomes, workload, prices, options.seed, replications, done)


def _plot_timelines(outcomes: "Sequence[Simulated]", path: Path) -> None:
    """A timeline per design: one file, or numbered files for pictures."""
    from keepwarm_cli.plan.outcomes import plot_table
    from keepwarm_planner.answers import plots
    from keepwarm_planner.model.engine import Outcome

    drawn = []
    for outcome in outcomes:
        name = outcome.design.name if isinstance(outcome, Outcome) else outcome.name
        if outcome.timeline:
            drawn.append((name, plots.timeline(name, outcome.timeline)))
    if path.suffix.lower() == ".html":
        path.write_text(plots.page("keepwarm plan simulate", drawn, plot_table(outcomes)), encoding="utf-8")
        return
    for i, (name, figure) in enumerate(drawn):
        target = path if len(drawn) == 1 else path.with_stem(f"{path.stem}-{i + 1}")
        plots.save(figure, target, title=name)


# The plain case.


def _run_plain(options: SimulateOptions) -> None:
    from keepwarm_planner.model.plain import PlainScenario, simulate_plain

    assert options.rate is not None
    assert options.service_mean_s is not None
    scenario = PlainScenario(
        rate=options.rate,
        service_mean_s=options.service_mean_s,
        idle_timeout_s=options.idle_timeout_s,
        max_concurrency=options.max_concurrency,
        environments=options.environments,
        horizon_s=options.horizon_s,
        warmup_s=options.warmup_s,
        replications=20 if options.replications is None else options.replications,
        seed=options.seed,
    )
    if options.precision is not None:
        from keepwarm_planner.model.precise import simulate_to

        report = simulate_to(scenario, options.precision, kernel=options.kernel)
    else:
        with Bar("simulating", quiet=options.quiet or options.json) as bar:
            report = simulate_plain(scenario, kernel=options.kernel, progress=bar)
    if options.json:
        print_json(report.as_dict())
    else:
        _show_plain(report, explain=options.explain)


def _show_plain(report: "PlainReport", *, explain: bool) -> None:
    from rich.markup import escape

    from keepwarm_cli.plan import view

    console, s = view.console(), report.scenario
    cap = "no cap" if s.max_concurrency is None else f"at most {s.max_concurrency}"
    table = view.table(
        f"{s.rate:g}/s, {s.service_mean_s:g} s, idle expiry {s.idle_timeout_s:g} s, {cap},"
        f" {s.environments} provisioned",
        "",
        "whole horizon",
        *(["steady state"] if report.steady else []),
    )
    rows: list[tuple[str, Callable[[PlainFigures], str]]] = [
        ("cold", lambda f: view.share(f.cold_fraction)),
        ("rejected", lambda f: view.share(f.rejected_fraction)),
        *([("on the pool", lambda f: view.share(f.provisioned_fraction))] if s.environments else []),
        ("environments", lambda f: view.number(f.instances)),
        ("busy", lambda f: view.number(f.busy)),
        ("requests", lambda f: f"{f.requests:,}"),
    ]
    shown = [report.figures, *([report.steady] if report.steady else [])]
    for name, cell in rows:
        table.add_row(name, *(cell(figures) for figures in shown))
    console.print(table)
    start = "from an empty platform" if not s.warmup_s else f"after a warm-up of {s.warmup_s:g} s"
    console.print(
        f"[dim]{s.replications} replications of {s.horizon:,.0f} s, {start}; 95 % intervals; seed {s.seed}; "
        f"{report.kernel} kernel, {report.cpu_s:.2f} CPU s[/dim]"
    )
    if report.kernel_note:
        console.print(f"[yellow]{escape(report.kernel_note)}[/yellow]")
    if explain:
        view.explain_simulated(
            console, ("cold_fraction", "rejected_fraction", "provisioned_fraction", "instances", "busy")
        )
