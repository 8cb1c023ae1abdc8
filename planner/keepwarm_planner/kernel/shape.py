"""What both kernels share: the figures they report and the design they run."""

from dataclasses import dataclass, field
from enum import IntEnum
from math import inf

BINS_PER_OCTAVE = 64
LOWEST_EXPONENT = -24
BINS = BINS_PER_OCTAVE * 48


class Cold(IntEnum):
    """How a duration is drawn. The numbers are core.c's."""

    CONSTANT = 0
    EXPONENTIAL = 1
    TABLE = 2


class S(IntEnum):
    """Index of a cumulative figure. Counts are of requests, names ending in _S are seconds."""

    ARRIVALS = 0
    COLD = 1
    WARM = 2
    PROVISIONED = 3
    REJECTED_LIMIT = 4
    REJECTED_RATE = 5
    QUEUED = 6
    EXPIRED = 7
    OVERFLOW = 8
    GOOD = 9
    BUSY_OD = 10
    BUSY_PROVISIONED = 11
    COLD_S = 12
    LIFE_OD = 13
    PROVISIONED_S = 14
    WAIT_S = 15
    MAX_WAIT = 16
    MAX_BUSY = 17
    MAX_QUEUE = 18
    QUEUE_NOW = 19
    BUSY_NOW = 20
    STARTED = 21
    IN_FLIGHT_S = 22


@dataclass(frozen=True, slots=True)
class CoreDesign:
    """One configuration of the core model. Times in seconds.

    `timeout` is the idle expiry. `limit` is the concurrency cap of the function, -1 for none; the
    provisioned pool counts towards it. `queue_limit` 0 refuses what cannot start at once, -1 queues
    without bound. `deadline` drops what waited longer. `target` is the latency that counts as good.
    `rate_limit` environments may be created per `rate_window` seconds, 0 for no limit.
    """

    timeout: float = 600.0
    limit: int = -1
    queue_limit: int = 0
    deadline: float = inf
    target: float = inf
    rate_limit: float = 0.0
    rate_window: float = 10.0
    provisioned: int = 0
    cold_kind: Cold = Cold.CONSTANT
    cold_mean: float = 0.0
    cold_table: tuple[float, ...] = field(default=())


def bin_upper(i: int) -> float:
    """Upper edge of a histogram bin in seconds."""
    exponent, part = divmod(i, BINS_PER_OCTAVE)
    mantissa = 0.5 + (part + 1) / (2 * BINS_PER_OCTAVE)
    return float(mantissa * 2.0 ** (exponent + LOWEST_EXPONENT))


def quantile(histogram: list[int], q: float) -> float:
    """Duration in seconds that a share q of the counted stays within (upper edge of its bin); 0 when none."""
    total = sum(histogram)
    if total == 0:
        return 0.0
    wanted = q * total
    seen = 0
    for i, count in enumerate(histogram):
        seen += count
        if count and seen >= wanted:
            return bin_upper(i)
    return bin_upper(len(histogram) - 1)
