"""How a state fails: an error name and a cause.

https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html
"""

UNCATCHABLE = frozenset({"States.DataLimitExceeded", "States.Runtime"})
"""`States.ALL` doesn't match these terminal errors."""
TIMEOUTS = frozenset({"States.Timeout", "States.HeartbeatTimeout"})
"""`States.TaskFailed` doesn't match these."""


class StateFailure(Exception):
    """A state failed with an error name that Retry and Catch look at."""

    def __init__(self, error: str, cause: str = "") -> None:
        super().__init__(f"{error}: {cause}")
        self.error = error
        self.cause = cause

    def matches(self, names: list[str]) -> bool:
        """Whether a Retry or Catch with these `ErrorEquals` takes this failure."""
        if self.error in names:
            return True
        if "States.Timeout" in names and self.error == "States.HeartbeatTimeout":
            return True
        if "States.TaskFailed" in names and self.error not in UNCATCHABLE | TIMEOUTS:
            return True
        return "States.ALL" in names and self.error not in UNCATCHABLE


class PathError(StateFailure):
    """A path selects nothing, or isn't one. Step Functions calls it `States.Runtime`."""

    def __init__(self, cause: str) -> None:
        super().__init__("States.Runtime", cause)


class IntrinsicError(StateFailure):
    """An intrinsic function was called wrongly."""

    def __init__(self, cause: str) -> None:
        super().__init__("States.IntrinsicFailure", cause)


class Aborted(Exception):
    """The execution was stopped or timed out; its fibers unwind without further effects."""
