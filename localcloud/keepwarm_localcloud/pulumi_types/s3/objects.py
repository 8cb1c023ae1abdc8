"""S3: objects."""
# base.ResourceType documents the four operations; `token` is a Pulumi type token, not a password.
# ruff: noqa: D102, S105

import base64
import binascii
import hashlib
import mimetypes
from typing import Any

from keepwarm_localcloud.pulumi_types.answers import unless_gone
from keepwarm_localcloud.pulumi_types.base import AutoName, Call, Made, ResourceType
from keepwarm_localcloud.pulumi_types.errors import ResourceError

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
        contentEncoding contentLanguage etag? sourceHash serverSideEncryption? kmsKeyId? bucketKeyEnabled?
        metadata storageClass? objectLockMode objectLockLegalHoldStatus objectLockRetainUntilDate
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
                # The bytes are not fetched: a different ETag means that the object was overwritten.
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
