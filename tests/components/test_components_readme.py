"""Every Python snippet of the components' README runs as a program of its own.

Proved: that it declares resources without a refusal. Not proved: what the prose around it says.
"""

import re
from pathlib import Path

import pytest

import keepwarm
from keepwarm.__main__ import COMPONENTS
from tests.support.deployed import DEFAULT_VPC, deploy

README = (Path(keepwarm.__file__).parent.parent / "README.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("snippet", SNIPPETS, ids=range(len(SNIPPETS)))
def test_given_a_snippet_of_the_readme_when_run_then_it_declares_resources(snippet: str) -> None:
    seen = deploy(lambda: exec(compile(snippet, "README.md", "exec"), {}), lookups=DEFAULT_VPC)
    assert seen.names()


def test_given_the_readme_when_read_then_every_component_has_an_example() -> None:
    for name in COMPONENTS:
        assert any(re.search(rf"\b{name}\(", snippet) for snippet in SNIPPETS), name


GOLDEN = Path(__file__).parent / "golden"
WITH_ROLES = sorted(set(COMPONENTS) - {"ServerlessRuntime"})
"""The children of the whole stack are components themselves."""
SHARED = {
    "EffectLedger": ("DataBucket", "bucket", "claims"),
    "ModelRegistry": ("DataBucket", "bucket", "bucket"),
    "PreprocessingFunction": ("RuntimeFunction", "", ""),
}
"""Component -> whose roles it has too, and what their first word becomes."""


def roles_of(component: str) -> list[str]:
    """Patterns of the roles that the component's section names."""
    sections = re.split(r"^##+ ", README, flags=re.MULTILINE)
    (section,) = [text for text in sections if component in text.splitlines()[0].split()]
    return [re.sub(r"<[a-z]+>", ".+", words) for words in re.findall(r"`([a-z0-9<>-]+)`", section)]


@pytest.mark.parametrize("component", WITH_ROLES)
def test_given_a_child_of_a_component_when_looked_up_then_the_readme_names_its_role(component: str) -> None:
    patterns = roles_of(component)
    if component in SHARED:
        other, word, becomes = SHARED[component]
        patterns += [p.replace(word, becomes, 1) if word else p for p in roles_of(other)]
    names = [urn.rsplit("::", 1)[-1] for urn in (GOLDEN / f"urns_{component}.txt").read_text().split()]
    roles = {name.split("-", 1)[1] for name in names}
    assert sorted(r for r in roles if not any(re.fullmatch(p, r) for p in patterns)) == []
