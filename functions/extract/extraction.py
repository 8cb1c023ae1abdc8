"""What a document says: the extractor for each label of the classifier.

Formats that only code or configuration uses are plain text; a label nobody reads is refused, never guessed.
"""

from __future__ import annotations

import importlib

from source_document import Extraction, Source

from keepwarm_runtime.errors import CorruptDocument, EmptyDocument, EncryptedDocument, UnsupportedDocument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_OFFICE = ("docx", "xlsx", "pptx", "odt", "ods", "odp", "ooxml", "dotx", "zip", "ole", "doc", "xls", "ppt")
_BY_LABEL = {
    "csv": "plain_text.table",
    "tsv": "plain_text.table",
    "json": "plain_text.data",
    "jsonl": "plain_text.data",
    "ipynb": "plain_text.data",
    "xml": "plain_text.markup",
    "svg": "plain_text.markup",
    "rdf": "plain_text.markup",
    "gpx": "plain_text.markup",
    "xsd": "plain_text.markup",
    "html": "plain_text.page",
    "eml": "mail_text.mail",
    "mht": "mail_text.mail",
    "rtf": "rtf_text.rich_text",
    **dict.fromkeys(_OFFICE, "office_zip.office"),
}
"""Label -> module and function. Imported with the first document of a kind: an environment rarely sees all of them,
and their imports together cost more than the rest of a cold start."""

_TEXT_LABELS = frozenset({"jsonc", "unknown", "randomtxt", "randomascii"})
"""Labels outside the groups `text` and `code` whose bytes are worth reading as text, if they are text."""

PDF_LABELS = frozenset({"pdf", "ai"})
PICTURE_LABELS = frozenset({"png", "jpeg", "tiff", "bmp", "webp", "gif"})


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
    if source.label in PICTURE_LABELS:
        return _function("page_pictures.original")(source)
    if source.label in PDF_LABELS:
        return _function("pdf_pages.pdf")(source, check_time=check_time)
    if source.label in _BY_LABEL:
        return _function(_BY_LABEL[source.label])(source)
    if source.label == "pgp":
        raise EncryptedDocument(source.who, "an OpenPGP message")
    if group in {"text", "code"} or source.label in _TEXT_LABELS:
        return _function("plain_text.plain")(source)
    raise UnsupportedDocument(source.who, f"a file of type '{source.label}'")


def _function(name: str) -> Callable[..., Extraction]:
    module, _, function = name.partition(".")
    found: Callable[..., Extraction] = getattr(importlib.import_module(module), function)
    return found
