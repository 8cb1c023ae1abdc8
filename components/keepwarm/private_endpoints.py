"""Ways from a VPC to AWS services without the internet."""

from typing import Any, NotRequired, TypedDict

import pulumi
import pulumi_aws as aws
from pulumi_aws import ec2, vpc

from keepwarm._values import concat, known
from keepwarm.checks.inputs import Checks
from keepwarm.checks.names import child as child_name
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
    """Route tables that get the ways to S3 and DynamoDB. Default: all of the VPC."""


class PrivateEndpoints(pulumi.ComponentResource):
    """Lets functions and tasks in a VPC reach S3, DynamoDB and the services a GPU service needs, over TLS only."""

    vpc_id: pulumi.Output[str]
    """VPC of the endpoints."""
    security_group_id: pulumi.Output[str]
    """Security group of the interface endpoints."""

    def __init__(
        self, name: str, args: PrivateEndpointsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        checks = Checks("PrivateEndpoints", name, args, PrivateEndpointsArgs)
        args = checks.args
        services = list(args.get("services", SERVICES))
        _check(checks, args, services)
        child_name(checks, name, "group", 255)
        checks.done()
        super().__init__("keepwarm:index:PrivateEndpoints", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        look = pulumi.InvokeOutputOptions(parent=self)

        default = None if "vpc_id" in args else aws.ec2.get_vpc_output(default=True, opts=look).id
        vpc_id = args["vpc_id"] if default is None else default
        subnets: Any = args.get("subnet_ids")
        if subnets is None:
            subnets = documents.default_subnets(self, vpc_id)
        tables: Any = args.get("route_table_ids")
        if tables is None:
            tables = aws.ec2.get_route_tables_output(vpc_id=vpc_id, opts=look).ids
        region = documents.region(self)
        range_ = aws.ec2.get_vpc_output(id=vpc_id, opts=look).cidr_block
        for service in GATEWAYS:
            ec2.VpcEndpoint(
                f"{name}-{service}",
                vpc_id=vpc_id,
                service_name=concat("com.amazonaws.", region, ".", service),
                vpc_endpoint_type="Gateway",
                route_table_ids=tables,
                opts=child,
            )
        group = ec2.SecurityGroup(
            f"{name}-group", description="Endpoints: TLS from inside the VPC", vpc_id=vpc_id, opts=child
        )
        vpc.SecurityGroupIngressRule(
            f"{name}-https",
            security_group_id=group.id,
            description="TLS from inside the VPC",
            ip_protocol="tcp",
            from_port=443,
            to_port=443,
            cidr_ipv4=range_,
            opts=child,
        )
        for service in services:
            ec2.VpcEndpoint(
                f"{name}-{service.replace('.', '-')}",
                vpc_id=vpc_id,
                service_name=concat("com.amazonaws.", region, ".", service),
                vpc_endpoint_type="Interface",
                private_dns_enabled=True,
                subnet_ids=subnets,
                security_group_ids=[group.id],
                opts=child,
            )

        self.vpc_id = pulumi.Output.from_input(vpc_id)
        self.security_group_id = group.id
        self.register_outputs({"vpc_id": self.vpc_id, "security_group_id": self.security_group_id})


def _check(checks: Checks[Any], args: PrivateEndpointsArgs, services: list[str]) -> None:
    for service in services:
        checks.text(
            "services",
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
                key="services",
                got=repr(service),
                allowed="services other than s3 and dynamodb",
                because="these two get gateway endpoints, which cost nothing",
                fix="remove it",
            )
    if len(set(services)) < len(services):
        checks.add(
            code="KW102",
            key="services",
            got="a service twice",
            allowed="each once",
            because="it needs one endpoint",
            fix="remove one",
        )
    if "vpc_id" in args and "subnet_ids" not in args:
        checks.add(
            code="KW102",
            key="subnet_ids",
            got="nothing",
            allowed="subnets of vpc_id",
            because="endpoints stand in subnets",
            fix="set subnet_ids",
        )
    subnets = args.get("subnet_ids")
    if isinstance(subnets, list) and len({s if known(s) else i for i, s in enumerate(subnets)}) == 1:
        checks.add(
            code="KW138",
            key="subnet_ids",
            got="1 subnet",
            allowed="two or more, in two availability zones",
            because="one zone's outage would cut the VPC off",
            fix="add a subnet of another zone",
        )
