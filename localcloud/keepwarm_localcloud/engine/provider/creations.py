"""What the provider is about to create, written down before the cloud is asked.

The engine forgets a creation whose provider died in the middle of it, and a killed CLI never learns the id. With this
file the next run finds whatever was made and stands in no state. It holds no secret: those properties are left out.
"""

import json
import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keepwarm_localcloud.pulumi_types.wire import to_state

VARIABLE = "KEEPWARM_CREATIONS"
"""Environment variable with the file's path."""


class Creations:
    """Appends to the file; every line is one write, so a kill loses none that was begun."""

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._lock = threading.Lock()

    def begin(self, urn: str, token: str, inputs: Mapping[str, Any], secrets: Iterable[str]) -> None:
        """Note that a creation starts."""
        shown = {k: v for k, v in inputs.items() if k not in set(secrets)}
        self._append({"urn": urn, "type": token, "inputs": to_state(shown)})

    def end(self, urn: str, id_: str) -> None:
        """Note the id that the cloud gave; '' when it refused."""
        self._append({"urn": urn, "id": id_})

    def _append(self, line: dict[str, Any]) -> None:
        if self._path is None:
            return
        with self._lock:
            handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(handle, (json.dumps(line) + "\n").encode())
            finally:
                os.close(handle)


@dataclass(slots=True)
class Creation:
    """One creation that was begun, and the id if the cloud had answered."""

    urn: str
    type: str
    inputs: dict[str, Any]
    id: str = ""


def read_creations(path: Path) -> list[Creation]:
    """Read the file back; a torn last line is a creation that had not begun."""
    found: list[Creation] = []
    if not path.exists():
        return found
    for line in path.read_text(errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if "type" in entry:
            found.append(Creation(entry["urn"], entry["type"], entry["inputs"]))
            continue
        for creation in [c for c in reversed(found) if c.urn == entry["urn"] and not c.id][:1]:
            creation.id = entry["id"]
            if not creation.id:
                found.remove(creation)
    return found
