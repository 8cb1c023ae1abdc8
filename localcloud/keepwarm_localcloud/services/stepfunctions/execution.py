"""One execution: status, history, result."""

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from keepwarm_localcloud.clockwork.timers import Timer
from keepwarm_localcloud.services.stepfunctions.failures import StateFailure
from keepwarm_localcloud.services.stepfunctions.fibers import Fiber

MAX_EVENTS = 25_000
"""Events of one history of a Standard workflow; an Express one has no limit.
https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html"""


@dataclass(slots=True)
class Execution:
    """What DescribeExecution and GetExecutionHistory show."""

    arn: str
    name: str
    machine_arn: str
    machine: dict[str, Any]
    machine_type: str
    role_arn: str
    input_text: str
    started_s: float
    version_arn: str | None = None
    alias_arn: str | None = None
    status: str = "RUNNING"
    stopped_s: float | None = None
    output: str | None = None
    error: str | None = None
    cause: str | None = None
    events: list[dict[str, Any]] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)
    fiber: Fiber | None = None
    cut_short: Callable[[], None] = lambda: None
    """Writes into the history what is under way and will not be finished."""
    timer: Timer | None = None
    followers: list[Callable[["Execution"], None]] = field(default_factory=list)

    def append(self, now_s: float, kind: str, previous: int, details: dict[str, Any]) -> int:
        """Add a history event; nothing is added after the end.

        Raises:
            StateFailure: the history is full, which ends an execution on AWS too.
        """
        with self.changed:
            if self.status != "RUNNING":
                return previous
            terminal = kind.startswith("Execution") and kind != "ExecutionStarted"
            if len(self.events) >= MAX_EVENTS - 1 and not terminal:
                if self.machine_type == "STANDARD":
                    raise StateFailure(
                        "States.Runtime",
                        f"The execution reached the maximum number of history events ({MAX_EVENTS}).",
                    )
                # No operation reads the history of an Express execution, so the old half need not be kept.
                del self.events[: MAX_EVENTS // 2]
            number = self.events[-1]["id"] + 1 if self.events else 1
            self.events.append(
                {"id": number, "previousEventId": previous, "timestamp": now_s, "type": kind, **details}
            )
        return number

    def end(self, now_s: float, status: str, **facts: Any) -> bool:
        """Close with a status; False when it was closed before."""
        with self.changed:
            if self.status != "RUNNING":
                return False
            self.status, self.stopped_s = status, now_s
            self.output, self.error, self.cause = facts.get("output"), facts.get("error"), facts.get("cause")
            # It holds everything that was under way.
            self.cut_short = lambda: None
            self.changed.notify_all()
        if self.timer is not None:
            self.timer.cancel()
        return True

    def describe(self) -> dict[str, Any]:
        """Body of DescribeExecution."""
        body: dict[str, Any] = {
            "executionArn": self.arn,
            "stateMachineArn": self.machine_arn,
            "name": self.name,
            "status": self.status,
            "startDate": self.started_s,
            "input": self.input_text,
            "inputDetails": {"included": True},
            "redriveCount": 0,
            "redriveStatus": "NOT_REDRIVABLE",
        }
        if self.stopped_s is not None:
            body["stopDate"] = self.stopped_s
        if self.output is not None:
            body["output"] = self.output
            body["outputDetails"] = {"included": True}
        for key, value in (
            ("error", self.error),
            ("cause", self.cause),
            ("stateMachineVersionArn", self.version_arn),
            ("stateMachineAliasArn", self.alias_arn),
        ):
            if value is not None:
                body[key] = value
        return body

    def listed(self) -> dict[str, Any]:
        """Item of ListExecutions."""
        keys = (
            "executionArn",
            "stateMachineArn",
            "name",
            "status",
            "startDate",
            "stopDate",
            "stateMachineVersionArn",
            "stateMachineAliasArn",
        )
        return {k: v for k, v in self.describe().items() if k in keys}


def token() -> str:
    """Make a task token."""
    return f"AQCE{secrets.token_urlsafe(96)}"
