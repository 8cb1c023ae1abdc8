"""`keepwarm pulumi -- ...`: the real engine against the embedded cloud."""

import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from keepwarm_cli.engine.daemons import cloud_endpoint, start_cloud
from keepwarm_cli.engine.environment import (
    DEBUG_PROVIDERS,
    attached_providers,
    engine_environment,
    has_language_host,
    import_host,
)
from keepwarm_cli.engine.preconditions import (
    ensure_stack,
    explain_failure,
    one_change_at_a_time,
    refuse_lost_cloud,
    refuse_other_project,
)
from keepwarm_cli.engine.program import program_of, serve_program
from keepwarm_cli.engine.project_files import (
    need_language_host,
    prepare_work,
    project_name,
    runtime_of,
    stack_region,
)
from keepwarm_cli.engine.provider_process import Provider
from keepwarm_cli.engine.pulumi_binary import find_cli
from keepwarm_cli.engine.pulumi_process import PulumiCli, say_on_stderr
from keepwarm_cli.engine.recovery import open_creations, recover
from keepwarm_cli.engine.request import CHANGES, NEEDS_CLOUD, Request, understand
from keepwarm_cli.engine.state import checkpoint, mend_backend, release_dead_locks
from keepwarm_cli.engine.state_folder import Folder
from keepwarm_cli.errors import CliError


def run(
    project: Path,
    arguments: list[str],
    *,
    environment: Mapping[str, str] | None = None,
    program: Callable[[], Any] | None = None,
    say: Callable[[str], None] = say_on_stderr,
    output: Any = None,
) -> int:
    """Run the real CLI with these arguments against the embedded cloud; gives its exit status.

    Args:
        project: folder with `Pulumi.yaml`.
        arguments: what the user would write after `pulumi`.
        environment: default: this process's.
        program: default: the project's `main`.
        say: takes notes for the user, one line each.
        output: file that takes the CLI's output instead of this process's.

    Raises:
        CliError: KW653-KW655 and KW666-KW679; each says what to do.
    """
    outer = dict(os.environ if environment is None else environment)
    folder = Folder(project)
    folder.open()
    binary = find_cli(outer)
    name = project_name(project)
    request = understand(arguments, folder, outer)
    refuse_other_project(folder, name)
    prepare_work(folder)
    _refuse_change_of_the_copy(request)
    cli = PulumiCli(binary, folder, name, engine_environment(folder, outer), say, output)
    if request.command not in NEEDS_CLOUD:
        return _run_alone(cli, request)
    with one_change_at_a_time(folder, request) if request.command in CHANGES else contextlib.nullcontext():
        return _run_with_cloud(cli, request, outer, program)


def _refuse_change_of_the_copy(request: Request) -> None:
    if request.words[:2] in (("config", "set"), ("config", "rm"), ("config", "set-all")):
        raise CliError(
            "KW674",
            "config",
            got="a change of the working copy",
            allowed=f"a change of stacks/Pulumi.{request.stack}.yaml itself",
            because="the copy is written again for every command",
            fix="edit that file, or run plain `pulumi config`",
        )


def _run_alone(cli: PulumiCli, request: Request) -> int:
    """Run a command that neither the program nor the cloud has a part in; a selected stack is remembered."""
    status = cli.call(request.arguments)
    chosen = request.words[:2] in (("stack", "select"), ("stack", "init")) and len(request.words) > 2
    if status == 0 and chosen:
        (cli.folder.root / "selected").write_text(request.words[2].rpartition("/")[2])
    return status


def _run_with_cloud(
    cli: PulumiCli, request: Request, outer: Mapping[str, str], program: Callable[[], Any] | None
) -> int:
    folder = cli.folder
    ensure_stack(cli, request)
    release_dead_locks(folder, cli.project, request.stack, cli.say)
    mend_backend(folder, cli.project, request.stack, cli.say)
    checkpoint(folder, cli.project, request.stack)
    program = program or _own_program(cli, request, outer)
    endpoint = _endpoint(cli, request, outer)
    provider = Provider(
        endpoint, {**outer, "KEEPWARM_CREATIONS": str(folder.creations)}, log=folder.root / "provider.log"
    )
    try:
        attached = cli.attached(
            {DEBUG_PROVIDERS: attached_providers(outer, provider.port), "AWS_ENDPOINT_URL": endpoint}
        )
        recover(attached, request.stack, endpoint)
        _say_late_policies(cli, request)
        status = _call_engine(attached, request, outer, program)
    finally:
        lived = provider.close()
    if status >= 0 and lived and not open_creations(folder):
        # Nobody was killed and no answer was lost: the engine knows of everything that was made.
        folder.creations.unlink(missing_ok=True)
    if status != 0:
        if not lived:
            raise CliError(
                "KW670",
                "provider",
                problem="exited while the engine was using it; what was done is in the state",
                fix="run the same command again",
                exit_code=1,
            )
        explain_failure(cli, request)
    return status


def _own_program(cli: PulumiCli, request: Request, outer: Mapping[str, str]) -> Callable[[], Any] | None:
    """The project's program; None where nobody runs it from here: its language has a host, an import runs none."""
    if runtime_of(cli.folder.project) != "python":
        need_language_host(cli.folder.project, outer)
        return None
    return None if request.command == "import" else program_of(cli.folder.project)


def _endpoint(cli: PulumiCli, request: Request, outer: Mapping[str, str]) -> str:
    """The project's cloud, started if none runs."""
    endpoint = cloud_endpoint(cli.folder)
    if endpoint is not None:
        return endpoint
    refuse_lost_cloud(cli, request)
    return start_cloud(cli.folder, outer, stack_region(cli.folder, request.stack))


def _call_engine(
    cli: PulumiCli, request: Request, outer: Mapping[str, str], program: Callable[[], Any] | None
) -> int:
    arguments = [*request.arguments, *([] if request.given_stack else ["--stack", request.stack])]
    if request.command == "import":
        arguments.append("--skip-plugin-pre-install")
        if not any(a.startswith("--generate-code") for a in arguments) and not has_language_host(outer):
            # Without a language host there is nobody to write code.
            arguments.append("--generate-code=false")
        path = f"{cli.environment['PATH']}{os.pathsep}{import_host(cli.folder)}"
        return cli.attached({"PATH": path}).call(arguments)
    if program is None:
        return cli.call(arguments)
    with serve_program(program) as address:
        return cli.call([*arguments, f"--client={address}"])


def _say_late_policies(cli: PulumiCli, request: Request) -> None:
    flags = {a.partition("=")[0] for a in request.arguments}
    skips = {"--skip-preview", "-f"} & flags and "--skip-preview=false" not in request.arguments
    if "--policy-pack" in flags and request.command in ("up", "update") and skips:
        cli.say(
            "rules over the whole stack are checked when it is complete: with --skip-preview that is after its "
            "creation; without it a violation stops the update before anything is made"
        )
