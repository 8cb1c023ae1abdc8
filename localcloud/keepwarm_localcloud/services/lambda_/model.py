"""What exists in Lambda: functions, their versions and aliases, layers, and names for them."""

import re
from dataclasses import dataclass, field
from typing import Any

from keepwarm_localcloud.services.lambda_.code import Package
from keepwarm_localcloud.services.lambda_.errors import invalid
from keepwarm_runtime.scaling import BurstRate

LATEST = "$LATEST"

_REFERENCE = re.compile(
    r"(?:arn:aws[a-zA-Z-]*:lambda:(?P<region>[a-z0-9-]+):)?(?:(?P<account>\d{12}):)?(?:function:)?"
    r"(?P<name>[a-zA-Z0-9-_]+)(?::(?P<qualifier>\$LATEST|[a-zA-Z0-9-_]+))?"
)


def split_reference(reference: str, qualifier: str | None = None) -> tuple[str, str | None]:
    """Give name and qualifier of a function name, partial ARN or ARN.

    Raises:
        AwsError: not a reference, or it names another qualifier than `qualifier`.
    """
    found = _REFERENCE.fullmatch(reference)
    if found is None:
        raise invalid(f"Invalid function reference: {reference}")
    inside = found["qualifier"]
    if inside and qualifier and inside != qualifier:
        raise invalid("The derived qualifier from the function name does not match the specified qualifier.")
    return found["name"], qualifier or inside


@dataclass(slots=True)
class Version:
    """One version's configuration and code; a published one never changes."""

    number: str
    config: dict[str, Any]
    """As the API shows it, without what depends on the version's name."""
    package: Package
    layers: tuple[Package, ...]
    variables: dict[str, str]
    revision_id: str
    modified: str
    description: str = ""

    @property
    def timeout_s(self) -> int:
        """Seconds an invocation may take."""
        return int(self.config["Timeout"])

    @property
    def memory_mb(self) -> int:
        """Memory limit in MB."""
        return int(self.config["MemorySize"])

    @property
    def snap_start(self) -> bool:
        """A published version that starts from a snapshot on AWS."""
        return self.number != LATEST and self.config["SnapStart"]["ApplyOn"] == "PublishedVersions"


@dataclass(slots=True)
class Alias:
    """A name for a version, with the share of other versions."""

    name: str
    version: str
    description: str
    revision_id: str
    weights: dict[str, float] = field(default_factory=dict)
    shifting_from: str = ""
    """Set by the platform while provisioned concurrency of a new version starts: the version that still serves."""

    def shown_weights(self) -> dict[str, float]:
        """AdditionalVersionWeights as the API shows them, the platform's own included."""
        return {self.shifting_from: 1.0} if self.shifting_from else self.weights


@dataclass(slots=True)
class Statement:
    """One statement of a resource policy."""

    sid: str
    document: dict[str, Any]


@dataclass(slots=True)
class Function:
    """One function with everything that hangs on its name."""

    name: str
    arn: str
    versions: dict[str, Version]
    aliases: dict[str, Alias] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    policies: dict[str, dict[str, Statement]] = field(default_factory=dict)
    """Qualifier ('' = none) -> statement id -> statement."""
    event_configs: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Qualifier ($LATEST = none) -> event invoke config."""
    runtime_management: dict[str, dict[str, Any]] = field(default_factory=dict)
    reserved: int | None = None
    recursion: str = "Terminate"
    next_version: int = 1
    updating: bool = False
    burst: BurstRate = field(default_factory=BurstRate)

    @property
    def latest(self) -> Version:
        """The unpublished version."""
        return self.versions[LATEST]

    def qualified_arn(self, qualifier: str | None) -> str:
        """ARN with an alias or version in it."""
        return f"{self.arn}:{qualifier}" if qualifier else self.arn


@dataclass(slots=True)
class LayerVersion:
    """One immutable version of a layer."""

    name: str
    number: int
    arn: str
    package: Package
    created: str
    description: str
    license_info: str
    runtimes: list[str]
    architectures: list[str]
