"""What one holder may do to one resource: IAM statements, one verb per function.

Pure data, so tests need no cloud. A statement never names a service wildcard, and names its resources; the few
actions that AWS authorizes only on ``*`` are in `UNAVOIDABLE`, each with the AWS page that says so.
"""

from typing import NotRequired, TypedDict

import pulumi

from keepwarm._values import concat


class Statement(TypedDict):
    """One allow statement of an IAM policy document."""

    actions: list[str]
    """API actions, spelled out: a wildcard is refused."""
    resources: list[pulumi.Input[str]]
    """ARNs the actions are allowed on: a lone ``*`` is refused unless AWS offers nothing narrower."""
    conditions: NotRequired[dict[str, dict[str, pulumi.Input[str]]]]
    """Condition operators with their keys and values. Default: none."""


UNAVOIDABLE: dict[str, str] = {
    "xray:PutTraceSegments": "https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsx-ray.html",
    "xray:PutTelemetryRecords": "https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsx-ray.html",
    "xray:GetSamplingRules": "https://docs.aws.amazon.com/step-functions/latest/dg/concepts-xray-tracing.html",
    "xray:GetSamplingTargets": "https://docs.aws.amazon.com/step-functions/latest/dg/concepts-xray-tracing.html",
    "logs:CreateLogDelivery": "https://docs.aws.amazon.com/step-functions/latest/dg/cw-logs.html",
    "logs:GetLogDelivery": "https://docs.aws.amazon.com/step-functions/latest/dg/cw-logs.html",
    "logs:UpdateLogDelivery": "https://docs.aws.amazon.com/step-functions/latest/dg/cw-logs.html",
    "logs:DeleteLogDelivery": "https://docs.aws.amazon.com/step-functions/latest/dg/cw-logs.html",
    "logs:ListLogDeliveries": "https://docs.aws.amazon.com/step-functions/latest/dg/cw-logs.html",
    "logs:PutResourcePolicy": "https://docs.aws.amazon.com/step-functions/latest/dg/cw-logs.html",
    "logs:DescribeResourcePolicies": "https://docs.aws.amazon.com/step-functions/latest/dg/cw-logs.html",
    "logs:DescribeLogGroups": "https://docs.aws.amazon.com/step-functions/latest/dg/cw-logs.html",
    "ecr:GetAuthorizationToken": (
        "https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerregistry.html"
    ),
    "servicediscovery:DiscoverInstances": (
        "https://docs.aws.amazon.com/service-authorization/latest/reference/list_awscloudmap.html"
    ),
    "ec2:DescribeNetworkInterfaces": "https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html",
    "ec2:DescribeSubnets": "https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html",
    "ecs:DiscoverPollEndpoint": (
        "https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerservice.html"
    ),
}
"""Actions that take no resource, with the AWS page that states it. The test of wildcards allows only these."""


def write_logs(log_group_arn: pulumi.Input[str]) -> Statement:
    """Write log events into the streams of one group, which exists already."""
    return {
        "actions": ["logs:CreateLogStream", "logs:PutLogEvents"],
        "resources": [concat(log_group_arn, ":*")],
    }


def trace() -> Statement:
    """Send X-Ray segments."""
    return {"actions": ["xray:PutTraceSegments", "xray:PutTelemetryRecords"], "resources": ["*"]}


def send_messages(queue_arn: pulumi.Input[str]) -> Statement:
    """Put messages on a queue."""
    return {"actions": ["sqs:SendMessage"], "resources": [queue_arn]}


def publish_messages(topic_arn: pulumi.Input[str]) -> Statement:
    """Publish to a topic."""
    return {"actions": ["sns:Publish"], "resources": [topic_arn]}


def put_events(bus_arn: pulumi.Input[str]) -> Statement:
    """Put events on an EventBridge bus."""
    return {"actions": ["events:PutEvents"], "resources": [bus_arn]}


def consume_messages(queue_arn: pulumi.Input[str]) -> Statement:
    """Take messages off a queue, as an event source mapping does with the function's role."""
    return {
        "actions": ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"],
        "resources": [queue_arn],
    }


def read_models(bucket_arn: pulumi.Input[str]) -> Statement:
    """Read manifests, channel pointers and blobs of the registry, and versions of them."""
    return {
        "actions": ["s3:GetObject", "s3:GetObjectVersion"],
        "resources": [
            concat(bucket_arn, "/blobs/sha256/*"),
            concat(bucket_arn, "/manifests/*"),
            concat(bucket_arn, "/channels/*"),
        ],
    }


def publish_models(bucket_arn: pulumi.Input[str]) -> Statement:
    """Add blobs and manifests, and only where there are none: a write without ``If-None-Match`` is refused."""
    return {
        "actions": ["s3:PutObject"],
        "resources": [
            concat(bucket_arn, "/blobs/sha256/*"),
            concat(bucket_arn, "/manifests/*"),
        ],
        "conditions": {"Null": {"s3:if-none-match": "false"}},
    }


def move_channels(bucket_arn: pulumi.Input[str]) -> Statement:
    """Move channel pointers, by compare and swap only (``If-Match``)."""
    return {
        "actions": ["s3:PutObject"],
        "resources": [concat(bucket_arn, "/channels/*")],
        "conditions": {"Null": {"s3:if-match": "false"}},
    }


def read_objects(bucket_arn: pulumi.Input[str], prefix: str = "") -> Statement:
    """Read the objects of a bucket below a prefix."""
    return {
        "actions": ["s3:GetObject", "s3:GetObjectVersion"],
        "resources": [concat(bucket_arn, f"/{prefix}*")],
    }


def write_objects(bucket_arn: pulumi.Input[str], prefix: str = "") -> Statement:
    """Write the objects of a bucket below a prefix, not delete them."""
    return {"actions": ["s3:PutObject"], "resources": [concat(bucket_arn, f"/{prefix}*")]}


def list_objects(bucket_arn: pulumi.Input[str]) -> Statement:
    """List a bucket, which also turns the answer for a missing key from 403 into 404."""
    return {"actions": ["s3:ListBucket"], "resources": [bucket_arn]}


def keep_effects(table_arn: pulumi.Input[str]) -> Statement:
    """Read and conditionally write effect records."""
    return {
        "actions": ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"],
        "resources": [table_arn],
    }


def take_permits(table_arn: pulumi.Input[str]) -> Statement:
    """Take, renew and return permits of a pool."""
    return {
        "actions": ["dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:UpdateItem"],
        "resources": [table_arn],
    }


def start_workflow(state_machine_arn: pulumi.Input[str]) -> Statement:
    """Start executions of one state machine."""
    return {"actions": ["states:StartExecution"], "resources": [state_machine_arn]}


def read_workflow(state_machine_arn: pulumi.Input[str]) -> Statement:
    """Ask for the result of executions of one state machine."""

    def executions(arn: str) -> str:
        return arn.replace(":stateMachine:", ":execution:") + ":*"

    return {
        "actions": ["states:DescribeExecution"],
        "resources": [pulumi.Output.from_input(state_machine_arn).apply(executions)],
    }


def invoke_function(alias_arn: pulumi.Input[str]) -> Statement:
    """Invoke a function through one alias, never its unpublished code."""
    return {"actions": ["lambda:InvokeFunction"], "resources": [alias_arn]}


def invoke_url(alias_arn: pulumi.Input[str]) -> Statement:
    """Call the URL of a function's alias with a signed request; `invoke_through_url` is needed beside it.

    Source: https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html
    """
    return {
        "actions": ["lambda:InvokeFunctionUrl"],
        "resources": [alias_arn],
        "conditions": {"StringEquals": {"lambda:FunctionUrlAuthType": "AWS_IAM"}},
    }


def invoke_through_url(alias_arn: pulumi.Input[str]) -> Statement:
    """Invoke a function's alias through its URL and in no other way."""
    return {
        "actions": ["lambda:InvokeFunction"],
        "resources": [alias_arn],
        "conditions": {"Bool": {"lambda:InvokedViaFunctionUrl": "true"}},
    }


def mount(
    file_system_arn: pulumi.Input[str], access_point_arn: pulumi.Input[str], *, read_only: bool = False
) -> Statement:
    """Mount an EFS file system through one access point, for reading and, unless told otherwise, writing."""
    actions = ["elasticfilesystem:ClientMount"]
    return {
        "actions": actions if read_only else [*actions, "elasticfilesystem:ClientWrite"],
        "resources": [file_system_arn],
        "conditions": {"StringEquals": {"elasticfilesystem:AccessPointArn": access_point_arn}},
    }


def discover(namespace: pulumi.Input[str], service: pulumi.Input[str]) -> Statement:
    """Find the instances of one Cloud Map service, narrowed by condition since the action takes no resource."""
    return {
        "actions": ["servicediscovery:DiscoverInstances"],
        "resources": ["*"],
        "conditions": {
            "StringEquals": {
                "servicediscovery:NamespaceName": namespace,
                "servicediscovery:ServiceName": service,
            }
        },
    }


def read_secret(secret_arn: pulumi.Input[str]) -> Statement:
    """Read the value of one Secrets Manager secret."""
    return {"actions": ["secretsmanager:GetSecretValue"], "resources": [secret_arn]}


def decrypt(key_arn: pulumi.Input[str]) -> Statement:
    """Decrypt with one KMS key."""
    return {"actions": ["kms:Decrypt"], "resources": [key_arn]}


def verify(key_arn: pulumi.Input[str]) -> Statement:
    """Verify signatures of one KMS key."""
    return {"actions": ["kms:Verify"], "resources": [key_arn]}


def sign(key_arn: pulumi.Input[str]) -> Statement:
    """Sign with one KMS key."""
    return {"actions": ["kms:Sign"], "resources": [key_arn]}


def encrypt(key_arn: pulumi.Input[str]) -> Statement:
    """Encrypt new objects or messages with one KMS key, and read them back."""
    return {"actions": ["kms:Decrypt", "kms:GenerateDataKey"], "resources": [key_arn]}
