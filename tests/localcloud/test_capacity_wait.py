"""Two hundred documents and a service that takes four minutes to wake: the shipped workflow and OCR step, on one clock.

The workflow runs in the embedded Step Functions, its `ocr` task is the real step against a service, permits and objects
made of Python. Nothing takes time but the waiting. Not proved: processes and networks (tests/e2e), AWS's own delays.
"""

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from keepwarm.durable_workflow import BUSY_WAIT_S, DOCUMENT_WORKFLOW, busy_wait_s, execution_s, render
from keepwarm_localcloud.clockwork.clock import ManualClock
from keepwarm_localcloud.cloud import Cloud, CloudSettings
from keepwarm_localcloud.request import AwsError
from keepwarm_localcloud.services.stepfunctions import StepFunctionsService
from keepwarm_localcloud.services.stepfunctions.execution import Execution
from keepwarm_runtime.errors import NotReady, Overloaded, RuntimeFault
from keepwarm_runtime.invocation import Invocation
from tests.support.handlers import module, state
from tests.support.patience import until

STEPS = ("extract", "ocr", "enrich", "publish")
ROLE = "arn:aws:iam::123456789024:role/flow"
PAGE_S = 2.0
"""Time one page keeps a permit."""
ocr_step = module("ocr", "step")


@dataclass
class Reader:
    """A service that is asleep until `awake_s` and then reads as many pages at a time as it has permits."""

    clock: ManualClock
    awake_s: float
    permits: int
    hold_s: float = 45.0
    wait_s: float = 5.0
    busy_until_s: list[float] = field(default_factory=list)
    asked_s: list[float] = field(default_factory=list)

    @contextmanager
    def permit(self, **_: Any) -> Iterator[None]:
        """Stand in for Admission: refused with the time until the next permit is free."""
        now_s = self.clock.now_s()
        self.asked_s.append(now_s)
        self.busy_until_s = [s for s in self.busy_until_s if s > now_s]
        if len(self.busy_until_s) >= self.permits:
            soonest = min(self.busy_until_s) - now_s
            raise Overloaded("permit pool reader", "a wait longer than allowed", retry_after_s=soonest)
        yield

    def post(self, *_: Any, **__: Any) -> Any:
        """Stand in for ServiceClient."""
        if self.clock.now_s() < self.awake_s:
            raise NotReady("service space/reader", "no healthy instance", retry_after_s=5.0)
        self.busy_until_s.append(self.clock.now_s() + PAGE_S)
        body = {"text": "read", "lines": [], "model": {"name": "rapidocr"}}
        return SimpleNamespace(status=200, json=lambda: body)


class Objects:
    """The part of S3 that the step uses."""

    def __init__(self) -> None:
        page = {"number": 1, "text": "", "image": {"bucket": "b", "key": "k", "version_id": None}}
        self.extracted = json.dumps({"pages": [page]}).encode()

    def get(self, *_: Any, **__: Any) -> Any:
        return SimpleNamespace(body=self.extracted)

    def list(self, *_: Any, **__: Any) -> list[Any]:
        return []

    def put(self, *_: Any, **__: Any) -> None:
        return None


class Functions:
    """Answers for Lambda: the real OCR step, and steps that succeed at once."""

    def __init__(self, clock: ManualClock, reader: Reader, throttled_until_s: float = 0.0) -> None:
        self.clock, self.reader, self.objects = clock, reader, Objects()
        self.throttled_until_s = throttled_until_s
        """Until then Lambda takes nobody's `publish`."""

    def function(self, role_arn: str, name: str, payload: bytes, kind: str) -> Any:
        given = json.loads(payload)
        step = name.rpartition(":")[0].rpartition(":")[2]
        if step == "publish" and self.clock.now_s() < self.throttled_until_s:
            raise AwsError("TooManyRequestsException", "Rate Exceeded.", 429)
        try:
            answer = (
                self.ocr(given) if step == "ocr" else {"needs_ocr": True, "ref": {"bucket": "b", "key": "k"}}
            )
        except RuntimeFault as fault:
            told = {"errorMessage": str(fault), "errorType": type(fault).__name__}
            return SimpleNamespace(payload=json.dumps(told).encode(), function_error="Unhandled")
        return SimpleNamespace(payload=json.dumps(answer).encode(), function_error="")

    def ocr(self, given: dict[str, Any]) -> Any:
        call = Invocation({}, None, "r", 0.0, time.monotonic() + 90.0, False, "on-demand")
        return ocr_step.run(
            given, s3=self.objects, service=self.reader, admission=self.reader, results_bucket="results",
            invocation=call, now_epoch_s=self.clock.now_s(),
        )  # fmt: skip

    def close(self) -> None:
        """Nothing is open."""


class Flow:
    """A cloud with Step Functions only, the shipped workflow in it, and every execution's next moment."""

    def __init__(self, cloud: Cloud, service: StepFunctionsService, clock: ManualClock) -> None:
        self.cloud, self.service, self.clock = cloud, service, clock
        trust = {"Statement": [{"Effect": "Allow", "Principal": {"Service": "states.amazonaws.com"}}]}
        cloud.boto("iam").create_role(RoleName="flow", AssumeRolePolicyDocument=json.dumps(trust))
        self.api = cloud.boto("stepfunctions")

    def machine(self, deadline_s: int, name: str, retry_attempts: int = 6) -> str:
        values = {
            "functions": {
                step: f"arn:aws:lambda:us-east-1:123456789024:function:{step}:live" for step in STEPS
            },
            "step_timeouts_s": dict.fromkeys(STEPS, 120),
            "deadline_s": deadline_s,
            "execution_s": execution_s(deadline_s, 120),
            "busy_wait_s": busy_wait_s(deadline_s, retry_attempts),
            "retry_attempts": retry_attempts,
            "retry_interval_s": 2,
            "retry_max_delay_s": 30,
            "dead_letter_url": "",
            "partition": "aws",
        }
        text = render("test", DOCUMENT_WORKFLOW.read_text(), values, express=False)
        return str(self.api.create_state_machine(name=name, definition=text, roleArn=ROLE)["stateMachineArn"])

    def start(self, machine: str, count: int, deadline_s: float) -> list[Execution]:
        """Start that many documents in the same moment."""
        ends_s = self.clock.now_s() + deadline_s
        given = state(
            deadline_epoch_s=ends_s, deadline_at=f"{datetime.fromtimestamp(ends_s, UTC):%Y-%m-%dT%H:%M:%SZ}"
        )
        arns = [
            self.api.start_execution(stateMachineArn=machine, input=json.dumps(given))["executionArn"]
            for _ in range(count)
        ]
        return [self.service.executions[arn] for arn in arns]

    def until_closed(self, executions: list[Execution]) -> None:
        """Move the clock from wait to wait, each time only when every execution waits for a moment to come."""
        while (next_s := self._next(executions)) is not None:
            self.clock.advance(max(0.5, next_s - self.clock.now_s()))

    def _next(self, executions: list[Execution]) -> float | None:
        """The soonest moment that an execution waits for, None when all are closed."""

        def soonest() -> tuple[float | None] | None:
            moments = [_waits_until(e) for e in executions if e.status == "RUNNING"]
            if not all(moment is not None and moment > self.clock.now_s() for moment in moments):
                return None
            return (min((m for m in moments if m is not None), default=None),)

        found = until(soonest, "an execution neither waits nor ends", pause_s=0.001)
        assert found is not None
        return found[0]


def _waits_until(execution: Execution) -> float | None:
    last = execution.events[-1]
    if last["type"] != "WaitStateEntered":
        return None
    entered = last["stateEnteredEventDetails"]
    if entered["name"] == "PublishPause":
        return float(last["timestamp"]) + BUSY_WAIT_S
    return float(last["timestamp"]) + float(json.loads(entered["input"])["ocr"]["wait"]["seconds"])


def transitions(execution: Execution) -> int:
    """What AWS bills of a standard execution: every state entered, every retry."""
    return sum(event["type"].endswith("StateEntered") for event in execution.events)


@pytest.fixture
def flow() -> Iterator[Flow]:
    clock, service = ManualClock(), StepFunctionsService()
    with Cloud(CloudSettings(clock=clock, account_id="123456789024"), [service]) as cloud:
        yield Flow(cloud, service, clock)


def use(flow: Flow, reader: Reader, throttled_until_s: float = 0.0) -> None:
    flow.service.roles.close()
    flow.service.roles = Functions(flow.clock, reader, throttled_until_s)  # type: ignore[assignment]


def test_given_a_service_that_wakes_in_four_minutes_then_every_document_arrives(flow: Flow) -> None:
    started_s = flow.clock.now_s()
    reader = Reader(flow.clock, awake_s=started_s + 240.0, permits=8)
    use(flow, reader)
    executions = flow.start(flow.machine(1_800, "wakes"), 200, 1_800.0)
    flow.until_closed(executions)
    assert Counter(e.status for e in executions) == {"SUCCEEDED": 200}
    done_s = sorted((e.stopped_s or 0.0) - started_s for e in executions)
    assert done_s[0] >= 240.0
    assert done_s[-1] <= 240.0 + 150.0, "eight permits read 200 pages of 2 s in 50 s; the rest is waiting"
    # Seven transitions without a wait and three for each; 240 s take at most 17 waits, 390 s at most 27.
    assert max(transitions(e) for e in executions) <= 8 + 3 * 27
    assert sum(transitions(e) for e in executions) / 200 <= 8 + 3 * 17
    per_s = Counter(int(s - started_s) for s in reader.asked_s)
    del per_s[0]
    assert max(per_s.values()) <= 80, "they come back in the same second"
    after_a_minute = [count for second, count in per_s.items() if second >= 60]
    assert max(after_a_minute) <= 40


def test_given_a_service_that_never_wakes_then_documents_fail_at_their_deadline_and_say_why(
    flow: Flow,
) -> None:
    started_s = flow.clock.now_s()
    use(flow, Reader(flow.clock, awake_s=started_s + 9e9, permits=8))
    executions = flow.start(flow.machine(300, "never"), 10, 300.0)
    flow.until_closed(executions)
    for execution in executions:
        assert (execution.status, execution.error) == ("FAILED", "DeadlineExceeded")
        assert (execution.stopped_s or 0.0) - started_s == pytest.approx(299.0, abs=1.0)
        text = execution.cause or ""
        assert text.startswith("KW322 document 'note.txt': got ")
        assert (
            " waits for capacity, the last one for KW321 service space/reader, no healthy instance; " in text
        )
        assert transitions(execution) <= 20 + 3 * 22


def test_given_a_step_that_lambda_throttles_for_minutes_then_it_comes_back_until_it_is_taken(
    flow: Flow,
) -> None:
    started_s = flow.clock.now_s()
    use(flow, Reader(flow.clock, awake_s=0.0, permits=8), throttled_until_s=started_s + 240.0)
    executions = flow.start(flow.machine(300, "throttled", retry_attempts=0), 5, 300.0)
    flow.until_closed(executions)
    assert Counter(e.status for e in executions) == {"SUCCEEDED": 5}
    assert all((e.stopped_s or 0.0) - started_s <= 240.0 + BUSY_WAIT_S for e in executions)
    assert max(transitions(e) for e in executions) <= 8 + 3 * 8


def test_given_a_step_that_lambda_never_takes_then_the_document_fails_and_is_not_cut_off(flow: Flow) -> None:
    started_s = flow.clock.now_s()
    use(flow, Reader(flow.clock, awake_s=0.0, permits=8), throttled_until_s=started_s + 9e9)
    executions = flow.start(flow.machine(300, "refused", retry_attempts=0), 1, 300.0)
    flow.until_closed(executions)
    (only,) = executions
    assert (only.status, only.error) == ("FAILED", "DeadlineExceeded")
    assert 300.0 <= (only.stopped_s or 0.0) - started_s <= 300.0 + BUSY_WAIT_S
    assert (only.cause or "").endswith(
        " passed after 300 s of waiting at most, the last refusal was Lambda.TooManyRequestsException"
    )


@pytest.mark.parametrize(
    ("deadline_at", "last"),
    [("2999-01-01T00:00:00Z", "PublishPause"), ("2001-01-01T00:00:00Z", "TooLate"), (None, "HasSentence")],
)
def test_given_a_step_nobody_takes_when_its_retries_end_then_the_deadline_decides(
    flow: Flow, deadline_at: str | None, last: str
) -> None:
    machine = flow.machine(900, "busy")
    shipped = json.loads(flow.api.describe_state_machine(stateMachineArn=machine)["definition"])["States"]
    ends = {
        name: {"Type": "Pass", "Result": {"at": name}, "End": True}
        for name in ("PublishPause", "HasSentence")
    }
    states = {
        "PublishBusy": shipped["PublishBusy"],
        "TooLate": {**shipped["TooLate"], "Next": "Told"},
        "Told": {"Type": "Succeed"},
        **ends,
    }
    text = json.dumps({"StartAt": "PublishBusy", "States": states})
    branch = flow.api.create_state_machine(name="branch", definition=text, roleArn=ROLE)["stateMachineArn"]
    given: dict[str, Any] = {"error": {"Error": "Lambda.TooManyRequestsException"}}
    if deadline_at:
        given["deadline_at"] = deadline_at
    arn = flow.api.start_execution(stateMachineArn=branch, input=json.dumps(given))["executionArn"]
    assert flow.service.wait_closed(arn, 10).status == "SUCCEEDED"
    output = json.loads(flow.api.describe_execution(executionArn=arn)["output"])
    if last != "TooLate":
        assert output == {"at": last}
        return
    assert output["error"] == {
        "Error": "DeadlineExceeded",
        "Cause": "KW322 document: got its deadline 2001-01-01T00:00:00Z passed after 900 s of waiting at most, "
        "the last refusal was Lambda.TooManyRequestsException",
    }
