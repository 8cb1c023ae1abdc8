"""Permits in front of a service that takes only so much."""

from dataclasses import dataclass
from typing import NotRequired, Self, TypedDict

import pulumi

from keepwarm import _planned
from keepwarm._table import secure_table
from keepwarm.checks.inputs import Checks
from keepwarm.checks.names import child as child_name
from keepwarm.checks.problems import Problem, Report, Where, show
from keepwarm.checks.tags import Tags, tags
from keepwarm.errors import InvalidArgs
from keepwarm.iam.bindings import AdmissionBinding
from keepwarm.limits import ADMISSION_PERMITS_MAX

KIND = "Admission"
POOL = r"[a-z0-9][a-z0-9._-]{0,63}"


class AdmissionArgs(TypedDict):
    """Inputs of an Admission."""

    pools: NotRequired[dict[str, pulumi.Input[int]]]
    """Permits of each pool by its name, 1..100: the requests that the service behind it really takes at a time. At
    least one is needed; a ServerlessRuntime adds its service's. Default: none."""
    kms_key_arn: NotRequired[pulumi.Input[str]]
    """KMS key of the table. Default: none (key owned by AWS)."""
    tags: NotRequired[dict[str, pulumi.Input[str]]]
    """Tags of the table. Default: none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AdmissionSpec:
    """Inputs of an Admission after their check: all that its resources are built from."""

    where: Where
    table_name: str
    pools: dict[str, pulumi.Input[int]]
    kms_key_arn: pulumi.Input[str] | None
    tags: Tags | None

    @classmethod
    def of(
        cls, name: str, args: AdmissionArgs, *, where: Where | None = None, report: Report | None = None
    ) -> Self:
        """Check the inputs; nothing is registered.

        Raises:
            InvalidArgs: something was refused, and no report was passed in.
        """
        checks = Checks(KIND, name, args, AdmissionArgs, where=where, report=report)
        args = checks.args
        given = args.get("pools", {})
        if "pools" in args and not given:
            checks.add(
                code="KW102",
                key="pools",
                got="no pool",
                allowed="at least one",
                because="permits belong to a pool",
                fix="name a pool",
            )
        pools: dict[str, pulumi.Input[int]] = {}
        for pool in given:
            checks.text(
                f"pools.{pool}",
                pool,
                POOL,
                code="KW101",
                allowed="lower-case letters, digits, dot, dash and underscore",
                because="it becomes part of a key",
                fix="rename the pool",
            )
            pools[pool] = checks.number(
                pool,
                None,
                1,
                ADMISSION_PERMITS_MAX,
                code="KW150",
                unit="permits",
                because="a holder looks for a free permit with one BatchGetItem, which reads 100 items",
                args=given,
                at="pools",
            )
        spec = cls(
            where=checks.where,
            table_name=child_name(checks, name, "permits", 255),
            pools=pools,
            kms_key_arn=args.get("kms_key_arn"),
            tags=tags(checks, args),
        )
        checks.done()
        return spec

    def planned(self, name: str, pool: str) -> AdmissionBinding:
        """The binding of one pool with its real permits and placeholders for what only AWS knows.

        Raises:
            InvalidArgs: there is no such pool.
        """
        table = _planned.physical(name, "permits")
        return self.binding(pool, table=table, table_arn=_planned.arn("dynamodb", f"table/{table}"))

    def binding(
        self, pool: str, *, table: pulumi.Input[str], table_arn: pulumi.Input[str]
    ) -> AdmissionBinding:
        """The binding of one pool of a table made from this spec.

        Raises:
            InvalidArgs: there is no such pool.
        """
        if not isinstance(pool, str) or pool not in self.pools:
            raise InvalidArgs(
                Problem(
                    code="KW102",
                    key="binding(pool)",
                    got=show(pool),
                    allowed=f"one of {', '.join(self.pools)}",
                    because="permits belong to a pool",
                    fix="bind one of these, or add the pool to pools",
                ).line(self.where)
            )
        bound: AdmissionBinding = {
            "table": table,
            "table_arn": table_arn,
            "pool": pool,
            "permits": self.pools[pool],
        }
        if self.kms_key_arn is not None:
            bound["kms_key_arn"] = self.kms_key_arn
        return bound


class Admission(pulumi.ComponentResource):
    """Permit pools in a table: leases that expire, so a dead holder gives its permit back. Holds nothing to keep."""

    table: pulumi.Output[str]
    """Name of the table."""
    arn: pulumi.Output[str]
    """ARN of the table."""

    def __init__(self, name: str, args: AdmissionArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        self._spec = spec = AdmissionSpec.of(name, args)
        super().__init__("keepwarm:index:Admission", name, {}, opts)
        made = secure_table(
            self, spec.table_name, keep=False, kms_key_arn=spec.kms_key_arn, recovery=True, tags=spec.tags
        )

        self.table = made.name
        self.arn = made.arn
        self.register_outputs({"table": self.table, "arn": self.arn})

    def binding(self, pool: str) -> AdmissionBinding:
        """What a function needs to take permits of one pool.

        Raises:
            InvalidArgs: there is no such pool.
        """
        return self._spec.binding(pool, table=self.table, table_arn=self.arn)
