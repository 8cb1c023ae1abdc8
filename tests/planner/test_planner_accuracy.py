"""The simulator against closed forms, on 61 points.

Proves: the plain model and the core model agree with Erlang B and C, M/M/c, M/M/c/K, M/G/infinity and the
idle-expiry formulas. Each point has a fixed seed; every one must lie within twice the half-width of its 95 %
interval (about four standard errors, so that an error of the model shows and an unlucky seed does not), and at
least 85 % of all points within the interval itself. Does not prove anything about platforms: see the replay
against the embedded cloud.
"""

from math import exp, inf

import pytest

from keepwarm_planner.model import theory
from keepwarm_planner.model.design import Design, Workload
from keepwarm_planner.model.engine import Outcome, run
from keepwarm_planner.model.estimate import (
    Estimate,
    fraction_of,
    mean_of,
    poisson_interval,
    ratio_of,
    student_quantile,
)
from keepwarm_planner.model.plain import PlainFigures, PlainScenario, simulate_plain
from keepwarm_planner.prices import load
from keepwarm_planner.traffic import generators, law

INSIDE: list[tuple[str, bool]] = []


def _agrees(name: str, estimate: Estimate, truth: float) -> None:
    half = (estimate.high - estimate.low) / 2.0
    INSIDE.append((name, estimate.low <= truth <= estimate.high))
    assert abs(estimate.mean - truth) <= 2.0 * half, (name, estimate, truth)
    # an interval too wide to refuse anything proves nothing
    assert half <= 0.12 * max(truth, 1e-3) or half < 1e-4, (name, estimate, truth)


def _plain(**options: float | int | None) -> PlainFigures:
    return simulate_plain(PlainScenario(**{"replications": 10, "seed": 3, **options})).figures  # type: ignore[arg-type]


def _core(
    rate: float, service: law.Law, hours: float, *, replications: int = 8, **options: float | int | None
) -> Outcome:
    workload = Workload(
        generators.poisson(rate, hours * 3600.0), service, law.constant(0.0), latency_target_s=inf
    )
    design = Design("d", idle_timeout_s=inf, **options)  # type: ignore[arg-type]
    return run([design], workload, load(), seed=5, replications=replications).outcomes[0]


@pytest.mark.parametrize(
    ("servers", "load_"),
    [(1, 0.5), (2, 2.0), (5, 3.0), (10, 12.0), (25, 20.0), (50, 45.0), (120, 110.0), (250, 240.0)],
)
def test_given_a_cap_when_simulated_then_rejections_are_erlang_b(servers: int, load_: float) -> None:
    figures = _plain(
        rate=load_,
        service_mean_s=1.0,
        idle_timeout_s=50.0,
        max_concurrency=servers,
        horizon_s=8e4 / load_**0.6,
    )
    blocked = theory.erlang_b(servers, load_)
    _agrees(f"erlang-b {servers} {load_}", figures.rejected_fraction, blocked)
    _agrees(f"erlang-b busy {servers} {load_}", figures.busy, load_ * (1.0 - blocked))


@pytest.mark.parametrize(
    "service",
    [law.constant(1.0), law.lognormal(1.0, 0.8), law.lognormal(1.0, 2.0)],
    ids=["const", "cv0.8", "cv2"],
)
def test_given_any_service_law_when_capped_then_erlang_b_holds(service: law.Law) -> None:
    outcome = _core(9.0, service, 5.0, max_concurrency=10)
    _agrees(f"insensitivity {service.text}", outcome.throttled_fraction, theory.erlang_b(10, 9.0))


@pytest.mark.parametrize(
    ("servers", "rate"), [(1, 0.5), (2, 1.6), (5, 4.0), (10, 8.0), (30, 26.0), (64, 58.0)]
)
def test_given_a_queue_when_simulated_then_waits_are_erlang_c(servers: int, rate: float) -> None:
    hours = 45.0 / rate**0.75
    outcome = _core(rate, law.exponential(1.0), hours, max_concurrency=servers, queue_limit=-1)
    _agrees(f"mmc wait {servers}", outcome.wait_mean_s, theory.mmc_wait(servers, rate, 1.0))
    _agrees(f"mmc busy {servers}", outcome.busy, rate)


@pytest.mark.parametrize(
    ("servers", "places", "rate"), [(1, 4, 0.9), (2, 5, 2.0), (5, 12, 5.5), (10, 15, 9.5), (20, 40, 21.0)]
)
def test_given_a_bounded_queue_when_simulated_then_loss_is_mmck(
    servers: int, places: int, rate: float
) -> None:
    outcome = _core(
        rate, law.exponential(1.0), 25.0 / rate**0.5, max_concurrency=servers, queue_limit=places - servers
    )
    _agrees(f"mmck {servers} {places}", outcome.dropped_fraction, theory.mmck_loss(servers, places, rate))
    _agrees(
        f"mmck wait {servers} {places}", outcome.wait_mean_s, theory.mmck_wait(servers, places, rate, 1.0)
    )


@pytest.mark.parametrize(
    "service",
    [
        law.constant(2.0),
        law.exponential(2.0),
        law.lognormal(2.0, 0.5),
        law.lognormal(2.0, 1.5),
        law.empirical([1, 2, 3]),
    ],
    ids=["const", "exp", "cv0.5", "cv1.5", "empirical"],
)
def test_given_no_cap_when_simulated_then_occupancy_is_mg_infinity(service: law.Law) -> None:
    outcome = _core(12.0, service, 4.0)
    _agrees(f"mg-inf {service.text}", outcome.busy, 12.0 * service.mean)


def test_given_no_cap_when_sampled_then_occupancy_is_poisson() -> None:
    workload = Workload(generators.poisson(3.0, 120_000.0), law.lognormal(2.0, 1.0), law.constant(0.0))
    outcome = run(
        [Design("d", idle_timeout_s=inf)],
        workload,
        load(),
        seed=2,
        replications=1,
        tick_s=60.0,
        timeline=True,
    ).outcomes[0]
    assert len(outcome.timeline) >= 1000
    # variance of Poisson equals its mean: the busiest of so many samples can't stray far beyond either
    assert 6 + 4 * 6**0.5 < outcome.max_busy < 6 + 9 * 6**0.5


@pytest.mark.parametrize(("rate", "timeout"), [(0.02, 60.0), (0.1, 20.0), (1.0, 2.0), (5.0, 0.1)])
def test_given_instant_service_when_idle_expires_then_cold_is_exponential(
    rate: float, timeout: float
) -> None:
    figures = _plain(rate=rate, service_mean_s=1e-7, idle_timeout_s=timeout, horizon_s=1.5e5 / rate)
    _agrees(f"instant {rate} {timeout}", figures.cold_fraction, theory.instant_cold(rate, timeout))


@pytest.mark.parametrize(
    ("rate", "service", "timeout"), [(0.1, 2.0, 10.0), (0.5, 1.0, 3.0), (1.0, 3.0, 1.0), (0.05, 20.0, 30.0)]
)
def test_given_one_environment_when_idle_expires_then_cold_and_life_follow_renewal(
    rate: float, service: float, timeout: float
) -> None:
    figures = _plain(
        rate=rate, service_mean_s=service, idle_timeout_s=timeout, max_concurrency=1, horizon_s=1.2e5 / rate
    )
    _agrees(f"single cold {rate}", figures.cold_fraction, theory.single_cold(rate, service, timeout))
    _agrees(f"single life {rate}", figures.instances, theory.single_instances(rate, service, timeout))


def test_given_no_keep_alive_when_simulated_then_every_accepted_request_is_cold() -> None:
    figures = _plain(rate=6.0, service_mean_s=1.0, idle_timeout_s=0.0, max_concurrency=8, horizon_s=4e4)
    _agrees("t=0", figures.cold_fraction, 1.0 - theory.erlang_b(8, 6.0))


def test_given_a_pool_without_spill_then_its_served_share_is_erlang_b() -> None:
    figures = _plain(rate=20.0, service_mean_s=1.0, environments=22, horizon_s=4e4)
    _agrees("provisioned", figures.provisioned_fraction, 1.0 - theory.erlang_b(22, 20.0))


def test_given_all_points_when_counted_then_intervals_cover_as_they_claim() -> None:
    if len(INSIDE) < 50:
        pytest.skip("needs the points of this whole file")
    outside = [name for name, inside in INSIDE if not inside]
    assert len(outside) <= 0.15 * len(INSIDE), outside


def test_given_scaled_clock_when_simulated_then_figures_are_equal() -> None:
    slow = _plain(rate=2.0, service_mean_s=4.0, idle_timeout_s=16.0, horizon_s=4096.0, max_concurrency=12)
    fast = _plain(rate=8.0, service_mean_s=1.0, idle_timeout_s=4.0, horizon_s=1024.0, max_concurrency=12)
    # factors of two are exact in floating point, so the very same trajectories come out
    assert (slow.cold_fraction, slow.rejected_fraction, slow.busy) == (
        fast.cold_fraction,
        fast.rejected_fraction,
        fast.busy,
    )


def test_given_same_seed_then_equal_with_any_workers_and_another_differs() -> None:
    scenario = PlainScenario(5.0, 1.0, 10.0, horizon_s=2000.0, replications=6, seed=9)
    first = simulate_plain(scenario, workers=1).figures
    assert simulate_plain(scenario, workers=3).figures == first
    assert simulate_plain(scenario, kernel="python").figures == first
    other = PlainScenario(5.0, 1.0, 10.0, horizon_s=2000.0, replications=6, seed=10)
    assert simulate_plain(other).figures != first


def test_given_longer_keep_alive_when_simulated_then_never_more_cold_starts() -> None:
    colds = [
        _plain(rate=4.0, service_mean_s=1.0, idle_timeout_s=t, horizon_s=4e3).cold_fraction.mean
        for t in (0.0, 0.5, 1.0, 2.0, 5.0, 20.0, 60.0)
    ]
    assert colds == sorted(colds, reverse=True)
    assert colds[0] > 0.99


def test_given_one_replication_when_simulated_then_batches_give_the_interval() -> None:
    figures = _plain(rate=20.0, service_mean_s=1.0, max_concurrency=25, horizon_s=1e5, replications=1)
    _agrees("batches", figures.rejected_fraction, theory.erlang_b(25, 20.0))


def test_given_warmup_when_simulated_then_first_cold_starts_are_left_out() -> None:
    options = {"rate": 50.0, "service_mean_s": 1.0, "idle_timeout_s": inf, "horizon_s": 2000.0}
    assert _plain(**options).cold_fraction.mean > 5 * _plain(**options, warmup_s=1000.0).cold_fraction.mean


# ---- the estimators themselves ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("degrees", "value"),
    [(1, 12.7062), (2, 4.30265), (3, 3.18245), (4, 2.77645), (9, 2.26216), (29, 2.04523), (99, 1.98422)],
)
def test_given_degrees_of_freedom_then_students_quantile_is_the_tables(degrees: int, value: float) -> None:
    assert student_quantile(degrees) == pytest.approx(value, abs=2e-5)


def test_given_no_events_when_estimated_then_interval_allows_three() -> None:
    estimate = fraction_of([0, 0, 0], [1000, 1000, 1000])
    assert (estimate.mean, estimate.low) == (0.0, 0.0)
    assert estimate.high == pytest.approx(3.689 / 3000, rel=1e-3)
    assert fraction_of([0, 0], [0, 0]) == Estimate(0.0, 0.0, 1.0)
    assert poisson_interval(10) == pytest.approx((4.795, 18.39), rel=0.01)


def test_given_samples_when_estimated_then_mean_and_ratio_are_the_textbooks() -> None:
    estimate = mean_of([1.0, 2.0, 3.0, 4.0])
    assert estimate.mean == 2.5
    assert estimate.high - estimate.mean == pytest.approx(3.18245 * 1.2909944 / 2.0, rel=1e-5)
    assert mean_of([2.0]) == Estimate(2.0, -inf, inf)
    assert ratio_of([1.0, 3.0], [2.0, 6.0]) == Estimate(0.5, 0.5, 0.5)
    assert ratio_of([0.0], [0.0]).mean == 0.0


@pytest.mark.parametrize(
    ("one", "mean", "p99"),
    [
        (law.parse("0.25", "x"), 0.25, 0.25),
        (law.parse("exp:2", "x"), 2.0, 9.2103),
        (law.parse("lognormal:mean=2,cv=0.5", "x"), 2.0, None),
        (law.parse("lognormal:p50=1,p99=4", "x"), None, 4.0),
    ],
)
def test_given_a_law_when_read_then_mean_and_tail_are_its_own(
    one: law.Law, mean: float | None, p99: float | None
) -> None:
    if mean is not None:
        assert one.mean == pytest.approx(mean, rel=1e-6)
    if p99 is not None:
        assert one.quantile(0.99) == pytest.approx(p99, rel=0.002)


def test_given_erlang_formulas_then_known_values() -> None:
    assert theory.erlang_b(25, 20.0) == pytest.approx(0.050222, abs=1e-6)
    assert theory.erlang_c(2, 1.0) == pytest.approx(1 / 3)
    assert theory.erlang_c(2, 2.0) == 1.0
    assert theory.mmc_wait(2, 3.0, 1.0) == inf
    assert theory.mmck_loss(3, 3, 2.0) == pytest.approx(theory.erlang_b(3, 2.0))
    assert theory.single_cold(0.1, 0.0, 10.0) == pytest.approx(exp(-1.0))
