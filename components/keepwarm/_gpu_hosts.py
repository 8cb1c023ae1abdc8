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
from keepwarm._values import concat
from keepwarm.iam import documents
from keepwarm.iam.grants import Statement

HOST_CACHE = "/mnt/keepwarm-cache"
TASK_UID = 10001
SETUP = Path(__file__).parent / "templates" / "host_setup.sh"
ROOT_DEVICE = "/dev/xvda"


class Hosts(NamedTuple):
    """Where tasks run: the provider they name, and what must outlive the service."""

    provider: pulumi.Input[str]
    association: ecs.ClusterCapacityProviders


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
    owner: pulumi.ComponentResource, name: str, spec: dict[str, Any], cluster: ecs.Cluster
) -> ecs.CapacityProvider:
    """An Auto Scaling group of ECS GPU instances and the capacity provider that scales it from zero."""
    child = pulumi.ResourceOptions(parent=owner)
    profile = _host_profile(owner, name, cluster)
    group = ec2.SecurityGroup(
        f"{name}-hosts-group",
        description="Instances of the GPU service: nothing comes in",
        vpc_id=spec["vpc_id"],
        opts=child,
    )
    https_out(owner, f"{name}-hosts-https", group)
    image = limits.ECS_GPU_AMI_PARAMETER if spec["gpus"] else limits.ECS_AMI_PARAMETER
    if spec["architecture"] == "arm64":
        image = image.replace("/recommended/", "/arm64/recommended/") if not spec["gpus"] else image
    template = ec2.LaunchTemplate(
        f"{name}-template",
        # Resolved at launch: a new AMI reaches new instances without a change of the stack.
        image_id=f"resolve:ssm:{image}",
        instance_type=spec["instance_types"][0],
        iam_instance_profile={"arn": profile.arn},
        vpc_security_group_ids=[group.id],
        metadata_options={
            "http_endpoint": "enabled",
            "http_tokens": "required",
            "http_put_response_hop_limit": 1,
        },
        block_device_mappings=[
            {
                "device_name": ROOT_DEVICE,
                "ebs": {
                    "volume_size": spec["root_volume_gb"],
                    "volume_type": "gp3",
                    "encrypted": "true",
                    "kms_key_id": spec["kms"],
                    "delete_on_termination": "true",
                },
            }
        ],
        monitoring={"enabled": True},
        update_default_version=True,
        user_data=pulumi.Output.all(cluster.name, spec["drain_s"]).apply(
            lambda values: host_setup(
                values[0],
                gpus=spec["gpus"],
                drain_s=int(values[1]),
                warm_pool=spec["warm_instances"] is not None,
            )
        ),
        opts=child,
    )
    retiring = spec["retiring"]
    protected = spec["termination_protection"] and not retiring
    launch: dict[str, Any] = {
        "id": template.id,
        "version": template.latest_version.apply(lambda v: str(int(v))),
    }
    choice: dict[str, Any] = {"launch_template": launch}
    if len(spec["instance_types"]) > 1:
        choice = {
            "mixed_instances_policy": {
                "launch_template": {
                    "launch_template_specification": {
                        "launch_template_id": template.id,
                        "version": launch["version"],
                    },
                    "overrides": [{"instance_type": kind} for kind in spec["instance_types"]],
                },
                "instances_distribution": {"on_demand_percentage_above_base_capacity": 100},
            }
        }
    hosts = autoscaling.Group(
        f"{name}-hosts",
        min_size=0,
        max_size=0 if retiring else spec["max_hosts"],
        vpc_zone_identifiers=spec["subnet_ids"],
        health_check_type="EC2",
        health_check_grace_period=300,
        protect_from_scale_in=protected,
        warm_pool=None
        if spec["warm_instances"] is None
        else {"pool_state": "Stopped", "min_size": 0 if retiring else spec["warm_instances"]},
        # ECS puts this tag on groups it scales; declared here so that it is no difference afterwards.
        tags=[{"key": "AmazonECSManaged", "value": "true", "propagate_at_launch": True}],
        wait_for_capacity_timeout="0",
        force_delete=True,
        force_delete_warm_pool=None if spec["warm_instances"] is None else True,
        **choice,
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
                "maximum_scaling_step_size": spec["max_hosts"],
                "instance_warmup_period": 60,
            },
            "managed_termination_protection": "ENABLED" if protected else "DISABLED",
            "managed_draining": "ENABLED",
        },
        opts=child,
    )


def managed_hosts(
    owner: pulumi.ComponentResource, name: str, spec: dict[str, Any], cluster: ecs.Cluster
) -> ecs.CapacityProvider:
    """ECS managed instances: AWS launches, patches and ends them."""
    child = pulumi.ResourceOptions(parent=owner)
    instance_role = iam.Role(f"{name}-host-role", assume_role_policy=documents.trust_instances(), opts=child)
    iam.RolePolicyAttachment(
        f"{name}-host-policy",
        role=instance_role.name,
        policy_arn=_managed(owner, "AmazonECSInstanceRolePolicyForManagedInstances"),
        opts=child,
    )
    profile = iam.InstanceProfile(f"{name}-host-profile", role=instance_role.name, opts=child)
    infrastructure = iam.Role(
        f"{name}-infrastructure",
        assume_role_policy=documents.trust("ecs.amazonaws.com", documents.account(owner)),
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
    group = ec2.SecurityGroup(
        f"{name}-hosts-group",
        description="Instances of the GPU service: nothing comes in",
        vpc_id=spec["vpc_id"],
        opts=child,
    )
    https_out(owner, f"{name}-hosts-https", group)
    needs: dict[str, Any] = {
        "vcpu_count": {"min": 1},
        "memory_mib": {"min": 1024},
        "allowed_instance_types": spec["instance_types"],
    }
    if spec["gpus"]:
        needs |= {
            "accelerator_types": ["gpu"],
            "accelerator_manufacturers": ["nvidia"],
            "accelerator_count": {"min": spec["gpus"]},
        }
    launch: Any = {
        "ec2_instance_profile_arn": profile.arn,
        "network_configuration": {"subnets": spec["subnet_ids"], "security_groups": [group.id]},
        "storage_configuration": {"storage_size_gib": spec["root_volume_gb"]},
        "instance_requirements": needs,
    }
    return ecs.CapacityProvider(
        f"{name}-capacity",
        cluster=cluster.name,
        managed_instances_provider={
            "infrastructure_role_arn": infrastructure.arn,
            "instance_launch_template": launch,
        },
        opts=pulumi.ResourceOptions(parent=owner, depends_on=[attached, passed]),
    )


def associate(
    owner: pulumi.ComponentResource, name: str, cluster: ecs.Cluster, provider: pulumi.Input[str]
) -> ecs.ClusterCapacityProviders:
    """Let the cluster use the provider."""
    return ecs.ClusterCapacityProviders(
        f"{name}-association",
        cluster_name=cluster.name,
        capacity_providers=[provider],
        default_capacity_provider_strategies=[{"capacity_provider": provider, "weight": 1}],
        opts=pulumi.ResourceOptions(parent=owner),
    )


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


def _host_profile(owner: pulumi.ComponentResource, name: str, cluster: ecs.Cluster) -> iam.InstanceProfile:
    """What the ECS agent of an instance does, on this cluster alone."""
    child = pulumi.ResourceOptions(parent=owner)
    role = iam.Role(f"{name}-host-role", assume_role_policy=documents.trust_instances(), opts=child)
    instances = cluster.arn.apply(lambda arn: arn.replace(":cluster/", ":container-instance/") + "/*")
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
    return iam.InstanceProfile(f"{name}-host-profile", role=role.name, opts=child)
