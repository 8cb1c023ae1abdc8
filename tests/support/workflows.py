"""A cloud with Step Functions only and shortcuts for tests."""

import json
from typing import Any

import boto3
from botocore.config import Config

from keepwarm_localcloud.clockwork.clock import ManualClock
from keepwarm_localcloud.cloud import Cloud
from keepwarm_localcloud.services.stepfunctions import StepFunctionsService
from tests.support.patience import until

ROLE = "arn:aws:iam::123456789021:role/flow"


class Flow:
    """A cloud with Step Functions only and shortcuts for tests."""

    def __init__(self, cloud: Cloud, service: StepFunctionsService, clock: ManualClock) -> None:
        self.cloud, self.service, self.clock = cloud, service, clock
        self.api = boto3.client(
            "stepfunctions",
            endpoint_url=cloud.endpoint,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"total_max_attempts": 1}, inject_host_prefix=False),
        )
        self.count = 0
        trust = {"Statement": [{"Effect": "Allow", "Principal": {"Service": "states.amazonaws.com"}}]}
        for name, document in (("flow", json.dumps(trust)), ("stranger", "{}")):
            cloud.boto("iam").create_role(RoleName=name, AssumeRolePolicyDocument=document)

    def create(self, definition: dict[str, Any], **options: Any) -> str:
        self.count += 1
        options = {"name": f"m{self.count}", "roleArn": ROLE, **options}
        return str(
            self.api.create_state_machine(definition=json.dumps(definition), **options)["stateMachineArn"]
        )

    def states(self, start: str, **states: Any) -> str:
        return self.create({"StartAt": start, "States": states})

    def start(self, machine: str, value: Any = None, **options: Any) -> str:
        text = json.dumps({} if value is None else value)
        return str(self.api.start_execution(stateMachineArn=machine, input=text, **options)["executionArn"])

    def run(self, machine: str, value: Any = None) -> dict[str, Any]:
        return self.closed(self.start(machine, value))

    def closed(self, arn: str) -> dict[str, Any]:
        assert self.service.wait_closed(arn, 10).status != "RUNNING"
        answer: dict[str, Any] = self.api.describe_execution(executionArn=arn)
        return answer

    def output(self, machine: str, value: Any = None) -> Any:
        answer = self.run(machine, value)
        assert answer["status"] == "SUCCEEDED", answer
        return json.loads(answer["output"])

    def until(self, arn: str, kind: str, count: int = 1) -> None:
        """Wait until the history holds `count` events of a kind."""
        execution = self.service.executions[arn]
        until(lambda: sum(e["type"] == kind for e in list(execution.events)) >= count, f"no {count} {kind}")

    def events(self, arn: str) -> list[str]:
        return [e["type"] for e in self.api.get_execution_history(executionArn=arn)["events"]]


END = {"Type": "Pass", "End": True}


def one_of_them(number: int, states: dict[str, Any], others: dict[str, Any]) -> dict[str, Any]:
    """A machine for items that are numbers: one of them goes through `states`, the others through `others`."""
    first, rest = next(iter(states)), next(iter(others))
    choice = {
        "Type": "Choice",
        "Choices": [{"Variable": "$", "NumericEquals": number, "Next": first}],
        "Default": rest,
    }
    return {"StartAt": "C", "States": {"C": choice, **states, **others}}
