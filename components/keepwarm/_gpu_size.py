"""Arithmetic of a GPU service: tasks per instance, size of a task, tasks for a backlog."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from keepwarm.limits import GPU_INSTANCES, SCALING_STEPS_MAX, GpuInstance

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


class Step(NamedTuple):
    """Tasks to run while the backlog lies in an interval, relative to the alarm's threshold of 1."""

    lower: float
    upper: float | None
    tasks: int


def steps(per_task: int, least: int, most: int) -> list[Step]:
    """Steps of an exact-capacity policy: one task per `per_task` of backlog, between `least` (at least 1) and `most`.

    Application Auto Scaling takes 20 steps, so larger services grow by several tasks at once, never by too few.
    """
    least = max(least, 1)
    if most <= least:
        return [Step(0, None, most)]
    stride = math.ceil((most - least + 1) / SCALING_STEPS_MAX)
    sizes = list(range(least, most, stride))
    sizes = [min(size + stride - 1, most) for size in sizes]
    if sizes[-1] < most:
        sizes.append(most)
    edges = [size * per_task for size in sizes[:-1]]
    bounds = [0.0, *(float(edge) for edge in edges)]
    return [
        Step(bounds[index], bounds[index + 1] if index + 1 < len(bounds) else None, size)
        for index, size in enumerate(sizes)
    ]


def known_instances(names: Sequence[str]) -> list[GpuInstance]:
    """The instances of the table among `names`."""
    return [GPU_INSTANCES[name] for name in names if name in GPU_INSTANCES]
