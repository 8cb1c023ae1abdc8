"""Sizes against the limits of Lambda: checked before anything is deployed, and as a table."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypedDict

from keepwarm_build.errors import BundleError

if TYPE_CHECKING:
    from keepwarm_build.bundles import Bundle
    from keepwarm_build.zips import Archive

# Copies of keepwarm.limits, since this package stands alone; a test holds them equal.
UNZIPPED_MAX_BYTES = 262_144_000
"""Code and layers of one function, unzipped: 250 MB.
https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""
UPLOAD_MAX_BYTES = 52_428_800
"""A zip in the API call: 50 MB. Same page."""

_MB = 1_048_576


class Row(TypedDict):
    """Sizes of one function."""

    zip_bytes: int
    layer_zip_bytes: int
    unzipped_bytes: int
    of_limit: float
    """Share of the 250 MB, 0..1."""
    sha256: str
    bytecode: bool
    layers: dict[str, str]
    """Name -> SHA-256."""
    path: str


def check_size(bundle: "Bundle", *, unzipped_max: int = UNZIPPED_MAX_BYTES) -> None:
    """Refuse a function that Lambda would refuse.

    Raises:
        BundleError: KW191, naming the parts and the largest packages in them.
    """
    code = bundle.unzipped_bytes - sum(layer.unzipped_bytes for layer in bundle.layers)
    if bundle.unzipped_bytes > unzipped_max:
        parts = [f"code {code:,}", *(_part(layer) for layer in bundle.layers)]
        raise BundleError(
            "KW191",
            f"function '{bundle.name}'",
            f"{bundle.unzipped_bytes:,} bytes unzipped ({', '.join(parts)})",
            allowed=f"{unzipped_max:,} bytes with all layers",
            because="Lambda refuses more",
            fix="drop a dependency, or deploy the function as a container image (10 GB)",
        )
    for name, size in ((bundle.name, bundle.size_bytes), *((x.name, x.size_bytes) for x in bundle.layers)):
        if size > UPLOAD_MAX_BYTES:
            raise BundleError(
                "KW191",
                f"zip '{name}'",
                f"{size:,} bytes",
                allowed=f"{UPLOAD_MAX_BYTES:,} bytes in the API call",
                because="a larger zip can't be sent directly",
                fix="drop a dependency, split the layer, or upload the zip to S3 and name it there",
            )


def _part(layer: "Archive") -> str:
    largest = ", ".join(f"{name} {size:,}" for name, size in layer.largest)
    return f"{layer.name} {layer.unzipped_bytes:,}" + (f" with {largest}" if largest else "")


def rows(bundles: "Mapping[str, Bundle]") -> dict[str, Row]:
    """Sizes of functions as plain data."""
    return {
        name: {
            "zip_bytes": bundle.size_bytes,
            "layer_zip_bytes": sum(layer.size_bytes for layer in bundle.layers),
            "unzipped_bytes": bundle.unzipped_bytes,
            "of_limit": round(bundle.unzipped_bytes / UNZIPPED_MAX_BYTES, 4),
            "sha256": bundle.sha256,
            "bytecode": bundle.bytecode,
            "layers": {layer.name: layer.sha256 for layer in bundle.layers},
            "path": str(bundle.path),
        }
        for name, bundle in bundles.items()
    }


def table(functions: Mapping[str, Row]) -> list[str]:
    """The sizes for people, as lines."""
    limit = UNZIPPED_MAX_BYTES // _MB
    lines = [f"{'function':<12}{'code zip':>9} {'layer zip':>9} {'unzipped':>9}  of {limit} MB   (MB)"]
    for name, row in functions.items():
        sizes = (row["zip_bytes"], row["layer_zip_bytes"], row["unzipped_bytes"])
        missing = "" if row["bytecode"] else "  without bytecode: no interpreter of that version here"
        numbers = " ".join(f"{size / _MB:>9.2f}" for size in sizes)
        lines.append(f"{name:<12}{numbers}  {row['of_limit']:>8.1%}{missing}")
    return lines
