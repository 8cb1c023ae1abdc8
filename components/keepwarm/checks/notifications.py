"""S3 keeps one notification configuration per bucket: a second component that sets one would silently undo the first.

Found within one run of a program. Components that another language constructs one by one run apart, as do stacks.
"""

from typing import Any
from weakref import WeakKeyDictionary

import pulumi
from pulumi.runtime.settings import get_monitor

from keepwarm._values import known, later
from keepwarm.checks.problems import Problem, Where, show
from keepwarm.errors import InvalidArgs
from keepwarm.iam.bindings import IntakeSource


class _Claims:
    """Who configures the notifications of which bucket, in one run."""

    def __init__(self) -> None:
        self._by_name: dict[str, str] = {}
        # An Output is kept beside its claim, so that its identity is not given to another one.
        self._by_output: dict[int, tuple[Any, str]] = {}

    def take(self, bucket: Any, place: str) -> str | None:
        """Claim a bucket for a place in a program; returns the other place that holds it already."""
        if known(bucket):
            holder = self._by_name.setdefault(bucket, place)
        else:
            _, holder = self._by_output.setdefault(id(bucket), (bucket, place))
        return None if holder == place else holder


_RUNS: WeakKeyDictionary[Any, _Claims] = WeakKeyDictionary()
"""Claims of each run of a program, told apart by its engine."""


def claim(where: Where, key: str, sources: list[IntakeSource]) -> list[pulumi.Input[str]]:
    """Claim the buckets of `sources`; returns their names, guarded where they are still unknown.

    Raises:
        InvalidArgs: another component, or another source of this one, configures the notifications of a bucket.
    """
    claims = _RUNS.setdefault(get_monitor(), _Claims())
    refused: list[str] = []
    names: list[pulumi.Input[str]] = []

    def line(at: str, bucket: Any, holder: str) -> str:
        return Problem(
            code="KW158",
            key=at,
            got=show(bucket) if known(bucket) else "the same bucket",
            allowed=f"a bucket other than that of {holder}",
            because="S3 keeps one notification configuration per bucket, so the later one would undo the earlier",
            fix="read the bucket in one place: one queue with prefixes, or one bucket each",
        ).line(where)

    for index, source in enumerate(sources):
        bucket, at = source["bucket"], f"{key}[{index}].bucket"
        place = where.of(at)
        holder = claims.take(bucket, place)
        if holder is not None:
            refused.append(line(at, bucket, holder))
            continue
        if known(bucket):
            names.append(bucket)
            continue

        def resolved(name: str, at: str = at, place: str = place) -> str:
            # Pulumi has its own words for a value that resolves to another type.
            holder = claims.take(name, place) if isinstance(name, str) else None
            if holder is not None:
                raise InvalidArgs(line(at, name, holder))
            return name

        names.append(later(resolved, bucket))
    if refused:
        raise InvalidArgs("\n".join(refused))
    return names
