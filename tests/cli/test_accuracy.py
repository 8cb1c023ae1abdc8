"""The measure of OCR accuracy: edit distance against its textbook form, and what counts as an error.

Whether a given page is read well is not decided here; test_inference_models.py does that.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepwarm_cli import accuracy
from keepwarm_cli.accuracy import MAX_CHARACTERS, Accuracy, compare, edit_distance


def textbook(left: str, right: str) -> int:
    """Levenshtein's table, in full."""
    line = list(range(len(right) + 1))
    for row, a in enumerate(left, 1):
        above, line = line, [row]
        for column, b in enumerate(right, 1):
            line.append(min(above[column] + 1, line[-1] + 1, above[column - 1] + (a != b)))
    return line[-1]


SHORT = st.text("abc", max_size=30)


@given(SHORT, SHORT)
def test_given_two_texts_when_measured_then_as_in_the_textbook(left: str, right: str) -> None:
    assert edit_distance(left, right) == textbook(left, right)


@given(SHORT, SHORT, st.integers(0, 40))
def test_given_limit_when_measured_then_exact_below_it_and_one_more_above(
    left: str, right: str, limit: int
) -> None:
    exact = textbook(left, right)
    assert edit_distance(left, right, limit) == (exact if exact <= limit else limit + 1)


@given(SHORT, SHORT)
def test_given_swapped_texts_when_measured_then_the_same(left: str, right: str) -> None:
    assert edit_distance(left, right) == edit_distance(right, left)


@pytest.mark.parametrize(
    ("read", "truth", "expected"),
    [
        ("abc", "abc", Accuracy(3, 0, 1.0, 1.0)),
        ("a b\n c", "ab c", Accuracy(3, 0, 1.0, 0.75)),
        ("axc", "abc", Accuracy(3, 1, 1 - 1 / 3, 1 - 1 / 3)),
        ("", "abcd", Accuracy(4, 4, 0.0, 0.0)),
        ("abcd", "", Accuracy(0, 4, 0.0, 0.0)),
        ("", " \n", Accuracy(0, 0, 1.0, 1.0)),
        ("xxxxxxxx", "a", Accuracy(1, 8, 0.0, 0.0)),
        ("u\u0308ber", "\u00fcber", Accuracy(4, 0, 1.0, 1.0)),
    ],
)
def test_given_reading_when_compared_then_share_of_the_truth(
    read: str, truth: str, expected: Accuracy
) -> None:
    assert compare(read, truth) == expected


def test_given_long_page_with_few_errors_when_compared_then_only_a_narrow_band_is_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bounds: list[int] = []
    banded = accuracy._banded

    def seen(left: str, right: str, bound: int) -> int | None:
        bounds.append(bound)
        return banded(left, right, bound)

    monkeypatch.setattr(accuracy, "_banded", seen)
    page = "the quick brown fox " * 200
    assert edit_distance(page.replace("quick", "qu1ck", 20), page) == 20
    assert bounds == [8, 16, 32]


def test_given_text_over_the_limit_when_compared_then_refused() -> None:
    with pytest.raises(ValueError, match=r"got a text of 20001 characters; allowed at most 20000"):
        compare("a" * (MAX_CHARACTERS + 1), "a")
