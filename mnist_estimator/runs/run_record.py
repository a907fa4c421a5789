"""What run.json may say: each field that a command goes by is checked before anything follows it.

Records of older packages lack fields and flags that came later, and have flags that are gone. What
nothing reads may be anything.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from mnist_estimator import InputError, __version__
from mnist_estimator.config import SERVING_PRECISIONS, TrainConfig
from mnist_estimator.data.manifest import (
    TrainedOn,
    checked_class_names,
    checked_shape,
    checked_sources,
    usual_pictures,
)
from mnist_estimator.data.splits import MAX_CLASSES
from mnist_estimator.pictures import methods
from mnist_estimator.runs import formats
from mnist_estimator.runtime import json_files, streams

_MOST_NAMES = 10  # Of flags, in a line.
_MOST_FLAG = 2**16  # Characters; Linux gives a program at most twice as many in one argument.


def parse(
    data: bytes, warn: Callable[[str], None] = lambda line: None
) -> tuple[TrainConfig, dict[str, Any]]:
    """Returns the flags of a run, checked as those of a command line, and its whole record.

    The record's flags are this package's: those that are gone are left out, and new ones have the
    value that means what was done before there were such flags.

    Args:
      warn: takes a line that names the flags left out, if there are any.

    Raises:
      NewerFormatError: if a newer package wrote the record in another format.
      ValueError: with a line that names the field that is wrong.
    """
    record = json_files.expect(json_files.parse(data), dict, "the whole")
    formats.check(record)
    json_files.require_keys(record, ["flags", "compute_dtype", "dataset"], "the whole")
    json_files.choice(record["compute_dtype"], "compute_dtype", SERVING_PRECISIONS)
    _check_versions(record.get("versions", {}))
    _check_dataset(json_files.expect(record["dataset"], dict, "dataset"))
    flags = json_files.expect(record["flags"], dict, "flags")
    config = _config(flags)
    gone = [name for name in flags if name not in TrainConfig.__dataclass_fields__]
    if gone:
        names = ", ".join(map(json_files.shown, gone[:_MOST_NAMES]))
        more = f" and {len(gone) - _MOST_NAMES} more" if gone[_MOST_NAMES:] else ""
        warn(f"ignoring flags that mnist_estimator {__version__} does not have: {names}{more}")
    record["flags"] = dataclasses.asdict(config)
    return config, record


def trained_on(record: dict[str, Any]) -> TrainedOn:
    """The data's shape and classes as a record has them, which are known also without the data."""
    data = record["dataset"]
    numbers = map(str, range(data["num_classes"]))
    return TrainedOn(
        image_shape=tuple(data["image_shape"]),
        num_classes=data["num_classes"],
        class_names=tuple(data.get("class_names", numbers)),
        # Runs on records of format version 1 lack these two, as such records do.
        brightest_pixel=data.get("brightest_pixel", 255),
        pictures=data.get("pictures", usual_pictures(data["name"])),
        digest=data["manifest_sha256"],
    )


def _config(flags: dict[str, Any]) -> TrainConfig:
    values = {}
    for field in dataclasses.fields(TrainConfig):
        value = flags.get(field.name, field.metadata["unrecorded"])
        if isinstance(value, str):
            _check_flag(field.name, value)
        values[field.name] = value
    try:
        return TrainConfig(**values)
    except InputError as error:
        raise ValueError(f"flags: {error}") from None


def _check_flag(name: str, value: str) -> None:
    if len(value) > _MOST_FLAG or not streams.is_text(value):
        found = f"{json_files.shown(value)} of {len(value):,} characters"
        raise ValueError(f"flags: --{name} is {found}, expected text of at most {_MOST_FLAG:,}")


def _check_versions(value: Any) -> None:
    for name, version in json_files.expect(value, dict, "versions").items():
        json_files.text(version, f"versions, {json_files.shown(name)},")


def _check_dataset(data: dict[str, Any]) -> None:
    always = ["name", "data_dir", "manifest_sha256", "sources", "image_shape", "num_classes"]
    json_files.require_keys(data, always, "dataset")
    json_files.text(data["name"], "dataset name")
    _check_flag("data_dir", json_files.expect(data["data_dir"], str, "dataset data_dir"))
    json_files.sha256(data["manifest_sha256"], "manifest_sha256")
    checked_sources(data["sources"])
    checked_shape(data["image_shape"])
    classes = json_files.whole(data["num_classes"], "num_classes", 2, MAX_CLASSES)
    if "split_rule" in data:
        json_files.text(data["split_rule"], "split_rule")
    if "class_names" in data:
        checked_class_names(data["class_names"], classes)
    if "brightest_pixel" in data:
        json_files.whole(data["brightest_pixel"], "brightest_pixel", 1, 255)
    if "pictures" in data:
        json_files.choice(data["pictures"], "pictures", methods.PICTURES)
