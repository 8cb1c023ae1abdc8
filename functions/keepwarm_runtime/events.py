"""One function emits, and nothing here ever sees a payload (contract C5).

An event is one JSON line on standard output, written with one call. The line is CloudWatch's embedded metric format
at the same time (its `_aws` member says which of its numbers are metrics), so that the figure in the log and the
figure in the metric are the same digits. Format:
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

from __future__ import annotations

import json
import os
import sys
import time

from keepwarm_runtime.settings import DEFAULT_METRIC_NAMESPACE, METRIC_NAMESPACE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_TEXT = 512
"""Characters of an error text that are kept."""

_SECRETS = (
    r"(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{12,}",
    r"(?i:(?:x-amz-signature|x-amz-security-token|x-amz-credential)=)[^&\s\"']+",
    r"(?i:authorization\s*[:=]\s*)(?:[A-Za-z0-9-]+\s+)?[^\s,;\"']+",
    r"(?i:(?:password|passwd|secret|token|api[_-]?key)[\"']?\s*[:=]\s*[\"']?)[^\s,;&\"']+",
    r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)",
)
_SECRET_WORDS = (
    "password",
    "passwd",
    "secret",
    "token",
    "authorization",
    "api_key",
    "apikey",
    "api-key",
    "credential",
)
_compiled: object = None


def namespace() -> str:
    """CloudWatch namespace of every metric. Default: `Keepwarm`."""
    return os.environ.get(METRIC_NAMESPACE) or DEFAULT_METRIC_NAMESPACE


def write_line(line: str) -> None:
    """Write one event. `line` ends with a newline, so that a concurrent writer can't cut it in two."""
    out = sys.stdout
    out.write(line)
    out.flush()


def directive(names_units: Mapping[str, str], dimension: str) -> dict[str, object]:
    """Build the `_aws` member without its timestamp."""
    return {
        "Namespace": namespace(),
        "Dimensions": [[dimension]],
        "Metrics": [{"Name": name, "Unit": unit} for name, unit in names_units.items()],
    }


def emit(
    record: Mapping[str, object],
    metrics: Mapping[str, tuple[float, str]] | None = None,
    *,
    dimension: tuple[str, str] = ("Service", ""),
    now_s: Callable[[], float] = time.time,
) -> None:
    """Emit one event; `metrics` maps a name to its value and CloudWatch unit, under one `dimension`.

    `record` is for facts such as ids, counts, sizes and digests. A payload has no place in it.
    """
    line: dict[str, object] = dict(record)
    if metrics:
        for name, (value, _) in metrics.items():
            line[name] = value
        line[dimension[0]] = dimension[1]
        line["_aws"] = {
            "Timestamp": int(now_s() * 1000),
            "CloudWatchMetrics": [
                directive({name: unit for name, (_, unit) in metrics.items()}, dimension[0])
            ],
        }
    write_line(json.dumps(line, separators=(",", ":"), default=str) + "\n")


def redact(text: str) -> str:
    """Cut `text` to its first 512 characters and put `[redacted]` where a credential would show."""
    global _compiled
    import re

    if _compiled is None:
        _compiled = re.compile("|".join(f"({pattern})" for pattern in _SECRETS), re.DOTALL)
    assert isinstance(_compiled, re.Pattern)
    cleaned = _compiled.sub("[redacted]", text)
    return cleaned if len(cleaned) <= MAX_TEXT else cleaned[: MAX_TEXT - 1] + "…"


def clean(value: object, name: str = "") -> object:
    """Copy facts with every text redacted, and every text under a name that says it is a secret left out."""
    if isinstance(value, str):
        return "[redacted]" if _says_secret(name) else redact(value)
    if isinstance(value, dict):
        return {key: clean(inner, str(key)) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [clean(inner, name) for inner in value]
    return value


def _says_secret(name: str) -> bool:
    lowered = name.lower()
    return any(word in lowered for word in _SECRET_WORDS)


def error_facts(error: BaseException) -> dict[str, object]:
    """Code, class and redacted text of an error; never its traceback, which may show arguments."""
    code = getattr(error, "code", None)
    return {
        # SystemExit and others have a `code` that is none of ours.
        "code": code if isinstance(code, str) else None,
        "type": type(error).__name__,
        "message": redact(str(error)),
        "retry": bool(getattr(error, "retry", True)),
    }
