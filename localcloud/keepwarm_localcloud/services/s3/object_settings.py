"""What hangs on an object besides its bytes: tags, retention, legal hold, access control list."""

from keepwarm_localcloud.request import AwsError, Response
from keepwarm_localcloud.services.s3 import listing
from keepwarm_localcloud.services.s3.call import (
    Call,
    check_retention,
    check_tags,
    check_unlocked,
    version_header,
)
from keepwarm_localcloud.services.s3.xml import document, iso, malformed, parse, tag


def _tagging(call: Call) -> Response:
    method = call.request.method
    body = call.document() if method == "PUT" else b""
    with call.store.lock:
        bucket, version = call.version()
        headers = version_header(bucket, version)
        if method == "PUT":
            element = parse(body, "Tagging")
            pairs = [(t.findtext("Key", ""), t.findtext("Value", "")) for t in element.iter("Tag")]
            version.tags = check_tags(pairs, 10)
            return Response(200, headers)
        if method == "DELETE":
            version.tags = {}
            return Response(204, headers)
        rows = "".join(f"<Tag>{tag('Key', k)}{tag('Value', v)}</Tag>" for k, v in version.tags.items())
    headers["Content-Type"] = "application/xml"
    return Response(200, headers, document("Tagging", f"<TagSet>{rows}</TagSet>"))


def _retention(call: Call) -> Response:
    body = call.document() if call.request.method == "PUT" else b""
    with call.store.lock:
        bucket, version = call.version()
        if not bucket.object_lock:
            raise AwsError("InvalidRequest", "Bucket is missing Object Lock Configuration")
        if call.request.method == "GET":
            if not version.lock_mode:
                raise AwsError(
                    "NoSuchObjectLockConfiguration",
                    "The specified object does not have a ObjectLock configuration",
                    404,
                )
            content = tag("Mode", version.lock_mode) + tag("RetainUntilDate", iso(version.lock_until_s))
            return listing.xml(document("Retention", content))
        element = parse(body, "Retention")
        mode, until = element.findtext("Mode", ""), element.findtext("RetainUntilDate", "")
        end_s = check_retention(mode, until, call.now_s) if mode or until else 0.0
        weaker = end_s < version.lock_until_s or (version.lock_mode == "COMPLIANCE" and mode != "COMPLIANCE")
        if version.lock_mode and weaker:
            legal, version.legal_hold = version.legal_hold, False
            try:
                check_unlocked(version, call.headers, call.now_s)
            finally:
                version.legal_hold = legal
        version.lock_mode, version.lock_until_s = mode, end_s
    return Response(200)


def _legal_hold(call: Call) -> Response:
    body = call.document() if call.request.method == "PUT" else b""
    with call.store.lock:
        bucket, version = call.version()
        if not bucket.object_lock:
            raise AwsError("InvalidRequest", "Bucket is missing Object Lock Configuration")
        if call.request.method == "GET":
            return listing.xml(document("LegalHold", tag("Status", "ON" if version.legal_hold else "OFF")))
        status = parse(body, "LegalHold").findtext("Status")
        if status not in ("ON", "OFF"):
            raise malformed()
        version.legal_hold = status == "ON"
    return Response(200)


def acl(call: Call) -> Response:
    """GetBucketAcl, GetObjectAcl and their counterparts; ACLs are off unless the bucket turned them on."""
    if call.request.method == "GET":
        grantee = (
            '<Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser">'
            + listing.OWNER.removeprefix("<Owner>").removesuffix("</Owner>")
            + "</Grantee>"
        )
        grant = f"<Grant>{grantee}<Permission>FULL_CONTROL</Permission></Grant>"
        return listing.xml(
            document("AccessControlPolicy", f"{listing.OWNER}<AccessControlList>{grant}</AccessControlList>")
        )
    check_acl(call)
    call.document()
    return Response(200)


def _acl(call: Call) -> Response:
    with call.store.lock:
        call.version()
    return acl(call)


def check_acl(call: Call) -> None:
    """Refuse ACLs on a bucket whose owner owns everything, the state of every new bucket.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/about-object-ownership.html
    """
    canned = call.headers.get("x-amz-acl")
    grants = any(n.startswith("x-amz-grant-") for n in call.headers)
    if not grants and canned in (None, "private", "bucket-owner-full-control"):
        return
    ownership = call.bucket().config.get(("ownershipControls", ""), "")
    if "BucketOwnerEnforced" in ownership:
        raise AwsError("AccessControlListNotSupported", "The bucket does not allow ACLs")
