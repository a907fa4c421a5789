"""Copies of a checkpoint in a folder of their own, which the newest checkpoints do not push out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from mnist_estimator import RunError
from mnist_estimator.compat import tf
from mnist_estimator.runs import checkpoints
from mnist_estimator.runtime import files, local_files
from mnist_estimator.runtime.files import file_errors


def keep_copy(path: str, folder: str, record: Callable[[], None] = lambda: None) -> None:
    """Replaces the copy in `folder` by one of this checkpoint; at every moment there is one.

    Args:
      record: is called when the new copy is there, and the old one still is.

    Raises:
      InputError: if the folder is a link, or cannot be written to.
      RunError: if the copy is damaged.
    """
    files.check_no_link(folder)
    before = checkpoints.newest(folder)
    files.make_folders(folder)
    # The seal first: it marks a copy that was killed as one of this package's.
    parts = sorted(checkpoints.files_of(path), key=lambda file: not checkpoints.is_seal(file))
    for file in parts:
        files.copy(file, os.path.join(folder, os.path.basename(file)))
    copy = os.path.join(folder, os.path.basename(path))
    problem = checkpoints.damage(copy)
    if problem:
        raise RunError(f"{problem}, after it was copied from {path}")
    checkpoints.point_to(copy)
    record()
    drop_copies(folder, [before] if before != copy else [], copy)


def drop_copies(folder: str, more: Iterable[str] = (), stays: str = "") -> None:
    """Removes the copies that `keep_copy` has made in a folder, and the folder once it is empty.

    Args:
      more: copies of checkpoints that have no seal.
      stays: the copy that is not removed.

    Raises:
      InputError: if the folder is a link, or cannot be read.
    """
    files.check_no_link(folder)
    with file_errors(folder):
        names = [name.rstrip("/") for name in tf.io.gfile.listdir(folder)]
    for name in names:
        # Older versions of this package copied to names that end so.
        is_older_versions = name.endswith(".tmp") and checkpoints.is_file(name.removesuffix(".tmp"))
        if is_older_versions or local_files.is_temporary(name):
            files.remove(os.path.join(folder, name))
    copies = [os.path.join(folder, name) for name in checkpoints.sealed_among(names)]
    checkpoints.remove(copy for copy in {*copies, *more} if copy and copy != stays)
    if not stays:
        files.remove(os.path.join(folder, checkpoints.STATE))
        files.remove_empty(folder)
