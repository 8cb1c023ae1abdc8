"""The API of Application Auto Scaling, and the thread that makes policies, schedules and alarms act.

https://docs.aws.amazon.com/autoscaling/application/APIReference/Welcome.html
"""

import logging
import threading
from typing import Any

from keepwarm_localcloud.request import AwsError, Request, Response
from keepwarm_localcloud.services.autoscaling.alarm_actions import AlarmActions
from keepwarm_localcloud.services.autoscaling.alarms import Alarms
from keepwarm_localcloud.services.autoscaling.api_policies import PoliciesApi
from keepwarm_localcloud.services.autoscaling.api_scheduled import ScheduledActionsApi
from keepwarm_localcloud.services.autoscaling.api_targets import TargetsApi
from keepwarm_localcloud.services.autoscaling.metrics import Metrics
from keepwarm_localcloud.services.context import Context
from keepwarm_localcloud.services.dispatch import operation_named

LOG = logging.getLogger(__name__)
CONTENT_TYPE = "application/x-amz-json-1.1"
TICK_S = 1.0
"""How often alarms are looked at. AWS does it every 10 s to 60 s."""


class AutoscalingService(AlarmActions, TargetsApi, PoliciesApi, ScheduledActionsApi):
    """Application Auto Scaling plus the evaluation of CloudWatch alarms."""

    name = "application-autoscaling"

    def __init__(self) -> None:
        super().__init__()
        self._wake = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._pending: list[tuple[str, Any, str, str, float | None, bool]] = []
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
        method = operation_named(self, request.target())
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
