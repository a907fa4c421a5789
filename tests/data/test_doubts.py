"""What is said of a dataset, and of evaluating a run on another one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest

from mnist_estimator import InputError
from mnist_estimator.data import doubts, splits
from mnist_estimator.data.manifest import Manifest, Shard, shard_name


def _manifest(
    train: Sequence[int], validation: Sequence[int] = (), test: Sequence[int] = (), **fields: object
) -> Manifest:
    """A manifest by the number of examples of each class."""
    counts = {"train": train, "validation": validation, "test": test}
    counts = {split: tuple(c) or (0,) * len(train) for split, c in counts.items()}
    shards = {
        split: (Shard(shard_name(split, 0, 1), sum(c), 1, "0" * 64),) if sum(c) else ()
        for split, c in counts.items()
    }
    fields = {
        "format_version": 2,
        "dataset": "custom",
        "image_shape": (2, 2, 1),
        "num_classes": len(train),
        "class_names": tuple(map(str, range(len(train)))),
        "sources": {"train_images": "a" * 64, "train_labels": "b" * 64, "test_images": "c" * 64},
        "split_rule": "first 10 of 100",
        "brightest_pixel": 255,
        "pictures": "plain",
    } | fields
    return Manifest(splits=shards, class_examples=counts, **fields)


_FINE = _manifest([90, 90], [10, 12], [20, 18])
_SAME = {"train_images": "a" * 64, "train_labels": "b" * 64, "test_images": "a" * 64}
_CSV = {"train_csv": "a" * 64, "test_csv": "a" * 64}
_LABELS = {"train_images": "a" * 64, "train_labels": "b" * 64, "test_labels": "b" * 64}

_PICTURES = {"train_pictures": "a" * 64}

_DATASETS = {  # And the beginnings of what is said, in order.
    "fine": (_FINE, []),
    "no test": (_manifest([90, 90], [10, 12]), []),
    "imbalanced": (_manifest([4950, *[9] * 49], [495, *[1] * 49], [99, *[1] * 49]), []),
    "balanced test": (_manifest([900, 100], [90, 10], [50, 50]), []),
    "sorted": (
        _manifest([0, 90], [10, 0], [5, 5]),
        ["the examples are sorted", "all training", "training has no example of class 0, but val"],
    ),
    "nearly sorted": (_manifest([300, 900], [90, 10], [5, 5]), ["the examples are sorted by"]),
    "by chance": (_manifest([30, 30, 30], [5, 3, 2], [5, 5, 5]), []),
    "sorted, in each class": (_manifest([300, 900], [90, 10], split_rule="10 of 100 by"), []),
    "one class": (
        _manifest([0, 90], [0, 10]),
        ["all training", "no split"],
    ),
    "not in training": (
        _manifest([9, 9, 0], [1, 1, 0], [5, 5, 5]),
        ["training has no example of class 2, but test has"],
    ),
    "from 1": (_manifest([0, 9, 9], [0, 1, 1]), ["no split has an example of class 0, of 3 cl"]),
    "a gap": (_manifest([9, 0, 9], [1, 0, 1]), ["no split has an example of class 1, of 3 cl"]),
    "the same images": (_manifest([9, 9], sources=_SAME), ["the test examples are the training"]),
    "the same CSV": (_manifest([9, 9], sources=_CSV), ["the test examples are the training"]),
    "12 bits in files of 16": (
        _manifest([9, 9], sources=_PICTURES, brightest_pixel=15),
        ["the brightest pixel of all pictures is 15 of 255; of 16 bits"],
    ),
    "masks": (_manifest([9, 9], sources=_PICTURES, brightest_pixel=1), []),
    "not of pictures": (_manifest([9, 9], brightest_pixel=15), []),
    "the same labels": (_manifest([9, 9], sources=_LABELS), []),
}


@pytest.mark.parametrize("kind", _DATASETS)
def test_of_dataset(kind: str):
    manifest, expected = _DATASETS[kind]
    lines = doubts.of_dataset("data/x", manifest)
    assert len(lines) == len(expected)
    for line, start in zip(sorted(lines), sorted(expected), strict=True):
        assert line.startswith(f"data/x: {start}") and "\n" not in line


def test_older_dataset_has_no_counts():
    older = dataclasses.replace(
        _FINE, format_version=1, class_examples=dict.fromkeys(splits.SPLITS, ())
    )
    assert doubts.of_dataset("x", older) == doubts.of_splits("x", older) == []
    doubts.check_trainable("x", older)


def test_one_class_cannot_be_trained_on():
    doubts.check_trainable("data/x", _FINE)
    with pytest.raises(InputError, match="data/x: all training examples are of class 1 .two.,"):
        doubts.check_trainable("data/x", _manifest([0, 9], class_names=("one", "two")))


def test_classes_that_a_split_lacks_are_named_but_not_hundreds_of_them():
    manifest = _manifest([9] * 300, [1] * 100 + [0] * 200, [1] * 299 + [0])
    validation, test = doubts.of_splits("x", manifest)
    assert validation.endswith(
        "no example of the classes 100, 101, 102, 103, 104, 105, 106, 107 and 192 more"
    )
    assert test == "x: test has no example of class 299"


@pytest.mark.parametrize(
    ("manifest", "differs"),
    [
        (_FINE, False),
        (_manifest([90, 90], [10, 12], [40, 0]), True),
        (_manifest([900, 100], [90, 10], [50, 50]), True),
        (_manifest([2] * 50, [0] * 48 + [1, 1]), False),
    ],
)
def test_splits_that_differ(manifest: Manifest, differs: bool):
    assert doubts.differ(manifest) == differs


# Evaluation.


def _trained(manifest: Manifest) -> dict[str, object]:
    names = ("sources", "split_rule", "class_names", "brightest_pixel")
    content = {name: getattr(manifest, name) for name in names}
    return content | {"name": manifest.dataset, "manifest_sha256": manifest.digest}


_OTHER = {"train_images": "d" * 64, "test_images": "e" * 64}
_OTHERWISE = {"split_rule": "10 of 100 by selection sampling, seed 0"}
_OTHERS = "these are not the records of the run: it was trained on custom"
_MAY = "may be among those that the run was trained on"
_ARE = "are those that the run was trained on"
_EVALUATED = {  # Other fields, the split, and what is said of records and of a file.
    "the same": ({}, "test", [], []),
    "other examples": ({"sources": _OTHER}, "test", [_OTHERS], []),
    "split otherwise": (_OTHERWISE, "validation", [_OTHERS, _MAY], [_ARE]),
    "split otherwise, the same test": (_OTHERWISE, "test", [_OTHERS], [_ARE]),
    "split otherwise, training": (_OTHERWISE, "train", [_OTHERS, _MAY], [_ARE]),
    "other shards": ({"pictures": "digit"}, "validation", [_OTHERS], [_ARE]),
    "the training images as test": (
        {"sources": {"train_images": "d" * 64, "test_images": "a" * 64}},
        "test",
        [_OTHERS, _ARE],
        [_ARE],  # All that a file has is evaluated.
    ),
    "a file under another role": ({"sources": {"csv": "a" * 64}}, "test", [_OTHERS], [_ARE]),
    "as CSV": ({"sources": {"train_csv": "a" * 64}}, "validation", [_OTHERS], [_ARE]),
    "other names": (
        {"sources": _OTHER, "class_names": ("left", "right")},
        "test",
        [_OTHERS, "1 is right, there yes"],
        ["1 is right, there yes"],
    ),
    "numbers for names": ({"sources": _OTHER, "class_names": ("0", "1")}, "test", [_OTHERS], []),
    "darker": (
        {"sources": _OTHER, "brightest_pixel": 16},
        "test",
        [_OTHERS, "brightest pixel is 16, expected about 255"],
        ["brightest pixel is 16, expected"],
    ),
    "an older dataset's pixels": (
        {"sources": _OTHER, "format_version": 1, "brightest_pixel": 16},
        "test",
        [_OTHERS],
        [],
    ),
}


@pytest.mark.parametrize("kind", _EVALUATED)
@pytest.mark.parametrize("of_records", [True, False])
def test_of_evaluation(kind: str, of_records: bool):
    fields, split, *expected = _EVALUATED[kind]
    trained = dataclasses.replace(_FINE, class_names=("left", "yes"))
    manifest = dataclasses.replace(trained, **fields)
    lines = doubts.of_evaluation(
        manifest, split if of_records else "train", _trained(trained), name="x", records=of_records
    )
    expected = expected[0 if of_records else 1]
    assert len(lines) == len(expected), lines
    assert all(part in line for part, line in zip(expected, lines, strict=True))


@pytest.mark.parametrize(("trained", "found"), [(1, 255), (16, 255), (255, 1)])
def test_evaluation_of_another_scale(trained: int, found: int):
    run = _trained(dataclasses.replace(_FINE, brightest_pixel=trained))
    other = dataclasses.replace(_FINE, sources=_OTHER, brightest_pixel=found)
    with pytest.raises(InputError, match=f"a.csv: the brightest pixel is {found}, expected about"):
        doubts.of_evaluation(other, "train", run, name="a.csv", records=False)


def test_record_of_an_older_run_has_neither_rule_nor_pixels():
    run = _trained(_FINE)
    del run["split_rule"], run["brightest_pixel"]
    other = dataclasses.replace(_FINE, sources=_OTHER, brightest_pixel=1)
    (line,) = doubts.of_evaluation(other, "test", run, name="x", records=True)
    assert _OTHERS in line
