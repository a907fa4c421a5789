"""Finds the IDX files of a dataset in a folder, as people and programs lay them there."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from mnist_estimator import InputError
from mnist_estimator.compat import tf
from mnist_estimator.data import idx
from mnist_estimator.data.known_datasets import ROLES, is_file_name, locate
from mnist_estimator.runtime import files

# Where torchvision puts them, below the folder that it is given.
_BELOW = ("raw", "MNIST/raw", "FashionMNIST/raw", "KMNIST/raw", "EMNIST/raw", "QMNIST/raw")
_GIVE = "--train_images, --train_labels, --test_images and --test_labels"


def find(folder: str) -> dict[str, str]:
    """Finds a folder's IDX files: role (of `known_datasets.ROLES`) -> path, where there is a file.

    Files may lie in folders of their own names, as some programs unpack them, and where torchvision
    puts them. Files of the four usual names in the folder itself come before any others.

    Raises:
      InputError: if the folder holds several sets, or files of one role whose content differs.
    """
    with files.file_errors(folder):
        if not tf.io.gfile.isdir(folder):
            return {}
        found = locate(_files(folder, ""))
        if not found:
            found = locate(path for below in _BELOW for path in _files(folder, below))
    if "" in found:
        found = {"": found[""]}
    if len(found) > 1:
        raise InputError(
            f"{folder}: found several sets of IDX files, {', '.join(sorted(found))}, expected one; "
            f"give the files of one by {_GIVE}"
        )
    return _one_each(folder, next(iter(found.values()), {}))


def find_in_data_dir(data_dir: str) -> dict[str, str]:
    """The same of the files that are prepared in place: of the four usual names, not below.

    Whatever else lies there is somebody's folder, which is not to be written to.
    """
    with files.file_errors(data_dir):
        if not tf.io.gfile.isdir(data_dir):
            return {}
        return _one_each(data_dir, locate(_files(data_dir, "")).get("", {}))


def not_taken(folder: str) -> list[str]:
    """The names in a folder that seem to be IDX files', but are none that `find` knows."""
    with files.file_errors(folder):
        names = [name for name in _names(folder) if re.search("idx|ubyte", name.lower())]
    return [name for name in names if not is_file_name(name)]


def _files(folder: str, below: str) -> list[str]:
    """The files of usual names in a place below a folder, as paths from the folder."""
    if below and not tf.io.gfile.isdir(os.path.join(folder, below)):
        return []
    paths = []
    for name in filter(is_file_name, _names(os.path.join(folder, below))):
        path = os.path.join(below, name)
        if tf.io.gfile.isdir(os.path.join(folder, path)):
            paths += [os.path.join(path, inner) for inner in _names(os.path.join(folder, path))]
        else:
            paths.append(path)
    return paths


def _names(folder: str) -> list[str]:
    """The names in a folder, in order, hidden ones apart."""
    names = (name.rstrip("/") for name in tf.io.gfile.listdir(folder))
    return sorted(name for name in names if not name.startswith("."))


def _one_each(folder: str, roles: Mapping[str, list[str]]) -> dict[str, str]:
    return {role: _only(folder, role, roles[role]) for role in ROLES if role in roles}


def _only(folder: str, role: str, names: list[str]) -> str:
    """The first of the files that have one role, once all are known to have the same content."""
    paths = [os.path.join(folder, name) for name in names]
    for path in paths[1:]:
        if _content_sha256(path) != _content_sha256(paths[0]):
            raise InputError(
                f"{folder}: {names[0]} and {os.path.relpath(path, folder)} are both {role}, but "
                f"their content differs; move one away, or give the files by {_GIVE}"
            )
    return paths[0]


def _content_sha256(path: str) -> str:
    with files.file_errors(path), files.reading(path) as file:
        reader = idx.IdxReader(file, name=path)
        for _ in reader.chunks(1024):
            pass
        return reader.sha256
