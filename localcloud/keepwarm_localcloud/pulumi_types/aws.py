"""The AWS clients that resource operations share, and waiting for what AWS does eventually."""

import random
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from keepwarm_localcloud.pulumi_types import package_upload
from keepwarm_localcloud.pulumi_types.errors import Cancelled, ResourceError

T = TypeVar("T")

PARTITION = "aws"

# Spreads out waiting threads; it need not be hard to guess.
_JITTER = random.Random()  # noqa: S311
_SESSION_LOCK = threading.Lock()
_SESSION: Any = None


def _session() -> Any:
    """One botocore session per process: its loader caches the service models, which cost the most."""
    global _SESSION
    with _SESSION_LOCK:
        if _SESSION is None:
            import botocore.session

            _SESSION = botocore.session.Session()
            _SESSION.set_credentials("keepwarm-operator", "keepwarm-operator")
        return _SESSION


def preload(*services: str) -> None:
    """Read the models of `services` into the shared session, so that the first client of each is cheap."""
    loader = _session().get_component("data_loader")
    for service in services:
        loader.load_service_model(service, "service-2")
        loader.load_service_model(service, "endpoint-rule-set-1")
    loader.load_data("partitions")
    loader.load_data("endpoints")
    loader.load_data("sdk-default-configuration")


READ_TIMEOUT_S = 70.0
"""Longest silence before a request is given up and sent again; above the longest answer, a function's first start."""


class Aws:
    """Clients of one endpoint and region. Thread-safe; `endpoint` may be found out at the first request."""

    def __init__(
        self,
        endpoint: str | Callable[[], str],
        *,
        region: str = "us-east-1",
        account_id: str | None = None,
        cancelled: threading.Event | None = None,
        default_tags: dict[str, str] | None = None,
        read_timeout_s: float = READ_TIMEOUT_S,
    ) -> None:
        self._endpoint = endpoint
        self._read_timeout_s = read_timeout_s
        self.region = region
        self._account_id = account_id
        self.cancelled = cancelled or threading.Event()
        self.default_tags = dict(default_tags or {})
        self.packages: dict[str, str] = {}
        """Hex SHA-256 -> base64 SHA-256 of the packages that the endpoint is known to have."""
        self._clients: dict[tuple[str, str], Any] = {}
        self._locks: dict[tuple[str, str], threading.Lock] = {}
        self._lock = threading.Lock()

    @property
    def endpoint(self) -> str:
        """URL of the AWS endpoint."""
        if callable(self._endpoint):
            with self._lock:
                if callable(self._endpoint):
                    self._endpoint = self._endpoint()
        return self._endpoint

    @property
    def account_id(self) -> str:
        """Twelve digits; asked of the cloud once when not given."""
        if self._account_id is None:
            self._account_id = str(self.client("sts").get_caller_identity()["Account"])
        return self._account_id

    def client(self, service: str, region: str | None = None) -> Any:
        """Return the shared client of a service."""
        key = (service, region or self.region)
        client = self._clients.get(key)
        if client is not None:
            return client
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._clients:
                self._clients[key] = self._make(*key)
            return self._clients[key]

    def _make(self, service: str, region: str) -> Any:
        from botocore.config import Config

        config = Config(
            retries={"mode": "standard", "total_max_attempts": 6},
            connect_timeout=5,
            read_timeout=self._read_timeout_s,
            max_pool_connections=32,
            s3={"addressing_style": "path"},
        )
        client = _session().create_client(
            service, region_name=region, endpoint_url=self.endpoint, config=config
        )
        if service == "lambda":
            package_upload.install(client)
        return client

    def arn(self, service: str, resource: str, *, region: str | None = None) -> str:
        """Build an ARN of this account; pass `region=''` for a global service."""
        where = self.region if region is None else region
        return f"arn:{PARTITION}:{service}:{where}:{self.account_id}:{resource}"

    def close(self) -> None:
        """Close every connection."""
        with self._lock:
            clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            client.close()


class Deadline:
    """How long an operation may still take, and whether it was cancelled."""

    def __init__(self, seconds: float, cancelled: threading.Event) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds
        self._cancelled = cancelled

    def left(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self._end - time.monotonic())

    def wait(self, what: str, probe: Callable[[], T | None], *, first_s: float = 0.02) -> T:
        """Ask `probe` until it answers, with jittered pauses of a tenth of the wait so far, at most one second.

        So nobody waits an eighth longer than needed, and a long wait costs few requests.

        Raises:
            ResourceError: KW639 at the deadline, naming the time allowed.
            Cancelled: the operation was cancelled.
        """
        started = time.monotonic()
        while True:
            answer = probe()
            if answer is not None:
                return answer
            if self._cancelled.is_set():
                raise Cancelled(what)
            left = self.left()
            if left <= 0:
                raise ResourceError(
                    "KW639",
                    f"{what}: not done after {self.seconds:g} s; fix: raise the resource's "
                    "customTimeouts or look at its events",
                )
            pause = min(max(first_s, (time.monotonic() - started) / 10), 1.0)
            if self._cancelled.wait(min(pause * _JITTER.uniform(0.8, 1.2), left)):
                raise Cancelled(what)
