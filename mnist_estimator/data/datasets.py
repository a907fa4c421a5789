"""The datasets known by name: their files, mirrors and digests; fetching and verifying them.

A file is what it should be if its digest says so, not because of where it came from: any mirror
will do that gives the right bytes, and what a user put in the folder is held to the same digest. It
is of the content, so files verify plain, as published (.gz), or compressed again.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import http.client
import os
import queue
import re
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from mnist_estimator import InputError, __version__
from mnist_estimator.runtime import file_kinds, local_files
from mnist_estimator.runtime.progress import is_live, say, show

ROLES = ("train_images", "train_labels", "test_images", "test_labels")
FILE_NAMES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}
SAMPLE = "sample"
# How pictures become images: as MNIST was made, from what is drawn on them, or as they are.
PICTURES = DIGIT, PLAIN = ("digit", "plain")

_DIGITS = tuple("0123456789")
_MNIST_BYTES = {
    "train_images": 16 + 60000 * 28 * 28,
    "train_labels": 8 + 60000,
    "test_images": 16 + 10000 * 28 * 28,
    "test_labels": 8 + 10000,
}
_PIECE_BYTES = 1 << 16
# A transfer slower than this counts as stalled.
_MIN_BYTES_PER_SEC = 1000
# A mirror's answer, until its body begins, may take this many timeouts: connections to several
# addresses, TLS and redirects are parts of it.
_ANSWER_TIMEOUTS = 3
_LIVE_SECS = 0.2
_PLAIN_SECS = 10.0


class DownloadError(InputError):
    """A dataset cannot be had: no mirror gives it, no room for it, or a wrong file in its place."""


@dataclass(frozen=True)
class Dataset:
    """A published dataset of four IDX files.

    Attributes:
      digests: role -> SHA-256 of the file's uncompressed content.
      archive_digests: role -> SHA-256 of the .gz as published, for roles that `digests` lacks.
      content_bytes: role -> size of the uncompressed content.
      mirrors: base URLs; the files are there under their usual names, with .gz.
      pictures: how pictures become such images, of `PICTURES`.
    """

    name: str
    title: str
    class_names: tuple[str, ...]
    digests: Mapping[str, str]
    mirrors: tuple[str, ...]
    archive_digests: Mapping[str, str] = field(default_factory=dict)
    content_bytes: Mapping[str, int] = field(default_factory=lambda: _MNIST_BYTES)
    pictures: str = PLAIN


DATASETS = {
    # Content digests: computed from the original four files, whose .gz have the digests that
    # tensorflow/datasets (url_checksums/mnist.txt) and pytorch/vision (MD5) publish.
    # Mirrors: pytorch/vision (mnist.py), tensorflow/datasets (mnist.py),
    # ml-explore/mlx-swift-examples (Files.swift).
    # Never the original host: its domain lapsed and serves other content.
    "mnist": Dataset(
        name="mnist",
        title="MNIST",
        class_names=_DIGITS,
        digests={
            "train_images": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "train_labels": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "test_images": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "test_labels": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
            "https://raw.githubusercontent.com/fgnt/mnist/master/",
        ),
        pictures=DIGIT,
    ),
    # Content digests: computed from Debian's dataset-fashion-mnist. Its .gz differ from the
    # published ones in the gzip header alone: with file name and time put back, they have the
    # SHA-256 that tensorflow/datasets (url_checksums/fashion_mnist.txt) publishes.
    # Mirrors: keras-team/keras (fashion_mnist.py), and the dataset's own repository. (Its bucket is
    # reached by http only.)
    "fashion_mnist": Dataset(
        name="fashion_mnist",
        title="Fashion-MNIST",
        class_names=(
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        digests={
            "train_images": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "train_labels": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "test_images": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "test_labels": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        },
        mirrors=(
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
    ),
    # Content digests: computed from .gz files with the SHA-256 that tensorflow/datasets
    # (url_checksums/kmnist.txt) publishes. The training images could not be had: for them there is
    # only that digest of the .gz, so they verify as published, but not plain or compressed again.
    # Mirrors: rois-codh/kmnist (README.md; its host is at times out of reach),
    # tensorflow/swift-models (KuzushijiMNIST.swift).
    "kmnist": Dataset(
        name="kmnist",
        title="Kuzushiji-MNIST",
        class_names=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        digests={
            "train_labels": "2a16eeae62da984b8bd24fa32e31d47291f01dac3fe84d5594f304f71e7d374b",
            "test_images": "76fbd229ce87db80dd281af5e6670de4ad0e42fb30a7bd643972994c47c1f42e",
            "test_labels": "a11dc742be8e781a40a92f53d6a4957e7b7d36df2faa097659131ebfd8fd60c6",
        },
        archive_digests={
            "train_images": "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
        },
        mirrors=(
            "https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
            "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/KMNIST/",
        ),
    ),
}


def check_name(name: str) -> None:
    """Raises InputError unless `name` is a dataset known by name."""
    if not is_known(name):
        names = ", ".join((*DATASETS, SAMPLE))
        raise InputError(f"--dataset: found {name!r}, expected one of {names}")


def is_known(name: str) -> bool:
    """Whether `name` is a dataset known by name."""
    return name in (*DATASETS, SAMPLE)


def sample_dir() -> str:
    """The folder of the bundled sample: the four usual names, .gz."""
    return os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "sample")


def locate(paths: Iterable[str]) -> dict[str, dict[str, list[str]]]:
    """Which files are a dataset's four, by their names, in any case: set -> role -> paths.

    A set is what stands before the usual name, with the folder: "" for MNIST's own names,
    "emnist-letters-" for EMNIST's. Of several files for one role: the usual spelling comes before
    others (train-images.idx3-ubyte, test-images-idx3-ubyte), and plain before .gz. A file that lies
    in a folder of its own name counts as if it lay beside that folder.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for path in sorted(paths, key=lambda path: (*_unusual(path), path)):
        folder, name = os.path.split(path)
        match = _FILE_NAME.fullmatch(name)
        if match:
            if is_file_name(os.path.basename(folder)):
                folder = os.path.dirname(folder)
            part = "train" if match["part"].lower() == "train" else "test"
            roles = found.setdefault(os.path.join(folder, match["set"].lower()), {})
            roles.setdefault(f"{part}_{match['kind'].lower()}", []).append(path)
    return found


def is_file_name(name: str) -> bool:
    """Whether `locate` would take a file of this name."""
    return _FILE_NAME.fullmatch(name) is not None


_FILE_NAME = re.compile(
    r"(?P<set>(?:[a-z0-9].*[-_.])?)(?P<part>train|t10k|test)[-_](?P<kind>images|labels)"
    r"[-_.]idx\d[-_](?:ubyte|int)(?:\.gz)?",
    re.IGNORECASE,
)


def _unusual(path: str) -> tuple[bool, bool, bool]:
    """Sorts first what is spelled as usual, then what is plain, then what lies in no folder."""
    plain = path.removesuffix(".gz")
    usual = os.path.basename(plain) in FILE_NAMES.values()
    return not usual, plain != path, os.path.dirname(path) != ""


def fetch(
    dataset: Dataset,
    directory: str,
    *,
    mirrors: Sequence[str] | None = None,
    timeout_secs: float = 30.0,
    report: Callable[[str], None] | None = None,
    live: Callable[[str], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, str]:
    """Sees to it that `directory` holds the dataset's four files, verified; returns role -> path.

    A file that is there and right is kept and not downloaded. One that is there and wrong is an
    error: it is the user's, and never overwritten. A missing one is downloaded from the first
    mirror that gives the right content, under a temporary name, and renamed once it is verified.

    Args:
      directory: a local folder; made if missing.
      mirrors: base URLs instead of the dataset's.
      timeout_secs: a mirror that says nothing for so long, or sends less than 1,000 bytes/s over so
        long, is given up; so is one whose answer has not begun after three times as long, whatever
        it sends.
      report: takes each line of progress; default: stderr.
      live: takes a line that replaces the last one it took, "" at the end; default: stderr, if that
        is a terminal and `report` is not given. Without, progress is reported every 10 seconds.
      clock: gives seconds, for the rates.

    Raises: DownloadError, one line that says what failed and what to do.
    """
    if "://" in directory:
        raise DownloadError(f"{directory}: datasets are fetched to local folders; give one")
    if report is None:
        report = functools.partial(say, stream=sys.stderr)
        live = functools.partial(show, stream=sys.stderr) if is_live(sys.stderr) else None
    progress = _Progress(report, live, clock)
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
            paths[role] = _fetch_file(dataset, role, directory, candidates, timeout_secs, progress)
    return paths


def _check_present(dataset: Dataset, role: str, path: str) -> None:
    try:
        with local_files.reading(path) as file:
            problem = _content_problem(file, dataset, role)
    except OSError as error:
        raise DownloadError(f"{path}: cannot be read: {error.strerror or error}") from error
    if problem:
        advice = "move it away to have it downloaded, or choose the dataset that it belongs to"
        raise DownloadError(f"{path}: is not {dataset.title}'s file: {problem}; {advice}")


def _fetch_file(
    dataset: Dataset,
    role: str,
    directory: str,
    mirrors: list[str],
    timeout_secs: float,
    progress: _Progress,
) -> str:
    """Downloads one file from the first mirror that has it; one that fails goes to their end."""
    failures = []
    for _ in range(len(mirrors)):
        url = f"{mirrors[0]}{FILE_NAMES[role]}.gz"
        try:
            pieces = _read_url(url, _max_bytes(dataset, role), timeout_secs, progress)
            with contextlib.closing(pieces):
                return _store(pieces, dataset, role, directory)
        except _MirrorError as error:
            failures.append(f"{_host(url)}: {error}")
            progress.say(f"{dataset.name}: {failures[-1]}")
            mirrors.append(mirrors.pop(0))
    raise DownloadError(
        f"{dataset.title} cannot be downloaded: {FILE_NAMES[role]}.gz: {'; '.join(failures)}; put "
        f"its four files in {directory}, or use --dataset={SAMPLE}, the digits in the package"
    )


def _max_bytes(dataset: Dataset, role: str) -> int:
    # No way of compressing makes the content this much bigger.
    return dataset.content_bytes[role] + (1 << 16)


def _store(pieces: Iterator[bytes], dataset: Dataset, role: str, directory: str) -> str:
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
                    raise _MirrorError(problem)
                # A mirror may send it plain: readers go by the content, people by the name.
                path += ".gz" if _is_gzip(file) else ""
                os.fsync(file.fileno())
            os.replace(temporary, path)
            _sync_directory(directory)
    finally:
        with contextlib.suppress(OSError):
            os.remove(temporary)
    return path


class _MirrorError(Exception):
    """Why a mirror did not give the file."""


def _read_url(url: str, limit: int, timeout_secs: float, progress: _Progress) -> Iterator[bytes]:
    """Yields the body of `url`. Whatever goes wrong with it is a _MirrorError."""
    try:
        with _Transfer(url, timeout_secs) as transfer:
            yield from _read_body(transfer, url, limit, timeout_secs, progress)
    except urllib.error.HTTPError as error:
        error.close()
        raise _MirrorError(f"HTTP {error.code} {_first_line(error.reason)}") from error
    except http.client.IncompleteRead as error:
        raise _MirrorError("the transfer was cut off") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(reason, TimeoutError):
            raise _MirrorError(f"no answer for {timeout_secs:g} s") from error
        raise _MirrorError(_first_line(getattr(reason, "strerror", None) or reason)) from error


def _read_body(
    transfer: _Transfer,
    url: str,
    limit: int,
    timeout_secs: float,
    progress: _Progress,
) -> Iterator[bytes]:
    header = transfer.next(_ANSWER_TIMEOUTS * timeout_secs, "no whole answer in")
    total = int(header) if header else None
    received = window_received = 0
    window_start = progress.start(url, total)
    while total is None or received < total:
        piece = transfer.next(timeout_secs, "no answer for")
        received += len(piece)
        if max(received, total or 0) > limit:
            raise _MirrorError(f"sends more than {limit} bytes, the most that the file can have")
        if not piece:
            break
        yield piece
        now = progress.update(received)
        if now - window_start >= timeout_secs:
            if received - window_received < timeout_secs * _MIN_BYTES_PER_SEC:
                raise _MirrorError(f"sent {received - window_received} bytes in {timeout_secs:g} s")
            window_start, window_received = now, received
    if total is not None and received < total:
        raise _MirrorError(f"the transfer was cut off at {received} of {total} bytes")
    progress.finish(received)


class _Transfer:
    """A GET that a thread of its own makes, so that nothing of it can be waited for without end.

    A socket's time limit is for one call. A server that sends a byte within each, of its headers or
    of the size of a chunk, keeps http.client in a call that does not return.
    """

    def __init__(self, url: str, timeout_secs: float) -> None:
        self._url, self._timeout_secs = url, timeout_secs
        self._items: queue.Queue[str | bytes | Exception | None] = queue.Queue(maxsize=4)
        self._over = threading.Event()
        self._socket: socket.socket | None = None

    def __enter__(self) -> _Transfer:
        # A daemon, as the look-up of a host's name cannot be ended.
        threading.Thread(target=self._run, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._socket:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()

    def next(self, secs: float, late: str) -> str | bytes | None:
        """First the header Content-Length, then the pieces of the body, an empty one at its end.

        Raises:
          _MirrorError: `late`, if it does not come in so many seconds.
          Whatever urllib raises.
        """
        try:
            item = self._items.get(timeout=secs)
        except queue.Empty:
            raise _MirrorError(f"{late} {secs:g} s") from None
        if isinstance(item, Exception):
            raise item
        return item

    def _run(self) -> None:
        headers = {"User-Agent": f"mnist_estimator/{__version__}"}
        try:
            request = urllib.request.Request(self._url, headers=headers)
            with self._opener().open(request, timeout=self._timeout_secs) as response:
                wanted = self._put(response.headers.get("Content-Length"))
                # read1 returns with what there is; read would wait for all of it.
                while wanted and (piece := response.read1(_PIECE_BYTES)):
                    wanted = self._put(piece)
                self._put(b"")
        except Exception as error:
            self._put(error)

    def _put(self, item: str | bytes | Exception | None) -> bool:
        """Hands on what has come; returns whether it is still waited for."""
        while not self._over.is_set():
            with contextlib.suppress(queue.Full):
                self._items.put(item, timeout=0.1)
                return True
        return False

    def _opener(self) -> urllib.request.OpenerDirector:
        """Opens http and https, through the proxies of the environment, and nothing else."""
        opener = urllib.request.OpenerDirector()
        found = urllib.request.getproxies()
        for handler in (
            urllib.request.ProxyHandler({s: found[s] for s in ("http", "https") if s in found}),
            urllib.request.UnknownHandler(),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPRedirectHandler(),
            urllib.request.HTTPErrorProcessor(),
            _Handler(self._connected),
        ):
            opener.add_handler(handler)
        return opener

    def _connected(self, connected: socket.socket) -> None:
        """Keeps a handle of the connection, by which it can be ended from outside."""
        before, self._socket = self._socket, socket.socket(fileno=os.dup(connected.fileno()))
        if before:  # A redirect has led on.
            before.close()


class _Handler(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    """Opens http and https, and tells of each connection."""

    def __init__(self, connected: Callable[[socket.socket], None]) -> None:
        super().__init__()
        self._connected = connected

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(functools.partial(_Connection, self._connected), request)

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(functools.partial(_TlsConnection, self._connected), request)


class _Telling:
    """What makes a connection tell of its socket as soon as it has one."""

    def __init__(
        self, connected: Callable[[socket.socket], None], *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._tell = connected

    def connect(self) -> None:
        super().connect()
        self._tell(self.sock)


class _Connection(_Telling, http.client.HTTPConnection):
    pass


class _TlsConnection(_Telling, http.client.HTTPSConnection):
    pass


def _content_problem(file: BinaryIO, dataset: Dataset, role: str) -> str | None:
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
        return f"its gzip data is broken ({_first_line(error)})"
    if size > limit:
        return f"it holds more than the {limit} bytes it can have"
    if digest != expected:
        return f"its SHA-256 is {digest[:16]}..., expected {expected[:16]}..."
    return None


def _sha256(content: BinaryIO, limit: int) -> tuple[str, int]:
    """Digest and size of `content`, read to little past `limit` at most: it may be endless."""
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
    """Turns what the local filesystem refuses into a DownloadError: no other mirror would help."""
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


class _Progress:
    """Says how a download goes: often on a live line, seldom on plain lines."""

    def __init__(
        self,
        report: Callable[[str], None],
        live: Callable[[str], None] | None,
        clock: Callable[[], float],
    ) -> None:
        self._report, self._live, self._clock = report, live, clock
        self._label, self._total, self._began, self._said = "", None, 0.0, 0.0

    def say(self, line: str) -> None:
        """Reports a line of its own."""
        if self._live:
            self._live("")
        self._report(line)

    def start(self, url: str, total: int | None) -> float:
        """A download begins; returns the time."""
        self._label, self._total = f"{url.rpartition('/')[2]} from {_host(url)}", total
        self._began = self._said = self._clock()
        if not self._live:
            self._report(f"downloading {self._label}")
        return self._began

    def update(self, received: int) -> float:
        """So many bytes are there; returns the time."""
        now = self._clock()
        if now - self._said >= (_LIVE_SECS if self._live else _PLAIN_SECS):
            self._said = now
            line = f"downloading {self._label}: {self._describe(received, now)}"
            (self._live or self._report)(line)
        return now

    def finish(self, received: int) -> None:
        """All bytes are there."""
        self.say(f"downloaded {self._label}: {self._describe(received, self._clock())}")

    def _describe(self, received: int, now: float) -> str:
        part = f"{received / 1e6:.1f} MB"
        if self._total:
            part = (
                f"{received / 1e6:.1f} of {self._total / 1e6:.1f} MB ({received / self._total:.0%})"
            )
        return f"{part}, {received / 1e6 / max(now - self._began, 1e-3):.1f} MB/s"


def _host(url: str) -> str:
    # Not urlsplit, which fails on what is no URL; and a password in it is not for the log.
    return url.partition("//")[2].partition("/")[0].rpartition("@")[2] or url


def _first_line(reason: object) -> str:
    return str(reason).strip().partition("\n")[0].strip() or type(reason).__name__
