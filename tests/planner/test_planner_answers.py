"""The planner's answers: fit, budget, size, break-even, checklist, prices, designs.

Proves: the six rows of the source's table get their verdicts, AWS's exclusions are respected, a calibration recovers
known laws and states its error, the size search returns the cheapest design that meets the target and settings
that the program accepts, the break-even agrees with its closed form, an unanswered question is a failure. Does not
prove that AWS's prices are still those of the data file: it is dated.
"""

import json
import random
from collections.abc import Mapping
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import pytest
import yaml

from keepwarm import limits
from keepwarm_planner import prices
from keepwarm_planner.answers.breakeven import Comparison, breakeven
from keepwarm_planner.answers.budget import estimate
from keepwarm_planner.answers.calibration import calibrate
from keepwarm_planner.answers.checklist import Facts, answer, as_html, as_text
from keepwarm_planner.answers.cold_path import ColdPath
from keepwarm_planner.answers.fit import fit
from keepwarm_planner.answers.platforms import candidates_of
from keepwarm_planner.answers.settings import settings_yaml
from keepwarm_planner.answers.size import Target, kind_of, size
from keepwarm_planner.answers.stack import stack_settings
from keepwarm_planner.answers.workload import PRESETS, FitWorkload, Gpu, SideEffects, State, load_workloads
from keepwarm_planner.errors import CODES, PlannerError
from keepwarm_planner.model import design_file
from keepwarm_planner.model.design import Design, Workload
from keepwarm_planner.traffic import generators, law
from keepwarm_runtime.phases import PHASES

P = prices.load()
ROOT = Path(__file__).parents[2]

# ---- fit


@pytest.mark.parametrize(
    ("workload", "verdict", "platform"),
    [
        ("small-event-classifier", "Strong", "lambda-on-demand"),
        ("large-llm-endpoint", "Weak unless specialized service", "ecs-gpu-always-on"),
        ("document-enrichment", "Moderate-strong", "lambda-on-demand"),
        ("long-running-agent", "Workflow plus functions", "workflow-plus-functions"),
        ("periodic-evaluation", "Strong", "lambda-on-demand"),
        ("hybrid-routing-gateway", "Moderate", "lambda-on-demand"),
    ],
)
def test_given_row_of_the_sources_table_when_judged_then_its_verdict(
    workload: str, verdict: str, platform: str
) -> None:
    report = fit(PRESETS[workload], P)
    assert report.verdict.value == verdict
    assert report.recommended is not None
    assert report.recommended.name == platform
    assert report.reasons
    assert report.would_change


def _excluded(name: str, **changes: Any) -> str:
    workload = replace(PRESETS["small-event-classifier"], **changes)
    return "; ".join(next(c for c in candidates_of(workload, P) if c.name == name).excluded)


@pytest.mark.parametrize(
    ("platform", "changes", "because"),
    [
        ("lambda-on-demand", {"task_s": 901.0}, "900 s"),
        ("lambda-on-demand", {"memory_mb": 10_241}, "10240"),
        ("lambda-on-demand", {"model_mb": 10_241.0}, "/tmp"),
        ("lambda-on-demand", {"artifact_mb": 300.0}, "unzipped package"),
        ("lambda-on-demand", {"artifact_mb": 11_000.0, "container_image": True}, "image"),
        ("lambda-on-demand", {"gpu": Gpu.REQUIRED}, "GPU"),
        ("lambda-snapstart", {"ephemeral_mb": 513}, "512 MB"),
        ("lambda-snapstart", {"container_image": True}, "container images"),
        ("lambda-snapstart", {"efs": True}, "EFS"),
        ("ecs-fargate-always-on", {"gpu": Gpu.REQUIRED}, "Fargate has none"),
        ("ecs-gpu-always-on", {"gpu": Gpu.REQUIRED, "gpu_memory_gib": 30.0}, "22"),
        ("lambda-managed-gpu", {"gpu": Gpu.REQUIRED, "gpu_memory_gib": 60.0, "container_image": True}, "48"),
        ("lambda-managed-gpu", {"gpu": Gpu.REQUIRED, "gpu_memory_gib": 16.0}, "container images only"),
        ("knative", {}, "kubernetes"),
    ],
)
def test_given_a_limit_of_the_platform_when_judged_then_excluded(
    platform: str, changes: dict[str, Any], because: str
) -> None:
    assert because in _excluded(platform, **changes)


def test_given_room_for_the_limits_when_judged_then_not_excluded() -> None:
    assert not _excluded("lambda-on-demand")
    assert not _excluded("lambda-on-demand", task_s=900.0)
    assert not _excluded("lambda-snapstart", ephemeral_mb=512)
    assert not _excluded("knative", kubernetes=True)
    assert not _excluded("ecs-gpu-always-on", gpu=Gpu.REQUIRED, gpu_memory_gib=20.0)


def test_given_what_would_change_when_crossed_then_the_verdict_changes() -> None:
    base = PRESETS["document-enrichment"]
    notes = fit(base, P).would_change
    assert any(n.startswith("task_s from 900") and "Workflow" in n for n in notes)
    assert fit(replace(base, task_s=901.0), P).verdict.value == "Workflow plus functions"
    assert any(n.startswith("asynchronous false") for n in notes)
    assert fit(replace(base, asynchronous=False), P).verdict.value == "Moderate"


def test_given_deadline_when_service_sleeps_then_scale_to_zero_misses_it() -> None:
    base = FitWorkload("ocr", 0.001, gpu=Gpu.REQUIRED, gpu_memory_gib=10, container_image=True, model_mb=500)

    def fits(name: str, **changes: Any) -> bool:
        return next(c for c in candidates_of(replace(base, **changes), P) if c.name == name).fits

    assert not fits("ecs-gpu-scale-to-zero")
    assert fits("ecs-gpu-scale-to-zero", asynchronous=True, latency_target_s=900.0)
    assert not fits("ecs-gpu-scale-to-zero", asynchronous=True, latency_target_s=60.0)
    assert fits("ecs-gpu-always-on")


def test_given_workload_file_when_loaded_then_its_workloads_or_a_suggestion(tmp_path: Path) -> None:
    path = tmp_path / "w.yaml"
    path.write_text(
        "workloads:\n- {name: mine, state: durable, side_effects: irreversible, requests_per_s: 2}\n"
    )
    (mine,) = load_workloads(path)
    assert (mine.name, mine.state, mine.side_effects) == ("mine", State.DURABLE, SideEffects.IRREVERSIBLE)
    for text, hint in (
        ("- {name: x, requests_per_sec: 1}", "did you mean 'requests_per_s'"),
        ("- {name: x, state: liquid}", "none, kv, durable"),
        ("- {name: x, asynchronous: maybe}", "true or false"),
        ("- {name: x, service_s: fast}", "a number"),
        ("- {name: x, service_s: 0}", "above 0"),
        ("- [1]", "mapping"),
        ("{}", "list"),
        ("a: [", "YAML"),
    ):
        path.write_text(text)
        with pytest.raises(PlannerError, match="KW513") as caught:
            load_workloads(path)
        assert hint in str(caught.value)


# ---- budget


def _event(phases: Mapping[str, float | None], **more: Any) -> str:
    base = {"event": "keepwarm.result", "function": "classify", "cold": True, "phases": phases}
    return json.dumps({**base, **more})


def _starts(path: Path, count: int, seed: int = 1) -> Path:
    rng = random.Random(seed)
    with path.open("w") as f:
        for i in range(count):
            phases = {
                "runtime_init": rng.lognormvariate(4.0, 0.2),
                "imports": rng.lognormvariate(6.0, 0.3),
                "fetch": 250.0,
                "verify": None,
                "scheduling": None,
            }
            f.write("START RequestId: x\n")
            f.write(_event(phases, storage={"ops": 3, "bytes": 20_000_000}) + "\n")
            f.write(_event({}, request_id=str(i)) + "\n")
    return path


def test_given_result_events_when_calibrated_then_laws_and_error(tmp_path: Path) -> None:
    c = calibrate([_starts(tmp_path / "events.jsonl", 400)])
    assert (c.function, c.events, c.starts, c.skipped_lines) == ("classify", 800, 400, 400)
    assert set(c.laws) == {"runtime_init", "imports", "fetch", "verify"}
    assert c.laws["imports"].quantile(0.5) == pytest.approx(0.403, rel=0.05)
    assert c.holdout_error is not None
    assert all(abs(e) < 0.15 for e in c.holdout_error.values())
    assert c.error_basis == "the larger of two: every other start predicts the rest, of 400"
    report = estimate(ColdPath(), calibration=c)
    rows = {r.name: r for r in report.rows}
    assert rows["fetch"].quantiles["p99"] == pytest.approx(0.25)
    # null for a phase of the runtime says there was none; for the platform's it says nobody looked
    assert (rows["verify"].basis, rows["verify"].quantiles["p99"]) == ("measured", 0.0)
    assert (rows["scheduling"].basis, report.total.basis) == ("assumed", "mixed")
    measured = sum(law_.mean for law_ in c.laws.values())
    assert sum(r.quantiles["p50"] for r in report.rows if r.name in c.laws) == pytest.approx(
        measured, rel=0.1
    )


def test_given_drift_when_calibrated_then_the_stated_error_shows_it(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    slow_every_second = [
        ({"runtime_init": 100.0, "imports": 400.0 if i % 2 == 0 else 800.0}) for i in range(40)
    ]
    path.write_text("\n".join(_event(p) for p in slow_every_second))
    c = calibrate([path])
    assert c.holdout_error is not None
    # the slow half predicts the fast one worse than the other way round
    assert c.holdout_error["p50"] == pytest.approx(900 / 500 - 1)


def test_given_phases_that_are_slow_together_when_calibrated_then_the_total_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    slow = [i % 5 == 0 for i in range(200)]
    path.write_text("\n".join(_event({p: 900.0 if s else 100.0 for p in PHASES}) for s in slow))
    c = calibrate([path])
    total = estimate(ColdPath(), calibration=c).total.quantiles
    # drawn one by one, eleven phases would make 3 s the rule and 1.1 s an exception
    assert total["p50"] == pytest.approx(1.1)
    assert total["p95"] == pytest.approx(9.9)
    assert c.holdout_error == {"p50": 0.0, "p95": 0.0, "p99": 0.0}
    # a phase that is taken away is taken out of each start, not out of the average
    left = {by: p99 for by, _, p99, _ in estimate(ColdPath(), calibration=c).removed}
    assert left["image layers cached"] == pytest.approx(9.0)


def test_given_starts_of_several_functions_when_calibrated_then_one_must_be_named(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    lines = [
        _event({"imports": 200.0 + i}, service="classify", function="classify-function-4f") for i in range(3)
    ]
    lines += [_event({"imports": 20.0}, service="ocr", function="ocr-function-9a") for _ in range(9)]
    path.write_text("\n".join([*lines, _event({}, service="enrich", function="enrich-function-1")]))
    with pytest.raises(PlannerError) as caught:
        calibrate([path])
    assert str(caught.value) == (
        f"KW514 {path}: got starts of 2 functions (classify 3, ocr 9); allowed one function; because"
        " different functions' starts don't come from one distribution; fix: --function classify"
    )
    for name in ("classify", "classify-function-4f"):
        assert calibrate([path], function=name).laws["imports"].mean == pytest.approx(0.201)
    assert calibrate([path], prefer="ocr").starts == 9
    with pytest.raises(PlannerError) as caught:
        calibrate([path], function="publish")
    assert str(caught.value) == (
        f"KW514 {path}: got 0 result events of 'publish', none of a first invocation; allowed a function with starts:"
        " classify, ocr"
    )


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "none of a first invocation"),
        (_event({"imports": -1.0, "runtime_init": 1.0}), "0 or more"),
        (_event({"imports": "fast"}), "milliseconds"),  # type: ignore[dict-item]
        (_event({"warp": 1.0}), "warp"),
    ],
)
def test_given_useless_events_when_calibrated_then_kw514(tmp_path: Path, text: str, hint: str) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(text)
    with pytest.raises(PlannerError, match="KW514") as caught:
        calibrate([path])
    assert hint in str(caught.value)


def test_given_few_starts_when_calibrated_then_only_the_median_is_judged(tmp_path: Path) -> None:
    path = tmp_path / "e"
    path.write_text("\n".join(_event({"imports": x}) for x in (100.0, 200.0, 400.0)))
    c = calibrate([path])
    # against the medians 300, 250 and 150 ms of the two others
    assert c.holdout_error == {"p50": pytest.approx((200 / 100 + 50 / 200 + 250 / 400) / 3)}
    assert c.error_basis == (
        "mean over 3 starts, each against the median of the others; too few to judge p95 and p99"
    )
    path.write_text(_event({"imports": 100.0}))
    c = calibrate([path])
    assert c.holdout_error is None
    assert c.error_basis == "a single start: no error can be stated"


def test_given_budget_when_estimated_then_phases_over_it_are_named() -> None:
    report = estimate(ColdPath(), {"total": 3.0, "fetch": 0.2})
    assert not report.ok
    assert [r.name for r in [*report.rows, report.total] if r.within is False] == ["fetch"]
    assert estimate(ColdPath(), {"total": 3.0}).ok
    assert [r.name for r in report.rows] == list(PHASES)
    assert report.total.quantiles["p50"] < report.total.quantiles["p95"] < report.total.quantiles["p99"]


def test_given_a_mitigation_when_applied_then_what_is_left_shrinks() -> None:
    report = estimate(ColdPath(model_mb=500))
    left = {by: p99 for by, _, p99, _ in report.removed}
    assert left["provisioned concurrency"] == 0.0
    assert left["SnapStart"] < left["image layers cached"]
    assert left["model on the host (cache or image)"] < report.total.quantiles["p99"] - 5.0


@pytest.mark.parametrize("name", ["model_mb", "compile_s"])
def test_given_more_work_when_estimated_then_never_faster(name: str) -> None:
    totals = [estimate(ColdPath(**{name: x})).total.quantiles["p50"] for x in (0.0, 1.0, 100.0)]  # type: ignore[arg-type]
    assert totals == sorted(totals)
    assert totals[-1] > totals[0]


def test_given_hashing_faster_than_the_link_when_estimated_then_verification_is_hidden() -> None:
    rows = {r.name: r for r in estimate(ColdPath(model_mb=1000, bandwidth_mb_s=100, hash_mb_s=1800)).rows}
    assert rows["verify"].quantiles["p99"] == 0.0
    rows = {r.name: r for r in estimate(ColdPath(model_mb=1000, bandwidth_mb_s=100, hash_mb_s=50)).rows}
    assert rows["verify"].quantiles["p50"] == pytest.approx(10.0, rel=0.01)


@pytest.mark.parametrize(
    "bad", [{"memory_mb": 64}, {"bandwidth_mb_s": 0.0}, {"model_mb": -1.0}, {"model_mb": inf}]
)
def test_given_impossible_path_when_made_then_kw500(bad: dict[str, Any]) -> None:
    with pytest.raises(PlannerError, match="KW500"):
        ColdPath(**bad)


# ---- size

DAY = Workload(
    generators.diurnal(0.3, 0.7, 43_200.0),
    law.lognormal(0.8, 0.5),
    law.lognormal_quantiles(1.5, 4.0),
    latency_target_s=4.0,
)


@pytest.fixture(scope="module")
def sized() -> Any:
    return size(DAY, P, Target(0.0005, latency_s=4.0), downstream_s=0.5, concurrency_per_task=4)


def test_given_target_when_sized_then_the_answer_meets_it_and_no_other_does_for_less(sized: Any) -> None:
    target = sized.target
    assert target.met(sized.answer, surely=True)
    cheaper = [o for o in sized.run.outcomes if o.cost_month.mean < sized.answer.cost_month.mean - 1e-9]
    assert not any(target.met(o, surely=True) for o in cheaper)
    assert sized.without.cold_fraction.mean > target.cold_fraction
    assert kind_of(sized.answer.design) != "on-demand"
    assert sized.decided_by
    assert sized.would_change


def test_given_answer_when_written_as_settings_then_the_program_accepts_them(sized: Any) -> None:
    infra = pytest.importorskip("infra.settings")
    document = yaml.safe_load(settings_yaml(sized.settings))
    raw = {k.removeprefix("keepwarm:"): json.dumps(v) for k, v in document["config"].items()}
    settings = infra.Settings.load(raw)
    assert settings.functions.classify.reserved_concurrency >= settings.queue.max_concurrency
    assert settings.warm_pool.max_environments >= sized.answer.design.peak_environments
    assert settings.service.concurrency_per_task == 4


@pytest.mark.slow
def test_given_stricter_target_when_sized_then_never_cheaper(sized: Any) -> None:
    strict = size(DAY, P, Target(0.0001))
    loose = size(DAY, P, Target(0.05))
    assert loose.answer.cost_month.mean <= sized.answer.cost_month.mean <= strict.answer.cost_month.mean
    assert kind_of(loose.answer.design) == "on-demand" or "price" in loose.decided_by


@pytest.mark.parametrize("target", [Target(0.01, latency_s=0.5), Target(1e-9)])
def test_given_impossible_target_when_sized_then_kw512_with_a_way_out(target: Target) -> None:
    with pytest.raises(PlannerError, match="KW512") as caught:
        size(replace(DAY, source=generators.poisson(0.5, 3600.0)), P, target)
    assert "fix:" in str(caught.value)


def test_given_senseless_target_when_made_then_kw500() -> None:
    for bad in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(PlannerError, match="KW500"):
            Target(bad)
    with pytest.raises(PlannerError, match="KW500"):
        Target(0.1, latency_s=0.0)


# ---- break-even


def test_given_function_when_balanced_then_the_crossing_is_the_prices_closed_form() -> None:
    report = breakeven(Comparison("function", service_s=0.5, cold_s=2.0, idle_s=600.0), P)
    closed = P.provisioned_gb_s_x86 / (P.lambda_gb_s_x86 - P.provisioned_duration_gb_s_x86)
    assert report.crossing == pytest.approx(closed, rel=1e-4)
    assert closed == pytest.approx(0.6, abs=0.001)


def test_given_service_in_sessions_when_balanced_then_the_crossing_is_where_the_gap_is_the_tail() -> None:
    c = Comparison("service", service_s=1.0, cold_s=0.0, idle_s=900.0, session_s=3600.0)
    assert breakeven(c, P).crossing == pytest.approx(3600 / 4500, rel=1e-6)
    with_start = breakeven(replace(c, cold_s=180.0), P).crossing
    assert with_start == pytest.approx(3600 / 4680, rel=1e-6)
    dear = breakeven(replace(c, cold_s=180.0, cold_cost=0.01), P).crossing
    assert dear is not None
    assert with_start is not None
    assert dear < with_start


def test_given_any_duty_when_costed_then_lines_are_finite_and_rise() -> None:
    for kind in ("function", "service"):
        report = breakeven(Comparison(kind), P)
        zero = [p.zero for p in report.points]
        assert zero == sorted(zero)
        assert zero[0] == 0.0
        assert report.points[0].always > 0.0


def test_given_bad_comparison_when_made_then_kw500() -> None:
    too_large = {"kind": "function", "memory_mb": 10_241}
    for bad in (
        {"kind": "magic"},
        {"service_s": 0.0},
        {"cold_s": inf},
        {"concurrency_per_task": 0},
        too_large,
    ):
        with pytest.raises(PlannerError, match="KW500"):
            Comparison(**bad)
    with pytest.raises(PlannerError, match="KW510"):
        breakeven(Comparison(instance_type="t2.nano"), P)


# ---- checklist


def _facts(**more: Any) -> Facts:
    return Facts(
        bundle_bytes={"classify": 80 * limits.MIB},
        model_bytes=4_000_000,
        requests_per_s=0.5,
        service_s=0.3,
        summary={"effects": 12, "succeeded": 12, "duplicates": 1},
        **more,
    )


def test_given_production_stack_with_facts_when_asked_then_all_seven_are_answered_with_evidence() -> None:
    settings = {
        **stack_settings(ROOT / "stacks" / "Pulumi.prod.yaml"),
        "budget": {"total_ms": 6000},
        "models": {"classifier_channel": "stable"},
    }
    answers = answer(settings, _facts(), P)
    assert [a.number for a in answers] == [1, 2, 3, 4, 5, 6, 7]
    assert all(a.ok and a.answered and a.evidence for a in answers), as_text(answers)
    html = as_html(answers)
    assert html.count("<h3>") == 7
    assert "<script" not in html


def test_given_nothing_when_asked_then_every_question_is_open_and_says_what_to_give() -> None:
    answers = answer({}, Facts(), P)
    assert not any(a.answered or a.ok for a in answers)
    assert all(a.fix for a in answers)


@pytest.mark.parametrize(
    ("number", "settings", "facts"),
    [
        (1, {"budget": {"total_ms": 500}}, _facts()),
        (
            2,
            {"functions": {"classify": {"ephemeral_mb": 512}}},
            replace(_facts(), model_bytes=400 * limits.MIB),
        ),
        (2, {}, replace(_facts(), bundle_bytes={"ocr": 251 * limits.MIB})),
        (
            4,
            {"queue": {"max_concurrency": 50}, "functions": {"classify": {"reserved_concurrency": 10}}},
            _facts(),
        ),
        (5, {}, replace(_facts(), summary={"effects": 13, "succeeded": 12})),
    ],
)
def test_given_a_bad_answer_when_asked_then_answered_but_not_ok(
    number: int, settings: Any, facts: Facts
) -> None:
    a = answer(settings, facts, P)[number - 1]
    assert a.answered
    assert not a.ok


def test_given_a_service_then_the_checklist_takes_the_stacks_numbers() -> None:
    service = {"enabled": True, "max_tasks": 6, "concurrency_per_task": 8}
    settings = {"queue": {"max_concurrency": 5}, "service": service}

    fan_out = answer(settings, _facts(), P)[3]

    assert (
        "service: at most 6 tasks x 8 requests each = 48 permits; refused demand gets Retry-After"
        in fan_out.evidence
    )


@pytest.mark.parametrize("unset", ["max_tasks", "concurrency_per_task"])
def test_given_a_number_nobody_set_then_the_checklist_invents_none(unset: str) -> None:
    service = {"enabled": True, "max_tasks": 6, "concurrency_per_task": 8}
    del service[unset]

    fan_out = answer({"queue": {"max_concurrency": 5}, "service": service}, _facts(), P)[3]

    assert (fan_out.answered, fan_out.fix) == (False, f"set keepwarm:service.{unset}")


def test_given_a_stack_on_arm64_then_its_pool_is_priced_so() -> None:
    settings = {
        "functions": {"classify": {"memory_mb": 1024}},
        "warm_pool": {"environments": 10},
        "runtime": {"architecture": "arm64"},
    }

    worth = answer(settings, _facts(), P)[6]

    usd = 10 * 730 * 3600 * P.provisioned_gb_s_arm
    assert f"keeping it costs {usd:.2f} USD a month before the first request (us-east-1)" in worth.evidence


# ---- prices and designs


def test_given_shipped_prices_when_loaded_then_every_region_is_dated_and_sourced() -> None:
    assert "us-east-1" in prices.regions()
    for region in prices.regions():
        p = prices.load(region)
        assert p.dated.startswith("20")
        assert all(page.startswith("https://aws.amazon.com/") for page in p.sources.values())
        assert p.provisioned_gb_s_x86 < p.lambda_gb_s_x86
        assert p.ec2_hour
    assert prices.load("us-east-1").lambda_gb_s_x86 == 0.0000166667


def test_given_shipped_prices_when_asked_what_was_checked_then_every_price_is_one_or_the_other() -> None:
    document = json.loads(prices.DATA.read_text())
    for region in prices.regions():
        p = prices.load(region)
        known = {n for n, v in document["regions"][region].items() if v is not None} - {"ec2_hour"} | set(
            p.ec2_hour
        )
        # a check that names a price which is not there checked nothing
        assert set(p.checks) <= known, set(p.checks) - known
        assert set(p.unchecked()) == known - set(p.checks)
        assert all(" read 20" in source for source in p.checks.values())
        assert all(p.page(name).startswith("https://aws.amazon.com/") for name in known)
    # what every default answer is made of was read against a source
    assert prices.load("us-east-1").unchecked() == []
    assert "sqs_request" in prices.load("eu-west-1").unchecked()
    assert (
        prices.load("eu-west-1").stamp(["lambda_request", "sqs_request"]).endswith(", unchecked: sqs_request")
    )
    assert prices.load("eu-west-1").stamp(["lambda_request"]).endswith(" of 2026-11-24")


def test_given_a_fit_when_explained_then_each_candidates_cost_follows_from_its_formula() -> None:
    report = fit(PRESETS["document-enrichment"], P)
    figures = {f.name: f for f in report.figures}
    for candidate in report.candidates:
        if candidate.cost_month is not None:
            figure = figures[f"{candidate.name} cost"]
            assert figure.value == candidate.cost_month
            assert "price" in figure.formula
            assert figure.inputs
    inputs = figures["ecs-gpu-always-on cost"].inputs
    assert figures["ecs-gpu-always-on cost"].value == pytest.approx(12 * 1.006 * 730)
    assert inputs == {"units": 12, "instance_hour": 1.006}
    # twelve units are for the peak, twenty times the mean, for which one is enough
    assert figures["ecs-gpu-scale-to-zero cost"].value == pytest.approx(1.006 * 730, rel=1e-6)
    assert figures["lambda-managed-gpu cost"].value == pytest.approx(
        1.15 * 1.006 * 730 + 525_600 * 2e-7, rel=1e-6
    )
    inputs = figures["lambda-provisioned cost"].inputs
    month, size, gb = inputs["requests_month"], inputs["environments"], inputs["gb"]
    assert isinstance(month, float)
    assert isinstance(size, int)
    assert isinstance(gb, float)
    assert figures["lambda-provisioned cost"].value == pytest.approx(
        size * gb * 730 * 3600 * P.provisioned_gb_s_x86
        + month * 2.0 * gb * P.provisioned_duration_gb_s_x86
        + month * P.lambda_request
        + 0.5 * month * 2.0 * P.ephemeral_gb_s
    )


def test_given_override_when_loaded_then_it_wins_and_the_date_shows_it(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text(
        json.dumps(
            {
                "dated": "2026-11-01",
                "regions": {"us-east-1": {"lambda_request": 1.0, "ec2_hour": {"x.large": 2.0}}},
            }
        )
    )
    p = prices.load("us-east-1", path)
    assert p.lambda_request == 1.0
    assert p.instance_hour("x.large") == 2.0
    assert p.instance_hour("g4dn.xlarge") == 0.526
    assert "2026-11-01" in p.dated
    assert p.checks["lambda_request"] == p.checks["x.large"] == "given in p.json of 2026-11-01"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", "KW511"),
        ("[]", "KW511"),
        ('{"regions": {}}', "KW511"),
        ('{"dated": "x", "region": {}}', "KW511"),
        ('{"dated": "x", "currency": "EUR"}', "KW511"),
        ('{"dated": "x", "regions": {"us-east-1": {"lambda_request": -1}}}', "KW511"),
        ('{"dated": "x", "regions": {"us-east-1": {"lambda_request": NaN}}}', "KW511"),
        ('{"dated": "x", "regions": {"us-east-1": {"lambda_reqest": 1}}}', "KW511"),
        ('{"dated": "x", "regions": {"moon-1": {"lambda_request": 1}}}', "KW511"),
    ],
)
def test_given_bad_price_file_when_loaded_then_coded(tmp_path: Path, text: str, code: str) -> None:
    path = tmp_path / "p.json"
    path.write_text(text)
    with pytest.raises(PlannerError, match=code):
        prices.load("moon-1" if "moon" in text else "us-east-1", path)


def test_given_unknown_region_or_missing_price_when_needed_then_kw510() -> None:
    with pytest.raises(PlannerError, match="KW510"):
        prices.load("mars-1")
    with pytest.raises(PlannerError, match="KW510"):
        prices.load("eu-west-1").needed("snapstart_cache_gb_s")
    with pytest.raises(PlannerError, match="KW503"):
        prices.load("us-east-1", Path("/nowhere/p.json"))


def test_given_design_file_when_loaded_then_systems_and_laws(tmp_path: Path) -> None:
    path = tmp_path / "d.yaml"
    path.write_text(
        """
workload: {service: "exp:2", cold: "1.5", latency_target_s: 3}
designs:
  - name: a
    schedule: {"08:30": 20, "19:00": 5}
    tracking: {target_utilization: 0.7, environments: 5, max_environments: 30}
  - name: b
    queue: {batch_size: 5}
    downstream: {service: "exp:0.5", max_tasks: 6}
    retry: {attempts: 9}
    deadline_s: 600
"""
    )
    loaded = design_file.load(path)
    assert loaded.latency_target_s == 3.0
    assert loaded.service is not None
    assert loaded.service.mean == 2.0
    a, b = loaded.systems
    assert a.design.schedule == ((30_600.0, 20), (68_400.0, 5))
    assert design_file.is_plain(a)
    assert not design_file.is_plain(b)
    assert b.retry.attempts == 9
    assert b.deadline_s == 600.0


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("designs: []", "at least one"),
        ("designs: [{name: a, enviroments: 1}]", "did you mean 'environments'"),
        ("designs: [{name: a}, {name: a}]", "two designs"),
        ("designs: [{environments: 1}]", "no 'name'"),
        ("designs: [{name: a, environments: 1.5}]", "whole number"),
        ("designs: [{name: a, idle_timeout_s: -1}]", "0 or more"),
        ("designs: [{name: a, schedule: {noon: 1}}]", "HH:MM"),
        ("designs: [{name: a, downstream: {max_tasks: 1}}]", "no 'service'"),
        ("designs: [{name: a, downstream: {service: '1', min_tasks: 9}}]", "min_tasks"),
        ("designs: [{name: a, tracking: {target_utilization: 0.5}}]", "environments"),
        ("designs: [{name: a}]\nworkload: {services: 1}", "services"),
        ("designs: [{name: a}]\nworkload: {service: 'weibull:3'}", "KW500"),
        ("dessigns: []", "dessigns"),
        ("- a", "mapping"),
        ("a: [", "YAML"),
    ],
)
def test_given_bad_design_file_when_loaded_then_one_coded_line(tmp_path: Path, text: str, hint: str) -> None:
    path = tmp_path / "d.yaml"
    path.write_text(text)
    with pytest.raises(PlannerError, match="KW5") as caught:
        design_file.load(path)
    assert hint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_given_points_when_compared_then_the_front_is_what_nothing_beats() -> None:
    points = {"a": (1.0, 5.0), "b": (2.0, 4.0), "c": (2.0, 5.0), "d": (3.0, 1.0), "e": (3.0, 1.0)}
    assert design_file.pareto(points) == ["a", "b", "d", "e"]


def test_given_codes_then_each_is_in_the_planners_block() -> None:
    assert all(code.startswith("KW5") and meaning.endswith(".") for code, meaning in CODES.items())
    with pytest.raises(KeyError):
        PlannerError("KW999", "x", 1, "y")
    assert Design("x").peak_environments == 0
