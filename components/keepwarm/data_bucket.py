"""A private bucket for documents, intermediate files and results."""

from dataclasses import dataclass
from typing import Any, NotRequired, Self, TypedDict

import pulumi

from keepwarm import _planned
from keepwarm._bucket import NONCURRENT_DAYS, secure_bucket
from keepwarm.checks.inputs import Checks
from keepwarm.checks.names import child as child_name
from keepwarm.checks.problems import Report, Where
from keepwarm.checks.tags import Tags, tags
from keepwarm.iam.bindings import StoreBinding
from keepwarm.limits import S3_BUCKET_NAME_MAX_CHARS


class DataBucketArgs(TypedDict):
    """Inputs of a DataBucket."""

    expire_days: NotRequired[pulumi.Input[int]]
    """Days after which objects are deleted. Default: never."""
    expire_prefix: NotRequired[pulumi.Input[str]]
    """Prefix of the objects `expire_days` deletes. Default: all objects."""
    noncurrent_days: NotRequired[pulumi.Input[int]]
    """Days an overwritten or deleted version is kept. Default: 30."""
    kms_key_arn: NotRequired[pulumi.Input[str]]
    """KMS key the objects are encrypted with. Default: none (SSE-S3)."""
    access_log_bucket: NotRequired[pulumi.Input[str]]
    """Bucket that takes the access log. Default: no access log."""
    keep_data: NotRequired[bool]
    """Whether the bucket outlives the stack. Default: true."""
    tags: NotRequired[dict[str, pulumi.Input[str]]]
    """Tags of the bucket. Default: none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DataBucketSpec:
    """Inputs of a DataBucket after their check: all that its resources are built from."""

    bucket_name: str
    expire_days: pulumi.Input[int] | None
    expire_prefix: pulumi.Input[str]
    noncurrent_days: pulumi.Input[int]
    kms_key_arn: pulumi.Input[str] | None
    access_log_bucket: pulumi.Input[str] | None
    keep_data: bool
    tags: Tags | None

    @classmethod
    def of(
        cls, name: str, args: DataBucketArgs, *, where: Where | None = None, report: Report | None = None
    ) -> Self:
        """Check the inputs; nothing is registered.

        Raises:
            InvalidArgs: something was refused, and no report was passed in.
        """
        checks = Checks("DataBucket", name, args, DataBucketArgs, where=where, report=report)
        args = checks.args
        days: dict[str, Any] = {"code": "KW131", "unit": "days", "because": "S3 counts whole days"}
        spec = cls(
            bucket_name=child_name(checks, name, "bucket", S3_BUCKET_NAME_MAX_CHARS),
            expire_days=checks.number("expire_days", None, 1, 36_500, **days),
            expire_prefix=args.get("expire_prefix", ""),
            noncurrent_days=checks.number("noncurrent_days", NONCURRENT_DAYS, 1, 36_500, **days),
            kms_key_arn=args.get("kms_key_arn"),
            access_log_bucket=args.get("access_log_bucket"),
            keep_data=checks.flag("keep_data", True),
            tags=tags(checks, args),
        )
        checks.done()
        return spec

    def planned(self, name: str) -> StoreBinding:
        """The binding with placeholders for what only AWS knows."""
        bucket = _planned.physical(name, "bucket")
        return self.binding(bucket=bucket, bucket_arn=f"arn:aws:s3:::{bucket}")

    def binding(self, *, bucket: pulumi.Input[str], bucket_arn: pulumi.Input[str]) -> StoreBinding:
        """The binding of a bucket made from this spec."""
        bound: StoreBinding = {"bucket": bucket, "bucket_arn": bucket_arn}
        if self.kms_key_arn is not None:
            bound["kms_key_arn"] = self.kms_key_arn
        return bound

    def lifecycle(self) -> list[Any]:
        """Lifecycle rules beside those that every bucket has."""
        rules: list[Any] = [
            {
                "id": "drop-old-versions",
                "status": "Enabled",
                "filter": {"prefix": ""},
                "noncurrent_version_expiration": {"noncurrent_days": self.noncurrent_days},
            }
        ]
        if self.expire_days is not None:
            rules.append(
                {
                    "id": "expire",
                    "status": "Enabled",
                    "filter": {"prefix": self.expire_prefix},
                    "expiration": {"days": self.expire_days},
                }
            )
        return rules


class DataBucket(pulumi.ComponentResource):
    """Holds data: a private, versioned, encrypted bucket that outlives the stack unless told otherwise."""

    bucket: pulumi.Output[str]
    """Name of the bucket."""
    arn: pulumi.Output[str]
    """ARN of the bucket."""

    def __init__(self, name: str, args: DataBucketArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        spec = DataBucketSpec.of(name, args)
        super().__init__("keepwarm:index:DataBucket", name, {}, opts)
        made, _ = secure_bucket(
            self,
            spec.bucket_name,
            keep=spec.keep_data,
            kms_key_arn=spec.kms_key_arn,
            rules=spec.lifecycle(),
            access_log_bucket=spec.access_log_bucket,
            tags=spec.tags,
        )

        self.bucket = made.bucket
        self.arn = made.arn
        self._binding = spec.binding(bucket=made.bucket, bucket_arn=made.arn)
        self.register_outputs({"bucket": self.bucket, "arn": self.arn})

    def binding(self) -> StoreBinding:
        """What functions and queues need to know of this bucket."""
        return self._binding
