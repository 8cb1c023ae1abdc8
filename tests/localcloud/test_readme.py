"""The README of the embedded cloud: its map is complete, every file it names exists, and its example runs."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "localcloud" / "README.md").read_text(encoding="utf-8")
PACKAGE = ROOT / "localcloud" / "keepwarm_localcloud"
SHARED_WITH_ENGINE = "package_by_digest.py"


def section(title: str) -> str:
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("| ")
    ][1:]


def test_map_names_every_folder_and_module() -> None:
    named = {name for row in rows(section("Map")) for name in re.findall(r"`([^`]+)`", row[0])}
    present = {
        f"{p.name}/" if p.is_dir() else p.name
        for p in PACKAGE.iterdir()
        if (p.is_dir() and (p / "__init__.py").exists()) or p.suffix == ".py"
    }

    assert present - named == {"__init__.py", SHARED_WITH_ENGINE}
    assert named - present == set()


def test_every_path_it_names_exists() -> None:
    inside = re.findall(r"(?:front|iam|moto|services|clockwork|engine)/[\w/]+\.py", README)
    outside = [
        path
        for path in re.findall(r"\.\./docs/[\w-]+\.md|tests/localcloud/\w+\.py", README)
        if "_<" not in path
    ]

    assert len(inside) > 20
    assert [p for p in inside if not (PACKAGE / p).exists()] == []
    assert [p for p in outside if not (ROOT / p.removeprefix("../")).exists()] == []


def test_example_runs() -> None:
    code = section("Run it alone").partition("```python\n")[2].partition("```")[0]
    # Another account than the other tests' clouds in this process.
    code = code.replace("CloudSettings(", 'CloudSettings(account_id="123456789077", ')

    exec(compile(code, "README.md", "exec"), {})
