"""Loads the modules of a function's folder as Lambda does: flat, with the shared ones beside them.

Folders have modules of the same name (`step`, `handler`), so each is imported once and then taken out of `sys.modules`.
"""

import importlib
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

FUNCTIONS = Path(__file__).resolve().parent.parent.parent / "functions"
DOCUMENTS = FUNCTIONS.parent / "examples" / "documents"


@cache
def module(function: str, name: str) -> ModuleType:
    """A module of a function, for example `module("extract", "step")`."""
    folder = FUNCTIONS / function
    local = {path.stem for path in folder.glob("*.py")}
    known = {other: sys.modules.pop(other) for other in local if other in sys.modules}
    path = [str(folder), str(FUNCTIONS / "common")]
    sys.path[:0] = path
    try:
        for other in sorted(local & _LOADED.get(function, {}).keys()):
            sys.modules[other] = _LOADED[function][other]
        found = importlib.import_module(name)
        _LOADED.setdefault(function, {}).update(
            {other: sys.modules[other] for other in local if other in sys.modules}
        )
        return found
    finally:
        del sys.path[: len(path)]
        for other in local:
            sys.modules.pop(other, None)
        sys.modules.update(known)


_LOADED: dict[str, dict[str, ModuleType]] = {}


def workflow_state() -> Any:
    """The shared module of the steps."""
    return module("enrich", "workflow_state")


def document_names() -> list[str]:
    """The example documents, without the true texts beside scans."""
    return sorted(path.name for path in DOCUMENTS.iterdir() if not path.name.endswith(".truth.txt"))


def state(name: str = "note.txt", sha256: str = "ab" * 32, **changes: Any) -> dict[str, Any]:
    """The state of a workflow about one document."""
    document = {
        "bucket": "intake",
        "key": f"in/{name}",
        "name": name,
        "sha256": sha256,
        "size_bytes": 10,
        "label": "txt",
        "mime": "text/plain",
        "group": "text",
        "version_id": None,
    }
    document.update(changes.pop("document", {}))
    return {"document": document, "deadline_epoch_s": 2_000.0, "idempotency_key": sha256, **changes}
