"""Open files that are read."""

from typing import Any

from mnist_estimator.storage import _filesystem, _paths, _stores


class Reader:
    """An object as it was when it was opened."""

    def __init__(self, location: _paths.Location) -> None:
        self._location = location
        found = _filesystem.head(location)
        if found is None:
            _filesystem.exists(location)
            raise IsADirectoryError(f"{location} is a folder, not a file")
        self.size, self._e_tag = found["size"], found["e_tag"]

    def read(self, offset: int, size: int) -> Any:
        """Return `size` bytes from `offset` on, fewer at the end."""
        import obstore

        end = min(offset + size, self.size)
        if offset >= end:
            return b""
        options = {"range": (offset, end)}
        found = obstore.get(_stores.of(self._location), self._location.key, options=options)
        content = found.bytes()
        if len(content) != end - offset:
            raise ConnectionError(f"{self._location}: {len(content)} bytes came of {end - offset}")
        return content

    def close(self) -> None:
        """Let go of what is held."""
