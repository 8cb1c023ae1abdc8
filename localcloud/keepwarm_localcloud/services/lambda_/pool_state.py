"""What the pools keep: provisioned concurrency, fleets on demand, and what is lent."""

from collections.abc import Callable
from dataclasses import dataclass, field

from keepwarm_localcloud.services.lambda_.environment import Environment
from keepwarm_localcloud.services.lambda_.launch import Launch
from keepwarm_runtime.scaling import Placement

Key = tuple[str, str]
"""Version number and revision: an update of $LATEST leaves its old environments behind."""


@dataclass(eq=False, slots=True)
class Provisioned:
    """Provisioned concurrency of one alias or version, for one version of the code."""

    function: str
    qualifier: str
    version: str
    launch: Launch
    requested: int
    modified: str
    idle: list[Environment] = field(default_factory=list)
    busy: set[Environment] = field(default_factory=set)
    starting: int = 0
    status: str = "IN_PROGRESS"
    reason: str = ""
    closed: bool = False
    replaces: "Provisioned | None" = None
    """The version that serves until this one is READY."""
    on_ready: Callable[[], None] = lambda: None

    @property
    def allocated(self) -> int:
        """Environments that are initialized."""
        return len(self.idle) + len(self.busy)


@dataclass(slots=True)
class State:
    """What runs of one function."""

    running: int = 0
    """Invocations on demand."""
    fleets: dict[Key, list[Environment]] = field(default_factory=dict)
    provisioned: dict[str, Provisioned] = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class Lease:
    """An environment lent to one invocation."""

    environment: Environment
    placement: Placement
    function: str
    key: Key
    spillover: bool = False
    provisioned: Provisioned | None = None
    utilization: float | None = None
    """Share of the qualifier's provisioned concurrency in use with this invocation; None without any."""


def provisioned_total(state: State) -> int:
    """Provisioned concurrency asked for, over all qualifiers of a function."""
    return sum(p.requested for p in state.provisioned.values())
