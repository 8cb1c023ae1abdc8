"""Policies that act: from an alarm to a new capacity of a service or of provisioned concurrency."""

import uuid
from typing import Any

from keepwarm_localcloud.request import AwsError
from keepwarm_localcloud.services.autoscaling.model import (
    COOLDOWN_S,
    MAX_ACTIVITIES,
    STEP_COOLDOWN_S,
    Policy,
    Target,
)
from keepwarm_localcloud.services.autoscaling.state import AutoscalingState
from keepwarm_localcloud.services.roles import client_error
from keepwarm_runtime.scaling import (
    SCALE_IN_DATAPOINTS,
    Step,
    TargetTracking,
    step_capacity,
    track,
)


class Scaling(AutoscalingState):
    """Changes the capacity of targets."""

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
