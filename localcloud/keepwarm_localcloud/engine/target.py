"""One stack on one endpoint: its state, its clients of the cloud, and who is told what happens."""

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from keepwarm_localcloud.engine.results import Event
from keepwarm_localcloud.engine.state import State
from keepwarm_localcloud.pulumi_types.aws import Aws


class Target:
    """What every operation on a stack works on."""

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
