"""The seven questions: answered from the stack's own numbers, and open where nothing says."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from keepwarm import limits
from keepwarm_planner import prices
from keepwarm_planner.answers.checklist import Facts, answer, as_html, as_text
from keepwarm_planner.answers.stack import stack_settings

P = prices.load()
ROOT = Path(__file__).parents[2]


def _facts(**more: Any) -> Facts:
    return Facts(
        bundle_bytes={"classify": 80 * limits.MIB},
        model_bytes=4_000_000,
        requests_per_s=0.5,
        service_s=0.3,
        summary={"effects": 12, "succeeded": 12, "duplicates": 1},
        **more,
    )


def test_given_a_stack_with_facts_then_all_seven_are_answered_with_evidence() -> None:
    settings = {
        **stack_settings(ROOT / "stacks" / "Pulumi.prod.yaml"),
        "budgets_ms": {"total": 6000},
    }
    settings["functions"]["classify"]["loads_model"] = "magika:stable"
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
        (1, {"budgets_ms": {"total": 500}}, _facts()),
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
    service = {"max_tasks": 6, "concurrency_per_task": 8}
    settings = {"queue": {"max_concurrency": 5}, "service": service}

    fan_out = answer(settings, _facts(), P)[3]

    assert (
        "service: at most 6 tasks x 8 requests each = 48 permits; refused demand gets Retry-After"
        in fan_out.evidence
    )


@pytest.mark.parametrize("unset", ["max_tasks", "concurrency_per_task"])
def test_given_a_number_nobody_set_then_the_checklist_invents_none(unset: str) -> None:
    service = {"max_tasks": 6, "concurrency_per_task": 8}
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
