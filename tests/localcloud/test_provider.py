"""The gRPC provider spoken to as the engine speaks to it, over a real connection, without the CLI.

Proves what the protocol asks: checks as failures by property, previews with unknowns, detailed differences, partial
failure with the id in the details, timeouts, cancellation, secrets, provider instances told apart by connection.
Does not prove that the engine asks so: tests/engine runs the real one.
"""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.protobuf import empty_pb2
from pulumi.runtime.proto import provider_pb2 as pb
from pulumi.runtime.proto import provider_pb2_grpc, status_pb2

from keepwarm_localcloud.cloud import Cloud, CloudSettings
from keepwarm_localcloud.engine.provider.creations import Creations, read_creations
from keepwarm_localcloud.engine.provider.service import VERSION, AwsProvider
from keepwarm_localcloud.pulumi_types.assets import zip_bytes
from keepwarm_localcloud.pulumi_types.fields import UNKNOWN
from keepwarm_localcloud.pulumi_types.wire import ARCHIVE, ASSET, SIGNATURE, read_struct, write_struct
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.filterwarnings("ignore:SOCKS support in urllib3")

QUEUE = "urn:pulumi:s::p::my:index:Group$aws:sqs/queue:Queue::jobs"


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with Cloud(CloudSettings()) as cloud:
        yield cloud


@pytest.fixture
def served(cloud: Cloud, tmp_path: Any) -> Iterator[tuple[AwsProvider, str]]:
    provider = AwsProvider(cloud.endpoint, creations=Creations(str(tmp_path / "creations")))
    server = grpc.server(ThreadPoolExecutor(8))
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(provider, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield provider, f"127.0.0.1:{port}"
    server.stop(0).wait()
    provider.close()


@pytest.fixture
def stub(served: tuple[AwsProvider, str]) -> Iterator[Any]:
    with grpc.insecure_channel(served[1]) as channel:
        stub = provider_pb2_grpc.ResourceProviderStub(channel)
        stub.Handshake(pb.ProviderHandshakeRequest())
        stub.Configure(pb.ConfigureRequest(args=write_struct({"region": "us-east-1"})))
        yield stub


def check(stub: Any, urn: str, news: dict[str, Any], secrets: frozenset[str] = frozenset()) -> Any:
    return stub.Check(pb.CheckRequest(urn=urn, news=write_struct(news, secrets), randomSeed=b"seed"))


def test_given_a_new_engine_when_it_says_hello_then_it_is_told_who_this_is(stub: Any) -> None:
    assert stub.GetPluginInfo(empty_pb2.Empty()).version == VERSION
    assert stub.Handshake(pb.ProviderHandshakeRequest()).accept_secrets
    stub.Attach(pb.PluginAttach(address="127.0.0.1:1") if hasattr(pb, "PluginAttach") else attach())
    schema = stub.GetSchema(pb.GetSchemaRequest()).schema
    assert '"aws:sqs/queue:Queue"' in schema


def attach() -> Any:
    from pulumi.runtime.proto import plugin_pb2

    return plugin_pb2.PluginAttach(address="127.0.0.1:1")


def test_given_a_life_when_lived_over_the_wire_then_each_call_answers_what_it_should(
    stub: Any, cloud: Cloud
) -> None:
    checked = check(stub, QUEUE, {"delaySeconds": 3})
    assert list(checked.failures) == []
    inputs = read_struct(checked.inputs).values
    preview = stub.Create(pb.CreateRequest(urn=QUEUE, properties=checked.inputs, preview=True))
    assert preview.id == ""
    assert read_struct(preview.properties).values["url"] is UNKNOWN
    assert cloud.inventory() == {}
    made = stub.Create(pb.CreateRequest(urn=QUEUE, properties=checked.inputs))
    state = read_struct(made.properties).values
    assert state["url"] == made.id
    assert "__defaults" not in state

    def diff(**news: Any) -> Any:
        again = stub.Check(pb.CheckRequest(urn=QUEUE, olds=checked.inputs, news=write_struct(news)))
        assert read_struct(again.inputs).values["name"] == inputs["name"], "the name is kept"
        return again.inputs, stub.Diff(
            pb.DiffRequest(
                id=made.id, urn=QUEUE, olds=made.properties, old_inputs=checked.inputs, news=again.inputs
            )
        )

    assert diff(delaySeconds=3)[1].changes == pb.DiffResponse.DIFF_NONE
    news, found = diff(delaySeconds=4, tags={"a": "b"})
    assert {k: v.kind for k, v in found.detailedDiff.items()} == {
        "delaySeconds": pb.PropertyDiff.UPDATE,
        "tags": pb.PropertyDiff.ADD,
    }
    assert list(found.replaces) == []
    _, replaced = diff(delaySeconds=3, fifoQueue=True)
    assert list(replaced.replaces) == ["fifoQueue"]
    assert replaced.detailedDiff["fifoQueue"].kind == pb.PropertyDiff.UPDATE_REPLACE
    where = {"id": made.id, "urn": QUEUE, "olds": made.properties, "old_inputs": checked.inputs, "news": news}
    shown = read_struct(stub.Update(pb.UpdateRequest(**where, preview=True)).properties).values
    assert (shown["delaySeconds"], shown["url"]) == (4, made.id)
    updated = stub.Update(pb.UpdateRequest(**where))
    assert read_struct(updated.properties).values["tagsAll"] == {"a": "b"}
    cloud.boto("sqs").set_queue_attributes(QueueUrl=made.id, Attributes={"DelaySeconds": "9"})
    read = stub.Read(pb.ReadRequest(id=made.id, urn=QUEUE, properties=updated.properties, inputs=news))
    assert read_struct(read.inputs).values["delaySeconds"] == 9
    imported = stub.Read(pb.ReadRequest(id=made.id, urn=QUEUE))
    assert read_struct(imported.inputs).values["delaySeconds"] == 9
    stub.Delete(pb.DeleteRequest(id=made.id, urn=QUEUE, properties=updated.properties, old_inputs=news))
    assert stub.Read(pb.ReadRequest(id=made.id, urn=QUEUE)).id == ""
    assert cloud.inventory() == {}


def test_given_wrong_inputs_when_checked_then_failures_name_type_and_property(stub: Any) -> None:
    failures = {
        f.property: f.reason for f in check(stub, QUEUE, {"delaySecond": 1, "fifoQueue": "x"}).failures
    }
    assert failures == {
        "delaySecond": (
            "KW631 got an unknown property; did you mean 'delaySeconds'? (aws:sqs/queue:Queue, property delaySecond)"
        ),
        "fifoQueue": "KW632 got 'x'; allowed true or false (aws:sqs/queue:Queue, property fifoQueue)",
    }
    with pytest.raises(
        grpc.RpcError, match="KW630 aws:mq/broker:Broker: got a resource type that pulumi-aws and real"
    ):
        check(stub, "urn:pulumi:s::p::aws:mq/broker:Broker::b", {})


def test_given_a_provider_property_that_is_not_supported_when_checked_then_refused(stub: Any) -> None:
    wanted = pb.CheckRequest(news=write_struct({"regio": "x", "region": "eu-west-1"}))
    failures = stub.CheckConfig(wanted).failures
    assert [(f.property, f.reason) for f in failures] == [
        ("regio", "KW631 got a provider property that is not supported here; did you mean 'region'?")
    ]
    moved = stub.DiffConfig(
        pb.DiffRequest(olds=write_struct({"region": "a"}), news=write_struct({"region": "b"}))
    )
    assert list(moved.replaces) == ["region"]


def test_given_two_provider_instances_when_one_is_in_another_region_then_each_has_its_own(
    stub: Any, served: tuple[AwsProvider, str]
) -> None:
    with grpc.insecure_channel(served[1], options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        other = provider_pb2_grpc.ResourceProviderStub(channel)
        tags = {"defaultTags": {"tags": {"where": "eu"}}, "region": "eu-west-1"}
        other.Configure(pb.ConfigureRequest(args=write_struct(tags)))
        for each, region, default in ((stub, "us-east-1", {}), (other, "eu-west-1", {"where": "eu"})):
            made = each.Create(pb.CreateRequest(urn=QUEUE, properties=check(each, QUEUE, {}).inputs))
            state = read_struct(made.properties).values
            assert state["arn"].split(":")[3] == region
            assert state["tagsAll"] == default
            each.Delete(pb.DeleteRequest(id=made.id, urn=QUEUE, properties=made.properties))


def broken_function(stub: Any, cloud: Cloud) -> tuple[str, str]:
    """A published function that fails at import, and its version."""
    role = cloud.boto("iam").create_role(
        RoleName="broken",
        AssumeRolePolicyDocument='{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":'
        '{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}',
    )["Role"]["Arn"]
    functions = cloud.boto("lambda")
    code = zip_bytes({"main.py": (b"raise RuntimeError('no model here')\n", False)})
    functions.create_function(
        FunctionName="broken",
        Role=role,
        Handler="main.handler",
        Runtime="python3.11",
        Code={"ZipFile": code},
        Publish=True,
    )
    return "broken", "1"


def test_given_a_pool_that_cannot_start_when_created_then_partial_failure_with_its_id(
    stub: Any, cloud: Cloud
) -> None:
    function, version = broken_function(stub, cloud)
    token = "aws:lambda/provisionedConcurrencyConfig:ProvisionedConcurrencyConfig"
    urn = f"urn:pulumi:s::p::{token}::pool"
    inputs = check(
        stub, urn, {"functionName": function, "qualifier": version, "provisionedConcurrentExecutions": 1}
    ).inputs
    with pytest.raises(grpc.RpcError) as raised:
        stub.Create(pb.CreateRequest(urn=urn, properties=inputs, timeout=60))
    text = raised.value.details()
    assert text.startswith(
        f"KW635 {urn}: provisioned concurrency of broken:1: got FAILED; allowed READY; because "
    )
    metadata = dict(raised.value.trailing_metadata())
    status = status_pb2.Status.FromString(metadata["grpc-status-details-bin"])
    detail = pb.ErrorResourceInitFailed()
    assert status.details[0].Unpack(detail)
    assert detail.id == "broken,1"
    assert list(detail.reasons) == [text]
    state = detail.properties
    stub.Delete(pb.DeleteRequest(id=detail.id, urn=urn, properties=state))
    cloud.boto("lambda").delete_function(FunctionName=function)
    cloud.boto("iam").delete_role(RoleName="broken")


SERVICE = "aws:servicediscovery/service:Service"


def test_given_something_that_never_settles_when_it_takes_too_long_or_is_cancelled_then_it_stops(
    stub: Any, cloud: Cloud
) -> None:
    discovery = cloud.boto("servicediscovery")
    space = discovery.create_http_namespace(Name="busy")
    namespace = discovery.get_operation(OperationId=space["OperationId"])["Operation"]["Targets"]["NAMESPACE"]
    service = discovery.create_service(Name="busy", NamespaceId=namespace)["Service"]["Id"]
    discovery.register_instance(
        ServiceId=service, InstanceId="i", Attributes={"AWS_INSTANCE_IPV4": "127.0.0.1"}
    )
    urn = f"urn:pulumi:s::p::{SERVICE}::busy"
    doomed = {"id": service, "urn": urn, "properties": write_struct({"name": "busy"})}
    with pytest.raises(
        grpc.RpcError, match=rf"KW639 {urn}: Cloud Map service {service} to be free .*not done after 0.5 s"
    ):
        stub.Delete(pb.DeleteRequest(**doomed, timeout=0.5))
    outcome: list[str] = []

    def delete() -> None:
        try:
            stub.Delete(pb.DeleteRequest(**doomed, timeout=120))
        except grpc.RpcError as error:
            outcome.append(error.details())

    thread = threading.Thread(target=delete)
    thread.start()
    thread.join(0.3)
    assert thread.is_alive(), "it must be waiting"
    stub.Cancel(empty_pb2.Empty())
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert outcome[0].startswith("KW644 ")
    stub.Attach(attach())
    discovery.deregister_instance(ServiceId=service, InstanceId="i")
    stub.Delete(pb.DeleteRequest(**doomed, timeout=30))
    discovery.delete_namespace(Id=namespace)
    assert cloud.inventory() == {}


def test_given_secret_inputs_when_made_then_marked_on_the_way_back_and_never_in_an_error(
    stub: Any, cloud: Cloud, tmp_path: Any
) -> None:
    urn = "urn:pulumi:s::p::aws:ssm/parameter:Parameter::p"
    checked = check(
        stub, urn, {"type": "String", "value": "hush-hush", "description": "d"}, frozenset({"description"})
    )
    assert read_struct(checked.inputs).secrets >= {"value", "description"}
    made = stub.Create(pb.CreateRequest(urn=urn, properties=checked.inputs))
    assert read_struct(made.properties).secrets >= {"value", "description"}
    noted = (tmp_path / "creations").read_text()
    assert "hush-hush" not in noted
    assert [c.id for c in read_creations(tmp_path / "creations")] == [made.id]
    again = stub.Read(pb.ReadRequest(id=made.id, urn=urn, properties=made.properties, inputs=checked.inputs))
    assert read_struct(again.properties).secrets >= {"value", "description"}
    stub.Delete(pb.DeleteRequest(id=made.id, urn=urn, properties=made.properties))
    refused = check(stub, urn, {"type": "String", "value": ["hush-hush"]}, frozenset({"value"}))
    assert "hush-hush" not in refused.failures[0].reason
    queue = check(stub, QUEUE, {"delaySeconds": "hush-hush"}, frozenset({"delaySeconds"}))
    assert (
        queue.failures[0].reason
        == "KW632 got '[secret]'; allowed a whole number (aws:sqs/queue:Queue, property delaySeconds)"
    )


def test_given_assets_when_sent_then_their_hash_decides_and_they_come_back_as_they_were(stub: Any) -> None:
    urn = "urn:pulumi:s::p::aws:lambda/layerVersion:LayerVersion::l"

    def inputs(digest: str) -> Any:
        struct = write_struct({"layerName": "l"})
        part = {SIGNATURE: ASSET, "text": "x", "hash": digest}
        struct.update({"code": {SIGNATURE: ARCHIVE, "hash": digest, "assets": {"x.py": part}}})
        return stub.Check(pb.CheckRequest(urn=urn, news=struct)).inputs

    first = inputs("a")
    made = stub.Create(pb.CreateRequest(urn=urn, properties=first))
    assert made.properties.fields["code"] == first.fields["code"]
    same = pb.DiffRequest(id=made.id, urn=urn, olds=made.properties, old_inputs=first, news=inputs("a"))
    assert stub.Diff(same).changes == pb.DiffResponse.DIFF_NONE
    other = pb.DiffRequest(id=made.id, urn=urn, olds=made.properties, old_inputs=first, news=inputs("b"))
    assert list(stub.Diff(other).replaces) == ["code"]
    stub.Delete(pb.DeleteRequest(id=made.id, urn=urn, properties=made.properties))


def test_given_data_sources_when_asked_then_answered_or_refused(stub: Any) -> None:
    asked = pb.InvokeRequest(tok="aws:index/getCallerIdentity:getCallerIdentity")
    answer = stub.Invoke(asked)
    assert read_struct(getattr(answer, "return")).values["accountId"] == "123456789012"
    with pytest.raises(
        grpc.RpcError, match="KW640 aws:ec2/getAmi:getAmi: got a data source that the embedded cloud"
    ):
        stub.Invoke(pb.InvokeRequest(tok="aws:ec2/getAmi:getAmi"))
