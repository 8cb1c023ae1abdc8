"""A killed build leaves nothing that looks finished, and builds at once share one piece of work."""

import errno
import os
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from keepwarm_build import Bundle, BundleError, bundle
from keepwarm_build.kept import kept
from tests.support.patience import until

PINNED = "demo==1.0 --hash=sha256:" + "0" * 64 + "\n"
BUILD = (
    "import sys; from keepwarm_build import bundle; "
    "b = bundle(sys.argv[1], cache=sys.argv[2]); print(b.sha256, b.layers[0].sha256)"
)


def builder(folder: Path, cache: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", BUILD, str(folder), str(cache)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)


def test_build_killed_in_the_middle_is_made_whole_by_the_next(
    folder: Path, cache: Path, tmp_path: Path, fake_uv: Callable[[str], Path]
) -> None:
    (folder / "requirements.txt").write_text(PINNED)
    mark = tmp_path / "mark"
    fake_uv(f'echo half > "$site/half.py"; touch {mark}; exec sleep 60')
    victim = builder(folder, cache)
    until(mark.exists)
    os.killpg(victim.pid, signal.SIGKILL)
    victim.communicate()
    finished = [path.name for path in (cache / "bundles").iterdir() if not path.name.startswith(".")]
    assert not [name for name in finished if "dependencies" in name]

    fake_uv('echo "A = 1" > "$site/demo.py"')
    built = bundle(folder, cache=cache)

    with zipfile.ZipFile(built.layers[0].path) as archive:
        names = archive.namelist()
    assert "python/demo.py" in names
    assert "python/half.py" not in names
    assert [path for path in (cache / "bundles").glob(".*") if path.is_dir()] == []


def test_processes_that_build_at_once_do_the_work_once(
    folder: Path, cache: Path, tmp_path: Path, fake_uv: Callable[[str], Path]
) -> None:
    (folder / "requirements.txt").write_text(PINNED)
    log = tmp_path / "log"
    fake_uv(f'echo "A = 1" > "$site/demo.py"; echo run >> {log}; sleep 0.2')
    processes = [builder(folder, cache) for _ in range(3)]
    answers = {process.communicate()[0].strip() for process in processes}

    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len(answers) == 1
    assert log.read_text() == "run\n"


def test_threads_that_build_at_once_get_one_result(folder: Path, cache: Path) -> None:
    found: list[Bundle] = []
    threads = [threading.Thread(target=lambda: found.append(bundle(folder, cache=cache))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [built.sha256 for built in found] == [found[0].sha256] * 6


def test_full_disk_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    def make(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / "half"))

    with pytest.raises(BundleError) as raised:
        kept(tmp_path / "bundles" / "one", make)

    assert raised.value.code == "KW196"
    assert "got No space left on device; allowed a folder that can be written" in str(raised.value)
    assert [path.name for path in (tmp_path / "bundles").iterdir() if path.is_dir()] == []
