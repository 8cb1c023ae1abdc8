"""What Step Functions keeps of state machines."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

NAME = re.compile(r"[^\s<>{}\[\]?*\"#%\\^|~`$&,;:/\x00-\x1f\x7f-\x9f]{1,80}")
"""https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html#API_StartExecution_RequestSyntax"""


KEPT_EXECUTIONS = 50_000


LOG_LEVELS: dict[str, Callable[[str], bool]] = {
    "ALL": lambda kind: True,
    "ERROR": lambda kind: kind.endswith(("Failed", "TimedOut", "Aborted")) or kind == "FailStateEntered",
    "FATAL": lambda kind: kind in ("ExecutionFailed", "ExecutionTimedOut", "ExecutionAborted"),
    "OFF": lambda kind: False,
}
"""https://docs.aws.amazon.com/step-functions/latest/dg/cloudwatch-log-level.html"""


@dataclass(slots=True)
class Machine:
    """One state machine."""

    arn: str
    name: str
    definition: str
    parsed: dict[str, Any]
    role_arn: str
    kind: str
    created_s: float
    revision: str
    logging: dict[str, Any]
    tracing: dict[str, Any]
    tags: dict[str, str]
    encryption: dict[str, Any]
    versions: dict[int, dict[str, Any]] = field(default_factory=dict)
    next_version: int = 1
