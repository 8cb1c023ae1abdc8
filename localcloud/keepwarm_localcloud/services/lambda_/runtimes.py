"""Which interpreter runs a runtime, and the runtime's own folder (AWS's /var/runtime): awslambdaric, boto3, theirs."""

import os
import re
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from keepwarm_localcloud.services.lambda_.errors import refuse

_HERE = Path(__file__).parent
_RUNTIME_DISTRIBUTIONS = ("awslambdaric", "boto3")


@dataclass(frozen=True, slots=True)
class PythonRuntime:
    """How to start one minor version of Python as Lambda does."""

    interpreter: Path
    directory: Path
    """The runtime's folder, LAMBDA_RUNTIME_DIR."""
    bootstrap: Path
    minor: str
    """`3.11`."""


class Runtimes:
    """Finds and prepares runtimes, each once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._python: dict[str, PythonRuntime] = {}

    def check(self, runtime: str) -> None:
        """Refuse a runtime this machine can't run.

        Raises:
            AwsError: InvalidParameterValueException with KW620, KW621 or KW624.
        """
        if runtime.startswith("python"):
            self.python(runtime)
        elif not runtime.startswith("provided"):
            raise refuse(
                "KW621",
                f"Runtime: got {runtime}; allowed here python3.X and provided.*; because the embedded cloud runs "
                "functions under awslambdaric or their own bootstrap; fix: use one of those, or deploy to AWS",
            )

    def python(self, runtime: str) -> PythonRuntime:
        """Prepare the Python of a runtime name such as `python3.11`.

        Raises:
            AwsError: InvalidParameterValueException with KW620 or KW624.
        """
        minor = runtime.removeprefix("python")
        with self._lock:
            if minor not in self._python:
                self._python[minor] = self._prepare(minor)
            return self._python[minor]

    def _prepare(self, minor: str) -> PythonRuntime:
        own = minor == f"{sys.version_info.major}.{sys.version_info.minor}"
        interpreter = Path(_base_interpreter() if own else _find(minor)).resolve()
        directory = self._directory / f"runtime-{minor}"
        directory.mkdir(parents=True, exist_ok=True)
        for path in _runtime_files():
            if path.suffix == ".so" and not own:
                continue
            link = directory / path.name
            if not link.exists():
                link.symlink_to(path)
        if not own:
            (directory / "runtime_client.py").symlink_to(_HERE / "runtime_client_python.py")
        return PythonRuntime(interpreter, directory, _HERE / "bootstrap_python.py", minor)


def _find(minor: str) -> str:
    """Find an interpreter of another minor version: on PATH, one that uv manages, or one of pyenv's."""
    candidates = [shutil.which(f"python{minor}")]
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    candidates += sorted(str(found) for found in pyenv.glob(f"{minor}.*/bin/python{minor}"))
    if uv := shutil.which("uv"):
        found = subprocess.run([uv, "python", "find", minor], capture_output=True, text=True, check=False)
        candidates.append(found.stdout.strip() or None)
    for candidate in candidates:
        # A version manager's shim answers to the name without having the version: ask it.
        if candidate and _ask(candidate, "'%d.%d' % sys.version_info[:2]") == minor:
            return _ask(candidate, "sys._base_executable")
    raise refuse(
        "KW620",
        f"Runtime: got python{minor}; allowed here the versions installed on this machine; because a function runs "
        f"on a real interpreter of its own version and none of {minor} was found on PATH, by uv or by pyenv; fix: run "
        f"`uv python install {minor}`, or set the runtime to python{sys.version_info.major}.{sys.version_info.minor}",
    )


def _base_interpreter() -> str:
    """The interpreter under a virtual environment, which knows nothing of the packages installed there."""
    return str(getattr(sys, "_base_executable", sys.executable))


def _ask(interpreter: str, expression: str) -> str:
    """Let an interpreter print something about itself; '' when it can't run."""
    program = f"import sys; print({expression})"
    asked = subprocess.run([interpreter, "-c", program], capture_output=True, text=True, check=False)
    return asked.stdout.strip()


def _runtime_files() -> list[Path]:
    """Top-level files and folders of exactly the runtime's distributions and what they require.

    Raises:
        AwsError: KW624, one is not installed.
    """
    # A hundred modules, which the start of the cloud need not wait for.
    import importlib.metadata

    todo, seen, files = list(_RUNTIME_DISTRIBUTIONS), set[str](), dict[str, Path]()
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError as error:
            raise refuse(
                "KW624",
                f"runtime: got no distribution {name!r}; allowed an installation with awslambdaric and boto3; because "
                "functions run under them; fix: install keepwarm-localcloud with its dependencies",
            ) from error
        for file in distribution.files or ():
            top = file.parts[0]
            if top not in ("..", "bin", "__pycache__") and not top.endswith(".pth"):
                files[top] = Path(str(distribution.locate_file(top)))
        for requirement in distribution.requires or ():
            if "extra ==" not in requirement:
                todo.append(re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower())
    return sorted(files.values())
