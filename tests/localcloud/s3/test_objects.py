"""Objects: bytes, ranges, conditions, checksums, as boto3 and raw HTTP see them."""

import base64
import hashlib
import random
import threading
import zlib
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from keepwarm_localcloud.clockwork.clock import ManualClock
from keepwarm_localcloud.cloud import Cloud
from keepwarm_localcloud.request import AwsError
from keepwarm_localcloud.services.s3 import checksums
from keepwarm_localcloud.services.s3.conditions import range_of
from tests.support.s3 import SIGNED, code, raw


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
