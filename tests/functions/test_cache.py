"""The verified model cache against a registry that misbehaves and processes that die.

Proves: nothing unverified is ever visible (corrupt, truncated, killed at every boundary and at random bytes, full disk,
replaced files); one download per host with takeover; what is pinned stays; a re-open costs under a millisecond.
Does not prove: behavior on file systems without flock or SEEK_DATA, nor protection from root.
"""

# Error texts are asserted whole and on one line.
# ruff: noqa: E501

import fcntl
import hashlib
import os
import random
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from keepwarm_runtime import fault
from keepwarm_runtime.aws import S3, Aws
from keepwarm_runtime.deadline import Deadline
from keepwarm_runtime.errors import (
    CacheUnusable,
    DeadlineExceeded,
    DigestMismatch,
    ModelFault,
    ModelUnavailable,
    NoSpace,
    RolledBack,
    UnsafeFormat,
    UnsafePath,
)
from keepwarm_runtime.models import manifest as m
from keepwarm_runtime.models.cache import CachedModel, ModelCache
from keepwarm_runtime.models.registry import Registry
from keepwarm_runtime.phases import Recorder
from tests.support.fake_aws import FakeAws, Fault, Seen
from tests.support.patience import PATIENCE_S, until

BUCKET = "models"
CHUNK = 16_384
SIZE = 10 * CHUNK + 100
ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
"""Forking beside the threads of the fake server is what these tests do; Python 3.12 warns."""


def weights(seed: int, size: int = SIZE) -> bytes:
    return b"\x08" + random.Random(seed).randbytes(size - 1)


@pytest.fixture
def registry(s3: S3) -> Registry:
    return Registry(s3, BUCKET)


@pytest.fixture
def cache(tmp_path: Path, registry: Registry) -> ModelCache:
    return ModelCache(str(tmp_path / "cache"), registry, recorder=Recorder(), draw=lambda: 0.0)


def publish(tmp_path: Path, registry: Registry, files: dict[str, bytes], version: str = "1.0") -> m.Manifest:
    directory = tmp_path / f"source-{version}"
    for name, data in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    built = m.build(directory, name="demo", version=version, chunk_size=CHUNK)
    registry.publish(directory, built)
    return built


@pytest.fixture
def model(tmp_path: Path, registry: Registry) -> m.Manifest:
    return publish(tmp_path, registry, {"model.onnx": weights(1)})


def blob_gets(fake: FakeAws, manifest: m.Manifest) -> int:
    return fake.count("GET", f"/{BUCKET}/{m.blob_key(manifest.files[0].sha256)}")


def assert_clean(cache: ModelCache) -> None:
    """No part, and every visible blob is what its name says."""
    directory = Path(cache.directory)
    assert list((directory / "parts").iterdir()) == []
    for blob in (directory / "blobs").iterdir():
        assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name


# -- the good path


def test_given_an_empty_cache_when_opening_then_fetched_verified_and_read_only(
    cache: ModelCache, model: m.Manifest, fake: FakeAws
) -> None:
    opened = cache.open(model.ref)
    path = opened.file("model.onnx")

    assert path.read_bytes() == weights(1)
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    assert stat.S_IMODE(os.stat(cache.directory).st_mode) == 0o700  # noqa: PTH116
    assert opened.as_event() == {"name": "demo", "version": "1.0", "digest": model.digest, "cache": "fetched"}
    assert blob_gets(fake, model) == 11
    assert max(fake.gets().values()) == 1
    assert_clean(cache)


def test_given_a_verified_model_when_opening_again_then_no_request_and_no_file_is_hashed(
    cache: ModelCache, model: m.Manifest, fake: FakeAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.open(model.ref).release()
    fake.requests.clear()
    hashed: list[int] = []
    sha256 = hashlib.sha256
    monkeypatch.setattr(hashlib, "sha256", lambda data=b"": hashed.append(len(data)) or sha256(data))
    again = cache.open(model.ref)
    assert again.cache == "hit"
    again.release()
    assert fake.requests == []
    assert sum(hashed) < SIZE, "the manifest alone"


def test_given_a_fetched_blob_when_it_becomes_visible_then_it_was_synced_before_and_its_directory_after(
    cache: ModelCache, model: m.Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    real = os.fsync

    def sync(descriptor: int) -> None:
        order.append("directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(
        fault, "hook", lambda name: order.append(name) if "rename" in name or "link" in name else None
    )
    cache.open(model.ref)
    assert order[:5] == ["file", "cache.rename", "directory", "cache.renamed", "cache.link"]


def test_given_files_in_folders_and_a_shared_blob_when_opening_then_one_blob_serves_both(
    tmp_path: Path, cache: ModelCache, registry: Registry, fake: FakeAws
) -> None:
    first = publish(tmp_path, registry, {"a/x.onnx": weights(1), "b.txt": b"one"})
    second = publish(tmp_path, registry, {"c.onnx": weights(1), "empty.txt": b""}, "2.0")
    cache.open(first.ref)
    fetched = cache.bytes_fetched
    opened = cache.open(second.ref)

    assert cache.bytes_fetched == fetched
    assert opened.file("c.onnx").read_bytes() == weights(1)
    assert opened.file("empty.txt").read_bytes() == b""
    assert cache.open(first.ref).file("a/x.onnx").read_bytes() == weights(1)


def test_given_a_path_outside_the_manifest_when_asking_then_refused(
    cache: ModelCache, model: m.Manifest
) -> None:
    opened = cache.open(model.ref)
    with pytest.raises(UnsafePath, match=r"^KW402 model demo 1.0: got the path '../x'; allowed model.onnx; "):
        opened.file("../x")


def test_given_phases_when_opening_then_fetch_and_verify_are_measured(
    cache: ModelCache, model: m.Manifest
) -> None:
    recorder = Recorder()
    cache._recorder = recorder
    cache.open(model.ref)
    assert set(recorder.times_s) == {"fetch", "verify"}
    assert all(seconds > 0 for seconds in recorder.times_s.values())


# -- channels


def test_given_a_channel_when_it_moves_then_the_next_open_follows_and_never_below_a_seen_floor(
    tmp_path: Path, cache: ModelCache, registry: Registry, fake: FakeAws
) -> None:
    publish(tmp_path, registry, {"a.onnx": weights(1)}, "1.0")
    publish(tmp_path, registry, {"a.onnx": weights(2)}, "2.0")
    registry.promote("demo", "1.0", "stable")
    old_pointer = fake.objects[BUCKET, m.channel_key("demo", "stable")]
    assert cache.open("demo:stable").manifest.version == "1.0"
    registry.promote("demo", "2.0", "stable", floor="2.0")
    assert cache.open("demo:stable").manifest.version == "2.0"
    # Somebody restores yesterday's pointer, which had no floor.
    fake.objects[BUCKET, m.channel_key("demo", "stable")] = old_pointer
    with pytest.raises(RolledBack) as caught:
        cache.open("demo:stable")
    assert str(caught.value) == (
        "KW406 channel demo:stable: got version 1.0; allowed 2.0 or later; because this host has already run a channel with "
        "that floor; fix: promote a newer version, or lower the floor by a reviewed `keepwarm model rollback --floor`"
    )


# -- F3, F4: the network lies


@pytest.mark.parametrize("cut", [0, 1, 1000, CHUNK - 1])
def test_given_a_truncated_chunk_when_fetching_then_only_that_chunk_again(
    cache: ModelCache, model: m.Manifest, fake: FakeAws, cut: int
) -> None:
    cuts = [Fault(cut_at=cut)]
    fake.fault = lambda seen: (
        cuts.pop() if cuts and "blobs" in seen.path and "range" in seen.headers else None
    )
    assert cache.open(model.ref).file("model.onnx").read_bytes() == weights(1)
    assert blob_gets(fake, model) == 12


def test_given_one_flipped_bit_when_fetching_then_the_chunk_is_fetched_once_more(
    cache: ModelCache, model: m.Manifest, fake: FakeAws
) -> None:
    flips = [Fault(flip_at=77)]
    fake.fault = lambda seen: flips.pop() if flips and "range" in seen.headers else None
    assert cache.open(model.ref).file("model.onnx").read_bytes() == weights(1)
    assert blob_gets(fake, model) == 12


def test_given_a_chunk_that_stays_wrong_when_fetching_then_refused_with_both_digests_and_nothing_visible(
    cache: ModelCache, model: m.Manifest, fake: FakeAws
) -> None:
    bad = f"bytes={3 * CHUNK}-{4 * CHUNK - 1}"
    fake.fault = lambda seen: Fault(flip_at=0) if seen.headers.get("range") == bad else None
    with pytest.raises(DigestMismatch) as caught:
        cache.open(model.ref)

    flipped = bytearray(weights(1)[3 * CHUNK : 4 * CHUNK])
    flipped[0] ^= 1
    sha = model.files[0].sha256
    assert str(caught.value) == (
        f"KW404 model file model.onnx chunk 3 of s3://models/blobs/sha256/{sha} VersionId v1: got sha256 "
        f"{hashlib.sha256(flipped).hexdigest()} twice; allowed sha256 {model.files[0].chunks[3]}; because the bytes changed "
        "after the manifest was made; fix: don't load them; find out who wrote the object, then publish again"
    )
    assert fake.gets()[f"/{BUCKET}/{m.blob_key(sha)}", bad] == 2
    assert list(Path(cache.directory, "blobs").iterdir()) == []
    assert not Path(cache.directory, "models", model.digest, "model.onnx").exists()
    fake.fault = lambda _seen: None
    assert cache.open(model.ref).file("model.onnx").read_bytes() == weights(1)


def test_given_a_slow_down_when_fetching_then_repeated(
    cache: ModelCache, model: m.Manifest, fake: FakeAws
) -> None:
    slow = [Fault(status=503)] * 3
    fake.fault = lambda seen: slow.pop() if slow and "range" in seen.headers else None
    assert cache.open(model.ref).cache == "fetched"


def test_given_a_server_that_ignores_ranges_when_fetching_then_refused(
    cache: ModelCache, model: m.Manifest, fake: FakeAws
) -> None:
    fake.fault = lambda seen: Fault(status=200, body=b"everything") if "range" in seen.headers else None
    with pytest.raises(ModelUnavailable, match=r"^KW409 model object s3://models/blobs/.*: got WrongRange"):
        cache.open(model.ref)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (Fault(status=404, body=b"<Error><Code>NoSuchKey</Code></Error>"), "got NoSuchKey (HTTP 404); fix: publish the model"),
        (Fault(status=403, body=b"<Error><Code>AccessDenied</Code></Error>"),
         "got AccessDenied (HTTP 403); because the role may not s3:GetObject it"),
        (Fault(status=403, body=b"<Error><Code>AccessDenied</Code><Message>User is not authorized to perform: kms:Decrypt</Message>"
               b"</Error>"), "got AccessDenied (HTTP 403) from KMS; because the role may read the object but not decrypt it"),
        (Fault(status=301, body=b"<Error><Code>PermanentRedirect</Code></Error>"),
         "got PermanentRedirect (HTTP 301); because the bucket is in another region"),
        (Fault(status=404, body=b"<Error><Code>NoSuchBucket</Code></Error>"),
         "got NoSuchBucket (HTTP 404); fix: check KEEPWARM_MODEL_BUCKET"),
    ],
)  # fmt: skip
def test_given_a_registry_that_refuses_when_opening_then_the_text_says_whose_fault(
    cache: ModelCache, model: m.Manifest, fake: FakeAws, error: Fault, text: str
) -> None:
    fake.fault = lambda _seen: error
    with pytest.raises(ModelUnavailable) as caught:
        cache.open(model.ref)
    assert str(caught.value).startswith(f"KW409 model object s3://models/{m.blob_key(model.digest)}: {text}")


def test_given_a_pickle_in_the_registry_when_opening_then_never_visible(
    cache: ModelCache, fake: FakeAws, s3: S3, tmp_path: Path
) -> None:
    import pickle

    data = pickle.dumps({"a": 1})
    file = m.ManifestFile(
        "w.bin", len(data), hashlib.sha256(data).hexdigest(), CHUNK, (hashlib.sha256(data).hexdigest(),)
    )
    evil = m.Manifest("demo", "1", (file,), "onnx", "2026-01-01T00:00:00Z")
    s3.put(BUCKET, m.blob_key(file.sha256), data)
    with pytest.raises(UnsafeFormat, match=r"^KW407 model file w.bin: got a pickle \(protocol 4\)"):
        cache.open_manifest(evil)
    assert_clean(cache)
    assert list(Path(cache.directory, "blobs").iterdir()) == []


# -- F4, F6: at rest


def tamper(path: Path, change: str) -> None:
    path.chmod(0o644)
    if change == "flip":
        with path.open("r+b") as handle:
            handle.seek(5)
            byte = handle.read(1)
            handle.seek(5)
            handle.write(bytes([byte[0] ^ 1]))
    elif change == "truncate":
        os.truncate(path, 100)
    elif change == "replace":
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data)
    elif change == "hide":
        before = path.stat()
        with path.open("r+b") as handle:
            handle.write(b"evil")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    else:
        path.unlink()


@pytest.mark.parametrize("change", ["flip", "truncate", "replace", "hide", "remove"])
def test_given_a_file_changed_at_rest_when_using_it_then_found_and_healed(
    cache: ModelCache, model: m.Manifest, change: str
) -> None:
    opened = cache.open(model.ref)
    path = opened.file("model.onnx")
    tamper(path, change)

    with pytest.raises(
        DigestMismatch,
        match=r"^KW404 model file demo/model.onnx: got a file that changed after it was verified",
    ):
        opened.file("model.onnx")
    with pytest.raises((DigestMismatch, FileNotFoundError)):
        opened.open("model.onnx").close()
    healed = cache.open(model.ref)
    assert healed.cache == "fetched"
    assert healed.file("model.onnx").read_bytes() == weights(1)
    if change in ("flip", "truncate", "hide"):
        assert (Path(cache.directory) / "quarantine" / model.files[0].sha256).exists()


def test_given_every_bit_of_a_small_file_when_flipped_then_found(
    tmp_path: Path, cache: ModelCache, registry: Registry
) -> None:
    small = publish(tmp_path, registry, {"a.onnx": weights(3, 32)})
    for bit in range(0, 32 * 8, 9):
        opened = cache.open(small.ref)
        path = opened.file("a.onnx")
        data = bytearray(path.read_bytes())
        data[bit // 8] ^= 1 << (bit % 8)
        path.chmod(0o644)
        path.write_bytes(data)
        with pytest.raises(DigestMismatch):
            opened.check()
        assert cache.open(small.ref).file("a.onnx").read_bytes() == weights(3, 32)
        opened.release()


def test_given_a_sealed_copy_when_the_file_changes_then_the_copy_does_not(
    cache: ModelCache, model: m.Manifest
) -> None:
    opened = cache.open(model.ref)
    descriptor = opened.sealed("model.onnx")
    tamper(opened.file("model.onnx"), "flip")
    with open(descriptor, "r+b", buffering=0) as sealed:  # noqa: PTH123
        assert sealed.readall() == weights(1)
        with pytest.raises(PermissionError):
            sealed.write(b"evil")
        with pytest.raises(PermissionError):
            sealed.truncate(1)
    with pytest.raises(DigestMismatch):
        opened.sealed("model.onnx")


def test_given_a_tampered_manifest_or_record_when_opening_then_the_registry_is_asked(
    cache: ModelCache, model: m.Manifest, fake: FakeAws
) -> None:
    cache.open(model.ref)
    record = Path(cache.directory, "models", model.digest, ".keepwarm")
    (record / "manifest.json").chmod(0o600)
    (record / "manifest.json").write_bytes(b"{}")
    (record / "verified.json").write_text("[]")
    opened = cache.open(model.ref)
    assert opened.file("model.onnx").read_bytes() == weights(1)
    assert fake.count("GET", f"/{BUCKET}/{m.blob_key(model.digest)}") == 2
    assert blob_gets(fake, model) == 11


# -- F7: space


def test_given_a_disk_that_is_too_small_when_opening_then_refused_before_the_first_byte(
    cache: ModelCache, model: m.Manifest, fake: FakeAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "_free", lambda: 1000)
    with pytest.raises(NoSpace) as caught:
        cache.open(model.ref)
    assert str(caught.value) == (
        f"KW410 model demo 1.0: got 1,000 bytes free and 0 evictable in {cache.directory}; allowed {SIZE + 1024 * 1024:,} bytes; "
        "because a half-written model is worse than none; fix: raise the ephemeral storage of the function"
    )
    assert blob_gets(fake, model) == 0
    assert_clean(cache)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 4 MiB."""
    mount = tmp_path / "disk"
    mount.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs", str(mount)], capture_output=True
    )
    if made.returncode != 0:
        pytest.skip("mounting a tmpfs needs root")
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


def test_given_a_real_small_disk_when_models_come_then_unused_ones_go_and_pinned_ones_stay(
    tmp_path: Path, small_disk: Path, registry: Registry
) -> None:
    size = 1_300_000
    models = [publish(tmp_path, registry, {"a.onnx": weights(n, size)}, f"{n}.0") for n in range(1, 5)]
    cache = ModelCache(str(small_disk / "cache"), registry, recorder=Recorder())
    pinned = cache.open(models[0].ref)
    cache.open(models[1].ref).release()
    third = cache.open(models[2].ref)

    assert pinned.file("a.onnx").exists()
    assert not Path(cache.directory, "models", models[1].digest).exists()
    with pytest.raises(NoSpace, match=r"^KW410 model demo 4.0: got [\d,]+ bytes free and 0 evictable"):
        cache.open(models[3].ref)
    assert_clean(cache)
    third.release()
    assert cache.open(models[3].ref).file("a.onnx").read_bytes() == weights(4, size)
    assert pinned.file("a.onnx").read_bytes() == weights(1, size)


def test_given_another_writer_that_fills_the_disk_when_fetching_then_the_reservation_holds(
    tmp_path: Path, small_disk: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = publish(tmp_path, registry, {"a.onnx": weights(1, 1_000_000)})
    filled: list[int] = []

    def fill(name: str) -> None:
        if name == "cache.chunk.request" and not filled:
            filled.append(1)
            with (  # noqa: PT012
                pytest.raises(OSError, match="No space left"),
                (small_disk / "filler").open("wb", buffering=0) as out,
            ):
                while True:
                    out.write(bytes(65536))

    monkeypatch.setattr(fault, "hook", fill)
    cache = ModelCache(str(small_disk / "cache"), registry, recorder=Recorder(), streams=1)
    with pytest.raises(OSError, match="No space left"):
        # The bytes arrived; the small record of what was verified found no room, so nothing counts as verified.
        cache.open(built.ref)
    (small_disk / "filler").unlink()
    monkeypatch.setattr(fault, "hook", None)
    assert cache.open(built.ref).file("a.onnx").read_bytes() == weights(1, 1_000_000)


# -- R111: the directory


@pytest.mark.parametrize("problem", ["link", "file", "writable", "owner"])
def test_given_a_directory_others_could_write_when_opening_then_refused(
    tmp_path: Path, registry: Registry, model: m.Manifest, problem: str
) -> None:
    place = tmp_path / "place"
    if problem == "link":
        (tmp_path / "real").mkdir()
        place.symlink_to(tmp_path / "real")
        got = "a symbolic link"
    elif problem == "file":
        place.write_text("")
        got = "FileExistsError: File exists"
    elif problem == "writable":
        place.mkdir()
        place.chmod(0o777)
        got = "mode 0777"
    else:
        if os.geteuid() != 0:
            pytest.skip("giving a directory away needs root")
        place.mkdir()
        os.chown(place, 4242, 4242)
        got = "a directory of user 4242 (this is user 0)"
    with pytest.raises(CacheUnusable) as caught:
        ModelCache(str(place), registry).open(model.ref)
    assert str(caught.value).startswith(
        f"KW411 model cache {place}: got {got}; allowed a directory of this user with mode 0700; "
    )


# -- F1, F2: processes that die

CHILD = """
import os, signal, sys, threading
sys.path.insert(0, sys.argv[4])
from keepwarm_runtime import fault
from keepwarm_runtime.aws import S3, Aws
from keepwarm_runtime.models.cache import ModelCache
from keepwarm_runtime.models.registry import Registry
from keepwarm_runtime.phases import Recorder

directory, ref, die_at = sys.argv[1], sys.argv[2], int(sys.argv[3])
seen = 0
lock = threading.Lock()

def hook(name):
    global seen
    if not name.startswith("cache."):
        return
    with lock:
        seen += 1
        if seen == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

if die_at:
    fault.hook = hook
cache = ModelCache(directory, Registry(S3(Aws()), "models"), recorder=Recorder(), streams=int(sys.argv[5]))
model = cache.open(ref)
print(model.cache, cache.chunks_fetched, cache.chunks_resumed, seen, flush=True)
"""


def child(
    fake: FakeAws, directory: Path, ref: str, die_at: int = 0, streams: int = 1
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable,
            "-S",
            "-c",
            CHILD,
            str(directory),
            ref,
            str(die_at),
            str(ROOT / "functions"),
            str(streams),
        ],
        env={**fake.env, "PYTHONPATH": ""},
        stdout=subprocess.PIPE,
        text=True,
    )


def run_child(
    fake: FakeAws, directory: Path, ref: str, die_at: int = 0, streams: int = 1
) -> tuple[int, list[str]]:
    with child(fake, directory, ref, die_at, streams) as process:
        out, _ = process.communicate(timeout=PATIENCE_S)
    return process.returncode, out.split()


def test_given_kill_at_every_boundary_when_starting_again_then_never_a_bad_file_and_at_most_a_chunk_twice(
    tmp_path: Path, registry: Registry, fake: FakeAws
) -> None:
    built = publish(tmp_path, registry, {"model.onnx": weights(1, 3 * CHUNK)})
    _, out = run_child(fake, tmp_path / "count", built.ref, die_at=10_000)
    points = int(out[3])
    assert points > 15
    for die_at in range(1, points + 1):
        directory = tmp_path / f"killed-{die_at}"
        code, _ = run_child(fake, directory, built.ref, die_at)
        assert code == -signal.SIGKILL
        blobs = directory / "blobs"
        for blob in blobs.iterdir() if blobs.exists() else ():
            assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name, die_at
        fake.requests.clear()
        cache = ModelCache(str(directory), registry, recorder=Recorder(), streams=1)
        opened = cache.open(built.ref)
        assert opened.file("model.onnx").read_bytes() == weights(1, 3 * CHUNK), die_at
        assert cache.chunks_fetched + cache.chunks_resumed in (0, 3), die_at
        assert_clean(cache)
        opened.release()


def test_given_a_kill_in_the_middle_when_starting_again_then_verified_chunks_are_kept(
    cache: ModelCache, model: m.Manifest, fake: FakeAws
) -> None:
    # Point numbers differ with the code; what counts is that some chunks were complete.
    code, _ = run_child(fake, Path(cache.directory), model.ref, die_at=18)
    assert code == -signal.SIGKILL
    cache.open(model.ref)
    assert cache.chunks_resumed >= 3
    assert cache.chunks_fetched == 11 - cache.chunks_resumed


def test_given_parts_of_a_dead_process_when_another_model_is_fetched_then_they_are_removed(
    tmp_path: Path, cache: ModelCache, model: m.Manifest, registry: Registry, fake: FakeAws
) -> None:
    run_child(fake, Path(cache.directory), model.ref, die_at=18)
    assert len(list(Path(cache.directory, "parts").iterdir())) == 1
    other = publish(tmp_path, registry, {"b.onnx": weights(2)}, "2.0")
    cache.open(other.ref)
    assert_clean(cache)


def test_given_eight_processes_when_starting_together_then_every_chunk_is_fetched_once(
    tmp_path: Path, model: m.Manifest, fake: FakeAws
) -> None:
    children = [child(fake, tmp_path / "shared", model.ref, streams=4) for _ in range(8)]
    states = []
    for process in children:
        out, _ = process.communicate(timeout=PATIENCE_S)
        states.append(out.split()[0])
    assert states.count("fetched") == 1
    assert set(states) <= {"fetched", "waited", "hit"}
    ranges = {key: n for key, n in fake.gets().items() if key[1]}
    assert len(ranges) == 11
    assert set(ranges.values()) == {1}


def test_given_the_holder_is_killed_when_others_wait_then_one_takes_over_quickly(
    cache: ModelCache, model: m.Manifest, fake: FakeAws
) -> None:
    release = threading.Event()
    first = [True]

    def stall(seen: Seen) -> Fault | None:
        if first and "range" in seen.headers:
            first.clear()
            return Fault(silent=release)
        return None

    fake.fault = stall
    holder = child(fake, Path(cache.directory), model.ref)
    until(lambda: not first)
    taken: list[CachedModel] = []

    def wait() -> None:
        taken.append(cache.open(model.ref))

    waiter = threading.Thread(target=wait)
    waiter.start()
    holder.kill()
    holder.communicate()
    waiter.join(PATIENCE_S)
    release.set()
    assert taken[0].file("model.onnx").read_bytes() == weights(1)


def test_given_a_lock_that_is_held_when_the_deadline_comes_then_said_so(
    cache: ModelCache, model: m.Manifest
) -> None:
    cache._prepare()
    with open(Path(cache.directory, "locks", f"model-{model.digest}"), "w") as held:  # noqa: PTH123
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(
            DeadlineExceeded,
            match=r"^KW322 model demo 1.0: got another process of this host still fetching it",
        ):
            cache.open(model.ref, deadline=Deadline.after(0.2))


@pytest.mark.slow
def test_given_kills_at_1000_random_moments_when_starting_again_then_never_a_bad_load(
    tmp_path: Path, registry: Registry, fake: FakeAws
) -> None:
    built = publish(tmp_path, registry, {"model.onnx": weights(1, 40 * CHUNK)})
    rng = random.Random(7)
    for n in range(1000):
        directory = tmp_path / "kills"
        pid = os.fork()
        if pid == 0:
            try:
                S3(Aws(env=fake.env))
                ModelCache(
                    str(directory), Registry(S3(Aws(env=fake.env)), BUCKET), recorder=Recorder(), streams=2
                ).open(built.ref)
            finally:
                os._exit(0)
        time.sleep(rng.random() * 0.04)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        for blob in (directory / "blobs").iterdir() if (directory / "blobs").exists() else ():
            assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name, n
        if n % 10 == 9:
            cache = ModelCache(str(directory), registry, recorder=Recorder())
            assert cache.open(built.ref).file("model.onnx").read_bytes() == weights(1, 40 * CHUNK)
            assert_clean(cache)
            subprocess.run(["rm", "-rf", str(directory)], check=True)


def test_given_a_fetch_permit_when_fetching_then_it_is_held_meanwhile(
    tmp_path: Path, registry: Registry, model: m.Manifest, fake: FakeAws
) -> None:
    events: list[str] = []

    class Permit:
        def __enter__(self) -> None:
            events.append("taken")

        def __exit__(self, *_: Any) -> None:
            events.append("given back")

    def note(seen: Seen) -> None:
        if "range" in seen.headers:
            events.append("get")

    fake.fault = note
    cache = ModelCache(str(tmp_path / "c"), registry, recorder=Recorder(), permit=lambda _deadline: Permit())
    cache.open(model.ref)
    assert (events[0], events[-1], events.count("get")) == ("taken", "given back", 11)


def test_every_refusal_of_a_reference_is_a_model_fault(cache: ModelCache) -> None:
    for ref in (
        "",
        "demo",
        "demo:latest",
        "demo@sha256:abc",
        "demo@md5:" + "a" * 32,
        "../x:stable",
        "demo:a/b",
    ):
        with pytest.raises(ModelFault, match=r"^KW401 model reference"):
            cache.open(ref)
