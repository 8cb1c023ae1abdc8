"""Checks on asynchronous invocations: retries, and where events go that failed or succeeded.

Source: https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

import pulumi

from keepwarm import limits
from keepwarm.checks.inputs import Checks
from keepwarm.iam import grants
from keepwarm.iam.grants import Statement

ASYNC_RETRIES = 2
ASYNC_EVENT_AGE_S = 3600

_KINDS: dict[str, tuple[str, str]] = {
    "queue_arn": (r"arn:[a-z-]+:sqs:[a-z0-9-]+:\d{12}:(?!.*\.fifo$).+", "a standard SQS queue"),
    "topic_arn": (r"arn:[a-z-]+:sns:[a-z0-9-]+:\d{12}:(?!.*\.fifo$).+", "a standard SNS topic"),
    "function_arn": (r"arn:[a-z-]+:lambda:[a-z0-9-]+:\d{12}:function:[^:]+:[^:$]+", "an alias or version"),
    "bus_arn": (r"arn:[a-z-]+:events:[a-z0-9-]+:\d{12}:event-bus/.+", "an EventBridge bus"),
}


class SuccessDestination(TypedDict):
    """Where Lambda records asynchronous invocations that succeeded: exactly one of the four ARNs."""

    queue_arn: NotRequired[pulumi.Input[str]]
    """Standard SQS queue. Default: none."""
    topic_arn: NotRequired[pulumi.Input[str]]
    """Standard SNS topic. Default: none."""
    function_arn: NotRequired[pulumi.Input[str]]
    """Alias or version of another function. Default: none."""
    bus_arn: NotRequired[pulumi.Input[str]]
    """EventBridge bus. Default: none."""
    kms_key_arn: NotRequired[pulumi.Input[str]]
    """Key the queue or topic is encrypted with. Default: none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EventsSpec:
    """Asynchronous invocations after their check."""

    retries: pulumi.Input[int]
    event_age_s: pulumi.Input[int]
    failures_arn: pulumi.Input[str] | None
    """None for a queue of the function's own."""
    success_arn: pulumi.Input[str] | None
    statements: list[Statement]
    """Grants of the destinations, without those of the function's own queue."""


def check_events(checks: Checks[Any], args: Mapping[str, Any]) -> EventsSpec:
    """Asynchronous invocations after their check."""
    granted: list[Statement] = []
    key = args.get("failures_kms_key_arn")
    if key is not None:
        if args.get("failures_arn") is None:
            checks.add(
                code="KW102",
                key="failures_kms_key_arn",
                got="a key without its queue",
                allowed="it together with failures_arn",
                because="the function's own queue is encrypted with kms_key_arn",
                fix="set failures_arn, or kms_key_arn instead",
            )
        granted.append(grants.encrypt(key))
    failures_arn = args.get("failures_arn")
    if failures_arn is not None:
        failures_arn = _destination(checks, "failures_arn", "queue_arn", failures_arn)
    success_arn, more = _success(checks, args["on_success"]) if "on_success" in args else (None, [])
    return EventsSpec(
        retries=checks.number(
            "async_retries",
            ASYNC_RETRIES,
            0,
            limits.LAMBDA_ASYNC_RETRIES_MAX,
            code="KW101",
            unit="retries",
            because="Lambda retries no further",
        ),
        event_age_s=checks.number(
            "async_event_age_s",
            ASYNC_EVENT_AGE_S,
            limits.LAMBDA_ASYNC_EVENT_AGE_MIN_S,
            limits.LAMBDA_ASYNC_EVENT_AGE_MAX_S,
            code="KW101",
            unit="seconds",
            because="Lambda keeps an event no longer",
        ),
        failures_arn=failures_arn,
        success_arn=success_arn,
        statements=[*granted, *more],
    )


def _success(
    checks: Checks[Any], destination: Mapping[str, Any]
) -> tuple[pulumi.Input[str] | None, list[Statement]]:
    given = [kind for kind in _KINDS if destination.get(kind) is not None]
    if len(given) != 1:
        checks.add(
            code="KW102",
            key="on_success",
            got=" and ".join(given) or "none of them",
            allowed=f"exactly one of {', '.join(_KINDS)}",
            because="Lambda sends to one destination",
            fix="name one",
        )
        return None, []
    (kind,) = given
    arn = _destination(checks, f"on_success.{kind}", kind, destination[kind])
    verbs = {
        "queue_arn": grants.send_messages,
        "topic_arn": grants.publish_messages,
        "function_arn": grants.invoke_function,
        "bus_arn": grants.put_events,
    }
    granted = [verbs[kind](arn)]
    if destination.get("kms_key_arn") is not None:
        granted.append(grants.encrypt(destination["kms_key_arn"]))
    return arn, granted


def _destination(checks: Checks[Any], key: str, kind: str, arn: pulumi.Input[str]) -> pulumi.Input[str]:
    pattern, what = _KINDS[kind]
    checked: pulumi.Input[str] = checks.text(
        key,
        arn,
        pattern,
        code="KW140",
        allowed=f"the ARN of {what}",
        because="Lambda sends to nothing else here",
        fix=f"pass the ARN of {what}",
    )
    return checked
