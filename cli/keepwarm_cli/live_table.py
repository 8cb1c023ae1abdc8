"""The table of documents that a run shows while it follows them."""

import time
from typing import Any

from rich.table import Table
from rich.text import Text

from keepwarm_cli.follow import Followed, Follower

WIDE_COLUMNS = 120


def documents_table(follower: Follower, width: int) -> Table:
    """The live table: a row per document; phases where the terminal has room for them."""
    wide = width >= WIDE_COLUMNS
    table = Table(box=None, pad_edge=False, header_style="dim")
    # Of a narrow terminal's 80 columns only names give way: a figure that is cut off says nothing.
    table.add_column("document", no_wrap=True, overflow="ellipsis", max_width=32 if wide else 25)
    for name in ("type", "outcome", "start"):
        table.add_column(name, no_wrap=True)
    table.add_column("prevented", justify="right", no_wrap=True)
    if wide:
        table.add_column("cold start phases, ms", no_wrap=True, overflow="ellipsis")
    table.add_column("ms", justify="right", no_wrap=True)
    for document in follower.documents.values():
        first = document.first("classify") or {}
        phases = " ".join(f"{k} {v:.0f}" for k, v in (first.get("phases") or {}).items() if v and v >= 1)
        ended = document.ended_s or time.time()
        cells: list[str | Text] = [
            document.name,
            document.label or "",
            _outcome(document),
            _start(first),
            str(document.duplicates_prevented or ""),
            *([phases] if wide else []),
        ]
        table.add_row(*cells, f"{(ended - document.uploaded_s) * 1000:,.0f}")
    return table


def _start(first: dict[str, Any]) -> str:
    """How the environment that took the document had started."""
    if not first:
        return ""
    if first.get("pool") == "provisioned":
        return "provisioned"
    return "cold" if first.get("cold") else "warm"


def _outcome(document: Followed) -> Text:
    if document.waiting:
        return Text(document.stage, style="dim")
    if document.outcome == "succeeded":
        return Text("succeeded", style="green")
    return Text(f"failed {document.code}", style="red")
