"""Documents from S3: read as a stream, measured and hashed on the way, never larger than allowed."""

from __future__ import annotations

import hashlib
import json

from keepwarm_runtime.errors import BadEvent, EmptyDocument, TooLargeDocument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from keepwarm_runtime.aws import S3
    from keepwarm_runtime.deadline import Deadline

DEFAULT_MAX_BYTES = 50 * 1024 * 1024
"""Largest document read into memory unless the caller says otherwise."""


class Document:
    """A document in memory, and what identifies it."""

    __slots__ = ("bucket", "content_type", "data", "etag", "key", "sha256", "version_id")

    def __init__(
        self,
        bucket: str,
        key: str,
        data: bytes,
        sha256: str,
        etag: str,
        version_id: str | None,
        content_type: str,
    ) -> None:
        self.bucket = bucket
        self.key = key
        self.data = data
        self.sha256 = sha256
        self.etag = etag
        self.version_id = version_id
        self.content_type = content_type

    @property
    def size_bytes(self) -> int:
        """Length of the data."""
        return len(self.data)


class S3Object:
    """What an S3 event says about one object."""

    __slots__ = ("bucket", "key", "sequencer", "size", "version_id")

    def __init__(self, bucket: str, key: str, version_id: str | None, sequencer: str, size: int) -> None:
        self.bucket = bucket
        self.key = key
        self.version_id = version_id
        self.sequencer = sequencer
        self.size = size


def read_document(
    s3: S3,
    bucket: str,
    key: str,
    *,
    deadline: Deadline,
    max_bytes: int = DEFAULT_MAX_BYTES,
    version_id: str | None = None,
) -> Document:
    """Read an object of at most `max_bytes`.

    Raises:
        TooLargeDocument: it is larger; at most `max_bytes` were read, none when its length says so.
        EmptyDocument: it has no bytes.
        NotFound, AccessDenied, Unreachable, BrokenAnswer: as S3 says.
    """
    name = f"s3://{bucket}/{key}"
    digest = hashlib.sha256()
    with s3.stream(bucket, key, version_id=version_id, deadline=deadline) as stream:
        announced = stream.length
        if announced is not None and announced > max_bytes:
            raise TooLargeDocument(name, f"{announced:,} bytes", allowed=f"at most {max_bytes:,} bytes")
        if announced is not None:
            whole = bytearray(announced)
            view = memoryview(whole)
            at = 0
            while got := stream.read_into(view[at : at + 256 * 1024]):
                digest.update(view[at : at + got])
                at += got
            data = bytes(whole)
        else:
            data = _unannounced(stream.chunks(), max_bytes, name)
            digest.update(data)
        headers = stream.headers
    if not data:
        raise EmptyDocument(name, "0 bytes")
    return Document(
        bucket,
        key,
        data,
        digest.hexdigest(),
        headers.get("etag", ""),
        headers.get("x-amz-version-id"),
        headers.get("content-type", ""),
    )


def _unannounced(chunks: Any, max_bytes: int, name: str) -> bytes:
    parts: list[bytes] = []
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > max_bytes:
            raise TooLargeDocument(
                name, f"more than {max_bytes:,} bytes", allowed=f"at most {max_bytes:,} bytes"
            )
        parts.append(bytes(chunk))
    return b"".join(parts)


def s3_records(body: str | dict[str, Any]) -> list[S3Object]:
    """Read the created objects out of an S3 notification or an EventBridge `Object Created` event.

    `s3:TestEvent`, which S3 sends when a notification is configured, and removals are no objects.

    Raises:
        BadEvent: it is neither.
    """
    event: Any = body
    if isinstance(body, str):
        try:
            event = json.loads(body)
        except ValueError as error:
            raise BadEvent(
                "S3 event", f"text that is not JSON ({error})", allowed="an S3 notification"
            ) from error
    if not isinstance(event, dict):
        raise BadEvent("S3 event", f"a JSON {type(event).__name__}", allowed="an S3 notification")
    if event.get("Event") == "s3:TestEvent":
        return []
    try:
        if event.get("detail-type") == "Object Created":
            detail = event["detail"]
            entry = detail["object"]
            return [_object(detail["bucket"]["name"], entry["key"], entry)]
        return [
            _object(
                record["s3"]["bucket"]["name"],
                _plus_unquote(record["s3"]["object"]["key"]),
                record["s3"]["object"],
            )
            for record in event["Records"]
            if str(record.get("eventName", "ObjectCreated")).removeprefix("s3:").startswith("ObjectCreated")
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise BadEvent(
            "S3 event",
            f"no {error}",
            allowed="Records[].s3.bucket.name and .object.key, or an Object Created detail",
        ) from error


def _object(bucket: Any, key: Any, entry: dict[str, Any]) -> S3Object:
    if not isinstance(bucket, str) or not isinstance(key, str) or not bucket or not key:
        raise BadEvent("S3 event", f"bucket {bucket!r} and key {key!r}", allowed="two non-empty strings")
    version = entry.get("versionId") or entry.get("version-id")
    size = entry.get("size", 0)
    return S3Object(
        bucket, key, version, str(entry.get("sequencer", "")), size if isinstance(size, int) else 0
    )


def _plus_unquote(key: Any) -> str:
    from urllib.parse import unquote_plus

    return unquote_plus(key)
