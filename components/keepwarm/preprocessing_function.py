"""A function fed by a burst queue or by new objects, with a model at hand."""

from typing import Any, NotRequired

import pulumi
from pulumi_aws import lambda_, s3

from keepwarm import _iam, grants, limits
from keepwarm._args import Checks, Problem, derive
from keepwarm._function import Built, build
from keepwarm._function_checks import checked
from keepwarm.bindings import IntakeSource, QueueBinding, WarmTarget
from keepwarm.grants import Statement
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
        super().__init__("keepwarm:index:PreprocessingFunction", name, {}, opts)
        checks = Checks("PreprocessingFunction", name, args, PreprocessingFunctionArgs)
        spec = checked(checks, name, args, raise_now=False)
        checks.exactly_one(["queue", "objects"])
        if "queue" in args:
            checks.unknown("queue", args["queue"], QueueBinding)
            _check_queue(checks, args["queue"], spec)
        if "objects" in args:
            _check_objects(checks, args["objects"], spec)
        checks.done()

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
            self._take(name, args["objects"], built)

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

    def _take(self, name: str, sources: list[IntakeSource], built: Built) -> None:
        """Let S3 invoke the alias for new objects of these buckets of this account."""
        account_id = _iam.account(self)
        for index, source in enumerate(sources):
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
                bucket=source["bucket"],
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


def _check_objects(checks: Checks, sources: list[IntakeSource], spec: dict[str, Any]) -> None:
    for index, source in enumerate(sources):
        checks.unknown(f"objects[{index}]", source, IntakeSource)
    reserved = spec["reserved_concurrency"]
    if reserved is None:
        checks.add(
            "KW150",
            "reserved_concurrency",
            "nothing",
            "a number of environments",
            "S3 invokes once per object and nothing else bounds the fan-out",
            "set it to what the services behind take, or put a BurstQueue in between",
        )
        return

    def runs(kept: float) -> Problem | None:
        if kept > 0:
            return None
        return Problem(
            "KW114",
            "reserved_concurrency",
            "0",
            "at least 1",
            "the function may never run, so every event fails",
            "raise reserved_concurrency",
        )

    spec["reserved_concurrency"] = checks.holds(runs, reserved)


def _check_queue(checks: Checks, queue: QueueBinding, spec: dict[str, Any]) -> None:
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
            "KW115",
            "timeout_s",
            f"{timeout:g} s",
            f"up to the queue's consumer_timeout_s, {consumer:g} s",
            "the queue's visibility and retention were derived from that timeout",
            f"set the queue's consumer_timeout_s to {timeout:g}",
        )

    if "consumer_timeout_s" in queue:
        spec["timeout_s"] = checks.holds(sized, spec["timeout_s"], queue["consumer_timeout_s"])
    reserved = spec["reserved_concurrency"]
    if reserved is None:
        return

    def runs(most: float, kept: float) -> Problem | None:
        if kept == 0:
            return Problem(
                "KW114",
                "reserved_concurrency",
                "0",
                "at least 2",
                "the function may never run, so the queue never drains",
                "leave reserved_concurrency out, or set paused to true",
            )
        if most > kept:
            return Problem(
                "KW118",
                "queue.max_concurrency",
                f"{most:g}",
                f"up to reserved_concurrency, {kept:g}",
                "deliveries beyond the reservation are throttled and use up a message's chances",
                f"set the queue's max_concurrency to {kept:g}, or reserve {most:g}",
            )
        return None

    spec["max_concurrency"] = checks.holds(runs, spec["max_concurrency"], reserved)
