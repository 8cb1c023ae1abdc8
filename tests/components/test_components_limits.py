"""The limits agree with themselves and with what the SDKs know of AWS.

Not proved: that AWS has not changed a limit since; every figure names the page to look at.
"""

import gzip
import itertools
import json
from pathlib import Path
from typing import Any

import moto.ec2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pulumi_aws import lambda_

from keepwarm import limits
from keepwarm.service import size as sizes

DESCRIBED = Path(moto.ec2.__file__).parent / "resources" / "instance_types.json.gz"


def described() -> dict[str, Any]:
    """What DescribeInstanceTypes answered when moto recorded it."""
    with gzip.open(DESCRIBED) as file:
        found: dict[str, Any] = json.load(file)
    return found


def test_given_the_gpu_table_when_compared_with_describe_instance_types_then_every_figure_agrees() -> None:
    recorded = described()
    for name, row in limits.GPU_INSTANCES.items():
        assert row.name == name
        facts = recorded[name]
        gpu = facts["GpuInfo"]["Gpus"][0]
        disks = facts.get("InstanceStorageInfo", {}).get("Disks", [])
        assert (row.gpus, row.gpu_model, row.gpu_memory_mib) == (
            gpu["Count"],
            gpu["Name"],
            gpu["MemoryInfo"]["SizeInMiB"],
        ), name
        assert (row.vcpus, row.memory_mib) == (
            facts["VCpuInfo"]["DefaultVCpus"],
            facts["MemoryInfo"]["SizeInMiB"],
        ), name
        assert row.nvme_gb == facts.get("InstanceStorageInfo", {}).get("TotalSizeInGB", 0), name
        assert row.nvme_disks == sum(disk["Count"] for disk in disks), name
        assert facts["ProcessorInfo"]["SupportedArchitectures"] == [row.architecture], name


def test_given_the_families_of_the_design_when_looked_up_then_they_are_there() -> None:
    families = {name.split(".")[0] for name in limits.GPU_INSTANCES}
    assert {"g4dn", "g5", "g6", "g6e", "p4d", "p5"} <= families


def test_given_the_runtimes_when_compared_with_the_sdk_then_each_exists() -> None:
    sdk = {runtime.value for runtime in lambda_.Runtime}
    assert sdk >= limits.LAMBDA_RUNTIMES
    assert limits.LAMBDA_RUNTIMES >= limits.SNAPSTART_RUNTIMES


def test_given_the_ranges_when_compared_then_lower_bounds_lie_below_upper_ones() -> None:
    values = vars(limits)
    pairs = [(k, k.replace("_MIN_", "_MAX_")) for k in values if "_MIN_" in k]
    pairs += [(k, k.removesuffix("_MIN") + "_MAX") for k in values if k.endswith("_MIN")]
    compared = [(low, high) for low, high in pairs if high in values]
    assert len(compared) >= 8
    assert all(values[low] < values[high] for low, high in compared)


def test_given_sizes_when_named_in_bytes_then_they_are_whole_kibibytes() -> None:
    sizes = {k: v for k, v in vars(limits).items() if k.endswith("_BYTES") and v >= 4096}
    assert len(sizes) >= 10
    assert all(value % 1024 == 0 for value in sizes.values())


@pytest.mark.parametrize(
    ("types", "gpus", "expected"),
    [
        (["g6.xlarge"], 1, sizes.TaskSize(1, 4096, 15_360)),
        (["g6.12xlarge"], 1, sizes.TaskSize(4, 12_288, 46_694)),
        (["g6.12xlarge", "g5.xlarge"], 1, sizes.TaskSize(1, 4096, 15_360)),
        (["p5.48xlarge"], 8, sizes.TaskSize(1, 196_608, 1_992_294)),
    ],
)
def test_given_instances_when_a_task_is_sized_then_it_fits_the_smallest(
    types: list[str], gpus: int, expected: sizes.TaskSize
) -> None:
    assert sizes.task_size(sizes.known_instances(types), gpus) == expected


@given(name=st.sampled_from(sorted(limits.GPU_INSTANCES)), data=st.data())
def test_given_any_instance_when_filled_with_tasks_then_cpu_memory_and_gpus_suffice(
    name: str, data: st.DataObject
) -> None:
    row = limits.GPU_INSTANCES[name]
    gpus = data.draw(st.integers(1, row.gpus))
    size = sizes.task_size([row], gpus)
    assert size.per_instance * gpus <= row.gpus
    assert size.per_instance * size.cpu_units <= row.vcpus * 1024
    assert size.per_instance * size.memory_mib <= row.memory_mib - sizes.HOST_RESERVE_MIB


@given(
    per_task=st.integers(1, 1000),
    desired=st.integers(0, 60),
    most=st.integers(1, 400),
    backlog=st.integers(1, 500_000),
)
def test_given_any_backlog_when_it_grows_then_what_is_missing_is_added(
    per_task: int, desired: int, most: int, backlog: int
) -> None:
    steps = limits.growth_steps(most)
    assert 1 <= len(steps) <= limits.SCALING_STEPS_MAX
    assert (steps[0].lower, steps[-1].upper) == (0, None)
    for before, after in itertools.pairwise(steps):
        assert before.upper == after.lower
        assert before.tasks < after.tasks
    missing = limits.missing_tasks(backlog, per_task, desired)
    assert (desired + missing) * per_task >= backlog
    breach = missing - 1  # the alarm's threshold is 1
    for step in steps:
        assert step.tasks >= 1, "no step takes a task away"
        if step.lower <= breach and (step.upper is None or breach < step.upper):
            assert step.tasks >= min(missing, most), "never too few"
