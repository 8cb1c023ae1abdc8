"""Multipart uploads and copies."""

import base64
import hashlib
import io
import random
import zlib
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.s3 import code


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
