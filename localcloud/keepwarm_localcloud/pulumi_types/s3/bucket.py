"""S3: buckets.

What forces replacement and how ids look: https://www.pulumi.com/registry/packages/aws/api-docs/s3/ (pulumi-aws 7.51).
"""
# base.ResourceType documents the four operations; `token` is a Pulumi type token, not a password.
# ruff: noqa: D102, S105

from typing import Any

from keepwarm_localcloud.pulumi_types.answers import GONE, error_code, unless_gone
from keepwarm_localcloud.pulumi_types.base import AutoName, Call, Made, ResourceType
from keepwarm_localcloud.pulumi_types.convert import (
    tag_list,
    tag_map,
)
from keepwarm_localcloud.pulumi_types.errors import ResourceError


def _bucket_gone(call: Call, bucket: str) -> bool:
    return unless_gone(lambda: call.client("s3").head_bucket(Bucket=bucket)) is None


def _until_gone(pages: Any) -> Any:
    """Iterate over pages; a bucket that is gone has none."""
    try:
        yield from pages
    except Exception as error:
        if error_code(error) not in GONE:
            raise


def optional(read: Any) -> Any:
    """Read a configuration; None when the bucket, or the configuration, does not exist."""
    try:
        return read()
    except Exception as error:
        if error_code(error) in GONE or error_code(error).startswith("NoSuch"):
            return None
        raise


class Bucket(ResourceType):
    """`aws:s3/bucket:Bucket`; the configurations are resources of their own, as pulumi-aws 7 wants them."""

    token = "aws:s3/bucket:Bucket"
    spec = "bucket! bucketPrefix! forceDestroy=false objectLockEnabled!=false tags"
    auto = AutoName("bucket", 63, lower=True)
    import_id = "the bucket's name"

    def create(self, call: Call) -> Made:
        name = call.inputs["bucket"]
        arguments: dict[str, Any] = {"Bucket": name}
        if call.region != "us-east-1":
            arguments["CreateBucketConfiguration"] = {"LocationConstraint": call.region}
        if call.get("objectLockEnabled"):
            arguments["ObjectLockEnabledForBucket"] = True
        call.client("s3").create_bucket(**arguments)
        if call.tags:
            call.client("s3").put_bucket_tagging(Bucket=name, Tagging={"TagSet": tag_list(call.tags)})
        return name, self._outputs(call, name)

    def _outputs(self, call: Call, name: str) -> dict[str, Any]:
        return {
            "arn": f"arn:aws:s3:::{name}",
            "bucket": name,
            "bucketDomainName": f"{name}.s3.amazonaws.com",
            "bucketRegionalDomainName": f"{name}.s3.{call.region}.amazonaws.com",
            "bucketRegion": call.region,
            "region": call.region,
            "hostedZoneId": "Z3AQBSTGFYJSTF",
        }

    def read(self, call: Call) -> dict[str, Any] | None:
        if _bucket_gone(call, call.id):
            return None
        client = call.client("s3")
        tags = (
            unless_gone(lambda: client.get_bucket_tagging(Bucket=call.id)) if self._has_tags(call) else None
        )
        lock = optional(lambda: client.get_object_lock_configuration(Bucket=call.id))
        return {
            **self._outputs(call, call.id),
            "forceDestroy": call.old.get("forceDestroy", False),
            "objectLockEnabled": lock is not None,
            "tags": tag_map((tags or {}).get("TagSet")),
        }

    def _has_tags(self, call: Call) -> bool:
        return optional(lambda: call.client("s3").get_bucket_tagging(Bucket=call.id)) is not None

    def update(self, call: Call) -> dict[str, Any]:
        if "tags" in call.changed:
            if call.tags:
                call.client("s3").put_bucket_tagging(Bucket=call.id, Tagging={"TagSet": tag_list(call.tags)})
            else:
                call.client("s3").delete_bucket_tagging(Bucket=call.id)
        return {}

    def delete(self, call: Call) -> None:
        client = call.client("s3")
        if call.old.get("forceDestroy"):
            self._empty(call)
        try:
            client.delete_bucket(Bucket=call.id)
        except Exception as error:
            if error_code(error) in GONE:
                return
            if error_code(error) == "BucketNotEmpty":
                raise ResourceError(
                    "KW637",
                    f"bucket {call.id}: got objects in it; allowed an empty bucket; because forceDestroy is not set; "
                    "fix: empty it, or set forceDestroy and run up before destroy",
                ) from error
            raise

    def _empty(self, call: Call) -> None:
        client = call.client("s3")
        pages = client.get_paginator("list_object_versions").paginate(Bucket=call.id)
        for page in _until_gone(pages):
            doomed = [
                {"Key": v["Key"], "VersionId": v["VersionId"]}
                for v in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
            ]
            if doomed:
                answer = client.delete_objects(
                    Bucket=call.id, Delete={"Objects": doomed, "Quiet": True}, BypassGovernanceRetention=True
                )
                if answer.get("Errors"):
                    first = answer["Errors"][0]
                    raise ResourceError(
                        "KW637",
                        f"bucket {call.id}: object {first.get('Key')} cannot be deleted: {first.get('Message')}",
                    )
