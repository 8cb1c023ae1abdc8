"""A function fed by a burst queue or by the new objects of buckets."""

from dataclasses import dataclass, fields
from typing import NotRequired, Self

import pulumi
from pulumi_aws import lambda_, s3

from keepwarm._function import Built, build, planned_arn, planned_target
from keepwarm._values import derive
from keepwarm.checks import notifications
from keepwarm.checks.function import FunctionSpec, read
from keepwarm.checks.inputs import Checks
from keepwarm.checks.problems import Report, Where
from keepwarm.checks.source import Bounds, ObjectSource, QueueSource, check_objects, check_queue
from keepwarm.iam import documents, grants
from keepwarm.iam.bindings import IntakeSource, QueueBinding, WarmTarget
from keepwarm.iam.grants import Statement
from keepwarm.runtime_function import RuntimeFunctionArgs

KIND = "PreprocessingFunction"


class PreprocessingFunctionArgs(RuntimeFunctionArgs):
    """Inputs of a PreprocessingFunction: those of a RuntimeFunction, and its source."""

    queue: NotRequired[QueueBinding]
    """Queue it reads (``BurstQueue.binding()``), which also says how: batch, window and concurrency. Exactly one of
    `queue` and `objects` is needed."""
    objects: NotRequired[list[IntakeSource]]
    """Buckets whose new objects invoke it directly; only `reserved_concurrency` bounds that, so it is needed. Exactly
    one of `queue` and `objects` is needed."""
    paused: NotRequired[pulumi.Input[bool]]
    """Stop reading the queue without losing a message. Default: false."""


@dataclass(frozen=True, kw_only=True)
class PreprocessingFunctionSpec(FunctionSpec):
    """Inputs of a PreprocessingFunction after their check: those of a function, and its source."""

    source: QueueSource | ObjectSource

    @classmethod
    def of(
        cls,
        name: str,
        args: PreprocessingFunctionArgs,
        *,
        where: Where | None = None,
        report: Report | None = None,
    ) -> Self:
        """Check the inputs; nothing is registered.

        Raises:
            InvalidArgs: something was refused, and no report was passed in.
        """
        checks = Checks(KIND, name, args, PreprocessingFunctionArgs, where=where, report=report)
        args = checks.args
        made = read(checks, name)
        checks.exactly_one(["queue", "objects"])
        bounds = Bounds(timeout_s=made.timeout_s, reserved_concurrency=made.reserved_concurrency)
        source: QueueSource | ObjectSource = ObjectSource(buckets=[])
        if "queue" in args:
            source, bounds = check_queue(checks, args["queue"], bounds, args.get("paused", False))
        elif "objects" in args:
            checks.without_effect(("paused",), beside="objects", instead="put a BurstQueue in between")
            source, bounds = check_objects(checks, args["objects"], bounds)
        checks.done()
        shared = {field.name: getattr(made, field.name) for field in fields(made)}
        bounded = {field.name: getattr(bounds, field.name) for field in fields(bounds)}
        return cls(**{**shared, **bounded}, source=source)

    def planned(self, name: str) -> WarmTarget:
        """The warm target with the real numbers and placeholders for what only AWS knows."""
        return planned_target(self, name)

    def planned_arn(self, name: str) -> str:
        """The ARN of the alias, as AWS will form it."""
        return planned_arn(name)

    def source_statements(self) -> list[Statement]:
        """What the function's role needs to read its queue."""
        if not isinstance(self.source, QueueSource):
            return []
        granted = [grants.consume_messages(self.source.arn)]
        if self.source.kms_key_arn is not None:
            granted.append(grants.decrypt(self.source.kms_key_arn))
        return granted


class PreprocessingFunction(pulumi.ComponentResource):
    """A RuntimeFunction whose alias reads a BurstQueue, or takes the events of buckets."""

    arn: pulumi.Output[str]
    """ARN of the alias ``live``."""
    function_name: pulumi.Output[str]
    """Name of the function, for metrics and logs."""
    alias: pulumi.Output[str]
    """Name of the alias, ``live``."""
    invoke_arn: pulumi.Output[str]
    """ARN an API Gateway integration of the alias uses."""
    version: pulumi.Output[str]
    """Version the alias points to."""
    role_arn: pulumi.Output[str]
    """ARN of the role the function runs with."""
    log_group: pulumi.Output[str]
    """Name of its log group."""
    failures_arn: pulumi.Output[str]
    """ARN of the queue that takes failed asynchronous events."""
    compatibility_key: pulumi.Output[str]
    """Digest of everything a warm or snapshotted environment depends on."""
    url: pulumi.Output[str]
    """HTTPS address of the alias; empty without one."""
    event_source_id: pulumi.Output[str]
    """Identifier of the event source mapping; empty for `objects`."""

    def __init__(
        self, name: str, args: PreprocessingFunctionArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        spec = PreprocessingFunctionSpec.of(name, args)
        sources = spec.source.buckets if isinstance(spec.source, ObjectSource) else []
        buckets = notifications.claim(Where(f"{KIND} '{name}'"), "objects", sources)
        super().__init__("keepwarm:index:PreprocessingFunction", name, {}, opts)
        built = build(self, name, spec, spec.source_statements())
        source_id = pulumi.Output.from_input("")
        if isinstance(spec.source, QueueSource):
            source_id = self._read(name, spec.source, built)
        else:
            self._take(name, sources, buckets, built)

        outputs = {**built.outputs, "event_source_id": source_id}
        for output, value in outputs.items():
            setattr(self, output, value)
        self._warm_target = built.target
        self.register_outputs(outputs)

    def _read(self, name: str, queue: QueueSource, built: Built) -> pulumi.Output[str]:
        """Let the alias read the queue, and answer for each message of a batch."""
        source = lambda_.EventSourceMapping(
            f"{name}-source",
            function_name=built.outputs["arn"],
            event_source_arn=queue.arn,
            batch_size=queue.batch_size,
            maximum_batching_window_in_seconds=queue.batch_window_s,
            scaling_config={"maximum_concurrency": queue.max_concurrency},
            function_response_types=["ReportBatchItemFailures"],
            enabled=derive(lambda paused: not paused, queue.paused),
            # Lambda proves at creation that the role may read the queue.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[built.policy]),
        )
        return source.uuid

    def _take(
        self, name: str, sources: list[IntakeSource], buckets: list[pulumi.Input[str]], built: Built
    ) -> None:
        """Let S3 invoke the alias for new objects of these buckets of this account."""
        account_id = documents.account(self)
        for index, (source, bucket) in enumerate(zip(sources, buckets, strict=True)):
            permission = lambda_.Permission(
                f"{name}-permission-{index}",
                action="lambda:InvokeFunction",
                function=built.outputs["function_name"],
                qualifier=built.outputs["alias"],
                principal="s3.amazonaws.com",
                source_arn=source["bucket_arn"],
                # A bucket's ARN names no account: without this a successor of a deleted bucket could invoke.
                source_account=account_id,
                opts=pulumi.ResourceOptions(parent=self),
            )
            s3.BucketNotification(
                f"{name}-objects-{index}",
                bucket=bucket,
                lambda_functions=[
                    {
                        "lambda_function_arn": built.outputs["arn"],
                        "events": ["s3:ObjectCreated:*"],
                        "filter_prefix": source.get("prefix"),
                        "filter_suffix": source.get("suffix"),
                    }
                ],
                opts=pulumi.ResourceOptions(parent=self, depends_on=[permission]),
            )

    def warm_target(self) -> WarmTarget:
        """What a WarmPool needs to know of this function."""
        return self._warm_target
