"""Kernels of the simulator: C where it can be had, else its Python twin with the same bits.

`KEEPWARM_KERNEL=c|python|auto` forces one. In `auto` a run too small to repay a compilation goes to the
Python twin unless the C kernel is built already; the figures are the same either way.
"""

import os
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from keepwarm_planner.errors import PlannerError
from keepwarm_planner.kernel.plain import Row
from keepwarm_planner.kernel.shape import CoreDesign

if TYPE_CHECKING:
    from keepwarm_planner.kernel.core import PyCore, PySource
    from keepwarm_planner.kernel.native import CCore, CSource, Native

WORTH_BUILDING = 400_000
"""Requests from which a compilation (about a second) is repaid."""

VARIABLE = "KEEPWARM_KERNEL"


@dataclass(frozen=True, slots=True)
class Kernel:
    """One of the two kernels. `note` says why the C kernel does not run, unless that was asked for."""

    name: str
    note: str = ""
    native: "Native | None" = None

    def plain(
        self,
        rate: float,
        service_mean: float,
        timeout: float,
        provisioned: int,
        limit: int,
        seed: str,
        ends: list[float],
    ) -> list[Row]:
        """One replication of the plain model; `seed` names its two streams."""
        gaps, services = Random(f"{seed}/gaps"), Random(f"{seed}/services")  # noqa: S311 - not for secrets
        if self.native is not None:
            return self.native.plain(rate, service_mean, timeout, provisioned, limit, gaps, services, ends)
        from keepwarm_planner.kernel.plain import run

        return run(rate, service_mean, timeout, provisioned, limit, gaps, services, ends)

    def core(self, design: CoreDesign, seed: str) -> "CCore | PyCore":
        """A design of the core model, ready to be fed."""
        stream = Random(f"{seed}/cold")  # noqa: S311
        if self.native is not None:
            from keepwarm_planner.kernel.native import CCore

            return CCore(self.native, design, stream)
        from keepwarm_planner.kernel.core import PyCore

        return PyCore(design, stream)

    def source(self, seed: str) -> "CSource | PySource":
        """A stream of variates named by `seed`."""
        stream = Random(seed)  # noqa: S311
        if self.native is not None:
            from keepwarm_planner.kernel.native import CSource

            return CSource(self.native, stream)
        from keepwarm_planner.kernel.core import PySource

        return PySource(stream)


PYTHON = Kernel("python")


def choose(requests: float, wanted: str | None = None) -> Kernel:
    """The kernel for a run of about `requests` requests. `wanted` overrides the environment."""
    wanted = wanted or os.environ.get(VARIABLE) or "auto"
    if wanted not in ("auto", "c", "python"):
        raise PlannerError(
            "KW501", VARIABLE, wanted, "auto, c or python", fix="unset it to let the planner choose"
        )
    if wanted == "python":
        return PYTHON
    from keepwarm_planner.kernel.build import BuildError
    from keepwarm_planner.kernel.native import built, load_or_build

    if wanted == "auto" and requests < WORTH_BUILDING and built() is None:
        return PYTHON
    try:
        native = load_or_build()
    except (BuildError, OSError) as e:
        if wanted == "c":
            raise PlannerError(
                "KW502",
                "C kernel",
                str(e),
                "a working C compiler",
                fix="install one, or use the Python kernel",
            ) from e
        return Kernel("python", note=f"C kernel not used: {e}")
    return Kernel("c", native=native)


def cores() -> int:
    """Cores that this process may use."""
    import os

    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
