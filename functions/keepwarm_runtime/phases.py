"""Where the time before the first answer goes, measured in the environment it happens in (contract C1).

`PHASES` names every part of a cold start. What this process can see it measures:

- `runtime_init`: from the start of the process (`/proc/self/stat`) to the first line of this module
- `imports`: from there to the handler's decorator, less the phases that were measured in between
- `fetch`, `verify`, `compile`, `load`, `allocate`, `warmup`: what code puts in `measure(name)`
- `image_pull`, `sandbox`: on ECS, from the task metadata endpoint (`from_ecs_metadata`)

What it can't see stays None: a zero would claim a measurement. `scheduling` is only visible from outside, and a
cold start is never reported as scheduling alone. The delta of the first request is known with the second one.
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

IMPORTED_S = time.monotonic()

PHASES = (
    "scheduling",
    "sandbox",
    "image_pull",
    "runtime_init",
    "imports",
    "fetch",
    "verify",
    "compile",
    "load",
    "allocate",
    "warmup",
)
"""Contract C1, in the order they happen. `keepwarm` (components) holds an equal tuple; a test compares them."""

INITIALIZATION_TYPE = "AWS_LAMBDA_INITIALIZATION_TYPE"
"""How Lambda says why this environment exists
(https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html)."""

POOLS = {
    "on-demand": "on-demand",
    "provisioned-concurrency": "provisioned",
    "snap-start": "snapshot",
    "lambda-managed-instances": "managed-instances",
}
PROACTIVE_GAP_S = 10.0
"""An on-demand environment that was ready this long before its first request was started ahead of demand: nobody
waited for it. Lambda initializes proactively, the log then shows no Init Duration."""


def pool_of(environment: Mapping[str, str] | None = None) -> str:
    """Name the pool this environment belongs to: on-demand, provisioned, snapshot or resident (not Lambda)."""
    source = os.environ if environment is None else environment
    kind = source.get(INITIALIZATION_TYPE)
    if kind is None:
        return "on-demand" if "AWS_LAMBDA_FUNCTION_NAME" in source else "resident"
    return POOLS.get(kind, kind)


def process_age_s(stat_path: str = "/proc/self/stat") -> float | None:
    """Seconds since this process started (10 ms steps), or None where `/proc` can't tell."""
    try:
        with open(stat_path, "rb") as stat:  # noqa: PTH123  (pathlib costs 3 ms of init)
            # The command name is in parentheses and may hold spaces and parentheses itself.
            fields = stat.read().rpartition(b")")[2].split()
        started_s = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started_s)


class Recorder:
    """Exclusive times per phase: a phase inside another is taken out of the outer one."""

    __slots__ = ("_clock", "_stack", "times_s")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._stack: list[float] = []
        self.times_s: dict[str, float] = {}

    def measure(self, name: str) -> _Span:
        """Return a context manager that adds its own time to the phase.

        Raises:
            ValueError: `name` is no phase of C1.
        """
        if name not in PHASES:
            raise ValueError(f"{name!r} is not a phase; the phases are {', '.join(PHASES)}")
        return _Span(self, name)

    def add(self, name: str, seconds: float) -> None:
        """Add time that was measured elsewhere, such as by a parallel download."""
        if name not in PHASES:
            raise ValueError(f"{name!r} is not a phase; the phases are {', '.join(PHASES)}")
        self.times_s[name] = self.times_s.get(name, 0.0) + max(0.0, seconds)
        if self._stack:
            self._stack[-1] += seconds

    def milliseconds(self) -> dict[str, float | None]:
        """Every phase of C1 in order; None for what was not measured."""
        return {
            name: round(self.times_s[name] * 1000, 3) if name in self.times_s else None for name in PHASES
        }

    def total_s(self) -> float:
        """Sum of everything measured."""
        return sum(self.times_s.values())


class _Span:
    __slots__ = ("_name", "_recorder", "_started_s")

    def __init__(self, recorder: Recorder, name: str) -> None:
        self._recorder = recorder
        self._name = name

    def __enter__(self) -> _Span:
        self._recorder._stack.append(0.0)
        self._started_s = self._recorder._clock()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        recorder = self._recorder
        taken = recorder._clock() - self._started_s
        inner = recorder._stack.pop()
        times = recorder.times_s
        times[self._name] = times.get(self._name, 0.0) + max(0.0, taken - inner)
        if recorder._stack:
            recorder._stack[-1] += taken


class Lifecycle:
    """One execution environment: how it came up, and what its first request cost more than the next."""

    __slots__ = (
        "_cold",
        "_first_s",
        "_imports_done",
        "first_request_delta_ms",
        "init",
        "invocations",
        "pool",
        "ready_at_s",
    )

    def __init__(
        self, *, imported_s: float, age_at_import_s: float | None, pool: str, recorder: Recorder | None = None
    ) -> None:
        self.init = recorder or Recorder()
        self.pool = pool
        self.invocations = 0
        self.ready_at_s = imported_s
        self.first_request_delta_ms: float | None = None
        self._first_s: float | None = None
        self._cold = False
        self._imports_done = False
        if age_at_import_s is not None:
            self.init.times_s["runtime_init"] = age_at_import_s
        self._mark_imports_from(imported_s)

    def _mark_imports_from(self, imported_s: float) -> None:
        self.ready_at_s = imported_s

    def imports_done(self, imported_s: float, now_s: float) -> None:
        """End the `imports` phase: called by the handler's decorator, once; later calls change nothing."""
        if self._imports_done:
            return
        self._imports_done = True
        times = self.init.times_s
        measured = sum(v for k, v in times.items() if k not in ("runtime_init", "sandbox", "image_pull"))
        times["imports"] = max(0.0, now_s - imported_s - measured)
        self.ready_at_s = now_s

    def begin(self, now_s: float) -> bool:
        """Count an invocation; True when its caller waited for this environment to come up."""
        self.invocations += 1
        if self.invocations > 1:
            return False
        waited = now_s - self.ready_at_s < PROACTIVE_GAP_S
        self._cold = waited and self.pool in ("on-demand", "snapshot")
        return self._cold

    def end(self, taken_s: float) -> None:
        """Note how long the handler took; the second one gives the first-request delta."""
        if self._first_s is None:
            self._first_s = taken_s
        elif self.invocations == 2:
            self.first_request_delta_ms = round((self._first_s - taken_s) * 1000, 3)


def from_ecs_metadata(task: Mapping[str, object], container: str | None = None) -> dict[str, float]:
    """Work out `image_pull` and `sandbox` seconds from the ECS task metadata (version 4, `/task`).

    `image_pull` is PullStoppedAt - PullStartedAt; `sandbox` is the rest between the start of the pull and the
    container's start. Missing times leave a phase out.
    Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4-response.html
    """
    found: dict[str, float] = {}
    pulled_from = _epoch(task.get("PullStartedAt"))
    pulled_to = _epoch(task.get("PullStoppedAt"))
    if pulled_from is not None and pulled_to is not None:
        found["image_pull"] = max(0.0, pulled_to - pulled_from)
    containers = task.get("Containers")
    if isinstance(containers, list) and pulled_to is not None:
        for entry in containers:
            if isinstance(entry, dict) and container in (None, entry.get("Name")):
                started = _epoch(entry.get("StartedAt"))
                if started is not None:
                    found["sandbox"] = max(0.0, started - pulled_to)
                    break
    return found


def _epoch(value: object) -> float | None:
    if not isinstance(value, str):
        return None
    from datetime import datetime

    try:
        # ECS stamps nanoseconds; datetime reads six digits at most.
        head, dot, rest = value.partition(".")
        digits = rest.rstrip("Z+-:0123456789") if not dot else "".join(c for c in rest if c.isdigit())[:6]
        return datetime.fromisoformat(f"{head.rstrip('Z')}.{digits or '0'}+00:00").timestamp()
    except ValueError:
        return None


LIFECYCLE = Lifecycle(imported_s=IMPORTED_S, age_at_import_s=process_age_s(), pool=pool_of())
"""This environment."""


def measure(name: str) -> _Span:
    """Measure a phase of this environment's start: `with measure("load"): session = ...`."""
    return LIFECYCLE.init.measure(name)
