"""Pulumi components for serverless AI runtimes. Import components, their inputs and enumerations from here.

Names load on first use (PEP 562): `keepwarm.limits` is plain numbers, and whoever wants those should not pay for
pulumi-aws.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keepwarm.admission import Admission, AdmissionArgs
    from keepwarm.burst_queue import BurstQueue, BurstQueueArgs
    from keepwarm.checks.function import Architecture, SideEffects
    from keepwarm.checks.function_events import SuccessDestination
    from keepwarm.checks.function_mount import FileSystemMount
    from keepwarm.checks.function_url import FunctionUrl, UrlAuth, UrlCors
    from keepwarm.checks.service import Capacity
    from keepwarm.checks.warm_pool import WarmMode
    from keepwarm.data_bucket import DataBucket, DataBucketArgs
    from keepwarm.durable_workflow import (
        DurableWorkflow,
        DurableWorkflowArgs,
        StackWorkflowArgs,
        WorkflowKind,
        WorkflowLog,
    )
    from keepwarm.effect_ledger import EffectLedger, EffectLedgerArgs
    from keepwarm.encryption_key import EncryptionKey, EncryptionKeyArgs, key_statements
    from keepwarm.errors import InvalidArgs
    from keepwarm.gpu_service import GpuService, GpuServiceArgs
    from keepwarm.iam import grants
    from keepwarm.iam.bindings import (
        AdmissionBinding,
        CallerNetwork,
        FunctionBindings,
        IntakeSource,
        Integrity,
        LedgerBinding,
        ModelBinding,
        NetworkPath,
        QueueBinding,
        ServiceBinding,
        ServiceTasks,
        StoreBinding,
        WarmTarget,
        WorkflowBinding,
    )
    from keepwarm.iam.grants import Statement
    from keepwarm.model_registry import Lock, ModelRegistry, ModelRegistryArgs, SeedModel
    from keepwarm.observability import Observability
    from keepwarm.phases import PHASES
    from keepwarm.preprocessing_function import PreprocessingFunction, PreprocessingFunctionArgs
    from keepwarm.private_endpoints import PrivateEndpoints, PrivateEndpointsArgs
    from keepwarm.runtime_function import RuntimeFunction, RuntimeFunctionArgs
    from keepwarm.serverless_runtime import (
        ExistingFunction,
        ExistingParts,
        ExistingService,
        ServerlessRuntime,
        ServerlessRuntimeArgs,
        StackFunctionArgs,
        StackServiceArgs,
    )
    from keepwarm.warm_pool import WarmPool, WarmPoolArgs, WarmSchedule
    from keepwarm.watch.spec import CostRates, ObservabilityArgs

_MODULES: dict[str, str] = {
    "Admission": "admission",
    "AdmissionArgs": "admission",
    "AdmissionBinding": "iam.bindings",
    "Architecture": "checks.function",
    "BurstQueue": "burst_queue",
    "BurstQueueArgs": "burst_queue",
    "CallerNetwork": "iam.bindings",
    "Capacity": "checks.service",
    "CostRates": "watch.spec",
    "DataBucket": "data_bucket",
    "DataBucketArgs": "data_bucket",
    "DurableWorkflow": "durable_workflow",
    "DurableWorkflowArgs": "durable_workflow",
    "EffectLedger": "effect_ledger",
    "EffectLedgerArgs": "effect_ledger",
    "FileSystemMount": "checks.function_mount",
    "FunctionBindings": "iam.bindings",
    "FunctionUrl": "checks.function_url",
    "GpuService": "gpu_service",
    "GpuServiceArgs": "gpu_service",
    "IntakeSource": "iam.bindings",
    "Integrity": "iam.bindings",
    "InvalidArgs": "errors",
    "LedgerBinding": "iam.bindings",
    "Lock": "model_registry",
    "ModelBinding": "iam.bindings",
    "ModelRegistry": "model_registry",
    "ModelRegistryArgs": "model_registry",
    "NetworkPath": "iam.bindings",
    "Observability": "observability",
    "ObservabilityArgs": "watch.spec",
    "PHASES": "phases",
    "PreprocessingFunction": "preprocessing_function",
    "PreprocessingFunctionArgs": "preprocessing_function",
    "PrivateEndpoints": "private_endpoints",
    "PrivateEndpointsArgs": "private_endpoints",
    "QueueBinding": "iam.bindings",
    "RuntimeFunction": "runtime_function",
    "RuntimeFunctionArgs": "runtime_function",
    "SeedModel": "model_registry",
    "ServerlessRuntime": "serverless_runtime",
    "ExistingFunction": "serverless_runtime",
    "ExistingParts": "serverless_runtime",
    "ExistingService": "serverless_runtime",
    "StackFunctionArgs": "serverless_runtime",
    "StackServiceArgs": "serverless_runtime",
    "StackWorkflowArgs": "durable_workflow",
    "ServerlessRuntimeArgs": "serverless_runtime",
    "ServiceBinding": "iam.bindings",
    "ServiceTasks": "iam.bindings",
    "SideEffects": "checks.function",
    "Statement": "iam.grants",
    "StoreBinding": "iam.bindings",
    "SuccessDestination": "checks.function_events",
    "UrlAuth": "checks.function_url",
    "UrlCors": "checks.function_url",
    "WarmMode": "checks.warm_pool",
    "WarmPool": "warm_pool",
    "WarmPoolArgs": "warm_pool",
    "WarmSchedule": "warm_pool",
    "WarmTarget": "iam.bindings",
    "WorkflowBinding": "iam.bindings",
    "WorkflowKind": "durable_workflow",
    "WorkflowLog": "durable_workflow",
    "EncryptionKey": "encryption_key",
    "EncryptionKeyArgs": "encryption_key",
    "grants": "iam",
    "key_statements": "encryption_key",
}

__all__ = [
    "PHASES",
    "Admission",
    "AdmissionArgs",
    "AdmissionBinding",
    "Architecture",
    "BurstQueue",
    "BurstQueueArgs",
    "CallerNetwork",
    "Capacity",
    "CostRates",
    "DataBucket",
    "DataBucketArgs",
    "DurableWorkflow",
    "DurableWorkflowArgs",
    "EffectLedger",
    "EffectLedgerArgs",
    "EncryptionKey",
    "EncryptionKeyArgs",
    "ExistingFunction",
    "ExistingParts",
    "ExistingService",
    "FileSystemMount",
    "FunctionBindings",
    "FunctionUrl",
    "GpuService",
    "GpuServiceArgs",
    "IntakeSource",
    "Integrity",
    "InvalidArgs",
    "LedgerBinding",
    "Lock",
    "ModelBinding",
    "ModelRegistry",
    "ModelRegistryArgs",
    "NetworkPath",
    "Observability",
    "ObservabilityArgs",
    "PreprocessingFunction",
    "PreprocessingFunctionArgs",
    "PrivateEndpoints",
    "PrivateEndpointsArgs",
    "QueueBinding",
    "RuntimeFunction",
    "RuntimeFunctionArgs",
    "SeedModel",
    "ServerlessRuntime",
    "ServerlessRuntimeArgs",
    "ServiceBinding",
    "ServiceTasks",
    "SideEffects",
    "StackFunctionArgs",
    "StackServiceArgs",
    "StackWorkflowArgs",
    "Statement",
    "StoreBinding",
    "SuccessDestination",
    "UrlAuth",
    "UrlCors",
    "WarmMode",
    "WarmPool",
    "WarmPoolArgs",
    "WarmSchedule",
    "WarmTarget",
    "WorkflowBinding",
    "WorkflowKind",
    "WorkflowLog",
    "grants",
    "key_statements",
]


def __getattr__(name: str) -> object:
    """Load the module that defines `name`, once."""
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module 'keepwarm' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"keepwarm.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, loaded or not."""
    return sorted({*globals(), *_MODULES})
