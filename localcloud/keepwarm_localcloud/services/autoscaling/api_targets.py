"""Operations on scalable targets, their activities and tags."""

import uuid
from typing import Any

from keepwarm_localcloud.request import AwsError
from keepwarm_localcloud.services.autoscaling.model import Target, invalid
from keepwarm_localcloud.services.autoscaling.scaling import Scaling
from keepwarm_localcloud.services.roles import client_error


class TargetsApi(Scaling):
    """Operations on scalable targets, their activities and tags."""

    def _do_register_scalable_target(self, body: dict[str, Any]) -> dict[str, Any]:
        key = self._key(body)
        with self._lock:
            known = self.targets.get(key)
            low = body.get("MinCapacity", known.low if known else None)
            high = body.get("MaxCapacity", known.high if known else None)
            if low is None or high is None:
                raise invalid(
                    "MinCapacity and MaxCapacity are required when you register a new scalable target"
                )
            if not 0 <= low <= high:
                raise invalid(f"Maximum capacity cannot be less than minimum capacity: {low}, {high}")
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
                    raise invalid(f"{name} doesn't exist: {known.resource}") from error
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

    def _do_describe_scaling_activities(self, body: dict[str, Any]) -> dict[str, Any]:
        found = [
            a for a in self.activities
            if a["ServiceNamespace"] == body.get("ServiceNamespace")
            and body.get("ResourceId") in (None, a["ResourceId"])
        ]  # fmt: skip
        return {"ScalingActivities": found[: body.get("MaxResults") or 50]}

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
