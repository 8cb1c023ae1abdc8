"""The command's own page against the command: every command, module and variable that it names, and none left out."""

import re
from pathlib import Path

import typer

from keepwarm_cli.__main__ import app

ROOT = Path(__file__).parents[2]
CLI = ROOT / "cli" / "keepwarm_cli"
PAGE = (ROOT / "cli" / "README.md").read_text(encoding="utf-8")


def section(heading: str) -> str:
    return PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]


def test_given_the_table_of_commands_then_it_is_the_command_tree() -> None:
    told = set()
    for row in re.findall(r"^\| (`keepwarm .*?) \|", section("Commands"), re.M):
        first, *others = re.findall(r"`([^`]+)`", row)
        group = first.rpartition(" ")[0]
        told |= {first.removeprefix("keepwarm "), *(f"{group} {o}".removeprefix("keepwarm ") for o in others)}
    tree = typer.main.get_command(app)
    there = set()
    for name, command in tree.commands.items():  # type: ignore[attr-defined]
        children = getattr(command, "commands", None)
        there |= {f"{name} {child}" for child in children} if children else {name}
    assert told == there


def test_given_the_modules_then_the_page_names_every_one_and_no_other() -> None:
    told = set(re.findall(r"`((?:engine/|plan/)?\w+\.py)`", PAGE))
    there = {str(p.relative_to(CLI)) for p in CLI.rglob("*.py") if p.name != "__init__.py"}
    short = {name.rpartition("/")[2] for name in told}
    assert {name for name in there if name.rpartition("/")[2] not in short} == set()
    assert {
        name for name in told if name not in there and not any(t.endswith(f"/{name}") for t in there)
    } == set()


def test_given_the_variables_then_the_page_has_those_that_are_read() -> None:
    source = "\n".join(path.read_text() for path in CLI.rglob("*.py"))
    read = set(re.findall(r"\bKEEPWARM_[A-Z_]+\b", source))
    assert set(re.findall(r"`(KEEPWARM_[A-Z_]+)`", section("Environment"))) == read
