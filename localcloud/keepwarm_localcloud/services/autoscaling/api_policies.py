"""Operations on scaling policies, and the alarms of target tracking."""

import itertools
import re
import uuid
from typing import Any

from keepwarm_localcloud.request import AwsError
from keepwarm_localcloud.services.autoscaling.metrics import ExpressionError, evaluate
from keepwarm_localcloud.services.autoscaling.model import (
    PREDEFINED,
    Policy,
    invalid,
)
from keepwarm_localcloud.services.autoscaling.state import AutoscalingState
from keepwarm_runtime.scaling import (
    SCALE_IN_DATAPOINTS,
    SCALE_IN_FACTOR,
    SCALE_OUT_DATAPOINTS,
)


def _moto_queries(queries: list[dict[str, Any]]) -> list[Any]:
    from moto.cloudwatch.models import Dimension, Metric, MetricDataQuery, MetricStat

    made = []
    for query in queries:
        stat = query.get("MetricStat")
        metric_stat = None
        if stat is not None:
            metric = stat["Metric"]
            dimensions = [Dimension(d["Name"], d["Value"]) for d in metric.get("Dimensions", [])]
            metric_stat = MetricStat(
                Metric(metric["MetricName"], metric["Namespace"], dimensions),
                "60",
                stat["Stat"],
                stat.get("Unit"),
            )
        made.append(
            MetricDataQuery(
                query["Id"],
                query.get("Label"),
                "60",
                str(query.get("ReturnData", True)),
                query.get("Expression"),
                metric_stat,
            )
        )
    return made


class PoliciesApi(AutoscalingState):
    """Operations on scaling policies."""

    def _do_put_scaling_policy(self, body: dict[str, Any]) -> dict[str, Any]:
        target, name = self._target(body), body.get("PolicyName", "")
        known = next((p for p in self.policies.values() if p.name == name and p.target == target.key), None)
        kind = body.get("PolicyType", known.kind if known else "StepScaling")
        config = body.get(f"{kind}PolicyConfiguration")
        if config is None:
            raise invalid(f"{kind}PolicyConfiguration is required for a policy of type {kind}")
        if kind == "StepScaling":
            self._check_steps(config)
        elif kind == "TargetTrackingScaling":
            if config.get("TargetValue", 0) <= 0:
                raise invalid("TargetValue must be greater than 0")
        else:
            raise invalid(f"Policy type {kind} does not run in the embedded cloud")
        resource = f"{uuid.uuid4()}:resource/{target.namespace}/{target.resource}:policyName/{name}"
        policy = Policy(
            known.arn if known else self._arn("scalingPolicy", resource), name, target.key, target.namespace, kind,
            config, self.context.clock.now_s(),
        )  # fmt: skip
        alarms = self._tracking_alarms(policy) if kind == "TargetTrackingScaling" else []
        with self._lock:
            if known is not None:
                self._drop_policy(known)
            self.policies[policy.arn] = policy
            self._put_alarms(policy, alarms)
        return {"PolicyARN": policy.arn, "Alarms": policy.alarms}

    @staticmethod
    def _check_steps(config: dict[str, Any]) -> None:
        steps = config.get("StepAdjustments") or []
        if not steps or config.get("AdjustmentType") not in (
            "ChangeInCapacity", "ExactCapacity", "PercentChangeInCapacity"
        ):  # fmt: skip
            raise invalid("A step scaling policy needs AdjustmentType and StepAdjustments")
        if len(steps) > 20:
            raise invalid("A step scaling policy has at most 20 step adjustments")
        spans = sorted(
            (
                s.get("MetricIntervalLowerBound", float("-inf")),
                s.get("MetricIntervalUpperBound", float("inf")),
            )
            for s in steps
        )
        for low, high in spans:
            if low >= high:
                raise invalid("MetricIntervalLowerBound must be less than MetricIntervalUpperBound")
        for (_, high), (low, _) in itertools.pairwise(spans):
            if low < high:
                raise invalid("The step adjustments must not overlap")
            if low > high:
                raise invalid("The step adjustments must not have a gap")

    def _tracking_alarms(self, policy: Policy) -> list[dict[str, Any]]:
        """The two alarms AWS makes for a target tracking policy."""
        config = policy.config
        metric = self._tracked_metric(policy)
        target = float(config["TargetValue"])
        rules = [("AlarmHigh", "GreaterThanThreshold", target, SCALE_OUT_DATAPOINTS)]
        if not config.get("DisableScaleIn"):
            rules.append(("AlarmLow", "LessThanThreshold", target * SCALE_IN_FACTOR, SCALE_IN_DATAPOINTS))
        return [
            {
                **metric, "comparison_operator": operator, "threshold": threshold, "evaluation_periods": periods,
                "name": f"TargetTracking-{policy.target[0]}-{kind}-{uuid.uuid4()}",
            }
            for kind, operator, threshold, periods in rules
        ]  # fmt: skip

    def _tracked_metric(self, policy: Policy) -> dict[str, Any]:
        config, resource = policy.config, policy.target[0]
        if predefined := config.get("PredefinedMetricSpecification"):
            known = PREDEFINED.get(predefined["PredefinedMetricType"])
            if known is None or known[2] != policy.namespace:
                raise invalid(
                    f"Unsupported metric type for the service namespace: {predefined['PredefinedMetricType']}"
                )
            parts = re.split(r"[:/]", resource)
            names = (
                ("FunctionName", "Resource")
                if policy.namespace == "lambda"
                else ("ClusterName", "ServiceName")
            )
            values = (
                (parts[1], f"{parts[1]}:{parts[2]}") if policy.namespace == "lambda" else (parts[1], parts[2])
            )
            dimensions = [{"Name": n, "Value": v} for n, v in zip(names, values, strict=True)]
            return {
                "namespace": known[0],
                "metric_name": known[1],
                "statistic": "Average",
                "dimensions": dimensions,
            }
        custom = config.get("CustomizedMetricSpecification")
        if not custom:
            raise invalid("A target tracking policy needs a predefined or a customized metric")
        if "Metrics" in custom:
            return {"queries": custom["Metrics"], "dimensions": []}
        return {
            "namespace": custom["Namespace"], "metric_name": custom["MetricName"], "statistic": custom["Statistic"],
            "dimensions": custom.get("Dimensions", []),
        }  # fmt: skip

    def _put_alarms(self, policy: Policy, alarms: list[dict[str, Any]]) -> None:
        for spec in alarms:
            queries = spec.get("queries")
            if queries:
                self._check_expressions(queries)
            with self.context.moto.lock("cloudwatch"):
                alarm = self.context.moto.backend("cloudwatch").put_metric_alarm(
                    name=spec["name"], namespace=spec.get("namespace"), metric_name=spec.get("metric_name"),
                    comparison_operator=spec["comparison_operator"], evaluation_periods=spec["evaluation_periods"],
                    period=None if queries else 60, threshold=spec["threshold"], statistic=spec.get("statistic"),
                    description="DO NOT EDIT OR DELETE. For TargetTrackingScaling policy " + policy.arn,
                    dimensions=spec["dimensions"], alarm_actions=[policy.arn],
                    metric_data_queries=_moto_queries(queries) if queries else None,
                )  # fmt: skip
            policy.alarms.append({"AlarmName": alarm.name, "AlarmARN": alarm.alarm_arn})

    @staticmethod
    def _check_expressions(queries: list[dict[str, Any]]) -> None:
        names = {q["Id"]: 1.0 for q in queries}
        for query in queries:
            if "Expression" in query:
                try:
                    evaluate(query["Expression"], names)
                except ExpressionError as error:
                    raise invalid(str(error)) from error

    def _do_delete_scaling_policy(self, body: dict[str, Any]) -> dict[str, Any]:
        key, name = self._key(body), body.get("PolicyName")
        with self._lock:
            policy = next((p for p in self.policies.values() if p.name == name and p.target == key), None)
            if policy is None:
                raise AwsError("ObjectNotFoundException", f"No scaling policy found for policy name: {name}")
            self._drop_policy(self.policies.pop(policy.arn))
        return {}

    def _do_describe_scaling_policies(self, body: dict[str, Any]) -> dict[str, Any]:
        names = body.get("PolicyNames")
        found = []
        for p in self.policies.values():
            if p.namespace != body.get("ServiceNamespace") or (names and p.name not in names):
                continue
            if body.get("ResourceId") in (None, p.target[0]) and body.get("ScalableDimension") in (
                None,
                p.target[1],
            ):
                found.append(
                    {
                        "PolicyARN": p.arn, "PolicyName": p.name, "ServiceNamespace": p.namespace,
                        "ResourceId": p.target[0], "ScalableDimension": p.target[1], "PolicyType": p.kind,
                        f"{p.kind}PolicyConfiguration": p.config, "Alarms": p.alarms, "CreationTime": p.created_s,
                    }
                )  # fmt: skip
        return {"ScalingPolicies": found}
