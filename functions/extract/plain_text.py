"""Text formats: plain text and source code, CSV, JSON, XML, HTML."""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import safe_xml
from source_document import MAX_DEPTH, MAX_TEXT_CHARS, Extraction, Source

from keepwarm_runtime.errors import CorruptDocument, TooLargeDocument

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def decode(source: Source) -> str:
    """The characters of a text file: by its byte order mark, else UTF-8, else Windows-1252.

    Raises CorruptDocument for text that is really binary, and TooLargeDocument above `MAX_TEXT_CHARS`.
    """
    data = source.data
    for mark, name in _MARKS:
        if data.startswith(mark):
            try:
                return bounded(source, data.decode(name))
            except UnicodeDecodeError as fault:
                raise CorruptDocument(
                    source.who,
                    f"a {name} mark and then byte {fault.start} that is not {name}",
                    allowed="text in the encoding that its mark names",
                ) from None
    if data.count(0) > len(data) // 100:
        raise CorruptDocument(
            source.who,
            f"{data.count(0):,} zero bytes in {len(data):,}",
            allowed="text",
            because="this is not text in any encoding that was marked",
        )
    try:
        return bounded(source, data.decode("utf-8"))
    except UnicodeDecodeError:
        return bounded(source, data.decode("cp1252", errors="replace"))


def bounded(source: Source, text: str) -> str:
    """The text itself, unless it is longer than `MAX_TEXT_CHARS`: TooLargeDocument."""
    if len(text) > MAX_TEXT_CHARS:
        raise TooLargeDocument(
            source.who, f"{len(text):,} characters of text", allowed=f"{MAX_TEXT_CHARS:,} characters"
        )
    return text


def plain(source: Source) -> Extraction:
    """The text as it stands."""
    text = decode(source).replace("\r\n", "\n")
    return Extraction(text, "text", facts={"lines": text.count("\n") + 1})


def table(source: Source) -> Extraction:
    """Rows of a CSV or TSV, cells separated by ` | `."""
    text = decode(source)
    try:
        dialect: Any = csv.Sniffer().sniff(text[:8192], delimiters=",;\t|")
    except csv.Error:
        dialect = csv.excel
    rows: list[str] = []
    try:
        rows.extend(
            " | ".join(cell.strip() for cell in row) for row in csv.reader(io.StringIO(text), dialect)
        )
    except csv.Error as fault:
        raise CorruptDocument(
            source.who, f"a table that breaks in row {len(rows) + 1} ({fault})", allowed="rows of cells"
        ) from None
    return Extraction("\n".join(rows), "table", facts={"rows": len(rows)})


def data(source: Source) -> Extraction:
    """A line `path: value` for every value of a JSON document, or of each line of a JSON Lines file."""
    text = decode(source)
    values: list[Any] = []
    try:
        if source.label == "jsonl":
            values = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            values = [json.loads(text)]
    except RecursionError:
        raise _too_deep(source) from None
    except ValueError as fault:
        raise CorruptDocument(source.who, f"text that is not JSON ({fault})", allowed="valid JSON") from None
    lines = [f"{path}: {value}" if path else f"{value}" for path, value in _leaves(source, values)]
    return Extraction(bounded(source, "\n".join(lines)), "data", facts={"values": len(lines)})


def _leaves(source: Source, values: list[Any]) -> Iterator[tuple[str, object]]:
    """Every scalar with its path, in document order. A stack instead of recursion: depth is the sender's choice."""
    stack: list[tuple[str, Any, int]] = [("", value, 0) for value in reversed(values)]
    while stack:
        path, value, depth = stack.pop()
        if depth > MAX_DEPTH:
            raise _too_deep(source)
        if isinstance(value, dict):
            stack.extend(
                (f"{path}.{key}" if path else key, child, depth + 1)
                for key, child in reversed(list(value.items()))
            )
        elif isinstance(value, list):
            stack.extend((f"{path}[{at}]", value[at], depth + 1) for at in reversed(range(len(value))))
        else:
            yield path, json.dumps(value) if not isinstance(value, str) else value


def _too_deep(source: Source) -> CorruptDocument:
    return CorruptDocument(
        source.who,
        f"values nested more than {MAX_DEPTH} deep",
        allowed=f"{MAX_DEPTH} levels",
        because="no real document nests so deep",
    )


def markup(source: Source) -> Extraction:
    """Text and attribute values of an XML document, one line for each element that holds any."""
    lines: list[str] = []
    pieces: list[str] = []

    def flush() -> None:
        words = " ".join("".join(pieces).split())
        if words:
            lines.append(words)
        pieces.clear()

    def start(_: str, attributes: dict[str, str]) -> None:
        flush()
        lines.extend(f"{key}: {value}" for key, value in attributes.items() if value.strip())

    def end(_: str) -> None:
        flush()

    safe_xml.walk(source.who, source.data, start=start, end=end, text=pieces.append)
    return Extraction("\n".join(lines), "markup")


class _Reader(HTMLParser):
    """Collects what a browser would show."""

    HIDDEN = frozenset({"script", "style", "template", "noscript"})
    BLOCKS = frozenset(
        {
            "address",
            "article",
            "aside",
            "blockquote",
            "br",
            "caption",
            "dd",
            "div",
            "dl",
            "dt",
            "fieldset",
            "figure",
        }
        | {
            "footer",
            "form",
            "h1",
            "h2",
            "h3",
            "h4",
            "h5",
            "h6",
            "header",
            "hr",
            "li",
            "main",
            "nav",
            "ol",
            "option",
            "p",
        }
        | {"option", "pre", "section", "table", "tbody", "tfoot", "thead", "title", "tr", "ul"}
    )
    CELLS = frozenset({"td", "th"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self.title: list[str] = []
        self._hidden = 0
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in self.HIDDEN:
            self._hidden += 1
        self._in_title = tag == "title"
        if tag in self.BLOCKS:
            self.pieces.append("\n")
        elif tag in self.CELLS:
            self.pieces.append("\t")

    def handle_endtag(self, tag: str) -> None:
        if tag in self.HIDDEN:
            self._hidden = max(0, self._hidden - 1)
        self._in_title = False
        if tag in self.BLOCKS:
            self.pieces.append("\n")

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title.append(data)
        elif not self._hidden:
            self.pieces.append(data)


def page(source: Source) -> Extraction:
    """What an HTML page shows: no scripts, no styles; a line for each block."""
    text, title = readable(decode(source))
    return Extraction(text, "markup", facts={"title": title} if title else {})


def readable(html: str) -> tuple[str, str]:
    """Text and title of an HTML text."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    lines = (
        " | ".join(" ".join(cell.split()) for cell in line.split("\t") if cell.strip())
        for line in _lines(reader)
    )
    return "\n".join(line for line in lines if line), " ".join("".join(reader.title).split())


def _lines(reader: _Reader) -> list[str]:
    """The collected text by block. Line ends of the source are only spaces."""
    blocks: list[list[str]] = [[]]
    for piece in reader.pieces:
        if piece == "\n":
            blocks.append([])
        elif piece == "\t":
            blocks[-1].append(piece)
        else:
            blocks[-1].append(piece.replace("\n", " ").replace("\t", " "))
    return ["".join(block) for block in blocks]
