"""PDF: the text of each page, or its picture where a scanner left no text. pypdf is imported with the first PDF."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator
from typing import Any

from page_pictures import check_pixels, png
from plain_text import bounded
from source_document import MAX_PAGES, Extraction, Page, Picture, Source

from keepwarm_runtime.errors import CorruptDocument, EncryptedDocument, TooLargeDocument, UnsupportedDocument

MIN_PAGE_CHARS = 16
"""Fewer visible characters than this, beside a picture, is a scanner's stamp and not the page's text."""
MIN_SIDE = 200
"""Smallest side, in pixels, of a picture that can be a page: logos and lines are smaller."""
MAX_FORM_DEPTH = 4
"""How deep pictures inside forms inside forms are looked for."""


def pdf(source: Source, *, check_time: Callable[[], None] = lambda: None) -> Extraction:
    """Text and pictures by page. `check_time` is called before each page and may raise.

    Raises EncryptedDocument, CorruptDocument, TooLargeDocument (pages, pixels, unpacked streams) and
    UnsupportedDocument for a picture in a color space that has no plain samples.
    """
    import pypdf
    from pypdf.errors import FileNotDecryptedError, LimitReachedError, PyPdfError

    # What pypdf warns of is either refused here or harmless; a function's log is no place for it.
    logging.getLogger("pypdf").setLevel(logging.ERROR)
    try:
        reader = pypdf.PdfReader(io.BytesIO(source.data), strict=False)
        if reader.is_encrypted:
            raise EncryptedDocument(source.who, "a PDF with a password or an encryption dictionary")
        count = len(reader.pages)
        if count > MAX_PAGES:
            raise TooLargeDocument(source.who, f"{count:,} pages", allowed=f"{MAX_PAGES} pages")
        if count == 0:
            raise CorruptDocument(source.who, "a PDF without pages", allowed="at least one page")
        pages = []
        for number, page in enumerate(reader.pages, 1):
            check_time()
            pages.append(_page(source, number, page))
        title = reader.metadata.title if reader.metadata else None
    except (EncryptedDocument, CorruptDocument, TooLargeDocument, UnsupportedDocument):
        raise
    except FileNotDecryptedError:
        raise EncryptedDocument(source.who, "a PDF whose objects are encrypted") from None
    except (LimitReachedError, MemoryError) as fault:
        raise TooLargeDocument(
            source.who, f"a stream that unpacks without end ({fault})", allowed="75,000,000 bytes"
        ) from None
    except (
        PyPdfError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        IndexError,
        OSError,
        RecursionError,
        NotImplementedError,
        AssertionError,
        UnicodeError,
        OverflowError,
        ZeroDivisionError,
    ) as fault:
        # Damaged files reach every kind of error in a parser; all of them mean the same for the sender.
        raise CorruptDocument(
            source.who,
            f"a PDF that can't be read ({type(fault).__name__}: {fault})",
            allowed="a PDF that viewers open",
        ) from None
    text = bounded(source, "\n\f".join(page.text for page in pages))
    facts: dict[str, str | int] = {"pages": len(pages)}
    if title:
        facts["title"] = str(title)[:200]
    return Extraction(text, "pdf", tuple(pages), facts=facts)


def _page(source: Source, number: int, page: Any) -> Page:
    text = page.extract_text() or ""
    if sum(not character.isspace() for character in text) >= MIN_PAGE_CHARS:
        return Page(number, text.strip())
    resources = page.get("/Resources")
    best = max(_images(resources, 0), key=lambda image: _sides(image)[0] * _sides(image)[1], default=None)
    if best is None:
        return Page(number, text.strip())
    return Page(number, text.strip(), _picture(f"{source.who}, page {number}", best))


def _images(resources: Any, depth: int) -> Iterator[Any]:
    """Every picture of a page that is large enough to be the page."""
    if resources is None or depth > MAX_FORM_DEPTH:
        return
    objects = resources.get_object().get("/XObject")
    for item in (objects.get_object() if objects is not None else {}).values():
        stream = item.get_object()
        kind = stream.get("/Subtype")
        if kind == "/Image" and min(_sides(stream)) >= MIN_SIDE:
            yield stream
        elif kind == "/Form":
            yield from _images(stream.get("/Resources"), depth + 1)


def _sides(stream: Any) -> tuple[int, int]:
    return int(stream.get("/Width", 0)), int(stream.get("/Height", 0))


def _picture(who: str, stream: Any) -> Picture:
    """A picture in a format that the OCR service reads, without decoding it where it is a file already."""
    width, height = _sides(stream)
    check_pixels(who, width, height)
    filters = stream.get("/Filter")
    filters = filters.get_object() if filters is not None else []
    last = str(filters[-1] if isinstance(filters, list) and filters else filters or "")
    data: bytes = stream.get_data()
    ready = {
        "/DCTDecode": "image/jpeg",
        "/DCT": "image/jpeg",
        "/CCITTFaxDecode": "image/tiff",
        "/CCF": "image/tiff",
    }
    if last in ready:
        return Picture(data, ready[last], width, height)
    if last in {"/JPXDecode", "/JBIG2Decode"}:
        raise UnsupportedDocument(
            who, f"a picture packed with {last[1:]}", fix="scan to a PDF with JPEG or CCITT pictures"
        )
    return _samples(who, stream, data, width, height)


def _samples(who: str, stream: Any, data: bytes, width: int, height: int) -> Picture:
    """Raw samples as a PNG."""
    bits = 1 if stream.get("/ImageMask") else int(stream.get("/BitsPerComponent", 8))
    stated = stream.get("/ColorSpace")
    space: Any = stated.get_object() if stated is not None else "/DeviceGray"
    name = str(space[0] if isinstance(space, list) else space)
    palette = b""
    if name == "/ICCBased":
        channels = int(space[1].get_object().get("/N", 0))
    elif name == "/Indexed":
        channels, palette = 1, _palette(who, space)
    else:
        channels = {"/DeviceGray": 1, "/CalGray": 1, "/G": 1, "/DeviceRGB": 3, "/CalRGB": 3, "/RGB": 3}.get(
            name, 0
        )
    if channels not in {1, 3}:
        raise UnsupportedDocument(who, f"a picture in the color space {name[1:]}", fix="scan in gray or RGB")
    decode = stream.get("/Decode")
    if decode is not None and not palette and float(decode.get_object()[0]) > float(decode.get_object()[1]):
        data = data.translate(bytes(255 - value for value in range(256)))
    return png(who, data, width, height, channels=channels, bits=bits, palette=palette)


def _palette(who: str, space: Any) -> bytes:
    base = space[1].get_object()
    name = str(base[0] if isinstance(base, list) else base)
    rgb = name in {"/DeviceRGB", "/CalRGB", "/RGB"} or (
        name == "/ICCBased" and int(base[1].get_object().get("/N", 0)) == 3
    )
    table = space[3].get_object()
    body = (
        table.get_data()
        if hasattr(table, "get_data")
        else getattr(table, "original_bytes", None) or bytes(table)
    )
    if rgb:
        return body[: 256 * 3]
    if name in {"/DeviceGray", "/CalGray", "/G"}:
        return bytes(value for value in body[:256] for _ in range(3))
    raise UnsupportedDocument(who, f"a palette in the color space {name[1:]}", fix="scan in gray or RGB")
