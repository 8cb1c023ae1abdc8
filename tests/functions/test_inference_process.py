"""The inference container's process, started as its image says, with a registry over HTTP and real models and signals.

The registry is a small S3; ECS, its metadata and a GPU are not proved here.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from infra import bundles
from keepwarm_cli.accuracy import compare
from keepwarm_runtime.aws import S3
from keepwarm_runtime.models import manifest
from keepwarm_runtime.models.registry import Registry
from tests.support.fake_aws import FakeAws
from tests.support.handlers import DOCUMENTS
from tests.support.inference import Answered, wait_for
from tests.support.patience import PATIENCE_S

BUCKET = "models"


@dataclass
class Process:
    """The container's process and what it has said."""

    handle: "subprocess.Popen[str]"
    events: list[dict[str, Any]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def state(self, wanted: str) -> dict[str, Any] | None:
        return next((event for event in self.events if event.get("state") == wanted), None)

    @property
    def port(self) -> int:
        wait_for(lambda: self.state("listening") is not None or self.handle.poll() is not None)
        event = self.state("listening")
        assert event is not None, self.errors
        return int(event["port"])

    def metrics(self) -> set[str]:
        return set(self.ask("GET", "/metrics").body.decode().splitlines())

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answered:
        import http.client

        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
            response = connection.getresponse()
            data = response.read()
            return Answered(response.status, {k.lower(): v for k, v in response.getheaders()}, data)
        finally:
            connection.close()


@contextmanager
def process(env: dict[str, str]) -> Iterator[Process]:
    """Start what the image's configuration says, and nothing else of this environment."""
    image = bundles.build_image()
    config = json.loads((image.directory / "config.json").read_text())
    root = str(image.directory)
    entry = [sys.executable if word == "python" else word for word in config["Entrypoint"]]
    image_env = dict(item.replace("${ROOT}", root).split("=", 1) for item in config["Env"])
    handle = subprocess.Popen(
        entry,
        cwd=config["WorkingDir"].replace("${ROOT}", root),
        env={"PATH": os.environ["PATH"], "KEEPWARM_HOST": "127.0.0.1", "PORT": "0"} | image_env | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    running = Process(handle)
    assert handle.stdout is not None
    assert handle.stderr is not None
    out, err = handle.stdout, handle.stderr
    readers = [
        threading.Thread(target=lambda: running.events.extend(json.loads(line) for line in out)),
        threading.Thread(target=lambda: running.errors.extend(err)),
    ]
    for reader in readers:
        reader.start()
    try:
        yield running
    finally:
        handle.kill()
        handle.wait()
        for reader in readers:
            reader.join()
        out.close()
        err.close()


@pytest.fixture
def published(fake: FakeAws, s3: S3, tmp_path: Path) -> dict[str, str]:
    """The environment of a task whose registry holds the model."""
    model = bundles.build_models()["rapidocr"]
    Registry(s3, BUCKET).publish(str(model.directory), manifest.parse(model.manifest.encode()))
    return fake.env | {
        "KEEPWARM_MODEL_BUCKET": BUCKET,
        "KEEPWARM_MODEL_REF": f"rapidocr@sha256:{model.digest}",
        "KEEPWARM_CACHE_DIR": str(tmp_path / "cache"),
    }


@pytest.mark.slow
def test_given_published_model_when_started_then_alive_ready_reading_and_drained(
    published: dict[str, str], s3: S3
) -> None:
    scan = (DOCUMENTS / "library-letter.png").read_bytes()
    s3.put("intake", "in/letter.png", scan)
    reference = json.dumps({"s3": "s3://intake/in/letter.png", "version_id": None}).encode()
    with process(published) as running, ThreadPoolExecutor(3) as pool:
        assert running.ask("GET", "/healthz").status == 200
        wait_for(lambda: running.ask("GET", "/readyz").status == 200)
        ready = running.ask("GET", "/readyz").json
        answer = running.ask(
            "POST", "/v1/ocr", reference, content_type="application/json", idempotency_key="d-1"
        )
        last = [pool.submit(running.ask, "POST", "/v1/ocr", scan, content_type="image/png") for _ in range(2)]
        wait_for(lambda: {"keepwarm_running 1", "keepwarm_queue_depth 1"} <= running.metrics())
        running.handle.send_signal(signal.SIGTERM)
        statuses = [future.result(60).status for future in last]
        assert running.handle.wait(PATIENCE_S) == 0
    assert ready["model"]["digest"] in published["KEEPWARM_MODEL_REF"]
    assert ready["model"]["provider"] == "CPUExecutionProvider"
    phases = ready["model"]["phases"]
    assert {name for name, value in phases.items() if value is not None} >= {
        "fetch",
        "verify",
        "load",
        "warmup",
    }
    truth = (DOCUMENTS / "library-letter.png.truth.txt").read_text()
    assert compare(answer.json["text"], truth).accuracy >= 0.98
    assert statuses == [200, 200]
    results = [event for event in running.events if event["event"] == "keepwarm.result"]
    assert [event["outcome"] for event in results] == ["ok", "ok", "ok"]
    assert results[0]["key"] == "d-1"
    assert results[0]["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "Keepwarm"
    assert running.events[-1]["finished"] is True
    assert running.errors == []


@pytest.mark.slow
def test_given_tampered_model_when_started_then_it_ends_with_the_reason_and_never_ready(
    fake: FakeAws, published: dict[str, str]
) -> None:
    (key,) = [k for k in fake.objects if "blobs/" in k[1] and len(fake.objects[k][0]) > 9_000_000]
    body, headers = fake.objects[key]
    fake.objects[key] = (body[:-1] + bytes([body[-1] ^ 1]), headers)
    with process(published) as running:
        assert running.handle.wait(PATIENCE_S) == 1
    failed = running.state("failed")
    assert failed is not None
    assert failed["error"].startswith("KW404 ")
    assert running.state("ready") is None


def test_given_bad_setting_when_started_then_one_line_and_status_2() -> None:
    with process({"KEEPWARM_QUEUE_MAX": "lots"}) as running:
        assert running.handle.wait(PATIENCE_S) == 2
    assert running.errors == [
        "KW363 KEEPWARM_QUEUE_MAX: got 'lots'; allowed a whole number from 1 to 10,000; "
        "fix: correct the task definition\n"
    ]


def test_given_port_in_use_when_started_then_one_line_and_status_2() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with process({"KEEPWARM_PORT": str(port)}) as running:
            assert running.handle.wait(PATIENCE_S) == 2
    assert running.errors == [
        f"KW363 PORT: got {port} (Address already in use); allowed a free port; fix: stop what listens there\n"
    ]
