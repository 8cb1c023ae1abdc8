"""Ranged download of a large object from the embedded cloud's S3, against moto's, in the same run.

Run: `python benchmarks/bench_s3.py [--mib 128] [--rounds 5] [--json]`. Both sides are a process of their own serving
the same bytes to the same `boto3` `download_file` (8 MiB ranges, ten at a time); rounds alternate, the fastest of each
counts. Beside it: one plain GET, an upload, how much memory the embedded cloud's process gained by all of it, and the
CPU that one download takes on either end (boto3's bounds it). Goal: ten times moto's download (must: five), memory flat
in the object's size.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

MIB = 1024 * 1024
MOTO = (
    "from moto.moto_server.threaded_moto_server import ThreadedMotoServer as S\n"
    "s = S(ip_address='127.0.0.1', port=0, verbose=False); s.start(); host, port = s.get_host_and_port()\n"
    'import json, sys; print(json.dumps({"endpoint": f"http://{host}:{port}"}), flush=True); sys.stdin.read(); s.stop()'
)


class Side:
    """One server process and a client of it."""

    def __init__(self, name: str, command: list[str]) -> None:
        self.name = name
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        while not line.startswith("{"):
            line = self.process.stdout.readline()
        self.endpoint = json.loads(line)["endpoint"]
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(max_pool_connections=20),
        )

    def rss_mib(self) -> float:
        """Resident memory of the server, without what it maps of files."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("RssAnon"):
                return int(line.split()[1]) / 1024
        raise RuntimeError("the kernel tells no RssAnon")

    def cpu_s(self) -> float:
        """Processor time of the server so far, all threads."""
        ticks = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")

    def settled_mib(self) -> float:
        """`rss_mib` once it stands still: at its start the embedded cloud imports in the background."""
        last = -1.0
        while (now := self.rss_mib()) != last:
            last = now
            time.sleep(1)
        return now

    def end(self) -> None:
        """Close the server's input, which ends it."""
        self.process.communicate(timeout=60)


def seconds(call: Any) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def measure(mib: int, rounds: int) -> dict[str, Any]:
    """Run both sides and give every figure."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "source"), Path(folder, "target")
        with source.open("wb") as file:
            for _ in range(mib):
                file.write(os.urandom(MIB))
        digest = hashlib.sha256(source.read_bytes()).hexdigest()
        ours = Side("embedded cloud", [sys.executable, "-m", "keepwarm_localcloud"])
        moto = Side("moto", [sys.executable, "-c", MOTO])
        try:
            result: dict[str, Any] = {"mib": mib, "rounds": rounds}
            for side in (ours, moto):
                side.client.create_bucket(Bucket="bench")
            # Once before, so that what is imported late does not count as memory of the object.
            ours.client.put_object(Bucket="bench", Key="small", Body=b"x" * MIB)
            before = ours.settled_mib()
            upload = {
                s.name: seconds(lambda s=s: s.client.upload_file(str(source), "bench", "k"))
                for s in (ours, moto)
            }
            after_upload = ours.rss_mib()
            times: dict[str, list[float]] = {ours.name: [], moto.name: []}
            cpu = {"boto3": 0.0, "server": 0.0}
            peak = after_upload
            for _ in range(rounds):
                for side in (ours, moto):
                    target.unlink(missing_ok=True)
                    before_s = time.process_time(), ours.cpu_s()
                    times[side.name].append(
                        seconds(lambda s=side: s.client.download_file("bench", "k", str(target)))
                    )
                    if side is ours:
                        cpu["boto3"] += time.process_time() - before_s[0]
                        cpu["server"] += ours.cpu_s() - before_s[1]
                    if hashlib.sha256(target.read_bytes()).hexdigest() != digest:
                        raise RuntimeError(f"{side.name} gave other bytes")
                    peak = max(peak, ours.rss_mib())
            url = ours.client.generate_presigned_url("get_object", Params={"Bucket": "bench", "Key": "k"})

            def plain() -> None:
                with urllib.request.urlopen(url) as answer:
                    while answer.read(MIB):
                        pass

            plain_s = min(seconds(plain) for _ in range(rounds))
            best = {name: min(values) for name, values in times.items()}
            result |= {
                "download_mib_per_s": {name: round(mib / value) for name, value in best.items()},
                "times_moto": round(best[moto.name] / best[ours.name], 1),
                "cpu_ms_per_download": {end: round(1000 * value / rounds) for end, value in cpu.items()},
                "plain_get_mib_per_s": round(mib / plain_s),
                "upload_mib_per_s": {name: round(mib / value) for name, value in upload.items()},
                "memory_gained_mib": round(max(peak, ours.rss_mib()) - before, 1),
            }
            return result
        finally:
            ours.end()
            moto.end()


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = measure(options.mib, options.rounds)
    if options.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name:20} {value}")
    print("goal: times_moto >= 10 (must 5); memory_gained_mib far below mib")


if __name__ == "__main__":
    main()
