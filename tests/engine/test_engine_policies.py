"""The policy pack run by the real CLI, in preview and in up, against the embedded cloud.

Proves: the example stack as each committed stack file declares it passes; each of the six mistakes is told at preview
in the words of its rule; a mandatory violation stops an up before anything is created; the pack's configuration exempts
by URN and reason. Does not prove the rules' edges; tests/policies does.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pulumi
import pulumi_aws as aws
import pytest
import yaml

from infra import bundles
from infra.program import deploy
from infra.settings import Settings
from keepwarm import BurstQueue, Observability, PreprocessingFunction, SideEffects
from tests.support.engine import Project, Result
from tests.support.samples import code
from tests.support.tiny_build import tiny_build

pytestmark = [pytest.mark.engine, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
PACK = str(ROOT / "policies")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    made = Project(tmp_path_factory.mktemp("policies"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> bundles.Build:
    return tiny_build(tmp_path_factory.mktemp("built"))


@pytest.fixture(autouse=True)
def nothing_stays(project: Project) -> Iterator[None]:
    yield
    if project.checkpoint().get("resources"):
        project.must("destroy", program=lambda: None)
    assert project.inventory() == {}


def unbounded(args: pulumi.ResourceTransformArgs) -> pulumi.ResourceTransformResult | None:
    """Take away the bound of a queue's consumer, as someone who knows better might."""
    if not args.type_.endswith("EventSourceMapping"):
        return None
    props = {k: v for k, v in args.props.items() if k != "scalingConfig"}
    return pulumi.ResourceTransformResult(props, args.opts)


def stack(*, bounded: bool = True) -> None:
    """A classifier behind a queue, watched and bounded; or without its bound."""
    queue = BurstQueue("burst", {"consumer_timeout_s": 30, "max_concurrency": 2})
    classify = PreprocessingFunction(
        "classify",
        {
            "code": code(),
            "runtime": "python3.11",
            "timeout_s": 30,
            "queue": queue.binding(),
            "side_effects": SideEffects.NONE,
            "model": {
                "bucket": "models",
                "bucket_arn": "arn:aws:s3:::models",
                "ref": "magika@sha256:" + "b" * 64,
                "size_mb": 3,
            },
        },
        pulumi.ResourceOptions(transforms=[] if bounded else [unbounded]),
    )
    budgets = {"fetch": 500, "verify": 100, "load": 500, "total": 2000}
    Observability("observe", {"functions": {"classify": classify.function_name}, "budgets_ms": budgets})


STORM = (
    "KW202 The function 'classify-function' must bound how many environments download its model at once, got neither"
    " reserved concurrency nor a maximum concurrency on its event source."
)


def said(result: Result) -> str:
    """The output without its line breaks."""
    return " ".join(result.text.split())


def six_mistakes() -> None:
    """One resource for each of the six common mistakes, raw, as a stack without our components has them."""
    trust = json.dumps({"Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"},
                                       "Action": "sts:AssumeRole"}]})  # fmt: skip
    role = aws.iam.Role("role", assume_role_policy=trust)

    def function(name: str, **more: Any) -> aws.lambda_.Function:
        return aws.lambda_.Function(
            name, role=role.arn, handler="handler.handler", runtime="python3.11", code=code(), **more
        )

    jobs = aws.sqs.Queue("jobs")
    loads = function("loads", environment={"variables": {"KEEPWARM_MODEL_REF": "magika:live"}},
                     tags={"keepwarm:side-effects": "none"})  # fmt: skip
    aws.lambda_.EventSourceMapping("feeds", function_name=loads.arn, event_source_arn=jobs.arn)
    function("calls", environment={"variables": {"KEEPWARM_SERVICE_NAME": "reader"}})
    function("agent", timeout=600)
    writes = function("writes")
    aws.lambda_.EventSourceMapping(
        "retries",
        function_name=writes.arn,
        event_source_arn=jobs.arn,
        scaling_config={"maximum_concurrency": 2},
    )
    cluster = aws.ecs.Cluster("cluster")
    service = aws.ecs.Service(
        "busy", cluster=cluster.arn, desired_count=0, tags={"keepwarm:duty-cycle": "0.5"}
    )
    aws.appautoscaling.Target(
        "scale",
        service_namespace="ecs",
        scalable_dimension="ecs:service:DesiredCount",
        resource_id=pulumi.Output.concat("service/", cluster.name, "/", service.name),
        min_capacity=0,
        max_capacity=2,
    )


SIX = [
    "KW201 The function 'loads' must have its model's cold-start phases watched, got alarms for none and none for"
    " fetch, verify, load.",
    STORM.replace("classify-function", "loads"),
    "KW203 The function 'calls' must take a permit before it calls the GPU service, got no admission table.",
    "KW204 The function 'agent' must keep durable state when it may run longer than 300 s, got a timeout of 600 s and"
    " neither workflow, ledger nor durable execution.",
    "KW205 The function 'writes' is retried by its event source and must record its effects in a ledger or declare that"
    " it has none, got no ledger table and side effects 'undeclared'.",
    "KW206 The service 'busy' must keep at least one task at a duty cycle of 0.4 or more, got a minimum of 0 at a duty"
    " cycle of 0.5.",
]


def test_given_six_mistakes_when_previewed_then_each_rule_speaks_its_sentence(project: Project) -> None:
    result = project.run("preview", "--policy-pack", PACK, program=six_mistakes)
    assert result.status != 0
    heard = said(result)
    assert [sentence for sentence in SIX if sentence not in heard] == []
    assert heard.count("[mandatory]") == 6, result.text
    assert project.inventory() == {}


def test_given_a_sound_stack_when_up_with_the_pack_then_it_deploys(project: Project) -> None:
    assert project.must("preview", "--policy-pack", PACK, program=stack).changed()
    assert project.must("up", "--policy-pack", PACK, program=stack, skip_preview=False).notes == []
    assert project.inventory()["lambda"]["functions"]


def test_given_a_mandatory_violation_when_up_then_nothing_is_made(project: Project) -> None:
    def broken() -> None:
        stack(bounded=False)

    result = project.run("up", "--policy-pack", PACK, program=broken, skip_preview=False)
    assert result.status != 0
    assert "[mandatory] [severity: high] no-download-storm (aws:lambda:Function: classify-function)" in said(
        result
    )
    assert STORM in said(result)
    assert project.inventory() == {}
    assert [r for r in project.checkpoint().get("resources") or [] if r.get("custom")] == []

    late = project.run("up", "--policy-pack", PACK, program=broken)
    assert late.status != 0, "without a preview it fails all the same, after the fact"
    assert STORM in said(late)
    assert ["after its creation" in note for note in late.notes] == [True]


def test_given_an_exemption_with_a_reason_when_up_then_the_rule_lets_that_one_pass(
    project: Project, tmp_path: Path
) -> None:
    def broken() -> None:
        stack(bounded=False)

    kind = "keepwarm:index:PreprocessingFunction$aws:lambda/function:Function"
    urn = f"urn:pulumi:local::proj::{kind}::classify-function"
    config = tmp_path / "config.json"

    def judged(exemption: dict[str, str], command: str = "preview") -> Result:
        config.write_text(json.dumps({"no-download-storm": {"exemptions": [exemption]}}))
        pack = ("--policy-pack", PACK, "--policy-pack-config", str(config))
        return project.run(command, *pack, program=broken, skip_preview=False)

    assert judged({"urn": urn, "reason": "seeds the cache once, by hand"}, "up").status == 0
    other = judged({"urn": f"{urn}-2", "reason": "seeds the cache once, by hand"})
    assert other.status != 0
    assert STORM in said(other)
    bare = judged({"urn": urn, "reason": "short"})
    assert bare.status != 0, "the pack's schema asks for a reason worth the name"
    assert "reason" in bare.text


@pytest.mark.parametrize("name", ["local", "dev", "prod"])
def test_given_the_example_stack_when_previewed_then_no_rule_speaks(
    project: Project, name: str, built: bundles.Build
) -> None:
    config = yaml.safe_load((ROOT / "stacks" / f"Pulumi.{name}.yaml").read_text())["config"]
    raw = {k.split(":", 1)[1]: json.dumps(v) for k, v in config.items() if k.startswith("keepwarm:")}
    result = project.must(
        "preview", "--policy-pack", PACK, program=lambda: deploy(Settings.load(raw, name), built)
    )
    assert "[mandatory]" not in result.text
    assert len(result.changed()) > 60
