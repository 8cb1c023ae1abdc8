"""Finds the project a command was started in and reads its stack files."""

import json
import sys
from pathlib import Path
from typing import Any

from keepwarm_cli.errors import CliError


def find_project(start: Path | None = None) -> Path:
    """Folder with the `Pulumi.yaml` at or above `start` (default: the working directory).

    Raises:
        CliError: KW654, there is none.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "Pulumi.yaml").is_file():
            return folder
    raise CliError(
        "KW654",
        "keepwarm",
        got=f"{here}, which is in no project",
        allowed="a folder with Pulumi.yaml at or above",
        fix="go to your project's folder",
    )


def import_program(project: Path) -> Any:
    """Import `infra.program` of the project; the program is the user's, so it is found by folder, not installed.

    Raises:
        CliError: KW654, the project has no infra/program.py.
    """
    if not (project / "infra" / "program.py").is_file():
        raise CliError(
            "KW654", "keepwarm", got=f"{project} without infra/program.py", allowed="a program to deploy"
        )
    if str(project) not in sys.path:
        sys.path.insert(0, str(project))
    import importlib

    return importlib.import_module("infra.program")


def stack_config(project: Path, stack: str) -> dict[str, str]:
    """Configuration of a stack as Pulumi hands it to a program: `namespace:key` -> text, structures as JSON.

    Raises:
        CliError: KW655, no such stack file, or it is not a mapping under `config`.
    """
    import yaml

    folder = project / "stacks"
    path = folder / f"Pulumi.{stack}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.name.split(".")[1] for p in folder.glob("Pulumi.*.yaml"))) or "none"
        raise CliError("KW655", f"stack '{stack}'", got=f"no file {path.name} in {folder}", allowed=known)
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        config = document.get("config") or {}
        items = dict(config.items())
    except (OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError) as error:
        said = " ".join(str(error).split())
        raise CliError(
            "KW655",
            f"stack '{stack}'",
            got=f"{path.name}, which can't be read: {said}",
            allowed="YAML with a mapping under `config`",
        ) from None
    return {str(k): v if isinstance(v, str) else json.dumps(v) for k, v in items.items()}
