"""Service integrations of Task states: what a state machine's role calls.

https://docs.aws.amazon.com/step-functions/latest/dg/integrate-services.html
"""

import json
from collections.abc import Callable
from typing import Any

from keepwarm_localcloud.request import AwsError
from keepwarm_localcloud.services.sdk_calls import Roles, SdkFailure, call_api
from keepwarm_localcloud.services.stepfunctions.failures import StateFailure
from keepwarm_localcloud.services.stepfunctions.values import compact


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
    return lambda: _api(roles, role_arn, service, action, sdk, parameters)


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


def _api(roles: Roles, role_arn: str, service: str, action: str, sdk: bool, parameters: Any) -> Any:
    try:
        return call_api(roles, role_arn, service, action, sdk, parameters)
    except SdkFailure as error:
        raise StateFailure(error.error, error.cause) from error
