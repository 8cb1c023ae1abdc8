"""Builds the C kernel: at install time by the build hook, else on first need into the user's cache.

Standard library only, and importable without the package: the build hook loads this file by its path.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
SOURCES = ("plain.c", "core.c", "tail.c")
FLAGS = ("-O3", "-std=gnu11", "-fPIC", "-shared", "-ffp-contract=off", "-fvisibility=default")
"""No -march: a cache may be shared by machines, and the gain is under 10 %. No fused multiply-add: the
Python twin has none, and the two must agree bit for bit."""

BUILD_TIMEOUT_S = 120


class BuildError(Exception):
    """The kernel could not be built; the text says why."""


def library_name() -> str:
    """File name that changes with the sources and the flags, so a stale library is never loaded."""
    digest = hashlib.sha256(" ".join(FLAGS).encode())
    for name in SOURCES:
        digest.update((HERE / name).read_bytes())
    machine = f"{sys.platform}-{os.uname().machine}" if hasattr(os, "uname") else sys.platform
    return f"_kernel_{digest.hexdigest()[:16]}_{machine}.so"


def cache_dir() -> Path:
    """The user's own cache folder, `$XDG_CACHE_HOME/keepwarm/kernel` or `~/.cache/keepwarm/kernel`."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    return Path(base) / "keepwarm" / "kernel"


def find_compiler() -> str | None:
    """Path of a C compiler: `$CC`, else cc, gcc or clang; None where there is none."""
    for name in (os.environ.get("CC", ""), "cc", "gcc", "clang"):
        found = shutil.which(name) if name else None
        if found:
            return found
    return None


def build(target: Path) -> Path:
    """Compiles into `target` in one atomic step. Raises `BuildError`."""
    compiler = find_compiler()
    if compiler is None:
        raise BuildError("no C compiler found ($CC, cc, gcc, clang)")
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    unit = "".join(f'#include "{HERE / name}"\n' for name in SOURCES)
    with tempfile.TemporaryDirectory(dir=target.parent) as work:
        made = Path(work) / target.name
        try:
            done = subprocess.run(
                [compiler, *FLAGS, "-x", "c", "-", "-o", str(made), "-lm"],
                input=unit,
                capture_output=True,
                text=True,
                timeout=BUILD_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as e:
            raise BuildError(f"{compiler} did not run: {e}") from e
        if done.returncode != 0:
            raise BuildError(f"{compiler} ended with {done.returncode}: {done.stderr.strip()[:400]}")
        made.chmod(0o700)
        made.replace(target)
    return target
