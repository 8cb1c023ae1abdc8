"""What the user asks of the CLI, understood as far as needed."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from keepwarm_cli.engine.state_folder import Folder

RUNS_PROGRAM: Final = frozenset({"up", "update", "preview", "pre", "refresh", "destroy", "down", "dn"})


NEEDS_CLOUD: Final = RUNS_PROGRAM | {"import"}


CHANGES: Final = NEEDS_CLOUD - {"preview", "pre"}


PATHS: Final = frozenset(
    {
        "--policy-pack",
        "--policy-pack-config",
        "--save-plan",
        "--plan",
        "--file",
        "-f",
        "--out",
        "-o",
        "--import-file",
        "--event-log",
        "--config-file",
        "--target-file",
    }
)
"""Flags whose value is a path: the CLI runs in another folder, so relative ones are resolved first."""


@dataclass(frozen=True, slots=True)
class Request:
    """The user's arguments, understood as far as needed."""

    command: str
    arguments: tuple[str, ...]
    stack: str
    given_stack: bool

    @property
    def words(self) -> tuple[str, ...]:
        """The words that are no flags: `stack init dev` -> (`stack`, `init`, `dev`)."""
        return tuple(a for a in self.arguments if not a.startswith("-"))


def understand(arguments: list[str], folder: Folder, environment: Mapping[str, str]) -> Request:
    """Read command and stack out of the arguments, and make paths absolute."""
    resolved: list[str] = []
    stack: str | None = None
    expects = ""
    for argument in arguments:
        if expects:
            if expects in ("-s", "--stack"):
                stack = argument
            resolved.append(str(Path(argument).absolute()) if expects in PATHS else argument)
            expects = ""
            continue
        name, equals, value = argument.partition("=")
        if name in PATHS and equals:
            resolved.append(f"{name}={Path(value).absolute()}")
        else:
            resolved.append(argument)
        if name in ("-s", "--stack") and equals:
            stack = value
        elif not equals and (argument in PATHS or argument in ("-s", "--stack")):
            expects = argument
    command = next((a for a in resolved if not a.startswith("-")), "")
    selected = folder.root / "selected"
    chosen = stack or environment.get("PULUMI_STACK")
    if not chosen:
        chosen = selected.read_text().strip() if selected.exists() else "local"
    return Request(command, tuple(resolved), chosen.rpartition("/")[2], stack is not None)
