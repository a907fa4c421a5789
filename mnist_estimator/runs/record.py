"""The record of a run, run.json: writes it, reads and checks it, compares it with flags and data.

Records of older packages lack fields and flags that came later, and have flags that are gone. Each
field that a command goes by is checked before anything follows it; the others may be anything.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import os
import platform
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mnist_estimator import InputError, __version__
from mnist_estimator.compat import tf
from mnist_estimator.config import (
    LEARNING,
    NETWORK,
    SERVING_PRECISIONS,
    TrainConfig,
    flags_affecting,
)
from mnist_estimator.data.manifest import (
    Manifest,
    TrainedOn,
    checked_class_names,
    checked_shape,
    checked_sources,
    usual_pictures,
)
from mnist_estimator.data.splits import MAX_CLASSES
from mnist_estimator.pictures import methods
from mnist_estimator.runs import checkpoints, formats, run_data, starts
from mnist_estimator.runtime import files, json_files, streams
from mnist_estimator.runtime.files import file_errors, is_local, write_json
from mnist_estimator.runtime.progress import warn

RUN_FILE = "run.json"
_MOST_LINE = 500  # Characters of what a record says that an error repeats.
_MOST_NAMES = 10  # Of flags, in a line.
_MOST_FLAG = 2**16  # Characters; Linux gives a program at most twice as many in one argument.
_NETWORK_FLAGS = flags_affecting(NETWORK)
# The other flags that the weights depend on. `check_continues` allows them to change.
_LEARNING_FLAGS = flags_affecting(LEARNING)


def read_run(model_dir: str) -> tuple[TrainConfig, dict[str, Any]]:
    """Returns the flags of the run in a model_dir and its whole record.

    Raises:
      InputError: if there is no run.json, or it is not one of this package or of an older one.
    """
    path = os.path.join(model_dir, RUN_FILE)
    with file_errors(path):
        data = files.read_bytes(path, json_files.MOST_BYTES)
    if data is None:
        raise InputError(f"{path}: not found, expected the record of a run; train first")
    try:
        return parse(data, lambda line: _warn_once(f"{path}: {line}"))
    except formats.NewerFormatError as error:
        raise InputError(f"{path}: {error}") from None
    except ValueError as error:
        line = str(error)[:_MOST_LINE]
        raise InputError(
            f"{path}: found no record of a run ({line}); move it away, or give another --model_dir"
        ) from None


@functools.cache
def _warn_once(line: str) -> None:
    """Warns of what a command would otherwise say each time it reads the record."""
    warn(line)


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
    starts.check(record)
    return config, record


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


def write_run(
    config: TrainConfig,
    manifest: Manifest,
    compute_dtype: str,
    history: Sequence[dict[str, Any]] = (),
) -> None:
    """Writes run.json: all flags, the versions, and which data the run trains on.

    Args:
      compute_dtype: the arithmetic that --precision means on this machine, as "bfloat16".
      history: the run's starts, as `starts.after` returns them.
    """
    record = {
        formats.KEY: formats.VERSION,
        "flags": dataclasses.asdict(config),
        "compute_dtype": compute_dtype,
        "versions": {
            "mnist_estimator": __version__,
            "tensorflow": tf.__version__,
            "tensorflow-estimator": importlib.metadata.version("tensorflow-estimator"),
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "dataset": {
            "name": manifest.dataset,
            "data_dir": _absolute(config.data_dir),
            "manifest_sha256": manifest.digest,
            "sources": manifest.sources,
            "split_rule": manifest.split_rule,
            "image_shape": manifest.image_shape,
            "num_classes": manifest.num_classes,
            "class_names": manifest.class_names,
            "brightest_pixel": manifest.brightest_pixel,
            "pictures": manifest.pictures,
            "examples": {split: manifest.num_examples(split) for split in manifest.splits},
        },
        starts.KEY: [*history],
    }
    write_json(os.path.join(config.model_dir, RUN_FILE), record)


def _absolute(path: str) -> str:
    absolute = os.path.abspath(path) if is_local(path) else path
    # TensorFlow takes no name that is no UTF-8; below such a folder a relative one still works.
    return absolute if streams.is_text(absolute) else path


def check_continues(config: TrainConfig, manifest: Manifest, compute_dtype: str) -> dict[str, Any]:
    """Says which flags differ from those that the run in the model_dir has had so far.

    Args:
      compute_dtype: as for `write_run`.

    Returns:
      The run's record so far.

    Raises:
      InputError: if these settings or data cannot continue it.
    """
    before, record = read_run(config.model_dir)
    was, now = (bool(each.ema_decay and each.use_ema) for each in (before, config))
    pairs = _unchangeable(before, record, config, manifest, compute_dtype)
    # An export takes the best evaluation's weights as they were evaluated.
    for what, (old, new) in (pairs | {"--use_ema in effect": (was, now)}).items():
        if old != new:
            raise InputError(
                f"{config.model_dir}: holds a run with {what} {old}, found {new}; "
                "continue it as it began, or give another --model_dir"
            )
    changed = [
        f"--{name}={getattr(config, name)} (was {getattr(before, name)})"
        for name in _LEARNING_FLAGS
        if getattr(before, name) != getattr(config, name)
    ]
    steps, were = config.schedule_steps, before.schedule_steps
    if config.schedule != "constant" and config.decay_steps == before.decay_steps and steps != were:
        changed.append(f"--schedule={config.schedule} over {steps:,} steps (was {were:,})")
    if changed:
        warn(f"{config.model_dir}: continuing with other flags: {', '.join(changed)}")
    return record


def check_same(config: TrainConfig, manifest: Manifest, compute_dtype: str) -> None:
    """Checks that this task of a cluster trains as the chief does, which has written the record.

    Args:
      compute_dtype: as for `write_run`.

    Raises:
      InputError: if its flags, data or arithmetic are others.
    """
    try:
        chiefs, record = read_run(config.model_dir)
    except InputError:
        return  # A shared folder may show it late.
    pairs = _unchangeable(chiefs, record, config, manifest, compute_dtype)
    names = (*_LEARNING_FLAGS, "max_steps")  # By which the schedule ends.
    pairs |= {f"--{name}": (getattr(chiefs, name), getattr(config, name)) for name in names}
    for what, (its, ours) in pairs.items():
        if its != ours:
            raise InputError(
                f"{config.model_dir}: the chief trains with {what} {its}, this task with {ours}; "
                "give all tasks the same (with --precision=auto, machines decide by their kind)"
            )


def _unchangeable(
    before: TrainConfig,
    record: dict[str, Any],
    config: TrainConfig,
    manifest: Manifest,
    compute_dtype: str,
) -> dict[str, tuple[Any, Any]]:
    """What a run keeps as long as it trains: name -> as it was recorded, and as it is here."""
    names = (*_NETWORK_FLAGS, "optimizer", "best_metric")
    return {f"--{name}": (getattr(before, name), getattr(config, name)) for name in names} | {
        "--precision": (record["compute_dtype"], compute_dtype),
        f"records in {config.data_dir}": (record["dataset"]["manifest_sha256"], manifest.digest),
    }


def learning_flags(config: TrainConfig) -> dict[str, Any]:
    """The flags that the weights follow from, beside the data."""
    names = (*_NETWORK_FLAGS, *_LEARNING_FLAGS, "precision", "max_steps")
    return {name: getattr(config, name) for name in names}


def check_fits(record: dict[str, Any], data_dir: str, manifest: Manifest) -> None:
    """Raises InputError unless the records in `data_dir` fit the network of a recorded run."""
    trained = record["dataset"]
    expected = (tuple(trained["image_shape"]), trained["num_classes"])
    if (manifest.image_shape, manifest.num_classes) != expected:
        raise InputError(
            f"{data_dir}: found images {manifest.image_shape} of {manifest.num_classes} classes, "
            f"expected {expected[0]} of {expected[1]}, which the run was trained on"
        )


def check_data_there(config: TrainConfig) -> None:
    """Raises InputError if other data would be fetched than the run in the model_dir has."""
    if checkpoints.newest(config.model_dir):
        _, record = read_run(config.model_dir)
        run_data.check_there(record, config.model_dir, config.data_dir, config.dataset)
