"""Buckets, objects and versions of S3: data in files, the rest in memory. Knows nothing of HTTP."""

import base64
import binascii
import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

from keepwarm_localcloud.request import AwsError, Readable
from keepwarm_localcloud.services.s3 import checksums
from keepwarm_localcloud.services.s3.model import PIECE_BYTES, Blob, Bucket

SMALL_BYTES: Final = 32_768
"""Objects up to this size live in memory: no file to open for a manifest or a marker."""
MAX_PUT_BYTES: Final = 5 * 1024**3
"""https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html"""


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
