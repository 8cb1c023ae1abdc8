"""The thread that keeps ECS moving: placement, deployments, tasks, capacity."""

import logging
import secrets
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keepwarm_localcloud.clockwork.timers import Timers
from keepwarm_localcloud.ports import RegistryPort
from keepwarm_localcloud.request import AwsError
from keepwarm_localcloud.services.context import Context
from keepwarm_localcloud.services.ecs.capacity import FARGATE, Capacity
from keepwarm_localcloud.services.ecs.deployments import Deployments
from keepwarm_localcloud.services.ecs.metrics import PERIOD_S, ServiceMetrics
from keepwarm_localcloud.services.ecs.model import (
    ORDER,
    Container,
    Definition,
    Deployment,
    EcsServiceRecord,
    Instance,
    Task,
)
from keepwarm_localcloud.services.ecs.runner import Runner, StartError, free_port
from keepwarm_localcloud.services.ecs.state import EcsState
from keepwarm_localcloud.services.roles import RoleCalls, client_error

LOG = logging.getLogger(__name__)
KEPT_STOPPED = 1000
"""Stopped tasks that are remembered; AWS shows them for an hour."""


class EcsControl(EcsState):
    """The thread that keeps ECS moving, and the tasks it starts and ends.

    Args:
        boot_s: Seconds of the clock until a new instance takes tasks. Default 1.
    """

    def __init__(self, *, boot_s: float = 1.0) -> None:
        super().__init__()
        self.capacity = Capacity(self, boot_s)
        self.deployments = Deployments(self)
        self.metrics = ServiceMetrics(self)
        self._runners: dict[str, Runner] = {}
        self._followers: dict[str, list[Callable[[dict[str, Any]], None]]] = {}
        self._ports: set[int] = set()
        self._wake = threading.Condition()
        self._dirty = False
        self._after_moto = False
        self._stopping = False
        self._control: threading.Thread | None = None
        self.timers: Timers
        self.roles: RoleCalls

    # Life

    def start(self, context: Context) -> None:
        """Attach to the cloud and start the control thread."""
        self.context = context
        self.roles = RoleCalls(context)
        self.timers = Timers(context.clock, "ecs")
        self.timers.start()
        context.moto.before("autoscaling", self.capacity.guard)
        self._control = threading.Thread(target=self._loop, name="ecs-control", daemon=True)
        self._control.start()
        self.timers.after(PERIOD_S, self._publish)

    def _publish(self) -> None:
        now_s = self.context.clock.now_s()
        with self.lock:
            self.metrics.publish(now_s)
        self.timers.at(now_s + PERIOD_S, self._publish)

    def stop(self) -> None:
        """End every task at once, and every thread."""
        with self._wake:
            if self._stopping or self._control is None:
                return
            self._stopping = True
            self._wake.notify_all()
        self._control.join()
        self.timers.stop()
        runners = list(self._runners.values())
        for runner in runners:
            runner.kill()
        for runner in runners:
            runner.join()
        self.roles.close()

    def inventory(self) -> dict[str, list[str]]:
        """Everything that exists."""
        with self.lock:
            found = {
                "cluster": [c.name for c in self.clusters.values() if c.status == "ACTIVE"],
                "service": [s.name for s in self.services.values() if s.status != "INACTIVE"],
                "task": [t.identity for t in self.tasks.values() if t.status != "STOPPED"],
                "taskDefinition": [
                    f"{d.family}:{d.revision}"
                    for ds in self.definitions.values()
                    for d in ds
                    if d.status == "ACTIVE"
                ],
                "capacityProvider": [
                    p.name for p in self.capacity.providers.values() if p.status == "ACTIVE"
                ],
                "containerInstance": [i.identity for i in self.capacity.instances.values()],
            }
        return {kind: sorted(names) for kind, names in found.items() if names}

    # Control loop

    def poke(self, *, after_moto: bool = False) -> None:
        """Look at everything soon; with `after_moto`, once the Auto Scaling request under way is done."""
        with self._wake:
            self._dirty = True
            self._after_moto = self._after_moto or after_moto
            self._wake.notify_all()

    def poke_at(self, at_s: float) -> None:
        """Look at everything at a moment of the clock."""
        if at_s != float("inf"):
            self.timers.at(at_s, self.poke)

    def _loop(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._dirty or self._stopping)
                if self._stopping:
                    return
                self._dirty, after_moto, self._after_moto = False, self._after_moto, False
            try:
                if after_moto:
                    with self.context.moto.lock("autoscaling"):
                        pass
                with self.lock:
                    self._reconcile()
                    ended = self.capacity.ended_disks()
                # Outside the lock: a model cache is gigabytes in many files.
                for disk in ended:
                    shutil.rmtree(disk, ignore_errors=True)
            except Exception:
                LOG.exception("the ECS control loop failed")

    def _reconcile(self) -> None:
        now_s = self.context.clock.now_s()
        self.capacity.refresh(now_s)
        for record in list(self.services.values()):
            if record.status != "INACTIVE":
                self.deployments.reconcile(record, now_s)
        self._place()
        self.capacity.scale(now_s)

    def _place(self) -> None:
        for task in list(self.tasks.values()):
            if task.status != "PROVISIONING" or task.identity in self._runners or task.desired != "RUNNING":
                continue
            if task.launch_type == "FARGATE":
                self._run(task)
                continue
            instance = self.capacity.place(task)
            if instance is not None:
                task.instance = instance
                self._run(task)
            else:
                self._complain(task)

    def _complain(self, task: Task) -> None:
        record = self.services.get(task.service or "")
        if record is None or record.complained:
            return
        record.complained = True
        need = task.definition.needs
        self.deployments.event(
            record,
            "was unable to place a task because no container instance met all of its requirements. "
            f"Reason: {'RESOURCE:GPU' if need.gpus else 'RESOURCE:MEMORY'}.",
        )

    def _run(self, task: Task) -> None:
        record = self.services.get(task.service or "")
        if record is not None:
            record.complained = False
        runner = self._runners[task.identity] = Runner(self, task)
        runner.start()

    # What runners need

    def disk(self, instance: Instance) -> Path:
        """Where the volumes with a host path of an instance lie."""
        return self.context.directory / "ecs" / "instances" / instance.identity

    def changed(self, task: Task, status: str | None = None) -> None:
        """Take over a status of a task."""
        ended: list[Callable[[dict[str, Any]], None]] = []
        with self.lock:
            if status is not None and ORDER.index(status) > ORDER.index(task.status):
                task.status = status
                if status == "RUNNING":
                    task.started_s = self.context.clock.now_s()
                elif status == "DEACTIVATING":
                    self._deactivating(task)
                self._journal(task)
            if task.well and task.registries is None:
                self._register(task)
            if status == "STOPPED":
                self._runners.pop(task.identity, None)
                ended = self._followers.pop(task.arn, [])
                self._forget_old()
            description = task.describe(self.context.region)
        for follower in ended:
            follower(description)
        self.poke()

    def _deactivating(self, task: Task) -> None:
        # Both at once: a task that no longer counts without its failure being known would be replaced too early.
        task.desired = "STOPPED"
        record = self.services.get(task.service or "")
        if record is not None and task.stop_code in ("EssentialContainerExited", "TaskFailedToStart"):
            self.deployments.failed(record, task)

    def _journal(self, task: Task) -> None:
        record = self.services.get(task.service or "")
        facts: dict[str, Any] = {
            "service": record.name if record else task.group, "task": task.identity, "state": task.status,
            "task_definition": f"{task.definition.family}:{task.definition.revision}",
        }  # fmt: skip
        if task.instance is not None:
            facts["instance"] = task.instance.identity
        if task.definition.needs.gpus:
            # There is no GPU here: what asks for one runs on what the machine has.
            facts["gpus"], facts["gpu_met_by"] = task.definition.needs.gpus, "cpu"
        if task.stopped_reason:
            facts["reason"], facts["stop_code"] = task.stopped_reason, task.stop_code
        pids = [c.pid for c in task.containers if c.pid]
        if pids:
            facts["pid"], facts["port"] = pids[0], task.address[1]
        self.note("task", **facts)

    def _register(self, task: Task) -> None:
        record = self.services.get(task.service or "")
        if record is None:
            return
        host, port = task.address
        registries = []
        for registry in record.body.get("serviceRegistries", []):
            attributes = {
                "AWS_INSTANCE_IPV4": host, "AVAILABILITY_ZONE": f"{self.context.region}a",
                "REGION": self.context.region,
                "ECS_SERVICE_NAME": record.name, "ECS_CLUSTER_NAME": record.cluster.rpartition("/")[2],
                "ECS_TASK_DEFINITION_FAMILY": task.definition.family, "AWS_INIT_HEALTH_STATUS": "HEALTHY",
            }  # fmt: skip
            if port is not None:
                attributes["AWS_INSTANCE_PORT"] = str(port)
            self._cloud_map().register(registry["registryArn"], task.identity, attributes)
            registries.append(registry["registryArn"])
        task.registries = registries

    def _cloud_map(self) -> RegistryPort:
        return self.context.peers.registry

    def leaving(self, task: Task) -> None:
        """Take a task out of service discovery."""
        with self.lock:
            # Not the registries the service has now: they may have changed since.
            registries, task.registries = task.registries or [], None
            for registry in registries:
                try:
                    self._cloud_map().deregister(registry, task.identity)
                except AwsError as error:
                    # The registry may be deleted before the service is; then there is nothing to take out.
                    if error.code != "ServiceNotFound":
                        raise

    def secret(self, task: Task, value_from: str) -> str:
        """Read a secret with the execution role."""
        role = task.definition.body.get("executionRoleArn")
        if role is None:
            raise StartError("ResourceInitializationError: unable to pull secrets: no execution role")
        try:
            if ":secretsmanager:" in value_from:
                identity = ":".join(value_from.split(":")[:7])
                answer = self.roles.client(role, "secretsmanager").get_secret_value(SecretId=identity)
                return str(answer["SecretString"])
            name = value_from.partition(":parameter")[2] or value_from
            found = self.roles.client(role, "ssm").get_parameters(Names=[name], WithDecryption=True)[
                "Parameters"
            ]
        except client_error() as error:
            raise StartError(
                f"ResourceInitializationError: unable to pull secrets or registry auth: {error}"
            ) from error
        if not found:
            raise StartError(
                f"ResourceInitializationError: unable to pull secrets: invalid ssm parameters: {value_from}"
            )
        return str(found[0]["Value"])

    def take_port(self, wanted: int) -> int:
        """Reserve a port."""
        with self.lock:
            port = free_port(wanted, self._ports)
            self._ports.add(port)
            return port

    def give_ports(self, ports: list[int]) -> None:
        """Return ports."""
        with self.lock:
            self._ports.difference_update(ports)

    # Tasks

    def launch_for(self, record: EcsServiceRecord, deployment: Deployment) -> Task | None:
        """Create a task of a service."""
        return self._launch(
            record.cluster, deployment.definition, record.body, group=f"service:{record.name}",
            started_by=deployment.identity, service=record.arn, deployment=deployment.identity,
        )  # fmt: skip

    def _launch(
        self, cluster: str, definition: Definition, body: dict[str, Any], *, group: str, started_by: str,
        service: str | None = None, deployment: str | None = None,
    ) -> Task:  # fmt: skip
        identity = secrets.token_hex(16)
        arn = self.arn("task", f"{cluster.rpartition('/')[2]}/{identity}")
        launch_type, provider = self._where(cluster, body)
        tags = list(body.get("tags", []))
        if body.get("enableECSManagedTags"):
            tags.append({"key": "aws:ecs:clusterName", "value": cluster.rpartition("/")[2]})
            if service:
                tags.append({"key": "aws:ecs:serviceName", "value": service.rpartition("/")[2]})
        task = Task(
            arn, identity, cluster, definition, group, launch_type, provider, self.context.clock.now_s(),
            body.get("overrides", {}), tags, started_by, service, deployment,
            body.get("networkConfiguration") if definition.body.get("networkMode") == "awsvpc" else None,
        )  # fmt: skip
        task.containers = [Container(c["name"], c) for c in definition.body["containerDefinitions"]]
        self.tasks[arn] = task
        self._journal(task)
        return task

    def _where(self, cluster: str, body: dict[str, Any]) -> tuple[str, str | None]:
        """(launch type, capacity provider) of the next task: strategy bases first, then weights."""
        strategy = body.get("capacityProviderStrategy") or (
            [] if body.get("launchType") else self.clusters[cluster].strategy
        )
        if not strategy:
            return body.get("launchType", "EC2"), None
        counts = {
            item["capacityProvider"]: sum(
                t.provider == item["capacityProvider"] and t.cluster == cluster and t.status != "STOPPED"
                for t in self.tasks.values()
            )
            for item in strategy
        }
        for item in strategy:
            if counts[item["capacityProvider"]] < item.get("base", 0):
                return self._launch_type(item["capacityProvider"])
        weighted = [i for i in strategy if i.get("weight", 0) > 0] or strategy[:1]
        chosen = min(weighted, key=lambda i: counts[i["capacityProvider"]] / max(i.get("weight", 1), 1))
        return self._launch_type(chosen["capacityProvider"])

    def _launch_type(self, provider: str) -> tuple[str, str]:
        if provider in FARGATE:
            return "FARGATE", provider
        known = self.capacity.providers.get(provider)
        return ("MANAGED_INSTANCES" if known is not None and known.managed is not None else "EC2"), provider

    def stop_task(self, task: Task, code: str, reason: str) -> None:
        """Ask a task to end; under the lock."""
        if task.desired == "STOPPED":
            return
        task.desired, task.stop_code, task.stopped_reason = "STOPPED", code, reason
        runner = self._runners.get(task.identity)
        if runner is not None:
            runner.stop()
            return
        now_s = self.context.clock.now_s()
        task.stopping_s = task.stopped_s = now_s
        task.status = "STOPPED"
        for container in task.containers:
            container.status = "STOPPED"
        self._journal(task)
        description = task.describe(self.context.region)
        for follower in self._followers.pop(task.arn, []):
            self.timers.at(now_s, lambda f=follower: f(description))  # type: ignore[misc]
        self.poke()

    def stop_task_by_arn(self, arn: str, reason: str) -> None:
        """Stop a task that may be gone."""
        with self.lock:
            task = self.tasks.get(arn)
            if task is not None:
                self.stop_task(task, "UserInitiated", reason)

    def follow(self, arn: str, then: Callable[[dict[str, Any]], None]) -> None:
        """Call `then` with the description once a task is stopped; at once if it is."""
        with self.lock:
            task = self.tasks[arn]
            if task.status != "STOPPED":
                self._followers.setdefault(arn, []).append(then)
                return
            description = task.describe(self.context.region)
        then(description)

    def _forget_old(self) -> None:
        stopped = [arn for arn, t in self.tasks.items() if t.status == "STOPPED"]
        for arn in stopped[: max(0, len(stopped) - KEPT_STOPPED)]:
            del self.tasks[arn]

    def set_desired(self, cluster: str, name: str, count: int) -> None:
        """Set the desired count, as autoscaling does."""
        with self.lock:
            record = self.service_record(cluster, name)
            record.desired, record.steady = count, False
            self.deployments.event(record, f"has set the desired count to {count}.")
        self.poke()
