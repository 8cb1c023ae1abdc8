"""Rich Text Format, by its own small reader: groups, control words, characters."""

from __future__ import annotations

import re

from plain_text import bounded
from source_document import MAX_DEPTH, Extraction, Source

from keepwarm_runtime.errors import CorruptDocument

_TOKEN = re.compile(
    rb"\\([a-z]{1,32})(-?\d{1,10})? ?|\\'([0-9a-fA-F]{2})|\\([^a-z])|([{}])|([^\\{}\r\n]+)|[\r\n]+|\\$"
)
_BREAKS = {
    b"par": "\n",
    b"line": "\n",
    b"sect": "\n",
    b"page": "\f",
    b"tab": "\t",
    b"cell": " | ",
    b"row": "\n",
    b"emdash": "\u2014",
    b"endash": "\u2013",
    b"lquote": "\u2018",
    b"rquote": "\u2019",
    b"ldblquote": "\u201c",
    b"rdblquote": "\u201d",
    b"bullet": "\u2022",
}
_HIDDEN = frozenset(
    b"fonttbl colortbl stylesheet info pict object header footer headerl headerr footerl footerr themedata datastore "
    b"listtable listoverridetable generator fldinst xmlnstbl rsidtbl filetbl revtbl".split()
)


def rich_text(source: Source) -> Extraction:
    """The text of an RTF document. Raises CorruptDocument for a wrong start, unbalanced groups or senseless nesting."""
    if not source.data.lstrip().startswith(b"{\\rtf"):
        raise CorruptDocument(source.who, "no RTF header", allowed=r"a file that starts with {\rtf")
    text = _Reader(source).read()
    return Extraction(bounded(source, text), "text")


class _Reader:
    """State of one group: whether it is shown, and how many characters stand in for a Unicode one."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._codec = "cp1252"
        self._out: list[str] = []
        self._pending = bytearray()
        self._hidden = False
        self._fallback = 1
        self._skip = 0
        self._stack: list[tuple[bool, int]] = []

    def read(self) -> str:
        for token in _TOKEN.finditer(self._source.data):
            word, number, code, symbol, brace, words = token.groups()
            if brace:
                self._group(brace)
            elif word:
                self._control(word, number)
            elif code:
                self._bytes(bytes([int(code, 16)]))
            elif symbol:
                self._symbol(symbol)
            elif words:
                self._bytes(words)
        self._flush()
        if self._stack:
            raise CorruptDocument(
                self._source.who, f"{len(self._stack)} groups that never end", allowed="balanced groups"
            )
        return "".join(self._out).strip()

    def _group(self, brace: bytes) -> None:
        self._flush()
        if brace == b"{":
            self._stack.append((self._hidden, self._fallback))
            if len(self._stack) > MAX_DEPTH:
                raise CorruptDocument(
                    self._source.who, f"groups nested {len(self._stack)} deep", allowed=f"{MAX_DEPTH} levels"
                )
        elif not self._stack:
            raise CorruptDocument(
                self._source.who, "a group that ends before it starts", allowed="balanced groups"
            )
        else:
            self._hidden, self._fallback = self._stack.pop()

    def _control(self, word: bytes, number: bytes | None) -> None:
        if word in _HIDDEN:
            self._hidden = True
        elif word == b"ansicpg" and number:
            self._codec = f"cp{int(number)}"
        elif word == b"uc" and number:
            self._fallback = max(0, int(number))
        elif word == b"u" and number:
            self._flush()
            self._say(chr(int(number) % 65536))
            self._skip = self._fallback
        elif word in _BREAKS:
            self._flush()
            self._say(_BREAKS[word])

    def _symbol(self, symbol: bytes) -> None:
        if symbol == b"*":
            self._hidden = True
        elif symbol in b"\\{}":
            self._bytes(symbol)
        elif symbol == b"~":
            self._flush()
            self._say(" ")
        elif symbol in b"\r\n":
            self._flush()
            self._say("\n")

    def _bytes(self, data: bytes) -> None:
        taken = min(self._skip, len(data))
        self._skip -= taken
        if not self._hidden:
            self._pending += data[taken:]

    def _flush(self) -> None:
        if self._pending:
            try:
                self._say(self._pending.decode(self._codec, errors="replace"))
            except LookupError:
                self._say(self._pending.decode("cp1252", errors="replace"))
            self._pending.clear()

    def _say(self, text: str) -> None:
        if not self._hidden:
            self._out.append(text)
