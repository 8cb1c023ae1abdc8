"""ECS clusters, capacity providers, task definitions and services; EC2 Auto Scaling groups."""
# What the four operations do is said once, in base.ResourceType; `token` is a Pulumi type token, not a password.
# ruff: noqa: D102, S105

import json
from typing import Any, ClassVar

from keepwarm_localcloud.resources.base import (
    AutoName,
    Call,
    Made,
    ResourceType,
    error_code,
    fill,
    tag_changes,
    tag_list,
    tag_map,
    take,
    unless_gone,
)
from keepwarm_localcloud.resources.errors import PartiallyMade, ResourceError


def _ecs_tags(tags: dict[str, str]) -> list[dict[str, str]]:
    return tag_list(tags, "key", "value")


def _retag(call: Call, arn: str) -> None:
    if "tags" not in call.changed:
        return
    added, removed = tag_changes(call)
    client = call.client("ecs")
    if removed:
        client.untag_resource(resourceArn=arn, tagKeys=removed)
    if added:
        client.tag_resource(resourceArn=arn, tags=_ecs_tags(added))


class Cluster(ResourceType):
    """`aws:ecs/cluster:Cluster`; the id is the ARN."""

    token = "aws:ecs/cluster:Cluster"
    spec = "name! settings~? configuration serviceConnectDefaults tags"
    auto = AutoName("name", 255)
    import_id = "the cluster's name"

    def create(self, call: Call) -> Made:
        answer = call.client("ecs").create_cluster(
            clusterName=call.inputs["name"],
            tags=_ecs_tags(call.tags),
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
        _retag(call, call.id)
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
            name=call.inputs["name"], tags=_ecs_tags(call.tags), **arguments
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
        _retag(call, call.id)
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


class TaskDefinition(ResourceType):
    """`aws:ecs/taskDefinition:TaskDefinition`; the id is the family; every change registers a new revision."""

    token = "aws:ecs/taskDefinition:TaskDefinition"
    spec = """family! containerDefinitions:json! cpu! memory! executionRoleArn! taskRoleArn! networkMode!? ipcMode!
        pidMode! requiresCompatibilities!~ volumes!~{name hostPath configureAtLaunch? efsVolumeConfiguration
        dockerVolumeConfiguration} placementConstraints!~ runtimePlatform! ephemeralStorage! proxyConfiguration!
        enableFaultInjection? skipDestroy=false trackLatest=false tags"""
    import_id = "the task definition's ARN"

    def create(self, call: Call) -> Made:
        try:
            containers = json.loads(call.inputs["containerDefinitions"])
        except ValueError as error:
            raise ResourceError(
                "KW634", f"containerDefinitions: got text that is not JSON: {error}"
            ) from error
        arguments = fill(
            self,
            call.inputs,
            *(
                "family",
                "cpu",
                "memory",
                "executionRoleArn",
                "taskRoleArn",
                "networkMode",
                "ipcMode",
                "pidMode",
            ),
            *("requiresCompatibilities", "placementConstraints", "runtimePlatform", "enableFaultInjection"),
            upper=False,
        )
        if call.get("ephemeralStorage"):
            arguments["ephemeralStorage"] = {"sizeInGiB": call.inputs["ephemeralStorage"]["sizeInGib"]}
        volumes = []
        for volume in call.get("volumes", []):
            wanted = {
                k: v
                for k, v in volume.items()
                if k not in ("hostPath", "configureAtLaunch") and v is not None
            }
            if volume.get("hostPath") is not None:
                wanted["host"] = {"sourcePath": volume["hostPath"]}
            efs = wanted.get("efsVolumeConfiguration")
            if efs:
                wanted["efsVolumeConfiguration"] = {
                    ("fileSystemId" if k == "fileSystemId" else k): v for k, v in efs.items() if v is not None
                }
            volumes.append(wanted)
        if volumes:
            arguments["volumes"] = volumes
        answer = call.client("ecs").register_task_definition(
            containerDefinitions=containers,
            **arguments,
            **({"tags": _ecs_tags(call.tags)} if call.tags else {}),
        )["taskDefinition"]
        return call.inputs["family"], self._chosen(call, answer)

    def _chosen(self, call: Call, answer: dict[str, Any]) -> dict[str, Any]:
        arn = answer["taskDefinitionArn"]
        return {
            "arn": arn,
            "arnWithoutRevision": arn.rpartition(":")[0],
            "revision": answer["revision"],
            "region": call.region,
            "networkMode": answer.get("networkMode", "bridge"),
        }

    def read(self, call: Call) -> dict[str, Any] | None:
        arn = call.old.get("arn") or call.id
        answer = unless_gone(
            lambda: call.client("ecs").describe_task_definition(taskDefinition=arn, include=["TAGS"])
        )
        if answer is None or answer["taskDefinition"].get("status") == "INACTIVE":
            return None
        definition = answer["taskDefinition"]
        found = {
            **self._chosen(call, definition),
            "id": definition["family"],
            "family": definition["family"],
            "skipDestroy": call.old.get("skipDestroy", False),
            "trackLatest": call.old.get("trackLatest", False),
            "tags": tag_map(answer.get("tags"), "key", "value"),
            **take(
                self,
                definition,
                *("cpu", "memory", "executionRoleArn", "taskRoleArn", "ipcMode", "pidMode"),
                *("requiresCompatibilities", "placementConstraints", "runtimePlatform"),
                upper=False,
            ),
        }
        if definition.get("ephemeralStorage"):
            found["ephemeralStorage"] = {"sizeInGib": definition["ephemeralStorage"]["sizeInGiB"]}
        # A revision never changes: what was registered under this ARN is what it says.
        for mine in ("containerDefinitions", "volumes"):
            found[mine] = call.old.get(mine)
        if found["containerDefinitions"] is None:
            found["containerDefinitions"] = json.dumps(definition["containerDefinitions"])
        return found

    def update(self, call: Call) -> dict[str, Any]:
        _retag(call, call.old["arn"])
        return {}

    def delete(self, call: Call) -> None:
        if call.old.get("skipDestroy"):
            return
        unless_gone(lambda: call.client("ecs").deregister_task_definition(taskDefinition=call.old["arn"]))


_SERVICE = (
    "capacityProviderStrategies",
    "deploymentCircuitBreaker",
    "desiredCount",
    "enableEcsManagedTags",
    "enableExecuteCommand",
    "healthCheckGracePeriodSeconds",
    "launchType",
    "networkConfiguration",
    "orderedPlacementStrategies",
    "placementConstraints",
    "propagateTags",
    "schedulingStrategy",
    "taskDefinition",
    "availabilityZoneRebalancing",
)
_SERVICE_NAMES = {
    "capacityProviderStrategies": "capacityProviderStrategy",
    "enableEcsManagedTags": "enableECSManagedTags",
    "orderedPlacementStrategies": "placementStrategy",
}
_SERVICE_EMPTY: dict[str, Any] = {
    "capacityProviderStrategies": [],
    "healthCheckGracePeriodSeconds": 0,
    "loadBalancers": [],
    "orderedPlacementStrategies": [],
    "placementConstraints": [],
    "serviceRegistries": [],
}
"""What removes a property: UpdateService leaves what it is not told as it is.
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_UpdateService.html"""


class EcsService(ResourceType):
    """`aws:ecs/service:Service`; the id is the ARN."""

    token = "aws:ecs/service:Service"
    spec = """name! cluster! taskDefinition desiredCount? launchType!? capacityProviderStrategies~{base=0
        capacityProvider weight=0} deploymentCircuitBreaker? deploymentController!? deploymentMaximumPercent=200
        deploymentMinimumHealthyPercent=100 deploymentConfiguration? alarms enableEcsManagedTags=false
        enableExecuteCommand=false forceDelete=false forceNewDeployment=false healthCheckGracePeriodSeconds
        networkConfiguration{assignPublicIp=false securityGroups~ subnets~} orderedPlacementStrategies
        placementConstraints~ platformVersion? propagateTags? schedulingStrategy!="REPLICA" serviceRegistries
        serviceConnectConfiguration iamRole!? loadBalancers~ availabilityZoneRebalancing? triggers?
        waitForSteadyState=false sigintRollback? tags"""
    auto = AutoName("name", 255)
    timeouts_s = (1200.0, 1200.0, 1200.0)
    import_id = "cluster/service"

    def _arguments(self, call: Call, names: frozenset[str] | None) -> dict[str, Any]:
        wanted = [n for n in _SERVICE if names is None or n in names]
        arguments = fill(self, call.inputs, *wanted, names=_SERVICE_NAMES, upper=False)
        network = arguments.pop("networkConfiguration", None)
        if network:
            network["assignPublicIp"] = "ENABLED" if network.get("assignPublicIp") else "DISABLED"
            arguments["networkConfiguration"] = {"awsvpcConfiguration": network}
        deployment_inputs = {
            "deploymentMaximumPercent",
            "deploymentMinimumHealthyPercent",
            "deploymentCircuitBreaker",
            "alarms",
            "deploymentConfiguration",
        }
        breaker = arguments.pop("deploymentCircuitBreaker", None)
        if names is None or names & deployment_inputs:
            deployment: dict[str, Any] = {}
            if call.get("schedulingStrategy", "REPLICA") == "REPLICA":
                deployment["maximumPercent"] = call.get("deploymentMaximumPercent", 200)
                deployment["minimumHealthyPercent"] = call.get("deploymentMinimumHealthyPercent", 100)
            if breaker or call.get("deploymentCircuitBreaker"):
                deployment["deploymentCircuitBreaker"] = breaker or call.inputs["deploymentCircuitBreaker"]
            if call.get("alarms"):
                deployment["alarms"] = fill(self, call.inputs, "alarms", upper=False)["alarms"]
            arguments["deploymentConfiguration"] = deployment
        if (names is None or "serviceRegistries" in names) and call.get("serviceRegistries"):
            arguments["serviceRegistries"] = [
                fill(self, call.inputs, "serviceRegistries", upper=False)["serviceRegistries"]
            ]
        if (names is None or "loadBalancers" in names) and call.get("loadBalancers"):
            arguments["loadBalancers"] = fill(
                self, call.inputs, "loadBalancers", names={"elbName": "loadBalancerName"}, upper=False
            )["loadBalancers"]
        if (names is None or "serviceConnectConfiguration" in names) and call.get(
            "serviceConnectConfiguration"
        ):
            arguments.update(fill(self, call.inputs, "serviceConnectConfiguration", upper=False))
        return arguments

    def create(self, call: Call) -> Made:
        client = call.client("ecs")
        arguments = self._arguments(call, None)
        arguments.update(
            fill(self, call.inputs, "cluster", "platformVersion", "deploymentController", upper=False)
        )
        if call.get("schedulingStrategy", "REPLICA") == "REPLICA":
            arguments.setdefault("desiredCount", 0)
        if call.get("iamRole"):
            arguments["role"] = call.inputs["iamRole"]

        def attempt() -> dict[str, Any] | None:
            try:
                made: dict[str, Any] = client.create_service(
                    serviceName=call.inputs["name"],
                    **arguments,
                    **({"tags": _ecs_tags(call.tags)} if call.tags else {}),
                )["service"]
            except Exception as error:
                # A service of that name is still draining.
                if "DRAINING" in str(error).upper() or "Draining" in str(error):
                    return None
                raise
            return made

        answer = call.deadline.wait(f"service {call.inputs['name']}", attempt, first_s=0.2)
        arn = answer["serviceArn"]
        outputs = {
            "arn": arn,
            "name": call.inputs["name"],
            "region": call.region,
            "desiredCount": arguments.get("desiredCount", 0),
        }
        if call.get("waitForSteadyState"):
            try:
                self._steady(call, arn)
            except ResourceError as error:
                raise PartiallyMade(error.code, error.message, arn, outputs) from error
        return arn, outputs

    def _steady(self, call: Call, arn: str) -> None:
        client = call.client("ecs")
        cluster = call.get("cluster") or call.old.get("cluster")

        def probe() -> bool | None:
            found = client.describe_services(services=[arn], **({"cluster": cluster} if cluster else {}))[
                "services"
            ]
            if not found:
                raise ResourceError("KW635", f"service {arn} disappeared while it was started")
            service = found[0]
            for deployment in service.get("deployments", []):
                if deployment.get("rolloutState") == "FAILED":
                    raise ResourceError(
                        "KW635",
                        f"service {arn}: the deployment failed: "
                        f"{deployment.get('rolloutStateReason', 'no reason given')}; "
                        "fix: look at the log of the task",
                    )
            settled = (
                service.get("runningCount") == service.get("desiredCount")
                and service.get("pendingCount", 0) == 0
                and len(service.get("deployments", [])) <= 1
            )
            return True if settled else None

        call.deadline.wait(f"service {arn} to reach a steady state", probe)

    def _where(self, call: Call) -> tuple[str, dict[str, str]]:
        if call.id.startswith("arn:"):
            cluster = call.old.get("cluster")
            if not cluster and call.id.count("/") == 2:
                cluster = call.id.split("/")[1]
            return call.id, {"cluster": cluster} if cluster else {}
        cluster, _, name = call.id.partition("/")
        return name, {"cluster": cluster}

    def read(self, call: Call) -> dict[str, Any] | None:
        service_id, cluster = self._where(call)
        answer = unless_gone(
            lambda: call.client("ecs").describe_services(services=[service_id], include=["TAGS"], **cluster)
        )
        services = (answer or {}).get("services") or []
        if not services or services[0].get("status") in ("INACTIVE", "DRAINING"):
            return None
        service = services[0]
        old = call.old
        found = {
            "id": service["serviceArn"],
            "arn": service["serviceArn"],
            "name": service["serviceName"],
            "cluster": old.get("cluster") or service.get("clusterArn"),
            "region": call.region,
            "tags": tag_map(service.get("tags"), "key", "value"),
            **take(
                self,
                service,
                *(n for n in _SERVICE if n not in ("networkConfiguration", "deploymentCircuitBreaker")),
                names=_SERVICE_NAMES,
                upper=False,
            ),
        }
        network = (service.get("networkConfiguration") or {}).get("awsvpcConfiguration")
        if network:
            found["networkConfiguration"] = {
                "subnets": network.get("subnets", []),
                "securityGroups": network.get("securityGroups", []),
                "assignPublicIp": network.get("assignPublicIp") == "ENABLED",
            }
        deployment = service.get("deploymentConfiguration") or {}
        found["deploymentMaximumPercent"] = deployment.get("maximumPercent", 200)
        found["deploymentMinimumHealthyPercent"] = deployment.get("minimumHealthyPercent", 100)
        if deployment.get("deploymentCircuitBreaker"):
            found["deploymentCircuitBreaker"] = deployment["deploymentCircuitBreaker"]
        if service.get("serviceRegistries"):
            found.update(
                take(
                    self,
                    {"serviceRegistries": service["serviceRegistries"][0]},
                    "serviceRegistries",
                    upper=False,
                )
            )
        # The definition may have been given by family: both name the same revision.
        given = str(old.get("taskDefinition") or "")
        if given and not given.startswith("arn:") and f"/{given}" in str(found.get("taskDefinition")):
            found["taskDefinition"] = given
        if service.get("loadBalancers"):
            found.update(
                take(self, service, "loadBalancers", names={"elbName": "loadBalancerName"}, upper=False)
            )
        for mine in (
            *(
                "forceDelete",
                "forceNewDeployment",
                "waitForSteadyState",
                "triggers",
                "alarms",
                "serviceConnectConfiguration",
            ),
            *("deploymentConfiguration", "deploymentController", "platformVersion", "iamRole"),
        ):
            if old.get(mine) is not None:
                found[mine] = old[mine]
        return found

    def update(self, call: Call) -> dict[str, Any]:
        service_id, cluster = self._where(call)
        effective = call.changed - {"tags", "waitForSteadyState", "forceDelete", "sigintRollback"}
        if effective:
            arguments = self._arguments(call, effective | {"deploymentMaximumPercent"})
            arguments.pop("schedulingStrategy", None)
            arguments.pop("launchType", None)
            for name in effective & _SERVICE_EMPTY.keys():
                if not call.get(name):
                    arguments[_SERVICE_NAMES.get(name, name)] = _SERVICE_EMPTY[name]
            if call.get("forceNewDeployment"):
                arguments["forceNewDeployment"] = True
            call.client("ecs").update_service(service=service_id, **cluster, **arguments)
            if call.get("waitForSteadyState"):
                self._steady(call, service_id)
        _retag(call, call.old["arn"])
        return {"desiredCount": call.inputs["desiredCount"]} if call.get("desiredCount") is not None else {}

    def delete(self, call: Call) -> None:
        service_id, cluster = self._where(call)
        client = call.client("ecs")

        def drain() -> bool:
            found = client.describe_services(services=[service_id], **cluster)["services"]
            if not found or found[0].get("status") == "INACTIVE":
                return False
            if found[0].get("status") == "ACTIVE":
                if found[0].get("desiredCount") and found[0].get("schedulingStrategy") != "DAEMON":
                    client.update_service(service=service_id, desiredCount=0, **cluster)
                client.delete_service(service=service_id, force=bool(call.old.get("forceDelete")), **cluster)
            return True

        if not unless_gone(drain):
            return

        def probe() -> bool | None:
            answer = unless_gone(lambda: client.describe_services(services=[service_id], **cluster))
            services = (answer or {}).get("services") or []
            return True if not services or services[0].get("status") == "INACTIVE" else None

        call.deadline.wait(f"service {service_id} to drain", probe)


_GROUP = (
    "minSize",
    "maxSize",
    "desiredCapacity",
    "defaultCooldown",
    "healthCheckType",
    "healthCheckGracePeriod",
    "maxInstanceLifetime",
    "capacityRebalance",
    "availabilityZones",
    "terminationPolicies",
    "defaultInstanceWarmup",
    "placementGroup",
    "serviceLinkedRoleArn",
)
_GROUP_NAMES = {
    "serviceLinkedRoleArn": "ServiceLinkedRoleARN",
    "protectFromScaleIn": "NewInstancesProtectedFromScaleIn",
}


class Group(ResourceType):
    """`aws:autoscaling/group:Group`; the id is the name."""

    token = "aws:autoscaling/group:Group"
    spec = """name! namePrefix! minSize maxSize desiredCapacity? vpcZoneIdentifiers~? availabilityZones!~?
        launchTemplate mixedInstancesPolicy healthCheckType? healthCheckGracePeriod=300 defaultCooldown?
        defaultInstanceWarmup? capacityRebalance=false forceDelete=false forceDeleteWarmPool=false
        maxInstanceLifetime protectFromScaleIn=false terminationPolicies suspendedProcesses~ enabledMetrics~
        metricsGranularity="1Minute" initialLifecycleHooks!~ placementGroup serviceLinkedRoleArn? tags~{key
        value propagateAtLaunch} warmPool waitForCapacityTimeout="10m" instanceRefresh
        ignoreFailedScalingActivities=false instanceMaintenancePolicy"""
    auto = AutoName("name", 255)
    timeouts_s = (600.0, 600.0, 1200.0)
    import_id = "the group's name"

    def _tags(self, call: Call) -> list[dict[str, Any]]:
        own = [
            {"Key": t["key"], "Value": t["value"], "PropagateAtLaunch": bool(t["propagateAtLaunch"])}
            for t in call.get("tags", [])
        ]
        keys = {t["Key"] for t in own}
        own.extend(
            {"Key": k, "Value": v, "PropagateAtLaunch": True}
            for k, v in call.aws.default_tags.items()
            if k not in keys
        )
        name = call.inputs["name"]
        return [{**t, "ResourceId": name, "ResourceType": "auto-scaling-group"} for t in own]

    def _arguments(self, call: Call) -> dict[str, Any]:
        arguments = fill(self, call.inputs, *_GROUP, names=_GROUP_NAMES)
        arguments["NewInstancesProtectedFromScaleIn"] = bool(call.get("protectFromScaleIn"))
        if call.get("vpcZoneIdentifiers"):
            arguments["VPCZoneIdentifier"] = ",".join(call.inputs["vpcZoneIdentifiers"])
        template = call.get("launchTemplate")
        if template:
            arguments["LaunchTemplate"] = {
                **({"LaunchTemplateId": template["id"]} if template.get("id") else {}),
                **(
                    {"LaunchTemplateName": template["name"]}
                    if template.get("name") and not template.get("id")
                    else {}
                ),
                "Version": template.get("version") or "$Default",
            }
        if call.get("mixedInstancesPolicy"):
            arguments.update(
                fill(
                    self,
                    call.inputs,
                    "mixedInstancesPolicy",
                    names={"instanceRequirements": "InstanceRequirements"},
                )
            )
        return arguments

    def create(self, call: Call) -> Made:
        client = call.client("autoscaling")
        name = call.inputs["name"]
        arguments = self._arguments(call)
        if call.get("initialLifecycleHooks"):
            arguments["LifecycleHookSpecificationList"] = [
                {
                    "LifecycleHookName": h["name"],
                    "LifecycleTransition": h["lifecycleTransition"],
                    **({"HeartbeatTimeout": h["heartbeatTimeout"]} if h.get("heartbeatTimeout") else {}),
                    **({"DefaultResult": h["defaultResult"]} if h.get("defaultResult") else {}),
                }
                for h in call.inputs["initialLifecycleHooks"]
            ]
        tags = self._tags(call)
        client.create_auto_scaling_group(
            AutoScalingGroupName=name, **arguments, **({"Tags": tags} if tags else {})
        )
        arn = call.arn("autoscaling", f"autoScalingGroup:*:autoScalingGroupName/{name}")
        outputs = {"arn": arn, "name": name, "region": call.region, "predictedCapacity": 0, "warmPoolSize": 0}
        try:
            self._extras(call, name, {"warmPool", "suspendedProcesses", "enabledMetrics"})
            outputs.update(self._described(call, name))
            if call.get("waitForCapacityTimeout") not in ("0", "0s") and call.get("minSize", 0) > 0:
                self._capacity(call, name)
        except ResourceError as error:
            raise PartiallyMade(error.code, error.message, name, outputs) from error
        return name, outputs

    def _described(self, call: Call, name: str) -> dict[str, Any]:
        group = self._describe(call, name)
        if group is None:
            return {}
        return {
            "arn": group["AutoScalingGroupARN"],
            "desiredCapacity": group["DesiredCapacity"],
            "healthCheckType": group.get("HealthCheckType", "EC2"),
            "vpcZoneIdentifiers": [s for s in group.get("VPCZoneIdentifier", "").split(",") if s],
            "availabilityZones": group.get("AvailabilityZones", []),
        }

    def _capacity(self, call: Call, name: str) -> None:
        def probe() -> bool | None:
            group = self._describe(call, name)
            healthy = [
                i
                for i in (group or {}).get("Instances", [])
                if i.get("LifecycleState") == "InService" and i.get("HealthStatus") == "Healthy"
            ]
            return True if group and len(healthy) >= group["MinSize"] else None

        call.deadline.wait(f"Auto Scaling group {name} to have its instances in service", probe)

    def _extras(self, call: Call, name: str, names: set[str]) -> None:
        client = call.client("autoscaling")
        if "warmPool" in names:
            pool = call.get("warmPool")
            if pool:
                arguments = fill(self, call.inputs, "warmPool")["WarmPool"]
                client.put_warm_pool(AutoScalingGroupName=name, **arguments)
            elif call.old.get("warmPool"):
                client.delete_warm_pool(AutoScalingGroupName=name, ForceDelete=True)
        if "suspendedProcesses" in names:
            wanted, had = (
                set(call.get("suspendedProcesses", [])),
                set(call.old.get("suspendedProcesses") or []),
            )
            if wanted - had:
                client.suspend_processes(AutoScalingGroupName=name, ScalingProcesses=sorted(wanted - had))
            if had - wanted:
                client.resume_processes(AutoScalingGroupName=name, ScalingProcesses=sorted(had - wanted))
        if "enabledMetrics" in names and call.get("enabledMetrics"):
            client.enable_metrics_collection(
                AutoScalingGroupName=name, Metrics=call.inputs["enabledMetrics"], Granularity="1Minute"
            )

    def _describe(self, call: Call, name: str) -> dict[str, Any] | None:
        groups = call.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[name])
        found: list[dict[str, Any]] = groups["AutoScalingGroups"]
        return found[0] if found else None

    def read(self, call: Call) -> dict[str, Any] | None:
        group = self._describe(call, call.id)
        if group is None:
            return None
        found = {
            "name": call.id,
            "region": call.region,
            **self._described(call, call.id),
            **take(self, group, *_GROUP, names=_GROUP_NAMES),
            "protectFromScaleIn": group.get("NewInstancesProtectedFromScaleIn", False),
            "suspendedProcesses": [p["ProcessName"] for p in group.get("SuspendedProcesses", [])],
            "tags": [
                {"key": t["Key"], "value": t["Value"], "propagateAtLaunch": t["PropagateAtLaunch"]}
                for t in group.get("Tags", [])
                # ECS managed scaling marks the group with a tag of its own.
                if t["Key"] not in ("AmazonECSManaged", *call.aws.default_tags)
                or any(o.get("key") == t["Key"] for o in call.old.get("tags") or [])
            ],
        }
        template = group.get("LaunchTemplate")
        if template:
            given = call.old.get("launchTemplate") or {}
            found["launchTemplate"] = {
                ("name" if given.get("name") and not given.get("id") else "id"): template.get(
                    "LaunchTemplateName"
                )
                if given.get("name") and not given.get("id")
                else template.get("LaunchTemplateId"),
                "version": template.get("Version"),
            }
        if found.get("terminationPolicies") == ["Default"]:
            found.pop("terminationPolicies")
        for mine in (
            *("forceDelete", "forceDeleteWarmPool", "waitForCapacityTimeout", "warmPool", "enabledMetrics"),
            *("metricsGranularity", "initialLifecycleHooks", "mixedInstancesPolicy", "instanceRefresh"),
            *(
                "ignoreFailedScalingActivities",
                "instanceMaintenancePolicy",
                "capacityRebalance",
                "maxInstanceLifetime",
            ),
        ):
            if call.old.get(mine) is not None:
                found[mine] = call.old[mine]
        return found

    def update(self, call: Call) -> dict[str, Any]:
        client = call.client("autoscaling")
        arguments = self._arguments(call)
        if "desiredCapacity" not in call.changed:
            # Scaling owns it: an update of something else must not take it back.
            arguments.pop("DesiredCapacity", None)
        client.update_auto_scaling_group(AutoScalingGroupName=call.id, **arguments)
        self._extras(call, call.id, set(call.changed))
        if "tags" in call.changed:
            wanted = self._tags(call)
            kept = {t["Key"] for t in wanted}
            gone = [
                {"Key": t["key"], "ResourceId": call.id, "ResourceType": "auto-scaling-group"}
                for t in call.old.get("tags") or []
                if t["key"] not in kept
            ]
            if gone:
                client.delete_tags(Tags=gone)
            if wanted:
                client.create_or_update_tags(Tags=wanted)
        return self._described(call, call.id)

    def delete(self, call: Call) -> None:
        client = call.client("autoscaling")
        group = self._describe(call, call.id)
        if group is None:
            return
        # Instances that managed termination protects would never leave: ECS has drained them by now.
        protected = [i["InstanceId"] for i in group.get("Instances", []) if i.get("ProtectedFromScaleIn")]
        for start in range(0, len(protected), 50):
            client.set_instance_protection(
                AutoScalingGroupName=call.id,
                InstanceIds=protected[start : start + 50],
                ProtectedFromScaleIn=False,
            )
        if not call.old.get("forceDelete"):
            client.update_auto_scaling_group(
                AutoScalingGroupName=call.id, MinSize=0, MaxSize=0, DesiredCapacity=0
            )

            def drained() -> bool | None:
                found = self._describe(call, call.id)
                return True if found is None or not found.get("Instances") else None

            call.deadline.wait(f"Auto Scaling group {call.id} to let its instances go", drained)

        def probe() -> bool | None:
            try:
                if self._describe(call, call.id) is not None:
                    client.delete_auto_scaling_group(
                        AutoScalingGroupName=call.id, ForceDelete=bool(call.old.get("forceDelete"))
                    )
            except Exception as error:
                if error_code(error) in ("ScalingActivityInProgress", "ResourceInUse"):
                    return None
                raise
            return True if self._describe(call, call.id) is None else None

        call.deadline.wait(f"Auto Scaling group {call.id} to be gone", probe)


class AutoscalingPolicy(ResourceType):
    """`aws:autoscaling/policy:Policy`; the id is the name."""

    token = "aws:autoscaling/policy:Policy"
    spec = """name! autoscalingGroupName! policyType!="SimpleScaling" adjustmentType scalingAdjustment cooldown
        stepAdjustments~ targetTrackingConfiguration{targetValue disableScaleIn predefinedMetricSpecification}
        metricAggregationType? estimatedInstanceWarmup minAdjustmentMagnitude enabled=true"""
    auto = AutoName("name", 255)
    import_id = "group/name"
    settings: ClassVar[Any] = (
        *("policyType", "adjustmentType", "scalingAdjustment", "cooldown", "targetTrackingConfiguration"),
        *("metricAggregationType", "estimatedInstanceWarmup", "minAdjustmentMagnitude", "enabled"),
    )

    def _put(self, call: Call) -> str:
        arguments = fill(self, call.inputs, *self.settings)
        if call.get("stepAdjustments"):
            arguments["StepAdjustments"] = [
                {
                    k[0].upper() + k[1:]: float(v) if isinstance(v, str) else v
                    for k, v in step.items()
                    if v is not None
                }
                for step in call.inputs["stepAdjustments"]
            ]
        answer = call.client("autoscaling").put_scaling_policy(
            AutoScalingGroupName=call.inputs["autoscalingGroupName"],
            PolicyName=call.inputs["name"],
            **arguments,
        )
        if "PolicyARN" in answer:
            return str(answer["PolicyARN"])
        policies = call.client("autoscaling").describe_policies(
            AutoScalingGroupName=call.inputs["autoscalingGroupName"], PolicyNames=[call.inputs["name"]]
        )["ScalingPolicies"]
        return str(policies[0]["PolicyARN"])

    def create(self, call: Call) -> Made:
        return call.inputs["name"], {
            "arn": self._put(call),
            "name": call.inputs["name"],
            "region": call.region,
        }

    def read(self, call: Call) -> dict[str, Any] | None:
        group = call.old.get("autoscalingGroupName")
        name = call.old.get("name") or call.id
        if not group:
            group, _, name = call.id.partition("/")
        answer = call.client("autoscaling").describe_policies(AutoScalingGroupName=group, PolicyNames=[name])
        if not answer["ScalingPolicies"]:
            return None
        policy = answer["ScalingPolicies"][0]
        found = {
            "id": name,
            "name": name,
            "autoscalingGroupName": group,
            "arn": policy["PolicyARN"],
            "region": call.region,
            **take(self, policy, *self.settings),
        }
        steps = [
            {k[0].lower() + k[1:]: f"{v:g}" if "Bound" in k else v for k, v in step.items()}
            for step in policy.get("StepAdjustments", [])
        ]
        if steps:
            found["stepAdjustments"] = steps
        return found

    def update(self, call: Call) -> dict[str, Any]:
        self._put(call)
        return {}

    def delete(self, call: Call) -> None:
        unless_gone(
            lambda: call.client("autoscaling").delete_policy(
                AutoScalingGroupName=call.old["autoscalingGroupName"], PolicyName=call.old["name"]
            )
        )


class LifecycleHook(ResourceType):
    """`aws:autoscaling/lifecycleHook:LifecycleHook`; the id is the name."""

    token = "aws:autoscaling/lifecycleHook:LifecycleHook"
    spec = """name! autoscalingGroupName! lifecycleTransition defaultResult? heartbeatTimeout=3600
        notificationMetadata notificationTargetArn roleArn"""
    auto = AutoName("name", 255)
    import_id = "group/name"
    names: ClassVar[Any] = {"roleArn": "RoleARN", "notificationTargetArn": "NotificationTargetARN"}
    settings: ClassVar[Any] = (
        *("lifecycleTransition", "defaultResult", "heartbeatTimeout", "notificationMetadata"),
        *("notificationTargetArn", "roleArn"),
    )

    def create(self, call: Call) -> Made:
        call.client("autoscaling").put_lifecycle_hook(
            AutoScalingGroupName=call.inputs["autoscalingGroupName"],
            LifecycleHookName=call.inputs["name"],
            **fill(self, call.inputs, *self.settings, names=self.names),
        )
        return call.inputs["name"], {
            "name": call.inputs["name"],
            "defaultResult": call.get("defaultResult", "ABANDON"),
            "region": call.region,
        }

    def read(self, call: Call) -> dict[str, Any] | None:
        group = call.old.get("autoscalingGroupName")
        name = call.old.get("name") or call.id
        if not group:
            group, _, name = call.id.partition("/")
        answer = unless_gone(
            lambda: call.client("autoscaling").describe_lifecycle_hooks(
                AutoScalingGroupName=group, LifecycleHookNames=[name]
            )
        )
        hooks = (answer or {}).get("LifecycleHooks") or []
        if not hooks:
            return None
        found = take(self, hooks[0], *self.settings, names=self.names)
        # moto makes these up for a hook that has none.
        for mine, invented in (("notificationTargetArn", ":my-queue"), ("roleArn", "/my-auto-scaling-role")):
            if str(found.get(mine, "")).endswith(invented):
                found.pop(mine)
        return {"id": name, "name": name, "autoscalingGroupName": group, "region": call.region, **found}

    def update(self, call: Call) -> dict[str, Any]:
        self.create(call)
        return {}

    def delete(self, call: Call) -> None:
        unless_gone(
            lambda: call.client("autoscaling").delete_lifecycle_hook(
                AutoScalingGroupName=call.old["autoscalingGroupName"], LifecycleHookName=call.old["name"]
            )
        )


TYPES: tuple[type[ResourceType], ...] = (
    Cluster,
    EcsCapacityProvider,
    ClusterCapacityProviders,
    TaskDefinition,
    EcsService,
    Group,
    AutoscalingPolicy,
    LifecycleHook,
)
