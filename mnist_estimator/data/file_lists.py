"""The files that a flag's value names: one file, a list, a pattern, or a folder of parts.

Spark, BigQuery and Hadoop write a table as many files, in a folder that also holds files for their
own use. Names are listed and compared here, on any filesystem: no path is handed to TensorFlow's
own matching of patterns.
"""

from __future__ import annotations

import concurrent.futures
import errno
import fnmatch
import itertools
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mnist_estimator import InputError
from mnist_estimator.compat import tf
from mnist_estimator.data.splits import TEST_WORDS, TRAIN_WORDS
from mnist_estimator.runtime import files, flag_fields
from mnist_estimator.runtime.progress import warn

FILE, FOLDER, NOTHING = "file", "folder", ""

_MOST_FILES = 100_000
_MOST_NAMES = 1_000_000  # That one value may have listed.
_MOST_COMMAS = 4  # In a name within a list.
_COMMA = re.compile(r",(?![^\[\]]{0,40}\])")  # None between brackets, as in [0,1].
_ASKED_AT_ONCE = 16  # An object store takes its time to say what a name is.
# What programs lay beside the data for their own use; Hadoop hides all names of this kind.
_MARKERS = re.compile(
    r"_(SUCCESS|temporary|(common_)?metadata|(committed|started)_.*|delta_log|spark_metadata)"
    r"|.*_\$folder\$|thumbs\.db|desktop\.ini",
    re.IGNORECASE,
)
_COPYING = "._COPYING_"  # How a name ends while Hadoop copies the file.


def expand(flag: str, value: str, *, folders: bool = False) -> list[str]:
    """Returns the paths of the files that a flag's value names, in order.

    A name that exists is taken literally, whatever characters it has. Else a value is a list with
    commas, and a name in it a pattern if it has *, ? or [...], in any part of its path. What a
    pattern or a folder gives comes in the order of the names, numbers as numbers. Hidden names,
    with a dot or an underscore in front, are left out.

    Args:
      flag: its name, for errors.
      folders: whether a folder stands for the files in it.

    Raises:
      InputError: if a name in a list does not exist, a pattern matches nothing, a file is named
        twice, or a folder cannot be read, or a pattern or a folder gives the files of several
        splits.
    """
    if not folders and "," not in value and not _is_pattern(value):
        return [value]
    whole = NOTHING if _is_list_of_urls(value) else _kind(value)
    items = [value] if whole else list(_items(value))
    if len(items) == 1 and not whole and not _is_pattern(value):
        return [value]  # Whoever opens it says that it is missing.
    found = [path for item in items for path in _named(flag, item, folders, alone=len(items) == 1)]
    if len(found) > _MOST_FILES:
        raise InputError(f"--{flag}: {len(found):,} files, expected at most {_MOST_FILES:,}")
    _check_twice(flag, found)
    return found


def of_flags(
    values: Mapping[str, Any], names: Sequence[str], *, folders: bool = False
) -> dict[str, list[str]]:
    """Returns the files that flags name, as `expand` does: flag -> paths, of those that are given.

    Args:
      names: flags for training files, and then as many for the test files of the same kind.
    """
    found = {name: expand(name, values[name], folders=folders) for name in names if values[name]}
    half = len(names) // 2
    for train, test in zip(names[:half], names[half:], strict=True):
        if test in found:
            _check_apart(found[train], found[test])
    return found


def _check_apart(train: Sequence[str], test: Sequence[str]) -> None:
    """Raises InputError if one of several files is among the training and the test files."""
    if len(train) == len(test) == 1:
        return  # The dataset's own check warns of it.
    known = dict(zip(_identities(train), train, strict=True))
    for path, identity in zip(test, _identities(test), strict=True):
        if identity in known:
            raise InputError(
                f"{path}: found among the training and among the test files; leave it out of one"
            )


def natural_order(path: str) -> tuple[list[list[str | int]], str]:
    """A key to sort paths by, folder by folder: numbers in names as numbers, so 2 before 10."""
    return [_pieces(name) for name in path.split("/")], path


def _pieces(name: str) -> list[str | int]:
    pieces: list[str | int] = list(re.split("([0-9]+)", name))
    pieces[1::2] = map(int, pieces[1::2])
    return pieces


def _is_list_of_urls(value: str) -> bool:
    return bool(re.search(r",\s*\w+://", value))


def _items(value: str) -> Iterator[str]:
    """The names of a list. One with commas in it is known by that it exists."""
    pieces = _COMMA.split(value)
    while pieces:
        most = min(_MOST_COMMAS, len(pieces)) if len(pieces) > 1 else 1
        for count in range(1, most + 1):
            item = ",".join(pieces[:count])
            if most > 1 and not _is_list_of_urls(item) and _kind(item):
                break
        else:
            count, item = 1, pieces[0]
        yield item
        pieces = pieces[count:]


def _named(flag: str, item: str, folders: bool, *, alone: bool) -> list[str]:
    """The files that one name of a value stands for."""
    kind = _kind(item)
    if not kind:
        item = _as_path(flag, item)
        kind = _kind(item)
    if kind == FOLDER and folders:
        return _of_one_split(item, _parts(item))
    if kind:
        return [item]
    if not item:
        raise InputError(f"--{flag}: found an empty name in the list; remove a comma")
    if not _is_pattern(item):
        raise InputError(f"--{flag}: found no {item}, a name in its list")
    found = sorted(_matching(item), key=natural_order)
    if not found:
        hint = "" if alone else ", a name in its list"
        raise InputError(f"--{flag}: nothing matches {item}{hint}")
    kinds = _kinds(found)
    nested = [_parts(path) if kind == FOLDER and folders else [path] for path, kind in kinds]
    return _of_one_split(item, [path for paths in nested for path in paths])


def _of_one_split(item: str, paths: list[str]) -> list[str]:
    """Returns the paths; raises InputError if they are called as training and as test files are."""
    split = [path.split("/") for path in paths]
    alike = itertools.takewhile(lambda parts: len({*parts}) == 1, zip(*split, strict=False))
    shared = min(len([*alike]), min(map(len, split)) - 1)
    names = ["/".join(each[shared:]) for each in split]  # With the folders that tell them apart.
    train, test = (
        next((name for name in names if set(words) & _words_of_split(name)), "")
        for words in (TRAIN_WORDS, TEST_WORDS)
    )
    if train and test:
        raise InputError(
            f"{item}: holds {train} and {test}, expected the files of one split; give a pattern "
            "that names them, or a list"
        )
    return paths


def _words_of_split(name: str) -> set[str]:
    """The words for a split in the name of a file, or of the deepest folder that has some."""
    for part in reversed(name.lower().split("/")):
        words = {*re.split("[^a-z]+", part), *re.split("[^a-z0-9]+", part)}
        if found := words & {*TRAIN_WORDS, *TEST_WORDS}:
            return found
    return set()


def _as_path(flag: str, item: str) -> str:
    """A name within a list, as the whole value of a flag is read."""
    try:
        return flag_fields.as_path(item.strip())
    except ValueError as error:
        raise InputError(f"--{flag}: {item}: {error}") from None


def _is_pattern(path: str) -> bool:
    return bool(set(path) & set("*?["))


def _parts(folder: str) -> list[str]:
    """The files of a folder that one program has written, in order.

    Raises:
      InputError: if it holds none, or folders, or a file that is still being copied.
    """
    names = _names(folder)
    _warn_of_unfinished(folder, names)
    paths = [_join(folder, name) for name in _visible(folder, names)]
    paths.sort(key=natural_order)
    for path, kind in _kinds(paths):
        if kind == FOLDER:
            raise InputError(
                f"{folder}: found a folder in it, {os.path.basename(path)}, expected only files; "
                f"give a pattern, such as {_join(folder, '*/part-*')}"
            )
    if not paths:
        raise InputError(f"{folder}: a folder without files, expected those of a table")
    return paths


def _warn_of_unfinished(folder: str, names: Sequence[str]) -> None:
    """Says if the files that Spark lays beside its data say that its work is not done."""
    ended = {name.removeprefix("_committed_") for name in names if name.startswith("_committed_")}
    for name in names:
        begun = name.startswith("_started_") and name.removeprefix("_started_") not in ended
        if begun or name == "_temporary":
            warn(f"{folder}: holds {name}, so the program that writes it may not be done")
            return


def _visible(folder: str, names: Sequence[str], pattern: str = "") -> list[str]:
    """The names that are data; of those with an underscore that no program is known for, a word."""
    found, doubtful = [], []
    for name in names:
        hidden = name.startswith((".", "_")) and not pattern.startswith(name[0])
        if hidden or _MARKERS.fullmatch(name):
            doubtful += [] if name.startswith(".") or _MARKERS.fullmatch(name) else [name]
        elif name.endswith(_COPYING):
            raise InputError(f"{_join(folder, name)}: is still being copied; wait, or remove it")
        else:
            found.append(name)
    if doubtful:
        warn(
            f"{folder}: {len(doubtful)} hidden files left out, such as {doubtful[0]}; rename them, "
            "or give a list, if they are data"
        )
    return found


def _matching(pattern: str) -> list[str]:
    """The paths that match, in no order. A part of the path that exists is taken literally."""
    if "**" in pattern:
        raise InputError(f"{pattern}: found **, expected a * for each folder, as in */*.csv")
    top, parts = _split(pattern)
    places, listed = [top], 0
    for depth, part in enumerate(parts):
        found = []
        for place in places:
            path = _join(place, part)
            inside = depth + 1 < len(parts)
            if (inside and not _is_pattern(part)) or _kind(path):
                found.append(path)
                continue
            if not _is_pattern(part):
                continue
            names = _names(place)
            listed += len(names)
            if max(listed, len(found)) > _MOST_NAMES:
                raise InputError(f"{pattern}: more than {_MOST_NAMES:,} names to look at")
            same = [name for name in names if fnmatch.fnmatchcase(name, part)]
            found += [_join(place, name) for name in _visible(place, same, part)]
        places = found
    return places


def _split(path: str) -> tuple[str, list[str]]:
    """What is no pattern in front (a filesystem and its bucket, or a root), and the parts."""
    scheme, colons, rest = path.rpartition("://")
    if colons:
        authority, _, rest = rest.partition("/")
        return f"{scheme}://{authority}/", [part for part in rest.split("/") if part]
    return "/" if path.startswith("/") else "", [part for part in path.split("/") if part]


def _join(folder: str, name: str) -> str:
    return os.path.join(folder, name) if folder else name


def _names(folder: str) -> list[str]:
    """The names in a folder; none if it is no folder.

    Raises:
      InputError: if it cannot be read.
    """
    with files.file_errors(folder):
        try:
            if files.is_local(folder):
                return os.listdir(folder or ".")
            return [name.rstrip("/") for name in tf.io.gfile.listdir(folder) if name.strip("/")]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except (tf.errors.NotFoundError, tf.errors.FailedPreconditionError):
            return []


def _kinds(paths: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yields each path and what it is."""
    if all(map(files.is_local, paths)):
        yield from ((path, _kind(path)) for path in paths)
        return
    with concurrent.futures.ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
        yield from zip(paths, pool.map(_kind, paths), strict=True)


def _kind(path: str) -> str:
    """FILE, FOLDER or NOTHING; FILE too where that cannot be told: opening it will say why."""
    if not files.is_local(path):
        with files.file_errors(path):
            if tf.io.gfile.isdir(path):
                return FOLDER
            return FILE if tf.io.gfile.exists(path) else NOTHING
    try:
        return FOLDER if stat.S_ISDIR(os.stat(path).st_mode) else FILE
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return NOTHING
    except OSError as error:
        # A list of hundreds of names is too long for the name of a file.
        return NOTHING if error.errno == errno.ENAMETOOLONG else FILE


def _check_twice(flag: str, paths: Sequence[str]) -> None:
    if len(paths) < 2:
        return
    seen: dict[object, int] = {}
    for place, identity in enumerate(_identities(paths)):
        first, path = paths[seen.setdefault(identity, place)], paths[place]
        if seen[identity] != place:
            named = f"{path} twice" if first == path else f"{first} and {path}, which are one file"
            raise InputError(f"--{flag}: found {named}; name it once")


def _identities(paths: Sequence[str]) -> Iterator[object]:
    """What is the same for two names of one file, links included."""
    for path in paths:
        try:
            found = os.stat(path) if files.is_local(path) else None
        except (OSError, ValueError):
            found = None
        yield (found.st_dev, found.st_ino) if found else path
