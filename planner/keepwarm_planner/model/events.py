"""The clock of the full model: events in time order, and values of a law from a stream of their own."""

import heapq
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from keepwarm_planner.kernel.shape import Cold
from keepwarm_planner.traffic.law import Law

if TYPE_CHECKING:
    pass


class Draws:
    """Values of a law from its own stream."""

    def __init__(self, law: Law, seed: str) -> None:
        self._law = law
        self._rng = random.Random(seed)  # noqa: S311

    def one(self) -> float:
        """The next value."""
        law = self._law
        if law.kind is Cold.CONSTANT:
            return law.mean
        if law.kind is Cold.EXPONENTIAL:
            return self._rng.expovariate(1.0 / law.mean)
        return law.quantile(self._rng.random())


Event = tuple[float, int, Callable[[float], None]]


class Loop:
    """Events in time order; equal times in the order they were made."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[Event] = []
        self._made = 0

    def at(self, t: float, action: Callable[[float], None]) -> None:
        """Calls action(t) at t."""
        self._made += 1
        heapq.heappush(self._events, (t, self._made, action))

    def run(self, until: float) -> None:
        """Everything up to and including `until`."""
        while self._events and self._events[0][0] <= until:
            t, _, action = heapq.heappop(self._events)
            self.now = t
            action(t)
        self.now = until
