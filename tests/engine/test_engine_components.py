"""The components cross the engine: from any language, with resource options, and from a copy of the folder.

Proves, with the real CLI against the embedded cloud: every component is constructed by its plugin with the same result
as by import; `transforms`, `aliases`, `provider` and `depends_on` on a component are honoured on both ways; a copy of
the folder alone gives the engine its schema and its components; the consumer programs (Python, YAML) deploy and work.
Does not prove what `pulumi package add` generates for each language; the schema it works from is a golden file.
"""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pulumi
import pulumi_aws as aws
import pytest

from keepwarm import Capacity, NetworkPath
from keepwarm.__main__ import COMPONENTS
from keepwarm_build.__main__ import main as build_functions
from keepwarm_cli.engine.daemons import cloud_endpoint
from tests.support.engine import Project
from tests.support.remote import Make, constructed, imported, install_alone, yaml_program
from tests.support.samples import code, seed

ROOT = Path(__file__).resolve().parents[2]
CONSUMER = ROOT / "examples" / "consumer"

pytestmark = [
    pytest.mark.engine,
    pytest.mark.slow,
    # The SDK leaves its event loop open when the engine ends under it.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    made = Project(tmp_path_factory.mktemp("components"))
    yield made
    made.close()


@pytest.fixture(autouse=True)
def nothing_stays(project: Project) -> Iterator[None]:
    yield
    if project.checkpoint().get("resources"):
        project.must("destroy", program=lambda: None)
    if cloud_endpoint(project.state) is not None:
        assert project.inventory() == {}


def outputs_of(project: Project) -> dict[str, Any]:
    """What the program exported. The stack need not be first: a lookup may make the default provider before it."""
    (stack,) = (r for r in project.checkpoint()["resources"] if r["type"] == "pulumi:pulumi:Stack")
    return dict(stack["outputs"])


def image(folder: Path) -> str:
    """An image that the embedded cloud takes; the service stays at zero tasks, so it never runs."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"Entrypoint": ["python", "-m", "http.server"]}))
    return folder.as_uri()


def every_component(make: Make, image_uri: str) -> set[str]:
    """One program with every component, wired by outputs only, as a program in another language is."""
    used: set[str] = set()

    def a(kind: str, name: str, args: dict[str, Any]) -> Any:
        used.add(kind)
        return make(kind, name, args)

    host: dict[str, Any] = {"code": code(), "runtime": "python3.11", "log_retention_days": 1, "timeout_s": 30}
    intake = a("DataBucket", "intake", {"expire_days": 1, "keep_data": False})
    store = {"bucket": intake.bucket, "bucket_arn": intake.arn}
    models = a("ModelRegistry", "models", {"models": [seed()], "keep_data": False})
    queue = a("BurstQueue", "burst", {"consumer_timeout_s": 30, "max_concurrency": 2, "intake": [store]})
    queue_binding = {
        "url": queue.url,
        "arn": queue.arn,
        "parked_url": queue.parked_url,
        "parked_arn": queue.parked_arn,
        "consumer_timeout_s": 30,
        "batch_size": 10,
        "batch_window_s": 1,
        "max_concurrency": 2,
    }
    effects = a("EffectLedger", "effects", {"keep_data": False})
    permits = a("Admission", "admission", {"pools": {"reader": 1}})
    a("EncryptionKey", "data", {"keep_data": False})
    private = a("PrivateEndpoints", "private", {})
    reader = a(
        "GpuService",
        "reader",
        {
            "image": image_uri,
            "gpus": 0,
            "capacity": Capacity.FARGATE,
            "network_path": NetworkPath.ENDPOINTS,
            "environment": {"CALLERS_VPC": private.vpc_id},
            "log_retention_days": 1,
            "termination_protection": False,
        },
    )
    publish = a(
        "RuntimeFunction",
        "publish",
        {
            **host,
            "environment": {"GREETING": "hello"},
            "service": {"namespace": reader.namespace, "name": reader.discovery_name},
            "admission": {"table": permits.table, "table_arn": permits.arn, "pool": "reader", "permits": 1},
            "ledger": {
                "table": effects.table,
                "table_arn": effects.table_arn,
                "bucket": effects.bucket,
                "bucket_arn": effects.bucket_arn,
            },
        },
    )
    workflow = a(
        "DurableWorkflow",
        "documents",
        {
            "functions": {step: publish.arn for step in ("extract", "enrich", "publish")},
            "dead_letters": queue_binding,
            "log_retention_days": 1,
        },
    )
    classify = a(
        "PreprocessingFunction",
        "classify",
        {
            **host,
            "queue": queue_binding,
            "sources": [store],
            "model": {
                "bucket": models.bucket,
                "bucket_arn": models.arn,
                "ref": models.refs["magika"],
                "size_mb": 1,
            },
            "workflow": {"arn": workflow.arn},
        },
    )
    a(
        "WarmPool",
        "warm",
        {
            "target": {
                "function_name": classify.function_name,
                "alias": classify.alias,
                "compatibility_key": classify.compatibility_key,
            },
            "environments": 1,
            "max_environments": 2,
            "schedules": [
                {"schedule_expression": "cron(0 8 ? * MON-FRI *)", "environments": 1, "max_environments": 2}
            ],
        },
    )
    a(
        "Observability",
        "observe",
        {
            "functions": {"classify": classify.function_name},
            "queues": {"burst": queue.queue_name},
            "parked_queues": {"burst": queue.parked_name},
            "services": {"reader": reader.discovery_name},
            "workflow_arn": workflow.arn,
            "budgets_ms": {"fetch": 500, "total": 2000},
        },
    )
    stage = {"code": code(), "runtime": "python3.11", "timeout_s": 30}
    whole = a(
        "ServerlessRuntime",
        "stack",
        {"functions": {"classify": stage}, "entry": "classify", "keep_data": False, "log_retention_days": 1},
    )
    pulumi.export("classify", classify.arn)
    pulumi.export("entry", whole.entry_arn)
    return used


def test_given_every_component_when_constructed_by_the_engine_then_it_is_the_same_as_by_import(
    project: Project, tmp_path: Path
) -> None:
    uri = image(tmp_path / "image")
    used: set[str] = set()
    made = project.up(lambda: used.update(every_component(constructed, uri)))
    assert used == set(COMPONENTS)
    assert set(made.changed().values()) == {"create"}
    remote = {r["urn"]: r for r in project.checkpoint()["resources"]}
    roots = {
        u.split("::")[2] for u in remote if u.split("::")[2].startswith("keepwarm:index:") and "$" not in u
    }
    assert roots == {f"keepwarm:index:{kind}" for kind in COMPONENTS}
    for export in ("classify", "entry"):
        arn = outputs_of(project)[export]
        assert arn.startswith("arn:aws:lambda:"), arn
        answer = project.boto("lambda").invoke(FunctionName=arn, Payload=b'{"asked": 1}')
        assert json.loads(answer["Payload"].read()) == {"asked": 1}

    by_import = project.must("preview", "--expect-no-changes", program=lambda: every_component(imported, uri))
    assert by_import.changed() == {}


def delayed(args: pulumi.ResourceTransformArgs) -> pulumi.ResourceTransformResult | None:
    """Change what BurstQueue has no input for."""
    if not args.name.endswith("-jobs"):
        return None
    return pulumi.ResourceTransformResult({**args.props, "delaySeconds": 7}, args.opts)


def order(project: Project) -> list[tuple[str, str]]:
    """What the last run did, in order: (`starts` or `done`, logical name), components included."""
    found = []
    for line in (project.folder / "events.json").read_text().splitlines():
        event = json.loads(line)
        for key, word in (("resourcePreEvent", "starts"), ("resOutputsEvent", "done")):
            if key in event:
                found.append((word, event[key]["metadata"]["urn"].rpartition("::")[2]))
    return found


WAYS = [pytest.param(imported, id="imported"), pytest.param(constructed, id="constructed")]


@pytest.mark.parametrize("make", WAYS)
def test_given_options_on_a_component_when_up_and_destroyed_then_its_children_follow_them(
    project: Project, make: Make
) -> None:
    def program(name: str = "burst", aliases: Sequence[pulumi.Alias] = ()) -> None:
        first = aws.sqs.Queue("first")
        other = aws.Provider("other", region="us-east-1")
        options = pulumi.ResourceOptions(
            provider=other, depends_on=[first], transforms=[delayed], aliases=list(aliases)
        )
        burst = make("BurstQueue", name, {}, options)
        component = getattr(burst, "resource", burst)
        aws.sqs.Queue("after", opts=pulumi.ResourceOptions(depends_on=[component]))

    project.up(program)
    happened = order(project)
    url = project.resource("burst-jobs")["id"]
    told = project.boto("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["DelaySeconds"])
    assert told["Attributes"]["DelaySeconds"] == "7", "transforms"
    component = project.resource("burst")
    children = [r for r in project.checkpoint()["resources"] if r.get("parent") == component["urn"]]
    names = [c["urn"].rpartition("::")[2] for c in children]
    assert {"burst-jobs", "burst-parked", "burst-age"} <= set(names)
    assert {c["provider"].rsplit("::", 2)[1] for c in children} == {"other"}, "provider"
    assert happened.index(("done", "first")) < min(happened.index(("starts", n)) for n in names)
    assert happened.index(("starts", "after")) > max(happened.index(("done", n)) for n in names)

    renamed = project.up(lambda: program("calls", [pulumi.Alias(name="burst")]))
    assert renamed.changed() == {}, "aliases of a component are those of its children"
    assert project.resource("calls-jobs")["id"] == url

    project.must("destroy", program=lambda: None)
    happened = order(project)
    renamed_names = [n.replace("burst", "calls", 1) for n in names]
    assert happened.index(("starts", "first")) > max(happened.index(("done", n)) for n in renamed_names)
    assert happened.index(("done", "after")) < min(happened.index(("starts", n)) for n in renamed_names)


def test_given_a_copy_of_the_folder_alone_when_the_engine_uses_it_then_schema_and_components_are_there(
    project: Project, tmp_path: Path
) -> None:
    python = install_alone(tmp_path)
    shim = tmp_path / "bin" / "pulumi-resource-keepwarm"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec "{python}" -m keepwarm "$@"\n')
    shim.chmod(0o755)
    path = {"PATH": f"{shim.parent}{os.pathsep}{project.environment['PATH']}", "PYTHONPATH": ""}

    told = json.loads(project.must("package", "get-schema", str(shim), environment=path).text)
    golden = json.loads((ROOT / "tests" / "components" / "golden" / "schema.json").read_text())
    assert set(told["resources"]) == {f"keepwarm:index:{kind}" for kind in COMPONENTS}
    for kind, described in golden["resources"].items():
        # The engine leaves out what is empty.
        assert set(told["resources"][kind]["inputProperties"]) == set(described["inputProperties"])
        assert set(told["resources"][kind]["properties"]) == set(described["properties"])
        assert told["resources"][kind].get("requiredInputs", []) == described.get("requiredInputs", [])

    made = project.up(lambda: constructed("BurstQueue", "alone", {}), environment=path)
    assert made.changed()["Queue alone-jobs"] == "create"


def work_once(project: Project, jobs_url: str, measure_arn: str) -> None:
    """Send a message and wait until the function has taken it, in its warm environment."""
    function = measure_arn.split(":")[6]
    project.boto("sqs").send_message(QueueUrl=jobs_url, MessageBody="keep warm")
    since = 0
    while True:
        with urlopen(f"{project.endpoint()}/_keepwarm/journal?since={since}&wait_s=5") as answer:
            entries = json.loads(answer.read())
        for entry in entries:
            since = entry["sequence"]
            if entry["kind"] == "invocation" and entry["function"] == function:
                assert (entry["outcome"], entry["pool"]) == ("ok", "provisioned"), entry
                return


def test_given_the_consumer_program_when_run_in_its_folder_then_it_deploys_and_works(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "consumer"
    project = Project(folder, name="consumer")
    try:
        shutil.copytree(CONSUMER, folder, dirs_exist_ok=True)
        shutil.rmtree(folder / "stacks")
        project.up(None)
        outputs = outputs_of(project)
        work_once(project, outputs["jobs_url"], outputs["measure_arn"])
        project.must("preview", "--expect-no-changes")
        project.must("destroy")
        assert project.inventory() == {}
    finally:
        project.close()


def test_given_the_yaml_program_when_its_components_are_constructed_then_it_deploys_and_works(
    project: Project, tmp_path: Path
) -> None:
    folder = shutil.copytree(CONSUMER, tmp_path / "consumer")
    command = [str(folder / "function"), "--runtime", "python3.12", "--out", str(folder / "build")]
    assert build_functions([*command, "--cache", str(tmp_path / "cache")]) == 0
    project.up(yaml_program(folder / "yaml" / "Pulumi.yaml"))
    outputs = outputs_of(project)
    work_once(project, outputs["jobsUrl"], outputs["measureArn"])
