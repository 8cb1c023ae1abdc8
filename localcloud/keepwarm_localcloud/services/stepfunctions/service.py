"""The API of Step Functions. https://docs.aws.amazon.com/step-functions/latest/apireference/Welcome.html"""

import contextlib
import json
import logging
import random
import re
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from keepwarm_localcloud.clockwork.clock import Clock
from keepwarm_localcloud.request import AwsError, Request, Response
from keepwarm_localcloud.services.context import Context
from keepwarm_localcloud.services.roles import RoleCalls, trusts
from keepwarm_localcloud.services.stepfunctions import integrations
from keepwarm_localcloud.services.stepfunctions.execution import Execution, token
from keepwarm_localcloud.services.stepfunctions.failures import Aborted, StateFailure
from keepwarm_localcloud.services.stepfunctions.fibers import Engine, Signal
from keepwarm_localcloud.services.stepfunctions.interpreter import (
    MAX_PAYLOAD_BYTES,
    Interpreter,
    Stay,
    compact,
    timestamp,
)
from keepwarm_localcloud.services.stepfunctions.validation import validate

NAME = re.compile(r"[^\s<>{}\[\]?*\"#%\\^|~`$&,;:/\x00-\x1f\x7f-\x9f]{1,80}")
"""https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html#API_StartExecution_RequestSyntax"""
CONTENT_TYPE = "application/x-amz-json-1.0"
KEPT_EXECUTIONS = 50_000
LOG = logging.getLogger(__name__)
LOG_LEVELS: dict[str, Callable[[str], bool]] = {
    "ALL": lambda kind: True,
    "ERROR": lambda kind: kind.endswith(("Failed", "TimedOut", "Aborted")) or kind == "FailStateEntered",
    "FATAL": lambda kind: kind in ("ExecutionFailed", "ExecutionTimedOut", "ExecutionAborted"),
    "OFF": lambda kind: False,
}
"""https://docs.aws.amazon.com/step-functions/latest/dg/cloudwatch-log-level.html"""


@dataclass(slots=True)
class Machine:
    """One state machine."""

    arn: str
    name: str
    definition: str
    parsed: dict[str, Any]
    role_arn: str
    kind: str
    created_s: float
    revision: str
    logging: dict[str, Any]
    tracing: dict[str, Any]
    tags: dict[str, str]
    encryption: dict[str, Any]
    versions: dict[int, dict[str, Any]] = field(default_factory=dict)
    next_version: int = 1


class _Run:
    """The host of one execution's interpreter."""

    def __init__(
        self, service: "StepFunctionsService", execution: Execution, logger: Callable[[dict[str, Any]], None]
    ) -> None:
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


class StepFunctionsService:
    """Runs state machines. `name` is the signing name."""

    name = "states"

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

    def start(self, context: Context) -> None:
        """Attach to the cloud."""
        self.context = context
        self.roles = RoleCalls(context)
        self.engine = Engine(context.clock)
        self.engine.start()

    def stop(self) -> None:
        """Abort what runs and end every thread."""
        if not hasattr(self, "engine"):
            return
        for execution in list(self.executions.values()):
            if execution.status == "RUNNING":
                self._end(execution, "ABORTED", cause="the embedded cloud stopped")
        self.engine.stop()
        self.roles.close()

    def inventory(self) -> dict[str, list[str]]:
        """State machines and running executions."""
        running = [e.name for e in self.executions.values() if e.status == "RUNNING"]
        found = {"stateMachine": sorted(m.name for m in self.machines.values()), "execution": sorted(running)}
        return {kind: names for kind, names in found.items() if names}

    def handle(self, request: Request) -> Response | None:
        """Answer an operation of `AWSStepFunctions`."""
        operation = request.target()
        method = getattr(self, f"_{_snake(operation)}", None)
        if not operation or method is None:
            raise AwsError("UnknownOperationException", f"Step Functions has no operation '{operation}' here")
        return Response.of_json(method(request.json()), content_type=CONTENT_TYPE)

    # State machines

    def _arn(self, kind: str, name: str) -> str:
        return f"arn:aws:states:{self.context.region}:{self.context.account_id}:{kind}:{name}"

    def _create_state_machine(self, body: dict[str, Any]) -> dict[str, Any]:
        name = _name(body, "name")
        role = self._usable(body.get("roleArn", ""))
        kind = body.get("type", "STANDARD")
        if kind not in ("STANDARD", "EXPRESS"):
            raise AwsError(
                "ValidationException", f"Value '{kind}' at 'type' must be one of [STANDARD, EXPRESS]"
            )
        parsed = self._checked(body.get("definition", ""), kind)
        arn = self._arn("stateMachine", name)
        log = self._logging(body.get("loggingConfiguration"))
        tracing = body.get("tracingConfiguration") or {"enabled": False}
        encryption = body.get("encryptionConfiguration") or {"type": "AWS_OWNED_KEY"}
        tags = {t["key"]: t["value"] for t in body.get("tags", [])}
        with self._lock:
            known = self.machines.get(arn)
            if known is not None:
                # "If a following request has a different roleArn or tags, Step Functions will ignore these
                # differences": https://docs.aws.amazon.com/step-functions/latest/apireference/API_CreateStateMachine.html
                made = (known.definition, known.kind, known.logging, known.tracing, known.encryption)
                if made != (body["definition"], kind, log, tracing, encryption):
                    raise AwsError("StateMachineAlreadyExists", f"State Machine Already Exists: '{arn}'")
                machine = known
            else:
                machine = Machine(
                    arn,
                    name,
                    body["definition"],
                    parsed,
                    role,
                    kind,
                    self.context.clock.now_s(),
                    str(uuid.uuid4()),
                    log,
                    tracing,
                    tags,
                    encryption,
                )
                self.machines[arn] = machine
        answer = {"stateMachineArn": arn, "creationDate": machine.created_s}
        if body.get("publish"):
            answer["stateMachineVersionArn"] = self._publish(machine, body.get("versionDescription", ""))
        return answer

    def _usable(self, role: str) -> str:
        """Refuse a role that Step Functions can't assume."""
        if re.fullmatch(r"arn:aws[\w-]*:iam::\d{12}:role/.+", role) is None:
            raise AwsError("InvalidArn", f"Invalid Role Arn: '{role}'")
        if not trusts(self.context, role, "states.amazonaws.com"):
            raise AwsError(
                "AccessDeniedException",
                "Neither the global service principal states.amazonaws.com, nor the regional one is authorized to "
                "assume the provided role.",
            )
        return role

    def _checked(self, definition: str, kind: str) -> dict[str, Any]:
        wrong = validate(definition, express=kind == "EXPRESS")
        if wrong:
            listed = ", ".join(str(d) for d in wrong)
            raise AwsError("InvalidDefinition", f"Invalid State Machine Definition: '{listed}'")
        parsed: dict[str, Any] = json.loads(definition)
        return parsed

    @staticmethod
    def _logging(given: dict[str, Any] | None) -> dict[str, Any]:
        config = {"level": "OFF", "includeExecutionData": False, **(given or {})}
        if config["level"] not in LOG_LEVELS:
            raise AwsError(
                "InvalidLoggingConfiguration", f"Invalid Logging Configuration: level {config['level']}"
            )
        if config["level"] != "OFF" and not config.get("destinations"):
            raise AwsError(
                "InvalidLoggingConfiguration",
                "Invalid Logging Configuration: Must specify exactly one Log Destination.",
            )
        for destination in config.get("destinations", []):
            group = destination.get("cloudWatchLogsLogGroup", {}).get("logGroupArn", "")
            if not group.endswith(":*"):
                raise AwsError(
                    "InvalidLoggingConfiguration",
                    f"Invalid Logging Configuration: Log Destination '{group}' must end with ':*'",
                )
        return config

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

    def _describe_state_machine(self, body: dict[str, Any]) -> dict[str, Any]:
        arn = body.get("stateMachineArn", "")
        machine, _, role, version, _ = self._resolve(arn)
        definition = machine.definition
        if version is not None:
            definition = machine.versions[int(version.rpartition(":")[2])]["definition"]
        return {
            "stateMachineArn": arn, "name": machine.name, "status": "ACTIVE", "definition": definition,
            "roleArn": role, "type": machine.kind, "creationDate": machine.created_s,
            "loggingConfiguration": machine.logging, "tracingConfiguration": machine.tracing,
            "revisionId": machine.revision, "encryptionConfiguration": machine.encryption,
        }  # fmt: skip

    def _describe_state_machine_for_execution(self, body: dict[str, Any]) -> dict[str, Any]:
        execution = self._execution(body.get("executionArn", ""))
        machine = self._machine(execution.machine_arn)
        return {
            "stateMachineArn": machine.arn, "name": machine.name, "roleArn": execution.role_arn,
            "definition": json.dumps(execution.machine), "updateDate": machine.created_s,
            "loggingConfiguration": machine.logging, "tracingConfiguration": machine.tracing,
        }  # fmt: skip

    def _update_state_machine(self, body: dict[str, Any]) -> dict[str, Any]:
        machine = self._machine(body.get("stateMachineArn", ""))
        parsed = self._checked(body["definition"], machine.kind) if "definition" in body else machine.parsed
        log = (
            self._logging(body["loggingConfiguration"]) if "loggingConfiguration" in body else machine.logging
        )
        if not set(body) & {
            "definition",
            "roleArn",
            "loggingConfiguration",
            "tracingConfiguration",
            "encryptionConfiguration",
            "publish",
        }:
            raise AwsError(
                "MissingRequiredParameter",
                "Either the definition, the role ARN, the LoggingConfiguration, "
                "or the TracingConfiguration must be specified",
            )
        role = self._usable(body["roleArn"]) if "roleArn" in body else machine.role_arn
        with self._lock:
            machine.parsed, machine.logging = parsed, log
            machine.definition = body.get("definition", machine.definition)
            machine.role_arn = role
            machine.tracing = body.get("tracingConfiguration", machine.tracing)
            machine.encryption = body.get("encryptionConfiguration", machine.encryption)
            machine.revision = str(uuid.uuid4())
        answer = {"updateDate": self.context.clock.now_s(), "revisionId": machine.revision}
        if body.get("publish"):
            answer["stateMachineVersionArn"] = self._publish(machine, body.get("versionDescription", ""))
        return answer

    def _delete_state_machine(self, body: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            machine = self.machines.pop(body.get("stateMachineArn", ""), None)
            if machine is not None:
                for alias in [a for a in self.aliases if a.startswith(f"{machine.arn}:")]:
                    del self.aliases[alias]
        if machine is not None:
            for execution in list(self.executions.values()):
                if execution.machine_arn == machine.arn and execution.status == "RUNNING":
                    self._end(execution, "ABORTED", cause="the state machine was deleted")
        return {}

    def _list_state_machines(self, body: dict[str, Any]) -> dict[str, Any]:
        items = [
            {"stateMachineArn": m.arn, "name": m.name, "type": m.kind, "creationDate": m.created_s}
            for m in sorted(self.machines.values(), key=lambda m: m.arn)
        ]
        return _page(items, "stateMachines", body)

    def _validate_state_machine_definition(self, body: dict[str, Any]) -> dict[str, Any]:
        wrong = validate(body.get("definition", ""), express=body.get("type") == "EXPRESS")
        limit = body.get("maxResults") or 100
        return {
            "result": "FAIL" if wrong else "OK",
            "diagnostics": [d.as_json() for d in wrong[:limit]],
            "truncated": len(wrong) > limit,
        }

    def _publish(self, machine: Machine, description: str) -> str:
        with self._lock:
            for number, version in machine.versions.items():
                if version["revision"] == machine.revision:
                    return f"{machine.arn}:{number}"
            number, machine.next_version = machine.next_version, machine.next_version + 1
            machine.versions[number] = {
                "definition": machine.definition, "parsed": machine.parsed, "roleArn": machine.role_arn,
                "revision": machine.revision, "created_s": self.context.clock.now_s(), "description": description,
            }  # fmt: skip
        return f"{machine.arn}:{number}"

    def _publish_state_machine_version(self, body: dict[str, Any]) -> dict[str, Any]:
        machine = self._machine(body.get("stateMachineArn", ""))
        if body.get("revisionId") not in (None, machine.revision):
            raise AwsError(
                "ConflictException", "Failed to publish the State Machine version: the revision changed"
            )
        arn = self._publish(machine, body.get("description", ""))
        return {"stateMachineVersionArn": arn, "creationDate": self.context.clock.now_s()}

    def _list_state_machine_versions(self, body: dict[str, Any]) -> dict[str, Any]:
        machine = self._machine(body.get("stateMachineArn", ""))
        items = [
            {"stateMachineVersionArn": f"{machine.arn}:{n}", "creationDate": v["created_s"]}
            for n, v in sorted(machine.versions.items(), reverse=True)
        ]
        return _page(items, "stateMachineVersions", body)

    def _delete_state_machine_version(self, body: dict[str, Any]) -> dict[str, Any]:
        arn = body.get("stateMachineVersionArn", "")
        for alias in self.aliases.values():
            if any(r["stateMachineVersionArn"] == arn for r in alias["routingConfiguration"]):
                raise AwsError(
                    "ConflictException", f"Version to be deleted must not be referenced by an alias: {arn}"
                )
        machine_arn, _, number = arn.rpartition(":")
        if machine_arn in self.machines and number.isdigit():
            self.machines[machine_arn].versions.pop(int(number), None)
        return {}

    def _create_state_machine_alias(self, body: dict[str, Any]) -> dict[str, Any]:
        name, routes = _name(body, "name"), self._routes(body)
        arn = f"{routes[0]['stateMachineVersionArn'].rpartition(':')[0]}:{name}"
        now_s = self.context.clock.now_s()
        alias = {
            "stateMachineAliasArn": arn, "name": name, "description": body.get("description", ""),
            "routingConfiguration": routes, "creationDate": now_s, "updateDate": now_s,
        }  # fmt: skip
        known = self.aliases.setdefault(arn, alias)
        if known["routingConfiguration"] != routes:
            raise AwsError("ConflictException", f"Alias already exists: {arn}")
        return {"stateMachineAliasArn": arn, "creationDate": known["creationDate"]}

    def _routes(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        routes: list[dict[str, Any]] = body.get("routingConfiguration", [])
        machines = {r["stateMachineVersionArn"].rpartition(":")[0] for r in routes}
        if not 1 <= len(routes) <= 2 or sum(r["weight"] for r in routes) != 100 or len(machines) != 1:
            raise AwsError(
                "ValidationException",
                "An alias routes to one or two versions of one state machine whose weights add up to 100",
            )
        for route in routes:
            self._resolve(route["stateMachineVersionArn"])
        return routes

    def _alias(self, body: dict[str, Any]) -> dict[str, Any]:
        alias = self.aliases.get(body.get("stateMachineAliasArn", ""))
        if alias is None:
            raise AwsError(
                "ResourceNotFound",
                f"Request references a resource that does not exist: {body.get('stateMachineAliasArn')}",
            )
        return alias

    def _describe_state_machine_alias(self, body: dict[str, Any]) -> dict[str, Any]:
        return self._alias(body)

    def _update_state_machine_alias(self, body: dict[str, Any]) -> dict[str, Any]:
        alias = self._alias(body)
        if "routingConfiguration" in body:
            alias["routingConfiguration"] = self._routes(body)
        alias["description"] = body.get("description", alias["description"])
        alias["updateDate"] = self.context.clock.now_s()
        return {"updateDate": alias["updateDate"]}

    def _delete_state_machine_alias(self, body: dict[str, Any]) -> dict[str, Any]:
        self.aliases.pop(self._alias(body)["stateMachineAliasArn"])
        return {}

    def _list_state_machine_aliases(self, body: dict[str, Any]) -> dict[str, Any]:
        arn = self._machine(body.get("stateMachineArn", "")).arn
        items = [
            {"stateMachineAliasArn": a["stateMachineAliasArn"], "creationDate": a["creationDate"]}
            for a in self.aliases.values() if a["stateMachineAliasArn"].rpartition(":")[0] == arn
        ]  # fmt: skip
        return _page(items, "stateMachineAliases", body)

    def _list_tags_for_resource(self, body: dict[str, Any]) -> dict[str, Any]:
        tags = self._machine(body.get("resourceArn", "")).tags
        return {"tags": [{"key": k, "value": v} for k, v in tags.items()]}

    def _tag_resource(self, body: dict[str, Any]) -> dict[str, Any]:
        self._machine(body.get("resourceArn", "")).tags.update({t["key"]: t["value"] for t in body["tags"]})
        return {}

    def _untag_resource(self, body: dict[str, Any]) -> dict[str, Any]:
        tags = self._machine(body.get("resourceArn", "")).tags
        for key in body.get("tagKeys", []):
            tags.pop(key, None)
        return {}

    # Executions

    def _start_execution(self, body: dict[str, Any]) -> dict[str, Any]:
        execution = self._begin(body)
        return {"executionArn": execution.arn, "startDate": execution.started_s}

    def _begin(self, body: dict[str, Any]) -> Execution:
        text = body.get("input", "{}")
        name = _name(body, "name") if "name" in body else str(uuid.uuid4())
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
        run = _Run(self, execution, self._logger(machine, execution))
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

    def _start_sync_execution(self, body: dict[str, Any]) -> dict[str, Any]:
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

    def _describe_execution(self, body: dict[str, Any]) -> dict[str, Any]:
        return self._standard(body.get("executionArn", "")).describe()

    def _stop_execution(self, body: dict[str, Any]) -> dict[str, Any]:
        execution = self._standard(body.get("executionArn", ""))
        self.stop_execution(execution.arn, body.get("error"), body.get("cause"))
        return {"stopDate": execution.stopped_s}

    def _list_executions(self, body: dict[str, Any]) -> dict[str, Any]:
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
        return _page(items, "executions", body)

    def _get_execution_history(self, body: dict[str, Any]) -> dict[str, Any]:
        execution = self._standard(body.get("executionArn", ""))
        with execution.changed:
            events = list(execution.events)
        if body.get("reverseOrder"):
            events.reverse()
        if not body.get("includeExecutionData", True):
            events = [{k: v for k, v in e.items() if not k.endswith("Details")} for e in events]
        return _page(events, "events", body)

    # Task tokens

    def forget(self, name: str) -> None:
        """Drop a task token that nobody waits for."""
        self.tokens.pop(name, None)

    def _token(self, body: dict[str, Any]) -> Signal:
        name = body.get("taskToken", "")
        if not name.startswith("AQCE"):
            raise AwsError("InvalidToken", f"Invalid token: '{name}'")
        signal = self.tokens.get(name)
        if signal is None:
            raise AwsError("TaskTimedOut", "Provided task does not exist anymore")
        return signal

    def _send_task_success(self, body: dict[str, Any]) -> dict[str, Any]:
        signal = self._token(body)
        try:
            value = json.loads(body.get("output", ""))
        except ValueError as error:
            raise AwsError("InvalidOutput", f"Invalid output: {error}") from error
        self._settle(body, signal, value, None)
        return {}

    def _send_task_failure(self, body: dict[str, Any]) -> dict[str, Any]:
        failure = StateFailure(body.get("error", "States.TaskFailed"), body.get("cause", ""))
        self._settle(body, self._token(body), None, failure)
        return {}

    def _settle(self, body: dict[str, Any], signal: Signal, value: Any, failure: StateFailure | None) -> None:
        self.forget(body["taskToken"])
        if not self.engine.settle(signal, value, failure):
            raise AwsError("TaskTimedOut", "Provided task does not exist anymore")

    def _send_task_heartbeat(self, body: dict[str, Any]) -> dict[str, Any]:
        self.engine.beat(self._token(body))
        return {}


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _name(body: dict[str, Any], key: str) -> str:
    name = str(body.get(key, ""))
    if NAME.fullmatch(name) is None:
        raise AwsError("InvalidName", f"Invalid Name: '{name}'")
    return name


def _page(items: list[dict[str, Any]], key: str, body: dict[str, Any]) -> dict[str, Any]:
    start, size = int(body.get("nextToken") or 0), int(body.get("maxResults") or 1000)
    answer: dict[str, Any] = {key: items[start : start + size]}
    if start + size < len(items):
        answer["nextToken"] = str(start + size)
    return answer
