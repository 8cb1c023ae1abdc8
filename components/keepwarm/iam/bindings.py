"""What one component tells another: plain values that cross the component boundary of any language.

Each component returns its binding from a method (``queue.binding()``); a program in another language builds the same
object from the component's outputs. `environment` and `statements` turn bindings into what a function needs: the
variables it reads and the grants it holds.
"""

from enum import StrEnum
from typing import NotRequired, TypedDict

import pulumi

from keepwarm._values import derive
from keepwarm.iam import grants
from keepwarm.iam.grants import Statement

DEADLINE_MAX_S = 86_400
"""Longest document deadline the runtime takes, in seconds."""


class NetworkPath(StrEnum):
    """How AWS services are reached from a VPC."""

    ENDPOINTS = "endpoints"
    NAT = "nat"


class Integrity(StrEnum):
    """How a loaded model is protected from change after it was verified."""

    FILE = "file"
    SEALED = "sealed"


class ModelBinding(TypedDict):
    """A model that a function or task loads when it starts."""

    bucket: pulumi.Input[str]
    """Name of the registry's bucket."""
    bucket_arn: pulumi.Input[str]
    """ARN of the registry's bucket."""
    ref: pulumi.Input[str]
    """``name@sha256:<64 hex>`` pins a manifest; ``name:channel`` follows a channel, which pins it."""
    size_mb: NotRequired[pulumi.Input[float]]
    """Size of the model's files in MB, for the disk and memory checks. Default: not checked."""
    working_mb: NotRequired[pulumi.Input[float]]
    """Memory and disk the function needs beside the model, in MB. Default: 128."""
    load_s: NotRequired[pulumi.Input[float]]
    """Estimated time to fetch, verify and load the model, in seconds, checked against the init phase. Default: not
    checked."""
    integrity: NotRequired[Integrity]
    """``sealed`` also holds the model in memory (memfd), ``file`` maps it from disk. Default: file."""
    kms_key_arn: NotRequired[pulumi.Input[str]]
    """Key the registry is encrypted with. Default: none (SSE-S3)."""
    trusted_signer_arns: NotRequired[list[pulumi.Input[str]]]
    """KMS keys (ECC_NIST_P256) of which one must have signed the model. Default: unsigned models are loaded too."""


class LedgerBinding(TypedDict):
    """The effect ledger a function keeps its effects in."""

    table: pulumi.Input[str]
    """Name of the DynamoDB table."""
    table_arn: pulumi.Input[str]
    """ARN of the DynamoDB table."""
    bucket: pulumi.Input[str]
    """Bucket for results too large for a record."""
    bucket_arn: pulumi.Input[str]
    """ARN of that bucket."""
    retention_s: NotRequired[pulumi.Input[float]]
    """Seconds that the record of a finished effect is kept by the runtime. Default: 15 days."""
    kms_key_arn: NotRequired[pulumi.Input[str]]
    """Key both are encrypted with. Default: none (AWS owned keys)."""


class AdmissionBinding(TypedDict):
    """The permits a function takes before it calls a scarce service."""

    table: pulumi.Input[str]
    """Name of the DynamoDB table."""
    table_arn: pulumi.Input[str]
    """ARN of the DynamoDB table."""
    pool: pulumi.Input[str]
    """Pool the permits come from."""
    permits: pulumi.Input[int]
    """Permits of the pool: requests the service really takes at a time."""
    kms_key_arn: NotRequired[pulumi.Input[str]]
    """Key the table is encrypted with. Default: none (AWS owned key)."""


class ServiceBinding(TypedDict):
    """A model service, found through Cloud Map."""

    namespace: pulumi.Input[str]
    """Cloud Map namespace."""
    name: pulumi.Input[str]
    """Cloud Map service; also the `Service` dimension of the `Backlog` metric."""
    wake_s: NotRequired[pulumi.Input[float]]
    """Longest time from the first demand to the first answer of a service that sleeps, in seconds; 0 for one that never
    does. Default: 0."""


class ServiceTasks(TypedDict):
    """The tasks of a model service, for whoever watches that they run."""

    cluster_name: pulumi.Input[str]
    """Name of the ECS cluster, with Container Insights on."""
    service_name: pulumi.Input[str]
    """Name of the ECS service."""
    always_on: NotRequired[bool]
    """Whether a task always runs, so that silence is a fault and not sleep. Default: false."""


class CallerNetwork(TypedDict):
    """Inputs that attach a RuntimeFunction to the VPC of a service as a caller that is let in."""

    subnet_ids: pulumi.Input[list[pulumi.Input[str]]]
    """Subnets of the service."""
    security_group_ids: list[pulumi.Input[str]]
    """Security group the service lets in."""
    network_path: NotRequired[NetworkPath]
    """How AWS services are reached from there. Default: not stated."""


class QueueBinding(TypedDict):
    """A burst queue and how its one consumer reads it."""

    url: pulumi.Input[str]
    """URL of the queue."""
    arn: pulumi.Input[str]
    """ARN of the queue."""
    parked_url: pulumi.Input[str]
    """URL of the dead-letter queue."""
    parked_arn: pulumi.Input[str]
    """ARN of the dead-letter queue."""
    consumer_timeout_s: pulumi.Input[int]
    """Function timeout the queue was sized for, in seconds."""
    batch_size: pulumi.Input[int]
    """Most messages per invocation."""
    batch_window_s: pulumi.Input[int]
    """Longest time to gather a batch, in seconds."""
    max_concurrency: pulumi.Input[int]
    """Most concurrent invocations the event source makes."""
    retention_s: NotRequired[pulumi.Input[int]]
    """Seconds the queue keeps a message. Default: not known."""
    ordered: NotRequired[bool]
    """Whether it is a FIFO queue. Default: false."""
    kms_key_arn: NotRequired[pulumi.Input[str]]
    """Key the queues are encrypted with. Default: none (SSE-SQS)."""


class IntakeSource(TypedDict):
    """A bucket whose new objects become messages."""

    bucket: pulumi.Input[str]
    """Name of the bucket; it can have one intake only, since S3 keeps one notification configuration."""
    bucket_arn: pulumi.Input[str]
    """ARN of the bucket."""
    prefix: NotRequired[pulumi.Input[str]]
    """Only keys that start with this. Default: all keys."""
    suffix: NotRequired[pulumi.Input[str]]
    """Only keys that end with this. Default: all keys."""
    kms_key_arn: NotRequired[pulumi.Input[str]]
    """Key the bucket is encrypted with, as ``DataBucket.binding()`` tells it; notifications need no right to it.
    Default: none (SSE-S3)."""


class StoreBinding(TypedDict):
    """A bucket for results and intermediate documents."""

    bucket: pulumi.Input[str]
    """Name of the bucket."""
    bucket_arn: pulumi.Input[str]
    """ARN of the bucket."""
    kms_key_arn: NotRequired[pulumi.Input[str]]
    """Key the bucket is encrypted with. Default: none (SSE-S3)."""


class WorkflowBinding(TypedDict):
    """A state machine a function starts."""

    arn: pulumi.Input[str]
    """ARN of the state machine."""
    deadline_s: NotRequired[pulumi.Input[int]]
    """Time an execution gets, in seconds, which its starter writes into the deadline. Default: the runtime's own."""
    kms_key_arn: NotRequired[pulumi.Input[str]]
    """Key the workflow's definition and history are encrypted with. Default: none (key owned by AWS)."""


class WarmTarget(TypedDict):
    """The alias a WarmPool keeps warm, with what decides whether it may."""

    function_name: pulumi.Input[str]
    """Name of the function."""
    alias: pulumi.Input[str]
    """Alias that callers use, never ``$LATEST``."""
    compatibility_key: pulumi.Input[str]
    """Digest of everything a warm environment depends on."""
    reserved_concurrency: NotRequired[pulumi.Input[int]]
    """Reserved concurrency of the function. Default: none reserved."""
    snap_start: NotRequired[bool]
    """Whether versions are snapshotted. Default: false."""
    weighted: NotRequired[bool]
    """Whether the alias splits its traffic between versions. Default: false."""


class FunctionBindings(TypedDict):
    """What a function may be bound to; every binding brings its variables and its grants."""

    model: NotRequired[ModelBinding]
    """Model it loads. Default: none."""
    ledger: NotRequired[LedgerBinding]
    """Ledger its side effects go through. Default: none."""
    admission: NotRequired[AdmissionBinding]
    """Permits it takes before it calls a scarce service. Default: none."""
    service: NotRequired[ServiceBinding]
    """Model service it calls. Default: none."""
    workflow: NotRequired[WorkflowBinding]
    """State machine it starts. Default: none."""
    results: NotRequired[StoreBinding]
    """Bucket it writes results and intermediate documents to, and reads them from. Default: none."""
    sources: NotRequired[list[StoreBinding]]
    """Buckets it reads documents from. Default: none."""
    dead_letters: NotRequired[QueueBinding]
    """Queue whose dead-letter queue it parks hopeless work in. Default: none."""


def environment(bindings: FunctionBindings) -> dict[str, pulumi.Input[str]]:
    """Variables `keepwarm_runtime` reads, for what the function is bound to."""
    env: dict[str, pulumi.Input[str]] = {}
    if "model" in bindings:
        env["KEEPWARM_MODEL_BUCKET"] = bindings["model"]["bucket"]
        env["KEEPWARM_MODEL_REF"] = bindings["model"]["ref"]
        if bindings["model"].get("trusted_signer_arns"):
            env["KEEPWARM_TRUSTED_SIGNERS"] = derive(
                lambda *keys: ",".join(keys), *bindings["model"]["trusted_signer_arns"]
            )
        if "size_mb" in bindings["model"]:
            env["KEEPWARM_MODEL_BYTES"] = derive(
                lambda size: str(round(size * 1_048_576)), bindings["model"]["size_mb"]
            )
    if "ledger" in bindings:
        env["KEEPWARM_LEDGER_TABLE"] = bindings["ledger"]["table"]
        env["KEEPWARM_CLAIM_BUCKET"] = bindings["ledger"]["bucket"]
        if "retention_s" in bindings["ledger"]:
            env["KEEPWARM_LEDGER_RETENTION_S"] = derive(
                lambda seconds: f"{seconds:.0f}", bindings["ledger"]["retention_s"]
            )
    if "admission" in bindings:
        admission = bindings["admission"]
        env["KEEPWARM_ADMISSION_TABLE"] = admission["table"]
        env["KEEPWARM_ADMISSION_POOL"] = admission["pool"]
        env["KEEPWARM_ADMISSION_PERMITS"] = derive(lambda permits: str(int(permits)), admission["permits"])
    if "service" in bindings:
        env["KEEPWARM_SERVICE_NAMESPACE"] = bindings["service"]["namespace"]
        env["KEEPWARM_SERVICE_NAME"] = bindings["service"]["name"]
    if "workflow" in bindings:
        env["KEEPWARM_WORKFLOW_ARN"] = bindings["workflow"]["arn"]
        if "deadline_s" in bindings["workflow"]:
            env["KEEPWARM_DOCUMENT_DEADLINE_S"] = derive(
                lambda seconds: str(min(int(seconds), DEADLINE_MAX_S)), bindings["workflow"]["deadline_s"]
            )
    if "results" in bindings:
        env["KEEPWARM_RESULTS_BUCKET"] = bindings["results"]["bucket"]
    if "dead_letters" in bindings:
        env["KEEPWARM_DEAD_LETTER_URL"] = bindings["dead_letters"]["parked_url"]
    return env


def statements(bindings: FunctionBindings) -> list[Statement]:
    """Grants for what the function is bound to: the resources by name, one verb per statement."""
    granted: list[Statement] = []
    if "model" in bindings:
        granted.append(grants.read_models(bindings["model"]["bucket_arn"]))
        granted += [grants.verify(key) for key in bindings["model"].get("trusted_signer_arns", [])]
    if "ledger" in bindings:
        ledger = bindings["ledger"]
        granted += [
            grants.keep_effects(ledger["table_arn"]),
            grants.read_objects(ledger["bucket_arn"], "claims/"),
            grants.write_objects(ledger["bucket_arn"], "claims/"),
        ]
    if "admission" in bindings:
        granted.append(grants.take_permits(bindings["admission"]["table_arn"]))
    if "service" in bindings:
        granted.append(grants.discover(bindings["service"]["namespace"], bindings["service"]["name"]))
    if "workflow" in bindings:
        granted.append(grants.start_workflow(bindings["workflow"]["arn"]))
    if "results" in bindings:
        results = bindings["results"]["bucket_arn"]
        granted += [grants.read_objects(results), grants.write_objects(results), grants.list_objects(results)]
    granted += [grants.read_objects(source["bucket_arn"]) for source in bindings.get("sources", [])]
    if "dead_letters" in bindings:
        granted.append(grants.send_messages(bindings["dead_letters"]["parked_arn"]))
    return granted + _key_grants(bindings)


def _key_grants(bindings: FunctionBindings) -> list[Statement]:
    granted: list[Statement] = []
    if "model" in bindings and "kms_key_arn" in bindings["model"]:
        granted.append(grants.decrypt(bindings["model"]["kms_key_arn"]))
    granted += [grants.decrypt(s["kms_key_arn"]) for s in bindings.get("sources", []) if "kms_key_arn" in s]
    if "ledger" in bindings and "kms_key_arn" in bindings["ledger"]:
        granted.append(grants.encrypt(bindings["ledger"]["kms_key_arn"]))
    if "admission" in bindings and "kms_key_arn" in bindings["admission"]:
        granted.append(grants.decrypt(bindings["admission"]["kms_key_arn"]))
    if "workflow" in bindings and "kms_key_arn" in bindings["workflow"]:
        granted.append(grants.encrypt(bindings["workflow"]["kms_key_arn"]))
    if "results" in bindings and "kms_key_arn" in bindings["results"]:
        granted.append(grants.encrypt(bindings["results"]["kms_key_arn"]))
    if "dead_letters" in bindings and "kms_key_arn" in bindings["dead_letters"]:
        granted.append(grants.encrypt(bindings["dead_letters"]["kms_key_arn"]))
    return granted
