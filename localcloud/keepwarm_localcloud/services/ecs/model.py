"""What ECS remembers: clusters, task definitions, services, tasks, instances, capacity providers."""

from dataclasses import dataclass, field
from typing import Any

from keepwarm_localcloud.services.ecs.definitions import Needs

ORDER = (
    "PROVISIONING", "PENDING", "ACTIVATING", "RUNNING", "DEACTIVATING", "STOPPING", "DEPROVISIONING", "STOPPED",
)  # fmt: skip
"""https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-lifecycle-explanation.html"""
STARTING = frozenset({"PROVISIONING", "PENDING", "ACTIVATING"})


@dataclass(slots=True)
class Definition:
    """A registered revision."""

    arn: str
    family: str
    revision: int
    body: dict[str, Any]
    needs: Needs
    registered_s: float
    tags: list[dict[str, str]]
    status: str = "ACTIVE"

    def describe(self) -> dict[str, Any]:
        """`taskDefinition` of DescribeTaskDefinition."""
        modes = ["EC2", "FARGATE"] if self.body.get("networkMode") == "awsvpc" else ["EC2"]
        return {
            **self.body, "taskDefinitionArn": self.arn, "family": self.family, "revision": self.revision,
            "status": self.status, "registeredAt": self.registered_s, "compatibilities": modes,
        }  # fmt: skip


@dataclass(slots=True)
class Cluster:
    """A cluster."""

    arn: str
    name: str
    settings: list[dict[str, str]]
    configuration: dict[str, Any]
    tags: list[dict[str, str]]
    providers: list[str] = field(default_factory=list)
    strategy: list[dict[str, Any]] = field(default_factory=list)
    status: str = "ACTIVE"


@dataclass(slots=True)
class Provider:
    """A capacity provider over an Auto Scaling group, or of managed instances."""

    arn: str
    name: str
    group: dict[str, Any] | None
    managed: dict[str, Any] | None
    cluster: str | None
    tags: list[dict[str, str]]
    status: str = "ACTIVE"
    update_status: str | None = None
    idle_since_s: float | None = None

    @property
    def group_name(self) -> str:
        """Name of the Auto Scaling group."""
        assert self.group is not None
        return str(self.group["autoScalingGroupArn"]).rpartition("/")[2]

    @property
    def scales(self) -> bool:
        """Whether ECS manages the number of instances."""
        if self.group is None:
            return True
        return bool(self.group.get("managedScaling", {}).get("status") == "ENABLED")

    @property
    def protects(self) -> bool:
        """Whether instances with tasks are protected from scale in."""
        return self.group is not None and self.group.get("managedTerminationProtection") == "ENABLED"


@dataclass(slots=True)
class Instance:
    """A container instance: a simulated EC2 instance that takes tasks."""

    arn: str
    identity: str
    kind: str
    cluster: str
    provider: str
    cpu: int
    memory_mib: int
    gpus: int
    launched_s: float
    ready_s: float
    status: str = "REGISTERING"
    idle_since_s: float | None = None

    def fits(self, need: Needs, taken: list[Needs]) -> bool:
        """Whether a task still has room."""
        return (
            need.cpu + sum(t.cpu for t in taken) <= self.cpu
            and need.memory_mib + sum(t.memory_mib for t in taken) <= self.memory_mib
            and need.gpus + sum(t.gpus for t in taken) <= self.gpus
        )


@dataclass(slots=True)
class Container:
    """One container of a task."""

    name: str
    definition: dict[str, Any]
    status: str = "PENDING"
    exit_code: int | None = None
    reason: str | None = None
    health: str = "UNKNOWN"
    pid: int | None = None
    ports: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True)
class Task:
    """One task."""

    arn: str
    identity: str
    cluster: str
    definition: Definition
    group: str
    launch_type: str
    provider: str | None
    created_s: float
    overrides: dict[str, Any]
    tags: list[dict[str, str]]
    started_by: str = ""
    service: str | None = None
    deployment: str | None = None
    network: dict[str, Any] | None = None
    instance: Instance | None = None
    status: str = "PROVISIONING"
    desired: str = "RUNNING"
    containers: list[Container] = field(default_factory=list)
    started_s: float | None = None
    stopping_s: float | None = None
    stopped_s: float | None = None
    stop_code: str | None = None
    stopped_reason: str | None = None
    registries: list[str] | None = None
    """Registries it is registered in; None before it is healthy and after it has left them."""
    counted: bool = False

    @property
    def health(self) -> str:
        """Of the essential containers that have a health check."""
        states = [
            c.health
            for c in self.containers
            if c.definition.get("healthCheck") and c.definition.get("essential", True)
        ]
        for state in ("UNHEALTHY", "UNKNOWN"):
            if state in states:
                return state
        return "HEALTHY" if states else "UNKNOWN"

    @property
    def checked(self) -> bool:
        """Whether any container has a health check."""
        return any(c.definition.get("healthCheck") for c in self.containers)

    @property
    def well(self) -> bool:
        """Running, and healthy where there is a check."""
        return (
            self.status == "RUNNING"
            and self.desired == "RUNNING"
            and (not self.checked or self.health == "HEALTHY")
        )

    @property
    def draining(self) -> bool:
        """Whether its instance is being emptied."""
        return self.instance is not None and self.instance.status == "DRAINING"

    @property
    def address(self) -> tuple[str, int | None]:
        """Where the task listens."""
        ports = [p["hostPort"] for c in self.containers for p in c.ports]
        return "127.0.0.1", ports[0] if ports else None

    def describe(self, region: str) -> dict[str, Any]:
        """`task` of DescribeTasks."""
        containers = []
        for c in self.containers:
            shown = {
                "containerArn": f"{self.arn.replace(':task/', ':container/')}/{c.name}", "taskArn": self.arn,
                "name": c.name, "image": c.definition["image"], "lastStatus": c.status, "healthStatus": c.health,
                "networkBindings": c.ports, "networkInterfaces": [],
            }  # fmt: skip
            shown |= {k: v for k, v in (("exitCode", c.exit_code), ("reason", c.reason)) if v is not None}
            if c.pid is not None:
                shown["runtimeId"] = str(c.pid)
            containers.append(shown)
        body: dict[str, Any] = {
            "taskArn": self.arn, "clusterArn": self.cluster, "taskDefinitionArn": self.definition.arn,
            "group": self.group, "launchType": self.launch_type, "lastStatus": self.status,
            "desiredStatus": self.desired, "healthStatus": self.health, "containers": containers,
            "createdAt": self.created_s, "overrides": self.overrides, "tags": self.tags, "version": 1,
            "cpu": str(self.definition.needs.cpu), "memory": str(self.definition.needs.memory_mib),
            "connectivity": "CONNECTED", "attachments": [], "availabilityZone": f"{region}a",
            "enableExecuteCommand": False, "attributes": [],
        }  # fmt: skip
        if self.network is not None:
            details = [{"name": "privateIPv4Address", "value": "127.0.0.1"}]
            body["attachments"] = [
                {"type": "ElasticNetworkInterface", "status": "ATTACHED", "details": details}
            ]
        optional = {
            "startedBy": self.started_by or None, "capacityProviderName": self.provider,
            "containerInstanceArn": self.instance.arn if self.instance else None, "startedAt": self.started_s,
            "stoppingAt": self.stopping_s, "stoppedAt": self.stopped_s, "stopCode": self.stop_code,
            "stoppedReason": self.stopped_reason,
        }  # fmt: skip
        return body | {k: v for k, v in optional.items() if v is not None}


@dataclass(slots=True)
class Deployment:
    """One deployment of a service."""

    identity: str
    definition: Definition
    created_s: float
    updated_s: float
    status: str = "PRIMARY"
    state: str = "IN_PROGRESS"
    reason: str = ""
    failed: int = 0
    streak: int = 0
    """Failures since a task was last well."""
    rollback: bool = False


@dataclass(slots=True)
class EcsServiceRecord:
    """One service."""

    arn: str
    name: str
    cluster: str
    body: dict[str, Any]
    desired: int
    created_s: float
    tags: list[dict[str, str]]
    deployments: list[Deployment] = field(default_factory=list)
    last_good: Definition | None = None
    status: str = "ACTIVE"
    events: list[dict[str, Any]] = field(default_factory=list)
    steady: bool = False
    not_before_s: float = 0.0
    complained: bool = False

    @property
    def primary(self) -> Deployment:
        """The deployment that new tasks belong to."""
        return self.deployments[0]

    @property
    def bounds(self) -> tuple[int, int]:
        """(least healthy, most running) tasks while deploying.

        https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-type-ecs.html
        """
        config = self.body.get("deploymentConfiguration", {})
        least = -(-self.desired * config.get("minimumHealthyPercent", 100) // 100)
        return least, self.desired * config.get("maximumPercent", 200) // 100

    @property
    def breaker(self) -> tuple[bool, bool, int]:
        """(circuit breaker on, rolls back, failures that trip it).

        https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html
        """
        config = self.body.get("deploymentConfiguration", {}).get("deploymentCircuitBreaker", {})
        limit = min(200, max(3, -(-self.desired // 2)))
        return bool(config.get("enable")), bool(config.get("rollback")), limit
