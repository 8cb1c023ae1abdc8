"""Operations on task definitions and tasks."""

from typing import Any

from keepwarm_localcloud.services.ecs import images
from keepwarm_localcloud.services.ecs.control import EcsControl
from keepwarm_localcloud.services.ecs.definitions import check, needs
from keepwarm_localcloud.services.ecs.model import Cluster, Definition, Task
from keepwarm_localcloud.services.ecs.state import invalid, page


class TasksApi(EcsControl):
    """Operations on task definitions and tasks."""

    # Task definitions

    def _do_register_task_definition(self, body: dict[str, Any]) -> dict[str, Any]:
        kept = check(body)
        for container in kept["containerDefinitions"]:
            images.directory_of(container["image"], self.context.image_mirrors)
        family = body["family"]
        known = self.definitions.setdefault(family, [])
        revision = len(known) + 1
        definition = Definition(
            self.arn("task-definition", f"{family}:{revision}"), family, revision, kept, needs(kept),
            self.context.clock.now_s(), body.get("tags", []),
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
        return page(found, "taskDefinitionArns", body)

    def _do_list_task_definition_families(self, body: dict[str, Any]) -> dict[str, Any]:
        prefix = body.get("familyPrefix", "")
        return page([f for f in sorted(self.definitions) if f.startswith(prefix)], "families", body)

    # Running tasks

    def _check_launch(self, cluster: Cluster, definition: Definition, body: dict[str, Any]) -> None:
        strategy = body.get("capacityProviderStrategy") or []
        if body.get("launchType") and strategy:
            raise invalid(
                "Specifying both a launch type and capacity provider strategy is not supported. "
                "Remove one and try again."
            )
        for item in strategy:
            if item["capacityProvider"] not in cluster.providers:
                raise invalid(
                    "The specified capacity provider strategy contains a capacity provider that "
                    f"is not associated with the cluster: {item['capacityProvider']}"
                )
        network = body.get("networkConfiguration", {}).get("awsvpcConfiguration", {})
        awsvpc = definition.body.get("networkMode") == "awsvpc"
        if awsvpc and not network.get("subnets"):
            raise invalid("Network Configuration must be provided when networkMode 'awsvpc' is specified.")
        if network and not awsvpc:
            raise invalid(
                "Network Configuration is not valid for the given networkMode of this task definition."
            )
        launch_type, _ = self._where(cluster.arn, body)
        if launch_type == "FARGATE" and "FARGATE" not in definition.body.get("requiresCompatibilities", []):
            raise invalid("Task definition does not support launch_type FARGATE.")

    def _do_run_task(self, body: dict[str, Any]) -> dict[str, Any]:
        cluster, definition = self._cluster(body), self._active(body.get("taskDefinition", ""))
        self._check_launch(cluster, definition, body)
        count = body.get("count", 1)
        if not 1 <= count <= 10:
            raise invalid("The count must be between 1 and 10.")
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
            tasks.append(task.describe(self.context.region))
        return {"tasks": tasks, "failures": failures}

    def _failure(self, cluster: Cluster, definition: Definition) -> dict[str, str]:
        instances = [
            i for i in self.capacity.instances.values() if i.cluster == cluster.arn and i.status == "ACTIVE"
        ]
        if not instances:
            raise invalid("No Container Instances were found in your cluster.")
        reason = "RESOURCE:GPU" if definition.needs.gpus else "RESOURCE:MEMORY"
        return {"arn": instances[0].arn, "reason": reason}

    def _task(self, cluster: Cluster, ref: str) -> Task | None:
        task = self.tasks.get(self.arn("task", f"{cluster.name}/{ref.rpartition('/')[2]}"))
        return task

    def _do_stop_task(self, body: dict[str, Any]) -> dict[str, Any]:
        task = self._task(self._cluster(body), body.get("task", ""))
        if task is None:
            raise invalid("The referenced task was not found.")
        self.stop_task(task, "UserInitiated", body.get("reason") or "Task stopped by user")
        return {"task": task.describe(self.context.region)}

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
                found.append(task.describe(self.context.region))
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
        return page(found, "taskArns", body)
