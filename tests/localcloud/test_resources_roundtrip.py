"""Every resource type of the table against the embedded cloud: made, read back, imported, changed, removed.

Proves: what was asked is what is read back (no difference, from the state and from an id alone), an in-place change
arrives, a second delete is no error, and nothing is left in the cloud. Does not prove: that real AWS behaves so; the
table's facts come from the providers' documentation, and no AWS account is used here.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from keepwarm_localcloud.cloud import Cloud, CloudSettings
from keepwarm_localcloud.pulumi_types import table
from keepwarm_localcloud.pulumi_types.assets import Blob, zip_bytes
from keepwarm_localcloud.pulumi_types.aws import Aws
from keepwarm_localcloud.pulumi_types.base import DEFAULTS_KEY
from keepwarm_localcloud.pulumi_types.locate import locate
from keepwarm_localcloud.pulumi_types.tokens import OWN_USE, TOKENS

pytestmark = pytest.mark.filterwarnings("ignore:SOCKS support in urllib3")

ROOT = Path(__file__).resolve().parents[2]
TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {
                    "Service": [
                        "lambda.amazonaws.com",
                        "states.amazonaws.com",
                        "scheduler.amazonaws.com",
                        "ecs-tasks.amazonaws.com",
                        "ec2.amazonaws.com",
                    ]
                },
                "Action": "sts:AssumeRole",
            }
        ],
    }
)
PASS_MACHINE = json.dumps({"StartAt": "A", "States": {"A": {"Type": "Pass", "End": True}}})


def bundle(text: str) -> Blob:
    content = zip_bytes({"main.py": (text.encode(), False)})
    return Blob(str(hash(text)), True, lambda: content)


class World:
    """What the cases lean on, made once when first asked for; removed in reverse at the end."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.aws = Aws(cloud.endpoint)
        self.made: dict[str, tuple[str, str, dict[str, Any]]] = {}

    def make(self, label: str, token: str, /, **inputs: Any) -> dict[str, Any]:
        if label not in self.made:
            complete, failures = table.check(token, f"urn::{label}", inputs, None)
            assert failures == []
            id_, outputs = table.create(token, f"urn::{label}", self.aws, complete)
            self.made[label] = (token, id_, {**outputs, "id": id_})
        return self.made[label][2]

    def close(self) -> None:
        for token, id_, outputs in reversed(self.made.values()):
            table.delete(token, "", self.aws, id_, outputs, outputs)
        self.aws.close()

    def role(self) -> dict[str, Any]:
        made = self.make("role", "aws:iam/role:Role", assumeRolePolicy=TRUST)
        allow = {
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Allow", "Action": ["sqs:*", "logs:*", "ec2:*", "sns:*"], "Resource": "*"}
            ],
        }
        self.make("role-policy", "aws:iam/rolePolicy:RolePolicy", role=made["name"], policy=json.dumps(allow))
        return made

    def bucket(self) -> dict[str, Any]:
        return self.make("bucket", "aws:s3/bucket:Bucket", forceDestroy=True)

    def locked(self) -> dict[str, Any]:
        return self.make("locked", "aws:s3/bucket:Bucket", objectLockEnabled=True, forceDestroy=True)

    def queue(self) -> dict[str, Any]:
        return self.make("queue", "aws:sqs/queue:Queue", visibilityTimeoutSeconds=60)

    def dead(self) -> dict[str, Any]:
        return self.make("dead", "aws:sqs/queue:Queue")

    def topic(self) -> dict[str, Any]:
        return self.make("topic", "aws:sns/topic:Topic")

    def key(self) -> dict[str, Any]:
        return self.make("key", "aws:kms/key:Key", description="one")

    def function(self) -> dict[str, Any]:
        return self.make(
            "function",
            "aws:lambda/function:Function",
            role=self.role()["arn"],
            handler="main.handler",
            runtime="python3.11",
            code=bundle("def handler(event, context):\n    return event\n"),
            publish=True,
        )

    def alias(self) -> dict[str, Any]:
        return self.make(
            "alias",
            "aws:lambda/alias:Alias",
            name="live",
            functionName=self.function()["name"],
            functionVersion=self.function()["version"],
        )

    def vpc(self) -> dict[str, Any]:
        return self.make("vpc", "aws:ec2/vpc:Vpc", cidrBlock="10.9.0.0/16")

    def subnet(self) -> dict[str, Any]:
        return self.make("subnet", "aws:ec2/subnet:Subnet", vpcId=self.vpc()["id"], cidrBlock="10.9.1.0/24")

    def group(self) -> dict[str, Any]:
        return self.make("group", "aws:ec2/securityGroup:SecurityGroup", vpcId=self.vpc()["id"])

    def gateway(self) -> dict[str, Any]:
        return self.make("gateway", "aws:ec2/internetGateway:InternetGateway", vpcId=self.vpc()["id"])

    def routes(self) -> dict[str, Any]:
        return self.make("routes", "aws:ec2/routeTable:RouteTable", vpcId=self.vpc()["id"])

    def address(self) -> dict[str, Any]:
        return self.make("address", "aws:ec2/eip:Eip")

    def template(self) -> dict[str, Any]:
        return self.make(
            "template",
            "aws:ec2/launchTemplate:LaunchTemplate",
            imageId="ami-12c6146b",
            instanceType="g4dn.xlarge",
        )

    def scaling_group(self) -> dict[str, Any]:
        return self.make(
            "scaling-group",
            "aws:autoscaling/group:Group",
            minSize=0,
            maxSize=2,
            vpcZoneIdentifiers=[self.subnet()["id"]],
            launchTemplate={"id": self.template()["id"], "version": "$Latest"},
            protectFromScaleIn=True,
        )

    def cluster(self) -> dict[str, Any]:
        return self.make("cluster", "aws:ecs/cluster:Cluster")

    def capacity(self) -> dict[str, Any]:
        return self.make(
            "capacity",
            "aws:ecs/capacityProvider:CapacityProvider",
            autoScalingGroupProvider={"autoScalingGroupArn": self.scaling_group()["arn"]},
        )

    def definition(self, directory: str) -> dict[str, Any]:
        return self.make(
            "definition",
            TASK,
            family="family",
            containerDefinitions=containers(directory),
            cpu="256",
            memory="256",
            networkMode="awsvpc",
            requiresCompatibilities=["EC2"],
        )

    def namespace(self) -> dict[str, Any]:
        return self.make("namespace", "aws:servicediscovery/httpNamespace:HttpNamespace", name="space")

    def target(self) -> dict[str, Any]:
        return self.make(
            "target",
            "aws:appautoscaling/target:Target",
            serviceNamespace="lambda",
            resourceId=f"function:{self.function()['name']}:{self.alias()['name']}",
            scalableDimension="lambda:function:ProvisionedConcurrency",
            minCapacity=0,
            maxCapacity=3,
        )

    def api(self) -> dict[str, Any]:
        return self.make("api", "aws:apigatewayv2/api:Api", protocolType="HTTP")

    def secret(self) -> dict[str, Any]:
        return self.make("secret", "aws:secretsmanager/secret:Secret", recoveryWindowInDays=0)

    def repository(self) -> dict[str, Any]:
        return self.make("repository", "aws:ecr/repository:Repository")

    def logs(self) -> dict[str, Any]:
        return self.make("logs", "aws:cloudwatch/logGroup:LogGroup")

    def rule(self) -> dict[str, Any]:
        return self.make("rule", "aws:cloudwatch/eventRule:EventRule", scheduleExpression="rate(5 minutes)")


ALWAYS_THERE = (
    ":SecretVersion",
    ":ClusterCapacityProviders",
    ":BucketVersioning",
    ":TopicPolicy",
    ":BucketObjectLockConfiguration",
    ":BucketServerSideEncryptionConfiguration",
)
"""Types that set something which every such thing has: removing one puts AWS's default back."""

TASK = "aws:ecs/taskDefinition:TaskDefinition"


def containers(directory: str) -> str:
    return json.dumps([{"name": "main", "image": f"file://{directory}", "essential": True, "memory": 64}])


@dataclass
class Case:
    """One type: inputs, an in-place change, and whether an id alone is enough to read it back."""

    token: str
    inputs: Callable[[World], dict[str, Any]]
    change: Callable[[World], dict[str, Any]] | None = None
    import_id: Callable[[str, dict[str, Any]], str] | None = lambda id_, outputs: id_
    kept: tuple[str, ...] = field(default=())
    """Inputs that AWS does not tell (write-only, or ours): left out of the comparison after an import."""


TAGS = {"team": "kw", "cost": "1"}
POLICY = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": "*"}]}
)


def bucket_policy(world: World) -> str:
    return json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Deny",
                    "Principal": "*",
                    "Action": "s3:*",
                    "Resource": f"{world.bucket()['arn']}/*",
                    "Condition": {"Bool": {"aws:SecureTransport": "false"}},
                }
            ],
        }
    )


def queue_policy(world: World) -> str:
    return json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Service": "s3.amazonaws.com"},
                    "Action": "sqs:SendMessage",
                    "Resource": world.queue()["arn"],
                }
            ],
        }
    )


def topic_policy(world: World) -> str:
    return json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Service": "cloudwatch.amazonaws.com"},
                    "Action": "sns:Publish",
                    "Resource": world.topic()["arn"],
                }
            ],
        }
    )


SCALED = ("serviceNamespace", "resourceId", "scalableDimension")


def scaled(world: World) -> dict[str, Any]:
    return {k: world.target()[k] for k in SCALED}


def scaling_import(id_: str, outputs: dict[str, Any]) -> str:
    return "/".join([*(outputs[k] for k in SCALED), outputs["name"]])


CASES: list[Case] = [
    Case(
        "aws:s3/bucket:Bucket",
        lambda w: {"tags": TAGS, "forceDestroy": True},
        lambda w: {"tags": {"a": "b"}},
        kept=("forceDestroy",),
    ),
    Case(
        "aws:s3/bucketVersioning:BucketVersioning",
        lambda w: {"bucket": w.bucket()["id"], "versioningConfiguration": {"status": "Enabled"}},
        lambda w: {"versioningConfiguration": {"status": "Suspended"}},
    ),
    Case(
        "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
        lambda w: {"bucket": w.bucket()["id"], "blockPublicAcls": True, "ignorePublicAcls": True},
        lambda w: {"blockPublicPolicy": True},
    ),
    Case(
        "aws:s3/bucketOwnershipControls:BucketOwnershipControls",
        lambda w: {"bucket": w.bucket()["id"], "rule": {"objectOwnership": "BucketOwnerEnforced"}},
        lambda w: {"rule": {"objectOwnership": "BucketOwnerPreferred"}},
    ),
    Case(
        "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
        lambda w: {
            "bucket": w.bucket()["id"],
            "rules": [
                {
                    "applyServerSideEncryptionByDefault": {
                        "sseAlgorithm": "aws:kms",
                        "kmsMasterKeyId": w.key()["arn"],
                    },
                    "bucketKeyEnabled": True,
                }
            ],
        },
        lambda w: {"rules": [{"applyServerSideEncryptionByDefault": {"sseAlgorithm": "AES256"}}]},
    ),
    Case(
        "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration",
        lambda w: {
            "bucket": w.bucket()["id"],
            "rules": [
                {
                    "id": "tidy",
                    "status": "Enabled",
                    "filter": {"prefix": "work/"},
                    "expiration": {"days": 7},
                    "noncurrentVersionExpiration": {"noncurrentDays": 3},
                    "abortIncompleteMultipartUpload": {"daysAfterInitiation": 1},
                }
            ],
        },
        lambda w: {
            "rules": [
                {"id": "tidy", "status": "Disabled", "filter": {"prefix": ""}, "expiration": {"days": 9}}
            ]
        },
    ),
    Case(
        "aws:s3/bucketCorsConfiguration:BucketCorsConfiguration",
        lambda w: {
            "bucket": w.bucket()["id"],
            "corsRules": [
                {"allowedMethods": ["GET"], "allowedOrigins": ["https://example.com"], "maxAgeSeconds": 30}
            ],
        },
        lambda w: {"corsRules": [{"allowedMethods": ["PUT"], "allowedOrigins": ["*"]}]},
    ),
    Case(
        "aws:s3/bucketPolicy:BucketPolicy",
        lambda w: {"bucket": w.bucket()["id"], "policy": bucket_policy(w)},
        lambda w: {"policy": bucket_policy(w).replace("s3:*", "s3:PutObject")},
    ),
    Case(
        "aws:s3/bucketLogging:BucketLogging",
        lambda w: {"bucket": w.bucket()["id"], "targetBucket": w.bucket()["id"], "targetPrefix": "log/"},
        lambda w: {"targetPrefix": "logs/"},
    ),
    Case(
        "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration",
        lambda w: {
            "bucket": w.locked()["id"],
            "rule": {"defaultRetention": {"mode": "GOVERNANCE", "days": 1}},
        },
        lambda w: {"rule": {"defaultRetention": {"mode": "GOVERNANCE", "days": 2}}},
    ),
    Case(
        "aws:s3/bucketNotification:BucketNotification",
        lambda w: {"bucket": w.bucket()["id"], "eventbridge": True},
        lambda w: {
            "eventbridge": False,
            "queues": [
                {
                    "id": "new",
                    "events": ["s3:ObjectCreated:*"],
                    "filterSuffix": ".pdf",
                    "queueArn": open_queue(w)["arn"],
                }
            ],
        },
    ),
    Case(
        "aws:s3/bucketObjectv2:BucketObjectv2",
        lambda w: {
            "bucket": w.bucket()["id"],
            "key": "a/b.json",
            "content": "{}",
            "contentType": "application/json",
        },
        lambda w: {"content": '{"a": 1}'},
        lambda id_, o: f"{o['bucket']}/{o['key']}",
        kept=("content",),
    ),
    Case(
        "aws:kms/key:Key",
        lambda w: {
            "description": "models",
            "enableKeyRotation": True,
            "deletionWindowInDays": 7,
            "tags": TAGS,
        },
        lambda w: {"description": "other", "enableKeyRotation": False},
        kept=("deletionWindowInDays",),
    ),
    Case(
        "aws:kms/alias:Alias",
        lambda w: {"targetKeyId": w.key()["keyId"]},
        lambda w: {"targetKeyId": w.make("key2", "aws:kms/key:Key")["keyId"]},
    ),
    Case(
        "aws:iam/role:Role",
        lambda w: {"assumeRolePolicy": TRUST, "description": "one", "maxSessionDuration": 7200, "tags": TAGS},
        lambda w: {"description": "two", "tags": {"team": "kw"}, "maxSessionDuration": 3600},
    ),
    Case(
        "aws:iam/rolePolicy:RolePolicy",
        lambda w: {"role": w.role()["name"], "policy": POLICY},
        lambda w: {"policy": POLICY.replace("GetObject", "PutObject")},
    ),
    Case(
        "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
        lambda w: {
            "role": w.role()["name"],
            "policyArn": w.make("policy", "aws:iam/policy:Policy", policy=POLICY)["arn"],
        },
    ),
    Case(
        "aws:iam/policy:Policy",
        lambda w: {"policy": POLICY, "description": "d", "path": "/kw/", "tags": TAGS},
        lambda w: {"policy": POLICY.replace("GetObject", "PutObject"), "tags": {}},
    ),
    Case(
        "aws:iam/instanceProfile:InstanceProfile",
        lambda w: {"role": w.role()["name"], "tags": TAGS},
        lambda w: {"tags": {"x": "y"}},
    ),
    Case(
        "aws:lambda/function:Function",
        lambda w: {
            "role": w.role()["arn"],
            "handler": "main.handler",
            "runtime": "python3.11",
            "code": bundle("x = 1"),
            "timeout": 30,
            "memorySize": 256,
            "environment": {"variables": {"AA": "1"}},
            "ephemeralStorage": {"size": 1024},
            "reservedConcurrentExecutions": 3,
            "tags": TAGS,
            "publish": True,
            "architectures": ["arm64"],
            "tracingConfig": {"mode": "Active"},
            "deadLetterConfig": {"targetArn": w.dead()["arn"]},
        },
        lambda w: {
            "memorySize": 512,
            "environment": {"variables": {"BB": "2"}},
            "tags": {"team": "kw"},
            "reservedConcurrentExecutions": -1,
            "code": bundle("x = 2"),
        },
        kept=("code", "publish"),
    ),
    Case(
        "aws:lambda/alias:Alias",
        lambda w: {
            "functionName": w.function()["name"],
            "functionVersion": w.function()["version"],
            "description": "a",
        },
        lambda w: {"description": "b"},
        lambda id_, o: f"{o['functionName']}/{o['name']}",
    ),
    Case(
        "aws:lambda/provisionedConcurrencyConfig:ProvisionedConcurrencyConfig",
        lambda w: {
            "functionName": w.function()["name"],
            "qualifier": w.alias()["name"],
            "provisionedConcurrentExecutions": 1,
        },
        lambda w: {"provisionedConcurrentExecutions": 2},
    ),
    Case(
        "aws:lambda/permission:Permission",
        lambda w: {
            "action": "lambda:InvokeFunction",
            "function": w.function()["name"],
            "principal": "s3.amazonaws.com",
            "sourceArn": w.bucket()["arn"],
            "qualifier": w.alias()["name"],
        },
        None,
        lambda id_, o: f"{o['function']}:{o['qualifier']}/{id_}",
    ),
    Case(
        "aws:lambda/eventSourceMapping:EventSourceMapping",
        lambda w: {
            "eventSourceArn": w.queue()["arn"],
            "functionName": w.alias()["arn"],
            "batchSize": 5,
            "maximumBatchingWindowInSeconds": 1,
            "functionResponseTypes": ["ReportBatchItemFailures"],
            "scalingConfig": {"maximumConcurrency": 2},
        },
        lambda w: {"batchSize": 7, "scalingConfig": {"maximumConcurrency": 4}, "enabled": False},
    ),
    Case(
        "aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig",
        lambda w: {
            "functionName": w.function()["name"],
            "qualifier": w.alias()["name"],
            "maximumRetryAttempts": 1,
            "maximumEventAgeInSeconds": 60,
            "destinationConfig": {"onFailure": {"destination": w.dead()["arn"]}},
        },
        lambda w: {"maximumRetryAttempts": 0},
    ),
    Case(
        "aws:lambda/layerVersion:LayerVersion",
        lambda w: {"layerName": "deps", "code": bundle("y = 1"), "compatibleRuntimes": ["python3.11"]},
        kept=("code",),
    ),
    Case(
        "aws:lambda/capacityProvider:CapacityProvider",
        lambda w: {
            "vpcConfig": {"subnetIds": [w.subnet()["id"]], "securityGroupIds": [w.group()["id"]]},
            "permissionsConfig": {"capacityProviderOperatorRoleArn": w.role()["arn"]},
            "capacityProviderScalingConfigs": [{"scalingMode": "Auto", "maxVcpuCount": 12}],
        },
        lambda w: {"capacityProviderScalingConfigs": [{"scalingMode": "Auto", "maxVcpuCount": 24}]},
    ),
    Case(
        "aws:cloudwatch/logGroup:LogGroup",
        lambda w: {"retentionInDays": 7, "tags": TAGS},
        lambda w: {"retentionInDays": 14},
    ),
    Case(
        "aws:cloudwatch/logMetricFilter:LogMetricFilter",
        lambda w: {
            "logGroupName": w.logs()["name"],
            "pattern": "ERROR",
            "metricTransformation": {"name": "Errors", "namespace": "Kw", "value": "1"},
        },
        lambda w: {"pattern": "FATAL"},
        lambda id_, o: f"{o['logGroupName']}:{o['name']}",
    ),
    Case(
        "aws:cloudwatch/metricAlarm:MetricAlarm",
        lambda w: {
            "comparisonOperator": "GreaterThanThreshold",
            "evaluationPeriods": 2,
            "metricName": "ApproximateAgeOfOldestMessage",
            "namespace": "AWS/SQS",
            "period": 60,
            "statistic": "Maximum",
            "threshold": 30.5,
            "dimensions": {"QueueName": w.queue()["name"]},
            "treatMissingData": "notBreaching",
            "alarmActions": [w.topic()["arn"]],
            "tags": TAGS,
        },
        lambda w: {"threshold": 60, "alarmDescription": "old"},
    ),
    Case(
        "aws:cloudwatch/dashboard:Dashboard",
        lambda w: {"dashboardName": "board", "dashboardBody": json.dumps({"widgets": []})},
        lambda w: {"dashboardBody": json.dumps({"widgets": [], "start": "-PT1H"})},
    ),
    Case(
        "aws:cloudwatch/eventRule:EventRule",
        lambda w: {"scheduleExpression": "rate(1 hour)", "description": "d", "tags": TAGS},
        lambda w: {"description": "e", "state": "DISABLED"},
    ),
    Case(
        "aws:cloudwatch/eventTarget:EventTarget",
        lambda w: {"rule": w.rule()["name"], "targetId": "queue", "arn": w.queue()["arn"], "input": "{}"},
        lambda w: {"input": '{"a":1}'},
        lambda id_, o: f"{o['rule']}/{o['targetId']}",
    ),
    Case(
        "aws:sqs/queue:Queue",
        lambda w: {
            "visibilityTimeoutSeconds": 90,
            "messageRetentionSeconds": 600,
            "tags": TAGS,
            "redrivePolicy": json.dumps({"deadLetterTargetArn": w.dead()["arn"], "maxReceiveCount": 5}),
        },
        lambda w: {"visibilityTimeoutSeconds": 30, "delaySeconds": 1, "tags": {"z": "1"}},
    ),
    Case(
        "aws:sqs/queuePolicy:QueuePolicy",
        lambda w: {"queueUrl": w.queue()["url"], "policy": queue_policy(w)},
        lambda w: {"policy": queue_policy(w).replace("s3.amazonaws", "sns.amazonaws")},
    ),
    Case(
        "aws:sqs/redrivePolicy:RedrivePolicy",
        lambda w: {
            "queueUrl": w.queue()["url"],
            "redrivePolicy": json.dumps({"deadLetterTargetArn": w.dead()["arn"], "maxReceiveCount": 4}),
        },
    ),
    Case(
        "aws:sqs/redriveAllowPolicy:RedriveAllowPolicy",
        lambda w: {
            "queueUrl": w.dead()["url"],
            "redriveAllowPolicy": json.dumps(
                {"redrivePermission": "byQueue", "sourceQueueArns": [w.queue()["arn"]]}
            ),
        },
    ),
    Case(
        "aws:dynamodb/table:Table",
        lambda w: {
            "hashKey": "pk",
            "rangeKey": "sk",
            "attributes": [{"name": "sk", "type": "N"}, {"name": "pk", "type": "S"}],
            "billingMode": "PAY_PER_REQUEST",
            "ttl": {"attributeName": "expiry", "enabled": True},
            "pointInTimeRecovery": {"enabled": True},
            "serverSideEncryption": {"enabled": True},
            "deletionProtectionEnabled": True,
            "tags": TAGS,
        },
        lambda w: {
            "deletionProtectionEnabled": False,
            "pointInTimeRecovery": {"enabled": False},
            "tags": {"team": "x"},
        },
    ),
    Case(
        "aws:sfn/stateMachine:StateMachine",
        lambda w: {
            "roleArn": w.role()["arn"],
            "definition": PASS_MACHINE,
            "tags": TAGS,
            "loggingConfiguration": {
                "level": "ALL",
                "includeExecutionData": True,
                "logDestination": f"{w.logs()['arn']}:*",
            },
            "tracingConfiguration": {"enabled": True},
        },
        lambda w: {"definition": PASS_MACHINE.replace('"A"', '"B"'), "tags": {"q": "1"}},
    ),
    Case(
        "aws:appautoscaling/target:Target",
        lambda w: {
            "serviceNamespace": "lambda",
            "resourceId": f"function:{w.function()['name']}:{w.alias()['name']}",
            "scalableDimension": "lambda:function:ProvisionedConcurrency",
            "minCapacity": 1,
            "maxCapacity": 2,
        },
        lambda w: {"maxCapacity": 5},
        lambda id_, o: "/".join(o[k] for k in SCALED),
    ),
    Case(
        "aws:appautoscaling/policy:Policy",
        lambda w: {
            **scaled(w),
            "policyType": "TargetTrackingScaling",
            "targetTrackingScalingPolicyConfiguration": {
                "targetValue": 0.7,
                "scaleInCooldown": 60,
                "predefinedMetricSpecification": {
                    "predefinedMetricType": "LambdaProvisionedConcurrencyUtilization"
                },
            },
        },
        lambda w: {
            "targetTrackingScalingPolicyConfiguration": {
                "targetValue": 0.5,
                "predefinedMetricSpecification": {
                    "predefinedMetricType": "LambdaProvisionedConcurrencyUtilization"
                },
            }
        },
        scaling_import,
    ),
    Case(
        "aws:appautoscaling/scheduledAction:ScheduledAction",
        lambda w: {
            **scaled(w),
            "schedule": "cron(0 8 * * ? *)",
            "timezone": "Europe/Berlin",
            "scalableTargetAction": {"minCapacity": 2, "maxCapacity": 3},
        },
        lambda w: {"schedule": "cron(0 9 * * ? *)"},
        scaling_import,
    ),
    Case(
        "aws:ecs/cluster:Cluster",
        lambda w: {"settings": [{"name": "containerInsights", "value": "enabled"}], "tags": TAGS},
        lambda w: {"settings": [{"name": "containerInsights", "value": "disabled"}]},
    ),
    Case(
        "aws:ecs/capacityProvider:CapacityProvider",
        lambda w: {
            "autoScalingGroupProvider": {
                "autoScalingGroupArn": w.scaling_group()["arn"],
                "managedTerminationProtection": "ENABLED",
                "managedDraining": "ENABLED",
                "managedScaling": {"status": "ENABLED", "targetCapacity": 100},
            },
            "tags": TAGS,
        },
        lambda w: {
            "autoScalingGroupProvider": {
                "autoScalingGroupArn": w.scaling_group()["arn"],
                "managedTerminationProtection": "ENABLED",
                "managedScaling": {"status": "ENABLED", "targetCapacity": 90},
            }
        },
    ),
    Case(
        "aws:ecs/clusterCapacityProviders:ClusterCapacityProviders",
        lambda w: {
            "clusterName": w.cluster()["name"],
            "capacityProviders": [w.capacity()["name"]],
            "defaultCapacityProviderStrategies": [{"capacityProvider": w.capacity()["name"], "weight": 1}],
        },
        lambda w: {
            "defaultCapacityProviderStrategies": [{"capacityProvider": w.capacity()["name"], "weight": 2}]
        },
    ),
    Case(
        TASK,
        lambda w: {
            "family": "ocr",
            "containerDefinitions": containers(str(w.cloud.directory)),
            "cpu": "512",
            "memory": "1024",
            "networkMode": "awsvpc",
            "requiresCompatibilities": ["EC2"],
            "taskRoleArn": w.role()["arn"],
            "volumes": [{"name": "cache", "hostPath": "/mnt/nvme"}],
            "tags": TAGS,
        },
        None,
        lambda id_, o: o["arn"],
        kept=("containerDefinitions", "volumes"),
    ),
    Case(
        "aws:ecs/service:Service",
        lambda w: {
            "cluster": w.cluster()["arn"],
            "taskDefinition": w.definition(str(w.cloud.directory))["arn"],
            "desiredCount": 0,
            "launchType": "EC2",
            "networkConfiguration": {"subnets": [w.subnet()["id"]], "securityGroups": [w.group()["id"]]},
            "deploymentCircuitBreaker": {"enable": True, "rollback": True},
            "deploymentMinimumHealthyPercent": 50,
            "tags": TAGS,
        },
        lambda w: {"deploymentMinimumHealthyPercent": 0, "tags": {"n": "1"}},
        lambda id_, o: f"{o['cluster'].rpartition('/')[2]}/{o['name']}",
    ),
    Case(
        "aws:ec2/launchTemplate:LaunchTemplate",
        lambda w: {
            "imageId": "ami-12c6146b",
            "instanceType": "g4dn.xlarge",
            "userData": "IyEvYmluL3No",
            "updateDefaultVersion": True,
            "metadataOptions": {
                "httpTokens": "required",
                "httpEndpoint": "enabled",
                "httpPutResponseHopLimit": 1,
            },
            "blockDeviceMappings": [
                {
                    "deviceName": "/dev/xvda",
                    "ebs": {"volumeSize": 50, "volumeType": "gp3", "encrypted": "true"},
                }
            ],
            "vpcSecurityGroupIds": [w.group()["id"]],
            "monitoring": {"enabled": True},
            "tagSpecifications": [{"resourceType": "instance", "tags": {"Name": "gpu"}}],
        },
        lambda w: {"instanceType": "g4dn.2xlarge"},
        kept=("updateDefaultVersion",),
    ),
    Case(
        "aws:ec2/securityGroup:SecurityGroup",
        lambda w: {
            "vpcId": w.vpc()["id"],
            "description": "d",
            "tags": TAGS,
            "ingress": [{"protocol": "tcp", "fromPort": 443, "toPort": 443, "cidrBlocks": ["10.0.0.0/8"]}],
            "egress": [{"protocol": "-1", "fromPort": 0, "toPort": 0, "cidrBlocks": ["0.0.0.0/0"]}],
        },
        lambda w: {
            "ingress": [{"protocol": "tcp", "fromPort": 80, "toPort": 80, "cidrBlocks": ["10.0.0.0/8"]}]
        },
    ),
    Case(
        "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule",
        lambda w: {
            "securityGroupId": w.group()["id"],
            "ipProtocol": "tcp",
            "fromPort": 8080,
            "toPort": 8080,
            "cidrIpv4": "10.2.0.0/16",
            "description": "http",
        },
    ),
    Case(
        "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule",
        lambda w: {"securityGroupId": w.group()["id"], "ipProtocol": "-1", "cidrIpv4": "0.0.0.0/0"},
    ),
    Case(
        "aws:ec2/vpcEndpoint:VpcEndpoint",
        lambda w: {
            "vpcId": w.vpc()["id"],
            "serviceName": "com.amazonaws.us-east-1.s3",
            "vpcEndpointType": "Gateway",
            "routeTableIds": [w.routes()["id"]],
            "tags": TAGS,
        },
        lambda w: {"tags": {"v": "w"}},
    ),
    Case(
        "aws:ec2/vpc:Vpc",
        lambda w: {"cidrBlock": "10.20.0.0/16", "enableDnsHostnames": True, "tags": TAGS},
        lambda w: {"enableDnsHostnames": False, "tags": {"team": "kw"}},
    ),
    Case(
        "aws:ec2/subnet:Subnet",
        lambda w: {"vpcId": w.vpc()["id"], "cidrBlock": "10.9.7.0/24", "tags": TAGS},
        lambda w: {"mapPublicIpOnLaunch": True},
    ),
    Case(
        "aws:ec2/routeTable:RouteTable",
        lambda w: {
            "vpcId": w.vpc()["id"],
            "routes": [{"cidrBlock": "0.0.0.0/0", "gatewayId": w.gateway()["id"]}],
            "tags": TAGS,
        },
        lambda w: {"routes": [{"cidrBlock": "10.77.0.0/16", "gatewayId": w.gateway()["id"]}]},
    ),
    Case(
        "aws:ec2/route:Route",
        lambda w: {
            "routeTableId": w.routes()["id"],
            "destinationCidrBlock": "0.0.0.0/0",
            "gatewayId": w.gateway()["id"],
        },
        None,
        lambda id_, o: f"{o['routeTableId']}_{o['destinationCidrBlock']}",
    ),
    Case(
        "aws:ec2/routeTableAssociation:RouteTableAssociation",
        lambda w: {"routeTableId": w.routes()["id"], "subnetId": w.subnet()["id"]},
        None,
        lambda id_, o: f"{o['subnetId']}/{o['routeTableId']}",
    ),
    Case("aws:ec2/internetGateway:InternetGateway", lambda w: {"tags": TAGS}, lambda w: {"tags": {"o": "p"}}),
    Case("aws:ec2/eip:Eip", lambda w: {"tags": TAGS}, lambda w: {"tags": {"o": "p"}}),
    Case(
        "aws:ec2/natGateway:NatGateway",
        lambda w: {"subnetId": w.subnet()["id"], "allocationId": w.address()["id"], "tags": TAGS},
        lambda w: {"tags": {"o": "p"}},
    ),
    Case(
        "aws:ec2/flowLog:FlowLog",
        lambda w: {
            "vpcId": w.vpc()["id"],
            "trafficType": "ALL",
            "logDestinationType": "cloud-watch-logs",
            "logDestination": w.logs()["arn"],
            "iamRoleArn": w.role()["arn"],
            "tags": TAGS,
        },
    ),
    Case(
        "aws:autoscaling/group:Group",
        lambda w: {
            "minSize": 0,
            "maxSize": 2,
            "vpcZoneIdentifiers": [w.subnet()["id"]],
            "launchTemplate": {"id": w.template()["id"], "version": "$Latest"},
            "protectFromScaleIn": True,
            "tags": [{"key": "Name", "value": "gpu", "propagateAtLaunch": True}],
        },
        lambda w: {"maxSize": 4, "tags": [{"key": "Name", "value": "gpu2", "propagateAtLaunch": False}]},
    ),
    Case(
        "aws:servicediscovery/httpNamespace:HttpNamespace",
        lambda w: {"description": "d", "tags": TAGS},
        lambda w: {"tags": {"a": "b"}},
    ),
    Case(
        "aws:servicediscovery/privateDnsNamespace:PrivateDnsNamespace",
        lambda w: {"name": "kw.internal", "vpc": w.vpc()["id"], "description": "d"},
        lambda w: {"tags": {"a": "b"}},
        lambda id_, o: f"{id_}:{o['vpc']}",
    ),
    Case(
        "aws:servicediscovery/service:Service",
        lambda w: {"namespaceId": w.namespace()["id"], "tags": TAGS},
        lambda w: {"tags": {"a": "b"}},
    ),
    Case(
        "aws:sns/topic:Topic",
        lambda w: {"displayName": "Alarms", "tags": TAGS},
        lambda w: {"displayName": "More", "tags": {}},
    ),
    Case("aws:sns/topicPolicy:TopicPolicy", lambda w: {"arn": w.topic()["arn"], "policy": topic_policy(w)}),
    Case(
        "aws:sns/topicSubscription:TopicSubscription",
        lambda w: {
            "topic": w.topic()["arn"],
            "protocol": "sqs",
            "endpoint": w.queue()["arn"],
            "rawMessageDelivery": True,
        },
        lambda w: {"rawMessageDelivery": False},
    ),
    Case(
        "aws:scheduler/schedule:Schedule",
        lambda w: {
            "scheduleExpression": "rate(5 minutes)",
            "flexibleTimeWindow": {"mode": "OFF"},
            "description": "d",
            "target": {
                "arn": w.queue()["arn"],
                "roleArn": w.role()["arn"],
                "input": "{}",
                "retryPolicy": {"maximumRetryAttempts": 1, "maximumEventAgeInSeconds": 60},
            },
        },
        lambda w: {"scheduleExpression": "rate(10 minutes)", "state": "DISABLED"},
    ),
    Case(
        "aws:scheduler/scheduleGroup:ScheduleGroup", lambda w: {"tags": TAGS}, lambda w: {"tags": {"a": "b"}}
    ),
    Case(
        "aws:apigatewayv2/api:Api",
        lambda w: {"protocolType": "HTTP", "description": "d", "tags": TAGS},
        lambda w: {"description": "e"},
    ),
    Case(
        "aws:apigatewayv2/integration:Integration",
        lambda w: {
            "apiId": w.api()["id"],
            "integrationType": "AWS_PROXY",
            "integrationUri": w.alias()["arn"],
            "payloadFormatVersion": "2.0",
        },
        lambda w: {"timeoutMilliseconds": 5000},
        lambda id_, o: f"{o['apiId']}/{id_}",
    ),
    Case(
        "aws:apigatewayv2/route:Route",
        lambda w: {"apiId": w.api()["id"], "routeKey": "POST /v1"},
        lambda w: {"routeKey": "POST /v2"},
        lambda id_, o: f"{o['apiId']}/{id_}",
    ),
    Case(
        "aws:apigatewayv2/stage:Stage",
        lambda w: {"apiId": w.api()["id"], "name": "$default", "autoDeploy": True, "tags": TAGS},
        None,
        lambda id_, o: f"{o['apiId']}/{id_}",
    ),
    Case(
        "aws:secretsmanager/secret:Secret",
        lambda w: {"description": "d", "recoveryWindowInDays": 0, "tags": TAGS},
        lambda w: {"description": "e"},
        kept=("recoveryWindowInDays",),
    ),
    Case(
        "aws:secretsmanager/secretVersion:SecretVersion",
        lambda w: {"secretId": w.secret()["id"], "secretString": "s3cret"},
    ),
    Case(
        "aws:ssm/parameter:Parameter",
        lambda w: {"type": "SecureString", "value": "v", "description": "d", "tags": TAGS},
        lambda w: {"value": "w"},
    ),
    Case(
        "aws:ecr/repository:Repository",
        lambda w: {
            "imageTagMutability": "IMMUTABLE",
            "forceDelete": True,
            "tags": TAGS,
            "imageScanningConfiguration": {"scanOnPush": True},
        },
        lambda w: {"imageTagMutability": "MUTABLE"},
        kept=("forceDelete",),
    ),
    Case(
        "aws:ecr/lifecyclePolicy:LifecyclePolicy",
        lambda w: {
            "repository": w.repository()["name"],
            "policy": json.dumps(
                {
                    "rules": [
                        {
                            "rulePriority": 1,
                            "selection": {
                                "tagStatus": "untagged",
                                "countType": "imageCountMoreThan",
                                "countNumber": 3,
                            },
                            "action": {"type": "expire"},
                        }
                    ]
                }
            ),
        },
    ),
]


def open_queue(world: World) -> dict[str, Any]:
    queue = world.make("open", "aws:sqs/queue:Queue")
    policy = queue_policy(world).replace(world.queue()["arn"], queue["arn"])
    world.make("open-policy", "aws:sqs/queuePolicy:QueuePolicy", queueUrl=queue["url"], policy=policy)
    return queue


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with Cloud(CloudSettings()) as cloud:
        world = World(cloud)
        yield world
        world.close()
        left = cloud.inventory()
        left.pop("secretsmanager", None)
        assert left == {}, "something stayed in the cloud"


def differences(
    token: str, found: tuple[str, dict[str, Any], dict[str, Any]], wanted: dict[str, Any], kept: Any = ()
) -> list[str]:
    _, inputs, outputs = found
    shown = table.diff(token, inputs, outputs, wanted)
    return [
        f"{c.path}: wanted {wanted.get(c.path)!r}, got {outputs.get(c.path)!r}"
        for c in shown.changes
        if c.path not in kept
    ]


def test_given_the_table_then_every_type_has_a_case() -> None:
    assert sorted(c.token for c in CASES) == sorted(TOKENS)


def test_given_a_type_then_a_component_makes_it_or_a_program_has_a_use_for_it() -> None:
    sources = "\n".join(p.read_text() for p in (ROOT / "components" / "keepwarm").rglob("*.py"))

    def made(token: str) -> bool:
        return re.search(rf"\b{re.escape(TOKENS[token].removeprefix('pulumi_aws.'))}\(", sources) is not None

    assert [t for t in TOKENS if not made(t) and t not in OWN_USE] == [], "delete it, or say what it is for"
    assert sorted(set(OWN_USE) - set(TOKENS)) == []


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.token.split('/')[0][4:]}/{c.token.split(':')[2]}")
def test_given_a_type_when_made_changed_and_removed_then_the_cloud_agrees(case: Case, world: World) -> None:
    token, aws = case.token, world.aws
    urn = f"urn:pulumi:s::p::{token}::thing"
    wanted = case.inputs(world)
    inputs, failures = table.check(token, urn, wanted, None)
    assert failures == []
    id_, outputs = table.create(token, urn, aws, inputs)
    try:
        missing = [o for o in ("arn", "tagsAll") if o in table.find(token).outputs and o not in outputs]
        assert missing == [], "computed outputs that everybody uses must be there"
        found = table.read(token, urn, aws, id_, inputs, outputs)
        assert found is not None
        assert differences(token, found, inputs) == []
        assert found[0] == id_
        located = locate(token, aws, {k: v for k, v in inputs.items() if k != DEFAULTS_KEY})
        assert located == id_, "a killed run must be able to find what it made"
        assert locate(token, aws, {**inputs}, frozenset([id_])) in (None, id_)
        if case.import_id is not None:
            imported = table.read(token, urn, aws, case.import_id(id_, outputs), {}, {})
            assert imported is not None, "an id alone must be enough"
            assert differences(token, imported, inputs, case.kept) == []
        if case.change is not None:
            changed, failures = table.check(token, urn, {**wanted, **case.change(world)}, inputs)
            assert failures == []
            assert table.diff(token, inputs, outputs, changed).replaces == ()
            outputs = table.update(token, urn, aws, id_, inputs, outputs, changed)
            id_ = str(outputs.pop("id", id_))
            inputs = changed
            found = table.read(token, urn, aws, id_, inputs, outputs)
            assert found is not None
            assert differences(token, found, inputs) == []
    finally:
        table.delete(token, urn, aws, id_, inputs, outputs)
    if not token.endswith(ALWAYS_THERE):
        assert table.read(token, urn, aws, id_, inputs, outputs) is None
    table.delete(token, urn, aws, id_, inputs, outputs)
    assert DEFAULTS_KEY in inputs


@pytest.mark.parametrize(
    ("given", "told", "before", "after"),
    [
        ({"maximumBatchingWindowInSeconds": 3}, "MaximumBatchingWindowInSeconds", 3, 0),
        ({"metricsConfig": {"metrics": ["EventCount"]}}, "MetricsConfig", {"Metrics": ["EventCount"]}, None),
    ],
    ids=["window", "metrics"],
)
def test_given_a_setting_of_a_mapping_when_the_program_drops_it_then_the_cloud_has_aws_s_default_again(
    world: World, given: dict[str, Any], told: str, before: Any, after: Any
) -> None:
    token = "aws:lambda/eventSourceMapping:EventSourceMapping"
    kept = {
        "eventSourceArn": world.queue()["arn"],
        "functionName": world.function()["name"],
        "enabled": False,
    }
    inputs, _ = table.check(token, "urn::m", {**kept, **given}, None)
    id_, outputs = table.create(token, "urn::m", world.aws, inputs)
    try:

        def shown() -> Any:
            return world.cloud.boto("lambda").get_event_source_mapping(UUID=id_).get(told)

        assert shown() == before
        dropped, _ = table.check(token, "urn::m", kept, inputs)
        changes = table.diff(token, inputs, outputs, dropped).changes
        outputs = table.update(token, "urn::m", world.aws, id_, inputs, outputs, dropped)

        assert [c.path for c in changes] == list(given)
        assert shown() == after
        found = table.read(token, "urn::m", world.aws, id_, dropped, outputs)
        assert found is not None
        assert differences(token, found, dropped) == []
    finally:
        table.delete(token, "urn::m", world.aws, id_, inputs, outputs)
