"""Large packages in Lambda requests: sent and read without copies, with the same result as botocore's own way."""

import base64
import hashlib
import io
import json
import os
import threading
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from keepwarm_localcloud.package_by_digest import DIGEST_HEADER
from keepwarm_localcloud.pulumi_types.assets import Blob, archive_blob, entries_blob, file_blob
from keepwarm_localcloud.pulumi_types.aws import Aws, Deadline
from keepwarm_localcloud.pulumi_types.base import Call
from keepwarm_localcloud.pulumi_types.lambda_ import Function, LayerVersion
from keepwarm_localcloud.pulumi_types.package_upload import OPERATIONS, SMALL_BYTES
from tests.support.lambdas import ECHO, RUNTIME, Lab, archive, lab
from tests.support.patience import PATIENCE_S

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


def post(it: Lab, body: bytes, **headers: str) -> tuple[int, Any]:
    """Publish a layer with a body written by hand."""
    request = urllib.request.Request(
        f"{it.cloud.endpoint}/2018-10-31/layers/by-hand/versions",
        body,
        {
            "Content-Type": "application/json",
            "Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/lambda/aws4_request",
            **headers,
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
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


# -- named by the digest


class Sent:
    """Requests of one client to Lambda that carry a package, as they left."""

    def __init__(self, client: Any) -> None:
        self.sizes: list[int] = []
        self.digests: list[str | None] = []
        for operation in OPERATIONS:
            client.meta.events.register(f"before-sign.lambda.{operation}", self._keep)

    def _keep(self, request: Any, **_: Any) -> None:
        self.sizes.append(len(request.body))
        self.digests.append(request.headers.get(DIGEST_HEADER))


@pytest.fixture
def aws(it: Lab) -> Iterator[Aws]:
    made = Aws(it.cloud.endpoint)
    yield made
    made.close()


@pytest.fixture
def sent(aws: Aws) -> Sent:
    return Sent(aws.client("lambda"))


def blob(content: bytes) -> Blob:
    return Blob(hashlib.sha256(content).hexdigest(), True, lambda: content)


def call(aws: Aws, token: str, content: bytes, **inputs: Any) -> Call:
    return Call(aws, token, {"code": blob(content), **inputs}, Deadline(60, threading.Event()))


def function(it: Lab, aws: Aws, name: str, content: bytes) -> Call:
    given = {"name": name, "runtime": RUNTIME, "handler": "app.handler", "role": it.role}
    return call(aws, Function.token, content, **given)


def layer(aws: Aws, name: str, content: bytes, **inputs: Any) -> dict[str, Any]:
    token = LayerVersion.token
    return LayerVersion().create(call(aws, token, content, layerName=name, **inputs))[1]


def test_given_a_large_package_when_a_second_layer_has_it_then_only_its_digest_is_sent(
    it: Lab, aws: Aws, sent: Sent
) -> None:
    first = layer(aws, "one", LARGE)
    second = layer(aws, "two", LARGE)

    assert first["codeSha256"] == second["codeSha256"] == sha256(LARGE)
    assert sent.digests == [None, sha256(LARGE)]
    assert sent.sizes[0] > len(LARGE) * 4 / 3
    assert sent.sizes[1] < 200
    found = it.client.get_layer_version(LayerName="two", VersionNumber=1)["Content"]
    assert (found["CodeSize"], found["CodeSha256"]) == (len(LARGE), sha256(LARGE))
    with urllib.request.urlopen(found["Location"]) as kept:
        assert kept.read() == LARGE


def test_given_a_large_package_when_a_function_has_it_later_then_it_runs_from_it(
    it: Lab, aws: Aws, sent: Sent
) -> None:
    layer(aws, "before", LARGE)

    Function().create(function(it, aws, "late", LARGE))
    answer = it.client.invoke(FunctionName="late", Payload=b'{"a": 1}')

    assert sent.digests == [None, sha256(LARGE)]
    assert json.loads(answer["Payload"].read()) == {"a": 1}


def test_given_a_function_when_its_code_becomes_a_package_sent_before_then_only_the_digest_is_sent(
    it: Lab, aws: Aws, sent: Sent
) -> None:
    layer(aws, "other", LARGE)
    Function().create(function(it, aws, "changed", SMALL))

    changing = replace(function(it, aws, "changed", LARGE), id="changed", changed=frozenset({"code"}))
    outputs = Function().update(changing)

    assert outputs["codeSha256"] == sha256(LARGE)
    assert sent.digests == [None, None, sha256(LARGE)]


def test_given_a_cloud_that_has_no_such_package_when_it_is_named_then_it_is_sent_whole(
    aws: Aws, sent: Sent
) -> None:
    other = archive({"weights.bin": os.urandom(SMALL_BYTES)})
    aws.packages[blob(other).digest] = sha256(b"of another cloud")

    made = layer(aws, "moved", other)

    assert made["codeSha256"] == sha256(other)
    assert sent.digests == [sha256(b"of another cloud"), None]
    assert aws.packages[blob(other).digest] == sha256(other)


def test_given_a_named_package_when_the_request_is_refused_for_something_else_then_it_is_not_sent_again(
    aws: Aws, sent: Sent
) -> None:
    layer(aws, "fine", LARGE)

    with pytest.raises(ClientError, match=r"licenseInfo.*length less than or equal to 512"):
        layer(aws, "fine", LARGE, licenseInfo="x" * 513)

    assert sent.digests == [None, sha256(LARGE)]


def test_given_a_small_package_when_it_comes_again_then_it_is_sent_again(aws: Aws, sent: Sent) -> None:
    layer(aws, "small", SMALL)
    layer(aws, "small", SMALL)

    assert sent.digests == [None, None]
    assert aws.packages == {}


@pytest.mark.parametrize("digest", [sha256(b"nobody sent this"), "*", ""])
def test_given_a_digest_nobody_sent_when_it_stands_for_a_package_then_the_cloud_says_so(
    it: Lab, digest: str
) -> None:
    status, answer = post(it, b'{"Content": {"ZipFile": ""}}', **{DIGEST_HEADER: digest})

    assert status == 404
    assert answer["message"] == f"This cloud holds no package with the SHA-256 {digest}; send it."


def members(it: Lab, name: str) -> dict[str, int]:
    """Name and mode of what lies in the newest version of a layer."""
    newest = it.client.list_layer_versions(LayerName=name)["LayerVersions"][0]["Version"]
    place = it.client.get_layer_version(LayerName=name, VersionNumber=newest)["Content"]["Location"]
    with urllib.request.urlopen(place) as kept, zipfile.ZipFile(io.BytesIO(kept.read())) as opened:
        return {info.filename: info.external_attr >> 16 & 0o777 for info in opened.infolist()}


def of(blob: Blob, aws: Aws, name: str) -> None:
    given = {"code": blob, "layerName": name}
    LayerVersion().create(Call(aws, LayerVersion.token, given, Deadline(60, threading.Event())))


def test_given_archives_that_differ_in_the_kind_of_a_part_when_both_are_sent_then_each_is_itself(
    it: Lab, aws: Aws, tmp_path: Path
) -> None:
    file = tmp_path / "large.zip"
    file.write_bytes(LARGE)

    of(entries_blob({"lib": archive_blob(file)}), aws, "unpacked")
    of(entries_blob({"lib": file_blob(file)}), aws, "packed")

    assert set(members(it, "unpacked")) == {"lib/app.py", "lib/weights.bin"}
    assert set(members(it, "packed")) == {"lib"}


def test_given_a_file_that_becomes_executable_then_the_new_package_is_sent(
    it: Lab, aws: Aws, tmp_path: Path
) -> None:
    (tmp_path / "weights.bin").write_bytes(os.urandom(SMALL_BYTES + 1))
    (tmp_path / "bootstrap").write_text("#!/bin/sh")
    (tmp_path / "bootstrap").chmod(0o644)

    for mode in (0o644, 0o755):
        (tmp_path / "bootstrap").chmod(mode)
        # As the engine's own hash of a folder, which comes with the request.
        of(replace(archive_blob(tmp_path), digest="e" * 64), aws, "modes")
        assert members(it, "modes")["bootstrap"] == mode


def test_given_a_file_rebuilt_after_its_digest_was_taken_when_it_is_restored_then_it_is_sent_again(
    it: Lab, aws: Aws, tmp_path: Path
) -> None:
    file = tmp_path / "built.zip"
    first, second = (archive({tag: os.urandom(SMALL_BYTES)}) for tag in ("first", "second"))
    file.write_bytes(first)
    registered = archive_blob(file)
    file.write_bytes(second)
    of(registered, aws, "raced")
    assert set(members(it, "raced")) == {"second"}

    file.write_bytes(first)
    of(archive_blob(file), aws, "raced")

    assert set(members(it, "raced")) == {"first"}
