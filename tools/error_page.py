"""Writes docs/errors.md: every error code of every room with its meaning (contract C6).

`python tools/error_page.py` rewrites the page; a test holds it equal to the code.
"""

import importlib
import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "errors.md"

ROOMS = (
    ("Components", ("keepwarm.errors",)),
    ("Settings of the program", ("infra.settings",)),
    ("Bundles", ("keepwarm_build.errors",)),
    ("Policies", ("keepwarm_policies.errors",)),
    ("Runtime", ("keepwarm_runtime.errors",)),
    ("Planner", ("keepwarm_planner.errors",)),
    (
        "Embedded cloud",
        (
            "keepwarm_localcloud.errors",
            "keepwarm_localcloud.services.errors",
            "keepwarm_localcloud.services.lambda_.errors",
            "keepwarm_localcloud.pulumi_types.errors",
        ),
    ),
    ("Command line and engine", ("keepwarm_cli.errors",)),
)
# Code that ships into functions and images is not a package of the workspace; its tables are read from the files.
FILES = (("Handlers and inference server", tuple(sorted((ROOT / "functions").glob("*/errors.py")))),)


def page() -> str:
    """Return the page, and fail when two rooms use one code for two things."""
    sys.path.insert(0, str(ROOT))
    seen: dict[str, str] = {}
    lines = [
        "# Error codes",
        "",
        "Every refusal of Keepwarm starts with one of these. Written by `tools/error_page.py` from the code.",
    ]
    sections = [(title, [_table(name) for name in names]) for title, names in ROOMS]
    sections += [
        (title, [_file_table(path) for path in paths if path.parent.name != "keepwarm_runtime"])
        for title, paths in FILES
    ]
    for title, tables in sections:
        codes = {code: meaning for table in tables for code, meaning in table.items()}
        if not codes:
            continue
        for code, meaning in codes.items():
            if seen.setdefault(code, meaning) != meaning:
                raise SystemExit(f"{code} means two things: {seen[code]!r} and {meaning!r}")
        lines += ["", f"## {title}", "", "| code | meaning |", "|---|---|"]
        lines += [f"| {code} | {' '.join(meaning.split())} |" for code, meaning in sorted(codes.items())]
    return "\n".join(lines) + "\n"


def _table(module: str) -> dict[str, str]:
    if importlib.util.find_spec(module) is None:
        return {}
    return dict(importlib.import_module(module).CODES)


def _file_table(path: Path) -> dict[str, str]:
    spec = importlib.util.spec_from_file_location(f"_errors_of_{path.parent.name}", path)
    if spec is None or spec.loader is None:
        return {}
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return dict(getattr(module, "CODES", {}))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")
