"""The command for programs in other languages: zips under plain names, whole or not at all, and the size ledger."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from keepwarm_build.__main__ import main

PINNED = "demo==1.0 --hash=sha256:" + "0" * 64 + "\n"


def test_zips_have_plain_names_and_the_ledger_is_printed(
    folder: Path,
    cache: Path,
    tmp_path: Path,
    fake_uv: Callable[[str], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    (folder / "requirements.txt").write_text(PINNED)
    fake_uv('echo "A = 1" > "$site/demo.py"')
    out = tmp_path / "out"
    command = [str(folder), "--out", str(out), "--cache", str(cache), "--runtime", "python3.12"]

    assert main(command) == 0
    assert sorted(path.name for path in out.iterdir()) == ["function-dependencies.zip", "function.zip"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "function     code zip layer zip  unzipped  of 250 MB   (MB)"
    assert lines[1].startswith("function  ")

    assert main([*command, "--json"]) == 0
    row = json.loads(capsys.readouterr().out)["functions"]["function"]
    assert row["zip_bytes"] == (out / "function.zip").stat().st_size
    assert row["layer_zip_bytes"] == (out / "function-dependencies.zip").stat().st_size


def test_refusal_is_one_line_and_status_1(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "nowhere"), "--cache", str(cache)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("KW197 bundle 'nowhere' folder: got ")
    assert printed.err.count("\n") == 1


def test_folder_that_can_not_be_written_is_refused(
    folder: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text("in the way")
    assert main([str(folder), "--out", str(tmp_path / "out"), "--cache", str(cache)]) == 1
    assert capsys.readouterr().err == (
        f"KW196 {tmp_path}/out: got File exists; allowed a folder that can be written; because the zips are copied "
        "there; fix: free space, or name another folder with --out\n"
    )
