"""What the program deploys: function bundles, dependency layers, the image of the GPU service, the example models.

Built without Docker and deterministic: the same sources, requirements and target give the same digest, so that an
update changes what really changed. Results are kept in `build/` under the digest of their inputs; a second build
reads a few small files and answers. Every result is made in a folder of its own and renamed into place, so a killed
build leaves nothing that looks finished, and two builds at once give one result.

`python -m infra.bundles [--json]` builds everything and prints the size ledger.
"""

import argparse
import fcntl
import functools
import hashlib
import json
import os
import platform as host
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from keepwarm.limits import LAMBDA_UNZIPPED_MAX_BYTES, LAMBDA_ZIP_UPLOAD_MAX_BYTES

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "functions"
OUT = ROOT / "build"

FORMAT = 5
"""Raised when the builder makes something else of the same input, so that kept results are not taken for new ones."""

FUNCTIONS = ("classify", "extract", "ocr", "enrich", "publish")
IMAGE = "inference_server"

CODES = {
    "KW190": "There is no such function, architecture or Python version to build for.",
    "KW191": "A function and its layers are larger than Lambda takes.",
    "KW192": "A dependency has no wheel for the target.",
    "KW193": "The tool that resolves dependencies (uv) is missing.",
    "KW194": "A dependency could not be downloaded.",
    "KW195": "A dependency is not the one whose hash is pinned.",
    "KW196": "The build folder can't be written.",
    "KW197": "The sources of a bundle can't be used.",
}
"""Code -> one-line meaning; the documentation page is generated from this."""

Target = Literal["lambda", "host"]
"""`lambda`: what AWS runs. `host`: this machine, whose interpreter the embedded cloud starts functions with."""

# Files that no import of ours reaches; each saves megabytes of the 250 MB that Lambda allows.
_UNUSED = (
    "magika/models/",  # the model comes from the registry, verified
    "magika/cli/",
    "bin/",
    "onnxruntime/transformers/",
    "onnxruntime/tools/",
    "onnxruntime/quantization/",
    "onnxruntime/datasets/",
    "onnxruntime/backend/",
    "numpy/f2py/",
    "numpy/distutils/",
    "numpy/_core/include/",
    "numpy/_core/lib/",
    "numpy/typing/tests/",
    "rapidocr_onnxruntime/models/",
)
_UNUSED_FOLDERS = frozenset({"tests", "test", "testing_data", "__pycache__", "include"})
_KEPT_METADATA = frozenset({"METADATA"})

_MODELS = {
    "magika": (
        "classify",
        "magika",
        "magika/models/standard_v3_3",
        ("model.onnx", "config.min.json", "metadata.json"),
    ),
    "rapidocr": (
        IMAGE,
        "rapidocr-onnxruntime",
        "rapidocr_onnxruntime/models",
        (
            "ch_PP-OCRv4_det_infer.onnx",
            "ch_PP-OCRv4_rec_infer.onnx",
            "ch_ppocr_mobile_v2.0_cls_infer.onnx",
        ),
    ),
}
"""Model -> requirement set and package that carry it, its folder in the package, its files."""


class BundleError(Exception):
    """A bundle can't be built; one line that starts with `code`."""

    def __init__(self, code: str, who: str, got: str, *, allowed: str, because: str, fix: str) -> None:
        self.code = code
        text = f"{code} {who}: got {got}; allowed {allowed}; because {because}; fix: {fix}"
        super().__init__(" ".join(text.split()))


@dataclass(frozen=True, slots=True)
class Bundle:
    """A zip to deploy as a function's code or as a layer."""

    name: str
    path: Path
    sha256: str
    """Digest of the zip, 64 hex digits."""
    size_bytes: int
    unzipped_bytes: int
    handler: str = "handler.handler"
    bytecode: bool = True
    """Whether compiled modules are inside: not when this machine has no interpreter of the target's version."""
    layers: "tuple[Bundle, ...]" = ()
    """What the function needs beside its code; each holds `python/`, which Lambda puts on the path as `/opt/python`."""

    @property
    def total_unzipped_bytes(self) -> int:
        """What Lambda counts against its limit: the code and all layers, unzipped."""
        return self.unzipped_bytes + sum(layer.unzipped_bytes for layer in self.layers)


@dataclass(frozen=True, slots=True)
class Image:
    """A folder that stands for a container image where there is no Docker: `config.json` says how to start it."""

    name: str
    directory: Path
    digest: str
    """Digest of the inputs, 64 hex digits."""
    size_bytes: int

    @property
    def uri(self) -> str:
        """What a task definition names as its image on the embedded cloud."""
        return self.directory.as_uri()


@dataclass(frozen=True, slots=True)
class Model:
    """A model of the example, ready to be published."""

    name: str
    version: str
    manifest: str
    """Canonical manifest (contract C2)."""
    digest: str
    """SHA-256 of the canonical manifest, 64 hex digits: what a reference pins."""
    directory: Path
    files: dict[str, Path] = field(default_factory=dict)
    """Path in the manifest -> file."""
    channel: str = "live"


@dataclass(frozen=True, slots=True)
class Build:
    """Everything the program deploys."""

    functions: dict[str, Bundle]
    image: Image
    models: dict[str, Model]


# ------------------------------------------------------------------------------------------------------------ targets


@dataclass(frozen=True, slots=True)
class Platform:
    """What wheels have to fit: uv's name of the platform and the Python version (major.minor)."""

    name: str
    python: str

    @classmethod
    def of(cls, target: Target, architecture: str, python_version: str | None) -> "Platform":
        """The platform of a target. `architecture` is `x86_64`, `arm64` or `host`.

        Lambda's python3.12 and later run on Amazon Linux 2023 (glibc 2.34) and take manylinux_2_28 wheels; python3.11
        runs on Amazon Linux 2 (glibc 2.26), which does not:
        https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html
        """
        machine = _machine(architecture)
        version = python_version or f"{sys.version_info.major}.{sys.version_info.minor}"
        if not re.fullmatch(r"3\.\d{1,2}", version) or not 11 <= int(version[2:]) <= 14:
            raise BundleError(
                "KW190",
                "python_version",
                repr(version),
                allowed="3.11 to 3.14",
                because="the functions are written for 3.11 and later, and Lambda runs no later one",
                fix="name a version such as '3.12'",
            )
        if target == "host" and sys.platform == "darwin":
            return cls(f"{machine}-apple-darwin", version)
        glibc = (2, 17) if target == "lambda" and version == "3.11" else (2, 28)
        return cls(f"{machine}-manylinux_{glibc[0]}_{glibc[1]}", version)


def _machine(architecture: str) -> str:
    name = host.machine().lower() if architecture == "host" else architecture
    machine = {"x86_64": "x86_64", "amd64": "x86_64", "arm64": "aarch64", "aarch64": "aarch64"}.get(name)
    if machine is None:
        raise BundleError(
            "KW190",
            "architecture",
            repr(architecture),
            allowed="x86_64, arm64 or host",
            because="Lambda runs on these two",
            fix="name one of them",
        )
    return machine


# ------------------------------------------------------------------------------------------------------ public builds


def build_function(
    name: str,
    *,
    architecture: str = "host",
    python_version: str | None = None,
    target: Target = "host",
    out: Path = OUT,
) -> Bundle:
    """Code of one function and, if it needs any, the layer with its dependencies.

    `python_version` is `major.minor`; default: this interpreter's. Raises BundleError: KW190 unknown name or target,
    KW191 too large for Lambda, KW192 to KW195 from the dependencies, KW196 unwritable folder.
    """
    if name not in FUNCTIONS:
        raise BundleError(
            "KW190",
            "function",
            repr(name),
            allowed=", ".join(FUNCTIONS),
            because="each function is a folder of functions/",
            fix="name one of them",
        )
    platform = Platform.of(target, architecture, python_version)
    sources = _sources(SOURCES / name, "") | _sources(SOURCES / "common", "")
    sources |= _sources(SOURCES / "keepwarm_runtime", "keepwarm_runtime/")
    if "handler.py" not in sources:
        raise BundleError(
            "KW197",
            f"functions/{name}",
            "no handler.py",
            allowed="a folder with handler.py",
            because="the entry is handler.handler",
            fix="write it",
        )
    interpreter = _compiler(platform.python)
    digest = _digest("function", platform.python if interpreter else "any", sources)

    def make(folder: Path) -> None:
        _copy(sources, folder)
        if interpreter:
            _compile(folder, interpreter, "/var/task/")

    code = _kept_zip(out, name, digest, make)
    requirements = SOURCES / name / "requirements.txt"
    layers = (_layer(name, requirements, platform, out),) if requirements.is_file() else ()
    bundle = replace(code, bytecode=interpreter is not None, layers=layers)
    check_size(bundle)
    return bundle


def build_image(
    name: str = IMAGE,
    *,
    architecture: str = "host",
    python_version: str | None = None,
    target: Target = "host",
    out: Path = OUT,
) -> Image:
    """The GPU service as a folder that the embedded cloud can start; on AWS its Dockerfile is built and pushed instead.

    Raises BundleError as `build_function` does.
    """
    if name != IMAGE:
        raise BundleError(
            "KW190",
            "image",
            repr(name),
            allowed=IMAGE,
            because="it is the only container here",
            fix="name it",
        )
    platform = Platform.of(target, architecture, python_version)
    sources = _sources(SOURCES / name, f"app/{name}/") | _sources(
        SOURCES / "keepwarm_runtime", "app/keepwarm_runtime/"
    )
    requirements = SOURCES / name / "requirements.txt"
    text = requirements.read_text()
    site = _site(name, text, platform, out)
    interpreter = _compiler(platform.python)
    digest = _digest("image", platform, bool(interpreter), sources, text)
    config = {
        "Entrypoint": ["python", "-m", name],
        "Cmd": [],
        "Env": ["PYTHONPATH=${ROOT}/app:${ROOT}/site", "PYTHONUNBUFFERED=1"],
        "WorkingDir": "${ROOT}/app",
    }

    def make(folder: Path) -> None:
        _copy(sources, folder)
        if interpreter:
            _compile(folder, interpreter, "")
        size = sum(file.stat().st_size for file in _files(folder)) + int((site / "size").read_text())
        # A link, as layers of an image are shared: a change of code must not copy 300 MB of wheels.
        (folder / "site").symlink_to(Path("..", "..", "sites", site.name, "site"))
        (folder / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
        (folder / "size").write_text(f"{size}\n")

    directory = _kept(out / "images" / f"{name}-{digest[:16]}", make)
    return Image(name, directory, digest, int((directory / "size").read_text()))


def _site(name: str, requirements: str, platform: Platform, out: Path) -> Path:
    """The image's dependencies, kept apart from its code."""
    interpreter = _compiler(platform.python)

    def make(folder: Path) -> None:
        _install(requirements, platform, folder / "site")
        _prune(folder / "site")
        if interpreter:
            _compile(folder / "site", interpreter, "site/")
        size = sum(file.stat().st_size for file in _files(folder / "site"))
        (folder / "size").write_text(f"{size}\n")

    return _kept(
        out / "sites" / f"{name}-{_digest('site', platform, bool(interpreter), requirements)[:16]}", make
    )


def build_models(*, out: Path = OUT) -> dict[str, Model]:
    """The two models of the example, from the wheels that the functions pin by hash. Raises BundleError."""
    return {name: _model(name, out) for name in _MODELS}


def build_all(
    *,
    architecture: str = "host",
    python_version: str | None = None,
    target: Target = "host",
    out: Path = OUT,
) -> Build:
    """Everything the program deploys. Raises BundleError as the single builds do."""
    options: dict[str, Any] = {
        "architecture": architecture,
        "python_version": python_version,
        "target": target,
        "out": out,
    }
    return Build(
        {name: build_function(name, **options) for name in FUNCTIONS},
        build_image(**options),
        build_models(out=out),
    )


def check_size(bundle: Bundle, *, unzipped_max: int = LAMBDA_UNZIPPED_MAX_BYTES) -> None:
    """Refuse a function that Lambda would refuse: KW191, naming the parts and what to do."""
    parts = {"code": bundle.unzipped_bytes} | {layer.name: layer.unzipped_bytes for layer in bundle.layers}
    if bundle.total_unzipped_bytes > unzipped_max:
        raise BundleError(
            "KW191",
            f"function '{bundle.name}'",
            f"{bundle.total_unzipped_bytes:,} bytes unzipped "
            f"({', '.join(f'{name} {size:,}' for name, size in parts.items())})",
            allowed=f"{unzipped_max:,} bytes with all layers",
            because="Lambda refuses more",
            fix="drop a dependency, or deploy the function as a container image (10 GB)",
        )
    for part in (bundle, *bundle.layers):
        if part.size_bytes > LAMBDA_ZIP_UPLOAD_MAX_BYTES:
            raise BundleError(
                "KW191",
                f"zip '{part.name}'",
                f"{part.size_bytes:,} bytes",
                allowed=f"{LAMBDA_ZIP_UPLOAD_MAX_BYTES:,} bytes in the API call",
                because="a larger zip can't be sent directly",
                fix="drop a dependency, split the layer, or upload the zip to S3 and name it there",
            )


# ---------------------------------------------------------------------------------------------------------- the parts


def _layer(name: str, requirements: Path, platform: Platform, out: Path) -> Bundle:
    """Dependencies as a layer: one for each requirement set, so that a change of code moves a few kilobytes only."""
    text = requirements.read_text()
    interpreter = _compiler(platform.python)

    def make(folder: Path) -> None:
        site = folder / "python"
        _install(text, platform, site)
        _prune(site)
        if interpreter:
            _compile(site, interpreter, "/opt/python/")

    return _kept_zip(out, f"{name}-dependencies", _digest("layer", platform, bool(interpreter), text), make)


def _model(name: str, out: Path) -> Model:
    owner, package, inside, files = _MODELS[name]
    pins = _requirement((SOURCES / owner / "requirements.txt").read_text(), package)
    version = pins.split("==")[1].split()[0]
    runtime = _sources(SOURCES / "keepwarm_runtime" / "models", "")
    digest = _digest("model", pins, inside, files, runtime)

    def make(folder: Path) -> None:
        site = folder / "site"
        _install(pins, Platform.of("host", "host", None), site)
        (folder / "files").mkdir()
        for file in files:
            shutil.copyfile(site / inside / file, folder / "files" / file)
        shutil.rmtree(site)
        # Late, so that a build that finds everything kept does not import the runtime.
        from keepwarm_runtime.models import manifest

        made = manifest.build(folder / "files", name=name, version=version)
        (folder / "manifest.json").write_bytes(made.canonical)

    folder = _kept(out / "models" / f"{name}-{digest[:16]}", make)
    text = (folder / "manifest.json").read_text()
    return Model(
        name,
        version,
        text,
        hashlib.sha256(text.encode()).hexdigest(),
        folder / "files",
        {file: folder / "files" / file for file in files},
    )


def _requirement(text: str, package: str) -> str:
    """The lines of one package in a requirements file with hashes."""
    found = re.search(rf"^{re.escape(package)}==(?:.*\\\n)*.*", text, re.MULTILINE)
    if found is None:
        raise BundleError(
            "KW197",
            "requirements.txt",
            f"no pin of {package}",
            allowed="a pinned line with hashes",
            because="the model is taken from that wheel",
            fix="add it with `uv pip compile --generate-hashes`",
        )
    return found.group(0)


def _sources(folder: Path, prefix: str) -> dict[str, bytes]:
    """Path in the bundle -> bytes, of every source file below a folder."""
    found = {}
    for path in _files(folder):
        inside = path.relative_to(folder)
        if "__pycache__" in inside.parts or path.suffix not in {".py", ".json", ".typed"}:
            continue
        found[prefix + inside.as_posix()] = path.read_bytes()
    return found


def _files(folder: Path) -> Iterator[Path]:
    """Every file below a folder, sorted by its path in it."""
    return iter(sorted(path for path in folder.rglob("*") if path.is_file()))


def _copy(sources: dict[str, bytes], folder: Path) -> None:
    for name, body in sources.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(body)


def _digest(*parts: Any) -> str:
    """Digest of the inputs: any change of a byte, a name or the builder gives another."""
    seen = hashlib.sha256(f"{FORMAT}".encode())
    for part in parts:
        # Files as the bytes they are: as text, those of every function would be escaped one by one.
        if isinstance(part, dict):
            pieces = [repr(list(part)).encode(), *part.values()]
        else:
            pieces = [(part if isinstance(part, str) else repr(part)).encode()]
        for piece in pieces:
            seen.update(b"%d:" % len(piece) + piece)
    return seen.hexdigest()


# ------------------------------------------------------------------------------------------------------- dependencies


def _install(requirements: str, platform: Platform, site: Path) -> None:
    """Unpack exactly the pinned wheels into `site`; nothing is resolved, built or executed."""
    uv = shutil.which("uv")
    if uv is None:
        raise BundleError(
            "KW193",
            "uv",
            "no executable on PATH",
            allowed="uv 0.5 or later",
            because="it unpacks the pinned wheels for the target platform",
            fix="install it: pip install uv",
        )
    site.mkdir(parents=True, exist_ok=True)
    pins = site.with_name("pins.txt")
    pins.write_text(requirements)
    command = [uv, "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    command += ["--python-platform", platform.name, "--python-version", platform.python]
    command += ["--target", str(site), "--link-mode", "copy", "--requirement", str(pins)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    pins.unlink()
    if done.returncode:
        raise _install_error(done.stderr, platform)
    (site / ".lock").unlink(missing_ok=True)


def _install_error(text: str, platform: Platform) -> BundleError:
    """uv's account of a failure as one of our codes."""
    said = " ".join(text.split())[:600]
    target = f"Python {platform.python} on {platform.name}"
    lowered = said.lower()
    if "hash mismatch" in lowered or ("hashes" in lowered and "match" in lowered):
        return BundleError(
            "KW195",
            "requirements.txt",
            said,
            allowed="the wheels whose hashes are pinned",
            because="another file may not be what was reviewed",
            fix="find out why the file changed; pin it again only if you trust it",
        )
    network = ("dns error", "connect", "timed out", "timeout", "network", "offline", "failed to fetch")
    if any(word in lowered for word in network) and "no wheels" not in lowered:
        return BundleError(
            "KW194",
            "package index",
            said,
            allowed="a reachable index, or wheels in uv's cache",
            because="the wheels are not on this machine yet",
            fix="check the network, or build once on a machine that has it and share uv's cache",
        )
    return BundleError(
        "KW192",
        f"requirements.txt for {target}",
        said,
        allowed="packages with a wheel for that target",
        because="nothing is compiled here and Lambda can't compile either",
        fix="choose another version of the package, or a target that has a wheel (Lambda: python3.12 or later)",
    )


def _prune(site: Path) -> None:
    """Take away what no import of ours reaches."""
    for path in list(_files(site)):
        inside = path.relative_to(site).as_posix()
        folders = path.relative_to(site).parts[:-1]
        metadata = bool(folders) and folders[0].endswith(".dist-info")
        licence = "licen" in path.name.lower() or "licenses" in folders
        if (
            inside.startswith(_UNUSED)
            or _UNUSED_FOLDERS.intersection(folders)
            or path.suffix in {".pyi", ".pxd", ".a", ".h"}
            or (metadata and path.name not in _KEPT_METADATA and not licence)
        ):
            path.unlink()
    for folder in sorted((path for path in site.rglob("*") if path.is_dir()), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()


_COMPILER = """
import pathlib, py_compile, sys
root = pathlib.Path(sys.argv[1])
for path in sorted(root.rglob("*.py")):
    try:
        py_compile.compile(str(path), dfile=sys.argv[2] + path.relative_to(root).as_posix(), doraise=True, optimize=0,
                           invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    except py_compile.PyCompileError:
        pass  # a template or an example for another Python; nothing imports it
"""


@functools.cache
def _compiler(python: str) -> str | None:
    """An interpreter of that version (major.minor): only it makes bytecode that the target loads. None: not here."""
    if python == f"{sys.version_info.major}.{sys.version_info.minor}":
        return sys.executable
    found = [shutil.which(f"python{python}")]
    uv = shutil.which("uv")
    if uv is not None:
        told = subprocess.run([uv, "python", "find", python], capture_output=True, text=True, check=False)
        found.insert(0, told.stdout.strip() if told.returncode == 0 else None)
    for candidate in found:
        if candidate:
            asked = [candidate, "-I", "-S", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
            said = subprocess.run(asked, capture_output=True, text=True, check=False)
            if said.returncode == 0 and said.stdout.strip() == python:
                return candidate
    return None


def _compile(folder: Path, interpreter: str, place: str) -> None:
    """Bytecode beside the sources, since they are read-only where they run and every cold start would compile them.

    `place` is where the folder will be, for tracebacks. A new interpreter with fixed hashes does it: what one
    interpreter has interned before shows in the bytecode.
    """
    command = [interpreter, "-I", "-S", "-X", "frozen_modules=on", "-c", _COMPILER, str(folder), place]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PYTHONHASHSEED": "0"})
    if done.returncode:
        raise BundleError(
            "KW197",
            "bytecode",
            done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit {done.returncode}",
            allowed="sources that compile",
            because="a cold start would compile them every time",
            fix="run `python -m compileall functions`",
        )


# -------------------------------------------------------------------------------------------------- results that stay


def _kept_zip(out: Path, name: str, digest: str, make: Callable[[Path], None]) -> Bundle:
    """A zip of what `make` puts into a folder, made once for each digest."""

    def zipped(folder: Path) -> None:
        content = folder / "content"
        content.mkdir()
        make(content)
        unzipped = write_zip(folder / f"{name}.zip", content)
        shutil.rmtree(content)
        body = (folder / f"{name}.zip").read_bytes()
        facts = {"sha256": hashlib.sha256(body).hexdigest(), "size": len(body), "unzipped": unzipped}
        (folder / "facts.json").write_text(json.dumps(facts))

    folder = _kept(out / "bundles" / f"{name}-{digest[:16]}", zipped)
    facts = json.loads((folder / "facts.json").read_text())
    path = folder / f"{name}.zip"
    if not path.is_file() or path.stat().st_size != facts["size"]:
        # Somebody touched the kept result: make it again rather than deploy it.
        shutil.rmtree(folder)
        return _kept_zip(out, name, digest, make)
    return Bundle(name, path, facts["sha256"], facts["size"], facts["unzipped"])


def write_zip(target: Path, folder: Path) -> int:
    """A zip with sorted names, one time and one mode for all files; returns the unzipped size in bytes."""
    total = 0
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in _files(folder):
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3
            entry.external_attr = (0o100644) << 16
            body = path.read_bytes()
            total += len(body)
            archive.writestr(entry, body)
    return total


def _kept(place: Path, make: Callable[[Path], None]) -> Path:
    """The folder `place`; made by `make` in a temporary folder and renamed, if it is not there yet."""
    if place.is_dir():
        return place
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with _alone(place):
            if place.is_dir():
                return place
            _sweep(place)
            made = place.with_name(f".{place.name}.{os.getpid()}")
            made.mkdir()
            try:
                make(made)
                made.rename(place)
            except BaseException:
                shutil.rmtree(made, ignore_errors=True)
                raise
    except OSError as fault:
        raise BundleError(
            "KW196",
            str(fault.filename or place),
            fault.strerror or str(fault),
            allowed="a folder that can be written, with room for 400 MB",
            because="bundles are kept there",
            fix="free space, or name another folder with --out",
        ) from fault
    return place


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """One builder at a time for one result. The system releases the lock of a builder that dies."""
    lock = place.with_name(f".{place.name}.lock")
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _sweep(place: Path) -> None:
    """Remove what a killed builder of the same result left; the lock says that nobody is at it now."""
    for left in place.parent.glob(f".{place.name}.*"):
        if left.is_dir():
            shutil.rmtree(left)


# ------------------------------------------------------------------------------------------------------------- ledger


def ledger(build: Build) -> dict[str, Any]:
    """Sizes of everything against the limits of Lambda, as plain data."""
    return {
        "limits": {"zip_bytes": LAMBDA_ZIP_UPLOAD_MAX_BYTES, "unzipped_bytes": LAMBDA_UNZIPPED_MAX_BYTES},
        "functions": {
            name: {
                "zip_bytes": bundle.size_bytes,
                "layer_zip_bytes": sum(layer.size_bytes for layer in bundle.layers),
                "unzipped_bytes": bundle.total_unzipped_bytes,
                "of_limit": round(bundle.total_unzipped_bytes / LAMBDA_UNZIPPED_MAX_BYTES, 4),
                "sha256": bundle.sha256,
                "bytecode": bundle.bytecode,
                "layers": {layer.name: layer.sha256 for layer in bundle.layers},
                "path": str(bundle.path),
            }
            for name, bundle in build.functions.items()
        },
        "image": asdict(build.image) | {"directory": str(build.image.directory)},
        "models": {
            name: {
                "version": model.version,
                "digest": model.digest,
                "bytes": sum(path.stat().st_size for path in model.files.values()),
            }
            for name, model in build.models.items()
        },
    }


def table(facts: dict[str, Any]) -> str:
    """The ledger for people."""
    megabytes = functools.partial("{:>9.2f}".format)
    lines = [f"{'function':<12}{'code zip':>9} {'layer zip':>9} {'unzipped':>9}  of 250 MB   (MB)"]
    for name, row in facts["functions"].items():
        sizes = " ".join(
            megabytes(row[key] / 1048576) for key in ("zip_bytes", "layer_zip_bytes", "unzipped_bytes")
        )
        missing = "" if row["bytecode"] else "  without bytecode: no interpreter of that version here"
        lines.append(f"{name:<12}{sizes}  {row['of_limit']:>8.1%}{missing}")
    image = facts["image"]
    lines.append(f"image {image['name']}: {image['size_bytes'] / 1048576:.1f} MB in {image['directory']}")
    for name, row in facts["models"].items():
        lines.append(
            f"model {name} {row['version']}: {row['bytes'] / 1048576:.1f} MB, sha256:{row['digest'][:16]}..."
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Build everything and print the ledger: 0 fine, 1 it can't be built."""
    options = argparse.ArgumentParser(
        prog="python -m infra.bundles", description="Build what the stack deploys."
    )
    options.add_argument("--json", action="store_true", help="print the ledger as JSON")
    options.add_argument("--architecture", default="host", help="x86_64, arm64 or host (default)")
    options.add_argument("--python-version", help="major.minor (default: this interpreter's)")
    options.add_argument("--target", choices=("lambda", "host"), default="host", help="where it will run")
    options.add_argument("--out", type=Path, default=OUT, help="folder of the results")
    chosen = options.parse_args(arguments)
    try:
        built = build_all(
            architecture=chosen.architecture,
            python_version=chosen.python_version,
            target=chosen.target,
            out=chosen.out.resolve(),
        )
    except BundleError as fault:
        print(fault, file=sys.stderr)
        return 1
    facts = ledger(built)
    print(json.dumps(facts, indent=1) if chosen.json else table(facts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
