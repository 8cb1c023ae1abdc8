"""A package in a Lambda request: written once, and a zip file not sent again to a cloud that has it.

botocore turns the bytes of a zip into base64, that into text, the text into JSON and the JSON into bytes again: four
copies and 0.3 s for a package of 43 MB, most of the second deployment of a stack. Here the request is made without the
package, which is put into its place afterwards, as the same bytes.

A cloud keeps every package it took for as long as it runs. A zip file that this process has sent it before is named by
the digest that the cloud answered with then, in a header that AWS does not have; a cloud that does not know the digest
says so, and gets the package.
"""

from collections.abc import Callable
from typing import Any, Final, Protocol

import pybase64

from keepwarm_localcloud.package_by_digest import DIGEST_HEADER, UNKNOWN_PACKAGE, PackageByDigest

OPERATIONS: Final = ("CreateFunction", "UpdateFunctionCode", "PublishLayerVersion")
SMALL_BYTES: Final = 1 << 20
"""Up to this size botocore's own way costs nothing noticeable."""

_KEPT = "keepwarm_package"
_PLACE = b'"ZipFile": ""'


class Packages(Protocol):
    """Clients of a cloud, as far as packages go."""

    packages: dict[str, str]
    """Digest of the content -> digest that the cloud answered with."""


class Operation(Protocol):
    """The operation of a resource that sends a package."""

    @property
    def inputs(self) -> Any:
        """The resource's inputs; `code` is the package."""
        ...

    @property
    def aws(self) -> Packages:
        """Clients of the cloud."""
        ...

    def content(self, name: str) -> bytes:
        """The bytes of an input."""
        ...


def upload(call: Operation, send: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    """Send the package of the input `code`, by its digest where the cloud is known to have it.

    Args:
        call: the operation.
        send: makes the request with what it is given as code or content; its answer says `CodeSha256`.

    Raises:
        ResourceError: KW646, the archive can't be read.
        ClientError: the cloud refuses the request.
    """
    from botocore.exceptions import ClientError

    content_digest = call.inputs["code"].digest
    held = call.aws.packages.get(content_digest)
    if held is not None:
        try:
            return send({"ZipFile": PackageByDigest(held)})
        except ClientError as error:
            if error.response["Error"]["Code"] != UNKNOWN_PACKAGE:
                raise
            call.aws.packages.pop(content_digest, None)
    content = call.content("code")
    answer = send({"ZipFile": content})
    made = (answer.get("Content") or answer)["CodeSha256"]
    # Digests of folders and of the engine tell less than the bytes do (no modes, no kinds of parts), and a file may
    # change after its digest was taken: only what the cloud says it has is remembered.
    if len(content) > SMALL_BYTES and pybase64.b64decode(made).hex() == content_digest:
        call.aws.packages[content_digest] = made
    return answer


def install(client: Any) -> None:
    """Make a Lambda client send large packages this way."""
    for operation in OPERATIONS:
        client.meta.events.register(f"provide-client-params.lambda.{operation}", _take_out)
        client.meta.events.register(f"before-call.lambda.{operation}", _put_in)


def _take_out(params: dict[str, Any], context: dict[str, Any], **_: Any) -> dict[str, Any] | None:
    """Leave an empty package in a copy of the caller's parameters, keeping the real one for later."""
    for holder in ("Content", "Code"):
        if _is_for_us(params.get(holder)):
            context[_KEPT] = params[holder]["ZipFile"]
            return {**params, holder: {**params[holder], "ZipFile": b""}}
    if _is_for_us(params):
        context[_KEPT] = params["ZipFile"]
        return {**params, "ZipFile": b""}
    return None


def _is_for_us(holder: Any) -> bool:
    content = holder.get("ZipFile") if isinstance(holder, dict) else None
    return isinstance(content, PackageByDigest) or (isinstance(content, bytes) and len(content) > SMALL_BYTES)


def _put_in(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    content = context.pop(_KEPT, None)
    if content is None:
        return
    if isinstance(content, PackageByDigest):
        params["headers"][DIGEST_HEADER] = content.sha256
        return
    before, place, after = params["body"].partition(_PLACE)
    if not place:
        raise AssertionError("botocore wrote the empty package in a way this does not know")
    params["body"] = b"".join((before, b'"ZipFile": "', pybase64.b64encode(content), b'"', after))
