"""What SQS refuses: names, attributes, messages; with its own words. Pure functions."""

import base64
import binascii
import hashlib
import json
import re
import struct
from collections.abc import Callable, Mapping
from typing import Any, Final

from keepwarm import limits
from keepwarm_localcloud.request import AwsError

_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}\Z")
_BATCH_ID = re.compile(r"[A-Za-z0-9_-]{1,80}\Z")
_ATTRIBUTE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,256}\Z")
_FIFO_ID = re.compile(r"""[A-Za-z0-9!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]{1,128}\Z""")
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?\Z")

_RANGES: Final[dict[str, tuple[int, int]]] = {
    "DelaySeconds": (0, limits.SQS_DELAY_MAX_S),
    "MaximumMessageSize": (limits.SQS_MESSAGE_LIMIT_MIN_BYTES, limits.SQS_MESSAGE_MAX_BYTES),
    "MessageRetentionPeriod": (limits.SQS_RETENTION_MIN_S, limits.SQS_RETENTION_MAX_S),
    "ReceiveMessageWaitTimeSeconds": (0, limits.SQS_WAIT_MAX_S),
    "VisibilityTimeout": (0, limits.SQS_VISIBILITY_MAX_S),
    "KmsDataKeyReusePeriodSeconds": (60, 86_400),
}
DEFAULTS: Final[dict[str, Any]] = {
    "DelaySeconds": 0,
    "MaximumMessageSize": limits.SQS_MESSAGE_MAX_BYTES,
    "MessageRetentionPeriod": limits.SQS_RETENTION_DEFAULT_S,
    "ReceiveMessageWaitTimeSeconds": 0,
    "VisibilityTimeout": limits.SQS_VISIBILITY_DEFAULT_S,
    "SqsManagedSseEnabled": "true",
}
_FIFO_DEFAULTS: Final = {
    "FifoQueue": "true",
    "ContentBasedDeduplication": "false",
    "DeduplicationScope": "queue",
    "FifoThroughputLimit": "perQueue",
}
_CHOICES: Final = {
    "ContentBasedDeduplication": ("true", "false"),
    "DeduplicationScope": ("messageGroup", "queue"),
    "FifoThroughputLimit": ("perQueue", "perMessageGroupId"),
    "SqsManagedSseEnabled": ("true", "false"),
    "FifoQueue": ("true",),
}
READ_ONLY: Final = frozenset(
    {
        "ApproximateNumberOfMessages",
        "ApproximateNumberOfMessagesDelayed",
        "ApproximateNumberOfMessagesNotVisible",
        "CreatedTimestamp",
        "LastModifiedTimestamp",
        "QueueArn",
    }
)
KNOWN: Final = (
    frozenset(_RANGES)
    | frozenset(_CHOICES)
    | {"Policy", "RedrivePolicy", "RedriveAllowPolicy", "KmsMasterKeyId"}
)


def check_name(name: Any) -> str:
    """Give a valid queue name back."""
    if (
        not isinstance(name, str)
        or not _NAME.match(name.removesuffix(".fifo"))
        or len(name) > limits.SQS_NAME_MAX_CHARS
    ):
        raise AwsError(
            "InvalidParameterValue",
            "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length",
        )
    return name


def _invalid(name: str, value: object, reason: str = "") -> AwsError:
    more = f" Reason: {reason}" if reason else ""
    return AwsError("InvalidAttributeValue", f"Invalid value for the parameter {name}: {value}.{more}")


def check_attributes(
    given: Mapping[str, str],
    *,
    fifo: bool,
    creating: bool,
    queue_exists: Callable[[str], bool],
    allows_source: Callable[[str], bool],
) -> dict[str, Any]:
    """Turn the attributes of a request into settings; an empty text unsets a policy.

    Args:
        given: As sent: every value a text.
        fifo: Whether the queue is FIFO.
        creating: Whether `FifoQueue` may be given.
        queue_exists: Tells whether a dead-letter target ARN exists.
        allows_source: Tells whether that target lets this queue use it.

    Raises:
        AwsError: InvalidAttributeName or InvalidAttributeValue, naming the attribute.
    """
    settings: dict[str, Any] = {}
    for name, value in given.items():
        if name not in KNOWN or name in READ_ONLY or (name == "FifoQueue" and not creating):
            raise AwsError("InvalidAttributeName", f"Unknown Attribute {name}.")
        if not isinstance(value, str):
            raise _invalid(name, value, "Must be a string.")
        settings[name] = _check_one(name, value, fifo, queue_exists, allows_source)
    return settings


def _check_one(
    name: str,
    value: str,
    fifo: bool,
    queue_exists: Callable[[str], bool],
    allows_source: Callable[[str], bool],
) -> Any:
    if name in _RANGES:
        low, high = _RANGES[name]
        if not (value.isascii() and value.isdigit()) or not low <= int(value) <= high:
            raise _invalid(name, value, f"Must be between {low} and {high}.")
        return int(value)
    if name in _CHOICES:
        if value not in _CHOICES[name]:
            raise _invalid(name, value)
        if name in _FIFO_DEFAULTS and not fifo:
            raise AwsError(
                "InvalidAttributeName", f"You can specify the {name} only when FifoQueue is set to true."
            )
        return value
    if value == "" or name == "KmsMasterKeyId":
        return value
    parsed = _json_object(name, value)
    if name == "RedrivePolicy":
        return _redrive(parsed, value, fifo, queue_exists, allows_source)
    if name == "RedriveAllowPolicy":
        return _redrive_allow(parsed, value)
    if not isinstance(parsed.get("Statement"), (list, dict)):
        raise _invalid(name, value, "A policy needs a Statement.")
    return value


def _json_object(name: str, value: str) -> dict[str, Any]:
    try:
        parsed = json.loads(value)
    except ValueError as error:
        raise _invalid(name, value, f"Not JSON: {error}.") from error
    if not isinstance(parsed, dict):
        raise _invalid(name, value, "Must be a JSON object.")
    return parsed


def _redrive(
    parsed: dict[str, Any],
    value: str,
    fifo: bool,
    queue_exists: Callable[[str], bool],
    allows_source: Callable[[str], bool],
) -> dict[str, Any]:
    def refuse(reason: str) -> AwsError:
        return AwsError(
            "InvalidParameterValue", f"Value {value} for parameter RedrivePolicy is invalid. Reason: {reason}"
        )

    if set(parsed) != {"deadLetterTargetArn", "maxReceiveCount"}:
        raise refuse("Redrive policy must have exactly deadLetterTargetArn and maxReceiveCount.")
    count, target = str(parsed["maxReceiveCount"]), parsed["deadLetterTargetArn"]
    if not count.isdigit() or not limits.SQS_RECEIVES_MIN <= int(count) <= limits.SQS_RECEIVES_MAX:
        raise refuse(
            f"Invalid value for maxReceiveCount: {count}, valid values are from {limits.SQS_RECEIVES_MIN} to "
            f"{limits.SQS_RECEIVES_MAX} both inclusive."
        )
    if not isinstance(target, str) or not queue_exists(target):
        raise refuse("Dead letter target does not exist.")
    if target.endswith(".fifo") != fifo:
        kind = "FIFO" if fifo else "standard"
        raise refuse(f"Dead-letter queue of a {kind} queue must be a {kind} queue too.")
    if not allows_source(target):
        raise refuse("The redrive allow policy of the dead-letter queue does not allow this source queue.")
    return {"deadLetterTargetArn": target, "maxReceiveCount": int(count)}


def _redrive_allow(parsed: dict[str, Any], value: str) -> dict[str, Any]:
    permission = parsed.get("redrivePermission")
    sources = parsed.get("sourceQueueArns")
    good = permission in ("allowAll", "denyAll") and sources is None
    if permission == "byQueue":
        good = (
            isinstance(sources, list) and 1 <= len(sources) <= 10 and all(isinstance(s, str) for s in sources)
        )
    if not good or set(parsed) - {"redrivePermission", "sourceQueueArns"}:
        raise AwsError(
            "InvalidParameterValue",
            f"Value {value} for parameter RedriveAllowPolicy is invalid. Reason: Amazon SQS can't create the redrive "
            "allow policy, as it's in an unsupported format.",
        )
    return parsed


def defaults(*, fifo: bool) -> dict[str, Any]:
    """Settings of a queue nobody set anything on."""
    return {**DEFAULTS, **(_FIFO_DEFAULTS if fifo else {})}


def as_attribute(value: Any) -> str:
    """Write a setting as GetQueueAttributes gives it."""
    return json.dumps(value, separators=(",", ":")) if isinstance(value, dict) else str(value)


def whole_number(name: str, value: Any, low: int, high: int) -> int:
    """Check a number parameter of a request.

    Raises:
        AwsError: InvalidParameterValue.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise AwsError(
            "InvalidParameterValue",
            f"Value {value} for parameter {name} is invalid. Reason: Must be between {low} and {high}, if provided.",
        )
    return value


def check_message(body: Any, attributes: Any, maximum: int) -> tuple[str, dict[str, dict[str, Any]], int]:
    """Check body and attributes; gives them and the size AWS counts.

    Raises:
        AwsError: MissingParameter, InvalidMessageContents or InvalidParameterValue.
    """
    if not isinstance(body, str) or not body:
        raise AwsError("MissingParameter", "The request must contain the parameter MessageBody.")
    if _FORBIDDEN.search(body):
        raise AwsError(
            "InvalidMessageContents",
            "Invalid characters were found. Valid unicode characters are #x9 | #xA | #xD | "
            "#x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF",
        )
    checked = check_message_attributes(attributes)
    size = len(body.encode()) + sum(_attribute_size(n, a) for n, a in checked.items())
    if size > maximum:
        raise AwsError(
            "InvalidParameterValue",
            f"One or more parameters are invalid. Reason: Message must be shorter than {maximum} bytes.",
        )
    return body, checked, size


def check_message_attributes(attributes: Any) -> dict[str, dict[str, Any]]:
    """Check message attributes as SendMessage takes them."""
    if not attributes:
        return {}
    if not isinstance(attributes, dict) or len(attributes) > limits.SQS_ATTRIBUTES_MAX:
        raise AwsError(
            "InvalidParameterValue",
            f"Number of message attributes [{len(attributes)}] exceeds the allowed maximum [10].",
        )
    checked: dict[str, dict[str, Any]] = {}
    for name, attribute in attributes.items():
        lowered = name.lower()
        if (
            not _ATTRIBUTE_NAME.match(name)
            or lowered.startswith(("aws.", "amazon."))
            or name.startswith(".")
            or name.endswith(".")
            or ".." in name
        ):
            raise AwsError("InvalidParameterValue", f"Invalid message attribute name: {name}.")
        checked[name] = _check_attribute(name, attribute)
    return checked


def _check_attribute(name: str, attribute: Any) -> dict[str, Any]:
    kind = attribute.get("DataType", "") if isinstance(attribute, dict) else ""
    base = kind.partition(".")[0] if isinstance(kind, str) else ""
    if base not in ("String", "Number", "Binary") or len(kind) > 256:
        raise AwsError(
            "InvalidParameterValue",
            f"The message attribute '{name}' has an invalid message attribute type, the set of supported type prefixes "
            "is Binary, Number, and String.",
        )
    field = "BinaryValue" if base == "Binary" else "StringValue"
    value = attribute.get(field)
    if not isinstance(value, str) or not value:
        raise AwsError(
            "InvalidParameterValue",
            f"The message attribute '{name}' must contain a non-empty value of type {base}.",
        )
    if base == "Binary":
        try:
            base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError) as error:
            raise AwsError(
                "InvalidParameterValue", f"The message attribute '{name}' is not base64."
            ) from error
    elif _FORBIDDEN.search(value):
        raise AwsError("InvalidParameterValue", f"Invalid characters in the message attribute '{name}'.")
    if base == "Number" and not _NUMBER.match(value):
        raise AwsError(
            "InvalidParameterValue", f"Can't cast the value of message attribute '{name}' to a number."
        )
    return {"DataType": kind, field: value}


def _attribute_size(name: str, attribute: Mapping[str, Any]) -> int:
    return len(name.encode()) + len(attribute["DataType"].encode()) + len(_value_bytes(attribute))


def _value_bytes(attribute: Mapping[str, Any]) -> bytes:
    if "BinaryValue" in attribute:
        return base64.b64decode(attribute["BinaryValue"])
    return str(attribute["StringValue"]).encode()


def attributes_md5(attributes: Mapping[str, Mapping[str, Any]]) -> str | None:
    """MD5 over message attributes; None without any.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html
    """
    if not attributes:
        return None
    digest = hashlib.md5(usedforsecurity=False)

    def add(raw: bytes) -> None:
        digest.update(struct.pack(">I", len(raw)) + raw)

    for name in sorted(attributes):
        attribute = attributes[name]
        add(name.encode())
        add(attribute["DataType"].encode())
        digest.update(b"\x02" if "BinaryValue" in attribute else b"\x01")
        add(_value_bytes(attribute))
    return digest.hexdigest()


def check_batch(entries: Any) -> list[dict[str, Any]]:
    """Check the envelope of a batch request.

    Raises:
        AwsError: EmptyBatchRequest, TooManyEntriesInBatchRequest, InvalidBatchEntryId or BatchEntryIdsNotDistinct.
    """
    if not isinstance(entries, list) or not entries:
        raise AwsError("EmptyBatchRequest", "There should be at least one entry in the request.")
    if len(entries) > limits.SQS_BATCH_MAX:
        raise AwsError(
            "TooManyEntriesInBatchRequest",
            f"Maximum number of entries per request are {limits.SQS_BATCH_MAX}. You have sent {len(entries)}.",
        )
    identifiers = [e.get("Id") if isinstance(e, dict) else None for e in entries]
    for identifier in identifiers:
        if not isinstance(identifier, str) or not _BATCH_ID.match(identifier):
            raise AwsError(
                "InvalidBatchEntryId",
                "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most "
                "80 letters long.",
            )
    for identifier in identifiers:
        if identifiers.count(identifier) > 1:
            raise AwsError("BatchEntryIdsNotDistinct", f"Id {identifier} repeated.")
    return entries


def check_fifo_id(name: str, value: Any) -> str:
    """Check a MessageGroupId or MessageDeduplicationId."""
    if not isinstance(value, str) or not _FIFO_ID.match(value):
        raise AwsError(
            "InvalidParameterValue",
            f"Value {value} for parameter {name} is invalid. Reason: {name} can only include alphanumeric and "
            "punctuation characters. 1 to 128 in length.",
        )
    return value
