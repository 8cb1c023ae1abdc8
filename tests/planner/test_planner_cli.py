"""`keepwarm plan` as its users meet it.

Proves: the plain case prints the keys it promises, every command answers in JSON and as a table, exit statuses are 0, 1
and 2, bad input is one coded line and never a traceback, plots are files of their kind and HTML needs nothing else, and
importing the command loads nothing heavy. Does not prove the figures: other files do.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from keepwarm_cli.plan import app
from keepwarm_planner.model import theory

ROOT = Path(__file__).parents[2]
RUNNER = CliRunner()


def _run(*arguments: str, status: int = 0) -> str:
    result = RUNNER.invoke(app, list(arguments))
    assert result.exit_code == status, (arguments, result.output, result.exception)
    return result.stdout


def _json(*arguments: str, status: int = 0) -> Any:
    return json.loads(_run(*arguments, "--json", status=status))


def _refused(*arguments: str) -> str:
    result = RUNNER.invoke(app, list(arguments))
    assert result.exit_code == 2, (arguments, result.output, result.exception)
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, lines
    assert "Traceback" not in result.output
    assert result.stdout == ""
    return lines[0]


PLAIN = ("simulate", "--rate", "20", "--service-mean-s", "1", "--horizon-s", "2000", "--replications", "5")


def test_given_the_plain_case_when_simulated_then_its_keys_and_theory() -> None:
    out = _json(*PLAIN, "--idle-timeout-s", "600", "--max-concurrency", "25", "--seed", "3")
    for name in ("cold_fraction", "rejected_fraction", "instances", "busy"):
        assert set(out[name]) == {"mean", "low", "high"}
        assert out[name]["low"] <= out[name]["mean"] <= out[name]["high"]
    assert out["requests"] == pytest.approx(200_000, rel=0.02)
    assert out["cpu_s"] > 0.0
    assert out["rejected_fraction"]["mean"] == pytest.approx(theory.erlang_b(25, 20.0), rel=0.05)
    assert _json(*PLAIN, "--seed", "4")["busy"] != _json(*PLAIN, "--seed", "5")["busy"]


def test_given_the_same_seed_when_simulated_on_either_kernel_then_equal() -> None:
    a, b = (_json(*PLAIN, "--kernel", k) for k in ("c", "python"))
    for timed in ("cpu_s", "wall_s", "kernel"):
        a.pop(timed)
        b.pop(timed)
    assert a == b


def test_given_precision_when_simulated_then_the_interval_is_that_narrow() -> None:
    out = _json(
        "simulate", "--rate", "200", "--service-mean-s", "1", "--horizon-s", "40000", "--precision", "0.02"
    )
    cold = out["cold_fraction"]
    assert (cold["high"] - cold["low"]) / 2 / cold["mean"] <= 0.02
    assert out["kernel"].endswith("tail")


DESIGNS = """
workload: {service: "lognormal:mean=0.5,cv=0.5", cold: "lognormal:p50=1,p99=3", latency_target_s: 2}
designs:
  - {name: on demand}
  - {name: "[bold]pool", environments: 3}
  - name: queued
    max_concurrency: 10
    queue: {max_concurrency: 8}
    downstream: {service: "0.2", min_tasks: 1}
"""
TRAFFIC = ("--generate", "poisson:rate=1,hours=0.3")


@pytest.fixture
def designs(tmp_path: Path) -> str:
    path = tmp_path / "designs.yaml"
    path.write_text(DESIGNS)
    return str(path)


def test_given_designs_when_compared_then_table_json_and_front(designs: str) -> None:
    out = _json("compare", "--design", designs, *TRAFFIC, "--replications", "2")
    assert [d.get("design", d.get("name")) for d in out["designs"]] == ["on demand", "[bold]pool", "queued"]
    assert set(out["pareto"]) <= {"on demand", "[bold]pool", "queued"}
    assert out["region"] == "us-east-1"
    text = _run("compare", "--design", designs, *TRAFFIC, "--replications", "2", "--explain")
    assert "[bold]pool" in text
    assert "price per GB-s" in text
    # every figure of the table has its formula, every cost its price and where that is from
    for name in (
        "queue_wait",
        "max_busy",
        "lost_full",
        "retries",
        "refusals",
        "open_fraction",
        "tasks",
        "wakes",
    ):
        assert name in text
    for line in ("queued: queue", "sqs_request 4e-07", "lambda_gb_s_x86 1.66667e-05", "checked against"):
        assert line in text
    text = _run(
        "compare", "--design", designs, *TRAFFIC, "--replications", "1", "--region", "eu-west-1", "--explain"
    )
    assert "unchecked: sqs_request; one replication: no intervals" in " ".join(text.split())


def test_given_a_trace_when_simulated_then_timeline_rows_per_minute(tmp_path: Path) -> None:
    trace = tmp_path / "t.csv"
    trace.write_text("time_s,duration_s\n" + "".join(f"{i * 3},0.5\n" for i in range(200)))
    out = _json("simulate", "--trace", str(trace), "--timeline", "--environments", "1", "--replications", "1")
    (design,) = out["designs"]
    assert len(design["timeline"]) == 10
    assert sum(row["arrivals"] for row in design["timeline"]) == 200
    assert design["requests"] == 200
    assert "USD/month" in _run("simulate", "--trace", str(trace))


def slow(*values: Any) -> Any:
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("command", "name"),
    [
        slow(("compare", "--design", "DESIGNS", *TRAFFIC, "--replications", "2"), "c"),
        slow(("simulate", "--design", "DESIGNS", *TRAFFIC, "--replications", "1"), "s"),
        (("breakeven",), "b"),
        slow(("budget",), "p"),
    ],
)
def test_given_plot_when_asked_then_files_of_their_kind(
    command: tuple[str, ...], name: str, designs: str, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    arguments = [designs if a == "DESIGNS" else a for a in command]
    kinds = ((".png", b"\x89PNG"), (".svg", b"<?xml"), (".html", b"<!doctype html>"))
    for suffix, magic in kinds if command[0] in ("breakeven", "simulate") else kinds[2:]:
        path = tmp_path / f"{name}{suffix}"
        _run(*arguments, "--plot", str(path))
        files = [path] if path.exists() else sorted(tmp_path.glob(f"{name}-*{suffix}"))
        assert files
        assert all(f.read_bytes().startswith(magic) for f in files)
    html = (tmp_path / f"{name}.html").read_text()
    assert "data:image/png;base64," in html
    assert "://" not in html
    assert "<script" not in html
    assert "<table" in html


def test_given_size_when_asked_then_answer_reason_and_settings() -> None:
    arguments = (
        "size",
        "--generate",
        "poisson:rate=0.5,hours=4",
        "--service",
        "exp:1",
        "--cold-fraction",
        "0.002",
    )
    out = _json(*arguments)
    assert out["answer"]["cold_fraction"]["high"] <= 0.005
    assert out["decided_by"]
    assert out["would_change"]
    assert {"functions", "warm_pool", "queue"} <= set(out["settings"])
    text = _run(*arguments, "--explain")
    assert "keepwarm:warm_pool" in text
    assert "decided by" in text


def test_given_budget_when_kept_or_broken_then_0_or_1(tmp_path: Path) -> None:
    assert _json("budget", "--budget", "total=10")["ok"]
    assert not _json("budget", "--budget", "total=0.5", status=1)["ok"]
    events = tmp_path / "events.jsonl"
    phases = {"runtime_init": 60.0, "imports": 500.0}
    events.write_text(
        "\n".join(json.dumps({"event": "keepwarm.result", "phases": phases}) for _ in range(10))
    )
    out = _json("budget", "--from-events", str(events))
    assert out["calibration"]["holdout_error"] == {"p50": 0.0, "p95": 0.0, "p99": 0.0}
    text = _run("budget", "--from-events", str(events), "--explain")
    assert "measured: 10 starts" in text
    assert "calibrated from 10 starts in 10 events" in text
    assert "error of the estimate on starts it has not seen: p50 +0.0%, p95 +0.0%, p99 +0.0%" in text
    # assumed 60 ms and 600 ms are held against the 560 ms of those two phases, not against a whole start
    assert "the assumptions alone would have been off by p50 +18%" in text


def test_given_a_stack_when_budgeted_then_its_settings_with_their_defaults_apply() -> None:
    pytest.importorskip("infra.settings")
    out = _json("budget", "--stack", str(ROOT / "stacks" / "Pulumi.dev.yaml"), status=1)
    assert out["total"]["budget_s"] == 6.0
    assert [p["phase"] for p in out["phases"] if p["within"] is False] == ["imports"]
    # 1,024 MB of memory are 58 % of a vCPU
    imports = next(f for f in out["figures"] if f["name"] == "imports")
    assert imports["inputs"]["vcpu"] == pytest.approx(1024 / 1769)


def test_given_fit_when_asked_then_six_verdicts_or_one_in_detail() -> None:
    assert _run("fit").count("Moderate") == 2
    text = _run("fit", "large-llm-endpoint", "--explain")
    assert "excluded" in text
    assert "duty_cycle" in text
    assert "did you mean 'document-enrichment'" in _refused("fit", "document-enrichement")


def test_given_arm64_when_balanced_then_its_prices_are_used() -> None:
    document = _json("breakeven", "--kind", "function", "--architecture", "arm64")

    always = next(f for f in document["figures"] if f["name"] == "always_on")
    assert always["inputs"]["fixed_usd_s"] == pytest.approx(1769 / 1024 * 3.3334e-06)


def test_given_breakeven_and_prices_when_asked_then_formula_and_sources() -> None:
    assert _json("breakeven", "--kind", "function")["crossing_duty"] == pytest.approx(0.6, abs=0.001)
    assert "provisioned price / (on-demand price" in _run("breakeven", "--kind", "function", "--explain")
    text = _run("breakeven", "--explain")
    assert "where the lines cross" in text
    assert "g4dn.xlarge 0.526" in text
    text = _run("prices")
    assert "https://aws.amazon.com/lambda/pricing/" in text
    assert "4e-07?" in text
    assert "? unchecked: not read against any source" in text
    (table,) = _json("prices", "--region", "eu-west-1")["regions"]
    assert table["region"] == "eu-west-1"
    assert "sqs_request" in table["unchecked"]
    assert "remotion" in table["checks"]["lambda_request"]


def test_given_checklist_when_unanswered_then_1_and_when_all_is_known_0(tmp_path: Path) -> None:
    stack = str(ROOT / "stacks" / "Pulumi.prod.yaml")
    out = _json("checklist", "--stack", stack, status=1)
    assert [a["number"] for a in out["answers"] if not a["answered"]] == [2, 5, 7]
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"summary": {"effects": 12, "succeeded": 12, "duplicates": 0}}))
    html = tmp_path / "section.html"
    known = ("--bundle", "classify=9000000", "--model-mb", "4", "--requests-per-s", "1", "--service-s", "0.2")
    out = _json("checklist", "--stack", stack, "--report", str(report), *known, "--html", str(html))
    assert out["ok"]
    assert "checklist" in html.read_text()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("simulate",), "KW500"),
        (("simulate", "--rate", "1"), "KW500"),
        (("simulate", "--rate", "-1", "--service-mean-s", "1"), "KW500"),
        (("simulate", "--rate", "nan", "--service-mean-s", "1"), "KW500"),
        (("simulate", "--rate", "1", "--service-mean-s", "inf"), "KW500"),
        (("simulate", "--rate", "1", "--service-mean-s", "1", "--idle-timeout-s", "-1"), "KW500"),
        (
            (
                "simulate",
                "--rate",
                "1",
                "--service-mean-s",
                "1",
                "--environments",
                "3",
                "--max-concurrency",
                "2",
            ),
            "KW500",
        ),
        (("simulate", "--rate", "1", "--service-mean-s", "1", "--replications", "0"), "KW500"),
        (("simulate", "--rate", "1e9", "--service-mean-s", "1", "--horizon-s", "1e9"), "KW509"),
        (("simulate", "--rate", "1", "--service-mean-s", "1", "--precision", "2"), "KW500"),
        (("simulate", "--rate", "1", "--service-mean-s", "1", "--kernel", "rust"), "KW665"),
        (("simulate", "--rate", "1", "--service-mean-s", "1", "--plot", "x.png"), "KW500"),
        (("simulate", *TRAFFIC), "KW500"),
        (("simulate", *TRAFFIC, "--trace", "x.csv", "--service", "1"), "KW500"),
        (("simulate", *TRAFFIC, "--service", "fast"), "KW500"),
        # what would be ignored is refused
        (("simulate", *TRAFFIC, "--service", "1", "--precision", "0.01"), "KW500"),
        (("simulate", *TRAFFIC, "--service", "1", "--horizon-s", "60"), "KW500"),
        (("simulate", *TRAFFIC, "--service", "1", "--warmup-s", "60"), "KW500"),
        (("simulate", "--rate", "1", "--service-mean-s", "1", "--timeline"), "KW500"),
        (("simulate", "--rate", "1", "--service-mean-s", "1", "--latency-target-s", "2"), "KW500"),
        (("simulate", *TRAFFIC, "--service", "1", "--idle-timeout-s", "-1"), "KW513"),
        (("simulate", *TRAFFIC, "--service", "1", "--max-concurrency", "-1"), "KW513"),
        (("simulate", *TRAFFIC, "--service", "1", "--max-requests", "nan"), "KW500"),
        (("simulate", *TRAFFIC, "--service", "1", "--plot", "x.jpeg"), "KW500"),
        (("simulate", *TRAFFIC, "--service", "1", "--plot", "/no/where/x.png"), "KW503"),
        (("simulate", *TRAFFIC, "--service", "1", "--region", "mars-1"), "KW510"),
        (("simulate", "--trace", "/no/where.csv", "--service", "1"), "KW503"),
        (("simulate", "--generate", "chaos", "--service", "1"), "KW517"),
        (("compare", "--design", "/no/where.yaml", *TRAFFIC), "KW503"),
        (("size", *TRAFFIC, "--service", "1", "--cold-fraction", "0"), "KW500"),
        (("size", *TRAFFIC, "--service", "1", "--cold-fraction", "0.5", "--latency-s", "0.01"), "KW512"),
        (("budget", "--phase", "imports"), "KW500"),
        (("budget", "--budget", "total=soon"), "KW500"),
        (("budget", "--budget", "warp=1"), "KW500"),
        (("budget", "--from-events", "/no/where"), "KW503"),
        (("breakeven", "--kind", "magic"), "KW665"),
        (("checklist", "--stack", "/no/where.yaml"), "KW503"),
        (("checklist", "--stack", str(ROOT / "stacks" / "Pulumi.prod.yaml"), "--bundle", "x"), "KW500"),
    ],
    ids=lambda x: " ".join(x)[:60] if isinstance(x, tuple) else x,
)
def test_given_bad_input_when_asked_then_one_coded_line(arguments: tuple[str, ...], code: str) -> None:
    assert _refused(*arguments).startswith(f"{code} ")


def test_given_the_command_when_imported_then_nothing_heavy_comes_along() -> None:
    program = (
        "import sys, keepwarm_cli.plan; heavy = {'numpy', 'pydantic', 'pulumi', 'matplotlib', 'pyarrow', 'boto3',"
        " 'keepwarm_planner', 'keepwarm', 'yaml', 'moto'}; print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_given_defaults_of_the_command_line_then_they_are_the_planners() -> None:
    """Help is shown without importing the planner, so the command line has copies."""
    from keepwarm_cli.plan import breakeven as asked
    from keepwarm_cli.plan import budget, simulate, size
    from keepwarm_planner import assumed, cost
    from keepwarm_planner.answers import breakeven
    from keepwarm_planner.model.design import MEMORY_MB

    assert asked.COLD_S == breakeven.COLD_S
    assert asked.IDLE_S == breakeven.IDLE_S
    assert simulate.IDLE_TIMEOUT_S == assumed.IDLE_TIMEOUT_S
    assert size.MEMORY_MB == budget.MEMORY_MB == MEMORY_MB
    assert size.EPHEMERAL_MB == cost.FREE_EPHEMERAL_MB
