"""What can't be built is refused in one coded line, before anything is kept.

uv is real where its own words matter, and a script where only its failing does.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from keepwarm import limits
from keepwarm_build import CODES, Archive, Bundle, BundleError, bundle, ledger, sources
from keepwarm_build.wheels import pin_of

HASH = "--hash=sha256:" + "0" * 64
PINNED = f"demo==1.0 {HASH}\n"


def refused(folder: Path, cache: Path, **options: Any) -> str:
    with pytest.raises(BundleError) as raised:
        bundle(folder, cache=cache, **options)
    text = str(raised.value)
    assert text.startswith(f"{raised.value.code} ")
    assert raised.value.code in CODES
    assert "\n" not in text
    return text


def kept_results(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.glob("*/*") if path.is_dir())


def test_missing_folder(tmp_path: Path, cache: Path) -> None:
    assert refused(tmp_path / "nowhere", cache) == (
        f"KW197 bundle 'nowhere' folder: got {tmp_path}/nowhere, which is missing; allowed a folder with the "
        "function's sources; because it is what Lambda runs; fix: create it, or name the right folder; a relative "
        "path starts at the current directory"
    )
    assert not cache.exists()


def test_file_instead_of_a_folder(folder: Path, cache: Path) -> None:
    assert "handler.py, which is no folder; allowed" in refused(folder / "handler.py", cache, name="one")


def test_no_handler_module(folder: Path, cache: Path) -> None:
    (folder / "handler.py").unlink()
    assert refused(folder, cache) == (
        "KW197 bundle 'function' handler: got 'handler.handler' and no handler.py; allowed module.function of a "
        "module in the folder; because Lambda imports it to start the function; fix: write handler.py with that "
        "function, or name another handler"
    )
    assert not cache.exists()


def test_no_handler_function(folder: Path, cache: Path) -> None:
    (folder / "handler.py").write_text("def handle(event, context): ...\n")
    assert refused(folder, cache) == (
        "KW197 bundle 'function' handler: got 'handler.handler' and no handler in handler.py; allowed "
        "module.function that the module defines; because Lambda calls it for every event; fix: define handler in "
        "handler.py, or name another handler"
    )
    assert bundle(folder, handler="handler.handle", cache=cache).handler == "handler.handle"


@pytest.mark.parametrize("handler", ["handler", "", ".handler", "handler.", "handler.1st", "../x.handler"])
def test_handler_that_names_no_function(folder: Path, cache: Path, handler: str) -> None:
    assert refused(folder, cache, handler=handler).startswith("KW197 bundle 'function' handler: got ")


@pytest.mark.parametrize(
    "text",
    [
        "from words import ONE as handler\n",
        "from words import *\n",
        "handler = lambda event, context: None\n",
        "try:\n    import fast as handler\nexcept ImportError:\n    def handler(event, context): ...\n",
        "handler: object = print\n",
        "class handler:\n    def __call__(self, event, context): ...\n",
    ],
)
def test_handler_may_be_any_name_that_the_module_binds(folder: Path, cache: Path, text: str) -> None:
    (folder / "handler.py").write_text(text)
    assert bundle(folder, cache=cache).path.is_file()


def test_handler_in_a_package(folder: Path, cache: Path) -> None:
    (folder / "app").mkdir()
    (folder / "app" / "__init__.py").write_text("")
    (folder / "app" / "entry.py").write_text("def run(event, context): ...\n")
    assert bundle(folder, handler="app.entry.run", cache=cache).handler == "app.entry.run"
    assert bundle(folder, handler="app/entry.run", cache=cache).handler == "app/entry.run"


def test_handler_module_that_is_not_python(folder: Path, cache: Path) -> None:
    (folder / "handler.py").write_text("\ndef handler(:\n")
    assert "got handler.py line 2: invalid syntax; allowed valid Python" in refused(folder, cache)


def test_link_that_leaves_the_folder(folder: Path, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("not yours")
    (folder / "notes.txt").symlink_to(tmp_path / "secret.txt")
    assert refused(folder, cache) == (
        f"KW197 bundle 'function' file: got notes.txt, a link to {tmp_path}/secret.txt, outside the folder; "
        "allowed links to files inside the folder; because the bundle holds what the folder holds, on every "
        "machine; fix: copy the file into the folder, or name its folder in `include`"
    )


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("..", "shared, a link to "),
        ("nothing", "shared, a link that leads nowhere"),
        ("shared", "shared, a link that leads nowhere"),
        (".", "shared, a link to a folder that it is in"),
    ],
)
def test_link_that_can_not_be_followed(folder: Path, cache: Path, target: str, text: str) -> None:
    (folder / "shared").symlink_to(target)
    assert text in refused(folder, cache)


def test_link_inside_the_folder_is_followed(folder: Path, cache: Path) -> None:
    (folder / "again.py").symlink_to("words.py")
    (folder / "lib").mkdir()
    (folder / "lib" / "one.txt").write_text("1")
    (folder / "same").symlink_to("lib")
    found = sources.collect(folder, "test")
    assert found["again.py"] == found["words.py"]
    assert found["same/one.txt"] == found["lib/one.txt"]
    assert bundle(folder, cache=cache).path.is_file()


@pytest.mark.parametrize("name", ["keepwarm_runtime.py", "keepwarm_runtime/__init__.py"])
def test_name_of_the_library(folder: Path, cache: Path, name: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("")
    assert refused(folder, cache) == (
        f"KW197 bundle 'function' file: got {name}; allowed any name but keepwarm_runtime; because the bundle "
        "carries the library of that name; fix: rename it; the library itself needn't be copied"
    )


def test_library_among_the_requirements(folder: Path, cache: Path) -> None:
    (folder / "requirements.txt").write_text(f"Keepwarm_Runtime==0.1.0 \\\n    {HASH}\n")
    assert refused(folder, cache) == (
        "KW197 bundle 'function' requirements.txt: got keepwarm-runtime; allowed packages that the bundle does not "
        "carry itself; because the code's copy would hide the layer's; fix: remove the line; the installed "
        "keepwarm-runtime is in every bundle"
    )


def test_library_that_is_not_installed(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "LIBRARY", "keepwarm_runtime_of_nobody")
    assert refused(folder, cache) == (
        "KW199 keepwarm-runtime: got no such package; allowed an installed keepwarm-runtime; because its sources "
        "go into every bundle; fix: pip install keepwarm-runtime in the environment that runs this program"
    )


def test_two_folders_with_the_same_file(folder: Path, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "common").mkdir()
    (tmp_path / "common" / "words.py").write_text("ONE = 3\n")
    text = refused(folder, cache, include=[tmp_path / "common"])
    assert f"got words.py in {folder} and in {tmp_path}/common; allowed each path once" in text


@pytest.mark.parametrize(
    "line",
    ["pydantic>=2", "pydantic==2.0", f"-r other.txt {HASH}", "-e .", "./wheel.whl", f"pydantic=={HASH}"],
)
def test_requirement_without_pin(folder: Path, cache: Path, line: str) -> None:
    (folder / "requirements.txt").write_text(f"# comment\n--index-url https://pypi.org/simple\n{line}\n")
    assert refused(folder, cache) == (
        f"KW198 bundle 'function' requirements.txt: got {line!r}; allowed lines of the form name==version "
        "--hash=sha256:...; because what isn't pinned may be another package tomorrow; fix: uv pip compile "
        "--generate-hashes requirements.in -o requirements.txt"
    )


def test_requirements_file_that_is_missing(folder: Path, cache: Path, tmp_path: Path) -> None:
    text = refused(folder, cache, requirements=tmp_path / "locked.txt")
    assert text.startswith(
        f"KW197 bundle 'function' requirements: got {tmp_path}/locked.txt, which is missing;"
    )


def test_requirements_file_of_comments_makes_no_layer(folder: Path, cache: Path) -> None:
    (folder / "requirements.txt").write_text("# nothing yet\n\n")
    assert bundle(folder, cache=cache).layers == ()


@pytest.mark.parametrize("name", ["", "my function", "a.b", "x" * 65])
def test_name_that_no_layer_can_have(folder: Path, cache: Path, name: str) -> None:
    assert refused(folder, cache, name=name) == (
        f"KW197 bundle name: got {name!r}; allowed 1 to 64 letters, digits, - and _; because files and layers are "
        "named after it; fix: pass `name`, or rename the folder"
    )


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"architecture": "mips"}, "KW190 architecture: got 'mips'; allowed x86_64, arm64 or host;"),
        ({"runtime": "python2.7"}, "KW190 runtime: got 'python2.7'; allowed python3.11 to python3.14;"),
        ({"runtime": "nodejs22.x"}, "KW190 runtime: got 'nodejs22.x'; allowed python3.11 to python3.14;"),
        ({"runtime": "python3.110"}, "KW190 runtime: got 'python3.110'; allowed python3.11 to python3.14;"),
        ({"target": "aws"}, "KW190 target: got 'aws'; allowed lambda or host;"),
    ],
)
def test_target_that_does_not_exist(folder: Path, cache: Path, options: dict[str, Any], text: str) -> None:
    assert refused(folder, cache, **options).startswith(text)


def test_file_name_that_no_zip_can_carry(folder: Path, cache: Path) -> None:
    (folder / "a\nb.txt").write_text("")
    assert "got 'a\\nb.txt'; allowed names of printable characters" in refused(folder, cache)


def test_cache_that_is_a_file(folder: Path, cache: Path) -> None:
    cache.write_text("in the way")
    assert refused(folder, cache).startswith("KW196 ")


def test_function_over_250_mb_names_its_largest_packages(
    folder: Path, cache: Path, fake_uv: Callable[[str], Path]
) -> None:
    (folder / "requirements.txt").write_text(PINNED)
    fake_uv(
        'mkdir "$site/torch" "$site/small"; echo > "$site/small/__init__.py"; '
        'dd if=/dev/zero of="$site/torch/weights.bin" bs=1048576 seek=250 count=0 2>/dev/null'
    )
    text = refused(folder, cache)
    assert text.startswith("KW191 function 'function': got 262,")
    assert "function-dependencies 262,144," in text
    assert " with torch 262,144,000, small " in text
    assert text.endswith(
        "allowed 262,144,000 bytes with all layers; because Lambda refuses more; fix: drop a dependency, or deploy "
        "the function as a container image (10 GB)"
    )


def test_zip_over_the_upload_limit() -> None:
    def with_layer(size: int) -> Bundle:
        layer = Archive("big-dependencies", Path("l.zip"), "0" * 64, size, 1)
        return Bundle("big", Path("c.zip"), "0" * 64, 1, 2, "python3.12", "x86_64", layers=(layer,))

    with pytest.raises(BundleError) as raised:
        ledger.check_size(with_layer(52_428_801))
    assert str(raised.value).startswith(
        "KW191 zip 'big-dependencies': got 52,428,801 bytes; allowed 52,428,800 bytes in the API call;"
    )
    ledger.check_size(with_layer(52_428_800))


def test_limits_are_those_of_the_components() -> None:
    assert ledger.UNZIPPED_MAX_BYTES == limits.LAMBDA_UNZIPPED_MAX_BYTES
    assert ledger.UPLOAD_MAX_BYTES == limits.LAMBDA_ZIP_UPLOAD_MAX_BYTES


def test_no_uv(folder: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "requirements.txt").write_text(PINNED)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("keepwarm_build.bundles.compiler", lambda python: None)
        text = refused(folder, cache)
    assert text.startswith("KW193 uv: got no executable on PATH;")
    assert text.endswith("fix: install it: pip install uv")


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("No solution found ... because numpy==2.4.6 has no wheels with a matching platform tag", "KW192"),
        ("Failed to fetch: pypdf Caused by: dns error: failed to lookup address information", "KW194"),
        ("Failed to download pypdf: operation timed out", "KW194"),
        ("Hash mismatch for pypdf==1.0 Expected: sha256:00 Computed: sha256:11", "KW195"),
        ("error: the requirement has no such version", "KW192"),
    ],
)
def test_resolver_that_fails_keeps_nothing(
    folder: Path, cache: Path, fake_uv: Callable[[str], Path], said: str, code: str
) -> None:
    (folder / "requirements.txt").write_text(PINNED)
    fake_uv(f'echo half > "$site/half.py"; echo "{said}" >&2; exit 1')
    text = refused(folder, cache)
    assert text.startswith(f"{code} ")
    assert said in text
    assert [name for name in kept_results(cache) if "dependencies" in name] == []


def test_index_that_is_offline_in_the_words_of_the_real_uv(
    folder: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "requirements.txt").write_text(PINNED)
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    text = refused(folder, cache)
    assert text.startswith("KW194 package index: got ")
    assert "allowed a reachable index, or wheels in uv's cache;" in text


def test_index_that_nobody_serves_in_the_words_of_the_real_uv(
    folder: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "requirements.txt").write_text(f"--index-url http://127.0.0.1:9/simple\n{PINNED}")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    assert refused(folder, cache).startswith("KW194 package index: got ")


def test_wheel_for_another_platform_in_the_words_of_the_real_uv(
    folder: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = tmp_path / "wheels"
    index.mkdir()
    (index / "demo-1.0-cp312-cp312-win_amd64.whl").write_bytes(b"")
    monkeypatch.setenv("UV_FIND_LINKS", str(index))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    (folder / "requirements.txt").write_text(PINNED)
    text = refused(folder, cache, runtime="python3.12", architecture="arm64")
    assert text.startswith("KW192 requirements.txt for Python 3.12 on aarch64-manylinux_2_28: got ")
    assert text.endswith(
        "because nothing is compiled here and Lambda can't compile either; fix: choose another version of the "
        "package, or a target that has a wheel (Lambda: python3.12 or later)"
    )


def test_model_whose_wheel_is_not_pinned() -> None:
    with pytest.raises(BundleError) as raised:
        pin_of("numpy==1.0 \\\n    --hash=sha256:00\n", "magika")
    assert str(raised.value).startswith("KW197 requirements.txt: got no pin of magika;")


def test_codes_are_in_the_block_of_the_room() -> None:
    assert all(code.startswith("KW19") for code in CODES)
