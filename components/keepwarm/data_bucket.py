"""A private bucket for documents, intermediate files and results."""

from typing import Any, NotRequired, TypedDict

import pulumi

from keepwarm._args import Checks
from keepwarm._bucket import NONCURRENT_DAYS, secure_bucket
from keepwarm._names import child as child_name
from keepwarm.bindings import StoreBinding
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


class DataBucket(pulumi.ComponentResource):
    """Holds data: a private, versioned, encrypted bucket that outlives the stack unless told otherwise."""

    bucket: pulumi.Output[str]
    """Name of the bucket."""
    arn: pulumi.Output[str]
    """ARN of the bucket."""

    def __init__(self, name: str, args: DataBucketArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("keepwarm:index:DataBucket", name, {}, opts)
        checks = Checks("DataBucket", name, args, DataBucketArgs)
        days: dict[str, Any] = {"code": "KW131", "unit": "days", "because": "S3 counts whole days"}
        expire = checks.number("expire_days", None, 1, 36_500, **days)
        noncurrent = checks.number("noncurrent_days", NONCURRENT_DAYS, 1, 36_500, **days)
        keep = checks.flag("keep_data", True)
        bucket_name = child_name(checks, name, "bucket", S3_BUCKET_NAME_MAX_CHARS)
        checks.done()

        rules: list[Any] = [
            {
                "id": "drop-old-versions",
                "status": "Enabled",
                "filter": {"prefix": ""},
                "noncurrent_version_expiration": {"noncurrent_days": noncurrent},
            }
        ]
        if expire is not None:
            rules.append(
                {
                    "id": "expire",
                    "status": "Enabled",
                    "filter": {"prefix": args.get("expire_prefix", "")},
                    "expiration": {"days": expire},
                }
            )
        kms = args.get("kms_key_arn")
        made, _ = secure_bucket(
            self,
            bucket_name,
            keep=keep,
            kms_key_arn=kms,
            rules=rules,
            access_log_bucket=args.get("access_log_bucket"),
        )

        self.bucket = made.bucket
        self.arn = made.arn
        self._binding: StoreBinding = {"bucket": made.bucket, "bucket_arn": made.arn}
        if kms is not None:
            self._binding["kms_key_arn"] = kms
        self.register_outputs({"bucket": self.bucket, "arn": self.arn})

    def binding(self) -> StoreBinding:
        """What functions and queues need to know of this bucket."""
        return self._binding
