"""Checks on the models a registry publishes, and on the names they are bound by."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi

from keepwarm.checks.inputs import Checks
from keepwarm.checks.problems import show

NAME = r"[a-z0-9][a-z0-9._-]{0,127}"
VERSION = r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}"
CHANNEL = r"[a-z0-9][a-z0-9._-]{0,63}"
LIVE = "live"
MANIFEST_MAX_BYTES = 1_048_576
PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".joblib", ".ckpt")


@dataclass(frozen=True, kw_only=True, slots=True)
class SeedSpec:
    """A model that the deployment publishes, after its check."""

    name: str
    version: str
    channel: str
    manifest: str
    pointer: str
    digest: str
    """SHA-256 of the manifest, hexadecimal."""
    blobs: dict[str, pulumi.Asset]
    """Files by their SHA-256, hexadecimal."""
    size_bytes: int

    @property
    def ref(self) -> str:
        """Reference pinned by the manifest's digest."""
        return f"{self.name}@sha256:{self.digest}"


def seeds(checks: Checks[Any], given: list[Any]) -> list[SeedSpec]:
    """Every model after its check; two that would write the same object are refused."""
    made = [_seed(checks, f"models[{index}]", seed) for index, seed in enumerate(given)]
    first: dict[tuple[str, str], int] = {}
    for index, seed in enumerate(made):
        for part, value in (("version", seed.version), ("channel", seed.channel)):
            earlier = first.setdefault((f"{seed.name}/{part}", value), index)
            if earlier != index:
                checks.add(
                    code="KW148",
                    key=f"models[{index}].{part}",
                    got=show(value),
                    allowed=f"another {part} than that of models[{earlier}]",
                    because="both would write the same object of the registry",
                    fix=f"give it another {part}, or drop one of the two",
                )
    return made


def _seed(checks: Checks[Any], at: str, seed: Mapping[str, Any]) -> SeedSpec:
    texts = {key: seed.get(key, "") for key in ("name", "version", "manifest", "pointer")}
    texts["channel"] = seed.get("channel", LIVE)
    for key, pattern in (("name", NAME), ("version", VERSION), ("channel", CHANNEL)):
        checks.text(
            f"{at}.{key}",
            texts[key],
            pattern,
            code="KW133",
            allowed="letters, digits, dot, dash and underscore",
            because="it becomes part of an S3 key and of references",
            fix="rename it",
        )
    files = _manifest_files(checks, at, texts)
    given = seed.get("files", {})
    missing, extra = sorted(set(files) - set(given)), sorted(set(given) - set(files))
    if missing or extra:
        checks.add(
            code="KW148",
            key=f"{at}.files",
            got=f"missing {missing}, unlisted {extra}",
            allowed="exactly the files the manifest lists",
            because="a reader loads what the manifest says and nothing else",
            fix="build the manifest from the same folder as the files",
        )
    return SeedSpec(
        **texts,
        digest=hashlib.sha256(texts["manifest"].encode("utf-8", "replace")).hexdigest(),
        blobs={digest: given[path] for path, (digest, _) in files.items() if path in given},
        size_bytes=sum(size for _, size in files.values()),
    )


def _manifest_files(checks: Checks[Any], at: str, texts: dict[str, str]) -> dict[str, tuple[str, int]]:
    """Digest and size of the manifest's files by path; what can't be read, or lists what it must not, is refused."""

    def refuse(got: str, because: str) -> None:
        checks.add(
            code="KW148",
            key=f"{at}.manifest",
            got=got,
            allowed="canonical JSON with schema, name, version and files",
            because=because,
            fix="build it with keepwarm_runtime.models.manifest",
        )

    text = texts["manifest"]
    try:
        manifest = json.loads(text)
        entries = list(manifest["files"])
        files = {str(entry["path"]): dict(entry) for entry in entries}
        sizes = {path: int(entry["size"]) for path, entry in files.items()}
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as fault:
        refuse(show(text[:40]), f"it can't be read ({type(fault).__name__}: {fault})")
        return {}
    if len(text.encode("utf-8", "replace")) > MANIFEST_MAX_BYTES:
        refuse(f"{len(text)} characters", "readers take at most 1 MiB")
    if (manifest.get("name"), manifest.get("version")) != (texts["name"], texts["version"]):
        refuse(
            f"{show(manifest.get('name'))} {show(manifest.get('version'))}",
            f"it is published as {texts['name']} {texts['version']}",
        )
    if len(files) != len(entries) or not files:
        refuse(
            f"{len(entries)} entries, {len(files)} paths",
            "every file is listed once, and there is at least one",
        )
    return {
        path: (_digest(checks, at, path, entry, refuse), max(sizes[path], 0)) for path, entry in files.items()
    }


def _digest(checks: Checks[Any], at: str, path: str, entry: Mapping[str, Any], refuse: Any) -> str:
    """Digest of one file; refuses a path or a format that readers would not take."""
    if path.startswith("/") or ".." in path.split("/") or "\\" in path or not path.isprintable():
        refuse(show(path), "a path must stay inside the model's folder")
    if path.lower().endswith(PICKLES):
        refuse(show(path), "a pickle runs code when it is loaded; convert it to ONNX or safetensors")
    digest = str(entry.get("sha256", ""))
    if re.fullmatch(r"[0-9a-f]{64}", digest) is None:
        checks.add(
            code="KW134",
            key=f"{at}.manifest",
            got=show(entry.get("sha256")),
            allowed="64 lower-case hexadecimal digits",
            because=f"it is the address of {path}",
            fix="build it with keepwarm_runtime.models.manifest",
        )
        return ""
    return digest
