"""The whole stack of this repository with the real CLI, for `local`, `dev` and `prod` settings.

Proves: preview, up, an empty preview after it, a clean refresh, and a destroy that leaves no resource and no process,
for each stack file; for `local`, one change of each class of setting with exactly what it touches. Does not prove
that the result runs a document: tests/e2e does, on the same table through the in-process driver.
"""

import copy
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra import bundles, program
from keepwarm_cli.errors import CliError
from tests.support.engine import ROOT, Project

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(900)]

REPOSITORY = "123456789012.dkr.ecr.us-east-1.amazonaws.com/keepwarm-inference-server"


def settings(stack: str) -> dict[str, Any]:
    """The configuration of a stack file of the repository."""
    return dict(yaml.safe_load((ROOT / "stacks" / f"Pulumi.{stack}.yaml").read_text())["config"])


def changed(config: dict[str, Any], section: str, **values: Any) -> dict[str, Any]:
    """The same configuration with some values of a section changed; objects are merged."""
    copied = copy.deepcopy(config)
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
        import json
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
    stacks: Stack, stack: str
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
    if stack == "local":
        scale_out(stacks, 2)
    if config.get("keepwarm:models", {}).get("keep", True):
        kept = [
            r for r in stacks.checkpoint(stack)["resources"] if r.get("retainOnDelete") or r.get("protect")
        ]
        assert {r["type"] for r in kept} >= {"aws:s3/bucket:Bucket", "aws:dynamodb/table:Table"}
        # What holds state is kept on purpose: a destroy takes the decision to let it go first.
        stacks.stack_file(stack, changed(config, "models", keep=False))
        stacks.must("up", stack=stack)
    stacks.must("destroy", stack=stack)
    assert stacks.inventory() == {}
    assert stacks.processes() == 0


def scale_out(stacks: Stack, tasks: int) -> None:
    """Do what the autoscaler does under load, and wait until the tasks run."""
    ecs = stacks.boto("ecs")
    cluster = ecs.list_clusters()["clusterArns"][0]
    service = ecs.list_services(cluster=cluster)["serviceArns"][0]
    ecs.update_service(cluster=cluster, service=service, desiredCount=tasks)
    deadline = time.monotonic() + 60
    while ecs.describe_services(cluster=cluster, services=[service])["services"][0]["runningCount"] < tasks:
        assert time.monotonic() < deadline, "the tasks must start"
        time.sleep(0.1)


CHANGES: dict[str, tuple[str, dict[str, Any], dict[str, str]]] = {
    "memory": (
        "functions",
        {"extract": {"memory_mb": 640}},
        {
            "Function extract-function": "update",
            "Alias extract-live": "update",
            # Its graph of cost is memory times duration.
            "Dashboard observe-dashboard": "update",
        },
    ),
    "queue timeout": (
        "functions",
        {"classify": {"timeout_s": 40}},
        {
            "Queue burst-jobs": "update",
            "Function classify-function": "update",
            "Alias classify-live": "update",
        },
    ),
    "warm-pool size": ("warm_pool", {"size": 2, "max_size": 3}, {"Target warm-target": "update"}),
    "schedule": (
        "warm_pool",
        {"schedules": [{"name": "morning", "cron": "cron(0 8 * * ? *)", "min_size": 1, "max_size": 2}]},
        {"ScheduledAction warm-schedule-0": "create"},
    ),
    "model channel": (
        "models",
        {"classifier_channel": "next"},
        {
            "BucketObjectv2 models-channel-magika-next": "create",
            "BucketObjectv2 models-channel-magika-stable": "delete",
            "Function classify-function": "update",
            "Alias classify-live": "update",
        },
    ),
    "GPU count": (
        "gpu",
        {"max_tasks": 3, "permits_per_task": 2},
        {
            "Policy reader-out": "update",
            "Target reader-target": "update",
            "MetricAlarm reader-saturated": "update",
            "Function ocr-function": "update",
            "Alias ocr-live": "update",
        },
    ),
    "workflow template": (
        "workflow",
        {"deadline_s": 600},
        {
            "StateMachine documents-machine": "update",
            "Function classify-function": "update",
            "Alias classify-live": "update",
        },
    ),
    "a removed part": (
        "observability",
        {"enabled": False},
        {
            "Dashboard observe-dashboard": "delete",
            "Topic observe-alarms": "delete",
            **{
                f"MetricAlarm observe-{name}": "delete"
                for name in (
                    *(
                        f"budget-{p}"
                        for p in ("fetch", "imports", "load", "runtime_init", "total", "verify", "warmup")
                    ),
                    *("duplicates", "goodput", "throttles", "workflow-timeouts"),
                )
            },
        },
    ),
}
"""Class of setting -> section, values, and exactly the resources that a change of it touches."""


def test_given_one_change_of_each_class_when_up_then_exactly_these_change(
    stacks: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings("local")
    stacks.stack_file("local", config)
    stacks.must("up")
    for name, (section, values, expected) in CHANGES.items():
        stacks.stack_file("local", changed(config, section, **values))
        assert stacks.must("preview").changed() == expected, name
    stacks.stack_file("local", {**config, "aws:defaultTags": {"tags": {"team": "keepwarm"}}})
    touched = stacks.must("preview").changed()
    assert set(touched.values()) == {"update"}
    assert {"Queue burst-jobs", "Bucket models-bucket", "Function classify-function"} <= set(touched)
    # The last change, together with all the others, is really made.
    everything = config
    for section, values, _ in CHANGES.values():
        everything = changed(everything, section, **values)
    stacks.stack_file("local", everything)
    together = {name for _, _, expected in CHANGES.values() for name in expected}
    # With a schedule, the schedule owns the bounds of the warm pool: a size beside it is no change of the target.
    assert set(stacks.must("up").changed()) == together - {"Target warm-target"}
    stacks.must("preview", "--expect-no-changes")
    other = code_of_another_day(tmp_path)
    stacks.stack_file("local", everything)
    found = stacks.must("up", program=lambda: with_code("extract", other))
    assert found.changed() == {"Function extract-function": "update", "Alias extract-live": "update"}
    stacks.must("destroy")
    assert stacks.inventory() == {}
    assert stacks.processes() == 0


def code_of_another_day(folder: Path) -> Path:
    """A bundle of `extract` whose bytes differ and whose behaviour does not matter here."""
    from keepwarm_localcloud.resources.assets import zip_bytes

    path = folder / "other.zip"
    path.write_bytes(zip_bytes({"main.py": (b"def handler(event, context):\n    return event\n", False)}))
    return path


def with_code(label: str, path: Path) -> None:
    """The program with another bundle for one function."""
    import dataclasses

    import pulumi
    from pulumi.runtime.config import CONFIG, get_config_env

    chosen = program.Settings.load(
        program._namespace({**get_config_env(), **CONFIG.get()}), pulumi.get_stack()
    )
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
