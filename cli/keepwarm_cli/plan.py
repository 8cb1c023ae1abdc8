"""`keepwarm plan`: fit, budget, size, simulate, break-even, checklist, compare.

Only typer is imported here; what a command needs is imported when it runs, so that `--help` starts fast.
"""

import functools
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keepwarm_cli.plan_view import StackChange
    from keepwarm_planner.answers.checklist import Facts
    from keepwarm_planner.model.design import System, Workload
    from keepwarm_planner.prices import Prices
    from keepwarm_planner.traffic.law import Law
    from keepwarm_planner.traffic.source import Progress, Source

app = typer.Typer(
    name="plan",
    help="Will it fit, how cold is it, how many to keep warm, what does it cost: before anything is deployed.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # rich help costs 200 ms of start-up
    pretty_exceptions_enable=False,
)

F = TypeVar("F", bound=Callable[..., Any])

CHECK_FAILED = 1
BAD_INPUT = 2


def _reporting(command: F) -> F:
    """Bad input ends with its one line on stderr and exit status 2, never with a traceback."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        from keepwarm_planner.errors import PlannerError

        try:
            return command(*args, **kwargs)
        except PlannerError as e:
            print(e, file=sys.stderr)
            raise typer.Exit(BAD_INPUT) from e
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            raise typer.Exit(130) from None
        except BrokenPipeError:
            sys.stderr.close()
            raise typer.Exit(0) from None

    return wrapped  # type: ignore[return-value]


Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
Explain = Annotated[
    bool, typer.Option("--explain", help="Show the formula and the inputs behind every figure.")
]
Plot = Annotated[
    Path | None,
    typer.Option("--plot", help="Write a plot: NAME.png, NAME.svg or one self-contained NAME.html."),
]
Region = Annotated[str, typer.Option(help="Region whose prices are used.")]
PriceFile = Annotated[
    Path | None, typer.Option("--prices", help="JSON with prices that replace or extend the shipped ones.")
]
Trace = Annotated[
    Path | None, typer.Option(help="Arrivals or per-minute counts, CSV or Parquet (see docs/planner.md).")
]
Generate = Annotated[
    str | None,
    typer.Option(
        help="Instead of a trace: poisson:rate=R, diurnal:mean=R,swing=S, spike:base=R,peak=R,at_s=T,width_s=T,"
        " mmpp:low=R,high=R,low_s=T,high_s=T; each with optional hours=H."
    ),
]
TimeUnit = Annotated[str | None, typer.Option(help="Unit of a trace whose header has none: s, ms, us, ns.")]
FunctionHash = Annotated[
    str | None, typer.Option("--function", help="Use only the function whose hash starts with this.")
]
MaxRequests = Annotated[float, typer.Option(help="Refuse a trace with more arrivals than this.")]
Service = Annotated[
    str | None,
    typer.Option(help="Service time: SECONDS, exp:MEAN, lognormal:mean=M,cv=C or lognormal:p50=A,p99=B."),
]
Cold = Annotated[
    str | None,
    typer.Option(help="Cold-start time, in the same notation. Default: lognormal:p50=1.5,p99=4."),
]
LatencyTarget = Annotated[
    float | None, typer.Option(help="Latency target in seconds; slower answers don't count as good.")
]
Seed = Annotated[int, typer.Option(help="The same seed gives the same figures.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bar.")]
FromEvents = Annotated[
    list[Path] | None,
    typer.Option(
        "--from-events", help="Result events (JSON lines) of real or local runs; may be given repeatedly."
    ),
]
EventsFunction = Annotated[
    str | None,
    typer.Option(help="Function or service whose starts count, where the events have several."),
]
DEFAULT_COLD = "lognormal:p50=1.5,p99=4"
DEFAULT_MAX_REQUESTS = 2e10


def _emit_json(document: dict[str, Any]) -> None:
    import json as json_module

    from keepwarm_cli.plan_view import finite

    print(json_module.dumps(finite(document), indent=2, allow_nan=False))


def _prices(region: str, file: Path | None) -> "Prices":
    from keepwarm_planner import prices

    return prices.load(region, file)


class _Bar(AbstractContextManager["_Bar"]):
    """Progress on stderr while it is a terminal and a run takes longer than a moment."""

    def __init__(self, what: str, quiet: bool) -> None:
        self.what = what
        self.on = not quiet and sys.stderr.isatty()
        self.inner: AbstractContextManager[Any] = nullcontext()
        self.task: Any = None
        self.progress: Any = None

    def __enter__(self) -> "_Bar":
        if self.on:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

            self.progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TaskProgressColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self.inner = self.progress
            self.inner.__enter__()
            self.task = self.progress.add_task(self.what, total=1.0)
        return self

    def __exit__(self, *error: Any) -> None:
        self.inner.__exit__(*error)

    def __call__(self, share: float) -> None:
        if self.progress is not None:
            self.progress.update(self.task, completed=share)


def _source(
    trace: Path | None,
    generate: str | None,
    time_unit: str | None,
    function: str | None,
    max_requests: float,
    progress: "Progress | None" = None,
) -> "Source":
    from keepwarm_planner.errors import PlannerError
    from keepwarm_planner.traffic import generators, traces

    if not max_requests > 0.0:
        raise PlannerError("KW500", "--max-requests", max_requests, "more than 0")
    if (trace is None) == (generate is None):
        raise PlannerError(
            "KW500",
            "arrivals",
            "neither --trace nor --generate" if trace is None else "both --trace and --generate",
            "one of the two",
        )
    if generate is not None:
        source: Source = generators.generator(generate)
        if source.expected() > max_requests:
            raise PlannerError(
                "KW509",
                "--generate",
                f"about {source.expected():.3g} requests",
                f"at most {max_requests:.3g}",
            )
        return source
    assert trace is not None
    return traces.load(trace, time_unit=time_unit, function=function, limit=max_requests, progress=progress)


def _law(text: "str | Law", option: str) -> "Law":
    from keepwarm_planner.traffic import law

    return law.parse(text, option) if isinstance(text, str) else text


def _workload(
    source: "Source",
    service: "str | Law | None",
    cold: "str | Law | None",
    latency_target_s: float | None,
    events: list[Path] | None = None,
    events_function: str | None = None,
) -> "Workload":
    from math import inf

    from keepwarm_planner.errors import PlannerError
    from keepwarm_planner.model.design import Workload

    if latency_target_s is not None and not latency_target_s > 0.0:
        raise PlannerError("KW500", "--latency-target-s", latency_target_s, "more than 0 s")
    if events:
        from keepwarm_planner.answers.budget import estimate
        from keepwarm_planner.answers.calibration import calibrate
        from keepwarm_planner.answers.cold_path import ColdPath

        if cold is not None:
            raise PlannerError("KW500", "--cold", "a law together with --from-events", "one of the two")
        measured = calibrate(events, function=events_function, option="--events-function")
        cold_law = estimate(ColdPath(), calibration=measured).law
    else:
        cold_law = _law(DEFAULT_COLD if cold is None else cold, "--cold")
    service_law = None if service is None else _law(service, "--service")
    if service_law is None and not source.has_services:
        raise PlannerError(
            "KW500",
            source.name,
            "no durations",
            "--service, or a trace with duration_s or duration_ms",
        )
    return Workload(source, service_law, cold_law, inf if latency_target_s is None else latency_target_s)


@app.command()
@_reporting
def simulate(
    rate: Annotated[float | None, typer.Option(help="Poisson arrivals per second (the plain case).")] = None,
    service_mean_s: Annotated[
        float | None, typer.Option(help="Mean of the exponential service time, seconds (the plain case).")
    ] = None,
    idle_timeout_s: Annotated[float, typer.Option(help="Seconds an idle environment lives.")] = 600.0,
    max_concurrency: Annotated[
        int | None, typer.Option(help="Cap on requests in flight; beyond it a request is rejected.")
    ] = None,
    environments: Annotated[int, typer.Option(help="Environments kept initialized.")] = 0,
    horizon_s: Annotated[
        float | None,
        typer.Option(help="Seconds simulated per replication. Default: a day, less for high rates."),
    ] = None,
    warmup_s: Annotated[float, typer.Option(help="Seconds at the start left out of the figures.")] = 0.0,
    replications: Annotated[
        int | None, typer.Option(help="Independent runs behind the intervals. Default: 20, with a trace 5.")
    ] = None,
    seed: Seed = 1,
    precision: Annotated[
        float | None,
        typer.Option(help="Run until half the cold fraction's interval is this share of it, e.g. 0.01."),
    ] = None,
    trace: Trace = None,
    generate: Generate = None,
    time_unit: TimeUnit = None,
    function: FunctionHash = None,
    max_requests: MaxRequests = DEFAULT_MAX_REQUESTS,
    service: Service = None,
    cold: Cold = None,
    from_events: FromEvents = None,
    events_function: EventsFunction = None,
    latency_target_s: LatencyTarget = None,
    design: Annotated[
        Path | None,
        typer.Option(help="YAML with designs: pools, queues, retries, downstream (docs/planner.md)."),
    ] = None,
    region: Region = "us-east-1",
    prices: PriceFile = None,
    kernel: Annotated[str | None, typer.Option(help="c, python or auto.")] = None,
    timeline: Annotated[bool, typer.Option("--timeline", help="Put a row per minute into the JSON.")] = False,
    plot: Plot = None,
    json: Json = False,
    explain: Explain = False,
    quiet: Quiet = False,
) -> None:
    """Simulate a design: cold fraction, throttles, latency, cost, with 95 % intervals."""
    from keepwarm_cli import plan_view
    from keepwarm_planner.errors import PlannerError

    if rate is not None or service_mean_s is not None:
        if rate is None or service_mean_s is None:
            raise PlannerError("KW500", "simulate", "one of --rate and --service-mean-s", "both")
        if (
            trace
            or generate
            or design
            or service
            or cold
            or from_events
            or plot
            or timeline
            or latency_target_s
        ):
            raise PlannerError(
                "KW500",
                "simulate",
                "--rate together with a trace, a design, laws, a target, a timeline or a plot",
                "one way of saying it",
                fix="--generate poisson:rate=R with --service exp:S is the same with everything else",
            )
        from keepwarm_planner.model.plain import PlainScenario, simulate_plain

        scenario = PlainScenario(
            rate=rate,
            service_mean_s=service_mean_s,
            idle_timeout_s=idle_timeout_s,
            max_concurrency=max_concurrency,
            environments=environments,
            horizon_s=horizon_s,
            warmup_s=warmup_s,
            replications=20 if replications is None else replications,
            seed=seed,
        )
        if precision is not None:
            from keepwarm_planner.model.precise import simulate_to

            if warmup_s:
                raise PlannerError(
                    "KW500",
                    "simulate --precision",
                    f"--warmup-s {warmup_s:g}",
                    "no warm-up",
                    because="the steady figures come beside those of the whole horizon",
                )
            report = simulate_to(scenario, precision, kernel=kernel)
        else:
            with _Bar("simulating", quiet or json) as bar:
                report = simulate_plain(scenario, kernel=kernel, progress=bar)
        if json:
            _emit_json(report.as_dict())
        else:
            plan_view.plain(report, explain)
        return
    from keepwarm_planner.model import engine
    from keepwarm_planner.model import system as full

    for option, given in (
        ("--precision", precision is not None),
        ("--horizon-s", horizon_s is not None),
        ("--warmup-s", warmup_s != 0.0),
    ):
        if given:
            raise PlannerError(
                "KW500",
                f"simulate {option}",
                "a trace or a generator",
                "the plain case, --rate and --service-mean-s",
                because="a trace has its own length; a generator takes hours=H",
            )
    if plot is not None:
        from keepwarm_planner.answers.plots import checked_path

        checked_path(plot)
    systems, service_law, cold_law, latency_target_s = _designs(
        design, service, cold, latency_target_s, environments, max_concurrency, idle_timeout_s
    )
    with _Bar("simulating", quiet or json) as bar:
        source = _source(trace, generate, time_unit, function, max_requests, bar if trace else None)
        workload = _workload(source, service_law, cold_law, latency_target_s, from_events, events_function)
        table = _prices(region, prices)
        count = 5 if replications is None else replications
        results: list[Any] = []
        plain = [s.design for s in systems if s.queue is None and s.downstream is None]
        run = None
        if plain:
            run = engine.run(
                plain,
                workload,
                table,
                seed=seed,
                replications=count,
                timeline=bool(plot or timeline),
                kernel=kernel,
                progress=None if trace else bar,
            )
            results += run.outcomes
        for one in systems:
            if one.design not in plain:
                results.append(
                    full.simulate(one, workload, table, seed=seed, replications=count, progress=bar)
                )
    if plot is not None:
        plan_view.plot_timelines(results, plot)
    if json:
        _emit_json(plan_view.results_document(results, workload, table, seed, count, run, timeline))
    else:
        plan_view.results(results, workload, table, count, explain)


def _designs(
    file: Path | None,
    service: str | None,
    cold: str | None,
    latency_target_s: float | None,
    environments: int,
    max_concurrency: int | None,
    idle_timeout_s: float,
) -> "tuple[list[System], str | Law | None, str | Law | None, float | None]":
    from keepwarm_planner.errors import PlannerError
    from keepwarm_planner.model.design import Design, System

    if file is None:
        name = f"{environments} provisioned" if environments else "on-demand"
        one = Design(
            name, environments=environments, max_concurrency=max_concurrency, idle_timeout_s=idle_timeout_s
        )
        return [System(one)], service, cold, latency_target_s
    if environments or max_concurrency is not None:
        raise PlannerError(
            "KW500", "simulate", "--design with --environments or --max-concurrency", "one of the two"
        )
    from keepwarm_planner.model import design_file

    loaded = design_file.load(file)
    return (
        loaded.systems,
        loaded.service if service is None else service,
        loaded.cold if cold is None else cold,
        latency_target_s if latency_target_s is not None else loaded.latency_target_s,
    )


def _merge(stack: Path, answer: "Mapping[str, Any]", write: bool) -> "StackChange":
    """An answer's settings laid into a stack, checked by the program's reader, and written if asked."""
    from keepwarm_cli import plan_view
    from keepwarm_planner.answers import stack as stacks
    from keepwarm_planner.answers.stack import stack_settings

    written = stack_settings(stack)
    sections = stacks.merged(written, answer)
    checked = plan_view.accepted(stack, {**written, **sections})
    if write and sections:
        stacks.update(stack, sections)
    return plan_view.StackChange(stack, sections, checked, write and bool(sections))


@app.command()
@_reporting
def compare(
    design: Annotated[Path, typer.Option(help="YAML with the designs (docs/planner.md).")],
    trace: Trace = None,
    generate: Generate = None,
    time_unit: TimeUnit = None,
    function: FunctionHash = None,
    max_requests: MaxRequests = DEFAULT_MAX_REQUESTS,
    service: Service = None,
    cold: Cold = None,
    from_events: FromEvents = None,
    events_function: EventsFunction = None,
    latency_target_s: LatencyTarget = None,
    replications: Annotated[int, typer.Option(help="Independent runs behind the intervals.")] = 5,
    seed: Seed = 1,
    region: Region = "us-east-1",
    prices: PriceFile = None,
    plot: Plot = None,
    json: Json = False,
    explain: Explain = False,
    quiet: Quiet = False,
) -> None:
    """Several designs on the same arrivals: cost, p99, cold fraction, Goodput, and which ones nothing beats."""
    from keepwarm_cli import plan_view
    from keepwarm_planner.model import engine
    from keepwarm_planner.model import system as full

    if plot is not None:
        from keepwarm_planner.answers.plots import checked_path

        checked_path(plot)
    systems, service_law, cold_law, latency_target_s = _designs(
        design, service, cold, latency_target_s, 0, None, 600.0
    )
    with _Bar("comparing", quiet or json) as bar:
        source = _source(trace, generate, time_unit, function, max_requests, bar if trace else None)
        workload = _workload(source, service_law, cold_law, latency_target_s, from_events, events_function)
        table = _prices(region, prices)
        plain = [s.design for s in systems if s.queue is None and s.downstream is None]
        results: list[Any] = []
        run = None
        if plain:
            run = engine.run(
                plain, workload, table, seed=seed, replications=replications, progress=None if trace else bar
            )
            results += run.outcomes
        for one in systems:
            if one.design not in plain:
                results.append(
                    full.simulate(one, workload, table, seed=seed, replications=replications, progress=bar)
                )
    front = plan_view.front(results)
    if plot is not None:
        plan_view.plot_pareto(results, front, plot)
    if json:
        document = plan_view.results_document(results, workload, table, seed, replications, run, False)
        _emit_json({**document, "pareto": front})
    else:
        plan_view.results(results, workload, table, replications, explain, front=front)


@app.command()
@_reporting
def size(
    trace: Trace = None,
    generate: Generate = None,
    time_unit: TimeUnit = None,
    function: FunctionHash = None,
    max_requests: MaxRequests = DEFAULT_MAX_REQUESTS,
    service: Service = None,
    cold: Cold = None,
    from_events: FromEvents = None,
    events_function: EventsFunction = None,
    cold_fraction: Annotated[float, typer.Option(help="Share of requests that may start cold.")] = 0.01,
    latency_s: Annotated[
        float | None, typer.Option(help="99th percentile of latency to keep, seconds.")
    ] = None,
    latency_target_s: LatencyTarget = None,
    max_event_age_s: Annotated[
        float | None, typer.Option(help="Age at which a queued message is worthless, seconds.")
    ] = None,
    max_concurrency: Annotated[int | None, typer.Option(help="Reserved concurrency of the function.")] = None,
    memory_mb: Annotated[
        int | None, typer.Option(help="Memory of the function. Default: the stack's, else 1769.")
    ] = None,
    ephemeral_mb: Annotated[
        int | None, typer.Option(help="Ephemeral storage, MB. Default: the stack's, else 512.")
    ] = None,
    architecture: Annotated[
        str | None, typer.Option(help="x86_64 or arm64, for its prices. Default: the stack's, else x86_64.")
    ] = None,
    idle_timeout_s: Annotated[float, typer.Option(help="Seconds an idle environment lives.")] = 600.0,
    downstream_s: Annotated[
        float | None, typer.Option(help="Mean time of a call to the service behind: sizes its permits.")
    ] = None,
    concurrency_per_task: Annotated[
        int | None,
        typer.Option(
            help="Requests one task of that service serves at a time. Default: the stack's, else 1."
        ),
    ] = None,
    name: Annotated[str, typer.Option(help="Function in the stack settings.")] = "classify",
    stack: Annotated[
        Path | None,
        typer.Option(help="Stack file that the settings are merged into and checked against."),
    ] = None,
    write: Annotated[bool, typer.Option("--write", help="Write the merged sections into --stack.")] = False,
    seed: Seed = 1,
    region: Annotated[
        str | None, typer.Option(help="Region whose prices are used. Default: the stack's, else us-east-1.")
    ] = None,
    prices: PriceFile = None,
    plot: Plot = None,
    json: Json = False,
    explain: Explain = False,
    quiet: Quiet = False,
) -> None:
    """The cheapest warm pool, schedule or target tracking that meets a cold-start and latency target."""
    from math import inf

    from keepwarm_cli import plan_view
    from keepwarm_planner import cost
    from keepwarm_planner.answers.size import Target
    from keepwarm_planner.answers.size import size as search
    from keepwarm_planner.errors import PlannerError
    from keepwarm_planner.model.design import Design

    if plot is not None:
        from keepwarm_planner.answers.plots import checked_path

        checked_path(plot)
    target = Target(cold_fraction, inf if latency_s is None else latency_s)
    if write and stack is None:
        raise PlannerError("KW500", "size --write", "no --stack", "a stack file to write to")
    if stack is not None:
        resolved, its_region = plan_view.stack_of(stack)
        of_function = (resolved.get("functions") or {}).get(name) or {}
        memory_mb = of_function.get("memory_mb") if memory_mb is None else memory_mb
        ephemeral_mb = of_function.get("ephemeral_mb") if ephemeral_mb is None else ephemeral_mb
        if architecture is None:
            architecture = (resolved.get("runtime") or {}).get("architecture")
        if max_event_age_s is None:
            max_event_age_s = (resolved.get("queue") or {}).get("max_event_age_s")
        if concurrency_per_task is None:
            concurrency_per_task = (resolved.get("service") or {}).get("concurrency_per_task")
        region = its_region if region is None else region
    with _Bar("searching", quiet or json) as bar:
        source = _source(trace, generate, time_unit, function, max_requests)
        workload = _workload(
            source,
            service,
            cold,
            latency_target_s if latency_target_s is not None else latency_s,
            from_events,
            events_function,
        )
        base = Design(
            "base",
            max_concurrency=max_concurrency,
            memory_mb=1769 if memory_mb is None else memory_mb,
            ephemeral_mb=512 if ephemeral_mb is None else ephemeral_mb,
            architecture=cost.architecture(architecture or "x86_64", "size --architecture"),
            idle_timeout_s=idle_timeout_s,
        )
        table = _prices(region or "us-east-1", prices)
        report = search(
            workload,
            table,
            target,
            base,
            seed=seed,
            function=name,
            max_event_age_s=max_event_age_s,
            downstream_s=downstream_s,
            concurrency_per_task=1 if concurrency_per_task is None else concurrency_per_task,
            progress=bar,
        )
    change = None if stack is None else _merge(stack, report.settings, write)
    if plot is not None:
        plan_view.plot_size(report, plot)
    if json:
        _emit_json(
            {
                **report.as_dict(),
                "seed": seed,
                "region": table.region,
                "prices_dated": table.dated,
                "prices_unchecked": table.unchecked(plan_view.price_names([report.answer])),
                **({"stack": plan_view.change_document(change)} if change else {}),
            }
        )
    else:
        plan_view.size(report, workload, table, explain, change)


def _given(phase: list[str] | None) -> "dict[str, Law]":
    from keepwarm_planner.errors import PlannerError

    given = {}
    for item in phase or []:
        key, eq, text = item.partition("=")
        if not eq:
            raise PlannerError("KW500", "budget --phase", repr(item), "PHASE=LAW")
        given[key] = _law(text, f"budget --phase {key}")
    return given


def _budgets(limit: list[str] | None) -> dict[str, float]:
    from keepwarm_planner.errors import PlannerError

    budgets = {}
    for item in limit or []:
        key, _, text = item.partition("=")
        try:
            budgets[key] = float(text)
        except ValueError:
            raise PlannerError("KW500", "budget --budget", repr(item), "PHASE=SECONDS") from None
        if not budgets[key] > 0.0:
            raise PlannerError("KW500", "budget --budget", repr(item), "seconds above 0")
    return budgets


@app.command()
@_reporting
def budget(
    artifact_mb: Annotated[float, typer.Option(help="Function bundle or image, MB.")] = 60.0,
    image: Annotated[bool, typer.Option("--image", help="The artifact is a container image.")] = False,
    model_mb: Annotated[float, typer.Option(help="Model files fetched at start, MB.")] = 20.0,
    memory_mb: Annotated[
        int | None,
        typer.Option(
            help="Memory of the function: 1,769 MB are one vCPU, the default; with --stack the stack's."
        ),
    ] = None,
    bandwidth_mb_s: Annotated[float, typer.Option(help="Registry to environment, MB/s.")] = 80.0,
    hash_mb_s: Annotated[float, typer.Option(help="Digest speed on one vCPU, MB/s.")] = 1800.0,
    load_mb_s: Annotated[float, typer.Option(help="Deserialization on one vCPU, MB/s.")] = 700.0,
    imports_s: Annotated[float, typer.Option(help="Imports on one vCPU, seconds.")] = 0.6,
    compile_s: Annotated[float, typer.Option(help="Compilation for this hardware, seconds.")] = 0.0,
    warmup_s: Annotated[float, typer.Option(help="First inference less a later one, seconds.")] = 0.1,
    phase: Annotated[
        list[str] | None,
        typer.Option(help="PHASE=LAW replaces an assumption, e.g. imports=lognormal:p50=0.4,p99=1."),
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            "--budget", help="PHASE=SECONDS or total=SECONDS at the 99th percentile; may be repeated."
        ),
    ] = None,
    stack: Annotated[
        Path | None,
        typer.Option(help="Stack file: its budget applies, to the classifier with its memory."),
    ] = None,
    from_events: FromEvents = None,
    function: Annotated[
        str | None, typer.Option(help="Only events of this function or service, e.g. classify.")
    ] = None,
    headroom: Annotated[
        float, typer.Option(help="Of the budget that the stack settings get, over the 99th percentile.")
    ] = 1.25,
    write: Annotated[
        bool, typer.Option("--write", help="Write that budget into --stack, in place of its own.")
    ] = False,
    plot: Plot = None,
    json: Json = False,
    explain: Explain = False,
) -> None:
    """Cold start by phase as a distribution, against a budget; calibrated from result events."""
    from keepwarm_cli import plan_view
    from keepwarm_planner.answers.budget import estimate
    from keepwarm_planner.answers.calibration import calibrate
    from keepwarm_planner.answers.cold_path import ColdPath
    from keepwarm_planner.errors import PlannerError

    if plot is not None:
        from keepwarm_planner.answers.plots import checked_path

        checked_path(plot)
    if write and stack is None:
        raise PlannerError("KW500", "budget --write", "no --stack", "a stack file to write to")
    given = _given(phase)
    budgets: dict[str, float] = {}
    if stack is not None:
        settings = plan_view.resolved_settings(stack)
        section = settings.get("budget") or {}
        budgets |= {k.removesuffix("_ms"): float(v) / 1000.0 for k, v in section.items() if k.endswith("_ms")}
        if memory_mb is None:
            memory_mb = ((settings.get("functions") or {}).get("classify") or {}).get("memory_mb")
        if not budgets and not write:
            raise PlannerError(
                "KW513", str(stack), "no keepwarm:budget", "a budget section", fix="--budget total=6"
            )
    budgets |= _budgets(limit)
    path = ColdPath(
        artifact_mb=artifact_mb,
        container_image=image,
        model_mb=model_mb,
        memory_mb=1769 if memory_mb is None else memory_mb,
        bandwidth_mb_s=bandwidth_mb_s,
        hash_mb_s=hash_mb_s,
        load_mb_s=load_mb_s,
        imports_s=imports_s,
        compile_s=compile_s,
        warmup_s=warmup_s,
        given=given,
    )
    # the budget of a stack is the classifier's
    calibration = (
        calibrate(from_events, function=function, prefer="classify" if stack else None)
        if from_events
        else None
    )
    report = estimate(path, budgets, calibration=calibration)
    assumed = calibration.assumed_total(path) if calibration else None
    settings_of = {"budget": report.settings(headroom)}
    change = None if stack is None else _merge(stack, settings_of, write)
    if plot is not None:
        plan_view.plot_budget(report, plot)
    if json:
        document = {**report.as_dict(), "settings": settings_of}
        if change is not None:
            document["stack"] = plan_view.change_document(change)
        if assumed is not None:
            document["assumed_total_of_measured_phases_s"] = assumed
        _emit_json(document)
    else:
        plan_view.budget(report, assumed, settings_of, headroom, explain, change)
    # a budget that was just replaced is not broken
    if not report.ok and not write:
        raise typer.Exit(CHECK_FAILED)


@app.command()
@_reporting
def fit(
    workload: Annotated[
        str | None,
        typer.Argument(
            help="One of the six known workloads. Default: all of them. With --file: a name in the file."
        ),
    ] = None,
    file: Annotated[Path | None, typer.Option(help="YAML with your own workloads.")] = None,
    region: Region = "us-east-1",
    prices: PriceFile = None,
    json: Json = False,
    explain: Explain = False,
) -> None:
    """Verdict per workload: which platform, decided by which numbers, and what would change it."""
    from keepwarm_cli import plan_view
    from keepwarm_planner.answers.fit import fit as judge
    from keepwarm_planner.answers.workload import PRESETS, load_workloads
    from keepwarm_planner.errors import PlannerError

    known = {w.name: w for w in load_workloads(file)} if file is not None else PRESETS
    if workload is not None and workload not in known:
        from difflib import get_close_matches

        near = get_close_matches(workload, known, n=1)
        raise PlannerError(
            "KW513", "fit", repr(workload), ", ".join(known), fix=f"did you mean {near[0]!r}?" if near else ""
        )
    chosen = [known[workload]] if workload is not None else list(known.values())
    table = _prices(region, prices)
    reports = [judge(w, table) for w in chosen]
    if json:
        _emit_json(
            {
                "region": table.region,
                "prices_dated": table.dated,
                "prices_unchecked": table.unchecked(
                    dict.fromkeys(name for r in reports for name in r.price_names)
                ),
                "workloads": [r.as_dict() for r in reports],
            }
        )
    else:
        plan_view.fit(reports, table, explain, detailed=len(reports) == 1 or file is not None)


@app.command()
@_reporting
def breakeven(
    kind: Annotated[
        str,
        typer.Option(help="service: a task that sleeps or always runs; function: on-demand or provisioned."),
    ] = "service",
    service_s: Annotated[float, typer.Option(help="Mean time of a request, seconds.")] = 1.0,
    cold_s: Annotated[
        float | None, typer.Option(help="Cold start, seconds. Default: service 180, function 2.")
    ] = None,
    idle_s: Annotated[
        float | None,
        typer.Option(help="Idle seconds before the environment or task is released. Default: 600 and 900."),
    ] = None,
    session_s: Annotated[float, typer.Option(help="Length of a stretch of work (service).")] = 3600.0,
    cold_cost: Annotated[float, typer.Option(help="USD per request that met a cold start.")] = 0.0,
    memory_mb: Annotated[int, typer.Option(help="Memory of the function.")] = 1769,
    instance_type: Annotated[str, typer.Option(help="Instance of the service.")] = "g4dn.xlarge",
    concurrency_per_task: Annotated[int, typer.Option(help="Requests one task serves at a time.")] = 1,
    region: Region = "us-east-1",
    prices: PriceFile = None,
    plot: Plot = None,
    json: Json = False,
    explain: Explain = False,
) -> None:
    """Scale to zero against always on over the duty cycle: curve, crossing, sensitivity."""
    from keepwarm_cli import plan_view
    from keepwarm_planner.answers.breakeven import Comparison
    from keepwarm_planner.answers.breakeven import breakeven as solve

    if plot is not None:
        from keepwarm_planner.answers.plots import checked_path

        checked_path(plot)
    function = kind == "function"
    comparison = Comparison(
        kind=kind,
        service_s=service_s,
        cold_s=(2.0 if function else 180.0) if cold_s is None else cold_s,
        idle_s=(600.0 if function else 900.0) if idle_s is None else idle_s,
        session_s=session_s,
        cold_cost=cold_cost,
        memory_mb=memory_mb,
        instance_type=instance_type,
        concurrency_per_task=concurrency_per_task,
    )
    table = _prices(region, prices)
    report = solve(comparison, table)
    if plot is not None:
        plan_view.plot_breakeven(report, plot)
    if json:
        _emit_json(
            {
                **report.as_dict(),
                "region": table.region,
                "prices_dated": table.dated,
                "prices_unchecked": table.unchecked(report.price_names),
            }
        )
    else:
        plan_view.breakeven(report, table, explain)


@app.command()
@_reporting
def checklist(
    stack: Annotated[Path, typer.Option(help="Stack file: stacks/Pulumi.NAME.yaml.")] = Path(
        "stacks/Pulumi.prod.yaml"
    ),
    report: Annotated[Path | None, typer.Option(help="report.json of `keepwarm local run`.")] = None,
    from_events: FromEvents = None,
    bundle: Annotated[
        list[str] | None,
        typer.Option(help="NAME=BYTES, unzipped size of a function's package; may be repeated."),
    ] = None,
    bundles: Annotated[
        Path | None, typer.Option(help="Folder of built packages: a zip or folder per function.")
    ] = None,
    model_mb: Annotated[float | None, typer.Option(help="Models that one environment loads, MB.")] = None,
    requests_per_s: Annotated[float | None, typer.Option(help="Mean arrivals per second.")] = None,
    service_s: Annotated[float | None, typer.Option(help="Mean time of a request, seconds.")] = None,
    region: Region = "us-east-1",
    prices: PriceFile = None,
    html: Annotated[Path | None, typer.Option(help="Write the section of the report here.")] = None,
    json: Json = False,
) -> None:
    """The seven questions, answered for this stack with evidence. An unanswered one is a failure."""
    from keepwarm_cli import plan_view
    from keepwarm_planner.answers.checklist import answer, as_html

    settings = plan_view.resolved_settings(stack)
    facts = _facts(report, from_events, bundle, bundles, model_mb, requests_per_s, service_s)
    answers = answer(settings, facts, _prices(region, prices))
    if html is not None:
        html.write_text(as_html(answers), encoding="utf-8")
    ok = all(a.ok for a in answers)
    if json:
        _emit_json({"stack": str(stack), "ok": ok, "answers": [a.as_dict() for a in answers]})
    else:
        plan_view.checklist(answers, stack)
    if not ok:
        raise typer.Exit(CHECK_FAILED)


def _facts(
    report: Path | None,
    events: list[Path] | None,
    bundle: list[str] | None,
    folder: Path | None,
    model_mb: float | None,
    requests_per_s: float | None,
    service_s: float | None,
) -> "Facts":
    from keepwarm_planner.answers.checklist import Facts, bundle_sizes, facts_from_report
    from keepwarm_planner.errors import PlannerError

    sizes = bundle_sizes(folder) if folder is not None else {}
    for item in bundle or []:
        name, eq, text = item.partition("=")
        if not eq or not text.isdigit():
            raise PlannerError("KW500", "checklist --bundle", repr(item), "NAME=BYTES")
        sizes[name] = int(text)
    for option, value in (
        ("--requests-per-s", requests_per_s),
        ("--service-s", service_s),
        ("--model-mb", model_mb),
    ):
        if value is not None and not value > 0.0:
            raise PlannerError("KW500", f"checklist {option}", value, "more than 0")
    calibration = None
    if events:
        from keepwarm_planner.answers.calibration import calibrate

        calibration = calibrate(events, prefer="classify")
    summary, resources = facts_from_report(report) if report is not None else ({}, ())
    return Facts(
        bundle_bytes=sizes,
        model_bytes=int(model_mb * 1e6) if model_mb is not None else None,
        requests_per_s=requests_per_s,
        service_s=service_s,
        calibration=calibration,
        summary=summary,
        resources=resources,
    )


@app.command()
@_reporting
def prices(
    region: Annotated[str | None, typer.Option(help="Default: every region of the file.")] = None,
    file: PriceFile = None,
    json: Json = False,
) -> None:
    """The prices in use, their date and the pages they come from."""
    from keepwarm_cli import plan_view
    from keepwarm_planner import prices as price_file

    tables = [price_file.load(r, file) for r in ([region] if region else price_file.regions())]
    if json:
        _emit_json({"regions": [plan_view.price_document(t) for t in tables]})
    else:
        plan_view.prices(tables)


if __name__ == "__main__":
    app(prog_name="keepwarm plan")
