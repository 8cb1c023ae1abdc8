"""An effect ledger and a downstream that survive their users: fsync'd files under one flock.

The downstream is the authority: an append-only list of what was really applied. It knows idempotency keys only in the
mode that says so.
"""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from keepwarm_runtime import fault
from keepwarm_runtime.deadline import Deadline
from keepwarm_runtime.ledger import Record


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _replace(path: Path, text: str) -> None:
    temporary = path.with_suffix(f".{os.getpid()}")
    with temporary.open("w") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    temporary.replace(path)


class FileStore:
    """Effect records, one JSON file each. The clock is a file too, so that a test moves it for every process."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def now_s(self) -> float:
        """Epoch seconds of the shared clock."""
        clock = self.directory / "clock"
        return float(clock.read_text()) if clock.exists() else time.time()

    def advance(self, seconds: float) -> None:
        """Move the shared clock."""
        _replace(self.directory / "clock", repr(self.now_s() + seconds))

    def get(self, pk: str, deadline: Deadline) -> Record | None:
        """Read a record."""
        del deadline
        path = self.directory / f"{pk}.json"
        return Record(**json.loads(path.read_text())) if path.exists() else None

    def put_new(self, record: Record, deadline: Deadline) -> Record | None:
        """Write a record where none is."""
        fault.point("ledger.put_new")
        with _locked(self.directory):
            standing = self.get(record.pk, deadline)
            if standing is not None:
                return standing
            self._write(record)
        fault.point("ledger.put_new.done")
        return None

    def swap(self, seen: Record, new: Record, deadline: Deadline) -> bool:
        """Replace if owner, epoch and state are those seen."""
        fault.point("ledger.swap")
        with _locked(self.directory):
            standing = self.get(new.pk, deadline)
            if standing is None or not standing.same_as(seen):
                return False
            self._write(new)
        fault.point("ledger.swap.done")
        return True

    def _write(self, record: Record) -> None:
        fields = {name: getattr(record, name) for name in record.__slots__}
        _replace(self.directory / f"{record.pk}.json", json.dumps(fields))


class Downstream:
    """What really happened, line by line: {"do" | "undo": effect key, "n": sequence}."""

    def __init__(self, directory: Path, *, keyed: bool = False) -> None:
        self.path = directory / "downstream.log"
        self.keyed = keyed
        self._directory = directory

    def entries(self) -> list[dict[str, Any]]:
        """Everything that was applied."""
        if not self.path.exists():
            return []
        return [json.loads(line) for line in self.path.read_text().splitlines()]

    def net(self, key: str) -> int:
        """Applied minus taken back."""
        return sum({"do": 1, "undo": -1}[e["what"]] for e in self.entries() if e["key"] == key)

    def apply(self, key: str) -> int:
        """Do it; with keys, the second time changes nothing and answers as the first did."""
        fault.point("downstream.apply")
        with _locked(self._directory):
            entries = self.entries()
            if self.keyed:
                for entry in entries:
                    if entry["key"] == key:
                        return int(entry["n"])
            self._append({"what": "do", "key": key, "n": len(entries)})
        fault.point("downstream.applied")
        return len(entries)

    def undo(self, key: str) -> None:
        """Take back what was applied, if it was."""
        fault.point("downstream.undo")
        with _locked(self._directory):
            if self.net(key) > 0:
                self._append({"what": "undo", "key": key, "n": -1})
        fault.point("downstream.undone")

    def find(self, key: str) -> int | None:
        """Return what `apply` answered, None when it was not applied."""
        for entry in self.entries():
            if entry["key"] == key:
                return int(entry["n"])
        return None

    def _append(self, entry: dict[str, Any]) -> None:
        with self.path.open("a") as out:
            out.write(json.dumps(entry) + "\n")
            out.flush()
            os.fsync(out.fileno())


def perform(directory: Path, contract: str, key: str, on_ran: Callable[[], None] | None = None) -> Any:
    """Perform one effect of this contract against the files in `directory`."""
    from keepwarm_runtime.effects import NOT_DONE, Attempt, Contract, Done, Effects

    kind = Contract(contract)
    downstream = Downstream(directory, keyed=kind is Contract.KEYED)

    def run(attempt: Attempt) -> int:
        number = downstream.apply(attempt.effect_key)
        if on_ran is not None:
            on_ran()
        return number

    def resolve(attempt: Attempt) -> Any:
        found = downstream.find(attempt.effect_key)
        return NOT_DONE if found is None else Done(found)

    return Effects(FileStore(directory), sleep=lambda _s: None).effect(
        key,
        contract=kind,
        payload={"key": key},
        run=run,
        deadline=Deadline.after(30.0),
        resolve=resolve if kind is Contract.QUERYABLE else None,
        compensate=(lambda attempt: downstream.undo(attempt.effect_key))
        if kind is Contract.COMPENSABLE
        else None,
        on_ambiguous="park" if kind is Contract.OPAQUE else None,
    )
