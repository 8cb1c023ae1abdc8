"""Packages kept between clouds: used when intact, unzipped again when not, never shared half-made."""

import io
import os
import threading
import time
import zipfile
from pathlib import Path

import pytest

from keepwarm_localcloud.services.lambda_ import code
from keepwarm_localcloud.services.lambda_.code import CACHE_DAYS, CodeStore


def package(text: str = "answer = 42\n") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as opened:
        opened.writestr("python/", "")
        opened.writestr("python/handler.py", text)
    return out.getvalue()


@pytest.fixture
def extracted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    seen: list[str] = []
    real = code._extract

    def counting(opened: zipfile.ZipFile, info: zipfile.ZipInfo, root: Path) -> None:
        seen.append(info.filename)
        real(opened, info, root)

    monkeypatch.setattr(code, "_extract", counting)
    return seen


def test_given_a_kept_package_when_another_cloud_adds_it_then_it_is_not_unzipped_again(
    tmp_path: Path, extracted: list[str]
) -> None:
    first = CodeStore(tmp_path / "a", tmp_path / "cache").add(package())
    count = len(extracted)
    second = CodeStore(tmp_path / "b", tmp_path / "cache").add(package())

    assert first.directory == second.directory
    assert len(extracted) == count == 2
    assert (second.directory / "python" / "handler.py").read_text() == "answer = 42\n"
    assert second.archive.read_bytes() == package()


@pytest.mark.parametrize("damage", ["changed", "longer", "missing"])
def test_given_a_damaged_kept_package_when_added_then_it_is_unzipped_again(
    tmp_path: Path, damage: str
) -> None:
    kept = CodeStore(tmp_path / "a", tmp_path / "cache").add(package()).directory / "python" / "handler.py"
    kept.chmod(0o644)
    if damage == "missing":
        kept.unlink()
    else:
        kept.write_text("answer = 41\n" if damage == "changed" else "answer = 42\nmore = 1\n")
    again = CodeStore(tmp_path / "b", tmp_path / "cache").add(package())

    assert (again.directory / "python" / "handler.py").read_text() == "answer = 42\n"
    assert [p.name for p in (tmp_path / "cache").iterdir()] == [again.directory.name]


def test_given_two_clouds_at_once_when_they_add_the_same_package_then_both_have_it(tmp_path: Path) -> None:
    stores = [CodeStore(tmp_path / str(n), tmp_path / "cache") for n in range(4)]
    start = threading.Barrier(len(stores))
    found: list[str] = []

    def add(store: CodeStore) -> None:
        start.wait()
        found.append((store.add(package()).directory / "python" / "handler.py").read_text())

    threads = [threading.Thread(target=add, args=(s,)) for s in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == ["answer = 42\n"] * len(stores)
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_given_packages_nobody_used_when_a_cloud_starts_then_only_they_are_removed(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    old = CodeStore(tmp_path / "a", cache).add(package("old = 1\n")).directory
    new = CodeStore(tmp_path / "a", cache).add(package("new = 1\n")).directory
    past = time.time() - (CACHE_DAYS + 1) * 86_400
    os.utime(old, (past, past))
    CodeStore(tmp_path / "b", cache)

    assert (old.exists(), new.exists()) == (False, True)


def test_given_no_cache_then_nothing_outlives_the_cloud(tmp_path: Path) -> None:
    assert CodeStore(tmp_path / "a").add(package()).directory.is_relative_to(tmp_path / "a")
