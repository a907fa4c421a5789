"""An exported run, pictures, and what a program sends to an exported model."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import numpy as np

from mnist_estimator.compat import tf
from mnist_estimator.data import inputs, records, writer
from mnist_estimator.data.manifest import Dataset, read_manifest
from mnist_estimator.runs import open_run
from support.datasets import CLASSES, TEST, array_source
from support.short_runs import train


@dataclasses.dataclass(frozen=True)
class Exported:
    """A run on 28x28 images with batch normalization, its data, and its export."""

    run: open_run.OpenRun
    data_dir: str
    path: str

    def test_data(self) -> tuple[np.ndarray, np.ndarray]:
        """Images uint8 [N,28,28,1] and labels of the test split."""
        manifest = read_manifest(self.data_dir)
        batches = inputs.eval_batches(Dataset(self.data_dir, manifest), "test", batch_size=TEST)
        ((features, labels),) = batches.as_numpy_iterator()
        return features[inputs.IMAGES], labels


def train_and_export(folder: Path) -> Exported:
    data_dir, shape = str(folder / "data"), (28, 28, 1)
    writer.write_dataset(
        data_dir,
        dataset="squares",
        train=array_source(80, shape=shape),
        test=array_source(TEST, shape=shape, seed=1),
        num_classes=CLASSES,
        class_names=("north", "east", "south", "west"),
        validation_split="10",
        shards=1,
    )
    options = {"model": "cnn", "batch_norm": "all", "precision": "float32"}
    # TensorFlow Lite's converter draws numbers, for which determinism would ask for a seed.
    options["deterministic"] = False
    train(folder / "run", data_dir, max_steps=6, export="best", **options)
    (path,) = (folder / "run/export/best").iterdir()
    return Exported(open_run.open_run(str(folder / "run")), data_dir, str(path))


def picture(image: np.ndarray) -> bytes:
    return tf.io.encode_png(image).numpy()


def requests(images: np.ndarray) -> dict[str, np.ndarray]:
    serialized = [records.encode_example(image.tobytes(), 0) for image in images]
    encoded = [picture(image) for image in images]
    return {
        "serving_default/images": images.astype(np.float32),
        "serving_uint8/images": images,
        "predict_images/image_bytes": np.array(encoded, object),
        "classify/records": np.array(serialized, object),
    }


def ask(path: str, signature: str, *values, **named):
    """What a signature of an exported model answers."""
    return load(path).signatures[signature](*values, **named)


@functools.cache
def load(path: str):
    """An exported model as plain TensorFlow loads it, once for all tests of a process."""
    return tf.saved_model.load(path)
