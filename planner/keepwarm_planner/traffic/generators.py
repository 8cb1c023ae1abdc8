"""Traffic that is made, not read: Poisson arrivals with a rate that is constant or changes."""

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import inf, isfinite, pi, sin

from keepwarm_planner.errors import PlannerError
from keepwarm_planner.kernel import Kernel
from keepwarm_planner.traffic.source import CHUNK, DAY_S, MINUTE_S, Chunk


@dataclass(frozen=True, slots=True)
class Segments:
    """A Poisson process whose rate is constant on stretches: what every generator becomes."""

    name: str
    pieces: Callable[[str], Iterable[tuple[float, float, float]]]
    """Seed to (start, end, rate) in rising order."""
    length_s: float
    mean_rate: float
    fixed: bool = False
    has_services: bool = False

    def expected(self) -> float:
        """Mean rate times length."""
        return self.mean_rate * self.length_s

    def horizon_s(self) -> float | None:
        """Length."""
        return self.length_s

    def chunks(self, kernel: Kernel, seed: str) -> Iterator[Chunk]:
        """Memoryless: each stretch starts its own exponential gap."""
        source = kernel.source(f"{seed}/arrivals")
        for start, end, rate in self.pieces(seed):
            if rate <= 0.0:
                continue
            first, _ = source.poisson(rate, inf, 0.0, 2)
            t = start + first[1]
            while t < end:
                times, t = source.poisson(rate, end, t, CHUNK)
                if len(times):
                    yield times, None
        source.close()


def poisson(rate: float, length_s: float) -> Segments:
    """Constant rate (1/s)."""
    return Segments(f"Poisson {rate:g}/s", lambda _: [(0.0, length_s, rate)], length_s, rate)


def diurnal(mean: float, swing: float, length_s: float, peak_s: float = 14 * 3600.0) -> Segments:
    """A day's sine around `mean` (1/s): mean x (1 +- swing), highest at `peak_s` of the day; constant within a
    minute."""

    def pieces(_: str) -> Iterator[tuple[float, float, float]]:
        minutes = int(length_s // MINUTE_S) + (length_s % MINUTE_S > 0)
        for i in range(minutes):
            start = i * MINUTE_S
            phase = 2 * pi * (start + MINUTE_S / 2 - peak_s) / DAY_S
            yield start, min(start + MINUTE_S, length_s), mean * (1 + swing * sin(phase + pi / 2))

    return Segments(f"diurnal {mean:g}/s +-{swing:.0%}", pieces, length_s, mean)


def spike(base: float, peak: float, at_s: float, width_s: float, length_s: float) -> Segments:
    """`base` (1/s), and `peak` for `width_s` from `at_s` on."""
    end = min(at_s + width_s, length_s)
    pieces = [(0.0, at_s, base), (at_s, end, peak), (end, length_s, base)]
    mean = sum((b - a) * r for a, b, r in pieces) / length_s
    return Segments(f"spike {base:g}/s to {peak:g}/s", lambda _: pieces, length_s, mean)


def mmpp(rates: tuple[float, float], means_s: tuple[float, float], length_s: float) -> Segments:
    """Two-state Markov-modulated Poisson process: rates (1/s) and mean sojourns (s) of the two states."""

    def pieces(seed: str) -> Iterator[tuple[float, float, float]]:
        stream = random.Random(f"{seed}/modulation")  # noqa: S311
        t, state = 0.0, 0
        while t < length_s:
            end = min(t + stream.expovariate(1.0 / means_s[state]), length_s)
            yield t, end, rates[state]
            t, state = end, 1 - state

    mean = (rates[0] * means_s[0] + rates[1] * means_s[1]) / (means_s[0] + means_s[1])
    return Segments(f"MMPP {rates[0]:g}/{rates[1]:g} per s", pieces, length_s, mean)


GENERATORS = (
    "poisson:rate=R, diurnal:mean=R,swing=0..1[,peak_hour=H], spike:base=R,peak=R,at_s=T,width_s=T, "
    "mmpp:low=R,high=R,low_s=T,high_s=T; each with optional hours=H (default 24)"
)


def generator(text: str) -> Segments:
    """Reads a generator's specification, see `GENERATORS`. Raises KW517."""
    kind, _, rest = text.partition(":")
    try:
        args = {k.strip(): float(v) for k, v in (item.split("=", 1) for item in rest.split(",") if item)}
    except ValueError:
        raise PlannerError("KW517", "--generate", repr(text), GENERATORS) from None
    bad = [k for k, v in args.items() if not isfinite(v) or v < 0.0]
    if bad:
        raise PlannerError("KW517", f"--generate {bad[0]}", args[bad[0]], "a finite number, 0 or more")
    length = args.pop("hours", 24.0) * 3600.0
    if length <= 0.0:
        raise PlannerError("KW517", "--generate hours", 0, "more than 0")
    shapes: dict[str, tuple[set[str], set[str]]] = {
        "poisson": ({"rate"}, set()),
        "diurnal": ({"mean", "swing"}, {"peak_hour"}),
        "spike": ({"base", "peak", "at_s", "width_s"}, set()),
        "mmpp": ({"low", "high", "low_s", "high_s"}, set()),
    }
    if kind not in shapes:
        raise PlannerError("KW517", "--generate", repr(text), GENERATORS)
    needed, optional = shapes[kind]
    wrong = (set(args) - needed - optional) | (needed - set(args))
    if wrong:
        raise PlannerError(
            "KW517",
            f"--generate {kind}",
            f"{'unknown' if min(wrong) in args else 'no'} {min(wrong)!r}",
            GENERATORS,
        )
    if kind == "poisson":
        return poisson(args["rate"], length)
    if kind == "diurnal":
        if args["swing"] > 1.0:
            raise PlannerError("KW517", "--generate swing", args["swing"], "0 to 1")
        return diurnal(args["mean"], args["swing"], length, args.get("peak_hour", 14.0) * 3600.0)
    if kind == "spike":
        if args["at_s"] >= length:
            raise PlannerError(
                "KW517", "--generate at_s", args["at_s"], f"less than the length of {length:g} s"
            )
        return spike(args["base"], args["peak"], args["at_s"], args["width_s"], length)
    if min(args["low_s"], args["high_s"]) <= 0.0:
        raise PlannerError("KW517", "--generate", "a sojourn of 0 s", "low_s and high_s above 0")
    return mmpp((args["low"], args["high"]), (args["low_s"], args["high_s"]), length)
