"""The programs that the pages show really work: deployed on the embedded cloud, they take a message and answer once.

The engine is the in-process one; tests/engine deploys the same folder with the real one.
"""

import json
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from keepwarm_localcloud.cloud import Cloud, CloudSettings
from keepwarm_localcloud.engine.driver import Deployment
from tests.support.patience import until

ROOT = Path(__file__).parents[2]
CONSUMER = ROOT / "examples" / "consumer"
PROGRAM, HANDLER = re.findall(
    r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL
)


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with Cloud(CloudSettings()) as cloud:
        yield cloud


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def objects(cloud: Cloud, bucket: str) -> dict[str, bytes]:
    s3 = cloud.boto("s3")
    keys = [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]
    return {key: s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}


def call(cloud: Cloud, arn: str, event: dict[str, Any]) -> Any:
    answer = cloud.boto("lambda").invoke(FunctionName=arn, Payload=json.dumps(event).encode())
    assert "FunctionError" not in answer, answer["Payload"].read()
    return json.loads(answer["Payload"].read())


def test_consumer_takes_a_message_and_publishes_its_answer_once(cloud: Cloud) -> None:
    deployment = Deployment(cloud.endpoint, project="consumer", stack="local")
    try:
        out = deployment.up(lambda: runpy.run_path(str(CONSUMER / "__main__.py"))).outputs
        cloud.boto("sqs").send_message(QueueUrl=out["jobs_url"], MessageBody="keep it warm")
        published = until(lambda: objects(cloud, out["results"]))
        [body] = published.values()
        assert json.loads(body) == {"text": "keep it warm", "lengths": [4, 2, 4]}

        # The same message again, as SQS may deliver it: it is done, and nothing is written.
        message = {"messageId": "m-1", "body": "one more", "attributes": {}}
        assert call(cloud, out["measure_arn"], {"Records": [message]}) == {"batchItemFailures": []}
        twice = objects(cloud, out["results"])
        assert len(twice) == 2
        [new] = twice.keys() - published.keys()
        cloud.boto("s3").delete_object(Bucket=out["results"], Key=new)
        assert call(cloud, out["measure_arn"], {"Records": [message]}) == {"batchItemFailures": []}
        assert objects(cloud, out["results"]) == published

        assert deployment.up(lambda: runpy.run_path(str(CONSUMER / "__main__.py"))).changed() == {}
        deployment.destroy()
        assert deployment.state.resources == {}
    finally:
        deployment.close()


def test_readme_program_answers_a_document_once(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "classify").mkdir()
    (tmp_path / "classify" / "handler.py").write_text(HANDLER)
    monkeypatch.chdir(tmp_path)
    deployment = Deployment(cloud.endpoint, project="readme", stack="local")
    try:
        out = deployment.up(lambda: exec(compile(PROGRAM, "README.md", "exec"), {})).outputs
        s3 = cloud.boto("s3")
        [results] = [b["Name"] for b in s3.list_buckets()["Buckets"] if b["Name"].startswith("results-")]
        s3.put_object(Bucket=out["intake"], Key="letter.txt", Body=b"dear sir")
        assert list(until(lambda: objects(cloud, results)).values()) == [b"DEAR SIR"]
        deployment.destroy()
    finally:
        deployment.close()
