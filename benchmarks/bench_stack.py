"""The whole stack on the embedded cloud: first served request, second deploy, no-op, documents per second, memory.

Baseline of the same run: the imports alone that the job can't do without (pulumi, the AWS modules, moto), one after the
other in one process. A ratio below 1 means that deploying and serving came in under what importing in sequence costs.

    python benchmarks/bench_stack.py [--runs N] [--json]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

# pulumi_aws loads a service when a class of it is touched, so the baseline touches what the stack uses.
IMPORTS = """
import pulumi, boto3, moto.server
from pulumi_aws import appautoscaling, cloudwatch, dynamodb, ec2, ecs, iam, lambda_, s3, servicediscovery, sfn, sns, sqs
appautoscaling.Target, cloudwatch.MetricAlarm, dynamodb.Table, ec2.SecurityGroup, ecs.Service, iam.Role
lambda_.Function, s3.Bucket, servicediscovery.Service, sfn.StateMachine, sns.Topic, sqs.Queue
from moto.cloudwatch import models
from moto.dynamodb import models
from moto.ec2 import models
from moto.iam import models
from moto.logs import models
"""


def seconds(argv: list[str]) -> float:
    """Wall time of one command that must succeed."""
    began = time.perf_counter()
    subprocess.run(argv, check=True, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


def resident_bytes(root: int) -> int:
    """Proportional resident memory of a process and everything below it."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            children.setdefault(int(stat.read_text().rpartition(")")[2].split()[1]), []).append(
                int(stat.parent.name)
            )
        except OSError:
            continue
    total, queue = 0, [root]
    while queue:
        pid = queue.pop()
        queue += children.get(pid, [])
        try:
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
        except OSError:
            continue
    return total


def run_job(documents: Path, out: Path) -> tuple[dict[str, Any], float, int]:
    """Run the main job; its report, wall seconds, and the peak of resident memory over all its processes."""
    peak = 0
    began = time.perf_counter()
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "keepwarm_cli",
            "local",
            "run",
            "--documents",
            str(documents),
            "--out",
            str(out),
        ],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
    )
    ended = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not ended.wait(0.25):
            peak = max(peak, resident_bytes(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    code = process.wait()
    ended.set()
    watcher.join()
    if code:
        raise SystemExit(f"the main job ended with {code}; see {out}")
    return json.loads((out / "report.json").read_text()), time.perf_counter() - began, peak


def deploy_again() -> dict[str, float]:
    """Deploy, deploy the same (no-op), destroy and deploy a second time in one process."""
    from rich.console import Console

    from keepwarm_cli.deployed_stack import Stack, Times
    from keepwarm_cli.interrupts import Interrupts

    os.chdir(ROOT)
    figures = {}
    with Interrupts() as interrupts, ExitStack() as ending:
        stack = Stack("local", 0, Console(quiet=True), Times(), interrupts, ending)
        for name in ("first_deploy_s", "no_op_s"):
            began = time.perf_counter()
            stack.deploy()
            figures[name] = time.perf_counter() - began
        stack.deployment.destroy()
        began = time.perf_counter()
        stack.deploy()
        figures["second_deploy_s"] = time.perf_counter() - began
        left = stack.tear_down()
        if left:
            raise SystemExit(f"left behind: {left}")
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    from infra import bundles

    bundles.build_all()
    baseline, first, wall, peaks, rates = [], [], [], [], []
    for _ in range(options.runs):
        baseline.append(seconds([sys.executable, "-c", IMPORTS]))
        with tempfile.TemporaryDirectory() as folder:
            report, took, peak = run_job(ROOT / "examples" / "documents", Path(folder))
        first.append(report["summary"]["first_invoke_s"])
        rates.append(report["summary"]["documents_per_s"])
        wall.append(took)
        peaks.append(peak)
    figures: dict[str, Any] = {
        "imports_alone_s": statistics.median(baseline),
        "start_to_first_invoke_s": statistics.median(first),
        "ratio_first_invoke_to_imports": statistics.median(first) / statistics.median(baseline),
        "whole_job_s": statistics.median(wall),
        "documents_per_s": statistics.median(rates),
        "peak_memory_mib": statistics.median(peaks) / 2**20,
        "times_s": report["times_s"],
        **deploy_again(),
    }
    if options.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:32} {value if isinstance(value, dict) else f'{value:.3f}'}")


if __name__ == "__main__":
    main()
