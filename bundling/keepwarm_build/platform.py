"""What wheels have to fit: an operating system, a processor and a Python version."""

import platform as host
import re
import sys
from dataclasses import dataclass
from typing import Literal

from keepwarm_build.errors import BundleError

Target = Literal["lambda", "host"]
"""`lambda`: what AWS runs. `host`: this machine, whose interpreter the embedded cloud starts functions with."""

OLDEST, NEWEST = 11, 14
"""Minor versions of Python 3: the runtime library needs the first, Lambda runs nothing after the second."""

_MACHINES = {"x86_64": "x86_64", "amd64": "x86_64", "arm64": "aarch64", "aarch64": "aarch64"}
_ARCHITECTURES = {"x86_64": "x86_64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True)
class Platform:
    """One target that wheels are chosen for."""

    name: str
    """uv's name of the platform, such as `x86_64-manylinux_2_28`."""
    python: str
    """Version as `major.minor`."""
    architecture: str
    """Lambda's name of the processor: `x86_64` or `arm64`."""

    @classmethod
    def of(cls, target: Target, architecture: str | None = None, runtime: str | None = None) -> "Platform":
        """The platform of a target.

        `architecture` is `x86_64`, `arm64` or `host`; default: x86_64, as on Lambda, for `lambda`, and this machine's
        for `host`. `runtime` is Lambda's name, such as `python3.12`; default: this interpreter's version.

        Lambda's python3.12 and later run on Amazon Linux 2023 (glibc 2.34) and take manylinux_2_28 wheels; python3.11
        runs on Amazon Linux 2 (glibc 2.26), which does not:
        https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html

        Raises:
            BundleError: KW190, no such target, architecture or Python version.
        """
        if target not in ("lambda", "host"):
            raise BundleError(
                "KW190",
                "target",
                repr(target),
                allowed="lambda or host",
                because="a bundle runs on AWS Lambda or on this machine",
                fix="name one of them",
            )
        machine = _machine(architecture or ("x86_64" if target == "lambda" else "host"))
        python = _python(runtime)
        if target == "host" and sys.platform == "darwin":
            return cls(f"{machine}-apple-darwin", python, _ARCHITECTURES[machine])
        glibc = "2_17" if target == "lambda" and python == "3.11" else "2_28"
        return cls(f"{machine}-manylinux_{glibc}", python, _ARCHITECTURES[machine])

    @property
    def runtime(self) -> str:
        """Lambda's name of the Python version, such as `python3.12`."""
        return f"python{self.python}"


def _machine(architecture: str) -> str:
    name = host.machine().lower() if architecture == "host" else architecture
    machine = _MACHINES.get(name)
    if machine is None:
        raise BundleError(
            "KW190",
            "architecture",
            repr(architecture),
            allowed="x86_64, arm64 or host",
            because="Lambda runs on these two",
            fix="name one of them",
        )
    return machine


def _python(runtime: str | None) -> str:
    if runtime is None:
        runtime = f"python{sys.version_info.major}.{sys.version_info.minor}"
    found = re.fullmatch(r"python3\.(\d{1,2})", runtime)
    if found is None or not OLDEST <= int(found[1]) <= NEWEST:
        raise BundleError(
            "KW190",
            "runtime",
            repr(runtime),
            allowed=f"python3.{OLDEST} to python3.{NEWEST}",
            because="keepwarm-runtime needs the first, and Lambda runs nothing newer than the last",
            fix="name a runtime such as 'python3.12'",
        )
    return runtime.removeprefix("python")
