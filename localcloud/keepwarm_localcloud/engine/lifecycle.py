"""The life of one resource under the in-process driver: same, create, update, replace, import."""

import threading
import time
from collections.abc import Mapping
from typing import Any

from pulumi.runtime.proto import resource_pb2

from keepwarm_localcloud.engine.durations import seconds
from keepwarm_localcloud.engine.state import ResourceState
from keepwarm_localcloud.engine.target import Target
from keepwarm_localcloud.pulumi_types import table
from keepwarm_localcloud.pulumi_types.assets import Blob
from keepwarm_localcloud.pulumi_types.aws import Aws
from keepwarm_localcloud.pulumi_types.base import DEFAULTS_KEY
from keepwarm_localcloud.pulumi_types.compare import Difference, refuse
from keepwarm_localcloud.pulumi_types.errors import PartiallyMade, ResourceError
from keepwarm_localcloud.pulumi_types.wire import read_struct, write_struct


class Lifecycle:
    """Does, or in a preview only tells, what a run decided about resources."""

    def __init__(self, target: Target, *, dry_run: bool) -> None:
        self._target, self.dry_run = target, dry_run
        self.lock = threading.Lock()
        self.changes: dict[str, str] = {}
        """URN -> create, update, replace, same, delete, read or import."""
        self.seen: set[str] = set()
        """URNs that the program has registered so far."""

    def keep(self, fresh: ResourceState) -> None:
        """Remember a resource."""
        with self._target.state.lock:
            self._target.state.resources[fresh.urn] = fresh
        if not self.dry_run:
            self._target.state.save()

    def answer(self, fresh: ResourceState, id_: str, outputs: Mapping[str, Any]) -> Any:
        """What the SDK gets back."""
        visible = {k: v for k, v in outputs.items() if k != DEFAULTS_KEY}
        return resource_pb2.RegisterResourceResponse(
            urn=fresh.urn, id=id_, object=write_struct(visible, set(fresh.secrets))
        )

    def note(self, urn: str, op: str) -> None:
        """Remember what was done to a resource."""
        with self.lock:
            self.changes[urn] = op

    def same(self, fresh: ResourceState, inputs: dict[str, Any], old: ResourceState) -> Any:
        """Leave a resource as it is."""
        self.note(fresh.urn, "same")
        # A state file keeps digests of files, not files: the program has them again.
        outputs = {**old.outputs, **{k: v for k, v in inputs.items() if isinstance(v, Blob)}}
        if not self.dry_run:
            fresh.id, fresh.outputs, fresh.inputs = old.id, outputs, inputs
            self.keep(fresh)
        self._target.emit(fresh.urn, fresh.type, "same", "done")
        return self.answer(fresh, old.id, outputs)

    def create(self, request: Any, fresh: ResourceState, inputs: dict[str, Any], aws: Aws, op: str) -> Any:
        """Make a resource, or tell what it would be."""
        if self.dry_run:
            self.note(fresh.urn, op)
            return self.answer(
                fresh, "", table.preview_outputs(fresh.type, inputs, default_tags=aws.default_tags)
            )
        started = time.perf_counter()
        self._target.emit(fresh.urn, fresh.type, op, "start")
        timeout = seconds(request.customTimeouts.create)
        fresh.inputs = inputs
        try:
            fresh.id, fresh.outputs = table.create(fresh.type, fresh.urn, aws, inputs, timeout_s=timeout)
        except PartiallyMade as error:
            fresh.id, fresh.outputs, fresh.init_errors = error.id, error.outputs, [error.message]
            self.keep(fresh)
            raise
        self.keep(fresh)
        self.note(fresh.urn, op)
        self._target.emit(fresh.urn, fresh.type, op, "done", started)
        return self.answer(fresh, fresh.id, fresh.outputs)

    def import_(self, request: Any, fresh: ResourceState, inputs: dict[str, Any], aws: Aws) -> Any:
        """Take over a resource that exists, if the inputs say what it has."""
        found = table.read(fresh.type, fresh.urn, aws, request.importId, {}, {})
        if found is None:
            raise ResourceError(
                "KW638",
                f"{fresh.urn}: got import id {request.importId!r}, which does not exist; fix: check the id",
            )
        id_, actual, outputs = found
        name = table.find(fresh.type).auto
        if name is not None and name.property in (inputs.get(DEFAULTS_KEY) or []):
            inputs[name.property] = actual.get(name.property) or outputs.get(name.property)
        difference = table.diff(fresh.type, actual, outputs, inputs)
        if difference.changes:
            listed = ", ".join(c.path for c in difference.changes)
            raise ResourceError(
                "KW638",
                f"{fresh.urn}: got inputs that differ from the imported resource in {listed}; allowed equal inputs; "
                "fix: write what the resource has, import, then change it",
            )
        self.note(fresh.urn, "import")
        if not self.dry_run:
            fresh.id, fresh.inputs, fresh.outputs = id_, inputs, outputs
            self.keep(fresh)
        return self.answer(fresh, id_, outputs)

    def update(
        self,
        request: Any,
        fresh: ResourceState,
        inputs: dict[str, Any],
        old: ResourceState,
        aws: Aws,
        difference: Difference,
    ) -> Any:
        """Change a resource in place."""
        if self.dry_run:
            self.note(fresh.urn, "update")
            outputs = table.preview_outputs(
                fresh.type, inputs, old.outputs, difference.changed, aws.default_tags
            )
            return self.answer(fresh, old.id, outputs)
        started = time.perf_counter()
        self._target.emit(fresh.urn, fresh.type, "update", "start")
        outputs = table.update(
            fresh.type,
            fresh.urn,
            aws,
            old.id,
            old.inputs,
            old.outputs,
            inputs,
            timeout_s=seconds(request.customTimeouts.update),
        )
        fresh.id = str(outputs.pop("id", old.id))
        fresh.inputs, fresh.outputs = inputs, outputs
        self.keep(fresh)
        self.note(fresh.urn, "update")
        self._target.emit(fresh.urn, fresh.type, "update", "done", started)
        return self.answer(fresh, fresh.id, outputs)

    def replace(
        self,
        request: Any,
        fresh: ResourceState,
        inputs: dict[str, Any],
        old: ResourceState,
        aws: Aws,
        difference: Difference,
    ) -> Any:
        """Make a successor, and delete the old one before or after."""
        if old.protect:
            raise ResourceError(
                "KW641",
                f"{fresh.urn}: got a replacement because of {', '.join(difference.replaces)}; "
                "allowed none; because it is "
                "protected; fix: set protect to false and run up first",
            )
        auto = table.find(fresh.type).auto
        if auto is not None and auto.property in (inputs.get(DEFAULTS_KEY) or []):
            # The old one still has the old name.
            inputs, failures = table.check(fresh.type, fresh.urn, read_struct(request.object).values, None)
            refuse(fresh.urn, failures)
        first = request.deleteBeforeReplace if request.deleteBeforeReplaceDefined else difference.delete_first
        if self.dry_run:
            return self.create(request, fresh, inputs, aws, "replace")
        if first:
            self._delete_now(old)
        else:
            with self._target.state.lock:
                self._target.state.doomed.append(old)
        return self.create(request, fresh, inputs, aws, "replace")

    def _delete_now(self, old: ResourceState) -> None:
        """Delete a resource that must go before its successor, and first what cannot live without it."""
        state = self._target.state
        for other in list(state.resources.values()):
            if other.urn in self.seen or not other.custom or other.external:
                continue
            forced = [
                name
                for name, urns in other.property_dependencies.items()
                if old.urn in urns
                and (field := table.find(other.type).fields.get(name)) is not None
                and field.new
            ]
            if forced:
                self._delete_now(other)
        table.delete(
            old.type, old.urn, self._target.aws_of(old.provider), old.id, old.inputs, old.outputs,
            timeout_s=old.delete_timeout_s,
        )  # fmt: skip
        with state.lock:
            if state.resources.get(old.urn) is old:
                del state.resources[old.urn]
