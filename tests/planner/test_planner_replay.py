"""A trace replayed on the embedded cloud and in the simulator.

Proves: on a clock driven by hand, with real function processes, the embedded cloud and the simulator take the same
decision for every request of a random trace (cold, warm, provisioned, throttled); and in real time the ages of messages
in a queue before a function with limited concurrency agree within 0.4 s at the median and 0.8 s at the 95th percentile.
Does not prove anything about AWS.
"""

import json
import random
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from keepwarm_planner.kernel import choose
from keepwarm_planner.kernel.shape import CoreDesign, S
from keepwarm_planner.model.design import Design, Queue, System, Workload
from keepwarm_planner.model.replication import Replication
from keepwarm_planner.traffic import generators, law
from tests.support.patience import PATIENCE_S

lambdas = pytest.importorskip("tests.support.lambdas")
clocks = pytest.importorskip("keepwarm_localcloud.clockwork.clock")

HOLD = """
import os, time
def handler(event, context):
    while not os.path.exists(event["until"]):
        time.sleep(0.005)
    return os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"]
"""

NAMES = {
    S.PROVISIONED: "provisioned",
    S.WARM: "warm",
    S.COLD: "cold",
    S.REJECTED_LIMIT: "throttled",
    S.REJECTED_RATE: "throttled",
}


def _predicted(design: CoreDesign, trace: list[tuple[float, float]]) -> list[str]:
    core = choose(0).core(design, "1")
    before, out = core.read(0.0), []
    for t, service in trace:
        core.feed([t], [service])
        after = core.read(t)
        out.append(next(name for s, name in NAMES.items() if after[s] > before[s]))
        before = after
    return out


@dataclass
class _Running:
    index: int
    release: Path
    ends: float
    future: "Future[Any]"


def _replayed(
    it: Any, clock: Any, name: str, trace: list[tuple[float, float]], folder: Path, idle_s: float
) -> list[str]:
    """Plays the trace event by event; an answer is let go exactly when its service is over."""
    outcome = [""] * len(trace)
    running: list[_Running] = []
    now = 0.0
    started = len(it.entries("invocation", function=name))

    def advance(to: float) -> None:
        nonlocal now
        clock.advance(to - now)
        now = to

    def finish(one: _Running) -> None:
        nonlocal started
        advance(one.ends)
        one.release.touch()
        one.future.result(timeout=PATIENCE_S)
        started += 1
        records = lambdas.eventually(
            lambda: found if len(found := it.entries("invocation", function=name)) >= started else None
        )
        entry = records[-1]
        # the answer is out before its environment is back among the idle
        left = len(running) - 1
        lambdas.eventually(lambda: it.entries("concurrency", function=name)[-1]["active"] == left)
        outcome[one.index] = (
            "provisioned" if entry["pool"] == "provisioned" else "cold" if entry["cold"] else "warm"
        )

    with ThreadPoolExecutor(16) as threads:
        for i, (t, service) in enumerate(trace):
            for one in sorted((r for r in running if r.ends <= t), key=lambda r: r.ends):
                finish(one)
                running.remove(one)
            advance(t)
            if idle_s < 1e8:
                it.settle_idle(name)
            release = folder / f"go-{name}-{i}"
            future = threads.submit(it.call, name, {"until": str(release)}, Qualifier="live")
            throttles = len(it.entries("throttle", function=name))
            active = len(running)

            def decided(active: int = active, throttles: int = throttles, future: Any = future) -> bool:
                if len(it.entries("throttle", function=name)) > throttles or future.done():
                    return True
                return bool(it.entries("concurrency", function=name)[-1:]) and (
                    it.entries("concurrency", function=name)[-1]["active"] == active + 1
                )

            throttled_before = it.throttled.get(name, 0)
            lambdas.eventually(decided)
            now_throttled = len(it.entries("throttle", function=name))
            if now_throttled > throttled_before:
                it.throttled[name] = now_throttled
                outcome[i] = "throttled"
                with pytest.raises(Exception, match="Rate Exceeded"):
                    future.result(timeout=PATIENCE_S)
                continue
            running.append(_Running(i, release, t + service, future))
        for one in sorted(running, key=lambda r: r.ends):
            finish(one)
            running.remove(one)
    return outcome


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "idle_s"), [(24, 6.0), (6, 9.0)])
def test_given_a_random_trace_on_the_cloud_then_every_decision_is_the_simulators(
    seed: int, idle_s: float, tmp_path: Path
) -> None:
    clock = clocks.ManualClock()
    limit, provisioned = 9, 2
    rng = random.Random(seed)
    trace, t = [], 1.0
    for i in range(80):
        t += rng.expovariate(1.6 if i % 20 < 12 else 0.3)
        # on these seeds, taking the environment that was freed last instead of the newest one shows
        trace.append((round(t, 3), round(rng.lognormvariate(0.7, 1.0), 3)))
    with lambdas.lab(account=f"1000000002{seed:02d}", clock=clock, idle_s=idle_s) as it:
        it.throttled = {}
        it.settle_idle = lambda name: _settled(it, name, clock, idle_s)
        name = it.published(HOLD, Timeout=900)
        it.client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=limit)
        it.provision(name, provisioned)
        seen = _replayed(it, clock, name, trace, tmp_path, idle_s)
    design = CoreDesign(timeout=idle_s, limit=limit, provisioned=provisioned)
    expected = _predicted(design, trace)
    assert seen == expected
    assert set(expected) == {"cold", "warm", "provisioned", "throttled"}


def _settled(it: Any, name: str, clock: Any, idle_s: float) -> None:
    """Waits until the cloud has taken down what expired by its clock."""
    fleets = it.service.pools._states[name].fleets.values() if name in it.service.pools._states else ()

    def none_left() -> bool:
        now = clock.now_s()
        return not any(now - e.idle_since_s >= idle_s for fleet in fleets for e in list(fleet))

    lambdas.eventually(none_left)


WORK = """
import json, os, time
def handler(event, context):
    for record in event["Records"]:
        release = json.loads(record["body"])["release"]
        open(release + ".began", "w").close()
        while not os.path.exists(release):
            time.sleep(0.005)
        print("AGE", record["body"], int(record["attributes"]["ApproximateFirstReceiveTimestamp"])
              - int(record["attributes"]["SentTimestamp"]))
    return {"batchItemFailures": []}
"""


@pytest.mark.slow
def test_given_a_burst_before_limited_concurrency_when_replayed_then_queue_ages_agree(tmp_path: Path) -> None:
    rng = random.Random(7)
    services = [round(rng.uniform(0.2, 0.6), 2) for _ in range(24)]
    sent = [round(0.05 * i, 2) for i in range(len(services))]
    clock = clocks.ManualClock()
    with lambdas.lab(account="100000000210", clock=clock, idle_s=1e9) as it:
        name = it.function(WORK, Timeout=900)
        url, arn = it.queue(VisibilityTimeout="900")
        it.client.create_event_source_mapping(
            FunctionName=name, EventSourceArn=arn, BatchSize=1, ScalingConfig={"MaximumConcurrency": 2}
        )
        _work_off(it.cloud.boto("sqs"), url, clock, sent, services, tmp_path)
        lambdas.eventually(lambda: len(_ages(it, name)) == len(services))
        measured = sorted(a / 1000.0 for a in _ages(it, name))
    system = System(Design("d"), Queue(max_concurrency=2, visibility_s=900.0))
    workload = Workload(generators.poisson(1.0, 1.0), law.constant(1.0), law.constant(0.0))
    one = Replication(system, workload, "1", 0.0)
    one.run(iter(zip(sent, services, strict=True)), 60.0)
    simulated = sorted(one.ages)
    assert len(simulated) == len(services)
    # The cloud's timestamps are whole milliseconds.
    assert all(abs(m - s) <= 0.002 for m, s in zip(measured, simulated, strict=True)), (measured, simulated)
    assert simulated[-1] > 2.0


def _work_off(sqs: Any, url: str, clock: Any, sent: list[float], services: list[float], folder: Path) -> None:
    """Send messages and end their work at the moments of the clock that the lists say."""
    now, done = 0.0, 0
    arrivals, ends = list(enumerate(sent)), dict[int, float]()
    while arrivals or ends:
        first = min(ends, key=lambda i: ends[i]) if ends else None
        if arrivals and (first is None or arrivals[0][1] <= ends[first]):
            i, at_s = arrivals.pop(0)
            clock.advance(at_s - now)
            now = at_s
            sqs.send_message(QueueUrl=url, MessageBody=json.dumps({"release": str(folder / str(i))}))
        else:
            assert first is not None
            clock.advance(ends[first] - now)
            now = ends.pop(first)
            done += 1
            (folder / str(first)).touch()
        wanted = done + min(2, len(sent) - len(arrivals) - done)
        lambdas.eventually(lambda wanted=wanted: len(list(folder.glob("*.began"))) == wanted)
        for began in folder.glob("*.began"):
            i = int(began.stem)
            if i not in ends and not (folder / str(i)).exists():
                ends[i] = now + services[i]


def _ages(it: Any, name: str) -> list[int]:
    try:
        lines = it.log(name)
    except Exception:
        return []  # the log group comes with the first line
    return [int(line.split()[-1]) for line in lines if line.startswith("AGE")]
