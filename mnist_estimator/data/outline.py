"""What a dataset will be, as it is known before its examples are converted.

All parts of a dataset have the same outline, on whichever machine they are prepared. It is in the
record of each, so that parts of different datasets are told apart.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from mnist_estimator.data import splits
from mnist_estimator.data.manifest import (
    FORMAT_VERSION,
    Manifest,
    checked_class_names,
    checked_shape,
    checked_sources,
)
from mnist_estimator.data.splits import SPLITS
from mnist_estimator.pictures import methods
from mnist_estimator.runtime import json_files

OTHER_CONTENT = "examples of other content"
_LABELS_SAY = "as the labels have it"
# Format 1 of parts, of a dataset in this format. Other versions of this package may differ in both.
_VERSION = f"1, of datasets of version {FORMAT_VERSION}"


@dataclasses.dataclass(frozen=True)
class Outline:
    """What all parts of a dataset agree on.

    The fields are as in `Manifest`. `num_classes` is None where the largest label decides,
    `class_names` is empty where the numbers are the names, and `pictures` may be auto. `counts` has
    the number of examples of each split, `shards` the most shards that a split gets.
    """

    version: str
    dataset: str
    image_shape: tuple[int, int, int]
    num_classes: int | None
    class_names: tuple[str, ...]
    pictures: str
    shards: int
    counts: dict[str, int]
    split_rule: str
    sources: dict[str, str]

    @property
    def digest(self) -> str:
        """sha256 in hex of all fields."""
        return json_files.digest(dataclasses.asdict(self))

    def num_shards(self, split: str) -> int:
        """The shards of a split; none of them is empty."""
        return min(self.shards, self.counts[split])

    def facts(self) -> dict[str, object]:
        """The fields as messages name them."""
        return {
            "version of the parts": self.version,
            "dataset": self.dataset,
            "image shape": shape_text(self.image_shape),
            "classes": self.num_classes or _LABELS_SAY,
            "pictures": self.pictures,
            "validation split": self.split_rule,
            **{f"{split} examples": self.counts[split] for split in SPLITS},
            "shards": self.shards,
        }


def make(**fields: Any) -> Outline:
    """Returns the outline of a dataset of this version of the package."""
    return Outline(version=_VERSION, **fields)


def compare(old: Outline, new: Outline) -> list[str]:
    """Says in what two outlines differ; nothing if they are equal."""
    pairs = {what: (fact, new.facts()[what]) for what, fact in old.facts().items()}
    found = [f"{what} {one}, not {other}" for what, (one, other) in pairs.items() if one != other]
    if old.class_names != new.class_names:
        found.append("other names of the classes")
    # Where the number of examples differs, that the content does too says nothing more.
    if old.sources != new.sources and not found:
        found.append(OTHER_CONTENT)
    return found


def compare_manifest(manifest: Manifest, outline: Outline) -> list[str]:
    """Says in what a dataset differs from an outline; nothing if they are of the same dataset."""
    pairs = {
        "dataset": (manifest.dataset, outline.dataset),
        "image shape": (shape_text(manifest.image_shape), shape_text(outline.image_shape)),
        "classes": (manifest.num_classes, outline.num_classes or manifest.num_classes),
        "validation split": (manifest.split_rule, outline.split_rule),
    }
    if outline.pictures != splits.AUTO:
        pairs["pictures"] = (manifest.pictures, outline.pictures)
    for split, count in outline.counts.items():
        pairs[f"{split} examples"] = (manifest.num_examples(split), count)
        pairs[f"{split} shards"] = (len(manifest.splits[split]), outline.num_shards(split))
    found = [f"{what} {old}, not {new}" for what, (old, new) in pairs.items() if old != new]
    if outline.class_names and manifest.class_names != outline.class_names:
        found.append("other names of the classes")
    if not found and manifest.sources != outline.sources:
        found.append(OTHER_CONTENT)
    return found


def parse(value: Any) -> Outline:
    """Returns an outline that was read; raises ValueError that says where it is none."""
    names = [field.name for field in dataclasses.fields(Outline)]
    json_files.expect_keys(json_files.expect(value, dict, "outline"), names, "outline")
    counts = json_files.expect(value["counts"], dict, "counts")
    json_files.expect_keys(counts, SPLITS, "counts")
    num_classes = value["num_classes"]
    if num_classes is not None:
        json_files.whole(num_classes, "num_classes", 2, splits.MAX_CLASSES)
    class_names = json_files.expect(value["class_names"], list, "class_names")
    return Outline(
        version=json_files.choice(value["version"], "version", [_VERSION]),
        dataset=json_files.text(value["dataset"], "dataset"),
        image_shape=checked_shape(value["image_shape"]),
        num_classes=num_classes,
        class_names=checked_class_names(class_names, num_classes or 0) if class_names else (),
        pictures=json_files.choice(value["pictures"], "pictures", [splits.AUTO, *methods.PICTURES]),
        shards=json_files.whole(value["shards"], "shards", 1, splits.MAX_SHARDS),
        counts={split: json_files.whole(counts[split], split, 0, 2**53) for split in SPLITS},
        split_rule=json_files.text(value["split_rule"], "split_rule"),
        sources=checked_sources(value["sources"]),
    )


def shape_text(shape: Sequence[int]) -> str:
    """A shape as messages show it, such as 28x28x1."""
    return "x".join(map(str, shape))
