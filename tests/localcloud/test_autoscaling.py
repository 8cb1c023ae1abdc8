"""Alarms, scaling policies and scheduled actions of the embedded cloud, on a clock moved by hand.

Proves when they act and with what capacity; ECS tasks are real processes but short ones. Does not prove the decision
arithmetic itself (keepwarm_runtime.scaling has its own tests) nor AWS's exact alarm delays.
"""

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from keepwarm_localcloud.autoscaling import AutoscalingService
from keepwarm_localcloud.clock import ManualClock
from keepwarm_localcloud.cloud import Cloud, CloudSettings
from keepwarm_localcloud.ecs import EcsService
from keepwarm_localcloud.service import Service
from keepwarm_localcloud.servicediscovery import ServiceDiscoveryService
from keepwarm_localcloud.sqs import SqsService

START_S = 1_700_000_040.0
"""On a full minute, so that periods begin where the test begins."""
RESOURCE = {
    "ServiceNamespace": "ecs",
    "ResourceId": "service/c/web",
    "ScalableDimension": "ecs:service:DesiredCount",
}


def until(condition: Callable[[], Any], limit_s: float = 10) -> Any:
    """Wait (bounded, real time) for another thread to act."""
    deadline_s = time.monotonic() + limit_s
    while not (value := condition()):
        assert time.monotonic() < deadline_s, "it never happened"
        time.sleep(0.01)
    return value


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

    def register(self, low: int, high: int) -> None:
        self.api.register_scalable_target(**RESOURCE, MinCapacity=low, MaxCapacity=high)

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
    services: list[Service] = [EcsService(), ServiceDiscoveryService(), SqsService(), AutoscalingService()]
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


def test_given_an_alarm_with_a_topic_when_set_by_hand_then_it_publishes_and_returns_to_its_own_state(
    scaling: Scaling,
) -> None:
    queue = scaling.cloud.boto("sqs").create_queue(QueueName="q")["QueueUrl"]
    arn = scaling.cloud.boto("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])[
        "Attributes"
    ]["QueueArn"]
    topic = scaling.cloud.boto("sns").create_topic(Name="t")["TopicArn"]
    assert arn
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


def test_given_target_tracking_when_the_metric_is_above_for_three_minutes_then_capacity_in_proportion(
    scaling: Scaling,
) -> None:
    scaling.register(1, 10)
    scaling.ecs.update_service(cluster="c", service="web", desiredCount=2)
    metric = {
        "Namespace": "Keepwarm", "MetricName": "Backlog", "Statistic": "Average",
        "Dimensions": [{"Name": "Service", "Value": "s"}],
    }  # fmt: skip
    config = {
        "TargetValue": 10.0, "CustomizedMetricSpecification": metric, "ScaleOutCooldown": 0, "ScaleInCooldown": 0,
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
    "steps",
    [
        [],
        [{"MetricIntervalLowerBound": 5, "MetricIntervalUpperBound": 1, "ScalingAdjustment": 1}],
        [
            {"MetricIntervalLowerBound": 0, "MetricIntervalUpperBound": 10, "ScalingAdjustment": 1},
            {"MetricIntervalLowerBound": 5, "ScalingAdjustment": 2},
        ],
    ],
)
def test_given_bad_steps_when_put_then_validation_exception(
    scaling: Scaling, steps: list[dict[str, Any]]
) -> None:
    scaling.register(0, 1)
    with pytest.raises(ClientError, match="ValidationException"):
        scaling.steps("x", "ChangeInCapacity", steps)


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
