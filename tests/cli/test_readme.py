"""What the front page says, held against what is there: its program, its commands, its links.

Proves: the program declares resources under the component harness, in fewer than twenty lines; every command and target
exists; no link is dead. Does not prove that prose is true.
"""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.deployed import deploy

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("*/README.md"))]


def test_given_the_program_of_the_readme_when_run_then_it_declares_a_warm_pool_on_the_alias(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, handler = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (tmp_path / "classify").mkdir()
    (tmp_path / "classify" / "handler.py").write_text(handler)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    seen = deploy(lambda: exec(compile(program, "README.md", "exec"), {}))

    [source] = [r.inputs for r in seen.resources if r.typ.endswith("EventSourceMapping")]
    targets = [r.inputs for r in seen.resources if r.typ.endswith("appautoscaling/target:Target")]
    notified = [r for r in seen.resources if r.typ.endswith("BucketNotification")]
    assert source["functionName"].endswith(":live")
    assert [t["resourceId"].rpartition(":")[2] for t in targets] == ["live"]
    assert len(notified) == 1
    assert len([line for line in program.splitlines() if line.strip()]) < 20


def test_given_the_targets_that_pages_name_when_looked_up_then_make_has_them() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {word for page in PAGES for word in re.findall(r"^make ([a-z]+)", page.read_text(), re.MULTILINE)}

    assert {"demo", "test"} <= named
    assert named <= targets
    assert {"demo", "test", "check", "bench", "build"} <= targets


@pytest.mark.parametrize(
    "words", [["local", "run"], ["local", "up"], ["pulumi"], ["model", "publish"], ["plan", "size"]]
)
def test_given_a_command_of_the_readme_when_asked_for_help_then_it_exists(words: list[str]) -> None:
    assert f"`{' '.join(words)}" in README
    done: Any = subprocess.run(
        [sys.executable, "-m", "keepwarm_cli", *words, "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_given_a_page_when_its_links_are_followed_then_each_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    dead = [link for link in links if "://" not in link and not (page.parent / link).exists()]

    assert dead == []
