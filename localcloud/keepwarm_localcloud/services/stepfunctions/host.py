"""The world of one execution's interpreter: its history, its calls, its tokens and the jobs it waits for."""

import json
import random
from collections.abc import Callable
from typing import Any, Protocol

from keepwarm_localcloud.clockwork.clock import Clock
from keepwarm_localcloud.services.context import Context
from keepwarm_localcloud.services.roles import RoleCalls
from keepwarm_localcloud.services.stepfunctions import integrations
from keepwarm_localcloud.services.stepfunctions.execution import Execution, token
from keepwarm_localcloud.services.stepfunctions.failures import StateFailure
from keepwarm_localcloud.services.stepfunctions.fibers import Engine, Signal
from keepwarm_localcloud.services.stepfunctions.values import compact
from keepwarm_localcloud.services.stepfunctions.visit import Stay


class Runs(Protocol):
    """Step Functions as one execution sees it."""

    context: Context
    engine: Engine
    random: random.Random
    roles: RoleCalls
    tokens: dict[str, Signal]

    def follow(self, arn: str, then: Callable[[Execution], None]) -> None:
        """Call `then` once when the execution is closed; at once if it is."""
        ...

    def follow_task(self, arn: str, then: Callable[[dict[str, Any]], None]) -> None:
        """Call `then` when an ECS task is stopped."""
        ...

    def stop_task(self, arn: str) -> None:
        """Stop the ECS task of an abandoned `.sync` state."""
        ...

    def stop_execution(self, arn: str, error: str | None = None, cause: str | None = None) -> Execution:
        """Abort an execution; closed ones stay as they are."""
        ...

    def forget(self, name: str) -> None:
        """Drop a task token that nobody waits for."""
        ...


class RunHost:
    """The host of one execution's interpreter."""

    def __init__(self, service: Runs, execution: Execution, logger: Callable[[dict[str, Any]], None]) -> None:
        self.service, self.execution, self.logger = service, execution, logger
        self.clock: Clock = service.context.clock
        self.random = service.random
        self._tokens: dict[int, str] = {}
        self._jobs: dict[int, tuple[str, str]] = {}

    def event(self, kind: str, previous: int, **details: Any) -> int:
        """See `Host`."""
        failure = details.pop("failure", None)
        if failure is not None:
            key = f"{kind[:1].lower()}{kind[1:]}EventDetails"
            details[key] = {"error": failure.error, "cause": failure.cause}
        number = self.execution.append(self.clock.now_s(), kind, previous, details)
        self.logger({"id": str(number), "type": kind, "previous_event_id": str(previous), "details": details})
        return number

    def aborted(self, stays: list[Stay]) -> None:
        """See `Host`."""
        for stay in stays:
            self.event(stay.event, stay.previous(), **stay.details)

    def task(self, resource: str, parameters: Any) -> Callable[[], Any]:
        """See `Host`."""
        return integrations.call(self.service.roles, self.execution.role_arn, resource, parameters)

    def job(self, resource: str, parameters: Any, signal: Signal) -> Callable[[], Any]:
        """See `Host`."""
        start = self.task(resource, parameters)
        service, _, _ = integrations.split(resource)

        def begin() -> None:
            answer = start()
            if service == "states":
                arn = answer["ExecutionArn"]
                self._jobs[id(signal)] = ("execution", arn)
                self.service.follow(
                    arn, lambda child: self._child_ended(child, signal, resource.endswith(":2"))
                )
                return
            if answer.get("Failures") or not answer.get("Tasks"):
                raise StateFailure("ECS.AmazonECSException", compact(answer.get("Failures", [])))
            arn = answer["Tasks"][0]["TaskArn"]
            self._jobs[id(signal)] = ("task", arn)
            self.service.follow_task(arn, lambda task: self._task_ended(task, signal))

        return begin

    def _child_ended(self, child: Execution, signal: Signal, parsed: bool) -> None:
        body: dict[str, Any] = {k[:1].upper() + k[1:]: v for k, v in child.describe().items()}
        body["Input"] = json.loads(child.input_text) if parsed else child.input_text
        if child.status == "SUCCEEDED":
            body["Output"] = json.loads(child.output or "null") if parsed else child.output
            self.service.engine.settle(signal, body)
        else:
            self.service.engine.settle(signal, error=StateFailure("States.TaskFailed", compact(body)))

    def _task_ended(self, task: dict[str, Any], signal: Signal) -> None:
        codes = [c.get("exitCode") for c in task.get("containers", [])]
        body = {k[:1].upper() + k[1:]: v for k, v in task.items()}
        if codes and all(code == 0 for code in codes):
            self.service.engine.settle(signal, body)
        else:
            self.service.engine.settle(signal, error=StateFailure("States.TaskFailed", compact(body)))

    def abandon(self, signal: Signal) -> None:
        """See `Host`."""
        self.service.forget(self._tokens.pop(id(signal), ""))
        kind, arn = self._jobs.pop(id(signal), ("", ""))
        if kind == "execution":
            self.service.stop_execution(arn, "States.Aborted", "The parent execution no longer waits for it")
        elif kind == "task":
            self.service.stop_task(arn)

    def new_token(self) -> str:
        """See `Host`."""
        return token()

    def expect(self, name: str, signal: Signal) -> None:
        """See `Host`."""
        self._tokens[id(signal)] = name
        self.service.tokens[name] = signal
