"""The function of the full model: its environments, placed by the runtime's decisions."""

from typing import TYPE_CHECKING

from keepwarm_planner.kernel.shape import S
from keepwarm_planner.model.control import Control
from keepwarm_planner.model.design import System, Workload
from keepwarm_planner.model.events import Draws, Loop

if TYPE_CHECKING:
    pass


class Environment:
    """An execution environment. `created` and `idle_since` are moments in seconds."""

    __slots__ = ("created", "idle_since", "provisioned")

    def __init__(self, created: float, provisioned: bool) -> None:
        self.created = created
        self.idle_since = created
        self.provisioned = provisioned


class Function:
    """Environments of the function, placed by the runtime's decisions."""

    def __init__(self, loop: Loop, system: System, workload: Workload, seed: str, lag_s: float) -> None:
        from keepwarm_runtime.scaling import BurstRate

        self.loop = loop
        self.d = system.design
        self.cold = Draws(workload.cold, f"{seed}/cold")
        self.control = Control(self.d, lag_s)
        self.size = self.control.size
        self.busy_provisioned = 0
        self.busy_on_demand = 0
        self.idle: list[Environment] = []
        self.stats = [0.0] * len(S)
        self.size_since = 0.0
        self.life = 0.0
        self.alive: set[Environment] = set()
        rate = self.d.burst_limit
        self.rate = BurstRate(int(rate), self.d.burst_window_s) if rate > 0.0 else None

    def _expire(self, now: float) -> None:
        from keepwarm_runtime.scaling import expired

        timeout = self.d.idle_timeout_s
        keep = []
        for env in self.idle:
            if expired(env.idle_since, now, timeout):
                self.stats[S.LIFE_OD] += env.idle_since + timeout - env.created
                self.alive.discard(env)
            else:
                keep.append(env)
        if len(keep) != len(self.idle):
            self.idle = keep

    def try_start(self, now: float) -> tuple[Environment, float] | None:
        """An environment and the cold delay before it works, or None when throttled."""
        from keepwarm_runtime.scaling import Placement, newest_idle, on_demand_limit, place

        if self.idle and self.idle[0].idle_since + self.d.idle_timeout_s <= now:
            self._expire(now)
        limit = on_demand_limit(self.d.max_concurrency, max(self.size, self.busy_provisioned))
        provisioned_idle = max(self.size - self.busy_provisioned, 0)
        decision = place(
            provisioned_idle=provisioned_idle,
            on_demand_idle=len(self.idle),
            on_demand_busy=self.busy_on_demand,
            on_demand_limit=limit,
            may_create=True,
        )
        if decision is Placement.COLD and self.rate is not None and not self.rate.try_take(now):
            decision = Placement.THROTTLE_RATE
        if decision is Placement.PROVISIONED:
            self.busy_provisioned += 1
            self.stats[S.PROVISIONED] += 1
            return Environment(now, provisioned=True), 0.0
        if decision is Placement.WARM:
            env = newest_idle(self.idle, _created)
            self.idle.remove(env)
            self.busy_on_demand += 1
            self.stats[S.WARM] += 1
            return env, 0.0
        if decision is Placement.COLD:
            delay = self.cold.one()
            self.busy_on_demand += 1
            self.stats[S.COLD] += 1
            self.stats[S.COLD_S] += delay
            env = Environment(now, provisioned=False)
            self.alive.add(env)
            return env, delay
        self.stats[S.REJECTED_RATE if decision is Placement.THROTTLE_RATE else S.REJECTED_LIMIT] += 1
        return None

    def release(self, env: Environment, now: float, worked_s: float) -> None:
        """The environment answered after `worked_s` seconds of billed work."""
        if env.provisioned:
            self.busy_provisioned -= 1
            self.stats[S.BUSY_PROVISIONED] += worked_s
            return
        self.busy_on_demand -= 1
        self.stats[S.BUSY_OD] += worked_s
        env.idle_since = now
        # by idle time, so that the first to expire stands first
        self.idle.append(env)

    def tick(self, now: float) -> None:
        """Schedules and target tracking, once a minute."""
        if not self.control.acts:
            return
        self._settle(now)
        size = self.control.step(now, self.stats)
        if size is not None:
            self.size = size

    def _settle(self, now: float) -> None:
        self.stats[S.PROVISIONED_S] += self.size * (now - self.size_since)
        self.size_since = now

    def finish(self, now: float) -> None:
        """Closes the books."""
        self._settle(now)
        for env in self.alive:
            until = now if env not in self.idle else min(env.idle_since + self.d.idle_timeout_s, now)
            self.stats[S.LIFE_OD] += until - env.created


def _created(env: Environment) -> float:
    return env.created
