"""What a sleeping service tells those who wait for it, and the workflow that must outlast it.

The figures are allowances; tests/e2e shows a wake-up of processes, nothing here shows one of instances.
"""

from typing import Any

import pytest

import keepwarm as kw
from tests.support.deployed import DEFAULT_VPC, deploy, refusal
from tests.support.samples import IMAGE, steps

PATH = kw.NetworkPath.NAT


def reader(**args: Any) -> kw.GpuService:
    given: Any = {"image": IMAGE, "network_path": PATH, "vpc_id": "vpc-1", "subnet_ids": ["a", "b"], **args}
    return kw.GpuService("reader", given)


@pytest.mark.parametrize(
    ("args", "wake_s"),
    [
        ({}, 60 + 60 + 60 + 150 + 120 + 300),
        ({"warm_instances": 1}, 60 + 60 + 60 + 60 + 300),
        ({"start_s": 90, "signal_period_s": 120}, 120 + 60 + 60 + 150 + 120 + 90),
        ({"gpus": 0, "capacity": kw.Capacity.FARGATE, "start_s": 30}, 60 + 60 + 60 + 30),
        ({"min_tasks": 1}, 0),
    ],
)
def test_given_a_service_when_bound_then_its_wake_is_the_sum_of_its_parts(
    args: dict[str, Any], wake_s: float
) -> None:
    found: list[Any] = []
    deploy(lambda: found.append(reader(**args).binding()["wake_s"]), lookups=DEFAULT_VPC)
    assert found == [wake_s]


def test_given_a_sleeping_service_when_the_deadline_is_short_then_the_workflow_refuses() -> None:
    def early() -> None:
        kw.DurableWorkflow("d", {"functions": steps(), "deadline_s": 900, "service": reader().binding()})

    assert refusal(early).startswith(
        "KW156 DurableWorkflow 'd' deadline_s: got 900 s; allowed more than 1230 s; "
    )
