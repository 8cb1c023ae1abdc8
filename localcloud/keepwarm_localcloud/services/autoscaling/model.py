"""What Application Auto Scaling keeps: targets, policies, scheduled actions."""

import re
from dataclasses import dataclass, field
from typing import Any

from keepwarm_localcloud.clockwork import schedules
from keepwarm_localcloud.request import AwsError

DIMENSIONS = {
    "lambda:function:ProvisionedConcurrency": ("lambda", re.compile(r"function:[\w-]+:[\w-]+")),
    "ecs:service:DesiredCount": ("ecs", re.compile(r"service/[\w-]+/[\w-]+")),
}


COOLDOWN_S = {"ecs": 300.0, "lambda": 0.0}
"""Default of target tracking.
https://docs.aws.amazon.com/autoscaling/application/APIReference/API_TargetTrackingScalingPolicyConfiguration.html"""


STEP_COOLDOWN_S = 300.0


PREDEFINED: dict[str, tuple[str, str, str]] = {
    "LambdaProvisionedConcurrencyUtilization": ("AWS/Lambda", "ProvisionedConcurrencyUtilization", "lambda"),
    "ECSServiceAverageCPUUtilization": ("AWS/ECS", "CPUUtilization", "ecs"),
    "ECSServiceAverageMemoryUtilization": ("AWS/ECS", "MemoryUtilization", "ecs"),
}


MAX_ACTIVITIES = 500


def invalid(message: str) -> AwsError:
    """The refusal of a parameter."""
    return AwsError("ValidationException", message)


@dataclass(slots=True)
class Target:
    """A scalable target."""

    arn: str
    namespace: str
    resource: str
    dimension: str
    low: int
    high: int
    role_arn: str
    created_s: float
    suspended: dict[str, bool] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    last_out_s: float | None = None
    last_in_s: float | None = None
    before_out: int = 0

    @property
    def key(self) -> tuple[str, str]:
        """Identity."""
        return self.resource, self.dimension


@dataclass(slots=True)
class Policy:
    """A scaling policy."""

    arn: str
    name: str
    target: tuple[str, str]
    namespace: str
    kind: str
    config: dict[str, Any]
    created_s: float
    alarms: list[dict[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class Planned:
    """A scheduled action."""

    arn: str
    name: str
    target: tuple[str, str]
    namespace: str
    expression: str
    zone: str | None
    schedule: schedules.Schedule
    action: dict[str, int]
    created_s: float
    start_s: float | None
    end_s: float | None
    next_s: float | None
