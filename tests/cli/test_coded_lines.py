"""One formatter writes every coded line of the command, and a code is never printed twice.

Proves it for what the formatter is given and, by reading the source, that nobody formats such a line by hand. Does not
prove what other rooms write.
"""

import ast
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from keepwarm_cli import errors, local_run
from keepwarm_cli.errors import CODES, CliError, Told, coded_line, with_code
from keepwarm_cli.report_html import render

CLI = Path(errors.__file__).parent


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"got": "x", "allowed": "y", "because": "z", "fix": "w"}, "got x; allowed y; because z; fix: w"),
        ({"got": "x"}, "got x"),
        ({"problem": "does not exist", "fix": "make it"}, "does not exist; fix: make it"),
    ],
)
def test_given_facts_when_formatted_then_in_the_order_of_the_contract(
    facts: dict[str, str], said: str
) -> None:
    assert coded_line("KW651", "documents", **facts) == f"KW651 documents: {said}"
    assert str(CliError("KW651", "documents", **facts)) == f"KW651 documents: {said}"


@pytest.mark.parametrize("text", ["KW320 service ocr: got 1", "service ocr: got 1"])
def test_given_a_text_with_or_without_its_code_then_the_code_stands_there_once(text: str) -> None:
    assert with_code("KW320", text) == "KW320 service ocr: got 1"
    assert str(Told("KW320", text)) == "KW320 service ocr: got 1"
    assert with_code(None, text) == text


DOCUMENT = {
    "name": "a.png", "outcome": "failed", "code": "KW320", "reason": "KW320 service ocr: got no answer",
    "about_the_document": False,
}  # fmt: skip
SUMMARY = dict.fromkeys(
    (
        "documents",
        "succeeded",
        "effects",
        "duplicates",
        "cold_starts",
        "provisioned_hits",
        "repeated_effects",
    ),
    0,
)


def test_given_a_reason_that_has_its_code_when_concluded_then_terminal_and_page_show_it_once(
    tmp_path: Path,
) -> None:
    said = io.StringIO()
    report: dict[str, Any] = {"summary": SUMMARY, "documents": [DOCUMENT], "journal": []}
    options = local_run.RunOptions(documents=tmp_path, out=tmp_path)
    local_run._conclude(report, [], options, Console(file=said, width=200), local_run.Times())
    assert said.getvalue().startswith("a.png: KW320 service ocr: got no answer\n")
    page = render(json.loads((tmp_path / "report.json").read_text()))
    assert page.count("KW320") == 1


def test_given_the_source_then_no_coded_line_is_formatted_by_hand() -> None:
    by_hand = [
        f"{path.name}:{node.lineno}: {node.value}"
        for path in sorted(CLI.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.match(r"KW\d{3}\s", node.value)
        if node.value.strip() not in CODES
    ]
    assert by_hand == []
