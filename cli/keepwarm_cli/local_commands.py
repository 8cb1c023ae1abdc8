"""`keepwarm local ...`: the embedded cloud from a terminal. Imports only typer; the work is in the other modules."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from keepwarm_cli import command_line
from keepwarm_cli.command_line import Json, Options

app = command_line.app("local", "The embedded cloud: the same program, no account, no Docker.")


@dataclass(frozen=True, kw_only=True)
class StackOptions(Json):
    """Which stack is deployed, and where it is served."""

    stack: Annotated[str, typer.Option(help="Stack file to deploy: stacks/Pulumi.<stack>.yaml.")] = "local"
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the AWS endpoint; 0 picks a free one.")
    ] = 0


@dataclass(frozen=True, kw_only=True)
class RunOptions(StackOptions):
    """Everything that `run` can be asked."""

    documents: Annotated[Path, typer.Option(help="Folder of documents to push through.")] = Path(
        "examples/documents"
    )
    out: Annotated[Path, typer.Option(help="Folder for report.json and report.html.")] = Path("report")
    again: Annotated[int, typer.Option(min=0, help="Upload the first N documents a second time.")] = 0
    timeout_s: Annotated[int, typer.Option(min=10, help="Longest wait for the last document, seconds.")] = 300


@command_line.command(app, RunOptions)
def run(options: RunOptions) -> None:
    """Deploy the stack on the embedded cloud, push documents through, report, tear down, prove nothing is left."""
    from keepwarm_cli import local_run

    raise typer.Exit(local_run.run(options))


@command_line.command(app, StackOptions)
def up(options: StackOptions) -> None:
    """Keep the deployed stack running until Ctrl-C: endpoint, outputs, live log."""
    from keepwarm_cli import local_up

    raise typer.Exit(local_up.up(options))


@command_line.command(app, Json)
def env(options: Json) -> None:
    """Print what a Pulumi CLI started by hand needs to find the embedded cloud."""
    import json

    from keepwarm_cli.engine import by_hand
    from keepwarm_cli.project import find_project

    found = by_hand.local_env(find_project())
    typer.echo(json.dumps(found) if options.json else by_hand.export_lines(found))


@command_line.command(app, Options)
def reset(options: Options) -> None:
    """Stop the embedded cloud that `keepwarm pulumi` keeps running, and clear its state."""
    from keepwarm_cli.engine import by_hand
    from keepwarm_cli.project import find_project

    for line in by_hand.local_reset(find_project()):
        typer.echo(line)
