"""Buckets: names, defaults, configurations, policies.

Does not prove lifecycle expiry (kept, never run), replication or ACL semantics.
"""

import hashlib
from typing import Any

import pytest
from botocore.exceptions import ClientError

from keepwarm_localcloud.cloud import Cloud
from tests.support.s3 import SIGNED, code, raw


def test_given_a_bucket_when_created_again_or_elsewhere_then_only_us_east_1_succeeds(
    s3: Any, bucket: str
) -> None:
    s3.create_bucket(Bucket=bucket)
    with pytest.raises(ClientError) as refused:
        s3.create_bucket(
            Bucket=f"{bucket}-x", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
        )
    error = refused.value.response["Error"]
    assert (error["Code"], error["Message"]) == (
        "IllegalLocationConstraintException",
        "The eu-central-1 location constraint is incompatible for the region specific endpoint this request was sent"
        " to.",
    )
    assert bucket in [b["Name"] for b in s3.list_buckets()["Buckets"]]
    assert [b["Name"] for b in s3.list_buckets(Prefix=bucket)["Buckets"]] == [
        b["Name"] for b in s3.list_buckets()["Buckets"] if b["Name"].startswith(bucket)
    ]


def test_given_an_acl_when_read_then_the_owner_has_full_control(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"", ACL="bucket-owner-full-control")
    for acl in (s3.get_bucket_acl(Bucket=bucket), s3.get_object_acl(Bucket=bucket, Key="k")):
        assert [(g["Grantee"]["ID"], g["Permission"]) for g in acl["Grants"]] == [
            (acl["Owner"]["ID"], "FULL_CONTROL")
        ]


def test_given_many_keys_when_deleted_at_once_then_gone_and_reported(s3: Any, bucket: str) -> None:
    for key in "abc":
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": k} for k in "abd"]})
    assert [d["Key"] for d in answer["Deleted"]] == ["a", "b", "d"]
    assert [o["Key"] for o in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["c"]


@pytest.mark.parametrize(
    "name", ["ab", "Upper", "under_score", "1.2.3.4", "dots..twice", "xn--x", "-lead", "a" * 64]
)
def test_given_a_bad_bucket_name_when_created_then_invalid_bucket_name(cloud: Cloud, name: str) -> None:
    status, _, body = raw(cloud, "PUT", f"/{name}", authorization=SIGNED)
    assert (status, b"InvalidBucketName" in body) == (400, True)


def test_given_a_new_bucket_when_asked_then_the_defaults_of_aws(s3: Any, bucket: str) -> None:
    block = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    assert block == dict.fromkeys(
        ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True
    )
    rules = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rules[0]["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    ownership = s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]["Rules"]
    assert ownership == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    assert s3.get_bucket_location(Bucket=bucket)["LocationConstraint"] is None
    assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)
    for call, expected in (
        (s3.get_bucket_policy, "NoSuchBucketPolicy"),
        (s3.get_bucket_lifecycle_configuration, "NoSuchLifecycleConfiguration"),
        (s3.get_bucket_tagging, "NoSuchTagSet"),
        (s3.get_object_lock_configuration, "ObjectLockConfigurationNotFoundError"),
    ):
        with pytest.raises(ClientError) as error:
            call(Bucket=bucket)
        assert code(error) == expected


def test_given_configurations_when_put_then_given_back(s3: Any, versioned: str) -> None:
    lifecycle = {
        "Rules": [
            {
                "ID": "r",
                "Status": "Enabled",
                "Filter": {"Prefix": ""},
                "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
            }
        ]
    }
    s3.put_bucket_lifecycle_configuration(Bucket=versioned, LifecycleConfiguration=lifecycle)
    assert s3.get_bucket_lifecycle_configuration(Bucket=versioned)["Rules"] == lifecycle["Rules"]
    tags = [{"Key": "a", "Value": "b & c"}]
    s3.put_bucket_tagging(Bucket=versioned, Tagging={"TagSet": tags})
    assert s3.get_bucket_tagging(Bucket=versioned)["TagSet"] == tags
    logging = {"LoggingEnabled": {"TargetBucket": versioned, "TargetPrefix": "logs/"}}
    s3.put_bucket_logging(Bucket=versioned, BucketLoggingStatus=logging)
    assert s3.get_bucket_logging(Bucket=versioned)["LoggingEnabled"] == logging["LoggingEnabled"]
    s3.delete_bucket_lifecycle(Bucket=versioned)
    with pytest.raises(ClientError):
        s3.get_bucket_lifecycle_configuration(Bucket=versioned)


def test_given_a_default_kms_key_when_put_then_the_object_says_so_and_its_etag_is_no_md5(
    s3: Any, bucket: str
) -> None:
    rule = {
        "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "arn:k"},
        "BucketKeyEnabled": True,
    }
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
    s3.put_object(Bucket=bucket, Key="k", Body=b"1")
    head = s3.head_object(Bucket=bucket, Key="k")
    assert (head["ServerSideEncryption"], head["SSEKMSKeyId"], head["BucketKeyEnabled"]) == (
        "aws:kms",
        "arn:k",
        True,
    )
    assert head["ETag"] != f'"{hashlib.md5(b"1").hexdigest()}"'


def test_given_an_acl_when_the_owner_is_enforced_then_refused(s3: Any, bucket: str) -> None:
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket=bucket, Key="k", Body=b"", ACL="public-read")
    assert code(error) == "AccessControlListNotSupported"


@pytest.mark.parametrize(
    "policy",
    [
        "no json",
        "{}",
        '{"Statement": [{"Effect": "Deny", "Action": "s3:*", "Principal": "*", "Resource": "arn:aws:s3:::other/*"}]}',
    ],
)
def test_given_a_bad_policy_when_put_then_malformed_policy(s3: Any, bucket: str, policy: str) -> None:
    with pytest.raises(ClientError) as error:
        s3.put_bucket_policy(Bucket=bucket, Policy=policy)
    assert code(error) == "MalformedPolicy"


@pytest.mark.parametrize(
    "body", [b"<x", b"<!DOCTYPE x [<!ENTITY e 'e'>]><VersioningConfiguration/>", b"<Wrong/>"]
)
def test_given_a_bad_document_when_put_then_malformed_xml(cloud: Cloud, bucket: str, body: bytes) -> None:
    status, _, answer = raw(cloud, "PUT", f"/{bucket}?versioning", body, authorization=SIGNED)
    assert (status, b"MalformedXML" in answer) == (400, True)


def test_given_a_bucket_when_addressed_by_host_then_the_same_objects(
    cloud: Cloud, s3: Any, bucket: str
) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"1")
    status, _, body = raw(cloud, "GET", "/k", host=f"{bucket}.localhost", authorization=SIGNED)
    assert (status, body) == (200, b"1")
