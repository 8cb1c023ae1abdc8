"""The embedded cloud: services around one clock, one journal and one HTTP endpoint."""

import contextlib
import importlib
import importlib.util
import json
import os
import secrets
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeVar, cast

from keepwarm_localcloud.clockwork.clock import Clock, RealClock
from keepwarm_localcloud.context import Service
from keepwarm_localcloud.errors import LocalCloudError
from keepwarm_localcloud.front.front import Front
from keepwarm_localcloud.front.http import HttpServer
from keepwarm_localcloud.iam.authorization import Iam
from keepwarm_localcloud.iam.credentials import CredentialStore
from keepwarm_localcloud.iam.managed import ensure_managed_policies
from keepwarm_localcloud.journal import Journal
from keepwarm_localcloud.moto import gaps
from keepwarm_localcloud.moto.base import BACKEND_OF, Moto
from keepwarm_localcloud.moto.inventory import moto_inventory
from keepwarm_localcloud.processes import Processes, start_time
from keepwarm_localcloud.request import AwsError, Caller
from keepwarm_localcloud.services.dynamodb.time_to_live import TimeToLive
from keepwarm_localcloud.services.logs.log_writer import Logs

S = TypeVar("S")

_SERVICES: Final = (
    ("keepwarm_localcloud.services.s3", "S3Service"),
    ("keepwarm_localcloud.services.sqs", "SqsService"),
    ("keepwarm_localcloud.services.sts.service", "StsService"),
    ("keepwarm_localcloud.services.lambda_", "LambdaService"),
    ("keepwarm_localcloud.services.ecs", "EcsService"),
    ("keepwarm_localcloud.services.autoscaling", "AutoscalingService"),
    ("keepwarm_localcloud.services.scheduler", "SchedulerService"),
    ("keepwarm_localcloud.services.stepfunctions", "StepFunctionsService"),
    ("keepwarm_localcloud.services.servicediscovery", "ServiceDiscoveryService"),
)
_PREFIX: Final = "keepwarm-cloud-"
_PID_FILE: Final = "cloud.json"
_YOUNG_S: Final = 3_600
"""A directory without a pid file that is younger than this may belong to a cloud that is just starting."""
_accounts_lock = threading.Lock()
_accounts_in_use: set[str] = set()


def default_services() -> list[Service]:
    """One instance of every service the embedded cloud has, in the order they start."""
    found: list[Service] = []
    for module, name in _SERVICES:
        if importlib.util.find_spec(module) is None:
            continue
        service = getattr(importlib.import_module(module), name, None)
        if service is not None:
            found.append(service())
    return found


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
        self.moto = Moto(self)
        self.iam = Iam(self)
        self.moto.before("dynamodb", TimeToLive(self))
        self.moto.before("dynamodb", gaps.table_settings(self))
        self.moto.before("logs", gaps.log_group_keys(self))
        self.moto.before("iam", lambda request: ensure_managed_policies(self, request))
        self.logs = Logs(self)
        self._given_services = services
        self._on_preloaded = on_preloaded
        self._services: dict[str, Service] = {}
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
                Front(self), host=self.settings.host, port=self.settings.port, on_crash=self._crashed
            )
            self._directory = self._make_directory()
            own = self.settings.directory is None
            self._processes = Processes(self._id, self._directory if own else None)
            services = self._given_services if self._given_services is not None else default_services()
            self._services = {service.name: service for service in services}
            for service in services:
                self._started.append(service)
                service.start(self)
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
            What was still there afterwards, by kind (`threads`, `processes`, `files`, `errors`); empty is well.
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
        """Look up another service by signing name, typed.

        Raises:
            LocalCloudError: KW604 this cloud runs no such service.
        """
        service = self._services.get(name)
        if service is None:
            raise LocalCloudError(
                "KW604",
                "localcloud service",
                got=name,
                allowed=", ".join(self.service_names()),
                because="this cloud was started without it",
                fix="leave `services` out to get all of them",
            )
        return cast("S", service)

    def find_service(self, name: str) -> Service | None:
        """Like `service`, for a name that moto may serve."""
        return self._services.get(name)

    def service_names(self) -> list[str]:
        """Signing names of the services this cloud answers itself; moto answers the others."""
        return sorted(self._services)

    def moto_backend(self, service: str) -> Any:
        """moto's in-memory backend of a service; hold `cloud.moto.lock(service)` for compound changes."""
        return self.moto.backend(service)

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

    def authorize(
        self, caller: Caller, action: str, resource: str, context: Mapping[str, str | list[str]] | None = None
    ) -> None:
        """Refuse what a caller may not do; the operator may do everything.

        Args:
            caller: Who acts.
            action: Such as `sqs:ReceiveMessage`.
            resource: ARN it acts on.
            context: Condition keys of the request.

        Raises:
            AwsError: AccessDenied.
        """
        if caller.role_arn is not None:
            self.iam.authorize(caller.role_arn, action, resource, context)

    def deliver(self, target_arn: str, payload: dict[str, Any], source_arn: str) -> None:
        """Hand an event from one service to another as AWS does: queue, function or topic.

        Args:
            target_arn: Where it goes.
            payload: The event; JSON.
            source_arn: Resource that caused it; its service is the principal that must be allowed there.

        Raises:
            AwsError: the target does not exist or does not let the source in.
        """
        service = target_arn.split(":")[2] if target_arn.count(":") >= 5 else ""
        body = json.dumps(payload)
        principal = f"{source_arn.split(':')[2]}.amazonaws.com"
        if service == "sqs":
            from keepwarm_localcloud.services.sqs import SqsService

            context = {"aws:SourceArn": source_arn, "aws:SourceAccount": self.account_id}
            self.iam.authorize(principal, "sqs:SendMessage", target_arn, context)
            self.service("sqs", SqsService).send(target_arn, body)
        elif service == "lambda":
            functions: Any = self.service("lambda", object)
            if principal == "cloudwatch.amazonaws.com":
                # https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-actions-Lambda.html
                principal = "lambda.alarms.cloudwatch.amazonaws.com"
            functions.deliver(
                target_arn,
                body.encode(),
                principal=principal,
                source_arn=source_arn,
                source_account=self.account_id,
            )
        elif service == "sns":
            self.boto("sns").publish(TopicArn=target_arn, Message=body)
        else:
            raise AwsError(
                "InvalidArgument", f"The destination {target_arn} is not a queue, function or topic"
            )

    def inventory(self) -> dict[str, dict[str, list[str]]]:
        """Everything that exists: service -> kind -> sorted names; an empty account gives an empty dict."""
        own = {BACKEND_OF.get(name, name) for name in self._services if name != "sts"}
        found = moto_inventory(self, leave_to=own)
        for service in self._services.values():
            kinds = {kind: sorted(names) for kind, names in service.inventory().items() if names}
            if kinds:
                found[service.name] = kinds
        return dict(sorted(found.items()))

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
