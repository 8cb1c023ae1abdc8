"""Versions, delete markers and Object Lock."""

from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from keepwarm_localcloud.clockwork.clock import ManualClock
from tests.support.s3 import code


def test_given_versioning_when_overwritten_and_deleted_then_every_version_stays_readable(
    s3: Any, versioned: str
) -> None:
    first = s3.put_object(Bucket=versioned, Key="k", Body=b"1")["VersionId"]
    second = s3.put_object(Bucket=versioned, Key="k", Body=b"2")["VersionId"]
    marker = s3.delete_object(Bucket=versioned, Key="k")
    assert marker["DeleteMarker"] is True
    with pytest.raises(ClientError) as error:
        s3.get_object(Bucket=versioned, Key="k")
    assert code(error) == "NoSuchKey"
    assert s3.get_object(Bucket=versioned, Key="k", VersionId=first)["Body"].read() == b"1"
    with pytest.raises(ClientError) as error:
        s3.get_object(Bucket=versioned, Key="k", VersionId=marker["VersionId"])
    assert code(error) == "MethodNotAllowed"
    listed = s3.list_object_versions(Bucket=versioned)
    assert [v["VersionId"] for v in listed["Versions"]] == [second, first]
    assert [(m["VersionId"], m["IsLatest"]) for m in listed["DeleteMarkers"]] == [(marker["VersionId"], True)]
    s3.delete_object(Bucket=versioned, Key="k", VersionId=marker["VersionId"])
    assert s3.get_object(Bucket=versioned, Key="k")["Body"].read() == b"2"


def test_given_versioning_suspended_when_written_then_the_null_version_is_replaced(
    s3: Any, versioned: str
) -> None:
    kept = s3.put_object(Bucket=versioned, Key="k", Body=b"1")["VersionId"]
    s3.put_bucket_versioning(Bucket=versioned, VersioningConfiguration={"Status": "Suspended"})
    assert s3.put_object(Bucket=versioned, Key="k", Body=b"2")["VersionId"] == "null"
    s3.put_object(Bucket=versioned, Key="k", Body=b"3")
    assert [v["VersionId"] for v in s3.list_object_versions(Bucket=versioned)["Versions"]] == ["null", kept]


def test_given_versions_when_the_bucket_is_deleted_then_bucket_not_empty(s3: Any, versioned: str) -> None:
    version = s3.put_object(Bucket=versioned, Key="k", Body=b"1")["VersionId"]
    marker = s3.delete_object(Bucket=versioned, Key="k")["VersionId"]
    for left in (version, marker):
        with pytest.raises(ClientError) as error:
            s3.delete_bucket(Bucket=versioned)
        assert code(error) == "BucketNotEmpty"
        s3.delete_object(Bucket=versioned, Key="k", VersionId=left)
    s3.delete_bucket(Bucket=versioned)


def test_given_many_versions_when_listed_in_pages_then_all_of_them_once(s3: Any, versioned: str) -> None:
    for index in range(7):
        s3.put_object(Bucket=versioned, Key=f"k{index % 3}", Body=b"x")
    pages = s3.get_paginator("list_object_versions").paginate(
        Bucket=versioned, PaginationConfig={"PageSize": 2}
    )
    seen = [(v["Key"], v["VersionId"]) for page in pages for v in page.get("Versions", [])]
    assert len(seen) == len(set(seen)) == 7


def test_given_compliance_retention_when_deleting_the_version_then_refused_until_it_ends(
    s3: Any, locked: str, clock: ManualClock
) -> None:
    until = datetime.fromtimestamp(clock.now_s() + 100, UTC)
    version = s3.put_object(
        Bucket=locked, Key="k", Body=b"1", ObjectLockMode="COMPLIANCE", ObjectLockRetainUntilDate=until
    )["VersionId"]
    for bypass in (False, True):
        with pytest.raises(ClientError) as error:
            s3.delete_object(Bucket=locked, Key="k", VersionId=version, BypassGovernanceRetention=bypass)
        assert code(error) == "AccessDenied"
    s3.delete_object(Bucket=locked, Key="k")
    clock.advance(101)
    s3.delete_object(Bucket=locked, Key="k", VersionId=version)


def test_given_governance_retention_when_bypassed_then_deleted(s3: Any, locked: str) -> None:
    s3.put_object_lock_configuration(
        Bucket=locked,
        ObjectLockConfiguration={
            "ObjectLockEnabled": "Enabled",
            "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}},
        },
    )
    version = s3.put_object(Bucket=locked, Key="k", Body=b"1")["VersionId"]
    assert s3.get_object_retention(Bucket=locked, Key="k")["Retention"]["Mode"] == "GOVERNANCE"
    with pytest.raises(ClientError):
        s3.delete_object(Bucket=locked, Key="k", VersionId=version)
    s3.delete_object(Bucket=locked, Key="k", VersionId=version, BypassGovernanceRetention=True)


def test_given_a_legal_hold_when_deleting_then_refused_until_released(s3: Any, locked: str) -> None:
    version = s3.put_object(Bucket=locked, Key="k", Body=b"1", ObjectLockLegalHoldStatus="ON")["VersionId"]
    with pytest.raises(ClientError):
        s3.delete_object(Bucket=locked, Key="k", VersionId=version, BypassGovernanceRetention=True)
    s3.put_object_legal_hold(Bucket=locked, Key="k", LegalHold={"Status": "OFF"})
    s3.delete_object(Bucket=locked, Key="k", VersionId=version)


def test_given_compliance_retention_when_shortened_then_refused(
    s3: Any, locked: str, clock: ManualClock
) -> None:
    def until(seconds: int) -> dict[str, Any]:
        return {"Mode": "COMPLIANCE", "RetainUntilDate": datetime.fromtimestamp(clock.now_s() + seconds, UTC)}

    s3.put_object(Bucket=locked, Key="k", Body=b"1")
    s3.put_object_retention(Bucket=locked, Key="k", Retention=until(100))
    s3.put_object_retention(Bucket=locked, Key="k", Retention=until(200))
    with pytest.raises(ClientError) as error:
        s3.put_object_retention(Bucket=locked, Key="k", Retention=until(50), BypassGovernanceRetention=True)
    assert code(error) == "AccessDenied"
