"""What ECS tells CloudWatch about services every minute.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/available-metrics.html and, where Container Insights is on,
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Container-Insights-metrics-ECS.html
"""

import os
from dataclasses import dataclass
from pathlib import Path

from keepwarm_localcloud.services.ecs.model import STARTING, EcsServiceRecord, Task
from keepwarm_localcloud.services.ecs.owner import Owner

PERIOD_S = 60.0
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds used so far and resident bytes of a process group."""

    cpu_s: float
    memory_bytes: int


def usage_of(groups: set[int]) -> Usage:
    """Add up every process of these process groups."""
    cpu_s, memory = 0.0, 0
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            fields = Path(entry.path, "stat").read_text().rpartition(")")[2].split()
        except OSError:
            # It ended while we looked.
            continue
        if int(fields[2]) in groups:
            cpu_s += (int(fields[11]) + int(fields[12])) / _TICKS
            memory += int(fields[21]) * _PAGE
    return Usage(cpu_s, memory)


class ServiceMetrics:
    """Publishes utilization and counts; called under the service's lock."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._last: dict[str, tuple[float, dict[str, float]]] = {}

    def publish(self, now_s: float) -> None:
        """One minute's data of every active service."""
        for record in self._owner.services.values():
            if record.status == "ACTIVE":
                self._one(record, now_s)

    def _one(self, record: EcsServiceRecord, now_s: float) -> None:
        tasks = [t for t in self._owner.tasks.values() if t.service == record.arn and t.status != "STOPPED"]
        running = [t for t in tasks if t.status == "RUNNING"]
        cluster = self._owner.clusters[record.cluster]
        dimensions = {"ClusterName": cluster.name, "ServiceName": record.name}
        put = self._owner.context.logs.metric
        if any(s["name"] == "containerInsights" and s["value"] != "disabled" for s in cluster.settings):
            counts = {
                "DesiredTaskCount": record.desired,
                "RunningTaskCount": len(running),
                "PendingTaskCount": sum(t.status in STARTING for t in tasks),
            }
            for name, value in counts.items():
                put("ECS/ContainerInsights", name, value, unit="Count", dimensions=dimensions, at_s=now_s)
        cpu, memory = self._utilization(record.arn, running, now_s)
        if cpu:
            put("AWS/ECS", "CPUUtilization", cpu, unit="Percent", dimensions=dimensions, at_s=now_s)
        if memory:
            put("AWS/ECS", "MemoryUtilization", memory, unit="Percent", dimensions=dimensions, at_s=now_s)

    def _utilization(self, arn: str, running: list[Task], now_s: float) -> tuple[list[float], list[float]]:
        """Per task: percent of the CPU and memory its definition asks for."""
        before_s, before = self._last.get(arn, (now_s, {}))
        after: dict[str, float] = {}
        cpu, memory = [], []
        for task in running:
            usage = usage_of({c.pid for c in task.containers if c.pid is not None})
            need = task.definition.needs
            after[task.identity] = usage.cpu_s
            if need.memory_mib:
                memory.append(usage.memory_bytes / 2**20 / need.memory_mib * 100)
            used = usage.cpu_s - before.get(task.identity, usage.cpu_s)
            if task.identity in before and now_s > before_s and need.cpu:
                cpu.append(used / (now_s - before_s) / (need.cpu / 1024) * 100)
        self._last[arn] = (now_s, after)
        return cpu, memory
