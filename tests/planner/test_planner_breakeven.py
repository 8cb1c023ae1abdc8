"""Scale to zero against always on: the crossing agrees with its closed forms."""

from dataclasses import replace
from math import inf

import pytest

from keepwarm_planner import prices
from keepwarm_planner.answers.breakeven import Comparison, breakeven
from keepwarm_planner.errors import PlannerError

P = prices.load()


def test_given_function_when_balanced_then_the_crossing_is_the_prices_closed_form() -> None:
    report = breakeven(Comparison("function", service_s=0.5, cold_s=2.0, idle_s=600.0), P)
    closed = P.provisioned_gb_s_x86 / (P.lambda_gb_s_x86 - P.provisioned_duration_gb_s_x86)
    assert report.crossing == pytest.approx(closed, rel=1e-4)
    assert closed == pytest.approx(0.6, abs=0.001)


def test_given_service_in_sessions_then_the_crossing_is_where_the_gap_is_the_tail() -> None:
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
