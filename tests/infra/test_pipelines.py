"""The pipelines that users copy: linted by tools that know the platforms, and held to rules of our own.

Proves: the workflows are valid and pinned, ask for no more than they use, hold no key, and their shell does what it
says (run here with stand-ins for `pulumi` and `gh`); the roles trust one place each. Does not prove that they run on
GitHub or GitLab; tests/engine/test_engine_pipelines.py runs their Pulumi commands with the real CLI.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.patience import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]
PIPELINES = ROOT / "examples" / "pipelines"
WORKFLOWS = sorted((PIPELINES / "github").glob("*.yml"))
GITLAB = PIPELINES / "gitlab" / ".gitlab-ci.yml"
ROLES = sorted((PIPELINES / "roles").glob("*.json"))


def workflow(path: Path) -> dict[str, Any]:
    """A workflow; YAML 1.1 reads the key `on` as true."""
    read = yaml.safe_load(path.read_text())
    return {("on" if key is True else str(key)): value for key, value in read.items()}


def steps(path: Path) -> Iterator[dict[str, Any]]:
    for job in workflow(path)["jobs"].values():
        yield from job["steps"]


def tool(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a linter of the development environment, without the network."""
    found = Path(sys.executable).parent / name
    return subprocess.run([str(found), *map(str, arguments)], capture_output=True, text=True, check=False)


def zizmor(*files: Path) -> subprocess.CompletedProcess[str]:
    return tool("zizmor", "--offline", "--no-progress", "--no-config", "--persona=pedantic", *files)


def schema_check(kind: str, *files: Path) -> subprocess.CompletedProcess[str]:
    more = ["--data-transform", "gitlab-ci"] if kind == "gitlab-ci" else []
    return tool("check-jsonschema", "--builtin-schema", f"vendor.{kind}", *more, *files)


def test_there_is_one_workflow_for_each_occasion() -> None:
    assert [w.name for w in WORKFLOWS] == ["deploy.yml", "drift.yml", "preview.yml"]
    assert set(workflow(WORKFLOWS[0])["on"]) == {"push"}
    assert set(workflow(WORKFLOWS[1])["on"]) == {"schedule", "workflow_dispatch"}
    # Not pull_request_target, which would give a fork's code our token.
    assert set(workflow(WORKFLOWS[2])["on"]) == {"pull_request"}


def test_given_the_workflows_when_audited_by_zizmor_then_no_finding() -> None:
    said = zizmor(*WORKFLOWS)
    assert said.returncode == 0, said.stdout + said.stderr


@pytest.mark.parametrize(
    ("sound", "broken", "finding"),
    [
        ("@08c6903cd8c0fde910a37f88322edcfb5dd907a8 # v5.0.0", "@v5", "unpinned-uses"),
        ("permissions: {}\n", "permissions: write-all\n", "excessive-permissions"),
        ("        with:\n          persist-credentials: false\n", "", "artipacked"),
        ('exit "$(cat status)"', "echo ${{ github.event.pull_request.title }}", "template-injection"),
    ],
)
def test_given_a_weakened_workflow_when_audited_then_zizmor_says_so(
    tmp_path: Path, sound: str, broken: str, finding: str
) -> None:
    text = (PIPELINES / "github" / "preview.yml").read_text()
    assert sound in text
    weak = tmp_path / ".github" / "workflows" / "preview.yml"
    weak.parent.mkdir(parents=True)
    weak.write_text(text.replace(sound, broken))
    said = zizmor(weak)
    assert said.returncode != 0
    assert finding in said.stdout


def test_given_the_pipelines_when_checked_against_the_published_schemas_then_valid(tmp_path: Path) -> None:
    github, gitlab = schema_check("github-workflows", *WORKFLOWS), schema_check("gitlab-ci", GITLAB)
    assert github.returncode == 0, github.stdout
    assert gitlab.returncode == 0, gitlab.stdout
    for kind, source, sound, broken in (
        ("github-workflows", WORKFLOWS[2], "timeout-minutes: 20", "timeout-minutes: soon"),
        ("gitlab-ci", GITLAB, "interruptible: false", "interuptible: sometimes\n  retry: 7"),
    ):
        copy = tmp_path / source.name
        copy.write_text(source.read_text().replace(sound, broken))
        assert schema_check(kind, copy).returncode != 0, f"{kind} must notice {broken!r}"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("go") is None, reason="actionlint is built by Go")
def test_given_the_workflows_when_linted_by_actionlint_then_no_finding(tmp_path: Path) -> None:
    def lint(*files: Path) -> subprocess.CompletedProcess[str]:
        command = ["go", "-C", str(ROOT / "tools" / "actionlint"), "tool", "actionlint", *map(str, files)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    said = lint(*WORKFLOWS)
    assert said.returncode == 0, said.stdout + said.stderr
    broken = tmp_path / "preview.yml"
    broken.write_text(
        WORKFLOWS[2].read_text().replace("github.event.pull_request.number", "github.evnt.number")
    )
    assert 'property "evnt" is not defined' in lint(broken).stdout


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_given_a_workflow_then_it_is_pinned_bounded_and_asks_for_little(path: Path) -> None:
    text = path.read_text()
    pins = re.findall(r"uses: (\S+?)@(\S+) # (v\d+\.\d+\.\d+)$", text, re.MULTILINE)
    assert len(pins) == text.count("uses:") == 4
    page = (PIPELINES / "README.md").read_text()
    for action, commit, version in pins:
        assert re.fullmatch("[0-9a-f]{40}", commit)
        assert re.search(rf"`{action}`.*\| {version} \| `{commit}` \|", page), f"{action} in the README"
    read = workflow(path)
    assert read["permissions"] == {}
    assert text.count("persist-credentials: false") == text.count("actions/checkout@") == 1
    assert read["concurrency"]["cancel-in-progress"] is (path.stem != "deploy"), "an update is never cut off"
    (job,) = read["jobs"].values()
    assert job["timeout-minutes"] <= 60
    assert job["environment"] == ("production" if path.stem == "deploy" else "preview")
    assert job["permissions"].keys() <= {"contents", "id-token", "pull-requests", "issues"}
    assert job["permissions"]["contents"] == "read"
    assert "secrets." not in text, "no long-lived secret"
    assert "--skip-preview" not in " ".join(step.get("run", "") for step in steps(path))


def test_given_the_gitlab_pipeline_then_it_is_bounded_and_holds_no_key() -> None:
    read = yaml.safe_load(GITLAB.read_text())
    jobs = {name: job for name, job in read.items() if isinstance(job, dict) and "script" in job}
    assert set(jobs) == {"preview", "up", "drift"}
    assert all("timeout" in job and job["extends"] == ".pulumi" and "rules" in job for job in jobs.values())
    assert jobs["up"]["resource_group"] == "production"
    assert [j for j in jobs if jobs[j]["variables"]["ROLE_ARN"] == "$DEPLOY_ROLE_ARN"] == ["up"]
    assert read[".pulumi"]["id_tokens"]["AWS_ID_TOKEN"]["aud"] == "sts.amazonaws.com"
    # The YAML list items are the shell's lines.
    shell = "\n".join(line for job in (read[".pulumi"], *jobs.values()) for part in ("before_script", "script")
                      for line in job.get(part, []))  # fmt: skip
    assert "--skip-preview" not in shell
    assert "allowed an image by digest" in shell


@pytest.mark.parametrize("path", [*WORKFLOWS, GITLAB, *ROLES], ids=lambda p: p.name)
def test_given_a_file_then_no_access_key_is_in_it(path: Path) -> None:
    assert not re.search(
        r"AKIA[0-9A-Z]{16}|aws.secret.access.key|aws.access.key.id", path.read_text(), re.IGNORECASE
    )


@pytest.mark.parametrize("path", [r for r in ROLES if "trust" in r.name], ids=lambda p: p.stem)
def test_given_a_trust_then_only_one_place_may_take_the_role(path: Path) -> None:
    (statement,) = json.loads(path.read_text())["Statement"]
    assert statement["Action"] == "sts:AssumeRoleWithWebIdentity"
    issuer = statement["Principal"]["Federated"].partition("oidc-provider/")[2]
    exact, like = statement["Condition"]["StringEquals"], statement["Condition"].get("StringLike", {})
    assert exact[f"{issuer}:aud"] == "sts.amazonaws.com"
    subject = {**exact, **like}[f"{issuer}:sub"]
    if path.stem == "gitlab-preview-trust":
        assert subject == "project_path:GROUP/PROJECT:ref_type:branch:ref:*", "any branch of one project"
    else:
        assert f"{issuer}:sub" in exact
        assert subject in {
            "repo:OWNER/REPOSITORY:environment:production",
            "repo:OWNER/REPOSITORY:environment:preview",
            "project_path:GROUP/PROJECT:ref_type:branch:ref:main",
        }


@pytest.mark.parametrize("path", [r for r in ROLES if "state" in r.name], ids=lambda p: p.stem)
def test_given_a_permission_on_the_state_then_it_names_actions_and_resources(path: Path) -> None:
    for statement in json.loads(path.read_text())["Statement"]:
        assert all("*" not in action for action in statement["Action"])
        assert all(resource != "*" for resource in statement["Resource"])
        if path.stem == "state-read":
            assert not any(re.search("Put|Delete|Encrypt", action) for action in statement["Action"])


# The shell of the workflows, run with stand-ins.


@pytest.fixture
def runner(tmp_path: Path) -> Path:
    """A checkout with stand-ins: `pulumi` ends as its file says, `gh` keeps what it is given."""
    stand_ins = {
        "pulumi": 'echo "$@" >> pulumi.calls; echo "plan of $STACK"; exit "$(cat pulumi.status)"',
        "gh": 'echo "$@" >> gh.calls; for a in "$@"; do case $a in *.md) cat "$a" >> gh.body ;; esac; done',
        "git": "echo 1234567",
    }
    for name, body in stand_ins.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
    return tmp_path


def run_job(path: Path, folder: Path, *, pulumi_status: int) -> list[str]:
    """Run a job's own commands as GitHub does (`bash -e`); names of the steps that failed."""
    (folder / "pulumi.status").write_text(str(pulumi_status))
    environment = {
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "STACK": "dev",
        "PULL_REQUEST": "7",
        "GITHUB_REPOSITORY": "owner/repository",
        "GITHUB_RUN_ID": "1",
        "GITHUB_WORKFLOW": "drift",
    }
    failed: list[str] = []
    for step in steps(path):
        # A step runs after a failure only if it says so.
        if "run" not in step or step["name"] == "Install" or (step.get("if") == "failure()") != bool(failed):
            continue
        done = subprocess.run(
            ["bash", "-e", "-c", step["run"]], cwd=folder, env=environment, check=False, timeout=PATIENCE_S
        )
        if done.returncode != 0:
            failed.append(step["name"])
    return failed


@pytest.mark.parametrize("status", [0, 255])
def test_given_a_plan_when_previewed_then_it_is_the_comment_and_its_verdict_the_jobs(
    runner: Path, status: int
) -> None:
    assert run_job(PIPELINES / "github" / "preview.yml", runner, pulumi_status=status) == (
        ["Verdict"] if status else []
    )
    assert "pr comment 7 --edit-last --create-if-none" in (runner / "gh.calls").read_text()
    assert (runner / "gh.body").read_text() == "### Preview of `dev` at 1234567\n```\nplan of dev\n```\n"


def test_given_no_drift_when_looked_then_nothing_is_reported(runner: Path) -> None:
    assert run_job(PIPELINES / "github" / "drift.yml", runner, pulumi_status=0) == []
    assert not (runner / "gh.calls").exists()
    assert len((runner / "pulumi.calls").read_text().splitlines()) == 2


def test_given_drift_when_looked_then_the_job_fails_and_an_issue_tells(runner: Path) -> None:
    assert run_job(PIPELINES / "github" / "drift.yml", runner, pulumi_status=255) == [
        "The cloud against the state"
    ]
    assert "issue create --repo owner/repository --title Drift of dev" in (runner / "gh.calls").read_text()
    assert "plan of dev" in (runner / "gh.body").read_text()


def test_given_a_violation_when_deployed_then_the_job_fails(runner: Path) -> None:
    assert run_job(PIPELINES / "github" / "deploy.yml", runner, pulumi_status=255) == ["Update"]
