"""Entry of `extract`: the text of one document, as a step of its workflow."""

from __future__ import annotations

import time

import step

import keepwarm_runtime.invocation as runtime
from keepwarm_runtime.warm import WARM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@runtime.handler(service="extract")
def handler(event: Any, invocation: runtime.Invocation) -> Any:
    """Extract the text; pages without any are left as pictures for OCR."""
    bucket = WARM.settings.need("results_bucket")
    return step.run(
        event, s3=WARM.s3(), results_bucket=bucket, invocation=invocation, now_epoch_s=time.time()
    )
