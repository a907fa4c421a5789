"""`tensorflow.examples.tutorials.mnist.input_data`: MNIST from files that are there already.

The originals downloaded the files; this reads them from `train_dir`, as IDX, plain or gzip.
"""

from __future__ import annotations

import gzip
import math
import os
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mnist_estimator.compat import InputError
from mnist_estimator.compat._loaded import tf, v1

# compat may import no other package of ours; `mnist_estimator.data.idx` reads any IDX file.
_IMAGES_MAGIC, _LABELS_MAGIC = 2051, 2049
_FILES = (
    ("train-images-idx3-ubyte", _IMAGES_MAGIC),
    ("train-labels-idx1-ubyte", _LABELS_MAGIC),
    ("t10k-images-idx3-ubyte", _IMAGES_MAGIC),
    ("t10k-labels-idx1-ubyte", _LABELS_MAGIC),
)
_MAX_BYTES = 1 << 30  # Twenty times MNIST: a header cannot make this process take more.
_GET = (
    "get them with python -m mnist_estimator.prepare, whose --help says how, or give their folder"
)


class DataSet:
    """Images and labels, in batches.

    Args:
      images: [N, height, width, 1] of uint8.
      labels: [N], or [N, classes] if one_hot.
      dtype: tf.float32, which gives 0.0 to 1.0, or tf.uint8, which gives 0 to 255.
      reshape: give images as [N, height * width].
      seed: of the order; None: the graph's, and another order each time if that has none. It
        seeds numpy.
    """

    def __init__(
        self,
        images: Any,
        labels: Any,
        fake_data: bool = False,
        one_hot: bool = False,
        dtype: Any = tf.float32,
        reshape: bool = True,
        seed: int | None = None,
    ) -> None:
        _check_real(fake_data)
        dtype = tf.as_dtype(dtype).base_dtype
        if dtype not in (tf.uint8, tf.float32):
            raise TypeError(f"dtype is {dtype.name}, expected uint8 or float32")
        images, labels = np.asarray(images), np.asarray(labels)
        if len(images) != len(labels):
            raise ValueError(f"found {len(images)} images and {len(labels)} labels")
        if reshape:
            if images.ndim != 4 or images.shape[3] != 1:
                raise ValueError(f"images have the shape {images.shape}, expected [N, H, W, 1]")
            images = images.reshape(len(images), images.shape[1] * images.shape[2])
        if dtype == tf.float32:
            images = np.multiply(images.astype(np.float32), np.float32(1.0 / 255.0))
        self._images, self._labels = images, labels
        graph_seed, operation_seed = v1.get_seed(seed)
        # numpy's own generator, so that a program's np.random.seed acts, as in TensorFlow 1.
        np.random.seed(graph_seed if seed is None else operation_seed)
        self._epochs_completed = self._index_in_epoch = 0

    @property
    def images(self) -> np.ndarray:
        """All images, in the order of this epoch."""
        return self._images

    @property
    def labels(self) -> np.ndarray:
        """All labels, in the order of this epoch."""
        return self._labels

    @property
    def num_examples(self) -> int:
        """How many there are."""
        return len(self._images)

    @property
    def epochs_completed(self) -> int:
        """How many times a batch has gone beyond the end."""
        return self._epochs_completed

    def next_batch(
        self, batch_size: int, fake_data: bool = False, shuffle: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """The next images and labels.

        Each epoch has an order of its own. A batch that goes beyond the end of one is what is left
        of it, and then the first of the next.

        Raises:
          ValueError: for more than there are.
        """
        _check_real(fake_data)
        if not 0 <= batch_size <= self.num_examples:
            expected = f"0 to {self.num_examples}: so many examples are there"
            raise ValueError(f"batch_size is {batch_size}, expected {expected}")
        start = self._index_in_epoch
        if start == self._epochs_completed == 0 and shuffle:
            self._shuffle()
        end = start + batch_size
        images, labels = self._images[start:end], self._labels[start:end]
        self._index_in_epoch = end
        if end > self.num_examples:
            self._epochs_completed += 1
            self._index_in_epoch = end - self.num_examples
            if shuffle:
                self._shuffle()
            images = np.concatenate([images, self._images[: self._index_in_epoch]])
            labels = np.concatenate([labels, self._labels[: self._index_in_epoch]])
        return images, labels

    def _shuffle(self) -> None:
        order = np.arange(self.num_examples)
        np.random.shuffle(order)
        self._images, self._labels = self._images[order], self._labels[order]


class Datasets(NamedTuple):
    """The three parts."""

    train: DataSet
    validation: DataSet
    test: DataSet


def read_data_sets(
    train_dir: str,
    fake_data: bool = False,
    one_hot: bool = False,
    dtype: Any = tf.float32,
    reshape: bool = True,
    validation_size: int = 5000,
    seed: int | None = None,
    source_url: str = "",
) -> Datasets:
    """Reads the four files of MNIST, or of a dataset like it, from a folder.

    Args:
      validation_size: how many of the training examples, the first ones, are for validation.
      source_url: not used; nothing is downloaded.

    Raises:
      InputError: if a file is not there, or is not what it should be.
      ValueError: if validation_size is more than there are.
      NotImplementedError: for fake_data.
    """
    _check_real(fake_data)
    images, labels, test_images, test_labels = _read_files(train_dir)
    if not 0 <= validation_size <= len(images):
        raise ValueError(f"validation_size is {validation_size}, expected 0 to {len(images)}")
    if one_hot:
        labels, test_labels = dense_to_one_hot(labels, 10), dense_to_one_hot(test_labels, 10)
    options = {"dtype": dtype, "reshape": reshape, "seed": seed}
    return Datasets(
        train=DataSet(images[validation_size:], labels[validation_size:], **options),
        validation=DataSet(images[:validation_size], labels[:validation_size], **options),
        test=DataSet(test_images, test_labels, **options),
    )


def load_mnist(train_dir: str = "MNIST-data") -> Datasets:
    """`read_data_sets` of a folder. Raises as it does."""
    return read_data_sets(train_dir)


def load_dataset(name: str, size: str = "small", test_with_fake_data: bool = False) -> Datasets:
    """A dataset by its name in DATASETS.

    Raises:
      ValueError: if there is none of that name.
    """
    if name not in DATASETS:
        raise ValueError(f"there is no dataset {name!r}, expected one of {sorted(DATASETS)}")
    return DATASETS[name]()


def dense_to_one_hot(labels_dense: np.ndarray, num_classes: int) -> np.ndarray:
    """[N] labels -> [N, num_classes] of 0.0 and 1.0, float64.

    Raises:
      InputError: for a label that is none of the classes.
    """
    labels = np.asarray(labels_dense).ravel()
    if labels.size and labels.max() >= num_classes:
        raise InputError(f"found the label {labels.max()}, expected 0 to {num_classes - 1}")
    return np.eye(num_classes)[labels]


def extract_images(f: Any) -> np.ndarray:
    """The images in an open file: [N, height, width, 1] of uint8.

    Raises:
      InputError: if it is not an IDX file of images.
    """
    return _read_idx(f, _name(f), _IMAGES_MAGIC)


def extract_labels(f: Any, one_hot: bool = False, num_classes: int = 10) -> np.ndarray:
    """The labels in an open file: [N] of uint8, or [N, num_classes] if one_hot.

    Raises:
      InputError: if it is not an IDX file of labels.
    """
    labels = _read_idx(f, _name(f), _LABELS_MAGIC)
    return dense_to_one_hot(labels, num_classes) if one_hot else labels


def maybe_download(filename: str, work_directory: str, source_url: str) -> str:
    """The path of a file that is there already.

    Raises:
      InputError: if it is not.
    """
    path = os.path.join(work_directory, filename)
    if not tf.io.gfile.exists(path):
        raise InputError(f"{path} is missing, and nothing is downloaded; put the file there")
    return path


DATASETS: Mapping[str, Any] = {"mnist": load_mnist}


def _read_files(folder: str) -> list[np.ndarray]:
    paths = []
    for name, _ in _FILES:
        found = [os.path.join(folder, name + end) for end in ("", ".gz")]
        paths.append(next((path for path in found if tf.io.gfile.exists(path)), ""))
    missing = [name for (name, _), path in zip(_FILES, paths, strict=True) if not path]
    if missing:
        files = ", ".join(f"{name}[.gz]" for name in missing)
        raise InputError(f"{folder}: missing {files}; nothing is downloaded: {_GET}")
    arrays = []
    for path, (_, magic) in zip(paths, _FILES, strict=True):
        with tf.io.gfile.GFile(path, "rb") as file:
            arrays.append(_read_idx(file, path, magic))
    _check_counts(folder, arrays)
    return arrays


def _check_counts(folder: str, arrays: Sequence[np.ndarray]) -> None:
    for part, images, labels in (("train", *arrays[:2]), ("t10k", *arrays[2:])):
        if len(images) != len(labels):
            found = f"{len(images)} images and {len(labels)} labels"
            raise InputError(f"{folder}: {part} has {found}, expected as many of both")


def _read_idx(file: Any, name: str, magic: int) -> np.ndarray:
    """An IDX file of uint8, plain or gzip: images get a last dimension of 1."""
    is_gzip = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    content: Any = gzip.GzipFile(fileobj=file) if is_gzip else file
    try:
        dims = 3 if magic == _IMAGES_MAGIC else 1
        header = np.frombuffer(_exactly(content, 4 + 4 * dims, name), ">u4").astype(int).tolist()
        shape = header[1:]
        if header[0] != magic:
            raise InputError(f"{name}: found the magic number {header[0]}, expected {magic}")
        if math.prod(shape) > _MAX_BYTES:
            raise InputError(
                f"{name}: found the shape {shape}, expected at most {_MAX_BYTES} bytes"
            )
        data = _exactly(content, math.prod(shape), name)
        # No more than one byte is read of what may be a file that grows when it is unpacked.
        if content.read(1):
            raise InputError(
                f"{name}: found more bytes, expected {len(data)} for the shape {shape}"
            )
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{name}: damaged gzip data ({error}); get the file again") from error
    array = np.frombuffer(data, np.uint8).reshape(shape)
    return array[..., None] if dims == 3 else array


def _exactly(content: Any, size: int, name: str) -> bytes:
    """`size` bytes. What a false header promises is not allocated before it is read."""
    pieces, left = [], size
    while left and (piece := content.read(min(left, 1 << 20))):
        pieces.append(piece)
        left -= len(piece)
    if left:
        raise InputError(f"{name}: found the end {left} bytes early; get the file again")
    return b"".join(pieces)


def _name(file: Any) -> str:
    return getattr(file, "name", "the file")


def _check_real(fake_data: bool) -> None:
    if fake_data:
        raise NotImplementedError(
            "fake_data=True is not among the stand-ins; python -m mnist_estimator.prepare "
            "--dataset=sample makes a small real dataset"
        )
