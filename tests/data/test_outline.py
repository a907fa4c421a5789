"""Outlines of different datasets have different digests, and it is said in what they differ."""

from __future__ import annotations

import dataclasses
import json

import pytest
from support import part_sets

from mnist_estimator.data import outline

_BASE = part_sets.plan_of().outline()
_CHANGES = {
    "version": ("2", "version of the parts"),
    "dataset": ("other", "dataset tiny, not other"),
    "image_shape": ((2, 3, 1), "image shape 2x3x3, not 2x3x1"),
    "num_classes": (7, "classes as the labels have it, not 7"),
    "class_names": (tuple("abcde"), "other names of the classes"),
    "pictures": ("digit", "pictures auto, not digit"),
    "shards": (4, "shards 3, not 4"),
    "counts": ({"train": 44, "validation": 6, "test": 7}, "train examples 45, not 44; validation"),
    "split_rule": ("none", "not none"),
    "sources": ({"train": "0" * 64}, "examples of other content"),
}


def test_every_field_is_tried():
    assert set(_CHANGES) == {field.name for field in dataclasses.fields(outline.Outline)}


@pytest.mark.parametrize("field", _CHANGES)
def test_a_difference_changes_the_digest_and_is_named(field: str):
    value, line = _CHANGES[field]
    other = dataclasses.replace(_BASE, **{field: value})
    assert other.digest != _BASE.digest
    assert line in "; ".join(outline.compare(_BASE, other))


def test_the_same_outline_after_json():
    again = outline.parse(json.loads(json.dumps(dataclasses.asdict(_BASE))))
    assert again == _BASE and again.digest == _BASE.digest and outline.compare(again, _BASE) == []


def test_digest_is_pinned():
    # Parts that different versions of Python, numpy and TensorFlow prepare have to find together.
    assert _BASE.digest == "5cccc7ca9ab0b8bf2a0d6352b255ce5823b6a344fbb0dd454615ceaa614d12cc"


def test_a_dataset_and_the_outline_of_its_parts(tmp_path):
    manifest = part_sets.write_at_once(tmp_path)
    assert outline.compare_manifest(manifest, _BASE) == []
    other = dataclasses.replace(_BASE, sources={"train": "0" * 64})
    assert outline.compare_manifest(manifest, other) == ["examples of other content"]
    other = dataclasses.replace(_BASE, class_names=("a", "b", "c"))
    assert outline.compare_manifest(manifest, other) == ["other names of the classes"]
    other = dataclasses.replace(_BASE, pictures="digit", shards=2)
    assert outline.compare_manifest(manifest, other)[:2] == [
        "pictures plain, not digit",
        "train shards 3, not 2",
    ]
