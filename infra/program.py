"""The Pulumi program of this repository: a stack file becomes a `ServerlessRuntime`."""

import json
from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi.runtime.config import CONFIG, get_config_env

from infra import bundles
from infra.aliases import as_before
from infra.example import stack_inputs
from infra.settings import NAME, NAMESPACE, Settings
from keepwarm import CostRates, ServerlessRuntime
from keepwarm_build import BundleError
from keepwarm_planner import cost


class BuildFailed(pulumi.RunError):
    """A bundle can't be built; the line says which and why. Shown without a traceback."""


def main() -> None:
    """Read the settings of the current stack and declare everything."""
    settings = settings_of({**get_config_env(), **CONFIG.get()}, pulumi.get_stack())
    deploy(settings, build(settings))


def settings_of(config: Mapping[str, str], stack: str) -> Settings:
    """Settings of a stack from its raw configuration, as `main` reads them.

    Raises:
        InvalidSettings: with every problem found.
    """
    prefix = f"{NAMESPACE}:"
    found = {k.removeprefix(prefix): v for k, v in config.items() if k.startswith(prefix)}
    return Settings.load({k: v if isinstance(v, str) else json.dumps(v) for k, v in found.items()}, stack)


def build(settings: Settings) -> bundles.Build:
    """Build the bundles of a stack, or find them built.

    Raises:
        BuildFailed: a bundle can't be built.
    """
    try:
        return bundles.build_all(
            architecture=settings.runtime.architecture,
            python_version=settings.runtime.python_version,
            target="host" if settings.runtime.host else "lambda",
        )
    except BundleError as error:
        raise BuildFailed(str(error)) from None


def deploy(settings: Settings, built: bundles.Build) -> None:
    """Declare the stack."""
    inputs = stack_inputs(settings.sections, settings.runtime, built)
    if (rates := _cost_rates(settings)) is not None:
        inputs["observability"] = {"costs": rates, **inputs.get("observability", {})}
    stack = ServerlessRuntime(NAME, inputs, pulumi.ResourceOptions(transformations=[as_before]))

    pulumi.export("intake_bucket", stack.intake_bucket)
    pulumi.export("results_bucket", stack.results_bucket)
    pulumi.export("models_bucket", stack.models_bucket)
    pulumi.export("queue_url", stack.queue_url)
    pulumi.export("dead_letter_url", stack.dead_letter_url)
    pulumi.export("workflow_arn", stack.workflow_arn)
    pulumi.export("classify_arn", stack.entry_arn)
    pulumi.export("functions", stack.function_names)
    pulumi.export("memory_mb", _memory_mb(settings))


def _memory_mb(settings: Settings) -> dict[str, Any]:
    return {label: given["memory_mb"] for label, given in settings.effective["functions"].items()}


def _cost_rates(settings: Settings) -> CostRates | None:
    """Prices of the dashboard's cost graph; none where the price file does not know the region."""
    rates = cost.dashboard_rates(pulumi.Config("aws").get("region"), settings.runtime.architecture)
    return None if rates is None else {**rates, "memory_mb": _memory_mb(settings)}
