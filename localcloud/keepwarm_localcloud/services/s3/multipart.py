"""Multipart uploads.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html
"""

import base64
import hashlib
import secrets
from typing import Any, Final

from keepwarm_localcloud.request import AwsError, Response
from keepwarm_localcloud.services.s3 import checksums, conditions, listing
from keepwarm_localcloud.services.s3.call import Call
from keepwarm_localcloud.services.s3.model import Bucket, Part, Upload
from keepwarm_localcloud.services.s3.objects import Announce, commit, source_of, template, written_headers
from keepwarm_localcloud.services.s3.xml import document, iso, malformed, parse, tag

MIN_PART_BYTES: Final = 5 * 1024**2
MAX_PARTS: Final = 10_000


def handle(call: Call, announce: Announce) -> Response:
    """Answer a request about an upload."""
    method = call.request.method
    if call.has("uploads") and method == "POST":
        return _create(call)
    bucket = call.bucket()
    upload = _find(call, bucket)
    if method == "PUT":
        return (
            _copy_part(call, upload) if "x-amz-copy-source" in call.headers else _part(call, bucket, upload)
        )
    if method == "POST":
        return _complete(call, bucket, upload, announce)
    if method == "GET":
        return listing.list_parts(call, upload)
    if method == "DELETE":
        with call.store.lock:
            bucket.uploads.pop(upload.upload_id, None)
        for part in upload.parts.values():
            part.blob.discard()
        return Response(204)
    raise AwsError("MethodNotAllowed", "The specified method is not allowed against this resource.", 405)


def _find(call: Call, bucket: Bucket) -> Upload:
    with call.store.lock:
        upload = bucket.uploads.get(call.query("uploadId") or "")
    if upload is None or upload.key != call.key:
        raise AwsError(
            "NoSuchUpload",
            "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or "
            "completed.",
            404,
            extra={"UploadId": call.query("uploadId")},
        )
    return upload


def _create(call: Call) -> Response:
    bucket = call.bucket()
    version = template(call, bucket)
    # Both: the parts are encrypted, and read again when they are put together.
    call.use_key(version.encryption, bucket.name, call.key, "GenerateDataKey", "Decrypt")
    algorithm = call.headers.get("x-amz-checksum-algorithm", "").upper() or None
    kind = "COMPOSITE"
    if algorithm is not None:
        checksums.new(algorithm)
        kind = checksums.kind_of_multipart(algorithm, call.headers.get("x-amz-checksum-type"))
    upload = Upload(secrets.token_urlsafe(48), call.key, call.now_s, version, algorithm, kind)
    with call.store.lock:
        bucket.uploads[upload.upload_id] = upload
    headers = {"Content-Type": "application/xml", **version.encryption}
    if algorithm is not None:
        headers |= {"x-amz-checksum-algorithm": algorithm, "x-amz-checksum-type": kind}
    content = tag("Bucket", bucket.name) + tag("Key", call.key) + tag("UploadId", upload.upload_id)
    return Response(200, headers, document("InitiateMultipartUploadResult", content))


def _number(call: Call) -> int:
    text = call.query("partNumber") or ""
    if not text.isdigit() or not 1 <= int(text) <= MAX_PARTS:
        raise AwsError(
            "InvalidArgument",
            "Part number must be an integer between 1 and 10000, inclusive",
            extra={"ArgumentName": "partNumber", "ArgumentValue": text},
        )
    return int(text)


def _keep(call: Call, upload: Upload, part: Part) -> None:
    bucket = call.bucket()
    with call.store.lock:
        if upload.upload_id not in bucket.uploads:
            part.blob.discard()
            raise AwsError("NoSuchUpload", "The specified upload does not exist.", 404)
        old = upload.parts.get(part.number)
        upload.parts[part.number] = part
    if old is not None:
        old.blob.discard()


def _part(call: Call, bucket: Bucket, upload: Upload) -> Response:
    number = _number(call)
    algorithm, value = checksums.asked(call.headers)
    if algorithm is not None and upload.algorithm is not None and algorithm != upload.algorithm:
        raise AwsError(
            "InvalidRequest",
            f"Checksum Type mismatch occurred, expected checksum Type: {upload.algorithm.lower()}, actual checksum "
            f"Type: {algorithm.lower()}",
        )
    blob = call.store.receive(
        call.stream(),
        call.request.content_length,
        md5=call.headers.get("content-md5"),
        sha256=call.content_sha256(),
        algorithm=algorithm,
        checksum=value,
    )
    part = Part(number, blob, call.now_s)
    _keep(call, upload, part)
    headers = {"ETag": f'"{part.etag}"', **upload.template.encryption}
    if blob.checksum is not None:
        headers[checksums.header(blob.checksum[0])] = blob.checksum[1]
    return Response(200, headers)


def _copy_part(call: Call, upload: Upload) -> Response:
    number = _number(call)
    with call.store.lock:
        _, source = source_of(call)
        assert source.blob is not None
        blob = source.blob
        text = call.headers.get("x-amz-copy-source-range")
        wanted = conditions.range_of(text, blob.size)
        if text is not None and wanted is None:
            raise AwsError(
                "InvalidArgument", "The x-amz-copy-source-range value must be of the form bytes=first-last"
            )
        # Linked under the lock, so that a delete meanwhile takes nothing away.
        kept = call.store.link(blob)
    offset, length = wanted or (0, blob.size)
    try:
        copied = call.store.slice(kept, offset, length)
    finally:
        if kept is not blob:
            kept.discard()
    part = Part(number, copied, call.now_s)
    _keep(call, upload, part)
    content = f"<ETag>&quot;{part.etag}&quot;</ETag>{tag('LastModified', iso(part.modified_s))}"
    return listing.xml(document("CopyPartResult", content))


def _chosen(upload: Upload, body: bytes) -> list[Part]:
    """The parts a completion names, checked."""
    element = parse(body, "CompleteMultipartUpload")
    rows = element.findall("Part")
    if not rows:
        raise malformed()
    chosen: list[Part] = []
    for row in rows:
        text, etag = row.findtext("PartNumber", ""), row.findtext("ETag", "").strip('"')
        if not text.isdigit():
            raise malformed()
        part = upload.parts.get(int(text))
        if chosen and int(text) <= chosen[-1].number:
            raise AwsError(
                "InvalidPartOrder",
                "The list of parts was not in ascending order. The parts list must be specified in order by part "
                "number.",
            )
        sums_differ = part is not None and any(
            (given := row.findtext(f"Checksum{a}")) is not None and part.blob.checksum != (a, given)
            for a in checksums.SIZES
        )
        if part is None or part.etag != etag or sums_differ:
            raise AwsError(
                "InvalidPart",
                "One or more of the specified parts could not be found. The part may not have been uploaded, or the "
                "specified entity tag may not match the part's entity tag.",
                extra={"UploadId": upload.upload_id, "PartNumber": text, "ETag": etag},
            )
        if (
            upload.algorithm is not None
            and upload.checksum_type == "COMPOSITE"
            and part.blob.checksum is None
        ):
            raise AwsError(
                "InvalidRequest",
                f"The upload was created using a {upload.algorithm.lower()} checksum. The complete request must "
                f"include the checksum for each part. It was missing for part {text} in the request.",
            )
        chosen.append(part)
    for part in chosen[:-1]:
        if part.blob.size < MIN_PART_BYTES:
            raise AwsError(
                "EntityTooSmall",
                "Your proposed upload is smaller than the minimum allowed size",
                extra={
                    "ProposedSize": part.blob.size,
                    "MinSizeAllowed": MIN_PART_BYTES,
                    "PartNumber": part.number,
                    "ETag": part.etag,
                },
            )
    return chosen


def _complete(call: Call, bucket: Bucket, upload: Upload, announce: Announce) -> Response:
    body = call.document()
    with call.store.lock:
        chosen = _chosen(upload, body)
        conditions.check_write(call.headers, bucket.current(call.key))
    size = call.headers.get("x-amz-mp-object-size")
    total = sum(p.blob.size for p in chosen)
    if size is not None and size != str(total):
        raise AwsError(
            "InvalidRequest",
            f"The provided 'x-amz-mp-object-size' header does not match what was computed: {total}",
        )
    whole = upload.algorithm if upload.checksum_type == "FULL_OBJECT" else None
    blob, computed = call.store.join([p.blob for p in chosen], whole)
    version = upload.template
    version.part_sizes = [p.blob.size for p in chosen]
    try:
        _checksum(call, upload, version, chosen, computed)
    except AwsError:
        blob.discard()
        raise
    with call.store.lock:
        if bucket.uploads.pop(upload.upload_id, None) is None:
            blob.discard()
            raise AwsError("NoSuchUpload", "The specified upload does not exist.", 404)
    try:
        commit(call, bucket, version, blob, _etag(chosen))
    except AwsError:
        with call.store.lock:
            bucket.uploads[upload.upload_id] = upload
        raise
    for part in upload.parts.values():
        part.blob.discard()
    announce(bucket, "ObjectCreated:CompleteMultipartUpload", version, call)
    headers = written_headers(bucket, version)
    headers.pop("ETag")
    headers["Content-Type"] = "application/xml"
    sums = "".join(tag(f"Checksum{a}", v) for a, v in version.checksums.items())
    content = (
        f"{tag('Location', f'/{bucket.name}/{call.key}')}{tag('Bucket', bucket.name)}{tag('Key', call.key)}"
        f"<ETag>&quot;{version.etag}&quot;</ETag>{sums}"
    )
    if version.checksums:
        content += tag("ChecksumType", version.checksum_type)
    return Response(200, headers, document("CompleteMultipartUploadResult", content))


def _etag(chosen: list[Part]) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    for part in chosen:
        digest.update(part.blob.md5)
    return f"{digest.hexdigest()}-{len(chosen)}"


def _checksum(call: Call, upload: Upload, version: Any, chosen: list[Part], computed: str | None) -> None:
    if upload.algorithm is None:
        return
    version.checksum_type = upload.checksum_type
    if computed is None:
        computed = checksums.composite(
            upload.algorithm, [p.blob.checksum[1] for p in chosen if p.blob.checksum]
        )
    given = call.headers.get(checksums.header(upload.algorithm))
    if given is not None and given.partition("-")[0] != computed.partition("-")[0]:
        checksums.compare(upload.algorithm, given, base64.b64decode(computed.partition("-")[0]))
    version.checksums[upload.algorithm] = computed
