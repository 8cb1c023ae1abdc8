"""Checks on what feeds a PreprocessingFunction: a queue and how it is read, or the events of buckets."""

from dataclasses import dataclass
from typing import Any

import pulumi

from keepwarm import limits
from keepwarm.checks.inputs import Checks
from keepwarm.checks.model_fit import numeric
from keepwarm.checks.problems import Problem
from keepwarm.iam.bindings import IntakeSource, QueueBinding


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueSource:
    """A queue and how the function reads it."""

    arn: pulumi.Input[str]
    batch_size: pulumi.Input[int]
    batch_window_s: pulumi.Input[int] | None
    """None for a FIFO queue, whose event source has no batching window."""
    max_concurrency: pulumi.Input[int]
    kms_key_arn: pulumi.Input[str] | None
    paused: pulumi.Input[bool]


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectSource:
    """Buckets whose new objects invoke the function."""

    buckets: list[IntakeSource]


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """What the source and the function bound each other by; guarded by the checks that follow."""

    timeout_s: pulumi.Input[int]
    reserved_concurrency: pulumi.Input[int] | None


def check_queue(
    checks: Checks[Any], queue: QueueBinding, bounds: Bounds, paused: pulumi.Input[bool]
) -> tuple[QueueSource, Bounds]:
    """The queue as the function reads it, and the function's bounds after their check against it."""
    ordered = bool(queue.get("ordered"))
    most = checks.number(
        "max_concurrency",
        None,
        limits.ESM_CONCURRENCY_MIN,
        limits.ESM_CONCURRENCY_MAX,
        code="KW117",
        unit="invocations",
        because="an SQS event source takes no other maximum concurrency",
        args=queue,
        at="queue",
    )
    batch: dict[str, Any] = {
        "code": "KW119",
        "because": "an SQS event source takes no other",
        "args": queue,
        "at": "queue",
    }
    size = checks.number("batch_size", None, 1, limits.ESM_BATCH_MAX, unit="messages", **batch)
    window = checks.number("batch_window_s", None, 0, limits.ESM_WINDOW_MAX_S, unit="seconds", **batch)
    consumer = checks.number(
        "consumer_timeout_s",
        None,
        1,
        limits.LAMBDA_TIMEOUT_MAX_S,
        code="KW103",
        unit="seconds",
        because="it is the timeout of a Lambda function",
        args=queue,
        at="queue",
    )
    timeout = checks.holds(numeric(_sized), bounds.timeout_s, consumer)
    if bounds.reserved_concurrency is not None:
        most = checks.holds(numeric(_reserved), most, bounds.reserved_concurrency)
    source = QueueSource(
        arn=queue["arn"],
        batch_size=size,
        batch_window_s=None if ordered else window,
        max_concurrency=most,
        kms_key_arn=queue.get("kms_key_arn"),
        paused=paused,
    )
    return source, Bounds(timeout_s=timeout, reserved_concurrency=bounds.reserved_concurrency)


def check_objects(
    checks: Checks[Any], buckets: list[IntakeSource], bounds: Bounds
) -> tuple[ObjectSource, Bounds]:
    """The buckets, and the function's bounds after their check: nothing else limits the fan-out."""
    if not buckets:
        checks.add(
            code="KW102",
            key="objects",
            got="no bucket",
            allowed="at least one",
            because="nothing would invoke the function",
            fix="name a bucket, or use a queue",
        )
    kept = bounds.reserved_concurrency
    if kept is None:
        checks.add(
            code="KW150",
            key="reserved_concurrency",
            got="nothing",
            allowed="a number of environments",
            because="S3 invokes once per object and nothing else bounds the fan-out",
            fix="set it to what the services behind take, or put a BurstQueue in between",
        )
    else:
        kept = checks.holds(numeric(_runs), kept)
    return ObjectSource(buckets=buckets), Bounds(timeout_s=bounds.timeout_s, reserved_concurrency=kept)


def _runs(kept: float) -> Problem | None:
    if kept > 0:
        return None
    return Problem(
        code="KW114",
        key="reserved_concurrency",
        got="0",
        allowed="at least 1",
        because="the function may never run, so every event fails",
        fix="raise reserved_concurrency",
    )


def _sized(timeout: float, consumer: float) -> Problem | None:
    if timeout <= consumer:
        return None
    return Problem(
        code="KW115",
        key="timeout_s",
        got=f"{timeout:g} s",
        allowed=f"up to the queue's consumer_timeout_s, {consumer:g} s",
        because="the queue's visibility and retention were derived from that timeout",
        fix=f"set the queue's consumer_timeout_s to {timeout:g}",
    )


def _reserved(most: float, kept: float) -> Problem | None:
    if kept == 0:
        return Problem(
            code="KW114",
            key="reserved_concurrency",
            got="0",
            allowed="at least 2",
            because="the function may never run, so the queue never drains",
            fix="leave reserved_concurrency out, or set paused to true",
        )
    if most > kept:
        return Problem(
            code="KW118",
            key="queue.max_concurrency",
            got=f"{most:g}",
            allowed=f"up to reserved_concurrency, {kept:g}",
            because="deliveries beyond the reservation are throttled and use up a message's chances",
            fix=f"set the queue's max_concurrency to {kept:g}, or reserve {most:g}",
        )
    return None
