"""The real Pulumi CLI against the embedded cloud, with a small stack: everything an engine does to a resource.

Proves: preview, create, no-op, update, replace, refresh after drift, import, targets, aliases, protection, retention,
destroy, on the same table as the in-process driver. Does not prove what real AWS would do with these requests.
"""

import json
from collections.abc import Iterator

import pulumi
import pulumi_aws as aws
import pytest

from keepwarm_localcloud.pulumi_types import table
from tests.support.engine import Project

pytestmark = [
    pytest.mark.engine,
    pytest.mark.slow,
]

TRUST = json.dumps(
    {
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
        ]
    }
)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    made = Project(tmp_path_factory.mktemp("engine"))
    yield made
    made.close()


@pytest.fixture(autouse=True)
def nothing_stays(project: Project) -> Iterator[None]:
    yield
    if project.checkpoint().get("resources"):
        project.must("state", "unprotect", "--all", "--yes", "--stack", "local")
        project.must("destroy", program=lambda: None)
    assert project.inventory() == {}


def stack(timeout: int = 30, *, memory: int = 128, fifo: bool = False) -> None:
    made = aws.sqs.Queue("jobs", visibility_timeout_seconds=timeout, fifo_queue=fifo)
    role = aws.iam.Role("role", assume_role_policy=TRUST)
    code = pulumi.AssetArchive({"main.py": pulumi.StringAsset("def handler(e, c):\n    return e\n")})
    function = aws.lambda_.Function(
        "fn",
        role=role.arn,
        handler="main.handler",
        runtime="python3.11",
        memory_size=memory,
        code=code,
        publish=True,
    )
    alias = aws.lambda_.Alias(
        "live", name="live", function_name=function.name, function_version=function.version
    )
    pulumi.export("url", made.url)
    pulumi.export("alias", alias.arn)


def test_given_a_stack_when_previewed_made_changed_and_destroyed_then_each_step_does_just_that(
    project: Project,
) -> None:
    preview = project.must("preview", program=stack)
    assert set(preview.changed().values()) == {"create"}
    assert len(preview.changed()) == 4
    assert project.inventory() == {}, "a preview touches nothing"
    assert project.up(stack).changed() == preview.changed()
    assert project.must("preview", "--expect-no-changes", program=stack).changed() == {}
    assert project.up(stack).changed() == {}
    assert project.up(lambda: stack(45)).changed() == {"Queue jobs": "update"}
    assert project.up(lambda: stack(45, memory=256)).changed() == {
        "Function fn": "update",
        "Alias live": "update",
    }
    assert project.up(lambda: stack(45, memory=256, fifo=True)).changed() == {"Queue jobs": "replace"}
    assert set(project.must("destroy", program=lambda: None).changed().values()) == {"delete"}


def test_given_drift_by_hand_when_refreshed_then_seen_and_put_right(project: Project) -> None:
    project.up(stack)
    sqs, functions = project.boto("sqs"), project.boto("lambda")
    url = project.resource("jobs")["id"]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "99"})
    functions.update_function_configuration(FunctionName=project.resource("fn")["id"], MemorySize=1024)
    assert project.must("preview", program=stack).changed() == {}
    assert project.must("preview", "--refresh", program=stack).changed() == {
        "Queue jobs": "update",
        "Function fn": "update",
        "Alias live": "update",
    }
    project.must("refresh", program=stack)
    assert project.resource("jobs")["outputs"]["visibilityTimeoutSeconds"] == 99
    assert project.up(stack).changed()["Queue jobs"] == "update"
    assert (
        sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]["VisibilityTimeout"]
        == "30"
    )
    project.boto("sqs").delete_queue(QueueUrl=url)
    project.must("refresh", program=stack)
    assert project.up(stack).changed() == {"Queue jobs": "create"}


def test_given_a_function_made_by_hand_when_imported_then_the_program_takes_it_over(project: Project) -> None:
    project.must("up", program=lambda: None)
    iam, functions = project.boto("iam"), project.boto("lambda")
    role = iam.create_role(RoleName="hand", AssumeRolePolicyDocument=TRUST)["Role"]["Arn"]
    from keepwarm_localcloud.pulumi_types.assets import zip_bytes

    archive = zip_bytes({"main.py": (b"def handler(e, c):\n    return e\n", False)})
    functions.create_function(FunctionName="by-hand", Role=role, Handler="main.handler", Runtime="python3.11",
                              Code={"ZipFile": archive}, MemorySize=192)  # fmt: skip

    def program() -> None:
        aws.lambda_.Function(
            "adopted",
            name="by-hand",
            role=role,
            handler="main.handler",
            runtime="python3.11",
            memory_size=192,
            code=pulumi.AssetArchive({"main.py": pulumi.StringAsset("def handler(e, c):\n    return e\n")}),
        )

    project.must("import", "aws:lambda/function:Function", "adopted", "by-hand", "--protect=false")
    kept = project.resource("adopted")
    assert (kept["id"], kept["inputs"]["memorySize"]) == ("by-hand", 192)
    assert project.up(program).changed() == {"Function adopted": "update"}, "AWS does not give the code back"
    assert project.up(program).changed() == {}
    project.must("destroy", program=lambda: None)
    iam.delete_role(RoleName="hand")


def test_given_something_made_that_does_not_start_when_up_then_it_is_recorded_and_the_next_up_mends_it(
    project: Project,
) -> None:
    def program(body: str) -> None:
        role = aws.iam.Role("role", assume_role_policy=TRUST)
        function = aws.lambda_.Function(
            "fn",
            role=role.arn,
            handler="main.handler",
            runtime="python3.11",
            code=pulumi.AssetArchive({"main.py": pulumi.StringAsset(body)}),
            publish=True,
        )
        aws.lambda_.ProvisionedConcurrencyConfig(
            "pool",
            function_name=function.name,
            qualifier=function.version,
            provisioned_concurrent_executions=1,
        )

    failed = project.run("up", program=lambda: program("raise RuntimeError('no model here')\n"))
    assert failed.status != 0
    kept = project.resource("pool")
    (reason,) = kept["initErrors"]
    assert reason.startswith(
        f"KW635 {kept['urn']}: provisioned concurrency of {kept['id'].replace(',', ':')}: "
    )
    assert "no model here" in reason
    mended = project.up(lambda: program("def handler(e, c):\n    return e\n"))
    assert mended.changed() == {"Function fn": "update", "ProvisionedConcurrencyConfig pool": "replace"}
    assert "initErrors" not in project.resource("pool")
    assert project.must(
        "preview", "--expect-no-changes", program=lambda: program("def handler(e, c):\n    return e\n")
    )


def test_given_a_target_when_up_then_only_that_one(project: Project) -> None:
    project.up(stack)
    urn = project.resource("jobs")["urn"]
    assert project.up(lambda: stack(77, memory=256), "--target", urn).changed() == {"Queue jobs": "update"}


def test_given_a_rename_with_an_alias_when_up_then_nothing_is_replaced(project: Project) -> None:
    project.up(lambda: aws.sqs.Queue("old"))
    kept = project.resource("old")["id"]
    renamed = project.up(
        lambda: aws.sqs.Queue("new", opts=pulumi.ResourceOptions(aliases=[pulumi.Alias(name="old")]))
    )
    assert renamed.changed() == {}
    assert project.resource("new")["id"] == kept


def test_given_protection_and_retention_when_destroyed_then_as_declared(project: Project) -> None:
    def program() -> None:
        aws.sqs.Queue("kept", opts=pulumi.ResourceOptions(protect=True))
        aws.sqs.Queue("left", opts=pulumi.ResourceOptions(retain_on_delete=True))

    project.up(program)
    left = project.resource("left")["id"]
    refused = project.run("destroy", program=lambda: None)
    assert refused.status != 0
    assert "protected" in refused.text
    project.must("state", "unprotect", "--all", "--yes", "--stack", "local")
    project.must("destroy", program=lambda: None)
    assert project.boto("sqs").list_queues()["QueueUrls"] == [left]
    project.boto("sqs").delete_queue(QueueUrl=left)


def test_given_bad_inputs_when_up_then_resource_and_property_are_named(project: Project) -> None:
    project.up(lambda: None)
    result = project.run(
        "up", program=lambda: pulumi.CustomResource("aws:sqs/queue:Queue", "typo", {"delaySecond": 1})
    )
    assert result.status != 0
    assert "KW631 got an unknown property; did you mean 'delaySeconds'?" in result.text
    assert "typo" in result.text


@pytest.mark.parametrize(
    ("token", "said"),
    [
        (
            "aws:mq/broker:Broker",
            "KW630 aws:mq/broker:Broker: got a resource type that pulumi-aws and real AWS have and the embedded cloud "
            f"does not; allowed the {len(table.TOKENS)} types of docs/engine.md; fix: leave it out of the local stack",
        ),
        (
            "aws:sqs/queue:Queu",
            "KW630 aws:sqs/queue:Queu: got a resource type that pulumi-aws does not have; did you mean"
            " 'aws:sqs/queue:Queue'?",
        ),
    ],
)
def test_given_an_unknown_type_in_a_program_when_previewed_then_said_whether_aws_has_it(
    project: Project, token: str, said: str
) -> None:
    result = project.run("preview", program=lambda: pulumi.CustomResource(token, "b", {}))
    assert result.status != 0
    assert said in result.text
    assert "Traceback" not in result.text
