"""What the values in a CSV file's columns say about which of them is the label."""

import pytest

from mnist_estimator import InputError
from mnist_estimator.data import csv_labels


def _values(*fields: object) -> csv_labels.Values:
    values = csv_labels.Values()
    for field in fields:
        values.add(str(field).encode())
    return values


@pytest.mark.parametrize(
    ("field", "number"),
    [(b"5", 5), (b" 5.0 ", 5), (b"1.2e+02", 120), (b"0.5", None), (b"-1", None), (b"five", None)],
)
def test_whole_numbers(field, number):
    assert csv_labels.whole(field) == number


def test_values_are_counted():
    values = _values(3, "3.0", 4, "x")
    assert values.lines == 4 and values.numbers() == {3: 2, 4: 1}
    assert not values.counts_up and not values.is_uniform()
    assert _values(*range(20)).counts_up and _values(*[0] * 20).is_uniform()


def test_values_are_counted_as_numpy_writes_them():
    fields = [f"{value:.18e}" for value in [3, 4, 3]]
    assert _values(*fields).numbers() == {3: 2, 4: 1}
    pixels, labels = (
        _values(*(f"{value % most:.18e}" for value in range(2000))) for most in (250, 10)
    )
    with pytest.raises(
        InputError, match="looks like a pixel .250 values from 0 to 249. and the la"
    ):
        csv_labels.check_first("a.csv", pixels, labels)


def test_a_first_column_that_counts_or_is_a_pixel_is_refused():
    labels = _values(*[0, 1, 2, 1] * 5)
    csv_labels.check_first("a.csv", labels, _values(*[0] * 20))
    with pytest.raises(InputError, match="a.csv: the first column counts the lines from 0"):
        csv_labels.check_first("a.csv", _values(*range(20)), labels)
    with pytest.raises(InputError, match="looks like a pixel .* say which is the label"):
        csv_labels.check_first("a.csv", _values(*[0] * 20), labels)


def test_a_first_column_with_many_more_values_than_the_last_is_a_pixel():
    """Also where the file is so long that each value has many examples."""
    labels = _values(*range(10), *[*range(10)] * 199)
    pixels = _values(*[*range(0, 250, 5)] * 40)
    with pytest.raises(InputError, match="a pixel .50 values from 0 to 245. and the last like"):
        csv_labels.check_first("a.csv", pixels, labels)
    letters = _values(*[*range(26)] * 77)  # As many as classes may be: the last one says nothing.
    csv_labels.check_first("a.csv", letters, labels)


def test_one_hot_labels_are_refused():
    rows = [[b"0", b"1", *[b"7"] * 4], [b"1", b"0", *[b"7"] * 4]]
    with pytest.raises(InputError, match="the first 2 columns are one-hot labels"):
        csv_labels.check_one_hot("a.csv", rows, 4)
    csv_labels.check_one_hot("a.csv", [row[1:] for row in rows], 4)


def test_doubtful_labels():
    assert csv_labels.doubt({0: 5, 1: 5}, None) == ""
    assert "none of class 1;" in csv_labels.doubt({0: 5, 2: 5}, None)
    assert "numbered from 0" in csv_labels.doubt({1: 5, 2: 5}, None)
    assert "the test examples have class 2 too" in csv_labels.doubt({0: 5, 1: 5}, None, {2: 1})
