"""What a run would have cost on AWS: measured durations times list prices, each item with its formula."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from keepwarm_cli.follow import Follower
from keepwarm_planner import cost, prices
from keepwarm_planner.cost import Architecture, FunctionSize, FunctionUse, Item

_NAMES = {
    "on_demand": "Lambda duration",
    "provisioned_idle": "Provisioned concurrency, kept",
    "provisioned_duration": "Provisioned concurrency, running",
    "requests": "Lambda requests",
    "ephemeral": "Lambda /tmp above 512 MB",
    "transitions": "Step Functions transitions",
    "uploads": "S3 uploads",
}


@dataclass(frozen=True, slots=True)
class Deployed:
    """A function as it was deployed."""

    size: FunctionSize
    environments: int
    """Provisioned concurrency that was kept."""


def deployed(client: Any, names: Iterable[str]) -> dict[str, Deployed]:
    """Size and warm pool of each function, asked of Lambda.

    Args:
        client: a boto3 client of Lambda.
        names: function names.
    """
    found = {}
    for name in names:
        told = client.get_function_configuration(FunctionName=name)
        kept = client.list_provisioned_concurrency_configs(FunctionName=name)["ProvisionedConcurrencyConfigs"]
        found[name] = Deployed(
            FunctionSize(
                told["MemorySize"], Architecture(told["Architectures"][0]), told["EphemeralStorage"]["Size"]
            ),
            sum(int(pool["RequestedProvisionedConcurrentExecutions"]) for pool in kept),
        )
    return found


def estimate(
    region: str,
    invocations: Iterable[Mapping[str, Any]],
    follower: Follower,
    functions: Mapping[str, Deployed],
) -> dict[str, Any]:
    """Price one run.

    Args:
        region: where it would have run.
        invocations: journal entries of kind `invocation`.
        follower: what was uploaded and which workflow steps were taken.
        functions: what was deployed, by function name.

    Raises:
        PlannerError: the region has no prices.
    """
    table = prices.load(region)
    kept_s = follower.entries[-1]["at_s"] - follower.entries[0]["at_s"] if follower.entries else 0.0
    invocations = list(invocations)
    bill: list[Item] = []
    for name, one in functions.items():
        use = _use([e for e in invocations if e["function"] == name], one.environments * kept_s)
        bill += cost.function(table, one.size, use)
    uploads = sum(d.uploads for d in follower.documents.values())
    bill.append(cost.item("transitions", follower.transitions, "transitions", table))
    bill.append(cost.item("uploads", uploads, "PUT requests", table))
    return {
        "region": region,
        "dated": table.dated,
        "note": "functions, warm pool, workflow and intake of this run; the GPU service is priced by the hour, see"
        " `keepwarm plan breakeven`",
        "items": _items(bill),
        "total_usd": cost.total(bill),
    }


def _use(invocations: Iterable[Mapping[str, Any]], provisioned_s: float) -> FunctionUse:
    """What a function did. On demand, initialization is billed as duration; the planner takes it so too."""
    on_demand_ms = provisioned_ms = 0.0
    requests = 0
    for entry in invocations:
        requests += 1
        worked_ms = float(entry.get("duration_ms") or 0.0)
        if entry.get("pool") == "provisioned":
            provisioned_ms += worked_ms
        else:
            on_demand_ms += worked_ms + float(entry.get("init_ms") or 0.0)
    return FunctionUse(on_demand_ms / 1000.0, provisioned_s, provisioned_ms / 1000.0, requests)


def _items(bill: Iterable[Item]) -> list[dict[str, Any]]:
    """One row per part and price, summed over all functions, in the order of `_NAMES`."""
    rows: dict[tuple[str, str], tuple[Item, float]] = {}
    for line in bill:
        key = (line.part, line.price)
        rows[key] = (line, rows[key][1] + line.amount if key in rows else line.amount)
    order = list(_NAMES)
    return [
        {
            "item": _NAMES[line.part],
            "formula": f"{amount:,.3f} {line.unit} x {line.usd_each:.10f} USD".replace(".000 ", " "),
            "usd": amount * line.usd_each,
        }
        for line, amount in sorted(rows.values(), key=lambda row: order.index(row[0].part))
        if amount or line.part != "ephemeral"
    ]
