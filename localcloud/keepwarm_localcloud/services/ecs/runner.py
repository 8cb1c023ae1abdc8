"""Runs one task: a process per container, health checks, logs, and an orderly end."""

import contextlib
import logging
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Protocol

from keepwarm_localcloud.errors import LocalCloudError
from keepwarm_localcloud.request import AwsError, Caller
from keepwarm_localcloud.services.context import Context
from keepwarm_localcloud.services.ecs.images import Image, load
from keepwarm_localcloud.services.ecs.model import Container, Instance, Task
from keepwarm_localcloud.services.roles import trusts

LOG = logging.getLogger(__name__)
STOP_TIMEOUT_S = 30
"""Seconds between SIGTERM and SIGKILL unless stopTimeout says otherwise.
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDefinition.html"""
PROBE_S = 0.2
"""Seconds between health checks until the first success; Docker's own start interval is 5 s."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class StartError(Exception):
    """The task can't start; the text is its stoppedReason."""


class TaskOwner(Protocol):
    """The service, as a runner sees it."""

    context: Context

    def changed(self, task: Task, status: str | None = None) -> None:
        """Note a new status (or health) and look at everything again."""
        ...

    def leaving(self, task: Task) -> None:
        """Take the task out of service discovery, before it is told to stop."""
        ...

    def secret(self, task: Task, value_from: str) -> str:
        """Read a secret with the execution role.

        Raises:
            StartError: it can't be read.
        """
        ...

    def disk(self, instance: Instance) -> Path:
        """Where the volumes with a host path of an instance lie."""
        ...

    def take_port(self, wanted: int) -> int:
        """Reserve a free port, `wanted` if possible."""
        ...

    def give_ports(self, ports: list[int]) -> None:
        """Return ports."""
        ...


class _Process:
    """One started container."""

    def __init__(self, container: Container, child: "subprocess.Popen[bytes]") -> None:
        self.container, self.child = container, child
        self.began_s = 0.0
        self.next_check_s: float | None = None
        self.failures = 0
        self.counted_s: float | None = None
        self.checking = False
        self.threads: list[threading.Thread] = []


class Runner:
    """A thread that brings a task up, watches it and takes it down."""

    def __init__(self, owner: TaskOwner, task: Task) -> None:
        self.owner, self.task = owner, task
        self.context = owner.context
        self.changed = threading.Condition()
        self.directory = self.context.directory / "ecs" / task.identity
        self._processes: dict[str, _Process] = {}
        self._images: dict[str, Image] = {}
        self._environments: dict[str, dict[str, str]] = {}
        self._keys: list[str] = []
        self._stop = False
        self._kill = False
        self._thread = threading.Thread(target=self._run, name=f"ecs-task-{task.identity[:8]}", daemon=True)

    def start(self) -> None:
        """Start."""
        self._thread.start()

    def stop(self) -> None:
        """Ask for an orderly end; returns at once."""
        with self.changed:
            self._stop = True
            self.changed.notify_all()

    def kill(self) -> None:
        """Ask for an end without grace; returns at once."""
        with self.changed:
            self._stop = self._kill = True
            self.changed.notify_all()

    def join(self) -> None:
        """Wait until the task is over."""
        self._thread.join()

    def _run(self) -> None:
        task = self.task
        try:
            self.owner.changed(task, "PENDING")
            self.directory.mkdir(parents=True, exist_ok=True)
            self._prepare()
            self.owner.changed(task, "ACTIVATING")
            self._watch()
        except (StartError, LocalCloudError) as error:
            task.stop_code = task.stop_code or "TaskFailedToStart"
            task.stopped_reason = task.stopped_reason or str(error)
        except AwsError as error:
            task.stop_code = task.stop_code or "TaskFailedToStart"
            task.stopped_reason = task.stopped_reason or error.message
        finally:
            self._end()

    # Up

    def _prepare(self) -> None:
        body = self.task.definition.body
        roles = [
            self.task.overrides.get("taskRoleArn") or body.get("taskRoleArn"),
            body.get("executionRoleArn"),
        ]
        for role in roles:
            if role and not trusts(self.context, role, "ecs-tasks.amazonaws.com"):
                raise StartError(
                    f"ECS was unable to assume the role '{role}' that was provided for this task. Please verify that "
                    "the role being passed has the proper trust relationship and permissions and that your IAM user "
                    "has permissions to pass this role."
                )
        for container in self.task.containers:
            self._images[container.name] = load(container.definition["image"], self.context.image_mirrors)
            for mapping in container.definition.get("portMappings", []):
                port = self.owner.take_port(mapping["containerPort"])
                container.ports.append(
                    {"bindIP": "127.0.0.1", "containerPort": mapping["containerPort"], "hostPort": port,
                     "protocol": mapping.get("protocol", "tcp")}
                )  # fmt: skip
            self._check_logs(container)

    def _check_logs(self, container: Container) -> None:
        options = container.definition.get("logConfiguration", {}).get("options", {})
        group = options.get("awslogs-group")
        role = self.task.definition.body.get("executionRoleArn")
        if group is not None and role and self.task.launch_type == "FARGATE":
            # On instances the instance's role writes logs; on Fargate the execution role does.
            account = f"{self.context.region}:{self.context.account_id}"
            stream = f"arn:aws:logs:{account}:log-group:{group}:log-stream:{container.name}"
            for action in ("logs:CreateLogStream", "logs:PutLogEvents"):
                try:
                    self.context.authorize(Caller(role_arn=role), action, stream)
                except AwsError as error:
                    raise StartError(
                        f"ResourceInitializationError: failed to validate logger args: {error.message}"
                    ) from error
        if group is None or options.get("awslogs-create-group") == "true":
            return
        if group not in self.context.moto.backend("logs").groups:
            raise StartError(
                "ResourceInitializationError: failed to validate logger args: The task cannot find the Amazon "
                f"CloudWatch log group '{group}' defined in the task definition."
            )

    def _folder(self, volume: dict[str, Any]) -> Path:
        """Where a volume lives: with the instance when it names a host path, else with the task."""
        source = volume.get("host", {}).get("sourcePath")
        if source and self.task.instance is not None:
            folder = self.owner.disk(self.task.instance) / str(source).lstrip("/")
        else:
            folder = self.directory / "volumes" / volume["name"]
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _mounts(self, container: Container) -> dict[str, str]:
        """Path in the container -> real folder."""
        volumes = {v["name"]: v for v in self.task.definition.body.get("volumes", [])}
        mounts = {}
        for mount in container.definition.get("mountPoints", []):
            mounts[mount["containerPath"].rstrip("/")] = str(self._folder(volumes[mount["sourceVolume"]]))
        for index, spec in enumerate(container.definition.get("linuxParameters", {}).get("tmpfs", [])):
            folder = self.directory / "tmpfs" / f"{container.name}-{index}"
            folder.mkdir(parents=True, exist_ok=True)
            mounts[spec["containerPath"].rstrip("/")] = str(folder)
        return mounts

    def _environment(self, container: Container, image: Image) -> dict[str, str]:
        known = self._environments.get(container.name)
        if known is None:
            known = self._environments[container.name] = self._make_environment(container, image)
        return known

    def _make_environment(self, container: Container, image: Image) -> dict[str, str]:
        definition, task = container.definition, self.task
        overrides = self._override(container)
        own = {e["name"]: e.get("value", "") for e in definition.get("environment", [])}
        own |= {e["name"]: e.get("value", "") for e in overrides.get("environment", [])}
        own |= {s["name"]: self.owner.secret(task, s["valueFrom"]) for s in definition.get("secrets", [])}
        mounts = sorted(self._mounts(container).items(), key=lambda item: -len(item[0]))
        for name, value in own.items():
            for inside, real in mounts:
                if value == inside or value.startswith(f"{inside}/"):
                    own[name] = real + value[len(inside) :]
                    break
        temporary = self.directory / "tmp"
        temporary.mkdir(exist_ok=True)
        env = {
            "PATH": f"{Path(sys.executable).parent}:{PATH}",
            "HOME": str(self.directory),
            "TMPDIR": str(temporary),
            "HOSTNAME": task.identity,
            "AWS_REGION": self.context.region,
            "AWS_DEFAULT_REGION": self.context.region,
            "AWS_ENDPOINT_URL": self.context.endpoint,
            "AWS_EXECUTION_ENV": f"AWS_ECS_{'FARGATE' if task.launch_type == 'FARGATE' else 'EC2'}",
            **image.environment,
            **own,
        }
        role = task.overrides.get("taskRoleArn") or task.definition.body.get("taskRoleArn")
        if role:
            session = self.context.credentials.issue(role, task.identity)
            self._keys.append(session.access_key_id)
            env |= session.as_environment()
        if container.ports:
            env["KEEPWARM_PORT"] = str(container.ports[0]["hostPort"])
        return env

    def _override(self, container: Container) -> dict[str, Any]:
        for override in self.task.overrides.get("containerOverrides", []):
            if override.get("name") == container.name:
                return dict(override)
        return {}

    def _start_container(self, container: Container) -> None:
        image = self._images[container.name]
        override = self._override(container)
        argv = image.argv(
            container.definition.get("entryPoint"),
            override.get("command") or container.definition.get("command"),
        )
        if not argv:
            raise StartError(
                f"CannotStartContainerError: no command specified for container {container.name}"
            )
        folder = Path(container.definition.get("workingDirectory") or image.working_directory)
        child = self.context.processes.spawn(
            argv,
            kind="task",
            name=f"{self.task.group} {container.name}",
            env=self._environment(container, image),
            cwd=folder if folder.is_dir() else image.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        process = _Process(container, child)
        process.began_s = self.context.clock.now_s()
        if container.definition.get("healthCheck", {}).get("command", ["NONE"])[0] != "NONE":
            process.next_check_s = process.began_s
        container.pid, container.status = child.pid, "RUNNING"
        self._processes[container.name] = process
        for work, kind in ((self._pump, "log"), (self._reap, "wait")):
            thread = threading.Thread(
                target=work, args=(process,), name=f"ecs-{kind}-{child.pid}", daemon=True
            )
            process.threads.append(thread)
            thread.start()

    def _pump(self, process: _Process) -> None:
        options = process.container.definition.get("logConfiguration", {}).get("options", {})
        group = options.get("awslogs-group")
        prefix = options.get("awslogs-stream-prefix", "ecs")
        stream = f"{prefix}/{process.container.name}/{self.task.identity}"
        pipe = process.child.stdout
        assert pipe is not None
        with pipe:
            for line in pipe:
                if not group:
                    continue
                try:
                    self.context.logs.put(group, stream, [line.decode("utf-8", "replace")])
                except Exception:
                    # A reader that dies would close the pipe, and with it the task: one line is worth less.
                    LOG.exception("a log line of task %s could not be stored", self.task.identity)

    def _reap(self, process: _Process) -> None:
        process.child.wait()
        with self.changed:
            self.changed.notify_all()

    def _ready(self, container: Container) -> bool:
        by_name = {c.name: c for c in self.task.containers}
        for dependency in container.definition.get("dependsOn", []):
            other, condition = by_name[dependency["containerName"]], dependency["condition"]
            ended = other.exit_code is not None
            if condition == "SUCCESS" and ended and other.exit_code != 0:
                raise StartError(
                    f"Container {container.name} dependency {other.name} exited with {other.exit_code}"
                )
            met = {
                "START": other.status != "PENDING",
                "COMPLETE": ended,
                "SUCCESS": ended,
                "HEALTHY": other.health == "HEALTHY",
            }[condition]
            if not met:
                return False
        return True

    # While it runs

    def _watch(self) -> None:
        clock = self.context.clock
        while True:
            with self.changed:
                if self._stop:
                    return
            if self._note_exits():
                return
            ready = [c for c in self.task.containers if c.status == "PENDING" and self._ready(c)]
            for container in ready:
                self._start_container(container)
            if ready:
                # What started or ended may be what others wait for.
                continue
            if self.task.status != "RUNNING" and all(c.status != "PENDING" for c in self.task.containers):
                self.owner.changed(self.task, "RUNNING")
            for process in self._processes.values():
                self._maybe_check(process)
            with self.changed:
                if self._stop or self._exited():
                    continue
                due = [
                    p.next_check_s
                    for p in self._processes.values()
                    if p.next_check_s is not None and not p.checking
                ]
                if due:
                    clock.wait_until(self.changed, min(due))
                else:
                    self.changed.wait()

    def _exited(self) -> bool:
        return any(
            p.container.exit_code is None and p.child.poll() is not None for p in self._processes.values()
        )

    def _note_exits(self) -> bool:
        """Record exit codes; True when the task is over."""
        over = False
        for process in self._processes.values():
            status = process.child.poll()
            container = process.container
            if status is None or container.exit_code is not None:
                continue
            # A signal shows as 128 + its number, as Docker reports it.
            container.exit_code = status if status >= 0 else 128 - status
            container.status, process.next_check_s = "STOPPED", None
            over = over or container.definition.get("essential", True)
        done = bool(self._processes) and all(c.exit_code is not None for c in self.task.containers)
        if (over or done) and self.task.stop_code is None:
            self.task.stop_code = "EssentialContainerExited"
            self.task.stopped_reason = "Essential container in task exited"
        return over or done

    def _maybe_check(self, process: _Process) -> None:
        now_s = self.context.clock.now_s()
        if process.next_check_s is None or process.checking or process.next_check_s > now_s:
            return
        process.checking = True
        thread = threading.Thread(target=self._check, args=(process,), name="ecs-health", daemon=True)
        process.threads.append(thread)
        thread.start()

    def _check(self, process: _Process) -> None:
        check = process.container.definition["healthCheck"]
        command = list(check["command"])
        words = ["/bin/sh", "-c", command[1]] if command[0] == "CMD-SHELL" else command[1:]
        for port in process.container.ports:
            for host in ("localhost", "127.0.0.1"):
                inside, real = f"{host}:{port['containerPort']}", f"{host}:{port['hostPort']}"
                words = [word.replace(inside, real) for word in words]
        image = self._images[process.container.name]
        words = [word.replace("${ROOT}", str(image.root)) for word in words]
        if words and words[0] in ("python", "python3"):
            words[0] = sys.executable
        good = False
        with contextlib.suppress(LocalCloudError):
            child = self.context.processes.spawn(
                words, kind="task", name=f"{self.task.group} health check",
                env=self._environment(process.container, image), cwd=image.working_directory,
            )  # fmt: skip
            with contextlib.suppress(subprocess.TimeoutExpired):
                good = child.wait(check.get("timeout", 5)) == 0
            self.context.processes.end(child)
        with self.changed:
            self._judge(process, check, good)
            process.checking = False
            self.changed.notify_all()
        self.owner.changed(self.task)

    def _judge(self, process: _Process, check: dict[str, Any], good: bool) -> None:
        now_s, container = self.context.clock.now_s(), process.container
        interval_s = check.get("interval", 30)
        if good:
            container.health, process.failures, process.counted_s = "HEALTHY", 0, None
            process.next_check_s = now_s + interval_s
            return
        process.next_check_s = now_s + (
            interval_s if container.health == "HEALTHY" else min(PROBE_S, interval_s)
        )
        if container.health != "UNKNOWN":
            process.next_check_s = now_s + interval_s
        if (
            container.health == "UNKNOWN"
            and now_s < process.began_s + check.get("startPeriod", 0) + interval_s
        ):
            return
        if process.counted_s is None or now_s >= process.counted_s + interval_s:
            process.counted_s = now_s
            process.failures += 1
        if process.failures >= check.get("retries", 3):
            container.health = "UNHEALTHY"

    # Down

    def _end(self) -> None:
        task, clock = self.task, self.context.clock
        task.stopping_s = clock.now_s()
        self.owner.changed(task, "DEACTIVATING")
        self.owner.leaving(task)
        self.owner.changed(task, "STOPPING")
        alive = [p for p in self._processes.values() if p.child.poll() is None]
        for process in alive:
            self.context.processes.signal(process.child, signal.SIGTERM)
        for process in alive:
            limit_s = task.stopping_s + process.container.definition.get("stopTimeout", STOP_TIMEOUT_S)
            with self.changed:
                while process.child.poll() is None and not self._kill and clock.now_s() < limit_s:
                    clock.wait_until(self.changed, limit_s)
        for process in self._processes.values():
            self.context.processes.end(process.child)
            for thread in process.threads:
                thread.join()
        self._note_exits()
        for container in task.containers:
            container.status = "STOPPED"
        self.owner.give_ports([p["hostPort"] for c in task.containers for p in c.ports])
        for key in self._keys:
            self.context.credentials.revoke(key)
        shutil.rmtree(self.directory, ignore_errors=True)
        task.stopped_s = clock.now_s()
        self.owner.changed(task, "DEPROVISIONING")
        self.owner.changed(task, "STOPPED")


def free_port(wanted: int, taken: set[int]) -> int:
    """Find a port of 127.0.0.1 that nobody listens on; `wanted` if it is free and needs no privilege."""
    for candidate in (wanted, *([0] * 50)):
        if candidate in taken or 0 < candidate < 1024:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", candidate))
            except OSError:
                continue
            port = int(probe.getsockname()[1])
        if port not in taken:
            return port
    raise StartError("no free port on 127.0.0.1")
