"""Runs one state machine: data flow, transitions, retries and catches.

https://states-language.net/spec.html; history events as
https://docs.aws.amazon.com/step-functions/latest/apireference/API_HistoryEvent.html
"""

from collections.abc import Callable
from typing import Any

from keepwarm_localcloud.services.stepfunctions import paths
from keepwarm_localcloud.services.stepfunctions.choice_rules import holds
from keepwarm_localcloud.services.stepfunctions.failures import Aborted, PathError, StateFailure
from keepwarm_localcloud.services.stepfunctions.fibers import (
    FAILED,
    Call,
    Effect,
    Gather,
    Signal,
    Sleep,
    Steps,
)
from keepwarm_localcloud.services.stepfunctions.task_log import TaskLog
from keepwarm_localcloud.services.stepfunctions.values import (
    MAX_PAYLOAD_BYTES,
    check_size,
    compact,
    parsed_time,
    timestamp,
)
from keepwarm_localcloud.services.stepfunctions.visit import Host, Scope, Stay, Visit

ABORTABLE = frozenset({"Task", "Wait", "Parallel", "Map"})
"""Types of states that have an event for being cut short; the others are over at once."""


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
            visit = Visit(name, state, value, context, scope, previous, entered_s, around)
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

    def _state(self, visit: Visit) -> Steps:
        state = visit.state
        while True:
            visit.failed_s = 0.0
            try:
                visit.input = self._narrow(visit, state.get("InputPath", "$"), visit.raw)
                handler: Callable[[Visit], Steps] = getattr(self, f"_{state['Type'].lower()}")
                value, following = yield from handler(visit)
                check_size(visit.name, value)
                return value, following
            except StateFailure as failure:
                pause_s = self._retry(visit, failure)
                if pause_s is None:
                    return self._catch(visit, failure)
            yield Sleep((visit.failed_s or self.host.clock.now_s()) + pause_s)
            visit.context["State"]["RetryCount"] += 1

    @staticmethod
    def _narrow(visit: Visit, path: str | None, data: Any) -> Any:
        return {} if path is None else paths.read(path, data, visit.context, visit.scope)

    def _retry(self, visit: Visit, failure: StateFailure) -> float | None:
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

    def _catch(self, visit: Visit, failure: StateFailure) -> tuple[Any, str | None]:
        for rule in visit.state.get("Catch", []):
            if failure.matches(rule["ErrorEquals"]):
                error = {"Error": failure.error, "Cause": failure.cause}
                path = rule.get("ResultPath", "$")
                self._assign(visit, rule, error)
                return (visit.raw if path is None else paths.write(path, visit.raw, error)), rule["Next"]
        raise failure

    @staticmethod
    def _assign(visit: Visit, holder: dict[str, Any], data: Any) -> None:
        if "Assign" in holder:
            visit.scope.update(visit.fill(holder["Assign"], data))

    def _output(self, visit: Visit, result: Any) -> tuple[Any, str | None]:
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

    def _effective(self, visit: Visit) -> Any:
        return (
            visit.fill(visit.state["Parameters"], visit.input) if "Parameters" in visit.state else visit.input
        )

    def _pass(self, visit: Visit) -> Steps:
        yield from ()
        result = visit.state["Result"] if "Result" in visit.state else self._effective(visit)
        return self._output(visit, result)

    def _succeed(self, visit: Visit) -> Steps:
        yield from ()
        return self._narrow(visit, visit.state.get("OutputPath", "$"), visit.input), None

    def _fail(self, visit: Visit) -> Steps:
        yield from ()
        state = visit.state
        texts = [
            str(visit.value(state[f"{key}Path"], visit.input))
            if f"{key}Path" in state
            else state.get(key, "")
            for key in ("Error", "Cause")
        ]
        raise StateFailure(*texts)

    def _wait(self, visit: Visit) -> Steps:
        state, now_s = visit.state, visit.entered_s
        if "Timestamp" in state or "TimestampPath" in state:
            text = state["Timestamp"] if "Timestamp" in state else visit.read(state["TimestampPath"])
            moment = parsed_time(text)
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

    def _choice(self, visit: Visit) -> Steps:
        yield from ()
        for rule in visit.state["Choices"]:
            if holds(visit, rule):
                self._assign(visit, rule, visit.input)
                return self._narrow(visit, visit.state.get("OutputPath", "$"), visit.input), rule["Next"]
        if "Default" not in visit.state:
            raise StateFailure("States.NoChoiceMatched", f"No choice matched in state '{visit.name}'")
        self._assign(visit, visit.state, visit.input)
        return self._narrow(visit, visit.state.get("OutputPath", "$"), visit.input), visit.state["Default"]

    def _seconds(self, visit: Visit, key: str) -> float | None:
        state = visit.state
        if f"{key}Path" in state:
            value = visit.read(state[f"{key}Path"])
            if not isinstance(value, int) or value <= 0:
                raise StateFailure(
                    "States.Runtime", f"{key}Path must reference a positive integer, got {value!r}"
                )
            return float(value)
        return float(state[key]) if key in state else None

    def _task(self, visit: Visit) -> Steps:
        state, host = visit.state, self.host
        resource = state["Resource"]
        token = host.new_token() if resource.endswith(".waitForTaskToken") else None
        if token is not None:
            visit.context["Task"] = {"Token": token}
        parameters = self._effective(visit)
        limit_s, beat_s = self._seconds(visit, "TimeoutSeconds"), self._seconds(visit, "HeartbeatSeconds")
        until_s = None if limit_s is None else host.clock.now_s() + limit_s
        log = TaskLog(host, resource)
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
        check_size(visit.name, result)
        return self._output(visit, result)

    def _parallel(self, visit: Visit) -> Steps:
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

    def _map(self, visit: Visit) -> Steps:
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

    def _failed(self, visit: Visit, kind: str, event: int, failure: StateFailure) -> None:
        """Write that a Parallel or Map failed, after what that cuts short inside."""
        visit.failed_s = self.host.clock.now_s()
        with visit.stay.writing():
            self.host.aborted(visit.stay.cut_inside())
            visit.event_id = self.host.event(kind, event, failure=failure)

    @staticmethod
    def _number(visit: Visit, holder: dict[str, Any], key: str) -> int | None:
        if f"{key}Path" not in holder:
            return holder.get(key)
        value = visit.read(holder[f"{key}Path"])
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise StateFailure(
                "States.Runtime", f"{key}Path must reference a non-negative integer, got {value!r}"
            )
        return value

    def _batches(self, visit: Visit, batcher: dict[str, Any], items: list[Any]) -> list[Any]:
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
    def _item(visit: Visit, template: Any, index: int, item: Any) -> Any:
        if template is None:
            return item
        visit.context["Map"] = {"Item": {"Index": index, "Value": item}}
        return visit.fill(template, visit.input)

    def _iteration(
        self, visit: Visit, around: Stay, processor: dict[str, Any], index: int, item: Any, event: int
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
