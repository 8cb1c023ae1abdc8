"""What is made of what the stack said: outcomes, effects, report and page, from fakes of its endpoints.

Does not prove that the stack says it; tests/e2e does.
"""

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from keepwarm.watch.dashboard import cost_expression
from keepwarm_cli.errors import CliError
from keepwarm_cli.follow import Followed, Follower
from keepwarm_cli.report import build_report, redraw
from keepwarm_cli.report_html import render
from keepwarm_planner import prices
from keepwarm_planner.cost import Architecture, dashboard_rates
from keepwarm_planner.kernel.shape import S
from keepwarm_planner.model.design import Design
from keepwarm_planner.model.engine import cost_of

MACHINE = "arn:aws:states:us-east-1:123456789012:stateMachine:documents"
OUTPUTS = {
    "workflow_arn": MACHINE,
    "dead_letter_url": "http://queue",
    "results_bucket": "results",
    "functions": {"classify": "classify-1a2b3c4", "publish": "publish-1a2b3c4"},
    "memory_mb": {"classify": 1024, "publish": 256},
}


class FakeStack:
    """The endpoints a follower asks, backed by plain values."""

    def __init__(self, architecture: str = "x86_64") -> None:
        self.architecture = architecture
        self.kept = {"classify-1a2b3c4": 3}
        self.executions: dict[str, dict[str, Any]] = {}
        self.messages: list[dict[str, Any]] = []
        self.versions: list[str] = []
        self.results: dict[str, dict[str, Any]] = {}

    def client(self, service: str) -> Any:
        return self

    def describe_execution(self, executionArn: str) -> dict[str, Any]:
        return self.executions[executionArn]

    def receive_message(self, **options: Any) -> dict[str, Any]:
        return {"Messages": self.messages}

    def get_object(self, Bucket: str, Key: str) -> dict[str, Any]:
        return {"Body": io.BytesIO(json.dumps(self.results[Key]).encode())}

    def get_function_configuration(self, FunctionName: str) -> dict[str, Any]:
        memory = {"classify-1a2b3c4": 1024, "publish-1a2b3c4": 256}[FunctionName]
        return {"MemorySize": memory, "Architectures": [self.architecture], "EphemeralStorage": {"Size": 512}}

    def list_provisioned_concurrency_configs(self, FunctionName: str) -> dict[str, Any]:
        kept = self.kept.get(FunctionName)
        found = [] if kept is None else [{"RequestedProvisionedConcurrentExecutions": kept}]
        return {"ProvisionedConcurrencyConfigs": found}

    def get_paginator(self, operation: str) -> Any:
        if operation == "get_execution_history":
            events = [{"type": "TaskStateEntered"}, {"type": "TaskStateExited"}, {"type": "TaskStateEntered"}]
            return SimpleNamespace(paginate=lambda executionArn: [{"events": events}])
        return SimpleNamespace(
            paginate=lambda Bucket, Prefix: [{"Versions": [{"Key": k} for k in self.versions]}]
        )


def entry(sequence: int, kind: str, **facts: Any) -> dict[str, Any]:
    return {"sequence": sequence, "at_s": 1000.0 + sequence, "kind": kind, **facts}


def result(sequence: int, service: str, sha: str, **facts: Any) -> dict[str, Any]:
    event = {
        "service": service,
        "function": f"{service}-1a2b3c4",
        "outcome": "ok",
        "cold": False,
        "document": {"sha256": sha},
    }
    return entry(sequence, "result", event={**event, **facts})


def ended(
    stack: FakeStack, sequence: int, name: str, key: str, status: str = "SUCCEEDED", **more: Any
) -> dict[str, Any]:
    arn = f"{MACHINE.replace(':stateMachine:', ':execution:')}:{name}"
    given = {"document": {"key": key, "label": "pdf"}}
    stack.executions[arn] = {"status": status, "input": json.dumps(given), **more}
    return entry(sequence, "execution", execution=name, status=status)


def follow(stack: FakeStack, entries: list[dict[str, Any]], *names: str) -> Follower:
    follower = Follower(
        lambda since, wait_s: [e for e in entries if e["sequence"] > since], stack.client, OUTPUTS
    )
    for name in names:
        follower.add(Followed(name, name, f"sha-{name}", 10, 1000.0))
    follower.step(0)
    return follower


def test_given_a_successful_execution_then_its_document_succeeded_with_the_label_it_got() -> None:
    stack = FakeStack()
    follower = follow(stack, [ended(stack, 1, "e1", "a.pdf")], "a.pdf", "b.pdf")

    assert (follower.documents["a.pdf"].outcome, follower.documents["a.pdf"].label) == ("succeeded", "pdf")
    assert [d.name for d in follower.waiting()] == ["b.pdf"]
    assert follower.transitions == 2


def test_given_a_parked_document_then_its_reason_is_the_sentence_and_the_message_counts_once() -> None:
    stack = FakeStack()
    cause = json.dumps({"errorMessage": "KW313 a.pdf: got half a file", "errorType": "CorruptDocument"})
    stack.messages = [
        {
            "MessageId": "m1",
            "Body": json.dumps({"document": {"key": "a.pdf"}}),
            "MessageAttributes": {
                "code": {"StringValue": "CorruptDocument"},
                "reason": {"StringValue": json.dumps({"Error": "CorruptDocument", "Cause": cause})},
            },
        }
    ]
    follower = follow(
        stack, [ended(stack, 1, "e1", "a.pdf", "FAILED"), ended(stack, 2, "e1", "a.pdf", "FAILED")], "a.pdf"
    )
    follower.step(0)
    document = follower.documents["a.pdf"]

    assert (document.outcome, document.code, document.reason, document.finished) == (
        "failed",
        "CorruptDocument",
        "KW313 a.pdf: got half a file",
        1,
    )


def test_given_an_s3_notification_in_the_dead_letter_queue_then_the_key_is_decoded() -> None:
    stack = FakeStack()
    body = {"Records": [{"s3": {"object": {"key": "empty+file%C3%A9.txt"}}}]}
    attributes = {"code": {"StringValue": "KW312"}, "reason": {"StringValue": "KW312 empty"}}
    stack.messages = [{"MessageId": "m1", "Body": json.dumps(body), "MessageAttributes": attributes}]
    follower = follow(stack, [], "empty fileé.txt")

    assert follower.documents["empty fileé.txt"].outcome == "failed"


@pytest.mark.parametrize(
    "body", ["not json", "[]", '"x"', '{"Records": ["x"]}', '{"document": {"key": "other"}}']
)
def test_given_a_foreign_dead_letter_then_no_document_is_touched(body: str) -> None:
    stack = FakeStack()
    stack.messages = [{"MessageId": "m1", "Body": body}]
    follower = follow(stack, [], "a.pdf")

    assert follower.documents["a.pdf"].outcome is None


def reported(folder: Path, architecture: str = "x86_64") -> dict[str, Any]:
    stack = FakeStack(architecture)
    stack.versions = ["published/sha-a.pdf.json", "published/sha-b.pdf.json"]
    stack.results = {f"results/sha-{n}.json": {"text": "hello wurld"} for n in ("a.pdf", "b.pdf")}
    (folder / "a.pdf.truth.txt").write_text("hello world")
    invocations = [
        entry(
            20,
            "invocation",
            function="classify-1a2b3c4",
            pool="provisioned",
            cold=False,
            outcome="ok",
            duration_ms=100.0,
        ),
        entry(
            21,
            "invocation",
            function="publish-1a2b3c4",
            pool="on-demand",
            cold=True,
            outcome="ok",
            duration_ms=50.0,
            init_ms=200.0,
        ),
    ]
    phases = {"runtime_init": 40.0, "load": 60.0, "compile": None}
    entries = [
        result(1, "classify", "sha-a.pdf", pool="provisioned", phases=phases),
        result(2, "publish", "sha-a.pdf", outcome="duplicate_prevented"),
        *invocations,
        ended(stack, 30, "e1", "a.pdf"),
        ended(stack, 31, "e2", "b.pdf"),
    ]
    follower = follow(stack, entries, "a.pdf", "b.pdf")
    follower.count_effects()
    options = SimpleNamespace(stack="local", documents=folder)
    models = [{"name": "m", "version": "1", "channel": "c", "digest": "0" * 64, "size_bytes": 5, "files": 1}]
    return build_report(follower, {}, options, models, OUTPUTS, deploy_s=1.0, resources=3, started_s=999.0)


def test_given_what_the_stack_said_then_the_report_counts_it(tmp_path: Path) -> None:
    report = reported(tmp_path)
    summary = report["summary"]
    first = report["documents"][0]

    assert {
        k: summary[k] for k in ("documents", "succeeded", "effects", "duplicates", "repeated_effects")
    } == {
        "documents": 2,
        "succeeded": 2,
        "effects": 2,
        "duplicates": 1,
        "repeated_effects": 0,
    }
    assert (summary["cold_starts"], summary["provisioned_hits"], summary["warm_starts"]) == (1, 1, 0)
    assert summary["first_invoke_s"] == 21.0
    assert (first["effects"], first["duplicates_prevented"], first["pool"]) == (1, 1, "provisioned")
    assert first["character_accuracy"] == 0.9
    assert report["starts"] == [
        {"function": "classify", "pool": "provisioned", "phases_ms": {"runtime_init": 40.0, "load": 60.0}}
    ]


def test_given_measured_durations_then_the_cost_is_their_price(tmp_path: Path) -> None:
    cost = reported(tmp_path)["cost"]
    price = prices.load("us-east-1")
    by_item = {i["item"]: i["usd"] for i in cost["items"]}

    assert by_item["Lambda requests"] == pytest.approx(2 * price.lambda_request)
    # on demand the initialization is billed as duration
    assert by_item["Lambda duration"] == pytest.approx((0.05 + 0.2) * 0.25 * price.lambda_gb_s_x86)
    assert by_item["Provisioned concurrency, running"] == pytest.approx(
        0.1 * price.provisioned_duration_gb_s_x86
    )
    # three environments of 1,024 MB from the first entry of the journal to the last
    assert by_item["Provisioned concurrency, kept"] == pytest.approx(3 * 30.0 * price.provisioned_gb_s_x86)
    assert by_item["Step Functions transitions"] == pytest.approx(4 * price.sfn_transition)
    assert cost["total_usd"] == pytest.approx(sum(by_item.values()))


def test_given_functions_on_arm64_then_the_run_costs_arm64_prices(tmp_path: Path) -> None:
    price = prices.load("us-east-1")
    by_item = {i["item"]: i["usd"] for i in reported(tmp_path, "arm64")["cost"]["items"]}

    assert by_item["Lambda duration"] == pytest.approx(0.25 * 0.25 * price.lambda_gb_s_arm)
    assert by_item["Provisioned concurrency, kept"] == pytest.approx(3 * 30.0 * price.provisioned_gb_s_arm)


def test_given_one_use_then_planner_report_and_dashboard_charge_the_same(tmp_path: Path) -> None:
    table = prices.load("us-east-1")
    items = {i["item"]: i["usd"] for i in reported(tmp_path, "arm64")["cost"]["items"]}
    stats = [0.0] * len(S)
    stats[S.BUSY_OD], stats[S.COLD_S], stats[S.STARTED] = 0.05, 0.2, 1.0
    publish = cost_of(Design("publish", memory_mb=256, architecture=Architecture.ARM64), stats, table)
    stats = [0.0] * len(S)
    stats[S.PROVISIONED_S], stats[S.BUSY_PROVISIONED], stats[S.STARTED] = 90.0, 0.1, 1.0
    classify = cost_of(Design("classify", memory_mb=1024, architecture=Architecture.ARM64), stats, table)
    rates = dashboard_rates("us-east-1", "arm64")
    assert rates is not None
    # the dashboard multiplies what CloudWatch has: milliseconds of duration, invocations
    graph = cost_expression(0, (256, rates["usd_per_gb_s"], rates["usd_per_million_requests"]))
    shown = eval(graph.replace("d0", "250").replace("i0", "1"))

    assert items["Lambda duration"] == pytest.approx(publish["on_demand"])
    assert items["Provisioned concurrency, kept"] == pytest.approx(classify["provisioned_idle"])
    assert items["Provisioned concurrency, running"] == pytest.approx(classify["provisioned_duration"])
    assert items["Lambda requests"] == pytest.approx(publish["requests"] + classify["requests"])
    assert shown == pytest.approx(publish["on_demand"] + publish["requests"])


def test_given_names_with_markup_then_the_page_escapes_them(tmp_path: Path) -> None:
    report = reported(tmp_path)
    report["documents"][0]["name"] = "<script>alert(1)</script>"
    page = render(report)

    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_given_an_earlier_report_then_its_page_is_drawn_again(tmp_path: Path) -> None:
    report = reported(tmp_path)
    report.pop("journal")
    (tmp_path / "report.json").write_text(json.dumps(report))

    assert redraw(tmp_path / "report.json", None).read_text() == render(json.loads(json.dumps(report)))


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "which is no report"), ("[]", "which is no report"), ('{"schema": 99}', "got schema 99")],
)
def test_given_another_file_then_kw661(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(CliError) as caught:
        redraw(tmp_path / "x.json", None)

    assert str(caught.value).startswith("KW661 report: got")
    assert said in str(caught.value)
