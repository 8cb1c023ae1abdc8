"""The example's functions, image and models: what is inside runs, and sizes keep to Lambda's limits.

How bundles are built is tested in tests/bundling.
Wheels come from uv's cache or the package index; what AWS accepts is not proved beyond the documented limits.
"""

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from infra import bundles
from keepwarm_build import Bundle, BundleError
from keepwarm_runtime.models import manifest
from tests.support.tiny_build import tiny_build

ROOT = Path(bundles.__file__).resolve().parent.parent


# -- the same input, the same bytes


def test_given_two_builds_of_the_real_functions_when_compared_then_the_same_digest(tmp_path: Path) -> None:
    for name in ("extract", "publish"):
        first = bundles.build_function(name, out=tmp_path / "one")
        second = bundles.build_function(name, out=tmp_path / "two")
        assert (first.sha256, [layer.sha256 for layer in first.layers]) == (
            second.sha256,
            [layer.sha256 for layer in second.layers],
        )


def test_given_second_build_of_everything_when_started_then_no_heavy_module_is_imported() -> None:
    bundles.build_all()
    code = (
        "import sys; from infra import bundles; bundles.build_all(); "
        "print(sorted({'pulumi', 'numpy', 'pydantic', 'magika', 'boto3', 'keepwarm_runtime'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


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


# -- bad input


def test_function_that_the_example_has_not_is_refused() -> None:
    with pytest.raises(BundleError) as raised:
        bundles.build_function("clasify")
    assert str(raised.value) == (
        "KW190 function: got 'clasify'; allowed classify, extract, ocr, enrich, publish; because each function is a "
        "folder of functions/; fix: name one of them"
    )


def test_target_without_wheels_is_refused_by_the_real_uv(tmp_path: Path) -> None:
    # Lambda's python3.11 has glibc 2.26; NumPy and ONNX Runtime publish wheels for 2.27 and later.
    with pytest.raises(BundleError) as raised:
        bundles.build_function(
            "classify", target="lambda", python_version="3.11", architecture="arm64", out=tmp_path
        )
    assert str(raised.value).startswith(
        "KW192 requirements.txt for Python 3.11 on aarch64-manylinux_2_17: got "
    )


def test_ledger_says_where_bytecode_is_missing(tmp_path: Path) -> None:
    built = tiny_build(tmp_path)
    without = replace(built.functions["enrich"], bytecode=False)
    facts = bundles.ledger(replace(built, functions={"enrich": without}))
    assert "without bytecode: no interpreter of that version here" in bundles.table(facts)


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


# -- what else holds of the example's sources


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
