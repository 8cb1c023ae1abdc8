"""Pictures of pages: the size that a file's header states, and a PNG around raw samples. Nothing is decoded here."""

from __future__ import annotations

import struct
import zlib

from source_document import MAX_PIXELS, Extraction, Picture, Source

from keepwarm_runtime.errors import CorruptDocument, TooLargeDocument, UnsupportedDocument

_PNG = b"\x89PNG\r\n\x1a\n"


def original(source: Source) -> Extraction:
    """The uploaded file as the picture of its one page, once its header shows a size that may be decoded.

    Raises CorruptDocument for a broken header and TooLargeDocument above `MAX_PIXELS`.
    """
    try:
        size = _size(source.data)
    except (struct.error, IndexError):
        size = None
    if size is None or 0 in size:
        raise CorruptDocument(
            source.who, f"a {source.label} without a readable header", allowed="a complete picture"
        )
    check_pixels(source.who, *size)
    return Extraction("", "picture", original_is_page=True, facts={"width": size[0], "height": size[1]})


def check_pixels(who: str, width: int, height: int) -> None:
    """Refuse a picture that would fill the memory of whoever decodes it."""
    if width * height > MAX_PIXELS:
        raise TooLargeDocument(
            who,
            f"a picture of {width:,} x {height:,} pixels",
            allowed=f"{MAX_PIXELS:,} pixels",
            fix="scan with a lower resolution",
        )


def _size(data: bytes) -> tuple[int, int] | None:
    """Width and height of the first picture in a file."""
    if data.startswith(_PNG):
        return struct.unpack(">II", data[16:24])
    if data.startswith(b"\xff\xd8"):
        return _jpeg_size(data)
    if data[:4] in {b"II*\0", b"MM\0*"}:
        return _tiff_size(data)
    if data.startswith(b"BM"):
        width, height = struct.unpack("<ii", data[18:26])
        return abs(width), abs(height)
    if data[:3] == b"GIF":
        return struct.unpack("<HH", data[6:10])
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp_size(data)
    return None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 < len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def _tiff_size(data: bytes) -> tuple[int, int] | None:
    order = "<" if data[:2] == b"II" else ">"
    (place,) = struct.unpack(order + "I", data[4:8])
    (count,) = struct.unpack(order + "H", data[place : place + 2])
    found: dict[int, int] = {}
    for entry in range(count):
        at = place + 2 + entry * 12
        tag, kind = struct.unpack(order + "HH", data[at : at + 4])
        if tag in {256, 257}:
            short = kind == 3
            (found[tag],) = struct.unpack(
                order + ("H" if short else "I"), data[at + 8 : at + (10 if short else 12)]
            )
    return (found[256], found[257]) if len(found) == 2 else None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", data[26:30])
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        (bits,) = struct.unpack("<I", data[21:25])
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    return None


def png(
    who: str, samples: bytes, width: int, height: int, *, channels: int, bits: int, palette: bytes = b""
) -> Picture:
    """A PNG around raw samples (grey, RGB or palette), rows padded to whole bytes as PDF has them.

    Raises CorruptDocument when there are fewer samples than the size needs.
    """
    check_pixels(who, width, height)
    row = (width * channels * bits + 7) // 8
    if len(samples) < row * height:
        raise CorruptDocument(
            who,
            f"a picture of {width} x {height} pixels with {len(samples):,} bytes",
            allowed=f"at least {row * height:,} bytes",
            because="the rest of the page is missing",
        )
    if channels not in {1, 3} or bits not in {1, 2, 4, 8}:
        raise UnsupportedDocument(who, f"a picture of {channels} channels with {bits} bits")
    color = 3 if palette else 2 if channels == 3 else 0
    lines = b"".join(b"\0" + samples[at : at + row] for at in range(0, row * height, row))
    head = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    body = _chunk(b"IHDR", head) + (_chunk(b"PLTE", palette) if palette else b"")
    body += _chunk(b"IDAT", zlib.compress(lines, 6)) + _chunk(b"IEND", b"")
    return Picture(_PNG + body, "image/png", width, height)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
