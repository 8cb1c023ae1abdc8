"""Every setting of the stack, read once, checked all together before anything is created.

`Settings.load` takes the raw configuration of the `keepwarm` namespace (strings, or JSON for structured values, as
Pulumi hands it over) and returns one frozen object, or raises `InvalidSettings` that lists every error with its code,
path, the value got, what is allowed and what to do (contract C6).
"""

import difflib
import json
import platform
import re
import sys
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Self

import pulumi
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from keepwarm import limits

NAMESPACE = "keepwarm"

CODES = {
    "KW160": "a setting has a name that does not exist",
    "KW161": "a setting has the wrong type",
    "KW162": "a setting is out of its range or not one of the allowed values",
    "KW163": "a required setting is missing",
    "KW164": "two settings contradict each other",
    "KW165": "a setting is not valid JSON, where a structured value is expected",
    "KW166": "a setting needs control characters or an unusable text replaced",
}


class InvalidSettings(pulumi.RunError):
    """All errors of one run of the settings, one per line, in `problems`. Shown without a traceback."""

    def __init__(self, stack: str, problems: list[str]) -> None:
        self.problems = problems
        count = f"{len(problems)} setting{'s' if len(problems) > 1 else ''}"
        lines = "\n".join(f"  {p}" for p in problems)
        super().__init__(f"{count} of stack '{stack}' can't be used; nothing was created:\n{lines}")


class Architecture(StrEnum):
    """Instruction set of the functions."""

    X86_64 = "x86_64"
    ARM64 = "arm64"
    HOST = "host"
    """The machine that runs the program: for the embedded cloud, which has no other."""


class Capacity(StrEnum):
    """Where the tasks of the GPU service run."""

    ASG = "asg"
    """An Auto Scaling group of GPU instances that this stack owns."""
    MANAGED = "managed"
    """ECS managed instances: AWS owns the instances."""
    LOCAL = "local"
    """Processes of the embedded cloud, without an instance below them."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, str_strip_whitespace=True)


Seconds = Annotated[int, Field(ge=1)]
TimeoutS = Annotated[int, Field(ge=limits.LAMBDA_TIMEOUT_MIN_S, le=limits.LAMBDA_TIMEOUT_MAX_S)]
MemoryMb = Annotated[int, Field(ge=limits.LAMBDA_MEMORY_MIN_MB, le=limits.LAMBDA_MEMORY_MAX_MB)]
EphemeralMb = Annotated[int, Field(ge=limits.LAMBDA_EPHEMERAL_MIN_MB, le=limits.LAMBDA_EPHEMERAL_MAX_MB)]
Channel = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]


class FunctionSettings(_Section):
    """One function of the document flow."""

    memory_mb: MemoryMb = 512
    timeout_s: TimeoutS = 30
    ephemeral_mb: EphemeralMb = limits.LAMBDA_EPHEMERAL_MIN_MB
    reserved_concurrency: int | None = Field(None, ge=0, le=limits.LAMBDA_ACCOUNT_CONCURRENCY)


class FunctionsSettings(_Section):
    """The functions of the document flow, one section each."""

    classify: FunctionSettings = FunctionSettings(memory_mb=1024, timeout_s=30, ephemeral_mb=1024)
    extract: FunctionSettings = FunctionSettings(memory_mb=1024, timeout_s=60, ephemeral_mb=1024)
    ocr: FunctionSettings = FunctionSettings(memory_mb=512, timeout_s=120)
    enrich: FunctionSettings = FunctionSettings(memory_mb=512, timeout_s=30)
    publish: FunctionSettings = FunctionSettings(memory_mb=256, timeout_s=30)


class RuntimeSettings(_Section):
    """What the functions run on."""

    architecture: Architecture = Architecture.ARM64
    python: Annotated[str, Field(pattern=r"^(host|3\.(11|12|13|14))$")] = "3.12"
    """Minor version of the Lambda runtime, or `host`: the interpreter of the program (embedded cloud)."""

    def architecture_name(self) -> str:
        """Architecture as Lambda names it, with `host` resolved."""
        if self.architecture is not Architecture.HOST:
            return self.architecture.value
        return "arm64" if platform.machine() in {"aarch64", "arm64"} else "x86_64"

    def python_version(self) -> str:
        """Minor version with `host` resolved."""
        return f"{sys.version_info.major}.{sys.version_info.minor}" if self.python == "host" else self.python


class ModelsSettings(_Section):
    """Which release of each model the stack serves."""

    classifier_channel: Channel = "stable"
    reader_channel: Channel = "stable"
    keep: bool = True
    """Keep published models when the stack is destroyed."""


class ScheduleSettings(_Section):
    """A change of the warm pool's bounds at a time of day."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,40}$")]
    schedule_expression: Annotated[str, Field(pattern=r"^cron\(.+\)$")]
    environments: int = Field(ge=0, le=limits.LAMBDA_ACCOUNT_CONCURRENCY)
    max_environments: int = Field(ge=0, le=limits.LAMBDA_ACCOUNT_CONCURRENCY)
    timezone: str = "UTC"


class WarmPoolSettings(_Section):
    """Provisioned concurrency of the classifier."""

    enabled: bool = True
    environments: int = Field(2, ge=1, le=limits.LAMBDA_ACCOUNT_CONCURRENCY)
    max_environments: int = Field(10, ge=1, le=limits.LAMBDA_ACCOUNT_CONCURRENCY)
    target_utilization: float = Field(0.7, gt=0, le=0.9)
    schedules: tuple[ScheduleSettings, ...] = ()

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.environments > self.max_environments:
            raise ValueError(
                f"environments {self.environments} is above max_environments {self.max_environments}; raise"
                " max_environments or lower environments"
            )
        for schedule in self.schedules:
            if schedule.environments > schedule.max_environments:
                raise ValueError(
                    f"schedule '{schedule.name}' has environments {schedule.environments} above max_environments"
                    f" {schedule.max_environments}; raise max_environments or lower environments"
                )
        return self


class QueueSettings(_Section):
    """The queue between intake and the first function."""

    max_concurrency: int = Field(10, ge=limits.ESM_CONCURRENCY_MIN, le=limits.ESM_CONCURRENCY_MAX)
    batch_size: int = Field(1, ge=1, le=10)
    batch_window_s: int = Field(0, ge=0, le=limits.ESM_WINDOW_MAX_S)
    max_event_age_s: int = Field(3600, ge=limits.SQS_RETENTION_MIN_S, le=limits.SQS_RETENTION_MAX_S)
    max_receive_count: int = Field(5, ge=limits.ESM_RECEIVES_MIN, le=limits.SQS_RECEIVES_MAX)


class ServiceSettings(_Section):
    """The service that reads scanned pages. Off until an image is named, except on the embedded cloud."""

    enabled: bool = False
    capacity: Capacity = Capacity.ASG
    image: str | None = None
    """Image by digest; none builds a local image directory, which only the embedded cloud can run."""
    instance_types: tuple[str, ...] = ("g5.xlarge", "g4dn.xlarge")
    gpus: int = Field(1, ge=0, le=16)
    min_tasks: int = Field(0, ge=0, le=1000)
    max_tasks: int = Field(4, ge=1, le=1000)
    concurrency_per_task: int = Field(4, ge=1, le=1000)
    max_batch: int = Field(4, ge=1, le=64)
    """Most pictures in one run of the model; more permits than one batch per task only fill its queue."""
    warm_instances: int = Field(0, ge=0, le=100)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.min_tasks > self.max_tasks:
            raise ValueError(
                f"min_tasks {self.min_tasks} is above max_tasks {self.max_tasks}; raise max_tasks or lower min_tasks"
            )
        if not self.enabled:
            return self
        if self.capacity is not Capacity.LOCAL and self.gpus < 1:
            raise ValueError(f"gpus is {self.gpus} with capacity '{self.capacity}'; set gpus to at least 1")
        if self.capacity is Capacity.LOCAL and self.gpus > 0:
            raise ValueError(
                f"gpus is {self.gpus} with capacity 'local', which has none to reserve; set gpus to 0"
            )
        if self.capacity is not Capacity.LOCAL and self.image is None:
            raise ValueError(
                f"image is not set, and capacity '{self.capacity}' runs container images only; set image to"
                " <repository>@sha256:<digest> of the built inference server"
            )
        if self.image is not None and not re.search(r"@sha256:[0-9a-f]{64}$", self.image):
            raise ValueError(
                f"image is {self.image!r}, which can change under the service; pin it by @sha256:<digest>"
            )
        return self


class NetworkSettings(_Section):
    """Where the tasks of the GPU service live; none takes the account's default VPC."""

    vpc_id: Annotated[str, Field(pattern=r"^vpc-[0-9a-f]{8,17}$")] | None = None
    subnet_ids: tuple[Annotated[str, Field(pattern=r"^subnet-[0-9a-f]{8,17}$")], ...] = ()

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.vpc_id is None) != (not self.subnet_ids):
            raise ValueError("vpc_id and subnet_ids go together; set both or neither")
        if len(set(self.subnet_ids)) == 1:
            raise ValueError("subnet_ids has one subnet; name at least two, in different availability zones")
        return self


class WorkflowSettings(_Section):
    """The durable part of the flow."""

    deadline_s: int = Field(900, ge=60, le=86_400)


class BudgetSettings(_Section):
    """Cold-start contract of the classifier, per phase (C1) at the 99th percentile, in milliseconds."""

    runtime_init_ms: int = Field(500, ge=1)
    imports_ms: int = Field(2_000, ge=1)
    fetch_ms: int = Field(2_000, ge=1)
    verify_ms: int = Field(500, ge=1)
    load_ms: int = Field(1_000, ge=1)
    warmup_ms: int = Field(1_000, ge=1)
    total_ms: int = Field(6_000, ge=1)

    @model_validator(mode="after")
    def _total_holds_each(self) -> Self:
        for name in ("runtime_init_ms", "imports_ms", "fetch_ms", "verify_ms", "load_ms", "warmup_ms"):
            if getattr(self, name) > self.total_ms:
                raise ValueError(
                    f"{name} {getattr(self, name)} is above total_ms {self.total_ms}, so the total could never hold;"
                    f" raise total_ms or lower {name}"
                )
        return self


class ObservabilitySettings(_Section):
    """Dashboard and alarms."""

    enabled: bool = True
    alarm_topic_arn: Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:sns:")] | None = None
    log_retention_days: int = 30

    @model_validator(mode="after")
    def _offered(self) -> Self:
        if self.log_retention_days not in limits.LOG_RETENTION_DAYS:
            offered = ", ".join(str(d) for d in sorted(limits.LOG_RETENTION_DAYS))
            raise ValueError(f"log_retention_days is {self.log_retention_days}; CloudWatch offers {offered}")
        return self


class Settings(_Section):
    """Every setting of the stack."""

    runtime: RuntimeSettings = RuntimeSettings()
    models: ModelsSettings = ModelsSettings()
    functions: FunctionsSettings = FunctionsSettings()
    warm_pool: WarmPoolSettings = WarmPoolSettings()
    queue: QueueSettings = QueueSettings()
    service: ServiceSettings = ServiceSettings()
    network: NetworkSettings = NetworkSettings()
    workflow: WorkflowSettings = WorkflowSettings()
    budget: BudgetSettings = BudgetSettings()
    observability: ObservabilitySettings = ObservabilitySettings()

    @model_validator(mode="after")
    def _agree(self) -> Self:
        problems = []
        classify = self.functions.classify
        reserved = classify.reserved_concurrency
        if self.warm_pool.enabled and reserved is not None and self.warm_pool.max_environments > reserved:
            problems.append(
                f"warm_pool.max_environments {self.warm_pool.max_environments} is above"
                f" functions.classify.reserved_concurrency {reserved}; provisioned concurrency comes out of the"
                " reserved; raise it"
            )
        if (
            classify.reserved_concurrency is not None
            and self.queue.max_concurrency > classify.reserved_concurrency
        ):
            problems.append(
                f"queue.max_concurrency {self.queue.max_concurrency} is above"
                f" functions.classify.reserved_concurrency {classify.reserved_concurrency}; the queue would be"
                " throttled; lower queue.max_concurrency"
            )
        if self.workflow.deadline_s <= self.functions.ocr.timeout_s:
            problems.append(
                f"workflow.deadline_s {self.workflow.deadline_s} is not above functions.ocr.timeout_s"
                f" {self.functions.ocr.timeout_s}; one attempt would use the whole deadline; raise workflow.deadline_s"
            )
        if problems:
            raise ValueError(" && ".join(problems))
        return self

    @classmethod
    def load(cls, raw: Mapping[str, str], stack: str = "dev") -> Self:
        """Check `raw` (key -> text or JSON, the `keepwarm` namespace without its prefix) and freeze it.

        Raises:
            InvalidSettings: with every problem found, each with its code.
        """
        problems: list[str] = []
        values: dict[str, Any] = {}
        for key, text in raw.items():
            if key not in cls.model_fields:
                problems.append(_unknown(key, list(cls.model_fields)))
                continue
            try:
                values[key] = (
                    json.loads(text, parse_constant=_refuse_constant) if isinstance(text, str) else text
                )
            except ValueError as error:
                problems.append(
                    f"KW165 {NAMESPACE}:{key}: got {text!r:.80}; allowed a structured value; because {error}; fix:"
                    f" write a mapping under {NAMESPACE}:{key} in stacks/Pulumi.{stack}.yaml"
                )
        try:
            # JSON mode: strict about numbers and booleans, yet a string is what an enum is written as.
            settings = cls.model_validate_json(json.dumps(values))
        except ValidationError as error:
            for detail in error.errors():
                problems.extend(_sentences(detail))
        if problems:
            raise InvalidSettings(stack, problems)
        return settings


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number anyone can provision")


def _unknown(path: str, known: list[str]) -> str:
    leaf = path.rsplit(".", 1)[-1]
    near = difflib.get_close_matches(leaf, known, n=1, cutoff=0.5)
    tail = f"did you mean '{near[0]}'?" if near else "remove it"
    return f"KW160 {NAMESPACE}:{path}: got an unknown name '{leaf}'; allowed {', '.join(known)}; fix: {tail}"


def _fields_at(path: tuple[int | str, ...]) -> list[str]:
    model: Any = Settings
    for part in path:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation
        args = getattr(annotation, "__args__", ())
        model = next(
            (a for a in (annotation, *args) if isinstance(a, type) and issubclass(a, BaseModel)), model
        )
    return list(model.model_fields)


def _sentences(detail: ErrorDetails) -> list[str]:
    location = detail["loc"]
    path = ".".join(str(p) for p in location)
    got = repr(detail.get("input"))
    got = got if len(got) <= 80 else got[:77] + "..."
    kind = detail["type"]
    if kind == "extra_forbidden":
        return [_unknown(path, _fields_at(location[:-1]))]
    if kind == "missing":
        return [f"KW163 {NAMESPACE}:{path}: got nothing; allowed a value; fix: set it"]
    if kind == "value_error":
        reason = str(detail.get("ctx", {}).get("error", detail["msg"]))
        return [f"KW164 {NAMESPACE}:{path or '*'}: {part}" for part in reason.split(" && ")]
    said = "allowed " + (detail["msg"][0].lower() + detail["msg"][1:]).removeprefix("input should be ")
    ranged = kind.startswith(("greater", "less", "string_pattern", "string_too", "literal", "enum", "too_"))
    return [f"{'KW162' if ranged else 'KW161'} {NAMESPACE}:{path}: got {got}; {said}; fix: change {path}"]
