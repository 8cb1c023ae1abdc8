"""Mails and saved web pages (MIME): the headers people read, the plain part, the names of attachments."""

from __future__ import annotations

from email import policy
from email.message import EmailMessage
from email.parser import BytesParser

from plain_text import bounded, readable
from source_document import Extraction, Source

from keepwarm_runtime.errors import CorruptDocument

MAX_PARTS = 1_000
"""Most parts of one mail, nested ones included."""
_SHOWN = ("From", "To", "Cc", "Date", "Subject")


def mail(source: Source) -> Extraction:
    """Headers, then the text. Of alternatives the plain text wins; HTML only where there is no plain text.

    Raises CorruptDocument for a file without headers, with more than `MAX_PARTS` parts, or nested past all sense.
    """
    try:
        message = BytesParser(policy=policy.default).parsebytes(source.data)
        parts = _parts(source, message)
        headers = {name: str(message[name]) for name in _SHOWN if message[name]}
    except RecursionError:
        raise CorruptDocument(
            source.who, "parts nested too deep", allowed="a mail that mail programs open"
        ) from None
    if not headers and not parts:
        raise CorruptDocument(source.who, "no mail headers and no text", allowed="a mail (RFC 5322)")
    bodies, attachments = [], []
    has_plain = any(part.get_content_type() == "text/plain" and not _is_file(part) for part in parts)
    for part in parts:
        kind = part.get_content_type()
        if _is_file(part):
            attachments.append(part.get_filename() or kind)
        elif kind == "text/plain":
            bodies.append(_content(part))
        elif kind == "text/html" and not has_plain:
            bodies.append(readable(_content(part))[0])
    lines = [f"{name}: {value}" for name, value in headers.items()]
    lines += [f"Attachment: {name}" for name in attachments]
    facts: dict[str, str | int] = {"attachments": len(attachments)}
    if "Subject" in headers:
        facts["title"] = headers["Subject"]
    text = "\n".join([*lines, "", *bodies]).replace("\r\n", "\n")
    return Extraction(bounded(source, text), "mail", facts=facts)


def _parts(source: Source, message: EmailMessage) -> list[EmailMessage]:
    """Every part that is not a container."""
    found: list[EmailMessage] = []
    for count, part in enumerate(message.walk(), 1):
        if count > MAX_PARTS:
            raise CorruptDocument(
                source.who, f"more than {MAX_PARTS:,} parts", allowed=f"{MAX_PARTS:,} parts"
            )
        if not part.is_multipart() and isinstance(part, EmailMessage):
            found.append(part)
    return found


def _is_file(part: EmailMessage) -> bool:
    return part.get_content_disposition() == "attachment" or part.get_content_maintype() not in {
        "text",
        "message",
    }


def _content(part: EmailMessage) -> str:
    """The text of a part; an unknown character set or broken encoding gives what can be read."""
    try:
        content = part.get_content()
    except (LookupError, UnicodeError, ValueError):
        payload = part.get_payload(decode=True)
        content = payload.decode("cp1252", errors="replace") if isinstance(payload, bytes) else ""
    return content if isinstance(content, str) else ""
