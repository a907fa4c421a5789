"""Says what a folder holds that is not a prepared dataset, and which command reads it."""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
from collections.abc import Callable, Iterator

from mnist_estimator.compat import tf
from mnist_estimator.data import known_datasets
from mnist_estimator.data.manifest import MANIFEST, is_shard_name, prepare_command
from mnist_estimator.runtime import files

_DEPTH = 4  # Folders below one another, as in MNIST/raw or mnist/3.0.1.
_MOST = 5000  # Names that are looked at; a folder of pictures may have millions.
_SHOWN = 3
# Files that lie in any folder, and the status of a run whose model_dir is the data_dir.
_NEUTRAL = re.compile(
    r"(readme|license|licence|copying|citation|changelog)([._-].*)?|.*\.md|lost\+found|"
    r"status\.json|desktop\.ini|thumbs\.db",
    re.IGNORECASE,
)
_PICTURES = ("png", "jpg", "jpeg", "bmp", "gif", "tif", "tiff", "webp", "pgm", "ppm")


@dataclasses.dataclass(frozen=True)
class Contents:
    """Files that are no dataset.

    Attributes:
      found: what they are, for an error line.
      advice: the command that reads them, or what else to do.
      is_data: whether they may be meant as examples.
    """

    found: str
    advice: str
    is_data: bool


def look(folder: str) -> Contents | None:
    """What `folder` holds beside hidden files, a README and the like; None if nothing.

    A path to a file is looked at like a folder that holds it.

    Raises:
      InputError: if it cannot be read.
    """
    with files.file_errors(folder):
        if tf.io.gfile.exists(folder) and not tf.io.gfile.isdir(folder):
            names, root = [os.path.basename(folder)], os.path.dirname(folder)
        else:
            names, root = list(_files(folder)), folder
    for find in _KINDS:
        contents = find(root, names)
        if contents:
            return contents
    return Contents(_list(names), _NO_COMMAND, False) if names else None


def quoted(path: str) -> str:
    """A path as it may stand in a command, on one line."""
    return shlex.quote(path if path.isprintable() else ascii(path)[1:-1])


def _files(folder: str) -> Iterator[str]:
    """Yields the paths of the files below a folder, relative to it, and of the deepest folders."""
    if not tf.io.gfile.isdir(folder):
        return
    folders, seen = [("", _DEPTH)], 0
    for under, left in folders:
        for name in sorted(tf.io.gfile.listdir(os.path.join(folder, under))):
            seen += 1
            if seen > _MOST:
                return
            path = os.path.join(under, name.rstrip("/"))
            if name.startswith(".") or _NEUTRAL.fullmatch(name) or is_shard_name(path):
                continue
            # To ask an object store takes time, and a name mostly tells.
            is_file = re.search(r"\.[A-Za-z]\w*(-\d+-of-\d+)?$", name)
            if is_file or left == 1 or not tf.io.gfile.isdir(os.path.join(folder, path)):
                yield path
            else:
                folders.append((path, left - 1))


def _run(folder: str, names: list[str]) -> Contents | None:
    there = [name for name in names if name in ("run.json", "checkpoint", "evaluations.json")]
    there += [name for name in names if os.path.basename(name).startswith("events.out.tfevents")]
    if not there:
        return None
    return Contents(
        f"a run ({there[0]})", "that is a --model_dir; give the folder of the data", True
    )


def _dataset_below(folder: str, names: list[str]) -> Contents | None:
    below = [name for name in names if os.path.basename(name) == MANIFEST]
    if not below:
        return None
    where = os.path.join(folder, os.path.dirname(below[0]))
    return Contents(f"a prepared dataset in {_show(below[0])}", f"give {quoted(where)}", True)


def _four_files(folder: str, names: list[str]) -> Contents | None:
    for under in sorted({os.path.dirname(name) for name in names}):
        inside = [os.path.basename(name) for name in names if os.path.dirname(name) == under]
        sets = known_datasets.locate(inside).values()
        if any(len(roles) == len(known_datasets.ROLES) for roles in sets):
            where = os.path.join(folder, under).rstrip("/")
            return _readable(
                folder, [f"{under or '.'}/"], "the four IDX files", f"--source_dir={where}"
            )
    return None


def _idx(folder: str, names: list[str]) -> Contents | None:
    there = [
        name for name in names if re.search(r"idx|ubyte", os.path.basename(name), re.IGNORECASE)
    ]
    if not there:
        return None
    roles = {role: _only(there, *role.split("_")) or "FILE" for role in known_datasets.ROLES}
    flags = [
        f"--{role}={os.path.join(folder, name) if name != 'FILE' else name}"
        for role, name in roles.items()
    ]
    return _readable(folder, there, "IDX files of other names", *flags)


def _csv(folder: str, names: list[str]) -> Contents | None:
    there = _ending(names, "csv", "csv.gz", "tsv", "tsv.gz")
    if len(there) <= len(_ending(names, *_PICTURES)):  # They are lists of the pictures.
        return None
    train = _only(there, "train", "") or there[0]
    test = _only([name for name in there if name != train], "test", "")
    flags = [f"--train_csv={os.path.join(folder, train)}"]
    if test:
        flags.append(f"--test_csv={os.path.join(folder, test)}")
    return _readable(folder, there, "CSV files", *flags)


def _parquet(folder: str, names: list[str]) -> Contents | None:
    there = _ending(names, "parquet")
    if not there:
        return None
    train = _only(there, "train", "") or there[0]
    test = _only([name for name in there if name != train], "test", "")
    flags = [f"--train_parquet={os.path.join(folder, train)}"]
    if test:
        flags.append(f"--test_parquet={os.path.join(folder, test)}")
    return _readable(folder, there, "Parquet files", *flags)


def _npz(folder: str, names: list[str]) -> Contents | None:
    there = _ending(names, "npz")
    if not there:
        return None
    flags = f"--npz={os.path.join(folder, there[0])}"
    return _readable(folder, there, "NumPy archives", flags)


def _pictures(folder: str, names: list[str]) -> Contents | None:
    there = _ending(names, *_PICTURES)
    if not there:
        return None
    return _readable(folder, there, "pictures", f"--image_folder={folder}")


def _others(folder: str, names: list[str]) -> Contents | None:
    for what, pattern in _OTHERS.items():
        there = [name for name in names if re.search(pattern, name, re.IGNORECASE)]
        if there:
            return Contents(f"{what} ({_list(there)})", _NO_COMMAND, True)
    return None


_OTHERS = {
    "TFRecords of another program": r"\.tfrecords?(-\d+-of-\d+)?(\.gz)?$",
    "Arrow files": r"\.(arrow|feather)$",
    "NumPy arrays": r"\.npy$",
    "PyTorch tensors": r"\.(pt|pth)$",
    "HDF5 files": r"\.(h5|hdf5)$",
    "MATLAB files": r"\.mat$",
    "ARFF files": r"\.arff(\.gz)?$",
    "pickles": r"\.(pkl|pickle|p)(\.gz)?$|data_batch_\d|_py3k|\.pkz$",
    "archives": r"\.(zip|tar|tgz|rar|7z|tar\.(gz|bz2|xz))$",
    "compressed files": r"\.(gz|bz2|xz|zst)$",
    "binary files": r"\.(bin|dat|raw)$",
    "tables": r"\.(xlsx?|ods|jsonl|ndjson|db|sqlite)$",
}
_NO_COMMAND = (
    "give an empty or a new folder, or prepare your own data with python -m "
    "mnist_estimator.prepare, which reads IDX, CSV, Parquet and NumPy files and folders of pictures"
)
_KINDS: tuple[Callable[[str, list[str]], Contents | None], ...] = (
    _run,
    _dataset_below,
    _four_files,
    _idx,
    _csv,
    _parquet,
    _npz,
    _pictures,
    _others,
)


def _readable(folder: str, there: list[str], what: str, *flags: str) -> Contents:
    beside = f"{folder.rstrip('/') or 'data'}-prepared"
    advice = f"read them with {prepare_command(beside, *flags)}, and give that --data_dir"
    return Contents(f"{what} ({_list(there)})", advice, True)


def _ending(names: list[str], *endings: str) -> list[str]:
    return [name for name in names if name.lower().endswith(tuple(f".{end}" for end in endings))]


def _only(names: list[str], part: str, what: str) -> str:
    """The first name with both words in it; MNIST's own for test is t10k."""
    words = ("test", "t10k") if part == "test" else (part,)
    for name in names:
        base = os.path.basename(name).lower()
        if what in base and any(word in base for word in words):
            return name
    return ""


def _list(names: list[str]) -> str:
    shown = ", ".join(map(_show, names[:_SHOWN]))
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown


def _show(name: str) -> str:
    text = name if name.isprintable() else ascii(name)[1:-1]
    return text if len(text) <= 80 else f"{text[:77]}..."
