"""Writes docs/engine.md: what the provider knows, from the table itself.

`python -m keepwarm_localcloud.pulumi_types.reference docs/engine.md`; a test holds the page equal to the table.
"""

import json
import sys
from pathlib import Path

from keepwarm_localcloud.pulumi_types import table
from keepwarm_localcloud.pulumi_types.base import ResourceType
from keepwarm_localcloud.pulumi_types.errors import CODES
from keepwarm_localcloud.pulumi_types.fields import Field
from keepwarm_localcloud.pulumi_types.invokes import INVOKES
from keepwarm_localcloud.pulumi_types.tokens import OWN_USE

_HEAD = """# The engine: real Pulumi against the embedded cloud

This page is generated from the table of resource types
(`python -m keepwarm_localcloud.pulumi_types.reference docs/engine.md`). Do not edit it by hand.

## Commands

| command | what it does |
|---|---|
| `keepwarm pulumi -- preview` | any Pulumi command: finds or starts the embedded cloud and runs the real CLI on it |
| `keepwarm pulumi -- up --yes --stack dev` | the same for another stack file; `local` is the default |
| `keepwarm pulumi -- import aws:lambda/function:Function name id` | adopts something made by hand |
| `eval "$(keepwarm local env)"` | for plain `pulumi` by hand: cloud and provider stay, the variables point at them |
| `keepwarm local reset` | stops both and removes `.keepwarm/` |

The CLI is looked for in `KEEPWARM_PULUMI`, on PATH, and in the cache that `make pulumi` fills. A Python program needs
no language host: it is served to the CLI the way the Automation API serves an inline program. A program in another
language is run by its own host, which an ordinary Pulumi installation brings; if it's missing, the command says so.
State is in `.keepwarm/backend`, the embedded cloud keeps its resources in memory until it is stopped, and the CLI
works in `.keepwarm/project`, a copy of the project's files, so that the stack files of a real account never get its
salt.

After a killed run (kill -9, a lost machine) just run the command again. What the cloud made and no state knows about
is removed first, open creations are forgotten with `pulumi refresh --clear-pending-creates`, and locks of processes
that are gone are cleared; each step prints one line. A second concurrent change of the same project is refused at
once. Ctrl-C, and SIGTERM to the command, let the engine finish what it has started and cancel the rest.

Requests that are throttled, fail or get no answer are tried up to six times in all; no answer within
`KEEPWARM_READ_TIMEOUT_S` seconds (70) counts as a failure. What still fails is reported by resource, and the next run
continues from there. If an answer is lost after the cloud did its part, the next run removes what was made under a
generated name and creates it again; nothing is removed under a name that the program chose, because it may have
existed before.

## What has not been verified

No AWS account was used. Names and shapes of properties come from pulumi-aws 7.51. Which change replaces, what AWS
fills in and what the defaults are was written by hand and is compared by a test with two outside sources: the
docstrings and output types of pulumi-aws, and AWS's own resource schemas. Where the table does not follow both, a
reviewed list says why. Not verified against real AWS: the timing of eventual consistency, quotas of an account, error
texts beyond those the tests name, and computed outputs that the components do not read. Not run, because they were not
available: the language hosts and SDK generators of a Pulumi installation (a stand-in speaks the hosts' protocol in the
tests), Pulumi Cloud and the S3 and KMS backends of the pipelines, and any version of the CLI but the pinned one.

## How to read the tables

`!` a change replaces the resource. `?` AWS fills it in, so leaving it out is no difference. `=x` the default.
`*` secret. `~` order does not matter. Nested properties are listed in braces only where not all are supported.
A property that pulumi-aws knows and this table does not is refused by name (KW631), never ignored.
A value that AWS's own resource schema excludes, and two properties that exclude each other, are refused before anything
is called, so that a preview shows them (KW634).
"""


def _mark(name: str, of: Field) -> str:
    text = name
    if of.new:
        text += "!"
    if of.computed:
        text += "?"
    if of.unordered:
        text += "~"
    if of.secret:
        text += "*"
    if of.default is not None:
        text += f"={json.dumps(of.default)}"
    inner = of.of if of.kind == "list" and of.of is not None else of
    if inner.kind == "object" and inner.unsupported:
        text += "{" + " ".join(sorted(inner.fields)) + "}"
    return f"`{text}`"


def _section(kind: ResourceType) -> str:
    known = ", ".join(_mark(name, of) for name, of in sorted(kind.fields.items()))
    lines = [f"### `{kind.token}`", "", f"Import id: {kind.import_id}.", "", f"Properties: {known}."]
    if kind.token in OWN_USE:
        lines += ["", f"For a program's own use beside the components: {OWN_USE[kind.token]}."]
    if kind.unsupported:
        lines += [
            "",
            "Refused here, known to pulumi-aws: "
            + ", ".join(f"`{n}`" for n in sorted(kind.unsupported))
            + ".",
        ]
    return "\n".join(lines)


def page() -> str:
    """Return the whole page."""
    parts = [_HEAD, f"## Resource types ({len(table.all_types())})\n"]
    parts += [_section(kind) + "\n" for kind in table.all_types()]
    parts.append("## Data sources\n\n" + "\n".join(f"- `{token}`" for token in sorted(INVOKES)) + "\n")
    rows = "\n".join(f"| {code} | {meaning} |" for code, meaning in sorted(CODES.items()))
    parts.append(f"## Errors of resources\n\n| code | meaning |\n|---|---|\n{rows}\n")
    return "\n".join(parts)


def main(arguments: list[str]) -> int:
    """Write the page to the path given, or to standard output."""
    if arguments:
        Path(arguments[0]).write_text(page())
    else:
        sys.stdout.write(page())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
