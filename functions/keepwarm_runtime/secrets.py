"""Secrets by reference: read from Secrets Manager at init, kept for a while, read again after a snapshot was restored.

Components hand a function the ARN of a secret, never its value: environment variables can be read by whoever may call
GetFunction.
"""

from __future__ import annotations

import time

from keepwarm_runtime.errors import AwsFault, BadEvent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from keepwarm_runtime.aws import Aws
    from keepwarm_runtime.deadline import Deadline

TTL_S = 300.0
"""How long a value is used before it is read again, in seconds: a rotation is noticed after that."""
STALE_S = 3600.0
"""How long an old value is still used while Secrets Manager does not answer, in seconds."""


class Secrets:
    """The secrets of one execution environment."""

    def __init__(
        self, aws: Aws, *, ttl_s: float = TTL_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._aws = aws
        self._ttl_s = ttl_s
        self._clock = clock
        self._held: dict[str, tuple[float, str]] = {}

    def __repr__(self) -> str:
        return f"Secrets({len(self._held)} held)"

    def forget(self) -> None:
        """Drop every value; a restored snapshot must not go on with the secrets of another day."""
        self._held.clear()

    def get(self, arn: str, *, deadline: Deadline | None = None) -> str:
        """Return the current value of a secret.

        Raises:
            BadEvent: the secret is binary.
            NotFound, AccessDenied, Unreachable: as Secrets Manager says, when no value is held that may still serve.
        """
        now_s = self._clock()
        held = self._held.get(arn)
        if held is not None and now_s - held[0] < self._ttl_s:
            return held[1]
        try:
            answer = self._aws.call(
                "secretsmanager", "GetSecretValue", {"SecretId": arn}, deadline=deadline, resource=arn
            )
        except AwsFault as error:
            if error.retry and held is not None and now_s - held[0] < STALE_S:
                return held[1]
            raise
        value = answer.get("SecretString")
        if not isinstance(value, str):
            raise BadEvent(
                f"secret {arn}", "a binary value", allowed="a text value", fix="store it as a string"
            )
        self._held[arn] = (now_s, value)
        return value
