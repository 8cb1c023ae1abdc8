"""Follows documents through the deployed stack, from the outside: journal, workflow executions, dead-letter queue.

A document is told apart by its object key. Its outcome is what the stack itself says: the execution of its workflow
succeeded, or the message with its reason stands in the dead-letter queue. Side effects are counted independently of
the runtime's own account, as versions of the published object.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_plus

TERMINAL = frozenset({"SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED"})


@dataclass(slots=True)
class Followed:
    """What is known of one uploaded document."""

    name: str
    key: str
    sha256: str
    size_bytes: int
    uploaded_s: float
    uploads: int = 1
    finished: int = 0
    outcome: str | None = None
    code: str | None = None
    reason: str | None = None
    label: str | None = None
    stage: str = "queued"
    text_chars: int | None = None
    text: str | None = None
    ended_s: float | None = None
    effects: int = 0
    duplicates_prevented: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)
    executions: list[str] = field(default_factory=list)

    @property
    def waiting(self) -> bool:
        """Some upload of it has no outcome yet."""
        return self.finished < self.uploads

    def first(self, function: str) -> dict[str, Any] | None:
        """Its first result event of one function."""
        return next((e for e in self.events if e.get("function_role") == function), None)


class Follower:
    """Reads the journal and asks the stack; `step` until nothing waits."""

    def __init__(
        self,
        read_journal: Callable[[int, float], list[dict[str, Any]]],
        clients: Callable[[str], Any],
        outputs: dict[str, Any],
    ) -> None:
        self._read = read_journal
        self._clients = clients
        self._outputs = outputs
        self._sequence = 0
        self._seen_messages: set[str] = set()
        self._open_executions: dict[str, str] = {}
        self.entries: list[dict[str, Any]] = []
        self.documents: dict[str, Followed] = {}

    def client(self, service: str) -> Any:
        """A boto3 client of the stack's endpoint."""
        return self._clients(service)

    def add(self, document: Followed) -> None:
        """Start to follow a document that is about to be uploaded."""
        self.documents[document.key] = document

    def waiting(self) -> list[Followed]:
        """Documents with an upload that has no outcome yet."""
        return [d for d in self.documents.values() if d.waiting]

    def step(self, wait_s: float) -> None:
        """Take in what happened since the last step, waiting at most `wait_s` for something to happen."""
        fresh = self._read(self._sequence, wait_s)
        dead_letters = False
        for entry in fresh:
            self._sequence = max(self._sequence, entry["sequence"])
            self.entries.append(entry)
            kind = entry["kind"]
            if kind == "result":
                self._result(entry)
            elif kind == "execution":
                self._execution(entry)
            elif kind in {"sqs", "invocation"}:
                dead_letters = True
        if dead_letters or not fresh:
            self._dead_letters()

    def _result(self, entry: dict[str, Any]) -> None:
        event = entry["event"]
        event["function_role"] = event.get("service") or self._role(str(event.get("function", "")))
        facts = event.get("document") or {}
        document = self._find(facts)
        if document is None:
            return
        document.events.append(event)
        document.stage = event["function_role"]
        document.label = facts.get("label") or document.label
        if facts.get("text_chars") is not None:
            document.text_chars = int(facts["text_chars"])
        if event.get("outcome") == "duplicate_prevented":
            document.duplicates_prevented += 1

    def _find(self, facts: dict[str, Any]) -> Followed | None:
        key = facts.get("key")
        if key in self.documents:
            return self.documents[str(key)]
        digest = facts.get("sha256")
        return next((d for d in self.documents.values() if digest and d.sha256 == digest), None)

    def _role(self, function: str) -> str:
        names: dict[str, str] = self._outputs.get("functions", {})
        return next((role for role, name in names.items() if name == function), function)

    def _execution(self, entry: dict[str, Any]) -> None:
        if entry.get("status") not in TERMINAL:
            return
        arn = f"{self._outputs['workflow_arn'].replace(':stateMachine:', ':execution:')}:{entry['execution']}"
        told = self._clients("stepfunctions").describe_execution(executionArn=arn)
        given = json.loads(told["input"])["document"]
        document = self._find(given)
        if document is None or arn in document.executions:
            return
        document.executions.append(arn)
        history = (
            self._clients("stepfunctions").get_paginator("get_execution_history").paginate(executionArn=arn)
        )
        self.transitions += sum(
            e["type"].endswith("StateEntered") for page in history for e in page["events"]
        )
        document.label = given.get("label") or document.label
        if told["status"] == "SUCCEEDED":
            self._finish(document, "succeeded", None, None)
        else:
            # The workflow parks the message with its reason before it fails; the queue is the place of record.
            self._dead_letters()
            if document.outcome is None:
                self._finish(document, "failed", told.get("error"), _sentence(told.get("cause")))

    def _dead_letters(self) -> None:
        """Peek: the messages stay in the queue, visible."""
        queue = self._outputs["dead_letter_url"]
        while True:
            got = self._clients("sqs").receive_message(
                QueueUrl=queue, MaxNumberOfMessages=10, VisibilityTimeout=1, MessageAttributeNames=["All"]
            )
            fresh = [m for m in got.get("Messages", []) if m["MessageId"] not in self._seen_messages]
            for message in fresh:
                self._seen_messages.add(message["MessageId"])
                self._dead_letter(message)
            if not fresh:
                return

    def _dead_letter(self, message: dict[str, Any]) -> None:
        attributes = {k: v.get("StringValue", "") for k, v in message.get("MessageAttributes", {}).items()}
        code, reason = attributes.get("code"), _sentence(attributes.get("reason"))
        for facts in _documents_in(message["Body"]):
            document = self._find(facts)
            if document is not None:
                why = reason or "delivered too often without an outcome; see the function's log"
                self._finish(document, "failed", code or "undelivered", why)

    def _finish(self, document: Followed, outcome: str, code: str | None, reason: str | None) -> None:
        document.finished += 1
        document.ended_s = time.time()
        document.stage = "done"
        # A repeated upload must not turn a stated failure into nothing, nor a success into a failure.
        if document.outcome is None:
            document.outcome, document.code, document.reason = outcome, code, reason

    def count_effects(self) -> None:
        """Count published versions per document, straight from the versioned bucket."""
        versions: dict[str, int] = {}
        pages = self._clients("s3").get_paginator("list_object_versions")
        for page in pages.paginate(Bucket=self._outputs["results_bucket"], Prefix="published/"):
            for version in page.get("Versions", []):
                digest = version["Key"].removeprefix("published/").removesuffix(".json")
                versions[digest] = versions.get(digest, 0) + 1
        for document in self.documents.values():
            document.effects = versions.get(document.sha256, 0)
            if document.outcome == "succeeded":
                self._take_result(document)
        self.effects = sum(versions.values())
        self.repeated_effects = sum(n - 1 for n in versions.values())

    def _take_result(self, document: Followed) -> None:
        """Read the result object that the document's success promises."""
        key = f"results/{document.sha256}.json"
        body = self._clients("s3").get_object(Bucket=self._outputs["results_bucket"], Key=key)["Body"].read()
        result = json.loads(body)
        document.text = result.get("text")
        if document.text is not None:
            document.text_chars = len(document.text)

    effects = 0
    repeated_effects = 0
    transitions = 0


def _sentence(text: str | None) -> str | None:
    """The message inside what Step Functions wraps around a function's error; any other text as it is."""
    for key in ("Cause", "errorMessage"):
        try:
            inner = json.loads(text or "")[key]
        except (ValueError, KeyError, TypeError):
            continue
        text = str(inner)
    return text


def _documents_in(body: str) -> list[dict[str, Any]]:
    """Documents that a dead letter speaks of: an S3 notification, or the workflow's own message."""
    try:
        content = json.loads(body)
    except ValueError:
        return []
    if not isinstance(content, dict):
        return []
    if isinstance(content.get("document"), dict):
        return [content["document"]]
    records = content.get("Records", [])
    return [
        {"key": unquote_plus(r["s3"]["object"]["key"])} for r in records if isinstance(r, dict) and "s3" in r
    ]
