"""A function fed by a burst queue or by new objects, with a model at hand."""

from typing import Any, NotRequired

import pulumi
from pulumi_aws import lambda_, s3

from keepwarm import limits
from keepwarm._function import Built, build
from keepwarm._values import derive
from keepwarm.checks import notifications
from keepwarm.checks.function import checked
from keepwarm.checks.inputs import Checks
from keepwarm.checks.problems import Problem
from keepwarm.iam import documents, grants
from keepwarm.iam.bindings import IntakeSource, QueueBinding, WarmTarget
from keepwarm.iam.grants import Statement
from keepwarm.runtime_function import RuntimeFunctionArgs


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
    event_source_id: pulumi.Output[str]
    """Identifier of the event source mapping; empty for `objects`."""

    def __init__(
        self, name: str, args: PreprocessingFunctionArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        checks = Checks("PreprocessingFunction", name, args, PreprocessingFunctionArgs)
        args = checks.args
        spec = checked(checks, name, args, raise_now=False)
        checks.exactly_one(["queue", "objects"])
        if "queue" in args:
            _check_queue(checks, args["queue"], spec)
        if "objects" in args:
            _check_objects(checks, args["objects"], spec)
        checks.done()
        buckets = notifications.claim(checks.where, "objects", args.get("objects", []))
        super().__init__("keepwarm:index:PreprocessingFunction", name, {}, opts)

        extra: list[Statement] = []
        if "queue" in args:
            extra.append(grants.consume_messages(args["queue"]["arn"]))
            if "kms_key_arn" in args["queue"]:
                extra.append(grants.decrypt(args["queue"]["kms_key_arn"]))
        built = build(self, name, args, spec, extra)
        if "queue" in args:
            source_id = self._read(name, args, spec, built)
        else:
            source_id = pulumi.Output.from_input("")
            self._take(name, args["objects"], buckets, built)

        outputs = {**built.outputs, "event_source_id": source_id}
        for output, value in outputs.items():
            setattr(self, output, value)
        self._warm_target = built.target
        self.register_outputs(outputs)

    def _read(
        self, name: str, args: PreprocessingFunctionArgs, spec: dict[str, Any], built: Built
    ) -> pulumi.Output[str]:
        """Let the alias read the queue, and answer for each message of a batch."""
        queue = args["queue"]
        source = lambda_.EventSourceMapping(
            f"{name}-source",
            function_name=built.outputs["arn"],
            event_source_arn=queue["arn"],
            batch_size=queue["batch_size"],
            maximum_batching_window_in_seconds=None if queue.get("ordered") else queue["batch_window_s"],
            scaling_config={"maximum_concurrency": spec["max_concurrency"]},
            function_response_types=["ReportBatchItemFailures"],
            enabled=derive(lambda paused: not paused, args.get("paused", False)),
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


def _check_objects(checks: Checks[Any], sources: list[IntakeSource], spec: dict[str, Any]) -> None:
    reserved = spec["reserved_concurrency"]
    if reserved is None:
        checks.add(
            code="KW150",
            key="reserved_concurrency",
            got="nothing",
            allowed="a number of environments",
            because="S3 invokes once per object and nothing else bounds the fan-out",
            fix="set it to what the services behind take, or put a BurstQueue in between",
        )
        return

    def runs(kept: float) -> Problem | None:
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

    spec["reserved_concurrency"] = checks.holds(runs, reserved)


def _check_queue(checks: Checks[Any], queue: QueueBinding, spec: dict[str, Any]) -> None:
    spec["max_concurrency"] = checks.number(
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

    def sized(timeout: float, consumer: float) -> Problem | None:
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

    if "consumer_timeout_s" in queue:
        spec["timeout_s"] = checks.holds(sized, spec["timeout_s"], queue["consumer_timeout_s"])
    reserved = spec["reserved_concurrency"]
    if reserved is None:
        return

    def runs(most: float, kept: float) -> Problem | None:
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

    spec["max_concurrency"] = checks.holds(runs, spec["max_concurrency"], reserved)
