"""A queue that takes bursts, sized for its one consumer, with a dead-letter queue for what can't be done."""

from dataclasses import dataclass
from typing import Any, NotRequired, Self, TypedDict

import pulumi
from pulumi_aws import cloudwatch, s3, sqs

from keepwarm import _json, _planned, limits
from keepwarm._values import derive
from keepwarm.checks import notifications, queue
from keepwarm.checks.inputs import Checks
from keepwarm.checks.keys import check_key
from keepwarm.checks.names import child as child_name
from keepwarm.checks.problems import Report, Where
from keepwarm.checks.tags import Tags, tags
from keepwarm.iam import documents
from keepwarm.iam.bindings import IntakeSource, QueueBinding

KIND = "BurstQueue"


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
    max_receive_count: NotRequired[pulumi.Input[int]]
    """Deliveries of a message before it is parked in the dead-letter queue, 5..1000. Default: 5."""
    visibility_s: NotRequired[pulumi.Input[int]]
    """Seconds a delivered message stays hidden. Default: six consumer timeouts plus the batching window."""
    visibility_reason: NotRequired[str]
    """Why a `visibility_s` below six timeouts plus the window is right here. Default: it is refused."""
    max_event_age_s: NotRequired[pulumi.Input[int]]
    """Age at which a message is worthless, in seconds; the age alarm rings at half of it. Default: 3600."""
    retention_s: NotRequired[pulumi.Input[int]]
    """Seconds a message is kept, 60..1209600. Default: `max_event_age_s`, or every delivery running into its visibility
    timeout, whichever is longer, and at most 13 days so that the dead-letter queue keeps it longer."""
    ordered: NotRequired[bool]
    """Whether messages of one group keep their order (FIFO). Default: false."""
    intake: NotRequired[list[IntakeSource]]
    """Buckets whose new objects become messages; each can feed one queue or function only. Default: none."""
    alarm_topic_arns: NotRequired[list[pulumi.Input[str]]]
    """SNS topics the alarms notify. Default: none."""
    kms_key_arn: NotRequired[pulumi.Input[str]]
    """KMS key of both queues; with `intake` its policy must let S3 use it (see EncryptionKey). Default: none
    (SSE-SQS)."""
    tags: NotRequired[dict[str, pulumi.Input[str]]]
    """Tags of queues and alarms. Default: none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BurstQueueSpec:
    """Inputs of a BurstQueue after their check: all that its resources are built from."""

    consumer_timeout_s: pulumi.Input[int]
    batch_size: pulumi.Input[int]
    batch_window_s: pulumi.Input[int]
    max_concurrency: pulumi.Input[int]
    max_receive_count: pulumi.Input[int]
    max_event_age_s: pulumi.Input[int]
    visibility_s: pulumi.Input[int]
    retention_s: pulumi.Input[int]
    ordered: bool
    intake: list[IntakeSource]
    alarm_topic_arns: list[pulumi.Input[str]] | None
    kms_key_arn: pulumi.Input[str] | None
    tags: Tags | None

    @classmethod
    def of(
        cls, name: str, args: BurstQueueArgs, *, where: Where | None = None, report: Report | None = None
    ) -> Self:
        """Check the inputs; nothing is registered.

        Raises:
            InvalidArgs: something was refused, and no report was passed in.
        """
        checks = Checks(KIND, name, args, BurstQueueArgs, where=where, report=report)
        args = checks.args
        ordered = checks.flag("ordered", False)
        timeout = queue.consumer_timeout(checks)
        batch, window = queue.batch(checks, ordered=ordered)
        receives = queue.receive_count(checks)
        age = queue.event_age(checks)
        visibility = queue.visibility(checks, timeout, window, args.get("visibility_reason"))
        intake = args.get("intake", [])
        queue.check_intake(checks, intake, ordered=ordered)
        if intake:
            check_key(checks, args, "s3.amazonaws.com")
        spec = cls(
            consumer_timeout_s=timeout,
            batch_size=batch,
            batch_window_s=window,
            max_concurrency=queue.concurrency(checks),
            max_receive_count=receives,
            max_event_age_s=age,
            visibility_s=visibility,
            retention_s=queue.retention(checks, age, visibility, receives),
            ordered=ordered,
            intake=intake,
            alarm_topic_arns=args.get("alarm_topic_arns"),
            kms_key_arn=args.get("kms_key_arn"),
            tags=tags(checks, args),
        )
        child_name(checks, name, "parked", limits.SQS_NAME_MAX_CHARS - len(".fifo"))
        checks.done()
        return spec

    def planned(self, name: str) -> QueueBinding:
        """The binding with the real numbers and placeholders for what only AWS knows."""
        jobs, parked = (
            _planned.physical(name, role) + (".fifo" if self.ordered else "") for role in ("jobs", "parked")
        )
        base = f"https://sqs.{_planned.REGION}.amazonaws.com/{_planned.ACCOUNT}/"
        return self.binding(
            url=base + jobs,
            arn=_planned.arn("sqs", jobs),
            parked_url=base + parked,
            parked_arn=_planned.arn("sqs", parked),
        )

    def binding(
        self,
        *,
        url: pulumi.Input[str],
        arn: pulumi.Input[str],
        parked_url: pulumi.Input[str],
        parked_arn: pulumi.Input[str],
    ) -> QueueBinding:
        """The binding of two queues made from this spec."""
        bound: QueueBinding = {
            "url": url,
            "arn": arn,
            "parked_url": parked_url,
            "parked_arn": parked_arn,
            "consumer_timeout_s": self.consumer_timeout_s,
            "batch_size": self.batch_size,
            "batch_window_s": self.batch_window_s,
            "max_concurrency": self.max_concurrency,
            "retention_s": self.retention_s,
            "ordered": self.ordered,
        }
        if self.kms_key_arn is not None:
            bound["kms_key_arn"] = self.kms_key_arn
        return bound


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
        spec = BurstQueueSpec.of(name, args)
        buckets = notifications.claim(Where(f"{KIND} '{name}'"), "intake", spec.intake)
        super().__init__("keepwarm:index:BurstQueue", name, {}, opts)
        jobs, parked = self._queues(name, spec)
        policy = self._policies(name, spec, jobs, parked)
        self._intake(name, spec, buckets, jobs, policy)
        self._alarms(name, spec, jobs, parked)

        self.url = jobs.url
        self.arn = jobs.arn
        self.queue_name = jobs.name
        self.parked_url = parked.url
        self.parked_arn = parked.arn
        self.parked_name = parked.name
        self.visibility_s = pulumi.Output.from_input(spec.visibility_s)
        self.retention_s = pulumi.Output.from_input(spec.retention_s)
        self._binding = spec.binding(url=jobs.url, arn=jobs.arn, parked_url=parked.url, parked_arn=parked.arn)
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

    def _queues(self, name: str, spec: BurstQueueSpec) -> tuple[sqs.Queue, sqs.Queue]:
        shared: dict[str, Any] = {
            "fifo_queue": spec.ordered or None,
            "kms_master_key_id": spec.kms_key_arn,
            "sqs_managed_sse_enabled": True if spec.kms_key_arn is None else None,
            "tags": spec.tags,
            "opts": pulumi.ResourceOptions(parent=self),
        }
        parked = sqs.Queue(f"{name}-parked", message_retention_seconds=queue.PARKED_RETENTION_S, **shared)
        jobs = sqs.Queue(
            f"{name}-jobs",
            visibility_timeout_seconds=spec.visibility_s,
            message_retention_seconds=spec.retention_s,
            receive_wait_time_seconds=limits.SQS_WAIT_MAX_S,
            redrive_policy=_json.dumps(
                {"deadLetterTargetArn": parked.arn, "maxReceiveCount": derive(int, spec.max_receive_count)}
            ),
            **shared,
        )
        return jobs, parked

    def _policies(
        self, name: str, spec: BurstQueueSpec, jobs: sqs.Queue, parked: sqs.Queue
    ) -> sqs.QueuePolicy:
        """Who may use the queues; returns the policy that lets S3 send."""
        child = pulumi.ResourceOptions(parent=self)
        sqs.RedriveAllowPolicy(
            f"{name}-redrive",
            queue_url=parked.url,
            redrive_allow_policy=_json.dumps({"redrivePermission": "byQueue", "sourceQueueArns": [jobs.arn]}),
            opts=child,
        )
        sqs.QueuePolicy(
            f"{name}-parked-policy", queue_url=parked.url, policy=_policy(parked.arn, []), opts=child
        )
        return sqs.QueuePolicy(
            f"{name}-jobs-policy",
            queue_url=jobs.url,
            policy=_policy(jobs.arn, spec.intake, documents.account(self) if spec.intake else None),
            opts=child,
        )

    def _intake(
        self,
        name: str,
        spec: BurstQueueSpec,
        buckets: list[pulumi.Input[str]],
        jobs: sqs.Queue,
        policy: sqs.QueuePolicy,
    ) -> None:
        for index, (source, bucket) in enumerate(zip(spec.intake, buckets, strict=True)):
            s3.BucketNotification(
                f"{name}-intake-{index}",
                bucket=bucket,
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

    def _alarms(self, name: str, spec: BurstQueueSpec, jobs: sqs.Queue, parked: sqs.Queue) -> None:
        shared: dict[str, Any] = {
            "namespace": "AWS/SQS",
            "statistic": "Maximum",
            "period": 60,
            "comparison_operator": "GreaterThanThreshold",
            # SQS stops reporting on a queue that was idle for six hours: nothing waits in it.
            "treat_missing_data": "notBreaching",
            "alarm_actions": spec.alarm_topic_arns,
            "tags": spec.tags,
            "opts": pulumi.ResourceOptions(parent=self),
        }
        cloudwatch.MetricAlarm(
            f"{name}-age",
            alarm_description="The oldest message has reached half of its greatest age: the consumer does not keep up.",
            metric_name="ApproximateAgeOfOldestMessage",
            dimensions={"QueueName": jobs.name},
            evaluation_periods=3,
            threshold=derive(lambda age: age / 2, spec.max_event_age_s),
            **shared,
        )
        cloudwatch.MetricAlarm(
            f"{name}-parked-depth",
            alarm_description="Messages were parked: read their reason, fix it, and redrive them.",
            metric_name="ApproximateNumberOfMessagesVisible",
            dimensions={"QueueName": parked.name},
            evaluation_periods=1,
            threshold=0,
            **shared,
        )


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
