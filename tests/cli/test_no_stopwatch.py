"""No test fails because the machine is slow: nothing in tests/ asserts that something took less than some seconds.

Proves it for clocks that are read in the test itself. Does not see a clock that a helper reads, nor a time limit of
another program.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
CLOCKS = {"perf_counter", "monotonic", "process_time", "thread_time"}
WAITS = TESTS / "support" / "patience.py"


def reads_clock(node: ast.AST, tainted: set[str]) -> bool:
    return any(
        (isinstance(n, ast.Attribute) and n.attr in CLOCKS) or (isinstance(n, ast.Name) and n.id in tainted)
        for n in ast.walk(node)
    )


def stopwatches(source: str) -> Iterator[int]:
    """Lines that assert an upper bound of an elapsed time."""
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.FunctionDef):
            continue
        tainted: set[str] = set()
        for node in ast.walk(function):
            if isinstance(node, ast.Assign) and reads_clock(node.value, tainted):
                tainted |= {
                    n.id for target in node.targets for n in ast.walk(target) if isinstance(n, ast.Name)
                }
        for node in ast.walk(function):
            if isinstance(node, ast.Assert):
                for compare in (c for c in ast.walk(node.test) if isinstance(c, ast.Compare)):
                    sides = [compare.left, *compare.comparators]
                    for left, op, right in zip(sides, compare.ops, sides[1:], strict=False):
                        below = left if isinstance(op, ast.Lt | ast.LtE) else right
                        if not isinstance(op, ast.Eq | ast.NotEq) and reads_clock(below, tainted):
                            yield node.lineno


def test_given_every_test_then_none_asserts_that_something_was_fast() -> None:
    found = [
        f"{path.relative_to(TESTS)}:{line}"
        for path in sorted(TESTS.rglob("*.py"))
        if path != WAITS
        for line in stopwatches(path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("def t():\n    began = time.monotonic()\n    assert time.monotonic() - began < 5\n", [3]),
        ("def t():\n    took = time.perf_counter() - began\n    assert took <= 5\n", [3]),
        ("def t():\n    assert 1 < time.process_time() < 5\n", [2]),
        ("def t():\n    began = time.monotonic()\n    assert 1 < time.monotonic() - began\n", []),
    ],
)
def test_given_an_assertion_then_only_an_upper_bound_is_found(source: str, lines: list[int]) -> None:
    assert list(stopwatches(source)) == lines
