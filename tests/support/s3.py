"""S3 over raw HTTP, and what its tests share."""

import http.client

import pytest
from botocore.exceptions import ClientError

from keepwarm_localcloud.cloud import Cloud
from tests.support.patience import PATIENCE_S

ACCOUNT = "100000000002"


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


SIGNED = (
    "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
)


NUMBERS = iter(range(10_000))
"""For names that no other test of the process uses."""
