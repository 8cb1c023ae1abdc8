"""How long a step waits for capacity: never before the named time, never past the deadline, spread, at a known cost.

Only arithmetic, on a clock of numbers; the workflow that does the waiting is tests/localcloud/test_capacity_wait.py.
"""

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepwarm.limits import SFN_HISTORY_MAX_EVENTS
from keepwarm_runtime import errors, waiting
from keepwarm_runtime.errors import DeadlineExceeded, NotReady

DAY_S = 86_400.0
seconds = st.floats(min_value=0, max_value=DAY_S)


def waits(deadline_s: float, named_s: float = 1.0, draw: float = 0.0) -> list[int]:
    """Every wait of work that is refused at once each time it comes, until its deadline."""
    left_s = deadline_s
    found: list[int] = []
    while (wait := waiting.seconds_to_wait(len(found), named_s, left_s, 1.0, draw=lambda: draw)) is not None:
        found.append(wait)
        left_s -= wait
    return found


@given(st.integers(0, 10_000), seconds, seconds, st.floats(0.1, 60), st.floats(0, 1, exclude_max=True))
def test_given_any_refusal_then_the_wait_is_named_or_ends_at_the_last_moment(
    count: int, named_s: float, left_s: float, needs_s: float, drawn: float
) -> None:
    wait = waiting.seconds_to_wait(count, named_s, left_s, needs_s, draw=lambda: drawn)
    if wait is None:
        assert left_s - needs_s < 1, "given up while there was time for the work"
        return
    assert 1 <= wait <= left_s - needs_s
    assert wait >= min(named_s - 0.5, int(left_s - needs_s)), "came back before the named time"


def test_given_growing_windows_then_the_waits_are_as_documented() -> None:
    assert [waiting.window_s(n) for n in (0, 1, 2, 3, 99, 100, 5000)] == [8, 16, 30, 30, 30, 120, 120]
    assert waits(60.0)[:4] == [4, 8, 15, 15]
    assert waits(60.0, named_s=20.0) == [20, 20, 19]


@pytest.mark.parametrize("deadline_s", [300.0, 1_800.0, DAY_S])
def test_given_the_shortest_draws_then_a_whole_deadline_stays_below_the_events_of_an_execution(
    deadline_s: float,
) -> None:
    worst = len(waits(deadline_s))
    assert worst <= {300.0: 22, 1_800.0: 122, DAY_S: 1_520}[deadline_s]
    assert worst * waiting.EVENTS_PER_WAIT < 0.6 * SFN_HISTORY_MAX_EVENTS


def test_given_two_hundred_documents_refused_at_once_then_they_come_back_spread() -> None:
    draw = random.Random(7).random
    second = Counter(waiting.seconds_to_wait(3, 1.0, 1_800.0, 1.0, draw=draw) for _ in range(200))
    assert len(second) >= 15
    assert max(second.values()) <= 30
    first = [waiting.seconds_to_wait(0, 5.0, 1_800.0, 1.0, draw=draw) or 0 for _ in range(200)]
    assert min(first) >= 5
    assert len(set(first)) >= 4


def test_given_every_failure_that_passes_by_itself_then_it_is_waited_for() -> None:
    found = {c for c in vars(errors).values() if isinstance(c, type) and getattr(c, "retry", False)}
    assert set(waiting.CAPACITY) == found


def test_given_waits_that_get_on_then_the_windows_begin_anew_and_the_time_is_kept() -> None:
    fault = NotReady("service", "no healthy instance", retry_after_s=5.0)
    earlier = {"waits": 9, "in_a_row": 6, "since_epoch_s": 900.0}
    shared: dict[str, Any] = {
        "who": "document 'a'",
        "earlier": earlier,
        "deadline_epoch_s": 2_000.0,
        "now_epoch_s": 1_000.0,
    }
    still = waiting.wait_for(fault, draw=lambda: 0.5, **shared)["wait"]
    moved = waiting.wait_for(fault, draw=lambda: 0.5, moved=True, **shared)["wait"]
    assert (still["seconds"], still["waits"], still["in_a_row"], still["since_epoch_s"]) == (22, 10, 7, 900.0)
    assert (moved["seconds"], moved["waits"], moved["in_a_row"], moved["since_epoch_s"]) == (7, 10, 1, 900.0)
    assert waiting.go_on(earlier, now_epoch_s=1_000.0, reason="r")["wait"]["seconds"] == 1


@pytest.mark.parametrize(
    "earlier", [None, {}, {"waits": True, "since_epoch_s": "x"}, {"waits": -1, "since_epoch_s": 5e9}]
)
def test_given_an_earlier_wait_that_cant_be_read_then_the_waiting_begins_now(earlier: Any) -> None:
    fault = NotReady("service", "no healthy instance")
    answer = waiting.wait_for(
        fault,
        who="d",
        earlier=earlier,
        deadline_epoch_s=2_000.0,
        now_epoch_s=1_000.0,
    )
    assert (answer["wait"]["waits"], answer["wait"]["since_epoch_s"]) == (1, 1_000.0)


def test_given_no_time_for_the_work_then_refused_with_what_was_waited_for() -> None:
    with pytest.raises(DeadlineExceeded, match=r"got 2\.5 s left after 60 s in 4 waits for capacity"):
        waiting.wait_for(
            NotReady("service", "no healthy instance"), who="d", earlier={"waits": 4, "since_epoch_s": 940.0},
            deadline_epoch_s=1_002.5, now_epoch_s=1_000.0, needs_s=2.0,
        )  # fmt: skip
