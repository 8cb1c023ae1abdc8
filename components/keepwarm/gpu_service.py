"""A model server on GPUs that sleeps at zero and wakes to its backlog."""

from typing import Any

import pulumi
from pulumi_aws import ecs

from keepwarm.checks.service import Capacity
from keepwarm.iam.bindings import CallerNetwork, ServiceBinding, ServiceTasks
from keepwarm.service import hosts, network, scaling, task
from keepwarm.service.hosts import Cluster, Network
from keepwarm.service.spec import GpuServiceArgs, GpuServiceSpec

__all__ = ["GpuService", "GpuServiceArgs", "GpuServiceSpec"]


class GpuService(pulumi.ComponentResource):
    """Serves a model on GPUs: from zero, on demand, drained and removed in order."""

    cluster_name: pulumi.Output[str]
    """Name of the ECS cluster."""
    service_name: pulumi.Output[str]
    """Name of the ECS service."""
    namespace: pulumi.Output[str]
    """Cloud Map namespace callers look in."""
    discovery_name: pulumi.Output[str]
    """Cloud Map service callers look for; also the `Service` dimension of the `Backlog` metric."""
    security_group_id: pulumi.Output[str]
    """Security group of the tasks."""
    caller_group_id: pulumi.Output[str]
    """Security group a caller takes to be let in."""
    task_role_arn: pulumi.Output[str]
    """ARN of the role the server runs with."""
    log_group: pulumi.Output[str]
    """Name of its log group."""

    def __init__(self, name: str, args: GpuServiceArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        self._spec = spec = GpuServiceSpec.of(name, args)
        super().__init__("keepwarm:index:GpuService", name, {}, opts)
        place = network.locate(self, spec)
        cluster = hosts.make_cluster(self, name, spec)
        strategies = self._strategies(name, cluster, place)
        association = hosts.associate(self, name, cluster, strategies)
        groups = network.groups(self, name, spec, place)
        found = network.discovery(self, name, spec, place)
        made = task.make(self, name, spec, cluster)
        service = ecs.Service(
            f"{name}-service",
            cluster=cluster.arn,
            task_definition=made.definition.arn,
            desired_count=spec.scaling.min_tasks,
            capacity_provider_strategies=strategies,
            # ECS takes another strategy only with a new deployment.
            force_new_deployment=True,
            network_configuration={
                "subnets": place.subnet_ids,
                "security_groups": [groups.tasks.id],
                "assign_public_ip": False,
            },
            service_registries={
                "registry_arn": found.service.arn,
                "container_name": "server",
                "container_port": spec.port,
            },
            deployment_circuit_breaker={"enable": True, "rollback": True},
            deployment_minimum_healthy_percent=100,
            deployment_maximum_percent=200,
            enable_ecs_managed_tags=True,
            propagate_tags="SERVICE",
            force_delete=True,
            wait_for_steady_state=False,
            tags=self._service_tags(),
            opts=pulumi.ResourceOptions(
                parent=self,
                # Backwards on destroy: tasks end while provider, rules and permissions they need still stand.
                depends_on=[*association, *groups.rules, *made.policies],
                # The autoscaler owns the count; a deployment must not put the service back to its minimum.
                ignore_changes=["desiredCount"],
            ),
        )
        scaling.scale(self, name, spec, cluster, service, found.service)

        self.cluster_name = pulumi.Output.from_input(cluster.name)
        self.service_name = service.name
        self.namespace = pulumi.Output.from_input(found.namespace)
        self.discovery_name = found.service.name
        self.security_group_id = groups.tasks.id
        self.caller_group_id = groups.callers.id
        self.task_role_arn = made.role.arn
        self.log_group = made.logs.name
        self._subnet_ids = place.subnet_ids
        self.register_outputs(
            {
                "cluster_name": self.cluster_name,
                "service_name": self.service_name,
                "namespace": self.namespace,
                "discovery_name": self.discovery_name,
                "security_group_id": self.security_group_id,
                "caller_group_id": self.caller_group_id,
                "task_role_arn": self.task_role_arn,
                "log_group": self.log_group,
            }
        )

    def binding(self) -> ServiceBinding:
        """What a function needs to find this service."""
        return self._spec.binding(namespace=self.namespace, service=self.discovery_name)

    def permits(self) -> int:
        """Requests the service really takes at a time when it is scaled out: the size of its Admission pool."""
        return self._spec.permits()

    def tasks(self) -> ServiceTasks:
        """What Observability needs to watch that the tasks asked for really run."""
        return {
            "cluster_name": self.cluster_name,
            "service_name": self.service_name,
            "always_on": self._spec.scaling.min_tasks > 0,
        }

    def caller_network(self) -> CallerNetwork:
        """Inputs of a RuntimeFunction that attach it to the VPC as a caller that is let in."""
        found: CallerNetwork = {
            "subnet_ids": self._subnet_ids,
            "security_group_ids": [self.caller_group_id],
        }
        if self._spec.network_path is not None:
            found["network_path"] = self._spec.network_path
        return found

    def _strategies(self, name: str, cluster: Cluster, place: Network) -> list[Any]:
        """The providers that tasks run on, with their shares."""
        if self._spec.capacity is Capacity.FARGATE:
            return hosts.fargate_strategies(self._spec)
        build = hosts.host_group if self._spec.capacity is Capacity.ASG else hosts.managed_hosts
        provider = build(self, name, self._spec, cluster, place).name
        return [{"capacity_provider": provider, "weight": 1}]

    def _service_tags(self) -> dict[str, pulumi.Input[str]]:
        duty = self._spec.duty_cycle
        own: dict[str, pulumi.Input[str]] = {} if duty is None else {"keepwarm:duty-cycle": f"{duty:g}"}
        return {**own, **(self._spec.tags or {})}
