"""How well a text was read: characters of the truth that the reading has, by edit distance. Standard library only."""

import unicodedata
from typing import NamedTuple

MAX_CHARACTERS = 20_000
"""Longest text that is compared: the time grows with truth x errors, and a page is far below this."""


class Accuracy(NamedTuple):
    """What a comparison found."""

    characters: int
    """Characters of the truth, without white space."""
    errors: int
    """Fewest inserted, deleted and replaced characters that turn the reading into the truth, without white space."""
    accuracy: float
    """1 - errors / characters, never below 0. 1.0 for an empty truth that was read as nothing."""
    accuracy_with_spaces: float
    """The same with every run of white space counted as one character."""


def edit_distance(left: str, right: str, limit: int | None = None) -> int:
    """Levenshtein distance. With `limit`, any value above `limit` may be answered as `limit + 1` (which is faster).

    Ukkonen's band: only cells nearer to the diagonal than the current bound can lie on a best path, and the bound
    doubles until the distance fits, so that near-equal texts cost little.
    """
    if left == right:
        return 0
    bound = 8
    while True:
        distance = _banded(left, right, bound if limit is None else min(bound, limit))
        if distance is not None:
            return distance
        if limit is not None and bound >= limit:
            return limit + 1
        bound *= 2


def _banded(left: str, right: str, bound: int) -> int | None:
    """The distance when it is at most `bound`, else None."""
    if abs(len(left) - len(right)) > bound:
        return None
    beyond = bound + 1
    before = [column if column <= bound else beyond for column in range(len(right) + 1)]
    for row, character in enumerate(left, 1):
        first, last = max(1, row - bound), min(len(right), row + bound)
        line = [beyond] * (len(right) + 1)
        if row <= bound:
            line[0] = row
        for column in range(first, last + 1):
            cost = before[column - 1] + (character != right[column - 1])
            line[column] = min(cost, before[column] + 1, line[column - 1] + 1, beyond)
        before = line
    return before[-1] if before[-1] <= bound else None


def compare(read: str, truth: str) -> Accuracy:
    """How much of `truth` was read. Both are put into NFC first; texts above `MAX_CHARACTERS` raise ValueError."""
    if max(len(read), len(truth)) > MAX_CHARACTERS:
        raise ValueError(
            f"compare: got a text of {max(len(read), len(truth))} characters; allowed at most {MAX_CHARACTERS}; "
            "because the comparison is quadratic; fix: compare page by page"
        )
    read, truth = unicodedata.normalize("NFC", read), unicodedata.normalize("NFC", truth)
    spaced_read, spaced_truth = " ".join(read.split()), " ".join(truth.split())
    bare_read, bare_truth = spaced_read.replace(" ", ""), spaced_truth.replace(" ", "")
    errors = edit_distance(bare_read, bare_truth)
    spaced = edit_distance(spaced_read, spaced_truth)
    return Accuracy(len(bare_truth), errors, _share(errors, bare_truth), _share(spaced, spaced_truth))


def _share(errors: int, truth: str) -> float:
    if not truth:
        return 0.0 if errors else 1.0
    return max(0.0, 1 - errors / len(truth))
