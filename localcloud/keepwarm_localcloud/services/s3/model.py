"""What S3 keeps: buckets, versions of objects, uploads, and where their bytes are."""

import bisect
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

PIECE_BYTES: Final = 1_048_576


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
