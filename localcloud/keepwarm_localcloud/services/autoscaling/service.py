"""The API of Application Auto Scaling, and the thread that makes policies, schedules and alarms act.

https://docs.aws.amazon.com/autoscaling/application/APIReference/Welcome.html
"""

import itertools
import json
import logging
import re
import threading
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from keepwarm_localcloud.clockwork import schedules
from keepwarm_localcloud.request import AwsError, Request, Response
from keepwarm_localcloud.services.autoscaling.alarms import Alarms
from keepwarm_localcloud.services.autoscaling.metrics import ExpressionError, Metrics, evaluate
from keepwarm_localcloud.services.context import Context
from keepwarm_localcloud.services.roles import client_error
from keepwarm_runtime.scaling import (
    SCALE_IN_DATAPOINTS,
    SCALE_IN_FACTOR,
    SCALE_OUT_DATAPOINTS,
    Step,
    TargetTracking,
    step_capacity,
    track,
)

LOG = logging.getLogger(__name__)
CONTENT_TYPE = "application/x-amz-json-1.1"
TICK_S = 1.0
"""How often alarms are looked at. AWS does it every 10 s to 60 s."""
MAX_ACTIVITIES = 500
DIMENSIONS = {
    "lambda:function:ProvisionedConcurrency": ("lambda", re.compile(r"function:[\w-]+:[\w-]+")),
    "ecs:service:DesiredCount": ("ecs", re.compile(r"service/[\w-]+/[\w-]+")),
}
COOLDOWN_S = {"ecs": 300.0, "lambda": 0.0}
"""Default of target tracking.
https://docs.aws.amazon.com/autoscaling/application/APIReference/API_TargetTrackingScalingPolicyConfiguration.html"""
STEP_COOLDOWN_S = 300.0
PREDEFINED: dict[str, tuple[str, str, str]] = {
    "LambdaProvisionedConcurrencyUtilization": ("AWS/Lambda", "ProvisionedConcurrencyUtilization", "lambda"),
    "ECSServiceAverageCPUUtilization": ("AWS/ECS", "CPUUtilization", "ecs"),
    "ECSServiceAverageMemoryUtilization": ("AWS/ECS", "MemoryUtilization", "ecs"),
}


def _invalid(message: str) -> AwsError:
    return AwsError("ValidationException", message)


@dataclass(slots=True)
class Target:
    """A scalable target."""

    arn: str
    namespace: str
    resource: str
    dimension: str
    low: int
    high: int
    role_arn: str
    created_s: float
    suspended: dict[str, bool] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    last_out_s: float | None = None
    last_in_s: float | None = None
    before_out: int = 0

    @property
    def key(self) -> tuple[str, str]:
        """Identity."""
        return self.resource, self.dimension


@dataclass(slots=True)
class Policy:
    """A scaling policy."""

    arn: str
    name: str
    target: tuple[str, str]
    namespace: str
    kind: str
    config: dict[str, Any]
    created_s: float
    alarms: list[dict[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class Planned:
    """A scheduled action."""

    arn: str
    name: str
    target: tuple[str, str]
    namespace: str
    expression: str
    zone: str | None
    schedule: schedules.Schedule
    action: dict[str, int]
    created_s: float
    start_s: float | None
    end_s: float | None
    next_s: float | None


class AutoscalingService:
    """Application Auto Scaling plus the evaluation of CloudWatch alarms."""

    name = "application-autoscaling"

    def __init__(self) -> None:
        self.targets: dict[tuple[str, str], Target] = {}
        self.policies: dict[str, Policy] = {}
        self.planned: dict[str, Planned] = {}
        self.activities: list[dict[str, Any]] = []
        self._lock = threading.RLock()
        self._wake = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._pending: list[tuple[str, Any, str, str, float | None, bool]] = []
        self.context: Context
        self.alarms: Alarms

    # Life

    def start(self, context: Context) -> None:
        """Attach to the cloud and start the thread."""
        self.context = context
        metrics = Metrics(lambda: context.moto.existing_backend("cloudwatch"))
        self.alarms = Alarms(metrics, lambda *facts: self._pending.append(facts))
        context.moto.before(
            "monitoring", lambda _request: self.alarms.adopt(context.moto.backend("cloudwatch"))
        )
        self._thread = threading.Thread(target=self._loop, name="autoscaling", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        if self._thread is not None:
            self._thread.join()

    def inventory(self) -> dict[str, list[str]]:
        """Targets, policies, scheduled actions."""
        found = {
            "scalableTarget": sorted(t.resource for t in self.targets.values()),
            "scalingPolicy": sorted(p.name for p in self.policies.values()),
            "scheduledAction": sorted(a.name for a in self.planned.values()),
        }
        return {kind: names for kind, names in found.items() if names}

    def handle(self, request: Request) -> Response | None:
        """Answer an operation of `AnyScaleFrontendService`."""
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", request.target()).lower()
        method = getattr(self, f"_do_{name}", None)
        if method is None:
            raise AwsError(
                "UnknownOperationException", f"Application Auto Scaling has no '{request.target()}' here"
            )
        answer = method(request.json())
        with self._wake:
            self._wake.notify_all()
        return Response.of_json(answer, content_type=CONTENT_TYPE)

    def _loop(self) -> None:
        while True:
            now_s = self.context.clock.now_s()
            try:
                self.tick(now_s)
            except Exception:
                LOG.exception("autoscaling failed")
            with self._lock:
                due = [a.next_s for a in self.planned.values() if a.next_s is not None]
            with self._wake:
                if self._stopping:
                    return
                self.context.clock.wait_until(self._wake, min([now_s + TICK_S, *due]))

    def tick(self, now_s: float) -> None:
        """Evaluate alarms, run what is due."""
        backend = self.context.moto.existing_backend("cloudwatch")
        if backend is not None and (backend.alarms or self.alarms.seen):
            with self.context.moto.lock("cloudwatch"):
                self.alarms.tick(backend, now_s)
        pending, self._pending = self._pending, []
        for facts in pending:
            self._act(*facts)
        with self._lock:
            due = [a for a in self.planned.values() if a.next_s is not None and a.next_s <= now_s]
        for action in due:
            self._run_planned(action, now_s)

    # Alarm actions

    def _act(
        self, arn: str, alarm: Any, state: str, before: str, value: float | None, repeated: bool
    ) -> None:
        if not repeated:
            self.context.journal.write(
                "alarm", alarm=alarm.name, state=state, before=before, value=value, action=arn
            )
        try:
            if ":autoscaling:" in arn:
                policy = next((p for p in self.policies.values() if p.arn == arn), None)
                if policy is not None:
                    self._apply(policy, alarm, value)
            elif ":sns:" in arn:
                self.context.boto("sns").publish(
                    TopicArn=arn,
                    Subject=f'{state}: "{alarm.name}"',
                    Message=self._message(alarm, state, before),
                )
            elif ":lambda:" in arn:
                self.context.deliver(arn, self._event(alarm, state, before), alarm.alarm_arn)
        except (AwsError, client_error()) as error:
            self.context.journal.write("alarm", alarm=alarm.name, state=state, action=arn, error=str(error))

    def _event(self, alarm: Any, state: str, before: str) -> dict[str, Any]:
        """What a function gets, which is not what a topic gets."""
        at = datetime.fromtimestamp(self.context.clock.now_s(), UTC).isoformat(timespec="milliseconds")
        at = at.replace("+00:00", "+0000")
        return {
            "source": "aws.cloudwatch", "alarmArn": alarm.alarm_arn, "accountId": self.context.account_id, "time": at,
            "region": self.context.region, "alarmData": {
                "alarmName": alarm.name,
                "state": {"value": state, "reason": alarm.state_reason, "timestamp": at},
                "previousState": {"value": before},
                "configuration": {"description": alarm.description},
            },
        }  # fmt: skip

    def _message(self, alarm: Any, state: str, before: str) -> str:
        body = {
            "AlarmName": alarm.name, "AlarmDescription": alarm.description, "AWSAccountId": self.context.account_id,
            "NewStateValue": state, "NewStateReason": alarm.state_reason, "OldStateValue": before,
            "StateChangeTime": datetime.fromtimestamp(self.context.clock.now_s(), UTC).isoformat(),
            "Region": self.context.region, "AlarmArn": alarm.alarm_arn,
        }  # fmt: skip
        return json.dumps(body)

    def _apply(self, policy: Policy, alarm: Any, value: float | None) -> None:
        target = self.targets.get(policy.target)
        if target is None:
            return
        if value is None:
            # The alarm rests on missing data that counts as breaching: the distance to the threshold is unknown.
            value = float(alarm.threshold)
        now_s, current = self.context.clock.now_s(), self._capacity(target)
        if policy.kind == "StepScaling":
            wanted = self._step(policy, target, current, value, float(alarm.threshold), now_s)
        else:
            wanted = self._track(policy, target, current, value, now_s)
        suspended = target.suspended.get(
            "DynamicScalingOutSuspended" if wanted > current else "DynamicScalingInSuspended", False
        )
        if wanted != current and not suspended:
            cause = f"monitor alarm {alarm.name} in state ALARM triggered policy {policy.name}"
            self._set(target, current, wanted, cause)

    def _step(
        self, policy: Policy, target: Target, current: int, value: float, threshold: float, now_s: float
    ) -> int:
        config = policy.config
        steps = [
            Step(s["ScalingAdjustment"], s.get("MetricIntervalLowerBound"), s.get("MetricIntervalUpperBound"))
            for s in config["StepAdjustments"]
        ]

        def wanted(base: int) -> int:
            return step_capacity(
                steps, kind=config["AdjustmentType"], current=base, value=value, threshold=threshold,
                minimum=target.low, maximum=target.high, min_magnitude=config.get("MinAdjustmentMagnitude", 1),
            )  # fmt: skip

        cooldown_s = config.get("Cooldown", STEP_COOLDOWN_S)
        out_s, in_s = target.last_out_s, target.last_in_s
        result = wanted(current)
        if result > current:
            if out_s is not None and now_s < out_s + cooldown_s:
                # In a scale-out cooldown only what is more than the last activity gave is added.
                return max(current, wanted(target.before_out))
            return result
        changed = max((s for s in (out_s, in_s) if s is not None), default=None)
        return current if changed is not None and now_s < changed + cooldown_s else result

    def _track(self, policy: Policy, target: Target, current: int, value: float, now_s: float) -> int:
        config = policy.config
        default_s = COOLDOWN_S[target.namespace]
        rule = TargetTracking(
            target=config["TargetValue"], minimum=target.low, maximum=target.high,
            scale_out_cooldown_s=config.get("ScaleOutCooldown", default_s),
            scale_in_cooldown_s=config.get("ScaleInCooldown", default_s),
            scale_in=not config.get("DisableScaleIn", False),
        )  # fmt: skip
        points = [value] * SCALE_IN_DATAPOINTS
        return track(
            rule, current, points, now_s=now_s, last_out_s=target.last_out_s, last_in_s=target.last_in_s
        )

    # Capacity of targets

    def _capacity(self, target: Target) -> int:
        if target.namespace == "ecs":
            _, cluster, name = target.resource.split("/")
            return self.context.peers.tasks.desired(cluster, name)
        _, function, qualifier = target.resource.split(":")
        try:
            config = self.context.boto("lambda").get_provisioned_concurrency_config(
                FunctionName=function, Qualifier=qualifier
            )
        except client_error() as error:
            if error.response["Error"]["Code"] == "ProvisionedConcurrencyConfigNotFoundException":
                return 0
            raise
        return int(config["RequestedProvisionedConcurrentExecutions"])

    def _set(self, target: Target, current: int, wanted: int, cause: str, *, cools: bool = True) -> None:
        """Change the capacity; cooldowns count from it unless it was not a scaling policy or schedule that did it."""
        begun_s = self.context.clock.now_s()
        what = "desired count" if target.namespace == "ecs" else "provisioned concurrency"
        activity = {
            "ActivityId": str(uuid.uuid4()), "ServiceNamespace": target.namespace, "ResourceId": target.resource,
            "ScalableDimension": target.dimension, "Description": f"Setting {what} to {wanted}.", "Cause": cause,
            "StartTime": begun_s, "StatusCode": "InProgress",
        }  # fmt: skip
        # Before the change: who sees the new capacity finds the activity that made it, and may move the clock.
        with self._lock:
            self.activities.insert(0, activity)
            del self.activities[MAX_ACTIVITIES:]
        status, message = "Successful", f"Successfully set {what} to {wanted}. Change successfully fulfilled."
        try:
            self._change(target, wanted)
        except (AwsError, client_error()) as error:
            status, message = "Failed", str(error)
        if status == "Successful" and cools:
            if wanted > current:
                target.last_out_s, target.before_out = begun_s, current
            else:
                target.last_in_s = begun_s
        now_s = self.context.clock.now_s()
        ended = {**activity, "EndTime": now_s, "StatusCode": status, "StatusMessage": message}
        with self._lock:
            self.activities = [ended if a is activity else a for a in self.activities]
        facts = {"from": current, "to": wanted}
        self.context.journal.write("scaling", target=target.resource, reason=cause, status=status, **facts)

    def _move_inside(self, target: Target, current: int, cause: str | None = None) -> None:
        """Bring a capacity into the bounds; without another cause, because they were set."""
        wanted = min(max(current, target.low), target.high)
        if wanted != current:
            bound = "minimum" if wanted == target.low else "maximum"
            said = cause or f"{bound} capacity was set to {wanted}"
            self._set(target, current, wanted, said, cools=cause is not None)

    def _change(self, target: Target, wanted: int) -> None:
        if target.namespace == "ecs":
            _, cluster, name = target.resource.split("/")
            self.context.peers.tasks.set_desired(cluster, name, wanted)
            return
        _, function, qualifier = target.resource.split(":")
        api = self.context.boto("lambda")
        if wanted == 0:
            api.delete_provisioned_concurrency_config(FunctionName=function, Qualifier=qualifier)
        else:
            api.put_provisioned_concurrency_config(
                FunctionName=function, Qualifier=qualifier, ProvisionedConcurrentExecutions=wanted
            )

    # Targets

    def _arn(self, kind: str, identity: str) -> str:
        service = "application-autoscaling" if kind == "scalable-target" else "autoscaling"
        glue = "/" if kind == "scalable-target" else ":"
        return f"arn:aws:{service}:{self.context.region}:{self.context.account_id}:{kind}{glue}{identity}"

    def _key(self, body: dict[str, Any]) -> tuple[str, str]:
        namespace, dimension = body.get("ServiceNamespace", ""), body.get("ScalableDimension", "")
        known = DIMENSIONS.get(dimension)
        resource = body.get("ResourceId", "")
        if known is None or known[0] != namespace or known[1].fullmatch(resource) is None:
            raise _invalid(
                f"Unsupported service namespace, resource type or scalable dimension: {namespace}, "
                f"{resource}, {dimension}"
            )
        return resource, dimension

    def _target(self, body: dict[str, Any]) -> Target:
        key = self._key(body)
        target = self.targets.get(key)
        if target is None:
            raise AwsError(
                "ObjectNotFoundException",
                f"No scalable target registered for service namespace: {body['ServiceNamespace']}, resource ID: "
                f"{body['ResourceId']}, scalable dimension: {body['ScalableDimension']}",
            )
        return target

    def _do_register_scalable_target(self, body: dict[str, Any]) -> dict[str, Any]:
        key = self._key(body)
        with self._lock:
            known = self.targets.get(key)
            low = body.get("MinCapacity", known.low if known else None)
            high = body.get("MaxCapacity", known.high if known else None)
            if low is None or high is None:
                raise _invalid(
                    "MinCapacity and MaxCapacity are required when you register a new scalable target"
                )
            if not 0 <= low <= high:
                raise _invalid(f"Maximum capacity cannot be less than minimum capacity: {low}, {high}")
            fresh = known is None
            if known is None:
                known = Target(
                    self._arn("scalable-target", uuid.uuid4().hex), body["ServiceNamespace"], *key, low, high,
                    body.get("RoleARN", ""), self.context.clock.now_s(), tags=dict(body.get("Tags", {})),
                )  # fmt: skip
            try:
                current = self._capacity(known)
            except (AwsError, client_error()) as error:
                if fresh:
                    name = "ECS service" if known.namespace == "ecs" else "Lambda function alias"
                    raise _invalid(f"{name} doesn't exist: {known.resource}") from error
                # "If the specified resource is not active in the target service, this operation does not change the
                # resource's current capacity": https://docs.aws.amazon.com/autoscaling/application/APIReference/API_RegisterScalableTarget.html
                current = None
            self.targets[key] = known
            known.low, known.high = low, high
            known.suspended = body.get("SuspendedState", known.suspended)
        if current is not None:
            # "Otherwise, it changes [it] to a value that is inside of this range": same page.
            self._move_inside(known, current)
        return {"ScalableTargetARN": known.arn}

    def _do_deregister_scalable_target(self, body: dict[str, Any]) -> dict[str, Any]:
        target = self._target(body)
        with self._lock:
            del self.targets[target.key]
            for arn in [a for a, p in self.policies.items() if p.target == target.key]:
                self._drop_policy(self.policies.pop(arn))
            for arn in [a for a, p in self.planned.items() if p.target == target.key]:
                del self.planned[arn]
        return {}

    def _do_describe_scalable_targets(self, body: dict[str, Any]) -> dict[str, Any]:
        wanted = body.get("ResourceIds")
        found = [
            {
                "ServiceNamespace": t.namespace, "ResourceId": t.resource, "ScalableDimension": t.dimension,
                "MinCapacity": t.low, "MaxCapacity": t.high, "RoleARN": t.role_arn, "CreationTime": t.created_s,
                "ScalableTargetARN": t.arn, "SuspendedState": {
                    "DynamicScalingInSuspended": False, "DynamicScalingOutSuspended": False,
                    "ScheduledScalingSuspended": False, **t.suspended,
                },
            }
            for t in self.targets.values()
            if t.namespace == body.get("ServiceNamespace") and (not wanted or t.resource in wanted)
            and body.get("ScalableDimension") in (None, t.dimension)
        ]  # fmt: skip
        return {"ScalableTargets": found}

    # Policies

    def _do_put_scaling_policy(self, body: dict[str, Any]) -> dict[str, Any]:
        target, name = self._target(body), body.get("PolicyName", "")
        known = next((p for p in self.policies.values() if p.name == name and p.target == target.key), None)
        kind = body.get("PolicyType", known.kind if known else "StepScaling")
        config = body.get(f"{kind}PolicyConfiguration")
        if config is None:
            raise _invalid(f"{kind}PolicyConfiguration is required for a policy of type {kind}")
        if kind == "StepScaling":
            self._check_steps(config)
        elif kind == "TargetTrackingScaling":
            if config.get("TargetValue", 0) <= 0:
                raise _invalid("TargetValue must be greater than 0")
        else:
            raise _invalid(f"Policy type {kind} does not run in the embedded cloud")
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
            raise _invalid("A step scaling policy needs AdjustmentType and StepAdjustments")
        if len(steps) > 20:
            raise _invalid("A step scaling policy has at most 20 step adjustments")
        spans = sorted(
            (
                s.get("MetricIntervalLowerBound", float("-inf")),
                s.get("MetricIntervalUpperBound", float("inf")),
            )
            for s in steps
        )
        for low, high in spans:
            if low >= high:
                raise _invalid("MetricIntervalLowerBound must be less than MetricIntervalUpperBound")
        for (_, high), (low, _) in itertools.pairwise(spans):
            if low < high:
                raise _invalid("The step adjustments must not overlap")
            if low > high:
                raise _invalid("The step adjustments must not have a gap")

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
                raise _invalid(
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
            raise _invalid("A target tracking policy needs a predefined or a customized metric")
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
                    raise _invalid(str(error)) from error

    def _drop_policy(self, policy: Policy) -> None:
        names = [a["AlarmName"] for a in policy.alarms]
        if names:
            with self.context.moto.lock("cloudwatch"):
                self.context.moto.backend("cloudwatch").delete_alarms(names)

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

    # Schedules

    def _do_put_scheduled_action(self, body: dict[str, Any]) -> dict[str, Any]:
        target, name, now_s = (
            self._target(body),
            body.get("ScheduledActionName", ""),
            self.context.clock.now_s(),
        )
        arn = self._arn(
            "scheduledAction", f"resource/{target.namespace}/{target.resource}:scheduledActionName/{name}"
        )
        known = self.planned.get(arn)
        expression = body.get("Schedule", known.expression if known else "")
        zone = body.get("Timezone", known.zone if known else None)
        action = body.get("ScalableTargetAction", known.action if known else {})
        if not action:
            raise _invalid("ScalableTargetAction with MinCapacity or MaxCapacity is required")
        low, high = action.get("MinCapacity", target.low), action.get("MaxCapacity", target.high)
        if low > high and {"MinCapacity", "MaxCapacity"} <= set(action):
            raise _invalid(f"Maximum capacity cannot be less than minimum capacity: {low}, {high}")
        try:
            schedule = schedules.parse(expression, zone=zone, start_s=body.get("StartTime", now_s))
        except schedules.ExpressionError as error:
            raise _invalid(str(error)) from error
        first_s = schedule.after(now_s)
        if body.get("StartTime", now_s) > now_s and not isinstance(schedule, schedules.Once):
            # "performs the action at this time, and then performs the action based on the specified recurrence":
            # https://docs.aws.amazon.com/autoscaling/application/userguide/scheduled-scaling-using-cron-expressions.html
            first_s = body["StartTime"]
        if first_s is not None and first_s > body.get("EndTime", first_s):
            first_s = None
        with self._lock:
            self.planned[arn] = Planned(
                arn, name, target.key, target.namespace, expression, zone, schedule, action,
                known.created_s if known else now_s, body.get("StartTime"), body.get("EndTime"), first_s,
            )  # fmt: skip
        return {}

    def _run_planned(self, planned: Planned, now_s: float) -> None:
        following = planned.schedule.after(now_s)
        ended = following is not None and planned.end_s is not None and following > planned.end_s
        planned.next_s = None if ended else following
        target = self.targets.get(planned.target)
        if target is None or target.suspended.get("ScheduledScalingSuspended"):
            return
        target.low = planned.action.get("MinCapacity", target.low)
        target.high = planned.action.get("MaxCapacity", target.high)
        if target.low > target.high:
            # AWS moves the bound that the action didn't set.
            if "MaxCapacity" in planned.action:
                target.low = target.high
            else:
                target.high = target.low
        self._move_inside(
            target, self._capacity(target), f"scheduled action name {planned.name} was triggered"
        )

    def _do_delete_scheduled_action(self, body: dict[str, Any]) -> dict[str, Any]:
        key, name = self._key(body), body.get("ScheduledActionName")
        with self._lock:
            arn = next((a for a, p in self.planned.items() if p.name == name and p.target == key), None)
            if arn is None:
                raise AwsError("ObjectNotFoundException", f"No scheduled action found for name: {name}")
            del self.planned[arn]
        return {}

    def _do_describe_scheduled_actions(self, body: dict[str, Any]) -> dict[str, Any]:
        names = body.get("ScheduledActionNames")
        found = []
        for p in self.planned.values():
            if p.namespace != body.get("ServiceNamespace") or (names and p.name not in names):
                continue
            if body.get("ResourceId") in (None, p.target[0]) and body.get("ScalableDimension") in (
                None,
                p.target[1],
            ):
                shown = {
                    "ScheduledActionARN": p.arn, "ScheduledActionName": p.name, "ServiceNamespace": p.namespace,
                    "ResourceId": p.target[0], "ScalableDimension": p.target[1], "Schedule": p.expression,
                    "ScalableTargetAction": p.action, "CreationTime": p.created_s, "Timezone": p.zone,
                    "StartTime": p.start_s, "EndTime": p.end_s,
                }  # fmt: skip
                found.append({k: v for k, v in shown.items() if v is not None})
        return {"ScheduledActions": found}

    def _do_describe_scaling_activities(self, body: dict[str, Any]) -> dict[str, Any]:
        found = [
            a for a in self.activities
            if a["ServiceNamespace"] == body.get("ServiceNamespace")
            and body.get("ResourceId") in (None, a["ResourceId"])
        ]  # fmt: skip
        return {"ScalingActivities": found[: body.get("MaxResults") or 50]}

    # Tags

    def _tagged(self, body: dict[str, Any]) -> dict[str, str]:
        for target in self.targets.values():
            if target.arn == body.get("ResourceARN"):
                return target.tags
        raise AwsError(
            "ResourceNotFoundException", f"The specified resource {body.get('ResourceARN')} was not found."
        )

    def _do_list_tags_for_resource(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"Tags": self._tagged(body)}

    def _do_tag_resource(self, body: dict[str, Any]) -> dict[str, Any]:
        self._tagged(body).update(body.get("Tags", {}))
        return {}

    def _do_untag_resource(self, body: dict[str, Any]) -> dict[str, Any]:
        tags = self._tagged(body)
        for key in body.get("TagKeys", []):
            tags.pop(key, None)
        return {}


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
