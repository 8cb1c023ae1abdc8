"""AWS's `runtime_client` in plain Python, for interpreters the installed native one is not built for.

`awslambdaric` needs four functions of it; this module has the same ones, over one kept connection. It is put on the
path of a Python 3.X function only when the embedded cloud itself runs on another minor version.
"""

import http.client
import os

_user_agent = "aws-lambda-python"
_connection: http.client.HTTPConnection | None = None
_BASE = "/2018-06-01/runtime/invocation/"
_DEADLINE = "Lambda-Runtime-Deadline-Ms"


def initialize_client(user_agent: str) -> None:
    """Remember how this client names itself."""
    global _user_agent
    _user_agent = user_agent


def _call(method: str, path: str, body: bytes | None, headers: dict[str, str]) -> http.client.HTTPResponse:
    global _connection
    if _connection is None:
        _connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    _connection.request(method, _BASE + path, body, {"User-Agent": _user_agent, **headers})
    return _connection.getresponse()


def next() -> tuple[bytes, dict[str, str | int]]:
    """Wait for the next invocation: its payload and headers."""
    response = _call("GET", "next", None, {})
    headers: dict[str, str | int] = dict(response.getheaders())
    # A number, as the native client gives it: the context subtracts the time from it.
    headers[_DEADLINE] = int(headers.get(_DEADLINE, 0))
    return response.read(), headers


def post_invocation_result(
    invoke_id: str, data: bytes, content_type: str, invocation_id: str | None = None
) -> None:
    """Send the answer of an invocation.

    Raises:
        RuntimeError: the Runtime API refused it.
    """
    response = _call("POST", f"{invoke_id}/response", data, {"Content-Type": content_type})
    response.read()
    if response.status != 202:
        raise RuntimeError(f"Failed to post invocation response: {response.status}")


def post_error(invoke_id: str, data: str, xray_fault: str, invocation_id: str | None = None) -> None:
    """Send the error of an invocation.

    Raises:
        RuntimeError: the Runtime API refused it.
    """
    headers = {"Content-Type": "application/json", "Lambda-Runtime-Function-Error-Type": "Unhandled"}
    response = _call("POST", f"{invoke_id}/error", data.encode(), headers)
    response.read()
    if response.status != 202:
        raise RuntimeError(f"Failed to post invocation error: {response.status}")
