"""The verified model cache of one host (contract C3).

    cache/blobs/<sha256>              verified files, 0444, never written again
    cache/models/<digest>/...         hard links to blobs under the model's own paths
    cache/models/<digest>/.keepwarm   what was verified: inode, size and times of each file
    cache/parts/<sha256>              a download in progress: space reserved, not visible as a blob
    cache/locks/<name>                flock files: whoever dies lets go, so that a waiter takes over
    cache/quarantine/                 what turned out to be wrong, one per digest, for whoever investigates

A part has no journal: after a crash its chunks are hashed again and those that have their digest are kept, which
trusts nothing that was written before the crash. A blob appears by rename, after fsync, with every chunk verified.

Threat model: other users of the host can't touch the cache (0700, checked). A process of the same user can; a
changed inode, size, mtime or ctime is found before the file is used, and `sealed` gives a copy that nobody can
change any more.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import stat
import threading
import time

from keepwarm_runtime import fault
from keepwarm_runtime.deadline import Deadline
from keepwarm_runtime.errors import (
    AwsFault,
    BrokenAnswer,
    CacheUnusable,
    DeadlineExceeded,
    DigestMismatch,
    ModelFault,
    NoSpace,
    Throttled,
    Unreachable,
)
from keepwarm_runtime.jitter import uniform
from keepwarm_runtime.models.manifest import Manifest, ManifestFile, blob_key, parse, version_order
from keepwarm_runtime.models.registry import Ref, Registry, unavailable
from keepwarm_runtime.phases import LIFECYCLE, Recorder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any, BinaryIO

# os.path throughout, because importing pathlib is 3 ms of every cold start.
# ruff: noqa: PTH101, PTH102, PTH103, PTH104, PTH105, PTH106, PTH108, PTH116, PTH118, PTH120, PTH123, PTH208

STREAMS = 8
"""Most ranged reads at a time. Lambda's network is limited per connection."""
SLICE_BYTES = 256 * 1024
"""Received, hashed and written piece by piece, while the bytes are still in the processor's cache. Receiving into a
mapping of the file saves the copy and costs a page fault per 4 KiB instead, which is dearer."""
CHUNK_ATTEMPTS = 12
"""Tries of one chunk while the connection breaks or S3 says to slow down, with pauses that add up to some seconds and
never pass the deadline; a wrong digest gets one second chance only."""
LOCK_POLL_S = 0.01
HEADROOM_BYTES = 1024 * 1024
RECORD = ".keepwarm"


class CachedModel:
    """A verified model on this host. It is pinned, so never evicted, until `release` or the end of the process."""

    __slots__ = ("_cache", "_pin", "_stats", "cache", "directory", "manifest", "waited_s")

    def __init__(
        self,
        cache: ModelCache,
        manifest: Manifest,
        directory: str,
        state: str,
        stats: dict[str, list[int]],
        pin: int,
    ) -> None:
        self._cache = cache
        self._pin = pin
        self._stats = stats
        self.manifest = manifest
        self.directory = directory
        self.cache = state
        """`hit`, `fetched`, or `waited` when another process of this host fetched it meanwhile."""
        self.waited_s = 0.0

    def file(self, path: str) -> Path:
        """Return the path of a verified file.

        Raises:
            UnsafePath: the manifest has no such file.
            DigestMismatch: the file changed after it was verified.
        """
        from pathlib import Path

        self._check(path)
        return Path(self.directory, path)

    def open(self, path: str) -> BinaryIO:
        """Open a verified file; what you read is the inode that was verified.

        Raises:
            UnsafePath, DigestMismatch: as `file`.
        """
        self.manifest.file(path)
        handle = open(os.path.join(self.directory, path), "rb")  # noqa: SIM115  (the caller closes it)
        if _identity(os.fstat(handle.fileno())) != self._stats[path]:
            handle.close()
            raise self._changed(path)
        return handle

    def sealed(self, path: str) -> int:
        """Return a memory file descriptor with the file's verified bytes, sealed against every change.

        Costs memory of the file's size. Linux only.

        Raises:
            DigestMismatch: the file changed after it was verified.
        """
        entry = self.manifest.file(path)
        descriptor = os.memfd_create(f"keepwarm-{entry.sha256[:12]}", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
        try:
            with open(os.path.join(self.directory, path), "rb") as source:
                for index, expected in enumerate(entry.chunks):
                    chunk = source.read(entry.span(index)[1])
                    if hashlib.sha256(chunk).hexdigest() != expected:
                        raise self._changed(path)
                    os.write(descriptor, chunk) if len(chunk) < SLICE_BYTES else _write_all(descriptor, chunk)
            seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
            os.lseek(descriptor, 0, os.SEEK_SET)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def check(self) -> None:
        """Check that no file changed since it was verified; microseconds, for restored snapshots.

        Raises:
            DigestMismatch: naming the file that did.
        """
        for path in self._stats:
            self._check(path)

    def release(self) -> None:
        """Let the cache evict this model when it needs the space."""
        if self._pin >= 0:
            os.close(self._pin)
            self._pin = -1

    def as_event(self) -> dict[str, str]:
        """Facts for the result event."""
        return {
            "name": self.manifest.name,
            "version": self.manifest.version,
            "digest": self.manifest.digest,
            "cache": self.cache,
        }

    def _check(self, path: str) -> None:
        self.manifest.file(path)
        try:
            now = _identity(os.lstat(os.path.join(self.directory, path)))
        except OSError as error:
            raise self._changed(path) from error
        if now != self._stats[path]:
            raise self._changed(path)

    def _changed(self, path: str) -> DigestMismatch:
        return DigestMismatch(
            f"model file {self.manifest.name}/{path}",
            "a file that changed after it was verified",
            allowed=f"sha256 {self.manifest.file(path).sha256}",
            fix="open the model again: the cache verifies it and fetches it anew if it must",
        )


class ModelCache:
    """Verified models under one directory, shared by all processes of this user on this host."""

    def __init__(
        self,
        directory: str,
        registry: Registry,
        *,
        streams: int = STREAMS,
        recorder: Recorder | None = None,
        draw: Callable[[], float] = uniform,
        permit: Callable[[Deadline], Any] | None = None,
    ) -> None:
        self.directory = directory
        self.registry = registry
        self.streams = streams
        self._recorder = recorder or LIFECYCLE.init
        self._draw = draw
        self._permit = permit
        """Optional: a context manager to hold while downloading, so that many hosts don't start at once."""
        self.chunks_fetched = 0
        self.chunks_resumed = 0
        self.bytes_fetched = 0

    # -- opening

    def open(self, ref: str, *, deadline: Deadline | None = None) -> CachedModel:
        """Return the verified model of a reference, from this host if it is here.

        Raises:
            ModelFault: one of its kinds (KW4xx); nothing unverified is left visible.
            DeadlineExceeded: another process was still fetching it when the time was up.
        """
        deadline = deadline or Deadline.after(None)
        self._prepare()
        wanted = Ref.parse(ref)
        with self._recorder.measure("fetch"):
            manifest = self._local_manifest(wanted.digest) if wanted.digest else None
            if manifest is None or manifest.name != wanted.name:
                manifest = self._resolve(ref, wanted, deadline)
        return self.open_manifest(manifest, deadline=deadline)

    def open_manifest(self, manifest: Manifest, *, deadline: Deadline | None = None) -> CachedModel:
        """Return the verified model of a manifest that the caller trusts."""
        deadline = deadline or Deadline.after(None)
        self._prepare()
        pin = self._pin(manifest.digest)
        try:
            with self._recorder.measure("verify"):
                stats = self._verified(manifest)
            if stats is not None:
                return CachedModel(self, manifest, self._model(manifest.digest), "hit", stats, pin)
            started_s = time.monotonic()
            with self._lock(f"model-{manifest.digest}", deadline, manifest):
                waited_s = time.monotonic() - started_s
                stats = self._verified(manifest)
                state = "waited"
                if stats is None:
                    stats, state = self._install(manifest, deadline), "fetched"
            model = CachedModel(self, manifest, self._model(manifest.digest), state, stats, pin)
            model.waited_s = waited_s
        except BaseException:
            os.close(pin)
            raise
        return model

    def _resolve(self, ref: str, wanted: Ref, deadline: Deadline) -> Manifest:
        floor = self._remembered_floor(wanted)
        resolved = self.registry.resolve(ref, floor=floor, deadline=deadline)
        if resolved.pointer is not None and resolved.pointer.floor is not None:
            self._remember_floor(wanted, resolved.pointer.floor)
        return resolved.manifest

    def _remembered_floor(self, wanted: Ref) -> str | None:
        if wanted.channel is None:
            return None
        try:
            with open(self._path("floors", f"{wanted.name}:{wanted.channel}"), encoding="ascii") as handle:
                return handle.read() or None
        except FileNotFoundError:
            return None

    def _remember_floor(self, wanted: Ref, floor: str) -> None:
        known = self._remembered_floor(wanted)
        if known is None or version_order(known) < version_order(floor):
            self._write_file(self._path("floors", f"{wanted.name}:{wanted.channel}"), floor.encode(), 0o600)

    # -- what is here already

    def _local_manifest(self, digest: str) -> Manifest | None:
        try:
            with open(self._path("models", digest, RECORD, "manifest.json"), "rb") as handle:
                data = handle.read()
        except OSError:
            return None
        try:
            return parse(data, expected_digest=digest)
        except ModelFault:
            # Damaged at rest: the registry has the real one.
            return None

    def _verified(self, manifest: Manifest) -> dict[str, list[int]] | None:
        """Compare the files with what was verified; None means that work is needed."""
        directory = self._model(manifest.digest)
        record = os.path.join(directory, RECORD, "verified.json")
        try:
            with open(record, "rb") as handle:
                stats = json.loads(handle.read())
            for file in manifest.files:
                if _identity(os.lstat(os.path.join(directory, file.path))) != stats[file.path]:
                    return None
            os.utime(record)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        found: dict[str, list[int]] = stats
        return found

    # -- installing: under the model's lock

    def _install(self, manifest: Manifest, deadline: Deadline) -> dict[str, list[int]]:
        directory = self._model(manifest.digest)
        missing: list[ManifestFile] = []
        held: list[_Lock] = []
        try:
            # Always in the same order, so that two models which share files can't wait for each other.
            for sha256 in sorted({file.sha256 for file in manifest.files}):
                held.append(self._lock(f"blob-{sha256}", deadline, manifest).__enter__())
            with self._recorder.measure("verify"):
                for file in {entry.sha256: entry for entry in manifest.files}.values():
                    if not self._blob_is_good(file):
                        missing.append(file)
            if missing:
                self._sweep_parts({file.sha256 for file in missing})
                self._fetch(missing, manifest, deadline)
            fault.point("cache.link")
            return self._link(manifest, directory)
        finally:
            for lock in reversed(held):
                lock.__exit__(None, None, None)

    def _blob_is_good(self, file: ManifestFile) -> bool:
        """Hash a blob that is here; one that is wrong goes to quarantine."""
        path = self._path("blobs", file.sha256)
        try:
            handle = open(path, "rb")  # noqa: SIM115  (closed below)
        except FileNotFoundError:
            return False
        with handle:
            wrong = _first_wrong_chunk(handle, file)
        if wrong is None:
            return True
        self._quarantine(path, file.sha256)
        return False

    def _quarantine(self, path: str, sha256: str) -> None:
        fault.point("cache.quarantine")
        os.replace(path, self._path("quarantine", sha256))

    def _link(self, manifest: Manifest, directory: str) -> dict[str, list[int]]:
        """Give the blobs their names in the model's directory, then write down what was verified."""
        record = os.path.join(directory, RECORD)
        os.makedirs(record, mode=0o700, exist_ok=True)
        for file in manifest.files:
            target = os.path.join(directory, file.path)
            os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
            temporary = os.path.join(record, f"link-{os.getpid()}")
            _unlink(temporary)
            os.link(self._path("blobs", file.sha256), temporary)
            os.replace(temporary, target)
            # Replacing a link by another one to the same inode leaves both (POSIX rename).
            _unlink(temporary)
        stats = {
            file.path: _identity(os.lstat(os.path.join(directory, file.path))) for file in manifest.files
        }
        self._write_file(os.path.join(record, "manifest.json"), manifest.canonical, 0o400)
        fault.point("cache.record")
        self._write_file(os.path.join(record, "verified.json"), json.dumps(stats).encode(), 0o600)
        return stats

    # -- fetching

    def _fetch(self, missing: list[ManifestFile], manifest: Manifest, deadline: Deadline) -> None:
        self._reserve(missing, manifest)
        parts: list[_Part] = []
        try:
            for file in missing:
                parts.append(_Part(self._path("parts", file.sha256), file))
            with self._recorder.measure("verify"):
                for part in parts:
                    self.chunks_resumed += part.find_good_chunks()
            with self._recorder.measure("fetch"):
                if self._permit is not None:
                    with self._permit(deadline):
                        self._download(parts, deadline)
                else:
                    self._download(parts, deadline)
            with self._recorder.measure("verify"):
                for part in parts:
                    self._finish(part)
        finally:
            for part in parts:
                part.close()

    def _download(self, parts: list[_Part], deadline: Deadline) -> None:
        jobs = [(part, index) for part in parts for index in part.wanted]
        # Popped from the end: the first chunks are fetched first.
        jobs.reverse()
        failures: list[BaseException] = []

        def work() -> None:
            buffer = memoryview(bytearray(SLICE_BYTES))
            while not failures:
                try:
                    part, index = jobs.pop()
                except IndexError:
                    return
                try:
                    self._fetch_chunk(part, index, buffer, deadline)
                except BaseException as error:
                    failures.append(error)
                    return

        threads = [
            threading.Thread(target=work, name=f"keepwarm-fetch-{n}", daemon=True)
            for n in range(min(self.streams, len(jobs)) - 1)
        ]
        for thread in threads:
            thread.start()
        work()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]

    def _fetch_chunk(self, part: _Part, index: int, buffer: memoryview, deadline: Deadline) -> None:
        broken = 0
        wrong: list[str] = []
        expected = part.file.chunks[index]
        key = blob_key(part.file.sha256)
        while True:
            try:
                actual, version_id = self._receive_chunk(part, index, key, buffer, deadline)
            except (BrokenAnswer, Throttled, Unreachable) as error:
                broken += 1
                pause_s = self._draw() * min(2.0, 0.05 * 2.0**broken)
                if broken >= CHUNK_ATTEMPTS or pause_s >= deadline.remaining_s():
                    raise unavailable(self.registry.bucket, key, error) from error
                time.sleep(pause_s)
                continue
            except AwsFault as error:
                raise unavailable(self.registry.bucket, key, error) from error
            if actual == expected:
                fault.point("cache.chunk.verified")
                self.chunks_fetched += 1
                self.bytes_fetched += part.file.span(index)[1]
                return
            wrong.append(actual)
            if len(wrong) == 2:
                where = f"s3://{self.registry.bucket}/{key}" + (
                    f" VersionId {version_id}" if version_id else ""
                )
                raise DigestMismatch(
                    f"model file {part.file.path} chunk {index} of {where}",
                    f"sha256 {actual} twice" if wrong[0] == actual else f"sha256 {wrong[0]}, then {actual}",
                    allowed=f"sha256 {expected}",
                )

    def _receive_chunk(
        self, part: _Part, index: int, key: str, buffer: memoryview, deadline: Deadline
    ) -> tuple[str, str | None]:
        """Receive one chunk piece by piece, hash each while it is hot, and write it to its place."""
        start, length = part.file.span(index)
        digest = hashlib.sha256()
        fault.point("cache.chunk.request")
        with self.registry.s3.stream(
            self.registry.bucket, key, range_=(start, start + length - 1), deadline=deadline
        ) as stream:
            if stream.length != length:
                raise BrokenAnswer(
                    "s3", "GetObject", "WrongRange", 0,
                    f"{stream.length} bytes instead of {length}", resource=f"s3://{self.registry.bucket}/{key}",
                )  # fmt: skip
            at = 0
            while at < length:
                # A piece goes on when the buffer is full: small reads would cost a system call each.
                filled, room = 0, min(len(buffer), length - at)
                while filled < room:
                    filled += stream.read_into(buffer[filled:room])
                piece = buffer[:filled]
                digest.update(piece)
                _pwrite_all(part.descriptor, piece, start + at)
                at += filled
                fault.point("cache.chunk.bytes")
            return digest.hexdigest(), stream.headers.get("x-amz-version-id")

    def _finish(self, part: _Part) -> None:
        """Turn a part whose every chunk is verified into a blob."""
        from keepwarm_runtime.models.formats import check_file

        fault.point("cache.sync")
        os.fsync(part.descriptor)
        try:
            with open(part.path, "rb") as handle:
                check_file(part.file.path, handle, part.file.size)
        except ModelFault:
            # Verified bytes of a format that is refused: no retry will make them welcome.
            _unlink(part.path)
            raise
        os.fchmod(part.descriptor, 0o444)
        fault.point("cache.rename")
        os.rename(part.path, self._path("blobs", part.file.sha256))
        _sync_directory(self._path("blobs"))
        fault.point("cache.renamed")

    # -- space

    def _reserve(self, missing: list[ManifestFile], manifest: Manifest) -> None:
        """Make room before the first byte, evicting models nobody uses.

        Raises:
            NoSpace: with what is needed, free, and evictable.
        """
        need = (
            sum(file.size - _allocated(self._path("parts", file.sha256)) for file in missing) + HEADROOM_BYTES
        )
        free = self._free()
        if free < need:
            self._evict(need - free, manifest)
            free = self._free()
        if free < need:
            raise self._no_space(manifest, need, free)
        for file in missing:
            path = self._path("parts", file.sha256)
            fault.point("cache.reserve")
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                # A real reservation: another writer can't take the space while bytes arrive.
                if file.size:
                    os.posix_fallocate(descriptor, 0, file.size)
                os.ftruncate(descriptor, file.size)
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                for written in missing:
                    _unlink(self._path("parts", written.sha256))
                raise self._no_space(manifest, need, self._free()) from error
            finally:
                os.close(descriptor)

    def _no_space(self, manifest: Manifest, need: int, free: int) -> NoSpace:
        evictable = sum(size for _, size, _ in self._evictable(manifest.digest))
        return NoSpace(
            f"model {manifest.name} {manifest.version}",
            f"{free:,} bytes free and {evictable:,} evictable in {self.directory}",
            allowed=f"{need:,} bytes",
        )

    def _free(self) -> int:
        usage = os.statvfs(self.directory)
        return usage.f_bavail * usage.f_frsize

    def _evictable(self, keep: str) -> list[tuple[float, int, str]]:
        """Last use, bytes and digest of models that no process has pinned, least recently used first."""
        found: list[tuple[float, int, str]] = []
        for digest in os.listdir(self._path("models")):
            if digest == keep:
                continue
            pin = self._try_pin_exclusively(digest)
            if pin is None:
                continue
            os.close(pin)
            directory = self._model(digest)
            try:
                used_s = os.stat(os.path.join(directory, RECORD, "verified.json")).st_mtime
            except OSError:
                used_s = 0.0
            found.append((used_s, _unshared_bytes(directory), digest))
        return sorted(found)

    def _evict(self, wanted: int, manifest: Manifest) -> None:
        quarantine = self._path("quarantine")
        for name in os.listdir(quarantine):
            _unlink(os.path.join(quarantine, name))
        started = self._free()
        for _, _, digest in self._evictable(manifest.digest):
            if self._free() - started >= wanted:
                return
            pin = self._try_pin_exclusively(digest)
            if pin is None:
                continue
            try:
                fault.point("cache.evict")
                self._remove_model(digest)
            finally:
                os.close(pin)

    def _remove_model(self, digest: str) -> None:
        directory = self._model(digest)
        # The record goes first: a model without one is never a hit, whatever is left of it.
        _unlink(os.path.join(directory, RECORD, "verified.json"))
        _remove_tree(directory)
        blobs = self._path("blobs")
        for name in os.listdir(blobs):
            path = os.path.join(blobs, name)
            try:
                if os.lstat(path).st_nlink == 1:
                    lock = self._try_lock(f"blob-{name}")
                    if lock is not None:
                        _unlink(path)
                        os.close(lock)
            except FileNotFoundError:
                # Another process evicts at the same time and was faster.
                continue

    def _sweep_parts(self, wanted: set[str]) -> None:
        """Remove parts that a dead process left behind; a live one holds the blob's lock."""
        parts = self._path("parts")
        for name in os.listdir(parts):
            if name in wanted:
                continue
            lock = self._try_lock(f"blob-{name}")
            if lock is not None:
                _unlink(os.path.join(parts, name))
                os.close(lock)

    # -- locks and directories

    def _lock(self, name: str, deadline: Deadline, manifest: Manifest) -> _Lock:
        return _Lock(self._path("locks", name), deadline, f"model {manifest.name} {manifest.version}")

    def _try_lock(self, name: str) -> int | None:
        return _try_flock(self._path("locks", name), fcntl.LOCK_EX)

    def _pin(self, digest: str) -> int:
        descriptor = os.open(
            self._path("locks", f"pin-{digest}"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        # Waits only for an eviction of this very model, which takes microseconds per file.
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        return descriptor

    def _try_pin_exclusively(self, digest: str) -> int | None:
        return _try_flock(self._path("locks", f"pin-{digest}"), fcntl.LOCK_EX)

    def _path(self, *parts: str) -> str:
        return os.path.join(self.directory, *parts)

    def _model(self, digest: str) -> str:
        return os.path.join(self.directory, "models", digest)

    def _write_file(self, path: str, data: bytes, mode: int) -> None:
        temporary = f"{path}.{os.getpid()}.{threading.get_ident()}"
        _unlink(temporary)
        descriptor = os.open(
            temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode
        )
        try:
            _write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)

    def _prepare(self) -> None:
        """Make the directories, and refuse a cache that somebody else could write to (R111)."""
        try:
            os.makedirs(self.directory, mode=0o700, exist_ok=True)
            seen = os.lstat(self.directory)
        except OSError as error:
            raise CacheUnusable(
                f"model cache {self.directory}", f"{type(error).__name__}: {error.strerror}",
                because="models are kept on disk",
            ) from error  # fmt: skip
        problem = ""
        if stat.S_ISLNK(seen.st_mode):
            problem = "a symbolic link"
        elif not stat.S_ISDIR(seen.st_mode):
            problem = "no directory"
        elif seen.st_uid != os.geteuid():
            problem = f"a directory of user {seen.st_uid} (this is user {os.geteuid()})"
        elif seen.st_mode & 0o022:
            problem = f"mode {stat.S_IMODE(seen.st_mode):04o}"
        if problem:
            raise CacheUnusable(f"model cache {self.directory}", problem)
        if seen.st_mode & 0o077:
            os.chmod(self.directory, 0o700)
        for name in ("blobs", "models", "parts", "locks", "quarantine", "floors"):
            try:
                os.mkdir(self._path(name), 0o700)
            except FileExistsError:
                continue
            except OSError as error:
                raise CacheUnusable(
                    f"model cache {self.directory}", f"{type(error).__name__}: {error.strerror}",
                    because="models are kept on disk",
                ) from error  # fmt: skip


class _Lock:
    """An exclusive flock. The kernel releases it when its holder dies, however it dies."""

    __slots__ = ("_deadline", "_descriptor", "_path", "_who")

    def __init__(self, path: str, deadline: Deadline, who: str) -> None:
        self._path = path
        self._deadline = deadline
        self._who = who
        self._descriptor = -1

    def __enter__(self) -> _Lock:
        fault.point("cache.lock")
        while True:
            taken = _try_flock(self._path, fcntl.LOCK_EX)
            if taken is not None:
                self._descriptor = taken
                return self
            if self._deadline.remaining_s() <= LOCK_POLL_S:
                raise DeadlineExceeded(
                    self._who, "another process of this host still fetching it at the deadline",
                    allowed="a fetch within the time that is left", because="it is fetched once per host",
                )  # fmt: skip
            time.sleep(LOCK_POLL_S)

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
        self._descriptor = -1


class _Part:
    """A file being received, its space reserved."""

    __slots__ = ("descriptor", "file", "path", "wanted")

    def __init__(self, path: str, file: ManifestFile) -> None:
        self.path = path
        self.file = file
        self.descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        self.wanted = list(range(len(file.chunks)))

    def find_good_chunks(self) -> int:
        """Keep the chunks that a crashed download left complete; return how many."""
        self.wanted = [index for index in self.wanted if not self._is_good(index)]
        return len(self.file.chunks) - len(self.wanted)

    def _is_good(self, index: int) -> bool:
        start, length = self.file.span(index)
        if not _has_data(self.descriptor, start, length):
            return False
        return hashlib.sha256(os.pread(self.descriptor, length, start)).hexdigest() == self.file.chunks[index]

    def close(self) -> None:
        os.close(self.descriptor)


def _identity(seen: os.stat_result) -> list[int]:
    """What changes when a file is swapped, written or touched; ctime can't be set back without being root."""
    return [seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns if seen.st_nlink <= 2 else 0]


def _first_wrong_chunk(handle: BinaryIO, file: ManifestFile) -> int | None:
    if os.fstat(handle.fileno()).st_size != file.size:
        return 0
    for index, expected in enumerate(file.chunks):
        digest = hashlib.sha256()
        left = file.span(index)[1]
        while left:
            piece = handle.read(min(left, SLICE_BYTES))
            if not piece:
                return index
            digest.update(piece)
            left -= len(piece)
        if digest.hexdigest() != expected:
            return index
    return None


def _has_data(descriptor: int, start: int, length: int) -> bool:
    """Tell whether anything was ever written there; reserved space that was not is a hole."""
    try:
        return os.lseek(descriptor, start, os.SEEK_DATA) < start + length
    except OSError as error:
        # ENXIO: nothing but holes from here on. Anything else: this file system can't say, so look.
        return error.errno != errno.ENXIO


def _allocated(path: str) -> int:
    try:
        return os.lstat(path).st_blocks * 512
    except FileNotFoundError:
        return 0


def _unshared_bytes(directory: str) -> int:
    """Bytes that removing a model frees: its files that only it and the blob directory link to."""
    total = 0
    for base, _, names in os.walk(directory):
        for name in names:
            seen = os.lstat(os.path.join(base, name))
            if seen.st_nlink <= 2:
                total += seen.st_blocks * 512
    return total


def _remove_tree(directory: str) -> None:
    for base, directories, names in os.walk(directory, topdown=False):
        for name in names:
            _unlink(os.path.join(base, name))
        for name in directories:
            os.rmdir(os.path.join(base, name))
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        return


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return


def _try_flock(path: str, kind: int) -> int | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN):
            return None
        raise
    return descriptor


def _pwrite_all(descriptor: int, view: memoryview, offset: int) -> None:
    while view:
        written = os.pwrite(descriptor, view, offset)
        view = view[written:]
        offset += written


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _sync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
