"""Many designs on one trace, and the full model with queue, retries and downstream.

Proves: every decision of the full model and of the embedded cloud is a call of keepwarm_runtime.scaling (the kernels
are held to it decision by decision in test_planner_kernels); the full model gives the very figures of the core kernel
where both apply; requests are conserved; designs see the same arrivals; queue, retries, admission and the service that
scales from zero behave as their rules say, and monotonically. Does not prove that AWS behaves so.
"""

from collections.abc import Callable
from dataclasses import replace
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import keepwarm as kw
from keepwarm import limits
from keepwarm_planner import prices
from keepwarm_planner.cost import Architecture
from keepwarm_planner.errors import PlannerError
from keepwarm_planner.kernel.shape import S
from keepwarm_planner.model.design import Design, Downstream, Queue, Retry, System, Tracking, Workload
from keepwarm_planner.model.engine import cost_of, run
from keepwarm_planner.model.events import Loop
from keepwarm_planner.model.replication import Replication
from keepwarm_planner.model.service import Refusal, Service, growth_steps
from keepwarm_planner.model.system import SystemOutcome, simulate
from keepwarm_planner.traffic import generators, law
from keepwarm_runtime import scaling, waiting
from tests.support.deployed import DEFAULT_VPC, deploy
from tests.support.samples import IMAGE

P = prices.load()
STEADY = Workload(
    generators.poisson(5.0, 2700.0), law.exponential(1.0), law.constant(0.5), latency_target_s=3.0
)
NO_RETRY = Retry(attempts=0)


@pytest.mark.parametrize(
    "design",
    [
        Design("on-demand", idle_timeout_s=60.0),
        Design("pool", environments=3, idle_timeout_s=30.0, max_concurrency=12),
        Design("burst", idle_timeout_s=2.0, burst_limit=1.0, burst_window_s=2.0),
        Design("schedule", schedule=((0.0, 2), (900.0, 9), (1800.0, 4)), idle_timeout_s=60.0),
        Design("tracking", environments=2, tracking=Tracking(0.6, 2, 20), idle_timeout_s=60.0),
    ],
    ids=lambda d: d.name,
)
def test_given_no_queue_and_no_downstream_then_full_model_and_core_agree(
    design: Design,
) -> None:
    core = run([design], STEADY, P, replications=2).outcomes[0]
    full = simulate(System(design, retry=NO_RETRY), STEADY, P, replications=2)
    assert full.requests == core.requests
    if design.tracking is None:
        assert full.cold_fraction == core.cold_fraction
        assert full.failed_fraction == core.throttled_fraction
        # the full model leaves what is under way when the trace ends open
        assert full.good_fraction.mean == pytest.approx(core.good_fraction.mean, abs=2e-3)
        assert full.cost_month.mean == pytest.approx(core.cost_month.mean, rel=5e-3)
    else:
        # the core counts a request's seconds when it starts, the full model when it ends: a minute's utilization
        # differs a little, and with it some decisions
        assert full.cold_fraction.mean == pytest.approx(core.cold_fraction.mean, abs=3e-3)
    assert full.latency_s["p99"] == pytest.approx(core.latency_s["p99"], rel=0.03)


SPIKE = Workload(
    generators.spike(0.5, 12.0, 1200.0, 300.0, 3000.0),
    law.lognormal(0.3, 0.5),
    law.constant(1.5),
    latency_target_s=120.0,
)
SERVICE = Downstream(
    law.exponential(1.0), concurrency_per_task=4, min_tasks=1, max_tasks=6, start=law.constant(120.0)
)
DOCUMENTS = System(
    Design("documents", environments=1, max_concurrency=60),
    Queue(max_concurrency=50, visibility_s=60.0),
    SERVICE,
    Retry(attempts=8),
    deadline_s=900.0,
)


def _fates(outcome: SystemOutcome) -> float:
    return outcome.failed_fraction.mean + outcome.dropped_fraction.mean + outcome.open_fraction.mean


@pytest.mark.parametrize(
    "system",
    [
        DOCUMENTS,
        replace(DOCUMENTS, queue=None),
        replace(
            DOCUMENTS, queue=Queue(batch_size=5, batch_window_s=2.0, max_concurrency=3, max_event_age_s=30.0)
        ),
        replace(
            DOCUMENTS,
            design=Design("tight", max_concurrency=2),
            queue=Queue(visibility_s=20.0, max_receive_count=2),
        ),
        replace(DOCUMENTS, downstream=replace(SERVICE, min_tasks=0, queue_per_task=3)),
    ],
    ids=["documents", "no queue", "batches", "tight", "from zero"],
)
def test_given_any_system_when_simulated_then_every_request_has_one_fate(system: System) -> None:
    one = Replication(system, SPIKE, "1/0", 120.0)
    arrivals = [(0.3 * i, 0.2) for i in range(4000)]
    one.run(iter(arrivals), 2000.0)
    assert one.arrivals == 4000
    assert one.open >= 0
    assert one.done + one.failed + one.dead + one.expired + one.open == 4000
    assert one.done == len(one.latencies) > 0
    waiting = len(one.pending) + one.returning
    assert waiting <= one.open
    if one.service is not None:
        assert one.service.in_flight == sum(t.busy + len(t.waiting) for t in one.service.tasks)


def test_given_a_spike_on_a_sleeping_service_then_demand_is_refused_and_retried() -> None:
    asleep = simulate(replace(DOCUMENTS, downstream=replace(SERVICE, min_tasks=0)), SPIKE, P, replications=2)
    awake = simulate(replace(DOCUMENTS, downstream=replace(SERVICE, min_tasks=6)), SPIKE, P, replications=2)
    assert asleep.wakes.mean >= 1.0
    assert awake.wakes.mean == 0.0
    assert asleep.refused_per_request.mean > awake.refused_per_request.mean
    assert asleep.latency_s["p99"] > awake.latency_s["p99"]
    assert asleep.cost_parts["downstream"] < awake.cost_parts["downstream"]
    assert asleep.good_fraction.mean < awake.good_fraction.mean <= 1.0


def test_given_idle_minutes_when_nobody_calls_then_the_service_goes_back_to_zero() -> None:
    burst = Workload(
        generators.spike(1e-9, 2.0, 600.0, 300.0, 2 * 3600.0), law.constant(0.1), law.constant(0.2), 600.0
    )
    downstream = replace(SERVICE, min_tasks=0, idle_minutes=10)
    outcome = simulate(replace(DOCUMENTS, downstream=downstream), burst, P, replications=1)
    tasks = {round(row["t_s"] / 60): row["tasks"] for row in outcome.timeline}
    assert tasks[9] == 0
    assert max(tasks.values()) >= 1
    assert tasks[40] == 0


def test_given_tasks_that_start_when_demand_falls_then_they_stay_until_idle() -> None:
    """A quieter minute takes nothing away; after an idle one the service goes back to its minimum."""
    loop = Loop()
    service = Service(
        loop,
        replace(SERVICE, min_tasks=0, backlog_per_task=10, idle_minutes=1, start=law.constant(300.0)),
        "1",
    )

    def minute(at_s: float, demand: int) -> list[tuple[float, bool]]:
        loop.run(at_s)
        service.demand = demand
        service.tick(at_s)
        return [(t.since, t.ready) for t in service.tasks]

    assert minute(60.0, 5) == [(60.0, False)]
    grown = [(60.0, True), (420.0, False), (420.0, False)]
    assert minute(420.0, 25) == grown
    assert minute(480.0, 5) == grown
    assert minute(540.0, 15) == grown
    assert minute(600.0, 0) == []
    assert service.wakes == 1


def _service(**changes: Any) -> tuple[Loop, Service]:
    loop = Loop()
    return loop, Service(loop, replace(SERVICE, service=law.constant(10.0), **changes), "1")


def _asked(service: Service, times: int) -> list[Refusal | None]:
    """Answers to callers that all ask at once."""
    told = [service.admit(0.0, lambda t: None) for _ in range(times)]
    return [None if t is None else t.reason for t in told]


def test_given_tasks_still_starting_then_a_permit_meets_not_ready_and_is_given_back() -> None:
    """Permits are granted for all tasks there may be, running or not: the caller finds nobody, and leaves."""
    loop, service = _service(min_tasks=0, max_tasks=6, concurrency_per_task=4)
    service.demand = 1
    service.tick(0.0)

    assert [t.ready for t in service.tasks] == [False]
    assert _asked(service, 30) == [Refusal.NOT_READY] * 30
    assert service.in_flight == 0
    loop.run(120.0)
    assert [t.ready for t in service.tasks] == [True]
    assert _asked(service, 1) == [None]


def test_given_one_ready_task_of_six_then_every_permit_finds_room_in_it() -> None:
    _, service = _service(min_tasks=1, max_tasks=6, concurrency_per_task=4)

    assert service.d.permits == 24
    assert _asked(service, 26) == [None] * 24 + [Refusal.NO_PERMIT] * 2
    assert service.in_flight == 24


def test_given_a_shorter_queue_then_it_refuses_before_the_permits_end() -> None:
    _, service = _service(min_tasks=1, max_tasks=6, concurrency_per_task=4, queue_per_task=8)

    assert _asked(service, 24) == [None] * 12 + [Refusal.QUEUE_FULL] * 12


def test_given_every_task_ready_then_permits_end_before_the_queues() -> None:
    _, service = _service(min_tasks=1, max_tasks=1, concurrency_per_task=4)

    assert _asked(service, 6) == [None] * 4 + [Refusal.NO_PERMIT] * 2
    assert service.in_flight == 4


def test_given_a_task_that_drains_then_it_serves_what_waits_in_it_first() -> None:
    loop, service = _service(min_tasks=2, max_tasks=4, concurrency_per_task=1)
    served: list[float] = []
    for _ in range(4):
        service.admit(0.0, served.append)
    for task in service.tasks:
        task.draining = True
    loop.run(100.0)

    assert len(served) == 4
    assert service.tasks == []
    assert service.in_flight == 0


@given(max_tasks=st.integers(1, 1000), concurrency=st.integers(1, 100))
def test_given_any_service_then_the_planner_grants_the_deployments_permits(
    max_tasks: int, concurrency: int
) -> None:
    planned = Downstream(law.constant(1.0), max_tasks=max_tasks, concurrency_per_task=concurrency)

    assert planned.permits == limits.service_permits(max_tasks, concurrency) == max_tasks * concurrency
    assert planned.queue_per_task is None
    assert planned.task_queue == limits.task_queue(max_tasks, concurrency)


def test_given_a_deployed_service_then_its_pool_has_the_planners_permits() -> None:
    made: list[int] = []

    def program() -> None:
        made.append(kw.GpuService("g", {"image": IMAGE, "max_tasks": 3, "concurrency_per_task": 5}).permits())

    deploy(program, lookups=DEFAULT_VPC)

    assert made == [Downstream(law.constant(1.0), max_tasks=3, concurrency_per_task=5).permits] == [15]


@pytest.mark.parametrize(("deadline_s", "failed"), [(900.0, 0.0), (200.0, 1.0)])
def test_given_a_service_that_wakes_then_a_request_waits_until_its_deadline(
    deadline_s: float, failed: float
) -> None:
    """The deployed workflow waits for capacity, as long as the request can still be on time."""
    alone = Workload(generators.spike(1e-9, 2.0, 600.0, 1.0, 3600.0), law.constant(0.1), law.constant(0.2))
    downstream = replace(SERVICE, min_tasks=0, start=law.constant(240.0))
    system = System(Design("d"), downstream=downstream, deadline_s=deadline_s)
    outcome = simulate(system, alone, P, replications=1)

    assert outcome.requests > 0
    assert (outcome.failed_fraction.mean, outcome.open_fraction.mean) == (failed, 0.0)
    assert outcome.refusals["not_ready"] > 1.0


def test_given_another_wait_in_the_runtime_then_the_planner_follows_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    system = replace(DOCUMENTS, downstream=replace(SERVICE, min_tasks=0), retry=None)
    assert simulate(system, SPIKE, P, replications=1).failed_fraction.mean == 0.0
    monkeypatch.setattr(waiting, "seconds_to_wait", lambda *_, **__: None)
    assert simulate(system, SPIKE, P, replications=1).failed_fraction.mean > 0.1


def test_given_patient_retries_then_fewer_failures_and_more_invocations() -> None:
    # not monotone attempt by attempt: one hasty retry into an overloaded service takes the place of a fresh request
    none, many = (
        simulate(replace(DOCUMENTS, retry=Retry(attempts=n), deadline_s=inf), SPIKE, P, replications=1)
        for n in (0, 8)
    )
    assert many.failed_fraction.mean < 0.7 * none.failed_fraction.mean
    assert none.retries_per_request.mean == 0.0 < many.retries_per_request.mean


def test_given_more_tasks_when_simulated_then_more_goodput() -> None:
    good = [
        simulate(
            replace(DOCUMENTS, downstream=replace(SERVICE, min_tasks=n, max_tasks=n)),
            SPIKE,
            P,
            replications=1,
        ).good_fraction.mean
        for n in (1, 2, 4)
    ]
    assert good[0] < good[1] < good[2]


def test_given_a_narrow_queue_when_spiked_then_age_grows_and_nothing_is_throttled() -> None:
    slow = replace(DOCUMENTS, downstream=None, queue=Queue(max_concurrency=2))
    fast = replace(DOCUMENTS, downstream=None, queue=Queue(max_concurrency=50))
    a, b = (simulate(s, SPIKE, P, replications=1) for s in (slow, fast))
    assert a.queue_age_s["max"] > 30.0 > b.queue_age_s["max"]
    assert a.throttles_per_request.mean == b.throttles_per_request.mean == 0.0
    assert a.max_busy <= 2


def test_given_a_queue_wider_than_the_function_then_throttles_and_dead_letters() -> None:
    system = System(
        Design("d", max_concurrency=2), Queue(max_concurrency=50, visibility_s=30.0, max_receive_count=3)
    )
    outcome = simulate(system, SPIKE, P, replications=1)
    assert outcome.throttles_per_request.mean > 0.1
    assert outcome.dropped_fraction.mean > 0.01
    assert outcome.max_busy <= 2


def test_given_batch_window_when_alone_then_a_message_waits_for_it() -> None:
    lonely = Workload(generators.poisson(0.01, 24 * 3600.0), law.constant(0.1), law.constant(0.0))
    outcome = simulate(
        System(Design("d"), Queue(batch_size=10, batch_window_s=20.0)), lonely, P, replications=1
    )
    assert outcome.queue_age_s["p50"] == pytest.approx(20.0)


def test_given_same_seed_when_simulated_again_then_equal_and_other_seed_differs() -> None:
    a, b = (simulate(DOCUMENTS, SPIKE, P, replications=2, seed=4).as_dict(timeline=True) for _ in range(2))
    for timed in ("cpu_s", "wall_s"):
        a.pop(timed)
        b.pop(timed)
    assert a == b
    other = simulate(DOCUMENTS, SPIKE, P, replications=2, seed=5)
    assert other.latency_s != a["latency_s"]


def test_given_designs_when_run_together_or_alone_then_each_sees_the_same_arrivals() -> None:
    designs = [
        Design("a", idle_timeout_s=5.0),
        Design("b", environments=4),
        Design("c", max_concurrency=4, queue_limit=-1),
    ]
    together = run(designs, STEADY, P, replications=2).outcomes
    for design, outcome in zip(designs, together, strict=True):
        alone = run([design], STEADY, P, replications=2).outcomes[0]
        assert alone.as_dict() == outcome.as_dict()
    assert len({o.requests for o in together}) == 1


def test_given_target_tracking_when_load_rises_then_the_pool_follows_after_its_lag() -> None:
    rising = Workload(
        generators.spike(2.0, 20.0, 3600.0, 7200.0, 4 * 3600.0), law.exponential(1.0), law.constant(1.0)
    )
    tracking = Design("t", environments=4, tracking=Tracking(0.7, 4, 60))
    outcome = run([tracking], rising, P, replications=1, timeline=True, lag_s=120.0).outcomes[0]
    sizes = {round(row["t_s"] / 60): row["environments"] for row in outcome.timeline}
    assert sizes[60] == pytest.approx(4.0, abs=2)
    assert sizes[64] < 10 < sizes[90]
    assert sizes[90] == pytest.approx(20 / 0.7, rel=0.35)
    assert sizes[235] < 10
    slow = run([tracking], rising, P, replications=1, timeline=True, lag_s=1200.0).outcomes[0]
    late = {round(row["t_s"] / 60): row["environments"] for row in slow.timeline}
    assert late[78] < 10 < sizes[78]
    assert slow.cold_fraction.mean >= outcome.cold_fraction.mean


def test_given_known_use_when_costed_then_each_part_is_its_product() -> None:
    stats = [0.0] * len(S)
    stats[S.BUSY_OD], stats[S.COLD_S], stats[S.BUSY_PROVISIONED] = 100.0, 20.0, 50.0
    stats[S.PROVISIONED_S], stats[S.STARTED] = 1000.0, 300.0
    parts = cost_of(Design("x", memory_mb=2048, ephemeral_mb=1536, architecture=Architecture.ARM64), stats, P)
    assert parts == pytest.approx(
        {
            "on_demand": 120 * 2 * P.lambda_gb_s_arm,
            "provisioned_idle": 1000 * 2 * P.provisioned_gb_s_arm,
            "provisioned_duration": 50 * 2 * P.provisioned_duration_gb_s_arm,
            "requests": 300 * P.lambda_request,
            "ephemeral": 170 * 1 * P.ephemeral_gb_s,
        }
    )


def test_given_queue_and_service_when_costed_then_three_calls_a_message_and_task_hours() -> None:
    calm = Workload(generators.poisson(0.5, 3600.0), law.constant(0.1), law.constant(0.0))
    two = Downstream(law.constant(0.1), min_tasks=2, max_tasks=2, instance_type="g5.xlarge")
    outcome = simulate(System(Design("d"), Queue(), two), calm, P, replications=1)
    assert outcome.throttles_per_request.mean == outcome.refused_per_request.mean == 0.0
    months = 730 * 3600 / 3600.0
    # the last messages may be under way when the hour ends
    assert outcome.cost_parts["queue"] == pytest.approx(
        outcome.requests * 3 * P.sqs_request * months, rel=0.01
    )
    assert outcome.cost_parts["downstream"] == pytest.approx(2 * 730 * 1.006, rel=1e-3)


# ---- one code for every decision: the runtime's, the cloud's, the planner's

EVERYTHING = System(
    Design("all", schedule=((0.0, 1), (600.0, 2)), tracking=Tracking(0.5, 1, 8), idle_timeout_s=60.0),
    Queue(max_concurrency=40, visibility_s=60.0),
    SERVICE,
)
DECISIONS = {
    "place",
    "on_demand_limit",
    "newest_idle",
    "expired",
    "track",
    "scheduled_size",
    "step_capacity",
    "BurstRate.try_take",
}


def test_given_a_run_then_the_runtime_took_every_kind_of_decision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts = dict.fromkeys(DECISIONS, 0)

    def counted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            counts[name] += 1
            return real(*args, **options)

        return call

    for name in DECISIONS - {"BurstRate.try_take"}:
        monkeypatch.setattr(scaling, name, counted(name, getattr(scaling, name)))
    monkeypatch.setattr(
        scaling.BurstRate, "try_take", counted("BurstRate.try_take", scaling.BurstRate.try_take)
    )
    outcome = simulate(EVERYTHING, SPIKE, P, replications=1)
    assert all(counts.values()), counts
    # an invocation is placed once, be it the first or one after a refusal
    assert counts["place"] >= outcome.requests * (1.0 + outcome.retries_per_request.mean) * 0.99
    assert counts["BurstRate.try_take"] == round(outcome.cold_fraction.mean * outcome.requests)


def test_given_another_decision_in_the_runtime_then_planner_and_cloud_follow_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    placement = pytest.importorskip("keepwarm_localcloud.services.lambda_.placement")
    demand = placement.Demand(None, 0, 0, 1000, 0, 0, 0, 5, True)
    assert placement.decide(demand)[0] is scaling.Placement.WARM
    system = System(Design("d"), retry=NO_RETRY)
    assert simulate(system, STEADY, P, replications=1).failed_fraction.mean == 0.0
    monkeypatch.setattr(scaling, "place", lambda **_: scaling.Placement.THROTTLE_RATE)
    assert placement.decide(demand)[0] is scaling.Placement.THROTTLE_RATE
    assert simulate(system, STEADY, P, replications=1).failed_fraction.mean == 1.0


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("keepwarm_localcloud.services.lambda_.pools", ("expired", "newest_idle", "Placement")),
        ("keepwarm_localcloud.services.lambda_.model", ("BurstRate",)),
        (
            "keepwarm_localcloud.services.autoscaling.scaling",
            ("track", "step_capacity", "TargetTracking", "Step"),
        ),
    ],
)
def test_given_the_cloud_when_looked_at_then_its_decisions_are_the_runtimes_objects(
    module: str, names: tuple[str, ...]
) -> None:
    loaded = pytest.importorskip(module)
    for name in names:
        assert getattr(loaded, name) is getattr(scaling, name)


@pytest.mark.parametrize("most", [1, 2, 20, 21, 100])
def test_given_any_service_then_the_planner_grows_by_the_components_steps(most: int) -> None:
    seen = deploy(lambda: kw.GpuService("g", {"image": IMAGE, "max_tasks": most}), lookups=DEFAULT_VPC)
    policy = seen.one("aws:appautoscaling/policy:Policy", "g-out")["stepScalingPolicyConfiguration"]
    theirs = [
        (float(s["metricIntervalLowerBound"]), s.get("metricIntervalUpperBound"), s["scalingAdjustment"])
        for s in policy["stepAdjustments"]
    ]
    ours = [(s.lower, None if s.upper is None else str(s.upper), s.adjustment) for s in growth_steps(most)]
    assert policy["adjustmentType"] == "ChangeInCapacity"
    assert ours == theirs


def test_given_a_quieter_minute_then_no_task_goes_before_the_service_is_idle() -> None:
    _, service = _service(min_tasks=0, max_tasks=6, backlog_per_task=10, idle_minutes=2)
    sizes = []
    for minute, demand in enumerate((60, 5, 25, 0, 1, 0, 0)):
        service.demand = demand
        service.tick(60.0 * minute)
        sizes.append(len([task for task in service.tasks if not task.draining]))
    assert sizes == [6, 6, 6, 6, 6, 6, 0]


def test_given_trace_too_long_for_the_full_model_when_simulated_then_kw509() -> None:
    long = Workload(generators.poisson(1000.0, 86_400.0), law.constant(0.1), law.constant(0.1))
    with pytest.raises(PlannerError, match="KW509"):
        simulate(DOCUMENTS, long, P)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"environments": 5, "max_concurrency": 4}, "KW513"),
        ({"environments": -1}, "KW513"),
        ({"schedule": ((10.0, 1), (5.0, 2))}, "KW513"),
        ({"schedule": ((90_000.0, 1),)}, "KW513"),
        ({"tracking": Tracking(1.5, 1, 2)}, "KW513"),
    ],
)
def test_given_impossible_design_when_made_then_kw513(options: dict[str, object], code: str) -> None:
    with pytest.raises(PlannerError, match=code):
        Design("x", **options)  # type: ignore[arg-type]


def test_given_no_durations_when_run_then_kw500() -> None:
    with pytest.raises(PlannerError, match="KW500"):
        run([Design("x")], Workload(generators.poisson(1.0, 10.0), None, law.constant(0.0)), P)
