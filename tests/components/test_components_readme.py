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
