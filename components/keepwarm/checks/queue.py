"""Checks on the inputs of a burst queue: what Lambda's event source takes, and what SQS keeps long enough."""

from typing import Any

import pulumi

from keepwarm import limits
from keepwarm._values import derive, known
from keepwarm.checks.inputs import Checks
from keepwarm.checks.problems import Problem
from keepwarm.iam.bindings import IntakeSource

CONSUMER_TIMEOUT_S = 60
BATCH_SIZE = 10
BATCH_WINDOW_S = 0
MAX_CONCURRENCY = 10
MAX_RECEIVE_COUNT = 5
MAX_EVENT_AGE_S = 3600
PARKED_RETENTION_S = limits.SQS_RETENTION_MAX_S


def consumer_timeout(checks: Checks[Any]) -> pulumi.Input[int]:
    """Timeout of the function that reads the queue."""
    seconds: pulumi.Input[int] = checks.number(
        "consumer_timeout_s",
        CONSUMER_TIMEOUT_S,
        1,
        limits.LAMBDA_TIMEOUT_MAX_S,
        code="KW103",
        unit="seconds",
        because="it is the timeout of a Lambda function",
    )
    return seconds


def concurrency(checks: Checks[Any]) -> pulumi.Input[int]:
    """Most concurrent invocations of the event source."""
    most: pulumi.Input[int] = checks.number(
        "max_concurrency",
        MAX_CONCURRENCY,
        limits.ESM_CONCURRENCY_MIN,
        limits.ESM_CONCURRENCY_MAX,
        code="KW117",
        unit="invocations",
        because="an SQS event source takes no other maximum concurrency",
    )
    return most


def receive_count(checks: Checks[Any]) -> pulumi.Input[int]:
    """Deliveries of a message before it is parked."""
    count: pulumi.Input[int] = checks.number(
        "max_receive_count",
        MAX_RECEIVE_COUNT,
        limits.ESM_RECEIVES_MIN,
        limits.SQS_RECEIVES_MAX,
        code="KW120",
        unit="deliveries",
        because="a throttled delivery counts as one, so fewer park work that was never tried",
    )
    return count


def event_age(checks: Checks[Any]) -> pulumi.Input[int]:
    """Age at which a message is worthless."""
    seconds: pulumi.Input[int] = checks.number(
        "max_event_age_s",
        MAX_EVENT_AGE_S,
        1,
        limits.SQS_RETENTION_MAX_S - 86_400,
        code="KW121",
        unit="seconds",
        because="a message can't be kept longer than the dead-letter queue would keep it",
    )
    return seconds


def batch(checks: Checks[Any], *, ordered: bool) -> tuple[pulumi.Input[int], pulumi.Input[int]]:
    """Size of a batch and the time to gather it."""
    size: pulumi.Input[int] = checks.number(
        "batch_size",
        BATCH_SIZE,
        1,
        limits.ESM_BATCH_MAX_FIFO if ordered else limits.ESM_BATCH_MAX,
        code="KW119",
        unit="messages",
        because="a FIFO event source takes no more" if ordered else "an SQS event source takes no more",
    )
    window = checks.number(
        "batch_window_s",
        BATCH_WINDOW_S,
        0,
        0 if ordered else limits.ESM_WINDOW_MAX_S,
        code="KW119",
        unit="seconds",
        because="a FIFO event source has no batching window"
        if ordered
        else "an SQS event source waits no longer",
    )

    def gathers(given: int, size: int) -> Problem | None:
        if size <= limits.ESM_BATCH_MAX_WITHOUT_WINDOW or given >= 1 or ordered:
            return None
        return Problem(
            code="KW119",
            key="batch_window_s",
            got=f"{given} s with batch_size {size}",
            allowed="at least 1 s",
            because="a batch above 10 messages is gathered over time",
            fix="set batch_window_s to 1 or more",
        )

    return size, checks.holds(gathers, window, size)


def needed_visibility_s(timeout_s: int, window_s: int) -> int:
    """Visibility timeout AWS recommends for a consumer, in seconds."""
    return limits.ESM_VISIBILITY_TIMEOUTS * int(timeout_s) + int(window_s)


def visibility(
    checks: Checks[Any], timeout: pulumi.Input[int], window: pulumi.Input[int], reason: str | None
) -> pulumi.Input[int]:
    """Time a delivered message stays hidden: what the consumer needs, or what the caller insists on with a reason."""
    needed = derive(needed_visibility_s, timeout, window)
    given = checks.number(
        "visibility_s",
        None,
        0,
        limits.SQS_VISIBILITY_MAX_S,
        code="KW121",
        unit="seconds",
        because="SQS hides a message no longer",
    )

    def covers(visibility: int, timeout: int, least: int) -> Problem | None:
        if visibility < timeout:
            return Problem(
                code="KW115",
                key="visibility_s",
                got=f"{visibility} s",
                allowed=f"at least {timeout} s",
                because="a message would be delivered again during the work, and Lambda refuses the event source",
                fix=f"set visibility_s to {least}, or leave it out",
            )
        if visibility < least and not reason:
            return Problem(
                code="KW116",
                key="visibility_s",
                got=f"{visibility} s",
                allowed=f"at least {least} s (6 x {timeout} s plus the batching window)",
                because="throttled deliveries need room to be retried before the message appears again",
                fix=f"set visibility_s to {least}, leave it out, or give visibility_reason",
            )
        return None

    if given is None:
        return needed
    held: pulumi.Input[int] = checks.holds(covers, given, timeout, needed)
    return held


def needed_retention_s(event_age_s: int, visibility_s: int, receives: int) -> int:
    """Retention that outlives the event and every delivery, and is outlived by the dead-letter queue, in seconds.

    A message moved to the dead-letter queue keeps its first timestamp, so that queue must keep messages longer.
    """
    longest = max(int(event_age_s), int(visibility_s) * int(receives))
    return min(max(longest, limits.SQS_RETENTION_MIN_S), PARKED_RETENTION_S - 86_400)


def retention(
    checks: Checks[Any], age: pulumi.Input[int], hidden: pulumi.Input[int], receives: pulumi.Input[int]
) -> pulumi.Input[int]:
    """Time a message is kept."""
    given = checks.number(
        "retention_s",
        None,
        limits.SQS_RETENTION_MIN_S,
        limits.SQS_RETENTION_MAX_S,
        code="KW121",
        unit="seconds",
        because="SQS keeps a message no shorter and no longer",
    )
    if given is None:
        return derive(needed_retention_s, age, hidden, receives)

    def outlived(retention: int, age: int) -> Problem | None:
        if retention >= PARKED_RETENTION_S:
            return Problem(
                code="KW120",
                key="retention_s",
                got=f"{retention} s",
                allowed=f"below {PARKED_RETENTION_S} s",
                because="the dead-letter queue counts a message's age from its first day, and would drop it on arrival",
                fix=f"set retention_s to {PARKED_RETENTION_S - 86_400} or less",
            )
        if retention < age:
            return Problem(
                code="KW121",
                key="retention_s",
                got=f"{retention} s",
                allowed=f"at least max_event_age_s, {age} s",
                because="a message would vanish while it is still worth something, without a trace",
                fix="raise retention_s, or leave it out",
            )
        return None

    held: pulumi.Input[int] = checks.holds(outlived, given, age)
    return held


def check_intake(checks: Checks[Any], intake: list[IntakeSource], *, ordered: bool) -> None:
    """Refuse what S3 can't notify."""
    buckets = [source["bucket"] for source in intake]
    for index, bucket in enumerate(buckets):
        if any(bucket is other or (known(bucket) and bucket == other) for other in buckets[:index]):
            checks.add(
                code="KW158",
                key=f"intake[{index}].bucket",
                got="a bucket twice",
                allowed="each bucket once",
                because="S3 keeps one notification configuration per bucket",
                fix="take the prefix that both share, and sort the events in the consumer",
            )
    if intake and ordered:
        checks.add(
            code="KW121",
            key="ordered",
            got="true with intake",
            allowed="false",
            because="S3 notifies no FIFO queue "
            "(https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-how-to-event-types-and-destinations.html)",
            fix="put a standard queue in front, or set ordered to false",
        )
