"""`python -m keepwarm_cli.component_host`: hosts the components for other languages, as the package itself does.

An executable `pulumi-resource-keepwarm` on PATH that runs this lets any engine cross the construct boundary; an
ordinary installation gets the same from `pulumi package add <git>/components`.
"""

from pulumi.provider.experimental import component_provider_host


def main() -> None:
    """Serve every component that `keepwarm` exports, on the address the engine passes."""
    from pulumi import ComponentResource

    import keepwarm

    components = [
        found
        for name in keepwarm.__all__
        if isinstance(found := getattr(keepwarm, name), type) and issubclass(found, ComponentResource)
    ]
    component_provider_host(components=components, name="keepwarm")


if __name__ == "__main__":
    main()
