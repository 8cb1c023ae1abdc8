"""Side effects that happen once, or are parked where someone sees them (contract C4).

    result = effects.effect(
        key, contract=Contract.KEYED, payload={...}, run=send, resolve=was_it_sent, deadline=invocation.deadline,
    )

A record is written before the effect and after it. What lies between is the interesting part: an invocation that died
there may have acted. Its lease runs out, its record becomes UNKNOWN, never free, and the contract says who knows:

- KEYED: the downstream drops a second request with the same `effect_key`; the resolver is asked first if there is one
- QUERYABLE: the resolver answers Done(result), NOT_DONE or UNSURE. NOT_DONE must mean: not done, and nothing of it
  still on its way
- COMPENSABLE: `compensate` takes back what may have happened, then the effect runs again
- OPAQUE: nobody knows; the record is PARKED and a person decides with `settle`

Exactly once with a downstream that has neither key nor query is impossible, so OPAQUE has to be asked for with
`on_ambiguous="park"`.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from enum import StrEnum

from keepwarm_runtime import fault
from keepwarm_runtime.deadline import Deadline
from keepwarm_runtime.errors import (
    AwsFault,
    BadEvent,
    BadResult,
    DigestMismatch,
    EffectInProgress,
    EffectMisuse,
    EffectParked,
    EffectUnknown,
    InvalidSettings,
    PayloadConflict,
    RuntimeFault,
    StaleOwner,
)
from keepwarm_runtime.events import emit, error_facts
from keepwarm_runtime.jitter import uniform
from keepwarm_runtime.ledger import DONE, FAILED, INPROGRESS, PARKED, UNKNOWN, Record
from keepwarm_runtime.settings import DEFAULT_LEDGER_RETENTION_S

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from keepwarm_runtime.aws import S3
    from keepwarm_runtime.ledger import Store

MAX_KEY_BYTES = 1024
"""Longest key; DynamoDB allows 2,048 bytes of partition key."""
MAX_INLINE_BYTES = 350 * 1024
"""Larger results go to S3: a DynamoDB item holds 400 KB
(https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ServiceQuotas.html)."""
GRACE_S = 2.0
"""Seconds after the end of a lease before anybody takes over: clocks differ, and bytes may be on the wire."""
DEFAULT_STEP = "effect"
DEFAULT_VERSION = "1"
MAX_ATTEMPTS = 10
"""Takeovers of a record that stays UNKNOWN before it is parked."""
RESOLVE_TRIES = 3
NO_RESULT = "its result could not be kept"
"""Reason of a DONE record whose effect happened but whose result can't be given again."""
SETTLED = (DONE, FAILED)
"""States that end by themselves after the ledger's retention, counted from when they were reached."""
DIMENSION = "function"
"""Dimension of the metric `effects_parked`, as of every invocation metric."""
ROUNDS = 8


class Contract(StrEnum):
    """What the downstream of an effect can do for its safety."""

    KEYED = "KEYED"
    QUERYABLE = "QUERYABLE"
    COMPENSABLE = "COMPENSABLE"
    OPAQUE = "OPAQUE"


class Done:
    """A resolver's answer: it happened, with this result."""

    __slots__ = ("result",)

    def __init__(self, result: Any = None) -> None:
        self.result = result


class _Answer(StrEnum):
    NOT_DONE = "NOT_DONE"
    UNSURE = "UNSURE"


NOT_DONE = _Answer.NOT_DONE
"""A resolver's answer: it did not happen, and nothing of it is on its way."""
UNSURE = _Answer.UNSURE
"""A resolver's answer: ask again later."""


class NotApplied(Exception):
    """Raised by `run` when it knows that nothing happened; `cause` is what the caller gets to see."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Attempt:
    """What `run`, `resolve` and `compensate` may need. `effect_key` is the same for every attempt of a key."""

    __slots__ = ("attempts", "deadline", "effect_key", "epoch", "owner")

    def __init__(self, record: Record, deadline: Deadline) -> None:
        self.effect_key = record.effect_key
        self.epoch = record.epoch
        """Fencing token: higher than that of every earlier owner."""
        self.owner = record.owner
        self.attempts = record.attempts
        self.deadline = deadline


class EffectResult:
    """`value` is the result, `duplicate_prevented` tells that it was not this call that performed the effect."""

    __slots__ = ("duplicate_prevented", "epoch", "value")

    def __init__(self, value: Any, duplicate_prevented: bool, epoch: int) -> None:
        self.value = value
        self.duplicate_prevented = duplicate_prevented
        self.epoch = epoch


class Claims:
    """Results too large for the ledger, in S3 under the digest of their bytes."""

    def __init__(self, s3: S3, bucket: str, prefix: str = "claims/") -> None:
        self.s3 = s3
        self.bucket = bucket
        self.prefix = prefix

    def put(self, data: bytes, deadline: Deadline) -> str:
        """Store the bytes and return their address.

        Written again even where they stand: the bucket forgets an object by its age, which must not be above that of
        the last record that refers to it.
        """
        key = f"{self.prefix}{hashlib.sha256(data).hexdigest()}"
        self.s3.put(self.bucket, key, data, deadline=deadline)
        return f"s3://{self.bucket}/{key}"

    def get(self, address: str, deadline: Deadline) -> bytes:
        """Read them back.

        Raises:
            DigestMismatch: they are no longer what was stored.
        """
        bucket, _, key = address.removeprefix("s3://").partition("/")
        data = self.s3.get(bucket, key, deadline=deadline).body
        actual, expected = hashlib.sha256(data).hexdigest(), key.rpartition("/")[2]
        if actual != expected:
            raise DigestMismatch(f"effect result {address}", f"sha256 {actual}", allowed=f"sha256 {expected}")
        return data


class _Call:
    """One call of `effect`, with everything its steps share."""

    __slots__ = ("compensate", "contract", "deadline", "key", "needs_s", "park", "pk", "resolve", "run")

    def __init__(
        self,
        key: str,
        pk: str,
        contract: Contract,
        run: Callable[[Attempt], Any],
        resolve: Callable[[Attempt], Any] | None,
        compensate: Callable[[Attempt], Any] | None,
        park: bool,
        deadline: Deadline,
        needs_s: float,
    ) -> None:
        self.key = key
        self.pk = pk
        self.contract = contract
        self.run = run
        self.resolve = resolve
        self.compensate = compensate
        self.park = park
        self.deadline = deadline
        self.needs_s = needs_s


class Effects:
    """Performs effects against one ledger. Safe to share between threads."""

    def __init__(
        self,
        store: Store,
        *,
        claims: Claims | None = None,
        new_owner: Callable[[], str] | None = None,
        draw: Callable[[], float] = uniform,
        sleep: Callable[[float], None] = time.sleep,
        retention_s: float = DEFAULT_LEDGER_RETENTION_S,
        grace_s: float = GRACE_S,
        max_attempts: int = MAX_ATTEMPTS,
    ) -> None:
        self._store = store
        self._claims = claims
        self._new_owner = new_owner or _random_owner
        self._draw = draw
        self._sleep = sleep
        self._retention_s = retention_s
        self._grace_s = grace_s
        self._max_attempts = max_attempts
        self._active: set[tuple[int, str]] = set()

    def effect(
        self,
        key: str,
        *,
        contract: Contract,
        payload: Any,
        run: Callable[[Attempt], Any],
        deadline: Deadline,
        resolve: Callable[[Attempt], Any] | None = None,
        compensate: Callable[[Attempt], Any] | None = None,
        on_ambiguous: str | None = None,
        needs_s: float = 1.0,
        step: str = DEFAULT_STEP,
        version: str = DEFAULT_VERSION,
    ) -> EffectResult:
        """Perform an effect once, or answer with the result of the time it was performed.

        `payload` is what the key stands for, as JSON; only its hash is kept. `needs_s` is the most that `run` takes,
        in seconds. `step` and `version` tell effects of one key apart, here and in the effect key. `on_ambiguous` is
        "retry" (the default: EffectUnknown until the resolver knows) or "park".

        Raises:
            EffectInProgress: another invocation holds the lease, come back after `retry_after_s`.
            EffectUnknown: it may have happened; a later call asks the resolver again.
            EffectParked: a person has to decide.
            PayloadConflict: the key was used for another payload.
            StaleOwner: this invocation was superseded; its result does not count.
            DeadlineExceeded: less than `needs_s` is left; nothing was started.
            EffectMisuse, BadEvent: the declaration, or the key, can't be used.
        """
        _check_key(key)
        _check_declaration(key, contract, resolve, compensate, on_ambiguous)
        payload_hash = hash_payload(payload)
        deadline.require(needs_s, f"effect {key}")
        pk = record_key(key, step, version)
        me = (threading.get_ident(), pk)
        if me in self._active:
            raise EffectMisuse(
                f"effect {key}", "the same key inside itself", because="it would wait for its own lease",
                fix="use another key for the inner effect",
            )  # fmt: skip
        call = _Call(key, pk, contract, run, resolve, compensate, on_ambiguous == "park", deadline, needs_s)
        self._active.add(me)
        try:
            return self._drive(call, payload_hash, effect_key(key, step, version))
        finally:
            self._active.discard(me)

    def settle(
        self,
        key: str,
        *,
        done: bool,
        result: Any = None,
        deadline: Deadline | None = None,
        step: str = DEFAULT_STEP,
        version: str = DEFAULT_VERSION,
    ) -> None:
        """Decide a PARKED record by hand: it happened (`done`, with its result), or it did not and may run.

        Raises:
            EffectMisuse: the record is not parked.
        """
        deadline = deadline or Deadline.after(30.0)
        standing = self._store.get(record_key(key, step, version), deadline)
        if standing is None or standing.state != PARKED:
            state = "no record" if standing is None else f"state {standing.state}"
            raise EffectMisuse(
                f"effect {key}", state, allowed=f"state {PARKED}", fix="only parked effects are settled"
            )
        settled = standing.but(
            state=DONE if done else FAILED,
            owner=self._new_owner(),
            epoch=standing.epoch + 1,
            expiry=self._expiry(),
            result=_encode(key, result)[0] if done else None,
            reason="settled by hand",
        )
        if not self._store.swap(standing, settled, deadline):
            raise StaleOwner(f"effect {key}", "a record that changed meanwhile")

    # -- getting hold of the record

    def _drive(self, call: _Call, payload_hash: str, key_for_downstream: str) -> EffectResult:
        owner = self._new_owner()
        for _ in range(ROUNDS):
            now_s = self._store.now_s()
            mine = Record(
                pk=call.pk,
                state=INPROGRESS,
                owner=owner,
                epoch=1,
                lease_until=now_s + call.deadline.remaining_s(),
                attempts=1,
                payload_hash=payload_hash,
                effect_key=key_for_downstream,
            )
            standing = self._store.put_new(mine, call.deadline)
            if standing is None:
                return self._perform(call, self._on_their_clock(call, mine))
            now_s = self._store.now_s()
            if standing.expiry is not None and standing.expiry <= now_s and standing.state in SETTLED:
                fresh = mine.but(epoch=standing.epoch + 1)
                if self._store.swap(standing, fresh, call.deadline):
                    return self._perform(call, fresh)
                continue
            if standing.effect_key != key_for_downstream:
                raise PayloadConflict(
                    f"effect {call.key}",
                    f"effect key {key_for_downstream}",
                    allowed=f"effect key {standing.effect_key}",
                )
            if standing.payload_hash != payload_hash:
                raise PayloadConflict(
                    f"effect {call.key}",
                    f"a payload with sha256 {payload_hash}",
                    allowed=f"sha256 {standing.payload_hash}",
                )
            if standing.state == DONE:
                return EffectResult(self._result_of(standing, call.deadline), True, standing.epoch)
            if standing.state == PARKED:
                raise EffectParked(f"effect {call.key}", f"a parked record ({standing.reason})")
            taken = self._take_over(call, standing, owner, now_s)
            if taken is not None:
                return self._perform(call, taken) if taken.state == INPROGRESS else self._settle(call, taken)
        raise EffectInProgress(
            f"effect {call.key}", f"a record that changed {ROUNDS} times while it was read", retry_after_s=1.0
        )

    def _on_their_clock(self, call: _Call, mine: Record) -> Record:
        """Write the lease again when the store's clock turned out to be another one than ours (F16)."""
        lease_until = self._store.now_s() + call.deadline.remaining_s()
        if abs(lease_until - mine.lease_until) < self._grace_s:
            return mine
        corrected = mine.but(lease_until=lease_until)
        if not self._store.swap(mine, corrected, call.deadline):
            raise StaleOwner(f"effect {call.key}", f"owner {mine.owner} epoch {mine.epoch}")
        return corrected

    def _take_over(self, call: _Call, standing: Record, owner: str, now_s: float) -> Record | None:
        """Make the record ours with the next epoch; None when somebody was faster."""
        free_at_s = standing.lease_until + self._grace_s
        if standing.state != FAILED and now_s < free_at_s:
            raise EffectInProgress(
                f"effect {call.key}",
                f"owner {standing.owner} epoch {standing.epoch} in state {standing.state}",
                retry_after_s=free_at_s - now_s,
            )
        fault.point("effect.take_over")
        taken = standing.but(
            # An attempt that ended without having happened is free to run; anything else may have happened.
            state=INPROGRESS if standing.state == FAILED else UNKNOWN,
            owner=owner,
            epoch=standing.epoch + 1,
            attempts=standing.attempts + 1,
            lease_until=now_s + call.deadline.remaining_s(),
            expiry=None,
            reason=None,
        )
        return taken if self._store.swap(standing, taken, call.deadline) else None

    # -- the effect itself

    def _perform(self, call: _Call, mine: Record) -> EffectResult:
        if call.deadline.remaining_s() < call.needs_s:
            self._write(call, mine, mine.but(state=FAILED, reason="no time left to start"))
            call.deadline.require(call.needs_s, f"effect {call.key}")
        fault.point("effect.run")
        try:
            value = call.run(Attempt(mine, call.deadline))
        except NotApplied as known:
            self._write(call, mine, mine.but(state=FAILED, reason=type(known.cause).__name__))
            raise known.cause from known
        except Exception as error:
            # Whatever the error says, `run` may have made more than one call: only NotApplied is certain.
            return self._doubt(call, mine, error)
        fault.point("effect.ran")
        return self._commit(call, mine, value, duplicate_prevented=False)

    def _commit(self, call: _Call, mine: Record, value: Any, *, duplicate_prevented: bool) -> EffectResult:
        text, problem = _encode(call.key, value)
        done = mine.but(state=DONE, result=text, reason=None if problem is None else NO_RESULT)
        if text is not None and len(text) > MAX_INLINE_BYTES:
            if self._claims is None:
                problem = BadResult(
                    f"effect {call.key} result", f"{len(text):,} bytes",
                    allowed=f"at most {MAX_INLINE_BYTES:,} bytes without a claim bucket",
                    because="a ledger record holds no more", fix="set KEEPWARM_CLAIM_BUCKET",
                )  # fmt: skip
                done = mine.but(state=DONE, result="null", reason=NO_RESULT)
            else:
                fault.point("effect.claim")
                address = self._claims.put(text.encode(), call.deadline)
                done = mine.but(state=DONE, result=None, result_ref=address, reason=None)
        fault.point("effect.commit")
        try:
            self._write(call, mine, done)
        except AwsFault as error:
            # It happened, but the ledger does not know yet: the lease runs out and the contract decides.
            raise EffectUnknown(f"effect {call.key}", "no answer to its commit") from error
        fault.point("effect.committed")
        if problem is not None:
            raise problem
        return EffectResult(value, duplicate_prevented, done.epoch)

    def _doubt(self, call: _Call, mine: Record, error: Exception) -> EffectResult:
        """Handle a failure after which the effect may have happened, or may not."""
        fault.point("effect.doubt")
        unknown = mine.but(state=UNKNOWN, reason=type(error).__name__)
        self._write(call, mine, unknown)
        emit({"event": "keepwarm.effect_unknown", "effect_key": mine.effect_key, "error": error_facts(error)})
        if call.contract is Contract.OPAQUE:
            self._park(call, unknown, error)
        if call.resolve is not None:
            answer = self._ask(call, unknown)
            if isinstance(answer, Done):
                return self._commit(call, unknown, answer.result, duplicate_prevented=False)
            if answer is NOT_DONE:
                self._write(call, unknown, unknown.but(state=FAILED, reason=type(error).__name__))
                raise error
        return self._leave(call, unknown, error)

    def _settle(self, call: _Call, mine: Record) -> EffectResult:
        """Find out what a dead predecessor did, and finish what it did not."""
        fault.point("effect.settle")
        if call.contract is Contract.OPAQUE:
            self._park(call, mine, None)
        if call.resolve is not None:
            answer = self._ask(call, mine)
            if isinstance(answer, Done):
                return self._commit(call, mine, answer.result, duplicate_prevented=True)
            if answer is not NOT_DONE:
                return self._leave(call, mine, None)
        elif call.contract is Contract.COMPENSABLE:
            assert call.compensate is not None
            fault.point("effect.compensate")
            try:
                call.compensate(Attempt(mine, call.deadline))
            except Exception as error:
                return self._leave(call, mine, error)
            fault.point("effect.compensated")
        running = mine.but(state=INPROGRESS, reason=None)
        self._write(call, mine, running)
        return self._perform(call, running)

    def _ask(self, call: _Call, mine: Record) -> Done | _Answer:
        assert call.resolve is not None
        for attempt in range(RESOLVE_TRIES):
            fault.point("effect.resolve")
            try:
                answer = call.resolve(Attempt(mine, call.deadline))
            except Exception as error:
                emit(
                    {
                        "event": "keepwarm.resolver_failed",
                        "effect_key": mine.effect_key,
                        "error": error_facts(error),
                    }
                )
                answer = UNSURE
            if isinstance(answer, Done) or answer is NOT_DONE:
                return answer
            if answer is not UNSURE:
                raise EffectMisuse(
                    f"effect {call.key} resolver", repr(answer)[:80], allowed="Done(result), NOT_DONE or UNSURE",
                    because="anything else is a guess", fix="return one of them",
                )  # fmt: skip
            pause_s = self._draw() * 0.1 * 2**attempt
            if attempt + 1 == RESOLVE_TRIES or pause_s >= call.deadline.remaining_s():
                break
            self._sleep(pause_s)
        return UNSURE

    def _leave(self, call: _Call, mine: Record, error: Exception | None) -> EffectResult:
        """Give the record back as UNKNOWN, or park it when that has been done often enough."""
        if call.park or mine.attempts >= self._max_attempts:
            self._park(call, mine, error)
        now_s = self._store.now_s()
        self._write(
            call, mine, mine.but(state=UNKNOWN, lease_until=now_s - self._grace_s, reason="unresolved")
        )
        if isinstance(error, RuntimeFault):
            # Its own class says better whether and when a retry makes sense; the record keeps the doubt.
            raise error
        raise EffectUnknown(f"effect {call.key}", f"no certainty after {mine.attempts} attempts") from error

    def _park(self, call: _Call, mine: Record, error: Exception | None) -> None:
        reason = "may have happened" if error is None else f"may have happened ({type(error).__name__})"
        fault.point("effect.park")
        self._write(call, mine, mine.but(state=PARKED, reason=reason))
        # It waits for a person, for as long as that takes: whoever alarms on this metric learns of it.
        emit(
            {"event": "keepwarm.effect_parked", "effect_key": mine.effect_key, "reason": reason},
            {"effects_parked": (1, "Count")},
            dimension=(DIMENSION, os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "local")),
        )
        raise EffectParked(f"effect {call.key}", f"doubt after attempt {mine.attempts}") from error

    def _expiry(self) -> int:
        return int(self._store.now_s() + self._retention_s)

    def _write(self, call: _Call, seen: Record, new: Record) -> None:
        new = new.but(expiry=self._expiry() if new.state in SETTLED else None)
        if not self._store.swap(seen, new, _last_moment(call.deadline)):
            raise StaleOwner(f"effect {call.key}", f"owner {seen.owner} epoch {seen.epoch}")

    def _result_of(self, record: Record, deadline: Deadline) -> Any:
        if record.reason == NO_RESULT:
            raise BadResult(
                f"effect {record.pk} result", "a result that was not kept: it was no JSON, or too large",
                because="the effect happened, but nobody can say what it answered",
                fix="correct the function, and look at the downstream for the answer",
            )  # fmt: skip
        if record.result_ref is not None:
            if self._claims is None:
                raise InvalidSettings(
                    "KEEPWARM_CLAIM_BUCKET",
                    "nothing",
                    allowed="the claim bucket",
                    because=f"the result is in {record.result_ref}",
                )
            return json.loads(self._claims.get(record.result_ref, deadline))
        return None if record.result is None else json.loads(record.result)


def record_key(key: str, step: str = DEFAULT_STEP, version: str = DEFAULT_VERSION) -> str:
    """Key of an effect's record: the idempotency key, with step and version where they are not the default ones."""
    return key if (step, version) == (DEFAULT_STEP, DEFAULT_VERSION) else f"{key}|{step}|{version}"


def effect_key(key: str, step: str = DEFAULT_STEP, version: str = DEFAULT_VERSION) -> str:
    """Key for the downstream: the same for every attempt, owner and redelivery."""
    return hashlib.sha256(f"{key}|{step}|{version}".encode()).hexdigest()


def hash_payload(payload: Any) -> str:
    """SHA-256 of the payload's canonical JSON.

    Raises:
        BadEvent: it is not JSON, or holds NaN.
    """
    try:
        text = json.dumps(payload, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadEvent(
            "effect payload", f"{type(payload).__name__}: {error}", allowed="JSON without NaN"
        ) from error
    return hashlib.sha256(text.encode()).hexdigest()


def _random_owner() -> str:
    import uuid

    return uuid.uuid4().hex


def _last_moment(deadline: Deadline) -> Deadline:
    """Give the write that records an outcome a second, even when the invocation's own time is up."""
    return deadline if deadline.remaining_s() >= 1.0 else Deadline.after(1.0)


def _check_key(key: object) -> None:
    if isinstance(key, str) and key.strip() and len(key.encode("utf-8", "replace")) <= MAX_KEY_BYTES:
        return
    got = f"{len(key):,} characters" if isinstance(key, str) and key.strip() else repr(key)[:80]
    raise BadEvent(
        "idempotency key",
        got,
        allowed=f"text of 1 to {MAX_KEY_BYTES:,} bytes",
        fix="derive it from the event",
    )


def _check_declaration(
    key: str, contract: object, resolve: object, compensate: object, on_ambiguous: str | None
) -> None:
    who = f"effect {key}"
    if not isinstance(contract, Contract):
        raise EffectMisuse(
            who,
            f"contract {contract!r}",
            allowed=", ".join(Contract),
            because="it decides what happens after a crash",
        )
    if on_ambiguous not in (None, "retry", "park"):
        raise EffectMisuse(who, f"on_ambiguous={on_ambiguous!r}", allowed="'retry' or 'park'")
    if contract is Contract.OPAQUE and on_ambiguous != "park":
        raise EffectMisuse(
            who, f"contract OPAQUE with on_ambiguous={on_ambiguous!r}", allowed="on_ambiguous='park'",
            because="nobody can tell whether it happened", fix="say 'park', or use a downstream with a key or a query",
        )  # fmt: skip
    if contract is Contract.QUERYABLE and resolve is None:
        raise EffectMisuse(
            who, "contract QUERYABLE without resolve", allowed="a resolver",
            because="it is who knows after a crash", fix="pass resolve=",
        )  # fmt: skip
    if contract is Contract.COMPENSABLE and compensate is None:
        raise EffectMisuse(
            who, "contract COMPENSABLE without compensate", allowed="a function that takes the effect back",
            because="it runs before the second try", fix="pass compensate=",
        )  # fmt: skip


def _encode(key: str, value: Any) -> tuple[str | None, BadResult | None]:
    """Encode a result; one that can't be is recorded as null, because the effect did happen."""
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False), None
    except (TypeError, ValueError, RecursionError) as error:
        return "null", BadResult(
            f"effect {key} result", f"{type(value).__name__}: {error}", allowed="JSON without NaN"
        )
