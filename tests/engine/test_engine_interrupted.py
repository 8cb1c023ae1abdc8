"""A test run that is interrupted leaves no embedded cloud running.

Proves it with a test run of its own, on two workers, that gets the terminal's Ctrl-C while its fixtures cannot end:
pytest-xdist then kills its workers, as it does on a busy machine. Does not prove what a lost machine leaves.
"""

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from keepwarm_cli.engine import daemons
from keepwarm_cli.errors import CliError
from tests.support.engine import ROOT

pytestmark = [
    pytest.mark.engine,
    pytest.mark.slow,
]

MODULE = """
import threading
from pathlib import Path
import pytest
from keepwarm_cli.engine import by_hand
from tests.support.engine import Project

@pytest.fixture(scope="module")
def project():
    made = Project(Path("{folder}"))
    by_hand.local_env(made.folder, environment=made.environment)
    yield made
    threading.Event().wait()  # the worker is killed here, before it could clean up

def test_given_a_cloud_when_interrupted(project):
    Path("{ready}").write_text("x")
    threading.Event().wait()
"""


def test_given_two_workers_with_clouds_when_ctrl_c_then_no_cloud_is_left(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    ready = []
    for folder in folders:
        folder.mkdir()
        os.mkfifo(folder / "ready")
        ready.append(os.open(folder / "ready", os.O_RDONLY | os.O_NONBLOCK))
        module = MODULE.format(folder=folder, ready=folder / "ready")
        (tmp_path / f"test_{folder.name}.py").write_text(module)
    words = ["-q", "-n", "2", "--dist", "loadfile", "-p", "no:cacheprovider", "--import-mode=importlib"]
    with subprocess.Popen(
        [sys.executable, "-m", "pytest", *words, *(str(tmp_path / f"test_{f.name}.py") for f in folders)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as run:
        for handle in ready:
            select.select([handle], [], [])
            os.close(handle)
        daemons = [
            os.pidfd_open(int(json.loads((folder / ".keepwarm" / name).read_text())["pid"]))
            for folder in folders
            for name in ("cloud.json", "provider.json")
        ]
        os.killpg(run.pid, signal.SIGINT)
        run.communicate()
    for handle in daemons:
        select.select([handle], [], [])  # returns when the process has ended
        os.close(handle)
    assert not any((folder / ".keepwarm" / "cloud.json").exists() for folder in folders), "they closed, whole"


@pytest.mark.parametrize("named", ["none", "-1", "4194305"])
def test_given_an_owner_that_is_no_process_when_started_then_refused(named: str) -> None:
    with pytest.raises(CliError) as refused:
        daemons.owner_arguments({daemons.OWNER: named})
    assert str(refused.value) == (
        f"KW653 embedded cloud: got KEEPWARM_CLOUD_OWNER='{named}'; allowed the id of a running process; fix: set it "
        "to one, or unset it"
    )
