"""The planner's pages: their examples print what they show and can be read, their map names files that exist."""

import contextlib
import io
import re
from dataclasses import fields
from pathlib import Path

import pytest

from keepwarm_planner.model import design_file
from keepwarm_planner.model.design import Design, System

ROOT = Path(__file__).parents[2]
README = (ROOT / "planner" / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", README, re.S)
MAP = re.search(r"\n## Map\n(.*?)\n## ", README, re.S)


@pytest.mark.parametrize("example", range(len(EXAMPLES)))
def test_given_an_example_then_it_prints_what_is_shown(example: int) -> None:
    code, shown = EXAMPLES[example]
    printed = io.StringIO()

    with contextlib.redirect_stdout(printed):
        exec(compile(code, f"README example {example + 1}", "exec"), {"__name__": "readme"})

    assert printed.getvalue() == shown


def test_given_the_readme_then_every_example_is_run() -> None:
    assert README.count("```python") == len(EXAMPLES) == 4


def test_given_the_map_then_it_names_every_module_and_no_other() -> None:
    assert MAP is not None
    package = ROOT / "planner" / "keepwarm_planner"
    table = MAP[1].split("\n\n")[1]
    found = {
        f"{folder.name}/{module.stem}"
        for folder in (package / "answers", package / "model", package / "traffic")
        for module in folder.glob("[a-z]*.py")
    }

    rows = re.findall(r"\| `(\w+)/` \| (.*) \|", table)
    named = {f"{folder}/{name}" for folder, text in rows for name in re.findall(r"`(\w+)`", text)}

    assert named - {"kernel/"} == found
    for path in re.findall(r"`((?:tests|data|keepwarm_runtime|\.\.)/[\w/.]+)`", MAP[1]):
        assert any((base / path).exists() for base in (ROOT, package, ROOT / "functions")), path


def test_given_the_page_then_its_design_file_is_one(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "planner.md").read_text(encoding="utf-8")
    shown = re.search(r"```yaml\n(.*?)```", page, re.S)
    keys = re.search(r"Further keys of a design: (.*?)\. Designs", page, re.S)
    assert shown is not None
    assert keys is not None
    (tmp_path / "designs.yaml").write_text(shown[1])

    loaded = design_file.load(tmp_path / "designs.yaml")

    assert [s.design.name for s in loaded.systems] == [
        "on demand",
        "pool",
        "office hours",
        "tracking",
        "documents",
    ]
    named = set(re.findall(r"`(\w+)", keys[1]))
    assert named <= {f.name for kind in (Design, System) for f in fields(kind)}
