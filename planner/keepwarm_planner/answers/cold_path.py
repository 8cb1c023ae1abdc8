"""The path of a cold start: phases from bytes, speeds and assumptions, each a law of its duration."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import fsum, isfinite
from random import Random

from keepwarm import limits
from keepwarm_planner.answers.explain import Figure
from keepwarm_planner.errors import PlannerError
from keepwarm_planner.kernel import choose
from keepwarm_planner.kernel.shape import Cold
from keepwarm_planner.traffic.law import Law, constant, lognormal_quantiles
from keepwarm_runtime.phases import PHASES

DRAWS = 20_000

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}

SPREAD = 2.2
"""Assumed ratio of the 99th percentile to the median of a transfer; measured runs replace it."""

ASSUMED: dict[str, tuple[float, float, str]] = {
    "scheduling": (0.030, 0.120, "assumption: placement of a new environment"),
    "sandbox": (0.125, 0.250, "Firecracker's specification: guest boot within 125 ms"),
    "runtime_init": (0.060, 0.160, "measured here: bare awslambdaric answers after 55 ms"),
    "allocate": (0.010, 0.040, "assumption: host memory; a GPU context takes longer"),
}
"""Median and 99th percentile in seconds of phases that no byte count explains."""

RESTORE = lognormal_quantiles(0.200, 0.600)
"""Restore of a snapshot: assumption until measured; AWS publishes no figure per size."""


@dataclass(frozen=True, slots=True)
class ColdPath:
    """What a cold start has to do. Sizes in MB (10**6 bytes), speeds as named."""

    artifact_mb: float = 60.0
    """Function bundle or image."""
    container_image: bool = False
    model_mb: float = 20.0
    memory_mb: int = limits.LAMBDA_MB_PER_VCPU
    bandwidth_mb_s: float = 80.0
    """From the registry into the environment."""
    artifact_bandwidth_mb_s: float = 250.0
    hash_mb_s: float = 1800.0
    """SHA-256 on one core with SHA instructions."""
    load_mb_s: float = 700.0
    """Deserialization into ready sessions, on one vCPU."""
    imports_s: float = 0.6
    """Of the handler and its libraries, on one vCPU."""
    compile_s: float = 0.0
    warmup_s: float = 0.1
    """First inference less a later one."""
    given: Mapping[str, Law] = field(default_factory=dict)
    """Laws by phase that replace what is assumed."""

    def __post_init__(self) -> None:
        for name in (
            "artifact_mb",
            "model_mb",
            "bandwidth_mb_s",
            "artifact_bandwidth_mb_s",
            "hash_mb_s",
            "load_mb_s",
            "imports_s",
            "compile_s",
            "warmup_s",
        ):
            value = getattr(self, name)
            speed = name.endswith("_mb_s")
            if not isfinite(value) or value < 0.0 or (speed and value == 0.0):
                raise PlannerError(
                    "KW500",
                    f"budget {name}",
                    value,
                    "a finite number above 0" if speed else "a finite number, 0 or more",
                )
        if not limits.LAMBDA_MEMORY_MIN_MB <= self.memory_mb <= limits.LAMBDA_MEMORY_MAX_MB:
            raise PlannerError(
                "KW500",
                "budget memory_mb",
                self.memory_mb,
                f"{limits.LAMBDA_MEMORY_MIN_MB} to {limits.LAMBDA_MEMORY_MAX_MB}",
            )
        unknown = set(self.given) - set(PHASES)
        if unknown:
            raise PlannerError("KW500", "budget phase", repr(min(unknown)), ", ".join(PHASES))

    @property
    def vcpu(self) -> float:
        """Share of a vCPU that one thread gets: memory / 1,769 MB, at most one."""
        return min(self.memory_mb / limits.LAMBDA_MB_PER_VCPU, 1.0)


def _around(median: float, spread: float = SPREAD) -> Law:
    return lognormal_quantiles(median, median * spread) if median > 0.0 else constant(0.0)


def phase_laws(path: ColdPath) -> tuple[dict[str, Law], list[Figure]]:
    """A law per phase and how each came about."""
    fetch = path.model_mb / path.bandwidth_mb_s
    hashing = path.model_mb / (path.hash_mb_s * path.vcpu)
    # A lazily loaded image starts on the chunks it touches; a zip is there in full.
    pulled = path.artifact_mb * (0.2 if path.container_image else 1.0)
    medians: dict[str, tuple[float, str, dict[str, object]]] = {
        "image_pull": (
            pulled / path.artifact_bandwidth_mb_s,
            "artifact MB (a fifth of an image: chunks are loaded on demand) / artifact MB/s",
            {"artifact_mb": path.artifact_mb, "artifact_bandwidth_mb_s": path.artifact_bandwidth_mb_s},
        ),
        "imports": (
            path.imports_s / path.vcpu,
            "imports on one vCPU / share of a vCPU",
            {"imports_s": path.imports_s, "vcpu": path.vcpu},
        ),
        "fetch": (
            fetch,
            "model MB / MB/s",
            {"model_mb": path.model_mb, "bandwidth_mb_s": path.bandwidth_mb_s},
        ),
        "verify": (
            max(hashing - fetch, 0.0),
            "max(0, model MB / (hash MB/s x vCPU) - fetch): hashing overlaps the download",
            {"hash_mb_s": path.hash_mb_s, "vcpu": path.vcpu, "fetch_s": fetch},
        ),
        "compile": (path.compile_s, "as given", {"compile_s": path.compile_s}),
        "load": (
            path.model_mb / (path.load_mb_s * path.vcpu),
            "model MB / (load MB/s x vCPU)",
            {"model_mb": path.model_mb, "load_mb_s": path.load_mb_s, "vcpu": path.vcpu},
        ),
        "warmup": (
            path.warmup_s / path.vcpu,
            "first inference less a later one / vCPU",
            {"warmup_s": path.warmup_s, "vcpu": path.vcpu},
        ),
    }
    laws: dict[str, Law] = {}
    figures = []
    for name in PHASES:
        if name in path.given:
            laws[name] = path.given[name]
            formula, inputs = f"given: {path.given[name].text}", dict[str, object]()
        elif name in medians:
            median, formula, inputs = medians[name]
            laws[name] = _around(median)
            formula = f"median {formula}; p99 = {SPREAD:g} x median (assumed)"
        else:
            p50, p99, formula = ASSUMED[name]
            laws[name], inputs = lognormal_quantiles(p50, p99), {"p50_s": p50, "p99_s": p99}
        figures.append(Figure(name, laws[name].quantile(0.5), "s (median)", formula, inputs))
    return laws, figures


def sample(
    laws: Mapping[str, Law],
    names: Sequence[str],
    seed: int,
    starts: Sequence[Mapping[str, float]] = (),
    measured: Collection[str] = (),
) -> list[float]:
    """Sums of the named phases, one stream per phase.

    The `measured` ones come from whole starts: a slow host is slow in every phase, and a phase that a start did not
    have is not added to it.
    """
    totals = [0.0] * DRAWS
    kernel = choose(DRAWS)
    together = [n for n in names if n in measured]
    if together:
        sums = [fsum(s.get(n, 0.0) for n in together) for s in starts]
        totals = Random(f"{seed}/starts").choices(sums, k=DRAWS)  # noqa: S311
    for name in names:
        if name in measured:
            continue
        law = laws[name]
        if law.kind is Cold.CONSTANT:
            totals = [x + law.mean for x in totals]
            continue
        drawn = kernel.source(f"{seed}/{name}").fill(law.kind, law.mean, law.table, DRAWS)
        totals = [x + y for x, y in zip(totals, drawn, strict=True)]
    return totals


def quantiles_of(values: Sequence[float]) -> dict[str, float]:
    """The figures that a budget is held to."""
    ordered = sorted(values)
    n = len(ordered)
    return {name: ordered[min(int(q * n), n - 1)] for name, q in QUANTILES.items()}
