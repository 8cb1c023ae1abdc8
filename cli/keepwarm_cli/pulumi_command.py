"""`keepwarm pulumi -- ...`, `keepwarm local env` and `reset`: the real engine against the embedded cloud."""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from keepwarm_cli import engine
from keepwarm_cli.engine import Folder, Provider
from keepwarm_cli.errors import CliError

RUNS_PROGRAM: Final = frozenset({"up", "update", "preview", "pre", "refresh", "destroy", "down", "dn"})
NEEDS_CLOUD: Final = RUNS_PROGRAM | {"import"}
CHANGES: Final = NEEDS_CLOUD - {"preview", "pre"}
PATHS: Final = frozenset(
    {
        "--policy-pack",
        "--policy-pack-config",
        "--save-plan",
        "--plan",
        "--file",
        "-f",
        "--out",
        "-o",
        "--import-file",
        "--event-log",
        "--config-file",
        "--target-file",
    }
)
"""Flags whose value is a path: the CLI runs in another folder, so relative ones are resolved first."""


@dataclass(frozen=True, slots=True)
class Request:
    """The user's arguments, understood as far as needed."""

    command: str
    arguments: tuple[str, ...]
    stack: str
    given_stack: bool

    @property
    def what(self) -> tuple[str, ...]:
        """The words that are no flags: `stack init dev` -> (`stack`, `init`, `dev`)."""
        return tuple(a for a in self.arguments if not a.startswith("-"))


def understand(arguments: list[str], folder: Folder, environment: Mapping[str, str]) -> Request:
    """Read command and stack out of the arguments, and make paths absolute."""
    resolved: list[str] = []
    stack: str | None = None
    expects = ""
    for argument in arguments:
        if expects:
            if expects in ("-s", "--stack"):
                stack = argument
            resolved.append(str(Path(argument).absolute()) if expects in PATHS else argument)
            expects = ""
            continue
        name, equals, value = argument.partition("=")
        if name in PATHS and equals:
            resolved.append(f"{name}={Path(value).absolute()}")
        else:
            resolved.append(argument)
        if name in ("-s", "--stack") and equals:
            stack = value
        elif not equals and (argument in PATHS or argument in ("-s", "--stack")):
            expects = argument
    command = next((a for a in resolved if not a.startswith("-")), "")
    selected = folder.root / "selected"
    chosen = stack or environment.get("PULUMI_STACK")
    if not chosen:
        chosen = selected.read_text().strip() if selected.exists() else "local"
    return Request(command, tuple(resolved), chosen.rpartition("/")[2], stack is not None)


def run(
    project: Path,
    arguments: list[str],
    *,
    environment: Mapping[str, str] | None = None,
    program: Callable[[], Any] | None = None,
    say: Callable[[str], None] | None = None,
    output: Any = None,
) -> int:
    """Run the real CLI with these arguments against the embedded cloud; gives its exit status.

    Args:
        project: folder with `Pulumi.yaml`.
        arguments: what the user would write after `pulumi`.
        environment: default: this process's.
        program: default: the project's `main`.
        say: takes notes for the user, one line each. Default: standard error.
        output: file that takes the CLI's output instead of this process's.

    Raises:
        CliError: KW653-KW655 and KW666-KW679; each says what to do.
    """
    outer = dict(os.environ if environment is None else environment)
    say = say or (lambda text: print(f"keepwarm: {text}", file=sys.stderr))
    folder = Folder(project)
    folder.open()
    cli = engine.find_cli(outer)
    name = engine.project_name(project)
    request = understand(arguments, folder, outer)
    _refuse_other_project(folder, name)
    engine.prepare_work(folder)
    base = engine_environment(folder, outer)
    if request.what[:2] in (("config", "set"), ("config", "rm"), ("config", "set-all")):
        raise CliError(
            "KW674",
            "config",
            got="a change of the working copy",
            allowed=f"a change of stacks/Pulumi.{request.stack}.yaml itself",
            because="the copy is made anew for every command",
            fix="edit that file, or run plain `pulumi config`",
        )
    if request.command not in NEEDS_CLOUD:
        status = _call(cli, folder, list(request.arguments), base, output)
        if (
            status == 0
            and request.what[:2] in (("stack", "select"), ("stack", "init"))
            and len(request.what) > 2
        ):
            (folder.root / "selected").write_text(request.what[2].rpartition("/")[2])
        return status
    with _held(folder, request) if request.command in CHANGES else contextlib.nullcontext():
        return _run_with_cloud(cli, folder, name, request, outer, base, program, say, output)


def _run_with_cloud(
    cli: Path,
    folder: Folder,
    name: str,
    request: Request,
    outer: dict[str, str],
    base: dict[str, str],
    program: Callable[[], Any] | None,
    say: Callable[[str], None],
    output: Any,
) -> int:
    _ensure_stack(cli, folder, name, request, base)
    engine.release_dead_locks(folder, name, request.stack, say)
    engine.mend_backend(folder, name, request.stack, say)
    engine.checkpoint(folder, name, request.stack)
    python = program is not None or engine.runtime_of(folder.project) == "python"
    if not python:
        engine.need_language_host(folder.project, outer)
    endpoint = engine.cloud_endpoint(folder)
    if endpoint is None:
        _refuse_lost_cloud(folder, name, request)
        endpoint = engine.start_cloud(folder, outer, engine.stack_region(folder, request.stack))
    provider = Provider(
        endpoint, {**outer, "KEEPWARM_CREATIONS": str(folder.creations)}, log=folder.root / "provider.log"
    )
    try:
        attached = {
            **base,
            engine.DEBUG_PROVIDERS: _attached(outer, provider.port),
            "AWS_ENDPOINT_URL": endpoint,
        }
        recover(cli, folder, name, request.stack, endpoint, attached, say, output)
        _say_late_policies(request, say)
        extra = [] if request.given_stack else ["--stack", request.stack]
        arguments = [*request.arguments, *extra]
        if request.command == "import":
            attached["PATH"] += f"{os.pathsep}{import_host(folder)}"
            arguments += ["--skip-plugin-pre-install"]
            if not any(a.startswith("--generate-code") for a in arguments) and not _has_language_host(outer):
                # Without a language host there is nobody to write code.
                arguments += ["--generate-code=false"]
            status = _call(cli, folder, arguments, attached, output)
        elif not python:
            status = _call(cli, folder, arguments, attached, output)
        else:
            with engine.serve_program(program or engine.program_of(folder.project)) as address:
                status = _call(cli, folder, [*arguments, f"--client={address}"], attached, output)
    finally:
        lived = provider.close()
    if status >= 0 and lived and not _open_creations(folder):
        # Nobody was killed and no answer was lost: the engine knows of everything that was made.
        folder.creations.unlink(missing_ok=True)
    if status != 0:
        if not lived:
            raise CliError(
                "KW670",
                "provider",
                problem="ended while the engine used it; what was done is in the state",
                fix="run the same command again",
                exit_code=1,
            )
        _explain(cli, folder, request, base)
    return status


def engine_environment(folder: Folder, outer: Mapping[str, str]) -> dict[str, str]:
    """Environment of the CLI: file backend, passphrase, no downloads, our executables last on PATH."""
    inner = dict(outer)
    inner["PULUMI_BACKEND_URL"] = outer.get("KEEPWARM_BACKEND_URL") or f"file://{folder.backend}"
    if "PULUMI_CONFIG_PASSPHRASE_FILE" not in outer:
        inner.setdefault("PULUMI_CONFIG_PASSPHRASE", engine.DEFAULT_PASSPHRASE)
    inner["PULUMI_SKIP_UPDATE_CHECK"] = "true"
    inner["PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION"] = "true"
    inner["PATH"] = f"{outer.get('PATH', os.defpath)}{os.pathsep}{executables(folder)}"
    return inner


def executables(folder: Folder) -> Path:
    """Write the small executables that the engine looks for on PATH where no installation brings them."""
    return _scripts(
        folder.root / "bin",
        {
            "pulumi-analyzer-policy-python": f'exec "{sys.executable}" -u . "$@"',
            "pulumi-resource-keepwarm": f'exec "{sys.executable}" -m keepwarm "$@"',
        },
    )


def _say_late_policies(request: Request, say: Callable[[str], None]) -> None:
    flags = {a.partition("=")[0] for a in request.arguments}
    skips = {"--skip-preview", "-f"} & flags and "--skip-preview=false" not in request.arguments
    if "--policy-pack" in flags and request.command in ("up", "update") and skips:
        say(
            "rules over the whole stack speak when it is complete: with --skip-preview that is after its creation; "
            "without it a violation stops the update before anything is made"
        )


def import_host(folder: Folder) -> Path:
    """Write the language host that only `pulumi import` needs.

    In a folder of its own: where the engine finds a language host it starts policy packs and components through it, and
    ours runs neither.
    """
    host = f'exec "{sys.executable}" -m keepwarm_cli.language_host "$@"'
    return _scripts(folder.root / "host", {"pulumi-language-python": host})


def _scripts(where: Path, bodies: Mapping[str, str]) -> Path:
    where.mkdir(parents=True, exist_ok=True)
    for name, body in bodies.items():
        path = where / name
        text = f"#!/bin/sh\n{body}\n"
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            path.chmod(0o755)
    return where


def _has_language_host(environment: Mapping[str, str]) -> bool:
    return shutil.which("pulumi-language-python", path=environment.get("PATH")) is not None


def _attached(outer: Mapping[str, str], port: int) -> str:
    """Keep what the user attached, with our provider for `aws`."""
    others = [p for p in outer.get(engine.DEBUG_PROVIDERS, "").split(",") if p and not p.startswith("aws:")]
    return ",".join([*others, f"aws:{port}"])


def _call(cli: Path, folder: Folder, arguments: list[str], environment: dict[str, str], output: Any) -> int:
    """Run the CLI in the working copy; Ctrl-C is its own business."""
    with engine.Interrupts() as interrupts:
        process = subprocess.Popen(
            [str(cli), *arguments],
            cwd=folder.work,
            env={**environment, "PWD": str(folder.work)},
            stdout=output,
            stderr=subprocess.STDOUT if output is not None else None,
        )
        interrupts.hand_to(process)
        (folder.root / "cli.pid").write_text(str(process.pid))
        return process.wait()


@contextlib.contextmanager
def _held(folder: Folder, request: Request) -> Iterator[None]:
    """Hold the project's lock; a second change is refused at once, naming the holder.

    Raises:
        CliError: KW671.
    """
    with folder.lock.open("a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            handle.seek(0)
            holder = handle.read().strip() or "another process"
            raise CliError(
                "KW671",
                f"stack '{request.stack}'",
                got=f"a second change while {holder} is running",
                allowed="one at a time",
                fix="wait for it to end, or end that process; the lock goes with it",
            ) from None
        handle.truncate(0)
        handle.write(f"`keepwarm pulumi -- {request.command}` (process {os.getpid()})")
        handle.flush()
        yield


def _refuse_other_project(folder: Folder, name: str) -> None:
    stacks = folder.backend / ".pulumi" / "stacks"
    others = (
        sorted(p.name for p in stacks.iterdir() if p.is_dir() and p.name != name) if stacks.is_dir() else []
    )
    if others and not (stacks / name).exists():
        raise CliError(
            "KW675",
            f"state folder {folder.root}",
            got=f"the state of project '{others[0]}'",
            allowed=f"that of '{name}'",
            because="the project was renamed or the folder copied",
            fix=f"`keepwarm local reset`, or give Pulumi.yaml the name '{others[0]}' again",
        )


def _refuse_lost_cloud(folder: Folder, name: str, request: Request) -> None:
    """The cloud lives in memory: a state that outlived it describes nothing."""
    kept = engine.checkpoint(folder, name, request.stack).get("resources") or []
    custom = [r for r in kept if r.get("custom") and str(r.get("type", "")).startswith("aws:")]
    if custom and request.command in ("up", "update", "preview", "pre", "import"):
        raise CliError(
            "KW678",
            f"stack '{request.stack}'",
            got=f"a state with {len(custom)} resources and an embedded cloud that has ended",
            allowed="both or neither",
            because="the cloud keeps its resources in memory",
            fix="`keepwarm local reset`, or `keepwarm pulumi -- refresh --yes` to empty the state",
        )


def _ensure_stack(cli: Path, folder: Folder, name: str, request: Request, base: dict[str, str]) -> None:
    """Make a stack that has a stack file and no state yet.

    Raises:
        CliError: KW674, it has neither; KW676, the passphrase is wrong.
    """
    if (folder.backend / ".pulumi" / "stacks" / name / f"{request.stack}.json").exists():
        return
    files = sorted((folder.work / "stacks").glob("Pulumi.*.yaml"))
    known = [p.name.removeprefix("Pulumi.").removesuffix(".yaml") for p in files]
    if request.stack not in known:
        raise CliError(
            "KW674",
            f"stack '{request.stack}'",
            problem="does not exist",
            allowed=str(", ".join(known) or "none yet"),
            fix=(
                f"write stacks/Pulumi.{request.stack}.yaml, or `keepwarm pulumi -- stack init "
                f"{request.stack}`"
            ),
        )
    if request.command not in ("up", "update", "preview", "pre", "import"):
        raise CliError(
            "KW674",
            f"stack '{request.stack}'",
            problem="has no state",
            allowed="a stack that was deployed",
            fix="`keepwarm pulumi -- up`",
        )
    done = subprocess.run(
        [str(cli), "stack", "init", request.stack, "--non-interactive", "--color=never"],
        cwd=folder.work,
        env=base,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise CliError(
            "KW674",
            f"stack '{request.stack}'",
            problem=f"cannot be made: {' '.join(done.stderr.split())}",
            fix="what Pulumi says there, or `keepwarm local reset`",
        )


def _explain(cli: Path, folder: Folder, request: Request, base: dict[str, str]) -> None:
    """Find out whether a failure has a cause that the CLI words less clearly.

    Raises:
        CliError: KW676, the passphrase is not the one the state was made with.
    """
    asked = subprocess.run(
        [
            str(cli),
            "stack",
            "output",
            "--show-secrets",
            "--json",
            "--stack",
            request.stack,
            "--non-interactive",
        ],
        cwd=folder.work,
        env=base,
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode != 0 and "incorrect passphrase" in asked.stderr:
        raise CliError(
            "KW676",
            f"stack '{request.stack}'",
            got="a passphrase that does not open its secrets",
            allowed="the one it was made with",
            fix=(
                "set PULUMI_CONFIG_PASSPHRASE to that (unset it if there was none), or `keepwarm local reset`"
            ),
        )


# Recovery.


def recover(
    cli: Path,
    folder: Folder,
    name: str,
    stack: str,
    endpoint: str,
    environment: dict[str, str],
    say: Callable[[str], None],
    output: Any = None,
) -> None:
    """Settle creations that a killed run left open: what the cloud made and no state knows is removed again.

    Then `pulumi refresh --clear-pending-creates`, the documented way, forgets them, and the next step makes them anew.
    (`--import-pending-creates` only marks an operation in CLI v3.259 and adopts nothing.)

    Raises:
        CliError: KW679, something could not be settled.
    """
    from keepwarm_localcloud.engine.provider.creations import Creation, read_creations
    from keepwarm_localcloud.pulumi_types.aws import Aws
    from keepwarm_localcloud.pulumi_types.errors import ResourceError

    deployment = engine.checkpoint(folder, name, stack)
    unfinished = engine.pending(deployment)
    begun = read_creations(folder.creations)
    noted = {c.urn for c in begun}
    begun += [
        Creation(r["urn"], r["type"], engine.plain(r.get("inputs") or {}))
        for r in unfinished
        if r["urn"] not in noted
    ]
    if not begun:
        return
    known = {str(r["id"]) for r in deployment.get("resources") or [] if r.get("id")}
    aws = Aws(endpoint)
    try:
        for creation in begun:
            found = _unrecorded(aws, creation, known)
            if found is not None:
                _remove_half(aws, creation, found)
                say(
                    f"{creation.urn}: {found}, which a killed run or a lost answer left and no state knows, was removed"
                )
    except ResourceError as error:
        raise CliError("KW679", "recovery after a killed run", problem=str(error)) from error
    finally:
        aws.close()
    if unfinished:
        _clear_pending(cli, folder, stack, len(unfinished), environment, say, output)
    folder.creations.unlink(missing_ok=True)


def _open_creations(folder: Folder) -> bool:
    """Whether the provider noted a creation whose end it does not know."""
    from keepwarm_localcloud.engine.provider.creations import read_creations

    return any(not creation.id for creation in read_creations(folder.creations))


def _unrecorded(aws: Any, creation: Any, known: set[str]) -> str | None:
    """Id of what a begun creation made, unless the state knows it or it does not exist."""
    from keepwarm_localcloud.pulumi_types import table
    from keepwarm_localcloud.pulumi_types.locate import locate

    inputs = {k: v for k, v in creation.inputs.items() if k != "__defaults"}
    if not creation.id:
        found = locate(creation.type, aws, inputs, frozenset(known))
        return None if found in known else found
    if creation.id in known:
        return None
    return creation.id if table.read(creation.type, creation.urn, aws, creation.id, {}, inputs) else None


def _clear_pending(
    cli: Path,
    folder: Folder,
    stack: str,
    count: int,
    environment: dict[str, str],
    say: Callable[[str], None],
    output: Any,
) -> None:
    arguments = ["refresh", "--yes", "--skip-preview", "--clear-pending-creates", "--stack", stack]
    say(f"a killed run left {count} creation(s) open; running: pulumi {' '.join(arguments)}")
    # The program is not run by a refresh; serving one spares the search for a language host.
    with engine.serve_program(lambda: None) as address:
        arguments += ["--non-interactive", f"--client={address}"]
        status = _call(cli, folder, arguments, environment, output or sys.stderr.fileno())
    if status != 0:
        raise CliError(
            "KW679",
            "recovery after a killed run",
            problem=f"the refresh ended with status {status}",
            fix="see its lines above, then run the command again",
        )


def _remove_half(aws: Any, creation: Any, id_: str) -> None:
    from keepwarm_localcloud.pulumi_types import table

    inputs = {k: v for k, v in creation.inputs.items() if k != "__defaults" and v is not None}
    found = table.read(creation.type, creation.urn, aws, id_, {}, inputs)
    table.delete(creation.type, creation.urn, aws, id_, inputs, {**inputs, **found[2]} if found else inputs)


# `keepwarm local env` and `keepwarm local reset`.


def local_env(project: Path, *, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Start cloud and provider as daemons and return what a shell needs for plain `pulumi` by hand.

    Raises:
        CliError: KW653, KW668-KW670.
    """
    outer = dict(os.environ if environment is None else environment)
    folder = Folder(project)
    folder.open()
    engine.prepare_work(folder)
    endpoint = engine.cloud_endpoint(folder) or engine.start_cloud(folder, outer)
    port = _provider_daemon(folder, endpoint, outer)
    return {
        engine.DEBUG_PROVIDERS: _attached(outer, port),
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": outer.get("AWS_REGION", "us-east-1"),
        "PULUMI_BACKEND_URL": outer.get("KEEPWARM_BACKEND_URL") or f"file://{folder.backend}",
        "PULUMI_CONFIG_PASSPHRASE": outer.get("PULUMI_CONFIG_PASSPHRASE", engine.DEFAULT_PASSPHRASE),
        "PATH": f"{outer.get('PATH', os.defpath)}{os.pathsep}{executables(folder)}",
    }


def export_lines(values: Mapping[str, str]) -> str:
    """Write an environment as lines for `eval` in a POSIX shell."""
    import shlex

    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in values.items())


def _provider_daemon(folder: Folder, endpoint: str, environment: Mapping[str, str]) -> int:
    handle = folder.root / "provider.json"
    with contextlib.suppress(OSError, ValueError, KeyError):
        found = json.loads(handle.read_text())
        if found["endpoint"] == endpoint and engine.alive(int(found["pid"])):
            return int(found["port"])
    log = (folder.root / "provider.log").open("ab")
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "keepwarm_localcloud.engine.provider",
            "--endpoint",
            endpoint,
            *engine.owner_arguments(environment),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
        env=dict(environment),
        start_new_session=True,
    )
    log.close()
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    process.stdout.close()
    if not line.isdigit():
        raise CliError(
            "KW670",
            "provider",
            problem="ended before it served",
            fix=f"see its log in {folder.root / 'provider.log'}, then run it again",
        )
    handle.write_text(json.dumps({"pid": process.pid, "port": int(line), "endpoint": endpoint}))
    engine.let_go(process)
    return int(line)


def local_reset(project: Path) -> list[str]:
    """Stop the project's cloud and provider and remove its `.keepwarm` folder; tells what was done.

    Raises:
        CliError: KW668, the folder cannot be removed; KW671, a command is running.
    """
    folder = Folder(project)
    if not folder.root.exists():
        return ["there was nothing to reset"]
    with _held(folder, Request("reset", ("reset",), "all", False)):
        done = []
        with contextlib.suppress(OSError, ValueError, KeyError):
            pid = int(json.loads((folder.root / "provider.json").read_text())["pid"])
            os.kill(pid, signal.SIGTERM)
            _wait_gone(pid)
            done.append("the provider was stopped")
        if engine.stop_cloud(folder):
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


def _wait_gone(pid: int, timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while engine.alive(pid) and time.monotonic() < deadline:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        time.sleep(0.02)
