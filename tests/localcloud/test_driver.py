"""The in-process driver with real Pulumi programs on a real embedded cloud.

Proves: what is created, updated, replaced, deleted and left alone; aliases, parents, protection, ignored changes,
transforms, imports and secrets as the engine treats them; failures that name the resource and lose nothing else;
a state that survives an interrupted run. Does not prove that the real engine decides the same: tests/engine does.
"""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pulumi
import pulumi_aws as aws
import pytest

from keepwarm_localcloud.cloud import Cloud, CloudSettings
from keepwarm_localcloud.engine.driver import Deployment, DeploymentError, Event
from keepwarm_localcloud.pulumi_types.errors import ResourceError

pytestmark = pytest.mark.filterwarnings("ignore:SOCKS support in urllib3")

QUEUE = "aws:sqs/queue:Queue"


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with Cloud(CloudSettings()) as cloud:
        yield cloud


@pytest.fixture
def make(cloud: Cloud) -> Iterator[Callable[..., Deployment]]:
    made: list[Deployment] = []

    def factory(**options: Any) -> Deployment:
        deployment = Deployment(cloud.endpoint, project="proj", stack="test", **options)
        made.append(deployment)
        return deployment

    yield factory
    for deployment in made:
        for resource in deployment.state.resources.values():
            resource.protect = False
        deployment.destroy()
        deployment.close()
    assert cloud.inventory() == {}, "a test left something in the cloud"


def urn(kind: str, name: str) -> str:
    return f"urn:pulumi:test::proj::{kind}::{name}"


def queue(logical: str = "jobs", opts: pulumi.ResourceOptions | None = None, **args: Any) -> aws.sqs.Queue:
    return aws.sqs.Queue(logical, opts=opts, **args)


class Group(pulumi.ComponentResource):
    def __init__(self, name: str, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("test:index:Group", name, {}, opts)
        self.queue = queue(f"{name}-jobs", pulumi.ResourceOptions(parent=self))
        self.register_outputs({"url": self.queue.url})


def test_given_a_program_when_up_twice_then_created_once_and_everything_the_same(make: Any) -> None:
    def program() -> None:
        made = Group("burst")
        pulumi.export("url", made.queue.url)
        pulumi.export("account", aws.get_caller_identity().account_id)

    deployment = make()
    first = deployment.up(program)
    component, child = urn("test:index:Group", "burst"), urn(f"test:index:Group${QUEUE}", "burst-jobs")
    assert first.changes == {component: "create", child: "create"}
    assert first.outputs["account"] == "123456789012"
    assert first.outputs["url"] == deployment.state.resources[child].id
    second = deployment.up(program)
    assert second.changed() == {}
    assert second.outputs == first.outputs
    assert deployment.refresh().changed() == {}


def test_given_a_change_when_up_then_only_that_resource_is_updated_in_place(make: Any, cloud: Cloud) -> None:
    deployment = make()
    deployment.up(lambda: [queue("a"), queue("b")])
    before = deployment.state.resources[urn(QUEUE, "a")].id
    result = deployment.up(lambda: [queue("a", visibility_timeout_seconds=77), queue("b")])
    assert result.changed() == {urn(QUEUE, "a"): "update"}
    assert deployment.state.resources[urn(QUEUE, "a")].id == before
    attributes = cloud.boto("sqs").get_queue_attributes(QueueUrl=before, AttributeNames=["VisibilityTimeout"])
    assert attributes["Attributes"]["VisibilityTimeout"] == "77"


def test_given_a_forced_replacement_when_up_then_the_new_one_is_made_first_and_dependents_follow(
    make: Any,
) -> None:
    events: list[Event] = []
    deployment = make(on_event=events.append)

    def program(fifo: bool) -> None:
        made = queue("jobs", fifo_queue=fifo)
        policy = made.arn.apply(
            lambda arn: json.dumps(
                {
                    "Statement": [
                        {"Effect": "Deny", "Principal": "*", "Action": "sqs:DeleteQueue", "Resource": arn}
                    ]
                }
            )
        )
        aws.sqs.QueuePolicy("policy", queue_url=made.url, policy=policy)

    deployment.up(lambda: program(False))
    events.clear()
    preview = deployment.preview(lambda: program(True))
    result = deployment.up(lambda: program(True))
    assert result.changed() == {
        urn(QUEUE, "jobs"): "replace",
        urn("aws:sqs/queuePolicy:QueuePolicy", "policy"): "replace",
    }
    assert preview.changed() == result.changed()
    done = [(e.op, e.name) for e in events if e.status == "done" and e.op in ("replace", "delete")]
    assert done[:2] == [("replace", "jobs"), ("replace", "policy")]
    assert sorted(done[2:]) == [("delete", "jobs"), ("delete", "policy")]


def test_given_a_name_of_its_own_when_replaced_then_the_old_one_goes_first(make: Any) -> None:
    events: list[Event] = []
    deployment = make(on_event=events.append)
    role = lambda path: aws.iam.Role("r", name="fixed", path=path, assume_role_policy=TRUST)  # noqa: E731
    deployment.up(lambda: role("/a/"))
    events.clear()
    assert deployment.up(lambda: role("/b/")).changed() == {urn("aws:iam/role:Role", "r"): "replace"}
    assert deployment.state.resources[urn("aws:iam/role:Role", "r")].outputs["arn"].endswith("role/b/fixed")


TRUST = json.dumps(
    {
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
        ]
    }
)


def test_given_a_removed_resource_when_up_then_it_is_deleted(make: Any, cloud: Cloud) -> None:
    deployment = make()
    deployment.up(lambda: [queue("a"), queue("b")])
    gone = deployment.state.resources[urn(QUEUE, "b")].id
    assert deployment.preview(lambda: queue("a")).changed() == {urn(QUEUE, "b"): "delete"}
    assert deployment.up(lambda: queue("a")).changed() == {urn(QUEUE, "b"): "delete"}
    assert gone not in cloud.boto("sqs").list_queues().get("QueueUrls", [])


def test_given_a_preview_when_nothing_exists_then_nothing_is_touched_and_outputs_are_unknown(
    make: Any, cloud: Cloud
) -> None:
    seen: list[str] = []

    def program() -> None:
        made = queue()
        made.url.apply(seen.append)
        aws.sqs.QueuePolicy("p", queue_url=made.url, policy="{}")

    result = make().preview(program)
    assert set(result.changed().values()) == {"create"}
    assert len(result.changes) == 2
    assert seen == []
    assert cloud.boto("sqs").list_queues().get("QueueUrls", []) == []


def test_given_a_rename_with_an_alias_when_up_then_nothing_is_replaced(make: Any) -> None:
    deployment = make()
    deployment.up(lambda: [queue("old"), Group("first")])
    old_child = urn(f"test:index:Group${QUEUE}", "first-jobs")
    kept = {deployment.state.resources[u].id for u in (urn(QUEUE, "old"), old_child)}

    def renamed() -> None:
        queue("new", pulumi.ResourceOptions(aliases=[pulumi.Alias(name="old")]))
        Group("second", pulumi.ResourceOptions(aliases=[pulumi.Alias(name="first")]))

    assert deployment.preview(renamed).changed() == {}
    assert deployment.up(renamed).changed() == {}
    new_child = urn(f"test:index:Group${QUEUE}", "second-jobs")
    assert {deployment.state.resources[u].id for u in (urn(QUEUE, "new"), new_child)} == kept
    assert old_child not in deployment.state.resources


def test_given_a_parent_wrapped_round_it_when_aliased_without_a_parent_then_it_is_kept(make: Any) -> None:
    deployment = make()
    deployment.up(lambda: queue("jobs"))

    def program() -> None:
        group = pulumi.ComponentResource("test:index:Wrap", "wrap")
        alias = pulumi.Alias(parent=pulumi.ROOT_STACK_RESOURCE)
        queue("jobs", pulumi.ResourceOptions(parent=group, aliases=[alias]))

    assert deployment.up(program).changed() == {urn("test:index:Wrap", "wrap"): "create"}


def test_given_a_protected_resource_when_it_would_go_then_refused_and_kept(make: Any, cloud: Cloud) -> None:
    deployment = make()
    deployment.up(lambda: queue("jobs", pulumi.ResourceOptions(protect=True)))
    with pytest.raises(DeploymentError, match=r"KW641 .*jobs: got a deletion; .* protected"):
        deployment.up(lambda: None)
    with pytest.raises(DeploymentError, match=r"KW641 .*jobs: got a replacement because of fifoQueue"):
        deployment.up(lambda: queue("jobs", pulumi.ResourceOptions(protect=True), fifo_queue=True))
    with pytest.raises(DeploymentError, match=r"KW641"):
        deployment.destroy()
    assert len(cloud.boto("sqs").list_queues()["QueueUrls"]) == 1


def test_given_retain_on_delete_when_destroyed_then_the_cloud_keeps_it(make: Any, cloud: Cloud) -> None:
    deployment = make()
    deployment.up(lambda: queue("jobs", pulumi.ResourceOptions(retain_on_delete=True)))
    url = deployment.state.resources[urn(QUEUE, "jobs")].id
    deployment.destroy()
    assert deployment.state.resources == {}
    assert cloud.boto("sqs").list_queues()["QueueUrls"] == [url]
    cloud.boto("sqs").delete_queue(QueueUrl=url)


def test_given_ignored_changes_when_the_value_is_another_then_no_difference(make: Any, cloud: Cloud) -> None:
    deployment = make()
    opts = pulumi.ResourceOptions(ignore_changes=["visibilityTimeoutSeconds"])
    deployment.up(lambda: queue("jobs", opts, visibility_timeout_seconds=10))
    url = deployment.state.resources[urn(QUEUE, "jobs")].id
    cloud.boto("sqs").set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "99"})
    assert deployment.up(lambda: queue("jobs", opts, visibility_timeout_seconds=20)).changed() == {}
    deployment.refresh()
    result = deployment.up(lambda: queue("jobs", opts, visibility_timeout_seconds=20, delay_seconds=3))
    assert result.changed() == {urn(QUEUE, "jobs"): "update"}
    attributes = cloud.boto("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert (attributes["VisibilityTimeout"], attributes["DelaySeconds"]) == ("99", "3")


def test_given_drift_made_by_hand_when_refreshed_then_the_next_up_puts_it_right(
    make: Any, cloud: Cloud
) -> None:
    deployment = make()
    program = lambda: [queue("jobs", visibility_timeout_seconds=10), queue("gone")]  # noqa: E731
    deployment.up(program)
    sqs = cloud.boto("sqs")
    url = deployment.state.resources[urn(QUEUE, "jobs")].id
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "99"})
    sqs.tag_queue(QueueUrl=url, Tags={"by": "hand"})
    sqs.delete_queue(QueueUrl=deployment.state.resources[urn(QUEUE, "gone")].id)
    assert deployment.up(program).changed() == {}, "without a refresh the state is believed"
    assert deployment.refresh().changed() == {urn(QUEUE, "jobs"): "update", urn(QUEUE, "gone"): "delete"}
    assert deployment.up(program).changed() == {urn(QUEUE, "jobs"): "update", urn(QUEUE, "gone"): "create"}
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["VisibilityTimeout"])["Attributes"]
    assert attributes["VisibilityTimeout"] == "10"
    assert sqs.list_queue_tags(QueueUrl=url).get("Tags", {}) == {}


def test_given_a_misspelt_property_when_up_then_resource_property_and_suggestion_are_named(make: Any) -> None:
    def program() -> None:
        queue("fine")
        pulumi.CustomResource(QUEUE, "typo", {"visibilityTimeoutSecond": 3, "delaySeconds": "soon"})

    deployment = make()
    with pytest.raises(DeploymentError) as raised:
        deployment.up(program)
    assert len(raised.value.failures) == 1
    text = str(raised.value)
    assert text == (
        f"KW632 {urn(QUEUE, 'typo')}: delaySeconds: got 'soon'; allowed a whole number; also "
        "visibilityTimeoutSecond: got an unknown property; did you mean 'visibilityTimeoutSeconds'?"
    )
    assert "fine" in {r.name for r in deployment.state.resources.values()}, "the others are not lost"


def test_given_a_property_that_only_aws_has_when_up_then_the_refusal_says_so(make: Any) -> None:
    with pytest.raises(
        DeploymentError, match=r"KW631 .*accelerationStatus: .*pulumi_aws knows .* does not support yet"
    ):
        make().up(lambda: aws.s3.Bucket("b", acceleration_status="Enabled"))


def test_given_a_type_that_only_aws_has_when_up_then_the_refusal_says_so(make: Any) -> None:
    with pytest.raises(
        DeploymentError,
        match=r"KW630 .*::b: aws:mq/broker:Broker: .*real AWS have and the embedded cloud does not",
    ):
        make().up(lambda: pulumi.CustomResource("aws:mq/broker:Broker", "b", {}))
    with pytest.raises(
        DeploymentError, match=r"KW630 .*random:index/x:X: .*package 'random'; allowed .*package 'aws'"
    ):
        make().up(lambda: pulumi.CustomResource("random:index/x:X", "b", {}))


def test_given_one_failure_when_up_then_dependents_wait_and_the_rest_is_made(make: Any) -> None:
    def program() -> None:
        broken = aws.lambda_.Function(
            "broken",
            role="arn:aws:iam::123456789012:role/none",
            handler="m.h",
            runtime="python3.11",
            timeout=5000,
            code=pulumi.AssetArchive({"m.py": pulumi.StringAsset("")}),
        )
        aws.lambda_.Alias("alias", function_name=broken.name, function_version="1")
        queue("other")

    deployment = make()
    with pytest.raises(DeploymentError) as raised:
        deployment.up(program)
    assert [(f.type, f.code) for f in raised.value.failures] == [("aws:lambda/function:Function", "KW635")]
    assert "broken: create was refused with" in str(raised.value)
    assert {r.name for r in deployment.state.resources.values()} == {"other"}


def test_given_two_of_a_name_when_up_then_refused(make: Any) -> None:
    with pytest.raises(DeploymentError, match=r"KW642 .*got a second resource of that type and name"):
        make().up(lambda: [queue("same"), queue("same")])


def test_given_secrets_when_up_then_outputs_stay_secret(make: Any) -> None:
    def program() -> None:
        kept = aws.ssm.Parameter("p", type="String", value=pulumi.Output.secret("hush"))
        pulumi.export("value", kept.value)
        pulumi.export("plain", kept.name)

    deployment = make()
    result = deployment.up(program)
    assert result.secret_outputs == {"value"}
    assert result.outputs["value"] == "hush"
    assert deployment.state.resources[urn("aws:ssm/parameter:Parameter", "p")].secrets == ["value", "valueWo"]


def test_given_transforms_when_up_then_they_change_the_inputs(make: Any, cloud: Cloud) -> None:
    def longer(args: pulumi.ResourceTransformArgs) -> pulumi.ResourceTransformResult | None:
        if args.type_ != QUEUE:
            return None
        return pulumi.ResourceTransformResult({**args.props, "messageRetentionSeconds": 1200}, args.opts)

    deployment = make()
    deployment.up(lambda: queue("jobs", pulumi.ResourceOptions(transforms=[longer])))
    url = deployment.state.resources[urn(QUEUE, "jobs")].id
    attributes = cloud.boto("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert attributes["MessageRetentionPeriod"] == "1200"


def test_given_an_existing_queue_when_imported_then_adopted_and_refused_when_different(
    make: Any, cloud: Cloud
) -> None:
    attributes = {"DelaySeconds": "5", "MaximumMessageSize": "262144"}
    url = cloud.boto("sqs").create_queue(QueueName="by-hand", Attributes=attributes)["QueueUrl"]
    opts = pulumi.ResourceOptions(import_=url)
    deployment = make()
    with pytest.raises(DeploymentError, match=r"KW638 .*differ from the imported resource in delaySeconds"):
        deployment.up(lambda: queue("mine", opts, name="by-hand", delay_seconds=1))
    result = deployment.up(lambda: queue("mine", opts, name="by-hand", delay_seconds=5))
    assert result.changed() == {urn(QUEUE, "mine"): "import"}
    assert deployment.up(lambda: queue("mine", opts, name="by-hand", delay_seconds=5)).changed() == {}


def test_given_a_get_when_up_then_it_is_read_and_never_deleted(make: Any, cloud: Cloud) -> None:
    url = cloud.boto("sqs").create_queue(QueueName="theirs")["QueueUrl"]
    deployment = make()
    result = deployment.up(lambda: pulumi.export("arn", aws.sqs.Queue.get("theirs", url).arn))
    assert result.outputs["arn"].endswith(":theirs")
    deployment.destroy()
    assert cloud.boto("sqs").list_queues()["QueueUrls"] == [url]
    cloud.boto("sqs").delete_queue(QueueUrl=url)


def test_given_default_tags_when_up_then_every_resource_has_them(make: Any, cloud: Cloud) -> None:
    deployment = make(config={"aws:defaultTags": json.dumps({"tags": {"project": "kw"}})})
    result = deployment.up(lambda: pulumi.export("tags", queue("jobs", tags={"own": "1"}).tags_all))
    assert result.outputs["tags"] == {"project": "kw", "own": "1"}
    url = deployment.state.resources[urn(QUEUE, "jobs")].id
    assert cloud.boto("sqs").list_queue_tags(QueueUrl=url)["Tags"] == {"project": "kw", "own": "1"}


def test_given_an_explicit_provider_when_up_then_its_region_and_tags_count(make: Any) -> None:
    def program() -> None:
        there = aws.Provider("there", region="eu-west-1", default_tags={"tags": {"where": "eu"}})
        made = queue("jobs", pulumi.ResourceOptions(provider=there))
        pulumi.export("arn", made.arn)
        pulumi.export("tags", made.tags_all)

    result = make().up(program)
    assert result.outputs["arn"].startswith("arn:aws:sqs:eu-west-1:")
    assert result.outputs["tags"] == {"where": "eu"}


def test_given_a_failing_delete_when_destroyed_then_the_rest_goes_and_the_cause_is_named(
    make: Any, cloud: Cloud
) -> None:
    def program() -> None:
        bucket = aws.s3.Bucket("full")
        queue("other")
        aws.s3.BucketVersioning("v", bucket=bucket.id, versioning_configuration={"status": "Enabled"})

    deployment = make()
    deployment.up(program)
    bucket = deployment.state.resources[urn("aws:s3/bucket:Bucket", "full")].id
    cloud.boto("s3").put_object(Bucket=bucket, Key="k", Body=b"x")
    with pytest.raises(DeploymentError) as raised:
        deployment.destroy()
    assert [f.code for f in raised.value.failures] == ["KW637"]
    assert "full: bucket" in str(raised.value)
    assert "forceDestroy is not set" in str(raised.value)
    assert {r.name for r in deployment.state.resources.values()} == {"full"}
    for version in cloud.boto("s3").list_object_versions(Bucket=bucket)["Versions"]:
        cloud.boto("s3").delete_object(Bucket=bucket, Key="k", VersionId=version["VersionId"])


def test_given_a_program_that_fails_midway_when_run_again_then_it_converges(make: Any) -> None:
    def broken() -> None:
        made = queue("first")

        def fail(url: str) -> str:
            raise RuntimeError("the program has a bug")

        pulumi.export("x", made.url.apply(fail))

    deployment = make()
    with pytest.raises(RuntimeError, match="the program has a bug"):
        deployment.up(broken)
    assert {r.name for r in deployment.state.resources.values()} == {"first"}
    assert deployment.up(lambda: queue("first")).changed() == {}


def test_given_a_cancel_in_the_middle_when_destroyed_then_nothing_is_left(make: Any) -> None:
    deployment = make(parallel=1)
    started = threading.Event()

    def on_event(event: Event) -> None:
        if event.status == "done":
            started.set()
            deployment.cancel()

    deployment._on_event = on_event
    with pytest.raises(ResourceError, match=r"KW644"):
        deployment.up(lambda: [queue(f"q{i}") for i in range(20)])
    assert started.is_set()
    assert 1 <= len(deployment.state.resources) < 20
    deployment._on_event = None
    deployment.destroy()
    assert deployment.state.resources == {}


def test_given_a_state_file_when_another_process_goes_on_then_it_knows_everything(
    make: Any, tmp_path: Path
) -> None:
    def program() -> None:
        role = aws.iam.Role("r", assume_role_policy=TRUST)
        code = pulumi.AssetArchive({"main.py": pulumi.StringAsset("def handler(e, c):\n    return 1\n")})
        made = aws.lambda_.Function(
            "f", role=role.arn, handler="main.handler", runtime="python3.11", code=code
        )
        pulumi.export("arn", made.arn)

    file = tmp_path / "state" / "local.json"
    first = make(state=file).up(program)
    later = make(state=file)
    assert later.outputs == first.outputs
    assert later.preview(program).changed() == {}
    assert later.refresh().changed() == {}
    assert later.up(program).changed() == {}
    later.destroy()
    assert json.loads(file.read_text())["resources"] == []


def test_given_a_broken_or_newer_state_file_when_opened_then_refused(make: Any, tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    file.write_text("{")
    with pytest.raises(ResourceError, match=r"KW643 state .*cannot be read"):
        make(state=file)
    file.write_text('{"version": 99}')
    with pytest.raises(ResourceError, match=r"KW643 state .*got version 99; allowed up to 1"):
        make(state=file)


def test_given_what_the_driver_cannot_do_when_asked_then_refused_not_ignored(make: Any) -> None:
    with pytest.raises(DeploymentError, match=r"KW634 .*remote component"):
        make().up(lambda: pulumi.ComponentResource("x:index:Y", "y", {}, remote=True))
    with pytest.raises(
        ResourceError,
        match=r"KW640 aws:ec2/getAmi:getAmi: got a data source that the embedded cloud does not",
    ):
        make().up(lambda: pulumi.export("x", aws.ec2.get_ami(owners=["self"]).id))


def test_given_a_program_when_it_is_deployed_then_nobody_looks_up_where_its_resources_are_made(
    make: Callable[..., Deployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pulumi.runtime import resource

    def walk() -> Any:
        raise AssertionError("the stack was walked")

    monkeypatch.setattr(resource, "_get_stack_trace", walk)

    assert make().up(queue).resources == 1
    assert resource._get_stack_trace is walk


def test_given_an_sdk_that_looks_nothing_up_when_a_program_is_deployed_then_it_is_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from pulumi.runtime import resource

    from keepwarm_localcloud.engine.resource_monitor import WITHOUT_POSITIONS

    monkeypatch.delattr(resource, "_get_stack_trace")
    with WITHOUT_POSITIONS:
        assert not hasattr(resource, "_get_stack_trace")
