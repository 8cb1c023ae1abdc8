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
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from keepwarm_localcloud.engine.deletion import Deletion, ours, protected
from keepwarm_localcloud.engine.garbage_collection import SET_ASIDE
from keepwarm_localcloud.engine.linear_settling import LINEAR_SETTLING
from keepwarm_localcloud.engine.results import DeploymentError, Event, Failure, UpResult
from keepwarm_localcloud.engine.state import ResourceState, State
from keepwarm_localcloud.engine.target import Target
from keepwarm_localcloud.pulumi_types import table
from keepwarm_localcloud.pulumi_types.aws import preload
from keepwarm_localcloud.pulumi_types.errors import Cancelled, ResourceError

_LOG = logging.getLogger("keepwarm.driver")


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


class Deployment(Target):
    """One stack of one program on one endpoint."""

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
            failures = [protected(r) for r in removed if r.protect]
        else:
            failures = Deletion(self).all([*self.state.doomed, *removed], monitor.changes)
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

        targets = [r for r in self.state.resources.values() if r.custom and ours(r)]
        with ThreadPoolExecutor(self.parallel, "keepwarm-refresh") as pool:
            list(pool.map(one, targets))
        self.state.save(now=True)
        if failures:
            raise DeploymentError(failures, changes)
        return UpResult(self.outputs, changes, time.perf_counter() - started, len(targets))

    def destroy(self) -> UpResult:
        """Remove everything in reverse order of dependency; go on with the rest when one fails.

        Raises:
            DeploymentError: what could not be removed, and what was kept because of that.
        """
        started = time.perf_counter()
        self.cancelled.clear()
        changes: dict[str, str] = {}
        failures = Deletion(self).all([*self.state.doomed, *self.state.resources.values()], changes)
        if not self.state.resources:
            self.state.outputs = {}
        self.state.save(now=True)
        if failures:
            raise DeploymentError(failures, changes)
        return UpResult({}, changes, time.perf_counter() - started, 0)


__all__ = ["Deployment", "DeploymentError", "Event", "Failure", "State", "UpResult", "prewarm"]
