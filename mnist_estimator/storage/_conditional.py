"""Writes on a condition: only where an object is as it was seen."""

import contextlib
import json
import re
import secrets
from collections.abc import Iterator
from typing import Any

from mnist_estimator import InputError, RunError
from mnist_estimator.storage import _errors, _objects, _paths

# Buckets whose store was seen to refuse a write that it has to refuse.
_trusted: set[tuple[str, str]] = set()
_REFUSED = ("AlreadyExistsError", "PreconditionError")
# What obstore's errors say where it has sent a request again.
_TRIED_AGAIN = re.compile(r"after \d+ retries")


def read_version(path: str) -> tuple[bytes, str] | None:
    """Return an object's content and its version, or None where there is no object.

    Raises:
      RunError: the store cannot be read.
    """
    location = _paths.parse(path)
    with _in_one_line(location):
        return _read(location)


def write_if(path: str, content: bytes, version: str | None) -> str:
    """Write an object if it has this version, or if there is none (None); return the new version.

    The content should hold something of its writer's own, such as a random number: where the answer
    to a write is lost, the object is read again, and what has the same content counts as written.

    Raises:
      ChangedError: the object has another version.
      UnconditionalError: the store does not keep to conditions.
      RunError: the store cannot be written.
    """
    location = _paths.parse(path)
    with _in_one_line(location):
        _check_trusted(location)
        try:
            return _put(location, content, version)
        except FileNotFoundError:
            if version is None:
                raise
            raise _changed(location) from None
        except Exception as error:
            refused = type(error).__name__ in _REFUSED
            found = None
            if not refused or _TRIED_AGAIN.search(str(error)):
                found = _read(location)
            if found and found[0] == content and found[1] != version:
                return found[1]
            if refused:
                raise _changed(location) from None
            raise


def _check_trusted(location: _paths.Location) -> None:
    """Find out once for each bucket whether its store refuses what it has to refuse.

    A store that knows no conditions may take the write all the same, and so lose another's.

    Raises:
      UnconditionalError: it does not refuse it.
    """
    bucket = (location.scheme, location.bucket)
    if bucket in _trusted:
        return
    probe = location.above().below(f".probe-{secrets.token_hex(8)}")
    try:
        if not _refuses(probe):
            raise _errors.UnconditionalError(
                f"{location.scheme}://{location.bucket} is in a store that overwrites an object "
                "although the write is to take place only if there is none; two runs could write "
                "there at once: use a store with conditional writes (If-None-Match)"
            )
    finally:
        with contextlib.suppress(Exception):
            _objects.delete(probe, [probe.key])
    _trusted.add(bucket)


def _refuses(probe: _paths.Location) -> bool:
    first = _attempt(probe, b"1", None)
    if first is None:
        # The answer to a first try was lost, and the client has tried again.
        first = (_read(probe) or (b"", ""))[1]
    if _attempt(probe, b"2", None) is not None:
        return False
    return _attempt(probe, b"3", first) is not None and _attempt(probe, b"4", first) is None


def _attempt(location: _paths.Location, content: bytes, version: str | None) -> str | None:
    """Write on a condition; return the new version, or None where the store refuses."""
    try:
        return _put(location, content, version)
    except Exception as error:
        if type(error).__name__ in _REFUSED:
            return None
        if type(error).__name__ == "NotSupportedError" or "status code: 501" in str(error):
            text = _errors.text_of(error)
            raise _errors.UnconditionalError(
                f"{location.scheme}://{location.bucket} is in a store without conditional writes: "
                f"{text}"
            ) from None
        raise


def _put(location: _paths.Location, content: bytes, version: str | None) -> str:
    mode = "create" if version is None else json.loads(version)
    return _version(_objects.put(location, content, mode))


def _read(location: _paths.Location) -> tuple[bytes, str] | None:
    try:
        found = _objects.get_all(location)
    except FileNotFoundError:
        return None
    return bytes(found.bytes()), _version(found.meta)


def _version(found: Any) -> str:
    # obstore takes no None back.
    return json.dumps({key: found[key] for key in ("e_tag", "version") if found[key] is not None})


def _changed(location: _paths.Location) -> _errors.ChangedError:
    return _errors.ChangedError(f"{location} was changed by another")


@contextlib.contextmanager
def _in_one_line(location: _paths.Location) -> Iterator[None]:
    """Raise the client's errors as this package's, without the secrets that they may hold."""
    try:
        yield
    except (InputError, RunError):
        raise
    except Exception as error:
        raise RunError(f"{location}: {_errors.text_of(error)}") from None
