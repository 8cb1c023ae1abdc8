"""The Lambda Runtime API of one environment, driven by whoever waits for it.

There is no server thread: the thread that initializes or invokes an environment reads the runtime's requests itself,
from a socket that only this environment knows. One poll watches the sockets, the log pipe and the process, so that an
answer, a line of log, the death of the process and the end of the time allowed all wake the same wait; a warm
invocation costs no thread switch inside the embedded cloud.

Protocol: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

_HANGUP = select.POLLHUP | select.POLLERR | select.POLLNVAL
_LAST_WORDS_S = 0.2
"""How long an ended process's last bytes may still be on their way, on a machine with every core taken."""


class Gone(Exception):
    """The process ended."""


class Late(Exception):
    """The time allowed is over."""


@dataclass(slots=True)
class RuntimeRequest:
    """One request of the runtime; `answer` must be called once."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    size: int
    """Bytes of the body that arrived; more than `len(body)` when it passed the limit."""
    _connection: socket.socket

    def answer(self, status: str, headers: str = "", body: bytes = b"") -> None:
        """Send an answer in one piece: two small writes would cost the runtime 40 ms of delayed acknowledgement."""
        head = f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
        try:
            self._connection.sendall(head.encode("latin-1", "replace") + body)
        except OSError:
            # The runtime is gone or closed its side; the next wait finds out which.
            return


@dataclass(slots=True)
class _Connection:
    socket: socket.socket
    buffer: bytearray = field(default_factory=bytearray)
    continued: bool = False


class RuntimeApi:
    """The listening socket and open connections of one environment."""

    def __init__(self, *, body_limit: int) -> None:
        self._body_limit = body_limit
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=8)
        self._listener.setblocking(False)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._poll = select.poll()
        self._poll.register(self._listener, select.POLLIN)
        self._connections: dict[int, _Connection] = {}
        self._ever_connected = False
        self._child: subprocess.Popen[bytes] | None = None
        self._pidfd = -1
        self._log_fd = -1
        self._on_log: Callable[[bytes], None] | None = None

    def attach(self, child: "subprocess.Popen[bytes]", log_fd: int, on_log: Callable[[bytes], None]) -> None:
        """Watch a started process and its log pipe (which this object closes)."""
        self._child = child
        self._log_fd = log_fd
        self._on_log = on_log
        self._poll.register(log_fd, select.POLLIN)
        if sys.platform == "linux":
            self._pidfd = os.pidfd_open(child.pid)
            self._poll.register(self._pidfd, select.POLLIN)

    def next_request(self, deadline_s: float) -> RuntimeRequest:
        """Wait for the runtime to ask or tell something.

        Args:
            deadline_s: when to give up, on `time.monotonic`'s clock.

        Raises:
            Gone: the process ended without another request.
            Late: the deadline passed.
        """
        while True:
            request = self._read_so_far()
            if request is not None:
                return request
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                raise Late
            if self._pidfd < 0:
                left_s = min(left_s, 0.05)
            gone = False
            for fd, event in self._poll.poll(left_s * 1000 + 1):
                gone |= self._serve(fd, event)
            if self._pidfd < 0:
                gone = self._child is not None and self._child.poll() is not None
            if gone:
                request = self._last_words(deadline_s)
                if request is not None:
                    return request
                raise Gone

    def _last_words(self, deadline_s: float) -> RuntimeRequest | None:
        """What the ended process still sent: an init error is posted, then the process exits.

        The end of a process and the bytes it sent come by different ways, and on a busy machine the end can
        be seen first. A connection has been read whole when it says that it is closed; a connection that has
        not come within the grace was never made. What has been read is looked at before more is: the close of
        a connection takes its buffer away.
        """
        until_s = min(deadline_s, time.monotonic() + _LAST_WORDS_S)
        while True:
            request = self._read_so_far()
            if request is not None or (self._ever_connected and not self._connections):
                return request
            # Not the main loop's poll: that one also watches the ended process and would return at once.
            sockets = select.poll()
            for fd in (self._listener.fileno(), *self._connections):
                sockets.register(fd, select.POLLIN)
            ready = sockets.poll(max(until_s - time.monotonic(), 0) * 1000)
            for fd, event in ready:
                self._serve(fd, event)
            if not ready or time.monotonic() >= until_s:
                return self._read_so_far()

    def _read_so_far(self) -> RuntimeRequest | None:
        """The first whole request in what the connections have sent."""
        for connection in self._connections.values():
            request = self._parse(connection)
            if request is not None:
                return request
        return None

    def drain_log(self) -> None:
        """Take what the process has written to its log so far."""
        if self._log_fd >= 0 and self._on_log is not None:
            self._read_log()

    def close(self) -> None:
        """Close every socket and pipe."""
        for connection in self._connections.values():
            connection.socket.close()
        self._connections.clear()
        self._listener.close()
        for fd in (self._pidfd, self._log_fd):
            if fd >= 0:
                os.close(fd)
        self._pidfd = self._log_fd = -1

    def _serve(self, fd: int, event: int) -> bool:
        """Handle one ready file; True when it says that the process ended."""
        if fd == self._pidfd:
            return True
        if fd == self._log_fd:
            self._read_log()
        elif fd == self._listener.fileno():
            self._accept()
        elif fd in self._connections:
            self._receive(fd, event)
        return False

    def _accept(self) -> None:
        try:
            accepted, _ = self._listener.accept()
        except BlockingIOError:
            return
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Reads follow a poll and never block; writes of a large event must wait for the runtime to read.
        accepted.settimeout(60)
        self._connections[accepted.fileno()] = _Connection(accepted)
        self._ever_connected = True
        self._poll.register(accepted, select.POLLIN)

    def _receive(self, fd: int, event: int) -> None:
        connection = self._connections[fd]
        try:
            data = connection.socket.recv(1 << 18, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            connection.buffer += data
            if not connection.continued and b"xpect: 100-continue" in connection.buffer[:4096]:
                connection.continued = True
                connection.socket.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            return
        if not data or event & _HANGUP:
            self._poll.unregister(fd)
            del self._connections[fd]
            connection.socket.close()

    def _read_log(self) -> None:
        while self._on_log is not None:
            try:
                data = os.read(self._log_fd, 1 << 16)
            except BlockingIOError:
                return
            if not data:
                # Every holder of the other end closed it; without this the poll would spin on the hang-up.
                self._poll.unregister(self._log_fd)
                os.close(self._log_fd)
                self._log_fd = -1
                return
            self._on_log(data)

    def _parse(self, connection: _Connection) -> RuntimeRequest | None:
        buffer = connection.buffer
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        lines = bytes(buffer[:end]).decode("latin-1").split("\r\n")
        method, path = [*lines[0].split(" "), ""][:2]
        headers: dict[str, str] = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        start = end + 4
        if headers.get("transfer-encoding", "").lower() == "chunked":
            chunked = _dechunk(buffer, start)
            if chunked is None:
                return None
            body, stop = chunked
        else:
            length = headers.get("content-length", "0")
            stop = start + (int(length) if length.isdigit() else 0)
            if len(buffer) < stop:
                return None
            body = bytes(buffer[start : min(stop, start + self._body_limit + 1)])
        size = stop - start if headers.get("transfer-encoding") is None else len(body)
        del buffer[:stop]
        connection.continued = False
        return RuntimeRequest(method, path, headers, body, size, connection.socket)


def _dechunk(buffer: bytearray, start: int) -> tuple[bytes, int] | None:
    """Decode a chunked body; None while it is incomplete."""
    body, at = bytearray(), start
    while True:
        line_end = buffer.find(b"\r\n", at)
        if line_end < 0:
            return None
        digits = bytes(buffer[at:line_end]).split(b";")[0].strip()
        length = int(digits, 16) if digits else 0
        at = line_end + 2
        if len(buffer) < at + length + 2:
            return None
        body += buffer[at : at + length]
        at += length + 2
        if length == 0:
            return bytes(body), at
