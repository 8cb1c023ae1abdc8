"""`keepwarm model ...`: the registry from a terminal, by the very code that functions load models with."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from keepwarm_cli.errors import CliError, Told
from keepwarm_runtime.aws import S3, Aws
from keepwarm_runtime.errors import RuntimeFault
from keepwarm_runtime.models import manifest as manifests
from keepwarm_runtime.models.registry import Registry

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


def _registry(bucket: str | None, endpoint: str | None) -> Registry:
    name = bucket or os.environ.get("KEEPWARM_MODEL_BUCKET")
    if not name:
        raise CliError(
            "KW659", "model", got="no registry bucket", allowed="--bucket, or KEEPWARM_MODEL_BUCKET"
        )
    return Registry(S3(Aws(env=_environment(endpoint))), name)


def _told(work: Callable[[], T]) -> T:
    """Run registry work; what the runtime refuses is already one coded line."""
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


def publish(
    directory: Path,
    name: str,
    version: str,
    channel: str | None,
    floor: str | None,
    bucket: str | None,
    endpoint: str | None,
    as_json: bool,
) -> int:
    """Publish a directory. Publishing the same again sends nothing; another content under a used version is refused."""
    if not directory.is_dir():
        raise CliError(
            "KW659",
            "model",
            got=f"{directory}, which is not a folder",
            allowed="the folder of the model's files",
        )
    registry = _registry(bucket, endpoint)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        progress.add_task(f"publishing {name} {version}", total=None)
        built = _told(lambda: manifests.build(directory, name=name, version=version))
        report = _told(lambda: registry.publish(directory, built, channel=channel, floor=floor))
    told = {
        "name": name,
        "version": version,
        "digest": built.digest,
        "channel": channel,
        "pointer": _pointer(report.pointer),
        "blobs_written": report.blobs_written,
        "blobs_reused": report.blobs_reused,
        "bytes_written": report.bytes_written,
        "manifest_written": report.manifest_written,
    }
    _tell(told, f"{name} {version} published as {name}@sha256:{built.digest}", as_json)
    return 0


def publish_built(models: Mapping[str, Any], bucket: str, endpoint: str) -> list[dict[str, Any]]:
    """Publish the models of a program into its registry and verify them; sends only what is not there yet."""
    registry = Registry(S3(Aws(env=_environment(endpoint, operator=True))), bucket)
    told = []
    for model in models.values():
        manifest = manifests.parse(model.manifest.encode())
        _told(lambda model=model, manifest=manifest: registry.publish(model.directory, manifest))  # type: ignore[misc]
        _told(lambda manifest=manifest: registry.verify(f"{manifest.name}@sha256:{manifest.digest}"))  # type: ignore[misc]
        told.append(
            {
                "name": manifest.name,
                "version": manifest.version,
                "digest": manifest.digest,
                "channel": model.channel,
                "size_bytes": sum(f.size for f in manifest.files),
                "files": len(manifest.files),
            }
        )
    return told


def list_models(bucket: str | None, endpoint: str | None, as_json: bool) -> int:
    """List releases and the channels that point at them."""
    registry = _registry(bucket, endpoint)
    releases = _told(registry.list)
    if as_json:
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
        return 0
    table = Table(box=None, header_style="dim")
    for heading in ("model", "version", "channels", "digest"):
        table.add_column(heading, no_wrap=True)
    table.add_column("bytes", justify="right", no_wrap=True)
    for r in releases:
        table.add_row(r.name, r.version, ", ".join(r.channels), r.digest[:16], f"{r.size:,}")
    Console(highlight=False).print(table)
    return 0


def verify(reference: str, bucket: str | None, endpoint: str | None, as_json: bool) -> int:
    """Check every byte of a release against its manifest."""
    registry = _registry(bucket, endpoint)
    found = _told(lambda: registry.verify(reference)).manifest
    size_bytes = sum(f.size for f in found.files)
    _tell(
        {"reference": reference, "version": found.version, "digest": found.digest, "size_bytes": size_bytes},
        f"{reference}: every chunk is what its manifest says",
        as_json,
    )
    return 0


def promote(
    reference: str, channel: str, floor: str | None, bucket: str | None, endpoint: str | None, as_json: bool
) -> int:
    """Point a channel at a release, raising its rollback floor when one is given."""
    registry = _registry(bucket, endpoint)
    resolved = _told(lambda: registry.resolve(reference))
    manifest = resolved.manifest
    moved = _told(lambda: registry.promote(manifest.name, manifest.version, channel, floor=floor))
    _tell(
        {"pointer": _pointer(moved)},
        f"{manifest.name}:{channel} is now {manifest.version}",
        as_json,
    )
    return 0


def rollback(
    name: str,
    channel: str,
    to: str,
    floor: str | None,
    bucket: str | None,
    endpoint: str | None,
    as_json: bool,
) -> int:
    """Move a channel back; a floor replaces the one that holds, also by a lower one."""
    registry = _registry(bucket, endpoint)
    moved = _told(lambda: registry.rollback(name, channel, to, floor=floor))
    _tell({"pointer": _pointer(moved)}, f"{name}:{channel} is back at {to}", as_json)
    return 0


def _tell(told: dict[str, Any], line: str, as_json: bool) -> None:
    print(json.dumps(told) if as_json else line)
