"""A tf.data pipeline over TFRecords that parses one example at a time, as tutorials write it.

It reads the same records as this package: keras.io, "How to train a Keras model on TFRecord files",
has these steps in this order.
"""

from __future__ import annotations

import common
import input_meter
import tensorflow as tf

_FEATURES = {
    "image_raw": tf.io.FixedLenFeature([], tf.string),
    "label": tf.io.FixedLenFeature([], tf.int64),
}


def main() -> None:
    """Measures and prints a line of JSON."""
    given = input_meter.arguments().parse_args()
    files = sorted(str(path) for path in (common.WORK / "mnist").glob("train-*.tfrecord"))
    batches = (
        tf.data.TFRecordDataset(files)
        .take(given.images)
        .map(parse, num_parallel_calls=tf.data.AUTOTUNE)
        .shuffle(10_000)
        .batch(given.batch)
        .prefetch(tf.data.AUTOTUNE)
    )
    input_meter.measure(lambda: sum(len(labels) for _, labels in batches), given.seconds)


def parse(record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """A record -> an image float32 [28,28,1] from 0 to 1, and its label."""
    example = tf.io.parse_single_example(record, _FEATURES)
    pixels = tf.io.decode_raw(example["image_raw"], tf.uint8)
    return tf.cast(tf.reshape(pixels, [28, 28, 1]), tf.float32) / 255.0, example["label"]


if __name__ == "__main__":
    main()
