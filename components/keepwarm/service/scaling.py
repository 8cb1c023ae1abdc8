"""How a GPU service grows with its callers' backlog and goes back when nobody wants it.

Growing only ever adds tasks: the alarms compare the tasks a backlog needs with those asked for, and the policies add
what is missing. A quieter minute takes no task away, since any may have work in flight; only the idle alarm does.
"""

from typing import Any

import pulumi
from pulumi_aws import appautoscaling, cloudwatch, ecs, servicediscovery

from keepwarm import limits
from keepwarm._values import concat, derive
from keepwarm.service.hosts import Cluster
from keepwarm.service.spec import GpuServiceSpec

GROWTH_COOLDOWN_S = 180
"""Until the tasks just added show in ECS's metrics, which come once a minute and late."""
GROWTH_PERIODS = 2
"""In the first period after a change ECS still reports the old number of tasks, and too many would be added."""


def scale(
    owner: pulumi.ComponentResource,
    name: str,
    spec: GpuServiceSpec,
    cluster: Cluster,
    service: ecs.Service,
    discovery: servicediscovery.Service,
) -> None:
    """Make target, policies and alarms."""
    child = pulumi.ResourceOptions(parent=owner)
    low, high = spec.scaling.min_tasks, spec.scaling.max_tasks
    target = appautoscaling.Target(
        f"{name}-target",
        service_namespace="ecs",
        scalable_dimension="ecs:service:DesiredCount",
        resource_id=concat("service/", cluster.name, "/", service.name),
        min_capacity=0 if spec.retiring else low,
        max_capacity=0 if spec.retiring else high,
        tags=spec.tags,
        opts=child,
    )
    same: dict[str, Any] = {
        "service_namespace": target.service_namespace,
        "scalable_dimension": target.scalable_dimension,
        "resource_id": target.resource_id,
        "policy_type": "StepScaling",
        "opts": child,
    }
    signals = _Signals(name, spec, cluster, service, discovery, child)
    if low == 0:
        # A sleeping service reports nothing, so the tasks already asked for show only in the policy's own cooldown.
        waking = _adding(f"{name}-wake", high, derive(round, spec.wake_s()), same)
        signals.missing(
            "backlog",
            "Callers want a service that has no running task: start the tasks their backlog needs.",
            f"IF(FILL(desired, 0) < 1, {signals.needed}, 0)",
            waking.arn,
        )
    growing = _adding(f"{name}-out", high, GROWTH_COOLDOWN_S, same)
    signals.missing(
        "growth",
        "The backlog needs more tasks than were asked for: add what is missing.",
        f"{signals.needed} - desired",
        growing.arn,
        GROWTH_PERIODS,
    )
    signals.idle(_back(f"{name}-in", spec, same).arn)
    signals.saturated()


def _adding(
    name: str, most: int, cooldown_s: pulumi.Input[int], same: dict[str, Any]
) -> appautoscaling.Policy:
    """A policy that adds the missing tasks; in its cooldown it adds only what is more than it added last."""
    return appautoscaling.Policy(
        name,
        step_scaling_policy_configuration={
            "adjustment_type": "ChangeInCapacity",
            "metric_aggregation_type": "Maximum",
            "cooldown": cooldown_s,
            "step_adjustments": [
                {
                    "metric_interval_lower_bound": str(step.lower),
                    "metric_interval_upper_bound": None if step.upper is None else str(step.upper),
                    "scaling_adjustment": step.tasks,
                }
                for step in limits.growth_steps(most)
            ],
        },
        **same,
    )


def _back(name: str, spec: GpuServiceSpec, same: dict[str, Any]) -> appautoscaling.Policy:
    """A policy that goes back to the minimum."""
    least = spec.scaling.min_tasks
    return appautoscaling.Policy(
        name,
        step_scaling_policy_configuration={
            "adjustment_type": "ExactCapacity",
            "metric_aggregation_type": "Maximum",
            "cooldown": spec.scaling.signal_period_s,
            # Both sides: an alarm that rang because data was missing may carry no value below its threshold.
            "step_adjustments": [
                {"metric_interval_upper_bound": "0", "scaling_adjustment": least},
                {"metric_interval_lower_bound": "0", "scaling_adjustment": least},
            ],
        },
        **same,
    )


class _Signals:
    """The alarms of one service."""

    def __init__(
        self,
        name: str,
        spec: GpuServiceSpec,
        cluster: Cluster,
        service: ecs.Service,
        discovery: servicediscovery.Service,
        child: pulumi.ResourceOptions,
    ) -> None:
        self._name, self._spec = name, spec
        self._shared: dict[str, Any] = {"tags": spec.tags, "opts": child}
        # Callers emit the metric, so the signal exists while there is no task.
        self._backlog: dict[str, Any] = {
            "namespace": spec.metric_namespace,
            "metric_name": "Backlog",
            "dimensions": {"Service": discovery.name},
        }
        self._desired: dict[str, Any] = {
            "namespace": "ECS/ContainerInsights",
            "metric_name": "DesiredTaskCount",
            "dimensions": {"ClusterName": cluster.name, "ServiceName": service.name},
        }
        self.needed = f"CEIL(backlog / {spec.scaling.backlog_per_task})"

    def missing(
        self, role: str, about: str, expression: str, policy: pulumi.Input[str], periods: int = 1
    ) -> None:
        """Rings while tasks are missing, and acts in every period in which it rings."""
        period = self._spec.scaling.signal_period_s

        def metric(label: str, source: dict[str, Any], statistic: str) -> Any:
            return {
                "id": label,
                "return_data": False,
                "metric": {**source, "stat": statistic, "period": period},
            }

        cloudwatch.MetricAlarm(
            f"{self._name}-{role}",
            alarm_description=about,
            comparison_operator="GreaterThanOrEqualToThreshold",
            threshold=1,
            evaluation_periods=periods,
            # No backlog is no demand.
            treat_missing_data="notBreaching",
            alarm_actions=[policy],
            metric_queries=[
                metric("backlog", self._backlog, "Sum"),
                metric("desired", self._desired, "Maximum"),
                {"id": "missing", "expression": expression, "label": "missing tasks", "return_data": True},
            ],
            **self._shared,
        )

    def idle(self, policy: pulumi.Input[str]) -> None:
        """Rings when there was no demand for a while."""
        cloudwatch.MetricAlarm(
            f"{self._name}-idle",
            alarm_description="Nobody wanted the service for a while: go back to the minimum.",
            comparison_operator="LessThanThreshold",
            threshold=1,
            statistic="Sum",
            period=60,
            evaluation_periods=self._spec.scaling.idle_minutes,
            # No data is no demand.
            treat_missing_data="breaching",
            alarm_actions=[policy],
            **self._backlog,
            **self._shared,
        )

    def saturated(self) -> None:
        """Rings when even all tasks are too few."""
        scaling = self._spec.scaling
        cloudwatch.MetricAlarm(
            f"{self._name}-saturated",
            alarm_description="The backlog exceeds what all tasks take: callers are being refused.",
            comparison_operator="GreaterThanThreshold",
            threshold=scaling.backlog_per_task * scaling.max_tasks,
            statistic="Sum",
            period=scaling.signal_period_s,
            evaluation_periods=5,
            treat_missing_data="notBreaching",
            alarm_actions=self._spec.alarm_topic_arns,
            **self._backlog,
            **self._shared,
        )
