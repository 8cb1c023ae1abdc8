"""ECS: services."""
# base.ResourceType documents the four operations; `token` is a Pulumi type token, not a password.
# ruff: noqa: D102, S105

from collections.abc import Mapping
from typing import Any

from keepwarm_localcloud.pulumi_types.answers import unless_gone
from keepwarm_localcloud.pulumi_types.base import AutoName, Call, Made, ResourceType
from keepwarm_localcloud.pulumi_types.convert import (
    fill,
    tag_map,
    take,
)
from keepwarm_localcloud.pulumi_types.ecs.tags import api_tags, retag
from keepwarm_localcloud.pulumi_types.errors import PartiallyMade, ResourceError
from keepwarm_localcloud.pulumi_types.fields import has_unknown, same

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
    "desiredCount": 0,
    "healthCheckGracePeriodSeconds": 0,
    "loadBalancers": [],
    "orderedPlacementStrategies": [],
    "placementConstraints": [],
    "serviceRegistries": [],
}
"""Values that remove a property: UpdateService leaves alone what a request omits.
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_UpdateService.html"""


class EcsService(ResourceType):
    """`aws:ecs/service:Service`; the id is the ARN."""

    token = "aws:ecs/service:Service"
    spec = """name! cluster!? taskDefinition desiredCount launchType!? capacityProviderStrategies~{base=0
        capacityProvider weight=0} deploymentCircuitBreaker? deploymentController!? deploymentMaximumPercent=200
        deploymentMinimumHealthyPercent=100 deploymentConfiguration? alarms enableEcsManagedTags=false
        enableExecuteCommand=false forceDelete=false forceNewDeployment=false healthCheckGracePeriodSeconds
        networkConfiguration{assignPublicIp=false securityGroups~ subnets~} orderedPlacementStrategies
        placementConstraints~ platformVersion? propagateTags? schedulingStrategy!="REPLICA" serviceRegistries
        serviceConnectConfiguration iamRole!? loadBalancers~ availabilityZoneRebalancing? triggers?
        waitForSteadyState=false sigintRollback tags"""
    auto = AutoName("name", 255)
    timeouts_s = (1200.0, 1200.0, 1200.0)
    import_id = "cluster/service"

    def check_change(self, inputs: dict[str, Any], old: Mapping[str, Any]) -> list[tuple[str, str]]:
        name = "capacityProviderStrategies"
        wanted, actual = inputs.get(name), old.get(name)
        if inputs.get("forceNewDeployment") or has_unknown(wanted) or same(self.fields[name], wanted, actual):
            return []
        return [
            (
                name,
                "KW634 got a change of the strategies; allowed with forceNewDeployment; because ECS moves running "
                "tasks only by a new deployment, and pulumi-aws refuses the change without one; "
                "fix: set forceNewDeployment to true",
            )
        ]

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
                    **({"tags": api_tags(call.tags)} if call.tags else {}),
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
        if found.get("schedulingStrategy") == "DAEMON":
            # The number of instances decides; there is no desired count.
            found.pop("desiredCount", None)
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
        retag(call, call.old["arn"])
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
