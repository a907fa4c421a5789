"""What run.json may say: each field that a command goes by is checked before anything follows it.

Records of earlier versions lack fields that came later; what nothing reads may be anything.
"""

from __future__ import annotations

import dataclasses
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
from mnist_estimator.runtime import json_files, streams

_MOST_FLAG = 2**16  # Characters; Linux gives a program at most twice as many in one argument.


def parse(data: bytes) -> tuple[TrainConfig, dict[str, Any]]:
    """Returns the flags of a run, checked as those of a command line, and its whole record.

    Raises:
      ValueError: with a line that names the field that is wrong.
    """
    record = json_files.expect(json_files.parse(data), dict, "the whole")
    json_files.require_keys(record, ["flags", "compute_dtype", "dataset"], "the whole")
    json_files.choice(record["compute_dtype"], "compute_dtype", SERVING_PRECISIONS)
    _check_versions(record.get("versions", {}))
    _check_dataset(json_files.expect(record["dataset"], dict, "dataset"))
    return _config(record), record


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


def _config(record: dict[str, Any]) -> TrainConfig:
    flags = json_files.expect(record["flags"], dict, "flags")
    known = {field.name for field in dataclasses.fields(TrainConfig)}
    for name, value in flags.items():
        if name not in known:
            wrote = json_files.shown(record.get("versions", {}).get("mnist_estimator"))
            raise ValueError(
                f"flags has {json_files.shown(name)}, which mnist_estimator {__version__} does not "
                f"know; open the run with the version that wrote it, {wrote}"
            )
        if isinstance(value, str):
            _check_flag(name, value)
    try:
        return TrainConfig(**flags)
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
