"""Nothing stays: neither after an orderly end nor after the cloud was killed; and the plain AWS CLI works on it all.

Slow: starts clouds and CLIs as processes of their own.
"""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.lambdas import RUNTIME, Lab, archive, ended, eventually, lab

GRANDCHILD = """
import os, subprocess
child = subprocess.Popen(["sleep", "600"])
def handler(event, context):
    return [os.getpid(), child.pid]
"""


def test_given_environments_with_children_when_the_cloud_closes_then_all_are_gone() -> None:
    with lab(account="100000000010") as it:
        name = it.published(GRANDCHILD)
        it.provision(name, 2)
        pids = it.call(name) + it.call(name, Qualifier="live")
        directory = it.cloud.directory
        assert not any(ended(pid) for pid in pids)

    assert all(ended(pid) for pid in pids)
    assert not Path(directory).exists()


def test_given_an_invocation_that_runs_when_the_cloud_closes_then_it_is_ended_at_once(
    tmp_path: Path,
) -> None:
    done = tmp_path / "done"
    with lab(account="100000000011") as it:
        name = it.function(
            f"import time\ndef handler(e, c):\n    time.sleep(60)\n    open({str(done)!r}, 'w').close()\n",
            Timeout=90,
        )
        it.client.invoke(FunctionName=name, InvocationType="Event")
        eventually(lambda: it.entries("environment", function=name, state="busy"))

    assert not done.exists(), "the cloud did not wait for it"


@pytest.mark.slow
def test_given_kill_9_of_the_cloud_when_waiting_then_environments_and_their_children_are_gone() -> None:
    cloud = subprocess.Popen(
        [sys.executable, "-m", "keepwarm_localcloud"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert cloud.stdout is not None
    endpoint = json.loads(cloud.stdout.readline())["endpoint"]
    pids = invoke_at(endpoint)

    cloud.kill()
    cloud.wait()

    eventually(lambda: all(ended(pid) for pid in pids))
    assert cloud.stdin is not None
    cloud.stdin.close()
    cloud.stdout.close()


def invoke_at(endpoint: str) -> list[int]:
    import botocore.session

    from tests.support.lambdas import TRUST

    def client(service: str) -> Any:
        return botocore.session.get_session().create_client(
            service,
            region_name="us-east-1",
            endpoint_url=endpoint,
            aws_access_key_id="a",
            aws_secret_access_key="b",
        )

    with contextlib.closing(client("iam")) as iam, contextlib.closing(client("lambda")) as functions:
        role = iam.create_role(RoleName="r", AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]["Arn"]
        code = {"ZipFile": archive({"app.py": GRANDCHILD})}
        functions.create_function(
            FunctionName="f", Runtime=RUNTIME, Handler="app.handler", Role=role, Code=code
        )
        answer = functions.invoke(FunctionName="f", Payload="{}")
        pids: list[int] = json.loads(answer["Payload"].read())
    return pids


def aws(it: Lab, *arguments: str) -> Any:
    """Run the plain AWS CLI against the cloud."""
    environment = {
        "PATH": os.environ["PATH"],
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": it.cloud.region,
        "AWS_ENDPOINT_URL": it.cloud.endpoint,
    }
    program = Path(sys.executable).with_name("aws")
    done = subprocess.run(
        [str(program), "lambda", *arguments, "--output", "json"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if done.stdout.strip() else None


@pytest.mark.slow
def test_given_the_aws_cli_when_invoking_and_provisioning_an_alias_then_it_works_unchanged(
    tmp_path: Path,
) -> None:
    with lab(account="100000000012") as it:
        name = it.published("def handler(event, context):\n    return {'got': event}\n")
        out = tmp_path / "out.json"

        answer = aws(
            it, "invoke", "--function-name", name, "--qualifier", "live", 
            "--payload", '{"a": 1}', "--log-type", "Tail", str(out),
        )  # fmt: skip
        assert (answer["StatusCode"], answer["ExecutedVersion"]) == (200, "1")
        assert "LogResult" in answer
        assert json.loads(out.read_text()) == {"got": {"a": 1}}

        where = ("--function-name", name, "--qualifier", "live")
        put = aws(
            it, "put-provisioned-concurrency-config", *where, "--provisioned-concurrent-executions", "1"
        )
        assert put["RequestedProvisionedConcurrentExecutions"] == 1
        it.provisioned(name)
        assert aws(it, "get-provisioned-concurrency-config", *where)["Status"] == "READY"
        listed = aws(it, "list-provisioned-concurrency-configs", "--function-name", name)
        assert len(listed["ProvisionedConcurrencyConfigs"]) == 1
        assert aws(it, "delete-provisioned-concurrency-config", *where) is None
        assert aws(it, "list-provisioned-concurrency-configs", "--function-name", name) == {
            "ProvisionedConcurrencyConfigs": []
        }
