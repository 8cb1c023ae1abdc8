"""Permits in front of a service that takes only so much."""

from typing import NotRequired, TypedDict

import pulumi

from keepwarm._table import secure_table
from keepwarm.checks.inputs import Checks
from keepwarm.checks.names import child as child_name
from keepwarm.iam.bindings import AdmissionBinding
from keepwarm.limits import DYNAMODB_BATCH_READ_MAX_ITEMS

POOL = r"[a-z0-9][a-z0-9._-]{0,63}"


class AdmissionArgs(TypedDict):
    """Inputs of an Admission."""

    pools: dict[str, pulumi.Input[int]]
    """Permits of each pool by its name, 1..100: the requests that the service behind it really takes at a time."""
    kms_key_arn: NotRequired[pulumi.Input[str]]
    """KMS key of the table. Default: none (key owned by AWS)."""


class Admission(pulumi.ComponentResource):
    """Permit pools in a table: leases that expire, so a dead holder gives its permit back. Holds nothing to keep."""

    table: pulumi.Output[str]
    """Name of the table."""
    arn: pulumi.Output[str]
    """ARN of the table."""

    def __init__(self, name: str, args: AdmissionArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        checks = Checks("Admission", name, args, AdmissionArgs)
        args = checks.args
        pools = args.get("pools", {})
        if "pools" in args and not pools:
            checks.add(
                code="KW102",
                key="pools",
                got="no pool",
                allowed="at least one",
                because="permits belong to a pool",
                fix="name a pool",
            )
        self._pools: dict[str, pulumi.Input[int]] = {}
        for pool in pools:
            checks.text(
                f"pools.{pool}",
                pool,
                POOL,
                code="KW101",
                allowed="lower-case letters, digits, dot, dash and underscore",
                because="it becomes part of a key",
                fix="rename the pool",
            )
            self._pools[pool] = checks.number(
                pool,
                None,
                1,
                DYNAMODB_BATCH_READ_MAX_ITEMS,
                code="KW150",
                unit="permits",
                because="a holder looks for a free permit with one BatchGetItem, which reads 100 items",
                args=pools,
                at="pools",
            )
        table_name = child_name(checks, name, "permits", 255)
        checks.done()
        super().__init__("keepwarm:index:Admission", name, {}, opts)

        kms = args.get("kms_key_arn")
        made = secure_table(self, table_name, keep=False, kms_key_arn=kms, recovery=True)

        self.table = made.name
        self.arn = made.arn
        self._kms = kms
        self.register_outputs({"table": self.table, "arn": self.arn})

    def binding(self, pool: str) -> AdmissionBinding:
        """What a function needs to take permits of one pool."""
        bound: AdmissionBinding = {
            "table": self.table,
            "table_arn": self.arn,
            "pool": pool,
            "permits": self._pools[pool],
        }
        if self._kms is not None:
            bound["kms_key_arn"] = self._kms
        return bound
