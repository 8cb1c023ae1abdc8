"""Permits for a downstream that is smaller than the functions that call it.

A pool has as many permits as the downstream can really work on at a time. A permit is a DynamoDB item with a lease:
its holder may die, the permit comes back by itself. Whoever can't get one in time is refused at once with the time
after which it makes sense to come back; waiting is bounded and gets more eager with age, so that an old waiter
usually beats a new one.

Every demand, served or not, emits the metric `Backlog`, which exists even while no task of the downstream runs: it is
what scales a GPU service from zero.
"""

from __future__ import annotations

import time

from keepwarm_runtime import fault
from keepwarm_runtime.errors import LedgerUnusable, NotFound, Overloaded, PreconditionFailed, StaleOwner
from keepwarm_runtime.events import emit
from keepwarm_runtime.jitter import uniform
from keepwarm_runtime.settings import DEFAULT_PERMIT_HOLD_S, DEFAULT_PERMIT_WAIT_S

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any

    from keepwarm_runtime.aws import Aws
    from keepwarm_runtime.deadline import Deadline
    from keepwarm_runtime.invocation import Invocation

POLL_S = 0.05
MAX_POLL_S = 1.0
UNKNOWN_HELD_S = 5.0
"""How long a permit is guessed to be held before any came back. The longest hold would send everyone away for that
long, while most work takes seconds."""
GRACE_S = 1.0
"""Seconds after a lease before its permit counts as free; clocks differ."""
PERMIT_TTL_S = 86_400


class Permit:
    """One permit, held. `epoch` rises with every holder: pass it on where a downstream can fence."""

    __slots__ = ("_admission", "_taken_s", "epoch", "lease_until", "number", "owner", "waited_s")

    def __init__(
        self, admission: Admission, number: int, epoch: int, owner: str, lease_until: float, waited_s: float
    ) -> None:
        self._admission = admission
        self._taken_s = time.monotonic()
        self.number = number
        self.epoch = epoch
        self.owner = owner
        self.lease_until = lease_until
        self.waited_s = waited_s

    def __enter__(self) -> Permit:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._admission._release(self, time.monotonic() - self._taken_s, quiet=error is not None)


class Admission:
    """The permit pool of one downstream."""

    def __init__(
        self,
        aws: Aws,
        table: str,
        *,
        pool: str = "default",
        permits: int = 1,
        service: str = "",
        hold_s: float = DEFAULT_PERMIT_HOLD_S,
        wait_s: float = DEFAULT_PERMIT_WAIT_S,
        new_owner: Callable[[], str] | None = None,
        draw: Callable[[], float] = uniform,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._aws = aws
        self._table = table
        self.pool = pool
        self.permits = permits
        self.service = service or pool
        self.hold_s = hold_s
        """Longest time one call keeps a permit, in seconds."""
        self.wait_s = wait_s
        """Longest wait for a permit inside the function, in seconds."""
        self._new_owner = new_owner or _random_owner
        self._draw = draw
        self._sleep = sleep

    def permit(
        self,
        *,
        deadline: Deadline,
        hold_s: float | None = None,
        wait_s: float | None = None,
        least_s: float | None = None,
        invocation: Invocation | None = None,
    ) -> Permit:
        """Take a permit: `with admission.permit(deadline=...) as permit: ...`.

        `hold_s` is the most the work takes; the lease ends with it or with the deadline, whichever is sooner.
        `wait_s` bounds the waiting. Default: those of this object, which come from the settings. `least_s` is the least
        time in which the work makes sense, `hold_s` unless told otherwise. All in seconds.

        Raises:
            Overloaded: no permit can be had while the work would still fit the deadline; refused without waiting
                when that is known at once.
            StaleOwner: on leaving the block, when the work took longer than its lease and somebody else took over.
        """
        hold_s = self.hold_s if hold_s is None else hold_s
        wait_s = self.wait_s if wait_s is None else wait_s
        least_s = hold_s if least_s is None else min(least_s, hold_s)
        started_s = time.monotonic()
        owner = self._new_owner()
        outcome = "served"
        try:
            permit = self._acquire(owner, deadline, hold_s, wait_s, least_s, started_s)
        except Overloaded:
            outcome = "refused"
            raise
        finally:
            waited_s = time.monotonic() - started_s
            self._report(outcome, waited_s, invocation)
        return permit

    def _acquire(
        self,
        owner: str,
        deadline: Deadline,
        hold_s: float,
        wait_s: float,
        least_s: float,
        started_s: float,
    ) -> Permit:
        give_up = deadline.sooner(wait_s)
        tries = 0
        while True:
            tries += 1
            slots = self._read(deadline)
            now_s = self._aws.now_s()
            free = [n for n in range(self.permits) if _free_at(slots.get(n)) <= now_s]
            # From a random one on: two functions that read the same picture then seldom want the same permit.
            first = int(self._draw() * len(free)) if free else 0
            for number in free[first:] + free[:first]:
                left_s = deadline.remaining_s()
                if left_s < least_s:
                    raise self._too_late(least_s, left_s)
                taken = self._take(number, slots.get(number), owner, now_s, min(hold_s, left_s), deadline)
                if taken is not None:
                    epoch, lease_until = taken
                    return Permit(self, number, epoch, owner, lease_until, time.monotonic() - started_s)
            expected_s = self._expected_wait(slots, now_s, hold_s)
            left_s = deadline.remaining_s()
            if expected_s + least_s > left_s:
                raise self._refusal("a wait that leaves no time for the work", hold_s, left_s, expected_s)
            if expected_s > wait_s and tries == 1:
                raise self._refusal("a wait longer than allowed", hold_s, left_s, expected_s)
            # Full jitter; the longer one has waited, the shorter the pauses.
            age = max(0.0, 1.0 - (time.monotonic() - started_s) / max(wait_s, 0.001))
            pause_s = POLL_S / 2 + self._draw() * min(MAX_POLL_S, max(POLL_S, expected_s / 2)) * max(0.1, age)
            if pause_s >= give_up.remaining_s():
                raise self._refusal("no permit in the time allowed", hold_s, left_s, expected_s)
            self._sleep(pause_s)

    def _too_late(self, least_s: float, left_s: float) -> Overloaded:
        return Overloaded(
            f"permit pool {self.pool}",
            f"{left_s:.1f} s left, but a permit is held for up to {least_s:.1f} s",
            retry_after_s=POLL_S,
            allowed=f"at least {least_s:.1f} s",
            because="a call that is cut off halfway has used the service for nothing",
            fix=f"raise the function's timeout_s above {least_s:.0f} s, or lower its permit_hold_s",
        )

    def _refusal(self, what: str, hold_s: float, left_s: float, retry_after_s: float) -> Overloaded:
        return Overloaded(
            f"permit pool {self.pool}",
            f"{what} ({self.permits} permits, work of {hold_s:.1f} s, {left_s:.1f} s left)",
            retry_after_s=max(0.1, retry_after_s),
        )

    def _expected_wait(self, slots: dict[int, dict[str, Any]], now_s: float, hold_s: float) -> float:
        """Seconds until a permit is likely to be free: the last hold times say, the leases bound it."""
        soonest = hold_s
        known = [float(slot["held_s"]["N"]) for slot in slots.values() if "held_s" in slot]
        guess_s = sum(known) / len(known) if known else min(hold_s, UNKNOWN_HELD_S)
        for number in range(self.permits):
            slot = slots.get(number)
            if slot is None:
                return POLL_S
            typical_s = float(slot["held_s"]["N"]) if "held_s" in slot else guess_s
            since_s = float(slot["taken_at"]["N"]) if "taken_at" in slot else now_s
            left_s = min(since_s + typical_s - now_s, _free_at(slot) - now_s)
            soonest = min(soonest, max(POLL_S, left_s))
        return soonest

    # -- DynamoDB

    def _key(self, number: int) -> dict[str, dict[str, str]]:
        return {"pk": {"S": f"{self.pool}#{number}"}}

    def _read(self, deadline: Deadline) -> dict[int, dict[str, Any]]:
        wanted: list[dict[str, dict[str, str]]] = [self._key(number) for number in range(self.permits)]
        found: dict[int, dict[str, Any]] = {}
        while wanted:
            fault.point("admission.read")
            answer = self._call(
                "BatchGetItem",
                {"RequestItems": {self._table: {"Keys": wanted, "ConsistentRead": True}}},
                deadline,
            )
            for item in answer.get("Responses", {}).get(self._table, []):
                found[int(item["pk"]["S"].rpartition("#")[2])] = item
            wanted = answer.get("UnprocessedKeys", {}).get(self._table, {}).get("Keys", [])
        return found

    def _take(
        self,
        number: int,
        seen: dict[str, Any] | None,
        owner: str,
        now_s: float,
        lease_s: float,
        deadline: Deadline,
    ) -> tuple[int, float] | None:
        epoch = int(seen["epoch"]["N"]) if seen else 0
        lease_until = now_s + lease_s
        values: dict[str, dict[str, str]] = {
            ":owner": {"S": owner},
            ":epoch": {"N": str(epoch + 1)},
            ":lease": {"N": f"{lease_until:.3f}"},
            ":now": {"N": f"{now_s:.3f}"},
            ":expiry": {"N": str(int(now_s) + PERMIT_TTL_S)},
        }
        condition = "attribute_not_exists(pk)"
        if seen:
            condition = "epoch = :seen"
            values[":seen"] = {"N": str(epoch)}
        fault.point("admission.take")
        try:
            self._call(
                "UpdateItem",
                {
                    "TableName": self._table,
                    "Key": self._key(number),
                    "UpdateExpression": "SET #o = :owner, epoch = :epoch, lease_until = :lease, "
                    "taken_at = :now, expiry = :expiry",
                    "ConditionExpression": condition,
                    "ExpressionAttributeNames": {"#o": "owner"},
                    "ExpressionAttributeValues": values,
                    "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
                },
                deadline,
            )
        except PreconditionFailed as lost:
            item: Any = lost.item
            if item and item.get("owner", {}).get("S") == owner:
                # A repeated request finds its own first try.
                return epoch + 1, lease_until
            return None
        return epoch + 1, lease_until

    def _release(self, permit: Permit, held_s: float, *, quiet: bool) -> None:
        """Give a permit back; `quiet` when the work failed anyway and that failure matters more."""
        from keepwarm_runtime.deadline import Deadline

        fault.point("admission.release")
        try:
            self._call(
                "UpdateItem",
                {
                    "TableName": self._table,
                    "Key": self._key(permit.number),
                    "UpdateExpression": "SET lease_until = :zero, held_s = :held REMOVE #o",
                    "ConditionExpression": "#o = :owner AND epoch = :epoch",
                    "ExpressionAttributeNames": {"#o": "owner"},
                    "ExpressionAttributeValues": {
                        ":zero": {"N": "0"},
                        ":held": {"N": f"{held_s:.3f}"},
                        ":owner": {"S": permit.owner},
                        ":epoch": {"N": str(permit.epoch)},
                    },
                    "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
                },
                Deadline.after(2.0),
            )
        except PreconditionFailed as lost:
            item: Any = lost.item
            if item and int(item.get("epoch", {}).get("N", "0")) == permit.epoch:
                # A repeated request finds its own release.
                return
            if not quiet:
                raise StaleOwner(
                    f"permit {self.pool}#{permit.number}", f"work of {held_s:.1f} s, longer than its lease",
                    fix="raise hold_s: somebody else worked at the same time",
                ) from lost  # fmt: skip

    def _call(self, operation: str, payload: dict[str, Any], deadline: Deadline) -> dict[str, Any]:
        try:
            return self._aws.call("dynamodb", operation, payload, deadline=deadline, resource=self._table)
        except NotFound as error:
            raise LedgerUnusable(
                f"admission table {self._table}", "no such table", fix="deploy the Admission component"
            ) from error

    def _report(self, outcome: str, waited_s: float, invocation: Invocation | None) -> None:
        emit(
            {"event": "keepwarm.demand", "pool": self.pool, "outcome": outcome},
            {"Backlog": (1, "Count"), "admission_wait_ms": (round(waited_s * 1000, 3), "Milliseconds")},
            dimension=("Service", self.service),
        )
        if invocation is not None:
            invocation.downstream("admission", outcome=outcome, waited_ms=round(waited_s * 1000, 3))


def _free_at(slot: dict[str, Any] | None) -> float:
    if slot is None:
        return 0.0
    lease_until = float(slot["lease_until"]["N"])
    return lease_until + GRACE_S if lease_until else 0.0


def _random_owner() -> str:
    import uuid

    return uuid.uuid4().hex


CLOSED = "closed"
OPEN = "open"
HALF_OPEN = "half-open"


class Breaker:
    """Stops calling a downstream that keeps failing, then lets one call through to see.

    Opens after `failures` in a row, for `open_s` seconds or as long as the downstream asked for.
    """

    def __init__(
        self,
        name: str,
        *,
        failures: int = 5,
        open_s: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._limit = failures
        self._open_s = open_s
        self._clock = clock
        self._in_a_row = 0
        self._until_s: float | None = None
        self._probing = False

    @property
    def state(self) -> str:
        """`closed`, `open` or `half-open`."""
        if self._until_s is None:
            return CLOSED
        return OPEN if self._clock() < self._until_s else HALF_OPEN

    def check(self) -> None:
        """Ask before a call.

        Raises:
            Overloaded: the breaker is open, or another call is finding out.
        """
        if self._until_s is None:
            return
        left_s = self._until_s - self._clock()
        if left_s > 0:
            raise Overloaded(
                f"breaker {self.name}", f"{self._in_a_row} failures in a row", retry_after_s=left_s
            )
        if self._probing:
            raise Overloaded(f"breaker {self.name}", "a probe under way", retry_after_s=self._open_s)
        self._probing = True

    def succeeded(self) -> None:
        """Report a call that went well."""
        self._in_a_row = 0
        self._until_s = None
        self._probing = False

    def failed(self, retry_after_s: float | None = None) -> None:
        """Report a failure that says something about the downstream's health."""
        self._in_a_row += 1
        self._probing = False
        if self._in_a_row >= self._limit or self._until_s is not None:
            self._until_s = self._clock() + max(self._open_s, retry_after_s or 0.0)
