"""A random canary in each secret input: it must show nowhere but in the cloud.

Proves: state, backups, history, event log, preview as text and JSON, the CLI's output, what the policies say, the
provider's log and its list of creations hold no canary, as text or base64 at any alignment, after success and after
refusals whose text AWS would fill with the value. Does not prove it for what a user's own program prints.
"""

import base64
import json
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pulumi
import pulumi_aws as aws
import pytest

from tests.support.engine import ROOT, Project

pytestmark = [pytest.mark.engine, pytest.mark.slow]

TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": ["lambda.amazonaws.com", "states.amazonaws.com"]},
                "Action": "sts:AssumeRole",
            }
        ],
    }
)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    made = Project(tmp_path_factory.mktemp("secrets"))
    yield made
    made.close()


def canary(label: str) -> str:
    return f"canary-{label}-{secrets.token_hex(8)}"


def spellings(text: str) -> set[bytes]:
    """The text itself and its base64 at each alignment, without the characters that depend on the neighbors."""
    found = {text.encode()}
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + text.encode())
        found.add(encoded[(shift and 4) : len(encoded) // 4 * 4 - 4])
    return found


def places_with(project: Project, text: str, *outputs: str) -> list[str]:
    """Files of the project, and outputs, that hold a spelling of the text."""
    wanted = spellings(text)
    found = [
        str(path.relative_to(project.folder))
        for path in sorted(project.folder.rglob("*"))
        if path.is_file() and any(w in path.read_bytes() for w in wanted)
    ]
    return found + [f"output {n}" for n, o in enumerate(outputs) if any(w in o.encode() for w in wanted)]


def program(values: dict[str, str]) -> Callable[[], None]:
    def secret(label: str) -> pulumi.Output[str]:
        return pulumi.Output.secret(values[label])

    def run() -> None:
        role = aws.iam.Role("role", assume_role_policy=TRUST, description="visible-value")
        code = pulumi.AssetArchive({"main.py": pulumi.StringAsset("def handler(e, c):\n    return 1\n")})
        function = aws.lambda_.Function(
            "fn",
            role=role.arn,
            handler="main.handler",
            runtime="python3.11",
            code=code,
            environment={"variables": {"TOKEN": secret("environment")}},
        )
        aws.ssm.Parameter("parameter", type="SecureString", value=secret("parameter"))
        holder = aws.secretsmanager.Secret("holder", recovery_window_in_days=0)
        aws.secretsmanager.SecretVersion("version", secret_id=holder.id, secret_string=secret("version"))
        state = {"Type": "Pass", "Result": values["definition"], "End": True}
        definition = pulumi.Output.secret(json.dumps({"StartAt": "A", "States": {"A": state}}))
        aws.sfn.StateMachine("machine", role_arn=role.arn, definition=definition)
        aws.sqs.Queue("jobs", tags={"note": secret("tag")})
        pulumi.export("token", function.environment)
        pulumi.export("value", secret("export"))

    return run


LABELS = ("environment", "parameter", "version", "definition", "tag", "export")


def test_given_canaries_when_taken_through_a_life_then_only_the_cloud_has_them(project: Project) -> None:
    values = {label: canary(label) for label in LABELS}
    shown = [
        project.must("preview", program=program(values)).text,
        project.must("preview", "--json", program=program(values)).text,
        project.must("up", program=program(values)).text,
        project.must("preview", "--diff", program=program({**values, "tag": canary("other")})).text,
        project.must("refresh", program=program(values)).text,
        project.must("stack", "output", "--stack", "local").text,
        project.must("stack", "export", "--stack", "local").text,
    ]
    name = project.resource("fn")["id"]
    variables = project.boto("lambda").get_function_configuration(FunctionName=name)["Environment"][
        "Variables"
    ]
    assert variables["TOKEN"] == values["environment"], "the cloud must have it"
    found = {label: places_with(project, text, *shown) for label, text in values.items()}
    assert found == {label: [] for label in LABELS}
    assert any("visible-value" in text for text in shown), "the search must be able to find something"
    shown.append(project.must("destroy", program=lambda: None).text)
    assert {label: places_with(project, text, *shown) for label, text in values.items()} == found
    assert project.inventory() == {}


def test_given_refusals_that_would_quote_the_value_then_they_do_not(project: Project) -> None:
    text = canary("refused")

    def refused() -> None:
        value = pulumi.Output.secret(text)
        aws.ssm.Parameter("one", type="String", value=value, allowed_pattern="^x$")
        aws.sfn.StateMachine("two", role_arn="arn:aws:iam::123456789012:role/none", definition=value)
        pulumi.CustomResource("aws:sqs/queue:Queue", "three", {"delaySeconds": value})
        aws.sqs.Queue("four", redrive_policy=value)

    result = project.run("up", "--continue-on-error", program=refused)
    assert result.status != 0
    assert "KW63" in result.text
    lines = [line for line in result.text.splitlines() if text in line]
    assert lines == []
    assert places_with(project, text, result.text) == []
    project.run("destroy", program=lambda: None)


def test_given_rules_that_judge_a_secret_when_they_speak_then_they_do_not_quote_it(project: Project) -> None:
    values = {label: canary(label) for label in ("permits", "effects", "token", "other")}

    def judged() -> None:
        role = aws.iam.Role("role", assume_role_policy=TRUST)
        code = pulumi.AssetArchive({"main.py": pulumi.StringAsset("def handler(e, c):\n    return 1\n")})

        def function(name: str, variables: dict[str, Any], **more: Any) -> aws.lambda_.Function:
            return aws.lambda_.Function(
                name, role=role.arn, handler="main.handler", runtime="python3.11", code=code,
                environment={"variables": variables}, **more,
            )  # fmt: skip

        secret = {label: pulumi.Output.secret(text) for label, text in values.items()}
        service = {"KEEPWARM_SERVICE_NAME": "reader", "KEEPWARM_ADMISSION_TABLE": "permits"}
        function(
            "calls", {**service, "KEEPWARM_ADMISSION_PERMITS": secret["permits"], "OTHER": secret["other"]}
        )
        writes = function(
            "writes", {"TOKEN": secret["token"]}, tags={"keepwarm:side-effects": secret["effects"]}
        )
        jobs = aws.sqs.Queue("jobs")
        aws.lambda_.EventSourceMapping("feeds", function_name=writes.name, event_source_arn=jobs.arn)

    pack = ("--policy-pack", str(ROOT / "policies"))
    shown = [project.run(*args, *pack, program=judged) for args in (("preview",), ("preview", "--diff"))]
    for result in shown:
        assert result.status != 0
        heard = " ".join(result.text.split())
        assert (
            "KW203 The function 'calls' must say how many permits the GPU service takes, got a value that is no whole"
            " number of at least 1."
        ) in heard
        assert "KW205 The function 'writes' is retried" in heard
    texts = [result.text for result in shown]
    assert {label: places_with(project, text, *texts) for label, text in values.items()} == {
        label: [] for label in values
    }


def test_given_the_search_then_it_finds_what_it_should(project: Project, tmp_path: object) -> None:
    text = canary("planted")
    planted = project.folder / "planted"
    for shift in range(3):
        planted.write_bytes(b"xx" + base64.b64encode(b"abc"[:shift] + text.encode() + b"tail"))
        assert places_with(project, text) == ["planted"], shift
    planted.unlink()
