"""The vocabulary page against the code: what the page names exists, and what the code takes is on the page.

Not proved: that the meanings are right, nor that AWS still uses the terms in the last column.
"""

import ast
import functools
import importlib
import pkgutil
import re
import subprocess
import typing
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

import keepwarm
import keepwarm_planner.answers
import keepwarm_planner.model
from inference_server.settings import VARIABLES as SERVER_VARIABLES
from inference_server.settings import ServerSettings
from keepwarm_runtime.settings import VARIABLES as RUNTIME_VARIABLES
from keepwarm_runtime.settings import Settings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "vocabulary.md").read_text(encoding="utf-8")
GONE_HEADING = "## Names that are gone"

ROOMS = [
    "components",
    "infra",
    "planner",
    "functions",
    "cli",
    "policies",
    "bundling",
    "stacks",
    "docs",
    "examples",
    "README.md",
    "CONTRIBUTING.md",
]
HISTORY = {"docs/vocabulary.md", "docs/upgrading.md"}
"""Pages whose subject is the former names."""
COMMON_WORDS = {"size", "min_size", "max_size", "cron", "at"}
"""Former names that are ordinary words or AWS's: forbidden as an input, field, option or key, not in a text."""


class Row(NamedTuple):
    """One line of a table, its cells by the table's headings."""

    name: str
    cells: dict[str, str]


@functools.cache
def rows() -> list[Row]:
    """The lines of every table of quantities."""
    found, heads = [], []
    for line in PAGE.partition(GONE_HEADING)[0].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if not cells:
            heads = []
        elif not heads:
            heads = cells
        elif not cells[0].startswith("---"):
            found.append(Row(cells[0].strip("`"), dict(zip(heads, cells, strict=True))))
    return [row for row in found if "unit" in row.cells]


@functools.cache
def gone() -> dict[str, str]:
    """Former name -> name of record."""
    table = re.findall(r"^\| (`.+?`) \| `(\w+)` \|$", PAGE.partition(GONE_HEADING)[2], re.MULTILINE)
    return {old: new for olds, new in table for old in re.findall(r"`(\w+)`", olds)}


def modules(package: Any) -> Iterator[Any]:
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not found.name.endswith("__main__"):
            yield importlib.import_module(found.name)


@functools.cache
def inputs() -> dict[str, dict[str, Any]]:
    """Component or part -> its inputs with their types: every TypedDict that the components declare."""
    return {
        value.__name__.removesuffix("Args"): dict(value.__annotations__)
        for module in modules(keepwarm)
        for value in vars(module).values()
        if typing.is_typeddict(value) and value.__module__ == module.__name__
    }


@functools.cache
def owners() -> dict[str, type]:
    """Classes with fields that the page may name: the planner's models, and the settings of runtime and server."""
    planner = {
        value.__name__: value
        for package in (keepwarm_planner.model, keepwarm_planner.answers)
        for module in modules(package)
        for value in vars(module).values()
        if isinstance(value, type) and is_dataclass(value)
    }
    return {**planner, "Settings": Settings, "ServerSettings": ServerSettings}


def references(text: str) -> list[tuple[str, str]]:
    return re.findall(r"`([A-Z]\w+)\.(\w+)`", text)


def exists(owner: str, name: str) -> bool:
    if owner == "Function":
        return all(name in inputs()[each] for each in ("RuntimeFunction", "PreprocessingFunction"))
    return name in inputs().get(owner, {}) or hasattr(owners().get(owner), name) or name in _fields(owner)


def _fields(owner: str) -> set[str]:
    kind = owners().get(owner)
    return {field.name for field in fields(kind)} if kind is not None and is_dataclass(kind) else set()


def is_number(kind: Any) -> bool:
    return kind in (int, float) or any(is_number(part) for part in typing.get_args(kind))


def test_given_a_place_the_page_names_then_it_exists() -> None:
    assert len(rows()) > 60
    assert [f"{owner}.{name}" for owner, name in references(PAGE) if not exists(owner, name)] == []


def test_given_a_variable_the_page_names_then_it_is_read() -> None:
    known = {*RUNTIME_VARIABLES.values(), *(variable for variable, _, _ in SERVER_VARIABLES.values())}
    assert sorted(set(re.findall(r"KEEPWARM_\w+", PAGE)) - known) == []


def test_given_a_section_then_the_stack_takes_it_with_those_inputs() -> None:
    stack = inputs()["ServerlessRuntime"]
    table = PAGE.partition("## Sections of a stack file")[2].partition("\n## ")[0]
    told = dict(re.findall(r"^\| `(\w+)` \| (?:`(\w+)`)?", table, re.MULTILINE))

    assert set(told) == set(stack) - {"entry"}
    for section, part in told.items():
        assert not part or re.search(rf"\b{part}(Args)?\b", str(stack[section])), section


def test_given_a_quantity_then_it_is_set_under_its_own_name() -> None:
    others = {"timezone", "pools"}
    astray = [
        f"{row.name}: {owner}.{name}"
        for row in rows()
        for owner, name in references(row.cells.get("set", ""))
        if name not in {row.name, *others}
    ]
    assert astray == []


def test_given_a_quantity_then_it_is_on_the_page_once() -> None:
    names = [row.name for row in rows()]
    assert sorted({name for name in names if names.count(name) > 1}) == []


@functools.cache
def sections() -> set[str]:
    """Inputs that repeat those of a part: of a ServerlessRuntime, and what its workflow leaves out."""
    module = importlib.import_module("keepwarm.serverless_runtime")
    own = {
        value.__name__.removesuffix("Args")
        for value in vars(module).values()
        if typing.is_typeddict(value) and value.__module__ == module.__name__
    }
    return own | {"StackWorkflow"}


def on_the_page(owner: str, name: str) -> bool:
    if owner in sections():
        return name in {row.name for row in rows()}
    of_functions = name in inputs()["RuntimeFunction"] and owner.endswith("Function")
    return ("Function" if of_functions else owner, name) in references(PAGE)


def test_given_a_numeric_input_of_a_component_then_it_is_on_the_page() -> None:
    numbers = [
        (owner, name) for owner, given in inputs().items() for name, kind in given.items() if is_number(kind)
    ]
    assert len(numbers) > 90
    assert [f"{owner}.{name}" for owner, name in numbers if not on_the_page(owner, name)] == []


def test_given_a_numeric_setting_then_it_is_on_the_page() -> None:
    numeric = {
        *(
            RUNTIME_VARIABLES[name]
            for name, kind in Settings.__annotations__.items()
            if kind in {"int", "float"}
        ),
        *(variable for variable, _, _ in SERVER_VARIABLES.values()),
    } - {"PORT"}
    assert sorted(variable for variable in numeric if f"`{variable}`" not in PAGE) == []


@pytest.mark.parametrize("name", ["deadline_s", "latency_target_s", "max_event_age_s"])
def test_given_a_time_limit_then_it_means_one_thing_everywhere(name: str) -> None:
    takers = {owner for owner, given in inputs().items() if name in given}
    takers |= {owner for owner in owners() if name in _fields(owner)}
    [row] = [row for row in rows() if row.name == name]
    told = {owner for owner, field in references(" ".join(row.cells.values())) if field == name}

    assert takers - sections() <= told


def texts() -> Iterator[tuple[str, str]]:
    listed = subprocess.run(["git", "ls-files", *ROOMS], cwd=ROOT, capture_output=True, text=True, check=True)
    for file in listed.stdout.splitlines():
        path = ROOT / file
        if file in HISTORY or not path.is_file():
            continue
        try:
            yield file, path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def test_given_a_text_then_it_uses_no_former_name() -> None:
    words = set(gone()) - COMMON_WORDS
    spelled = {word: rf"(?<![\w-]){word.replace('_', '[_-]')}(?![\w-])" for word in words}
    found = [
        f"{file}: {word} is {gone()[word]}"
        for file, text in texts()
        for word, pattern in sorted(spelled.items())
        if re.search(pattern, text)
    ]
    assert found == []


def declared(file: str, text: str) -> Iterator[str]:
    """Names that a source takes from outside: inputs, the fields of the planner's models, command-line options."""
    words = ("TypedDict", "BaseModel", "Args", *(["dataclass"] if file.startswith("planner/") else []))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef) and _is_one_of(node, words):
            yield from (
                item.target.id
                for item in node.body
                if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("--"):
            yield node.value.removeprefix("--").replace("-", "_")


def _is_one_of(node: ast.ClassDef, words: tuple[str, ...]) -> bool:
    said = " ".join([node.name, *(ast.dump(part) for part in [*node.bases, *node.decorator_list])])
    return any(word in said for word in words)


def test_given_an_input_or_option_then_it_has_no_former_name() -> None:
    found = [
        f"{file}: {name} is {gone()[name]}"
        for file, text in texts()
        if file.endswith(".py")
        for name in declared(file, text)
        if name in gone()
    ]
    assert found == []


def keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield str(key).rpartition(":")[2]
            yield from keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from keys(inner)


def test_given_a_stack_file_then_it_has_no_former_name() -> None:
    found = [
        f"{path.name}: {key} is {gone()[key]}"
        for path in sorted((ROOT / "stacks").glob("*.yaml"))
        for key in keys(yaml.safe_load(path.read_text())["config"])
        if key in gone()
    ]
    assert found == []


def test_given_a_former_name_then_it_leads_to_one_on_the_page() -> None:
    assert len(gone()) >= 15
    assert set(gone().values()) <= {row.name for row in rows()}


BRITISH = re.compile(
    r"\b(\w*(?:utilis|initialis|serialis|normalis|optimis|recognis|organis|authoris|summaris|synchronis)\w*"
    r"|\w*behaviours?\w*|\w*colours?\w*|neighbours?|artefacts?|analysed|catalogues?|favour\w*)\b",
    re.IGNORECASE,
)


@pytest.mark.parametrize("suffix", [".md", ".py"])
def test_given_a_text_then_it_is_spelled_as_in_america(suffix: str) -> None:
    found = {
        file: sorted(set(words))
        for file, text in texts()
        if file.endswith(suffix) and (words := BRITISH.findall(text))
    }
    assert found == {}
