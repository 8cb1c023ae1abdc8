"""Lambda's REST API as botocore's own model of it states it: routes, places of parameters and constraints.

Reading the model instead of writing the routes down twice keeps the surface the one boto3 and the AWS CLI speak, and
its constraints (ranges, lengths, patterns, enumerations) are checked here with the sentences AWS uses for them.
"""

import functools
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from keepwarm import limits
from keepwarm_localcloud.package_by_digest import DIGEST_HEADER, PackageByDigest
from keepwarm_localcloud.request import AwsError, Request

_MAXIMA = {
    "Timeout": limits.LAMBDA_TIMEOUT_MAX_S,
    "MemorySize": limits.LAMBDA_MEMORY_MAX_MB,
    "EphemeralStorageSize": limits.LAMBDA_EPHEMERAL_MAX_MB,
}
"""The model states the wider ranges of managed instances; these hold for every other function."""
_UNCHECKED_ENUMS = frozenset({"Runtime"})
"""AWS answers a bad runtime with InvalidParameterValueException, not with the model's constraint."""
LARGE_BODY_BYTES = 1 << 20
_PACKAGE = re.compile(rb'"ZipFile"\s*:\s*"')


class Operation(NamedTuple):
    """One operation: how it is addressed and the shape of what it takes."""

    name: str
    method: str
    route: re.Pattern[str]
    query: dict[str, list[str]]
    status: int
    shape: str


class Api:
    """The routes and shapes of Lambda."""

    def __init__(self) -> None:
        # Imported with the first request: it would delay the start of the cloud.
        from botocore.loaders import Loader

        model = Loader().load_service_model("lambda", "service-2")
        self._shapes: dict[str, dict[str, Any]] = model["shapes"]
        self._operations = [self._operation(o) for o in model["operations"].values()]
        # A route that names a query parameter (`?List=ALL`) must win over the same path without it.
        self._operations.sort(key=lambda o: -len(o.query))
        self._patterns: dict[str, re.Pattern[str] | None] = {}

    def _operation(self, model: Mapping[str, Any]) -> Operation:
        uri = urlsplit(model["http"]["requestUri"])
        route = re.sub(
            r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(uri.path.rstrip("/")).replace(r"\-", "-")
        )
        return Operation(
            model["name"],
            model["http"]["method"],
            re.compile(route + "/?"),
            parse_qs(uri.query),
            model["http"].get("responseCode", 200),
            model["input"]["shape"],
        )

    def match(self, request: Request) -> tuple[Operation, dict[str, str]]:
        """Find the operation a request means, and the parameters in its path.

        Raises:
            AwsError: Lambda has no such operation (UnknownOperationException).
        """
        path = (request.raw_path or request.path).split("?")[0]
        for operation in self._operations:
            found = operation.route.fullmatch(path) if operation.method == request.method else None
            if found and all(request.query.get(k) == v for k, v in operation.query.items()):
                return operation, {k: unquote(v) for k, v in found.groupdict().items()}
        raise AwsError("UnknownOperationException", f"Lambda has no {request.method} {path}", 404)

    def parse(self, operation: Operation, uri: Mapping[str, str], request: Request) -> dict[str, Any]:
        """Collect the parameters of a request from path, query, headers and body, and check their constraints.

        Raises:
            AwsError: SerializationException or ValidationException, in AWS's words.
        """
        shape = self._shapes[operation.shape]
        members: dict[str, Any] = shape["members"]
        params: dict[str, Any] = {}
        payload = shape.get("payload")
        in_body = [n for n, m in members.items() if "location" not in m]
        body = _parsed(request) if in_body and payload is None else {}
        for name, member in members.items():
            value = self._located(name, member, uri, request, body)
            if name == payload:
                value = request.body
            if value is not None:
                params[name] = value
        unbounded = "CapacityProviderConfig" in params
        problems: list[str] = []
        self._check(operation.shape, params, "", problems, unbounded=unbounded)
        if problems:
            count = f"{len(problems)} validation error{'s' if len(problems) > 1 else ''} detected: "
            raise AwsError("ValidationException", count + "; ".join(problems))
        return params

    def _located(
        self,
        name: str,
        member: Mapping[str, Any],
        uri: Mapping[str, str],
        request: Request,
        body: Mapping[str, Any],
    ) -> Any:
        wire = member.get("locationName", name)
        match member.get("location"):
            case "uri":
                return self._number(member, uri.get(wire))
            case "querystring":
                values = request.query.get(wire)
                if values is None or self._shapes[member["shape"]]["type"] == "list":
                    return values
                return self._number(member, values[0])
            case "header":
                return request.headers.get(wire.lower())
        return body.get(wire)

    def _number(self, member: Mapping[str, Any], text: str | None) -> int | str | None:
        """Text of an address, as a number where the parameter is one."""
        kind = self._shapes[member["shape"]]["type"]
        return int(text) if text and kind in ("integer", "long") and text.isdigit() else text

    def _pattern(self, text: str) -> re.Pattern[str] | None:
        if text not in self._patterns:
            try:
                self._patterns[text] = re.compile(text)
            except re.error:
                # A few patterns of the model are Java's alone; such a value goes unchecked here.
                self._patterns[text] = None
        return self._patterns[text]

    def _check(self, name: str, value: Any, path: str, problems: list[str], *, unbounded: bool) -> None:
        shape = self._shapes[name]
        kind = shape["type"]
        if kind == "structure" and isinstance(value, dict):
            for required in shape.get("required", ()):
                if value.get(required) is None:
                    where = _join(path, required)
                    problems.append(
                        f"Value null at '{where}' failed to satisfy constraint: Member must not be null"
                    )
            for key, member in shape["members"].items():
                if value.get(key) is not None:
                    self._check(member["shape"], value[key], _join(path, key), problems, unbounded=unbounded)
        elif kind == "list" and isinstance(value, list):
            self._bounds(shape, len(value), value, path, problems, "length")
            for index, item in enumerate(value, 1):
                self._check(
                    shape["member"]["shape"], item, f"{path}.{index}.member", problems, unbounded=unbounded
                )
        elif kind == "map" and isinstance(value, dict):
            for key, item in value.items():
                self._check(shape["key"]["shape"], key, f"{path}.key", problems, unbounded=unbounded)
                self._check(
                    shape["value"]["shape"], item, f"{path}.{key}.member", problems, unbounded=unbounded
                )
        else:
            self._scalar(name, shape, value, path, problems, unbounded=unbounded)

    def _scalar(
        self, name: str, shape: dict[str, Any], value: Any, path: str, problems: list[str], *, unbounded: bool
    ) -> None:
        kind = shape["type"]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        wrong = (kind in ("integer", "long", "double", "float") and not number) or (
            kind == "string" and not isinstance(value, str)
        )
        if wrong or kind in ("structure", "list", "map"):
            raise AwsError("SerializationException", f"The value at '{path}' must be of type {kind}.")
        if kind in ("integer", "long") and value != int(value):
            raise AwsError("SerializationException", f"The value at '{path}' must be of type {kind}.")
        if number and kind != "string":
            bounds = shape if unbounded or name not in _MAXIMA else {**shape, "max": _MAXIMA[name]}
            self._bounds(bounds, value, value, path, problems, "value")
        elif kind == "string":
            shown = "Value" if shape.get("sensitive") else f"Value '{value}'"
            self._bounds(shape, len(value), value, path, problems, "length")
            pattern = self._pattern(shape["pattern"]) if "pattern" in shape else None
            if pattern and not pattern.fullmatch(value):
                problems.append(
                    f"{shown} at '{path}' failed to satisfy constraint: Member must satisfy regular expression "
                    f"pattern: {shape['pattern']}"
                )
            if "enum" in shape and value not in shape["enum"] and name not in _UNCHECKED_ENUMS:
                problems.append(
                    f"{shown} at '{path}' failed to satisfy constraint: Member must satisfy enum value set: "
                    f"[{', '.join(shape['enum'])}]"
                )

    def _bounds(
        self, shape: Mapping[str, Any], size: float, value: Any, path: str, problems: list[str], what: str
    ) -> None:
        for key, words, broken in (
            ("min", "greater", size < shape.get("min", size)),
            ("max", "less", size > shape.get("max", size)),
        ):
            if broken:
                shown = "Value" if shape.get("sensitive") else f"Value '{value}'"
                problems.append(
                    f"{shown} at '{path}' failed to satisfy constraint: Member must have {what} {words} than or "
                    f"equal to {shape[key]}"
                )


def _parsed(request: Request) -> dict[str, Any]:
    """The body as an object; its package as a `PackageByDigest` if only the digest came, as bytes if it is large.

    As text a large package would be copied twice more.
    """
    digest = request.headers.get(DIGEST_HEADER.lower())
    if digest is not None:
        named = request.json()
        for holder in _package_holders(named):
            holder["ZipFile"] = PackageByDigest(digest)
        return named
    found = _PACKAGE.search(request.body) if len(request.body) > LARGE_BODY_BYTES else None
    if found is None:
        return request.json()
    start, end = found.end(), request.body.find(b'"', found.end())
    # A backslash: not base64 but JSON's own escapes, which only the parser can read.
    if end < 0 or request.body.find(b"\\", start, end) >= 0:
        return request.json()
    rest = replace(request, body=request.body[:start] + request.body[end:]).json()
    for holder in _package_holders(rest):
        holder["ZipFile"] = memoryview(request.body)[start:end]
        return rest
    return request.json()


def _package_holders(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The parts of a body with an empty package in it."""
    places = (body, body.get("Code"), body.get("Content"))
    return [holder for holder in places if isinstance(holder, dict) and holder.get("ZipFile") == ""]


def _join(path: str, name: str) -> str:
    lowered = name[:1].lower() + name[1:]
    return f"{path}.{lowered}" if path else lowered


@functools.cache
def lambda_api() -> Api:
    """Lambda's routes, read once for whoever asks which operation a request means."""
    return Api()
