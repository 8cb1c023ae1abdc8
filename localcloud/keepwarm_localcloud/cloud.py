"""The embedded cloud: services around one clock, one journal and one HTTP endpoint."""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar, cast

from keepwarm_localcloud.clock import Clock, RealClock
from keepwarm_localcloud.journal import Journal
from keepwarm_localcloud.service import Service

S = TypeVar("S")


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


class Cloud:
    """Start it, point boto3 at `endpoint`, close it; nothing stays behind."""

    def __init__(self, settings: CloudSettings | None = None, services: list[Service] | None = None) -> None:
        self.settings = settings or CloudSettings()
        self.clock = self.settings.clock
        self.journal = Journal(self.clock)
        self._own_directory = self.settings.directory is None
        self.directory = self.settings.directory or Path(tempfile.mkdtemp(prefix="keepwarm-cloud-"))
        self._services = {s.name: s for s in services or []}

    def service(self, name: str, kind: type[S]) -> S:
        """Look up another service by signing name, typed."""
        return cast("S", self._services[name])
