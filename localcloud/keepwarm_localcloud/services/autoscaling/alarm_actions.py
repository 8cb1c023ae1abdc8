"""What an alarm does when its state changes: scale, publish, invoke."""

import json
from datetime import UTC, datetime
from typing import Any

from keepwarm_localcloud.request import AwsError
from keepwarm_localcloud.services.autoscaling.scaling import Scaling
from keepwarm_localcloud.services.roles import client_error


class AlarmActions(Scaling):
    """Does what an alarm asks for."""

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
