"""ECS: clusters and their capacity providers."""
# base.ResourceType documents the four operations; `token` is a Pulumi type token, not a password.
# ruff: noqa: D102, S105

from typing import Any

from keepwarm_localcloud.pulumi_types.answers import error_code, unless_gone
from keepwarm_localcloud.pulumi_types.base import AutoName, Call, Made, ResourceType
from keepwarm_localcloud.pulumi_types.convert import (
    fill,
    tag_map,
    take,
)
from keepwarm_localcloud.pulumi_types.ecs.tags import api_tags, retag
from keepwarm_localcloud.pulumi_types.errors import PartiallyMade, ResourceError


class Cluster(ResourceType):
    """`aws:ecs/cluster:Cluster`; the id is the ARN."""

    token = "aws:ecs/cluster:Cluster"
    spec = "name! settings~? configuration serviceConnectDefaults tags"
    auto = AutoName("name", 255)
    import_id = "the cluster's name"

    def create(self, call: Call) -> Made:
        answer = call.client("ecs").create_cluster(
            clusterName=call.inputs["name"],
            tags=api_tags(call.tags),
            **fill(self, call.inputs, "settings", "configuration", "serviceConnectDefaults", upper=False),
        )["cluster"]
        return answer["clusterArn"], self._chosen(call, answer)

    def _chosen(self, call: Call, answer: dict[str, Any]) -> dict[str, Any]:
        return {
            "arn": answer["clusterArn"],
            "name": answer["clusterName"],
            "region": call.region,
            "settings": call.get("settings") or [{"name": "containerInsights", "value": "disabled"}],
        }

    def read(self, call: Call) -> dict[str, Any] | None:
        answer = call.client("ecs").describe_clusters(
            clusters=[call.id], include=["SETTINGS", "TAGS", "CONFIGURATIONS"]
        )
        if not answer["clusters"] or answer["clusters"][0].get("status") == "INACTIVE":
            return None
        cluster = answer["clusters"][0]
        found = {
            **self._chosen(call, cluster),
            "id": cluster["clusterArn"],
            "tags": tag_map(cluster.get("tags"), "key", "value"),
            **take(self, cluster, "settings", "configuration", upper=False),
        }
        if call.old.get("serviceConnectDefaults"):
            found["serviceConnectDefaults"] = call.old["serviceConnectDefaults"]
        return found

    def update(self, call: Call) -> dict[str, Any]:
        if call.changed & {"settings", "configuration", "serviceConnectDefaults"}:
            call.client("ecs").update_cluster(
                cluster=call.id,
                **fill(self, call.inputs, "settings", "configuration", "serviceConnectDefaults", upper=False),
            )
        retag(call, call.id)
        return {}

    def delete(self, call: Call) -> None:
        client = call.client("ecs")

        def probe() -> bool | None:
            try:
                client.delete_cluster(cluster=call.id)
            except Exception as error:
                # Services and instances that were deleted a moment ago are still draining.
                if error_code(error) in (
                    "ClusterContainsServicesException",
                    "ClusterContainsContainerInstancesException",
                    "ClusterContainsTasksException",
                    "ClusterContainsCapacityProviderException",
                    "ResourceInUseException",
                    "UpdateInProgressException",
                ):
                    return None
                if error_code(error) == "ClusterNotFoundException":
                    return True
                raise
            return True

        call.deadline.wait(f"cluster {call.id} to be empty and deleted", probe, first_s=0.1)


class EcsCapacityProvider(ResourceType):
    """`aws:ecs/capacityProvider:CapacityProvider`; the id is the ARN."""

    token = "aws:ecs/capacityProvider:CapacityProvider"
    spec = """name! cluster! autoScalingGroupProvider{autoScalingGroupArn! managedDraining?
        managedScaling?{instanceWarmupPeriod? maximumScalingStepSize? minimumScalingStepSize? status?
        targetCapacity?} managedTerminationProtection?} managedInstancesProvider tags"""
    auto = AutoName("name", 255)
    timeouts_s = (300.0, 300.0, 1200.0)
    import_id = "the capacity provider's ARN"

    def check(self, inputs: dict[str, Any]) -> list[tuple[str, str]]:
        given = [n for n in ("autoScalingGroupProvider", "managedInstancesProvider") if inputs.get(n)]
        if len(given) != 1:
            return [
                (
                    "autoScalingGroupProvider",
                    f"KW634 got {' and '.join(given) or 'none'}; allowed exactly one of autoScalingGroupProvider and "
                    "managedInstancesProvider",
                )
            ]
        group = inputs.get("autoScalingGroupProvider") or {}
        scaling = (group.get("managedScaling") or {}).get("status")
        if group.get("managedTerminationProtection") == "ENABLED" and scaling != "ENABLED":
            return [
                (
                    "autoScalingGroupProvider.managedTerminationProtection",
                    "KW634 got ENABLED; allowed DISABLED; because managed scaling is not "
                    "ENABLED; fix: enable managedScaling",
                )
            ]
        return []

    def create(self, call: Call) -> Made:
        arguments = fill(
            self, call.inputs, "autoScalingGroupProvider", "managedInstancesProvider", "cluster", upper=False
        )
        answer = call.client("ecs").create_capacity_provider(
            name=call.inputs["name"], tags=api_tags(call.tags), **arguments
        )["capacityProvider"]
        arn = answer["capacityProviderArn"]
        outputs = {"arn": arn, "name": call.inputs["name"], "region": call.region}
        if answer.get("status") not in ("ACTIVE", None):
            try:
                self._settled(call, arn)
            except ResourceError as error:
                raise PartiallyMade(error.code, error.message, arn, outputs) from error
        return arn, outputs

    def _settled(self, call: Call, arn: str) -> None:
        def probe() -> bool | None:
            found = self._describe(call, arn)
            if found is None:
                raise ResourceError("KW635", f"capacity provider {arn} disappeared while it was made")
            if str(found.get("status", "")).endswith("FAILED"):
                raise ResourceError("KW635", f"capacity provider {arn}: AWS reports {found['status']}")
            return True if found.get("status") == "ACTIVE" else None

        call.deadline.wait(f"capacity provider {arn} to become ACTIVE", probe)

    def _describe(self, call: Call, arn: str) -> dict[str, Any] | None:
        answer = unless_gone(
            lambda: call.client("ecs").describe_capacity_providers(capacityProviders=[arn], include=["TAGS"])
        )
        found = (answer or {}).get("capacityProviders") or []
        return found[0] if found and found[0].get("status") != "INACTIVE" else None

    def read(self, call: Call) -> dict[str, Any] | None:
        provider = self._describe(call, call.id)
        if provider is None:
            return None
        found = {
            "arn": provider["capacityProviderArn"],
            "name": provider["name"],
            "region": call.region,
            "tags": tag_map(provider.get("tags"), "key", "value"),
            **take(self, provider, "autoScalingGroupProvider", "managedInstancesProvider", upper=False),
        }
        if call.old.get("cluster"):
            found["cluster"] = call.old["cluster"]
        return found

    def update(self, call: Call) -> dict[str, Any]:
        arguments = fill(self, call.inputs, "managedInstancesProvider", "cluster", upper=False)
        group = fill(self, call.inputs, "autoScalingGroupProvider", upper=False).get(
            "autoScalingGroupProvider"
        )
        if group:
            group.pop("autoScalingGroupArn", None)
            arguments["autoScalingGroupProvider"] = group
        if call.changed - {"tags"}:
            call.client("ecs").update_capacity_provider(name=call.old["name"], **arguments)
        retag(call, call.id)
        return {}

    def delete(self, call: Call) -> None:
        client = call.client("ecs")

        def probe() -> bool | None:
            try:
                client.delete_capacity_provider(capacityProvider=call.id)
            except Exception as error:
                # The cluster's association was removed a moment ago and is still being updated.
                if error_code(error) in ("ResourceInUseException", "UpdateInProgressException"):
                    return None
                if (
                    "does not exist" in str(error)
                    or "not found" in str(error)
                    or error_code(error) == "ResourceNotFoundException"
                ):
                    return True
                raise
            return True

        call.deadline.wait(f"capacity provider {call.id} to be out of use", probe, first_s=0.1)

        def gone() -> bool | None:
            return True if self._describe(call, call.id) is None else None

        call.deadline.wait(f"capacity provider {call.id} to be gone", gone)


class ClusterCapacityProviders(ResourceType):
    """`aws:ecs/clusterCapacityProviders:ClusterCapacityProviders`; the id is the cluster's name."""

    token = "aws:ecs/clusterCapacityProviders:ClusterCapacityProviders"
    spec = (
        "clusterName! capacityProviders~ defaultCapacityProviderStrategies~{base=0 capacityProvider weight=0}"
    )
    timeouts_s = (300.0, 300.0, 1200.0)
    import_id = "the cluster's name"

    def _put(self, call: Call, providers: list[str], strategy: list[dict[str, Any]]) -> None:
        client = call.client("ecs")

        def attempt() -> bool | None:
            try:
                client.put_cluster_capacity_providers(
                    cluster=call.inputs.get("clusterName") or call.id,
                    capacityProviders=providers,
                    defaultCapacityProviderStrategy=strategy,
                )
            except Exception as error:
                if error_code(error) in ("UpdateInProgressException", "ResourceInUseException"):
                    return None
                raise
            return True

        call.deadline.wait(
            f"capacity providers of cluster {call.id or call.inputs['clusterName']}", attempt, first_s=0.1
        )

    def create(self, call: Call) -> Made:
        self._put(call, call.get("capacityProviders", []), call.get("defaultCapacityProviderStrategies", []))
        return call.inputs["clusterName"], {"region": call.region}

    def read(self, call: Call) -> dict[str, Any] | None:
        answer = call.client("ecs").describe_clusters(clusters=[call.id])
        if not answer["clusters"] or answer["clusters"][0].get("status") == "INACTIVE":
            return None
        cluster = answer["clusters"][0]
        return {
            "clusterName": call.id,
            "capacityProviders": cluster.get("capacityProviders", []),
            "defaultCapacityProviderStrategies": cluster.get("defaultCapacityProviderStrategy", []),
            "region": call.region,
        }

    def update(self, call: Call) -> dict[str, Any]:
        self.create(call)
        return {}

    def delete(self, call: Call) -> None:
        unless_gone(lambda: self._put(call, [], []))
