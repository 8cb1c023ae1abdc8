"""Deployment packages: checked as Lambda checks them, unzipped once per digest, shared read-only by environments.

Unzipping a layer of 120 MB takes longer than most of a deployment, so a cache folder may keep packages between clouds.
A kept package is used only when every member still has the size and checksum that the uploaded zip states.
"""

import base64
import contextlib
import errno
import hashlib
import io
import os
import shutil
import stat
import threading
import time
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from keepwarm import limits
from keepwarm_localcloud.request import AwsError
from keepwarm_localcloud.services.lambda_.errors import invalid

CACHE_DAYS = 30
"""Days after its last use that a kept package is removed."""

REQUEST_MAX_BYTES = 70_167_211
"""Body of a request with a package in it, as AWS states it when it refuses one (50 MB in base64 and its JSON)."""


@dataclass(frozen=True, slots=True)
class Package:
    """One unzipped deployment package or layer."""

    sha256: str
    """Base64, as the API shows it."""
    size: int
    """Zipped bytes."""
    unzipped: int
    directory: Path
    archive: Path


class CodeStore:
    """Packages on disk, one folder per content digest.

    Args:
        directory: of this cloud; gone with it.
        cache: folder that outlives it and may be shared by several at once; none keeps nothing.
    """

    def __init__(self, directory: Path, cache: Path | None = None) -> None:
        self._directory = directory
        self._cache = cache
        if cache is not None:
            _prune(cache)
        self._lock = threading.Lock()
        self._packages: dict[str, Package] = {}
        self._unzipping: dict[str, threading.Lock] = {}

    def add(self, archive: bytes, *, direct: bool = False) -> Package:
        """Check and unzip a package; the same bytes are unzipped once.

        Args:
            archive: the zip file.
            direct: it came in the request itself, where the smaller limit holds.

        Raises:
            AwsError: not a zip, empty, too large, or with paths that leave the folder.
        """
        if direct and len(archive) > limits.LAMBDA_ZIP_UPLOAD_MAX_BYTES:
            raise AwsError(
                "RequestEntityTooLargeException",
                f"Request must be smaller than {REQUEST_MAX_BYTES} bytes for the CreateFunction operation",
                413,
            )
        digest = hashlib.sha256(archive)
        name = digest.hexdigest()
        with self._lock:
            # Different packages are unzipped side by side, the same one once.
            unzipping = self._unzipping.setdefault(name, threading.Lock())
        with unzipping:
            if name not in self._packages:
                self._packages[name] = self._unzip(archive, name, base64.b64encode(digest.digest()).decode())
            return self._packages[name]

    def find(self, sha256: str) -> Package | None:
        """Give the package with that base64 SHA-256, if it was added before."""
        return next((p for p in list(self._packages.values()) if p.sha256 == sha256), None)

    def _unzip(self, archive: bytes, digest: str, sha256: str) -> Package:
        root = self._cache or self._directory
        target = root / digest
        # Its own name: another cloud may be unzipping the same package into the same cache.
        unpacked = root / f"{digest}.{os.getpid()}-{id(self)}.part"
        try:
            with zipfile.ZipFile(io.BytesIO(archive)) as opened:
                infos = opened.infolist()
                unzipped = sum(i.file_size for i in infos)
                if not infos:
                    raise invalid("Uploaded file must be a non-empty zip")
                if unzipped > limits.LAMBDA_UNZIPPED_MAX_BYTES:
                    raise invalid(
                        f"Unzipped size must be smaller than {limits.LAMBDA_UNZIPPED_MAX_BYTES} bytes"
                    )
                found = target.is_dir() and _intact(infos, target)
                if not found:
                    unpacked.mkdir(parents=True)
                    for info in infos:
                        _extract(opened, info, unpacked)
        except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError, ValueError) as error:
            shutil.rmtree(unpacked, ignore_errors=True)
            raise invalid(
                "Could not unzip uploaded file. Please check your file, then try to upload again."
            ) from error
        if found:
            os.utime(target)
        else:
            _publish(unpacked, target, infos)
        self._directory.mkdir(parents=True, exist_ok=True)
        kept = self._directory / f"{digest}.zip"
        kept.write_bytes(archive)
        return Package(sha256, len(archive), unzipped, target, kept)


def _publish(unpacked: Path, target: Path, infos: list[zipfile.ZipInfo]) -> None:
    """Put a finished folder in its place, unless another cloud was faster; only what is damaged is moved away."""
    try:
        unpacked.rename(target)
        return
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
            raise
    if not _intact(infos, target):
        damaged = unpacked.with_suffix(".old")
        target.rename(damaged)
        unpacked.rename(target)
        shutil.rmtree(damaged, ignore_errors=True)
    shutil.rmtree(unpacked, ignore_errors=True)


def _intact(infos: list[zipfile.ZipInfo], root: Path) -> bool:
    """Say whether every member is there as the zip states it: kept folders are only as safe as the disk they lie on."""
    for info in infos:
        path = root / info.filename
        if info.is_dir():
            if not path.is_dir():
                return False
            continue
        if stat.S_ISLNK(info.external_attr >> 16):
            if not path.is_symlink():
                return False
            continue
        try:
            with path.open("rb") as file:
                content = file.read(info.file_size + 1)
        except OSError:
            return False
        if len(content) != info.file_size or zlib.crc32(content) != info.CRC:
            return False
    return True


def _prune(cache: Path) -> None:
    """Remove what nobody used for a month, and the rest of unzips that were killed."""
    oldest_s = time.time() - CACHE_DAYS * 86_400
    abandoned_s = time.time() - 3_600
    for entry in cache.glob("*"):
        with contextlib.suppress(OSError):
            used_s = entry.stat().st_mtime
            if used_s < (abandoned_s if entry.suffix in {".part", ".old"} else oldest_s):
                shutil.rmtree(entry, ignore_errors=True)


def _extract(opened: zipfile.ZipFile, info: zipfile.ZipInfo, root: Path) -> None:
    """Write one member with the permission bits it carries (a `bootstrap` must stay executable).

    Raises:
        ValueError: its path, or the target of its link, leaves the folder.
    """
    name = PurePosixPath(info.filename)
    if name.is_absolute() or ".." in name.parts:
        raise ValueError(f"the member {info.filename!r} leaves the package")
    path = root / name
    if info.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = info.external_attr >> 16
    if stat.S_ISLNK(mode):
        link = opened.read(info).decode()
        if not (path.parent / link).resolve().is_relative_to(root.resolve()):
            raise ValueError(f"the link {info.filename!r} leaves the package")
        path.symlink_to(link)
        return
    with opened.open(info) as source, path.open("wb") as sink:
        shutil.copyfileobj(source, sink, 1 << 20)
    # Owner may always read; nobody writes: the package is shared by every environment of the version.
    path.chmod((mode & 0o555) | 0o444 if mode else 0o444)
    modified = time.mktime((*info.date_time, 0, 0, -1))
    os.utime(path, (modified, modified))
