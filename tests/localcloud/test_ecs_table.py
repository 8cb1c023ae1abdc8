"""Updates of ECS services by the resource table: what a program no longer says goes away.

Proves: on the embedded cloud a removed list or grace period is empty afterwards, and a task that runs leaves the
registry it was put in. Does not prove: that every other property of a service can be changed (see the roundtrip).
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from keepwarm_localcloud.cloud import Cloud, CloudSettings
from keepwarm_localcloud.pulumi_types import table
from keepwarm_localcloud.pulumi_types.aws import Aws
from keepwarm_localcloud.services.context import Service
from keepwarm_localcloud.services.ecs import EcsService
from keepwarm_localcloud.services.servicediscovery import ServiceDiscoveryService
from tests.support.patience import until

pytestmark = pytest.mark.filterwarnings("ignore:SOCKS support in urllib3")
TOKEN = "aws:ecs/service:Service"


class World:
    """A cluster with Fargate, a task definition and a registry; one service that the table keeps."""

    def __init__(self, cloud: Cloud, folder: Path) -> None:
        self.aws, self.api = Aws(cloud.endpoint), cloud.boto("ecs")
        self.cloudmap = cloud.service("servicediscovery", ServiceDiscoveryService)
        (folder / "config.json").write_text(
            json.dumps({"Entrypoint": ["/bin/sh", "-c"], "Cmd": ["sleep 300"]})
        )
        self.api.create_cluster(clusterName="c", capacityProviders=["FARGATE", "FARGATE_SPOT"])
        definition = self.api.register_task_definition(
            family="t", networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256", memory="512",
            containerDefinitions=[{"name": "m", "image": f"file://{folder}", "stopTimeout": 2}],
        )["taskDefinition"]  # fmt: skip
        names = cloud.boto("servicediscovery")
        operation = names.create_http_namespace(Name="ns")["OperationId"]
        space = names.get_operation(OperationId=operation)["Operation"]["Targets"]["NAMESPACE"]
        self.registry = names.create_service(Name="r", NamespaceId=space)["Service"]
        self.base = {
            "cluster": "c",
            "taskDefinition": definition["taskDefinitionArn"],
            "desiredCount": 0,
            "networkConfiguration": {"subnets": ["subnet-1"]},
        }

    def create(self, **inputs: Any) -> None:
        self.inputs = self.checked(inputs)
        self.id, self.outputs = table.create(TOKEN, "urn::s", self.aws, self.inputs)

    def checked(self, inputs: dict[str, Any]) -> dict[str, Any]:
        old = getattr(self, "inputs", None)
        complete, failures = table.check(TOKEN, "urn::s", {**self.base, **inputs}, old)
        assert failures == []
        return complete

    def update(self, **inputs: Any) -> set[str]:
        """Change the service in place; what changed."""
        complete = self.checked(inputs)
        difference = table.diff(TOKEN, self.inputs, self.outputs, complete)
        assert difference.replaces == ()
        self.outputs = table.update(TOKEN, "urn::s", self.aws, self.id, self.inputs, self.outputs, complete)
        self.inputs = complete
        return set(difference.changed)

    def service(self) -> dict[str, Any]:
        found: dict[str, Any] = self.api.describe_services(cluster="c", services=[self.id])["services"][0]
        return found

    def close(self) -> None:
        table.delete(TOKEN, "urn::s", self.aws, self.id, self.inputs, self.outputs)
        self.aws.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    services: list[Service] = [EcsService(), ServiceDiscoveryService()]
    with Cloud(CloudSettings(account_id="123456789030"), services) as cloud:
        world = World(cloud, tmp_path)
        yield world
        world.close()


@pytest.mark.parametrize(
    ("removed", "value", "name", "empty"),
    [
        ("placementConstraints", [{"type": "distinctInstance"}], "placementConstraints", []),
        (
            "orderedPlacementStrategies",
            [{"type": "spread", "field": "instanceId"}],
            "placementStrategy",
            [],
        ),
        ("healthCheckGracePeriodSeconds", 30, "healthCheckGracePeriodSeconds", 0),
    ],
)
def test_given_a_property_the_program_dropped_when_updated_then_it_is_gone(
    world: World, removed: str, value: Any, name: str, empty: Any
) -> None:
    world.create(**{removed: value})
    before = world.service()
    assert before[name] != empty

    assert world.update() == {removed}

    after = world.service()
    assert after.get(name, empty) == empty
    assert [d["id"] for d in after["deployments"]] == [before["deployments"][0]["id"]]
    found = table.read(TOKEN, "urn::s", world.aws, world.id, world.inputs, world.outputs)
    assert found is not None
    assert table.diff(TOKEN, world.inputs, found[2], world.inputs).changes == ()


def test_given_other_capacity_when_updated_by_a_new_deployment_then_the_service_has_it(world: World) -> None:
    world.create(capacityProviderStrategies=[{"capacityProvider": "FARGATE_SPOT", "weight": 1}])
    before = world.service()

    changed = world.update(
        capacityProviderStrategies=[{"capacityProvider": "FARGATE", "weight": 1}], forceNewDeployment=True
    )

    assert changed == {"capacityProviderStrategies", "forceNewDeployment"}
    after = world.service()
    assert [s["capacityProvider"] for s in after["capacityProviderStrategy"]] == ["FARGATE"]
    assert after["deployments"][0]["id"] != before["deployments"][0]["id"]


def test_given_a_running_task_when_the_registry_is_removed_from_the_program_then_new_tasks_are_in_none(
    world: World,
) -> None:
    world.create(
        desiredCount=1,
        launchType="FARGATE",
        serviceRegistries={"registryArn": world.registry["Arn"]},
        waitForSteadyState=True,
    )
    instances = world.cloudmap.services[world.registry["Id"]].instances
    (old,) = instances

    changed = world.update(desiredCount=1, launchType="FARGATE", waitForSteadyState=True)

    assert changed == {"serviceRegistries"}
    assert world.service()["serviceRegistries"] == []
    (fresh,) = world.api.list_tasks(cluster="c", serviceName=world.inputs["name"])["taskArns"]
    assert fresh.rpartition("/")[2] != old
    until(lambda: not instances, "the old task stays in the registry")
