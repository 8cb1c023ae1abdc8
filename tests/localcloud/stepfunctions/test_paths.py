"""Properties of JSONPath, intrinsic functions and definitions of the embedded Step Functions.

Proves that any text is either understood or refused with a Step Functions error, and that what is written can be read.
Does not prove agreement with AWS on every exotic path.
"""

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keepwarm_localcloud.services.stepfunctions import intrinsics, paths
from keepwarm_localcloud.services.stepfunctions.choice_rules import like
from keepwarm_localcloud.services.stepfunctions.failures import StateFailure
from keepwarm_localcloud.services.stepfunctions.validation import validate

NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=10,
)


def quoted(names: list[str]) -> str:
    """A path in bracket notation."""
    return "$" + "".join("['" + n.replace("\\", "\\\\").replace("'", "\\'") + "']" for n in names)


def error_of(run: Callable[[], Any]) -> str | None:
    """Name of the Step Functions error that comes of it; anything else is a defect and passes through."""
    try:
        run()
    except StateFailure as failure:
        return failure.error
    return None


@given(
    data=st.dictionaries(NAMES, st.integers(), max_size=3),
    names=st.lists(NAMES, min_size=1, max_size=4),
    value=JSON,
)
def test_given_any_object_when_a_value_is_written_then_it_is_read_back_and_the_input_is_untouched(
    data: dict[str, Any], names: list[str], value: Any
) -> None:
    before = json.dumps(data)
    path = quoted(names)
    if len(names) > 1 and names[0] in data:
        with pytest.raises(StateFailure):
            paths.write(path, data, value)
    else:
        result = paths.write(path, data, value)
        assert paths.read(path, result, {}, {}) == value
        assert {k: v for k, v in result.items() if k != names[0]} == {
            k: v for k, v in data.items() if k != names[0]
        }
    assert json.dumps(data) == before


@given(text=st.text(alphabet="$.['\"]*?()@=<>ab01:,-& ", max_size=20), data=JSON)
def test_given_any_text_as_a_path_when_read_then_a_value_or_a_step_functions_error(
    text: str, data: Any
) -> None:
    assert error_of(lambda: paths.read(text, data, {"Execution": {}}, {})) in (None, "States.Runtime")


@pytest.mark.parametrize(
    ("error", "names", "matches"),
    [
        ("Custom", ["Custom"], True),
        ("Custom", ["States.TaskFailed"], True),
        ("Custom", ["States.ALL"], True),
        ("Custom", ["Other"], False),
        ("States.Timeout", ["States.TaskFailed"], False),
        ("States.Timeout", ["States.ALL"], True),
        ("States.HeartbeatTimeout", ["States.Timeout"], True),
        ("States.HeartbeatTimeout", ["States.TaskFailed"], False),
        ("States.Timeout", ["States.HeartbeatTimeout"], False),
        ("States.Runtime", ["States.ALL"], False),
        ("States.Runtime", ["States.TaskFailed"], False),
        ("States.DataLimitExceeded", ["States.ALL"], False),
        ("States.DataLimitExceeded", ["States.DataLimitExceeded"], True),
    ],
)
def test_given_an_error_name_when_retriers_and_catchers_look_then_it_matches_as_documented(
    error: str, names: list[str], *, matches: bool
) -> None:
    """https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html"""
    assert StateFailure(error).matches(names) is matches


def test_given_several_faults_when_validated_then_each_has_its_code_and_its_place() -> None:
    task = {"Type": "Task", "Resource": "arn:aws:lambda:us-east-1:1:function:f", "End": True}
    definition = {
        "StartAt": "A",
        "TimeoutSeconds": 0,
        "States": {
            "A": {**task, "TimeoutSeconds": 5, "HeartbeatSeconds": 5, "End": False, "Next": "B",
                  "Retry": [{"ErrorEquals": ["States.ALL", "x"], "BackoffRate": 0.5, "MaxDelaySeconds": 1}],
                  "Catch": [{"ErrorEquals": [], "Next": "Z"}]},
            "B": {"Type": "Choice", "Choices": [{"Variable": "$.a", "IsNull": True}], "Default": "C"},
            "C": {"Type": "Parallel", "Branches": [{"StartAt": "A", "States": {"A": {"Type": "Succeed"}}}],
                  "End": True},
        },
    }  # fmt: skip
    assert [(d.code, d.location, d.message) for d in validate(json.dumps(definition))] == [
        ("SCHEMA_VALIDATION_FAILED", "/TimeoutSeconds", "Value is not a positive integer"),
        ("SCHEMA_VALIDATION_FAILED", "/States/A/Retry[0]/ErrorEquals",
         "States.ALL must appear alone and in the last rule"),
        ("SCHEMA_VALIDATION_FAILED", "/States/A/Retry[0]/BackoffRate", "Value must be greater than or equal to 1.0"),
        ("SCHEMA_VALIDATION_FAILED", "/States/A/Retry[0]/MaxDelaySeconds",
         "MaxDelaySeconds must be greater than IntervalSeconds"),
        ("SCHEMA_VALIDATION_FAILED", "/States/A/Catch[0]/ErrorEquals",
         "ErrorEquals must be a non-empty array of strings"),
        ("MISSING_TRANSITION_TARGET", "/States/A/Catch[0]/Next", "Missing 'Next' target: Z"),
        ("SCHEMA_VALIDATION_FAILED", "/States/A/HeartbeatSeconds",
         "HeartbeatSeconds must be smaller than TimeoutSeconds"),
        ("MISSING_TRANSITION_TARGET", "/States/B/Choices[0]/Next", "Missing 'Next' target: None"),
        ("DUPLICATE_STATE_NAME", "/States/C/Branches[0]/States/A", "Duplicate state name: A"),
    ]  # fmt: skip


CALLS: list[tuple[str, Any]] = [
    ("States.Format('{} and {}', 'a', $.n)", "a and 3"),
    ("States.StringToJson('{\"a\":[1]}')", {"a": [1]}),
    ("States.JsonToString($.o)", '{"x":1}'),
    ("States.Array(1, 'b', $.o, null, true)", [1, "b", {"x": 1}, None, True]),
    ("States.ArrayPartition($.l, 2)", [[1, 2], [2, 3]]),
    ("States.ArrayPartition($.l, 2.6)", [[1, 2, 2], [3]]),
    ("States.ArrayContains($.l, 2)", True),
    ("States.ArrayContains($.l, '2')", False),
    ("States.ArrayContains(States.Array(1), true)", False),
    ("States.ArrayRange(1, 9, 2)", [1, 3, 5, 7, 9]),
    ("States.ArrayRange(3, 1, -1)", [3, 2, 1]),
    ("States.ArrayGetItem($.l, 3)", 3),
    ("States.ArrayLength($.l)", 4),
    ("States.ArrayUnique($.l)", [1, 2, 3]),
    ("States.Base64Encode('Data to encode')", "RGF0YSB0byBlbmNvZGU="),
    ("States.Base64Decode('RGVjb2RlZCBkYXRh')", "Decoded data"),
    ("States.Hash('input data', 'SHA-1')", "aaff4a450a104cd177d28d18d74485e8cae074b7"),
    ("States.JsonMerge($.o, $.p, false)", {"x": 1, "y": 2}),
    ("States.MathRandom(5, 6)", 5),
    ("States.MathAdd(111, -1)", 110),
    ("States.MathAdd(1.5, -2.5)", -1),
    ("States.StringSplit('This.is+a,test=string', '.+,=')", ["This", "is", "a", "test", "string"]),
]  # fmt: skip


@pytest.mark.parametrize(("call", "expected"), CALLS)
def test_given_an_intrinsic_function_when_called_then_the_result_that_aws_documents(
    call: str, expected: Any
) -> None:
    """https://docs.aws.amazon.com/step-functions/latest/dg/intrinsic-functions.html"""
    data = {"n": 3, "o": {"x": 1}, "p": {"y": 2}, "l": [1, 2, 2, 3]}
    assert intrinsics.evaluate(call, lambda path: paths.read(path, data, {}, {})) == expected


def test_given_every_intrinsic_function_of_aws_when_looked_up_then_it_is_there_and_has_a_case() -> None:
    cased = {call.partition("(")[0] for call, _ in CALLS}
    assert cased | {"States.UUID"} == set(intrinsics._FUNCTIONS)
    assert len(cased) + 1 == 18
    made = intrinsics.evaluate("States.UUID()", lambda _: None)
    assert uuid.UUID(made).version == 4


@pytest.mark.parametrize(
    ("call", "cause"),
    [
        ("States.Format('{} {}', 1)", "States.Format has 2 places and 1 arguments"),
        (
            "States.ArrayRange(1, 2000, 1)",
            "States.ArrayRange needs a step other than 0 and gives at most 1000 elements",
        ),
        (
            "States.ArrayRange(1, 2, 0)",
            "States.ArrayRange needs a step other than 0 and gives at most 1000 elements",
        ),
        (
            "States.JsonMerge($, $, true)",
            "States.JsonMerge supports shallow merging only: the third argument must be false",
        ),
        ("States.Hash('a', 'CRC')", "States.Hash allows MD5, SHA-1, SHA-256, SHA-384, SHA-512, got CRC"),
        ("States.Nope()", "The intrinsic function 'States.Nope' does not exist"),
    ],
)
def test_given_a_wrong_call_when_evaluated_then_intrinsic_failure(call: str, cause: str) -> None:
    with pytest.raises(StateFailure) as failed:
        intrinsics.evaluate(call, lambda _: {})
    assert (failed.value.error, failed.value.cause) == ("States.IntrinsicFailure", cause)


@given(text=st.text(alphabet="States.FormatAry('{}\\$,1 -)", max_size=30))
def test_given_any_text_as_a_call_when_evaluated_then_a_value_or_an_intrinsic_failure(text: str) -> None:
    call = f"States.{text}"
    assert error_of(lambda: intrinsics.evaluate(call, lambda _: 1)) in (None, "States.IntrinsicFailure")


@given(values=st.lists(st.text(max_size=6), max_size=4))
def test_given_any_arguments_when_formatted_then_they_appear_in_order(values: list[str]) -> None:
    template = "|".join("{}" for _ in values)
    names = [f"$.v{i}" for i in range(len(values))]
    call = f"States.Format('{template}'{''.join(', ' + n for n in names)})"
    assert intrinsics.evaluate(call, lambda p: values[int(p[3:])]) == "|".join(values)


@given(text=st.text(max_size=8))
def test_given_any_text_when_matched_then_itself_and_a_star_match(text: str) -> None:
    literal = text.replace("\\", "\\\\").replace("*", "\\*")
    assert like(text, "*")
    assert like(text, literal)
    assert not like(text + "x", literal)


@settings(max_examples=200)
@given(definition=JSON)
def test_given_any_json_as_a_definition_when_validated_then_diagnostics_and_no_crash(definition: Any) -> None:
    assert validate(json.dumps(definition))
    assert validate(json.dumps({"StartAt": "A", "States": {"A": definition}}))


@settings(max_examples=200)
@given(
    kind=st.sampled_from(["Task", "Pass", "Choice", "Wait", "Succeed", "Fail", "Parallel", "Map"]),
    fields=st.dictionaries(
        st.sampled_from(
            ["Resource", "Retry", "Catch", "Choices", "Default", "Seconds", "Branches", "ItemProcessor", "Next", "End",
             "Parameters", "ResultPath", "InputPath", "TimeoutSeconds", "HeartbeatSeconds", "MaxConcurrency"]
        ),
        JSON,
        max_size=5,
    ),
)  # fmt: skip
def test_given_a_state_with_any_fields_when_validated_then_no_crash(
    kind: str, fields: dict[str, Any]
) -> None:
    found = validate(json.dumps({"StartAt": "A", "States": {"A": {"Type": kind, **fields}}}))
    assert all(d.code and d.location.startswith("/") for d in found)
