"""Cold starts and warm invocations of the embedded Lambda, against a bare `python -m awslambdaric` in the same run.

Run: `python benchmarks/bench_lambda.py [--rounds 30] [--json]`. Both sides answer the same function under the same
runtime client; rounds alternate so that noise of the machine hits both. Goal: a cold start at most 1.1 times the bare
one (must: 1.3), a warm invocation through the AWS endpoint under 5 ms at the median, boto3 included.
"""

import argparse
import io
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from keepwarm_localcloud.cloud import Cloud, CloudSettings
from keepwarm_localcloud.services.context import Service
from keepwarm_localcloud.services.lambda_ import LambdaService
from keepwarm_localcloud.services.sqs import SqsService

SOURCE = "def handler(event, context):\n    return event\n"
RUNTIME = f"python{sys.version_info.major}.{sys.version_info.minor}"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ],
}
EVENT = b'{"a": 1}'


def bare_start(task: Path) -> float:
    """Start `python -m awslambdaric` and answer one event with the least Runtime API there can be; gives ms."""
    listener = socket.create_server(("127.0.0.1", 0))
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    environment = {"PATH": os.defpath, "AWS_LAMBDA_RUNTIME_API": address, "LANG": "en_US.UTF-8"}
    head = (
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nLambda-Runtime-Aws-Request-Id: 1\r\n"
        "Lambda-Runtime-Deadline-Ms: 9999999999999\r\nLambda-Runtime-Invoked-Function-Arn: arn\r\n"
        f"Lambda-Runtime-Trace-Id: Root=1-2-3\r\nContent-Length: {len(EVENT)}\r\n\r\n"
    )
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "awslambdaric", "app.handler"], cwd=task, env=environment
    )
    connection, _ = listener.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.recv(65536)
    connection.sendall(head.encode() + EVENT)
    answer = b""
    while not answer.endswith(EVENT):
        answer += connection.recv(65536)
    took = (time.perf_counter() - started) * 1000
    process.kill()
    process.wait()
    connection.close()
    listener.close()
    return took


def archive() -> bytes:
    """Zip the function."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        opened.writestr("app.py", SOURCE)
    return buffer.getvalue()


def measure(rounds: int) -> dict[str, float]:
    """Measure everything; milliseconds."""
    bare, cold, boto_cold = list[float](), list[float](), list[float]()
    warm, direct, frozen = list[float](), list[float](), list[float]()
    services: list[Service] = [SqsService(), LambdaService()]
    with Cloud(CloudSettings(), services=services) as cloud, tempfile.TemporaryDirectory() as folder:
        task = Path(folder)
        (task / "app.py").write_text(SOURCE)
        role = cloud.boto("iam").create_role(RoleName="bench", AssumeRolePolicyDocument=json.dumps(TRUST))
        client = cloud.boto("lambda")
        service = cloud.service("lambda", LambdaService)

        def create(name: str) -> str:
            client.create_function(
                FunctionName=name, Runtime=RUNTIME, Handler="app.handler", Role=role["Role"]["Arn"],
                Code={"ZipFile": archive()},
            )  # fmt: skip
            return name

        names = [create(f"cold-{n}") for n in range(2 * rounds + 2)]
        bare_start(task)
        service.invoke(names.pop(), EVENT)
        client.invoke(FunctionName=names.pop(), Payload=EVENT)["Payload"].read()
        for _ in range(rounds):
            bare.append(bare_start(task))
            started = time.perf_counter()
            service.invoke(names.pop(), EVENT)
            cold.append((time.perf_counter() - started) * 1000)
            started = time.perf_counter()
            client.invoke(FunctionName=names.pop(), Payload=EVENT)["Payload"].read()
            boto_cold.append((time.perf_counter() - started) * 1000)
        name = create("warm")
        for samples, call in (
            (warm, lambda: client.invoke(FunctionName=name, Payload=EVENT)["Payload"].read()),
            (frozen, lambda: service.invoke(name, EVENT)),
        ):
            call()
            for _ in range(20 * rounds):
                started = time.perf_counter()
                call()
                samples.append((time.perf_counter() - started) * 1000)
        service._watcher.freeze = False
        for _ in range(20 * rounds):
            started = time.perf_counter()
            service.invoke(name, EVENT)
            direct.append((time.perf_counter() - started) * 1000)
    return {
        "bare_awslambdaric_start_ms": statistics.median(bare),
        "environment_cold_ms": statistics.median(cold),
        "cold_ratio": statistics.median(cold) / statistics.median(bare),
        "cold_through_boto3_ms": statistics.median(boto_cold),
        "warm_through_boto3_p50_ms": statistics.median(warm),
        "warm_through_boto3_p99_ms": statistics.quantiles(warm, n=100)[98],
        "warm_in_process_p50_ms": statistics.median(frozen),
        "warm_in_process_unfrozen_p50_ms": statistics.median(direct),
        "freeze_cost_ms": statistics.median(frozen) - statistics.median(direct),
    }


def main() -> int:
    """Measure, print, and fail when a must is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = measure(arguments.rounds)
    if arguments.json:
        print(json.dumps(found, indent=1))
    else:
        for name, value in found.items():
            print(f"{name:34} {value:8.3f}")
    return 0 if found["cold_ratio"] <= 1.3 and found["warm_through_boto3_p50_ms"] < 5 else 1


if __name__ == "__main__":
    sys.exit(main())
