"""The `keepwarm` command (contract C7): exit 0 fine, 1 a check failed, 2 bad input, 130 interrupted.

Nothing but typer is imported before the command is known: `--help` answers in the time the interpreter needs.
"""

import os
import sys
from dataclasses import dataclass
from importlib.metadata import version as distribution_version
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from keepwarm_cli import command_line, local_commands, model_commands, plan
from keepwarm_cli.command_line import Json
from keepwarm_cli.errors import CliError

app = command_line.app(
    "keepwarm", "Infrastructure as code for serverless AI runtimes: plan it, deploy it, prove it."
)
app.add_typer(local_commands.app, name="local")
app.add_typer(model_commands.app, name="model")
app.add_typer(plan.app, name="plan")


@app.callback(invoke_without_command=True)
def _root(
    show_version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if show_version:
        typer.echo(f"keepwarm {distribution_version('keepwarm-cli')}")
        raise typer.Exit


@app.command("pulumi", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def pulumi(context: typer.Context) -> None:
    """Run the real Pulumi CLI against the embedded cloud: `keepwarm pulumi -- up`."""
    from keepwarm_cli.engine import command
    from keepwarm_cli.project import find_project

    raise typer.Exit(command.run(find_project(), context.args))


@dataclass(frozen=True, kw_only=True)
class ReportOptions(Json):
    """Everything that `report` can be asked."""

    source: Annotated[Path, typer.Argument(help="report.json of a run.")] = Path("report/report.json")
    out: Annotated[Path | None, typer.Option(help="Page to write. Default: report.html beside it.")] = None


@command_line.command(app, ReportOptions)
def report(options: ReportOptions) -> None:
    """Draw the page of an earlier run again from its report.json."""
    import json

    from keepwarm_cli.report import redraw

    page = str(redraw(options.source, options.out))
    typer.echo(json.dumps({"report": page}) if options.json else f"report: {page}")


def main() -> None:
    """Run the command; a known refusal is one line on standard error."""
    try:
        app()
    except CliError as error:
        print(str(error), file=sys.stderr)
        _leave(error.exit_code)
    except SystemExit as end:
        _leave(end.code)


def _leave(status: int | str | None) -> NoReturn:
    """End the process, also when the code of a program that nobody can interrupt would keep it for ever."""
    served = sys.modules.get("keepwarm_cli.engine.program")
    if served is not None and served.ABANDONED:
        print(
            "keepwarm: the Pulumi program kept running after the engine exited; it was terminated",
            file=sys.stderr,
        )
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status if isinstance(status, int) else int(status is not None))
    raise SystemExit(status) from None


if __name__ == "__main__":
    main()
