"""Ways from a VPC to AWS services without the internet."""

from dataclasses import dataclass
from typing import Any, NotRequired, Self, TypedDict

import pulumi
import pulumi_aws as aws
from pulumi_aws import ec2, vpc

from keepwarm import limits
from keepwarm._values import concat, known
from keepwarm.checks.inputs import Checks
from keepwarm.checks.names import child as child_name
from keepwarm.checks.problems import Report, Where, show
from keepwarm.checks.tags import Tags, tags
from keepwarm.iam import documents

GATEWAYS = ("s3", "dynamodb")
SERVICES = ("data-servicediscovery", "ecr.api", "ecr.dkr", "ecs", "ecs-agent", "ecs-telemetry", "logs")
SERVICE = r"[a-z0-9][a-z0-9.-]{0,63}"


class PrivateEndpointsArgs(TypedDict):
    """Inputs of a PrivateEndpoints."""

    vpc_id: NotRequired[pulumi.Input[str]]
    """VPC that gets the endpoints. Default: the account's default VPC."""
    subnet_ids: NotRequired[pulumi.Input[list[pulumi.Input[str]]]]
    """Subnets of the interface endpoints, one per availability zone. Default: those of the default VPC."""
    services: NotRequired[list[str]]
    """Services reached by interface endpoints, as in ``com.amazonaws.<region>.<service>``
    (https://docs.aws.amazon.com/vpc/latest/privatelink/aws-services-privatelink-support.html). Each costs by the hour
    and zone. Default: what a GPU service and its callers need: Cloud Map's data plane, ECR, ECS and logs."""
    route_table_ids: NotRequired[pulumi.Input[list[pulumi.Input[str]]]]
    """Route tables that get the ways to the services of `gateways`. Default: all of the VPC."""
    gateways: NotRequired[list[str]]
    """Services reached by gateway endpoints, which cost nothing: s3, dynamodb, both, or none where the VPC has them
    already (a route table takes one gateway per service). Default: both."""
    tags: NotRequired[dict[str, pulumi.Input[str]]]
    """Tags of endpoints and their security group. Default: none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PrivateEndpointsSpec:
    """Inputs of a PrivateEndpoints after their check: all that its resources are built from."""

    vpc_id: pulumi.Input[str] | None
    """None is the account's default VPC."""
    subnet_ids: pulumi.Input[list[pulumi.Input[str]]] | None
    services: list[str]
    route_table_ids: pulumi.Input[list[pulumi.Input[str]]] | None
    gateways: list[str]
    tags: Tags | None

    @classmethod
    def of(
        cls,
        name: str,
        args: PrivateEndpointsArgs,
        *,
        where: Where | None = None,
        report: Report | None = None,
    ) -> Self:
        """Check the inputs; nothing is registered.

        Raises:
            InvalidArgs: something was refused, and no report was passed in.
        """
        checks = Checks("PrivateEndpoints", name, args, PrivateEndpointsArgs, where=where, report=report)
        args = checks.args
        spec = cls(
            vpc_id=args.get("vpc_id"),
            subnet_ids=args.get("subnet_ids"),
            services=args.get("services", list(SERVICES)),
            route_table_ids=args.get("route_table_ids"),
            gateways=args.get("gateways", list(GATEWAYS)),
            tags=tags(checks, args),
        )
        _check_services(checks, spec)
        _check_subnets(checks, spec)
        child_name(checks, name, "group", limits.EC2_GROUP_NAME_MAX_CHARS)
        checks.done()
        return spec


class PrivateEndpoints(pulumi.ComponentResource):
    """Lets functions and tasks in a VPC reach S3, DynamoDB and the services a GPU service needs, over TLS only."""

    vpc_id: pulumi.Output[str]
    """VPC of the endpoints."""
    security_group_id: pulumi.Output[str]
    """Security group of the interface endpoints."""

    def __init__(
        self, name: str, args: PrivateEndpointsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        spec = PrivateEndpointsSpec.of(name, args)
        super().__init__("keepwarm:index:PrivateEndpoints", name, {}, opts)
        vpc_id = spec.vpc_id
        if vpc_id is None:
            look = pulumi.InvokeOutputOptions(parent=self)
            vpc_id = aws.ec2.get_vpc_output(default=True, opts=look).id
        region = documents.region(self)
        self._gateways(name, spec, vpc_id, region)
        group = self._group(name, spec, vpc_id)
        self._interfaces(name, spec, vpc_id, region, group)

        self.vpc_id = pulumi.Output.from_input(vpc_id)
        self.security_group_id = group.id
        self.register_outputs({"vpc_id": self.vpc_id, "security_group_id": self.security_group_id})

    def _gateways(
        self, name: str, spec: PrivateEndpointsSpec, vpc_id: pulumi.Input[str], region: pulumi.Input[str]
    ) -> None:
        tables: Any = spec.route_table_ids
        if spec.gateways and tables is None:
            look = pulumi.InvokeOutputOptions(parent=self)
            tables = aws.ec2.get_route_tables_output(vpc_id=vpc_id, opts=look).ids
        for service in spec.gateways:
            ec2.VpcEndpoint(
                f"{name}-{service}",
                vpc_id=vpc_id,
                service_name=concat("com.amazonaws.", region, ".", service),
                vpc_endpoint_type="Gateway",
                route_table_ids=tables,
                tags=spec.tags,
                opts=pulumi.ResourceOptions(parent=self),
            )

    def _group(self, name: str, spec: PrivateEndpointsSpec, vpc_id: pulumi.Input[str]) -> ec2.SecurityGroup:
        child = pulumi.ResourceOptions(parent=self)
        look = pulumi.InvokeOutputOptions(parent=self)
        group = ec2.SecurityGroup(
            f"{name}-group",
            description="Endpoints: TLS from inside the VPC",
            vpc_id=vpc_id,
            tags=spec.tags,
            opts=child,
        )
        vpc.SecurityGroupIngressRule(
            f"{name}-https",
            security_group_id=group.id,
            description="TLS from inside the VPC",
            ip_protocol="tcp",
            from_port=443,
            to_port=443,
            cidr_ipv4=aws.ec2.get_vpc_output(id=vpc_id, opts=look).cidr_block,
            opts=child,
        )
        return group

    def _interfaces(
        self,
        name: str,
        spec: PrivateEndpointsSpec,
        vpc_id: pulumi.Input[str],
        region: pulumi.Input[str],
        group: ec2.SecurityGroup,
    ) -> None:
        subnets: Any = spec.subnet_ids
        if spec.services and subnets is None:
            subnets = documents.default_subnets(self, vpc_id)
        for service in spec.services:
            ec2.VpcEndpoint(
                f"{name}-{service.replace('.', '-')}",
                vpc_id=vpc_id,
                service_name=concat("com.amazonaws.", region, ".", service),
                vpc_endpoint_type="Interface",
                private_dns_enabled=True,
                subnet_ids=subnets,
                security_group_ids=[group.id],
                tags=spec.tags,
                opts=pulumi.ResourceOptions(parent=self),
            )


def _check_services(checks: Checks[Any], spec: PrivateEndpointsSpec) -> None:
    for index, service in enumerate(spec.services):
        checks.text(
            f"services[{index}]",
            service,
            SERVICE,
            code="KW101",
            allowed="service names such as 'sqs' or 'ecr.api'",
            because="it becomes part of the endpoint's name",
            fix="leave out 'com.amazonaws.<region>.'",
        )
        if service in GATEWAYS:
            checks.add(
                code="KW102",
                key=f"services[{index}]",
                got=repr(service),
                allowed="services other than s3 and dynamodb",
                because="these two get gateway endpoints, which cost nothing",
                fix="remove it",
            )
    for index, service in enumerate(spec.gateways):
        if service not in GATEWAYS:
            checks.add(
                code="KW102",
                key=f"gateways[{index}]",
                got=show(service),
                allowed=" or ".join(GATEWAYS),
                because="no other service has a gateway endpoint",
                fix="name it in services",
            )
    for key, names in (("services", spec.services), ("gateways", spec.gateways)):
        if len(set(names)) < len(names):
            checks.add(
                code="KW102",
                key=key,
                got="a service twice",
                allowed="each once",
                because="it needs one endpoint",
                fix="remove one",
            )


def _check_subnets(checks: Checks[Any], spec: PrivateEndpointsSpec) -> None:
    if spec.vpc_id is not None and spec.subnet_ids is None and spec.services:
        checks.add(
            code="KW102",
            key="subnet_ids",
            got="nothing",
            allowed="subnets of vpc_id",
            because="endpoints stand in subnets",
            fix="set subnet_ids",
        )
    subnets = spec.subnet_ids
    if isinstance(subnets, list) and len({s if known(s) else i for i, s in enumerate(subnets)}) == 1:
        checks.add(
            code="KW138",
            key="subnet_ids",
            got="1 subnet",
            allowed="two or more, in two availability zones",
            because="one zone's outage would cut the VPC off",
            fix="add a subnet of another zone",
        )
