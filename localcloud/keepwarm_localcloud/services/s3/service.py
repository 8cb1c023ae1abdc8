"""S3 of the embedded cloud: routing, buckets and events; objects are in `objects.py`, uploads in `multipart.py`."""

import secrets
import urllib.parse
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from typing import Any, Final

from keepwarm_localcloud.ports import BucketsPort
from keepwarm_localcloud.request import AwsError, Request, Response
from keepwarm_localcloud.services.context import Context
from keepwarm_localcloud.services.s3 import buckets, listing, multipart, object_settings, objects
from keepwarm_localcloud.services.s3.call import Call, check_tags, locate
from keepwarm_localcloud.services.s3.model import Bucket, Version
from keepwarm_localcloud.services.s3.store import Store
from keepwarm_localcloud.services.s3.xml import document, iso, parse, tag

_OPERATOR_ID: Final = "AIDAKEEPWARMOPERATOR"


class S3Service(BucketsPort):
    """Buckets and objects, complete; nothing of S3 is left to moto."""

    name = "s3"

    def __init__(self) -> None:
        self._context: Context
        self._store: Store

    def start(self, context: Context) -> None:
        """Attach; data goes to the folder `s3` of the cloud."""
        self._context = context
        self._store = Store(context.directory / "s3")

    def stop(self) -> None:
        """Nothing runs here; the cloud removes the folder."""

    def inventory(self) -> dict[str, list[str]]:
        """The buckets."""
        with self._store.lock:
            return {"buckets": sorted(self._store.buckets)}

    def policy(self, bucket: str) -> str | None:
        """Text of a bucket's policy; None without one."""
        with self._store.lock:
            found = self._store.buckets.get(bucket)
            return found.config.get(("policy", "")) if found is not None else None

    def handle(self, request: Request) -> Response | None:
        """Answer one request."""
        bucket, key = locate(request)
        call = Call(
            request,
            self._store,
            bucket,
            key,
            self._context.clock.now_s(),
            lambda action, resource, context=None: self._context.authorize(
                request.caller, action, resource, context
            ),
            self._context.names.key_arn,
        )
        try:
            return self._answer(call)
        except AwsError as error:
            if error.code == "NoSuchKey" and request.method in ("GET", "HEAD"):
                # Who may not list must not learn what is missing.
                # https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
                call.authorize("s3:ListBucket", f"arn:aws:s3:::{bucket}")
            raise

    def _answer(self, call: Call) -> Response:
        request, bucket, key = call.request, call.bucket_name, call.key
        if not bucket:
            if request.method == "GET":
                return self._list_buckets(call)
            raise _not_allowed()
        if key:
            return (
                objects.handle(call, self._announce)
                if not _of_upload(call)
                else multipart.handle(call, self._announce)
            )
        return self._bucket(call)

    # --- buckets -------------------------------------------------------------------------------------------

    def _bucket(self, call: Call) -> Response:
        subresource = next((n for n in call.request.query if n in _SUBRESOURCES), None)
        if subresource is not None:
            if subresource != "policy" or call.bucket_name:
                call.bucket()
            return _SUBRESOURCES[subresource](self, call, subresource)
        method = call.request.method
        if method == "PUT":
            return self._create(call)
        if method == "DELETE":
            return self._delete(call)
        if method == "HEAD":
            bucket = call.bucket()
            return Response(200, {"x-amz-bucket-region": bucket.region, "Content-Type": "application/xml"})
        if method == "GET":
            return listing.list_objects(call)
        raise _not_allowed()

    def _list_buckets(self, call: Call) -> Response:
        prefix = call.query("prefix") or ""
        with self._store.lock:
            rows = "".join(
                f"<Bucket>{tag('Name', b.name)}{tag('CreationDate', iso(b.created_s))}"
                f"{tag('BucketRegion', b.region)}</Bucket>"
                for b in sorted(self._store.buckets.values(), key=lambda b: b.name)
                if b.name.startswith(prefix)
            )
        return listing.xml(document("ListAllMyBucketsResult", f"{listing.OWNER}<Buckets>{rows}</Buckets>"))

    def _create(self, call: Call) -> Response:
        name = buckets.check_name(call.bucket_name)
        body = call.document()
        region = call.request.region or self._context.region
        tags: dict[str, str] = {}
        if body.strip():
            element = parse(body, "CreateBucketConfiguration")
            location = element.findtext("LocationConstraint")
            if location is not None and location != region:
                raise AwsError(
                    "IllegalLocationConstraintException",
                    f"The {location} location constraint is incompatible for the region specific endpoint this request "
                    "was sent to.",
                )
            tags = _tags(element)
        with self._store.lock:
            existing = self._store.buckets.get(name)
            if existing is not None:
                # us-east-1 alone keeps the old habit of succeeding.
                if existing.region == "us-east-1" and region == "us-east-1":
                    return Response(200, {"Location": f"/{name}"})
                raise AwsError(
                    "BucketAlreadyOwnedByYou",
                    "Your previous request to create the named bucket succeeded and you already own it.",
                    409,
                    extra={"BucketName": name},
                )
            bucket = Bucket(name, region, call.now_s)
            bucket.config.update(buckets.INITIAL)
            ownership = call.headers.get("x-amz-object-ownership")
            if ownership:
                bucket.config["ownershipControls", ""] = (
                    f"<OwnershipControls><Rule><ObjectOwnership>{ownership}</ObjectOwnership></Rule></OwnershipControls>"
                )
            if call.headers.get("x-amz-bucket-object-lock-enabled", "").lower() == "true":
                bucket.object_lock, bucket.versioning = True, "Enabled"
                bucket.config["object-lock", ""] = (
                    "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>"
                )
                bucket.config["versioning", ""] = _VERSIONED
            if tags:
                bucket.config["tagging", ""] = _tagging(tags)
            self._store.buckets[name] = bucket
        return Response(200, {"Location": f"/{name}"})

    def _delete(self, call: Call) -> Response:
        with self._store.lock:
            bucket = call.bucket()
            if not bucket.empty:
                raise AwsError(
                    "BucketNotEmpty",
                    "The bucket you tried to delete is not empty"
                    + (". You must delete all versions in the bucket." if bucket.versioning else ""),
                    409,
                    extra={"BucketName": bucket.name},
                )
            del self._store.buckets[bucket.name]
            for upload in bucket.uploads.values():
                for part in upload.parts.values():
                    part.blob.discard()
        return Response(204)

    def _config(self, call: Call, name: str) -> Response:
        bucket = call.bucket()
        kind = buckets.KINDS[name]
        identifier = (call.query("id") or "") if kind.listed else ""
        method = call.request.method
        if method == "GET":
            if kind.listed and not identifier:
                return self._list_config(bucket, name, kind)
            with self._store.lock:
                return listing.xml(buckets.read(name, identifier, bucket).encode())
        if method == "DELETE":
            with self._store.lock:
                bucket.config.pop((name, identifier), None)
            return Response(204)
        if method != "PUT":
            raise _not_allowed()
        body = call.document()
        if name == "notification":
            self._check_destinations(call, body)
        with self._store.lock:
            bucket.config[name, identifier] = buckets.normalize(name, body, bucket)
        return Response(200)

    def _list_config(self, bucket: Bucket, name: str, kind: buckets.Kind) -> Response:
        with self._store.lock:
            rows = "".join(v for (n, _), v in sorted(bucket.config.items()) if n == name)
        return listing.xml(document(f"List{kind.root}sResult", f"{tag('IsTruncated', False)}{rows}"))

    def _tagging(self, call: Call, name: str) -> Response:
        if call.request.method == "PUT":
            tags = _tags(parse(call.document(), "Tagging"))
            with self._store.lock:
                call.bucket().config["tagging", ""] = _tagging(tags)
            return Response(204)
        return self._config(call, name)

    def _policy(self, call: Call, name: str) -> Response:
        bucket = call.bucket()
        method = call.request.method
        if method == "PUT":
            text = buckets.check_policy(call.document(), bucket.name)
            with self._store.lock:
                bucket.config["policy", ""] = text
            return Response(204)
        with self._store.lock:
            if method == "DELETE":
                bucket.config.pop(("policy", ""), None)
                return Response(204)
            text = bucket.config.get(("policy", ""), "")
        if not text:
            raise AwsError(
                "NoSuchBucketPolicy",
                "The bucket policy does not exist",
                404,
                extra={"BucketName": bucket.name},
            )
        return Response(200, {"Content-Type": "application/json"}, text.encode())

    def _policy_status(self, call: Call, name: str) -> Response:
        text = call.bucket().config.get(("policy", ""))
        if text is None:
            raise AwsError("NoSuchBucketPolicy", "The bucket policy does not exist", 404)
        return listing.xml(document("PolicyStatus", tag("IsPublic", False)))

    def _location(self, call: Call, name: str) -> Response:
        region = call.bucket().region
        return listing.xml(document("LocationConstraint", "" if region == "us-east-1" else region))

    def _acl(self, call: Call, name: str) -> Response:
        return object_settings.acl(call)

    def _versions(self, call: Call, name: str) -> Response:
        return listing.list_versions(call)

    def _uploads(self, call: Call, name: str) -> Response:
        return listing.list_uploads(call)

    def _delete_many(self, call: Call, name: str) -> Response:
        return objects.delete_many(call, self._announce)

    # --- events --------------------------------------------------------------------------------------------

    def _check_destinations(self, call: Call, body: bytes) -> None:
        """Refuse destinations that would not take the bucket's events; SQS and SNS get a test event, as on AWS."""
        bucket_arn = f"arn:aws:s3:::{call.bucket_name}"
        wanted = buckets.destinations(parse(body, "NotificationConfiguration"))
        if call.headers.get("x-amz-skip-destination-validation", "").lower() == "true":
            return
        event = {
            "Service": "Amazon S3",
            "Event": "s3:TestEvent",
            "Time": iso(call.now_s),
            "Bucket": call.bucket_name,
            "RequestId": secrets.token_hex(8).upper(),
            "HostId": secrets.token_hex(16),
        }
        for destination in wanted:
            arn = destination["arn"]
            try:
                if arn.split(":")[2:3] == ["lambda"]:
                    self._check_function(arn, bucket_arn)
                else:
                    self._context.deliver(arn, event, bucket_arn)
            except AwsError as error:
                raise AwsError(
                    "InvalidArgument",
                    "Unable to validate the following destination configurations",
                    extra={"ArgumentName": arn, "ArgumentValue": f"{error.code}: {error.message}"},
                ) from error

    def _check_function(self, arn: str, bucket_arn: str) -> None:
        if "lambda" in self._context.peers:
            self._context.peers.functions.check_permission(
                arn,
                principal="s3.amazonaws.com",
                source_arn=bucket_arn,
                source_account=self._context.account_id,
            )

    def _announce(self, bucket: Bucket, event: str, version: Version, call: Call) -> None:
        """Send an event to the destinations whose filters it passes."""
        with self._store.lock:
            wanted = buckets.notifications(bucket)
        for destination in wanted:
            name = f"s3:{event}"
            matches = any(
                name == e or (e.endswith("*") and name.startswith(e[:-1])) for e in destination["events"]
            )
            if not (
                matches
                and version.key.startswith(destination["prefix"])
                and version.key.endswith(destination["suffix"])
            ):
                continue
            record = self._record(bucket, event, version, call, destination["id"])
            try:
                self._context.deliver(
                    destination["arn"], {"Records": [record]}, f"arn:aws:s3:::{bucket.name}"
                )
            except AwsError as error:
                # The writer of the object is not told on AWS either.
                self._context.journal.write(
                    "notification_failed",
                    bucket=bucket.name,
                    key=version.key,
                    target=destination["arn"],
                    error=str(error),
                )

    def _record(
        self, bucket: Bucket, event: str, version: Version, call: Call, identifier: str
    ) -> dict[str, Any]:
        """One record of the event message.

        https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
        """
        item: dict[str, Any] = {
            "key": urllib.parse.quote_plus(version.key, safe="/"),
            "sequencer": version.sequencer,
        }
        if version.blob is not None:
            item |= {"size": version.size, "eTag": version.etag}
        if bucket.versioning:
            item["versionId"] = version.version_id
        principal = call.request.caller.role_arn or _OPERATOR_ID
        return {
            "eventVersion": "2.1",
            "eventSource": "aws:s3",
            "awsRegion": bucket.region,
            "eventTime": iso(call.now_s),
            "eventName": event,
            "userIdentity": {"principalId": f"AWS:{principal}"},
            "requestParameters": {"sourceIPAddress": "127.0.0.1"},
            "responseElements": {
                "x-amz-request-id": secrets.token_hex(8).upper(),
                "x-amz-id-2": secrets.token_hex(16),
            },
            "s3": {
                "s3SchemaVersion": "1.0",
                "configurationId": identifier,
                "bucket": {
                    "name": bucket.name,
                    "ownerIdentity": {"principalId": _OPERATOR_ID},
                    "arn": f"arn:aws:s3:::{bucket.name}",
                },
                "object": item,
            },
        }


_VERSIONED: Final = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
_SUBRESOURCES: Final[dict[str, Callable[[S3Service, Call, str], Response]]] = {
    **dict.fromkeys(buckets.KINDS, S3Service._config),
    "tagging": S3Service._tagging,
    "policy": S3Service._policy,
    "policyStatus": S3Service._policy_status,
    "location": S3Service._location,
    "acl": S3Service._acl,
    "versions": S3Service._versions,
    "uploads": S3Service._uploads,
    "delete": S3Service._delete_many,
}


def _of_upload(call: Call) -> bool:
    return call.has("uploads") or call.has("uploadId")


def _not_allowed() -> AwsError:
    return AwsError("MethodNotAllowed", "The specified method is not allowed against this resource.", 405)


def _tags(element: ElementTree.Element) -> dict[str, str]:
    pairs = [(t.findtext("Key", ""), t.findtext("Value", "")) for t in element.iter("Tag")]
    return check_tags(pairs, 50)


def _tagging(tags: dict[str, str]) -> str:
    rows = "".join(f"<Tag>{tag('Key', k)}{tag('Value', v)}</Tag>" for k, v in tags.items())
    return f"<Tagging><TagSet>{rows}</TagSet></Tagging>"
