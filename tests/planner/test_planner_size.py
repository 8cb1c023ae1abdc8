"""The size search: its answer is the cheapest design that meets the target, and its settings are accepted."""

import json
from dataclasses import replace
from typing import Any

import pytest
import yaml

from keepwarm_planner import prices
from keepwarm_planner.answers.settings import settings_yaml
from keepwarm_planner.answers.size import Target, kind_of, size
from keepwarm_planner.errors import PlannerError
from keepwarm_planner.model.design import Workload
from keepwarm_planner.traffic import generators, law

P = prices.load()


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
    del raw["service"]  # lines for a stack that has one, with its image
    settings = infra.Settings.load(raw)
    found = settings.effective
    assert found["functions"]["classify"]["reserved_concurrency"] >= found["queue"]["max_concurrency"]
    assert found["warm_pool"]["max_environments"] >= sized.answer.design.peak_environments
    assert document["config"]["keepwarm:service"]["concurrency_per_task"] == 4


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
