"""Functions with everything the embedded cloud has, deployed there; and what it lacks, refused by name.

Proves: alarms, policies, tags and destinations are as the cloud takes them, and a second deployment changes nothing.
Does not prove that an alarm rings: tests/localcloud evaluates alarms.
"""

from collections.abc import Iterator
from typing import Any

import boto3
import pulumi
import pulumi_aws as aws
import pytest

import keepwarm as kw
from keepwarm_localcloud.cloud import Cloud, CloudSettings
from keepwarm_localcloud.engine.driver import Deployment, DeploymentError
from tests.support.samples import MOUNT, code

pytestmark = pytest.mark.filterwarnings("ignore:SOCKS support in urllib3")


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with Cloud(CloudSettings()) as cloud:
        yield cloud


@pytest.fixture
def deployment(cloud: Cloud) -> Iterator[Deployment]:
    made = Deployment(cloud.endpoint, project="proj", stack="test")
    yield made
    made.destroy()
    made.close()
    assert cloud.inventory() == {}


def client(cloud: Cloud, service: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=cloud.endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


def function(**more: Any) -> kw.RuntimeFunction:
    given: Any = {"code": code(), "runtime": "python3.11", "log_retention_days": 1, **more}
    return kw.RuntimeFunction("f", given)


def test_given_alarms_tags_and_a_destination_when_deployed_then_the_cloud_has_them(
    cloud: Cloud, deployment: Deployment
) -> None:
    def program() -> None:
        topic = aws.sns.Topic("alarms")
        done = aws.sqs.Queue("done")
        made = function(
            reserved_concurrency=2,
            alarm_topic_arns=[topic.arn],
            on_success={"queue_arn": done.arn},
            tags={"team": "documents"},
        )
        pulumi.export("name", made.function_name)
        pulumi.export("topic", topic.arn)
        pulumi.export("done", done.arn)

    deployment.up(program)
    found = deployment.outputs
    alarms = {
        alarm["AlarmName"].rsplit("-", 1)[0]: alarm
        for alarm in client(cloud, "cloudwatch").describe_alarms()["MetricAlarms"]
    }
    assert set(alarms) == {"f-errors", "f-throttles", "f-failures-depth"}
    assert all(alarm["AlarmActions"] == [found["topic"]] for alarm in alarms.values())
    functions = client(cloud, "lambda")
    destinations = functions.get_function_event_invoke_config(FunctionName=found["name"], Qualifier="live")
    assert destinations["DestinationConfig"]["OnSuccess"] == {"Destination": found["done"]}
    assert functions.get_function(FunctionName=found["name"])["Tags"]["team"] == "documents"
    again = deployment.up(program)
    assert set(again.changes.values()) == {"same"}


@pytest.mark.parametrize(
    ("given", "refused"),
    [
        ({"url": {}}, r"KW630 .*f-url: aws:lambda/functionUrl:FunctionUrl: .*the embedded cloud does not"),
        (
            {"file_system": MOUNT, "network_path": "nat"},
            r"KW625 FileSystemConfigs: got an EFS access point; allowed here none",
        ),
    ],
    ids=["url", "file system"],
)
def test_given_what_the_embedded_cloud_lacks_when_deployed_then_it_says_so(
    deployment: Deployment, given: dict[str, Any], refused: str
) -> None:
    def program() -> None:
        network: Any = {}
        if "file_system" in given:
            vpc = aws.ec2.get_vpc(default=True)
            subnets = aws.ec2.get_subnets(filters=[{"name": "vpc-id", "values": [vpc.id]}])
            group = aws.ec2.SecurityGroup("g", vpc_id=vpc.id)
            network = {"subnet_ids": subnets.ids[:2], "security_group_ids": [group.id]}
        function(**given, **network)

    with pytest.raises(DeploymentError, match=refused):
        deployment.up(program)
