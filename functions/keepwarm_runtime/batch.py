"""SQS batches, answered per record, and closed when in doubt.

A record that failed is reported, and only that one comes back. A record that can never succeed is parked first and
acknowledged only after parking worked. Whatever the code can't explain is reported as failed: a message that comes
back twice costs a retry, one that is acknowledged by mistake is lost.
Source: https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
"""

from __future__ import annotations

from keepwarm_runtime.errors import BadBatch, RuntimeFault
from keepwarm_runtime.events import emit, error_facts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from keepwarm_runtime.deadline import Deadline
    from keepwarm_runtime.invocation import Invocation

RESERVE_S = 1.0
"""Seconds kept for the answer itself: a record is not started with less than this left."""


class Record:
    """One message of a batch."""

    __slots__ = ("attributes", "body", "message_attributes", "message_id", "receive_count")

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self.message_id = str(raw["messageId"])
        self.body = str(raw.get("body", ""))
        self.attributes: Mapping[str, Any] = raw.get("attributes") or {}
        self.message_attributes: Mapping[str, Any] = raw.get("messageAttributes") or {}
        count = str(self.attributes.get("ApproximateReceiveCount", "1"))
        self.receive_count = int(count) if count.isdigit() else 1


def parse_batch(event: Any) -> list[Record]:
    """Read the records of an SQS event.

    Raises:
        BadBatch: it is none, or its records can't be told apart; nothing was run, everything comes back.
    """
    records = event.get("Records") if isinstance(event, dict) else None
    if not isinstance(records, list):
        raise BadBatch("event", f"{type(event).__name__} without a list of Records")
    seen: set[str] = set()
    for position, record in enumerate(records):
        identity = record.get("messageId") if isinstance(record, dict) else None
        if not isinstance(identity, str) or not identity:
            raise BadBatch(f"event Records[{position}]", "no messageId")
        if identity in seen:
            raise BadBatch(f"event Records[{position}]", f"messageId {identity} for the second time")
        seen.add(identity)
    return [Record(record) for record in records]


def run_batch(
    event: Any,
    work: Callable[[Record], Any],
    *,
    deadline: Deadline,
    park: Callable[[Record, RuntimeFault], Any] | None = None,
    reserve_s: float = RESERVE_S,
    invocation: Invocation | None = None,
) -> dict[str, list[dict[str, str]]]:
    """Run `work` on every record and return which of them have to come back.

    Records of a FIFO group behind a failed one are reported without being run, to keep their order. The result event of
    `invocation` counts the records: what was parked or comes back is `failed`. A batch of which nothing succeeded has
    the outcome `error`, or `rejected` when all of it was parked. It is answered per record even so, and not raised: SQS
    returns the same messages either way, and parked ones must not come back.

    Raises:
        BadBatch: the event can't be answered per record.
    """
    failures: list[dict[str, str]] = []
    parked = done = 0
    blocked: set[str] = set()
    for record in parse_batch(event):
        group = record.attributes.get("MessageGroupId")
        if deadline.remaining_s() < reserve_s or group in blocked:
            failures.append({"itemIdentifier": record.message_id})
            continue
        try:
            work(record)
        except RuntimeFault as fault:
            if not fault.retry and park is not None and _parked(record, fault, park):
                parked += 1
                continue
            _report(record, fault)
        except Exception as error:
            _report(record, error)
        else:
            done += 1
            continue
        failures.append({"itemIdentifier": record.message_id})
        if group is not None:
            blocked.add(group)
    if invocation is not None:
        invocation.tally(done, parked + len(failures))
        if not done and (failures or parked):
            invocation.outcome = "error" if failures else "rejected"
        invocation.count("batch_done", done)
        invocation.count("batch_parked", parked)
        invocation.count("batch_failed", len(failures))
    return {"batchItemFailures": failures}


def _parked(record: Record, fault: RuntimeFault, park: Callable[[Record, RuntimeFault], Any]) -> bool:
    """Park the record; False, with a line in the log, when that failed and the record must come back."""
    try:
        park(record, fault)
    except Exception as error:
        _report(record, error)
        return False
    emit({"event": "keepwarm.parked", "message_id": record.message_id, "error": error_facts(fault)})
    return True


def _report(record: Record, error: BaseException) -> None:
    emit(
        {
            "event": "keepwarm.record_failed",
            "message_id": record.message_id,
            "attempt": record.receive_count,
            "error": error_facts(error),
        }
    )
