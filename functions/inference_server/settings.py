"""Settings of the service, read once when it starts: argument beats environment beats default.

Two of them have their home in the component that runs the service, which passes them on; the defaults here are for a
server that is started by hand:

- KEEPWARM_DRAIN_S is the time between SIGTERM and SIGKILL (`drain_s`, the task's stopTimeout). The server takes
  DRAIN_MARGIN_S off by itself, so nobody else subtracts anything.
- KEEPWARM_QUEUE_MAX is how many requests may wait beside those in the model: twice `concurrency_per_task`. What
  Admission hands out for one task then finds room in it; permits for tasks that are still starting do not, and are told
  when to come back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from inference_server.errors import InvalidSetting

DRAIN_MARGIN_S = 5.0
"""Time before SIGKILL for the last answers, log lines and the end of the process."""
DRAIN_MARGIN_SHARE = 0.2
"""The margin is at most this part of the drain, so that a short one still drains."""

VARIABLES: dict[str, tuple[str, float, float]] = {
    "port": ("PORT", 0, 65_535),
    "queue_max": ("KEEPWARM_QUEUE_MAX", 1, 10_000),
    "batch_max": ("KEEPWARM_BATCH_MAX", 1, 64),
    "batch_wait_s": ("KEEPWARM_BATCH_WAIT_S", 0, 1),
    "drain_s": ("KEEPWARM_DRAIN_S", 0, 3_600),
    "default_deadline_s": ("KEEPWARM_DEFAULT_DEADLINE_S", 0.001, 900),
    "max_body_bytes": ("KEEPWARM_MAX_BODY_BYTES", 1_024, 256 * 1024 * 1024),
    "max_connections": ("KEEPWARM_MAX_CONNECTIONS", 1, 10_000),
    "header_timeout_s": ("KEEPWARM_HEADER_TIMEOUT_S", 0.05, 120),
    "body_timeout_s": ("KEEPWARM_BODY_TIMEOUT_S", 0.05, 300),
    "idle_timeout_s": ("KEEPWARM_IDLE_TIMEOUT_S", 0.05, 3_600),
}
"""Field -> environment variable, least and greatest value."""


@dataclass(frozen=True)
class ServerSettings:
    """Everything the service may be told from outside."""

    host: str = "0.0.0.0"  # noqa: S104 - a container's port is mapped, so it listens on all of its addresses
    """Address to listen on. Variable: KEEPWARM_HOST."""
    port: int = 8080
    """Port to listen on; 0 takes any free one. KEEPWARM_PORT (set where tasks share an address) beats PORT."""
    queue_max: int = 16
    """Requests accepted and not yet in the model: more are refused with 429 and a Retry-After. Stand-alone default: 16,
    four batches."""
    batch_max: int = 4
    """Most pictures in one run of the model."""
    batch_wait_s: float = 0.004
    """Longest wait for a second picture once there is one, in seconds."""
    drain_s: float = 30.0
    """Seconds from SIGTERM to SIGKILL. Stand-alone default: 30, which is what ECS gives unless told otherwise."""
    default_deadline_s: float = 30.0
    """Deadline of a request that names none, in seconds."""
    max_body_bytes: int = 20 * 1024 * 1024
    """Largest picture, sent or fetched."""
    max_connections: int = 256
    """Open connections; one more is closed at once."""
    header_timeout_s: float = 5.0
    """Longest time for the head of a request to arrive, in seconds."""
    body_timeout_s: float = 20.0
    """Longest time for the body to arrive, in seconds."""
    idle_timeout_s: float = 75.0
    """Longest silence on a connection between requests, in seconds."""

    @property
    def drain_work_s(self) -> float:
        """Longest time to finish accepted work after SIGTERM, in seconds: the drain less its margin."""
        return self.drain_s - min(DRAIN_MARGIN_S, DRAIN_MARGIN_SHARE * self.drain_s)

    @classmethod
    def from_env(cls, env: Mapping[str, str], **arguments: Any) -> ServerSettings:
        """Read and check the environment. Raises InvalidSetting naming the first variable that is wrong."""
        values: dict[str, Any] = (
            {"host": env.get("KEEPWARM_HOST", cls.host)} if "KEEPWARM_HOST" in env else {}
        )
        kinds = {field.name: field.type for field in fields(cls)}
        for name, (variable, least, greatest) in VARIABLES.items():
            if name == "port" and env.get("KEEPWARM_PORT"):
                variable = "KEEPWARM_PORT"
            text = env.get(variable, "").strip()
            if not text:
                continue
            whole = kinds[name] == "int"
            allowed = f"{'a whole' if whole else 'a'} number from {least:g} to {greatest:,g}"
            try:
                value = int(text) if whole else float(text)
            except ValueError:
                raise InvalidSetting(variable, text, allowed) from None
            if not least <= value <= greatest:
                raise InvalidSetting(variable, text, allowed)
            values[name] = value
        return cls(**(values | arguments))
