"""Effect records and where they are kept (contract C4).

Every write compares owner, epoch and state with what the writer last saw: whoever was superseded can't write, however
late it wakes up. A store has three operations, so that the one in DynamoDB and the ones in tests can be compared.
"""

from __future__ import annotations

import threading
import time

from keepwarm_runtime import fault
from keepwarm_runtime.errors import AwsFault, LedgerUnusable, NotFound, PreconditionFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from keepwarm_runtime.aws import Aws
    from keepwarm_runtime.deadline import Deadline

    class Store(Protocol):
        """Where effect records live."""

        def now_s(self) -> float:
            """Epoch seconds of the store's clock."""
            ...

        def get(self, pk: str, deadline: Deadline) -> Record | None:
            """Read a record, strongly consistent."""
            ...

        def put_new(self, record: Record, deadline: Deadline) -> Record | None:
            """Write a record where none is; return None, or the record that stands there."""
            ...

        def swap(self, seen: Record, new: Record, deadline: Deadline) -> bool:
            """Replace `seen` by `new` if owner, epoch and state are still those of `seen`."""
            ...


INPROGRESS = "INPROGRESS"
UNKNOWN = "UNKNOWN"
DONE = "DONE"
FAILED = "FAILED"
PARKED = "PARKED"
STATES = (INPROGRESS, UNKNOWN, DONE, FAILED, PARKED)
MAX_SKEW_S = 900.0
"""Largest difference between this machine's clock and DynamoDB's that is corrected instead of refused, in seconds."""


class Record:
    """One effect record. Treat it as immutable: `but` makes the next one."""

    __slots__ = (
        "attempts", "effect_key", "epoch", "expiry", "lease_until", "owner", "payload_hash", "pk", "reason", "result",
        "result_ref", "state",
    )  # fmt: skip

    def __init__(
        self,
        pk: str,
        state: str,
        owner: str,
        epoch: int,
        lease_until: float,
        attempts: int,
        payload_hash: str,
        effect_key: str,
        expiry: int | None = None,
        result: str | None = None,
        result_ref: str | None = None,
        reason: str | None = None,
    ) -> None:
        self.pk = pk
        self.state = state
        self.owner = owner
        self.epoch = epoch
        self.lease_until = lease_until
        """Epoch seconds until which the owner may work."""
        self.attempts = attempts
        self.payload_hash = payload_hash
        self.effect_key = effect_key
        self.expiry = expiry
        """Epoch seconds after which DynamoDB may delete the record. None for one that is not settled: it never ends by
        itself, since forgetting a doubt would run the effect again."""
        self.result = result
        """JSON text."""
        self.result_ref = result_ref
        """`s3://bucket/key` of a result that is too large for the record."""
        self.reason = reason

    def but(self, **changes: Any) -> Record:
        """Copy with changes."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        fields.update(changes)
        return Record(**fields)

    def same_as(self, other: Record) -> bool:
        """Compare owner, epoch and state: what every write is conditional on."""
        return (self.owner, self.epoch, self.state) == (other.owner, other.epoch, other.state)

    def as_item(self) -> dict[str, dict[str, str]]:
        """Encode for DynamoDB."""
        item: dict[str, dict[str, str]] = {}
        for name in self.__slots__:
            value = getattr(self, name)
            if value is not None:
                item[name] = {"S": value} if isinstance(value, str) else {"N": repr(value)}
        return item

    @classmethod
    def of_item(cls, item: dict[str, dict[str, str]]) -> Record:
        """Decode from DynamoDB."""
        fields: dict[str, Any] = {name: None for name in cls.__slots__}
        for name in cls.__slots__:
            value = item.get(name)
            if value is not None:
                fields[name] = value.get("S", value.get("N"))
        fields["epoch"] = int(fields["epoch"])
        fields["attempts"] = int(fields["attempts"])
        fields["lease_until"] = float(fields["lease_until"])
        fields["expiry"] = None if fields["expiry"] is None else int(fields["expiry"])
        return cls(**fields)


class DynamoStore:
    """Effect records in a DynamoDB table with the string key `pk`."""

    def __init__(self, aws: Aws, table: str) -> None:
        self.aws = aws
        self.table = table

    def now_s(self) -> float:
        """Epoch seconds, corrected by what DynamoDB stamps on its answers.

        Raises:
            LedgerUnusable: the two clocks are too far apart to trust either (R118).
        """
        if abs(self.aws.skew_s) > MAX_SKEW_S:
            raise LedgerUnusable(
                f"ledger table {self.table}",
                f"a clock {self.aws.skew_s:+.0f} s away from DynamoDB's",
                allowed=f"at most {MAX_SKEW_S:.0f} s",
                because="leases are compared across machines",
                fix="correct the clock of this machine",
            )
        return self.aws.now_s()

    def get(self, pk: str, deadline: Deadline) -> Record | None:
        """Read a record, strongly consistent."""
        answer = self._call("GetItem", {"Key": {"pk": {"S": pk}}, "ConsistentRead": True}, deadline)
        item = answer.get("Item")
        return Record.of_item(item) if item else None

    def put_new(self, record: Record, deadline: Deadline) -> Record | None:
        """Write a record where none is; return None, or the record that stands there."""
        fault.point("ledger.put_new")
        try:
            self._call(
                "PutItem",
                {
                    "Item": record.as_item(),
                    "ConditionExpression": "attribute_not_exists(pk)",
                    "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
                },
                deadline,
            )
        except PreconditionFailed as lost:
            standing = self._standing(lost, record.pk, deadline)
            if standing is None:
                # Deleted by its TTL between the two calls: the caller starts over.
                return self.put_new(record, deadline)
            # A repeated request finds its own first try.
            return None if standing.same_as(record) else standing
        fault.point("ledger.put_new.done")
        return None

    def swap(self, seen: Record, new: Record, deadline: Deadline) -> bool:
        """Replace `seen` by `new` if owner, epoch and state are still those of `seen`."""
        fault.point("ledger.swap")
        try:
            self._call(
                "PutItem",
                {
                    "Item": new.as_item(),
                    "ConditionExpression": "#o = :o AND #e = :e AND #s = :s",
                    "ExpressionAttributeNames": {"#o": "owner", "#e": "epoch", "#s": "state"},
                    "ExpressionAttributeValues": {
                        ":o": {"S": seen.owner},
                        ":e": {"N": str(seen.epoch)},
                        ":s": {"S": seen.state},
                    },
                    "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
                },
                deadline,
            )
        except PreconditionFailed as lost:
            standing = self._standing(lost, new.pk, deadline)
            return standing is not None and standing.same_as(new)
        fault.point("ledger.swap.done")
        return True

    def _standing(self, lost: PreconditionFailed, pk: str, deadline: Deadline) -> Record | None:
        item: Any = lost.item
        return Record.of_item(item) if item else self.get(pk, deadline)

    def _call(self, operation: str, payload: dict[str, Any], deadline: Deadline) -> dict[str, Any]:
        try:
            return self.aws.call(
                "dynamodb",
                operation,
                {"TableName": self.table, **payload},
                deadline=deadline,
                resource=self.table,
            )
        except NotFound as error:
            raise LedgerUnusable(f"ledger table {self.table}", "no such table") from error
        except AwsFault as error:
            if error.aws_code == "ValidationException" and "key" in error.message.lower():
                raise LedgerUnusable(f"ledger table {self.table}", error.message) from error
            raise


class MemoryStore:
    """The same in memory: what the tests hold the other stores equal to."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self.records: dict[str, Record] = {}

    def now_s(self) -> float:
        """Epoch seconds."""
        return self._clock()

    def get(self, pk: str, deadline: Deadline) -> Record | None:
        """Read a record."""
        del deadline
        return self.records.get(pk)

    def put_new(self, record: Record, deadline: Deadline) -> Record | None:
        """Write a record where none is; return None, or the record that stands there."""
        del deadline
        fault.point("ledger.put_new")
        with self._lock:
            standing = self.records.get(record.pk)
            if standing is not None:
                return None if standing.same_as(record) else standing
            self.records[record.pk] = record
        fault.point("ledger.put_new.done")
        return None

    def swap(self, seen: Record, new: Record, deadline: Deadline) -> bool:
        """Replace `seen` by `new` if owner, epoch and state are still those of `seen`."""
        del deadline
        fault.point("ledger.swap")
        with self._lock:
            standing = self.records.get(new.pk)
            if standing is None or not standing.same_as(seen):
                return standing is not None and standing.same_as(new)
            self.records[new.pk] = new
        fault.point("ledger.swap.done")
        return True
