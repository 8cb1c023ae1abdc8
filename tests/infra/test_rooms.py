"""Imports between rooms go one way. Reads the source; an import hidden in a string would escape it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = {
    "functions": set[str](),
    "components": set[str](),
    "bundling": set[str](),
    "planner": {"keepwarm_runtime", "keepwarm.limits"},
    "policies": {"keepwarm"},
    "localcloud": {"keepwarm_runtime", "keepwarm.limits"},
    "infra": {"keepwarm", "keepwarm_build", "keepwarm_planner", "keepwarm_runtime.models", "infra"},
    "cli": {
        "keepwarm",
        "keepwarm_runtime",
        "keepwarm_build",
        "keepwarm_planner",
        "keepwarm_policies",
        "keepwarm_localcloud",
        "infra",
    },
}
OWN = {
    "functions": "keepwarm_runtime",
    "components": "keepwarm",
    "bundling": "keepwarm_build",
    "planner": "keepwarm_planner",
    "policies": "keepwarm_policies",
    "localcloud": "keepwarm_localcloud",
    "infra": "infra",
    "cli": "keepwarm_cli",
}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module in {"keepwarm", "keepwarm_runtime"}:
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            else:
                yield node.module


def ours(module: str) -> bool:
    return module.split(".")[0] in OWN.values()


@pytest.mark.parametrize("room", ROOMS)
def test_given_a_room_then_it_imports_only_what_it_may(room: str) -> None:
    allowed = ROOMS[room] | {OWN[room]}
    strays = [
        f"{path.relative_to(ROOT)}: {module}"
        for path in sorted((ROOT / room).rglob("*.py"))
        if "build" not in path.parts
        for module in imports(path)
        if ours(module) and not any(module == a or module.startswith(f"{a}.") for a in allowed)
    ]

    assert strays == []


def test_given_the_phases_then_runtime_and_components_name_the_same_in_the_same_order() -> None:
    from keepwarm.phases import PHASES as watched
    from keepwarm_runtime.phases import PHASES as measured

    assert tuple(watched) == tuple(measured)
