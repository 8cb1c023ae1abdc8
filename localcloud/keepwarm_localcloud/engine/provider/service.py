"""Pulumi's ResourceProvider protocol, answered from the table of resource types.

https://github.com/pulumi/pulumi/blob/master/proto/pulumi/provider.proto says what each call means.
"""

# The methods named like RPCs are the protocol's own; the proto file documents them.
# ruff: noqa: D102

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NoReturn

import grpc
from google.protobuf import any_pb2, empty_pb2
from pulumi.runtime.proto import provider_pb2 as pb
from pulumi.runtime.proto import provider_pb2_grpc, status_pb2

from keepwarm_localcloud.engine.provider.creations import Creations
from keepwarm_localcloud.pulumi_types import invokes, table
from keepwarm_localcloud.pulumi_types.aws import READ_TIMEOUT_S, Aws
from keepwarm_localcloud.pulumi_types.base import DEFAULTS_KEY, schema
from keepwarm_localcloud.pulumi_types.errors import PartiallyMade, ResourceError
from keepwarm_localcloud.pulumi_types.fields import UNKNOWN, suggestion
from keepwarm_localcloud.pulumi_types.wire import Properties, read_struct, write_struct

VERSION: Final = "7.51.1"
"""The pulumi-aws release whose properties the table follows."""

CONFIGURATION: Final = frozenset(
    {
        "accessKey",
        "allowedAccountIds",
        "defaultTags",
        "endpoints",
        "profile",
        "region",
        "s3UsePathStyle",
        "secretKey",
        "skipCredentialsValidation",
        "skipMetadataApiCheck",
        "skipRegionValidation",
        "skipRequestingAccountId",
        "token",
        "version",
    }
)
"""Provider inputs that are accepted. Credentials and endpoints are the embedded cloud's own, whatever is given."""

_KINDS: Final = {
    ("add", False): pb.PropertyDiff.ADD,
    ("add", True): pb.PropertyDiff.ADD_REPLACE,
    ("update", False): pb.PropertyDiff.UPDATE,
    ("update", True): pb.PropertyDiff.UPDATE_REPLACE,
    ("delete", False): pb.PropertyDiff.DELETE,
    ("delete", True): pb.PropertyDiff.DELETE_REPLACE,
}


def _secret_texts(value: Any) -> Iterator[str]:
    if isinstance(value, str) and len(value) >= 4:
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _secret_texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _secret_texts(inner)


def scrub(text: str, properties: Properties) -> str:
    """Take the texts of secret properties out of a message."""
    texts = {t for name in properties.secrets for t in _secret_texts(properties.values.get(name))}
    for secret in sorted(texts, key=len, reverse=True):
        text = text.replace(secret, "[secret]")
    return text


class AwsProvider(provider_pb2_grpc.ResourceProviderServicer):
    """Serves every provider instance of every program that is attached to this process."""

    def __init__(
        self,
        endpoint: str,
        on_operation: Callable[[str, str], None] | None = None,
        creations: Creations | None = None,
        *,
        read_timeout_s: float = READ_TIMEOUT_S,
    ) -> None:
        self._creations = creations or Creations(None)
        self._endpoint = endpoint
        self._read_timeout_s = read_timeout_s
        self._cancelled = threading.Event()
        self._default = Aws(endpoint, cancelled=self._cancelled, read_timeout_s=read_timeout_s)
        # The engine opens one connection per provider instance, which tells them apart in one process.
        self._by_peer: dict[str, Aws] = {}
        self._shared: dict[str, Aws] = {}
        self._lock = threading.Lock()
        self._on_operation = on_operation or (lambda operation, urn: None)

    def close(self) -> None:
        """Close the connections to the cloud."""
        self._default.close()
        for aws in self._shared.values():
            aws.close()

    # Who is who.

    def Handshake(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._cancelled.clear()
        return pb.ProviderHandshakeResponse(accept_secrets=True, accept_resources=False, accept_outputs=False)

    def Attach(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._cancelled.clear()
        return empty_pb2.Empty()

    def GetPluginInfo(self, request: Any, context: grpc.ServicerContext) -> Any:
        return _plugin_info()

    def GetSchema(self, request: Any, context: grpc.ServicerContext) -> Any:
        return pb.GetSchemaResponse(schema=package_schema())

    def GetMapping(self, request: Any, context: grpc.ServicerContext) -> Any:
        return pb.GetMappingResponse()

    def GetMappings(self, request: Any, context: grpc.ServicerContext) -> Any:
        return pb.GetMappingsResponse()

    def Cancel(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._cancelled.set()
        return empty_pb2.Empty()

    # Configuration.

    def CheckConfig(self, request: Any, context: grpc.ServicerContext) -> Any:
        properties = read_struct(request.news)
        failures = []
        for name in sorted(set(properties.values) - CONFIGURATION):
            hint = suggestion(name, dict.fromkeys(CONFIGURATION))
            reason = f"KW631 got a provider property that is not supported here; {hint or 'fix: leave it out locally'}"
            failures.append(pb.CheckFailure(property=name, reason=reason))
        return pb.CheckResponse(inputs=request.news, failures=failures)

    def DiffConfig(self, request: Any, context: grpc.ServicerContext) -> Any:
        old = read_struct(request.old_inputs if request.HasField("old_inputs") else request.olds).values
        new = read_struct(request.news).values
        changed = sorted(k for k in {*old, *new} if k != "version" and old.get(k) != new.get(k))
        return pb.DiffResponse(
            changes=pb.DiffResponse.DIFF_SOME if changed else pb.DiffResponse.DIFF_NONE,
            diffs=changed,
            replaces=[k for k in changed if k == "region"],
        )

    def Configure(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._cancelled.clear()
        given = read_struct(request.args).values
        for name, value in request.variables.items():
            given.setdefault(name.rpartition(":")[2], value)
        region = given.get("region")
        tags = given.get("defaultTags")
        parsed = json.loads(tags) if isinstance(tags, str) and tags else tags or {}
        wanted = (
            {str(k): str(v) for k, v in (parsed.get("tags") or {}).items()}
            if isinstance(parsed, dict)
            else {}
        )
        where = region if isinstance(region, str) and region else "us-east-1"
        key = f"{where} {sorted(wanted.items())}"
        with self._lock:
            if key not in self._shared:
                self._shared[key] = Aws(
                    self._endpoint,
                    region=where,
                    cancelled=self._cancelled,
                    default_tags=wanted,
                    read_timeout_s=self._read_timeout_s,
                )
            self._by_peer[context.peer()] = self._shared[key]
            self._default = self._shared[key]
        return pb.ConfigureResponse(acceptSecrets=True, supportsPreview=True, acceptResources=False)

    def _aws(self, context: grpc.ServicerContext) -> Aws:
        with self._lock:
            return self._by_peer.get(context.peer(), self._default)

    # Resources.

    def Check(self, request: Any, context: grpc.ServicerContext) -> Any:
        token = _type_of(request.urn)
        try:
            news = read_struct(request.news)
            olds = read_struct(request.olds).values if request.HasField("olds") else None
            inputs, failures = table.check(
                token, request.urn, news.values, olds or None, seed=bytes(request.randomSeed)
            )
        except ResourceError as error:
            _abort(context, str(error))
        # The engine prints the value of a property named as such, a secret one too: name those in the text only.
        hidden = _secrets(token, news)
        reported = [
            pb.CheckFailure(
                property="" if path.split(".")[0].split("[")[0] in hidden else path,
                reason=scrub(f"{reason} ({token}, property {path})", news),
            )
            for path, reason in failures
        ]
        return pb.CheckResponse(inputs=write_struct(inputs, _secrets(token, news)), failures=reported)

    def Diff(self, request: Any, context: grpc.ServicerContext) -> Any:
        token = _type_of(request.urn)
        try:
            olds, news = read_struct(request.olds).values, read_struct(request.news).values
            old_inputs = read_struct(request.old_inputs).values if request.HasField("old_inputs") else olds
            ignored = frozenset(p for p in request.ignoreChanges if "." not in p and "[" not in p)
            tags = self._aws(context).default_tags
            difference = table.diff(token, old_inputs, olds, news, ignore=ignored, default_tags=tags)
        except ResourceError as error:
            _abort(context, str(error))
        paths = [c.path for c in difference.changes]
        return pb.DiffResponse(
            changes=pb.DiffResponse.DIFF_SOME if paths else pb.DiffResponse.DIFF_NONE,
            diffs=paths,
            replaces=list(difference.replaces),
            detailedDiff={
                c.path: pb.PropertyDiff(kind=_KINDS[c.kind, c.replaces], inputDiff=True)
                for c in difference.changes
            },
            hasDetailedDiff=True,
            deleteBeforeReplace=difference.delete_first and bool(difference.replaces),
        )

    def Create(self, request: Any, context: grpc.ServicerContext) -> Any:
        token = _type_of(request.urn)
        properties = Properties({})
        try:
            properties = read_struct(request.properties)
            secrets = _secrets(token, properties)
            if request.preview:
                tags = self._aws(context).default_tags
                outputs = table.preview_outputs(token, properties.values, default_tags=tags)
                return pb.CreateResponse(properties=write_struct(_visible(outputs), secrets))
            self._creations.begin(request.urn, token, properties.values, secrets)
            self._on_operation("create", request.urn)
            id_, outputs = table.create(
                token, request.urn, self._aws(context), properties.values, timeout_s=request.timeout or None
            )
            self._creations.end(request.urn, id_)
        except PartiallyMade as error:
            self._creations.end(request.urn, error.id)
            self._partial(context, token, error, request.properties, properties)
        except ResourceError as error:
            # An answer may be lost after the cloud did its part: then the note stays, and the next run looks.
            if not request.preview and not table.may_exist(token, properties.values, error):
                self._creations.end(request.urn, "")
            _abort(context, scrub(str(error), properties))
        self._on_operation("created", request.urn)
        return pb.CreateResponse(id=id_, properties=write_struct(_visible(outputs), secrets))

    def _partial(
        self,
        context: grpc.ServicerContext,
        token: str,
        error: PartiallyMade,
        inputs: Any,
        properties: Properties,
    ) -> NoReturn:
        """Tell the engine that the resource exists, so that it stands in the state and the next run goes on."""
        text = scrub(str(error), properties)
        detail = any_pb2.Any()
        detail.Pack(
            pb.ErrorResourceInitFailed(
                id=error.id,
                properties=write_struct(_visible(error.outputs), _secrets(token, properties)),
                reasons=[text],
                inputs=inputs,
            )
        )
        _abort(context, text, detail)

    def Update(self, request: Any, context: grpc.ServicerContext) -> Any:
        token = _type_of(request.urn)
        news = Properties({})
        try:
            news = read_struct(request.news)
            olds = read_struct(request.olds).values
            old_inputs = read_struct(request.old_inputs).values if request.HasField("old_inputs") else olds
            ignored = frozenset(p for p in request.ignoreChanges if "." not in p and "[" not in p)
            secrets = _secrets(token, news)
            if request.preview:
                changed = table.diff(token, old_inputs, olds, news.values, ignore=ignored).changed
                tags = self._aws(context).default_tags
                outputs = table.preview_outputs(token, news.values, olds, changed, tags)
                return pb.UpdateResponse(properties=write_struct(_visible(outputs), secrets))
            self._on_operation("update", request.urn)
            outputs = table.update(
                token,
                request.urn,
                self._aws(context),
                request.id,
                old_inputs,
                olds,
                news.values,
                ignore=ignored,
                timeout_s=request.timeout or None,
            )
            outputs.pop("id", None)
        except ResourceError as error:
            _abort(context, scrub(str(error), news))
        self._on_operation("updated", request.urn)
        return pb.UpdateResponse(properties=write_struct(_visible(outputs), secrets))

    def Read(self, request: Any, context: grpc.ServicerContext) -> Any:
        token = _type_of(request.urn)
        try:
            state = read_struct(request.properties)
            inputs = read_struct(request.inputs)
            self._on_operation("read", request.urn)
            found = table.read(
                token, request.urn, self._aws(context), request.id, inputs.values, state.values
            )
        except ResourceError as error:
            _abort(context, str(error))
        if found is None:
            return pb.ReadResponse()
        id_, real_inputs, outputs = found
        secrets = _secrets(token, inputs) | state.secrets
        return pb.ReadResponse(
            id=id_,
            properties=write_struct(_visible(outputs), secrets),
            inputs=write_struct(real_inputs, secrets),
        )

    def Delete(self, request: Any, context: grpc.ServicerContext) -> Any:
        token = _type_of(request.urn)
        state = Properties({})
        try:
            state = read_struct(request.properties)
            inputs = read_struct(request.old_inputs)
            self._on_operation("delete", request.urn)
            table.delete(
                token,
                request.urn,
                self._aws(context),
                request.id,
                inputs.values,
                state.values,
                timeout_s=request.timeout or None,
            )
        except ResourceError as error:
            _abort(context, scrub(str(error), state))
        self._on_operation("deleted", request.urn)
        return empty_pb2.Empty()

    # Data sources.

    def Invoke(self, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            args = read_struct(request.args)
            if any(v is UNKNOWN for v in args.values.values()):
                return pb.InvokeResponse()
            answer = invokes.invoke(request.tok, self._aws(context), args.values)
        except ResourceError as error:
            _abort(context, str(error))
        secrets = {"value", "insecureValue"} & set(answer) if "getParameter" in request.tok else set()
        return pb.InvokeResponse(
            **{"return": write_struct(answer, secrets if args.values.get("withDecryption") else set())}
        )


def _type_of(urn: str) -> str:
    """Resource type in a URN: the last part of its chain of parents."""
    return urn.split("::")[2].rpartition("$")[2]


def _secrets(token: str, properties: Properties) -> set[str]:
    """Names of the secret properties: what the program marked, what the type declares."""
    kind = table.find(token)
    declared = {name for name, of in kind.fields.items() if of.secret} | set(kind.secret_outputs)
    # What is made of a secret is one: `tagsAll` holds the tags.
    derived = {"tagsAll"} if "tags" in properties.secrets else set()
    return properties.secrets | declared | derived


def _visible(outputs: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in outputs.items() if k != DEFAULTS_KEY}


def _abort(context: grpc.ServicerContext, text: str, detail: any_pb2.Any | None = None) -> NoReturn:
    """End a call with an error that the engine shows as it is."""
    if detail is not None:
        status = status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0], message=text, details=[detail])
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(grpc.StatusCode.UNKNOWN, text)
    raise AssertionError("abort raises")


def _plugin_info() -> Any:
    from pulumi.runtime.proto import plugin_pb2

    return plugin_pb2.PluginInfo(version=VERSION)


def package_schema() -> str:
    """The part of Pulumi's package schema that says which types exist here; shapes come from the SDK."""
    resources = {
        token: {
            "isComponent": False,
            "inputProperties": {name: {"type": "string", "plain": False} for name in facts["inputs"]},
            "requiredInputs": facts["required"],
            "properties": {name: {"type": "string"} for name in facts["outputs"]},
        }
        for token, facts in schema().items()
    }
    return json.dumps({"name": "aws", "version": VERSION, "resources": resources, "functions": {}})
