"""Paths of objects: scheme://bucket/key, taken apart and checked."""

import re
from typing import NamedTuple

# `gs` is TensorFlow's own in the packages of PyPI; see `storage.install`.
SCHEMES = ("s3", "gs", "az", "abfs", "abfss", "http", "https", "memory")
READ_ONLY = ("http", "https")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")


class PathError(ValueError):
    """A path that names no object of a store."""


class Location(NamedTuple):
    """A path taken apart.

    `bucket` is what stands between "://" and the next "/": a bucket, a container, for Azure also
    container@account..., for HTTP host:port. `key` has neither a first nor a last "/"; that of the
    bucket itself is "". Only a URL has a `query`, such as a signature.
    """

    scheme: str
    bucket: str
    key: str
    query: str = ""

    def __str__(self) -> str:
        """Write the path as a user would, without the user, password and query of a URL."""
        bucket = self.bucket.rpartition("@")[2] if self.scheme in READ_ONLY else self.bucket
        return f"{self.scheme}://{bucket}/{self.key}".rstrip("/")

    def below(self, name: str) -> "Location":
        """Return the location of what a folder holds under a name, which may have parts."""
        return self._replace(key=f"{self.key}/{name}" if self.key else name)

    def above(self) -> "Location":
        """Return the folder that holds this; for a bucket, the bucket."""
        return self._replace(key=self.key.rpartition("/")[0])

    @property
    def prefix(self) -> str:
        """What the keys in this folder begin with; "" for the whole bucket."""
        return f"{self.key}/" if self.key else ""

    def holds(self, key: str) -> bool:
        """Say whether a key is in this folder, at any depth."""
        return key.startswith(self.prefix) and len(key) > len(self.prefix)

    def shares_store(self, other: "Location") -> bool:
        """Say whether both are in one bucket, where an object can be copied without reading it."""
        return (self.scheme, self.bucket) == (other.scheme, other.bucket)


def scheme_of(path: str) -> str:
    """Return the scheme of "s3://bucket/key": "s3"; "" where the path has none."""
    scheme, separator, _ = path.partition("://")
    return scheme.lower() if separator and _SCHEME.fullmatch(scheme) else ""


def parse(path: str) -> Location:
    """Take a path apart.

    Empty parts and "." are left out, as on a disk: s3://b/x//y is s3://b/x/y. What follows a "?" of
    a URL is its query; in a store's key it is a letter as others are.

    Raises:
      PathError: there is no bucket, a part is "..", or a character is a control character.
    """
    scheme, separator, rest = path.partition("://")
    bucket, _, key = rest.partition("/")
    if not separator or not bucket:
        raise PathError(f"{scheme}:// has no bucket; write {scheme}://bucket/key")
    query = ""
    if scheme.lower() in READ_ONLY:
        key, _, query = key.partition("?")
    parts = [part for part in key.split("/") if part not in ("", ".")]
    location = Location(scheme.lower(), bucket, "/".join(parts), query)
    if _CONTROL.search(path):
        raise PathError(f"{str(location)!r} holds a control character, which no store takes")
    if ".." in parts:
        raise PathError(f"{location} holds '..'; a store has no folder above: write the path out")
    return location
