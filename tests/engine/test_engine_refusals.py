"""Bad situations of `keepwarm pulumi`: each is one coded line with a way out, and none takes longer than it must.

Proves the refusals with the real CLI and without it (no CLI, a wrong version, a folder that cannot be used, a second
change, a dead lock, another project's state, a lost cloud, a wrong passphrase). Does not prove the CLI's own messages.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pulumi
import pulumi_aws as aws
import pytest

from keepwarm_cli import engine, pulumi_command
from keepwarm_cli.errors import CODES, CliError
from tests.support.engine import ROOT, Project

pytestmark = [
    pytest.mark.engine,
    pytest.mark.slow,
]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    made = Project(tmp_path_factory.mktemp("refusals"), lambda: aws.sqs.Queue("jobs"))
    yield made
    made.close()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path / "own", lambda: None)
    yield made
    made.close()


def test_given_no_cli_when_run_then_said_how_to_get_one(folder: Project, tmp_path: Path) -> None:
    with pytest.raises(CliError, match=r"KW666 pulumi: got no CLI .* fix: `make pulumi`"):
        folder.run("preview", environment={"PATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)})


def test_given_an_old_cli_when_run_then_both_versions_are_named(folder: Project, tmp_path: Path) -> None:
    old = tmp_path / "bin" / "pulumi"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho v3.100.0\n")
    old.chmod(0o755)
    with pytest.raises(
        CliError, match=r"KW667 pulumi: got version 3\.100\.0 at .*; allowed 3\.237\.0 or newer"
    ):
        folder.run("preview", environment={"KEEPWARM_PULUMI": str(old)})
    old.write_text("#!/bin/sh\necho something else\n")
    os.utime(old, (1, 1))
    with pytest.raises(CliError, match=r"KW667 pulumi: got 'something else'"):
        folder.run("preview", environment={"KEEPWARM_PULUMI": str(old)})


def test_given_the_pin_then_command_and_build_agree() -> None:
    pinned = [
        line.split()[1]
        for line in (ROOT / "tools/pulumi/go.mod").read_text().splitlines()
        if "pulumi/pkg/v3 v" in line
    ]
    assert pinned == [engine.BUILT_VERSION]


def test_given_a_folder_that_cannot_be_written_when_run_then_refused(folder: Project) -> None:
    folder.state.root.write_text("a file where the folder should be")
    with pytest.raises(CliError, match=r"KW668 state folder .*: cannot be written"):
        folder.run("preview")
    folder.state.root.unlink()


def test_given_a_folder_of_a_newer_version_when_run_then_refused(folder: Project) -> None:
    folder.state.open()
    (folder.state.root / "layout.json").write_text('{"layout": 99}')
    with pytest.raises(CliError, match=r"KW669 state folder .*: got layout 99; allowed up to 1"):
        folder.run("preview")


def test_given_a_stack_that_does_not_exist_when_run_then_the_known_ones_are_named(folder: Project) -> None:
    with pytest.raises(
        CliError, match=r"KW674 stack 'nope': does not exist; allowed local; fix: write stacks/Pulumi.nope"
    ):
        folder.run("preview", stack="nope")
    with pytest.raises(CliError, match=r"KW674 stack 'local': has no state"):
        folder.run("destroy")
    with pytest.raises(CliError, match=r"KW674 config: got a change of the working copy"):
        folder.run("config", "set", "a", "b")


def test_given_another_projects_state_when_run_then_refused(folder: Project) -> None:
    (folder.state.backend / ".pulumi" / "stacks" / "elsewhere").mkdir(parents=True)
    with pytest.raises(
        CliError, match=r"KW675 .*got the state of project 'elsewhere'; allowed that of 'proj'"
    ):
        folder.run("preview")


def test_given_a_second_change_when_run_then_refused_at_once_naming_the_holder(project: Project) -> None:
    holder = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from keepwarm_cli import pulumi_command as p, engine\n"
        "folder = engine.Folder(Path(sys.argv[1])); folder.open()\n"
        "with p._held(folder, p.Request('up', ('up',), 'local', False)):\n"
        "    print('held', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(project.folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        started = time.perf_counter()
        with pytest.raises(
            CliError, match=rf"KW671 stack 'local': .*`keepwarm pulumi -- up` \(process {first.pid}\)"
        ):
            project.run("up")
        assert time.perf_counter() - started < 5
        assert first.stdin is not None
        first.stdin.close()
        first.wait(10)
    project.must("up")


def lock(project: Project, pid: int, host: str) -> Path:
    where = project.state.backend / ".pulumi" / "locks" / "organization" / "proj" / "local" / "x.json"
    where.parent.mkdir(parents=True, exist_ok=True)
    where.write_text(
        json.dumps({"pid": pid, "username": "me", "hostname": host, "timestamp": "2026-01-01T00:00:00Z"})
    )
    return where


def test_given_the_engines_own_lock_when_run_then_a_dead_holder_is_cleared_and_a_living_one_named(
    project: Project,
) -> None:
    project.must("up")
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    lock(project, gone.pid, socket.gethostname())
    assert project.must("up").notes == [f"the lock of process {gone.pid}, which is gone, was cleared"]
    held = lock(project, os.getpid(), socket.gethostname())
    started = time.perf_counter()
    with pytest.raises(
        CliError, match=rf"KW671 .*held by me@{socket.gethostname()}, process {os.getpid()}, .* cancel --yes"
    ):
        project.run("up")
    assert time.perf_counter() - started < 5
    held.unlink()
    elsewhere = lock(project, gone.pid, "another-machine")
    with pytest.raises(CliError, match=r"KW671 .*me@another-machine"):
        project.run("up")
    elsewhere.unlink()


def test_given_a_wrong_passphrase_when_run_then_said_so(project: Project) -> None:
    project.must("up", program=lambda: pulumi.export("x", pulumi.Output.secret("y")))
    with pytest.raises(
        CliError, match=r"KW676 stack 'local': got a passphrase that does not open its secrets"
    ):
        project.run("up", environment={"PULUMI_CONFIG_PASSPHRASE": "wrong"})


def test_given_a_cloud_that_ended_when_run_then_state_and_cloud_are_not_mixed(project: Project) -> None:
    project.must("up")
    assert engine.stop_cloud(project.state)
    with pytest.raises(
        CliError,
        match=r"KW678 stack 'local': got a state with 1 resources and an embedded cloud that has ended",
    ):
        project.run("up")
    project.must("refresh")
    assert project.up().changed() == {"Queue jobs": "create"}
    project.must("destroy")


def test_given_local_env_when_used_by_hand_then_plain_pulumi_works_and_reset_stops_everything(
    folder: Project,
) -> None:
    values = pulumi_command.local_env(folder.folder, environment=folder.environment)
    assert pulumi_command.local_env(folder.folder, environment=folder.environment) == values, (
        "one provider, kept"
    )
    lines = pulumi_command.export_lines(values)
    assert lines.startswith("export PULUMI_DEBUG_PROVIDERS=aws:")
    cli = engine.find_cli(folder.environment)
    with engine.serve_program(lambda: aws.sqs.Queue("jobs")) as address:
        shown = subprocess.run(
            ["/bin/sh", "-c", f'{lines}\n"{cli}" stack init local --non-interactive >/dev/null && '
             f'"{cli}" up --yes --skip-preview -s local --non-interactive --color=never --client={address}'],
            cwd=folder.state.work, env=folder.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "aws:sqs:Queue jobs created" in shown.stdout
    pids = [json.loads((folder.state.root / f).read_text())["pid"] for f in ("provider.json", "cloud.json")]
    done = pulumi_command.local_reset(folder.folder)
    assert done[:2] == ["the provider was stopped", "the embedded cloud was stopped"]
    assert not folder.state.root.exists()
    assert not [p for p in pids if engine.alive(p)]


def test_given_the_codes_then_every_one_that_is_raised_is_listed() -> None:
    import re

    for module in ("engine", "pulumi_command"):
        text = (ROOT / "cli" / "keepwarm_cli" / f"{module}.py").read_text()
        assert set(re.findall(r'"(KW\d{3})"', text)) <= set(CODES)
