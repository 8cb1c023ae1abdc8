"""Many cold starts at once, a storage service that struggles, and ten thousand invocations in one environment.

Proves: 200 processes that share a host fetch every chunk once (F10); 30 % and 10 % of refused requests are survived within
the request budget (F9); nothing grows with the number of invocations (F36). Does not prove: the same over many hosts.
"""

# Error texts are asserted whole and on one line.
# ruff: noqa: E501

import hashlib
import os
import random
import resource
import sys
import threading
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from keepwarm_runtime.aws import S3, Aws
from keepwarm_runtime.deadline import Deadline
from keepwarm_runtime.effects import Contract, Effects
from keepwarm_runtime.invocation import Invocation, handler
from keepwarm_runtime.ledger import MemoryStore
from keepwarm_runtime.models import manifest as m
from keepwarm_runtime.models.cache import ModelCache
from keepwarm_runtime.models.registry import Registry
from keepwarm_runtime.phases import Lifecycle, Recorder
from tests.support.fake_aws import FakeAws, Fault, Seen

CHUNK = 16_384

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
"""Forking beside the threads of the fake server is what these tests do; Python 3.12 warns."""


def publish(tmp_path: Path, s3: S3, chunks: int) -> m.Manifest:
    source = tmp_path / "source"
    source.mkdir()
    (source / "model.onnx").write_bytes(b"\x08" + random.Random(1).randbytes(chunks * CHUNK - 1))
    built = m.build(source, name="demo", version="1.0", chunk_size=CHUNK)
    Registry(s3, "models").publish(source, built)
    return built


def ranges(fake: FakeAws) -> Counter[tuple[str, str]]:
    return Counter({key: count for key, count in fake.gets().items() if key[1]})


@pytest.mark.slow
def test_given_200_cold_starts_on_one_host_when_they_share_its_cache_then_every_chunk_is_fetched_once(
    tmp_path: Path, fake: FakeAws, s3: S3
) -> None:
    built = publish(tmp_path, s3, 24)
    go_read, go_write = os.pipe()
    children = []
    for _ in range(200):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.close(go_write)
                os.read(go_read, 1)
                registry = Registry(S3(Aws(env=fake.env)), "models")
                cache = ModelCache(str(tmp_path / "cache"), registry, recorder=Recorder(), streams=4)
                model = cache.open(built.ref, deadline=Deadline.after(120))
                data = model.file("model.onnx").read_bytes()
                code = 0 if hashlib.sha256(data).hexdigest() == built.files[0].sha256 else 2
            finally:
                os._exit(code)
        children.append(pid)
    os.close(go_read)
    os.close(go_write)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    assert Counter(codes) == {0: 200}
    assert len(ranges(fake)) == 24
    assert set(ranges(fake).values()) == {1}, "amplification above 1.00"


@pytest.mark.parametrize(("share", "most"), [(0.1, 1.25), (0.3, 2.0)])
def test_given_a_share_of_refused_requests_when_fetching_then_ready_and_within_the_request_budget(
    tmp_path: Path, fake: FakeAws, s3: S3, share: float, most: float
) -> None:
    built = publish(tmp_path, s3, 60)
    rng = random.Random(3)
    fake.fault = lambda seen: Fault(status=503) if "range" in seen.headers and rng.random() < share else None
    client = Aws(env=fake.env, sleep=lambda _s: None)
    cache = ModelCache(
        str(tmp_path / "cache"), Registry(S3(client), "models"), recorder=Recorder(), draw=lambda: 0.0
    )
    try:
        model = cache.open(built.ref, deadline=Deadline.after(30))
    finally:
        client.forget()
    assert hashlib.sha256(model.file("model.onnx").read_bytes()).hexdigest() == built.files[0].sha256
    assert sum(ranges(fake).values()) / 60 <= most


def test_given_a_burst_of_refusals_when_it_ends_within_the_deadline_then_ready(
    tmp_path: Path, fake: FakeAws, s3: S3
) -> None:
    built = publish(tmp_path, s3, 4)
    refused = [6]

    def burst(seen: Seen) -> Fault | None:
        if "range" in seen.headers and refused[0] > 0:
            refused[0] -= 1
            return Fault(status=503)
        return None

    fake.fault = burst
    cache = ModelCache(str(tmp_path / "cache"), Registry(s3, "models"), recorder=Recorder(), draw=lambda: 0.0)
    assert cache.open(built.ref, deadline=Deadline.after(30)).cache == "fetched"


def test_given_ten_thousand_invocations_when_counted_then_no_descriptor_thread_or_memory_grows(
    tmp_path: Path, fake: FakeAws, s3: S3
) -> None:
    built = publish(tmp_path, s3, 2)
    cache = ModelCache(str(tmp_path / "cache"), Registry(s3, "models"), recorder=Recorder())
    cache.open(built.ref).release()
    effects = Effects(MemoryStore())
    life = Lifecycle(imported_s=0.0, age_at_import_s=None, pool="on-demand")

    @handler("soak", lifecycle=life)
    def handle(event: int, call: Invocation) -> int:
        if event % 10 == 0:
            model = cache.open(built.ref)
            call.used(model)
            model.release()
        if event % 7 == 0:
            call.key = "k"
            effects.effect("k", contract=Contract.KEYED, payload=1, run=lambda _a: 1, deadline=call.deadline)
        return event

    def run(count: int) -> tuple[int, int, int]:
        out, sys.stdout = sys.stdout, Path(os.devnull).open("w")  # noqa: SIM115
        try:
            for number in range(count):
                handle(number, SimpleNamespace(aws_request_id="r", get_remaining_time_in_millis=lambda: 9000))
        finally:
            sys.stdout.close()
            sys.stdout = out
        descriptors = len(list(Path("/proc/self/fd").iterdir()))
        return descriptors, threading.active_count(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    before = run(1_000)
    after = run(10_000)
    assert after[:2] == before[:2]
    assert after[2] - before[2] < 2_048, "KiB more after ten thousand invocations"
    assert list(Path(cache.directory, "parts").iterdir()) == []
