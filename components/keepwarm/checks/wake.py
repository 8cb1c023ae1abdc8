"""How long a service that sleeps at zero takes until it answers, and whether a deadline outlasts that.

Every figure is the worst of what is expected, not of what can happen: no figure covers a zone without free instances.
"""

from typing import Any

import pulumi

from keepwarm import limits
from keepwarm.checks.inputs import Checks
from keepwarm.checks.problems import Problem

METRIC_DELAY_S = 60
"""Until CloudWatch has the demand that a caller wrote into its log, about a minute (decision 0005)."""
RESERVATION_PERIOD_S = 60
"""Until the capacity provider asks for an instance: its reservation metric comes once a minute
(https://docs.aws.amazon.com/AmazonECS/latest/developerguide/cluster-auto-scaling.html)."""
WARM_INSTANCE_START_S = 60
"""The same for a stopped instance of a warm pool, which is initialized already. Assumed."""
IMAGE_PULL_S = 120
"""Pull and unpacking of a GPU image of about 10 GB on a fresh instance. Assumed; `image_pull` in the result events of a
deployed service says what it really takes."""
FARGATE_START_S = 60
"""Placement, image pull and start of a task on Fargate. Assumed, for an image of up to 1 GB."""


def instance_wake_s(signal_period_s: float, start_s: float, *, warm_instances: bool = False) -> float:
    """Seconds from the first demand to the first answer where an instance has to come first."""
    launch_s = WARM_INSTANCE_START_S if warm_instances else limits.GPU_INSTANCE_START_S + IMAGE_PULL_S
    return signal_period_s + METRIC_DELAY_S + RESERVATION_PERIOD_S + launch_s + start_s


def task_wake_s(signal_period_s: float, start_s: float) -> float:
    """Seconds from the first demand to the first answer of a task on Fargate."""
    return signal_period_s + METRIC_DELAY_S + FARGATE_START_S + start_s


def outlasts(
    checks: Checks[Any],
    deadline_s: pulumi.Input[float],
    wake_s: pulumi.Input[float],
    work_s: list[pulumi.Input[float]],
) -> Any:
    """The deadline, refused (KW156) when a document that wakes the service can't be ready in time.

    `wake_s` is 0 for a service that never sleeps; `work_s` are the longest attempts of each step.
    """

    def test(deadline: Any, wake: Any, *steps: Any) -> Problem | None:
        numbers = (deadline, wake, *steps)
        if any(isinstance(n, bool) or not isinstance(n, int | float) for n in numbers) or wake <= 0:
            return None
        needed = wake + sum(steps)
        if deadline > needed:
            return None
        return Problem(
            code="KW156",
            key="deadline_s",
            got=f"{deadline:g} s",
            allowed=f"more than {needed:g} s",
            because=f"the service sleeps and takes up to {wake:g} s to wake, and the steps take up to "
            f"{sum(steps):g} s: the document that wakes it would be parked",
            fix=f"raise deadline_s to {needed + 1:g}, keep one task running (min_tasks 1) or instances warm "
            "(warm_instances), or lower step_timeouts_s",
        )

    return checks.holds(test, deadline_s, wake_s, *work_s)
