"""A source of arrivals: what every trace and generator gives."""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from keepwarm_planner.kernel import Kernel

CHUNK = 65_536

DAY_S = 86_400.0

MINUTE_S = 60.0

MAX_REQUESTS = 2e10

Chunk = tuple[Sequence[float], Sequence[float] | None]

Progress = Callable[[float], None]
"""Called now and then with the share of the source that was delivered, 0..1."""


class Source(Protocol):
    """Arrivals of one workload."""

    @property
    def name(self) -> str:
        """How a report calls it."""
        ...

    @property
    def fixed(self) -> bool:
        """The same arrivals whatever the seed."""
        ...

    @property
    def has_services(self) -> bool:
        """Whether durations come with the arrivals."""
        ...

    def chunks(self, kernel: Kernel, seed: str) -> Iterator[Chunk]:
        """Times in rising order; with services where `has_services`."""
        ...

    def expected(self) -> float:
        """About how many requests come; infinite when that can't be known before reading."""
        ...

    def horizon_s(self) -> float | None:
        """Seconds it lasts; None when that is known only at its end."""
        ...
