"""Writes on a condition: only where an object is as it was seen."""

import json

from mnist_estimator.storage import _errors, _paths, _stores


def read_version(path: str) -> tuple[bytes, str] | None:
    """Return an object's content and its version, or None where there is no object."""
    import obstore

    location = _paths.parse(path)
    try:
        found = obstore.get(_stores.of(location), location.key)
    except FileNotFoundError:
        return None
    return bytes(found.bytes()), _version(found.meta)


def write_if(path: str, content: bytes, version: str | None) -> str:
    """Write an object on the condition that it has this version, or that there is none (None)."""
    import obstore
    from obstore import exceptions

    location = _paths.parse(path)
    mode = "create" if version is None else json.loads(version)
    try:
        return _version(obstore.put(_stores.of(location), location.key, content, mode=mode))
    except (exceptions.AlreadyExistsError, exceptions.PreconditionError, FileNotFoundError):
        raise _errors.ChangedError(f"{location} was changed by another writer") from None


def _version(found: dict) -> str:
    # obstore takes no None back.
    return json.dumps({key: found[key] for key in ("e_tag", "version") if found[key] is not None})
