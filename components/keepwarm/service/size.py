"""Arithmetic of a GPU service: tasks per instance, size of a task."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from keepwarm.limits import GPU_INSTANCES, GpuInstance

HOST_RESERVE_MIB = 1024
"""Memory left to kernel, agent and driver: ECS registers less than the instance has
(https://docs.aws.amazon.com/AmazonECS/latest/developerguide/memory-management.html)."""
HOST_RESERVE_SHARE = 0.05
CPU_UNITS = 1024


class TaskSize(NamedTuple):
    """What one task gets on the smallest of the allowed instances."""

    per_instance: int
    cpu_units: int
    memory_mib: int


def task_size(instances: Sequence[GpuInstance], gpus: int) -> TaskSize:
    """The largest task that `gpus` of each of these instances leave room for, whichever of them is launched."""
    sizes = []
    for instance in instances:
        count = instance.gpus // gpus
        room = instance.memory_mib - max(
            HOST_RESERVE_MIB, math.ceil(instance.memory_mib * HOST_RESERVE_SHARE)
        )
        sizes.append((count, instance.vcpus * CPU_UNITS // count, room // count))
    return TaskSize(
        min(count for count, _, _ in sizes),
        min(cpu for _, cpu, _ in sizes),
        min(memory for _, _, memory in sizes),
    )


def hosts_needed(tasks: int, per_instance: int) -> int:
    """Instances that hold `tasks`, and one more so that a deployment can start its first new task."""
    return math.ceil(tasks / per_instance) + 1


def known_instances(names: Sequence[str]) -> list[GpuInstance]:
    """The instances of the table among `names`."""
    return [GPU_INSTANCES[name] for name in names if name in GPU_INSTANCES]
