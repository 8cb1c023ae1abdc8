"""The enrich step: facts about the text that earlier steps left."""

from __future__ import annotations

import workflow_state
from enrichment import enrich

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from keepwarm_runtime.aws import S3
    from keepwarm_runtime.invocation import Invocation


def run(
    state: Any, *, s3: S3, results_bucket: str, invocation: Invocation, now_epoch_s: float
) -> dict[str, Any]:
    """Enrich one document and answer with `{ref, language, words, keywords}`.

    The text is that of the OCR step where it ran, else of the extract step.

    Raises:
        BadEvent: the state is not that of a document's workflow, or the extract step did not run.
        DeadlineExceeded: the document's deadline has passed.
    """
    job = workflow_state.parse(state)
    document = job.document
    invocation.document, invocation.key, invocation.attempt = (
        document.as_event(),
        job.idempotency_key,
        job.attempt,
    )
    deadline = job.deadline(invocation.deadline, now_epoch_s=now_epoch_s)
    text = workflow_state.get_json(s3, job.part("ocr" if job.has("ocr") else "extract"), deadline=deadline)[
        "text"
    ]
    found = enrich(text)
    ref = workflow_state.put_json(
        s3, results_bucket, workflow_state.work_key(document.sha256, "enrich.json"), found, deadline=deadline
    )
    return {
        "ref": ref,
        "language": found["language"],
        "words": found["words"],
        "keywords": found["keywords"][:5],
    }
