"""What surrounds a handler: settings, phases, the result event, batches, documents, snapshots.

Proves: C1 names and exclusive times, cold told from provisioned and proactive, one event per invocation on success and
failure with C5's fields, EMF that CloudWatch accepts, no secrets and no payloads in it; batches fail closed; every setting
is named when wrong. Does not prove: that CloudWatch shows it (the embedded cloud's tests) nor timings (the benchmarks).
"""

# Error texts are asserted whole and on one line.
# ruff: noqa: E501

import io
import json
import runpy
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepwarm_runtime import errors, events, phases, snapshot
from keepwarm_runtime.aws import METER, S3
from keepwarm_runtime.batch import Record, parse_batch, run_batch
from keepwarm_runtime.deadline import Deadline
from keepwarm_runtime.documents import read_document, s3_records
from keepwarm_runtime.errors import (
    BadBatch,
    BadDocument,
    BadEvent,
    BadResult,
    CorruptDocument,
    DeadlineExceeded,
    EmptyDocument,
    InvalidSettings,
    Overloaded,
    RuntimeFault,
    TooLargeDocument,
)
from keepwarm_runtime.invocation import METRICS, PHASE_METRICS, Invocation, handler
from keepwarm_runtime.phases import PHASES, Lifecycle, Recorder
from keepwarm_runtime.settings import VARIABLES, Settings
from keepwarm_runtime.warm import Warm
from tests.support.fake_aws import FakeAws, Fault

FUNCTIONS = Path(__file__).parents[2] / "functions"


class Ticks:
    """A clock moved by hand."""

    def __init__(self, now: float = 100.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Output:
    """What was written to standard output so far."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self._text = ""

    def getvalue(self) -> str:
        self._text += self._capsys.readouterr().out
        return self._text


@pytest.fixture
def out(capsys: pytest.CaptureFixture[str]) -> Output:
    return Output(capsys)


def lines(out: Output) -> list[dict[str, Any]]:
    assert out.getvalue() == "" or out.getvalue().endswith("\n")
    return [json.loads(line) for line in out.getvalue().splitlines()]


def context(left_ms: int = 5000, request_id: str = "r-1") -> Any:
    return SimpleNamespace(aws_request_id=request_id, get_remaining_time_in_millis=lambda: left_ms)


def lifecycle(clock: Ticks, pool: str = "on-demand") -> Lifecycle:
    return Lifecycle(imported_s=clock.now, age_at_import_s=0.25, pool=pool)


# -- errors


def test_every_fault_has_a_code_that_is_listed_once_and_a_one_line_text() -> None:
    def tree(kind: type[RuntimeFault]) -> Iterator[type[RuntimeFault]]:
        yield kind
        for child in kind.__subclasses__():
            yield from tree(child)

    classes = [kind for kind in tree(RuntimeFault) if kind.__module__ == errors.__name__]
    own = [kind for kind in classes if "code" in vars(kind) and kind is not RuntimeFault]
    assert sorted(kind.code for kind in own) == sorted(errors.CODES)
    for kind in own:
        assert f"{kind.__name__:<17}"[:17].strip() in str(errors.__doc__)
        assert kind.code in str(errors.__doc__)
    text = str(BadDocument("a\nb", "x\n  y", allowed="z", because="w", fix="v"))
    assert text == "KW310 a b: got x y; allowed z; because w; fix: v"


# -- settings


def test_given_nothing_when_reading_then_defaults() -> None:
    settings = Settings.from_env({"TMPDIR": "/scratch/"})
    assert (settings.cache_dir, settings.admission_pool, settings.admission_permits) == (
        "/scratch/keepwarm",
        "default",
        1,
    )
    assert (settings.metric_namespace, settings.document_deadline_s, settings.model_ref) == (
        "Keepwarm",
        900.0,
        None,
    )
    assert Settings.from_env({}).cache_dir == "/tmp/keepwarm"


def test_given_an_argument_and_a_variable_when_reading_then_the_argument_wins() -> None:
    env = {"KEEPWARM_ADMISSION_PERMITS": "7", "KEEPWARM_RESULTS_BUCKET": "from-env"}
    settings = Settings.from_env(env, results_bucket="argued")
    assert (settings.results_bucket, settings.admission_permits) == ("argued", 7)


def test_given_several_wrong_values_when_reading_then_one_text_names_all() -> None:
    env = {
        "KEEPWARM_MODEL_REF": "magika:latest",
        "KEEPWARM_ADMISSION_PERMITS": "1e2",
        "KEEPWARM_DEAD_LETTER_URL": "queue",
    }
    with pytest.raises(InvalidSettings) as caught:
        Settings.from_env(env, cache_dir="relative")
    assert str(caught.value) == (
        "KW300 settings: got KEEPWARM_MODEL_REF: got 'magika:latest'; allowed name@sha256:<64 lower-case hex digits> or "
        "name:channel (never :latest: it says nothing about what runs) / argument cache_dir: got 'relative'; allowed an absolute "
        "path / KEEPWARM_ADMISSION_PERMITS: got '1e2'; allowed a whole number from 1 to 100 / KEEPWARM_DEAD_LETTER_URL: got "
        "'queue'; allowed a queue URL (https://...); fix: set the variable on the function; the component that owns it does"
    )


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("KEEPWARM_MODEL_REF", "x@sha256:ABC"), ("KEEPWARM_MODEL_REF", "x"), ("KEEPWARM_ADMISSION_PERMITS", "0"),
        ("KEEPWARM_PERMIT_HOLD_S", "0"), ("KEEPWARM_PERMIT_WAIT_S", "-1"), ("KEEPWARM_PERMIT_HOLD_S", "nan"),
        ("KEEPWARM_ADMISSION_PERMITS", "101"), ("KEEPWARM_ADMISSION_PERMITS", "٣"), ("KEEPWARM_WORKFLOW_ARN", "arn:aws:lambda"),
        ("KEEPWARM_RESULTS_BUCKET", "a\x00b"), ("KEEPWARM_DOCUMENT_DEADLINE_S", "nan"), ("KEEPWARM_DOCUMENT_DEADLINE_S", "0"),
        ("KEEPWARM_CACHE_DIR", "tmp"),
    ],
)  # fmt: skip
def test_given_a_wrong_value_when_reading_then_its_variable_is_named(variable: str, value: str) -> None:
    with pytest.raises(InvalidSettings, match=f"^KW300 settings: got {variable}: got "):
        Settings.from_env({variable: value})


@given(st.dictionaries(st.sampled_from(sorted(VARIABLES.values())), st.text(max_size=20)))
def test_given_any_environment_when_reading_then_settings_or_one_fault(env: dict[str, str]) -> None:
    try:
        Settings.from_env(env)
    except InvalidSettings as fault:
        text = str(fault)
    else:
        text = ""
    assert "\n" not in text


def test_given_a_setting_that_is_needed_and_unset_when_asking_then_its_variable_is_named() -> None:
    with pytest.raises(InvalidSettings) as caught:
        Settings.from_env({}).need("results_bucket")
    assert str(caught.value) == (
        "KW300 KEEPWARM_RESULTS_BUCKET: got nothing; allowed a value; because this function uses it; fix: set the variable on the "
        "function; the component that owns it does"
    )


# -- phases


def test_phases_are_those_of_the_components() -> None:
    # Loaded by path: the package itself would bring Pulumi along.
    theirs = runpy.run_path(str(FUNCTIONS.parent / "components" / "keepwarm" / "phases.py"))["PHASES"]
    assert tuple(theirs) == PHASES


def test_given_nested_phases_when_measuring_then_each_counts_only_its_own_time() -> None:
    clock = Ticks(0.0)
    recorder = Recorder(clock)
    with recorder.measure("load"):
        clock.now += 1.0
        with recorder.measure("verify"):
            clock.now += 2.0
        recorder.add("fetch", 0.5)
        clock.now += 4.5
    assert recorder.times_s == {"load": 5.0, "verify": 2.0, "fetch": 0.5}
    assert recorder.milliseconds()["verify"] == 2000.0
    assert recorder.milliseconds()["scheduling"] is None
    assert tuple(recorder.milliseconds()) == PHASES


def test_given_a_name_outside_c1_when_measuring_then_refused() -> None:
    with pytest.raises(ValueError, match=r"^'warming' is not a phase; the phases are scheduling, sandbox, "):
        Recorder().measure("warming")


def test_given_a_real_process_when_asked_for_its_age_then_it_grows_from_the_start_of_the_process() -> None:
    age = phases.process_age_s()
    assert age is not None
    assert 0.0 < age < 86_400.0
    code = "import time; time.sleep(0.1); from keepwarm_runtime.phases import LIFECYCLE as l; print(l.init.times_s['runtime_init'])"
    out = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(FUNCTIONS)},
    )
    assert 0.1 <= float(out.stdout) < 10.0


@pytest.mark.parametrize("content", ["", "1 (a) b) S", "x"])
def test_given_a_proc_file_nobody_understands_when_asked_then_unknown(tmp_path: Path, content: str) -> None:
    (tmp_path / "stat").write_text(content)
    assert phases.process_age_s(str(tmp_path / "stat")) is None


@pytest.mark.parametrize(
    ("env", "pool"),
    [
        ({"AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand"}, "on-demand"),
        ({"AWS_LAMBDA_INITIALIZATION_TYPE": "provisioned-concurrency"}, "provisioned"),
        ({"AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"}, "snapshot"),
        ({"AWS_LAMBDA_FUNCTION_NAME": "f"}, "on-demand"),
        ({}, "resident"),
    ],
)
def test_given_the_initialization_type_when_asked_then_the_pool(env: dict[str, str], pool: str) -> None:
    assert phases.pool_of(env) == pool


@pytest.mark.parametrize(
    ("pool", "idle_s", "cold"),
    [("on-demand", 0.0, True), ("on-demand", 9.0, True), ("on-demand", 60.0, False), ("provisioned", 0.0, False),
     ("snapshot", 0.1, True), ("resident", 0.0, False)],
)  # fmt: skip
def test_given_a_first_request_when_it_comes_then_cold_only_if_it_waited(
    pool: str, idle_s: float, cold: bool
) -> None:
    clock = Ticks()
    life = lifecycle(clock, pool)
    life.imports_done(100.0, 100.5)
    assert life.begin(100.5 + idle_s) is cold
    assert life.begin(101.0 + idle_s) is False


def test_given_phases_at_import_when_imports_end_then_they_are_not_counted_twice() -> None:
    life = lifecycle(Ticks())
    life.init.add("fetch", 0.3)
    life.init.add("load", 0.2)
    life.imports_done(100.0, 101.0)
    life.imports_done(100.0, 109.0)
    assert life.init.times_s == {
        "runtime_init": 0.25,
        "fetch": 0.3,
        "load": 0.2,
        "imports": pytest.approx(0.5),
    }


def test_given_ecs_metadata_when_read_then_pull_and_sandbox() -> None:
    task = {
        "PullStartedAt": "2026-01-01T00:00:00.123456789Z",
        "PullStoppedAt": "2026-01-01T00:00:02.623456789Z",
        "Containers": [{"Name": "side", "StartedAt": "2026-01-01T00:00:09Z"},
                       {"Name": "server", "StartedAt": "2026-01-01T00:00:03.123456Z"}],
    }  # fmt: skip
    assert phases.from_ecs_metadata(task, "server") == {
        "image_pull": pytest.approx(2.5), "sandbox": pytest.approx(0.5),
    }  # fmt: skip
    assert phases.from_ecs_metadata({"PullStartedAt": "soon"}) == {}


# -- the result event


def wrapped(
    clock: Ticks, function: Callable[[Any, Invocation], Any], pool: str = "on-demand", **arguments: Any
) -> Callable[[Any, Any], Any]:
    life = lifecycle(clock, pool)
    run = handler("classify", lifecycle=life, monotonic=clock, wall=lambda: 1_700_000_000.5, **arguments)(
        function
    )
    life.ready_at_s = clock.now
    return run


def test_given_the_first_invocation_when_it_succeeds_then_the_whole_event(
    out: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "classify-1234")
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_VERSION", "7")
    clock = Ticks()

    def handle(event: Any, call: Invocation) -> Any:
        call.key = "k1"
        call.document = {"sha256": "ab", "size_bytes": 3}
        call.model = {"name": "magika", "version": "1", "digest": "d", "cache": "hit"}
        call.downstream("ocr", status=200)
        call.count("pages", 2)
        METER.calls += 2
        METER.bytes += 10
        with call.measure("load"):
            pass
        clock.now += 0.25
        return {"answer": event["payload"]}

    run = wrapped(clock, handle)
    assert run({"payload": "secret text"}, context()) == {"answer": "secret text"}
    (line,) = lines(out)
    emf = line.pop("_aws")
    assert "secret text" not in out.getvalue()
    assert line.pop("phases")["runtime_init"] == 250.0
    assert line.pop("phase_load_ms") == pytest.approx(0, abs=5)
    assert line == {
        "event": "keepwarm.result", "service": "classify", "function": "classify-1234", "version": "7", "request_id": "r-1",
        "key": "k1", "outcome": "ok", "cold": True, "pool": "on-demand", "duration_ms": 250.0, "remaining_ms": 4750,
        "model": {"name": "magika", "version": "1", "digest": "d", "cache": "hit"}, "storage": {"ops": 2, "bytes": 10},
        "attempt": 1, "downstream": {"ocr": {"status": 200}}, "cold_start": 1, "succeeded": 1, "failed": 0, "init_ms": 250.0,
        "phase_runtime_init_ms": 250.0, "phase_imports_ms": 0.0, "pages": 2, "document": {"sha256": "ab", "size_bytes": 3},
    }  # fmt: skip
    assert emf["Timestamp"] == 1_700_000_000_500
    assert_emf(line | {"phase_load_ms": 0}, emf)


def assert_emf(line: dict[str, Any], emf: dict[str, Any]) -> None:
    """Every metric is a number of the line, every dimension a text of it (the EMF specification)."""
    for directive in emf["CloudWatchMetrics"]:
        assert directive["Namespace"] == "Keepwarm"
        assert len(directive["Metrics"]) <= 100
        for names in directive["Dimensions"]:
            assert all(isinstance(line[name], str) for name in names)
        for metric in directive["Metrics"]:
            assert isinstance(line[metric["Name"]], int | float), metric
            assert not isinstance(line[metric["Name"]], bool)
            assert metric["Unit"] in ("Milliseconds", "Count", "Bytes")


def test_given_plain_warm_calls_when_they_succeed_then_the_short_line_has_the_same_fields(
    out: Output,
) -> None:
    clock = Ticks()
    run = wrapped(clock, lambda _event, _call: None)
    for number in range(4):
        run({}, context(request_id=f"r-{number}"))
    written = lines(out)
    full, plain = written[2], written[3]
    assert [line["request_id"] for line in written] == ["r-0", "r-1", "r-2", "r-3"]
    assert [line["cold"] for line in written] == [True, False, False, False]
    assert_emf(plain, plain["_aws"])
    del full["request_id"], plain["request_id"]
    assert full == plain
    assert {"duration_ms", "remaining_ms", "phases", "storage", "attempt", "outcome", "pool"} <= set(plain)
    assert [metric["Name"] for metric in plain["_aws"]["CloudWatchMetrics"][0]["Metrics"]] == list(METRICS)


@pytest.mark.parametrize(
    ("note", "field", "value"),
    [
        (lambda call: call.count("pages", 3), "pages", 3),
        (lambda call: setattr(call, "key", "k"), "key", "k"),
        (lambda call: setattr(call, "document", {"sha256": "a"}), "document", {"sha256": "a"}),
        (lambda call: setattr(call, "model", {"name": "m"}), "model", {"name": "m"}),
        (lambda call: call.downstream("ocr", status=200), "downstream", {"ocr": {"status": 200}}),
        (lambda call: setattr(call, "outcome", "empty"), "outcome", "empty"),
    ],
)
def test_given_one_fact_in_a_warm_call_when_reported_then_it_is_in_the_line(
    out: Output, note: Callable[[Invocation], object], field: str, value: object
) -> None:
    run = wrapped(Ticks(), lambda _event, call: note(call) and None)
    for _ in range(4):
        run({}, context())
    assert [line[field] for line in lines(out)] == [value] * 4


def test_given_a_second_request_when_it_ends_then_the_first_ones_delta_is_known(out: Output) -> None:
    clock = Ticks()
    taken = iter([0.5, 0.125, 0.125])

    def handle(_event: Any, _call: Invocation) -> None:
        clock.now += next(taken)

    run = wrapped(clock, handle)
    for _ in range(3):
        run({}, context())
    assert [line.get("first_request_delta_ms") for line in lines(out)] == [None, 375.0, None]


@pytest.mark.parametrize(
    ("error", "outcome", "code"),
    [
        (Overloaded("ocr", "HTTP 429"), "retry", "KW320"),
        (CorruptDocument("a.pdf", "half a page"), "rejected", "KW313"),
        (ValueError("Authorization: Bearer abc.def"), "error", None),
        (SystemExit(3), "error", None),
    ],
)
def test_given_a_failure_when_it_is_raised_then_it_is_reported_redacted_and_raised_on(
    out: Output, error: BaseException, outcome: str, code: str | None
) -> None:
    def handle(_event: Any, _call: Invocation) -> None:
        raise error

    run = wrapped(Ticks(), handle)
    with pytest.raises(type(error)) as caught:
        run({}, context())
    assert caught.value is error
    (line,) = lines(out)
    assert (line["outcome"], line["failed"], line["succeeded"]) == (outcome, 1, 0)
    assert (line["error"]["code"], line["error"]["type"]) == (code, type(error).__name__)
    assert "abc.def" not in out.getvalue()
    assert_emf(line, line["_aws"])


def test_given_a_prevented_duplicate_when_reported_then_it_is_a_success_and_a_metric(
    out: Output,
) -> None:
    def handle(_event: Any, call: Invocation) -> None:
        call.outcome = "duplicate_prevented"

    wrapped(Ticks(), handle)({}, context())
    (line,) = lines(out)
    assert (line["outcome"], line["succeeded"], line["duplicate_prevented"]) == ("duplicate_prevented", 1, 1)
    assert {"Name": "duplicate_prevented", "Unit": "Count"} in line["_aws"]["CloudWatchMetrics"][0]["Metrics"]


def test_given_no_time_left_on_entry_when_invoked_then_the_handler_is_not_run(out: Output) -> None:
    run = wrapped(Ticks(), lambda _event, _call: pytest.fail("ran"))
    with pytest.raises(
        DeadlineExceeded, match=r"^KW322 classify: got 0 ms left on entry; allowed time to work in"
    ):
        run({}, context(left_ms=0))
    assert lines(out)[0]["remaining_ms"] == 0


@pytest.mark.parametrize(
    ("result", "got"),
    [(object(), "object: "), (float("nan"), "float: "), ("x" * 7_000_000, "7,000,002 bytes")],
)
def test_given_a_result_lambda_could_not_send_when_checked_then_refused(
    out: Output, result: Any, got: str
) -> None:
    run = wrapped(Ticks(), lambda _event, _call: result, check_result=True)
    with pytest.raises(BadResult, match=f"^KW303 classify result: got {got}"):
        run({}, context())


@given(request_id=st.text(max_size=20))
def test_given_any_request_id_when_reported_then_the_line_is_json(request_id: str) -> None:
    stream = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        run = wrapped(Ticks(), lambda _event, _call: None)
        for _ in range(4):
            run({}, context(request_id=request_id))
    assert {json.loads(line)["request_id"] for line in stream.getvalue().splitlines()} == {
        request_id or "none"
    }


def test_given_no_lambda_context_when_invoked_then_it_still_works(out: Output) -> None:
    def handle(_event: Any, call: Invocation) -> float:
        return call.remaining_s()

    run = handler("server", lifecycle=lifecycle(Ticks(), "resident"))(handle)
    assert run({}, None) > 3600
    assert lines(out)[0]["request_id"] == "none"


def test_metrics_of_phases_are_named_after_them() -> None:
    assert PHASE_METRICS[2] == "phase_image_pull_ms"
    assert len(PHASE_METRICS) == len(PHASES) == 11


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("key AKIAIOSFODNN7EXAMPLE used", "key [redacted] used"),
        ("GET /?X-Amz-Signature=abcdef012&x=1", "GET /?[redacted]&x=1"),
        ('{"password": "hunter2"}', '{"[redacted]"}'),
        ("Authorization: AWS4-HMAC-SHA256 Credential=a/b", "[redacted]"),
        ("jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NSJ9.abc_-1 end", "jwt [redacted] end"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY----- x", "[redacted] x"),
        ("KW310 a.pdf: got nothing", "KW310 a.pdf: got nothing"),
    ],
)
def test_given_a_credential_in_a_text_when_redacting_then_it_is_gone(text: str, kept: str) -> None:
    assert events.redact(text) == kept


def test_given_a_long_text_when_redacting_then_cut() -> None:
    assert len(events.redact("x" * 10_000)) == 512


def test_given_concurrent_events_when_written_then_no_line_is_cut(out: Output) -> None:
    def write(number: int) -> None:
        for _ in range(50):
            events.emit({"n": number})

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lines(out)) == 200


# -- batches


def sqs(*ids: str, **attributes: Any) -> dict[str, Any]:
    return {
        "Records": [
            {"messageId": i, "body": i, "attributes": {"ApproximateReceiveCount": "2", **attributes}}
            for i in ids
        ]
    }


def failed(*ids: str) -> dict[str, list[dict[str, str]]]:
    return {"batchItemFailures": [{"itemIdentifier": i} for i in ids]}


def test_given_a_poison_message_when_the_batch_runs_then_only_it_comes_back(out: Output) -> None:
    done: list[str] = []

    def work(record: Record) -> None:
        if record.body == "m3":
            raise ZeroDivisionError("poison")
        done.append(record.body)

    ids = [f"m{n}" for n in range(10)]
    assert run_batch(sqs(*ids), work, deadline=Deadline.after(10)) == failed("m3")
    assert done == [i for i in ids if i != "m3"]
    assert lines(out)[0]["error"]["type"] == "ZeroDivisionError"
    assert lines(out)[0]["attempt"] == 2


def test_given_a_permanent_failure_when_parked_then_acknowledged_and_if_parking_fails_then_not(
    out: Output,
) -> None:
    parked: list[tuple[str, str]] = []

    def work(record: Record) -> None:
        raise CorruptDocument(record.body, "half a page")

    def park(record: Record, fault: RuntimeFault) -> None:
        if record.body == "m2":
            raise ConnectionError("the queue is away")
        parked.append((record.message_id, fault.code))

    assert run_batch(sqs("m1", "m2"), work, park=park, deadline=Deadline.after(10)) == failed("m2")
    assert parked == [("m1", "KW313")]
    assert run_batch(sqs("m1"), work, deadline=Deadline.after(10)) == failed("m1")


def test_given_secrets_among_facts_when_the_event_is_written_then_they_are_not_in_it(out: Output) -> None:
    @handler(service="s", lifecycle=Lifecycle(imported_s=0.0, age_at_import_s=None, pool="on-demand"))
    def handle(_event: Any, invocation: Invocation) -> None:
        invocation.document = {
            "name": "a.pdf",
            "size_bytes": 3,
            "note": "password=hunter2 AKIAIOSFODNN7EXAMPLE",
        }
        invocation.downstream(
            "mail", status=200, api_key="k-123", headers={"Authorization": "Bearer abc", "host": "mail"},
            log=["Authorization: Bearer abc.def"],
        )  # fmt: skip

    handle({}, None)
    (line,) = lines(out)
    assert line["document"] == {"name": "a.pdf", "size_bytes": 3, "note": "[redacted] [redacted]"}
    assert line["downstream"]["mail"] == {
        "status": 200, "api_key": "[redacted]", "headers": {"Authorization": "[redacted]", "host": "mail"},
        "log": ["[redacted]"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("bodies", "outcome", "succeeded", "failures"),
    [
        (["good", "good"], "ok", 2, 0),
        (["good", "busy", "good"], "ok", 2, 1),
        (["busy"], "error", 0, 1),
        (["busy", "broken", "park"], "error", 0, 3),
        (["park"], "rejected", 0, 1),
        (["park", "good"], "ok", 1, 1),
    ],
)
def test_given_a_batch_when_answered_then_the_event_counts_its_records(
    out: Output, bodies: list[str], outcome: str, succeeded: int, failures: int
) -> None:
    def work(record: Record) -> None:
        if record.body == "busy":
            raise Overloaded("ocr", "HTTP 429")
        if record.body == "broken":
            raise ZeroDivisionError
        if record.body == "park":
            raise CorruptDocument("d", "half a page")

    @handler(service="b", lifecycle=Lifecycle(imported_s=0.0, age_at_import_s=None, pool="on-demand"))
    def handle(event: Any, invocation: Invocation) -> Any:
        return run_batch(
            event, work, park=lambda *_: None, deadline=invocation.deadline, invocation=invocation
        )

    event = sqs(*(f"m{n}" for n in range(len(bodies))))
    for record, body in zip(event["Records"], bodies, strict=True):
        record["body"] = body
    answer = handle(event, None)
    back = [
        r["messageId"] for r, body in zip(event["Records"], bodies, strict=True) if body in ("busy", "broken")
    ]
    assert answer == failed(*back)
    line = lines(out)[-1]
    assert (line["outcome"], line["succeeded"], line["failed"]) == (outcome, succeeded, failures)


def test_given_a_retryable_failure_when_parking_is_possible_then_it_comes_back_instead(
    out: Output,
) -> None:
    def work(_record: Record) -> None:
        raise Overloaded("ocr", "HTTP 429")

    def park(_record: Record, _fault: RuntimeFault) -> None:
        pytest.fail("parked")

    assert run_batch(sqs("m1"), work, park=park, deadline=Deadline.after(10)) == failed("m1")


def test_given_no_time_when_the_batch_runs_then_the_rest_comes_back_unstarted() -> None:
    clock = Ticks()
    started: list[str] = []

    def work(record: Record) -> None:
        started.append(record.body)
        clock.now += 3.0

    answer = run_batch(sqs("m1", "m2", "m3"), work, deadline=Deadline(105.0, clock), reserve_s=1.0)
    assert (started, answer) == (["m1", "m2"], failed("m3"))


def test_given_a_fifo_group_when_one_fails_then_those_behind_it_come_back_in_order(out: Output) -> None:
    done: list[str] = []

    def work(record: Record) -> None:
        if record.body == "m2":
            raise ValueError("no")
        done.append(record.body)

    answer = run_batch(sqs("m1", "m2", "m3", MessageGroupId="g"), work, deadline=Deadline.after(10))
    assert (done, answer) == (["m1"], failed("m2", "m3"))


@pytest.mark.parametrize(
    ("event", "got"),
    [
        ({}, "dict without a list of Records"),
        ([], "list without a list of Records"),
        (None, "NoneType without a list of Records"),
        ({"Records": [{"body": "x"}]}, "no messageId"),
        ({"Records": [{"messageId": ""}]}, "no messageId"),
        ({"Records": ["x"]}, "no messageId"),
        (sqs("a", "a"), "messageId a for the second time"),
    ],
)
def test_given_a_batch_that_cannot_be_answered_when_parsing_then_nothing_is_run(event: Any, got: str) -> None:
    with pytest.raises(BadBatch, match=f"^KW302 event.*: got {got}; allowed SQS records with distinct"):
        run_batch(event, lambda _record: pytest.fail("ran"), deadline=Deadline.after(10))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["Records", "messageId", "body", "attributes"]), inner)
    ),
    max_leaves=10,
)


@given(event=JSON)
def test_given_any_event_when_parsing_then_records_or_bad_batch(event: Any) -> None:
    try:
        records = parse_batch(event)
    except BadBatch:
        return
    assert len({record.message_id for record in records}) == len(event["Records"])


# -- documents


def test_given_a_document_when_reading_then_hash_size_and_version(s3: S3) -> None:
    written = s3.put("in", "a b.pdf", b"hello", content_type="application/pdf")
    document = read_document(s3, "in", "a b.pdf", deadline=Deadline.after(5))
    assert (document.data, document.size_bytes, document.version_id) == (b"hello", 5, written.version_id)
    assert document.sha256 == "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    assert document.content_type == "application/pdf"


def test_given_a_document_that_is_empty_or_too_large_when_reading_then_refused_before_its_bytes(
    s3: S3, fake: FakeAws
) -> None:
    s3.put("in", "empty", b"")
    with pytest.raises(EmptyDocument) as caught:
        read_document(s3, "in", "empty", deadline=Deadline.after(5))
    assert str(caught.value) == (
        "KW312 s3://in/empty: got 0 bytes; allowed documents of at least 1 byte; because the same bytes will fail every time; "
        "fix: correct the document and upload it again"
    )
    s3.put("in", "large", bytes(100_000))
    moved = METER.bytes
    with pytest.raises(
        TooLargeDocument,
        match=r"^KW314 s3://in/large: got 100,000 bytes; allowed at most 99,999 bytes; because it",
    ):
        read_document(s3, "in", "large", deadline=Deadline.after(5), max_bytes=99_999)
    assert METER.bytes == moved


def test_given_a_truncated_document_when_reading_then_not_accepted(s3: S3, fake: FakeAws) -> None:
    s3.put("in", "k", b"hello world")
    fake.fault = lambda _seen: Fault(cut_at=5)
    with pytest.raises(errors.BrokenAnswer):
        read_document(s3, "in", "k", deadline=Deadline.after(5))


def test_given_s3_events_of_both_kinds_when_reading_then_the_same_object() -> None:
    notification = {"Records": [{"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": "b"}, "object": {
        "key": "a+b%2Fc%C3%BC.pdf", "size": 3, "versionId": "v", "sequencer": "00A"}}},
        {"eventName": "ObjectRemoved:Delete", "s3": {"bucket": {"name": "b"}, "object": {"key": "gone"}}}]}  # fmt: skip
    bridge = {"detail-type": "Object Created", "detail": {"bucket": {"name": "b"}, "object": {
        "key": "a b/cü.pdf", "size": 3, "version-id": "v", "sequencer": "00A"}}}  # fmt: skip
    for event in (notification, bridge):
        (found,) = s3_records(json.dumps(event))
        assert (found.bucket, found.key, found.version_id, found.sequencer, found.size) == (
            "b",
            "a b/cü.pdf",
            "v",
            "00A",
            3,
        )
    assert s3_records({"Event": "s3:TestEvent", "Bucket": "b"}) == []


@pytest.mark.parametrize("body", ["", "[]", "{}", "null", '{"Records": 1}', '{"Records": [{}]}', '{"Records": [null]}',
                                  '{"Records": [{"s3": {"bucket": {"name": ""}, "object": {"key": "k"}}}]}'])  # fmt: skip
def test_given_something_else_when_reading_an_s3_event_then_bad_event(body: str) -> None:
    with pytest.raises(BadEvent, match=r"^KW301 S3 event: got "):
        s3_records(body)


# -- snapshots


def test_given_clones_of_one_snapshot_when_restored_then_their_random_numbers_differ() -> None:
    code = (
        "import os, random, sys; from keepwarm_runtime import snapshot\n"
        "for n in range(20):\n"
        "    if os.fork() == 0:\n"
        # Python reseeds after a fork by itself; a restored memory image has the state it was saved with.
        "        random.seed(1); snapshot.restored(); print(random.random(), flush=True); os._exit(0)\n"
        "    os.wait()\n"
    )
    out = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(FUNCTIONS)},
    )
    assert len(set(out.stdout.split())) == 20


def test_given_hooks_when_restored_then_all_run_in_order_and_a_failure_is_not_hidden(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(snapshot, "_hooks", [])
    ran: list[str] = []
    snapshot.on_restore("a", lambda: ran.append("old"))
    snapshot.on_restore("b", lambda: ran.append("b"))
    snapshot.on_restore("a", lambda: ran.append("a"))
    life = lifecycle(Ticks())
    assert list(snapshot.restored(life)) == ["reseed", "a", "b"]
    assert ran == ["a", "b"]
    assert life.init.times_s["warmup"] >= 0
    snapshot.on_restore("c", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        snapshot.restored(life)


def test_given_awss_runtime_when_registering_then_it_calls_us(monkeypatch: pytest.MonkeyPatch) -> None:
    registered: list[Any] = []
    fake_runtime = SimpleNamespace(register_after_restore=registered.append)
    monkeypatch.setitem(sys.modules, "snapshot_restore_py", fake_runtime)
    assert snapshot.register()
    assert registered == [snapshot.restored]
    monkeypatch.setitem(sys.modules, "snapshot_restore_py", None)
    assert not snapshot.register()


def test_given_a_snapshot_environment_when_the_handler_is_decorated_then_restores_are_handled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registered: list[Any] = []
    monkeypatch.setitem(
        sys.modules, "snapshot_restore_py", SimpleNamespace(register_after_restore=registered.append)
    )
    wrapped(Ticks(), lambda _event, _call: None)
    assert registered == []
    wrapped(Ticks(), lambda _event, _call: None, pool="snapshot")
    assert registered == [snapshot.restored]


# -- the environment's collaborators


def test_given_one_environment_when_asked_twice_then_the_same_collaborators(fake: FakeAws) -> None:
    env = {**fake.env, "KEEPWARM_LEDGER_TABLE": "l", "KEEPWARM_ADMISSION_TABLE": "a", "KEEPWARM_SERVICE_NAMESPACE": "n",
           "KEEPWARM_SERVICE_NAME": "ocr", "KEEPWARM_MODEL_BUCKET": "m", "KEEPWARM_CLAIM_BUCKET": "c"}  # fmt: skip
    warm = Warm(env)
    for made in (warm.aws, warm.s3, warm.effects, warm.admission, warm.service, warm.cache):
        assert made() is made()
    assert warm.admission().service == "ocr"
    with pytest.raises(InvalidSettings, match=r"^KW300 KEEPWARM_MODEL_REF: got nothing"):
        warm.model()


def test_given_hopeless_work_when_parked_then_the_message_says_why(fake: FakeAws) -> None:
    sent: list[dict[str, Any]] = []

    def send(payload: dict[str, Any]) -> dict[str, str]:
        sent.append(payload)
        return {"MessageId": "id-1"}

    fake.answers["SendMessage"] = send
    warm = Warm({**fake.env, "KEEPWARM_DEAD_LETTER_URL": "https://sqs.local/q"})
    assert warm.park(reason="a\nb", code="KW313", body="{}") == "id-1"
    warm.aws().forget()
    assert sent == [{
        "QueueUrl": "https://sqs.local/q", "MessageBody": "{}", "MessageAttributes": {
            "reason": {"DataType": "String", "StringValue": "a b"}, "code": {"DataType": "String", "StringValue": "KW313"}},
    }]  # fmt: skip


def test_given_a_secret_when_read_then_kept_for_its_time_and_never_printed(fake: FakeAws) -> None:
    values = iter(["one", "two", "three"])
    fake.answers["GetSecretValue"] = lambda payload: {"SecretString": next(values)}
    clock = Ticks()
    warm = Warm(fake.env)
    kept = warm.secrets()
    kept._clock = clock
    assert (kept.get("arn:a"), kept.get("arn:a")) == ("one", "one")
    clock.now += 301
    assert kept.get("arn:a") == "two"
    kept.forget()
    assert kept.get("arn:a") == "three"
    assert "three" not in repr(kept)
    clock.now += 301
    fake.fault = lambda _seen: Fault(status=403)
    with pytest.raises(errors.AccessDenied):
        kept.get("arn:a")
    fake.fault = lambda _seen: Fault(status=500)
    assert kept.get("arn:a") == "three", "a short outage of Secrets Manager is survived"
    clock.now += 3600
    with pytest.raises(errors.Unreachable):
        kept.get("arn:a")
    warm.aws().forget()


# -- the import budget

HEAVY = {
    "boto3", "botocore", "urllib3", "numpy", "pydantic", "pulumi", "typing", "dataclasses", "asyncio", "logging", "http",
    "email", "tempfile", "random", "uuid", "pathlib", "inspect", "ssl", "urllib", "concurrent", "hypothesis", "base64",
    "shutil", "pickletools", "zipfile",
}  # fmt: skip


def test_given_a_cold_start_when_importing_then_nothing_heavy_comes_along() -> None:
    probe = (
        "import sys; import keepwarm_runtime.invocation, keepwarm_runtime.warm, keepwarm_runtime.aws;"
        "from keepwarm_runtime.aws import Aws, S3; S3(Aws(env={'AWS_REGION': 'r'})); print(*sys.modules)"
    )
    loaded = subprocess.run(
        [sys.executable, "-S", "-c", probe],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(FUNCTIONS)},
    ).stdout.split()
    assert HEAVY & {name.partition(".")[0] for name in loaded} == set()
    ours = {name for name in loaded if name.startswith("keepwarm_runtime.")}
    assert "keepwarm_runtime.models.cache" not in ours
    assert "keepwarm_runtime.effects" not in ours
