"""The embedded cloud: services around one clock, one journal and one HTTP endpoint."""

import contextlib
import json
import os
import secrets
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeVar, cast

from keepwarm_localcloud.clockwork.clock import Clock, RealClock
from keepwarm_localcloud.errors import LocalCloudError
from keepwarm_localcloud.front.front import Front
from keepwarm_localcloud.front.http import HttpServer
from keepwarm_localcloud.iam.actions import Names
from keepwarm_localcloud.iam.authorization import Iam
from keepwarm_localcloud.iam.credentials import CredentialStore
from keepwarm_localcloud.iam.managed import ensure_managed_policies
from keepwarm_localcloud.journal import Journal
from keepwarm_localcloud.moto import gaps
from keepwarm_localcloud.moto.base import BACKEND_OF, Moto
from keepwarm_localcloud.moto.inventory import moto_inventory
from keepwarm_localcloud.ports import Peers
from keepwarm_localcloud.processes import Processes, start_time
from keepwarm_localcloud.services.context import Context, Service
from keepwarm_localcloud.services.dynamodb.time_to_live import TimeToLive
from keepwarm_localcloud.services.logs.log_writer import Logs
from keepwarm_localcloud.services.registry import asks_of_service, default_services

S = TypeVar("S")

_PREFIX: Final = "keepwarm-cloud-"
_PID_FILE: Final = "cloud.json"
_YOUNG_S: Final = 3_600
"""A directory without a pid file that is younger than this may belong to a cloud that is just starting."""
_accounts_lock = threading.Lock()
_accounts_in_use: set[str] = set()


@dataclass(frozen=True, slots=True)
class CloudSettings:
    """How one embedded cloud runs."""

    port: int = 0
    """Port of the AWS endpoint on 127.0.0.1; 0 lets the system choose."""
    directory: Path | None = None
    """Where objects, code and execution environments live; default: a temporary folder, removed at close."""
    region: str = "us-east-1"
    account_id: str = "123456789012"
    account_concurrency: int = 1000
    """Concurrent executions of the account. https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html"""
    clock: Clock = field(default_factory=RealClock)
    host: str = "127.0.0.1"
    """Loopback address to listen on; any other is refused."""
    image_mirrors: dict[str, str] = field(default_factory=dict)
    """Image repository -> local image directory that stands for it; `PUT /_keepwarm/image-mirrors` adds more."""
    code_cache: Path | None = None
    """Folder that keeps unzipped function packages between clouds, by digest; default: nothing is kept."""
    preload: bool = False
    """Import moto in the background at start, so that the first request that needs it does not wait."""


class Cloud:
    """Start it, point boto3 at `endpoint`, close it; nothing stays behind."""

    def __init__(
        self,
        settings: CloudSettings | None = None,
        services: list[Service] | None = None,
        *,
        on_preloaded: Callable[[], None] | None = None,
    ) -> None:
        """Set up; nothing is started.

        Args:
            settings: how it runs.
            services: instead of `default_services()`.
            on_preloaded: called once when everything that `preload` asks for is imported, or failed to be.
        """
        self.settings = settings or CloudSettings()
        self.clock = self.settings.clock
        self.region = self.settings.region
        self.account_id = self.settings.account_id
        self.journal = Journal(self.clock)
        self.credentials = CredentialStore()
        self.image_mirrors = dict(self.settings.image_mirrors)
        self.moto = Moto(self.account_id, self.region, lambda: self.port)
        self._services: dict[str, Service] = {}
        self._peers = Peers(self._services)
        self._names = Names(self.account_id, self.region, self.moto, self._peers)
        self.iam = Iam(
            self._names, self.credentials, self.clock, self.journal, asks_of_service=asks_of_service
        )
        self.logs = Logs(self.clock, self.journal, self.moto)
        self.moto.before("dynamodb", TimeToLive(self.clock, self.journal, self.moto))
        self.moto.before("dynamodb", gaps.table_settings(self.moto))
        self.moto.before("logs", gaps.log_group_keys(self.moto))
        self.moto.before("iam", lambda request: ensure_managed_policies(self.moto, request))
        self._given_services = services
        self._on_preloaded = on_preloaded
        self._started: list[Service] = []
        self._server: HttpServer | None = None
        self._processes: Processes | None = None
        self._directory: Path | None = None
        self._clients: dict[str, Any] = {}
        self._clients_lock = threading.Lock()
        self._state = "new"
        self._leftovers: dict[str, Any] = {}
        self._id = secrets.token_hex(8)

    def start(self) -> "Cloud":
        """Listen and serve.

        Raises:
            LocalCloudError: KW600..KW603; nothing is left behind then.
        """
        if self._state != "new":
            raise self._unusable(f"start() of a cloud that is {self._state}", "make a new Cloud")
        self._claim_account()
        self._state = "running"
        try:
            self._server = HttpServer(
                lambda http: front(http),
                host=self.settings.host,
                port=self.settings.port,
                on_crash=self._crashed,
            )
            self._directory = self._make_directory()
            own = self.settings.directory is None
            self._processes = Processes(self._id, self._directory if own else None)
            services = self._given_services if self._given_services is not None else default_services()
            self._services.update({service.name: service for service in services})
            context = self._context(self._directory, self._processes)
            front = Front(context, self._services, self.inventory)
            for service in services:
                self._started.append(service)
                service.start(context)
            self._server.start()
            if self.settings.preload:
                self.moto.preload(on_done=self._on_preloaded)
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> dict[str, Any]:
        """Stop everything and remove every file; idempotent.

        Returns:
            What was left behind, by kind (`threads`, `processes`, `files`, `errors`); empty if nothing was.
        """
        if self._state in ("new", "closed"):
            self._state = "closed"
            return self._leftovers
        self._state = "closing"
        errors: list[str] = []
        threads = 0
        for service in reversed(self._started):
            try:
                service.stop()
            except Exception as error:
                errors.append(f"{service.name}: {type(error).__name__}: {error}")
        with self._clients_lock:
            for client in self._clients.values():
                client.close()
        if self._server is not None:
            threads = self._server.stop()
        strays: list[int] = []
        if self._processes is not None:
            self._processes.close()
            strays = self._processes.wait_for_strays()
        self.moto.close()
        files = self._remove_directory()
        with _accounts_lock:
            _accounts_in_use.discard(self.account_id)
        self._state = "closed"
        found = {"errors": errors, "threads": threads, "processes": strays, "files": files}
        self._leftovers = {kind: value for kind, value in found.items() if value}
        return self._leftovers

    def __enter__(self) -> "Cloud":
        """Start."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close; complain when something was left and nothing else went wrong."""
        left = self.close()
        if left and value is None:
            raise LocalCloudError(
                "KW606",
                "localcloud close",
                got=json.dumps(left),
                allowed="nothing left behind",
                because="a service did not stop what it started",
                fix="report it with this line",
            )

    @property
    def port(self) -> int:
        """Port the cloud listens on."""
        if self._server is None:
            raise self._unusable("port", "start() the cloud first")
        return self._server.port

    @property
    def endpoint(self) -> str:
        """URL for `AWS_ENDPOINT_URL` and boto3's `endpoint_url`."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def directory(self) -> Path:
        """Folder of this cloud; each service works in a subfolder of its own name."""
        if self._directory is None:
            raise self._unusable("directory", "start() the cloud first")
        return self._directory

    @property
    def processes(self) -> Processes:
        """Starter and killer of child processes."""
        if self._processes is None:
            raise self._unusable("processes", "start() the cloud first")
        return self._processes

    def service(self, name: str, kind: type[S]) -> S:
        """Look up a service by signing name, typed.

        Raises:
            LocalCloudError: KW604 this cloud runs no such service.
        """
        return cast("S", self._peers.of(name))

    def boto(self, service: str) -> Any:
        """A boto3 client of this endpoint with the operator's credentials; one per service, thread-safe."""
        with self._clients_lock:
            if service not in self._clients:
                import boto3
                from botocore.config import Config

                self._clients[service] = boto3.client(
                    service,
                    endpoint_url=self.endpoint,
                    region_name=self.region,
                    aws_access_key_id="test",
                    aws_secret_access_key="test",  # noqa: S106 - the operator key is no secret
                    config=Config(
                        retries={"total_max_attempts": 1},
                        max_pool_connections=50,
                        read_timeout=900,
                        # Some operations put a prefix before the host, which loopback has no name for.
                        inject_host_prefix=False,
                    ),
                )
            return self._clients[service]

    def inventory(self) -> dict[str, dict[str, list[str]]]:
        """Everything that exists: service -> kind -> sorted names; an empty account gives an empty dict."""
        own = {BACKEND_OF.get(name, name) for name in self._services if name != "sts"}
        found = moto_inventory(self.moto, leave_to=own)
        for service in self._services.values():
            kinds = {kind: sorted(names) for kind, names in service.inventory().items() if names}
            if kinds:
                found[service.name] = kinds
        return dict(sorted(found.items()))

    def _context(self, directory: Path, processes: Processes) -> Context:
        return Context(
            account_id=self.account_id,
            region=self.region,
            endpoint=self.endpoint,
            directory=directory,
            clock=self.clock,
            journal=self.journal,
            logs=self.logs,
            iam=self.iam,
            credentials=self.credentials,
            names=self._names,
            moto=self.moto,
            processes=processes,
            peers=self._peers,
            boto=self.boto,
            account_concurrency=self.settings.account_concurrency,
            code_cache=self.settings.code_cache,
            image_mirrors=self.image_mirrors,
        )

    def _unusable(self, got: str, fix: str) -> LocalCloudError:
        return LocalCloudError(
            "KW605",
            "localcloud cloud",
            got=got,
            allowed="a running cloud",
            because="the cloud was not started or is closed",
            fix=fix,
        )

    def _crashed(self, error: BaseException) -> None:
        self.journal.write("internal_error", service="http", error=f"{type(error).__name__}: {error}")
        print(f"keepwarm_localcloud: {type(error).__name__}: {error}", file=sys.stderr)

    def _claim_account(self) -> None:
        # moto keeps its state per process and account.
        with _accounts_lock:
            if self.account_id in _accounts_in_use:
                raise LocalCloudError(
                    "KW602",
                    "localcloud account",
                    got=self.account_id,
                    allowed="one cloud per account and process",
                    because="moto holds its state per account in the process",
                    fix="close the first cloud or give the second another account_id",
                )
            _accounts_in_use.add(self.account_id)

    def _make_directory(self) -> Path:
        clean_stale()
        if self.settings.directory is None:
            directory = Path(tempfile.mkdtemp(prefix=_PREFIX))
        else:
            directory = self.settings.directory.absolute()
            try:
                directory.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise self._bad_directory(directory, str(error)) from error
            owner = _owner_of(directory)
            if owner is not None:
                raise self._bad_directory(directory, f"it is in use by the cloud with pid {owner}")
            _remove_content(directory)
        facts = {"pid": os.getpid(), "start": start_time(os.getpid()), "id": self._id, "port": self.port}
        (directory / _PID_FILE).write_text(json.dumps(facts))
        return directory

    def _bad_directory(self, directory: Path, reason: str) -> LocalCloudError:
        return LocalCloudError(
            "KW603",
            "localcloud directory",
            got=f"{directory}: {reason}",
            allowed="a folder of its own, writable",
            because="the cloud keeps and removes files there",
            fix="choose another --dir or leave it out",
        )

    def _remove_directory(self) -> list[str]:
        directory = self._directory
        if directory is None:
            return []
        if self.settings.directory is None:
            shutil.rmtree(directory, ignore_errors=True)
            return [str(directory)] if directory.exists() else []
        _remove_content(directory)
        return sorted(str(p) for p in directory.iterdir() if p.name in _OWN_FOLDERS)


_OWN_FOLDERS: Final = ("s3", "sqs", "lambda", "ecs", "states", _PID_FILE)


def _remove_content(directory: Path) -> None:
    """Remove what a cloud makes in a directory it was given, and nothing else."""
    for name in _OWN_FOLDERS:
        path = directory / name
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _owner_of(directory: Path) -> int | None:
    """Pid of the live cloud a directory belongs to."""
    try:
        facts = json.loads((directory / _PID_FILE).read_text())
        pid, start = int(facts["pid"]), str(facts["start"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return pid if start_time(pid) == start else None


def clean_stale(root: Path | None = None) -> list[Path]:
    """Remove temporary folders of clouds that died without cleaning up; gives those removed."""
    removed = []
    for path in (root or Path(tempfile.gettempdir())).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            if path.stat().st_uid != os.getuid() or _owner_of(path) is not None:
                continue
            known = (path / _PID_FILE).exists()
            if known or time.time() - path.stat().st_mtime > _YOUNG_S:
                shutil.rmtree(path, ignore_errors=True)
                removed.append(path)
    return removed
