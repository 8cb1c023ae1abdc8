"""The history events of one task."""

from typing import Any

from keepwarm_localcloud.services.stepfunctions.failures import TIMEOUTS, StateFailure
from keepwarm_localcloud.services.stepfunctions.values import compact
from keepwarm_localcloud.services.stepfunctions.visit import Host


class TaskLog:
    """History events of a task: Lambda ARNs have events of their own."""

    def __init__(self, host: Host, resource: str) -> None:
        self.host, self.resource = host, resource
        self.function = ":states:::" not in resource
        service, _, action = resource.partition(":states:::")[2].partition(":")
        self.facts = {} if self.function else {"resourceType": service, "resource": action}

    def _write(self, name: str, previous: int, details: dict[str, Any] | None) -> int:
        kind = f"{'LambdaFunction' if self.function else 'Task'}{name}"
        key = f"{kind[:1].lower()}{kind[1:]}EventDetails"
        # LambdaFunctionStarted carries no details.
        return self.host.event(
            kind, previous, **({} if details is None else {key: {**self.facts, **details}})
        )

    def scheduled(self, previous: int, parameters: Any, limit_s: float | None, beat_s: float | None) -> int:
        """Scheduled and started."""
        details: dict[str, Any] = {}
        if limit_s:
            details["timeoutInSeconds"] = int(limit_s)
        if beat_s and not self.function:
            details["heartbeatInSeconds"] = int(beat_s)
        if self.function:
            details |= {"resource": self.resource, "input": compact(parameters)}
        else:
            details |= {"region": "", "parameters": compact(parameters)}
        event = self._write("Scheduled", previous, details)
        return self._write("Started", event, None if self.function else {})

    def succeeded(self, previous: int, result: Any) -> int:
        """The task gave a result."""
        return self._write("Succeeded", previous, {"output": compact(result)})

    def failed(self, previous: int, failure: StateFailure) -> int:
        """The task failed or took too long."""
        name = "TimedOut" if failure.error in TIMEOUTS else "Failed"
        return self._write(name, previous, {"error": failure.error, "cause": failure.cause})
