"""What is paid for, each thing priced once: a function, its warm pool, a service's tasks, a workflow, a queue.

Every answer of the planner, the report of a run and the dashboard take their figures from here. List prices without
free tier; durations are not rounded up to a millisecond, nor provisioned concurrency to five minutes.
"""

import platform
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from math import fsum
from typing import TypedDict

from keepwarm import limits
from keepwarm_planner import prices as price_file
from keepwarm_planner.errors import PlannerError
from keepwarm_planner.prices import Prices

SECONDS_PER_HOUR = 3600.0
HOURS_PER_MONTH = 730.0
MONTH_S = HOURS_PER_MONTH * SECONDS_PER_HOUR
"""A month, as AWS's calculator counts it."""

FREE_EPHEMERAL_MB = limits.LAMBDA_EPHEMERAL_MIN_MB
"""Every environment has that much /tmp at no charge."""


class Architecture(StrEnum):
    """Instruction set of a function, by AWS's name; each has prices of its own."""

    X86_64 = "x86_64"
    ARM64 = "arm64"


def architecture(name: str, who: str) -> Architecture:
    """The architecture of that name; `host`, which stacks of the embedded cloud may say, is this machine's.

    Raises:
        PlannerError: KW513, naming `who`, for any other word.
    """
    if name == "host":
        return Architecture.ARM64 if platform.machine() in {"aarch64", "arm64"} else Architecture.X86_64
    try:
        return Architecture(name)
    except ValueError:
        raise PlannerError("KW513", who, repr(name), ", ".join(Architecture)) from None


@dataclass(frozen=True, slots=True)
class FunctionSize:
    """What a second of a function's environment is priced by. Sizes in MB."""

    memory_mb: float
    architecture: Architecture = Architecture.X86_64
    ephemeral_mb: float = FREE_EPHEMERAL_MB

    @property
    def memory_gb(self) -> float:
        """Memory as it is billed."""
        return self.memory_mb / 1024.0


@dataclass(frozen=True, slots=True)
class FunctionUse:
    """What a function did. Seconds are summed over environments."""

    on_demand_s: float = 0.0
    """On-demand environments working or initializing: initialization is billed as duration."""
    provisioned_s: float = 0.0
    """Provisioned environments kept, working or not."""
    provisioned_busy_s: float = 0.0
    """Provisioned environments working: paid for on top of keeping them."""
    requests: float = 0.0


@dataclass(frozen=True, slots=True)
class Item:
    """One line of a bill: an amount at a price."""

    part: str
    """Which cost: a key of `PRICE_OF`."""
    amount: float
    unit: str
    price: str
    """Name of the price in the price file."""
    usd_each: float

    @property
    def usd(self) -> float:
        """USD of the line."""
        return self.amount * self.usd_each


PRICE_OF = {
    "on_demand": "lambda_gb_s",
    "provisioned_idle": "provisioned_gb_s",
    "provisioned_duration": "provisioned_duration_gb_s",
    "requests": "lambda_request",
    "ephemeral": "ephemeral_gb_s",
    "queue": "sqs_request",
    "transitions": "sfn_transition",
    "uploads": "s3_put",
    "snapshot_cache": "snapstart_cache_gb_s",
    "snapshot_restore": "snapstart_restore_gb",
    "downstream": "instance_hour",
    "fargate_vcpu": "fargate_vcpu_hour",
    "fargate_memory": "fargate_gb_hour",
}
"""The price behind each part of a cost. The first three have one per architecture; `instance_hour` stands for the
price of an instance type."""

_PER_ARCHITECTURE = ("on_demand", "provisioned_idle", "provisioned_duration")
_SUFFIX = {Architecture.X86_64: "x86", Architecture.ARM64: "arm"}


def price_name(
    part: str, architecture: Architecture = Architecture.X86_64, *, instance_type: str = ""
) -> str:
    """Name in the price file of the price behind a part."""
    if part == "downstream":
        return instance_type
    name = PRICE_OF[part]
    return f"{name}_{_SUFFIX[architecture]}" if part in _PER_ARCHITECTURE else name


def function_price_names(architecture: Architecture) -> list[str]:
    """Prices that a function's cost may be made of."""
    parts = (*_PER_ARCHITECTURE, "requests", "ephemeral")
    return [price_name(part, architecture) for part in parts]


def item(
    part: str, amount: float, unit: str, prices: Prices, architecture: Architecture = Architecture.X86_64
) -> Item:
    """A line of a bill at the price of its part.

    Raises:
        PlannerError: KW510, the price file has no such price for the region.
    """
    name = price_name(part, architecture)
    return Item(part, amount, unit, name, prices.needed(name))


def total(items: Iterable[Item]) -> float:
    """USD of all lines."""
    return fsum(i.usd for i in items)


def by_part(items: Iterable[Item]) -> dict[str, float]:
    """USD per part, in the order of the lines."""
    out: dict[str, float] = {}
    for i in items:
        out[i.part] = out.get(i.part, 0.0) + i.usd
    return out


def function(prices: Prices, size: FunctionSize, use: FunctionUse) -> list[Item]:
    """A function with its warm pool: duration on demand, pool kept, duration on the pool, requests, /tmp above 512 MB.

    /tmp is billed while an environment works; AWS's worked examples multiply it by the duration too.
    """
    extra_gb = max(size.ephemeral_mb - FREE_EPHEMERAL_MB, 0.0) / 1024.0
    worked_s = use.on_demand_s + use.provisioned_busy_s
    lines = (
        ("on_demand", use.on_demand_s * size.memory_gb, "GB-s"),
        ("provisioned_idle", use.provisioned_s * size.memory_gb, "GB-s"),
        ("provisioned_duration", use.provisioned_busy_s * size.memory_gb, "GB-s"),
        ("requests", use.requests, "requests"),
        ("ephemeral", worked_s * extra_gb, "GB-s"),
    )
    return [item(part, amount, unit, prices, size.architecture) for part, amount, unit in lines]


def warm_pool(prices: Prices, size: FunctionSize, environments: float, kept_s: float = MONTH_S) -> float:
    """USD for keeping environments initialized that long, before the first request. Default: a month."""
    return total(function(prices, size, FunctionUse(provisioned_s=environments * kept_s)))


def snapstart(prices: Prices, size: FunctionSize, restores: float, kept_s: float = MONTH_S) -> list[Item]:
    """A published version's snapshot: kept that long (default: a month) and restored so often.

    Raises:
        PlannerError: KW510, the price file does not have these prices for the region.
    """
    return [
        item("snapshot_cache", size.memory_gb * kept_s, "GB-s", prices),
        item("snapshot_restore", size.memory_gb * restores, "GB", prices),
    ]


def service(prices: Prices, instance_type: str, task_s: float = MONTH_S) -> Item:
    """Tasks of a service on instances of their own, one task per instance. Default: one task for a month.

    Raises:
        PlannerError: KW510, the price file does not have the instance type.
    """
    each = prices.instance_hour(instance_type)
    return Item("downstream", task_s / SECONDS_PER_HOUR, "instance hours", instance_type, each)


def managed_instances(prices: Prices, instance_type: str, instance_s: float) -> float:
    """USD for Lambda managed instances: the instance and AWS's fee on it, requests apart."""
    return service(prices, instance_type, instance_s).usd * (1.0 + prices.managed_instances_fee)


def fargate(prices: Prices, vcpu: float, memory_mb: float, task_s: float = MONTH_S) -> list[Item]:
    """Tasks on Fargate. Default: one task for a month."""
    hours = task_s / SECONDS_PER_HOUR
    return [
        item("fargate_vcpu", vcpu * hours, "vCPU hours", prices),
        item("fargate_memory", memory_mb / 1024.0 * hours, "GB hours", prices),
    ]


class DashboardRates(TypedDict):
    """Prices of the dashboard's cost graph, which multiplies them by CloudWatch's metrics."""

    usd_per_gb_s: float
    usd_per_million_requests: float


def dashboard_rates(region: str | None, architecture: str) -> DashboardRates | None:
    """What a second and a million requests of the stack's functions cost; None where the region has no prices.

    Args:
        region: default: the price file's own default.
        architecture: `x86_64` or `arm64`.
    """
    try:
        prices = price_file.load(region or price_file.DEFAULT_REGION)
    except PlannerError:
        return None
    use = FunctionUse(on_demand_s=1.0, requests=1_000_000.0)
    usd = by_part(function(prices, FunctionSize(1024.0, Architecture(architecture)), use))
    return {"usd_per_gb_s": usd["on_demand"], "usd_per_million_requests": usd["requests"]}
