"""Paths of objects: scheme://bucket/key, taken apart and checked."""

import re
from typing import NamedTuple

# `gs` is TensorFlow's own in the packages of PyPI; see `storage.install`.
SCHEMES = ("s3", "gs", "az", "abfs", "abfss", "http", "https", "memory")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class PathError(ValueError):
    """A path that names no object of a store."""


class Location(NamedTuple):
    """A path taken apart.

    `bucket` is what stands between "://" and the next "/": a bucket, a container, for Azure also
    container@account..., for HTTPS host:port. `key` has neither a first nor a last "/"; that of the
    bucket itself is "".
    """

    scheme: str
    bucket: str
    key: str

    def __str__(self) -> str:
        """Write the path as a user would, without the user and password of a URL."""
        bucket = self.bucket.rpartition("@")[2] if self.scheme.startswith("http") else self.bucket
        return f"{self.scheme}://{bucket}/{self.key}".rstrip("/")

    def below(self, name: str) -> "Location":
        """Return the location of what a folder holds under a name, which may have parts."""
        return self._replace(key=f"{self.key}/{name}" if self.key else name)

    @property
    def prefix(self) -> str | None:
        """What the keys in this folder begin with; None for the whole bucket."""
        return f"{self.key}/" if self.key else None


def scheme_of(path: str) -> str:
    """Return the scheme of "s3://bucket/key": "s3"; "" where the path has none."""
    scheme, separator, _ = path.partition("://")
    return scheme.lower() if separator and scheme.isalnum() else ""


def parse(path: str) -> Location:
    """Take a path apart.

    Empty parts and "." are left out, as on a disk: s3://b/x//y is s3://b/x/y.

    Raises:
      PathError: there is no bucket, a part is "..", or a character is a control character.
    """
    scheme, separator, rest = path.partition("://")
    bucket, _, key = rest.partition("/")
    if not separator or not bucket:
        raise PathError(f"{scheme}:// has no bucket; write {scheme}://bucket/key")
    parts = [part for part in key.split("/") if part not in ("", ".")]
    location = Location(scheme.lower(), bucket, "/".join(parts))
    if _CONTROL.search(path):
        raise PathError(f"{str(location)!r} holds a control character, which no store takes")
    if ".." in parts:
        raise PathError(f"{location} holds '..'; a store has no folder above: write the path out")
    return location
