"""Renders report.json as one self-contained HTML page: no script, no network, readable in light and dark.

Everything drawn comes from the report itself, so `keepwarm report` can draw an old run again.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from keepwarm_cli.errors import without_code
from keepwarm_runtime.phases import PHASES

# In the order of the phases, so that a bar reads left to right as a start happens.
_PHASE_COLORS = dict(
    zip(
        PHASES,
        (
            "#94a3b8",
            "#64748b",
            "#a16207",
            "#4f6d9c",
            "#7aa6d8",
            "#2f9e8f",
            "#8bbf5a",
            "#c2a83e",
            "#d9803f",
            "#a06cb4",
            "#c9577b",
        ),
        strict=True,
    )
)
_STATE_COLORS = {"init": "#d9803f", "busy": "#2f7fd1", "idle": "#b8c4d3"}

_STYLE = """
:root{color-scheme:light dark;--bg:#fbfbfa;--fg:#1c2430;--muted:#5d6878;--line:#dfe3e8;--card:#fff;--bad:#b4232c;--good:#1c7c54}
@media (prefers-color-scheme:dark){:root{--bg:#14181e;--fg:#e4e8ee;--muted:#98a3b3;--line:#2b323c;--card:#1b2028;--bad:#f0757c;--good:#5cc99a}}
*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif}
main{max-width:1080px;margin:0 auto;padding:32px 20px 64px}h1{font-size:26px;margin:0 0 4px}h2{font-size:18px;margin:40px 0 8px}
p{margin:4px 0 12px;color:var(--muted);max-width:75ch}.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(132px,1fr));gap:10px;margin:20px 0}
.tile{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:12px 14px}.tile b{display:block;font-size:22px;font-variant-numeric:tabular-nums}
.tile span{color:var(--muted);font-size:13px}.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:14px}
th{text-align:left;font-weight:600;color:var(--muted);border-bottom:1px solid var(--line);padding:6px 10px 6px 0;white-space:nowrap}
td{border-bottom:1px solid var(--line);padding:6px 10px 6px 0;vertical-align:top}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
.qa td{max-width:60ch}.qa ul{margin:4px 0;padding-left:18px;color:var(--muted);font-size:13px}
.bad{color:var(--bad);font-weight:600}.good{color:var(--good)}svg{display:block;max-width:100%}svg text{fill:var(--fg);font:12px system-ui,sans-serif}
svg .m{fill:var(--muted)}svg .g{stroke:var(--line)}.key{display:flex;flex-wrap:wrap;gap:4px 14px;font-size:13px;color:var(--muted);margin:4px 0 8px}
.key i{display:inline-block;width:11px;height:11px;border-radius:2px;margin-right:5px;vertical-align:-1px}code{font-size:13px}
"""


def render(report: Mapping[str, Any]) -> str:
    """Return the page for one `report.json`."""
    summary = report["summary"]
    sections = [
        _head(report),
        _tiles(summary),
        _documents(report["documents"]),
        _starts(report.get("starts", [])),
        _timeline(report.get("environments", [])),
        _concurrency(report.get("concurrency", [])),
        _cost(report.get("cost")),
        _checklist(report.get("checklist", [])),
        _models(report.get("models", [])),
        _times(report.get("times_s", {})),
        _left(summary, report.get("leftovers_found", [])),
    ]
    body = "\n".join(s for s in sections if s)
    return (
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>Keepwarm run report</title><style>{_STYLE}</style></head><body><main>\n{body}\n</main></body></html>\n"
    )


def _head(report: Mapping[str, Any]) -> str:
    run = report.get("run", {})
    facts = " · ".join(
        escape(str(x))
        for x in (
            f"stack {run.get('stack', '?')}",
            run.get("started_at", ""),
            f"Keepwarm {run.get('version', '?')}",
        )
        if x
    )
    return f"<h1>Keepwarm run report</h1><p>{facts}</p>"


def _tiles(summary: Mapping[str, Any]) -> str:
    shown = (
        ("documents", "documents"),
        ("succeeded", "succeeded"),
        ("failed", "failed, with a reason"),
        ("cold_starts", "cold starts"),
        ("provisioned_hits", "provisioned hits"),
        ("warm_starts", "warm starts"),
        ("effects", "side effects"),
        ("duplicates", "duplicates prevented"),
        ("deploy_s", "seconds to deploy"),
        ("resources", "resources"),
        ("leftovers", "left behind"),
    )
    tiles = "".join(
        f"<div class=tile><b>{_number(summary.get(key, 0))}</b><span>{label}</span></div>"
        for key, label in shown
    )
    return f"<div class=tiles>{tiles}</div>"


def _documents(documents: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for d in documents:
        good = d["outcome"] == "succeeded"
        reason = (
            ""
            if good
            else f" <code>{escape(str(d.get('code') or ''))}</code> {escape(without_code(d.get('code'), d.get('reason') or ''))}"
        )
        accuracy = d.get("character_accuracy")
        rows.append(
            f"<tr><td>{escape(d['name'])}<td>{escape(str(d.get('label') or '-'))}"
            f"<td><span class={'good' if good else 'bad'}>{escape(d['outcome'])}</span>{reason}"
            f"<td>{_start(d)}<td class=n>{_number(d.get('duration_ms'))}<td class=n>{_number(d.get('text_chars'))}"
            f"<td class=n>{'' if accuracy is None else f'{accuracy:.1%}'}<td class=n>{_number(d.get('effects'))}"
        )
    head = _row_head(
        ("Document", 0),
        ("Type", 0),
        ("Outcome", 0),
        ("Start", 0),
        ("ms", 1),
        ("Characters", 1),
        ("OCR accuracy", 1),
        ("Effects", 1),
    )
    return f"<h2>Documents</h2><div class=wide><table>{head}{''.join(rows)}</table></div>"


def _start(document: Mapping[str, Any]) -> str:
    if document.get("pool") == "provisioned":
        return "provisioned"
    cold = document.get("cold")
    return "-" if cold is None else "cold" if cold else "warm"


def _starts(starts: Sequence[Mapping[str, Any]]) -> str:
    shown = _representative([s for s in starts if s.get("phases_ms")])
    if not shown:
        return ""
    longest = max(sum(s["phases_ms"].values()) for _, s in shown) or 1.0
    width, left, bar = 1040, 290, 20
    scale = (width - left - 90) / longest
    used: list[str] = []
    parts = []
    for row, (label, start) in enumerate(shown):
        y = row * (bar + 8)
        x = float(left)
        parts.append(f"<text x={left - 10} y={y + 15} text-anchor=end>{escape(label)}</text>")
        for phase in PHASES:
            ms = start["phases_ms"].get(phase, 0.0)
            if ms <= 0:
                continue
            used.append(phase)
            parts.append(
                f"<rect x={x:.1f} y={y} width={max(ms * scale, 0.5):.1f} height={bar} fill='{_PHASE_COLORS[phase]}'>"
                f"<title>{phase}: {ms:.1f} ms</title></rect>"
            )
            x += ms * scale
        parts.append(
            f"<text class=m x={x + 6:.1f} y={y + 15}>{sum(start['phases_ms'].values()):,.0f} ms</text>"
        )
    key = _key((p, _PHASE_COLORS[p]) for p in PHASES if p in used)
    return (
        "<h2>Cold starts by phase</h2><p>Measured inside each execution environment and task; the median and the slowest"
        " of each kind. Provisioned environments and resident tasks paid this before any request arrived.</p>"
        f"{key}{_svg(width, len(shown) * (bar + 8), parts)}"
    )


def _representative(starts: Sequence[Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    """Median and slowest start per function and pool, labelled with how many there were."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for start in starts:
        groups.setdefault((start["function"], start["pool"]), []).append(start)
    shown = []
    for (function, pool), members in groups.items():
        members.sort(key=lambda s: sum(s["phases_ms"].values()))
        name = f"{function} · {pool}"
        if len(members) == 1:
            shown.append((name, members[0]))
            continue
        shown.append((f"{name} · median of {len(members)}", members[(len(members) - 1) // 2]))
        shown.append((f"{name} · slowest", members[-1]))
    return shown


def _timeline(environments: Sequence[Mapping[str, Any]]) -> str:
    shown = [e for e in environments if e.get("spans")]
    if not shown:
        return ""
    first = min(s["from_s"] for e in shown for s in e["spans"])
    last = max(s["to_s"] for e in shown for s in e["spans"])
    width, left, bar = 1040, 210, 14
    scale = (width - left - 10) / max(last - first, 0.001)
    height = len(shown) * (bar + 5)
    parts = _axis(left, scale, last - first, height)
    for row, environment in enumerate(shown):
        y = row * (bar + 5)
        parts.append(f"<text x={left - 10} y={y + 12} text-anchor=end>{escape(environment['label'])}</text>")
        for span in environment["spans"]:
            color = _STATE_COLORS.get(span["state"])
            if color is None:
                continue
            x = left + (span["from_s"] - first) * scale
            w = max((span["to_s"] - span["from_s"]) * scale, 1.0)
            parts.append(
                f"<rect x={x:.1f} y={y} width={w:.1f} height={bar} fill='{color}'>"
                f"<title>{span['state']} {span['to_s'] - span['from_s']:.2f} s</title></rect>"
            )
    key = _key(_STATE_COLORS.items())
    return f"<h2>Execution environments over time</h2>{key}{_svg(width, height + 24, parts)}"


def _concurrency(points: Sequence[Mapping[str, Any]]) -> str:
    if len(points) < 2:
        return ""
    first, last = points[0]["at_s"], points[-1]["at_s"]
    top = max(p["active"] for p in points) or 1
    width, left, height = 1040, 210, 120
    scale = (width - left - 10) / max(last - first, 0.001)
    path, previous = [], 0.0
    for p in points:
        x, y = left + (p["at_s"] - first) * scale, height - p["active"] / top * (height - 10)
        path.append(f"L{x:.1f},{previous or y:.1f} L{x:.1f},{y:.1f}")
        previous = y
    line = "M" + "".join(path)[1:]
    parts = [
        *_axis(left, scale, last - first, height),
        f"<path d='{line}' fill=none stroke='#2f7fd1' stroke-width=1.6 />",
        f"<text x={left - 10} y=14 text-anchor=end>{top} at once</text>",
        f"<text class=m x={left - 10} y={height} text-anchor=end>0</text>",
    ]
    return f"<h2>Concurrent invocations</h2>{_svg(width, height + 24, parts)}"


def _cost(cost: Mapping[str, Any] | None) -> str:
    if not cost:
        return ""
    rows = "".join(
        f"<tr><td>{escape(i['item'])}<td>{escape(i['formula'])}<td class=n>{i['usd']:.6f}"
        for i in cost["items"]
    )
    head = _row_head(("Item", 0), ("Formula", 0), ("USD", 1))
    return (
        f"<h2>What this run would have cost</h2><p>List prices of {escape(cost['region'])}, {escape(cost['dated'])};"
        f" {escape(cost['note'])}</p><div class=wide><table>{head}{rows}"
        f"<tr><td><b>Total</b><td><td class=n><b>{cost['total_usd']:.6f}</b></table></div>"
    )


def _checklist(answers: Sequence[Mapping[str, Any]]) -> str:
    if not answers:
        return ""
    rows = []
    for a in answers:
        state, kind = (
            ("answered", "good") if a["ok"] else ("a problem" if a["answered"] else "unanswered", "bad")
        )
        evidence = "".join(f"<li>{escape(str(e))}</li>" for e in a["evidence"])
        fix = f"<br><i>{escape(a['fix'])}</i>" if a.get("fix") else ""
        rows.append(
            f"<tr><td class=n>{a['number']}<td>{escape(a['question'])}<br><span class={kind}>{state}</span>"
            f"<td>{escape(a['text'])}{fix}<ul>{evidence}</ul>"
        )
    return (
        "<h2>Seven questions before a deployment</h2><p>Answered from the settings of this stack and the figures of this"
        f" run.</p><div class=wide><table class=qa>{''.join(rows)}</table></div>"
    )


def _models(models: Sequence[Mapping[str, Any]]) -> str:
    if not models:
        return ""
    rows = "".join(
        f"<tr><td>{escape(m['name'])}<td>{escape(m['version'])}<td>{escape(m['channel'])}<td class=n>{_number(m['size_bytes'])}"
        f"<td><code>{escape(m['digest'][:16])}…</code>"
        for m in models
    )
    head = _row_head(("Model", 0), ("Version", 0), ("Channel", 0), ("Bytes", 1), ("Manifest digest", 0))
    return f"<h2>Models served</h2><div class=wide><table>{head}{rows}</table></div>"


def _times(times: Mapping[str, float]) -> str:
    rows = "".join(f"<tr><td>{escape(k.replace('_', ' '))}<td class=n>{v:.2f}" for k, v in times.items())
    return (
        f"<h2>Where the time went</h2><div class=wide><table>{_row_head(('Stage', 0), ('Seconds', 1))}{rows}</table></div>"
        if rows
        else ""
    )


def _left(summary: Mapping[str, Any], found: Sequence[str]) -> str:
    if not summary.get("leftovers"):
        return "<h2>Left behind</h2><p>No resource, no process, no temporary file.</p>"
    return "<h2>Left behind</h2><ul>" + "".join(f"<li class=bad>{escape(f)}" for f in found) + "</ul>"


def _svg(width: int, height: float, parts: Iterable[str]) -> str:
    return f"<div class=wide><svg viewBox='0 0 {width} {height + 4:.0f}' width={width} role=img>{''.join(parts)}</svg></div>"


def _axis(left: int, scale: float, span_s: float, height: float) -> list[str]:
    step = next((s for s in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120, 300) if span_s / s <= 10), 600)
    parts, at = [], 0.0
    while at <= span_s:
        x = left + at * scale
        parts.append(f"<line class=g x1={x:.1f} y1=0 x2={x:.1f} y2={height:.0f} />")
        parts.append(f"<text class=m x={x:.1f} y={height + 18:.0f} text-anchor=middle>{at:g} s</text>")
        at = round(at + step, 6)
    return parts


def _key(entries: Iterable[tuple[str, str]]) -> str:
    return (
        "<div class=key>"
        + "".join(f"<span><i style='background:{c}'></i>{escape(n)}</span>" for n, c in entries)
        + "</div>"
    )


def _row_head(*names: tuple[str, int]) -> str:
    return "<tr>" + "".join(f"<th{' class=n' if right else ''}>{escape(n)}" for n, right in names)


def _number(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.2f}" if abs(value) < 100 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else escape(str(value))
