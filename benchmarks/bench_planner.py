"""Speed of the planner, both sides in one run, agreement of the estimates asserted first.

Usage: python benchmarks/bench_planner.py [--json FILE] [--quick]

SimFaaS 0.2.2 runs in an environment of its own, made with uv in the user's cache folder. Ratios are of CPU time per
request; runs of both sides alternate, so that the machine's mood hits both. Each row is checked against its "must".
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

from keepwarm_planner import prices
from keepwarm_planner.model.design import Design, Downstream, Queue, System, Workload
from keepwarm_planner.model.engine import run
from keepwarm_planner.model.estimate import Estimate, mean_of, relative_half_width
from keepwarm_planner.model.plain import PlainScenario, simulate_plain
from keepwarm_planner.model.precise import simulate_to
from keepwarm_planner.model.system import simulate as simulate_system
from keepwarm_planner.traffic import generators, law

HERE = Path(__file__).parent
SIMFAAS = "simfaas==0.2.2"


@dataclass(frozen=True)
class Config:
    """One row of the table against SimFaaS."""

    name: str
    rate: float
    service: float
    horizon: float
    """Of a SimFaaS run, and of ours where the two are compared."""
    runs: int
    ours_horizon: float
    """Of the run whose speed counts: at least 3 million requests."""
    must: float
    goal: float


CONFIGS = (
    Config("A 0.9/s, 2 s, 600 s", 0.9, 2.0, 1e5, 8, 8e6, 100, 500),
    Config("C 100/s, 1 s, 600 s", 100.0, 1.0, 700.0, 4, 1e5, 500, 1300),
    Config("E 1000/s, 1 s, 600 s", 1000.0, 1.0, 16.0, 4, 1e4, 1000, 2000),
)


def cache() -> Path:
    """Where the environment of SimFaaS lies."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    return Path(base) / "keepwarm" / "simfaas-0.2.2"


def simfaas_python() -> Path:
    """Interpreter with SimFaaS, made on first use."""
    folder = cache()
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        uv = shutil.which("uv") or str(Path(sys.executable).parent / "uv")
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([uv, "venv", "-q", "--python", "3.11", str(folder)], check=True)
        subprocess.run(
            [uv, "pip", "install", "-q", "--python", str(python), SIMFAAS, "setuptools<81"], check=True
        )
        (folder / "ready").touch()
    return python


def simfaas_run(c: Config, runs: int, seed: int) -> list[dict[str, float]]:
    """Runs of SimFaaS on a configuration."""
    done = subprocess.run(
        [
            str(simfaas_python()),
            str(HERE / "simfaas_side.py"),
            *(str(x) for x in (c.rate, c.service, 600.0, c.horizon, runs, seed)),
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def overlap(a: Estimate, b: Estimate) -> bool:
    """Whether two estimates differ by no more than their combined 95 % interval."""
    half = (((a.high - a.low) / 2) ** 2 + ((b.high - b.low) / 2) ** 2) ** 0.5
    return bool(abs(a.mean - b.mean) <= half)


def against_simfaas(c: Config, quick: bool) -> dict[str, object]:
    """One row: agreement, then the ratio of requests per CPU second."""
    runs = 3 if quick else c.runs
    theirs: list[dict[str, float]] = []
    ours_rates: list[float] = []
    scenario = PlainScenario(c.rate, c.service, 600.0, horizon_s=c.ours_horizon, replications=1)
    for i in range(runs):
        theirs += simfaas_run(c, 1, 100 + i)
        report = simulate_plain(replace(scenario, seed=i), workers=1, kernel="c")
        ours_rates.append(report.figures.requests / report.cpu_s)
    same = simulate_plain(
        PlainScenario(c.rate, c.service, 600.0, horizon_s=c.horizon, replications=200, seed=1), kernel="c"
    ).figures
    agreement = {}
    for name, ours in (("cold", same.cold_fraction), ("instances", same.instances), ("busy", same.busy)):
        peer = mean_of([r[name] for r in theirs])
        agreement[name] = {
            "simfaas": peer.as_dict(),
            "ours": ours.as_dict(),
            "overlap": overlap(peer, ours),
            "ours_inside": peer.low <= ours.mean <= peer.high,
        }
        assert overlap(peer, ours), (c.name, name, peer, ours)
    their_rate = statistics.median(r["requests"] / r["cpu_s"] for r in theirs)
    our_rate = statistics.median(ours_rates)
    return {
        "row": c.name,
        "agreement": agreement,
        "simfaas_per_s": their_rate,
        "ours_per_s": our_rate,
        "ratio": our_rate / their_rate,
        "must": c.must,
        "goal": c.goal,
        "ok": our_rate / their_rate >= c.must,
        "theirs": theirs,
    }


def narrower(a: Config, theirs: list[dict[str, float]]) -> dict[str, object]:
    """Width of the cold fraction's interval for the same CPU time."""
    budget = sum(r["cpu_s"] for r in theirs)
    peer = mean_of([r["cold"] for r in theirs])
    probe = simulate_plain(
        PlainScenario(a.rate, a.service, 600.0, horizon_s=a.horizon, replications=200), kernel="c", workers=1
    )
    replications = max(int(200 * budget / probe.cpu_s), 2)
    ours = simulate_plain(
        PlainScenario(a.rate, a.service, 600.0, horizon_s=a.horizon, replications=replications),
        kernel="c",
        workers=1,
    )
    estimate = ours.figures.cold_fraction
    ratio = (peer.high - peer.low) / (estimate.high - estimate.low)
    return {
        "row": "interval of the cold fraction on A, same CPU time",
        "simfaas": peer.as_dict(),
        "ours": estimate.as_dict(),
        "simfaas_cpu_s": budget,
        "ours_cpu_s": ours.cpu_s,
        "ratio": ratio,
        "must": 10,
        "goal": 10,
        "ok": ratio >= 10 and peer.low <= estimate.mean <= peer.high,
    }


def python_fallback(their_rate: float) -> dict[str, object]:
    """The pure-Python kernel on A."""
    rates = []
    for i in range(3):
        report = simulate_plain(
            PlainScenario(0.9, 2.0, 600.0, horizon_s=5e5, replications=1, seed=i), kernel="python"
        )
        rates.append(report.figures.requests / report.cpu_s)
    ratio = statistics.median(rates) / their_rate
    return {
        "row": "pure Python on A",
        "ours_per_s": statistics.median(rates),
        "ratio": ratio,
        "must": 8,
        "goal": 10,
        "ok": ratio >= 8,
    }


def day_at_a_thousand() -> dict[str, object]:
    """86 million requests; the cold probability of such a day to 1 %, checked against plain simulation."""
    scenario = PlainScenario(1000.0, 1.0, 600.0, horizon_s=86_400.0)
    report = simulate_to(scenario, 0.01)
    estimate = report.figures.cold_fraction
    plain = simulate_plain(replace(scenario, replications=4)).figures.cold_fraction
    assert overlap(plain, estimate), (plain, estimate)
    return {
        "row": "a day at 1,000/s, cold probability within 1 %",
        "wall_s": report.wall_s,
        "cpu_s": report.cpu_s,
        "kernel": report.kernel,
        "cold": estimate.as_dict(),
        "plain_cold": plain.as_dict(),
        "relative": relative_half_width(estimate),
        "must": 60,
        "goal": 15,
        "ok": report.wall_s <= 60 and relative_half_width(estimate) <= 0.01,
    }


def day_request_by_request() -> dict[str, object]:
    """The same day with every request simulated, once, on one core."""
    report = simulate_plain(PlainScenario(1000.0, 1.0, 600.0, horizon_s=86_400.0, replications=1), workers=1)
    return {
        "row": "a day at 1,000/s, every request simulated once",
        "wall_s": report.wall_s,
        "cpu_s": report.cpu_s,
        "requests": report.figures.requests,
        "must": 60,
        "goal": 15,
        "ok": report.wall_s <= 60,
    }


def sizing_search() -> dict[str, object]:
    """One day, a million requests, 200 designs."""
    workload = Workload(
        generators.diurnal(11.6, 0.6, 86_400.0),
        law.lognormal(1.0, 0.5),
        law.lognormal_quantiles(1.5, 4.0),
        3.0,
    )
    designs = [Design(f"{i}", environments=i) for i in range(200)]
    result = run(designs, workload, prices.load(), replications=1)
    return {
        "row": "200 designs on a day of a million requests",
        "wall_s": result.wall_s,
        "cpu_s": result.cpu_s,
        "requests": result.requests,
        "kernel": result.kernel,
        "must": 120,
        "goal": 60,
        "ok": result.wall_s <= 120,
    }


def cold_process(
    arguments: list[str], must: float, goal: float, name: str, environment: dict[str, str]
) -> dict[str, object]:
    """Wall time of a fresh process, median of five."""
    walls = []
    for _ in range(5):
        wall = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "keepwarm_cli.plan", *arguments],
            check=True,
            capture_output=True,
            env={**os.environ, **environment},
        )
        walls.append(time.perf_counter() - wall)
    median = statistics.median(walls)
    return {"row": name, "wall_s": median, "must": must, "goal": goal, "ok": median <= must}


def full_model() -> dict[str, object]:
    """Requests per second of the model with queue, retries and downstream: its own figure, no bound."""
    workload = Workload(
        generators.spike(1.0, 20.0, 3600.0, 600.0, 7200.0),
        law.lognormal(0.3, 0.5),
        law.lognormal_quantiles(1.5, 4.0),
        300.0,
    )
    system = System(
        Design("full", environments=2, max_concurrency=60),
        Queue(max_concurrency=50),
        Downstream(law.exponential(0.5), min_tasks=1, max_tasks=6),
    )
    outcome = simulate_system(system, workload, prices.load(), replications=3)
    return {
        "row": "full model (queue, retries, downstream)",
        "ours_per_s": outcome.requests / outcome.cpu_s,
        "ok": True,
    }


def main() -> int:
    """Prints the table; exit status 1 when a row misses its must."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="fewer runs of SimFaaS")
    options = parser.parse_args()
    simulate_plain(PlainScenario(1.0, 1.0, 1.0, horizon_s=10.0), kernel="c")
    rows: list[dict[str, object]] = []

    def add(row: dict[str, object]) -> None:
        theirs = row.pop("theirs", None)
        rows.append(row)
        figure = row.get("ratio", row.get("wall_s", row.get("ours_per_s")))
        unit = "x" if "ratio" in row else "s" if "wall_s" in row else "/s"
        bounds = f"must {row['must']:g}, goal {row['goal']:g}" if "must" in row else "no bound"
        print(
            f"{'ok  ' if row['ok'] else 'MISS'} {row['row']:<52} {figure:>12,.2f}{unit:<2} ({bounds})",
            flush=True,
        )
        if theirs is not None:
            kept.append(theirs)

    kept: list[object] = []
    for c in CONFIGS:
        add(against_simfaas(c, options.quick))
    add(narrower(CONFIGS[0], kept[0]))  # type: ignore[arg-type]
    add(python_fallback(float(rows[0]["simfaas_per_s"])))  # type: ignore[arg-type]
    add(day_at_a_thousand())
    add(day_request_by_request())
    add(sizing_search())
    add(cold_process(["--help"], 0.5, 0.3, "keepwarm plan --help, fresh process", {}))
    first = [
        "simulate",
        "--rate",
        "10",
        "--service-mean-s",
        "1",
        "--horizon-s",
        "1000",
        "--replications",
        "10",
        "--json",
    ]
    add(cold_process(first, 3.0, 1.0, "100,000 requests from a fresh process", {}))
    add(
        cold_process(
            first, 3.0, 1.0, "100,000 requests, fresh process, no compiler", {"KEEPWARM_KERNEL": "python"}
        )
    )
    add(full_model())
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))
    return 0 if all(row["ok"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
