"""Typer, made to keep the contract of the command: a command is a function of one options object.

An options class is a frozen dataclass; its bases are groups of options that commands share, and each group is a heading
of the help. `check` of every group runs before the command does, so that no command validates by hand. Bad usage is
one coded line and exit 2. Imports nothing but typer: `--help` must answer in the time the interpreter needs.
"""

import inspect
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, fields
from typing import Annotated, Any, ClassVar, TypeVar, get_args, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from keepwarm_cli.errors import coded_line, with_code

O = TypeVar("O", bound="Options")  # noqa: E741

UsageError: Any = typer.BadParameter.__bases__[0]
MAX_WIDTH = 120
CHECK_FAILED = 1
BAD_INPUT = 2
OWN_HEADING = "Options"


@dataclass(frozen=True, kw_only=True)
class Options:
    """A group of options, or everything that a command was asked (a class that joins groups)."""

    heading: ClassVar[str] = OWN_HEADING

    def __init_subclass__(cls, heading: str = OWN_HEADING) -> None:
        cls.heading = heading

    def check(self) -> None:
        """Refuse values and combinations that make no sense, before anything is read or started.

        Raises:
            Exception: the coded refusal of the room that the option belongs to.
        """

    @classmethod
    def groups(cls) -> list[type["Options"]]:
        """The command's own options first, then its groups in the order of its bases."""
        return [c for c in cls.__mro__ if issubclass(c, Options) and c is not Options]


def check(options: Options) -> None:
    """Run the check of every group."""
    for group in options.groups():
        if "check" in vars(group):
            group.check(options)


@dataclass(frozen=True, kw_only=True)
class Json(Options, heading="Output"):
    """How the answer is printed."""

    json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")] = False


class Command(TyperCommand):
    """A command whose help has headings and uses the terminal's width."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments, then options under their headings, `--help` with the command's own."""
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], OWN_HEADING: []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            heading = getattr(parameter, "rich_help_panel", None) or OWN_HEADING
            if record is not None:
                kind = "Arguments" if parameter.param_type_name == "argument" else heading
                sections.setdefault(kind, []).append(record)
        for heading, records in sections.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)


class Group(TyperGroup):
    """A group whose help cuts no line, and which tells bad usage in one coded line."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write each command with the whole first sentence of its help."""
        rows = [
            (name, " ".join((command.help or "").split("\n\n")[0].split()))
            for name in self.list_commands(ctx)
            if (command := self.get_command(ctx, name)) is not None and not command.hidden
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run; unlike typer's own, bad usage ends with a line of contract C6."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, False, windows_expand_args, **extra)
        try:
            status = super().main(args, prog_name, complete_var, False, windows_expand_args, **extra)
        except UsageError as error:
            if type(error).__name__ == "NoArgsIsHelpError":
                error.show()
            else:
                print(_usage(error), file=sys.stderr)
            sys.exit(error.exit_code)
        sys.exit(status or 0)


def _usage(error: Any) -> str:
    command = error.ctx.command_path if error.ctx is not None else "keepwarm"
    said = " ".join(error.format_message().split()).replace("Value error, ", "").rstrip(".")
    return coded_line("KW665", command, problem=said[:1].lower() + said[1:], fix=f"see `{command} --help`")


def app(name: str, help_text: str) -> typer.Typer:
    """Make a group of commands."""
    return typer.Typer(
        name=name,
        cls=Group,
        help=help_text,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,  # rich help costs 200 ms of start-up
        pretty_exceptions_enable=False,
        context_settings={"max_content_width": min(shutil.get_terminal_size().columns, MAX_WIDTH)},
    )


def command(
    where: typer.Typer, options: type[O], name: str | None = None, **settings: Any
) -> Callable[[Callable[[O], None]], Callable[[O], None]]:
    """Make a command of a function that takes an options object.

    Args:
        where: the group it belongs to.
        options: its options; their annotations are typer's.
        name: default: the function's.
        settings: passed on to typer.
    """

    def register(function: Callable[[O], None]) -> Callable[[O], None]:
        def run(**given: Any) -> None:
            asked = options(**given)
            with _refusing():
                check(asked)
                function(asked)

        parameters = _parameters(options)
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        run.__doc__ = function.__doc__
        where.command(name or function.__name__, cls=Command, **settings)(run)
        return function

    return register


@contextmanager
def _refusing() -> Iterator[None]:
    """End with the one line of whichever room refused, never with its traceback."""
    try:
        yield
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise typer.Exit(130) from None
    except Exception as error:
        code = getattr(error, "code", None)
        if not isinstance(code, str) or not code.startswith("KW"):
            raise
        print(with_code(code, str(error)), file=sys.stderr)
        raise typer.Exit(getattr(error, "exit_code", BAD_INPUT)) from None


def _parameters(options: type[Options]) -> list[inspect.Parameter]:
    """The fields as parameters, each with the heading of the group that declares it."""
    hints = get_type_hints(options, include_extras=True)
    defaults = {f.name: f.default for f in fields(options)}
    parameters: dict[str, inspect.Parameter] = {}
    for group in options.groups():
        for name in inspect.get_annotations(group):
            # A command that declares an option of a group anew (with another default) shows it as its own.
            if name not in defaults or name in parameters:
                continue
            annotation = hints[name]
            for info in get_args(annotation)[1:]:
                info.rich_help_panel = group.heading
            default = inspect.Parameter.empty if defaults[name] is MISSING else defaults[name]
            parameters[name] = inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
            )
    return list(parameters.values())
