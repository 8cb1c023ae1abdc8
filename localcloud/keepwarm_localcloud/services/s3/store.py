"""Buckets, objects and versions of S3: data in files, the rest in memory. Knows nothing of HTTP."""

import base64
import binascii
import bisect
import hashlib
import os
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from keepwarm_localcloud.request import AwsError, Readable
from keepwarm_localcloud.services.s3 import checksums

SMALL_BYTES: Final = 32_768
"""Objects up to this size live in memory: no file to open for a manifest or a marker."""
PIECE_BYTES: Final = 1_048_576
MAX_PUT_BYTES: Final = 5 * 1024**3
"""https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html"""


@dataclass(slots=True)
class Blob:
    """Bytes of an object or part: in memory when small, else an immutable file."""

    size: int
    md5: bytes
    data: bytes | None = None
    path: Path | None = None
    checksum: tuple[str, str] | None = None
    """Algorithm and base64 value that the client gave and that was verified."""

    def open(self) -> IO[bytes]:
        """Open the file for reading; only for blobs that have one."""
        assert self.path is not None
        return self.path.open("rb")

    def pieces(self, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Give the bytes from `offset`, piece by piece."""
        length = self.size - offset if length is None else length
        if self.data is not None:
            yield self.data[offset : offset + length]
            return
        with self.open() as file:
            file.seek(offset)
            while length > 0 and (piece := file.read(min(PIECE_BYTES, length))):
                length -= len(piece)
                yield piece

    def discard(self) -> None:
        """Remove the file; readers that have it open go on."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


@dataclass(slots=True)
class Version:
    """One version of an object, or a delete marker (`blob` is None)."""

    key: str
    version_id: str
    modified_s: float
    blob: Blob | None
    etag: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    """Content-Type and its like, and x-amz-meta-*, as they go back."""
    checksums: dict[str, str] = field(default_factory=dict)
    checksum_type: str = "FULL_OBJECT"
    part_sizes: list[int] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    storage_class: str = "STANDARD"
    encryption: dict[str, str] = field(default_factory=dict)
    lock_mode: str = ""
    lock_until_s: float = 0.0
    legal_hold: bool = False
    sequencer: str = ""

    @property
    def size(self) -> int:
        """Bytes; 0 for a delete marker."""
        return self.blob.size if self.blob is not None else 0


@dataclass(slots=True)
class Part:
    """One part of a multipart upload."""

    number: int
    blob: Blob
    modified_s: float

    @property
    def etag(self) -> str:
        """MD5 of the part, as AWS gives it."""
        return self.blob.md5.hex()


@dataclass(slots=True)
class Upload:
    """A multipart upload that is neither completed nor aborted."""

    upload_id: str
    key: str
    started_s: float
    template: Version
    """Headers, tags and lock the object will have."""
    algorithm: str | None = None
    checksum_type: str = "COMPOSITE"
    parts: dict[int, Part] = field(default_factory=dict)


class Bucket:
    """One bucket: keys in order, versions newest first."""

    def __init__(self, name: str, region: str, created_s: float) -> None:
        self.name = name
        self.region = region
        self.created_s = created_s
        self.versioning = ""
        """'' never enabled, `Enabled` or `Suspended`."""
        self.object_lock = False
        self.config: dict[tuple[str, str], str] = {}
        """(subresource, id) -> XML or JSON as it was put."""
        self.uploads: dict[str, Upload] = {}
        self._keys: list[str] = []
        self._versions: dict[str, list[Version]] = {}

    @property
    def empty(self) -> bool:
        """No version and no delete marker."""
        return not self._keys

    def keys_from(self, start: str, *, after: bool = False) -> Iterator[str]:
        """Keys in order from `start`; the caller holds the lock."""
        find = bisect.bisect_right if after else bisect.bisect_left
        at = find(self._keys, start)
        while at < len(self._keys):
            yield self._keys[at]
            at += 1

    def keys(self) -> list[str]:
        """Every key in order."""
        return self._keys

    def versions(self, key: str) -> list[Version]:
        """Versions of a key, newest first."""
        return self._versions.get(key, [])

    def current(self, key: str) -> Version | None:
        """The newest version, which may be a delete marker."""
        versions = self._versions.get(key)
        return versions[0] if versions else None

    def find(self, key: str, version_id: str | None) -> Version | None:
        """A version by id, or the newest."""
        if version_id is None:
            return self.current(key)
        return next((v for v in self.versions(key) if v.version_id == version_id), None)

    def next_version_id(self) -> str:
        """Id of the next version, by the state of versioning."""
        return secrets.token_urlsafe(24) if self.versioning == "Enabled" else "null"

    def add(self, version: Version) -> Version | None:
        """Make a version the newest; gives the null version it replaced."""
        versions = self._versions.get(version.key)
        if versions is None:
            versions = self._versions[version.key] = []
            bisect.insort(self._keys, version.key)
        replaced = None
        if version.version_id == "null":
            replaced = next((v for v in versions if v.version_id == "null"), None)
            if replaced is not None:
                versions.remove(replaced)
        versions.insert(0, version)
        return replaced

    def remove(self, version: Version) -> None:
        """Remove one version for good."""
        versions = self._versions[version.key]
        versions.remove(version)
        if not versions:
            del self._versions[version.key]
            at = bisect.bisect_left(self._keys, version.key)
            del self._keys[at]


class Store:
    """Every bucket of a cloud and the folder of its data. Callers hold `lock` around what must be atomic."""

    def __init__(self, directory: Path) -> None:
        self.lock = threading.RLock()
        self.buckets: dict[str, Bucket] = {}
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._counter = 0

    def bucket(self, name: str) -> Bucket:
        """Find a bucket.

        Raises:
            AwsError: NoSuchBucket.
        """
        bucket = self.buckets.get(name)
        if bucket is None:
            raise AwsError(
                "NoSuchBucket", "The specified bucket does not exist", 404, extra={"BucketName": name}
            )
        return bucket

    def new_path(self) -> Path:
        """A file name nobody has."""
        with self.lock:
            self._counter += 1
            return self._directory / f"{self._counter:08x}"

    def receive(
        self,
        stream: Readable,
        length: int,
        *,
        md5: str | None = None,
        sha256: str | None = None,
        algorithm: str | None = None,
        checksum: str | None = None,
    ) -> Blob:
        """Read a body to its end, verifying what the client said of it; memory does not grow with its size.

        Args:
            stream: The body.
            length: Announced bytes; -1 when unknown.
            md5: Content-MD5 header.
            sha256: x-amz-content-sha256 when it is a digest.
            algorithm: Checksum algorithm the client uses.
            checksum: Its value; None when it comes in the trailer.

        Raises:
            AwsError: InvalidDigest, BadDigest, XAmzContentSHA256Mismatch, IncompleteBody or EntityTooLarge; then no
                file stays.
        """
        expected_md5 = _md5_of(md5)
        if length > MAX_PUT_BYTES:
            raise AwsError("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size")
        digests: list[checksums.Hash] = [hashlib.md5(usedforsecurity=False)]
        if algorithm is not None:
            digests.append(checksums.new(algorithm))
        content = hashlib.sha256() if sha256 is not None else None
        if content is not None:
            digests.append(content)
        path, data, size = self._write(stream, length, digests)
        try:
            if length >= 0 and size != length:
                raise AwsError(
                    "IncompleteBody",
                    "You did not provide the number of bytes specified by the Content-Length HTTP header",
                )
            if expected_md5 is not None and expected_md5 != digests[0].digest():
                raise AwsError("BadDigest", "The Content-MD5 you specified did not match what we received.")
            if content is not None and content.hexdigest() != sha256:
                raise AwsError(
                    "XAmzContentSHA256Mismatch",
                    "The provided 'x-amz-content-sha256' header does not match what was computed.",
                )
            verified = None
            if algorithm is not None:
                value = checksum if checksum is not None else _trailer(stream, algorithm)
                verified = (algorithm, checksums.compare(algorithm, value, digests[1].digest()))
        except AwsError:
            if path is not None:
                path.unlink(missing_ok=True)
            raise
        return Blob(size, digests[0].digest(), data, path, verified)

    def _write(
        self, stream: Readable, length: int, digests: list[Any]
    ) -> tuple[Path | None, bytes | None, int]:
        piece = stream.read(SMALL_BYTES + 1 if length < 0 or length > SMALL_BYTES else length + 1)
        for digest in digests:
            digest.update(piece)
        if len(piece) <= SMALL_BYTES:
            return None, piece, len(piece)
        path = self.new_path()
        size = len(piece)
        try:
            with path.open("wb", buffering=0) as file:
                _write_all(file, piece)
                while piece := stream.read(PIECE_BYTES):
                    for digest in digests:
                        digest.update(piece)
                    _write_all(file, piece)
                    size += len(piece)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path, None, size

    def link(self, blob: Blob) -> Blob:
        """Another name for the same immutable bytes: a copy without copying."""
        if blob.path is None:
            return blob
        path = self.new_path()
        os.link(blob.path, path)
        return Blob(blob.size, blob.md5, None, path, blob.checksum)

    def slice(self, blob: Blob, offset: int, length: int) -> Blob:
        """Copy a range into a blob of its own."""
        return self.receive(_Pieces(blob.pieces(offset, length)), length)

    def join(self, blobs: list[Blob], algorithm: str | None) -> tuple[Blob, str | None]:
        """Put parts together; gives the whole and, when asked for, its checksum in base64."""
        running = checksums.new(algorithm) if algorithm is not None else None
        size = sum(b.size for b in blobs)
        marker = hashlib.md5(usedforsecurity=False)
        for blob in blobs:
            marker.update(blob.md5)
        path: Path | None = None
        data: bytes | None = None
        if size <= SMALL_BYTES:
            data = b"".join(piece for b in blobs for piece in b.pieces())
            if running is not None:
                running.update(data)
        else:
            path = self.new_path()
            with path.open("wb", buffering=0) as file:
                for blob in blobs:
                    if running is None and blob.path is not None:
                        _copy_file(blob, file)
                        continue
                    for piece in blob.pieces():
                        if running is not None:
                            running.update(piece)
                        _write_all(file, piece)
        value = base64.b64encode(running.digest()).decode() if running is not None else None
        return Blob(size, marker.digest(), data, path), value


class _Pieces:
    """Pieces as something to read from."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def read(self, size: int | None = -1, /) -> bytes:
        while size is None or size < 0 or len(self._rest) < size:
            piece = next(self._pieces, b"")
            if not piece:
                break
            self._rest += piece
        end = len(self._rest) if size is None or size < 0 else size
        taken, self._rest = self._rest[:end], self._rest[end:]
        return taken


def _copy_file(blob: Blob, target: IO[bytes]) -> None:
    with blob.open() as source:
        left = blob.size
        while left:
            # In the kernel: on most file systems the bytes never come to Python.
            moved = os.copy_file_range(source.fileno(), target.fileno(), left)
            if moved == 0:
                raise OSError(f"part file {blob.path} is shorter than it was")
            left -= moved


def _write_all(file: IO[bytes], piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[file.write(view) :]


def _md5_of(text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != 16:
        raise AwsError("InvalidDigest", "The Content-MD5 you specified was invalid.")
    return raw


def _trailer(stream: Readable, algorithm: str) -> str:
    name = checksums.header(algorithm)
    value = getattr(stream, "trailers", {}).get(name)
    if value is None:
        raise AwsError(
            "MalformedTrailerError", "The request contained trailing data that was not well-formed."
        )
    return checksums.valid(algorithm, value)
