"""kill -9 of the CLI and of the provider at every resource operation of an up and of a destroy (faults F30, F31).

Every boundary counts twice: just before the cloud is called and just after it answered. After each kill the same
command is run again, with nothing done by hand, and the cloud is compared with the engine's state: nothing missing,
nothing twice, nothing that the state does not know. Proves it for a stack with one resource of each kind of identity
(a name, an ARN, a made-up id, a content). Does not prove it for every type: `test_locate` covers the others one by one.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pulumi
import pulumi_aws as aws
import pytest

from keepwarm_cli.engine import state
from keepwarm_cli.errors import CliError
from tests.support.engine import Project, Result

pytestmark = [
    pytest.mark.engine,
    pytest.mark.slow,
]

TRUST = json.dumps(
    {
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
        ]
    }
)
ALLOW = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"],
                "Resource": "*",
            }
        ],
    }
)
RESOURCES = 5
BOUNDARIES = 2 * RESOURCES


def stack() -> None:
    """Named (role), named by URL (queue), named and versioned (function), by ARN (topic), made-up id (mapping)."""
    role = aws.iam.Role("role", assume_role_policy=TRUST, inline_policies=[{"name": "poll", "policy": ALLOW}])
    jobs = aws.sqs.Queue("jobs")
    code = pulumi.AssetArchive({"main.py": pulumi.StringAsset("def handler(e, c):\n    return e\n")})
    function = aws.lambda_.Function(
        "fn", role=role.arn, handler="main.handler", runtime="python3.11", code=code
    )
    aws.lambda_.EventSourceMapping("poll", event_source_arn=jobs.arn, function_name=function.name)
    aws.sns.Topic("alarms")


EXPECTED = {
    "iam": {"roles": 1},
    "sqs": {"queues": 1},
    "lambda": {"functions": 1, "event_source_mappings": 1},
    "sns": {"topics": 1},
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    made = Project(tmp_path_factory.mktemp("killed"), stack)
    yield made
    made.close()


def counted(project: Project) -> dict[str, dict[str, int]]:
    return {
        service: {kind: len(names) for kind, names in kinds.items()}
        for service, kinds in project.inventory().items()
    }


LOST_PROVIDER = (
    "KW670 provider: exited while the engine was using it; what was done is in the state; fix: run the same command"
    " again"
)


def killed(project: Project, command: str, boundary: int, victim: str, **options: Any) -> Result:
    """Run a command that ends by SIGKILL of the victim at a boundary."""
    who = "self" if victim == "provider" else str(project.state.root / "cli.pid")
    environment = {"KEEPWARM_FAULT": f"{boundary}:{who}"}
    if victim == "cli":
        return project.run(command, environment=environment, **options)
    with pytest.raises(CliError) as raised:
        project.run(command, environment=environment, **options)
    assert str(raised.value) == LOST_PROVIDER
    return Result(1, LOST_PROVIDER, 0.0)


FORGET = "refresh --yes --skip-preview --clear-pending-creates --stack local"


@pytest.mark.parametrize("victim", ["cli", "provider"])
@pytest.mark.parametrize("boundary", range(1, BOUNDARIES + 1))
def test_given_a_kill_at_an_operation_when_run_again_then_it_converges(
    project: Project, boundary: int, victim: str
) -> None:
    first = killed(project, "up", boundary, victim)
    assert first.status != 0, f"nothing was killed: {first.text}"
    left_open = state.pending(project.checkpoint())
    again = project.must("up")
    refreshed = f"a killed run left {len(left_open)} creation(s) open; running: pulumi {FORGET}"
    assert (refreshed in again.notes) == bool(left_open), again.notes
    assert counted(project) == EXPECTED, again.notes
    kept = [r for r in project.checkpoint()["resources"] if r["type"].startswith("aws:")]
    assert len(kept) == RESOURCES
    assert not project.checkpoint().get("pending_operations")
    first = killed(project, "destroy", boundary, victim)
    assert first.status != 0, f"nothing was killed: {first.text}"
    project.must("destroy")
    assert project.inventory() == {}
    assert not [r for r in project.checkpoint().get("resources") or [] if r["type"].startswith("aws:")]


def test_given_the_boundaries_then_the_stack_has_no_more_of_them(project: Project, tmp_path: Path) -> None:
    log = tmp_path / "operations"
    project.must("up", environment={"KEEPWARM_FAULT_LOG": str(log)})
    assert len(log.read_text().splitlines()) == BOUNDARIES
    log.unlink()
    project.must("destroy", environment={"KEEPWARM_FAULT_LOG": str(log)})
    assert len(log.read_text().splitlines()) == BOUNDARIES


@pytest.mark.parametrize("content", ["", '{"user.content'])
def test_given_a_side_file_cut_short_by_a_kill_when_run_again_then_it_is_removed_and_said(
    project: Project, content: str
) -> None:
    project.must("up")
    side = project.state.backend / ".pulumi" / "stacks" / "proj" / "local.json.attrs"
    side.write_text(content)
    half = side.with_name("local.json.18eae8b480abe65e.tmp")
    half.write_text("{")
    again = project.must("up")

    assert again.changed() == {}
    assert (
        "local.json.attrs: a killed run left it half-written; removed, the state itself is whole"
        in again.notes
    )
    assert not half.exists()
    project.must("destroy")
