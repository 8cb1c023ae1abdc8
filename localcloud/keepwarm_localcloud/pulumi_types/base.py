"""What a resource type is: its properties, and the four things that can be done to one.

Both drivers (the in-process one and the gRPC provider of the real engine) call the functions of `table`; they differ
only in where values come from.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, ClassVar

from keepwarm_localcloud.pulumi_types.assets import Blob
from keepwarm_localcloud.pulumi_types.aws import Aws, Deadline
from keepwarm_localcloud.pulumi_types.fields import Field, Told, compile_fields

DEFAULTS_KEY = "__defaults"
"""Input that lists which inputs the provider chose itself, as bridged providers keep it."""


SCHEMA_FILE = Path(__file__).with_name("schema.json")


@cache
def schema() -> dict[str, Any]:
    """Load the facts of pulumi_aws, once."""
    parsed: dict[str, Any] = json.loads(SCHEMA_FILE.read_bytes())
    return parsed


@dataclass(frozen=True, slots=True)
class AutoName:
    """How Pulumi names a resource that the program leaves unnamed: logical name, dash, seven hex digits."""

    property: str = "name"
    limit: int = 64
    lower: bool = False
    prefix: str = ""
    suffix_when: tuple[str, str] | None = None
    """(boolean property, suffix): `.fifo` of a FIFO queue."""


@dataclass(slots=True)
class Call:
    """One operation on one resource."""

    aws: Aws
    token: str
    inputs: dict[str, Any]
    deadline: Deadline
    id: str = ""
    old: dict[str, Any] = field(default_factory=dict)
    """Outputs in the state before the operation."""
    changed: frozenset[str] = frozenset()
    """Top-level inputs that differ from the state, for an update."""

    def client(self, service: str) -> Any:
        """Return the client of the resource's region."""
        region = self.inputs.get("region") or self.old.get("region")
        return self.aws.client(service, region if isinstance(region, str) else None)

    @property
    def region(self) -> str:
        """Region the resource is in."""
        return str(self.inputs.get("region") or self.old.get("region") or self.aws.region)

    def arn(self, service: str, resource: str) -> str:
        """Build an ARN in the resource's region."""
        return self.aws.arn(service, resource, region=self.region)

    @property
    def tags(self) -> dict[str, str]:
        """The provider's default tags with the resource's own on top."""
        return {**self.aws.default_tags, **(self.inputs.get("tags") or {})}

    def get(self, name: str, default: Any = None) -> Any:
        """Return an input, or the default when it is absent."""
        value = self.inputs.get(name)
        return default if value is None else value

    def content(self, name: str) -> bytes:
        """Return the bytes of an asset input."""
        blob = self.inputs[name]
        assert isinstance(blob, Blob)
        return blob.content(f"{self.token}.{name}")


Made = tuple[str, dict[str, Any]]
"""Physical id and the outputs that the cloud chose."""


class ResourceType:
    """One resource type. Subclasses describe their properties in `spec` and implement the four operations with boto3.

    `create` returns the id and what AWS chose. `read` returns everything, inputs included, or None when it is gone.
    `update` returns the outputs that changed. `delete` returns when the resource is gone, and is no error when it was
    gone already.
    """

    token: ClassVar[str]
    spec: ClassVar[str]
    auto: ClassVar[AutoName | None] = None
    moves: ClassVar[tuple[str, ...]] = ()
    """Outputs that an in-place update may change (unknown in the preview of one)."""
    moves_with: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Output -> the inputs whose change moves it, where `moves` would be too wide."""
    secret_outputs: ClassVar[tuple[str, ...]] = ()
    aka: ClassVar[Mapping[str, str]] = {}
    """Output that equals another output or input: filled in by `finish`."""
    regional: ClassVar[bool] = True
    delete_first: ClassVar[bool] = False
    """Whether a replacement always deletes the old one first, because both cannot exist."""
    timeouts_s: ClassVar[tuple[float, float, float]] = (300.0, 300.0, 300.0)
    """Create, update, delete."""
    import_id: ClassVar[str] = "the id"
    """What `pulumi import` takes."""

    @cached_property
    def fields(self) -> dict[str, Field]:
        """Supported inputs."""
        known = schema()[self.token]["inputs"]
        told = schema()[self.token]
        fields = compile_fields(
            self.spec, known, Told(frozenset(told["filledInside"]), frozenset(told["unordered"]))
        )
        if self.regional and "region" in known and "region" not in fields:
            fields["region"] = Field("s", new=True, computed=True)
        return fields

    @cached_property
    def unsupported(self) -> frozenset[str]:
        """Inputs that pulumi_aws knows and the embedded cloud does not."""
        return frozenset(set(schema()[self.token]["inputs"]) - set(self.fields))

    @cached_property
    def required(self) -> tuple[str, ...]:
        """Inputs that must be given."""
        return tuple(schema()[self.token]["required"])

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """Output properties of the SDK class."""
        return tuple(schema()[self.token]["outputs"])

    def check(self, inputs: dict[str, Any]) -> list[tuple[str, str]]:
        """Refuse contradictions between properties: (property, coded reason)."""
        return []

    def check_change(self, inputs: dict[str, Any], old: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Refuse changes of an existing resource that the provider refuses: (property, coded reason)."""
        return []

    def replaces(self, name: str, wanted: Any, actual: Any, inputs: Mapping[str, Any]) -> bool:
        """Whether this change of an otherwise changeable property replaces the resource."""
        return False

    def create(self, call: Call) -> Made:
        """Create it."""
        raise NotImplementedError(self.token)

    def read(self, call: Call) -> dict[str, Any] | None:
        """Read it from the cloud; None when it is gone."""
        raise NotImplementedError(self.token)

    def update(self, call: Call) -> dict[str, Any]:
        """Change it in place."""
        raise NotImplementedError(self.token)

    def delete(self, call: Call) -> None:
        """Delete it and wait until it is gone."""
        raise NotImplementedError(self.token)
