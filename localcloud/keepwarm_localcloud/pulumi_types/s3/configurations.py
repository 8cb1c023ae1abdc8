"""S3: the configurations of a bucket, each a resource of its own, as pulumi-aws 7 wants them."""
# base.ResourceType documents the four operations; `token` is a Pulumi type token, not a password.
# ruff: noqa: D102, S105

from typing import Any, ClassVar

from keepwarm_localcloud.pulumi_types.answers import unless_gone
from keepwarm_localcloud.pulumi_types.base import Call, Made, ResourceType
from keepwarm_localcloud.pulumi_types.convert import (
    fill,
    tag_list,
    tag_map,
    take,
)
from keepwarm_localcloud.pulumi_types.errors import ResourceError
from keepwarm_localcloud.pulumi_types.s3.bucket import optional


class _Configuration(ResourceType):
    """A configuration of a bucket; its id is the bucket's name."""

    import_id = "the bucket's name"

    def put(self, call: Call, bucket: str) -> None:
        raise NotImplementedError

    def get(self, call: Call, bucket: str) -> dict[str, Any] | None:
        raise NotImplementedError

    def remove(self, call: Call, bucket: str) -> None:
        raise NotImplementedError

    def create(self, call: Call) -> Made:
        bucket = call.inputs["bucket"]
        owner = call.get("expectedBucketOwner")
        if owner not in (None, call.aws.account_id):
            raise ResourceError(
                "KW635",
                f"expectedBucketOwner: got {owner}; allowed {call.aws.account_id}; because that account owns {bucket}",
            )
        self.put(call, bucket)
        return bucket, {"region": call.region}

    def read(self, call: Call) -> dict[str, Any] | None:
        bucket = call.id.split(",")[0]
        found = optional(lambda: self.get(call, bucket))
        if found is None:
            return None
        return {"bucket": bucket, "region": call.region, **found}

    def update(self, call: Call) -> dict[str, Any]:
        self.put(call, call.inputs["bucket"])
        return {}

    def delete(self, call: Call) -> None:
        unless_gone(lambda: self.remove(call, call.id.split(",")[0]))


class BucketVersioning(_Configuration):
    """`aws:s3/bucketVersioning:BucketVersioning`."""

    token = "aws:s3/bucketVersioning:BucketVersioning"
    spec = "bucket! expectedBucketOwner! versioningConfiguration{status mfaDelete?}"

    def put(self, call: Call, bucket: str) -> None:
        status = call.inputs["versioningConfiguration"]["status"]
        if status == "Disabled":
            # S3 has no such state to set: a bucket is unversioned until versioning was first enabled.
            return
        call.client("s3").put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": status})

    def get(self, call: Call, bucket: str) -> dict[str, Any] | None:
        answer = call.client("s3").get_bucket_versioning(Bucket=bucket)
        return {"versioningConfiguration": {"status": answer.get("Status", "Disabled")}}

    def remove(self, call: Call, bucket: str) -> None:
        lock = optional(lambda: call.client("s3").get_object_lock_configuration(Bucket=bucket))
        if lock is None and (call.old.get("versioningConfiguration") or {}).get("status") == "Enabled":
            call.client("s3").put_bucket_versioning(
                Bucket=bucket, VersioningConfiguration={"Status": "Suspended"}
            )


_BLOCKS = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")


class BucketPublicAccessBlock(_Configuration):
    """`aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock`."""

    token = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"
    spec = """bucket! skipDestroy blockPublicAcls=false blockPublicPolicy=false ignorePublicAcls=false
        restrictPublicBuckets=false"""

    def put(self, call: Call, bucket: str) -> None:
        call.client("s3").put_public_access_block(
            Bucket=bucket, PublicAccessBlockConfiguration=fill(self, call.inputs, *_BLOCKS)
        )

    def get(self, call: Call, bucket: str) -> dict[str, Any] | None:
        answer = call.client("s3").get_public_access_block(Bucket=bucket)
        return take(self, answer["PublicAccessBlockConfiguration"], *_BLOCKS)

    def remove(self, call: Call, bucket: str) -> None:
        if not call.old.get("skipDestroy"):
            call.client("s3").delete_public_access_block(Bucket=bucket)


class BucketOwnershipControls(_Configuration):
    """`aws:s3/bucketOwnershipControls:BucketOwnershipControls`."""

    token = "aws:s3/bucketOwnershipControls:BucketOwnershipControls"
    spec = "bucket! rule{objectOwnership}"

    def put(self, call: Call, bucket: str) -> None:
        rule = {"ObjectOwnership": call.inputs["rule"]["objectOwnership"]}
        call.client("s3").put_bucket_ownership_controls(Bucket=bucket, OwnershipControls={"Rules": [rule]})

    def get(self, call: Call, bucket: str) -> dict[str, Any] | None:
        answer = call.client("s3").get_bucket_ownership_controls(Bucket=bucket)
        return {"rule": {"objectOwnership": answer["OwnershipControls"]["Rules"][0]["ObjectOwnership"]}}

    def remove(self, call: Call, bucket: str) -> None:
        call.client("s3").delete_bucket_ownership_controls(Bucket=bucket)


class BucketServerSideEncryptionConfiguration(_Configuration):
    """`aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration`."""

    token = "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
    spec = """bucket! expectedBucketOwner! rules~{applyServerSideEncryptionByDefault{kmsMasterKeyId sseAlgorithm}
        bucketKeyEnabled? blockedEncryptionTypes?}"""
    names: ClassVar[Any] = {"sseAlgorithm": "SSEAlgorithm", "kmsMasterKeyId": "KMSMasterKeyID"}

    def put(self, call: Call, bucket: str) -> None:
        rules = fill(self, call.inputs, "rules", names=self.names)["Rules"]
        call.client("s3").put_bucket_encryption(
            Bucket=bucket,
            ServerSideEncryptionConfiguration={
                "Rules": [_without(r, "BlockedEncryptionTypes") for r in rules]
            },
        )

    def get(self, call: Call, bucket: str) -> dict[str, Any] | None:
        answer = call.client("s3").get_bucket_encryption(Bucket=bucket)
        return take(self, answer["ServerSideEncryptionConfiguration"], "rules", names=self.names)

    def remove(self, call: Call, bucket: str) -> None:
        call.client("s3").delete_bucket_encryption(Bucket=bucket)


def _without(value: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {k: v for k, v in value.items() if k not in keys}


class BucketLifecycleConfiguration(_Configuration):
    """`aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration`."""

    token = "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration"
    spec = """bucket! expectedBucketOwner!? transitionDefaultMinimumObjectSize? timeouts rules{id status prefix?
        filter? expiration abortIncompleteMultipartUpload noncurrentVersionExpiration
        noncurrentVersionTransitions~ transitions~}"""
    names: ClassVar[Any] = {"id": "ID"}

    def put(self, call: Call, bucket: str) -> None:
        rules = fill(self, call.inputs, "rules", names=self.names).get("Rules", [])
        for rule in rules:
            # The API wants a filter in every rule; an empty one means the whole bucket.
            filters = rule.setdefault("Filter", {})
            both = filters.get("And")
            if both and "Tags" in both:
                both["Tags"] = tag_list(both["Tags"])
            if not filters and "Prefix" in rule:
                rule["Filter"] = {"Prefix": rule.pop("Prefix")}
        call.client("s3").put_bucket_lifecycle_configuration(
            Bucket=bucket,
            LifecycleConfiguration={"Rules": rules},
            **fill(self, call.inputs, "transitionDefaultMinimumObjectSize"),
        )

    def get(self, call: Call, bucket: str) -> dict[str, Any] | None:
        answer = call.client("s3").get_bucket_lifecycle_configuration(Bucket=bucket)
        for rule in answer.get("Rules", []):
            both = rule.get("Filter", {}).get("And")
            if both and "Tags" in both:
                both["Tags"] = tag_map(both["Tags"])
        return take(self, answer, "rules", names=self.names)

    def remove(self, call: Call, bucket: str) -> None:
        call.client("s3").delete_bucket_lifecycle(Bucket=bucket)


class BucketCorsConfiguration(_Configuration):
    """`aws:s3/bucketCorsConfiguration:BucketCorsConfiguration`."""

    token = "aws:s3/bucketCorsConfiguration:BucketCorsConfiguration"
    spec = """bucket! expectedBucketOwner! corsRules~ corsRules.allowedHeaders~ corsRules.allowedMethods~
        corsRules.allowedOrigins~ corsRules.exposeHeaders~"""
    names: ClassVar[Any] = {"corsRules": "CORSRules", "id": "ID"}

    def put(self, call: Call, bucket: str) -> None:
        call.client("s3").put_bucket_cors(
            Bucket=bucket, CORSConfiguration=fill(self, call.inputs, "corsRules", names=self.names)
        )

    def get(self, call: Call, bucket: str) -> dict[str, Any] | None:
        return take(self, call.client("s3").get_bucket_cors(Bucket=bucket), "corsRules", names=self.names)

    def remove(self, call: Call, bucket: str) -> None:
        call.client("s3").delete_bucket_cors(Bucket=bucket)


class BucketPolicy(_Configuration):
    """`aws:s3/bucketPolicy:BucketPolicy`."""

    token = "aws:s3/bucketPolicy:BucketPolicy"
    spec = "bucket! policy:json"

    def put(self, call: Call, bucket: str) -> None:
        call.client("s3").put_bucket_policy(Bucket=bucket, Policy=call.inputs["policy"])

    def get(self, call: Call, bucket: str) -> dict[str, Any] | None:
        return {"policy": call.client("s3").get_bucket_policy(Bucket=bucket)["Policy"]}

    def remove(self, call: Call, bucket: str) -> None:
        call.client("s3").delete_bucket_policy(Bucket=bucket)


class BucketLogging(_Configuration):
    """`aws:s3/bucketLogging:BucketLogging`."""

    token = "aws:s3/bucketLogging:BucketLogging"
    spec = "bucket! expectedBucketOwner! targetBucket targetPrefix"

    def put(self, call: Call, bucket: str) -> None:
        call.client("s3").put_bucket_logging(
            Bucket=bucket,
            BucketLoggingStatus={"LoggingEnabled": fill(self, call.inputs, "targetBucket", "targetPrefix")},
        )

    def get(self, call: Call, bucket: str) -> dict[str, Any] | None:
        enabled = call.client("s3").get_bucket_logging(Bucket=bucket).get("LoggingEnabled")
        return take(self, enabled, "targetBucket", "targetPrefix") if enabled else None

    def remove(self, call: Call, bucket: str) -> None:
        call.client("s3").put_bucket_logging(Bucket=bucket, BucketLoggingStatus={})


class BucketObjectLockConfiguration(_Configuration):
    """`aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration`."""

    token = "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration"
    spec = """bucket! expectedBucketOwner! objectLockEnabled!="Enabled" rule"""

    def put(self, call: Call, bucket: str) -> None:
        call.client("s3").put_object_lock_configuration(
            Bucket=bucket, ObjectLockConfiguration=fill(self, call.inputs, "objectLockEnabled", "rule")
        )

    def get(self, call: Call, bucket: str) -> dict[str, Any] | None:
        answer = call.client("s3").get_object_lock_configuration(Bucket=bucket)
        return take(self, answer["ObjectLockConfiguration"], "objectLockEnabled", "rule")

    def remove(self, call: Call, bucket: str) -> None:
        call.client("s3").put_object_lock_configuration(
            Bucket=bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"}
        )


class BucketNotification(_Configuration):
    """`aws:s3/bucketNotification:BucketNotification`: the one notification configuration of a bucket."""

    token = "aws:s3/bucketNotification:BucketNotification"
    spec = """bucket! eventbridge=false lambdaFunctions{id? events~ filterPrefix filterSuffix lambdaFunctionArn}
        queues{id? events~ filterPrefix filterSuffix queueArn} topics{id? events~ filterPrefix filterSuffix
        topicArn}"""
    targets = (
        ("lambdaFunctions", "LambdaFunctionConfigurations", "lambdaFunctionArn", "LambdaFunctionArn"),
        ("queues", "QueueConfigurations", "queueArn", "QueueArn"),
        ("topics", "TopicConfigurations", "topicArn", "TopicArn"),
    )

    def put(self, call: Call, bucket: str) -> None:
        wanted: dict[str, Any] = {}
        for mine, theirs, arn, api_arn in self.targets:
            for number, item in enumerate(call.get(mine, [])):
                rules = [
                    {"Name": name, "Value": item[key]}
                    for key, name in (("filterPrefix", "prefix"), ("filterSuffix", "suffix"))
                    if item.get(key)
                ]
                entry = {
                    "Id": item.get("id") or f"tf-s3-{mine}-{number}",
                    "Events": item["events"],
                    api_arn: item[arn],
                }
                if rules:
                    entry["Filter"] = {"Key": {"FilterRules": rules}}
                wanted.setdefault(theirs, []).append(entry)
        if call.get("eventbridge"):
            wanted["EventBridgeConfiguration"] = {}
        call.client("s3").put_bucket_notification_configuration(
            Bucket=bucket, NotificationConfiguration=wanted
        )

    def get(self, call: Call, bucket: str) -> dict[str, Any] | None:
        answer = call.client("s3").get_bucket_notification_configuration(Bucket=bucket)
        found: dict[str, Any] = {"eventbridge": "EventBridgeConfiguration" in answer}
        for mine, theirs, arn, api_arn in self.targets:
            items = []
            for entry in answer.get(theirs, []):
                item = {"id": entry["Id"], "events": entry["Events"], arn: entry[api_arn]}
                for rule in entry.get("Filter", {}).get("Key", {}).get("FilterRules", []):
                    item[f"filter{rule['Name'].capitalize()}"] = rule["Value"]
                items.append(item)
            if items:
                found[mine] = items
        return found if len(found) > 1 or found["eventbridge"] else None

    def remove(self, call: Call, bucket: str) -> None:
        call.client("s3").put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={})
