"""The embedded cloud as a child process: started first, stopped last, and held to leaving nothing behind.

A process of its own because its imports (moto) and the program's (pulumi) then load on two cores at once, and because
whatever happens to this process, the child sees its standard input close and takes everything down with it.
"""

import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.request import urlopen

from keepwarm_cli.errors import CliError

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
_PR_SET_CHILD_SUBREAPER = 36


class CloudProcess:
    """One embedded cloud; `with CloudProcess() as cloud` stops it on the way out, whatever happened."""

    def __init__(self, *, port: int = 0, region: str = "us-east-1", code_cache: Path | None = None) -> None:
        if port and _taken(port):
            raise CliError(
                "KW660",
                f"port {port}",
                got="a port that is in use",
                fix="choose another, or 0 for a free one",
            )
        # Orphans of the cloud come to this process, so that none can hide from the count at the end.
        if sys.platform == "linux":
            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._scratch = Path(tempfile.mkdtemp(prefix="keepwarm-run-"))
        self._log = (self._scratch / "cloud.log").open("wb")
        kept = [] if code_cache is None else ["--code-cache", str(code_cache)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "keepwarm_localcloud", "--port", str(port), "--region", region, *kept],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, "TMPDIR": str(self._temporary())},
            start_new_session=True,
        )
        self._endpoint: str | None = None
        self._ready = threading.Lock()
        self._stopped: list[str] | None = None

    def _temporary(self) -> Path:
        folder = self._scratch / "tmp"
        folder.mkdir(exist_ok=True)
        return folder

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def endpoint(self) -> str:
        """Address of the AWS endpoint; waits until the cloud says that it is ready.

        Raises:
            CliError: KW653 with the end of the cloud's own log, it did not start.
        """
        with self._ready:
            if self._endpoint is None:
                self._endpoint = self._wait_ready()
            return self._endpoint

    def _wait_ready(self) -> str:
        assert self._process.stdout is not None
        watchdog = threading.Timer(START_TIMEOUT_S, self._process.kill)
        watchdog.daemon = True
        watchdog.start()
        line = self._process.stdout.readline()
        watchdog.cancel()
        try:
            return str(json.loads(line)["endpoint"])
        except (ValueError, KeyError, TypeError):
            code = self._process.poll()
            raise CliError(
                "KW653", "embedded cloud", problem=f"did not start (exit {code}): {self._last_words()}"
            ) from None

    def _last_words(self) -> str:
        self._log.flush()
        tail = (self._scratch / "cloud.log").read_text(errors="replace").strip().splitlines()[-1:]
        return tail[0] if tail else "it wrote nothing"

    def get(self, path: str, *, timeout_s: float = 30.0) -> Any:
        """Read one of the cloud's own pages (`/_keepwarm/...`) as JSON."""
        with urlopen(f"{self.endpoint()}/_keepwarm/{path}", timeout=timeout_s) as answer:  # noqa: S310 - loopback
            return json.load(answer)

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Explain whatever fails because the cloud died.

        Raises:
            CliError: KW653 with the end of the cloud's own log.
        """
        try:
            yield
        except Exception:
            # A refused connection may be seen a moment before the death of who refused it.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.5)
            code = self._process.poll()
            if code is None or self._stopped is not None:
                raise
            raise CliError(
                "KW653",
                "embedded cloud",
                problem=f"ended with {code} while it was in use: {self._last_words()}",
                exit_code=1,
            ) from None

    def stop(self) -> list[str]:
        """Stop the cloud and say what it left behind: processes and temporary files. Idempotent."""
        if self._stopped is not None:
            return self._stopped
        before = set(_descendants(os.getpid()))
        if self._process.poll() is None:
            assert self._process.stdin is not None
            with contextlib.suppress(OSError):
                self._process.stdin.close()
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        left = [f"process {pid}" for pid in sorted(self._reap(before))]
        left += [
            f"file {path.relative_to(self._temporary())}"
            for path in sorted(self._temporary().rglob("*"))
            if not path.is_dir() or path.is_symlink()
        ]
        self._log.close()
        if self._process.stdout is not None:
            self._process.stdout.close()
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._stopped = left
        return left

    def _reap(self, before: set[int]) -> list[int]:
        """Descendants of the cloud that outlived it; they are killed, having been counted."""
        deadline = time.monotonic() + 2.0
        own = {self._process.pid}
        while True:
            alive = []
            for pid in before - own:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
                if _alive(pid):
                    alive.append(pid)
            if not alive or time.monotonic() > deadline:
                break
            # Their end is already under way (their parent died); this is the kernel's time, not a condition to hook.
            time.sleep(0.02)
        for pid in alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return alive


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in {"Z", "X"}


def _descendants(root: int) -> list[int]:
    """Every process below `root`, from /proc; empty where there is none (other systems)."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(entry.parent.name))
    found, queue = [], [root]
    while queue:
        for child in children.get(queue.pop(), []):
            found.append(child)
            queue.append(child)
    return found
