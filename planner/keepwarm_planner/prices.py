"""Prices from a dated data file: per region, with the pages they come from, overridable, no network.

The file is `data/prices.json`. An override file is JSON of the same shape and may hold any part of it; its
own `dated` is required, so that a stale figure is not taken for a shipped one.

Its `checks` say which prices were read against which source. A price that no check covers is unchecked: it is used,
but every answer that uses it names it.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from math import isfinite
from pathlib import Path

from keepwarm_planner.errors import PlannerError

DATA = Path(__file__).parent / "data" / "prices.json"
DEFAULT_REGION = "us-east-1"


@dataclass(frozen=True, slots=True)
class Prices:
    """List prices of one region in USD, first tier, without free tier. None: not known, see `needed`."""

    region: str
    dated: str
    """Day the file was last checked, ISO 8601."""
    sources: Mapping[str, str]
    """Price page per service."""
    notes: tuple[str, ...]
    lambda_gb_s_x86: float
    lambda_gb_s_arm: float
    lambda_request: float
    provisioned_gb_s_x86: float
    """Keeping a GB initialized for a second."""
    provisioned_gb_s_arm: float
    provisioned_duration_gb_s_x86: float
    """Running on a provisioned environment, per GB and second, on top of keeping it."""
    provisioned_duration_gb_s_arm: float
    ephemeral_gb_s: float
    """Per GB of /tmp above 512 MB and second of duration."""
    snapstart_cache_gb_s: float | None
    snapstart_restore_gb: float | None
    managed_instances_fee: float
    """Fee of Lambda managed instances over the EC2 price, as a fraction."""
    sfn_transition: float
    sqs_request: float
    s3_put: float
    s3_get: float
    s3_gb_month: float
    ddb_write: float
    """Per write request unit, on demand."""
    ddb_read: float
    logs_gb: float
    fargate_vcpu_hour: float
    fargate_gb_hour: float
    ec2_hour: Mapping[str, float] = field(default_factory=dict)
    """Per hour of an instance, by type."""
    checks: Mapping[str, str] = field(default_factory=dict)
    """What a price, or the price of an instance type, was checked against and when; absent: unchecked."""

    def value(self, name: str) -> float | None:
        """A price by its name or by an instance type; None: not known."""
        if name in self.ec2_hour:
            return self.ec2_hour[name]
        found = getattr(self, name)
        return None if found is None else float(found)

    def page(self, name: str) -> str:
        """Price page that a price is from."""
        service = next((s for prefix, s in _SERVICES if name.startswith(prefix)), "ec2")
        return self.sources.get(service, "")

    def unchecked(self, names: Iterable[str] | None = None) -> list[str]:
        """Those of `names` (of all known prices) that were not checked against any source."""
        known = [n for n in sorted(_NUMBERS) if getattr(self, n) is not None] + sorted(self.ec2_hour)
        asked = known if names is None else [n for n in names if n in known]
        return [n for n in asked if n not in self.checks]

    def stamp(self, names: Iterable[str] | None = None) -> str:
        """Region and date, and which of the prices that were used are unchecked: for the foot of an answer."""
        open_ = self.unchecked(names)
        doubt = f", unchecked: {', '.join(open_)}" if open_ else ""
        return f"prices {self.region} of {self.dated}{doubt}"

    def instance_hour(self, instance_type: str) -> float:
        """Price per hour of an EC2 instance type; refused when the file does not have it."""
        if instance_type not in self.ec2_hour:
            raise PlannerError(
                "KW510",
                f"prices of {self.region}",
                repr(instance_type),
                ", ".join(sorted(self.ec2_hour)),
                fix="name another type or add its price with --prices",
            )
        return self.ec2_hour[instance_type]

    def needed(self, name: str) -> float:
        """A price that may be missing; refused when it is."""
        value = getattr(self, name)
        if value is None:
            raise PlannerError(
                "KW510",
                f"prices of {self.region}",
                f"no {name}",
                "a number",
                because="the shipped file does not have it for this region",
                fix="add it with --prices",
            )
        return float(value)


_NUMBERS = {f.name for f in fields(Prices)} - {"region", "dated", "sources", "notes", "ec2_hour", "checks"}
_SERVICES = (
    ("lambda", "lambda"),
    ("provisioned", "lambda"),
    ("ephemeral", "lambda"),
    ("snapstart", "lambda"),
    ("managed", "lambda"),
    ("sfn", "step_functions"),
    ("sqs", "sqs"),
    ("s3", "s3"),
    ("ddb", "dynamodb"),
    ("logs", "cloudwatch"),
    ("fargate", "fargate"),
)
_MAY_MISS = {"snapstart_cache_gb_s", "snapstart_restore_gb"}


def _read(path: Path) -> dict[str, object]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise PlannerError("KW503", str(path), e.strerror or str(e), "a readable price file") from e
    except UnicodeDecodeError as e:
        raise PlannerError("KW511", str(path), str(e), "UTF-8 text") from e
    except json.JSONDecodeError as e:
        raise PlannerError("KW511", str(path), e.msg, "JSON", line=e.lineno) from e
    if not isinstance(document, dict):
        raise PlannerError("KW511", str(path), type(document).__name__, "a JSON object")
    return document


def _object(value: object, who: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise PlannerError("KW511", who, repr(value)[:40], "a JSON object")
    return value


def _price(value: object, who: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or value < 0:
        raise PlannerError("KW511", who, repr(value)[:40], "a finite number of USD, 0 or more")
    return float(value)


def _checks(document: Mapping[str, object], region: str) -> dict[str, str]:
    """Source by price name, for one region of the shipped file."""
    found: dict[str, str] = {}
    entries = document["checks"]
    for entry in entries if isinstance(entries, list) else []:
        check = _object(entry, f"{DATA} checks")
        names = _object(check["covers"], f"{DATA} covers").get(region, [])
        for name in names if isinstance(names, list) else []:
            found[str(name)] = f"{check['source']}, read {check['seen']}"
    return found


def regions() -> list[str]:
    """Regions of the shipped file."""
    return sorted(_object(_read(DATA)["regions"], str(DATA)))


@dataclass(slots=True)
class _Table:
    """Prices of a region while they are put together."""

    values: dict[str, object]
    dated: str
    sources: dict[str, str]
    checks: dict[str, str]
    notes: tuple[str, ...]
    regions: set[str]


def load(region: str = DEFAULT_REGION, overrides: Path | None = None) -> Prices:
    """Prices of a region.

    Raises:
        PlannerError: KW510 for a region that neither file has, KW511 for a malformed file, KW503 for an
            unreadable one.
    """
    table = _shipped(region)
    if overrides is not None:
        _override(table, region, overrides)
    if not table.values:
        raise PlannerError(
            "KW510",
            "--region",
            repr(region),
            ", ".join(sorted(table.regions)),
            fix="choose one of them or give the region's prices with --prices",
        )
    return _checked(table, region)


def _shipped(region: str) -> _Table:
    base = _read(DATA)
    known = _object(base["regions"], str(DATA))
    notes = base["notes"]
    return _Table(
        values=dict(_object(known.get(region, {}), region)),
        dated=str(base["dated"]),
        sources=_texts(base["sources"], str(DATA)),
        checks=_checks(base, region),
        notes=tuple(str(n) for n in notes) if isinstance(notes, list) else (),
        regions=set(known),
    )


def _texts(value: object, who: str) -> dict[str, str]:
    return {str(k): str(v) for k, v in _object(value, who).items()}


def _override(table: _Table, region: str, path: Path) -> None:
    """Lays a file of overrides over the shipped prices."""
    own = _read(path)
    unknown = set(own) - {"schema", "dated", "currency", "sources", "notes", "regions"}
    if unknown:
        raise PlannerError(
            "KW511", str(path), f"key {min(unknown)!r}", "dated, currency, sources, notes, regions"
        )
    if "dated" not in own:
        raise PlannerError("KW511", str(path), "no 'dated'", "the day the prices were read, like 2026-09-20")
    if own.get("currency", "USD") != "USD":
        raise PlannerError("KW511", str(path), f"currency {own['currency']!r}", "USD")
    regions = _object(own.get("regions", {}), f"{path} regions")
    table.regions |= set(regions)
    if region not in regions:
        return
    changes = _object(regions[region], f"{path} {region}")
    hours = _object(changes.get("ec2_hour", {}), region)
    all_hours = {**_object(table.values.get("ec2_hour", {}), region), **hours}
    table.values |= {**changes, "ec2_hour": all_hours}
    table.dated = f"{table.dated}, overridden {own['dated']}"
    given = {*changes, *hours} - {"ec2_hour"}
    table.checks |= dict.fromkeys(given, f"given in {path.name} of {own['dated']}")
    table.sources |= _texts(own.get("sources", {}), str(path))


def _checked(table: _Table, region: str) -> Prices:
    who, values = f"prices of {region}", table.values
    unknown = set(values) - _NUMBERS - {"ec2_hour"}
    if unknown:
        raise PlannerError("KW511", who, f"key {min(unknown)!r}", "the keys of the shipped file")
    missing = _NUMBERS - set(values)
    if missing:
        raise PlannerError("KW511", who, f"no {min(missing)!r}", "every key of the shipped file")
    numbers: dict[str, float | None] = {
        name: None if values[name] is None and name in _MAY_MISS else _price(values[name], f"{who} {name}")
        for name in _NUMBERS
    }
    hours = _object(values.get("ec2_hour", {}), region)
    return Prices(
        region=region,
        dated=table.dated,
        sources=table.sources,
        notes=table.notes,
        ec2_hour={name: _price(value, f"{who} {name}") for name, value in hours.items()},
        checks=table.checks,
        **numbers,  # type: ignore[arg-type]
    )
