"""The one table of resource types: what both drivers call.

```
check   inputs of a program -> complete inputs, or every failure
diff    state and inputs -> what changes and what is replaced
create, update, read, delete   the cloud
```
"""

import importlib
import threading
from collections.abc import Mapping
from typing import Any, Final

from keepwarm_localcloud.pulumi_types import compare
from keepwarm_localcloud.pulumi_types.answers import error_code, unanswered
from keepwarm_localcloud.pulumi_types.aws import Aws, Deadline
from keepwarm_localcloud.pulumi_types.base import DEFAULTS_KEY, Call, ResourceType
from keepwarm_localcloud.pulumi_types.compare import Difference
from keepwarm_localcloud.pulumi_types.errors import (
    Cancelled,
    InvalidInputs,
    NotFound,
    PartiallyMade,
    ResourceError,
)
from keepwarm_localcloud.pulumi_types.fields import UNKNOWN, same, suggestion
from keepwarm_localcloud.pulumi_types.tokens import TOKENS

_FILE_OF: Final = {
    "cloudwatch/logGroup": "logs",
    "cloudwatch/logMetricFilter": "logs",
    "cloudwatch/eventRule": "events",
    "cloudwatch/eventTarget": "events",
    "lambda": "lambda_",
    "vpc": "ec2",
}
"""Where the types of a Pulumi module are, unless in the file of the module's own name."""


def _file_of(token: str) -> str:
    path = token.split(":")[1]
    module = path.partition("/")[0]
    return _FILE_OF.get(path) or _FILE_OF.get(module) or module


_TYPES: dict[str, ResourceType] = {}
_LOCK = threading.Lock()


def find(token: str) -> ResourceType:
    """Return the type of a token.

    Raises:
        ResourceError: KW630, the embedded cloud does not have it; the text says whether real AWS does.
    """
    kind = _TYPES.get(token)
    if kind is not None:
        return kind
    if token in TOKENS:
        # A file is imported when its first type is used.
        with _LOCK:
            for each in importlib.import_module(f"keepwarm_localcloud.pulumi_types.{_file_of(token)}").TYPES:
                _TYPES.setdefault(each.token, each())
        if token in _TYPES:
            return _TYPES[token]
    raise ResourceError("KW630", _unknown_type(token))


def _unknown_type(token: str) -> str:
    if not token.startswith("aws:"):
        return (
            f"{token}: got a resource of package '{token.split(':')[0]}'; allowed resources of "
            "package 'aws'; because the "
            "embedded cloud is an AWS; fix: leave it out of the local stack, or use the real Pulumi engine for it"
        )
    hint = suggestion(token, TOKENS)
    if known_to_sdk(token):
        return (
            f"{token}: got a resource type that pulumi-aws and real AWS have and the embedded "
            "cloud does not; allowed the "
            f"{len(TOKENS)} types of docs/engine.md; fix: leave it out of the local "
            f"stack{', or ' + hint if hint else ''}"
        )
    return f"{token}: got a resource type that pulumi-aws does not have; {hint or 'see docs/engine.md for the types'}"


def known_to_sdk(token: str) -> bool:
    """Whether pulumi_aws has a resource or a data source of this token. Imports the module in question."""
    parts = token.split(":")
    if len(parts) != 3:
        return False
    module = parts[1].partition("/")[0]
    inside = {"index": "", "lambda": ".lambda_"}.get(module, f".{module}")
    try:
        found = importlib.import_module(f"pulumi_aws{inside}")
    except ImportError:
        return False
    # A file of the SDK is no type: `queue.py` must not vouch for a `Queu`.
    snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in parts[2])
    return any(callable(getattr(found, name, None)) for name in (parts[2], snake))


def all_types() -> list[ResourceType]:
    """Return every type, sorted by token."""
    return [find(token) for token in sorted(TOKENS)]


def owner(urn: str, token: str) -> str:
    """Name a resource in an error message: its URN, which contains the type."""
    return urn or token


def check(
    token: str,
    urn: str,
    inputs: Mapping[str, Any],
    old_inputs: Mapping[str, Any] | None,
    *,
    seed: bytes = b"",
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Check and complete inputs; return them with every failure as (property, coded reason).

    Raises:
        ResourceError: KW630, unknown type.
    """
    name = urn.rpartition("::")[2] if urn else "resource"
    return compare.check(find(token), name, inputs, old_inputs, seed)


def diff(
    token: str,
    old_inputs: Mapping[str, Any],
    old_outputs: Mapping[str, Any],
    inputs: Mapping[str, Any],
    *,
    ignore: frozenset[str] = frozenset(),
    replace_on: frozenset[str] = frozenset(),
    default_tags: Mapping[str, str] | None = None,
) -> Difference:
    """Compare; see `compare.diff`."""
    return compare.diff(find(token), old_inputs, old_outputs, inputs, ignore, replace_on, default_tags)


def _known(inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in inputs.items() if k != DEFAULTS_KEY and v is not None}


def _with_tags(kind: ResourceType, aws: Aws, outputs: dict[str, Any]) -> dict[str, Any]:
    if "tagsAll" in kind.outputs:
        outputs["tagsAll"] = {**aws.default_tags, **(outputs.get("tags") or {})}
    return outputs


def create(
    token: str, urn: str, aws: Aws, inputs: Mapping[str, Any], *, timeout_s: float | None = None
) -> tuple[str, dict[str, Any]]:
    """Make a resource; return its id and all its outputs.

    Raises:
        PartiallyMade: it exists but is not what was requested; `outputs` is complete.
        ResourceError: KW635, KW639 or KW646; nothing exists.
        Cancelled: the operation was cancelled.
    """
    kind = find(token)
    deadline = Deadline(timeout_s or kind.timeouts_s[0], aws.cancelled)
    call = Call(aws, token, _known(inputs), deadline)
    try:
        id_, chosen = kind.create(call)
    except PartiallyMade as error:
        outputs = _with_tags(kind, aws, {**_known(inputs), **error.outputs})
        raise PartiallyMade(error.code, f"{owner(urn, token)}: {error.message}", error.id, outputs) from error
    except Exception as error:
        raise _worded("KW635", "create", owner(urn, token), error) from error
    return id_, _with_tags(kind, aws, {**_known(inputs), **chosen, **_as_given(kind, inputs)})


def may_exist(token: str, inputs: Mapping[str, Any], error: ResourceError) -> bool:
    """Whether a failed creation may have succeeded after all, so that whatever has its name must be its result.

    A name that the program chose proves nothing: its bearer may have existed before.
    """
    if error.__cause__ is None or not unanswered(error.__cause__):
        return False
    auto = find(token).auto
    return auto is None or auto.property in (inputs.get(DEFAULTS_KEY) or [])


def _as_given(kind: ResourceType, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs as the program gave them: right after an operation the state is what was requested."""
    return {k: v for k, v in inputs.items() if k in kind.fields and v is not None}


def update(
    token: str,
    urn: str,
    aws: Aws,
    id_: str,
    old_inputs: Mapping[str, Any],
    old_outputs: Mapping[str, Any],
    inputs: Mapping[str, Any],
    *,
    ignore: frozenset[str] = frozenset(),
    timeout_s: float | None = None,
) -> dict[str, Any]:
    """Change a resource in place; return all its outputs.

    Raises:
        ResourceError: KW636, KW639 or KW646.
        Cancelled: the operation was cancelled.
    """
    kind = find(token)
    difference = compare.diff(kind, old_inputs, old_outputs, inputs, ignore, default_tags=aws.default_tags)
    deadline = Deadline(timeout_s or kind.timeouts_s[1], aws.cancelled)
    call = Call(aws, token, _known(inputs), deadline, id_, dict(old_outputs), difference.changed)
    try:
        moved = kind.update(call)
    except Exception as error:
        raise _worded("KW636", "update", owner(urn, token), error) from error
    kept = {
        k: v
        for k, v in old_outputs.items()
        if k not in kind.fields or (kind.fields[k].computed and k not in inputs)
    }
    return _with_tags(kind, aws, {**kept, **moved, **_as_given(kind, inputs)})


def read(
    token: str, urn: str, aws: Aws, id_: str, old_inputs: Mapping[str, Any], old_outputs: Mapping[str, Any]
) -> tuple[str, dict[str, Any], dict[str, Any]] | None:
    """Read a resource; return its id, inputs and outputs, or None when it is gone.

    With a state, the inputs are the ones the program had, at their present values, plus what somebody set by hand.
    Without one (an import), they are everything that differs from the default.

    Raises:
        ResourceError: KW638.
    """
    kind = find(token)
    importing = not old_outputs and not old_inputs
    call = Call(
        aws, token, _known(old_inputs), Deadline(kind.timeouts_s[0], aws.cancelled), id_, dict(old_outputs)
    )
    try:
        found = kind.read(call)
    except NotFound:
        return None
    except Exception as error:
        raise _worded("KW638", "read", owner(urn, token), error) from error
    if found is None:
        return None
    id_ = str(found.pop("id", id_))
    for name in kind.fields:
        # AWS knows the name, not the prefix that it was made from.
        if name.endswith("Prefix") and name not in found and old_inputs.get(name) is not None:
            found[name] = old_inputs[name]
    every_tag = found.get("tags") if "tags" in kind.fields and kind.fields["tags"].kind == "map" else None
    if every_tag is not None:
        mine = old_inputs.get("tags") or {}
        found["tags"] = {k: v for k, v in every_tag.items() if k in mine or aws.default_tags.get(k) != v}
    outputs = {k: v for k, v in old_outputs.items() if k not in kind.fields}
    outputs.update({k: v for k, v in found.items() if v is not None})
    inputs: dict[str, Any] = {}
    for name, of in kind.fields.items():
        actual = found.get(name)
        if name in old_inputs:
            if actual is None and name not in found and of.computed:
                actual = old_inputs[name]
            if same(of, old_inputs[name], actual):
                # A different spelling of the same value (blanks in a policy, order of a set) is not drift.
                actual = old_inputs[name]
            if actual is not None:
                inputs[name] = actual
                outputs[name] = actual
        elif (
            actual not in (None, "", [], {}, of.default)
            and (importing or not of.computed)
            and name != "region"
        ):
            inputs[name] = actual
    inputs[DEFAULTS_KEY] = (old_inputs.get(DEFAULTS_KEY) or []) if old_inputs else []
    if every_tag is not None and "tagsAll" in kind.outputs:
        outputs["tagsAll"] = every_tag
        return id_, inputs, outputs
    return id_, inputs, _with_tags(kind, aws, outputs)


def delete(
    token: str,
    urn: str,
    aws: Aws,
    id_: str,
    old_inputs: Mapping[str, Any],
    old_outputs: Mapping[str, Any],
    *,
    timeout_s: float | None = None,
) -> None:
    """Remove a resource and wait until it is gone; no error when it was gone already.

    Raises:
        ResourceError: KW637 or KW639.
        Cancelled: the operation was cancelled.
    """
    kind = find(token)
    deadline = Deadline(timeout_s or kind.timeouts_s[2], aws.cancelled)
    call = Call(aws, token, _known(old_inputs), deadline, id_, {**_known(old_inputs), **old_outputs})
    try:
        kind.delete(call)
    except Exception as error:
        raise _worded("KW637", "delete", owner(urn, token), error) from error


def _worded(code: str, verb: str, who: str, error: BaseException) -> ResourceError:
    """Turn any failure into one of our errors, quoting AWS's message."""
    if isinstance(error, Cancelled):
        return error
    if isinstance(error, InvalidInputs):
        return InvalidInputs(error.code, f"{who}: {error.message}", error.failures)
    if isinstance(error, ResourceError):
        return ResourceError(error.code if error.code != "KW635" else code, f"{who}: {error.message}")
    aws_code = error_code(error)
    if aws_code:
        message = getattr(error, "response", {}).get("Error", {}).get("Message", str(error))
        return ResourceError(
            code, f"{who}: {verb} was refused with {aws_code}: {' '.join(str(message).split())}"
        )
    told = f"{who}: {verb} failed: {type(error).__name__}: {' '.join(str(error).split())}"
    if unanswered(error):
        told += "; because the cloud gave no answer; fix: see that it runs, then run the same command again"
    return ResourceError(code, told)


def preview_outputs(
    token: str,
    inputs: Mapping[str, Any],
    old_outputs: Mapping[str, Any] | None = None,
    changed: frozenset[str] = frozenset(),
    default_tags: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Outputs as far as they are known before an operation; the rest is unknown."""
    kind = find(token)
    outputs: dict[str, Any] = {}
    moves = set(kind.moves)
    for output, causes in kind.moves_with.items():
        if changed & set(causes):
            moves.add(output)
    for name in kind.outputs:
        if old_outputs is not None and name not in moves and name not in kind.fields:
            if name in old_outputs:
                outputs[name] = old_outputs[name]
        elif name not in kind.fields:
            outputs[name] = UNKNOWN
    for name, of in kind.fields.items():
        if inputs.get(name) is not None:
            outputs[name] = inputs[name]
        elif of.computed and name in kind.outputs:
            outputs[name] = UNKNOWN if old_outputs is None or name in moves else old_outputs.get(name)
    if "tagsAll" in kind.outputs:
        outputs["tagsAll"] = {**(default_tags or {}), **(inputs.get("tags") or {})}
    return {k: v for k, v in outputs.items() if v is not None}
