"""HTTP/1.1 server of the embedded cloud: threads on sockets, no framework.

Written for two callers with opposite wishes. SDKs send thousands of small requests, so a request costs one receive and
one send. Models are gigabytes, so bodies are streams in both directions and files leave by `sendfile`. Everything a
client could do slowly or without end (headers, bodies, idling) has a bound.
"""

import contextlib
import ipaddress
import os
import re
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import IO, Final

from keepwarm_localcloud.errors import LocalCloudError
from keepwarm_localcloud.front.http_body import (
    MAX_HEADER_BYTES,
    BodyReader,
    HttpError,
    Wire,
    check_deadline,
)
from keepwarm_localcloud.request import Response

MAX_CONNECTIONS: Final = 1_024
IDLE_S: Final = 120
HEADER_S: Final = 20
SEND_S: Final = 60
SENDFILE_BYTES: Final = 8_388_608

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")


@dataclass(slots=True)
class HttpRequest:
    """A request whose headers were read; the body is still on the wire behind `body`."""

    method: str
    target: str
    """Path and query exactly as sent."""
    version: str
    headers: dict[str, str]
    """Lower-case names; repeated headers joined with commas."""
    body: "BodyReader"
    content_length: int
    """Bytes of the body, or -1 when it is chunked."""
    received_s: float = field(default_factory=time.monotonic)


def _parse_head(head: str) -> tuple[str, str, str, dict[str, str]]:
    lines = head.split("\r\n")
    parts = lines[0].split(" ")
    if len(parts) != 3 or not _TOKEN.match(parts[0]):
        raise HttpError(400, "the request line is not `METHOD target HTTP/1.1`")
    method, target, version = parts
    if version not in ("HTTP/1.1", "HTTP/1.0"):
        raise HttpError(505, "only HTTP/1.1 is spoken here")
    if target.startswith(("http://", "https://")):
        target = "/" + target.split("://", 1)[1].partition("/")[2]
    elif not target.startswith("/"):
        raise HttpError(400, "the target must be a path")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not _TOKEN.match(name):
            raise HttpError(400, "a header line is malformed")
        name = name.lower()
        value = value.strip(" \t")
        if "\n" in value or "\r" in value or "\0" in value:
            raise HttpError(400, "a header value has a control character")
        if name in headers:
            if name in ("content-length", "host", "transfer-encoding") and headers[name] != value:
                raise HttpError(400, f"two different {name} headers")
            headers[name] = f"{headers[name]},{value}" if name != "content-length" else value
        else:
            headers[name] = value
    return method, target, version, headers


def _body_of(wire: Wire, headers: dict[str, str], version: str) -> tuple[BodyReader, int]:
    coding = headers.get("transfer-encoding", "").lower()
    length_text = headers.get("content-length")
    if coding and coding != "chunked":
        raise HttpError(501, "only the chunked transfer coding is known")
    if coding and length_text is not None:
        raise HttpError(400, "content-length and transfer-encoding together")
    length = 0
    if length_text is not None:
        if not (length_text.isascii() and length_text.isdigit()) or len(length_text) > 15:
            raise HttpError(400, "content-length is not a number")
        length = int(length_text)
    expects = version == "HTTP/1.1" and headers.get("expect", "").lower() == "100-continue"
    reader = BodyReader(
        wire, length, chunked=bool(coding), expects_continue=expects and bool(length or coding)
    )
    return reader, -1 if coding else length


_REASONS: Final = {status.value: status.phrase for status in HTTPStatus}
_date_cache: tuple[int, str] = (0, "")


def _date() -> str:
    global _date_cache
    now = int(time.time())
    if _date_cache[0] != now:
        _date_cache = (now, formatdate(now, usegmt=True))
    return _date_cache[1]


class HttpServer:
    """Listen on loopback and answer each request with `handler`; one thread per connection.

    Args:
        handler: Called in the connection's thread. It must not raise; what it raises all the same closes the
            connection and goes to `on_crash`.
        host: A loopback address.
        port: 0 lets the system choose.

    Raises:
        LocalCloudError: KW601 when `host` is not loopback, KW600 when the port cannot be had.
    """

    def __init__(
        self,
        handler: Callable[[HttpRequest], Response],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        on_crash: Callable[[BaseException], None] | None = None,
    ) -> None:
        _require_loopback(host)
        self._handler = handler
        self._on_crash = on_crash
        self._lock = threading.Lock()
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._stopping = False
        self._listener = _listen(host, port)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, name="keepwarm-http", daemon=True)

    def start(self) -> None:
        """Begin to accept."""
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> int:
        """Close every socket and wait for the threads; gives the number of threads that did not end in time."""
        with self._lock:
            self._stopping = True
            connections = dict(self._connections)
        # shutdown wakes accept() on Linux; close alone does not.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in connections:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        deadline_s = time.monotonic() + timeout_s
        threads = [*connections.values(), *([self._thread] if self._thread.ident else [])]
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline_s - time.monotonic()))
        return sum(t.is_alive() for t in threads if t is not threading.current_thread())

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                if self._stopping:
                    return
                # Out of descriptors is the case that comes back by itself; spinning on it would not help.
                time.sleep(0.05)
                continue
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", SEND_S, 0))
            thread = threading.Thread(
                target=self._serve, args=(sock,), name="keepwarm-http-client", daemon=True
            )
            with self._lock:
                refused = self._stopping or len(self._connections) >= MAX_CONNECTIONS
                if not refused:
                    self._connections[sock] = thread
                    # Under the lock: `stop` joins what it finds here, and a thread that has not begun can't be joined.
                    thread.start()
            if refused:
                with contextlib.suppress(OSError):
                    sock.sendall(
                        b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n"
                        b"Content-Length: 0\r\nConnection: close\r\n\r\n"
                    )
                sock.close()

    def _serve(self, sock: socket.socket) -> None:
        wire = Wire(sock)
        try:
            wire.receive_timeout(IDLE_S)
            while self._one(wire):
                pass
        except (ConnectionError, TimeoutError, BlockingIOError):
            pass  # The client left or idled; there is nobody to tell.
        except HttpError as error:
            with contextlib.suppress(OSError):
                _send(
                    sock,
                    "GET",
                    Response(error.status, {"Content-Type": "text/plain"}, str(error).encode()),
                    keep=False,
                )
        except OSError as error:
            if not self._stopping and self._on_crash:
                self._on_crash(error)
        except BaseException as error:
            if self._on_crash:
                self._on_crash(error)
        finally:
            with self._lock:
                self._connections.pop(sock, None)
            sock.close()

    def _one(self, wire: Wire) -> bool:
        head = _read_head(wire)
        if head is None:
            return False
        method, target, version, headers = _parse_head(head)
        body, length = _body_of(wire, headers, version)
        connection = headers.get("connection", "").lower()
        keep = "close" not in connection and (version == "HTTP/1.1" or "keep-alive" in connection)
        response = self._handler(HttpRequest(method, target, version, headers, body, length))
        keep = keep and not self._stopping
        if keep and not body.finished:
            try:
                keep = body.drain()
            except HttpError:
                # The answer stands; what follows a broken body can't be told apart from the next request.
                keep = False
        _send(wire.sock, method, response, keep=keep)
        return keep


def _read_head(wire: Wire) -> str | None:
    deadline_s = 0.0
    searched = 0
    while (end := wire.buffer.find(b"\r\n\r\n", searched)) < 0:
        searched = max(0, len(wire.buffer) - 3)
        if len(wire.buffer) > MAX_HEADER_BYTES:
            raise HttpError(431, "the headers are too long")
        if wire.buffer and not deadline_s:
            deadline_s = time.monotonic() + HEADER_S
            wire.receive_timeout(HEADER_S)
        if deadline_s:
            check_deadline(deadline_s)
        if not wire.more():
            if wire.buffer:
                raise ConnectionResetError("client left in the middle of the headers")
            return None
    if end > MAX_HEADER_BYTES:
        raise HttpError(431, "the headers are too long")
    if deadline_s:
        wire.receive_timeout(IDLE_S)
    head = wire.buffer[:end].decode("latin-1").lstrip("\r\n")
    del wire.buffer[: end + 4]
    return head


def _send(sock: socket.socket, method: str, response: Response, *, keep: bool) -> None:
    body = response.body
    headers = response.headers
    lines = [f"HTTP/1.1 {response.status} {_REASONS.get(response.status, 'Status')}", f"Date: {_date()}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    names = {name.lower() for name in headers}
    bodiless = method == "HEAD" or response.status in (204, 304) or response.status < 200
    streamed = response.file is None and not isinstance(body, (bytes, bytearray))
    chunked = streamed and "content-length" not in names and not bodiless
    if response.file is not None:
        if "content-length" not in names:
            lines.append(f"Content-Length: {response.file[2]}")
    elif chunked:
        lines.append("Transfer-Encoding: chunked")
    elif not streamed and "content-length" not in names and response.status not in (204, 304):
        lines.append(f"Content-Length: {len(body)}")  # type: ignore[arg-type]
    if not keep:
        lines.append("Connection: close")
    # A value may come from a query (response-content-disposition): it must not end the header it is in.
    safe = [
        line.replace("\r", " ").replace("\n", " ") if "\r" in line or "\n" in line else line for line in lines
    ]
    head = ("\r\n".join(safe) + "\r\n\r\n").encode("latin-1", "replace")
    try:
        if bodiless:
            sock.sendall(head)
        elif response.file is not None:
            _send_file(sock, head, *response.file)
        elif isinstance(body, (bytes, bytearray)):
            # One write: two small ones meet Nagle and delayed acknowledgement, 40 ms each.
            sock.sendall(head + body if len(body) < 65_536 else head)
            if len(body) >= 65_536:
                sock.sendall(body)
        else:
            sock.sendall(head)
            for piece in body:
                if piece:
                    sock.sendall(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            if chunked:
                sock.sendall(b"0\r\n\r\n")
    finally:
        if response.file is not None:
            response.file[0].close()


def _send_file(sock: socket.socket, head: bytes, file: IO[bytes], offset: int, length: int) -> None:
    descriptor = file.fileno()
    sock.sendall(head, socket.MSG_MORE if length else 0)
    end = offset + length
    while offset < end:
        sent = os.sendfile(sock.fileno(), descriptor, offset, min(end - offset, SENDFILE_BYTES))
        if sent == 0:
            raise ConnectionResetError("the file is shorter than announced")
        offset += sent


def _require_loopback(host: str) -> None:
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if not loopback:
        raise LocalCloudError(
            "KW601",
            "localcloud host",
            got=host,
            allowed="127.0.0.1, ::1 or localhost",
            because="the embedded cloud runs code for whoever can reach it",
            fix="leave the host out",
        )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(512)
    except (OSError, OverflowError) as error:
        listener.close()
        raise LocalCloudError(
            "KW600",
            "localcloud port",
            got=f"{port} ({error})",
            allowed="a free port of 1024..65535, or 0",
            because="another program listens there or the system forbids it",
            fix="choose another --port, or 0 to let the system choose",
        ) from error
    return listener
