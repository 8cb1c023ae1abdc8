"""Which services the embedded cloud has: the one list to extend when it gets another."""

import importlib
from dataclasses import dataclass
from types import ModuleType
from typing import Final, cast

from keepwarm_localcloud.iam.actions import AsksOf
from keepwarm_localcloud.services.context import Service


@dataclass(frozen=True, slots=True)
class _Entry:
    folder: str
    service: str
    """Class in the folder's `service.py`."""
    asks: bool = False
    """Whether the folder has an `actions.py`; other services are asked for `<service>:<operation>` on `*`."""


_ENTRIES: Final = {
    "s3": _Entry("s3", "S3Service", asks=True),
    "sqs": _Entry("sqs", "SqsService", asks=True),
    "sts": _Entry("sts", "StsService", asks=True),
    "lambda": _Entry("lambda_", "LambdaService", asks=True),
    "ecs": _Entry("ecs", "EcsService", asks=True),
    "application-autoscaling": _Entry("autoscaling", "AutoscalingService"),
    "scheduler": _Entry("scheduler", "SchedulerService"),
    "states": _Entry("stepfunctions", "StepFunctionsService", asks=True),
    "servicediscovery": _Entry("servicediscovery", "ServiceDiscoveryService", asks=True),
}
"""Signing name -> where the service is, in the order in which services start."""


def default_services() -> list[Service]:
    """One instance of every service the embedded cloud has, in the order they start."""
    return [
        cast("Service", getattr(_module(entry.folder, "service"), entry.service)())
        for entry in _ENTRIES.values()
    ]


def asks_of_service(name: str) -> AsksOf | None:
    """What a service asks IAM for its requests, whether this cloud runs it or leaves it to moto.

    Args:
        name: Signing name.
    """
    entry = _ENTRIES.get(name)
    if entry is None or not entry.asks:
        return None
    return cast("AsksOf", _module(entry.folder, "actions").asks)


def _module(folder: str, name: str) -> ModuleType:
    # Imported late: a program that only reads this list must not pay for every service.
    return importlib.import_module(f"{__package__}.{folder}.{name}")
