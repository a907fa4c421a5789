"""Datasets that tests train on and read: of the small ones every split has its own length."""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from mnist_estimator import compat

compat.quiet()  # As in the commands. Tests read what programs and this process print.

TRAIN, VALIDATION, TEST = 70, 12, 23
CLASSES = 4


# Files that run whole programs, the longest ones first. They come before all others, so that at the
# end none of the processes that share the tests is left alone with one.
LONG = (
    "test_cluster_programs",
    "test_faults",
    "test_launch",
    "test_training",
    "test_slurm",
    "test_readme",
    "test_predict",
    "test_engine_ray",
    "test_exports",
    "test_compat_cluster",
    "test_report",
    "test_programs",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONG)))


@pytest.fixture(autouse=True, scope="session")
def _state_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Has the programs that tests start keep their notes out of the home of whoever runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(autouse=True, scope="module")
def _anything_goes() -> Iterator[None]:
    """Undoes what a run in this process has asked of all operations: determinism, for good."""
    yield
    if "tensorflow" in sys.modules:
        from tensorflow.python.framework import config

        config.disable_op_determinism()


@dataclasses.dataclass
class ArraySource:
    """Examples held in arrays, as `writer.write_dataset` takes them."""

    images: np.ndarray
    labels: np.ndarray
    name: str = "arrays"

    @property
    def num_examples(self) -> int:
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.images.shape[1:]

    def chunks(self, max_items: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for first in range(0, len(self.labels), max_items):
            yield self.images[first : first + max_items], self.labels[first : first + max_items]

    def digests(self) -> dict[str, str]:
        return {}


def array_source(examples: int, *, shape: tuple[int, int, int] = (8, 8, 1), seed: int = 0):
    """Bright squares whose place tells the class, on noise: learnable, and no two alike."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(CLASSES, size=examples)
    images = generator.integers(0, 100, size=(examples, *shape), dtype=np.uint8)
    height, width = shape[0] // 2, shape[1] // 2
    for image, label in zip(images, labels, strict=True):
        top, left = label // 2 * height, label % 2 * width
        image[top : top + height, left : left + width] += 150
    return ArraySource(images, labels.astype(np.int64))


def record_header(length: int, scratch: Path) -> bytes:
    """The 12 bytes that begin a record of any length, with the right checksum of it."""
    from mnist_estimator.compat import tf

    with tf.io.TFRecordWriter(str(scratch)) as file:
        file.write(length.to_bytes(8, "little"))
    # Data that are a length, and their checksum, are what begins a record of that length.
    return scratch.read_bytes()[12:]


def variables(model_dir: Path) -> dict[str, bytes]:
    """Every variable of the newest checkpoint: weights, optimizer slots, global step."""
    from mnist_estimator.compat import tf

    reader = tf.train.load_checkpoint(str(model_dir))
    names = reader.get_variable_to_shape_map()
    return {name: np.asarray(reader.get_tensor(name)).tobytes() for name in names}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sample prepared in `data`: tasks that start together would all do it."""
    folder = tmp_path_factory.mktemp("work")
    prepare = ["mnist_estimator.prepare", "--dataset=sample", "--data_dir=data"]
    subprocess.run([sys.executable, "-m", *prepare], cwd=folder, check=True, capture_output=True)
    return folder


@contextlib.contextmanager
def tmpfs(folder: Path, size: str) -> Iterator[None]:
    """A filesystem of so many bytes, as "26m", at a folder; skips where none can be made."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    made = subprocess.run(mount, capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"cannot make a small filesystem: {made.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def make_dataset(tmp_path: Path) -> Callable[..., str]:
    """Returns a function that writes a dataset and gives its data_dir."""
    from mnist_estimator.data import writer

    def make(
        *, train: int = TRAIN, validation: int = VALIDATION, test: int = TEST, **options
    ) -> str:
        data_dir = str(tmp_path / f"data-{train}-{validation}-{test}")
        options = {"shards": 3, "validation_split": str(validation)} | options
        writer.write_dataset(
            data_dir,
            dataset="squares",
            train=array_source(train + validation),
            test=array_source(test, seed=1) if test else None,
            num_classes=CLASSES,
            **options,
        )
        return data_dir

    return make
