"""HTTP/1.1 for a service that must not be held up: bounded heads, timed bodies, one write for an answer.

Chunked bodies are refused (411 would be their status, it is answered as a bad request): a picture has a known length.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from inference_server.errors import BadRequest, ServiceFault, TooLargeDocument, TooSlow

MAX_HEAD_BYTES = 16 * 1024
MAX_HEADERS = 100
LINGER_BYTES = 1024 * 1024
"""Bytes of a refused body that are read and dropped, so that the refusal reaches a client that is still sending."""
LINGER_S = 1.0

REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    424: "Failed Dependency",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class Closed(Exception):
    """The client is gone; there is nobody to answer."""


@dataclass(slots=True)
class Head:
    """A request without its body."""

    method: str
    path: str
    headers: Mapping[str, str]
    keep_alive: bool
    length: int
    """Bytes of the body."""

    def get(self, name: str, default: str = "") -> str:
        """A header by its lower-case name."""
        return self.headers.get(name, default)


@dataclass(slots=True)
class Answer:
    """A response."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, value: Any, status: int = 200, **headers: str) -> Answer:
        """A JSON answer."""
        body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
        return cls(status, body, headers=dict(headers))

    @classmethod
    def refusal(cls, fault: ServiceFault) -> Answer:
        """A fault as an answer, with Retry-After in whole seconds where a retry makes sense."""
        answer = cls.of(fault.as_body(), fault.status)
        if fault.retry_after_s is not None:
            answer.headers["Retry-After"] = str(max(1, round(fault.retry_after_s + 0.49)))
        return answer


async def read_head(reader: asyncio.StreamReader, *, idle_s: float, head_s: float) -> Head | None:
    """Read the next request's head; None when the client closes, or stays silent for `idle_s`.

    Raises:
        TooSlow: the head began and did not end within `head_s`.
        BadRequest: it is not HTTP, or larger than `MAX_HEAD_BYTES`.
        Closed: the client went away in the middle.
    """
    try:
        first = await asyncio.wait_for(reader.read(1), idle_s)
    except (TimeoutError, ConnectionError):
        return None
    if not first:
        return None
    try:
        rest = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), head_s)
    except TimeoutError:
        raise TooSlow("request", "a head that did not end", allowed=f"{head_s:g} s") from None
    except asyncio.LimitOverrunError:
        raise _too_long() from None
    except (asyncio.IncompleteReadError, ConnectionError):
        raise Closed from None
    if len(rest) > MAX_HEAD_BYTES:
        raise _too_long()
    return parse_head(first + rest)


def _too_long() -> BadRequest:
    return BadRequest("request", "a head without an end", allowed=f"at most {MAX_HEAD_BYTES:,} bytes")


def parse_head(data: bytes) -> Head:
    """Read a head. Raises BadRequest for anything that two programs could read differently."""
    lines = data.decode("latin-1")[:-4].split("\r\n")
    parts = lines[0].split(" ")
    if len(parts) != 3 or not _TOKEN.fullmatch(parts[0]) or not parts[1].startswith("/"):
        raise BadRequest("request line", repr(lines[0][:60]), allowed="METHOD /path HTTP/1.1")
    if parts[2] not in {"HTTP/1.1", "HTTP/1.0"}:
        raise BadRequest("request line", repr(parts[2][:20]), allowed="HTTP/1.1")
    if len(lines) - 1 > MAX_HEADERS:
        raise BadRequest("request", f"{len(lines) - 1} headers", allowed=f"{MAX_HEADERS}")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not _TOKEN.fullmatch(name) or any(ord(c) < 32 and c != "\t" for c in value):
            raise BadRequest("header", repr(line[:60]), allowed="name: value")
        name = name.lower()
        if name in headers and name in {"content-length", "host", "transfer-encoding", "idempotency-key"}:
            raise BadRequest("header", f"{name} twice", allowed="once")
        headers[name] = value.strip()
    if "transfer-encoding" in headers:
        raise BadRequest("header", "transfer-encoding", allowed="a body with Content-Length")
    length = headers.get("content-length", "0")
    if not re.fullmatch(r"[0-9]{1,12}", length):
        raise BadRequest("header content-length", repr(length[:30]), allowed="a whole number")
    connection = headers.get("connection", "").lower()
    keep_alive = connection != "close" if parts[2] == "HTTP/1.1" else connection == "keep-alive"
    return Head(parts[0], parts[1].partition("?")[0], headers, keep_alive, int(length))


async def read_body(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: Head, *, most: int, seconds: float
) -> bytes:
    """Read the body.

    Raises:
        TooLargeDocument: it is announced larger than `most`; nothing of it was read.
        TooSlow: it did not arrive within `seconds`.
        Closed: the client went away in the middle.
    """
    if head.length > most:
        raise TooLargeDocument("body", f"{head.length:,} bytes", allowed=f"{most:,} bytes")
    if not head.length:
        return b""
    if head.get("expect").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    try:
        return await asyncio.wait_for(reader.readexactly(head.length), seconds)
    except TimeoutError:
        raise TooSlow("body", f"less than {head.length:,} bytes in time", allowed=f"{seconds:g} s") from None
    except (asyncio.IncompleteReadError, ConnectionError):
        raise Closed from None


async def send(writer: asyncio.StreamWriter, answer: Answer, *, close: bool) -> None:
    """Write an answer in one piece: two small writes could wait for each other's acknowledgement."""
    lines = [
        f"HTTP/1.1 {answer.status} {REASONS.get(answer.status, 'Unknown')}",
        f"Content-Type: {answer.content_type}",
        f"Content-Length: {len(answer.body)}",
        *(f"{name}: {value}" for name, value in answer.headers.items()),
    ]
    if close:
        lines.append("Connection: close")
    try:
        writer.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + answer.body)
        await writer.drain()
    except ConnectionError:
        raise Closed from None


async def linger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read and drop what a refused client is still sending, a little: a reset would take the refusal with it."""
    try:
        if writer.can_write_eof():
            writer.write_eof()
        async with asyncio.timeout(LINGER_S):
            left = LINGER_BYTES
            while left > 0 and (piece := await reader.read(65_536)):
                left -= len(piece)
    except (TimeoutError, OSError):
        return
