"""The engine's own state in its file backend: what it holds, who locks it, what a kill left half-written."""

import contextlib
import json
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from keepwarm_cli.engine.daemons import alive
from keepwarm_cli.engine.state_folder import Folder
from keepwarm_cli.errors import CliError

STATE_VERSION: Final = 4
"""Newest layout of a state that the pinned CLI writes (`DeploymentSchemaVersionLatest`)."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds the lock of a stack."""

    pid: int
    user: str
    host: str
    since: str
    file: Path

    def gone(self) -> bool:
        """Whether the process was on this machine and is no more."""
        return self.host == socket.gethostname() and not alive(self.pid)


def holders(folder: Folder, project: str, stack: str) -> list[Holder]:
    """Locks of a stack in the file backend."""
    found = []
    for path in sorted((folder.backend / ".pulumi" / "locks").glob(f"organization/{project}/{stack}/*.json")):
        with contextlib.suppress(OSError, ValueError, KeyError):
            content = json.loads(path.read_text())
            found.append(
                Holder(content["pid"], content["username"], content["hostname"], content["timestamp"], path)
            )
    return found


def release_dead_locks(folder: Folder, project: str, stack: str, say: Callable[[str], None]) -> None:
    """Clear locks whose process is gone.

    Raises:
        CliError: KW671, a living process holds the lock.
    """
    for holder in holders(folder, project, stack):
        if not holder.gone():
            raise CliError(
                "KW671",
                f"stack '{stack}'",
                got=f"a lock held by {holder.user}@{holder.host}, process {holder.pid}, since {holder.since}",
                allowed="one change at a time",
                fix="wait for it, or end that process and run `keepwarm pulumi -- cancel --yes`",
            )
        holder.file.unlink(missing_ok=True)
        say(f"the lock of process {holder.pid}, which is gone, was cleared")


def mend_backend(folder: Folder, project: str, stack: str, say: Callable[[str], None]) -> None:
    """Remove what a kill in the middle of a write left beside the state: half-written side files, which reads refuse.

    The CLI's file backend replaces a state by a rename, but writes its `.attrs` side file (content type, checksum) in
    place; cut short, it makes the CLI say "failed to load checkpoint: EOF" for ever. The side file is optional. Call it
    only while no process holds the stack's lock.
    """
    root = folder.backend / ".pulumi"
    found = list((root / "stacks" / project).glob(f"{stack}.json*"))
    for kind in ("history", "backups"):
        found += (root / kind / project / stack).glob("*")
    for path in found:
        if path.suffix == ".attrs" and not _is_json(path):
            path.unlink(missing_ok=True)
            say(f"{path.name}: a killed run left it half-written; removed, the state itself is whole")
        elif path.suffix == ".tmp":
            path.unlink(missing_ok=True)


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text())
    except (OSError, ValueError):
        return False
    return True


def checkpoint(folder: Folder, project: str, stack: str) -> dict[str, Any]:
    """The stack's newest deployment in the file backend, or an empty one.

    Raises:
        CliError: KW673, it cannot be read; KW669, a newer CLI made it.
    """
    path = folder.backend / ".pulumi" / "stacks" / project / f"{stack}.json"
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text())
        version = int(found.get("version", 0))
        latest = dict((found.get("checkpoint") or {}).get("latest") or {})
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise CliError(
            "KW673",
            f"state {path}",
            problem=f"cannot be read: {error}",
            allowed="what the Pulumi CLI wrote",
            fix="restore it from .pulumi/backups, or `keepwarm local reset`",
        ) from error
    if version > STATE_VERSION:
        raise CliError(
            "KW669",
            f"state {path}",
            got=f"version {version}",
            allowed=f"up to {STATE_VERSION}",
            because="a newer Pulumi CLI made it",
            fix="use that version, or `keepwarm local reset`",
        )
    return latest


def pending(deployment: Mapping[str, Any], kind: str = "creating") -> list[dict[str, Any]]:
    """Operations that a killed run left unfinished."""
    operations = deployment.get("pending_operations") or []
    return [dict(o["resource"]) for o in operations if o.get("type") == kind]


def plain(value: Any) -> Any:
    """Values of a state file: signatures of assets and secrets are no use here and are left out."""
    if isinstance(value, dict):
        if "4dabf18193072939515e22adb298388d" in value:
            return None
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [plain(v) for v in value]
    return value
