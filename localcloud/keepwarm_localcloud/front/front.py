"""From HTTP to a service: which service is meant, who calls, whether they may, and how the answer is worded."""

import json
import sys
import traceback
import urllib.parse
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from keepwarm_localcloud.front.http import HttpRequest
from keepwarm_localcloud.front.http_body import AwsChunkedReader, HttpError
from keepwarm_localcloud.front.protocols import render_error
from keepwarm_localcloud.iam.credentials import Scope, scope_of, signature_of
from keepwarm_localcloud.request import AwsError, Request, Response, request_id
from keepwarm_localcloud.services.context import Context, Service

MAX_BODY_BYTES: Final = 104_857_600
"""Body of any service but S3. The largest AWS allows is a Lambda zip of 50 MB, which base64 makes 67 MB.
https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""
MAX_PRESIGNED_S: Final = 604_800
_LOCAL_HOSTS: Final = ("localhost", "127.0.0.1", "::1", "[::1]")
_TARGETS: Final = {
    "AmazonSQS": "sqs",
    "DynamoDB_20120810": "dynamodb",
    "Logs_20140328": "logs",
    "AWSStepFunctions": "states",
    "AmazonSSM": "ssm",
    "TrentService": "kms",
    "secretsmanager": "secretsmanager",
    "AWSEvents": "events",
    "AmazonEC2ContainerServiceV20141113": "ecs",
    "AnyScaleFrontendService": "application-autoscaling",
    "Route53AutoNaming_v20170314": "servicediscovery",
}


class Front:
    """The handler of the HTTP server."""

    def __init__(
        self,
        context: Context,
        services: Mapping[str, Service],
        inventory: Callable[[], dict[str, dict[str, list[str]]]],
    ) -> None:
        """Set up.

        Args:
            context: Of the cloud.
            services: Signing name -> service that answers itself; moto answers for the others.
            inventory: Everything that exists, for the control path of that name.
        """
        self._context, self._services, self._inventory = context, services, inventory

    def __call__(self, http: HttpRequest) -> Response:
        """Answer one HTTP request; never raises."""
        path, _, raw_query = http.target.partition("?")
        request = Request(
            http.method,
            urllib.parse.unquote(path, errors="surrogateescape"),
            urllib.parse.parse_qs(raw_query, keep_blank_values=True),
            http.headers,
            "",
            self._context.region,
            raw_path=http.target,
            content_length=max(http.content_length, 0),
        )
        try:
            return self._answer(http, request)
        except AwsError as error:
            return render_error(request, error)
        except HttpError as error:
            return render_error(request, AwsError("BadRequest", str(error), error.status))
        except ConnectionError:
            raise
        except Exception as error:
            # A defect of ours must reach the developer whole and the SDK as what it retries.
            traceback.print_exc(file=sys.stderr)
            self._context.journal.write(
                "internal_error",
                service=request.service,
                method=request.method,
                path=request.path,
                error=f"{type(error).__name__}: {error}",
            )
            return render_error(
                request,
                AwsError(
                    "InternalFailure", f"the embedded cloud failed: {type(error).__name__}: {error}", 500
                ),
            )

    def _answer(self, http: HttpRequest, request: Request) -> Response:
        self._check_origin(http)
        if request.path.startswith("/_keepwarm/"):
            request.body = _whole_body(http)
            return self._control(request)
        scope = scope_of(http.headers, request.query)
        request.service = _service_of(http, request, scope)
        if scope is not None:
            request.region = scope.region
            request.caller = self._context.credentials.caller(scope)
            if scope.presigned:
                self._check_expiry(request)
        elif request.service == "s3" and "AWSAccessKeyId" in request.query:
            self._check_version_two(request)
        if request.service == "s3":
            self._open_stream(http, request)
        else:
            request.body = _whole_body(http)
        if scope is not None and request.caller.role_arn is not None:
            self._verify(scope, request)
        self._context.iam.check(request)
        service = self._services.get(request.service)
        response = service.handle(request) if service is not None else None
        if response is None:
            if request.service == "s3":
                request.body = _whole_body(http)
            response = self._context.moto.handle(request)
        if "x-amzn-RequestId" not in response.headers and "x-amz-request-id" not in response.headers:
            name = "x-amz-request-id" if request.service == "s3" else "x-amzn-RequestId"
            response.headers[name] = request_id()
        return response

    def _check_origin(self, http: HttpRequest) -> None:
        # A page in a browser may send requests to loopback (and DNS may be rebound to it); an SDK sends no Origin.
        host = http.headers.get("host", "localhost")
        name = host if host.startswith("[") else host.partition(":")[0]
        name = name.partition("]")[0] + "]" if name.startswith("[") else name
        if name not in _LOCAL_HOSTS and not name.endswith((".localhost", ".amazonaws.com")):
            raise AwsError("AccessDenied", f"the embedded cloud is not {host}", 403)
        origin = http.headers.get("origin")
        if origin and (urllib.parse.urlsplit(origin).hostname or "") not in _LOCAL_HOSTS:
            raise AwsError("AccessDenied", f"a page of {origin} may not use the embedded cloud", 403)

    def _open_stream(self, http: HttpRequest, request: Request) -> None:
        request.stream = http.body
        sha = http.headers.get("x-amz-content-sha256", "")
        if sha.startswith("STREAMING-") or "aws-chunked" in http.headers.get("content-encoding", ""):
            request.stream = AwsChunkedReader(http.body)
            decoded = http.headers.get("x-amz-decoded-content-length", "")
            if not decoded.isdigit():
                raise AwsError(
                    "MissingContentLength", "You must provide the Content-Length HTTP header.", 411
                )
            request.content_length = int(decoded)
        elif http.content_length < 0:
            request.content_length = -1

    def _check_version_two(self, request: Request) -> None:
        """Take the presigned URLs of signature version 2, boto3's default: from the operator only, and in time."""
        key, until = request.query["AWSAccessKeyId"][0], request.query.get("Expires", [""])[0]
        if self._context.credentials.find(key) is not None:
            raise AwsError(
                "InvalidRequest",
                "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
            )
        if not until.isdigit() or self._context.clock.now_s() > int(until):
            raise AwsError("AccessDenied", "Request has expired", 403)

    def _check_expiry(self, request: Request) -> None:
        """Refuse a presigned URL past its time, on the cloud's clock.

        https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
        """
        stamp, seconds = (request.query.get(n, [""])[0] for n in ("X-Amz-Date", "X-Amz-Expires"))
        try:
            signed_s = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
            lasts_s = int(seconds)
        except ValueError as error:
            raise AwsError(
                "AuthorizationQueryParametersError", "X-Amz-Date and X-Amz-Expires must be well formed"
            ) from error
        if not 1 <= lasts_s <= MAX_PRESIGNED_S:
            raise AwsError(
                "AuthorizationQueryParametersError", "X-Amz-Expires must be between 1 and 604800 seconds"
            )
        if self._context.clock.now_s() > signed_s + lasts_s:
            raise AwsError("AccessDenied", "Request has expired", 403)

    def _verify(self, scope: Scope, request: Request) -> None:
        """Refuse a session whose signature or token is wrong; the operator's keys are not secrets and pass."""
        issued = self._context.credentials.find(scope.access_key)
        if issued is None:
            return
        headers, query = request.headers, request.query
        token = (
            query.get("X-Amz-Security-Token", [""])[0]
            if scope.presigned
            else headers.get("x-amz-security-token")
        )
        if token != issued.session_token:
            raise AwsError(
                "InvalidClientTokenId", "The security token included in the request is invalid.", 403
            )
        if scope.presigned:
            payload = "UNSIGNED-PAYLOAD"
        elif request.service == "s3":
            payload = headers.get("x-amz-content-sha256", "UNSIGNED-PAYLOAD")
        else:
            import hashlib

            payload = hashlib.sha256(request.body).hexdigest()
        expected = signature_of(
            issued.secret_access_key,
            scope,
            method=request.method,
            raw_path=request.raw_path,
            headers=headers,
            payload_hash=payload,
        )
        if expected != scope.signature:
            raise AwsError(
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match the signature you provided. Check your AWS "
                "Secret Access Key and signing method. Consult the service documentation for details.",
                403,
            )

    def _control(self, request: Request) -> Response:
        name = request.path.removeprefix("/_keepwarm/")
        query = {k: v[0] for k, v in request.query.items()}
        value: Any
        if name == "health":
            value = {
                "status": "ok",
                "services": sorted(self._services),
                "clock_s": self._context.clock.now_s(),
            }
        elif name == "inventory":
            value = self._inventory()
        elif name == "processes":
            value = self._context.processes.listing()
        elif name == "image-mirrors":
            value = self._image_mirrors(request)
        elif name == "journal":
            try:
                since, wait_s = int(query.get("since", "0")), min(float(query.get("wait_s", "0")), 60.0)
            except ValueError as error:
                raise AwsError("ValidationException", "since and wait_s must be numbers") from error
            entries = self._context.journal.wait_since(since, wait_s)
            return Response.of_json([entry.as_json() for entry in entries])
        else:
            raise AwsError("NotFound", f"there is no control path {request.path}", 404)
        return Response(200, {"Content-Type": "application/json"}, json.dumps(value, sort_keys=True).encode())

    def _image_mirrors(self, request: Request) -> dict[str, str]:
        if request.method == "PUT":
            mirrors = request.json()
            if not all(isinstance(value, str) for value in mirrors.values()):
                raise AwsError("ValidationException", "image mirrors map a repository to a directory")
            self._context.image_mirrors.update(mirrors)
        return self._context.image_mirrors


def _service_of(http: HttpRequest, request: Request, scope: Scope | None) -> str:
    if scope is not None:
        return scope.service
    target = http.headers.get("x-amz-target", "")
    if target:
        return _TARGETS.get(target.partition(".")[0], "")
    host = http.headers.get("host", "").partition(":")[0]
    if host.endswith(".amazonaws.com"):
        labels = host.removesuffix(".amazonaws.com").split(".")
        return "s3" if "s3" in labels else labels[0]
    if http.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return "sts"
    return "s3"


def _whole_body(http: HttpRequest) -> bytes:
    if http.content_length > MAX_BODY_BYTES:
        raise AwsError(
            "RequestEntityTooLargeException", f"The body is larger than {MAX_BODY_BYTES} bytes.", 413
        )
    body = http.body.read(MAX_BODY_BYTES + 1)
    if len(body) > MAX_BODY_BYTES:
        raise AwsError(
            "RequestEntityTooLargeException", f"The body is larger than {MAX_BODY_BYTES} bytes.", 413
        )
    if "aws-chunked" in http.headers.get("content-encoding", ""):
        import io

        return AwsChunkedReader(io.BytesIO(body)).read()  # type: ignore[arg-type]
    return body
