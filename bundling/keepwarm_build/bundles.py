"""A folder and its pinned requirements as what Lambda takes: a zip of the code, and a layer with the dependencies."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

from keepwarm_build import ledger, sources, wheels
from keepwarm_build.bytecode import compile_folder, compiler
from keepwarm_build.errors import BundleError
from keepwarm_build.kept import default_cache, digest
from keepwarm_build.platform import Platform, Target
from keepwarm_build.zips import Archive, kept_zip

if TYPE_CHECKING:
    import pulumi

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class FunctionCode(TypedDict):
    """Inputs of a RuntimeFunction that a bundle decides."""

    code: "pulumi.Archive"
    handler: str
    runtime: str
    architecture: Any
    """The component's enumeration takes the plain word; this package doesn't know the component."""
    unzipped_bytes: int
    layer_archives: "NotRequired[dict[str, pulumi.Archive]]"


@dataclass(frozen=True, slots=True)
class Bundle:
    """One function, built."""

    name: str
    path: Path
    """Zip of the code."""
    sha256: str
    """Digest of that zip, 64 hex digits."""
    size_bytes: int
    """Size of that zip."""
    unzipped_bytes: int
    """What Lambda counts against its limit: the code and all layers, unzipped."""
    runtime: str
    """Lambda runtime that it was built for, such as `python3.12`."""
    architecture: str
    """`x86_64` or `arm64`."""
    handler: str = "handler.handler"
    bytecode: bool = True
    """Whether compiled modules are inside: not when this machine has no interpreter of the target's version."""
    layers: tuple[Archive, ...] = ()
    """What the function needs beside its code; each holds `python/`, which Lambda puts on the path as `/opt/python`."""

    def as_args(self) -> FunctionCode:
        """Inputs of a component that deploys the function: `{**bundle("function").as_args(), "memory_mb": 512}`."""
        # Late, so that a build outside a Pulumi program doesn't need Pulumi.
        import pulumi

        args: FunctionCode = {
            "code": pulumi.FileArchive(str(self.path)),
            "handler": self.handler,
            "runtime": self.runtime,
            "architecture": self.architecture,
            "unzipped_bytes": self.unzipped_bytes,
        }
        if self.layers:
            args["layer_archives"] = {
                layer.name: pulumi.FileArchive(str(layer.path)) for layer in self.layers
            }
        return args


def bundle(
    folder: str | Path,
    *,
    requirements: str | Path | None = None,
    handler: str = "handler.handler",
    runtime: str | None = None,
    architecture: str | None = None,
    target: Target = "lambda",
    include: Sequence[str | Path] = (),
    drop: Sequence[str] = (),
    name: str | None = None,
    cache: str | Path | None = None,
) -> Bundle:
    """Build a function, or find it built: the same sources, requirements and target give the same bytes.

    The zip holds the folder's files (no hidden ones, no requirements files), `keepwarm_runtime`, and bytecode where
    this machine has an interpreter of the target's version. Dependencies become a layer of their own, so that a change
    of code moves kilobytes.

    Args:
        folder: The function's sources. A relative path starts at the current directory, which is the project's folder
            in a Pulumi program.
        requirements: File with one `name==version --hash=sha256:...` for each wheel, as `uv pip compile
            --generate-hashes` writes it. Default: `requirements.txt` in the folder, if there is one.
        handler: `module.function` that Lambda calls.
        runtime: Lambda runtime, `python3.11` to `python3.14`. Default: this interpreter's version.
        architecture: `x86_64`, `arm64` or `host`. Default: x86_64 for `lambda`, this machine's for `host`.
        target: `lambda` chooses wheels that run on AWS; `host` those that run on this machine, which the embedded cloud
            needs where that is not Linux on `architecture`.
        include: Folders whose files are added to the function's, for code that several functions share.
        drop: What the dependencies don't need, to save size: `tests/` is a folder anywhere, `*.h` a file anywhere,
            `numpy/f2py/` and `/bin/` start at the root.
        name: Name of the bundle, and the first part of the layer's. Default: the folder's name.
        cache: Folder that keeps results by the digest of their inputs. Builds may share it; between builds it may be
            deleted. Default: `$XDG_CACHE_HOME/keepwarm/build`, else `~/.cache/keepwarm/build`.

    Raises:
        BundleError: KW190 no such target, KW191 too large for Lambda, KW192 to KW195 from the dependencies, KW196 the
            cache can't be written, KW197 the sources can't be used, KW198 a requirement isn't pinned, KW199 no
            keepwarm-runtime.
    """
    folder = Path(folder)
    name = folder.resolve().name if name is None else name
    who = f"bundle '{name}'"
    if not _NAME.fullmatch(name):
        raise BundleError(
            "KW197",
            "bundle name",
            repr(name),
            allowed="1 to 64 letters, digits, - and _",
            because="files and layers are named after it",
            fix="pass `name`, or rename the folder",
        )
    platform = Platform.of(target, architecture, runtime)
    place = default_cache() if cache is None else Path(cache)
    own = sources.joined({str(f): sources.collect(Path(f), who) for f in (folder, *include)}, who)
    sources.check_no_library(own, who)
    sources.check_handler(own, handler, who, platform.python)
    code = _code(name, own | sources.library(), platform, place)
    pins = _requirements(folder, requirements, who)
    layers = (_layer(f"{name}-dependencies", pins, platform, drop, place),) if pins else ()
    built = Bundle(
        name,
        code.path,
        code.sha256,
        code.size_bytes,
        code.unzipped_bytes + sum(layer.unzipped_bytes for layer in layers),
        runtime=platform.runtime,
        architecture=platform.architecture,
        handler=handler,
        bytecode=compiler(platform.python) is not None,
        layers=layers,
    )
    ledger.check_size(built)
    return built


def write(files: sources.Sources, folder: Path) -> None:
    """Write sources into a folder."""
    for name, file in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.body)
        target.chmod(0o755 if file.executable else 0o644)


def _code(name: str, files: sources.Sources, platform: Platform, cache: Path) -> Archive:
    interpreter = compiler(platform.python)

    def make(folder: Path) -> None:
        write(files, folder)
        if interpreter:
            compile_folder(folder, interpreter, "/var/task/")

    return kept_zip(cache, name, digest("function", platform.python if interpreter else "any", files), make)


def _layer(name: str, pins: str, platform: Platform, drop: Sequence[str], cache: Path) -> Archive:
    """Dependencies as a layer: one for each requirement set, so that a change of code moves a few kilobytes only."""
    interpreter = compiler(platform.python)

    def make(folder: Path) -> None:
        site = folder / "python"
        wheels.install(pins, platform, site)
        wheels.prune(site, drop)
        if interpreter:
            compile_folder(site, interpreter, "/opt/python/")

    return kept_zip(cache, name, digest("layer", platform, bool(interpreter), list(drop), pins), make)


def _requirements(folder: Path, named: str | Path | None, who: str) -> str:
    """Text of the requirements file; empty when there is none, or nothing in it."""
    path = folder / "requirements.txt" if named is None else Path(named)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if named is None:
            return ""
        raise _unreadable(path, "which is missing", who) from None
    except (OSError, UnicodeDecodeError) as fault:
        raise _unreadable(path, getattr(fault, "strerror", None) or "which is not UTF-8", who) from fault
    names = wheels.pinned_names(text, f"{who} {path.name}")
    if "keepwarm-runtime" in names:
        raise BundleError(
            "KW197",
            f"{who} {path.name}",
            "keepwarm-runtime",
            allowed="packages that the bundle does not carry itself",
            because="the code's copy would hide the layer's",
            fix="remove the line; the installed keepwarm-runtime is in every bundle",
        )
    return text if names else ""


def _unreadable(path: Path, why: str, who: str) -> BundleError:
    return BundleError(
        "KW197",
        f"{who} requirements",
        f"{path}, {why}",
        allowed="a text file of pinned requirements",
        because="the layer is built from it",
        fix="create it: uv pip compile --generate-hashes requirements.in -o requirements.txt",
    )
