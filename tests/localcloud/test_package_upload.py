"""Large packages in Lambda requests: sent and read without copies, with the same result as botocore's own way."""

import base64
import hashlib
import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from keepwarm_localcloud.resources.aws import Aws
from keepwarm_localcloud.resources.package_upload import SMALL_BYTES
from tests.support.lambdas import ECHO, RUNTIME, Lab, archive, lab

LARGE = archive({"app.py": ECHO, "weights.bin": os.urandom(SMALL_BYTES)})
SMALL = archive({"app.py": ECHO})


@pytest.fixture(scope="module")
def it() -> Iterator[Lab]:
    with lab(account="100000000021") as running:
        yield running


@pytest.fixture
def client(it: Lab) -> Iterator[Any]:
    aws = Aws(it.cloud.endpoint)
    yield aws.client("lambda")
    aws.close()


def sha256(content: bytes) -> str:
    return base64.b64encode(hashlib.sha256(content).digest()).decode()


def sent_by(client: Any, **arguments: Any) -> Any:
    """The body of the request that publishes a layer, which is not sent."""
    bodies: list[bytes] = []

    def keep(request: Any, **_: Any) -> None:
        bodies.append(request.body)
        raise InterruptedError

    client.meta.events.register("before-sign.lambda.PublishLayerVersion", keep)
    with pytest.raises(InterruptedError):
        client.publish_layer_version(**arguments)
    client.meta.events.unregister("before-sign.lambda.PublishLayerVersion", keep)
    return json.loads(bodies[0])


def post(it: Lab, body: bytes) -> tuple[int, Any]:
    """Publish a layer with a body written by hand."""
    request = urllib.request.Request(
        f"{it.cloud.endpoint}/2018-10-31/layers/by-hand/versions",
        body,
        {
            "Content-Type": "application/json",
            "Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/lambda/aws4_request",
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, json.loads(refused.read())


@pytest.mark.parametrize("content", [SMALL, LARGE, b""], ids=["small", "large", "empty"])
def test_given_a_package_of_any_size_when_sending_it_then_the_request_is_botocores_own(
    it: Lab, client: Any, content: bytes
) -> None:
    wanted: dict[str, Any] = {
        "LayerName": "same",
        "Description": 'says "ZipFile": ""',
        "Content": {"ZipFile": content},
        "CompatibleRuntimes": [RUNTIME],
    }

    assert sent_by(client, **wanted) == sent_by(it.client, **wanted)
    assert wanted["Content"] == {"ZipFile": content}


def test_given_a_large_package_when_making_and_changing_a_function_then_it_is_taken_whole(
    it: Lab, client: Any
) -> None:
    made = client.create_function(
        FunctionName="large", Runtime=RUNTIME, Handler="app.handler", Role=it.role, Code={"ZipFile": LARGE}
    )
    changed = client.update_function_code(FunctionName="large", ZipFile=LARGE + b"")

    assert (made["CodeSha256"], made["CodeSize"]) == (sha256(LARGE), len(LARGE))
    assert changed["CodeSha256"] == sha256(LARGE)


@pytest.mark.parametrize(
    "written",
    [
        lambda encoded: b'{"Content":{"ZipFile":"%s"},"Description":"d"}' % encoded,
        lambda encoded: b'{"Description": "d", "Content": {"ZipFile" : "%s"}}' % encoded,
        lambda encoded: b'{"Content": {"ZipFile": "%s"}, "Description": "d"}' % encoded.replace(b"/", b"\\/"),
        lambda encoded: (
            b'{"LicenseInfo": "\\"ZipFile\\": \\"\\"", "Content": {"ZipFile": "%s"}, "Description": "d"}'
            % encoded
        ),
    ],
    ids=["compact", "spaced", "escaped", "named elsewhere"],
)
def test_given_a_large_package_in_any_json_when_reading_it_then_it_is_the_same(it: Lab, written: Any) -> None:
    status, answer = post(it, written(base64.b64encode(LARGE)))

    assert (status, answer["Content"]["CodeSha256"], answer["Description"]) == (201, sha256(LARGE), "d")


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (
            lambda encoded: b'{"Content": {"ZipFile": "%s' % encoded,
            "the body is not JSON: Unterminated string",
        ),
        (
            lambda encoded: b'{"Content": {"ZipFile": "*%s"}}' % encoded,
            "Could not unzip uploaded file: the ZipFile is not base64.",
        ),
        (lambda encoded: b'{"Content": {"ZipFile": "%s"}' % encoded, "the body is not JSON: Expecting"),
    ],
    ids=["cut short", "not base64", "open brace"],
)
def test_given_a_large_body_that_is_garbage_when_reading_it_then_it_is_refused(
    it: Lab, broken: Any, said: str
) -> None:
    status, answer = post(it, broken(base64.b64encode(LARGE)))

    assert status == 400
    assert said in answer["message"]
