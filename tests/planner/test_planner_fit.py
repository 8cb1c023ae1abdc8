"""Verdicts of `fit`: the six rows of the source's table get theirs, AWS's limits exclude, costs follow from their
formulas, and what would change a verdict does.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from keepwarm_planner import prices
from keepwarm_planner.answers.fit import fit
from keepwarm_planner.answers.platforms import candidates_of
from keepwarm_planner.answers.workload import PRESETS, FitWorkload, Gpu, SideEffects, State, load_workloads
from keepwarm_planner.errors import PlannerError

P = prices.load()


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


def test_given_a_fit_then_each_candidates_cost_follows_from_its_formula() -> None:
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
