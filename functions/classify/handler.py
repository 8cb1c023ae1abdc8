"""Entry of `classify`: S3 events from the burst queue, one workflow for each document."""

# isort: off
from keepwarm_runtime.phases import measure  # first, so that everything after it counts as `imports`

# numpy's BLAS starts a thread per processor, which all spin while they have nothing to do: half of the processor time
# of the imports, and no matrix is multiplied here.
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# isort: on
import time
from pathlib import Path
from typing import Any

import classification
import magika  # noqa: F401 - here, so that it does not count as `load`

import keepwarm_runtime.invocation as runtime
from keepwarm_runtime.batch import run_batch
from keepwarm_runtime.warm import WARM

MODEL = WARM.model()
with measure("load"):
    LABELLER = classification.load(Path(MODEL.directory))
with measure("warmup"):
    LABELLER.identify_bytes(classification.SAMPLE)


@runtime.handler(service="classify")
def handler(event: Any, invocation: runtime.Invocation) -> Any:
    """Label the documents of a batch; what can never succeed is parked with its reason."""
    invocation.used(MODEL)
    start = classification.starter(WARM.aws(), WARM.settings.need("workflow_arn"), invocation.deadline)
    collaborators: dict[str, Any] = {"s3": WARM.s3(), "labeller": LABELLER, "start": start}
    collaborators["deadline_s"] = WARM.settings.document_deadline_s
    return run_batch(
        event,
        lambda record: classification.classify(
            record,
            deadline=invocation.deadline,
            now_epoch_s=time.time(),
            invocation=invocation,
            **collaborators,
        ),
        park=lambda record, fault: WARM.park(reason=str(fault), code=fault.code, body=record.body),
        deadline=invocation.deadline,
        invocation=invocation,
    )
