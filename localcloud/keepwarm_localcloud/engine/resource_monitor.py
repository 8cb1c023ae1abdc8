"""The resource monitor that the in-process driver gives to the Pulumi SDK: the engine's decisions, one request a time.

The SDK calls these methods from the threads of its executor, so several resources are made at once.
"""

# The methods named like RPCs are the interface of the SDK's monitor; Pulumi's resource.proto says what they mean.
# ruff: noqa: D102

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from google.protobuf import empty_pb2, struct_pb2
from pulumi.runtime.mocks import MockMonitor, Mocks
from pulumi.runtime.proto import resource_pb2, source_pb2

from keepwarm_localcloud.engine.durations import seconds
from keepwarm_localcloud.engine.lifecycle import Lifecycle
from keepwarm_localcloud.engine.process_wide import ProcessWide
from keepwarm_localcloud.engine.results import Failure
from keepwarm_localcloud.engine.state import ResourceState
from keepwarm_localcloud.engine.target import Target
from keepwarm_localcloud.pulumi_types import invokes, table
from keepwarm_localcloud.pulumi_types.compare import refuse
from keepwarm_localcloud.pulumi_types.errors import ResourceError
from keepwarm_localcloud.pulumi_types.fields import has_unknown
from keepwarm_localcloud.pulumi_types.wire import read_struct, write_struct

_FEATURES: Final = (
    resource_pb2.RESOURCE_MONITOR_FEATURE_SECRETS,
    resource_pb2.RESOURCE_MONITOR_FEATURE_RESOURCE_REFERENCES,
    resource_pb2.RESOURCE_MONITOR_FEATURE_ALIAS_SPECS,
    resource_pb2.RESOURCE_MONITOR_FEATURE_DELETED_WITH,
    resource_pb2.RESOURCE_MONITOR_FEATURE_TRANSFORMS,
    resource_pb2.RESOURCE_MONITOR_FEATURE_PARAMETERIZATION,
)


def _drop_positions() -> Callable[[], object]:
    from pulumi.runtime import resource

    before = getattr(resource, "_get_stack_trace", None)
    if before is None:
        return lambda: None
    resource._get_stack_trace = source_pb2.StackTrace
    return lambda: setattr(resource, "_get_stack_trace", before)


WITHOUT_POSITIONS: Final = ProcessWide(_drop_positions)
"""Let the SDK not look up where in the program each resource is made: this monitor has no use for it.

Walking and reading the stack is a tenth of an update without changes. Where the SDK has no such function, it is left as
it is."""


async def _awaited(answer: Awaitable[Any]) -> Any:
    return await answer


class _NoMocks(Mocks):
    """The base class wants mocks; this monitor answers every request itself."""

    def call(self, args: Any) -> Any:
        raise NotImplementedError

    def new_resource(self, args: Any) -> Any:
        raise NotImplementedError


class Monitor(MockMonitor):
    """Decides for one run of one program."""

    def __init__(self, target: Target, *, dry_run: bool) -> None:
        super().__init__(_NoMocks())
        self._target = target
        self._life = Lifecycle(target, dry_run=dry_run)
        self.dry_run = dry_run
        self.loop: asyncio.AbstractEventLoop | None = None
        self.changes = self._life.changes
        self.failures: list[Failure] = []
        self.stack_outputs: dict[str, Any] = {}
        self.secret_outputs: set[str] = set()
        self._lock, self._seen = self._life.lock, self._life.seen
        self._failed: set[str] = set()
        self._was: dict[str, set[str]] = {}
        """New URN -> URNs it may have had before, by aliases of its own and of its parents."""
        self._stack_urn = ""
        self._stack_callbacks: list[Any] = []

    # What the SDK asks.

    def GetDeploymentInfo(self, request: Any) -> Any:
        return resource_pb2.DeploymentInfo(supportedFeatures=list(_FEATURES))

    def SupportsFeature(self, request: Any) -> Any:
        known = {"secrets", "resourceReferences", "aliasSpecs", "deletedWith", "transforms"}
        return resource_pb2.SupportsFeatureResponse(hasSupport=request.id in known)

    def RegisterStackTransform(self, request: Any) -> Any:
        self._stack_callbacks.append(request)
        return empty_pb2.Empty()

    def RegisterStackInvokeTransform(self, request: Any) -> Any:
        raise ResourceError(
            "KW634",
            "stack: got an invoke transform; allowed resource transforms; because the in-process driver has none",
        )

    def RegisterPackage(self, request: Any) -> Any:
        return resource_pb2.RegisterPackageResponse(ref=f"{request.name}@{request.version}")

    def Invoke(self, request: Any) -> Any:
        args = read_struct(request.args).values
        if request.tok == "pulumi:pulumi:getResource":
            found = self._target.state.resources.get(args["urn"])
            if found is None:
                raise ResourceError(
                    "KW640", f"{args['urn']}: got a reference to a resource that does not exist"
                )
            answer = {"urn": found.urn, "id": found.id, "state": found.outputs}
            return resource_pb2.ResourceInvokeResponse(**{"return": write_struct(answer)})
        if request.tok.startswith("pulumi:"):
            raise ResourceError(
                "KW640",
                f"{request.tok}: got a stack reference; allowed data sources of aws; because one stack runs here",
            )
        if has_unknown(args):
            return resource_pb2.ResourceInvokeResponse(**{"return": struct_pb2.Struct()})
        answer = invokes.invoke(request.tok, self._target.aws_of(request.provider), args)
        return resource_pb2.ResourceInvokeResponse(**{"return": write_struct(answer)})

    def ReadResource(self, request: Any) -> Any:
        urn = self._urn(request.parent, request.type, request.name)
        aws = self._target.aws_of(request.provider)
        found = table.read(request.type, urn, aws, request.id, {}, {})
        if found is None:
            raise ResourceError(
                "KW638",
                f"{urn}: got id {request.id!r}, which does not exist; fix: check the id and the region",
            )
        id_, inputs, outputs = found
        with self._lock:
            self._seen.add(urn)
            self.changes[urn] = "read"
        if not self.dry_run:
            state = ResourceState(
                urn, request.type, True, id_, inputs, outputs, request.parent, external=True
            )
            state.dependencies = list(request.dependencies)
            with self._target.state.lock:
                self._target.state.resources[urn] = state
        return resource_pb2.ReadResourceResponse(urn=urn, properties=write_struct({**outputs, "id": id_}))

    def RegisterResourceOutputs(self, request: Any) -> Any:
        properties = read_struct(request.outputs)
        if request.urn == self._stack_urn:
            self.stack_outputs = {k: v for k, v in properties.values.items() if v is not None}
            self.secret_outputs = properties.secrets
        elif not self.dry_run:
            with self._target.state.lock:
                kept = self._target.state.resources.get(request.urn)
                if kept is not None:
                    kept.outputs = properties.values
        return empty_pb2.Empty()

    def RegisterResource(self, request: Any) -> Any:
        if request.type == "pulumi:pulumi:Stack":
            self._stack_urn = self._urn("", request.type, request.name)
            return resource_pb2.RegisterResourceResponse(urn=self._stack_urn)
        urn = self._urn(request.parent, request.type, request.name)
        if self._target.cancelled.is_set():
            # `up` raises for the whole run; here every resource that would still start is let down gently.
            with self._lock:
                self._failed.add(urn)
            return resource_pb2.RegisterResourceResponse(urn=urn, result=resource_pb2.Result.FAIL)
        request = self._transformed(request)
        with self._lock:
            twice = urn in self._seen
            self._seen.add(urn)
        if twice:
            error = ResourceError(
                "KW642",
                f"{urn}: got a second resource of that type and name; allowed one; "
                "fix: give it another name or parent",
            )
            return self._failure(request, urn, error, 0.0)
        with self._lock:
            self._was[urn] = self._aliases(request, urn)
        old = self._adopt(urn)
        started = time.perf_counter()
        try:
            return self._register(request, urn, old)
        except ResourceError as error:
            return self._failure(request, urn, error, started)

    # Who is who.

    def _urn(self, parent: str, kind: str, name: str) -> str:
        """Build a URN as the engine does: the types of all parents but the stack stand in it."""
        qualified = kind
        if parent:
            parent_type = parent.split("::")[2]
            if parent_type != "pulumi:pulumi:Stack":
                qualified = f"{parent_type}${kind}"
        return f"urn:pulumi:{self._target.stack}::{self._target.project}::{qualified}::{name}"

    def _aliases(self, request: Any, urn: str) -> set[str]:
        """Every URN that the resource may have had (the engine's rules for aliases and inherited aliases)."""
        found: set[str] = set(request.aliasURNs)
        wanted: list[tuple[str, str, str | None, str]] = [(request.name, request.type, None, "")]
        for alias in request.aliases:
            if alias.WhichOneof("alias") == "urn":
                found.add(alias.urn)
                continue
            spec = alias.spec
            parent: str | None = None
            if spec.noParent:
                parent = ""
            elif spec.parentUrn:
                parent = spec.parentUrn
            head = f"urn:pulumi:{spec.stack or self._target.stack}::{spec.project or self._target.project}::"
            wanted.append((spec.name or request.name, spec.type or request.type, parent, head))
        parents = [request.parent, *sorted(self._was.get(request.parent, ()))]
        parent_name = request.parent.rpartition("::")[2]
        for name, kind, given_parent, head in wanted:
            for parent in parents if given_parent is None else [given_parent]:
                old_name = name
                if (
                    parent != request.parent
                    and given_parent is None
                    and parent_name
                    and name.startswith(parent_name)
                ):
                    # A child named after its parent was named after the parent's old name.
                    old_name = parent.rpartition("::")[2] + name[len(parent_name) :]
                built = self._urn(parent, kind, old_name)
                if head:
                    built = head + "::".join(built.split("::")[2:])
                found.add(built)
        found.discard(urn)
        return found

    def _adopt(self, urn: str) -> ResourceState | None:
        """Find the old state under this URN or an alias, and give it the present URN."""
        state = self._target.state
        with state.lock:
            if urn in state.resources:
                return state.resources[urn]
            for alias in sorted(self._was[urn]):
                old = state.resources.get(alias)
                if old is not None and alias not in self._seen:
                    if self.dry_run:
                        with self._lock:
                            self._seen.add(alias)
                        return old
                    del state.resources[alias]
                    old.urn = urn
                    state.resources[urn] = old
                    for other in state.resources.values():
                        other.dependencies = [urn if d == alias else d for d in other.dependencies]
                        if other.parent == alias:
                            other.parent = urn
                    return old
        return None

    def unseen(self) -> list[ResourceState]:
        """Resources of the state that the program no longer has."""
        return [r for r in self._target.state.resources.values() if r.urn not in self._seen]

    # Transforms run in the SDK; the monitor only hands the request round.

    def _transformed(self, request: Any) -> Any:
        callbacks = [*request.transforms, *self._stack_callbacks]
        if not callbacks:
            return request
        options = resource_pb2.TransformResourceOptions(
            depends_on=request.dependencies,
            protect=request.protect,
            ignore_changes=request.ignoreChanges,
            replace_on_changes=request.replaceOnChanges,
            aliases=request.aliases,
            provider=request.provider,
            retain_on_delete=request.retainOnDelete,
            deleted_with=request.deletedWith,
            additional_secret_outputs=request.additionalSecretOutputs,
        )
        if request.HasField("customTimeouts"):
            options.custom_timeouts.CopyFrom(request.customTimeouts)
        if request.deleteBeforeReplaceDefined:
            options.delete_before_replace = request.deleteBeforeReplace
        properties = request.object
        for callback in callbacks:
            wanted = resource_pb2.TransformRequest(
                type=request.type,
                name=request.name,
                custom=request.custom,
                parent=request.parent,
                properties=properties,
                options=options,
            )
            answer = self._call_back(callback.token, wanted)
            properties = answer.properties
            if answer.HasField("options"):
                options = answer.options
        changed = resource_pb2.RegisterResourceRequest()
        changed.CopyFrom(request)
        changed.object.CopyFrom(properties)
        changed.protect = options.protect
        changed.retainOnDelete = options.retain_on_delete
        changed.provider = options.provider
        changed.deletedWith = options.deleted_with
        for name, values in (
            ("dependencies", options.depends_on),
            ("ignoreChanges", options.ignore_changes),
            ("replaceOnChanges", options.replace_on_changes),
            ("aliases", options.aliases),
            ("additionalSecretOutputs", options.additional_secret_outputs),
        ):
            target = getattr(changed, name)
            del target[:]
            target.extend(values)
        return changed

    def _call_back(self, token: str, request: Any) -> Any:
        from pulumi.runtime._callbacks import _CallbackServicer

        for servicer in list(_CallbackServicer._servicers):
            function = servicer._callbacks.get(token)
            if function is not None:
                return asyncio.run_coroutine_threadsafe(
                    _awaited(function(request.SerializeToString())), servicer._loop
                ).result()
        raise ResourceError(
            "KW645", f"{request.type} {request.name}: got a transform that is no longer registered"
        )

    # The life of one resource.

    def _register(self, request: Any, urn: str, old: ResourceState | None) -> Any:
        if request.remote:
            raise ResourceError(
                "KW634",
                f"{urn}: got a remote component; allowed components of this process; because no plugin runs here; "
                "fix: use the real Pulumi engine for it",
            )
        if request.HasField("hooks") and request.hooks.ByteSize():
            raise ResourceError(
                "KW634", f"{urn}: got resource hooks; allowed none; because the in-process driver runs none"
            )
        blocked = [d for d in request.dependencies if d in self._failed]
        if request.parent in self._failed:
            blocked.append(request.parent)
        if blocked:
            # Not a failure of its own: the cause has been reported.
            with self._lock:
                self._failed.add(urn)
            return resource_pb2.RegisterResourceResponse(urn=urn, result=resource_pb2.Result.FAIL)
        properties = read_struct(request.object)
        fresh = self._state_of(request, urn, properties.secrets)
        if not request.custom:
            return self._component(fresh, properties.values, old, request)
        if request.type.startswith("pulumi:providers:"):
            return self._provider(fresh, properties.values, old)
        aws = self._target.aws_of(request.provider)
        if old is not None and old.external:
            old = None
        inputs, failures = table.check(request.type, urn, properties.values, old.inputs if old else None)
        refuse(urn, failures)
        if has_unknown(inputs) and not self.dry_run:
            # Something it was made from failed; that one has been reported.
            with self._lock:
                self._failed.add(urn)
            return resource_pb2.RegisterResourceResponse(urn=urn, result=resource_pb2.Result.FAIL)
        if old is None and request.importId:
            return self._life.import_(request, fresh, inputs, aws)
        if old is None:
            return self._life.create(request, fresh, inputs, aws, "create")
        inputs = _with_ignored(request, old, inputs)
        difference = table.diff(
            request.type,
            old.inputs,
            old.outputs,
            inputs,
            replace_on=frozenset(p.split(".")[0].split("[")[0] for p in request.replaceOnChanges),
            default_tags=aws.default_tags,
        )
        if not difference.changes and not old.init_errors:
            return self._life.same(fresh, inputs, old)
        if difference.replaces:
            return self._life.replace(request, fresh, inputs, old, aws, difference)
        return self._life.update(request, fresh, inputs, old, aws, difference)

    def _state_of(self, request: Any, urn: str, secrets: set[str]) -> ResourceState:
        kind_secrets: set[str] = set()
        if request.type.startswith("aws:") and request.custom:
            kind = table.find(request.type)
            kind_secrets = set(kind.secret_outputs) | ({"tagsAll"} if "tags" in secrets else set())
        return ResourceState(
            urn=urn,
            type=request.type,
            custom=request.custom,
            parent=request.parent,
            dependencies=sorted(set(request.dependencies)),
            property_dependencies={k: list(v.urns) for k, v in request.propertyDependencies.items()},
            provider=request.provider,
            protect=request.protect,
            retain=request.retainOnDelete,
            deleted_with=request.deletedWith,
            secrets=sorted(secrets | set(request.additionalSecretOutputs) | kind_secrets),
            delete_timeout_s=seconds(request.customTimeouts.delete),
        )

    def _component(
        self, fresh: ResourceState, inputs: dict[str, Any], old: ResourceState | None, request: Any
    ) -> Any:
        with self._lock:
            self.changes[fresh.urn] = "same" if old else "create"
        if not self.dry_run:
            fresh.inputs = inputs
            fresh.outputs = old.outputs if old else {}
            self._life.keep(fresh)
        return resource_pb2.RegisterResourceResponse(urn=fresh.urn, object=request.object)

    def _provider(self, fresh: ResourceState, inputs: dict[str, Any], old: ResourceState | None) -> Any:
        if fresh.type != "pulumi:providers:aws":
            raise ResourceError(
                "KW630",
                f"{fresh.urn}: got a provider of another package; allowed pulumi:providers:aws; "
                "because this cloud is an AWS",
            )
        fresh.id = old.id if old else f"provider-{fresh.name}"
        fresh.inputs = fresh.outputs = inputs
        with self._lock:
            self.changes[fresh.urn] = (
                "same" if old and old.inputs == inputs else "update" if old else "create"
            )
        # Kept in previews too: the resources of the run look their provider up.
        self._life.keep(fresh)
        return resource_pb2.RegisterResourceResponse(urn=fresh.urn, id=fresh.id, object=write_struct(inputs))

    def _failure(self, request: Any, urn: str, error: ResourceError, started: float) -> Any:
        with self._lock:
            self._failed.add(urn)
            message = error.message if urn in error.message else f"{urn}: {error.message}"
            self.failures.append(Failure(urn, request.type, error.code, message))
        self._target.emit(urn, request.type, "create", "failed", started, str(error))
        return resource_pb2.RegisterResourceResponse(urn=urn, result=resource_pb2.Result.FAIL)


def _with_ignored(request: Any, old: ResourceState, inputs: dict[str, Any]) -> dict[str, Any]:
    """Keep the old value of what `ignoreChanges` names (`a`, or `a.b` inside objects)."""
    for path in request.ignoreChanges:
        keys = path.split(".")
        target: Any = inputs
        source: Any = old.inputs
        for key in keys[:-1]:
            target = target.get(key) if isinstance(target, dict) else None
            source = source.get(key) if isinstance(source, dict) else None
        if not isinstance(target, dict):
            continue
        last = keys[-1].split("[")[0]
        if isinstance(source, dict) and last in source:
            target[last] = source[last]
        else:
            target.pop(last, None)
    return inputs
