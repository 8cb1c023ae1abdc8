"""What Step Functions checks before it accepts a definition.

https://docs.aws.amazon.com/step-functions/latest/apireference/API_ValidateStateMachineDefinition.html and
https://states-language.net/spec.html. Messages follow AWS's shape (`CODE: message at /States/Name`).
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from keepwarm_localcloud.services.errors import coded
from keepwarm_localcloud.services.stepfunctions import intrinsics, paths
from keepwarm_localcloud.services.stepfunctions.failures import StateFailure

MAX_DEFINITION_BYTES = 1_048_576
MAX_NAME_LENGTH = 80
COMMON = {"Type", "Comment", "QueryLanguage"}
FLOW = {"Next", "End"}
IO = {"InputPath", "OutputPath"}
WORK = IO | FLOW | {"Parameters", "ResultPath", "ResultSelector", "Retry", "Catch", "Assign"}
FIELDS: dict[str, set[str]] = {
    "Pass": COMMON | FLOW | IO | {"Result", "ResultPath", "Parameters", "Assign"},
    "Task": COMMON
    | WORK
    | {
        "Resource",
        "TimeoutSeconds",
        "TimeoutSecondsPath",
        "HeartbeatSeconds",
        "HeartbeatSecondsPath",
        "Credentials",
    },
    "Choice": COMMON | IO | {"Choices", "Default", "Assign"},
    "Wait": COMMON | FLOW | IO | {"Seconds", "SecondsPath", "Timestamp", "TimestampPath", "Assign"},
    "Succeed": COMMON | IO,
    "Fail": COMMON | {"Error", "ErrorPath", "Cause", "CausePath"},
    "Parallel": COMMON | WORK | {"Branches"},
    "Map": COMMON
    | WORK
    | {
        "ItemProcessor",
        "Iterator",
        "ItemsPath",
        "ItemSelector",
        "ItemReader",
        "ItemBatcher",
        "ResultWriter",
        "MaxConcurrency",
        "MaxConcurrencyPath",
        "ToleratedFailurePercentage",
        "ToleratedFailurePercentagePath",
        "ToleratedFailureCount",
        "ToleratedFailureCountPath",
        "Label",
    },
}
MACHINE = {"Comment", "StartAt", "States", "Version", "TimeoutSeconds", "QueryLanguage", "ProcessorConfig"}
RETRIER = {
    "ErrorEquals",
    "IntervalSeconds",
    "MaxAttempts",
    "BackoffRate",
    "MaxDelaySeconds",
    "JitterStrategy",
    "Comment",
}
CATCHER = {"ErrorEquals", "Next", "ResultPath", "Comment", "Assign"}
BATCHER = {
    "BatchInput",
    "MaxItemsPerBatch",
    "MaxItemsPerBatchPath",
    "MaxInputBytesPerBatch",
    "MaxInputBytesPerBatchPath",
}
COMPARISONS = re.compile(
    r"(String|Numeric|Timestamp)(Equals|LessThan|GreaterThan|LessThanEquals|GreaterThanEquals)(Path)?"
    r"|BooleanEquals(Path)?|StringMatches|Is(Null|Present|Numeric|String|Boolean|Timestamp)"
)
RESOURCE = re.compile(r"arn:aws[\w-]*:(lambda|states):[\w-]*:\d*:.+")
SUPPORTED_ACTIONS: dict[str, set[str]] = {
    "lambda": {"invoke"},
    "sqs": {"sendMessage"},
    "sns": {"publish"},
    "dynamodb": {"getItem", "putItem", "updateItem", "deleteItem"},
    "ecs": {"runTask"},
    "states": {"startExecution"},
    "events": {"putEvents"},
}
"""Optimized integrations that run here. https://docs.aws.amazon.com/step-functions/latest/dg/supported-services-awssdk.html"""
SYNC_ACTIONS = {("ecs", "runTask"), ("states", "startExecution")}


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One thing that is wrong, and where."""

    code: str
    message: str
    location: str

    def as_json(self) -> dict[str, str]:
        """Shape of ValidateStateMachineDefinition."""
        return {"severity": "ERROR", "code": self.code, "message": self.message, "location": self.location}

    def __str__(self) -> str:
        return f"{self.code}: {self.message} at {self.location}"


@dataclass(slots=True)
class _Check:
    express: bool
    found: list[Diagnostic] = field(default_factory=list)
    names: set[str] = field(default_factory=set)

    def wrong(self, location: str, message: str, code: str = "SCHEMA_VALIDATION_FAILED") -> None:
        self.found.append(Diagnostic(code, message, location or "/"))

    def machine(self, machine: dict[str, Any], at: str) -> None:
        for key in sorted(set(machine) - MACHINE):
            self.wrong(f"{at}/{key}", f"Field '{key}' is not supported")
        if machine.get("QueryLanguage", "JSONPath") != "JSONPath":
            self.wrong(f"{at}/QueryLanguage", _JSONATA)
            return
        if "TimeoutSeconds" in machine and not _whole(machine["TimeoutSeconds"], 1):
            self.wrong(f"{at}/TimeoutSeconds", "Value is not a positive integer")
        states = machine.get("States")
        if not isinstance(states, dict) or not states:
            self.wrong(
                f"{at}/States", "The value for the field 'States' must be an object with at least one state"
            )
            return
        start = machine.get("StartAt")
        if not isinstance(start, str):
            self.wrong(at, "Field 'StartAt' is required")
        elif start not in states:
            self.wrong(f"{at}/StartAt", f"Missing 'StartAt' target: {start}", "MISSING_TRANSITION_TARGET")
        ends = False
        for name, state in states.items():
            where = f"{at}/States/{name}"
            if len(name) > MAX_NAME_LENGTH:
                self.wrong(where, f"State name is longer than {MAX_NAME_LENGTH} characters")
            if name in self.names:
                self.wrong(where, f"Duplicate state name: {name}", "DUPLICATE_STATE_NAME")
            self.names.add(name)
            if not isinstance(state, dict):
                self.wrong(where, "A state must be an object")
                continue
            ends = ends or state.get("End") is True or state.get("Type") in ("Succeed", "Fail")
            self.state(state, states, where)
        if not ends:
            self.wrong(f"{at}/States", "Missing terminal state", "MISSING_END_STATE")
        self.reachable(start, states, at)

    def reachable(self, start: Any, states: dict[str, Any], at: str) -> None:
        seen, queue = set(), [start]
        while queue:
            name = queue.pop()
            if not isinstance(name, str) or name in seen or not isinstance(states.get(name), dict):
                continue
            seen.add(name)
            state = states[name]
            lists = [state.get(key) for key in ("Choices", "Catch")]
            rules = [r for rs in lists if isinstance(rs, list) for r in rs if isinstance(r, dict)]
            queue += [state.get("Next"), state.get("Default"), *(rule.get("Next") for rule in rules)]
        for name in states:
            if name not in seen:
                self.wrong(f"{at}/States/{name}", f"State is not reachable: {name}", "UNREACHABLE_STATE")

    def target(self, name: Any, states: dict[str, Any], at: str) -> None:
        if not isinstance(name, str) or name not in states:
            self.wrong(at, f"Missing 'Next' target: {name}", "MISSING_TRANSITION_TARGET")

    def state(self, state: dict[str, Any], states: dict[str, Any], at: str) -> None:
        kind = state.get("Type")
        if kind not in FIELDS:
            self.wrong(
                f"{at}/Type", f"The value for the field 'Type' must be one of {sorted(FIELDS)}, got {kind!r}"
            )
            return
        if state.get("QueryLanguage", "JSONPath") != "JSONPath":
            self.wrong(f"{at}/QueryLanguage", _JSONATA)
            return
        for key in sorted(set(state) - FIELDS[kind]):
            self.wrong(f"{at}/{key}", f"Field '{key}' is not supported by a {kind} state")
        if FIELDS[kind] >= FLOW:
            if ("Next" in state) == (state.get("End") is True):
                self.wrong(at, "Exactly one of 'Next' and 'End' is required")
            elif "Next" in state:
                self.target(state["Next"], states, f"{at}/Next")
        for key in (
            "InputPath",
            "OutputPath",
            "ItemsPath",
            "SecondsPath",
            "TimestampPath",
            "TimeoutSecondsPath",
        ):
            self.path(state.get(key), f"{at}/{key}")
        self.path(state.get("ResultPath"), f"{at}/ResultPath", reference=True)
        for key in ("Parameters", "ResultSelector", "ItemSelector", "Assign"):
            self.template(state.get(key), f"{at}/{key}")
        self.retries(state, states, at)
        getattr(self, f"_{kind.lower()}", lambda *_: None)(state, states, at)

    def path(self, text: Any, at: str, *, reference: bool = False) -> None:
        if text is None:
            return
        if isinstance(text, str) and intrinsics.is_call(text) and not reference:
            self.call(text, at)
            return
        try:
            if not isinstance(text, str):
                self.wrong(at, "Value is not a String", "INVALID_JSON_PATH")
            elif reference and not paths.parse(text).definite:
                self.wrong(at, f"Value is not a Reference Path: {text}", "INVALID_JSON_PATH")
            else:
                paths.parse(text)
        except StateFailure as error:
            self.wrong(at, error.cause, "INVALID_JSON_PATH")

    def call(self, text: str, at: str) -> None:
        try:
            intrinsics.parse(text)
        except StateFailure as error:
            self.wrong(at, error.cause, "INVALID_JSON_PATH")

    def template(self, value: Any, at: str) -> None:
        if isinstance(value, list):
            for index, item in enumerate(value):
                self.template(item, f"{at}[{index}]")
        if not isinstance(value, dict):
            return
        for key, item in value.items():
            where = f"{at}/{key}"
            if not key.endswith(".$"):
                self.template(item, where)
            elif not isinstance(item, str) or not (item.startswith("$") or intrinsics.is_call(item)):
                self.wrong(
                    where,
                    f"The value for the field '{key}' must be a valid JSONPath or a valid intrinsic function call",
                )
            else:
                self.path(item, where)

    def retries(self, state: dict[str, Any], states: dict[str, Any], at: str) -> None:
        for key, allowed in (("Retry", RETRIER), ("Catch", CATCHER)):
            rules = state.get(key, [])
            if not isinstance(rules, list):
                self.wrong(f"{at}/{key}", "Value is not an array")
                continue
            for index, rule in enumerate(rules):
                self.rule(rule, allowed, states, f"{at}/{key}[{index}]", index == len(rules) - 1)

    def rule(self, rule: Any, allowed: set[str], states: dict[str, Any], at: str, last: bool) -> None:
        if not isinstance(rule, dict):
            self.wrong(at, "Value is not an object")
            return
        for key in sorted(set(rule) - allowed):
            self.wrong(f"{at}/{key}", f"Field '{key}' is not supported")
        names = rule.get("ErrorEquals")
        if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
            self.wrong(f"{at}/ErrorEquals", "ErrorEquals must be a non-empty array of strings")
        elif "States.ALL" in names and (len(names) > 1 or not last):
            self.wrong(f"{at}/ErrorEquals", "States.ALL must appear alone and in the last rule")
        if allowed is CATCHER:
            self.target(rule.get("Next"), states, f"{at}/Next")
            self.path(rule.get("ResultPath"), f"{at}/ResultPath", reference=True)
            return
        if "IntervalSeconds" in rule and not _whole(rule["IntervalSeconds"], 1):
            self.wrong(f"{at}/IntervalSeconds", "Value is not a positive integer")
        if "MaxAttempts" in rule and not _whole(rule["MaxAttempts"], 0):
            self.wrong(f"{at}/MaxAttempts", "Value is not a non-negative integer")
        if not isinstance(rule.get("BackoffRate", 2.0), int | float) or rule.get("BackoffRate", 2.0) < 1.0:
            self.wrong(f"{at}/BackoffRate", "Value must be greater than or equal to 1.0")
        if "MaxDelaySeconds" in rule and not (
            _whole(rule["MaxDelaySeconds"], 1)
            and rule["MaxDelaySeconds"] > _number(rule.get("IntervalSeconds", 1))
        ):
            self.wrong(f"{at}/MaxDelaySeconds", "MaxDelaySeconds must be greater than IntervalSeconds")
        if rule.get("JitterStrategy", "NONE") not in ("NONE", "FULL"):
            self.wrong(f"{at}/JitterStrategy", "JitterStrategy must be one of [FULL, NONE]")

    def _task(self, state: dict[str, Any], _states: dict[str, Any], at: str) -> None:
        resource = state.get("Resource")
        if not isinstance(resource, str) or RESOURCE.fullmatch(resource) is None:
            self.wrong(f"{at}/Resource", f"Value is not a valid resource ARN: {resource!r}")
            return
        if (reason := unsupported(resource)) is not None:
            self.wrong(f"{at}/Resource", reason)
        waits = resource.endswith((".sync", ".sync:2", ".waitForTaskToken"))
        if self.express and waits:
            self.wrong(
                f"{at}/Resource",
                "Express state machine does not support '.sync' or '.waitForTaskToken' service integrations",
            )
        for key in ("TimeoutSeconds", "HeartbeatSeconds"):
            if key in state and not _whole(state[key], 1):
                self.wrong(f"{at}/{key}", "Value is not a positive integer")
            if key in state and f"{key}Path" in state:
                self.wrong(at, f"Only one of '{key}' and '{key}Path' is allowed")
        if _whole(state.get("HeartbeatSeconds"), 1) and state["HeartbeatSeconds"] >= _number(
            state.get("TimeoutSeconds", 1e12), 1e12
        ):
            self.wrong(f"{at}/HeartbeatSeconds", "HeartbeatSeconds must be smaller than TimeoutSeconds")

    def _choice(self, state: dict[str, Any], states: dict[str, Any], at: str) -> None:
        choices = state.get("Choices")
        if not isinstance(choices, list) or not choices:
            self.wrong(f"{at}/Choices", "The value for the field 'Choices' must be a non-empty array")
            return
        for index, rule in enumerate(choices):
            where = f"{at}/Choices[{index}]"
            if not isinstance(rule, dict):
                self.wrong(where, "Value is not an object")
                continue
            self.target(rule.get("Next"), states, f"{where}/Next")
            self.condition({k: v for k, v in rule.items() if k not in ("Next", "Comment", "Assign")}, where)
        if "Default" in state:
            self.target(state["Default"], states, f"{at}/Default")

    def condition(self, rule: Any, at: str) -> None:
        if not isinstance(rule, dict):
            self.wrong(at, "Value is not an object")
            return
        for key in ("And", "Or"):
            if key in rule:
                for index, inner in enumerate(rule[key] if isinstance(rule[key], list) else [None]):
                    self.condition(inner, f"{at}/{key}[{index}]")
                return
        if "Not" in rule:
            self.condition(rule["Not"], f"{at}/Not")
            return
        tests = [key for key in rule if COMPARISONS.fullmatch(key)]
        if len(tests) != 1 or set(rule) != {"Variable", tests[0]}:
            self.wrong(at, "A choice rule needs 'Variable' and exactly one comparison operator")
            return
        self.path(rule["Variable"], f"{at}/Variable")

    def _wait(self, state: dict[str, Any], _states: dict[str, Any], at: str) -> None:
        given = [k for k in ("Seconds", "SecondsPath", "Timestamp", "TimestampPath") if k in state]
        if len(given) != 1:
            self.wrong(
                at, "Exactly one of 'Seconds', 'SecondsPath', 'Timestamp' and 'TimestampPath' is required"
            )
        if "Seconds" in state and not _whole(state["Seconds"], 0):
            self.wrong(f"{at}/Seconds", "Value is not a non-negative integer")

    def _parallel(self, state: dict[str, Any], _states: dict[str, Any], at: str) -> None:
        branches = state.get("Branches")
        if not isinstance(branches, list) or not branches:
            self.wrong(f"{at}/Branches", "The value for the field 'Branches' must be a non-empty array")
            return
        for index, branch in enumerate(branches):
            self.machine(branch if isinstance(branch, dict) else {}, f"{at}/Branches[{index}]")

    def _map(self, state: dict[str, Any], _states: dict[str, Any], at: str) -> None:
        key = "ItemProcessor" if "ItemProcessor" in state else "Iterator"
        if not isinstance(state.get(key), dict):
            self.wrong(at, "A Map state needs 'ItemProcessor'")
            return
        if "MaxConcurrency" in state and not _whole(state["MaxConcurrency"], 0):
            self.wrong(f"{at}/MaxConcurrency", "Value is not a non-negative integer")
        for name, most in (("ToleratedFailurePercentage", 100), ("ToleratedFailureCount", 99_999_999)):
            if name in state and not (_whole(state[name], 0) and state[name] <= most):
                self.wrong(f"{at}/{name}", f"Value is not an integer from 0 to {most}")
            self.path(state.get(f"{name}Path"), f"{at}/{name}Path", reference=True)
        if "ItemBatcher" in state:
            self.batcher(state["ItemBatcher"], f"{at}/ItemBatcher")
        for unsupported_key in ("ResultWriter", "ItemReader"):
            if unsupported_key in state:
                self.wrong(
                    f"{at}/{unsupported_key}", _unsupported(unsupported_key, "ItemsPath and the state output")
                )
        self.machine(state[key], f"{at}/{key}")

    def batcher(self, batcher: Any, at: str) -> None:
        if not isinstance(batcher, dict):
            self.wrong(at, "Value is not an object")
            return
        for key in sorted(set(batcher) - BATCHER):
            self.wrong(f"{at}/{key}", f"Field '{key}' is not supported")
        if not set(batcher) & (BATCHER - {"BatchInput"}):
            self.wrong(at, "ItemBatcher needs 'MaxItemsPerBatch' or 'MaxInputBytesPerBatch'")
        for key in ("MaxItemsPerBatch", "MaxInputBytesPerBatch"):
            if key in batcher and not _whole(batcher[key], 1):
                self.wrong(f"{at}/{key}", "Value is not a positive integer")
            self.path(batcher.get(f"{key}Path"), f"{at}/{key}Path", reference=True)
        self.template(batcher.get("BatchInput"), f"{at}/BatchInput")


def _unsupported(got: str, allowed: str) -> str:
    return coded(
        code="KW610",
        who="state machine",
        got=got,
        allowed=allowed,
        because="it isn't implemented here",
        fix="use what is allowed",
    )


_JSONATA = _unsupported("QueryLanguage JSONata", "QueryLanguage JSONPath")


def _number(value: Any, otherwise: float = 0.0) -> float:
    """A number to compare with; what isn't one is reported where it stands."""
    return value if isinstance(value, int | float) else otherwise


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= 99_999_999


def unsupported(resource: str) -> str | None:
    """Say why a Task's resource can't run, or None."""
    if ":states:::" not in resource:
        return (
            None
            if ":lambda:" in resource and ":function:" in resource
            else _unsupported(resource, "Lambda functions")
        )
    name = resource.partition(":states:::")[2]
    base = name.removesuffix(".waitForTaskToken").removesuffix(".sync").removesuffix(".sync:2")
    pieces = base.split(":")
    if pieces[0] == "aws-sdk":
        return None if len(pieces) == 3 else f"Resource {resource} is not an AWS SDK integration"
    allowed = SUPPORTED_ACTIONS.get(pieces[0], set())
    if len(pieces) != 2 or pieces[1] not in allowed:
        listed = ", ".join(
            f"{s}:{a}" for s, actions in sorted(SUPPORTED_ACTIONS.items()) for a in sorted(actions)
        )
        return _unsupported(resource, f"aws-sdk:* or {listed}")
    if ".sync" in name and (pieces[0], pieces[1]) not in SYNC_ACTIONS:
        return f"The resource {resource} does not support the .sync pattern"
    return None


def _duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise ValueError(f"Duplicate field '{key}'")
    return dict(pairs)


def validate(definition: str, *, express: bool = False) -> list[Diagnostic]:
    """Everything that is wrong with a definition, in document order; empty when it is accepted."""
    if len(definition.encode()) > MAX_DEFINITION_BYTES:
        return [
            Diagnostic(
                "INVALID_JSON_DESCRIPTION", f"Definition is larger than {MAX_DEFINITION_BYTES} bytes", "/"
            )
        ]
    try:
        machine = json.loads(definition, object_pairs_hook=_duplicates)
    except ValueError as error:
        return [Diagnostic("INVALID_JSON_DESCRIPTION", f"Could not parse JSON: {error}", "/")]
    if not isinstance(machine, dict):
        return [Diagnostic("INVALID_JSON_DESCRIPTION", "The definition must be a JSON object", "/")]
    check = _Check(express)
    check.machine(machine, "")
    return check.found


def task_resources(machine: dict[str, Any]) -> Iterator[str]:
    """Resources of every Task state, nested ones included."""
    for state in machine.get("States", {}).values():
        if state.get("Type") == "Task":
            yield state["Resource"]
        inner = [*state.get("Branches", []), state.get("ItemProcessor"), state.get("Iterator")]
        for child in inner:
            if isinstance(child, dict):
                yield from task_resources(child)
