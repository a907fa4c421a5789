"""Examples from a tree of pictures, a folder a class, as torchvision and Keras read it."""

from __future__ import annotations

import hashlib
import itertools
import os
import unicodedata
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from mnist_estimator import InputError
from mnist_estimator.compat import tf, v1
from mnist_estimator.data.splits import TEST_WORDS, TRAIN_WORDS
from mnist_estimator.pictures import picture_files, preparation
from mnist_estimator.runtime import files
from mnist_estimator.runtime.progress import ProgressLine, warn

Shape = tuple[int, int, int]

_NO_CLASSES = ("__macosx", "thumbs.db", "desktop.ini")
_MOST_BYTES = 64 << 20  # Of pictures as they are encoded, at once.


class FolderSource:
    """Examples from a folder with a folder of pictures for each class; a `plan.Source`.

    The examples are in the order of the classes, and within each of the files' names. A picture
    that has the shape of the images comes through as it is, another is resized as
    `pictures.plain_images` does it.
    """

    def __init__(
        self,
        folder: str,
        class_folders: Mapping[str, str],
        part: str,
        image_shape: Shape | None = None,
    ) -> None:
        """Reads all pictures once, for their number, shape and digest.

        Args:
          class_folders: class name -> the name of its folder, in the order of the classes.
          part: train or test, begins the role of the digest.
          image_shape: (H, W, C); None: as all pictures have it.

        Raises:
          InputError: if a picture cannot be read, a class has none, or their shapes differ.
        """
        self.name, self._classes, self._role = folder, class_folders, f"{part}_pictures"
        self.num_examples, self._digest = 0, ""
        first: tuple[str, Shape] | None = None
        with ProgressLine() as line:
            for path, _, encoded in self._pictures():
                self.num_examples += 1
                line(f"{folder}: read {self.num_examples:,} pictures")
                if image_shape is None:
                    shape = picture_files.image_shape(encoded)
                    first = first or (path, shape)
                    _check_same(folder, *first, path, shape)
        self.image_shape = image_shape or first[1]
        others = [path for name in class_folders for path in _listed(self._path(name))[1]]
        if others:
            warn(f"{folder}: {len(others)} files are no pictures and left out, such as {others[0]}")

    def chunks(
        self, max_items: int, start: int = 0, stop: int | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields (images uint8 [N,H,W,C], labels int64 [N]), N <= max_items; see `plan.Source`.

        Raises:
          InputError: if a picture cannot be decoded.
        """
        with tf.Graph().as_default(), v1.Session(config=_on_the_cpu()) as session:
            encoded = v1.placeholder(tf.string, [None])
            images = preparation.plain_images(encoded, self.image_shape)
            # All are read, for the digest; only these are decoded.
            wanted = itertools.compress(self._pictures(), _is_within(start, stop))
            for batch in _batches(wanted, max_items):
                paths, labels, contents = zip(*batch, strict=True)
                try:
                    decoded = session.run(images, {encoded: contents})
                except tf.errors.InvalidArgumentError:
                    raise self._broken(session, images, encoded, paths, contents) from None
                yield decoded, np.array(labels, np.int64)

    def label_chunks(self, max_items: int) -> Iterator[np.ndarray]:
        """Yields the labels alone, int64 [N], in the order of `chunks`."""
        for label, name in enumerate(self._classes):
            left = len(_listed(self._path(name))[0])
            while left > 0:
                yield np.full(min(left, max_items), label, np.int64)
                left -= max_items

    def digests(self) -> dict[str, str]:
        """Returns sha256 of the names and contents of the pictures by role."""
        return {self._role: self._digest}

    def _path(self, class_name: str) -> str:
        return os.path.join(self.name, self._classes[class_name])

    def _pictures(self) -> Iterator[tuple[str, int, bytes]]:
        """Yields the path, the label and the content of each picture."""
        digest = hashlib.sha256()
        for label, name in enumerate(self._classes):
            paths, others = _listed(self._path(name))
            if not paths:
                found = f" ({others[0]} is not called as one is)" if others else ""
                raise InputError(
                    f"{self._path(name)}: no pictures{found}, expected those of a class, called "
                    ".png, .jpg, .jpeg, .gif or .bmp; add some, or remove the folder"
                )
            for path in paths:
                encoded = picture_files.read(path)
                content = hashlib.sha256(encoded).hexdigest()
                line = f"{name}\0{os.path.basename(path)}\0{content}\n"
                digest.update(line.encode("utf-8", "surrogateescape"))
                yield path, label, encoded
        self._digest = digest.hexdigest()

    def _broken(
        self,
        session: v1.Session,
        images: tf.Tensor,
        encoded: tf.Tensor,
        paths: Sequence[str],
        contents: Sequence[bytes],
    ) -> InputError:
        """The error of the first of several pictures that cannot be decoded."""
        for path, content in zip(paths, contents, strict=True):
            try:
                session.run(images, {encoded: [content]})
            except tf.errors.InvalidArgumentError as error:
                reason = files.error_line(error)
                return InputError(
                    f"{path}: cannot be decoded: {reason}; remove it, or save it again"
                )
        return InputError(f"{self.name}: a picture cannot be decoded")


def open_trees(
    train: str, test: str | None = None, image_shape: Shape | None = None
) -> tuple[FolderSource, FolderSource | None, tuple[str, ...]]:
    """Opens a tree of training pictures and one of test pictures, and gives the classes' names.

    They are the folders' names, sorted: so torchvision and Keras number them, too.

    Raises:
      InputError: if a folder is no such tree, or the classes differ.
    """
    classes = _class_folders(train)
    test_classes = classes
    if test:
        test_classes = _class_folders(test)
        for one, other, missing in (
            (train, test, [name for name in classes if name not in test_classes]),
            (test, train, [name for name in test_classes if name not in classes]),
        ):
            if missing:
                raise InputError(
                    f"{other}: has no folder {missing[0]}, expected the same classes as in {one}"
                )
        if os.path.realpath(train) == os.path.realpath(test):
            raise InputError(f"{test}: found both as training and as test pictures")
    opened = FolderSource(train, classes, "train", image_shape)
    if not test:
        return opened, None, tuple(classes)
    tested = FolderSource(test, test_classes, "test", image_shape)
    if tested.image_shape != opened.image_shape:
        _check_same(f"{train} and {test}", train, opened.image_shape, test, tested.image_shape)
    return opened, tested, tuple(classes)


def _class_folders(folder: str) -> dict[str, str]:
    """Class name -> folder name, in the order of the classes."""
    if "://" in folder:
        raise InputError(f"{folder}: pictures are read from local folders; give one")
    names, files = _content(folder)
    stray = [name for name in files if name.lower().endswith(picture_files.SUFFIXES)]
    if stray:
        raise InputError(
            f"{folder}: holds pictures outside of the classes' folders, such as {stray[0]}, "
            "expected a folder a class; move them into one"
        )
    _check_no_splits(folder, names)
    if len(names) < 2:
        found = f"only {names[0]}" if names else "no folder"
        inside = names and _content(os.path.join(folder, names[0]))[0]
        advice = f"; give {os.path.join(folder, names[0])}" if inside else ""
        raise InputError(
            f"{folder}: found {found}, expected two classes or more, a folder each{advice}"
        )
    classes = {}
    for name in names:
        # macOS may spell an umlaut in two characters, others do in one.
        normal = unicodedata.normalize("NFC", name)
        if not normal.isprintable():
            raise InputError(f"{folder}: found the folder {name!a}, expected a printable name")
        if normal in classes:
            raise InputError(f"{folder}: found two folders called {normal}, expected one")
        classes[normal] = name
    classes = dict(sorted(classes.items()))
    _warn_of_numbers_out_of_order(folder, list(classes))
    return classes


def _check_no_splits(folder: str, names: Sequence[str]) -> None:
    """Raises InputError if folders are called, and look, as if they were splits and not classes."""
    splits = [name for name in names if name.lower() in (*TRAIN_WORDS, *TEST_WORDS)]
    nested = [name for name in splits if _content(os.path.join(folder, name))[0]]
    if not splits or not (nested or len(splits) > 1 or len(splits) == len(names)):
        return
    train = [name for name in splits if name.lower() in TRAIN_WORDS]
    tests = sorted(
        (name for name in splits if name not in train), key=lambda n: TEST_WORDS.index(n.lower())
    )
    flags = [f"--image_folder={os.path.join(folder, name)}" for name in train[:1]]
    flags += [f"--test_image_folder={os.path.join(folder, name)}" for name in tests[:1]]
    raise InputError(
        f"{folder}: found {' and '.join(splits)}, which are called as splits are, expected a "
        f"folder a class; give {' '.join(flags)}"
    )


def _warn_of_numbers_out_of_order(folder: str, names: list[str]) -> None:
    numbers = [int(name) for name in names if name.isascii() and name.isdigit()]
    if len(numbers) == len(names) and numbers != sorted(numbers):
        at = next(at for at, number in enumerate(numbers) if number != sorted(numbers)[at])
        warn(
            f"{folder}: classes are numbered in the order of the folders' names, so {names[at]} is "
            f"class {at}; name them with as many digits each to have it otherwise"
        )


def _listed(folder: str) -> tuple[list[str], list[str]]:
    """The paths of a class's pictures, in order, and of other files that are not hidden."""
    folders, names = _content(folder)
    for inner in folders:
        path = os.path.join(folder, inner)
        nested = [name for _, _, found in os.walk(path) for name in found]
        if any(name.lower().endswith(picture_files.SUFFIXES) for name in nested):
            raise InputError(
                f"{path}: a folder of pictures in a class's folder, expected only files"
            )
    found, others = [], []
    for name in names:
        kind = found if name.lower().endswith(picture_files.SUFFIXES) else others
        kind.append(os.path.join(folder, name))
    return found, others


def _content(folder: str) -> tuple[list[str], list[str]]:
    """The names of the folders and of the files in a folder, in order; hidden ones apart."""
    folders, names = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name.lower() in _NO_CLASSES:
                    continue
                if not os.path.exists(entry.path):
                    raise InputError(f"{entry.path}: a link to nothing; mend or remove it")
                (folders if entry.is_dir() else names).append(entry.name)
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}, expected a folder of pictures") from None
    return sorted(folders), sorted(names)


def _check_same(where: str, first: str, first_shape: Shape, path: str, shape: Shape) -> None:
    """Raises InputError if two pictures have different shapes."""
    if shape == first_shape:
        return
    found = [f"{'x'.join(map(str, size[:2]))} pixels" for size in (first_shape, shape)]
    if found[0] == found[1]:
        found = ["grey" if size[2] == 1 else "coloured" for size in (first_shape, shape)]
    height, width, _ = first_shape
    raise InputError(
        f"{where}: found pictures {found[0]} ({first}) and {found[1]} ({path}), expected them "
        "alike; say what they become by --image_shape=H,W,C, such as "
        f"{height},{width},{max(first_shape[2], shape[2])}"
    )


def _is_within(start: int, stop: int | None) -> Iterator[bool]:
    """For each whole number from 0 on, whether it is from `start` to `stop` - 1."""
    return (at >= start and (stop is None or at < stop) for at in itertools.count())


def _batches(
    found: Iterator[tuple[str, int, bytes]], max_items: int
) -> Iterator[list[tuple[str, int, bytes]]]:
    batch, size = [], 0
    for picture in found:
        batch.append(picture)
        size += len(picture[2])
        if len(batch) == max_items or size > _MOST_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _on_the_cpu() -> v1.ConfigProto:
    """So that a GPU's memory is left to those who train."""
    return v1.ConfigProto(device_count={"GPU": 0})
