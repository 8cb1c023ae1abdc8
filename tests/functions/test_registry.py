"""The model registry: what publishing, promoting and rolling back leave in the bucket.

Proves: idempotent publication, versions that never change, channels that move only forward unless asked, floors, races
lost politely. Does not prove: Object Lock and IAM, which belong to the bucket.
"""

# Error texts are asserted whole and on one line.
# ruff: noqa: E501

import json
from pathlib import Path
from typing import Any

import pytest

from keepwarm_runtime.aws import S3, Aws
from keepwarm_runtime.errors import (
    DigestMismatch,
    ManifestInvalid,
    ModelFault,
    ModelUnavailable,
    PreconditionFailed,
    RolledBack,
    RuntimeFault,
    SignatureInvalid,
    SizeMismatch,
)
from keepwarm_runtime.models import manifest as m
from keepwarm_runtime.models.registry import Registry
from keepwarm_runtime.models.signing import Trust, sign
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
        "KW406 channel demo:stable: got version 1.0; allowed 2.0 or later; because promote only goes forward; fix: `keepwarm "
        "model rollback demo --channel stable --to 1.0`"
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


# -- signatures

KEY = "arn:aws:kms:eu-central-1:1:key/a"


class Kms:
    """Signs by writing the message down."""

    def __init__(self, fake: FakeAws) -> None:
        fake.answers["Sign"] = lambda payload: {"Signature": payload["KeyId"] + payload["Message"]}
        fake.answers["Verify"] = self.verify

    def verify(self, payload: dict[str, Any]) -> Any:
        assert (payload["MessageType"], payload["SigningAlgorithm"]) == ("DIGEST", "ECDSA_SHA_256")
        if payload["Signature"] != payload["KeyId"] + payload["Message"]:
            return 400, {}, b'{"__type": "KMSInvalidSignatureException"}'
        return {"SignatureValid": True}


def signed(tmp_path: Path, signer: str | None = KEY) -> tuple[Path, m.Manifest]:
    directory, _ = source(tmp_path, b"one")
    return directory, m.build(directory, name="demo", version="1.0", signer=signer)


def test_given_a_trusted_signer_when_resolving_then_accepted_and_listed_once(
    tmp_path: Path, registry: Registry, aws: Aws, s3: S3, fake: FakeAws
) -> None:
    Kms(fake)
    directory, built = signed(tmp_path)
    registry.publish(directory, built, channel="stable")
    registry.publish(directory, built, channel="stable")
    assert Registry(s3, "models", trust=Trust(aws, [KEY])).resolve("demo:stable").manifest == built
    assert len(registry.list()) == 1


@pytest.mark.parametrize(
    ("signer", "change", "text"),
    [
        (None, None, "KW405 model demo 1.0: got no signature; allowed one by "),
        (KEY, "gone", "KW405 model demo 1.0: got no signature; allowed one by "),
        (KEY + "b", None, f"KW405 model demo 1.0: got the signer {KEY}b; allowed {KEY}; because this function trusts no other"),
        (KEY, b"[]", "KW405 model demo 1.0 signature: got a JSON list; allowed a signature document"),
        (KEY, b"x", "KW405 model demo 1.0 signature: got no JSON ("),
        (KEY, {"digest": "0" * 64}, f"KW405 model demo 1.0 signature: got digest '{'0' * 64}'; allowed "),
        (KEY, {"algorithm": "RSASSA_PKCS1_V1_5_SHA_256"}, "KW405 model demo 1.0 signature: got algorithm 'RSASSA_PKCS1"),
        (KEY, {"signature": "forged"}, "KW405 model demo 1.0 signature: got KMSInvalidSignatureException; because KMS does not"),
    ],
)  # fmt: skip
def test_given_a_signature_that_does_not_hold_when_resolving_then_refused(
    tmp_path: Path,
    registry: Registry,
    aws: Aws,
    s3: S3,
    fake: FakeAws,
    signer: str | None,
    change: Any,
    text: str,
) -> None:
    Kms(fake)
    directory, built = signed(tmp_path, signer)
    registry.publish(directory, built)
    place = ("models", "manifests/demo/1.0.sig")
    if change == "gone":
        del fake.objects[place]
    elif change is not None:
        body, headers = fake.objects[place]
        new = change if isinstance(change, bytes) else json.dumps(json.loads(body) | change).encode()
        fake.objects[place] = (new, headers)
    with pytest.raises(SignatureInvalid) as caught:
        Registry(s3, "models", trust=Trust(aws, [KEY])).resolve(built.ref)
    assert str(caught.value).startswith(text)


def test_given_a_manifest_without_a_signer_when_signing_then_refused(tmp_path: Path, aws: Aws) -> None:
    with pytest.raises(SignatureInvalid) as caught:
        sign(aws, signed(tmp_path, None)[1])
    assert str(caught.value) == (
        "KW405 model demo 1.0: got a manifest without a signer; allowed the ARN of a KMS key; fix: build it with signer="
    )
