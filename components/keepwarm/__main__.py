"""Hosts the components as a Pulumi plugin: ``pulumi package add <repository>/components`` runs this.

The package's names load lazily, so the host can't find the components in the module's dictionary; they are named here.
"""

from importlib.metadata import version

import keepwarm

COMPONENTS = (
    "Admission",
    "BurstQueue",
    "DataBucket",
    "DurableWorkflow",
    "EffectLedger",
    "GpuService",
    "ModelRegistry",
    "Observability",
    "PreprocessingFunction",
    "PrivateEndpoints",
    "RuntimeFunction",
    "ServerlessRuntime",
    "WarmPool",
)


def components() -> list[type]:
    """Every component class of the package."""
    return [getattr(keepwarm, name) for name in COMPONENTS]


def main() -> None:
    """Serve until the engine ends the connection."""
    from pulumi.provider.experimental import component_provider_host

    component_provider_host(components=components(), name="keepwarm", version=version("keepwarm"))


if __name__ == "__main__":
    main()
