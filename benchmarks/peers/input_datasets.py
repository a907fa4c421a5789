"""TensorFlow Datasets: MNIST as its builder stores it, read as its Keras example does.

The order is that of its page "Training a neural network on MNIST with Keras" and of its performance
tips: map, cache, shuffle all, batch, prefetch. The builder here makes of the IDX files what the one
named `mnist` makes after a download: PNG in TFRecords.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import common
import input_meter
import tensorflow as tf
import tensorflow_datasets as tfds


class Digits(tfds.core.GeneratorBasedBuilder):
    """MNIST from the IDX files."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(28, 28, 1)),
                    "label": tfds.features.ClassLabel(num_classes=10),
                }
            ),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        return {split: self._generate_examples(split) for split in ("train", "test")}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict]]:
        images, labels = common.mnist(split)
        for key, (image, label) in enumerate(zip(images, labels, strict=True)):
            yield key, {"image": image[..., None], "label": int(label)}


def prepared(folder: Path) -> Digits:
    """The builder, with its files written below a folder unless they are there."""
    builder = Digits(data_dir=str(folder))
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(try_download_gcs=False)
    )
    return builder


def main() -> None:
    """Measures and prints a line of JSON."""
    given = input_meter.arguments().parse_args()
    builder = prepared(common.WORK / "datasets")
    batches = (
        builder.as_dataset(split="train", shuffle_files=True, as_supervised=True)
        .take(given.images)
        .map(normalized, num_parallel_calls=tf.data.AUTOTUNE)
        .cache()
        .shuffle(builder.info.splits["train"].num_examples)
        .batch(given.batch)
        .prefetch(tf.data.AUTOTUNE)
    )
    input_meter.measure(lambda: sum(len(labels) for _, labels in batches), given.seconds)


def normalized(image: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """An image uint8 -> float32 from 0 to 1."""
    return tf.cast(image, tf.float32) / 255.0, label


if __name__ == "__main__":
    main()
