"""What is asked of a store, by location: thin over obstore, with errors that say what to do."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from mnist_estimator.storage import _errors, _paths, _retrying, _stores

# An upload goes in parts of this size while it is written, so many of them at a time. S3 takes
# 10,000 parts: 156 GiB.
PART_BYTES = 16 << 20
_PARTS_AT_ONCE = 3
# S3 copies no more at once within the store.
COPY_LIMIT_BYTES = 5 << 30
_PAGE = 1000


def head(location: _paths.Location) -> Any:
    """Return obstore's description of an object (path, size, e_tag, last_modified), or None."""
    import obstore

    if not location.key:
        return None
    try:
        return obstore.head(_stores.of(location), location.key)
    except FileNotFoundError:
        return None


def get(location: _paths.Location, start: int, end: int, e_tag: str | None = None) -> Any:
    """Ask for the bytes from `start` to before `end`, and return obstore's answer.

    Raises:
      FileNotFoundError: there is no such object.
      ChangedError: the object has another tag.
    """
    import obstore
    from obstore import exceptions

    options = {"range": (start, end)} | ({"if_match": e_tag} if e_tag else {})
    try:
        return obstore.get(_stores.of(location), location.key, options=options)
    except exceptions.PreconditionError:
        raise _errors.ChangedError(f"{location} was changed while it was read") from None


def has_no_range(error: Exception) -> bool:
    """Say whether `get` failed for its range: the object is empty, or the server knows none."""
    text = str(error)
    if type(error).__name__ == "NotSupportedError":
        return True
    return "Invalid range" in text or "status code: 416" in text


def get_all(location: _paths.Location) -> Any:
    """Ask for a whole object, and return obstore's answer."""
    import obstore

    return obstore.get(_stores.of(location), location.key)


def put(location: _paths.Location, content: Any, mode: Any = None) -> Any:
    """Write an object, and return its tag and version.

    Args:
      mode: None, or obstore's condition.

    Raises:
      FileNotFoundError: there is no such bucket.
      ReadOnlyError: the filesystem can only be read.
    """
    import obstore

    check_writable(location)
    with_mode = {} if mode is None else {"mode": mode}
    with _naming_bucket(location):
        store = _stores.of(location)
        return obstore.put(store, location.key, content, use_multipart=False, **with_mode)


def upload(location: _paths.Location, first: bytes) -> Any:
    """Start an object that is written in parts, and return obstore's file for it.

    Args:
      first: how it begins, at least PART_BYTES.
    """
    import obstore

    check_writable(location)

    def start() -> Any:
        found = obstore.open_writer(
            _stores.of(location),
            location.key,
            buffer_size=PART_BYTES,
            max_concurrency=_PARTS_AT_ONCE,
        )
        found.write(first)
        return found

    return _retrying.call(start)


def finish(upload_file: Any, location: _paths.Location, size: int, tag_before: Any) -> None:
    """End an upload: the object is there.

    Where the answer to that is lost, the object tells whether it took place.

    Args:
      size: of the object.
      tag_before: that of the object in whose place it comes, or None.
    """
    try:
        upload_file.close()
    except Exception:
        abort_quietly(upload_file)
        found = None
        with contextlib.suppress(Exception):
            found = head(location)
        if not found or found["size"] != size or found["e_tag"] == tag_before:
            raise


def abort_quietly(upload_file: Any) -> None:
    """End an upload so that nothing of it stays. The error that led here says more than its own."""
    with contextlib.suppress(Exception):
        upload_file.__exit__(InterruptedError, None, None)


def listed(location: _paths.Location) -> Iterator[list[Any]]:
    """Yield the descriptions of all objects of a folder, in lists of at most 1000."""
    import obstore

    _check_listable(location)
    last, tries, prefix = None, _retrying.Tries(), location.prefix or None
    with _naming_bucket(location):
        store = _stores.of(location)
        while True:
            try:
                for page in obstore.list(store, prefix, offset=last, chunk_size=_PAGE):
                    yield page
                    last, tries = page[-1]["path"], _retrying.Tries()
                return
            except Exception as error:
                tries.wait_or_raise(error)


def anything(location: _paths.Location) -> bool:
    """Say whether there is an object in a folder, of a tool that marks an empty one too."""
    import obstore

    _check_listable(location)
    prefix = location.prefix or None
    with _naming_bucket(location):
        store = _stores.of(location)
        return _retrying.call(lambda: any(obstore.list(store, prefix, chunk_size=1)))


def level(location: _paths.Location) -> tuple[list[str], list[Any]]:
    """Return the names of the folders in a folder, and descriptions of the objects in it."""
    import obstore

    _check_listable(location)
    with _naming_bucket(location):
        store = _stores.of(location)
        prefix = location.prefix or None
        found = _retrying.call(lambda: obstore.list_with_delimiter(store, prefix))
    start = len(location.prefix)
    folders = [key.rstrip("/")[start:] for key in found["common_prefixes"]]
    # Of an object "folder/", the client shows the name without the last "/".
    objects = [entry for entry in found["objects"] if location.holds(entry["path"])]
    return [name for name in folders if name], objects


def delete(location: _paths.Location, keys: Sequence[str]) -> None:
    """Delete objects of a location's bucket; those that are not there do not matter."""
    import obstore

    check_writable(location)
    store = _stores.of(location)
    try:
        if keys:
            _retrying.call(lambda: obstore.delete(store, list(keys)))
    except FileNotFoundError:
        # Some providers say so, and stop there.
        for key in keys:
            _delete_one(store, key)


def _delete_one(store: Any, key: str) -> None:
    import obstore

    try:
        obstore.delete(store, key)
    except FileNotFoundError:
        return


def copy_within(source: _paths.Location, target: _paths.Location) -> None:
    """Copy an object within its store, which does it by itself."""
    import obstore

    check_writable(target)
    store = _stores.of(source)
    _retrying.call(lambda: obstore.copy(store, source.key, target.key))


def check_writable(location: _paths.Location) -> None:
    """Raise ReadOnlyError for a URL."""
    if location.scheme in _paths.READ_ONLY:
        raise _errors.ReadOnlyError(f"{location}: {location.scheme}:// can only be read")


def _check_listable(location: _paths.Location) -> None:
    if location.scheme in _paths.READ_ONLY:
        raise _errors.ReadOnlyError(
            f"{location}: {location.scheme}:// has no folders; give the URL of a file"
        )


@contextlib.contextmanager
def _naming_bucket(location: _paths.Location) -> Iterator[None]:
    """Say of what is missing that it is the bucket: a listing and a write need no key."""
    try:
        yield
    except FileNotFoundError as error:
        place = f"{location.scheme}://{location.bucket}"
        text = f"{place}: there is no such bucket ({_errors.text_of(error)})"
        raise FileNotFoundError(text) from None


def keys_of(entries: Iterable[Any]) -> list[str]:
    """Return the keys of descriptions."""
    return [entry["path"] for entry in entries]
