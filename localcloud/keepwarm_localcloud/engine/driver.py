"""The in-process driver: runs a Pulumi program against the embedded cloud without the Pulumi CLI.

It does what the engine does with the same table of resource types that the gRPC provider uses: checks inputs, finds
the old resource by URN or alias, compares, creates, updates or replaces, and at the end removes what the program no
longer has, in reverse order of dependency. The state lives in memory or in a JSON file.

What it leaves to the real engine, refusing rather than ignoring: remote components, hooks, invoke transforms, stack
references and packages other than `aws`.
"""

import asyncio
import contextlib
import contextvars
import inspect
import json
import logging
import os
import re
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from keepwarm_localcloud.engine.garbage_collection import SET_ASIDE
from keepwarm_localcloud.engine.linear_settling import LINEAR_SETTLING
from keepwarm_localcloud.pulumi_types import table
from keepwarm_localcloud.pulumi_types.aws import Aws, preload
from keepwarm_localcloud.pulumi_types.errors import Cancelled, ResourceError

_LOG = logging.getLogger("keepwarm.driver")

STACK_TYPE: Final = "pulumi:pulumi:Stack"
STATE_VERSION: Final = 1

PRELOADED: Final = (
    "s3",
    "iam",
    "lambda",
    "sqs",
    "ec2",
    "ecs",
    "dynamodb",
    "stepfunctions",
    "logs",
    "cloudwatch",
)


def prewarm() -> threading.Thread:
    """Load botocore and the models of the services that a stack uses, in the background."""

    def load() -> None:
        # Best effort: whoever needs a model later loads it then, and gets the error if there is one.
        with contextlib.suppress(Exception):
            preload(*PRELOADED)

    thread = threading.Thread(target=load, name="keepwarm-prewarm", daemon=True)
    thread.start()
    return thread


@dataclass(slots=True)
class ResourceState:
    """One resource as the driver remembers it."""

    urn: str
    type: str
    custom: bool
    id: str = ""
    inputs: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)
    parent: str = ""
    dependencies: list[str] = field(default_factory=list)
    property_dependencies: dict[str, list[str]] = field(default_factory=dict)
    provider: str = ""
    protect: bool = False
    retain: bool = False
    external: bool = False
    deleted_with: str = ""
    secrets: list[str] = field(default_factory=list)
    delete_timeout_s: float | None = None
    init_errors: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Logical name."""
        return self.urn.rpartition("::")[2]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to one resource."""

    urn: str
    type: str
    name: str
    op: str
    """`create`, `update`, `replace`, `delete`, `same`, `read`, `import` or `refresh`."""
    status: str
    """`start`, `done` or `failed`."""
    duration_s: float = 0.0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """One resource that could not be handled."""

    urn: str
    type: str
    code: str
    message: str


class DeploymentError(Exception):
    """Some resources failed; the others were handled. The text has one coded line per failure."""

    def __init__(self, failures: list[Failure], changes: dict[str, str] | None = None) -> None:
        super().__init__("\n".join(f"{f.code} {f.message}" for f in failures))
        self.failures = failures
        self.changes = changes or {}
        """What was done before and beside the failures."""


@dataclass(slots=True)
class UpResult:
    """What an operation did."""

    outputs: dict[str, Any]
    changes: dict[str, str]
    """URN -> create, update, replace, same, delete, read or import; components included."""
    duration_s: float
    resources: int
    """Custom resources that exist now."""
    secret_outputs: frozenset[str] = frozenset()

    def changed(self) -> dict[str, str]:
        """The changes that are not `same`."""
        return {u: op for u, op in self.changes.items() if op not in ("same", "read")}


class State:
    """Resources by URN, and old ones that wait for their deletion. Thread-safe for single operations."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.resources: dict[str, ResourceState] = {}
        self.doomed: list[ResourceState] = []
        self.outputs: dict[str, Any] = {}
        self.lock = threading.RLock()
        self._saved_at = 0.0
        if path is not None and path.exists():
            self._load(path)

    def _load(self, path: Path) -> None:
        from keepwarm_localcloud.pulumi_types.wire import from_state

        try:
            found = json.loads(path.read_text())
            version = found["version"]
            if version > STATE_VERSION:
                raise ResourceError(
                    "KW643",
                    f"state {path}: got version {version}; allowed up to {STATE_VERSION}; "
                    "because a newer keepwarm wrote it; "
                    "fix: use that version, or another state file",
                )
            for kept in found["resources"]:
                resource = ResourceState(**from_state(kept))
                self.resources[resource.urn] = resource
            self.doomed = [ResourceState(**from_state(kept)) for kept in found["doomed"]]
            self.outputs = found["outputs"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ResourceError(
                "KW643",
                f"state {path}: cannot be read: {error}; fix: restore it, or remove it and the cloud it describes",
            ) from error

    def save(self, *, now: bool = False) -> None:
        """Write the file, whole or not at all; at most four times a second unless `now`."""
        from keepwarm_localcloud.pulumi_types.wire import to_state

        if self.path is None:
            return
        with self.lock:
            if not now and time.monotonic() - self._saved_at < 0.25:
                return
            document = {
                "version": STATE_VERSION,
                "resources": [to_state(asdict_shallow(r)) for r in self.resources.values()],
                "doomed": [to_state(asdict_shallow(r)) for r in self.doomed],
                "outputs": to_state(self.outputs),
            }
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                handle, partial = tempfile.mkstemp(dir=self.path.parent, prefix=".state-")
                with os.fdopen(handle, "w") as target:
                    json.dump(document, target)
                    target.flush()
                    os.fsync(target.fileno())
                Path(partial).replace(self.path)
            except OSError as error:
                raise ResourceError(
                    "KW643", f"state {self.path}: cannot be written: {error}; fix: make the folder writable"
                ) from error
            self._saved_at = time.monotonic()


def asdict_shallow(resource: ResourceState) -> dict[str, Any]:
    """Turn a resource into a dict without copying its values (`dataclasses.asdict` would deep-copy every blob)."""
    return {name: getattr(resource, name) for name in ResourceState.__dataclass_fields__}


class Deployment:
    """One stack of one program on one endpoint."""

    def __init__(
        self,
        endpoint: str | Callable[[], str],
        *,
        project: str,
        stack: str,
        config: Mapping[str, str] | None = None,
        state: Path | State | None = None,
        region: str = "us-east-1",
        on_event: Callable[[Event], None] | None = None,
        parallel: int = 16,
        organization: str = "organization",
        secret_config: Iterable[str] = (),
    ) -> None:
        self.project, self.stack, self.organization = project, stack, organization
        self.config = dict(config or {})
        self.secret_config = list(secret_config)
        self.state = state if isinstance(state, State) else State(state)
        self.cancelled = threading.Event()
        tags = {
            k: str(v) for k, v in json.loads(self.config.get("aws:defaultTags", "{}")).get("tags", {}).items()
        }
        self.aws = Aws(
            endpoint,
            region=self.config.get("aws:region", region),
            cancelled=self.cancelled,
            default_tags=tags,
        )
        self.parallel = parallel
        self._on_event = on_event
        self._providers: dict[str, Aws] = {}
        self._event_lock = threading.Lock()

    @property
    def outputs(self) -> dict[str, Any]:
        """Stack outputs of the last up."""
        return dict(self.state.outputs)

    def cancel(self) -> None:
        """Start nothing more and stop waiting. What exists stays in the state, so `destroy` finds it."""
        self.cancelled.set()

    def close(self) -> None:
        """Close the connections to the cloud."""
        self.aws.close()
        for aws in self._providers.values():
            aws.close()

    def emit(self, urn: str, kind: str, op: str, status: str, started: float = 0.0, error: str = "") -> None:
        """Tell the listener, one event at a time."""
        if self._on_event is None:
            return
        duration = time.perf_counter() - started if started else 0.0
        with self._event_lock:
            self._on_event(Event(urn, kind, urn.rpartition("::")[2], op, status, duration, error))

    def aws_of(self, provider: str) -> Aws:
        """Clients of an explicit provider (`urn::id`), or the default ones."""
        urn = provider.rpartition("::")[0]
        kept = self.state.resources.get(urn)
        if not urn or kept is None:
            return self.aws
        inputs = kept.inputs
        tags = inputs.get("defaultTags")
        parsed = json.loads(tags) if isinstance(tags, str) else tags or {}
        region = str(inputs.get("region") or self.aws.region)
        wanted = {str(k): str(v) for k, v in (parsed.get("tags") or {}).items()}
        if region == self.aws.region and wanted == self.aws.default_tags:
            return self.aws
        key = f"{region} {sorted(wanted.items())}"
        if key not in self._providers:
            self._providers[key] = Aws(
                lambda: self.aws.endpoint, region=region, cancelled=self.cancelled, default_tags=wanted
            )
        return self._providers[key]

    def preview(self, program: Callable[[], Any]) -> UpResult:
        """Tell what `up` would do; nothing is touched.

        Raises:
            DeploymentError: some resources are wrong.
        """
        return self._run(program, dry_run=True)

    def up(self, program: Callable[[], Any]) -> UpResult:
        """Make the cloud what the program says.

        Raises:
            DeploymentError: some resources failed; the others were handled and everything is in the state.
            KeyboardInterrupt: passed on after running operations ended.
        """
        return self._run(program, dry_run=False)

    def _run(self, program: Callable[[], Any], *, dry_run: bool) -> UpResult:
        from keepwarm_localcloud.engine.resource_monitor import Monitor

        started = time.perf_counter()
        self.cancelled.clear()
        monitor = Monitor(self, dry_run=dry_run)
        context = contextvars.copy_context()
        try:
            context.run(self._evaluate, program, monitor, dry_run)
        except BaseException:
            if monitor.failures and not self.cancelled.is_set():
                raise DeploymentError(monitor.failures, monitor.changes) from None
            raise
        finally:
            if not dry_run:
                self.state.save(now=True)
        if self.cancelled.is_set():
            raise Cancelled(f"up of {self.project}/{self.stack}")
        if monitor.failures:
            raise DeploymentError(monitor.failures, monitor.changes)
        removed = monitor.unseen()
        if dry_run:
            monitor.changes.update({r.urn: "delete" for r in removed})
            failures = [self._protected(r) for r in removed if r.protect]
        else:
            failures = self._delete_all([*self.state.doomed, *removed], monitor.changes)
            self.state.outputs = monitor.stack_outputs
            self.state.save(now=True)
        if failures:
            raise DeploymentError(failures, monitor.changes)
        return UpResult(
            dict(monitor.stack_outputs),
            monitor.changes,
            time.perf_counter() - started,
            sum(1 for r in self.state.resources.values() if r.custom and not r.external),
            frozenset(monitor.secret_outputs),
        )

    def _evaluate(self, program: Callable[[], Any], monitor: Any, dry_run: bool) -> None:
        """Run the program as the language host does: a loop of its own, this monitor, this configuration."""
        from pulumi.runtime.config import set_all_config
        from pulumi.runtime.mocks import MockEngine, MockSettings
        from pulumi.runtime.settings import configure, set_root_resource
        from pulumi.runtime.stack import run_in_stack

        from keepwarm_localcloud.engine.resource_monitor import WITHOUT_POSITIONS

        configure(
            MockSettings(  # type: ignore[no-untyped-call]
                monitor=monitor,
                monitor_features=set(monitor.GetDeploymentInfo(None).supportedFeatures),
                engine=MockEngine(None),
                project=self.project,
                stack=self.stack,
                organization=self.organization,
                root_directory=str(Path.cwd()),
                dry_run=dry_run,
                parallel=self.parallel,
                callbacks=None,
                package_refs={},
                base_providers_by_ref={},
                outputs=set(),
                lock=threading.Lock(),
                legacy_apply_enabled=False,
            )
        )
        set_all_config(self.config, self.secret_config)
        set_root_resource(None)  # type: ignore[arg-type]

        def call() -> Awaitable[None] | None:
            result = program()
            return result if inspect.isawaitable(result) else None

        async def main() -> None:
            loop = asyncio.get_running_loop()
            loop.set_default_executor(ThreadPoolExecutor(self.parallel, "keepwarm-driver"))
            # Tasks that waited for the one that failed end with its exception too, which is raised once, here.
            loop.set_exception_handler(lambda _, context: _LOG.debug("%s", context.get("message")))
            monitor.loop = loop
            await run_in_stack(call)

        try:
            with SET_ASIDE, LINEAR_SETTLING, WITHOUT_POSITIONS:
                asyncio.run(main())
        except KeyboardInterrupt:
            self.cancel()
            raise

    def _protected(self, resource: ResourceState) -> Failure:
        return Failure(
            resource.urn,
            resource.type,
            "KW641",
            f"{resource.urn}: got a deletion; allowed none; because it is protected; fix: set "
            "protect to false and run up first",
        )

    def refresh(self) -> UpResult:
        """Bring the state to what the cloud really has.

        Raises:
            DeploymentError: some resources could not be read.
        """
        started = time.perf_counter()
        self.cancelled.clear()
        changes: dict[str, str] = {}
        failures: list[Failure] = []

        def one(resource: ResourceState) -> None:
            begun = time.perf_counter()
            try:
                found = table.read(
                    resource.type,
                    resource.urn,
                    self.aws_of(resource.provider),
                    resource.id,
                    resource.inputs,
                    resource.outputs,
                )
            except ResourceError as error:
                failures.append(Failure(resource.urn, resource.type, error.code, error.message))
                self.emit(resource.urn, resource.type, "refresh", "failed", begun, str(error))
                return
            with self.state.lock:
                if found is None:
                    del self.state.resources[resource.urn]
                    changes[resource.urn] = "delete"
                else:
                    before = resource.inputs
                    resource.id, resource.inputs, resource.outputs = found
                    difference = table.diff(resource.type, before, resource.outputs, before)
                    changes[resource.urn] = "update" if difference.changes else "same"
            self.emit(resource.urn, resource.type, "refresh", "done", begun)

        targets = [r for r in self.state.resources.values() if r.custom and self._ours(r)]
        with ThreadPoolExecutor(self.parallel, "keepwarm-refresh") as pool:
            list(pool.map(one, targets))
        self.state.save(now=True)
        if failures:
            raise DeploymentError(failures, changes)
        return UpResult(self.outputs, changes, time.perf_counter() - started, len(targets))

    def _ours(self, resource: ResourceState) -> bool:
        return not resource.external and not resource.type.startswith("pulumi:")

    def destroy(self) -> UpResult:
        """Remove everything in reverse order of dependency; go on with the rest when one fails.

        Raises:
            DeploymentError: what could not be removed, and what was kept because of that.
        """
        started = time.perf_counter()
        self.cancelled.clear()
        changes: dict[str, str] = {}
        failures = self._delete_all([*self.state.doomed, *self.state.resources.values()], changes)
        if not self.state.resources:
            self.state.outputs = {}
        self.state.save(now=True)
        if failures:
            raise DeploymentError(failures, changes)
        return UpResult({}, changes, time.perf_counter() - started, 0)

    def _delete_all(self, doomed: list[ResourceState], changes: dict[str, str]) -> list[Failure]:
        """Delete `doomed`, dependents first, as many at once as their order allows."""
        waits_for = _dependents(doomed)
        failures: list[Failure] = []
        failed: set[int] = set()
        left = set(range(len(doomed)))
        running: dict[Future[Failure | None], int] = {}
        with ThreadPoolExecutor(self.parallel, "keepwarm-delete") as pool:
            try:
                while True:
                    failures.extend(self._give_up(doomed, left, failed, waits_for))
                    ready = [n for n in sorted(left) if not waits_for[n]]
                    for number in ready if not self.cancelled.is_set() else []:
                        left.discard(number)
                        running[pool.submit(self._delete_one, doomed[number], doomed, changes)] = number
                    if not running:
                        break
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        number = running.pop(future)
                        failure = future.result()
                        if failure is not None:
                            failures.append(failure)
                            failed.add(number)
                            continue
                        for others in waits_for:
                            others.discard(number)
                    self.state.save()
            except KeyboardInterrupt:
                self.cancel()
                raise
        if left:
            failures.append(
                Failure("", "", "KW644", "destroy: stopped before it was done; fix: run it again")
            )
        return failures

    def _give_up(
        self, doomed: list[ResourceState], left: set[int], failed: set[int], waits_for: list[set[int]]
    ) -> list[Failure]:
        """Take out of `left` what cannot be deleted because something that depends on it could not."""
        failures: list[Failure] = []
        while blocked := [n for n in left if waits_for[n] & failed]:
            for number in blocked:
                left.discard(number)
                failed.add(number)
                if doomed[number].custom:
                    cause = doomed[min(waits_for[number] & failed)]
                    failures.append(self._kept(doomed[number], cause))
        return failures

    def _kept(self, resource: ResourceState, cause: ResourceState) -> Failure:
        return Failure(
            resource.urn,
            resource.type,
            "KW637",
            f"{resource.urn}: not deleted; because {cause.urn}, which depends on it, could not "
            "be deleted; fix: that one first",
        )

    def _delete_one(
        self, resource: ResourceState, doomed: list[ResourceState], changes: dict[str, str]
    ) -> Failure | None:
        if resource.protect:
            return self._protected(resource)
        begun = time.perf_counter()
        skipped = resource.retain or resource.external or not resource.custom or not self._ours(resource)
        if not skipped and resource.deleted_with:
            skipped = any(r.urn == resource.deleted_with for r in doomed)
        if not skipped:
            self.emit(resource.urn, resource.type, "delete", "start")
            try:
                table.delete(
                    resource.type,
                    resource.urn,
                    self.aws_of(resource.provider),
                    resource.id,
                    resource.inputs,
                    resource.outputs,
                    timeout_s=resource.delete_timeout_s,
                )
            except ResourceError as error:
                self.emit(resource.urn, resource.type, "delete", "failed", begun, str(error))
                return Failure(resource.urn, resource.type, error.code, error.message)
        with self.state.lock:
            if self.state.resources.get(resource.urn) is resource:
                del self.state.resources[resource.urn]
                changes[resource.urn] = "delete"
            elif resource in self.state.doomed:
                self.state.doomed.remove(resource)
        if not skipped:
            self.emit(resource.urn, resource.type, "delete", "done", begun)
        return None


def _dependents(doomed: list[ResourceState]) -> list[set[int]]:
    """For each resource, the positions of those that must go before it."""
    by_urn: dict[str, list[int]] = {}
    for number, resource in enumerate(doomed):
        by_urn.setdefault(resource.urn, []).append(number)
    waits_for: list[set[int]] = [set() for _ in doomed]
    for number, resource in enumerate(doomed):
        for needed in {*resource.dependencies, resource.parent, resource.provider.rpartition("::")[0]}:
            for other in by_urn.get(needed, []):
                if other != number:
                    waits_for[other].add(number)
    return waits_for


_SECONDS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def seconds(text: str) -> float | None:
    """Read a duration such as `1h30m` or `90s`; None for an empty one.

    Raises:
        ResourceError: KW634.
    """
    if not text:
        return None
    parts = re.findall(r"([\d.]+)(h|ms|m|s)", text)
    if not parts or "".join(f"{n}{u}" for n, u in parts) != text:
        raise ResourceError(
            "KW634", f"customTimeouts: got {text!r}; allowed a duration such as '10m' or '90s'"
        )
    return sum(float(n) * _SECONDS[u] for n, u in parts)
