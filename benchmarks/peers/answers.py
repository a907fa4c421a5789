"""Answers of an exported network, by each of its signatures, or to pictures prepared with Pillow.

First one client asks again and again: the time of an answer. Then as many clients as there are
cores: answers a second, and the processor's time for them.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import clients
import common
import numpy as np
import pictures
import tensorflow as tf

EXPORT = common.WORK / "answers" / "export"
_JUDGED = 128  # Images whose answers are counted as right or wrong.

Ask = Callable[[], np.ndarray]


def main() -> None:
    """Measures and prints a line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--ask", choices=sorted(ASKING), required=True)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=5.0)
    given = parser.parse_args()
    signatures = tf.saved_model.load(str(EXPORT)).signatures
    ask = ASKING[given.ask](signatures, given.batch)
    labels = common.mnist("test")[1][:_JUDGED]
    right = float(np.mean(ASKING[given.ask](signatures, _JUDGED)() == labels))
    times = clients.times(ask, given.seconds)
    answers, passed, cpu = clients.together(ask, given.seconds)
    common.report(
        answers_per_second=answers * given.batch / passed,
        milliseconds=statistics.median(times) * 1e3,
        cpu_milliseconds=cpu / (answers * given.batch) * 1e3,
        right=right,
    )


def _floats(signatures: dict, batch: int) -> Ask:
    serve = signatures["serving_default"]
    images = tf.constant(common.mnist("test")[0][:batch, ..., None], tf.float32)
    return lambda: serve(images=images)["classes"].numpy()


def _bytes(signatures: dict, batch: int) -> Ask:
    serve = signatures["serving_uint8"]
    images = tf.constant(common.mnist("test")[0][:batch, ..., None])
    return lambda: serve(images=images)["classes"].numpy()


def _examples(signatures: dict, batch: int) -> Ask:
    serve = signatures["classify"]
    inputs = tf.constant([_example(image) for image in common.mnist("test")[0][:batch]])
    return lambda: serve(inputs=inputs)["scores"].numpy().argmax(axis=1)


def _example(image: np.ndarray) -> bytes:
    pixels = tf.train.BytesList(value=[image.tobytes()])
    features = tf.train.Features(feature={"image_raw": tf.train.Feature(bytes_list=pixels)})
    return tf.train.Example(features=features).SerializeToString()


def _pictures(signatures: dict, batch: int) -> Ask:
    serve = signatures["predict_images"]
    files = tf.constant(pictures.made(batch)[0])
    return lambda: serve(image_bytes=files)["classes"].numpy()


def _pillow(signatures: dict, batch: int) -> Ask:
    import pillow_digits

    serve, files = signatures["serving_uint8"], pictures.made(batch)[0]

    def ask() -> np.ndarray:
        images = np.stack([pillow_digits.prepared(file) for file in files])
        return serve(images=tf.constant(images))["classes"].numpy()

    return ask


ASKING = {
    "serving_default": _floats,
    "serving_uint8": _bytes,
    "classify": _examples,
    "predict_images": _pictures,
    "pillow": _pillow,
}


if __name__ == "__main__":
    main()
