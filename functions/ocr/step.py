"""The OCR step: every page that is still a picture goes to the GPU service, within its capacity and its deadline."""

from __future__ import annotations

import json
import time

import workflow_state

from keepwarm_runtime.errors import (
    BadDocument,
    CorruptDocument,
    DownstreamFault,
    EmptyDocument,
    TooLargeDocument,
    UnsupportedDocument,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from keepwarm_runtime.admission import Admission
    from keepwarm_runtime.aws import S3
    from keepwarm_runtime.deadline import Deadline
    from keepwarm_runtime.invocation import Invocation
    from keepwarm_runtime.service_client import ServiceClient

PATH = "/v1/ocr"
PAGE_TIME_S = 1.0
"""A page is not sent with less time than this."""

_FAULTS = {
    fault.__name__: fault
    for fault in (BadDocument, CorruptDocument, TooLargeDocument, UnsupportedDocument, EmptyDocument)
}


def run(
    state: Any,
    *,
    s3: S3,
    service: ServiceClient,
    admission: Admission,
    results_bucket: str,
    invocation: Invocation,
    now_epoch_s: float,
) -> dict[str, Any]:
    """Read the pages and answer with `{ref, pages, read, text_chars, mean_score, service_ms, model}`.

    Pages that an earlier attempt has read are not sent again.

    Raises:
        Overloaded, NotReady: the service has no capacity now; Step Functions retries.
        CorruptDocument, TooLargeDocument, UnsupportedDocument: the service can't decode the picture.
        EmptyDocument: no page has any text.
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
    extracted = workflow_state.get_json(s3, job.part("extract"), deadline=deadline)
    reader = _Reader(job, s3, service, admission, results_bucket, invocation, deadline)
    pages = [reader.read(page) if page["image"] is not None else page for page in extracted["pages"]]
    text = "\n\f".join(page["text"] for page in pages)
    if not text.strip():
        raise EmptyDocument(
            f"document '{document.name}'", "pages on which nothing can be read", allowed="a legible page"
        )
    ref = workflow_state.put_json(
        s3,
        results_bucket,
        workflow_state.work_key(document.sha256, "ocr.json"),
        {"sha256": document.sha256, "text": text, "pages": pages},
        deadline=deadline,
    )
    scores = [line["score"] for page in pages for line in page.get("lines", ())]
    return {
        "ref": ref,
        "pages": len(pages),
        "read": reader.sent,
        "text_chars": len(text),
        "mean_score": round(sum(scores) / len(scores), 4) if scores else None,
        "service_ms": round(reader.service_ms, 1),
        "model": reader.model,
    }


class _Reader:
    """Sends pages one by one and remembers each, so that a retry goes on where the last attempt stopped."""

    def __init__(
        self,
        job: workflow_state.Job,
        s3: S3,
        service: ServiceClient,
        admission: Admission,
        bucket: str,
        invocation: Invocation,
        deadline: Deadline,
    ) -> None:
        self._job = job
        self._s3 = s3
        self._service = service
        self._admission = admission
        self._bucket = bucket
        self._invocation = invocation
        self._deadline = deadline
        self._kept: set[str] | None = None
        self.sent = 0
        self.service_ms = 0.0
        self.model: Any = None

    def read(self, page: dict[str, Any]) -> dict[str, Any]:
        """Read one page, or fetch what an earlier attempt read."""
        sha256 = self._job.document.sha256
        key = workflow_state.work_key(sha256, f"ocr-{page['number']:04d}.json")
        if key in self._earlier():
            kept: dict[str, Any] = json.loads(self._s3.get(self._bucket, key, deadline=self._deadline).body)
            return kept
        answer = self._ask(page)
        found = {
            "number": page["number"],
            "text": answer["text"],
            "lines": answer["lines"],
            "image": page["image"],
        }
        workflow_state.put_json(self._s3, self._bucket, key, found, deadline=self._deadline)
        return found

    def _earlier(self) -> set[str]:
        """Keys of the pages that earlier attempts of this document have read."""
        if self._kept is None:
            prefix = workflow_state.work_key(self._job.document.sha256, "ocr-")
            self._kept = {entry.key for entry in self._s3.list(self._bucket, prefix, deadline=self._deadline)}
        return self._kept

    def _ask(self, page: dict[str, Any]) -> dict[str, Any]:
        image = page["image"]
        request = {"s3": f"s3://{image['bucket']}/{image['key']}", "version_id": image["version_id"]}
        who = f"document '{self._job.document.name}', page {page['number']}"
        self._deadline.require(PAGE_TIME_S, who)
        with self._admission.permit(deadline=self._deadline, invocation=self._invocation):
            started_s = time.monotonic()
            try:
                answer = self._service.post(
                    PATH,
                    json.dumps(request).encode(),
                    deadline=self._deadline.sooner(self._admission.hold_s),
                    idempotency_key=f"{self._job.document.sha256}-{page['number']}",
                )
            except DownstreamFault as fault:
                raise _document_fault(who, fault) from fault
            taken_ms = (time.monotonic() - started_s) * 1000
        self.sent += 1
        self.service_ms += taken_ms
        body: dict[str, Any] = answer.json()
        self.model = body["model"]
        self._invocation.downstream(
            "ocr", status=answer.status, ms=round(self.service_ms, 1), pages=self.sent
        )
        return body


def _document_fault(who: str, fault: DownstreamFault) -> Exception:
    """What the service says of the picture, as the document's fault; everything else stays the service's."""
    error = getattr(fault, "error", None) or {}
    kind = _FAULTS.get(str(error.get("type", "")))
    return fault if kind is None else kind(who, str(error.get("got", "a picture the service refuses")))
