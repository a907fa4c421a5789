"""Files and folders in a store that knows only keys."""

import fnmatch
from collections.abc import Iterator
from typing import Any, NamedTuple

from mnist_estimator.storage import _paths, _stores

# An empty folder is an object of this name and size 0 in it, as git and others keep one; listings
# leave it out. (Of "folder/", the other custom, the client cannot write the last "/".)
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
    if location.key:
        found = head(location)
        if found is not None:
            return Statistics(found["size"], _nanoseconds(found["last_modified"]), False)
    if is_folder(location):
        return Statistics(0, 0, True)
    raise _missing(location)


def exists(location: _paths.Location) -> None:
    """Raise FileNotFoundError where there is neither a file nor a folder."""
    stat(location)


def check_folder(location: _paths.Location) -> None:
    """Raise NotADirectoryError for a file, FileNotFoundError where there is nothing."""
    if not stat(location).is_folder:
        raise NotADirectoryError(f"{location} is a file, not a folder")


def head(location: _paths.Location) -> Any:
    """Return obstore's description of an object, or None where there is no object."""
    import obstore

    try:
        return obstore.head(_stores.of(location), location.key)
    except FileNotFoundError:
        return None


def is_folder(location: _paths.Location) -> bool:
    """Say whether a key begins with this folder's; a bucket is always a folder."""
    import obstore

    if not location.key:
        return True
    stream = obstore.list(_stores.of(location), prefix=location.prefix, chunk_size=1)
    return any(_inside(location, found) for chunk in stream for found in chunk)


def children(location: _paths.Location) -> list[str]:
    """Return the names in a folder, sorted, without the marker of an empty one.

    Raises:
      FileNotFoundError: there is no such folder.
      NotADirectoryError: it is a file.
    """
    files, folders, marked = _level(location)
    if not files and not folders and not marked and location.key:
        check_folder(location)
    return sorted({*files, *folders})


def matching(location: _paths.Location) -> list[_paths.Location]:
    """Return what a pattern matches: *, ? and [...] within one part of a key, sorted."""
    found = [location._replace(key="")]
    parts = location.key.split("/")
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        found = [match for folder in found for match in _matching_in(folder, part, last)]
    return sorted(found)


def _matching_in(folder: _paths.Location, part: str, last: bool) -> list[_paths.Location]:
    if not any(mark in part for mark in "*?[\\"):
        place = folder.below(part)
        return [place] if not last or _there(place) else []
    files, folders, _ = _level(folder)
    names = {*files, *folders} if last else set(folders)
    return [folder.below(name) for name in names if fnmatch.fnmatchcase(name, part)]


def _there(location: _paths.Location) -> bool:
    try:
        exists(location)
    except FileNotFoundError:
        return False
    return True


def _level(location: _paths.Location) -> tuple[list[str], list[str], bool]:
    """Names of the files and folders just below a folder, and whether it has a marker."""
    import obstore

    found = obstore.list_with_delimiter(_stores.of(location), location.prefix)
    start = len(location.prefix or "")
    folders = [key.rstrip("/")[start:] for key in found["common_prefixes"]]
    objects = [entry for entry in found["objects"] if _inside(location, entry)]
    files = [entry["path"][start:] for entry in objects if not _is_marker(entry)]
    return files, [name for name in folders if name], len(files) < len(objects)


def create_folder(location: _paths.Location) -> None:
    """Make a folder.

    Raises:
      FileExistsError: there is one, or a file of that name.
    """
    if not location.key:
        raise FileExistsError(f"{location} is there already")
    try:
        exists(location)
    except FileNotFoundError:
        put_marker(location)
    else:
        raise FileExistsError(f"{location} is there already")


def create_folders(location: _paths.Location) -> None:
    """Make a folder if it is not there. What is above it needs no object of its own.

    Raises:
      NotADirectoryError: there is a file of that name.
    """
    try:
        create_folder(location)
    except FileExistsError:
        check_folder(location)


def put_marker(location: _paths.Location) -> None:
    """Write the object that keeps an empty folder."""
    import obstore

    obstore.put(_stores.of(location), location.below(MARKER).key, b"")


def delete_file(location: _paths.Location) -> None:
    """Delete a file.

    Raises:
      FileNotFoundError: there is none.
      IsADirectoryError: it is a folder.
    """
    import obstore

    if stat(location).is_folder:
        raise IsADirectoryError(f"{location} is a folder, not a file")
    obstore.delete(_stores.of(location), location.key)


def delete_folder(location: _paths.Location) -> None:
    """Delete an empty folder.

    Raises:
      OSError: it is not empty.
    """
    import obstore

    check_folder(location)
    if children(location):
        raise IsADirectoryError(f"{location} is not empty")
    if location.key:
        obstore.delete(_stores.of(location), location.below(MARKER).key)


def delete_all(location: _paths.Location) -> None:
    """Delete a folder and all below it."""
    import obstore

    check_folder(location)
    for keys in keys_below(location):
        obstore.delete(_stores.of(location), keys)


def keys_below(location: _paths.Location) -> Iterator[list[str]]:
    """Yield the keys of a folder in lists of at most 1000, markers included."""
    import obstore

    stream = obstore.list(_stores.of(location), prefix=location.prefix, chunk_size=1000)
    for chunk in stream:
        yield [entry["path"] for entry in chunk if _inside(location, entry)]


def copy(source: _paths.Location, target: _paths.Location) -> None:
    """Copy a file."""
    import obstore

    if stat(source).is_folder:
        raise IsADirectoryError(f"{source} is a folder, not a file")
    if source == target:
        return
    if source[:2] == target[:2]:
        obstore.copy(_stores.of(source), source.key, target.key)
        return
    content = obstore.get(_stores.of(source), source.key)
    obstore.put(_stores.of(target), target.key, content)


def rename(source: _paths.Location, target: _paths.Location) -> None:
    """Rename a file, or a folder: each object below it, one after another."""
    import obstore

    if not stat(source).is_folder:
        if source != target:
            copy(source, target)
            obstore.delete(_stores.of(source), source.key)
        return
    keys = [key for chunk in keys_below(source) for key in chunk]
    for key in keys:
        copy(source._replace(key=key), target.below(key[len(source.prefix or "") :]))
    obstore.delete(_stores.of(source), keys)


def _inside(location: _paths.Location, entry: Any) -> bool:
    return entry["path"].startswith(location.prefix or "")


def _is_marker(entry: Any) -> bool:
    return entry["size"] == 0 and entry["path"].rpartition("/")[2] == MARKER


def _nanoseconds(moment: Any) -> int:
    return int(moment.timestamp() * 1e9)


def _missing(location: _paths.Location) -> FileNotFoundError:
    return FileNotFoundError(f"{location} does not exist")
