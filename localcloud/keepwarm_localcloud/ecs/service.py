"""The API of ECS. https://docs.aws.amazon.com/AmazonECS/latest/APIReference/Welcome.html"""

import logging
import re
import secrets
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from keepwarm_localcloud.ecs import images
from keepwarm_localcloud.ecs.capacity import FARGATE, Capacity
from keepwarm_localcloud.ecs.definitions import check, needs
from keepwarm_localcloud.ecs.deployments import Deployments
from keepwarm_localcloud.ecs.metrics import PERIOD_S, ServiceMetrics
from keepwarm_localcloud.ecs.model import (
    ORDER,
    STARTING,
    Cluster,
    Container,
    Definition,
    Deployment,
    EcsServiceRecord,
    Instance,
    Provider,
    Task,
)
from keepwarm_localcloud.ecs.runner import Runner, StartError, free_port
from keepwarm_localcloud.service import AwsError, Request, Response
from keepwarm_localcloud.servicediscovery import ServiceDiscoveryService
from keepwarm_localcloud.tasking.roles import RoleCalls, client_error
from keepwarm_localcloud.tasking.timers import Timers

if TYPE_CHECKING:
    from keepwarm_localcloud.cloud import Cloud

LOG = logging.getLogger(__name__)
CONTENT_TYPE = "application/x-amz-json-1.1"
NAME = re.compile(r"[A-Za-z0-9_-]{1,255}")
KEPT_STOPPED = 1000
"""Stopped tasks that are remembered; AWS shows them for an hour."""
REPLICA_FIELDS = (
    "loadBalancers", "serviceRegistries", "launchType", "capacityProviderStrategy", "platformVersion",
    "deploymentConfiguration", "placementConstraints", "placementStrategy", "networkConfiguration",
    "healthCheckGracePeriodSeconds", "enableECSManagedTags", "propagateTags", "enableExecuteCommand",
    "availabilityZoneRebalancing", "serviceConnectConfiguration", "volumeConfigurations",
)  # fmt: skip
DEPLOYS = frozenset(
    {
        "taskDefinition",
        "networkConfiguration",
        "capacityProviderStrategy",
        "serviceRegistries",
        "platformVersion",
    }
)
"""Fields whose change starts a new deployment."""


def _invalid(message: str) -> AwsError:
    return AwsError("InvalidParameterException", message)


class EcsService:
    """ECS whose tasks are processes.

    Args:
        boot_s: Seconds of the clock until a new instance takes tasks. Default 1.
    """

    name = "ecs"

    def __init__(self, *, boot_s: float = 1.0) -> None:
        self.clusters: dict[str, Cluster] = {}
        self.definitions: dict[str, list[Definition]] = {}
        self.services: dict[str, EcsServiceRecord] = {}
        self.tasks: dict[str, Task] = {}
        self.capacity = Capacity(self, boot_s)
        self.deployments = Deployments(self)
        self.metrics = ServiceMetrics(self)
        self.lock = threading.RLock()
        self._runners: dict[str, Runner] = {}
        self._followers: dict[str, list[Callable[[dict[str, Any]], None]]] = {}
        self._ports: set[int] = set()
        self._wake = threading.Condition()
        self._dirty = False
        self._after_moto = False
        self._stopping = False
        self._control: threading.Thread | None = None
        self.cloud: Cloud
        self.timers: Timers
        self.roles: RoleCalls

    # Life

    def start(self, cloud: "Cloud") -> None:
        """Attach to the cloud and start the control thread."""
        self.cloud = cloud
        self.roles = RoleCalls(cloud)
        self.timers = Timers(cloud.clock, "ecs")
        self.timers.start()
        cloud.moto.before("autoscaling", self.capacity.guard)
        self._control = threading.Thread(target=self._loop, name="ecs-control", daemon=True)
        self._control.start()
        self.timers.after(PERIOD_S, self._publish)

    def _publish(self) -> None:
        now_s = self.cloud.clock.now_s()
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
        for runner in list(self._runners.values()):
            runner.kill()
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

    def handle(self, request: Request) -> Response | None:
        """Answer an operation of `AmazonEC2ContainerServiceV20141113`."""
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", request.target()).lower()
        method = getattr(self, f"_do_{name}", None)
        if method is None:
            raise AwsError("UnsupportedFeatureException", f"ECS has no operation '{request.target()}' here")
        body = request.json()
        with self.lock:
            answer = method(body)
        self.poke()
        return Response.of_json(answer, content_type=CONTENT_TYPE)

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
                    with self.cloud.moto.lock("autoscaling"):
                        pass
                with self.lock:
                    self._reconcile()
            except Exception:
                LOG.exception("the ECS control loop failed")

    def _reconcile(self) -> None:
        now_s = self.cloud.clock.now_s()
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

    def note(self, kind: str, **facts: Any) -> None:
        """Write to the journal."""
        self.cloud.journal.write(kind, **facts)

    # What runners need

    def changed(self, task: Task, status: str | None = None) -> None:
        """Take over a status of a task."""
        ended: list[Callable[[dict[str, Any]], None]] = []
        with self.lock:
            if status is not None and ORDER.index(status) > ORDER.index(task.status):
                task.status = status
                if status == "RUNNING":
                    task.started_s = self.cloud.clock.now_s()
                self._journal(task)
            if task.well and not task.registered:
                self._register(task)
            if status == "STOPPED":
                self._runners.pop(task.identity, None)
                ended = self._followers.pop(task.arn, [])
                record = self.services.get(task.service or "")
                if record is not None and task.stop_code in ("EssentialContainerExited", "TaskFailedToStart"):
                    self.deployments.failed(record, task)
                self._forget_old()
            description = task.describe(self.cloud.region)
        for follower in ended:
            follower(description)
        self.poke()

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
        for registry in record.body.get("serviceRegistries", []):
            attributes = {
                "AWS_INSTANCE_IPV4": host, "AVAILABILITY_ZONE": f"{self.cloud.region}a", "REGION": self.cloud.region,
                "ECS_SERVICE_NAME": record.name, "ECS_CLUSTER_NAME": record.cluster.rpartition("/")[2],
                "ECS_TASK_DEFINITION_FAMILY": task.definition.family, "AWS_INIT_HEALTH_STATUS": "HEALTHY",
            }  # fmt: skip
            if port is not None:
                attributes["AWS_INSTANCE_PORT"] = str(port)
            self._cloud_map().register(registry["registryArn"], task.identity, attributes)
        task.registered = True

    def _cloud_map(self) -> ServiceDiscoveryService:
        return self.cloud.service("servicediscovery", ServiceDiscoveryService)

    def leaving(self, task: Task) -> None:
        """Take a task out of service discovery."""
        with self.lock:
            record = self.services.get(task.service or "")
            if record is None or not task.registered:
                return
            task.registered = False
            for registry in record.body.get("serviceRegistries", []):
                try:
                    self._cloud_map().deregister(registry["registryArn"], task.identity)
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
            arn, identity, cluster, definition, group, launch_type, provider, self.cloud.clock.now_s(),
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
        now_s = self.cloud.clock.now_s()
        task.stopping_s = task.stopped_s = now_s
        task.status = "STOPPED"
        for container in task.containers:
            container.status = "STOPPED"
        self._journal(task)
        description = task.describe(self.cloud.region)
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
            description = task.describe(self.cloud.region)
        then(description)

    def _forget_old(self) -> None:
        stopped = [arn for arn, t in self.tasks.items() if t.status == "STOPPED"]
        for arn in stopped[: max(0, len(stopped) - KEPT_STOPPED)]:
            del self.tasks[arn]

    # Looking up

    def arn(self, kind: str, name: str) -> str:
        """ARN of something of ECS."""
        return f"arn:aws:ecs:{self.cloud.region}:{self.cloud.account_id}:{kind}/{name}"

    def _cluster(self, body: dict[str, Any]) -> Cluster:
        ref = body.get("cluster") or "default"
        name = ref.rpartition("/")[2]
        cluster = self.clusters.get(self.arn("cluster", name))
        if cluster is None or cluster.status != "ACTIVE":
            raise AwsError("ClusterNotFoundException", "Cluster not found.")
        return cluster

    def _definition(self, ref: str) -> Definition:
        name = ref.rpartition("/")[2]
        family, _, revision = name.partition(":")
        found = [
            d
            for d in self.definitions.get(family, [])
            if (str(d.revision) == revision if revision else d.status == "ACTIVE")
        ]
        if not found:
            raise AwsError("ClientException", "Unable to describe task definition.")
        return found[-1]

    def _active(self, ref: str) -> Definition:
        try:
            definition = self._definition(ref)
        except AwsError:
            raise AwsError("ClientException", "TaskDefinition not found.") from None
        if definition.status != "ACTIVE":
            raise AwsError("ClientException", "TaskDefinition is inactive")
        return definition

    def _record(self, cluster: Cluster, ref: str) -> EcsServiceRecord | None:
        return self.services.get(self.arn("service", f"{cluster.name}/{ref.rpartition('/')[2]}"))

    def service_record(self, cluster: str, name: str) -> EcsServiceRecord:
        """A service by cluster and name.

        Raises:
            AwsError: `ServiceNotFoundException`.
        """
        record = self.services.get(self.arn("service", f"{cluster}/{name}"))
        if record is None or record.status != "ACTIVE":
            raise AwsError("ServiceNotFoundException", "Service not found.")
        return record

    def running(self, record: EcsServiceRecord) -> int:
        """Running tasks of a service."""
        with self.lock:
            return sum(t.service == record.arn and t.status == "RUNNING" for t in self.tasks.values())

    def set_desired(self, cluster: str, name: str, count: int) -> None:
        """Set the desired count, as autoscaling does."""
        with self.lock:
            record = self.service_record(cluster, name)
            record.desired, record.steady = count, False
            self.deployments.event(record, f"has set the desired count to {count}.")
        self.poke()

    # Clusters

    def _do_create_cluster(self, body: dict[str, Any]) -> dict[str, Any]:
        name = body.get("clusterName") or "default"
        if NAME.fullmatch(name) is None:
            raise _invalid("Identifier is for a different type of resource or the cluster name is invalid.")
        arn = self.arn("cluster", name)
        cluster = self.clusters.get(arn)
        if cluster is None or cluster.status != "ACTIVE":
            cluster = Cluster(
                arn, name, body.get("settings", []), body.get("configuration", {}), body.get("tags", [])
            )
            self._associate(
                cluster, body.get("capacityProviders", []), body.get("defaultCapacityProviderStrategy", [])
            )
            self.clusters[arn] = cluster
        return {"cluster": self._shown_cluster(cluster)}

    def _associate(self, cluster: Cluster, providers: list[str], strategy: list[dict[str, Any]]) -> None:
        for name in providers:
            known = self.capacity.providers.get(name)
            if name not in FARGATE and (known is None or known.status != "ACTIVE"):
                raise _invalid(f"The specified capacity provider '{name}' was not found.")
        for item in strategy:
            if item["capacityProvider"] not in providers:
                raise _invalid(
                    "The capacity provider strategy contains a capacity provider that is not "
                    f"associated with the cluster: {item['capacityProvider']}"
                )
        cluster.providers, cluster.strategy = list(providers), list(strategy)

    def _shown_cluster(self, cluster: Cluster) -> dict[str, Any]:
        tasks = [t for t in self.tasks.values() if t.cluster == cluster.arn]
        instances = [
            i for i in self.capacity.instances.values() if i.cluster == cluster.arn and i.status == "ACTIVE"
        ]
        services = [s for s in self.services.values() if s.cluster == cluster.arn and s.status != "INACTIVE"]
        return {
            "clusterArn": cluster.arn, "clusterName": cluster.name, "status": cluster.status,
            "registeredContainerInstancesCount": len(instances),
            "runningTasksCount": sum(t.status == "RUNNING" for t in tasks),
            "pendingTasksCount": sum(t.status in STARTING for t in tasks),
            "activeServicesCount": len(services), "statistics": [], "tags": cluster.tags,
            "settings": cluster.settings or [{"name": "containerInsights", "value": "disabled"}],
            "configuration": cluster.configuration, "capacityProviders": cluster.providers,
            "defaultCapacityProviderStrategy": cluster.strategy, "attachments": [],
            "attachmentsStatus": "UPDATE_COMPLETE",
        }  # fmt: skip

    def _do_describe_clusters(self, body: dict[str, Any]) -> dict[str, Any]:
        found, failures = [], []
        for ref in body.get("clusters") or ["default"]:
            cluster = self.clusters.get(self.arn("cluster", ref.rpartition("/")[2]))
            if cluster is None:
                failures.append({"arn": self.arn("cluster", ref.rpartition("/")[2]), "reason": "MISSING"})
            else:
                found.append(self._shown_cluster(cluster))
        return {"clusters": found, "failures": failures}

    def _do_list_clusters(self, body: dict[str, Any]) -> dict[str, Any]:
        return _page([c.arn for c in self.clusters.values() if c.status == "ACTIVE"], "clusterArns", body)

    def _do_update_cluster(self, body: dict[str, Any]) -> dict[str, Any]:
        cluster = self._cluster(body)
        cluster.settings = body.get("settings", cluster.settings)
        cluster.configuration = body.get("configuration", cluster.configuration)
        return {"cluster": self._shown_cluster(cluster)}

    def _do_update_cluster_settings(self, body: dict[str, Any]) -> dict[str, Any]:
        return self._do_update_cluster(body)

    def _do_delete_cluster(self, body: dict[str, Any]) -> dict[str, Any]:
        cluster = self._cluster(body)
        if any(s.cluster == cluster.arn and s.status == "ACTIVE" for s in self.services.values()):
            raise AwsError(
                "ClusterContainsServicesException", "The Cluster cannot be deleted while Services are active."
            )
        if any(t.cluster == cluster.arn and t.status != "STOPPED" for t in self.tasks.values()):
            raise AwsError(
                "ClusterContainsTasksException", "The Cluster cannot be deleted while Tasks are active."
            )
        self.capacity.refresh(self.cloud.clock.now_s())
        if any(i.cluster == cluster.arn for i in self.capacity.instances.values()):
            raise AwsError(
                "ClusterContainsContainerInstancesException",
                "The Cluster cannot be deleted while Container Instances are active or draining.",
            )
        cluster.status, cluster.providers, cluster.strategy = "INACTIVE", [], []
        return {"cluster": self._shown_cluster(cluster)}

    # Capacity providers

    def _do_create_capacity_provider(self, body: dict[str, Any]) -> dict[str, Any]:
        name = body.get("name", "")
        if NAME.fullmatch(name) is None or name.lower().startswith(("aws", "ecs", "fargate")):
            raise _invalid(
                "The specified capacity provider name is invalid. Up to 255 characters are "
                "allowed and it can't start with aws, ecs or fargate."
            )
        known = self.capacity.providers.get(name)
        group, managed = body.get("autoScalingGroupProvider"), body.get("managedInstancesProvider")
        if known is not None and known.status == "ACTIVE":
            raise _invalid(
                "A capacity provider with the specified name already exists. Specify a unique name."
            )
        if (group is None) == (managed is None):
            raise _invalid(
                "Exactly one of autoScalingGroupProvider and managedInstancesProvider is required."
            )
        provider = Provider(
            self.arn("capacity-provider", name), name, None, managed,
            self._cluster(body).arn if managed is not None else None, body.get("tags", []),
        )  # fmt: skip
        if group is not None:
            provider.group = self._checked_group(name, group)
        elif provider.cluster is not None:
            self.clusters[provider.cluster].providers.append(name)
        self.capacity.providers[name] = provider
        return {"capacityProvider": self._shown_provider(provider)}

    def _checked_group(self, name: str, group: dict[str, Any]) -> dict[str, Any]:
        scaling = {
            "status": "DISABLED", "targetCapacity": 100, "minimumScalingStepSize": 1, "maximumScalingStepSize": 10_000,
            "instanceWarmupPeriod": 300, **group.get("managedScaling", {}),
        }  # fmt: skip
        checked = {
            "managedTerminationProtection": "DISABLED", "managedDraining": "ENABLED", **group, "managedScaling": scaling
        }  # fmt: skip
        if not 1 <= scaling["targetCapacity"] <= 100:
            raise _invalid("The managed scaling targetCapacity must be between 1 and 100.")
        probe = Provider("", name, checked, None, None, [])
        found = self.capacity.group(probe)
        if found is None:
            raise _invalid("The specified Auto Scaling group ARN was not found.")
        for other in self.capacity.providers.values():
            if (
                other.status == "ACTIVE"
                and other.group is not None
                and other.group_name == probe.group_name
                and other.name != name
            ):
                raise _invalid(
                    "The specified Auto Scaling group is already associated with another capacity provider."
                )
        if checked["managedTerminationProtection"] == "ENABLED":
            if scaling["status"] != "ENABLED":
                raise _invalid(
                    "The managed termination protection setting for the capacity provider is "
                    "invalid. To enable managed "
                    "termination protection for a capacity provider, managed scaling must be enabled."
                )
            if not found.new_instances_protected_from_scale_in:
                raise _invalid(
                    "The managed termination protection setting for the capacity provider is "
                    "invalid. To enable managed "
                    "termination protection for a capacity provider, the Auto Scaling group must "
                    "have instance protection "
                    "from scale in enabled."
                )
        return checked

    def _shown_provider(self, provider: Provider) -> dict[str, Any]:
        body: dict[str, Any] = {
            "capacityProviderArn": provider.arn,
            "name": provider.name, "status": provider.status, "tags": provider.tags,
        }  # fmt: skip
        optional = {
            "autoScalingGroupProvider": provider.group, "managedInstancesProvider": provider.managed,
            "updateStatus": provider.update_status, "cluster": provider.cluster,
        }  # fmt: skip
        return body | {k: v for k, v in optional.items() if v is not None}

    def _do_describe_capacity_providers(self, body: dict[str, Any]) -> dict[str, Any]:
        wanted = [ref.rpartition("/")[2] for ref in body.get("capacityProviders") or []]
        shown = [
            {"capacityProviderArn": self.arn("capacity-provider", n), "name": n, "status": "ACTIVE", "tags": []}
            for n in FARGATE if not wanted or n in wanted
        ]  # fmt: skip
        shown += [
            self._shown_provider(p) for n, p in self.capacity.providers.items() if not wanted or n in wanted
        ]
        known = {s["name"] for s in shown}
        failures = [
            {"arn": self.arn("capacity-provider", n), "reason": "MISSING"} for n in wanted if n not in known
        ]
        return {"capacityProviders": shown, "failures": failures}

    def _provider(self, ref: str) -> Provider:
        provider = self.capacity.providers.get(ref.rpartition("/")[2])
        if provider is None or provider.status != "ACTIVE":
            raise _invalid(
                "The specified capacity provider does not exist. Specify a valid name or ARN and try again."
            )
        return provider

    def _do_update_capacity_provider(self, body: dict[str, Any]) -> dict[str, Any]:
        provider = self._provider(body.get("name", ""))
        change = body.get("autoScalingGroupProvider")
        if change is not None and provider.group is not None:
            scaling = {**provider.group.get("managedScaling", {}), **change.get("managedScaling", {})}
            provider.group = self._checked_group(
                provider.name, {**provider.group, **change, "managedScaling": scaling}
            )
        if "managedInstancesProvider" in body and provider.managed is not None:
            provider.managed = {**provider.managed, **body["managedInstancesProvider"]}
        provider.update_status = "UPDATE_COMPLETE"
        return {"capacityProvider": self._shown_provider(provider)}

    def _do_delete_capacity_provider(self, body: dict[str, Any]) -> dict[str, Any]:
        provider = self._provider(body.get("capacityProvider", ""))
        clusters = self.capacity.clusters_of(provider)
        if provider.managed is None and clusters:
            raise AwsError(
                "ClientException",
                "The capacity provider cannot be deleted because it is associated with cluster: "
                f"{clusters[0].rpartition('/')[2]}. Remove the capacity provider from the cluster and try again.",
            )
        if self._in_use(provider.name):
            raise AwsError(
                "ResourceInUseException", "The specified capacity provider is in use and cannot be removed."
            )
        for arn in clusters:
            self.clusters[arn].providers.remove(provider.name)
        provider.status, provider.update_status = "INACTIVE", "DELETE_COMPLETE"
        del self.capacity.providers[provider.name]
        return {"capacityProvider": self._shown_provider(provider)}

    def _in_use(self, name: str) -> bool:
        services = any(
            s.status != "INACTIVE"
            and any(i["capacityProvider"] == name for i in s.body.get("capacityProviderStrategy", []))
            for s in self.services.values()
        )
        return services or any(t.provider == name and t.status != "STOPPED" for t in self.tasks.values())

    def _do_put_cluster_capacity_providers(self, body: dict[str, Any]) -> dict[str, Any]:
        cluster = self._cluster(body)
        wanted = [ref.rpartition("/")[2] for ref in body.get("capacityProviders", [])]
        for name in cluster.providers:
            if name not in wanted and self._in_use(name):
                raise AwsError(
                    "ResourceInUseException",
                    "The specified capacity provider is in use and cannot be removed.",
                )
        self._associate(cluster, wanted, body.get("defaultCapacityProviderStrategy", []))
        return {"cluster": self._shown_cluster(cluster)}

    # Container instances

    def _do_list_container_instances(self, body: dict[str, Any]) -> dict[str, Any]:
        cluster = self._cluster(body)
        status = body.get("status")
        found = [
            i.arn for i in self.capacity.instances.values()
            if i.cluster == cluster.arn and i.status != "REGISTERING" and status in (None, i.status)
        ]  # fmt: skip
        return _page(found, "containerInstanceArns", body)

    def _instances(self, body: dict[str, Any]) -> list[Instance]:
        wanted = {ref.rpartition("/")[2] for ref in body.get("containerInstances", [])}
        cluster = self._cluster(body)
        return [
            i
            for i in self.capacity.instances.values()
            if i.cluster == cluster.arn and i.arn.rpartition("/")[2] in wanted
        ]

    def _shown_instance(self, instance: Instance) -> dict[str, Any]:
        taken = [t.definition.needs for t in self.capacity.tasks_on(instance)]
        tasks = self.capacity.tasks_on(instance)

        def listed(cpu: int, memory: int, gpus: int) -> list[dict[str, Any]]:
            amounts: list[dict[str, Any]] = [
                {"name": "CPU", "type": "INTEGER", "integerValue": cpu},
                {"name": "MEMORY", "type": "INTEGER", "integerValue": memory},
            ]
            if instance.gpus:
                names = [f"GPU-{n}" for n in range(gpus)]
                amounts.append({"name": "GPU", "type": "STRINGSET", "stringSetValue": names})
            return amounts

        return {
            "containerInstanceArn": instance.arn, "ec2InstanceId": instance.identity, "status": instance.status,
            "capacityProviderName": instance.provider, "agentConnected": True, "version": 1,
            "registeredAt": instance.ready_s,
            "registeredResources": listed(instance.cpu, instance.memory_mib, instance.gpus),
            "remainingResources": listed(
                instance.cpu - sum(n.cpu for n in taken), instance.memory_mib - sum(n.memory_mib for n in taken),
                instance.gpus - sum(n.gpus for n in taken),
            ),
            "runningTasksCount": sum(t.status == "RUNNING" for t in tasks),
            "pendingTasksCount": sum(t.status in STARTING for t in tasks),
            "attributes": [{"name": "ecs.instance-type", "value": instance.kind}], "attachments": [], "tags": [],
        }  # fmt: skip

    def _do_describe_container_instances(self, body: dict[str, Any]) -> dict[str, Any]:
        return {
            "containerInstances": [self._shown_instance(i) for i in self._instances(body)],
            "failures": [],
        }

    def _do_update_container_instances_state(self, body: dict[str, Any]) -> dict[str, Any]:
        found = self._instances(body)
        for instance in found:
            instance.status = body["status"]
            if instance.status == "DRAINING":
                for task in self.capacity.tasks_on(instance):
                    if task.service is not None:
                        self.stop_task(task, "ServiceSchedulerInitiated", "Container instance is draining")
        return {"containerInstances": [self._shown_instance(i) for i in found], "failures": []}

    # Task definitions

    def _do_register_task_definition(self, body: dict[str, Any]) -> dict[str, Any]:
        kept = check(body)
        for container in kept["containerDefinitions"]:
            images.directory_of(container["image"], self.cloud.image_mirrors)
        family = body["family"]
        known = self.definitions.setdefault(family, [])
        revision = len(known) + 1
        definition = Definition(
            self.arn("task-definition", f"{family}:{revision}"), family, revision, kept, needs(kept),
            self.cloud.clock.now_s(), body.get("tags", []),
        )  # fmt: skip
        known.append(definition)
        return {"taskDefinition": definition.describe(), "tags": definition.tags}

    def _do_describe_task_definition(self, body: dict[str, Any]) -> dict[str, Any]:
        definition = self._definition(body.get("taskDefinition", ""))
        tags = definition.tags if "TAGS" in body.get("include", []) else []
        return {"taskDefinition": definition.describe(), "tags": tags}

    def _do_deregister_task_definition(self, body: dict[str, Any]) -> dict[str, Any]:
        definition = self._definition(body.get("taskDefinition", ""))
        definition.status = "INACTIVE"
        return {"taskDefinition": definition.describe()}

    def _do_delete_task_definitions(self, body: dict[str, Any]) -> dict[str, Any]:
        found, failures = [], []
        for ref in body.get("taskDefinitions", []):
            definition = self._definition(ref)
            if definition.status == "ACTIVE":
                failures.append(
                    {
                        "arn": definition.arn,
                        "reason": "The specified task definition is still in ACTIVE status. "
                        "Please deregister the target and try again.",
                    }
                )
                continue
            definition.status = "DELETE_IN_PROGRESS"
            found.append(definition.describe())
        return {"taskDefinitions": found, "failures": failures}

    def _do_list_task_definitions(self, body: dict[str, Any]) -> dict[str, Any]:
        family, status = body.get("familyPrefix"), body.get("status", "ACTIVE")
        found = [
            d.arn for f, ds in sorted(self.definitions.items()) for d in ds
            if family in (None, f) and d.status == status
        ]  # fmt: skip
        if body.get("sort") == "DESC":
            found.reverse()
        return _page(found, "taskDefinitionArns", body)

    def _do_list_task_definition_families(self, body: dict[str, Any]) -> dict[str, Any]:
        prefix = body.get("familyPrefix", "")
        return _page([f for f in sorted(self.definitions) if f.startswith(prefix)], "families", body)

    # Running tasks

    def _check_launch(self, cluster: Cluster, definition: Definition, body: dict[str, Any]) -> None:
        strategy = body.get("capacityProviderStrategy") or []
        if body.get("launchType") and strategy:
            raise _invalid(
                "Specifying both a launch type and capacity provider strategy is not supported. "
                "Remove one and try again."
            )
        for item in strategy:
            if item["capacityProvider"] not in cluster.providers:
                raise _invalid(
                    "The specified capacity provider strategy contains a capacity provider that "
                    f"is not associated with the cluster: {item['capacityProvider']}"
                )
        network = body.get("networkConfiguration", {}).get("awsvpcConfiguration", {})
        awsvpc = definition.body.get("networkMode") == "awsvpc"
        if awsvpc and not network.get("subnets"):
            raise _invalid("Network Configuration must be provided when networkMode 'awsvpc' is specified.")
        if network and not awsvpc:
            raise _invalid(
                "Network Configuration is not valid for the given networkMode of this task definition."
            )
        launch_type, _ = self._where(cluster.arn, body)
        if launch_type == "FARGATE" and "FARGATE" not in definition.body.get("requiresCompatibilities", []):
            raise _invalid("Task definition does not support launch_type FARGATE.")

    def _do_run_task(self, body: dict[str, Any]) -> dict[str, Any]:
        cluster, definition = self._cluster(body), self._active(body.get("taskDefinition", ""))
        self._check_launch(cluster, definition, body)
        count = body.get("count", 1)
        if not 1 <= count <= 10:
            raise _invalid("The count must be between 1 and 10.")
        launch_type, provider = self._where(cluster.arn, body)
        tasks, failures = [], []
        for _ in range(count):
            task = self._launch(
                cluster.arn, definition, body, group=body.get("group", f"family:{definition.family}"),
                started_by=body.get("startedBy", ""),
            )  # fmt: skip
            if launch_type == "EC2" and provider is None:
                task.instance = self.capacity.place(task)
                if task.instance is None:
                    del self.tasks[task.arn]
                    failures.append(self._failure(cluster, definition))
                    continue
                self._run(task)
            tasks.append(task.describe(self.cloud.region))
        return {"tasks": tasks, "failures": failures}

    def _failure(self, cluster: Cluster, definition: Definition) -> dict[str, str]:
        instances = [
            i for i in self.capacity.instances.values() if i.cluster == cluster.arn and i.status == "ACTIVE"
        ]
        if not instances:
            raise _invalid("No Container Instances were found in your cluster.")
        reason = "RESOURCE:GPU" if definition.needs.gpus else "RESOURCE:MEMORY"
        return {"arn": instances[0].arn, "reason": reason}

    def _task(self, cluster: Cluster, ref: str) -> Task | None:
        task = self.tasks.get(self.arn("task", f"{cluster.name}/{ref.rpartition('/')[2]}"))
        return task

    def _do_stop_task(self, body: dict[str, Any]) -> dict[str, Any]:
        task = self._task(self._cluster(body), body.get("task", ""))
        if task is None:
            raise _invalid("The referenced task was not found.")
        self.stop_task(task, "UserInitiated", body.get("reason") or "Task stopped by user")
        return {"task": task.describe(self.cloud.region)}

    def _do_describe_tasks(self, body: dict[str, Any]) -> dict[str, Any]:
        cluster = self._cluster(body)
        found, failures = [], []
        for ref in body.get("tasks", []):
            task = self._task(cluster, ref)
            if task is None:
                failures.append(
                    {"arn": self.arn("task", f"{cluster.name}/{ref.rpartition('/')[2]}"), "reason": "MISSING"}
                )
            else:
                found.append(task.describe(self.cloud.region))
        return {"tasks": found, "failures": failures}

    def _do_list_tasks(self, body: dict[str, Any]) -> dict[str, Any]:
        cluster, desired = self._cluster(body), body.get("desiredStatus", "RUNNING")
        record = self._record(cluster, body["serviceName"]) if "serviceName" in body else None
        found = [
            t.arn for t in self.tasks.values()
            if t.cluster == cluster.arn and t.desired == desired
            and ("serviceName" not in body or (record is not None and t.service == record.arn))
            and body.get("family") in (None, t.definition.family) and body.get("startedBy") in (None, t.started_by)
            and body.get("launchType") in (None, t.launch_type)
        ]  # fmt: skip
        return _page(found, "taskArns", body)

    # Services

    def _do_create_service(self, body: dict[str, Any]) -> dict[str, Any]:
        cluster, name = self._cluster(body), body.get("serviceName", "")
        if NAME.fullmatch(name) is None:
            raise _invalid(
                "The service name is invalid. Up to 255 letters, numbers, underscores, and hyphens are allowed."
            )
        if body.get("schedulingStrategy", "REPLICA") != "REPLICA":
            raise _invalid("Only the REPLICA scheduling strategy runs in the embedded cloud.")
        known = self._record(cluster, name)
        if known is not None and known.status == "DRAINING":
            raise _invalid("Unable to Start a service that is still Draining.")
        if known is not None and known.status == "ACTIVE":
            raise _invalid("Creation of service was not idempotent.")
        definition = self._active(body.get("taskDefinition", ""))
        self._check_launch(cluster, definition, body)
        self._check_registries(body)
        arn = self.arn("service", f"{cluster.name}/{name}")
        kept = {k: body[k] for k in REPLICA_FIELDS if k in body}
        record = EcsServiceRecord(
            arn, name, cluster.arn, kept, int(body.get("desiredCount", 1)),
            self.cloud.clock.now_s(), body.get("tags", []),
        )  # fmt: skip
        self.services[arn] = record
        self.deployments.begin(record, definition)
        return {"service": self._shown_service(record)}

    def _check_registries(self, body: dict[str, Any]) -> None:
        for registry in body.get("serviceRegistries", []):
            services = self._cloud_map().services
            if registry.get("registryArn", "").rpartition("/")[2] not in services:
                raise _invalid("The specified service registry was not found.")

    def _shown_service(self, record: EcsServiceRecord) -> dict[str, Any]:
        tasks = [t for t in self.tasks.values() if t.service == record.arn and t.status != "STOPPED"]
        primary = record.deployments[0].definition.arn if record.deployments else ""
        deployments = []
        for index, d in enumerate(record.deployments):
            mine = [t for t in tasks if t.deployment == d.identity]
            deployments.append(
                {
                    "id": d.identity, "status": d.status, "taskDefinition": d.definition.arn,
                    "desiredCount": record.desired if index == 0 else 0,
                    "runningCount": sum(t.status == "RUNNING" for t in mine),
                    "pendingCount": sum(t.status in STARTING for t in mine), "failedTasks": d.failed,
                    "createdAt": d.created_s, "updatedAt": d.updated_s, "rolloutState": d.state,
                    "rolloutStateReason": d.reason,
                }
            )  # fmt: skip
        strategy = record.body.get("capacityProviderStrategy")
        body: dict[str, Any] = {
            **record.body, "serviceArn": record.arn, "serviceName": record.name, "clusterArn": record.cluster,
            "status": record.status, "desiredCount": record.desired,
            "runningCount": sum(t.status == "RUNNING" for t in tasks),
            "pendingCount": sum(t.status in STARTING for t in tasks), "taskDefinition": primary,
            "deployments": deployments, "events": record.events, "createdAt": record.created_s,
            "schedulingStrategy": "REPLICA", "deploymentController": {"type": "ECS"}, "tags": record.tags,
            "deploymentConfiguration": {
                "maximumPercent": 200, "minimumHealthyPercent": 100,
                "deploymentCircuitBreaker": {"enable": False, "rollback": False},
                **record.body.get("deploymentConfiguration", {}),
            },
        }  # fmt: skip
        body.setdefault("serviceRegistries", [])
        body.setdefault("loadBalancers", [])
        if not strategy:
            body.setdefault("launchType", "EC2")
        return body

    def _do_describe_services(self, body: dict[str, Any]) -> dict[str, Any]:
        cluster = self._cluster(body)
        found, failures = [], []
        for ref in body.get("services", []):
            record = self._record(cluster, ref)
            if record is None:
                failures.append(
                    {
                        "arn": self.arn("service", f"{cluster.name}/{ref.rpartition('/')[2]}"),
                        "reason": "MISSING",
                    }
                )
            else:
                found.append(self._shown_service(record))
        return {"services": found, "failures": failures}

    def _do_list_services(self, body: dict[str, Any]) -> dict[str, Any]:
        cluster = self._cluster(body)
        found = [s.arn for s in self.services.values() if s.cluster == cluster.arn and s.status != "INACTIVE"]
        return _page(found, "serviceArns", body)

    def _do_update_service(self, body: dict[str, Any]) -> dict[str, Any]:
        cluster = self._cluster(body)
        record = self._record(cluster, body.get("service", ""))
        if record is None or record.status == "INACTIVE":
            raise AwsError("ServiceNotFoundException", "Service not found.")
        if record.status != "ACTIVE":
            raise AwsError("ServiceNotActiveException", "Service was not ACTIVE.")
        changes = {k: body[k] for k in REPLICA_FIELDS if k in body and body[k] != record.body.get(k)}
        definition = record.primary.definition
        if "taskDefinition" in body:
            definition = self._active(body["taskDefinition"])
        self._check_launch(cluster, definition, {**record.body, **changes})
        self._check_registries(changes)
        record.body = {**record.body, **changes}
        if "desiredCount" in body:
            record.desired, record.steady = int(body["desiredCount"]), False
        deploys = (
            DEPLOYS & set(changes)
            or definition is not record.primary.definition
            or body.get("forceNewDeployment")
        )
        if deploys:
            self.deployments.begin(record, definition)
        return {"service": self._shown_service(record)}

    def _do_delete_service(self, body: dict[str, Any]) -> dict[str, Any]:
        record = self._record(self._cluster(body), body.get("service", ""))
        if record is None or record.status == "INACTIVE":
            raise AwsError("ServiceNotFoundException", "Service not found.")
        if record.desired > 0 and not body.get("force"):
            raise _invalid("The service cannot be stopped while it is scaled above 0.")
        record.status, record.desired = "DRAINING", 0
        return {"service": self._shown_service(record)}

    # Tags and account

    def _tags_of(self, arn: str) -> list[dict[str, str]]:
        holders: list[Any] = [
            *self.clusters.values(), *self.services.values(), *self.tasks.values(), *self.capacity.providers.values(),
            *(d for ds in self.definitions.values() for d in ds),
        ]  # fmt: skip
        for holder in holders:
            if holder.arn == arn:
                found: list[dict[str, str]] = holder.tags
                return found
        raise _invalid("The specified resource was not found.")

    def _do_list_tags_for_resource(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"tags": self._tags_of(body.get("resourceArn", ""))}

    def _do_tag_resource(self, body: dict[str, Any]) -> dict[str, Any]:
        tags = self._tags_of(body.get("resourceArn", ""))
        fresh = {t["key"]: t["value"] for t in tags} | {t["key"]: t["value"] for t in body.get("tags", [])}
        tags[:] = [{"key": k, "value": v} for k, v in fresh.items()]
        return {}

    def _do_untag_resource(self, body: dict[str, Any]) -> dict[str, Any]:
        tags = self._tags_of(body.get("resourceArn", ""))
        tags[:] = [t for t in tags if t["key"] not in body.get("tagKeys", [])]
        return {}

    def _do_list_account_settings(self, _body: dict[str, Any]) -> dict[str, Any]:
        names = (
            "serviceLongArnFormat",
            "taskLongArnFormat",
            "containerInstanceLongArnFormat",
            "awsvpcTrunking",
        )
        return {"settings": [{"name": n, "value": "enabled", "principalArn": ""} for n in names]}


def _page(items: list[str], key: str, body: dict[str, Any]) -> dict[str, Any]:
    start, size = int(body.get("nextToken") or 0), int(body.get("maxResults") or 100)
    answer: dict[str, Any] = {key: items[start : start + size]}
    if start + size < len(items):
        answer["nextToken"] = str(start + size)
    return answer
