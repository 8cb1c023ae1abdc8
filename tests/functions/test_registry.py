"""The model registry: what publishing, promoting and rolling back leave in the bucket.

Proves: idempotent publication, versions that never change, channels that move only forward unless asked, floors, races
lost politely. Does not prove: Object Lock and IAM, which belong to the bucket.
"""

# Error texts are asserted whole and on one line.
# ruff: noqa: E501

from pathlib import Path

import pytest

from keepwarm_runtime.aws import S3
from keepwarm_runtime.errors import (
    DigestMismatch,
    ManifestInvalid,
    ModelFault,
    ModelUnavailable,
    PreconditionFailed,
    RolledBack,
    RuntimeFault,
    SizeMismatch,
)
from keepwarm_runtime.models import manifest as m
from keepwarm_runtime.models.registry import Registry
from tests.support.fake_aws import FakeAws, Fault, Seen


@pytest.fixture
def registry(s3: S3) -> Registry:
    return Registry(s3, "models")


def source(tmp_path: Path, text: bytes, version: str = "1.0") -> tuple[Path, m.Manifest]:
    directory = tmp_path / f"{version}-{len(list(tmp_path.iterdir()))}"
    directory.mkdir()
    (directory / "model.onnx").write_bytes(b"\x08" + text)
    return directory, m.build(directory, name="demo", version=version)


def test_given_a_publication_when_repeated_then_nothing_is_written_again(
    tmp_path: Path, registry: Registry, fake: FakeAws
) -> None:
    directory, built = source(tmp_path, b"one")
    first = registry.publish(directory, built, channel="stable")
    assert (first.blobs_written, first.bytes_written, first.manifest_written, first.ref) == (
        1,
        4,
        True,
        built.ref,
    )
    assert sorted(key for _, key in fake.objects) == sorted(
        [
            m.blob_key(built.files[0].sha256),
            m.blob_key(built.digest),
            "manifests/demo/1.0.json",
            "channels/demo/stable.json",
        ]
    )
    assert fake.objects["models", "channels/demo/stable.json"][0] == m.pointer(built, "stable")
    versions = len(fake.versions)
    again = registry.publish(directory, built, channel="stable")
    assert (again.blobs_written, again.blobs_reused, again.manifest_written) == (0, 1, False)
    assert len(fake.versions) == versions


@pytest.mark.parametrize("dies_at", range(1, 8))
def test_given_a_publication_that_breaks_off_when_repeated_then_complete(
    tmp_path: Path, registry: Registry, fake: FakeAws, dies_at: int
) -> None:
    directory, built = source(tmp_path, b"one")
    asked: list[Seen] = []

    def die(seen: Seen) -> Fault | None:
        asked.append(seen)
        return (
            Fault(status=400, body=b"<Error><Code>Broken</Code></Error>") if len(asked) == dies_at else None
        )

    fake.fault = die
    with pytest.raises(RuntimeFault):
        registry.publish(directory, built, channel="stable")
    fake.fault = lambda _seen: None
    registry.publish(directory, built, channel="stable")
    assert registry.verify("demo:stable").manifest == built


def test_given_a_version_that_is_taken_when_publishing_other_bytes_then_refused_with_both_digests(
    tmp_path: Path, registry: Registry
) -> None:
    _, first = published = source(tmp_path, b"one")
    registry.publish(*published)
    directory, second = source(tmp_path, b"two")
    with pytest.raises(ModelFault) as caught:
        registry.publish(directory, second)
    assert str(caught.value) == (
        f"KW400 model demo 1.0: got a manifest with digest {second.digest}; allowed the published one, {first.digest}; because "
        "published versions never change; fix: publish under a new version"
    )


def test_given_a_file_changed_after_the_manifest_when_publishing_then_refused(
    tmp_path: Path, registry: Registry, fake: FakeAws
) -> None:
    directory, built = source(tmp_path, b"one")
    (directory / "model.onnx").write_bytes(b"\x08evil")
    with pytest.raises(DigestMismatch, match=r"^KW404 model file model.onnx: got sha256 "):
        registry.publish(directory, built)
    assert fake.objects == {}


def test_given_channels_when_moving_then_forward_only_and_never_below_the_floor(
    tmp_path: Path, registry: Registry
) -> None:
    for version in ("1.0", "2.0", "10.0"):
        registry.publish(*source(tmp_path, version.encode(), version))
    registry.promote("demo", "2.0", "stable", floor="2.0")
    with pytest.raises(RolledBack) as caught:
        registry.promote("demo", "1.0", "stable")
    assert str(caught.value) == (
        "KW406 channel demo:stable: got version 1.0; allowed 2.0 or later; because promote only goes forward; fix: keepwarm model "
        "rollback demo stable 1.0"
    )
    with pytest.raises(
        RolledBack,
        match=r"^KW406 channel demo:stable: got version 1.0; allowed 2.0 or later; because an older",
    ):
        registry.rollback("demo", "stable", "1.0")
    assert registry.promote("demo", "10.0", "stable").floor == "2.0"
    assert registry.rollback("demo", "stable", "2.0").version == "2.0"
    assert registry.rollback("demo", "stable", "1.0", floor="1.0").floor == "1.0"
    assert registry.pointer("demo", "stable").version == "1.0"


def test_given_two_who_move_a_channel_when_both_read_first_then_one_is_told(
    tmp_path: Path, registry: Registry, s3: S3, fake: FakeAws
) -> None:
    for version in ("1.0", "2.0", "3.0"):
        registry.publish(*source(tmp_path, version.encode(), version))
    registry.promote("demo", "1.0", "stable")
    raced: list[int] = []

    def race(seen: Seen) -> None:
        if seen.method == "PUT" and not raced:
            raced.append(1)
            body = m.pointer(registry_manifest, "stable")
            fake.objects["models", "channels/demo/stable.json"] = (body, {"etag": '"other"'})

    registry_manifest = registry.resolve("demo:stable").manifest
    fake.fault = race
    with pytest.raises(PreconditionFailed):
        registry.promote("demo", "2.0", "stable")
    assert registry.promote("demo", "3.0", "stable").version == "3.0"


def test_given_a_lost_answer_when_moving_then_it_is_still_moved(
    tmp_path: Path, registry: Registry, fake: FakeAws
) -> None:
    registry.publish(*source(tmp_path, b"one"))
    drops = [Fault(drop_reply=True)]
    fake.fault = lambda seen: drops.pop() if seen.method == "PUT" and drops else None
    assert registry.promote("demo", "1.0", "stable").version == "1.0"


def test_given_references_when_resolving_then_pinned_and_checked(
    tmp_path: Path, registry: Registry, fake: FakeAws
) -> None:
    directory, built = source(tmp_path, b"one")
    registry.publish(directory, built, channel="stable")
    assert registry.resolve(built.ref).manifest == built
    assert registry.resolve("demo:stable").manifest == built
    with pytest.raises(
        ManifestInvalid, match=r"^KW401 model other@sha256:.*: got the manifest of demo; allowed other"
    ):
        registry.resolve(f"other@sha256:{built.digest}")
    with pytest.raises(
        ModelUnavailable, match=r"^KW409 model object s3://models/channels/demo/beta.json: got NoSuchKey"
    ):
        registry.resolve("demo:beta")
    body, headers = fake.objects["models", "manifests/demo/1.0.json"]
    fake.objects["models", "manifests/demo/1.0.json"] = (body.replace(b"onnx", b"gguf"), headers)
    with pytest.raises(DigestMismatch, match=r"^KW404 manifest: got sha256 "):
        registry.resolve("demo:stable")


def test_given_versions_when_listing_then_in_order_with_their_channels(
    tmp_path: Path, registry: Registry
) -> None:
    for version in ("10.0", "9.0"):
        registry.publish(*source(tmp_path, version.encode(), version), channel=f"c{version[0]}")
    registry.promote("demo", "10.0", "stable")
    listed = [(entry.name, entry.version, entry.size, entry.channels) for entry in registry.list()]
    assert listed == [("demo", "9.0", 4, ("c9",)), ("demo", "10.0", 5, ("c1", "stable"))]


@pytest.mark.parametrize(
    ("change", "kind"), [(b"\x08evl", DigestMismatch), (b"\x08ev", SizeMismatch), (b"\x08evil", SizeMismatch)]
)
def test_given_bytes_changed_in_the_bucket_when_verifying_then_found(
    tmp_path: Path, registry: Registry, fake: FakeAws, change: bytes, kind: type[ModelFault]
) -> None:
    directory, built = source(tmp_path, b"one")
    registry.publish(directory, built)
    assert registry.verify(built.ref).manifest == built
    key = ("models", m.blob_key(built.files[0].sha256))
    fake.objects[key] = (change, fake.objects[key][1])
    with pytest.raises(kind):
        registry.verify(built.ref)
