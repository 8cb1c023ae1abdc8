"""What the program deploys: the example's functions, the image of its GPU service, its models.

`python -m infra.bundles [--json]` builds everything and prints the size ledger. How a bundle is built, and why it is
the same every time: `keepwarm_build`.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from keepwarm_build import Bundle, BundleError, Platform, Target, bundle
from keepwarm_build import bundles as builder
from keepwarm_build import ledger as sizes
from keepwarm_build.bytecode import compile_folder, compiler
from keepwarm_build.kept import digest, kept
from keepwarm_build.models import take
from keepwarm_build.sources import collect, library
from keepwarm_build.wheels import install, pin_of, prune
from keepwarm_build.zips import files

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "functions"
OUT = ROOT / "build"

FUNCTIONS = ("classify", "extract", "ocr", "enrich", "publish")
IMAGE = "inference_server"

UNUSED = (
    "magika/models/",  # the model comes from the registry, verified
    "magika/cli/",
    "/bin/",
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
    "tests/",
    "test/",
    "testing_data/",
    "include/",
    "*.pyi",
    "*.pxd",
    "*.a",
    "*.h",
)
"""What no import of ours reaches; each saves megabytes of the 250 MB that Lambda allows."""

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


class Options(TypedDict, total=False):
    """For what, and where, everything is built."""

    architecture: str
    """`x86_64`, `arm64` or `host`."""
    python_version: str | None
    """`major.minor`; default: this interpreter's."""
    target: Target
    out: Path
    """Folder of the results."""


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


@dataclass(frozen=True, slots=True)
class Build:
    """Everything the program deploys."""

    functions: dict[str, Bundle]
    image: Image
    models: dict[str, Model]


def build_all(
    *,
    architecture: str = "host",
    python_version: str | None = None,
    target: Target = "host",
    out: Path = OUT,
) -> Build:
    """Everything the program deploys. Raises BundleError as the single builds do."""
    options: Options = {
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


def build_function(
    name: str,
    *,
    architecture: str = "host",
    python_version: str | None = None,
    target: Target = "host",
    out: Path = OUT,
) -> Bundle:
    """One function of the example with what the functions share. Raises BundleError as `keepwarm_build.bundle` does."""
    if name not in FUNCTIONS:
        raise BundleError(
            "KW190",
            "function",
            repr(name),
            allowed=", ".join(FUNCTIONS),
            because="each function is a folder of functions/",
            fix="name one of them",
        )
    return bundle(
        SOURCES / name,
        include=[SOURCES / "common"],
        architecture=architecture,
        runtime=_runtime(python_version),
        target=target,
        drop=UNUSED,
        cache=out,
    )


def build_image(
    *,
    architecture: str = "host",
    python_version: str | None = None,
    target: Target = "host",
    out: Path = OUT,
) -> Image:
    """The GPU service as a folder that the embedded cloud can start; on AWS its Dockerfile is built and pushed instead.

    Raises BundleError as `build_function` does.
    """
    platform = Platform.of(target, architecture, _runtime(python_version))
    own = {name: file for name, file in collect(SOURCES / IMAGE, IMAGE).items() if name.endswith(".py")}
    code = {f"app/{IMAGE}/{name}": file for name, file in own.items()}
    code |= {f"app/{name}": file for name, file in library().items()}
    requirements = (SOURCES / IMAGE / "requirements.txt").read_text()
    site = _site(requirements, platform, out)
    interpreter = compiler(platform.python)
    inputs = digest("image", platform, bool(interpreter), code, requirements)
    config = {
        "Entrypoint": ["python", "-m", IMAGE],
        "Cmd": [],
        "Env": ["PYTHONPATH=${ROOT}/app:${ROOT}/site", "PYTHONUNBUFFERED=1"],
        "WorkingDir": "${ROOT}/app",
    }

    def make(folder: Path) -> None:
        builder.write(code, folder)
        if interpreter:
            compile_folder(folder, interpreter, "")
        size = sum(file.stat().st_size for file in files(folder)) + int((site / "size").read_text())
        # A link, as layers of an image are shared: a change of code must not copy 300 MB of wheels.
        (folder / "site").symlink_to(Path("..", "..", "sites", site.name, "site"))
        (folder / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
        (folder / "size").write_text(f"{size}\n")

    directory = kept(out / "images" / f"{IMAGE}-{inputs[:16]}", make)
    return Image(IMAGE, directory, inputs, int((directory / "size").read_text()))


def _site(requirements: str, platform: Platform, out: Path) -> Path:
    """The image's dependencies, kept apart from its code."""
    interpreter = compiler(platform.python)

    def make(folder: Path) -> None:
        install(requirements, platform, folder / "site")
        prune(folder / "site", UNUSED)
        if interpreter:
            compile_folder(folder / "site", interpreter, "site/")
        size = sum(file.stat().st_size for file in files(folder / "site"))
        (folder / "size").write_text(f"{size}\n")

    inputs = digest("site", platform, bool(interpreter), list(UNUSED), requirements)
    return kept(out / "sites" / f"{IMAGE}-{inputs[:16]}", make)


def build_models(*, out: Path = OUT) -> dict[str, Model]:
    """The two models of the example, from the wheels that the functions pin by hash. Raises BundleError."""
    return {name: _model(name, out) for name in _MODELS}


def _model(name: str, out: Path) -> Model:
    owner, package, inside, names = _MODELS[name]
    pin = pin_of((SOURCES / owner / "requirements.txt").read_text(), package)
    version = pin.split("==")[1].split()[0]
    seals = {path: file for path, file in library().items() if path.startswith("keepwarm_runtime/models/")}

    def make(folder: Path) -> None:
        take(pin, inside, names, folder / "files")
        # Late, so that a build that finds everything kept does not import the runtime.
        from keepwarm_runtime.models import manifest

        made = manifest.build(folder / "files", name=name, version=version)
        (folder / "manifest.json").write_bytes(made.canonical)

    folder = kept(out / "models" / f"{name}-{digest('model', pin, inside, names, seals)[:16]}", make)
    text = (folder / "manifest.json").read_text()
    return Model(
        name,
        version,
        text,
        hashlib.sha256(text.encode()).hexdigest(),
        folder / "files",
        {file: folder / "files" / file for file in names},
    )


def _runtime(python_version: str | None) -> str | None:
    return None if python_version is None else f"python{python_version}"


def ledger(build: Build) -> dict[str, Any]:
    """Sizes of everything against the limits of Lambda, as plain data."""
    return {
        "limits": {"zip_bytes": sizes.UPLOAD_MAX_BYTES, "unzipped_bytes": sizes.UNZIPPED_MAX_BYTES},
        "functions": sizes.rows(build.functions),
        "image": {
            "name": build.image.name,
            "directory": str(build.image.directory),
            "digest": build.image.digest,
            "size_bytes": build.image.size_bytes,
        },
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
    lines = sizes.table(facts["functions"])
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
