"""ECS of the embedded cloud over boto3, with real processes.

Proves registration rules, task life, logs, health, rolling deployments, circuit breaker, service discovery and the
order of deletion with protected instances. Does not prove container isolation: a task is a process of this machine.
"""

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from keepwarm_localcloud.clockwork.clock import ManualClock
from keepwarm_localcloud.cloud import Cloud, CloudSettings
from keepwarm_localcloud.request import AwsError
from keepwarm_localcloud.services.context import Service
from keepwarm_localcloud.services.ecs import EcsService
from keepwarm_localcloud.services.ecs.definitions import check
from keepwarm_localcloud.services.servicediscovery import ServiceDiscoveryService
from keepwarm_localcloud.services.sts.service import StsService
from tests.support.patience import until

SERVER = """
import http.server, os, signal, sys, threading
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(os.environ.get("ANSWER", "?").encode())
    def log_message(self, *a): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["KEEPWARM_PORT"])), H)
def drain(*a):
    print("draining", flush=True); threading.Thread(target=server.shutdown).start()
signal.signal(signal.SIGTERM, drain)
print("listening", os.environ.get("ANSWER"), flush=True)
server.serve_forever()
"""
CHECK = (
    "import os, urllib.request;"
    "urllib.request.urlopen('http://127.0.0.1:' + os.environ['KEEPWARM_PORT'], timeout=1)"
)
GROUP = "/ecs/test"


class Ecs:
    """A cloud with a cluster, an image and shortcuts."""

    def __init__(self, cloud: Cloud, folder: Path) -> None:
        self.cloud = cloud
        self.api = cloud.boto("ecs")
        self.folder = folder
        self.image = self.make_image("server", SERVER)
        self.api.create_cluster(clusterName="c", capacityProviders=["FARGATE"])
        cloud.boto("logs").create_log_group(logGroupName=GROUP)

        self.roles: dict[str, str] = {}

    def allow(self, role: str, *actions: str) -> None:
        statement = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        self.cloud.boto("iam").put_role_policy(RoleName=role, PolicyName="p", PolicyDocument=policy)

    def role(self, name: str, *actions: str) -> str:
        """A role that tasks may use."""
        if name not in self.roles:
            statement = {"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}}
            answer = self.cloud.boto("iam").create_role(
                RoleName=name, AssumeRolePolicyDocument=json.dumps({"Statement": [statement]})
            )
            self.roles[name] = answer["Role"]["Arn"]
            self.allow(name, *actions)
        return self.roles[name]

    def make_image(self, name: str, source: str) -> str:
        root = self.folder / name
        root.mkdir()
        (root / "main.py").write_text(source)
        (root / "config.json").write_text(
            json.dumps({"Entrypoint": ["python", "${ROOT}/main.py"], "Env": ["A=${ROOT}"]})
        )
        return f"file://{root}"

    def define(
        self, *, image: str | None = None, family: str = "web", container: Any = None, **options: Any
    ) -> str:
        body = {
            "name": "main",
            "image": image or self.image,
            "environment": [{"name": "ANSWER", "value": "one"}],
            "portMappings": [{"containerPort": 8080}],
            "stopTimeout": 5,
            "logConfiguration": {
                "logDriver": "awslogs",
                "options": {
                    "awslogs-group": GROUP,
                    "awslogs-stream-prefix": "web",
                    "awslogs-region": "us-east-1",
                },
            },
            **(container or {}),
        }
        options = {
            "networkMode": "awsvpc",
            "requiresCompatibilities": ["FARGATE"],
            "cpu": "256",
            "memory": "512",
            "executionRoleArn": self.role("exec", "logs:CreateLogStream", "logs:PutLogEvents"),
            **options,
        }
        options = {k: v for k, v in options.items() if v is not None}
        answer = self.api.register_task_definition(family=family, containerDefinitions=[body], **options)
        return str(answer["taskDefinition"]["taskDefinitionArn"])

    @property
    def network(self) -> dict[str, Any]:
        return {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}

    def serve(self, definition: str, count: int = 1, name: str = "web", **options: Any) -> None:
        options = {"launchType": "FARGATE", "networkConfiguration": self.network, **options}
        options = {k: v for k, v in options.items() if v is not None}
        self.api.create_service(
            cluster="c", serviceName=name, taskDefinition=definition, desiredCount=count, **options
        )

    def service(self, name: str = "web") -> dict[str, Any]:
        found: dict[str, Any] = self.api.describe_services(cluster="c", services=[name])["services"][0]
        return found

    def steady(self, count: int, name: str = "web") -> dict[str, Any]:
        def look() -> Any:
            service = self.service(name)
            done = (
                len(service["deployments"]) == 1 and service["deployments"][0]["rolloutState"] == "COMPLETED"
            )
            return (
                service
                if done and service["runningCount"] == count and service["pendingCount"] == 0
                else None
            )

        try:
            return dict(until(look))
        except AssertionError:
            raise AssertionError(json.dumps(self.service(name), default=str, indent=1)) from None

    def task(self, arn: str) -> dict[str, Any]:
        found: dict[str, Any] = self.api.describe_tasks(cluster="c", tasks=[arn])["tasks"][0]
        return found

    def stopped(self, arn: str) -> dict[str, Any]:
        return dict(until(lambda: self.task(arn) if self.task(arn)["lastStatus"] == "STOPPED" else None))

    def run(self, definition: str, **options: Any) -> str:
        options = {"launchType": "FARGATE", "networkConfiguration": self.network, **options}
        return str(
            self.api.run_task(cluster="c", taskDefinition=definition, **options)["tasks"][0]["taskArn"]
        )

    def states(self, arn: str) -> list[str]:
        identity = arn.rpartition("/")[2]
        return [
            e.facts["state"] for e in self.cloud.journal.since(kind="task") if e.facts["task"] == identity
        ]

    def lines(self) -> list[str]:
        events = self.cloud.boto("logs").filter_log_events(logGroupName=GROUP)["events"]
        return [e["message"] for e in events]


@pytest.fixture
def ecs(tmp_path: Path) -> Iterator[Ecs]:
    services: list[Service] = [EcsService(boot_s=0.1), ServiceDiscoveryService(), StsService()]
    with Cloud(CloudSettings(account_id="123456789023"), services) as cloud:
        yield Ecs(cloud, tmp_path)


def _alive(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"networkMode": "bridge"}, "Fargate only supports network mode"),
        ({"cpu": "256", "memory": "4096"}, "No Fargate configuration exists for given values: 256 CPU, 4096 memory"),
        ({"container": {"resourceRequirements": [{"type": "GPU", "value": "1"}]}}, "do not support GPU"),
        ({"executionRoleArn": None}, "execution role ARN to support log driver awslogs"),
        ({"container": {"name": "a b"}}, "Invalid container name"),
        ({"container": {"mountPoints": [{"sourceVolume": "x", "containerPath": "/x"}]}}, "Unknown volume 'x'"),
        ({"container": {"healthCheck": {"command": ["curl"]}}}, "healthCheck.command must start with CMD"),
        ({"container": {"healthCheck": {"command": ["CMD", "x"], "interval": 1}}}, "must be between 5 and 300"),
        ({"image": "public.ecr.aws/x/y:1"}, "KW611.*can't run without Docker"),
        ({"container": {"essential": False}}, "At least one container must be essential"),
    ],
)  # fmt: skip
def test_given_a_bad_task_definition_when_registered_then_client_exception(
    ecs: Ecs, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ClientError, match=f"ClientException.*{message}"):
        ecs.define(**change)


IMAGE = {"name": "m", "image": "file:///x"}
FARGATE = {"networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"], "cpu": "256", "memory": "512"}
SETTING = "Invalid setting for container 'm'. "


@pytest.mark.parametrize(
    ("change", "container", "message"),
    [
        ({"family": "a b"}, {},
         "Family should be up to 255 letters (uppercase and lowercase), numbers, underscores, and hyphens."),
        ({"containerDefinitions": []}, {}, "Container list cannot be empty."),
        ({"networkMode": "mesh"}, {}, "Invalid network mode 'mesh'."),
        ({"containerDefinitions": [IMAGE, IMAGE]}, {}, "Container name 'm' is not unique in the task definition."),
        ({}, {"image": ""}, "Container.image should not be null or empty."),
        ({"memory": None, "requiresCompatibilities": ["EC2"]}, {},
         f"{SETTING}At least one of 'memory' or 'memoryReservation' must be specified."),
        ({}, {"memory": 128, "memoryReservation": 256}, f"{SETTING}'memory' must be greater than 'memoryReservation'."),
        ({}, {"healthCheck": {"command": ["CMD", "x"], "timeout": 61}},
         f"{SETTING}healthCheck.timeout must be between 2 and 60."),
        ({}, {"healthCheck": {"command": ["CMD", "x"], "retries": 11}},
         f"{SETTING}healthCheck.retries must be between 1 and 10."),
        ({}, {"healthCheck": {"command": ["CMD", "x"], "startPeriod": 301}},
         f"{SETTING}healthCheck.startPeriod must be between 0 and 300."),
        ({}, {"dependsOn": [{"containerName": "n", "condition": "START"}]},
         "Container 'm' depends on an unknown container."),
        ({}, {"portMappings": [{"containerPort": 80, "hostPort": 81}]},
         "When networkMode=awsvpc, the host ports and container ports in port mappings must match."),
        ({"cpu": None}, {}, "Fargate requires that 'cpu' and 'memory' be defined at the task level."),
        ({"cpu": "1 vCPU", "memory": "1 GB"}, {},
         "No Fargate configuration exists for given values: 1024 CPU, 1024 memory. "
         "See the Amazon ECS documentation for the valid values."),
        ({"cpu": "lots"}, {}, "Invalid setting for container. Invalid value 'lots'"),
        ({"volumes": [{"name": "v", "host": {"sourcePath": "/x"}}]}, {},
         "Fargate compatible task definitions do not support host volumes with a sourcePath."),
        ({}, {"privileged": True}, "Fargate compatible task definitions do not support privileged containers."),
        ({}, {"stopTimeout": 121}, "The stopTimeout of a container must be at most 120 seconds on Fargate."),
    ],
)  # fmt: skip
def test_given_a_definition_that_ecs_refuses_when_checked_then_client_exception_says_why(
    change: dict[str, Any], container: dict[str, Any], message: str
) -> None:
    good = {"family": "f", "containerDefinitions": [{**IMAGE, **container}], **FARGATE}
    assert check({"family": "f", "containerDefinitions": [IMAGE], **FARGATE})
    with pytest.raises(AwsError) as refused:
        check({k: v for k, v in {**good, **change}.items() if v is not None})
    assert (refused.value.code, refused.value.message) == ("ClientException", message)


class Shell:
    """A cluster of shell scripts on a clock moved by hand."""

    def __init__(self, cloud: Cloud, clock: ManualClock, folder: Path) -> None:
        self.cloud, self.clock, self.api = cloud, clock, cloud.boto("ecs")
        (folder / "config.json").write_text(json.dumps({"Entrypoint": ["/bin/sh", "-c"]}))
        self.image = f"file://{folder}"
        self.api.create_cluster(clusterName="c")

    def define(self, *containers: dict[str, Any], **options: Any) -> str:
        named = [{"name": "m", "image": self.image, "stopTimeout": 2, **c} for c in containers]
        answer = self.api.register_task_definition(
            family="t", containerDefinitions=named, **{**FARGATE, **options}
        )
        return str(answer["taskDefinition"]["taskDefinitionArn"])

    def run(self, definition: str) -> str:
        answer = self.api.run_task(
            cluster="c", taskDefinition=definition, launchType="FARGATE", networkConfiguration=NETWORK
        )
        return str(answer["tasks"][0]["taskArn"])

    def task(self, arn: str) -> dict[str, Any]:
        found: dict[str, Any] = self.api.describe_tasks(cluster="c", tasks=[arn])["tasks"][0]
        return found

    def serve(self, definition: str, count: int, **options: Any) -> None:
        self.api.create_service(
            cluster="c", serviceName="s", taskDefinition=definition, desiredCount=count, launchType="FARGATE",
            networkConfiguration=NETWORK, **options,
        )  # fmt: skip

    def service(self) -> dict[str, Any]:
        found: dict[str, Any] = self.api.describe_services(cluster="c", services=["s"])["services"][0]
        return found

    def until(self, condition: Callable[[], Any]) -> Any:
        """Let the clock go on in steps of what counts as started until something holds."""

        def look() -> Any:
            self.clock.advance(0.5)
            return condition()

        return until(look)

    def steady(self, count: int) -> None:
        def done() -> bool:
            service = self.service()
            states = [d["rolloutState"] for d in service["deployments"]]
            return states == ["COMPLETED"] and service["runningCount"] == count

        self.until(done)

    def states(self) -> list[tuple[str, str]]:
        return [(e.facts["task"], e.facts["state"]) for e in self.cloud.journal.since(kind="task")]


NETWORK = {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    clock = ManualClock()
    services: list[Service] = [EcsService(), ServiceDiscoveryService()]
    with Cloud(CloudSettings(account_id="123456789028", clock=clock), services) as cloud:
        yield Shell(cloud, clock, tmp_path)


@pytest.mark.parametrize(
    ("condition", "first", "output"),
    [
        ("SUCCESS", "sleep 0.1; echo first >> LOG", "first second"),
        ("COMPLETE", "sleep 0.1; echo first >> LOG; exit 3", "first second"),
        ("HEALTHY", "sleep 0.1; echo first >> LOG; sleep 60", "first second"),
        # Started is enough: the first one goes on only when the second has written.
        ("START", "until grep -q second LOG; do sleep 0.02; done; echo first >> LOG", "second first"),
    ],
)
def test_given_a_dependency_when_its_condition_is_met_then_the_other_container_starts(
    shell: Shell, tmp_path: Path, condition: str, first: str, output: str
) -> None:
    log = tmp_path / "log"
    log.touch()
    health = {"command": ["CMD-SHELL", f"grep -q first {log}"], "interval": 5}
    shell.run(
        shell.define(
            {"name": "a", "essential": False, "command": [first.replace("LOG", str(log))], "healthCheck": health},
            {"command": [f"echo second >> {log}; sleep 60"],
             "dependsOn": [{"containerName": "a", "condition": condition}]},
        )
    )  # fmt: skip
    shell.until(lambda: log.read_text().split() == output.split())


def test_given_a_dependency_that_fails_when_success_is_asked_then_the_task_fails_to_start(
    shell: Shell,
) -> None:
    arn = shell.run(
        shell.define(
            {"name": "a", "essential": False, "command": ["exit 3"]},
            {"command": ["sleep 60"], "dependsOn": [{"containerName": "a", "condition": "SUCCESS"}]},
        )
    )
    task = until(lambda: shell.task(arn) if shell.task(arn)["lastStatus"] == "STOPPED" else None)
    assert (task["stopCode"], task["stoppedReason"]) == (
        "TaskFailedToStart",
        "Container m dependency a exited with 3",
    )


@pytest.mark.parametrize(("least", "most", "fewest", "live"), [(100, 200, 2, 4), (50, 100, 1, 2)])
def test_given_a_new_revision_when_deployed_then_never_fewer_or_more_tasks_than_the_percentages_allow(
    shell: Shell, least: int, most: int, fewest: int, live: int
) -> None:
    shell.serve(
        shell.define({"command": ["sleep 60"]}), 2,
        deploymentConfiguration={"minimumHealthyPercent": least, "maximumPercent": most},
    )  # fmt: skip
    shell.steady(2)
    before = len(shell.states())
    shell.api.update_service(cluster="c", service="s", taskDefinition=shell.define({"command": ["sleep 61"]}))
    shell.steady(2)
    running = {task for task, state in shell.states()[:before] if state == "RUNNING"}
    alive, counts = set(running), []
    for task, state in shell.states()[before:]:
        if state == "PROVISIONING":
            alive.add(task)
        elif state == "RUNNING":
            running.add(task)
        elif state == "DEACTIVATING":
            # Tasks that are on their way out no longer count.
            running.discard(task)
            alive.discard(task)
        counts.append((len(running), len(alive)))
    assert min(n for n, _ in counts) == fewest
    assert max(n for _, n in counts) == live


def test_given_a_breaker_without_rollback_when_tasks_fail_then_the_deployment_fails_and_starts_no_more(
    shell: Shell,
) -> None:
    breaker = {"deploymentCircuitBreaker": {"enable": True, "rollback": False}}
    shell.serve(shell.define({"command": ["exit 1"]}), 1, deploymentConfiguration=breaker)
    shell.until(lambda: shell.service()["deployments"][0]["rolloutState"] == "FAILED")
    deployment = shell.service()["deployments"][0]
    assert (deployment["failedTasks"], deployment["rolloutStateReason"]) == (
        3,
        "ECS deployment circuit breaker: tasks failed to start.",
    )
    started = sum(state == "PROVISIONING" for _, state in shell.states())
    shell.clock.advance(3600)
    # A task of its own goes through its life meanwhile.
    arn = shell.run(shell.define({"command": ["exit 0"]}))
    until(lambda: shell.task(arn)["lastStatus"] == "STOPPED")
    assert sum(state == "PROVISIONING" for _, state in shell.states()) == started + 1


def test_given_a_service_when_only_its_capacity_changes_then_no_new_deployment(shell: Shell) -> None:
    shell.api.put_cluster_capacity_providers(
        cluster="c", capacityProviders=["FARGATE", "FARGATE_SPOT"], defaultCapacityProviderStrategy=[]
    )
    shell.api.create_service(
        cluster="c", serviceName="s", taskDefinition=shell.define({}), desiredCount=0, networkConfiguration=NETWORK,
        capacityProviderStrategy=[{"capacityProvider": "FARGATE", "weight": 1}],
    )  # fmt: skip
    first = shell.service()["deployments"][0]["id"]
    spot = [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]
    service = shell.api.update_service(cluster="c", service="s", capacityProviderStrategy=spot)["service"]
    assert service["capacityProviderStrategy"] == spot
    assert [d["id"] for d in service["deployments"]] == [first]


def test_given_a_launch_type_when_a_strategy_comes_and_goes_then_the_service_has_one_or_the_other(
    shell: Shell,
) -> None:
    shell.api.put_cluster_capacity_providers(
        cluster="c", capacityProviders=["FARGATE", "FARGATE_SPOT"], defaultCapacityProviderStrategy=[]
    )
    shell.serve(shell.define({}), 0)
    first = shell.service()["deployments"][0]["id"]
    for strategy in ([{"capacityProvider": "FARGATE_SPOT", "weight": 1}], []):
        answer = shell.api.update_service(cluster="c", service="s", capacityProviderStrategy=strategy)
        service = answer["service"]
        assert [d["id"] for d in service["deployments"]] == [first]
        assert service.get("capacityProviderStrategy", []) == strategy
        assert service.get("launchType") == (None if strategy else "FARGATE")


def test_given_a_container_port_in_use_when_run_then_another_one_and_the_health_check_goes_there(
    shell: Shell, tmp_path: Path
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        shell.serve(
            shell.define(
                {
                    "command": [f"echo $KEEPWARM_PORT > {tmp_path}/port; sleep 60"],
                    "portMappings": [{"containerPort": port}],
                    "healthCheck": {
                        "command": ["CMD-SHELL", f"test localhost:{port} = localhost:$KEEPWARM_PORT"],
                        "interval": 5,
                    },
                }
            ),
            1,
        )
        shell.steady(1)
        (arn,) = shell.api.list_tasks(cluster="c")["taskArns"]
        (container,) = shell.task(arn)["containers"]
    (binding,) = container["networkBindings"]
    assert container["healthStatus"] == "HEALTHY"
    assert (binding["containerPort"], binding["hostPort"] != port) == (port, True)
    assert (tmp_path / "port").read_text().strip() == str(binding["hostPort"])


def test_given_volumes_and_tmpfs_when_run_then_each_is_a_private_folder_that_ends_with_the_task(
    shell: Shell, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    write = f'echo "$SHARED $SCRATCH $OTHER" >> {out}; touch $SHARED/by-$NAME; sleep 60'
    names = {"SHARED": "/data/models", "SCRATCH": "/scratch", "OTHER": "/database"}

    def container(name: str) -> dict[str, Any]:
        environment = [{"name": k, "value": v} for k, v in {**names, "NAME": name}.items()]
        return {
            "name": name, "command": [f"mkdir -p $SHARED; {write}"], "environment": environment,
            "mountPoints": [{"sourceVolume": "v", "containerPath": "/data"}],
            "linuxParameters": {"tmpfs": [{"containerPath": "/scratch", "size": 8}]},
        }  # fmt: skip

    arn = shell.run(
        shell.define(container("a"), container("b"), volumes=[{"name": "v"}], requiresCompatibilities=["FARGATE"])
    )  # fmt: skip
    until(lambda: out.exists() and len(out.read_text().splitlines()) == 2)
    (shared, scratch, other), (shared_too, scratch_too, _) = (
        line.split() for line in out.read_text().splitlines()
    )
    assert shared == shared_too
    assert scratch != scratch_too
    assert other == "/database", "only what is at or under a mount is rewritten"
    until(lambda: sorted(p.name for p in Path(shared).iterdir()) == ["by-a", "by-b"])
    shell.api.stop_task(cluster="c", task=arn)
    until(lambda: shell.task(arn)["lastStatus"] == "STOPPED")
    assert not Path(shared).exists()
    assert not Path(scratch).exists()


def test_given_a_service_registry_then_a_task_is_found_from_healthy_until_sigterm(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api, mark = shell.cloud.boto("servicediscovery"), tmp_path / "well"
    operation = api.create_http_namespace(Name="ns")["OperationId"]
    namespace = api.get_operation(OperationId=operation)["Operation"]["Targets"]["NAMESPACE"]
    registry = api.create_service(Name="gpu", NamespaceId=namespace)["Service"]
    instances = (
        shell.cloud.service("servicediscovery", ServiceDiscoveryService).services[registry["Id"]].instances
    )
    health = {"command": ["CMD-SHELL", f"test -e {mark}"], "interval": 300, "startPeriod": 300}
    shell.serve(
        shell.define({"command": ["sleep 60"], "portMappings": [{"containerPort": 8080}], "healthCheck": health}),
        1, serviceRegistries=[{"registryArn": registry["Arn"]}],
    )  # fmt: skip
    shell.until(lambda: shell.service()["runningCount"] == 1)
    assert instances == {}
    mark.touch()
    shell.until(lambda: len(instances) == 1)
    at_sigterm: list[int] = []
    send = shell.cloud.processes.signal

    def watch(child: Any, number: int) -> None:
        if number == signal.SIGTERM:
            at_sigterm.append(len(instances))
        send(child, number)

    monkeypatch.setattr(shell.cloud.processes, "signal", watch)
    shell.api.update_service(cluster="c", service="s", desiredCount=0)
    shell.until(lambda: shell.service()["runningCount"] == 0)
    until(lambda: at_sigterm)
    assert at_sigterm == [0]


def test_given_a_mirrored_repository_when_registered_then_the_local_image_runs(ecs: Ecs) -> None:
    ecs.cloud.image_mirrors["123.dkr.ecr.us-east-1.amazonaws.com/server"] = ecs.image
    arn = ecs.run(ecs.define(image=f"123.dkr.ecr.us-east-1.amazonaws.com/server@sha256:{'0' * 64}"))
    until(lambda: ecs.task(arn)["lastStatus"] == "RUNNING")


def test_given_a_task_when_run_and_stopped_then_it_goes_through_every_state_and_drains(ecs: Ecs) -> None:
    arn = ecs.run(ecs.define())
    until(lambda: any("listening one" in line for line in ecs.lines()))
    container = ecs.task(arn)["containers"][0]
    port = container["networkBindings"][0]["hostPort"]
    with socket.create_connection(("127.0.0.1", port), 2) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert connection.makefile().read().endswith("one")
    ecs.api.stop_task(cluster="c", task=arn, reason="enough")
    task = ecs.stopped(arn)
    assert (task["stopCode"], task["stoppedReason"]) == ("UserInitiated", "enough")
    assert task["containers"][0]["exitCode"] == 0
    assert ecs.states(arn) == [
        "PROVISIONING", "PENDING", "ACTIVATING", "RUNNING", "DEACTIVATING", "STOPPING", "DEPROVISIONING", "STOPPED",
    ]  # fmt: skip
    assert "draining" in "".join(ecs.lines())
    assert not _alive(int(container["runtimeId"]))


@pytest.mark.slow
def test_given_a_process_that_ignores_sigterm_when_stopped_then_killed_after_stop_timeout(ecs: Ecs) -> None:
    image = ecs.make_image(
        "deaf",
        "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(3600)",
    )
    arn = ecs.run(ecs.define(image=image, container={"stopTimeout": 2}))
    until(lambda: any("up" in line for line in ecs.lines()))
    begun_s = time.monotonic()
    ecs.api.stop_task(cluster="c", task=arn)
    assert ecs.stopped(arn)["containers"][0]["exitCode"] == 137
    # It was given its time, which no machine makes shorter, and killed before the hour it would sleep.
    assert time.monotonic() - begun_s > 1.5


def test_given_an_essential_container_that_exits_when_run_then_exit_code_and_reason(ecs: Ecs) -> None:
    arn = ecs.run(ecs.define(image=ecs.make_image("fails", "import sys; sys.exit(3)")))
    task = ecs.stopped(arn)
    assert (task["stopCode"], task["containers"][0]["exitCode"]) == ("EssentialContainerExited", 3)
    assert task["stoppedReason"] == "Essential container in task exited"


def test_given_a_missing_log_group_when_run_then_the_task_fails_to_start(ecs: Ecs) -> None:
    log = {"logDriver": "awslogs", "options": {"awslogs-group": "/none", "awslogs-stream-prefix": "x"}}
    task = ecs.stopped(ecs.run(ecs.define(container={"logConfiguration": log})))
    assert task["stopCode"] == "TaskFailedToStart"
    assert "ResourceInitializationError" in task["stoppedReason"]


def test_given_a_task_role_secrets_and_volumes_when_run_then_the_environment_is_only_what_aws_gives(
    ecs: Ecs,
) -> None:
    source = (
        "import json, os, boto3\n"
        "open(os.environ['CACHE'] + '/x', 'w').write('1')\n"
        "who = boto3.client('sts').get_caller_identity()['Arn']\n"
        "print(json.dumps({'who': who, 'secret': os.environ['SECRET'], 'names': sorted(os.environ)}), flush=True)\n"
    )
    ecs.cloud.boto("ssm").put_parameter(Name="/app/secret", Value="s3cret", Type="SecureString")
    definition = ecs.define(
        image=ecs.make_image("who", source),
        taskRoleArn=ecs.role("task", "sts:GetCallerIdentity"),
        volumes=[{"name": "models"}],
        container={
            "secrets": [
                {"name": "SECRET", "valueFrom": "arn:aws:ssm:us-east-1:123456789023:parameter/app/secret"}
            ],
            "environment": [{"name": "CACHE", "value": "/models"}],
            "mountPoints": [{"sourceVolume": "models", "containerPath": "/models"}],
        },
    )
    ecs.allow("exec", "ssm:GetParameters", "logs:*")
    task = ecs.stopped(ecs.run(definition))
    assert task["containers"][0]["exitCode"] == 0, (task, ecs.lines())
    seen = json.loads(ecs.lines()[-1])
    assert "assumed-role/task/" in seen["who"]
    assert seen["secret"] == "s3cret"
    assert not {"USER", "VIRTUAL_ENV", "PYTEST_CURRENT_TEST"} & set(seen["names"])


def test_given_an_execution_role_that_may_not_log_when_run_then_the_task_fails_to_start(ecs: Ecs) -> None:
    task = ecs.stopped(ecs.run(ecs.define(executionRoleArn=ecs.role("mute", "ssm:GetParameters"))))
    assert task["stopCode"] == "TaskFailedToStart"
    assert "logs:CreateLogStream" in task["stoppedReason"]


def test_given_a_role_that_does_not_trust_tasks_when_run_then_the_task_fails_to_start(ecs: Ecs) -> None:
    stranger = ecs.cloud.boto("iam").create_role(RoleName="stranger", AssumeRolePolicyDocument="{}")["Role"][
        "Arn"
    ]
    task = ecs.stopped(ecs.run(ecs.define(taskRoleArn=stranger)))
    assert task["stopCode"] == "TaskFailedToStart"
    assert "ECS was unable to assume the role" in task["stoppedReason"]


def test_given_a_service_when_a_task_is_killed_then_it_is_replaced(ecs: Ecs) -> None:
    ecs.serve(ecs.define(), 2)
    ecs.steady(2)
    tasks = ecs.api.list_tasks(cluster="c", serviceName="web")["taskArns"]
    os.kill(int(ecs.task(tasks[0])["containers"][0]["runtimeId"]), 9)
    assert ecs.stopped(tasks[0])["containers"][0]["exitCode"] == 137
    until(lambda: set(ecs.api.list_tasks(cluster="c", serviceName="web")["taskArns"]) - set(tasks))
    ecs.steady(2)


def test_given_a_new_revision_when_updated_then_the_old_task_stays_until_the_new_is_healthy(ecs: Ecs) -> None:
    check = {"healthCheck": {"command": ["CMD", "python", "-c", CHECK], "interval": 5, "timeout": 2}}
    ecs.serve(ecs.define(container=check), 1)
    ecs.steady(1)
    old = ecs.api.list_tasks(cluster="c", serviceName="web")["taskArns"][0]
    assert ecs.task(old)["healthStatus"] == "HEALTHY"
    second = ecs.define(container={**check, "environment": [{"name": "ANSWER", "value": "two"}]})
    ecs.api.update_service(cluster="c", service="web", taskDefinition=second)
    ecs.steady(1)
    new = ecs.api.list_tasks(cluster="c", serviceName="web")["taskArns"][0]
    entries = [(e.facts["task"], e.facts["state"]) for e in ecs.cloud.journal.since(kind="task")]
    assert entries.index((new.rpartition("/")[2], "RUNNING")) < entries.index(
        (old.rpartition("/")[2], "DEACTIVATING")
    )
    assert ecs.service()["taskDefinition"] == second


@pytest.mark.slow
def test_given_a_broken_revision_when_deployed_then_the_circuit_breaker_rolls_back(ecs: Ecs) -> None:
    first = ecs.define()
    breaker = {"deploymentCircuitBreaker": {"enable": True, "rollback": True}}
    ecs.serve(first, 1, deploymentConfiguration=breaker)
    ecs.steady(1)
    broken = ecs.define(image=ecs.make_image("broken", "import sys; sys.exit(1)"))
    ecs.api.update_service(cluster="c", service="web", taskDefinition=broken)
    until(lambda: any("rolling back" in e["message"] for e in ecs.service()["events"]))
    service = ecs.steady(1)
    assert service["taskDefinition"] == first
    failed = [
        e.facts for e in ecs.cloud.journal.since(kind="service") if e.facts["state"] == "DEPLOYMENT_FAILED"
    ]
    assert [f["failed"] for f in failed] == [3]


@pytest.mark.slow
def test_given_an_unhealthy_task_when_checks_fail_then_it_is_replaced(ecs: Ecs, tmp_path: Path) -> None:
    mark = tmp_path / "sick"
    check = {"command": ["CMD-SHELL", f"test ! -e {mark}"], "interval": 5, "retries": 1, "timeout": 2}
    ecs.serve(ecs.define(container={"healthCheck": check}), 1)
    ecs.steady(1)
    first = ecs.api.list_tasks(cluster="c", serviceName="web")["taskArns"][0]
    mark.touch()
    assert ecs.stopped(first)["stoppedReason"] == "Task failed container health checks"
    mark.unlink()
    ecs.steady(1)


def test_given_a_service_registry_when_tasks_come_and_go_then_cloud_map_follows(ecs: Ecs) -> None:
    cloudmap = ecs.cloud.service("servicediscovery", ServiceDiscoveryService)
    api = ecs.cloud.boto("servicediscovery")
    operation = api.create_http_namespace(Name="ns")["OperationId"]
    namespace = api.get_operation(OperationId=operation)["Operation"]["Targets"]["NAMESPACE"]
    registry = api.create_service(Name="gpu", NamespaceId=namespace)["Service"]
    check = {"healthCheck": {"command": ["CMD", "python", "-c", CHECK], "interval": 5}}
    ecs.serve(ecs.define(container=check), 2, serviceRegistries=[{"registryArn": registry["Arn"]}])
    ecs.steady(2)
    instances = cloudmap.services[registry["Id"]].instances
    ports = {i.attributes["AWS_INSTANCE_PORT"] for i in instances.values()}
    assert len(ports) == 2
    with pytest.raises(ClientError, match="ResourceInUse"):
        api.delete_service(Id=registry["Id"])
    ecs.api.update_service(cluster="c", service="web", desiredCount=0)
    ecs.steady(0)
    until(lambda: not instances)
    until(lambda: [e.facts["state"] for e in ecs.cloud.journal.since(kind="task")].count("STOPPED") == 2)


def test_given_a_running_service_when_deleted_then_force_drains_it_to_inactive(ecs: Ecs) -> None:
    ecs.serve(ecs.define(), 1)
    ecs.steady(1)
    with pytest.raises(ClientError, match="cannot be stopped while it is scaled above 0"):
        ecs.api.delete_service(cluster="c", service="web")
    with pytest.raises(ClientError, match="ClusterContainsServicesException"):
        ecs.api.delete_cluster(cluster="c")
    assert ecs.api.delete_service(cluster="c", service="web", force=True)["service"]["status"] == "DRAINING"
    until(lambda: ecs.service()["status"] == "INACTIVE")
    ecs.api.delete_cluster(cluster="c")
    assert ecs.cloud.inventory().get("ecs", {}).keys() <= {"taskDefinition"}


def test_given_awsvpc_when_started_without_a_network_then_refused(ecs: Ecs) -> None:
    definition = ecs.define()
    with pytest.raises(ClientError, match="Network Configuration must be provided"):
        ecs.api.run_task(cluster="c", taskDefinition=definition, launchType="FARGATE")
    with pytest.raises(ClientError, match="not associated with the cluster"):
        ecs.serve(
            definition, launchType=None, capacityProviderStrategy=[{"capacityProvider": "gpu", "weight": 1}]
        )
    with pytest.raises(ClientError, match="No Container Instances were found"):
        ecs.run(ecs.define(requiresCompatibilities=["EC2"]), launchType="EC2")


class Gpu:
    """An Auto Scaling group of GPU instances behind a capacity provider."""

    def __init__(self, ecs: Ecs) -> None:
        cloud = ecs.cloud
        ami = cloud.boto("ec2").describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
        cloud.boto("ec2").create_launch_template(
            LaunchTemplateName="gpu", LaunchTemplateData={"ImageId": ami, "InstanceType": "g5.xlarge"}
        )
        self.asg = cloud.boto("autoscaling")
        self.asg.create_auto_scaling_group(
            AutoScalingGroupName="gpus", MinSize=0, MaxSize=2, DesiredCapacity=0, AvailabilityZones=["us-east-1a"],
            LaunchTemplate={"LaunchTemplateName": "gpu"}, NewInstancesProtectedFromScaleIn=True,
        )  # fmt: skip
        self.arn = self.describe()["AutoScalingGroupARN"]
        ecs.api.create_capacity_provider(
            name="gpu",
            autoScalingGroupProvider={
                "autoScalingGroupArn": self.arn,
                "managedScaling": {"status": "ENABLED", "targetCapacity": 100},
                "managedTerminationProtection": "ENABLED",
            },
        )
        ecs.api.put_cluster_capacity_providers(
            cluster="c", capacityProviders=["gpu"], defaultCapacityProviderStrategy=[]
        )
        self.definition = ecs.define(
            networkMode="awsvpc", requiresCompatibilities=["EC2"], cpu="1024", memory="4096",
            container={"resourceRequirements": [{"type": "GPU", "value": "1"}]},
        )  # fmt: skip
        self.strategy = [{"capacityProvider": "gpu", "weight": 1}]

    def describe(self) -> dict[str, Any]:
        found: dict[str, Any] = self.asg.describe_auto_scaling_groups()["AutoScalingGroups"][0]
        return found


@pytest.mark.slow
def test_given_no_instances_when_a_gpu_task_waits_then_managed_scaling_brings_one_per_gpu(ecs: Ecs) -> None:
    gpu = Gpu(ecs)
    ecs.serve(gpu.definition, 2, launchType=None, capacityProviderStrategy=gpu.strategy)
    ecs.steady(2)
    assert gpu.describe()["DesiredCapacity"] == 2
    tasks = ecs.api.list_tasks(cluster="c", serviceName="web")["taskArns"]
    hosts = {ecs.task(t)["containerInstanceArn"] for t in tasks}
    assert len(hosts) == 2
    facts = [e.facts for e in ecs.cloud.journal.since(kind="task") if e.facts["state"] == "RUNNING"]
    assert {(f["gpus"], f["gpu_met_by"]) for f in facts} == {(1, "cpu")}


@pytest.mark.slow
def test_given_protected_instances_when_destroyed_then_only_the_right_order_works(ecs: Ecs) -> None:
    """F34: drain, clear protection, group to 0, association, capacity provider, cluster."""
    gpu = Gpu(ecs)
    ecs.serve(gpu.definition, 1, launchType=None, capacityProviderStrategy=gpu.strategy)
    ecs.steady(1)
    with pytest.raises(ClientError, match="ResourceInUseException"):
        ecs.api.put_cluster_capacity_providers(
            cluster="c", capacityProviders=[], defaultCapacityProviderStrategy=[]
        )
    with pytest.raises(ClientError, match="associated with cluster: c"):
        ecs.api.delete_capacity_provider(capacityProvider="gpu")
    with pytest.raises(ClientError, match=r"ResourceInUse.*instances"):
        gpu.asg.delete_auto_scaling_group(AutoScalingGroupName="gpus")
    ecs.api.delete_service(cluster="c", service="web", force=True)
    until(lambda: ecs.service()["status"] == "INACTIVE")
    # Protected instances don't go away by asking for none.
    gpu.asg.update_auto_scaling_group(AutoScalingGroupName="gpus", MinSize=0, MaxSize=0, DesiredCapacity=0)
    group = gpu.describe()
    assert [i["ProtectedFromScaleIn"] for i in group["Instances"]] == [True]
    with pytest.raises(ClientError, match="ClusterContainsContainerInstances"):
        ecs.api.delete_cluster(cluster="c")
    gpu.asg.set_instance_protection(
        AutoScalingGroupName="gpus",
        InstanceIds=[i["InstanceId"] for i in group["Instances"]],
        ProtectedFromScaleIn=False,
    )
    gpu.asg.set_desired_capacity(AutoScalingGroupName="gpus", DesiredCapacity=0)
    assert gpu.describe()["Instances"] == []
    ecs.api.put_cluster_capacity_providers(
        cluster="c", capacityProviders=[], defaultCapacityProviderStrategy=[]
    )
    ecs.api.delete_capacity_provider(capacityProvider="gpu")
    gpu.asg.delete_auto_scaling_group(AutoScalingGroupName="gpus")
    ecs.api.delete_cluster(cluster="c")


@pytest.mark.slow
def test_given_an_unprotected_group_when_termination_protection_is_asked_then_refused(ecs: Ecs) -> None:
    gpu = Gpu(ecs)
    gpu.asg.update_auto_scaling_group(AutoScalingGroupName="gpus", NewInstancesProtectedFromScaleIn=False)
    ecs.api.put_cluster_capacity_providers(
        cluster="c", capacityProviders=[], defaultCapacityProviderStrategy=[]
    )
    ecs.api.delete_capacity_provider(capacityProvider="gpu")
    with pytest.raises(ClientError, match="instance protection from scale in enabled"):
        ecs.api.create_capacity_provider(
            name="other",
            autoScalingGroupProvider={
                "autoScalingGroupArn": gpu.arn,
                "managedScaling": {"status": "ENABLED"},
                "managedTerminationProtection": "ENABLED",
            },
        )


def test_given_a_managed_instances_provider_when_a_gpu_task_starts_then_an_instance_appears_for_it(
    ecs: Ecs,
) -> None:
    ecs.api.create_capacity_provider(
        name="managed",
        cluster="c",
        managedInstancesProvider={
            "infrastructureRoleArn": "arn:aws:iam::123456789023:role/infra",
            "instanceLaunchTemplate": {
                "ec2InstanceProfileArn": "arn:aws:iam::123456789023:instance-profile/p",
                "networkConfiguration": {"subnets": ["subnet-1"]},
            },
        },
    )
    definition = ecs.define(
        requiresCompatibilities=["MANAGED_INSTANCES"], cpu="1024", memory="4096",
        container={"resourceRequirements": [{"type": "GPU", "value": "1"}]},
    )  # fmt: skip
    strategy = [{"capacityProvider": "managed", "weight": 1}]
    ecs.serve(definition, 1, launchType=None, capacityProviderStrategy=strategy)
    ecs.steady(1)
    arn = ecs.api.list_tasks(cluster="c", serviceName="web")["taskArns"][0]
    assert ecs.task(arn)["capacityProviderName"] == "managed"


def test_given_running_tasks_when_the_cloud_closes_then_no_process_is_left(tmp_path: Path) -> None:
    cloud = Cloud(CloudSettings(account_id="123456789024"), [EcsService(), ServiceDiscoveryService()]).start()
    try:
        ecs = Ecs(cloud, tmp_path)
        arn = ecs.run(ecs.define())
        until(lambda: ecs.task(arn)["lastStatus"] == "RUNNING")
        pid = int(ecs.task(arn)["containers"][0]["runtimeId"])
    finally:
        left = cloud.close()
    assert left == {}
    assert not _alive(pid)
