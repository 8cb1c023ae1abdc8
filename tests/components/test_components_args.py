"""The checks every component shares: what is known is refused now, what is not, later, in the same words.

Not proved here: which checks a component makes; its own file does.
"""

import math
from enum import StrEnum
from typing import Any, NotRequired, TypedDict

import pulumi
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepwarm._values import derive
from keepwarm.checks import secrets
from keepwarm.checks.inputs import Checks
from keepwarm.errors import InvalidArgs
from tests.support.deployed import deploy, refusal


class Fruit(StrEnum):
    APPLE = "apple"
    PEAR = "pear"


class BoxArgs(TypedDict):
    size: pulumi.Input[int]
    fruit: NotRequired[Fruit]
    open: NotRequired[bool]


def box(args: Any) -> dict[str, Any]:
    checks = Checks("Box", "b", args, BoxArgs)
    found = {
        "size": checks.number("size", None, 1, 10, code="KW103", unit="cm", because="boxes are small"),
        "fruit": checks.choice("fruit", Fruit.APPLE),
        "open": checks.flag("open", False),
    }
    checks.done()
    return found


TOO_LARGE = (
    "KW103 Box 'b' size: got 11; allowed a whole number, 1 to 10 cm; because boxes are small; "
    "fix: set size within the range"
)


def test_given_a_misspelt_input_when_checked_then_the_nearest_name_is_offered() -> None:
    with pytest.raises(InvalidArgs) as refused:
        box({"size": 1, "fruti": "pear"})
    assert str(refused.value) == (
        "KW100 Box 'b' fruti: got an unknown input; allowed one of fruit, open, size; "
        "because a misspelled input would be ignored in silence; fix: did you mean 'fruit'?"
    )


def test_given_several_faults_when_checked_then_all_are_told_in_one_go() -> None:
    with pytest.raises(InvalidArgs) as refused:
        box({"size": 11, "fruit": "plum", "open": "yes"})
    assert [line.split()[0] for line in str(refused.value).splitlines()] == ["KW101", "KW101", "KW103"]


def test_given_a_missing_input_when_checked_then_it_is_named() -> None:
    with pytest.raises(InvalidArgs) as refused:
        box({})
    assert str(refused.value) == (
        "KW102 Box 'b' size: got nothing; allowed a value; because there is no default for it; fix: set size"
    )


def test_given_a_known_and_a_late_value_when_refused_then_the_words_are_the_same() -> None:
    with pytest.raises(InvalidArgs) as now:
        box({"size": 11})
    later = refusal(lambda: box({"size": pulumi.Output.from_input(11)})["size"])
    assert str(now.value) == later == TOO_LARGE


def test_given_a_late_value_when_it_is_fine_then_it_passes_through() -> None:
    seen: list[int] = []
    deploy(
        lambda: pulumi.Output.from_input(box({"size": pulumi.Output.from_input(7)})["size"]).apply(
            seen.append
        )
    )
    assert seen == [7]


@pytest.mark.parametrize("value", [True, "3", math.nan, math.inf, -math.inf, 2.5, [1], {}])
def test_given_something_that_is_no_whole_number_when_checked_then_it_is_refused(value: Any) -> None:
    with pytest.raises(InvalidArgs, match=r"^KW101 Box 'b' size: got "):
        box({"size": value})


def test_given_a_whole_number_as_a_float_when_checked_then_it_counts() -> None:
    """Other languages send every number as a double."""
    assert box({"size": 3.0})["size"] == 3


@given(st.integers(-(10**6), 10**6))
def test_given_any_integer_when_checked_then_exactly_the_range_passes(value: int) -> None:
    try:
        assert box({"size": value})["size"] == value
        passed = True
    except InvalidArgs:
        passed = False
    assert passed == (1 <= value <= 10)


@given(st.one_of(st.text(), st.floats(), st.none(), st.booleans(), st.binary(), st.lists(st.integers())))
def test_given_garbage_when_checked_then_it_is_one_line_per_fault_and_no_other_exception(value: Any) -> None:
    try:
        box({"size": value})
    except InvalidArgs as refused:
        lines = str(refused).splitlines()
        assert all(line.startswith("KW") and "; fix: " in line for line in lines), lines


def test_given_known_inputs_when_derived_then_the_result_is_known() -> None:
    assert derive(lambda a, b: a * b, 6, 7) == 42
    assert isinstance(derive(lambda a: a, pulumi.Output.from_input(1)), pulumi.Output)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X", "AKIAIOSFODNN7EXAMPLE"),
        ("X", "ghp_0123456789abcdefghijABCDEFGHIJ"),
        ("X", "hf_abcdefghijklmnopqrstuvwxyz"),
        ("X", "-----BEGIN RSA PRIVATE KEY-----\nMIIE"),
        ("X", "postgres://app:hunter2@db.internal/app"),
        ("X", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N"),
        ("DB_PASSWORD", "hunter2"),
        ("API_KEY", "short"),
        ("SEED", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
    ],
)
def test_given_a_secret_when_looked_at_then_it_is_suspected(name: str, value: str) -> None:
    assert secrets.suspicion(name, value) is not None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KEEPWARM_MODEL_REF", "magika@sha256:" + "ab" * 32),
        ("DB_PASSWORD", "arn:aws:secretsmanager:eu-west-1:111122223333:secret:db-AbCdEf"),
        ("TOKEN_LIMIT", "4096"),
        ("LEVEL", "INFO"),
        ("URL", "https://sqs.eu-west-1.amazonaws.com/111122223333/burst-jobs-1a2b3c4"),
        ("BUCKET", "models-bucket-1a2b3c4"),
        ("EMPTY_SECRET", ""),
        ("PATH", "/opt/python/lib:/var/task/some/LongPath12345/deep"),
    ],
)
def test_given_a_setting_when_looked_at_then_it_is_not_suspected(name: str, value: str) -> None:
    assert secrets.suspicion(name, value) is None


@given(st.text(max_size=200))
def test_given_any_text_when_measured_then_entropy_stays_between_zero_and_the_logarithm(text: str) -> None:
    bits = secrets.entropy_bits(text)
    assert -1e-9 <= bits <= math.log2(max(len(set(text)), 1)) + 1e-9
