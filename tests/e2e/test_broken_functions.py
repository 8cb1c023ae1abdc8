"""A stack whose functions or settings are broken, run as a person runs it: what they see, and that nothing is left.

Proves: a function that crashes at import, never answers or prints and returns garbage costs its documents, each with
the reason, and exit 1; what can't be deployed is told in coded lines. Does not prove the platform's own error words
(tests/localcloud/test_lambda_execution).
"""

import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE_S
from tests.support.projects import ROOT, Project

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("stack")]

CRASHES = """
def handler(event, context):
    return None


raise OSError("libreader.so.1: cannot open shared object file")
"""
ODD = """
import sys
import time

import keepwarm_runtime.invocation as runtime


def handler(event, context):
    name = event["document"]["name"]
    if name.startswith("silent"):
        time.sleep(600)
    print('{"_aws": {"CloudWatchMetrics": "no list"}, "event": "keepwarm.result", "phases": [')
    sys.stdout.buffer.write(b"\\x00\\xff\\xfe garbage \\n")
    sys.stdout.flush()
    return object() if name.startswith("odd") else "no object at all"
"""
SILENT = """
import time


def handler(event, context):
    time.sleep(600)
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path / "project")
    (made.folder / "documents").mkdir()
    return made


def document(project: Project, name: str, text: str = "") -> None:
    (project.folder / "documents" / name).write_text(
        f"Dear customer,\nthis is the letter {name}.\n{text}" * 3
    )


def test_given_functions_that_crash_hang_or_print_garbage_then_their_documents_fail_with_the_reason(
    project: Project,
) -> None:
    project.handler("ocr", CRASHES)
    project.handler("enrich", ODD)
    project.settings(functions={"enrich": {"memory_mb": 256, "timeout_s": 10}})
    shutil.copy(ROOT / "examples/documents/delivery-note.png", project.folder / "documents")
    for name in ("silent.txt", "odd.txt", "wrong.txt"):
        document(project, name)
    done = project.keepwarm("local", "run", "--documents", "documents", "--out", "report")
    assert done.returncode == 1, done.stdout[-2000:] + done.stderr[-2000:]
    report = project.report()
    said = {d["name"]: (d["outcome"], d["reason"]) for d in report["documents"]}

    assert {outcome for outcome, _ in said.values()} == {"failed"}
    assert "libreader.so.1: cannot open shared object file" in said["delivery-note.png"][1]
    assert "timed out after 10" in said["silent.txt"][1].lower()
    assert "not JSON serializable" in said["odd.txt"][1]
    assert "KW" in said["wrong.txt"][1]
    assert report["summary"]["failed"] == 4
    assert report["summary"]["effects"] == report["summary"]["leftovers"] == 0
    assert "Traceback" not in done.stderr
    for name, (_, reason) in said.items():
        assert f"{name}: " in done.stdout.replace("\n", ""), reason
    assert project.left() == []


def test_given_a_classifier_that_crashes_at_import_then_the_deployment_names_the_cause(
    project: Project,
) -> None:
    project.handler("classify", CRASHES)
    document(project, "letter.txt")
    done = project.keepwarm("local", "run", "--documents", "documents", "--out", "report")

    assert done.returncode == 1
    assert done.stderr.startswith("KW656 stack 'local': could not be deployed:\n")
    assert "libreader.so.1: cannot open shared object file" in done.stderr
    assert "Traceback (most recent" not in done.stderr.splitlines()[0]
    assert project.left() == []


def test_given_a_classifier_that_never_answers_then_the_run_ends_and_says_so(project: Project) -> None:
    project.handler("classify", SILENT)
    project.settings(functions={"classify": {"memory_mb": 512, "timeout_s": 10}})
    document(project, "letter.txt")
    done = project.keepwarm(
        "local", "run", "--documents", "documents", "--out", "report", "--timeout-s", "10"
    )

    assert done.returncode == 1, done.stderr
    [only] = project.report()["documents"]
    assert (only["outcome"], only["code"]) == ("failed", "KW658")
    assert only["reason"] == "no outcome within 10 s; raise --timeout-s or see the journal"
    assert project.left() == []


def test_given_a_region_without_known_prices_then_the_run_is_fine_and_costs_stay_open(
    project: Project,
) -> None:
    project.settings(service=None, functions=None)
    project.region("ap-south-1")
    document(project, "letter.txt")
    done = project.keepwarm("local", "run", "--documents", "documents", "--out", "report")
    report = project.report()

    assert done.returncode == 0, done.stderr
    assert ":ap-south-1:" in report["outputs"]["workflow_arn"]
    assert (report["cost"], report["checklist"]) == (None, [])
    assert project.left() == []


def test_given_a_file_that_cant_be_read_then_it_fails_with_the_reason_and_the_others_go_on(
    project: Project,
) -> None:
    project.settings(service=None, functions=None)
    document(project, "letter.txt")
    # A regular file that no read succeeds on, whoever asks.
    (project.folder / "documents" / "odd.txt").symlink_to("/proc/self/mem")
    done = project.keepwarm("local", "run", "--documents", "documents", "--out", "report")
    said = {d["name"]: (d["outcome"], d["reason"]) for d in project.report()["documents"]}

    assert done.returncode == 1, done.stderr
    assert said == {
        "letter.txt": ("succeeded", None),
        "odd.txt": (
            "failed",
            "KW662 document: got odd.txt, which can't be read (Input/output error);"
            " allowed a readable file of up to 5 GB",
        ),
    }
    assert project.left() == []


def test_given_a_cloud_that_is_killed_in_use_then_one_coded_line_and_nothing_is_left(
    project: Project,
) -> None:
    project.settings(service=None, functions=None)
    for number in range(30):
        document(project, f"letter-{number}.txt")
    running = project.start("local", "run", "--documents", "documents", "--out", "report")
    assert running.stdout is not None
    while not running.stdout.readline().startswith("deployed"):
        assert running.poll() is None
    [cloud] = children(running.pid, b"keepwarm_localcloud")
    os.kill(cloud, signal.SIGKILL)
    _, err = running.communicate(timeout=PATIENCE_S)

    assert running.returncode == 1
    assert err.startswith("KW653 embedded cloud: ended with -9 while it was in use")
    assert "Traceback" not in err
    assert project.left() == []


def children(parent: int, word: bytes) -> list[int]:
    """Processes below a parent whose command line has a word."""
    pids = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(pid) for pid in pids if word in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_given_unknown_and_contradictory_settings_then_all_are_told_and_nothing_starts(
    project: Project,
) -> None:
    project.settings(
        queue={"max_concurency": 1, "batch_size": 99},
        warm_pool={"environments": 9, "max_environments": 1},
        servce={"gpus": 1},
    )
    document(project, "letter.txt")
    done = project.keepwarm("local", "run", "--documents", "documents", "--out", "report")
    lines = done.stderr.splitlines()

    assert (done.returncode, done.stdout) == (2, "")
    assert lines[:2] == [
        "KW656 stack 'local': could not be deployed:",
        "4 settings of stack 'local' can't be used; nothing was created:",
    ]
    assert [line.split(": got ")[0].strip() for line in lines[2:]] == [
        "KW160 stacks/Pulumi.local.yaml keepwarm:servce",
        "KW100 stacks/Pulumi.local.yaml keepwarm:queue.max_concurency",
        "KW119 stacks/Pulumi.local.yaml keepwarm:queue.batch_window_s",
        "KW127 stacks/Pulumi.local.yaml keepwarm:warm_pool.max_environments",
    ]
    assert any("did you mean 'max_concurrency'?" in line for line in lines)
    assert project.left() == []
