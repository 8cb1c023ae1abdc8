"""The environment that the CLI runs in, and the executables it looks for on PATH."""

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from keepwarm_cli.engine.state_folder import Folder

DEFAULT_PASSPHRASE: Final = "keepwarm-local"  # noqa: S105 - it protects nothing, see below
"""For the embedded cloud's own state, which holds nothing of a real account."""


DEBUG_PROVIDERS: Final = "PULUMI_DEBUG_PROVIDERS"


def engine_environment(folder: Folder, outer: Mapping[str, str]) -> dict[str, str]:
    """Environment of the CLI: file backend, passphrase, no downloads, our executables last on PATH."""
    inner = dict(outer)
    inner["PULUMI_BACKEND_URL"] = outer.get("KEEPWARM_BACKEND_URL") or f"file://{folder.backend}"
    if "PULUMI_CONFIG_PASSPHRASE_FILE" not in outer:
        inner.setdefault("PULUMI_CONFIG_PASSPHRASE", DEFAULT_PASSPHRASE)
    inner["PULUMI_SKIP_UPDATE_CHECK"] = "true"
    inner["PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION"] = "true"
    inner["PATH"] = f"{outer.get('PATH', os.defpath)}{os.pathsep}{executables(folder)}"
    return inner


def executables(folder: Folder) -> Path:
    """Write the small executables that the engine looks for on PATH where no installation brings them."""
    return _scripts(
        folder.root / "bin",
        {
            "pulumi-analyzer-policy-python": f'exec "{sys.executable}" -u . "$@"',
            "pulumi-resource-keepwarm": f'exec "{sys.executable}" -m keepwarm "$@"',
        },
    )


def import_host(folder: Folder) -> Path:
    """Write the language host that only `pulumi import` needs.

    In a folder of its own: where the engine finds a language host it starts policy packs and components through it, and
    ours runs neither.
    """
    host = f'exec "{sys.executable}" -m keepwarm_cli.engine.language_host "$@"'
    return _scripts(folder.root / "host", {"pulumi-language-python": host})


def _scripts(where: Path, bodies: Mapping[str, str]) -> Path:
    where.mkdir(parents=True, exist_ok=True)
    for name, body in bodies.items():
        path = where / name
        text = f"#!/bin/sh\n{body}\n"
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            path.chmod(0o755)
    return where


def has_language_host(environment: Mapping[str, str]) -> bool:
    """Whether an installation of Pulumi brings a host for Python."""
    return shutil.which("pulumi-language-python", path=environment.get("PATH")) is not None


def attached_providers(outer: Mapping[str, str], port: int) -> str:
    """Keep what the user attached, with our provider for `aws`."""
    others = [p for p in outer.get(DEBUG_PROVIDERS, "").split(",") if p and not p.startswith("aws:")]
    return ",".join([*others, f"aws:{port}"])
