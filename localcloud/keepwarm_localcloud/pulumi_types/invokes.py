"""Data sources: what a program asks the cloud before it creates anything."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from keepwarm_localcloud.pulumi_types.answers import error_code
from keepwarm_localcloud.pulumi_types.aws import Aws
from keepwarm_localcloud.pulumi_types.convert import tag_map
from keepwarm_localcloud.pulumi_types.errors import ResourceError
from keepwarm_localcloud.pulumi_types.fields import suggestion


def _filters(args: Mapping[str, Any], **named: str) -> list[dict[str, Any]]:
    """Convert `filters`, `tags` and single named arguments to EC2's filters."""
    found = [{"Name": f["name"], "Values": list(f["values"])} for f in args.get("filters") or []]
    found.extend({"Name": f"tag:{k}", "Values": [v]} for k, v in (args.get("tags") or {}).items())
    for mine, api in named.items():
        if args.get(mine) is not None:
            value = args[mine]
            found.append(
                {"Name": api, "Values": [str(value).lower() if isinstance(value, bool) else str(value)]}
            )
    return found


def _one(kind: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    if len(found) != 1:
        wanted = "no matching one" if not found else f"{len(found)} that match"
        raise ResourceError("KW640", f"{kind}: got {wanted}; allowed exactly one; fix: change the arguments")
    return found[0]


def _caller(aws: Aws, args: Mapping[str, Any]) -> dict[str, Any]:
    found = aws.client("sts").get_caller_identity()
    return {
        "accountId": found["Account"],
        "arn": found["Arn"],
        "userId": found["UserId"],
        "id": found["Account"],
    }


def _region(aws: Aws, args: Mapping[str, Any]) -> dict[str, Any]:
    name = args.get("region") or args.get("name") or aws.region
    return {
        "name": name,
        "region": name,
        "id": name,
        "description": {"us-east-1": "US East (N. Virginia)"}.get(name, name),
        "endpoint": f"ec2.{name}.amazonaws.com",
    }


def _partition(aws: Aws, args: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "partition": "aws",
        "dnsSuffix": "amazonaws.com",
        "reverseDnsPrefix": "com.amazonaws",
        "id": "aws",
    }


def _zones(aws: Aws, args: Mapping[str, Any]) -> dict[str, Any]:
    found = aws.client("ec2").describe_availability_zones(Filters=_filters(args, state="state"))[
        "AvailabilityZones"
    ]
    excluded = set(args.get("excludeNames") or [])
    zones = [z for z in found if z["ZoneName"] not in excluded]
    return {
        **args,
        "id": aws.region,
        "region": aws.region,
        "names": [z["ZoneName"] for z in zones],
        "zoneIds": [z["ZoneId"] for z in zones],
        "groupNames": sorted({z.get("GroupName", aws.region) for z in zones}),
    }


def _parameter(aws: Aws, args: Mapping[str, Any]) -> dict[str, Any]:
    decrypt = args.get("withDecryption", True)
    found = aws.client("ssm").get_parameter(Name=args["name"], WithDecryption=decrypt)["Parameter"]
    return {
        "arn": found.get("ARN", ""),
        "id": args["name"],
        "name": args["name"],
        "type": found["Type"],
        "value": found["Value"],
        "insecureValue": found["Value"] if found["Type"] != "SecureString" else "",
        "version": found["Version"],
        "region": aws.region,
        "withDecryption": decrypt,
    }


def _vpc(aws: Aws, args: Mapping[str, Any]) -> dict[str, Any]:
    where: dict[str, Any] = {"Filters": _filters(args, default="is-default", cidrBlock="cidr", state="state")}
    if args.get("id"):
        where["VpcIds"] = [args["id"]]
    vpc = _one("aws:ec2/getVpc:getVpc", aws.client("ec2").describe_vpcs(**where)["Vpcs"])
    tables = aws.client("ec2").describe_route_tables(
        Filters=[
            {"Name": "vpc-id", "Values": [vpc["VpcId"]]},
            {"Name": "association.main", "Values": ["true"]},
        ]
    )["RouteTables"]
    return {
        "id": vpc["VpcId"],
        "arn": aws.arn("ec2", f"vpc/{vpc['VpcId']}"),
        "cidrBlock": vpc["CidrBlock"],
        "cidrBlockAssociations": [
            {
                "associationId": a["AssociationId"],
                "cidrBlock": a["CidrBlock"],
                "state": a["CidrBlockState"]["State"],
            }
            for a in vpc.get("CidrBlockAssociationSet", [])
        ],
        "default": vpc.get("IsDefault", False),
        "dhcpOptionsId": vpc.get("DhcpOptionsId", ""),
        "enableDnsHostnames": True,
        "enableDnsSupport": True,
        "enableNetworkAddressUsageMetrics": False,
        "instanceTenancy": vpc.get("InstanceTenancy", "default"),
        "ipv6AssociationId": "",
        "ipv6CidrBlock": "",
        "mainRouteTableId": tables[0]["RouteTableId"] if tables else "",
        "ownerId": aws.account_id,
        "region": aws.region,
        "state": vpc.get("State", "available"),
        "tags": tag_map(vpc.get("Tags")),
        "filters": args.get("filters"),
    }


def _subnets(aws: Aws, args: Mapping[str, Any]) -> dict[str, Any]:
    found = aws.client("ec2").describe_subnets(Filters=_filters(args))["Subnets"]
    return {
        "id": aws.region,
        "region": aws.region,
        "ids": sorted(s["SubnetId"] for s in found),
        "tags": args.get("tags") or {},
        "filters": args.get("filters"),
    }


def _subnet(aws: Aws, args: Mapping[str, Any]) -> dict[str, Any]:
    where: dict[str, Any] = {
        "Filters": _filters(
            args,
            availabilityZone="availability-zone",
            cidrBlock="cidr-block",
            vpcId="vpc-id",
            defaultForAz="default-for-az",
            state="state",
        )
    }
    if args.get("id"):
        where["SubnetIds"] = [args["id"]]
    subnet = _one("aws:ec2/getSubnet:getSubnet", aws.client("ec2").describe_subnets(**where)["Subnets"])
    return {
        "id": subnet["SubnetId"],
        "arn": subnet.get("SubnetArn") or aws.arn("ec2", f"subnet/{subnet['SubnetId']}"),
        "availabilityZone": subnet["AvailabilityZone"],
        "availabilityZoneId": subnet.get("AvailabilityZoneId", ""),
        "availableIpAddressCount": subnet.get("AvailableIpAddressCount", 0),
        "cidrBlock": subnet["CidrBlock"],
        "defaultForAz": subnet.get("DefaultForAz") in (True, "true"),
        "mapPublicIpOnLaunch": subnet.get("MapPublicIpOnLaunch") in (True, "true"),
        "assignIpv6AddressOnCreation": subnet.get("AssignIpv6AddressOnCreation", False),
        "vpcId": subnet["VpcId"],
        "ownerId": aws.account_id,
        "region": aws.region,
        "state": subnet.get("State", "available"),
        "tags": tag_map(subnet.get("Tags")),
        "filters": args.get("filters"),
    }


def _route_tables(aws: Aws, args: Mapping[str, Any]) -> dict[str, Any]:
    found = aws.client("ec2").describe_route_tables(Filters=_filters(args, vpcId="vpc-id"))["RouteTables"]
    return {
        **args,
        "id": aws.region,
        "region": aws.region,
        "ids": sorted(t["RouteTableId"] for t in found),
        "tags": args.get("tags") or {},
    }


def _instance_type(aws: Aws, args: Mapping[str, Any]) -> dict[str, Any]:
    wanted = args["instanceType"]
    found = aws.client("ec2").describe_instance_types(InstanceTypes=[wanted])["InstanceTypes"]
    details = _one(f"aws:ec2/getInstanceType:getInstanceType {wanted}", found)
    cpu, gpu = details.get("VCpuInfo", {}), details.get("GpuInfo", {})
    disk = details.get("InstanceStorageInfo", {})
    return {
        "id": wanted,
        "instanceType": wanted,
        "region": aws.region,
        "defaultVcpus": cpu.get("DefaultVCpus", 0),
        "defaultCores": cpu.get("DefaultCores", 0),
        "defaultThreadsPerCore": cpu.get("DefaultThreadsPerCore", 0),
        "memorySize": details.get("MemoryInfo", {}).get("SizeInMiB", 0),
        "supportedArchitectures": details.get("ProcessorInfo", {}).get("SupportedArchitectures", []),
        "instanceStorageSupported": details.get("InstanceStorageSupported", False),
        "totalInstanceStorage": disk.get("TotalSizeInGB", 0),
        "totalGpuMemory": gpu.get("TotalGpuMemoryInMiB", 0),
        "gpuses": [
            {
                "name": g.get("Name", ""),
                "manufacturer": g.get("Manufacturer", ""),
                "count": g.get("Count", 0),
                "memorySize": g.get("MemoryInfo", {}).get("SizeInMiB", 0),
            }
            for g in gpu.get("Gpus", [])
        ],
        "currentGeneration": details.get("CurrentGeneration", True),
        "bareMetal": details.get("BareMetal", False),
        "hypervisor": details.get("Hypervisor", ""),
    }


def _security_group(aws: Aws, args: Mapping[str, Any]) -> dict[str, Any]:
    where: dict[str, Any] = {"Filters": _filters(args, name="group-name", vpcId="vpc-id")}
    if args.get("id"):
        where["GroupIds"] = [args["id"]]
    found = aws.client("ec2").describe_security_groups(**where)["SecurityGroups"]
    group = _one("aws:ec2/getSecurityGroup:getSecurityGroup", found)
    return {
        "id": group["GroupId"],
        "arn": aws.arn("ec2", f"security-group/{group['GroupId']}"),
        "name": group["GroupName"],
        "description": group["Description"],
        "vpcId": group.get("VpcId", ""),
        "region": aws.region,
        "tags": tag_map(group.get("Tags")),
    }


_STATEMENT = (
    ("sid", "Sid"),
    ("effect", "Effect"),
    ("actions", "Action"),
    ("notActions", "NotAction"),
    ("resources", "Resource"),
    ("notResources", "NotResource"),
)


def _policy_document(aws: Aws, args: Mapping[str, Any]) -> dict[str, Any]:
    """Write a policy as Terraform does: a list of one becomes its item, everything is sorted."""

    def tidy(values: Any) -> Any:
        if not isinstance(values, list):
            return values
        return values[0] if len(values) == 1 else sorted(values, reverse=True)

    statements = []
    for given in args.get("statements") or []:
        statement: dict[str, Any] = {"Effect": given.get("effect") or "Allow"}
        for mine, api in _STATEMENT:
            if given.get(mine):
                statement[api] = tidy(given[mine])
        for mine, api in (("principals", "Principal"), ("notPrincipals", "NotPrincipal")):
            if given.get(mine):
                merged: dict[str, list[str]] = {}
                for principal in given[mine]:
                    merged.setdefault(principal["type"], []).extend(principal["identifiers"])
                everyone = merged == {"*": ["*"]}
                statement[api] = "*" if everyone else {k: tidy(v) for k, v in merged.items()}
        conditions: dict[str, dict[str, Any]] = {}
        for condition in given.get("conditions") or []:
            conditions.setdefault(condition["test"], {})[condition["variable"]] = tidy(condition["values"])
        if conditions:
            statement["Condition"] = conditions
        statements.append(statement)
    by_sid: dict[str, dict[str, Any]] = {}
    merged_statements: list[dict[str, Any]] = []
    sources = [json.loads(d)["Statement"] for d in args.get("sourcePolicyDocuments") or []]
    overrides = [json.loads(d)["Statement"] for d in args.get("overridePolicyDocuments") or []]
    for statement in [s for group in [*sources, statements, *overrides] for s in group]:
        sid = statement.get("Sid")
        if sid and sid in by_sid:
            merged_statements[merged_statements.index(by_sid[sid])] = statement
        else:
            merged_statements.append(statement)
        if sid:
            by_sid[sid] = statement
    document: dict[str, Any] = {"Version": args.get("version") or "2012-10-17"}
    if args.get("policyId"):
        document["Id"] = args["policyId"]
    document["Statement"] = merged_statements
    text = json.dumps(document, indent=2)
    return {
        **args,
        "id": str(abs(hash(text)) % 10**10),
        "json": text,
        "minifiedJson": json.dumps(document, separators=(",", ":")),
        "version": document["Version"],
    }


def _function(aws: Aws, args: Mapping[str, Any]) -> dict[str, Any]:
    qualifier = {"Qualifier": args["qualifier"]} if args.get("qualifier") else {}
    found = aws.client("lambda").get_function(FunctionName=args["functionName"], **qualifier)["Configuration"]
    base = ":".join(found["FunctionArn"].split(":")[:7])
    invoke = f"arn:aws:apigateway:{aws.region}:lambda:path/2015-03-31/functions"
    return {
        "id": found["FunctionName"],
        "functionName": found["FunctionName"],
        "arn": base,
        "qualifiedArn": f"{base}:{found['Version']}",
        "invokeArn": f"{invoke}/{base}/invocations",
        "version": found["Version"],
        "role": found["Role"],
        "handler": found.get("Handler", ""),
        "runtime": found.get("Runtime", ""),
        "memorySize": found.get("MemorySize", 128),
        "timeout": found.get("Timeout", 3),
        "codeSha256": found.get("CodeSha256", ""),
        "region": aws.region,
    }


def _bucket(aws: Aws, args: Mapping[str, Any]) -> dict[str, Any]:
    name = args["bucket"]
    aws.client("s3").head_bucket(Bucket=name)
    return {
        "id": name,
        "bucket": name,
        "arn": f"arn:aws:s3:::{name}",
        "bucketDomainName": f"{name}.s3.amazonaws.com",
        "bucketRegionalDomainName": f"{name}.s3.{aws.region}.amazonaws.com",
        "bucketRegion": aws.region,
        "region": aws.region,
        "hostedZoneId": "Z3AQBSTGFYJSTF",
        "websiteDomain": "",
        "websiteEndpoint": "",
    }


def _role(aws: Aws, args: Mapping[str, Any]) -> dict[str, Any]:
    found = aws.client("iam").get_role(RoleName=args["name"])["Role"]
    return {
        "id": found["RoleName"],
        "name": found["RoleName"],
        "arn": found["Arn"],
        "path": found["Path"],
        "uniqueId": found["RoleId"],
        "description": found.get("Description", ""),
        "maxSessionDuration": found.get("MaxSessionDuration", 3600),
        "assumeRolePolicy": json.dumps(found["AssumeRolePolicyDocument"]),
        "createDate": found["CreateDate"].strftime("%Y-%m-%dT%H:%M:%SZ"),
        "permissionsBoundary": "",
        "roleLastUseds": [],
        "tags": tag_map(found.get("Tags")),
    }


INVOKES: dict[str, Callable[[Aws, Mapping[str, Any]], dict[str, Any]]] = {
    "aws:index/getCallerIdentity:getCallerIdentity": _caller,
    "aws:index/getRegion:getRegion": _region,
    "aws:index/getPartition:getPartition": _partition,
    "aws:index/getAvailabilityZones:getAvailabilityZones": _zones,
    "aws:ssm/getParameter:getParameter": _parameter,
    "aws:ec2/getVpc:getVpc": _vpc,
    "aws:ec2/getSubnets:getSubnets": _subnets,
    "aws:ec2/getSubnet:getSubnet": _subnet,
    "aws:ec2/getRouteTables:getRouteTables": _route_tables,
    "aws:ec2/getInstanceType:getInstanceType": _instance_type,
    "aws:ec2/getSecurityGroup:getSecurityGroup": _security_group,
    "aws:iam/getPolicyDocument:getPolicyDocument": _policy_document,
    "aws:iam/getRole:getRole": _role,
    "aws:lambda/getFunction:getFunction": _function,
    "aws:s3/getBucket:getBucket": _bucket,
}
"""Data sources of the embedded cloud by token."""


def invoke(token: str, aws: Aws, args: Mapping[str, Any]) -> dict[str, Any]:
    """Answer a data source.

    Raises:
        ResourceError: KW640, unknown, or AWS refused.
    """
    answer = INVOKES.get(token)
    if answer is None:
        hint = suggestion(token, INVOKES)
        raise ResourceError(
            "KW640",
            f"{token}: got a data source that the embedded cloud does not have; allowed those of docs/engine.md; "
            f"{hint or 'fix: leave it out of the local stack'}",
        )
    try:
        return {k: v for k, v in answer(aws, args).items() if v is not None}
    except ResourceError:
        raise
    except Exception as error:
        code = error_code(error) or type(error).__name__
        raise ResourceError(
            "KW640", f"{token}: refused with {code}: {' '.join(str(error).split())}"
        ) from error
