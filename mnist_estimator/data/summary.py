"""What `prepare` says of a dataset or a part that is there."""

from __future__ import annotations

from mnist_estimator.data import doubts
from mnist_estimator.data.manifest import Manifest
from mnist_estimator.data.part_record import Record
from mnist_estimator.data.splits import SPLITS, Part
from mnist_estimator.data.statistics import full_scale
from mnist_estimator.pictures import methods

_SHOWN_CLASSES = 12
_PICTURES = {
    methods.DIGIT: "predict finds the digit on a picture and makes it one like MNIST's",
    methods.PLAIN: "predict resizes a picture, and changes nothing else",
}


def part_line(part: Part, found: Manifest | Record, *, was_there: bool) -> str:
    """Says what has become of a part."""
    if isinstance(found, Manifest):
        return "prepared already, nothing to do"
    counts = ", ".join(f"{found.num_examples(split):,} {split}" for split in SPLITS)
    already = "was prepared already: " if was_there else ""
    return f"part {part.number} of {part.count}: {already}{counts} examples"


def lines(data_dir: str, manifest: Manifest) -> list[str]:
    """Says what a dataset is, a line a fact."""
    shape = "x".join(map(str, manifest.image_shape))
    lines = [f"{data_dir}: {manifest.dataset}, {shape} images, {manifest.num_classes} classes"]
    for split, shards in manifest.splits.items():
        lines.append(
            f"  {split:<10} {manifest.num_examples(split):>11,} examples "
            f"{len(shards):>4} shards {manifest.num_bytes(split) / 1e6:>10,.1f} MB"
        )
    if doubts.differ(manifest):
        lines += _class_lines(manifest)
    names = [f"{label} {name}" for label, name in enumerate(manifest.class_names)]
    if any(name != f"{label} {label}" for label, name in enumerate(names)):
        more = f", ... and {len(names) - 20} more" if names[20:] else ""
        lines.append(f"  classes    {', '.join(names[:20])}{more}")
    lines.append(f"  pictures   {_PICTURES[manifest.pictures]} (--pictures={manifest.pictures})")
    if manifest.brightest_pixel != 255:
        lines.append(
            f"  pixels     the brightest pixel is {manifest.brightest_pixel} of 255; images are "
            f"scaled by 1/{full_scale(manifest.brightest_pixel)}"
        )
    return lines


def _class_lines(manifest: Manifest) -> list[str]:
    """The examples of each class, for data whose splits differ in that."""
    lines = []
    for split, counts in manifest.class_examples.items():
        if len(counts) <= _SHOWN_CLASSES:
            spread = " ".join(f"{label}:{count}" for label, count in enumerate(counts))
        else:
            lacking = counts.count(0)
            spread = f"{min(counts)} to {max(counts)} examples, none of {lacking} classes"
        if sum(counts):
            lines.append(f"  {split:<10} by class: {spread}")
    return lines
