"""Every refusal of the service, with its HTTP status and a code that stays.

ServiceFault               base: `code`, `status`, `retry_after_s`
├── BadRequest       KW350 400 the request can't be understood
├── CorruptDocument  KW351 400 the bytes are no picture that can be decoded
├── TooLargeDocument KW352 413 the body or the picture is over the limit
├── UnsupportedDocument KW353 415 a type or format that is not read
├── NoSuchPath       KW354 404 / 405
├── Overloaded       KW355 429 the queue is full, or the work would not be done in time
├── NotReady         KW356 503 the model is still loading
├── Draining         KW357 503 this task is going away
├── DeadlineExceeded KW358 504 the deadline passed before the work was started
├── KeyReused        KW359 409 one idempotency key for two different bodies
├── SourceRefused    KW360 424 the picture can't be fetched from where the request says
├── TooSlow          KW361 408 the request did not arrive in time
└── EngineFailed     KW362 500 the model failed on this picture
"""

from __future__ import annotations

from typing import Any

CODES = {
    "KW350": "The request to the inference service can't be understood.",
    "KW351": "The bytes are no picture that can be decoded.",
    "KW352": "The request or the picture is larger than the service takes.",
    "KW353": "A content type or picture format that the service does not read.",
    "KW354": "The service has no such path or method.",
    "KW355": "The service is at capacity, or could not finish before the deadline.",
    "KW356": "The service is still loading its model.",
    "KW357": "The service is draining: it finishes what it has and takes nothing new.",
    "KW358": "The deadline passed before the work was started.",
    "KW359": "One idempotency key was used for two different requests.",
    "KW360": "The picture can't be fetched from the place that the request names.",
    "KW361": "The request did not arrive in time.",
    "KW362": "The model failed on this picture.",
    "KW363": "A setting of the service is wrong.",
}
"""Code -> one-line meaning; the documentation page is generated from this."""


class InvalidSetting(Exception):
    """A setting of the service is wrong; the text names the variable."""

    code = "KW363"

    def __init__(self, variable: str, got: str, allowed: str) -> None:
        super().__init__(
            f"KW363 {variable}: got {got!r}; allowed {allowed}; fix: correct the task definition"
        )


class ServiceFault(Exception):
    """A refusal that is answered with `status` and a JSON body."""

    code = "KW350"
    status = 400
    allowed = ""
    because = ""
    fix = ""
    retry_after_s: float | None = None

    def __init__(
        self, who: str, got: str, *, allowed: str | None = None, retry_after_s: float | None = None
    ) -> None:
        self.got = got
        self.allowed = self.allowed if allowed is None else allowed
        if retry_after_s is not None:
            self.retry_after_s = retry_after_s
        rest = (("allowed", self.allowed), ("because", self.because), ("fix:", self.fix))
        text = f"{self.code} {who}: got {got}" + "".join(f"; {word} {value}" for word, value in rest if value)
        super().__init__(" ".join(text.split()))

    def as_body(self) -> dict[str, Any]:
        """What the caller gets."""
        error: dict[str, Any] = {
            "code": self.code,
            "type": type(self).__name__,
            "got": self.got,
            "message": str(self),
            "retry": self.retry_after_s is not None,
        }
        if self.retry_after_s is not None:
            error["retry_after_s"] = self.retry_after_s
        return {"error": error}


class BadRequest(ServiceFault):
    """The request can't be understood."""


class CorruptDocument(ServiceFault):
    """The bytes are no picture that can be decoded."""

    code = "KW351"
    allowed = "a complete picture"
    because = "the same bytes will fail every time"


class TooLargeDocument(ServiceFault):
    """The body or the picture is over the limit."""

    code = "KW352"
    status = 413
    fix = "scan with a lower resolution, or send a reference to S3"


class UnsupportedDocument(ServiceFault):
    """A type or format that is not read."""

    code = "KW353"
    status = 415


class NoSuchPath(ServiceFault):
    """No such path, or a method it does not take (405)."""

    code = "KW354"
    status = 404

    def __init__(self, who: str, got: str, *, allowed: str, wrong_method: bool = False) -> None:
        self.status = 405 if wrong_method else 404
        super().__init__(who, got, allowed=allowed)


class Overloaded(ServiceFault):
    """The queue is full, or what is in it takes longer than the caller waits."""

    code = "KW355"
    status = 429
    because = "more work in the queue would only turn waiting into timeouts"
    fix = "come back after Retry-After"
    retry_after_s = 1.0


class NotReady(ServiceFault):
    """The model is still loading."""

    code = "KW356"
    status = 503
    fix = "come back after Retry-After"
    retry_after_s = 1.0


class Draining(ServiceFault):
    """This task is going away."""

    code = "KW357"
    status = 503
    fix = "use another task; the service registry no longer names this one"
    retry_after_s = 1.0


class DeadlineExceeded(ServiceFault):
    """The deadline passed before the work was started, so it never was."""

    code = "KW358"
    status = 504
    because = "nobody waits for the answer any more"


class KeyReused(ServiceFault):
    """One idempotency key, two bodies."""

    code = "KW359"
    status = 409
    because = "answering with the other request's result would hide the difference"
    fix = "use a key that includes everything that changes the request"


class SourceRefused(ServiceFault):
    """The picture can't be fetched for good: it is missing, or this task's role may not read it."""

    code = "KW360"
    status = 424
    fix = "check the reference, and the grant of the service's role"


class SourceUnavailable(SourceRefused):
    """The picture can't be fetched just now."""

    status = 503
    fix = "come back after Retry-After"
    retry_after_s = 1.0


class TooSlow(ServiceFault):
    """The request did not arrive in time."""

    code = "KW361"
    status = 408
    because = "a slow sender would hold the connection for nothing"


class EngineFailed(ServiceFault):
    """The model failed on this picture; others of its batch were not touched."""

    code = "KW362"
    status = 500
