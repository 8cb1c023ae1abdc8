"""Child processes of the embedded cloud: each in its own process group, none outlives the cloud.

A group is told to the guardian (see `guardian.py`) before anybody else hears of the process, so that even `kill -9` of
the cloud ends every environment, task and their children. `PR_SET_PDEATHSIG` is not used: it fires when the *thread*
that forked ends, and does not reach grandchildren.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from keepwarm_localcloud.errors import LocalCloudError

MARK = "KEEPWARM_CLOUD_ID"
"""Environment variable every child carries, by which strays are found in /proc."""
_GUARDIAN_S = 10.0
"""The guardian has nothing to do after `bye`; this is for a machine that does not even run it."""


class Processes:
    """Start, list and end the children of one cloud. Thread-safe."""

    def __init__(self, cloud_id: str, directory: Path | None) -> None:
        self._id = cloud_id
        self._lock = threading.Lock()
        self._children: dict[int, tuple[subprocess.Popen[bytes], str, str]] = {}
        self._closed = False
        self._guardian = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(__file__).with_name("guardian.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            process_group=0,
        )
        if directory is not None:
            self._tell(f"dir {directory}")

    @property
    def guardian_pid(self) -> int:
        """Process id of the guardian; it ends with the cloud."""
        return self._guardian.pid

    def spawn(
        self,
        argv: Sequence[str],
        *,
        kind: str,
        name: str,
        env: Mapping[str, str],
        cwd: Path | str | None = None,
        stdin: int | IO[Any] | None = subprocess.DEVNULL,
        stdout: int | IO[Any] | None = subprocess.DEVNULL,
        stderr: int | IO[Any] | None = subprocess.DEVNULL,
        pass_fds: Sequence[int] = (),
    ) -> subprocess.Popen[bytes]:
        """Start a program in a new process group.

        Args:
            argv: Program and arguments.
            kind: `environment`, `task`, ...: what it is in the process list.
            name: Which one, such as `classify:7 3f2a`.
            env: The whole environment; only the mark of this cloud is added.
            cwd: Working directory.
            stdin: As `subprocess.Popen`; nothing by default. So are `stdout`, `stderr` and `pass_fds`.

        Raises:
            LocalCloudError: KW607 the program cannot be started; KW605 the cloud is closed.
        """
        with self._lock:
            if self._closed:
                raise LocalCloudError(
                    "KW605",
                    "localcloud process",
                    got=f"{kind} {name}",
                    allowed="a running cloud",
                    because="the cloud is closed or closing",
                    fix="start the cloud first",
                )
            try:
                child = subprocess.Popen(
                    list(argv),
                    env={**env, MARK: self._id},
                    cwd=cwd,
                    stdin=stdin,
                    stdout=stdout,
                    stderr=stderr,
                    pass_fds=pass_fds,
                    process_group=0,
                )
            except OSError as error:
                raise LocalCloudError(
                    "KW607",
                    "localcloud process",
                    got=f"{kind} {name}: {error}",
                    allowed="a program that starts",
                    because=f"the system refused {argv[0]}",
                    fix="see the reason in brackets",
                ) from error
            self._children[child.pid] = (child, kind, name)
            self._tell(f"+{child.pid}")
        return child

    def end(self, child: "subprocess.Popen[bytes]", *, grace_s: float = 0.0) -> int:
        """End a child and its whole group; gives its exit status.

        Args:
            child: What `spawn` gave.
            grace_s: Seconds (real time) between SIGTERM and SIGKILL; 0 kills at once.
        """
        if grace_s > 0 and child.poll() is None:
            self.signal(child, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(grace_s)
        # Also when the child itself is gone: its group may still hold children of its own.
        self.signal(child, signal.SIGKILL)
        status = child.wait()
        with self._lock:
            if self._children.pop(child.pid, None) is not None:
                self._tell(f"-{child.pid}")
        return status

    def signal(self, child: "subprocess.Popen[bytes]", number: int) -> None:
        """Send a signal to the whole group of a child; nothing happens when it is gone."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, number)

    def listing(self) -> list[dict[str, Any]]:
        """The children that run now: `pid`, `kind`, `name`."""
        with self._lock:
            children = list(self._children.values())
        return [{"pid": c.pid, "kind": k, "name": n} for c, k, n in children if c.poll() is None]

    def close(self) -> None:
        """End every child, then the guardian. Idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            children = list(self._children.values())
        for child, _, _ in children:
            self.end(child)
        for pid in self.strays():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        self._tell("bye")
        if self._guardian.stdin:
            with contextlib.suppress(BrokenPipeError):
                self._guardian.stdin.close()
        try:
            self._guardian.wait(_GUARDIAN_S)
        except subprocess.TimeoutExpired:
            self._guardian.kill()
            self._guardian.wait()

    def strays(self) -> list[int]:
        """Processes that carry the mark of this cloud, wherever they went (own sessions, re-parented)."""
        mark = f"{MARK}={self._id}".encode()
        found = []
        for entry in os.scandir("/proc"):
            if not entry.name.isdigit():
                continue
            try:
                environ = Path(entry.path, "environ").read_bytes()
            except OSError:
                continue
            if mark in environ.split(b"\0") and alive(int(entry.name)):
                found.append(int(entry.name))
        return found

    def wait_for_strays(self, timeout_s: float = 2.0) -> list[int]:
        """Strays that are still there after `timeout_s`: a killed process takes a moment to vanish."""
        deadline_s = time.monotonic() + timeout_s
        while (left := self.strays()) and time.monotonic() < deadline_s:
            time.sleep(0.01)
        return left

    def _tell(self, line: str) -> None:
        if self._guardian.stdin is None:
            return
        # A guardian that was killed must not take the cloud with it; the pid file still cleans up at the next start.
        with contextlib.suppress(BrokenPipeError):
            self._guardian.stdin.write(line.encode() + b"\n")
            self._guardian.stdin.flush()


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and waits for its parent to notice does not."""
    return _state(pid) not in ("Z", "X", "")


def start_time(pid: int) -> str:
    """When a process started, in clock ticks since boot; '' when there is none. With the pid it names one process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
