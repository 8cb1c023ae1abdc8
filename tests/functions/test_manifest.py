"""Model manifests and the formats that may be loaded.

Proves: one canonical form and digest; every bad path, size, name and schema refused with its code; pickles found in
every disguise we know; safetensors headers checked; whatever bytes come, the parser fails in no other way (Hypothesis).
Does not prove: that a loader of some framework is safe with a file that passes.
"""

# Error texts are asserted whole and on one line.
# ruff: noqa: E501

import bz2
import gzip
import io
import json
import lzma
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepwarm_runtime.errors import (
    BrokenTensors,
    DigestMismatch,
    ManifestInvalid,
    ModelFault,
    RolledBack,
    SizeMismatch,
    UnsafeFormat,
    UnsafePath,
)
from keepwarm_runtime.models import manifest as m
from keepwarm_runtime.models.formats import check_file

GOOD: dict[str, Any] = {
    "schema": 1,
    "name": "magika",
    "version": "3.3.0",
    "format": "onnx",
    "created": "2026-01-01T00:00:00Z",
    "files": [
        {"path": "model.onnx", "size": 5, "sha256": "a" * 64, "chunk_size": 4096, "chunks": ["b" * 64]}
    ],
}


def one_line(fault: ModelFault) -> None:
    assert "\n" not in str(fault)


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    fields: dict[str, Any] = json.loads(json.dumps(GOOD))
    change(fields)
    return m.canonical_json(fields)


def in_file(name: str, value: object) -> bytes:
    return changed(lambda fields: fields["files"][0].update({name: value}))


def test_given_a_directory_when_building_then_the_digest_is_the_same_everywhere(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "model.onnx").write_bytes(b"\x08" + bytes(9000))
    (tmp_path / "sub" / "labels.txt").write_bytes(b"cat\ndog\nhorse\n")
    built = m.build(tmp_path, name="magika", version="3.3.0", chunk_size=4096)

    assert [(f.path, f.size, len(f.chunks)) for f in built.files] == [
        ("model.onnx", 9001, 3),
        ("sub/labels.txt", 14, 1),
    ]
    assert m.parse(built.canonical, expected_digest=built.digest) == built
    assert m.build(tmp_path, name="magika", version="3.3.0", chunk_size=4096) == built
    assert m.object_keys(built) == ["manifests/magika/3.3.0.json", f"blobs/sha256/{built.digest}"]
    assert built.ref == f"magika@sha256:{built.digest}"
    assert [built.files[0].span(i) for i in range(3)] == [(0, 4096), (4096, 4096), (8192, 809)]


def test_given_a_link_when_building_then_refused(tmp_path: Path) -> None:
    (tmp_path / "real.onnx").write_bytes(b"\x08")
    (tmp_path / "link.onnx").symlink_to("real.onnx")
    with pytest.raises(UnsafePath, match=r"^KW402 model magika: got 'link.onnx', which is a link or no file"):
        m.build(tmp_path, name="magika", version="1")
    (tmp_path / "link.onnx").unlink()
    (tmp_path / "dir").symlink_to(tmp_path)
    with pytest.raises(UnsafePath, match=r"^KW402 model directory: got the link 'dir'"):
        m.build(tmp_path, name="magika", version="1")


@pytest.mark.parametrize(
    "path",
    [
        "", "/etc/passwd", "../x", "a/../b", "a//b", "./a", "a/.", "a\x00b", "a\\b", "C:x", "a\nb", "a/ b", "a ",
        "a.", "nul", "NUL.txt", "com1/x", ".keepwarm/verified.json", "x" * 513, "y" * 256, "a/\u202eb",
    ],
)  # fmt: skip
def test_given_an_unsafe_path_when_parsing_then_refused(path: str) -> None:
    with pytest.raises(UnsafePath, match=r"^KW402 manifest: got the path "):
        m.parse(in_file("path", path))


@pytest.mark.parametrize(
    ("paths", "text"),
    [
        (["a", "a"], "KW402 manifest: got the path 'a' twice; "),
        (["Model.onnx", "model.ONNX"], "KW402 manifest: got the path 'model.ONNX' beside 'Model.onnx'; "),
        (["\u00e9", "e\u0301"], "KW402 manifest: got the path 'e\u0301' beside '\u00e9'; "),
        (["a/b", "A"], "KW402 manifest: got 'A' as a file and as the directory of 'a/b'; "),
    ],
)
def test_given_paths_that_collide_when_parsing_then_refused(paths: list[str], text: str) -> None:
    def change(fields: dict[str, Any]) -> None:
        fields["files"] = [{**fields["files"][0], "path": path} for path in paths]

    with pytest.raises(UnsafePath) as caught:
        m.parse(changed(change))
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "KW401 manifest: got no JSON (Expecting value: line 1 column 1 (char 0)); allowed canonical JSON; "),
        (b"[]", "KW401 manifest: got a JSON list; allowed a JSON object; "),
        (b"[" * 100_000, "KW401 manifest: got no JSON (maximum recursion depth exceeded"),
        (b" " * 1_000_001, "KW401 manifest: got 1,000,001 bytes; allowed at most 1,000,000 bytes; "),
        (b'{"schema":NaN}', "KW401 manifest: got no JSON (NaN is not a number); "),
        (changed(lambda f: f.pop("version")), "KW401 manifest: got no 'version'; "),
        (changed(lambda f: f.update(extra=1)), "KW401 manifest: got the unknown field 'extra'; "),
        (changed(lambda f: f.update(schema=2)),
         "KW401 manifest schema: got 2; allowed 1; because this runtime is older than the publisher; "
         "fix: deploy a newer keepwarm-runtime"),
        (changed(lambda f: f.update(schema=True)), "KW401 manifest schema: got True; allowed 1; "),
        (changed(lambda f: f.update(name="../x")), "KW401 manifest name: got '../x'; allowed 1 to 128 of "),
        (changed(lambda f: f.update(version="")), "KW401 manifest version: got ''; "),
        (changed(lambda f: f.update(files=[])), "KW401 manifest files: got 0 entries; allowed a list of 1 to 10,000 files; "),
        (in_file("size", -1), "KW401 manifest file model.onnx size: got -1; "),
        (in_file("size", True), "KW401 manifest file model.onnx size: got True; "),
        (in_file("size", 5.0), "KW401 manifest file model.onnx size: got 5.0; "),
        (in_file("sha256", "A" * 64), f"KW401 manifest file model.onnx sha256: got '{'A' * 64}'; allowed 64 lower-case hex digits; "),
        (in_file("chunk_size", 0), "KW401 manifest file model.onnx chunk_size: got 0; "),
        (json.dumps(GOOD).encode(),
         "KW401 manifest: got JSON in another form than the canonical one; allowed sorted keys, no spaces, ASCII, each key once; "
         "because its address is the digest of its bytes; "),
    ],
)  # fmt: skip
def test_given_a_bad_manifest_when_parsing_then_the_text_says_what(data: bytes, text: str) -> None:
    with pytest.raises(ManifestInvalid) as caught:
        m.parse(data)
    assert str(caught.value).startswith(text)


def test_given_too_few_chunks_when_parsing_then_size_mismatch() -> None:
    with pytest.raises(SizeMismatch) as caught:
        m.parse(in_file("size", 4097))
    assert str(caught.value) == (
        "KW403 manifest file model.onnx chunks: got 1 digests; allowed 2 for 4,097 bytes of 4,096 each; because the file is "
        "not the one that was published; fix: publish the model again"
    )


def test_given_another_digest_when_parsing_then_both_are_named() -> None:
    data = m.canonical_json(GOOD)
    with pytest.raises(
        DigestMismatch, match=f"^KW404 manifest: got sha256 [0-9a-f]{{64}}; allowed sha256 {'0' * 64}; "
    ):
        m.parse(data, expected_digest="0" * 64)


@given(st.binary(max_size=300))
def test_given_any_bytes_when_parsing_then_only_model_faults(data: bytes) -> None:
    try:
        m.parse(data)
    except ModelFault as fault:
        one_line(fault)
    else:
        pytest.fail("random bytes were a manifest")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(
    where=st.sampled_from(["schema", "name", "version", "format", "created", "files", "signer"]), value=JSON
)
def test_given_any_value_in_a_field_when_parsing_then_the_same_bytes_or_a_model_fault(
    where: str, value: Any
) -> None:
    data = changed(lambda fields: fields.update({where: value}))
    try:
        parsed = m.parse(data)
    except ModelFault as fault:
        one_line(fault)
    else:
        assert parsed.canonical == data


@given(where=st.sampled_from(["path", "size", "sha256", "chunk_size", "chunks"]), value=JSON)
def test_given_any_value_in_a_file_when_parsing_then_the_same_bytes_or_a_model_fault(
    where: str, value: Any
) -> None:
    data = in_file(where, value)
    try:
        parsed = m.parse(data)
    except ModelFault as fault:
        one_line(fault)
    else:
        assert parsed.canonical == data


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=12), min_size=1, max_size=4))
def test_given_any_paths_that_pass_when_joining_then_they_stay_inside(paths: list[str]) -> None:
    def change(fields: dict[str, Any]) -> None:
        fields["files"] = [{**fields["files"][0], "path": path} for path in paths]

    try:
        parsed = m.parse(changed(change))
    except ModelFault:
        return
    for file in parsed.files:
        assert Path("/root/cache", file.path).resolve().is_relative_to("/root/cache")


# -- channels


def test_given_versions_when_sorting_then_numbers_count() -> None:
    ordered = ["0.9", "1.0-rc1", "1.0-rc2", "1.0", "1.0.1", "1.2", "1.10", "2"]
    assert sorted(reversed(ordered), key=m.version_order) == ordered
    assert m.version_order("1") == m.version_order("1.0.0")


@given(st.lists(st.text("0123456789abc._+-", min_size=1, max_size=8), min_size=2, max_size=5))
def test_given_any_versions_when_sorting_then_they_can_be_compared(versions: list[str]) -> None:
    sorted(versions, key=m.version_order)


def test_given_a_pointer_when_reading_then_it_must_be_its_own_and_above_its_floor() -> None:
    built = m.parse(m.canonical_json(GOOD))
    data = m.pointer(built, "stable", floor="3.3.0")
    read = m.parse_pointer(data, name="magika", channel="stable")
    assert (read.version, read.digest, read.floor, read.version_id) == ("3.3.0", built.digest, "3.3.0", None)
    with pytest.raises(
        ManifestInvalid, match=r"^KW401 channel magika:beta: got the pointer of magika:stable; "
    ):
        m.parse_pointer(data, name="magika", channel="beta")
    with pytest.raises(RolledBack) as caught:
        m.parse_pointer(m.pointer(built, "stable", floor="3.4"), name="magika", channel="stable")
    assert str(caught.value).startswith(
        "KW406 channel magika:stable: got version 3.3.0; allowed 3.4 or later; because "
    )


@given(st.binary(max_size=200) | JSON.map(lambda v: json.dumps(v).encode()))
def test_given_any_bytes_when_reading_a_pointer_then_only_model_faults(data: bytes) -> None:
    with pytest.raises(ModelFault):
        m.parse_pointer(data, name="magika", channel="stable")


# -- formats


class _Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("boom",)


def _zipped(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def _tarred(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


BOMB = pickle.dumps(_Bomb())
DISGUISES = {
    **{f"protocol {p}": pickle.dumps(_Bomb(), protocol=p) for p in range(6)},
    "large": pickle.dumps([_Bomb(), bytes(300_000)], protocol=4),
    "plain data": pickle.dumps({"weights": [1.0, 2.0]}),
    "zip": _zipped("archive/data.pkl", BOMB),
    "zip, other name": _zipped("weights.bin", BOMB),
    "tar": _tarred("weights.bin", BOMB),
    "gzip": gzip.compress(BOMB, mtime=0),
    "bz2": bz2.compress(BOMB),
    "xz": lzma.compress(BOMB),
    "zlib": zlib.compress(BOMB),
    "object array": b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,), }" + BOMB,
    "broken zip": _zipped("a", b"b")[:-10],
}


@pytest.mark.parametrize("disguise", DISGUISES)
def test_given_a_pickle_in_disguise_when_checking_then_refused(disguise: str) -> None:
    data = DISGUISES[disguise]
    with pytest.raises(UnsafeFormat, match=r"^KW407 model file weights.bin: got "):
        check_file("weights.bin", io.BytesIO(data), len(data))


@pytest.mark.parametrize("suffix", ["pkl", "pickle", "pt", "pth", "ckpt", "joblib", "PT", "h5"])
def test_given_a_pickle_name_when_checking_then_refused_unread(suffix: str) -> None:
    with pytest.raises(UnsafeFormat) as caught:
        check_file(f"a.{suffix}", io.BytesIO(b"x"), 1)
    assert str(caught.value) == (
        f"KW407 model file a.{suffix}: got the suffix .{suffix.lower()}; allowed onnx, safetensors, gguf, and plain data files; "
        "because loading a pickle runs code from the file; fix: convert it, for example with safetensors.torch.save_file"
    )


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("labels.txt", b"cat\ndog\nhorse\n"),
        ("classes.csv", b"class_id,label\n0,cat\n"),
        ("keys.txt", "c\na\ni\nl\n(\n你\n".encode()),
        ("config.json", b'{"a": [1]}'),
        ("list.json", b"[]"),
        ("README.md", b"(c) 2026 Somebody. All rights reserved.\n"),
        ("long.txt", b"cat\ndog\n" * 20_000),
        ("model.onnx", b"\x08\x07\x12\x07pytorch"),
        ("data.zip", _zipped("vocab.txt", b"cat\ndog\n")),
        ("data.gz", gzip.compress(b"cat\ndog\n", mtime=0)),
        ("zeros.bin", bytes(100)),
        ("empty.txt", b""),
    ],
    # By name: bytes would stand in the names of the tests, which every worker must collect alike.
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_given_harmless_data_when_checking_then_accepted(name: str, data: bytes) -> None:
    stream = io.BytesIO(data)
    check_file(name, stream, len(data))
    assert stream.tell() == 0


@given(st.binary(max_size=400))
def test_given_any_bytes_when_checking_then_only_model_faults(data: bytes) -> None:
    for name in ("a.txt", "a.safetensors", "a.onnx"):
        try:
            check_file(name, io.BytesIO(data), len(data))
        except ModelFault as fault:
            one_line(fault)


@pytest.mark.parametrize(
    ("data", "got"),
    [
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"\n <HTML>", "a web page"),
        (b"<?xml version='1.0'?><Error>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a Git LFS pointer"),
        (b"", "0 bytes"),
    ],
)
def test_given_something_else_under_a_models_name_when_checking_then_refused(data: bytes, got: str) -> None:
    with pytest.raises(BrokenTensors, match=f"^KW408 model file model.onnx: got {got}; "):
        check_file("model.onnx", io.BytesIO(data), len(data))


def tensors(header: Any, data: bytes = b"", *, length: int | None = None) -> bytes:
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(encoded) if length is None else length) + encoded + data


F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def test_given_good_safetensors_when_checking_then_accepted() -> None:
    data = tensors(
        {"__metadata__": {"a": "b"}, "w": F32, "e": {**F32, "shape": [0], "data_offsets": [8, 8]}}, bytes(8)
    )
    check_file("w.safetensors", io.BytesIO(data), len(data))


@pytest.mark.parametrize(
    ("data", "got"),
    [
        (b"123", "3 bytes"),
        (tensors({}, length=2**62), "a header of 4,611,686,018,427,387,904 bytes"),
        (tensors(b"{}", length=50), "a header of 50 bytes"),
        (tensors(b"nope"), "a header that is no JSON"),
        (tensors(b'{"a":{},"a":{}}'), "a header that is no JSON (a key twice)"),
        (tensors([1]), "a header that is a JSON list"),
        (tensors({"__metadata__": {"a": 1}}), "metadata that is not text"),
        (tensors({"w": {**F32, "dtype": "F31"}}, bytes(8)), "tensor 'w' of type 'F31'"),
        (tensors({"w": {**F32, "shape": [-2]}}, bytes(8)), "tensor 'w' with shape [-2] and offsets [0, 8]"),
        (
            tensors({"w": {**F32, "data_offsets": [8, 0]}}, bytes(8)),
            "tensor 'w' with shape [2] and offsets [8, 0]",
        ),
        (tensors({"w": {**F32, "shape": [3]}}, bytes(8)), "tensor 'w' of 8 bytes"),
        (
            tensors({"w": F32, "v": {**F32, "data_offsets": [4, 12]}}, bytes(12)),
            "tensor 'v' that overlaps the one before it",
        ),
        (
            tensors({"w": {**F32, "data_offsets": [4, 12]}}, bytes(12)),
            "tensor 'w' that leaves 4 bytes unused before it",
        ),
        (tensors({"w": F32}, bytes(9)), "tensors of 8 bytes in 9 bytes of data"),
        (tensors({"w": F32}, bytes(7)), "tensors of 8 bytes in 7 bytes of data"),
        (tensors({"w": 3}), "tensor 'w' of type None"),
    ],
)
def test_given_broken_safetensors_when_checking_then_the_text_says_where(data: bytes, got: str) -> None:
    with pytest.raises(BrokenTensors) as caught:
        check_file("w.safetensors", io.BytesIO(data), len(data))
    assert str(caught.value).startswith(f"KW408 model file w.safetensors: got {got}")
