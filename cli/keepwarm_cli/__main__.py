"""The `keepwarm` command (contract C7): exit 0 fine, 1 a check failed, 2 bad input, 130 interrupted.

Nothing but typer is imported before the command is known: `--help` answers in the time the interpreter needs.
"""

import os
import sys
from importlib.metadata import version as distribution_version
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from keepwarm_cli import plan
from keepwarm_cli.errors import CliError

app = typer.Typer(
    rich_markup_mode=None,
    name="keepwarm",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Infrastructure as code for serverless AI runtimes: plan it, deploy it, prove it.",
)
local = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="The embedded cloud: the same program, no account, no Docker.",
)
model = typer.Typer(
    no_args_is_help=True, help="Publish, list, verify, promote and roll back models of a registry."
)
app.add_typer(local, name="local")
app.add_typer(model, name="model")
app.add_typer(plan.app, name="plan")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
Bucket = Annotated[str | None, typer.Option(help="Registry bucket. Default: KEEPWARM_MODEL_BUCKET.")]
Floor = Annotated[
    str | None,
    typer.Option(help="Raise the channel's rollback floor: no version below it may be served any more."),
]
Endpoint = Annotated[
    str | None, typer.Option(help="AWS endpoint. Default: AWS_ENDPOINT_URL, then AWS itself.")
]


@app.callback(invoke_without_command=True)
def _root(
    show_version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if show_version:
        typer.echo(f"keepwarm {distribution_version('keepwarm-cli')}")
        raise typer.Exit


@local.command("run")
def local_run(
    documents: Annotated[Path, typer.Option(help="Folder of documents to push through.")] = Path(
        "examples/documents"
    ),
    out: Annotated[Path, typer.Option(help="Folder for report.json and report.html.")] = Path("report"),
    stack: Annotated[str, typer.Option(help="Stack file to deploy: stacks/Pulumi.<stack>.yaml.")] = "local",
    again: Annotated[int, typer.Option(min=0, help="Upload the first N documents a second time.")] = 0,
    timeout_s: Annotated[int, typer.Option(min=10, help="Longest wait for the last document.")] = 300,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the AWS endpoint; 0 picks a free one.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Deploy the stack on the embedded cloud, push documents through, report, tear down, prove nothing is left."""
    from keepwarm_cli.local_run import RunOptions, run

    raise typer.Exit(run(RunOptions(documents, out, stack, again, timeout_s, port, as_json)))


@local.command("up")
def local_up(
    stack: Annotated[str, typer.Option(help="Stack file to deploy.")] = "local",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the AWS endpoint; 0 picks a free one.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Keep the deployed stack running until Ctrl-C: endpoint, outputs, live log."""
    from keepwarm_cli.local_run import up

    raise typer.Exit(up(stack, port, as_json))


@local.command("env")
def local_env(as_json: AsJson = False) -> None:
    """Print what a Pulumi CLI started by hand needs to find the embedded cloud."""
    import json

    from keepwarm_cli import pulumi_command
    from keepwarm_cli.project import find_project

    found = pulumi_command.local_env(find_project())
    typer.echo(json.dumps(found) if as_json else pulumi_command.export_lines(found))


@local.command("reset")
def local_reset() -> None:
    """Stop the embedded cloud that `keepwarm pulumi` keeps running, and clear its state."""
    from keepwarm_cli import pulumi_command
    from keepwarm_cli.project import find_project

    for line in pulumi_command.local_reset(find_project()):
        typer.echo(line)


@app.command("pulumi", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def pulumi(context: typer.Context) -> None:
    """Run the real Pulumi CLI against the embedded cloud: `keepwarm pulumi -- up`."""
    from keepwarm_cli import pulumi_command
    from keepwarm_cli.project import find_project

    raise typer.Exit(pulumi_command.run(find_project(), context.args))


@app.command("report")
def report(
    source: Annotated[Path, typer.Argument(help="report.json of a run.")] = Path("report/report.json"),
    out: Annotated[Path | None, typer.Option(help="Page to write. Default: report.html beside it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Draw the page of an earlier run again from its report.json."""
    import json

    from keepwarm_cli.report import redraw

    page = str(redraw(source, out))
    typer.echo(json.dumps({"report": page}) if as_json else f"report: {page}")


@model.command("publish")
def model_publish(
    directory: Annotated[Path, typer.Argument(help="Folder with the model's files.")],
    name: Annotated[str, typer.Option(help="Model name.")],
    version: Annotated[str, typer.Option(help="Version; immutable once published.")],
    channel: Annotated[str | None, typer.Option(help="Channel to point at it.")] = None,
    floor: Floor = None,
    bucket: Bucket = None,
    endpoint: Endpoint = None,
    as_json: AsJson = False,
) -> None:
    """Publish a model directory: immutable blobs and manifest, then the channel."""
    from keepwarm_cli import models

    raise typer.Exit(models.publish(directory, name, version, channel, floor, bucket, endpoint, as_json))


@model.command("list")
def model_list(bucket: Bucket = None, endpoint: Endpoint = None, as_json: AsJson = False) -> None:
    """List models, versions, digests, sizes and the channels that point at them."""
    from keepwarm_cli import models

    raise typer.Exit(models.list_models(bucket, endpoint, as_json))


@model.command("verify")
def model_verify(
    reference: Annotated[str, typer.Argument(help="name@sha256:<digest> or name:channel.")],
    bucket: Bucket = None,
    endpoint: Endpoint = None,
    as_json: AsJson = False,
) -> None:
    """Download every chunk of a model and check it against its manifest."""
    from keepwarm_cli import models

    raise typer.Exit(models.verify(reference, bucket, endpoint, as_json))


@model.command("promote")
def model_promote(
    reference: Annotated[
        str, typer.Argument(help="name@sha256:<digest> or name:channel to take the release from.")
    ],
    channel: Annotated[str, typer.Option(help="Channel to point at it.")],
    floor: Floor = None,
    bucket: Bucket = None,
    endpoint: Endpoint = None,
    as_json: AsJson = False,
) -> None:
    """Point a channel at a published release; refused below the channel's rollback floor."""
    from keepwarm_cli import models

    raise typer.Exit(models.promote(reference, channel, floor, bucket, endpoint, as_json))


@model.command("rollback")
def model_rollback(
    name: Annotated[str, typer.Argument(help="Model name.")],
    channel: Annotated[str, typer.Option(help="Channel to move back.")],
    to: Annotated[str, typer.Option(help="Version to go back to.")],
    floor: Annotated[
        str | None,
        typer.Option(help="Replace the channel's rollback floor by this version, also by a lower one."),
    ] = None,
    bucket: Bucket = None,
    endpoint: Endpoint = None,
    as_json: AsJson = False,
) -> None:
    """Move a channel back to an earlier version, not below its rollback floor unless --floor lowers it."""
    from keepwarm_cli import models

    raise typer.Exit(models.rollback(name, channel, to, floor, bucket, endpoint, as_json))


def main() -> None:
    """Run the command; a known refusal is one line on standard error."""
    try:
        app(standalone_mode=True)
    except CliError as error:
        print(str(error), file=sys.stderr)
        _leave(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted; everything was stopped", file=sys.stderr)
        _leave(130)
    except SystemExit as end:
        _leave(end.code)


def _leave(status: int | str | None) -> NoReturn:
    """End the process, also when the code of a program that nobody can interrupt would keep it for ever."""
    engine = sys.modules.get("keepwarm_cli.engine")
    if engine is not None and engine.ABANDONED:
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
