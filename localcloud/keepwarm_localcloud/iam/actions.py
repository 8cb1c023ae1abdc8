"""From a request to what IAM is asked: actions, resources and condition keys of the services functions and tasks use.

https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
"""

import functools
import json
import re
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from keepwarm_localcloud.request import AwsError, Request

if TYPE_CHECKING:
    from keepwarm_localcloud.cloud import Cloud
    from keepwarm_localcloud.services.lambda_.rest import Api


@dataclass(slots=True)
class Ask:
    """One question: may `action` be done on any of `resources` (names of one thing)?"""

    action: str
    resources: list[str] = field(default_factory=lambda: ["*"])
    context: dict[str, str | list[str]] = field(default_factory=dict)


PREFIXES: Final = {"monitoring": "cloudwatch", "elasticloadbalancing": "elasticloadbalancing"}
"""Signing name -> prefix of its actions, where they differ."""
_BATCHES: Final = {
    "SendMessageBatch": "SendMessage",
    "DeleteMessageBatch": "DeleteMessage",
    "ChangeMessageVisibilityBatch": "ChangeMessageVisibility",
}
_CBOR = re.compile(r"/service/[^/]+/operation/(\w+)\Z")


class Names:
    """ARNs of one account and region."""

    def __init__(self, cloud: "Cloud") -> None:
        self._cloud = cloud

    def arn(self, service: str, rest: str, separator: str = ":") -> str:
        """`arn:aws:service:region:account:rest`."""
        return f"arn:aws:{service}:{self._cloud.region}:{self._cloud.account_id}{separator}{rest}"


def asks_of(request: Request, cloud: "Cloud") -> list[Ask]:
    """What must be allowed for a request; an empty list needs no permission.

    Raises:
        AwsError: the body cannot be read.
    """
    names = Names(cloud)
    if request.service == "s3":
        return _s3(request)
    if request.service == "sts":
        return _sts(request)
    if request.service == "lambda":
        return _lambda(request, names)
    operation, body = _operation(request)
    prefix = PREFIXES.get(request.service, request.service)
    special = _SPECIAL.get(request.service)
    if special is not None:
        return special(operation, body, names, cloud)
    return [Ask(f"{prefix}:{operation}")]


def _operation(request: Request) -> tuple[str, dict[str, Any]]:
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


def _sqs(operation: str, body: dict[str, Any], names: Names, cloud: "Cloud") -> list[Ask]:
    operation = _BATCHES.get(operation, operation)
    queue = str(body.get("QueueUrl") or "").rstrip("/").rpartition("/")[2] or body.get("QueueName")
    resource = str(body.get("SourceArn") or (names.arn("sqs", str(queue)) if queue else "*"))
    asks = [Ask(f"sqs:{operation}", [resource])]
    wanted = {"SendMessage": ("GenerateDataKey", "Decrypt"), "ReceiveMessage": ("Decrypt",)}.get(
        operation, ()
    )
    owner: Any = cloud.find_service("sqs")
    # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html
    if wanted and owner is not None and owner.exists(resource):
        key = owner.attributes(resource).get("KmsMasterKeyId", "")
        if key and not key.endswith("alias/aws/sqs"):
            context: dict[str, str | list[str]] = {
                "kms:ViaService": f"sqs.{cloud.region}.amazonaws.com",
                "kms:EncryptionContext:aws:sqs:arn": resource,
            }
            asks += [Ask(f"kms:{action}", [key_arn(key, names, cloud)], context) for action in wanted]
    return asks


def _table(name: Any, names: Names) -> str:
    text = str(name or "*")
    return text if text.startswith("arn:") else names.arn("dynamodb", f"table/{text}")


def _leading(arn: str, keys: list[Any], cloud: "Cloud") -> dict[str, str | list[str]]:
    """`dynamodb:LeadingKeys`: the partition keys a request touches."""
    table = cloud.moto.backend("dynamodb").tables.get(arn.rpartition("/")[2])
    hash_key = getattr(table, "hash_key_attr", None)
    values = [str(next(iter(k[hash_key].values()))) for k in keys if isinstance(k, dict) and hash_key in k]
    return {"dynamodb:leadingkeys": values} if values else {}


def _dynamodb(operation: str, body: dict[str, Any], names: Names, cloud: "Cloud") -> list[Ask]:
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
                asks.append(Ask(f"dynamodb:{action}", [arn], _leading(arn, keys, cloud)))
        return asks
    if operation in ("ListTables", "DescribeLimits", "DescribeEndpoints"):
        return [Ask(f"dynamodb:{operation}")]
    arn = _table(body.get("TableName") or body.get("ResourceArn"), names)
    resource = f"{arn}/index/{body['IndexName']}" if body.get("IndexName") else arn
    context = _leading(arn, [body.get("Key") or body.get("Item")], cloud)
    return [Ask(f"dynamodb:{operation}", [resource], context)]


def _states(operation: str, body: dict[str, Any], names: Names, cloud: "Cloud") -> list[Ask]:
    if operation in ("SendTaskSuccess", "SendTaskFailure", "SendTaskHeartbeat", "ListStateMachines"):
        return [Ask(f"states:{operation}")]
    arn = body.get("stateMachineArn") or body.get("executionArn") or body.get("resourceArn") or "*"
    return [Ask(f"states:{operation}", [str(arn)])]


def _logs(operation: str, body: dict[str, Any], names: Names, cloud: "Cloud") -> list[Ask]:
    group = body.get("logGroupName") or body.get("logGroupIdentifier")
    if not group:
        return [Ask(f"logs:{operation}")]
    arn = str(group) if str(group).startswith("arn:") else names.arn("logs", f"log-group:{group}")
    stream = body.get("logStreamName")
    if stream and operation in ("PutLogEvents", "GetLogEvents", "DeleteLogStream"):
        return [Ask(f"logs:{operation}", [f"{arn}:log-stream:{stream}"])]
    # The same group is written with and without the ending that means its streams.
    return [Ask(f"logs:{operation}", [f"{arn}:*", arn])]


def _cloudwatch(operation: str, body: dict[str, Any], names: Names, cloud: "Cloud") -> list[Ask]:
    namespace = body.get("Namespace")
    return [Ask(f"cloudwatch:{operation}", ["*"], {"cloudwatch:namespace": namespace} if namespace else {})]


def _kms(operation: str, body: dict[str, Any], names: Names, cloud: "Cloud") -> list[Ask]:
    key = body.get("KeyId")
    if not key:
        return [Ask(f"kms:{operation}")]
    return [Ask(f"kms:{operation}", [key_arn(str(key), names, cloud)])]


def key_arn(key: str, names: Names, cloud: "Cloud") -> str:
    """ARN of a KMS key named by id, ARN or alias."""
    if ":key/" in key:
        return key
    alias = key.rpartition(":")[2] if ":alias/" in key else key
    if alias.startswith("alias/"):
        with cloud.moto.lock("kms"):
            backend = cloud.moto.backend("kms")
            key = next((k for k, held in backend.keys.items() if alias in held.aliases), alias)
    return names.arn("kms", f"key/{key}")


def _ssm(operation: str, body: dict[str, Any], names: Names, cloud: "Cloud") -> list[Ask]:
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


def _secrets(operation: str, body: dict[str, Any], names: Names, cloud: "Cloud") -> list[Ask]:
    secret = body.get("SecretId") or body.get("Name")
    if not secret:
        return [Ask(f"secretsmanager:{operation}")]
    if not str(secret).startswith("arn:"):
        with cloud.moto.lock("secretsmanager"):
            held = cloud.moto.backend("secretsmanager").secrets
            found = next((s for s in held.values() if s.name == secret), None)
        secret = found.arn if found is not None else names.arn("secretsmanager", f"secret:{secret}")
    return [Ask(f"secretsmanager:{operation}", [str(secret)])]


def _discovery(operation: str, body: dict[str, Any], names: Names, cloud: "Cloud") -> list[Ask]:
    context: dict[str, str | list[str]] = {}
    if body.get("NamespaceName"):
        context["servicediscovery:namespacename"] = body["NamespaceName"]
    if body.get("ServiceName"):
        context["servicediscovery:servicename"] = body["ServiceName"]
    service = body.get("ServiceId") or (body.get("Id") if operation.endswith("Service") else None)
    resource = names.arn("servicediscovery", f"service/{service}") if service else "*"
    return [Ask(f"servicediscovery:{operation}", [resource], context)]


def _ecs(operation: str, body: dict[str, Any], names: Names, cloud: "Cloud") -> list[Ask]:
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


def _sns(operation: str, body: dict[str, Any], names: Names, cloud: "Cloud") -> list[Ask]:
    return [Ask(f"sns:{operation}", [str(body.get("TopicArn") or body.get("TargetArn") or "*")])]


def _events(operation: str, body: dict[str, Any], names: Names, cloud: "Cloud") -> list[Ask]:
    if operation != "PutEvents":
        return [Ask(f"events:{operation}")]
    buses = {str(e.get("EventBusName") or "default") for e in body.get("Entries") or []}
    return [
        Ask("events:PutEvents", [b if b.startswith("arn:") else names.arn("events", f"event-bus/{b}")])
        for b in sorted(buses)
    ]


_SPECIAL: Final[dict[str, Callable[[str, dict[str, Any], Names, "Cloud"], list[Ask]]]] = {
    "sqs": _sqs,
    "dynamodb": _dynamodb,
    "states": _states,
    "logs": _logs,
    "monitoring": _cloudwatch,
    "kms": _kms,
    "ssm": _ssm,
    "secretsmanager": _secrets,
    "servicediscovery": _discovery,
    "ecs": _ecs,
    "sns": _sns,
    "events": _events,
}


def _sts(request: Request) -> list[Ask]:
    form = urllib.parse.parse_qs(request.body.decode("utf-8", "replace"))
    action = form.get("Action", [""])[0]
    if action == "GetCallerIdentity":
        # AWS allows it to everybody, even against an explicit deny.
        return []
    return [Ask(f"sts:{action}", form.get("RoleArn", ["*"]))]


_LAMBDA_ACTIONS: Final = {
    "Invoke": "InvokeFunction",
    "InvokeAsync": "InvokeFunction",
    "InvokeWithResponseStream": "InvokeFunction",
    "GetLayerVersionByArn": "GetLayerVersion",
}
"""Operations whose action has another name.
https://docs.aws.amazon.com/service-authorization/latest/reference/list_awslambda.html"""


@functools.cache
def lambda_api() -> "Api":
    """Lambda's routes, read once for whoever asks which operation a request means."""
    from keepwarm_localcloud.services.lambda_.rest import Api

    return Api()


def _lambda(request: Request, names: Names) -> list[Ask]:
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


# --- S3 ----------------------------------------------------------------------------------------------------

_BUCKET_ACTIONS: Final = {
    "encryption": "EncryptionConfiguration",
    "lifecycle": "LifecycleConfiguration",
    "publicAccessBlock": "BucketPublicAccessBlock",
    "ownershipControls": "BucketOwnershipControls",
    "object-lock": "BucketObjectLockConfiguration",
    "replication": "ReplicationConfiguration",
    "accelerate": "AccelerateConfiguration",
    "requestPayment": "BucketRequestPayment",
    "analytics": "AnalyticsConfiguration",
    "metrics": "MetricsConfiguration",
    "inventory": "InventoryConfiguration",
    "intelligent-tiering": "IntelligentTieringConfiguration",
    "versioning": "BucketVersioning",
    "policy": "BucketPolicy",
    "policyStatus": "BucketPolicyStatus",
    "notification": "BucketNotification",
    "tagging": "BucketTagging",
    "logging": "BucketLogging",
    "cors": "BucketCORS",
    "website": "BucketWebsite",
    "acl": "BucketAcl",
}


def _s3_context(request: Request) -> dict[str, str | list[str]]:
    context: dict[str, str | list[str]] = {}
    for name in ("prefix", "delimiter", "max-keys"):
        if name in request.query:
            context[f"s3:{name}"] = request.query[name][0]
    if "versionId" in request.query:
        context["s3:versionid"] = request.query["versionId"][0]
    for header, value in request.headers.items():
        if header in ("if-match", "if-none-match") or header.startswith(
            (
                "x-amz-server-side-encryption",
                "x-amz-acl",
                "x-amz-storage-class",
                "x-amz-copy-source",
                "x-amz-metadata",
            )
        ):
            context[f"s3:{header}"] = value.strip('"')
    for key, values in urllib.parse.parse_qs(request.headers.get("x-amz-tagging", "")).items():
        context[f"s3:requestobjecttag/{key.lower()}"] = values[0]
    return context


def _s3(request: Request) -> list[Ask]:
    from keepwarm_localcloud.services.s3.call import locate

    bucket, key = locate(request)
    context = _s3_context(request)
    if not bucket:
        return [Ask("s3:ListAllMyBuckets", ["*"], context)]
    bucket_arn = f"arn:aws:s3:::{bucket}"
    if key:
        return _s3_object(request, f"{bucket_arn}/{key}", context)
    return [Ask(f"s3:{name}", [bucket_arn], context) for name in _s3_bucket(request)]


def _s3_bucket(request: Request) -> list[str]:
    query, method = request.query, request.method
    if "versions" in query:
        return ["ListBucketVersions"]
    if "uploads" in query:
        return ["ListBucketMultipartUploads"]
    if "location" in query:
        return ["GetBucketLocation"]
    if "delete" in query:
        # Asked for each key by the operation itself, which alone has read them.
        return []
    verb = "Get" if method in ("GET", "HEAD") else "Put"
    for name, action in _BUCKET_ACTIONS.items():
        if name in query:
            return ["DeleteBucketPolicy" if name == "policy" and method == "DELETE" else f"{verb}{action}"]
    return [{"PUT": "CreateBucket", "DELETE": "DeleteBucket"}.get(method, "ListBucket")]


def _s3_object(request: Request, arn: str, context: dict[str, str | list[str]]) -> list[Ask]:
    query, method, headers = request.query, request.method, request.headers
    version = "Version" if "versionId" in query else ""
    reads = method in ("GET", "HEAD")
    actions: list[str]
    if "uploadId" in query or "uploads" in query:
        actions = ["ListMultipartUploadParts" if reads else "PutObject"]
        if method == "DELETE":
            actions = ["AbortMultipartUpload"]
    elif "tagging" in query:
        verb = "Get" if reads else method.title()
        actions = [f"{verb}Object{version}Tagging"]
    elif "retention" in query:
        actions = ["GetObjectRetention" if reads else "PutObjectRetention"]
    elif "legal-hold" in query:
        actions = ["GetObjectLegalHold" if reads else "PutObjectLegalHold"]
    elif "acl" in query:
        actions = [f"GetObject{version}Acl" if reads else f"PutObject{version}Acl"]
    elif reads:
        actions = [f"GetObject{version}"]
    elif method == "DELETE":
        actions = [f"DeleteObject{version}"]
    else:
        actions = ["PutObject"]
    if actions == ["PutObject"]:
        if "x-amz-tagging" in headers:
            actions.append("PutObjectTagging")
        if "x-amz-object-lock-mode" in headers:
            actions.append("PutObjectRetention")
        if "x-amz-object-lock-legal-hold" in headers:
            actions.append("PutObjectLegalHold")
    if headers.get("x-amz-bypass-governance-retention", "").lower() == "true":
        actions.append("BypassGovernanceRetention")
    asks = [Ask(f"s3:{a}", [arn], context) for a in actions]
    source = headers.get("x-amz-copy-source")
    if source:
        path, _, versioned = source.partition("?")
        read = "s3:GetObjectVersion" if versioned else "s3:GetObject"
        asks.append(Ask(read, [f"arn:aws:s3:::{urllib.parse.unquote(path.lstrip('/'))}"], context))
    return asks


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
