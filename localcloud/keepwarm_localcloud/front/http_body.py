"""Bodies of HTTP requests: read from the socket once, by length or in chunks, with a deadline."""

import io
import re
import socket
import struct
import time
from collections.abc import Iterator
from typing import Final

RECEIVE_BYTES: Final = 262_144
DRAIN_BYTES: Final = 1_048_576
"""An answer given before the whole body was read still keeps the connection when this little is left."""
BODY_GRACE_S: Final = 60
BODY_MIN_BYTES_PER_S: Final = 65_536
MAX_HEADER_BYTES: Final = 65_536
"""Request line and headers together. S3 alone allows 8 KB, API Gateway 10 KB; the session token is the big one."""
_CHUNK_SIZE = re.compile(rb"[0-9a-fA-F]{1,15}\Z")


class HttpError(Exception):
    """A request that is not HTTP we accept: answered with `status` and the connection closed."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Wire:
    """Buffered receiving end of one connection."""

    __slots__ = ("buffer", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.buffer = bytearray()

    def receive_timeout(self, seconds: float) -> None:
        """How long one receive may take."""
        # Kernel timeouts keep the socket blocking: no poll before each recv, and sendfile needs no selector.
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", int(seconds), 0))

    def more(self) -> bool:
        """Append what arrives next; False at the end of the stream."""
        data = self.sock.recv(RECEIVE_BYTES)
        self.buffer += data
        return bool(data)

    def line(self, limit: int, deadline_s: float) -> bytes:
        """One CRLF-ended line without its end."""
        while (end := self.buffer.find(b"\r\n")) < 0:
            if len(self.buffer) > limit:
                raise HttpError(400, "line too long")
            check_deadline(deadline_s)
            if not self.more():
                raise ConnectionResetError("client left in the middle of a line")
        line = bytes(self.buffer[:end])
        del self.buffer[: end + 2]
        return line

    def take(self, limit: int) -> bytes:
        """At most `limit` bytes: what is buffered, or else one receive."""
        if self.buffer:
            data = bytes(self.buffer[:limit])
            del self.buffer[:limit]
            return data
        return self.sock.recv(min(limit, RECEIVE_BYTES))


def check_deadline(deadline_s: float) -> None:
    """Refuse a client that is too slow.

    Raises:
        HttpError: 408.
    """
    if time.monotonic() > deadline_s:
        raise HttpError(408, "the client is too slow")


class BodyReader(io.RawIOBase):
    """The request body as a stream: plain length or chunked; sends `100 Continue` when first read."""

    def __init__(self, wire: Wire, length: int, *, chunked: bool, expects_continue: bool) -> None:
        super().__init__()
        self._wire = wire
        self._remaining = length
        self._chunked = chunked
        self._expects_continue = expects_continue
        self.finished = not chunked and length == 0
        self.trailers: dict[str, str] = {}
        budget_s = BODY_GRACE_S + max(length, 0) / BODY_MIN_BYTES_PER_S
        self._deadline_s = time.monotonic() + (budget_s if not chunked else 3_600)

    def readable(self) -> bool:
        """Say yes."""
        return True

    def readinto(self, buffer: object) -> int:
        """Fill a buffer, for `io.BufferedReader`."""
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to `size` bytes (all that is left when negative); fewer only at the end.

        Raises:
            HttpError: the client is slower than the floor, or the chunk framing is broken.
            ConnectionResetError: the client left before the announced end.
        """
        if size is None or size < 0:
            return b"".join(iter(lambda: self.read(RECEIVE_BYTES), b""))
        first = self._some(size)
        if len(first) == size or not first:
            return first
        parts, have = [first], len(first)
        while have < size and (data := self._some(size - have)):
            parts.append(data)
            have += len(data)
        return b"".join(parts)

    def _some(self, limit: int) -> bytes:
        if self.finished or limit == 0:
            return b""
        if self._expects_continue:
            self._expects_continue = False
            self._wire.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        check_deadline(self._deadline_s)
        if self._chunked and self._remaining <= 0 and not self._next_chunk():
            return b""
        data = self._wire.take(min(limit, self._remaining))
        if not data:
            raise ConnectionResetError("client left in the middle of a body")
        self._remaining -= len(data)
        if self._remaining == 0:
            if self._chunked:
                if self._wire.line(16, self._deadline_s):
                    raise HttpError(400, "a chunk is longer than it says")
            else:
                self.finished = True
        return data

    def _next_chunk(self) -> bool:
        size = self._wire.line(1_024, self._deadline_s).partition(b";")[0].strip()
        if not _CHUNK_SIZE.match(size):
            raise HttpError(400, "a chunk has no size")
        self._remaining = int(size, 16)
        if self._remaining:
            return True
        while line := self._wire.line(MAX_HEADER_BYTES, self._deadline_s):
            name, _, value = line.decode("latin-1").partition(":")
            self.trailers[name.strip().lower()] = value.strip()
        self.finished = True
        return False

    def drain(self) -> bool:
        """Read and drop a small rest; True when the connection is at the next request."""
        if self.finished:
            return True
        # A client that still waits for `100 Continue` sends its body or not: only a new connection is certain.
        if self._expects_continue or self._remaining > DRAIN_BYTES:
            return False
        dropped = 0
        while data := self._some(RECEIVE_BYTES):
            dropped += len(data)
            if dropped > DRAIN_BYTES:
                return False
        return True


class AwsChunkedReader(io.RawIOBase):
    """Undo `aws-chunked`: sizes and signatures off, payload out, trailers kept.

    https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html
    """

    def __init__(self, source: io.RawIOBase, *, limit_line: int = 8_192) -> None:
        super().__init__()
        self._pieces = self._decode(source, limit_line)
        self._rest = b""
        self.trailers: dict[str, str] = {}

    def readable(self) -> bool:
        """Say yes."""
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to `size` payload bytes; fewer only at the end.

        Raises:
            HttpError: the framing is broken.
        """
        if size is None or size < 0:
            rest, self._rest = self._rest, b""
            return rest + b"".join(self._pieces)
        parts: list[bytes] = []
        have = 0
        while have < size:
            if not self._rest:
                self._rest = next(self._pieces, b"")
                if not self._rest:
                    break
            piece = self._rest[: size - have]
            self._rest = self._rest[len(piece) :]
            parts.append(piece)
            have += len(piece)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _decode(self, source: io.RawIOBase, limit_line: int) -> Iterator[bytes]:
        buffered = io.BufferedReader(source, 65_536)

        def line() -> bytes:
            raw = buffered.readline(limit_line)
            if not raw.endswith(b"\n"):
                raise HttpError(400, "aws-chunked: a line has no end")
            return raw.strip()

        while True:
            size_text = line().partition(b";")[0].strip()
            if not _CHUNK_SIZE.match(size_text):
                raise HttpError(400, "aws-chunked: a chunk has no size")
            remaining = int(size_text, 16)
            if remaining == 0:
                break
            while remaining:
                data = buffered.read(min(remaining, RECEIVE_BYTES))
                if not data:
                    raise HttpError(400, "aws-chunked: the body ends inside a chunk")
                remaining -= len(data)
                yield data
            if line():
                raise HttpError(400, "aws-chunked: a chunk is longer than it says")
        while True:
            raw = buffered.readline(limit_line)
            text = raw.strip().decode("latin-1")
            if not text:
                break
            name, _, value = text.partition(":")
            self.trailers[name.strip().lower()] = value.strip()
        buffered.read()
