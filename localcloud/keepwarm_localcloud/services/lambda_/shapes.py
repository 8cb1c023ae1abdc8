"""Forms that many answers share: times and pages."""

from datetime import UTC, datetime
from typing import Any

Params = dict[str, Any]


def iso(now_s: float) -> str:
    """A time as Lambda writes it: ISO 8601 with milliseconds and an offset without colon."""
    return datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "+0000"


def page(rows: list[Params], p: Params, key: str, marker_key: str) -> Params:
    """One page of a list: from `Marker`, at most `MaxItems` (50)."""
    start = int(p["Marker"]) if str(p.get("Marker", "")).isdigit() else 0
    size = min(int(p.get("MaxItems", 50)), 50)
    answer: Params = {key: rows[start : start + size]}
    if start + size < len(rows):
        answer[marker_key] = str(start + size)
    return answer
