"""A key of the account's own, whose policy lets the services of a stack use it, and nobody else."""

from dataclasses import dataclass
from typing import Any, NotRequired, Self, TypedDict

import pulumi
from pulumi_aws import kms

from keepwarm import limits
from keepwarm._values import concat
from keepwarm.checks.inputs import Checks
from keepwarm.checks.keys import mark
from keepwarm.checks.names import child as child_name
from keepwarm.checks.problems import Report, Where
from keepwarm.checks.tags import Tags, tags
from keepwarm.iam import documents

DELETION_WINDOW_DAYS = 30
USE = [
    "kms:Decrypt",
    "kms:DescribeKey",
    "kms:Encrypt",
    "kms:GenerateDataKey",
    "kms:GenerateDataKeyWithoutPlaintext",
]
RE_ENCRYPT = ["kms:ReEncryptFrom", "kms:ReEncryptTo"]
AUTO_SCALING = "role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"


class EncryptionKeyArgs(TypedDict):
    """Inputs of an EncryptionKey."""

    deletion_window_days: NotRequired[pulumi.Input[int]]
    """Days a deleted key can still be restored, 7..30. Default: 30."""
    auto_scaling: NotRequired[bool]
    """Let Auto Scaling encrypt volumes with it; its service-linked role must exist in the account. Default: false."""
    keep_data: NotRequired[bool]
    """Whether the key outlives the stack, as what it encrypts does. Default: true."""
    tags: NotRequired[dict[str, pulumi.Input[str]]]
    """Tags of the key. Default: none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EncryptionKeySpec:
    """Inputs of an EncryptionKey after their check: all that its resources are built from."""

    deletion_window_days: pulumi.Input[int]
    auto_scaling: bool
    keep_data: bool
    tags: Tags | None

    @classmethod
    def of(
        cls, name: str, args: EncryptionKeyArgs, *, where: Where | None = None, report: Report | None = None
    ) -> Self:
        """Check the inputs; nothing is registered.

        Raises:
            InvalidArgs: something was refused, and no report was passed in.
        """
        checks = Checks("EncryptionKey", name, args, EncryptionKeyArgs, where=where, report=report)
        args = checks.args
        spec = cls(
            deletion_window_days=checks.number(
                "deletion_window_days",
                DELETION_WINDOW_DAYS,
                limits.KMS_DELETION_WINDOW_MIN_DAYS,
                limits.KMS_DELETION_WINDOW_MAX_DAYS,
                code="KW131",
                unit="days",
                because="KMS waits no shorter and no longer",
            ),
            auto_scaling=checks.flag("auto_scaling", False),
            keep_data=checks.flag("keep_data", True),
            tags=tags(checks, args),
        )
        child_name(checks, name, "key", 256)
        checks.done()
        return spec


class EncryptionKey(pulumi.ComponentResource):
    """Holds data: a key that rotates every year; what it encrypted is lost with it, so it outlives the stack."""

    arn: pulumi.Output[str]
    """ARN of the key: the `kms_key_arn` of every other component."""

    def __init__(
        self, name: str, args: EncryptionKeyArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        spec = EncryptionKeySpec.of(name, args)
        super().__init__("keepwarm:index:EncryptionKey", name, {}, opts)
        account = documents.account(self)
        partition = documents.partition(self)
        statements = key_statements(
            account, documents.region(self), partition=partition, auto_scaling=spec.auto_scaling
        )
        made = kms.Key(
            f"{name}-key",
            description="Data at rest of a Keepwarm stack",
            enable_key_rotation=True,
            deletion_window_in_days=spec.deletion_window_days,
            policy=documents.raw_document([_account(account, partition), *statements]),
            tags=spec.tags,
            opts=pulumi.ResourceOptions(parent=self, retain_on_delete=spec.keep_data),
        )
        self.arn = mark(made.arn)
        self.register_outputs({"arn": self.arn})


def _account(account_id: pulumi.Input[str], partition: pulumi.Input[str]) -> dict[str, Any]:
    """IAM policies of the account decide who else may use and manage the key; without it nobody could
    (https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html)."""
    return {
        "Sid": "Account",
        "Effect": "Allow",
        "Principal": {"AWS": concat("arn:", partition, ":iam::", account_id, ":root")},
        "Action": "kms:*",
        "Resource": "*",
    }


def key_statements(
    account_id: pulumi.Input[str],
    region: pulumi.Input[str],
    *,
    partition: pulumi.Input[str] = "aws",
    auto_scaling: bool = False,
) -> list[dict[str, Any]]:
    """Statements that a key's policy needs beside that of the account, for services that act in their own name.

    Lambda, Step Functions, DynamoDB and S3 act for the roles that the components grant the key to, and need none.
    Auto Scaling's are left out unless asked for: KMS refuses a policy that names a role that does not exist.
    Sources: https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/encrypt-log-data-kms.html,
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/grant-destinations-permissions-to-s3.html,
    https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html,
    https://docs.aws.amazon.com/autoscaling/ec2/userguide/key-policy-requirements-EBS-encryption.html
    """
    logs = concat("arn:", partition, ":logs:", region, ":", account_id, ":*")
    mine = {"StringEquals": {"aws:SourceAccount": account_id}}
    found: list[dict[str, Any]] = [
        {
            "Sid": "Logs",
            "Effect": "Allow",
            "Principal": {"Service": concat("logs.", region, ".amazonaws.com")},
            "Action": [*USE, *RE_ENCRYPT],
            "Resource": "*",
            "Condition": {"ArnLike": {"kms:EncryptionContext:aws:logs:arn": logs}},
        },
        *[
            {
                "Sid": sid,
                "Effect": "Allow",
                "Principal": {"Service": service},
                "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
                "Resource": "*",
                "Condition": mine,
            }
            for sid, service in (("Intake", "s3.amazonaws.com"), ("Alarms", "cloudwatch.amazonaws.com"))
        ],
    ]
    if auto_scaling:
        role = {"AWS": concat("arn:", partition, ":iam::", account_id, ":", AUTO_SCALING)}
        found += [
            {
                "Sid": "Volumes",
                "Effect": "Allow",
                "Principal": role,
                "Action": [*USE, *RE_ENCRYPT],
                "Resource": "*",
            },
            {
                "Sid": "AttachVolumes",
                "Effect": "Allow",
                "Principal": role,
                "Action": "kms:CreateGrant",
                "Resource": "*",
                "Condition": {"Bool": {"kms:GrantIsForAWSResource": "true"}},
            },
        ]
    return found
