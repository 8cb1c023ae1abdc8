"""Bad input of the command line: one coded line, exit 2, nothing started. Does not run the embedded cloud."""

import subprocess
import sys
from pathlib import Path

import pytest

from keepwarm_cli.documents import collect_documents
from keepwarm_cli.errors import CODES, CliError
from keepwarm_cli.project import find_project, stack_config
from tests.support.patience import PATIENCE_S


def keepwarm(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "keepwarm_cli", *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
        timeout=PATIENCE_S,
    )


def project(tmp_path: Path, stack_text: str = "config: {}\n") -> Path:
    (tmp_path / "stacks").mkdir()
    (tmp_path / "stacks" / "Pulumi.local.yaml").write_text(stack_text)
    (tmp_path / "Pulumi.yaml").write_text("name: keepwarm\n")
    return tmp_path


def test_given_a_missing_folder_when_running_then_one_line_and_exit_2(tmp_path: Path) -> None:
    done = keepwarm("local", "run", "--documents", str(tmp_path / "none"))

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"KW651 documents: got {tmp_path / 'none'}, which does not exist; allowed a folder with at least one file\n"
    )


def test_given_an_empty_folder_when_running_then_one_line_and_exit_2(tmp_path: Path) -> None:
    done = keepwarm("local", "run", "--documents", str(tmp_path))

    assert done.returncode == 2
    assert (
        done.stderr
        == f"KW651 documents: got {tmp_path}, which is empty; allowed a folder with at least one file\n"
    )


def test_given_an_output_folder_that_is_a_file_then_kw652(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "out").write_text("a file")
    done = keepwarm("local", "run", "--documents", str(tmp_path), "--out", str(tmp_path / "out"))

    assert done.returncode == 2
    assert (
        done.stderr
        == f"KW652 out: got {tmp_path / 'out'}, which can't be written (File exists); fix: choose another folder\n"
    )


def test_given_no_project_above_then_kw654(tmp_path: Path) -> None:
    with pytest.raises(CliError) as caught:
        find_project(tmp_path)
    assert str(caught.value) == (
        f"KW654 keepwarm: got {tmp_path.resolve()}, which is in no project; allowed a folder with Pulumi.yaml at or "
        "above; fix: go to your project's folder"
    )


def test_given_an_unknown_stack_then_the_known_ones_are_named(tmp_path: Path) -> None:
    root = project(tmp_path)

    with pytest.raises(CliError) as caught:
        stack_config(root, "prodd")
    assert str(caught.value) == (
        f"KW655 stack 'prodd': got no file Pulumi.prodd.yaml in {root / 'stacks'}; allowed local"
    )


@pytest.mark.parametrize("text", ["config: [1, 2]\n", "config: {a: b\n", "- 1\n", "config:\n  a: \x00\n"])
def test_given_a_stack_file_that_is_no_mapping_then_kw655(tmp_path: Path, text: str) -> None:
    root = project(tmp_path, text)

    with pytest.raises(CliError) as caught:
        stack_config(root, "local")
    assert str(caught.value).startswith("KW655 stack 'local': got Pulumi.local.yaml, which can't be read")
    assert "\n" not in str(caught.value)


def test_given_structures_in_a_stack_file_then_they_arrive_as_json_like_pulumi_gives_them(
    tmp_path: Path,
) -> None:
    root = project(tmp_path, "config:\n  keepwarm:queue: {batch_size: 1}\n  aws:region: eu-west-1\n")

    assert stack_config(root, "local") == {"keepwarm:queue": '{"batch_size": 1}', "aws:region": "eu-west-1"}


def test_given_truths_and_notes_beside_documents_then_only_documents_count(tmp_path: Path) -> None:
    for name in ("b.txt", "a.png", "a.png.truth.txt", "README.md", ".hidden"):
        (tmp_path / name).write_text("x")

    assert [p.name for p in collect_documents(tmp_path)] == ["a.png", "b.txt"]


def test_given_help_then_no_heavy_module_is_imported() -> None:
    probe = (
        "import sys; sys.argv = ['keepwarm', '--help']\n"
        "try:\n    from keepwarm_cli.__main__ import main; main()\nexcept SystemExit: pass\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)

    assert not {"pulumi", "boto3", "moto", "numpy", "pydantic"} & set(done.stderr.split())


def test_every_code_of_the_command_line_is_in_its_block() -> None:
    assert all("KW650" <= code <= "KW699" for code in CODES)
