"""Zips with the same bytes for the same files: sorted names, one time, and modes that no umask changes."""

import hashlib
import json
import shutil
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from keepwarm_build.kept import kept

EPOCH = (1980, 1, 1, 0, 0, 0)
"""Time of every file in a zip: the earliest that the format knows."""

_NAMED_PARTS = 5


@dataclass(frozen=True, slots=True)
class Archive:
    """A zip to deploy as a function's code or as a layer."""

    name: str
    path: Path
    sha256: str
    """Digest of the zip, 64 hex digits."""
    size_bytes: int
    """Size of the zip."""
    unzipped_bytes: int
    """Size of its files."""
    largest: tuple[tuple[str, int], ...] = ()
    """The largest packages in it with their unzipped sizes in bytes, largest first."""


def files(folder: Path) -> Iterator[Path]:
    """Every file below a folder, sorted by its path in it as text: as `Path`s, systems order them differently."""
    return iter(sorted((path for path in folder.rglob("*") if path.is_file()), key=Path.as_posix))


def write_zip(target: Path, folder: Path) -> int:
    """Zip a folder; returns the unzipped size in bytes.

    Files that their owner may execute get mode 0755, all others 0644.
    """
    total = 0
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in files(folder):
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3
            entry.external_attr = (0o100755 if path.stat().st_mode & 0o100 else 0o100644) << 16
            body = path.read_bytes()
            total += len(body)
            archive.writestr(entry, body)
    return total


def kept_zip(cache: Path, name: str, digest: str, make: Callable[[Path], None]) -> Archive:
    """A zip of what `make` puts into a folder, made once for each digest of its inputs."""

    def zipped(folder: Path) -> None:
        content = folder / "content"
        content.mkdir()
        make(content)
        unzipped = write_zip(folder / f"{name}.zip", content)
        largest = _largest(content)
        shutil.rmtree(content)
        body = (folder / f"{name}.zip").read_bytes()
        facts = {"sha256": hashlib.sha256(body).hexdigest(), "size": len(body), "unzipped": unzipped}
        (folder / "facts.json").write_text(json.dumps(facts | {"largest": largest}))

    folder = kept(cache / "bundles" / f"{name}-{digest[:16]}", zipped)
    facts = json.loads((folder / "facts.json").read_text())
    path = folder / f"{name}.zip"
    if not path.is_file() or path.stat().st_size != facts["size"]:
        # Somebody touched the kept result: make it again rather than deploy it.
        shutil.rmtree(folder, ignore_errors=True)
        return kept_zip(cache, name, digest, make)
    largest = tuple((str(part), int(size)) for part, size in facts["largest"])
    return Archive(name, path, facts["sha256"], facts["size"], facts["unzipped"], largest)


def _largest(content: Path) -> list[tuple[str, int]]:
    """The largest packages of a folder; those of a layer lie below `python/`."""
    site = content / "python"
    root = site if site.is_dir() else content
    sizes: Counter[str] = Counter()
    for path in files(root):
        sizes[path.relative_to(root).parts[0]] += path.stat().st_size
    return sorted(sizes.items(), key=lambda part: (-part[1], part[0]))[:_NAMED_PARTS]
