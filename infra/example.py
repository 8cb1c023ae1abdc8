"""The document workload as inputs of a `ServerlessRuntime`: its functions, its models and their sizes."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import pulumi

from infra import bundles
from keepwarm import SeedModel, ServerlessRuntimeArgs
from keepwarm_runtime.models import manifest as manifests

if TYPE_CHECKING:
    from infra.settings import Runtime

ENTRY = "classify"
OCR = "ocr"
FUNCTIONS = bundles.FUNCTIONS

WORK = "work/"
"""Where the steps leave results for each other."""

SECTIONS: dict[str, Any] = {
    "intake": {"expire_days": 30},
    "results": {"expire_days": 30, "expire_prefix": WORK},
    "queue": {"batch_size": 1},
    "models": {},
    "ledger": {},
    "observability": {},
    "budgets_ms": {
        "runtime_init": 500,
        "imports": 2_000,
        "fetch": 2_000,
        "verify": 500,
        "load": 1_000,
        "warmup": 1_000,
        "total": 6_000,
    },
}
"""Defaults of this workload, by section; what a stack file says wins key by key."""
FUNCTION_SECTIONS: dict[str, dict[str, Any]] = {
    "classify": {"memory_mb": 1024, "timeout_s": 30, "ephemeral_mb": 1024, "loads_model": "magika:stable"},
    "extract": {"memory_mb": 1024, "timeout_s": 60, "ephemeral_mb": 1024},
    "ocr": {"memory_mb": 512, "timeout_s": 120, "calls_service": True},
    "enrich": {"memory_mb": 512, "timeout_s": 30, "sources": []},
    "publish": {"memory_mb": 256, "timeout_s": 30, "sources": [], "guards_effects": True},
}
"""The same for each function."""
SERVICE_SECTION: dict[str, Any] = {
    "instance_types": ["g5.xlarge", "g4dn.xlarge"],
    "max_tasks": 4,
    "concurrency_per_task": 4,
    "max_batch": 4,
    "loads_model": "rapidocr:stable",
    "reads_documents": True,
}
"""The same for the service, where a stack file has one."""


def stack_inputs(
    sections: Mapping[str, Any], runtime: "Runtime", built: bundles.Build | None
) -> ServerlessRuntimeArgs:
    """Inputs of the stack: the workload's defaults, what the stack file says, and what was built.

    Without a build, stand-ins of the right form take the place of bundles, so that the rest can be checked first.
    """
    inputs: dict[str, Any] = {**SECTIONS, **sections}
    for section, defaults in SECTIONS.items():
        inputs[section] = _merged(defaults, sections.get(section))
    serves = "service" in sections or "service" in _mapping(sections.get("existing"))
    if "service" in sections:
        image = {"image": _image(built)} if runtime.host else {}
        inputs["service"] = _merged({**SERVICE_SECTION, **image}, sections["service"])
        inputs["network"] = sections.get("network", {})
    given = sections.get("functions")
    labels = [label for label in FUNCTIONS if label != OCR or serves]
    if given is None or isinstance(given, Mapping):
        inputs["functions"] = {
            label: _merged(
                {**FUNCTION_SECTIONS[label], **_bundle(label, runtime, built)}, _mapping(given).get(label)
            )
            for label in labels
        }
    inputs["entry"] = ENTRY
    models = inputs["models"]
    if isinstance(models, Mapping):
        inputs["models"] = {**models, "models": _seeds(inputs, built)}
    return cast(ServerlessRuntimeArgs, inputs)


def _merged(defaults: Mapping[str, Any], given: Any) -> Any:
    """What is given over the defaults; what is no mapping is left for the check to refuse."""
    return {**defaults, **given} if isinstance(given, Mapping) else defaults if given is None else given


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _bundle(label: str, runtime: "Runtime", built: bundles.Build | None) -> dict[str, Any]:
    if built is not None:
        return dict(built.functions[label].as_args())
    return {
        "code": pulumi.AssetArchive({}),
        "runtime": f"python{runtime.python_version}",
        "architecture": runtime.architecture,
    }


def _image(built: bundles.Build | None) -> str:
    """The inference server as a folder, which only the embedded cloud can run."""
    return built.image.uri if built is not None else "file:///inference_server"


def _seeds(inputs: Mapping[str, Any], built: bundles.Build | None) -> list[SeedModel]:
    """The built models, each on the channel that its user follows."""
    if built is None:
        return []
    users = [_mapping(inputs.get("service")), *map(_mapping, _mapping(inputs.get("functions")).values())]
    wanted = [str(user.get("loads_model", "")).partition(":") for user in users]
    channels = {name: channel for name, _, channel in wanted if channel}
    return [_seed(model, channels.get(model.name, "stable")) for model in built.models.values()]


def _seed(model: bundles.Model, channel: str) -> SeedModel:
    manifest = manifests.parse(model.manifest.encode(), expected_digest=model.digest)
    return {
        "name": model.name,
        "version": model.version,
        "channel": channel,
        "manifest": model.manifest,
        "pointer": manifests.pointer(manifest, channel).decode(),
        "files": {path: pulumi.FileAsset(str(file)) for path, file in model.files.items()},
    }
