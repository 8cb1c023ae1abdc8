"""Operations on clusters, capacity providers and container instances."""

from typing import Any

from keepwarm_localcloud.request import AwsError
from keepwarm_localcloud.services.ecs.capacity import FARGATE
from keepwarm_localcloud.services.ecs.control import EcsControl
from keepwarm_localcloud.services.ecs.model import STARTING, Cluster, Instance, Provider
from keepwarm_localcloud.services.ecs.state import NAME, invalid, page


class ClustersApi(EcsControl):
    """Operations on clusters, capacity providers and container instances."""

    # Clusters

    def _do_create_cluster(self, body: dict[str, Any]) -> dict[str, Any]:
        name = body.get("clusterName") or "default"
        if NAME.fullmatch(name) is None:
            raise invalid("Identifier is for a different type of resource or the cluster name is invalid.")
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
                raise invalid(f"The specified capacity provider '{name}' was not found.")
        for item in strategy:
            if item["capacityProvider"] not in providers:
                raise invalid(
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
        return page([c.arn for c in self.clusters.values() if c.status == "ACTIVE"], "clusterArns", body)

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
        self.capacity.refresh(self.context.clock.now_s())
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
            raise invalid(
                "The specified capacity provider name is invalid. Up to 255 characters are "
                "allowed and it can't start with aws, ecs or fargate."
            )
        known = self.capacity.providers.get(name)
        group, managed = body.get("autoScalingGroupProvider"), body.get("managedInstancesProvider")
        if known is not None and known.status == "ACTIVE":
            raise invalid(
                "A capacity provider with the specified name already exists. Specify a unique name."
            )
        if (group is None) == (managed is None):
            raise invalid("Exactly one of autoScalingGroupProvider and managedInstancesProvider is required.")
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
            raise invalid("The managed scaling targetCapacity must be between 1 and 100.")
        probe = Provider("", name, checked, None, None, [])
        found = self.capacity.group(probe)
        if found is None:
            raise invalid("The specified Auto Scaling group ARN was not found.")
        for other in self.capacity.providers.values():
            if (
                other.status == "ACTIVE"
                and other.group is not None
                and other.group_name == probe.group_name
                and other.name != name
            ):
                raise invalid(
                    "The specified Auto Scaling group is already associated with another capacity provider."
                )
        if checked["managedTerminationProtection"] == "ENABLED":
            if scaling["status"] != "ENABLED":
                raise invalid(
                    "The managed termination protection setting for the capacity provider is "
                    "invalid. To enable managed "
                    "termination protection for a capacity provider, managed scaling must be enabled."
                )
            if not found.new_instances_protected_from_scale_in:
                raise invalid(
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
            raise invalid(
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
        return page(found, "containerInstanceArns", body)

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
            # On a draining one, `Deployments` stops what has not started and replaces what runs.
            instance.status = body["status"]
        return {"containerInstances": [self._shown_instance(i) for i in found], "failures": []}
