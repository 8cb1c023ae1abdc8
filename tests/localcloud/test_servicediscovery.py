"""Cloud Map of the embedded cloud over boto3: namespaces, services, discovery and the order of deletion.

Does not prove DNS (nothing is served) nor registration by ECS tasks (test_ecs.py).
"""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from keepwarm_localcloud.cloud import Cloud, CloudSettings
from keepwarm_localcloud.services.servicediscovery import ServiceDiscoveryService


@pytest.fixture
def cloudmap() -> Iterator[Any]:
    with Cloud(CloudSettings(account_id="123456789022"), [ServiceDiscoveryService()]) as cloud:
        yield boto3.client(
            "servicediscovery",
            endpoint_url=cloud.endpoint,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(inject_host_prefix=False, retries={"total_max_attempts": 1}),
        )


def _service(cloudmap: Any, **options: Any) -> tuple[str, str]:
    operation = cloudmap.create_http_namespace(Name="keepwarm")["OperationId"]
    namespace = cloudmap.get_operation(OperationId=operation)["Operation"]["Targets"]["NAMESPACE"]
    return namespace, cloudmap.create_service(Name="gpu", NamespaceId=namespace, **options)["Service"]["Id"]


def _found(cloudmap: Any, **options: Any) -> list[str]:
    answer = cloudmap.discover_instances(NamespaceName="keepwarm", ServiceName="gpu", **options)
    return [i["InstanceId"] for i in answer["Instances"]]


def test_given_registered_instances_when_discovered_then_only_the_healthy_ones(cloudmap: Any) -> None:
    _, service = _service(cloudmap, HealthCheckCustomConfig={"FailureThreshold": 1})
    for name in ("a", "b"):
        cloudmap.register_instance(
            ServiceId=service,
            InstanceId=name,
            Attributes={"AWS_INSTANCE_IPV4": "127.0.0.1", "AWS_INSTANCE_PORT": "80"},
        )
    cloudmap.update_instance_custom_health_status(ServiceId=service, InstanceId="a", Status="UNHEALTHY")
    assert _found(cloudmap) == ["b"]
    assert _found(cloudmap, HealthStatus="ALL") == ["a", "b"]
    cloudmap.update_instance_custom_health_status(ServiceId=service, InstanceId="b", Status="UNHEALTHY")
    assert _found(cloudmap, HealthStatus="HEALTHY") == []
    assert _found(cloudmap) == ["a", "b"]


def test_given_query_parameters_when_discovered_then_all_must_match(cloudmap: Any) -> None:
    _, service = _service(cloudmap)
    cloudmap.register_instance(ServiceId=service, InstanceId="a", Attributes={"zone": "1"})
    assert _found(cloudmap, QueryParameters={"zone": "1"}) == ["a"]
    assert _found(cloudmap, QueryParameters={"zone": "2"}) == []


def test_given_optional_parameters_when_discovered_then_those_that_match_if_there_are_any(
    cloudmap: Any,
) -> None:
    _, service = _service(cloudmap)
    for name, zone in (("a", "1"), ("b", "2")):
        cloudmap.register_instance(ServiceId=service, InstanceId=name, Attributes={"zone": zone})
    assert _found(cloudmap, OptionalParameters={"zone": "2"}) == ["b"]
    assert _found(cloudmap, OptionalParameters={"zone": "3"}) == ["a", "b"]


def test_given_an_operation_when_asked_at_once_then_it_is_complete(cloudmap: Any) -> None:
    namespace, service = _service(cloudmap)
    registered = cloudmap.register_instance(ServiceId=service, InstanceId="a", Attributes={"k": "v"})
    operation = cloudmap.get_operation(OperationId=registered["OperationId"])["Operation"]
    assert (operation["Type"], operation["Status"], operation["Targets"]) == (
        "REGISTER_INSTANCE",
        "SUCCESS",
        {"INSTANCE": "a", "SERVICE": service},
    )
    with pytest.raises(ClientError) as refused:
        cloudmap.deregister_instance(ServiceId=service, InstanceId="b")
    assert refused.value.response["Error"] == {
        "Code": "InstanceNotFound",
        "Message": "Can't find instance b",
    }
    assert namespace


def test_given_an_instance_when_registered_again_then_replaced_and_the_revision_grows(cloudmap: Any) -> None:
    _, service = _service(cloudmap)

    def revision() -> int:
        answer = cloudmap.discover_instances_revision(NamespaceName="keepwarm", ServiceName="gpu")
        return int(answer["InstancesRevision"])

    cloudmap.register_instance(ServiceId=service, InstanceId="a", Attributes={"v": "1"})
    before = revision()
    cloudmap.register_instance(ServiceId=service, InstanceId="a", Attributes={"v": "2"})
    assert revision() > before
    assert [i["Attributes"] for i in cloudmap.list_instances(ServiceId=service)["Instances"]] == [{"v": "2"}]


@pytest.mark.parametrize(
    ("kind", "config", "message"),
    [
        (
            "http",
            {"DnsConfig": {"DnsRecords": [{"Type": "A", "TTL": 10}]}},
            "DnsConfig can't be specified for a service of an HTTP namespace",
        ),
        (
            "private",
            {"HealthCheckConfig": {"Type": "TCP"}},
            "HealthCheckConfig is only for public DNS namespaces",
        ),
    ],
)
def test_given_a_service_that_its_namespace_cannot_have_when_created_then_invalid_input(
    cloudmap: Any, kind: str, config: dict[str, Any], message: str
) -> None:
    create = {"http": cloudmap.create_http_namespace, "private": cloudmap.create_private_dns_namespace}[kind]
    operation = create(Name="ns", **({} if kind == "http" else {"Vpc": "vpc-1"}))["OperationId"]
    namespace = cloudmap.get_operation(OperationId=operation)["Operation"]["Targets"]["NAMESPACE"]
    with pytest.raises(ClientError) as refused:
        cloudmap.create_service(Name="s", NamespaceId=namespace, **config)
    assert refused.value.response["Error"] == {"Code": "InvalidInput", "Message": message}


def test_given_content_when_deleted_then_resource_in_use_until_empty(cloudmap: Any) -> None:
    namespace, service = _service(cloudmap)
    cloudmap.register_instance(ServiceId=service, InstanceId="a", Attributes={"zone": "1"})
    with pytest.raises(ClientError, match="ResourceInUse"):
        cloudmap.delete_service(Id=service)
    with pytest.raises(ClientError, match="ResourceInUse"):
        cloudmap.delete_namespace(Id=namespace)
    cloudmap.deregister_instance(ServiceId=service, InstanceId="a")
    cloudmap.delete_service(Id=service)
    cloudmap.delete_namespace(Id=namespace)
    assert cloudmap.list_namespaces()["Namespaces"] == []


@pytest.mark.parametrize("instance", [{}, {"AWS_INSTANCE_IPV4": "nowhere"}])
def test_given_an_a_record_when_registered_without_an_address_then_invalid_input(
    cloudmap: Any, instance: dict[str, str]
) -> None:
    operation = cloudmap.create_private_dns_namespace(Name="keepwarm.internal", Vpc="vpc-1")["OperationId"]
    namespace = cloudmap.get_operation(OperationId=operation)["Operation"]["Targets"]["NAMESPACE"]
    records = {"DnsRecords": [{"Type": "A", "TTL": 10}]}
    service = cloudmap.create_service(Name="gpu", NamespaceId=namespace, DnsConfig=records)["Service"]["Id"]
    with pytest.raises(ClientError, match="InvalidInput"):
        cloudmap.register_instance(ServiceId=service, InstanceId="a", Attributes={"k": "v", **instance})


def test_given_the_same_name_when_created_again_then_already_exists(cloudmap: Any) -> None:
    namespace, _ = _service(cloudmap)
    with pytest.raises(ClientError, match="NamespaceAlreadyExists"):
        cloudmap.create_http_namespace(Name="keepwarm")
    with pytest.raises(ClientError, match="ServiceAlreadyExists"):
        cloudmap.create_service(Name="gpu", NamespaceId=namespace)
    with pytest.raises(ClientError, match="ServiceNotFound"):
        cloudmap.discover_instances(NamespaceName="keepwarm", ServiceName="other")
