"""EC2: VPCs, subnets, route tables."""
# base.ResourceType documents the four operations; `token` is a Pulumi type token, not a password.
# ruff: noqa: D102, S105

import zlib
from collections.abc import Mapping
from typing import Any

from keepwarm_localcloud.pulumi_types.answers import unless_gone
from keepwarm_localcloud.pulumi_types.base import Call, Made, ResourceType
from keepwarm_localcloud.pulumi_types.convert import (
    fill,
    tag_map,
)
from keepwarm_localcloud.pulumi_types.ec2.requests import delete, first, retag, specification


class Vpc(ResourceType):
    """`aws:ec2/vpc:Vpc`; the id is `vpc-...`."""

    token = "aws:ec2/vpc:Vpc"
    spec = """cidrBlock!? enableDnsHostnames=false enableDnsSupport=true instanceTenancy="default"
        tags"""
    import_id = "the VPC's id"

    def create(self, call: Call) -> Made:
        client = call.client("ec2")
        answer = client.create_vpc(
            CidrBlock=call.inputs["cidrBlock"],
            InstanceTenancy=call.inputs["instanceTenancy"],
            **specification(call, "vpc"),
        )["Vpc"]
        vpc = answer["VpcId"]
        self._dns(
            call,
            vpc,
            {"enableDnsHostnames"} | ({"enableDnsSupport"} if not call.get("enableDnsSupport") else set()),
        )
        return vpc, self._chosen(call, answer)

    def _dns(self, call: Call, vpc: str, names: set[str] | frozenset[str]) -> None:
        client = call.client("ec2")
        for mine in ("enableDnsSupport", "enableDnsHostnames"):
            if mine in names:
                api = mine[0].upper() + mine[1:]
                client.modify_vpc_attribute(VpcId=vpc, **{api: {"Value": bool(call.get(mine))}})

    def _chosen(self, call: Call, answer: dict[str, Any]) -> dict[str, Any]:
        vpc = answer["VpcId"]
        client = call.client("ec2")
        where = [{"Name": "vpc-id", "Values": [vpc]}]
        tables = client.describe_route_tables(Filters=where)["RouteTables"]
        main = next((t["RouteTableId"] for t in tables if any(a.get("Main") for a in t["Associations"])), "")
        acls = client.describe_network_acls(Filters=where)["NetworkAcls"]
        groups = client.describe_security_groups(
            Filters=[*where, {"Name": "group-name", "Values": ["default"]}]
        )["SecurityGroups"]
        return {
            "arn": call.arn("ec2", f"vpc/{vpc}"),
            "ownerId": call.aws.account_id,
            "mainRouteTableId": main,
            "defaultRouteTableId": main,
            "defaultNetworkAclId": next((a["NetworkAclId"] for a in acls if a.get("IsDefault")), ""),
            "defaultSecurityGroupId": groups[0]["GroupId"] if groups else "",
            "dhcpOptionsId": answer.get("DhcpOptionsId", ""),
            "region": call.region,
        }

    def read(self, call: Call) -> dict[str, Any] | None:
        vpc = first(call, "describe_vpcs", "Vpcs", VpcIds=[call.id])
        if vpc is None:
            return None
        client = call.client("ec2")

        def attribute(name: str) -> bool:
            key = name[0].upper() + name[1:]
            return bool(client.describe_vpc_attribute(VpcId=call.id, Attribute=name)[key]["Value"])

        return {
            **self._chosen(call, vpc),
            "cidrBlock": vpc["CidrBlock"],
            "instanceTenancy": vpc.get("InstanceTenancy", "default"),
            "enableDnsSupport": attribute("enableDnsSupport"),
            "enableDnsHostnames": attribute("enableDnsHostnames"),
            "tags": tag_map(vpc.get("Tags")),
        }

    def replaces(self, name: str, wanted: Any, actual: Any, inputs: Mapping[str, Any]) -> bool:
        # A VPC can leave its dedicated hosts; it cannot move to them.
        return name == "instanceTenancy" and (actual, wanted) != ("dedicated", "default")

    def update(self, call: Call) -> dict[str, Any]:
        self._dns(call, call.id, call.changed)
        if "instanceTenancy" in call.changed:
            call.client("ec2").modify_vpc_tenancy(VpcId=call.id, InstanceTenancy="default")
        retag(call, call.id)
        return {}

    def delete(self, call: Call) -> None:
        delete(call, "delete_vpc", VpcId=call.id)


class Subnet(ResourceType):
    """`aws:ec2/subnet:Subnet`; the id is `subnet-...`."""

    token = "aws:ec2/subnet:Subnet"
    spec = """vpcId! cidrBlock!? availabilityZone!? availabilityZoneId!? mapPublicIpOnLaunch=false
        assignIpv6AddressOnCreation=false tags"""
    import_id = "the subnet's id"

    def create(self, call: Call) -> Made:
        client = call.client("ec2")
        answer = client.create_subnet(
            **fill(self, call.inputs, "vpcId", "cidrBlock", "availabilityZone", "availabilityZoneId"),
            **specification(call, "subnet"),
        )["Subnet"]
        if call.get("mapPublicIpOnLaunch"):
            client.modify_subnet_attribute(SubnetId=answer["SubnetId"], MapPublicIpOnLaunch={"Value": True})
        return answer["SubnetId"], self._chosen(call, answer)

    def _chosen(self, call: Call, answer: dict[str, Any]) -> dict[str, Any]:
        return {
            "arn": answer.get("SubnetArn") or call.arn("ec2", f"subnet/{answer['SubnetId']}"),
            "ownerId": call.aws.account_id,
            "availabilityZone": answer["AvailabilityZone"],
            "availabilityZoneId": answer.get("AvailabilityZoneId", ""),
            "region": call.region,
        }

    def read(self, call: Call) -> dict[str, Any] | None:
        subnet = first(call, "describe_subnets", "Subnets", SubnetIds=[call.id])
        if subnet is None:
            return None
        return {
            **self._chosen(call, subnet),
            "vpcId": subnet["VpcId"],
            "cidrBlock": subnet["CidrBlock"],
            "mapPublicIpOnLaunch": subnet.get("MapPublicIpOnLaunch") in (True, "true"),
            "assignIpv6AddressOnCreation": subnet.get("AssignIpv6AddressOnCreation", False),
            "tags": tag_map(subnet.get("Tags")),
        }

    def update(self, call: Call) -> dict[str, Any]:
        if "mapPublicIpOnLaunch" in call.changed:
            call.client("ec2").modify_subnet_attribute(
                SubnetId=call.id, MapPublicIpOnLaunch={"Value": bool(call.get("mapPublicIpOnLaunch"))}
            )
        retag(call, call.id)
        return {}

    def delete(self, call: Call) -> None:
        delete(call, "delete_subnet", SubnetId=call.id)


_ROUTE_TARGETS = {
    "gatewayId": "GatewayId",
    "natGatewayId": "NatGatewayId",
    "networkInterfaceId": "NetworkInterfaceId",
    "transitGatewayId": "TransitGatewayId",
    "vpcEndpointId": "VpcEndpointId",
    "vpcPeeringConnectionId": "VpcPeeringConnectionId",
    "egressOnlyGatewayId": "EgressOnlyInternetGatewayId",
}


class RouteTable(ResourceType):
    """`aws:ec2/routeTable:RouteTable`; the id is `rtb-...`."""

    token = "aws:ec2/routeTable:RouteTable"
    spec = """vpcId! routes~?{cidrBlock ipv6CidrBlock destinationPrefixListId gatewayId natGatewayId
        networkInterfaceId transitGatewayId vpcEndpointId vpcPeeringConnectionId egressOnlyGatewayId} tags"""
    import_id = "the route table's id"

    def _route(self, route: dict[str, Any]) -> dict[str, Any]:
        wanted = {_ROUTE_TARGETS[k]: v for k, v in route.items() if k in _ROUTE_TARGETS and v}
        if route.get("cidrBlock"):
            wanted["DestinationCidrBlock"] = route["cidrBlock"]
        if route.get("ipv6CidrBlock"):
            wanted["DestinationIpv6CidrBlock"] = route["ipv6CidrBlock"]
        return wanted

    def create(self, call: Call) -> Made:
        client = call.client("ec2")
        answer = client.create_route_table(VpcId=call.inputs["vpcId"], **specification(call, "route-table"))[
            "RouteTable"
        ]
        table = answer["RouteTableId"]
        for route in call.get("routes", []):
            client.create_route(RouteTableId=table, **self._route(route))
        return table, {
            "arn": call.arn("ec2", f"route-table/{table}"),
            "ownerId": call.aws.account_id,
            "region": call.region,
        }

    def read(self, call: Call) -> dict[str, Any] | None:
        table = first(call, "describe_route_tables", "RouteTables", RouteTableIds=[call.id])
        if table is None:
            return None
        found: dict[str, Any] = {
            "arn": call.arn("ec2", f"route-table/{call.id}"),
            "ownerId": call.aws.account_id,
            "vpcId": table["VpcId"],
            "region": call.region,
            "tags": tag_map(table.get("Tags")),
        }
        if call.old.get("routes") or not call.old:
            found["routes"] = []
            for route in table.get("Routes", []):
                if route.get("GatewayId") == "local" or str(route.get("GatewayId", "")).startswith("vpce-"):
                    continue
                item = {mine: route[api] for mine, api in _ROUTE_TARGETS.items() if route.get(api)}
                if route.get("DestinationCidrBlock"):
                    item["cidrBlock"] = route["DestinationCidrBlock"]
                found["routes"].append(item)
        return found

    def update(self, call: Call) -> dict[str, Any]:
        if "routes" in call.changed:
            client = call.client("ec2")
            new, old = call.get("routes", []), call.old.get("routes") or []
            for route in old:
                if route not in new and route.get("cidrBlock"):
                    unless_gone(
                        lambda route=route: client.delete_route(  # type: ignore[misc]
                            RouteTableId=call.id, DestinationCidrBlock=route["cidrBlock"]
                        )
                    )
            for route in new:
                if route not in old:
                    client.create_route(RouteTableId=call.id, **self._route(route))
        retag(call, call.id)
        return {}

    def delete(self, call: Call) -> None:
        delete(call, "delete_route_table", RouteTableId=call.id)


def _route_id(table: str, destination: dict[str, str]) -> str:
    """Make the id of a route as terraform does: the table and a checksum of the destination."""
    return f"r-{table}{zlib.crc32(next(iter(destination.values())).encode())}"


class Route(ResourceType):
    """`aws:ec2/route:Route`; the id is made of the table and the destination."""

    token = "aws:ec2/route:Route"
    spec = """routeTableId! destinationCidrBlock! destinationIpv6CidrBlock! destinationPrefixListId! gatewayId
        natGatewayId networkInterfaceId? transitGatewayId vpcEndpointId vpcPeeringConnectionId
        egressOnlyGatewayId"""
    import_id = "table_destination"

    def _destination(self, source: dict[str, Any]) -> dict[str, str]:
        for mine, api in (
            ("destinationCidrBlock", "DestinationCidrBlock"),
            ("destinationIpv6CidrBlock", "DestinationIpv6CidrBlock"),
            ("destinationPrefixListId", "DestinationPrefixListId"),
        ):
            if source.get(mine):
                return {api: source[mine]}
        return {}

    def _target(self, source: dict[str, Any]) -> dict[str, str]:
        return {api: source[mine] for mine, api in _ROUTE_TARGETS.items() if source.get(mine)}

    def create(self, call: Call) -> Made:
        destination = self._destination(call.inputs)
        call.client("ec2").create_route(
            RouteTableId=call.inputs["routeTableId"], **destination, **self._target(call.inputs)
        )
        return _route_id(call.inputs["routeTableId"], destination), {
            "state": "active",
            "origin": "CreateRoute",
            "region": call.region,
        }

    def read(self, call: Call) -> dict[str, Any] | None:
        old = dict(call.old)
        if not old.get("routeTableId"):
            table_id, _, destination = call.id.partition("_")
            old = {"routeTableId": table_id, "destinationCidrBlock": destination}
        table = first(call, "describe_route_tables", "RouteTables", RouteTableIds=[old["routeTableId"]])
        for route in (table or {}).get("Routes", []):
            if all(route.get(k) == v for k, v in self._destination(old).items()):
                return {
                    "id": _route_id(old["routeTableId"], self._destination(old)),
                    **{
                        k: old[k]
                        for k in ("routeTableId", "destinationCidrBlock", "destinationIpv6CidrBlock")
                        if old.get(k)
                    },
                    **{mine: route[api] for mine, api in _ROUTE_TARGETS.items() if route.get(api)},
                    "state": route.get("State", "active"),
                    "origin": route.get("Origin", "CreateRoute"),
                    "region": call.region,
                }
        return None

    def update(self, call: Call) -> dict[str, Any]:
        call.client("ec2").replace_route(
            RouteTableId=call.inputs["routeTableId"],
            **self._destination(call.inputs),
            **self._target(call.inputs),
        )
        return {}

    def delete(self, call: Call) -> None:
        unless_gone(
            lambda: call.client("ec2").delete_route(
                RouteTableId=call.old["routeTableId"], **self._destination(call.old)
            )
        )


class RouteTableAssociation(ResourceType):
    """`aws:ec2/routeTableAssociation:RouteTableAssociation`; the id is `rtbassoc-...`."""

    token = "aws:ec2/routeTableAssociation:RouteTableAssociation"
    spec = "routeTableId subnetId! gatewayId!"
    import_id = "subnet/table"

    def create(self, call: Call) -> Made:
        answer = call.client("ec2").associate_route_table(
            **fill(self, call.inputs, "routeTableId", "subnetId", "gatewayId")
        )
        return answer["AssociationId"], {"region": call.region}

    def read(self, call: Call) -> dict[str, Any] | None:
        name = "association.route-table-association-id"
        where: list[dict[str, Any]] = [{"Name": name, "Values": [call.id]}]
        if "/" in call.id:
            subnet, _, table = call.id.partition("/")
            where = [{"Name": "association.subnet-id", "Values": [subnet]}]
        tables = call.client("ec2").describe_route_tables(Filters=where)["RouteTables"]
        for table in tables:
            for association in table["Associations"]:
                matches = association["RouteTableAssociationId"] == call.id or (
                    "/" in call.id and association.get("SubnetId") == call.id.partition("/")[0]
                )
                if matches:
                    found = {
                        "id": association["RouteTableAssociationId"],
                        "routeTableId": table["RouteTableId"],
                        "region": call.region,
                    }
                    for mine, api in (("subnetId", "SubnetId"), ("gatewayId", "GatewayId")):
                        if association.get(api):
                            found[mine] = association[api]
                    return found
        return None

    def update(self, call: Call) -> dict[str, Any]:
        answer = call.client("ec2").replace_route_table_association(
            AssociationId=call.id, RouteTableId=call.inputs["routeTableId"]
        )
        return {"id": answer["NewAssociationId"]}

    def delete(self, call: Call) -> None:
        unless_gone(lambda: call.client("ec2").disassociate_route_table(AssociationId=call.id))
