"""The state that one document's workflow carries from step to step, and the claim checks it points to.

Each step gets the whole state and answers with its own part only: small facts and a reference. What is larger than a
few kilobytes lies in the results bucket at `work/<sha256>/<step>.json`, since Step Functions refuses a state above
256 KiB (https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html).
"""

from __future__ import annotations

import json

from keepwarm_runtime.errors import BadEvent, DeadlineExceeded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from keepwarm_runtime.aws import S3
    from keepwarm_runtime.deadline import Deadline


class Document:
    """The document a workflow is about, as the classifier saw it."""

    __slots__ = ("bucket", "group", "key", "label", "mime", "name", "sha256", "size_bytes", "version_id")

    bucket: str
    key: str
    name: str
    """Last part of the key: what people call it."""
    sha256: str
    size_bytes: int
    label: str
    """What it is, in Magika's words."""
    mime: str
    group: str
    """Magika's group of the label: text, code, document, image, ..."""
    version_id: str | None
    """The version that was classified; None in a bucket without versions."""

    def as_state(self) -> dict[str, Any]:
        """Return the document as the workflow carries it."""
        return {name: getattr(self, name) for name in sorted(self.__slots__)}

    def as_event(self) -> dict[str, Any]:
        """Return what a result event says of it."""
        return {
            "name": self.name,
            "sha256": self.sha256,
            "size_bytes": self.size_bytes,
            "label": self.label,
            "mime": self.mime,
        }


class Job:
    """One step's work: the document, the deadline of the whole workflow, and what earlier steps found."""

    __slots__ = ("attempt", "deadline_epoch_s", "document", "idempotency_key", "parts")

    def __init__(
        self,
        document: Document,
        deadline_epoch_s: float,
        idempotency_key: str,
        parts: Mapping[str, Any],
        attempt: int,
    ) -> None:
        self.document = document
        self.deadline_epoch_s = deadline_epoch_s
        self.idempotency_key = idempotency_key
        self.parts = parts
        self.attempt = attempt

    def has(self, step: str) -> bool:
        """Tell whether an earlier step ran."""
        return isinstance(self.parts.get(step), dict)

    def wait(self, step: str) -> Mapping[str, Any] | None:
        """Return the wait that the step answered with last time, None when this is its first call."""
        found = self.parts.get(step)
        wait = found.get("wait") if isinstance(found, dict) else None
        return wait if isinstance(wait, dict) else None

    def part(self, step: str) -> Mapping[str, Any]:
        """Return what an earlier step answered. Raises BadEvent when it did not run."""
        found = self.parts.get(step)
        if not isinstance(found, dict):
            raise _bad(step, "nothing", "the answer of that step")
        return found

    def deadline(self, invocation: Deadline, *, now_epoch_s: float) -> Deadline:
        """Return the earlier of the invocation's and the document's deadline.

        Raises:
            DeadlineExceeded: the document's deadline has passed; running on would deliver too late.
        """
        left = self.deadline_epoch_s - now_epoch_s
        if left <= 0:
            raise DeadlineExceeded(
                f"document '{self.document.name}'",
                f"a deadline that passed {-left:.1f} s ago",
                allowed="work that can still be on time",
                because="nobody waits for it any more",
                fix="upload it again, or allow more time",
            )
        return invocation.sooner(left)


def parse(state: Any) -> Job:
    """Read the state of a workflow. Raises BadEvent naming the first field that can't be used."""
    if not isinstance(state, dict):
        raise _bad("state", f"a JSON {type(state).__name__}", "an object")
    raw = state.get("document")
    if not isinstance(raw, dict):
        raise _bad("document", _shown(raw), "an object")
    document = Document()
    for name in ("bucket", "key", "name", "sha256", "label", "mime", "group"):
        value = raw.get(name)
        if not isinstance(value, str) or not value:
            raise _bad(f"document.{name}", _shown(value), "a text that is not empty")
        setattr(document, name, value)
    if len(document.sha256) != 64 or set(document.sha256) - set("0123456789abcdef"):
        raise _bad("document.sha256", repr(document.sha256), "64 hex digits")
    size = raw.get("size_bytes")
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise _bad("document.size_bytes", _shown(size), "a whole number above 0")
    document.size_bytes = size
    version = raw.get("version_id")
    if version is not None and not isinstance(version, str):
        raise _bad("document.version_id", _shown(version), "a text or null")
    document.version_id = version or None
    key = state.get("idempotency_key")
    if not isinstance(key, str) or not key:
        raise _bad("idempotency_key", _shown(key), "a text that is not empty")
    deadline = state.get("deadline_epoch_s")
    if not isinstance(deadline, int | float) or isinstance(deadline, bool) or not 0 < deadline < 1e11:
        raise _bad("deadline_epoch_s", _shown(deadline), "seconds since 1970")
    attempt = state.get("attempt", 1)
    return Job(
        document, float(deadline), key, state, attempt if isinstance(attempt, int) and attempt > 0 else 1
    )


def _bad(field: str, got: str, allowed: str) -> BadEvent:
    return BadEvent(f"workflow state, {field}", got, allowed=allowed)


def _shown(value: Any) -> str:
    return "nothing" if value is None else repr(value)[:60]


def work_key(sha256: str, name: str) -> str:
    """Key of a claim check in the results bucket."""
    return f"work/{sha256}/{name}"


def put_json(s3: S3, bucket: str, key: str, value: Any, *, deadline: Deadline) -> dict[str, str]:
    """Store a claim check and return the reference to it. The same value gives the same bytes."""
    body = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    s3.put(bucket, key, body, content_type="application/json", deadline=deadline)
    return {"bucket": bucket, "key": key}


def get_json(s3: S3, part: Mapping[str, Any], *, deadline: Deadline) -> Any:
    """Fetch what a step's answer refers to. Raises BadEvent for a part without a usable reference."""
    reference = part.get("ref")
    if not isinstance(reference, dict) or not all(
        isinstance(reference.get(k), str) for k in ("bucket", "key")
    ):
        raise _bad("ref", _shown(reference), '{"bucket": ..., "key": ...}')
    answer = s3.get(reference["bucket"], reference["key"], deadline=deadline)
    try:
        return json.loads(answer.body)
    except ValueError:
        raise _bad(
            f"s3://{reference['bucket']}/{reference['key']}", "text that is not JSON", "a claim check"
        ) from None
