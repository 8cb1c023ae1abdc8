"""Local image directories: what stands for a container image where there is no Docker."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keepwarm_localcloud.request import AwsError
from keepwarm_localcloud.services.errors import coded


@dataclass(frozen=True, slots=True)
class Image:
    """A directory and what its config.json says, like an OCI image config."""

    root: Path
    entrypoint: list[str]
    command: list[str]
    environment: dict[str, str]
    working_directory: Path

    def argv(self, entrypoint: list[str] | None, command: list[str] | None) -> list[str]:
        """Program and arguments after a task definition's overrides; an entry point of its own drops Cmd, as
        in Docker."""
        head = self.entrypoint if entrypoint is None else entrypoint
        tail = command if command is not None else (self.command if entrypoint is None else [])
        words = [word.replace("${ROOT}", str(self.root)) for word in [*head, *tail]]
        if words and words[0] in ("python", "python3"):
            words[0] = sys.executable
        return words


def directory_of(reference: str, mirrors: Mapping[str, str]) -> Path:
    """Find the directory of an image reference: `file:///dir`, or a mirror of its repository.

    Raises:
        AwsError: `ClientException` with KW611.
    """
    bare = reference.partition("@")[0]
    repository = bare if "/" in bare.rpartition(":")[2] else bare.rpartition(":")[0] or bare
    for name in (reference, bare, repository):
        if name in mirrors:
            return Path(mirrors[name].removeprefix("file://"))
    if reference.startswith("file:///"):
        return Path(reference.removeprefix("file://"))
    raise AwsError(
        "ClientException",
        coded(
            code="KW611",
            who="task definition image",
            got=reference,
            allowed="file:///dir with config.json, or a mirrored repository",
            because="a registry image can't run without Docker",
            fix="build a local image directory, or map the repository with --image-mirror REPO=DIR",
        ),
    )


def load(reference: str, mirrors: Mapping[str, str]) -> Image:
    """Read an image.

    Raises:
        AwsError: `ClientException` with KW611 or KW612.
    """
    root = directory_of(reference, mirrors)

    def bad(got: str) -> AwsError:
        fix = "write config.json with Entrypoint, Cmd, Env and WorkingDir"
        allowed = "a directory holding config.json"
        return AwsError(
            "ClientException",
            coded(
                code="KW612",
                who=f"image {reference}",
                got=got,
                allowed=allowed,
                because="the entry point is read there",
                fix=fix,
            ),
        )

    try:
        config: Any = json.loads((root / "config.json").read_text())
    except FileNotFoundError:
        raise bad("no config.json" if root.is_dir() else "no such directory") from None
    except (OSError, ValueError) as error:
        raise bad(f"an unreadable config.json ({error})") from error
    if not isinstance(config, dict):
        raise bad("a config.json that is no object")
    lists = {key: config.get(key) or [] for key in ("Entrypoint", "Cmd", "Env")}
    if not all(isinstance(v, list) and all(isinstance(w, str) for w in v) for v in lists.values()):
        raise bad("Entrypoint, Cmd or Env that is no list of strings")
    pairs = [entry.replace("${ROOT}", str(root)).partition("=") for entry in lists["Env"]]
    folder = str(config.get("WorkingDir") or root).replace("${ROOT}", str(root))
    return Image(root, lists["Entrypoint"], lists["Cmd"], {k: v for k, _, v in pairs}, Path(folder))
