"""State machines and executions of a cloud, and how a request names them."""

import random
import threading
from typing import Any

from keepwarm_localcloud.request import AwsError
from keepwarm_localcloud.services.context import Context
from keepwarm_localcloud.services.roles import RoleCalls
from keepwarm_localcloud.services.stepfunctions.execution import Execution
from keepwarm_localcloud.services.stepfunctions.fibers import Engine, Signal
from keepwarm_localcloud.services.stepfunctions.model import NAME, Machine


def named(body: dict[str, Any], key: str) -> str:
    """The name in a request.

    Raises:
        AwsError: InvalidName.
    """
    name = str(body.get(key, ""))
    if NAME.fullmatch(name) is None:
        raise AwsError("InvalidName", f"Invalid Name: '{name}'")
    return name


def page(items: list[dict[str, Any]], key: str, body: dict[str, Any]) -> dict[str, Any]:
    """One page of a list, with `nextToken` when there is more."""
    start, size = int(body.get("nextToken") or 0), int(body.get("maxResults") or 1000)
    answer: dict[str, Any] = {key: items[start : start + size]}
    if start + size < len(items):
        answer["nextToken"] = str(start + size)
    return answer


class StepFunctionsState:
    """What every group of operations works on."""

    def __init__(self) -> None:
        self.machines: dict[str, Machine] = {}
        self.aliases: dict[str, dict[str, Any]] = {}
        self.executions: dict[str, Execution] = {}
        self.tokens: dict[str, Signal] = {}
        self.random = random.Random()  # noqa: S311 - jitter and alias weights, no secrets
        self._lock = threading.RLock()
        self.context: Context
        self.engine: Engine
        self.roles: RoleCalls

    def _arn(self, kind: str, name: str) -> str:
        return f"arn:aws:states:{self.context.region}:{self.context.account_id}:{kind}:{name}"

    def _machine(self, arn: str) -> Machine:
        machine = self.machines.get(arn)
        if machine is None:
            raise AwsError("StateMachineDoesNotExist", f"State Machine Does Not Exist: '{arn}'")
        return machine

    def _resolve(self, arn: str) -> tuple[Machine, dict[str, Any], str, str | None, str | None]:
        """(machine, definition, role, version ARN, alias ARN) behind an unqualified, version or alias ARN."""
        alias = self.aliases.get(arn)
        if alias is not None:
            routes = alias["routingConfiguration"]
            pick = self.random.choices(routes, [r["weight"] for r in routes])[0]["stateMachineVersionArn"]
            machine, parsed, role, version, _ = self._resolve(pick)
            return machine, parsed, role, version, arn
        machine_arn, _, qualifier = arn.rpartition(":")
        if qualifier.isdigit() and machine_arn in self.machines:
            machine = self.machines[machine_arn]
            published = machine.versions.get(int(qualifier))
            if published is None:
                raise AwsError("StateMachineDoesNotExist", f"State Machine Does Not Exist: '{arn}'")
            return machine, published["parsed"], published["roleArn"], arn, None
        machine = self._machine(arn)
        return machine, machine.parsed, machine.role_arn, None, None

    def _execution(self, arn: str) -> Execution:
        execution = self.executions.get(arn)
        if execution is None:
            raise AwsError("ExecutionDoesNotExist", f"Execution Does Not Exist: '{arn}'")
        return execution

    def _standard(self, arn: str) -> Execution:
        execution = self._execution(arn)
        if execution.machine_type == "EXPRESS":
            raise AwsError("ExecutionDoesNotExist", f"Execution Does Not Exist: '{arn}'")
        return execution
