"""Copies of bundling/ and functions/ alone install into a clean environment and build the same bytes as this checkout.

Needs the package index, or uv's cache of the build backend.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from keepwarm_build import bundle
from keepwarm_build.wheels import find_uv

ROOT = Path(__file__).parents[2]
BUILD = (
    "import sys, keepwarm_build; b = keepwarm_build.bundle(sys.argv[1], cache=sys.argv[2]); "
    "print(keepwarm_build.__file__, b.sha256)"
)


@pytest.mark.slow
def test_installed_copies_build_the_same_bytes(folder: Path, cache: Path, tmp_path: Path) -> None:
    uv = find_uv()
    assert uv is not None
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV", "UV_PROJECT"))}
    environment = tmp_path / "venv"
    python = str(environment / "bin" / "python")
    copies = []
    for room in ("bundling", "functions"):
        ignored = shutil.ignore_patterns("__pycache__", ".venv", "*.egg-info")
        copies.append(str(shutil.copytree(ROOT / room, tmp_path / room, ignore=ignored)))
    # uv itself is here already; its wheel is large, and what it does is the same.
    for command in (
        [uv, "venv", "--quiet", "--python", sys.executable, str(environment)],
        [uv, "pip", "install", "--quiet", "--no-deps", "--python", python, *copies],
    ):
        subprocess.run(command, check=True, cwd=tmp_path, env=clean)

    told = subprocess.run(
        [python, "-c", BUILD, str(folder), str(cache)],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=clean,
    ).stdout.split()

    assert Path(told[0]).is_relative_to(environment), "the copy, not this checkout"
    assert told[1] == bundle(folder, cache=tmp_path / "here").sha256
