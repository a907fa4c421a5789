"""Grain over an ArrayRecord file: shuffle, map each record, batch, read ahead in threads.

The steps are those of Grain's tutorial of its Dataset API; a record holds a label and 784 pixels.
"""

from __future__ import annotations

import os
from pathlib import Path

import common
import grain
import input_meter
import numpy as np
from array_record.python import array_record_module


def main() -> None:
    """Measures and prints a line of JSON."""
    given = input_meter.arguments().parse_args()
    source = grain.sources.ArrayRecordDataSource(
        [str(_written(common.WORK / "digits.array_record"))]
    )
    epochs = iter(range(2**31))

    def epoch() -> int:
        batches = (
            grain.MapDataset.source(source)[: given.images]
            .shuffle(seed=next(epochs))
            .map(parsed)
            .batch(given.batch)
            .to_iter_dataset()
        )
        return sum(len(batch["label"]) for batch in batches)

    input_meter.measure(epoch, given.seconds)


def parsed(record: bytes) -> dict[str, np.ndarray]:
    """A record -> an image float32 [28,28,1] from 0 to 1, and its label."""
    values = np.frombuffer(record, np.uint8)
    image = values[1:].reshape(28, 28, 1).astype(np.float32) / 255
    return {"image": image, "label": values[0].astype(np.int64)}


def _written(path: Path) -> Path:
    """The file, written first if it is not there."""
    if not path.exists():
        unfinished = path.with_suffix(".unfinished")
        # A group of one, as Grain's documentation asks of files that are read in any order.
        writer = array_record_module.ArrayRecordWriter(str(unfinished), "group_size:1")
        for image, label in zip(*common.mnist("train"), strict=True):
            writer.write(bytes([label]) + image.tobytes())
        writer.close()
        os.replace(unfinished, path)
    return path


if __name__ == "__main__":
    main()
