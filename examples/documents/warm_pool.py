"""How many environments to keep warm for a day that has two peaks."""

from collections.abc import Iterable
from math import ceil


def arrivals_per_second(hour: int) -> float:
    """The load of the records office: scans in the morning, mail after lunch."""
    if 7 <= hour < 10:
        return 22.0
    if 13 <= hour < 15:
        return 14.0
    return 1.5


def warm_target(rate: float, service_s: float, headroom: float = 0.2) -> int:
    """Environments that a steady load keeps busy, with some room for bursts."""
    return max(1, ceil(rate * service_s * (1 + headroom)))


def schedule(hours: Iterable[int], service_s: float = 0.35) -> dict[int, int]:
    """The target for every hour of the day."""
    return {hour: warm_target(arrivals_per_second(hour), service_s) for hour in hours}


if __name__ == "__main__":
    for hour, count in schedule(range(24)).items():
        print(f"{hour:02d}:00  keep {count} warm")
