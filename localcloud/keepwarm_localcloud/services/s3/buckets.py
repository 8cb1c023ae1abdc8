"""Configuration of buckets: each subresource is kept as it was put and given back; what has meaning here is checked."""

import json
import re
import secrets
import xml.etree.ElementTree as ElementTree
from typing import Any, Final, NamedTuple

from keepwarm_localcloud.request import AwsError
from keepwarm_localcloud.services.s3.model import Bucket
from keepwarm_localcloud.services.s3.xml import NAMESPACE, malformed, parse

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\Z")
_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+\Z")


class Kind(NamedTuple):
    """One subresource: root element, what GET gives when nothing was put, or the error then."""

    root: str
    default: str | None = None
    missing: tuple[str, str] = ("", "")
    listed: bool = False
    """Several per bucket, told apart by `id`."""


_BLOCK: Final = "".join(
    f"<{n}>true</{n}>"
    for n in ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
)
KINDS: Final[dict[str, Kind]] = {
    "versioning": Kind("VersioningConfiguration", ""),
    "encryption": Kind(
        "ServerSideEncryptionConfiguration",
        "<Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm>"
        "</ApplyServerSideEncryptionByDefault><BucketKeyEnabled>false</BucketKeyEnabled></Rule>",
    ),
    "lifecycle": Kind(
        "LifecycleConfiguration",
        missing=("NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist"),
    ),
    "publicAccessBlock": Kind(
        "PublicAccessBlockConfiguration",
        missing=(
            "NoSuchPublicAccessBlockConfiguration",
            "The public access block configuration was not found",
        ),
    ),
    "ownershipControls": Kind(
        "OwnershipControls",
        missing=("OwnershipControlsNotFoundError", "The bucket ownership controls were not found"),
    ),
    "notification": Kind("NotificationConfiguration", ""),
    "object-lock": Kind(
        "ObjectLockConfiguration",
        missing=(
            "ObjectLockConfigurationNotFoundError",
            "Object Lock configuration does not exist for this bucket",
        ),
    ),
    "tagging": Kind("Tagging", missing=("NoSuchTagSet", "The TagSet does not exist")),
    "logging": Kind("BucketLoggingStatus", ""),
    "cors": Kind(
        "CORSConfiguration", missing=("NoSuchCORSConfiguration", "The CORS configuration does not exist")
    ),
    "website": Kind(
        "WebsiteConfiguration",
        missing=(
            "NoSuchWebsiteConfiguration",
            "The specified bucket does not have a website configuration",
        ),
    ),
    "replication": Kind(
        "ReplicationConfiguration",
        missing=("ReplicationConfigurationNotFoundError", "The replication configuration was not found"),
    ),
    "accelerate": Kind("AccelerateConfiguration", ""),
    "requestPayment": Kind("RequestPaymentConfiguration", "<Payer>BucketOwner</Payer>"),
    "analytics": Kind(
        "AnalyticsConfiguration",
        missing=("NoSuchConfiguration", "The specified configuration does not exist."),
        listed=True,
    ),
    "metrics": Kind(
        "MetricsConfiguration",
        missing=("NoSuchConfiguration", "The specified configuration does not exist."),
        listed=True,
    ),
    "inventory": Kind(
        "InventoryConfiguration",
        missing=("NoSuchConfiguration", "The specified configuration does not exist."),
        listed=True,
    ),
    "intelligent-tiering": Kind(
        "IntelligentTieringConfiguration",
        missing=("NoSuchConfiguration", "The specified configuration does not exist."),
        listed=True,
    ),
}
INITIAL: Final = {
    ("publicAccessBlock", ""): f"<PublicAccessBlockConfiguration>{_BLOCK}</PublicAccessBlockConfiguration>",
    ("ownershipControls", ""): (
        "<OwnershipControls><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule></OwnershipControls>"
    ),
}
"""What every bucket made since April 2023 has.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/create-bucket-faq.html"""


def check_name(name: str) -> str:
    """Give a valid bucket name back.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html

    Raises:
        AwsError: InvalidBucketName.
    """
    bad = (
        not _NAME.match(name)
        or _ADDRESS.match(name)
        or ".." in name
        or name.startswith(("xn--", "sthree-", "amzn-s3-demo-"))
        or name.endswith(("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"))
    )
    if bad:
        raise AwsError("InvalidBucketName", "The specified bucket is not valid.", extra={"BucketName": name})
    return name


def normalize(name: str, body: bytes, bucket: Bucket) -> str:
    """Check the document of one subresource and give it as it is kept.

    Raises:
        AwsError: MalformedXML and the like.
    """
    kind = KINDS[name]
    element = parse(body, kind.root)
    if name in ("lifecycle", "notification"):
        _identify(element, "ID" if name == "lifecycle" else "Id")
    if name == "versioning":
        _versioning(element, bucket)
    if name == "object-lock":
        _object_lock(element, bucket)
    if name == "lifecycle" and not element.findall("Rule"):
        raise malformed()
    return ElementTree.tostring(element, encoding="unicode")


def _identify(element: ElementTree.Element, label: str) -> None:
    """Give rules without an id one, as S3 does."""
    for rule in element:
        if rule.tag in ("Rule", "QueueConfiguration", "TopicConfiguration", "CloudFunctionConfiguration"):
            identifier = rule.find(label)
            if identifier is None or not identifier.text:
                if identifier is None:
                    identifier = ElementTree.Element(label)
                    rule.insert(0, identifier)
                identifier.text = secrets.token_hex(16)


def _versioning(element: ElementTree.Element, bucket: Bucket) -> None:
    status = element.findtext("Status")
    if status not in ("Enabled", "Suspended"):
        raise AwsError("IllegalVersioningConfigurationException", "The Versioning element must be specified")
    if bucket.object_lock and status == "Suspended":
        raise AwsError(
            "InvalidBucketState",
            "An Object Lock configuration is present on this bucket, so the versioning state cannot be changed.",
            409,
        )
    bucket.versioning = status


def _object_lock(element: ElementTree.Element, bucket: Bucket) -> None:
    if element.findtext("ObjectLockEnabled") != "Enabled":
        raise malformed()
    if bucket.versioning != "Enabled":
        raise AwsError(
            "InvalidBucketState",
            "Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration",
            409,
        )
    rule = element.find("Rule/DefaultRetention")
    if rule is not None:
        days, years = rule.findtext("Days"), rule.findtext("Years")
        if (days is None) == (years is None) or rule.findtext("Mode") not in ("GOVERNANCE", "COMPLIANCE"):
            raise malformed()
        number = days or years or ""
        if not number.isdigit() or int(number) < 1:
            raise AwsError("InvalidArgument", "Default retention period must be a positive integer value.")
    bucket.object_lock = True


def check_policy(body: bytes, bucket: str) -> str:
    """Check a bucket policy and give it as text.

    Raises:
        AwsError: MalformedPolicy.
    """
    try:
        policy = json.loads(body)
    except ValueError as error:
        raise _bad_policy("Policies must be valid JSON and the first byte must be '{'") from error
    statements = policy.get("Statement") if isinstance(policy, dict) else None
    if isinstance(statements, dict):
        statements = [statements]
    if not isinstance(statements, list) or not statements:
        raise _bad_policy("Missing required field Statement")
    for statement in statements:
        for name in ("Effect",):
            if name not in statement:
                raise _bad_policy(f"Missing required field {name}")
        if "Principal" not in statement and "NotPrincipal" not in statement:
            raise _bad_policy("Missing required field Principal")
        if "Action" not in statement and "NotAction" not in statement:
            raise _bad_policy("Missing required field Action")
        resources = statement.get("Resource", statement.get("NotResource"))
        if resources is None:
            raise _bad_policy("Missing required field Resource")
        for resource in [resources] if isinstance(resources, str) else resources:
            name = resource.rpartition(":")[2].partition("/")[0]
            if name != bucket and "*" not in name and "?" not in name:
                raise _bad_policy("Policy has invalid resource")
    return body.decode()


def _bad_policy(reason: str) -> AwsError:
    return AwsError("MalformedPolicy", reason)


def read(name: str, identifier: str, bucket: Bucket) -> str:
    """The document of a subresource as GET gives it.

    Raises:
        AwsError: nothing was put and there is no default.
    """
    kind = KINDS[name]
    kept = bucket.config.get((name, identifier))
    if kept is None:
        if kind.default is None:
            raise AwsError(*kind.missing, 404, extra={"BucketName": bucket.name})
        kept = f"<{kind.root}>{kind.default}</{kind.root}>"
    head = f"<{kind.root}"
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{head} xmlns="{NAMESPACE}"{kept.removeprefix(head)}'


def default_encryption(bucket: Bucket) -> dict[str, str]:
    """Headers of the encryption an object gets that names none."""
    kept = bucket.config.get(("encryption", ""))
    if kept is None:
        return {"x-amz-server-side-encryption": "AES256"}
    rule = parse(kept.encode()).find("Rule/ApplyServerSideEncryptionByDefault")
    algorithm = rule.findtext("SSEAlgorithm", "AES256") if rule is not None else "AES256"
    headers = {"x-amz-server-side-encryption": algorithm}
    key = rule.findtext("KMSMasterKeyID") if rule is not None else None
    if key:
        headers["x-amz-server-side-encryption-aws-kms-key-id"] = key
    enabled = parse(kept.encode()).findtext("Rule/BucketKeyEnabled")
    if enabled == "true" and algorithm != "AES256":
        headers["x-amz-server-side-encryption-bucket-key-enabled"] = "true"
    return headers


def default_retention(bucket: Bucket) -> tuple[str, float] | None:
    """Mode and seconds of the default retention; None without one."""
    kept = bucket.config.get(("object-lock", ""))
    rule = parse(kept.encode()).find("Rule/DefaultRetention") if kept else None
    if rule is None:
        return None
    days = int(rule.findtext("Days") or 0) + 365 * int(rule.findtext("Years") or 0)
    return rule.findtext("Mode", ""), days * 86_400.0


def notifications(bucket: Bucket) -> list[dict[str, Any]]:
    """Destinations of the bucket's events: `id`, `arn`, `events`, `prefix`, `suffix`."""
    kept = bucket.config.get(("notification", ""))
    return destinations(parse(kept.encode())) if kept else []


def destinations(element: ElementTree.Element) -> list[dict[str, Any]]:
    """Destinations of a notification document."""
    found = []
    for rule in element:
        arn = rule.findtext("Queue") or rule.findtext("Topic") or rule.findtext("CloudFunction")
        if not arn:
            continue
        filters = {
            (r.findtext("Name") or "").lower(): r.findtext("Value") or ""
            for r in rule.findall("Filter/S3Key/FilterRule")
        }
        found.append(
            {
                "id": rule.findtext("Id", ""),
                "arn": arn,
                "events": [e.text or "" for e in rule.findall("Event")],
                "prefix": filters.get("prefix", ""),
                "suffix": filters.get("suffix", ""),
            }
        )
    return found
