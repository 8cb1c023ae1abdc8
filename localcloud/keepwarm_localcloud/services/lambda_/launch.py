"""What the environments of a version start with: the program, and the environment variables AWS sets."""

import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from keepwarm_localcloud.services.lambda_.runtimes import Runtimes


class Pool(StrEnum):
    """Who an environment is kept for."""

    ON_DEMAND = "on-demand"
    PROVISIONED = "provisioned"


@dataclass(frozen=True, slots=True)
class Launch:
    """Everything a version's environments start with; equal for all of them."""

    function: str
    version: str
    arn: str
    """Qualified ARN of the version."""
    runtime: str
    handler: str
    role_arn: str
    memory_mb: int
    timeout_s: int
    ephemeral_mb: int
    code: Path
    layers: tuple[Path, ...]
    variables: dict[str, str]
    log_group: str
    json_log: bool
    log_level: str
    snap_start: bool


def command_and_environment(
    launch: Launch, pool: Pool, log_stream: str, runtimes: Runtimes, *, region: str, endpoint: str
) -> tuple[list[str], dict[str, str]]:
    """Give the command line and environment variables of a process, as AWS sets them.

    Args:
        launch: the version.
        pool: who the environment is kept for.
        log_stream: its log stream.
        runtimes: where the interpreters are.
        region: region of the cloud.
        endpoint: address of the cloud.

    https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
    """
    variables = _variables(launch, pool, log_stream, region=region, endpoint=endpoint)
    paths = ["/usr/local/bin", "/usr/bin", "/bin", *(str(layer / "bin") for layer in launch.layers)]
    if launch.runtime.startswith("python"):
        return _python(launch, runtimes, variables, paths)
    roots = (launch.code, *launch.layers)
    bootstrap = next((r / "bootstrap" for r in roots if (r / "bootstrap").is_file()), roots[0] / "bootstrap")
    return [str(bootstrap)], {
        **variables,
        "PATH": os.pathsep.join(paths),
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
    }


def _variables(launch: Launch, pool: Pool, log_stream: str, *, region: str, endpoint: str) -> dict[str, str]:
    """What every runtime gets."""
    kind = "provisioned-concurrency" if pool is Pool.PROVISIONED else "on-demand"
    libraries = [
        str(launch.code),
        str(launch.code / "lib"),
        *(str(layer / "lib") for layer in launch.layers),
    ]
    variables = {
        "_HANDLER": launch.handler,
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_LAMBDA_FUNCTION_NAME": launch.function,
        "AWS_LAMBDA_FUNCTION_VERSION": launch.version,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(launch.memory_mb),
        "AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start" if launch.snap_start else kind,
        "AWS_LAMBDA_LOG_GROUP_NAME": launch.log_group,
        "AWS_LAMBDA_LOG_STREAM_NAME": log_stream,
        "AWS_ENDPOINT_URL": endpoint,
        "LAMBDA_TASK_ROOT": str(launch.code),
        "TZ": ":UTC",
        "LANG": "en_US.UTF-8",
        "LD_LIBRARY_PATH": os.pathsep.join(libraries),
    }
    if launch.json_log:
        variables["AWS_LAMBDA_LOG_FORMAT"] = "JSON"
    if launch.log_level:
        variables["AWS_LAMBDA_LOG_LEVEL"] = launch.log_level
    return variables


def _python(
    launch: Launch, runtimes: Runtimes, variables: dict[str, str], paths: list[str]
) -> tuple[list[str], dict[str, str]]:
    python = runtimes.python(launch.runtime)
    packages = [str(launch.code)]
    for layer in launch.layers:
        packages += [str(layer / "python" / "lib" / f"python{python.minor}" / "site-packages")]
        packages += [str(layer / "python")]
    packages.append(str(python.directory))
    # -S: no site-packages of this machine; -B: a package is read-only, as on AWS no bytecode is written into it.
    return [str(python.interpreter), "-S", "-B", str(python.bootstrap)], {
        **variables,
        "PATH": os.pathsep.join([str(python.interpreter.parent), *paths]),
        "LAMBDA_RUNTIME_DIR": str(python.directory),
        "PYTHONPATH": str(python.directory),
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{launch.runtime}",
        "_KEEPWARM_PATH": os.pathsep.join(packages),
    }
