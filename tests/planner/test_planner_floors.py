"""Imports inside the planner go one way: errors, files, assumptions, prices, cost, kernel, traffic, model, answers.

Reads the source, imports for type checking included; an import hidden in a string would escape it.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "planner"
FLOORS = ("errors", "yaml_file", "assumed", "prices", "cost", "kernel", "traffic", "model", "answers")
"""Ground first: a floor may import itself and those before it."""


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "keepwarm_planner":
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("floor", FLOORS)
def test_given_a_floor_then_it_imports_none_above_it(floor: str) -> None:
    home = ROOT / "keepwarm_planner" / floor
    files = sorted(home.rglob("*.py")) if home.is_dir() else [home.with_suffix(".py")]
    above = FLOORS[FLOORS.index(floor) + 1 :]

    assert [
        f"{path.relative_to(ROOT)}: {module}"
        for path in files
        for module in imports(path)
        if module.startswith("keepwarm_planner.") and module.split(".")[1] in above
    ] == []


def test_given_the_planner_then_every_module_has_a_floor() -> None:
    package = ROOT / "keepwarm_planner"

    found = {p.relative_to(package).parts[0].removesuffix(".py") for p in package.rglob("*.py")}

    assert found - {"__init__"} == set(FLOORS)
