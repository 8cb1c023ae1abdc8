"""Where an invocation runs: the account's figures turned into the question `keepwarm_runtime.scaling` answers.

The simulator asks the same function, so what it predicts is what happens here. Sources:
https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html and
https://docs.aws.amazon.com/lambda/latest/dg/provisioned-concurrency.html
"""

from dataclasses import dataclass

from keepwarm_runtime import scaling
from keepwarm_runtime.scaling import Placement

_REFUSALS = {
    Placement.THROTTLE_CONCURRENCY: "ConcurrentInvocationLimitExceeded",
    Placement.THROTTLE_RATE: "FunctionInvocationRateLimitExceeded",
}


@dataclass(frozen=True, slots=True)
class Demand:
    """Everything that decides, at the moment of one invocation."""

    reserved: int | None
    """Reserved concurrency of the function; None = it shares the unreserved rest."""
    function_provisioned: int
    """Provisioned environments of the function, all qualifiers."""
    function_on_demand: int
    """Running invocations of the function outside provisioned environments."""
    unreserved: int
    """The account's concurrency less all reservations."""
    unreserved_provisioned: int
    """Provisioned environments of all functions without a reservation."""
    unreserved_on_demand: int
    """Running on-demand invocations of all functions without a reservation."""
    provisioned_idle: int
    on_demand_idle: int
    may_create: bool
    """The function's scaling rate allows another environment now."""


def decide(demand: Demand) -> tuple[Placement, str]:
    """Give the placement, and for a refusal the API's ThrottleReason."""
    own = demand.reserved is not None
    placement = scaling.place(
        # Reserved concurrency 0 is how a function is switched off; its warm pool is off with it.
        provisioned_idle=0 if demand.reserved == 0 else demand.provisioned_idle,
        on_demand_idle=demand.on_demand_idle,
        on_demand_busy=demand.function_on_demand if own else demand.unreserved_on_demand,
        on_demand_limit=scaling.on_demand_limit(demand.reserved, demand.function_provisioned)
        if own
        else scaling.on_demand_limit(demand.unreserved, demand.unreserved_provisioned),
        may_create=demand.may_create,
    )
    reason = _REFUSALS.get(placement, "")
    if own and placement is Placement.THROTTLE_CONCURRENCY:
        reason = "ReservedFunctionConcurrentInvocationLimitExceeded"
    return placement, reason
