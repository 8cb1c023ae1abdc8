"""Codes of the refusals that are the embedded cloud's own, not AWS's (KW62x)."""

CODES: dict[str, str] = {
    "KW610": "A state machine uses something of Amazon States Language that the embedded cloud can't run.",
    "KW611": "A task definition's image isn't a local image directory (file:///dir with config.json).",
    "KW612": "A local image's config.json is missing or malformed.",
    "KW613": "A scaling policy or alarm uses a metric expression that the embedded cloud can't evaluate.",
    "KW614": "A schedule names a target that the embedded cloud can't call.",
}


def coded(*, code: str, who: str, got: str, allowed: str, because: str, fix: str) -> str:
    """Word a refusal as every room does: one line, a stable code and a way out.

    Raises:
        KeyError: `code` isn't registered in `CODES`.
    """
    assert code in CODES, code
    return f"{code} {who}: got {got}; allowed {allowed}; because {because}; fix: {fix}"
