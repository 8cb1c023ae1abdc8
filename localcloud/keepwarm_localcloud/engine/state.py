"""What the in-process driver remembers of a stack: in memory, or in a JSON file."""

import json
import os
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from keepwarm_localcloud.pulumi_types.errors import ResourceError

STATE_VERSION: Final = 1


@dataclass(slots=True)
class ResourceState:
    """One resource as the driver remembers it."""

    urn: str
    type: str
    custom: bool
    id: str = ""
    inputs: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)
    parent: str = ""
    dependencies: list[str] = field(default_factory=list)
    property_dependencies: dict[str, list[str]] = field(default_factory=dict)
    provider: str = ""
    protect: bool = False
    retain: bool = False
    external: bool = False
    deleted_with: str = ""
    secrets: list[str] = field(default_factory=list)
    delete_timeout_s: float | None = None
    init_errors: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Logical name."""
        return self.urn.rpartition("::")[2]


class State:
    """Resources by URN, and old ones that wait for their deletion. Thread-safe for single operations."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.resources: dict[str, ResourceState] = {}
        self.doomed: list[ResourceState] = []
        self.outputs: dict[str, Any] = {}
        self.lock = threading.RLock()
        self._saved_at = 0.0
        if path is not None and path.exists():
            self._load(path)

    def _load(self, path: Path) -> None:
        from keepwarm_localcloud.pulumi_types.wire import from_state

        try:
            found = json.loads(path.read_text())
            version = found["version"]
            if version > STATE_VERSION:
                raise ResourceError(
                    "KW643",
                    f"state {path}: got version {version}; allowed up to {STATE_VERSION}; "
                    "because a newer keepwarm wrote it; "
                    "fix: use that version, or another state file",
                )
            for kept in found["resources"]:
                resource = ResourceState(**from_state(kept))
                self.resources[resource.urn] = resource
            self.doomed = [ResourceState(**from_state(kept)) for kept in found["doomed"]]
            self.outputs = found["outputs"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ResourceError(
                "KW643",
                f"state {path}: cannot be read: {error}; fix: restore it, or remove it and the cloud it describes",
            ) from error

    def save(self, *, now: bool = False) -> None:
        """Write the file, whole or not at all; at most four times a second unless `now`."""
        from keepwarm_localcloud.pulumi_types.wire import to_state

        if self.path is None:
            return
        with self.lock:
            if not now and time.monotonic() - self._saved_at < 0.25:
                return
            document = {
                "version": STATE_VERSION,
                "resources": [to_state(asdict_shallow(r)) for r in self.resources.values()],
                "doomed": [to_state(asdict_shallow(r)) for r in self.doomed],
                "outputs": to_state(self.outputs),
            }
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                handle, partial = tempfile.mkstemp(dir=self.path.parent, prefix=".state-")
                with os.fdopen(handle, "w") as target:
                    json.dump(document, target)
                    target.flush()
                    os.fsync(target.fileno())
                Path(partial).replace(self.path)
            except OSError as error:
                raise ResourceError(
                    "KW643", f"state {self.path}: cannot be written: {error}; fix: make the folder writable"
                ) from error
            self._saved_at = time.monotonic()


def asdict_shallow(resource: ResourceState) -> dict[str, Any]:
    """Turn a resource into a dict without copying its values (`dataclasses.asdict` would deep-copy every blob)."""
    return {name: getattr(resource, name) for name in ResourceState.__dataclass_fields__}
