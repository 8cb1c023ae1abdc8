"""What a run would have cost on AWS: measured durations times list prices, each item with its formula."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from keepwarm_cli.follow import Follower
from keepwarm_planner import prices


def estimate(
    region: str,
    invocations: Iterable[Mapping[str, Any]],
    follower: Follower,
    config: Mapping[str, str],
    outputs: Mapping[str, Any],
) -> dict[str, Any]:
    """Price one run.

    Args:
        region: where it would have run.
        invocations: journal entries of kind `invocation`.
        follower: what was uploaded and which workflow steps were taken.
        config: raw stack configuration, for the warm pool's size.
        outputs: the stack's outputs `functions` (role -> name) and `memory_mb` (role -> MB).

    Raises:
        PlannerError: the region has no prices.
    """
    price = prices.load(region)
    arm = False
    memory_gb = {name: outputs["memory_mb"][role] / 1024 for role, name in outputs["functions"].items()}
    invocations = list(invocations)
    on_demand = sum(_gb_s(e, memory_gb) for e in invocations if e.get("pool") != "provisioned")
    provisioned = sum(_gb_s(e, memory_gb) for e in invocations if e.get("pool") == "provisioned")
    kept_gb_s = _kept_gb_s(follower, config, outputs["memory_mb"])
    items = [
        _item("Lambda requests", len(invocations), "requests", price.lambda_request),
        _item("Lambda duration", on_demand, "GB-s", price.lambda_gb_s(arm)),
        _item("Provisioned concurrency, kept", kept_gb_s, "GB-s", price.provisioned_gb_s(arm)),
        _item("Provisioned concurrency, running", provisioned, "GB-s", price.provisioned_duration_gb_s(arm)),
        _item("Step Functions transitions", follower.transitions, "transitions", price.sfn_transition),
        _item(
            "S3 uploads", sum(d.uploads for d in follower.documents.values()), "PUT requests", price.s3_put
        ),
    ]
    return {
        "region": region,
        "dated": price.dated,
        "note": "functions, warm pool, workflow and intake of this run; the GPU service is priced by the hour, see"
        " `keepwarm plan breakeven`",
        "items": items,
        "total_usd": sum(i["usd"] for i in items),
    }


def _gb_s(entry: Mapping[str, Any], memory_gb: Mapping[str, float]) -> float:
    return memory_gb.get(str(entry["function"]), 0.0) * float(entry.get("duration_ms") or 0.0) / 1000


def _kept_gb_s(follower: Follower, config: Mapping[str, str], memory_mb: Mapping[str, float]) -> float:
    pool = json.loads(config.get("keepwarm:warm_pool", "{}"))
    if not pool.get("enabled", True) or not follower.entries:
        return 0.0
    kept_s: float = follower.entries[-1]["at_s"] - follower.entries[0]["at_s"]
    return float(pool.get("size", 2)) * memory_mb["classify"] / 1024 * kept_s


def _item(item: str, amount: float, unit: str, usd_each: float) -> dict[str, Any]:
    usd = amount * usd_each
    return {
        "item": item,
        "formula": f"{amount:,.3f} {unit} x {usd_each:.10f} USD".replace(".000 ", " "),
        "usd": usd,
    }
