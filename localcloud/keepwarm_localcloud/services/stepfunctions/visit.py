"""What is under way in one state: its data, and what may be cut short inside it."""

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from keepwarm_localcloud.clockwork.clock import Clock
from keepwarm_localcloud.services.stepfunctions import intrinsics, paths
from keepwarm_localcloud.services.stepfunctions.failures import Aborted, PathError, StateFailure
from keepwarm_localcloud.services.stepfunctions.fibers import (
    Signal,
)

Scope = dict[str, Any]


@dataclass(slots=True, eq=False)
class Stay:
    """What is under way and may be cut short: a state, an item of a Map, a branch, or all of an execution.

    History events of it are written under its lock and only while it is not cut: nothing comes after its abort.
    """

    event: str = ""
    """History event of its being cut short; none for branches and executions."""
    previous: Callable[[], int] = lambda: 0
    """Id of its last event so far."""
    details: dict[str, Any] = field(default_factory=dict)
    inside: dict["Stay", None] = field(default_factory=dict)
    cut: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)
    """The same for everything in one execution."""

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the lock for an event.

        Raises:
            Aborted: this was cut short.
        """
        with self.lock:
            if self.cut:
                raise Aborted
            yield

    def begin(self, event: str, previous: Callable[[], int], **details: Any) -> "Stay":
        """Begin something inside; under the lock."""
        stay = Stay(event, previous, details, lock=self.lock)
        self.inside[stay] = None
        return stay

    def end(self, stay: "Stay") -> None:
        """End something inside; under the lock.

        Raises:
            Aborted: it was cut short before.
        """
        if stay.cut:
            raise Aborted
        if stay is not self:
            del self.inside[stay]

    def cut_inside(self) -> "list[Stay]":
        """Cut everything inside short; under the lock. Gives what needs an event for that, innermost first."""
        found: list[Stay] = []
        for stay in self.inside:
            stay.cut = True
            found += [*stay.cut_inside(), *([stay] if stay.event else [])]
        self.inside.clear()
        return found


@dataclass(slots=True)
class Visit:
    """One stay in one state."""

    name: str
    state: dict[str, Any]
    raw: Any
    context: dict[str, Any]
    scope: Scope
    event_id: int
    entered_s: float
    """Before the history says so: who reads the history and moves the clock must not move this."""
    stay: Stay
    """Its own, or that around it for a state that is over at once."""
    failed_s: float = 0.0
    """Likewise, of the last failure."""
    input: Any = None
    attempts: dict[int, int] = field(default_factory=dict)

    def last(self) -> int:
        """Id of the last event so far."""
        return self.event_id

    def read(self, text: str, data: Any = None) -> Any:
        """Read a path from the effective input, or from `data`."""
        return paths.read(text, self.input if data is None else data, self.context, self.scope)

    def fill(self, template: Any, data: Any) -> Any:
        """Evaluate a payload template."""
        if isinstance(template, list):
            return [self.fill(item, data) for item in template]
        if not isinstance(template, dict):
            return template
        out: dict[str, Any] = {}
        for key, item in template.items():
            if not key.endswith(".$"):
                out[key] = self.fill(item, data)
            else:
                out[key[:-2]] = self.value(item, data)
        return out

    def value(self, text: str, data: Any) -> Any:
        """Evaluate a path or an intrinsic function call."""
        try:
            if intrinsics.is_call(text):
                return intrinsics.evaluate(text, lambda p: paths.read(p, data, self.context, self.scope))
            return paths.read(text, data, self.context, self.scope)
        except PathError as error:
            # A template that can't be filled fails as ParameterPathFailure, which can be caught.
            raise StateFailure(
                "States.ParameterPathFailure", f"{error.cause} (state '{self.name}')"
            ) from error


class Host(Protocol):
    """What a running state machine needs from the service."""

    clock: Clock
    random: random.Random

    def event(self, kind: str, previous: int, **details: Any) -> int:
        """Append a history event and give its id.

        Raises:
            StateFailure: the history is full (`States.Runtime`).
        """
        ...

    def aborted(self, stays: list[Stay]) -> None:
        """Append the history events of what was cut short."""
        ...

    def task(self, resource: str, parameters: Any) -> Callable[[], Any]:
        """Give the blocking call of a task."""
        ...

    def job(self, resource: str, parameters: Any, signal: Signal) -> Callable[[], Any]:
        """Give the call that starts a `.sync` job; the signal is settled when the job ends."""
        ...

    def abandon(self, signal: Signal) -> None:
        """Nobody waits any more: stop the job of the signal and forget its token."""
        ...

    def new_token(self) -> str:
        """Make a task token."""
        ...

    def expect(self, token: str, signal: Signal) -> None:
        """Route SendTask* for this token to the signal."""
        ...
