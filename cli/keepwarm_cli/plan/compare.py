"""`keepwarm plan compare`: several designs on the same arrivals, and which ones nothing beats."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from keepwarm_cli.plan.options import print_json
from keepwarm_cli.plan.simulate import DesignsOptions, designs_of, simulate_designs


@dataclass(frozen=True, kw_only=True)
class CompareOptions(DesignsOptions):
    """Everything that `compare` can be asked."""

    design: Annotated[Path, typer.Option(help="YAML with the designs (docs/planner.md).")]
    replications: Annotated[int, typer.Option(help="Independent runs behind the intervals.")] = 5


def run(options: CompareOptions) -> None:
    """Several designs on the same arrivals: cost, p99, cold fraction, Goodput, and which ones nothing beats."""
    from keepwarm_cli.plan import outcomes

    results = simulate_designs(
        designs_of(options.design), options, label="comparing", replications=options.replications
    )
    front = outcomes.front(results.outcomes)
    if options.plot is not None:
        outcomes.plot_front(results.outcomes, front, options.plot)
    if options.json:
        print_json({**outcomes.document(results), "pareto": front})
    else:
        outcomes.show(results, explain=options.explain, front=front)
