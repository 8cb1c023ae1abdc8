"""Components as a program in any other language makes them: by token, with the schema's names, across the engine.

The Python SDK that `pulumi package add` would generate does the same; here the schema is read at run time instead.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pulumi
import yaml
from pulumi.provider.experimental.component import ComponentProvider

import keepwarm
from keepwarm.__main__ import components

Make = Callable[..., Any]
"""`make(component, name, args, opts=None)`, args by Python's names; the result has the outputs by Python's names."""


@cache
def schema() -> dict[str, Any]:
    """The package's schema, as the engine gets it."""
    return dict(json.loads(ComponentProvider(components(), "keepwarm", None, "0.1.0").schema))


def imported(
    kind: str, name: str, args: Mapping[str, Any], opts: pulumi.ResourceOptions | None = None
) -> Any:
    """Make a component by import."""
    return getattr(keepwarm, kind)(name, args, opts)


class Remote(pulumi.ComponentResource):
    """A component that the engine asks its plugin to construct."""

    def __init__(
        self, kind: str, name: str, inputs: Mapping[str, Any], opts: pulumi.ResourceOptions | None
    ) -> None:
        token = f"keepwarm:index:{kind}"
        outputs = dict.fromkeys(schema()["resources"][token]["properties"])
        super().__init__(token, name, {**outputs, **inputs}, opts, remote=True)


def constructed(
    kind: str, name: str, args: Mapping[str, Any], opts: pulumi.ResourceOptions | None = None
) -> Any:
    """Make a component through the engine."""
    described = schema()["resources"][f"keepwarm:index:{kind}"]
    made = Remote(kind, name, _camel(args, described["inputProperties"]), opts)
    return SimpleNamespace(
        **{_snake(key): getattr(made, key) for key in described["properties"]}, resource=made
    )


def _camel(values: Mapping[str, Any], properties: Mapping[str, Any]) -> dict[str, Any]:
    """Rename keys that the schema names; keys of maps are the user's own."""
    by_name = {_snake(key): (key, spec) for key, spec in properties.items()}
    return {by_name[k][0]: _value(v, by_name[k][1]) for k, v in values.items()}


def _value(value: Any, spec: Mapping[str, Any]) -> Any:
    reference = str(spec.get("$ref", "")).removeprefix("#/types/")
    described = schema()["types"].get(reference, {})
    if isinstance(value, dict) and "properties" in described:
        return _camel(value, described["properties"])
    if isinstance(value, dict) and "additionalProperties" in spec:
        return {k: _value(v, spec["additionalProperties"]) for k, v in value.items()}
    if isinstance(value, list) and "items" in spec:
        return [_value(v, spec["items"]) for v in value]
    return value


def _snake(key: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in key)


def install_alone(folder: Path) -> Path:
    """Install a copy of `components/`, and nothing else of ours, into an environment of its own; its interpreter."""
    copy, environment = folder / "components", folder / "venv"
    source = Path(keepwarm.__file__).parent.parent
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__", ".venv", "*.egg-info"))
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV", "UV_PROJECT"))}
    python = environment / "bin" / "python"
    uv = shutil.which("uv")
    if uv is None:
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True, env=clean)
        install = [str(python), "-m", "pip", "install", "--quiet", str(copy)]
    else:
        made = [uv, "venv", "--quiet", "--python", sys.executable, str(environment)]
        subprocess.run(made, check=True, env=clean)
        install = [uv, "pip", "install", "--quiet", "--python", str(python), str(copy)]
    subprocess.run(install, check=True, cwd=folder, env=clean)
    return python


def yaml_program(path: Path) -> Callable[[], None]:
    """A Pulumi YAML file of components as a program: what its language host does with such a file."""
    document = yaml.safe_load(path.read_text(encoding="utf-8"))

    def program() -> None:
        made: dict[str, Remote] = {}

        def value(given: Any) -> Any:
            if isinstance(given, dict):
                if "fn::fileArchive" in given:
                    return pulumi.FileArchive(str((path.parent / given["fn::fileArchive"]).resolve()))
                return {k: value(v) for k, v in given.items()}
            if isinstance(given, list):
                return [value(v) for v in given]
            reference = re.fullmatch(r"\$\{(\w+)\.(\w+)\}", given) if isinstance(given, str) else None
            return getattr(made[reference[1]], reference[2]) if reference else given

        for name, resource in document["resources"].items():
            kind = resource["type"].rpartition(":")[2]
            made[name] = Remote(kind, name, value(resource["properties"]), None)
        for name, exported in document["outputs"].items():
            pulumi.export(name, value(exported))

    return program
