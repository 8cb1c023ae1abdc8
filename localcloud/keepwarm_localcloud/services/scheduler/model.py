"""What runs next of a schedule, and one run with its retries."""

from dataclasses import dataclass
from typing import Any

from keepwarm_localcloud.clockwork import schedules


@dataclass(slots=True)
class Plan:
    """The next run of one schedule."""

    fingerprint: str
    schedule: schedules.Schedule
    next_s: float | None


@dataclass(slots=True)
class Run:
    """One invocation, with its retries."""

    name: str
    arn: str
    target: dict[str, Any]
    scheduled_s: float
    identity: str
    attempt: int = 1
