"""Copies and renames: of files within a store and between stores, of folders object by object."""

import functools

from mnist_estimator.storage import _filesystem, _objects, _paths, _pool, _reading

_READ_BYTES = 8 << 20
# Copies in progress at a time are few; this many are known to be done before the next begin.
_BATCH = 256


def copy(source: _paths.Location, target: _paths.Location) -> None:
    """Copy a file over another or to a new name.

    Raises:
      FileNotFoundError: the source is not there.
      IsADirectoryError: the source or the target is a folder.
    """
    _objects.check_writable(target)
    _filesystem.check_file(source)
    _check_no_folder(target)
    if source != target:
        _copy_object(source, target)


def rename(source: _paths.Location, target: _paths.Location) -> None:
    """Rename a file or a folder. A folder moves object by object: see `_rename_folder`.

    Raises:
      FileNotFoundError: the source is not there.
      FileExistsError: the target is a folder that is not empty.
      IsADirectoryError, NotADirectoryError: one is a file and the other a folder.
      PathError: a folder would move into itself.
    """
    _objects.check_writable(source)
    _objects.check_writable(target)
    is_folder = _filesystem.stat(source).is_folder
    if source == target:
        return
    if is_folder:
        _rename_folder(source, target)
        return
    _check_no_folder(target)
    _copy_object(source, target)
    _objects.delete(source, [source.key])


def _check_no_folder(target: _paths.Location) -> None:
    if _objects.head(target) is None and _filesystem.is_folder(target):
        raise IsADirectoryError(f"{target} is a folder, not a file")


def _rename_folder(source: _paths.Location, target: _paths.Location) -> None:
    """Copy all objects, then delete the old ones.

    What makes the others visible to a reader (see `_filesystem.SEALS`) is copied last and deleted
    first: there is no moment at which a half of the folder looks whole. Where this is cut off, the
    old folder is whole until all are copied.
    """
    if not source.key:
        raise _paths.PathError(f"{source} is a bucket, which cannot be renamed")
    if source.shares_store(target) and source.holds(target.key):
        raise _paths.PathError(f"{source} cannot become a folder in itself: {target}")
    _check_can_become_folder(target)
    keys = [key for page in _objects.listed(source) for key in _objects.keys_of(page)]
    keys = [key for key in keys if source.holds(key)]
    seals = sorted(filter(_filesystem.is_seal, keys), key=lambda key: (-key.count("/"), key))
    others = [key for key in keys if not _filesystem.is_seal(key)]
    copy_key = functools.partial(_copy_below, source, target)
    for start in range(0, len(others), _BATCH):
        _pool.each(copy_key, others[start : start + _BATCH])
    for key in seals:
        copy_key(key)
    _objects.delete(source, seals)
    _objects.delete(source, others)
    if _objects.anything(source):
        raise FileExistsError(
            f"all of {source} is in {target} now, but new objects are in the old folder, or "
            "those with which another tool marks one"
        )


def _copy_below(source: _paths.Location, target: _paths.Location, key: str) -> None:
    old, new = source._replace(key=key), target.below(key[len(source.prefix) :])
    try:
        _copy_object(old, new)
    except FileNotFoundError:
        # An object "folder/" of another tool, which the client calls "folder".
        if not _filesystem.is_folder(old):
            raise
        _filesystem.put_marker(new)


def _check_can_become_folder(target: _paths.Location) -> None:
    if _objects.head(target) is not None:
        raise NotADirectoryError(f"{target} is a file, not a folder")
    if not target.key or (_filesystem.is_folder(target) and _filesystem.children(target)):
        raise FileExistsError(f"{target} is not empty")


def _copy_object(source: _paths.Location, target: _paths.Location) -> None:
    if source.shares_store(target):
        found = _objects.head(source)
        if found is None:
            raise FileNotFoundError(f"{source} does not exist")
        if found["size"] <= _objects.COPY_LIMIT_BYTES:
            _objects.copy_within(source, target)
            return
    _read_and_write(source, target)


def _read_and_write(source: _paths.Location, target: _paths.Location) -> None:
    """Copy by way of this machine, in parts."""
    before = _objects.head(target)
    reader = _reading.Reader(source)
    try:
        first = reader.read_bytes(0, _objects.PART_BYTES)
        if reader.size <= _objects.PART_BYTES:
            _objects.put(target, first)
            return
        upload = _objects.upload(target, first)
        try:
            for position in range(len(first), reader.size, _READ_BYTES):
                upload.write(reader.read_bytes(position, _READ_BYTES))
        except BaseException:
            _objects.abort_quietly(upload)
            raise
        _objects.finish(upload, target, reader.size, before and before["e_tag"])
    finally:
        reader.close()
