"""What the page for contributors names exists, from paths to headings; and decisions are numbered.

Not proved: that a behavior is only in the file the page names.
"""

import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
CODE = re.findall(r"`([^`\n]+)`", PAGE)


def test_given_a_path_of_the_page_then_it_exists() -> None:
    shaped = re.compile(r"[\w.-]+(/[\w.-]+)*/?")
    paths = [
        word
        for text in CODE
        for word in text.split()
        if shaped.fullmatch(word) and ("/" in word or word.endswith((".md", ".py", ".sh")))
    ]
    ours = [
        path for path in paths if not path.startswith(("e2e/", "support/")) and path != "requirements.txt"
    ]

    assert len(ours) > 60
    assert sorted({path for path in ours if not (ROOT / path).exists()}) == []


def test_given_a_target_of_the_page_then_make_has_it() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {name for text in CODE for name in re.findall(r"^make ([a-z]+)", text)}

    assert {"check", "test", "golden", "build", "demo", "bench"} <= named
    assert named <= targets


def test_given_a_link_of_the_page_then_page_and_heading_exist() -> None:
    dead = [
        f"{page}#{heading}"
        for page, heading in re.findall(r"\]\(([^)#\s]+)(?:#([^)]+))?\)", PAGE)
        if not (ROOT / page).is_file() or (heading and heading not in headings(ROOT / page))
    ]
    assert dead == []


def headings(page: Path) -> set[str]:
    """Anchors as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_given_a_module_that_is_run_then_it_exists() -> None:
    modules = re.findall(r"python -m ([\w.]+)", PAGE)

    assert modules
    assert [name for name in modules if importlib.util.find_spec(name) is None] == []


def test_given_a_symbol_of_a_file_then_the_file_has_it() -> None:
    pairs = [
        ("PROGRAMS", "tests/support/samples.py"),
        ("RULES", "policies/keepwarm_policies/mistakes.py"),
        ("_policy", "policies/keepwarm_policies/mistakes.py"),
        ("FUNCTIONS", "infra/bundles.py"),
        ("FUNCTION_SECTIONS", "infra/example.py"),
        ("TOKENS", "localcloud/keepwarm_localcloud/pulumi_types/tokens.py"),
        ("OWN_USE", "localcloud/keepwarm_localcloud/pulumi_types/tokens.py"),
        ("TYPES", "localcloud/keepwarm_localcloud/pulumi_types/ssm.py"),
        ("_MODULES", "components/keepwarm/__init__.py"),
        ("ManualClock", "localcloud/keepwarm_localcloud/clockwork/clock.py"),
    ]
    for symbol, file in pairs:
        assert f"`{symbol}`" in PAGE
        assert re.search(rf"\b{symbol}\b", (ROOT / file).read_text(encoding="utf-8")), f"{file}: {symbol}"


def test_given_the_table_of_behaviors_then_it_is_worth_reading() -> None:
    table = PAGE.partition("## Where is ...?")[2].partition("\n## ")[0]

    assert table.count("\n| ") >= 30


def test_given_the_decisions_then_each_has_a_number_of_its_own() -> None:
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    numbers = [int(page.name.partition("-")[0]) for page in pages]
    titles = [page.read_text(encoding="utf-8").partition(".")[0] for page in pages]

    assert numbers == list(range(1, len(pages) + 1))
    assert titles == [f"# {number}" for number in numbers]
