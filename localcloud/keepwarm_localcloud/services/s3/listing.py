"""Listings: objects (v1, v2), versions, uploads and parts."""

import base64
import urllib.parse
from collections.abc import Callable
from typing import Any, Final

from keepwarm_localcloud.request import AwsError, Response
from keepwarm_localcloud.services.s3.call import Call
from keepwarm_localcloud.services.s3.model import Bucket, Version
from keepwarm_localcloud.services.s3.xml import document, iso, tag

MAX_KEYS: Final = 1_000
OWNER: Final = "<Owner><ID>75aa57f09aa0c8caeab4f8c24e99d10f8e7faeebf76c078efc7c6caea54ba06a</ID></Owner>"


def xml(body: bytes) -> Response:
    """A document as an answer."""
    return Response(200, {"Content-Type": "application/xml"}, body)


def _limit(call: Call, name: str = "max-keys") -> int:
    text = call.query(name)
    if text is None or text == "":
        return MAX_KEYS
    if not text.isdigit():
        raise AwsError(
            "InvalidArgument",
            f"Provided {name} not an integer or within integer range",
            extra={"ArgumentName": name, "ArgumentValue": text},
        )
    return min(int(text), MAX_KEYS)


def _encoder(call: Call) -> Callable[[str], str]:
    encoding = call.query("encoding-type")
    if encoding is None:
        return lambda text: text
    if encoding != "url":
        raise AwsError("InvalidArgument", "Invalid Encoding Method specified in Request")
    return lambda text: urllib.parse.quote(text, safe="/*-._~")


class _Page:
    """Walk keys under prefix and delimiter until the limit."""

    def __init__(
        self, bucket: Bucket, prefix: str, delimiter: str, start: str, *, after: bool, limit: int
    ) -> None:
        self.found: list[str] = []
        self.prefixes: list[str] = []
        self.last = ""
        self.truncated = False
        at, skip = (start, after) if start >= prefix else (prefix, False)
        # A marker inside a common prefix means that prefix was given already.
        if delimiter and start.startswith(prefix):
            cut = start.find(delimiter, len(prefix))
            if cut >= 0 and after and start == start[: cut + len(delimiter)]:
                at, skip = _after_prefix(start), False
        while True:
            key = next((k for k in bucket.keys_from(at, after=skip) if self._visible(bucket, k)), None)
            if key is None or not key.startswith(prefix):
                return
            if len(self.found) + len(self.prefixes) >= limit:
                self.truncated = limit > 0
                return
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            if cut >= 0:
                common = key[: cut + len(delimiter)]
                self.prefixes.append(common)
                self.last, at, skip = common, _after_prefix(common), False
            else:
                self.found.append(key)
                self.last, at, skip = key, key, True

    @staticmethod
    def _visible(bucket: Bucket, key: str) -> bool:
        current = bucket.current(key)
        return current is not None and current.blob is not None


def _after_prefix(prefix: str) -> str:
    """The least text greater than everything that begins with `prefix`."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1) if ord(prefix[-1]) < 0x10FFFF else prefix + "\U0010ffff"


def _contents(version: Version, encode: Callable[[str], str], *, owner: bool) -> str:
    algorithms = "".join(tag("ChecksumAlgorithm", a) for a in version.checksums)
    kind = tag("ChecksumType", version.checksum_type) if version.checksums else ""
    return (
        f"<Contents>{tag('Key', encode(version.key))}{tag('LastModified', iso(version.modified_s))}"
        f"<ETag>&quot;{version.etag}&quot;</ETag>{algorithms}{kind}{tag('Size', version.size)}"
        f"{OWNER if owner else ''}{tag('StorageClass', version.storage_class)}</Contents>"
    )


def list_objects(call: Call) -> Response:
    """ListObjects and ListObjectsV2."""
    bucket = call.bucket()
    second = call.query("list-type") == "2"
    encode, limit = _encoder(call), _limit(call)
    prefix, delimiter = call.query("prefix") or "", call.query("delimiter") or ""
    token = call.query("continuation-token")
    first = call.query("start-after" if second else "marker") or ""
    start = _untoken(token) if second and token else first
    with call.store.lock:
        page = _Page(bucket, prefix, delimiter, start, after=bool(start), limit=limit)
        rows = [v for k in page.found if (v := bucket.current(k)) is not None]
    owner = not second or call.query("fetch-owner") == "true"
    parts = [
        tag("Name", bucket.name),
        tag("Prefix", encode(prefix)),
        tag("Delimiter", encode(delimiter)) if delimiter else "",
        tag("MaxKeys", limit),
        tag("EncodingType", call.query("encoding-type")),
        tag("IsTruncated", page.truncated),
    ]
    if second:
        parts += [
            tag("KeyCount", len(page.found) + len(page.prefixes)),
            tag("ContinuationToken", token),
            tag("StartAfter", encode(call.query("start-after") or "")) if call.query("start-after") else "",
            tag("NextContinuationToken", _token(page.last)) if page.truncated else "",
        ]
    else:
        parts += [
            tag("Marker", encode(start)),
            tag("NextMarker", encode(page.last)) if page.truncated and delimiter else "",
        ]
    parts += [_contents(v, encode, owner=owner) for v in rows]
    parts += [f"<CommonPrefixes>{tag('Prefix', encode(p))}</CommonPrefixes>" for p in page.prefixes]
    return xml(document("ListBucketResult", "".join(parts)))


def _token(last: str) -> str:
    return base64.urlsafe_b64encode(last.encode()).decode()


def _untoken(token: str) -> str:
    try:
        return base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode()
    except ValueError as error:
        raise AwsError("InvalidArgument", "The continuation token provided is incorrect") from error


def list_versions(call: Call) -> Response:
    """ListObjectVersions."""
    bucket = call.bucket()
    encode, limit = _encoder(call), _limit(call)
    prefix, delimiter = call.query("prefix") or "", call.query("delimiter") or ""
    key_marker, id_marker = call.query("key-marker") or "", call.query("version-id-marker") or ""
    rows: list[tuple[Version, bool]] = []
    prefixes: list[str] = []
    last: tuple[str, str] = ("", "")
    truncated = False
    with call.store.lock:
        for key in bucket.keys_from(max(prefix, key_marker)):
            if not key.startswith(prefix):
                break
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            if cut >= 0:
                common = key[: cut + len(delimiter)]
                if common in prefixes or (key_marker and common <= key_marker):
                    continue
                if len(rows) + len(prefixes) >= limit:
                    truncated = True
                    break
                prefixes.append(common)
                last = (common, "")
                continue
            for index, version in enumerate(_after_marker(bucket.versions(key), key, key_marker, id_marker)):
                if len(rows) + len(prefixes) >= limit:
                    truncated = True
                    break
                rows.append((version, index == 0 and version is bucket.current(key)))
                last = (key, version.version_id)
            if truncated:
                break
    parts = [
        tag("Name", bucket.name),
        tag("Prefix", encode(prefix)),
        tag("Delimiter", encode(delimiter)) if delimiter else "",
        tag("KeyMarker", encode(key_marker)),
        tag("VersionIdMarker", id_marker),
        tag("MaxKeys", limit),
        tag("EncodingType", call.query("encoding-type")),
        tag("IsTruncated", truncated),
    ]
    if truncated:
        parts += [tag("NextKeyMarker", encode(last[0])), tag("NextVersionIdMarker", last[1] or None)]
    parts += [_version_row(v, encode, latest=latest) for v, latest in rows]
    parts += [f"<CommonPrefixes>{tag('Prefix', encode(p))}</CommonPrefixes>" for p in prefixes]
    return xml(document("ListVersionsResult", "".join(parts)))


def _after_marker(versions: list[Version], key: str, key_marker: str, id_marker: str) -> list[Version]:
    if key != key_marker:
        return versions
    if not id_marker:
        return []
    for index, version in enumerate(versions):
        if version.version_id == id_marker:
            return versions[index + 1 :]
    return versions


def _version_row(version: Version, encode: Callable[[str], str], *, latest: bool) -> str:
    common = (
        f"{tag('Key', encode(version.key))}{tag('VersionId', version.version_id)}{tag('IsLatest', latest)}"
        f"{tag('LastModified', iso(version.modified_s))}"
    )
    if version.blob is None:
        return f"<DeleteMarker>{common}{OWNER}</DeleteMarker>"
    return (
        f"<Version>{common}<ETag>&quot;{version.etag}&quot;</ETag>{tag('Size', version.size)}"
        f"{OWNER}{tag('StorageClass', version.storage_class)}</Version>"
    )


def list_uploads(call: Call) -> Response:
    """ListMultipartUploads."""
    bucket = call.bucket()
    encode, limit = _encoder(call), _limit(call, "max-uploads")
    prefix = call.query("prefix") or ""
    marker = (call.query("key-marker") or "", call.query("upload-id-marker") or "\U0010ffff")
    with call.store.lock:
        rows = sorted(
            (
                u
                for u in bucket.uploads.values()
                if u.key.startswith(prefix) and (u.key, u.upload_id) > marker
            ),
            key=lambda u: (u.key, u.upload_id),
        )
    shown = rows[:limit]
    parts = [
        tag("Bucket", bucket.name),
        tag("KeyMarker", encode(call.query("key-marker") or "")),
        tag("UploadIdMarker", call.query("upload-id-marker") or ""),
        tag("Prefix", encode(prefix)),
        tag("MaxUploads", limit),
        tag("EncodingType", call.query("encoding-type")),
        tag("IsTruncated", len(rows) > limit),
    ]
    if len(rows) > limit and shown:
        parts += [tag("NextKeyMarker", encode(shown[-1].key)), tag("NextUploadIdMarker", shown[-1].upload_id)]
    parts += [
        f"<Upload>{tag('Key', encode(u.key))}{tag('UploadId', u.upload_id)}{OWNER}"
        f"{tag('StorageClass', u.template.storage_class)}{tag('Initiated', iso(u.started_s))}</Upload>"
        for u in shown
    ]
    return xml(document("ListMultipartUploadsResult", "".join(parts)))


def list_parts(call: Call, upload: Any) -> Response:
    """ListParts."""
    limit = _limit(call, "max-parts")
    marker = int(call.query("part-number-marker") or 0)
    with call.store.lock:
        parts = sorted((p for p in upload.parts.values() if p.number > marker), key=lambda p: p.number)
    shown = parts[:limit]
    rows = "".join(
        f"<Part>{tag('PartNumber', p.number)}{tag('LastModified', iso(p.modified_s))}"
        f"<ETag>&quot;{p.etag}&quot;</ETag>{tag('Size', p.blob.size)}"
        f"{tag(f'Checksum{p.blob.checksum[0]}', p.blob.checksum[1]) if p.blob.checksum else ''}</Part>"
        for p in shown
    )
    head = (
        f"{tag('Bucket', call.bucket_name)}{tag('Key', call.key)}{tag('UploadId', upload.upload_id)}{OWNER}"
        f"{tag('StorageClass', upload.template.storage_class)}{tag('PartNumberMarker', marker)}"
        f"{tag('NextPartNumberMarker', shown[-1].number if shown else None)}{tag('MaxParts', limit)}"
        f"{tag('IsTruncated', len(parts) > limit)}"
    )
    if upload.algorithm:
        head += tag("ChecksumAlgorithm", upload.algorithm) + tag("ChecksumType", upload.checksum_type)
    return xml(document("ListPartsResult", head + rows))
