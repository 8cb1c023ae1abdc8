"""Waiting for capacity where waiting costs nothing: in the workflow, until the deadline of the work.

A step that meets a refusal does not fail, it answers with a `wait` instead of its part:

    {"wait": {"seconds": 12, "waits": 3, "in_a_row": 3, "since_epoch_s": 1764000000.0, "code": "KW321", "reason": ""}}

The workflow waits `seconds` (a Wait state with SecondsPath) and calls the step again with that answer in its state. No
permit, no function and no connection is held meanwhile. Only work that can't be on time any more fails, with
DeadlineExceeded saying what was waited for and how long.

How long one wait is: at least what the downstream named, at least half of a window that doubles from 8 s to 30 s, and a
random part of up to half of the window on top, so that two hundred documents refused in one second come back spread
over several. A wait never ends later than the last moment at which the work would still be on time: as long as there
is time for the work, it is tried.

What it costs: every wait is three transitions of the workflow (task, choice, wait) and EVENTS_PER_WAIT events of its
history. Waits of 15 s and more, and of 60 s and more after a hundred of them, keep a day of waiting below the 25,000
events of an execution (https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html); a test counts them.
"""

from __future__ import annotations

from keepwarm_runtime.errors import (
    BrokenAnswer,
    DeadlineExceeded,
    EffectInProgress,
    EffectUnknown,
    NotReady,
    Overloaded,
    RuntimeFault,
    Throttled,
    Unreachable,
)
from keepwarm_runtime.jitter import uniform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

FIRST_WINDOW_S = 8.0
"""Window of the first wait: 4 to 8 s, about what a busy service needs for what it has."""
WINDOW_MAX_S = 30.0
"""Largest window of the first hundred waits. A document that waits shows its demand every 15 to 30 s, so in each
minute that the alarm of a sleeping service looks at."""
PATIENT_AFTER = 100
"""Waits after which the windows are PATIENT_WINDOW_S: nothing has moved for about half an hour or longer."""
PATIENT_WINDOW_S = 120.0
EVENTS_PER_WAIT = 9
"""Events in the history of an execution: five of the task, two each of the choice and of the wait
(https://docs.aws.amazon.com/step-functions/latest/apireference/API_HistoryEvent.html)."""
MAX_REASON_CHARS = 512
"""The reason travels in the workflow's state, which holds 256 KiB."""
LEAST_S = 1
"""Shortest wait: a Wait state takes whole seconds."""
CAPACITY = (
    Overloaded,
    NotReady,
    Throttled,
    Unreachable,
    BrokenAnswer,
    EffectInProgress,
    EffectUnknown,
)
"""Failures that pass by themselves: the work is fine, the other side is not ready for it."""


def window_s(count: int) -> float:
    """Window of the next wait after `count` waits, in seconds."""
    if count >= PATIENT_AFTER:
        return PATIENT_WINDOW_S
    return min(WINDOW_MAX_S, FIRST_WINDOW_S * 2.0 ** min(count, 10))


def seconds_to_wait(
    count: int, named_s: float, left_s: float, needs_s: float, *, draw: Callable[[], float] = uniform
) -> int | None:
    """Whole seconds until the next try, or None when there is no time for another.

    `named_s` is what the downstream asked for, `left_s` the time until the deadline, `needs_s` the least time in which
    the work can be done.
    """
    last_s = int(left_s - needs_s)
    if last_s < LEAST_S:
        return None
    half_s = window_s(count) / 2.0
    wait_s = max(named_s, half_s) + draw() * half_s
    return max(LEAST_S, min(round(wait_s), last_s))


def wait_for(
    fault: RuntimeFault,
    *,
    who: str,
    earlier: Mapping[str, Any] | None,
    deadline_epoch_s: float,
    now_epoch_s: float,
    needs_s: float = 1.0,
    moved: bool = False,
    draw: Callable[[], float] = uniform,
) -> dict[str, Any]:
    """Answer of a step that waits for what `fault` says.

    `earlier` is the `wait` of the step's last answer, None at its first call. `moved` tells that the step got on since
    then: the windows begin anew, the start of the waiting stays.

    Raises:
        DeadlineExceeded: the work can't be on time any more; the text names the fault, the waits and their time.
    """
    known = _Earlier(earlier, now_epoch_s)
    in_a_row = 0 if moved else known.in_a_row
    left_s = deadline_epoch_s - now_epoch_s
    named_s = float(getattr(fault, "retry_after_s", 0.0) or 0.0)
    seconds = seconds_to_wait(in_a_row, named_s, left_s, needs_s, draw=draw)
    if seconds is None:
        last = f"{fault.code} {fault.who}, {fault.got}"
        raise _too_late(who, known, left_s, now_epoch_s, needs_s, last) from fault
    return known.answer(seconds, in_a_row + 1, fault.code, str(fault))


def require(
    who: str,
    *,
    earlier: Mapping[str, Any] | None,
    deadline_epoch_s: float,
    now_epoch_s: float,
    needs_s: float,
) -> None:
    """Refuse work that came back from its last wait too late.

    Raises:
        DeadlineExceeded: less than `needs_s` is left; the text names what was waited for, the waits and their time.
    """
    left_s = deadline_epoch_s - now_epoch_s
    if earlier is not None and left_s < needs_s:
        last = str(earlier.get("reason") or "an answer that can't be read")
        raise _too_late(who, _Earlier(earlier, now_epoch_s), left_s, now_epoch_s, needs_s, last)


def _too_late(
    who: str, known: _Earlier, left_s: float, now_epoch_s: float, needs_s: float, last: str
) -> DeadlineExceeded:
    waited_s = now_epoch_s - known.since_epoch_s
    waited = f"{waited_s:.0f} s in {known.waits} waits for capacity, the last one for {last}"
    return DeadlineExceeded(
        who,
        f"{max(0.0, left_s):.1f} s left after {waited}",
        allowed=f"at least {needs_s:g} s for the work",
        because="its deadline lasts no longer",
        fix="allow more time (deadline_s), or keep more capacity ready (min_tasks, max_tasks)",
    )


def go_on(earlier: Mapping[str, Any] | None, *, now_epoch_s: float, reason: str) -> dict[str, Any]:
    """Answer of a step that got on but has no time for more in this invocation: the workflow calls it again soon."""
    return _Earlier(earlier, now_epoch_s).answer(LEAST_S, 0, "", reason)


class _Earlier:
    """The waiting so far; what can't be read counts as none."""

    __slots__ = ("in_a_row", "since_epoch_s", "waits")

    def __init__(self, earlier: Mapping[str, Any] | None, now_epoch_s: float) -> None:
        told = earlier or {}
        self.waits = _count(told.get("waits"))
        self.in_a_row = _count(told.get("in_a_row"))
        since = told.get("since_epoch_s")
        timed = isinstance(since, int | float) and not isinstance(since, bool) and 0 < since <= now_epoch_s
        self.since_epoch_s: float = since if timed else now_epoch_s  # type: ignore[assignment]

    def answer(self, seconds: int, in_a_row: int, code: str, reason: str) -> dict[str, Any]:
        return {
            "wait": {
                "seconds": seconds,
                "waits": self.waits + 1,
                "in_a_row": in_a_row,
                "since_epoch_s": round(self.since_epoch_s, 3),
                "code": code,
                "reason": reason[:MAX_REASON_CHARS],
            }
        }


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0
