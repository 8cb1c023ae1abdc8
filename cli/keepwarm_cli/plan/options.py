"""Options that several commands of `keepwarm plan` share, each group a heading of their help."""

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from keepwarm_cli.command_line import Json, Options

if TYPE_CHECKING:
    from keepwarm_planner.model.design import Workload
    from keepwarm_planner.prices import Prices
    from keepwarm_planner.traffic.law import Law
    from keepwarm_planner.traffic.source import Progress, Source

O = TypeVar("O", bound=Options)  # noqa: E741

DEFAULT_COLD = "lognormal:p50=1.5,p99=4"
DEFAULT_REGION = "us-east-1"
"""The planner's own default region; a test holds them equal."""


class TimeUnit(StrEnum):
    """Units of a trace's times."""

    SECONDS = "s"
    MILLISECONDS = "ms"
    MICROSECONDS = "us"
    NANOSECONDS = "ns"


class Kernel(StrEnum):
    """Kernels of the simulation."""

    AUTO = "auto"
    C = "c"
    PYTHON = "python"


class Architecture(StrEnum):
    """Instruction sets of a function, by AWS's names."""

    X86_64 = "x86_64"
    ARM64 = "arm64"


@dataclass(frozen=True, kw_only=True)
class Arrivals(Options, heading="Arrivals"):
    """When requests come: a trace or a generator."""

    trace: Annotated[
        Path | None, typer.Option(help="Arrivals or per-minute counts, CSV or Parquet (see docs/planner.md).")
    ] = None
    generate: Annotated[
        str | None,
        typer.Option(
            help="Instead of a trace: poisson:rate=R, diurnal:mean=R,swing=S,"
            " spike:base=R,peak=R,at_s=T,width_s=T, mmpp:low=R,high=R,low_s=T,high_s=T;"
            " each with optional hours=H."
        ),
    ] = None
    time_unit: Annotated[TimeUnit | None, typer.Option(help="Unit of a trace whose header has none.")] = None
    function: Annotated[
        str | None, typer.Option("--function", help="Use only the function whose hash starts with this.")
    ] = None
    max_requests: Annotated[
        float, typer.Option(help="Refuse a trace with more arrivals than this.", show_default="2e10")
    ] = 2e10

    def check(self) -> None:
        """Refuse a bound that refuses everything."""
        from keepwarm_planner.errors import PlannerError

        if not self.max_requests > 0.0:
            raise PlannerError("KW500", "--max-requests", self.max_requests, "more than 0")

    def source(self, progress: "Progress | None" = None) -> "Source":
        """Open the trace or the generator.

        Raises:
            PlannerError: KW500 unless exactly one is given, KW503-KW509 and KW517 what is wrong with it.
        """
        from keepwarm_planner.errors import PlannerError
        from keepwarm_planner.traffic import generators, traces

        if (self.trace is None) == (self.generate is None):
            raise PlannerError(
                "KW500",
                "arrivals",
                "neither --trace nor --generate" if self.trace is None else "both --trace and --generate",
                "one of the two",
            )
        if self.generate is None:
            assert self.trace is not None
            return traces.load(
                self.trace,
                time_unit=self.time_unit,
                function=self.function,
                limit=self.max_requests,
                progress=progress,
            )
        source: Source = generators.generator(self.generate)
        if source.expected() > self.max_requests:
            raise PlannerError(
                "KW509",
                "--generate",
                f"about {source.expected():.3g} requests",
                f"at most {self.max_requests:.3g}",
            )
        return source


@dataclass(frozen=True, kw_only=True)
class Work(Options, heading="Work of a request"):
    """How long a request and a cold start take, and what counts as good."""

    service: Annotated[
        str | None,
        typer.Option(help="Service time: SECONDS, exp:MEAN, lognormal:mean=M,cv=C or lognormal:p50=A,p99=B."),
    ] = None
    cold: Annotated[
        str | None, typer.Option(help=f"Cold-start time, in the same notation. Default: {DEFAULT_COLD}.")
    ] = None
    from_events: Annotated[
        list[Path] | None,
        typer.Option(
            "--from-events", help="Result events (JSON lines) of real or local runs; may be given repeatedly."
        ),
    ] = None
    events_function: Annotated[
        str | None,
        typer.Option(help="Function or service whose starts count, where the events have several."),
    ] = None
    latency_target_s: Annotated[
        float | None, typer.Option(help="Latency target in seconds; slower answers don't count as good.")
    ] = None

    def check(self) -> None:
        """Refuse a target that nothing meets, and two cold starts."""
        from keepwarm_planner.errors import PlannerError

        if self.latency_target_s is not None and not self.latency_target_s > 0.0:
            raise PlannerError("KW500", "--latency-target-s", self.latency_target_s, "more than 0 s")
        if self.from_events and self.cold is not None:
            raise PlannerError("KW500", "--cold", "a law together with --from-events", "one of the two")

    def workload(
        self,
        source: "Source",
        *,
        service: "str | Law | None" = None,
        cold: "str | Law | None" = None,
        latency_target_s: float | None = None,
    ) -> "Workload":
        """Join arrivals and work; the keywords are what a design file or the command itself says besides.

        Raises:
            PlannerError: KW500 there is no service time, KW514 events that can't be used, KW517 a law that can't.
        """
        from math import inf

        from keepwarm_planner.errors import PlannerError
        from keepwarm_planner.model.design import Workload

        given = service if self.service is None else self.service
        if given is None and not source.has_services:
            raise PlannerError(
                "KW500", source.name, "no durations", "--service, or a trace with duration_s or duration_ms"
            )
        target_s = latency_target_s if self.latency_target_s is None else self.latency_target_s
        return Workload(
            source,
            None if given is None else law_of(given, "--service"),
            self._cold(cold),
            inf if target_s is None else target_s,
        )

    def _cold(self, otherwise: "str | Law | None") -> "Law":
        if not self.from_events:
            given = otherwise if self.cold is None else self.cold
            return law_of(DEFAULT_COLD if given is None else given, "--cold")
        from keepwarm_planner.answers.budget import estimate
        from keepwarm_planner.answers.calibration import calibrate
        from keepwarm_planner.answers.cold_path import ColdPath
        from keepwarm_planner.errors import PlannerError

        if otherwise is not None:
            raise PlannerError("KW500", "--cold", "a law together with --from-events", "one of the two")
        measured = calibrate(self.from_events, function=self.events_function, option="--events-function")
        return estimate(ColdPath(), calibration=measured).law


def law_of(text: "str | Law", option: str) -> "Law":
    """Read a law from the command line.

    Raises:
        PlannerError: KW517 and KW500, it can't be read.
    """
    from keepwarm_planner.traffic import law

    return law.parse(text, option) if isinstance(text, str) else text


@dataclass(frozen=True, kw_only=True)
class PriceFile(Options, heading="Prices"):
    """Prices of the user's own."""

    prices: Annotated[
        Path | None,
        typer.Option("--prices", help="JSON with prices that replace or extend the shipped ones."),
    ] = None


@dataclass(frozen=True, kw_only=True)
class StackPricing(PriceFile, heading="Prices"):
    """Prices of a region that a stack file may name."""

    region: Annotated[
        str | None,
        typer.Option(help=f"Region whose prices are used. Default: the stack's, else {DEFAULT_REGION}."),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Pricing(PriceFile, heading="Prices"):
    """Prices of a region."""

    region: Annotated[str, typer.Option(help="Region whose prices are used.")] = DEFAULT_REGION

    def table(self) -> "Prices":
        """Read the prices.

        Raises:
            PlannerError: KW510 the region has none, KW511 the file is malformed.
        """
        from keepwarm_planner import prices

        return prices.load(self.region, self.prices)


@dataclass(frozen=True, kw_only=True)
class Repeats(Options, heading="Simulation"):
    """Chance, and how long it takes."""

    seed: Annotated[int, typer.Option(help="The same seed gives the same figures.")] = 1
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False


@dataclass(frozen=True, kw_only=True)
class Explained(Json, heading="Output"):
    """Tables or JSON, with or without the formulas."""

    explain: Annotated[
        bool, typer.Option("--explain", help="Show the formula and the inputs behind every figure.")
    ] = False


@dataclass(frozen=True, kw_only=True)
class Plotted(Explained, heading="Output"):
    """The same, and a plot."""

    plot: Annotated[
        Path | None,
        typer.Option("--plot", help="Write a plot: NAME.png, NAME.svg or one self-contained NAME.html."),
    ] = None

    def check(self) -> None:
        """Refuse a file that can't be drawn or written, before anything is computed."""
        if self.plot is not None:
            from keepwarm_planner.answers.plots import checked_path

            checked_path(self.plot)


def pipeable(run: Callable[[O], None]) -> Callable[[O], None]:
    """Take a reader that has read enough (`| head`) as the end."""

    @functools.wraps(run)
    def wrapped(options: O) -> None:
        try:
            run(options)
        except BrokenPipeError:
            sys.stderr.close()
            raise typer.Exit(0) from None

    return wrapped


def print_json(document: dict[str, Any]) -> None:
    """Print one JSON document; it has no infinity, so an unbounded figure is null."""
    import json

    print(json.dumps(finite(document), indent=2, allow_nan=False))


def finite(value: Any) -> Any:
    """Replace every infinity and NaN by None."""
    from math import isfinite

    if isinstance(value, dict):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    if isinstance(value, float) and not isfinite(value):
        return None
    return value
