"""The main job as a person runs it: real functions, models, queues and workflow on the embedded cloud.

One run serves several tests. Labels are held against the magika package and text against the OCR package, on the same
bytes. Does not prove anything about AWS itself.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.patience import PATIENCE_S

ROOT = Path(__file__).parents[2]
DOCUMENTS = ROOT / "examples" / "documents"
pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("stack")]


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "keepwarm_cli", "local", "run", *words]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*words), cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


def processes_of(folder: Path) -> set[int]:
    """Processes whose environment names a folder: the cloud, its functions and its tasks live below the run's."""
    found = set()
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if os.fsencode(folder) in environ.read_bytes():
                found.add(int(environ.parent.name))
        except OSError:
            continue
    return found


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("report")
    done = run("--documents", str(DOCUMENTS), "--again", "1", "--out", str(out), "--json")
    assert done.returncode == 0, done.stderr[-4000:]
    written: dict[str, Any] = json.loads((out / "report.json").read_text())
    assert json.loads(done.stdout) == written
    page = (out / "report.html").read_text()
    assert "<script" not in page
    assert "http" not in page.replace("http://www.w3.org", "")
    assert all(d["name"] in page for d in written["documents"])
    return {**written, "out": out}


def test_given_the_example_documents_then_every_one_succeeds_and_nothing_is_left(
    report: dict[str, Any],
) -> None:
    summary = report["summary"]

    assert summary["documents"] == summary["succeeded"] >= 12
    assert summary["failed"] == summary["leftovers"] == summary["repeated_effects"] == 0
    assert summary["resources"] > 100
    assert len({d["label"] for d in report["documents"]}) >= 8


def test_given_a_document_uploaded_again_then_its_second_effect_is_prevented_and_counted(
    report: dict[str, Any],
) -> None:
    again = [d for d in report["documents"] if d["uploads"] == 2]

    assert [(d["effects"], d["duplicates_prevented"]) for d in again] == [(1, 1)]
    assert report["summary"]["duplicates"] == 1
    assert report["summary"]["effects"] == report["summary"]["documents"]


def test_given_a_warm_pool_then_requests_reach_it(report: dict[str, Any]) -> None:
    assert report["summary"]["provisioned_hits"] >= 1
    assert any(d["pool"] == "provisioned" and d["cold"] is False for d in report["documents"])


def test_given_cold_environments_then_their_phases_are_measured(report: dict[str, Any]) -> None:
    starts = [s["phases_ms"] for s in report["starts"] if s["function"] == "classify"]

    assert starts
    assert all({"runtime_init", "imports", "load"} <= set(phases) for phases in starts)


def test_given_the_same_bytes_then_labels_are_what_magika_says(report: dict[str, Any]) -> None:
    from magika import Magika

    reader = Magika()
    said = {d["name"]: reader.identify_path(DOCUMENTS / d["name"]).output.label for d in report["documents"]}

    assert {d["name"]: d["label"] for d in report["documents"]} == {k: str(v) for k, v in said.items()}


def test_given_scanned_pages_then_the_published_text_is_what_the_ocr_package_reads(
    report: dict[str, Any],
) -> None:
    from rapidocr_onnxruntime import RapidOCR

    package = RapidOCR()
    pictures = [d["name"] for d in report["documents"] if d["label"] in {"png", "jpeg", "tiff"}]
    read = {
        name: "\n".join(line[1] for line in package((DOCUMENTS / name).read_bytes())[0]) for name in pictures
    }

    assert len(pictures) >= 4
    assert {name: (report["out"] / "texts" / f"{name}.txt").read_text() for name in pictures} == read


def test_given_scanned_pages_then_their_text_is_close_to_the_truth(report: dict[str, Any]) -> None:
    scanned = {
        d["name"]: d["character_accuracy"] for d in report["documents"] if d["character_accuracy"] is not None
    }

    assert len(scanned) >= 5
    assert all(accuracy >= 0.95 for accuracy in scanned.values()), scanned


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    folder = tmp_path / "documents"
    folder.mkdir()
    shutil.copy(DOCUMENTS / "meeting-notes.txt", folder)
    (folder / "empty.txt").write_bytes(b"")
    (folder / "corrupt.pdf").write_bytes((DOCUMENTS / "capacity-report.pdf").read_bytes()[:400])
    (folder / "encrypted.pdf").write_bytes(_encrypted_pdf())
    return folder


def _encrypted_pdf() -> bytes:
    from io import BytesIO

    from pypdf import PdfReader, PdfWriter

    writer = PdfWriter(clone_from=PdfReader(DOCUMENTS / "capacity-report.pdf"))
    writer.encrypt("secret", algorithm="RC4-128")
    out = BytesIO()
    writer.write(out)
    return out.getvalue()


def test_given_bad_documents_among_good_then_each_fails_with_its_reason_and_the_run_is_fine(
    mixed: Path, tmp_path: Path
) -> None:
    done = run("--documents", str(mixed), "--out", str(tmp_path / "out"))
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    outcomes = {d["name"]: (d["outcome"], d["code"]) for d in report["documents"]}

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert outcomes == {
        "corrupt.pdf": ("failed", "KW313"),
        "empty.txt": ("failed", "KW312"),
        "encrypted.pdf": ("failed", "KW311"),
        "meeting-notes.txt": ("succeeded", None),
    }
    assert report["summary"]["leftovers"] == 0


@pytest.fixture
def running(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command("--documents", str(DOCUMENTS), "--out", str(tmp_path / "out")),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    yield process
    if process.poll() is None:
        process.kill()
        process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("after", ["start", "deployed", "served"])
def test_given_an_interrupt_at_any_moment_then_everything_stops_and_nothing_is_left(
    running: subprocess.Popen[str], number: signal.Signals, after: str, tmp_path: Path
) -> None:
    assert running.stdout is not None
    if after != "start":
        # The table of outcomes is printed after the last document, before the stack is torn down.
        while not running.stdout.readline().startswith(
            {"deployed": "deployed", "served": "document "}[after]
        ):
            assert running.poll() is None
    else:
        # The cloud's folder appears before anything is deployed.
        while not list(tmp_path.glob("keepwarm-run-*")):
            os.sched_yield()
    running.send_signal(number)
    _, err = running.communicate(timeout=PATIENCE_S)

    assert running.returncode == 130, err[-2000:]
    assert "interrupted; everything was stopped, nothing is left" in err
    assert not list(tmp_path.glob("keepwarm-*"))
    assert processes_of(tmp_path) == set()


def test_given_two_runs_at_once_then_both_succeed(tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    shutil.copy(DOCUMENTS / "meeting-notes.txt", folder)
    both = [
        subprocess.Popen(
            command("--documents", str(folder), "--out", str(tmp_path / f"out{n}")),
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
        )
        for n in (1, 2)
    ]

    assert [p.wait(timeout=PATIENCE_S) for p in both] == [0, 0]
