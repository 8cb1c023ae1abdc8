"""Bundles: the same input gives the same bytes, sizes keep to Lambda's limits, and no death or rival spoils a build.

Wheels come from uv's cache or the package index; what AWS accepts is not proved beyond the documented limits.
"""

import hashlib
import importlib.util
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra import bundles
from infra.bundles import Bundle, BundleError
from keepwarm_runtime.models import manifest
from tests.support.patience import until

ROOT = Path(bundles.__file__).resolve().parent.parent


def refused(code: str, **options: Any) -> str:
    with pytest.raises(BundleError) as raised:
        bundles.build_function(**options)
    assert raised.value.code == code
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree with one function, small enough to build in milliseconds."""
    tree = tmp_path / "functions"
    for name in ("enrich", "common", "keepwarm_runtime"):
        (tree / name).mkdir(parents=True)
    (tree / "enrich" / "handler.py").write_text(
        "import shared\n\ndef handler(event, context):\n    return event\n"
    )
    (tree / "common" / "shared.py").write_text("ONE = 1\n")
    (tree / "keepwarm_runtime" / "__init__.py").write_text("")
    monkeypatch.setattr(bundles, "SOURCES", tree)
    return tree


@pytest.fixture
def fake_uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts a script in the place of uv."""

    def install(script: str) -> Path:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        tool = folder / "uv"
        tool.write_text(f"#!/bin/sh\n{script}\n")
        tool.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        return tool

    return install


def with_requirements(sources: Path, text: str = "pypdf==1.0 --hash=sha256:" + "0" * 64 + "\n") -> None:
    (sources / "enrich" / "requirements.txt").write_text(text)


# -- the same input, the same bytes


def test_given_same_sources_when_built_in_two_places_then_the_same_digest(
    sources: Path, tmp_path: Path
) -> None:
    first = bundles.build_function("enrich", out=tmp_path / "one")
    for path in sources.rglob("*.py"):
        os.utime(path, (1, 1))
        path.chmod(0o600)
    second = bundles.build_function("enrich", out=tmp_path / "two" / "deep")
    assert first.sha256 == second.sha256 == hashlib.sha256(second.path.read_bytes()).hexdigest()
    assert first.path != second.path


def test_given_two_builds_of_the_real_functions_when_compared_then_the_same_digest(tmp_path: Path) -> None:
    for name in ("extract", "publish"):
        first = bundles.build_function(name, out=tmp_path / "one")
        second = bundles.build_function(name, out=tmp_path / "two")
        assert (first.sha256, [layer.sha256 for layer in first.layers]) == (
            second.sha256,
            [layer.sha256 for layer in second.layers],
        )


def test_given_bundle_when_opened_then_sorted_one_time_one_mode_and_bytecode(
    sources: Path, tmp_path: Path
) -> None:
    bundle = bundles.build_function("enrich", out=tmp_path)
    with zipfile.ZipFile(bundle.path) as archive:
        entries = archive.infolist()
        assert archive.testzip() is None
    names = [entry.filename for entry in entries]
    assert names == sorted(names)
    assert {"handler.py", "shared.py", "keepwarm_runtime/__init__.py"} < set(names)
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
    assert {stat.S_IMODE(entry.external_attr >> 16) for entry in entries} == {0o644}
    tag = sys.implementation.cache_tag
    assert f"__pycache__/handler.{tag}.pyc" in names
    with zipfile.ZipFile(bundle.path) as archive:
        head = archive.read(f"__pycache__/handler.{tag}.pyc")[:8]
    # Bit 0: by hash, bit 1: check the source. Unchecked, as the folder on Lambda is read-only (PEP 552).
    assert (head[:4], int.from_bytes(head[4:], "little")) == (importlib.util.MAGIC_NUMBER, 1)
    assert bundle.unzipped_bytes == sum(entry.file_size for entry in entries)
    assert bundle.size_bytes == bundle.path.stat().st_size


def test_given_other_python_that_is_not_here_when_built_then_no_bytecode_and_the_ledger_says_so(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundles, "_compiler", lambda python: None)
    bundle = bundles.build_function("enrich", python_version="3.14", out=tmp_path)
    with zipfile.ZipFile(bundle.path) as archive:
        assert not [name for name in archive.namelist() if name.endswith(".pyc")]
    assert bundle.bytecode is False
    image = bundles.Image("inference_server", tmp_path, "0" * 64, 1)
    text = bundles.table(bundles.ledger(bundles.Build({"enrich": bundle}, image, {})))
    assert "without bytecode: no interpreter of that version here" in text


def test_given_interpreter_of_another_version_when_asked_for_then_never_taken(
    tmp_path: Path, fake_uv: Any
) -> None:
    bundles._compiler.cache_clear()
    fake_uv(f'echo "{sys.executable}"')
    assert bundles._compiler("3.99") is None
    assert bundles._compiler(f"3.{sys.version_info.minor}") == sys.executable
    bundles._compiler.cache_clear()


def test_given_changed_source_when_built_again_then_another_digest_and_the_old_one_stays(
    sources: Path, tmp_path: Path
) -> None:
    before = bundles.build_function("enrich", out=tmp_path)
    (sources / "common" / "shared.py").write_text("ONE = 2\n")
    after = bundles.build_function("enrich", out=tmp_path)
    assert before.sha256 != after.sha256
    assert before.path.is_file()


def test_given_kept_result_when_built_again_then_nothing_is_resolved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = bundles.build_function("extract", out=tmp_path)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("nothing has to be run"))
    assert bundles.build_function("extract", out=tmp_path) == first


def test_given_second_build_of_everything_when_started_then_no_heavy_module_is_imported() -> None:
    bundles.build_all()
    code = (
        "import sys; from infra import bundles; bundles.build_all(); "
        "print(sorted({'pulumi', 'numpy', 'pydantic', 'magika', 'boto3', 'keepwarm_runtime'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_given_kept_zip_that_was_cut_when_built_again_then_it_is_made_anew(
    sources: Path, tmp_path: Path
) -> None:
    first = bundles.build_function("enrich", out=tmp_path)
    first.path.write_bytes(first.path.read_bytes()[:-10])
    again = bundles.build_function("enrich", out=tmp_path)
    assert hashlib.sha256(again.path.read_bytes()).hexdigest() == first.sha256


# -- what is inside runs


def unpacked(bundle: Bundle, folder: Path) -> Path:
    for part in (bundle, *bundle.layers):
        with zipfile.ZipFile(part.path) as archive:
            archive.extractall(folder / ("opt" if part is not bundle else "task"))
    return folder


def alone(folder: Path, code: str) -> str:
    """Run code with the bundle and its layer only: no site-packages, as on Lambda."""
    paths = [str(folder / "task"), str(folder / "opt" / "python")]
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:0] = {paths!r}; {code}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("name", ["extract", "ocr", "enrich", "publish"])
def test_given_bundle_alone_when_its_handler_is_imported_then_it_works(name: str, tmp_path: Path) -> None:
    folder = unpacked(bundles.build_function(name), tmp_path)
    heavy = {"boto3", "numpy", "pypdf", "email", "zipfile", "html.parser", "csv", "ssl"}
    code = f"import handler, sys; print(handler.handler.__name__, sorted({heavy} & set(sys.modules)))"
    assert alone(folder, code) == "handler []"


@pytest.mark.slow
def test_given_classify_bundle_alone_when_it_labels_then_as_the_package(tmp_path: Path) -> None:
    bundle = bundles.build_function("classify")
    folder = unpacked(bundle, tmp_path)
    model = bundles.build_models()["magika"].directory
    code = (
        f"import classification, pathlib; m = classification.load(pathlib.Path({str(model)!r})); "
        "print(m.identify_bytes(classification.SAMPLE).output.label)"
    )
    assert alone(folder, code) == "txt"


def image_paths(image: bundles.Image) -> list[str]:
    """Where the image's own configuration says that its packages lie."""
    config = json.loads((image.directory / "config.json").read_text())
    paths = dict(entry.split("=", 1) for entry in config["Env"])["PYTHONPATH"]
    return paths.replace("${ROOT}", str(image.directory)).split(":")


@pytest.mark.slow
def test_given_image_alone_when_its_engine_loads_then_it_reads(tmp_path: Path) -> None:
    image = bundles.build_image()
    config = json.loads((image.directory / "config.json").read_text())
    assert config["Entrypoint"] == ["python", "-m", "inference_server"]
    model = bundles.build_models()["rapidocr"].directory
    scan = ROOT / "examples" / "documents" / "cafe-receipt.jpg"
    code = (
        f"import sys; sys.path[:0] = {image_paths(image)!r}; import pathlib; "
        "from inference_server.engine import OcrEngine; "
        f"e = OcrEngine(pathlib.Path({str(model)!r})); "
        f"print(e.read([e.decode(pathlib.Path({str(scan)!r}).read_bytes())])[0].lines[0].text)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "CAFE ZUR ALTEN WAAGE"
    assert image.uri == f"file://{image.directory}"
    assert image.size_bytes > 100_000_000


def threads_of(folder: Path, code: str, blas: str | None, monkeypatch: pytest.MonkeyPatch) -> int:
    """Threads of a process that has run code, those of libraries included, with a choice from outside or without."""
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    if blas is not None:
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", blas)
    return int(alone(folder, f"import os; {code}; print(len(os.listdir('/proc/self/task')))"))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="only Linux lists the threads of a process")
@pytest.mark.skipif(
    len(getattr(os, "sched_getaffinity", lambda _: [0])(0)) == 1,
    reason="BLAS has one thread on one processor anyway",
)
@pytest.mark.parametrize("part", ["classify", "inference server"])
def test_given_a_part_alone_when_importing_then_blas_has_one_thread_unless_somebody_wants_more(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if part == "classify":
        folder = unpacked(bundles.build_function("classify"), tmp_path)
        # Without a model the import ends after the libraries, with the refusal of the settings.
        code = "exec('try: import handler\\nexcept Exception as refused: assert refused.code == \"KW300\"')"
    else:
        folder, paths = tmp_path, image_paths(bundles.build_image())
        code = f"sys.path[:0] = {paths!r}; import inference_server.__main__, rapidocr_onnxruntime"

    left_open = threads_of(folder, code, None, monkeypatch)

    assert left_open == threads_of(folder, code, "1", monkeypatch)
    assert left_open < threads_of(folder, code, "2", monkeypatch)


# -- the models


def test_given_models_when_built_then_manifests_hold_for_their_files() -> None:
    for name, model in bundles.build_models().items():
        parsed = manifest.parse(model.manifest.encode())
        assert (parsed.name, parsed.version, parsed.digest) == (name, model.version, model.digest)
        assert {entry.path for entry in parsed.files} == set(model.files)
        for entry in parsed.files:
            assert hashlib.sha256(model.files[entry.path].read_bytes()).hexdigest() == entry.sha256


def test_given_models_when_compared_then_those_of_the_installed_packages() -> None:
    places = {"magika": ("magika", "models/standard_v3_3"), "rapidocr": ("rapidocr_onnxruntime", "models")}
    for name, model in bundles.build_models().items():
        spec = importlib.util.find_spec(places[name][0])
        assert spec is not None
        assert spec.origin is not None
        for file, path in model.files.items():
            assert path.read_bytes() == (Path(spec.origin).parent / places[name][1] / file).read_bytes()


# -- sizes


def test_given_the_example_functions_when_measured_then_inside_the_limits_with_room() -> None:
    facts = bundles.ledger(bundles.build_all())
    for row in facts["functions"].values():
        assert row["zip_bytes"] < 2 * 1024 * 1024
        assert row["layer_zip_bytes"] < 50 * 1024 * 1024
        assert row["of_limit"] < 0.6
    assert "classify" in bundles.table(facts)


def test_given_function_over_the_unzipped_limit_when_checked_then_refused_naming_the_parts() -> None:
    layer = Bundle("big-dependencies", Path("l.zip"), "0" * 64, 1, 262_144_000)
    with pytest.raises(BundleError) as raised:
        bundles.check_size(Bundle("big", Path("c.zip"), "0" * 64, 1, 1_000, layers=(layer,)))
    assert str(raised.value) == (
        "KW191 function 'big': got 262,145,000 bytes unzipped (code 1,000, big-dependencies 262,144,000); allowed "
        "262,144,000 bytes with all layers; because Lambda refuses more; fix: drop a dependency, or deploy the "
        "function as a container image (10 GB)"
    )


def test_given_zip_over_the_upload_limit_when_checked_then_refused() -> None:
    layer = Bundle("big-dependencies", Path("l.zip"), "0" * 64, 52_428_801, 1)
    with pytest.raises(
        BundleError, match=r"^KW191 zip 'big-dependencies': got 52,428,801 bytes; allowed 52,428,800"
    ):
        bundles.check_size(Bundle("big", Path("c.zip"), "0" * 64, 1, 1, layers=(layer,)))
    bundles.check_size(
        Bundle("big", Path("c.zip"), "0" * 64, 1, 1, layers=(replace(layer, size_bytes=52_428_800),))
    )


# -- bad input


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"name": "clasify"},
            "KW190 function: got 'clasify'; allowed classify, extract, ocr, enrich, publish",
        ),
        (
            {"name": "ocr", "architecture": "mips"},
            "KW190 architecture: got 'mips'; allowed x86_64, arm64 or host",
        ),
        ({"name": "ocr", "python_version": "2.7"}, "KW190 python_version: got '2.7'; allowed 3.11 to 3.14"),
        ({"name": "ocr", "python_version": "3.110"}, "KW190 python_version: got '3.110'"),
    ],
)
def test_given_bad_request_when_built_then_refused(options: dict[str, Any], text: str) -> None:
    assert refused("KW190", **options).startswith(text)


def test_given_function_without_handler_when_built_then_refused(sources: Path, tmp_path: Path) -> None:
    (sources / "enrich" / "handler.py").unlink()
    assert "got no handler.py" in refused("KW197", name="enrich", out=tmp_path)


def test_given_no_uv_when_dependencies_are_needed_then_refused(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_requirements(sources)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert refused("KW193", name="enrich", out=tmp_path / "out").endswith("fix: install it: pip install uv")


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("No solution found ... because numpy==2.4.6 has no wheels with a matching platform tag", "KW192"),
        ("Failed to fetch: `pypdf` Caused by: dns error: failed to lookup address information", "KW194"),
        ("Failed to download pypdf: operation timed out", "KW194"),
        ("Hash mismatch for `pypdf==1.0` Expected: sha256:00 Computed: sha256:11", "KW195"),
        ("error: the requirement has no such version", "KW192"),
    ],
)
def test_given_resolver_that_fails_when_built_then_its_word_and_our_code(
    sources: Path, tmp_path: Path, fake_uv: Any, said: str, code: str
) -> None:
    with_requirements(sources)
    fake_uv(f'echo "{said.replace("`", "")}" >&2; exit 1')
    text = refused(code, name="enrich", out=tmp_path / "out")
    assert said.replace("`", "")[:40] in text
    assert not [
        path
        for path in (tmp_path / "out" / "bundles").iterdir()
        if "dependencies" in path.name and path.is_dir()
    ]


def test_given_target_without_wheels_when_built_with_the_real_uv_then_refused(tmp_path: Path) -> None:
    # Lambda's python3.11 has glibc 2.26; NumPy and ONNX Runtime publish wheels for 2.27 and later.
    text = refused(
        "KW192", name="classify", target="lambda", python_version="3.11", architecture="arm64", out=tmp_path
    )
    assert "Python 3.11 on aarch64-manylinux_2_17" in text


def test_given_out_that_is_a_file_when_built_then_refused(sources: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("in the way")
    text = refused("KW196", name="enrich", out=tmp_path / "out")
    assert "allowed a folder that can be written" in text


def test_given_command_when_it_fails_then_one_line_and_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text("in the way")
    assert bundles.main(["--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.startswith("KW196 ")


def test_given_command_when_run_then_the_ledger_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert bundles.main(["--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["limits"] == {"zip_bytes": 52_428_800, "unzipped_bytes": 262_144_000}
    assert set(facts["functions"]) == set(bundles.FUNCTIONS)


# -- death and rivals

SLOW_UV = """
while [ "$1" != "--target" ]; do shift; done
echo half > "$2/half.py"
touch {mark}
exec sleep 60
"""
QUICK_UV = """
while [ "$1" != "--target" ]; do shift; done
echo "BUILT = 1" > "$2/package.py"
echo run >> {log}
sleep 0.2
"""


def builder(sources: Path, out: Path) -> "subprocess.Popen[str]":
    code = (
        "import sys, pathlib; from infra import bundles; bundles.SOURCES = pathlib.Path(sys.argv[1]); "
        "b = bundles.build_function('enrich', out=pathlib.Path(sys.argv[2])); print(b.layers[0].sha256)"
    )
    command = [sys.executable, "-c", code, str(sources), str(out)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)


def test_given_build_killed_in_the_middle_when_built_again_then_whole_and_nothing_left(
    sources: Path, tmp_path: Path, fake_uv: Any
) -> None:
    with_requirements(sources)
    mark, log, out = tmp_path / "mark", tmp_path / "log", tmp_path / "out"
    fake_uv(SLOW_UV.format(mark=mark))
    victim = builder(sources, out)
    until(mark.exists)
    os.killpg(victim.pid, signal.SIGKILL)
    victim.communicate()
    kept = {path.name for path in (out / "bundles").iterdir() if not path.name.startswith(".")}
    assert not any("dependencies" in name for name in kept)
    fake_uv(QUICK_UV.format(log=log))
    bundle = bundles.build_function("enrich", out=out)
    with zipfile.ZipFile(bundle.layers[0].path) as archive:
        assert "python/package.py" in archive.namelist()
        assert "python/half.py" not in archive.namelist()
    assert [path for path in (out / "bundles").iterdir() if path.name.startswith(".") and path.is_dir()] == []


def test_given_two_builds_at_once_when_done_then_one_work_and_one_result(
    sources: Path, tmp_path: Path, fake_uv: Any
) -> None:
    with_requirements(sources)
    log = tmp_path / "log"
    fake_uv(QUICK_UV.format(log=log))
    processes = [builder(sources, tmp_path / "out") for _ in range(3)]
    digests = {process.communicate()[0].strip() for process in processes}
    assert len(digests) == 1
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert log.read_text() == "run\n"


def test_given_threads_building_at_once_when_done_then_one_result(sources: Path, tmp_path: Path) -> None:
    found: list[Bundle] = []
    threads = [
        threading.Thread(target=lambda: found.append(bundles.build_function("enrich", out=tmp_path)))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({bundle.sha256 for bundle in found}) == 1
    assert len(found) == 6


def test_codes_are_in_the_block_of_the_room() -> None:
    assert all(code.startswith("KW19") for code in bundles.CODES)


def test_dockerfile_is_pinned_not_root_and_starts_what_the_image_folder_starts() -> None:
    text = (ROOT / "functions" / "inference_server" / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    base = next(line for line in lines if line.startswith("ARG BASE="))
    assert ":latest" not in text
    assert ":" in base.partition("=")[2]
    assert {line.split()[1] for line in lines if line.startswith("FROM ")} == {
        "${BASE}${BASE_DIGEST:+@}${BASE_DIGEST}"
    }
    assert "USER 10001:10001" in lines
    assert "--require-hashes" in text
    entry = json.loads(next(line for line in lines if line.startswith("ENTRYPOINT")).partition(" ")[2])
    config = json.loads((bundles.build_image().directory / "config.json").read_text())
    assert entry[1:] == config["Entrypoint"][1:]


def test_every_requirements_file_pins_each_package_with_hashes() -> None:
    files = sorted((ROOT / "functions").glob("*/requirements*.txt"))
    assert [path.parent.name for path in files] == [
        "classify",
        "extract",
        "inference_server",
        "inference_server",
    ]
    for path in files:
        packages = [line for line in path.read_text().splitlines() if line and line[0] not in "# "]
        assert packages
        assert all("==" in line and line.endswith("\\") for line in packages)
        assert path.read_text().count("--hash=sha256:") >= len(packages)
