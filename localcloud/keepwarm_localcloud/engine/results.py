"""What a run of the in-process driver tells: events while it goes on, and how it ended."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to one resource."""

    urn: str
    type: str
    name: str
    op: str
    """`create`, `update`, `replace`, `delete`, `same`, `read`, `import` or `refresh`."""
    status: str
    """`start`, `done` or `failed`."""
    duration_s: float = 0.0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """One resource that could not be handled."""

    urn: str
    type: str
    code: str
    message: str


class DeploymentError(Exception):
    """Some resources failed; the others were handled. The text has one coded line per failure."""

    def __init__(self, failures: list[Failure], changes: dict[str, str] | None = None) -> None:
        super().__init__("\n".join(f"{f.code} {f.message}" for f in failures))
        self.failures = failures
        self.changes = changes or {}
        """What was done before and beside the failures."""


@dataclass(slots=True)
class UpResult:
    """What an operation did."""

    outputs: dict[str, Any]
    changes: dict[str, str]
    """URN -> create, update, replace, same, delete, read or import; components included."""
    duration_s: float
    resources: int
    """Custom resources that exist now."""
    secret_outputs: frozenset[str] = frozenset()

    def changed(self) -> dict[str, str]:
        """The changes that are not `same`."""
        return {u: op for u, op in self.changes.items() if op not in ("same", "read")}
