"""Files that a program hands to a resource: content, a digest that does not depend on the machine, one zip form.

An archive becomes a zip whose bytes depend only on the names and contents in it (fixed time, order, mode), so the
same input gives the same code digest everywhere. A `.zip` file is taken as it is.
"""

import hashlib
import io
import os
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keepwarm_localcloud.pulumi_types.errors import ResourceError

_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(slots=True)
class Blob:
    """One asset or archive.

    `digest` identifies the content; it is Pulumi's own hash when the engine gave one. `read` gives the bytes (a
    zip for an archive) and is None when only the digest is known, as for something read from a state file.
    """

    digest: str
    archive: bool
    read: Callable[[], bytes] | None = None
    wire: Any = field(default=None, compare=False)
    """The protobuf value this came from, to be sent back unchanged."""

    def content(self, owner: str) -> bytes:
        """Return the bytes.

        Raises:
            ResourceError: KW646, the file is gone or unreadable.
        """
        if self.read is None:
            raise ResourceError(
                "KW646", f"{owner}: the content of an asset is not in the state; fix: run up again"
            )
        try:
            return self.read()
        except (OSError, zipfile.BadZipFile, tarfile.TarError) as error:
            raise ResourceError(
                "KW646",
                f"{owner}: an asset cannot be read: {error}; fix: build the file before the program runs",
            ) from error


def zip_bytes(entries: Mapping[str, tuple[bytes, bool]]) -> bytes:
    """Pack `name -> (content, executable)` into a zip that depends on nothing else."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in sorted(entries):
            content, executable = entries[name]
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (0o100755 if executable else 0o100644) << 16
            archive.writestr(info, content)
    return packed.getvalue()


def _folder_entries(folder: Path) -> dict[str, tuple[bytes, bool]]:
    entries: dict[str, tuple[bytes, bool]] = {}
    for root, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            path = Path(root) / name
            entries[path.relative_to(folder).as_posix()] = (path.read_bytes(), os.access(path, os.X_OK))
    return entries


def _archive_entries(path: Path) -> dict[str, tuple[bytes, bool]]:
    if path.is_dir():
        return _folder_entries(path)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return {
                info.filename: (archive.read(info), bool((info.external_attr >> 16) & 0o111))
                for info in archive.infolist()
                if not info.is_dir()
            }
    with tarfile.open(path) as archive:
        entries = {}
        for member in archive.getmembers():
            source = archive.extractfile(member) if member.isfile() else None
            if source is not None:
                entries[member.name] = (source.read(), bool(member.mode & 0o111))
        return entries


def file_blob(path: Path) -> Blob:
    """Describe one file as an asset."""
    return Blob(_digest_of(path), False, path.read_bytes)


def text_blob(text: str) -> Blob:
    """Describe text as an asset."""
    content = text.encode()
    return Blob(hashlib.sha256(content).hexdigest(), False, lambda: content)


def archive_blob(path: Path) -> Blob:
    """Describe a folder, zip or tar file as an archive; a zip keeps its bytes."""
    if path.is_dir():
        digest = _digest_of_folder(path)
        return Blob(digest, True, lambda: zip_bytes(_folder_entries(path)))
    if path.suffix in (".zip", ".jar", ".whl"):
        return Blob(_digest_of(path), True, path.read_bytes)
    return Blob(_digest_of(path), True, lambda: zip_bytes(_archive_entries(path)))


def entries_blob(parts: Mapping[str, Blob | Path]) -> Blob:
    """Describe an archive put together from assets and archives, named by where they lie in it."""
    digest = hashlib.sha256()
    for name in sorted(parts):
        part = parts[name]
        digest.update(f"{name}\0{part.digest if isinstance(part, Blob) else part}\0".encode())

    def build() -> bytes:
        entries: dict[str, tuple[bytes, bool]] = {}
        for name, part in parts.items():
            if not isinstance(part, Blob):
                raise OSError(f"{part} cannot be packed")
            content = part.content(name)
            if part.archive:
                with zipfile.ZipFile(io.BytesIO(content)) as inner:
                    for info in inner.infolist():
                        if not info.is_dir():
                            executable = bool((info.external_attr >> 16) & 0o111)
                            entries[f"{name.rstrip('/')}/{info.filename}"] = (inner.read(info), executable)
            else:
                entries[name] = (content, False)
        return zip_bytes(entries)

    return Blob(digest.hexdigest(), True, build)


_KNOWN: dict[tuple[str, int, int], str] = {}
"""Digest by (path, size, time of change): a second deployment in a process does not read the same bundle again."""


def _digest_of(path: Path) -> str:
    status = path.stat()
    key = (str(path.resolve()), status.st_size, status.st_mtime_ns)
    known = _KNOWN.get(key)
    if known is None:
        digest = hashlib.sha256()
        with path.open("rb") as source:
            while chunk := source.read(1 << 20):
                digest.update(chunk)
        known = _KNOWN[key] = digest.hexdigest()
    return known


def _digest_of_folder(folder: Path) -> str:
    digest = hashlib.sha256()
    for root, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            path = Path(root) / name
            digest.update(f"{path.relative_to(folder).as_posix()}\0{os.access(path, os.X_OK)}\0".encode())
            digest.update(_digest_of(path).encode())
    return digest.hexdigest()
