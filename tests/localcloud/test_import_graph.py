"""The import graph: no circle inside the embedded cloud, and its folders depend in one direction.

Read from the source, imports for the type checker alone included: who needs another module to be understood depends on
it. An import hidden in a string escapes, such as those of `services/registry.py`, which is where services are listed.
"""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "localcloud"
PACKAGE = "keepwarm_localcloud"

BASE = {"errors", "journal", "owner", "package_by_digest", "ports", "processes", "request"}
"""Modules beside the folders that any folder of the cloud may use."""
MAY_USE = {
    "clockwork": set[str](),
    "moto": {"clockwork"},
    "iam": {"clockwork", "moto"},
    "services": {"clockwork", "iam", "moto"},
    "front": {"iam", "services"},
    "cloud": {"clockwork", "front", "iam", "moto", "services"},
    "__main__": {"cloud"},
    "pulumi_types": set[str](),
    "engine": {"pulumi_types"},
}
"""Folder or module -> what else of the embedded cloud it may import, `BASE` apart."""
SHARED_BY_SERVICES = {"context", "dispatch", "errors", "roles", "sdk_calls"}
"""Modules of `services/` that the folders in it may use; one service's folder never imports another's."""


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(source: str, modules: frozenset[str]) -> set[str]:
    """Modules of ours that a source imports; a name of a package counts as its module where there is one."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in modules else node.module for name in full}
    return found & modules


def graph() -> dict[str, set[str]]:
    paths = {name_of(p): p for p in sorted((ROOT / PACKAGE).rglob("*.py"))}
    modules = frozenset(paths)
    return {name: imports(p.read_text(encoding="utf-8"), modules) - {name} for name, p in paths.items()}


def circles(edges: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of modules that reach each other (Tarjan's strongly connected components, larger than one)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(edges[node]):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            at = stack.index(node)
            group = sorted(stack[at:])
            del stack[at:]
            if len(group) > 1:
                found.append(group)

    for node in sorted(edges):
        if node not in index:
            visit(node)
    return found


def arrows() -> Iterator[tuple[str, str]]:
    for name, others in graph().items():
        yield from ((name, other) for other in sorted(others))


def folder(module: str) -> str:
    return module.partition(".")[2].partition(".")[0]


def test_modules_form_no_circle() -> None:
    assert circles(graph()) == []


@pytest.mark.parametrize(
    ("edges", "expected"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}, [["a", "b", "c"]]),
        ({"a": {"b"}, "b": {"a"}, "c": {"d"}, "d": {"c"}}, [["a", "b"], ["c", "d"]]),
    ],
)
def test_given_edges_then_circles_are_found(edges: dict[str, set[str]], expected: list[list[str]]) -> None:
    assert circles(edges) == expected


def test_given_an_import_for_the_type_checker_then_it_counts() -> None:
    source = f"if TYPE_CHECKING:\n    from {PACKAGE}.cloud import Cloud\n"
    assert imports(source, frozenset({f"{PACKAGE}.cloud"})) == {f"{PACKAGE}.cloud"}


def test_folders_import_in_one_direction() -> None:
    strays = [
        f"{name} -> {other}"
        for name, other in arrows()
        if folder(name) in MAY_USE and folder(other) not in MAY_USE[folder(name)] | BASE | {folder(name), ""}
    ]
    assert strays == []


def test_base_modules_import_no_folder_but_the_clock() -> None:
    strays = [
        f"{name} -> {other}"
        for name, other in arrows()
        if folder(name) in BASE and folder(other) not in BASE | {"clockwork"}
    ]
    assert strays == []


def test_every_folder_has_its_place_in_the_order() -> None:
    assert {folder(name) for name in graph()} - {""} == set(MAY_USE) | BASE | {"guardian"}


def test_services_do_not_import_each_other() -> None:
    strays = []
    for name, other in arrows():
        parts, others = name.split("."), other.split(".")
        if parts[1:2] != ["services"] or others[1:2] != ["services"] or len(parts) < 3 or len(others) < 3:
            continue
        mine, theirs = parts[2], others[2]
        composes = mine in {"context", "registry"}
        if mine != theirs and theirs not in SHARED_BY_SERVICES and not composes:
            strays.append(f"{name} -> {other}")
    assert strays == []
