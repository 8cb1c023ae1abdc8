"""Task states against the other services of the embedded cloud: functions, queues, tables, tasks, child executions.

Proves error names, permissions of the role, callbacks and jobs. Does not prove the data flow inside a state
(test_states.py).
"""

import io
import json
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from keepwarm_localcloud.clockwork.clock import ManualClock
from keepwarm_localcloud.cloud import Cloud, CloudSettings
from keepwarm_localcloud.services.stepfunctions import StepFunctionsService
from tests.support.patience import until

pytestmark = pytest.mark.filterwarnings("ignore:SOCKS support in urllib3")
ACCOUNT = "123456789027"
HANDLER = """
class Overloaded(Exception): pass
COUNT = 0
def handler(event, context):
    global COUNT
    COUNT += 1
    if event.get("fail", 0) >= COUNT:
        raise Overloaded("busy")
    if event.get("bad"):
        raise ValueError("never")
    return {"count": COUNT, "event": event}
"""


class World:
    """A whole cloud, a role, and shortcuts."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.api = cloud.boto("stepfunctions")
        self.service = cloud.service("states", StepFunctionsService)
        self.role = self.make_role(
            "flow", ["lambda:*", "sqs:*", "dynamodb:*", "ecs:*", "states:*", "iam:PassRole"]
        )
        self.names = iter(range(1000))

    def make_role(self, name: str, actions: list[str]) -> str:
        iam = self.cloud.boto("iam")
        services = [f"{s}.amazonaws.com" for s in ("states", "lambda", "ecs-tasks")]
        trust = {
            "Statement": [{"Effect": "Allow", "Principal": {"Service": services}, "Action": "sts:AssumeRole"}]
        }
        arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
        statement = {"Effect": "Allow", "Action": actions, "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=policy)
        return str(arn)

    def function(self) -> str:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("app.py", HANDLER)
        role = f"arn:aws:iam::{ACCOUNT}:role/flow"
        answer = self.cloud.boto("lambda").create_function(
            FunctionName=f"f{next(self.names)}", Runtime=f"python3.{sys.version_info.minor}", Role=role,
            Handler="app.handler", Code={"ZipFile": buffer.getvalue()}, Timeout=10,
        )  # fmt: skip
        return str(answer["FunctionArn"])

    def queue(self) -> str:
        return str(self.cloud.boto("sqs").create_queue(QueueName=f"q{next(self.names)}")["QueueUrl"])

    def machine(self, *, role: str | None = None, **states: Any) -> str:
        definition = {"StartAt": next(iter(states)), "States": states}
        return str(
            self.api.create_state_machine(
                name=f"m{next(self.names)}", roleArn=role or self.role, definition=json.dumps(definition)
            )["stateMachineArn"]
        )

    def start(self, machine: str, value: Any = None) -> str:
        return str(
            self.api.start_execution(stateMachineArn=machine, input=json.dumps(value or {}))["executionArn"]
        )

    def closed(self, arn: str) -> dict[str, Any]:
        assert self.service.wait_closed(arn, 30).status != "RUNNING"
        answer: dict[str, Any] = self.api.describe_execution(executionArn=arn)
        return answer

    def run(self, machine: str, value: Any = None) -> dict[str, Any]:
        return self.closed(self.start(machine, value))

    def message(self, url: str) -> str:
        found = until(lambda: self.cloud.boto("sqs").receive_message(QueueUrl=url).get("Messages"))
        return str(found[0]["Body"])


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with Cloud(CloudSettings(account_id=ACCOUNT)) as cloud:
        yield World(cloud)


def test_given_a_function_that_is_busy_twice_when_retried_then_the_error_name_is_the_exception(
    world: World,
) -> None:
    task = {
        "Type": "Task", "Resource": world.function(), "TimeoutSeconds": 20, "End": True, "ResultPath": "$.out",
        "Retry": [{"ErrorEquals": ["Overloaded"], "IntervalSeconds": 1, "MaxAttempts": 3, "BackoffRate": 1}],
    }  # fmt: skip
    arn = world.start(world.machine(T=task), {"fail": 2})
    answer = world.closed(arn)
    assert answer["status"] == "SUCCEEDED", answer
    assert json.loads(answer["output"])["out"]["count"] == 3
    kinds = [e["type"] for e in world.api.get_execution_history(executionArn=arn)["events"]]
    assert kinds.count("LambdaFunctionFailed") == 2
    assert kinds.count("LambdaFunctionSucceeded") == 1


def test_given_a_permanent_error_when_caught_then_it_is_parked_with_its_reason(world: World) -> None:
    url = world.queue()
    machine = world.machine(
        T={
            "Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "End": True,
            "Parameters": {"FunctionName": world.function(), "Payload.$": "$"},
            "Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": "Park"}],
        },
        Park={
            "Type": "Task", "Resource": "arn:aws:states:::sqs:sendMessage", "ResultPath": None, "Next": "Failed",
            "Parameters": {
                "QueueUrl": url, "MessageBody.$": "$",
                "MessageAttributes": {"code": {"DataType": "String", "StringValue.$": "$.error.Error"}},
            },
        },
        Failed={"Type": "Fail", "ErrorPath": "$.error.Error", "CausePath": "States.JsonToString($.error)"},
    )  # fmt: skip
    answer = world.run(machine, {"bad": True})
    assert (answer["status"], answer["error"]) == ("FAILED", "ValueError")
    body = json.loads(world.message(url))
    assert json.loads(body["error"]["Cause"])["errorMessage"] == "never"


def test_given_the_lambda_integration_when_invoked_then_payload_and_version(world: World) -> None:
    task = {
        "Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "End": True,
        "Parameters": {"FunctionName": world.function(), "Payload": {"x": 1}}, "OutputPath": "$",
    }  # fmt: skip
    output = json.loads(world.run(world.machine(T=task))["output"])
    assert (output["StatusCode"], output["ExecutedVersion"], output["Payload"]["event"]) == (
        200,
        "$LATEST",
        {"x": 1},
    )


def test_given_a_role_without_permission_when_it_calls_then_the_state_fails_with_access_denied(
    world: World,
) -> None:
    nobody = world.make_role("nobody", ["logs:PutLogEvents"])
    function = {"Type": "Task", "Resource": world.function(), "End": True}
    answer = world.run(world.machine(role=nobody, T=function))
    assert answer["error"] == "Lambda.AWSLambdaException"
    assert "not authorized to perform: lambda:InvokeFunction" in answer["cause"]
    queue = {
        "Type": "Task", "Resource": "arn:aws:states:::sqs:sendMessage", "End": True,
        "Parameters": {"QueueUrl": world.queue(), "MessageBody": "x"},
    }  # fmt: skip
    answer = world.run(world.machine(role=nobody, T=queue))
    assert answer["error"].startswith("SQS.")
    assert "sqs:sendmessage" in answer["cause"].lower()


def test_given_a_missing_function_when_invoked_then_resource_not_found(world: World) -> None:
    task = {"Type": "Task", "Resource": f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:gone", "End": True}
    assert world.run(world.machine(T=task))["error"] == "Lambda.ResourceNotFoundException"


def test_given_a_conditional_put_when_it_fails_then_the_error_has_the_service_prefix(world: World) -> None:
    world.cloud.boto("dynamodb").create_table(
        TableName="t", KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}], BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
    )  # fmt: skip
    parameters = {
        "TableName": "t",
        "Item": {"pk": {"S.$": "$.k"}},
        "ConditionExpression": "attribute_not_exists(pk)",
    }
    for resource, error in (
        ("arn:aws:states:::dynamodb:putItem", "DynamoDB.ConditionalCheckFailedException"),
        ("arn:aws:states:::aws-sdk:dynamodb:putItem", "DynamoDb.ConditionalCheckFailedException"),
    ):
        machine = world.machine(
            T={"Type": "Task", "Resource": resource, "Parameters": parameters, "End": True}
        )
        assert world.run(machine, {"k": error})["status"] == "SUCCEEDED"
        assert world.run(machine, {"k": error})["error"] == error


def _callback(url: str, **options: Any) -> dict[str, Any]:
    return {
        "Type": "Task", "Resource": "arn:aws:states:::sqs:sendMessage.waitForTaskToken", "End": True,
        "Parameters": {"QueueUrl": url, "MessageBody": {"token.$": "$$.Task.Token"}}, **options,
    }  # fmt: skip


def test_given_a_callback_when_success_is_sent_then_the_output_is_the_result(world: World) -> None:
    url = world.queue()
    arn = world.start(world.machine(T=_callback(url)))
    token = json.loads(world.message(url))["token"]
    world.api.send_task_success(taskToken=token, output='{"done":1}')
    assert json.loads(world.closed(arn)["output"]) == {"done": 1}
    with pytest.raises(ClientError, match="TaskTimedOut"):
        world.api.send_task_success(taskToken=token, output="{}")


def test_given_a_callback_when_failure_is_sent_then_the_state_fails_with_it(world: World) -> None:
    url = world.queue()
    arn = world.start(world.machine(T=_callback(url)))
    world.api.send_task_failure(taskToken=json.loads(world.message(url))["token"], error="E", cause="C")
    answer = world.closed(arn)
    assert (answer["error"], answer["cause"]) == ("E", "C")


def test_given_a_task_timeout_when_nobody_answers_then_states_timeout_can_be_caught(world: World) -> None:
    catch = [{"ErrorEquals": ["States.Timeout"], "ResultPath": "$.error", "Next": "E"}]
    task = _callback(world.queue(), TimeoutSeconds=1, Catch=catch)
    arn = world.start(world.machine(T=task, E={"Type": "Pass", "End": True}))
    assert json.loads(world.closed(arn)["output"])["error"]["Error"] == "States.Timeout"
    kinds = [e["type"] for e in world.api.get_execution_history(executionArn=arn)["events"]]
    assert "TaskTimedOut" in kinds


def test_given_heartbeats_when_they_stop_then_the_state_fails_within_two_heartbeats() -> None:
    """F28: a worker that dies silently is noticed."""
    clock = ManualClock(1_800_000_000)
    with Cloud(CloudSettings(account_id="123456789028", clock=clock)) as cloud:
        world = World(cloud)
        url = world.queue()
        arn = world.start(world.machine(T=_callback(url, HeartbeatSeconds=10, TimeoutSeconds=600)))
        token = json.loads(world.message(url))["token"]
        for _ in range(3):
            clock.advance(9)
            world.api.send_task_heartbeat(taskToken=token)
        assert world.api.describe_execution(executionArn=arn)["status"] == "RUNNING"
        clock.advance(20)
        assert world.closed(arn)["error"] == "States.HeartbeatTimeout"
        with pytest.raises(ClientError, match="TaskTimedOut"):
            world.api.send_task_heartbeat(taskToken=token)


def test_given_a_child_execution_when_synchronous_then_its_output_or_failure_comes_back(world: World) -> None:
    child = world.machine(
        C={
            "Type": "Choice",
            "Choices": [{"Variable": "$.ok", "BooleanEquals": True, "Next": "P"}],
            "Default": "F",
        },
        P={"Type": "Pass", "Result": {"r": 1}, "End": True},
        F={"Type": "Fail", "Error": "Bad"},
    )
    task = {
        "Type": "Task", "Resource": "arn:aws:states:::states:startExecution.sync:2", "End": True,
        "Parameters": {"StateMachineArn": child, "Input.$": "$"},
    }  # fmt: skip
    parent = world.machine(T=task)
    assert json.loads(world.run(parent, {"ok": True})["output"])["Output"] == {"r": 1}
    answer = world.run(parent, {"ok": False})
    assert answer["error"] == "States.TaskFailed"
    assert json.loads(answer["cause"])["Error"] == "Bad"


def test_given_a_dropped_result_over_256_kib_then_data_limit_exceeded(
    world: World,
) -> None:
    child = world.machine(P={"Type": "Pass", "End": True})
    task = {
        "Type": "Task", "Resource": "arn:aws:states:::states:startExecution.sync", "End": True, "ResultPath": None,
        "Parameters": {"StateMachineArn": child, "Input.$": "$"},
    }  # fmt: skip
    # The child's description has its input and its output, which are one and the same text here.
    assert world.run(world.machine(T=task), {"x": "x" * 120_000})["status"] == "SUCCEEDED"
    answer = world.run(world.machine(T=task), {"x": "x" * 140_000})
    assert (answer["error"], answer["cause"]) == (
        "States.DataLimitExceeded",
        "The state/task 'T' returned a result with a size exceeding the maximum number of bytes service limit.",
    )


def test_given_an_ecs_job_when_synchronous_then_its_exit_code_decides_and_an_abort_stops_it(
    world: World, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"Entrypoint": ["/bin/sh", "-c"]}))
    ecs = world.cloud.boto("ecs")
    ecs.create_cluster(clusterName="jobs")
    ecs.register_task_definition(
        family="job", networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256", memory="512",
        containerDefinitions=[{"name": "main", "image": f"file://{tmp_path}"}],
    )  # fmt: skip
    task = {
        "Type": "Task", "Resource": "arn:aws:states:::ecs:runTask.sync", "End": True,
        "Parameters": {
            "Cluster": "jobs", "TaskDefinition": "job", "LaunchType": "FARGATE",
            "NetworkConfiguration": {"AwsvpcConfiguration": {"Subnets": ["subnet-1"]}},
            "Overrides": {"ContainerOverrides": [{"Name": "main", "Command.$": "States.Array($.run)"}]},
        },
    }  # fmt: skip
    machine = world.machine(T=task)
    assert world.run(machine, {"run": "exit 0"})["status"] == "SUCCEEDED"
    assert world.run(machine, {"run": "exit 4"})["error"] == "States.TaskFailed"
    arn = world.start(machine, {"run": "sleep 60"})
    until(lambda: world.cloud.inventory()["ecs"].get("task"))
    until(lambda: [t for t in ecs.list_tasks(cluster="jobs")["taskArns"]])
    time.sleep(0.2)
    world.api.stop_execution(executionArn=arn)
    until(lambda: not world.cloud.inventory()["ecs"].get("task"))


@pytest.mark.slow
def test_given_the_aws_cli_when_an_execution_is_started_then_it_can_be_described(world: World) -> None:
    machine = world.machine(P={"Type": "Pass", "Result": {"r": 1}, "End": True})
    env = {
        "PATH": "/usr/bin:/bin", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL": world.cloud.endpoint,
    }  # fmt: skip

    def aws(*arguments: str) -> dict[str, Any]:
        command = [str(Path(sys.executable).parent / "aws"), "stepfunctions", *arguments]
        answer: dict[str, Any] = json.loads(
            subprocess.run(command, env=env, check=True, capture_output=True).stdout
        )
        return answer

    arn = aws("start-execution", "--state-machine-arn", machine, "--input", "{}")["executionArn"]
    world.closed(arn)
    assert json.loads(aws("describe-execution", "--execution-arn", arn)["output"]) == {"r": 1}
