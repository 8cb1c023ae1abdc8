"""One SQS queue: what is visible, delayed or in flight, on the cloud's clock. Knows nothing of HTTP."""

import base64
import binascii
import hashlib
import heapq
import secrets
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from keepwarm import limits
from keepwarm_localcloud.clockwork.clock import Clock
from keepwarm_localcloud.request import AwsError
from keepwarm_localcloud.services.sqs.model import Counters, Depth, Message, Stored, sequence_number

DEDUPLICATION_S: Final = 300
"""https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/using-messagededuplicationid-property.html"""
PURGE_INTERVAL_S: Final = 60
"""https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_PurgeQueue.html"""


class Queue:
    """Messages of one queue. Thread-safe; long polls wait on the clock.

    Args:
        name: Queue name.
        arn: Its ARN.
        clock: Time.
        settings: Attribute values by name, numbers as ints; read at each use, so a change acts at once.
        dead_letter_queue: Finds the queue that takes what was received too often; None leaves it here.
        journal: Called with (event, facts).
    """

    def __init__(
        self,
        name: str,
        arn: str,
        clock: Clock,
        settings: dict[str, Any],
        *,
        dead_letter_queue: Callable[["Queue"], "Queue | None"],
        journal: Callable[[str, "Queue", dict[str, Any]], None],
    ) -> None:
        self.name = name
        self.arn = arn
        self.fifo = name.endswith(".fifo")
        self.settings = settings
        self.tags: dict[str, str] = {}
        self.created_s = self.modified_s = clock.now_s()
        self.counters = Counters()
        self.active_s = 0.0
        """When somebody last used the queue; CloudWatch forgets a queue that is idle for six hours."""
        self._id = secrets.token_hex(6)
        self._clock = clock
        self._dead_letter_queue = dead_letter_queue
        self._journal = journal
        self._changed = threading.Condition()
        self._closed = False
        self._next = 1
        self._messages: dict[int, Stored] = {}
        self._ready: deque[int] = deque()
        self._hidden: list[tuple[float, int]] = []
        """Heap of (visible again at, sequence); entries that no longer agree with the message are stale."""
        self._in_flight = 0
        self._delayed: set[int] = set()
        self._groups: dict[str, deque[int]] = {}
        self._duplicates: dict[str, tuple[float, str, int]] = {}
        self._purged_s = -float("inf")

    def delay_anew(self) -> None:
        """Let messages that are delayed still wait as the settings say now, from when they were sent.

        What a change of the delay does in a FIFO queue; in a standard queue it holds for new messages only.
        https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-delay-queues.html
        """
        now = self._clock.now_s()
        with self._changed:
            self._refresh(now)
            for sequence in sorted(self._delayed):
                message = self._messages[sequence]
                message.visible_at_s = message.sent_at_s + int(self.settings["DelaySeconds"])
                if message.visible_at_s > now:
                    heapq.heappush(self._hidden, (message.visible_at_s, sequence))
                else:
                    self._show(message)
            # Who waits may have to wake earlier now.
            self._changed.notify_all()

    # --- sending -------------------------------------------------------------------------------------------

    def send(
        self,
        body: str,
        *,
        message_attributes: Mapping[str, dict[str, Any]] | None = None,
        system: Mapping[str, str] | None = None,
        delay_s: int | None = None,
        group: str | None = None,
        deduplication: str | None = None,
        size: int = 0,
    ) -> Stored:
        """Append a message; a FIFO duplicate within five minutes gives the first one and appends nothing."""
        now = self._clock.now_s()
        system = dict(system or {})
        with self._changed:
            self.active_s = now
            if self.fifo:
                assert group is not None
                deduplication = deduplication or hashlib.sha256(body.encode()).hexdigest()
                known = self._duplicate_of(deduplication, group, now)
                if known is not None:
                    return known
                system |= {"MessageGroupId": group, "MessageDeduplicationId": deduplication}
            elif group is not None:
                # Fair queues: a standard queue takes a group too, and does not order by it.
                system["MessageGroupId"] = group
            if delay_s is None:
                delay_s = int(self.settings["DelaySeconds"])
            message = Stored(
                sequence=self._next,
                message_id=str(uuid.uuid4()),
                body=body,
                md5=hashlib.md5(body.encode(), usedforsecurity=False).hexdigest(),
                message_attributes=dict(message_attributes or {}),
                system=system,
                sent_at_s=now,
                visible_at_s=now + delay_s,
                group=group,
                bytes=size,
            )
            self._add(message, now)
            if self.fifo and deduplication is not None:
                self._duplicates[self._duplicate_key(deduplication, group)] = (
                    now + DEDUPLICATION_S,
                    message.message_id,
                    message.sequence,
                )
            self.counters.sent += 1
            self.counters.sent_bytes += size
        self._journal("sent", self, {"message_id": message.message_id})
        return message

    def take_over(self, message: Stored, source_arn: str, *, keep_age: bool) -> None:
        """Receive a message another queue gives up: to its dead-letter queue, or back from there.

        A standard queue keeps the time a message was first sent, so its retention goes on running; FIFO starts anew.
        https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html
        """
        now = self._clock.now_s()
        with self._changed:
            moved = Stored(
                sequence=self._next,
                message_id=message.message_id,
                body=message.body,
                md5=message.md5,
                message_attributes=message.message_attributes,
                system=message.system,
                sent_at_s=message.sent_at_s if keep_age and not self.fifo else now,
                visible_at_s=now,
                group=message.group,
                bytes=message.bytes,
                receive_count=message.receive_count if source_arn else 0,
                source_arn=source_arn,
            )
            self.active_s = now
            self._add(moved, now)
            self.counters.sent += 1

    def _duplicate_key(self, deduplication: str, group: str | None) -> str:
        scoped = self.settings.get("DeduplicationScope") == "messageGroup"
        return f"{group}\0{deduplication}" if scoped else deduplication

    def _duplicate_of(self, deduplication: str, group: str, now: float) -> Stored | None:
        self._duplicates = {k: v for k, v in self._duplicates.items() if v[0] > now}
        known = self._duplicates.get(self._duplicate_key(deduplication, group))
        if known is None:
            return None
        _, message_id, sequence = known
        return Stored(sequence, message_id, "", "", {}, {}, now, now, group, 0)

    def _add(self, message: Stored, now: float) -> None:
        self._next += 1
        self._messages[message.sequence] = message
        if message.group is not None and self.fifo:
            self._groups.setdefault(message.group, deque()).append(message.sequence)
        if message.visible_at_s > now:
            self._delayed.add(message.sequence)
            heapq.heappush(self._hidden, (message.visible_at_s, message.sequence))
        elif not self.fifo:
            self._ready.append(message.sequence)
        self._changed.notify_all()

    # --- receiving -----------------------------------------------------------------------------------------

    def receive(
        self,
        limit: int,
        *,
        wait_s: float,
        visibility_s: int | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> list[Message]:
        """Take up to `limit` messages out of sight, waiting up to `wait_s` for the first.

        Args:
            limit: Most messages to take.
            wait_s: Seconds of the clock to wait for the first.
            visibility_s: How long they stay out of sight; default as the queue says.
            cancelled: Asked before each wait and after `wake`; True ends the wait with nothing.

        Raises:
            AwsError: OverLimit with 120,000 messages in flight.
        """
        until_s = self._clock.now_s() + wait_s
        while True:
            dead: list[tuple[Stored, Queue]] = []
            with self._changed:
                now = self._clock.now_s()
                self.active_s = now
                found = self._take(limit, now, visibility_s, dead)
                done = found or self._closed or now >= until_s or (cancelled is not None and cancelled())
                if not done and not dead:
                    wake_s = min(until_s, self._hidden[0][0]) if self._hidden else until_s
                    self._clock.wait_until(self._changed, wake_s)
                self.counters.received += len(found)
                self.counters.empty += bool(done and not found)
            # Outside the lock: the other queue has one too, and may name this one as its own dead-letter queue.
            for stored, target in dead:
                target.take_over(stored, self.arn, keep_age=True)
                self._journal("dead-lettered", self, {"message_id": stored.message_id})
            if done:
                break
        for message in found:
            self._journal(
                "received", self, {"message_id": message.message_id, "count": message.receive_count}
            )
        return found

    def _take(
        self, limit: int, now: float, visibility_s: int | None, dead: "list[tuple[Stored, Queue]]"
    ) -> list[Message]:
        self._refresh(now)
        if self._in_flight >= limits.SQS_IN_FLIGHT_MAX:
            raise AwsError(
                "OverLimit", "Too many messages in flight; delete messages before receiving more.", 403
            )
        visibility = int(self.settings["VisibilityTimeout"]) if visibility_s is None else visibility_s
        found: list[Message] = []
        taken: list[Stored] = []
        candidates = self._fifo_candidates() if self.fifo else self._standard_candidates()
        for message in candidates:
            if self._exhausted(message) and (target := self._dead_letter_queue(self)) is not None:
                self._forget(message)
                dead.append((message, target))
                continue
            found.append(self._hand_out(message, now, visibility))
            taken.append(message)
            if len(found) >= limit:
                break
        if visibility == 0:
            # Visible again at once, but not to this very receive.
            for message in taken:
                self._show(message)
        return found

    def _standard_candidates(self) -> Iterator[Stored]:
        while self._ready:
            message = self._messages.get(self._ready.popleft())
            if message is not None and not message.in_flight and message.sequence not in self._delayed:
                yield message

    def _fifo_candidates(self) -> Iterator[Stored]:
        for group in list(self._groups):
            members = self._groups.get(group, deque())
            # One message of a group in flight holds the whole group back.
            if any(self._messages[s].in_flight for s in members):
                continue
            for sequence in list(members):
                if sequence in self._delayed:
                    break
                yield self._messages[sequence]

    def _exhausted(self, message: Stored) -> bool:
        redrive = self.settings.get("RedrivePolicy")
        return redrive is not None and message.receive_count >= int(redrive["maxReceiveCount"])

    def _hand_out(self, message: Stored, now: float, visibility_s: int) -> Message:
        message.receive_count += 1
        message.first_received_s = message.first_received_s or now
        message.last_received_s = now
        message.nonce = secrets.token_hex(6)
        if visibility_s > 0:
            self._hide(message, now + visibility_s)
        attributes = {
            **message.system,
            "SenderId": message.system.get("SenderId", "AIDAKEEPWARMOPERATOR"),
            "SentTimestamp": str(int(message.sent_at_s * 1000)),
            "ApproximateReceiveCount": str(message.receive_count),
            "ApproximateFirstReceiveTimestamp": str(int(message.first_received_s * 1000)),
        }
        if self.fifo:
            attributes["SequenceNumber"] = sequence_number(message.sequence)
        if message.source_arn:
            attributes["DeadLetterQueueSourceArn"] = message.source_arn
        return Message(
            message.message_id,
            self._handle(message),
            message.body,
            message.md5,
            attributes,
            message.message_attributes,
            message.receive_count,
            message.sent_at_s,
        )

    def _hide(self, message: Stored, until_s: float) -> None:
        if not message.in_flight:
            message.in_flight = True
            self._in_flight += 1
        message.visible_at_s = until_s
        heapq.heappush(self._hidden, (until_s, message.sequence))

    def _show(self, message: Stored) -> None:
        if message.in_flight:
            message.in_flight = False
            self._in_flight -= 1
        self._delayed.discard(message.sequence)
        if not self.fifo:
            self._ready.append(message.sequence)
        self._changed.notify_all()

    def _refresh(self, now: float) -> None:
        """Bring back what is visible again and drop what is older than the retention."""
        while self._hidden and self._hidden[0][0] <= now:
            at_s, sequence = heapq.heappop(self._hidden)
            message = self._messages.get(sequence)
            stale = message is None or message.visible_at_s != at_s
            if message is not None and not stale and (message.in_flight or sequence in self._delayed):
                self._show(message)
        retention_s = int(self.settings["MessageRetentionPeriod"])
        # Insertion order is nearly age order: only what dead-letter queues took over may be older than its place.
        for message in list(self._messages.values()) if self._has_expired(now, retention_s) else ():
            if message.sent_at_s + retention_s <= now:
                self._forget(message)
                self._journal("expired", self, {"message_id": message.message_id})

    def _has_expired(self, now: float, retention_s: int) -> bool:
        first = next(iter(self._messages.values()), None)
        if first is None:
            return False
        return first.sent_at_s + retention_s <= now or any(
            m.source_arn and m.sent_at_s + retention_s <= now for m in self._messages.values()
        )

    # --- after the receive ---------------------------------------------------------------------------------

    def delete(self, handle: str) -> None:
        """Delete by receipt handle; an old handle of a message received again succeeds and deletes nothing.

        Raises:
            AwsError: ReceiptHandleIsInvalid; in a FIFO queue InvalidParameterValue once the visibility timeout passed.
        """
        sequence, nonce = self._open_handle(handle)
        now = self._clock.now_s()
        with self._changed:
            self.active_s = now
            self._refresh(now)
            message = self._messages.get(sequence)
            if message is None:
                return
            if self.fifo and (message.nonce != nonce or not message.in_flight):
                raise AwsError(
                    "InvalidParameterValue",
                    f"Value {handle} for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired.",
                )
            if message.nonce != nonce:
                return
            self._forget(message)
            self.counters.deleted += 1
        self._journal("deleted", self, {"message_id": message.message_id})

    def change_visibility(self, handle: str, seconds: int) -> None:
        """Let a message in flight reappear in `seconds` from now; 0 at once.

        Raises:
            AwsError: MessageNotInflight, or InvalidParameterValue past twelve hours after the receive.
        """
        sequence, nonce = self._open_handle(handle)
        now = self._clock.now_s()
        with self._changed:
            self.active_s = now
            self._refresh(now)
            message = self._messages.get(sequence)
            if message is None or message.nonce != nonce or not message.in_flight:
                raise AwsError(
                    "MessageNotInflight",
                    f"Value {handle} for parameter ReceiptHandle is invalid. Reason: Message does not exist or is not "
                    "available for visibility timeout change.",
                )
            if now + seconds - message.last_received_s > limits.SQS_VISIBILITY_MAX_S:
                raise AwsError(
                    "InvalidParameterValue",
                    f"Value {seconds} for parameter VisibilityTimeout is invalid. Reason: Total VisibilityTimeout for "
                    f"the message is beyond the limit [{limits.SQS_VISIBILITY_MAX_S} seconds].",
                )
            if seconds == 0:
                message.visible_at_s = now
                self._show(message)
            else:
                self._hide(message, now + seconds)
                self._changed.notify_all()

    def purge(self) -> None:
        """Delete everything.

        Raises:
            AwsError: PurgeQueueInProgress within 60 seconds of the last purge.
        """
        now = self._clock.now_s()
        with self._changed:
            if now - self._purged_s < PURGE_INTERVAL_S:
                raise AwsError(
                    "PurgeQueueInProgress",
                    f"Only one PurgeQueue operation on {self.name} is allowed every 60 seconds.",
                    403,
                )
            self._purged_s = now
            for message in list(self._messages.values()):
                self._forget(message)
        self._journal("purged", self, {})

    def drain(self) -> list[Stored]:
        """Take every visible message out for good, oldest first: what a move task moves."""
        now = self._clock.now_s()
        with self._changed:
            self._refresh(now)
            visible = [
                m for m in self._messages.values() if not m.in_flight and m.sequence not in self._delayed
            ]
            for message in visible:
                self._forget(message)
        return visible

    def _forget(self, message: Stored) -> None:
        if self._messages.pop(message.sequence, None) is None:
            return
        if message.in_flight:
            message.in_flight = False
            self._in_flight -= 1
        self._delayed.discard(message.sequence)
        if self.fifo and message.group is not None:
            members = self._groups[message.group]
            members.remove(message.sequence)
            if not members:
                del self._groups[message.group]
            # The rest of the group may go on now.
            self._changed.notify_all()

    def _handle(self, message: Stored) -> str:
        return base64.b64encode(f"{self._id} {self.arn} {message.sequence} {message.nonce}".encode()).decode()

    def _open_handle(self, handle: str) -> tuple[int, str]:
        try:
            queue_id, _, sequence, nonce = base64.b64decode(handle, validate=True).decode().split(" ")
            if queue_id == self._id:
                return int(sequence), nonce
        except (ValueError, binascii.Error, UnicodeDecodeError):
            pass
        raise AwsError(
            "ReceiptHandleIsInvalid",
            f'The input receipt handle "{handle}" is not a valid receipt handle.',
            404,
        )

    # --- looking -------------------------------------------------------------------------------------------

    def depth(self) -> Depth:
        """Count the messages now."""
        now = self._clock.now_s()
        with self._changed:
            self._refresh(now)
            oldest = min((m.sent_at_s for m in self._messages.values()), default=now)
            waiting = len(self._messages) - self._in_flight - len(self._delayed)
            return Depth(waiting, self._in_flight, len(self._delayed), now - oldest)

    def take_counters(self) -> Counters:
        """Give what was counted since the last call."""
        with self._changed:
            counters, self.counters = self.counters, Counters()
        return counters

    def wake(self) -> None:
        """Let every waiting receive look again, at its `cancelled` too."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """Wake every long poll, which then answers with what it has."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
