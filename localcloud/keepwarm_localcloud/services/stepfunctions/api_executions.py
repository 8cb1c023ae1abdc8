"""Operations on executions and task tokens."""

import json
import threading
from typing import Any

from keepwarm_localcloud.request import AwsError
from keepwarm_localcloud.services.stepfunctions.failures import StateFailure
from keepwarm_localcloud.services.stepfunctions.fibers import Signal
from keepwarm_localcloud.services.stepfunctions.lifecycle import ExecutionLifecycle
from keepwarm_localcloud.services.stepfunctions.state import page


class ExecutionsApi(ExecutionLifecycle):
    """Operations on executions and task tokens."""

    def _do_start_execution(self, body: dict[str, Any]) -> dict[str, Any]:
        execution = self._begin(body)
        return {"executionArn": execution.arn, "startDate": execution.started_s}

    def _do_start_sync_execution(self, body: dict[str, Any]) -> dict[str, Any]:
        machine, *_ = self._resolve(body.get("stateMachineArn", ""))
        if machine.kind != "EXPRESS":
            raise AwsError(
                "StateMachineTypeNotSupported",
                "This operation is not supported by this type of state machine",
            )
        execution = self._begin(body)
        done = threading.Event()
        self.follow(execution.arn, lambda _: done.set())
        done.wait()
        answer = execution.describe()
        duration_ms = int(((execution.stopped_s or 0.0) - execution.started_s) * 1000)
        answer["billingDetails"] = {
            "billedDurationInMilliseconds": max(100, duration_ms),
            "billedMemoryUsedInMB": 64,
        }
        return answer

    def _do_describe_execution(self, body: dict[str, Any]) -> dict[str, Any]:
        return self._standard(body.get("executionArn", "")).describe()

    def _do_stop_execution(self, body: dict[str, Any]) -> dict[str, Any]:
        execution = self._standard(body.get("executionArn", ""))
        self.stop_execution(execution.arn, body.get("error"), body.get("cause"))
        return {"stopDate": execution.stopped_s}

    def _do_list_executions(self, body: dict[str, Any]) -> dict[str, Any]:
        machine, *_ = self._resolve(body.get("stateMachineArn", ""))
        if machine.kind == "EXPRESS":
            raise AwsError(
                "StateMachineTypeNotSupported",
                "This operation is not supported by this type of state machine",
            )
        status = body.get("statusFilter")
        items = [
            e.listed() for e in reversed(list(self.executions.values()))
            if e.machine_arn == machine.arn and status in (None, e.status)
        ]  # fmt: skip
        return page(items, "executions", body)

    def _do_get_execution_history(self, body: dict[str, Any]) -> dict[str, Any]:
        execution = self._standard(body.get("executionArn", ""))
        with execution.changed:
            events = list(execution.events)
        if body.get("reverseOrder"):
            events.reverse()
        if not body.get("includeExecutionData", True):
            events = [{k: v for k, v in e.items() if not k.endswith("Details")} for e in events]
        return page(events, "events", body)

    def _token(self, body: dict[str, Any]) -> Signal:
        name = body.get("taskToken", "")
        if not name.startswith("AQCE"):
            raise AwsError("InvalidToken", f"Invalid token: '{name}'")
        signal = self.tokens.get(name)
        if signal is None:
            raise AwsError("TaskTimedOut", "Provided task does not exist anymore")
        return signal

    def _do_send_task_success(self, body: dict[str, Any]) -> dict[str, Any]:
        signal = self._token(body)
        try:
            value = json.loads(body.get("output", ""))
        except ValueError as error:
            raise AwsError("InvalidOutput", f"Invalid output: {error}") from error
        self._settle(body, signal, value, None)
        return {}

    def _do_send_task_failure(self, body: dict[str, Any]) -> dict[str, Any]:
        failure = StateFailure(body.get("error", "States.TaskFailed"), body.get("cause", ""))
        self._settle(body, self._token(body), None, failure)
        return {}

    def _settle(self, body: dict[str, Any], signal: Signal, value: Any, failure: StateFailure | None) -> None:
        self.forget(body["taskToken"])
        if not self.engine.settle(signal, value, failure):
            raise AwsError("TaskTimedOut", "Provided task does not exist anymore")

    def _do_send_task_heartbeat(self, body: dict[str, Any]) -> dict[str, Any]:
        self.engine.beat(self._token(body))
        return {}
