"""The log of one environment: lines of the function and of the platform, and the tail that LogType=Tail gives."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

TAIL_BYTES = 4096
"""https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html"""
_FLUSH_BYTES = 256 * 1024


class EnvironmentLog:
    """Collects lines and hands them on in groups."""

    def __init__(self, put: Callable[[list[str]], None], *, as_json: bool) -> None:
        self.as_json = as_json
        """The platform's lines are JSON events."""
        self._put = put
        self._lines: list[str] = []
        self._bytes = 0
        self._partial = b""
        self._tail = bytearray()

    def forget_tail(self) -> None:
        """Start a new invocation: its tail begins here."""
        self._tail.clear()

    def tail(self) -> bytes:
        """The last 4 KB."""
        return bytes(self._tail[-TAIL_BYTES:])

    def feed(self, data: bytes) -> None:
        """Take what the process wrote, in whatever pieces."""
        *whole, self._partial = (self._partial + data).split(b"\n")
        for line in whole:
            self.line(line.decode("utf-8", "replace"))

    def line(self, line: str) -> None:
        """Add one event."""
        # awslambdaric separates the lines of one event by carriage returns.
        line = line.replace("\r", "\n")
        self._lines.append(line)
        self._bytes += len(line)
        self._tail += line.encode() + b"\n"
        if len(self._tail) > 4 * TAIL_BYTES:
            del self._tail[: -2 * TAIL_BYTES]
        if self._bytes > _FLUSH_BYTES:
            self.flush()

    def platform(self, text: str, kind: str, record: dict[str, Any]) -> None:
        """Add a line of the platform, as text or as a JSON event.

        https://docs.aws.amazon.com/lambda/latest/dg/telemetry-schema-reference.html
        """
        if self.as_json:
            text = json.dumps({"time": timestamp(), "type": kind, "record": record})
        self.line(text)

    def end_line(self) -> None:
        """Close a line that the process left open."""
        if self._partial:
            partial, self._partial = self._partial, b""
            self.line(partial.decode("utf-8", "replace"))

    def flush(self) -> None:
        """Hand on what is collected."""
        if self._lines:
            lines, self._lines, self._bytes = self._lines, [], 0
            self._put(lines)


def timestamp() -> str:
    """The time now as log lines have it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
