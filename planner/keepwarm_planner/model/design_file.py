"""Design files: several configurations of a function, and what stands before and behind it, in YAML.

workload: {service: "lognormal:mean=1,cv=0.5", cold: "lognormal:p50=1.5,p99=4", latency_target_s: 3}
designs:
  - name: on demand
  - name: office hours
    schedule: {"08:00": 20, "19:00": 5}
  - name: behind a queue
    max_concurrency: 40
    queue: {batch_size: 1, max_concurrency: 40, visibility_s: 180}
    downstream: {service: "exp:0.5", concurrency_per_task: 4, max_tasks: 6}
    retry: {attempts: 5}
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from difflib import get_close_matches
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar

from keepwarm_planner import cost, yaml_file
from keepwarm_planner.cost import Architecture
from keepwarm_planner.errors import PlannerError
from keepwarm_planner.model.design import Design, Downstream, Queue, Retry, System, Tracking
from keepwarm_planner.traffic import law as laws
from keepwarm_planner.traffic.law import Law

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DesignFile:
    """What a file says. `service`, `cold` and `latency_target_s` are None where it does not."""

    systems: list[System]
    service: Law | None
    cold: Law | None
    latency_target_s: float | None


def is_plain(system: System) -> bool:
    """Whether the core model covers it: no queue of messages, no downstream."""
    return system.queue is None and system.downstream is None


def build(
    kind: type[T], values: object, who: str, special: Mapping[str, Callable[[object, str], Any]] | None = None
) -> T:
    """A frozen dataclass from plain values: unknown keys, missing ones and wrong types are KW513."""
    special = special or {}
    if not isinstance(values, Mapping):
        raise PlannerError("KW513", who, repr(values)[:40], "a mapping")
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    out: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            near = get_close_matches(str(key), known, n=1)
            raise PlannerError(
                "KW513",
                who,
                f"key {key!r}",
                ", ".join(known),
                fix=f"did you mean {near[0]!r}?" if near else "remove it",
            )
        where = f"{who} {key}"
        if key in special:
            out[key] = special[key](value, where)
            continue
        default = known[key].default
        if isinstance(default, bool):
            if not isinstance(value, bool):
                raise PlannerError("KW513", where, repr(value), "true or false")
            out[key] = value
        elif isinstance(default, str) or key == "name":
            out[key] = str(value)
        else:
            if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
                raise PlannerError("KW513", where, repr(value), "a finite number")
            whole = isinstance(default, int) or key in _WHOLE
            if whole and value != int(value):
                raise PlannerError("KW513", where, value, "a whole number")
            if value < 0 and key != "queue_limit":
                raise PlannerError("KW513", where, value, "0 or more")
            out[key] = int(value) if whole else float(value)
    missing = [
        f.name
        for f in known.values()
        if f.name not in out and f.default is MISSING and f.default_factory is MISSING
    ]
    if missing:
        raise PlannerError("KW513", who, f"no {missing[0]!r}", "it is required")
    return kind(**out)


_WHOLE = {"environments", "max_environments", "max_concurrency", "queue_per_task"}


def _law(value: object, who: str) -> Law:
    return laws.parse(str(value), who)


def _time_of_day(value: object, who: str) -> tuple[tuple[float, int], ...]:
    if not isinstance(value, Mapping):
        raise PlannerError("KW513", who, repr(value)[:40], 'a mapping like {"08:00": 20, "19:00": 5}')
    out = []
    for key, size in value.items():
        # YAML 1.1 reads an unquoted 08:30 as the number 510
        text = f"{key // 60:02d}:{key % 60:02d}" if isinstance(key, int) else str(key)
        hour, _, minute = text.partition(":")
        if not (hour.isdigit() and minute.isdigit() and int(hour) < 24 and int(minute) < 60):
            raise PlannerError("KW513", who, repr(key), "a time of day HH:MM")
        if isinstance(size, bool) or not isinstance(size, int) or size < 0:
            raise PlannerError("KW513", f"{who} {text}", repr(size), "a whole number, 0 or more")
        out.append((int(hour) * 3600.0 + int(minute) * 60.0, size))
    return tuple(sorted(out))


def _architecture(value: object, who: str) -> Architecture:
    return cost.architecture(str(value), who)


def _tracking(value: object, who: str) -> Tracking:
    return build(Tracking, value, who)


def system_from(values: object, who: str) -> System:
    """A design with its surroundings."""
    if not isinstance(values, Mapping):
        raise PlannerError("KW513", who, repr(values)[:40], "a mapping with a name")
    own = dict(values)
    queue = own.pop("queue", None)
    downstream = own.pop("downstream", None)
    retry = own.pop("retry", None)
    deadline = own.pop("deadline_s", None)
    design = build(
        Design, own, who, {"schedule": _time_of_day, "tracking": _tracking, "architecture": _architecture}
    )
    extra: dict[str, Any] = {}
    if queue is not None:
        extra["queue"] = build(Queue, queue, f"{who} queue")
    if downstream is not None:
        extra["downstream"] = build(
            Downstream, downstream, f"{who} downstream", {"service": _law, "start": _law}
        )
        service = extra["downstream"]
        if service.min_tasks > service.max_tasks or service.max_tasks < 1 or service.concurrency_per_task < 1:
            raise PlannerError(
                "KW513",
                f"{who} downstream",
                f"min_tasks {service.min_tasks}, max_tasks {service.max_tasks}, concurrency_per_task"
                f" {service.concurrency_per_task}",
                "min_tasks at most max_tasks, both others at least 1",
            )
    if retry is not None:
        extra["retry"] = build(Retry, retry, f"{who} retry")
    if deadline is not None:
        if isinstance(deadline, bool) or not isinstance(deadline, int | float) or deadline <= 0:
            raise PlannerError("KW513", f"{who} deadline_s", repr(deadline), "seconds above 0")
        extra["deadline_s"] = float(deadline)
    if extra.get("queue") and extra["queue"].batch_size < 1:
        raise PlannerError("KW513", f"{who} queue batch_size", extra["queue"].batch_size, "1 or more")
    return System(design, **extra)


def load(path: Path) -> DesignFile:
    """Reads a design file. Raises KW503 or KW513 with the line or the key at fault."""
    document = yaml_file.read(path)
    if not isinstance(document, dict):
        raise PlannerError("KW513", str(path), type(document).__name__, "a mapping with `designs`")
    unknown = set(document) - {"workload", "designs"}
    if unknown:
        raise PlannerError("KW513", str(path), f"key {min(map(str, unknown))!r}", "workload, designs")
    entries = document.get("designs")
    if not isinstance(entries, list) or not entries:
        raise PlannerError("KW513", str(path), "no designs", "a list with at least one")
    systems = [system_from(entry, f"{path.name} design {i + 1}") for i, entry in enumerate(entries)]
    names = [s.design.name for s in systems]
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice is not None:
        raise PlannerError("KW513", path.name, f"two designs named {twice!r}", "a name each")
    workload = document.get("workload") or {}
    if not isinstance(workload, dict):
        raise PlannerError("KW513", f"{path.name} workload", repr(workload)[:40], "a mapping")
    unknown = set(workload) - {"service", "cold", "latency_target_s"}
    if unknown:
        raise PlannerError(
            "KW513",
            f"{path.name} workload",
            f"key {min(map(str, unknown))!r}",
            "service, cold, latency_target_s",
        )
    target = workload.get("latency_target_s")
    if target is not None and (
        isinstance(target, bool) or not isinstance(target, int | float) or target <= 0
    ):
        raise PlannerError("KW513", f"{path.name} workload latency_target_s", repr(target), "seconds above 0")
    return DesignFile(
        systems,
        _law(workload["service"], f"{path.name} workload service") if "service" in workload else None,
        _law(workload["cold"], f"{path.name} workload cold") if "cold" in workload else None,
        float(target) if target is not None else None,
    )


def pareto(points: Mapping[str, tuple[float, ...]]) -> list[str]:
    """Names that no other point beats: every figure at most as large, one smaller. Smaller is better throughout."""
    front = []
    for name, mine in points.items():
        beaten = any(
            all(o <= m for o, m in zip(other, mine, strict=True)) and other != mine
            for other_name, other in points.items()
            if other_name != name
        )
        if not beaten:
            front.append(name)
    return front
