"""Which side effects happened: fenced records in a table, large results in a bucket."""

from dataclasses import dataclass
from typing import Any, NotRequired, Self, TypedDict

import pulumi

from keepwarm import _planned, limits
from keepwarm._bucket import NONCURRENT_DAYS, secure_bucket
from keepwarm._table import secure_table
from keepwarm._values import derive
from keepwarm.checks.inputs import Checks
from keepwarm.checks.names import child as child_name
from keepwarm.checks.problems import Problem, Report, Where
from keepwarm.checks.tags import Tags, tags
from keepwarm.iam.bindings import LedgerBinding, QueueBinding

RETENTION_DAYS = 30
RETENTION_MAX_DAYS = 36_500
DAY_S = 86_400


class EffectLedgerArgs(TypedDict):
    """Inputs of an EffectLedger."""

    retention_days: NotRequired[pulumi.Input[int]]
    """Days that finished effects are remembered: their records by the functions bound to the ledger, their claims by
    the bucket. Effects in doubt are kept until a person settles them. Default: 30."""
    redelivery_s: NotRequired[pulumi.Input[int]]
    """Longest time after which an event can still be delivered again, in seconds. Default: that of `queue`, or not
    checked without one."""
    queue: NotRequired[QueueBinding]
    """Queue whose messages cause the effects (``BurstQueue.binding()``). A message can come back until its retention
    ends, then from the dead-letter queue for 14 days. Default: none."""
    kms_key_arn: NotRequired[pulumi.Input[str]]
    """KMS key of table and bucket. Default: none (keys owned by AWS)."""
    access_log_bucket: NotRequired[pulumi.Input[str]]
    """Bucket that takes the access log of the claims' bucket. Default: no access log."""
    keep_data: NotRequired[bool]
    """Whether table and bucket outlive the stack. Default: true."""
    tags: NotRequired[dict[str, pulumi.Input[str]]]
    """Tags of table and bucket. Default: none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EffectLedgerSpec:
    """Inputs of an EffectLedger after their check: all that its resources are built from."""

    bucket_name: str
    retention_days: pulumi.Input[int]
    kms_key_arn: pulumi.Input[str] | None
    access_log_bucket: pulumi.Input[str] | None
    keep_data: bool
    tags: Tags | None

    @classmethod
    def of(
        cls, name: str, args: EffectLedgerArgs, *, where: Where | None = None, report: Report | None = None
    ) -> Self:
        """Check the inputs; nothing is registered.

        Raises:
            InvalidArgs: something was refused, and no report was passed in.
        """
        checks = Checks("EffectLedger", name, args, EffectLedgerArgs, where=where, report=report)
        args = checks.args
        days = checks.number(
            "retention_days",
            RETENTION_DAYS,
            1,
            RETENTION_MAX_DAYS,
            code="KW122",
            unit="days",
            because="records end after whole days",
        )
        redelivery_s = _redelivery_s(checks, args)
        if redelivery_s is not None:
            days = checks.holds(_outlives, days, redelivery_s)
        spec = cls(
            bucket_name=child_name(checks, name, "claims", limits.S3_BUCKET_NAME_MAX_CHARS),
            retention_days=days,
            kms_key_arn=args.get("kms_key_arn"),
            access_log_bucket=args.get("access_log_bucket"),
            keep_data=checks.flag("keep_data", True),
            tags=tags(checks, args),
        )
        checks.done()
        return spec

    def planned(self, name: str) -> LedgerBinding:
        """The binding with the real numbers and placeholders for what only AWS knows."""
        table, bucket = _planned.physical(name, "records"), _planned.physical(name, "claims")
        return self.binding(
            table=table,
            table_arn=_planned.arn("dynamodb", f"table/{table}"),
            bucket=bucket,
            bucket_arn=f"arn:aws:s3:::{bucket}",
        )

    def binding(
        self,
        *,
        table: pulumi.Input[str],
        table_arn: pulumi.Input[str],
        bucket: pulumi.Input[str],
        bucket_arn: pulumi.Input[str],
    ) -> LedgerBinding:
        """The binding of a table and a bucket made from this spec."""
        bound: LedgerBinding = {
            "table": table,
            "table_arn": table_arn,
            "bucket": bucket,
            "bucket_arn": bucket_arn,
            "retention_s": derive(lambda days: days * DAY_S, self.retention_days),
        }
        if self.kms_key_arn is not None:
            bound["kms_key_arn"] = self.kms_key_arn
        return bound


def _redelivery_s(checks: Checks[Any], args: EffectLedgerArgs) -> Any:
    """Longest time after which an event may come again: as given, or as the queue allows."""
    time: dict[str, Any] = {"code": "KW122", "unit": "seconds"}
    given = checks.number(
        "redelivery_s", None, 0, RETENTION_MAX_DAYS * DAY_S, because="records end after whole days", **time
    )
    if given is not None or "queue" not in args:
        return given
    retention_s = checks.number(
        "retention_s",
        None,
        limits.SQS_RETENTION_MIN_S,
        limits.SQS_RETENTION_MAX_S,
        because="SQS keeps a message no shorter and no longer",
        args=args["queue"],
        at="queue",
        **time,
    )
    if retention_s is None:
        return None
    # Redriven on its last day in the dead-letter queue, a message lives through another retention.
    return derive(lambda kept_s: kept_s + limits.SQS_RETENTION_MAX_S, retention_s)


def _outlives(kept_days: float, redelivery_s: float) -> Problem | None:
    if kept_days * DAY_S > redelivery_s:
        return None
    return Problem(
        code="KW122",
        key="retention_days",
        got=f"{kept_days:g} days",
        allowed=f"more than redelivery_s, {redelivery_s:,.0f} s",
        because=f"an event delivered again on day {redelivery_s / DAY_S:.1f} would run its effect a second time",
        fix=f"set retention_days to {int(redelivery_s // DAY_S) + 1} or more",
    )


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
        spec = EffectLedgerSpec.of(name, args)
        super().__init__("keepwarm:index:EffectLedger", name, {}, opts)
        records = secure_table(
            self,
            f"{name}-records",
            keep=spec.keep_data,
            kms_key_arn=spec.kms_key_arn,
            recovery=True,
            tags=spec.tags,
        )
        claims, _ = secure_bucket(
            self,
            spec.bucket_name,
            keep=spec.keep_data,
            kms_key_arn=spec.kms_key_arn,
            access_log_bucket=spec.access_log_bucket,
            rules=[
                {
                    "id": "expire-claims",
                    "status": "Enabled",
                    "filter": {"prefix": "claims/"},
                    "expiration": {"days": spec.retention_days},
                    "noncurrent_version_expiration": {"noncurrent_days": NONCURRENT_DAYS},
                }
            ],
            tags=spec.tags,
        )

        self.table = records.name
        self.table_arn = records.arn
        self.bucket = claims.bucket
        self.bucket_arn = claims.arn
        self._binding = spec.binding(
            table=records.name, table_arn=records.arn, bucket=claims.bucket, bucket_arn=claims.arn
        )
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
