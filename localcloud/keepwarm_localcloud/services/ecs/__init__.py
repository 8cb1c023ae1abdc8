"""Amazon ECS of the embedded cloud: tasks are processes of this machine, services and capacity behave as on AWS."""

from keepwarm_localcloud.services.ecs.service import EcsService

__all__ = ["EcsService"]
