"""Presigned URLs, header overrides, uploads and downloads that are cut off."""

import http.client
import random
import time
from typing import Any, cast

import boto3
import pytest
from botocore.config import Config

from keepwarm_localcloud.clockwork.clock import ManualClock
from keepwarm_localcloud.cloud import Cloud
from tests.support.patience import PATIENCE_S, until
from tests.support.s3 import SIGNED, raw


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
