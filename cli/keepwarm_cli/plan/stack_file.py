"""A stack file that a command reads its defaults from, or lays its answer into."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True, slots=True)
class StackChange:
    """What an answer changes in a stack file."""

    file: Path
    sections: Mapping[str, Any]
    checked: bool
    """The program's own reader accepted the whole; False where it can't be imported."""
    written: bool

    def as_dict(self) -> dict[str, Any]:
        """The change as JSON."""
        return {
            "file": str(self.file),
            "sections": dict(self.sections),
            "checked": self.checked,
            "written": self.written,
        }


def merge(stack: Path, answer: Mapping[str, Any], *, write: bool) -> StackChange:
    """Lay an answer's settings into a stack, checked by the program's reader, and write them if asked.

    Raises:
        PlannerError: KW503 and KW513, the stack can't be read or does not take them.
    """
    from keepwarm_planner.answers import stack as stacks
    from keepwarm_planner.answers.stack import stack_settings

    written = stack_settings(stack)
    sections = stacks.merged(written, answer)
    after = {name: value for name, value in {**written, **sections}.items() if value is not None}
    checked = _resolved(stack, after) is not None
    if write and sections:
        stacks.update(stack, sections)
    return StackChange(stack, sections, checked, write and bool(sections))


def show_change(console: "Console", change: StackChange) -> None:
    """Print the sections that an answer changes."""
    from rich.markup import escape

    from keepwarm_planner.answers.stack import rendered

    name = escape(str(change.file))
    if not change.sections:
        console.print(f"[bold]{name}[/bold] has these settings already")
        return
    verdict = (
        "the program accepts them"
        if change.checked
        else "not checked: the program's settings can't be read here"
    )
    console.print(f"[bold]sections of {name}[/bold] [dim]({verdict})[/dim]", soft_wrap=True)
    console.print("config:\n" + rendered(change.sections), markup=False, soft_wrap=True, end="")
    if change.written:
        console.print(f"[green]written to {name}[/green]")
    console.print()


def show_settings(console: "Console", settings: Mapping[str, Any]) -> None:
    """Print settings for a stack file that nobody named."""
    from keepwarm_planner.answers.stack import rendered

    console.print("[bold]stack settings[/bold] [dim](stacks/Pulumi.<stack>.yaml)[/dim]")
    console.print("config:\n" + rendered(settings), markup=False, soft_wrap=True)


def resolved_settings(stack: Path) -> dict[str, Any]:
    """Settings of a stack with their defaults where the program's own reader can be imported, else as written.

    Raises:
        PlannerError: KW513 with everything that the program refuses.
    """
    from keepwarm_planner.answers.stack import stack_settings

    written = stack_settings(stack)
    resolved = _resolved(stack, written)
    return written if resolved is None else resolved


def settings_and_region(stack: Path) -> tuple[dict[str, Any], str | None]:
    """A stack's settings with their defaults, and its region.

    Raises:
        PlannerError: KW513 with everything that the program refuses.
    """
    from keepwarm_planner.answers.stack import own_settings, stack_config

    config = stack_config(stack)
    written, region = own_settings(config), config.get("aws:region")
    resolved = _resolved(stack, written)
    return written if resolved is None else resolved, region if isinstance(region, str) else None


def _resolved(stack: Path, written: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the program's reader makes of these settings; None where there is none to ask. Raises KW513."""
    import json

    from keepwarm_planner.errors import PlannerError

    reader = _reader(stack)
    if reader is None:
        return None
    raw = {k: v if isinstance(v, str) else json.dumps(v) for k, v in written.items()}
    try:
        settings = reader.load(raw, stack.stem.removeprefix("Pulumi."))
    except Exception as e:
        problems = getattr(e, "problems", None)
        if problems is None:
            raise
        raise PlannerError(
            "KW513", str(stack), "; ".join(problems), "settings that the program accepts"
        ) from e
    return dict(settings.effective)


def _reader(stack: Path) -> Any:
    """The program's `Settings`, beside whose folder the stack files lie; None where it can't be imported."""
    from keepwarm_cli.errors import CliError
    from keepwarm_cli.project import import_program

    try:
        return import_program(stack.resolve().parent.parent).Settings
    except (CliError, ImportError):
        return None
