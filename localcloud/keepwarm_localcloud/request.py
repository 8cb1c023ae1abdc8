"""What travels between the front server and a service: requests, responses, callers and AWS's refusals."""

import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, Protocol


@dataclass(frozen=True, slots=True)
class Caller:
    """Who signed a request: the operator (`role_arn` is None) or a session of a role."""

    access_key: str = "test"
    role_arn: str | None = None


class Readable(Protocol):
    """A request body that is read once, from start to end."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to `size` bytes (all when negative); fewer only at the end."""
        ...


@dataclass(slots=True)
class Request:
    """One parsed AWS request. `body` is read for every service but S3, which streams from `stream`."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: Mapping[str, str]
    """Header names in lower case."""
    service: str
    """Signing name: `lambda`, `sqs`, `s3`, `states`, `ecs`, ..."""
    region: str
    caller: Caller = field(default_factory=Caller)
    body: bytes = b""
    stream: Readable | None = None
    content_length: int = 0
    raw_path: str = ""
    """Path exactly as sent (percent-encoded)."""

    def json(self) -> dict[str, Any]:
        """Parse the body; an empty body is an empty object.

        Raises:
            AwsError: the body is not a JSON object.
        """
        if not self.body:
            return {}
        try:
            parsed = json.loads(self.body)
        except ValueError as error:
            raise AwsError("SerializationException", f"the body is not JSON: {error}") from error
        if not isinstance(parsed, dict):
            raise AwsError("SerializationException", "the body must be a JSON object")
        return parsed

    def target(self) -> str:
        """Operation of a JSON-protocol request (`X-Amz-Target` after the dot), or ''."""
        return self.headers.get("x-amz-target", "").rpartition(".")[2]


@dataclass(slots=True)
class Response:
    """What goes back. `body` is bytes, or an iterable of chunks, or a file range sent with sendfile."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | Iterable[bytes] = b""
    file: tuple[IO[bytes], int, int] | None = None
    """Open file, offset, length: the front server sends it with `socket.sendfile` and closes the file."""

    @classmethod
    def of_json(cls, value: Any, status: int = 200, *, content_type: str = "application/json") -> "Response":
        """Build a JSON answer."""
        return cls(status, {"Content-Type": content_type}, json.dumps(value).encode())


class AwsError(Exception):
    """A refusal as AWS words it; the front server renders it in the protocol of the service."""

    def __init__(
        self, code: str, message: str, status: int = 400, *, extra: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status
        self.extra = dict(extra or {})


def escape(text: str) -> str:
    """Text for XML content. `xml.sax` has one too, and costs twenty modules at start."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def request_id() -> str:
    """A new request id."""
    return str(uuid.uuid4())
