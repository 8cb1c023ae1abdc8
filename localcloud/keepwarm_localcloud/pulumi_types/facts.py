"""What outside sources say of the properties in the table; see `facts.json` and what writes it, `tools/type_facts`."""

import json
from functools import cache
from pathlib import Path
from typing import Any

FACTS_FILE = Path(__file__).with_name("facts.json")


@cache
def _facts() -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(FACTS_FILE.read_bytes())
    return parsed


def said_of(token: str) -> dict[str, dict[str, Any]]:
    """Return property path -> source (`sdk`, `aws`) -> what it says, for one type."""
    properties: dict[str, dict[str, Any]] = _facts()["types"][token]["properties"]
    return properties


def sources() -> dict[str, str]:
    """Return the package versions that the facts come from."""
    named: dict[str, str] = _facts()["sources"]
    return named
