"""What ECS knows: clusters, task definitions, services and tasks, and how a request names them."""

import re
import threading
from typing import Any

from keepwarm_localcloud.request import AwsError
from keepwarm_localcloud.services.context import Context
from keepwarm_localcloud.services.ecs.model import Cluster, Definition, EcsServiceRecord, Task

CONTENT_TYPE = "application/x-amz-json-1.1"
NAME = re.compile(r"[A-Za-z0-9_-]{1,255}")


def invalid(message: str) -> AwsError:
    """ECS's refusal of a parameter."""
    return AwsError("InvalidParameterException", message)


class EcsState:
    """What every group of ECS operations works on; under `lock`."""

    def __init__(self) -> None:
        self.clusters: dict[str, Cluster] = {}
        self.definitions: dict[str, list[Definition]] = {}
        self.services: dict[str, EcsServiceRecord] = {}
        self.tasks: dict[str, Task] = {}
        self.lock = threading.RLock()
        self.context: Context

    def note(self, kind: str, **facts: Any) -> None:
        """Write to the journal."""
        self.context.journal.write(kind, **facts)

    def arn(self, kind: str, name: str) -> str:
        """ARN of something of ECS."""
        return f"arn:aws:ecs:{self.context.region}:{self.context.account_id}:{kind}/{name}"

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

    def desired(self, cluster: str, name: str) -> int:
        """Desired count of a service."""
        return self.service_record(cluster, name).desired


def page(items: list[str], key: str, body: dict[str, Any]) -> dict[str, Any]:
    """One page of a list, with `nextToken` when there is more."""
    start, size = int(body.get("nextToken") or 0), int(body.get("maxResults") or 100)
    answer: dict[str, Any] = {key: items[start : start + size]}
    if start + size < len(items):
        answer["nextToken"] = str(start + size)
    return answer
