"""XML in and out, as S3 writes it."""

import xml.etree.ElementTree as ElementTree
from datetime import UTC, datetime
from email.utils import formatdate, parsedate_to_datetime
from typing import Final

from keepwarm_localcloud.request import AwsError, escape

NAMESPACE: Final = "http://s3.amazonaws.com/doc/2006-03-01/"


def parse(body: bytes, root: str | None = None) -> ElementTree.Element:
    """Parse a request document without its namespaces.

    Raises:
        AwsError: MalformedXML.
    """
    # No document type: entities are how small documents become large ones.
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        raise malformed()
    try:
        element = ElementTree.fromstring(body)  # noqa: S314 - entities are refused above
    except ElementTree.ParseError as error:
        raise malformed() from error
    for item in element.iter():
        item.tag = item.tag.rpartition("}")[2]
    if root is not None and element.tag != root:
        raise malformed()
    return element


def malformed() -> AwsError:
    """The refusal of a document that does not fit the schema."""
    return AwsError(
        "MalformedXML",
        "The XML you provided was not well-formed or did not validate against our published schema",
    )


def document(root: str, content: str) -> bytes:
    """A whole answer."""
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{root} xmlns="{NAMESPACE}">{content}</{root}>'.encode()


def tag(name: str, value: object) -> str:
    """One element; nothing for None."""
    if value is None:
        return ""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"<{name}>{escape(text)}</{name}>"


def iso(moment_s: float) -> str:
    """A moment as XML carries it."""
    return datetime.fromtimestamp(moment_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def http_date(moment_s: float) -> str:
    """A moment as a header carries it."""
    return formatdate(int(moment_s), usegmt=True)


def parse_date(text: str) -> float | None:
    """A moment from a header or document; None when it is none."""
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError):
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
