"""Where models live: immutable blobs and manifests, and channel pointers that move."""

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, NotRequired, Self, TypedDict

import pulumi
from pulumi_aws import s3

from keepwarm import _planned
from keepwarm._bucket import NONCURRENT_DAYS, secure_bucket
from keepwarm.checks import models
from keepwarm.checks.inputs import Checks
from keepwarm.checks.names import child as child_name
from keepwarm.checks.problems import Problem, Report, Where, show
from keepwarm.checks.tags import Tags, tags
from keepwarm.errors import InvalidArgs
from keepwarm.iam import grants
from keepwarm.iam.bindings import ModelBinding
from keepwarm.iam.grants import Statement
from keepwarm.limits import S3_BUCKET_NAME_MAX_CHARS

KIND = "ModelRegistry"
LOCK_DAYS = 30


class Lock(StrEnum):
    """Whether published objects may be deleted before their time."""

    NONE = "none"
    GOVERNANCE = "governance"
    COMPLIANCE = "compliance"


class SeedModel(TypedDict):
    """A model that the deployment itself publishes, so that warm environments find it at once."""

    name: str
    """Name of the model, as in references."""
    version: str
    """Version of the model."""
    channel: NotRequired[str]
    """Channel that points to this version at first; later it is moved by promotion alone. Default: live."""
    manifest: str
    """Canonical JSON of the manifest (`keepwarm_runtime.models.manifest`), stored byte for byte."""
    pointer: str
    """JSON of the channel pointer, stored byte for byte."""
    files: dict[str, pulumi.Asset]
    """Files of the model by their path in the manifest."""


class ModelRegistryArgs(TypedDict):
    """Inputs of a ModelRegistry."""

    models: NotRequired[list[SeedModel]]
    """Models published with the deployment. Default: none."""
    lock: NotRequired[Lock]
    """S3 Object Lock mode of everything published; can't be added or removed later without a new bucket. Default:
    none."""
    lock_days: NotRequired[pulumi.Input[int]]
    """Days an object is locked. Default: 30."""
    confirm_compliance: NotRequired[bool]
    """Says that you know: nobody, not even the account's root, can delete a COMPLIANCE object before its day. Default:
    false."""
    noncurrent_days: NotRequired[pulumi.Input[int]]
    """Days an old version of a channel pointer is kept. Default: 30."""
    kms_key_arn: NotRequired[pulumi.Input[str]]
    """KMS key the objects are encrypted with. Default: none (SSE-S3)."""
    signer_arns: NotRequired[list[pulumi.Input[str]]]
    """KMS keys (ECC_NIST_P256) of which one must have signed a model: bound functions load no other. Default: unsigned
    models are loaded too."""
    access_log_bucket: NotRequired[pulumi.Input[str]]
    """Bucket that takes the access log. Default: no access log."""
    keep_data: NotRequired[bool]
    """Whether the bucket outlives the stack. Default: true."""
    tags: NotRequired[dict[str, pulumi.Input[str]]]
    """Tags of the bucket. Default: none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelRegistrySpec:
    """Inputs of a ModelRegistry after their check: all that its resources are built from."""

    where: Where
    bucket_name: str
    seeds: list[models.SeedSpec]
    lock: Lock
    lock_days: pulumi.Input[int]
    noncurrent_days: pulumi.Input[int]
    kms_key_arn: pulumi.Input[str] | None
    signer_arns: list[pulumi.Input[str]]
    access_log_bucket: pulumi.Input[str] | None
    keep_data: bool
    tags: Tags | None

    @classmethod
    def of(
        cls, name: str, args: ModelRegistryArgs, *, where: Where | None = None, report: Report | None = None
    ) -> Self:
        """Check the inputs; nothing is registered.

        Raises:
            InvalidArgs: something was refused, and no report was passed in.
        """
        checks = Checks(KIND, name, args, ModelRegistryArgs, where=where, report=report)
        args = checks.args
        days: dict[str, Any] = {"code": "KW131", "unit": "days"}
        lock = checks.choice("lock", Lock.NONE, "KW131")
        lock_days = checks.number(
            "lock_days", LOCK_DAYS, 1, 36_500, because="S3 locks for whole days", **days
        )
        if lock is Lock.COMPLIANCE and not checks.flag("confirm_compliance", False):
            checks.add(
                code="KW132",
                key="lock",
                got="'compliance'",
                allowed="'none', 'governance', or 'compliance' with confirm_compliance",
                because=f"nobody can delete the objects, or the bucket, for {show(lock_days)} days",
                fix="use 'governance', or set confirm_compliance to true",
            )
        spec = cls(
            where=checks.where,
            bucket_name=child_name(checks, name, "bucket", S3_BUCKET_NAME_MAX_CHARS),
            seeds=models.seeds(checks, args.get("models", [])),
            lock=lock,
            lock_days=lock_days,
            noncurrent_days=checks.number(
                "noncurrent_days", NONCURRENT_DAYS, 1, 36_500, because="S3 counts whole days", **days
            ),
            kms_key_arn=args.get("kms_key_arn"),
            signer_arns=args.get("signer_arns", []),
            access_log_bucket=args.get("access_log_bucket"),
            keep_data=checks.flag("keep_data", True),
            tags=tags(checks, args),
        )
        checks.done()
        return spec

    def planned(self, name: str, model: str, channel: str | None = None) -> ModelBinding:
        """The binding of a model with its real size and placeholders for what only AWS knows.

        Raises:
            InvalidArgs: the model can't be bound so.
        """
        bucket = _planned.physical(name, "bucket")
        return self.binding(model, channel, bucket=bucket, bucket_arn=f"arn:aws:s3:::{bucket}")

    def binding(
        self,
        model: str,
        channel: str | None,
        *,
        bucket: pulumi.Input[str],
        bucket_arn: pulumi.Input[str],
        published: pulumi.Output[str] | None = None,
    ) -> ModelBinding:
        """The binding of a model in a registry made from this spec.

        Args:
            model: Name of the model.
            channel: Channel to follow; None pins a model that the deployment publishes.
            bucket: Name of the bucket.
            bucket_arn: ARN of the bucket.
            published: Resolves when the objects of the model exist, where the deployment publishes it.

        Raises:
            InvalidArgs: the model can't be bound so.
        """
        seed = self._bindable(model, channel)
        ref = f"{model}:{channel}" if seed is None or channel is not None else seed.ref
        bound: ModelBinding = {
            "bucket": bucket,
            "bucket_arn": bucket_arn,
            "ref": ref if published is None else published.apply(partial(_published, ref)),
        }
        if seed is not None:
            bound["size_mb"] = seed.size_bytes / 1_048_576
        if self.kms_key_arn is not None:
            bound["kms_key_arn"] = self.kms_key_arn
        if self.signer_arns:
            bound["trusted_signer_arns"] = self.signer_arns
        return bound

    def _bindable(self, model: str, channel: str | None) -> models.SeedSpec | None:
        """The seeded model of that name, if any; a name that points to nothing is refused."""

        def refuse(key: str, got: object, allowed: str, because: str, fix: str) -> InvalidArgs:
            return InvalidArgs(
                Problem(
                    code="KW133",
                    key=f"binding({key})",
                    got=show(got),
                    allowed=allowed,
                    because=because,
                    fix=fix,
                ).line(self.where)
            )

        for key, value, pattern in (("model", model, models.NAME), ("channel", channel, models.CHANNEL)):
            if value is None and key == "channel":
                continue
            if not isinstance(value, str) or re.fullmatch(pattern, value) is None:
                raise refuse(
                    key,
                    value,
                    "lower-case letters, digits, dot, dash and underscore",
                    "it becomes part of an S3 key and of references",
                    "use the name it is published under",
                )
        seeded = [seed for seed in self.seeds if seed.name == model]
        following = [seed for seed in seeded if seed.channel == channel]
        if not seeded and channel is None:
            names = ", ".join(dict.fromkeys(seed.name for seed in self.seeds)) or "no model yet"
            raise refuse(
                "model",
                model,
                f"{names}; any other name with a channel",
                "this deployment does not publish it, so there is no digest to pin",
                "add it to models, or pass the channel that it will be published to",
            )
        # Of several versions the last one listed is the newest.
        newest = following or seeded
        return newest[-1] if newest else None


class ModelRegistry(pulumi.ComponentResource):
    """Holds data: a versioned bucket of models that outlives the stack unless told otherwise."""

    bucket: pulumi.Output[str]
    """Name of the bucket."""
    arn: pulumi.Output[str]
    """ARN of the bucket."""
    refs: pulumi.Output[dict[str, str]]
    """Reference of each seeded model by its name, pinned by manifest digest; known once the model is published."""

    def __init__(
        self, name: str, args: ModelRegistryArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        self._spec = spec = ModelRegistrySpec.of(name, args)
        super().__init__("keepwarm:index:ModelRegistry", name, {}, opts)
        made, guards = self._store(name, spec)
        blobs: dict[str, s3.BucketObjectv2] = {}
        self._refs: dict[str, pulumi.Output[str]] = {}
        for seed in spec.seeds:
            published = self._publish(name, made, seed, blobs, guards)
            self._refs[seed.name] = pulumi.Output.all(*published).apply(partial(_published, seed.ref))

        self.bucket = made.bucket
        self.arn = made.arn
        self.refs = pulumi.Output.all(**self._refs)
        self.register_outputs({"bucket": self.bucket, "arn": self.arn, "refs": self.refs})

    def _store(self, name: str, spec: ModelRegistrySpec) -> tuple[s3.Bucket, list[pulumi.Resource]]:
        """The bucket, and what must stand before the first object is written."""
        made, guards = secure_bucket(
            self,
            spec.bucket_name,
            keep=spec.keep_data,
            kms_key_arn=spec.kms_key_arn,
            object_lock=spec.lock is not Lock.NONE,
            access_log_bucket=spec.access_log_bucket,
            tags=spec.tags,
            rules=[
                {
                    "id": "drop-old-pointers",
                    "status": "Enabled",
                    "filter": {"prefix": "channels/"},
                    "noncurrent_version_expiration": {"noncurrent_days": spec.noncurrent_days},
                }
            ],
        )
        if spec.lock is Lock.NONE:
            return made, guards
        lock = s3.BucketObjectLockConfiguration(
            f"{name}-lock",
            bucket=made.bucket,
            rule={"default_retention": {"mode": spec.lock.value.upper(), "days": spec.lock_days}},
            opts=pulumi.ResourceOptions(parent=self, retain_on_delete=spec.keep_data, depends_on=guards),
        )
        return made, [*guards, lock]

    def _publish(
        self,
        name: str,
        bucket: s3.Bucket,
        seed: models.SeedSpec,
        blobs: dict[str, s3.BucketObjectv2],
        guards: list[pulumi.Resource],
    ) -> list[pulumi.Output[str]]:
        """Blobs first, manifest after them, pointer last: no reader sees a name before what it names."""
        keep = self._spec.keep_data

        def put(role: str, key: str, after: list[Any], kind: str = "application/json", **more: Any) -> Any:
            ignored = more.pop("ignore_changes", None)
            return s3.BucketObjectv2(
                f"{name}-{role}",
                bucket=bucket.bucket,
                key=key,
                content_type=kind,
                opts=pulumi.ResourceOptions(
                    parent=self, depends_on=after, retain_on_delete=keep, ignore_changes=ignored
                ),
                **more,
            )

        mine: list[s3.BucketObjectv2] = []
        for digest, asset in seed.blobs.items():
            if digest not in blobs:
                blobs[digest] = put(
                    f"blob-{digest[:16]}",
                    f"blobs/sha256/{digest}",
                    guards,
                    "application/octet-stream",
                    source=asset,
                )
            mine.append(blobs[digest])
        digest = seed.digest
        if digest not in blobs:
            blobs[digest] = put(
                f"blob-{digest[:16]}", f"blobs/sha256/{digest}", guards, content=seed.manifest
            )
        manifest = put(
            f"manifest-{seed.name}-{seed.version}",
            f"manifests/{seed.name}/{seed.version}.json",
            [*mine, *guards],
            content=seed.manifest,
        )
        pointer = put(
            f"channel-{seed.name}-{seed.channel}",
            f"channels/{seed.name}/{seed.channel}.json",
            [manifest, blobs[digest]],
            content=seed.pointer,
            # Promotion moves the pointer by compare and swap; the next deployment must not move it back.
            ignore_changes=["content"],
        )
        return [blobs[digest].key, pointer.key]

    def binding(
        self, model: str, *, channel: str | None = None, working_mb: int | None = None
    ) -> ModelBinding:
        """The binding of a model: pinned by digest, or following a channel when one is named.

        A model that this deployment does not publish is bound by name and channel; its size is then not checked.

        Raises:
            InvalidArgs: the model can't be bound so.
        """
        published = self._refs.get(model) if isinstance(model, str) else None
        bound = self._spec.binding(
            model, channel, bucket=self.bucket, bucket_arn=self.arn, published=published
        )
        if working_mb is not None:
            bound["working_mb"] = working_mb
        return bound

    def publisher_grants(self) -> list[Statement]:
        """What a pipeline that publishes and promotes models may do: add and point, never overwrite or delete."""
        granted = [
            grants.publish_models(self.arn),
            grants.move_channels(self.arn),
            grants.read_models(self.arn),
        ]
        granted += [grants.sign(key) for key in self._spec.signer_arns]
        return (
            granted if self._spec.kms_key_arn is None else [*granted, grants.encrypt(self._spec.kms_key_arn)]
        )

    def reader_grants(self) -> list[Statement]:
        """What a function that loads models may do."""
        granted = [grants.read_models(self.arn)]
        return (
            granted if self._spec.kms_key_arn is None else [*granted, grants.decrypt(self._spec.kms_key_arn)]
        )


def _published(ref: str, _objects: Any) -> str:
    """The reference, once its objects exist."""
    return ref
