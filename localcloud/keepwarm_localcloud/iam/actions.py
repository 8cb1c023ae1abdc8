"""From a request to what IAM is asked: what is the same for every service, and the services that moto answers.

The services with a folder of their own say it in their `actions.py`.

https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
"""

import json
import re
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from keepwarm_localcloud.moto.base import Moto
from keepwarm_localcloud.ports import Peers
from keepwarm_localcloud.request import AwsError, Request


@dataclass(slots=True)
class Ask:
    """One question: may `action` be done on any of `resources` (names of one thing)?"""

    action: str
    resources: list[str] = field(default_factory=lambda: ["*"])
    context: dict[str, str | list[str]] = field(default_factory=dict)


PREFIXES: Final = {"monitoring": "cloudwatch", "elasticloadbalancing": "elasticloadbalancing"}
"""Signing name -> prefix of its actions, where they differ."""
_CBOR = re.compile(r"/service/[^/]+/operation/(\w+)\Z")


@dataclass(frozen=True, slots=True)
class Names:
    """ARNs of one account and region, and where names that need looking up are looked up."""

    account_id: str
    region: str
    moto: Moto
    peers: Peers

    def arn(self, service: str, rest: str, separator: str = ":") -> str:
        """`arn:aws:service:region:account:rest`."""
        return f"arn:aws:{service}:{self.region}:{self.account_id}{separator}{rest}"

    def key_arn(self, key: str) -> str:
        """ARN of a KMS key named by id, ARN or alias."""
        if ":key/" in key:
            return key
        alias = key.rpartition(":")[2] if ":alias/" in key else key
        if alias.startswith("alias/"):
            with self.moto.lock("kms"):
                backend = self.moto.backend("kms")
                key = next((k for k, held in backend.keys.items() if alias in held.aliases), alias)
        return self.arn("kms", f"key/{key}")


AsksOf = Callable[[Request, Names], list[Ask]]
"""What a service asks for a request: `asks` of its `actions.py`."""


def asks_of(request: Request, names: Names, of_service: AsksOf | None = None) -> list[Ask]:
    """What must be allowed for a request; an empty list needs no permission.

    Args:
        request: What is asked of a service.
        names: Of the account.
        of_service: What the service itself says; None for one that moto answers.

    Raises:
        AwsError: the body cannot be read.
    """
    if of_service is not None:
        return of_service(request, names)
    operation, body = operation_of(request)
    special = _SPECIAL.get(request.service)
    if special is not None:
        return special(operation, body, names)
    return [Ask(f"{PREFIXES.get(request.service, request.service)}:{operation}")]


def operation_of(request: Request) -> tuple[str, dict[str, Any]]:
    """The operation a request names, and its parameters."""
    if request.target():
        return request.target(), request.json()
    match = _CBOR.match(request.path)
    if match is not None:
        return match.group(1), {}
    if "x-www-form-urlencoded" in request.headers.get("content-type", "") or "Action" in request.query:
        form = urllib.parse.parse_qs(request.body.decode("utf-8", "replace"))
        flat = {k: v[0] for k, v in {**request.query, **form}.items()}
        return flat.get("Action", ""), flat
    try:
        body = json.loads(request.body) if request.body else {}
    except ValueError:
        body = {}
    # A REST path says what is meant only together with the service's model; the last fixed word comes close.
    return f"{request.method.title()}{request.path.strip('/').partition('/')[0].title()}", body


def _table(name: Any, names: Names) -> str:
    text = str(name or "*")
    return text if text.startswith("arn:") else names.arn("dynamodb", f"table/{text}")


def _leading(arn: str, keys: list[Any], names: Names) -> dict[str, str | list[str]]:
    """`dynamodb:LeadingKeys`: the partition keys a request touches."""
    table = names.moto.backend("dynamodb").tables.get(arn.rpartition("/")[2])
    hash_key = getattr(table, "hash_key_attr", None)
    values = [str(next(iter(k[hash_key].values()))) for k in keys if isinstance(k, dict) and hash_key in k]
    return {"dynamodb:leadingkeys": values} if values else {}


def _dynamodb(operation: str, body: dict[str, Any], names: Names) -> list[Ask]:
    if operation in ("BatchGetItem", "BatchWriteItem"):
        return [Ask(f"dynamodb:{operation}", [_table(t, names)]) for t in body.get("RequestItems") or {}]
    if operation in ("TransactWriteItems", "TransactGetItems"):
        asks = []
        for item in body.get("TransactItems") or []:
            for kind, one in item.items():
                action = {
                    "Put": "PutItem",
                    "Update": "UpdateItem",
                    "Delete": "DeleteItem",
                    "Get": "GetItem",
                }.get(kind, "ConditionCheckItem")
                arn = _table(one.get("TableName"), names)
                keys = [one.get("Key") or one.get("Item")]
                asks.append(Ask(f"dynamodb:{action}", [arn], _leading(arn, keys, names)))
        return asks
    if operation in ("ListTables", "DescribeLimits", "DescribeEndpoints"):
        return [Ask(f"dynamodb:{operation}")]
    arn = _table(body.get("TableName") or body.get("ResourceArn"), names)
    resource = f"{arn}/index/{body['IndexName']}" if body.get("IndexName") else arn
    context = _leading(arn, [body.get("Key") or body.get("Item")], names)
    return [Ask(f"dynamodb:{operation}", [resource], context)]


def _logs(operation: str, body: dict[str, Any], names: Names) -> list[Ask]:
    group = body.get("logGroupName") or body.get("logGroupIdentifier")
    if not group:
        return [Ask(f"logs:{operation}")]
    arn = str(group) if str(group).startswith("arn:") else names.arn("logs", f"log-group:{group}")
    stream = body.get("logStreamName")
    if stream and operation in ("PutLogEvents", "GetLogEvents", "DeleteLogStream"):
        return [Ask(f"logs:{operation}", [f"{arn}:log-stream:{stream}"])]
    # The same group is written with and without the ending that means its streams.
    return [Ask(f"logs:{operation}", [f"{arn}:*", arn])]


def _cloudwatch(operation: str, body: dict[str, Any], names: Names) -> list[Ask]:
    namespace = body.get("Namespace")
    return [Ask(f"cloudwatch:{operation}", ["*"], {"cloudwatch:namespace": namespace} if namespace else {})]


def _kms(operation: str, body: dict[str, Any], names: Names) -> list[Ask]:
    key = body.get("KeyId")
    if not key:
        return [Ask(f"kms:{operation}")]
    return [Ask(f"kms:{operation}", [names.key_arn(str(key))])]


def _ssm(operation: str, body: dict[str, Any], names: Names) -> list[Ask]:
    listed = body.get("Names") or [body.get("Name") or body.get("Path")]
    found = [n for n in listed if n]
    if not found:
        return [Ask(f"ssm:{operation}")]
    return [
        Ask(
            f"ssm:{operation}",
            [n if n.startswith("arn:") else names.arn("ssm", f"parameter/{n.lstrip('/')}")],
        )
        for n in found
    ]


def _secrets(operation: str, body: dict[str, Any], names: Names) -> list[Ask]:
    secret = body.get("SecretId") or body.get("Name")
    if not secret:
        return [Ask(f"secretsmanager:{operation}")]
    if not str(secret).startswith("arn:"):
        with names.moto.lock("secretsmanager"):
            held = names.moto.backend("secretsmanager").secrets
            found = next((s for s in held.values() if s.name == secret), None)
        secret = found.arn if found is not None else names.arn("secretsmanager", f"secret:{secret}")
    return [Ask(f"secretsmanager:{operation}", [str(secret)])]


def _sns(operation: str, body: dict[str, Any], names: Names) -> list[Ask]:
    return [Ask(f"sns:{operation}", [str(body.get("TopicArn") or body.get("TargetArn") or "*")])]


def _events(operation: str, body: dict[str, Any], names: Names) -> list[Ask]:
    if operation != "PutEvents":
        return [Ask(f"events:{operation}")]
    buses = {str(e.get("EventBusName") or "default") for e in body.get("Entries") or []}
    return [
        Ask("events:PutEvents", [b if b.startswith("arn:") else names.arn("events", f"event-bus/{b}")])
        for b in sorted(buses)
    ]


_SPECIAL: Final[dict[str, Callable[[str, dict[str, Any], Names], list[Ask]]]] = {
    "dynamodb": _dynamodb,
    "logs": _logs,
    "monitoring": _cloudwatch,
    "kms": _kms,
    "ssm": _ssm,
    "secretsmanager": _secrets,
    "sns": _sns,
    "events": _events,
}


def refusal(service: str, message: str) -> AwsError:
    """AccessDenied in the words and with the status of a service."""
    if service in ("s3", "sqs", "sts", "iam", "monitoring"):
        return AwsError("AccessDenied", message, 403)
    if service == "sns":
        return AwsError("AuthorizationError", message, 403)
    if service == "ec2":
        return AwsError("UnauthorizedOperation", message, 403)
    if service in ("lambda", "xray", "scheduler"):
        return AwsError("AccessDeniedException", message, 403)
    return AwsError("AccessDeniedException", message, 400)
