"""Codes of what only the embedded cloud refuses or reports; everything AWS refuses carries AWS's own code."""

from keepwarm_localcloud.request import AwsError

CODES: dict[str, str] = {
    "KW620": "No interpreter for the function's runtime on this machine.",
    "KW621": "The runtime is one the embedded cloud can't run (it runs Python and custom runtimes).",
    "KW622": "The environment was killed because it used more memory than its MemorySize.",
    "KW623": "The environment was killed because its /tmp outgrew its EphemeralStorage.",
    "KW624": "The distributions of the function runtime are not installed beside the embedded cloud.",
    "KW625": "A feature of Lambda that the embedded cloud does not have.",
    "KW626": "The operating system refused to start the environment's process.",
}


def refuse(code: str, message: str) -> AwsError:
    """Build the refusal of something valid on AWS that can't run here: AWS's error class, our code in front."""
    return AwsError("InvalidParameterValueException", f"{code} {message}")


def invalid(message: str) -> AwsError:
    """Build AWS's refusal of a parameter."""
    return AwsError("InvalidParameterValueException", message)


def not_found(arn: str, what: str = "Function") -> AwsError:
    """Build AWS's refusal of a name nobody has."""
    return AwsError("ResourceNotFoundException", f"{what} not found: {arn}", 404)


def conflict(message: str) -> AwsError:
    """Build AWS's refusal of a second one, or of a change during another change."""
    return AwsError("ResourceConflictException", message, 409)


def throttled(reason: str, retry_after_s: int = 1) -> AwsError:
    """Build AWS's 429; `reason` is one of the API's ThrottleReason values."""
    return AwsError(
        "TooManyRequestsException",
        "Rate Exceeded.",
        429,
        extra={"Reason": reason, "Type": "User", "Retry-After": str(retry_after_s)},
    )
