"""Errors of the planner: one line each, with a stable code."""

CODES: dict[str, str] = {
    "KW500": "A planner option is out of range or two options contradict each other.",
    "KW501": "The kernel asked for is not one of the kernels.",
    "KW502": "The C kernel was asked for and can't be built or loaded.",
    "KW503": "A file can't be read.",
    "KW504": "A trace is empty.",
    "KW505": "A trace has a value that is not a number, is infinite or negative.",
    "KW506": "A trace is not in time order.",
    "KW507": "A trace mixes units, or its unit is not stated.",
    "KW508": "A trace lacks a column, or a line has the wrong number of columns.",
    "KW509": "A trace or run is larger than the bound that was set.",
    "KW510": "The region is not in the price file.",
    "KW511": "A price file is malformed.",
    "KW512": "No design meets the target.",
    "KW513": "A workload or design file is malformed or has an unknown key.",
    "KW514": "Result events can't be used for calibration.",
    "KW515": "The stack does not answer a question of the checklist.",
    "KW516": "An optional package that this needs is not installed.",
    "KW517": "A generator's specification can't be read.",
}


class PlannerError(ValueError):
    """Bad input to the planner.

    Its text is one line: code, who, what was got, what is allowed, why, and a way out. `line` is the
    line of the file that is at fault, counted from 1, where there is one.
    """

    def __init__(
        self,
        code: str,
        who: str,
        got: object,
        allowed: str,
        *,
        because: str = "",
        fix: str = "",
        line: int | None = None,
    ) -> None:
        if code not in CODES:
            raise KeyError(code)
        self.code = code
        self.who = who
        self.line = line
        where = f"{who} line {line}" if line is not None else who
        text = f"{code} {where}: got {got}; allowed {allowed}"
        if because:
            text += f"; because {because}"
        if fix:
            text += f"; fix: {fix}"
        super().__init__(" ".join(text.split()))
