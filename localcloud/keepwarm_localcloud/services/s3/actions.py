"""What S3 asks of IAM for each request: actions, resources and condition keys.

https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html
"""

import urllib.parse
from typing import Final

from keepwarm_localcloud.iam.actions import Ask, Names
from keepwarm_localcloud.request import Request
from keepwarm_localcloud.services.s3.call import locate

_BUCKET_ACTIONS: Final = {
    "encryption": "EncryptionConfiguration",
    "lifecycle": "LifecycleConfiguration",
    "publicAccessBlock": "BucketPublicAccessBlock",
    "ownershipControls": "BucketOwnershipControls",
    "object-lock": "BucketObjectLockConfiguration",
    "replication": "ReplicationConfiguration",
    "accelerate": "AccelerateConfiguration",
    "requestPayment": "BucketRequestPayment",
    "analytics": "AnalyticsConfiguration",
    "metrics": "MetricsConfiguration",
    "inventory": "InventoryConfiguration",
    "intelligent-tiering": "IntelligentTieringConfiguration",
    "versioning": "BucketVersioning",
    "policy": "BucketPolicy",
    "policyStatus": "BucketPolicyStatus",
    "notification": "BucketNotification",
    "tagging": "BucketTagging",
    "logging": "BucketLogging",
    "cors": "BucketCORS",
    "website": "BucketWebsite",
    "acl": "BucketAcl",
}


def _context(request: Request) -> dict[str, str | list[str]]:
    context: dict[str, str | list[str]] = {}
    for name in ("prefix", "delimiter", "max-keys"):
        if name in request.query:
            context[f"s3:{name}"] = request.query[name][0]
    if "versionId" in request.query:
        context["s3:versionid"] = request.query["versionId"][0]
    for header, value in request.headers.items():
        if header in ("if-match", "if-none-match") or header.startswith(
            (
                "x-amz-server-side-encryption",
                "x-amz-acl",
                "x-amz-storage-class",
                "x-amz-copy-source",
                "x-amz-metadata",
            )
        ):
            context[f"s3:{header}"] = value.strip('"')
    for key, values in urllib.parse.parse_qs(request.headers.get("x-amz-tagging", "")).items():
        context[f"s3:requestobjecttag/{key.lower()}"] = values[0]
    return context


def asks(request: Request, names: Names) -> list[Ask]:
    """What must be allowed for a request; a copy also reads its source."""
    bucket, key = locate(request)
    context = _context(request)
    if not bucket:
        return [Ask("s3:ListAllMyBuckets", ["*"], context)]
    bucket_arn = f"arn:aws:s3:::{bucket}"
    if key:
        return _on_object(request, f"{bucket_arn}/{key}", context)
    return [Ask(f"s3:{name}", [bucket_arn], context) for name in _on_bucket(request)]


def _on_bucket(request: Request) -> list[str]:
    query, method = request.query, request.method
    if "versions" in query:
        return ["ListBucketVersions"]
    if "uploads" in query:
        return ["ListBucketMultipartUploads"]
    if "location" in query:
        return ["GetBucketLocation"]
    if "delete" in query:
        # Asked for each key by the operation itself, which alone has read them.
        return []
    verb = "Get" if method in ("GET", "HEAD") else "Put"
    for name, action in _BUCKET_ACTIONS.items():
        if name in query:
            return ["DeleteBucketPolicy" if name == "policy" and method == "DELETE" else f"{verb}{action}"]
    return [{"PUT": "CreateBucket", "DELETE": "DeleteBucket"}.get(method, "ListBucket")]


def _on_object(request: Request, arn: str, context: dict[str, str | list[str]]) -> list[Ask]:
    query, method, headers = request.query, request.method, request.headers
    version = "Version" if "versionId" in query else ""
    reads = method in ("GET", "HEAD")
    actions: list[str]
    if "uploadId" in query or "uploads" in query:
        actions = ["ListMultipartUploadParts" if reads else "PutObject"]
        if method == "DELETE":
            actions = ["AbortMultipartUpload"]
    elif "tagging" in query:
        verb = "Get" if reads else method.title()
        actions = [f"{verb}Object{version}Tagging"]
    elif "retention" in query:
        actions = ["GetObjectRetention" if reads else "PutObjectRetention"]
    elif "legal-hold" in query:
        actions = ["GetObjectLegalHold" if reads else "PutObjectLegalHold"]
    elif "acl" in query:
        actions = [f"GetObject{version}Acl" if reads else f"PutObject{version}Acl"]
    elif reads:
        actions = [f"GetObject{version}"]
    elif method == "DELETE":
        actions = [f"DeleteObject{version}"]
    else:
        actions = ["PutObject"]
    if actions == ["PutObject"]:
        if "x-amz-tagging" in headers:
            actions.append("PutObjectTagging")
        if "x-amz-object-lock-mode" in headers:
            actions.append("PutObjectRetention")
        if "x-amz-object-lock-legal-hold" in headers:
            actions.append("PutObjectLegalHold")
    if headers.get("x-amz-bypass-governance-retention", "").lower() == "true":
        actions.append("BypassGovernanceRetention")
    asks = [Ask(f"s3:{a}", [arn], context) for a in actions]
    source = headers.get("x-amz-copy-source")
    if source:
        path, _, versioned = source.partition("?")
        read = "s3:GetObjectVersion" if versioned else "s3:GetObject"
        asks.append(Ask(read, [f"arn:aws:s3:::{urllib.parse.unquote(path.lstrip('/'))}"], context))
    return asks
