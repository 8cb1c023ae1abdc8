"""Application Auto Scaling: targets, policies, scheduled actions."""
# base.ResourceType documents the four operations; `token` is a Pulumi type token, not a password.
# ruff: noqa: D102, S105

from typing import Any, ClassVar

from keepwarm_localcloud.pulumi_types.answers import unless_gone
from keepwarm_localcloud.pulumi_types.base import AutoName, Call, Made, ResourceType
from keepwarm_localcloud.pulumi_types.convert import (
    fill,
    tag_changes,
    tag_map,
    take,
)

_SCALING_KEYS = ("serviceNamespace", "resourceId", "scalableDimension")


class ScalingTarget(ResourceType):
    """`aws:appautoscaling/target:Target`; the id is the resource id."""

    token = "aws:appautoscaling/target:Target"
    spec = """serviceNamespace! resourceId! scalableDimension! minCapacity maxCapacity roleArn!? suspendedState? tags"""
    import_id = "namespace/resource-id/dimension"

    def _where(self, call: Call) -> tuple[str, str, str]:
        if call.old.get("serviceNamespace"):
            return tuple(call.old[k] for k in _SCALING_KEYS)
        namespace, _, rest = call.id.partition("/")
        resource, _, dimension = rest.rpartition("/")
        return namespace, resource, dimension

    def _register(self, call: Call, tags: dict[str, str]) -> dict[str, Any]:
        answer: dict[str, Any] = call.client("application-autoscaling").register_scalable_target(
            **fill(
                self,
                call.inputs,
                *_SCALING_KEYS,
                "minCapacity",
                "maxCapacity",
                "roleArn",
                "suspendedState",
                names={"roleArn": "RoleARN"},
            ),
            **({"Tags": tags} if tags else {}),
        )
        return answer

    def create(self, call: Call) -> Made:
        answer = self._register(call, call.tags)
        arn = answer.get("ScalableTargetARN") or call.arn("application-autoscaling", "scalable-target/0")
        role = call.get("roleArn") or self._linked_role(call)
        return call.inputs["resourceId"], {"arn": arn, "roleArn": role, "region": call.region}

    def _linked_role(self, call: Call) -> str:
        service = {"lambda": "LambdaConcurrency", "ecs": "ECSService"}.get(
            call.inputs["serviceNamespace"], "Target"
        )
        return call.aws.arn(
            "iam",
            f"role/aws-service-role/{call.inputs['serviceNamespace']}.application-autoscaling.amazonaws.com/"
            f"AWSServiceRoleForApplicationAutoScaling_{service}",
            region="",
        )

    def read(self, call: Call) -> dict[str, Any] | None:
        namespace, resource, dimension = self._where(call)
        client = call.client("application-autoscaling")
        answer = client.describe_scalable_targets(
            ServiceNamespace=namespace, ResourceIds=[resource], ScalableDimension=dimension
        )
        if not answer["ScalableTargets"]:
            return None
        target = answer["ScalableTargets"][0]
        found = {
            "id": resource,
            **dict(zip(_SCALING_KEYS, (namespace, resource, dimension), strict=True)),
            "minCapacity": target["MinCapacity"],
            "maxCapacity": target["MaxCapacity"],
            "roleArn": target.get("RoleARN", ""),
            "arn": target.get("ScalableTargetARN") or call.old.get("arn", ""),
            "region": call.region,
        }
        if found["arn"]:
            found["tags"] = tag_map(client.list_tags_for_resource(ResourceARN=found["arn"]).get("Tags", {}))
        if call.old.get("suspendedState"):
            found.update(take(self, target, "suspendedState"))
        return found

    def update(self, call: Call) -> dict[str, Any]:
        self._register(call, {})
        if "tags" in call.changed:
            added, removed = tag_changes(call)
            client = call.client("application-autoscaling")
            if removed:
                client.untag_resource(ResourceARN=call.old["arn"], TagKeys=removed)
            if added:
                client.tag_resource(ResourceARN=call.old["arn"], Tags=added)
        return {}

    def delete(self, call: Call) -> None:
        namespace, resource, dimension = self._where(call)
        unless_gone(
            lambda: call.client("application-autoscaling").deregister_scalable_target(
                ServiceNamespace=namespace, ResourceId=resource, ScalableDimension=dimension
            )
        )


_BOUNDS = ("metricIntervalLowerBound", "metricIntervalUpperBound")


class ScalingPolicy(ResourceType):
    """`aws:appautoscaling/policy:Policy`; the id is the policy's name."""

    token = "aws:appautoscaling/policy:Policy"
    spec = """name! serviceNamespace! resourceId! scalableDimension! policyType="StepScaling"
        stepScalingPolicyConfiguration targetTrackingScalingPolicyConfiguration"""
    auto = AutoName("name", 256)
    moves = ("alarmArns",)
    import_id = "namespace/resource-id/dimension/name"
    names: ClassVar[Any] = {"customizedMetricSpecification": "CustomizedMetricSpecification"}

    def _put(self, call: Call) -> dict[str, Any]:
        arguments = fill(
            self,
            call.inputs,
            *_SCALING_KEYS,
            "policyType",
            "targetTrackingScalingPolicyConfiguration",
            "stepScalingPolicyConfiguration",
        )
        steps = arguments.get("StepScalingPolicyConfiguration", {}).get("StepAdjustments", [])
        for step in steps:
            for bound in ("MetricIntervalLowerBound", "MetricIntervalUpperBound"):
                if bound in step:
                    step[bound] = float(step[bound])
        answer: dict[str, Any] = call.client("application-autoscaling").put_scaling_policy(
            PolicyName=call.inputs["name"], **arguments
        )
        return {
            "arn": answer["PolicyARN"],
            "alarmArns": [a["AlarmARN"] for a in answer.get("Alarms", [])],
            "name": call.inputs["name"],
            "region": call.region,
        }

    def create(self, call: Call) -> Made:
        return call.inputs["name"], self._put(call)

    def _where(self, call: Call) -> tuple[str, str, str, str]:
        if call.old.get("serviceNamespace"):
            return (*(call.old[k] for k in _SCALING_KEYS), call.old["name"])
        namespace, _, rest = call.id.partition("/")
        rest, _, name = rest.rpartition("/")
        resource, _, dimension = rest.rpartition("/")
        return namespace, resource, dimension, name

    def read(self, call: Call) -> dict[str, Any] | None:
        namespace, resource, dimension, name = self._where(call)
        answer = call.client("application-autoscaling").describe_scaling_policies(
            ServiceNamespace=namespace, ResourceId=resource, ScalableDimension=dimension, PolicyNames=[name]
        )
        if not answer["ScalingPolicies"]:
            return None
        policy = answer["ScalingPolicies"][0]
        found = {
            "id": name,
            "name": name,
            **dict(zip(_SCALING_KEYS, (namespace, resource, dimension), strict=True)),
            "arn": policy["PolicyARN"],
            "alarmArns": [a["AlarmARN"] for a in policy.get("Alarms", [])],
            "region": call.region,
            **take(
                self,
                policy,
                "policyType",
                "stepScalingPolicyConfiguration",
                "targetTrackingScalingPolicyConfiguration",
            ),
        }
        had = (call.old.get("stepScalingPolicyConfiguration") or {}).get("stepAdjustments") or []
        given = [s.get(b) for s in had for b in _BOUNDS if s.get(b) is not None]
        for step in (found.get("stepScalingPolicyConfiguration") or {}).get("stepAdjustments", []):
            for bound in _BOUNDS:
                if step.get(bound) is not None:
                    # Text in the program, a number in the API: keep the program's way of writing it.
                    same = [g for g in given if float(g) == float(step[bound])]
                    step[bound] = same[0] if same else f"{float(step[bound]):g}"
        return found

    def update(self, call: Call) -> dict[str, Any]:
        return self._put(call)

    def delete(self, call: Call) -> None:
        namespace, resource, dimension, name = self._where(call)
        unless_gone(
            lambda: call.client("application-autoscaling").delete_scaling_policy(
                PolicyName=name, ServiceNamespace=namespace, ResourceId=resource, ScalableDimension=dimension
            )
        )


class ScheduledAction(ResourceType):
    """`aws:appautoscaling/scheduledAction:ScheduledAction`; the id is `name-namespace-resource`."""

    token = "aws:appautoscaling/scheduledAction:ScheduledAction"
    spec = """name! serviceNamespace! resourceId! scalableDimension! schedule scalableTargetAction timezone="UTC"
        startTime endTime"""
    auto = AutoName("name", 255)
    import_id = "namespace/resource-id/dimension/name"

    def _put(self, call: Call) -> None:
        call.client("application-autoscaling").put_scheduled_action(
            ScheduledActionName=call.inputs["name"],
            **fill(
                self,
                call.inputs,
                *_SCALING_KEYS,
                "schedule",
                "scalableTargetAction",
                "timezone",
                "startTime",
                "endTime",
            ),
        )

    def create(self, call: Call) -> Made:
        self._put(call)
        client = call.client("application-autoscaling")
        answer = client.describe_scheduled_actions(
            ServiceNamespace=call.inputs["serviceNamespace"], ScheduledActionNames=[call.inputs["name"]]
        )
        found = answer.get("ScheduledActions", [])
        id_ = f"{call.inputs['name']}-{call.inputs['serviceNamespace']}-{call.inputs['resourceId']}"
        return id_, {
            "arn": found[0]["ScheduledActionARN"] if found else "",
            "name": call.inputs["name"],
            "region": call.region,
        }

    def _where(self, call: Call) -> tuple[str, str, str, str]:
        if call.old.get("serviceNamespace"):
            return (*(call.old[k] for k in _SCALING_KEYS), call.old["name"])
        namespace, _, rest = call.id.partition("/")
        rest, _, name = rest.rpartition("/")
        resource, _, dimension = rest.rpartition("/")
        return namespace, resource, dimension, name

    def read(self, call: Call) -> dict[str, Any] | None:
        namespace, resource, dimension, name = self._where(call)
        answer = call.client("application-autoscaling").describe_scheduled_actions(
            ServiceNamespace=namespace,
            ResourceId=resource,
            ScalableDimension=dimension,
            ScheduledActionNames=[name],
        )
        if not answer.get("ScheduledActions"):
            return None
        action = answer["ScheduledActions"][0]
        found = {
            "id": f"{name}-{namespace}-{resource}",
            "name": name,
            **dict(zip(_SCALING_KEYS, (namespace, resource, dimension), strict=True)),
            "arn": action["ScheduledActionARN"],
            "timezone": action.get("Timezone", "UTC"),
            "region": call.region,
            **take(self, action, "schedule", "scalableTargetAction"),
        }
        for mine in ("startTime", "endTime"):
            if call.old.get(mine):
                found[mine] = call.old[mine]
        return found

    def update(self, call: Call) -> dict[str, Any]:
        self._put(call)
        return {}

    def delete(self, call: Call) -> None:
        namespace, resource, dimension, name = self._where(call)
        unless_gone(
            lambda: call.client("application-autoscaling").delete_scheduled_action(
                ServiceNamespace=namespace,
                ScheduledActionName=name,
                ResourceId=resource,
                ScalableDimension=dimension,
            )
        )


TYPES: tuple[type[ResourceType], ...] = (
    ScalingTarget,
    ScalingPolicy,
    ScheduledAction,
)
