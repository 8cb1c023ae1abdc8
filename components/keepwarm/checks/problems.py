"""Refusals and warnings: what one line says, where it points, and how the lines of many parts are told together."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

import pulumi

from keepwarm.errors import InvalidArgs


class Problem(NamedTuple):
    """One refusal, in the order it is told."""

    code: str
    key: str
    got: str
    allowed: str
    because: str
    fix: str

    def line(self, where: "Where") -> str:
        """The refusal as one line."""
        return (
            f"{self.code} {where.of(self.key)}: got {self.got}; allowed {self.allowed}; "
            f"because {self.because}; fix: {self.fix}"
        )


@dataclass(frozen=True)
class Where:
    """Where the author wrote the inputs: a component in a program, or a section of a stack file."""

    owner: str
    """``BurstQueue 'jobs'``, or ``stacks/Pulumi.prod.yaml``."""
    path: str = ""
    """Section the keys stand in, ``keepwarm:queue``; empty for a component's own inputs."""
    written: Mapping[str, str] = field(default_factory=dict)
    """Keys that the author wrote elsewhere, and where: a stack gives its parts what they share."""

    def of(self, key: str) -> str:
        """Owner and full path of one key."""
        for inherited, path in self.written.items():
            if key == inherited or key.startswith((f"{inherited}.", f"{inherited}[")):
                return f"{self.owner} {path}{key.removeprefix(inherited)}"
        return f"{self.owner} {self.inside(key).path if key else self.path}".rstrip()

    def inside(self, key: str) -> "Where":
        """The section below `key`."""
        # A stack file's namespace ends in a colon, which the section follows.
        joint = "" if not self.path or self.path.endswith(":") else "."
        return Where(self.owner, f"{self.path}{joint}{key}")


@dataclass
class Report:
    """What the parts of one deployment were refused with, raised together before the first resource is registered."""

    refusals: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def done(self) -> None:
        """Log the warnings once, then raise every refusal, one line each.

        Raises:
            InvalidArgs: something was refused.
        """
        for warning in self.warnings:
            pulumi.log.warn(warning)
        self.warnings.clear()
        if self.refusals:
            raise InvalidArgs("\n".join(dict.fromkeys(self.refusals)))


def show(value: object) -> str:
    """A value as an error shows it: short, on one line, strings quoted."""
    if isinstance(value, pulumi.Output):
        return "an Output, which is known only during the deployment"
    text = repr(value.value) if isinstance(value, StrEnum) else repr(value)
    text = text.replace("\n", " ")
    return text if len(text) <= 80 else text[:77] + "..."
