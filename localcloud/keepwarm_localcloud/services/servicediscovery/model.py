"""What AWS Cloud Map keeps: namespaces, services, instances."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Instance:
    """A registered instance. `healthy` is what custom health checks set."""

    identity: str
    attributes: dict[str, str]
    healthy: bool = True


@dataclass(slots=True)
class Namespace:
    """A namespace and its services."""

    identity: str
    arn: str
    name: str
    kind: str
    description: str
    properties: dict[str, Any]
    created_s: float
    tags: list[dict[str, str]]


@dataclass(slots=True)
class Registry:
    """A Cloud Map service."""

    identity: str
    arn: str
    name: str
    namespace: Namespace
    body: dict[str, Any]
    created_s: float
    tags: list[dict[str, str]]
    instances: dict[str, Instance] = field(default_factory=dict)
    revision: int = 1
    attributes: dict[str, str] = field(default_factory=dict)
