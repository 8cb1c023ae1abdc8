"""Every `keepwarm ...` that a message or a page tells somebody to type is a command that exists.

Reads docs, READMEs, recorded messages and the string literals of all rooms, and takes each command line through the
command tree: subcommands, options, number of arguments; whole lines of code blocks are parsed with their values. Does
not run them, and does not see a line that is put together from several literals.
"""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperArgument, TyperGroup, TyperOption

from keepwarm_cli.__main__ import app

ROOT = Path(__file__).parents[2]
ROOMS = (
    "cli",
    "components",
    "functions",
    "infra",
    "localcloud",
    "planner",
    "policies",
    "tools",
    "benchmarks",
)
HOLE = "HOLE"
"""Stands for what a message fills in."""
COMMAND = typer.main.get_command(app)


def pages() -> Iterator[Path]:
    for path in sorted(ROOT.rglob("*.md")):
        if not {".venv", ".tools", "build", "node_modules", "report"} & set(path.relative_to(ROOT).parts):
            yield path


def in_page(text: str) -> Iterator[tuple[str, bool]]:
    """Command lines of a page, and whether each is a whole line of a code block."""
    fenced = False
    for line in text.replace("\\\n", " ").splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced:
            found = re.match(r"\s*(?:\$ )?(?:[A-Z_]+=\S+ )*(?:uv run )?(keepwarm [a-z-].*)", line)
            if found:
                yield re.split(r"\s+#|\s\|\s|\s&&\s|\s>\s", found[1])[0], True
        else:
            yield from ((span, False) for span in re.findall(r"`(?:uv run )?(keepwarm [^`]+)`", line))


def literals(source: str) -> Iterator[str]:
    tree = ast.parse(source)
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(p.value) if isinstance(p, ast.Constant) else HOLE for p in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.value


def in_source(source: str) -> Iterator[str]:
    for text in literals(source):
        yield from re.findall(r"`(keepwarm [^`]+)`", " ".join(text.split()))
        yield from re.findall(r"(?:^|fix: )(keepwarm (?:local|model|plan|pulumi|report) [^`;]+)$", text)


def complaint(line: str, *, whole: bool) -> str | None:
    """What the command line would be refused for; None when it would be taken."""
    # `a | b` and `[--option N]` are how a page says "or" and "if you like"; a comma ends the command in a sentence.
    line = re.split(r" \| |, ", line)[0]
    words, required = (
        shlex.split(text)[1:]
        for text in (line.replace("[", "").replace("]", ""), re.sub(r"\[[^]]*\]", "", line))
    )
    command: Any = COMMAND
    while words and isinstance(command, TyperGroup) and not words[0].startswith("-"):
        if words[0] in {"...", HOLE}:
            return None
        if words[0] not in command.commands:
            return f"no command {words[0]!r}"
        command = command.commands[words.pop(0)]
        required.pop(0)
    if command.name == "pulumi":
        return None if not words or words[0] == "--" else "no `--` before the words for Pulumi"
    wrong = names_complaint(command, words)
    if wrong is None and whole and "..." not in words and "--help" not in words and words:
        try:
            command.make_context("keepwarm", required)
        except Exception as error:
            return str(error.format_message())  # type: ignore[attr-defined]
    return wrong


def names_complaint(command: Any, words: list[str]) -> str | None:
    options = {
        name: p for p in command.params for name in (*p.opts, *p.secondary_opts) if name.startswith("-")
    }
    arguments = sum(isinstance(p, TyperArgument) for p in command.params)
    given = list(words)
    while given:
        word = given.pop(0)
        name, equals, _ = word.partition("=")
        if not word.startswith("-"):
            arguments -= word != "..."
        elif name not in options and name != "--help":
            return f"no option {name!r}"
        elif name in options and not equals and given and not given[0].startswith("-"):
            parameter = options[name]
            if isinstance(parameter, TyperOption) and not parameter.is_flag:
                given.pop(0)
    return "too many arguments" if arguments < 0 else None


def found() -> Iterator[tuple[str, str, bool]]:
    for path in pages():
        for line, whole in in_page(path.read_text(encoding="utf-8")):
            yield str(path.relative_to(ROOT)), line, whole
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            for line in in_source(path.read_text(encoding="utf-8")):
                yield str(path.relative_to(ROOT)), line, False


def test_given_pages_and_messages_then_every_command_line_in_them_exists() -> None:
    lines = list(found())
    wrong = [
        f"{where}: {line}: {said}" for where, line, whole in lines if (said := complaint(line, whole=whole))
    ]
    assert wrong == []
    assert len({line for _, line, _ in lines}) > 30


@pytest.mark.parametrize(
    ("line", "whole", "said"),
    [
        ("keepwarm model rollback --floor", False, None),
        ("keepwarm model rollback --ceiling", False, "no option '--ceiling'"),
        ("keepwarm model rollback demo stable 1.0", False, "too many arguments"),
        ("keepwarm local stop", False, "no command 'stop'"),
        ("keepwarm pulumi up", False, "no `--` before the words for Pulumi"),
        (
            "keepwarm local run --port x",
            True,
            "Invalid value for '--port': Input should be a valid integer, unable to parse string as an integer",
        ),
    ],
)
def test_given_a_command_line_when_checked_then_what_it_would_be_refused_for(
    line: str, whole: bool, said: str | None
) -> None:
    assert complaint(line, whole=whole) == said
