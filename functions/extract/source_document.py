"""What every extractor is given and gives back, and the bounds that all of them keep."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

MAX_TEXT_CHARS = 5_000_000
"""Longest text taken from one document; a thousand-page book has about two million characters."""
MAX_PAGES = 500
"""Most pages of one document. Each scanned page is one call of the OCR service."""
MAX_PIXELS = 60_000_000
"""Largest picture, width x height: A4 in color at 800 dots per inch."""
MAX_UNPACKED_BYTES = 128 * 1024 * 1024
"""Most that one archive may unpack to: with the archive itself it stays inside 512 MB of memory."""
MAX_RATIO = 300
"""Largest expansion of one archive member above 1 MB. Plain XML reaches about 30, a zip bomb 1,000."""
MAX_MEMBERS = 10_000
"""Most members of one archive."""
MAX_DEPTH = 200
"""Deepest nesting of elements, groups or values. Office files stay below 40."""


class Source(NamedTuple):
    """A document as it was uploaded."""

    name: str
    """Name to use in messages: the last part of the object's key."""
    data: bytes
    label: str
    """What the classifier says it is, in Magika's words."""

    @property
    def who(self) -> str:
        """How error texts name the document."""
        return f"document '{self.name}'"


class Picture(NamedTuple):
    """A picture of one page."""

    data: bytes
    mime: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Page:
    """One page: its text, or its picture when there is no text to take."""

    number: int
    text: str = ""
    picture: Picture | None = None


@dataclass(frozen=True, slots=True)
class Extraction:
    """What a document says."""

    text: str
    """All text, pages separated by a form feed."""
    kind: str
    """How it was read: text, table, data, markup, mail, office, pdf, picture."""
    pages: tuple[Page, ...] = ()
    """Pages where the format has them; those with a picture still need OCR."""
    original_is_page: bool = False
    """The uploaded file itself is the picture of the one page."""
    facts: dict[str, str | int] = field(default_factory=dict)
    """Small facts for the result: title, subject, rows, attachments."""

    @property
    def needs_ocr(self) -> bool:
        """Whether any page is still only a picture."""
        return self.original_is_page or any(page.picture is not None for page in self.pages)
