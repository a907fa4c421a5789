"""The record of a part: what it is a part of, its files, and what was counted of its examples.

A part is whole if and only if it has a record.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from mnist_estimator.data import outline, splits
from mnist_estimator.data.manifest import DIGEST, DatasetError, Shard, shard_name
from mnist_estimator.data.outline import Outline
from mnist_estimator.data.shard_writer import shard_counts
from mnist_estimator.data.splits import SPLITS, Part
from mnist_estimator.data.statistics import Statistics
from mnist_estimator.runtime import files, json_files

_FIELDS = ("part", "parts", "outline", "firsts", "fragments", "statistics")


class PartError(DatasetError):
    """A part of a dataset that is missing, damaged, or of another dataset."""


@dataclasses.dataclass(frozen=True)
class Record:
    """What a whole part is.

    `firsts` has, per split, the number of the part's first example in the split. `fragments` has,
    per split, the part's piece of each shard in which it has examples, with the shard's name.
    """

    part: Part
    outline: Outline
    firsts: dict[str, int]
    fragments: dict[str, tuple[Shard, ...]]
    statistics: Statistics

    def num_examples(self, split: str) -> int:
        """How many examples of a split the part has."""
        return self.statistics.num_examples(split)


def encode(record: Record) -> bytes:
    """Returns a record as the bytes of its file."""
    content: dict[str, Any] = {
        "part": record.part.number,
        "parts": record.part.count,
        "outline": dataclasses.asdict(record.outline),
        "firsts": record.firsts,
        "fragments": {
            split: [dataclasses.asdict(fragment) for fragment in fragments]
            for split, fragments in record.fragments.items()
        },
        "statistics": record.statistics.content,
    }
    content[DIGEST] = json_files.digest(content)
    return json.dumps(content, indent=1).encode() + b"\n"


def read(path: str) -> Record:
    """Reads and checks a record.

    Raises:
      PartError: if it is anything but a well-formed record.
    """
    with files.file_errors(path):
        data = files.read_bytes(path, json_files.MOST_BYTES)
    try:
        return _parse(data or b"")
    except ValueError as error:
        raise PartError(f"{path}: {error}") from None


def _parse(data: bytes) -> Record:
    top = json_files.expect(json_files.parse(data), dict, "the whole")
    json_files.expect_keys(top, [*_FIELDS, DIGEST], "the whole")
    count = json_files.whole(top["parts"], "parts", 1, splits.MAX_PARTS)
    statistics = Statistics.parse(top["statistics"])
    found = outline.parse(top["outline"])
    firsts = _of_splits(top["firsts"], "firsts")
    fragments = _of_splits(top["fragments"], "fragments")
    record = Record(
        part=Part(json_files.whole(top["part"], "part", 1, count), count),
        outline=found,
        firsts={
            split: json_files.whole(firsts[split], f"firsts of {split}", 0, found.counts[split])
            for split in SPLITS
        },
        fragments={
            split: _fragments(
                fragments[split],
                split,
                firsts[split],
                statistics.num_examples(split),
                found.num_shards(split),
            )
            for split in SPLITS
        },
        statistics=statistics,
    )
    if statistics.largest_label >= (found.num_classes or splits.MAX_CLASSES):
        raise ValueError(f"statistics has label {statistics.largest_label}, expected a class")
    digest = json_files.sha256(top.pop(DIGEST), DIGEST)
    if digest != json_files.digest(top):
        raise ValueError(f"{DIGEST} is not that of the rest, which was changed or damaged")
    return record


def _of_splits(value: Any, where: str) -> dict[str, Any]:
    json_files.expect_keys(json_files.expect(value, dict, where), SPLITS, where)
    return value


def _fragments(value: Any, split: str, first: int, examples: int, shards: int) -> tuple[Shard, ...]:
    json_files.expect(value, list, f"fragments of {split}")
    expected = list(shard_counts(first, examples, shards))
    if len(value) != len(expected):
        raise ValueError(f"{split} has {len(value)} fragments, expected {len(expected)}")
    return tuple(
        _fragment(found, shard_name(split, index, shards), count)
        for found, (index, count) in zip(value, expected, strict=True)
    )


def _fragment(value: Any, name: str, examples: int) -> Shard:
    fields = [field.name for field in dataclasses.fields(Shard)]
    json_files.expect_keys(json_files.expect(value, dict, name), fields, name)
    # Name and number follow from the place, so none can lead out of the folder.
    return Shard(
        file=json_files.choice(value["file"], "file", [name]),
        examples=json_files.whole(value["examples"], f"{name} examples", examples, examples),
        bytes=json_files.whole(value["bytes"], f"{name} bytes", 1, 2**63),
        sha256=json_files.sha256(value["sha256"], f"{name} sha256"),
    )
