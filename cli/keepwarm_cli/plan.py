"""`keepwarm plan`: fit, budget, size, simulate, break-even, checklist, compare.

Only typer is imported here; what a command needs is imported when it runs, so that `--help` starts fast.
"""

import functools
import sys
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import typer

app = typer.Typer(
    name="plan",
    help="Will it fit, how cold is it, how many to keep warm, what does it cost: before anything is deployed.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # rich help costs 200 ms of start-up
    pretty_exceptions_enable=False,
)


@app.callback()
def _plan() -> None:
    """A group even while it has one command."""


F = TypeVar("F", bound=Callable[..., Any])


def _reporting(command: F) -> F:
    """Bad input ends with its one line on stderr and exit status 2, never with a traceback."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        from keepwarm_planner.errors import PlannerError

        try:
            return command(*args, **kwargs)
        except PlannerError as e:
            print(e, file=sys.stderr)
            raise typer.Exit(2) from e
        except KeyboardInterrupt:
            raise typer.Exit(130) from None

    return wrapped  # type: ignore[return-value]


Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
Explain = Annotated[
    bool, typer.Option("--explain", help="Show the formula and the inputs behind every figure.")
]


@app.command()
@_reporting
def simulate(
    rate: Annotated[float | None, typer.Option(help="Poisson arrivals per second (the plain case).")] = None,
    service_mean_s: Annotated[
        float | None, typer.Option(help="Mean of the exponential service time, seconds.")
    ] = None,
    idle_timeout_s: Annotated[float, typer.Option(help="Seconds an idle environment lives.")] = 600.0,
    max_concurrency: Annotated[
        int | None, typer.Option(help="Cap on requests in flight; beyond it a request is rejected.")
    ] = None,
    provisioned: Annotated[int, typer.Option(help="Environments kept initialised.")] = 0,
    horizon_s: Annotated[
        float | None,
        typer.Option(help="Seconds simulated per replication. Default: a day, less for high rates."),
    ] = None,
    warmup_s: Annotated[float, typer.Option(help="Seconds at the start left out of the figures.")] = 0.0,
    replications: Annotated[int, typer.Option(help="Independent runs behind the intervals.")] = 20,
    seed: Annotated[int, typer.Option(help="The same seed gives the same figures.")] = 1,
    kernel: Annotated[str | None, typer.Option(help="c, python or auto.")] = None,
    json: Json = False,
    explain: Explain = False,
) -> None:
    """Simulate a design: cold fraction, rejections, environments, with 95 % intervals."""
    from keepwarm_planner.errors import PlannerError
    from keepwarm_planner.plain import PlainScenario, simulate_plain

    if rate is None or service_mean_s is None:
        raise PlannerError(
            "KW500", "simulate", "neither --trace nor --rate with --service-mean-s", "one of the two"
        )
    report = simulate_plain(
        PlainScenario(
            rate=rate,
            service_mean_s=service_mean_s,
            idle_timeout_s=idle_timeout_s,
            max_concurrency=max_concurrency,
            provisioned=provisioned,
            horizon_s=horizon_s,
            warmup_s=warmup_s,
            replications=replications,
            seed=seed,
        ),
        kernel=kernel,
    )
    _emit_json(report.as_dict()) if json else None


def _emit_json(document: dict[str, Any]) -> None:
    import json as json_module

    print(json_module.dumps(document, indent=2, allow_nan=False))


if __name__ == "__main__":
    app(prog_name="keepwarm plan")
