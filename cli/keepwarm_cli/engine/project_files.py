"""The project's own files, and the working copy that the CLI runs in.

The CLI works in a folder made from the project (`.keepwarm/project`): its `Pulumi.yaml` and a copy of the stack files.
A passphrase backend writes a salt into the stack file it uses, and the project's own stack files, which belong to the
real account, must not get it.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from keepwarm_cli.engine.state_folder import Folder
from keepwarm_cli.errors import CliError


def project_name(project: Path) -> str:
    """Name of the Pulumi project.

    Raises:
        CliError: KW655, `Pulumi.yaml` is not valid.
    """
    return str(project_document(project)["name"])


@contextlib.contextmanager
def _refusing(path: Path, what: str, has: str) -> Iterator[None]:
    """Say of a file that can't be read, or has something else in it, what it should be."""
    import yaml

    try:
        yield
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise CliError(
            "KW655",
            str(path),
            problem=f"is not {what}: {' '.join(str(error).split())}",
            allowed=f"a YAML mapping with {has}",
            fix="correct that file",
        ) from error


def project_document(project: Path) -> dict[str, Any]:
    """Read `Pulumi.yaml`.

    Raises:
        CliError: KW655, it is no mapping with a name.
    """
    import yaml

    path = project / "Pulumi.yaml"
    with _refusing(path, "a Pulumi project", "a `name`"):
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(document, dict) or "name" not in document:
            raise ValueError("it has no name")
    return document


def runtime_of(project: Path) -> str:
    """Language of the project's program, as Pulumi names it.

    Raises:
        CliError: KW655, `Pulumi.yaml` is not valid.
    """
    return _language(project_document(project))


def _language(document: Mapping[str, Any]) -> str:
    runtime = document.get("runtime") or "python"
    return str(runtime.get("name", "python") if isinstance(runtime, dict) else runtime)


def need_language_host(project: Path, environment: Mapping[str, str]) -> None:
    """Make sure that somebody can run a program in another language than Python, which is served from here.

    Raises:
        CliError: KW677, there is no language host for it.
    """
    name = runtime_of(project)
    if shutil.which(f"pulumi-language-{name}", path=environment.get("PATH")) is None:
        raise CliError(
            "KW677",
            f"project {project}",
            got=f"a program in '{name}' and no pulumi-language-{name} on PATH",
            allowed="python, or a language whose host is installed",
            because="only Python programs are served without one",
            fix="install Pulumi, which brings its language hosts",
        )


def prepare_work(folder: Folder) -> None:
    """Write the working copy: the project file, and the stack files with this backend's salt.

    A Python program is served by this process, so the copy names none; another one is named by its absolute path.

    Raises:
        CliError: KW655, a project or stack file is not valid.
    """
    import yaml

    document = project_document(folder.project)
    source = folder.project / str(document.get("stackConfigDir") or ".")
    stacks = folder.work / "stacks"
    stacks.mkdir(parents=True, exist_ok=True)
    copied = {k: v for k, v in document.items() if k not in ("main", "stackConfigDir", "runtime", "backend")}
    if _language(document) == "python":
        copied["runtime"] = "python"
    else:
        program = (folder.project / str(document.get("main") or ".")).resolve()
        copied |= {"runtime": document["runtime"], "main": str(program)}
    _write_when_changed(folder.work / "Pulumi.yaml", yaml.safe_dump({**copied, "stackConfigDir": "stacks"}))
    for path in sorted(source.glob("Pulumi.*.yaml")):
        target = stacks / path.name
        with _refusing(path, "a stack file", "`config`"):
            wanted = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
            if not isinstance(wanted, dict):
                raise ValueError(f"it is a {type(wanted).__name__}")
            kept = (yaml.safe_load(target.read_text()) or {}) if target.exists() else {}
        # A real account's key encrypts nothing here; values that only it can read are refused by Pulumi itself.
        for key in ("secretsprovider", "encryptedkey", "encryptionsalt"):
            wanted.pop(key, None)
        if "encryptionsalt" in kept:
            wanted["encryptionsalt"] = kept["encryptionsalt"]
        _write_when_changed(target, yaml.safe_dump(wanted))


def _write_when_changed(path: Path, text: str) -> None:
    if not path.exists() or path.read_text() != text:
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_text(text)
        temporary.replace(path)


def stack_region(folder: Folder, stack: str) -> str | None:
    """Region that a stack file names, or None."""
    import yaml

    path = folder.work / "stacks" / f"Pulumi.{stack}.yaml"
    document = (yaml.safe_load(path.read_text()) or {}) if path.exists() else {}
    region = (document.get("config") or {}).get("aws:region")
    return region if isinstance(region, str) else None
