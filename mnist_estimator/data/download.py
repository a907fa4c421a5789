"""Downloads the files of a known dataset, and verifies each of them by its digest.

A file is right if its digest is right, wherever it came from. So any mirror will do that gives the
right bytes, and a file that the user put in the folder is held to the same digest.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import uuid
import zlib
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from mnist_estimator import InputError
from mnist_estimator.data.known_datasets import (
    FILE_NAMES,
    ROLES,
    SAMPLE,
    KnownDataset,
    locate,
)
from mnist_estimator.data.transfer import MirrorError, first_line, host, read_url
from mnist_estimator.runtime import file_kinds, local_files
from mnist_estimator.runtime.progress import ProgressLine

_PIECE_BYTES = 1 << 16


class DownloadError(InputError):
    """A dataset cannot be had: no mirror gives it, no room for it, or a wrong file in its place."""


class NoMirrorError(DownloadError):
    """No mirror gives one of the files."""


def fetch(
    dataset: KnownDataset,
    directory: str,
    *,
    mirrors: Sequence[str] | None = None,
    timeout_secs: float = 30.0,
    line: ProgressLine | None = None,
) -> dict[str, str]:
    """Downloads those of a dataset's four files that `directory` lacks, and verifies all four.

    A file that is there and right is kept and not downloaded. One that is there and wrong is an
    error: it is the user's, and never overwritten. A missing one is downloaded from the first
    mirror that gives the right content, under a temporary name, and renamed once it is verified.

    Args:
      directory: a local folder; made if missing.
      mirrors: base URLs instead of the dataset's.
      timeout_secs: a mirror that says nothing for so long, or sends less than 1,000 bytes/s over so
        long, is given up; so is one whose answer has not begun after three times as long, whatever
        it sends.
      line: where progress is shown; default: stderr.

    Returns:
      Role -> path of the file.

    Raises:
      DownloadError: one line that says what failed and what to do.
    """
    if "://" in directory:
        raise DownloadError(f"{directory}: datasets are fetched to local folders; give one")
    line = line or ProgressLine()
    candidates = [mirror.rstrip("/") + "/" for mirror in mirrors or dataset.mirrors]
    paths = {}
    with _storing_in(directory):
        os.makedirs(directory, exist_ok=True)
        present = locate(os.listdir(directory)).get("", {})
    for role in ROLES:
        if role in present:
            paths[role] = os.path.join(directory, present[role][0])
            _check_present(dataset, role, paths[role])
        else:
            paths[role] = _fetch_file(dataset, role, directory, candidates, timeout_secs, line)
    return paths


def _check_present(dataset: KnownDataset, role: str, path: str) -> None:
    try:
        with local_files.reading(path) as file:
            problem = _content_problem(file, dataset, role)
    except OSError as error:
        raise DownloadError(f"{path}: cannot be read: {error.strerror or error}") from error
    if problem:
        advice = "move it away to have it downloaded, or choose the dataset that it belongs to"
        raise DownloadError(f"{path}: is not {dataset.title}'s file: {problem}; {advice}")


def _fetch_file(
    dataset: KnownDataset,
    role: str,
    directory: str,
    mirrors: list[str],
    timeout_secs: float,
    line: ProgressLine,
) -> str:
    """Downloads one file from the first mirror that has it. One that fails moves to the end."""
    failures = []
    for _ in range(len(mirrors)):
        url = f"{mirrors[0]}{FILE_NAMES[role]}.gz"
        try:
            pieces = read_url(url, _max_bytes(dataset, role), timeout_secs, line)
            with contextlib.closing(pieces):
                return _store(pieces, dataset, role, directory)
        except MirrorError as error:
            failures.append(f"{host(url)}: {error}")
            line.say(f"{dataset.name}: {failures[-1]}")
            mirrors.append(mirrors.pop(0))
    raise NoMirrorError(
        f"{dataset.title} cannot be downloaded: {FILE_NAMES[role]}.gz: {'; '.join(failures)}; put "
        f"its four files in {directory}, or use --dataset={SAMPLE}, the digits in the package"
    )


def _max_bytes(dataset: KnownDataset, role: str) -> int:
    # No way of compressing makes the content this much bigger.
    return dataset.content_bytes[role] + (1 << 16)


def _store(pieces: Iterator[bytes], dataset: KnownDataset, role: str, directory: str) -> str:
    """Writes, verifies, renames; returns the path. Nothing unverified ever has the final name."""
    path = os.path.join(directory, FILE_NAMES[role])
    # Unique, so that two jobs that fetch into one folder do not write into each other's file.
    temporary = os.path.join(directory, f".{FILE_NAMES[role]}.{uuid.uuid4().hex}.part")
    try:
        with _storing_in(directory):
            with open(temporary, "x+b") as file:
                file.writelines(pieces)
                problem = _content_problem(file, dataset, role)
                if problem:
                    raise MirrorError(problem)
                # A mirror may send it plain: readers go by the content, people by the name.
                path += ".gz" if _is_gzip(file) else ""
                os.fsync(file.fileno())
            os.replace(temporary, path)
            _sync_directory(directory)
    finally:
        with contextlib.suppress(OSError):
            os.remove(temporary)
    return path


def _content_problem(file: BinaryIO, dataset: KnownDataset, role: str) -> str | None:
    """What is wrong with a file, None if it is the dataset's."""
    start = _rewound(file).read(512)
    if not start:
        return "it is empty"
    if file_kinds.is_markup(start):
        return "it is an HTML page"
    by_archive = role not in dataset.digests
    if by_archive and not _is_gzip(file):
        return "it is plain, and of this file only the published .gz has a known digest"
    content = _rewound(file) if by_archive else _uncompressed(file)
    limit = _max_bytes(dataset, role) if by_archive else dataset.content_bytes[role]
    expected = (dataset.archive_digests if by_archive else dataset.digests)[role]
    try:
        digest, size = _sha256(content, limit)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        return f"its gzip data is broken ({first_line(error)})"
    if size > limit:
        return f"it holds more than the {limit} bytes it can have"
    if digest != expected:
        return f"its SHA-256 is {digest[:16]}..., expected {expected[:16]}..."
    return None


def _sha256(content: BinaryIO, limit: int) -> tuple[str, int]:
    """Digest and size of `content`, which may be endless: reads little more than `limit`."""
    digest, size = hashlib.sha256(), 0
    while size <= limit and (piece := content.read(_PIECE_BYTES)):
        digest.update(piece)
        size += len(piece)
    return digest.hexdigest(), size


def _uncompressed(file: BinaryIO) -> BinaryIO:
    return gzip.GzipFile(fileobj=_rewound(file), mode="rb") if _is_gzip(file) else _rewound(file)


def _is_gzip(file: BinaryIO) -> bool:
    return file_kinds.is_gzip(_rewound(file).read(2))


def _rewound(file: BinaryIO) -> BinaryIO:
    file.seek(0)
    return file


@contextlib.contextmanager
def _storing_in(directory: str) -> Iterator[None]:
    """Turns an error of the local filesystem into a DownloadError: no other mirror would help."""
    try:
        yield
    except OSError as error:
        where = error.filename or directory
        advice = "give another --data_dir, or make room"
        raise DownloadError(
            f"{where}: cannot be written: {error.strerror or error}; {advice}"
        ) from error


def _sync_directory(directory: str) -> None:
    """Makes a rename last through a power cut, where the system lets a folder be synced."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
