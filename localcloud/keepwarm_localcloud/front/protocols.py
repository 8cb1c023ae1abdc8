"""How AWS words a refusal on the wire, per protocol."""

import json
from typing import Any, Final

from keepwarm_localcloud.request import AwsError, Request, Response, escape, request_id

_SENDER_LIMIT: Final = 500

_SQS_CODES: Final = {
    "QueueDoesNotExist": "AWS.SimpleQueueService.NonExistentQueue",
    "QueueNameExists": "QueueAlreadyExists",
    **{
        name: f"AWS.SimpleQueueService.{name}"
        for name in (
            "BatchEntryIdsNotDistinct",
            "BatchRequestTooLong",
            "EmptyBatchRequest",
            "InvalidBatchEntryId",
            "MessageNotInflight",
            "PurgeQueueInProgress",
            "QueueDeletedRecently",
            "TooManyEntriesInBatchRequest",
            "UnsupportedOperation",
        )
    },
}
"""Codes of the former query protocol of SQS, which SDKs still show.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/CommonErrors.html"""


def protocol_of(request: Request) -> str:
    """The protocol a request is written in: `rest-xml`, `json`, `query`, `ec2`, `cbor` or `rest-json`."""
    if request.service in ("s3", "s3express"):
        return "rest-xml"
    if "x-amz-target" in request.headers:
        return "json"
    if request.headers.get("smithy-protocol") == "rpc-v2-cbor":
        return "cbor"
    if request.service == "ec2":
        return "ec2"
    if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return "query"
    if "Action" in request.query:
        return "query"
    return "rest-json"


def render_error(request: Request, error: AwsError) -> Response:
    """Turn a refusal into the answer its SDK understands."""
    identifier = request_id()
    kind = protocol_of(request)
    headers = {str(k): str(v) for k, v in error.extra.get("headers", {}).items()}
    fields = {k: v for k, v in error.extra.items() if k != "headers"}
    if kind == "rest-xml":
        return _s3(request, error, identifier, headers, fields)
    if kind in ("query", "ec2"):
        return _xml(kind, error, identifier, headers, fields)
    headers["x-amzn-RequestId"] = identifier
    headers["x-amzn-ErrorType"] = error.code
    if kind == "cbor":
        body = _cbor({"__type": error.code, "message": error.message})
        return Response(
            error.status,
            {**headers, "Content-Type": "application/cbor", "smithy-protocol": "rpc-v2-cbor"},
            body,
        )
    document: dict[str, Any] = {"message": error.message, **fields}
    if kind == "json":
        # SQS keeps the error codes of its former query protocol in a header of its own.
        if request.service == "sqs":
            side = "Sender" if error.status < _SENDER_LIMIT else "Receiver"
            headers["x-amzn-query-error"] = f"{_SQS_CODES.get(error.code, error.code)};{side}"
            document["__type"] = f"com.amazonaws.sqs#{error.code.rpartition('.')[2]}"
        else:
            document["__type"] = error.code
        version = request.headers.get("content-type", "application/x-amz-json-1.1")
        headers["Content-Type"] = version
    else:
        headers["Content-Type"] = "application/json"
        document.setdefault("Type", "User" if error.status < _SENDER_LIMIT else "Service")
    return Response(error.status, headers, json.dumps(document).encode())


def _s3(
    request: Request, error: AwsError, identifier: str, headers: dict[str, str], fields: dict[str, Any]
) -> Response:
    headers["x-amz-request-id"] = identifier.replace("-", "").upper()[:16]
    headers["x-amz-id-2"] = identifier
    if error.status == 304 or request.method == "HEAD":
        headers["Content-Type"] = "application/xml"
        return Response(error.status, headers, b"")
    parts = {"Code": error.code, "Message": error.message, **fields}
    parts.setdefault("Resource", request.path)
    parts["RequestId"] = headers["x-amz-request-id"]
    parts["HostId"] = identifier
    body = "".join(f"<{k}>{escape(str(v))}</{k}>" for k, v in parts.items())
    headers["Content-Type"] = "application/xml"
    return Response(
        error.status, headers, f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{body}</Error>'.encode()
    )


def _xml(
    kind: str, error: AwsError, identifier: str, headers: dict[str, str], fields: dict[str, Any]
) -> Response:
    code, message = escape(error.code), escape(error.message)
    more = "".join(f"<{k}>{escape(str(v))}</{k}>" for k, v in fields.items())
    headers["Content-Type"] = "text/xml"
    headers["x-amzn-RequestId"] = identifier
    if kind == "ec2":
        text = (
            f"<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message>{more}</Error></Errors>"
            f"<RequestID>{identifier}</RequestID></Response>"
        )
    else:
        side = "Sender" if error.status < _SENDER_LIMIT else "Receiver"
        text = (
            f"<ErrorResponse><Error><Type>{side}</Type><Code>{code}</Code><Message>{message}</Message>{more}</Error>"
            f"<RequestId>{identifier}</RequestId></ErrorResponse>"
        )
    return Response(error.status, headers, text.encode())


def _cbor(value: dict[str, str]) -> bytes:
    def text(item: str) -> bytes:
        raw = item.encode()
        if len(raw) < 24:
            return bytes((0x60 + len(raw),)) + raw
        return b"\x79" + len(raw).to_bytes(2, "big") + raw

    return bytes((0xA0 + len(value),)) + b"".join(text(k) + text(v[:65_535]) for k, v in value.items())
