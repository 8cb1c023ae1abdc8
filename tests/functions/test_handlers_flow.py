"""The steps of the flow against a small S3 and DynamoDB over HTTP: what they read, write, start, refuse and prevent.

The GPU service and admission are stand-ins here, the ledger and the S3 client are the real ones. The deployed flow with
its roles and queues is an end-to-end test's matter.
"""

import json
import time
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra import bundles
from keepwarm_runtime.aws import S3, Aws
from keepwarm_runtime.batch import Record
from keepwarm_runtime.deadline import Deadline
from keepwarm_runtime.documents import S3Object
from keepwarm_runtime.effects import Effects
from keepwarm_runtime.errors import (
    BadEvent,
    CorruptDocument,
    DeadlineExceeded,
    DownstreamFault,
    EmptyDocument,
    NotFound,
    NotReady,
    Overloaded,
    TooLargeDocument,
    Unreachable,
)
from keepwarm_runtime.invocation import Invocation
from keepwarm_runtime.ledger import DynamoStore
from tests.support.fake_aws import FakeAws
from tests.support.handlers import DOCUMENTS, document_names, module, state, workflow_state

classification = module("classify", "classification")
extract_step = module("extract", "step")
ocr_step = module("ocr", "step")
enrich_step = module("enrich", "step")
publish_step = module("publish", "step")

NOW_S = 1_000.0
ARN = "arn:aws:states:eu-central-1:111122223333:stateMachine:documents"


def invocation(seconds: float = 30.0) -> Invocation:
    return Invocation({}, None, "r-1", 0.0, time.monotonic() + seconds, False, "on-demand")


def put(fake: FakeAws, s3: S3, key: str, data: bytes) -> str | None:
    return s3.put("intake", key, data).version_id


# -- classify


class Labels:
    """Labels everything the same, and remembers what it saw."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    def identify_bytes(self, content: bytes) -> Any:
        self.seen.append(content)
        return SimpleNamespace(output=SimpleNamespace(label="txt", mime_type="text/plain", group="text"))


class Workflows:
    """Starts executions in a dict, by name."""

    def __init__(self) -> None:
        self.started: dict[str, dict[str, Any]] = {}

    def __call__(self, name: str, text: str) -> bool:
        if name in self.started:
            return False
        self.started[name] = json.loads(text)
        return True


def message(*keys: str, sequencer: str = "01", sent_s: float = NOW_S, count: int = 1) -> Record:
    records = [
        {
            "eventName": "ObjectCreated:Put",
            "s3": {"bucket": {"name": "intake"}, "object": {"key": k, "sequencer": sequencer}},
        }
        for k in keys
    ]
    attributes = {"SentTimestamp": str(int(sent_s * 1000)), "ApproximateReceiveCount": str(count)}
    return Record({"messageId": "m-1", "body": json.dumps({"Records": records}), "attributes": attributes})


def classify(record: Record, s3: S3, start: Any, **changes: Any) -> Invocation:
    call = invocation()
    options: dict[str, Any] = {"labeller": Labels(), "now_epoch_s": NOW_S, "deadline": call.deadline}
    classification.classify(record, s3=s3, start=start, invocation=call, **(options | changes))
    return call


def test_given_new_object_when_classified_then_its_workflow_starts(fake: FakeAws, s3: S3) -> None:
    version = put(fake, s3, "in/näh e+1.txt", b"hello")
    workflows = Workflows()
    call = classify(message("in/n%C3%A4h+e%2B1.txt"), s3, workflows)
    ((name, state_),) = workflows.started.items()
    sha = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    assert name.startswith(f"{sha[:40]}-")
    assert len(name) <= 80
    assert state_ == {
        "document": {
            "bucket": "intake",
            "key": "in/näh e+1.txt",
            "name": "näh e+1.txt",
            "sha256": sha,
            "size_bytes": 5,
            "label": "txt",
            "mime": "text/plain",
            "group": "text",
            "version_id": version,
        },
        "deadline_epoch_s": NOW_S + 900,
        "deadline_at": "1970-01-01T00:31:40Z",
        "idempotency_key": sha,
    }
    assert workflow_state().parse(state_).document.as_state() == state_["document"]
    assert (call.key, call.outcome, call.document["name"]) == (sha, "ok", "näh e+1.txt")  # type: ignore[index]


def test_given_redelivery_when_classified_then_no_second_workflow_and_it_is_said(
    fake: FakeAws, s3: S3
) -> None:
    put(fake, s3, "a.txt", b"hello")
    workflows = Workflows()
    classify(message("a.txt"), s3, workflows)
    again = classify(message("a.txt", count=2), s3, workflows, now_epoch_s=NOW_S + 5)
    assert len(workflows.started) == 1
    assert (again.outcome, again.attempt) == ("duplicate_prevented", 2)


def test_given_upload_of_the_same_content_when_classified_then_a_workflow_of_its_own(
    fake: FakeAws, s3: S3
) -> None:
    put(fake, s3, "a.txt", b"hello")
    workflows = Workflows()
    classify(message("a.txt", sequencer="01"), s3, workflows)
    classify(message("a.txt", sequencer="02"), s3, workflows)
    names = sorted(workflows.started)
    assert len(names) == 2
    assert names[0][:40] == names[1][:40]


def test_given_event_that_waited_too_long_when_classified_then_refused_before_reading(
    fake: FakeAws, s3: S3
) -> None:
    with pytest.raises(DeadlineExceeded, match="got an event that waited 901 s; allowed 900 s"):
        classify(message("a.txt", sent_s=NOW_S - 901), s3, Workflows())
    assert fake.requests == []


@pytest.mark.parametrize(
    ("data", "kind"), [(b"", EmptyDocument), (b"x" * 100, TooLargeDocument), (None, NotFound)]
)
def test_given_bad_object_when_classified_then_refused_for_good(
    fake: FakeAws, s3: S3, data: bytes | None, kind: type[Exception]
) -> None:
    if data is not None:
        put(fake, s3, "a.txt", data)
    with pytest.raises(kind) as raised:
        classify(message("a.txt"), s3, Workflows(), max_bytes=99)
    assert getattr(raised.value, "retry", True) is False


def test_given_execution_that_exists_when_started_then_false(fake: FakeAws, aws: Aws) -> None:
    error = {"__type": "com.amazonaws.states#ExecutionAlreadyExists", "message": "Execution Already Exists"}
    answers: dict[str, Any] = {
        "new": {"executionArn": "x", "startDate": time.time()},
        "running": {"executionArn": "x", "startDate": time.time() - 60},
        "ended": (400, {}, json.dumps(error).encode()),
    }
    fake.answers["StartExecution"] = lambda request: answers[request["name"]]
    start = classification.starter(aws, ARN, Deadline.after(5))
    assert [start(name, "{}") for name in answers] == [True, False, False]
    sent = json.loads(fake.requests[0].body)
    assert sent == {"stateMachineArn": ARN, "name": "new", "input": "{}"}


@given(st.text(min_size=1, max_size=60), st.text(max_size=20))
def test_given_any_key_when_named_then_a_name_that_step_functions_takes(key: str, sequencer: str) -> None:
    name = classification.execution_name("ab" * 32, S3Object("b", key, None, sequencer, 1))
    assert len(name) <= 80
    assert set(name) <= set("0123456789abcdef-")


def test_labels_equal_those_of_the_magika_package() -> None:
    from magika import Magika

    model = bundles.build_models()["magika"]
    ours, package = classification.load(model.directory), Magika()
    labels = set()
    for name in document_names():
        data = (DOCUMENTS / name).read_bytes()
        mine, theirs = ours.identify_bytes(data).output, package.identify_bytes(data).output
        assert (mine.label, mine.mime_type, mine.group) == (theirs.label, theirs.mime_type, theirs.group)
        labels.add(str(mine.label))
    assert len(labels) >= 9


# -- the state


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"document": {"sha256": "xyz"}},
            "workflow state, document.sha256: got 'xyz'; allowed 64 hex digits",
        ),
        (
            {"document": {"bucket": ""}},
            "workflow state, document.bucket: got ''; allowed a text that is not empty",
        ),
        ({"document": {"size_bytes": True}}, "workflow state, document.size_bytes: got True"),
        ({"document": {"version_id": 3}}, "workflow state, document.version_id: got 3"),
        ({"deadline_epoch_s": float("nan")}, "workflow state, deadline_epoch_s: got nan"),
        ({"deadline_epoch_s": None}, "workflow state, deadline_epoch_s: got nothing"),
        ({"idempotency_key": ""}, "workflow state, idempotency_key: got ''"),
    ],
)
def test_given_bad_state_when_parsed_then_the_field_is_named(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(BadEvent) as raised:
        workflow_state().parse(state(**changes))
    assert str(raised.value).startswith(f"KW301 {text}")


@pytest.mark.parametrize("value", [None, [], "x", {}, {"document": []}])
def test_given_no_state_when_parsed_then_refused(value: Any) -> None:
    with pytest.raises(BadEvent):
        workflow_state().parse(value)


def test_given_document_deadline_in_the_past_when_a_step_starts_then_refused_with_the_time(s3: S3) -> None:
    with pytest.raises(DeadlineExceeded) as raised:
        enrich_step.run(
            state(), s3=s3, results_bucket="results", invocation=invocation(), now_epoch_s=2_001.5
        )
    assert "got a deadline that passed 1.5 s ago" in str(raised.value)


# -- extract


def stored(s3: S3, key: str) -> Any:
    return json.loads(s3.get("results", key).body)


def extracted(
    fake: FakeAws, s3: S3, name: str, label: str, group: str = "document"
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The state after the extract step of an example document."""
    import hashlib

    data = (DOCUMENTS / name).read_bytes()
    sha = hashlib.sha256(data).hexdigest()
    version = put(fake, s3, f"in/{name}", data)
    mime = {"png": "image/png", "tiff": "image/tiff"}.get(label, "application/octet-stream")
    facts = {"size_bytes": len(data), "label": label, "group": group, "version_id": version, "mime": mime}
    start = state(name, sha, document=facts)
    part = extract_step.run(
        start, s3=s3, results_bucket="results", invocation=invocation(), now_epoch_s=NOW_S
    )
    return start | {"extract": part}, part


def test_given_text_document_when_extracted_then_claim_check_and_small_facts(fake: FakeAws, s3: S3) -> None:
    after, part = extracted(fake, s3, "meeting-notes.txt", "txt", "text")
    sha = after["document"]["sha256"]
    assert part["ref"] == {"bucket": "results", "key": f"work/{sha}/extract.json"}
    assert (part["needs_ocr"], part["pages"], part["ocr_pages"]) == (False, 0, 0)
    kept = stored(s3, part["ref"]["key"])
    assert kept["text"].startswith("Meeting notes")
    assert len(kept["text"]) == part["text_chars"]
    assert len(json.dumps(part)) < 1_000


def test_given_scan_when_extracted_then_the_page_is_the_upload_itself(fake: FakeAws, s3: S3) -> None:
    after, part = extracted(fake, s3, "delivery-note.png", "png", "image")
    (page,) = stored(s3, part["ref"]["key"])["pages"]
    assert (part["needs_ocr"], part["ocr_pages"]) == (True, 1)
    assert page["image"] == {
        "bucket": "intake", "key": "in/delivery-note.png", "version_id": after["document"]["version_id"],
        "mime": "image/png",
    }  # fmt: skip


def test_given_scanned_pdf_when_extracted_then_its_pages_are_stored_for_the_service(
    fake: FakeAws, s3: S3
) -> None:
    after, part = extracted(fake, s3, "pump-invoice-scan.pdf", "pdf")
    pages = stored(s3, part["ref"]["key"])["pages"]
    sha = after["document"]["sha256"]
    assert [page["image"]["key"] for page in pages] == [
        f"work/{sha}/page-0001.jpg",
        f"work/{sha}/page-0002.png",
    ]
    assert s3.get("results", pages[0]["image"]["key"]).body.startswith(b"\xff\xd8")


def test_given_object_replaced_after_classification_when_extracted_then_refused(
    fake: FakeAws, s3: S3
) -> None:
    put(fake, s3, "in/note.txt", b"something else")
    with pytest.raises(CorruptDocument, match="because it was replaced after it was classified"):
        extract_step.run(state(), s3=s3, results_bucket="results", invocation=invocation(), now_epoch_s=NOW_S)


# -- ocr


class Pages:
    """A GPU service that reads every page as its own key, or fails as told."""

    def __init__(self, *faults: Exception | None) -> None:
        self.asked: list[tuple[dict[str, Any], str]] = []
        self.model: dict[str, str] = {"name": "rapidocr"}
        self.faults = list(faults)

    def post(self, path: str, body: bytes, *, deadline: Deadline, idempotency_key: str) -> Any:
        assert path == "/v1/ocr"
        assert deadline.remaining_s() <= Permits.hold_s
        fault = self.faults.pop(0) if self.faults else None
        if fault is not None:
            raise fault
        request = json.loads(body)
        self.asked.append((request, idempotency_key))
        text = request["s3"].rpartition("/")[2]
        answer = {
            "text": text,
            "lines": [{"text": text, "score": 0.5, "box": []}],
            "model": self.model,
        }
        return SimpleNamespace(status=200, json=lambda: answer)


class Permits:
    """Counts the permits that are out."""

    hold_s = 12.0
    wait_s = 3.0

    def __init__(self) -> None:
        self.out = self.taken = 0

    @contextmanager
    def permit(self, **_: Any) -> Any:
        self.out += 1
        self.taken += 1
        try:
            yield None
        finally:
            self.out -= 1


def read_pages(before: dict[str, Any], s3: S3, service: Any, permits: Any = None, call: Any = None) -> Any:
    return ocr_step.run(
        before, s3=s3, service=service, admission=permits or Permits(), results_bucket="results",
        invocation=call or invocation(), now_epoch_s=NOW_S,
    )  # fmt: skip


def test_given_two_pages_when_read_then_in_order_with_one_permit_each(fake: FakeAws, s3: S3) -> None:
    before, _ = extracted(fake, s3, "pump-invoice-scan.pdf", "pdf")
    service, permits = Pages(), Permits()
    part = read_pages(before, s3, service, permits)
    sha = before["document"]["sha256"]
    assert [request["s3"] for request, _ in service.asked] == [
        f"s3://results/work/{sha}/page-0001.jpg",
        f"s3://results/work/{sha}/page-0002.png",
    ]
    assert [key for _, key in service.asked] == [f"{sha}-1", f"{sha}-2"]
    assert (permits.taken, permits.out) == (2, 0)
    assert (part["pages"], part["read"], part["mean_score"], part["model"]) == (
        2,
        2,
        0.5,
        {"name": "rapidocr"},
    )
    assert stored(s3, part["ref"]["key"])["text"] == "page-0001.jpg\n\fpage-0002.png"


def test_given_service_full_at_the_second_page_when_called_again_then_only_that_page_is_sent(
    fake: FakeAws, s3: S3
) -> None:
    before, _ = extracted(fake, s3, "pump-invoice-scan.pdf", "pdf")
    service, permits = Pages(None, Overloaded("service", "HTTP 429", retry_after_s=2)), Permits()
    waits = read_pages(before, s3, service, permits)
    assert permits.out == 0
    part = read_pages(before | {"ocr": waits}, s3, service, permits)
    assert [key[-2:] for _, key in service.asked] == ["-1", "-2"]
    assert part["read"] == 1
    assert stored(s3, part["ref"]["key"])["text"] == "page-0001.jpg\n\fpage-0002.png"


@pytest.mark.parametrize(
    "fault",
    [
        Overloaded("permit pool reader", "no permit in the time allowed", retry_after_s=0.4),
        NotReady("service space/reader", "no healthy instance", retry_after_s=5.0),
        Unreachable("service reader", "POST", "NoAnswer", 0, "connection refused"),
        DeadlineExceeded("service reader", "0 ms left"),
    ],
)
def test_given_no_capacity_when_read_then_the_step_answers_with_a_wait(
    fake: FakeAws, s3: S3, fault: Any
) -> None:
    before, _ = extracted(fake, s3, "delivery-note.png", "png", "image")
    call = invocation()
    answer = read_pages(before, s3, Pages(fault), call=call)
    wait = answer["wait"]
    assert 4 <= wait["seconds"] <= 10
    assert wait["since_epoch_s"] == pytest.approx(NOW_S, abs=5)
    assert wait | {"seconds": 0, "since_epoch_s": 0} == {
        "seconds": 0, "waits": 1, "in_a_row": 1, "since_epoch_s": 0, "code": fault.code, "reason": str(fault),
    }  # fmt: skip
    assert call.outcome == "waiting"


def test_given_a_document_that_can_be_late_only_when_refused_then_it_fails_and_says_what_it_waited_for(
    fake: FakeAws, s3: S3
) -> None:
    before, _ = extracted(fake, s3, "delivery-note.png", "png", "image")
    earlier = {
        "wait": {"seconds": 9, "waits": 7, "in_a_row": 7, "since_epoch_s": NOW_S - 100, "reason": "KW321 x"}
    }
    late = before | {"ocr": earlier, "deadline_epoch_s": NOW_S + 1.9}
    with pytest.raises(DeadlineExceeded) as raised:
        read_pages(late, s3, Pages(NotReady("service space/reader", "no healthy instance")))
    assert str(raised.value) == (
        "KW322 document 'delivery-note.png': got 1.9 s left after 100 s in 7 waits for capacity, the last one for "
        "KW321 service space/reader, no healthy instance; allowed at least 1 s for the work; because its deadline "
        "lasts no longer; fix: allow more time (deadline_s), or keep more capacity ready (min_tasks, max_tasks)"
    )
    with pytest.raises(
        DeadlineExceeded, match=r"got 0.5 s left after 100 s in 7 waits .* for KW321 x; allowed"
    ):
        read_pages(late | {"deadline_epoch_s": NOW_S + 0.5}, s3, Pages())


def test_given_pages_left_when_the_invocation_is_too_short_for_another_then_it_goes_on_in_the_next(
    fake: FakeAws, s3: S3
) -> None:
    before, _ = extracted(fake, s3, "pump-invoice-scan.pdf", "pdf")
    service = Pages()
    short = invocation(seconds=14.9)
    answer = read_pages(before, s3, service, call=short)
    assert (answer["wait"]["seconds"], answer["wait"]["in_a_row"], len(service.asked)) == (1, 0, 1)
    part = read_pages(before | {"ocr": answer}, s3, service)
    assert (part["pages"], part["read"], len(service.asked)) == (2, 1, 2)


def test_given_a_model_that_changed_when_uploaded_again_then_it_is_read_with_the_new_one(
    fake: FakeAws, s3: S3
) -> None:
    before, _ = extracted(fake, s3, "delivery-note.png", "png", "image")
    assert read_pages(before, s3, Pages())["model"] == {"name": "rapidocr"}
    kept = read_pages(before, s3, Pages(Overloaded("service", "asked again")))
    assert (kept["read"], kept["model"]) == (0, {"name": "rapidocr"})
    newer = Pages()
    newer.model = {"name": "rapidocr", "version": "2"}
    again = read_pages(before | {"deadline_epoch_s": before["deadline_epoch_s"] + 60}, s3, newer)
    assert (again["read"], again["model"]) == (1, {"name": "rapidocr", "version": "2"})


@pytest.mark.parametrize("torn", [b'{"number": 1, "te', b"[]", b'{"number": 1}'])
def test_given_a_kept_page_that_cant_be_used_when_read_then_it_is_sent_again(
    fake: FakeAws, s3: S3, torn: bytes
) -> None:
    before, _ = extracted(fake, s3, "delivery-note.png", "png", "image")
    read_pages(before, s3, Pages())
    (key,) = [key for bucket, key in fake.objects if bucket == "results" and key.endswith("-0001.json")]
    s3.put("results", key, torn)
    assert read_pages(before, s3, Pages())["read"] == 1


def refusal(kind: str) -> DownstreamFault:
    fault = DownstreamFault("service", "HTTP 400")
    fault.status = 400
    fault.error = {"type": kind, "got": "data that can't be decoded"}
    return fault


def test_given_picture_that_the_service_cant_decode_when_read_then_the_document_is_at_fault(
    fake: FakeAws, s3: S3
) -> None:
    before, _ = extracted(fake, s3, "delivery-note.png", "png", "image")
    with pytest.raises(CorruptDocument) as raised:
        read_pages(before, s3, Pages(refusal("CorruptDocument")))
    assert str(raised.value).startswith(
        "KW313 document 'delivery-note.png', page 1: got data that can't be decoded; allowed"
    )


def test_given_refusal_that_is_not_about_the_picture_when_read_then_it_stays_the_services(
    fake: FakeAws, s3: S3
) -> None:
    before, _ = extracted(fake, s3, "delivery-note.png", "png", "image")
    with pytest.raises(DownstreamFault):
        read_pages(before, s3, Pages(refusal("KeyReused")))


def test_given_pages_without_a_word_when_read_then_the_document_is_empty(fake: FakeAws, s3: S3) -> None:
    before, _ = extracted(fake, s3, "delivery-note.png", "png", "image")
    service = Pages()
    service.post = lambda *_, **__: SimpleNamespace(  # type: ignore[method-assign]
        status=200, json=lambda: {"text": " ", "lines": [], "model": {}}
    )
    with pytest.raises(EmptyDocument, match="got pages on which nothing can be read"):
        read_pages(before, s3, service)


def test_given_step_before_it_missing_when_read_then_named(s3: S3) -> None:
    with pytest.raises(
        BadEvent, match="workflow state, extract: got nothing; allowed the answer of that step"
    ):
        read_pages(state(), s3, Pages())


# -- enrich


def enriched(before: dict[str, Any], s3: S3) -> dict[str, Any]:
    part = enrich_step.run(
        before, s3=s3, results_bucket="results", invocation=invocation(), now_epoch_s=NOW_S
    )
    return before | {"enrich": part}


@pytest.mark.parametrize(
    ("name", "label", "language", "piece"),
    [
        ("meeting-notes.txt", "txt", "en", ("emails", "jonas@records.example")),
        ("customer-mail.eml", "eml", "de", ("amounts", "1.183,46 EUR")),
        ("maintenance-contract.docx", "docx", "fr", ("dates", "24 février 2026")),
        ("technical-visit.odt", "odt", "es", ("dates", "18 de marzo de 2026")),
    ],
)
def test_given_text_when_enriched_then_language_and_entities(
    fake: FakeAws, s3: S3, name: str, label: str, language: str, piece: tuple[str, str]
) -> None:
    before, _ = extracted(fake, s3, name, label, "text")
    after = enriched(before, s3)
    found = stored(s3, after["enrich"]["ref"]["key"])
    assert after["enrich"]["language"] == found["language"] == language
    assert piece[1] in found["entities"][piece[0]]
    assert found["summary"]
    assert found["lix"] > 10


def test_given_ocr_before_it_when_enriched_then_its_text_counts(fake: FakeAws, s3: S3) -> None:
    before, _ = extracted(fake, s3, "delivery-note.png", "png", "image")
    part = read_pages(before, s3, Pages())
    after = enriched(before | {"ocr": part}, s3)
    assert after["enrich"]["keywords"] == ["delivery-note"]


enrichment = module("enrich", "enrichment")


@given(st.text(max_size=500))
def test_given_any_text_when_enriched_then_facts_that_json_takes_and_the_same_twice(text: str) -> None:
    found = enrichment.enrich(text)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert enrichment.enrich(text) == found


def test_given_hostile_text_when_enriched_then_in_linear_time() -> None:
    # No clock: with a quadratic pattern the first of these takes 10^10 steps, and the test's time limit ends it.
    for text in (
        "1" * 200_000,
        "a" * 200_000,
        "a.b" * 60_000,
        "EUR " * 50_000,
        "1 000 " * 30_000,
        "x@" * 90_000,
    ):
        enrichment.enrich(text)


def test_given_no_words_when_enriched_then_undetermined() -> None:
    assert enrichment.enrich("") == {
        "language": "und",
        "confidence": 0.0,
        "words": 0,
        "sentences": 0,
        "keywords": [],
        "entities": {"dates": [], "amounts": [], "emails": [], "percentages": [], "identifiers": []},
        "lix": 0.0,
        "summary": "",
    }


# -- publish


def publish(before: dict[str, Any], fake: FakeAws, aws: Aws, s3: S3) -> tuple[dict[str, Any], Invocation]:
    fake.tables.add("ledger")
    call = invocation()
    effects = Effects(DynamoStore(aws, "ledger"))
    part = publish_step.run(
        before, s3=s3, effects=effects, results_bucket="results", invocation=call, now_epoch_s=NOW_S
    )
    return part, call


def ready(fake: FakeAws, s3: S3) -> dict[str, Any]:
    before, _ = extracted(fake, s3, "meeting-notes.txt", "txt", "text")
    return enriched(before, s3)


def published(fake: FakeAws) -> list[tuple[str, str, str]]:
    return [place for place in fake.versions if place[1].startswith("published/")]


def test_given_first_document_when_published_then_result_and_one_effect(
    fake: FakeAws, aws: Aws, s3: S3
) -> None:
    before = ready(fake, s3)
    part, call = publish(before, fake, aws, s3)
    sha = before["document"]["sha256"]
    assert part == {
        "result": {"bucket": "results", "key": f"results/{sha}.json"},
        "published": {"bucket": "results", "key": f"published/{sha}.json"},
        "duplicate_prevented": False,
        "epoch": 1,
    }
    result = stored(s3, f"results/{sha}.json")
    assert result["text"].startswith("Meeting notes")
    assert result["enrichment"]["language"] == "en"
    assert result["document"]["name"] == "meeting-notes.txt"
    assert (call.outcome, len(published(fake))) == ("ok", 1)


def test_given_document_again_under_another_name_when_published_then_no_second_effect(
    fake: FakeAws, aws: Aws, s3: S3
) -> None:
    before = ready(fake, s3)
    first, _ = publish(before, fake, aws, s3)
    renamed = before | {"document": before["document"] | {"name": "copy.txt", "key": "in/copy.txt"}}
    second, call = publish(renamed, fake, aws, s3)
    assert (second["duplicate_prevented"], call.outcome) == (True, "duplicate_prevented")
    assert second["published"] == first["published"]
    assert len(published(fake)) == 1


def test_given_effect_whose_reply_was_lost_when_published_again_then_it_is_found_and_not_repeated(
    fake: FakeAws, aws: Aws, s3: S3
) -> None:
    from tests.support.fake_aws import Fault

    before = ready(fake, s3)
    lost = [True]

    def drop(seen: Any) -> Fault | None:
        if seen.method == "PUT" and "/published/" in seen.path and lost:
            lost.pop()
            return Fault(drop_reply=True)
        return None

    fake.fault = drop
    publish(before, fake, aws, s3)
    assert not lost
    part, _ = publish(before, fake, aws, s3)
    assert part["duplicate_prevented"] is True
    assert len(published(fake)) == 1


def test_given_published_object_and_a_lost_ledger_when_published_then_s3_refuses_the_second_effect(
    fake: FakeAws, aws: Aws, s3: S3
) -> None:
    before = ready(fake, s3)
    publish(before, fake, aws, s3)
    fake.items.clear()
    part, call = publish(before, fake, aws, s3)
    assert (part["duplicate_prevented"], call.outcome) == (True, "duplicate_prevented")
    assert len(published(fake)) == 1
