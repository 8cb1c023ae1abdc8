"""What AWS Cloud Map asks of IAM for each request: actions, resources and condition keys.

https://docs.aws.amazon.com/service-authorization/latest/reference/list_awscloudmap.html
"""

from keepwarm_localcloud.iam.actions import Ask, Names, operation_of
from keepwarm_localcloud.request import Request


def asks(request: Request, names: Names) -> list[Ask]:
    """What must be allowed for a request."""
    operation, body = operation_of(request)
    context: dict[str, str | list[str]] = {}
    if body.get("NamespaceName"):
        context["servicediscovery:namespacename"] = body["NamespaceName"]
    if body.get("ServiceName"):
        context["servicediscovery:servicename"] = body["ServiceName"]
    service = body.get("ServiceId") or (body.get("Id") if operation.endswith("Service") else None)
    resource = names.arn("servicediscovery", f"service/{service}") if service else "*"
    return [Ask(f"servicediscovery:{operation}", [resource], context)]
