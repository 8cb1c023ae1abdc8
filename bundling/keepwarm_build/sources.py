"""What goes into a bundle: the files of a folder, checked, and the runtime library."""

import ast
import importlib.util
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from keepwarm_build.errors import BundleError

LIBRARY = "keepwarm_runtime"
"""Import name of the library that every bundle carries."""

_REQUIREMENTS = re.compile(r"requirements[^/]*\.(txt|in)")


class Source(NamedTuple):
    """One file of a bundle."""

    body: bytes
    executable: bool


Sources = Mapping[str, Source]
"""Path in the bundle -> file."""


def collect(folder: Path, who: str) -> dict[str, Source]:
    """Every file below a folder, sorted by path: no hidden files, no bytecode, no top-level requirements files.

    Links are followed while they stay inside the folder.

    Raises:
        BundleError: KW197, naming what can't be used.
    """
    if not folder.is_dir():
        raise _unusable(
            f"{who} folder",
            f"{folder}, which is {'no folder' if folder.exists() else 'missing'}",
            allowed="a folder with the function's sources",
            because="it is what Lambda runs",
            fix="create it, or name the right folder; a relative path starts at the current directory",
        )
    root = folder.resolve()
    try:
        found = {
            name: Source(path.read_bytes(), bool(path.stat().st_mode & 0o100))
            for name, path in _walk(root, root, "", (root,), who)
            if not _REQUIREMENTS.fullmatch(name)
        }
    except OSError as fault:
        raise _unusable(
            f"{who} file",
            f"{fault.filename}: {fault.strerror}",
            allowed="files that can be read",
            because="they go into the bundle",
            fix="make it readable, or move it out of the folder",
        ) from fault
    return dict(sorted(found.items()))


def library() -> dict[str, Source]:
    """The sources of keepwarm-runtime, wherever it is installed; it is not imported.

    Raises:
        BundleError: KW199.
    """
    spec = importlib.util.find_spec(LIBRARY)
    places = list(spec.submodule_search_locations or []) if spec else []
    place = next((Path(p) for p in places if (Path(p) / "__init__.py").is_file()), None)
    if place is None:
        raise BundleError(
            "KW199",
            "keepwarm-runtime",
            f"{places[0]}, which is no folder with its sources" if places else "no such package",
            allowed="an installed keepwarm-runtime",
            because="its sources go into every bundle",
            fix="pip install keepwarm-runtime in the environment that runs this program",
        )
    found = collect(place, LIBRARY)
    return {f"{LIBRARY}/{name}": file for name, file in found.items() if name.endswith((".py", ".typed"))}


def joined(parts: Mapping[str, Sources], who: str) -> dict[str, Source]:
    """Sources of several folders as one; two of them may not have the same path. Keys say whose sources they are.

    Raises:
        BundleError: KW197.
    """
    found: dict[str, Source] = {}
    owner: dict[str, str] = {}
    for label, sources in parts.items():
        for name, file in sources.items():
            if name in found:
                raise _unusable(
                    f"{who} file",
                    f"{name} in {owner[name]} and in {label}",
                    allowed="each path once",
                    because="one of them would hide the other",
                    fix="rename one of them",
                )
            found[name], owner[name] = file, label
    return found


def check_no_library(sources: Sources, who: str) -> None:
    """Refuse sources that would hide the runtime library (KW197)."""
    for name in sources:
        if name.partition("/")[0] in {LIBRARY, f"{LIBRARY}.py"}:
            raise _unusable(
                f"{who} file",
                name,
                allowed=f"any name but {LIBRARY}",
                because="the bundle carries the library of that name",
                fix="rename it; the library itself needn't be copied",
            )


def check_handler(sources: Sources, handler: str, who: str, python: str) -> None:
    """Refuse a handler whose module is not there, or does not define the function (KW197). Nothing is imported."""
    module, _, function = handler.replace("/", ".").rpartition(".")
    path = module.replace(".", "/")
    file = next((name for name in (f"{path}.py", f"{path}/__init__.py") if name in sources), None)
    if not module or not function.isidentifier() or file is None:
        raise _unusable(
            f"{who} handler",
            f"{handler!r}" + (f" and no {path}.py" if module and function.isidentifier() else ""),
            allowed="module.function of a module in the folder",
            because="Lambda imports it to start the function",
            fix=f"write {path or 'handler'}.py with that function, or name another handler",
        )
    try:
        tree = ast.parse(sources[file].body)
    except (SyntaxError, ValueError) as fault:
        if tuple(map(int, python.split("."))) > sys.version_info[:2]:
            return  # may be syntax that only the target knows
        line = getattr(fault, "lineno", None)
        raise _unusable(
            f"{who} file",
            f"{file}{f' line {line}' if line else ''}: {getattr(fault, 'msg', fault)}",
            allowed="valid Python",
            because="Lambda imports it to start the function",
            fix="correct the line",
        ) from fault
    names = set(_defined(tree.body))
    if function not in names and "*" not in names:
        raise _unusable(
            f"{who} handler",
            f"{handler!r} and no {function} in {file}",
            allowed="module.function that the module defines",
            because="Lambda calls it for every event",
            fix=f"define {function} in {file}, or name another handler",
        )


def _walk(
    root: Path, folder: Path, prefix: str, trail: tuple[Path, ...], who: str
) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.iterdir()):
        name = prefix + path.name
        if path.name.startswith(".") or path.name == "__pycache__" or path.suffix == ".pyc":
            continue
        if path.is_symlink():
            _check_link(root, path, name, who)
        if path.is_dir():
            real = path.resolve()
            if real in trail:
                raise _link(name, "a link to a folder that it is in", who)
            yield from _walk(root, path, f"{name}/", (*trail, real), who)
        elif path.is_file():
            _check_name(name, who)
            yield name, path


def _check_link(root: Path, path: Path, name: str, who: str) -> None:
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError):
        raise _link(name, "a link that leads nowhere", who) from None
    if not real.is_relative_to(root):
        raise _link(name, f"a link to {real}, outside the folder", who)


def _check_name(name: str, who: str) -> None:
    if not name.isprintable():
        raise _unusable(
            f"{who} file",
            ascii(name),
            allowed="names of printable characters",
            because="a zip can't carry the name faithfully",
            fix="rename the file",
        )


def _link(name: str, got: str, who: str) -> BundleError:
    return _unusable(
        f"{who} file",
        f"{name}, {got}",
        allowed="links to files inside the folder",
        because="the bundle holds what the folder holds, on every machine",
        fix="copy the file into the folder, or name its folder in `include`",
    )


def _unusable(who: str, got: str, *, allowed: str, because: str, fix: str) -> BundleError:
    return BundleError("KW197", who, got, allowed=allowed, because=because, fix=fix)


def _defined(body: list[ast.stmt]) -> Iterator[str]:
    """Names that the statements of a module bind, branches included; `*` for a star import."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
        else:
            for child in ast.walk(node):
                if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store):
                    yield child.id
                elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                    yield child.name
                elif isinstance(child, ast.ImportFrom | ast.Import):
                    yield from (alias.asname or alias.name.partition(".")[0] for alias in child.names)
