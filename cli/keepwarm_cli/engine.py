"""The machinery under `keepwarm pulumi`: the real CLI, the provider beside it, the program served to it.

The CLI works in a folder made from the project (`.keepwarm/project`): its `Pulumi.yaml` and a copy of the stack files.
A passphrase backend writes a salt into the stack file it uses, and the project's own stack files, which belong to the
real account, must not get it.
"""

import contextlib
import contextvars
import json
import os
import re
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self
from urllib.request import urlopen

from keepwarm_cli.errors import CliError

NEEDED_VERSION: Final = (3, 237, 0)
"""Oldest CLI that works; older ones crash on optional inputs of components (pulumi#22835)."""

BUILT_VERSION: Final = "v3.259.0"
"""The CLI that `make pulumi` builds; equal to the pin in tools/pulumi/go.mod, which a test checks."""

LAYOUT: Final = 1
"""Layout of the `.keepwarm` folder. A newer one is refused."""

STATE_VERSION: Final = 4
"""Newest layout of a state that the pinned CLI writes (`DeploymentSchemaVersionLatest`)."""

DEFAULT_PASSPHRASE: Final = "keepwarm-local"  # noqa: S105 - it protects nothing, see below
"""For the embedded cloud's own state, which holds nothing of a real account."""

IMAGE_MIRRORS: Final = "KEEPWARM_IMAGE_MIRRORS"
"""`REPO=DIR ...`: local image directories that stand for image repositories in the embedded cloud."""

OWNER: Final = "KEEPWARM_CLOUD_OWNER"
"""Process that the daemons end with. Default: none, they stay until `keepwarm local reset`."""

DEBUG_PROVIDERS: Final = "PULUMI_DEBUG_PROVIDERS"


def cache_folder(environment: Mapping[str, str]) -> Path:
    """Where `tools/pulumi/build.sh` puts the CLI."""
    base = environment.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "keepwarm" / "pulumi" / BUILT_VERSION


def find_cli(environment: Mapping[str, str]) -> Path:
    """Find the Pulumi CLI: `KEEPWARM_PULUMI`, then PATH, then the cache.

    Raises:
        CliError: KW666 there is none, KW667 it is too old or does not answer.
    """
    named = environment.get("KEEPWARM_PULUMI")
    on_path = shutil.which("pulumi", path=environment.get("PATH"))
    cached = cache_folder(environment) / "pulumi"
    found = Path(named) if named else Path(on_path) if on_path else cached
    if not os.access(found, os.X_OK):
        raise CliError(
            "KW666",
            "pulumi",
            got=f"no CLI ({found} is not there)",
            allowed="one on PATH, in KEEPWARM_PULUMI or in the cache",
            fix="`make pulumi`, or install Pulumi",
        )
    version = _version_of(found, environment)
    if version < NEEDED_VERSION:
        if not named and found != cached and os.access(cached, os.X_OK):
            return cached
        needed, got = (".".join(map(str, v)) for v in (NEEDED_VERSION, version))
        raise CliError(
            "KW667",
            "pulumi",
            got=f"version {got} at {found}",
            allowed=f"{needed} or newer",
            fix=f"upgrade it, or `make pulumi` and set KEEPWARM_PULUMI={cached}",
        )
    return found


_VERSIONS: dict[tuple[str, float], tuple[int, int, int]] = {}


def _version_of(cli: Path, environment: Mapping[str, str]) -> tuple[int, int, int]:
    key = (str(cli), cli.stat().st_mtime)
    if key not in _VERSIONS:
        try:
            answer = subprocess.run(
                [str(cli), "version"],
                capture_output=True,
                text=True,
                timeout=20,
                env={**environment, "PULUMI_SKIP_UPDATE_CHECK": "true"},
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CliError(
                "KW667",
                "pulumi",
                got=f"no answer of {cli}: {error}",
                allowed="a Pulumi CLI",
                fix="install it anew",
            ) from error
        match = re.search(r"v?(\d+)\.(\d+)\.(\d+)", answer.stdout)
        if match is None:
            raise CliError(
                "KW667",
                "pulumi",
                got=f"{answer.stdout.strip()!r} from {cli} version",
                allowed="a version number",
                fix="install the Pulumi CLI",
            )
        _VERSIONS[key] = (int(match[1]), int(match[2]), int(match[3]))
    return _VERSIONS[key]


@dataclass(frozen=True, slots=True)
class Folder:
    """The `.keepwarm` folder of a project: the cloud's handle, the engine's state, the working copy."""

    project: Path

    @property
    def root(self) -> Path:
        """The folder itself."""
        return self.project / ".keepwarm"

    @property
    def cloud_file(self) -> Path:
        """Endpoint and pid of the embedded cloud while it runs."""
        return self.root / "cloud.json"

    @property
    def backend(self) -> Path:
        """Pulumi's file backend."""
        return self.root / "backend"

    @property
    def work(self) -> Path:
        """Where the CLI runs."""
        return self.root / "project"

    @property
    def creations(self) -> Path:
        """What the provider was about to create when it or the CLI was killed."""
        return self.root / "creations.jsonl"

    @property
    def lock(self) -> Path:
        """Held while a command that changes something runs."""
        return self.root / "lock"

    def open(self) -> None:
        """Make or check the folder.

        Raises:
            CliError: KW668 it cannot be written, KW669 a newer version made it.
        """
        marker = self.root / "layout.json"
        try:
            for folder in (self.root, self.backend, self.work):
                folder.mkdir(parents=True, exist_ok=True)
            if not marker.exists():
                marker.write_text(json.dumps({"layout": LAYOUT}))
            layout = int(json.loads(marker.read_text())["layout"])
            probe = self.root / f".probe-{os.getpid()}"
            probe.write_text("")
            probe.unlink()
        except OSError as error:
            raise CliError(
                "KW668",
                f"state folder {self.root}",
                problem=f"cannot be written: {error.strerror or error}",
                fix="make it writable, or start in another copy of the project",
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise CliError(
                "KW668",
                f"state folder {self.root}",
                problem="layout.json cannot be read",
                fix="`keepwarm local reset`",
            ) from error
        if layout > LAYOUT:
            raise CliError(
                "KW669",
                f"state folder {self.root}",
                got=f"layout {layout}",
                allowed=f"up to {LAYOUT}",
                because="a newer keepwarm made it",
                fix="use that version, or `keepwarm local reset`",
            )


def project_name(project: Path) -> str:
    """Name of the Pulumi project.

    Raises:
        CliError: KW655, `Pulumi.yaml` is not valid.
    """
    return str(_project_file(project)["name"])


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


def _project_file(project: Path) -> dict[str, Any]:
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
    return _language(_project_file(project))


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

    document = _project_file(folder.project)
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


# The embedded cloud that stays.


def cloud_endpoint(folder: Folder) -> str | None:
    """Endpoint of the cloud that runs for this project, or None."""
    try:
        found = json.loads(folder.cloud_file.read_text())
        with urlopen(f"{found['endpoint']}/_keepwarm/health", timeout=5):  # noqa: S310 - written by our daemon
            return str(found["endpoint"])
    except (OSError, ValueError, KeyError):
        return None


def stack_region(folder: Folder, stack: str) -> str | None:
    """Region that a stack file names, or None."""
    import yaml

    path = folder.work / "stacks" / f"Pulumi.{stack}.yaml"
    document = (yaml.safe_load(path.read_text()) or {}) if path.exists() else {}
    region = (document.get("config") or {}).get("aws:region")
    return region if isinstance(region, str) else None


def start_cloud(folder: Folder, environment: Mapping[str, str], region: str | None = None) -> str:
    """Start the embedded cloud of a region (default: its own) as a daemon and wait until it answers.

    Raises:
        CliError: KW653 with the end of its log.
    """
    folder.cloud_file.unlink(missing_ok=True)
    log = folder.root / "cloud.log"
    place = ["--region", region] if region else []
    mirrors = [a for m in environment.get(IMAGE_MIRRORS, "").split() for a in ("--image-mirror", m)]
    with log.open("wb") as target:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "keepwarm_localcloud",
                "--daemon-file",
                str(folder.cloud_file),
                *place,
                *mirrors,
                *owner_arguments(environment),
            ],
            stdin=subprocess.DEVNULL,
            stdout=target,
            stderr=target,
            env=dict(environment),
            start_new_session=True,
        )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        endpoint = cloud_endpoint(folder) if folder.cloud_file.exists() else None
        if endpoint is not None:
            let_go(process)
            return endpoint
        if process.poll() is not None:
            break
        time.sleep(0.05)
    tail = " ".join(log.read_text(errors="replace").split())[-400:]
    raise CliError(
        "KW653",
        "embedded cloud",
        problem=f"did not start: {tail}",
        fix=f"see the whole log in {log}, then run the command again",
    )


def owner_arguments(environment: Mapping[str, str]) -> list[str]:
    """Arguments that tie a daemon to the process that `KEEPWARM_CLOUD_OWNER` names.

    Raises:
        CliError: KW653, it names none.
    """
    named = environment.get(OWNER)
    if not named:
        return []
    if not named.isdigit() or not alive(int(named)):
        raise CliError(
            "KW653",
            "embedded cloud",
            got=f"{OWNER}={named!r}",
            allowed="the id of a running process",
            fix="set it to one, or unset it",
        )
    return ["--owner", named]


def let_go(process: "subprocess.Popen[bytes]") -> None:
    """Make a daemon of a child: nobody waits for it here, and its life is no leak of this process."""
    process.returncode = 0


def stop_cloud(folder: Folder, *, timeout_s: float = 30.0) -> bool:
    """Stop the cloud of this project; False when none runs."""
    try:
        pid = int(json.loads(folder.cloud_file.read_text())["pid"])
        os.kill(pid, signal.SIGTERM)
    except (OSError, ValueError, KeyError):
        return False
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and alive(pid):
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        time.sleep(0.05)
    if alive(pid):
        os.kill(pid, signal.SIGKILL)
    folder.cloud_file.unlink(missing_ok=True)
    return True


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return not Path("/proc/self").exists()


# The provider beside the CLI.


class Provider:
    """The gRPC provider as a child process."""

    def __init__(self, endpoint: str, environment: Mapping[str, str], *, log: Path | None = None) -> None:
        self._log = log.open("ab") if log else None
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "keepwarm_localcloud.engine.provider",
                "--endpoint",
                endpoint,
                "--with-parent",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log or None,
            env=dict(environment),
            start_new_session=True,
        )
        self._port: int | None = None

    @property
    def port(self) -> int:
        """Port it serves on; waits until it is ready.

        Raises:
            CliError: KW670, it ended instead.
        """
        if self._port is None:
            assert self.process.stdout is not None
            line = self.process.stdout.readline().strip()
            if not line.isdigit():
                raise CliError(
                    "KW670",
                    "provider",
                    problem=f"ended with status {self.process.wait(10)} before it served",
                    fix=f"see {self._log.name if self._log else 'the lines above'}",
                )
            self._port = int(line)
        return self._port

    def close(self) -> bool:
        """End it; True when it was still there (nobody killed it)."""
        lived = self.process.poll() is None
        if lived:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)
        if self.process.stdout is not None:
            self.process.stdout.close()
        if self._log is not None:
            self._log.close()
        return lived


ABANDONED: Final[list[Callable[[], Any]]] = []
"""Programs whose own code runs on after their engine has ended; nothing in this process can interrupt them."""


# The program, served to the CLI as the Automation API serves an inline program.


@contextlib.contextmanager
def serve_program(program: Callable[[], Any]) -> Iterator[str]:
    """Serve `program` as a language host; gives the address for `--client`."""
    import grpc
    from pulumi.runtime._grpc_settings import _GRPC_CHANNEL_OPTIONS
    from pulumi.runtime.proto import language_pb2_grpc

    from keepwarm_cli.program_host import ProgramHost

    host = ProgramHost(program)
    server = grpc.server(ThreadPoolExecutor(4, "keepwarm-program"), options=_GRPC_CHANNEL_OPTIONS)
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(host, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        stopped = server.stop(0)
        if not host.stop():
            ABANDONED.append(program)
        stopped.wait()


def program_of(project: Path) -> Callable[[], None]:
    """The project's program as a function: its `main` run as a script, as the language host does.

    Raises:
        CliError: KW654, there is no such file.
    """
    main = project / str(_project_file(project).get("main") or ".")
    script = main / "__main__.py" if main.is_dir() else main
    if not script.is_file():
        raise CliError(
            "KW654",
            f"project {project}",
            got=f"no program at {script}",
            allowed="a folder with __main__.py, or a file",
            fix="`main` in Pulumi.yaml",
        )

    def program() -> None:
        for folder in (str(project), str(script.parent)):
            if folder not in sys.path:
                sys.path.insert(0, folder)
        runpy.run_path(str(script), run_name="__main__")

    return program


# What a killed run leaves.


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds the lock of a stack."""

    pid: int
    user: str
    host: str
    since: str
    file: Path

    def gone(self) -> bool:
        """Whether the process was on this machine and is no more."""
        return self.host == socket.gethostname() and not alive(self.pid)


def holders(folder: Folder, project: str, stack: str) -> list[Holder]:
    """Locks of a stack in the file backend."""
    found = []
    for path in sorted((folder.backend / ".pulumi" / "locks").glob(f"organization/{project}/{stack}/*.json")):
        with contextlib.suppress(OSError, ValueError, KeyError):
            content = json.loads(path.read_text())
            found.append(
                Holder(content["pid"], content["username"], content["hostname"], content["timestamp"], path)
            )
    return found


def release_dead_locks(folder: Folder, project: str, stack: str, say: Callable[[str], None]) -> None:
    """Clear locks whose process is gone.

    Raises:
        CliError: KW671, a living process holds the lock.
    """
    for holder in holders(folder, project, stack):
        if not holder.gone():
            raise CliError(
                "KW671",
                f"stack '{stack}'",
                got=f"a lock held by {holder.user}@{holder.host}, process {holder.pid}, since {holder.since}",
                allowed="one change at a time",
                fix="wait for it, or end that process and run `keepwarm pulumi -- cancel --yes`",
            )
        holder.file.unlink(missing_ok=True)
        say(f"the lock of process {holder.pid}, which is gone, was cleared")


def mend_backend(folder: Folder, project: str, stack: str, say: Callable[[str], None]) -> None:
    """Remove what a kill in the middle of a write left beside the state: half-written side files, which reads refuse.

    The CLI's file backend replaces a state by a rename, but writes its `.attrs` side file (content type, checksum) in
    place; cut short, it makes the CLI say "failed to load checkpoint: EOF" for ever. The side file is optional. Call it
    only while no process holds the stack's lock.
    """
    root = folder.backend / ".pulumi"
    found = list((root / "stacks" / project).glob(f"{stack}.json*"))
    for kind in ("history", "backups"):
        found += (root / kind / project / stack).glob("*")
    for path in found:
        if path.suffix == ".attrs" and not _is_json(path):
            path.unlink(missing_ok=True)
            say(f"{path.name}: a killed run left it half-written; removed, the state itself is whole")
        elif path.suffix == ".tmp":
            path.unlink(missing_ok=True)


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text())
    except (OSError, ValueError):
        return False
    return True


def checkpoint(folder: Folder, project: str, stack: str) -> dict[str, Any]:
    """The stack's newest deployment in the file backend, or an empty one.

    Raises:
        CliError: KW673, it cannot be read; KW669, a newer CLI made it.
    """
    path = folder.backend / ".pulumi" / "stacks" / project / f"{stack}.json"
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text())
        version = int(found.get("version", 0))
        latest = dict((found.get("checkpoint") or {}).get("latest") or {})
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise CliError(
            "KW673",
            f"state {path}",
            problem=f"cannot be read: {error}",
            allowed="what the Pulumi CLI wrote",
            fix="restore it from .pulumi/backups, or `keepwarm local reset`",
        ) from error
    if version > STATE_VERSION:
        raise CliError(
            "KW669",
            f"state {path}",
            got=f"version {version}",
            allowed=f"up to {STATE_VERSION}",
            because="a newer Pulumi CLI made it",
            fix="use that version, or `keepwarm local reset`",
        )
    return latest


def pending(deployment: Mapping[str, Any], kind: str = "creating") -> list[dict[str, Any]]:
    """Operations that a killed run left unfinished."""
    operations = deployment.get("pending_operations") or []
    return [dict(o["resource"]) for o in operations if o.get("type") == kind]


def plain(value: Any) -> Any:
    """Values of a state file: signatures of assets and secrets are no use here and are left out."""
    if isinstance(value, dict):
        if "4dabf18193072939515e22adb298388d" in value:
            return None
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [plain(v) for v in value]
    return value


def run_in_new_context(function: Callable[[], int]) -> int:
    """Run with a context of its own: Pulumi keeps its settings in context variables."""
    return contextvars.copy_context().run(function)


class Interrupts:
    """Leaves Ctrl-C to the CLI, which has the terminal and ends gracefully, while it runs.

    SIGTERM, which supervisors and pipelines send to this process alone, is handed on to the CLI as a Ctrl-C.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._cli: subprocess.Popen[bytes] | None = None
        self._ended = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.SIG_IGN)
            self._before[signal.SIGTERM] = signal.signal(signal.SIGTERM, self._end)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def hand_to(self, cli: "subprocess.Popen[bytes]") -> None:
        """Name the process that is to end; a signal that came before is not lost."""
        self._cli = cli
        if self._ended:
            cli.send_signal(signal.SIGINT)

    def _end(self, *_: object) -> None:
        self._ended = True
        if self._cli is not None:
            self._cli.send_signal(signal.SIGINT)
