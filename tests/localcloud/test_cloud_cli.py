"""`python -m keepwarm_localcloud` as a process: ready line, ends, kill -9, daemon, and the plain `aws` command.

Proves: however it ends, no process and no file stays. Does not prove: behavior of services.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from keepwarm_localcloud.processes import alive
from tests.support.patience import PATIENCE_S, until

AWS = Path(sys.executable).with_name("aws")


class Running:
    """One cloud process in a temporary folder of its own."""

    def __init__(self, temporary: Path, *arguments: str, stdin: int = subprocess.PIPE) -> None:
        self.temporary = temporary
        self.process = subprocess.Popen(
            [sys.executable, "-m", "keepwarm_localcloud", *arguments],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(temporary)},
        )

    def ready(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        return dict(json.loads(self.process.stdout.readline()))

    def end(self) -> tuple[int, str]:
        _, errors = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, errors

    def children(self) -> list[int]:
        path = Path(f"/proc/{self.process.pid}/task")
        return [int(c) for t in path.iterdir() for c in (t / "children").read_text().split()]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def one(*arguments: str, **more: Any) -> Running:
        started.append(Running(tmp_path, *arguments, **more))
        return started[-1]

    yield one
    for running in started:
        if running.process.poll() is None:
            running.process.kill()
        running.process.communicate()


def gone(*pids: int) -> bool:
    return until(lambda: not any(alive(p) for p in pids), f"still there: {pids}")


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_given_a_running_cloud_when_signalled_then_it_ends_cleanly(
    start: Callable[..., Running], tmp_path: Path, number: signal.Signals
) -> None:
    running = start()
    assert running.ready()["pid"] == running.process.pid
    children = running.children()
    assert list(tmp_path.iterdir()) != []
    running.process.send_signal(number)
    assert running.end() == (0, "")
    assert list(tmp_path.iterdir()) == []
    assert gone(*children)


@pytest.mark.slow
def test_given_a_running_cloud_when_its_stdin_closes_then_it_ends(
    start: Callable[..., Running], tmp_path: Path
) -> None:
    running = start()
    running.ready()
    assert running.end() == (0, "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_given_a_starting_cloud_when_interrupted_at_once_then_no_traceback_and_no_files(
    start: Callable[..., Running], tmp_path: Path
) -> None:
    for delay_s in (0.1, 0.2, 0.3):
        running = start()
        time.sleep(delay_s)
        running.process.send_signal(signal.SIGINT)
        status, errors = running.end()
        # Before Python runs our code, SIGINT ends it with Python's own words; after that, cleanly.
        assert status in (0, -signal.SIGINT, 130, 1)
        assert "keepwarm_localcloud/cloud.py" not in errors
        assert list(tmp_path.iterdir()) == []


def test_given_a_cloud_killed_hard_when_it_had_children_then_they_and_its_files_go(
    start: Callable[..., Running], tmp_path: Path
) -> None:
    running = start()
    running.ready()
    children = running.children()
    assert children
    running.process.kill()
    running.end()
    assert gone(*children)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_given_guardian_and_cloud_killed_when_the_next_cloud_starts_then_it_cleans_up(
    start: Callable[..., Running], tmp_path: Path
) -> None:
    running = start()
    running.ready()
    for pid in running.children():
        os.kill(pid, signal.SIGKILL)
    running.process.kill()
    running.end()
    assert len(list(tmp_path.iterdir())) == 1
    following = start()
    following.ready()
    assert len(list(tmp_path.iterdir())) == 1
    assert following.end() == (0, "")
    assert list(tmp_path.iterdir()) == []


def test_given_a_port_in_use_when_started_then_one_coded_line_and_status_two(
    start: Callable[..., Running],
) -> None:
    port = start().ready()["endpoint"].rpartition(":")[2]
    status, errors = start("--port", port).end()
    assert status == 2
    assert errors.startswith(f"KW600 localcloud port: got {port}")
    assert errors.count("\n") == 1


def test_given_a_public_address_when_started_then_refused(start: Callable[..., Running]) -> None:
    status, errors = start("--host", "0.0.0.0").end()
    assert (status, errors.startswith("KW601")) == (2, True)


@pytest.mark.slow
def test_given_a_daemon_when_its_starter_ends_then_it_goes_on_until_sigterm(tmp_path: Path) -> None:
    file = tmp_path / "state" / "cloud.json"
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    starter = subprocess.run(
        [
            "sh",
            "-c",
            f"{sys.executable} -m keepwarm_localcloud --daemon-file {file} </dev/null >/dev/null 2>&1 &",
        ],
        env={**os.environ, "TMPDIR": str(temporary)},
        check=True,
        timeout=PATIENCE_S,
    )
    assert starter.returncode == 0
    until(file.exists)
    facts = json.loads(file.read_text())
    assert alive(facts["pid"])
    os.kill(facts["pid"], signal.SIGTERM)
    assert gone(facts["pid"])
    assert not file.exists()
    assert list(temporary.iterdir()) == []


@pytest.mark.slow
def test_given_the_plain_aws_command_when_copying_and_queueing_then_it_works(
    start: Callable[..., Running], tmp_path: Path
) -> None:
    endpoint = start().ready()["endpoint"]
    environment = {
        **os.environ,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "HOME": str(tmp_path),
    }

    def aws(*arguments: str) -> str:
        done = subprocess.run(
            [str(AWS), *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    folder = tmp_path / "files"
    folder.mkdir()
    source = folder / "big.bin"
    source.write_bytes(os.urandom(20_000_000))
    aws("s3", "mb", "s3://bucket")
    aws("s3", "cp", str(source), "s3://bucket/dir/big.bin")
    aws("s3", "cp", "s3://bucket/dir/big.bin", str(folder / "back.bin"))
    assert (folder / "back.bin").read_bytes() == source.read_bytes()
    aws("s3", "sync", "s3://bucket/dir", str(folder / "synced"))
    assert (folder / "synced" / "big.bin").stat().st_size == 20_000_000
    assert "big.bin" in aws("s3", "ls", "s3://bucket/dir/")
    aws("s3", "rb", "--force", "s3://bucket")
    url = json.loads(aws("sqs", "create-queue", "--queue-name", "q", "--endpoint-url", endpoint))["QueueUrl"]
    aws("sqs", "send-message", "--queue-url", url, "--message-body", "hello", "--endpoint-url", endpoint)
    received = json.loads(aws("sqs", "receive-message", "--queue-url", url, "--endpoint-url", endpoint))
    assert received["Messages"][0]["Body"] == "hello"
    shutil.rmtree(folder)
    for path in tmp_path.iterdir():
        if path.name.startswith(".aws"):
            shutil.rmtree(path)
