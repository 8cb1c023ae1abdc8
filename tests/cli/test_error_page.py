"""The page of error codes is the code's. Does not prove that each code is raised; the rooms' tests do."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_given_the_code_when_the_page_is_written_then_it_is_the_committed_one() -> None:
    spec = importlib.util.spec_from_file_location("error_page", ROOT / "tools" / "error_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    assert (ROOT / "docs" / "errors.md").read_text(encoding="utf-8") == module.page(), (
        "run: python tools/error_page.py"
    )
