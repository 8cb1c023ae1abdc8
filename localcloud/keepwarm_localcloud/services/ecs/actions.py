"""What ECS asks of IAM for each request: actions, resources and condition keys.

https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerservice.html
"""

from typing import Any

from keepwarm_localcloud.iam.actions import Ask, Names, operation_of
from keepwarm_localcloud.request import Request


def asks(request: Request, names: Names) -> list[Ask]:
    """What must be allowed for a request."""
    operation, body = operation_of(request)
    cluster = str(body.get("cluster") or "default").rpartition("/")[2]
    context: dict[str, str | list[str]] = {"ecs:cluster": names.arn("ecs", f"cluster/{cluster}")}

    def full(kind: str, value: Any) -> str:
        text = str(value)
        return text if text.startswith("arn:") else names.arn("ecs", f"{kind}/{cluster}/{text}")

    if operation == "RunTask":
        task = str(body.get("taskDefinition", "*"))
        resources = [task if task.startswith("arn:") else names.arn("ecs", f"task-definition/{task}")]
    elif body.get("tasks"):
        return [Ask(f"ecs:{operation}", [full("task", t)], context) for t in body["tasks"]]
    elif body.get("task"):
        resources = [full("task", body["task"])]
    elif body.get("services"):
        return [Ask(f"ecs:{operation}", [full("service", s)], context) for s in body["services"]]
    elif body.get("service"):
        resources = [full("service", body["service"])]
    elif body.get("cluster"):
        resources = [str(context["ecs:cluster"])]
    else:
        resources = ["*"]
    return [Ask(f"ecs:{operation}", resources, context)]
