"""When ECS of the embedded cloud gets and gives back capacity, on a clock moved by hand; order inside a task.

Proves boot times, warm pools, scale-in after idleness, capacity strategies, throttled restarts and container
dependencies. Tasks are real but trivial processes. Does not prove the API's refusals (test_ecs.py).
"""

import functools
import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from keepwarm_localcloud.clockwork.clock import ManualClock
from keepwarm_localcloud.cloud import Cloud, CloudSettings
from keepwarm_localcloud.services.context import Service
from keepwarm_localcloud.services.ecs import EcsService
from keepwarm_localcloud.services.ecs.model import Instance
from keepwarm_localcloud.services.servicediscovery import ServiceDiscoveryService
from tests.support.patience import until

# EC2 of moto takes seconds to import.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:SOCKS support in urllib3")]
NETWORK = {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}
GPU = [{"type": "GPU", "value": "1"}]


class World:
    """A cluster with a GPU group behind a capacity provider; instances boot in 100 s."""

    def __init__(self, cloud: Cloud, clock: ManualClock, folder: Path) -> None:
        self.cloud, self.clock, self.api = cloud, clock, cloud.boto("ecs")
        self.image = f"file://{folder}"
        (folder / "config.json").write_text(
            json.dumps({"Entrypoint": ["/bin/sh", "-c"], "Cmd": ["sleep 300"]})
        )
        ami = cloud.boto("ec2").describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
        cloud.boto("ec2").create_launch_template(
            LaunchTemplateName="gpu", LaunchTemplateData={"ImageId": ami, "InstanceType": "g5.xlarge"}
        )
        self.asg = cloud.boto("autoscaling")
        self.asg.create_auto_scaling_group(
            AutoScalingGroupName="gpus", MinSize=0, MaxSize=4, DesiredCapacity=0, AvailabilityZones=["us-east-1a"],
            LaunchTemplate={"LaunchTemplateName": "gpu"}, NewInstancesProtectedFromScaleIn=True,
        )  # fmt: skip
        self.api.create_capacity_provider(
            name="gpu",
            autoScalingGroupProvider={
                "autoScalingGroupArn": self.group["AutoScalingGroupARN"],
                "managedScaling": {"status": "ENABLED"},
                "managedTerminationProtection": "ENABLED",
            },
        )
        self.api.create_cluster(clusterName="c", capacityProviders=["gpu", "FARGATE", "FARGATE_SPOT"])

    @property
    def group(self) -> dict[str, Any]:
        found: dict[str, Any] = self.asg.describe_auto_scaling_groups()["AutoScalingGroups"][0]
        return found

    @property
    def instances(self) -> list[Instance]:
        """Container instances, those that still boot among them."""
        return list(self.cloud.service("ecs", EcsService).capacity.instances.values())

    def define(self, containers: list[dict[str, Any]], *, fargate: bool = True) -> None:
        shape = {"requiresCompatibilities": ["FARGATE"], "cpu": "256", "memory": "512"} if fargate else {}
        named = [{"name": "m", "image": self.image, "stopTimeout": 2, **c} for c in containers]
        self.api.register_task_definition(
            family="t", networkMode="awsvpc", containerDefinitions=named, **shape
        )

    def gpu_service(self, count: int) -> None:
        self.define([{"memory": 1024, "resourceRequirements": GPU}], fargate=False)
        self.api.create_service(
            cluster="c", serviceName="s", taskDefinition="t", desiredCount=count, networkConfiguration=NETWORK,
            capacityProviderStrategy=[{"capacityProvider": "gpu", "weight": 1}],
        )  # fmt: skip

    def running(self) -> int:
        return int(self.api.describe_services(cluster="c", services=["s"])["services"][0]["runningCount"])

    def tasks(self) -> list[dict[str, Any]]:
        arns = self.api.list_tasks(cluster="c")["taskArns"]
        return list(self.api.describe_tasks(cluster="c", tasks=arns)["tasks"]) if arns else []

    def reached(self, state: str, count: int) -> bool:
        return [e.facts["state"] for e in self.cloud.journal.since(kind="task")].count(state) == count

    def started(self) -> list[float]:
        entries = self.cloud.journal.since(kind="task")
        return [e.at_s for e in entries if e.facts["state"] == "PROVISIONING"]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    clock = ManualClock()
    services: list[Service] = [EcsService(boot_s=100), ServiceDiscoveryService()]
    with Cloud(CloudSettings(account_id="123456789029", clock=clock), services) as cloud:
        yield World(cloud, clock, tmp_path)


def test_given_a_cold_group_when_a_task_waits_then_an_instance_boots_and_later_ends(
    world: World,
) -> None:
    world.gpu_service(1)
    until(lambda: len(world.instances) == 1)
    world.clock.advance(99)
    time.sleep(0.1)
    assert world.running() == 0
    assert [t["lastStatus"] for t in world.tasks()] == ["PROVISIONING"]
    world.clock.advance(1)
    until(lambda: world.running() == 1)
    world.api.update_service(cluster="c", service="s", desiredCount=0)
    until(lambda: world.running() == 0 and not world.tasks())
    until(lambda: world.instances[0].idle_since_s is not None)
    world.clock.advance(899)
    time.sleep(0.1)
    assert world.group["DesiredCapacity"] == 1
    world.clock.advance(2)
    until(lambda: world.group["DesiredCapacity"] == 0)
    assert world.group["Instances"] == []


def test_given_a_warm_pool_when_a_task_waits_then_the_instance_takes_a_fifth_of_the_time(
    world: World,
) -> None:
    world.asg.put_warm_pool(AutoScalingGroupName="gpus", PoolState="Stopped")
    world.gpu_service(1)
    until(lambda: len(world.instances) == 1)
    world.clock.advance(20)
    until(lambda: world.running() == 1)


def test_given_more_tasks_than_fit_the_group_then_the_rest_waits_and_events_say_why(
    world: World,
) -> None:
    world.gpu_service(6)
    until(lambda: len(world.instances) == 4)
    world.clock.advance(100)
    until(lambda: world.running() == 4)
    service = world.api.describe_services(cluster="c", services=["s"])["services"][0]
    assert service["pendingCount"] == 2
    assert any("RESOURCE:GPU" in e["message"] for e in service["events"])


def test_given_base_and_weights_when_tasks_start_then_they_are_spread_accordingly(world: World) -> None:
    world.define([{}])
    world.api.create_service(
        cluster="c", serviceName="s", taskDefinition="t", desiredCount=6, networkConfiguration=NETWORK,
        capacityProviderStrategy=[
            {"capacityProvider": "FARGATE", "base": 2, "weight": 1},
            {"capacityProvider": "FARGATE_SPOT", "weight": 3},
        ],
    )  # fmt: skip
    until(lambda: world.running() == 6)
    assert Counter(t["capacityProviderName"] for t in world.tasks()) == {"FARGATE": 2, "FARGATE_SPOT": 4}


def test_given_a_task_that_crashes_when_restarted_then_the_pauses_double(world: World) -> None:
    world.define([{"command": ["exit 1"]}])
    world.api.create_service(
        cluster="c", serviceName="s", taskDefinition="t", desiredCount=1, launchType="FARGATE",
        networkConfiguration=NETWORK,
    )  # fmt: skip
    for count, pause_s in enumerate((0.5, 1, 2, 4), start=1):
        until(functools.partial(world.reached, "STOPPED", count))
        assert len(world.started()) == count
        world.clock.advance(pause_s - 0.1)
        time.sleep(0.05)
        assert len(world.started()) == count
        world.clock.advance(0.1)
        until(functools.partial(world.reached, "PROVISIONING", count + 1))
    events = world.api.describe_services(cluster="c", services=["s"])["services"][0]["events"]
    assert any("unable to consistently start tasks" in e["message"] for e in events)


def test_given_container_dependencies_when_run_then_one_waits_for_the_success_of_the_other(
    world: World, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    world.define(
        [
            {"name": "init", "essential": False, "command": [f"sleep 0.2; echo init >> {log}"]},
            {
                "command": [f"echo main >> {log}; sleep 60"],
                "dependsOn": [{"containerName": "init", "condition": "SUCCESS"}],
            },
        ]
    )
    world.api.run_task(cluster="c", taskDefinition="t", launchType="FARGATE", networkConfiguration=NETWORK)
    until(lambda: [t["lastStatus"] for t in world.tasks()] == ["RUNNING"])
    until(lambda: log.read_text().split() == ["init", "main"])


class Disks:
    """Tasks on one instance that count their starts in a volume with a host path and in one without."""

    def __init__(self, world: World, folder: Path, *, then: str = "") -> None:
        self.world, self.seen = world, folder / "seen"
        world.api.register_task_definition(
            family="t",
            networkMode="awsvpc",
            volumes=[{"name": "models", "host": {"sourcePath": "/mnt/nvme"}}, {"name": "scratch"}],
            containerDefinitions=[
                {
                    "name": "m", "image": world.image, "memory": 1024, "stopTimeout": 2, "resourceRequirements": GPU,
                    "environment": [
                        {"name": "MODELS", "value": "/models/x"}, {"name": "SCRATCH", "value": "/scratch/x"}
                    ],
                    "mountPoints": [
                        {"sourceVolume": "models", "containerPath": "/models"},
                        {"sourceVolume": "scratch", "containerPath": "/scratch"},
                    ],
                    "command": [
                        'echo a >> "$MODELS"; echo a >> "$SCRATCH"; '
                        f'echo $(wc -l < "$MODELS") $(wc -l < "$SCRATCH") "$MODELS" >> {self.seen}{then}'
                    ],
                }
            ],
        )  # fmt: skip

    @property
    def instance(self) -> Instance | None:
        return next(iter(self.world.instances), None)

    def boot(self) -> None:
        """Let an instance that registers become ready."""
        until(lambda: self.instance is not None)
        self.world.clock.advance(100)
        until(lambda: self.instance is not None and self.instance.status == "ACTIVE")

    def start(self) -> str:
        """Start one task and let an instance for it boot."""
        started = self.world.api.run_task(
            cluster="c", taskDefinition="t", networkConfiguration=NETWORK,
            capacityProviderStrategy=[{"capacityProvider": "gpu", "weight": 1}],
        )  # fmt: skip
        self.boot()
        return str(started["tasks"][0]["taskArn"])

    def status(self, task: str) -> str:
        return str(self.world.api.describe_tasks(cluster="c", tasks=[task])["tasks"][0]["lastStatus"])

    def move(self, *, joined: bool) -> None:
        """Let the group's instances leave the cluster or come back."""
        self.world.api.put_cluster_capacity_providers(
            cluster="c",
            capacityProviders=["gpu"] if joined else ["FARGATE"],
            defaultCapacityProviderStrategy=[],
        )
        until(lambda: (self.instance is not None) is joined)

    def run(self) -> tuple[int, int, Path]:
        """Run one task to its end: its count of starts in either volume, and where the first lies."""
        task = self.start()
        until(lambda: self.status(task) == "STOPPED")
        models, scratch, file = self.seen.read_text().splitlines()[-1].split()
        return int(models), int(scratch), Path(file).parent


def test_given_a_volume_with_a_host_path_when_tasks_come_and_go_then_it_lives_as_long_as_its_instance(
    world: World, tmp_path: Path
) -> None:
    disks = Disks(world, tmp_path)
    assert disks.run()[:2] == (1, 1)
    models, scratch, place = disks.run()
    assert (models, scratch) == (2, 1)

    assert place.is_dir()
    until(lambda: disks.instance is not None and disks.instance.idle_since_s is not None)
    world.clock.advance(901)
    until(lambda: disks.instance is None)
    until(lambda: not place.exists())
    assert disks.run()[:2] == (1, 1)


def test_given_an_instance_that_leaves_its_cluster_when_it_comes_back_then_it_has_its_disk(
    world: World, tmp_path: Path
) -> None:
    disks = Disks(world, tmp_path)
    assert disks.run()[0] == 1

    disks.move(joined=False)
    disks.move(joined=True)

    assert disks.run()[0] == 2


class Draining:
    """A service of tasks with a GPU each, on instances of their own that are being drained."""

    def __init__(self, world: World, count: int, **percent: int) -> None:
        self.world = world
        world.gpu_service(count)
        world.api.update_service(cluster="c", service="s", deploymentConfiguration=percent)
        self.boot(count)
        until(lambda: world.running() == count)
        # Long enough to count as started.
        world.clock.advance(1)
        self.old = self.arns("s")

    def arns(self, service: str) -> list[str]:
        return list(self.world.api.list_tasks(cluster="c", serviceName=service)["taskArns"])

    def boot(self, total: int) -> None:
        """Let instances that register become ready."""
        until(lambda: len(self.world.instances) == total)
        self.world.clock.advance(100)
        until(lambda: all(i.status != "REGISTERING" for i in self.world.instances))

    def drain(self) -> None:
        arns = self.world.api.list_container_instances(cluster="c")["containerInstanceArns"]
        self.world.api.update_container_instances_state(
            cluster="c", containerInstances=arns, status="DRAINING"
        )

    def old_states(self) -> list[str]:
        found = self.world.api.describe_tasks(cluster="c", tasks=self.old)["tasks"]
        return sorted(t["desiredStatus"] for t in found)


def test_given_a_minimum_of_all_when_an_instance_drains_then_the_new_task_runs_first(
    world: World,
) -> None:
    draining = Draining(world, 1, minimumHealthyPercent=100, maximumPercent=200)
    world.define([{"memory": 128}], fargate=False)
    alone = world.api.run_task(cluster="c", taskDefinition="t", networkConfiguration=NETWORK)["tasks"][0]
    until(lambda: world.reached("RUNNING", 2))

    draining.drain()

    draining.boot(2)
    until(lambda: world.reached("RUNNING", 3))
    # The replacement runs, but does not count as started while the clock stands still.
    assert draining.old_states() == ["RUNNING"]
    world.clock.advance(1)
    until(lambda: draining.old_states() == ["STOPPED"] and world.running() == 1)
    tasks = {t["taskArn"]: t for t in world.tasks()}
    (fresh,) = draining.arns("s")
    assert tasks[fresh]["containerInstanceArn"] != tasks[alone["taskArn"]]["containerInstanceArn"]
    assert tasks[alone["taskArn"]]["lastStatus"] == "RUNNING"
    deployments = world.api.describe_services(cluster="c", services=["s"])["services"][0]["deployments"]
    assert [d["runningCount"] for d in deployments] == [1]


def test_given_a_minimum_of_half_when_instances_drain_then_half_of_the_service_tasks_ends_first(
    world: World,
) -> None:
    draining = Draining(world, 2, minimumHealthyPercent=50, maximumPercent=100)

    draining.drain()

    until(lambda: draining.old_states() == ["RUNNING", "STOPPED"])
    draining.boot(3)
    until(lambda: world.running() == 2)
    assert draining.old_states() == ["RUNNING", "STOPPED"]
    world.clock.advance(1)
    until(lambda: draining.old_states() == ["STOPPED", "STOPPED"])
    draining.boot(4)
    until(lambda: world.running() == 2)
    assert not set(draining.old) & set(draining.arns("s"))


def test_given_a_service_task_that_has_not_started_when_its_instance_drains_then_stopped_at_once(
    world: World,
) -> None:
    world.define(
        [
            {"name": "init", "essential": False, "memory": 128},
            {
                "memory": 128,
                "resourceRequirements": GPU,
                "dependsOn": [{"containerName": "init", "condition": "SUCCESS"}],
            },
        ],
        fargate=False,
    )
    world.api.create_service(
        cluster="c", serviceName="s", taskDefinition="t", desiredCount=1, networkConfiguration=NETWORK,
        capacityProviderStrategy=[{"capacityProvider": "gpu", "weight": 1}],
    )  # fmt: skip
    until(lambda: world.instances)
    world.clock.advance(100)
    until(lambda: world.reached("PENDING", 1))
    (instance,) = world.instances

    world.api.update_container_instances_state(
        cluster="c", containerInstances=[instance.arn], status="DRAINING"
    )

    until(lambda: world.reached("STOPPED", 1))
    stopped = [e.facts for e in world.cloud.journal.since(kind="task") if e.facts["state"] == "STOPPED"]
    assert [f["reason"] for f in stopped] == ["Container instance is draining"]


def test_given_a_terminated_instance_when_its_task_still_ends_then_it_has_its_disk(
    world: World, tmp_path: Path
) -> None:
    disks = Disks(world, tmp_path, then='; trap "" TERM; sleep 300')
    first = disks.start()
    until(lambda: disks.seen.exists())
    world.api.stop_task(cluster="c", task=first)
    until(lambda: disks.status(first) == "STOPPING")
    world.clock.advance(2)
    until(lambda: disks.status(first) == "STOPPED")
    disks.move(joined=False)
    disks.move(joined=True)
    second = disks.start()
    until(lambda: len(disks.seen.read_text().splitlines()) == 2)
    assert disks.instance is not None
    place = Path(disks.seen.read_text().split()[2]).parent

    world.asg.terminate_instance_in_auto_scaling_group(
        InstanceId=disks.instance.identity, ShouldDecrementDesiredCapacity=True
    )
    until(lambda: disks.status(second) == "STOPPING")
    assert place.is_dir()

    world.clock.advance(2)
    until(lambda: disks.status(second) == "STOPPED")
    until(lambda: not place.exists())
