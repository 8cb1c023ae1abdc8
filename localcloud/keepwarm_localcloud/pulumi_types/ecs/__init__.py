"""ECS."""

from keepwarm_localcloud.pulumi_types.base import ResourceType
from keepwarm_localcloud.pulumi_types.ecs.cluster import (
    Cluster,
    ClusterCapacityProviders,
    EcsCapacityProvider,
)
from keepwarm_localcloud.pulumi_types.ecs.service import EcsService
from keepwarm_localcloud.pulumi_types.ecs.task import TaskDefinition

TYPES: tuple[type[ResourceType], ...] = (
    Cluster,
    EcsCapacityProvider,
    ClusterCapacityProviders,
    TaskDefinition,
    EcsService,
)
