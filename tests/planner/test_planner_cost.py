"""One price for one thing: planner, report and dashboard say the same, and AWS's own worked examples hold.

The examples are those of https://aws.amazon.com/lambda/pricing/ (US East, x86; page as crawled in 2025), numbers and
results as printed there. Does not prove that the price file is today's list: its own `checks` say what it was read
against.
"""

import pytest

from keepwarm_planner import cost, prices
from keepwarm_planner.cost import Architecture, FunctionSize, FunctionUse
from keepwarm_planner.errors import PlannerError

P = prices.load("us-east-1")
FREE_GB_S, FREE_REQUESTS = 400_000, 1_000_000
"""Free tier of the page's examples; our prices know none, so a test takes it off first."""


def bill(size: FunctionSize, use: FunctionUse) -> dict[str, float]:
    return {part: round(usd, 2) for part, usd in cost.by_part(cost.function(P, size, use)).items()}


def test_given_awss_telemetry_example_then_its_bill() -> None:
    """Lambda pricing, example 2: 7.44 million messages of 2 s in 1,024 MB, without the free tier."""
    usd = bill(FunctionSize(1024), FunctionUse(on_demand_s=7_440_000 * 2.0, requests=7_440_000))

    assert (usd["requests"], usd["on_demand"]) == (1.49, 248.00)


def test_given_awss_support_ticket_example_then_its_bill() -> None:
    """Lambda pricing, example 3: 6 million requests of 280 ms in 4,096 MB with 2,048 MB of /tmp."""
    size = FunctionSize(4096, ephemeral_mb=2048)
    seconds = 6_000_000 * 0.28
    billable_s = seconds - FREE_GB_S / size.memory_gb
    usd = bill(size, FunctionUse(on_demand_s=billable_s, requests=6_000_000 - FREE_REQUESTS))
    ephemeral = bill(size, FunctionUse(on_demand_s=seconds))["ephemeral"]

    assert (usd["on_demand"], usd["requests"], ephemeral) == (105.33, 1.00, 0.08)


def test_given_awss_launch_day_example_then_its_bill() -> None:
    """Provisioned concurrency, example 1: 100 environments of 1,536 MB for eight hours, half a million requests on
    them of 100 ms, 2.5 million of 120 ms beside them."""
    size = FunctionSize(1536)
    usd = bill(
        size,
        FunctionUse(
            on_demand_s=2_500_000 * 0.12 - FREE_GB_S / size.memory_gb,
            provisioned_s=100 * 8 * 3600,
            provisioned_busy_s=500_000 * 0.1,
            requests=3_000_000 - FREE_REQUESTS,
        ),
    )

    assert usd["provisioned_idle"] == 18.00
    assert usd["provisioned_duration"] == 0.73
    assert (usd["on_demand"], usd["requests"]) == (0.83, 0.40)
    assert round(cost.warm_pool(P, size, 100, 8 * 3600), 2) == 18.00


def test_given_awss_cyber_monday_example_then_its_bill() -> None:
    """Provisioned concurrency, example 2: seven environments of 4,096 MB for a day, 2 million requests of 280 ms."""
    use = FunctionUse(provisioned_s=7 * 86_400, provisioned_busy_s=2_000_000 * 0.28, requests=2_000_000)
    usd = bill(FunctionSize(4096), use)

    assert usd == {
        "on_demand": 0.0,
        "provisioned_idle": 10.08,
        "provisioned_duration": 21.78,
        "requests": 0.40,
        "ephemeral": 0.0,
    }
    assert round(cost.total(cost.function(P, FunctionSize(4096), use)), 2) == 32.26


def test_given_awss_snapshot_example_then_its_bill() -> None:
    """SnapStart: a version of 1,024 MB kept for 31 days, 1 % of 7.44 million requests restore it."""
    cache, restore = cost.snapstart(P, FunctionSize(1024), restores=74_400, kept_s=31 * 86_400)

    assert (round(cache.usd, 2), round(restore.usd, 1)) == (4.03, 10.4)


def test_given_arm64_then_every_second_costs_less_than_on_x86() -> None:
    use = FunctionUse(on_demand_s=1e6, provisioned_s=1e6, provisioned_busy_s=1e6, requests=1e6)
    x86 = cost.by_part(cost.function(P, FunctionSize(1024, Architecture.X86_64), use))
    arm = cost.by_part(cost.function(P, FunctionSize(1024, Architecture.ARM64), use))

    ratios = {part: round(arm[part] / x86[part], 2) for part in x86 if x86[part]}
    assert ratios == {
        "on_demand": 0.8,
        "provisioned_idle": 0.8,
        "provisioned_duration": 0.8,
        "requests": 1.0,
    }


def test_given_a_price_that_is_not_known_then_kw510() -> None:
    with pytest.raises(PlannerError) as caught:
        cost.snapstart(prices.load("eu-west-1"), FunctionSize(1024), 10)

    assert str(caught.value) == (
        "KW510 prices of eu-west-1: got no snapstart_cache_gb_s; allowed a number; because the shipped file does not"
        " have it for this region; fix: add it with --prices"
    )
