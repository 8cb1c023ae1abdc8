"""EC2 Auto Scaling: groups."""
# base.ResourceType documents the four operations; `token` is a Pulumi type token, not a password.
# ruff: noqa: D102, S105

from typing import Any

from keepwarm_localcloud.pulumi_types.answers import error_code
from keepwarm_localcloud.pulumi_types.base import AutoName, Call, Made, ResourceType
from keepwarm_localcloud.pulumi_types.convert import (
    fill,
    take,
)
from keepwarm_localcloud.pulumi_types.errors import PartiallyMade, ResourceError

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
    spec = """name! namePrefix! minSize maxSize desiredCapacity? vpcZoneIdentifiers~? availabilityZones~?
        launchTemplate? mixedInstancesPolicy? healthCheckType? healthCheckGracePeriod=300 defaultCooldown?
        defaultInstanceWarmup capacityRebalance=false forceDelete=false forceDeleteWarmPool=false
        maxInstanceLifetime protectFromScaleIn=false terminationPolicies suspendedProcesses~ enabledMetrics~
        metricsGranularity="1Minute" initialLifecycleHooks!~ placementGroup serviceLinkedRoleArn? tags~{key
        value propagateAtLaunch} warmPool waitForCapacityTimeout="10m" instanceRefresh
        instanceRefresh.triggers~
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
        if "defaultInstanceWarmup" in call.changed:
            # UpdateAutoScalingGroup leaves alone what a request omits; -1 removes the setting.
            arguments.setdefault("DefaultInstanceWarmup", -1)
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


TYPES: tuple[type[ResourceType], ...] = (Group,)
