"""`keepwarm local env` and `keepwarm local reset`: cloud and provider for plain `pulumi` by hand, and their end."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from keepwarm_cli.engine.daemons import cloud_endpoint, provider_port, start_cloud, stop_cloud, stop_provider
from keepwarm_cli.engine.environment import (
    DEBUG_PROVIDERS,
    DEFAULT_PASSPHRASE,
    attached_providers,
    executables,
)
from keepwarm_cli.engine.preconditions import one_change_at_a_time
from keepwarm_cli.engine.project_files import prepare_work
from keepwarm_cli.engine.request import Request
from keepwarm_cli.engine.state_folder import Folder
from keepwarm_cli.errors import CliError


def local_env(project: Path, *, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Start cloud and provider as daemons and return what a shell needs for plain `pulumi` by hand.

    Raises:
        CliError: KW653, KW668-KW670.
    """
    outer = dict(os.environ if environment is None else environment)
    folder = Folder(project)
    folder.open()
    prepare_work(folder)
    endpoint = cloud_endpoint(folder) or start_cloud(folder, outer)
    port = provider_port(folder, endpoint, outer)
    return {
        DEBUG_PROVIDERS: attached_providers(outer, port),
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": outer.get("AWS_REGION", "us-east-1"),
        "PULUMI_BACKEND_URL": outer.get("KEEPWARM_BACKEND_URL") or f"file://{folder.backend}",
        "PULUMI_CONFIG_PASSPHRASE": outer.get("PULUMI_CONFIG_PASSPHRASE", DEFAULT_PASSPHRASE),
        "PATH": f"{outer.get('PATH', os.defpath)}{os.pathsep}{executables(folder)}",
    }


def export_lines(values: Mapping[str, str]) -> str:
    """Write an environment as lines for `eval` in a POSIX shell."""
    import shlex

    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in values.items())


def local_reset(project: Path) -> list[str]:
    """Stop the project's cloud and provider and remove its `.keepwarm` folder; tells what was done.

    Raises:
        CliError: KW668, the folder cannot be removed; KW671, a command is running.
    """
    folder = Folder(project)
    if not folder.root.exists():
        return ["there was nothing to reset"]
    with one_change_at_a_time(folder, Request("reset", ("reset",), "all", False)):
        done = []
        if stop_provider(folder):
            done.append("the provider was stopped")
        if stop_cloud(folder):
            done.append("the embedded cloud was stopped")
        try:
            shutil.rmtree(folder.root)
        except OSError as error:
            raise CliError(
                "KW668",
                f"state folder {folder.root}",
                problem=f"cannot be removed: {error.strerror or error}",
                fix="make it and what is in it writable",
            ) from error
    return [*done, f"{folder.root} was removed"]
