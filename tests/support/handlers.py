"""Loads the modules of a function's folder as Lambda does: flat, with the shared ones beside them.

Folders have modules of the same name, so those are imported once and then taken out of `sys.modules`.
"""

import importlib
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

FUNCTIONS = Path(__file__).resolve().parent.parent.parent / "functions"
DOCUMENTS = FUNCTIONS.parent / "examples" / "documents"


SHARED_NAMES = ("handler", "step")
"""Modules that several folders have; all other names are of one folder only."""


@cache
def module(function: str, name: str) -> ModuleType:
    """A module of a function, for example `module("extract", "step")`."""
    path = [str(FUNCTIONS / function), str(FUNCTIONS / "common")]
    for other in SHARED_NAMES:
        sys.modules.pop(other, None)
    sys.path[:0] = path
    try:
        return importlib.import_module(name)
    finally:
        # The folder stays at the end of the path: extractors are imported with the first document of their kind.
        del sys.path[: len(path)]
        sys.path.extend(folder for folder in path if folder not in sys.path)
        for other in SHARED_NAMES:
            sys.modules.pop(other, None)


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
