"""The example program, as each of its stacks declares it, passes every rule; and taking one guard away is noticed.

References between resources are those that the program really made, so this also proves that rules can follow them.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from pulumi_policy import PolicyResource, StackValidationArgs
from pulumi_policy.proxy import unknown_checking_proxy

from infra import bundles
from infra.program import deploy
from infra.settings import Settings
from keepwarm_policies import RULES
from tests.support.deployed import DEFAULT_VPC, Deployed
from tests.support.deployed import deploy as run
from tests.support.tiny_build import tiny_build

ROOT = Path(__file__).parents[2]
LOOKUPS: dict[str, dict[str, Any]] = {
    **DEFAULT_VPC,
    "aws:ssm/getParameter:getParameter": {"value": "ami-0123456789abcdef0"},
    "aws:ec2/getRouteTables:getRouteTables": {"ids": ["rtb-0aaa"]},
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> bundles.Build:
    return tiny_build(tmp_path_factory.mktemp("built"))


def declared(stack: str, built: bundles.Build) -> Deployed:
    config = yaml.safe_load((ROOT / "stacks" / f"Pulumi.{stack}.yaml").read_text())["config"]
    raw = {k.split(":", 1)[1]: json.dumps(v) for k, v in config.items() if k.startswith("keepwarm:")}
    return run(lambda: deploy(Settings.load(raw, stack), built), lookups=LOOKUPS)


def as_policies_see(seen: Deployed) -> list[PolicyResource]:
    inputs = {(r.typ, r.name): dict(r.inputs) for r in seen.resources}
    resources: dict[str, PolicyResource] = {}
    for (kind, name), told in seen.registered.items():
        props = unknown_checking_proxy(inputs.get((kind, name), {}))
        resources[told.urn] = PolicyResource(kind, props, told.urn, name, None, None, None, [], {})  # type: ignore[arg-type]
    for told in seen.registered.values():
        for prop, dependencies in told.options.propertyDependencies.items():
            found = [resources[urn] for urn in dependencies.urns if urn in resources]
            resources[told.urn].property_dependencies[prop] = found
    return list(resources.values())


def said(resources: list[PolicyResource]) -> list[str]:
    heard: list[str] = []
    for rule in RULES:
        rule.validate(StackValidationArgs(resources), lambda message, urn=None: heard.append(message))
    return heard


@pytest.mark.parametrize("stack", ["local", "dev", "prod"])
def test_given_a_committed_stack_then_no_rule_speaks(stack: str, built: bundles.Build) -> None:
    assert said(as_policies_see(declared(stack, built))) == []


def test_given_the_stack_without_alarms_then_the_budget_rule_speaks(built: bundles.Build) -> None:
    resources = [r for r in as_policies_see(declared("local", built)) if "metricAlarm" not in r.resource_type]

    assert [s[:5] for s in said(resources)] == ["KW201"]


def test_given_the_event_source_without_a_bound_then_the_storm_rule_speaks(built: bundles.Build) -> None:
    resources = as_policies_see(declared("local", built))
    for source in resources:
        if source.resource_type.endswith("EventSourceMapping"):
            source.props = unknown_checking_proxy(
                {k: v for k, v in source.props.items() if k != "scalingConfig"}
            )

    assert [s[:5] for s in said(resources)] == ["KW202"]
