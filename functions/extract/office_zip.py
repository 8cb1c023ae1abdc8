"""Office documents: zips of XML (docx, xlsx, pptx, odt, ods, odp), opened without trusting what the zip says."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Callable

import safe_xml
from plain_text import bounded
from source_document import MAX_MEMBERS, MAX_RATIO, MAX_UNPACKED_BYTES, Extraction, Source

from keepwarm_runtime.errors import CorruptDocument, EncryptedDocument, TooLargeDocument, UnsupportedDocument

_RATIO_FROM_BYTES = 1024 * 1024
_STEP = 1024 * 1024


class Package:
    """A zip whose members are read within bounds, whatever sizes its directory claims."""

    def __init__(self, source: Source) -> None:
        self.who = source.who
        self._left = MAX_UNPACKED_BYTES
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(source.data))
        except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as fault:
            raise CorruptDocument(source.who, f"a broken zip ({fault})", allowed="a complete zip") from None
        self.names = self._zip.namelist()
        if len(self.names) > MAX_MEMBERS:
            raise TooLargeDocument(
                source.who, f"a zip of {len(self.names):,} members", allowed=f"{MAX_MEMBERS:,} members"
            )

    def read(self, name: str) -> bytes:
        """One member. Raises EncryptedDocument, TooLargeDocument for a bomb, CorruptDocument for a bad checksum."""
        try:
            entry = self._zip.getinfo(name)
        except KeyError:
            raise CorruptDocument(
                self.who, f"no '{name}' inside", allowed="the parts of its format"
            ) from None
        if entry.flag_bits & 1:
            raise EncryptedDocument(self.who, f"an encrypted '{name}'")
        body = bytearray()
        try:
            with self._zip.open(entry) as stream:
                while piece := stream.read(_STEP):
                    body += piece
                    self._left -= len(piece)
                    self._check(name, entry.compress_size, len(body))
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError) as fault:
            raise CorruptDocument(self.who, f"a broken '{name}' ({fault})", allowed="an intact zip") from None
        return bytes(body)

    def _check(self, name: str, packed: int, unpacked: int) -> None:
        if self._left < 0:
            raise TooLargeDocument(
                self.who,
                f"over {MAX_UNPACKED_BYTES:,} bytes when unpacked",
                allowed=f"{MAX_UNPACKED_BYTES:,} bytes",
            )
        if unpacked > _RATIO_FROM_BYTES and unpacked > packed * MAX_RATIO:
            raise TooLargeDocument(
                self.who,
                f"'{name}' that unpacks to more than {MAX_RATIO} times its size",
                allowed=f"a factor of {MAX_RATIO}",
                because="that is a zip bomb",
                fix="save the document again with an office program",
            )


def office(source: Source) -> Extraction:
    """The text of an office document, by what is inside rather than by its name.

    Raises CorruptDocument, EncryptedDocument, TooLargeDocument, and UnsupportedDocument for a zip of something else.
    """
    if source.data.startswith(b"\xd0\xcf\x11\xe0"):
        return _compound(source)
    package = Package(source)
    for mark, read in _READERS.items():
        if mark in package.names:
            text = read(package)
            return Extraction(bounded(source, text.strip()), "office")
    raise UnsupportedDocument(source.who, "a zip that is no office document")


def _compound(source: Source) -> Extraction:
    """Word's old container: it wraps an encrypted document, or is a document of before 2007."""
    if "EncryptedPackage".encode("utf-16-le") in source.data:
        raise EncryptedDocument(source.who, "an office document with a password")
    raise UnsupportedDocument(
        source.who,
        "an office document of the format before 2007",
        fix="save it as docx, xlsx or pptx",
    )


def _paragraphs(
    package: Package, name: str, *, paragraph: frozenset[str], words: frozenset[str] | None
) -> list[str]:
    """Texts of the paragraphs of one part. `words` are the elements that hold shown text; None: all do."""
    lines: list[str] = []
    pieces: list[str] = []
    inside = 0

    def start(element: str, attributes: dict[str, str]) -> None:
        nonlocal inside
        if words is not None and element in words:
            inside += 1
        if element == "tab" and "pos" not in attributes:  # with `pos` it defines a tab stop
            pieces.append("\t")
        elif element in {"br", "cr", "line-break"}:
            pieces.append("\n")
        elif element == "s":
            count = attributes.get("c", "1")
            # At most a line of spaces: the count is the sender's.
            pieces.append(" " * min(int(count) if re.fullmatch("[0-9]{1,9}", count) else 1, 200))

    def end(element: str) -> None:
        nonlocal inside
        if words is not None and element in words:
            inside -= 1
        if element in paragraph:
            lines.append("".join(pieces))
            pieces.clear()

    def text(said: str) -> None:
        if words is None or inside:
            pieces.append(said)

    safe_xml.walk(package.who, package.read(name), start=start, end=end, text=text)
    if pieces:
        lines.append("".join(pieces))
    return lines


def _word(package: Package) -> str:
    parts = ["word/document.xml"]
    parts += sorted(
        name for name in package.names if re.fullmatch(r"word/(footnotes|endnotes|comments)\.xml", name)
    )
    lines: list[str] = []
    for part in parts:
        lines += _paragraphs(package, part, paragraph=frozenset({"p"}), words=frozenset({"t"}))
    return "\n".join(lines)


def _slides(package: Package) -> str:
    names = [name for name in package.names if re.fullmatch(r"ppt/slides/slide\d{1,5}\.xml", name)]
    names.sort(key=lambda name: int(re.sub(r"\D", "", name)))
    texts = [
        "\n".join(_paragraphs(package, name, paragraph=frozenset({"p"}), words=frozenset({"t"})))
        for name in names
    ]
    return "\n\f".join(texts)


def _open_document(package: Package) -> str:
    kind = package.read("mimetype").decode("ascii", errors="replace") if "mimetype" in package.names else ""
    if "oasis.opendocument" not in kind:
        raise UnsupportedDocument(package.who, f"a zip of type '{kind[:60]}'")
    if "META-INF/manifest.xml" in package.names and b"encryption-data" in package.read(
        "META-INF/manifest.xml"
    ):
        raise EncryptedDocument(package.who, "an OpenDocument file with a password")
    lines = _paragraphs(package, "content.xml", paragraph=frozenset({"p", "h"}), words=frozenset({"p", "h"}))
    return "\n".join(line for line in lines if line.strip())


def _sheets(package: Package) -> str:
    shared = _shared_strings(package) if "xl/sharedStrings.xml" in package.names else []
    names = [name for name in package.names if re.fullmatch(r"xl/worksheets/sheet\d{1,5}\.xml", name)]
    names.sort(key=lambda name: int(re.sub(r"\D", "", name)))
    return "\n\f".join("\n".join(_rows(package, name, shared)) for name in names)


def _shared_strings(package: Package) -> list[str]:
    return _paragraphs(package, "xl/sharedStrings.xml", paragraph=frozenset({"si"}), words=frozenset({"t"}))


def _rows(package: Package, name: str, shared: list[str]) -> list[str]:
    """The rows of one sheet, cells separated by ` | `, as values: formulas are not shown."""
    rows: list[str] = []
    cells: list[str] = []
    value: list[str] = []
    kind = ""
    inside = False

    def start(element: str, attributes: dict[str, str]) -> None:
        nonlocal kind, inside
        if element == "c":
            kind = attributes.get("t", "n")
            value.clear()
        elif element in {"v", "t"}:
            inside = True

    def end(element: str) -> None:
        nonlocal inside
        if element in {"v", "t"}:
            inside = False
        elif element == "c":
            cells.append(_cell("".join(value), kind))
        elif element == "row":
            if any(cells):
                rows.append(" | ".join(cells))
            cells.clear()

    def text(said: str) -> None:
        if inside:
            value.append(said)

    def _cell(said: str, kind: str) -> str:
        if kind == "s":
            if not (said.isascii() and said.isdigit()) or int(said) >= len(shared):
                raise CorruptDocument(
                    package.who,
                    f"a cell that names the shared text {said!r:.20}",
                    allowed=f"0 to {len(shared) - 1}",
                )
            return shared[int(said)]
        return {"1": "TRUE", "0": "FALSE"}.get(said, said) if kind == "b" else said

    safe_xml.walk(package.who, package.read(name), start=start, end=end, text=text)
    return rows


_READERS: dict[str, Callable[[Package], str]] = {
    "word/document.xml": _word,
    "xl/workbook.xml": _sheets,
    "ppt/presentation.xml": _slides,
    "content.xml": _open_document,
}
"""A part that only this format has -> how to read it."""
