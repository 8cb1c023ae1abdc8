"""The OCR step: every page that is still a picture goes to the GPU service, within its capacity and its deadline.

What the service or its permits refuse for now is waited for in the workflow, not here: the step answers with a `wait`.
"""

from __future__ import annotations

import json
import time

import workflow_state

from keepwarm_runtime.errors import (
    BadDocument,
    CorruptDocument,
    DeadlineExceeded,
    DownstreamFault,
    EmptyDocument,
    TooLargeDocument,
    UnsupportedDocument,
)
from keepwarm_runtime.waiting import CAPACITY, go_on, require, wait_for

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
"""A page is not sent with less time than this: the service reads one in about a second."""

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

    Pages that an earlier attempt has read are not sent again. Where the service has no capacity now, or this invocation
    no time for another page, the answer is `{wait}` (keepwarm_runtime.waiting) and the workflow comes back.

    Raises:
        CorruptDocument, TooLargeDocument, UnsupportedDocument: the service can't decode the picture.
        EmptyDocument: no page has any text.
        DeadlineExceeded: the document can't be on time any more.
        BadEvent: as for every step.
    """
    started_s = time.monotonic()
    job = workflow_state.parse(state)
    document, earlier = job.document, job.wait("ocr")
    who = f"document '{document.name}'"
    invocation.document, invocation.key = document.as_event(), job.idempotency_key
    invocation.attempt = job.attempt + (earlier or {}).get("waits", 0)
    require(
        who,
        earlier=earlier,
        now_epoch_s=now_epoch_s,
        deadline_epoch_s=job.deadline_epoch_s,
        needs_s=PAGE_TIME_S,
    )
    deadline = job.deadline(invocation.deadline, now_epoch_s=now_epoch_s)
    reader = _Reader(job, s3, service, admission, results_bucket, invocation, deadline)
    try:
        return _read(reader, job, s3, results_bucket)
    except _NoTimeLeft as pause:
        now_s = now_epoch_s + time.monotonic() - started_s
        answer = go_on(earlier, now_epoch_s=now_s, reason=str(pause))
    except (*CAPACITY, DeadlineExceeded) as fault:
        # The invocation's own end is no reason to give up a document that has time left.
        now_s = now_epoch_s + time.monotonic() - started_s
        answer = wait_for(
            fault,
            who=who,
            earlier=earlier,
            now_epoch_s=now_s,
            deadline_epoch_s=job.deadline_epoch_s,
            needs_s=PAGE_TIME_S,
            moved=reader.sent > 0,
        )
    wait = answer["wait"]
    invocation.outcome = "waiting"
    invocation.count("waits")
    invocation.downstream("wait", seconds=wait["seconds"], waits=wait["waits"], code=wait["code"])
    return answer


class _NoTimeLeft(Exception):
    """Pages were read, and the rest of this invocation is too short for the next one."""


def _read(reader: _Reader, job: workflow_state.Job, s3: S3, results_bucket: str) -> dict[str, Any]:
    document, deadline = job.document, reader.deadline
    extracted = workflow_state.get_json(s3, job.part("extract"), deadline=deadline)
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
        self.deadline = deadline
        # The deadline tells executions of one document apart: uploaded again, it is read with today's model.
        run = f"ocr-{round(job.deadline_epoch_s * 1000):x}-"
        self._prefix = workflow_state.work_key(job.document.sha256, run)
        self._kept: set[str] | None = None
        self.sent = 0
        self.service_ms = 0.0
        self.model: Any = None

    def read(self, page: dict[str, Any]) -> dict[str, Any]:
        """Read one page, or fetch what an earlier attempt of this execution read."""
        key = f"{self._prefix}{page['number']:04d}.json"
        kept = self._fetch(key) if key in self._earlier() else None
        if kept is not None:
            self.model = kept["model"]
            return kept
        answer = self._ask(page)
        found = {
            "number": page["number"],
            "text": answer["text"],
            "lines": answer["lines"],
            "image": page["image"],
            "model": answer["model"],
        }
        workflow_state.put_json(self._s3, self._bucket, key, found, deadline=self.deadline)
        return found

    def _earlier(self) -> set[str]:
        """Keys of the pages that earlier attempts of this execution have read."""
        if self._kept is None:
            found = self._s3.list(self._bucket, self._prefix, deadline=self.deadline)
            self._kept = {entry.key for entry in found}
        return self._kept

    def _fetch(self, key: str) -> dict[str, Any] | None:
        """A page that was kept; None for one that can't be used and is read again."""
        try:
            kept = json.loads(self._s3.get(self._bucket, key, deadline=self.deadline).body)
        except ValueError:
            return None
        return (
            kept
            if isinstance(kept, dict) and {"number", "text", "lines", "image", "model"} <= set(kept)
            else None
        )

    def _ask(self, page: dict[str, Any]) -> dict[str, Any]:
        image = page["image"]
        request = {"s3": f"s3://{image['bucket']}/{image['key']}", "version_id": image["version_id"]}
        who = f"document '{self._job.document.name}', page {page['number']}"
        left_s = self._invocation.remaining_s()
        if self.sent and left_s < self._admission.hold_s + self._admission.wait_s:
            # A call cut off halfway has used the service for nothing; the next invocation has all its time.
            raise _NoTimeLeft(f"{who}: {left_s:.1f} s left of an invocation that read {self.sent} pages")
        self.deadline.require(PAGE_TIME_S, who)
        with self._admission.permit(deadline=self.deadline, least_s=PAGE_TIME_S, invocation=self._invocation):
            started_s = time.monotonic()
            try:
                answer = self._service.post(
                    PATH,
                    json.dumps(request).encode(),
                    deadline=self.deadline.sooner(self._admission.hold_s),
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
