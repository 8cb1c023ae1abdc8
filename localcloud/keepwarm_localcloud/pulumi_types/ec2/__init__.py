"""EC2 and VPC."""

from keepwarm_localcloud.pulumi_types.base import ResourceType
from keepwarm_localcloud.pulumi_types.ec2.gateways import (
    Eip,
    FlowLog,
    InternetGateway,
    NatGateway,
    VpcEndpoint,
)
from keepwarm_localcloud.pulumi_types.ec2.network import Route, RouteTable, RouteTableAssociation, Subnet, Vpc
from keepwarm_localcloud.pulumi_types.ec2.security import (
    SecurityGroup,
    SecurityGroupEgressRule,
    SecurityGroupIngressRule,
)
from keepwarm_localcloud.pulumi_types.ec2.template import LaunchTemplate

TYPES: tuple[type[ResourceType], ...] = (
    LaunchTemplate,
    SecurityGroup,
    SecurityGroupIngressRule,
    SecurityGroupEgressRule,
    Vpc,
    Subnet,
    RouteTable,
    Route,
    RouteTableAssociation,
    VpcEndpoint,
    InternetGateway,
    Eip,
    NatGateway,
    FlowLog,
)
