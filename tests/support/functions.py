"""Functions and warm pools as their tests declare them, and what to look for afterwards."""

import json
from typing import Any

import keepwarm as kw
from tests.support.deployed import Deployed
from tests.support.samples import QUEUE, TARGET, code

TOPIC = "arn:aws:sns:eu-west-1:111122223333:alarms"
VPC = {"subnet_ids": ["subnet-0aaa", "subnet-0bbb"], "security_group_ids": ["sg-0aaa"], "network_path": "nat"}
FUNCTION = "aws:lambda/function:Function"
ALIAS = "aws:lambda/alias:Alias"
ALARM = "aws:cloudwatch/metricAlarm:MetricAlarm"
SOURCE = "aws:lambda/eventSourceMapping:EventSourceMapping"
PROVISIONED = "aws:lambda/provisionedConcurrencyConfig:ProvisionedConcurrencyConfig"
SCALABLE = "aws:appautoscaling/target:Target"
ALIAS_ARN = "arn:aws:lambda:eu-west-1:111122223333:function:f-function-1a2b3c4:live"


def function(**args: Any) -> Any:
    given = {"code": code(), **args}
    if "image" in args:
        del given["code"]
    return lambda: kw.RuntimeFunction("f", given)  # type: ignore[arg-type]


def consumer(**args: Any) -> Any:
    return lambda: kw.PreprocessingFunction("f", {"code": code(), "queue": QUEUE, **args})  # type: ignore[typeddict-item]


def pool(**args: Any) -> Any:
    return lambda: kw.WarmPool("w", {"target": TARGET, **args})  # type: ignore[typeddict-item]


def grants_of(seen: Deployed) -> list[tuple[list[str], list[str]]]:
    document = json.loads(seen.one("aws:iam/rolePolicy:RolePolicy", "f-policy")["policy"])
    return [(s["Action"], s["Resource"]) for s in document["Statement"]]
