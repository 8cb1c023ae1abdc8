"""What happened in the embedded cloud, in order: the source of the live table, the timeline and the tests."""

import threading
from collections import deque
from dataclasses import dataclass
from typing import Any

from keepwarm_localcloud.clockwork.clock import Clock


@dataclass(frozen=True, slots=True)
class Entry:
    """One happening: a sequence number, a time and the facts."""

    sequence: int
    at_s: float
    kind: str
    facts: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Give the entry as one flat JSON object."""
        return {"sequence": self.sequence, "at_s": self.at_s, "kind": self.kind, **self.facts}


class Journal:
    """Bounded, thread-safe list of entries that readers follow by sequence number."""

    def __init__(self, clock: Clock, *, keep: int = 200_000) -> None:
        self._clock = clock
        self._entries: deque[Entry] = deque(maxlen=keep)
        self._next = 1
        self._changed = threading.Condition()

    def write(self, kind: str, **facts: Any) -> Entry:
        """Append an entry, stamped with the cloud's clock."""
        with self._changed:
            entry = Entry(self._next, self._clock.now_s(), kind, facts)
            self._next += 1
            self._entries.append(entry)
            self._changed.notify_all()
        return entry

    def since(self, sequence: int = 0, *, kind: str | None = None) -> list[Entry]:
        """Entries after `sequence`, oldest first."""
        with self._changed:
            return [e for e in self._entries if e.sequence > sequence and (kind is None or e.kind == kind)]

    def wait_since(self, sequence: int, timeout_s: float) -> list[Entry]:
        """Like `since`, but wait (real time) until there is something or `timeout_s` passed."""
        with self._changed:
            self._changed.wait_for(lambda: self._next - 1 > sequence, timeout_s)
        return self.since(sequence)
