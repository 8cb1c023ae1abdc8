"""A function that builds in milliseconds, and a stand-in for uv."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A function of two modules."""
    made = tmp_path / "function"
    made.mkdir()
    (made / "handler.py").write_text("import words\n\n\ndef handler(event, context):\n    return words.ONE\n")
    (made / "words.py").write_text("ONE = 1\n")
    return made


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Where results of this test are kept."""
    return tmp_path / "cache"


@pytest.fixture
def fake_uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Puts a script in the place of uv. Within it, `$site` is the folder to install into."""

    def install(script: str) -> Path:
        place = tmp_path / "bin"
        place.mkdir(exist_ok=True)
        tool = place / "uv"
        find = 'while [ $# -gt 1 ] && [ "$1" != "--target" ]; do shift; done; site="$2"'
        tool.write_text(f"#!/bin/sh\n{find}\n{script}\n")
        tool.chmod(0o755)
        monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")
        return tool

    return install
