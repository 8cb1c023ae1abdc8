"""What a bundle holds runs by itself, and is what the components take.

Wheels are made by the tests; the example's functions (tests/infra) are built from real ones.
"""

import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pulumi
import pytest

from keepwarm import RuntimeFunction, RuntimeFunctionArgs
from keepwarm_build import Bundle, bundle, wheels
from tests.support.deployed import deploy

PINNED = "demo==1.0 --hash=sha256:" + "0" * 64 + "\n"
USES_THE_RUNTIME = """
import demo
from keepwarm_runtime.invocation import handler as runtime


@runtime(service="function")
def handler(event, invocation):
    return {"twice": demo.twice(event["number"])}
"""


def unpacked(built: Bundle, folder: Path) -> list[str]:
    """Paths as Lambda has them: code first, layers behind."""
    for place, part in (("task", built.path), *(("opt", layer.path) for layer in built.layers)):
        with zipfile.ZipFile(part) as archive:
            archive.extractall(folder / place)
    return [str(folder / "task"), str(folder / "opt" / "python")]


def alone(paths: list[str], code: str) -> str:
    """Run code with the bundle and its layers only: no site-packages, as on Lambda."""
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:0] = {paths!r}; {code}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def real(folder: Path, fake_uv: Callable[[str], Path]) -> Path:
    """A function that uses the runtime and a dependency."""
    (folder / "handler.py").write_text(USES_THE_RUNTIME)
    (folder / "requirements.txt").write_text(PINNED)
    fake_uv(
        'mkdir -p "$site/demo/tests" "$site/demo-1.0.dist-info" "$site/bin"; touch "$site/.lock" "$site/bin/demo" '
        '"$site/demo/tests/test_demo.py" "$site/demo-1.0.dist-info/RECORD" "$site/demo-1.0.dist-info/METADATA" '
        '"$site/demo-1.0.dist-info/entry_points.txt"; '
        'echo "def twice(n): return 2 * n" > "$site/demo/__init__.py"'
    )
    return folder


def test_bundle_alone_serves_an_event_through_the_runtime(real: Path, cache: Path, tmp_path: Path) -> None:
    paths = unpacked(bundle(real, cache=cache), tmp_path / "lambda")
    code = (
        "import handler; C = type('C', (), {'aws_request_id': 'r-1', "
        "'get_remaining_time_in_millis': lambda self: 5000}); print(handler.handler({'number': 21}, C())['twice'])"
    )
    assert alone(paths, code).splitlines()[-1] == "42"


def test_layer_holds_what_imports_may_need_and_nothing_of_the_installer(real: Path, cache: Path) -> None:
    with zipfile.ZipFile(bundle(real, cache=cache).layers[0].path) as archive:
        names = [name for name in archive.namelist() if not name.endswith(".pyc")]
    assert names == [
        "python/bin/demo",
        "python/demo-1.0.dist-info/METADATA",
        "python/demo-1.0.dist-info/entry_points.txt",
        "python/demo/__init__.py",
        "python/demo/tests/test_demo.py",
    ]


def test_layer_without_what_is_dropped(real: Path, cache: Path) -> None:
    built = bundle(real, drop=["tests/", "/bin/", "*.txt"], cache=cache)
    with zipfile.ZipFile(built.layers[0].path) as archive:
        names = [name for name in archive.namelist() if not name.endswith(".pyc")]
    assert names == ["python/demo-1.0.dist-info/METADATA", "python/demo/__init__.py"]
    assert built.layers[0].sha256 != bundle(real, cache=cache).layers[0].sha256


@pytest.mark.parametrize(
    ("path", "pattern", "dropped"),
    [
        ("a/tests/x.py", "tests/", True),
        ("tests/x.py", "tests/", True),
        ("a/tests", "tests/", False),
        ("a/mytests/x.py", "tests/", False),
        ("bin/x", "/bin/", True),
        ("a/bin/x", "/bin/", False),
        ("numpy/f2py/a/b.py", "numpy/f2py/", True),
        ("a/numpy/f2py/b.py", "numpy/f2py/", False),
        ("numpy/f2py", "numpy/f2py/", False),
        ("a/b.h", "*.h", True),
        ("a/b.h", "a/*.h", True),
        ("c/a/b.h", "a/*.h", False),
    ],
)
def test_patterns_of_drop(path: str, pattern: str, dropped: bool) -> None:
    assert wheels._matches(PurePosixPath(path), pattern) is dropped


def test_component_takes_what_the_bundle_decides(real: Path, cache: Path) -> None:
    built = bundle(real, runtime="python3.12", architecture="arm64", cache=cache)
    args: RuntimeFunctionArgs = {**built.as_args(), "memory_mb": 512}  # type: ignore[typeddict-item]
    seen = deploy(lambda: RuntimeFunction("hello", args))

    [function] = [r.inputs for r in seen.resources if r.typ == "aws:lambda/function:Function"]
    [layer] = [r.inputs for r in seen.resources if r.typ == "aws:lambda/layerVersion:LayerVersion"]
    assert function["code"].path == str(built.path)
    assert (function["runtime"], function["architectures"]) == ("python3.12", ["arm64"])
    assert (function["handler"], function["memorySize"]) == ("handler.handler", 512)
    assert isinstance(layer["code"], pulumi.FileArchive)
    assert layer["code"].path == str(built.layers[0].path)
    assert args["unzipped_bytes"] == built.unzipped_bytes


def test_function_without_dependencies_has_no_layer(folder: Path, cache: Path) -> None:
    assert "layer_archives" not in bundle(folder, cache=cache).as_args()


def test_package_imports_neither_pulumi_nor_anything_of_ours() -> None:
    code = "import sys, keepwarm_build; print([m for m in sys.modules if m.split('.')[0] in " + (
        "('pulumi', 'keepwarm', 'keepwarm_runtime', 'uv')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
