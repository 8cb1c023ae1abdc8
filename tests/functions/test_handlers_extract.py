"""Extraction: what each format gives, and the exact refusal of every kind of bad document.

The formats are checked on the example documents and on files made here by other programs (openpyxl, pypdf, Pillow).
What office programs of every age write is not proved.
"""

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pypdf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keepwarm_runtime.errors import (
    BadDocument,
    CorruptDocument,
    DeadlineExceeded,
    EmptyDocument,
    EncryptedDocument,
    TooLargeDocument,
    UnsupportedDocument,
)
from tests.support.handlers import DOCUMENTS, document_names, module

extraction = module("extract", "extraction")
Source = module("extract", "source_document").Source
bounds = module("extract", "source_document")


def read(data: bytes, label: str, *, name: str = "x", group: str = "document") -> Any:
    return extraction.extract(Source(name, data, label), group=group)


def refused(kind: type[BadDocument], data: bytes, label: str, *, group: str = "document") -> str:
    with pytest.raises(kind) as raised:
        read(data, label, name="bad.bin", group=group)
    assert type(raised.value) is kind
    return str(raised.value)


def zipped(members: Mapping[str, bytes | str], *, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", compression) as archive:
        for name, body in members.items():
            archive.writestr(name, body)
    return sink.getvalue()


def docx(xml: str) -> bytes:
    return zipped({"[Content_Types].xml": "<Types/>", "word/document.xml": xml})


# -- what each format gives

EXPECTED = {
    "capacity-report.pdf": (
        "pdf",
        ["Capacity report for the document service", "512 ms in the median", "5. Risks"],
    ),
    "costs.xlsx": ("xlsx", ["Month | Function | Requests", "2026-03 | ocr | 51924 | 41380.5 | 204.66"]),
    "customer-mail.eml": ("eml", ["Subject: Rückfrage zu Rechnung 2026-0731", "höchstens 1.000,00 EUR"]),
    "maintenance-contract.docx": ("docx", ["Contrat de maintenance", "dénonciation par écrit"]),
    "meeting-notes.txt": ("txt", ["41,200 documents", "Next meeting: 2026-03-16, 10:00."]),
    "ocr-runbook.md": ("markdown", ["# Runbook: the OCR service refuses work"]),
    "payment-reminder.rtf": ("rtf", ["Sehr geehrte Frau Lindqvist", "Mit freundlichen Grüßen"]),
    "purchase-order.xml": ("xml", ["number: PO-2026-1187", "Lamp module & glass plate"]),
    "result-event.json": ("json", ["phases_ms.fetch: 161.4", "downstream[1].service: ledger"]),
    "scale-to-zero.pptx": ("pptx", ["Scale to zero, honestly", "Review on 2026-09-01"]),
    "service-report.html": (
        "html",
        ["99.94 % of all", "January | 158,204 | 1,911 | EUR 412.10", "service & stop"],
    ),
    "technical-visit.odt": ("odt", ["Informe de la visita técnica", "1,8 segundos"]),
    "usage.csv": ("csv", ["2026-03-02 | classify | 8123 | 14"]),
    "warm_pool.py": ("python", ["def warm_target(rate: float"]),
}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_given_example_document_when_extracted_then_its_text(name: str) -> None:
    label, pieces = EXPECTED[name]
    found = read(
        (DOCUMENTS / name).read_bytes(), label, name=name, group="code" if label == "python" else "text"
    )
    assert not found.needs_ocr
    for piece in pieces:
        assert piece in found.text


def test_every_example_document_is_expected_here() -> None:
    scans = {path.name.removesuffix(".truth.txt") for path in DOCUMENTS.glob("*.truth.txt")}
    assert set(document_names()) == set(EXPECTED) | scans


def test_given_html_when_extracted_then_no_script_and_the_title() -> None:
    found = read((DOCUMENTS / "service-report.html").read_bytes(), "html")
    assert "script text" not in found.text
    assert "sans-serif" not in found.text
    assert found.facts["title"] == "Service report, first quarter of 2026"


def test_given_mail_with_both_forms_when_extracted_then_the_plain_one_once() -> None:
    found = read((DOCUMENTS / "customer-mail.eml").read_bytes(), "eml")
    assert found.text.count("Guten Tag") == 1


def test_given_mail_with_html_only_and_attachment_when_extracted_then_text_and_name() -> None:
    mail = (
        b"From: a@x.example\r\nSubject: s\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
        b"--b\r\nContent-Type: text/html\r\n\r\n<p>one</p><p>two</p>\r\n"
        b"--b\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment; filename=bill.pdf\r\n\r\n"
        b"JVBERg==\r\n--b--\r\n"
    )
    found = read(mail, "eml")
    assert found.text == "From: a@x.example\nSubject: s\nAttachment: bill.pdf\n\none\ntwo"
    assert found.facts == {"attachments": 1, "title": "s"}


@pytest.mark.parametrize(
    ("label", "suffix", "size"),
    [
        ("png", "delivery-note.png", (1000, 1414)),
        ("jpeg", "cafe-receipt.jpg", (800, 900)),
        ("tiff", "remote-work-form.tiff", (1000, 900)),
    ],
)
def test_given_picture_when_extracted_then_it_is_its_own_page(
    label: str, suffix: str, size: tuple[int, int]
) -> None:
    found = read((DOCUMENTS / suffix).read_bytes(), label)
    assert (found.needs_ocr, found.original_is_page, found.pages) == (True, True, ())
    assert (found.facts["width"], found.facts["height"]) == size


def test_given_scanned_pdf_when_extracted_then_each_page_is_a_picture() -> None:
    found = read((DOCUMENTS / "pump-invoice-scan.pdf").read_bytes(), "pdf")
    assert found.needs_ocr
    assert found.text.strip() == ""
    assert [(page.picture.mime, page.picture.width, page.picture.height) for page in found.pages] == [
        ("image/jpeg", 1000, 1414),
        ("image/png", 1000, 700),
    ]


def pdf_with_picture(
    head: bytes, data: bytes, *, text: bytes = b"", size: tuple[int, int] = (200, 300)
) -> bytes:
    """A PDF of one page with one picture."""
    from tools.make_documents import Pdf

    pdf = Pdf()
    picture = pdf.stream(b"/Subtype /Image /Width %d /Height %d " % size + head, data)
    face = pdf.add(b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>")
    body = pdf.stream(b"", b"BT /F1 12 Tf 50 500 Td (%s) Tj ET q 200 0 0 300 0 0 cm /Im0 Do Q" % text)
    page = pdf.add(
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents %d 0 R "
        b"/Resources << /Font << /F1 %d 0 R >> /XObject << /Im0 %d 0 R >> >> >>" % (body, face, picture)
    )
    return pdf.finish([page])


def pixels(picture: Any) -> Any:
    from PIL import Image

    return Image.open(io.BytesIO(picture.data)).convert("RGB").getpixel((0, 0))


@pytest.mark.parametrize(
    ("head", "sample", "color"),
    [
        (b"/ColorSpace /DeviceGray /BitsPerComponent 8", b"\x40" * 200, (64, 64, 64)),
        (b"/ColorSpace /DeviceRGB /BitsPerComponent 8", b"\x0a\x14\x1e" * 200, (10, 20, 30)),
        (b"/ColorSpace /DeviceGray /BitsPerComponent 1", b"\xff" * 25, (255, 255, 255)),
        (b"/ColorSpace /DeviceGray /BitsPerComponent 1 /Decode [1 0]", b"\xff" * 25, (0, 0, 0)),
        (
            b"/ColorSpace [/Indexed /DeviceRGB 1 <0000000a141e>] /BitsPerComponent 8",
            b"\x01" * 200,
            (10, 20, 30),
        ),
        (b"/ColorSpace [/Indexed /DeviceGray 1 <0040>] /BitsPerComponent 8", b"\x01" * 200, (64, 64, 64)),
    ],
)
def test_given_samples_in_a_pdf_when_extracted_then_a_png_of_the_same_color(
    head: bytes, sample: bytes, color: tuple[int, ...]
) -> None:
    data = pdf_with_picture(head + b" /Filter /FlateDecode", zlib.compress(sample * 300))
    (page,) = read(data, "pdf").pages
    assert page.picture.mime == "image/png"
    assert pixels(page.picture) == color


def test_given_page_with_text_and_picture_when_extracted_then_no_ocr() -> None:
    data = pdf_with_picture(
        b"/ColorSpace /DeviceGray /BitsPerComponent 8",
        b"\0" * 60_000,
        text=b"This page has a text of its own.",
    )
    found = read(data, "pdf")
    assert not found.needs_ocr
    assert "This page has a text" in found.text


def test_given_workbook_of_another_program_when_extracted_then_its_cells() -> None:
    import openpyxl

    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(["Name", "Count", True])
    sheet.append(["Ä & <b>", 3.5, None])
    sink = io.BytesIO()
    book.save(sink)
    assert read(sink.getvalue(), "xlsx").text == "Name | Count | TRUE\nÄ & <b> | 3.5"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("\ufeffgrün".encode(), "grün"),
        ("grün".encode("utf-16"), "grün"),
        (b"gr\xfcn \x80", "grün €"),
        (b"a\r\nb", "a\nb"),
    ],
)
def test_given_text_in_some_encoding_when_extracted_then_its_characters(data: bytes, text: str) -> None:
    assert read(data, "txt", group="text").text == text


def test_given_rtf_with_unicode_and_hidden_parts_when_extracted_then_what_is_shown() -> None:
    hidden = rb"{\fonttbl{\f0 Arial;}}{\*\secret no}{\info{\author Nobody}}"
    data = rb"{\rtf1\ansi" + hidden + rb"A\u8364?\u252\'fc B\{x\}\line C\tab D}"
    assert read(data, "rtf").text == "A\u20acü B{x}\nC\tD"


# -- what is refused, and how


@pytest.mark.parametrize("label", ["txt", "pdf", "docx", "png", "exe"])
def test_given_empty_file_when_extracted_then_refused(label: str) -> None:
    assert refused(EmptyDocument, b"", label) == (
        "KW312 document 'bad.bin': got 0 bytes; allowed documents of at least 1 byte; because the same bytes will fail "
        "every time; fix: correct the document and upload it again"
    )


def test_given_blank_text_when_extracted_then_refused() -> None:
    assert "got a txt with no text and no picture" in refused(EmptyDocument, b" \n ", "txt", group="text")


def test_given_unknown_type_when_extracted_then_refused_by_name() -> None:
    assert refused(UnsupportedDocument, b"MZ\x90", "pebin", group="executable") == (
        "KW315 document 'bad.bin': got a file of type 'pebin'; allowed the formats the extractor names; because the "
        "same bytes will fail every time; fix: convert the document"
    )


def encrypted_pdf() -> bytes:
    writer = pypdf.PdfWriter()
    writer.add_blank_page(100, 100)
    writer.encrypt("secret", algorithm="RC4-128")
    sink = io.BytesIO()
    writer.write(sink)
    return sink.getvalue()


def encrypted_zip() -> bytes:
    data = bytearray(docx("<a/>"))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.rindex(mark)
        data[at + offset] |= 1
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "label", "got"),
    [
        (encrypted_pdf(), "pdf", "a PDF with a password or an encryption dictionary"),
        (encrypted_zip(), "docx", "an encrypted 'word/document.xml'"),
        (
            b"\xd0\xcf\x11\xe0" + "EncryptedPackage".encode("utf-16-le"),
            "docx",
            "an office document with a password",
        ),
        (
            zipped(
                {
                    "mimetype": "application/vnd.oasis.opendocument.text",
                    "META-INF/manifest.xml": "<manifest:encryption-data/>",
                    "content.xml": "junk",
                }
            ),
            "odt",
            "an OpenDocument file with a password",
        ),
        (b"-----BEGIN PGP MESSAGE-----", "pgp", "an OpenPGP message"),
    ],
)
def test_given_encrypted_document_when_extracted_then_refused(data: bytes, label: str, got: str) -> None:
    text = refused(EncryptedDocument, data, label)
    assert text == (
        f"KW311 document 'bad.bin': got {got}; allowed documents without a password; because the same bytes will fail "
        "every time; fix: remove the password and upload it again"
    )


LAUGHS = b'<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><x>&b;</x>'


@pytest.mark.parametrize(
    ("data", "label", "got"),
    [
        (LAUGHS, "xml", "a declaration of the entity 'a'"),
        (docx(LAUGHS.decode()), "docx", "a declaration of the entity 'a'"),
        (b'<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]><x>&f;</x>', "xml", "a declaration of the entity 'f'"),
        (b"<a>" * 300 + b"</a>" * 300, "xml", "elements nested 201 deep"),
        (b"<a><b></a>", "xml", "XML that is not well-formed"),
        (b"[" * 100_000, "json", "values nested more than 200 deep"),
        (b"[" * 250 + b"]" * 250, "json", "values nested more than 200 deep"),
        (b"{'a': 1}", "json", "text that is not JSON"),
        (b"a\0b\0c\0", "txt", "3 zero bytes in 6"),
        (b"\xff\xfeabc", "txt", "a utf-16 mark"),
        (b"PK\x03\x04 cut off", "docx", "a broken zip"),
        (zipped({"word/document.xml": "<a/>"})[:-30], "docx", "a broken zip"),
        (zipped({"xl/workbook.xml": "<a/>", "xl/worksheets/sheet1.xml": '<s><row><c t="s"><v>9</v></c></row></s>'}),
         "xlsx", "a cell that names the shared text '9'"),
        (b"{\\rtf1 {{{", "rtf", "4 groups that never end"),
        (b"{\\rtf1 " + b"{" * 300, "rtf", "groups nested 201 deep"),
        (b"no rtf", "rtf", "no RTF header"),
        (b"%PDF-1.4 and then nothing", "pdf", "a PDF that can't be read"),
        (b"\x89PNG\r\n\x1a\n", "png", "a png without a readable header"),
        (b"\xff\xd8\xff\xe0", "jpeg", "a jpeg without a readable header"),
        (b"II*\0\x08\0\0\0", "tiff", "a tiff without a readable header"),
    ],
)  # fmt: skip
def test_given_corrupt_document_when_extracted_then_refused_with_the_reason(
    data: bytes, label: str, got: str
) -> None:
    text = refused(CorruptDocument, data, label, group="text")
    assert text.startswith(f"KW313 document 'bad.bin': got {got}")
    assert "\n" not in text


def flipped_member() -> bytes:
    data = bytearray(zipped({"word/document.xml": "<a>some text</a>"}, compression=zipfile.ZIP_STORED))
    data[data.index(b"some")] ^= 1
    return bytes(data)


def test_given_zip_with_a_wrong_checksum_when_extracted_then_refused() -> None:
    assert "a broken 'word/document.xml' (Bad CRC-32" in refused(CorruptDocument, flipped_member(), "docx")


def bomb() -> bytes:
    return docx("<a>" + " " * 20_000_000 + "</a>")


def lying_bomb() -> bytes:
    """A zip whose directory claims that the bomb is small."""
    data = bytearray(bomb())
    at = data.rindex(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", 100)
    return bytes(data)


@pytest.mark.parametrize(
    ("make", "label", "got"),
    [
        (bomb, "docx", "'word/document.xml' that unpacks to more than 300 times its size"),
        (lambda: zipped({f"m{number}": "" for number in range(10_001)} | {"word/document.xml": ""}), "docx",
         "a zip of 10,002 members"),
        (lambda: b"a" * 5_000_001, "txt", "5,000,001 characters of text"),
        (lambda: b"<a>" + b"x" * 5_000_001 + b"</a>", "xml", "over 5,000,000 characters of text"),
        (lambda: b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 20_000, 20_000), "png",
         "a picture of 20,000 x 20,000 pixels"),
        (lambda: pdf_with_picture(b"/ColorSpace /DeviceGray", b"", size=(9000, 9000)), "pdf",
         "a picture of 9,000 x 9,000 pixels"),
    ],
)  # fmt: skip
def test_given_document_too_large_inside_when_extracted_then_refused(
    make: Callable[[], bytes], label: str, got: str
) -> None:
    text = refused(TooLargeDocument, make(), label, group="text")
    assert text.startswith("KW314 document 'bad.bin'")
    assert f"got {got}" in text


def test_given_zip_that_lies_about_its_sizes_when_extracted_then_refused() -> None:
    with pytest.raises((TooLargeDocument, CorruptDocument)):
        read(lying_bomb(), "docx")


def test_given_archive_that_unpacks_to_too_much_when_extracted_then_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    office = module("extract", "office_zip")
    monkeypatch.setattr(office, "MAX_UNPACKED_BYTES", 1000)
    text = refused(TooLargeDocument, docx("<a>" + "x" * 2000 + "</a>"), "docx")
    assert "got over 1,000 bytes when unpacked" in text


def test_given_pdf_with_too_many_pages_when_extracted_then_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module("extract", "pdf_pages"), "MAX_PAGES", 1)
    text = refused(TooLargeDocument, (DOCUMENTS / "capacity-report.pdf").read_bytes(), "pdf")
    assert "got 2 pages; allowed 1 pages" in text


def test_given_pdf_stream_that_unpacks_without_end_when_extracted_then_refused() -> None:
    stream = zlib.compress(b"\0" * 80_000_000, 9)
    data = pdf_with_picture(b"/ColorSpace /DeviceGray /BitsPerComponent 8 /Filter /FlateDecode", stream)
    assert "a stream that unpacks without end" in refused(TooLargeDocument, data, "pdf")


@pytest.mark.parametrize(
    ("head", "got"),
    [
        (b"/ColorSpace /DeviceCMYK /BitsPerComponent 8", "a picture in the color space DeviceCMYK"),
        (b"/ColorSpace /DeviceGray /BitsPerComponent 16", "a picture of 1 channels with 16 bits"),
        (b"/Filter /JPXDecode", "a picture packed with JPXDecode"),
    ],
)
def test_given_picture_of_a_kind_nobody_reads_when_extracted_then_refused_with_the_page(
    head: bytes, got: str
) -> None:
    text = refused(UnsupportedDocument, pdf_with_picture(head, b"\0" * 240_000), "pdf")
    assert text.startswith(f"KW315 document 'bad.bin', page 1: got {got}")


def test_given_picture_with_missing_rows_when_extracted_then_refused() -> None:
    data = pdf_with_picture(b"/ColorSpace /DeviceGray /BitsPerComponent 8", b"\0" * 100)
    assert "got a picture of 200 x 300 pixels with 100 bytes" in refused(CorruptDocument, data, "pdf")


@pytest.mark.parametrize(
    ("data", "label", "got"),
    [
        (zipped({"a.txt": "x"}), "zip", "a zip that is no office document"),
        (b"\xd0\xcf\x11\xe0old", "doc", "an office document of the format before 2007"),
        (zipped({"mimetype": "text/other", "content.xml": "<a/>"}), "odt", "a zip of type 'text/other'"),
    ],
)
def test_given_container_of_something_else_when_extracted_then_refused(
    data: bytes, label: str, got: str
) -> None:
    assert f"got {got}" in refused(UnsupportedDocument, data, label)


def test_given_no_time_when_at_the_next_page_then_the_reason_is_the_deadline() -> None:
    pages = 0

    def check_time() -> None:
        nonlocal pages
        pages += 1
        if pages == 2:
            raise DeadlineExceeded("pages", "0 ms left")

    source = Source("report.pdf", (DOCUMENTS / "capacity-report.pdf").read_bytes(), "pdf")
    with pytest.raises(DeadlineExceeded):
        extraction.extract(source, check_time=check_time)
    assert pages == 2


TEXT_LABELS = ["txt", "csv", "json", "jsonl", "xml", "html", "eml", "rtf"]
LABELS = [*TEXT_LABELS, "docx", "odt", "xlsx", "pptx", "pdf", "png", "jpeg", "tiff", "bmp", "webp", "gif"]


@settings(max_examples=150)
@given(st.sampled_from(LABELS), st.binary(max_size=400))
def test_given_any_bytes_when_extracted_then_text_or_a_coded_refusal(label: str, data: bytes) -> None:
    try:
        found = read(data, label, group="text")
    except BadDocument as fault:
        text = str(fault)
    else:
        text = "KW found" if found.text or found.needs_ocr else ""
    assert text.startswith("KW")


@settings(max_examples=60)
@given(st.sampled_from(sorted(EXPECTED)), st.integers(0, 10_000), st.integers(1, 255))
def test_given_damaged_example_when_extracted_then_text_or_a_coded_refusal(
    name: str, at: int, mask: int
) -> None:
    data = bytearray((DOCUMENTS / name).read_bytes())
    data[at % len(data)] ^= mask
    try:
        read(bytes(data), EXPECTED[name][0], group="text")
    except BadDocument as fault:
        text = str(fault)
    else:
        text = "KW"
    assert text.startswith("KW")


@given(
    st.recursive(
        st.none() | st.text(max_size=5), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_given_any_json_when_extracted_then_every_text_in_it_is_kept(value: Any) -> None:
    plain = module("extract", "plain_text")
    text = plain.data(Source("x", json.dumps(value).encode(), "json")).text

    def leaves(node: Any) -> list[str]:
        if isinstance(node, dict):
            return [leaf for child in node.values() for leaf in leaves(child)]
        if isinstance(node, list):
            return [leaf for child in node for leaf in leaves(child)]
        return [] if node is None else [node]

    for leaf in leaves(value):
        assert leaf in text


def test_documents_folder_is_what_the_script_writes(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from tools.make_documents import documents

    made = documents()
    assert sorted(made) == sorted(path.name for path in DOCUMENTS.iterdir())
    texts = {name for name in made if not name.endswith((".png", ".jpg", ".tiff", "scan.pdf"))}
    assert {name for name in texts if made[name] != (DOCUMENTS / name).read_bytes()} == set()
    assert len(made) - sum(name.endswith(".truth.txt") for name in made) >= 14
    assert sum(map(len, made.values())) < 2 * 1024 * 1024
