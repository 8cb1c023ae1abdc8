"""A stack that an earlier program deployed is updated by this one: nothing that holds data or serves is replaced.

`former/` holds the states that the program before `ServerlessRuntime` left, exported from the real CLI for each stack
file. Proved: the plan that the engine makes of them, on URNs, aliases and every property's diff. Not proved: the update
itself; the resources of those states live in no cloud here.
"""

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine.test_engine_stack import Stack, settings

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(900)]

FORMER = Path(__file__).parent / "former"
UPGRADING = Path(__file__).parents[2] / "docs" / "upgrading.md"


@pytest.fixture(scope="module")
def stacks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    made = Stack(tmp_path_factory.mktemp("stacks"))
    yield made
    made.close()


def default_network(stacks: Stack) -> dict[str, list[str]]:
    """Ids of the cloud's default VPC, which differ from cloud to cloud."""
    ec2: Any = stacks.boto("ec2")
    vpc = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]["VpcId"]
    inside = [{"Name": "vpc-id", "Values": [vpc]}]
    subnets = ec2.describe_subnets(Filters=inside)["Subnets"]
    tables = ec2.describe_route_tables(Filters=inside)["RouteTables"]
    return {
        "vpc": [vpc],
        "subnet": sorted(subnet["SubnetId"] for subnet in subnets),
        "rtb": sorted(table["RouteTableId"] for table in tables),
    }


def former_state(stack: str, network: dict[str, list[str]]) -> str:
    """The state of an earlier program, in the default VPC of this cloud."""
    text = gzip.decompress((FORMER / f"{stack}.json.gz").read_bytes()).decode()
    for kind, now in network.items():
        then = sorted(set(re.findall(rf'"({kind}-[0-9a-f]{{8,17}})"', text)))
        assert len(then) <= len(now)
        for old, new in zip(then, now, strict=False):
            text = text.replace(old, new)
    return text


def by_design(heading: str) -> set[str]:
    """Types that the page lists under a heading."""
    section = UPGRADING.read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    return set(re.findall(r"^- `(\w+)`", section, re.MULTILINE))


@pytest.mark.parametrize("stack", ["local", "dev", "prod"])
def test_given_a_former_state_then_only_immutable_versions_are_replaced(
    stacks: Stack, stack: str, tmp_path: Path
) -> None:
    stacks.stack_file(stack, settings(stack))
    stacks.must("preview", stack=stack)
    state = tmp_path / "state.json"
    state.write_text(former_state(stack, default_network(stacks)))
    stacks.must("stack", "import", "--stack", stack, "--file", str(state))

    plan = stacks.must("preview", stack=stack).changed()

    former = {
        r["urn"].rpartition("::")[2]
        for r in json.loads(state.read_text())["deployment"]["resources"]
        if r["type"].startswith("aws:") and not r["type"].startswith("pulumi:")
    }
    assert len(former) > 80
    for operation, heading in (("replace", "What is replaced"), ("delete", "What goes")):
        found = {name for name, planned in plan.items() if planned == operation}
        assert {name.split()[0] for name in found} <= by_design(heading), sorted(found)
