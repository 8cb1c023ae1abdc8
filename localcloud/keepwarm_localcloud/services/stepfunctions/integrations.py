"""Service integrations of Task states: what a state machine's role calls.

Requests go to the cloud's own endpoint, signed with a session of the role, so that IAM and every refusal are the
same as for anybody else. https://docs.aws.amazon.com/step-functions/latest/dg/integrate-services.html
"""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol

from keepwarm_localcloud.ports import Invocation
from keepwarm_localcloud.request import AwsError
from keepwarm_localcloud.services.roles import botocore_error, client_error
from keepwarm_localcloud.services.stepfunctions.failures import StateFailure
from keepwarm_localcloud.services.stepfunctions.interpreter import compact

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
"""Prefix of error names of optimised integrations."""
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
"""Prefix of error names of AWS SDK integrations (names of the Java clients), where capitalising isn't enough."""


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
                raise StateFailure("States.Runtime", f"The field '{key}' is not supported by {shape.name}")
            out[name] = to_wire(shape.members[name], item)
        return out
    if shape.type_name == "list" and isinstance(value, list):
        return [to_wire(shape.member, item) for item in value]
    if shape.type_name == "map" and isinstance(value, dict):
        return {key: to_wire(shape.value, item) for key, item in value.items()}
    if shape.type_name == "string" and not isinstance(value, str):
        return compact(value)
    if shape.type_name == "blob" and not isinstance(value, str | bytes):
        return compact(value).encode()
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


def split(resource: str) -> tuple[str, str, bool]:
    """(service, action, AWS SDK integration?) of a Task resource."""
    if ":states:::" not in resource:
        return "lambda", "", False
    name = resource.partition(":states:::")[2]
    for suffix in (".waitForTaskToken", ".sync:2", ".sync"):
        name = name.removesuffix(suffix)
    pieces = name.split(":")
    return (pieces[1], pieces[2], True) if pieces[0] == "aws-sdk" else (pieces[0], pieces[1], False)


def call(roles: Roles, role_arn: str, resource: str, parameters: Any) -> Callable[[], Any]:
    """Give the blocking call of a task."""
    service, action, sdk = split(resource)
    if service == "lambda" and not sdk:
        return lambda: _lambda(roles, role_arn, resource, action, parameters)
    return lambda: api(roles, role_arn, service, action, sdk, parameters)


def _lambda(roles: Roles, role_arn: str, resource: str, action: str, parameters: Any) -> Any:
    direct = not action
    options = {"FunctionName": resource, "Payload": parameters} if direct else parameters
    if not isinstance(options, dict) or "FunctionName" not in options:
        raise StateFailure("States.Runtime", "The field 'FunctionName' is required")
    function = options["FunctionName"]
    if "Qualifier" in options:
        function = f"{function}:{options['Qualifier']}"
    payload = compact(options.get("Payload", {})).encode()
    kind = options.get("InvocationType", "RequestResponse")
    try:
        answer = roles.function(role_arn, function, payload, kind)
    except AwsError as error:
        raise StateFailure(*_refusal(error)) from error
    text = answer.payload.decode("utf-8", "replace")
    if answer.function_error:
        raise StateFailure(_error_type(text), text)
    value = json.loads(text) if text else {}
    if direct:
        return value
    return {
        "ExecutedVersion": answer.executed_version,
        "Payload": value,
        "SdkHttpMetadata": {"HttpStatusCode": answer.status},
        "StatusCode": answer.status,
    }


def _refusal(error: AwsError) -> tuple[str, str]:
    """Lambda's own errors keep their name; access problems are AWSLambdaException, as the console shows them."""
    denied = error.code in ("AccessDenied", "AccessDeniedException")
    name = "AWSLambdaException" if denied else error.code
    cause = f"{error.message} (Service: Lambda, Status Code: {error.status})"
    return f"Lambda.{name if name.endswith('Exception') else name + 'Exception'}", cause


def _error_type(text: str) -> str:
    try:
        body = json.loads(text)
    except ValueError:
        return "Lambda.Unknown"
    name = body.get("errorType") if isinstance(body, dict) else None
    # A function that is killed reports Sandbox.Timedout, or nothing that says what went wrong.
    return str(name) if name else "Lambda.Unknown"


def api(roles: Roles, role_arn: str, service: str, action: str, sdk: bool, parameters: Any) -> Any:
    """Call an API action with ASL's names.

    Raises:
        StateFailure: with the error name that Step Functions gives.
    """
    capitalised = service[:1].upper() + service[1:]
    prefix = SDK_PREFIXES.get(service, capitalised) if sdk else PREFIXES[service]
    client = roles.client(role_arn, CLIENTS.get(service, service))
    operation = action[:1].upper() + action[1:]
    model = client.meta.service_model
    if operation not in model.operation_names:
        raise StateFailure("States.Runtime", f"The action {service}:{action} does not exist")
    shapes = model.operation_model(operation)
    arguments = to_wire(shapes.input_shape, parameters) if shapes.input_shape is not None else {}
    try:
        answer = client._make_api_call(operation, arguments)
    except client_error() as error:
        code = error.response["Error"]["Code"]
        name = code.rpartition(".")[2]
        raise StateFailure(
            f"{prefix}.{name if name.endswith('Exception') else name + 'Exception'}",
            f"{error.response['Error'].get('Message', '')} (Service: {prefix}, Status Code: "
            f"{error.response['ResponseMetadata'].get('HTTPStatusCode')})",
        ) from error
    except botocore_error() as error:
        raise StateFailure(f"{prefix}.SdkClientException", str(error)) from error
    metadata = answer.pop("ResponseMetadata", {})
    value = from_wire(shapes.output_shape, answer) if shapes.output_shape is not None else {}
    if not sdk:
        value["SdkHttpMetadata"] = {"HttpStatusCode": metadata.get("HTTPStatusCode", 200)}
        value["SdkResponseMetadata"] = {"RequestId": metadata.get("RequestId", "")}
    return value
