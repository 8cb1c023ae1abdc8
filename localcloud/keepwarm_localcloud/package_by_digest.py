"""A package that a cloud has already, named in a Lambda request instead of sent: what either end must agree on."""

from dataclasses import dataclass
from typing import Final

DIGEST_HEADER: Final = "X-Keepwarm-Code-Sha256"
"""Base64 SHA-256 of the package that an empty one in the body stands for; AWS has no such header."""
UNKNOWN_PACKAGE: Final = "UnknownPackageException"
"""Error code of a cloud that has no package with that digest."""


@dataclass(frozen=True, slots=True)
class PackageByDigest:
    """Stands where the bytes of a `ZipFile` do."""

    sha256: str
    """Base64."""
