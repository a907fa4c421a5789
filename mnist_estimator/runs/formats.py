"""The version of the format of the files that a run keeps: run.json, status.json, evaluations.json.

A file without one was written before there were versions, and counts as version 0. A package reads
all versions up to its own. The version goes up when an older package would misunderstand a new
file; fields that an older package may ignore, and flags, come and go without it.
"""

from __future__ import annotations

from typing import Any

from mnist_estimator.runtime import json_files

VERSION = 1
KEY = "format_version"


class NewerFormatError(ValueError):
    """A file was written in a format that only a newer package reads."""


def check(record: dict[str, Any]) -> None:
    """Raises NewerFormatError if this package is too old for a record, ValueError if it is wrong.

    Either error is a line without the path of the file.
    """
    if KEY not in record:
        return
    version = json_files.whole(record[KEY], KEY, 1, 2**31 - 1)
    if version > VERSION:
        raise NewerFormatError(
            f"found format version {version}, this package reads up to {VERSION}; install a newer "
            "mnist_estimator"
        )
