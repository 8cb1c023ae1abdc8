"""One full example of every component, as programs: what contract tests, goldens and the embedded cloud deploy."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pulumi

import keepwarm as kw

IMAGE = "111122223333.dkr.ecr.eu-west-1.amazonaws.com/inference-server@sha256:" + "a" * 64
QUEUE: kw.QueueBinding = {
    "url": "https://sqs.eu-west-1.amazonaws.com/111122223333/burst-jobs",
    "arn": "arn:aws:sqs:eu-west-1:111122223333:burst-jobs",
    "parked_url": "https://sqs.eu-west-1.amazonaws.com/111122223333/burst-parked",
    "parked_arn": "arn:aws:sqs:eu-west-1:111122223333:burst-parked",
    "consumer_timeout_s": 60,
    "batch_size": 10,
    "batch_window_s": 1,
    "max_concurrency": 10,
}
MODEL: kw.ModelBinding = {
    "bucket": "models",
    "bucket_arn": "arn:aws:s3:::models",
    "ref": "magika@sha256:" + "b" * 64,
    "size_mb": 3,
}
MOUNT: kw.FileSystemMount = {
    "access_point_arn": "arn:aws:elasticfilesystem:eu-west-1:111122223333:access-point/fsap-0123456789abcdef0",
    "file_system_arn": "arn:aws:elasticfilesystem:eu-west-1:111122223333:file-system/fs-0123456789abcdef0",
    "path": "/mnt/models",
    "mount_target_ids": ["fsmt-0aaa"],
}
TARGET: kw.WarmTarget = {
    "function_name": "classify-function-1a2b3c4",
    "alias": "live",
    "compatibility_key": "0123456789abcdef",
}


def alias(name: str) -> str:
    """ARN of a function's alias."""
    return f"arn:aws:lambda:eu-west-1:111122223333:function:{name}:live"


def code() -> pulumi.Archive:
    """A bundle with one file."""
    return pulumi.AssetArchive(
        {"handler.py": pulumi.StringAsset("def handler(event, context): return event\n")}
    )


def seed(name: str = "magika", version: str = "1.0.0", content: str = "weights") -> kw.SeedModel:
    """A model of one file, with its manifest."""
    digest = hashlib.sha256(content.encode()).hexdigest()
    manifest = {
        "schema": 1,
        "name": name,
        "version": version,
        "files": [{"path": "model.onnx", "size": len(content), "sha256": digest}],
    }
    return {
        "name": name,
        "version": version,
        "manifest": json.dumps(manifest, sort_keys=True, separators=(",", ":")),
        "pointer": "{}",
        "files": {"model.onnx": pulumi.StringAsset(content)},
    }


def steps() -> Any:
    """Alias ARNs of the document workflow's steps, by step."""
    return {step: alias(step) for step in ("extract", "ocr", "enrich", "publish")}


def _function(**more: Any) -> Any:
    bindings: dict[str, Any] = {
        "code": code(),
        "model": MODEL,
        "ledger": {
            "table": "records",
            "table_arn": "arn:aws:dynamodb:eu-west-1:111122223333:table/records",
            "bucket": "claims",
            "bucket_arn": "arn:aws:s3:::claims",
        },
        "admission": {
            "table": "permits",
            "table_arn": "arn:aws:dynamodb:eu-west-1:111122223333:table/permits",
            "pool": "ocr",
            "permits": 4,
        },
        "service": {"namespace": "space", "name": "reader"},
        "workflow": {"arn": "arn:aws:states:eu-west-1:111122223333:stateMachine:documents"},
        "results": {"bucket": "results", "bucket_arn": "arn:aws:s3:::results"},
        "sources": [{"bucket": "intake", "bucket_arn": "arn:aws:s3:::intake"}],
        "dead_letters": QUEUE,
        "layer_archives": {"deps": code()},
    }
    return {**bindings, **more}


def _stack() -> None:
    kw.ServerlessRuntime(
        "stack",
        {
            "functions": {
                "classify": {"code": code(), "loads_model": "magika"},
                "extract": {"code": code()},
                "ocr": {"code": code(), "calls_service": True},
                "enrich": {"code": code()},
                "publish": {"code": code(), "guards_effects": True},
            },
            "entry": "classify",
            "models": {"models": [seed()]},
            "service": {"image": IMAGE, "max_tasks": 2},
            "warm_pool": {"environments": 2, "max_environments": 5},
            "workflow": {"deadline_s": 1800},
            "budgets_ms": {"total": 2000},
        },
    )


PROGRAMS: dict[str, Callable[[], object]] = {
    "Admission": lambda: kw.Admission("admission", {"pools": {"ocr": 4}}),
    "BurstQueue": lambda: kw.BurstQueue(
        "burst", {"intake": [{"bucket": "intake", "bucket_arn": "arn:aws:s3:::intake"}]}
    ),
    "DataBucket": lambda: kw.DataBucket("results", {"expire_days": 30, "access_log_bucket": "logs"}),
    "DurableWorkflow": lambda: kw.DurableWorkflow("documents", {"functions": steps(), "dead_letters": QUEUE}),
    "EffectLedger": lambda: kw.EffectLedger(
        "effects", {"redelivery_s": 3600, "queue": {**QUEUE, "retention_s": 3600}}
    ),
    "EncryptionKey": lambda: kw.EncryptionKey("data", {"auto_scaling": True}),
    "GpuService": lambda: kw.GpuService(
        "reader", {"image": IMAGE, "model": MODEL, "max_tasks": 4, "warm_instances": 1, "duty_cycle": 0.1}
    ),
    "ModelRegistry": lambda: kw.ModelRegistry("models", {"models": [seed()], "lock": kw.Lock.GOVERNANCE}),
    "Observability": lambda: kw.Observability(
        "observe",
        {
            "functions": {"classify": "classify-1", "ocr": "ocr-1"},
            "queues": {"burst": "burst-jobs"},
            "parked_queues": {"burst": "burst-parked"},
            "services": {"reader": "reader-discovery"},
            "workflow_arn": "arn:aws:states:eu-west-1:111122223333:stateMachine:documents",
            "budgets_ms": {"fetch": 500, "total": 2000},
            "costs": {
                "usd_per_gb_s": 0.0000166667,
                "usd_per_million_requests": 0.2,
                "memory_mb": {"classify": 1024, "ocr": 512},
            },
        },
    ),
    "PreprocessingFunction": lambda: kw.PreprocessingFunction(
        "classify",
        _function(
            queue=QUEUE,
            network={
                "subnet_ids": ["subnet-0aaa", "subnet-0bbb"],
                "security_group_ids": ["sg-0aaa"],
                "network_path": "nat",
            },
        ),
    ),
    "PrivateEndpoints": lambda: kw.PrivateEndpoints("endpoints", {}),
    "RuntimeFunction": lambda: kw.RuntimeFunction(
        "ocr",
        _function(
            subnet_ids=["subnet-0aaa", "subnet-0bbb"],
            security_group_ids=["sg-0aaa"],
            network_path="endpoints",
            reserved_concurrency=5,
            file_system=MOUNT,
            url={"cors": {"origins": ["https://example.com"], "methods": ["GET", "POST"], "max_age_s": 60}},
            on_success={"topic_arn": "arn:aws:sns:eu-west-1:111122223333:done"},
            alarm_topic_arns=["arn:aws:sns:eu-west-1:111122223333:alarms"],
            tags={"team": "documents"},
        ),
    ),
    "ServerlessRuntime": _stack,
    "WarmPool": lambda: kw.WarmPool(
        "warm",
        {
            "target": TARGET,
            "environments": 2,
            "max_environments": 10,
            "schedules": [
                {"schedule_expression": "cron(0 8 ? * MON-FRI *)", "environments": 4, "max_environments": 20}
            ],
        },
    ),
}
"""Component name -> program that declares it with most of its parts."""

VARIANTS: dict[str, Callable[[], object]] = {
    "GpuService on managed instances": lambda: kw.GpuService(
        "reader", {"image": IMAGE, "capacity": kw.Capacity.MANAGED}
    ),
    "GpuService on CPUs": lambda: kw.GpuService(
        "reader", {"image": "file:///images/server", "gpus": 0, "capacity": kw.Capacity.FARGATE}
    ),
    "GpuService of several types, retiring": lambda: kw.GpuService(
        "reader", {"image": IMAGE, "instance_types": ["g6.xlarge", "g5.xlarge"], "retiring": True}
    ),
    "WarmPool of managed instances": lambda: kw.WarmPool(
        "warm",
        {
            "mode": kw.WarmMode.INSTANCES,
            "subnet_ids": ["subnet-0aaa", "subnet-0bbb"],
            "security_group_ids": ["sg-0aaa"],
        },
    ),
    "RuntimeFunction of an image with a key": lambda: kw.RuntimeFunction(
        "ocr", {"image": IMAGE, "kms_key_arn": "arn:aws:kms:eu-west-1:111122223333:key/k"}
    ),
    "RuntimeFunction that everyone may call": lambda: kw.RuntimeFunction(
        "page", {"image": IMAGE, "url": {"auth": kw.UrlAuth.NONE, "public_reason": "a demo", "stream": True}}
    ),
    "DurableWorkflow without OCR": lambda: kw.DurableWorkflow(
        "documents", {"functions": {step: alias(step) for step in ("extract", "enrich", "publish")}}
    ),
}
"""Further shapes of components, for the tests that hold for every document and every child."""
