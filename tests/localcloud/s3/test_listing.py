"""Listings, tags and attributes."""

from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from keepwarm_localcloud.cloud import Cloud
from tests.support.s3 import NUMBERS


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
    name = f"list-{next(NUMBERS)}"
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
