"""A stack file's sections as the inputs of the stack's parts: same keys, one check, done before anything is built.

`keepwarm:queue` holds the inputs of a `BurstQueue`, `keepwarm:functions` those of each function, and so on: every input
of `ServerlessRuntime` that plain values can express is a section, and its component says what is allowed. Only
`keepwarm:runtime` is the program's own: for what it builds.
"""

import dataclasses
import difflib
import json
import platform
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NotRequired, Self, TypedDict

import pulumi

from infra.example import FUNCTIONS, OCR, stack_inputs
from keepwarm import InvalidArgs, ServerlessRuntimeArgs
from keepwarm.checks.inputs import Checks
from keepwarm.checks.problems import Report, Where
from keepwarm.serverless_runtime import planned

NAMESPACE = "keepwarm"
NAME = "documents"
"""Name of the stack's component, which the names of its resources start with."""
OWN = ("runtime",)
"""Sections that the program reads for itself."""
NOT_SETTINGS = ("entry",)
"""Inputs of the stack that the program decides."""

STACK_SWITCHES = ("loads_model", "calls_service", "guards_effects", "reads_documents")
"""Inputs of functions and service that bind them to other parts of the stack; no part's own number."""

CODES = {
    "KW160": "a stack file has a section that does not exist",
    "KW165": "a section of a stack file is not valid JSON, where a structured value is expected",
}


class InvalidSettings(pulumi.RunError):
    """All errors of one stack file, one per line, in `problems`. Shown without a traceback."""

    def __init__(self, stack: str, problems: list[str]) -> None:
        self.problems = problems
        count = f"{len(problems)} setting{'s' if len(problems) > 1 else ''}"
        lines = "\n".join(f"  {p}" for p in problems)
        super().__init__(f"{count} of stack '{stack}' can't be used; nothing was created:\n{lines}")


class Platform(StrEnum):
    """Instruction set that the functions are built for."""

    X86_64 = "x86_64"
    ARM64 = "arm64"
    HOST = "host"
    """The machine that runs the program: for the embedded cloud, which has no other."""


class Python(StrEnum):
    """Minor version of the Lambda runtime."""

    HOST = "host"
    """The interpreter that runs the program: for the embedded cloud."""
    V3_11 = "3.11"
    V3_12 = "3.12"
    V3_13 = "3.13"
    V3_14 = "3.14"


class RuntimeArgs(TypedDict):
    """What the bundles are built for."""

    architecture: NotRequired[Platform]
    """Instruction set. Default: arm64."""
    python: NotRequired[Python]
    """Python of the functions. Default: 3.12."""


@dataclass(frozen=True)
class Runtime:
    """What the bundles are built for, with `host` resolved."""

    architecture: str = "arm64"
    """As Lambda names it."""
    python_version: str = "3.12"
    host: bool = False
    """Whether they run on this machine, as processes of the embedded cloud."""


@dataclass(frozen=True)
class Settings:
    """One stack file, checked."""

    stack: str
    runtime: Runtime
    sections: Mapping[str, Any]
    """What the file says, by section."""
    effective: Mapping[str, Any]
    """What that means: the numbers and choices of each part with their defaults, by section."""

    @classmethod
    def load(cls, raw: Mapping[str, str], stack: str = "dev") -> Self:
        """Check `raw` (section -> text or JSON, without the namespace) and every part it describes.

        Raises:
            InvalidSettings: with every problem found, each with its code, file and key path.
        """
        file = f"stacks/Pulumi.{stack}.yaml"
        problems: list[str] = []
        sections = {key: value for key, value in _sections(raw, file, problems) if value is not None}
        report = Report()
        own = Checks(
            "runtime",
            NAME,
            sections.pop("runtime", {}),
            RuntimeArgs,
            where=Where(file, f"{NAMESPACE}:runtime"),
            report=report,
        )
        runtime = _runtime(own.args)
        own.done()
        parts = None
        try:
            inputs = stack_inputs(sections, runtime, None)
            where = Where(file, f"{NAMESPACE}:")
            _functions(sections, where, report)
            parts = planned(NAME, inputs, where=where, report=report)
        except InvalidArgs as refused:
            report.refusals += str(refused).splitlines()
        problems += dict.fromkeys(report.refusals)
        if problems:
            raise InvalidSettings(stack, problems)
        effective = {"runtime": dataclasses.asdict(runtime), **(parts.numbers() if parts else {})}
        for label, given in inputs["functions"].items():
            effective["functions"][label] |= {k: v for k, v in given.items() if k in STACK_SWITCHES}
        if "service" in inputs:
            effective["service"] |= {k: v for k, v in inputs["service"].items() if k in STACK_SWITCHES}
        return cls(stack, runtime, sections, effective)


def _sections(raw: Mapping[str, str], file: str, problems: list[str]) -> Iterator[tuple[str, Any]]:
    known = [*OWN, *(key for key in ServerlessRuntimeArgs.__annotations__ if key not in NOT_SETTINGS)]
    for key, text in raw.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            fix = f"did you mean '{near[0]}'?" if near else "remove it"
            problems.append(
                f"KW160 {file} {NAMESPACE}:{key}: got an unknown section; allowed {', '.join(known)};"
                f" because nothing reads it; fix: {fix}"
            )
            continue
        try:
            yield key, json.loads(text, parse_constant=_refuse_constant) if isinstance(text, str) else text
        except ValueError as error:
            if str in _plain_types(key):
                yield key, text
                continue
            problems.append(
                f"KW165 {file} {NAMESPACE}:{key}: got {text!r:.80}; allowed a structured value;"
                f" because {error}; fix: write a mapping under {NAMESPACE}:{key}"
            )


def _plain_types(key: str) -> tuple[object, ...]:
    return getattr(ServerlessRuntimeArgs.__annotations__.get(key), "__args__", ())


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number anyone can provision")


def _runtime(args: RuntimeArgs) -> Runtime:
    chosen, python = args.get("architecture", Platform.ARM64), args.get("python", Python.V3_12)
    here = "arm64" if platform.machine() in {"aarch64", "arm64"} else "x86_64"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return Runtime(
        architecture=here if chosen is Platform.HOST else chosen.value,
        python_version=version if python is Python.HOST else python.value,
        host=chosen is Platform.HOST,
    )


def _functions(sections: Mapping[str, Any], where: Where, report: Report) -> None:
    """Refuse settings of functions that this program does not have, or not in this stack."""
    given = sections.get("functions", {})
    if not isinstance(given, Mapping):
        return
    known = [label for label in FUNCTIONS if label != OCR or _serves(sections)]
    for label in given:
        if label in known:
            continue
        because = (
            "the stack has no service for it to call" if label == OCR else "the program has no such function"
        )
        near = difflib.get_close_matches(str(label), known, n=1, cutoff=0.5)
        fix = (
            "add keepwarm:service" if label == OCR else f"did you mean '{near[0]}'?" if near else "remove it"
        )
        report.refusals.append(
            f"KW160 {where.inside('functions').of(str(label))}: got an unknown function; allowed {', '.join(known)};"
            f" because {because}; fix: {fix}"
        )


def _serves(sections: Mapping[str, Any]) -> bool:
    existing = sections.get("existing")
    return "service" in sections or (isinstance(existing, Mapping) and "service" in existing)
