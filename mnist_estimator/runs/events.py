"""Writers of TensorBoard's events, whose files come in the order in which they were begun.

The name of an events file has the time by the clock of its machine, and TensorBoard reads a folder
in the order of the names: once it has read a file, it looks at none that comes before it. After
one that was begun by a clock that is ahead, the next one is named after that one, not the time.
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
    """The writer of a folder's events: one in a process, which Estimator uses as well."""
    files.make_folders(folder)
    newest = _newest(folder)
    # At the same second the hosts' names would decide, or one file replace the other.
    prefix = f"{_PREFIX}{newest + 1:010d}" if newest >= int(time.time()) else ""
    return compat.event_writer(folder, prefix and os.path.join(folder, prefix))


def _newest(folder: str) -> int:
    """The time in the newest events file's name, seconds since 1970; 0 if there is none."""
    try:
        found = map(_NAME.fullmatch, tf.io.gfile.listdir(folder))
    except tf.errors.NotFoundError:
        return 0
    return max((int(match["secs"]) for match in found if match), default=0)
