"""Capacity under a GPU service: instances of an Auto Scaling group, managed instances, or Fargate.

Order of life, and backwards of death: cluster -> group -> capacity provider -> association -> service. The group is
deleted by force: its protected instances can't be scaled in, so waiting for them to drain would never end.
"""

import base64
from pathlib import Path
from typing import Any, NamedTuple

import pulumi
from pulumi_aws import autoscaling, ec2, ecs, iam, vpc

from keepwarm import limits
from keepwarm._values import concat, derive
from keepwarm.checks.function import Architecture
from keepwarm.iam import documents
from keepwarm.iam.grants import Statement
from keepwarm.service.spec import GpuServiceSpec

HOST_CACHE = "/mnt/keepwarm-cache"
TASK_UID = 10001
SETUP = Path(__file__).parent.parent / "templates" / "host_setup.sh"
ROOT_DEVICE = "/dev/xvda"


class Cluster(NamedTuple):
    """Where the service runs, made by it or not."""

    name: pulumi.Input[str]
    arn: pulumi.Input[str]
    own: bool


class Network(NamedTuple):
    """VPC and subnets, given or looked up."""

    vpc_id: pulumi.Input[str]
    subnet_ids: Any


def make_cluster(owner: pulumi.ComponentResource, name: str, spec: GpuServiceSpec) -> Cluster:
    """A cluster with Container Insights, or the one that was given."""
    if spec.cluster_arn is not None:
        name_of = derive(lambda arn: arn.rpartition("/")[2], spec.cluster_arn)
        return Cluster(name_of, spec.cluster_arn, own=False)
    made = ecs.Cluster(
        f"{name}-cluster",
        settings=[{"name": "containerInsights", "value": "enabled"}],
        tags=spec.tags,
        opts=pulumi.ResourceOptions(parent=owner),
    )
    return Cluster(made.name, made.arn, own=True)


def host_setup(cluster: str, *, gpus: int, drain_s: int, warm_pool: bool) -> str:
    """User data of an instance: joins the cluster, makes the model cache on the instance store at every boot."""
    text = SETUP.read_text()
    for key, value in {
        "CLUSTER": cluster,
        "GPU": "true" if gpus else "false",
        "DRAIN_S": str(drain_s),
        "WARM_POOL": "true" if warm_pool else "false",
        "CACHE": HOST_CACHE,
        "UID": str(TASK_UID),
    }.items():
        text = text.replace(f"@{key}@", value)
    return base64.b64encode(text.encode()).decode()


def host_group(
    owner: pulumi.ComponentResource, name: str, spec: GpuServiceSpec, cluster: Cluster, network: Network
) -> ecs.CapacityProvider:
    """An Auto Scaling group of ECS GPU instances and the capacity provider that scales it from zero."""
    template = _template(owner, name, spec, cluster, network)
    retiring = spec.retiring
    protected = spec.termination_protection and not retiring
    hosts = autoscaling.Group(
        f"{name}-hosts",
        min_size=0,
        max_size=0 if retiring else spec.size.max_hosts,
        vpc_zone_identifiers=network.subnet_ids,
        health_check_type="EC2",
        health_check_grace_period=300,
        protect_from_scale_in=protected,
        warm_pool=None
        if spec.warm_instances is None
        else {"pool_state": "Stopped", "min_size": 0 if retiring else spec.warm_instances},
        # ECS puts this tag on groups it scales; declared here so that it is no difference afterwards.
        tags=[{"key": "AmazonECSManaged", "value": "true", "propagate_at_launch": True}, *_group_tags(spec)],
        wait_for_capacity_timeout="0",
        force_delete=True,
        force_delete_warm_pool=None if spec.warm_instances is None else True,
        **_launches(spec, template),
        # The capacity provider owns the size of the group; a deployment must not reset it.
        opts=pulumi.ResourceOptions(parent=owner, ignore_changes=["desiredCapacity"]),
    )
    return ecs.CapacityProvider(
        f"{name}-capacity",
        auto_scaling_group_provider={
            "auto_scaling_group_arn": hosts.arn,
            "managed_scaling": {
                "status": "ENABLED",
                "target_capacity": 100,
                "minimum_scaling_step_size": 1,
                "maximum_scaling_step_size": spec.size.max_hosts,
                "instance_warmup_period": 60,
            },
            "managed_termination_protection": "ENABLED" if protected else "DISABLED",
            "managed_draining": "ENABLED",
        },
        tags=spec.tags,
        opts=pulumi.ResourceOptions(parent=owner),
    )


def _group_tags(spec: GpuServiceSpec) -> list[Any]:
    """Tags of the group itself: its instances and volumes get theirs from the launch template."""
    return [
        {"key": key, "value": value, "propagate_at_launch": False} for key, value in (spec.tags or {}).items()
    ]


def _launches(spec: GpuServiceSpec, template: ec2.LaunchTemplate) -> dict[str, Any]:
    """What the group launches: one type on demand, or a mix of types and kinds of capacity."""
    version = template.latest_version.apply(lambda v: str(int(v)))
    if len(spec.instance_types) == 1 and spec.spot is None:
        return {"launch_template": {"id": template.id, "version": version}}
    distribution: dict[str, Any] = {"on_demand_percentage_above_base_capacity": 100}
    if spec.spot is not None:
        distribution = {
            "on_demand_base_capacity": spec.spot.on_demand_base,
            "on_demand_percentage_above_base_capacity": spec.spot.on_demand_percent,
            # The pools that are least likely to be taken back, and of these the cheapest.
            "spot_allocation_strategy": "price-capacity-optimized",
        }
    return {
        "mixed_instances_policy": {
            "launch_template": {
                "launch_template_specification": {"launch_template_id": template.id, "version": version},
                "overrides": [{"instance_type": kind} for kind in spec.instance_types],
            },
            "instances_distribution": distribution,
        },
    }


def _template(
    owner: pulumi.ComponentResource, name: str, spec: GpuServiceSpec, cluster: Cluster, network: Network
) -> ec2.LaunchTemplate:
    """What an instance of the group is made of."""
    child = pulumi.ResourceOptions(parent=owner)
    group = _hosts_group(owner, name, spec, network)
    image = limits.ECS_GPU_AMI_PARAMETER if spec.gpus else limits.ECS_AMI_PARAMETER
    if spec.architecture is Architecture.ARM64 and not spec.gpus:
        image = image.replace("/recommended/", "/arm64/recommended/")
    ebs: Any = {
        "volume_size": spec.root_volume_gb,
        "volume_type": "gp3",
        "encrypted": "true",
        "kms_key_id": spec.kms_key_arn,
        "delete_on_termination": "true",
    }
    # Default tags of the provider reach neither instances nor volumes that the group launches.
    labels = {"Name": name, **(spec.tags or {})}
    return ec2.LaunchTemplate(
        f"{name}-template",
        # Resolved at launch: a new AMI reaches new instances without a change of the stack.
        image_id=f"resolve:ssm:{image}",
        instance_type=spec.instance_types[0],
        iam_instance_profile={"arn": _host_profile(owner, name, spec, cluster).arn},
        vpc_security_group_ids=[group.id],
        metadata_options={
            "http_endpoint": "enabled",
            "http_tokens": "required",
            "http_put_response_hop_limit": 1,
        },
        block_device_mappings=[{"device_name": ROOT_DEVICE, "ebs": ebs}],
        tag_specifications=[{"resource_type": kind, "tags": labels} for kind in ("instance", "volume")],
        monitoring={"enabled": True},
        update_default_version=True,
        user_data=pulumi.Output.all(cluster.name, spec.drain_s).apply(
            lambda values: host_setup(
                values[0],
                gpus=spec.gpus,
                drain_s=int(values[1]),
                warm_pool=spec.warm_instances is not None,
            )
        ),
        tags=spec.tags,
        opts=child,
    )


def managed_hosts(
    owner: pulumi.ComponentResource, name: str, spec: GpuServiceSpec, cluster: Cluster, network: Network
) -> ecs.CapacityProvider:
    """ECS managed instances: AWS launches, patches and ends them."""
    profile, infrastructure, rights = _managed_roles(owner, name, spec)
    group = _hosts_group(owner, name, spec, network)
    needs: dict[str, Any] = {
        "vcpu_count": {"min": 1},
        "memory_mib": {"min": 1024},
        "allowed_instance_types": spec.instance_types,
    }
    if spec.gpus:
        needs |= {
            "accelerator_types": ["gpu"],
            "accelerator_manufacturers": ["nvidia"],
            "accelerator_count": {"min": spec.gpus},
        }
    launch: Any = {
        "ec2_instance_profile_arn": profile.arn,
        "network_configuration": {"subnets": network.subnet_ids, "security_groups": [group.id]},
        "storage_configuration": {"storage_size_gib": spec.root_volume_gb},
        "instance_requirements": needs,
        "capacity_option_type": None if spec.spot is None else "SPOT",
    }
    return ecs.CapacityProvider(
        f"{name}-capacity",
        cluster=cluster.name,
        managed_instances_provider={
            "infrastructure_role_arn": infrastructure.arn,
            "instance_launch_template": launch,
            "propagate_tags": None if spec.tags is None else "CAPACITY_PROVIDER",
        },
        tags=spec.tags,
        opts=pulumi.ResourceOptions(parent=owner, depends_on=rights),
    )


def _managed_roles(
    owner: pulumi.ComponentResource, name: str, spec: GpuServiceSpec
) -> tuple[iam.InstanceProfile, iam.Role, list[pulumi.Resource]]:
    """Profile of the instances, the role ECS makes them with, and its rights."""
    child = pulumi.ResourceOptions(parent=owner)
    instance_role = iam.Role(
        f"{name}-host-role", assume_role_policy=documents.trust_instances(), tags=spec.tags, opts=child
    )
    iam.RolePolicyAttachment(
        f"{name}-host-policy",
        role=instance_role.name,
        policy_arn=_managed(owner, "AmazonECSInstanceRolePolicyForManagedInstances"),
        opts=child,
    )
    profile = iam.InstanceProfile(f"{name}-host-profile", role=instance_role.name, tags=spec.tags, opts=child)
    infrastructure = iam.Role(
        f"{name}-infrastructure",
        assume_role_policy=documents.trust("ecs.amazonaws.com", documents.account(owner)),
        tags=spec.tags,
        opts=child,
    )
    attached = iam.RolePolicyAttachment(
        f"{name}-infrastructure-policy",
        role=infrastructure.name,
        policy_arn=_managed(owner, "AmazonECSInfrastructureRolePolicyForManagedInstances"),
        opts=child,
    )
    # The AWS policy passes roles named ecsInstanceRole* only; the name here is left to Pulumi.
    passes: Statement = {
        "actions": ["iam:PassRole"],
        "resources": [instance_role.arn],
        "conditions": {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}},
    }
    passed = iam.RolePolicy(
        f"{name}-infrastructure-pass",
        role=infrastructure.name,
        policy=documents.document([passes]),
        opts=child,
    )
    return profile, infrastructure, [attached, passed]


def fargate_strategies(spec: GpuServiceSpec) -> list[Any]:
    """How tasks are spread over Fargate and Fargate Spot."""
    if spec.spot is None:
        return [{"capacity_provider": "FARGATE", "weight": 1}]
    kept: dict[str, Any] = {
        "capacity_provider": "FARGATE",
        "base": spec.spot.on_demand_base,
        "weight": spec.spot.on_demand_percent,
    }
    taken = {"capacity_provider": "FARGATE_SPOT", "weight": 100 - spec.spot.on_demand_percent}
    return [kept, taken] if kept["base"] or kept["weight"] else [taken]


def associate(
    owner: pulumi.ComponentResource, name: str, cluster: Cluster, strategies: list[Any]
) -> list[pulumi.Resource]:
    """Let the component's own cluster use the providers; the list of another's cluster is not ours to replace."""
    if not cluster.own:
        return []
    return [
        ecs.ClusterCapacityProviders(
            f"{name}-association",
            cluster_name=cluster.name,
            capacity_providers=[strategy["capacity_provider"] for strategy in strategies],
            default_capacity_provider_strategies=strategies,
            opts=pulumi.ResourceOptions(parent=owner),
        )
    ]


def https_out(owner: pulumi.Resource, name: str, group: ec2.SecurityGroup) -> vpc.SecurityGroupEgressRule:
    """AWS APIs, the registry and the image over TLS, and nothing else."""
    return vpc.SecurityGroupEgressRule(
        name,
        security_group_id=group.id,
        description="AWS APIs over TLS",
        ip_protocol="tcp",
        from_port=443,
        to_port=443,
        cidr_ipv4="0.0.0.0/0",
        opts=pulumi.ResourceOptions(parent=owner),
    )


def _managed(owner: pulumi.Resource, policy: str) -> pulumi.Input[str]:
    return concat("arn:", documents.partition(owner), ":iam::aws:policy/", policy)


def _hosts_group(
    owner: pulumi.ComponentResource, name: str, spec: GpuServiceSpec, network: Network
) -> ec2.SecurityGroup:
    group = ec2.SecurityGroup(
        f"{name}-hosts-group",
        description="Instances of the GPU service: nothing comes in",
        vpc_id=network.vpc_id,
        tags=spec.tags,
        opts=pulumi.ResourceOptions(parent=owner),
    )
    https_out(owner, f"{name}-hosts-https", group)
    return group


def _host_profile(
    owner: pulumi.ComponentResource, name: str, spec: GpuServiceSpec, cluster: Cluster
) -> iam.InstanceProfile:
    """What the ECS agent of an instance does, on this cluster alone."""
    child = pulumi.ResourceOptions(parent=owner)
    role = iam.Role(
        f"{name}-host-role", assume_role_policy=documents.trust_instances(), tags=spec.tags, opts=child
    )
    instances = derive(lambda arn: arn.replace(":cluster/", ":container-instance/") + "/*", cluster.arn)
    statements: list[Statement] = [
        {"actions": ["ecs:DiscoverPollEndpoint"], "resources": ["*"]},
        {
            "actions": [
                "ecs:RegisterContainerInstance",
                "ecs:DeregisterContainerInstance",
                "ecs:SubmitAttachmentStateChanges",
                "ecs:SubmitContainerStateChange",
                "ecs:SubmitTaskStateChange",
            ],
            "resources": [cluster.arn],
        },
        {
            "actions": ["ecs:Poll", "ecs:StartTelemetrySession", "ecs:UpdateContainerInstancesState"],
            "resources": [instances],
        },
    ]
    iam.RolePolicy(f"{name}-host-policy", role=role.name, policy=documents.document(statements), opts=child)
    return iam.InstanceProfile(f"{name}-host-profile", role=role.name, tags=spec.tags, opts=child)
