"""Ctrl-C and SIGTERM as a command sees them. Does not start a cloud; tests/e2e interrupts real runs."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from keepwarm_cli.interrupts import Interrupts
from tests.support.patience import PATIENCE_S


def interrupt(number: int = signal.SIGINT) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_given_an_interrupt_when_nothing_is_left_then_130_and_one_line(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended, Interrupts():
        interrupt(number)

    assert ended.value.code == 130
    assert capsys.readouterr().err == "interrupted; everything was stopped, nothing is left\n"


def test_given_an_interrupt_when_something_is_left_then_it_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    interrupts = Interrupts()
    interrupts.left = ["process 7"]
    with pytest.raises(SystemExit), interrupts:
        interrupt()

    assert capsys.readouterr().err == "KW657 left behind: process 7\ninterrupted; everything was stopped\n"


def test_given_an_interrupt_while_held_then_it_waits_for_the_end_of_the_block() -> None:
    done = []

    def work(interrupts: Interrupts) -> None:
        with interrupts.held():
            interrupt()
            done.append("the promise to remove it")

    interrupts = Interrupts()
    with pytest.raises(SystemExit), interrupts:
        work(interrupts)

    assert done == ["the promise to remove it"]


def test_given_the_end_of_a_command_then_handlers_are_as_before() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Interrupts():
        assert signal.getsignal(signal.SIGTERM) is not before

    assert signal.getsignal(signal.SIGTERM) is before


def test_given_an_interrupt_in_code_that_was_compiled_on_the_way_then_still_130(tmp_path: Path) -> None:
    # Dataclasses compile their methods with `exec`, in which an import of theirs can be interrupted.
    (tmp_path / "interrupted_command.py").write_text(
        "import os, signal\n"
        "from keepwarm_cli.interrupts import Interrupts\n"
        "with Interrupts():\n"
        "    exec('os.kill(os.getpid(), signal.SIGINT)')\n"
    )
    command = [sys.executable, "-m", "interrupted_command"]
    ended = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )

    assert (ended.returncode, ended.stderr) == (130, "interrupted; everything was stopped, nothing is left\n")
