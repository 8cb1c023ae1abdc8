"""Schedule expressions, and EventBridge Scheduler of the embedded cloud on a clock moved by hand.

Proves when schedules run, with whose permissions, and what happens when a target refuses. Does not prove Lambda or
Step Functions behind them (their own tests do).
"""

import json
import random
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from keepwarm_localcloud.clockwork.clock import ManualClock
from keepwarm_localcloud.clockwork.schedules import ExpressionError, parse
from keepwarm_localcloud.cloud import Cloud, CloudSettings
from keepwarm_localcloud.request import Request, Response
from keepwarm_localcloud.services.context import Context, Service
from keepwarm_localcloud.services.scheduler import SchedulerService
from keepwarm_localcloud.services.sqs import SqsService
from keepwarm_localcloud.services.stepfunctions import StepFunctionsService
from tests.support.patience import PATIENCE_S, until

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
     "cron(0 8 * * ?)", "at(tomorrow)", "at(2024-01-01)",
     "at(2024-01-01T00:00:00+01:00)", "at(2024-01-01T00:00:00.5)", "rate(5 seconds)",
     "cron(0 8 32 * ? *)", "cron(0 8 ? * FOO *)"],
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


class Recorder:
    """A service that keeps what it was asked and answers like the real one."""

    def __init__(self, name: str, answer: bytes) -> None:
        self.name, self.answer = name, answer
        self.asked: list[dict[str, Any]] = []

    def start(self, context: Context) -> None: ...

    def stop(self) -> None: ...

    def inventory(self) -> dict[str, list[str]]:
        return {}

    def handle(self, request: Request) -> Response:
        if request.target():
            self.asked.append({"Action": request.target(), **request.json()})
        else:
            self.asked.append(dict(urllib.parse.parse_qsl(request.body.decode())))
        return Response(body=self.answer)

    def invoke(self, function: str, payload: bytes, **options: Any) -> Any:
        self.asked.append({"function": function, "payload": json.loads(payload), "kind": options["kind"]})
        return SimpleNamespace(status=202, payload=b"", function_error="", executed_version="$LATEST")


ACTIONS = [
    "sqs:SendMessage", "states:StartExecution", "lambda:InvokeFunction", "sns:Publish", "events:PutEvents",
    "ecs:RunTask",
]  # fmt: skip
PUBLISHED = b"<PublishResponse><PublishResult><MessageId>1</MessageId></PublishResult></PublishResponse>"


class Scheduler:
    """A cloud with a queue and a role that may send to it."""

    def __init__(self, cloud: Cloud, clock: ManualClock, recorders: list[Recorder]) -> None:
        self.cloud, self.clock, self.api = cloud, clock, cloud.boto("scheduler")
        self.recorders = {r.name: r for r in recorders}
        self.service = cloud.service("scheduler", SchedulerService)
        self.role = self.make_role("sched", ACTIONS)
        self.queue, self.queue_arn = self.make_queue("q")

    def make_queue(self, name: str, **attributes: str) -> tuple[str, str]:
        url = self.cloud.boto("sqs").create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
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

    def now(self, **later: float) -> datetime:
        """A moment this much after the clock's."""
        return datetime.fromtimestamp(self.clock.now_s(), UTC) + timedelta(**later)

    def invoked(self, name: str = "s") -> list[float]:
        """When each invocation of a schedule succeeded."""
        entries = self.cloud.journal.since(kind="schedule")
        return [e.at_s for e in entries if e.facts["schedule"] == name and e.facts["state"] == "INVOKED"]

    def passed(self) -> None:
        """Wait until whatever was due before now has been handed out: a later schedule ran."""
        self.count = getattr(self, "count", 0) + 1
        name = f"barrier{self.count}"
        url, arn = self.make_queue(name)
        self.create("rate(1 day)", arn, name)
        until(lambda: self.received(url))

    def received(self, url: str | None = None) -> list[dict[str, Any]]:
        sqs, url = self.cloud.boto("sqs"), url or self.queue
        answer = sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"], AttributeNames=["All"]
        )
        messages = list(answer.get("Messages", []))
        for message in messages:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return messages


@pytest.fixture
def scheduler() -> Iterator[Scheduler]:
    clock = ManualClock(1_700_000_040.0)
    recorders = [
        Recorder("lambda", b""), Recorder("sns", PUBLISHED), Recorder("events", b'{"FailedEntryCount": 0}'),
        Recorder("ecs", b'{"tasks": [{}], "failures": []}'),
    ]  # fmt: skip
    services: list[Service] = [SqsService(), StepFunctionsService(), SchedulerService(), *recorders]
    with Cloud(CloudSettings(account_id=ACCOUNT, clock=clock), services) as cloud:
        yield Scheduler(cloud, clock, recorders)


def test_given_a_rate_without_a_start_then_it_runs_at_once_and_each_interval(
    scheduler: Scheduler,
) -> None:
    """https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html#rate-based"""
    text = json.dumps({"at": "<aws.scheduler.scheduled-time>", "n": "<aws.scheduler.attempt-number>"})
    scheduler.create("rate(5 minutes)", scheduler.queue_arn, target={"Input": text})
    first = until(scheduler.received)
    assert [json.loads(m["Body"]) for m in first] == [{"at": "2023-11-14T22:14:00Z", "n": "1"}]
    scheduler.clock.advance(299)
    scheduler.passed()
    assert scheduler.received() == []
    scheduler.clock.advance(1)
    second = until(scheduler.received)
    assert [json.loads(m["Body"]) for m in second] == [{"at": "2023-11-14T22:19:00Z", "n": "1"}]


def test_given_start_and_end_when_time_passes_then_a_rate_runs_from_the_start_and_ends_and_is_deleted(
    scheduler: Scheduler,
) -> None:
    scheduler.create(
        "rate(1 hour)",
        scheduler.queue_arn,
        StartDate=scheduler.now(minutes=30),
        EndDate=scheduler.now(minutes=165),
        ActionAfterCompletion="DELETE",
        target={"Input": "<aws.scheduler.scheduled-time>"},
    )
    scheduler.clock.advance(6 * 3600)
    until(lambda: scheduler.api.list_schedules()["Schedules"] == [])
    until(lambda: len(scheduler.invoked()) == 3)
    bodies = sorted(m["Body"] for m in scheduler.received())
    assert bodies == ["2023-11-14T22:44:00Z", "2023-11-14T23:44:00Z", "2023-11-15T00:44:00Z"]


def test_given_a_start_when_a_cron_comes_earlier_then_its_first_run_is_the_one_after_the_start(
    scheduler: Scheduler,
) -> None:
    scheduler.create(
        "cron(0/20 * * * ? *)",
        scheduler.queue_arn,
        StartDate=scheduler.now(minutes=50),
        EndDate=scheduler.now(minutes=90),
        target={"Input": "<aws.scheduler.scheduled-time>"},
    )
    scheduler.clock.advance(6 * 3600)
    until(lambda: len(scheduler.invoked()) == 2)
    scheduler.passed()
    assert sorted(m["Body"] for m in scheduler.received()) == ["2023-11-14T23:20:00Z", "2023-11-14T23:40:00Z"]
    assert [s["Name"] for s in scheduler.api.list_schedules(NamePrefix="s")["Schedules"]] == ["s"]


def test_given_start_and_end_when_a_schedule_runs_once_then_they_are_ignored(scheduler: Scheduler) -> None:
    scheduler.create(
        "at(2023-11-14T22:30:00)",
        scheduler.queue_arn,
        StartDate=scheduler.now(hours=1),
        EndDate=scheduler.now(minutes=1),
    )
    scheduler.clock.advance(16 * 60)
    assert len(until(scheduler.received)) == 1


def test_given_a_flexible_window_when_due_then_it_runs_within_the_window(scheduler: Scheduler) -> None:
    scheduler.service.random.seed(3)
    expected = random.Random(3).random() * 60 * 60
    assert 60 < expected < 3000
    scheduler.create(
        "at(2023-11-14T23:14:00)",
        scheduler.queue_arn,
        FlexibleTimeWindow={"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 60},
    )
    scheduler.clock.advance(3600 + expected - 1)
    scheduler.passed()
    assert scheduler.received() == []
    scheduler.clock.advance(2)
    until(scheduler.received)


def test_given_a_one_time_schedule_when_it_ran_then_it_deletes_itself(scheduler: Scheduler) -> None:
    scheduler.create("at(2023-11-15T00:00:00)", scheduler.queue_arn, ActionAfterCompletion="DELETE")
    scheduler.clock.advance(7200)
    until(scheduler.received)
    until(lambda: scheduler.api.list_schedules()["Schedules"] == [])


@pytest.mark.parametrize(
    ("before", "after", "left"),
    [
        ({"ActionAfterCompletion": "DELETE"}, {}, ["s"]),
        ({}, {"ActionAfterCompletion": "DELETE"}, []),
        ({"State": "DISABLED"}, {"ActionAfterCompletion": "NONE"}, ["s"]),
    ],
)
def test_given_a_one_time_schedule_when_updated_then_the_update_alone_says_whether_it_deletes_itself(
    before: dict[str, Any], after: dict[str, Any], left: list[str], scheduler: Scheduler
) -> None:
    scheduler.create("at(2023-11-15T00:00:00)", scheduler.queue_arn, **before)
    scheduler.api.update_schedule(
        Name="s", ScheduleExpression="at(2023-11-14T23:00:00)", FlexibleTimeWindow={"Mode": "OFF"},
        Target={"Arn": scheduler.queue_arn, "RoleArn": scheduler.role}, **after,
    )  # fmt: skip
    shown = scheduler.api.get_schedule(Name="s")
    assert (shown["State"], shown["ActionAfterCompletion"]) == (
        "ENABLED",
        after.get("ActionAfterCompletion", "NONE"),
    )
    scheduler.clock.advance(7200)
    assert len(until(scheduler.received)) == 1
    scheduler.passed()
    assert [s["Name"] for s in scheduler.api.list_schedules(NamePrefix="s")["Schedules"]] == left


@pytest.mark.parametrize("name", ["my schedule", "a+b", "plain"])
@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1"])
def test_given_any_name_and_region_when_a_schedule_is_written_then_it_is_answered_as_stored(
    name: str, region: str, scheduler: Scheduler
) -> None:
    api = boto3.client(
        "scheduler",
        endpoint_url=scheduler.cloud.endpoint,
        region_name=region,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": 1}),
    )
    wanted: dict[str, Any] = {
        "Name": name,
        "ScheduleExpression": "rate(1 day)",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "Target": {"Arn": scheduler.queue_arn, "RoleArn": scheduler.role},
    }
    arn = api.create_schedule(**wanted)["ScheduleArn"]
    assert api.update_schedule(**wanted, ActionAfterCompletion="DELETE")["ScheduleArn"] == arn
    assert len(api.list_schedules()["Schedules"]) == 1


def test_given_a_group_name_that_is_no_text_when_a_schedule_is_written_then_it_is_refused(
    scheduler: Scheduler,
) -> None:
    body = {
        "ScheduleExpression": "rate(1 day)",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "Target": {"Arn": scheduler.queue_arn, "RoleArn": scheduler.role},
        "GroupName": ["a"],
    }
    request = urllib.request.Request(
        f"{scheduler.cloud.endpoint}/schedules/s",
        json.dumps(body).encode(),
        {
            "Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/scheduler/aws4_request",
            "Content-Type": "application/json",
        },
        method="POST",
    )
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(request, timeout=PATIENCE_S)
    with raised.value as refused:
        assert (refused.code, json.loads(refused.read())["message"]) == (400, "GroupName must be a string.")


def test_given_a_state_machine_target_when_due_then_an_execution_starts(scheduler: Scheduler) -> None:
    arn = scheduler.cloud.boto("stepfunctions").create_state_machine(
        name="m",
        roleArn=scheduler.role,
        definition=json.dumps({"StartAt": "A", "States": {"A": {"Type": "Succeed"}}}),
    )["stateMachineArn"]
    scheduler.create("rate(1 hour)", arn, target={"Input": '{"a":1}'})
    executions = until(
        lambda: scheduler.cloud.boto("stepfunctions").list_executions(stateMachineArn=arn)["executions"]
    )
    assert len(executions) == 1


@pytest.mark.parametrize(
    ("arn", "target", "asked"),
    [
        (
            f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:f:live",
            {"Input": '{"a":1}'},
            {"function": f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:f:live", "payload": {"a": 1}, "kind": "Event"},
        ),
        (
            f"arn:aws:sns:us-east-1:{ACCOUNT}:t",
            {"Input": "hello"},
            {"Action": "Publish", "Version": "2010-03-31", "TopicArn": f"arn:aws:sns:us-east-1:{ACCOUNT}:t",
             "Message": "hello"},
        ),
        (
            f"arn:aws:events:us-east-1:{ACCOUNT}:event-bus/b",
            {"Input": '{"a":1}', "EventBridgeParameters": {"DetailType": "evaluation", "Source": "keepwarm"}},
            {"Action": "PutEvents", "Entries": [{
                "DetailType": "evaluation", "Source": "keepwarm", "Detail": '{"a":1}',
                "EventBusName": f"arn:aws:events:us-east-1:{ACCOUNT}:event-bus/b",
            }]},
        ),
        (
            f"arn:aws:ecs:us-east-1:{ACCOUNT}:cluster/c",
            {"EcsParameters": {
                "TaskDefinitionArn": f"arn:aws:ecs:us-east-1:{ACCOUNT}:task-definition/t:1", "TaskCount": 2,
                "LaunchType": "FARGATE",
                "NetworkConfiguration": {
                    "awsvpcConfiguration": {"Subnets": ["subnet-1"], "AssignPublicIp": "DISABLED"},
                },
            }},
            {"Action": "RunTask", "cluster": f"arn:aws:ecs:us-east-1:{ACCOUNT}:cluster/c", "count": 2,
             "launchType": "FARGATE", "taskDefinition": f"arn:aws:ecs:us-east-1:{ACCOUNT}:task-definition/t:1",
             "networkConfiguration": {
                 "awsvpcConfiguration": {"subnets": ["subnet-1"], "assignPublicIp": "DISABLED"},
             }},
        ),
    ],
    ids=["lambda", "sns", "events", "ecs"],
)  # fmt: skip
def test_given_a_target_when_due_then_it_is_called_with_its_parameters(
    scheduler: Scheduler, arn: str, target: dict[str, Any], asked: dict[str, Any]
) -> None:
    scheduler.create("rate(1 hour)", arn, target=target)
    until(scheduler.invoked)
    (seen,) = scheduler.recorders[arn.split(":")[2]].asked
    # boto3 makes one for each call of ECS.
    seen.pop("clientToken", None)
    assert seen == asked


def test_given_a_fifo_queue_as_target_when_due_then_the_message_is_in_its_group(scheduler: Scheduler) -> None:
    url, arn = scheduler.make_queue("q.fifo", FifoQueue="true", ContentBasedDeduplication="true")
    scheduler.create("rate(1 hour)", arn, target={"Input": "x", "SqsParameters": {"MessageGroupId": "g"}})
    message = until(lambda: scheduler.received(url))[0]
    assert (message["Body"], message["Attributes"]["MessageGroupId"]) == ("x", "g")


def test_given_any_aws_action_as_target_when_due_then_it_is_called(scheduler: Scheduler) -> None:
    text = json.dumps({"QueueUrl": scheduler.queue, "MessageBody": "at <aws.scheduler.scheduled-time>"})
    scheduler.create("rate(1 hour)", "arn:aws:scheduler:::aws-sdk:sqs:sendMessage", target={"Input": text})
    assert until(scheduler.received)[0]["Body"] == "at 2023-11-14T22:14:00Z"


def test_given_a_role_without_the_permission_when_due_then_the_dead_letter_says_access_denied(
    scheduler: Scheduler,
) -> None:
    dead, dead_arn = scheduler.make_queue("dead")
    scheduler.role = scheduler.make_role("poor", ["sqs:SendMessage"])
    topic = f"arn:aws:sns:us-east-1:{ACCOUNT}:t"
    scheduler.create(
        "rate(1 hour)", topic,
        target={"RetryPolicy": {"MaximumRetryAttempts": 0}, "DeadLetterConfig": {"Arn": dead_arn}, "Input": "lost"},
    )  # fmt: skip
    message = until(lambda: scheduler.received(dead))[0]
    attributes = {k: v["StringValue"] for k, v in message["MessageAttributes"].items()}
    assert "is not authorized to perform: sns:Publish on resource" in attributes.pop("ERROR_MESSAGE")
    assert attributes.pop("EXECUTION_ID")
    assert (message["Body"], attributes) == (
        "lost",
        {
            "ERROR_CODE": "AuthorizationError",
            "EXHAUSTED_RETRY_CONDITION": "MaximumRetryAttempts",
            "IS_PAYLOAD_TRUNCATED": "false",
            "RETRY_ATTEMPTS": "0",
            "SCHEDULED_TIME": "2023-11-14T22:14:00Z",
            "SCHEDULE_ARN": f"arn:aws:scheduler:us-east-1:{ACCOUNT}:schedule/default/s",
            "TARGET_ARN": topic,
        },
    )
    assert scheduler.recorders["sns"].asked == []


def test_given_a_target_that_refuses_when_the_event_is_too_old_then_the_dead_letter_says_so(
    scheduler: Scheduler,
) -> None:
    dead, dead_arn = scheduler.make_queue("dead")
    scheduler.create(
        "rate(1 hour)", f"arn:aws:sqs:us-east-1:{ACCOUNT}:gone",
        target={"RetryPolicy": {"MaximumEventAgeInSeconds": 60}, "DeadLetterConfig": {"Arn": dead_arn}},
    )  # fmt: skip

    def retrying() -> int:
        entries = scheduler.cloud.journal.since(kind="schedule")
        return sum(e.facts["state"] == "RETRYING" for e in entries)

    # Pauses double from a second on; the sixth would end after a minute.
    for attempt, pause_s in enumerate((1, 2, 4, 8, 16), start=1):
        until(lambda wanted=attempt: retrying() == wanted)  # type: ignore[misc]
        scheduler.clock.advance(pause_s)
    message = until(lambda: scheduler.received(dead))[0]
    attributes = {k: v["StringValue"] for k, v in message["MessageAttributes"].items()}
    assert attributes["EXHAUSTED_RETRY_CONDITION"] == "MaximumEventAgeInSeconds"
    assert attributes["RETRY_ATTEMPTS"] == "5"


def test_given_a_target_that_refuses_when_retries_are_spent_then_the_dead_letter_queue_says_why(
    scheduler: Scheduler,
) -> None:
    dead, dead_arn = scheduler.make_queue("dead")
    scheduler.create(
        "rate(1 hour)", f"arn:aws:sqs:us-east-1:{ACCOUNT}:gone",
        target={"RetryPolicy": {"MaximumRetryAttempts": 1}, "DeadLetterConfig": {"Arn": dead_arn}, "Input": "lost"},
    )  # fmt: skip
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
    scheduler.passed()
    assert scheduler.received() == []
    scheduler.api.update_schedule(
        Name="s", ScheduleExpression="rate(1 minute)", FlexibleTimeWindow={"Mode": "OFF"}, State="ENABLED",
        Target={"Arn": scheduler.queue_arn, "RoleArn": scheduler.role},
    )  # fmt: skip
    scheduler.clock.advance(60)
    assert len(until(scheduler.received)) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ScheduleExpression": "rate(0 days)"}, "Invalid Schedule Expression"),
        ({"ScheduleExpressionTimezone": "Mars/Base"}, "Timezone"),
        ({"FlexibleTimeWindow": {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 1441}}, "between 1 and 1440"),
        ({"Target": {"Arn": "arn:aws:glue:us-east-1:1:job/x"}}, "KW614"),
        ({"StartDate": datetime(2023, 11, 14, 22, 8, tzinfo=UTC)}, "cannot be earlier than 5 minutes ago"),
        (
            {"Target": {"Arn": "arn:aws:ecs:us-east-1:1:cluster/c"}},
            "EcsParameters is required for an ECS target",
        ),
        (
            {"Target": {"Arn": "arn:aws:lambda:us-east-1:1:function:f", "Input": "{"}},
            "Invalid RequestJson provided",
        ),
        (
            {"Target": {"DeadLetterConfig": {"Arn": "arn:aws:sqs:us-east-1:1:q.fifo"}}},
            "ARN of a standard SQS queue",
        ),
        (
            {"Target": {"RetryPolicy": {"MaximumRetryAttempts": 186}}},
            "RetryPolicy MaximumRetryAttempts must be between 0 and 185",
        ),
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
