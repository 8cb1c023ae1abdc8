"""EC2: what connects a VPC: endpoints, gateways, addresses, flow logs."""
# base.ResourceType documents the four operations; `token` is a Pulumi type token, not a password.
# ruff: noqa: D102, S105

from collections.abc import Mapping
from typing import Any

from keepwarm_localcloud.pulumi_types.answers import error_code, unless_gone
from keepwarm_localcloud.pulumi_types.base import Call, Made, ResourceType
from keepwarm_localcloud.pulumi_types.convert import fill, tag_map, take
from keepwarm_localcloud.pulumi_types.ec2.requests import delete, first, retag, specification
from keepwarm_localcloud.pulumi_types.errors import ResourceError


class VpcEndpoint(ResourceType):
    """`aws:ec2/vpcEndpoint:VpcEndpoint`; the id is `vpce-...`."""

    token = "aws:ec2/vpcEndpoint:VpcEndpoint"
    spec = """vpcId! serviceName! vpcEndpointType!="Gateway" policy:json? privateDnsEnabled? routeTableIds~?
        subnetIds~? securityGroupIds~? ipAddressType? autoAccept dnsOptions?
        dnsOptions.privateDnsPreference! dnsOptions.privateDnsSpecifiedDomains! tags"""
    timeouts_s = (600.0, 600.0, 600.0)
    import_id = "the endpoint's id"

    def replaces(self, name: str, wanted: Any, actual: Any, inputs: Mapping[str, Any]) -> bool:
        return name == "privateDnsEnabled" and inputs.get("vpcEndpointType") != "Interface"

    def create(self, call: Call) -> Made:
        arguments = fill(
            self,
            call.inputs,
            *("vpcId", "serviceName", "vpcEndpointType", "privateDnsEnabled", "routeTableIds", "subnetIds"),
            *("securityGroupIds", "ipAddressType"),
        )
        if call.get("policy"):
            arguments["PolicyDocument"] = call.inputs["policy"]
        answer = call.client("ec2").create_vpc_endpoint(**arguments, **specification(call, "vpc-endpoint"))
        endpoint = answer["VpcEndpoint"]
        return endpoint["VpcEndpointId"], self._chosen(call, endpoint)

    def _chosen(self, call: Call, endpoint: dict[str, Any]) -> dict[str, Any]:
        id_ = endpoint["VpcEndpointId"]
        return {
            "arn": call.arn("ec2", f"vpc-endpoint/{id_}"),
            "state": str(endpoint.get("State", "available")).lower(),
            "ownerId": call.aws.account_id,
            "requesterManaged": False,
            "prefixListId": f"pl-{id_[-8:]}" if endpoint.get("VpcEndpointType") == "Gateway" else "",
            "cidrBlocks": [],
            "networkInterfaceIds": endpoint.get("NetworkInterfaceIds", []),
            "dnsEntries": [
                {"dnsName": d.get("DnsName", ""), "hostedZoneId": d.get("HostedZoneId", "")}
                for d in endpoint.get("DnsEntries", [])
            ],
            "routeTableIds": endpoint.get("RouteTableIds", []),
            "subnetIds": endpoint.get("SubnetIds", []),
            "privateDnsEnabled": endpoint.get("PrivateDnsEnabled", False),
            "securityGroupIds": call.get("securityGroupIds")
            or [g["GroupId"] for g in endpoint.get("Groups", []) if g.get("GroupId")],
            "region": call.region,
        }

    def read(self, call: Call) -> dict[str, Any] | None:
        endpoint = first(call, "describe_vpc_endpoints", "VpcEndpoints", VpcEndpointIds=[call.id])
        if endpoint is None or str(endpoint.get("State", "")).lower() in ("deleted", "deleting"):
            return None
        found = {
            **self._chosen(call, endpoint),
            "vpcId": endpoint["VpcId"],
            "serviceName": endpoint["ServiceName"],
            "vpcEndpointType": endpoint["VpcEndpointType"],
            "tags": tag_map(endpoint.get("Tags")),
        }
        if endpoint.get("PolicyDocument"):
            found["policy"] = endpoint["PolicyDocument"]
        for mine in ("autoAccept", "dnsOptions", "ipAddressType"):
            if call.old.get(mine) is not None:
                found[mine] = call.old[mine]
        return found

    def update(self, call: Call) -> dict[str, Any]:
        arguments: dict[str, Any] = {}
        for mine, noun in (
            ("routeTableIds", "RouteTableIds"),
            ("subnetIds", "SubnetIds"),
            ("securityGroupIds", "SecurityGroupIds"),
        ):
            if mine in call.changed:
                new, old = set(call.get(mine, [])), set(call.old.get(mine) or [])
                if new - old:
                    arguments[f"Add{noun}"] = sorted(new - old)
                if old - new:
                    arguments[f"Remove{noun}"] = sorted(old - new)
        if "policy" in call.changed:
            arguments["PolicyDocument"] = call.get("policy", "")
        if "privateDnsEnabled" in call.changed:
            arguments["PrivateDnsEnabled"] = bool(call.get("privateDnsEnabled"))
        if arguments:
            call.client("ec2").modify_vpc_endpoint(VpcEndpointId=call.id, **arguments)
        retag(call, call.id)
        return {}

    def delete(self, call: Call) -> None:
        unless_gone(lambda: call.client("ec2").delete_vpc_endpoints(VpcEndpointIds=[call.id]))

        def probe() -> bool | None:
            endpoint = first(call, "describe_vpc_endpoints", "VpcEndpoints", VpcEndpointIds=[call.id])
            gone = endpoint is None or str(endpoint.get("State", "")).lower() in ("deleted", "deleting")
            return True if gone else None

        call.deadline.wait(f"VPC endpoint {call.id} to be gone", probe)


class InternetGateway(ResourceType):
    """`aws:ec2/internetGateway:InternetGateway`; the id is `igw-...`."""

    token = "aws:ec2/internetGateway:InternetGateway"
    spec = "vpcId? tags"
    import_id = "the gateway's id"

    def create(self, call: Call) -> Made:
        client = call.client("ec2")
        gateway = client.create_internet_gateway(**specification(call, "internet-gateway"))["InternetGateway"]
        id_ = gateway["InternetGatewayId"]
        if call.get("vpcId"):
            client.attach_internet_gateway(InternetGatewayId=id_, VpcId=call.inputs["vpcId"])
        return id_, {
            "arn": call.arn("ec2", f"internet-gateway/{id_}"),
            "ownerId": call.aws.account_id,
            "region": call.region,
        }

    def read(self, call: Call) -> dict[str, Any] | None:
        gateway = first(call, "describe_internet_gateways", "InternetGateways", InternetGatewayIds=[call.id])
        if gateway is None:
            return None
        attachments = gateway.get("Attachments") or [{}]
        return {
            "arn": call.arn("ec2", f"internet-gateway/{call.id}"),
            "ownerId": call.aws.account_id,
            "vpcId": attachments[0].get("VpcId"),
            "region": call.region,
            "tags": tag_map(gateway.get("Tags")),
        }

    def update(self, call: Call) -> dict[str, Any]:
        client = call.client("ec2")
        if "vpcId" in call.changed:
            if call.old.get("vpcId"):
                client.detach_internet_gateway(InternetGatewayId=call.id, VpcId=call.old["vpcId"])
            if call.get("vpcId"):
                client.attach_internet_gateway(InternetGatewayId=call.id, VpcId=call.inputs["vpcId"])
        retag(call, call.id)
        return {}

    def delete(self, call: Call) -> None:
        if call.old.get("vpcId"):
            try:
                call.client("ec2").detach_internet_gateway(InternetGatewayId=call.id, VpcId=call.old["vpcId"])
            except Exception as error:
                if error_code(error) not in ("Gateway.NotAttached", "InvalidInternetGatewayID.NotFound"):
                    raise
        delete(call, "delete_internet_gateway", InternetGatewayId=call.id)


class Eip(ResourceType):
    """`aws:ec2/eip:Eip`; the id is `eipalloc-...`."""

    token = "aws:ec2/eip:Eip"
    spec = """domain!="vpc" publicIpv4Pool!? networkBorderGroup!? tags"""
    import_id = "the allocation's id"

    def create(self, call: Call) -> Made:
        answer = call.client("ec2").allocate_address(
            **fill(self, call.inputs, "domain", "publicIpv4Pool", "networkBorderGroup"),
            **specification(call, "elastic-ip"),
        )
        return answer["AllocationId"], self._chosen(call, answer)

    def _chosen(self, call: Call, answer: dict[str, Any]) -> dict[str, Any]:
        address = answer["PublicIp"]
        return {
            "allocationId": answer["AllocationId"],
            "arn": call.arn("ec2", f"elastic-ip/{answer['AllocationId']}"),
            "publicIp": address,
            "publicDns": f"ec2-{address.replace('.', '-')}.compute-1.amazonaws.com",
            "region": call.region,
        }

    def read(self, call: Call) -> dict[str, Any] | None:
        address = first(call, "describe_addresses", "Addresses", AllocationIds=[call.id])
        if address is None:
            return None
        return {
            **self._chosen(call, address),
            "domain": address.get("Domain", "vpc"),
            "tags": tag_map(address.get("Tags")),
        }

    def update(self, call: Call) -> dict[str, Any]:
        retag(call, call.id)
        return {}

    def delete(self, call: Call) -> None:
        delete(call, "release_address", AllocationId=call.id)


class NatGateway(ResourceType):
    """`aws:ec2/natGateway:NatGateway`; the id is `nat-...`."""

    token = "aws:ec2/natGateway:NatGateway"
    spec = """subnetId! allocationId! connectivityType!="public" privateIp!? tags"""
    timeouts_s = (600.0, 600.0, 1800.0)
    import_id = "the gateway's id"

    def create(self, call: Call) -> Made:
        answer = call.client("ec2").create_nat_gateway(
            **fill(self, call.inputs, "subnetId", "allocationId", "connectivityType"),
            **specification(call, "natgateway"),
        )["NatGateway"]
        id_ = answer["NatGatewayId"]

        def probe() -> dict[str, Any] | None:
            found = self._describe(call, id_)
            return found if found and found["State"] == "available" else None

        found = call.deadline.wait(f"NAT gateway {id_} to become available", probe)
        return id_, self._chosen(call, found)

    def _describe(self, call: Call, id_: str) -> dict[str, Any] | None:
        found = first(call, "describe_nat_gateways", "NatGateways", NatGatewayIds=[id_])
        return None if found is None or found["State"] in ("deleted", "deleting") else found

    def _chosen(self, call: Call, found: dict[str, Any]) -> dict[str, Any]:
        address = (found.get("NatGatewayAddresses") or [{}])[0]
        return {
            "publicIp": address.get("PublicIp", ""),
            "privateIp": address.get("PrivateIp", ""),
            "networkInterfaceId": address.get("NetworkInterfaceId", ""),
            "associationId": address.get("AssociationId", ""),
            "region": call.region,
        }

    def read(self, call: Call) -> dict[str, Any] | None:
        found = self._describe(call, call.id)
        if found is None:
            return None
        result = {
            **self._chosen(call, found),
            "subnetId": found["SubnetId"],
            "connectivityType": found.get("ConnectivityType", "public"),
            "tags": tag_map(found.get("Tags")),
        }
        address = (found.get("NatGatewayAddresses") or [{}])[0]
        if address.get("AllocationId"):
            result["allocationId"] = address["AllocationId"]
        return result

    def update(self, call: Call) -> dict[str, Any]:
        retag(call, call.id)
        return {}

    def delete(self, call: Call) -> None:
        if self._describe(call, call.id) is None:
            return
        call.client("ec2").delete_nat_gateway(NatGatewayId=call.id)

        def probe() -> bool | None:
            return True if self._describe(call, call.id) is None else None

        call.deadline.wait(f"NAT gateway {call.id} to be gone", probe)


class FlowLog(ResourceType):
    """`aws:ec2/flowLog:FlowLog`; the id is `fl-...`."""

    token = "aws:ec2/flowLog:FlowLog"
    spec = """vpcId! subnetId! eniId! trafficType! logDestination!? logDestinationType!="cloud-watch-logs" iamRoleArn!
        logFormat!? maxAggregationInterval!=600 tags"""
    import_id = "the flow log's id"

    def create(self, call: Call) -> Made:
        for mine, kind in (("vpcId", "VPC"), ("subnetId", "Subnet"), ("eniId", "NetworkInterface")):
            if call.get(mine):
                target = {"ResourceIds": [call.inputs[mine]], "ResourceType": kind}
        arguments = fill(
            self,
            call.inputs,
            "trafficType",
            "logDestination",
            "logDestinationType",
            "logFormat",
            "maxAggregationInterval",
        )
        if call.get("iamRoleArn"):
            arguments["DeliverLogsPermissionArn"] = call.inputs["iamRoleArn"]
        answer = call.client("ec2").create_flow_logs(
            **target, **arguments, **specification(call, "vpc-flow-log")
        )
        if answer.get("Unsuccessful"):
            reason = answer["Unsuccessful"][0]["Error"]
            raise ResourceError(
                "KW635", f"flow log: refused with {reason.get('Code')}: {reason.get('Message')}"
            )
        id_ = answer["FlowLogIds"][0]
        return id_, {"arn": call.arn("ec2", f"vpc-flow-log/{id_}"), "region": call.region}

    def check(self, inputs: dict[str, Any]) -> list[tuple[str, str]]:
        given = [n for n in ("vpcId", "subnetId", "eniId") if inputs.get(n) is not None]
        if len(given) != 1:
            return [("vpcId", f"KW634 got {len(given)} of vpcId, subnetId, eniId; allowed exactly one")]
        return []

    def read(self, call: Call) -> dict[str, Any] | None:
        log = first(call, "describe_flow_logs", "FlowLogs", FlowLogIds=[call.id])
        if log is None:
            return None
        kind = log["ResourceId"].partition("-")[0]
        found = {
            {"vpc": "vpcId", "subnet": "subnetId"}.get(kind, "eniId"): log["ResourceId"],
            "arn": call.arn("ec2", f"vpc-flow-log/{call.id}"),
            "region": call.region,
            "tags": tag_map(log.get("Tags")),
            **take(
                self, log, "trafficType", "logDestination", "logDestinationType", "maxAggregationInterval"
            ),
        }
        if log.get("DeliverLogsPermissionArn"):
            found["iamRoleArn"] = log["DeliverLogsPermissionArn"]
        return found

    def update(self, call: Call) -> dict[str, Any]:
        retag(call, call.id)
        return {}

    def delete(self, call: Call) -> None:
        unless_gone(lambda: call.client("ec2").delete_flow_logs(FlowLogIds=[call.id]))
