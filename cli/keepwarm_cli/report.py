"""Builds report.json from what the stack said: results, journal, queue and bucket; nothing is assumed."""

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version as distribution_version
from pathlib import Path
from typing import Any

from keepwarm_cli.accuracy import MAX_CHARACTERS, compare
from keepwarm_cli.cost import deployed, estimate
from keepwarm_cli.errors import CliError
from keepwarm_cli.follow import Followed, Follower
from keepwarm_cli.report_html import render
from keepwarm_planner.errors import PlannerError
from keepwarm_runtime.errors import BadDocument

SCHEMA = 1
"""Raised when a reader of report.json would have to change."""
_FAULTS: tuple[type[BadDocument], ...] = (BadDocument, *BadDocument.__subclasses__())
_DOCUMENT_FAULTS = {fault.__name__: fault.code for fault in _FAULTS}


def build_report(
    follower: Follower,
    config: Mapping[str, str],
    options: Any,
    models: list[dict[str, Any]],
    outputs: Mapping[str, Any],
    *,
    deploy_s: float,
    resources: int,
    started_s: float,
) -> dict[str, Any]:
    """Gather the report of one run; `summary.leftovers` is filled in after the tear-down."""
    documents = [_document(d, options.documents) for d in follower.documents.values()]
    results = [e["event"] for e in follower.entries if e["kind"] == "result"]
    invocations = [e for e in follower.entries if e["kind"] == "invocation"]
    answered = [e for e in invocations if e.get("outcome") in {"ok", "success"}]
    region = config.get("aws:region", "us-east-1")
    return {
        "schema": SCHEMA,
        "run": {
            "stack": options.stack,
            "started_at": datetime.fromtimestamp(started_s, UTC).isoformat(timespec="seconds"),
            "version": distribution_version("keepwarm-cli"),
        },
        "documents": documents,
        "summary": {
            "documents": len(documents),
            "succeeded": sum(d["outcome"] == "succeeded" for d in documents),
            "failed": sum(d["outcome"] != "succeeded" for d in documents),
            "cold_starts": sum(bool(e.get("cold")) for e in invocations),
            "warm_starts": sum(not e.get("cold") and e.get("pool") != "provisioned" for e in invocations),
            "provisioned_hits": sum(e.get("pool") == "provisioned" for e in invocations),
            "spillover": sum(bool(e.get("spillover")) for e in invocations),
            "effects": follower.effects,
            "duplicates": sum(d["duplicates_prevented"] for d in documents),
            "repeated_effects": follower.repeated_effects,
            "deploy_s": round(deploy_s, 3),
            "first_invoke_s": round(min((e["at_s"] for e in answered), default=started_s) - started_s, 3),
            "documents_per_s": _rate(follower.documents.values()),
            "resources": resources,
            "leftovers": 0,
        },
        "models": models,
        "starts": _starts(results),
        "environments": _environments(follower.entries),
        "concurrency": _concurrency(follower.entries),
        "invocations": [
            {
                k: e.get(k)
                for k in (
                    "function",
                    "pool",
                    "cold",
                    "spillover",
                    "outcome",
                    "duration_ms",
                    "init_ms",
                    "at_s",
                )
            }
            for e in invocations
        ],
        "journal": follower.entries,
        "outputs": dict(outputs),
        "cost": _cost(region, invocations, follower, outputs),
    }


def _cost(
    region: str,
    invocations: list[dict[str, Any]],
    follower: Follower,
    outputs: Mapping[str, Any],
) -> dict[str, Any] | None:
    """Cost of the run; None where the price file does not know the region, which is no reason to lose a report."""
    try:
        functions = deployed(follower.client("lambda"), outputs["functions"].values())
        return estimate(region, invocations, follower, functions)
    except PlannerError:
        return None


def redraw(source: Path, out: Path | None) -> Path:
    """Write the page of a `report.json` again; returns its path.

    Raises:
        CliError: KW661, the file is missing, is no report, or is of another schema.
    """
    try:
        report = json.loads(source.read_text(encoding="utf-8"))
        schema = report["schema"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        said = " ".join(str(error).split())
        raise CliError(
            "KW661", "report", got=f"{source}, which is no report ({said})", allowed="a report.json of a run"
        ) from None
    if schema != SCHEMA:
        raise CliError(
            "KW661",
            "report",
            got=f"schema {schema} in {source}",
            allowed=f"schema {SCHEMA}",
            fix="run it again",
        )
    page = out or source.with_name("report.html")
    page.write_text(render(report), encoding="utf-8")
    return page


def _document(document: Followed, folder: Path) -> dict[str, Any]:
    first = document.first("classify") or {}
    reason = document.reason
    # The reason carries the runtime's own code; Step Functions knows only the class name of the error.
    coded = re.search(r"\bKW\d{3}\b", reason or "")
    code = coded.group(0) if coded else _DOCUMENT_FAULTS.get(document.code or "", document.code)
    return {
        "name": document.name,
        "sha256": document.sha256,
        "size_bytes": document.size_bytes,
        "outcome": document.outcome,
        "code": code,
        "reason": reason,
        "about_the_document": code in _DOCUMENT_FAULTS.values(),
        "label": document.label,
        "text_chars": document.text_chars,
        "character_accuracy": _accuracy(folder / document.name, document.text),
        "cold": first.get("cold"),
        "pool": first.get("pool"),
        "phases_ms": {k: round(v, 2) for k, v in (first.get("phases") or {}).items() if v is not None},
        "duration_ms": None
        if document.ended_s is None
        else round((document.ended_s - document.uploaded_s) * 1000, 1),
        "effects": document.effects,
        "duplicates_prevented": document.duplicates_prevented,
        "uploads": document.uploads,
        "steps": [
            {
                "function": e.get("function_role"),
                "outcome": e.get("outcome"),
                "cold": e.get("cold"),
                "pool": e.get("pool"),
                "duration_ms": e.get("duration_ms"),
                "attempt": e.get("attempt"),
            }
            for e in document.events
        ],
    }


def _accuracy(path: Path, text: str | None) -> float | None:
    """Character accuracy against the truth beside the document; None where there is no truth or no text."""
    truth = path.with_name(path.name + ".truth.txt")
    if text is None or not truth.is_file():
        return None
    return round(
        compare(text[:MAX_CHARACTERS], truth.read_text(encoding="utf-8")[:MAX_CHARACTERS]).accuracy, 4
    )


def _rate(documents: Iterable[Followed]) -> float | None:
    ended = [(d.uploaded_s, d.ended_s) for d in documents if d.ended_s is not None]
    if not ended:
        return None
    span_s = max(e for _, e in ended) - min(u for u, _ in ended)
    return round(len(ended) / span_s, 3) if span_s > 0 else None


def _starts(results: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Phases of every start in the events: an environment's with its first event, a task's with the model it serves."""
    starts, tasks = [], set()
    for event in results:
        phases = event.get("phases")
        if event.get("pool") == "resident":
            phases = (event.get("model") or {}).get("phases")
            told = tuple(sorted((phases or {}).items(), key=str))
            if told in tasks:
                continue
            tasks.add(told)
        known = {k: round(v, 2) for k, v in (phases or {}).items() if v}
        if known:
            role = event.get("function_role") or event.get("function")
            starts.append({"function": role, "pool": event.get("pool"), "phases_ms": known})
    return starts


_SPAN_STATES = {"starting": "init", "init": "init", "busy": "busy", "idle": "idle", "frozen": "idle"}


def _environments(entries: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Spans per execution environment, from its state changes."""
    entries = list(entries)
    last_s = max((e["at_s"] for e in entries), default=0.0)
    changes: dict[str, list[Mapping[str, Any]]] = {}
    for entry in entries:
        if entry["kind"] == "environment":
            changes.setdefault(str(entry["environment"]), []).append(entry)
    shown = []
    for states in changes.values():
        spans: list[dict[str, Any]] = []
        for state, following in zip(states, [*states[1:], None], strict=True):
            name = _SPAN_STATES.get(state["state"])
            if name is None:
                continue
            until_s = following["at_s"] if following else last_s
            if spans and spans[-1]["state"] == name:
                spans[-1]["to_s"] = until_s
            else:
                spans.append({"state": name, "from_s": state["at_s"], "to_s": until_s})
        label = f"{_short(str(states[0]['function']))} · {states[0].get('pool', '')}"
        shown.append({"label": label, "function": states[0]["function"], "spans": spans})
    return shown


def _short(function: str) -> str:
    """Physical name without the suffix that Pulumi adds."""
    return re.sub(r"-[0-9a-f]{7}$", "", function)


def _concurrency(entries: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Active invocations over all functions, a point per change."""
    active: dict[str, int] = {}
    points = []
    for entry in entries:
        if entry["kind"] == "concurrency":
            active[str(entry["function"])] = int(entry["active"])
            points.append({"at_s": entry["at_s"], "active": sum(active.values())})
    return points
