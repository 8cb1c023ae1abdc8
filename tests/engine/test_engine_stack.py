"""The whole stack of this repository with the real CLI, for `local`, `dev` and `prod` settings.

Proves: preview, up, an empty preview after it, a clean refresh, and a destroy that leaves no resource and no process,
for each stack file, with the GPU service scaled out where there is one and with what holds state kept where it is
declared so; one change of each class with the exact URNs that it touches. Does not prove that the result runs a
document: tests/e2e does, on the same table through the in-process driver.
"""

import copy
import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra import bundles, program
from keepwarm import durable_workflow
from keepwarm_cli.engine import by_hand
from keepwarm_cli.errors import CliError
from tests.support.engine import ROOT, Project, Result
from tests.support.patience import until

pytestmark = [pytest.mark.engine, pytest.mark.slow]

REPOSITORY = "123456789012.dkr.ecr.us-east-1.amazonaws.com/keepwarm-inference-server"


def settings(stack: str) -> dict[str, Any]:
    """The configuration of a stack file of the repository."""
    return dict(yaml.safe_load((ROOT / "stacks" / f"Pulumi.{stack}.yaml").read_text())["config"])


def changed(config: dict[str, Any], section: str, values: Any) -> dict[str, Any]:
    """The same configuration with some values of a section changed; objects are merged, None removes the section."""
    copied = copy.deepcopy(config)
    if not isinstance(values, dict):
        copied[f"keepwarm:{section}"] = values
        if section == "service":
            # The function that calls it goes with it.
            copied["keepwarm:functions"].pop("ocr", None)
        return {key: value for key, value in copied.items() if value is not None}
    target = copied.setdefault(f"keepwarm:{section}", {})
    for name, value in values.items():
        both = isinstance(value, dict) and isinstance(target.get(name), dict)
        target[name] = {**target[name], **value} if both else value
    return copied


class Stack(Project):
    """This repository's program in a project folder of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, program.main, name="keepwarm")
        image = bundles.build_image().directory
        self.environment["KEEPWARM_IMAGE_MIRRORS"] = f"{REPOSITORY}={image}"

    def processes(self) -> int:
        """Execution environments and tasks that run in the cloud."""
        from urllib.request import urlopen

        with urlopen(f"{self.endpoint()}/_keepwarm/processes") as answer:
            found = json.loads(answer.read())
        return len(found.get("processes", found) if isinstance(found, dict) else found)


@pytest.fixture(scope="module")
def stacks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    made = Stack(tmp_path_factory.mktemp("stacks"))
    yield made
    made.close()


@pytest.mark.parametrize("stack", ["local", "dev", "prod"])
def test_given_a_stack_file_when_taken_through_its_life_then_nothing_is_left(
    stacks: Stack, stack: str, tmp_path: Path
) -> None:
    config = settings(stack)
    stacks.stack_file(stack, config)
    preview = stacks.must("preview", stack=stack)
    assert set(preview.changed().values()) == {"create"}
    made = stacks.must("up", stack=stack)
    assert made.changed() == preview.changed()
    again = stacks.must("preview", "--expect-no-changes", stack=stack)
    assert again.changed() == {}
    refreshed = stacks.must("refresh", "--expect-no-changes", stack=stack)
    assert refreshed.changed() == {}

    seen = {name: change(stacks, stack, config, tmp_path) for name, change in changes_of(stack).items()}
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if os.environ.get("KEEPWARM_GOLDEN") == "write":
        golden[stack] = seen
        GOLDEN.write_text(json.dumps(golden, indent=1, sort_keys=True) + "\n")
    assert seen == golden[stack], "review the change, then run this test with KEEPWARM_GOLDEN=write"
    stacks.stack_file(stack, config)

    if "keepwarm:service" in config:
        scale_out(stacks, 2)
        # What the autoscaler owns is no drift, and the program does not take it back.
        owned = stacks.must("preview", "--refresh", "--expect-no-changes", stack=stack)
        assert owned.changed() == {}
    if stack == "local":
        all_together(stacks, config, golden["local"], tmp_path)
    held = state_resources(stacks, stack)
    stacks.must("destroy", stack=stack)
    left = stacks.inventory()
    if config.get("keepwarm:keep_data", True):
        assert set(held) >= {"aws:s3/bucket:Bucket", "aws:dynamodb/table:Table"}
        assert {service: set(kinds) for service, kinds in left.items()} == {
            "s3": {"buckets"},
            "dynamodb": {"tables"},
        }
        assert sorted(left["s3"]["buckets"]) == held["aws:s3/bucket:Bucket"]
        assert sorted(left["dynamodb"]["tables"]) == held["aws:dynamodb/table:Table"]
    else:
        assert held == {}
        assert left == {}
    assert stacks.processes() == 0
    if left:
        # Kept on purpose; here its cloud goes, and the next test starts one anew.
        by_hand.local_reset(stacks.folder)


def state_resources(stacks: Stack, stack: str) -> dict[str, list[str]]:
    """Ids of what the state keeps through a destroy, by type."""
    found: dict[str, list[str]] = {}
    for r in stacks.checkpoint(stack)["resources"]:
        if r.get("retainOnDelete") or r.get("protect"):
            found.setdefault(r["type"], []).append(r["id"])
    return {kind: sorted(ids) for kind, ids in found.items()}


def scale_out(stacks: Stack, tasks: int) -> None:
    """Do what the autoscaler does under load, and wait until the tasks run."""
    ecs = stacks.boto("ecs")
    cluster = ecs.list_clusters()["clusterArns"][0]
    service = ecs.list_services(cluster=cluster)["serviceArns"][0]
    ecs.update_service(cluster=cluster, service=service, desiredCount=tasks)
    until(
        lambda: (
            ecs.describe_services(cluster=cluster, services=[service])["services"][0]["runningCount"] >= tasks
        ),
        "the tasks must start",
    )
    assert stacks.processes() >= tasks, "the count of processes must be able to see them"


GOLDEN = Path(__file__).with_name("changes.golden.json")
"""Stack -> class of change -> URN -> what the engine would do with it. All other resources stay as they are."""

Change = Callable[[Stack, str, dict[str, Any], Path], dict[str, str]]
"""Previews one change of a stack that is up: URN -> operation."""

Settings = dict[str, tuple[str, Any]]

COMMON: Settings = {
    "memory": ("functions", {"extract": {"memory_mb": 640}}),
    "queue timeout": ("functions", {"classify": {"timeout_s": 40}}),
    "warm-pool size": ("warm_pool", {"environments": 2, "max_environments": 3}),
    "schedule": (
        "warm_pool",
        {
            "schedules": [
                {
                    "schedule_expression": "cron(0 8 * * ? *)",
                    "environments": 1,
                    "max_environments": 2,
                }
            ]
        },
    ),
    "model channel": ("functions", {"classify": {"loads_model": "magika:next"}}),
    "workflow deadline": ("workflow", {"deadline_s": 600}),
}

SETTINGS: dict[str, Settings] = {
    "local": {
        **COMMON,
        # Without GPUs to count: how many tasks there are, and how much each takes.
        "GPU count": ("service", {"max_tasks": 3, "concurrency_per_task": 2}),
        "a removed part": ("observe", False),
    },
    "dev": {**COMMON, "a removed part": ("warm_pool", None)},
    "prod": {
        **COMMON,
        "memory": ("functions", {"classify": {"memory_mb": 2048}}),
        # Nothing: the schedules own the bounds.
        "warm-pool size": ("warm_pool", {"environments": 5, "max_environments": 21}),
        "model channel": ("service", {"loads_model": "rapidocr:next"}),
        "GPU count": ("service", {"gpus": 4, "instance_types": ["g5.12xlarge"]}),
        "workflow deadline": ("workflow", {"deadline_s": 2400}),
        "a removed part": ("service", None),
    },
}
"""Stack -> class of setting -> section and values of one change of it."""


def changes_of(stack: str) -> dict[str, Change]:
    """One change of each class: of a setting, of tags, of the code, of the workflow's template."""

    def of_setting(section: str, values: Any) -> Change:
        def previewed(stacks: Stack, stack: str, config: dict[str, Any], folder: Path) -> dict[str, str]:
            stacks.stack_file(stack, changed(config, section, values))
            return by_urn(stacks.must("preview", stack=stack))

        return previewed

    def tags(stacks: Stack, stack: str, config: dict[str, Any], folder: Path) -> dict[str, str]:
        stacks.stack_file(stack, {**config, "aws:defaultTags": {"tags": {"team": "keepwarm"}}})
        return by_urn(stacks.must("preview", stack=stack))

    def code(stacks: Stack, stack: str, config: dict[str, Any], folder: Path) -> dict[str, str]:
        stacks.stack_file(stack, config)
        other = code_of_another_day(folder)
        return by_urn(stacks.must("preview", stack=stack, program=lambda: with_code("extract", other)))

    def template(stacks: Stack, stack: str, config: dict[str, Any], folder: Path) -> dict[str, str]:
        stacks.stack_file(stack, config)
        return by_urn(stacks.must("preview", stack=stack, program=lambda: with_template(folder)))

    found = {name: of_setting(*values) for name, values in SETTINGS[stack].items()}
    return {**found, "tags": tags, "code": code, "workflow template": template}


def by_urn(result: Result) -> dict[str, str]:
    """URN -> what happens to it, components left out; a replacement in one word."""
    return {
        urn: "replace" if any("replace" in o for o in operations) else operations[0]
        for urn, operations in result.operations.items()
        if urn.split("::")[2].rpartition("$")[2].startswith("aws:")
    }


def all_together(
    stacks: Stack, config: dict[str, Any], expected: dict[str, dict[str, str]], folder: Path
) -> None:
    """Really make every change of a setting at once, then that of the code: the same URNs as previewed."""
    everything = config
    for section, values in SETTINGS["local"].values():
        everything = changed(everything, section, values)
    stacks.stack_file("local", everything)
    together = {urn for name in SETTINGS["local"] for urn in expected[name]}
    # With a schedule, the schedule owns the bounds of the warm pool: a size beside it is no change of the target.
    owned = {urn for urn in together if urn.endswith("Target::documents-warm-target")}
    assert set(by_urn(stacks.must("up"))) == together - owned
    stacks.must("preview", "--expect-no-changes")
    other = code_of_another_day(folder)
    assert by_urn(stacks.must("up", program=lambda: with_code("extract", other))) == expected["code"]


def with_template(folder: Path) -> None:
    """The program with another text of the workflow's template; whoever edits the file does this."""
    original = durable_workflow.DOCUMENT_WORKFLOW
    text = original.read_text()
    assert text.count("One document:") == 1, "the edit must find its place"
    edited = folder / original.name
    edited.write_text(text.replace("One document:", "A document:"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(durable_workflow, "DOCUMENT_WORKFLOW", edited)
        program.main()


def code_of_another_day(folder: Path) -> Path:
    """A bundle of `extract` whose bytes differ and whose behaviour does not matter here."""
    from keepwarm_localcloud.pulumi_types.assets import zip_bytes

    path = folder / "other.zip"
    path.write_bytes(zip_bytes({"main.py": (b"def handler(event, context):\n    return event\n", False)}))
    return path


def with_code(label: str, path: Path) -> None:
    """The program with another bundle for one function."""
    import dataclasses

    import pulumi
    from pulumi.runtime.config import CONFIG, get_config_env

    chosen = program.settings_of({**get_config_env(), **CONFIG.get()}, pulumi.get_stack())
    built = program.build(chosen)
    functions = {**built.functions, label: dataclasses.replace(built.functions[label], path=path)}
    program.deploy(chosen, dataclasses.replace(built, functions=functions))


SAMPLES = 4
"""Kills in the whole stack: every K is tried on the small stack of test_engine_killed, these are a seeded sample."""


def test_given_the_whole_stack_when_killed_at_sampled_operations_then_a_rerun_converges(
    stacks: Stack, tmp_path: Path
) -> None:
    stacks.stack_file("local", settings("local"))
    log = tmp_path / "operations"
    stacks.must("up", environment={"KEEPWARM_FAULT_LOG": str(log)})
    boundaries = len(log.read_text().splitlines())
    expected = declared(stacks)
    stacks.must("destroy")
    chosen = random.Random(5)
    for sample in range(SAMPLES):
        boundary = chosen.randrange(sample * boundaries // SAMPLES + 1, (sample + 1) * boundaries // SAMPLES)
        victim = "self" if sample % 2 else str(stacks.state.root / "cli.pid")
        fault = {"KEEPWARM_FAULT": f"{boundary}:{victim}"}
        kill(stacks, "up", fault)
        again = stacks.must("up")
        assert declared(stacks) == expected, (boundary, victim, again.notes)
        kill(stacks, "destroy", fault)
        stacks.must("destroy")
        assert stacks.inventory() == {}, (boundary, victim)
    assert stacks.processes() == 0


def declared(stacks: Stack) -> dict[str, dict[str, int]]:
    """How much of each kind there is, but for instances in Cloud Map: tasks register there when they are healthy."""
    return {
        service: {
            kind: len(names)
            for kind, names in kinds.items()
            if (service, kind) != ("servicediscovery", "instance")
        }
        for service, kinds in stacks.inventory().items()
    }


def kill(stacks: Stack, command: str, fault: dict[str, str]) -> None:
    """Run a command that is killed on the way."""
    try:
        assert stacks.run(command, environment=fault).status != 0
    except CliError as error:
        if error.code != "KW670":
            raise
