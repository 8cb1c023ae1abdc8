"""A queue that takes bursts, sized for its one consumer, with a dead-letter queue for what can't be done."""

from typing import Any, NotRequired, TypedDict

import pulumi
from pulumi_aws import cloudwatch, s3, sqs

from keepwarm import _json, limits
from keepwarm._values import derive
from keepwarm.checks.inputs import Checks
from keepwarm.checks.names import child as child_name
from keepwarm.checks.problems import Problem
from keepwarm.iam import documents
from keepwarm.iam.bindings import IntakeSource, QueueBinding

CONSUMER_TIMEOUT_S = 60
BATCH_SIZE = 10
BATCH_WINDOW_S = 0
MAX_CONCURRENCY = 10
MAX_RECEIVES = 5
DEADLINE_S = 3600
PARKED_RETENTION_S = limits.SQS_RETENTION_MAX_S


class BurstQueueArgs(TypedDict):
    """Inputs of a BurstQueue."""

    consumer_timeout_s: NotRequired[pulumi.Input[int]]
    """Timeout of the function that reads the queue, in seconds, 1..900. Default: 60."""
    batch_size: NotRequired[pulumi.Input[int]]
    """Most messages per invocation, 1..10000 (FIFO ..10). Default: 10."""
    batch_window_s: NotRequired[pulumi.Input[int]]
    """Longest time to gather a batch, in seconds, 0..300; at least 1 for batches above 10. Default: 0."""
    max_concurrency: NotRequired[pulumi.Input[int]]
    """Most concurrent invocations the event source makes, 2..1000. Default: 10."""
    max_receives: NotRequired[pulumi.Input[int]]
    """Deliveries of a message before it is parked in the dead-letter queue, 5..1000. Default: 5."""
    visibility_s: NotRequired[pulumi.Input[int]]
    """Seconds a delivered message stays hidden. Default: six consumer timeouts plus the batching window."""
    visibility_reason: NotRequired[str]
    """Why a `visibility_s` below six timeouts plus the window is right here. Default: it is refused."""
    deadline_s: NotRequired[pulumi.Input[int]]
    """Age at which a message is worthless, in seconds; the age alarm rings at half of it. Default: 3600."""
    retention_s: NotRequired[pulumi.Input[int]]
    """Seconds a message is kept, 60..1209600. Default: the deadline, or every delivery running into its visibility
    timeout, whichever is longer, and at most 13 days so that the dead-letter queue keeps it longer."""
    ordered: NotRequired[bool]
    """Whether messages of one group keep their order (FIFO). Default: false."""
    intake: NotRequired[list[IntakeSource]]
    """Buckets whose new objects become messages. Default: none."""
    alarm_topic_arns: NotRequired[list[pulumi.Input[str]]]
    """SNS topics the alarms notify. Default: none."""
    kms_key_arn: NotRequired[pulumi.Input[str]]
    """KMS key of both queues; S3 intake needs a key policy that lets S3 use it. Default: none (SSE-SQS)."""


class BurstQueue(pulumi.ComponentResource):
    """Takes messages faster than the consumer reads them, and parks the ones that can't be done."""

    url: pulumi.Output[str]
    """URL producers send to."""
    arn: pulumi.Output[str]
    """ARN of the queue."""
    queue_name: pulumi.Output[str]
    """Name of the queue, for metrics."""
    parked_url: pulumi.Output[str]
    """URL of the dead-letter queue."""
    parked_arn: pulumi.Output[str]
    """ARN of the dead-letter queue."""
    parked_name: pulumi.Output[str]
    """Name of the dead-letter queue, for metrics."""
    visibility_s: pulumi.Output[int]
    """Seconds a delivered message stays hidden."""
    retention_s: pulumi.Output[int]
    """Seconds a message is kept."""

    def __init__(self, name: str, args: BurstQueueArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        checks = Checks("BurstQueue", name, args, BurstQueueArgs)
        args = checks.args
        spec = _checked(checks, args)
        child_name(checks, name, "parked", limits.SQS_NAME_MAX_CHARS - len(".fifo"))
        checks.done()
        super().__init__("keepwarm:index:BurstQueue", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        kms = args.get("kms_key_arn")
        shared: dict[str, Any] = {
            "fifo_queue": spec["ordered"] or None,
            "kms_master_key_id": kms,
            "sqs_managed_sse_enabled": True if kms is None else None,
            "opts": child,
        }

        parked = sqs.Queue(f"{name}-parked", message_retention_seconds=PARKED_RETENTION_S, **shared)
        jobs = sqs.Queue(
            f"{name}-jobs",
            visibility_timeout_seconds=spec["visibility_s"],
            message_retention_seconds=spec["retention_s"],
            receive_wait_time_seconds=limits.SQS_WAIT_MAX_S,
            redrive_policy=_json.dumps(
                {"deadLetterTargetArn": parked.arn, "maxReceiveCount": derive(int, spec["max_receives"])}
            ),
            **shared,
        )
        sqs.RedriveAllowPolicy(
            f"{name}-redrive",
            queue_url=parked.url,
            redrive_allow_policy=_json.dumps({"redrivePermission": "byQueue", "sourceQueueArns": [jobs.arn]}),
            opts=child,
        )
        sqs.QueuePolicy(
            f"{name}-parked-policy", queue_url=parked.url, policy=_policy(parked.arn, []), opts=child
        )
        intake = args.get("intake", [])
        policy = sqs.QueuePolicy(
            f"{name}-jobs-policy",
            queue_url=jobs.url,
            policy=_policy(jobs.arn, intake, documents.account(self) if intake else None),
            opts=child,
        )
        for index, source in enumerate(intake):
            s3.BucketNotification(
                f"{name}-intake-{index}",
                bucket=source["bucket"],
                queues=[
                    {
                        "queue_arn": jobs.arn,
                        "events": ["s3:ObjectCreated:*"],
                        "filter_prefix": source.get("prefix"),
                        "filter_suffix": source.get("suffix"),
                    }
                ],
                # S3 sends a test message when the notification is made and refuses it if the queue does.
                opts=pulumi.ResourceOptions(parent=self, depends_on=[policy]),
            )
        self._alarms(name, args, jobs, parked, spec)

        self.url = jobs.url
        self.arn = jobs.arn
        self.queue_name = jobs.name
        self.parked_url = parked.url
        self.parked_arn = parked.arn
        self.parked_name = parked.name
        self.visibility_s = pulumi.Output.from_input(spec["visibility_s"])
        self.retention_s = pulumi.Output.from_input(spec["retention_s"])
        self._binding: QueueBinding = {
            "url": jobs.url,
            "arn": jobs.arn,
            "parked_url": parked.url,
            "parked_arn": parked.arn,
            "consumer_timeout_s": spec["consumer_timeout_s"],
            "batch_size": spec["batch_size"],
            "batch_window_s": spec["batch_window_s"],
            "max_concurrency": spec["max_concurrency"],
            "ordered": spec["ordered"],
        }
        if kms is not None:
            self._binding["kms_key_arn"] = kms
        self.register_outputs(
            {
                "url": self.url,
                "arn": self.arn,
                "queue_name": self.queue_name,
                "parked_url": self.parked_url,
                "parked_arn": self.parked_arn,
                "parked_name": self.parked_name,
                "visibility_s": self.visibility_s,
                "retention_s": self.retention_s,
            }
        )

    def binding(self) -> QueueBinding:
        """What the consumer, and whoever parks hopeless work, needs to know of this queue."""
        return self._binding

    def _alarms(
        self, name: str, args: BurstQueueArgs, jobs: sqs.Queue, parked: sqs.Queue, spec: dict[str, Any]
    ) -> None:
        child = pulumi.ResourceOptions(parent=self)
        topics = args.get("alarm_topic_arns")
        cloudwatch.MetricAlarm(
            f"{name}-age",
            alarm_description="The oldest message has used half of its deadline: the consumer does not keep up.",
            namespace="AWS/SQS",
            metric_name="ApproximateAgeOfOldestMessage",
            dimensions={"QueueName": jobs.name},
            statistic="Maximum",
            period=60,
            evaluation_periods=3,
            threshold=derive(lambda deadline: deadline / 2, spec["deadline_s"]),
            comparison_operator="GreaterThanThreshold",
            treat_missing_data="notBreaching",
            alarm_actions=topics,
            opts=child,
        )
        cloudwatch.MetricAlarm(
            f"{name}-parked-depth",
            alarm_description="Messages were parked: read their reason, fix it, and redrive them.",
            namespace="AWS/SQS",
            metric_name="ApproximateNumberOfMessagesVisible",
            dimensions={"QueueName": parked.name},
            statistic="Maximum",
            period=60,
            evaluation_periods=1,
            threshold=0,
            comparison_operator="GreaterThanThreshold",
            treat_missing_data="notBreaching",
            alarm_actions=topics,
            opts=child,
        )


def needed_visibility_s(timeout_s: int, window_s: int) -> int:
    """Visibility timeout AWS recommends for a consumer, in seconds."""
    return limits.ESM_VISIBILITY_TIMEOUTS * int(timeout_s) + int(window_s)


def needed_retention_s(deadline_s: int, visibility_s: int, receives: int) -> int:
    """Retention that outlives the deadline and every delivery, and is outlived by the dead-letter queue, in seconds.

    A message moved to the dead-letter queue keeps its first timestamp, so that queue must keep messages longer.
    """
    longest = max(int(deadline_s), int(visibility_s) * int(receives))
    return min(max(longest, limits.SQS_RETENTION_MIN_S), PARKED_RETENTION_S - 86_400)


def _checked(checks: Checks[Any], args: BurstQueueArgs) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "consumer_timeout_s": checks.number(
            "consumer_timeout_s",
            CONSUMER_TIMEOUT_S,
            1,
            limits.LAMBDA_TIMEOUT_MAX_S,
            code="KW103",
            unit="seconds",
            because="it is the timeout of a Lambda function",
        ),
        "ordered": checks.flag("ordered", False),
        "max_concurrency": checks.number(
            "max_concurrency",
            MAX_CONCURRENCY,
            limits.ESM_CONCURRENCY_MIN,
            limits.ESM_CONCURRENCY_MAX,
            code="KW117",
            unit="invocations",
            because="an SQS event source takes no other maximum concurrency",
        ),
        "max_receives": checks.number(
            "max_receives",
            MAX_RECEIVES,
            limits.ESM_RECEIVES_MIN,
            limits.SQS_RECEIVES_MAX,
            code="KW120",
            unit="deliveries",
            because="a throttled delivery counts as one, so fewer park work that was never tried",
        ),
        "deadline_s": checks.number(
            "deadline_s",
            DEADLINE_S,
            1,
            limits.SQS_RETENTION_MAX_S - 86_400,
            code="KW121",
            unit="seconds",
            because="a message can't be kept longer than the dead-letter queue would keep it",
        ),
    }
    ordered = spec["ordered"]
    spec["batch_size"] = checks.number(
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

    def gathers(given: int, batch: int) -> Problem | None:
        if batch <= limits.ESM_BATCH_MAX_WITHOUT_WINDOW or given >= 1 or ordered:
            return None
        return Problem(
            code="KW119",
            key="batch_window_s",
            got=f"{given} s with batch_size {batch}",
            allowed="at least 1 s",
            because="a batch above 10 messages is gathered over time",
            fix="set batch_window_s to 1 or more",
        )

    spec["batch_window_s"] = checks.holds(gathers, window, spec["batch_size"])
    needed = derive(needed_visibility_s, spec["consumer_timeout_s"], spec["batch_window_s"])
    given = checks.number(
        "visibility_s",
        None,
        0,
        limits.SQS_VISIBILITY_MAX_S,
        code="KW121",
        unit="seconds",
        because="SQS hides a message no longer",
    )
    reason = args.get("visibility_reason")

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

    spec["visibility_s"] = (
        needed if given is None else checks.holds(covers, given, spec["consumer_timeout_s"], needed)
    )
    spec["retention_s"] = _retention(checks, args, spec)
    return spec


def _retention(checks: Checks[Any], args: BurstQueueArgs, spec: dict[str, Any]) -> Any:
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
        return derive(needed_retention_s, spec["deadline_s"], spec["visibility_s"], spec["max_receives"])

    def outlived(retention: int, deadline: int) -> Problem | None:
        if retention >= PARKED_RETENTION_S:
            return Problem(
                code="KW120",
                key="retention_s",
                got=f"{retention} s",
                allowed=f"below {PARKED_RETENTION_S} s",
                because="the dead-letter queue counts a message's age from its first day, and would drop it on arrival",
                fix=f"set retention_s to {PARKED_RETENTION_S - 86_400} or less",
            )
        if retention < deadline:
            return Problem(
                code="KW121",
                key="retention_s",
                got=f"{retention} s",
                allowed=f"at least deadline_s, {deadline} s",
                because="a message would vanish before its deadline, without a trace",
                fix="raise retention_s, or leave it out",
            )
        return None

    return checks.holds(outlived, given, spec["deadline_s"])


def _policy(
    queue_arn: pulumi.Input[str],
    intake: list[IntakeSource],
    account_id: pulumi.Input[str] | None = None,
) -> pulumi.Input[str]:
    """TLS only; and S3 may send, for the named buckets of this account."""
    statements: list[dict[str, Any]] = [
        {
            "Sid": "TlsOnly",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "sqs:*",
            "Resource": queue_arn,
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
    ]
    if intake:
        statements.append(
            {
                "Sid": "Intake",
                "Effect": "Allow",
                "Principal": {"Service": "s3.amazonaws.com"},
                "Action": "sqs:SendMessage",
                "Resource": queue_arn,
                "Condition": {
                    "StringEquals": {"aws:SourceAccount": account_id},
                    "ArnEquals": {"aws:SourceArn": [source["bucket_arn"] for source in intake]},
                },
            }
        )
    return documents.raw_document(statements)
