"""What Lambda asks of IAM for each request: actions, resources and condition keys.

https://docs.aws.amazon.com/service-authorization/latest/reference/list_awslambda.html
"""

from typing import Final

from keepwarm_localcloud.iam.actions import Ask, Names
from keepwarm_localcloud.request import AwsError, Request
from keepwarm_localcloud.services.lambda_.rest import lambda_api

_LAMBDA_ACTIONS: Final = {
    "Invoke": "InvokeFunction",
    "InvokeAsync": "InvokeFunction",
    "InvokeWithResponseStream": "InvokeFunction",
    "GetLayerVersionByArn": "GetLayerVersion",
}
"""Operations whose action has another name.
https://docs.aws.amazon.com/service-authorization/latest/reference/list_awslambda.html"""


def asks(request: Request, names: Names) -> list[Ask]:
    """What must be allowed for a request."""
    try:
        operation, uri = lambda_api().match(request)
    except AwsError:
        return [Ask(f"lambda:{request.method.title()}")]
    action = f"lambda:{_LAMBDA_ACTIONS.get(operation.name, operation.name)}"
    if operation.name == "CreateFunction":
        uri = {"FunctionName": str(request.json().get("FunctionName") or "*")}
    if (name := uri.get("FunctionName")) is not None:
        arn = name if name.startswith("arn:") else names.arn("lambda", f"function:{name}")
        qualifier = request.query.get("Qualifier", [""])[0]
        return [Ask(action, [f"{arn}:{qualifier}" if qualifier and arn.count(":") == 6 else arn])]
    if (layer := uri.get("LayerName")) is not None:
        arn = layer if layer.startswith("arn:") else names.arn("lambda", f"layer:{layer}")
        version = uri.get("VersionNumber")
        return [Ask(action, [f"{arn}:{version}" if version else arn])]
    if (mapping := uri.get("UUID")) is not None:
        return [Ask(action, [names.arn("lambda", f"event-source-mapping:{mapping}")])]
    return [Ask(action)]
