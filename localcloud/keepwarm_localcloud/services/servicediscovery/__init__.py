"""AWS Cloud Map of the embedded cloud: namespaces, services, instances and discovery."""

from keepwarm_localcloud.services.servicediscovery.service import ServiceDiscoveryService

__all__ = ["ServiceDiscoveryService"]
