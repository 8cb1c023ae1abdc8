"""Bad situations of `keepwarm pulumi`: each is one coded line with a way out, and nothing slow is begun before it.

Proves the refusals with the real CLI and without it (no CLI, a wrong version, a folder that cannot be used, a second
change, a dead lock, another project's state, a lost cloud, a wrong passphrase). Does not prove the CLI's own messages.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pulumi
import pulumi_aws as aws
import pytest

from keepwarm_cli.engine import by_hand, daemons, program, pulumi_binary
from keepwarm_cli.engine.request import understand
from keepwarm_cli.errors import CODES, CliError
from tests.support.engine import ROOT, Project
from tests.support.patience import PATIENCE_S

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


def refusal(project: Project, *arguments: str, **options: Any) -> str:
    """The whole text of what is refused, before anything slow was begun: no cloud is started for it."""
    ran = daemons.cloud_endpoint(project.state)
    with pytest.raises(CliError) as raised:
        project.run(*arguments, **options)
    assert daemons.cloud_endpoint(project.state) == ran
    return str(raised.value)


def test_given_no_cli_when_run_then_said_how_to_get_one(folder: Project, tmp_path: Path) -> None:
    nowhere = {"PATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    assert refusal(folder, "preview", environment=nowhere) == (
        f"KW666 pulumi: got no CLI ({pulumi_binary.cache_folder(nowhere) / 'pulumi'} is not there); allowed one on "
        "PATH, in KEEPWARM_PULUMI or in the cache; fix: `make pulumi`, or install Pulumi"
    )


def test_given_an_old_cli_when_run_then_both_versions_are_named(folder: Project, tmp_path: Path) -> None:
    old = tmp_path / "bin" / "pulumi"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho v3.100.0\n")
    old.chmod(0o755)
    named = {"KEEPWARM_PULUMI": str(old)}
    cached = pulumi_binary.cache_folder(folder.environment) / "pulumi"
    assert refusal(folder, "preview", environment=named) == (
        f"KW667 pulumi: got version 3.100.0 at {old}; allowed 3.237.0 or newer; fix: upgrade it, or `make pulumi` and "
        f"set KEEPWARM_PULUMI={cached}"
    )
    old.write_text("#!/bin/sh\necho something else\n")
    os.utime(old, (1, 1))
    assert refusal(folder, "preview", environment=named) == (
        f"KW667 pulumi: got 'something else' from {old} version; allowed a version number; fix: install the Pulumi CLI"
    )
    old.write_text("not even a program")
    os.utime(old, (2, 2))
    assert refusal(folder, "preview", environment=named).startswith(
        f"KW667 pulumi: got no answer from {old}: "
    )


def test_given_the_pin_then_command_and_build_agree() -> None:
    pinned = [
        line.split()[1]
        for line in (ROOT / "tools/pulumi/go.mod").read_text().splitlines()
        if "pulumi/pkg/v3 v" in line
    ]
    assert pinned == [pulumi_binary.BUILT_VERSION]


def test_given_a_folder_that_cannot_be_written_when_run_then_refused(folder: Project) -> None:
    root = folder.state.root
    root.write_text("a file where the folder should be")
    assert refusal(folder, "preview") == (
        f"KW668 state folder {root}: cannot be written: File exists; fix: make it writable, or start in another copy "
        "of the project"
    )
    root.unlink()
    root.mkdir()
    (root / "layout.json").write_text("[]")
    assert refusal(folder, "preview") == (
        f"KW668 state folder {root}: layout.json cannot be read; fix: `keepwarm local reset`"
    )


def test_given_a_folder_or_a_state_of_a_newer_version_when_run_then_refused(folder: Project) -> None:
    folder.state.open()
    (folder.state.root / "layout.json").write_text('{"layout": 99}')
    assert refusal(folder, "preview") == (
        f"KW669 state folder {folder.state.root}: got layout 99; allowed up to 1; because a newer keepwarm made it; "
        "fix: use that version, or `keepwarm local reset`"
    )
    (folder.state.root / "layout.json").unlink()
    state = folder.state.backend / ".pulumi" / "stacks" / "proj" / "local.json"
    state.parent.mkdir(parents=True)
    state.write_text('{"version": 99, "checkpoint": {}}')
    assert refusal(folder, "preview") == (
        f"KW669 state {state}: got version 99; allowed up to 4; because a newer Pulumi CLI made it; "
        "fix: use that version, or `keepwarm local reset`"
    )
    state.write_text("[]")
    assert refusal(folder, "up") == (
        f"KW673 state {state}: cannot be read: 'list' object has no attribute 'get'; allowed what the Pulumi CLI "
        "wrote; fix: restore it from .pulumi/backups, or `keepwarm local reset`"
    )


def test_given_files_that_are_no_project_when_run_then_the_file_is_named(folder: Project) -> None:
    stack = folder.folder / "stacks" / "Pulumi.local.yaml"
    stack.write_text("- a list")
    assert refusal(folder, "preview") == (
        f"KW655 {stack}: is not a stack file: it is a list; allowed a YAML mapping with `config`; fix: correct "
        "that file"
    )
    project = folder.folder / "Pulumi.yaml"
    project.write_text("runtime: python")
    assert refusal(folder, "preview") == (
        f"KW655 {project}: is not a Pulumi project: it has no name; allowed a YAML mapping with a `name`; "
        "fix: correct that file"
    )


def test_given_a_stack_that_does_not_exist_when_run_then_the_known_ones_are_named(folder: Project) -> None:
    assert refusal(folder, "preview", stack="nope") == (
        "KW674 stack 'nope': does not exist; allowed local; fix: write stacks/Pulumi.nope.yaml, or "
        "`keepwarm pulumi -- stack init nope`"
    )
    assert refusal(folder, "destroy") == (
        "KW674 stack 'local': has no state; allowed a stack that was deployed; fix: `keepwarm pulumi -- up`"
    )
    assert refusal(folder, "config", "set", "a", "b") == (
        "KW674 config: got a change of the working copy; allowed a change of stacks/Pulumi.local.yaml itself; because "
        "the copy is written again for every command; fix: edit that file, or run plain `pulumi config`"
    )


def test_given_another_projects_state_when_run_then_refused(folder: Project) -> None:
    (folder.state.backend / ".pulumi" / "stacks" / "elsewhere").mkdir(parents=True)
    assert refusal(folder, "preview") == (
        f"KW675 state folder {folder.state.root}: got the state of project 'elsewhere'; allowed that of 'proj'; "
        "because the project was renamed or the folder copied; fix: `keepwarm local reset`, or give Pulumi.yaml the "
        "name 'elsewhere' again"
    )


LANGUAGE_HOST = """#!{python}
import sys, threading
from concurrent.futures import ThreadPoolExecutor
import grpc
import pulumi_aws as aws
from keepwarm_cli.engine.program_host import ProgramHost
from pulumi.runtime.proto import language_pb2_grpc

server = grpc.server(ThreadPoolExecutor(4))
host = ProgramHost(lambda: aws.sqs.Queue("of-another-language"))
language_pb2_grpc.add_LanguageRuntimeServicer_to_server(host, server)
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
threading.Event().wait()
"""


def test_given_a_program_in_another_language_when_run_then_its_own_host_runs_it_or_the_lack_is_said(
    project: Project, tmp_path: Path
) -> None:
    file = project.folder / "Pulumi.yaml"
    python = file.read_text()
    file.write_text(python.replace("runtime: python", "runtime: {name: demo}").replace("program", "."))
    project.program, program = None, project.program
    try:
        assert refusal(project, "up") == (
            f"KW677 project {project.folder}: got a program in 'demo' and no pulumi-language-demo on PATH; allowed "
            "python, or a language whose host is installed; because only Python programs are served without one; "
            "fix: install Pulumi, which brings its language hosts"
        )
        host = tmp_path / "pulumi-language-demo"
        host.write_text(LANGUAGE_HOST.format(python=sys.executable))
        host.chmod(0o755)
        path = {"PATH": f"{tmp_path}{os.pathsep}{project.environment['PATH']}"}
        assert project.up(None, environment=path).changed()["Queue of-another-language"] == "create"
    finally:
        file.write_text(python)
        project.program = program


PROGRAM = """
import asyncio
import os
import pulumi
import pulumi_aws as aws

if "REFUSED" in os.environ:
    aws.ssm.Parameter("fails", type="String", value="x", allowed_pattern="^y$")
    pulumi.CustomResource("aws:sqs/queue:Queue", "refused", {"delaySeconds": "x"})
elif "WAITS" in os.environ:
    with open(os.environ["BEGAN"], "w") as began:
        began.write("x")
    pulumi.export("never", pulumi.Output.from_input(asyncio.sleep(3600)))
else:
    with open(os.environ["BEGAN"], "w") as began:
        began.write("x")
    open(os.environ["GO"]).close()
    aws.sqs.Queue("jobs")
"""


@pytest.fixture
def installed(tmp_path: Path) -> Iterator[tuple[Project, dict[str, str], list[str]]]:
    """A project with its program in a file, and the installed command's words for an `up` in it."""
    made = Project(tmp_path / "installed")
    (made.folder / "program").mkdir()
    (made.folder / "program" / "__main__.py").write_text(PROGRAM)
    for name in ("BEGAN", "GO"):
        made.environment[name] = str(tmp_path / name)
        os.mkfifo(tmp_path / name)
    command = [str(Path(sys.executable).with_name("keepwarm")), "pulumi", "--"]
    yield made, made.environment, [*command, "up", "--yes", "--skip-preview", "--non-interactive"]
    made.close()


def test_given_two_ups_at_once_when_run_then_one_wins_and_the_other_says_who_holds_the_lock(
    installed: tuple[Project, dict[str, str], list[str]],
) -> None:
    project, environment, up = installed
    where: dict[str, Any] = {"cwd": project.folder, "env": environment, "text": True}
    began = os.open(environment["BEGAN"], os.O_RDONLY | os.O_NONBLOCK)
    with subprocess.Popen(up, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **where) as first:
        try:
            # Its program says so from the middle of its change, where it then waits.
            assert select.select([began], [], [], PATIENCE_S)[0], "the first must get that far"
            # It is told so while the first still waits: it did not wait for it.
            second = subprocess.run(up, capture_output=True, check=False, timeout=PATIENCE_S, **where)
            go = os.open(environment["GO"], os.O_RDWR)
            said, _ = first.communicate(timeout=PATIENCE_S)
            os.close(go)
        finally:
            first.kill()
            os.close(began)
    assert second.stderr == (
        f"KW671 stack 'local': got a second change while `keepwarm pulumi -- up` (process {first.pid}) is running; "
        "allowed one at a time; fix: wait for it to end, or end that process; the lock goes with it\n"
    )
    assert (second.returncode, second.stdout) == (2, "")
    assert first.returncode == 0, said
    assert len(project.inventory()["sqs"]["queues"]) == 1


@pytest.mark.parametrize("sent", ["Ctrl-C in the terminal", "SIGTERM to the command alone"])
def test_given_a_change_when_it_is_to_end_then_the_engine_cancels_it_and_the_command_ends(
    installed: tuple[Project, dict[str, str], list[str]], sent: str
) -> None:
    project, environment, up = installed
    began = os.open(environment["BEGAN"], os.O_RDONLY | os.O_NONBLOCK)
    terminal = sent.startswith("Ctrl-C")
    with subprocess.Popen(
        up,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=project.folder,
        # Waits for an output, or in code of its own that nothing can interrupt.
        env={**environment, "WAITS": "1"} if terminal else environment,
        start_new_session=True,
    ) as command:
        try:
            assert select.select([began], [], [], PATIENCE_S)[0], "the program must have begun"
            if terminal:
                os.killpg(command.pid, signal.SIGINT)
            else:
                command.terminate()
            said, _ = command.communicate(timeout=PATIENCE_S)
        finally:
            command.kill()
            os.close(began)
    assert command.returncode == 1, said
    assert "error: update canceled" in said
    assert ("the Pulumi program kept running after the engine exited; it was terminated" in said) != terminal
    assert "Traceback" not in said
    assert project.must("up", program=lambda: None).notes == [], "nothing was left to settle"


def test_given_resources_that_fail_when_the_rest_goes_on_then_the_command_comes_to_its_end(
    installed: tuple[Project, dict[str, str], list[str]],
) -> None:
    project, environment, up = installed
    # The program waits for outputs that nobody will ever give it: the engine has gone home.
    done = subprocess.run(
        [*up, "--continue-on-error"],
        cwd=project.folder,
        env={**environment, "REFUSED": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode not in (0, 2), done.stderr
    assert "KW632 got 'x'; allowed a whole number (aws:sqs/queue:Queue, property delaySeconds)" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


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
    said = (
        "KW671 stack 'local': got a lock held by me@{}, process {}, since 2026-01-01T00:00:00Z; allowed one change at "
        "a time; fix: wait for it, or end that process and run `keepwarm pulumi -- cancel --yes`"
    )
    assert refusal(project, "up") == said.format(socket.gethostname(), os.getpid())
    held.unlink()
    elsewhere = lock(project, gone.pid, "another-machine")
    assert refusal(project, "up") == said.format("another-machine", gone.pid)
    # The way out that it names is one.
    project.must("cancel", "--yes", "--stack", "local")
    assert not elsewhere.exists()
    project.must("preview", "--expect-no-changes")


def test_given_a_wrong_passphrase_when_run_then_said_so(project: Project) -> None:
    project.must("up", program=lambda: pulumi.export("x", pulumi.Output.secret("y")))
    assert refusal(project, "up", environment={"PULUMI_CONFIG_PASSPHRASE": "wrong"}) == (
        "KW676 stack 'local': got a passphrase that can't decrypt its secrets; allowed the one it was created with; "
        "fix: set PULUMI_CONFIG_PASSPHRASE to that (unset it if there was none), or `keepwarm local reset`"
    )


def test_given_a_cloud_that_ended_when_run_then_state_and_cloud_are_not_mixed(project: Project) -> None:
    project.must("up")
    assert daemons.stop_cloud(project.state)
    assert refusal(project, "up") == (
        "KW678 stack 'local': got a state with 1 resources and an embedded cloud that has ended; allowed both or "
        "neither; because the cloud keeps its resources in memory; fix: `keepwarm local reset`, or "
        "`keepwarm pulumi -- refresh --yes` to empty the state"
    )
    project.must("refresh")
    assert project.up().changed() == {"Queue jobs": "create"}
    project.must("destroy")


def test_given_local_env_when_used_by_hand_then_plain_pulumi_works_and_reset_stops_everything(
    folder: Project,
) -> None:
    values = by_hand.local_env(folder.folder, environment=folder.environment)
    assert by_hand.local_env(folder.folder, environment=folder.environment) == values, "one provider, kept"
    lines = by_hand.export_lines(values)
    assert lines.startswith("export PULUMI_DEBUG_PROVIDERS=aws:")
    cli = pulumi_binary.find_cli(folder.environment)
    with program.serve_program(lambda: aws.sqs.Queue("jobs")) as address:
        shown = subprocess.run(
            ["/bin/sh", "-c", f'{lines}\n"{cli}" stack init local --non-interactive >/dev/null && '
             f'"{cli}" up --yes --skip-preview -s local --non-interactive --color=never --client={address}'],
            cwd=folder.state.work, env=folder.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "aws:sqs:Queue jobs created" in shown.stdout
    pids = [json.loads((folder.state.root / f).read_text())["pid"] for f in ("provider.json", "cloud.json")]
    done = by_hand.local_reset(folder.folder)
    assert done[:2] == ["the provider was stopped", "the embedded cloud was stopped"]
    assert not folder.state.root.exists()
    assert not [p for p in pids if daemons.alive(p)]


def test_given_a_selected_stack_when_understood_then_it_is_the_one_unless_another_is_named(
    folder: Project,
) -> None:
    folder.stack_file("other", {})
    assert understand(["up"], folder.state, {}).stack == "local"
    folder.must("stack", "init", "other")
    assert understand(["up"], folder.state, {}).stack == "other"
    folder.must("stack", "init", "local")
    folder.must("stack", "select", "other")
    assert understand(["up"], folder.state, {}).stack == "other"
    assert understand(["up", "-s", "local"], folder.state, {}).stack == "local"
    assert understand(["up", "--stack=a/b/local"], folder.state, {}).stack == "local"
    assert understand(["up"], folder.state, {"PULUMI_STACK": "local"}).stack == "local"
    packed = understand(["up", "--policy-pack", "rules"], folder.state, {}).arguments
    assert packed == ("up", "--policy-pack", str(Path("rules").absolute()))


def test_given_the_codes_then_every_one_that_is_raised_is_listed() -> None:
    import re

    for module in (ROOT / "cli" / "keepwarm_cli").rglob("*.py"):
        raised = set(re.findall(r'"(KW6[5-9]\d)"', module.read_text()))
        assert raised <= set(CODES), module
