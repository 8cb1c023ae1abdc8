"""Any API action with the names that Step Functions and EventBridge Scheduler use (AWS SDK integrations).

Requests go to the cloud's own endpoint, signed with a session of the role, so that IAM and every refusal are the
same as for anybody else. https://docs.aws.amazon.com/step-functions/latest/dg/supported-services-awssdk.html
"""

import json
from datetime import datetime
from typing import Any, Protocol

from keepwarm_localcloud.ports import Invocation
from keepwarm_localcloud.services.roles import botocore_error, client_error

CLIENTS = {
    "states": "stepfunctions",
    "sfn": "stepfunctions",
    "eventbridge": "events",
    "cloudwatch": "cloudwatch",
}
"""ASL's service name -> boto3's, where they differ."""
PREFIXES = {
    "lambda": "Lambda",
    "sqs": "SQS",
    "sns": "SNS",
    "dynamodb": "DynamoDB",
    "ecs": "ECS",
    "states": "StepFunctions",
    "events": "EventBridge",
}
"""Prefix of error names of optimized integrations."""
SDK_PREFIXES = {
    "dynamodb": "DynamoDb",
    "servicediscovery": "ServiceDiscovery",
    "cloudwatch": "CloudWatch",
    "cloudwatchlogs": "CloudWatchLogs",
    "eventbridge": "EventBridge",
    "secretsmanager": "SecretsManager",
    "autoscaling": "AutoScaling",
    "applicationautoscaling": "ApplicationAutoScaling",
}
"""Prefix of error names of AWS SDK integrations (names of the Java clients), where capitalizing isn't enough."""


class SdkFailure(Exception):
    """An API refused, or never answered; named as Step Functions names errors of AWS SDK integrations."""

    def __init__(self, error: str, cause: str) -> None:
        super().__init__(f"{error}: {cause}")
        self.error = error
        self.cause = cause


class Roles(Protocol):
    """What acts as a role."""

    def client(self, role_arn: str, service: str) -> Any:
        """boto3 client of the cloud's endpoint with a session of the role."""
        ...

    def function(self, role_arn: str, name: str, payload: bytes, kind: str) -> Invocation:
        """Invoke a function as the role."""
        ...


def to_wire(shape: Any, value: Any) -> Any:
    """Turn ASL's PascalCase parameters into the member names of the API."""
    if shape.type_name == "structure" and isinstance(value, dict):
        names = {name.lower(): name for name in shape.members}
        out = {}
        for key, item in value.items():
            name = key if key in shape.members else names.get(key.lower())
            if name is None:
                raise SdkFailure("States.Runtime", f"The field '{key}' is not supported by {shape.name}")
            out[name] = to_wire(shape.members[name], item)
        return out
    if shape.type_name == "list" and isinstance(value, list):
        return [to_wire(shape.member, item) for item in value]
    if shape.type_name == "map" and isinstance(value, dict):
        return {key: to_wire(shape.value, item) for key, item in value.items()}
    if shape.type_name == "string" and not isinstance(value, str):
        return _compact(value)
    if shape.type_name == "blob" and not isinstance(value, str | bytes):
        return _compact(value).encode()
    return value


def from_wire(shape: Any, value: Any) -> Any:
    """Turn an API answer into ASL's PascalCase JSON."""
    if shape.type_name == "structure" and isinstance(value, dict):
        return {
            k[:1].upper() + k[1:]: from_wire(shape.members[k], v)
            for k, v in value.items()
            if k in shape.members
        }
    if shape.type_name == "list" and isinstance(value, list):
        return [from_wire(shape.member, item) for item in value]
    if shape.type_name == "map" and isinstance(value, dict):
        return {key: from_wire(shape.value, item) for key, item in value.items()}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if hasattr(value, "read"):
        return value.read().decode("utf-8", "replace")
    return value


def call_api(roles: Roles, role_arn: str, service: str, action: str, sdk: bool, parameters: Any) -> Any:
    """Call an API action with ASL's names.

    Raises:
        SdkFailure: the action does not exist or was refused.
    """
    capitalized = service[:1].upper() + service[1:]
    prefix = SDK_PREFIXES.get(service, capitalized) if sdk else PREFIXES[service]
    client = roles.client(role_arn, CLIENTS.get(service, service))
    operation = action[:1].upper() + action[1:]
    model = client.meta.service_model
    if operation not in model.operation_names:
        raise SdkFailure("States.Runtime", f"The action {service}:{action} does not exist")
    shapes = model.operation_model(operation)
    arguments = to_wire(shapes.input_shape, parameters) if shapes.input_shape is not None else {}
    try:
        answer = client._make_api_call(operation, arguments)
    except client_error() as error:
        code = error.response["Error"]["Code"]
        name = code.rpartition(".")[2]
        raise SdkFailure(
            f"{prefix}.{name if name.endswith('Exception') else name + 'Exception'}",
            f"{error.response['Error'].get('Message', '')} (Service: {prefix}, Status Code: "
            f"{error.response['ResponseMetadata'].get('HTTPStatusCode')})",
        ) from error
    except botocore_error() as error:
        raise SdkFailure(f"{prefix}.SdkClientException", str(error)) from error
    metadata = answer.pop("ResponseMetadata", {})
    value = from_wire(shapes.output_shape, answer) if shapes.output_shape is not None else {}
    if not sdk:
        value["SdkHttpMetadata"] = {"HttpStatusCode": metadata.get("HTTPStatusCode", 200)}
        value["SdkResponseMetadata"] = {"RequestId": metadata.get("RequestId", "")}
    return value


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
