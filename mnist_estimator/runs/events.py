"""Writers of TensorBoard's events, in files whose names are in the order of their creation.

TensorBoard reads the events files of a folder in the order of their names, and after one file
reads none that comes before it. The name has the time by the machine's clock. Where another
machine's clock was ahead, the next file is named after that machine's file, not after the time.
"""

from __future__ import annotations

import os
import re
import time

from mnist_estimator import compat
from mnist_estimator.compat import tf, v1
from mnist_estimator.runtime import files

_PREFIX = "events.out.tfevents."
_NAME = re.compile(rf"{re.escape(_PREFIX)}(?P<secs>\d+)\..*")


def writer(folder: str) -> v1.summary.FileWriter:
    """Returns the writer of a folder's events: one a process, which Estimator uses too."""
    files.make_folders(folder)
    newest = _newest(folder)
    # In the same second the names of the hosts would decide, or one file would replace the other.
    prefix = f"{_PREFIX}{newest + 1:010d}" if newest >= int(time.time()) else ""
    return compat.event_writer(folder, prefix and os.path.join(folder, prefix))


def has_any(folder: str) -> bool:
    """Whether there is a folder with events."""
    return tf.io.gfile.isdir(folder) and _newest(folder) > 0


def _newest(folder: str) -> int:
    """The time in the name of the newest events file, in seconds since 1970; 0 if there is none."""
    try:
        found = map(_NAME.fullmatch, tf.io.gfile.listdir(folder))
    except tf.errors.NotFoundError:
        return 0
    return max((int(match["secs"]) for match in found if match), default=0)
