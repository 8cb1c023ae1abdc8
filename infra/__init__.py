"""The Pulumi program of the example stack: settings, bundles and a wiring diagram."""
