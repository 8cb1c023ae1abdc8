"""Coded refusals of the embedded cloud itself; what AWS would refuse is an `AwsError` instead.

Every text has the form `KWnnn who: got X; allowed Y; because Z; fix: ...` on one line, with a code that never
changes its meaning, so that the table of codes in the docs is generated from `CODES`.
"""

CODES: dict[str, str] = {
    "KW600": "The port of the embedded cloud is in use or may not be bound.",
    "KW601": "The embedded cloud was asked to listen on an address other than loopback.",
    "KW602": "A second embedded cloud with the same account id was started in one process.",
    "KW603": "The directory of the embedded cloud is unusable, or belongs to another running cloud.",
    "KW604": "A service was asked of the embedded cloud that it does not run.",
    "KW605": "The embedded cloud was used before it was started or after it was closed.",
    "KW606": "Something the embedded cloud started was still there after it closed.",
    "KW607": "A child process could not be started by the embedded cloud.",
}


class LocalCloudError(Exception):
    """A refusal with a stable code, printed as it is and never with a traceback."""

    def __init__(self, code: str, who: str, *, got: object, allowed: str, because: str, fix: str) -> None:
        self.code = code
        super().__init__(f"{code} {who}: got {got}; allowed {allowed}; because {because}; fix: {fix}")
