"""Entry of `ocr`: the text of one document's pictures, as a step of its workflow."""

from __future__ import annotations

import time

import step

import keepwarm_runtime.invocation as runtime
from keepwarm_runtime.warm import WARM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@runtime.handler(service="ocr")
def handler(event: Any, invocation: runtime.Invocation) -> Any:
    """Send the pages to the GPU service, within the permits it has."""
    return step.run(
        event,
        s3=WARM.s3(),
        service=WARM.service(),
        admission=WARM.admission(),
        results_bucket=WARM.settings.need("results_bucket"),
        invocation=invocation,
        now_epoch_s=time.time(),
    )
