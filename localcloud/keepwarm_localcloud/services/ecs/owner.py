"""ECS as its parts see it: what capacity, deployments and metrics may look at and ask for."""

from pathlib import Path
from typing import Any, Protocol

from keepwarm_localcloud.services.context import Context
from keepwarm_localcloud.services.ecs.model import Cluster, Deployment, EcsServiceRecord, Instance, Task


class Owner(Protocol):
    """The state of ECS and the loop that keeps it moving; called under its lock."""

    context: Context
    clusters: dict[str, Cluster]
    services: dict[str, EcsServiceRecord]
    tasks: dict[str, Task]

    def arn(self, kind: str, name: str) -> str:
        """ARN of something of ECS."""
        ...

    def note(self, kind: str, **facts: Any) -> None:
        """Write to the journal."""
        ...

    def poke(self, *, after_moto: bool = False) -> None:
        """Look at everything soon; with `after_moto`, once the Auto Scaling request under way is done."""
        ...

    def poke_at(self, at_s: float) -> None:
        """Look at everything at a moment of the clock."""
        ...

    def launch_for(self, record: EcsServiceRecord, deployment: Deployment) -> Task | None:
        """Create a task of a service."""
        ...

    def stop_task(self, task: Task, code: str, reason: str) -> None:
        """Ask a task to end."""
        ...

    def disk(self, instance: Instance) -> Path:
        """Where the volumes with a host path of an instance lie."""
        ...
