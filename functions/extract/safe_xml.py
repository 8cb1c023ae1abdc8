"""XML events without the traps: no entities, no external files, bounded depth and text.

The standard library's tree builders expand entities that a document declares; this uses expat's events directly and
refuses the declaration itself, so that a "billion laughs" document is refused at its first line.
"""

from __future__ import annotations

from collections.abc import Callable
from xml.parsers import expat

from source_document import MAX_DEPTH, MAX_TEXT_CHARS

from keepwarm_runtime.errors import CorruptDocument, TooLargeDocument

Start = Callable[[str, dict[str, str]], None]
End = Callable[[str], None]
Text = Callable[[str], None]


class _Refused(Exception):
    """Carries a fault through expat."""

    def __init__(self, fault: Exception) -> None:
        self.fault = fault


def walk(who: str, data: bytes, *, start: Start, end: End, text: Text) -> None:
    """Call back for every element and text. Names come without their namespace.

    Raises CorruptDocument for text that is not well-formed, declares entities or nests deeper than `MAX_DEPTH`, and
    TooLargeDocument above `MAX_TEXT_CHARS` characters.
    """
    depth = 0
    taken = 0
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True

    def opened(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > MAX_DEPTH:
            raise _Refused(
                CorruptDocument(
                    who,
                    f"elements nested {depth} deep",
                    allowed=f"{MAX_DEPTH} levels",
                    because="no real document nests so deep",
                )
            )
        start(local(name), {local(key): value for key, value in attributes.items()})

    def closed(name: str) -> None:
        nonlocal depth
        depth -= 1
        end(local(name))

    def said(words: str) -> None:
        nonlocal taken
        taken += len(words)
        if taken > MAX_TEXT_CHARS:
            raise _Refused(
                TooLargeDocument(
                    who, f"over {MAX_TEXT_CHARS:,} characters of text", allowed=f"{MAX_TEXT_CHARS:,}"
                )
            )
        text(words)

    def declared(name: str, *_: object) -> None:
        raise _Refused(
            CorruptDocument(
                who,
                f"a declaration of the entity '{name}'",
                allowed="XML without entity declarations",
                because="entities can expand to any size and name files of this machine",
            )
        )

    parser.StartElementHandler = opened
    parser.EndElementHandler = closed
    parser.CharacterDataHandler = said
    parser.EntityDeclHandler = declared
    try:
        parser.Parse(data, True)
    except _Refused as refusal:
        raise refusal.fault from None
    except (expat.ExpatError, ValueError, LookupError) as fault:
        raise CorruptDocument(
            who, f"XML that is not well-formed ({fault})", allowed="well-formed XML"
        ) from None


def local(name: str) -> str:
    """A name without its namespace."""
    return name.rpartition(" ")[2]
