"""A Lambda function that is only ever called through its alias."""

from dataclasses import fields
from typing import NotRequired, Self

import pulumi

from keepwarm._function import build, planned_arn, planned_target
from keepwarm.checks.function import Architecture, FunctionSpec, SideEffects, read
from keepwarm.checks.function_events import SuccessDestination
from keepwarm.checks.function_mount import FileSystemMount
from keepwarm.checks.function_url import FunctionUrl, UrlAuth
from keepwarm.checks.inputs import Checks
from keepwarm.checks.problems import Problem, Report, Where
from keepwarm.errors import InvalidArgs
from keepwarm.iam import grants
from keepwarm.iam.bindings import CallerNetwork, FunctionBindings, NetworkPath, WarmTarget
from keepwarm.iam.grants import Statement

KIND = "RuntimeFunction"


class RuntimeFunctionArgs(FunctionBindings):
    """Inputs of a RuntimeFunction."""

    code: NotRequired[pulumi.Archive]
    """The function's bundle. Exactly one of `code` and `image` is needed."""
    image: NotRequired[pulumi.Input[str]]
    """Container image in ECR, pinned by digest. Exactly one of `code` and `image` is needed."""
    handler: NotRequired[pulumi.Input[str]]
    """Entry point of a bundle, ``module.function``. Default: handler.handler."""
    runtime: NotRequired[pulumi.Input[str]]
    """Lambda runtime of a bundle. Default: python3.12."""
    architecture: NotRequired[Architecture]
    """Instruction set the bundle was built for. Default: x86_64."""
    memory_mb: NotRequired[pulumi.Input[int]]
    """Memory in MB, 128..10240 (..32768 on Lambda managed instances). Default: 1024."""
    timeout_s: NotRequired[pulumi.Input[int]]
    """Longest run in seconds, 1..900 (..5400 on Lambda managed instances). Default: 60."""
    permit_hold_s: NotRequired[pulumi.Input[int]]
    """Longest time one call keeps a permit of `admission`, in seconds. Default: half of timeout_s."""
    permit_wait_s: NotRequired[pulumi.Input[int]]
    """Longest wait for a permit inside the function, in seconds; beyond it the workflow waits, which costs no function
    time. With permit_hold_s and 2 s for the function's own work it must fit timeout_s. Default: a tenth of timeout_s, 5
    at most."""
    ephemeral_mb: NotRequired[pulumi.Input[int]]
    """Size of /tmp in MB, 512..10240. Default: 512."""
    environment: NotRequired[dict[str, pulumi.Input[str]]]
    """Variables beside those of the bindings; readable by everyone who may describe the function, so no secrets.
    Default: none."""
    grants: NotRequired[list[Statement]]
    """What its role may do beside the bindings. Default: nothing."""
    layers: NotRequired[list[pulumi.Input[str]]]
    """ARNs of layer versions. Default: none."""
    layer_archives: NotRequired[dict[str, pulumi.Archive]]
    """Layers published with the function, by a name of your choice. Default: none."""
    unzipped_bytes: NotRequired[int]
    """Unzipped size of code and layers in bytes, checked against AWS's 250 MB. Default: not checked."""
    reserved_concurrency: NotRequired[pulumi.Input[int]]
    """Concurrency kept for this function, and its upper bound. Default: none reserved."""
    snap_start: NotRequired[bool]
    """Snapshot every version after its init phase. Default: false."""
    capacity_provider_arn: NotRequired[pulumi.Input[str]]
    """Lambda managed instances the function runs on (see WarmPool). Default: none."""
    concurrency_per_environment: NotRequired[pulumi.Input[int]]
    """Requests one environment serves at a time on managed instances. Default: AWS's choice for the runtime."""
    alias_weights: NotRequired[dict[str, pulumi.Input[float]]]
    """Share of the alias' traffic other versions take, version to weight 0..1. Default: none."""
    subnet_ids: NotRequired[pulumi.Input[list[pulumi.Input[str]]]]
    """Subnets the function is attached to, in two availability zones or more. Default: no VPC."""
    security_group_ids: NotRequired[list[pulumi.Input[str]]]
    """Security groups of the function in its VPC. Default: none."""
    network_path: NotRequired[NetworkPath]
    """How AWS services are reached from `subnet_ids`: by PrivateEndpoints or a NAT gateway. Default: not stated, which
    is warned about."""
    network: NotRequired[CallerNetwork]
    """VPC of a service the function calls (``service.caller_network()``), instead of `subnet_ids`, `security_group_ids`
    and `network_path`. Default: none."""
    file_system: NotRequired[FileSystemMount]
    """EFS file system it mounts; needs a VPC, and security groups that let it reach port 2049 of the mount targets.
    Default: none."""
    url: NotRequired[FunctionUrl]
    """HTTPS address of the alias. Default: none."""
    on_success: NotRequired[SuccessDestination]
    """Where asynchronous events that succeeded are recorded. Default: nowhere."""
    failures_arn: NotRequired[pulumi.Input[str]]
    """SQS queue that takes asynchronous events which failed for good. Default: a queue of its own, with an alarm."""
    failures_kms_key_arn: NotRequired[pulumi.Input[str]]
    """KMS key of `failures_arn`. Default: none (SSE-SQS)."""
    alarm_topic_arns: NotRequired[list[pulumi.Input[str]]]
    """SNS topics its alarms notify. Default: none."""
    tags: NotRequired[dict[str, pulumi.Input[str]]]
    """Tags of its function, role, logs, queue and alarms. Default: none."""
    async_retries: NotRequired[pulumi.Input[int]]
    """Retries of a failed asynchronous event, 0..2. Default: 2."""
    async_event_age_s: NotRequired[pulumi.Input[int]]
    """Age at which an asynchronous event is given up, in seconds, 60..21600. Default: 3600."""
    log_retention_days: NotRequired[pulumi.Input[int]]
    """Days the logs are kept. Default: 30."""
    kms_key_arn: NotRequired[pulumi.Input[str]]
    """KMS key for environment variables, logs and failed events. Default: keys owned by AWS."""
    code_signing_config_arn: NotRequired[pulumi.Input[str]]
    """Code signing the bundle must pass. Default: none."""
    side_effects: NotRequired[SideEffects]
    """Whether it writes something that a retry would write again, without the ledger; a tag that policies read. With a
    `ledger` the tag says ledger. Default: none."""
    metric_namespace: NotRequired[pulumi.Input[str]]
    """CloudWatch namespace of its metrics. Default: Keepwarm."""


class RuntimeFunctionSpec(FunctionSpec):
    """Inputs of a RuntimeFunction after their check: all that its resources are built from."""

    @classmethod
    def of(
        cls, name: str, args: RuntimeFunctionArgs, *, where: Where | None = None, report: Report | None = None
    ) -> Self:
        """Check the inputs; nothing is registered.

        Raises:
            InvalidArgs: something was refused, and no report was passed in.
        """
        checks = Checks(KIND, name, args, RuntimeFunctionArgs, where=where, report=report)
        made = read(checks, name)
        checks.done()
        return cls(**{field.name: getattr(made, field.name) for field in fields(made)})

    def planned(self, name: str) -> WarmTarget:
        """The warm target with the real numbers and placeholders for what only AWS knows."""
        return planned_target(self, name)

    def planned_arn(self, name: str) -> str:
        """The ARN of the alias, as AWS will form it."""
        return planned_arn(name)


class RuntimeFunction(pulumi.ComponentResource):
    """A Lambda with its role, log group, published version and the alias ``live``, which is its only address."""

    arn: pulumi.Output[str]
    """ARN of the alias ``live``: what event sources, workflows, permissions and grants refer to."""
    function_name: pulumi.Output[str]
    """Name of the function, for metrics and logs; call it through `arn`."""
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
    """Digest of everything a warm or snapshotted environment depends on; a change publishes a new version."""
    url: pulumi.Output[str]
    """HTTPS address of the alias; empty without one."""

    def __init__(
        self, name: str, args: RuntimeFunctionArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        spec = RuntimeFunctionSpec.of(name, args)
        super().__init__("keepwarm:index:RuntimeFunction", name, {}, opts)
        built = build(self, name, spec)
        for output, value in built.outputs.items():
            setattr(self, output, value)
        self._warm_target = built.target
        self._signed_url = spec.url is not None and spec.url.auth is UrlAuth.IAM
        self._called = name
        self.register_outputs(built.outputs)

    def warm_target(self) -> WarmTarget:
        """What a WarmPool needs to know of this function."""
        return self._warm_target

    def url_caller_grants(self) -> list[Statement]:
        """What a role needs to call the function's URL with signed requests.

        Raises:
            InvalidArgs: the function has no URL that takes signed requests.
        """
        if not self._signed_url:
            raise InvalidArgs(
                Problem(
                    code="KW102",
                    key="url",
                    got="no URL with auth 'iam'",
                    allowed="one",
                    because="only such a URL takes signed requests",
                    fix="set url to {'auth': 'iam'}",
                ).line(Where(f"{KIND} '{self._called}'"))
            )
        return [grants.invoke_url(self.arn), grants.invoke_through_url(self.arn)]
