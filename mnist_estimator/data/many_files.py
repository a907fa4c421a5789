"""Examples that lie in several files: one source after the other, and which file an error is of."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import re
import zlib
from collections.abc import Iterator, Sequence

import numpy as np

from mnist_estimator import InputError
from mnist_estimator.data import idx, plan
from mnist_estimator.runtime.progress import warn


@dataclasses.dataclass(frozen=True)
class Part:
    """One of several files, or pairs of files: what errors call it.

    Attributes:
      name: its path; errors of it begin with that, or with one of `others`.
      number, count: it is the number-th, from 1, of count.
      others: further paths that belong to it.
      what: file or pair.
    """

    name: str
    number: int
    count: int
    others: tuple[str, ...] = ()
    what: str = "file"

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Adds to an InputError of this file which of the files it is; of a lone file nothing."""
        try:
            yield
        except InputError as error:
            line = self._named(str(error)) if self.count > 1 else ""
            if not line:
                raise
            raise InputError(line) from error

    def _named(self, line: str) -> str:
        for path in (self.name, *self.others):
            # What follows may begin with where in the file it is.
            match = re.fullmatch(rf"{re.escape(path)}(?:: (line \d+))?:? (.*)", line, re.DOTALL)
            if match:
                place = f" {match[1]}:" if match[1] else ":"
                where = f"({self.what} {self.number} of {self.count})"
                return f"{path}{place[:-1]} {where}: {match[2].removeprefix(': ')}"
        return ""


def name_of(paths: Sequence[str]) -> str:
    """What several files are called where all of them are meant."""
    if len(paths) == 1:
        return paths[0]
    return f"{paths[0]} to {paths[-1]} ({len(paths)} files)"


class _Copies:
    """Finds a file with the examples of another one, by checksums of what is read of each.

    Attributes:
      found: names of the copy and of the file before it; None if there is none.
    """

    def __init__(self) -> None:
        self.found: tuple[str, str] | None = None
        self._seen: dict[tuple[int, ...], str] = {}
        self._checksums = [0, 0]

    def add(self, images: np.ndarray, labels: np.ndarray) -> None:
        """Adds examples of the present file."""
        self._checksums = [
            zlib.crc32(np.ascontiguousarray(array), found)
            for array, found in zip((images, labels), self._checksums, strict=True)
        ]

    def end(self, name: str) -> None:
        """Ends the present file."""
        other = self._seen.setdefault(tuple(self._checksums), name)
        if other != name and self.found is None:
            self.found = (name, other)
        self._checksums = [0, 0]


class Chained:
    """Sources one after the other as one source; a `plan.Source`.

    Its digests are those of the two IDX files that would hold all examples, so data that are known
    by their digests are known here, too, and the same examples in other files are the same data.

    Attributes:
      content_bytes: size of the content of these IDX files by role.
    """

    def __init__(
        self,
        name: str,
        sources: Sequence[plan.Source],
        parts: Sequence[Part],
        *,
        role: str,
        headers: tuple[idx.IdxHeader, idx.IdxHeader],
    ) -> None:
        """Checks that the images have one shape.

        Args:
          sources: a source for each of `parts`.
          role: train or test, begins the roles of the digests.
          headers: of the IDX files that would hold all images and all labels.

        Raises:
          InputError: if they do not.
        """
        self.name, self._sources, self._parts = name, sources, parts
        self.num_examples = sum(source.num_examples for source in sources)
        self.image_shape = sources[0].image_shape
        self._headers, self._digests = headers, {}
        self._has_warned = False
        self._roles = (f"{role}_images", f"{role}_labels")
        self.content_bytes = {
            role: header.file_bytes for role, header in zip(self._roles, headers, strict=True)
        }
        for part, source in zip(parts, sources, strict=True):
            with part.errors():
                _check_shape(part.name, source, parts[0].name, self.image_shape)

    def chunks(
        self, max_items: int, start: int = 0, stop: int | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields (images uint8 [N,H,W,C], labels int64 [N]), N <= max_items, of start to stop.

        Sources that lie before `start` are not read.

        Raises:
          InputError: as the sources, with the number of the file.
        """
        stop = self.num_examples if stop is None else stop
        whole = (start, stop) == (0, self.num_examples)
        hashes = [hashlib.sha256(_encoded(header)) for header in self._headers]
        copies = _Copies()
        first = 0
        for part, source in zip(self._parts, self._sources, strict=True):
            low, high = max(start - first, 0), min(stop - first, source.num_examples)
            first += source.num_examples
            if low >= high:
                continue
            with part.errors():
                for images, labels in _range(source, max_items, low, high):
                    if whole:
                        self._add(hashes, images, labels)
                        copies.add(images, labels)
                    yield images, labels
            copies.end(part.name)
        if whole:
            self._warn_of(copies)
            digests = (found.hexdigest() for found in hashes)
            self._digests = dict(zip(self._roles, digests, strict=True))

    def label_chunks(self, max_items: int) -> Iterator[np.ndarray]:
        """Yields the labels alone, int64 [N], in the order of `chunks`."""
        for part, source in zip(self._parts, self._sources, strict=True):
            with part.errors():
                yield from source.label_chunks(max_items)

    def digests(self) -> dict[str, str]:
        """Returns sha256 of the content by role; reads all of it if no pass has been made yet."""
        if not self._digests:
            for _ in self.chunks(plan.max_items(self)):
                pass
        return self._digests

    def _warn_of(self, copies: _Copies) -> None:
        if copies.found and not self._has_warned:
            warn("{}: has the same examples as {}; is it a copy?".format(*copies.found))
            self._has_warned = True

    def _add(self, hashes: Sequence[hashlib._Hash], images: np.ndarray, labels: np.ndarray) -> None:
        hashes[0].update(np.ascontiguousarray(images))
        hashes[1].update(labels.astype(self._headers[1].dtype.newbyteorder(">")))


def _range(source: plan.Source, max_items: int, low: int, high: int):
    """The chunks of a source from one example to another; of all of it as one pass to its end."""
    if (low, high) == (0, source.num_examples):
        return source.chunks(max_items)
    return source.chunks(max_items, low, high)


def _encoded(header: idx.IdxHeader) -> bytes:
    # A file cannot hold more, but several can say that they do.
    if header.shape[0] >= 2**32:
        return f"{header.dtype} {header.shape}".encode()
    return idx.encode_header(header.dtype, header.shape)


def _check_shape(name: str, source: plan.Source, first: str, shape: tuple[int, int, int]) -> None:
    if source.image_shape != shape:
        raise InputError(
            f"{name}: images of {plan.shape_text(source.image_shape)}, expected "
            f"{plan.shape_text(shape)} as in {first}"
        )
