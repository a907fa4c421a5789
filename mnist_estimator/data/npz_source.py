"""Examples from an .npz file of numpy arrays, as Keras has MNIST and medmnist its sets.

Arrays are read from the zip file piece by piece, and nothing is unpickled. What is declared is
compared with what the zip file has room for before anything is read.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import lzma
import math
import zipfile
import zlib
from collections.abc import Iterator, Sequence

import numpy as np

from mnist_estimator import InputError
from mnist_estimator.compat import tf
from mnist_estimator.data import example_arrays, idx, plan, splits
from mnist_estimator.runtime import files
from mnist_estimator.runtime.progress import warn

# What images and labels are called, in any case.
_NAMES = {
    "train": (("x_train", "y_train"), ("train_images", "train_labels")),
    "test": (("x_test", "y_test"), ("test_images", "test_labels")),
}
_EXPECTED = (
    "x_train and y_train (and x_test and y_test), or train_images and train_labels (and "
    "test_images and test_labels); name them so: numpy.savez(FILE, x_train=..., y_train=...)"
)
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    tf.errors.InvalidArgumentError,
)


class NpzError(InputError):
    """An .npz file that does not hold examples."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")


class NpzSource:
    """Examples from two arrays of an .npz file; a `plan.Source`.

    Attributes:
      content_bytes: size of the content by role. The content is that of the IDX files that would
        hold these arrays, so data that are known by their digests are known here, too.
    """

    def __init__(
        self, path: str, names: tuple[str, str], part: str, num_classes: int | None = None
    ) -> None:
        """Opens the arrays.

        Args:
          names: of the images and the labels in the file.
          part: train or test, begins the roles of the digests.
          num_classes: labels must be less.

        Raises:
          InputError: if the file cannot be read, or its arrays are not images and their labels.
        """
        self.name = f"{path} ({' and '.join(names)})"
        self._path, self._names = path, names
        self._num_classes = num_classes or splits.MAX_CLASSES
        self._roles = (f"{part}_images", f"{part}_labels")
        self._digests: dict[str, str] = {}
        with self._open() as (images, labels):
            self.num_examples = images.shape[0]
            self.image_shape = example_arrays.image_shape(images.shape)
            self._label_type = np.dtype(">u1" if labels.dtype == np.uint8 else ">i4")
        shape = self.image_shape if self.image_shape[2] > 1 else self.image_shape[:2]
        self._headers = (
            idx.encode_header(np.dtype(">u1"), (self.num_examples, *shape)),
            idx.encode_header(self._label_type, (self.num_examples,)),
        )
        sizes = (math.prod(self.image_shape), self._label_type.itemsize)
        self.content_bytes = {
            role: len(header) + self.num_examples * size
            for role, header, size in zip(self._roles, self._headers, sizes, strict=True)
        }

    def chunks(
        self, max_items: int, start: int = 0, stop: int | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields (images uint8 [N,H,W,C], labels int64 [N]), N <= max_items; see `plan.Source`.

        Raises:
          InputError: where the file is damaged, or a label is no class.
        """
        return example_arrays.rows_of(self._all_chunks(max_items), start, stop)

    def _all_chunks(self, max_items: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        hashes = [hashlib.sha256(header) for header in self._headers]
        with self._open() as (image_array, label_array):
            for first in range(0, self.num_examples, max_items):
                count = min(max_items, self.num_examples - first)
                images = image_array.read(count).reshape(count, *self.image_shape)
                labels = label_array.read(count).reshape(count)
                self._check_labels(labels, first)
                labels = labels.astype(np.int64)
                hashes[0].update(images)
                hashes[1].update(labels.astype(self._label_type))
                yield images, labels
            for array in (image_array, label_array):
                array.check_end()
        digests = (found.hexdigest() for found in hashes)
        self._digests = dict(zip(self._roles, digests, strict=True))

    def label_chunks(self, max_items: int) -> Iterator[np.ndarray]:
        """Yields the labels alone, int64 [N], in the order of `chunks`."""
        with self._open() as (_, array):
            for first in range(0, self.num_examples, max_items):
                count = min(max_items, self.num_examples - first)
                labels = array.read(count).reshape(count)
                self._check_labels(labels, first)
                yield labels.astype(np.int64)

    def digests(self) -> dict[str, str]:
        """Returns sha256 of the content by role."""
        if not self._digests:
            for _ in self.chunks(plan.max_items(self)):
                pass
        return self._digests

    def _check_labels(self, labels: np.ndarray, first: int) -> None:
        wrong = (labels < 0) | (labels >= self._num_classes)
        if wrong.any():
            at = int(wrong.argmax())
            raise NpzError(
                self._path,
                f"example {first + at} of {self._names[1]} has label {labels[at]}, expected 0 to "
                f"{self._num_classes - 1}; correct the label or the number of classes",
            )

    @contextlib.contextmanager
    def _open(self) -> Iterator[tuple[_Array, _Array]]:
        with _opened(self._path) as archive, contextlib.ExitStack() as stack:
            images, labels = (
                stack.enter_context(_Array(archive, self._path, name)) for name in self._names
            )
            _check(images, example_arrays.images_problem(images.shape, images.dtype))
            _check(labels, example_arrays.labels_problem(labels.shape, labels.dtype))
            if labels.shape[0] != images.shape[0]:
                raise NpzError(
                    self._path,
                    f"{labels.name} has {labels.shape[0]} labels, expected {images.shape[0]}, as "
                    f"many as {images.name} has images",
                )
            if not images.shape[0]:
                raise NpzError(self._path, f"{images.name} has 0 images, expected 1 or more")
            yield images, labels


def open_parts(path: str, num_classes: int | None = None) -> tuple[NpzSource, NpzSource | None]:
    """Opens the training and the test examples of an .npz file; there may be no test examples.

    Arrays that are not used are named on stderr.

    Raises:
      InputError: if it is not an .npz file, or lacks the arrays.
    """
    with _opened(path) as archive:
        present = [
            name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")
        ]
    pairs = {part: _pair(path, present, names) for part, names in _NAMES.items()}
    if pairs["train"] is None:
        found = ", ".join(map(ascii, present[:8])) or "no array"
        raise NpzError(path, f"found {found}, expected {_EXPECTED}")
    train, test = (
        names and NpzSource(path, names, part, num_classes) for part, names in pairs.items()
    )
    used = {name for names in pairs.values() if names for name in names}
    rest = [ascii(name) for name in present if name not in used]
    if rest:
        split = "; the validation split is taken from the training examples (--validation_split)"
        is_split = any("val" in name for name in rest)
        warn(f"{path}: {', '.join(rest[:8])} not used{split if is_split else ''}")
    return train, test


def _pair(
    path: str, present: Sequence[str], candidates: Sequence[tuple[str, str]]
) -> tuple[str, str] | None:
    """The names of a part's images and labels as they are in the file; None without them."""
    found = []
    for names in candidates:
        there = [[name for name in present if name.lower() == wanted] for wanted in names]
        if any(len(same) > 1 for same in there):
            raise NpzError(path, f"found two arrays {there[0] + there[1]}, expected one of each")
        if any(there) and not all(there):
            missing = names[0 if there[1] else 1]
            raise NpzError(path, f"found no {missing}, expected {names[0]} and {names[1]}")
        if all(there):
            found.append((there[0][0], there[1][0]))
    if len(found) > 1:
        raise NpzError(path, f"found {found[0][0]} and {found[1][0]}, expected one of them")
    return found[0] if found else None


class _Array:
    """One array of an open .npz file, read from its first item on."""

    def __init__(self, archive: zipfile.ZipFile, path: str, name: str) -> None:
        self._path, self.name = path, name
        self._info = archive.getinfo(f"{name}.npy")
        if self._info.flag_bits & 1:
            raise NpzError(path, f"{name} is encrypted, expected plain arrays")
        self._file = archive.open(self._info)
        self.shape, self.dtype = self._header()

    def __enter__(self) -> _Array:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, count: int) -> np.ndarray:
        """The next `count` items."""
        size = count * math.prod(self.shape[1:]) * self.dtype.itemsize
        data = self._file.read(size)
        if len(data) < size:
            raise NpzError(self._path, f"{self.name} ends too early; get the file again")
        return np.frombuffer(data, self.dtype).reshape(count, *self.shape[1:])

    def check_end(self) -> None:
        """Reads to the end, where the zip file's checksum is compared."""
        if self._file.read(1):
            raise NpzError(self._path, f"{self.name} has bytes behind its last item")

    def _header(self) -> tuple[tuple[int, ...], np.dtype]:
        try:
            version = np.lib.format.read_magic(self._file)
            # A header of a later version may be gigabytes long. No array of numbers needs one.
            if version != (1, 0):
                raise ValueError(f"version {version[0]}.{version[1]} of the format, expected 1.0")
            shape, by_columns, dtype = np.lib.format.read_array_header_1_0(self._file)
        except _BROKEN:
            raise
        except Exception as error:  # Numpy reads the header as Python's tokens: many may come.
            line = str(error).partition("\n")[0]
            raise NpzError(self._path, f"{self.name} is no sound array ({line})") from None
        if dtype.hasobject:
            raise NpzError(
                self._path,
                f"{self.name} holds Python objects, expected numbers; save it with a dtype of "
                "numbers, as array.astype('uint8')",
            )
        # Of one dimension that counts, both orders are the same.
        if by_columns and sum(size > 1 for size in shape) > 1:
            raise NpzError(
                self._path,
                f"{self.name} is stored column by column, expected row by row; save it as "
                "numpy.ascontiguousarray(...)",
            )
        declared = math.prod(shape) * dtype.itemsize
        room = self._info.file_size - self._file.tell()
        if min(shape, default=0) < 0 or declared != room:
            raise NpzError(
                self._path,
                f"{self.name} declares {declared} bytes ({'x'.join(map(str, shape))} {dtype}) and "
                f"has {room}; get the file again",
            )
        return shape, dtype


def _check(array: _Array, problem: example_arrays.Problem | None) -> None:
    if problem:
        found = f"{'x'.join(map(str, array.shape)) or 'one'} {array.dtype}"
        raise NpzError(
            array._path, f"{array.name} is {found}, expected {problem.expected}; {problem.advice}"
        )


@contextlib.contextmanager
def _opened(path: str) -> Iterator[zipfile.ZipFile]:
    """The zip file; what is wrong with it, then and while it is read, is one line."""
    with files.file_errors(path), files.reading(path) as file:
        start = file.read(6)
        if not start.startswith(b"PK"):
            raise NpzError(path, f"{_kind(start)}; save arrays with numpy.savez: {_EXPECTED}")
        file.seek(0)
        try:
            with zipfile.ZipFile(file) as archive:
                yield archive
        except (*_BROKEN, OSError) as error:
            # Seeking to before the start is an invalid argument.
            if isinstance(error, OSError) and error.errno != errno.EINVAL:
                raise
            raise NpzError(
                path,
                f"a damaged or cut-off .npz file ({files.error_line(error)}); get the file again",
            ) from None


def _kind(start: bytes) -> str:
    if start.startswith(b"\x93NUMPY"):
        return "an .npy file, which has one array, expected an .npz file"
    return "not an .npz file" if start else "empty, expected an .npz file"
