"""`keepwarm local up`: a stack to work with, used by boto3 and the plain `aws` command from outside, ended by Ctrl-C.

Proves: what it prints is enough to use it; a document copied to the intake becomes a result; it stops clean. Does not
prove single services (tests/localcloud).
"""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from pypdf import PdfReader, PdfWriter

from tests.support.patience import PATIENCE_S, until
from tests.support.projects import ROOT, Project

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("stack")]

AWS = Path(sys.executable).with_name("aws")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path / "project")
    made.settings(service=None, functions=None)
    return made


@pytest.fixture
def up(project: Project) -> Iterator[subprocess.Popen[str]]:
    running = project.start("local", "up", "--json")
    yield running
    if running.poll() is None:
        running.kill()
    running.communicate()


def environment(endpoint: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "AWS_ACCESS_KEY_ID": "me",
        "AWS_SECRET_ACCESS_KEY": "me",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": endpoint,
    }


def aws(endpoint: str, *words: str) -> Any:
    """Run the plain `aws` command; its answer."""
    done = subprocess.run(
        [str(AWS), *words, "--output", "json"],
        env=environment(endpoint),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if done.stdout.startswith(("{", "[")) else done.stdout


def client(endpoint: str, service: str) -> Any:
    """A boto3 client as a user makes it."""
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="me",
        aws_secret_access_key="me",
    )


def encrypted(pdf: bytes) -> bytes:
    """The same PDF, opened only by a password."""
    writer = PdfWriter(clone_from=PdfReader(BytesIO(pdf)))
    writer.encrypt("secret", algorithm="RC4-128")
    out = BytesIO()
    writer.write(out)
    return out.getvalue()


def waited_for(client: Any, bucket: str, prefix: str) -> dict[str, Any]:
    """The first object below a prefix, as soon as it is there."""
    found = until(
        lambda: client.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents"),
        f"nothing came to {bucket}/{prefix}",
    )
    body: dict[str, Any] = json.loads(client.get_object(Bucket=bucket, Key=found[0]["Key"])["Body"].read())
    return body


def test_given_a_stack_kept_up_when_documents_arrive_then_results_come_and_ctrl_c_ends_it_clean(
    up: subprocess.Popen[str], project: Project
) -> None:
    assert up.stdout is not None
    told = json.loads(up.stdout.readline())
    endpoint, outputs = told["endpoint"], told["outputs"]
    assert told["resources"] > 50
    s3 = client(endpoint, "s3")

    notes = ROOT / "examples" / "documents" / "meeting-notes.txt"
    s3.put_object(Bucket=outputs["intake_bucket"], Key="inbox/notes.txt", Body=notes.read_bytes())
    result = waited_for(s3, outputs["results_bucket"], "results/")
    assert result["text"].split() == notes.read_text().split()
    with pytest.raises(ClientError, match="404"):
        s3.head_object(Bucket=outputs["results_bucket"], Key="results/nothing.json")

    mail = ROOT / "examples" / "documents" / "customer-mail.eml"
    aws(endpoint, "s3", "cp", str(mail), f"s3://{outputs['intake_bucket']}/customer-mail.eml")
    executions: dict[str, str] = {}
    while len(executions) < 2 or "RUNNING" in executions.values():
        listed = aws(
            endpoint, "stepfunctions", "list-executions", "--state-machine-arn", outputs["workflow_arn"]
        )
        executions = {e["name"]: e["status"] for e in listed["executions"]}
    assert set(executions.values()) == {"SUCCEEDED"}

    alias = aws(
        endpoint, "lambda", "get-alias", "--function-name", outputs["functions"]["classify"], "--name", "live"
    )
    assert outputs["classify_arn"] == alias["AliasArn"]
    pool = aws(
        endpoint, "lambda", "get-provisioned-concurrency-config", "--function-name",
        outputs["functions"]["classify"], "--qualifier", "live",
    )  # fmt: skip
    assert pool["Status"] == "READY"

    up.send_signal(signal.SIGINT)
    _, log = up.communicate(timeout=PATIENCE_S)
    assert up.returncode == 0, log[-2000:]
    assert "KW657" not in log
    assert " invocation " in log, "the live log tells what happened"
    assert project.left() == []


def test_given_bad_documents_when_they_arrive_then_each_stands_in_the_dead_letter_queue_with_its_reason(
    up: subprocess.Popen[str], project: Project
) -> None:
    assert up.stdout is not None
    told = json.loads(up.stdout.readline())
    outputs = told["outputs"]
    s3, sqs = (client(told["endpoint"], service) for service in ("s3", "sqs"))
    report = (ROOT / "examples" / "documents" / "capacity-report.pdf").read_bytes()
    bad = {
        "empty.txt": b"",
        "corrupt.pdf": report[:400],
        "encrypted.pdf": encrypted(report),
        "huge.txt": b"a line of a very long letter\n" * 1_900_000,
        "unreadable.png": (ROOT / "examples" / "documents" / "delivery-note.png").read_bytes(),
    }
    for name, body in bad.items():
        s3.put_object(Bucket=outputs["intake_bucket"], Key=name, Body=body)

    parked: dict[str, dict[str, str]] = {}
    while len(parked) < len(bad):
        got = sqs.receive_message(
            QueueUrl=outputs["dead_letter_url"],
            MaxNumberOfMessages=10,
            WaitTimeSeconds=2,
            MessageAttributeNames=["All"],
        )
        for message in got.get("Messages", []):
            [name] = [name for name in bad if f'"{name}"' in message["Body"]]
            assert name not in parked, "one document, one message"
            parked[name] = {k: v["StringValue"] for k, v in message["MessageAttributes"].items()}
            sqs.delete_message(QueueUrl=outputs["dead_letter_url"], ReceiptHandle=message["ReceiptHandle"])

    assert {name: attributes["code"] for name, attributes in parked.items()} == {
        "empty.txt": "KW312",
        "corrupt.pdf": "KW313",
        "encrypted.pdf": "KW311",
        "huge.txt": "KW314",
        "unreadable.png": "UnsupportedDocument",
    }
    assert "encrypted.pdf" in parked["encrypted.pdf"]["reason"]
    assert "55,100,000 bytes" in parked["huge.txt"]["reason"]
    assert "no service that reads images" in parked["unreadable.png"]["reason"]
    assert not s3.list_objects_v2(Bucket=outputs["results_bucket"], Prefix="results/").get("Contents")


def test_given_a_port_in_use_when_kept_up_then_one_coded_line_and_nothing_is_started(
    project: Project,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = project.keepwarm("local", "up", "--port", str(port))

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"KW660 port {port}: got a port that is in use; fix: choose another, or 0 for a free one\n"
    )
    assert project.left() == []
