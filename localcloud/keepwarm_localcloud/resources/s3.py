"""S3: buckets, their configurations, objects.

What forces replacement and how ids look: https://www.pulumi.com/registry/packages/aws/api-docs/s3/ (pulumi-aws 7.51).
"""
# What the four operations do is said once, in base.ResourceType; `token` is a Pulumi type token, not a password.
# ruff: noqa: D102, S105

import base64
import binascii
import hashlib
import mimetypes
from typing import Any, ClassVar

from keepwarm_localcloud.resources.base import (
    GONE,
    AutoName,
    Call,
    Made,
    ResourceType,
    error_code,
    fill,
    tag_list,
    tag_map,
    take,
    unless_gone,
)
from keepwarm_localcloud.resources.errors import ResourceError


def _bucket_gone(call: Call, bucket: str) -> bool:
    return unless_gone(lambda: call.client("s3").head_bucket(Bucket=bucket)) is None


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
        lock = _optional(lambda: client.get_object_lock_configuration(Bucket=call.id))
        return {
            **self._outputs(call, call.id),
            "forceDestroy": call.old.get("forceDestroy", False),
            "objectLockEnabled": lock is not None,
            "tags": tag_map((tags or {}).get("TagSet")),
        }

    def _has_tags(self, call: Call) -> bool:
        return _optional(lambda: call.client("s3").get_bucket_tagging(Bucket=call.id)) is not None

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


def _until_gone(pages: Any) -> Any:
    """Iterate over pages; a bucket that is gone has none."""
    try:
        yield from pages
    except Exception as error:
        if error_code(error) not in GONE:
            raise


def _optional(read: Any) -> Any:
    """Read a configuration; None when the bucket, or the configuration, does not exist."""
    try:
        return read()
    except Exception as error:
        if error_code(error) in GONE or error_code(error).startswith("NoSuch"):
            return None
        raise


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
        self.put(call, bucket)
        return bucket, {"region": call.region}

    def read(self, call: Call) -> dict[str, Any] | None:
        bucket = call.id.split(",")[0]
        found = _optional(lambda: self.get(call, bucket))
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
        lock = _optional(lambda: call.client("s3").get_object_lock_configuration(Bucket=bucket))
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
    spec = """bucket! expectedBucketOwner! transitionDefaultMinimumObjectSize? timeouts rules{id status prefix?
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
            Bucket=bucket, LifecycleConfiguration={"Rules": rules}
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
    spec = "bucket! expectedBucketOwner! corsRules~"
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


_OBJECT_API = {
    "acl": "ACL",
    "cacheControl": "CacheControl",
    "contentDisposition": "ContentDisposition",
    "contentEncoding": "ContentEncoding",
    "contentLanguage": "ContentLanguage",
    "contentType": "ContentType",
    "serverSideEncryption": "ServerSideEncryption",
    "kmsKeyId": "SSEKMSKeyId",
    "bucketKeyEnabled": "BucketKeyEnabled",
    "metadata": "Metadata",
    "storageClass": "StorageClass",
    "objectLockMode": "ObjectLockMode",
    "objectLockLegalHoldStatus": "ObjectLockLegalHoldStatus",
    "objectLockRetainUntilDate": "ObjectLockRetainUntilDate",
    "websiteRedirect": "WebsiteRedirectLocation",
}


class BucketObjectv2(ResourceType):
    """`aws:s3/bucketObjectv2:BucketObjectv2`; its id is the key, as in the real provider `bucket/key` imports it."""

    token = "aws:s3/bucketObjectv2:BucketObjectv2"
    spec = """bucket! key! source content contentBase64 contentType? acl? cacheControl contentDisposition
        contentEncoding contentLanguage? etag? sourceHash serverSideEncryption? kmsKeyId? bucketKeyEnabled?
        metadata? storageClass? objectLockMode objectLockLegalHoldStatus objectLockRetainUntilDate
        websiteRedirect checksumAlgorithm tags forceDestroy=false"""
    auto = AutoName("key", 1024)
    moves = ("etag", "versionId", "checksumSha256", "checksumCrc32", "checksumCrc64nvme")
    import_id = "bucket/key"

    def check(self, inputs: dict[str, Any]) -> list[tuple[str, str]]:
        given = [n for n in ("source", "content", "contentBase64") if inputs.get(n) is not None]
        if len(given) > 1:
            return [
                (given[1], f"KW634 got {' and '.join(given)}; allowed one of them; fix: leave out the others")
            ]
        return []

    def _body(self, call: Call) -> bytes:
        if call.inputs.get("source") is not None:
            return call.content("source")
        if call.inputs.get("contentBase64") is not None:
            try:
                return base64.b64decode(call.inputs["contentBase64"], validate=True)
            except binascii.Error as error:
                raise ResourceError(
                    "KW634", f"contentBase64: got text that is not base64: {error}"
                ) from error
        return str(call.get("content", "")).encode()

    def _put(self, call: Call) -> dict[str, Any]:
        body = self._body(call)
        arguments = {
            api: call.inputs[mine] for mine, api in _OBJECT_API.items() if call.get(mine) is not None
        }
        arguments.setdefault(
            "ContentType", mimetypes.guess_type(call.inputs["key"])[0] or "application/octet-stream"
        )
        if call.get("checksumAlgorithm"):
            arguments["ChecksumAlgorithm"] = call.inputs["checksumAlgorithm"]
        if call.tags and self.token.endswith("v2"):
            from urllib.parse import urlencode

            arguments["Tagging"] = urlencode(call.tags)
        answer = call.client("s3").put_object(
            Bucket=call.inputs["bucket"], Key=call.inputs["key"], Body=body, **arguments
        )
        return {
            "arn": f"arn:aws:s3:::{call.inputs['bucket']}/{call.inputs['key']}",
            "region": call.region,
            "etag": answer.get("ETag", "").strip('"') or hashlib.md5(body, usedforsecurity=False).hexdigest(),
            "versionId": answer.get("VersionId", ""),
            "contentType": arguments["ContentType"],
            "serverSideEncryption": answer.get("ServerSideEncryption", "AES256"),
            "storageClass": call.get("storageClass", "STANDARD"),
            "checksumCrc32": answer.get("ChecksumCRC32", ""),
            "checksumSha256": answer.get("ChecksumSHA256", ""),
        }

    def create(self, call: Call) -> Made:
        outputs = self._put(call)
        return call.inputs["key"], outputs

    def update(self, call: Call) -> dict[str, Any]:
        return self._put(call)

    def read(self, call: Call) -> dict[str, Any] | None:
        bucket = call.old.get("bucket")
        key = call.old.get("key")
        if not bucket:
            bucket, _, key = call.id.partition("/")
        head = unless_gone(lambda: call.client("s3").head_object(Bucket=bucket, Key=key))
        if head is None:
            return None
        found = {
            "bucket": bucket,
            "key": key,
            "arn": f"arn:aws:s3:::{bucket}/{key}",
            "region": call.region,
            "etag": head["ETag"].strip('"'),
            "versionId": head.get("VersionId", ""),
            "contentType": head.get("ContentType"),
            "storageClass": head.get("StorageClass", "STANDARD"),
            "metadata": head.get("Metadata", {}),
            "forceDestroy": call.old.get("forceDestroy", False),
        }
        for mine in (
            "cacheControl",
            "contentDisposition",
            "contentEncoding",
            "contentLanguage",
            "serverSideEncryption",
        ):
            if head.get(_OBJECT_API[mine]):
                found[mine] = head[_OBJECT_API[mine]]
        known_etag = call.old.get("etag")
        for mine in ("source", "content", "contentBase64", "sourceHash", "tags"):
            if call.old.get(mine) is not None:
                # The bytes are not fetched: another ETag means that somebody else wrote the object.
                changed = known_etag not in (None, found["etag"]) and mine in (
                    "content",
                    "contentBase64",
                    "source",
                )
                found[mine] = None if changed else call.old[mine]
        return found

    def delete(self, call: Call) -> None:
        bucket, key = call.old["bucket"], call.old["key"]
        client = call.client("s3")

        def remove() -> bool:
            pages = client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=key)
            for page in pages:
                for version in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]:
                    if version["Key"] == key:
                        client.delete_object(
                            Bucket=bucket,
                            Key=key,
                            **({} if version["VersionId"] == "null" else {"VersionId": version["VersionId"]}),
                            **({"BypassGovernanceRetention": True} if call.old.get("forceDestroy") else {}),
                        )
            return True

        unless_gone(remove)


class BucketObject(BucketObjectv2):
    """`aws:s3/bucketObject:BucketObject`, the older name of the same thing."""

    token = "aws:s3/bucketObject:BucketObject"
    spec = BucketObjectv2.spec.replace("checksumAlgorithm ", "")


TYPES: tuple[type[ResourceType], ...] = (
    Bucket,
    BucketVersioning,
    BucketPublicAccessBlock,
    BucketOwnershipControls,
    BucketServerSideEncryptionConfiguration,
    BucketLifecycleConfiguration,
    BucketCorsConfiguration,
    BucketPolicy,
    BucketLogging,
    BucketObjectLockConfiguration,
    BucketNotification,
    BucketObjectv2,
    BucketObject,
)
