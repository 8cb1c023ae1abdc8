"""Executions from their start to their end."""

import contextlib
import json
import logging
import uuid
from collections.abc import Callable
from typing import Any

from keepwarm_localcloud.request import AwsError
from keepwarm_localcloud.services.stepfunctions.execution import Execution
from keepwarm_localcloud.services.stepfunctions.failures import Aborted, StateFailure
from keepwarm_localcloud.services.stepfunctions.host import RunHost
from keepwarm_localcloud.services.stepfunctions.interpreter import Interpreter
from keepwarm_localcloud.services.stepfunctions.model import KEPT_EXECUTIONS, LOG_LEVELS, Machine
from keepwarm_localcloud.services.stepfunctions.state import StepFunctionsState, named
from keepwarm_localcloud.services.stepfunctions.values import MAX_PAYLOAD_BYTES, compact, timestamp
from keepwarm_localcloud.services.stepfunctions.visit import Stay

LOG = logging.getLogger(__name__)


class ExecutionLifecycle(StepFunctionsState):
    """Starts, follows and ends executions."""

    def _begin(self, body: dict[str, Any]) -> Execution:
        text = body.get("input", "{}")
        name = named(body, "name") if "name" in body else str(uuid.uuid4())
        try:
            value = json.loads(text)
        except ValueError as error:
            raise AwsError(
                "InvalidExecutionInput", f"Invalid State Machine Execution Input: '{error}'"
            ) from error
        if len(text.encode()) > MAX_PAYLOAD_BYTES:
            raise AwsError(
                "ValidationException",
                "1 validation error detected: Value at 'input' failed to satisfy constraint: "
                f"Member must have length less than or equal to {MAX_PAYLOAD_BYTES}",
            )
        with self._lock:
            machine, parsed, role, version, alias = self._resolve(body.get("stateMachineArn", ""))
            if machine.kind == "EXPRESS":
                arn = self._arn("express", f"{machine.name}:{name}:{uuid.uuid4()}")
            else:
                arn = self._arn("execution", f"{machine.name}:{name}")
                known = self.executions.get(arn)
                if known is not None:
                    if known.status == "RUNNING" and known.input_text == text:
                        return known
                    raise AwsError("ExecutionAlreadyExists", f"Execution Already Exists: '{arn}'")
            execution = Execution(
                arn,
                name,
                machine.arn,
                parsed,
                machine.kind,
                role,
                text,
                self.context.clock.now_s(),
                version,
                alias,
            )
            self._forget_oldest()
            self.executions[arn] = execution
        self._run(machine, execution, value)
        return execution

    def _forget_oldest(self) -> None:
        # AWS keeps closed executions for 90 days; a cloud on one machine keeps a number of them.
        while len(self.executions) >= KEPT_EXECUTIONS:
            closed = next((arn for arn, e in self.executions.items() if e.status != "RUNNING"), None)
            if closed is None:
                return
            del self.executions[closed]

    def _run(self, machine: Machine, execution: Execution, value: Any) -> None:
        run = RunHost(self, execution, self._logger(machine, execution))
        now_s = execution.started_s
        limit_s = execution.machine.get("TimeoutSeconds")
        if machine.kind == "EXPRESS":
            limit_s = min(limit_s or 300, 300)
        context = {
            "Execution": {
                "Id": execution.arn, "Input": value, "Name": execution.name, "RoleArn": execution.role_arn,
                "StartTime": timestamp(now_s), "RedriveCount": 0,
            },
            "StateMachine": {"Id": machine.arn, "Name": machine.name},
        }  # fmt: skip
        self.context.journal.write(
            "execution", state_machine=machine.name, execution=execution.name, status="RUNNING"
        )
        first = run.event(
            "ExecutionStarted", 0,
            executionStartedEventDetails={
                "input": execution.input_text, "inputDetails": {"truncated": False}, "roleArn": execution.role_arn,
            },
        )  # fmt: skip
        if limit_s:
            execution.timer = self.engine.timers.at(
                now_s + limit_s, lambda: self._end(execution, "TIMED_OUT")
            )
        around = Stay()

        def cut_short() -> None:
            with around.lock:
                around.cut = True
                run.aborted(around.cut_inside())

        execution.cut_short = cut_short
        steps = Interpreter(run, context).run(execution.machine, value, first, {}, {}, around)
        execution.fiber = self.engine.spawn(
            steps, lambda result, error: self._ended(execution, result, error)
        )

    def _ended(self, execution: Execution, result: Any, error: BaseException | None) -> None:
        if error is None:
            self._end(execution, "SUCCEEDED", output=compact(result[0]))
        elif isinstance(error, StateFailure):
            self._end(execution, "FAILED", error=error.error, cause=error.cause)
        elif not isinstance(error, Aborted):
            self._end(execution, "FAILED", error="States.Runtime", cause=f"{type(error).__name__}: {error}")

    def _end(
        self, execution: Execution, status: str, *, output: str | None = None, error: str | None = None,
        cause: str | None = None,
    ) -> bool:  # fmt: skip
        """Close an execution; False when it is closed already."""
        kinds = {"SUCCEEDED": "Succeeded", "FAILED": "Failed", "TIMED_OUT": "TimedOut", "ABORTED": "Aborted"}
        kind, now_s = f"Execution{kinds[status]}", self.context.clock.now_s()
        if status == "TIMED_OUT":
            error = "States.Timeout"
        details = {"error": error, "cause": cause} if status != "SUCCEEDED" else {"output": output}
        facts = {k: v for k, v in details.items() if v is not None}
        if status == "ABORTED":
            # A full history takes the end alone.
            with contextlib.suppress(StateFailure):
                execution.cut_short()
        with execution.changed:
            previous = execution.events[-1]["id"] if execution.events else 0
            execution.append(now_s, kind, previous, {f"{kind[:1].lower()}{kind[1:]}EventDetails": facts})
            if not execution.end(now_s, status, output=output, error=error, cause=cause):
                return False
            followers, execution.followers = execution.followers, []
        if status in ("TIMED_OUT", "ABORTED") and execution.fiber is not None:
            execution.fiber.abort()
        machine = self.machines.get(execution.machine_arn)
        if machine is not None:
            self._logger(machine, execution)({"type": kind, "details": facts})
        self.context.journal.write(
            "execution", state_machine=execution.machine_arn.rpartition(":")[2], execution=execution.name,
            status=status, error=error, cause=cause, duration_ms=round((now_s - execution.started_s) * 1000, 3),
        )  # fmt: skip
        for follower in followers:
            follower(execution)
        return True

    def _logger(self, machine: Machine, execution: Execution) -> Callable[[dict[str, Any]], None]:
        wanted = LOG_LEVELS[machine.logging["level"]]
        groups = [
            d["cloudWatchLogsLogGroup"]["logGroupArn"].removesuffix(":*").rpartition(":log-group:")[2]
            for d in machine.logging.get("destinations", [])
        ]
        data = machine.logging.get("includeExecutionData", False)

        def write(event: dict[str, Any]) -> None:
            if not groups or not wanted(event["type"]):
                return
            line = {
                **event,
                "details": event["details"] if data else {},
                "execution_arn": execution.arn,
                "event_timestamp": str(int(self.context.clock.now_s() * 1000)),
            }
            stream = f"states/{machine.name}/{execution.name}"[:512]
            try:
                self.context.logs.put(groups[0], stream, [json.dumps(line)])
            except Exception:
                # Logging is best effort on AWS: an execution goes on, and above all ends, without it.
                LOG.exception("an event of %s could not be logged", execution.arn)

        return write

    def follow(self, arn: str, then: Callable[[Execution], None]) -> None:
        """Call `then` once when the execution is closed; at once if it is."""
        execution = self._execution(arn)
        with execution.changed:
            if execution.status == "RUNNING":
                execution.followers.append(then)
                return
        then(execution)

    def wait_closed(self, arn: str, timeout_s: float) -> Execution:
        """Wait (real time) until an execution is closed or the time is over; look at `status`."""
        execution = self._execution(arn)
        with execution.changed:
            execution.changed.wait_for(lambda: execution.status != "RUNNING", timeout_s)
        return execution

    def follow_task(self, arn: str, then: Callable[[dict[str, Any]], None]) -> None:
        """Call `then` when an ECS task is stopped."""
        self.context.peers.tasks.follow(arn, then)

    def stop_task(self, arn: str) -> None:
        """Stop the ECS task of an abandoned `.sync` state, as Step Functions does when it may ecs:StopTask."""
        self.context.peers.tasks.stop_task_by_arn(arn, "Stopped by AWS Step Functions")

    def stop_execution(self, arn: str, error: str | None = None, cause: str | None = None) -> Execution:
        """Abort an execution; closed ones stay as they are."""
        execution = self._execution(arn)
        self._end(execution, "ABORTED", error=error, cause=cause)
        return execution

    def forget(self, name: str) -> None:
        """Drop a task token that nobody waits for."""
        self.tokens.pop(name, None)
