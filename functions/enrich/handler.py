"""Entry of `enrich`: facts about one document's text, as a step of its workflow."""

from __future__ import annotations

import time

import step

import keepwarm_runtime.invocation as runtime
from keepwarm_runtime.warm import WARM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@runtime.handler(service="enrich")
def handler(event: Any, invocation: runtime.Invocation) -> Any:
    """Find language, key words, entities and a summary."""
    bucket = WARM.settings.need("results_bucket")
    return step.run(
        event, s3=WARM.s3(), results_bucket=bucket, invocation=invocation, now_epoch_s=time.time()
    )
