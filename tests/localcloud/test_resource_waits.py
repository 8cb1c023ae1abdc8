"""Waiting for what AWS does eventually: soon noticed, seldom asked, ended by a deadline or a cancellation."""

from itertools import pairwise
from typing import Any

import pytest

from keepwarm_localcloud.pulumi_types import aws as module
from keepwarm_localcloud.pulumi_types.aws import Deadline
from keepwarm_localcloud.pulumi_types.errors import Cancelled, ResourceError


class Time:
    """A clock, and an event that waits on it."""

    def __init__(self, *, cancelled_at_s: float = float("inf")) -> None:
        self.now_s = 0.0
        self.cancelled_at_s = cancelled_at_s

    def monotonic(self) -> float:
        return self.now_s

    def is_set(self) -> bool:
        return self.now_s >= self.cancelled_at_s

    def wait(self, timeout_s: float) -> bool:
        self.now_s = min(self.now_s + timeout_s, self.cancelled_at_s)
        return self.is_set()


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    made = Time()
    monkeypatch.setattr(module, "time", made)
    return made


def deadline(seconds: float, time: Time) -> Deadline:
    cancelled: Any = time
    return Deadline(seconds, cancelled)


@pytest.mark.parametrize("ready_s", [0.0, 0.01, 0.35, 2.0, 9.0])
def test_given_something_ready_after_a_while_when_waiting_then_it_is_noticed_within_an_eighth_of_that(
    ready_s: float, time: Time
) -> None:
    asked = 0

    def probe() -> str | None:
        nonlocal asked
        asked += 1
        return "ready" if time.now_s >= ready_s else None

    assert deadline(60, time).wait("it", probe) == "ready"
    assert time.now_s <= ready_s * 1.125 + 0.024
    assert asked <= 60


def test_given_minutes_when_waiting_then_it_asks_about_once_a_second(time: Time) -> None:
    asked: list[float] = []

    def probe() -> bool | None:
        asked.append(time.now_s)
        return True if time.now_s >= 120 else None

    deadline(300, time).wait("it", probe)

    assert all(0.8 <= after - before <= 1.2 for before, after in pairwise(asked) if before >= 10)


def test_given_a_deadline_when_it_passes_then_the_wait_ends_there_and_says_how_long_it_was(
    time: Time,
) -> None:
    with pytest.raises(ResourceError) as raised:
        deadline(2.5, time).wait("function f to become Active", lambda: None)

    assert str(raised.value) == (
        "KW639 function f to become Active: not done after 2.5 s; fix: raise the resource's customTimeouts or look at "
        "its events"
    )
    assert time.now_s == 2.5


def test_given_a_cancellation_when_waiting_then_the_wait_ends_at_once(time: Time) -> None:
    time.cancelled_at_s = 1.234

    with pytest.raises(Cancelled):
        deadline(60, time).wait("it", lambda: None)

    assert time.now_s == 1.234
