"""Reads a state machine definition the way AWS does before it takes it, and says what AWS would refuse.

Pure: text in, findings out. The rules are those of the Amazon States Language
(https://docs.aws.amazon.com/step-functions/latest/dg/concepts-amazon-states-language.html) plus the project's own:
every task has a timeout, every callback a heartbeat.
"""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from keepwarm.limits import SFN_DEFINITION_MAX_BYTES, SFN_EXPRESS_MAX_S, SFN_NAME_MAX_CHARS

TYPES = frozenset({"Task", "Pass", "Choice", "Wait", "Succeed", "Fail", "Parallel", "Map"})
TERMINAL = frozenset({"Succeed", "Fail"})
RETRIES_LOOKED_AT = 1000
WAIT_LOOKED_AT_S = 1e9
"""More than this exceeds every deadline; AWS takes up to 99999999 attempts."""
CALLBACK = ".waitForTaskToken"
SYNC = (".sync", ".sync:2")
ALL = "States.ALL"
JITTER = frozenset({"FULL", "NONE"})
PATHS = (
    "InputPath",
    "OutputPath",
    "ResultPath",
    "ItemsPath",
    "Variable",
    "TimeoutSecondsPath",
    "HeartbeatSecondsPath",
)


class Finding(NamedTuple):
    """One thing AWS, or this project, refuses in a definition."""

    code: str
    where: str
    got: str
    allowed: str
    because: str
    fix: str


class _Duplicate(ValueError):
    pass


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise _Duplicate(key)
    return dict(pairs)


def parse(text: str) -> tuple[dict[str, Any] | None, list[Finding]]:
    """The definition as an object, or why it is none (JSON allows a key twice; a state machine does not)."""

    def refuse(got: str, because: str, fix: str) -> tuple[None, list[Finding]]:
        return None, [
            Finding("KW130", "definition", got, "a JSON object with StartAt and States", because, fix)
        ]

    if len(text.encode()) > SFN_DEFINITION_MAX_BYTES:
        return refuse(
            f"{len(text.encode())} bytes", "Step Functions takes 1 MB", "split it into several machines"
        )
    try:
        definition = json.loads(text, object_pairs_hook=_pairs)
    except _Duplicate as fault:
        return refuse(
            f"the key {str(fault)!r} twice", "one of the two would be lost", "rename one of the states"
        )
    except ValueError as fault:
        return refuse(str(fault), "it is not JSON", "check commas and quotes of the template")
    if not isinstance(definition, dict):
        return refuse(type(definition).__name__, "it is a machine", "wrap it in an object")
    return definition, []


def check(definition: dict[str, Any], *, express: bool = False) -> list[Finding]:
    """Everything AWS would refuse in a parsed definition, in reading order."""
    found = list(_machine(definition, "", express))
    timeout = definition.get("TimeoutSeconds")
    if express and isinstance(timeout, int) and timeout > SFN_EXPRESS_MAX_S:
        found.append(
            Finding(
                "KW129",
                "TimeoutSeconds",
                f"{timeout} s",
                f"up to {SFN_EXPRESS_MAX_S} s",
                "an express execution ends after five minutes",
                "use a standard state machine",
            )
        )
    if not express:
        found += _deadline(definition, timeout)
    return found


def walk(definition: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every state of a definition with its name, those of branches and iterators included."""
    for name, state in _dict(definition.get("States")).items():
        if not isinstance(state, dict):
            continue
        yield name, state
        for inner in _inner(state):
            yield from walk(inner)


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _number(value: Any, default: float) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else default


def _inner(state: dict[str, Any]) -> list[dict[str, Any]]:
    inner = _dicts(state.get("Branches"))
    inner += [state[key] for key in ("ItemProcessor", "Iterator") if isinstance(state.get(key), dict)]
    return inner


def _machine(machine: dict[str, Any], at: str, express: bool) -> Iterator[Finding]:
    states = machine.get("States")
    if not isinstance(states, dict) or not states:
        yield Finding("KW130", f"{at}States", "no states", "at least one", "nothing could run", "add a state")
        return
    start = machine.get("StartAt")
    if not isinstance(start, str) or start not in states:
        yield Finding(
            "KW130",
            f"{at}StartAt",
            repr(start),
            f"one of {', '.join(states)}",
            "the state does not exist",
            "name an existing state",
        )
    for name, state in states.items():
        where = f"{at}{name}"
        if len(name) > SFN_NAME_MAX_CHARS:
            yield Finding(
                "KW139",
                where,
                f"{len(name)} characters",
                f"up to {SFN_NAME_MAX_CHARS}",
                "AWS takes no more",
                "shorten it",
            )
        if not isinstance(state, dict):
            yield Finding(
                "KW130", where, type(state).__name__, "an object", "it is a state", "write it as an object"
            )
            continue
        yield from _state(where, state, states, express)
        for inner in _inner(state):
            yield from _machine(inner, f"{where}.", express)
    yield from _reachable(machine, at)


def _state(where: str, state: dict[str, Any], states: dict[str, Any], express: bool) -> Iterator[Finding]:
    kind = state.get("Type")
    if not isinstance(kind, str) or kind not in TYPES:
        yield Finding(
            "KW130",
            f"{where}.Type",
            repr(kind),
            ", ".join(sorted(TYPES)),
            "there is no other type",
            "use one of them",
        )
        return
    yield from _transitions(where, state, kind, states)
    yield from _paths(where, state)
    if kind == "Task":
        yield from _task(where, state, express)
    if kind == "Choice":
        yield from _choice(where, state)
    yield from _errors(where, state, kind)


def _transitions(where: str, state: dict[str, Any], kind: str, states: dict[str, Any]) -> Iterator[Finding]:
    goes_on = "Next" in state
    ends = state.get("End") is True
    if kind in TERMINAL or kind == "Choice":
        if goes_on or "End" in state:
            yield Finding(
                "KW130",
                where,
                "Next or End",
                "neither",
                f"a {kind} state {'chooses by its rules' if kind == 'Choice' else 'ends the execution'}",
                "remove it",
            )
    elif goes_on == ends:
        yield Finding(
            "KW130",
            where,
            "both Next and End" if goes_on else "neither Next nor End",
            "exactly one of them",
            "AWS must know where the execution goes",
            "set one of them",
        )
    for target in targets(state):
        if target not in states:
            yield Finding(
                "KW130",
                f"{where}.Next",
                repr(target),
                f"one of {', '.join(states)}",
                "the state does not exist",
                "name an existing state",
            )


def targets(state: dict[str, Any]) -> list[str]:
    """Names of the states a state may hand over to."""
    found = [state["Next"]] if "Next" in state else []
    if "Default" in state:
        found.append(state["Default"])
    found += [rule["Next"] for rule in _dicts(state.get("Choices")) if "Next" in rule]
    found += [catch["Next"] for catch in _dicts(state.get("Catch")) if "Next" in catch]
    return [str(name) for name in found]


def _paths(where: str, state: dict[str, Any]) -> Iterator[Finding]:
    if state.get("QueryLanguage") == "JSONata":
        return
    for key in PATHS:
        value = state.get(key)
        if value is not None and not (isinstance(value, str) and value.startswith("$")):
            yield _path(f"{where}.{key}", value)
    for block in ("Parameters", "ResultSelector", "ItemSelector"):
        for at, value in _dollar_keys(state.get(block), f"{where}.{block}"):
            if not (isinstance(value, str) and value.startswith(("$", "States."))):
                yield _path(at, value)


def _dollar_keys(value: Any, at: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key.endswith(".$"):
                yield f"{at}.{key}", inner
            else:
                yield from _dollar_keys(inner, f"{at}.{key}")
    if isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _dollar_keys(inner, f"{at}[{index}]")


def _path(where: str, value: Any) -> Finding:
    return Finding(
        "KW130",
        where,
        repr(value),
        "a path that begins with '$'",
        "AWS reads it as JSONPath",
        "write it as '$.field'",
    )


def _task(where: str, state: dict[str, Any], express: bool) -> Iterator[Finding]:
    resource = state.get("Resource")
    if not isinstance(resource, str) or not resource.startswith("arn:"):
        yield Finding(
            "KW130",
            f"{where}.Resource",
            repr(resource),
            "an ARN",
            "a task calls something",
            "set the ARN of a function or service",
        )
        return
    timeout = state.get("TimeoutSeconds", state.get("TimeoutSecondsPath"))
    heartbeat = state.get("HeartbeatSeconds", state.get("HeartbeatSecondsPath"))
    if timeout is None:
        yield Finding(
            "KW130",
            f"{where}.TimeoutSeconds",
            "nothing",
            "a number of seconds",
            "AWS would wait for a lost answer for a year",
            "set it to what the task needs at most",
        )
    if CALLBACK in resource and heartbeat is None:
        yield Finding(
            "KW128",
            f"{where}.HeartbeatSeconds",
            "nothing",
            "a number of seconds",
            "a worker that died in silence would be waited for until the timeout",
            "set it and let the worker send heartbeats",
        )
    if isinstance(timeout, int) and isinstance(heartbeat, int) and heartbeat >= timeout:
        yield Finding(
            "KW128",
            f"{where}.HeartbeatSeconds",
            f"{heartbeat} s",
            f"below TimeoutSeconds, {timeout} s",
            "a heartbeat after the timeout never comes",
            "lower it",
        )
    if express and (CALLBACK in resource or resource.endswith(SYNC)):
        yield Finding(
            "KW129",
            f"{where}.Resource",
            repr(resource),
            "a request-response integration",
            "an express state machine does not wait for jobs or callbacks",
            "use a standard state machine",
        )


def _choice(where: str, state: dict[str, Any]) -> Iterator[Finding]:
    rules = state.get("Choices")
    if not isinstance(rules, list) or not rules:
        yield Finding(
            "KW130", f"{where}.Choices", "no rule", "at least one", "it decides nothing", "add a rule"
        )
        return
    for index, rule in enumerate(rules):
        if not isinstance(rule, dict) or "Next" not in rule:
            yield Finding(
                "KW130",
                f"{where}.Choices[{index}]",
                "no Next",
                "a Next",
                "a rule leads somewhere",
                "set its Next",
            )
    if "Default" not in state:
        yield Finding(
            "KW130",
            f"{where}.Default",
            "nothing",
            "a state",
            "input that no rule matches would end the execution with States.NoChoiceMatched",
            "name a default",
        )


def _errors(where: str, state: dict[str, Any], kind: str) -> Iterator[Finding]:
    for block in ("Retry", "Catch"):
        entries = state.get(block)
        entries = entries if isinstance(entries, list) else []
        if entries and kind not in ("Task", "Parallel", "Map"):
            yield Finding(
                "KW130",
                f"{where}.{block}",
                f"on a {kind} state",
                "Task, Parallel or Map",
                "nothing fails there",
                "remove it",
            )
        for index, entry in enumerate(entries):
            at = f"{where}.{block}[{index}]"
            names = entry.get("ErrorEquals") if isinstance(entry, dict) else None
            if not isinstance(names, list) or not names:
                yield Finding(
                    "KW130",
                    f"{at}.ErrorEquals",
                    repr(names),
                    "a list of error names",
                    "it matches nothing",
                    "name errors",
                )
                continue
            if ALL in names and (len(names) > 1 or index < len(entries) - 1):
                yield Finding(
                    "KW130",
                    f"{at}.ErrorEquals",
                    f"{ALL} beside or before others",
                    f"{ALL} alone and last",
                    "it matches everything, so nothing after it ever would",
                    "move it to the end",
                )
            if block == "Catch" and "Next" not in entry:
                yield Finding(
                    "KW130", f"{at}.Next", "nothing", "a state", "a catch leads somewhere", "set its Next"
                )
            if entry.get("JitterStrategy", "NONE") not in JITTER:
                yield Finding(
                    "KW130",
                    f"{at}.JitterStrategy",
                    repr(entry["JitterStrategy"]),
                    "FULL or NONE",
                    "AWS knows no other",
                    "use FULL",
                )


def _reachable(machine: dict[str, Any], at: str) -> Iterator[Finding]:
    states = machine["States"]
    seen: set[str] = set()
    queue = [machine.get("StartAt")]
    while queue:
        name = queue.pop()
        if not isinstance(name, str) or name in seen or not isinstance(states.get(name), dict):
            continue
        seen.add(name)
        queue += targets(states[name])
    for name in states:
        if name not in seen:
            yield Finding(
                "KW130",
                f"{at}{name}",
                "an unreachable state",
                "states that StartAt leads to",
                "it would never run",
                "link it or remove it",
            )
    if seen and not any(
        states[name].get("Type") in TERMINAL or states[name].get("End") is True for name in seen
    ):
        yield Finding(
            "KW130",
            f"{at}States",
            "no end",
            "a state with End, Succeed or Fail",
            "the execution would never end",
            "end it",
        )


def retry_schedule_s(retry: dict[str, Any]) -> list[float]:
    """Longest waits between the attempts of one retrier, in seconds (full jitter may only shorten them)."""
    interval = _number(retry.get("IntervalSeconds"), 1)
    rate = _number(retry.get("BackoffRate"), 2)
    longest = _number(retry.get("MaxDelaySeconds"), float("inf"))
    attempts = min(int(_number(retry.get("MaxAttempts"), 3)), RETRIES_LOOKED_AT)
    waits: list[float] = []
    wait = interval
    for _ in range(attempts):
        waits.append(min(wait, longest))
        wait = min(wait * rate, WAIT_LOOKED_AT_S)
    return waits


def longest_retry_s(state: dict[str, Any]) -> float:
    """Longest time all waits of a state's most patient retrier take, in seconds."""
    return max((sum(retry_schedule_s(retry)) for retry in _dicts(state.get("Retry"))), default=0.0)


def _deadline(definition: dict[str, Any], timeout: Any) -> Iterator[Finding]:
    """No single state may spend more on waiting between attempts than the whole execution has."""
    if not isinstance(timeout, int) or isinstance(timeout, bool) or timeout <= 0:
        yield Finding(
            "KW130",
            "TimeoutSeconds",
            repr(timeout),
            "a number of seconds, at least 1",
            "an execution without an end holds its work for a year",
            "set it to the deadline of the work",
        )
        return
    for name, state in walk(definition):
        waits = longest_retry_s(state)
        if waits > timeout:
            most = max(_dicts(state["Retry"]), key=lambda retry: sum(retry_schedule_s(retry)))
            schedule = " + ".join(f"{wait:g}" for wait in retry_schedule_s(most))
            yield Finding(
                "KW123",
                f"{name}.Retry",
                f"{schedule} = {waits:g} s",
                f"up to the machine's TimeoutSeconds, {timeout} s",
                "the execution ends before the last attempt",
                "lower MaxAttempts or MaxDelaySeconds",
            )
