"""Alarms, scaling policies and scheduled actions of the embedded cloud, on a clock moved by hand.

Proves when they act and with what capacity; ECS tasks are real processes but short ones. Does not prove the decision
arithmetic itself (keepwarm_runtime.scaling has its own tests) nor AWS's exact alarm delays.
"""

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from keepwarm_localcloud.clockwork.clock import ManualClock
from keepwarm_localcloud.cloud import Cloud, CloudSettings
from keepwarm_localcloud.request import Request
from keepwarm_localcloud.services.autoscaling import AutoscalingService
from keepwarm_localcloud.services.autoscaling.metrics import ExpressionError, evaluate
from keepwarm_localcloud.services.context import Context, Service
from keepwarm_localcloud.services.ecs import EcsService
from keepwarm_localcloud.services.servicediscovery import ServiceDiscoveryService
from keepwarm_localcloud.services.sqs import SqsService
from tests.support.patience import until

START_S = 1_700_000_040.0
"""On a full minute, so that periods begin where the test begins."""
RESOURCE = {
    "ServiceNamespace": "ecs",
    "ResourceId": "service/c/web",
    "ScalableDimension": "ecs:service:DesiredCount",
}

METRIC = {
    "Namespace": "Keepwarm",
    "MetricName": "Backlog",
    "Statistic": "Average",
    "Dimensions": [{"Name": "Service", "Value": "s"}],
}


class Functions:
    """Lambda as far as an alarm uses it."""

    name = "lambda"

    def __init__(self) -> None:
        self.delivered: list[tuple[str, dict[str, Any], dict[str, Any]]] = []

    def start(self, context: Context) -> None: ...

    def stop(self) -> None: ...

    def inventory(self) -> dict[str, list[str]]:
        return {}

    def handle(self, request: Request) -> None: ...

    def deliver(self, function: str, payload: bytes, **asked: Any) -> None:
        self.delivered.append((function, json.loads(payload), asked))


class Scaling:
    """A cloud with one ECS service and shortcuts."""

    def __init__(self, cloud: Cloud, clock: ManualClock, folder: Path) -> None:
        self.cloud, self.clock = cloud, clock
        self.api = cloud.boto("application-autoscaling")
        self.watch = cloud.boto("cloudwatch")
        (folder / "config.json").write_text(json.dumps({"Entrypoint": ["sleep", "60"]}))
        ecs = cloud.boto("ecs")
        ecs.create_cluster(clusterName="c", settings=[{"name": "containerInsights", "value": "enabled"}])
        ecs.register_task_definition(
            family="web", networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256", memory="512",
            containerDefinitions=[{"name": "m", "image": f"file://{folder}", "stopTimeout": 2}],
        )  # fmt: skip
        ecs.create_service(
            cluster="c", serviceName="web", taskDefinition="web", desiredCount=0, launchType="FARGATE",
            networkConfiguration={"awsvpcConfiguration": {"subnets": ["subnet-1"]}},
        )  # fmt: skip
        self.ecs = ecs

    @property
    def desired(self) -> int:
        return int(self.ecs.describe_services(cluster="c", services=["web"])["services"][0]["desiredCount"])

    def register(self, low: int, high: int, **options: Any) -> None:
        self.api.register_scalable_target(**RESOURCE, MinCapacity=low, MaxCapacity=high, **options)

    def scaled(self) -> list[tuple[float, str]]:
        """When (seconds after the start) and to what the target was set, oldest first."""
        found = self.api.describe_scaling_activities(ServiceNamespace="ecs")["ScalingActivities"]
        return [(a["StartTime"].timestamp() - START_S, a["Description"]) for a in reversed(found)]

    def refusal(self, call: Callable[..., Any], **arguments: Any) -> tuple[str, str]:
        with pytest.raises(ClientError) as refused:
            call(**{**RESOURCE, **arguments})
        error = refused.value.response["Error"]
        return error["Code"], error["Message"]

    def put(self, value: float, name: str = "Backlog") -> None:
        stamp = datetime.fromtimestamp(self.clock.now_s(), UTC)
        data = {
            "MetricName": name,
            "Value": value,
            "Timestamp": stamp,
            "Dimensions": [{"Name": "Service", "Value": "s"}],
        }
        self.watch.put_metric_data(Namespace="Keepwarm", MetricData=[data])

    def alarm(self, name: str, actions: list[str], **options: Any) -> None:
        options = {
            "Namespace": "Keepwarm", "MetricName": "Backlog", "Dimensions": [{"Name": "Service", "Value": "s"}],
            "Statistic": "Sum", "Period": 60, "EvaluationPeriods": 1, "Threshold": 1.0,
            "ComparisonOperator": "GreaterThanOrEqualToThreshold", **options,
        }  # fmt: skip
        self.watch.put_metric_alarm(AlarmName=name, AlarmActions=actions, **options)

    def state(self, name: str) -> str:
        return str(self.watch.describe_alarms(AlarmNames=[name])["MetricAlarms"][0]["StateValue"])

    def becomes(self, name: str, state: str) -> None:
        until(lambda: self.state(name) == state)

    def steps(self, name: str, kind: str, steps: list[dict[str, Any]], cooldown_s: int = 0) -> str:
        config = {"AdjustmentType": kind, "StepAdjustments": steps, "Cooldown": cooldown_s}
        answer = self.api.put_scaling_policy(
            PolicyName=name, PolicyType="StepScaling", StepScalingPolicyConfiguration=config, **RESOURCE
        )
        return str(answer["PolicyARN"])


@pytest.fixture
def scaling(tmp_path: Path) -> Iterator[Scaling]:
    clock = ManualClock(START_S)
    services: list[Service] = [
        EcsService(), ServiceDiscoveryService(), SqsService(), AutoscalingService(), Functions(),
    ]  # fmt: skip
    with Cloud(CloudSettings(account_id="123456789025", clock=clock), services) as cloud:
        yield Scaling(cloud, clock, tmp_path)


def test_given_zero_tasks_when_demand_appears_then_step_scaling_starts_one_and_idleness_ends_it(
    scaling: Scaling,
) -> None:
    scaling.register(0, 3)
    out = scaling.steps("out", "ExactCapacity", [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}])
    steps = [
        {"MetricIntervalUpperBound": 0, "ScalingAdjustment": 0},
        {"MetricIntervalLowerBound": 0, "ScalingAdjustment": 0},
    ]
    back = scaling.steps("in", "ExactCapacity", steps)
    scaling.alarm("backlog", [out], TreatMissingData="notBreaching")
    scaling.alarm(
        "idle", [back], ComparisonOperator="LessThanThreshold", EvaluationPeriods=3, TreatMissingData="breaching"
    )  # fmt: skip
    scaling.clock.advance(1)
    scaling.becomes("idle", "ALARM")
    assert scaling.desired == 0
    scaling.put(2)
    scaling.clock.advance(1)
    until(lambda: scaling.desired == 1)
    scaling.becomes("idle", "OK")
    scaling.clock.advance(60)
    time.sleep(0.1)
    assert scaling.desired == 1
    for _ in range(4):
        scaling.clock.advance(60)
    scaling.becomes("idle", "ALARM")
    until(lambda: scaling.desired == 0)
    causes = [
        a["Cause"]
        for a in scaling.api.describe_scaling_activities(ServiceNamespace="ecs")["ScalingActivities"]
    ]
    assert causes == [
        "monitor alarm idle in state ALARM triggered policy in",
        "monitor alarm backlog in state ALARM triggered policy out",
    ]


def test_given_steps_when_the_breach_is_larger_then_the_larger_step_within_the_maximum(
    scaling: Scaling,
) -> None:
    scaling.register(0, 3)
    arn = scaling.steps(
        "out", "ChangeInCapacity",
        [
            {"MetricIntervalLowerBound": 0, "MetricIntervalUpperBound": 10, "ScalingAdjustment": 1},
            {"MetricIntervalLowerBound": 10, "ScalingAdjustment": 5},
        ],
    )  # fmt: skip
    scaling.alarm("backlog", [arn])
    scaling.put(50)
    scaling.clock.advance(1)
    until(lambda: scaling.desired == 3)


def test_given_a_cooldown_when_the_alarm_lasts_then_no_second_step_until_it_is_over(scaling: Scaling) -> None:
    scaling.register(0, 5)
    arn = scaling.steps(
        "out", "ChangeInCapacity", [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}], 300
    )
    scaling.alarm("backlog", [arn])
    for _ in range(4):
        scaling.put(5)
        scaling.clock.advance(60)
        until(lambda: scaling.desired == 1)
    for _ in range(2):
        scaling.put(5)
        scaling.clock.advance(60)
        time.sleep(0.1)
    until(lambda: scaling.desired == 2)


def test_given_a_cooldown_when_capacity_shrank_then_it_shrinks_no_further_until_it_is_over(
    scaling: Scaling,
) -> None:
    scaling.register(0, 5)
    scaling.ecs.update_service(cluster="c", service="web", desiredCount=3)
    arn = scaling.steps(
        "in", "ChangeInCapacity", [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": -1}], 300
    )
    scaling.alarm("idle", [arn], ComparisonOperator="LessThanThreshold", TreatMissingData="breaching")
    scaling.clock.advance(1)
    until(lambda: scaling.desired == 2)
    for _ in range(4):
        scaling.clock.advance(60)
        time.sleep(0.1)
    assert scaling.desired == 2
    for _ in range(2):
        scaling.clock.advance(60)
        time.sleep(0.1)
    until(lambda: scaling.desired == 1)


@pytest.mark.parametrize(
    ("treat", "state"),
    [
        ("missing", "INSUFFICIENT_DATA"),
        ("notBreaching", "OK"),
        ("breaching", "ALARM"),
        ("ignore", "INSUFFICIENT_DATA"),
    ],
)
def test_given_no_data_when_evaluated_then_missing_data_is_treated_as_asked(
    scaling: Scaling, treat: str, state: str
) -> None:
    scaling.alarm("a", [], TreatMissingData=treat)
    scaling.clock.advance(60)
    scaling.becomes("a", state)


@pytest.mark.parametrize(
    ("treat", "state"),
    [
        ("missing", "INSUFFICIENT_DATA"),
        ("notBreaching", "OK"),
        ("breaching", "ALARM"),
        ("ignore", "ALARM"),
    ],
)
def test_given_an_alarm_when_its_data_stops_then_missing_data_is_treated_as_asked(
    scaling: Scaling, treat: str, state: str
) -> None:
    scaling.put(5)
    scaling.alarm("a", [], TreatMissingData=treat)
    scaling.clock.advance(60)
    scaling.becomes("a", "ALARM")
    # An alarm that is made now is evaluated in the same pass as the other one.
    scaling.alarm("later", [], TreatMissingData="notBreaching")
    scaling.clock.advance(60)
    scaling.becomes("later", "OK")
    scaling.becomes("a", state)


def test_given_an_alarm_when_put_again_then_it_keeps_its_state(
    scaling: Scaling,
) -> None:
    scaling.alarm("a", [])
    assert scaling.state("a") == "INSUFFICIENT_DATA"
    scaling.put(5)
    scaling.clock.advance(60)
    scaling.becomes("a", "ALARM")
    scaling.alarm("a", [], Threshold=4.0)
    assert scaling.state("a") == "ALARM"


def test_given_actions_disabled_when_an_alarm_changes_then_nothing_is_called_until_enabled(
    scaling: Scaling,
) -> None:
    scaling.register(0, 3)
    arn = scaling.steps("out", "ExactCapacity", [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}])
    # An alarm that keeps its state without data asks its scaling policy again like any other.
    scaling.alarm("backlog", [arn], ActionsEnabled=False, TreatMissingData="ignore")
    scaling.put(5)
    scaling.clock.advance(60)
    scaling.becomes("backlog", "ALARM")
    scaling.clock.advance(30)
    scaling.watch.enable_alarm_actions(AlarmNames=["backlog"])
    scaling.clock.advance(60)
    until(lambda: scaling.desired == 1)
    ((when_s, what),) = scaling.scaled()
    assert what == "Setting desired count to 1."
    assert when_s >= 90, "it acted before its actions were enabled"


def test_given_m_of_n_when_fewer_datapoints_breach_then_no_alarm(scaling: Scaling) -> None:
    scaling.alarm("a", [], EvaluationPeriods=3, DatapointsToAlarm=2, TreatMissingData="notBreaching")
    scaling.put(5)
    scaling.clock.advance(120)
    scaling.becomes("a", "OK")
    scaling.put(5)
    scaling.clock.advance(1)
    scaling.becomes("a", "ALARM")


def test_given_metric_math_when_evaluated_then_the_expression_decides(scaling: Scaling) -> None:
    def query(identity: str, name: str) -> dict[str, Any]:
        metric = {
            "Namespace": "Keepwarm",
            "MetricName": name,
            "Dimensions": [{"Name": "Service", "Value": "s"}],
        }
        return {
            "Id": identity,
            "ReturnData": False,
            "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Sum"},
        }

    expression = {"Id": "e", "Expression": "IF(FILL(n, 0) > 0, b / n, b)", "ReturnData": True}
    scaling.watch.put_metric_alarm(
        AlarmName="math", EvaluationPeriods=1, Threshold=4.0, ComparisonOperator="GreaterThanThreshold",
        Metrics=[query("b", "Backlog"), query("n", "Tasks"), expression],
    )  # fmt: skip
    scaling.put(10)
    scaling.put(5, "Tasks")
    scaling.clock.advance(60)
    scaling.becomes("math", "OK")
    scaling.put(10)
    scaling.put(2, "Tasks")
    scaling.clock.advance(60)
    scaling.becomes("math", "ALARM")


VALUES = {"a": 6.0, "b": 4.0, "zero": 0.0, "none": None}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("a + b", 10), ("a - b", 2), ("a * b", 24), ("a / b", 1.5), ("-a", -6), ("a / zero", None), ("a + none", None),
        ("a > b", 1), ("a < b", 0), ("a >= 6", 1), ("a <= 5", 0), ("a == 6", 1), ("a != 6", 0),
        ("IF(a > b, a, b)", 6), ("IF(a < b, a)", None), ("IF(none > 1, a, b)", None), ("FILL(none, 3)", 3),
        ("FILL(a, 3)", 6), ("SUM([a, b, none])", 10), ("MAX(a, b)", 6), ("MIN([a, b])", 4), ("AVG([a, b])", 5),
        ("SUM([none])", None), ("ABS(b - a)", 2), ("CEIL(a / b)", 2), ("FLOOR(a / b)", 1),
    ],
)  # fmt: skip
def test_given_metric_math_when_evaluated_then_as_documented(expression: str, expected: float | None) -> None:
    assert evaluate(expression, VALUES) == expected


@pytest.mark.parametrize(
    ("expression", "got"),
    [
        ("RATE(a)", "the function RATE"),
        ("ANOMALY_DETECTION_BAND(a, 2)", "the function ANOMALY_DETECTION_BAND"),
        ("a ^ 2", "BinOp"),
        ("c + 1", "the unknown id 'c'"),
        ("a and b", "BoolOp"),
    ],
)
def test_given_other_metric_math_when_evaluated_then_kw613(expression: str, got: str) -> None:
    with pytest.raises(ExpressionError) as refused:
        evaluate(expression, VALUES)
    assert str(refused.value) == (
        f"KW613 metric expression '{expression}': got {got}; allowed ids, numbers, + - * /, comparisons, IF, FILL, "
        "SUM, MAX, MIN, AVG, ABS, CEIL, FLOOR; because nothing else of metric math is implemented; "
        "fix: write it with these"
    )


def test_given_other_metric_math_when_an_alarm_or_a_policy_has_it_then_it_says_so(scaling: Scaling) -> None:
    metric = {"Namespace": "Keepwarm", "MetricName": "Backlog"}
    queries = [
        {"Id": "b", "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Sum"}, "ReturnData": False},
        {"Id": "e", "Expression": "RATE(b)", "ReturnData": True},
    ]
    scaling.watch.put_metric_alarm(
        AlarmName="math", EvaluationPeriods=1, Threshold=4.0, ComparisonOperator="GreaterThanThreshold",
        Metrics=queries,
    )  # fmt: skip

    def reason() -> str:
        return str(scaling.watch.describe_alarms(AlarmNames=["math"])["MetricAlarms"][0]["StateReason"])

    scaling.clock.advance(1)
    until(lambda: reason().startswith("KW613 metric expression 'RATE(b)': got the function RATE; "))
    assert scaling.state("math") == "INSUFFICIENT_DATA"
    scaling.register(0, 1)
    del queries[0]["MetricStat"]["Period"]  # type: ignore[attr-defined]
    code, message = scaling.refusal(
        scaling.api.put_scaling_policy, PolicyName="p", PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={
            "TargetValue": 1.0, "CustomizedMetricSpecification": {"Metrics": queries},
        },
    )  # fmt: skip
    assert code == "ValidationException"
    assert message.startswith("KW613 metric expression 'RATE(b)': got the function RATE; ")


def test_given_an_alarm_with_a_topic_when_set_by_hand_then_it_publishes_and_returns_to_its_own_state(
    scaling: Scaling,
) -> None:
    topic = scaling.cloud.boto("sns").create_topic(Name="t")["TopicArn"]
    scaling.alarm("a", [topic], TreatMissingData="notBreaching")
    scaling.clock.advance(1)
    scaling.becomes("a", "OK")
    scaling.watch.set_alarm_state(AlarmName="a", StateValue="ALARM", StateReason="drill")
    scaling.clock.advance(1)
    facts = until(lambda: [e.facts for e in scaling.cloud.journal.since(kind="alarm")])
    assert (facts[0]["state"], facts[0]["action"]) == ("ALARM", topic)
    assert "error" not in facts[-1]
    scaling.clock.advance(1)
    scaling.becomes("a", "OK")
    ((_, message, subject, *_),) = until(
        lambda: scaling.cloud.moto.backend("sns").topics[topic].sent_notifications
    )
    told = json.loads(message)
    assert subject == 'ALARM: "a"'
    assert (told["AlarmName"], told["OldStateValue"], told["NewStateValue"], told["NewStateReason"]) == (
        "a",
        "OK",
        "ALARM",
        "drill",
    )


def test_given_an_alarm_in_alarm_when_it_is_made_anew_then_it_begins_without_a_state_and_acts_again(
    scaling: Scaling,
) -> None:
    topic = scaling.cloud.boto("sns").create_topic(Name="t")["TopicArn"]

    def acted() -> int:
        return len(scaling.cloud.journal.since(kind="alarm"))

    scaling.alarm("a", [topic])
    scaling.put(5)
    scaling.clock.advance(1)
    until(lambda: acted() == 1)
    # Between two evaluations: nobody sees that it was gone.
    scaling.watch.delete_alarms(AlarmNames=["a"])
    scaling.alarm("a", [topic])
    assert scaling.state("a") == "INSUFFICIENT_DATA"
    scaling.put(5)
    scaling.clock.advance(1)
    until(lambda: acted() == 2)


def test_given_a_state_set_by_hand_when_the_alarm_is_put_again_then_it_keeps_that_state(
    scaling: Scaling,
) -> None:
    scaling.alarm("a", [])
    scaling.watch.set_alarm_state(AlarmName="a", StateValue="ALARM", StateReason="drill")
    scaling.alarm("a", [])
    assert scaling.state("a") == "ALARM"


def test_given_an_alarm_with_a_function_when_it_fires_then_the_service_of_alarms_delivers_the_change(
    scaling: Scaling,
) -> None:
    function = "arn:aws:lambda:us-east-1:123456789025:function:f"
    scaling.alarm("a", [function], AlarmDescription="too much")
    scaling.put(5)
    scaling.clock.advance(60)
    functions = scaling.cloud.service("lambda", Functions)
    ((called, event, asked),) = until(lambda: functions.delivered)
    alarm = "arn:aws:cloudwatch:us-east-1:123456789025:alarm:a"
    assert (called, asked) == (
        function,
        {
            "principal": "lambda.alarms.cloudwatch.amazonaws.com",
            "source_arn": alarm,
            "source_account": "123456789025",
        },
    )
    assert event.pop("alarmData") == {
        "alarmName": "a",
        "state": {
            "value": "ALARM",
            "reason": "Threshold Crossed: datapoints [5] against GreaterThanOrEqualToThreshold 1.0.",
            "timestamp": event["time"],
        },
        "previousState": {"value": "INSUFFICIENT_DATA"},
        "configuration": {"description": "too much"},
    }
    # The running period counts at once, so that the first look may be enough.
    assert event.pop("time") in ("2023-11-14T22:14:00.000+0000", "2023-11-14T22:15:00.000+0000")
    assert event == {
        "source": "aws.cloudwatch",
        "alarmArn": alarm,
        "accountId": "123456789025",
        "region": "us-east-1",
    }


def test_given_target_tracking_when_the_metric_is_above_for_three_minutes_then_capacity_in_proportion(
    scaling: Scaling,
) -> None:
    scaling.register(1, 10)
    scaling.ecs.update_service(cluster="c", service="web", desiredCount=2)
    config = {
        "TargetValue": 10.0, "CustomizedMetricSpecification": METRIC, "ScaleOutCooldown": 0, "ScaleInCooldown": 0,
    }  # fmt: skip
    answer = scaling.api.put_scaling_policy(
        PolicyName="track",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration=config,
        **RESOURCE,
    )
    names = [a["AlarmName"] for a in answer["Alarms"]]
    assert [n.split("-")[-6] for n in names] == ["AlarmHigh", "AlarmLow"]
    for _ in range(2):
        scaling.put(25)
        scaling.clock.advance(60)
    assert scaling.desired == 2
    scaling.put(25)
    scaling.clock.advance(60)
    until(lambda: scaling.desired == 5)
    scaling.api.delete_scaling_policy(PolicyName="track", **RESOURCE)
    assert scaling.watch.describe_alarms()["MetricAlarms"] == []


def test_given_15_minutes_below_90_percent_then_tracking_scales_in_proportion(
    scaling: Scaling,
) -> None:
    scaling.register(1, 10)
    scaling.ecs.update_service(cluster="c", service="web", desiredCount=4)
    config = {"TargetValue": 10.0, "CustomizedMetricSpecification": METRIC}
    scaling.api.put_scaling_policy(
        PolicyName="track", PolicyType="TargetTrackingScaling", TargetTrackingScalingPolicyConfiguration=config,
        **RESOURCE,
    )  # fmt: skip
    alarms = {
        a["ComparisonOperator"]: (a["Threshold"], a["EvaluationPeriods"])
        for a in scaling.watch.describe_alarms()["MetricAlarms"]
    }
    assert alarms == {"GreaterThanThreshold": (10.0, 3), "LessThanThreshold": (9.0, 15)}
    for _ in range(15):
        scaling.put(4)
        scaling.clock.advance(60)
    until(lambda: scaling.desired == 2)
    assert scaling.scaled()[1:] == [(900, "Setting desired count to 2.")]


def test_given_target_tracking_without_scale_in_when_put_then_only_the_high_alarm(scaling: Scaling) -> None:
    scaling.register(1, 10)
    answer = scaling.api.put_scaling_policy(
        PolicyName="cpu", PolicyType="TargetTrackingScaling", **RESOURCE,
        TargetTrackingScalingPolicyConfiguration={
            "TargetValue": 60.0, "DisableScaleIn": True,
            "PredefinedMetricSpecification": {"PredefinedMetricType": "ECSServiceAverageCPUUtilization"},
        },
    )  # fmt: skip
    assert len(answer["Alarms"]) == 1
    (alarm,) = scaling.watch.describe_alarms()["MetricAlarms"]
    assert (alarm["Namespace"], alarm["MetricName"], alarm["Statistic"], alarm["Threshold"]) == (
        "AWS/ECS",
        "CPUUtilization",
        "Average",
        60.0,
    )
    assert {d["Name"]: d["Value"] for d in alarm["Dimensions"]} == {"ClusterName": "c", "ServiceName": "web"}


RUNNING = {
    "DynamicScalingInSuspended": False,
    "DynamicScalingOutSuspended": False,
    "ScheduledScalingSuspended": False,
}


@pytest.mark.parametrize(
    ("suspended", "adjustment", "wanted"),
    [("DynamicScalingOutSuspended", 3, 3), ("DynamicScalingInSuspended", 0, 0)],
)
def test_given_dynamic_scaling_suspended_when_an_alarm_fires_then_nothing_until_it_is_resumed(
    scaling: Scaling, suspended: str, adjustment: int, wanted: int
) -> None:
    scaling.register(0, 3, SuspendedState={suspended: True})
    scaling.ecs.update_service(cluster="c", service="web", desiredCount=1)
    target = scaling.api.describe_scalable_targets(ServiceNamespace="ecs")["ScalableTargets"][0]
    assert target["SuspendedState"] == {**RUNNING, suspended: True}
    steps = [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": adjustment}]
    scaling.alarm(
        "a", [scaling.steps("p", "ExactCapacity", steps)], ComparisonOperator="LessThanThreshold",
        TreatMissingData="breaching",
    )  # fmt: skip
    scaling.clock.advance(60)
    until(lambda: scaling.cloud.journal.since(kind="alarm"))
    scaling.clock.advance(30)
    scaling.register(0, 3, SuspendedState={suspended: False})
    scaling.clock.advance(60)
    until(lambda: scaling.desired == wanted)
    ((when_s, what),) = scaling.scaled()
    assert what == f"Setting desired count to {wanted}."
    assert when_s >= 90, "it scaled while that was suspended"


def test_given_the_other_direction_suspended_when_an_alarm_fires_then_it_acts(scaling: Scaling) -> None:
    scaling.register(0, 3, SuspendedState={**RUNNING, "DynamicScalingInSuspended": True})
    steps = [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}]
    scaling.alarm("a", [scaling.steps("p", "ExactCapacity", steps)])
    scaling.put(5)
    scaling.clock.advance(60)
    until(lambda: scaling.desired == 1)


def test_given_a_capacity_outside_new_bounds_then_it_is_moved_inside(
    scaling: Scaling,
) -> None:
    scaling.register(2, 5)
    assert scaling.desired == 2
    scaling.register(0, 1)
    assert scaling.desired == 1
    scaling.ecs.update_service(cluster="c", service="web", desiredCount=4)
    # Even without the bounds in the request.
    scaling.api.register_scalable_target(**RESOURCE)
    assert scaling.desired == 1
    scaling.register(0, 0)
    assert scaling.desired == 0
    causes = [
        a["Cause"]
        for a in scaling.api.describe_scaling_activities(ServiceNamespace="ecs")["ScalingActivities"]
    ]
    assert list(reversed(causes)) == [
        "minimum capacity was set to 2",
        "maximum capacity was set to 1",
        "maximum capacity was set to 1",
        "minimum capacity was set to 0",
    ]


def test_given_a_service_that_is_gone_when_its_target_is_updated_then_bounds_are_taken(
    scaling: Scaling,
) -> None:
    scaling.register(0, 5)
    scaling.ecs.delete_service(cluster="c", service="web", force=True)
    scaling.register(1, 5)
    (target,) = scaling.api.describe_scalable_targets(ServiceNamespace="ecs")["ScalableTargets"]
    assert (target["MinCapacity"], scaling.scaled()) == (1, [])


def test_given_a_registration_that_moved_the_capacity_then_it_starts_no_cooldown(
    scaling: Scaling,
) -> None:
    scaling.register(1, 5)
    steps = [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}]
    scaling.alarm("a", [scaling.steps("p", "ChangeInCapacity", steps, cooldown_s=300)])
    scaling.put(5)
    scaling.clock.advance(1)
    until(lambda: scaling.desired == 2)
    assert scaling.scaled()[-1] == (1, "Setting desired count to 2.")


def test_given_scheduled_scaling_suspended_when_an_action_is_due_then_nothing_until_it_is_resumed(
    scaling: Scaling,
) -> None:
    service = scaling.cloud.service("application-autoscaling", AutoscalingService)
    scaling.register(0, 5, SuspendedState={"ScheduledScalingSuspended": True})
    scaling.api.put_scheduled_action(
        ScheduledActionName="often", Schedule="cron(* * * * ? *)", ScalableTargetAction={"MinCapacity": 2}, **RESOURCE
    )  # fmt: skip
    (action,) = service.planned.values()
    scaling.clock.advance(60)
    until(lambda: action.next_s == START_S + 120)
    scaling.clock.advance(30)
    scaling.register(0, 5, SuspendedState={"ScheduledScalingSuspended": False})
    scaling.clock.advance(60)
    until(lambda: scaling.desired == 2)
    ((when_s, what),) = scaling.scaled()
    assert what == "Setting desired count to 2."
    assert when_s >= 90, "it scaled while that was suspended"


def test_given_a_scheduled_action_when_put_again_then_it_is_the_same_one_and_runs_once(
    scaling: Scaling,
) -> None:
    scaling.register(0, 5)
    action = {"ScheduledActionName": "up", "ScalableTargetAction": {"MinCapacity": 2}, **RESOURCE}

    def shown() -> dict[str, Any]:
        (found,) = scaling.api.describe_scheduled_actions(ServiceNamespace="ecs")["ScheduledActions"]
        return dict(found)

    scaling.api.put_scheduled_action(**action, Schedule="cron(20 22 * * ? *)")
    first = shown()
    scaling.clock.advance(60)
    scaling.api.put_scheduled_action(**action, Schedule="cron(20 22 * * ? *)")
    assert shown() == first
    scaling.clock.advance(300)
    until(lambda: scaling.desired == 2)
    # What is left out keeps its value, but for the times.
    scaling.api.put_scheduled_action(
        ScheduledActionName="up", ScalableTargetAction={"MinCapacity": 3}, **RESOURCE
    )
    assert shown() == {**first, "ScalableTargetAction": {"MinCapacity": 3}}
    scaling.clock.advance(24 * 3600)
    until(lambda: scaling.desired == 3)
    assert scaling.scaled() == [
        (360, "Setting desired count to 2."),
        (360 + 24 * 3600, "Setting desired count to 3."),
    ]


@pytest.mark.parametrize(("schedule", "second_min"), [("cron(0/10 * * * ? *)", 26), ("rate(10 minutes)", 30)])
def test_given_start_and_end_when_a_scheduled_action_recurs_then_it_runs_at_the_start_and_until_the_end(
    schedule: str, second_min: int, scaling: Scaling
) -> None:
    scaling.register(0, 5)
    start = datetime.fromtimestamp(START_S, UTC)
    scaling.api.put_scheduled_action(
        ScheduledActionName="up", Schedule=schedule, ScalableTargetAction={"MinCapacity": 1},
        StartTime=start + timedelta(minutes=20), EndTime=start + timedelta(minutes=35), **RESOURCE,
    )  # fmt: skip
    for passing_min in (20, second_min - 20):
        scaling.clock.advance(passing_min * 60)
        until(lambda: scaling.desired == 1)
        scaling.register(0, 5)
        scaling.ecs.update_service(cluster="c", service="web", desiredCount=0)
    scaling.api.put_scheduled_action(
        ScheduledActionName="later", Schedule="at(2023-11-15T00:00:00)", ScalableTargetAction={"MinCapacity": 3},
        StartTime=start + timedelta(minutes=1), **RESOURCE,
    )  # fmt: skip
    scaling.clock.advance(2 * 3600)
    until(lambda: scaling.desired == 3)
    assert scaling.scaled()[:2] == [(m * 60, "Setting desired count to 1.") for m in (20, second_min)]
    assert [what for _, what in scaling.scaled()[2:]] == ["Setting desired count to 3."]


@pytest.mark.parametrize("start_min", [None, 20])
def test_given_an_end_before_the_first_run_when_time_passes_then_a_scheduled_action_never_runs(
    start_min: int | None, scaling: Scaling
) -> None:
    scaling.register(0, 5)
    start = datetime.fromtimestamp(START_S, UTC)
    times: dict[str, Any] = {"EndTime": start + timedelta(minutes=5)}
    if start_min is not None:
        times["StartTime"] = start + timedelta(minutes=start_min)
    for name, schedule, least in (("never", "rate(10 minutes)", 1), ("later", "at(2023-11-15T00:00:00)", 3)):
        scaling.api.put_scheduled_action(
            ScheduledActionName=name, Schedule=schedule, ScalableTargetAction={"MinCapacity": least},
            **(times if name == "never" else {}), **RESOURCE,
        )  # fmt: skip
    scaling.clock.advance(2 * 3600)
    until(lambda: scaling.desired == 3)
    assert [what for _, what in scaling.scaled()] == ["Setting desired count to 3."]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Schedule": "rate(5 seconds)"}, "Invalid Schedule Expression rate(5 seconds)."),
        ({"Schedule": "daily"}, "Invalid Schedule Expression daily."),
        ({"Timezone": "Mars/Base"}, "Invalid Schedule Expression Timezone 'Mars/Base'"),
        (
            {"ScalableTargetAction": {}},
            "ScalableTargetAction with MinCapacity or MaxCapacity is required",
        ),
        (
            {"ScalableTargetAction": {"MinCapacity": 3, "MaxCapacity": 2}},
            "Maximum capacity cannot be less than minimum capacity: 3, 2",
        ),
    ],
)
def test_given_a_bad_scheduled_action_when_put_then_validation_exception(
    scaling: Scaling, change: dict[str, Any], message: str
) -> None:
    scaling.register(0, 5)
    good = {
        "ScheduledActionName": "x", "Schedule": "rate(1 day)", "ScalableTargetAction": {"MinCapacity": 1}
    }  # fmt: skip
    refused = scaling.refusal(scaling.api.put_scheduled_action, **{**good, **change})
    assert refused == ("ValidationException", message)


def test_given_policies_and_actions_when_the_target_is_deregistered_then_they_and_their_alarms_are_gone(
    scaling: Scaling,
) -> None:
    scaling.register(0, 5)
    scaling.api.put_scheduled_action(
        ScheduledActionName="up", Schedule="rate(1 day)", ScalableTargetAction={"MinCapacity": 1}, **RESOURCE
    )
    scaling.api.put_scaling_policy(
        PolicyName="cpu", PolicyType="TargetTrackingScaling", **RESOURCE,
        TargetTrackingScalingPolicyConfiguration={
            "TargetValue": 60.0,
            "PredefinedMetricSpecification": {"PredefinedMetricType": "ECSServiceAverageCPUUtilization"},
        },
    )  # fmt: skip
    assert len(scaling.watch.describe_alarms()["MetricAlarms"]) == 2
    scaling.api.deregister_scalable_target(**RESOURCE)
    assert scaling.watch.describe_alarms()["MetricAlarms"] == []
    assert scaling.api.describe_scaling_policies(ServiceNamespace="ecs")["ScalingPolicies"] == []
    assert scaling.api.describe_scheduled_actions(ServiceNamespace="ecs")["ScheduledActions"] == []
    gone = "No scalable target registered for service namespace: ecs, resource ID: service/c/web, scalable dimension: "
    for call, name in (
        (scaling.api.deregister_scalable_target, {}),
        (scaling.api.put_scaling_policy, {"PolicyName": "p"}),
    ):
        assert scaling.refusal(call, **name) == (
            "ObjectNotFoundException",
            f"{gone}ecs:service:DesiredCount",
        )
    for call, name, message in (
        (scaling.api.delete_scaling_policy, {"PolicyName": "cpu"}, "No scaling policy found for policy name: cpu"),
        (scaling.api.delete_scheduled_action, {"ScheduledActionName": "up"}, "No scheduled action found for name: up"),
    ):  # fmt: skip
        assert scaling.refusal(call, **name) == ("ObjectNotFoundException", message)


@pytest.mark.parametrize(
    ("kind", "config", "message"),
    [
        ("TargetTrackingScaling", {"TargetValue": 0.0}, "TargetValue must be greater than 0"),
        (
            "TargetTrackingScaling",
            {"TargetValue": 1.0},
            "A target tracking policy needs a predefined or a customized metric",
        ),
        (
            "TargetTrackingScaling",
            {
                "TargetValue": 1.0,
                "PredefinedMetricSpecification": {
                    "PredefinedMetricType": "LambdaProvisionedConcurrencyUtilization"
                },
            },
            "Unsupported metric type for the service namespace: LambdaProvisionedConcurrencyUtilization",
        ),
        (
            "PredictiveScaling",
            {"MetricSpecifications": []},
            "Policy type PredictiveScaling does not run in the embedded cloud",
        ),
        ("StepScaling", None, "StepScalingPolicyConfiguration is required for a policy of type StepScaling"),
    ],
)
def test_given_a_bad_policy_when_put_then_validation_exception(
    scaling: Scaling, kind: str, config: dict[str, Any] | None, message: str
) -> None:
    scaling.register(0, 1)
    arguments = {} if config is None else {f"{kind}PolicyConfiguration": config}
    refused = scaling.refusal(scaling.api.put_scaling_policy, PolicyName="p", PolicyType=kind, **arguments)
    assert refused == ("ValidationException", message)


def test_given_a_scheduled_action_when_its_local_time_comes_then_the_bounds_and_the_capacity_move(
    scaling: Scaling,
) -> None:
    scaling.register(0, 5)
    # 2023-11-14 22:14 UTC is 23:14 in Berlin.
    scaling.api.put_scheduled_action(
        ScheduledActionName="evening", Schedule="cron(20 23 * * ? *)", Timezone="Europe/Berlin",
        ScalableTargetAction={"MinCapacity": 2, "MaxCapacity": 4}, **RESOURCE,
    )  # fmt: skip
    scaling.clock.advance(5 * 60)
    time.sleep(0.1)
    assert scaling.desired == 0
    scaling.clock.advance(60)
    until(lambda: scaling.desired == 2)
    target = scaling.api.describe_scalable_targets(ServiceNamespace="ecs")["ScalableTargets"][0]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (2, 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ResourceId": "service/c/none"}, "ECS service doesn't exist"),
        ({"MinCapacity": 5, "MaxCapacity": 1}, "Maximum capacity cannot be less"),
        ({"ResourceId": "table/x"}, "Unsupported service namespace, resource type or scalable dimension"),
    ],
)
def test_given_a_bad_target_when_registered_then_validation_exception(
    scaling: Scaling, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ClientError, match=f"ValidationException.*{message}"):
        scaling.api.register_scalable_target(**{**RESOURCE, "MinCapacity": 0, "MaxCapacity": 1, **change})


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([], "A step scaling policy needs AdjustmentType and StepAdjustments"),
        (
            [{"MetricIntervalLowerBound": 5, "MetricIntervalUpperBound": 1, "ScalingAdjustment": 1}],
            "MetricIntervalLowerBound must be less than MetricIntervalUpperBound",
        ),
        (
            [
                {"MetricIntervalLowerBound": 0, "MetricIntervalUpperBound": 10, "ScalingAdjustment": 1},
                {"MetricIntervalLowerBound": 5, "ScalingAdjustment": 2},
            ],
            "The step adjustments must not overlap",
        ),
        (
            [
                {"MetricIntervalLowerBound": 0, "MetricIntervalUpperBound": 5, "ScalingAdjustment": 1},
                {"MetricIntervalLowerBound": 10, "ScalingAdjustment": 2},
            ],
            "The step adjustments must not have a gap",
        ),
        (
            [
                {"MetricIntervalLowerBound": i, "MetricIntervalUpperBound": i + 1, "ScalingAdjustment": i}
                for i in range(21)
            ],
            "A step scaling policy has at most 20 step adjustments",
        ),
    ],
)
def test_given_bad_steps_when_put_then_validation_exception(
    scaling: Scaling, steps: list[dict[str, Any]], message: str
) -> None:
    scaling.register(0, 1)
    with pytest.raises(ClientError) as refused:
        scaling.steps("x", "ChangeInCapacity", steps)
    assert refused.value.response["Error"] == {"Code": "ValidationException", "Message": message}


def test_given_a_running_service_when_a_minute_passes_then_ecs_publishes_its_metrics(
    scaling: Scaling,
) -> None:
    scaling.ecs.update_service(cluster="c", service="web", desiredCount=2)
    service = {"cluster": "c", "services": ["web"]}
    until(lambda: scaling.ecs.describe_services(**service)["services"][0]["runningCount"] == 2)
    scaling.clock.advance(60)
    dimensions = [{"Name": "ClusterName", "Value": "c"}, {"Name": "ServiceName", "Value": "web"}]

    def latest(namespace: str, name: str) -> list[float]:
        answer = scaling.watch.get_metric_statistics(
            Namespace=namespace, MetricName=name, Dimensions=dimensions, Period=60, Statistics=["Maximum"],
            StartTime=datetime.fromtimestamp(START_S, UTC), EndTime=datetime.fromtimestamp(START_S + 600, UTC),
        )  # fmt: skip
        return [point["Maximum"] for point in answer["Datapoints"]]

    assert until(lambda: latest("ECS/ContainerInsights", "RunningTaskCount")) == [2.0]
    assert 0 < until(lambda: latest("AWS/ECS", "MemoryUtilization"))[0] < 100
    scaling.clock.advance(60)
    assert until(lambda: latest("AWS/ECS", "CPUUtilization"))[0] >= 0
