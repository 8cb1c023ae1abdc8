"""The bucket every component with objects starts from: private, encrypted, versioned, reachable over TLS only."""

from typing import Any

import pulumi
from pulumi_aws import s3

from keepwarm._values import concat
from keepwarm.iam import documents

ABORT_UPLOAD_DAYS = 7
NONCURRENT_DAYS = 30
TLS_MIN = 1.2


def secure_bucket(
    owner: pulumi.ComponentResource,
    name: str,
    *,
    keep: bool,
    kms_key_arn: pulumi.Input[str] | None,
    rules: list[dict[str, Any]],
    object_lock: bool = False,
    access_log_bucket: pulumi.Input[str] | None = None,
    extra_statements: list[dict[str, Any]] | None = None,
    tags: dict[str, pulumi.Input[str]] | None = None,
) -> tuple[s3.Bucket, list[pulumi.Resource]]:
    """Create a bucket and the resources that make it safe, all below `owner`.

    Returns the bucket and what must stand before the first object is written.
    """
    # A kept bucket keeps its guards: deleting them would leave the data public, unversioned or unlocked.
    child = pulumi.ResourceOptions(parent=owner, retain_on_delete=keep)
    bucket = s3.Bucket(
        name,
        object_lock_enabled=True if object_lock else None,
        force_destroy=None if keep else True,
        tags=tags,
        opts=child,
    )
    guards: list[pulumi.Resource] = [
        s3.BucketPublicAccessBlock(
            f"{name}-public",
            bucket=bucket.bucket,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=child,
        ),
        s3.BucketOwnershipControls(
            f"{name}-owner",
            bucket=bucket.bucket,
            rule={"object_ownership": "BucketOwnerEnforced"},
            opts=child,
        ),
    ]
    versions = s3.BucketVersioning(
        f"{name}-versions",
        bucket=bucket.bucket,
        versioning_configuration={"status": "Enabled"},
        opts=child,
    )
    default: dict[str, Any] = {"sse_algorithm": "AES256"}
    if kms_key_arn is not None:
        default = {"sse_algorithm": "aws:kms", "kms_master_key_id": kms_key_arn}
    rule: Any = {
        "apply_server_side_encryption_by_default": default,
        "bucket_key_enabled": True if kms_key_arn is not None else None,
    }
    encryption = s3.BucketServerSideEncryptionConfiguration(
        f"{name}-encryption",
        bucket=bucket.bucket,
        rules=[rule],
        opts=child,
    )
    lifecycle: list[Any] = [
        {
            "id": "abort-uploads",
            "status": "Enabled",
            "filter": {"prefix": ""},
            "abort_incomplete_multipart_upload": {"days_after_initiation": ABORT_UPLOAD_DAYS},
        },
        *rules,
    ]
    s3.BucketLifecycleConfiguration(
        f"{name}-lifecycle",
        bucket=bucket.bucket,
        rules=lifecycle,
        # S3 refuses rules on noncurrent versions while versioning is still off.
        opts=pulumi.ResourceOptions(parent=owner, retain_on_delete=keep, depends_on=[versions]),
    )
    everything = [bucket.arn, concat(bucket.arn, "/*")]
    policy = s3.BucketPolicy(
        f"{name}-policy",
        bucket=bucket.bucket,
        policy=documents.raw_document(
            [
                {
                    "Sid": "TlsOnly",
                    "Effect": "Deny",
                    "Principal": "*",
                    "Action": "s3:*",
                    "Resource": everything,
                    "Condition": {"Bool": {"aws:SecureTransport": "false"}},
                },
                {
                    "Sid": "ModernTls",
                    "Effect": "Deny",
                    "Principal": "*",
                    "Action": "s3:*",
                    "Resource": everything,
                    "Condition": {"NumericLessThan": {"s3:TlsVersion": str(TLS_MIN)}},
                },
                *(extra_statements or []),
            ]
        ),
        # Both calls write the bucket's policy state; S3 answers 409 when they overlap.
        opts=pulumi.ResourceOptions(parent=owner, retain_on_delete=keep, depends_on=[guards[0]]),
    )
    if access_log_bucket is not None:
        s3.BucketLogging(
            f"{name}-access-log",
            bucket=bucket.bucket,
            target_bucket=access_log_bucket,
            target_prefix=f"{name}/",
            opts=child,
        )
    return bucket, [*guards, versions, encryption, policy]
