"""Bytecode beside the sources: they are read-only where they run, and every cold start would compile them."""

import functools
import shutil
import subprocess
import sys
from pathlib import Path

from keepwarm_build.errors import BundleError
from keepwarm_build.wheels import find_uv

_COMPILER = """
import pathlib, py_compile, sys
root = pathlib.Path(sys.argv[1])
for path in sorted(root.rglob("*.py")):
    try:
        py_compile.compile(str(path), dfile=sys.argv[2] + path.relative_to(root).as_posix(), doraise=True, optimize=0,
                           invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    except py_compile.PyCompileError:
        pass  # a template or an example for another Python; nothing imports it
"""


@functools.cache
def compiler(python: str) -> str | None:
    """An interpreter of that version (major.minor): only it makes bytecode that the target loads. None: not here."""
    if python == f"{sys.version_info.major}.{sys.version_info.minor}":
        return sys.executable
    found = [shutil.which(f"python{python}")]
    uv = find_uv()
    if uv is not None:
        told = subprocess.run([uv, "python", "find", python], capture_output=True, text=True, check=False)
        found.insert(0, told.stdout.strip() if told.returncode == 0 else None)
    for candidate in found:
        if candidate:
            asked = [candidate, "-I", "-S", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
            said = subprocess.run(asked, capture_output=True, text=True, check=False)
            if said.returncode == 0 and said.stdout.strip() == python:
                return candidate
    return None


def compile_folder(folder: Path, interpreter: str, place: str) -> None:
    """Compile every source below a folder.

    `place` is where the folder will be, for tracebacks. A new interpreter with fixed hashes does it: what one
    interpreter has interned before shows in the bytecode.

    Raises:
        BundleError: KW197, the compiler itself failed; a source that doesn't compile is left as it is.
    """
    command = [interpreter, "-I", "-S", "-X", "frozen_modules=on", "-c", _COMPILER, str(folder), place]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PYTHONHASHSEED": "0"})
    if done.returncode:
        said = done.stderr.strip()
        raise BundleError(
            "KW197",
            "bytecode",
            said.splitlines()[-1] if said else f"exit {done.returncode}",
            allowed="sources that compile",
            because="a cold start would compile them every time",
            fix="run `python -m compileall` on the folder",
        )
