"""One S3 request taken apart, and what every operation needs from its surroundings."""

import re
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from keepwarm_localcloud.request import AwsError, Readable, Request
from keepwarm_localcloud.services.s3.model import Bucket, Version
from keepwarm_localcloud.services.s3.store import Store
from keepwarm_localcloud.services.s3.xml import http_date, iso, parse_date

MAX_KEY_BYTES: Final = 1_024
MAX_METADATA_BYTES: Final = 2_048
"""https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html"""
MAX_DOCUMENT_BYTES: Final = 1_048_576
MAX_TAGS: Final = 10
_KEPT: Final = (
    "content-type",
    "content-encoding",
    "content-language",
    "content-disposition",
    "cache-control",
    "expires",
    "x-amz-website-redirect-location",
)
_HOST = re.compile(
    r"(?P<bucket>[a-z0-9][a-z0-9.-]*)\.(?:s3[a-z0-9.-]*\.amazonaws\.com|s3\.localhost|localhost)\Z"
)
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(slots=True)
class Call:
    """A request with its bucket and key."""

    request: Request
    store: Store
    bucket_name: str
    key: str
    now_s: float
    authorize: Callable[..., None] = lambda action, resource, context=None: None
    """Refuses what the caller may not do: (action, resource, condition keys)."""
    key_arn: Callable[[str], str] = lambda key: key
    """ARN of a KMS key named by id, ARN or alias."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers, names in lower case."""
        return self.request.headers

    def query(self, name: str) -> str | None:
        """First value of a query parameter; None when absent."""
        values = self.request.query.get(name)
        return values[0] if values else None

    def has(self, name: str) -> bool:
        """Whether a subresource or parameter is named."""
        return name in self.request.query

    def bucket(self) -> Bucket:
        """The bucket.

        Raises:
            AwsError: NoSuchBucket.
        """
        return self.store.bucket(self.bucket_name)

    def document(self) -> bytes:
        """Read a small body whole."""
        if self.request.stream is None:
            return b""
        body = self.request.stream.read(MAX_DOCUMENT_BYTES + 1)
        if len(body) > MAX_DOCUMENT_BYTES:
            raise AwsError("MaxMessageLengthExceeded", "Your request was too big.")
        return body

    def stream(self) -> Readable:
        """The body."""
        assert self.request.stream is not None
        return self.request.stream

    def content_sha256(self) -> str | None:
        """The digest the client signed, when it signed the content."""
        value = self.headers.get("x-amz-content-sha256", "")
        return value if _SHA256.match(value) else None

    def use_key(self, encryption: Mapping[str, str], bucket: str, key: str, *actions: str) -> None:
        """Ask for the customer-managed key of an object; AWS's own keys need no permission.

        https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html

        Raises:
            AwsError: AccessDenied.
        """
        name = "x-amz-server-side-encryption"
        kms_key = encryption.get(f"{name}-aws-kms-key-id", "")
        if (
            not encryption.get(name, "").startswith("aws:kms")
            or not kms_key
            or kms_key.endswith("alias/aws/s3")
        ):
            return
        whole = encryption.get(f"{name}-bucket-key-enabled") == "true"
        context = {
            "kms:ViaService": f"s3.{self.request.region}.amazonaws.com",
            "kms:EncryptionContext:aws:s3:arn": f"arn:aws:s3:::{bucket}" + ("" if whole else f"/{key}"),
        }
        for action in actions:
            self.authorize(f"kms:{action}", self.key_arn(kms_key), context)

    def version(self) -> tuple[Bucket, Version]:
        """The version the request names, or the newest.

        Raises:
            AwsError: NoSuchKey, NoSuchVersion, or MethodNotAllowed for a delete marker.
        """
        bucket = self.bucket()
        wanted = self.query("versionId")
        version = bucket.find(self.key, wanted)
        if version is None:
            if wanted is not None:
                raise AwsError(
                    "NoSuchVersion",
                    "The specified version does not exist.",
                    404,
                    extra={"Key": self.key, "VersionId": wanted},
                )
            raise no_such_key(self.key)
        if version.blob is None:
            marker = {"x-amz-delete-marker": "true", "x-amz-version-id": version.version_id}
            if wanted is None:
                raise no_such_key(self.key, marker)
            raise AwsError(
                "MethodNotAllowed",
                "The specified method is not allowed against this resource.",
                405,
                extra={
                    "headers": {**marker, "Allow": "DELETE", "Last-Modified": http_date(version.modified_s)}
                },
            )
        return bucket, version


def no_such_key(key: str, headers: dict[str, str] | None = None) -> AwsError:
    """The refusal of a key that is not there."""
    extra: dict[str, object] = {"Key": key}
    if headers:
        extra["headers"] = headers
    return AwsError("NoSuchKey", "The specified key does not exist.", 404, extra=extra)


def locate(request: Request) -> tuple[str, str]:
    """Bucket and key of a request, by path or by host."""
    raw = request.raw_path.partition("?")[0]
    host = request.headers.get("host", "").partition(":")[0]
    match = _HOST.match(host)
    if match is not None:
        return match.group("bucket"), _decoded(raw.removeprefix("/"))
    bucket, _, key = raw.removeprefix("/").partition("/")
    return urllib.parse.unquote(bucket), _decoded(key)


def _decoded(key: str) -> str:
    try:
        text = urllib.parse.unquote(key, errors="strict")
    except UnicodeDecodeError as error:
        raise AwsError("InvalidURI", "Couldn't parse the specified URI.") from error
    if len(text.encode()) > MAX_KEY_BYTES:
        raise AwsError(
            "KeyTooLongError",
            "Your key is too long",
            extra={"Size": len(text.encode()), "MaxSizeAllowed": MAX_KEY_BYTES},
        )
    return text


def object_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers of an upload that are kept with the object.

    Raises:
        AwsError: MetadataTooLarge.
    """
    kept = {name.title(): headers[name] for name in _KEPT if name in headers}
    encoding = [c.strip() for c in kept.get("Content-Encoding", "").split(",")]
    if "aws-chunked" in encoding:
        rest = ",".join(c for c in encoding if c != "aws-chunked")
        kept.pop("Content-Encoding")
        if rest:
            kept["Content-Encoding"] = rest
    kept.setdefault("Content-Type", "binary/octet-stream")
    metadata = {n: v for n, v in headers.items() if n.startswith("x-amz-meta-")}
    size = sum(len(n) - len("x-amz-meta-") + len(v.encode("latin-1", "replace")) for n, v in metadata.items())
    if size > MAX_METADATA_BYTES:
        raise AwsError(
            "MetadataTooLarge",
            "Your metadata headers exceed the maximum allowed metadata size",
            extra={"Size": size, "MaxSizeAllowed": MAX_METADATA_BYTES},
        )
    return kept | metadata


def tags_of(text: str | None) -> dict[str, str]:
    """Tags of an `x-amz-tagging` header.

    Raises:
        AwsError: InvalidTag or InvalidArgument.
    """
    if not text:
        return {}
    try:
        pairs = urllib.parse.parse_qsl(text, keep_blank_values=True, strict_parsing=True)
    except ValueError as error:
        raise AwsError(
            "InvalidArgument",
            "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters.",
        ) from error
    return check_tags(pairs, MAX_TAGS)


def check_tags(pairs: list[tuple[str, str]], most: int) -> dict[str, str]:
    """Check tags and give them as a dict.

    Raises:
        AwsError: InvalidTag or BadRequest.
    """
    if len(pairs) > most:
        raise AwsError("BadRequest", f"Object tags cannot be greater than {most}")
    tags: dict[str, str] = {}
    for key, value in pairs:
        if key in tags:
            raise AwsError("InvalidTag", "Cannot provide multiple Tags with the same key")
        if not 1 <= len(key) <= 128 or key.startswith("aws:"):
            raise AwsError("InvalidTag", "The TagKey you have provided is invalid")
        if len(value) > 256:
            raise AwsError("InvalidTag", "The TagValue you have provided is invalid")
        tags[key] = value
    return tags


def lock_of(headers: Mapping[str, str], bucket: Bucket, now_s: float) -> tuple[str, float, bool]:
    """Retention mode, its end and legal hold that an upload asks for, or the bucket's default.

    Raises:
        AwsError: InvalidRequest or InvalidArgument.
    """
    from keepwarm_localcloud.services.s3.buckets import default_retention

    mode = headers.get("x-amz-object-lock-mode", "")
    until = headers.get("x-amz-object-lock-retain-until-date", "")
    hold = headers.get("x-amz-object-lock-legal-hold", "")
    if (mode or until or hold) and not bucket.object_lock:
        raise AwsError("InvalidRequest", "Bucket is missing Object Lock Configuration")
    if bool(mode) != bool(until):
        raise AwsError(
            "InvalidArgument",
            "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied",
        )
    if not mode:
        default = default_retention(bucket)
        return (default[0], now_s + default[1], hold == "ON") if default else ("", 0.0, hold == "ON")
    return mode, check_retention(mode, until, now_s), hold == "ON"


def check_retention(mode: str, until: str, now_s: float) -> float:
    """Check a retention and give its end.

    Raises:
        AwsError: InvalidArgument.
    """
    if mode not in ("GOVERNANCE", "COMPLIANCE"):
        raise AwsError("InvalidArgument", "Unknown wormMode directive.")
    end_s = parse_date(until)
    if end_s is None:
        raise AwsError("InvalidArgument", "The retain until date must be provided in ISO 8601 format")
    if end_s <= now_s:
        raise AwsError("InvalidArgument", "The retain until date must be in the future!")
    return end_s


def lock_headers(version: Version) -> dict[str, str]:
    """Headers that tell of an object's lock."""
    headers: dict[str, str] = {}
    if version.lock_mode:
        headers["x-amz-object-lock-mode"] = version.lock_mode
        headers["x-amz-object-lock-retain-until-date"] = iso(version.lock_until_s)
    if version.legal_hold:
        headers["x-amz-object-lock-legal-hold"] = "ON"
    return headers


def check_unlocked(version: Version, headers: Mapping[str, str], now_s: float) -> None:
    """Refuse to remove a version that Object Lock protects.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html

    Raises:
        AwsError: AccessDenied.
    """
    bypass = headers.get("x-amz-bypass-governance-retention", "").lower() == "true"
    held = version.lock_until_s > now_s and (version.lock_mode == "COMPLIANCE" or not bypass)
    if version.legal_hold or (version.lock_mode and held):
        raise AwsError("AccessDenied", "Access Denied because object protected by object lock.", 403)


def version_header(bucket: Bucket, version: Version) -> dict[str, str]:
    """Header that names a version, where the bucket keeps versions."""
    return {"x-amz-version-id": version.version_id} if bucket.versioning else {}
