"""S3 of the embedded cloud, each test one behavior that AWS documents.

Proves: objects, versions, conditions, ranges, checksums, multipart, Object Lock, events and listings as boto3 and raw
HTTP see them. Does not prove: lifecycle expiry (kept, never executed), replication, ACL semantics.
"""

import base64
import hashlib
import http.client
import io
import json
import random
import threading
import time
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, cast

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from keepwarm_localcloud.clockwork.clock import ManualClock
from keepwarm_localcloud.cloud import Cloud, CloudSettings
from keepwarm_localcloud.request import AwsError
from keepwarm_localcloud.services.context import Context
from keepwarm_localcloud.services.s3 import S3Service, checksums
from keepwarm_localcloud.services.s3.conditions import range_of
from keepwarm_localcloud.services.sqs import SqsService
from tests.support.patience import PATIENCE_S, until

ACCOUNT = "100000000002"


@pytest.fixture(scope="module")
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="module")
def cloud(clock: ManualClock) -> Iterator[Cloud]:
    services = [S3Service(), SqsService()]
    with Cloud(CloudSettings(account_id=ACCOUNT, clock=clock), services=services) as cloud:  # type: ignore[arg-type]
        yield cloud


@pytest.fixture
def s3(cloud: Cloud) -> Any:
    return cloud.boto("s3")


_names = iter(range(10_000))


@pytest.fixture
def bucket(s3: Any) -> str:
    name = f"bucket-{next(_names)}"
    s3.create_bucket(Bucket=name)
    return name


@pytest.fixture
def versioned(s3: Any, bucket: str) -> str:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    return bucket


@pytest.fixture
def locked(s3: Any) -> str:
    name = f"locked-{next(_names)}"
    s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    return name


def code(error: pytest.ExceptionInfo[ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


def raw(
    cloud: Cloud, method: str, path: str, body: bytes = b"", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", cloud.port, timeout=PATIENCE_S)
    try:
        connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    finally:
        connection.close()


# --- objects -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 32_768, 32_769, 3_000_000])
def test_given_any_size_when_put_then_the_same_bytes_and_etag_come_back(
    s3: Any, bucket: str, size: int
) -> None:
    data = random.Random(size).randbytes(size)
    put = s3.put_object(Bucket=bucket, Key="k", Body=data)
    got = s3.get_object(Bucket=bucket, Key="k")
    assert got["Body"].read() == data
    assert put["ETag"] == got["ETag"] == f'"{hashlib.md5(data).hexdigest()}"'
    assert got["ContentLength"] == size


@pytest.mark.parametrize(
    "key", ["plain", "a/b//c", "ü ñ/雪", "a+b&c=d?e#f", "../x", "-._~!*'()", "a%2Fb", " lead", "x" * 1024]
)
def test_given_odd_keys_when_put_then_listed_and_read_back(s3: Any, bucket: str, key: str) -> None:
    s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    assert [o["Key"] for o in s3.list_objects_v2(Bucket=bucket)["Contents"]] == [key]
    assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == b"x"


def test_given_a_key_over_1024_bytes_when_put_then_key_too_long(s3: Any, bucket: str) -> None:
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket=bucket, Key="x" * 1025, Body=b"")
    assert code(error) == "KeyTooLongError"


def test_given_metadata_and_headers_when_put_then_given_back_and_too_much_is_refused(
    s3: Any, bucket: str
) -> None:
    s3.put_object(
        Bucket=bucket,
        Key="k",
        Body=b"",
        Metadata={"a": "1", "b_c": "2"},
        ContentType="text/plain",
        CacheControl="no-store",
    )
    head = s3.head_object(Bucket=bucket, Key="k")
    assert head["Metadata"] == {"a": "1", "b_c": "2"}
    assert (head["ContentType"], head["CacheControl"]) == ("text/plain", "no-store")
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket=bucket, Key="k", Body=b"", Metadata={"a": "x" * 2048})
    assert code(error) == "MetadataTooLarge"


def test_given_no_such_key_or_bucket_when_read_then_the_codes_of_aws(s3: Any, bucket: str) -> None:
    for call, name, expected in (
        (s3.get_object, bucket, "NoSuchKey"),
        (s3.get_object, "no-bucket", "NoSuchBucket"),
        (s3.head_object, bucket, "404"),
    ):
        with pytest.raises(ClientError) as error:
            call(Bucket=name, Key="none")
        assert code(error) == expected


def test_given_a_delete_when_repeated_then_both_succeed(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"")
    s3.delete_object(Bucket=bucket, Key="k")
    s3.delete_object(Bucket=bucket, Key="k")
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


# --- ranges ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [100, 100_000])
@pytest.mark.parametrize(
    ("wanted", "start", "end"),
    [("bytes=0-9", 0, 10), ("bytes=90-", 90, None), ("bytes=-10", -10, None), ("bytes=5-999999", 5, None)],
)
def test_given_a_range_when_read_then_206_and_just_that(
    s3: Any, bucket: str, size: int, wanted: str, start: int, end: int | None
) -> None:
    data = random.Random(1).randbytes(size)
    s3.put_object(Bucket=bucket, Key="k", Body=data)
    got = s3.get_object(Bucket=bucket, Key="k", Range=wanted)
    assert got["Body"].read() == data[start:end]
    assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert got["ContentRange"].endswith(f"/{size}")


@pytest.mark.parametrize("wanted", ["bytes=100-", "bytes=-0", "bytes=100-200"])
def test_given_a_range_past_the_end_when_read_then_416(s3: Any, bucket: str, wanted: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x" * 100)
    with pytest.raises(ClientError) as error:
        s3.get_object(Bucket=bucket, Key="k", Range=wanted)
    assert (code(error), error.value.response["ResponseMetadata"]["HTTPStatusCode"]) == ("InvalidRange", 416)


@pytest.mark.parametrize("wanted", ["bytes=5-2", "lines=1-2", "bytes=a-b", "bytes=0-1,3-4"])
def test_given_a_range_s3_ignores_when_read_then_the_whole_object(s3: Any, bucket: str, wanted: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"0123456789")
    got = s3.get_object(Bucket=bucket, Key="k", Range=wanted)
    assert (got["ResponseMetadata"]["HTTPStatusCode"], got["Body"].read()) == (200, b"0123456789")


@given(st.integers(0, 50), st.integers(0, 60), st.integers(0, 60))
@settings(max_examples=200, deadline=None)
def test_given_any_range_when_parsed_then_what_slicing_says(size: int, first: int, last: int) -> None:
    data = bytes(range(size))
    if last < first:
        assert range_of(f"bytes={first}-{last}", size) is None
        return
    if first >= size:
        with pytest.raises(AwsError, match="InvalidRange"):
            range_of(f"bytes={first}-{last}", size)
    else:
        found = range_of(f"bytes={first}-{last}", size)
        assert found is not None
        assert data[found[0] : found[0] + found[1]] == data[first : last + 1]


# --- conditions --------------------------------------------------------------------------------------------


def test_given_if_none_match_star_when_the_key_exists_then_412_and_the_old_stays(
    s3: Any, bucket: str
) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"1", IfNoneMatch="*")
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket=bucket, Key="k", Body=b"2", IfNoneMatch="*")
    assert (code(error), error.value.response["ResponseMetadata"]["HTTPStatusCode"]) == (
        "PreconditionFailed",
        412,
    )
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"1"


def test_given_a_delete_marker_when_put_with_if_none_match_then_written(s3: Any, versioned: str) -> None:
    s3.put_object(Bucket=versioned, Key="k", Body=b"1")
    s3.delete_object(Bucket=versioned, Key="k")
    s3.put_object(Bucket=versioned, Key="k", Body=b"2", IfNoneMatch="*")


def test_given_threads_that_put_if_none_match_when_they_race_then_exactly_one_wins(
    s3: Any, bucket: str
) -> None:
    for round_number in range(20):
        wins: list[int] = []
        barrier = threading.Barrier(8)

        def write(index: int, key: str, barrier: threading.Barrier = barrier, wins: list[int] = wins) -> None:
            barrier.wait()
            try:
                s3.put_object(Bucket=bucket, Key=key, Body=b"x" * 40_000, IfNoneMatch="*")
                wins.append(index)
            except ClientError as error:
                if error.response["Error"]["Code"] != "PreconditionFailed":
                    raise

        threads = [threading.Thread(target=write, args=(i, f"k{round_number}")) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(wins) == 1


def test_given_if_match_when_the_etag_is_current_then_written_and_else_412_or_404(
    s3: Any, bucket: str
) -> None:
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"1")["ETag"]
    s3.put_object(Bucket=bucket, Key="k", Body=b"2", IfMatch=etag)
    for key, expected in (("k", "PreconditionFailed"), ("none", "NoSuchKey")):
        with pytest.raises(ClientError) as error:
            s3.put_object(Bucket=bucket, Key=key, Body=b"3", IfMatch=etag)
        assert code(error) == expected


def test_given_if_match_on_delete_when_the_etag_is_old_then_412_and_kept(s3: Any, bucket: str) -> None:
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"1")["ETag"]
    s3.put_object(Bucket=bucket, Key="k", Body=b"2")
    with pytest.raises(ClientError) as error:
        s3.delete_object(Bucket=bucket, Key="k", IfMatch=etag)
    assert code(error) == "PreconditionFailed"
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"2"


def test_given_read_conditions_when_they_fail_then_304_or_412(
    s3: Any, bucket: str, clock: ManualClock
) -> None:
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"1")["ETag"]
    now = datetime.fromtimestamp(clock.now_s(), UTC)
    for more, expected in (
        ({"IfNoneMatch": etag}, "304"),
        ({"IfModifiedSince": now}, "304"),
        ({"IfMatch": '"other"'}, "PreconditionFailed"),
        ({"IfUnmodifiedSince": datetime.fromtimestamp(clock.now_s() - 60, UTC)}, "PreconditionFailed"),
    ):
        with pytest.raises(ClientError) as error:
            s3.get_object(Bucket=bucket, Key="k", **more)
        assert code(error) == expected
    assert s3.get_object(Bucket=bucket, Key="k", IfMatch=etag)["Body"].read() == b"1"


# --- checksums ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("algorithm", "check"),
    [
        # The check values of the CRC catalog and of FIPS 180 for the text 123456789.
        ("CRC32", "y/Q5Jg=="),
        ("CRC32C", "4waSgw=="),
        ("CRC64NVME", "rosUhgp5mIg="),
        ("SHA1", "98O8HYCOBHMq32eZZczDTKeuNEE="),
        ("SHA256", "FeKw09l8z7rBSmSMnbCxOqz2pTYyEYGdcEzRPjJTSiU="),
    ],
)
def test_given_an_algorithm_when_hashing_then_its_published_check_value(algorithm: str, check: str) -> None:
    running = checksums.new(algorithm)
    running.update(b"1234567")
    running.update(b"89")
    expected = hashlib.new(algorithm.lower(), b"123456789").digest() if algorithm.startswith("SHA") else None
    assert base64.b64encode(running.digest()).decode() == (
        base64.b64encode(expected).decode() if expected else check
    )


@given(st.binary(max_size=300), st.sampled_from(["CRC32C", "CRC64NVME"]), st.integers(0, 300))
@settings(max_examples=100, deadline=None)
def test_given_any_split_when_hashed_then_the_same_as_bit_by_bit(
    data: bytes, algorithm: str, cut: int
) -> None:
    polynomial, bits = {"CRC32C": (0x82F63B78, 32), "CRC64NVME": (0x9A6C9329AC4BC9B5, 64)}[algorithm]
    value = (1 << bits) - 1
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (polynomial if value & 1 else 0)
    running = checksums.new(algorithm)
    running.update(data[:cut])
    running.update(data[cut:])
    assert running.digest() == (value ^ ((1 << bits) - 1)).to_bytes(bits // 8, "big")


def test_given_a_wrong_checksum_when_put_then_bad_digest_and_nothing_written(s3: Any, bucket: str) -> None:
    wrong = base64.b64encode(b"\0" * 4).decode()
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket=bucket, Key="k", Body=b"data", ChecksumCRC32=wrong)
    assert code(error) == "BadDigest"
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


@pytest.mark.parametrize(
    ("header", "value", "expected"),
    [
        ("content-md5", base64.b64encode(b"\0" * 16).decode(), "BadDigest"),
        ("content-md5", "no base64", "InvalidDigest"),
        ("x-amz-checksum-sha256", "c2hvcnQ=", "InvalidRequest"),
        ("x-amz-checksum-crc64nvme", base64.b64encode(b"\0" * 8).decode(), "BadDigest"),
        ("x-amz-content-sha256", "0" * 64, "XAmzContentSHA256Mismatch"),
        ("x-amz-sdk-checksum-algorithm", "MD4", "InvalidRequest"),
    ],
)
def test_given_a_bad_digest_header_when_put_raw_then_refused(
    cloud: Cloud, bucket: str, header: str, value: str, expected: str
) -> None:
    status, _, body = raw(cloud, "PUT", f"/{bucket}/k", b"data", **{header: value}, authorization=SIGNED)
    assert status == 400
    assert f"<Code>{expected}</Code>".encode() in body


SIGNED = (
    "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
)


def test_given_a_checksum_in_a_trailer_when_put_chunked_then_verified_and_kept(
    cloud: Cloud, s3: Any, bucket: str
) -> None:
    data = random.Random(3).randbytes(100_000)
    good = base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()

    def send(trailer: str) -> tuple[int, dict[str, str], bytes]:
        framed = b"%x\r\n%b\r\n0\r\nx-amz-checksum-crc32:%b\r\n\r\n" % (len(data), data, trailer.encode())
        return raw(
            cloud,
            "PUT",
            f"/{bucket}/k",
            framed,
            authorization=SIGNED,
            content_encoding="aws-chunked",
            x_amz_content_sha256="STREAMING-UNSIGNED-PAYLOAD-TRAILER",
            x_amz_decoded_content_length=str(len(data)),
            x_amz_trailer="x-amz-checksum-crc32",
        )

    status, headers, _ = send(good)
    assert (status, headers["x-amz-checksum-crc32"]) == (200, good)
    got = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert (got["Body"].read(), got["ChecksumCRC32"]) == (data, good)
    status, _, body = send(base64.b64encode(b"\0" * 4).decode())
    assert (status, b"BadDigest" in body) == (400, True)


def test_given_a_body_shorter_than_announced_when_put_chunked_then_incomplete_body(
    cloud: Cloud, bucket: str
) -> None:
    framed = b"3\r\nabc\r\n0\r\n\r\n"
    status, _, body = raw(
        cloud,
        "PUT",
        f"/{bucket}/k",
        framed,
        authorization=SIGNED,
        content_encoding="aws-chunked",
        x_amz_content_sha256="STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        x_amz_decoded_content_length="10",
    )
    assert (status, b"IncompleteBody" in body) == (400, True)


# --- versions ----------------------------------------------------------------------------------------------


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


# --- Object Lock -------------------------------------------------------------------------------------------


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


# --- multipart ---------------------------------------------------------------------------------------------


def upload_parts(
    s3: Any, bucket: str, key: str, parts: list[bytes], **more: Any
) -> tuple[str, list[dict[str, Any]]]:
    upload = s3.create_multipart_upload(Bucket=bucket, Key=key, **more)["UploadId"]
    done = []
    for number, data in enumerate(parts, 1):
        answer = s3.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=data)
        done.append({"PartNumber": number, "ETag": answer["ETag"]})
    return upload, done


PART = random.Random(9).randbytes(5 * 1024 * 1024)


def test_given_parts_when_completed_then_one_object_with_the_etag_of_etags(s3: Any, bucket: str) -> None:
    upload, done = upload_parts(s3, bucket, "k", [PART, b"tail"], Metadata={"m": "1"})
    assert [u["UploadId"] for u in s3.list_multipart_uploads(Bucket=bucket)["Uploads"]] == [upload]
    assert len(s3.list_parts(Bucket=bucket, Key="k", UploadId=upload)["Parts"]) == 2
    s3.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=upload, MultipartUpload={"Parts": done})
    got = s3.get_object(Bucket=bucket, Key="k")
    assert got["Body"].read() == PART + b"tail"
    digests = hashlib.md5(PART).digest() + hashlib.md5(b"tail").digest()
    assert got["ETag"] == f'"{hashlib.md5(digests).hexdigest()}-2"'
    assert got["Metadata"] == {"m": "1"}
    second = s3.get_object(Bucket=bucket, Key="k", PartNumber=2)
    assert (second["Body"].read(), second["PartsCount"]) == (b"tail", 2)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda done: list(reversed(done)), "InvalidPartOrder"),
        (lambda done: [*done, {"PartNumber": 9, "ETag": '"x"'}], "InvalidPart"),
        (lambda done: [{**done[0], "ETag": '"' + "0" * 32 + '"'}, done[1]], "InvalidPart"),
    ],
)
def test_given_a_wrong_parts_list_when_completed_then_refused(
    s3: Any, bucket: str, change: Any, expected: str
) -> None:
    upload, done = upload_parts(s3, bucket, "k", [PART, b"tail"])
    with pytest.raises(ClientError) as error:
        s3.complete_multipart_upload(
            Bucket=bucket, Key="k", UploadId=upload, MultipartUpload={"Parts": change(done)}
        )
    assert code(error) == expected
    s3.abort_multipart_upload(Bucket=bucket, Key="k", UploadId=upload)
    with pytest.raises(ClientError) as error:
        s3.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=1, Body=b"")
    assert code(error) == "NoSuchUpload"


def test_given_a_small_part_before_the_last_when_completed_then_entity_too_small(
    s3: Any, bucket: str
) -> None:
    upload, done = upload_parts(s3, bucket, "k", [b"small", b"tail"])
    with pytest.raises(ClientError) as error:
        s3.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=upload, MultipartUpload={"Parts": done})
    assert code(error) == "EntityTooSmall"


def test_given_if_none_match_when_an_upload_completes_over_an_object_then_412_and_the_upload_stays(
    s3: Any, bucket: str
) -> None:
    upload, done = upload_parts(s3, bucket, "k", [b"late"])
    s3.put_object(Bucket=bucket, Key="k", Body=b"first")
    with pytest.raises(ClientError) as error:
        s3.complete_multipart_upload(
            Bucket=bucket, Key="k", UploadId=upload, MultipartUpload={"Parts": done}, IfNoneMatch="*"
        )
    assert code(error) == "PreconditionFailed"
    s3.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=upload, MultipartUpload={"Parts": done})
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"late"


def test_given_composite_checksums_when_completed_then_the_checksum_of_checksums(
    s3: Any, bucket: str
) -> None:
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k", ChecksumAlgorithm="SHA256")["UploadId"]
    done, digests = [], b""
    for number, data in enumerate((PART, b"tail"), 1):
        digests += hashlib.sha256(data).digest()
        part = s3.upload_part(
            Bucket=bucket, Key="k", UploadId=upload, PartNumber=number, Body=data, ChecksumAlgorithm="SHA256"
        )
        done.append({"PartNumber": number, "ETag": part["ETag"], "ChecksumSHA256": part["ChecksumSHA256"]})
    answer = s3.complete_multipart_upload(
        Bucket=bucket, Key="k", UploadId=upload, MultipartUpload={"Parts": done}
    )
    expected = base64.b64encode(hashlib.sha256(digests).digest()).decode() + "-2"
    assert answer["ChecksumSHA256"] == expected
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert (head["ChecksumSHA256"], head["ChecksumType"]) == (expected, "COMPOSITE")


def test_given_a_full_object_crc_when_completed_then_that_of_the_whole(s3: Any, bucket: str) -> None:
    upload, done = upload_parts(
        s3, bucket, "k", [PART, b"tail"], ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT"
    )
    answer = s3.complete_multipart_upload(
        Bucket=bucket, Key="k", UploadId=upload, MultipartUpload={"Parts": done}
    )
    assert answer["ChecksumCRC32"] == base64.b64encode(zlib.crc32(PART + b"tail").to_bytes(4, "big")).decode()


def test_given_boto3_transfers_when_uploading_and_downloading_then_the_same_bytes(
    s3: Any, bucket: str
) -> None:
    data = random.Random(4).randbytes(20_000_000)
    s3.upload_fileobj(io.BytesIO(data), bucket, "k")
    out = io.BytesIO()
    s3.download_fileobj(bucket, "k", out)
    assert out.getvalue() == data


# --- copies ------------------------------------------------------------------------------------------------


def test_given_a_copy_when_the_source_goes_then_the_copy_stays_with_its_metadata(
    s3: Any, bucket: str
) -> None:
    s3.put_object(Bucket=bucket, Key="a b", Body=b"x" * 50_000, Metadata={"m": "1"}, Tagging="t=1")
    s3.copy_object(Bucket=bucket, Key="c", CopySource={"Bucket": bucket, "Key": "a b"})
    s3.delete_object(Bucket=bucket, Key="a b")
    got = s3.get_object(Bucket=bucket, Key="c")
    assert (got["Body"].read(), got["Metadata"], got["TagCount"]) == (b"x" * 50_000, {"m": "1"}, 1)


def test_given_a_copy_onto_itself_when_nothing_changes_then_refused_and_with_new_metadata_done(
    s3: Any, bucket: str
) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"1")
    source = {"Bucket": bucket, "Key": "k"}
    with pytest.raises(ClientError) as error:
        s3.copy_object(Bucket=bucket, Key="k", CopySource=source)
    assert code(error) == "InvalidRequest"
    s3.copy_object(
        Bucket=bucket, Key="k", CopySource=source, MetadataDirective="REPLACE", Metadata={"n": "2"}
    )
    assert s3.head_object(Bucket=bucket, Key="k")["Metadata"] == {"n": "2"}


def test_given_part_copies_when_completed_then_the_ranges_in_order(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="source", Body=PART + b"0123456789")
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    done = []
    for number, wanted in enumerate(
        (f"bytes=0-{len(PART) - 1}", f"bytes={len(PART) + 2}-{len(PART) + 4}"), 1
    ):
        answer = s3.upload_part_copy(
            Bucket=bucket,
            Key="k",
            UploadId=upload,
            PartNumber=number,
            CopySource={"Bucket": bucket, "Key": "source"},
            CopySourceRange=wanted,
        )
        done.append({"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]})
    s3.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=upload, MultipartUpload={"Parts": done})
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == PART + b"234"


# --- listings ----------------------------------------------------------------------------------------------


@given(
    st.lists(st.text(alphabet="ab/", min_size=1, max_size=5), max_size=12, unique=True),
    st.text(alphabet="ab/", max_size=2),
    st.sampled_from(["", "/"]),
    st.integers(1, 4),
)
@settings(max_examples=40, deadline=None)
def test_given_any_keys_when_listed_in_pages_then_what_sorting_says(
    cloud: Cloud, keys: list[str], prefix: str, delimiter: str, size: int
) -> None:
    s3 = cloud.boto("s3")
    name = f"list-{next(_names)}"
    s3.create_bucket(Bucket=name)
    for key in keys:
        s3.put_object(Bucket=name, Key=key, Body=b"")
    expected_keys, expected_prefixes = [], []
    for key in sorted(k for k in keys if k.startswith(prefix)):
        cut = key.find(delimiter, len(prefix)) if delimiter else -1
        if cut < 0:
            expected_keys.append(key)
        elif key[: cut + 1] not in expected_prefixes:
            expected_prefixes.append(key[: cut + 1])
    for operation in ("list_objects_v2", "list_objects"):
        pages = list(
            s3.get_paginator(operation).paginate(
                Bucket=name, Prefix=prefix, Delimiter=delimiter, PaginationConfig={"PageSize": size}
            )
        )
        assert [o["Key"] for p in pages for o in p.get("Contents", [])] == expected_keys
        assert [o["Prefix"] for p in pages for o in p.get("CommonPrefixes", [])] == expected_prefixes


def test_given_start_after_when_listed_then_only_later_keys(s3: Any, bucket: str) -> None:
    for key in "abc":
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    assert [o["Key"] for o in s3.list_objects_v2(Bucket=bucket, StartAfter="a")["Contents"]] == ["b", "c"]


def test_given_tags_when_put_read_replaced_and_deleted_then_as_asked(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", Tagging="kind=model&empty=")

    def tags(key: str = "k") -> dict[str, str]:
        return {t["Key"]: t["Value"] for t in s3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]}

    assert tags() == {"kind": "model", "empty": ""}
    assert s3.get_object(Bucket=bucket, Key="k")["TagCount"] == 2
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "k"})
    s3.copy_object(
        Bucket=bucket, Key="other", CopySource={"Bucket": bucket, "Key": "k"}, TaggingDirective="REPLACE", Tagging="a=b"
    )  # fmt: skip
    assert (tags("copy"), tags("other")) == ({"kind": "model", "empty": ""}, {"a": "b"})
    s3.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": [{"Key": "n", "Value": "1"}]})
    assert tags() == {"n": "1"}
    s3.delete_object_tagging(Bucket=bucket, Key="k")
    assert tags() == {}
    assert "TagCount" not in s3.head_object(Bucket=bucket, Key="k")


@pytest.mark.parametrize(
    ("tags", "refusal"),
    [
        ([(f"k{i}", "v") for i in range(11)], ("BadRequest", "Object tags cannot be greater than 10")),
        ([("k", "1"), ("k", "2")], ("InvalidTag", "Cannot provide multiple Tags with the same key")),
        ([("k" * 129, "v")], ("InvalidTag", "The TagKey you have provided is invalid")),
        ([("aws:k", "v")], ("InvalidTag", "The TagKey you have provided is invalid")),
        ([("k", "v" * 257)], ("InvalidTag", "The TagValue you have provided is invalid")),
    ],
)
def test_given_bad_tags_when_put_then_refused_and_the_old_ones_stay(
    s3: Any, bucket: str, tags: list[tuple[str, str]], refusal: tuple[str, str]
) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", Tagging="a=b")
    with pytest.raises(ClientError) as refused:
        s3.put_object_tagging(
            Bucket=bucket, Key="k", Tagging={"TagSet": [{"Key": k, "Value": v} for k, v in tags]}
        )
    error = refused.value.response["Error"]
    assert (error["Code"], error["Message"]) == refusal
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == [{"Key": "a", "Value": "b"}]


def test_given_an_object_of_parts_when_its_attributes_are_asked_then_sizes_parts_and_checksum(
    s3: Any, bucket: str
) -> None:
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k", ChecksumAlgorithm="SHA256")["UploadId"]
    parts = []
    for number, body in ((1, b"a" * 5 * 1024 * 1024), (2, b"b")):
        answer = s3.upload_part(
            Bucket=bucket, Key="k", UploadId=upload, PartNumber=number, Body=body, ChecksumAlgorithm="SHA256"
        )
        parts.append(
            {"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": answer["ChecksumSHA256"]}
        )
    done = s3.complete_multipart_upload(
        Bucket=bucket, Key="k", UploadId=upload, MultipartUpload={"Parts": parts}
    )
    wanted = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]
    answer = s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=wanted)
    assert {k: answer[k] for k in wanted} == {
        "ETag": done["ETag"].strip('"'),
        "Checksum": {"ChecksumSHA256": done["ChecksumSHA256"], "ChecksumType": "COMPOSITE"},
        "ObjectParts": {"TotalPartsCount": 2},
        "StorageClass": "STANDARD",
        "ObjectSize": 5 * 1024 * 1024 + 1,
    }
    assert "ObjectSize" not in s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=["ETag"])


def test_given_the_former_listing_when_paged_then_markers_lead_through_keys_and_prefixes(
    s3: Any, bucket: str
) -> None:
    for key in ("a", "b/1", "b/2", "c", "d/1"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    seen, marker = [], ""
    while True:
        page = s3.list_objects(Bucket=bucket, Delimiter="/", MaxKeys=2, Marker=marker)
        seen.append(
            [o["Key"] for o in page.get("Contents", [])]
            + [p["Prefix"] for p in page.get("CommonPrefixes", [])]
        )
        if not page["IsTruncated"]:
            break
        marker = page["NextMarker"]
    assert seen == [["a", "b/"], ["c", "d/"]]
    page = s3.list_objects(Bucket=bucket, MaxKeys=2, Marker="b/1")
    assert [o["Key"] for o in page["Contents"]] == ["b/2", "c"]
    assert "NextMarker" not in page, "AWS gives it with a delimiter only"


def test_given_a_continuation_token_s3_never_gave_when_listing_then_invalid_argument(
    s3: Any, bucket: str
) -> None:
    with pytest.raises(ClientError) as refused:
        s3.list_objects_v2(Bucket=bucket, ContinuationToken="ä")
    error = refused.value.response["Error"]
    assert (error["Code"], error["Message"]) == (
        "InvalidArgument",
        "The continuation token provided is incorrect",
    )


def test_given_versions_under_prefixes_when_listed_in_pages_then_each_prefix_and_version_once(
    s3: Any, versioned: str
) -> None:
    for key in ("a", "a", "b/1", "b/1", "c"):
        s3.put_object(Bucket=versioned, Key=key, Body=b"")
    seen, markers = [], {}
    while True:
        page = s3.list_object_versions(Bucket=versioned, Delimiter="/", MaxKeys=1, **markers)
        seen += [(v["Key"], v["IsLatest"]) for v in page.get("Versions", [])]
        seen += [(p["Prefix"], None) for p in page.get("CommonPrefixes", [])]
        if not page["IsTruncated"]:
            break
        markers = {"KeyMarker": page["NextKeyMarker"]}
        if page.get("NextVersionIdMarker"):
            markers["VersionIdMarker"] = page["NextVersionIdMarker"]
    assert seen == [("a", True), ("a", False), ("b/", None), ("c", True)]


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


def test_given_a_size_header_when_an_upload_completes_then_it_must_fit(s3: Any, bucket: str) -> None:
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    etag = s3.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=1, Body=b"abc")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    with pytest.raises(ClientError) as refused:
        s3.complete_multipart_upload(
            Bucket=bucket, Key="k", UploadId=upload, MultipartUpload=parts, MpuObjectSize=4
        )
    error = refused.value.response["Error"]
    assert (error["Code"], error["Message"]) == (
        "InvalidRequest",
        "The provided 'x-amz-mp-object-size' header does not match what was computed: 3",
    )
    s3.complete_multipart_upload(
        Bucket=bucket, Key="k", UploadId=upload, MultipartUpload=parts, MpuObjectSize=3
    )
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"abc"


def test_given_many_keys_when_deleted_at_once_then_gone_and_reported(s3: Any, bucket: str) -> None:
    for key in "abc":
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": k} for k in "abd"]})
    assert [d["Key"] for d in answer["Deleted"]] == ["a", "b", "d"]
    assert [o["Key"] for o in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["c"]


# --- buckets -----------------------------------------------------------------------------------------------


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


# --- events ------------------------------------------------------------------------------------------------


@pytest.fixture
def queue(cloud: Cloud, bucket: str) -> str:
    name = f"events-{next(_names)}"
    arn = f"arn:aws:sqs:us-east-1:{ACCOUNT}:{name}"
    policy = {
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "s3.amazonaws.com"},
                "Action": "sqs:SendMessage",
                "Resource": arn,
                "Condition": {
                    "ArnLike": {"aws:SourceArn": f"arn:aws:s3:::{bucket}"},
                    "StringEquals": {"aws:SourceAccount": ACCOUNT},
                },
            }
        ]
    }
    cloud.boto("sqs").create_queue(QueueName=name, Attributes={"Policy": json.dumps(policy)})
    return arn


def events(cloud: Cloud, arn: str) -> list[dict[str, Any]]:
    return [json.loads(m.body) for m in cloud.service("sqs", SqsService).receive(arn, 10)]


def test_given_a_notification_when_set_then_a_test_event_and_then_records_for_matching_keys(
    cloud: Cloud, s3: Any, bucket: str, queue: str
) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_bucket_notification_configuration(
        Bucket=bucket,
        NotificationConfiguration={
            "QueueConfigurations": [
                {
                    "QueueArn": queue,
                    "Events": ["s3:ObjectCreated:*"],
                    "Filter": {
                        "Key": {
                            "FilterRules": [
                                {"Name": "prefix", "Value": "in/"},
                                {"Name": "suffix", "Value": ".pdf"},
                            ]
                        }
                    },
                }
            ]
        },
    )
    assert [e["Event"] for e in events(cloud, queue)] == ["s3:TestEvent"]
    version = s3.put_object(Bucket=bucket, Key="in/a b+ü.pdf", Body=b"123")
    s3.put_object(Bucket=bucket, Key="in/other.txt", Body=b"")
    s3.put_object(Bucket=bucket, Key="in/a b+ü.pdf", Body=b"1234")
    s3.delete_object(Bucket=bucket, Key="in/a b+ü.pdf")
    records = [r for e in events(cloud, queue) for r in e["Records"]]
    assert [r["eventName"] for r in records] == ["ObjectCreated:Put"] * 2
    item = records[0]["s3"]["object"]
    assert item["key"] == "in/a+b%2B%C3%BC.pdf"
    assert (item["size"], item["eTag"], item["versionId"]) == (
        3,
        version["ETag"].strip('"'),
        version["VersionId"],
    )
    assert records[0]["s3"]["object"]["sequencer"] < records[1]["s3"]["object"]["sequencer"]
    assert records[0]["s3"]["bucket"]["arn"] == f"arn:aws:s3:::{bucket}"


class Functions:
    """Lambda as far as S3 uses it."""

    name = "lambda"

    def __init__(self) -> None:
        self.delivered: list[tuple[str, dict[str, Any], dict[str, Any]]] = []
        self.allowed = True

    def start(self, context: Context) -> None: ...

    def stop(self) -> None: ...

    def inventory(self) -> dict[str, list[str]]:
        return {}

    def handle(self, request: Any) -> None: ...

    def check_permission(self, function: str, **asked: Any) -> None:
        if not self.allowed:
            raise AwsError("AccessDeniedException", f"{function} does not let {asked['principal']} in", 403)

    def deliver(self, function: str, payload: bytes, **asked: Any) -> None:
        self.delivered.append((function, json.loads(payload), asked))


def test_given_a_function_and_a_topic_as_destinations_when_an_object_comes_then_both_get_its_record() -> None:
    functions, account = Functions(), "100000000042"
    function = f"arn:aws:lambda:us-east-1:{account}:function:f"
    with Cloud(CloudSettings(account_id=account), services=[S3Service(), functions]) as cloud:
        s3, topic = cloud.boto("s3"), cloud.boto("sns").create_topic(Name="t")["TopicArn"]
        s3.create_bucket(Bucket="bucket")
        configuration = {
            "LambdaFunctionConfigurations": [{"LambdaFunctionArn": function, "Events": ["s3:ObjectCreated:*"]}],
            "TopicConfigurations": [{"TopicArn": topic, "Events": ["s3:ObjectRemoved:*"]}],
        }  # fmt: skip
        functions.allowed = False
        with pytest.raises(ClientError) as refused:
            s3.put_bucket_notification_configuration(Bucket="bucket", NotificationConfiguration=configuration)
        assert refused.value.response["Error"]["ArgumentValue"] == (
            f"AccessDeniedException: {function} does not let s3.amazonaws.com in"
        )
        functions.allowed = True
        s3.put_bucket_notification_configuration(Bucket="bucket", NotificationConfiguration=configuration)
        s3.put_object(Bucket="bucket", Key="k", Body=b"1")
        s3.delete_object(Bucket="bucket", Key="k")
        ((called, event, asked),) = functions.delivered
        assert (called, [r["eventName"] for r in event["Records"]]) == (function, ["ObjectCreated:Put"])
        assert asked == {
            "principal": "s3.amazonaws.com",
            "source_arn": "arn:aws:s3:::bucket",
            "source_account": account,
        }
        sent = [json.loads(n[1]) for n in cloud.moto.backend("sns").topics[topic].sent_notifications]
        assert [m.get("Event") or m["Records"][0]["eventName"] for m in sent] == [
            "s3:TestEvent",
            "ObjectRemoved:Delete",
        ]


def test_given_a_queue_that_does_not_let_the_bucket_in_when_set_as_destination_then_refused(
    cloud: Cloud, s3: Any, bucket: str, queue: str
) -> None:
    other = f"bucket-{next(_names)}"
    s3.create_bucket(Bucket=other)
    with pytest.raises(ClientError, match="Unable to validate") as error:
        s3.put_bucket_notification_configuration(
            Bucket=other,
            NotificationConfiguration={
                "QueueConfigurations": [{"QueueArn": queue, "Events": ["s3:ObjectCreated:*"]}]
            },
        )
    assert code(error) == "InvalidArgument"


# --- streams and memory ------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["s3v4", "s3"])
def test_given_a_presigned_url_when_used_in_time_then_served_and_later_refused(
    cloud: Cloud, s3: Any, bucket: str, version: str
) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"1")
    signer = boto3.client(
        "s3",
        endpoint_url=cloud.endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(signature_version=version),
    )
    # boto3 signs with the machine's time; the cloud judges by its own, which other tests moved.
    clock = cast("ManualClock", cloud.clock)
    lasts_s = int(max(0.0, clock.now_s() - time.time())) + 60
    url = signer.generate_presigned_url(
        "get_object", Params={"Bucket": bucket, "Key": "k"}, ExpiresIn=lasts_s
    )
    path = url.removeprefix(cloud.endpoint)
    assert raw(cloud, "GET", path)[::2] == (200, b"1")
    clock.advance(max(0.0, time.time() - clock.now_s()) + lasts_s + 1)
    status, _, body = raw(cloud, "GET", path)
    assert (status, b"Request has expired" in body) == (403, True)


def test_given_a_response_override_with_a_line_break_when_read_then_no_header_is_smuggled(
    cloud: Cloud, s3: Any, bucket: str
) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"1")
    path = f"/{bucket}/k?response-content-disposition=a%0d%0aX-Evil:%201%E2%82%AC"
    status, headers, body = raw(cloud, "GET", path, authorization=SIGNED)
    assert (status, body, "x-evil" in headers) == (200, b"1", False)


def test_given_a_download_in_progress_when_the_object_is_deleted_then_it_goes_on(
    s3: Any, bucket: str
) -> None:
    data = random.Random(5).randbytes(4_000_000)
    s3.put_object(Bucket=bucket, Key="k", Body=data)
    body = s3.get_object(Bucket=bucket, Key="k")["Body"]
    first = body.read(10)
    s3.delete_object(Bucket=bucket, Key="k")
    assert first + body.read() == data


def test_given_an_upload_cut_off_when_the_client_leaves_then_no_object_and_no_file(
    cloud: Cloud, s3: Any, bucket: str
) -> None:
    files = {p.name for p in (cloud.directory / "s3").iterdir()}
    connection = http.client.HTTPConnection("127.0.0.1", cloud.port, timeout=PATIENCE_S)
    connection.putrequest("PUT", f"/{bucket}/k")
    connection.putheader("Authorization", SIGNED)
    connection.putheader("Content-Length", "1000000")
    connection.endheaders()
    connection.send(b"x" * 200_000)
    connection.close()
    until(lambda: {p.name for p in (cloud.directory / "s3").iterdir()} == files, "a file of it stays")
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
