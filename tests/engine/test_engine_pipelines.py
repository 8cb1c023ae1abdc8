"""The Pulumi commands of the pipelines that users copy, run with the real CLI on the embedded cloud.

Proves: the preview job passes a sound change and fails a broken one; the deploy job deploys; the drift job is silent
without drift and fails when the cloud or the program moved. The commands are read from the files themselves. Does not
prove the platforms' own parts (checkout, roles, comments); tests/infra/test_pipelines.py lints those.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pulumi_aws as aws
import pytest
import yaml

from tests.support.engine import Project, Result

pytestmark = [pytest.mark.engine, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
PIPELINES = ROOT / "examples" / "pipelines"


def shell_of(name: str) -> str:
    """All shell of one occasion, on both platforms in turn."""
    github = yaml.safe_load((PIPELINES / "github" / f"{name}.yml").read_text())
    gitlab = yaml.safe_load((PIPELINES / "gitlab" / ".gitlab-ci.yml").read_text())
    (job,) = github["jobs"].values()
    runs = [step["run"] for step in job["steps"] if "run" in step]
    return "\n".join([*runs, *gitlab["up" if name == "deploy" else name]["script"]])


def commands(name: str) -> list[list[str]]:
    """The Pulumi commands of one occasion, each once, without the shell around them."""
    joined = shell_of(name).replace("\\\n", " ")
    found: list[list[str]] = []
    for line in re.findall(r"pulumi ((?:preview|up|refresh) [^\n]*)", joined):
        words = re.split(r"2>|>|\|", line)[0].replace('"$STACK"', "local").split()
        # The harness names these itself.
        kept = [
            w
            for w in words
            if w not in ("--stack", "local", "--yes", "--non-interactive", "--color", "never")
        ]
        if kept not in found:
            found.append(kept)
    return found


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    made = Project(tmp_path_factory.mktemp("pipelines"))
    yield made
    made.must("destroy", program=lambda: None)
    assert made.inventory() == {}
    made.close()


def sound(timeout: int = 30) -> None:
    aws.sqs.Queue("jobs", visibility_timeout_seconds=timeout)


def broken() -> None:
    sound()
    cluster = aws.ecs.Cluster("cluster")
    service = aws.ecs.Service(
        "busy", cluster=cluster.arn, desired_count=0, tags={"keepwarm:duty-cycle": "0.9"}
    )
    aws.appautoscaling.Target(
        "scale",
        service_namespace="ecs",
        scalable_dimension="ecs:service:DesiredCount",
        resource_id=service.name.apply(lambda name: f"service/cluster/{name}"),
        min_capacity=0,
        max_capacity=2,
    )


def run(project: Project, arguments: list[str], **options: object) -> Result:
    pack = [str(ROOT / "policies") if a == "policies" else a for a in arguments]
    return project.run(*pack, skip_preview=False, **options)  # type: ignore[arg-type]


def test_given_the_commands_of_the_pipelines_when_run_in_turn_then_each_says_what_it_should(
    project: Project,
) -> None:
    (preview,) = commands("preview")
    (up,) = commands("deploy")
    cloud, program = commands("drift")
    assert (preview[0], up[0], cloud[0], program[0]) == ("preview", "up", "refresh", "preview")

    refused = run(project, preview, program=broken)
    assert refused.status != 0
    assert "KW206" in refused.text
    assert run(project, up, program=broken).status != 0
    assert project.inventory() == {}, "a mandatory rule stops the update before anything is made"

    assert run(project, preview, program=sound).status == 0
    assert run(project, up, program=sound).status == 0
    assert project.inventory()["sqs"]["queues"]

    for look in (cloud, program):
        quiet = run(project, look, program=sound)
        assert quiet.status == 0, quiet.text

    moved = run(project, program, program=lambda: sound(45))
    assert moved.status != 0, "the program moved"
    url = project.resource("jobs")["id"]
    project.boto("sqs").set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "99"})
    drifted = run(project, cloud, program=sound)
    assert drifted.status != 0, "the cloud moved"
    assert "visibilityTimeoutSeconds" in drifted.text
    assert project.resource("jobs")["outputs"]["visibilityTimeoutSeconds"] == 30, "it only looked"
