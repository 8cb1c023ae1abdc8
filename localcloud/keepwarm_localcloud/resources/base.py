"""What a resource type is: its properties, and the four things that can be done to one.

Both drivers (the in-process one and the gRPC provider of the real engine) call the functions of this module and of
`table`; they differ only in where values come from.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from keepwarm_localcloud.resources.assets import Blob
from keepwarm_localcloud.resources.aws import Aws, Deadline
from keepwarm_localcloud.resources.errors import InvalidInputs, NotFound
from keepwarm_localcloud.resources.fields import (
    UNKNOWN,
    Field,
    check_object,
    compile_fields,
    has_unknown,
    same,
)

T = TypeVar("T")

DEFAULTS_KEY = "__defaults"
"""Input that lists which inputs the provider chose itself, as bridged providers keep it."""


@cache
def schema() -> dict[str, Any]:
    """Load the facts of pulumi_aws, once."""
    parsed: dict[str, Any] = json.loads(Path(__file__).with_name("schema.json").read_bytes())
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
    """One resource type. Subclasses say what they know in `spec` and do the four operations by boto3.

    `create` returns the id and what AWS chose. `read` returns the whole truth, inputs included, or None when it is
    gone. `update` returns the outputs that changed. `delete` returns when the resource is gone, and is no error when
    it was gone already.
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
        fields = compile_fields(self.spec, known)
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

    def create(self, call: Call) -> Made:
        """Make one."""
        raise NotImplementedError(self.token)

    def read(self, call: Call) -> dict[str, Any] | None:
        """Tell the truth about one, or None."""
        raise NotImplementedError(self.token)

    def update(self, call: Call) -> dict[str, Any]:
        """Change one in place."""
        raise NotImplementedError(self.token)

    def delete(self, call: Call) -> None:
        """Remove one and wait until it is gone."""
        raise NotImplementedError(self.token)


@dataclass(frozen=True, slots=True)
class Change:
    """One property that differs."""

    path: str
    kind: str
    """`add`, `update` or `delete`."""
    replaces: bool


@dataclass(frozen=True, slots=True)
class Difference:
    """What a new set of inputs means for an existing resource."""

    changes: tuple[Change, ...] = ()
    delete_first: bool = False

    @property
    def replaces(self) -> tuple[str, ...]:
        """Properties that force a replacement."""
        return tuple(c.path for c in self.changes if c.replaces)

    @property
    def changed(self) -> frozenset[str]:
        """Top-level properties that differ."""
        return frozenset(c.path.split(".")[0].split("[")[0] for c in self.changes)


def autoname(auto: AutoName, name: str, inputs: Mapping[str, Any], seed: bytes) -> str:
    """Work out a physical name as pulumi-aws does: `<name>-<7 hex>`, cut to what AWS allows."""
    digits = (hashlib.sha256(seed).hexdigest() if seed else os.urandom(4).hex())[:7]
    suffix = ""
    if auto.suffix_when and inputs.get(auto.suffix_when[0]) is True:
        suffix = auto.suffix_when[1]
    head = auto.prefix + (name.lower() if auto.lower else name)
    return f"{head[: auto.limit - len(digits) - len(suffix) - 1]}-{digits}{suffix}"


def check(
    kind: ResourceType, name: str, inputs: Mapping[str, Any], old: Mapping[str, Any] | None, seed: bytes = b""
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Check and complete the inputs of a program: defaults, a physical name; every failure as (property, reason)."""
    failures: list[tuple[str, str]] = []
    checked = check_object(kind.fields, kind.unsupported, inputs, "", failures)
    for wanted in kind.required:
        if checked.get(wanted) is None and wanted in kind.fields:
            failures.append(
                (wanted, "KW633 missing; allowed a value; because the resource cannot be made without it")
            )
    defaults: list[str] = []
    auto = kind.auto
    if auto is not None and checked.get(auto.property) is None:
        prefix = checked.get(f"{auto.property}Prefix")
        kept = (old or {}).get(auto.property)
        if isinstance(kept, str) and auto.property in ((old or {}).get(DEFAULTS_KEY) or []):
            checked[auto.property] = kept
        elif isinstance(prefix, str):
            checked[auto.property] = autoname(
                AutoName(auto.property, auto.limit), prefix.rstrip("-"), checked, seed
            )
        else:
            checked[auto.property] = autoname(auto, name, checked, seed)
        defaults.append(auto.property)
    for key, of in kind.fields.items():
        if of.default is not None and checked.get(key) is None:
            checked[key] = of.default
            defaults.append(key)
    if not failures:
        failures.extend(kind.check(checked))
    checked[DEFAULTS_KEY] = sorted(defaults)
    # The order of properties on the wire is not the program's: sort, so that the same fault reads the same.
    return checked, sorted(failures)


def refuse(owner: str, failures: list[tuple[str, str]]) -> None:
    """Raise for all failures of one resource together.

    Raises:
        InvalidInputs: there was at least one failure.
    """
    if not failures:
        return
    code = failures[0][1].split(" ", 1)[0]
    lines = [f"{path}: {reason.split(' ', 1)[1]}" for path, reason in failures]
    raise InvalidInputs(code, f"{owner}: {'; also '.join(lines)}", failures)


def diff(
    kind: ResourceType,
    old_inputs: Mapping[str, Any],
    old_outputs: Mapping[str, Any],
    inputs: Mapping[str, Any],
    ignore: frozenset[str] = frozenset(),
    replace_on: frozenset[str] = frozenset(),
    default_tags: Mapping[str, str] | None = None,
) -> Difference:
    """Compare what a program wants with the state, property by property.

    A property counts when the program sets it, when the program set it before, or when the cloud has something else
    than the default there (somebody changed it by hand) and it is not AWS that fills it in.
    """
    changes: list[Change] = []
    for name, of in kind.fields.items():
        if name in ignore:
            continue
        wanted = inputs.get(name)
        actual = old_outputs.get(name, old_inputs.get(name))
        if wanted is None and of.computed:
            continue
        if wanted is None and name not in old_inputs and name not in old_outputs:
            continue
        if has_unknown(wanted):
            # An unknown may turn out to be what is there already; pulumi shows it as a change, and so do we.
            changes.append(Change(name, "update", of.new or _nested_new(of, wanted, actual)))
            continue
        if same(of, wanted, actual):
            continue
        action = "add" if actual is None else "delete" if wanted is None else "update"
        forced = of.new or name in replace_on or "*" in replace_on or _nested_new(of, wanted, actual)
        changes.append(Change(name, action, forced))
    told = any(c.path == "tags" for c in changes)
    if default_tags is not None and not told and _retagged(kind, old_outputs, inputs, default_tags, ignore):
        changes.append(Change("tags", "update", replaces=False))
    auto = kind.auto
    named_by_hand = (
        auto is not None
        and auto.property not in (inputs.get(DEFAULTS_KEY) or [])
        and inputs.get(auto.property) == old_outputs.get(auto.property)
    )
    return Difference(tuple(changes), delete_first=kind.delete_first or named_by_hand)


def _retagged(
    kind: ResourceType,
    old_outputs: Mapping[str, Any],
    inputs: Mapping[str, Any],
    default_tags: Mapping[str, str],
    ignore: frozenset[str],
) -> bool:
    """Whether the provider's default tags changed under a resource that has tags."""
    tags = kind.fields.get("tags")
    own = inputs.get("tags") or {}
    if tags is None or tags.kind != "map" or "tags" in ignore or has_unknown(own):
        return False
    actual = old_outputs.get("tagsAll")
    return isinstance(actual, Mapping) and dict(actual) != {**default_tags, **own}


def _nested_new(of: Field, wanted: Any, actual: Any) -> bool:
    """Whether a difference inside an object touches a property that forces replacement."""
    if of.kind == "list" and of.of is not None and of.of.kind == "object":
        left = wanted if isinstance(wanted, list) else []
        right = actual if isinstance(actual, list) else []
        if len(left) != len(right):
            return any(f.new for f in of.of.fields.values())
        return any(_nested_new(of.of, w, a) for w, a in zip(left, right, strict=True))
    if of.kind != "object":
        return False
    left_map = wanted if isinstance(wanted, Mapping) else {}
    right_map = actual if isinstance(actual, Mapping) else {}
    for name, inner in of.fields.items():
        value = left_map.get(name)
        if value is None and inner.computed:
            continue
        if value is not UNKNOWN and same(inner, value, right_map.get(name)):
            continue
        if inner.new or _nested_new(inner, value, right_map.get(name)):
            return True
    return False


# Conversions between Pulumi's camelCase and the API's names. Objects convert; the keys of maps are the user's.


def _head(name: str, upper: bool) -> str:
    return (name[0].upper() if upper else name[0].lower()) + name[1:]


def to_api(of: Field, value: Any, names: Mapping[str, str] | None = None, *, upper: bool = True) -> Any:
    """Convert a value to the names of the API; `names` are the exceptions to changing the first letter's case."""
    if of.kind == "object" and isinstance(value, Mapping):
        return {
            (names or {}).get(k, _head(k, upper)): to_api(f, value[k], names, upper=upper)
            for k, f in of.fields.items()
            if value.get(k) is not None
        }
    if of.kind == "list" and of.of is not None and isinstance(value, list):
        return [to_api(of.of, v, names, upper=upper) for v in value]
    return value


def from_api(of: Field, value: Any, names: Mapping[str, str] | None = None, *, upper: bool = True) -> Any:
    """Convert an answer of the API to Pulumi's names, keeping the properties that the type knows."""
    if of.kind == "object" and isinstance(value, Mapping):
        converted = {}
        for k, f in of.fields.items():
            inner = value.get((names or {}).get(k, _head(k, upper)))
            if inner is not None and inner != [] and inner != {}:
                converted[k] = from_api(f, inner, names, upper=upper)
        return converted
    if of.kind == "list" and of.of is not None and isinstance(value, list):
        return [from_api(of.of, v, names, upper=upper) for v in value]
    return value


def fill(
    kind: ResourceType,
    inputs: Mapping[str, Any],
    *wanted: str,
    names: Mapping[str, str] | None = None,
    upper: bool = True,
) -> dict[str, Any]:
    """Build API arguments from those of the `wanted` inputs that are set."""
    arguments: dict[str, Any] = {}
    for name in wanted:
        value = inputs.get(name)
        if value is not None:
            key = (names or {}).get(name, _head(name, upper))
            arguments[key] = to_api(kind.fields[name], value, names, upper=upper)
    return arguments


def take(
    kind: ResourceType,
    answer: Mapping[str, Any],
    *wanted: str,
    names: Mapping[str, str] | None = None,
    upper: bool = True,
) -> dict[str, Any]:
    """Build inputs from those of the `wanted` properties that an API answer has."""
    taken: dict[str, Any] = {}
    for name in wanted:
        value = answer.get((names or {}).get(name, _head(name, upper)))
        if value is not None and value != [] and value != {}:
            taken[name] = from_api(kind.fields[name], value, names, upper=upper)
    return taken


def error_code(error: BaseException) -> str:
    """AWS's error code of a botocore ClientError, or ''."""
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):
        return str(response.get("Error", {}).get("Code", ""))
    return ""


def unanswered(error: BaseException) -> bool:
    """Whether the cloud may have done what failed here: an answer was lost on the way, perhaps before a repetition."""
    from botocore.exceptions import ClientError, HTTPClientError

    if isinstance(error, HTTPClientError):
        return True
    if not isinstance(error, ClientError):
        return False
    told = error.response.get("ResponseMetadata", {})
    return int(told.get("HTTPStatusCode", 0)) >= 500 or int(told.get("RetryAttempts", 0)) > 0


GONE = frozenset(
    {
        "ResourceNotFoundException",
        "ResourceNotFound",
        "NoSuchEntity",
        "NoSuchBucket",
        "NoSuchKey",
        "404",
        "NotFoundException",
        "NotFound",
        "AWS.SimpleQueueService.NonExistentQueue",
        "QueueDoesNotExist",
        "com.amazonaws.sqs#QueueDoesNotExist",
        "StateMachineDoesNotExist",
        "ClusterNotFoundException",
        "ServiceNotFoundException",
        "ServiceNotActiveException",
        "ObjectNotFoundException",
        "NamespaceNotFound",
        "ServiceNotFound",
        "ParameterNotFound",
        "RepositoryNotFoundException",
        "LifecyclePolicyNotFoundException",
        "ProvisionedConcurrencyConfigNotFoundException",
        "NoSuchBucketPolicy",
        "NoSuchPublicAccessBlockConfiguration",
        "NoSuchLifecycleConfiguration",
        "NoSuchCORSConfiguration",
        "OwnershipControlsNotFoundError",
        "ServerSideEncryptionConfigurationNotFoundError",
        "ObjectLockConfigurationNotFoundError",
        "InvalidVpcID.NotFound",
        "InvalidSubnetID.NotFound",
        "InvalidGroup.NotFound",
        "InvalidGroupId.NotFound",
        "InvalidSecurityGroupRuleId.NotFound",
        "InvalidPermission.NotFound",
        "InvalidRouteTableID.NotFound",
        "InvalidRoute.NotFound",
        "InvalidAssociationID.NotFound",
        "InvalidInternetGatewayID.NotFound",
        "NatGatewayNotFound",
        "InvalidVpcEndpointId.NotFound",
        "InvalidAllocationID.NotFound",
        "InvalidFlowLogId.NotFound",
        "InvalidLaunchTemplateId.NotFound",
        "InvalidLaunchTemplateId.NotFoundException",
        "InvalidLaunchTemplateName.NotFoundException",
        "AlarmNotFound",
        "DashboardNotFoundError",
    }
)
"""Error codes by which the services say that a thing does not exist."""


def unless_gone(call: Callable[[], T]) -> T | None:
    """Call; None when AWS says that the thing does not exist."""
    try:
        return call()
    except NotFound:
        return None
    except Exception as error:
        if error_code(error) in GONE:
            return None
        raise


def tag_list(tags: Mapping[str, str], key: str = "Key", value: str = "Value") -> list[dict[str, str]]:
    """Convert tags to the list form most APIs want."""
    return [{key: k, value: v} for k, v in sorted(tags.items())]


def tag_map(tags: Any, key: str = "Key", value: str = "Value") -> dict[str, str]:
    """Convert the list form of tags; AWS's own `aws:` tags are left out."""
    if isinstance(tags, Mapping):
        return {k: v for k, v in tags.items() if not k.startswith("aws:")}
    return {t[key]: t.get(value, "") for t in tags or [] if not t[key].startswith("aws:")}


def tag_changes(call: Call) -> tuple[dict[str, str], list[str]]:
    """Tell which tags to set and which keys to remove in an update."""
    old = call.old.get("tagsAll") or call.old.get("tags") or {}
    new = call.tags
    return {k: v for k, v in new.items() if old.get(k) != v}, sorted(set(old) - set(new))
