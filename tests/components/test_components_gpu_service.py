"""GpuService: wakes from zero, is not reset by a deployment, comes down in order, and is hardened.

Order of deletion is the reverse of the dependencies asserted here. Not proved: that AWS or the embedded cloud takes it;
tests/localcloud and tests/engine deploy and destroy it.
"""

import base64
import json
import subprocess
from typing import Any

import pulumi
import pytest

import keepwarm as kw
from inference_server.settings import VARIABLES, ServerSettings
from keepwarm import limits
from keepwarm.checks import service as checks
from keepwarm.gpu_service import GpuServiceSpec
from keepwarm.service import hosts
from tests.support.deployed import DEFAULT_VPC, Deployed, deploy, refusal
from tests.support.samples import IMAGE, MODEL

SERVICE = "aws:ecs/service:Service"
TASK = "aws:ecs/taskDefinition:TaskDefinition"
GROUP = "aws:autoscaling/group:Group"
PROVIDER = "aws:ecs/capacityProvider:CapacityProvider"
ALARM = "aws:cloudwatch/metricAlarm:MetricAlarm"
POLICY = "aws:appautoscaling/policy:Policy"
SCALABLE = "aws:appautoscaling/target:Target"
TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"


CLUSTER = "arn:aws:ecs:eu-west-1:111122223333:cluster/shared"
CPUS: dict[str, Any] = {"gpus": 0, "capacity": "fargate"}


def service(**args: Any) -> Any:
    return lambda: kw.GpuService("g", {"image": IMAGE, **args})  # type: ignore[typeddict-item]


def made(**args: Any) -> Deployed:
    return deploy(service(**args), lookups=DEFAULT_VPC)


def container(seen: Deployed) -> dict[str, Any]:
    (only,) = json.loads(seen.one(TASK, "g-task")["containerDefinitions"])
    found: dict[str, Any] = only
    return found


# --- scaling


def test_given_zero_tasks_when_callers_come_then_their_own_metric_wakes_the_service() -> None:
    seen = made(max_tasks=3, backlog_per_task=10)
    target = seen.one(SCALABLE, "g-target")
    assert (target["minCapacity"], target["maxCapacity"]) == (0, 3)
    assert target["resourceId"] == "service/g-cluster-1a2b3c4/g-service-1a2b3c4"
    wake = {q["id"]: q for q in seen.one(ALARM, "g-backlog")["metricQueries"]}
    assert wake["backlog"]["metric"] == {
        "namespace": "Keepwarm",
        "metricName": "Backlog",
        "dimensions": {"Service": "g-discovery-1a2b3c4"},
        "stat": "Sum",
        "period": 60,
    }, "emitted by callers, so it exists at zero tasks"
    assert wake["desired"]["metric"]["dimensions"] == {
        "ClusterName": "g-cluster-1a2b3c4",
        "ServiceName": "g-service-1a2b3c4",
    }
    assert wake["missing"]["expression"] == "IF(FILL(desired, 0) < 1, CEIL(backlog / 10), 0)"
    assert seen.one(ALARM, "g-growth")["metricQueries"][-1]["expression"] == "CEIL(backlog / 10) - desired"


def test_given_any_backlog_when_it_rings_then_policies_only_add_tasks() -> None:
    seen = made(max_tasks=3)
    for name, cooldown in (("g-wake", 750), ("g-out", 180)):
        policy = seen.one(POLICY, name)["stepScalingPolicyConfiguration"]
        assert (policy["adjustmentType"], policy["cooldown"]) == ("ChangeInCapacity", cooldown)
        assert [
            (s["metricIntervalLowerBound"], s.get("metricIntervalUpperBound"), s["scalingAdjustment"])
            for s in policy["stepAdjustments"]
        ] == [("0.0", "1.0", 1), ("1.0", "2.0", 2), ("2.0", None, 3)]


def test_given_a_service_that_never_sleeps_then_nothing_wakes_it() -> None:
    names = [name for _, name in made(min_tasks=1, max_tasks=2).names()]
    assert "g-growth" in names
    assert not {"g-backlog", "g-wake"} & set(names)


def test_given_topics_then_a_saturated_service_notifies_them() -> None:
    topic = "arn:aws:sns:eu-west-1:111122223333:ops"
    saturated = made(max_tasks=3, alarm_topic_arns=[topic]).one(ALARM, "g-saturated")
    assert (saturated["alarmActions"], saturated["threshold"]) == ([topic], 90)


def test_given_silence_when_it_lasts_then_the_service_goes_back_to_its_minimum() -> None:
    seen = made(min_tasks=1, max_tasks=3, idle_minutes=7)
    idle = seen.one(ALARM, "g-idle")
    assert (idle["period"], idle["evaluationPeriods"], idle["treatMissingData"]) == (60, 7, "breaching")
    back = seen.one(POLICY, "g-in")["stepScalingPolicyConfiguration"]
    assert {step["scalingAdjustment"] for step in back["stepAdjustments"]} == {1}


def test_given_a_deployment_when_the_autoscaler_has_moved_counts_then_they_stay() -> None:
    seen = made(min_tasks=1, max_tasks=3)
    assert seen.told(SERVICE, "g-service").ignored == ["desiredCount"]
    assert seen.told(GROUP, "g-hosts").ignored == ["desiredCapacity"]
    assert "desiredCapacity" not in seen.one(GROUP, "g-hosts")


# --- removal


def test_given_a_destroy_when_it_runs_backwards_then_service_goes_before_association_provider_group_cluster() -> (
    None
):
    seen = made()
    assert "g-association" in seen.told(SERVICE, "g-service").dependencies
    assert (
        "g-capacity"
        in seen.told(
            "aws:ecs/clusterCapacityProviders:ClusterCapacityProviders", "g-association"
        ).dependencies
    )
    assert "g-hosts" in seen.told(PROVIDER, "g-capacity").dependencies
    assert "g-template" in seen.told(GROUP, "g-hosts").dependencies
    assert "g-cluster" in seen.told(TEMPLATE, "g-template").dependencies
    assert "g-service" in seen.told(SCALABLE, "g-target").dependencies
    assert {"g-execution-policy", "g-tasks-https"} <= set(seen.told(SERVICE, "g-service").dependencies)


def test_given_protected_instances_when_destroyed_then_nothing_waits_for_them() -> None:
    seen = made(warm_instances=2)
    group = seen.one(GROUP, "g-hosts")
    assert group["protectFromScaleIn"] is True
    assert group["forceDelete"] is True, "protected instances can't be scaled in, so waiting would never end"
    assert group["forceDeleteWarmPool"] is True
    assert group["waitForCapacityTimeout"] == "0"
    assert seen.one(SERVICE, "g-service")["forceDelete"] is True
    assert seen.one("aws:servicediscovery/service:Service", "g-discovery")["forceDestroy"] is True
    provider = seen.one(PROVIDER, "g-capacity")["autoScalingGroupProvider"]
    assert provider["managedTerminationProtection"] == "ENABLED"
    assert provider["managedScaling"]["status"] == "ENABLED", "protection needs managed scaling"


def test_given_retiring_when_deployed_then_protection_is_off_and_everything_shrinks_to_zero() -> None:
    seen = made(retiring=True, min_tasks=1, max_tasks=2, warm_instances=1)
    group = seen.one(GROUP, "g-hosts")
    assert (group["protectFromScaleIn"], group["maxSize"], group["warmPool"]["minSize"]) == (False, 0, 0)
    assert (
        seen.one(PROVIDER, "g-capacity")["autoScalingGroupProvider"]["managedTerminationProtection"]
        == "DISABLED"
    )
    target = seen.one(SCALABLE, "g-target")
    assert (target["minCapacity"], target["maxCapacity"]) == (0, 0)


# --- hosts


def test_given_an_auto_scaling_group_when_deployed_then_instances_are_gpu_hosts_and_hardened() -> None:
    seen = made(max_tasks=4, instance_types=["g6.12xlarge"])
    template = seen.one(TEMPLATE, "g-template")
    assert template["imageId"] == (
        "resolve:ssm:/aws/service/ecs/optimized-ami/amazon-linux-2023/gpu/recommended/image_id"
    )
    assert template["metadataOptions"] == {
        "httpEndpoint": "enabled",
        "httpTokens": "required",
        "httpPutResponseHopLimit": 1,
    }
    disk = template["blockDeviceMappings"][0]["ebs"]
    assert (disk["encrypted"], disk["volumeType"]) == ("true", "gp3")
    group = seen.one(GROUP, "g-hosts")
    assert (group["minSize"], group["maxSize"]) == (0, 2), (
        "four tasks fit one instance; one more for a deployment"
    )
    assert group["vpcZoneIdentifiers"] == ["subnet-0aaa", "subnet-0bbb"]


def test_given_several_types_when_deployed_then_the_group_may_launch_each() -> None:
    policy = made(instance_types=["g6.xlarge", "g5.xlarge"]).one(GROUP, "g-hosts")["mixedInstancesPolicy"]
    overrides = policy["launchTemplate"]["overrides"]
    assert [override["instanceType"] for override in overrides] == ["g6.xlarge", "g5.xlarge"]


def test_given_user_data_when_decoded_then_it_joins_the_cluster_and_makes_the_cache_at_every_boot() -> None:
    text = base64.b64decode(made(warm_instances=1).one(TEMPLATE, "g-template")["userData"]).decode()
    assert "ECS_CLUSTER=g-cluster-1a2b3c4\n" in text
    assert "ECS_ENABLE_GPU_SUPPORT=true\n" in text
    assert "ECS_AWSVPC_BLOCK_IMDS=true\n" in text
    assert "ECS_WARM_POOLS_CHECK=true\n" in text
    assert "systemctl enable --now keepwarm-cache.service" in text
    assert "@" not in text.replace("disks[@]", ""), "a placeholder was left"


def test_given_user_data_when_parsed_by_bash_then_both_scripts_are_sound() -> None:
    text = base64.b64decode(hosts.host_setup("c", gpus=1, drain_s=60, warm_pool=False)).decode()
    inner = text.split("<<'SCRIPT'\n")[1].split("\nSCRIPT\n")[0]
    for script in (text, inner):
        ran = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
        assert (ran.returncode, ran.stderr) == (0, "")


def test_given_managed_instances_when_deployed_then_ecs_launches_gpu_types_and_passes_only_our_role() -> None:
    seen = made(capacity=kw.Capacity.MANAGED, gpus=1)
    provider = seen.one(PROVIDER, "g-capacity")
    needs = provider["managedInstancesProvider"]["instanceLaunchTemplate"]["instanceRequirements"]
    assert needs["acceleratorCount"] == {"min": 1}
    assert needs["allowedInstanceTypes"] == ["g6.xlarge"]
    assert seen.one(TASK, "g-task")["requiresCompatibilities"] == ["MANAGED_INSTANCES"]
    passes = json.loads(seen.one("aws:iam/rolePolicy:RolePolicy", "g-infrastructure-pass")["policy"])[
        "Statement"
    ][0]
    assert passes["Resource"] == ["arn:aws:iam::111122223333:role/g-host-role-1a2b3c4"]
    assert not [name for kind, name in seen.names() if kind in (GROUP, TEMPLATE)]


def test_given_no_gpus_when_on_fargate_then_there_are_no_instances_and_no_gpu_requirement() -> None:
    seen = made(image="file:///images/server", gpus=0, capacity=kw.Capacity.FARGATE)
    assert not [name for kind, name in seen.names() if kind in (GROUP, TEMPLATE, PROVIDER)]
    task = seen.one(TASK, "g-task")
    assert (task["cpu"], task["memory"], task["requiresCompatibilities"]) == ("1024", "2048", ["FARGATE"])
    assert "resourceRequirements" not in container(seen)
    assert container(seen)["image"] == "file:///images/server"
    assert seen.one(SERVICE, "g-service")["capacityProviderStrategies"] == [
        {"capacityProvider": "FARGATE", "weight": 1}
    ]


# --- the task


def test_given_a_task_when_declared_then_it_is_confined_ready_before_called_and_drained() -> None:
    found = container(made(drain_s=90, start_s=200))
    assert found["user"] == "10001:10001"
    assert found["readonlyRootFilesystem"] is True
    assert found["linuxParameters"]["capabilities"] == {"drop": ["ALL"]}
    assert "privileged" not in found
    assert found["stopTimeout"] == 90
    assert found["healthCheck"]["startPeriod"] == 200
    assert "/readyz" in found["healthCheck"]["command"][1]
    assert found["resourceRequirements"] == [{"type": "GPU", "value": "1"}]
    assert found["mountPoints"] == [{"sourceVolume": "cache", "containerPath": "/cache", "readOnly": False}]
    assert found["logConfiguration"]["options"]["awslogs-group"] == "g-logs-1a2b3c4"
    assert {e["name"]: e["value"] for e in found["environment"]} == {
        "KEEPWARM_BATCH_MAX": "4",
        "KEEPWARM_CACHE_DIR": "/cache",
        "KEEPWARM_DRAIN_S": "90",
        "KEEPWARM_METRIC_NAMESPACE": "Keepwarm",
        "KEEPWARM_QUEUE_MAX": "1",
        "PORT": "8080",
    }


@pytest.mark.parametrize("drain_s", [2, 5, 60, 3600])
def test_given_a_drain_when_deployed_then_the_server_is_done_before_it_is_killed(drain_s: int) -> None:
    found = container(made(drain_s=drain_s, concurrency_per_task=32))
    server = ServerSettings.from_env({e["name"]: e["value"] for e in found["environment"]})
    assert found["stopTimeout"] == server.drain_s == drain_s
    assert 0.8 * drain_s <= server.drain_work_s < drain_s
    assert server.queue_max == limits.task_queue(1, 32)


def test_given_a_model_and_secrets_when_declared_then_they_are_references_and_roles_are_apart() -> None:
    secret = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:key-AbCdEf"
    seen = made(model=MODEL, secrets={"API_KEY": secret})
    found = container(seen)
    assert found["secrets"] == [{"name": "API_KEY", "valueFrom": secret}]
    execution = json.loads(seen.one("aws:iam/rolePolicy:RolePolicy", "g-execution-policy")["policy"])
    assert {a for s in execution["Statement"] for a in s["Action"]} == {
        "logs:CreateLogStream",
        "logs:PutLogEvents",
        "secretsmanager:GetSecretValue",
        "ecr:GetAuthorizationToken",
        "ecr:BatchGetImage",
        "ecr:GetDownloadUrlForLayer",
        "ecr:BatchCheckLayerAvailability",
    }
    task = json.loads(seen.one("aws:iam/rolePolicy:RolePolicy", "g-task-policy")["policy"])
    assert {a for s in task["Statement"] for a in s["Action"]} == {"s3:GetObject", "s3:GetObjectVersion"}


def test_given_a_service_when_deployed_then_it_is_private_found_by_name_and_rolls_back() -> None:
    seen = made(caller_security_group_ids=["sg-0ccc"])
    told = seen.one(SERVICE, "g-service")
    assert told["networkConfiguration"]["assignPublicIp"] is False
    assert told["deploymentCircuitBreaker"] == {"enable": True, "rollback": True}
    assert told["serviceRegistries"]["containerPort"] == 8080
    records = seen.one("aws:servicediscovery/service:Service", "g-discovery")["dnsConfig"]["dnsRecords"]
    assert records == [{"type": "SRV", "ttl": 10}], "SRV carries the port"
    ingress = [r.inputs for r in seen.resources if r.typ.endswith(":SecurityGroupIngressRule")]
    assert {rule["referencedSecurityGroupId"] for rule in ingress} == {"g-callers-group-id", "sg-0ccc"}
    assert all("cidrIpv4" not in rule for rule in ingress)


def test_given_permits_for_two_tasks_then_all_find_room_in_one() -> None:
    told = {
        e["name"]: e["value"] for e in container(made(max_tasks=2, concurrency_per_task=32))["environment"]
    }
    assert told["KEEPWARM_QUEUE_MAX"] == "64"


@pytest.mark.parametrize("late", [False, True], ids=["now", "late"])
def test_given_a_batch_and_a_drain_then_the_server_is_told(late: bool) -> None:
    batch: Any = pulumi.Output.from_input(8) if late else 8
    drain: Any = pulumi.Output.from_input(120) if late else 120
    found = container(made(**CPUS, max_batch=batch, drain_s=drain))
    told = {e["name"]: e["value"] for e in found["environment"]}
    assert (told["KEEPWARM_BATCH_MAX"], told["KEEPWARM_DRAIN_S"], found["stopTimeout"]) == ("8", "120", 120)


def test_given_the_servers_own_settings_then_the_components_bounds_are_theirs() -> None:
    assert VARIABLES["batch_max"][2] == limits.SERVER_BATCH_MAX
    assert VARIABLES["drain_s"][2] == limits.SERVER_DRAIN_MAX_S
    assert VARIABLES["queue_max"][2] >= limits.ADMISSION_PERMITS_MAX
    assert ServerSettings.batch_max == checks.MAX_BATCH


@pytest.mark.parametrize("units", sorted(limits.ECS_FARGATE_SIZES_MIB))
def test_given_every_size_of_fargate_then_it_is_taken(units: int) -> None:
    memories = limits.ECS_FARGATE_SIZES_MIB[units]
    for memory in (memories[0], memories[-1]):
        task = made(**CPUS, cpu_units=units, memory_mb=memory, ephemeral_gb=21).one(TASK, "g-task")
        assert (task["cpu"], task["memory"]) == (str(units), str(memory))
        assert task["ephemeralStorage"] == {"sizeInGib": 21}


def test_given_another_strategy_then_the_service_takes_it_with_a_new_deployment() -> None:
    assert made().one(SERVICE, "g-service")["forceNewDeployment"] is True


@pytest.mark.parametrize(
    ("spot", "strategies"),
    [
        ({}, [{"capacityProvider": "FARGATE_SPOT", "weight": 100}]),
        (
            {"on_demand_base": 2, "on_demand_percent": 25},
            [
                {"capacityProvider": "FARGATE", "base": 2, "weight": 25},
                {"capacityProvider": "FARGATE_SPOT", "weight": 75},
            ],
        ),
    ],
)
def test_given_spot_on_fargate_then_tasks_are_spread(spot: Any, strategies: list[Any]) -> None:
    seen = made(**CPUS, spot=spot)
    assert seen.one(SERVICE, "g-service")["capacityProviderStrategies"] == strategies
    association = seen.one("aws:ecs/clusterCapacityProviders:ClusterCapacityProviders", "g-association")
    assert association["capacityProviders"] == [s["capacityProvider"] for s in strategies]


def test_given_spot_in_a_group_then_it_mixes_what_it_launches() -> None:
    policy = made(spot={"on_demand_base": 1}).one(GROUP, "g-hosts")["mixedInstancesPolicy"]
    assert policy["instancesDistribution"] == {
        "onDemandBaseCapacity": 1,
        "onDemandPercentageAboveBaseCapacity": 0,
        "spotAllocationStrategy": "price-capacity-optimized",
    }


def test_given_spot_on_managed_instances_then_all_are() -> None:
    provider = made(capacity="managed", spot={}).one(PROVIDER, "g-capacity")["managedInstancesProvider"]
    assert provider["instanceLaunchTemplate"]["capacityOptionType"] == "SPOT"


def test_given_a_cluster_and_a_namespace_then_none_are_made_or_changed() -> None:
    seen = made(**CPUS, cluster_arn=CLUSTER, namespace={"id": "ns-1", "name": "inside"})
    made_kinds = {kind.rpartition(":")[2] for kind, _ in seen.names()}
    assert not {"Cluster", "ClusterCapacityProviders", "PrivateDnsNamespace"} & made_kinds
    assert seen.one(SERVICE, "g-service")["cluster"] == CLUSTER
    assert seen.one(SCALABLE, "g-target")["resourceId"] == "service/shared/g-service-1a2b3c4"
    assert (
        seen.one("aws:servicediscovery/service:Service", "g-discovery")["dnsConfig"]["namespaceId"] == "ns-1"
    )
    assert seen.outputs["g"]["namespace"] == "inside"
    assert seen.one(TASK, "g-task")["family"] == "g-task-role-1a2b3c4"


def test_given_tags_then_instances_and_volumes_have_them() -> None:
    seen = made(tags={"team": "ml"})
    assert seen.one(TEMPLATE, "g-template")["tagSpecifications"] == [
        {"resourceType": kind, "tags": {"Name": "g", "team": "ml"}} for kind in ("instance", "volume")
    ]
    bare = {
        r.name for r in seen.resources if r.typ.startswith("aws:") and r.inputs.get("tags") != {"team": "ml"}
    }
    assert not [
        name for name in bare if name.endswith(("-cluster", "-task", "-service", "-logs", "-role", "-idle"))
    ]


def test_given_a_plan_then_the_binding_says_how_long_it_takes_to_wake() -> None:
    spec = GpuServiceSpec.of("g", {"image": IMAGE, "max_tasks": 2, "concurrency_per_task": 3})
    assert spec.planned("g") == {
        "namespace": "g-namespace-0000000",
        "name": "g-discovery-0000000",
        "wake_s": 750.0,
    }
    assert spec.permits() == 6


def test_given_a_duty_cycle_when_declared_then_policies_can_read_it() -> None:
    assert made(duty_cycle=0.75).one(SERVICE, "g-service")["tags"] == {"keepwarm:duty-cycle": "0.75"}


def test_given_a_service_when_scaled_out_then_permits_are_what_it_really_takes() -> None:
    permits: list[int] = []
    deploy(
        lambda: permits.append(
            kw.GpuService("g", {"image": IMAGE, "max_tasks": 3, "concurrency_per_task": 4}).permits()
        ),
        lookups=DEFAULT_VPC,
    )
    assert permits == [12]


REFUSED = [
    (
        {"capacity": "fargate"},
        "KW124 GpuService 'g' capacity: got 'fargate' with 1 GPUs; allowed 'asg' or 'managed' with GPUs; because "
        "Fargate has no GPUs; fix: choose another capacity, or set gpus to 0",
    ),
    (
        {"instance_types": ["m7i.large"]},
        "KW125 GpuService 'g' instance_types: got 'm7i.large'; allowed a type with whole GPUs, such as g6.xlarge, "
        "g6e.2xlarge or p5.48xlarge; because it has no GPU, or is not known; fix: choose one of "
        "keepwarm.limits.GPU_INSTANCES",
    ),
    (
        {"gpus": 2},
        "KW125 GpuService 'g' gpus: got 2 on g6.xlarge; allowed up to 1; because the instance has no more; "
        "fix: choose "
        "a larger type, or fewer GPUs",
    ),
    (
        {"instance_types": ["g5g.xlarge"]},
        "KW125 GpuService 'g' instance_types: got 'g5g.xlarge' (arm64); allowed x86_64 types for an x86_64 image; "
        "because an image runs on its own instruction set, and ECS offers its GPU image for x86_64 only; fix: choose "
        "another type",
    ),
    (
        {"min_tasks": 2},
        "KW127 GpuService 'g' max_tasks: got 1; allowed at least min_tasks, 2; because an upper bound lies above the "
        "lower; fix: raise max_tasks",
    ),
    (
        {"image": "registry/server:latest"},
        "KW142 GpuService 'g' image: got 'registry/server:latest'; allowed "
        "'<registry>/<repository>@sha256:<64 hex>', "
        "or 'file:///...' on the embedded cloud; because a tag can point to another image tomorrow; fix: use "
        "the digest "
        "the build printed",
    ),
    (
        {"memory_mb": 20_000},
        "KW151 GpuService 'g' memory_mb: got 20000; allowed a whole number, 6 to 15,360 MB; because the smallest of "
        "the instance types offers a task no more; fix: set memory_mb within the range",
    ),
    (
        {"start_s": 301},
        "KW152 GpuService 'g' start_s: got 301; allowed a whole number, 0 to 300 seconds; because ECS forgives failing "
        "health checks no longer; fix: set start_s within the range",
    ),
    (
        {"signal_period_s": 45},
        "KW146 GpuService 'g' signal_period_s: got 45; allowed a whole number, 60 to 3,600 seconds; because callers "
        "report once a minute; fix: set signal_period_s within the range",
    ),
    (
        {"signal_period_s": 90},
        "KW146 GpuService 'g' signal_period_s: got 90; allowed a multiple of 60 seconds; because the metrics that the "
        "alarms compare come once a minute; fix: take the next of them",
    ),
    (
        {"max_tasks": 60, "concurrency_per_task": 2},
        "KW150 GpuService 'g' max_tasks: got 60 x concurrency_per_task 2 = 120 requests at a time; allowed up to 100; "
        "because one pool of permits holds no more: a caller looks for a free one with one read; fix: lower "
        "max_tasks x "
        "concurrency_per_task to 100 or less, or split the service",
    ),
    (
        {"drain_s": 3601},
        "KW152 GpuService 'g' drain_s: got 3601; allowed a whole number, 2 to 3,600 seconds; because the server plans "
        "with no more; fix: set drain_s within the range",
    ),
    (
        {**CPUS, "drain_s": 121},
        "KW152 GpuService 'g' drain_s: got 121; allowed a whole number, 2 to 120 seconds; because Fargate kills a "
        "stopping task then; fix: set drain_s within the range",
    ),
    (
        {"spot": {}, "drain_s": 121},
        "KW152 GpuService 'g' drain_s: got 121; allowed a whole number, 2 to 120 seconds; because spot capacity is "
        "gone then; fix: set drain_s within the range",
    ),
    (
        {**CPUS, "cpu_units": 300, "memory_mb": 700},
        "KW151 GpuService 'g' cpu_units: got 300; allowed 256, 512, 1,024, 2,048, 4,096, 8,192, 16,384; because "
        "Fargate "
        "has no other size; fix: take the next larger one",
    ),
    (
        {**CPUS, "cpu_units": 8192, "memory_mb": 17_408},
        "KW151 GpuService 'g' memory_mb: got 17408 with cpu_units 8192; allowed 16,384 to 61,440 in steps of 4,096 MB; "
        "because Fargate pairs each CPU size with its own memory sizes; fix: take the next larger one, or other "
        "cpu_units",
    ),
    (
        {**CPUS, "cpu_units": 256, "memory_mb": 1536},
        "KW151 GpuService 'g' memory_mb: got 1536 with cpu_units 256; allowed 512, 1,024, 2,048 MB; because Fargate "
        "pairs each CPU size with its own memory sizes; fix: take the next larger one, or other cpu_units",
    ),
    (
        {**CPUS, "ephemeral_gb": 20},
        "KW105 GpuService 'g' ephemeral_gb: got 20; allowed a whole number, 21 to 200 GiB; because Fargate gives 20 "
        "without asking, and no more than 200; fix: set ephemeral_gb within the range",
    ),
    (
        {"ephemeral_gb": 50},
        "KW102 GpuService 'g' ephemeral_gb: got a size; allowed nothing on instances; because their tasks write to the "
        "instance's disks; fix: set root_volume_gb, or drop it",
    ),
    (
        {"gpus": 0, "instance_types": ["t2.nano"]},
        "KW125 GpuService 'g' instance_types[0]: got 't2.nano'; allowed a type such as m7i.large; because it is no "
        "instance type, or leaves nothing beside the 1,024 MiB that kernel and agent keep; fix: choose a larger type",
    ),
    (
        {"capacity": "managed", "spot": {"on_demand_base": 1}},
        "KW102 GpuService 'g' spot: got a mix with on-demand capacity; allowed spot capacity only, or none, with "
        "'managed'; because a provider of managed instances launches one kind of capacity; fix: set spot to {}, or "
        "choose capacity 'asg'",
    ),
    (
        {"cluster_arn": CLUSTER},
        "KW102 GpuService 'g' cluster_arn: got a cluster with capacity 'asg'; allowed capacity 'managed' or "
        "'fargate' in "
        "a cluster that exists; because to let the group's provider in, the cluster's whole list of providers would be "
        "replaced; fix: leave cluster_arn out, or choose another capacity",
    ),
    (
        {**CPUS, "cluster_arn": "c"},
        "KW140 GpuService 'g' cluster_arn: got 'c'; allowed the ARN of an ECS cluster; because the service and its "
        "scaling name it; fix: pass cluster.arn",
    ),
    (
        {"environment": {"KEEPWARM_QUEUE_MAX": "5"}},
        "KW102 GpuService 'g' environment.KEEPWARM_QUEUE_MAX: got a value; allowed none; because it follows "
        "max_tasks and "
        "concurrency_per_task; fix: set max_tasks and concurrency_per_task instead",
    ),
    (
        {"vpc_id": "vpc-0aaa"},
        "KW102 GpuService 'g' vpc_id/subnet_ids: got one of them; allowed both or none; because subnets "
        "belong to their "
        "VPC; fix: set both, or leave both out to use the default VPC",
    ),
    (
        {"environment": {"HF_TOKEN": "x"}},
        "KW135 GpuService 'g' environment.HF_TOKEN: got 1 characters that are not shown; allowed settings and "
        "references; because its name says that it is a secret, and everyone who may describe the task could "
        "read it; "
        "fix: put it into Secrets Manager and name its ARN in secrets",
    ),
    (
        {"secrets": {"HF_TOKEN": "hunter2"}},
        "KW140 GpuService 'g' secrets.HF_TOKEN: got 'hunter2'; allowed the ARN of a secret; because ECS "
        "reads the value "
        "itself; it never passes through the stack; fix: pass the ARN of the secret",
    ),
]


@pytest.mark.parametrize(("args", "text"), REFUSED, ids=lambda v: v[:5] if isinstance(v, str) else None)
def test_given_a_service_that_could_not_run_when_declared_then_it_is_refused(
    args: dict[str, Any], text: str
) -> None:
    assert refusal(service(**args), lookups=DEFAULT_VPC) == text


def test_given_a_late_image_by_tag_when_resolved_then_the_words_are_the_same() -> None:
    late = pulumi.Output.from_input("registry/server:latest")
    assert refusal(service(image=late), lookups=DEFAULT_VPC) == REFUSED[5][1]


def test_given_both_default_vpc_inputs_when_given_then_nothing_is_looked_up() -> None:
    deploy(service(vpc_id="vpc-0aaa", subnet_ids=["subnet-0aaa", "subnet-0bbb"]))
