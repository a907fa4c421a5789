"""Datasets prepared in parts, in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from mnist_estimator.data import parts, plan, splits
from support.tiny_dataset import Arrays


class Digested(Arrays):
    """A source whose labels can be read alone, as those of most files."""

    def label_chunks(self, max_items: int):
        yield from np.array_split(self.labels, 3)


def plan_of(train: int = 50, test: int = 7, **options: object) -> plan.Plan:
    """What is to be written of a dataset like `tiny_dataset`'s, its labels sorted."""
    salt = options.pop("salt", 0)
    sources = (
        Digested("train", np.sort(np.arange(train) % 5), salt=salt),
        Digested("test", np.arange(test) % 5, salt=salt) if test else None,
    )
    values = {"dataset": "tiny", "num_classes": None, "class_names": ()}
    values |= {"split": ("auto", 0), "shards": 3, "pictures": "auto"} | options
    return plan.Plan(train=sources[0], test=sources[1], **values)


def write(
    data_dir: Path | str,
    part: str,
    force: bool = False,
    report: Callable[[str], None] = lambda line: None,
    **options: object,
):
    """Prepares a part, such as 3/16."""
    found = splits.parse_part(part)
    return parts.write_part(str(data_dir), found, plan_of(**options), force=force, report=report)


def write_all(data_dir: Path | str, count: int, **options: object) -> None:
    """Prepares all parts, the last one first."""
    for number in range(count, 0, -1):
        write(data_dir, f"{number}/{count}", **options)


def write_at_once(data_dir: Path | str, **options: object):
    """Prepares the same dataset as one process does that has no parts."""
    from mnist_estimator.data import writer

    made = plan_of(**options)
    text, seed = made.split
    return writer.write_dataset(
        str(data_dir),
        dataset=made.dataset,
        train=made.train,
        test=made.test,
        num_classes=made.num_classes,
        class_names=made.class_names,
        pictures=made.pictures,
        validation_split=text,
        shards=made.shards,
        seed=seed,
    )
