"""Closed forms that the simulator answers to, and that the search uses to skip hopeless designs.

Erlang's formulas: A. K. Erlang 1917; M/M/c/K: any text on queues, for example Gross and Harris,
Fundamentals of Queueing Theory, chapter 2. M/G/infinity occupancy is Poisson whatever the service law.
"""

from math import exp, inf


def erlang_b(servers: int, load: float) -> float:
    """Share of Poisson arrivals that find all servers busy when nobody waits (insensitive to the service law)."""
    blocked = 1.0
    for n in range(1, servers + 1):
        blocked = load * blocked / (n + load * blocked)
    return blocked


def erlang_c(servers: int, load: float) -> float:
    """Share of Poisson arrivals that wait in M/M/c; 1 when the load can't be carried."""
    if load >= servers:
        return 1.0
    b = erlang_b(servers, load)
    return servers * b / (servers - load * (1.0 - b))


def mmc_wait(servers: int, rate: float, service_mean: float) -> float:
    """Mean wait in M/M/c over all arrivals, in seconds."""
    load = rate * service_mean
    if load >= servers:
        return inf
    return erlang_c(servers, load) * service_mean / (servers - load)


def mmck(servers: int, places: int, load: float) -> list[float]:
    """Distribution of the number present in M/M/c/K, K = places >= servers."""
    weights = [1.0]
    for n in range(1, places + 1):
        weights.append(weights[-1] * load / min(n, servers))
    total = sum(weights)
    return [w / total for w in weights]


def mmck_loss(servers: int, places: int, load: float) -> float:
    """Share of Poisson arrivals that find M/M/c/K full."""
    return mmck(servers, places, load)[-1]


def mmck_wait(servers: int, places: int, rate: float, service_mean: float) -> float:
    """Mean wait of the accepted in M/M/c/K, in seconds (Little's law on the queue)."""
    present = mmck(servers, places, rate * service_mean)
    queue = sum((n - servers) * p for n, p in enumerate(present) if n > servers)
    return queue / (rate * (1.0 - present[-1]))


def single_cold(rate: float, service_mean: float, idle_timeout: float) -> float:
    """Cold starts over all arrivals with one environment and nobody waiting: an accepted request is cold when
    the idle gap before it outlasted the timeout, and gaps after a departure are exponential."""
    return exp(-rate * idle_timeout) / (1.0 + rate * service_mean)


def single_instances(rate: float, service_mean: float, idle_timeout: float) -> float:
    """Average number of environments in that case, by renewal over one busy period and the gap after it."""
    kept = (1.0 - exp(-rate * idle_timeout)) / rate
    return (service_mean + kept) / (service_mean + 1.0 / rate)


def instant_cold(rate: float, idle_timeout: float) -> float:
    """Cold share when services take no time: a request is cold when the gap before it outlasts the timeout."""
    return exp(-rate * idle_timeout)
