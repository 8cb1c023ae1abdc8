"""Operations on objects: put, get, head, copy, delete, tags, retention."""

import hashlib
import secrets
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Final

from keepwarm_localcloud.request import AwsError, Response
from keepwarm_localcloud.services.s3 import buckets, checksums, conditions, listing
from keepwarm_localcloud.services.s3.call import (
    Call,
    check_unlocked,
    lock_headers,
    lock_of,
    no_such_key,
    object_headers,
    tags_of,
)
from keepwarm_localcloud.services.s3.model import Blob, Bucket, Version
from keepwarm_localcloud.services.s3.object_settings import _acl, _legal_hold, _retention, _tagging, check_acl
from keepwarm_localcloud.services.s3.xml import document, http_date, iso, malformed, parse, tag

Announce = Callable[[Bucket, str, Version, Call], None]
MAX_DELETES: Final = 1_000
_OVERRIDES: Final = {
    "response-content-type": "Content-Type",
    "response-content-disposition": "Content-Disposition",
    "response-content-encoding": "Content-Encoding",
    "response-content-language": "Content-Language",
    "response-cache-control": "Cache-Control",
    "response-expires": "Expires",
}
_CLASSES: Final = frozenset(
    {
        "STANDARD",
        "REDUCED_REDUNDANCY",
        "STANDARD_IA",
        "ONEZONE_IA",
        "INTELLIGENT_TIERING",
        "GLACIER",
        "DEEP_ARCHIVE",
        "GLACIER_IR",
    }
)


def handle(call: Call, announce: Announce) -> Response:
    """Answer a request that names a key."""
    method = call.request.method
    for name, operation in (
        ("tagging", _tagging),
        ("retention", _retention),
        ("legal-hold", _legal_hold),
        ("attributes", _attributes),
        ("acl", _acl),
    ):
        if call.has(name):
            return operation(call)
    if method in ("GET", "HEAD"):
        return get(call)
    if method == "PUT":
        if "x-amz-copy-source" in call.headers:
            return copy(call, announce)
        return put(call, announce)
    if method == "DELETE":
        return delete(call, announce)
    raise AwsError("MethodNotAllowed", "The specified method is not allowed against this resource.", 405)


# --- writing -----------------------------------------------------------------------------------------------


def template(call: Call, bucket: Bucket) -> Version:
    """A version with everything the headers of an upload say, and no data yet."""
    check_acl(call)
    mode, until_s, hold = lock_of(call.headers, bucket, call.now_s)
    storage = call.headers.get("x-amz-storage-class", "STANDARD")
    if storage not in _CLASSES:
        raise AwsError("InvalidStorageClass", "The storage class you specified is not valid")
    return Version(
        call.key,
        "",
        call.now_s,
        None,
        headers=object_headers(call.headers),
        tags=tags_of(call.headers.get("x-amz-tagging")),
        storage_class=storage,
        encryption=_encryption(call.headers, bucket),
        lock_mode=mode,
        lock_until_s=until_s,
        legal_hold=hold,
    )


def _encryption(headers: Mapping[str, str], bucket: Bucket) -> dict[str, str]:
    name = "x-amz-server-side-encryption"
    algorithm = headers.get(name)
    if algorithm is None:
        return buckets.default_encryption(bucket)
    if algorithm not in ("AES256", "aws:kms", "aws:kms:dsse"):
        raise AwsError("InvalidArgument", "The encryption method specified is not supported")
    kept = {name: algorithm}
    for more in ("aws-kms-key-id", "bucket-key-enabled"):
        if f"{name}-{more}" in headers and algorithm != "AES256":
            kept[f"{name}-{more}"] = headers[f"{name}-{more}"]
    return kept


def commit(call: Call, bucket: Bucket, version: Version, blob: Blob, etag: str) -> None:
    """Make a finished upload the newest version, if its conditions still hold."""
    try:
        with call.store.lock:
            # The bucket may be gone by now, and a condition must hold at this very moment.
            if call.store.buckets.get(bucket.name) is not bucket:
                raise AwsError("NoSuchBucket", "The specified bucket does not exist", 404)
            conditions.check_write(call.headers, bucket.current(call.key))
            version.blob = blob
            version.etag = etag
            version.version_id = bucket.next_version_id()
            version.modified_s = call.now_s
            version.sequencer = next_sequencer()
            replaced = bucket.add(version)
    except AwsError:
        blob.discard()
        raise
    if replaced is not None and replaced.blob is not None:
        replaced.blob.discard()


_sequence = 0


def next_sequencer() -> str:
    """A text that is greater than every earlier one; called under the store's lock."""
    global _sequence
    _sequence += 1
    return f"{_sequence:016X}"


def etag_of(version: Version, blob: Blob) -> str:
    """MD5 of the content; under KMS encryption AWS gives something that is not."""
    if version.encryption.get("x-amz-server-side-encryption", "AES256") == "AES256":
        return blob.md5.hex()
    return hashlib.md5(blob.md5 + secrets.token_bytes(8), usedforsecurity=False).hexdigest()


def written_headers(bucket: Bucket, version: Version) -> dict[str, str]:
    """Headers of the answer to a write."""
    headers = {"ETag": f'"{version.etag}"', **version.encryption}
    if bucket.versioning:
        headers["x-amz-version-id"] = version.version_id
    for algorithm, value in version.checksums.items():
        headers[checksums.header(algorithm)] = value
        headers["x-amz-checksum-type"] = version.checksum_type
    return headers


def put(call: Call, announce: Announce) -> Response:
    """PutObject."""
    bucket = call.bucket()
    version = template(call, bucket)
    call.use_key(version.encryption, bucket.name, call.key, "GenerateDataKey")
    with call.store.lock:
        # Before the body, so that a client waiting for `100 Continue` need not send gigabytes to be refused.
        conditions.check_write(call.headers, bucket.current(call.key))
    algorithm, value = checksums.asked(call.headers)
    blob = call.store.receive(
        call.stream(),
        call.request.content_length,
        md5=call.headers.get("content-md5"),
        sha256=call.content_sha256(),
        algorithm=algorithm,
        checksum=value,
    )
    if blob.checksum is not None:
        version.checksums[blob.checksum[0]] = blob.checksum[1]
    commit(call, bucket, version, blob, etag_of(version, blob))
    announce(bucket, "ObjectCreated:Put", version, call)
    return Response(200, written_headers(bucket, version))


def source_of(call: Call) -> tuple[Bucket, Version]:
    """The version a copy reads, its conditions checked."""
    text, _, query = call.headers["x-amz-copy-source"].partition("?")
    name, _, key = urllib.parse.unquote(text.removeprefix("/")).partition("/")
    wanted = urllib.parse.parse_qs(query).get("versionId", [None])[0]
    if not name or not key:
        raise AwsError("InvalidArgument", "Invalid copy source object key")
    bucket = call.store.bucket(name)
    version = bucket.find(key, wanted)
    if version is None:
        raise no_such_key(key)
    if version.blob is None:
        if wanted is not None:
            raise AwsError(
                "InvalidRequest",
                "The source of a copy request may not specifically refer to a delete marker by version id.",
            )
        raise no_such_key(key)
    conditions.check_read(call.headers, version, "x-amz-copy-source-")
    return bucket, version


def copy(call: Call, announce: Announce) -> Response:
    """CopyObject: another name for the same bytes."""
    bucket = call.bucket()
    with call.store.lock:
        source_bucket, source = source_of(call)
        assert source.blob is not None
        blob = call.store.link(source.blob)
    version = template(call, bucket)
    try:
        call.use_key(source.encryption, source_bucket.name, source.key, "Decrypt")
        call.use_key(version.encryption, bucket.name, call.key, "GenerateDataKey")
    except AwsError:
        if blob is not source.blob:
            blob.discard()
        raise
    replace = call.headers.get("x-amz-metadata-directive", "COPY") == "REPLACE"
    explicit = any(n in call.headers for n in ("x-amz-storage-class", "x-amz-server-side-encryption"))
    if source_bucket is bucket and source.key == call.key and not replace and not explicit:
        if blob is not source.blob:
            blob.discard()
        raise AwsError(
            "InvalidRequest",
            "This copy request is illegal because it is trying to copy an object to itself without changing the "
            "object's metadata, storage class, website redirect location or encryption attributes.",
        )
    if not replace:
        version.headers = dict(source.headers)
    if call.headers.get("x-amz-tagging-directive", "COPY") != "REPLACE":
        version.tags = dict(source.tags)
    version.checksums = dict(source.checksums) if source.checksum_type == "FULL_OBJECT" else {}
    plain = len(source.part_sizes) == 0
    commit(call, bucket, version, blob, source.etag if plain else _whole_etag(blob))
    announce(bucket, "ObjectCreated:Copy", version, call)
    headers = written_headers(bucket, version)
    headers.pop("ETag")
    if source_bucket.versioning:
        headers["x-amz-copy-source-version-id"] = source.version_id
    headers["Content-Type"] = "application/xml"
    sums = "".join(tag(f"Checksum{a}", v) for a, v in version.checksums.items())
    body = f"{tag('LastModified', iso(version.modified_s))}<ETag>&quot;{version.etag}&quot;</ETag>{sums}"
    return Response(200, headers, document("CopyObjectResult", body))


def _whole_etag(blob: Blob) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    for piece in blob.pieces():
        digest.update(piece)
    return digest.hexdigest()


# --- reading -----------------------------------------------------------------------------------------------


def read_headers(bucket: Bucket, version: Version) -> dict[str, str]:
    """Headers of the answer to a read."""
    headers = {
        "Accept-Ranges": "bytes",
        "Last-Modified": http_date(version.modified_s),
        "ETag": f'"{version.etag}"',
        **version.headers,
        **version.encryption,
        **lock_headers(version),
    }
    if bucket.versioning:
        headers["x-amz-version-id"] = version.version_id
    if version.storage_class != "STANDARD":
        headers["x-amz-storage-class"] = version.storage_class
    if version.tags:
        headers["x-amz-tagging-count"] = str(len(version.tags))
    return headers


def get(call: Call) -> Response:
    """GetObject and HeadObject."""
    with call.store.lock:
        bucket, version = call.version()
        conditions.check_read(call.headers, version)
        if call.request.method == "GET":
            call.use_key(version.encryption, bucket.name, call.key, "Decrypt")
        headers = read_headers(bucket, version)
        for parameter, name in _OVERRIDES.items():
            if (value := call.query(parameter)) is not None:
                headers[name] = value
        assert version.blob is not None
        blob = version.blob
        offset, length, status = _part(call, version, headers)
        if (
            status == 200
            and (wanted := conditions.range_of(call.headers.get("range"), blob.size)) is not None
        ):
            offset, length = wanted
            status = 206
        if status == 206:
            headers["Content-Range"] = f"bytes {offset}-{max(offset + length - 1, 0)}/{blob.size}"
        elif call.headers.get("x-amz-checksum-mode", "").upper() == "ENABLED":
            for algorithm, value in version.checksums.items():
                headers[checksums.header(algorithm)] = value
                headers["x-amz-checksum-type"] = version.checksum_type
        headers["Content-Length"] = str(length)
        if call.request.method == "HEAD":
            return Response(status, headers)
        if blob.data is not None:
            return Response(status, headers, blob.data[offset : offset + length])
        # Opened under the lock: a delete after this removes the name, not the bytes.
        return Response(status, headers, file=(blob.open(), offset, length))


def _part(call: Call, version: Version, headers: dict[str, str]) -> tuple[int, int, int]:
    text = call.query("partNumber")
    if text is None:
        return 0, version.size, 200
    sizes = version.part_sizes or [version.size]
    number = int(text) if text.isdigit() else 0
    if not 1 <= number <= len(sizes):
        raise AwsError("InvalidPartNumber", "The requested partnumber is not satisfiable", 416)
    if version.part_sizes:
        headers["x-amz-mp-parts-count"] = str(len(sizes))
    return sum(sizes[: number - 1]), sizes[number - 1], 206


def _attributes(call: Call) -> Response:
    with call.store.lock:
        bucket, version = call.version()
    wanted = {n.strip() for n in call.headers.get("x-amz-object-attributes", "").split(",")}
    parts = ""
    if "ETag" in wanted:
        parts += tag("ETag", version.etag)
    if "Checksum" in wanted and version.checksums:
        sums = "".join(tag(f"Checksum{a}", v) for a, v in version.checksums.items())
        parts += f"<Checksum>{sums}{tag('ChecksumType', version.checksum_type)}</Checksum>"
    if "ObjectParts" in wanted and version.part_sizes:
        parts += f"<ObjectParts>{tag('PartsCount', len(version.part_sizes))}</ObjectParts>"
    if "StorageClass" in wanted:
        parts += tag("StorageClass", version.storage_class)
    if "ObjectSize" in wanted:
        parts += tag("ObjectSize", version.size)
    headers = {"Content-Type": "application/xml", "Last-Modified": http_date(version.modified_s)}
    if bucket.versioning:
        headers["x-amz-version-id"] = version.version_id
    return Response(200, headers, document("GetObjectAttributesResponse", parts))


# --- deleting ----------------------------------------------------------------------------------------------


def delete(call: Call, announce: Announce) -> Response:
    """DeleteObject."""
    headers = delete_one(call, call.key, call.query("versionId"), call.headers, announce)
    return Response(204, headers)


def delete_one(
    call: Call, key: str, version_id: str | None, conditions_of: Mapping[str, str], announce: Announce
) -> dict[str, str]:
    """Delete one key or one version; gives the headers that say what happened.

    Raises:
        AwsError: a condition failed or Object Lock protects the version.
    """
    removed: Version | None = None
    marker: Version | None = None
    with call.store.lock:
        bucket = call.bucket()
        conditions.check_delete(conditions_of, bucket.find(key, version_id))
        if version_id is not None:
            removed = bucket.find(key, version_id)
            if removed is not None:
                check_unlocked(removed, call.headers, call.now_s)
                bucket.remove(removed)
        elif bucket.versioning:
            marker = Version(key, bucket.next_version_id(), call.now_s, None, sequencer=next_sequencer())
            if marker.version_id == "null":
                current_null = bucket.find(key, "null")
                if current_null is not None:
                    check_unlocked(current_null, call.headers, call.now_s)
            replaced = bucket.add(marker)
            removed = replaced
        else:
            removed = bucket.current(key)
            if removed is not None:
                bucket.remove(removed)
    if removed is not None and removed.blob is not None:
        removed.blob.discard()
    if marker is not None:
        announce(bucket, "ObjectRemoved:DeleteMarkerCreated", marker, call)
        return {"x-amz-delete-marker": "true", "x-amz-version-id": marker.version_id}
    headers = {"x-amz-version-id": version_id} if version_id is not None else {}
    if removed is not None:
        with call.store.lock:
            gone = Version(key, removed.version_id, call.now_s, None, sequencer=next_sequencer())
        announce(bucket, "ObjectRemoved:Delete", gone, call)
        if removed.blob is None:
            headers["x-amz-delete-marker"] = "true"
    return headers


def delete_many(call: Call, announce: Announce) -> Response:
    """DeleteObjects."""
    if call.request.method != "POST":
        raise AwsError("MethodNotAllowed", "The specified method is not allowed against this resource.", 405)
    element = parse(call.document(), "Delete")
    wanted = element.findall("Object")
    if not 1 <= len(wanted) <= MAX_DELETES:
        raise malformed()
    quiet = element.findtext("Quiet", "false").lower() == "true"
    rows = []
    for item in wanted:
        key, version_id = item.findtext("Key", ""), item.findtext("VersionId")
        etag = item.findtext("ETag")
        try:
            if not key:
                raise malformed()
            action = "s3:DeleteObjectVersion" if version_id else "s3:DeleteObject"
            call.authorize(action, f"arn:aws:s3:::{call.bucket_name}/{key}")
            headers = delete_one(call, key, version_id, {"if-match": etag} if etag else {}, announce)
        except AwsError as error:
            rows.append(
                f"<Error>{tag('Key', key)}{tag('VersionId', version_id)}{tag('Code', error.code)}"
                f"{tag('Message', error.message)}</Error>"
            )
            continue
        if quiet:
            continue
        row = tag("Key", key) + tag("VersionId", version_id)
        if headers.get("x-amz-delete-marker"):
            row += tag("DeleteMarker", True) + tag("DeleteMarkerVersionId", headers["x-amz-version-id"])
        rows.append(f"<Deleted>{row}</Deleted>")
    return listing.xml(document("DeleteResult", "".join(rows)))


# --- tags, retention, legal hold ---------------------------------------------------------------------------
