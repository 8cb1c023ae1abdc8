"""Design files: read into systems and laws, or refused in one coded line."""

from pathlib import Path

import pytest

from keepwarm_planner.errors import PlannerError
from keepwarm_planner.model import design_file
from keepwarm_planner.model.design import Retry


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
    assert b.retry == Retry(attempts=9)
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
