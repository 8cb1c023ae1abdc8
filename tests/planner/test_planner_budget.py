"""The cold-start budget: a calibration recovers known laws and states its error; more work is never faster."""

import json
import random
from collections.abc import Mapping
from math import inf
from pathlib import Path
from typing import Any

import pytest

from keepwarm_planner.answers.budget import estimate
from keepwarm_planner.answers.calibration import calibrate
from keepwarm_planner.answers.cold_path import ColdPath
from keepwarm_planner.errors import PlannerError
from keepwarm_runtime.phases import PHASES


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
    assert c.holdout_error == pytest.approx({"p50": (200 / 100 + 50 / 200 + 250 / 400) / 3})
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


def test_given_hashing_faster_than_the_link_then_verification_is_hidden() -> None:
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
