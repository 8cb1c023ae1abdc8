"""Values between Pulumi's protobuf structs and plain Python, without losing what the SDK's own conversion loses.

The SDK turns assets into objects without their hash and drops where secrets were; the provider needs both.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from google.protobuf import struct_pb2

from keepwarm_localcloud.pulumi_types.assets import (
    Blob,
    archive_blob,
    entries_blob,
    file_blob,
    text_blob,
)
from keepwarm_localcloud.pulumi_types.errors import ResourceError
from keepwarm_localcloud.pulumi_types.fields import UNKNOWN

# Fixed by Pulumi: sdk/go/common/resource/sig and properties.go.
SIGNATURE: Final = "4dabf18193072939515e22adb298388d"
ASSET: Final = "c44067f5952c0a294b673a41bacd8c17"
ARCHIVE: Final = "0def7320c3a5731c473e5ecbe6d01bc7"
SECRET: Final = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 - a signature of the wire format
RESOURCE: Final = "5cf8f73096256a8f31e491e813e4eb8e"
OUTPUT: Final = "d0e6a833031e9bbcd3f4e8bde6ca49a4"
UNKNOWN_TEXTS: Final = frozenset(
    {
        "04da6b54-80e4-46f7-96ec-b56ff0331ba9",
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",
        "030794c1-ac77-496b-92df-f27374a8bd58",
        "e48ece36-62e2-4504-bad9-02848725956a",
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",
    }
)
UNKNOWN_TEXT: Final = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"


@dataclass(slots=True)
class Properties:
    """Plain values, and the top-level names that hold a secret somewhere."""

    values: dict[str, Any]
    secrets: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Seen:
    secret: bool = False


def read_struct(struct: struct_pb2.Struct | None, *, root: Path | None = None) -> Properties:
    """Convert a struct; unknowns become `UNKNOWN`, assets `Blob`s, secrets are unwrapped and noted.

    Raises:
        ResourceError: KW646, an asset's file cannot be found.
    """
    properties = Properties({})
    if struct is None:
        return properties
    for name, value in struct.fields.items():
        seen = _Seen()
        properties.values[name] = _read(value, seen, root or Path())
        if seen.secret:
            properties.secrets.add(name)
    return properties


def _read(value: struct_pb2.Value, seen: _Seen, root: Path) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return UNKNOWN if value.string_value in UNKNOWN_TEXTS else value.string_value
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() else number
    if kind == "bool_value":
        return value.bool_value
    if kind == "list_value":
        return [_read(v, seen, root) for v in value.list_value.values]
    if kind == "struct_value":
        fields = value.struct_value.fields
        if SIGNATURE in fields:
            return _read_signed(value, fields, seen, root)
        return {k: _read(v, seen, root) for k, v in fields.items()}
    return None


def _read_signed(value: struct_pb2.Value, fields: Any, seen: _Seen, root: Path) -> Any:
    signature = fields[SIGNATURE].string_value
    if signature == SECRET:
        seen.secret = True
        return _read(fields["value"], seen, root) if "value" in fields else None
    if signature == OUTPUT:
        if "secret" in fields and fields["secret"].bool_value:
            seen.secret = True
        return _read(fields["value"], seen, root) if "value" in fields else UNKNOWN
    if signature == RESOURCE:
        if "id" in fields:
            return _read(fields["id"], seen, root) or UNKNOWN
        return fields["urn"].string_value
    if signature in (ASSET, ARCHIVE):
        return _read_blob(value, fields, signature, root)
    raise ResourceError(
        "KW646", f"got a value with the unknown signature {signature}; fix: use a newer version"
    )


def _text(fields: Any, name: str) -> str:
    return fields[name].string_value if name in fields else ""


def _read_blob(value: struct_pb2.Value, fields: Any, signature: str, root: Path) -> Blob:
    digest = _text(fields, "hash")
    path = _text(fields, "path")
    archive = signature == ARCHIVE
    try:
        if archive and "assets" in fields and fields["assets"].struct_value.fields:
            parts = {
                name: _read_blob(
                    part, part.struct_value.fields, _text(part.struct_value.fields, SIGNATURE), root
                )
                for name, part in fields["assets"].struct_value.fields.items()
            }
            blob = entries_blob(parts)
        elif path:
            where = root / path
            if digest and not where.exists():
                blob = Blob(digest, archive)
            else:
                blob = archive_blob(where) if archive else file_blob(where)
        elif not archive and "text" in fields and (fields["text"].string_value or not digest):
            blob = text_blob(fields["text"].string_value)
        elif _text(fields, "uri"):
            raise ResourceError(
                "KW646",
                f"got a remote asset {_text(fields, 'uri')}; allowed files and text; because nothing is fetched here",
            )
        else:
            blob = Blob(digest, archive)
    except OSError as error:
        raise ResourceError(
            "KW646", f"an asset cannot be read: {error}; fix: build the file before the program runs"
        ) from error
    if digest:
        blob.digest = digest
    blob.wire = value
    return blob


def write_struct(
    values: Mapping[str, Any], secrets: set[str] | frozenset[str] = frozenset()
) -> struct_pb2.Struct:
    """Convert back; properties named in `secrets` are wrapped as secrets."""
    struct = struct_pb2.Struct()
    for name, value in values.items():
        target = struct.fields[name]
        if name in secrets and value is not None:
            target.struct_value.fields[SIGNATURE].string_value = SECRET
            target = target.struct_value.fields["value"]
        _write(target, value)
    return struct


def _write(target: struct_pb2.Value, value: Any) -> None:
    if value is None:
        target.null_value = struct_pb2.NULL_VALUE
    elif value is UNKNOWN:
        target.string_value = UNKNOWN_TEXT
    elif isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, int | float):
        target.number_value = float(value)
    elif isinstance(value, str):
        target.string_value = value
    elif isinstance(value, Blob):
        # Only a digest is known of what came from a state file; the SDK has no form for that.
        if value.wire is not None:
            target.CopyFrom(value.wire)
        else:
            target.null_value = struct_pb2.NULL_VALUE
    elif isinstance(value, Mapping):
        target.struct_value.SetInParent()
        for k, v in value.items():
            _write(target.struct_value.fields[str(k)], v)
    elif isinstance(value, list | tuple):
        target.list_value.SetInParent()
        for v in value:
            _write(target.list_value.values.add(), v)
    else:
        target.string_value = str(value)


def to_state(value: Any) -> Any:
    """Make a value fit for a JSON state file: blobs become their digest, unknowns cannot occur."""
    if isinstance(value, Blob):
        return {"__archive__" if value.archive else "__asset__": value.digest}
    if isinstance(value, Mapping):
        return {k: to_state(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [to_state(v) for v in value]
    return value


def from_state(value: Any) -> Any:
    """Undo `to_state`; the content of blobs is gone, their digest is not."""
    if isinstance(value, Mapping):
        for key, archive in (("__archive__", True), ("__asset__", False)):
            if set(value) == {key}:
                return Blob(str(value[key]), archive)
        return {k: from_state(v) for k, v in value.items()}
    if isinstance(value, list):
        return [from_state(v) for v in value]
    return value
