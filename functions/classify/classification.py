"""What a document is, and the start of its workflow."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from workflow_state import Document

from keepwarm_runtime.documents import S3Object, read_document, s3_records
from keepwarm_runtime.errors import AwsFault, DeadlineExceeded
from keepwarm_runtime.events import emit

if TYPE_CHECKING:
    from keepwarm_runtime.aws import S3, Aws
    from keepwarm_runtime.batch import Record
    from keepwarm_runtime.deadline import Deadline
    from keepwarm_runtime.invocation import Invocation

MAX_DOCUMENT_BYTES = 50 * 1024 * 1024
"""Largest document that is read into memory."""
DOCUMENT_DEADLINE_S = 900.0
"""Seconds from the upload's event to the moment nobody waits for the result any more."""
SAMPLE = b"Dear Ms Lindqvist,\nthank you for lending us the three boxes of harbour registers.\n" * 8
"""Text for the first run of the model, which is slower than all others."""

Start = Callable[[str, str], bool]
"""Starts a workflow by name and input; False when one of that name exists already."""


class Labeller(Protocol):
    """The part of Magika that is used."""

    def identify_bytes(self, content: bytes) -> Any:
        """Return a result with `.output.label`, `.output.mime_type` and `.output.group`."""
        ...


def load(directory: Path) -> Labeller:
    """Load Magika with the verified model of a directory."""
    from magika import Magika

    loaded: Labeller = Magika(model_dir=directory)
    return loaded


SAME_CALL_S = 5.0
"""An execution that began longer ago than this before our call was begun by another: clocks and answers are that close,
and a message comes back only after its visibility timeout."""


def starter(aws: Aws, workflow_arn: str, deadline: Deadline) -> Start:
    """Start executions of one state machine.

    An ended execution of the name is refused (ExecutionAlreadyExists); a running one with the same input is answered as
    if it had just begun, with its own start date
    (https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html).
    """

    def start(name: str, text: str) -> bool:
        request = {"stateMachineArn": workflow_arn, "name": name, "input": text}
        asked_s = aws.now_s()
        try:
            answer = aws.call("states", "StartExecution", request, deadline=deadline)
        except AwsFault as fault:
            if fault.aws_code != "ExecutionAlreadyExists":
                raise
            return False
        began_s = answer.get("startDate")
        return not (isinstance(began_s, int | float) and began_s < asked_s - SAME_CALL_S)

    return start


def classify(
    record: Record,
    *,
    s3: S3,
    labeller: Labeller,
    start: Start,
    deadline: Deadline,
    now_epoch_s: float,
    invocation: Invocation,
    deadline_s: float = DOCUMENT_DEADLINE_S,
    max_bytes: int = MAX_DOCUMENT_BYTES,
) -> None:
    """Label every object that a message announces and start its workflow.

    Delivered twice, the second delivery finds the execution's name taken: no second workflow, and the result event says
    `duplicate_prevented`. A document uploaded again is a new event and gets its own workflow.

    Raises:
        BadEvent: the message is no S3 event.
        EmptyDocument, TooLargeDocument: it can't be processed.
        DeadlineExceeded: the message waited longer than `deadline_s`.
    """
    sent_ms = str(record.attributes.get("SentTimestamp", ""))
    sent_epoch_s = int(sent_ms) / 1000 if sent_ms.isdigit() else now_epoch_s
    ends_epoch_s = round(sent_epoch_s + deadline_s, 3)
    invocation.attempt = max(invocation.attempt, record.receive_count)
    for announced in s3_records(record.body):
        if now_epoch_s >= ends_epoch_s:
            raise DeadlineExceeded(
                f"document '{announced.key}'",
                f"an event that waited {now_epoch_s - sent_epoch_s:.0f} s",
                allowed=f"{deadline_s:.0f} s",
                because="nobody waits for it any more",
                fix="upload it again, or allow more time or concurrency",
            )
        document = describe(announced, s3=s3, labeller=labeller, deadline=deadline, max_bytes=max_bytes)
        name = execution_name(document.sha256, announced)
        started = start(name, workflow_input(document, ends_epoch_s))
        emit(
            {
                "event": "keepwarm.classified",
                "execution": name,
                "started": started,
                "document": document.as_event(),
            }
        )
        invocation.document, invocation.key = document.as_event(), document.sha256
        invocation.count("workflows_started" if started else "duplicate_starts_prevented")
        invocation.outcome = "ok" if started else "duplicate_prevented"


def describe(
    announced: S3Object, *, s3: S3, labeller: Labeller, deadline: Deadline, max_bytes: int
) -> Document:
    """Read a document, hash it on the way, and name what it is."""
    read = read_document(
        s3,
        announced.bucket,
        announced.key,
        version_id=announced.version_id,
        max_bytes=max_bytes,
        deadline=deadline,
    )
    output = labeller.identify_bytes(read.data).output
    document = Document()
    document.bucket, document.key = announced.bucket, announced.key
    document.name = announced.key.rpartition("/")[2] or announced.key
    document.sha256, document.size_bytes = read.sha256, read.size_bytes
    document.version_id = read.version_id or announced.version_id
    document.label, document.mime, document.group = (
        str(output.label),
        str(output.mime_type),
        str(output.group),
    )
    return document


def execution_name(sha256: str, announced: S3Object) -> str:
    """Name an execution by content and event: the same delivery gives the same name, a new upload another.

    At most 80 characters of letters, digits and hyphens, as StartExecution asks
    (https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html).
    """
    event = f"{announced.bucket}/{announced.key}/{announced.sequencer or announced.version_id or ''}"
    return f"{sha256[:40]}-{hashlib.sha256(event.encode()).hexdigest()[:16]}"


def _timestamp(epoch_s: float) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def workflow_input(document: Document, deadline_epoch_s: float) -> str:
    """Put together the state a workflow starts with. The same delivery gives the same text."""
    return json.dumps(
        {
            "document": document.as_state(),
            "deadline_epoch_s": deadline_epoch_s,
            # The same moment as Step Functions compares it.
            "deadline_at": _timestamp(deadline_epoch_s),
            "idempotency_key": document.sha256,
        },
        sort_keys=True,
    )
