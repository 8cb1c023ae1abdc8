"""The effect ledger: once, or visibly in doubt, whatever dies when.

Proves: every contract at every crash point of a real process (SIGKILL) and in thousands of random histories
(Hypothesis): no effect twice, none lost, superseded owners can't write, one key one result. The rules of records, leases,
payloads and declarations, with whole error texts; the DynamoDB store equal to the one in memory.
Does not prove: a downstream that applies a request after its resolver said NOT_DONE; no ledger can.
"""

# Error texts are asserted whole and on one line.
# ruff: noqa: E501

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from keepwarm_runtime import fault
from keepwarm_runtime.aws import S3, Aws
from keepwarm_runtime.deadline import Deadline
from keepwarm_runtime.effects import (
    NOT_DONE,
    UNSURE,
    Attempt,
    Claims,
    Contract,
    Done,
    EffectResult,
    Effects,
    NotApplied,
    effect_key,
)
from keepwarm_runtime.errors import (
    BadDocument,
    BadEvent,
    BadResult,
    DeadlineExceeded,
    DigestMismatch,
    EffectInProgress,
    EffectMisuse,
    EffectParked,
    EffectUnknown,
    InvalidSettings,
    LedgerUnusable,
    Overloaded,
    PayloadConflict,
    RuntimeFault,
    StaleOwner,
)
from keepwarm_runtime.ledger import (
    DONE,
    FAILED,
    INPROGRESS,
    PARKED,
    UNKNOWN,
    DynamoStore,
    MemoryStore,
    Record,
)
from tests.support.fake_aws import FakeAws, Fault, Seen
from tests.support.file_ledger import Downstream, FileStore, perform

ROOT = Path(__file__).parents[2]
CONTRACTS = [contract.value for contract in Contract]

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
"""Forking beside the threads of the fake server is what these tests do; Python 3.12 warns."""


class Clock:
    """Epoch seconds by hand."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    return MemoryStore(clock)


@pytest.fixture
def effects(store: MemoryStore) -> Effects:
    return Effects(store, draw=lambda: 0.0, sleep=lambda _s: None)


def perform_keyed(
    effects: Effects, run: Callable[[Attempt], Any], key: str = "k", **changes: Any
) -> EffectResult:
    arguments: dict[str, Any] = {
        "contract": Contract.KEYED, "payload": {"a": 1}, "deadline": Deadline.after(60.0), "run": run,
    }  # fmt: skip
    return effects.effect(key, **{**arguments, **changes})


def boom(_attempt: Attempt) -> Any:
    raise ConnectionResetError("reply dropped")


# -- the rules


def test_given_a_done_effect_when_called_again_then_the_stored_result_and_no_second_run(
    effects: Effects, store: MemoryStore
) -> None:
    runs: list[str] = []

    def run(attempt: Attempt) -> Any:
        runs.append(attempt.effect_key)
        return {"n": 1}

    first = perform_keyed(effects, run)
    second = perform_keyed(effects, run)
    assert (first.value, first.duplicate_prevented, first.epoch) == ({"n": 1}, False, 1)
    assert (second.value, second.duplicate_prevented) == ({"n": 1}, True)
    assert runs == [effect_key("k")]
    assert store.records["k"].state == DONE
    assert store.records["k"].expiry == 1_000_000 + 15 * 86_400


def test_given_a_retention_when_effects_end_then_only_settled_records_expire(
    store: MemoryStore, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    day_s = 86_400.0
    effects = Effects(store, retention_s=2 * day_s)
    perform_keyed(effects, lambda _a: 1, key="done")
    assert store.records["done"].expiry == int(clock.now + 2 * day_s)

    def doubtful(_attempt: Attempt) -> Any:
        assert store.records["parked"].expiry is None
        raise ConnectionResetError("reply dropped")

    with pytest.raises(EffectParked):
        effects.effect(
            "parked",
            contract=Contract.OPAQUE,
            payload={},
            run=doubtful,
            deadline=Deadline.after(30),
            on_ambiguous="park",
        )
    assert store.records["parked"].expiry is None
    parked = [
        line for line in map(json.loads, capsys.readouterr().out.splitlines()) if "effects_parked" in line
    ]
    assert [(line["event"], line["effects_parked"], line["function"]) for line in parked] == [
        ("keepwarm.effect_parked", 1, "local")
    ]
    clock.now += 20 * day_s
    with pytest.raises(EffectParked):
        effects.effect(
            "parked",
            contract=Contract.OPAQUE,
            payload={},
            run=doubtful,
            deadline=Deadline.after(30),
            on_ambiguous="park",
        )
    effects.settle("parked", done=True, result=7)
    assert store.records["parked"].expiry == int(clock.now + 2 * day_s)


def test_given_a_failed_effect_when_taken_up_again_then_it_does_not_expire_meanwhile(
    store: MemoryStore, effects: Effects
) -> None:
    def refuse(_attempt: Attempt) -> Any:
        raise NotApplied(ValueError("full"))

    def look(_attempt: Attempt) -> Any:
        return store.records["k"].expiry

    with pytest.raises(ValueError, match="full"):
        perform_keyed(effects, refuse)
    assert store.records["k"].expiry is not None
    assert perform_keyed(effects, look).value is None


def test_given_two_steps_of_one_key_when_performed_then_both_run_once(
    effects: Effects, store: MemoryStore
) -> None:
    runs: list[str] = []

    def note(step: str, _attempt: Attempt) -> None:
        runs.append(step)

    for step in ("mail", "invoice", "mail", "effect", "invoice"):
        perform_keyed(effects, partial(note, step), step=step)
    perform_keyed(effects, lambda _a: runs.append("mail 2"), step="mail", version="2")
    assert runs == ["mail", "invoice", "effect", "mail 2"]
    assert set(store.records) == {"k|mail|1", "k|invoice|1", "k", "k|mail|2"}


def test_given_a_key_that_looks_like_a_step_when_performed_then_refused_and_not_run(effects: Effects) -> None:
    perform_keyed(effects, lambda _a: 1, step="mail")
    with pytest.raises(PayloadConflict, match=r"^KW345 effect k\|mail\|1: got effect key "):
        perform_keyed(effects, lambda _a: pytest.fail("ran"), key="k|mail|1")


def test_given_a_parked_step_when_settled_then_by_its_step(effects: Effects, store: MemoryStore) -> None:
    with pytest.raises(EffectParked):
        perform_keyed(effects, boom, contract=Contract.OPAQUE, on_ambiguous="park", step="mail")
    with pytest.raises(EffectMisuse, match="got no record"):
        effects.settle("k", done=True)
    effects.settle("k", done=True, result=7, step="mail")
    assert perform_keyed(effects, boom, step="mail").value == 7


def test_given_a_result_that_cant_be_kept_when_called_again_then_the_same_refusal(effects: Effects) -> None:
    runs: list[int] = []

    def run(_attempt: Attempt) -> Any:
        runs.append(1)
        return {1, 2}

    with pytest.raises(BadResult, match=r"^KW303 effect k result: got set: "):
        perform_keyed(effects, run)
    with pytest.raises(BadResult) as caught:
        perform_keyed(effects, run)
    assert str(caught.value).startswith(
        "KW303 effect k result: got a result that was not kept: it was no JSON, or too large; allowed "
    )
    assert runs == [1]


def test_given_a_live_lease_when_another_comes_then_in_progress_with_the_time_left(
    effects: Effects, clock: Clock
) -> None:
    def run(_attempt: Attempt) -> Any:
        other = Effects(effects._store, new_owner=lambda: "other")
        with pytest.raises(EffectInProgress) as caught:
            threadless(other)
        assert 61.9 < caught.value.retry_after_s <= 62.0
        assert str(caught.value).startswith("KW342 effect k: got owner ")
        assert str(caught.value).endswith(
            " epoch 1 in state INPROGRESS; because another invocation is performing it; fix: retry after 62.0 s"
        )

    def threadless(other: Effects) -> None:
        perform_keyed(other, lambda _a: pytest.fail("ran twice"))

    perform_keyed(effects, run)


def test_given_no_time_left_when_calling_then_nothing_is_written_or_run(
    effects: Effects, store: MemoryStore
) -> None:
    with pytest.raises(DeadlineExceeded) as caught:
        perform_keyed(effects, lambda _a: pytest.fail("ran"), deadline=Deadline.after(0.0))
    assert store.records == {}
    assert str(caught.value) == (
        "KW322 effect k: got 0 ms left; allowed at least 1000 ms; because starting it would be cut off by the platform; fix: retry "
        "with more time, or raise the timeout"
    )


def test_given_another_payload_when_calling_with_the_key_then_conflict_naming_both(
    effects: Effects, store: MemoryStore
) -> None:
    perform_keyed(effects, lambda _a: 1)
    with pytest.raises(PayloadConflict) as caught:
        perform_keyed(effects, lambda _a: 2, payload={"a": 2})
    assert str(caught.value) == (
        "KW345 effect k: got a payload with sha256 d7afa48f3ef9d6eb3eb2a86e57a73e9cd0d3dd5e6d0bb1c7a7a54a6bcd6c3e13; allowed sha256 "
        f"{store.records['k'].payload_hash}; because answering with the first result would hide the difference; fix: use a key "
        "that includes everything that changes the effect"
    ).replace("d7afa48f3ef9d6eb3eb2a86e57a73e9cd0d3dd5e6d0bb1c7a7a54a6bcd6c3e13", _hash({"a": 2}))


def _hash(payload: Any) -> str:
    from keepwarm_runtime.effects import hash_payload

    return hash_payload(payload)


@pytest.mark.parametrize("key", [None, "", "  ", {}, 1, float("nan"), "x" * 1025])
def test_given_a_key_that_is_none_when_calling_then_refused(effects: Effects, key: Any) -> None:
    with pytest.raises(
        BadEvent, match=r"^KW301 idempotency key: got .*; allowed text of 1 to 1,024 bytes; because "
    ):
        perform_keyed(effects, lambda _a: pytest.fail("ran"), key)


@pytest.mark.parametrize("payload", [float("nan"), {"a": float("inf")}, {1: object()}, b"x"])
def test_given_a_payload_that_is_no_json_when_calling_then_refused(effects: Effects, payload: Any) -> None:
    with pytest.raises(BadEvent, match=r"^KW301 effect payload: got "):
        perform_keyed(effects, lambda _a: pytest.fail("ran"), payload=payload)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"contract": "KEYED?"},
         "KW346 effect k: got contract 'KEYED?'; allowed KEYED, QUERYABLE, COMPENSABLE, OPAQUE; because it decides what happens "
         "after a crash"),
        ({"contract": Contract.OPAQUE},
         "KW346 effect k: got contract OPAQUE with on_ambiguous=None; allowed on_ambiguous='park'; because nobody can tell whether "
         "it happened; fix: say 'park', or use a downstream with a key or a query"),
        ({"contract": Contract.QUERYABLE},
         "KW346 effect k: got contract QUERYABLE without resolve; allowed a resolver; because it is who knows after a crash; fix: "
         "pass resolve="),
        ({"contract": Contract.COMPENSABLE},
         "KW346 effect k: got contract COMPENSABLE without compensate; allowed a function that takes the effect back; because it "
         "runs before the second try; fix: pass compensate="),
        ({"on_ambiguous": "ignore"}, "KW346 effect k: got on_ambiguous='ignore'; allowed 'retry' or 'park'"),
    ],
)  # fmt: skip
def test_given_an_unsafe_declaration_when_calling_then_refused(
    effects: Effects, changes: dict[str, Any], text: str
) -> None:
    with pytest.raises(EffectMisuse) as caught:
        perform_keyed(effects, lambda _a: pytest.fail("ran"), **changes)
    assert str(caught.value) == text


def test_given_the_same_key_inside_itself_when_calling_then_refused_instead_of_waiting(
    effects: Effects,
) -> None:
    def run(_attempt: Attempt) -> Any:
        perform_keyed(effects, lambda _a: 1)

    with pytest.raises(
        EffectMisuse,
        match=r"^KW346 effect k: got the same key inside itself; because it would wait for its own",
    ):
        perform_keyed(effects, run)


def test_given_not_applied_when_running_then_the_cause_is_raised_and_the_next_call_runs(
    effects: Effects, store: MemoryStore
) -> None:
    def refuse(_attempt: Attempt) -> Any:
        raise NotApplied(Overloaded("ledger", "HTTP 429", retry_after_s=3.0))

    with pytest.raises(Overloaded):
        perform_keyed(effects, refuse)
    assert store.records["k"].state == FAILED
    assert perform_keyed(effects, lambda attempt: attempt.epoch).value == 2


@pytest.mark.parametrize(("answer", "state"), [(Done({"n": 7}), DONE), (NOT_DONE, FAILED), (UNSURE, UNKNOWN)])
def test_given_a_dropped_reply_when_the_resolver_is_asked_then_its_word_counts(
    effects: Effects, store: MemoryStore, answer: Any, state: str
) -> None:
    asked: list[int] = []

    def resolve(attempt: Attempt) -> Any:
        asked.append(attempt.epoch)
        return answer

    arguments: dict[str, Any] = {"contract": Contract.QUERYABLE, "resolve": resolve}
    if state == DONE:
        result = perform_keyed(effects, boom, **arguments)
        assert (result.value, result.duplicate_prevented) == ({"n": 7}, False)
    else:
        with pytest.raises(ConnectionResetError if state == FAILED else EffectUnknown):
            perform_keyed(effects, boom, **arguments)
    assert store.records["k"].state == state
    assert len(asked) == (3 if answer is UNSURE else 1)


def test_given_a_resolver_that_fails_or_babbles_when_asked_then_no_guess(
    effects: Effects, store: MemoryStore
) -> None:
    def fail(_attempt: Attempt) -> Any:
        raise TimeoutError("query timed out")

    with pytest.raises(EffectUnknown) as caught:
        perform_keyed(effects, boom, contract=Contract.QUERYABLE, resolve=fail)
    assert str(caught.value) == (
        "KW343 effect k: got no certainty after 1 attempts; because running it again could do it twice; fix: retry after 1.0 s; "
        "the resolver is asked first"
    )
    assert store.records["k"].state == UNKNOWN
    with pytest.raises(
        EffectMisuse,
        match=r"^KW346 effect k resolver: got True; allowed Done\(result\), NOT_DONE or UNSURE; ",
    ):
        perform_keyed(effects, boom, contract=Contract.QUERYABLE, resolve=lambda _a: True)


def test_given_doubt_that_stays_when_called_often_enough_then_parked_and_settled_by_hand(
    store: MemoryStore,
) -> None:
    effects = Effects(store, draw=lambda: 0.0, sleep=lambda _s: None, max_attempts=3)
    unsure: dict[str, Any] = {"contract": Contract.QUERYABLE, "resolve": lambda _a: UNSURE}
    for _ in range(2):
        with pytest.raises(EffectUnknown):
            perform_keyed(effects, boom, **unsure)
    with pytest.raises(EffectParked):
        perform_keyed(effects, boom, **unsure)
    with pytest.raises(EffectParked) as caught:
        perform_keyed(effects, boom, **unsure)
    assert str(caught.value) == (
        "KW344 effect k: got a parked record (may have happened); because it may have happened once and nothing can tell; fix: look "
        "at the downstream, then settle the record as DONE or FAILED"
    )
    effects.settle("k", done=True, result={"n": 3})
    assert perform_keyed(effects, boom, **unsure).value == {"n": 3}
    with pytest.raises(EffectMisuse, match=r"^KW346 effect k: got state DONE; allowed state PARKED; "):
        effects.settle("k", done=False)


def test_given_a_parked_effect_settled_as_not_done_when_called_then_it_runs(effects: Effects) -> None:
    opaque: dict[str, Any] = {"contract": Contract.OPAQUE, "on_ambiguous": "park"}
    with pytest.raises(EffectParked):
        perform_keyed(effects, boom, **opaque)
    effects.settle("k", done=False)
    assert perform_keyed(effects, lambda _a: 5, **opaque).value == 5


def test_given_a_permanent_failure_of_a_keyed_effect_when_running_then_its_own_class_is_raised(
    effects: Effects,
) -> None:
    def run(_attempt: Attempt) -> Any:
        raise BadDocument("a.pdf", "nothing")

    with pytest.raises(BadDocument):
        perform_keyed(effects, run)


def test_given_a_lease_that_ran_out_when_the_first_owner_wakes_up_then_it_is_fenced(
    effects: Effects, store: MemoryStore, clock: Clock
) -> None:
    def sleepy(attempt: Attempt) -> Any:
        clock.now += 63.0
        taken = perform_keyed(Effects(store), lambda other: other.epoch)
        assert taken.value == 2
        return "too late"

    with pytest.raises(StaleOwner) as caught:
        perform_keyed(effects, sleepy)
    assert str(caught.value).startswith("KW341 effect k: got owner ")
    assert store.records["k"].result == "2"


def test_given_two_who_take_over_when_one_is_faster_then_the_other_does_not_run(clock: Clock) -> None:
    class Raced(MemoryStore):
        """Somebody else takes the record over between our read and our write."""

        def swap(self, seen: Record, new: Record, deadline: Deadline) -> bool:
            if new.owner == "late" and self.records["k"].owner == "dead":
                self.records["k"] = seen.but(
                    owner="fast", epoch=2, lease_until=clock.now + 60.0, state=UNKNOWN
                )
            return super().swap(seen, new, deadline)

    store = Raced(clock)
    store.records["k"] = Record(
        "k", INPROGRESS, "dead", 1, 0.0, 1, _hash({"a": 1}), effect_key("k"), 2_000_000_000
    )
    with pytest.raises(EffectInProgress, match=r"^KW342 effect k: got owner fast epoch 2 in state UNKNOWN; "):
        perform_keyed(Effects(store, new_owner=lambda: "late"), lambda _a: pytest.fail("ran"))


def test_given_a_lease_just_over_when_another_comes_then_it_waits_for_the_grace(
    store: MemoryStore, clock: Clock
) -> None:
    class Killed(BaseException):
        pass

    def die(_attempt: Attempt) -> Any:
        raise Killed

    with pytest.raises(Killed):
        perform_keyed(Effects(store), die)
    clock.now += 61.0
    with pytest.raises(EffectInProgress) as caught:
        perform_keyed(Effects(store), lambda _a: 1)
    assert caught.value.retry_after_s == pytest.approx(1.0, abs=0.1)
    clock.now += 1.1
    assert perform_keyed(Effects(store), lambda attempt: attempt.attempts).value == 2


def test_given_an_expired_record_when_called_then_it_runs_with_a_higher_epoch(
    effects: Effects, clock: Clock
) -> None:
    perform_keyed(effects, lambda _a: 1)
    clock.now += 16 * 86_400
    assert perform_keyed(effects, lambda attempt: attempt.epoch).value == 2


@pytest.mark.parametrize("value", [object(), float("nan"), {"a": {1, 2}}])
def test_given_a_result_that_is_no_json_when_done_then_said_and_still_never_twice(
    effects: Effects, value: Any
) -> None:
    with pytest.raises(BadResult, match=r"^KW303 effect k result: got "):
        perform_keyed(effects, lambda _a: value)
    with pytest.raises(BadResult, match=r"a result that was not kept"):
        perform_keyed(effects, lambda _a: pytest.fail("ran twice"))


def test_given_a_large_result_when_done_then_claimed_from_s3_and_checked(
    store: MemoryStore, s3: S3, fake: FakeAws
) -> None:
    effects = Effects(store, claims=Claims(s3, "claims"))
    large = "x" * (400 * 1024)
    assert perform_keyed(effects, lambda _a: large).value == large
    record = store.records["k"]
    assert record.result is None
    assert record.result_ref is not None
    assert record.result_ref.startswith("s3://claims/claims/")
    assert perform_keyed(effects, lambda _a: pytest.fail("ran")).value == large
    with pytest.raises(InvalidSettings, match=r"^KW300 KEEPWARM_CLAIM_BUCKET: got nothing; "):
        perform_keyed(Effects(store), lambda _a: pytest.fail("ran"))
    bucket_key = next(iter(fake.objects))
    fake.objects[bucket_key] = (b'"evil"', fake.objects[bucket_key][1])
    with pytest.raises(DigestMismatch, match=r"^KW404 effect result s3://claims/claims/"):
        perform_keyed(effects, lambda _a: pytest.fail("ran"))


def test_given_the_same_large_result_twice_when_claimed_then_the_object_is_as_young_as_the_last_record(
    store: MemoryStore, s3: S3, fake: FakeAws
) -> None:
    effects = Effects(store, claims=Claims(s3, "claims"))
    for key in ("first", "second"):
        perform_keyed(effects, lambda _a: "x" * (400 * 1024), key=key)
    written = [seen for seen in fake.requests if seen.method == "PUT"]
    assert len(fake.objects) == 1
    assert ["if-none-match" in seen.headers for seen in written] == [False, False], "the second was refused"


def test_given_a_large_result_and_no_claim_bucket_when_done_then_said_and_never_twice(
    effects: Effects,
) -> None:
    with pytest.raises(
        BadResult,
        match=r"^KW303 effect k result: got 409,602 bytes; allowed at most 358,400 bytes without a claim",
    ):
        perform_keyed(effects, lambda _a: "x" * (400 * 1024))
    with pytest.raises(BadResult, match=r"a result that was not kept"):
        perform_keyed(effects, lambda _a: pytest.fail("ran"))


# -- the DynamoDB store


@pytest.fixture
def dynamo(fake: FakeAws, aws: Aws) -> DynamoStore:
    fake.tables.add("ledger")
    return DynamoStore(aws, "ledger")


def test_given_dynamodb_when_performing_then_the_record_is_that_of_c4(
    dynamo: DynamoStore, fake: FakeAws
) -> None:
    effects = Effects(dynamo, new_owner=lambda: "me")
    assert perform_keyed(effects, lambda _a: {"n": 1}).value == {"n": 1}
    assert perform_keyed(effects, lambda _a: 2).duplicate_prevented
    item = fake.items["ledger", "k"]
    assert set(item) == {
        "pk", "state", "owner", "epoch", "lease_until", "attempts", "payload_hash", "effect_key", "expiry", "result",
    }  # fmt: skip
    assert (item["state"], item["owner"], item["epoch"], item["result"]) == (
        {"S": "DONE"}, {"S": "me"}, {"N": "1"}, {"S": '{"n":1}'},
    )  # fmt: skip


@pytest.mark.parametrize("lost", ["PutItem 1", "PutItem 2"])
def test_given_a_lost_answer_of_the_ledger_when_repeated_then_its_own_write_is_recognized(
    dynamo: DynamoStore, fake: FakeAws, lost: str
) -> None:
    seen: list[str] = []

    def drop(request: Seen) -> Fault | None:
        seen.append(request.target)
        return Fault(drop_reply=True) if f"{request.target} {seen.count(request.target)}" == lost else None

    fake.fault = drop
    runs: list[int] = []
    assert perform_keyed(Effects(dynamo), lambda _a: runs.append(1)).epoch == 1
    assert runs == [1]


def test_given_no_answer_to_the_commit_when_done_then_unknown_and_resolved_later(
    dynamo: DynamoStore, fake: FakeAws
) -> None:
    writes: list[int] = []

    def cut(seen: Seen) -> Fault | None:
        writes.append(1)
        return Fault(close=True) if len(writes) > 1 else None

    fake.fault = cut
    with pytest.raises(EffectUnknown, match=r"^KW343 effect k: got no answer to its commit"):
        perform_keyed(Effects(dynamo), lambda _a: 1, deadline=Deadline.after(3.0))
    assert fake.items["ledger", "k"]["state"] == {"S": INPROGRESS}


def test_given_no_table_when_performing_then_said_before_running(aws: Aws) -> None:
    with pytest.raises(LedgerUnusable) as caught:
        perform_keyed(Effects(DynamoStore(aws, "nope")), lambda _a: pytest.fail("ran"))
    assert str(caught.value) == (
        "KW347 ledger table nope: got no such table; allowed a table with the string key pk; fix: deploy the EffectLedger "
        "component and grant it to this function"
    )


@pytest.mark.parametrize(("skew_s", "fine"), [(7200.0, True), (-7200.0, True)])
def test_given_a_clock_two_hours_off_when_performing_then_the_lease_is_on_the_ledgers_clock(
    fake: FakeAws, skew_s: float, fine: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keepwarm_runtime.ledger.MAX_SKEW_S", 10_000.0)
    fake.tables.add("ledger")
    wrong = Aws(env=fake.env, clock=lambda: time.time() + skew_s)

    def run(_attempt: Attempt) -> Any:
        lease_until = float(fake.items["ledger", "k"]["lease_until"]["N"])
        assert abs(lease_until - (time.time() + 60.0)) < 600.0, "on DynamoDB's clock"

    perform_keyed(Effects(DynamoStore(wrong, "ledger")), run)
    wrong.forget()
    assert fine


def test_given_a_clock_too_far_off_when_performing_then_refused(fake: FakeAws) -> None:
    fake.tables.add("ledger")
    wrong = Aws(env=fake.env, clock=lambda: time.time() + 7200.0)
    with pytest.raises(
        LedgerUnusable,
        match=r"^KW347 ledger table ledger: got a clock -\d+ s away from DynamoDB's; allowed at most",
    ):
        perform_keyed(Effects(DynamoStore(wrong, "ledger")), lambda _a: pytest.fail("ran"))
    wrong.forget()


# -- every crash point of a real process, for every contract

CHILD = """
import os, signal, sys
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/functions"]
from pathlib import Path
from keepwarm_runtime import fault
from tests.support.file_ledger import perform

seen, die_at = 0, int(sys.argv[4])

def hook(name):
    global seen
    seen += 1
    if seen == die_at:
        os.kill(os.getpid(), signal.SIGKILL)

fault.hook = hook
print(perform(Path(sys.argv[2]), sys.argv[3], "k").value, seen, flush=True)
"""


def fork_and_die(directory: Path, contract: str, die_at: int) -> int | None:
    """Perform in a forked process that kills itself at the given point; return its signal, None if it lived."""
    pid = os.fork()
    if pid == 0:
        seen = 0

        def hook(_name: str) -> None:
            nonlocal seen
            seen += 1
            if seen == die_at:
                os.kill(os.getpid(), signal.SIGKILL)

        fault.hook = hook
        try:
            perform(directory, contract, "k")
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else None


def _recover(directory: Path, contract: str, first: int, second: int) -> tuple[bool, bool]:
    """Die at `first`, die at `second` of the recovery, then finish; tell which of the two deaths came about."""
    directory.mkdir()
    store = FileStore(directory)
    died_first = fork_and_die(directory, contract, first) is not None
    store.advance(40.0)
    died_second = died_first and second > 0 and fork_and_die(directory, contract, second) is not None
    store.advance(40.0)
    downstream = Downstream(directory)
    key = effect_key("k")
    try:
        perform(directory, contract, "k")
    except EffectParked:
        record = store.get("k", Deadline.after(1))
        assert record is not None
        assert (contract, record.state) == ("OPAQUE", PARKED)
        assert downstream.net(key) <= 1
    else:
        assert downstream.net(key) == 1, (first, second)
    done = [entry for entry in downstream.entries() if entry["what"] == "do"]
    assert len(done) <= (3 if contract == "COMPENSABLE" else 1)
    return died_first, died_second


@pytest.mark.parametrize("contract", CONTRACTS)
def test_given_sigkill_at_every_point_when_called_again_then_once_or_parked(
    tmp_path: Path, contract: str
) -> None:
    points = 0
    while _recover(tmp_path / str(points), contract, points + 1, 0)[0]:
        points += 1
    # put_new, run, apply, commit and their ends: fewer would mean that the hooks are gone.
    assert points >= 8


@pytest.mark.slow
@pytest.mark.parametrize("contract", CONTRACTS)
def test_given_sigkill_at_every_pair_of_points_when_called_again_then_once_or_parked(
    tmp_path: Path, contract: str
) -> None:
    """The recovery dies too, at each of its own points."""
    first, pairs = 1, 0
    died_first = True
    while died_first:
        second, died_second = 1, True
        while died_second:
            died_first, died_second = _recover(tmp_path / f"{first}-{second}", contract, first, second)
            second += 1
            pairs += 1
        first += 1
    assert pairs > 30


def test_given_a_process_really_executed_when_killed_in_the_middle_then_the_next_one_finishes(
    tmp_path: Path,
) -> None:
    code = subprocess.run(
        [sys.executable, "-c", CHILD, str(ROOT), str(tmp_path), "QUERYABLE", "5"],
        capture_output=True,
        text=True,
    )
    assert code.returncode == -signal.SIGKILL, code.stderr
    FileStore(tmp_path).advance(40.0)
    result = perform(tmp_path, "QUERYABLE", "k")
    assert result.duplicate_prevented
    assert Downstream(tmp_path).net(effect_key("k")) == 1


def test_given_sigstop_past_the_lease_when_it_goes_on_then_it_is_refused(tmp_path: Path) -> None:
    """The zombie (F15): stopped after its effect, superseded, continued."""
    ready, report = os.pipe()
    pid = os.fork()
    if pid == 0:
        outcome = b"?"

        def stop_here() -> None:
            os.write(report, b"ran")
            os.kill(os.getpid(), signal.SIGSTOP)

        try:
            perform(tmp_path, "QUERYABLE", "k", stop_here)
            outcome = b"wrote"
        except StaleOwner:
            outcome = b"stale"
        finally:
            os.write(report, outcome)
            os._exit(0)
    assert os.read(ready, 3) == b"ran"
    os.waitpid(pid, os.WUNTRACED)
    FileStore(tmp_path).advance(40.0)
    taken = perform(tmp_path, "QUERYABLE", "k")
    os.kill(pid, signal.SIGCONT)
    assert os.read(ready, 5) == b"stale"
    os.waitpid(pid, 0)
    os.close(ready)
    os.close(report)
    record = FileStore(tmp_path).get("k", Deadline.after(1))
    assert record is not None
    assert (record.state, record.epoch, taken.epoch) == (DONE, 2, 2)
    assert Downstream(tmp_path).net(effect_key("k")) == 1


# -- random histories


class Crash(BaseException):
    """Stands for SIGKILL: nothing in the code under test may catch it."""


class Histories(RuleBasedStateMachine):
    """Workers that crash anywhere, downstreams that drop replies, clocks that jump, deliveries that repeat."""

    @initialize(contract=st.sampled_from(list(Contract)))
    def start(self, contract: Contract) -> None:
        self.contract = contract
        self.clock = Clock()
        self.store = MemoryStore(self.clock)
        self.applied: dict[str, list[int]] = {}
        self.undone: dict[str, int] = {}
        self.results: dict[str, Any] = {}
        self.acknowledged: set[str] = set()
        self.epochs: dict[str, int] = {}

    def _perform(self, key: str, crash_at: int, reply: str, answer: str) -> str:
        points = 0

        def hook(_name: str) -> None:
            nonlocal points
            points += 1
            if points == crash_at:
                raise Crash

        def run(attempt: Attempt) -> int:
            done = self.applied.setdefault(attempt.effect_key, [])
            if reply == "refused":
                raise NotApplied(Overloaded("downstream", "HTTP 429"))
            if reply == "lost":
                raise ConnectionResetError("lost on the way there")
            if not (self.contract is Contract.KEYED and done):
                done.append(attempt.epoch)
            hook("downstream")
            if reply == "dropped":
                raise ConnectionResetError("lost on the way back")
            return len(done)

        def resolve(attempt: Attempt) -> Any:
            if answer == "unsure":
                return UNSURE
            if answer == "broken":
                raise TimeoutError("query timed out")
            done = self._net(attempt.effect_key)
            return Done(1) if done else NOT_DONE

        def compensate(attempt: Attempt) -> None:
            if answer == "broken":
                raise TimeoutError("compensation failed")
            self.undone[attempt.effect_key] = len(self.applied.get(attempt.effect_key, []))
            hook("compensated")

        effects = Effects(self.store, draw=lambda: 0.0, sleep=lambda _s: None)
        fault.hook = hook
        try:
            result = effects.effect(
                key,
                contract=self.contract,
                payload={"key": key},
                run=run,
                deadline=Deadline.after(30.0),
                resolve=resolve if self.contract is Contract.QUERYABLE else None,
                compensate=compensate if self.contract is Contract.COMPENSABLE else None,
                on_ambiguous="park" if self.contract is Contract.OPAQUE else None,
            )
        except Crash:
            return "crashed"
        except (RuntimeFault, ConnectionResetError) as error:
            return type(error).__name__
        finally:
            fault.hook = None
        previous = self.results.setdefault(key, result.value)
        assert previous == result.value, "one key, two results"
        self.acknowledged.add(key)
        return "done"

    def _net(self, key_for_downstream: str) -> int:
        return len(self.applied.get(key_for_downstream, [])) - self.undone.get(key_for_downstream, 0)

    @rule(
        key=st.sampled_from(["a", "b"]),
        crash_at=st.integers(0, 25),
        reply=st.sampled_from(["fine", "fine", "dropped", "lost", "refused"]),
        answer=st.sampled_from(["honest", "honest", "unsure", "broken"]),
    )
    def deliver(self, key: str, crash_at: int, reply: str, answer: str) -> None:
        self._perform(key, crash_at, reply, answer)

    @rule(seconds=st.sampled_from([0.5, 10.0, 31.0, 33.0, 100.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule(key=st.sampled_from(["a", "b"]), crash_at=st.integers(1, 25))
    def zombie(self, key: str, crash_at: int) -> None:
        """A record as its first owner saw it is written back later: it must not stick."""
        seen = self.store.records.get(key)
        self._perform(key, crash_at, "fine", "honest")
        now = self.store.records.get(key)
        if seen is not None and now is not None and not now.same_as(seen):
            assert not self.store.swap(seen, seen.but(state=DONE, result='"zombie"'), Deadline.after(1))

    @precondition(lambda self: any(r.state == PARKED for r in self.store.records.values()))
    @rule()
    def settle(self) -> None:
        for key, record in list(self.store.records.items()):
            if record.state == PARKED:
                happened = self._net(record.effect_key) > 0
                Effects(self.store).settle(key, done=happened, result=1)

    @invariant()
    def never_twice(self) -> None:
        for key in getattr(self, "applied", {}):
            assert self._net(key) <= 1, "an effect happened twice"

    @invariant()
    def acknowledged_means_once(self) -> None:
        for key in getattr(self, "acknowledged", ()):
            assert self._net(effect_key(key)) == 1, "acknowledged but not there"

    @invariant()
    def epochs_only_rise(self) -> None:
        for key, record in getattr(self, "store", MemoryStore()).records.items():
            assert record.epoch >= self.epochs.get(key, 0)
            self.epochs[key] = record.epoch

    def teardown(self) -> None:
        """Nothing is lost: whatever state the history ends in, honest deliveries finish every key that was begun."""
        if not hasattr(self, "store"):
            return
        for key in list(self.store.records):
            for _ in range(20):
                self.clock.now += 100.0
                if self._perform(key, 0, "fine", "honest") == "done":
                    break
                self.settle_all()
            assert key in self.acknowledged
            self.never_twice()

    def settle_all(self) -> None:
        for key, record in list(self.store.records.items()):
            if record.state == PARKED:
                Effects(self.store).settle(key, done=self._net(record.effect_key) > 0, result=1)


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=80, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)


@pytest.mark.slow
def test_given_ten_thousand_histories_when_checked_then_none_twice_and_none_lost() -> None:
    run_state_machine_as_test(
        Histories,
        settings=settings(
            max_examples=10_000,
            stateful_step_count=12,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


# -- stores agree


def test_given_the_same_operations_when_both_stores_run_them_then_they_answer_alike(
    dynamo: DynamoStore, clock: Clock
) -> None:
    memory = MemoryStore(clock)
    deadline = Deadline.after(10)
    one = Record("k", INPROGRESS, "a", 1, 1.5, 1, "h", "e", 2_000_000_000)
    two = one.but(state=UNKNOWN, owner="b", epoch=2)
    done = two.but(state=DONE, result='{"n":1}', reason="x")
    for store in (dynamo, memory):
        assert store.get("k", deadline) is None
        assert store.put_new(one, deadline) is None
        assert store.put_new(one, deadline) is None
        standing = store.put_new(two, deadline)
        assert standing is not None
        assert standing.same_as(one)
        assert store.swap(one, two, deadline)
        assert not store.swap(one, one.but(state=DONE), deadline)
        # The same epoch and state of somebody else are not ours.
        assert not store.swap(two.but(owner="c"), done.but(owner="c"), deadline)
        assert not store.swap(two.but(epoch=3), done.but(epoch=3), deadline)
        assert store.swap(two, done, deadline)
        read = store.get("k", deadline)
        assert read is not None
        assert {n: getattr(read, n) for n in read.__slots__} == {n: getattr(done, n) for n in done.__slots__}
