"""What the values in a CSV file's columns say about which of them is the label."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence

from mnist_estimator import InputError

NUMBER = rb"\d+(?:\.\d*)?(?:[eE][+-]?\d+)?"
_FLOAT = re.compile(NUMBER)
_MAX_VALUES = 2**16  # So that memory is bounded whatever the file holds.
_KEY_BYTES = 64  # Of a field that is counted; numpy.savetxt writes 24 by default.
_HUGE = 10**18
# Fewer lines may look like anything.
_FEW_LINES = 12
# A border's pixel has one value in nearly every image; hardly any class is as frequent.
_NEARLY_ALL = 0.9
_MANY_CLASSES, _FEW_EXAMPLES = 20, 5
# Pixels of natural images have so many times the values that labels have.
_MORE_VALUES = 3


class Values:
    """The values of one column, line by line."""

    def __init__(self) -> None:
        self.lines = self.files = 0
        self.counts_up = True
        self._counts: dict[bytes, int] = {}
        self._previous: int | None = None
        self._is_first = True

    def begin_file(self) -> None:
        """Says that the next line is the first of a file, where counting may begin anew."""
        self.files += 1
        self._is_first = True

    def add(self, field: bytes) -> None:
        """Counts the next line's value."""
        self.lines += 1
        counts, key = self._counts, field[:_KEY_BYTES]
        if key in counts:
            counts[key] += 1
        elif len(counts) < _MAX_VALUES:
            counts[key] = 1
        if self.counts_up:
            value = whole(field)
            follows = self._is_first or (self._previous is not None and value == self._previous + 1)
            self.counts_up, self._previous = follows and value is not None, value
            self._is_first = False

    def numbers(self) -> dict[int, int]:
        """How many lines have each whole number."""
        found: dict[int, int] = {}
        for field, count in self._counts.items():
            value = whole(field)
            if value is not None:
                found[value] = found.get(value, 0) + count
        return found

    def is_uniform(self) -> bool:
        """Whether nearly all lines have one value."""
        return max(self._counts.values(), default=0) >= _NEARLY_ALL * self.lines


def whole(field: bytes) -> int | None:
    """Returns the whole number that a field is, also if written as 5.0 or 1.2e+02; else None."""
    field = field.strip()
    if field.isdigit():
        return int(field) if len(field) <= 18 else _HUGE
    if not _FLOAT.fullmatch(field) or len(field) > 400:
        return None
    value = float(field)
    return min(int(value), _HUGE) if value.is_integer() else _HUGE if math.isinf(value) else None


def is_fraction(field: bytes) -> bool:
    """Whether a field is a number between 0 and 1."""
    field = field.strip()
    return bool(_FLOAT.fullmatch(field)) and 0 < float(field) < 1


def check_first(path: str, first: Values, last: Values) -> None:
    """Raises InputError if the first column, the label by default, does not look like labels."""
    if first.lines < _FEW_LINES:
        return
    # A file of one line always counts up.
    if first.counts_up and first.lines - first.files >= _FEW_LINES - 1:
        raise InputError(
            f"{path}: the first column counts the lines from {min(first.numbers())}, expected the "
            "label; delete that column (pandas: to_csv(index=False)), or say --label_column=first"
        )
    if _look_like_labels(last) and not _may_be_labels(first, last):
        raise InputError(
            f"{path}: the first column looks like a pixel ({_summary(first)}) and the last like "
            f"the label ({_summary(last)}); say which is the label: --label_column=last or first"
        )


def _look_like_labels(values: Values) -> bool:
    numbers = values.numbers()
    if sum(numbers.values()) < values.lines or values.is_uniform() or values.counts_up:
        return False
    few = 2 <= len(numbers) <= max(2, values.lines // 4)
    return few and max(numbers) < 3 * len(numbers) + 10


def _may_be_labels(first: Values, last: Values) -> bool:
    """Whether the first column may be the label where the last one looks like it, too."""
    numbers = first.numbers()
    is_pixel = len(numbers) > max(_MANY_CLASSES, _MORE_VALUES * len(last.numbers()))
    return not first.is_uniform() and not _are_too_many(numbers) and not is_pixel


def _are_too_many(numbers: Mapping[int, int]) -> bool:
    return len(numbers) > _MANY_CLASSES and len(numbers) * _FEW_EXAMPLES > sum(numbers.values())


def _summary(values: Values) -> str:
    numbers = values.numbers()
    if values.is_uniform():
        most = max(numbers, key=lambda number: numbers[number])
        return f"{most} in {numbers[most]:,} of {values.lines:,} lines"
    return f"{len(numbers)} values from {min(numbers)} to {max(numbers)}"


def check_one_hot(path: str, rows: Sequence[Sequence[bytes]], pixels: int | None) -> None:
    """Raises InputError if lines begin or end with a column a class, one of them 1.

    Args:
      pixels: how many an image has; None: a square.
    """
    fields = len(rows[0])
    squares = [side**2 for side in range(math.isqrt(fields), 0, -1)]
    for count in [pixels] if pixels else squares:
        classes = fields - count
        for place, where in (("first", slice(0, classes)), ("last", slice(count, fields))):
            if classes > 1 and _are_one_hot([row[where] for row in rows]):
                raise InputError(
                    f"{path}: the {place} {classes} columns are one-hot labels, expected one "
                    "column with the number of the class (NumPy: table[:, columns].argmax(1))"
                )


def _are_one_hot(rows: Sequence[Sequence[bytes]]) -> bool:
    ones = set()
    for row in rows:
        place = _only_one(row)
        if place is None:
            return False
        ones.add(place)
    return len(ones) > 1


def _only_one(row: Sequence[bytes]) -> int | None:
    """Where a row of zeros has its only 1; None if it is no such row."""
    place = None
    for column, field in enumerate(row):
        value = whole(field)
        if value == 1 and place is None:
            place = column
        elif value != 0:
            return None
    return place


def doubt(
    labels: Mapping[int, int], num_classes: int | None, tested: Mapping[int, int] | None = None
) -> str:
    """What is doubtful about the labels to train on, or "".

    Args:
      labels: how many examples have each.
      num_classes: as the user says; None: the largest label plus 1.
      tested: the labels of the test examples.
    """
    if not labels:
        return ""
    examples, last = sum(labels.values()), max(labels)
    found = f"found {len(labels)} classes in {examples:,} examples"
    ask = "is the label column right? See --label_column"
    if _are_too_many(labels):
        return f"{found}, from {min(labels)} to {last}; {ask}"
    absent = (label for label in range(num_classes or last + 1) if label not in labels)
    some = ", ".join(map(str, itertools.islice(absent, 5)))
    if some:
        more = ", ..." if next(absent, None) is not None else ""
        ask = ask if min(labels) == 0 else f"expected classes to be numbered from 0; {ask}"
        return f"{found}, from {min(labels)} to {last}, but none of class {some}{more}; {ask}"
    if tested and len(tested) == 1 and sum(tested.values()) >= _FEW_LINES:
        return f"{found}, but every test example has class {min(tested)}; {ask}"
    unknown = sorted(set(tested or ()) - set(labels))
    if unknown:
        return f"{found}, but the test examples have class {unknown[0]} too; {ask}"
    return ""
