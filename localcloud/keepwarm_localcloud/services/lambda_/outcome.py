"""One invocation going in, and what came of it."""

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Call:
    """One invocation as the environment sees it."""

    request_id: str
    payload: bytes
    arn: str
    """ARN as invoked, with the alias or version in it when one was given."""
    trace_id: str
    client_context: str = ""
    """Base64, as the API takes it."""


@dataclass(slots=True)
class Outcome:
    """What an invocation came to."""

    payload: bytes
    error: str = ""
    """`Unhandled` when the function failed."""
    kind: str = "ok"
    """`ok`, `error`, `timeout`, `exit`, `memory`, `storage`, `init_error` or `response_too_large`."""
    duration_ms: float = 0.0
    init_ms: float | None = None
    max_memory_mb: int = 0
    tail: bytes = b""
    reusable: bool = True


@dataclass(slots=True)
class InitReport:
    """What an init phase came to."""

    ok: bool
    duration_ms: float
    error: dict[str, Any] = field(default_factory=dict)
    kind: str = "ok"


def failed(kind: str, error_type: str, message: str) -> Outcome:
    """The answer of an invocation that the platform ended; its environment is not used again."""
    payload = json.dumps({"errorType": error_type, "errorMessage": message}).encode()
    return Outcome(payload, "Unhandled", kind, reusable=False)


def failed_init(report: InitReport, call: Call, timeout_s: int) -> Outcome:
    """The answer of an invocation whose environment could not be initialized, also not a second time."""
    error = {"errorMessage": "", **report.error}
    if report.kind == "init_error":
        error["requestId"] = call.request_id
    elif report.kind == "timeout":
        message = f"Task timed out after {timeout_s:.2f} seconds"
        error = {
            "errorType": "Sandbox.Timedout",
            "errorMessage": f"RequestId: {call.request_id} Error: {message}",
        }
    else:
        error["errorMessage"] = f"RequestId: {call.request_id} Error: {error['errorMessage']}"
    kind = report.kind if report.kind in ("timeout", "memory", "storage") else "init_error"
    return Outcome(
        json.dumps(error).encode(), "Unhandled", kind, duration_ms=report.duration_ms, reusable=False
    )


def json_object(body: bytes) -> dict[str, Any]:
    """Read a JSON object; anything else is an empty one."""
    try:
        parsed = json.loads(body)
    except ValueError:
        return {}
    if isinstance(parsed, str):
        # awslambdaric encodes the error of an init phase twice.
        return json_object(parsed.encode())
    return parsed if isinstance(parsed, dict) else {}


def error_type(payload: bytes) -> str:
    """Give the errorType of an answer that is an error."""
    return str(json_object(payload).get("errorType", "Unhandled"))
