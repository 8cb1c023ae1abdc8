"""Which side effects happened: fenced records in a table, large results in a bucket."""

from typing import NotRequired, TypedDict

import pulumi

from keepwarm import limits
from keepwarm._bucket import NONCURRENT_DAYS, secure_bucket
from keepwarm._table import secure_table
from keepwarm._values import derive
from keepwarm.checks.inputs import Checks
from keepwarm.checks.names import child as child_name
from keepwarm.checks.problems import Problem
from keepwarm.iam.bindings import LedgerBinding

RETENTION_DAYS = 30


class EffectLedgerArgs(TypedDict):
    """Inputs of an EffectLedger."""

    retention_days: NotRequired[pulumi.Input[int]]
    """Days that finished effects are remembered: their records by the functions bound to the ledger, their claims by
    the bucket. Effects in doubt are kept until a person settles them. Default: 30."""
    redelivery_s: NotRequired[pulumi.Input[int]]
    """Longest time after which an event can still be delivered again, in seconds (a BurstQueue's `retention_s`).
    Default: not checked."""
    kms_key_arn: NotRequired[pulumi.Input[str]]
    """KMS key of table and bucket. Default: none (keys owned by AWS)."""
    keep_data: NotRequired[bool]
    """Whether table and bucket outlive the stack. Default: true."""


class EffectLedger(pulumi.ComponentResource):
    """Holds data: effect records and claims, which outlive the stack unless told otherwise."""

    table: pulumi.Output[str]
    """Name of the table."""
    table_arn: pulumi.Output[str]
    """ARN of the table."""
    bucket: pulumi.Output[str]
    """Name of the claim bucket."""
    bucket_arn: pulumi.Output[str]
    """ARN of the claim bucket."""

    def __init__(self, name: str, args: EffectLedgerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        checks = Checks("EffectLedger", name, args, EffectLedgerArgs)
        args = checks.args
        keep = checks.flag("keep_data", True)
        days = checks.number(
            "retention_days",
            RETENTION_DAYS,
            1,
            36_500,
            code="KW122",
            unit="days",
            because="records end after whole days",
        )

        def outlives(kept_days: float, redelivery_s: float) -> Problem | None:
            if kept_days * 86_400 > redelivery_s:
                return None
            return Problem(
                code="KW122",
                key="retention_days",
                got=f"{kept_days:g} days",
                allowed=f"more than redelivery_s, {redelivery_s:g} s",
                because=(
                    f"an event delivered again on day {redelivery_s / 86_400:.1f} would run its effect a second time"
                ),
                fix=f"set retention_days to {int(redelivery_s // 86_400) + 1} or more",
            )

        if "redelivery_s" in args:
            days = checks.holds(outlives, days, args["redelivery_s"])
        bucket_name = child_name(checks, name, "claims", limits.S3_BUCKET_NAME_MAX_CHARS)
        checks.done()
        super().__init__("keepwarm:index:EffectLedger", name, {}, opts)

        kms = args.get("kms_key_arn")
        records = secure_table(self, f"{name}-records", keep=keep, kms_key_arn=kms, recovery=True)
        claims, _ = secure_bucket(
            self,
            bucket_name,
            keep=keep,
            kms_key_arn=kms,
            rules=[
                {
                    "id": "expire-claims",
                    "status": "Enabled",
                    "filter": {"prefix": "claims/"},
                    "expiration": {"days": days},
                    "noncurrent_version_expiration": {"noncurrent_days": NONCURRENT_DAYS},
                }
            ],
        )

        self.table = records.name
        self.table_arn = records.arn
        self.bucket = claims.bucket
        self.bucket_arn = claims.arn
        self._binding: LedgerBinding = {
            "table": records.name,
            "table_arn": records.arn,
            "bucket": claims.bucket,
            "bucket_arn": claims.arn,
            "retention_s": derive(lambda kept_days: kept_days * 86_400, days),
        }
        if kms is not None:
            self._binding["kms_key_arn"] = kms
        self.register_outputs(
            {
                "table": self.table,
                "table_arn": self.table_arn,
                "bucket": self.bucket,
                "bucket_arn": self.bucket_arn,
            }
        )

    def binding(self) -> LedgerBinding:
        """What a function needs to keep its effects here."""
        return self._binding
