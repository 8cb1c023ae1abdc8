"""Every environment variable the runtime reads, in one place.

Argument beats environment beats default. Values are checked while the environment starts, all problems are
reported together, and each names its variable. What a function does not use may stay unset: `need` says so.
"""

from __future__ import annotations

import os

from keepwarm_runtime.errors import InvalidSettings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

MODEL_BUCKET = "KEEPWARM_MODEL_BUCKET"
MODEL_REF = "KEEPWARM_MODEL_REF"
CACHE_DIR = "KEEPWARM_CACHE_DIR"
LEDGER_TABLE = "KEEPWARM_LEDGER_TABLE"
LEDGER_RETENTION_S = "KEEPWARM_LEDGER_RETENTION_S"
CLAIM_BUCKET = "KEEPWARM_CLAIM_BUCKET"
ADMISSION_TABLE = "KEEPWARM_ADMISSION_TABLE"
ADMISSION_POOL = "KEEPWARM_ADMISSION_POOL"
ADMISSION_PERMITS = "KEEPWARM_ADMISSION_PERMITS"
PERMIT_HOLD_S = "KEEPWARM_PERMIT_HOLD_S"
PERMIT_WAIT_S = "KEEPWARM_PERMIT_WAIT_S"
SERVICE_NAMESPACE = "KEEPWARM_SERVICE_NAMESPACE"
SERVICE_NAME = "KEEPWARM_SERVICE_NAME"
WORKFLOW_ARN = "KEEPWARM_WORKFLOW_ARN"
RESULTS_BUCKET = "KEEPWARM_RESULTS_BUCKET"
DEAD_LETTER_URL = "KEEPWARM_DEAD_LETTER_URL"
METRIC_NAMESPACE = "KEEPWARM_METRIC_NAMESPACE"
TRUSTED_SIGNERS = "KEEPWARM_TRUSTED_SIGNERS"
DOCUMENT_DEADLINE_S = "KEEPWARM_DOCUMENT_DEADLINE_S"

DEFAULT_METRIC_NAMESPACE = "Keepwarm"
DEFAULT_PERMITS = 1
DEFAULT_PERMIT_HOLD_S = 10.0
DEFAULT_PERMIT_WAIT_S = 5.0
MAX_PERMIT_S = 5_400.0
"""Longest time of a permit: no Lambda function runs longer, not even on managed instances."""
DEFAULT_LEDGER_RETENTION_S = 15 * 86_400.0
MAX_LEDGER_RETENTION_S = 36_500 * 86_400.0
DEFAULT_DOCUMENT_DEADLINE_S = 900.0
MAX_DOCUMENT_DEADLINE_S = 86_400.0
MAX_PERMITS = 100
"""Permits of one pool: DynamoDB's BatchGetItem reads at most 100 items
(https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html)."""

VARIABLES: dict[str, str] = {
    "model_bucket": MODEL_BUCKET,
    "model_ref": MODEL_REF,
    "cache_dir": CACHE_DIR,
    "ledger_table": LEDGER_TABLE,
    "ledger_retention_s": LEDGER_RETENTION_S,
    "claim_bucket": CLAIM_BUCKET,
    "admission_table": ADMISSION_TABLE,
    "admission_pool": ADMISSION_POOL,
    "admission_permits": ADMISSION_PERMITS,
    "permit_hold_s": PERMIT_HOLD_S,
    "permit_wait_s": PERMIT_WAIT_S,
    "service_namespace": SERVICE_NAMESPACE,
    "service_name": SERVICE_NAME,
    "workflow_arn": WORKFLOW_ARN,
    "results_bucket": RESULTS_BUCKET,
    "dead_letter_url": DEAD_LETTER_URL,
    "metric_namespace": METRIC_NAMESPACE,
    "document_deadline_s": DOCUMENT_DEADLINE_S,
    "trusted_signers": TRUSTED_SIGNERS,
}
"""Field of `Settings` -> environment variable."""


class Settings:
    """What this function was told from outside. Read only; build it with `from_env`."""

    __slots__ = tuple(VARIABLES)

    model_bucket: str | None
    """Bucket of the model registry."""
    model_ref: str | None
    """`name@sha256:<64 hex>` (manifest digest) or `name:channel`."""
    cache_dir: str
    """Where verified models live. Default: `keepwarm` in the temporary directory."""
    ledger_table: str | None
    """DynamoDB table of the effect ledger."""
    ledger_retention_s: float
    """Seconds that the record of a finished effect answers. The EffectLedger component sets it from its
    `retention_days`, which it checks against redelivery. Default, stand-alone: 15 days, since SQS keeps a message for
    14 days at most and its redelivery on the last day must still find the record."""
    claim_bucket: str | None
    """Bucket for effect results too large for the ledger."""
    admission_table: str | None
    """DynamoDB table of the permit pools."""
    admission_pool: str
    """Permit pool of the downstream. Default: `default`."""
    admission_permits: int
    """Permits of the pool, 1 to 100. Default: 1."""
    permit_hold_s: float
    """Longest time one call keeps a permit, in seconds. The component derives it from the function's timeout, which it
    is checked against. Default, stand-alone: 10."""
    permit_wait_s: float
    """Longest wait for a permit inside the function, in seconds. From the component too. Default, stand-alone: 5."""
    service_namespace: str | None
    """Cloud Map namespace of the model service."""
    service_name: str | None
    """Cloud Map service name of the model service."""
    workflow_arn: str | None
    """State machine to start."""
    results_bucket: str | None
    """Bucket for results and claim checks."""
    dead_letter_url: str | None
    """Queue for work that can never succeed."""
    metric_namespace: str
    """CloudWatch namespace. Default: `Keepwarm`."""
    trusted_signers: str | None
    """KMS key ARNs, separated by commas, whose models may run. Default: unset, the pinned digest alone decides."""
    document_deadline_s: float
    """Seconds from the arrival of a document to the moment its result is worthless, 1 to 86,400. Default: 900."""

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None, **arguments: str | float | None) -> Settings:
        """Read and check everything; an argument that is not None beats its variable.

        Raises:
            InvalidSettings: KW300 with every problem found, each naming its variable.
        """
        source: Mapping[str, str] = os.environ if env is None else env
        unknown = sorted(set(arguments) - set(VARIABLES))
        if unknown:
            raise InvalidSettings("Settings", f"the argument {unknown[0]!r}", allowed=", ".join(VARIABLES))
        problems: list[str] = []
        settings = cls.__new__(cls)
        for name, variable in VARIABLES.items():
            given = arguments.get(name)
            value = str(given) if given is not None else source.get(variable, "").strip()
            try:
                setattr(settings, name, _checked(name, value, source))
            except ValueError as problem:
                where = f"argument {name}" if given is not None else variable
                problems.append(f"{where}: got {value!r}; allowed {problem}")
        if problems:
            raise InvalidSettings("settings", " / ".join(problems))
        return settings

    def need(self, name: str) -> str:
        """Return a setting that this code path can't do without.

        Raises:
            InvalidSettings: it is unset; the text names the variable.
        """
        value = getattr(self, name)
        if value is None or value == "":
            raise InvalidSettings(
                VARIABLES[name], "nothing", allowed="a value", because="this function uses it"
            )
        return str(value)


def _checked(name: str, value: str, source: Mapping[str, str]) -> str | float | None:
    if name == "admission_permits":
        return _permits(value)
    if name in _SECONDS:
        return _seconds(value, *_SECONDS[name])
    if not value:
        return _default(name, source)
    if any(character < " " or character == "\x7f" for character in value):
        raise ValueError("text without control characters")
    check = _CHECKS.get(name)
    if check is not None:
        check(value)
    return value


def _default(name: str, source: Mapping[str, str]) -> str | None:
    if name == "cache_dir":
        # What tempfile.gettempdir() returns on Lambda and ECS; importing tempfile would cost 10 ms. The cache
        # itself checks that the directory can be trusted and written.
        return source.get("TMPDIR", "").rstrip("/") + "/keepwarm" if source.get("TMPDIR") else "/tmp/keepwarm"  # noqa: S108
    if name == "admission_pool":
        return "default"
    if name == "metric_namespace":
        return DEFAULT_METRIC_NAMESPACE
    return None


def _permits(value: str) -> int:
    if not value:
        return DEFAULT_PERMITS
    if not value.isascii() or not value.isdigit() or not 1 <= int(value) <= MAX_PERMITS:
        raise ValueError(f"a whole number from 1 to {MAX_PERMITS}")
    return int(value)


_SECONDS = {
    "document_deadline_s": (DEFAULT_DOCUMENT_DEADLINE_S, 1.0, MAX_DOCUMENT_DEADLINE_S),
    "ledger_retention_s": (DEFAULT_LEDGER_RETENTION_S, 60.0, MAX_LEDGER_RETENTION_S),
    "permit_hold_s": (DEFAULT_PERMIT_HOLD_S, 0.1, MAX_PERMIT_S),
    "permit_wait_s": (DEFAULT_PERMIT_WAIT_S, 0.0, MAX_PERMIT_S),
}
"""Settings in seconds: default, least and greatest value."""


def _seconds(value: str, default: float, least: float, most: float) -> float:
    if not value:
        return default
    problem = f"seconds from {least:g} to {most:,.0f}"
    try:
        seconds = float(value)
    except ValueError:
        raise ValueError(problem) from None
    # Not a number compares as False with both bounds.
    if not least <= seconds <= most:
        raise ValueError(problem)
    return seconds


def _model_ref(value: str) -> None:
    name, at, digest = value.partition("@")
    if at:
        kind, _, hexdigest = digest.partition(":")
        if (
            name
            and kind == "sha256"
            and len(hexdigest) == 64
            and not set(hexdigest) - set("0123456789abcdef")
        ):
            return
    else:
        name, colon, channel = value.partition(":")
        if name and colon and channel and channel != "latest":
            return
    raise ValueError(
        "name@sha256:<64 lower-case hex digits> or name:channel (never :latest: it says nothing about what runs)"
    )


def _absolute(value: str) -> None:
    if not value.startswith("/"):
        raise ValueError("an absolute path")


def _url(value: str) -> None:
    if not value.startswith(("https://", "http://")):
        raise ValueError("a queue URL (https://...)")


def _state_machine(value: str) -> None:
    if not (value.startswith("arn:") and ":states:" in value and ":stateMachine:" in value):
        raise ValueError("the ARN of a state machine")


def _key_arns(value: str) -> None:
    if not all(
        arn.strip().startswith("arn:") and ":kms:" in arn and ":key/" in arn for arn in value.split(",")
    ):
        raise ValueError("ARNs of KMS keys, separated by commas")


_CHECKS = {
    "trusted_signers": _key_arns,
    "model_ref": _model_ref,
    "cache_dir": _absolute,
    "dead_letter_url": _url,
    "workflow_arn": _state_machine,
}
