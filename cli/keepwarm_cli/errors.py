"""How the command line refuses: one line, a code, exit 2; never a traceback for bad input (contracts C6, C7)."""

CODES = {
    "KW650": "make found neither uv nor a way to install it",
    "KW651": "the documents folder is missing, empty or unreadable",
    "KW652": "the output folder can't be written",
    "KW653": "the embedded cloud did not start",
    "KW654": "the command was started outside a Keepwarm project",
    "KW655": "a stack file is missing or is not valid YAML",
    "KW656": "the stack could not be deployed",
    "KW657": "something was left behind after the tear-down",
    "KW658": "a document did not reach an outcome in time",
    "KW659": "the model directory or reference can't be used",
    "KW660": "the port is in use",
    "KW661": "the report can't be read",
}


class CliError(Exception):
    """Bad input or a failed precondition, told in one line.

    Args:
        code: one of `CODES`.
        message: who, what was got, what is allowed, what to do.
        exit_code: 2 for bad input (default), 1 for a check that failed.
    """

    def __init__(self, code: str, message: str, *, exit_code: int = 2) -> None:
        super().__init__(f"{code} {message}")
        self.code = code
        self.exit_code = exit_code
