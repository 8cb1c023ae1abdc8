"""Refusals and failures of resource operations, each with a stable code.

```
ResourceError              any refusal or failure of one resource (KW63x, KW64x)
├── InvalidInputs          the program's inputs are wrong; nothing was called
├── NotFound               the cloud has no such resource
├── Cancelled              the operation was cancelled
└── PartiallyMade          the resource exists but is not what was requested; its id is known
```
"""

from collections.abc import Mapping
from typing import Any

CODES: dict[str, str] = {
    "KW630": "The program uses a resource type that the embedded cloud does not have.",
    "KW631": "A resource has an input property that its type does not know, or that is not supported here.",
    "KW632": "An input property has the wrong type.",
    "KW633": "A required input property is missing.",
    "KW634": "An input property has a value that is not allowed, alone or with another.",
    "KW635": "The cloud refused or failed to create a resource.",
    "KW636": "The cloud refused or failed to update a resource.",
    "KW637": "The cloud refused or failed to delete a resource.",
    "KW638": "A resource could not be read or imported.",
    "KW639": "A resource did not reach the state it should have in time.",
    "KW640": "The program uses a data source that the embedded cloud does not have, or with wrong arguments.",
    "KW641": "A protected resource would have been deleted or replaced.",
    "KW642": "Two resources of the program have the same URN.",
    "KW643": "The state file cannot be read or written.",
    "KW644": "The operation was cancelled.",
    "KW645": "The Pulumi program itself failed.",
    "KW646": "A property needs content that cannot be read (a file of an asset or archive).",
}
"""Code -> what it means, in one line."""


class ResourceError(Exception):
    """One resource could not be handled; the text is one line and starts with the code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code} {message}")
        self.code = code
        self.message = message


class InvalidInputs(ResourceError):
    """The inputs of a resource are wrong; `failures` lists every property with its reason."""

    def __init__(self, code: str, message: str, failures: list[tuple[str, str]] | None = None) -> None:
        super().__init__(code, message)
        self.failures = failures or []


class NotFound(ResourceError):
    """The cloud has no such resource."""


class Cancelled(ResourceError):
    """The operation was cancelled; nothing more is started."""

    def __init__(self, what: str) -> None:
        super().__init__("KW644", f"{what}: stopped before it was done; fix: run the command again")


class PartiallyMade(ResourceError):
    """The resource exists under `id` but is not what was requested, so it must stay in the state."""

    def __init__(self, code: str, message: str, id_: str, outputs: Mapping[str, Any]) -> None:
        super().__init__(code, message)
        self.id = id_
        self.outputs = dict(outputs)
