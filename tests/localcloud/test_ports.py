"""How services reach each other: by port, with a coded refusal for a service that this cloud does not run."""

import inspect
import json
from typing import Any

import pytest

from keepwarm_localcloud import ports
from keepwarm_localcloud.cloud import Cloud, CloudSettings
from keepwarm_localcloud.errors import LocalCloudError
from keepwarm_localcloud.ports import Peers
from keepwarm_localcloud.request import AwsError, Caller
from keepwarm_localcloud.services.context import Context
from keepwarm_localcloud.services.registry import default_services
from keepwarm_localcloud.services.sqs import SqsService

PORTS = {
    "queues": "sqs",
    "buckets": "s3",
    "functions": "lambda",
    "tasks": "ecs",
    "registry": "servicediscovery",
}
BUCKET = "arn:aws:s3:::intake"


class Witness:
    """A service that keeps the context it is given."""

    name = "witness"
    context: Context

    def start(self, context: Context) -> None:
        self.context = context

    def stop(self) -> None: ...

    def handle(self, request: Any) -> None: ...

    def inventory(self) -> dict[str, list[str]]:
        return {}


@pytest.mark.parametrize(("port", "name"), PORTS.items())
def test_given_a_running_service_then_its_port_gives_it(port: str, name: str) -> None:
    service = object()

    assert getattr(Peers({name: service}), port) is service


def test_given_a_service_that_does_not_run_then_kw604_names_those_that_do() -> None:
    peers = Peers({"sqs": object(), "s3": object()})

    with pytest.raises(LocalCloudError) as refused:
        _ = peers.functions

    assert str(refused.value) == (
        "KW604 localcloud service: got lambda; allowed s3, sqs; because this cloud was started without it; "
        "fix: leave `services` out to get all of them"
    )
    assert ("s3" in peers, "lambda" in peers) == (True, False)


@pytest.mark.parametrize(("port", "name"), PORTS.items())
def test_given_the_default_services_then_each_has_what_its_port_promises(port: str, name: str) -> None:
    kind: Any = inspect.signature(getattr(Peers, port).fget).return_annotation
    service = next(s for s in default_services() if s.name == name)

    assert kind in type(service).__mro__
    # What the class inherits from the port itself is a stub, which would answer None.
    promised = [n for n, member in vars(kind).items() if inspect.isfunction(member) and not n.startswith("_")]
    assert promised
    assert [n for n in promised if getattr(type(service), n) is getattr(kind, n)] == []


def test_every_port_is_looked_up_by_peers() -> None:
    named = {n for n, member in vars(ports).items() if n.endswith("Port") and inspect.isclass(member)}
    found = {inspect.signature(getattr(Peers, port).fget).return_annotation.__name__ for port in PORTS}

    assert found == named


@pytest.fixture
def context() -> Any:
    witness = Witness()
    settings = CloudSettings(account_id="100000000061")
    with Cloud(settings, services=[SqsService(), witness]) as cloud:
        cloud.boto("sqs").create_queue(QueueName="q")
        yield witness.context


QUEUE = "arn:aws:sqs:us-east-1:100000000061:q"


def test_given_a_queue_that_lets_a_bucket_in_when_delivered_then_the_event_is_there(context: Context) -> None:
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "s3.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": QUEUE,
        "Condition": {"ArnLike": {"aws:SourceArn": BUCKET}},
    }
    sqs = context.boto("sqs")
    url = sqs.get_queue_url(QueueName="q")["QueueUrl"]
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})

    context.deliver(QUEUE, {"a": 1}, BUCKET)

    assert [m.body for m in context.peers.queues.receive(QUEUE, 10)] == ['{"a": 1}']


def test_given_a_queue_that_lets_nobody_in_when_delivered_then_access_denied(context: Context) -> None:
    with pytest.raises(AwsError) as refused:
        context.deliver(QUEUE, {}, BUCKET)

    assert refused.value.code == "AccessDenied"
    assert context.peers.queues.receive(QUEUE, 10) == []


@pytest.mark.parametrize("target", ["arn:aws:kinesis:us-east-1:1:stream/x", "queue", ""])
def test_given_a_target_that_takes_no_events_when_delivered_then_refused(
    context: Context, target: str
) -> None:
    with pytest.raises(AwsError) as refused:
        context.deliver(target, {}, BUCKET)

    assert refused.value.message == f"The destination {target} is not a queue, function or topic"


def test_given_the_operator_when_authorized_then_nothing_is_asked(context: Context) -> None:
    context.authorize(Caller(), "sqs:DeleteQueue", QUEUE)

    with pytest.raises(AwsError, match="is not authorized to perform: sqs:DeleteQueue"):
        context.authorize(Caller(role_arn="arn:aws:iam::100000000061:role/none"), "sqs:DeleteQueue", QUEUE)
