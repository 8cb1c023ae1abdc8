"""The program of a project deployed on an embedded cloud of its own."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console

from keepwarm_cli.cloud_process import CloudProcess
from keepwarm_cli.errors import CliError
from keepwarm_cli.interrupts import Interrupts
from keepwarm_cli.project import find_project, import_program, stack_config

PROJECT = "keepwarm"


@dataclass(slots=True)
class Times:
    """Seconds per stage, in the order they ended."""

    started: float = field(default_factory=time.time)
    stages: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time one stage."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.stages[name] = time.monotonic() - began


class Stack:
    """The program deployed on an embedded cloud, and the clients to use it."""

    def __init__(
        self, stack: str, port: int, console: Console, times: Times, interrupts: Interrupts, ending: ExitStack
    ) -> None:
        self.project = find_project()
        self.config = stack_config(self.project, stack)
        self.name = stack
        self.region = self.config.get("aws:region", "us-east-1")
        self._console = console
        self._times = times
        self._interrupts = interrupts
        # Everything slow starts at once: the cloud's imports in its process, pulumi's in this one.
        with interrupts.held():
            self.cloud = CloudProcess(
                port=port, region=self.region, code_cache=self.project / "build" / "unzipped"
            )
            ending.callback(self.stop)
        from keepwarm_localcloud.engine import garbage_collection, lazy_aws

        lazy_aws.install()
        with garbage_collection.PAUSED:
            from keepwarm_localcloud.engine.driver import Deployment, prewarm

            prewarm()
            with times.stage("import_program"):
                self.program = import_program(self.project)
        self.deployment = Deployment(
            self.cloud.endpoint,
            project=PROJECT,
            stack=stack,
            config=self.config,
            region=self.region,
            on_event=self._event,
        )
        self._progress: Callable[[str], None] = lambda _: None
        self._done = 0
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()

    def _event(self, event: Any) -> None:
        if event.status == "done":
            self._done += 1
            self._progress(f"{event.op} {event.type.rpartition(':')[2]} {event.name} ({self._done})")

    def settings(self) -> Any:
        """The settings that the program reads from this stack's configuration."""
        return self.program.settings_of(self.config, self.name)

    def built(self) -> Any:
        """What the program deploys; built by the deployment already, so this only finds it."""
        return self.program.build(self.settings())

    def client(self, service: str) -> Any:
        """A boto3 client of the endpoint, made once."""
        with self._lock:
            if service not in self._clients:
                import boto3

                self._clients[service] = boto3.client(
                    service,
                    endpoint_url=self.cloud.endpoint(),
                    region_name=self.region,
                    aws_access_key_id="operator",
                    aws_secret_access_key="operator",  # noqa: S106 - the embedded cloud has no account to protect
                )
            return self._clients[service]

    def deploy(self) -> Any:
        """Bring the stack up; a refusal of a setting or resource is one coded line each."""
        from pulumi import RunError

        from keepwarm_localcloud.engine.driver import DeploymentError

        try:
            with self._console.status("deploying") as status, self._times.stage("deploy"):
                self._progress = lambda said: status.update(f"deploying: {said}")
                return self.deployment.up(self.program.main)
        except DeploymentError as error:
            raise CliError(
                "KW656", f"stack '{self.name}'", problem=f"could not be deployed:\n{error}", exit_code=1
            ) from None
        except RunError as refused:
            # What the program says about its own input: settings, arguments of a component, a bundle.
            raise CliError(
                "KW656", f"stack '{self.name}'", problem=f"could not be deployed:\n{refused}"
            ) from None
        finally:
            self._progress = lambda _: None

    def stop(self) -> list[str]:
        """Stop the cloud, whatever state it is in; a second Ctrl-C waits for that."""
        with self._interrupts.held():
            self._interrupts.left = self.cloud.stop()
            return self._interrupts.left

    def tear_down(self) -> list[str]:
        """Destroy the stack and name every resource that is still there."""
        from keepwarm_localcloud.engine.driver import DeploymentError

        failed: list[str] = []
        with self._console.status("tearing down") as status, self._times.stage("destroy"):
            self._progress = lambda said: status.update(f"tearing down: {said}")
            try:
                self.deployment.destroy()
            except DeploymentError as error:
                failed = [str(f) for f in error.failures]
        inventory = self.cloud.get("inventory")
        return failed + [
            f"{service} {kind} {name}"
            for service, kinds in sorted(inventory.items())
            for kind, names in sorted(kinds.items())
            for name in names
        ]
