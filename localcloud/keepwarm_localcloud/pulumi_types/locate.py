"""Finds what a killed run may have made: from the inputs of an unfinished creation to the id, if the thing exists.

The engine writes down that it is about to create something, and with which inputs. When it or the provider is killed
then, nobody knows whether the cloud got that far. Most things have a name of their own in those inputs; the others are
found by their content among things that the state does not know.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from keepwarm_localcloud.pulumi_types import table
from keepwarm_localcloud.pulumi_types.answers import error_code, unless_gone
from keepwarm_localcloud.pulumi_types.aws import Aws
from keepwarm_localcloud.pulumi_types.convert import tag_map

Candidates = Iterable[str]


def locate(
    token: str, aws: Aws, inputs: Mapping[str, Any], known: frozenset[str] = frozenset()
) -> str | None:
    """Return the id of the resource that these inputs made, or None.

    `known` are ids that the state already has: a thing found by its content is never one of them.

    Raises:
        ResourceError: the cloud could not be asked.
    """
    kind = table.find(token)
    finder = _FINDERS.get(token)
    if finder is not None:
        candidates = list(finder(aws, inputs))
    elif kind.auto is not None and isinstance(inputs.get(kind.auto.property), str):
        candidates = [str(inputs[kind.auto.property])]
    elif isinstance(inputs.get("bucket"), str):
        candidates = [str(inputs["bucket"])]
    elif isinstance(inputs.get("queueUrl"), str):
        candidates = [str(inputs["queueUrl"])]
    else:
        candidates = []
    for candidate in candidates:
        if candidate in known and finder is not None:
            continue
        found = table.read(token, "", aws, candidate, {}, dict(inputs))
        if (
            found is not None
            and not table.diff(
                token, found[1], found[2], {**inputs, **_unreadable(found[2], inputs)}
            ).replaces
        ):
            return found[0]
    return None


def _unreadable(outputs: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs that cannot be compared (files, secrets come as None from a state): take them as they are."""
    return {k: outputs.get(k) for k, v in inputs.items() if v is None}


def _queue(aws: Aws, inputs: Mapping[str, Any]) -> Candidates:
    answer = unless_gone(lambda: aws.client("sqs").get_queue_url(QueueName=inputs["name"]))
    return [answer["QueueUrl"]] if answer else []


def _arn(service: str, prefix: str, name: str = "name") -> Callable[[Aws, Mapping[str, Any]], Candidates]:
    return lambda aws, inputs: [aws.arn(service, f"{prefix}{inputs[name]}")]


def _role_policy(aws: Aws, inputs: Mapping[str, Any]) -> Candidates:
    return [f"{inputs['role']}:{inputs['name']}"]


def _attachment(aws: Aws, inputs: Mapping[str, Any]) -> Candidates:
    return [f"{inputs['role']}/{inputs['policyArn']}"]


def _policy(aws: Aws, inputs: Mapping[str, Any]) -> Candidates:
    return [aws.arn("iam", f"policy{inputs.get('path') or '/'}{inputs['name']}", region="")]


def _alias(aws: Aws, inputs: Mapping[str, Any]) -> Candidates:
    return [f"{inputs['functionName']}/{inputs['name']}"]


def _provisioned(aws: Aws, inputs: Mapping[str, Any]) -> Candidates:
    return [f"{inputs['functionName']},{inputs['qualifier']}"]


def _mapping(aws: Aws, inputs: Mapping[str, Any]) -> Candidates:
    answer = aws.client("lambda").list_event_source_mappings(
        EventSourceArn=inputs["eventSourceArn"], FunctionName=inputs["functionName"]
    )
    return [m["UUID"] for m in answer["EventSourceMappings"]]


def _invoke_config(aws: Aws, inputs: Mapping[str, Any]) -> Candidates:
    qualifier = inputs.get("qualifier")
    return [inputs["functionName"] + (f":{qualifier}" if qualifier else "")]


def _layer(aws: Aws, inputs: Mapping[str, Any]) -> Candidates:
    answer = unless_gone(lambda: aws.client("lambda").list_layer_versions(LayerName=inputs["layerName"]))
    return [v["LayerVersionArn"] for v in (answer or {}).get("LayerVersions", [])]


def _key(aws: Aws, inputs: Mapping[str, Any]) -> Candidates:
    client = aws.client("kms")
    for page in client.get_paginator("list_keys").paginate():
        for key in page["Keys"]:
            metadata = client.describe_key(KeyId=key["KeyId"])["KeyMetadata"]
            if metadata["KeyState"] != "Enabled" or metadata.get("KeyManager") == "AWS":
                continue
            tags = tag_map(client.list_resource_tags(KeyId=key["KeyId"]).get("Tags"), "TagKey", "TagValue")
            wanted = {**aws.default_tags, **(inputs.get("tags") or {})}
            if metadata.get("Description", "") == (inputs.get("description") or "") and tags == wanted:
                yield key["KeyId"]


def _described(
    operation: str, key: str, id_key: str, **where: str
) -> Callable[[Aws, Mapping[str, Any]], Candidates]:
    """Find EC2 resources by filters: API filter name -> input."""

    def find(aws: Aws, inputs: Mapping[str, Any]) -> Candidates:
        filters = [
            {"Name": api.replace("_", "-"), "Values": [str(inputs[mine])]}
            for api, mine in where.items()
            if inputs.get(mine) is not None
        ]
        answer = getattr(aws.client("ec2"), operation)(Filters=filters)
        wanted = {**aws.default_tags, **(inputs.get("tags") or {})}
        return [t[id_key] for t in answer[key] if tag_map(t.get("Tags")) == wanted]

    return find


def _rule(side: str) -> Callable[[Aws, Mapping[str, Any]], Candidates]:
    def find(aws: Aws, inputs: Mapping[str, Any]) -> Candidates:
        where = [{"Name": "group-id", "Values": [inputs["securityGroupId"]]}]
        answer = unless_gone(lambda: aws.client("ec2").describe_security_group_rules(Filters=where))
        return [
            r["SecurityGroupRuleId"]
            for r in (answer or {}).get("SecurityGroupRules", [])
            if r.get("IsEgress", False) == (side == "egress")
        ]

    return find


def _task(aws: Aws, inputs: Mapping[str, Any]) -> Candidates:
    answer = aws.client("ecs").list_task_definitions(familyPrefix=inputs["family"], sort="DESC")
    return list(answer["taskDefinitionArns"])[:1]


def _service(aws: Aws, inputs: Mapping[str, Any]) -> Candidates:
    return [f"{str(inputs.get('cluster', 'default')).rpartition('/')[2]}/{inputs['name']}"]


def _cluster_providers(aws: Aws, inputs: Mapping[str, Any]) -> Candidates:
    return [str(inputs["clusterName"])]


def _scaling(tail: str = "") -> Callable[[Aws, Mapping[str, Any]], Candidates]:
    def find(aws: Aws, inputs: Mapping[str, Any]) -> Candidates:
        parts = [inputs["serviceNamespace"], inputs["resourceId"], inputs["scalableDimension"]]
        return ["/".join([*parts, inputs[tail]] if tail else parts)]

    return find


def _namespace(aws: Aws, inputs: Mapping[str, Any]) -> Candidates:
    answer = aws.client("servicediscovery").list_namespaces()
    return [n["Id"] for n in answer["Namespaces"] if n["Name"] == inputs["name"]]


def _discovery(aws: Aws, inputs: Mapping[str, Any]) -> Candidates:
    answer = aws.client("servicediscovery").list_services()
    return [s["Id"] for s in answer["Services"] if s["Name"] == inputs["name"]]


def _subscription(aws: Aws, inputs: Mapping[str, Any]) -> Candidates:
    answer = unless_gone(lambda: aws.client("sns").list_subscriptions_by_topic(TopicArn=inputs["topic"]))
    return [
        s["SubscriptionArn"]
        for s in (answer or {}).get("Subscriptions", [])
        if (s["Protocol"], s["Endpoint"]) == (inputs["protocol"], inputs["endpoint"])
    ]


def _schedule(aws: Aws, inputs: Mapping[str, Any]) -> Candidates:
    return [f"{inputs.get('groupName') or 'default'}/{inputs['name']}"]


def _api(aws: Aws, inputs: Mapping[str, Any]) -> Candidates:
    return [a["ApiId"] for a in aws.client("apigatewayv2").get_apis()["Items"] if a["Name"] == inputs["name"]]


def _api_part(operation: str, id_key: str) -> Callable[[Aws, Mapping[str, Any]], Candidates]:
    def find(aws: Aws, inputs: Mapping[str, Any]) -> Candidates:
        answer = unless_gone(lambda: getattr(aws.client("apigatewayv2"), operation)(ApiId=inputs["apiId"]))
        return [i[id_key] for i in (answer or {}).get("Items", [])]

    return find


def _secret(aws: Aws, inputs: Mapping[str, Any]) -> Candidates:
    answer = unless_gone(lambda: aws.client("secretsmanager").describe_secret(SecretId=inputs["name"]))
    return [answer["ARN"]] if answer else []


def _secret_version(aws: Aws, inputs: Mapping[str, Any]) -> Candidates:
    try:
        answer = aws.client("secretsmanager").get_secret_value(SecretId=inputs["secretId"])
    except Exception as error:
        if error_code(error) in ("ResourceNotFoundException", "InvalidRequestException"):
            return []
        raise
    return [f"{inputs['secretId']}|{answer['VersionId']}"]


def _event_rule(aws: Aws, inputs: Mapping[str, Any]) -> Candidates:
    bus = inputs.get("eventBusName") or "default"
    return [inputs["name"] if bus == "default" else f"{bus}/{inputs['name']}"]


def _event_target(aws: Aws, inputs: Mapping[str, Any]) -> Candidates:
    return [f"{inputs['rule']}-{inputs['targetId']}"]


def _template(aws: Aws, inputs: Mapping[str, Any]) -> Candidates:
    answer = unless_gone(
        lambda: aws.client("ec2").describe_launch_templates(LaunchTemplateNames=[inputs["name"]])
    )
    return [t["LaunchTemplateId"] for t in (answer or {}).get("LaunchTemplates", [])]


def _route_association(aws: Aws, inputs: Mapping[str, Any]) -> Candidates:
    return [f"{inputs.get('subnetId')}/{inputs['routeTableId']}"]


def _route(aws: Aws, inputs: Mapping[str, Any]) -> Candidates:
    return [f"{inputs['routeTableId']}_{inputs.get('destinationCidrBlock')}"]


_FINDERS: dict[str, Callable[[Aws, Mapping[str, Any]], Candidates]] = {
    "aws:sqs/queue:Queue": _queue,
    "aws:sns/topic:Topic": _arn("sns", ""),
    "aws:sns/topicPolicy:TopicPolicy": lambda aws, inputs: [inputs["arn"]],
    "aws:sns/topicSubscription:TopicSubscription": _subscription,
    "aws:iam/rolePolicy:RolePolicy": _role_policy,
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": _attachment,
    "aws:iam/policy:Policy": _policy,
    "aws:kms/key:Key": _key,
    "aws:lambda/alias:Alias": _alias,
    "aws:lambda/provisionedConcurrencyConfig:ProvisionedConcurrencyConfig": _provisioned,
    "aws:lambda/eventSourceMapping:EventSourceMapping": _mapping,
    "aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig": _invoke_config,
    "aws:lambda/layerVersion:LayerVersion": _layer,
    "aws:cloudwatch/eventRule:EventRule": _event_rule,
    "aws:cloudwatch/eventTarget:EventTarget": _event_target,
    "aws:sfn/stateMachine:StateMachine": _arn("states", "stateMachine:"),
    "aws:scheduler/schedule:Schedule": _schedule,
    "aws:appautoscaling/target:Target": _scaling(),
    "aws:appautoscaling/policy:Policy": _scaling("name"),
    "aws:appautoscaling/scheduledAction:ScheduledAction": _scaling("name"),
    "aws:ecs/cluster:Cluster": _arn("ecs", "cluster/"),
    "aws:ecs/capacityProvider:CapacityProvider": _arn("ecs", "capacity-provider/"),
    "aws:ecs/clusterCapacityProviders:ClusterCapacityProviders": _cluster_providers,
    "aws:ecs/taskDefinition:TaskDefinition": _task,
    "aws:ecs/service:Service": _service,
    "aws:servicediscovery/httpNamespace:HttpNamespace": _namespace,
    "aws:servicediscovery/privateDnsNamespace:PrivateDnsNamespace": _namespace,
    "aws:servicediscovery/service:Service": _discovery,
    "aws:apigatewayv2/api:Api": _api,
    "aws:apigatewayv2/integration:Integration": _api_part("get_integrations", "IntegrationId"),
    "aws:apigatewayv2/route:Route": _api_part("get_routes", "RouteId"),
    "aws:secretsmanager/secret:Secret": _secret,
    "aws:secretsmanager/secretVersion:SecretVersion": _secret_version,
    "aws:ecr/lifecyclePolicy:LifecyclePolicy": lambda aws, inputs: [inputs["repository"]],
    "aws:ec2/launchTemplate:LaunchTemplate": _template,
    "aws:ec2/securityGroup:SecurityGroup": _described(
        "describe_security_groups", "SecurityGroups", "GroupId", group_name="name", vpc_id="vpcId"
    ),
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": _rule("ingress"),
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": _rule("egress"),
    "aws:ec2/vpcEndpoint:VpcEndpoint": _described(
        "describe_vpc_endpoints", "VpcEndpoints", "VpcEndpointId", vpc_id="vpcId", service_name="serviceName"
    ),
    "aws:ec2/vpc:Vpc": _described("describe_vpcs", "Vpcs", "VpcId", cidr="cidrBlock"),
    "aws:ec2/subnet:Subnet": _described(
        "describe_subnets", "Subnets", "SubnetId", vpc_id="vpcId", cidr_block="cidrBlock"
    ),
    "aws:ec2/routeTable:RouteTable": _described(
        "describe_route_tables", "RouteTables", "RouteTableId", vpc_id="vpcId"
    ),
    "aws:ec2/internetGateway:InternetGateway": _described(
        "describe_internet_gateways", "InternetGateways", "InternetGatewayId"
    ),
    "aws:ec2/natGateway:NatGateway": _described(
        "describe_nat_gateways", "NatGateways", "NatGatewayId", subnet_id="subnetId"
    ),
    "aws:ec2/eip:Eip": _described("describe_addresses", "Addresses", "AllocationId"),
    "aws:ec2/flowLog:FlowLog": _described("describe_flow_logs", "FlowLogs", "FlowLogId", resource_id="vpcId"),
    "aws:ec2/route:Route": _route,
    "aws:ec2/routeTableAssociation:RouteTableAssociation": _route_association,
}
"""Types whose id is not one of their inputs. Lambda permissions go by their inputs."""
