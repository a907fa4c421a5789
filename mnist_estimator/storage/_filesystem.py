"""Files and folders in a store that knows only keys."""

import ctypes
import functools
from typing import Any, NamedTuple

from mnist_estimator.storage import _objects, _paths, _pool, _stores

# A folder that was made is an object of this name and size 0 in it, as git and others keep an empty
# one; listings leave it out. Of the other custom, an object "folder/", the client cannot write the
# last "/".
MARKER = ".keep"


class Statistics(NamedTuple):
    """What TensorFlow asks of a path: size in bytes, time of change in ns, folder or not."""

    size: int
    mtime_ns: int
    is_folder: bool


def stat(location: _paths.Location) -> Statistics:
    """Describe a file or a folder.

    Raises:
      FileNotFoundError: there is neither.
    """
    found = _objects.head(location)
    if found is not None:
        # In whole microseconds: a float of seconds has no more digits.
        changed = round(found["last_modified"].timestamp() * 1e6) * 1000
        return Statistics(found["size"], changed, False)
    if is_folder(location):
        return Statistics(0, 0, True)
    raise FileNotFoundError(f"{location} does not exist")


def exists(location: _paths.Location) -> bool:
    """Say whether there is a file or a folder."""
    return _objects.head(location) is not None or is_folder(location)


def is_folder(location: _paths.Location) -> bool:
    """Say whether a key begins with this folder's; a bucket is always a folder."""
    if location.scheme in _paths.READ_ONLY:
        return False
    return not location.key or _objects.anything(location)


def check_exists(location: _paths.Location) -> None:
    """Raise FileNotFoundError where there is neither a file nor a folder."""
    if not exists(location):
        raise FileNotFoundError(f"{location} does not exist")


def check_folder(location: _paths.Location) -> None:
    """Raise NotADirectoryError for a file, FileNotFoundError where there is nothing."""
    if not stat(location).is_folder:
        raise NotADirectoryError(f"{location} is a file, not a folder")


def check_file(location: _paths.Location) -> None:
    """Raise IsADirectoryError for a folder, FileNotFoundError where there is nothing."""
    if stat(location).is_folder:
        raise IsADirectoryError(f"{location} is a folder, not a file")


def children(location: _paths.Location) -> list[str]:
    """Return the names in a folder, sorted, without the marker of an empty one.

    Raises:
      FileNotFoundError: there is no such folder.
      NotADirectoryError: it is a file.
    """
    files, folders, marked = _level(location)
    if not files and not folders and not marked:
        check_folder(location)
    return sorted(files | folders)


def _level(location: _paths.Location) -> tuple[set[str], set[str], bool]:
    """Names of the files and of the folders in a folder, and whether it has a marker."""
    folders, objects = _objects.level(location)
    start = len(location.prefix)
    files = {entry["path"][start:] for entry in objects if not is_marker(entry)}
    if folders and _stores.may_list_deleted_folders(location):
        places = [location.below(name) for name in folders]
        there = _pool.each(_objects.anything, places)
        folders = [name for name, is_there in zip(folders, there, strict=True) if is_there]
    return files, set(folders), len(files) < len(objects)


def is_marker(entry: Any) -> bool:
    """Say whether an object only keeps its folder."""
    return entry["size"] == 0 and entry["path"].rpartition("/")[2] == MARKER


def matching(location: _paths.Location) -> list[_paths.Location]:
    """Return what a pattern matches, sorted: *, ? and [...] within a part of a key.

    A part without these is taken as it is, and a pattern that matches nothing is no error.
    """
    found = [location._replace(key="")]
    *above, last = location.key.split("/")
    for part in above:
        found = [match for folder in found for match in _matching_folders(folder, part)]
    if _is_pattern(last):
        return sorted(match for folder in found for match in _matching_in(folder, last))
    places = [folder.below(last) if last else folder for folder in found]
    there = _pool.each(exists, places)
    return sorted(place for place, is_there in zip(places, there, strict=True) if is_there)


def _is_pattern(part: str) -> bool:
    return any(mark in part for mark in "*?[\\")


def _matching_folders(folder: _paths.Location, part: str) -> list[_paths.Location]:
    if not _is_pattern(part):
        return [folder.below(part)]
    _, folders, _ = _level(folder)
    return [folder.below(name) for name in folders if _matches(part, name)]


def _matching_in(folder: _paths.Location, part: str) -> list[_paths.Location]:
    files, folders, _ = _level(folder)
    return [folder.below(name) for name in files | folders if _matches(part, name)]


def _matches(pattern: str, name: str) -> bool:
    return _fnmatch()(pattern.encode(errors="surrogateescape"), name.encode(), 0) == 0


@functools.cache
def _fnmatch() -> Any:
    """The function of C that TensorFlow matches names on a disk with."""
    return ctypes.CDLL(None).fnmatch


def create_folder(location: _paths.Location) -> None:
    """Make a folder.

    Raises:
      FileExistsError: there is one, or a file of that name.
    """
    _objects.check_writable(location)
    if not location.key or exists(location):
        raise FileExistsError(f"{location} is there already")
    put_marker(location)


def create_folders(location: _paths.Location) -> None:
    """Make a folder and those above it that are not there.

    Raises:
      NotADirectoryError: one of them is a file.
    """
    _objects.check_writable(location)
    new, place = [], location
    while place.key and not _objects.anything(place):
        if _objects.head(place) is not None:
            raise NotADirectoryError(f"{place} is a file, not a folder")
        new.append(place)
        place = place.above()
    for place in reversed(new):
        put_marker(place)


def put_marker(location: _paths.Location) -> None:
    """Write the object that keeps a folder."""
    _objects.put(location.below(MARKER), b"")


def delete_file(location: _paths.Location) -> None:
    """Delete a file.

    Raises:
      FileNotFoundError: there is none.
      IsADirectoryError: it is a folder.
    """
    _objects.check_writable(location)
    check_file(location)
    _objects.delete(location, [location.key])


def delete_folder(location: _paths.Location) -> None:
    """Delete an empty folder.

    Raises:
      IsADirectoryError: it is not empty.
      NotADirectoryError: it is a file.
    """
    _objects.check_writable(location)
    if children(location):
        raise IsADirectoryError(f"{location} is not empty")
    if not location.key:
        raise IsADirectoryError(f"{location} is a bucket, which is not deleted from here")
    _objects.delete(location, [location.below(MARKER).key])
    _check_gone(location)


def delete_all(location: _paths.Location) -> int:
    """Delete a folder and all in it, or a file; return how many objects are still there.

    What makes the others visible goes first, so that no half of a folder looks whole.
    """
    _objects.check_writable(location)
    if not stat(location).is_folder:
        _objects.delete(location, [location.key])
        return 0
    keys = [key for page in _objects.listed(location) for key in _objects.keys_of(page)]
    keys = [key for key in keys if location.holds(key)]
    _objects.delete(location, [key for key in keys if is_seal(key)])
    _objects.delete(location, [key for key in keys if not is_seal(key)])
    return sum(len(page) for page in _objects.listed(location)) if location.key else 0


def _check_gone(location: _paths.Location) -> None:
    if _objects.anything(location):
        raise PermissionError(
            f"{location} is an object '{location.key}/' of another tool; delete it with that tool"
        )


# What a reader of a folder looks for before all else. Its writers write it last.
SEALS = ("saved_model.pb", "saved_model.pbtxt", "manifest.json", "checkpoint", "_SUCCESS")


def is_seal(key: str) -> bool:
    """Say whether an object makes the others of its folder visible to their readers."""
    return key.rpartition("/")[2] in SEALS
