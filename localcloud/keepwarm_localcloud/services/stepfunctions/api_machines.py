"""Operations on state machines, their versions, aliases and tags."""

import json
import re
import uuid
from typing import Any

from keepwarm_localcloud.request import AwsError
from keepwarm_localcloud.services.roles import trusts
from keepwarm_localcloud.services.stepfunctions.lifecycle import ExecutionLifecycle
from keepwarm_localcloud.services.stepfunctions.model import LOG_LEVELS, Machine
from keepwarm_localcloud.services.stepfunctions.state import named, page
from keepwarm_localcloud.services.stepfunctions.validation import validate


class MachinesApi(ExecutionLifecycle):
    """Operations on state machines, their versions, aliases and tags."""

    def _do_create_state_machine(self, body: dict[str, Any]) -> dict[str, Any]:
        name = named(body, "name")
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

    def _do_describe_state_machine(self, body: dict[str, Any]) -> dict[str, Any]:
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

    def _do_describe_state_machine_for_execution(self, body: dict[str, Any]) -> dict[str, Any]:
        execution = self._execution(body.get("executionArn", ""))
        machine = self._machine(execution.machine_arn)
        return {
            "stateMachineArn": machine.arn, "name": machine.name, "roleArn": execution.role_arn,
            "definition": json.dumps(execution.machine), "updateDate": machine.created_s,
            "loggingConfiguration": machine.logging, "tracingConfiguration": machine.tracing,
        }  # fmt: skip

    def _do_update_state_machine(self, body: dict[str, Any]) -> dict[str, Any]:
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

    def _do_delete_state_machine(self, body: dict[str, Any]) -> dict[str, Any]:
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

    def _do_list_state_machines(self, body: dict[str, Any]) -> dict[str, Any]:
        items = [
            {"stateMachineArn": m.arn, "name": m.name, "type": m.kind, "creationDate": m.created_s}
            for m in sorted(self.machines.values(), key=lambda m: m.arn)
        ]
        return page(items, "stateMachines", body)

    def _do_validate_state_machine_definition(self, body: dict[str, Any]) -> dict[str, Any]:
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

    def _do_publish_state_machine_version(self, body: dict[str, Any]) -> dict[str, Any]:
        machine = self._machine(body.get("stateMachineArn", ""))
        if body.get("revisionId") not in (None, machine.revision):
            raise AwsError(
                "ConflictException", "Failed to publish the State Machine version: the revision changed"
            )
        arn = self._publish(machine, body.get("description", ""))
        return {"stateMachineVersionArn": arn, "creationDate": self.context.clock.now_s()}

    def _do_list_state_machine_versions(self, body: dict[str, Any]) -> dict[str, Any]:
        machine = self._machine(body.get("stateMachineArn", ""))
        items = [
            {"stateMachineVersionArn": f"{machine.arn}:{n}", "creationDate": v["created_s"]}
            for n, v in sorted(machine.versions.items(), reverse=True)
        ]
        return page(items, "stateMachineVersions", body)

    def _do_delete_state_machine_version(self, body: dict[str, Any]) -> dict[str, Any]:
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

    def _do_create_state_machine_alias(self, body: dict[str, Any]) -> dict[str, Any]:
        name, routes = named(body, "name"), self._routes(body)
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

    def _do_describe_state_machine_alias(self, body: dict[str, Any]) -> dict[str, Any]:
        return self._alias(body)

    def _do_update_state_machine_alias(self, body: dict[str, Any]) -> dict[str, Any]:
        alias = self._alias(body)
        if "routingConfiguration" in body:
            alias["routingConfiguration"] = self._routes(body)
        alias["description"] = body.get("description", alias["description"])
        alias["updateDate"] = self.context.clock.now_s()
        return {"updateDate": alias["updateDate"]}

    def _do_delete_state_machine_alias(self, body: dict[str, Any]) -> dict[str, Any]:
        self.aliases.pop(self._alias(body)["stateMachineAliasArn"])
        return {}

    def _do_list_state_machine_aliases(self, body: dict[str, Any]) -> dict[str, Any]:
        arn = self._machine(body.get("stateMachineArn", "")).arn
        items = [
            {"stateMachineAliasArn": a["stateMachineAliasArn"], "creationDate": a["creationDate"]}
            for a in self.aliases.values() if a["stateMachineAliasArn"].rpartition(":")[0] == arn
        ]  # fmt: skip
        return page(items, "stateMachineAliases", body)

    def _do_list_tags_for_resource(self, body: dict[str, Any]) -> dict[str, Any]:
        tags = self._machine(body.get("resourceArn", "")).tags
        return {"tags": [{"key": k, "value": v} for k, v in tags.items()]}

    def _do_tag_resource(self, body: dict[str, Any]) -> dict[str, Any]:
        self._machine(body.get("resourceArn", "")).tags.update({t["key"]: t["value"] for t in body["tags"]})
        return {}

    def _do_untag_resource(self, body: dict[str, Any]) -> dict[str, Any]:
        tags = self._machine(body.get("resourceArn", "")).tags
        for key in body.get("tagKeys", []):
            tags.pop(key, None)
        return {}
