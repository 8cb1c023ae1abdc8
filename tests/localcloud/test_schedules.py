"""Schedule expressions, and EventBridge Scheduler of the embedded cloud on a clock moved by hand.

Proves when schedules run, with whose permissions, and what happens when a target refuses. Does not prove Lambda or
Step Functions behind them (their own tests do).
"""

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from keepwarm_localcloud.clock import ManualClock
from keepwarm_localcloud.cloud import Cloud, CloudSettings
from keepwarm_localcloud.scheduler import SchedulerService
from keepwarm_localcloud.service import Service
from keepwarm_localcloud.sqs import SqsService
from keepwarm_localcloud.stepfunctions import StepFunctionsService
from keepwarm_localcloud.tasking.schedules import ExpressionError, parse

pytestmark = pytest.mark.filterwarnings("ignore:SOCKS support in urllib3")
ACCOUNT = "123456789026"


def stamp(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("expression", "zone", "after", "expected"),
    [
        ("rate(5 minutes)", None, "2024-01-01T00:01:00+00:00", "2024-01-01T00:05:00+00:00"),
        ("at(2024-06-01T12:00:00)", "Europe/Berlin", "2024-01-01T00:00:00+00:00", "2024-06-01T10:00:00+00:00"),
        ("cron(0 8 * * ? *)", "America/New_York", "2024-01-01T00:00:00+00:00", "2024-01-01T13:00:00+00:00"),
        ("cron(15 10 ? * 6L 2024-2025)", None, "2024-01-01T00:00:00+00:00", "2024-01-26T10:15:00+00:00"),
        ("cron(0 0 L * ? *)", None, "2024-02-01T00:00:00+00:00", "2024-02-29T00:00:00+00:00"),
        ("cron(0 9 ? * MON-FRI *)", None, "2024-01-05T10:00:00+00:00", "2024-01-08T09:00:00+00:00"),
        ("cron(0/20 * * * ? *)", None, "2024-01-01T00:21:00+00:00", "2024-01-01T00:40:00+00:00"),
        ("cron(0 0 ? * 2#3 *)", None, "2024-01-01T00:00:00+00:00", "2024-01-15T00:00:00+00:00"),
        ("cron(0 0 1W * ? *)", None, "2024-05-30T00:00:00+00:00", "2024-06-03T00:00:00+00:00"),
        # 02:30 doesn't exist on this day in Berlin; the next day it does.
        ("cron(30 2 * * ? *)", "Europe/Berlin", "2024-03-31T00:00:00+00:00", "2024-04-01T00:30:00+00:00"),
    ],
)  # fmt: skip
def test_given_an_expression_when_asked_for_the_next_run_then_as_aws_documents(
    expression: str, zone: str | None, after: str, expected: str
) -> None:
    schedule = parse(expression, zone=zone, start_s=stamp("2024-01-01T00:00:00+00:00"))
    assert schedule.after(stamp(after)) == stamp(expected)


def test_given_a_past_at_when_asked_then_never() -> None:
    assert parse("at(2024-01-01T00:00:00)", start_s=0).after(stamp("2024-01-01T00:00:00+00:00")) is None


@pytest.mark.parametrize(
    "expression",
    ["", "rate(0 minutes)", "rate(5 weeks)", "cron(0 8 * * * *)", "cron(0 8 ? * ? *)", "cron(60 8 * * ? *)",
     "cron(0 8 * * ?)", "at(tomorrow)", "cron(0 8 32 * ? *)", "cron(0 8 ? * FOO *)"],
)  # fmt: skip
def test_given_a_bad_expression_when_parsed_then_refused(expression: str) -> None:
    with pytest.raises(ExpressionError, match="Invalid Schedule Expression"):
        parse(expression, start_s=0)


@given(
    minute=st.integers(0, 59),
    hour=st.integers(0, 23),
    day=st.integers(1, 31),
    at_s=st.integers(1_600_000_000, 1_900_000_000),
)
def test_given_any_cron_when_asked_then_the_next_run_is_later_and_fits_its_fields(
    minute: int, hour: int, day: int, at_s: int
) -> None:
    following = parse(f"cron({minute} {hour} {day} * ? *)", start_s=0).after(at_s)
    assert following is not None
    assert following > at_s
    moment = datetime.fromtimestamp(following, UTC)
    assert (moment.minute, moment.hour, moment.day, moment.second) == (minute, hour, day, 0)


def until(condition: Callable[[], Any], limit_s: float = 10) -> Any:
    deadline_s = time.monotonic() + limit_s
    while not (value := condition()):
        assert time.monotonic() < deadline_s, "it never happened"
        time.sleep(0.01)
    return value


class Scheduler:
    """A cloud with a queue and a role that may send to it."""

    def __init__(self, cloud: Cloud, clock: ManualClock) -> None:
        self.cloud, self.clock, self.api = cloud, clock, cloud.boto("scheduler")
        self.role = self.make_role("sched", ["sqs:SendMessage", "states:StartExecution"])
        self.queue, self.queue_arn = self.make_queue("q")

    def make_queue(self, name: str) -> tuple[str, str]:
        url = self.cloud.boto("sqs").create_queue(QueueName=name)["QueueUrl"]
        return url, f"arn:aws:sqs:us-east-1:{ACCOUNT}:{name}"

    def make_role(self, name: str, actions: list[str], *principals: str) -> str:
        iam = self.cloud.boto("iam")
        services = list(principals) or ["scheduler.amazonaws.com", "states.amazonaws.com"]
        trust = {
            "Statement": [{"Effect": "Allow", "Principal": {"Service": services}, "Action": "sts:AssumeRole"}]
        }
        arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
        policy = {
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}],
        }
        iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=json.dumps(policy))
        return str(arn)

    def create(self, expression: str, arn: str, name: str = "s", **options: Any) -> None:
        target = {"Arn": arn, "RoleArn": self.role, **options.pop("target", {})}
        options = {"FlexibleTimeWindow": {"Mode": "OFF"}, **options}
        self.api.create_schedule(Name=name, ScheduleExpression=expression, Target=target, **options)

    def received(self, url: str | None = None) -> list[dict[str, Any]]:
        sqs, url = self.cloud.boto("sqs"), url or self.queue
        answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"])
        messages = list(answer.get("Messages", []))
        for message in messages:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return messages


@pytest.fixture
def scheduler() -> Iterator[Scheduler]:
    clock = ManualClock(1_700_000_040.0)
    services: list[Service] = [SqsService(), StepFunctionsService(), SchedulerService()]
    with Cloud(CloudSettings(account_id=ACCOUNT, clock=clock), services) as cloud:
        yield Scheduler(cloud, clock)


def test_given_a_rate_when_time_passes_then_each_run_reaches_the_queue_with_its_context(
    scheduler: Scheduler,
) -> None:
    text = json.dumps({"at": "<aws.scheduler.scheduled-time>", "n": "<aws.scheduler.attempt-number>"})
    scheduler.create("rate(5 minutes)", scheduler.queue_arn, target={"Input": text})
    scheduler.clock.advance(299)
    time.sleep(0.1)
    assert scheduler.received() == []
    scheduler.clock.advance(2)
    first = until(scheduler.received)
    assert json.loads(first[0]["Body"]) == {"at": "2023-11-14T22:19:00Z", "n": "1"}
    scheduler.clock.advance(300)
    assert len(until(scheduler.received)) == 1


def test_given_a_one_time_schedule_when_it_ran_then_it_deletes_itself(scheduler: Scheduler) -> None:
    scheduler.create("at(2023-11-15T00:00:00)", scheduler.queue_arn, ActionAfterCompletion="DELETE")
    scheduler.clock.advance(7200)
    until(scheduler.received)
    until(lambda: scheduler.api.list_schedules()["Schedules"] == [])


def test_given_a_state_machine_target_when_due_then_an_execution_starts(scheduler: Scheduler) -> None:
    arn = scheduler.cloud.boto("stepfunctions").create_state_machine(
        name="m",
        roleArn=scheduler.role,
        definition=json.dumps({"StartAt": "A", "States": {"A": {"Type": "Succeed"}}}),
    )["stateMachineArn"]
    scheduler.create("rate(1 hour)", arn, target={"Input": '{"a":1}'})
    scheduler.clock.advance(3600)
    executions = until(
        lambda: scheduler.cloud.boto("stepfunctions").list_executions(stateMachineArn=arn)["executions"]
    )
    assert len(executions) == 1


def test_given_a_target_that_refuses_when_retries_are_spent_then_the_dead_letter_queue_says_why(
    scheduler: Scheduler,
) -> None:
    dead, dead_arn = scheduler.make_queue("dead")
    scheduler.create(
        "rate(1 hour)", f"arn:aws:sqs:us-east-1:{ACCOUNT}:gone",
        target={"RetryPolicy": {"MaximumRetryAttempts": 1}, "DeadLetterConfig": {"Arn": dead_arn}, "Input": "lost"},
    )  # fmt: skip
    scheduler.clock.advance(3600)
    until(
        lambda: [e for e in scheduler.cloud.journal.since(kind="schedule") if e.facts["state"] == "RETRYING"]
    )
    scheduler.clock.advance(2)
    message = until(lambda: scheduler.received(dead))[0]
    attributes = {k: v["StringValue"] for k, v in message["MessageAttributes"].items()}
    assert message["Body"] == "lost"
    assert attributes["EXHAUSTED_RETRY_CONDITION"] == "MaximumRetryAttempts"
    assert attributes["RETRY_ATTEMPTS"] == "1"


def test_given_a_disabled_schedule_when_time_passes_then_nothing_until_enabled(scheduler: Scheduler) -> None:
    scheduler.create("rate(1 minute)", scheduler.queue_arn, State="DISABLED")
    scheduler.clock.advance(120)
    time.sleep(0.1)
    assert scheduler.received() == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ScheduleExpression": "rate(0 days)"}, "Invalid Schedule Expression"),
        ({"ScheduleExpressionTimezone": "Mars/Base"}, "Timezone"),
        ({"FlexibleTimeWindow": {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 1441}}, "between 1 and 1440"),
        ({"Target": {"Arn": "arn:aws:glue:us-east-1:1:job/x"}}, "KW614"),
        (
            {"Target": {"RoleArn": "arn:aws:iam::123456789026:role/none"}},
            "allow AWS EventBridge Scheduler to assume",
        ),
    ],
)
def test_given_a_bad_schedule_when_created_then_validation_exception(
    scheduler: Scheduler, change: dict[str, Any], message: str
) -> None:
    good = {
        "Name": "x", "ScheduleExpression": "rate(1 day)", "FlexibleTimeWindow": {"Mode": "OFF"},
        "Target": {"Arn": scheduler.queue_arn, "RoleArn": scheduler.role},
    }  # fmt: skip
    target = {**good["Target"], **change.pop("Target", {})}  # type: ignore[dict-item]
    with pytest.raises(ClientError, match=f"ValidationException.*{message}"):
        scheduler.api.create_schedule(**{**good, **change, "Target": target})


def test_given_a_role_that_another_service_assumes_when_created_then_refused(scheduler: Scheduler) -> None:
    scheduler.role = scheduler.make_role("other", ["sqs:*"], "lambda.amazonaws.com")
    with pytest.raises(ClientError, match="must allow AWS EventBridge Scheduler"):
        scheduler.create("rate(1 day)", scheduler.queue_arn)
