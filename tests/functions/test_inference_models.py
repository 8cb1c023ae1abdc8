"""What the real OCR model reads: the same text as the package it comes from, near the true text of every scan.

Runs on the CPU provider. A GPU gives the same calls in larger runs; that its text is equal is not proved here.
"""

import io
import os
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from inference_server.engine import OcrEngine, Reading, usable_cpus
from inference_server.errors import CorruptDocument, TooLargeDocument, UnsupportedDocument
from keepwarm_cli.accuracy import compare
from tests.support.handlers import DOCUMENTS, module
from tests.support.inference import MODEL, inference, ocr_model

SCANS = ("cafe-receipt.jpg", "delivery-note.png", "library-letter.png", "remote-work-form.tiff")
MIN_ACCURACY = 0.98
"""Share of the characters of a page's true text that must be read."""


@pytest.fixture(scope="module")
def engine() -> OcrEngine:
    return OcrEngine(ocr_model())


def pages() -> dict[str, bytes]:
    """Every scanned page of the examples: files, and the pages of the scanned PDF."""
    found = {name: (DOCUMENTS / name).read_bytes() for name in SCANS}
    name = "pump-invoice-scan.pdf"
    source = module("extract", "source_document").Source(name, (DOCUMENTS / name).read_bytes(), "pdf")
    for page in module("extract", "extraction").extract(source).pages:
        found[f"{name} {page.number}"] = page.picture.data
    return found


def texts(engine: OcrEngine, data: list[bytes]) -> list[str]:
    readings = engine.read([engine.decode(item) for item in data])
    found = [reading.text for reading in readings if isinstance(reading, Reading)]
    assert len(found) == len(data)
    return found


@pytest.mark.slow
def test_given_every_scan_when_read_then_the_text_of_the_package_and_nearly_the_truth(
    engine: OcrEngine,
) -> None:
    from rapidocr_onnxruntime import RapidOCR

    package = RapidOCR()
    read: dict[str, str] = {}
    for name, data in pages().items():
        (text,) = texts(engine, [data])
        theirs, _ = package(data)
        assert text == "\n".join(line[1] for line in theirs)
        document = name.partition(" ")[0]
        read[document] = read.get(document, "") + "\n" + text
    for document, text in read.items():
        truth = (DOCUMENTS / f"{document}.truth.txt").read_text()
        assert compare(text, truth).accuracy >= MIN_ACCURACY, document


@pytest.mark.slow
def test_given_pictures_read_together_when_compared_then_the_text_of_each_alone(engine: OcrEngine) -> None:
    found = pages()
    data = [found["cafe-receipt.jpg"], found["remote-work-form.tiff"], found["cafe-receipt.jpg"]]
    alone = [texts(engine, [item])[0] for item in data[:2]]
    joined = OcrEngine(ocr_model(), join=True)
    assert texts(joined, data) == [*alone, alone[0]]


@pytest.mark.slow
def test_given_receipt_over_http_when_read_then_lines_with_boxes_and_scores(engine: OcrEngine) -> None:
    with inference(engine, load=lambda: (engine, dict(MODEL))) as service:
        ready = service.get("/readyz").json
        answer = service.ocr((DOCUMENTS / "cafe-receipt.jpg").read_bytes(), content_type="image/jpeg").json
    assert ready["providers"] == ["CPUExecutionProvider"]
    truth = (DOCUMENTS / "cafe-receipt.jpg.truth.txt").read_text()
    assert compare(answer["text"], truth).accuracy >= MIN_ACCURACY
    first = answer["lines"][0]
    assert first["text"] == "CAFE ZUR ALTEN WAAGE"
    assert 0.9 < first["score"] <= 1
    assert len(first["box"]) == 4
    assert all(0 <= x <= 800 and 0 <= y <= 900 for x, y in first["box"])


@pytest.mark.parametrize(
    ("quota", "cpus"),
    [
        ("max 100000", None),
        ("50000 100000", 1),
        ("100000 100000", 1),
        ("99900000 100000", None),
        ("junk", None),
    ],
)
def test_given_cpu_quota_when_counted_then_no_more_threads_than_it_feeds(
    tmp_path: Path, quota: str, cpus: int | None
) -> None:
    (tmp_path / "cpu.max").write_text(quota + "\n")
    available = len(os.sched_getaffinity(0))
    assert usable_cpus(tmp_path / "cpu.max") == (cpus or available)
    assert usable_cpus(tmp_path / "none") == available


def picture(mode: str, size: tuple[int, int], kind: str = "PNG", **options: Any) -> bytes:
    sink = io.BytesIO()
    Image.new(mode, size).save(sink, kind, **options)
    return sink.getvalue()


def test_given_blank_page_when_read_then_no_lines(engine: OcrEngine) -> None:
    assert texts(engine, [picture("L", (400, 300))]) == [""]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA"])
def test_given_picture_mode_when_decoded_then_three_channels(engine: OcrEngine, mode: str) -> None:
    assert engine.decode(picture(mode, (40, 30))).shape == (30, 40, 3)


def large_png(side: int) -> bytes:
    """A few bytes that claim to be a picture of `side` x `side`."""
    data = bytearray(picture("L", (10, 10)))
    data[16:24] = side.to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "kind", "got"),
    [
        (b"no picture at all", UnsupportedDocument, "bytes that start with 6e 6f 20 70 69 63 74 75"),
        (b"\x89PNG\r\n\x1a\nbroken", CorruptDocument, "a broken header"),
        (picture("L", (300, 300))[:80], CorruptDocument, "data that can't be decoded"),
        (
            (DOCUMENTS / "cafe-receipt.jpg").read_bytes()[:-5000],
            CorruptDocument,
            "data that can't be decoded",
        ),
        (large_png(9_000), TooLargeDocument, "9,000 x 9,000 pixels"),
        (large_png(30_000), TooLargeDocument, "a decompression bomb"),
        (picture("I;16", (40, 30)), UnsupportedDocument, "samples of type uint16"),
    ],
)
def test_given_bad_picture_when_decoded_then_refused(
    engine: OcrEngine, data: bytes, kind: type[Exception], got: str
) -> None:
    with pytest.raises(kind) as raised:
        engine.decode(data)
    assert type(raised.value) is kind
    assert f"got {got}" in str(raised.value)
