"""The same input gives the same bytes, wherever, whenever and by whomever it is built; a second build does nothing.

Does not prove that another zlib or another interpreter gives the same bytes.
"""

import hashlib
import importlib.util
import os
import shutil
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from keepwarm_build import Bundle, bundle, bundles, bytecode, kept, zips
from keepwarm_build.platform import Platform

PINNED = "demo==1.0 --hash=sha256:" + "0" * 64 + "\n"


def digests(built: Bundle) -> list[str]:
    return [
        hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (built.path, *(x.path for x in built.layers))
    ]


def test_same_sources_elsewhere_later_with_another_umask_are_the_same_bytes(
    folder: Path, tmp_path: Path, fake_uv: Callable[[str], Path]
) -> None:
    (folder / "requirements.txt").write_text(PINNED)
    fake_uv(
        'mkdir "$site/demo"; echo "A = 1" > "$site/demo/__init__.py"; date +%N > "$site/uv.log"; rm "$site/uv.log"'
    )
    first = bundle(folder, cache=tmp_path / "one")

    copy = tmp_path / "other" / "deeper" / "function"
    shutil.copytree(folder, copy)
    for path in copy.rglob("*.py"):
        os.utime(path, (1, 1))
        path.chmod(0o600)
    before = os.umask(0o077)
    try:
        second = bundle(copy, cache=tmp_path / "two")
    finally:
        os.umask(before)

    assert digests(first) == digests(second)
    assert digests(first) == [first.sha256, first.layers[0].sha256]
    assert first.path != second.path


def test_files_created_in_another_order_are_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    twin = tmp_path / "twin" / "function"
    twin.mkdir(parents=True)
    for path in sorted(folder.iterdir(), reverse=True):
        shutil.copyfile(path, twin / path.name)

    assert bundle(folder, cache=tmp_path / "one").sha256 == bundle(twin, cache=tmp_path / "two").sha256


def test_zip_has_sorted_names_one_time_plain_modes_and_bytecode(folder: Path, cache: Path) -> None:
    (folder / "tool.sh").write_text("#!/bin/sh\n")
    (folder / "tool.sh").chmod(0o700)
    built = bundle(folder, cache=cache)
    tag = sys.implementation.cache_tag

    with zipfile.ZipFile(built.path) as archive:
        entries = archive.infolist()
        assert archive.testzip() is None
        head = archive.read(f"__pycache__/handler.{tag}.pyc")[:8]

    names = [entry.filename for entry in entries]
    assert names == sorted(names)
    assert {"handler.py", "words.py", "keepwarm_runtime/__init__.py", "keepwarm_runtime/py.typed"} < set(
        names
    )
    assert {entry.date_time for entry in entries} == {zips.EPOCH}
    modes = {entry.filename: stat.S_IMODE(entry.external_attr >> 16) for entry in entries}
    assert modes.pop("tool.sh") == 0o755
    assert set(modes.values()) == {0o644}
    # Bit 0: by hash, bit 1: check the source. Unchecked, as the folder on Lambda is read-only (PEP 552).
    assert (head[:4], int.from_bytes(head[4:], "little")) == (importlib.util.MAGIC_NUMBER, 1)
    assert built.unzipped_bytes == sum(entry.file_size for entry in entries)
    assert built.size_bytes == built.path.stat().st_size


def test_what_does_not_belong_to_the_function_stays_out(folder: Path, cache: Path) -> None:
    for name in (
        ".env",
        ".git/config",
        "__pycache__/words.pyc",
        "stale.pyc",
        "requirements.in",
        "requirements-dev.txt",
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("")
    (folder / "data").mkdir()
    (folder / "data" / "requirements.txt").write_text("a file of the function's own")

    with zipfile.ZipFile(bundle(folder, cache=cache).path) as archive:
        own = [n for n in archive.namelist() if not n.startswith(("keepwarm_runtime/", "__pycache__/"))]

    assert own == ["data/requirements.txt", "handler.py", "words.py"]


def test_second_build_runs_nothing(
    folder: Path, cache: Path, fake_uv: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "requirements.txt").write_text(PINNED)
    fake_uv('echo "A = 1" > "$site/demo.py"')
    first = bundle(folder, cache=cache)
    made = {path: path.stat().st_mtime_ns for path in cache.rglob("*")}
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("nothing has to be run"))

    assert bundle(folder, cache=cache) == first
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*")} == made


def test_changed_source_gives_another_bundle_and_keeps_the_layer(
    folder: Path, cache: Path, fake_uv: Callable[[str], Path]
) -> None:
    (folder / "requirements.txt").write_text(PINNED)
    fake_uv('echo "A = 1" > "$site/demo.py"')
    before = bundle(folder, cache=cache)
    (folder / "words.py").write_text("ONE = 2\n")
    after = bundle(folder, cache=cache)

    assert before.sha256 != after.sha256
    assert before.path.is_file()
    assert before.layers == after.layers


def test_kept_zip_that_was_cut_is_made_anew(folder: Path, cache: Path) -> None:
    first = bundle(folder, cache=cache)
    first.path.write_bytes(first.path.read_bytes()[:-10])

    assert digests(bundle(folder, cache=cache)) == [first.sha256]


def test_python_that_is_not_here_gives_a_bundle_without_bytecode(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundles, "compiler", lambda python: None)
    built = bundle(folder, runtime="python3.14", cache=cache)

    with zipfile.ZipFile(built.path) as archive:
        assert not [name for name in archive.namelist() if name.endswith(".pyc")]
    assert (built.bytecode, built.runtime) == (False, "python3.14")


def test_interpreter_of_another_version_is_never_taken(fake_uv: Callable[[str], Path]) -> None:
    bytecode.compiler.cache_clear()
    fake_uv(f'echo "{sys.executable}"')
    assert bytecode.compiler("3.99") is None
    assert bytecode.compiler(f"3.{sys.version_info.minor}") == sys.executable
    bytecode.compiler.cache_clear()


def test_cache_is_the_users_unless_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert kept.default_cache() == Path("/home/somebody/.cache/keepwarm/build")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert kept.default_cache() == Path("/caches/keepwarm/build")


@pytest.mark.parametrize(
    ("target", "architecture", "runtime", "expected"),
    [
        ("lambda", None, "python3.12", ("x86_64-manylinux_2_28", "3.12", "x86_64")),
        ("lambda", "arm64", "python3.13", ("aarch64-manylinux_2_28", "3.13", "arm64")),
        ("lambda", "x86_64", "python3.11", ("x86_64-manylinux_2_17", "3.11", "x86_64")),
    ],
)
def test_platform_is_what_lambda_runs(
    target: str, architecture: str | None, runtime: str, expected: tuple[str, str, str]
) -> None:
    assert Platform.of(target, architecture, runtime) == Platform(*expected)  # type: ignore[arg-type]
