"""Checks on what the tasks of a GPU service run on: capacity, instances, sizes, disks."""

import re
from typing import Any, NamedTuple

import pulumi

from keepwarm import limits
from keepwarm.checks.function import Architecture
from keepwarm.checks.inputs import Checks
from keepwarm.checks.problems import Problem, show
from keepwarm.checks.service import Capacity
from keepwarm.service import size as sizes

INSTANCE_TYPES = ("g6.xlarge",)
CPU_UNITS = 1024
MEMORY_MB = 2048
ROOT_VOLUME_GB = 100
SMALL = ("nano", "micro")
"""Sizes with no more memory than kernel and agent keep for themselves (1 GiB and less in every family)."""
INSTANCE_TYPE = r"[a-z][a-z0-9-]*\.[a-z0-9-]+"
CLUSTER = r"arn:aws[a-z-]*:ecs:[a-z0-9-]+:[0-9]{12}:cluster/[A-Za-z0-9_-]{1,255}"


class Spot(NamedTuple):
    """Share of the capacity that stays on demand."""

    on_demand_base: int
    on_demand_percent: int


class Size(NamedTuple):
    """What one task gets, and how many instances hold all tasks."""

    cpu_units: pulumi.Input[int]
    memory_mb: pulumi.Input[int]
    max_hosts: int


def gpus(checks: Checks[Any]) -> int:
    """GPUs of one task."""
    count: int = checks.number("gpus", 1, 0, 16, code="KW125", unit="GPUs", because="no instance has more")
    return count


def root_volume(checks: Checks[Any]) -> pulumi.Input[int]:
    """Root volume of an instance."""
    gigabytes: pulumi.Input[int] = checks.number(
        "root_volume_gb",
        ROOT_VOLUME_GB,
        30,
        16_384,
        code="KW151",
        unit="GB",
        because="the GPU image needs 30",
    )
    return gigabytes


def warm_instances(checks: Checks[Any], capacity: Capacity) -> int | None:
    """Stopped instances of the group's warm pool; only a group has one."""
    count: int | None = checks.number(
        "warm_instances", None, 0, 1000, code="KW127", unit="instances", because="it is a count"
    )
    if count is not None and capacity is not Capacity.ASG:
        fargate = capacity is Capacity.FARGATE
        checks.add(
            code="KW102",
            key="warm_instances",
            got="a warm pool",
            allowed="none on Fargate" if fargate else "'asg'",
            because="it has no instances" if fargate else "ECS manages these instances",
            fix="drop it",
        )
    return count


def ephemeral(checks: Checks[Any], capacity: Capacity) -> pulumi.Input[int] | None:
    """Disk of a task on Fargate."""
    size: pulumi.Input[int] | None = checks.number(
        "ephemeral_gb",
        None,
        limits.ECS_FARGATE_EPHEMERAL_MIN_GIB,
        limits.ECS_FARGATE_EPHEMERAL_MAX_GIB,
        code="KW105",
        unit="GiB",
        because="Fargate gives 20 without asking, and no more than 200",
    )
    if size is not None and capacity is not Capacity.FARGATE:
        checks.add(
            code="KW102",
            key="ephemeral_gb",
            got="a size",
            allowed="nothing on instances",
            because="their tasks write to the instance's disks",
            fix="set root_volume_gb, or drop it",
        )
    return size


def spot(checks: Checks[Any], given: Any, capacity: Capacity) -> Spot | None:
    """Spot capacity; ECS managed instances are all of one kind."""
    if given is None:
        return None
    base = checks.number(
        "on_demand_base",
        0,
        0,
        1000,
        code="KW127",
        unit="tasks or instances",
        because="it is a count",
        args=given,
        at="spot",
    )
    percent = checks.number(
        "on_demand_percent",
        0,
        0,
        99,
        code="KW127",
        unit="percent",
        because="without any spot capacity it is not needed",
        args=given,
        at="spot",
    )
    if capacity is Capacity.MANAGED and (base or percent):
        checks.add(
            code="KW102",
            key="spot",
            got="a mix with on-demand capacity",
            allowed="spot capacity only, or none, with 'managed'",
            because="a provider of managed instances launches one kind of capacity",
            fix="set spot to {}, or choose capacity 'asg'",
        )
    return Spot(base, percent)


def cluster(
    checks: Checks[Any], arn: pulumi.Input[str] | None, capacity: Capacity
) -> pulumi.Input[str] | None:
    """A cluster that exists already."""
    if arn is None:
        return None
    if capacity is Capacity.ASG:
        checks.add(
            code="KW102",
            key="cluster_arn",
            got="a cluster with capacity 'asg'",
            allowed="capacity 'managed' or 'fargate' in a cluster that exists",
            because="to let the group's provider in, the cluster's whole list of providers would be replaced",
            fix="leave cluster_arn out, or choose another capacity",
        )
    checked: pulumi.Input[str] = checks.text(
        "cluster_arn",
        arn,
        CLUSTER,
        code="KW140",
        allowed="the ARN of an ECS cluster",
        because="the service and its scaling name it",
        fix="pass cluster.arn",
    )
    return checked


def size(
    checks: Checks[Any],
    names: list[str],
    gpus: int,
    capacity: Capacity,
    architecture: Architecture,
    max_tasks: int,
) -> Size:
    """What one task gets, checked against what it runs on."""
    if capacity is Capacity.FARGATE:
        return _fargate_size(checks, gpus)
    instances = sizes.known_instances(names)
    if gpus:
        _check_gpu_types(checks, names, instances, gpus, architecture)
    else:
        _check_types(checks, names)
    fits = [instance for instance in instances if gpus and instance.gpus >= gpus]
    most = sizes.task_size(fits, gpus) if fits else sizes.TaskSize(1, CPU_UNITS, MEMORY_MB)
    because = (
        "the smallest of the instance types offers a task no more" if fits else "ECS takes no other size"
    )

    def share(key: str, default: int, low: int, unit: str) -> Any:
        ceiling = default if fits else 10_485_760
        return checks.number(key, default, low, ceiling, code="KW151", unit=unit, because=because)

    return Size(
        share("cpu_units", most.cpu_units, 128, "CPU units"),
        share("memory_mb", most.memory_mib, 6, "MB"),
        sizes.hosts_needed(max(max_tasks, 1), most.per_instance),
    )


def _fargate_size(checks: Checks[Any], gpus: int) -> Size:
    """One of the pairs of CPU and memory that Fargate has."""
    if gpus:
        checks.add(
            code="KW124",
            key="capacity",
            got=f"'fargate' with {gpus} GPUs",
            allowed="'asg' or 'managed' with GPUs",
            because="Fargate has no GPUs",
            fix="choose another capacity, or set gpus to 0",
        )
    pairs = limits.ECS_FARGATE_SIZES_MIB
    because = "Fargate has no other size"
    cpu = checks.number(
        "cpu_units", CPU_UNITS, min(pairs), max(pairs), code="KW151", unit="CPU units", because=because
    )
    memory = checks.number("memory_mb", MEMORY_MB, 512, 122_880, code="KW151", unit="MB", because=because)

    def exists(units: int) -> Problem | None:
        if units in pairs:
            return None
        return Problem(
            code="KW151",
            key="cpu_units",
            got=show(units),
            allowed=", ".join(f"{u:,}" for u in pairs),
            because=because,
            fix="take the next larger one",
        )

    def pairs_with(mib: int, units: int) -> Problem | None:
        if units not in pairs or mib in pairs[units]:
            return None
        have = pairs[units]
        step = f" in steps of {have[1] - have[0]:,}" if isinstance(have, range) else ""
        allowed = f"{have[0]:,} to {have[-1]:,}{step}" if step else ", ".join(f"{m:,}" for m in have)
        return Problem(
            code="KW151",
            key="memory_mb",
            got=f"{mib} with cpu_units {units}",
            allowed=f"{allowed} MB",
            because="Fargate pairs each CPU size with its own memory sizes",
            fix="take the next larger one, or other cpu_units",
        )

    cpu = checks.holds(exists, cpu)
    return Size(cpu, checks.holds(pairs_with, memory, cpu), 0)


def _check_types(checks: Checks[Any], names: list[str]) -> None:
    """Instance types of tasks without GPUs: no list of AWS's thousand types, but none that can't hold a task."""
    for index, name in enumerate(names):
        if re.fullmatch(INSTANCE_TYPE, name) is None or name.rpartition(".")[2] in SMALL:
            checks.add(
                code="KW125",
                key=f"instance_types[{index}]",
                got=show(name),
                allowed="a type such as m7i.large",
                because=f"it is no instance type, or leaves nothing beside the {sizes.HOST_RESERVE_MIB:,} MiB that "
                "kernel and agent keep",
                fix="choose a larger type",
            )


def _check_gpu_types(
    checks: Checks[Any],
    names: list[str],
    instances: list[limits.GpuInstance],
    gpus: int,
    architecture: Architecture,
) -> None:
    for name in names:
        if name not in limits.GPU_INSTANCES:
            checks.add(
                code="KW125",
                key="instance_types",
                got=show(name),
                allowed="a type with whole GPUs, such as g6.xlarge, g6e.2xlarge or p5.48xlarge",
                because="it has no GPU, or is not known",
                fix="choose one of keepwarm.limits.GPU_INSTANCES",
            )
    for instance in instances:
        if instance.gpus < gpus:
            checks.add(
                code="KW125",
                key="gpus",
                got=f"{gpus} on {instance.name}",
                allowed=f"up to {instance.gpus}",
                because="the instance has no more",
                fix="choose a larger type, or fewer GPUs",
            )
        if instance.architecture != architecture.value or instance.architecture == "arm64":
            checks.add(
                code="KW125",
                key="instance_types",
                got=f"'{instance.name}' ({instance.architecture})",
                allowed="x86_64 types for an x86_64 image",
                because="an image runs on its own instruction set, and ECS offers its GPU image for x86_64 only",
                fix="choose another type",
            )
