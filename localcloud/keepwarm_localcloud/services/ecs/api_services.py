"""Operations on services, tags and account settings."""

from typing import Any

from keepwarm_localcloud.request import AwsError
from keepwarm_localcloud.services.ecs.api_tasks import TasksApi
from keepwarm_localcloud.services.ecs.capacity import FARGATE
from keepwarm_localcloud.services.ecs.model import STARTING, EcsServiceRecord
from keepwarm_localcloud.services.ecs.state import NAME, invalid, page

REPLICA_FIELDS = (
    "loadBalancers", "serviceRegistries", "launchType", "capacityProviderStrategy", "platformVersion",
    "deploymentConfiguration", "placementConstraints", "placementStrategy", "networkConfiguration",
    "healthCheckGracePeriodSeconds", "enableECSManagedTags", "propagateTags", "enableExecuteCommand",
    "availabilityZoneRebalancing", "serviceConnectConfiguration", "volumeConfigurations",
)  # fmt: skip
DEPLOYS = frozenset({"taskDefinition", "networkConfiguration", "serviceRegistries", "platformVersion"})
"""Fields whose change starts a new deployment.
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_UpdateService.html"""


class ServicesApi(TasksApi):
    """Operations on services, tags and account settings."""

    # Services

    def _do_create_service(self, body: dict[str, Any]) -> dict[str, Any]:
        cluster, name = self._cluster(body), body.get("serviceName", "")
        if NAME.fullmatch(name) is None:
            raise invalid(
                "The service name is invalid. Up to 255 letters, numbers, underscores, and hyphens are allowed."
            )
        if body.get("schedulingStrategy", "REPLICA") != "REPLICA":
            raise invalid("Only the REPLICA scheduling strategy runs in the embedded cloud.")
        known = self._record(cluster, name)
        if known is not None and known.status == "DRAINING":
            raise invalid("Unable to Start a service that is still Draining.")
        if known is not None and known.status == "ACTIVE":
            raise invalid("Creation of service was not idempotent.")
        definition = self._active(body.get("taskDefinition", ""))
        self._check_launch(cluster, definition, body)
        self._check_registries(body)
        arn = self.arn("service", f"{cluster.name}/{name}")
        kept = {k: body[k] for k in REPLICA_FIELDS if k in body}
        record = EcsServiceRecord(
            arn, name, cluster.arn, kept, int(body.get("desiredCount", 1)),
            self.context.clock.now_s(), body.get("tags", []),
        )  # fmt: skip
        self.services[arn] = record
        self.deployments.begin(record, definition)
        return {"service": self._shown_service(record)}

    def _check_registries(self, body: dict[str, Any]) -> None:
        for registry in body.get("serviceRegistries", []):
            identity = registry.get("registryArn", "").rpartition("/")[2]
            if not self._cloud_map().has_service(identity):
                raise invalid("The specified service registry was not found.")

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
        return page(found, "serviceArns", body)

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
        fresh = {**record.body, **changes}
        if "capacityProviderStrategy" in changes:
            self._move(fresh, record.body.get("capacityProviderStrategy", []))
        self._check_launch(cluster, definition, fresh)
        self._check_registries(changes)
        record.body = fresh
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

    def _move(self, body: dict[str, Any], before: list[dict[str, Any]]) -> None:
        """Go from the launch type to a strategy, or with an empty one back to the launch type."""
        if body["capacityProviderStrategy"]:
            body.pop("launchType", None)
        elif before:
            fargate = all(i["capacityProvider"] in FARGATE for i in before)
            body["launchType"] = "FARGATE" if fargate else "EC2"

    def _do_delete_service(self, body: dict[str, Any]) -> dict[str, Any]:
        record = self._record(self._cluster(body), body.get("service", ""))
        if record is None or record.status == "INACTIVE":
            raise AwsError("ServiceNotFoundException", "Service not found.")
        if record.desired > 0 and not body.get("force"):
            raise invalid("The service cannot be stopped while it is scaled above 0.")
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
        raise invalid("The specified resource was not found.")

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
