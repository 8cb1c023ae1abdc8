"""HTTP/1.1 on a plain socket: keep-alive, TCP_NODELAY, and a timeout on every read.

`http.client` brings the email package (16 ms of every cold start) and copies bodies twice; a model is received
straight into its destination here. Only what AWS and our own services send is understood: a status line, headers,
and a body with Content-Length, chunked, or up to the end of the connection.
"""

from __future__ import annotations

import os
import socket
import time

from keepwarm_runtime.deadline import Deadline

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

MAX_HEADER_BYTES = 64 * 1024
READ_BYTES = 256 * 1024
ARMED_S = 0.2
"""How late, at most, a deadline is noticed on a connection that keeps delivering, in seconds."""
MAX_SOCKET_WAIT_S = 60.0
"""Longest silence accepted from a server, in seconds, however far the deadline is."""


class NoAnswer(OSError):
    """The connection gave no complete answer. `sent`: some bytes of the request may have arrived."""

    def __init__(self, text: str, *, sent: bool) -> None:
        super().__init__(text)
        self.sent = sent


class CutShort(NoAnswer):
    """The body ended before its announced length."""


class Address:
    """Scheme, host and port of a server."""

    __slots__ = ("host", "host_header", "port", "secure")

    def __init__(self, url: str) -> None:
        scheme, separator, rest = url.partition("://")
        host, _, _ = rest.partition("/")
        if not separator or scheme not in ("http", "https") or not host:
            raise ValueError(f"an endpoint must be http://host[:port] or https://host[:port], got {url!r}")
        self.secure = scheme == "https"
        self.host_header = host
        if host.startswith("["):
            name, _, port = host[1:].partition("]")
            port = port.lstrip(":")
        else:
            name, _, port = host.partition(":")
        self.host = name
        self.port = int(port) if port else (443 if self.secure else 80)


_tls: ssl.SSLContext | None = None


def _tls_context() -> ssl.SSLContext:
    global _tls
    if _tls is None:
        import ssl

        _tls = ssl.create_default_context(cafile=os.environ.get("AWS_CA_BUNDLE") or None)
    return _tls


class Response:
    """An answer whose body is still on the wire."""

    __slots__ = (
        "_buffer",
        "_chunk_left",
        "_chunked",
        "_connection",
        "_left",
        "finished",
        "headers",
        "keep",
        "status",
    )

    def __init__(
        self, connection: Connection, status: int, headers: dict[str, str], buffer: bytes, *, bodiless: bool
    ) -> None:
        self._connection = connection
        self.status = status
        self.headers = headers
        self._buffer = buffer
        self._chunked = headers.get("transfer-encoding", "").lower() == "chunked" and not bodiless
        self._chunk_left = 0
        length = headers.get("content-length")
        self._left: int | None = None
        if bodiless:
            self._left = 0
        elif length is not None and not self._chunked:
            self._left = int(length)
        self.keep = headers.get("connection", "").lower() != "close" and (
            self._left is not None or self._chunked
        )
        self.finished = self._left == 0

    @property
    def length(self) -> int | None:
        """Bytes of the body that are still to come, when the server said."""
        return self._left

    def read_into(self, view: memoryview) -> int:
        """Receive at most `len(view)` bytes straight into `view`; 0 at the end of the body.

        Raises:
            CutShort: the connection ended first.
            NoAnswer: silence until the timeout.
        """
        if self.finished or not len(view):
            return 0
        if self._chunked:
            return self._read_chunked_into(view)
        want = len(view) if self._left is None else min(len(view), self._left)
        got = self._receive_into(view[:want])
        if got == 0:
            if self._left is None:
                self.finished = True
                return 0
            raise CutShort(f"the body ended {self._left} bytes early", sent=True)
        if self._left is not None:
            self._left -= got
            self.finished = self._left == 0
        return got

    def read(self) -> bytes:
        """Receive the rest of the body."""
        parts: list[bytes] = []
        if self._left is not None and not self._chunked:
            whole = bytearray(self._left)
            view = memoryview(whole)
            at = 0
            while not self.finished:
                at += self.read_into(view[at:])
            return bytes(whole)
        scratch = memoryview(bytearray(64 * 1024))
        while got := self.read_into(scratch):
            parts.append(bytes(scratch[:got]))
        return b"".join(parts)

    def _receive_into(self, view: memoryview) -> int:
        if self._buffer:
            got = min(len(view), len(self._buffer))
            view[:got] = self._buffer[:got]
            self._buffer = self._buffer[got:]
            return got
        return self._connection.receive_into(view)

    def _read_chunked_into(self, view: memoryview) -> int:
        if self._chunk_left == 0:
            size = int(self._line().split(b";")[0], 16)
            if size == 0:
                while self._line():
                    pass
                self.finished = True
                return 0
            self._chunk_left = size
        got = self._receive_into(view[: min(len(view), self._chunk_left)])
        if got == 0:
            raise CutShort("the chunked body ended early", sent=True)
        self._chunk_left -= got
        if self._chunk_left == 0:
            self._line()
        return got

    def _line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            if len(self._buffer) > MAX_HEADER_BYTES:
                raise NoAnswer("a chunk header without an end", sent=True)
            more = self._connection.receive(4096)
            if not more:
                raise CutShort("the chunked body ended early", sent=True)
            self._buffer += more
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line


class Connection:
    """One connection, used for one request at a time."""

    __slots__ = ("_armed_until_s", "_deadline", "_socket", "address", "idle_since_s", "used")

    def __init__(self, address: Address, deadline: Deadline, connect_timeout_s: float = 5.0) -> None:
        self.address = address
        self.used = False
        self.idle_since_s = 0.0
        self._deadline = deadline
        self._armed_until_s = 0.0
        timeout_s = min(connect_timeout_s, deadline.remaining_s())
        if timeout_s <= 0:
            raise NoAnswer("no time left to connect", sent=False)
        try:
            plain = socket.create_connection((address.host, address.port), timeout_s)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket: socket.socket = (
                _tls_context().wrap_socket(plain, server_hostname=address.host) if address.secure else plain
            )
        except OSError as error:
            raise NoAnswer(
                f"could not connect to {address.host}:{address.port}: {error}", sent=False
            ) from error

    def request(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | memoryview,
        deadline: Deadline,
    ) -> Response:
        """Send one request and return once the headers of the answer are here.

        Raises:
            NoAnswer: with `sent` False only while not one byte can have arrived.
        """
        self._armed_until_s = 0.0
        self._deadline = deadline
        head = (
            f"{method} {target} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items()) + "\r\n"
        )
        if deadline.remaining_s() <= 0:
            raise NoAnswer("no time left to send", sent=False)
        try:
            self._arm()
            # One write for small requests: two would wait for each other (Nagle and delayed acknowledgement).
            if len(body) <= 64 * 1024:
                self._socket.sendall(head.encode("latin-1") + bytes(body))
            else:
                self._socket.sendall(head.encode("latin-1"))
                self._socket.sendall(body)
        except OSError as error:
            raise NoAnswer(f"the request could not be sent: {error}", sent=True) from error
        response = self._headers(method)
        while response.status == 100:
            response = self._headers(method, response._buffer)
        self.used = True
        return response

    def _headers(self, method: str, buffer: bytes = b"") -> Response:
        while b"\r\n\r\n" not in buffer:
            if len(buffer) > MAX_HEADER_BYTES:
                raise NoAnswer("headers of more than 64 KiB", sent=True)
            more = self.receive(READ_BYTES)
            if not more:
                raise NoAnswer("the connection closed without an answer", sent=True)
            buffer += more
        head, _, rest = buffer.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        parts = lines[0].split(" ", 2)
        if len(parts) < 2 or not parts[0].startswith("HTTP/1.") or not parts[1].isdigit():
            raise NoAnswer(f"not an HTTP answer: {lines[0][:80]!r}", sent=True)
        headers: dict[str, str] = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        status = int(parts[1])
        bodiless = method == "HEAD" or status in (100, 204, 304)
        return Response(self, status, headers, rest, bodiless=bodiless)

    def _arm(self) -> None:
        now = time.monotonic()
        if now < self._armed_until_s:
            return
        left = self._deadline.remaining_s()
        if left <= 0:
            raise NoAnswer("the deadline passed while waiting", sent=True)
        self._socket.settimeout(min(left, MAX_SOCKET_WAIT_S))
        # Setting a timeout is a system call: not for every piece of a large body.
        self._armed_until_s = now + min(ARMED_S, left / 2)

    def receive(self, size: int) -> bytes:
        """Receive at most `size` bytes; empty at the end of the connection."""
        self._arm()
        try:
            return self._socket.recv(size)
        except OSError as error:
            raise NoAnswer(f"no answer: {error}", sent=True) from error

    def receive_into(self, view: memoryview) -> int:
        """Receive into `view`; 0 at the end of the connection."""
        self._arm()
        try:
            return self._socket.recv_into(view)
        except OSError as error:
            raise NoAnswer(f"no answer: {error}", sent=True) from error

    def stale(self) -> bool:
        """Tell whether the server closed this idle connection (or sent what nobody asked for)."""
        self._armed_until_s = 0.0
        try:
            self._socket.settimeout(0)
            return bool(self._socket.recv(1, socket.MSG_PEEK)) or True
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            # TLS sockets refuse MSG_PEEK (ValueError below) and report pending reads as an SSL error.
            return not self.address.secure
        except ValueError:
            return False

    def close(self) -> None:
        """Close; never raises."""
        try:
            self._socket.close()
        except OSError:
            # Closing is best effort: the descriptor is gone either way.
            return


class Pool:
    """Idle connections per server. Safe to share between threads: list.append and list.pop are atomic."""

    __slots__ = ("_idle", "max_idle_s")

    def __init__(self, max_idle_s: float = 20.0) -> None:
        self._idle: dict[tuple[str, int, bool], list[Connection]] = {}
        self.max_idle_s = max_idle_s

    def take(self, address: Address, deadline: Deadline, *, fresh: bool = False) -> Connection:
        """Return an idle connection that still lives, or a new one."""
        idle = self._idle.get((address.host, address.port, address.secure))
        while idle:
            try:
                connection = idle.pop()
            except IndexError:
                break
            if fresh or time.monotonic() - connection.idle_since_s > self.max_idle_s or connection.stale():
                connection.close()
                continue
            return connection
        return Connection(address, deadline)

    def give_back(self, connection: Connection, response: Response) -> None:
        """Keep the connection when its answer was read to the end, close it otherwise."""
        if not response.finished or not response.keep or response._buffer:
            connection.close()
            return
        address = connection.address
        connection.idle_since_s = time.monotonic()
        self._idle.setdefault((address.host, address.port, address.secure), []).append(connection)

    def clear(self) -> None:
        """Close every idle connection: after a snapshot is restored none of them lives."""
        for idle in list(self._idle.values()):
            while idle:
                idle.pop().close()
