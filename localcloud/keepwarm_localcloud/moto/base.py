"""moto under the embedded cloud: in process, imported late, one lock per backend, on the cloud's clock."""

import contextlib
import importlib
import io
import os
import sys
import threading
import urllib.parse
import warnings
from collections.abc import Callable, Iterable
from typing import Any, Final

from keepwarm_localcloud.request import Request, Response

BACKEND_OF: Final = {
    "monitoring": "cloudwatch",
    "states": "stepfunctions",
    "eventbridge": "events",
    "elasticloadbalancing": "elbv2",
    "application-autoscaling": "applicationautoscaling",
    "ecr": "ecr",
}
"""Signing name -> moto's backend name, where they differ."""
_BY_REQUEST: Final = frozenset(
    {"dynamodb", "sagemaker", "s3", "ses", "bedrock", "bedrock-agentcore", "mediastore", "timestream", ""}
)
"""Services whose moto application depends on more than the signing name."""
_UNLOCKED: Final = frozenset({"states"})
"""moto's Step Functions interpreter calls other services, itself included, while a request is open."""
_NO_IMAGES: Final = "MOTO_EC2_LOAD_DEFAULT_AMIS"
PRELOAD: Final = (
    "iam",
    "logs",
    "dynamodb",
    "kms",
    "cloudwatch",
    "ssm",
    "sns",
    "ec2",
    "autoscaling",
    "applicationautoscaling",
    "scheduler",
)
"""What a stack of functions, queues and tasks asks of moto, about in that order."""


class Moto:
    """The WSGI applications of moto, called without a socket."""

    def __init__(self, account_id: str, region: str, port: Callable[[], int]) -> None:
        """Set up; nothing is imported.

        Args:
            account_id: Whose state it keeps.
            region: Of requests and backends that name none.
            port: Port of the cloud's endpoint, asked with every request.
        """
        self.account_id = account_id
        self.region = region
        self._port = port
        self._dispatcher: Any = None
        self._import_lock = threading.RLock()
        self._ready: set[str] = set()
        self._applications: dict[str, Any] = {}
        self._locks: dict[str, threading.RLock] = {}
        self._locks_lock = threading.Lock()
        self._before: dict[str, list[Callable[[Request], Response | None]]] = {"ec2": [self._load_images]}
        self._images_loaded = False
        self._preloading: threading.Thread | None = None
        self._stopping = False

    def preload(self, names: Iterable[str] = PRELOAD, *, on_done: Callable[[], None] | None = None) -> None:
        """Import moto in the background, so that the first requests need not wait for it."""

        def work() -> None:
            try:
                self._load()
                for name in names:
                    if self._stopping:
                        return
                    with self.lock(name):
                        self.backend(name)
            finally:
                if on_done is not None:
                    on_done()

        self._preloading = threading.Thread(target=work, name="keepwarm-moto-import", daemon=True)
        self._preloading.start()

    def lock(self, backend: str) -> threading.RLock:
        """The lock that every request to one backend is answered under; hold it for compound in-process work."""
        with self._locks_lock:
            return self._locks.setdefault(BACKEND_OF.get(backend, backend), threading.RLock())

    def backend(self, name: str, *, region: str | None = None) -> Any:
        """moto's in-memory backend of a service for this cloud's account.

        Args:
            name: Signing name or moto's own name (`logs`, `iam`, `dynamodb`, `stepfunctions`, ...).
            region: Defaults to the cloud's; global services (IAM, STS) have one backend.
        """
        name = BACKEND_OF.get(name, name)
        self._ensure(name)
        from moto.backends import get_backend

        account = get_backend(name)[self.account_id]
        return account["aws" if name in ("iam", "sts", "route53") else region or self.region]

    def existing_backend(self, name: str) -> Any | None:
        """Like `backend`, but None when nothing ever used that service: importing it would prove nothing."""
        name = BACKEND_OF.get(name, name)
        if f"moto.{name}.models" not in sys.modules:
            return None
        from moto.core.base_backend import BackendDict

        for candidate in list(BackendDict._instances):
            if candidate.service_name == name and self.account_id in candidate:
                return self.backend(name)
        return None

    def before(self, service: str, hook: Callable[[Request], Response | None]) -> None:
        """Run `hook` under the backend's lock before every request to that service; what it gives is the answer."""
        self._before.setdefault(service, []).append(hook)

    def handle(self, request: Request) -> Response:
        """Let moto answer."""
        self._ensure(BACKEND_OF.get(request.service, request.service))
        environ = self._environ(request)
        application = self._application(request.service, environ)
        if request.service in _UNLOCKED:
            return self._call(application, environ, request)
        with self.lock(request.service):
            return self._call(application, environ, request)

    def close(self) -> None:
        """Forget everything this account had in moto. Idempotent."""
        self._stopping = True
        if self._preloading is not None:
            self._preloading.join()
        if self._dispatcher is None:
            return
        from moto.core.base_backend import BackendDict

        for instance in list(BackendDict._instances):
            account = instance.pop(self.account_id, None)
            if account is not None:
                account.reset()
        self._dispatcher = None

    def _load_images(self, request: Request) -> None:
        """Make moto's 1,300 machine images at the first request for one instead of at the start of its EC2."""
        if self._images_loaded or b"DescribeImages" not in request.body:
            return
        self._images_loaded = True
        held = os.environ.pop(_NO_IMAGES, None)
        try:
            self.backend("ec2")._load_amis()
        finally:
            if held is not None:
                os.environ[_NO_IMAGES] = held

    def _ensure(self, name: str) -> None:
        """Import a backend of moto before it is used.

        One import at a time: moto's modules import each other in circles, and two threads that enter a circle from
        different sides see half-made modules.
        """
        if name in self._ready:
            return
        with self._import_lock:
            self._load()
            os.environ.setdefault(_NO_IMAGES, "false")
            for part in ("models", "responses"):
                with contextlib.suppress(ModuleNotFoundError):
                    importlib.import_module(f"moto.{name}.{part}")
            self._ready.add(name)

    def _load(self) -> None:
        if self._dispatcher is not None:
            return
        with self._import_lock:
            if self._dispatcher is None:
                with warnings.catch_warnings():
                    # Its dependencies warn of options they lack (SOCKS); nobody here can act on that.
                    warnings.simplefilter("ignore")
                    from moto.moto_server import werkzeug_app

                self._dispatcher = werkzeug_app.DomainDispatcherApplication(werkzeug_app.create_backend_app)

    def _application(self, service: str, environ: dict[str, Any]) -> Any:
        if service in _BY_REQUEST:
            return self._dispatcher.get_application(environ)
        application = self._applications.get(service)
        if application is None:
            # Finding it costs a few hundred regular expressions; the answer depends on the signing name alone.
            application = self._applications[service] = self._dispatcher.get_application(environ)
        return application

    def _call(self, application: Any, environ: dict[str, Any], request: Request) -> Response:
        for hook in self._before.get(request.service, ()):
            own = hook(request)
            if own is not None:
                return own
        answer: dict[str, Any] = {}

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
            answer["status"] = int(status.split(" ", 1)[0])
            answer["headers"] = headers

        pieces = application(environ, start_response)
        try:
            body = b"".join(pieces)
        finally:
            if hasattr(pieces, "close"):
                pieces.close()
        headers: dict[str, str] = {}
        for name, value in answer["headers"]:
            if name.lower() not in ("content-length", "server", "date", "connection"):
                headers[name] = value
        if request.method == "HEAD" and not body:
            length = next((v for n, v in answer["headers"] if n.lower() == "content-length"), "0")
            headers["Content-Length"] = length
        return Response(answer["status"], headers, body)

    def _environ(self, request: Request) -> dict[str, Any]:
        path, _, query = request.raw_path.partition("?")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": request.method,
            "SCRIPT_NAME": "",
            # WSGI wants the bytes of the path as latin-1 text.
            "PATH_INFO": urllib.parse.unquote_to_bytes(path).decode("latin-1"),
            "QUERY_STRING": query,
            "RAW_URI": request.raw_path,
            "REQUEST_URI": request.raw_path,
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": str(self._port()),
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(request.body),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            "wsgi.input_terminated": True,
        }
        for name, value in request.headers.items():
            key = name.upper().replace("-", "_")
            if key == "CONTENT_TYPE":
                environ[key] = value
            elif key not in ("CONTENT_LENGTH", "TRANSFER_ENCODING", "EXPECT"):
                environ[f"HTTP_{key}"] = value
        environ["CONTENT_LENGTH"] = str(len(request.body))
        environ["HTTP_X_MOTO_ACCOUNT_ID"] = self.account_id
        return environ
