"""Where models live: immutable blobs and manifests, and channel pointers that move."""

import hashlib
import json
import re
from enum import StrEnum
from functools import partial
from typing import Any, NotRequired, TypedDict

import pulumi
from pulumi_aws import s3

from keepwarm._bucket import NONCURRENT_DAYS, secure_bucket
from keepwarm.checks.inputs import Checks
from keepwarm.checks.names import child as child_name
from keepwarm.checks.problems import show
from keepwarm.iam import grants
from keepwarm.iam.bindings import ModelBinding
from keepwarm.iam.grants import Statement
from keepwarm.limits import S3_BUCKET_NAME_MAX_CHARS

LOCK_DAYS = 30
NAME = r"[a-z0-9][a-z0-9._-]{0,127}"
VERSION = r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}"
CHANNEL = r"[a-z0-9][a-z0-9._-]{0,63}"
MANIFEST_MAX_BYTES = 1_048_576
PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".joblib", ".ckpt")


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
        checks = Checks("ModelRegistry", name, args, ModelRegistryArgs)
        args = checks.args
        lock = checks.choice("lock", Lock.NONE, "KW131")
        lock_days = checks.number(
            "lock_days", LOCK_DAYS, 1, 36_500, code="KW131", unit="days", because="S3 locks for whole days"
        )
        noncurrent = checks.number(
            "noncurrent_days",
            NONCURRENT_DAYS,
            1,
            36_500,
            code="KW131",
            unit="days",
            because="S3 counts whole days",
        )
        keep = checks.flag("keep_data", True)
        if lock is Lock.COMPLIANCE and not checks.flag("confirm_compliance", False):
            checks.add(
                code="KW132",
                key="lock",
                got="'compliance'",
                allowed="'none', 'governance', or 'compliance' with confirm_compliance",
                because=f"nobody can delete the objects, or the bucket, for {show(lock_days)} days",
                fix="use 'governance', or set confirm_compliance to true",
            )
        seeds = [_seed(checks, index, seed) for index, seed in enumerate(args.get("models", []))]
        bucket_name = child_name(checks, name, "bucket", S3_BUCKET_NAME_MAX_CHARS)
        checks.done()
        super().__init__("keepwarm:index:ModelRegistry", name, {}, opts)

        kms = args.get("kms_key_arn")
        made, guards = secure_bucket(
            self,
            bucket_name,
            keep=keep,
            kms_key_arn=kms,
            object_lock=lock is not Lock.NONE,
            access_log_bucket=args.get("access_log_bucket"),
            rules=[
                {
                    "id": "drop-old-pointers",
                    "status": "Enabled",
                    "filter": {"prefix": "channels/"},
                    "noncurrent_version_expiration": {"noncurrent_days": noncurrent},
                }
            ],
        )
        if lock is not Lock.NONE:
            guards.append(
                s3.BucketObjectLockConfiguration(
                    f"{name}-lock",
                    bucket=made.bucket,
                    rule={"default_retention": {"mode": lock.value.upper(), "days": lock_days}},
                    opts=pulumi.ResourceOptions(parent=self, retain_on_delete=keep, depends_on=guards),
                )
            )
        published: dict[str, list[pulumi.Output[str]]] = {}
        blobs: dict[str, s3.BucketObjectv2] = {}
        for seed in seeds:
            published[seed["ref"]] = self._publish(name, made, seed, blobs, guards, keep)

        self.bucket = made.bucket
        self.arn = made.arn
        self._kms = kms
        self._signers = list(args.get("signer_arns", []))
        self._sizes = {seed["name"]: seed["size_bytes"] for seed in seeds}
        self._refs: dict[str, pulumi.Output[str]] = {
            seed["name"]: pulumi.Output.all(*published[seed["ref"]]).apply(partial(_published, seed["ref"]))
            for seed in seeds
        }
        self.refs = pulumi.Output.all(**self._refs)
        self.register_outputs({"bucket": self.bucket, "arn": self.arn, "refs": self.refs})

    def _publish(
        self,
        name: str,
        bucket: s3.Bucket,
        seed: dict[str, Any],
        blobs: dict[str, s3.BucketObjectv2],
        guards: list[pulumi.Resource],
        keep: bool,
    ) -> list[pulumi.Output[str]]:
        """Blobs first, manifest after them, pointer last: no reader sees a name before what it names."""
        before = pulumi.ResourceOptions(parent=self, depends_on=guards, retain_on_delete=keep)
        mine: list[s3.BucketObjectv2] = []
        for digest, asset in seed["blobs"].items():
            if digest not in blobs:
                blobs[digest] = s3.BucketObjectv2(
                    f"{name}-blob-{digest[:16]}",
                    bucket=bucket.bucket,
                    key=f"blobs/sha256/{digest}",
                    source=asset,
                    content_type="application/octet-stream",
                    opts=before,
                )
            mine.append(blobs[digest])
        digest = seed["digest"]
        if digest not in blobs:
            blobs[digest] = s3.BucketObjectv2(
                f"{name}-blob-{digest[:16]}",
                bucket=bucket.bucket,
                key=f"blobs/sha256/{digest}",
                content=seed["manifest"],
                content_type="application/json",
                opts=before,
            )
        manifest = s3.BucketObjectv2(
            f"{name}-manifest-{seed['name']}-{seed['version']}",
            bucket=bucket.bucket,
            key=f"manifests/{seed['name']}/{seed['version']}.json",
            content=seed["manifest"],
            content_type="application/json",
            opts=pulumi.ResourceOptions(parent=self, depends_on=[*mine, *guards], retain_on_delete=keep),
        )
        pointer = s3.BucketObjectv2(
            f"{name}-channel-{seed['name']}-{seed['channel']}",
            bucket=bucket.bucket,
            key=f"channels/{seed['name']}/{seed['channel']}.json",
            content=seed["pointer"],
            content_type="application/json",
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=[manifest, blobs[digest]],
                retain_on_delete=keep,
                # Promotion moves the pointer by compare and swap; the next deployment must not move it back.
                ignore_changes=["content"],
            ),
        )
        return [blobs[digest].key, pointer.key]

    def binding(
        self, model: str, *, channel: str | None = None, working_mb: int | None = None
    ) -> ModelBinding:
        """The binding of a seeded model: pinned by digest, or following a channel when one is named."""
        ref: pulumi.Input[str] = self._refs[model]
        if channel is not None:
            ref = self._refs[model].apply(lambda _: f"{model}:{channel}")
        bound: ModelBinding = {
            "bucket": self.bucket,
            "bucket_arn": self.arn,
            "ref": ref,
            "size_mb": self._sizes[model] / 1_048_576,
        }
        if working_mb is not None:
            bound["working_mb"] = working_mb
        if self._kms is not None:
            bound["kms_key_arn"] = self._kms
        if self._signers:
            bound["trusted_signer_arns"] = self._signers
        return bound

    def publisher_grants(self) -> list[Statement]:
        """What a pipeline that publishes and promotes models may do: add and point, never overwrite or delete."""
        granted = [
            grants.publish_models(self.arn),
            grants.move_channels(self.arn),
            grants.read_models(self.arn),
        ]
        granted += [grants.sign(key) for key in self._signers]
        return granted if self._kms is None else [*granted, grants.encrypt(self._kms)]

    def reader_grants(self) -> list[Statement]:
        """What a function that loads models may do."""
        granted = [grants.read_models(self.arn)]
        return granted if self._kms is None else [*granted, grants.decrypt(self._kms)]


def _published(ref: str, _keys: list[str]) -> str:
    """The reference, once its objects exist."""
    return ref


def _seed(checks: Checks[Any], index: int, seed: SeedModel) -> dict[str, Any]:
    """A seed model after its check: the digest of its manifest and its files by digest."""
    at = f"models[{index}]"
    spec: dict[str, Any] = {
        "name": seed.get("name", ""),
        "version": seed.get("version", ""),
        "channel": seed.get("channel", "live"),
        "manifest": seed.get("manifest", ""),
        "pointer": seed.get("pointer", ""),
        "digest": hashlib.sha256(seed.get("manifest", "").encode()).hexdigest(),
        "blobs": {},
        "size_bytes": 0,
    }
    spec["ref"] = f"{spec['name']}@sha256:{spec['digest']}"
    for key, pattern in (("name", NAME), ("version", VERSION), ("channel", CHANNEL)):
        checks.text(
            f"{at}.{key}",
            spec[key],
            pattern,
            code="KW133",
            allowed="letters, digits, dot, dash and underscore",
            because="it becomes part of an S3 key and of references",
            fix="rename it",
        )
    files = _manifest_files(checks, at, spec)
    given = seed.get("files", {})
    missing = sorted(set(files) - set(given))
    extra = sorted(set(given) - set(files))
    if missing or extra:
        checks.add(
            code="KW148",
            key=f"{at}.files",
            got=f"missing {missing}, unlisted {extra}",
            allowed="exactly the files the manifest lists",
            because="a reader loads what the manifest says and nothing else",
            fix="build the manifest from the same folder as the files",
        )
    spec["blobs"] = {files[path]["sha256"]: given[path] for path in files if path in given}
    spec["size_bytes"] = sum(int(entry.get("size", 0)) for entry in files.values())
    return spec


def _manifest_files(checks: Checks[Any], at: str, spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The manifest's files by path; a manifest that is none, or lists what it must not, is refused."""

    def refuse(got: str, because: str) -> None:
        checks.add(
            code="KW148",
            key=f"{at}.manifest",
            got=got,
            allowed="canonical JSON with schema, name, version and files",
            because=because,
            fix="build it with keepwarm_runtime.models.manifest",
        )

    try:
        manifest = json.loads(spec["manifest"])
        entries = list(manifest["files"])
        files = {str(entry["path"]): dict(entry) for entry in entries}
    except (ValueError, KeyError, TypeError) as fault:
        refuse(show(spec["manifest"][:40]), f"it can't be read ({type(fault).__name__}: {fault})")
        return {}
    if len(spec["manifest"].encode()) > MANIFEST_MAX_BYTES:
        refuse(f"{len(spec['manifest'])} characters", "readers take at most 1 MiB")
    if (manifest.get("name"), manifest.get("version")) != (spec["name"], spec["version"]):
        refuse(
            f"{show(manifest.get('name'))} {show(manifest.get('version'))}",
            f"it is published as {spec['name']} {spec['version']}",
        )
    if len(files) != len(entries) or not files:
        refuse(
            f"{len(entries)} entries, {len(files)} paths",
            "every file is listed once, and there is at least one",
        )
    for path, entry in files.items():
        if path.startswith("/") or ".." in path.split("/") or "\\" in path or not path.isprintable():
            refuse(show(path), "a path must stay inside the model's folder")
        if path.lower().endswith(PICKLES):
            refuse(show(path), "a pickle runs code when it is loaded; convert it to ONNX or safetensors")
        if re.fullmatch(r"[0-9a-f]{64}", str(entry.get("sha256", ""))) is None:
            checks.add(
                code="KW134",
                key=f"{at}.manifest",
                got=show(entry.get("sha256")),
                allowed="64 lower-case hexadecimal digits",
                because=f"it is the address of {path}",
                fix="build it with keepwarm_runtime.models.manifest",
            )
            entry["sha256"] = ""
    return files
