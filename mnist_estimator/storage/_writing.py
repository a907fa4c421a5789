"""Open files that are written."""

from typing import Any

from mnist_estimator.storage import _paths, _stores


class Writer:
    """An object in the making."""

    def __init__(self, location: _paths.Location, content: bytes = b"") -> None:
        if not location.key:
            raise IsADirectoryError(f"{location} is a bucket, not a file")
        self._location, self._content, self._new = location, bytearray(content), True

    def append(self, data: Any) -> None:
        """Add to the end."""
        self._content += data
        self._new = True

    def tell(self) -> int:
        """Return how many bytes there are."""
        return len(self._content)

    def flush(self) -> None:
        """Publish what is there."""
        import obstore

        if self._new:
            obstore.put(_stores.of(self._location), self._location.key, bytes(self._content))
            self._new = False

    def close(self) -> None:
        """Publish the whole."""
        self.flush()

    def drop(self) -> None:
        """Let go of what is held."""


def appended(location: _paths.Location) -> Writer:
    """Open an object to add to its end."""
    import obstore

    try:
        content = bytes(obstore.get(_stores.of(location), location.key).bytes())
    except FileNotFoundError:
        content = b""
    return Writer(location, content)
