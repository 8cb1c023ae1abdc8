"""What a model consists of, to the byte (contract C2).

A manifest is canonical JSON: sorted keys, no spaces, ASCII, no floats. Its address is the SHA-256 of those bytes, so
whoever holds the address can trust every size and digest in it. Parsing refuses everything a later step would have
to be careful about: paths that leave the directory, names that collide on some disk, sizes that don't add up.
"""

from __future__ import annotations

import hashlib
import json
import os

from keepwarm_runtime.errors import ManifestInvalid, SizeMismatch, UnsafePath

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

SCHEMA = 1
MAX_MANIFEST_BYTES = 1_000_000
MAX_PATH_CHARACTERS = 512
MAX_FILES = 10_000
CHUNK_BYTES = 8 * 1024 * 1024
"""Default size of a chunk: one ranged read, one digest, and the most that is fetched twice after a crash."""
MIN_CHUNK_BYTES = 4096
MAX_CHUNK_BYTES = 512 * 1024 * 1024
DEFAULT_CREATED = "2026-01-01T00:00:00Z"
"""A fixed moment unless the caller gives one: the same files give the same digest on every machine."""
_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-")
_HEX = frozenset("0123456789abcdef")
_FIELDS = {"schema", "name", "version", "files", "format", "created", "signer"}
_FILE_FIELDS = {"path", "size", "sha256", "chunk_size", "chunks"}
_RESERVED = {"con", "prn", "aux", "nul"} | {f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10)}


class ManifestFile:
    """One file of a model. `chunks` are SHA-256 digests of its pieces of `chunk_size` bytes, in order."""

    __slots__ = ("chunk_size", "chunks", "path", "sha256", "size")

    def __init__(self, path: str, size: int, sha256: str, chunk_size: int, chunks: tuple[str, ...]) -> None:
        self.path = path
        self.size = size
        self.sha256 = sha256
        self.chunk_size = chunk_size
        self.chunks = chunks

    def span(self, index: int) -> tuple[int, int]:
        """Offset and length of a chunk."""
        start = index * self.chunk_size
        return start, min(self.chunk_size, self.size - start)


class Manifest:
    """A checked manifest. `canonical` are its bytes, `digest` their SHA-256 in hex: the model's address."""

    __slots__ = ("canonical", "created", "digest", "files", "format", "name", "signer", "version")

    def __init__(
        self,
        name: str,
        version: str,
        files: tuple[ManifestFile, ...],
        format: str,
        created: str,
        signer: str | None = None,
    ) -> None:
        self.name = name
        self.version = version
        self.files = files
        self.format = format
        self.created = created
        self.signer = signer
        self.canonical = canonical_json(self._fields())
        self.digest = hashlib.sha256(self.canonical).hexdigest()

    def _fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "schema": SCHEMA,
            "name": self.name,
            "version": self.version,
            "format": self.format,
            "created": self.created,
            "files": [
                {
                    "path": file.path,
                    "size": file.size,
                    "sha256": file.sha256,
                    "chunk_size": file.chunk_size,
                    "chunks": list(file.chunks),
                }
                for file in self.files
            ],
        }
        if self.signer is not None:
            fields["signer"] = self.signer
        return fields

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def ref(self) -> str:
        """The reference that pins exactly this model: `name@sha256:<digest>`."""
        return f"{self.name}@sha256:{self.digest}"

    def file(self, path: str) -> ManifestFile:
        """Find a file.

        Raises:
            UnsafePath: the model has no such file.
        """
        for entry in self.files:
            if entry.path == path:
                return entry
        raise UnsafePath(
            f"model {self.name} {self.version}",
            f"the path {path!r}",
            allowed=", ".join(entry.path for entry in self.files),
            because="only files of the manifest are verified",
            fix="ask for one of them",
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Manifest) and other.digest == self.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"Manifest({self.ref} {self.version})"


def canonical_json(value: Any) -> bytes:
    """Encode in the one form that is hashed: sorted keys, no spaces, ASCII, no NaN."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    ).encode()


# -- where things are in the bucket


def blob_key(sha256: str) -> str:
    """Key of an immutable blob."""
    return f"blobs/sha256/{sha256}"


def manifest_key(name: str, version: str) -> str:
    """Key of an immutable manifest."""
    return f"manifests/{name}/{version}.json"


def channel_key(name: str, channel: str) -> str:
    """Key of a channel's pointer."""
    return f"channels/{name}/{channel}.json"


def object_keys(manifest: Manifest) -> list[str]:
    """Both keys that hold the canonical bytes: by version, and by digest for references that pin it."""
    return [manifest_key(manifest.name, manifest.version), blob_key(manifest.digest)]


# -- building


def build(
    directory: str | os.PathLike[str],
    *,
    name: str,
    version: str,
    created: str = DEFAULT_CREATED,
    format: str = "onnx",
    files: Iterable[str] | None = None,
    chunk_size: int = CHUNK_BYTES,
    signer: str | None = None,
) -> Manifest:
    """Describe the files of a directory; `files` limits it to these relative paths.

    Raises:
        UnsafePath: a symbolic link, or a path that no disk should get.
        UnsafeFormat, BrokenTensors: a file that must not be loaded.
        ManifestInvalid: no file, or a bad name.
    """
    from keepwarm_runtime.models.formats import check_file

    root = os.fspath(directory)
    paths = sorted(files) if files is not None else sorted(_walk(root))
    entries: list[ManifestFile] = []
    for path in paths:
        _check_path(path)
        full = os.path.join(root, path)  # noqa: PTH118  (pathlib costs init time)
        if os.path.islink(full) or not os.path.isfile(full):  # noqa: PTH113, PTH114
            raise UnsafePath(
                f"model {name}", f"{path!r}, which is a link or no file", allowed="regular files"
            )
        with open(full, "rb") as stream:  # noqa: PTH123
            entries.append(_describe(path, stream, chunk_size))
            check_file(path, stream, entries[-1].size)
    return parse(Manifest(name, version, tuple(entries), format, created, signer).canonical)


def _walk(root: str) -> Iterable[str]:
    for base, directories, names in os.walk(root):
        for link in directories:
            if os.path.islink(os.path.join(base, link)):  # noqa: PTH114, PTH118
                raise UnsafePath("model directory", f"the link {link!r}", allowed="regular files")
        for name in names:
            yield os.path.relpath(os.path.join(base, name), root).replace(os.sep, "/")  # noqa: PTH118


def _describe(path: str, stream: Any, chunk_size: int) -> ManifestFile:
    whole = hashlib.sha256()
    chunks: list[str] = []
    size = 0
    while piece := stream.read(chunk_size):
        whole.update(piece)
        chunks.append(hashlib.sha256(piece).hexdigest())
        size += len(piece)
    stream.seek(0)
    return ManifestFile(path, size, whole.hexdigest(), chunk_size, tuple(chunks))


# -- parsing


def parse(data: bytes, *, expected_digest: str | None = None) -> Manifest:
    """Check everything and return the manifest.

    Raises:
        ManifestInvalid: not canonical JSON of this schema.
        DigestMismatch: its bytes are not the ones that `expected_digest` pins.
        UnsafePath, SizeMismatch: as named.
    """
    if expected_digest is not None:
        _check_digest(data, expected_digest)
    if len(data) > MAX_MANIFEST_BYTES:
        raise ManifestInvalid(
            "manifest", f"{len(data):,} bytes", allowed=f"at most {MAX_MANIFEST_BYTES:,} bytes"
        )
    try:
        fields = json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ManifestInvalid("manifest", f"no JSON ({error})", allowed="canonical JSON") from error
    if not isinstance(fields, dict):
        raise ManifestInvalid("manifest", f"a JSON {type(fields).__name__}", allowed="a JSON object")
    schema = fields.get("schema")
    if isinstance(schema, int) and not isinstance(schema, bool) and schema > SCHEMA:
        raise ManifestInvalid(
            "manifest schema",
            str(schema),
            allowed=str(SCHEMA),
            because="this runtime is older than the publisher",
            fix="deploy a newer keepwarm-runtime",
        )
    _check_fields("manifest", fields, _FIELDS, optional={"signer"})
    if schema != SCHEMA or isinstance(schema, bool):
        raise ManifestInvalid("manifest schema", repr(schema), allowed=str(SCHEMA))
    name = check_name("manifest name", fields["name"])
    version = check_name("manifest version", fields["version"])
    model_format = check_name("manifest format", fields["format"])
    created = _text("manifest created", fields["created"], 40)
    signer = None if "signer" not in fields else _text("manifest signer", fields["signer"], 512)
    listed = fields["files"]
    if not isinstance(listed, list) or not 1 <= len(listed) <= MAX_FILES:
        raise ManifestInvalid(
            "manifest files",
            f"{len(listed)} entries" if isinstance(listed, list) else type(listed).__name__,
            allowed=f"a list of 1 to {MAX_FILES:,} files",
        )
    files = tuple(_parse_file(entry) for entry in listed)
    _check_collisions([file.path for file in files])
    manifest = Manifest(name, version, files, model_format, created, signer)
    if manifest.canonical != data:
        raise ManifestInvalid(
            "manifest",
            "JSON in another form than the canonical one",
            allowed="sorted keys, no spaces, ASCII, each key once",
            because="its address is the digest of its bytes",
        )
    return manifest


def _check_digest(data: bytes, expected: str) -> None:
    from keepwarm_runtime.errors import DigestMismatch

    actual = hashlib.sha256(data).hexdigest()
    if actual != expected:
        raise DigestMismatch("manifest", f"sha256 {actual}", allowed=f"sha256 {expected}")


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not a number")


def _check_fields(who: str, fields: Mapping[str, Any], known: set[str], optional: set[str]) -> None:
    missing = sorted(known - optional - set(fields))
    unknown = sorted(set(fields) - known)
    if missing:
        raise ManifestInvalid(who, f"no {missing[0]!r}", allowed=", ".join(sorted(known)))
    if unknown:
        raise ManifestInvalid(who, f"the unknown field {unknown[0]!r}", allowed=", ".join(sorted(known)))


def check_name(who: str, value: Any) -> str:
    """Check a model name, version, format or channel: it becomes part of keys and paths.

    Raises:
        ManifestInvalid: anything but 1 to 128 of A-Z a-z 0-9 . _ + -, starting with a letter or digit.
    """
    if (
        isinstance(value, str)
        and 1 <= len(value) <= 128
        and value[0] not in "._+-"
        and not set(value) - _NAME_CHARACTERS
    ):
        return value
    raise ManifestInvalid(
        who, repr(value), allowed="1 to 128 of A-Z a-z 0-9 . _ + -, starting with a letter or digit"
    )


def _text(who: str, value: Any, longest: int) -> str:
    if isinstance(value, str) and 1 <= len(value) <= longest and value.isprintable():
        return value
    raise ManifestInvalid(who, repr(value)[:80], allowed=f"printable text of 1 to {longest} characters")


def _whole(who: str, value: Any, least: int, most: int) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
        return value
    raise ManifestInvalid(who, repr(value)[:80], allowed=f"a whole number from {least:,} to {most:,}")


def _hexdigest(who: str, value: Any) -> str:
    if isinstance(value, str) and len(value) == 64 and not set(value) - _HEX:
        return value
    raise ManifestInvalid(who, repr(value)[:80], allowed="64 lower-case hex digits")


def _parse_file(entry: Any) -> ManifestFile:
    if not isinstance(entry, dict):
        raise ManifestInvalid("manifest file", f"a JSON {type(entry).__name__}", allowed="a JSON object")
    _check_fields("manifest file", entry, _FILE_FIELDS, optional=set())
    path = _check_path(entry["path"])
    who = f"manifest file {path}"
    size = _whole(f"{who} size", entry["size"], 0, 2**53)
    sha256 = _hexdigest(f"{who} sha256", entry["sha256"])
    chunk_size = _whole(f"{who} chunk_size", entry["chunk_size"], MIN_CHUNK_BYTES, MAX_CHUNK_BYTES)
    chunks = entry["chunks"]
    if not isinstance(chunks, list):
        raise ManifestInvalid(f"{who} chunks", f"a JSON {type(chunks).__name__}", allowed="a list of digests")
    expected = -(-size // chunk_size)
    if len(chunks) != expected:
        raise SizeMismatch(
            f"{who} chunks",
            f"{len(chunks)} digests",
            allowed=f"{expected} for {size:,} bytes of {chunk_size:,} each",
        )
    return ManifestFile(path, size, sha256, chunk_size, tuple(_hexdigest(f"{who} chunk", c) for c in chunks))


def _check_path(path: Any) -> str:
    if not isinstance(path, str):
        raise ManifestInvalid("manifest path", f"a JSON {type(path).__name__}", allowed="text")
    parts = path.split("/")
    bad = (
        not path
        or len(path) > MAX_PATH_CHARACTERS
        or not path.isprintable()
        or "\\" in path
        or ":" in path
        or any(_bad_part(part) for part in parts)
    )
    if bad:
        raise UnsafePath("manifest", f"the path {path[:80]!r}")
    return path


def _bad_part(part: str) -> bool:
    return (
        part in ("", ".", "..")
        or part.startswith(".keepwarm")
        or part.endswith((".", " "))
        or part.startswith(" ")
        or len(part.encode()) > 255
        or part.partition(".")[0].casefold() in _RESERVED
    )


def _check_collisions(paths: list[str]) -> None:
    import unicodedata

    seen: dict[str, str] = {}
    for path in paths:
        folded = unicodedata.normalize("NFC", path).casefold()
        other = seen.get(folded)
        if other is not None:
            what = "twice" if other == path else f"beside {other!r}"
            raise UnsafePath("manifest", f"the path {path!r} {what}")
        seen[folded] = path
    for folded, path in seen.items():
        parent = folded
        while "/" in parent:
            parent = parent.rpartition("/")[0]
            if parent in seen:
                raise UnsafePath("manifest", f"{seen[parent]!r} as a file and as the directory of {path!r}")


# -- channels

POINTER_FIELDS = {"schema", "name", "channel", "version", "digest", "version_id", "floor"}


class Pointer:
    """Where a channel points: version, manifest digest, S3 VersionId of the manifest, and the rollback floor."""

    __slots__ = ("channel", "digest", "floor", "name", "version", "version_id")

    def __init__(
        self, name: str, channel: str, version: str, digest: str, floor: str | None, version_id: str | None
    ) -> None:
        self.name = name
        self.channel = channel
        self.version = version
        self.digest = digest
        self.floor = floor
        self.version_id = version_id

    @property
    def canonical(self) -> bytes:
        """The pointer's bytes."""
        return canonical_json(
            {
                "schema": SCHEMA,
                "name": self.name,
                "channel": self.channel,
                "version": self.version,
                "digest": self.digest,
                "floor": self.floor,
                "version_id": self.version_id,
            }
        )


def pointer(
    manifest: Manifest, channel: str, *, floor: str | None = None, version_id: str | None = None
) -> bytes:
    """Build the bytes of a channel pointer to this manifest."""
    check_name("channel", channel)
    return Pointer(manifest.name, channel, manifest.version, manifest.digest, floor, version_id).canonical


def parse_pointer(data: bytes, *, name: str, channel: str) -> Pointer:
    """Read a channel pointer and check that it is the one asked for and not below its own floor.

    Raises:
        ManifestInvalid: it is malformed or belongs to another channel.
        RolledBack: its version is below its floor.
    """
    from keepwarm_runtime.errors import RolledBack

    who = f"channel {name}:{channel}"
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ManifestInvalid(who, f"no JSON ({error})", allowed="a channel pointer") from error
    if not isinstance(fields, dict):
        raise ManifestInvalid(who, f"a JSON {type(fields).__name__}", allowed="a channel pointer")
    _check_fields(who, fields, POINTER_FIELDS, optional=set())
    if fields["schema"] != SCHEMA:
        raise ManifestInvalid(f"{who} schema", repr(fields["schema"]), allowed=str(SCHEMA))
    if fields["name"] != name or fields["channel"] != channel:
        raise ManifestInvalid(
            who, f"the pointer of {fields['name']}:{fields['channel']}", allowed="its own pointer"
        )
    version = check_name(f"{who} version", fields["version"])
    digest = _hexdigest(f"{who} digest", fields["digest"])
    floor = None if fields["floor"] is None else check_name(f"{who} floor", fields["floor"])
    version_id = (
        None if fields["version_id"] is None else _text(f"{who} version_id", fields["version_id"], 1024)
    )
    if floor is not None and version_order(version) < version_order(floor):
        raise RolledBack(who, f"version {version}", allowed=f"{floor} or later")
    return Pointer(name, channel, version, digest, floor, version_id)


def version_order(version: str) -> tuple[object, ...]:
    """Sort key of versions: numbers count as numbers, and 1.0-rc1 comes before 1.0."""
    base, dash, early = version.partition("-")
    return (_pieces(base), not dash, _pieces(early))


def _pieces(text: str) -> tuple[tuple[int, int, str], ...]:
    pieces: list[tuple[int, int, str]] = []
    word = ""
    for character in [*text, ""]:
        if word and (character.isdigit() != word[0].isdigit() or character in ("", ".")):
            pieces.append((1, int(word), "") if word.isdigit() else (0, 0, word))
            word = ""
        if character and character != ".":
            word += character
    # 1.0 and 1 are the same version.
    while pieces and pieces[-1] == (1, 0, ""):
        pieces.pop()
    return tuple(pieces)
