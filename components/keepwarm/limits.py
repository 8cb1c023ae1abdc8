"""Quotas and limits of AWS that this project builds on: each once, with its unit and the AWS page stating it.

Plain numbers, importable without Pulumi's provider packages: the planner and the embedded cloud read them
too. A quota that an account can have raised says so; the figure is AWS's default. Sizes written MB by AWS are
binary here (AWS counts 1 MB as 1,048,576 bytes in these quotas), as the names ending in ``_BYTES`` spell out.
"""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB

# --- Lambda: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html

LAMBDA_TIMEOUT_MIN_S: Final = 1
LAMBDA_TIMEOUT_MAX_S: Final = 900
LAMBDA_TIMEOUT_DEFAULT_S: Final = 3
LAMBDA_MANAGED_INSTANCES_TIMEOUT_MAX_S: Final = 5400
"""Longest run on Lambda managed instances, only when invoked asynchronously or by an event source mapping."""

LAMBDA_MEMORY_MIN_MB: Final = 128
LAMBDA_MEMORY_MAX_MB: Final = 10_240
LAMBDA_MEMORY_DEFAULT_MB: Final = 128
LAMBDA_MANAGED_INSTANCES_MEMORY_MAX_MB: Final = 32_768
LAMBDA_MB_PER_VCPU: Final = 1769
"""Memory that buys one vCPU: https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html"""

LAMBDA_EPHEMERAL_MIN_MB: Final = 512
LAMBDA_EPHEMERAL_MAX_MB: Final = 10_240
LAMBDA_EPHEMERAL_DEFAULT_MB: Final = 512

LAMBDA_ENV_MAX_BYTES: Final = 4 * KIB
"""All environment variables of a function together, names and values."""
LAMBDA_ENV_RESERVED: Final = frozenset(
    {
        "_HANDLER",
        "_X_AMZN_TRACE_ID",
        "AWS_DEFAULT_REGION",
        "AWS_REGION",
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "AWS_LAMBDA_FUNCTION_VERSION",
        "AWS_LAMBDA_INITIALIZATION_TYPE",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_LAMBDA_RUNTIME_API",
        "LAMBDA_TASK_ROOT",
        "LAMBDA_RUNTIME_DIR",
    }
)
"""Names CreateFunction refuses: https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html"""

LAMBDA_ZIP_UPLOAD_MAX_BYTES: Final = 50 * MIB
"""Zipped package sent in the API call itself; a larger one goes through S3."""
LAMBDA_UNZIPPED_MAX_BYTES: Final = 250 * MIB
"""Function and all of its layers, unzipped."""
LAMBDA_IMAGE_MAX_BYTES: Final = 10 * GIB
LAMBDA_LAYERS_MAX: Final = 5
LAMBDA_RESOURCE_POLICY_MAX_BYTES: Final = 20 * KIB
LAMBDA_FILE_DESCRIPTORS_MAX: Final = 1024
LAMBDA_PROCESSES_MAX: Final = 1024
LAMBDA_NAME_MAX_CHARS: Final = 64
LAMBDA_CODE_STORAGE_BYTES: Final = 75 * GIB
"""Account default per region; can be raised."""

LAMBDA_SYNC_PAYLOAD_MAX_BYTES: Final = 6 * MIB
"""Request and response of a synchronous invocation, each."""
LAMBDA_ASYNC_PAYLOAD_MAX_BYTES: Final = 1 * MIB
"""Event of an asynchronous invocation, 256 KB until October 2025:
https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html"""
LAMBDA_STREAMED_RESPONSE_MAX_BYTES: Final = 200 * MIB
"""https://docs.aws.amazon.com/lambda/latest/dg/configuration-response-streaming.html"""

LAMBDA_URL_CORS_MAX_AGE_S: Final = 86_400
LAMBDA_URL_CORS_ITEMS_MAX: Final = 100
LAMBDA_URL_ORIGIN_MAX_CHARS: Final = 253
"""https://docs.aws.amazon.com/lambda/latest/api/API_Cors.html"""

LAMBDA_INIT_MAX_S: Final = 10
"""Init phase of an on-demand environment; one that is late is restarted inside the first invocation's time:
https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html"""
LAMBDA_PROVISIONED_INIT_MIN_S: Final = 130
"""Init phase with provisioned concurrency, SnapStart or managed instances: the larger of 130 s and the
function's timeout (same page)."""
LAMBDA_RESTORE_MAX_S: Final = 10
"""Time SnapStart restore hooks get: https://docs.aws.amazon.com/lambda/latest/dg/snapstart-runtime-hooks.html"""

LAMBDA_ASYNC_RETRIES_MAX: Final = 2
"""https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-configuring.html"""
LAMBDA_ASYNC_EVENT_AGE_MIN_S: Final = 60
LAMBDA_ASYNC_EVENT_AGE_MAX_S: Final = 21_600

# --- Lambda concurrency: https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html

LAMBDA_ACCOUNT_CONCURRENCY: Final = 1000
"""Account default per region; can be raised (new accounts start lower)."""
LAMBDA_UNRESERVED_CONCURRENCY_MIN: Final = 100
"""What reservations must leave: https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html"""
LAMBDA_BURST_ENVIRONMENTS: Final = 1000
LAMBDA_BURST_PERIOD_S: Final = 10
"""A function gains at most 1,000 environments every 10 s, continuously refilled:
https://docs.aws.amazon.com/lambda/latest/dg/scaling-behavior.html"""
LAMBDA_REQUESTS_PER_CONCURRENCY_PER_S: Final = 10
"""A concurrency limit of N also limits requests to 10 N per second."""
LAMBDA_PROVISIONED_CONCURRENCY_MIN: Final = 1
LAMBDA_PROVISIONED_RATE_PER_MIN: Final = 6000
"""Provisioned environments started per minute and function:
https://docs.aws.amazon.com/lambda/latest/dg/provisioned-concurrency.html"""

# --- Lambda SnapStart: https://docs.aws.amazon.com/lambda/latest/dg/snapstart.html

SNAPSTART_EPHEMERAL_MAX_MB: Final = 512
SNAPSTART_RUNTIMES: Final = frozenset(
    {
        "java11",
        "java17",
        "java21",
        "java25",
        "python3.12",
        "python3.13",
        "python3.14",
        "dotnet8",
        "dotnet10",
    }
)
SNAPSTART_EXCLUDES: Final = (
    "provisioned concurrency",
    "Amazon EFS",
    "ephemeral storage above 512 MB",
    "container images",
    "OS-only runtimes",
    "$LATEST",
)

# --- Lambda runtimes: https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html

LAMBDA_RUNTIMES: Final = frozenset(
    {
        "dotnet8",
        "dotnet10",
        "java8.al2",
        "java11",
        "java17",
        "java21",
        "java25",
        "nodejs22.x",
        "nodejs24.x",
        "provided.al2",
        "provided.al2023",
        "python3.10",
        "python3.11",
        "python3.12",
        "python3.13",
        "python3.14",
        "ruby3.3",
        "ruby3.4",
    }
)
"""Runtimes AWS still patches (control Lambda.2); a deprecated one is refused even where AWS still runs it."""
LAMBDA_ARCHITECTURES: Final = frozenset({"arm64", "x86_64"})

# --- Lambda event source mapping of SQS: https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html

ESM_BATCH_DEFAULT: Final = 10
ESM_BATCH_MAX: Final = 10_000
ESM_BATCH_MAX_FIFO: Final = 10
ESM_BATCH_MAX_WITHOUT_WINDOW: Final = 10
"""A larger batch needs a batching window of at least 1 s."""
ESM_WINDOW_MAX_S: Final = 300
"""Not available for FIFO queues."""
ESM_CONCURRENCY_MIN: Final = 2
ESM_CONCURRENCY_MAX: Final = 1000
"""https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html"""
ESM_POLLERS_START: Final = 5
ESM_POLLERS_ADDED_PER_MIN: Final = 300
"""Same page: five concurrent batches at first, up to 300 more invocations per minute."""
ESM_CONCURRENCY_DEFAULT_MAX: Final = 1250
ESM_VISIBILITY_TIMEOUTS: Final = 6
"""Recommended visibility timeout: six function timeouts plus the batching window; below one timeout the
mapping is refused."""
ESM_RECEIVES_MIN: Final = 5
"""Recommended least maxReceiveCount, so that throttles do not spend a message's chances."""

# --- SQS: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html

SQS_RETENTION_MIN_S: Final = 60
SQS_RETENTION_MAX_S: Final = 1_209_600
SQS_RETENTION_DEFAULT_S: Final = 345_600
SQS_VISIBILITY_MAX_S: Final = 43_200
SQS_VISIBILITY_DEFAULT_S: Final = 30
SQS_DELAY_MAX_S: Final = 900
SQS_WAIT_MAX_S: Final = 20
SQS_MESSAGE_MIN_BYTES: Final = 1
SQS_MESSAGE_MAX_BYTES: Final = 1 * MIB
"""Message with its attributes, and a whole SendMessageBatch; 256 KiB until August 2025."""
SQS_MESSAGE_LIMIT_MIN_BYTES: Final = 1 * KIB
"""Least value of the MaximumMessageSize attribute:
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html"""
SQS_BATCH_MAX: Final = 10
SQS_ATTRIBUTES_MAX: Final = 10
SQS_IN_FLIGHT_MAX: Final = 120_000
SQS_RECEIVES_MIN: Final = 1
SQS_RECEIVES_MAX: Final = 1000
SQS_NAME_MAX_CHARS: Final = 80

# --- Step Functions: https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html

SFN_NAME_MAX_CHARS: Final = 80
"""State machine, execution and state names."""
SFN_DEFINITION_MAX_BYTES: Final = 1 * MIB
SFN_PAYLOAD_MAX_BYTES: Final = 256 * KIB
"""Input or result of a task, state or execution."""
SFN_HISTORY_MAX_EVENTS: Final = 25_000
SFN_STANDARD_MAX_S: Final = 31_536_000
SFN_EXPRESS_MAX_S: Final = 300
SFN_TIMEOUT_MAX_S: Final = 99_999_999
SFN_NAME_REUSE_S: Final = 7_776_000
"""An execution name of a standard state machine can't be used again for 90 days:
https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html"""

# --- DynamoDB: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html

DYNAMODB_ITEM_MAX_BYTES: Final = 400 * KIB
DYNAMODB_PARTITION_KEY_MAX_BYTES: Final = 2048
DYNAMODB_SORT_KEY_MAX_BYTES: Final = 1024
DYNAMODB_TRANSACTION_MAX_ITEMS: Final = 100
DYNAMODB_BATCH_WRITE_MAX_ITEMS: Final = 25
DYNAMODB_BATCH_READ_MAX_ITEMS: Final = 100
DYNAMODB_PARTITION_WRITES_PER_S: Final = 1000
DYNAMODB_PARTITION_READS_PER_S: Final = 3000

# --- S3: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html

S3_BUCKET_NAME_MIN_CHARS: Final = 3
S3_BUCKET_NAME_MAX_CHARS: Final = 63
S3_KEY_MAX_BYTES: Final = 1024
S3_PUT_MAX_BYTES: Final = 5 * GIB
S3_PART_MIN_BYTES: Final = 5 * MIB
S3_PARTS_MAX: Final = 10_000
S3_PREFIX_READS_PER_S: Final = 5500
S3_PREFIX_WRITES_PER_S: Final = 3500
"""https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html"""
S3_POLICY_MAX_BYTES: Final = 20 * KIB

# --- ECS: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-quotas.html

ECS_TASKS_PER_SERVICE_MAX: Final = 5000
ECS_CONTAINERS_PER_TASK_MAX: Final = 10
ECS_TASK_DEFINITION_MAX_BYTES: Final = 64 * KIB
ECS_FARGATE_STOP_MAX_S: Final = 120
ECS_FARGATE_SIZES_MIB: Final[dict[int, Sequence[int]]] = {
    256: (512, 1024, 2048),
    512: range(1024, 4096 + 1, 1024),
    1024: range(2048, 8192 + 1, 1024),
    2048: range(4096, 16_384 + 1, 1024),
    4096: range(8192, 30_720 + 1, 1024),
    8192: range(16_384, 61_440 + 1, 4096),
    16_384: range(32_768, 122_880 + 1, 8192),
}
"""CPU units of a Fargate task -> memory it may have in MiB:
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-cpu-memory-error.html"""
ECS_FARGATE_EPHEMERAL_MIN_GIB: Final = 21
ECS_FARGATE_EPHEMERAL_MAX_GIB: Final = 200
"""https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_EphemeralStorage.html (20 without asking)"""
ECS_STOP_DEFAULT_S: Final = 30
"""SIGTERM to SIGKILL: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_definition_parameters.html"""
ECS_HEALTH_INTERVAL_MIN_S: Final = 5
ECS_HEALTH_INTERVAL_MAX_S: Final = 300
ECS_HEALTH_TIMEOUT_MIN_S: Final = 2
ECS_HEALTH_TIMEOUT_MAX_S: Final = 60
ECS_HEALTH_RETRIES_MIN: Final = 1
ECS_HEALTH_RETRIES_MAX: Final = 10
ECS_HEALTH_START_MAX_S: Final = 300
"""https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_HealthCheck.html"""
ECS_GRACE_MAX_S: Final = 2_147_483_647
ECS_AGENT_RESERVED_MIB: Final = 32
"""Memory the agent keeps to itself when ECS_RESERVED_MEMORY asks for it:
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/memory-management.html"""
ECS_TARGET_CAPACITY_MIN: Final = 1
ECS_TARGET_CAPACITY_MAX: Final = 100
ECS_SCALING_STEP_MAX: Final = 10_000
ECS_GPU_AMI_PARAMETER: Final = "/aws/service/ecs/optimized-ami/amazon-linux-2023/gpu/recommended/image_id"
ECS_AMI_PARAMETER: Final = "/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id"
"""https://docs.aws.amazon.com/AmazonECS/latest/developerguide/retrieve-ecs-optimized_AMI.html"""

# --- CloudWatch: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_limits.html

EMF_METRICS_MAX: Final = 100
EMF_DIMENSIONS_MAX: Final = 30
EMF_VALUES_MAX: Final = 100
EMF_NAME_MAX_CHARS: Final = 1024
EMF_NAMESPACE_MAX_CHARS: Final = 255
"""https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html"""
LOG_EVENT_MAX_BYTES: Final = 1 * MIB
"""https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/cloudwatch_limits_cwl.html (256 KiB before)"""
LOG_RETENTION_DAYS: Final = frozenset(
    {1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653}
)
"""https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html"""
DASHBOARD_WIDGETS_MAX: Final = 500
ALARM_PERIODS_S: Final = frozenset({10, 20, 30})
"""Allowed below one minute, else multiples of 60:
https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html"""

# --- Application Auto Scaling: https://docs.aws.amazon.com/autoscaling/application/userguide/

SCALING_STEPS_MAX: Final = 20
SCALING_SCHEDULES_MAX: Final = 200
SCALING_UTILIZATION_MIN: Final = 0.1
SCALING_UTILIZATION_MAX: Final = 0.9
"""Target of LambdaProvisionedConcurrencyUtilization:
https://docs.aws.amazon.com/autoscaling/application/userguide/services-that-can-integrate-lambda.html"""

# --- EC2 and VPC: https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html

EC2_GROUP_NAME_MAX_CHARS: Final = 255
"""Name of a security group: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateSecurityGroup.html"""

# --- IAM and KMS

IAM_ROLE_NAME_MAX_CHARS: Final = 64
IAM_INLINE_POLICY_MAX_CHARS: Final = 10_240
"""All inline policies of a role, without white space:
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html"""
KMS_DELETION_WINDOW_MIN_DAYS: Final = 7
KMS_DELETION_WINDOW_MAX_DAYS: Final = 30
"""https://docs.aws.amazon.com/kms/latest/APIReference/API_ScheduleKeyDeletion.html"""


# --- Tags: https://docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html

TAGS_MAX: Final = 50
"""Tags of one resource, without those that AWS itself sets."""
TAG_KEY_MAX_CHARS: Final = 128
TAG_VALUE_MAX_CHARS: Final = 256


# --- A service behind functions: this project's own rules, here because the planner reads them as well


def service_permits(max_tasks: int, concurrency_per_task: int) -> int:
    """Requests a service takes at a time: the size of its Admission pool, whatever number of tasks runs now.

    The pool cannot follow the tasks: it is a table that is made once. A permit says that the service can be scaled
    to the request; while its tasks start, the running ones queue, then refuse.
    """
    return max_tasks * concurrency_per_task


ADMISSION_PERMITS_MAX: Final = DYNAMODB_BATCH_READ_MAX_ITEMS
"""Permits of one pool: a holder looks for a free one with one BatchGetItem."""


SERVICE_BACKLOG_PER_TASK: Final = 30
"""Requests per signal period that one task takes, where nothing else is said."""
SERVICE_IDLE_MINUTES: Final = 10
"""Minutes without backlog after which a service goes back to its least tasks, where nothing else is said."""


GPU_INSTANCE_START_S: Final = 150
"""EC2 launch, registration with ECS and start of the container on a GPU instance. Assumed."""


def task_queue(max_tasks: int, concurrency_per_task: int) -> int:
    """Requests that one task takes and has not begun yet; past them it answers 429 with Retry-After.

    While the other tasks start, every permit may land on the one that is ready: whoever holds a permit finds room.
    """
    return service_permits(max_tasks, concurrency_per_task)


SERVER_BATCH_MAX: Final = 64
"""Most requests that our inference server puts into one run of the model."""
SERVER_DRAIN_MAX_S: Final = 3600
"""Longest time from SIGTERM to SIGKILL that our inference server plans with."""


class GrowthStep(NamedTuple):
    """Tasks to add while the number of missing tasks lies in an interval, relative to the alarm's threshold of 1."""

    lower: float
    upper: float | None
    tasks: int


def missing_tasks(backlog: float, backlog_per_task: int, desired: int) -> int:
    """Tasks that a backlog needs beyond those already asked for; 0 or less when there are enough."""
    return math.ceil(backlog / backlog_per_task) - desired


def growth_steps(max_tasks: int) -> list[GrowthStep]:
    """Steps that add what is missing, never less; they never take a task away, since one may have work in flight.

    A policy takes 20 steps, so services of more than 20 tasks grow by several at once.
    """
    stride = math.ceil(max_tasks / SCALING_STEPS_MAX)
    sizes = [*range(stride, max_tasks, stride), max_tasks]
    return [
        GrowthStep(float(before), None if size == max_tasks else float(size), size)
        for before, size in zip([0, *sizes[:-1]], sizes, strict=True)
    ]


# --- EC2 instances with GPUs: https://docs.aws.amazon.com/ec2/latest/instancetypes/ac.html


class GpuInstance(NamedTuple):
    """What one EC2 instance type with GPUs offers, as DescribeInstanceTypes states it."""

    name: str
    gpus: int
    gpu_model: str
    gpu_memory_mib: int
    """Memory of one GPU."""
    vcpus: int
    memory_mib: int
    nvme_disks: int
    """Instance-store disks; 0 means EBS only, so no NVMe cache."""
    nvme_disk_gb: int
    """Size of one of those disks, in units of 10**9 bytes."""

    @property
    def nvme_gb(self) -> int:
        """Instance store in all, in units of 10**9 bytes."""
        return self.nvme_disks * self.nvme_disk_gb

    @property
    def architecture(self) -> str:
        """``arm64`` for Graviton families, else ``x86_64``."""
        return "arm64" if self.name.startswith("g5g.") else "x86_64"


GPU_INSTANCES: Final[dict[str, GpuInstance]] = {
    row.name: row
    for row in (
        GpuInstance("g4dn.xlarge", 1, "T4", 16_384, 4, 16_384, 1, 125),
        GpuInstance("g4dn.2xlarge", 1, "T4", 16_384, 8, 32_768, 1, 225),
        GpuInstance("g4dn.4xlarge", 1, "T4", 16_384, 16, 65_536, 1, 225),
        GpuInstance("g4dn.8xlarge", 1, "T4", 16_384, 32, 131_072, 1, 900),
        GpuInstance("g4dn.12xlarge", 4, "T4", 16_384, 48, 196_608, 1, 900),
        GpuInstance("g4dn.16xlarge", 1, "T4", 16_384, 64, 262_144, 1, 900),
        GpuInstance("g4dn.metal", 8, "T4", 16_384, 96, 393_216, 2, 900),
        GpuInstance("g5.xlarge", 1, "A10G", 22_888, 4, 16_384, 1, 250),
        GpuInstance("g5.2xlarge", 1, "A10G", 22_888, 8, 32_768, 1, 450),
        GpuInstance("g5.4xlarge", 1, "A10G", 22_888, 16, 65_536, 1, 600),
        GpuInstance("g5.8xlarge", 1, "A10G", 22_888, 32, 131_072, 1, 900),
        GpuInstance("g5.12xlarge", 4, "A10G", 22_888, 48, 196_608, 1, 3800),
        GpuInstance("g5.16xlarge", 1, "A10G", 22_888, 64, 262_144, 1, 1900),
        GpuInstance("g5.24xlarge", 4, "A10G", 22_888, 96, 393_216, 1, 3800),
        GpuInstance("g5.48xlarge", 8, "A10G", 22_888, 192, 786_432, 2, 3800),
        GpuInstance("g5g.xlarge", 1, "T4g", 16_384, 4, 8_192, 0, 0),
        GpuInstance("g5g.2xlarge", 1, "T4g", 16_384, 8, 16_384, 0, 0),
        GpuInstance("g5g.4xlarge", 1, "T4g", 16_384, 16, 32_768, 0, 0),
        GpuInstance("g5g.8xlarge", 1, "T4g", 16_384, 32, 65_536, 0, 0),
        GpuInstance("g5g.16xlarge", 2, "T4g", 16_384, 64, 131_072, 0, 0),
        GpuInstance("g5g.metal", 2, "T4g", 16_384, 64, 131_072, 0, 0),
        GpuInstance("g6.xlarge", 1, "L4", 22_888, 4, 16_384, 1, 250),
        GpuInstance("g6.2xlarge", 1, "L4", 22_888, 8, 32_768, 1, 450),
        GpuInstance("g6.4xlarge", 1, "L4", 22_888, 16, 65_536, 1, 600),
        GpuInstance("g6.8xlarge", 1, "L4", 22_888, 32, 131_072, 2, 450),
        GpuInstance("g6.12xlarge", 4, "L4", 22_888, 48, 196_608, 4, 940),
        GpuInstance("g6.16xlarge", 1, "L4", 22_888, 64, 262_144, 2, 940),
        GpuInstance("g6.24xlarge", 4, "L4", 22_888, 96, 393_216, 4, 940),
        GpuInstance("g6.48xlarge", 8, "L4", 22_888, 192, 786_432, 8, 940),
        GpuInstance("g6e.xlarge", 1, "L40S", 45_776, 4, 32_768, 1, 250),
        GpuInstance("g6e.2xlarge", 1, "L40S", 45_776, 8, 65_536, 1, 450),
        GpuInstance("g6e.4xlarge", 1, "L40S", 45_776, 16, 131_072, 1, 600),
        GpuInstance("g6e.8xlarge", 1, "L40S", 45_776, 32, 262_144, 2, 450),
        GpuInstance("g6e.12xlarge", 4, "L40S", 45_776, 48, 393_216, 2, 1900),
        GpuInstance("g6e.16xlarge", 1, "L40S", 45_776, 64, 524_288, 2, 950),
        GpuInstance("g6e.24xlarge", 4, "L40S", 45_776, 96, 786_432, 2, 1900),
        GpuInstance("g6e.48xlarge", 8, "L40S", 45_776, 192, 1_572_864, 4, 1900),
        GpuInstance("g7.2xlarge", 1, "RTX PRO 4500", 32_768, 8, 32_768, 1, 440),
        GpuInstance("g7.4xlarge", 1, "RTX PRO 4500", 32_768, 16, 65_536, 1, 875),
        GpuInstance("g7.8xlarge", 1, "RTX PRO 4500", 32_768, 32, 131_072, 1, 930),
        GpuInstance("g7.12xlarge", 2, "RTX PRO 4500", 32_768, 48, 196_608, 1, 1900),
        GpuInstance("g7.24xlarge", 4, "RTX PRO 4500", 32_768, 96, 393_216, 1, 3800),
        GpuInstance("g7.48xlarge", 8, "RTX PRO 4500", 32_768, 192, 786_432, 2, 3800),
        GpuInstance("g7e.2xlarge", 1, "RTX PRO Server 6000", 98_304, 8, 65_536, 1, 1900),
        GpuInstance("g7e.4xlarge", 1, "RTX PRO Server 6000", 98_304, 16, 131_072, 1, 1900),
        GpuInstance("g7e.8xlarge", 1, "RTX PRO Server 6000", 98_304, 32, 262_144, 1, 1900),
        GpuInstance("g7e.12xlarge", 2, "RTX PRO Server 6000", 98_304, 48, 524_288, 1, 3800),
        GpuInstance("g7e.24xlarge", 4, "RTX PRO Server 6000", 98_304, 96, 1_048_576, 2, 3800),
        GpuInstance("g7e.48xlarge", 8, "RTX PRO Server 6000", 98_304, 192, 2_097_152, 4, 3800),
        GpuInstance("gr6.4xlarge", 1, "L4", 22_888, 16, 131_072, 1, 600),
        GpuInstance("gr6.8xlarge", 1, "L4", 22_888, 32, 262_144, 2, 450),
        GpuInstance("p3dn.24xlarge", 8, "V100", 32_768, 96, 786_432, 2, 900),
        GpuInstance("p4d.24xlarge", 8, "A100", 40_960, 96, 1_179_648, 8, 1000),
        GpuInstance("p4de.24xlarge", 8, "A100", 81_920, 96, 1_179_648, 8, 1000),
        GpuInstance("p5.4xlarge", 1, "H100", 81_920, 16, 262_144, 1, 3800),
        GpuInstance("p5.48xlarge", 8, "H100", 81_920, 192, 2_097_152, 8, 3800),
        GpuInstance("p5e.48xlarge", 8, "H200", 144_384, 192, 2_097_152, 8, 3800),
        GpuInstance("p5en.48xlarge", 8, "H200", 144_384, 192, 2_097_152, 8, 3800),
        GpuInstance("p6-b200.48xlarge", 8, "B200", 183_359, 192, 2_097_152, 8, 3800),
        GpuInstance("p6-b300.48xlarge", 8, "B300", 275_040, 192, 4_194_304, 8, 3800),
    )
}
"""Types with at least one whole GPU (the fractional g6f and gr6f are left out: ECS counts whole GPUs)."""
