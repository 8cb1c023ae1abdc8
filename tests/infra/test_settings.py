"""Settings: what each stack file becomes, and every refusal in full, with the file and key path it is about.

Does not prove that the program wires a setting to a resource; test_program does.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from infra.settings import InvalidSettings, Settings
from keepwarm import ServerlessRuntimeArgs

STACKS = Path(__file__).parents[2] / "stacks"
LINE = re.compile(
    r"KW1\d\d stacks/Pulumi\.dev\.yaml keepwarm:\S+: got .*; allowed .*; because .*; fix: .+", re.DOTALL
)
SERVICE = {"image": "registry.example/server@sha256:" + "a" * 64}


def raw(stack: str) -> dict[str, str]:
    config = yaml.safe_load((STACKS / f"Pulumi.{stack}.yaml").read_text())["config"]
    return {k.split(":", 1)[1]: json.dumps(v) for k, v in config.items() if k.startswith("keepwarm:")}


def refusal(values: dict[str, Any], stack: str = "dev") -> list[str]:
    with pytest.raises(InvalidSettings) as caught:
        Settings.load({k: json.dumps(v) for k, v in values.items()}, stack)
    return caught.value.problems


@pytest.mark.parametrize(("stack", "capacity"), [("local", "fargate"), ("dev", None), ("prod", "asg")])
def test_given_a_committed_stack_file_then_it_loads(stack: str, capacity: str | None) -> None:
    found = Settings.load(raw(stack), stack).effective

    assert found.get("service", {}).get("capacity") == capacity


def test_given_no_settings_then_the_workload_has_defaults() -> None:
    settings = Settings.load({})

    assert (settings.runtime.architecture, settings.runtime.python_version) == ("arm64", "3.12")
    assert "warm_pool" not in settings.effective
    assert settings.effective["functions"]["classify"]["memory_mb"] == 1024
    assert settings.effective["queue"]["consumer_timeout_s"] == 30


def test_given_several_faults_then_all_are_told_together() -> None:
    with pytest.raises(InvalidSettings) as caught:
        Settings.load({"warm_pol": "{}", "queue": '{"batch_size": "4", "max_concurrency": 1}'}, "prod")

    known = ", ".join(["runtime", *(key for key in ServerlessRuntimeArgs.__annotations__ if key != "entry")])
    assert str(caught.value) == (
        "3 settings of stack 'prod' can't be used; nothing was created:\n"
        f"  KW160 stacks/Pulumi.prod.yaml keepwarm:warm_pol: got an unknown section; allowed {known};"
        " because nothing reads it; fix: did you mean 'warm_pool'?\n"
        "  KW101 stacks/Pulumi.prod.yaml keepwarm:queue.batch_size: got '4'; allowed a whole number, 1 to 10,000"
        " messages; because it is a number; fix: set batch_size within the range\n"
        "  KW117 stacks/Pulumi.prod.yaml keepwarm:queue.max_concurrency: got 1; allowed a whole number, 2 to 1,000"
        " invocations; because an SQS event source takes no other maximum concurrency; fix: set max_concurrency"
        " within the range"
    )


@pytest.mark.parametrize(
    ("values", "start"),
    [
        ({"queue": {"max_concurency": 3}}, "KW100 keepwarm:queue.max_concurency: got an unknown"),
        (
            {"functions": {"classify": {"timeout_s": 901}}},
            "KW103 keepwarm:functions.classify.timeout_s: got 901; allowed a whole number, 1 to 900",
        ),
        (
            {"functions": {"classify": {"memory_mb": True}}},
            "KW101 keepwarm:functions.classify.memory_mb: got True; allowed a whole number",
        ),
        (
            {"functions": {"clasify": {}}},
            "KW160 keepwarm:functions.clasify: got an unknown function",
        ),
        (
            {"functions": {"ocr": {"timeout_s": 60}}},
            "KW160 keepwarm:functions.ocr: got an unknown function",
        ),
        (
            {"service": {**SERVICE, "capacity": "asgg"}},
            "KW101 keepwarm:service.capacity: got 'asgg'; allowed asg, managed, fargate",
        ),
        (
            {"warm_pool": {"environments": 5, "max_environments": 2}},
            "KW127 keepwarm:warm_pool.max_environments: got 2; allowed",
        ),
        ({"service": {}}, "KW102 keepwarm:service.image: got nothing"),
        ({"service": {"image": "server:latest"}}, "KW142 keepwarm:service.image: got 'server:latest'"),
        (
            {"functions": {"classify": {"reserved_concurrency": 5}}, "queue": {"max_concurrency": 6}},
            "KW118 keepwarm:functions.classify.",
        ),
        ({"queue": {"max_event_age_s": 1_209_600}}, "KW121 keepwarm:queue.max_event_age_s: got 1209600"),
        (
            {"service": {**SERVICE, "instance_types": ["t2.nano"]}},
            "KW125 keepwarm:service.instance_types",
        ),
        (
            {"warm_pool": {"max_environments": 4, "target_utilization": 0.05}},
            "KW146 keepwarm:warm_pool.target_utilization: got 0.05",
        ),
        (
            {"warm_pool": {"schedules": [{"schedule_expression": "cron(x)", "environments": 1}]}},
            "KW144 keepwarm:warm_pool.schedules[0].schedule_expression: got 'cron(x)'",
        ),
        ({"budgets_ms": {"total": 1_000_000}}, "KW149 keepwarm:budgets_ms.total: got 1000000"),
        ({"log_retention_days": 2}, "KW143 keepwarm:"),
        (
            {"runtime": {"architecture": "z80"}},
            "KW101 keepwarm:runtime.architecture: got 'z80'; allowed x86_64, arm64, host",
        ),
    ],
    ids=str,
)
def test_given_a_fault_then_file_and_key_are_named(values: dict[str, Any], start: str) -> None:
    problems = refusal(values)

    start = start.replace(" ", " stacks/Pulumi.dev.yaml ", 1)
    assert [p for p in problems if p.startswith(start)], problems
    assert all(LINE.fullmatch(problem) for problem in problems), problems


def test_given_too_many_permits_then_the_service_is_told_to_shrink() -> None:
    problems = refusal({"service": {**SERVICE, "max_tasks": 60, "concurrency_per_task": 2}})

    assert [p for p in problems if p.startswith("KW150 stacks/Pulumi.dev.yaml keepwarm:service.max_tasks")]
    assert not [p for p in problems if "pools" in p], problems


@pytest.mark.parametrize("text", ["{bad", '{"total": NaN}', '{"total": Infinity}'])
def test_given_text_that_is_not_json_then_kw165(text: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        Settings.load({"budgets_ms": text})
    [problem] = caught.value.problems

    start = f"KW165 stacks/Pulumi.dev.yaml keepwarm:budgets_ms: got {text!r}; allowed a structured value; because "
    assert problem.startswith(start)


SECTIONS = [*ServerlessRuntimeArgs.__annotations__, "runtime", "typo"]
KEYS = [*SECTIONS, "environments", "classify", "image", "model", "x"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(SECTIONS), JSON, max_size=4))
def test_given_any_garbage_then_coded_lines_but_never_a_traceback(values: dict[str, object]) -> None:
    problems: list[str] = []
    try:
        Settings.load({k: json.dumps(v) for k, v in values.items()})
    except InvalidSettings as refused:
        problems = refused.problems

    assert all(LINE.fullmatch(problem) for problem in problems), problems


@pytest.mark.parametrize("part", ["intake", "queue", "service", "functions"])
def test_given_a_part_made_elsewhere_that_is_no_mapping_then_refused(part: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        Settings.load({"existing": json.dumps({part: False})}, "dev")

    start = f"KW101 stacks/Pulumi.dev.yaml keepwarm:existing.{part}: got False; allowed a mapping"
    assert len([line for line in refused.value.problems if line.startswith(start)]) == 1
