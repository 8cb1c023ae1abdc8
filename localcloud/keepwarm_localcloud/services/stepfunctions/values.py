"""JSON and time as Step Functions writes, reads and limits them."""

import json
import re
from datetime import UTC, datetime
from typing import Any

from keepwarm_localcloud.services.stepfunctions.failures import StateFailure

MAX_PAYLOAD_BYTES = 262_144
"""Largest input or result of a state. https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html"""


def timestamp(at_s: float) -> str:
    """Time as the context object and Timestamp fields write it."""
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parsed_time(value: Any) -> datetime | None:
    """The moment a Timestamp field means; None for what isn't one (RFC 3339 with a zone)."""
    if not isinstance(value, str) or not re.match(r"\d{4}-\d\d-\d\d[Tt]", value):
        return None
    try:
        moment = datetime.fromisoformat(value.upper().replace("Z", "+00:00"))
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None


def compact(value: Any) -> str:
    """JSON as Step Functions stores it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def check_size(name: str, value: Any) -> None:
    """Refuse what no state may give on; by its own name, but not by States.ALL, that can be caught."""
    if len(compact(value).encode()) > MAX_PAYLOAD_BYTES:
        raise StateFailure(
            "States.DataLimitExceeded",
            f"The state/task '{name}' returned a result with a size exceeding the maximum number of bytes"
            " service limit.",
        )
