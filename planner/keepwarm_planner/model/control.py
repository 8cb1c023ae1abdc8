"""Schedules and target tracking of a warm pool, minute by minute."""

from collections.abc import Sequence

from keepwarm_planner.kernel.shape import S
from keepwarm_planner.model.design import Design


class Control:
    """Schedules and target tracking of one design in one replication."""

    def __init__(self, design: Design, lag_s: float) -> None:
        self.d = design
        self.lag = lag_s
        self.size = design.scheduled(0.0)
        self.pending: list[tuple[float, int]] = []
        self.points: list[float | None] = []
        self.last_out: float | None = None
        self.last_in: float | None = None
        self.busy_before = 0.0
        self.size_s_before = 0.0
        self.acts = bool(design.schedule) or design.tracking is not None

    def step(self, now: float, stats: Sequence[float]) -> int | None:
        """New size from now on, or None. `stats` are the core's cumulative figures now."""
        d = self.d
        wanted = d.scheduled(now)
        if d.tracking is not None:
            from keepwarm_runtime.scaling import TargetTracking, track

            held = stats[S.PROVISIONED_S] - self.size_s_before
            used = stats[S.BUSY_PROVISIONED] - self.busy_before
            self.busy_before, self.size_s_before = stats[S.BUSY_PROVISIONED], stats[S.PROVISIONED_S]
            self.points.append(min(used / held, 1.0) if held > 0.0 else None)
            del self.points[:-15]
            minimum = max(d.tracking.environments, wanted)
            policy = TargetTracking(
                target=d.tracking.target_utilization,
                minimum=minimum,
                maximum=max(d.tracking.max_environments, minimum),
            )
            current = self.pending[-1][1] if self.pending else self.size
            wanted = track(
                policy, current, self.points, now_s=now, last_out_s=self.last_out, last_in_s=self.last_in
            )
            if wanted > current:
                self.last_out = now
            elif wanted < current:
                self.last_in = now
        newest = self.pending[-1][1] if self.pending else self.size
        if wanted != newest:
            # scaling in takes effect at once, scaling out when the environments are ready
            self.pending.append((now if wanted < newest else now + self.lag, wanted))
        due = [size for at, size in self.pending if at <= now]
        if not due:
            return None
        self.pending = [(at, size) for at, size in self.pending if at > now]
        self.size = due[-1]
        return self.size
