"""What a document says: the extractor for each label of the classifier.

Formats that only code or configuration uses are plain text; a label nobody reads is refused, never guessed.
"""

from __future__ import annotations

from collections.abc import Callable

import mail_text
import office_zip
import page_pictures
import pdf_pages
import plain_text
import rtf_text
from source_document import Extraction, Source

from keepwarm_runtime.errors import CorruptDocument, EmptyDocument, EncryptedDocument, UnsupportedDocument

_BY_LABEL: dict[str, Callable[[Source], Extraction]] = {
    "csv": plain_text.table,
    "tsv": plain_text.table,
    "json": plain_text.data,
    "jsonl": plain_text.data,
    "ipynb": plain_text.data,
    "xml": plain_text.markup,
    "svg": plain_text.markup,
    "rdf": plain_text.markup,
    "gpx": plain_text.markup,
    "xsd": plain_text.markup,
    "html": plain_text.page,
    "eml": mail_text.mail,
    "mht": mail_text.mail,
    "rtf": rtf_text.rich_text,
    **dict.fromkeys(("docx", "xlsx", "pptx", "odt", "ods", "odp", "ooxml", "dotx", "zip", "ole", "doc", "xls", "ppt"),
                    office_zip.office),
}  # fmt: skip

_TEXT_LABELS = frozenset({"jsonc", "unknown", "randomtxt", "randomascii"})
"""Labels outside the groups `text` and `code` whose bytes are worth reading as text, if they are text."""

PDF_LABELS = frozenset({"pdf", "ai"})


def extract(source: Source, *, group: str = "", check_time: Callable[[], None] = lambda: None) -> Extraction:
    """What the document says. `group` is the classifier's group of the label (`text`, `code`, `document`, ...).

    Raises EmptyDocument when nothing can be read from it, EncryptedDocument, CorruptDocument, TooLargeDocument,
    UnsupportedDocument for a label that has no extractor; `check_time` may raise between pages.
    """
    if not source.data:
        raise EmptyDocument(source.who, "0 bytes")
    try:
        found = _read(source, group, check_time)
    except RecursionError:
        raise CorruptDocument(source.who, "a structure nested without end", allowed="200 levels") from None
    if not found.needs_ocr and not found.text.strip():
        raise EmptyDocument(
            source.who, f"a {source.label} with no text and no picture", allowed="something to read"
        )
    return found


def _read(source: Source, group: str, check_time: Callable[[], None]) -> Extraction:
    if source.label in page_pictures.MIME:
        page = page_pictures.picture(source)
        return Extraction(
            "", "picture", original_is_page=True, facts={"width": page.width, "height": page.height}
        )
    if source.label in PDF_LABELS:
        return pdf_pages.pdf(source, check_time=check_time)
    if source.label in _BY_LABEL:
        return _BY_LABEL[source.label](source)
    if source.label == "pgp":
        raise EncryptedDocument(source.who, "an OpenPGP message")
    if group in {"text", "code"} or source.label in _TEXT_LABELS:
        return plain_text.plain(source)
    raise UnsupportedDocument(source.who, f"a file of type '{source.label}'")
