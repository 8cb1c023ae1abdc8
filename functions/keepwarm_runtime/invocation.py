"""What every invocation is wrapped in: time left, cold or warm, and one result event whatever happens.

    @handler(service="classify")
    def handle(event, invocation): ...

The decorator ends the `imports` phase, hands the handler an `Invocation`, and writes the result event of contract
C5 on success and on failure alike. A failure is raised on: Lambda and Step Functions see the exception's class.
The common line is put together from prepared text, because a JSON encoder would cost more than all timers together.
"""

from __future__ import annotations

import json
import os
import sys
import time

from keepwarm_runtime import aws as _aws
from keepwarm_runtime.deadline import FOREVER_S, Deadline
from keepwarm_runtime.errors import BadResult, DeadlineExceeded, RuntimeFault
from keepwarm_runtime.events import clean, directive, error_facts
from keepwarm_runtime.phases import IMPORTED_S, LIFECYCLE, PHASES, Lifecycle, Recorder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from keepwarm_runtime.models.cache import CachedModel
    from keepwarm_runtime.phases import _Span

MAX_RESULT_BYTES = 6_291_456
"""Lambda's limit for a synchronous response
(https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html)."""
GOOD_OUTCOMES = ("ok", "duplicate_prevented")
DIMENSION = "function"
"""Dimension of every invocation metric; its value is the name of the Lambda function."""
METRICS = {
    "duration_ms": "Milliseconds",
    "remaining_ms": "Milliseconds",
    "cold_start": "Count",
    "succeeded": "Count",
    "failed": "Count",
}
"""Metrics of every result event and their CloudWatch units."""


class Invocation:
    """One invocation, as its handler sees it."""

    __slots__ = (
        "_deadline",
        "_ends_s",
        "_extra",
        "_metrics",
        "_recorder",
        "_tally",
        "attempt",
        "cold",
        "context",
        "document",
        "event",
        "key",
        "model",
        "outcome",
        "pool",
        "request_id",
        "started_s",
    )

    def __init__(
        self,
        event: Any,
        context: Any,
        request_id: str,
        started_s: float,
        ends_s: float,
        cold: bool,
        pool: str,
    ) -> None:
        self.event = event
        self.context = context
        self.request_id = request_id
        self.started_s = started_s
        self.cold = cold
        self.pool = pool
        self.outcome = "ok"
        """`ok`, `duplicate_prevented`, `waiting` (for capacity, neither good nor bad), or a handler's own word.
        Failures set it by themselves."""
        self.key: str | None = None
        """Idempotency key of this piece of work."""
        self.document: dict[str, Any] | None = None
        """Small facts about the document: its SHA-256, size, label. Never its content."""
        self.attempt = 1
        """How many times this work was delivered, this time included."""
        self.model: dict[str, Any] | None = None
        self._ends_s = ends_s
        self._deadline: Deadline | None = None
        self._recorder: Recorder | None = None
        self._extra: dict[str, dict[str, Any]] | None = None
        self._metrics: dict[str, float] | None = None
        self._tally: tuple[int, int] | None = None

    @property
    def deadline(self) -> Deadline:
        """The moment the platform ends this invocation."""
        if self._deadline is None:
            self._deadline = Deadline(self._ends_s)
        return self._deadline

    def remaining_s(self) -> float:
        """Seconds left; 0 is a number."""
        return max(0.0, self._ends_s - time.monotonic())

    def measure(self, phase: str) -> _Span:
        """Measure a phase of C1 inside this invocation, such as a lazy `load`."""
        if self._recorder is None:
            self._recorder = Recorder()
        return self._recorder.measure(phase)

    def used(self, model: CachedModel) -> None:
        """Note which model answered: name, version, digest, and whether the cache had it."""
        self.model = model.as_event()

    def downstream(self, name: str, **facts: Any) -> None:
        """Note what a downstream did: status, milliseconds, waits, retries."""
        if self._extra is None:
            self._extra = {}
        self._extra.setdefault(name, {}).update(facts)

    def tally(self, succeeded: int, failed: int) -> None:
        """Say how many pieces of work this invocation did well and badly, where it had several.

        The metrics `succeeded` and `failed` are these numbers then, which is what the Goodput alarm adds up. Default:
        1 and 0, or 0 and 1 for an invocation that raised.
        """
        self._tally = (succeeded, failed)

    def count(self, metric: str, value: float = 1) -> None:
        """Add to a metric of this invocation (unit Count)."""
        if self._metrics is None:
            self._metrics = {}
        self._metrics[metric] = self._metrics.get(metric, 0) + value


class _Writer:
    """Prepared text of the result event for one handler."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.function = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", service)
        self.version = os.environ.get("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
        names = json.dumps(
            {
                "event": "keepwarm.result",
                "service": service,
                "function": self.function,
                "version": self.version,
            }
        )
        self.head = names[:-1] + ', "request_id": "'
        # The metrics are the same in every plain line, so only the time stamp is new.
        self.tail = f', "CloudWatchMetrics": [{json.dumps(directive(METRICS, DIMENSION))}]}}}}\n'

    def plain(
        self, call: Invocation, duration_ms: float, remaining_ms: float, ops: int, moved: int, now_ms: int
    ) -> str:
        """Format the line of a warm success about which nothing else is known."""
        request_id = call.request_id
        if not (request_id.isascii() and request_id.isprintable()) or '"' in request_id or "\\" in request_id:
            request_id = json.dumps(request_id)[1:-1]
        return (
            f'{self.head}{request_id}", "outcome": "ok", "cold": false, "pool": "{call.pool}", "phases": {{}}, '
            f'"duration_ms": {duration_ms:.3f}, "remaining_ms": {remaining_ms:.0f}, "attempt": {call.attempt}, '
            f'"storage": {{"ops": {ops}, "bytes": {moved}}}, "cold_start": 0, "succeeded": 1, "failed": 0, '
            f'"_aws": {{"Timestamp": {now_ms}{self.tail}'
        )

    def full(
        self,
        call: Invocation,
        duration_ms: float,
        remaining_ms: float,
        ops: int,
        moved: int,
        now_ms: int,
        life: Lifecycle,
        error: BaseException | None,
    ) -> str:
        """Format a line with everything that is known."""
        phases: dict[str, float | None] = {}
        succeeded, failed = call._tally or (1, 0)
        if error is not None:
            succeeded, failed = 0, max(1, failed)
        elif call._tally is None:
            succeeded = int(call.outcome in GOOD_OUTCOMES)
        units = dict(METRICS)
        record: dict[str, Any] = {
            "event": "keepwarm.result",
            "service": self.service,
            "function": self.function,
            "version": self.version,
            "request_id": call.request_id,
            "key": call.key,
            "outcome": call.outcome,
            "cold": call.cold,
            "pool": call.pool,
            "phases": phases,
            "duration_ms": round(duration_ms, 3),
            "remaining_ms": round(remaining_ms),
            "model": call.model,
            "storage": {"ops": ops, "bytes": moved},
            "attempt": call.attempt,
            "downstream": clean(call._extra or {}),
            "cold_start": int(call.cold),
            "succeeded": succeeded,
            "failed": failed,
        }
        if life.invocations == 1:
            phases.update(life.init.milliseconds())
            record["init_ms"] = round(life.init.total_s() * 1000, 3)
            units["init_ms"] = "Milliseconds"
        if call._recorder is not None:
            for name, seconds in call._recorder.times_s.items():
                phases[name] = round((phases.get(name) or 0.0) + seconds * 1000, 3)
        for name, value in phases.items():
            if value is not None:
                record[phase_metric(name)] = value
                units[phase_metric(name)] = "Milliseconds"
        if call.outcome == "duplicate_prevented":
            record["duplicate_prevented"] = 1
            units["duplicate_prevented"] = "Count"
        for name, counted in (call._metrics or {}).items():
            record[name] = counted
            units[name] = "Count"
        if call.document is not None:
            record["document"] = clean(call.document)
        if life.first_request_delta_ms is not None and life.invocations == 2:
            record["first_request_delta_ms"] = life.first_request_delta_ms
            units["first_request_delta_ms"] = "Milliseconds"
        if error is not None:
            record["error"] = error_facts(error)
        record["_aws"] = {"Timestamp": now_ms, "CloudWatchMetrics": [directive(units, DIMENSION)]}
        return json.dumps(record, default=str) + "\n"


def phase_metric(phase: str) -> str:
    """Name the CloudWatch metric of a phase: `image_pull` is `phase_image_pull_ms`."""
    return f"phase_{phase}_ms"


PHASE_METRICS = tuple(phase_metric(phase) for phase in PHASES)
"""Metric names in the order of PHASES, for dashboards."""


def handler(
    service: str,
    *,
    lifecycle: Lifecycle | None = None,
    monotonic: Callable[[], float] = time.monotonic,
    wall: Callable[[], float] = time.time,
    check_result: bool = False,
) -> Callable[[Callable[[Any, Invocation], Any]], Callable[[Any, Any], Any]]:
    """Wrap a handler; `service` names the handler in its events.

    `check_result` encodes the result once more to refuse what Lambda could not send (KW303).
    """
    life = lifecycle or LIFECYCLE
    writer = _Writer(service)
    meter = _aws.METER

    def decorate(function: Callable[[Any, Invocation], Any]) -> Callable[[Any, Any], Any]:
        life.imports_done(IMPORTED_S, monotonic())
        if life.pool == "snapshot":
            # Lazily: only environments that are restored need what it brings.
            from keepwarm_runtime.snapshot import register

            register()

        def run(event: Any, context: Any) -> Any:
            started_s = monotonic()
            left = getattr(context, "get_remaining_time_in_millis", None)
            ends_s = started_s + (FOREVER_S if left is None else left() / 1000.0)
            request_id: str = getattr(context, "aws_request_id", None) or "none"
            cold = life.begin(started_s)
            call = Invocation(event, context, request_id, started_s, ends_s, cold, life.pool)
            ops, moved = meter.calls, meter.bytes
            try:
                if ends_s <= started_s:
                    raise DeadlineExceeded(service, "0 ms left on entry", allowed="time to work in")
                result = function(event, call)
                if check_result:
                    _check_result(service, result)
            except BaseException as error:
                if call.outcome in GOOD_OUTCOMES:
                    call.outcome = _outcome_of(error)
                ended_s = monotonic()
                life.end(ended_s - started_s)
                _write(
                    writer.full(
                        call, (ended_s - started_s) * 1000, max(0.0, ends_s - ended_s) * 1000,
                        meter.calls - ops, meter.bytes - moved, int(wall() * 1000), life, error,
                    )
                )  # fmt: skip
                raise
            ended_s = monotonic()
            taken_ms = (ended_s - started_s) * 1000.0
            remaining_ms = (ends_s - ended_s) * 1000.0
            remaining_ms = remaining_ms if remaining_ms > 0.0 else 0.0
            ops, moved = meter.calls - ops, meter.bytes - moved
            now_ms = int(wall() * 1000)
            if life.invocations > 2 and _is_plain(call):
                _write(writer.plain(call, taken_ms, remaining_ms, ops, moved, now_ms))
                return result
            life.end(ended_s - started_s)
            _write(writer.full(call, taken_ms, remaining_ms, ops, moved, now_ms, life, None))
            return result

        run.__name__ = getattr(function, "__name__", "run")
        run.__doc__ = function.__doc__
        run.__wrapped__ = function  # type: ignore[attr-defined]
        return run

    return decorate


def _is_plain(call: Invocation) -> bool:
    return (
        call.outcome == "ok"
        and call.key is None
        and call.document is None
        and call.model is None
        and call._extra is None
        and call._metrics is None
        and call._recorder is None
        and call._tally is None
    )


def _outcome_of(error: BaseException) -> str:
    if isinstance(error, RuntimeFault):
        return "retry" if error.retry else "rejected"
    return "error"


def _write(line: str) -> None:
    out = sys.stdout
    out.write(line)
    out.flush()


def _check_result(service: str, result: Any) -> None:
    try:
        size = len(json.dumps(result, allow_nan=False).encode())
    except (TypeError, ValueError) as error:
        raise BadResult(f"{service} result", f"{type(result).__name__}: {error}") from error
    if size > MAX_RESULT_BYTES:
        raise BadResult(f"{service} result", f"{size:,} bytes")
