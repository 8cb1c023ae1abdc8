"""The policies and alarms that a GpuService declares, run by the embedded autoscaler on a clock of the test's own.

Not proved: CloudWatch's own delays, which the policies' cooldowns are there for.
"""

from typing import Any

import pytest

import keepwarm as kw
from tests.localcloud.test_autoscaling import RESOURCE, Scaling
from tests.localcloud.test_autoscaling import scaling as scaling
from tests.support.deployed import DEFAULT_VPC, Deployed, deploy
from tests.support.patience import until
from tests.support.samples import IMAGE

NAMES = {"Service": "s", "ClusterName": "c", "ServiceName": "web"}


def pascal(value: Any) -> Any:
    """Keys as boto3 spells them."""
    if isinstance(value, dict):
        return {key[0].upper() + key[1:]: pascal(inner) for key, inner in value.items() if inner is not None}
    return [pascal(inner) for inner in value] if isinstance(value, list) else value


def dimensions(names: dict[str, str]) -> list[dict[str, str]]:
    return [{"Name": name, "Value": NAMES[name]} for name in names]


def query(given: dict[str, Any]) -> dict[str, Any]:
    if "metric" not in given:
        return dict(pascal(given))
    metric = given["metric"]
    where = {k: metric[k] for k in ("namespace", "metricName")}
    return {
        "Id": given["id"],
        "ReturnData": False,
        "MetricStat": {
            "Metric": {**pascal(where), "Dimensions": dimensions(metric["dimensions"])},
            "Period": int(metric["period"]),
            "Stat": metric["stat"],
        },
    }


def install(scaling: Scaling, seen: Deployed) -> None:
    """Give the embedded autoscaler what the component declared."""
    arns = {}
    for resource in seen.resources:
        if resource.typ == "aws:appautoscaling/policy:Policy":
            config = pascal(resource.inputs["stepScalingPolicyConfiguration"])
            config["Cooldown"] = int(config["Cooldown"])
            config["StepAdjustments"] = [
                {k: int(v) if k == "ScalingAdjustment" else float(v) for k, v in step.items()}
                for step in config["StepAdjustments"]
            ]
            answer = scaling.api.put_scaling_policy(
                PolicyName=resource.name,
                PolicyType="StepScaling",
                StepScalingPolicyConfiguration=config,
                **RESOURCE,
            )
            arns[f"arn:aws:appautoscaling:eu-west-1:111122223333:{resource.name}-1a2b3c4"] = answer[
                "PolicyARN"
            ]
    for resource in seen.resources:
        if resource.typ == "aws:cloudwatch/metricAlarm:MetricAlarm":
            alarm = pascal({k: v for k, v in resource.inputs.items() if k not in ("tags", "metricQueries")})
            alarm["AlarmActions"] = [arns[a] for a in alarm.get("AlarmActions", [])]
            if "metricQueries" in resource.inputs:
                alarm["Metrics"] = [query(q) for q in resource.inputs["metricQueries"]]
            else:
                alarm["Dimensions"] = dimensions(alarm["Dimensions"])
                alarm["Period"] = int(alarm["Period"])
            alarm["EvaluationPeriods"] = int(alarm["EvaluationPeriods"])
            scaling.watch.put_metric_alarm(AlarmName=resource.name, **alarm)


@pytest.fixture
def service(scaling: Scaling) -> Scaling:
    """A service of up to six tasks, one for ten requests a minute, that sleeps after three idle minutes."""
    seen = deploy(
        lambda: kw.GpuService(
            "g",
            {"image": IMAGE, "max_tasks": 6, "backlog_per_task": 10, "idle_minutes": 3},
        ),
        lookups=DEFAULT_VPC,
    )
    scaling.register(0, 6)
    install(scaling, seen)
    scaling.clock.advance(1)
    scaling.becomes("g-idle", "ALARM")
    return scaling


def minute(service: Scaling, demand: float) -> None:
    service.put(demand)
    service.clock.advance(60)


def test_given_a_burst_and_a_quieter_minute_then_no_task_is_taken_away(service: Scaling) -> None:
    minute(service, 55)
    until(lambda: service.desired == 6)
    for demand in (5, 25, 1, 12):
        minute(service, demand)
        until(lambda: service.desired == 6)
    assert [text for _, text in service.scaled()] == ["Setting desired count to 6."]

    for _ in range(5):
        service.clock.advance(60)
    until(lambda: service.desired == 0)


def test_given_growing_demand_then_what_is_missing_is_added(service: Scaling) -> None:
    minute(service, 15)
    until(lambda: service.desired == 2)
    for _ in range(8):
        minute(service, 45)
        until(lambda: service.desired == 5)
    assert [text for _, text in service.scaled()] == [
        "Setting desired count to 2.",
        "Setting desired count to 5.",
    ]
