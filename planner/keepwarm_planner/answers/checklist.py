"""The seven questions of the source document, answered for one stack, each with its evidence.

An answer is taken from the settings of the stack and from facts that a build, a run or a trace gives. What neither
says is unanswered, and an unanswered question is a failure: the list is there to be complete before a deployment.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keepwarm import limits
from keepwarm_planner import cost
from keepwarm_planner.answers.breakeven import COLD_S, IDLE_S, Comparison, breakeven
from keepwarm_planner.answers.budget import estimate
from keepwarm_planner.answers.calibration import Calibration
from keepwarm_planner.answers.cold_path import ColdPath
from keepwarm_planner.cost import Architecture, FunctionSize
from keepwarm_planner.errors import PlannerError
from keepwarm_planner.prices import Prices

QUESTIONS = (
    "What is the full cold-start path and percentile budget?",
    "Can the artifact fit package and ephemeral limits?",
    "Where will weights be cached and verified?",
    "What downstream limits burst fan-out?",
    "Are invocations and side effects idempotent?",
    "Where is durable workflow state stored?",
    "Does scale-to-zero save enough to justify startup latency?",
)

CROWD = 8
"""Callers for each permit beyond which most of them would only wait for one."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known about the stack besides its settings. Everything may be missing."""

    bundle_bytes: Mapping[str, int] = field(default_factory=dict)
    """Unzipped size of each function's package with its layers."""
    model_bytes: int | None = None
    """All files of the models that one environment loads."""
    requests_per_s: float | None = None
    service_s: float | None = None
    calibration: Calibration | None = None
    """Measured phases (result events)."""
    summary: Mapping[str, Any] = field(default_factory=dict)
    """`summary` of a local run's report.json."""
    resources: tuple[str, ...] = ()
    """Types of deployed resources, where they are known."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One question. `ok` False: answered, and the answer is a problem."""

    number: int
    question: str
    answered: bool
    ok: bool
    text: str
    evidence: list[str]
    fix: str = ""

    def as_dict(self) -> dict[str, object]:
        """For JSON and the report."""
        return {
            "number": self.number,
            "question": self.question,
            "answered": self.answered,
            "ok": self.ok,
            "text": self.text,
            "evidence": self.evidence,
            "fix": self.fix,
        }


def _section(settings: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = settings.get(name)
    return value if isinstance(value, Mapping) else {}


def _missing(number: int, evidence: list[str], fix: str) -> Answer:
    return Answer(number, QUESTIONS[number - 1], False, False, "unanswered", evidence, fix)


def _given(number: int, ok: bool, text: str, evidence: list[str], fix: str = "") -> Answer:
    return Answer(number, QUESTIONS[number - 1], True, ok, text, evidence, "" if ok else fix)


def _cold_path(settings: Mapping[str, Any], facts: Facts) -> Answer:
    budget = _section(settings, "budgets_ms")
    if "total" not in budget:
        return _missing(1, [], "set keepwarm:budgets_ms (total and phases)")
    classify = _section(_section(settings, "functions"), "classify")
    model_mb = (facts.model_bytes or 20_000_000) / 1e6
    artifact_mb = max(facts.bundle_bytes.values(), default=60_000_000) / 1e6
    path = ColdPath(
        artifact_mb=artifact_mb,
        model_mb=model_mb,
        memory_mb=int(classify.get("memory_mb", limits.LAMBDA_MB_PER_VCPU)),
    )
    budgets = {phase: float(ms) / 1000.0 for phase, ms in budget.items()}
    report = estimate(path, budgets, calibration=facts.calibration)
    source = (
        f"{facts.calibration.starts} measured starts"
        if facts.calibration
        else "estimated from bytes and assumed phases"
    )
    over = [r.name for r in [*report.rows, report.total] if r.within is False]
    evidence = [
        f"11 phases, {source}: p50 {report.total.quantiles['p50']:.2f} s, p99 {report.total.quantiles['p99']:.2f} s",
        f"budget p99 total {budgets['total']:.2f} s, "
        + ", ".join(f"{k} {v:.2f}" for k, v in budgets.items() if k != "total")
        + " s",
    ]
    if facts.calibration and facts.calibration.holdout_error:
        worst = max(abs(x) for x in facts.calibration.holdout_error.values())
        evidence.append(f"estimate against unseen starts: off by at most {worst:.0%}")
    if over:
        return _given(
            1, False, f"over budget: {', '.join(over)}", evidence, "shorten the phase or raise its budget"
        )
    return _given(
        1, True, f"p99 {report.total.quantiles['p99']:.2f} s within {budgets['total']:.2f} s", evidence
    )


def _fits(settings: Mapping[str, Any], facts: Facts) -> Answer:
    if not facts.bundle_bytes:
        return _missing(
            2, [], "give the packages' sizes: --bundles DIR (built by `make build`) or --bundle NAME=BYTES"
        )
    functions = _section(settings, "functions")
    evidence, problems = [], []
    for name, size in sorted(facts.bundle_bytes.items()):
        evidence.append(
            f"{name}: {size / limits.MIB:.1f} MiB unzipped of {limits.LAMBDA_UNZIPPED_MAX_BYTES // limits.MIB} MiB"
        )
        if size > limits.LAMBDA_UNZIPPED_MAX_BYTES:
            problems.append(f"{name} is {size / limits.MIB:.0f} MiB")
    if facts.model_bytes is not None:
        room = int(_section(functions, "classify").get("ephemeral_mb", limits.LAMBDA_EPHEMERAL_DEFAULT_MB))
        evidence.append(f"models: {facts.model_bytes / limits.MIB:.1f} MiB in {room} MB of /tmp")
        # a new version is fetched while the old one is still pinned
        if 2 * facts.model_bytes > room * limits.MIB:
            problems.append(
                f"two versions of the models need {2 * facts.model_bytes / limits.MIB:.0f} MiB of /tmp"
            )
    if problems:
        return _given(
            2, False, "; ".join(problems), evidence, "raise ephemeral_mb, use an image, or drop dependencies"
        )
    return _given(2, True, "every package and the models fit", evidence)


def _weights(settings: Mapping[str, Any], facts: Facts) -> Answer:
    functions, gpu = _section(settings, "functions"), _section(settings, "service")
    classify = _section(functions, "classify")
    loaded = [str(user["loads_model"]) for user in (*functions.values(), gpu) if user.get("loads_model")]
    if not loaded:
        return _missing(
            3, [], "name the model that a function loads: keepwarm:functions.classify.loads_model"
        )
    room = classify.get("ephemeral_mb", limits.LAMBDA_EPHEMERAL_DEFAULT_MB)
    evidence = [
        f"registry: versioned S3 bucket, manifests immutable, loaded {', '.join(loaded)}",
        f"function cache: {room} MB of /tmp, one download per environment, chunk digests checked while streaming,"
        " corrupt chunks refused",
    ]
    if gpu:
        evidence.append(
            "GPU service: cache on the instance's NVMe, ready only after verification and warm-up"
        )
    return _given(3, True, "in the registry, verified into /tmp (functions) and NVMe (GPU)", evidence)


def _fan_out(settings: Mapping[str, Any], facts: Facts) -> Answer:
    queue, service = _section(settings, "queue"), _section(settings, "service")
    functions = _section(settings, "functions")
    most = queue.get("max_concurrency")
    if most is None:
        return _missing(4, [], "set keepwarm:queue.max_concurrency")
    classify = _section(functions, "classify").get("reserved_concurrency")
    ocr = _section(functions, "ocr").get("reserved_concurrency")
    evidence = [f"queue: at most {most} batches in the function at once"]
    evidence.append(
        f"classify: reserved concurrency {classify}"
        if classify is not None
        else "classify: unreserved (account's pool)"
    )
    problems = []
    if classify is not None and most > classify:
        problems.append(
            f"queue.max_concurrency {most} is above classify's reserved {classify}: the queue is throttled"
        )
    if service:
        tasks, each = service.get("max_tasks"), service.get("concurrency_per_task")
        if tasks is None or each is None:
            unset = "max_tasks" if tasks is None else "concurrency_per_task"
            return _missing(4, evidence, f"set keepwarm:service.{unset}")
        permits = limits.service_permits(int(tasks), int(each))
        evidence.append(
            f"service: at most {tasks} tasks x {each} requests each = {permits} permits; refused demand gets"
            " Retry-After"
        )
        evidence.append(f"ocr: reserved concurrency {ocr}" if ocr is not None else "ocr: unreserved")
        if ocr is not None and ocr > CROWD * permits:
            problems.append(f"ocr may run {ocr} at once against {permits} permits: most would only wait")
    if problems:
        return _given(4, False, "; ".join(problems), evidence, "lower the outer limit to the inner one")
    return _given(4, True, "queue, reserved concurrency and permits, each within the next", evidence)


def _idempotent(settings: Mapping[str, Any], facts: Facts) -> Answer:
    evidence = [
        "a redelivered event has the same execution name: started once",
        "publish writes through the effect ledger: fenced record, effect KEYED by the document's digest",
    ]
    summary = facts.summary
    ledger = any("dynamodb" in r.lower() for r in facts.resources)
    if not summary and not ledger:
        return _missing(5, evidence, "show it: --report report.json of `keepwarm local run`")
    if summary:
        effects, duplicates = summary.get("effects"), summary.get("duplicates", 0)
        evidence.append(
            f"last run: {effects} effects for {summary.get('succeeded')} documents, {duplicates} duplicates"
        )
        if (
            isinstance(effects, int)
            and isinstance(summary.get("succeeded"), int)
            and effects > summary["succeeded"]
        ):
            return _given(
                5, False, "more effects than documents", evidence, "find the effect outside the ledger"
            )
    return _given(5, True, "yes: execution names and the effect ledger", evidence)


def _durable(settings: Mapping[str, Any], facts: Facts) -> Answer:
    workflow = _section(settings, "workflow")
    if "deadline_s" not in workflow:
        return _missing(6, [], "set keepwarm:workflow.deadline_s")
    evidence = [
        f"Step Functions Standard: every state checkpointed for the execution, deadline {workflow['deadline_s']} s",
        "payloads over a few KB as claim checks in the results bucket; results by digest",
    ]
    return _given(6, True, "in Step Functions and S3, never in a process", evidence)


def _worth(settings: Mapping[str, Any], facts: Facts, prices: Prices) -> Answer:
    if facts.requests_per_s is None or facts.service_s is None:
        return _missing(
            7,
            [],
            "give the load: --requests-per-s and --service-s (the saving depends on the duty cycle)",
        )
    load = facts.requests_per_s * facts.service_s
    evidence = [
        f"{facts.requests_per_s:g} requests/s x {facts.service_s:g} s keep {load:.3g} environments busy"
    ]
    text = _pool_worth(settings, facts.service_s, load, prices, evidence)
    text += _service_worth(_section(settings, "service"), facts.service_s, prices, evidence)
    return _given(7, True, text, evidence)


def _pool_worth(
    settings: Mapping[str, Any], service_s: float, load: float, prices: Prices, evidence: list[str]
) -> str:
    """What the warm pool costs and from which duty cycle it pays; adds to the evidence."""
    classify = _section(_section(settings, "functions"), "classify")
    pool = _section(settings, "warm_pool")
    memory = int(classify.get("memory_mb", limits.LAMBDA_MB_PER_VCPU))
    architecture = cost.architecture(
        str(_section(settings, "runtime").get("architecture", Architecture.X86_64)),
        "keepwarm:runtime.architecture",
    )
    comparison = Comparison(
        "function",
        service_s=service_s,
        cold_s=COLD_S["function"],
        idle_s=IDLE_S["function"],
        memory_mb=memory,
        architecture=architecture,
    )
    crossing = breakeven(comparison, prices).crossing or 1.0
    if not pool:
        evidence.append(f"no pool: on-demand is cheaper below a duty cycle of {crossing:.0%}")
        return "the function scales to zero"
    size = int(pool.get("environments", 0))
    duty = min(load / size, 1.0) if size else 0.0
    idle = cost.warm_pool(prices, FunctionSize(memory, architecture), size)
    evidence.append(
        f"warm pool of {size} busy {duty:.1%}; above {crossing:.0%} it also costs less than on-demand"
    )
    evidence.append(f"keeping it costs {idle:.2f} USD a month before the first request ({prices.region})")
    return f"the pool buys latency for {idle:.2f} USD a month"


def _service_worth(service: Mapping[str, Any], service_s: float, prices: Prices, evidence: list[str]) -> str:
    """Whether the service pays when it sleeps; adds to the evidence. Empty where there is none, or no price."""
    if not service or service.get("capacity") == "fargate":
        return ""
    instance = next((t for t in service.get("instance_types", ()) if t in prices.ec2_hour), None)
    if instance is None:
        return ""
    note = breakeven(Comparison("service", service_s, instance_type=instance), prices).note
    least = int(service.get("min_tasks", 0))
    evidence.append(f"GPU ({instance}, sessions of an hour): {note}; min_tasks is {least}")
    return "; the GPU service sleeps" if least == 0 else f"; {least} GPU tasks always run"


def answer(settings: Mapping[str, Any], facts: Facts, prices: Prices) -> list[Answer]:
    """The seven answers for the settings of the `keepwarm` namespace (plain values) and the facts."""
    return [
        _cold_path(settings, facts),
        _fits(settings, facts),
        _weights(settings, facts),
        _fan_out(settings, facts),
        _idempotent(settings, facts),
        _durable(settings, facts),
        _worth(settings, facts, prices),
    ]


def as_text(answers: list[Answer]) -> str:
    """For a terminal without colors, a log or a pull request."""
    lines = []
    for a in answers:
        mark = "ok  " if a.ok else "FAIL" if a.answered else "OPEN"
        lines.append(f"{mark} {a.number}. {a.question}")
        lines.append(f"       {a.text}")
        lines += [f"       - {e}" for e in a.evidence]
        if a.fix:
            lines.append(f"       fix: {a.fix}")
    return "\n".join(lines)


def as_html(answers: list[Answer]) -> str:
    """A section for the report, with the classes `ok`, `fail` and `open` and no styles."""
    from html import escape

    items = []
    for a in answers:
        kind = "ok" if a.ok else "fail" if a.answered else "open"
        evidence = "".join(f"<li>{escape(e)}</li>" for e in a.evidence)
        fix = f'<p class="fix">{escape(a.fix)}</p>' if a.fix else ""
        items.append(
            f'<li class="{kind}"><h3>{escape(a.question)}</h3><p>{escape(a.text)}</p><ul>{evidence}</ul>{fix}</li>'
        )
    return f'<section id="checklist"><h2>Checklist</h2><ol>{"".join(items)}</ol></section>'


def facts_from_report(path: Path) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """Summary and resource types of a local run's report.json. Raises KW503 or KW513."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise PlannerError("KW503", str(path), e.strerror or str(e), "a readable report.json") from e
    except ValueError as e:
        raise PlannerError("KW513", str(path), str(e), "the report.json of `keepwarm local run`") from e
    summary = document.get("summary") if isinstance(document, dict) else None
    if not isinstance(summary, dict):
        raise PlannerError("KW513", str(path), "no summary", "the report.json of `keepwarm local run`")
    return summary, ()


def bundle_sizes(folder: Path) -> dict[str, int]:
    """Unzipped size per function of a folder of packages (a zip or a folder each). Raises KW503."""
    from zipfile import BadZipFile, ZipFile

    if not folder.is_dir():
        raise PlannerError("KW503", str(folder), "no folder", "a folder of built packages", fix="make build")
    sizes: dict[str, int] = {}
    for item in sorted(folder.iterdir()):
        if item.suffix == ".zip":
            try:
                with ZipFile(item) as archive:
                    sizes[item.stem] = sum(i.file_size for i in archive.infolist())
            except BadZipFile as e:
                raise PlannerError("KW503", str(item), str(e), "a zip archive") from e
        elif item.is_dir():
            sizes[item.name] = sum(f.stat().st_size for f in item.rglob("*") if f.is_file())
    if not sizes:
        raise PlannerError(
            "KW503", str(folder), "nothing built", "a zip or folder per function", fix="make build"
        )
    return sizes
