"""A function fed by a burst queue, with a model at hand."""

from typing import Any, NotRequired

import pulumi
from pulumi_aws import lambda_

from keepwarm import grants, limits
from keepwarm._args import Checks, Problem, derive
from keepwarm._function import build
from keepwarm._function_checks import checked
from keepwarm.bindings import QueueBinding, WarmTarget
from keepwarm.runtime_function import RuntimeFunctionArgs


class PreprocessingFunctionArgs(RuntimeFunctionArgs):
    """Inputs of a PreprocessingFunction: those of a RuntimeFunction, and its queue."""

    queue: QueueBinding
    """Queue it reads (``BurstQueue.binding()``), which also says how: batch, window and concurrency."""
    paused: NotRequired[pulumi.Input[bool]]
    """Stop reading the queue without losing a message. Default: false."""


class PreprocessingFunction(pulumi.ComponentResource):
    """A RuntimeFunction whose alias reads a BurstQueue and answers for each message of a batch."""

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
    """Identifier of the event source mapping."""

    def __init__(
        self, name: str, args: PreprocessingFunctionArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("keepwarm:index:PreprocessingFunction", name, {}, opts)
        checks = Checks("PreprocessingFunction", name, args, PreprocessingFunctionArgs)
        spec = checked(checks, name, args, raise_now=False)
        if "queue" in args:
            checks.unknown("queue", args["queue"], QueueBinding)
            _check_queue(checks, args["queue"], spec)
        checks.done()
        queue = args["queue"]

        extra = [grants.consume_messages(queue["arn"])]
        if "kms_key_arn" in queue:
            extra.append(grants.decrypt(queue["kms_key_arn"]))
        built = build(self, name, args, spec, extra)
        window = queue["batch_window_s"]
        source = lambda_.EventSourceMapping(
            f"{name}-source",
            function_name=built.outputs["arn"],
            event_source_arn=queue["arn"],
            batch_size=queue["batch_size"],
            maximum_batching_window_in_seconds=None if queue.get("ordered") else window,
            scaling_config={"maximum_concurrency": spec["max_concurrency"]},
            function_response_types=["ReportBatchItemFailures"],
            enabled=derive(lambda paused: not paused, args.get("paused", False)),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[built.policy]),
        )

        outputs = {**built.outputs, "event_source_id": source.uuid}
        for output, value in outputs.items():
            setattr(self, output, value)
        self._warm_target = built.target
        self.register_outputs(outputs)

    def warm_target(self) -> WarmTarget:
        """What a WarmPool needs to know of this function."""
        return self._warm_target


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
