"""Figures with their formulas and inputs."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of an answer, its formula and what went into it."""

    name: str
    value: float | int | str | None
    unit: str
    formula: str
    inputs: Mapping[str, object] = field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "formula": self.formula,
            "inputs": dict(self.inputs),
        }


SIMULATED: dict[str, str] = {
    "cold_fraction": "cold starts / arrivals, over all replications; interval: delta method of the ratio, Student's t "
    "over replications; below 30 events also Garwood's Poisson interval",
    "throttled_fraction": "(refused by the concurrency limit + refused by the creation rate) / arrivals",
    "dropped_fraction": "(queued past the deadline + queue full) / arrivals",
    "provisioned_fraction": "requests that the provisioned pool took / arrivals",
    "good_fraction": "answers within the target latency / arrivals (Goodput)",
    "rejected_fraction": "rejections / arrivals",
    "instances": "integral of environments alive (created to last answer + idle timeout) / time, provisioned included",
    "busy": "integral of requests in service, initialization included / time",
    "environments": "integral of the provisioned environments kept / time",
    "utilization": "busy seconds of provisioned environments / provisioned seconds",
    "wait_mean_s": "sum of queue waits / requests started",
    "latency": "quantile of wait + initialization + service from a histogram with 1.1 % bins (upper edge)",
    "queue_wait": "quantile of the time from arrival (or send) to start, of what was started",
    "max_busy": "most requests in service at once, over all replications",
    "lost_full": "(given up after the last attempt or the deadline + dead letters + expired messages) / arrivals",
    "retries": "invocations made again after a refusal / arrivals",
    "refusals": "(no permit free + permit but no task running + permit but its task's queue full) / arrivals",
    "open_fraction": "requests still under way when the trace ends / arrivals",
    "tasks": "integral of running tasks / time; used: seconds of requests served / (task seconds x concurrency per "
    "task)",
    "wakes": "starts of the service from zero tasks per replication",
    "on_demand": "(busy + initialization s) of on-demand environments x memory GB x price per GB-s; x 730 h / horizon",
    "provisioned_idle": "provisioned environments x s x memory GB x price per provisioned GB-s; x 730 h / horizon",
    "provisioned_duration": "busy s on provisioned environments x memory GB x price per GB-s there; x 730 h / horizon",
    "requests": "requests started x price per request; x 730 h / horizon",
    "ephemeral": "busy s x (ephemeral MB - 512) / 1024 x price per GB-s; x 730 h / horizon",
    "downstream": "task hours x price per instance hour (one task per instance); x 730 h / horizon",
    "queue": "(send + receive + delete per delivery) x price per SQS request; x 730 h / horizon",
}
"""How each simulated figure is formed."""
