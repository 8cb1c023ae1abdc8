"""The model registry in S3: publish once, point channels, never overwrite (contract C2).

Blobs and manifests are written with `If-None-Match: *`, so a second publisher of the same version either wrote the
same bytes, which is fine, or is told. Channels are the only thing that moves; they move with `If-Match`, and never
below their floor.
"""

from __future__ import annotations

import hashlib
import os

from keepwarm_runtime.errors import (
    AccessDenied,
    AwsFault,
    DigestMismatch,
    ManifestInvalid,
    ModelFault,
    ModelUnavailable,
    NotFound,
    PreconditionFailed,
    RolledBack,
    SizeMismatch,
)
from keepwarm_runtime.models.manifest import (
    Manifest,
    ManifestFile,
    Pointer,
    blob_key,
    channel_key,
    check_name,
    manifest_key,
    parse,
    parse_pointer,
    version_order,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from keepwarm_runtime.aws import S3
    from keepwarm_runtime.deadline import Deadline
    from keepwarm_runtime.models.signing import Trust

MAX_PUT_BYTES = 5 * 1024**3
"""Largest object of one PUT (https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html)."""


class Ref:
    """A parsed reference: either `digest` or `channel` is set."""

    __slots__ = ("channel", "digest", "name")

    def __init__(self, name: str, digest: str | None, channel: str | None) -> None:
        self.name = name
        self.digest = digest
        self.channel = channel

    @classmethod
    def parse(cls, text: str) -> Ref:
        """Read `name@sha256:<64 hex>` or `name:channel`.

        Raises:
            ManifestInvalid: it is neither; `:latest` is refused because it says nothing about what runs.
        """
        name, at, tail = text.partition("@")
        if at:
            kind, _, digest = tail.partition(":")
            if kind == "sha256" and len(digest) == 64 and not set(digest) - set("0123456789abcdef"):
                return cls(check_name("model reference", name), digest, None)
        else:
            name, colon, channel = text.partition(":")
            if colon and channel != "latest":
                return cls(
                    check_name("model reference", name), None, check_name("model reference channel", channel)
                )
        raise ManifestInvalid(
            "model reference",
            repr(text),
            allowed="name@sha256:<64 lower-case hex digits> or name:channel, but not :latest",
            because="what runs must be decided by whoever promotes, not by whoever starts last",
            fix="use the reference that `keepwarm model publish` printed",
        )


class Resolved:
    """What a reference stands for right now."""

    __slots__ = ("manifest", "pointer", "ref")

    def __init__(self, ref: str, manifest: Manifest, pointer: Pointer | None) -> None:
        self.ref = ref
        self.manifest = manifest
        self.pointer = pointer


class PublishReport:
    """What a publication wrote; all zero when everything was there already."""

    __slots__ = ("blobs_reused", "blobs_written", "bytes_written", "manifest_written", "pointer", "ref")

    def __init__(self, ref: str) -> None:
        self.ref = ref
        self.blobs_written = 0
        self.blobs_reused = 0
        self.bytes_written = 0
        self.manifest_written = False
        self.pointer: Pointer | None = None


class Listed:
    """One published version, and the channels that point to it."""

    __slots__ = ("channels", "digest", "name", "size", "version")

    def __init__(self, name: str, version: str, digest: str, size: int, channels: tuple[str, ...]) -> None:
        self.name = name
        self.version = version
        self.digest = digest
        self.size = size
        self.channels = channels


class Registry:
    """Reads and writes one registry bucket."""

    def __init__(self, s3: S3, bucket: str, *, trust: Trust | None = None) -> None:
        self.s3 = s3
        self.bucket = bucket
        self._trust = trust

    # -- reading

    def resolve(self, ref: str, *, floor: str | None = None, deadline: Deadline | None = None) -> Resolved:
        """Find the manifest of a reference; `floor` is the lowest version this reader accepts.

        Raises:
            ModelUnavailable: the registry does not give it, with the action and key that were refused.
            ManifestInvalid, DigestMismatch, RolledBack: what it gives can't be used.
        """
        wanted = Ref.parse(ref)
        pointer: Pointer | None = None
        if wanted.digest is not None:
            data = self._get(blob_key(wanted.digest), None, deadline)
            manifest = parse(data, expected_digest=wanted.digest)
        else:
            assert wanted.channel is not None
            pointer = self.pointer(wanted.name, wanted.channel, deadline=deadline)
            if floor is not None and version_order(pointer.version) < version_order(floor):
                raise RolledBack(
                    f"channel {ref}",
                    f"version {pointer.version}",
                    allowed=f"{floor} or later",
                    because="this host has already run a channel with that floor",
                )
            data = self._get(manifest_key(wanted.name, pointer.version), pointer.version_id, deadline)
            manifest = parse(data, expected_digest=pointer.digest)
            if manifest.version != pointer.version:
                raise ManifestInvalid(
                    f"channel {ref}", f"the manifest of version {manifest.version}", allowed=pointer.version
                )
        if manifest.name != wanted.name:
            raise ManifestInvalid(f"model {ref}", f"the manifest of {manifest.name}", allowed=wanted.name)
        if self._trust is not None:
            self._trust.check(manifest, self._signature(manifest, deadline), deadline=deadline)
        return Resolved(ref, manifest, pointer)

    def pointer(self, name: str, channel: str, *, deadline: Deadline | None = None) -> Pointer:
        """Read where a channel points.

        Raises:
            ModelUnavailable: there is no such channel.
        """
        return parse_pointer(
            self._get(channel_key(name, channel), None, deadline), name=name, channel=channel
        )

    def _signature(self, manifest: Manifest, deadline: Deadline | None) -> bytes | None:
        from keepwarm_runtime.models.signing import signature_key

        try:
            return self.s3.get(
                self.bucket, signature_key(manifest.name, manifest.version), deadline=deadline
            ).body
        except (NotFound, AccessDenied):
            # A reader that may not list is told AccessDenied for what is not there.
            return None

    def _get(self, key: str, version_id: str | None, deadline: Deadline | None) -> bytes:
        try:
            return self.s3.get(self.bucket, key, version_id=version_id, deadline=deadline).body
        except AwsFault as error:
            raise unavailable(self.bucket, key, error) from error

    def list(self, *, deadline: Deadline | None = None) -> list[Listed]:
        """List every published version by name and version, oldest version first."""
        pointing: dict[tuple[str, str], list[str]] = {}
        for entry in self.s3.list(self.bucket, "channels/", deadline=deadline):
            name, _, channel = entry.key.removeprefix("channels/").removesuffix(".json").partition("/")
            pointer = self.pointer(name, channel, deadline=deadline)
            pointing.setdefault((name, pointer.version), []).append(channel)
        found: list[Listed] = []
        for entry in self.s3.list(self.bucket, "manifests/", deadline=deadline):
            if not entry.key.endswith(".json"):
                continue
            manifest = parse(self._get(entry.key, None, deadline))
            channels = tuple(sorted(pointing.get((manifest.name, manifest.version), [])))
            found.append(Listed(manifest.name, manifest.version, manifest.digest, manifest.size, channels))
        return sorted(found, key=lambda listed: (listed.name, version_order(listed.version)))

    def verify(self, ref: str, *, deadline: Deadline | None = None) -> Resolved:
        """Read every byte of a model and check it against the manifest; nothing is stored.

        Raises:
            DigestMismatch, SizeMismatch, ModelUnavailable: the first file that is wrong.
        """
        resolved = self.resolve(ref, deadline=deadline)
        for file in resolved.manifest.files:
            self._verify_file(file, deadline)
        return resolved

    def _verify_file(self, file: ManifestFile, deadline: Deadline | None) -> None:
        key = blob_key(file.sha256)
        try:
            stream = self.s3.stream(self.bucket, key, deadline=deadline)
        except AwsFault as error:
            raise unavailable(self.bucket, key, error) from error
        with stream:
            size = stream.length
            if size is not None and size != file.size:
                raise SizeMismatch(
                    f"s3://{self.bucket}/{key}", f"{size:,} bytes", allowed=f"{file.size:,} bytes"
                )
            whole = hashlib.sha256()
            for index, expected in enumerate(file.chunks):
                chunk = hashlib.sha256()
                left = file.span(index)[1]
                scratch = memoryview(bytearray(256 * 1024))
                while left:
                    got = stream.read_into(scratch[:left])
                    if got == 0:
                        raise SizeMismatch(f"s3://{self.bucket}/{key}", f"{left:,} bytes too few")
                    chunk.update(scratch[:got])
                    whole.update(scratch[:got])
                    left -= got
                if chunk.hexdigest() != expected:
                    raise DigestMismatch(
                        f"s3://{self.bucket}/{key} chunk {index}",
                        f"sha256 {chunk.hexdigest()}",
                        allowed=f"sha256 {expected}",
                    )
        if whole.hexdigest() != file.sha256:
            raise DigestMismatch(
                f"s3://{self.bucket}/{key}", f"sha256 {whole.hexdigest()}", allowed=f"sha256 {file.sha256}"
            )

    # -- writing

    def publish(
        self,
        directory: str | os.PathLike[str],
        manifest: Manifest,
        *,
        channel: str | None = None,
        floor: str | None = None,
        deadline: Deadline | None = None,
    ) -> PublishReport:
        """Upload what is missing; run it again after any interruption. `channel` is promoted at the end.

        Raises:
            DigestMismatch: a file is not the one of the manifest.
            ModelFault: the version is taken by another manifest.
        """
        report = PublishReport(manifest.ref)
        for file in manifest.files:
            path = os.path.join(os.fspath(directory), file.path)  # noqa: PTH118  (pathlib costs init time)
            self._publish_file(path, file, report, deadline)
        self._put_once(blob_key(manifest.digest), manifest.canonical, deadline)
        key = manifest_key(manifest.name, manifest.version)
        if self._put_once(key, manifest.canonical, deadline):
            report.manifest_written = True
        else:
            standing = parse(self._get(key, None, deadline))
            if standing.digest != manifest.digest:
                raise ModelFault(
                    f"model {manifest.name} {manifest.version}",
                    f"a manifest with digest {manifest.digest}",
                    allowed=f"the published one, {standing.digest}",
                    because="published versions never change",
                    fix="publish under a new version",
                )
        if manifest.signer is not None:
            from keepwarm_runtime.models.signing import sign, signature_key

            # ECDSA signatures of the same bytes differ: the first one stays.
            self._put_once(
                signature_key(manifest.name, manifest.version),
                sign(self.s3.aws, manifest, deadline=deadline),
                deadline,
            )
        if channel is not None:
            report.pointer = self.promote(
                manifest.name, manifest.version, channel, floor=floor, deadline=deadline
            )
        return report

    def _publish_file(
        self, path: str, file: ManifestFile, report: PublishReport, deadline: Deadline | None
    ) -> None:
        key = blob_key(file.sha256)
        if self._exists(key, deadline):
            report.blobs_reused += 1
            return
        if file.size > MAX_PUT_BYTES:
            raise SizeMismatch(
                f"model file {file.path}",
                f"{file.size:,} bytes",
                allowed=f"at most {MAX_PUT_BYTES:,} bytes",
                because="one S3 PUT takes no more",
                fix="split the file into shards",
            )
        with open(path, "rb") as stream:  # noqa: PTH123
            data = stream.read()
        actual = hashlib.sha256(data).hexdigest()
        if actual != file.sha256:
            raise DigestMismatch(
                f"model file {file.path}", f"sha256 {actual}", allowed=f"sha256 {file.sha256}"
            )
        if self._put_once(key, data, deadline):
            report.blobs_written += 1
            report.bytes_written += len(data)
        else:
            report.blobs_reused += 1

    def _exists(self, key: str, deadline: Deadline | None) -> bool:
        try:
            self.s3.head(self.bucket, key, deadline=deadline)
        except NotFound:
            return False
        except AccessDenied:
            # A publisher may write but not read: S3 then hides whether the key exists, and the PUT decides.
            return False
        return True

    def _put_once(self, key: str, data: bytes, deadline: Deadline | None) -> bool:
        try:
            self.s3.put(self.bucket, key, data, if_none_match=True, deadline=deadline)
        except PreconditionFailed:
            return False
        return True

    def promote(
        self,
        name: str,
        version: str,
        channel: str,
        *,
        floor: str | None = None,
        deadline: Deadline | None = None,
    ) -> Pointer:
        """Point a channel to a published version, not older than the one it points to; `floor` only rises here.

        Raises:
            RolledBack: the version is older than the current one or below the floor.
            ModelUnavailable: it was never published.
            PreconditionFailed: somebody moved the channel at the same time.
        """

        def decide(current: Pointer | None) -> str | None:
            if current is not None and version_order(version) < version_order(current.version):
                raise RolledBack(
                    f"channel {name}:{channel}",
                    f"version {version}",
                    allowed=f"{current.version} or later",
                    because="promote only goes forward",
                    fix=f"`keepwarm model rollback {name} --channel {channel} --to {version}`",
                )
            return _higher(current.floor if current else None, floor)

        return self._move(name, version, channel, decide, deadline)

    def rollback(
        self,
        name: str,
        channel: str,
        to_version: str,
        *,
        floor: str | None = None,
        deadline: Deadline | None = None,
    ) -> Pointer:
        """Point a channel back to an older version. Giving `floor` replaces the floor, also by a lower one.

        Raises:
            RolledBack: the version is below the floor that holds.
            ModelUnavailable: the version or the channel does not exist.
        """

        def decide(current: Pointer | None) -> str | None:
            if current is None:
                raise ModelUnavailable(
                    f"channel {name}:{channel}", "no pointer", fix="promote a version first"
                )
            return floor if floor is not None else current.floor

        return self._move(name, to_version, channel, decide, deadline)

    def _move(
        self,
        name: str,
        version: str,
        channel: str,
        decide: Callable[[Pointer | None], str | None],
        deadline: Deadline | None,
    ) -> Pointer:
        check_name("channel", channel)
        manifest = parse(self._get(manifest_key(name, version), None, deadline))
        key = channel_key(name, channel)
        current: Pointer | None = None
        etag: str | None = None
        try:
            answer = self.s3.get(self.bucket, key, deadline=deadline)
            current = _tolerant(answer.body, name, channel)
            etag = answer.headers.get("etag")
        except NotFound:
            # A new channel: the PUT below insists that nobody else makes it meanwhile.
            etag = None
        floor = decide(current)
        if floor is not None and version_order(version) < version_order(floor):
            raise RolledBack(f"channel {name}:{channel}", f"version {version}", allowed=f"{floor} or later")
        moved = Pointer(name, channel, version, manifest.digest, floor, None)
        if current is not None and moved.canonical == current.canonical:
            return moved
        try:
            self.s3.put(
                self.bucket,
                key,
                moved.canonical,
                content_type="application/json",
                if_none_match=etag is None,
                if_match=etag,
                deadline=deadline,
            )
        except PreconditionFailed:
            # Our own write may have gone through with its answer lost; then the pointer is what we wanted.
            if self._get(key, None, deadline) != moved.canonical:
                raise
        return moved


def _tolerant(data: bytes, name: str, channel: str) -> Pointer:
    """Read the current pointer even when it is below its floor: a rollback is how that gets repaired."""
    import json

    try:
        return parse_pointer(data, name=name, channel=channel)
    except RolledBack:
        fields = json.loads(data)
        return Pointer(
            name, channel, fields["version"], fields["digest"], fields["floor"], fields["version_id"]
        )


def _higher(one: str | None, other: str | None) -> str | None:
    if one is None or other is None:
        return one or other
    return max(one, other, key=version_order)


def unavailable(bucket: str, key: str, error: AwsFault) -> ModelFault:
    """Say what a refused read of the registry means for its reader (R109)."""
    who = f"model object s3://{bucket}/{key}"
    got = f"{error.aws_code} (HTTP {error.status})"
    if error.aws_code == "NoSuchBucket":
        return ModelUnavailable(
            who, got, fix="check KEEPWARM_MODEL_BUCKET and that the ModelRegistry is deployed"
        )
    if isinstance(error, NotFound):
        return ModelUnavailable(who, got, fix="publish the model, or correct the reference")
    if isinstance(error, AccessDenied):
        if "kms" in error.message.lower():
            return ModelUnavailable(
                who, f"{got} from KMS", because="the role may read the object but not decrypt it",
                fix="grant kms:Decrypt on the registry's key",
            )  # fmt: skip
        return ModelUnavailable(
            who, got, because=f"the role may not s3:{error.operation} it (S3 says so for missing keys too)",
            fix="grant reading the registry to this function",
        )  # fmt: skip
    if error.status in (301, 307, 400) and error.aws_code in (
        "PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "Unknown",
    ):  # fmt: skip
        return ModelUnavailable(
            who, got, because="the bucket is in another region", fix="set its region for the function"
        )
    fault = ModelUnavailable(
        who, f"{got}, {error.message}", fix="retry; the cache keeps what was verified so far"
    )
    fault.retry = error.retry
    return fault
