"""Checksums of S3: what clients may send, what is kept, and composites of multipart uploads.

CRC32 and the SHAs run at the speed of the C library. CRC32C and CRC64NVME are Python (about 10 MB/s): no client of this
project sends them, boto3 can't without awscrt, and awscrt would slow every start of every Python here.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
"""

import base64
import binascii
import hashlib
import zlib
from collections.abc import Iterable, Mapping
from typing import Final, Protocol

from keepwarm_localcloud.request import AwsError


class Hash(Protocol):
    """What hashlib's objects do."""

    def update(self, data: bytes, /) -> None:
        """Take more."""
        ...

    def digest(self) -> bytes:
        """Give the checksum of what came so far."""
        ...


def _tables(polynomial: int) -> list[list[int]]:
    first = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ (polynomial if value & 1 else 0)
        first.append(value)
    tables = [first]
    for _ in range(7):
        last = tables[-1]
        tables.append([first[v & 0xFF] ^ (v >> 8) for v in last])
    return tables


class _Crc:
    """Reflected CRC of 32 or 64 bits, eight bytes at a time."""

    def __init__(self, tables: list[list[int]], bits: int) -> None:
        self._tables, self._bits = tables, bits
        self._mask = (1 << bits) - 1
        self._value = self._mask

    def update(self, data: bytes, /) -> None:
        t0, t1, t2, t3, t4, t5, t6, t7 = self._tables
        value = self._value
        whole = len(data) - len(data) % 8
        for at in range(0, whole, 8):
            x = value ^ int.from_bytes(data[at : at + 8], "little")
            value = (
                t7[x & 0xFF]
                ^ t6[x >> 8 & 0xFF]
                ^ t5[x >> 16 & 0xFF]
                ^ t4[x >> 24 & 0xFF]
                ^ t3[x >> 32 & 0xFF]
                ^ t2[x >> 40 & 0xFF]
                ^ t1[x >> 48 & 0xFF]
                ^ t0[x >> 56]
            )
        for byte in data[whole:]:
            value = t0[(value ^ byte) & 0xFF] ^ (value >> 8)
        self._value = value

    def digest(self) -> bytes:
        return (self._value ^ self._mask).to_bytes(self._bits // 8, "big")


class _Crc32:
    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes, /) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


_made: dict[int, list[list[int]]] = {}


def _crc(polynomial: int, bits: int) -> _Crc:
    if polynomial not in _made:
        _made[polynomial] = _tables(polynomial)
    return _Crc(_made[polynomial], bits)


SIZES: Final = {"CRC32": 4, "CRC32C": 4, "CRC64NVME": 8, "SHA1": 20, "SHA256": 32}
"""Algorithm -> bytes of its value."""
_FULL_OBJECT_ONLY: Final = ("CRC64NVME",)
_COMPOSITE_ONLY: Final = ("SHA1", "SHA256")


def new(algorithm: str) -> Hash:
    """A running checksum.

    Raises:
        AwsError: S3 knows no such algorithm.
    """
    if algorithm == "CRC32":
        return _Crc32()
    if algorithm == "CRC32C":
        return _crc(0x82F63B78, 32)
    if algorithm == "CRC64NVME":
        return _crc(0x9A6C9329AC4BC9B5, 64)
    if algorithm == "SHA1":
        return hashlib.sha1(usedforsecurity=False)
    if algorithm == "SHA256":
        return hashlib.sha256()
    raise AwsError("InvalidRequest", f"Checksum algorithm provided is unsupported: {algorithm}")


def header(algorithm: str) -> str:
    """Name of the header that carries a checksum, lower case."""
    return f"x-amz-checksum-{algorithm.lower()}"


def asked(headers: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Algorithm and value (None: in the trailer) that an upload announces.

    Raises:
        AwsError: several checksums, an unknown algorithm, or a value that is none.
    """
    given = [(a, headers[header(a)]) for a in SIZES if header(a) in headers]
    if len(given) > 1:
        raise AwsError(
            "InvalidRequest",
            "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
        )
    if given:
        algorithm, value = given[0]
        return algorithm, valid(algorithm, value)
    trailers = [n.strip().lower() for n in headers.get("x-amz-trailer", "").split(",") if n.strip()]
    for name in trailers:
        for algorithm in SIZES:
            if name == header(algorithm):
                return algorithm, None
    wanted = headers.get("x-amz-sdk-checksum-algorithm", "").upper()
    if wanted:
        new(wanted)
        raise AwsError(
            "InvalidRequest",
            "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers "
            "were found.",
        )
    return None, None


def valid(algorithm: str, value: str) -> str:
    """Give a checksum back that has the right form.

    Raises:
        AwsError: it is not base64 of the right length.
    """
    try:
        raw = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != SIZES[algorithm]:
        raise AwsError("InvalidRequest", f"Value for {header(algorithm)} header is invalid.")
    return value


def compare(algorithm: str, expected: str, digest: bytes) -> str:
    """Give the computed checksum in base64.

    Raises:
        AwsError: BadDigest, it is not the one the client sent.
    """
    computed = base64.b64encode(digest).decode()
    if computed != expected:
        raise AwsError("BadDigest", f"The {algorithm} you specified did not match the calculated checksum.")
    return computed


def kind_of_multipart(algorithm: str, asked_kind: str | None) -> str:
    """Whether a multipart upload gets a `FULL_OBJECT` or a `COMPOSITE` checksum.

    Raises:
        AwsError: the algorithm does not have the kind asked for.
    """
    if asked_kind is None:
        return "FULL_OBJECT" if algorithm in _FULL_OBJECT_ONLY else "COMPOSITE"
    impossible = (asked_kind == "COMPOSITE" and algorithm in _FULL_OBJECT_ONLY) or (
        asked_kind == "FULL_OBJECT" and algorithm in _COMPOSITE_ONLY
    )
    if asked_kind not in ("COMPOSITE", "FULL_OBJECT") or impossible:
        raise AwsError(
            "InvalidRequest",
            f"The {asked_kind} checksum type cannot be used with the {algorithm} checksum algorithm.",
        )
    return asked_kind


def composite(algorithm: str, parts: Iterable[str]) -> str:
    """Checksum of checksums, with the number of parts."""
    running = new(algorithm)
    count = 0
    for part in parts:
        running.update(base64.b64decode(part))
        count += 1
    return f"{base64.b64encode(running.digest()).decode()}-{count}"
