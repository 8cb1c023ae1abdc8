"""What `size` finds, in a stack file, in the program's settings, and in the program's resources.

Proves: every kind of answer, merged into every stack file of the repository, is accepted by the program's own reader;
the file keeps its comments and what is not concerned; the numbers reach the resources that the program declares (slow).
Does not prove that AWS takes them: tests/engine and tests/e2e deploy stacks.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from keepwarm_cli.plan import app
from keepwarm_planner import prices
from keepwarm_planner.answers.budget import estimate
from keepwarm_planner.answers.cold_path import ColdPath
from keepwarm_planner.answers.settings import ROOM, derive, service_tasks
from keepwarm_planner.answers.stack import merged, stack_settings, update, with_sections
from keepwarm_planner.errors import PlannerError
from keepwarm_planner.model.design import Design, Tracking, Workload
from keepwarm_planner.model.engine import Outcome, run
from keepwarm_planner.traffic import generators, law

ROOT = Path(__file__).parents[2]
STACKS = ("local", "dev", "prod")
SERVICE = law.lognormal(0.8, 0.5)
WORKLOAD = Workload(generators.poisson(2.0, 600.0), SERVICE, law.constant(1.5))

DESIGNS = [
    Design("on-demand"),
    Design("constant", environments=7),
    Design("least", max_concurrency=2),
    Design("capped", environments=3, max_concurrency=12),
    Design("schedule", schedule=((0.0, 0), (27_000.0, 12), (68_400.0, 3))),
    Design("tracking", environments=2, tracking=Tracking(0.9, 2, 30)),
    Design("both", schedule=((0.0, 1), (28_500.0, 8)), tracking=Tracking(0.7, 0, 15)),
    Design("most", tracking=Tracking(0.5, 1, ROOM), environments=1),
]


@pytest.fixture(scope="module")
def observed() -> Outcome:
    return run([Design("any")], WORKLOAD, prices.load(), replications=1).outcomes[0]


def _raw(values: dict[str, Any]) -> dict[str, str]:
    return {name: json.dumps(value) for name, value in values.items()}


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("design", DESIGNS, ids=lambda d: d.name)
def test_given_an_answer_when_merged_into_a_stack_then_accepted_and_the_rest_is_kept(
    stack: str, design: Design, observed: Outcome, tmp_path: Path
) -> None:
    infra = pytest.importorskip("infra.settings")
    path = tmp_path / f"Pulumi.{stack}.yaml"
    shutil.copy(ROOT / "stacks" / path.name, path)
    before, text = stack_settings(path), path.read_text()
    answer, _ = derive(replace(observed, design=design), WORKLOAD, function="classify", max_event_age_s=None)
    answer["service"], _ = service_tasks(30.0, 0.5, 4)
    sections = merged(before, answer)

    update(path, sections)

    after = stack_settings(path)
    settings = infra.Settings.load(_raw(after), stack)
    found = settings.effective
    reserved = found["functions"]["classify"]["reserved_concurrency"]
    assert found["queue"]["max_concurrency"] <= reserved <= ROOM
    assert ("warm_pool" in found) is (design.peak_environments > 0)
    if "warm_pool" in found:
        pool = settings.sections["warm_pool"]
        assert pool["max_environments"] == design.peak_environments <= reserved
        assert len(pool.get("schedules", [])) == len(design.schedule)
    assert ("service" in found) is (stack != "dev")
    if "service" in found:
        assert found["service"]["max_tasks"] == 6
    # only what was asked: other functions, other sections, comments and order are the stack's own
    assert {k: v for k, v in after["functions"].items() if k != "classify"} == {
        k: v for k, v in before.get("functions", {}).items() if k != "classify"
    }
    assert {k: v for k, v in after.items() if k not in answer} == {
        k: v for k, v in before.items() if k not in answer
    }
    comments = [line for line in text.splitlines() if line.lstrip().startswith("#")]
    assert [line for line in path.read_text().splitlines() if line.lstrip().startswith("#")] == comments
    assert path.read_text().splitlines()[:9] == text.splitlines()[:9]
    # a second time changes nothing
    assert merged(after, answer) == {}


def test_given_a_busiest_moment_when_derived_then_each_setting_is_its_formula(observed: Outcome) -> None:
    twenty = replace(observed, design=Design("d", environments=3), max_busy=20.0)
    workload = replace(WORKLOAD, service=law.constant(4.0), cold=law.constant(1.5))
    settings, figures = derive(twenty, workload, function="classify", max_event_age_s=None)
    value = {f.name: f.value for f in figures}
    assert value["reserved_concurrency"] == value["queue.max_concurrency"] == 25  # 20 x 1.25
    assert value["timeout_s"] == 10  # ceil(2 x 4 + 1.5)
    assert value["visibility_s"] == 60  # 6 x timeout, as AWS asks
    assert value["max_event_age_s"] == 200  # 20 x timeout
    assert settings["queue"] == {"max_concurrency": 25, "max_event_age_s": 200}
    asked, _ = derive(twenty, workload, function="classify", max_event_age_s=77.0)
    assert asked["queue"] == {"max_concurrency": 25, "max_event_age_s": 77}
    # 30/s x 0.5 s keep 15 requests in service: at 70 % of four a task, six tasks
    assert service_tasks(30.0, 0.5, 4)[0] == {"max_tasks": 6, "concurrency_per_task": 4}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("config:\n  keepwarm:queue: {batch_size: 1}\n", "config:\n  keepwarm:queue: {batch_size: 2}\n"),
        (
            "# top\nconfig:\n  keepwarm:queue:  # queue\n    # why one\n    batch_size: 1\n\n"
            "  aws:region: x # y\nenvironment: [e]\n",
            "# top\nconfig:\n  keepwarm:queue:  # queue\n    # why one\n    batch_size: 2\n\n"
            "  aws:region: x # y\nenvironment: [e]\n",
        ),
        (
            "config:\n    aws:region: x\n    # last\nenvironment: [e]",
            "config:\n    aws:region: x\n    keepwarm:queue: {batch_size: 2}\n    # last\nenvironment: [e]\n",
        ),
        ("config:\n  'keepwarm:queue':\n  - 1\n", "config:\n  keepwarm:queue: {batch_size: 2}\n"),
        ("config:\n", "config:\n  keepwarm:queue: {batch_size: 2}\n"),
    ],
    ids=["flow", "block with comments", "other indent, absent", "list", "empty"],
)
def test_given_a_form_of_stack_file_when_edited_then_only_the_value_changes(text: str, expected: str) -> None:
    assert with_sections(text, {"queue": {"batch_size": 2}}) == expected


def test_given_a_file_of_another_form_when_updated_then_kw513_and_it_is_untouched(tmp_path: Path) -> None:
    path = tmp_path / "Pulumi.x.yaml"
    text = 'config: {"keepwarm:queue": {batch_size: 1}}\n'
    path.write_text(text)
    with pytest.raises(PlannerError) as caught:
        update(path, {"queue": {"batch_size": 2}})
    assert str(caught.value) == (
        f"KW513 {path}: got a form that can't be edited in place; allowed one key per line below `config:`; fix: paste"
        " the printed sections"
    )
    assert path.read_text() == text
    assert list(tmp_path.iterdir()) == [path]


def test_given_tasks_that_always_run_when_the_peak_needs_fewer_then_they_stay() -> None:
    written = {"service": {"enabled": True, "min_tasks": 3, "max_tasks": 8}}
    assert merged(written, {"service": {"max_tasks": 1, "concurrency_per_task": 4}}) == {
        "service": {"enabled": True, "min_tasks": 3, "max_tasks": 3, "concurrency_per_task": 4}
    }


# ---- the command

RUNNER = CliRunner()
SIZE = ("size", "--generate", "poisson:rate=0.5,hours=1", "--service", "exp:1", "--cold-fraction", "0.02")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with the program's settings and a stack."""
    pytest.importorskip("infra.settings")
    shutil.copytree(ROOT / "infra", tmp_path / "infra")
    (tmp_path / "stacks").mkdir()
    shutil.copy(ROOT / "stacks" / "Pulumi.prod.yaml", tmp_path / "stacks")
    return tmp_path / "stacks" / "Pulumi.prod.yaml"


def test_given_a_stack_when_sized_then_its_settings_are_the_defaults_and_it_is_written(
    project: Path,
) -> None:
    before = stack_settings(project)
    result = RUNNER.invoke(app, [*SIZE, "--stack", str(project), "--json", "--downstream-s", "0.5"])
    assert result.exit_code == 0, result.output
    out = json.loads(result.stdout)
    assert (out["stack"]["checked"], out["stack"]["written"]) == (True, False)
    assert stack_settings(project) == before
    sections = out["stack"]["sections"]
    assert sections["functions"]["classify"]["memory_mb"] == 1769
    assert sections["functions"]["classify"]["ephemeral_mb"] == 1024
    assert sections["functions"]["ocr"] == before["functions"]["ocr"]
    # the queue's deadline and the permits of a task were decided before: they are the stack's
    assert sections["queue"]["max_event_age_s"] == 3600
    assert sections["service"]["concurrency_per_task"] == 8
    result = RUNNER.invoke(app, [*SIZE, "--stack", str(project), "--write"])
    assert result.exit_code == 0, result.output
    assert f"sections of {project} (the program accepts them)" in result.stdout
    assert f"written to {project}" in result.stdout
    assert stack_settings(project).get("warm_pool") == sections["warm_pool"]
    again = RUNNER.invoke(app, [*SIZE, "--stack", str(project), "--write"])
    assert f"{project} has these settings already" in again.stdout


@pytest.mark.parametrize(
    "path",
    [
        ColdPath(),
        ColdPath(model_mb=0.0, warmup_s=0.0),
        ColdPath(model_mb=4000.0, compile_s=30.0, memory_mb=512),
    ],
    ids=["usual", "no model", "huge"],
)
def test_given_an_estimate_as_budget_then_it_is_kept_and_accepted(
    path: ColdPath,
) -> None:
    infra = pytest.importorskip("infra.settings")
    found = estimate(path).settings()
    settings = infra.Settings.load(_raw({"budgets_ms": found}))
    assert settings.effective["budgets_ms"] == found
    budgets = {name: ms / 1000.0 for name, ms in found.items()}
    assert estimate(path, budgets).ok
    # a quarter above the 99th percentile, rounded up by less than a tenth
    p99 = estimate(path).total.quantiles["p99"]
    assert 1.25 * p99 <= budgets["total"] <= 1.25 * p99 * 1.1
    with pytest.raises(PlannerError) as caught:
        estimate(path).settings(0.9)
    assert str(caught.value) == "KW500 budget --headroom: got 0.9; allowed 1 or more"


def test_given_a_stack_when_its_budget_is_written_then_it_replaces_the_default(
    project: Path,
) -> None:
    over = RUNNER.invoke(
        app, ["budget", "--stack", str(project), "--phase", "load=lognormal:p50=1,p99=3", "--json"]
    )
    assert over.exit_code == 1
    assert json.loads(over.stdout)["stack"]["written"] is False
    options = ["budget", "--stack", str(project), "--phase", "load=lognormal:p50=1,p99=3"]
    result = RUNNER.invoke(app, [*options, "--write"])
    assert result.exit_code == 0, result.output
    assert f"sections of {project} (the program accepts them)" in result.stdout
    assert stack_settings(project)["budgets_ms"]["load"] == 3800
    again = RUNNER.invoke(app, options)
    assert again.exit_code == 0
    assert f"{project} has these settings already" in again.stdout
    refused = RUNNER.invoke(app, ["budget", "--write"])
    assert (refused.exit_code, refused.stderr) == (
        2,
        "KW500 budget --write: got no --stack; allowed a stack file to write to\n",
    )


def test_given_a_function_the_program_lacks_when_sized_then_refused_and_not_written(
    project: Path,
) -> None:
    text = project.read_text()
    result = RUNNER.invoke(app, [*SIZE, "--stack", str(project), "--name", "translate", "--write"])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == (
        f"KW513 {project}: got KW160 stacks/Pulumi.prod.yaml keepwarm:functions.translate: got an unknown function;"
        " allowed classify, extract, ocr, enrich, publish; because the program has no such function; fix: did you mean"
        " 'extract'?; allowed settings that the program accepts\n"
    )
    assert project.read_text() == text


def test_given_another_function_when_sized_then_only_its_own_settings_come_out() -> None:
    out = RUNNER.invoke(app, [*SIZE, "--name", "ocr"]).stdout
    assert "keepwarm:warm_pool" not in out
    assert "the stack keeps a warm pool and a queue for classify only" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--max-concurrency", "1"),
            "KW500 size --max-concurrency: got 1; allowed 2 to 1000; because a queue hands at least two batches to its"
            " function at once",
        ),
        (("--memory-mb", "3"), "KW500 size --memory-mb: got 3; allowed 128 to 10240"),
        (("--ephemeral-mb", "99999"), "KW500 size --ephemeral-mb: got 99999; allowed 512 to 10240"),
        (
            ("--max-event-age-s", "-5"),
            "KW500 size --max-event-age-s: got -5; allowed 60 to 1209600; because a queue keeps messages that long",
        ),
        (("--write",), "KW500 size --write: got no --stack; allowed a stack file to write to"),
        (
            ("--idle-timeout-s", "nan"),
            "KW513 design 'base' idle_timeout_s: got nan; allowed seconds, 0 or more, or inf",
        ),
        (("--max-requests", "nan"), "KW500 --max-requests: got nan; allowed more than 0"),
        (
            ("--cold", "1", "--from-events", "x"),
            "KW500 --cold: got a law together with --from-events; allowed one of the two",
        ),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, tuple) else "",
)
def test_given_what_no_stack_could_have_when_sized_then_refused_before_the_search(
    options: tuple[str, ...], message: str
) -> None:
    result = RUNNER.invoke(app, [*SIZE, *options])
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"{message}\n")


@pytest.mark.slow
def test_given_a_merged_stack_then_its_numbers_are_in_the_resources(
    observed: Outcome, tmp_path: Path
) -> None:
    program = pytest.importorskip("tests.infra.test_program")
    design = next(d for d in DESIGNS if d.name == "both")
    answer, _ = derive(replace(observed, design=design), WORKLOAD, function="classify", max_event_age_s=900)
    written = stack_settings(ROOT / "stacks" / "Pulumi.dev.yaml")
    settings = program.Settings.load(_raw({**written, **merged(written, answer)}), "dev")

    seen = program.declared(program.built.__wrapped__(tmp_path), settings)

    [classify] = [r for r in seen.resources if r.typ == program.FUNCTION and "-classify-" in r.name]
    [source] = [r for r in seen.resources if r.typ.endswith("EventSourceMapping")]
    [target] = [r for r in seen.resources if r.typ.endswith("appautoscaling/target:Target")]
    actions = [r for r in seen.resources if r.typ.endswith("appautoscaling/scheduledAction:ScheduledAction")]
    assert isinstance(answer["functions"], dict)
    mine = answer["functions"]["classify"]
    assert classify.inputs["reservedConcurrentExecutions"] == mine["reserved_concurrency"]
    assert (classify.inputs["timeout"], classify.inputs["memorySize"]) == (
        mine["timeout_s"],
        mine["memory_mb"],
    )
    assert source.inputs["scalingConfig"] == {"maximumConcurrency": mine["reserved_concurrency"]}
    assert (target.inputs["minCapacity"], target.inputs["maxCapacity"]) == (1, 15)
    assert sorted(a.inputs["schedule"] for a in actions) == ["cron(0 0 ? * * *)", "cron(55 7 ? * * *)"]
    assert sorted(a.inputs["scalableTargetAction"]["minCapacity"] for a in actions) == [1, 8]


def test_given_yaml_of_the_answer_when_pasted_then_it_reads_as_the_same(observed: Outcome) -> None:
    from keepwarm_planner.answers.settings import settings_yaml

    answer, _ = derive(
        replace(observed, design=DESIGNS[6]), WORKLOAD, function="classify", max_event_age_s=None
    )
    document = yaml.safe_load(settings_yaml(answer))
    assert {k.removeprefix("keepwarm:"): v for k, v in document["config"].items()} == answer
