"""Checks on the URL of a function: https://docs.aws.amazon.com/lambda/latest/dg/urls-configuration.html"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, NotRequired, TypedDict

import pulumi

from keepwarm import limits
from keepwarm.checks.inputs import Checks
from keepwarm.checks.problems import Problem, show

METHODS = ("*", "DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
"""Methods that CORS of a function URL takes; Lambda answers OPTIONS itself."""
ORIGIN = r"\*|https?://[^\s/,]+"


class UrlAuth(StrEnum):
    """Who may call a function URL."""

    IAM = "iam"
    NONE = "none"


class UrlCors(TypedDict):
    """Browsers that may call a function URL from pages of other origins."""

    origins: list[pulumi.Input[str]]
    """Origins, ``https://example.com``, or ``*`` for all."""
    methods: NotRequired[list[str]]
    """Methods they may use. Default: GET."""
    headers: NotRequired[list[pulumi.Input[str]]]
    """Request headers they may send. Default: none beyond the ones browsers always allow."""
    exposed_headers: NotRequired[list[pulumi.Input[str]]]
    """Response headers their scripts may read. Default: none beyond the ones browsers always allow."""
    credentials: NotRequired[bool]
    """Whether cookies and authorization headers are sent along. Default: false."""
    max_age_s: NotRequired[pulumi.Input[int]]
    """Seconds a browser remembers these answers, 0..86400. Default: 0."""


class FunctionUrl(TypedDict):
    """An HTTPS address of a function's alias."""

    auth: NotRequired[UrlAuth]
    """``iam``: callers sign their requests and need the permissions that `url_caller_grants` gives. ``none``: everyone
    on the internet may call. Default: iam."""
    public_reason: NotRequired[str]
    """Why everyone may call it; needed with `auth` none. Default: none."""
    cors: NotRequired[UrlCors]
    """Pages of other origins that may call it. Default: none."""
    stream: NotRequired[bool]
    """Whether the response is sent while it is made, up to 200 MB of it; as a whole it is limited to 6 MB. Default:
    false."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CorsSpec:
    """CORS of a function URL after its check."""

    origins: list[pulumi.Input[str]]
    methods: list[str]
    headers: list[pulumi.Input[str]]
    exposed_headers: list[pulumi.Input[str]]
    credentials: bool
    max_age_s: pulumi.Input[int]


@dataclass(frozen=True, kw_only=True, slots=True)
class UrlSpec:
    """A function URL after its check."""

    auth: UrlAuth
    stream: bool
    cors: CorsSpec | None


def check_url(
    checks: Checks[Any], url: FunctionUrl, *, in_vpc: bool, runtime: pulumi.Input[str] | None
) -> UrlSpec:
    """The URL after its check.

    Args:
        checks: Takes the refusals.
        url: The input.
        in_vpc: Whether the function is attached to a VPC.
        runtime: Managed runtime that alone makes the response; None for an image or a bundle with layers, which may
            bring a runtime that streams.
    """
    auth = UrlAuth(url.get("auth", UrlAuth.IAM))
    reason = url.get("public_reason", "")
    if auth is UrlAuth.NONE and not reason.strip():
        checks.add(
            code="KW126",
            key="url.auth",
            got="'none'",
            allowed="'iam', or 'none' with public_reason",
            because="everyone on the internet could call the function, at your cost",
            fix="use 'iam', or say in public_reason why everyone may call it",
        )
    if auth is UrlAuth.IAM and reason:
        checks.add(
            code="KW102",
            key="url.public_reason",
            got="a reason for public access with auth 'iam'",
            allowed="it together with auth 'none'",
            because="only callers with permission reach the function",
            fix="remove public_reason, or set auth to 'none'",
        )
    stream = url.get("stream", False)
    if stream:
        _check_stream(checks, in_vpc=in_vpc, runtime=runtime)
    cors = _cors(checks, url["cors"]) if "cors" in url else None
    return UrlSpec(auth=auth, stream=stream, cors=cors)


def _check_stream(checks: Checks[Any], *, in_vpc: bool, runtime: pulumi.Input[str] | None) -> None:
    """Source: https://docs.aws.amazon.com/lambda/latest/dg/configuration-response-streaming.html"""
    if in_vpc:
        checks.add(
            code="KW126",
            key="url.stream",
            got="a function in a VPC",
            allowed="a function outside of a VPC",
            because="function URLs do not stream from a VPC",
            fix="drop stream, or leave the VPC",
        )
    if runtime is not None:
        checks.holds(_streams, runtime)


def _streams(runtime: Any) -> Problem | None:
    if not isinstance(runtime, str) or runtime.startswith(("nodejs", "provided")):
        return None
    return Problem(
        code="KW126",
        key="url.stream",
        got=f"runtime {runtime!r} without layers",
        allowed="a nodejs or provided runtime, an image, or a layer that streams (Lambda Web Adapter)",
        because="this managed runtime sends a response as a whole",
        fix="add such a layer, use an image, or drop stream",
    )


def _cors(checks: Checks[Any], cors: UrlCors) -> CorsSpec:
    at = "url.cors"
    origins = [checks.holds(partial(_origin, f"{at}.origins[{i}]"), o) for i, o in enumerate(cors["origins"])]
    methods = cors.get("methods", ["GET"])
    for index, method in enumerate(methods):
        if method not in METHODS:
            checks.add(
                code="KW126",
                key=f"{at}.methods[{index}]",
                got=show(method),
                allowed=", ".join(METHODS),
                because="Lambda takes no other method here and answers OPTIONS itself",
                fix="name the method in capitals, or drop it",
            )
    credentials = cors.get("credentials", False)
    if credentials and "*" in [o for o in origins if isinstance(o, str)]:
        checks.add(
            code="KW126",
            key=f"{at}.credentials",
            got="credentials for every origin",
            allowed="credentials for named origins",
            because="browsers refuse such an answer",
            fix="name the origins, or drop credentials",
        )
    _check_lengths(checks, at, cors)
    return CorsSpec(
        origins=origins,
        methods=methods,
        headers=cors.get("headers", []),
        exposed_headers=cors.get("exposed_headers", []),
        credentials=credentials,
        max_age_s=checks.number(
            "max_age_s",
            0,
            0,
            limits.LAMBDA_URL_CORS_MAX_AGE_S,
            code="KW126",
            unit="seconds",
            because="Lambda takes no longer time",
            args=cors,
            at=at,
        ),
    )


def _check_lengths(checks: Checks[Any], at: str, cors: Mapping[str, Any]) -> None:
    for key in ("origins", "headers", "exposed_headers"):
        given = cors.get(key, [])
        least = 1 if key == "origins" else 0
        if not least <= len(given) <= limits.LAMBDA_URL_CORS_ITEMS_MAX:
            checks.add(
                code="KW126",
                key=f"{at}.{key}",
                got=f"{len(given)} items",
                allowed=f"{least} to {limits.LAMBDA_URL_CORS_ITEMS_MAX}",
                because="Lambda takes no more" if given else "CORS without an origin allows nothing",
                fix="shorten the list" if given else "name an origin, or drop cors",
            )


def _origin(at: str, origin: Any) -> Problem | None:
    short = isinstance(origin, str) and len(origin) <= limits.LAMBDA_URL_ORIGIN_MAX_CHARS
    if short and re.fullmatch(ORIGIN, origin):
        return None
    return Problem(
        code="KW126",
        key=at,
        got=show(origin),
        allowed=f"'*', or 'https://<host>' of up to {limits.LAMBDA_URL_ORIGIN_MAX_CHARS} characters",
        because="a browser compares it with the scheme, host and port of a page",
        fix="write the origin without a path",
    )
