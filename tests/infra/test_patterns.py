"""The map of the source document: every test, file and rule it names exists. Does not prove it complete."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "patterns.md").read_text(encoding="utf-8")


def test_given_a_test_that_the_map_names_when_looked_up_then_it_exists() -> None:
    named = re.findall(r"`([a-z_]+)::([a-z0-9_]+)`", PAGE)
    missing = []
    for name, words in named:
        files = list((ROOT / "tests").rglob(f"test_{name}.py"))
        tests = [t for f in files for t in re.findall(r"^def (test_\w+)", f.read_text(), re.MULTILINE)]
        if len(files) != 1 or not any(words in test for test in tests):
            missing.append(f"{name}::{words}")

    assert len(named) > 80
    assert missing == []


def test_given_a_component_or_rule_that_the_map_names_when_looked_up_then_it_exists() -> None:
    import keepwarm
    from keepwarm_policies.errors import CODES

    components = {w for w in re.findall(r"`([A-Z][A-Za-z]+)`", PAGE) if hasattr(keepwarm, w)}
    rules = set(re.findall(r"KW2\d\d", PAGE))

    assert {
        "ModelRegistry",
        "WarmPool",
        "BurstQueue",
        "Admission",
        "EffectLedger",
        "DurableWorkflow",
    } <= components
    assert rules == {code for code in CODES if code.startswith("KW20")}
