"""Targets, policies and scheduled actions of a cloud, and how a request names them."""

import threading
from typing import Any

from keepwarm_localcloud.request import AwsError
from keepwarm_localcloud.services.autoscaling.model import DIMENSIONS, Planned, Policy, Target, invalid
from keepwarm_localcloud.services.context import Context


class AutoscalingState:
    """What every group of operations works on."""

    def __init__(self) -> None:
        self.targets: dict[tuple[str, str], Target] = {}
        self.policies: dict[str, Policy] = {}
        self.planned: dict[str, Planned] = {}
        self.activities: list[dict[str, Any]] = []
        self._lock = threading.RLock()
        self.context: Context

    def _arn(self, kind: str, identity: str) -> str:
        service = "application-autoscaling" if kind == "scalable-target" else "autoscaling"
        glue = "/" if kind == "scalable-target" else ":"
        return f"arn:aws:{service}:{self.context.region}:{self.context.account_id}:{kind}{glue}{identity}"

    def _key(self, body: dict[str, Any]) -> tuple[str, str]:
        namespace, dimension = body.get("ServiceNamespace", ""), body.get("ScalableDimension", "")
        known = DIMENSIONS.get(dimension)
        resource = body.get("ResourceId", "")
        if known is None or known[0] != namespace or known[1].fullmatch(resource) is None:
            raise invalid(
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

    def _drop_policy(self, policy: Policy) -> None:
        names = [a["AlarmName"] for a in policy.alarms]
        if names:
            with self.context.moto.lock("cloudwatch"):
                self.context.moto.backend("cloudwatch").delete_alarms(names)
