"""A package in a Lambda request, written once.

botocore turns the bytes of a zip into base64, that into text, the text into JSON and the JSON into bytes again: four
copies and 0.3 s for a package of 43 MB, most of the second deployment of a stack. Here the request is made without the
package, which is put into its place afterwards, as the same bytes.
"""

from typing import Any, Final

import pybase64

OPERATIONS: Final = ("CreateFunction", "UpdateFunctionCode", "PublishLayerVersion")
SMALL_BYTES: Final = 1 << 20
"""Up to here botocore's own way costs nothing that one would notice."""

_KEPT = "keepwarm_package"
_PLACE = b'"ZipFile": ""'


def install(client: Any) -> None:
    """Make a Lambda client send large packages this way."""
    for operation in OPERATIONS:
        client.meta.events.register(f"provide-client-params.lambda.{operation}", _take_out)
        client.meta.events.register(f"before-call.lambda.{operation}", _put_in)


def _take_out(params: dict[str, Any], context: dict[str, Any], **_: Any) -> dict[str, Any] | None:
    """Leave an empty package in a copy of the caller's parameters, keeping the real one for later."""
    for holder in ("Content", "Code"):
        if _is_large(params.get(holder)):
            context[_KEPT] = params[holder]["ZipFile"]
            return {**params, holder: {**params[holder], "ZipFile": b""}}
    if _is_large(params):
        context[_KEPT] = params["ZipFile"]
        return {**params, "ZipFile": b""}
    return None


def _is_large(holder: Any) -> bool:
    content = holder.get("ZipFile") if isinstance(holder, dict) else None
    return isinstance(content, bytes) and len(content) > SMALL_BYTES


def _put_in(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    content = context.pop(_KEPT, None)
    if content is None:
        return
    before, place, after = params["body"].partition(_PLACE)
    if not place:
        raise AssertionError("botocore wrote the empty package in a way this does not know")
    params["body"] = b"".join((before, b'"ZipFile": "', pybase64.b64encode(content), b'"', after))
