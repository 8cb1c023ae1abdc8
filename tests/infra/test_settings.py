"""Settings: what each stack file becomes, and every refusal in full.

Does not prove that the program wires a setting to a resource; test_program does.
"""

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from infra.settings import CODES, Architecture, Capacity, InvalidSettings, Settings

STACKS = Path(__file__).parents[2] / "stacks"


def raw(stack: str) -> dict[str, str]:
    config = yaml.safe_load((STACKS / f"Pulumi.{stack}.yaml").read_text())["config"]
    return {k.split(":", 1)[1]: json.dumps(v) for k, v in config.items() if k.startswith("keepwarm:")}


def refusal(values: dict[str, str]) -> list[str]:
    with pytest.raises(InvalidSettings) as caught:
        Settings.load(values)
    return caught.value.problems


@pytest.mark.parametrize(
    ("stack", "capacity", "enabled"),
    [("local", Capacity.LOCAL, True), ("dev", Capacity.ASG, False), ("prod", Capacity.ASG, True)],
)
def test_given_a_committed_stack_file_then_it_loads(stack: str, capacity: Capacity, enabled: bool) -> None:
    settings = Settings.load(raw(stack), stack)

    assert (settings.service.capacity, settings.service.enabled) == (capacity, enabled)


def test_given_no_settings_then_the_defaults_hold() -> None:
    settings = Settings.load({})

    assert settings == Settings()
    assert settings.runtime.architecture is Architecture.ARM64
    assert settings.runtime.architecture_name() == "arm64"


def test_given_several_faults_then_all_are_reported_together_before_anything_is_created() -> None:
    with pytest.raises(InvalidSettings) as caught:
        Settings.load({"warm_pol": "{}", "queue": '{"batch_size": "4"}'}, "prod")

    assert str(caught.value) == (
        "2 settings of stack 'prod' can't be used; nothing was created:\n"
        "  KW160 keepwarm:warm_pol: got an unknown name 'warm_pol'; allowed runtime, models, functions, warm_pool,"
        " queue, service, network, workflow, budget, observability; fix: did you mean 'warm_pool'?\n"
        "  KW161 keepwarm:queue.batch_size: got '4'; allowed a valid integer; fix: change queue.batch_size"
    )


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (
            {"queue": {"max_concurency": 3}},
            "KW160 keepwarm:queue.max_concurency: got an unknown name 'max_concurency'; allowed max_concurrency,"
            " batch_size, batch_window_s, max_event_age_s, max_receive_count; fix: did you mean 'max_concurrency'?",
        ),
        (
            {"functions": {"classify": {"timeout_s": 901}}},
            "KW162 keepwarm:functions.classify.timeout_s: got 901; allowed less than or equal to 900;"
            " fix: change functions.classify.timeout_s",
        ),
        (
            {"functions": {"classify": {"memory_mb": True}}},
            "KW161 keepwarm:functions.classify.memory_mb: got True; allowed a valid integer;"
            " fix: change functions.classify.memory_mb",
        ),
        (
            {"service": {"capacity": "asgg"}},
            "KW162 keepwarm:service.capacity: got 'asgg'; allowed 'asg', 'managed' or 'local';"
            " fix: change service.capacity",
        ),
        (
            {"warm_pool": {"environments": 5, "max_environments": 2}},
            "KW164 keepwarm:warm_pool: environments 5 is above max_environments 2; raise max_environments or lower"
            " environments",
        ),
        (
            {"service": {"enabled": True}},
            "KW164 keepwarm:service: image is not set, and capacity 'asg' runs container images only; set image to"
            " <repository>@sha256:<digest> of the built inference server",
        ),
        (
            {"service": {"enabled": True, "image": "server:latest"}},
            "KW164 keepwarm:service: image is 'server:latest', which can change under the service; pin it by"
            " @sha256:<digest>",
        ),
        (
            {"network": {"vpc_id": "vpc-0123abcd"}},
            "KW164 keepwarm:network: vpc_id and subnet_ids go together; set both or neither",
        ),
        (
            {"workflow": {"deadline_s": 100}, "functions": {"ocr": {"timeout_s": 120}}},
            "KW164 keepwarm:*: workflow.deadline_s 100 is not above functions.ocr.timeout_s 120; one attempt would use"
            " the whole deadline; raise workflow.deadline_s",
        ),
        (
            {
                "functions": {"classify": {"reserved_concurrency": 5}},
                "queue": {"max_concurrency": 6},
                "warm_pool": {"max_environments": 5},
            },
            "KW164 keepwarm:*: queue.max_concurrency 6 is above functions.classify.reserved_concurrency 5; the queue"
            " would be throttled; lower queue.max_concurrency",
        ),
        (
            {"functions": {"classify": {"reserved_concurrency": 9}}, "queue": {"max_concurrency": 6}},
            "KW164 keepwarm:*: warm_pool.max_environments 10 is above functions.classify.reserved_concurrency 9;"
            " provisioned concurrency comes out of the reserved; raise it",
        ),
        (
            {"budget": {"load_ms": 9000}},
            "KW164 keepwarm:budget: load_ms 9000 is above total_ms 6000, so the total could never hold; raise total_ms"
            " or lower load_ms",
        ),
        (
            {"observability": {"log_retention_days": 2}},
            "KW164 keepwarm:observability: log_retention_days is 2; CloudWatch offers 1, 3, 5, 7, 14, 30, 60, 90, 120,"
            " 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653",
        ),
    ],
)
def test_given_one_fault_then_the_refusal_says_what_to_do(values: dict[str, object], problem: str) -> None:
    assert refusal({k: json.dumps(v) for k, v in values.items()}) == [problem]


@pytest.mark.parametrize("text", ["{bad", '{"total_ms": NaN}', '{"total_ms": Infinity}'])
def test_given_text_that_is_not_json_then_kw165(text: str) -> None:
    [problem] = refusal({"budget": text})

    assert problem.startswith(f"KW165 keepwarm:budget: got {text!r}; allowed a structured value; because ")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*Settings.model_fields, "environments", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*Settings.model_fields, "typo"]), JSON, max_size=4))
def test_given_any_garbage_then_settings_or_coded_lines_but_never_a_traceback(
    values: dict[str, object],
) -> None:
    problems: list[str] = []
    try:
        Settings.load({k: json.dumps(v) for k, v in values.items()})
    except InvalidSettings as refused:
        problems = refused.problems

    assert all(problem[:5] in CODES and "\n" not in problem for problem in problems)
