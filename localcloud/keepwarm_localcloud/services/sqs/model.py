"""What one SQS queue keeps and shows: messages, counts."""

from dataclasses import dataclass
from typing import Any

from keepwarm_localcloud.services.sqs.checks import attributes_md5


@dataclass(frozen=True, slots=True)
class Message:
    """A message as a consumer receives it."""

    message_id: str
    receipt_handle: str
    body: str
    md5: str
    attributes: dict[str, str]
    """System attributes: SentTimestamp, ApproximateReceiveCount, MessageGroupId, ..."""
    message_attributes: dict[str, dict[str, Any]]
    """Attributes the sender gave, in the shape of the API."""
    receive_count: int
    sent_at_s: float

    @property
    def md5_of_attributes(self) -> str | None:
        """MD5 of the sender's attributes; None without any."""
        return attributes_md5(self.message_attributes)


@dataclass(slots=True)
class Stored:
    """A message as the queue keeps it."""

    sequence: int
    message_id: str
    body: str
    md5: str
    message_attributes: dict[str, dict[str, Any]]
    system: dict[str, str]
    sent_at_s: float
    visible_at_s: float
    group: str | None
    bytes: int
    receive_count: int = 0
    first_received_s: float = 0.0
    last_received_s: float = 0.0
    in_flight: bool = False
    nonce: str = ""
    """Names the latest receive; older receipt handles carry an older one."""
    source_arn: str = ""
    """Queue it was moved from to a dead-letter queue."""


@dataclass(slots=True)
class Counters:
    """What happened since the last metrics were published."""

    sent: int = 0
    sent_bytes: int = 0
    received: int = 0
    deleted: int = 0
    empty: int = 0


@dataclass(frozen=True, slots=True)
class Depth:
    """How many messages are where."""

    visible: int
    in_flight: int
    delayed: int
    oldest_age_s: float


def sequence_number(sequence: int) -> str:
    """Write a sequence number in the twenty digits of AWS."""
    return f"{18_850_000_000_000_000_000 + sequence * 256:020d}"
