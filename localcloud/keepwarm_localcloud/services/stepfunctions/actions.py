"""What Step Functions asks of IAM for each request: actions, resources and condition keys.

https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsstepfunctions.html
"""

from keepwarm_localcloud.iam.actions import Ask, Names, operation_of
from keepwarm_localcloud.request import Request


def asks(request: Request, names: Names) -> list[Ask]:
    """What must be allowed for a request."""
    operation, body = operation_of(request)
    if operation in ("SendTaskSuccess", "SendTaskFailure", "SendTaskHeartbeat", "ListStateMachines"):
        return [Ask(f"states:{operation}")]
    arn = body.get("stateMachineArn") or body.get("executionArn") or body.get("resourceArn") or "*"
    return [Ask(f"states:{operation}", [str(arn)])]
