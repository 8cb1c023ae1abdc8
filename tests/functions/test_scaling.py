"""Capacity decisions, held to theory and to what AWS documents.

Proves: Erlang B in closed form and its inverse, monotonicity, bounds (Hypothesis), the starting rate, target tracking's
alarms and cooldowns, step scaling at its edges. Does not prove: that AWS decides alike in every corner it does not document.
"""

# Error texts are asserted whole and on one line.
# ruff: noqa: E501

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepwarm_runtime import scaling as s
from keepwarm_runtime.scaling import BurstRate, Placement, Step, TargetTracking, place, step_capacity, track

LOADS = st.floats(0, 500)


@given(load=st.floats(0.01, 60), environments=st.integers(0, 60))
def test_given_poisson_load_when_blocking_then_the_closed_form_of_erlang_b(
    load: float, environments: int
) -> None:
    terms = [load**n / math.factorial(n) for n in range(environments + 1)]
    assert s.blocking(load, environments) == pytest.approx(terms[-1] / sum(terms), rel=1e-9)


def test_given_the_known_case_when_blocking_then_five_percent() -> None:
    assert s.blocking(20.0, 25) == pytest.approx(0.050222, abs=1e-6)


@given(arrivals=st.floats(0, 100), service=st.floats(0, 5), cold=st.floats(0.0001, 0.5))
def test_given_a_share_of_cold_requests_when_sizing_then_the_fewest_that_keep_it(
    arrivals: float, service: float, cold: float
) -> None:
    size = s.warm_target_for(arrivals, service, cold)
    load = s.offered_load(arrivals, service)
    assert s.blocking(load, size) <= cold
    assert size == 0 or s.blocking(load, size - 1) > cold


def test_given_steady_load_when_sizing_then_the_mean_and_its_headroom() -> None:
    assert s.warm_target(10, 0.5) == 6
    assert s.warm_target(10, 1.0, headroom=0.0) == 10
    assert s.warm_target(0, 1.0) == 0
    assert s.warm_target(100, 0.1, headroom=0.1) == 11


@pytest.mark.parametrize(("arrivals", "service"), [(-1, 1), (1, -1), (math.inf, 1), (math.nan, 1)])
def test_given_an_impossible_load_when_sizing_then_refused(arrivals: float, service: float) -> None:
    with pytest.raises(ValueError, match=r"^a load needs finite numbers of at least 0, got "):
        s.warm_target(arrivals, service)


@pytest.mark.parametrize(
    ("provisioned", "idle", "busy", "limit", "create", "expected"),
    [
        (1, 1, 9, 9, False, Placement.PROVISIONED),
        (0, 1, 8, 9, False, Placement.WARM),
        (0, 1, 9, 9, True, Placement.THROTTLE_CONCURRENCY),
        (0, 0, 8, 9, True, Placement.COLD),
        (0, 0, 8, 9, False, Placement.THROTTLE_RATE),
        (0, 0, 10**6, None, True, Placement.COLD),
        (0, 0, 0, 0, True, Placement.THROTTLE_CONCURRENCY),
    ],
)
def test_given_a_request_when_placing_then_the_warm_pool_comes_first(
    provisioned: int, idle: int, busy: int, limit: int | None, create: bool, expected: Placement
) -> None:
    assert expected is place(
        provisioned_idle=provisioned,
        on_demand_idle=idle,
        on_demand_busy=busy,
        on_demand_limit=limit,
        may_create=create,
    )


def test_given_a_concurrency_limit_when_a_pool_takes_its_part_then_the_rest_is_on_demand() -> None:
    assert (s.on_demand_limit(10, 4), s.on_demand_limit(4, 10), s.on_demand_limit(None, 4)) == (6, 0, None)


def test_given_idle_environments_when_choosing_then_the_newest_and_the_oldest_expires() -> None:
    assert s.newest_idle([3.0, 9.0, 5.0], lambda created: created) == 9.0
    with pytest.raises(ValueError, match="empty"):
        s.newest_idle([], float)
    assert (s.expired(0.0, 299.9, 300.0), s.expired(0.0, 300.0, 300.0)) == (False, True)


def test_given_a_burst_when_starting_then_1000_at_once_and_100_more_each_second() -> None:
    rate = BurstRate()
    assert sum(rate.try_take(0.0) for _ in range(1500)) == 1000
    assert sum(rate.try_take(1.0) for _ in range(1500)) == 100
    assert rate.available(100.0) == 1000
    assert not [rate.try_take(50.0) for _ in range(1000)].count(False)
    assert not rate.try_take(0.0)


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(1, 400)), max_size=20))
def test_given_any_arrivals_when_starting_then_never_more_than_the_rate_in_any_window(
    steps: list[tuple[float, int]],
) -> None:
    rate = BurstRate(limit=100, window_s=10.0)
    now, granted = 0.0, 0
    for pause_s, wanted in steps:
        now += pause_s
        granted += sum(rate.try_take(now) for _ in range(wanted))
        assert granted <= 100 + now * 10 + 1e-6


def test_given_nonsense_when_building_then_refused() -> None:
    with pytest.raises(ValueError, match=r"^a burst rate needs limit >= 1 and window_s > 0, got 0 and 10.0$"):
        BurstRate(limit=0)
    with pytest.raises(
        ValueError, match=r"^target tracking needs target > 0 and 0 <= minimum <= maximum, got 0.7, 5, 2$"
    ):
        TargetTracking(target=0.7, minimum=5, maximum=2)


POLICY = TargetTracking(target=0.7, minimum=1, maximum=20, scale_out_cooldown_s=60, scale_in_cooldown_s=300)


@pytest.mark.parametrize(
    ("current", "points", "expected"),
    [
        (4, [0.9, 0.9, 0.9], 6), (4, [0.9, 0.9], 4), (4, [0.9, None, 0.9], 4), (4, [0.9, 0.7, 0.9], 4),
        (4, [0.71, 0.71, 0.71], 5), (19, [1.0] * 3, 20), (4, [0.3] * 15, 2), (4, [0.3] * 14, 4),
        (4, [0.3] * 14 + [None], 4), (4, [0.65] * 15, 4), (4, [0.0] * 15, 1), (0, [], 1), (30, [], 20),
    ],
)  # fmt: skip
def test_given_datapoints_when_tracking_then_three_high_or_fifteen_low_decide(
    current: int, points: list[float | None], expected: int
) -> None:
    assert track(POLICY, current, points, now_s=1000.0) == expected


def test_given_a_recent_change_when_tracking_then_its_cooldown_holds() -> None:
    high: list[float | None] = [0.9] * 3
    low: list[float | None] = [0.3] * 15
    assert track(POLICY, 4, high, now_s=1000.0, last_out_s=941.0) == 4
    assert track(POLICY, 4, high, now_s=1001.0, last_out_s=941.0) == 6
    assert track(POLICY, 4, low, now_s=1000.0, last_out_s=701.0) == 4
    assert track(POLICY, 4, low, now_s=1001.0, last_out_s=701.0, last_in_s=10.0) == 2
    assert POLICY.decide(1000.0, 4, 0.9) == 6
    assert POLICY.decide(1000.0, 4, 0.3) == 2
    assert POLICY.decide(1000.0, 4, 0.7) == 4


@given(current=st.integers(0, 50), metric=st.floats(0, 5))
def test_given_anything_when_deciding_then_within_bounds_and_in_the_right_direction(
    current: int, metric: float
) -> None:
    wanted = POLICY.decide(1e6, current, metric)
    assert POLICY.minimum <= wanted <= POLICY.maximum
    if POLICY.minimum <= current <= POLICY.maximum:
        assert (wanted >= current) if metric > 0.7 else (wanted <= current)


STEPS = [Step(1, 0, 10), Step(3, 10, None), Step(-1, None, 0)]


@pytest.mark.parametrize(("value", "expected"), [(100, 3), (109.9, 3), (110, 5), (500, 5), (99.9, 1), (0, 1)])
def test_given_a_breach_when_stepping_then_the_step_of_its_size(value: float, expected: int) -> None:
    assert expected == step_capacity(
        STEPS, kind="ChangeInCapacity", current=2, value=value, threshold=100, minimum=0, maximum=10
    )


@pytest.mark.parametrize(
    ("kind", "adjustment", "current", "expected"),
    [("ExactCapacity", 4, 0, 4), ("PercentChangeInCapacity", 50, 5, 7), ("PercentChangeInCapacity", 10, 2, 3),
     ("PercentChangeInCapacity", -10, 2, 1), ("PercentChangeInCapacity", 10, 0, 1), ("ChangeInCapacity", 99, 1, 10),
     ("ChangeInCapacity", -99, 1, 0)],
)  # fmt: skip
def test_given_kinds_of_adjustment_when_stepping_then_as_documented(
    kind: str, adjustment: int, current: int, expected: int
) -> None:
    assert expected == step_capacity(
        [Step(adjustment)], kind=kind, current=current, value=5, threshold=0, minimum=0, maximum=10
    )


def test_given_an_unknown_kind_when_stepping_then_refused() -> None:
    with pytest.raises(ValueError, match=r"^unknown adjustment type 'Half'$"):
        step_capacity([Step(1)], kind="Half", current=1, value=1, threshold=0, minimum=0, maximum=2)


@given(backlog=LOADS, rate=st.floats(0.1, 10), drain=st.floats(1, 100))
def test_given_a_backlog_when_sizing_then_enough_to_drain_it_and_not_one_more(
    backlog: float, rate: float, drain: float
) -> None:
    tasks = s.backlog_target(backlog, rate, drain, minimum=0, maximum=10**6)
    assert tasks * rate * drain >= backlog - 1e-6
    assert tasks == 0 or (tasks - 1) * rate * drain < backlog


def test_given_schedules_when_asked_then_the_latest_that_began() -> None:
    entries = [(0.0, 1), (100.0, 5), (50.0, 3)]
    assert [s.scheduled_size(entries, now, 7) for now in (-1.0, 0.0, 50.0, 99.0, 100.0)] == [7, 1, 3, 3, 5]
