"""`keepwarm model ...`: the registry from a terminal, by the very code that functions load models with."""

import json
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from keepwarm_cli.errors import CliError, Told
from keepwarm_runtime.aws import S3, Aws
from keepwarm_runtime.errors import RuntimeFault
from keepwarm_runtime.models import manifest as manifests
from keepwarm_runtime.models.registry import Registry

if TYPE_CHECKING:
    from keepwarm_cli.command_line import Json
    from keepwarm_cli.model_commands import (
        ListOptions,
        PromoteOptions,
        PublishOptions,
        RegistryOptions,
        RollbackOptions,
        VerifyOptions,
    )

T = TypeVar("T")


def _environment(endpoint: str | None, *, operator: bool = False) -> dict[str, str]:
    """Environment for the runtime's client: as it is, completed from the user's AWS profile where it lacks keys."""
    env = dict(os.environ)
    if endpoint:
        env["AWS_ENDPOINT_URL"] = endpoint
    env.setdefault("AWS_REGION", env.get("AWS_DEFAULT_REGION") or "us-east-1")
    if operator:
        env |= {"AWS_ACCESS_KEY_ID": "operator", "AWS_SECRET_ACCESS_KEY": "operator"}
        env.pop("AWS_SESSION_TOKEN", None)
    elif "AWS_ACCESS_KEY_ID" not in env:
        import boto3

        found = boto3.Session().get_credentials()
        if found is None:
            raise CliError(
                "KW659",
                "model",
                got="no AWS credentials",
                allowed="a profile, or AWS_ACCESS_KEY_ID with its secret",
            )
        frozen = found.get_frozen_credentials()
        env |= {"AWS_ACCESS_KEY_ID": frozen.access_key, "AWS_SECRET_ACCESS_KEY": frozen.secret_key}
        if frozen.token:
            env["AWS_SESSION_TOKEN"] = frozen.token
    return env


def _registry(options: "RegistryOptions") -> Registry:
    name = options.bucket or os.environ.get("KEEPWARM_MODEL_BUCKET")
    if not name:
        raise CliError(
            "KW659", "model", got="no registry bucket", allowed="--bucket, or KEEPWARM_MODEL_BUCKET"
        )
    return Registry(S3(Aws(env=_environment(options.endpoint))), name)


def _told(work: Callable[[], T]) -> T:
    """Run registry work; what the runtime refuses is already a coded line."""
    try:
        return work()
    except RuntimeFault as fault:
        raise Told(fault.code, str(fault)) from None


def _pointer(pointer: manifests.Pointer | None) -> dict[str, str | None] | None:
    if pointer is None:
        return None
    return {
        "channel": pointer.channel,
        "version": pointer.version,
        "digest": pointer.digest,
        "floor": pointer.floor,
    }


def publish(options: "PublishOptions") -> None:
    """Publish a directory. Publishing the same again sends nothing; another content under a used version is refused.

    Raises:
        CliError: KW659, no such folder or registry; whatever the registry refuses, by its own code.
    """
    directory = options.directory
    if not directory.is_dir():
        raise CliError(
            "KW659",
            "model",
            got=f"{directory}, which is not a folder",
            allowed="the folder of the model's files",
        )
    registry = _registry(options)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        progress.add_task(f"publishing {options.name} {options.version}", total=None)
        built = _told(lambda: manifests.build(directory, name=options.name, version=options.version))
        report = _told(
            lambda: registry.publish(directory, built, channel=options.channel, floor=options.floor)
        )
    told = {
        "name": options.name,
        "version": options.version,
        "digest": built.digest,
        "channel": options.channel,
        "pointer": _pointer(report.pointer),
        "blobs_written": report.blobs_written,
        "blobs_reused": report.blobs_reused,
        "bytes_written": report.bytes_written,
        "manifest_written": report.manifest_written,
    }
    published = f"{options.name} {options.version} published as {options.name}@sha256:{built.digest}"
    _tell(told, published, options)


def publish_built(models: Mapping[str, Any], bucket: str, endpoint: str) -> list[dict[str, Any]]:
    """Publish the models of a program into its registry and verify them; sends only what is not there yet."""
    registry = Registry(S3(Aws(env=_environment(endpoint, operator=True))), bucket)
    told = []
    sealed = [(model, manifests.parse(model.manifest.encode())) for model in models.values()]
    for model, manifest in sealed:
        _told(lambda model=model, manifest=manifest: registry.publish(model.directory, manifest))  # type: ignore[misc]
        _told(lambda manifest=manifest: registry.verify(f"{manifest.name}@sha256:{manifest.digest}"))  # type: ignore[misc]
    channels = {release.digest: ", ".join(release.channels) for release in _told(registry.list)}
    for _, manifest in sealed:
        told.append(
            {
                "name": manifest.name,
                "version": manifest.version,
                "digest": manifest.digest,
                "channel": channels.get(manifest.digest, ""),
                "size_bytes": sum(f.size for f in manifest.files),
                "files": len(manifest.files),
            }
        )
    return told


def list_releases(options: "ListOptions") -> None:
    """List releases and the channels that point at them."""
    releases = _told(_registry(options).list)
    if options.json:
        rows = [
            {
                "name": r.name,
                "version": r.version,
                "digest": r.digest,
                "size_bytes": r.size,
                "channels": list(r.channels),
            }
            for r in releases
        ]
        print(json.dumps(rows))
        return
    table = Table(box=None, header_style="dim")
    for heading in ("model", "version", "channels", "digest"):
        table.add_column(heading, no_wrap=True)
    table.add_column("bytes", justify="right", no_wrap=True)
    for r in releases:
        table.add_row(r.name, r.version, ", ".join(r.channels), r.digest[:16], f"{r.size:,}")
    Console(highlight=False).print(table)


def verify(options: "VerifyOptions") -> None:
    """Check every byte of a release against its manifest."""
    registry = _registry(options)
    found = _told(lambda: registry.verify(options.reference)).manifest
    told = {
        "reference": options.reference,
        "version": found.version,
        "digest": found.digest,
        "size_bytes": sum(f.size for f in found.files),
    }
    _tell(told, f"{options.reference}: every chunk is what its manifest says", options)


def promote(options: "PromoteOptions") -> None:
    """Point a channel at a release, raising its rollback floor when one is given."""
    registry = _registry(options)
    manifest = _told(lambda: registry.resolve(options.reference)).manifest
    moved = _told(
        lambda: registry.promote(manifest.name, manifest.version, options.channel, floor=options.floor)
    )
    _tell(
        {"pointer": _pointer(moved)}, f"{manifest.name}:{options.channel} is now {manifest.version}", options
    )


def rollback(options: "RollbackOptions") -> None:
    """Move a channel back; a floor replaces the one that holds, also by a lower one."""
    registry = _registry(options)
    moved = _told(lambda: registry.rollback(options.name, options.channel, options.to, floor=options.floor))
    _tell({"pointer": _pointer(moved)}, f"{options.name}:{options.channel} is back at {options.to}", options)


def _tell(told: dict[str, Any], line: str, options: "Json") -> None:
    print(json.dumps(told) if options.json else line)
