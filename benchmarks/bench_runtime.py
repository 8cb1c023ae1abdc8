"""What the runtime costs: cold start, warm call, verified download, re-open. Ratios, both sides interleaved in one run.

    python benchmarks/bench_runtime.py [--quick] [--json]

Cold: `awslambdaric` started against a runtime API of ours, from spawn to its first `/next`. Warm: processor time per
call of the wrapper, with its event written to /dev/null. Download: our verified cache against boto3's `download_file`
with its defaults (which verifies nothing), from a sendfile server in another process, to a memory file system.
Elapsed times on a busy machine say more about the others on it: then compare the processor times.
"""

import argparse
import hashlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).parents[1]
MIB = 1024 * 1024
HANDLERS = {
    "bare": "def handle(event, context):\n    return 1\n",
    "keepwarm": (
        "from keepwarm_runtime.invocation import handler\n"
        "from keepwarm_runtime.warm import WARM\n"
        "S3 = WARM.s3()\n"
        "@handler('bench')\n"
        "def handle(event, invocation):\n    return 1\n"
    ),
    "boto3": "import boto3\nS3 = boto3.client('s3')\ndef handle(event, context):\n    return 1\n",
}


# -- cold start


def spawn_to_next(directory: Path, name: str) -> tuple[float, float]:
    """Seconds from starting awslambdaric to its first `/next`: elapsed, and of processor time."""
    with socket.create_server(("127.0.0.1", 0)) as api:
        env = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{directory}{os.pathsep}{ROOT / 'functions'}",
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{api.getsockname()[1]}",
            "AWS_REGION": "eu-central-1",
            "AWS_DEFAULT_REGION": "eu-central-1",
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_LAMBDA_FUNCTION_NAME": name,
        }
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "awslambdaric", f"{name}.handle"], env=env, cwd=directory
        )
        api.settimeout(30)
        peer, _ = api.accept()
        request = peer.recv(4096)
        taken = time.perf_counter() - started
        process.kill()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = status
        peer.close()
        if b"/next" not in request:
            raise SystemExit(f"{name} asked for {request[:200]!r} instead of /next: its import failed")
        return taken, usage.ru_utime + usage.ru_stime


def cold(rounds: int) -> dict[str, Any]:
    """Median seconds per handler, and what ours adds to the bare one."""
    times: dict[str, list[float]] = {name: [] for name in HANDLERS}
    processor: dict[str, list[float]] = {name: [] for name in HANDLERS}
    with tempfile.TemporaryDirectory() as folder:
        for name, source in HANDLERS.items():
            Path(folder, f"{name}_.py").write_text(source)
        for _ in range(rounds):
            for name in HANDLERS:
                elapsed, used = spawn_to_next(Path(folder), f"{name}_")
                times[name].append(elapsed)
                processor[name].append(used)
    median = {name: statistics.median(taken) * 1000 for name, taken in times.items()}
    added, boto = median["keepwarm"] - median["bare"], median["boto3"] - median["bare"]
    return {
        "bare_ms": round(median["bare"], 1),
        "keepwarm_added_ms": round(added, 1),
        "boto3_added_ms": round(boto, 1),
        "boto3_over_keepwarm": round(boto / added, 1),
        "bare_cpu_ms": round(min(processor["bare"]) * 1000, 1),
        "keepwarm_added_cpu_ms": round((min(processor["keepwarm"]) - min(processor["bare"])) * 1000, 1),
        "boto3_added_cpu_ms": round((min(processor["boto3"]) - min(processor["bare"])) * 1000, 1),
    }


# -- warm calls


def cpu_us(function: Callable[[], object], calls: int) -> float:
    """Processor microseconds per call."""
    for _ in range(1000):
        function()
    started = time.process_time()
    for _ in range(calls):
        function()
    return (time.process_time() - started) / calls * 1e6


def warm(calls: int) -> dict[str, Any]:
    """Processor time that the wrapper adds, for a plain call and for one with everything noted and an effect."""
    sys.path.insert(0, str(ROOT / "functions"))
    from keepwarm_runtime.deadline import Deadline
    from keepwarm_runtime.effects import Contract, Effects
    from keepwarm_runtime.invocation import handler
    from keepwarm_runtime.ledger import MemoryStore
    from keepwarm_runtime.phases import Lifecycle

    class Context:
        aws_request_id = "5f0f0f0f-aaaa-bbbb-cccc-0123456789ab"

        def get_remaining_time_in_millis(self) -> int:
            return 30_000

    def bare(_event: Any, _context: Any) -> int:
        return 1

    def life() -> Lifecycle:
        return Lifecycle(imported_s=0.0, age_at_import_s=None, pool="provisioned")

    plain = handler("bench", lifecycle=life())(bare)

    def noted(_event: Any, call: Any) -> int:
        call.key = "key"
        call.document = {"sha256": "ab" * 32, "size_bytes": 100}
        call.downstream("ocr", status=200)
        with call.measure("load"):
            return 1

    full = handler("bench", lifecycle=life())(noted)
    effects = Effects(MemoryStore())
    deadline = Deadline.after(3600)

    def replay(_event: Any, _call: Any) -> Any:
        return effects.effect(
            "key", contract=Contract.KEYED, payload={"a": 1}, run=lambda _a: 1, deadline=deadline
        ).value

    idempotent = handler("bench", lifecycle=life())(replay)
    context, event = Context(), {"a": 1}
    out, sys.stdout = sys.stdout, Path(os.devnull).open("w")  # noqa: SIM115  (restored below)
    try:
        rows = {
            name: min(cpu_us(lambda f=function: f(event, context), calls) for _ in range(5))  # type: ignore[misc]
            for name, function in (
                ("bare", bare),
                ("plain", plain),
                ("full", full),
                ("idempotent_replay", idempotent),
            )
        }
    finally:
        sys.stdout.close()
        sys.stdout = out
    return {
        f"{name}_us": round(value - (rows["bare"] if name != "bare" else 0.0), 2)
        for name, value in rows.items()
    }


# -- download


class Fits(str):
    """A digest that equals every other."""

    __slots__ = ()

    def __eq__(self, _other: object) -> bool:
        return True

    __hash__ = str.__hash__


class Unhashed:
    """Stands in for a hash that costs nothing."""

    def __init__(self, _data: bytes = b"") -> None: ...

    def update(self, _data: bytes) -> None:
        """Take the bytes and do nothing."""

    def hexdigest(self) -> Fits:
        """Return what always fits."""
        return Fits()


SERVER = """
import os, socket, sys, threading
path, size, rate, first_s = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
import time
def serve(peer):
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    source = open(path, "rb")
    buffer = b""
    while True:
        while b"\\r\\n\\r\\n" not in buffer:
            more = peer.recv(65536)
            if not more:
                return
            buffer += more
        head, _, buffer = buffer.partition(b"\\r\\n\\r\\n")
        method = head.split(b" ", 1)[0]
        start, end = 0, size - 1
        status = b"200 OK"
        for line in head.split(b"\\r\\n"):
            if line.lower().startswith(b"range: bytes="):
                a, _, b = line[13:].partition(b"-")
                start, end, status = int(a), int(b or size - 1), b"206 Partial Content"
        end = min(end, size - 1)
        length = end - start + 1
        if first_s:
            time.sleep(first_s)
        extra = b"" if status[:3] == b"200" else b"Content-Range: bytes %d-%d/%d\\r\\n" % (start, end, size)
        answer = b"HTTP/1.1 %s\\r\\nContent-Length: %d\\r\\nETag: \\"e\\"\\r\\nAccept-Ranges: bytes\\r\\n%s\\r\\n"
        peer.sendall(answer % (status, length, extra))
        if method == b"HEAD":
            continue
        at, began = start, time.monotonic()
        while at <= end:
            at += os.sendfile(peer.fileno(), source.fileno(), at, min(end + 1 - at, 1 << 20 if rate else 1 << 30))
            if rate:
                ahead = (at - start) / rate - (time.monotonic() - began)
                if ahead > 0:
                    time.sleep(ahead)
listener = socket.create_server(("127.0.0.1", 0), backlog=64)
print(listener.getsockname()[1], flush=True)
while True:
    peer, _ = listener.accept()
    threading.Thread(target=serve, args=(peer,), daemon=True).start()
"""


def download(size: int, rounds: int, rate: float = 0.0, first_s: float = 0.0) -> dict[str, Any]:
    """Seconds to have the file: ours verified chunk by chunk, ours without verification, boto3's default unverified."""
    import boto3

    from keepwarm_runtime.aws import S3, Aws
    from keepwarm_runtime.models import cache as cache_module
    from keepwarm_runtime.models.manifest import CHUNK_BYTES, Manifest, ManifestFile
    from keepwarm_runtime.models.registry import Registry
    from keepwarm_runtime.phases import Recorder

    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        place = Path(folder)
        source = place / "model"
        whole, chunks = hashlib.sha256(), []
        with source.open("wb") as out:
            for offset in range(0, size, CHUNK_BYTES):
                chunk = os.urandom(min(CHUNK_BYTES, size - offset))
                out.write(chunk)
                whole.update(chunk)
                chunks.append(hashlib.sha256(chunk).hexdigest())
        file = ManifestFile("weights.bin", size, whole.hexdigest(), CHUNK_BYTES, tuple(chunks))
        manifest = Manifest("bench", "1", (file,), "bin", "2026-01-01T00:00:00Z")
        server = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(source), str(size), str(rate), str(first_s)],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert server.stdout is not None
        port = int(server.stdout.readline())
        env = {
            "AWS_REGION": "eu-central-1", "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b",
        }  # fmt: skip
        boto = boto3.client(
            "s3", region_name="eu-central-1", endpoint_url=env["AWS_ENDPOINT_URL"], aws_access_key_id="a",
            aws_secret_access_key="b",
        )  # fmt: skip
        aws = Aws(env=env)

        def ours() -> None:
            cache = cache_module.ModelCache(
                str(place / "cache"), Registry(S3(aws), "bucket"), recorder=Recorder()
            )
            model = cache.open_manifest(manifest)
            assert model.file("weights.bin").stat().st_size == size
            model.release()

        def theirs() -> None:
            boto.download_file("bucket", "key", str(place / "boto"))

        def timed(function: Callable[[], None]) -> tuple[float, float]:
            started, cpu = time.perf_counter(), time.process_time()
            function()
            taken = time.perf_counter() - started, time.process_time() - cpu
            subprocess.run(["rm", "-rf", str(place / "cache"), str(place / "boto")], check=True)
            return taken

        def unverified() -> None:
            with mock.patch.object(hashlib, "sha256", Unhashed):
                ours()

        taken: dict[str, list[tuple[float, float]]] = {"ours": [], "unverified": [], "boto3": []}
        try:
            for _ in range(rounds):
                taken["boto3"].append(timed(theirs))
                taken["ours"].append(timed(ours))
                taken["unverified"].append(timed(unverified))
            cache = cache_module.ModelCache(
                str(place / "cache"), Registry(S3(aws), "bucket"), recorder=Recorder()
            )
            cache.open_manifest(manifest).release()
            again = []
            for _ in range(200):
                started = time.perf_counter()
                cache.open_manifest(manifest).release()
                again.append(time.perf_counter() - started)
        finally:
            server.kill()
            server.wait()
            server.stdout.close()
            aws.forget()
    best = {name: min(rounds_)[0] for name, rounds_ in taken.items()}
    cpu = {name: min(c for _, c in rounds_) for name, rounds_ in taken.items()}
    return {
        "size_mib": size // MIB,
        "boto3_s": round(best["boto3"], 3),
        "ours_verified_s": round(best["ours"], 3),
        "ours_unverified_s": round(best["unverified"], 3),
        "ours_over_boto3": round(best["ours"] / best["boto3"], 2),
        "ours_over_boto3_cpu": round(cpu["ours"] / cpu["boto3"], 2),
        "verified_over_unverified": round(best["ours"] / best["unverified"], 2),
        "reopen_us": round(statistics.median(again) * 1e6, 1),
    }


def main() -> None:
    """Run everything and print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds and a 256 MiB file")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    threading.stack_size(256 * 1024)
    report = {
        "cold": cold(5 if options.quick else 15),
        "warm": warm(20_000 if options.quick else 100_000),
        "download": download((256 if options.quick else 1024) * MIB, 3 if options.quick else 5),
        # Like S3 in one region: 90 MB/s per connection, 20 ms to the first byte.
        "download_like_s3": download(256 * MIB, 2, rate=90e6, first_s=0.02),
    }
    if options.json:
        print(json.dumps(report))
        return
    for part, rows in report.items():
        print(part)
        for name, value in rows.items():
            print(f"  {name:28} {value}")


if __name__ == "__main__":
    main()
