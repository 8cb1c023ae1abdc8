"""How the command line refuses: one line, a code, exit 2; never a traceback for bad input (contracts C6, C7)."""

CODES = {
    "KW650": "make found neither uv nor a way to install it",
    "KW651": "the documents folder is missing, empty or unreadable",
    "KW652": "the output folder can't be written",
    "KW653": "the embedded cloud did not start, or ended while in use",
    "KW654": "the command was started outside a Keepwarm project",
    "KW655": "a stack file is missing or is not valid YAML",
    "KW656": "the stack could not be deployed",
    "KW657": "something was left behind after the tear-down",
    "KW658": "a document had no outcome in time",
    "KW659": "the model directory or reference can't be used",
    "KW660": "the port is in use",
    "KW661": "the report can't be read",
    "KW662": "a document could not be read or uploaded",
    "KW665": "the command line can't be read: an unknown option or command, a missing or impossible value",
    "KW666": "no Pulumi CLI was found",
    "KW667": "the Pulumi CLI is too old or does not answer",
    "KW668": "the .keepwarm folder can't be written, read or removed",
    "KW669": "a newer keepwarm or Pulumi made the .keepwarm folder or the state in it",
    "KW670": "the resource provider exited before it was ready, or while the engine used it",
    "KW671": "another change of the same stack is running, or its lock is held",
    "KW672": "the resource provider was started without an embedded cloud",
    "KW673": "the engine's state can't be read",
    "KW674": "the stack does not exist, or can't be made or configured here",
    "KW675": "the .keepwarm folder holds the state of another project",
    "KW676": "the passphrase can't decrypt the state",
    "KW677": "the program's language has no language host installed",
    "KW678": "the state outlived its embedded cloud",
    "KW679": "the leftovers of a killed run could not be cleaned up",
}


def coded_line(
    code: str,
    who: str,
    *,
    got: str = "",
    problem: str = "",
    allowed: str = "",
    because: str = "",
    fix: str = "",
) -> str:
    """Format one line of contract C6: code, who, what is wrong with it, what is allowed, why, and the way out.

    Args:
        code: one of `CODES`.
        who: what is at fault, in the user's words.
        got: what was found there. Either this or `problem`.
        problem: what is wrong where nothing was given, e.g. "does not exist".
        allowed: what would have been taken.
        because: why that is so, where it is not plain.
        fix: what to do.
    """
    text = f"{code} {who}: {f'got {got}' if got else problem}"
    for word, said in (("allowed", allowed), ("because", because), ("fix:", fix)):
        if said:
            text += f"; {word} {said}"
    return text


def with_code(code: str | None, text: str) -> str:
    """Put a code before a text that may have it already: a code is never printed twice."""
    return f"{code or ''} {without_code(code, text)}".strip()


def left_behind(what: str) -> str:
    """Name something that a tear-down should have removed."""
    return coded_line("KW657", "left behind", problem=what)


def without_code(code: str | None, text: str) -> str:
    """Take a code off the start of a text."""
    return text.removeprefix(f"{code} ") if code else text


class CliError(Exception):
    """Bad input or a failed precondition, told in one line; see `coded_line` for the arguments.

    Args:
        exit_code: 2 for bad input (default), 1 for a check that failed.
    """

    def __init__(
        self,
        code: str,
        who: str,
        *,
        got: str = "",
        problem: str = "",
        allowed: str = "",
        because: str = "",
        fix: str = "",
        exit_code: int = 2,
    ) -> None:
        super().__init__(
            coded_line(code, who, got=got, problem=problem, allowed=allowed, because=because, fix=fix)
        )
        self.code = code
        self.exit_code = exit_code


class Told(CliError):
    """A refusal of another room, which words its own line; it is passed on as it is."""

    def __init__(self, code: str, text: str, *, exit_code: int = 1) -> None:
        Exception.__init__(self, with_code(code, text))
        self.code = code
        self.exit_code = exit_code
