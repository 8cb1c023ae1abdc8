"""Entry of `publish`: the result of one document and its one side effect, as the last step of its workflow."""

from __future__ import annotations

import time

import step

import keepwarm_runtime.invocation as runtime
from keepwarm_runtime.warm import WARM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@runtime.handler(service="publish")
def handler(event: Any, invocation: runtime.Invocation) -> Any:
    """Write the result and publish it exactly once."""
    return step.run(
        event,
        s3=WARM.s3(),
        effects=WARM.effects(),
        results_bucket=WARM.settings.need("results_bucket"),
        invocation=invocation,
        now_epoch_s=time.time(),
    )
