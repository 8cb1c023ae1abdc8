"""`keepwarm model ...`: a registry of models from a terminal. Imports only typer; the work is in `models`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from keepwarm_cli import command_line
from keepwarm_cli.command_line import Json, Options

app = command_line.app("model", "Publish, list, verify, promote and roll back models of a registry.")


@dataclass(frozen=True, kw_only=True)
class RegistryOptions(Options, heading="Registry"):
    """Which registry."""

    bucket: Annotated[str | None, typer.Option(help="Registry bucket. Default: KEEPWARM_MODEL_BUCKET.")] = (
        None
    )
    endpoint: Annotated[
        str | None, typer.Option(help="AWS endpoint. Default: AWS_ENDPOINT_URL, then AWS itself.")
    ] = None


@dataclass(frozen=True, kw_only=True)
class Raised(Options):
    """A rollback floor that may only rise."""

    floor: Annotated[
        str | None,
        typer.Option(help="Raise the channel's rollback floor: no version below it may be served any more."),
    ] = None


@dataclass(frozen=True, kw_only=True)
class PublishOptions(Raised, RegistryOptions, Json):
    """Everything that `publish` can be asked."""

    directory: Annotated[Path, typer.Argument(help="Folder with the model's files.")]
    name: Annotated[str, typer.Option(help="Model name.")]
    version: Annotated[str, typer.Option(help="Version; immutable once published.")]
    channel: Annotated[str | None, typer.Option(help="Channel to point at it.")] = None


@dataclass(frozen=True, kw_only=True)
class ListOptions(RegistryOptions, Json):
    """Everything that `list` can be asked."""


@dataclass(frozen=True, kw_only=True)
class VerifyOptions(RegistryOptions, Json):
    """Everything that `verify` can be asked."""

    reference: Annotated[str, typer.Argument(help="name@sha256:<digest> or name:channel.")]


@dataclass(frozen=True, kw_only=True)
class PromoteOptions(Raised, RegistryOptions, Json):
    """Everything that `promote` can be asked."""

    reference: Annotated[
        str, typer.Argument(help="name@sha256:<digest> or name:channel to take the release from.")
    ]
    channel: Annotated[str, typer.Option(help="Channel to point at it.")]


@dataclass(frozen=True, kw_only=True)
class RollbackOptions(RegistryOptions, Json):
    """Everything that `rollback` can be asked."""

    name: Annotated[str, typer.Argument(help="Model name.")]
    channel: Annotated[str, typer.Option(help="Channel to move back.")]
    to: Annotated[str, typer.Option(help="Version to go back to.")]
    floor: Annotated[
        str | None,
        typer.Option(help="Replace the channel's rollback floor by this version, also by a lower one."),
    ] = None


@command_line.command(app, PublishOptions)
def publish(options: PublishOptions) -> None:
    """Publish a model directory: immutable blobs and manifest, then the channel."""
    from keepwarm_cli import models

    models.publish(options)


@command_line.command(app, ListOptions, "list")
def list_releases(options: ListOptions) -> None:
    """List models, versions, digests, sizes and the channels that point at them."""
    from keepwarm_cli import models

    models.list_releases(options)


@command_line.command(app, VerifyOptions)
def verify(options: VerifyOptions) -> None:
    """Download every chunk of a model and check it against its manifest."""
    from keepwarm_cli import models

    models.verify(options)


@command_line.command(app, PromoteOptions)
def promote(options: PromoteOptions) -> None:
    """Point a channel at a published release; refused below the channel's rollback floor."""
    from keepwarm_cli import models

    models.promote(options)


@command_line.command(app, RollbackOptions)
def rollback(options: RollbackOptions) -> None:
    """Move a channel back to an earlier version, not below its rollback floor unless --floor lowers it."""
    from keepwarm_cli import models

    models.rollback(options)
