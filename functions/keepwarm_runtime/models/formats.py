"""Formats that may be loaded, and those that run code when they are (R107, R108).

A pickle is refused by its name and, whatever its name, by its opcodes: bare, in a zip (PyTorch), in a tar, and
behind the compressions that joblib uses. Tensor files get their header checked, because a loader believes it.
"""

from __future__ import annotations

import io
import json

from keepwarm_runtime.errors import BrokenTensors, UnsafeFormat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO

SNIFF_BYTES = 64 * 1024
UNSAFE_SUFFIXES = (
    ".pkl",
    ".pickle",
    ".pt",
    ".pth",
    ".ckpt",
    ".joblib",
    ".dill",
    ".cloudpickle",
    ".mar",
    ".h5",
    ".keras",
)
"""Names that are refused without a look. `.h5` and `.keras` may carry Python lambdas."""
MAX_HEADER_BYTES = 100_000_000
"""Largest safetensors header, the reference implementation's own limit
(https://github.com/huggingface/safetensors, MAX_HEADER_SIZE)."""
_DTYPE_BITS = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32,
    "U16": 16, "U8": 8, "BOOL": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    "C64": 64,
}  # fmt: skip
_IMPORTING = {"GLOBAL", "STACK_GLOBAL"}
_CALLING = {
    "INST",
    "OBJ",
    "NEWOBJ",
    "NEWOBJ_EX",
    "REDUCE",
    "BUILD",
    "EXT1",
    "EXT2",
    "EXT4",
}
_FIRST_OPCODES = (b"(", b"c", b"i", b"l", b"]", b"}", b")", b"d", b"\x80")
_COMPRESSED = ((b"\x1f\x8b", "gzip"), (b"BZh", "bz2"), (b"\xfd7zXZ", "lzma"), (b"\x78", "zlib"))
_MODEL_SUFFIXES = (".onnx", ".safetensors", ".gguf", ".bin", ".tflite", ".engine", ".plan", ".pb")


def check_file(path: str, stream: BinaryIO, size: int) -> None:
    """Refuse a file that must not be loaded; `stream` is seekable and left at its start.

    Raises:
        UnsafeFormat: a pickle in any disguise.
        BrokenTensors: a malformed tensor file, or something else under a model's name.
    """
    lower = path.lower()
    if lower.endswith(UNSAFE_SUFFIXES):
        raise UnsafeFormat(f"model file {path}", f"the suffix .{lower.rpartition('.')[2]}")
    stream.seek(0)
    head = stream.read(SNIFF_BYTES)
    reason = _pickled(head, stream, size)
    if reason:
        raise UnsafeFormat(f"model file {path}", reason)
    if lower.endswith(_MODEL_SUFFIXES):
        _check_stand_in(path, head, size)
    if lower.endswith(".safetensors"):
        check_safetensors(path, stream, size)
    stream.seek(0)


def _check_stand_in(path: str, head: bytes, size: int) -> None:
    start = head[:256].lstrip().lower()
    if size == 0:
        raise BrokenTensors(f"model file {path}", "0 bytes")
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<error")):
        raise BrokenTensors(f"model file {path}", "a web page", fix="download the file itself, not its page")
    if start.startswith(b"version https://git-lfs"):
        raise BrokenTensors(
            f"model file {path}", "a Git LFS pointer", fix="run git lfs pull and publish again"
        )


def _pickled(head: bytes, stream: BinaryIO, size: int, depth: int = 0) -> str:
    """Say in which way the file is a pickle, or return ''."""
    if len(head) > 2 and head[0] == 0x80 and 2 <= head[1] <= 5 and _opcodes(head)[0] >= 3:
        return f"a pickle (protocol {head[1]})"
    if head[:1] in _FIRST_OPCODES and head and _opcodes(head)[1]:
        return "a pickle (protocol 0 or 1)"
    if head.startswith(b"\x93NUMPY") and b"'|O'" in head[:256]:
        return "a NumPy array of objects, which is a pickle inside"
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _in_zip(stream)
    if head[257:262] == b"ustar":
        return _in_tar(stream)
    if depth == 0:
        for magic, kind in _COMPRESSED:
            if head.startswith(magic):
                inner = _decompressed(head, kind)
                if inner and (reason := _pickled(inner, io.BytesIO(inner), len(inner), 1)):
                    return f"{reason} behind {kind}"
    return ""


def _opcodes(data: bytes) -> tuple[int, bool]:
    """Count the good opcodes at the start; True when they end in STOP, or in the window, and can run code.

    A list of class names may begin like a pickle ("cat" is GLOBAL), so that the rest decides.
    """
    import pickletools

    good, importing, calling = 0, False, False
    try:
        for opcode, _, _ in pickletools.genops(data):
            good += 1
            importing = importing or opcode.name in _IMPORTING
            calling = calling or opcode.name in _CALLING
    except Exception as error:
        # genops raises ValueError, KeyError or UnicodeDecodeError on what is no pickle, and ValueError at the end.
        cut_off = len(data) >= SNIFF_BYTES and ("exhausted" in str(error) or "bytes in a" in str(error))
        return good, calling and cut_off
    return good, importing or calling


def _in_zip(stream: BinaryIO) -> str:
    import zipfile

    stream.seek(0)
    try:
        with zipfile.ZipFile(stream) as archive:
            for entry in archive.infolist():
                if entry.filename.lower().endswith(UNSAFE_SUFFIXES):
                    return f"a zip with the pickle {entry.filename}"
                with archive.open(entry) as member:
                    inner = member.read(SNIFF_BYTES)
                if inner and (reason := _pickled(inner, io.BytesIO(inner), len(inner), 1)):
                    return f"a zip with {entry.filename}: {reason}"
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, ValueError):
        return "a damaged or encrypted zip, which can't be searched for pickles"
    return ""


def _in_tar(stream: BinaryIO) -> str:
    import tarfile

    stream.seek(0)
    try:
        with tarfile.open(fileobj=stream) as archive:
            for entry in archive:
                if entry.name.lower().endswith(UNSAFE_SUFFIXES):
                    return f"a tar with the pickle {entry.name}"
                member = archive.extractfile(entry)
                inner = member.read(SNIFF_BYTES) if member else b""
                if inner and (reason := _pickled(inner, io.BytesIO(inner), len(inner), 1)):
                    return f"a tar with {entry.name}: {reason}"
    except (tarfile.TarError, EOFError, OSError, ValueError):
        return "a damaged tar, which can't be searched for pickles"
    return ""


def _decompressed(head: bytes, kind: str) -> bytes:
    """Return the start of what is compressed, or nothing when it isn't this compression."""
    try:
        if kind in ("gzip", "zlib"):
            import zlib

            return zlib.decompressobj(31 if kind == "gzip" else 15).decompress(head, SNIFF_BYTES)
        if kind == "bz2":
            import bz2

            return bz2.BZ2Decompressor().decompress(head, SNIFF_BYTES)
        import lzma

        return lzma.LZMADecompressor().decompress(head, SNIFF_BYTES)
    except Exception:
        # Every codec has its own error class; failing to decompress means it is plain data.
        return b""


def check_safetensors(path: str, stream: BinaryIO, size: int) -> None:
    """Check the header of a safetensors file against the file's real size.

    Source: https://github.com/huggingface/safetensors#format

    Raises:
        BrokenTensors: naming the first thing that is wrong.
    """
    who = f"model file {path}"
    if size < 8:
        raise BrokenTensors(who, f"{size} bytes", allowed="at least 8 bytes of header length")
    stream.seek(0)
    length = int.from_bytes(stream.read(8), "little")
    if length > MAX_HEADER_BYTES or length > size - 8 or length < 2:
        raise BrokenTensors(
            who, f"a header of {length:,} bytes", allowed=f"2 to {min(MAX_HEADER_BYTES, size - 8):,} bytes"
        )
    try:
        header = json.loads(stream.read(length), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise BrokenTensors(who, f"a header that is no JSON ({error})") from error
    if not isinstance(header, dict):
        raise BrokenTensors(who, f"a header that is a JSON {type(header).__name__}", allowed="a JSON object")
    spans: list[tuple[int, int, str]] = []
    for name, tensor in header.items():
        if name == "__metadata__":
            if not isinstance(tensor, dict) or not all(isinstance(v, str) for v in tensor.values()):
                raise BrokenTensors(who, "metadata that is not text", allowed="a map of text to text")
            continue
        spans.append((*_span(who, name, tensor), name))
    data_bytes = size - 8 - length
    at = 0
    for start, end, name in sorted(spans):
        if start != at:
            what = (
                "overlaps the one before it"
                if start < at
                else f"leaves {start - at:,} bytes unused before it"
            )
            raise BrokenTensors(who, f"tensor {name!r} that {what}")
        at = end
    if at != data_bytes:
        raise BrokenTensors(who, f"tensors of {at:,} bytes in {data_bytes:,} bytes of data")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key twice")
    return found


def _span(who: str, name: str, tensor: Any) -> tuple[int, int]:
    fields: dict[str, Any] = tensor if isinstance(tensor, dict) else {}
    dtype = fields.get("dtype")
    shape = _naturals(fields.get("shape"))
    offsets = _naturals(fields.get("data_offsets"))
    bits = _DTYPE_BITS.get(dtype) if isinstance(dtype, str) else None
    if bits is None:
        raise BrokenTensors(who, f"tensor {name!r} of type {dtype!r}", allowed=", ".join(_DTYPE_BITS))
    if shape is None or offsets is None or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise BrokenTensors(
            who,
            f"tensor {name!r} with shape {fields.get('shape')!r} and offsets {fields.get('data_offsets')!r}",
        )
    elements = 1
    for dimension in shape:
        elements *= dimension
    size = offsets[1] - offsets[0]
    if elements * bits != size * 8:
        raise BrokenTensors(
            who, f"tensor {name!r} of {size:,} bytes", allowed=f"{elements * bits // 8:,} for {dtype} {shape}"
        )
    return offsets[0], offsets[1]


def _naturals(value: Any) -> list[int] | None:
    if not isinstance(value, list):
        return None
    return value if all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in value) else None
