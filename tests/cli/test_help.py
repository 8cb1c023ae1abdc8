"""The command line itself: help with headings and whole sentences, choices by name, usage errors in one coded line.

Proves it for every command there is. Does not prove what the commands do.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import typer
from typer.core import TyperGroup
from typer.testing import CliRunner

from keepwarm_cli import command_line
from keepwarm_cli.__main__ import app
from keepwarm_cli.command_line import Options
from keepwarm_cli.plan import breakeven, options
from keepwarm_planner import cost, kernel, prices
from keepwarm_planner.traffic import traces

WIDE = CliRunner(env={"COLUMNS": "200", "TERMINAL_WIDTH": "120"})


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    if isinstance(command, TyperGroup):
        for name, child in command.commands.items():
            yield from commands(child, (*path, name))


EVERY = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("path", EVERY, ids=" ".join)
def test_given_a_command_when_asked_for_help_then_no_sentence_is_cut(path: tuple[str, ...]) -> None:
    out = WIDE.invoke(app, [*path, "--help"]).output
    words = " ".join(out.split())
    assert "..." not in out.replace("[ARGS]...", "")
    command = EVERY[path]
    assert " ".join((command.help or "").split()) in words
    for parameter in command.params:
        assert " ".join((parameter.help or "").split()) in re.sub(r"- (?=\w)", "-", words)
    for child in getattr(command, "commands", {}).values():
        assert " ".join((child.help or "").split("\n\n")[0].split()) in words


def test_given_a_command_with_groups_of_options_then_each_has_its_heading() -> None:
    out = WIDE.invoke(app, ["plan", "simulate", "--help"]).output
    assert re.findall(r"^(\S.*):$", out, re.M) == [
        "Options",
        "Plain case (Poisson arrivals, exponential service times)",
        "Arrivals",
        "Work of a request",
        "Simulation",
        "Prices",
        "Output",
    ]


def test_given_choices_then_they_are_the_planners_own() -> None:
    assert {unit.value for unit in options.TimeUnit} == set(traces.UNITS)
    assert {a.value for a in options.Architecture} == {a.value for a in cost.Architecture}
    assert options.DEFAULT_REGION == prices.DEFAULT_REGION
    for choice in options.Kernel:
        kernel.choose(1, choice)
    help_text = WIDE.invoke(app, ["plan", "breakeven", "--help"]).output
    assert f"--kind <{'|'.join(breakeven.Kind)}>" in help_text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["plan", "breakeven", "--kind", "magic"],
            "KW665 keepwarm plan breakeven: invalid value for '--kind': 'magic' is not one of 'service', 'function'; "
            "fix: see `keepwarm plan breakeven --help`",
        ),
        (["plan", "nope"], "KW665 keepwarm plan: no such command 'nope'; fix: see `keepwarm plan --help`"),
        (
            ["local", "up", "--bogus"],
            "KW665 keepwarm local up: no such option: --bogus; fix: see `keepwarm local up --help`",
        ),
        (
            ["model", "promote", "x"],
            "KW665 keepwarm model promote: missing option '--channel'; fix: see `keepwarm model promote --help`",
        ),
    ],
)
def test_given_bad_usage_when_run_then_one_coded_line_and_exit_2(words: list[str], said: str) -> None:
    done = WIDE.invoke(app, words, prog_name="keepwarm")
    assert (done.exit_code, done.stdout, done.stderr) == (2, "", said + "\n")


class Refusal(Exception):
    """A refusal of some room."""

    code = "KW999"


@dataclass(frozen=True, kw_only=True)
class Shared(Options, heading="Shared"):
    """A group."""

    shared: Annotated[int, typer.Option(help="A number.")] = 1

    def check(self) -> None:
        """Refuse 3."""
        if self.shared == 3:
            raise Refusal("KW999 shared: got 3; allowed any other")


@dataclass(frozen=True, kw_only=True)
class Own(Shared):
    """A command's options."""

    name: Annotated[str, typer.Argument(help="A name.")]
    own: Annotated[bool, typer.Option("--own", help="A flag.")] = False


def test_given_an_options_class_when_made_a_command_then_it_gets_one_checked_object() -> None:
    ran: list[Own] = []
    made = command_line.app("made", "Made here.")
    command_line.command(made, Own, "one")(ran.append)
    command_line.command(made, Own, "two")(ran.append)

    assert WIDE.invoke(made, ["one", "x", "--shared", "2", "--own"]).exit_code == 0
    assert ran == [Own(name="x", shared=2, own=True)]
    refused = WIDE.invoke(made, ["two", "x", "--shared", "3"])
    assert (refused.exit_code, refused.stderr) == (2, "KW999 shared: got 3; allowed any other\n")
    assert len(ran) == 1


def test_given_the_command_when_imported_then_nothing_heavy_comes_along() -> None:
    heavy = {
        "numpy",
        "pydantic",
        "pulumi",
        "matplotlib",
        "boto3",
        "rich",
        "yaml",
        "moto",
        "grpc",
        "keepwarm_planner",
    }
    program = f"import sys, keepwarm_cli.__main__; print(sorted({heavy!r} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert out.stdout == "[]\n"
