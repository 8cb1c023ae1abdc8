"""Preconditions and ranges of requests. Pure functions."""

import re
from collections.abc import Mapping

from keepwarm_localcloud.request import AwsError
from keepwarm_localcloud.services.s3.model import Version
from keepwarm_localcloud.services.s3.xml import parse_date

_RANGE = re.compile(r"bytes=(\d*)-(\d*)\Z")


def _failed(condition: str) -> AwsError:
    return AwsError(
        "PreconditionFailed",
        "At least one of the pre-conditions you specified did not hold",
        412,
        extra={"Condition": condition},
    )


def _matches(etags: str, etag: str) -> bool:
    return any(t.strip() == "*" or t.strip().removeprefix("W/").strip('"') == etag for t in etags.split(","))


def check_read(headers: Mapping[str, str], version: Version, prefix: str = "") -> None:
    """Check the conditions of a read (or of a copy's source, `prefix` being `x-amz-copy-source-`).

    Raises:
        AwsError: 412 PreconditionFailed, or NotModified with status 304 (412 for a copy).
    """
    if_match, if_none = headers.get(f"{prefix}if-match"), headers.get(f"{prefix}if-none-match")
    modified_s = int(version.modified_s)
    if if_match is not None:
        if not _matches(if_match, version.etag):
            raise _failed("If-Match")
    elif (
        since := parse_date(headers.get(f"{prefix}if-unmodified-since", ""))
    ) is not None and modified_s > since:
        raise _failed("If-Unmodified-Since")
    if if_none is not None:
        unchanged = _matches(if_none, version.etag)
    else:
        since = parse_date(headers.get(f"{prefix}if-modified-since", ""))
        unchanged = since is not None and modified_s <= since
    if unchanged:
        if prefix:
            raise _failed("If-None-Match" if if_none is not None else "If-Modified-Since")
        raise AwsError("NotModified", "Not Modified", 304, extra={"headers": {"ETag": f'"{version.etag}"'}})


def check_write(headers: Mapping[str, str], current: Version | None) -> None:
    """Check the conditions of a write against the newest version; a delete marker counts as nothing.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html

    Raises:
        AwsError: 412 PreconditionFailed; 404 NoSuchKey for If-Match without an object; 501 for other If-None-Match.
    """
    exists = current is not None and current.blob is not None
    if_none, if_match = headers.get("if-none-match"), headers.get("if-match")
    if if_none is not None:
        if if_none.strip() != "*":
            raise AwsError(
                "NotImplemented",
                "A header you provided implies functionality that is not implemented",
                501,
                extra={"Header": "If-None-Match"},
            )
        if exists:
            raise _failed("If-None-Match")
    if if_match is not None:
        if not exists:
            raise AwsError("NoSuchKey", "The specified key does not exist.", 404)
        assert current is not None
        if not _matches(if_match, current.etag):
            raise _failed("If-Match")


def check_delete(headers: Mapping[str, str], current: Version | None) -> None:
    """Check If-Match of a delete; a missing object satisfies nothing but is no error without it.

    Raises:
        AwsError: 412 PreconditionFailed; 404 NoSuchKey.
    """
    if_match = headers.get("if-match")
    if if_match is None:
        return
    if current is None or current.blob is None:
        raise AwsError("NoSuchKey", "The specified key does not exist.", 404)
    if not _matches(if_match, current.etag):
        raise _failed("If-Match")


def range_of(text: str | None, size: int) -> tuple[int, int] | None:
    """Offset and length of a single range; None for the whole object (no range, or one S3 ignores).

    Raises:
        AwsError: 416 InvalidRange.
    """
    if text is None:
        return None
    match = _RANGE.match(text.strip())
    if match is None or match.group(1) == match.group(2) == "":
        return None
    first, last = match.groups()
    if first == "":
        length = min(int(last), size)
        start, end = size - length, size - 1
    else:
        start = int(first)
        end = min(int(last), size - 1) if last else size - 1
        if last and int(last) < start:
            return None
        length = end - start + 1
    if length <= 0 or start >= size:
        raise AwsError(
            "InvalidRange",
            "The requested range is not satisfiable",
            416,
            extra={
                "ActualObjectSize": size,
                "RangeRequested": text,
                "headers": {"Content-Range": f"bytes */{size}"},
            },
        )
    return start, length
