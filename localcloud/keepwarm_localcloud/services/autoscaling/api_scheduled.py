"""Operations on scheduled actions, and the actions themselves."""

from typing import Any

from keepwarm_localcloud.clockwork import schedules
from keepwarm_localcloud.request import AwsError
from keepwarm_localcloud.services.autoscaling.model import Planned, invalid
from keepwarm_localcloud.services.autoscaling.scaling import Scaling


class ScheduledActionsApi(Scaling):
    """Operations on scheduled actions."""

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
            raise invalid("ScalableTargetAction with MinCapacity or MaxCapacity is required")
        low, high = action.get("MinCapacity", target.low), action.get("MaxCapacity", target.high)
        if low > high and {"MinCapacity", "MaxCapacity"} <= set(action):
            raise invalid(f"Maximum capacity cannot be less than minimum capacity: {low}, {high}")
        try:
            schedule = schedules.parse(expression, zone=zone, start_s=body.get("StartTime", now_s))
        except schedules.ExpressionError as error:
            raise invalid(str(error)) from error
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
