"""`keepwarm model ...`: the registry from a terminal, by the very code that functions load models with."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from keepwarm_cli.errors import CliError
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
                "model: got no AWS credentials; needs a profile, or AWS_ACCESS_KEY_ID with its secret",
            )
        frozen = found.get_frozen_credentials()
        env |= {"AWS_ACCESS_KEY_ID": frozen.access_key, "AWS_SECRET_ACCESS_KEY": frozen.secret_key}
        if frozen.token:
            env["AWS_SESSION_TOKEN"] = frozen.token
    return env


def _registry(bucket: str | None, endpoint: str | None) -> Registry:
    name = bucket or os.environ.get("KEEPWARM_MODEL_BUCKET")
    if not name:
        raise CliError("KW659", "model: got no registry bucket; needs --bucket, or KEEPWARM_MODEL_BUCKET")
    return Registry(S3(Aws(env=_environment(endpoint))), name)


def _told(work: Callable[[], T]) -> T:
    """Run registry work; what the runtime refuses is already one coded line."""
    try:
        return work()
    except RuntimeFault as fault:
        raise CliError(fault.code, str(fault).removeprefix(f"{fault.code} "), exit_code=1) from None


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {k: _plain(v) for k, v in asdict(value).items()}
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value if isinstance(value, str | int | float | bool | type(None)) else str(value)


def publish(
    directory: Path,
    name: str,
    version: str,
    channel: str | None,
    bucket: str | None,
    endpoint: str | None,
    as_json: bool,
) -> int:
    """Publish a directory. Publishing the same again sends nothing; another content under a used version is refused."""
    if not directory.is_dir():
        raise CliError(
            "KW659", f"model: got {directory}, which is not a folder; needs the folder of the model's files"
        )
    registry = _registry(bucket, endpoint)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        progress.add_task(f"publishing {name} {version}", total=None)
        built = _told(lambda: manifests.build(directory, name=name, version=version))
        report = _told(lambda: registry.publish(directory, built, channel=channel))
    told = {
        "name": name,
        "version": version,
        "digest": built.digest,
        "channel": channel,
        "report": _plain(report),
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
    releases = _plain(_told(lambda: list(registry.list())))
    if as_json:
        print(json.dumps(releases))
        return 0
    table = Table(box=None, header_style="dim")
    keys = list(releases[0]) if releases else ["name", "version", "digest"]
    for key in keys:
        table.add_column(key)
    for release in releases:
        table.add_row(*(", ".join(v) if isinstance(v, list) else str(v) for v in release.values()))
    Console(highlight=False).print(table)
    return 0


def verify(reference: str, bucket: str | None, endpoint: str | None, as_json: bool) -> int:
    """Check every byte of a release against its manifest."""
    registry = _registry(bucket, endpoint)
    report = _plain(_told(lambda: registry.verify(reference)))
    _tell(
        {"reference": reference, "report": report},
        f"{reference}: every chunk is what its manifest says",
        as_json,
    )
    return 0


def promote(reference: str, channel: str, bucket: str | None, endpoint: str | None, as_json: bool) -> int:
    """Point a channel at a release."""
    registry = _registry(bucket, endpoint)
    resolved = _told(lambda: registry.resolve(reference))
    manifest = resolved.manifest
    report = _plain(_told(lambda: registry.promote(manifest.name, manifest.version, channel)))
    _tell(
        {"channel": channel, "report": report},
        f"{manifest.name}:{channel} is now {manifest.version}",
        as_json,
    )
    return 0


def rollback(
    name: str, channel: str, to: str, bucket: str | None, endpoint: str | None, as_json: bool
) -> int:
    """Move a channel back."""
    registry = _registry(bucket, endpoint)
    report = _plain(_told(lambda: registry.rollback(name, channel, to)))
    _tell({"channel": channel, "report": report}, f"{name}:{channel} is back at {to}", as_json)
    return 0


def _tell(told: dict[str, Any], line: str, as_json: bool) -> None:
    print(json.dumps(told) if as_json else line)
