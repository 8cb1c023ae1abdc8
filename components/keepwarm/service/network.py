"""Where a GPU service is reached: security groups that let callers in alone, and its name in Cloud Map."""

from typing import NamedTuple

import pulumi
import pulumi_aws as aws
from pulumi_aws import ec2, servicediscovery, vpc

from keepwarm.iam import documents
from keepwarm.service import hosts
from keepwarm.service.hosts import Network
from keepwarm.service.spec import GpuServiceSpec


class Groups(NamedTuple):
    """Security groups of tasks and callers, and the rules that tasks need."""

    tasks: ec2.SecurityGroup
    callers: ec2.SecurityGroup
    rules: list[pulumi.Resource]


class Discovery(NamedTuple):
    """The service in Cloud Map."""

    namespace: pulumi.Input[str]
    service: servicediscovery.Service


def locate(owner: pulumi.Resource, spec: GpuServiceSpec) -> Network:
    """The given network, or the default VPC."""
    if spec.vpc_id is not None:
        return Network(spec.vpc_id, spec.subnet_ids)
    vpc_id = aws.ec2.get_vpc_output(default=True, opts=pulumi.InvokeOutputOptions(parent=owner)).id
    return Network(vpc_id, documents.default_subnets(owner, vpc_id))


def groups(owner: pulumi.ComponentResource, name: str, spec: GpuServiceSpec, network: Network) -> Groups:
    """Callers may reach the tasks' port, and nobody else anything."""
    child = pulumi.ResourceOptions(parent=owner)

    def group(role: str, description: str) -> ec2.SecurityGroup:
        return ec2.SecurityGroup(
            f"{name}-{role}-group",
            description=description,
            vpc_id=network.vpc_id,
            tags=spec.tags,
            opts=child,
        )

    callers = group("callers", "Callers of the GPU service")
    tasks = group("tasks", "Tasks of the GPU service: only callers come in")
    rules: list[pulumi.Resource] = [hosts.https_out(owner, f"{name}-tasks-https", tasks)]
    hosts.https_out(owner, f"{name}-callers-https", callers)
    rules.append(
        vpc.SecurityGroupEgressRule(
            f"{name}-callers-out",
            security_group_id=callers.id,
            description="Requests to the GPU service",
            ip_protocol="tcp",
            from_port=spec.port,
            to_port=spec.port,
            referenced_security_group_id=tasks.id,
            opts=child,
        )
    )
    for index, source in enumerate([callers.id, *spec.caller_security_group_ids]):
        rules.append(
            vpc.SecurityGroupIngressRule(
                f"{name}-callers-in-{index}",
                security_group_id=tasks.id,
                description="Requests of callers",
                ip_protocol="tcp",
                from_port=spec.port,
                to_port=spec.port,
                referenced_security_group_id=source,
                opts=child,
            )
        )
    return Groups(tasks, callers, rules)


def discovery(
    owner: pulumi.ComponentResource, name: str, spec: GpuServiceSpec, network: Network
) -> Discovery:
    """The name callers look up, in a namespace of its own or in the given one."""
    child = pulumi.ResourceOptions(parent=owner)
    if spec.namespace is None:
        made = servicediscovery.PrivateDnsNamespace(
            f"{name}-namespace", vpc=network.vpc_id, tags=spec.tags, opts=child
        )
        namespace_id: pulumi.Input[str] = made.id
        namespace: pulumi.Input[str] = made.name
    else:
        namespace_id, namespace = spec.namespace["id"], spec.namespace["name"]
    service = servicediscovery.Service(
        f"{name}-discovery",
        # SRV records carry the port, which DiscoverInstances then answers as AWS_INSTANCE_PORT.
        dns_config={
            "namespace_id": namespace_id,
            "routing_policy": "MULTIVALUE",
            "dns_records": [{"type": "SRV", "ttl": 10}],
        },
        # Instances that a killed task left registered would otherwise keep the service from being deleted.
        force_destroy=True,
        tags=spec.tags,
        opts=child,
    )
    return Discovery(namespace, service)
