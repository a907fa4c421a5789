"""Where examples come from (files of each kind, named datasets), and which a command uses."""

from __future__ import annotations

import atexit
import dataclasses
import functools
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from mnist_estimator import InputError
from mnist_estimator.data import (
    csv_labels,
    download,
    folder_contents,
    folder_source,
    idx_folder,
    idx_pairs,
    known_datasets,
    npz_source,
    parquet_source,
    plan,
    splits,
    transposed,
    writer,
)
from mnist_estimator.data.csv_source import CsvSource
from mnist_estimator.data.idx_source import IdxSource
from mnist_estimator.data.known_datasets import DATASETS, FILE_NAMES, ROLES, KnownDataset
from mnist_estimator.data.manifest import (
    Manifest,
)
from mnist_estimator.data.many_files import Chained
from mnist_estimator.data.npz_source import NpzSource
from mnist_estimator.pictures import methods
from mnist_estimator.runtime import files
from mnist_estimator.runtime.progress import ProgressLine, warn

_WithContent = IdxSource | NpzSource | Chained  # With `content_bytes`, to be known by.

CUSTOM = "custom"  # The manifest's name for data that are none of the known datasets.


@dataclasses.dataclass(frozen=True)
class Sources:
    """What `writer.write_dataset` is given: a dataset's name, its examples and its classes."""

    dataset: str
    train: plan.Source
    test: plan.Source | None
    num_classes: int | None = None
    class_names: tuple[str, ...] = ()
    pictures: str = splits.AUTO

    def write(self, data_dir: str, **options: object) -> Manifest:
        """Calls `writer.write_dataset` with these examples; `options` are its other arguments."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return writer.write_dataset(data_dir, **fields, **options)

    def plan(self, *, validation_split: str, shards: int, seed: int) -> plan.Plan:
        """What is to be written of these examples; the arguments are `writer.write_dataset`'s."""
        split = (validation_split, seed)
        examples = (self.train, self.test, self.num_classes, self.class_names)
        return plan.Plan(self.dataset, *examples, split, shards, self.pictures)


def from_idx(
    paths: Mapping[str, str | Sequence[str]],
    num_classes: int | None = None,
    *,
    transpose: bool = False,
) -> Sources:
    """Opens IDX files, plain or .gz, by role (`ROLES`); both test files may be missing.

    Of each role there may be several, whose examples follow each other. Files with the content of a
    known dataset get its name and class names.

    Args:
      transpose: swap the rows and columns of each image.

    Raises:
      InputError: if a file is not what it should be, or one of a pair is missing.
    """
    pairs = {}
    for part in ("train", "test"):
        roles = (f"{part}_images", f"{part}_labels")
        missing = [role for role in roles if role not in paths]
        if len(missing) == 1 or (missing and part == "train"):
            raise InputError(f"{' and '.join(missing)}: not given, expected images and labels")
        if missing:
            pairs[part] = None
            continue
        images, labels = (
            [paths[role]] if isinstance(paths[role], str) else paths[role] for role in roles
        )
        pairs[part] = idx_pairs.open_pairs(images, labels, part, num_classes)
    return _from_pair(pairs["train"], pairs["test"], num_classes, transpose)


def _from_pair(
    train: _WithContent, test: _WithContent | None, num_classes: int | None, transpose: bool
) -> Sources:
    known = _identify(train, test)
    if transpose or known is None or num_classes not in (None, len(known.class_names)):
        return _unnamed(train, test, num_classes, transpose, known.title if known else "")
    return _named(known, train, test)


def _unnamed(
    train: plan.Source,
    test: plan.Source | None,
    num_classes: int | None,
    transpose: bool,
    known: str = "",
) -> Sources:
    """Examples under no known name; `known` is the title of the dataset that they are anyway."""
    if warning := transposed.doubt(train, known, transpose):
        warn(warning)
    if transpose:
        train, test = transposed.Transposed(train), test and transposed.Transposed(test)
    return Sources(CUSTOM, train, test, num_classes)


def from_folder(folder: str, num_classes: int | None = None, *, transpose: bool = False) -> Sources:
    """Opens the IDX files that lie in a folder under usual names; see `idx_folder.find`.

    Raises:
      InputError: as `from_idx`, or if the folder has no training files.
    """
    paths = idx_folder.find(folder)
    has_test = any(role.startswith("test") for role in paths)
    wanted = ROLES if has_test else ROLES[:2]
    missing = [FILE_NAMES[role] for role in wanted if role not in paths]
    if missing:
        contents = folder_contents.look(folder)
        rest = f"; it holds {contents.found}; {contents.advice}" if contents else ""
        raise InputError(
            f"{folder}: no {' and no '.join(missing)}, expected them, plain or .gz{rest}"
        )
    if not has_test and (others := idx_folder.not_taken(folder)):
        warn(
            f"{folder}: no test files of the usual names, so the test split is empty; found "
            f"{', '.join(others[:4])}; give the files by --train_images, --test_images and so on"
        )
    return from_idx(paths, num_classes, transpose=transpose)


def from_npz(path: str, num_classes: int | None = None, *, transpose: bool = False) -> Sources:
    """Opens the arrays of an .npz file; see `npz_source.open_parts`. The rest is as `from_idx`."""
    return _from_pair(*npz_source.open_parts(path, num_classes), num_classes, transpose)


def from_image_folder(
    train: str, test: str | None = None, *, image_shape: tuple[int, int, int] | None = None
) -> Sources:
    """Opens trees of pictures, a folder a class; see `folder_source.open_trees`."""
    opened, tested, names = folder_source.open_trees(train, test, image_shape)
    return Sources(CUSTOM, opened, tested, len(names), names)


def from_csv(
    train: str | Sequence[str],
    test: str | Sequence[str] | None = None,
    *,
    image_shape: tuple[int, int, int] | None = None,
    num_classes: int | None = None,
    label_column: str = "",
    transpose: bool = False,
) -> Sources:
    """Opens CSV files; see `csv_source.CsvSource`. Prints a warning on doubtful labels.

    Args:
      transpose: swap the rows and columns of each image.

    Raises:
      InputError: as `CsvSource`, or if every label is the same and `num_classes` is not given.
    """
    shape, options = image_shape, {"num_classes": num_classes, "label_column": label_column}
    opened = CsvSource(train, role="train_csv", image_shape=shape, **options)
    # What the header of the training examples says of the images holds for the others too.
    shape = opened.image_shape
    tested = None
    if test:
        names = opened.names
        tested = CsvSource(test, role="test_csv", image_shape=shape, names=names, **options)
    _check_labels(opened, tested, num_classes)
    return _unnamed(opened, tested, num_classes, transpose)


def from_parquet(
    train: Sequence[str],
    test: Sequence[str] | None = None,
    *,
    image_shape: tuple[int, int, int] | None = None,
    num_classes: int | None = None,
    label_column: str = "",
    transpose: bool = False,
) -> Sources:
    """Opens Parquet files; see `parquet_source.Table`. Prints a warning on doubtful labels.

    Files with the content of a known dataset get its name and class names; else the classes have
    the names that the files give them.

    Raises:
      InputError: as `Table`, or as `from_csv`, or if the test files name other classes.
    """
    options = {"num_classes": num_classes, "label_column": label_column}
    opened = parquet_source.Table(train, role="train", image_shape=image_shape, **options)
    tested = None
    if test:
        tested = parquet_source.Table(test, role="test", image_shape=image_shape, **options)
        if tested.class_names != opened.class_names:
            raise InputError(
                f"{tested.name}: its classes have other names than those of {opened.name}"
            )
    names = opened.class_names if num_classes in (None, len(opened.class_names)) else ()
    num_classes = num_classes or len(names) or None
    _check_labels(opened, tested, num_classes)
    found = _from_pair(opened.arrays, tested and tested.arrays, num_classes, transpose)
    if found.dataset != CUSTOM:
        return found
    if not transpose:
        found = dataclasses.replace(found, train=opened, test=tested)
    return dataclasses.replace(found, class_names=names)


def _check_labels(
    train: CsvSource | parquet_source.Table,
    test: CsvSource | parquet_source.Table | None,
    num_classes: int | None,
) -> None:
    """Warns of labels that look doubtful; raises InputError if all are the same."""
    if len(train.labels) == 1 < train.num_examples and num_classes is None:
        raise InputError(
            f"{train.name}: every label is {min(train.labels)}, expected two classes or more; is "
            "the label column right (--label_column)? If it is, give --num_classes"
        )
    doubt = csv_labels.doubt(train.labels, num_classes, test.labels if test else None)
    if doubt:
        warn(f"{train.name}: {doubt}")


def from_name(name: str, folder: str, line: ProgressLine | None = None) -> Sources:
    """Opens a dataset by name. Only when its examples are read is anything fetched.

    Args:
      folder: where files are looked for, and where missing ones are downloaded to. If it is not on
        this machine they go to a temporary folder instead.
      line: where the progress of the download is shown; default: stderr.

    Raises:
      InputError: if the name is unknown; on reading also if the files cannot be had or others are
        in their place.
    """
    known_datasets.check_name(name)
    if name == known_datasets.SAMPLE:
        sample = from_folder(known_datasets.sample_dir(), 10)
        return dataclasses.replace(sample, dataset=name, pictures=methods.DIGIT)
    known = DATASETS[name]

    @functools.cache
    def fetch() -> dict[str, str]:
        return download.fetch(known, _local_folder(folder), line=line)

    return _named(known, *(_FetchedSource(known, part, fetch) for part in ("train", "test")))


class _FetchedSource:
    """The images and labels of a part of a known dataset, fetched when they are first read."""

    def __init__(self, known: KnownDataset, part: str, fetch: Callable[[], dict[str, str]]) -> None:
        self.name = f"{known.title} ({part})"
        self._known, self._part, self._fetch = known, part, fetch
        self._roles = (f"{part}_images", f"{part}_labels")
        self._opened: IdxSource | None = None
        images, labels = (known.content_bytes[role] for role in self._roles)
        self.num_examples = labels - 8  # The rest is the header.
        side = math.isqrt((images - 16) // self.num_examples)
        self.image_shape = (side, side, 1)

    def chunks(
        self, max_items: int, start: int = 0, stop: int | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields (images uint8 [N,H,W,C], labels int64 [N]), N <= max_items; see `plan.Source`."""
        return self._open().chunks(max_items, start, stop)

    def digests(self) -> dict[str, str]:
        """Returns sha256 of the content by role; fetches nothing if all of them are known."""
        known = self._known.digests
        if self._opened or not set(self._roles) <= set(known):
            return self._open().digests()
        return {role: known[role] for role in self._roles}

    def _open(self) -> IdxSource:
        if self._opened is None:
            images, labels = (self._fetch()[role] for role in self._roles)
            self._opened = IdxSource(images, labels, self._part, len(self._known.class_names))
        return self._opened


def _local_folder(folder: str) -> str:
    """`folder`, or if it is on another filesystem a temporary one, removed at exit."""
    if files.is_local(folder):
        return folder
    temporary = tempfile.TemporaryDirectory()
    atexit.register(temporary.cleanup)
    return temporary.name


def _identify(train: _WithContent, test: _WithContent | None) -> KnownDataset | None:
    """The known dataset with exactly this content.

    Raises:
      InputError: for the images of one and the labels of another.
    """
    if test is None:
        return None
    sizes = train.content_bytes | test.content_bytes
    candidates = [known for known in DATASETS.values() if known.content_bytes == sizes]
    if not candidates:  # Spares large files a pass.
        return None
    found = train.digests() | test.digests()
    owners = {
        role: known.name
        for known in DATASETS.values()
        for role, digest in known.digests.items()
        if found.get(role) == digest
    }
    for part in ("train", "test"):
        images, labels = (owners.get(f"{part}_{kind}") for kind in ("images", "labels"))
        if images and labels and images != labels:
            raise InputError(
                f"{train.name if part == 'train' else test.name}: found the images of {images} and "
                f"the labels of {labels}, expected those of one dataset"
            )
    # kmnist has no digest of one file's content.
    return next((known for known in candidates if known.digests.items() <= found.items()), None)


def _named(known: KnownDataset, train: plan.Source, test: plan.Source) -> Sources:
    return Sources(
        known.name, train, test, len(known.class_names), known.class_names, known.pictures
    )
