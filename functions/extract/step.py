"""The extract step: from the uploaded bytes to text, and to pictures of the pages that have none."""

from __future__ import annotations

import workflow_state
from extraction import extract
from source_document import Extraction, Page, Source

from keepwarm_runtime.documents import read_document
from keepwarm_runtime.errors import CorruptDocument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from keepwarm_runtime.aws import S3
    from keepwarm_runtime.deadline import Deadline
    from keepwarm_runtime.invocation import Invocation

MAX_DOCUMENT_BYTES = 50 * 1024 * 1024
"""Largest document that is read into memory; the classifier refuses larger ones before."""
PAGE_TIME_S = 0.5
"""A page is not started with less time than this."""
_ENDINGS = {"image/jpeg": "jpg", "image/png": "png", "image/tiff": "tiff"}


def run(
    state: Any, *, s3: S3, results_bucket: str, invocation: Invocation, now_epoch_s: float
) -> dict[str, Any]:
    """Extract one document and answer with `{ref, kind, needs_ocr, text_chars, pages, ocr_pages, facts}`.

    Raises:
        BadEvent: the state is not that of a document's workflow.
        BadDocument: one of its kinds, when the document is at fault.
        DeadlineExceeded: there is no time left for the next page.
    """
    job = workflow_state.parse(state)
    document = job.document
    invocation.document, invocation.key, invocation.attempt = (
        document.as_event(),
        job.idempotency_key,
        job.attempt,
    )
    deadline = job.deadline(invocation.deadline, now_epoch_s=now_epoch_s)
    read = read_document(
        s3,
        document.bucket,
        document.key,
        version_id=document.version_id,
        max_bytes=MAX_DOCUMENT_BYTES,
        deadline=deadline,
    )
    if read.sha256 != document.sha256:
        raise CorruptDocument(
            f"document '{document.name}'",
            f"sha256 {read.sha256}",
            allowed=f"sha256 {document.sha256}",
            because="it was replaced after it was classified",
            fix="upload it to a versioned bucket, or wait for the first result",
        )
    source = Source(document.name, read.data, document.label)
    found = extract(
        source,
        group=document.group,
        check_time=lambda: deadline.require(PAGE_TIME_S, f"pages of '{document.name}'"),
    )
    pages = [_stored_page(page, document, s3, results_bucket, deadline) for page in found.pages]
    if found.original_is_page:
        pages = [{"number": 1, "text": "", "image": _original(document)}]
    ref = workflow_state.put_json(
        s3,
        results_bucket,
        workflow_state.work_key(document.sha256, "extract.json"),
        {
            "sha256": document.sha256,
            "kind": found.kind,
            "text": found.text,
            "facts": found.facts,
            "pages": pages,
        },
        deadline=deadline,
    )
    return answer(found, ref, pages)


def answer(found: Extraction, ref: dict[str, str], pages: list[dict[str, Any]]) -> dict[str, Any]:
    """What the workflow's state carries: facts and a reference, never the text."""
    return {
        "ref": ref,
        "kind": found.kind,
        "needs_ocr": found.needs_ocr,
        "text_chars": len(found.text),
        "pages": len(pages),
        "ocr_pages": sum(page["image"] is not None for page in pages),
        "facts": found.facts,
    }


def _original(document: workflow_state.Document) -> dict[str, Any]:
    return {
        "bucket": document.bucket,
        "key": document.key,
        "version_id": document.version_id,
        "mime": document.mime,
    }


def _stored_page(
    page: Page, document: workflow_state.Document, s3: S3, bucket: str, deadline: Deadline
) -> dict[str, Any]:
    """A page, with its picture put where the OCR service can fetch it."""
    if page.picture is None:
        return {"number": page.number, "text": page.text, "image": None}
    ending = _ENDINGS[page.picture.mime]
    key = workflow_state.work_key(document.sha256, f"page-{page.number:04d}.{ending}")
    s3.put(bucket, key, page.picture.data, content_type=page.picture.mime, deadline=deadline)
    image = {"bucket": bucket, "key": key, "version_id": None, "mime": page.picture.mime}
    return {"number": page.number, "text": page.text, "image": image}
