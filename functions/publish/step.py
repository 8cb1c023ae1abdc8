"""The publish step: the result of a document, and one effect that must happen once."""

from __future__ import annotations

import json

import workflow_state

from keepwarm_runtime.effects import NOT_DONE, Contract, Done
from keepwarm_runtime.errors import NotFound, PreconditionFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from keepwarm_runtime.aws import S3
    from keepwarm_runtime.deadline import Deadline
    from keepwarm_runtime.effects import Attempt, Effects
    from keepwarm_runtime.invocation import Invocation

INLINE_TEXT_CHARS = 100_000
"""Longest text that stands in the result itself; a longer one is only referred to."""
NEEDS_S = 2.0
"""The effect is not started with less time than this."""
MARK = "effect-key"
"""Metadata of the published object: which effect wrote it."""


def result_key(sha256: str) -> str:
    """Key of a document's result."""
    return f"results/{sha256}.json"


def published_key(sha256: str) -> str:
    """Key of the object that stands for the one side effect."""
    return f"published/{sha256}.json"


def run(
    state: Any,
    *,
    s3: S3,
    effects: Effects,
    results_bucket: str,
    invocation: Invocation,
    now_epoch_s: float,
) -> dict[str, Any]:
    """Write the result, publish once, and answer with `{result, published, duplicate_prevented, epoch}`.

    The effect is a conditional PUT under a key that only the content decides: S3 takes the first and refuses every
    other (contract KEYED), and a HEAD tells after a doubtful answer whether it happened.

    Raises:
        EffectInProgress, EffectUnknown: another invocation is at it, or nobody can tell yet; Step Functions retries.
        BadEvent, DeadlineExceeded: as for every step.
    """
    job = workflow_state.parse(state)
    document = job.document
    invocation.document, invocation.key, invocation.attempt = (
        document.as_event(),
        job.idempotency_key,
        job.attempt,
    )
    deadline = job.deadline(invocation.deadline, now_epoch_s=now_epoch_s)
    result = compose(job, s3, deadline)
    where = workflow_state.put_json(
        s3, results_bucket, result_key(document.sha256), result, deadline=deadline
    )
    effect = _Publication(s3, results_bucket, document.sha256, deadline)
    done = effects.effect(
        job.idempotency_key,
        contract=Contract.KEYED,
        payload={"publish": document.sha256, "bucket": results_bucket},
        run=effect.perform,
        resolve=effect.resolve,
        deadline=deadline,
        needs_s=NEEDS_S,
    )
    prevented = done.duplicate_prevented or effect.existed
    if prevented:
        invocation.outcome = "duplicate_prevented"
    invocation.count("effects", 0 if prevented else 1)
    return {
        "result": where,
        "published": done.value,
        "duplicate_prevented": prevented,
        "epoch": done.epoch,
    }


def compose(job: workflow_state.Job, s3: S3, deadline: Deadline) -> dict[str, Any]:
    """Put the result together from what the steps left."""
    extracted = workflow_state.get_json(s3, job.part("extract"), deadline=deadline)
    read = workflow_state.get_json(s3, job.part("ocr"), deadline=deadline) if job.has("ocr") else None
    found = workflow_state.get_json(s3, job.part("enrich"), deadline=deadline)
    text: str = (read or extracted)["text"]
    short = len(text) <= INLINE_TEXT_CHARS
    result: dict[str, Any] = {
        "document": job.document.as_event(),
        "kind": extracted["kind"],
        "facts": extracted["facts"],
        "pages": len(extracted["pages"]),
        "text_chars": len(text),
        "text": text if short else None,
        "text_ref": None if short else job.part("ocr" if read else "extract")["ref"],
        "enrichment": found,
    }
    if read is not None:
        part = job.part("ocr")
        result["ocr"] = {"mean_score": part.get("mean_score"), "model": part.get("model")}
    return result


class _Publication:
    """The one side effect, and how to find out whether it happened."""

    def __init__(self, s3: S3, bucket: str, sha256: str, deadline: Deadline) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._sha256 = sha256
        self._deadline = deadline
        self.existed = False
        """S3 refused the PUT because an earlier attempt's stands."""

    def perform(self, attempt: Attempt) -> dict[str, str]:
        """Publish; when the object is there already, it is this very effect's, done by an earlier attempt."""
        key = published_key(self._sha256)
        body = json.dumps(
            {"document": self._sha256, "result": result_key(self._sha256)}, sort_keys=True
        ).encode()
        try:
            self._s3.put(
                self._bucket,
                key,
                body,
                content_type="application/json",
                if_none_match=True,
                metadata={MARK: attempt.effect_key},
                deadline=self._deadline,
            )
        except PreconditionFailed:
            answer = self.resolve(attempt)
            if not isinstance(answer, Done):
                raise
            self.existed = True
        return self._published()

    def resolve(self, attempt: Attempt) -> Any:
        """Ask S3, the authority, whether this effect happened."""
        try:
            headers = self._s3.head(self._bucket, published_key(self._sha256), deadline=self._deadline)
        except NotFound:
            return NOT_DONE
        return (
            Done(self._published()) if headers.get(f"x-amz-meta-{MARK}") == attempt.effect_key else NOT_DONE
        )

    def _published(self) -> dict[str, str]:
        return {"bucket": self._bucket, "key": published_key(self._sha256)}
