"""Finds the Pulumi CLI that runs the engine."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from keepwarm_cli.errors import CliError

NEEDED_VERSION: Final = (3, 237, 0)
"""Oldest CLI that works; older ones crash on optional inputs of components (pulumi#22835)."""


BUILT_VERSION: Final = "v3.259.0"
"""The CLI that `make pulumi` builds; equal to the pin in tools/pulumi/go.mod, which a test checks."""


def cache_folder(environment: Mapping[str, str]) -> Path:
    """Where `tools/pulumi/build.sh` puts the CLI."""
    base = environment.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "keepwarm" / "pulumi" / BUILT_VERSION


def find_cli(environment: Mapping[str, str]) -> Path:
    """Find the Pulumi CLI: `KEEPWARM_PULUMI`, then PATH, then the cache.

    Raises:
        CliError: KW666 there is none, KW667 it is too old or does not answer.
    """
    named = environment.get("KEEPWARM_PULUMI")
    on_path = shutil.which("pulumi", path=environment.get("PATH"))
    cached = cache_folder(environment) / "pulumi"
    found = Path(named) if named else Path(on_path) if on_path else cached
    if not os.access(found, os.X_OK):
        raise CliError(
            "KW666",
            "pulumi",
            got=f"no CLI ({found} is not there)",
            allowed="one on PATH, in KEEPWARM_PULUMI or in the cache",
            fix="`make pulumi`, or install Pulumi",
        )
    version = _version_of(found, environment)
    if version < NEEDED_VERSION:
        if not named and found != cached and os.access(cached, os.X_OK):
            return cached
        needed, got = (".".join(map(str, v)) for v in (NEEDED_VERSION, version))
        raise CliError(
            "KW667",
            "pulumi",
            got=f"version {got} at {found}",
            allowed=f"{needed} or newer",
            fix=f"upgrade it, or `make pulumi` and set KEEPWARM_PULUMI={cached}",
        )
    return found


_VERSIONS: dict[tuple[str, float], tuple[int, int, int]] = {}


def _version_of(cli: Path, environment: Mapping[str, str]) -> tuple[int, int, int]:
    key = (str(cli), cli.stat().st_mtime)
    if key not in _VERSIONS:
        try:
            answer = subprocess.run(
                [str(cli), "version"],
                capture_output=True,
                text=True,
                timeout=20,
                env={**environment, "PULUMI_SKIP_UPDATE_CHECK": "true"},
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CliError(
                "KW667",
                "pulumi",
                got=f"no answer from {cli}: {error}",
                allowed="a Pulumi CLI",
                fix="reinstall it",
            ) from error
        match = re.search(r"v?(\d+)\.(\d+)\.(\d+)", answer.stdout)
        if match is None:
            raise CliError(
                "KW667",
                "pulumi",
                got=f"{answer.stdout.strip()!r} from {cli} version",
                allowed="a version number",
                fix="install the Pulumi CLI",
            )
        _VERSIONS[key] = (int(match[1]), int(match[2]), int(match[3]))
    return _VERSIONS[key]
