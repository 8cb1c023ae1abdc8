"""Runs one state machine: data flow, transitions, retries and catches.

https://states-language.net/spec.html; history events as
https://docs.aws.amazon.com/step-functions/latest/apireference/API_HistoryEvent.html
"""

import json
import random
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from keepwarm_localcloud.clockwork.clock import Clock
from keepwarm_localcloud.services.stepfunctions import intrinsics, paths
from keepwarm_localcloud.services.stepfunctions.failures import TIMEOUTS, Aborted, PathError, StateFailure
from keepwarm_localcloud.services.stepfunctions.fibers import (
    FAILED,
    Call,
    Effect,
    Gather,
    Signal,
    Sleep,
    Steps,
)

MAX_PAYLOAD_BYTES = 262_144
"""Largest input or result of a state. https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html"""
DEFAULT_TASK_TIMEOUT_S = 99_999_999.0

Scope = dict[str, Any]


class Host(Protocol):
    """What a running state machine needs from the service."""

    clock: Clock
    random: random.Random

    def event(self, kind: str, previous: int, **details: Any) -> int:
        """Append a history event and give its id.

        Raises:
            StateFailure: the history is full (`States.Runtime`).
        """
        ...

    def aborted(self, stays: "list[Stay]") -> None:
        """Append the history events of what was cut short."""
        ...

    def task(self, resource: str, parameters: Any) -> Callable[[], Any]:
        """Give the blocking call of a task."""
        ...

    def job(self, resource: str, parameters: Any, signal: Signal) -> Callable[[], Any]:
        """Give the call that starts a `.sync` job; the signal is settled when the job ends."""
        ...

    def abandon(self, signal: Signal) -> None:
        """Nobody waits any more: stop the job of the signal and forget its token."""
        ...

    def new_token(self) -> str:
        """Make a task token."""
        ...

    def expect(self, token: str, signal: Signal) -> None:
        """Route SendTask* for this token to the signal."""
        ...


def timestamp(at_s: float) -> str:
    """Time as the context object and Timestamp fields write it."""
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _parsed_time(value: Any) -> datetime | None:
    if not isinstance(value, str) or not re.match(r"\d{4}-\d\d-\d\d[Tt]", value):
        return None
    try:
        moment = datetime.fromisoformat(value.upper().replace("Z", "+00:00"))
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None


def compact(value: Any) -> str:
    """JSON as Step Functions stores it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _check_size(name: str, value: Any) -> None:
    """Refuse what no state may give on; by its own name, but not by States.ALL, that can be caught."""
    if len(compact(value).encode()) > MAX_PAYLOAD_BYTES:
        raise StateFailure(
            "States.DataLimitExceeded",
            f"The state/task '{name}' returned a result with a size exceeding the maximum number of bytes"
            " service limit.",
        )


ABORTABLE = frozenset({"Task", "Wait", "Parallel", "Map"})
"""Types of states that have an event for being cut short; the others are over at once."""


@dataclass(slots=True, eq=False)
class Stay:
    """What is under way and may be cut short: a state, an item of a Map, a branch, or all of an execution.

    History events of it are written under its lock and only while it is not cut: nothing comes after its abort.
    """

    event: str = ""
    """History event of its being cut short; none for branches and executions."""
    previous: Callable[[], int] = lambda: 0
    """Id of its last event so far."""
    details: dict[str, Any] = field(default_factory=dict)
    inside: dict["Stay", None] = field(default_factory=dict)
    cut: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)
    """The same for everything in one execution."""

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the lock for an event.

        Raises:
            Aborted: this was cut short.
        """
        with self.lock:
            if self.cut:
                raise Aborted
            yield

    def begin(self, event: str, previous: Callable[[], int], **details: Any) -> "Stay":
        """Begin something inside; under the lock."""
        stay = Stay(event, previous, details, lock=self.lock)
        self.inside[stay] = None
        return stay

    def end(self, stay: "Stay") -> None:
        """End something inside; under the lock.

        Raises:
            Aborted: it was cut short before.
        """
        if stay.cut:
            raise Aborted
        if stay is not self:
            del self.inside[stay]

    def cut_inside(self) -> "list[Stay]":
        """Cut everything inside short; under the lock. Gives what needs an event for that, innermost first."""
        found: list[Stay] = []
        for stay in self.inside:
            stay.cut = True
            found += [*stay.cut_inside(), *([stay] if stay.event else [])]
        self.inside.clear()
        return found


@dataclass(slots=True)
class _Visit:
    """One stay in one state."""

    name: str
    state: dict[str, Any]
    raw: Any
    context: dict[str, Any]
    scope: Scope
    event_id: int
    entered_s: float
    """Before the history says so: who reads the history and moves the clock must not move this."""
    stay: Stay
    """Its own, or that around it for a state that is over at once."""
    failed_s: float = 0.0
    """Likewise, of the last failure."""
    input: Any = None
    attempts: dict[int, int] = field(default_factory=dict)

    def last(self) -> int:
        """Id of the last event so far."""
        return self.event_id

    def read(self, text: str, data: Any = None) -> Any:
        """Read a path from the effective input, or from `data`."""
        return paths.read(text, self.input if data is None else data, self.context, self.scope)

    def fill(self, template: Any, data: Any) -> Any:
        """Evaluate a payload template."""
        if isinstance(template, list):
            return [self.fill(item, data) for item in template]
        if not isinstance(template, dict):
            return template
        out: dict[str, Any] = {}
        for key, item in template.items():
            if not key.endswith(".$"):
                out[key] = self.fill(item, data)
            else:
                out[key[:-2]] = self.value(item, data)
        return out

    def value(self, text: str, data: Any) -> Any:
        """Evaluate a path or an intrinsic function call."""
        try:
            if intrinsics.is_call(text):
                return intrinsics.evaluate(text, lambda p: paths.read(p, data, self.context, self.scope))
            return paths.read(text, data, self.context, self.scope)
        except PathError as error:
            # A template that can't be filled fails as ParameterPathFailure, which can be caught.
            raise StateFailure(
                "States.ParameterPathFailure", f"{error.cause} (state '{self.name}')"
            ) from error


class Interpreter:
    """Runs a machine for a host."""

    def __init__(self, host: Host, context: dict[str, Any]) -> None:
        self.host = host
        self.context = context

    def run(
        self,
        machine: dict[str, Any],
        value: Any,
        previous: int,
        scope: Scope,
        extra: dict[str, Any],
        around: Stay,
    ) -> Steps:
        """Run from StartAt to the end; the value is (output, last event id)."""
        name = machine["StartAt"]
        while True:
            state = machine["States"][name]
            context = {**self.context, **extra}
            entered_s = self.host.clock.now_s()
            context["State"] = {"Name": name, "EnteredTime": timestamp(entered_s), "RetryCount": 0}
            kind = state["Type"]
            visit = _Visit(name, state, value, context, scope, previous, entered_s, around)
            with around.writing():
                visit.event_id = self.host.event(
                    f"{kind}StateEntered",
                    previous,
                    stateEnteredEventDetails={
                        "name": name,
                        "input": compact(value),
                        "inputDetails": {"truncated": False},
                    },
                )
                if kind in ABORTABLE:
                    visit.stay = around.begin(f"{kind}StateAborted", visit.last)
            try:
                value, following = yield from self._state(visit)
            except StateFailure:
                # What is aborted stays inside: whoever aborts it writes that into the history.
                with around.lock:
                    around.end(visit.stay)
                raise
            with around.lock:
                around.end(visit.stay)
                previous = self.host.event(
                    f"{kind}StateExited",
                    visit.event_id,
                    stateExitedEventDetails={
                        "name": name,
                        "output": compact(value),
                        "outputDetails": {"truncated": False},
                    },
                )
            if following is None:
                return value, previous
            name = following

    def _state(self, visit: _Visit) -> Steps:
        state = visit.state
        while True:
            visit.failed_s = 0.0
            try:
                visit.input = self._narrow(visit, state.get("InputPath", "$"), visit.raw)
                handler: Callable[[_Visit], Steps] = getattr(self, f"_{state['Type'].lower()}")
                value, following = yield from handler(visit)
                _check_size(visit.name, value)
                return value, following
            except StateFailure as failure:
                pause_s = self._retry(visit, failure)
                if pause_s is None:
                    return self._catch(visit, failure)
            yield Sleep((visit.failed_s or self.host.clock.now_s()) + pause_s)
            visit.context["State"]["RetryCount"] += 1

    @staticmethod
    def _narrow(visit: _Visit, path: str | None, data: Any) -> Any:
        return {} if path is None else paths.read(path, data, visit.context, visit.scope)

    def _retry(self, visit: _Visit, failure: StateFailure) -> float | None:
        for index, rule in enumerate(visit.state.get("Retry", [])):
            if not failure.matches(rule["ErrorEquals"]):
                continue
            attempt = visit.attempts.get(index, 0)
            if attempt >= rule.get("MaxAttempts", 3):
                return None
            visit.attempts[index] = attempt + 1
            pause_s = float(rule.get("IntervalSeconds", 1) * rule.get("BackoffRate", 2.0) ** attempt)
            pause_s = min(pause_s, rule.get("MaxDelaySeconds", pause_s))
            return self.host.random.uniform(0, pause_s) if rule.get("JitterStrategy") == "FULL" else pause_s
        return None

    def _catch(self, visit: _Visit, failure: StateFailure) -> tuple[Any, str | None]:
        for rule in visit.state.get("Catch", []):
            if failure.matches(rule["ErrorEquals"]):
                error = {"Error": failure.error, "Cause": failure.cause}
                path = rule.get("ResultPath", "$")
                self._assign(visit, rule, error)
                return (visit.raw if path is None else paths.write(path, visit.raw, error)), rule["Next"]
        raise failure

    @staticmethod
    def _assign(visit: _Visit, holder: dict[str, Any], data: Any) -> None:
        if "Assign" in holder:
            visit.scope.update(visit.fill(holder["Assign"], data))

    def _output(self, visit: _Visit, result: Any) -> tuple[Any, str | None]:
        """Apply ResultSelector, ResultPath, OutputPath; give the output and the next state."""
        state = visit.state
        if "ResultSelector" in state:
            result = visit.fill(state["ResultSelector"], result)
        self._assign(visit, state, result)
        place = state.get("ResultPath", "$")
        try:
            output = visit.raw if place is None else paths.write(place, visit.raw, result)
        except PathError as error:
            raise StateFailure("States.ResultPathMatchFailure", error.cause) from error
        return self._narrow(visit, state.get("OutputPath", "$"), output), state.get("Next")

    def _effective(self, visit: _Visit) -> Any:
        return (
            visit.fill(visit.state["Parameters"], visit.input) if "Parameters" in visit.state else visit.input
        )

    def _pass(self, visit: _Visit) -> Steps:
        yield from ()
        result = visit.state["Result"] if "Result" in visit.state else self._effective(visit)
        return self._output(visit, result)

    def _succeed(self, visit: _Visit) -> Steps:
        yield from ()
        return self._narrow(visit, visit.state.get("OutputPath", "$"), visit.input), None

    def _fail(self, visit: _Visit) -> Steps:
        yield from ()
        state = visit.state
        texts = [
            str(visit.value(state[f"{key}Path"], visit.input))
            if f"{key}Path" in state
            else state.get(key, "")
            for key in ("Error", "Cause")
        ]
        raise StateFailure(*texts)

    def _wait(self, visit: _Visit) -> Steps:
        state, now_s = visit.state, visit.entered_s
        if "Timestamp" in state or "TimestampPath" in state:
            text = state["Timestamp"] if "Timestamp" in state else visit.read(state["TimestampPath"])
            moment = _parsed_time(text)
            if moment is None:
                raise StateFailure(
                    "States.Runtime",
                    f"The TimestampPath parameter does not reference a valid timestamp: {text}",
                )
            until_s = moment.timestamp()
        else:
            seconds = state["Seconds"] if "Seconds" in state else visit.read(state["SecondsPath"])
            if not isinstance(seconds, int | float) or seconds < 0:
                raise StateFailure(
                    "States.Runtime",
                    f"The SecondsPath parameter does not reference a valid number: {seconds}",
                )
            until_s = now_s + seconds
        if until_s > now_s:
            yield Sleep(until_s)
        self._assign(visit, state, visit.input)
        return self._narrow(visit, state.get("OutputPath", "$"), visit.input), state.get("Next")

    def _choice(self, visit: _Visit) -> Steps:
        yield from ()
        for rule in visit.state["Choices"]:
            if self._holds(visit, rule):
                self._assign(visit, rule, visit.input)
                return self._narrow(visit, visit.state.get("OutputPath", "$"), visit.input), rule["Next"]
        if "Default" not in visit.state:
            raise StateFailure("States.NoChoiceMatched", f"No choice matched in state '{visit.name}'")
        self._assign(visit, visit.state, visit.input)
        return self._narrow(visit, visit.state.get("OutputPath", "$"), visit.input), visit.state["Default"]

    def _holds(self, visit: _Visit, rule: dict[str, Any]) -> bool:
        if "And" in rule:
            return all(self._holds(visit, inner) for inner in rule["And"])
        if "Or" in rule:
            return any(self._holds(visit, inner) for inner in rule["Or"])
        if "Not" in rule:
            return not self._holds(visit, rule["Not"])
        test = next(k for k in rule if k not in ("Variable", "Next", "Comment", "Assign"))
        if test == "IsPresent":
            return paths.exists(rule["Variable"], visit.input, visit.context, visit.scope) is rule[test]
        left = visit.read(rule["Variable"])
        right = visit.read(rule[test]) if test.endswith("Path") else rule[test]
        return _compare(test.removesuffix("Path"), left, right)

    def _seconds(self, visit: _Visit, key: str) -> float | None:
        state = visit.state
        if f"{key}Path" in state:
            value = visit.read(state[f"{key}Path"])
            if not isinstance(value, int) or value <= 0:
                raise StateFailure(
                    "States.Runtime", f"{key}Path must reference a positive integer, got {value!r}"
                )
            return float(value)
        return float(state[key]) if key in state else None

    def _task(self, visit: _Visit) -> Steps:
        state, host = visit.state, self.host
        resource = state["Resource"]
        token = host.new_token() if resource.endswith(".waitForTaskToken") else None
        if token is not None:
            visit.context["Task"] = {"Token": token}
        parameters = self._effective(visit)
        limit_s, beat_s = self._seconds(visit, "TimeoutSeconds"), self._seconds(visit, "HeartbeatSeconds")
        until_s = None if limit_s is None else host.clock.now_s() + limit_s
        log = _TaskLog(host, resource)
        with visit.stay.writing():
            event = visit.event_id = log.scheduled(visit.event_id, parameters, limit_s, beat_s)

        def late(name: str = "States.Timeout") -> Exception:
            return StateFailure(name, "")

        effect: Effect
        signal = Signal(until_s, beat_s, late, lambda: late("States.HeartbeatTimeout"), lambda: None)
        try:
            if token is not None:
                signal.begin = host.task(resource, parameters)
                host.expect(token, signal)
                effect = signal
            elif resource.endswith((".sync", ".sync:2")):
                signal.begin = host.job(resource, parameters, signal)
                effect = signal
            else:
                effect = Call(host.task(resource, parameters), until_s, late)
            result = yield effect
        except Aborted:
            host.abandon(signal)
            raise
        except StateFailure as failure:
            host.abandon(signal)
            visit.failed_s = host.clock.now_s()
            with visit.stay.writing():
                visit.event_id = log.failed(event, failure)
            raise
        with visit.stay.writing():
            visit.event_id = log.succeeded(event, result)
        # What a task gives is limited as it comes: dropping it (ResultPath null) is too late.
        _check_size(visit.name, result)
        return self._output(visit, result)

    def _parallel(self, visit: _Visit) -> Steps:
        value = self._effective(visit)
        with visit.stay.writing():
            event = visit.event_id = self.host.event("ParallelStateStarted", visit.event_id)
            branches = [visit.stay.begin("", visit.last) for _ in visit.state["Branches"]]
        extra = {"Map": visit.context["Map"]} if "Map" in visit.context else {}
        children = [
            self.run(branch, value, event, dict(visit.scope), extra, stay)
            for branch, stay in zip(visit.state["Branches"], branches, strict=True)
        ]
        try:
            results = yield Gather(children)
        except StateFailure as failure:
            self._failed(visit, "ParallelStateFailed", event, failure)
            raise
        with visit.stay.writing():
            visit.event_id = self.host.event("ParallelStateSucceeded", event)
        return self._output(visit, [result[0] for result in results])

    def _map(self, visit: _Visit) -> Steps:
        state = visit.state
        items = visit.read(state["ItemsPath"]) if "ItemsPath" in state else visit.input
        if not isinstance(items, list):
            raise StateFailure(
                "States.Runtime", f"Reference path {state.get('ItemsPath', '$')} must point to an array"
            )
        template = state.get("ItemSelector", state.get("Parameters"))
        processor = state["ItemProcessor"] if "ItemProcessor" in state else state["Iterator"]
        limit = (
            visit.read(state["MaxConcurrencyPath"])
            if "MaxConcurrencyPath" in state
            else state.get("MaxConcurrency", 0)
        )
        with visit.stay.writing():
            event = visit.event_id = self.host.event(
                "MapStateStarted", visit.event_id, mapStateStartedEventDetails={"length": len(items)}
            )
            around = visit.stay.begin("", visit.last)
        selected = [self._item(visit, template, index, item) for index, item in enumerate(items)]
        if "ItemBatcher" in state:
            selected = self._batches(visit, state["ItemBatcher"], selected)
        children = [
            self._iteration(visit, around, processor, index, item, event)
            for index, item in enumerate(selected)
        ]
        share = self._number(visit, state, "ToleratedFailurePercentage")
        count = self._number(visit, state, "ToleratedFailureCount")
        try:
            results = yield Gather(
                children,
                limit,
                lambda failed, total: failed <= (count or 0) or failed * 100 <= (share or 0) * total,
            )
        except StateFailure as error:
            failure = error
            if share is not None or count is not None:
                failure = StateFailure(
                    "States.ExceedToleratedFailureThreshold",
                    "The specified tolerated failure threshold was exceeded",
                )
            self._failed(visit, "MapStateFailed", event, failure)
            raise failure from error.__cause__
        with visit.stay.writing():
            visit.event_id = self.host.event("MapStateSucceeded", event)
        return self._output(visit, [result for result in results if result is not FAILED])

    def _failed(self, visit: _Visit, kind: str, event: int, failure: StateFailure) -> None:
        """Write that a Parallel or Map failed, after what that cuts short inside."""
        visit.failed_s = self.host.clock.now_s()
        with visit.stay.writing():
            self.host.aborted(visit.stay.cut_inside())
            visit.event_id = self.host.event(kind, event, failure=failure)

    @staticmethod
    def _number(visit: _Visit, holder: dict[str, Any], key: str) -> int | None:
        if f"{key}Path" not in holder:
            return holder.get(key)
        value = visit.read(holder[f"{key}Path"])
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise StateFailure(
                "States.Runtime", f"{key}Path must reference a non-negative integer, got {value!r}"
            )
        return value

    def _batches(self, visit: _Visit, batcher: dict[str, Any], items: list[Any]) -> list[Any]:
        """Group items as ItemBatcher says.

        https://docs.aws.amazon.com/step-functions/latest/dg/input-output-itembatcher.html
        """
        most = self._number(visit, batcher, "MaxItemsPerBatch") or len(items)
        limit = self._number(visit, batcher, "MaxInputBytesPerBatch") or MAX_PAYLOAD_BYTES
        common = (
            {"BatchInput": visit.fill(batcher["BatchInput"], visit.input)} if "BatchInput" in batcher else {}
        )
        batches: list[list[Any]] = []
        empty = len(compact({**common, "Items": []}).encode())
        size = 0
        for index, item in enumerate(items):
            bytes_ = len(compact(item).encode())
            if empty + bytes_ > limit:
                raise StateFailure(
                    "States.Runtime",
                    f"Item {index} does not fit into a batch of at most {limit} bytes (state '{visit.name}')",
                )
            # A further item costs its comma too.
            if not batches or len(batches[-1]) >= most or size + 1 + bytes_ > limit:
                batches.append([])
                size = empty - 1
            batches[-1].append(item)
            size += 1 + bytes_
        return [{**common, "Items": batch} for batch in batches]

    @staticmethod
    def _item(visit: _Visit, template: Any, index: int, item: Any) -> Any:
        if template is None:
            return item
        visit.context["Map"] = {"Item": {"Index": index, "Value": item}}
        return visit.fill(template, visit.input)

    def _iteration(
        self, visit: _Visit, around: Stay, processor: dict[str, Any], index: int, item: Any, event: int
    ) -> Steps:
        facts = {"name": visit.name, "index": index}
        with around.writing():
            event = self.host.event("MapIterationStarted", event, mapIterationStartedEventDetails=facts)
            stay = around.begin("MapIterationAborted", lambda: event, mapIterationAbortedEventDetails=facts)
        extra = {"Map": {"Item": {"Index": index, "Value": item}}}
        try:
            result, last = yield from self.run(processor, item, event, dict(visit.scope), extra, stay)
        except StateFailure:
            with around.lock:
                around.end(stay)
                self.host.event("MapIterationFailed", event, mapIterationFailedEventDetails=facts)
            raise
        with around.lock:
            around.end(stay)
            self.host.event("MapIterationSucceeded", last, mapIterationSucceededEventDetails=facts)
        return result


class _TaskLog:
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


def _kind_matches(test: str, left: Any, right: Any) -> bool:
    if test.startswith("String"):
        return isinstance(left, str) and isinstance(right, str)
    if test.startswith("Numeric"):
        return not isinstance(left, bool) and isinstance(left, int | float) and isinstance(right, int | float)
    if test.startswith("Timestamp"):
        return _parsed_time(left) is not None and _parsed_time(right) is not None
    return True


def _is(test: str, left: Any) -> bool:
    return {
        "IsNull": left is None,
        "IsNumeric": isinstance(left, int | float) and not isinstance(left, bool),
        "IsString": isinstance(left, str),
        "IsBoolean": isinstance(left, bool),
        "IsTimestamp": _parsed_time(left) is not None,
    }[test]


def _compare(test: str, left: Any, right: Any) -> bool:
    if test.startswith("Is"):
        return _is(test, left) is right
    if test == "BooleanEquals":
        return isinstance(left, bool) and left is right
    if not _kind_matches(test, left, right):
        return False
    if test == "StringMatches":
        return _like(left, right)
    if test.startswith("Timestamp"):
        left, right = _parsed_time(left), _parsed_time(right)
    operator = re.sub(r"^(String|Numeric|Timestamp)", "", test)
    return bool(
        {
            "Equals": lambda: left == right,
            "LessThan": lambda: left < right,
            "GreaterThan": lambda: left > right,
            "LessThanEquals": lambda: left <= right,
            "GreaterThanEquals": lambda: left >= right,
        }[operator]()
    )


def _like(text: str, pattern: str) -> bool:
    """`*` matches anything; `\\*` is a star. https://states-language.net/spec.html#choice-state."""
    pieces = re.split(r"(?<!\\)\*", pattern)
    expression = ".*".join(re.escape(piece.replace("\\*", "*").replace("\\\\", "\\")) for piece in pieces)
    return re.fullmatch(expression, text, re.DOTALL) is not None
