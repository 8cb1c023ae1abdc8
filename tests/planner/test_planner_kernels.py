"""The two kernels and the decisions they take.

Proves: the C kernel and its Python twin give equal bits on random scenarios; one placement after the other is
the one that keepwarm_runtime.scaling takes; requests are conserved. Does not prove that the model is the right
one: closed forms (test_planner_accuracy) and the embedded cloud do.
"""

import random
from dataclasses import replace
from functools import partial
from math import inf, log

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keepwarm_planner.errors import PlannerError
from keepwarm_planner.kernel import PYTHON, VARIABLE, Kernel, choose
from keepwarm_planner.kernel.build import find_compiler
from keepwarm_planner.kernel.core import bin_of
from keepwarm_planner.kernel.plain import run
from keepwarm_planner.kernel.shape import BINS, Cold, CoreDesign, S, bin_upper, quantile
from keepwarm_runtime.scaling import BurstRate, Placement, expired, newest_idle, on_demand_limit, place

needs_compiler = pytest.mark.skipif(find_compiler() is None, reason="no C compiler on this machine")


@pytest.fixture(scope="module")
def c() -> Kernel:
    if find_compiler() is None:
        pytest.skip("no C compiler on this machine")
    return choose(0, "c")


PLAIN = [
    (0.9, 2.0, 600.0, 0, 2**62),
    (0.9, 2.0, 3.0, 0, 2**62),
    (100.0, 1.0, 5.0, 0, 2**62),
    (100.0, 1.0, 600.0, 0, 2**62),
    (100.0, 1.0, 6.0, 95, 10),
    (20.0, 1.0, 600.0, 3, 20),
    (300.0, 1.0, 0.05, 20, 350),
    (50.0, 1.0, inf, 60, 0),
    (40.0, 0.5, 0.0, 0, 2**62),
]


@pytest.mark.parametrize("scenario", PLAIN)
def test_given_a_plain_scenario_on_both_kernels_then_rows_are_equal_bit_for_bit(
    c: Kernel, scenario: tuple[float, float, float, int, int]
) -> None:
    ends = [3.0, 20.0, 60.0, 200.0]
    assert c.plain(*scenario, "7", ends) == PYTHON.plain(*scenario, "7", ends)


CHANGING = [
    # some hundred environments: a cap, expiry in their midst, and growth into many thousands of arrivals
    (100.0, 1.0, 6.0, 0, 110),
    (200.0, 1.0, 0.05, 0, 2**62),
    (600.0, 1.0, 0.002, 0, 620),
    (900.0, 1.0, 600.0, 0, 2**62),
    (1500.0, 1.0, 0.3, 0, 2**62),
    (400.0, 0.3, inf, 0, 2**62),
]


@pytest.mark.parametrize("scenario", CHANGING)
def test_given_changing_environments_on_both_kernels_then_rows_are_equal(
    c: Kernel, scenario: tuple[float, float, float, int, int]
) -> None:
    horizon = 12_000 / scenario[0]
    ends = [horizon * x for x in (0.01, 0.2, 0.2001, 0.7, 1.0)]
    assert c.plain(*scenario, "3", ends) == PYTHON.plain(*scenario, "3", ends)


@pytest.mark.parametrize("scenario", PLAIN)
def test_given_plain_scenario_when_scanned_or_heaped_then_rows_are_equal(
    scenario: tuple[float, float, float, int, int],
) -> None:
    def rows(scan_limit: int) -> list[tuple[float, ...]]:
        streams = random.Random("7/gaps"), random.Random("7/services")
        return list(run(*scenario, *streams, [3.0, 20.0, 60.0], scan_limit=scan_limit))

    assert rows(0) == rows(24) == rows(400)


durations = st.floats(0.0, 4.0)
designs = st.builds(
    CoreDesign,
    timeout=st.sampled_from([0.0, 0.5, 3.0, 60.0, inf]),
    limit=st.sampled_from([-1, 0, 1, 5, 12]),
    queue_limit=st.sampled_from([0, 0, 3, -1]),
    deadline=st.sampled_from([0.5, 4.0, inf]),
    target=st.sampled_from([0.5, inf]),
    rate_limit=st.sampled_from([0.0, 1.0, 3.0]),
    rate_window=st.just(5.0),
    provisioned=st.integers(0, 6),
    cold_kind=st.sampled_from(list(Cold)),
    cold_mean=st.sampled_from([0.0, 0.4]),
    cold_table=st.just((0.1, 0.2, 0.9)),
)


def _feed(
    kernel: Kernel, design: CoreDesign, gaps: list[float], sizes: list[int]
) -> tuple[list[list[float]], object]:
    core = kernel.core(design, "1")
    now, rows = 0.0, []
    services = random.Random(3)
    for i, gap in enumerate(gaps):
        now += gap
        core.feed([now], [services.expovariate(1.0)])
        if i % 7 == 6 and sizes:
            core.resize(now, sizes[i // 7 % len(sizes)])
        rows.append(core.read(now))
    return rows, core.histograms()


@needs_compiler
@settings(max_examples=60, deadline=None)
@given(
    design=designs,
    gaps=st.lists(st.floats(0.0, 2.0), min_size=1, max_size=60),
    sizes=st.lists(st.integers(0, 8), max_size=4),
)
def test_given_any_design_when_fed_to_both_cores_then_every_figure_is_equal(
    design: CoreDesign, gaps: list[float], sizes: list[int]
) -> None:
    assert _feed(choose(0, "c"), design, gaps, sizes) == _feed(PYTHON, design, gaps, sizes)


class _Reference:
    """A platform that takes every decision by calling keepwarm_runtime.scaling."""

    def __init__(self, design: CoreDesign) -> None:
        self.d = design
        self.size = design.provisioned
        self.pool: list[float] = []  # departures of busy provisioned environments
        self.envs: list[dict[str, float]] = []
        self.rate = BurstRate(int(design.rate_limit), design.rate_window) if design.rate_limit else None
        self.serial = 0

    def arrive(self, now: float, service: float) -> Placement:
        self.pool = [d for d in self.pool if d > now]
        idle = [e for e in self.envs if e["until"] <= now]
        gone = [e for e in idle if expired(e["until"], now, self.d.timeout)]
        self.envs = [e for e in self.envs if e not in gone]
        idle = [e for e in idle if e not in gone]
        limit = None if self.d.limit < 0 else self.d.limit
        where = partial(
            place,
            provisioned_idle=max(self.size - len(self.pool), 0),
            on_demand_idle=len(idle),
            on_demand_busy=len(self.envs) - len(idle),
            on_demand_limit=on_demand_limit(limit, max(self.size, len(self.pool))),
        )
        decision = where(may_create=True)
        if decision is Placement.COLD and self.rate is not None and not self.rate.try_take(now):
            decision = where(may_create=False)
        if decision is Placement.PROVISIONED:
            self.pool.append(now + service)
        elif decision is Placement.WARM:
            newest_idle(idle, lambda e: e["created"])["until"] = now + service
        elif decision is Placement.COLD:
            self.serial += 1
            self.envs.append({"created": self.serial, "until": now + (self.d.cold_mean + service)})
        return decision


OUTCOMES = {
    S.PROVISIONED: Placement.PROVISIONED,
    S.WARM: Placement.WARM,
    S.COLD: Placement.COLD,
    S.REJECTED_LIMIT: Placement.THROTTLE_CONCURRENCY,
    S.REJECTED_RATE: Placement.THROTTLE_RATE,
}


@pytest.mark.parametrize("kernel_name", ["c", "python"])
@pytest.mark.parametrize(
    "design",
    [
        CoreDesign(timeout=3.0, cold_mean=0.3),
        CoreDesign(timeout=1.0, cold_mean=0.3, provisioned=4, limit=9),
        CoreDesign(timeout=2.0, provisioned=2, rate_limit=2.0, rate_window=10.0),
        CoreDesign(timeout=30.0, limit=7, provisioned=3, rate_limit=1.0, rate_window=3.0),
    ],
)
def test_given_random_events_when_placed_then_each_decision_is_the_runtimes(
    kernel_name: str, design: CoreDesign, c: Kernel
) -> None:
    kernel = c if kernel_name == "c" else PYTHON
    rng = random.Random(11)
    core, reference = kernel.core(design, "1"), _Reference(design)
    before, now, seen = core.read(0.0), 0.0, set()
    for i in range(3000):
        now += rng.expovariate(8.0 if i % 400 < 200 else 1.5)
        service = rng.lognormvariate(-0.3, 0.8)
        core.feed([now], [service])
        after = core.read(now)
        decision = next(p for s, p in OUTCOMES.items() if after[s] > before[s])
        assert decision is reference.arrive(now, service), (i, now)
        seen.add(decision)
        before = after
        if i % 250 == 249 and design.provisioned:
            size = rng.randrange(0, 8)
            core.resize(now, size)
            reference.size = size
    assert {Placement.WARM, Placement.COLD} <= seen


@pytest.mark.parametrize("kernel_name", ["c", "python"])
@pytest.mark.parametrize(
    "scenario",
    [
        (0.9, 2.0, 3.0, 0, 2**62),
        (30.0, 1.0, 1.0, 0, 2**62),
        (80.0, 1.0, 2.0, 0, 90),
        (20.0, 1.0, 0.5, 6, 18),
        (40.0, 1.0, inf, 30, 0),
    ],
)
def test_given_the_plain_model_then_its_counts_are_the_runtimes_decisions(
    kernel_name: str, scenario: tuple[float, float, float, int, int], c: Kernel
) -> None:
    rate, mean, timeout, provisioned, limit = scenario
    end = 3000.0 / rate
    row = (c if kernel_name == "c" else PYTHON).plain(*scenario, "5", [end])[0]
    gaps, services = random.Random("5/gaps"), random.Random("5/services")
    # the plain model's cap is of the environments beside the pool
    reference = _Reference(
        CoreDesign(timeout=timeout, limit=min(limit, 10**9) + provisioned, provisioned=provisioned)
    )
    seen = []
    now = log(1.0 - gaps.random()) * (-1.0 / rate)
    while now < end:
        seen.append(reference.arrive(now, log(1.0 - services.random()) * -mean))
        now += log(1.0 - gaps.random()) * (-1.0 / rate)
    assert row[0] == len(seen) > 2500
    assert row[1] == seen.count(Placement.COLD) > 0 or limit == 0
    assert row[2] == seen.count(Placement.THROTTLE_CONCURRENCY)
    assert row[5] == seen.count(Placement.PROVISIONED)


@pytest.mark.parametrize("kernel_name", ["c", "python"])
def test_given_any_fate_when_run_then_requests_are_conserved(kernel_name: str, c: Kernel) -> None:
    kernel = c if kernel_name == "c" else PYTHON
    design = CoreDesign(
        timeout=5.0, limit=6, queue_limit=4, deadline=1.0, provisioned=2, cold_mean=0.5, rate_limit=1.0
    )
    core = kernel.core(design, "1")
    rng, now = random.Random(5), 0.0
    for _ in range(5000):
        now += rng.expovariate(6.0)
        core.feed([now], [rng.expovariate(1.0)])
    row = core.read(now)
    started = row[S.COLD] + row[S.WARM] + row[S.PROVISIONED]
    dropped = row[S.REJECTED_LIMIT] + row[S.REJECTED_RATE] + row[S.OVERFLOW] + row[S.EXPIRED]
    assert min(row[S.EXPIRED], row[S.OVERFLOW], started) > 0
    assert row[S.ARRIVALS] == started + dropped + row[S.QUEUE_NOW] == 5000
    assert started == row[S.STARTED] == sum(core.histograms()[0])


def test_given_streams_when_drawn_by_both_kernels_then_values_are_equal(c: Kernel) -> None:
    for kind in Cold:
        a = c.source("9").fill(kind, 2.0, (0.0, 1.0, 5.0), 2000)
        assert list(a) == list(PYTHON.source("9").fill(kind, 2.0, (0.0, 1.0, 5.0), 2000))
    assert list(c.source("9").spread(3.0, 7.0, 1000)) == list(PYTHON.source("9").spread(3.0, 7.0, 1000))
    for room in (10, 5000):
        a, next_a = c.source("9").poisson(10.0, 90.0, 0.5, room)
        b, next_b = PYTHON.source("9").poisson(10.0, 90.0, 0.5, room)
        assert (list(a), next_a) == (list(b), next_b)


@given(st.floats(1e-7, 1e7))
def test_given_duration_when_binned_then_it_lies_within_its_bin(seconds: float) -> None:
    i = bin_of(seconds)
    assert 0 <= i < BINS
    if 0 < i < BINS - 1:
        assert bin_upper(i - 1) <= seconds < bin_upper(i) <= seconds * 1.016


def test_given_histogram_when_asked_for_a_quantile_then_it_is_the_bins_upper_edge() -> None:
    histogram = [0] * BINS
    histogram[bin_of(0.1)] = 90
    histogram[bin_of(2.0)] = 10
    assert quantile(histogram, 0.5) == pytest.approx(0.1, rel=0.02)
    assert quantile(histogram, 0.95) == pytest.approx(2.0, rel=0.02)
    assert quantile([0] * BINS, 0.5) == 0.0


def test_given_unknown_kernel_when_chosen_then_kw501(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "fortran")
    with pytest.raises(PlannerError, match="KW501"):
        choose(1)


def test_given_no_compiler_and_no_built_kernel_when_chosen_then_python_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr("keepwarm_planner.kernel.native.HERE", tmp_path)
    assert choose(1e9, "auto").name == "python"
    assert "no C compiler" in choose(1e9, "auto").note
    with pytest.raises(PlannerError, match="KW502"):
        choose(1e9, "c")


def test_given_small_run_and_nothing_built_when_chosen_then_nothing_is_compiled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("keepwarm_planner.kernel.native.HERE", tmp_path)
    assert choose(1000, "auto") == PYTHON


def test_given_more_warm_capacity_when_simulated_then_never_more_cold_starts(c: Kernel) -> None:
    base = CoreDesign(timeout=2.0, cold_mean=0.5)
    colds = []
    for size in range(0, 25, 2):
        core = c.core(replace(base, provisioned=size), "1")
        rng, now = random.Random(2), 0.0
        for _ in range(4000):
            now += rng.expovariate(10.0)
            core.feed([now], [rng.expovariate(1.0)])
        colds.append(core.read(now)[S.COLD])
    assert colds == sorted(colds, reverse=True)
    assert colds[0] > 50
    assert colds[-1] < colds[0] / 50
