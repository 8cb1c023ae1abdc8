"""Hosts the components as a Pulumi plugin: ``pulumi package add <repository>/components`` runs this.

The package's names load lazily, so the host can't find the components in the module's dictionary; it is told of them.
"""

from importlib.metadata import version

import keepwarm

COMPONENTS = tuple(name for name in sorted(keepwarm.__all__) if f"{name}Args" in keepwarm.__all__)
"""Names of the components: the public names whose inputs are public under the same name and ``Args``."""


def components() -> list[type]:
    """Every component class of the package."""
    return [getattr(keepwarm, name) for name in COMPONENTS]


def main() -> None:
    """Serve until the engine ends the connection."""
    from pulumi.provider.experimental import component_provider_host

    component_provider_host(components=components(), name="keepwarm", version=version("keepwarm"))


if __name__ == "__main__":
    main()
