"""Durations as Pulumi writes them in custom timeouts."""

import re
from typing import Final

from keepwarm_localcloud.pulumi_types.errors import ResourceError

_SECONDS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def seconds(text: str) -> float | None:
    """Read a duration such as `1h30m` or `90s`; None for an empty one.

    Raises:
        ResourceError: KW634.
    """
    if not text:
        return None
    parts = re.findall(r"([\d.]+)(h|ms|m|s)", text)
    if not parts or "".join(f"{n}{u}" for n, u in parts) != text:
        raise ResourceError(
            "KW634", f"customTimeouts: got {text!r}; allowed a duration such as '10m' or '90s'"
        )
    return sum(float(n) * _SECONDS[u] for n, u in parts)
