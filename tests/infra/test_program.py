"""What the program declares for each stack, against a fake engine and tiny bundles.

Does not prove that a cloud takes it: tests/e2e deploys `local`, tests/engine all three.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra import bundles
from infra.program import BuildFailed, build, deploy
from infra.settings import Settings
from keepwarm_build import BundleError
from tests.support.deployed import DEFAULT_VPC, Deployed
from tests.support.deployed import deploy as run
from tests.support.tiny_build import tiny_build

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).with_name("program_urns.golden.json")
FUNCTION = "aws:lambda/function:Function"
LOOKUPS: dict[str, dict[str, Any]] = {
    **DEFAULT_VPC,
    "aws:ssm/getParameter:getParameter": {"value": "ami-0123456789abcdef0"},
    "aws:ec2/getRouteTables:getRouteTables": {"ids": ["rtb-0aaa"]},
}


def settings_of(stack: str, **changes: Any) -> Settings:
    config = yaml.safe_load((ROOT / "stacks" / f"Pulumi.{stack}.yaml").read_text())["config"]
    raw = {k.split(":", 1)[1]: v for k, v in config.items() if k.startswith("keepwarm:")}
    for section, values in changes.items():
        raw[section] = {**raw.get(section, {}), **values} if values is not None else None
    raw = {section: values for section, values in raw.items() if values is not None}
    return Settings.load({k: json.dumps(v) for k, v in raw.items()}, stack)


@pytest.fixture
def built(tmp_path: Path) -> bundles.Build:
    return tiny_build(tmp_path)


def declared(built: bundles.Build, settings: Settings) -> Deployed:
    return run(lambda: deploy(settings, built), lookups=LOOKUPS)


@pytest.mark.parametrize("stack", ["local", "dev", "prod"])
def test_golden_urns_of_every_stack(stack: str, built: bundles.Build) -> None:
    seen = declared(built, settings_of(stack))
    # The digest in a blob's name follows the fixture's models; the shape is the contract.
    urns = sorted({u for u in seen.urns if "models-blob" not in u})
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if os.environ.get("KEEPWARM_GOLDEN") == "write":
        GOLDEN.write_text(json.dumps({**golden, stack: urns}, indent=1, sort_keys=True) + "\n")
        golden[stack] = urns
    assert urns == golden[stack], (
        "review the change, then run `make golden`; a renamed URN is a replaced resource"
    )


def test_given_the_local_stack_then_every_caller_uses_the_alias(built: bundles.Build) -> None:
    seen = declared(built, settings_of("local"))
    [source] = [r for r in seen.resources if r.typ.endswith("EventSourceMapping")]
    [pool] = [r for r in seen.resources if r.typ.endswith("ProvisionedConcurrencyConfig")]
    [machine] = [r for r in seen.resources if r.typ.endswith("StateMachine")]

    assert source.inputs["functionName"].endswith(":live")
    assert pool.inputs["qualifier"] == "live"
    states = json.loads(machine.inputs["definition"])["States"]
    called = [s["Resource"] for s in states.values() if ":function:" in s.get("Resource", "")]
    assert called
    assert all(arn.endswith(":live") for arn in called)


def test_given_the_settings_then_the_numbers_reach_their_resources(built: bundles.Build) -> None:
    seen = declared(
        built,
        settings_of(
            "dev", functions={"classify": {"memory_mb": 777, "timeout_s": 20}}, queue={"max_concurrency": 7}
        ),
    )
    [classify] = [r for r in seen.resources if r.typ == FUNCTION and r.name.startswith("documents-classify")]
    [source] = [r for r in seen.resources if r.typ.endswith("EventSourceMapping")]
    jobs = next(r for r in seen.resources if r.typ.endswith("queue:Queue") and "redrivePolicy" in r.inputs)

    assert (classify.inputs["memorySize"], classify.inputs["timeout"]) == (777, 20)
    assert classify.inputs["runtime"] == "python3.12"
    assert source.inputs["scalingConfig"] == {"maximumConcurrency": 7}
    # AWS asks for six times the function's timeout and the batch window: two deliveries must not overlap.
    assert jobs.inputs["visibilityTimeoutSeconds"] == 120


def test_given_a_region_with_prices_then_the_dashboard_has_a_cost_graph(built: bundles.Build) -> None:
    seen = declared(built, settings_of("local"))
    [board] = [r.inputs for r in seen.resources if r.typ.endswith("Dashboard")]
    titles = [w["properties"]["title"] for w in json.loads(board["dashboardBody"])["widgets"]]

    assert "Cost of functions (USD per period)" in titles


def test_given_the_sizes_of_the_reader_then_its_server_is_told(built: bundles.Build) -> None:
    seen = declared(built, settings_of("local", service={"concurrency_per_task": 5, "max_batch": 3}))
    [task] = [r.inputs for r in seen.resources if r.typ.endswith("TaskDefinition")]
    [container] = json.loads(task["containerDefinitions"])
    told = {e["name"]: e["value"] for e in container["environment"]}

    assert (told["KEEPWARM_BATCH_MAX"], told["KEEPWARM_QUEUE_MAX"]) == ("3", "10")


@pytest.mark.parametrize("stack", ["dev"])
def test_given_no_gpu_service_then_no_part_of_it_is_left(stack: str, built: bundles.Build) -> None:
    seen = declared(built, settings_of(stack))

    assert not [
        n for n in seen.names() if n[0].startswith(("aws:ecs", "aws:servicediscovery", "aws:autoscaling"))
    ]
    assert sorted(r.name.split("-")[1] for r in seen.resources if r.typ == FUNCTION) == [
        "classify",
        "enrich",
        "extract",
        "publish",
    ]


def test_given_no_warm_pool_then_no_environment_is_kept(built: bundles.Build) -> None:
    seen = declared(built, settings_of("dev", warm_pool=None))

    assert not [
        n for n in seen.names() if "ProvisionedConcurrency" in n[0] or n[0].startswith("aws:appautoscaling")
    ]


def test_given_the_prod_stack_then_data_outlives_it_and_the_service_scales_from_zero(
    built: bundles.Build,
) -> None:
    seen = declared(built, settings_of("prod"))
    buckets = [name for kind, name in seen.names() if kind == "aws:s3/bucket:Bucket"]

    assert buckets
    assert all(seen.told("aws:s3/bucket:Bucket", name).retained for name in buckets)
    targets = [r.inputs for r in seen.resources if r.typ == "aws:appautoscaling/target:Target"]
    assert {"ecs"} <= {t["serviceNamespace"] for t in targets}
    [service] = [t for t in targets if t["serviceNamespace"] == "ecs"]
    assert (service["minCapacity"], service["maxCapacity"]) == (0, 6)


def test_given_a_bundle_that_cant_be_built_then_one_coded_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**options: Any) -> bundles.Build:
        raise BundleError("KW193", "uv", "nothing", allowed="uv", because="it resolves", fix="install uv")

    monkeypatch.setattr(bundles, "build_all", refuse)
    with pytest.raises(BuildFailed) as caught:
        build(Settings.load({}))
    assert str(caught.value) == "KW193 uv: got nothing; allowed uv; because it resolves; fix: install uv"
