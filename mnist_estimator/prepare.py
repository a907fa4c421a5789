"""Turns images and labels into TFRecords that train and evaluate read.

  python -m mnist_estimator.prepare --data_dir=data/mnist
  python -m mnist_estimator.prepare --data_dir=data/letters --source_dir=letters
  python -m mnist_estimator.prepare --data_dir=data/small --train_csv=mnist_train_small.csv
  python -m mnist_estimator.prepare --data_dir=data/large --train_csv='out/part-*.csv.gz'
  python -m mnist_estimator.prepare --data_dir=data/hub --train_parquet=mnist/train-*.parquet
  python -m mnist_estimator.prepare --data_dir=data/pets --image_folder=pets --image_shape=64,64,3
  python -m mnist_estimator.prepare --data_dir=data/mnist --verify

Many machines share the work. Each does a part, in any order, and one of them merges the parts:

  python -m mnist_estimator.prepare --data_dir=data/mnist --part=3/16
  python -m mnist_estimator.prepare --data_dir=data/mnist --merge

The data_dir then holds, per split, files such as train-00000-of-00008.tfrecord, and manifest.json.
A data_dir without a manifest.json holds no dataset: it is written whole or not at all.

The exit code is 3 if no mirror gives the files of the named dataset; else it is as for every
command.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from absl import flags

from mnist_estimator import config, prepare_config
from mnist_estimator.data import splits
from mnist_estimator.runtime import program, progress, signals, watchdog

if TYPE_CHECKING:
    from mnist_estimator.data import sources
    from mnist_estimator.data.manifest import Manifest

EXIT_NO_MIRROR = 3


def define_flags() -> None:
    """Defines the command's flags."""
    prepare_config.define_flags()


def main(argv: list[str]) -> int | None:
    """Reads the flags; prepares or verifies."""
    prepare_config.check(flags.FLAGS)
    values = flags.FLAGS.flag_values_dict()
    data_dir = values["data_dir"] or config.default_data_dir(values["dataset"])
    # Both import TensorFlow, which takes seconds; wrong flags have been answered by now.
    return _verify(data_dir) if values["verify"] else _prepare(data_dir, values)


def _prepare(data_dir: str, values: Mapping[str, Any]) -> int | None:
    from mnist_estimator.data.download import NoMirrorError

    try:
        _write(data_dir, values)
    except NoMirrorError as error:
        progress.complain(error)
        return EXIT_NO_MIRROR
    return None


def _write(data_dir: str, values: Mapping[str, Any]) -> None:
    if values["part"] and not _write_part(data_dir, values):
        return
    from mnist_estimator.data import merging
    from mnist_estimator.data.manifest import find_manifest

    before = None if values["force"] else find_manifest(data_dir)
    with progress.ProgressLine() as report:
        options = {"force": values["force"], "report": report}
        if values["part"]:
            manifest = merging.merge_if_whole(data_dir, **options)
        elif values["merge"]:
            manifest = merging.merge(data_dir, **options)
        else:
            opened = _open_sources(data_dir, values)
            manifest = opened.write(data_dir, **_split(values), **options)
    _tell(data_dir, manifest, was_there=manifest == before)


def _write_part(data_dir: str, values: Mapping[str, Any]) -> bool:
    """Prepares a part; returns whether there is a dataset now, or all parts of one to merge."""
    from mnist_estimator.data import merging, parts, summary
    from mnist_estimator.data.manifest import Manifest

    part = splits.parse_part(values["part"])
    plan = _open_sources(data_dir, values).plan(**_split(values))
    with progress.ProgressLine() as report:
        found, was_there = parts.write_part(
            data_dir, part, plan, force=values["force"], report=report
        )
    progress.say(f"{data_dir}: {summary.part_line(part, found, was_there=was_there)}", sys.stdout)
    if not values["merge"]:
        return False
    # Of a dataset that is there, a killed merge may have left some of the parts.
    missing = "" if isinstance(found, Manifest) else merging.find_missing(data_dir)
    if missing:
        progress.say(f"{data_dir}: not merged yet: {missing}", sys.stdout)
    return not missing


def _split(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: values[name] for name in ("validation_split", "shards", "seed")}


def _tell(data_dir: str, manifest: Manifest, *, was_there: bool) -> None:
    from mnist_estimator.data import doubts, summary

    if was_there:
        progress.say(f"{data_dir}: prepared already, nothing to do", sys.stdout)
    for line in summary.lines(data_dir, manifest):
        progress.say(line, sys.stdout)
    for line in doubts.of_dataset(data_dir, manifest) + doubts.of_splits(data_dir, manifest):
        progress.warn(line)


def _open_sources(data_dir: str, values: Mapping[str, Any]) -> sources.Sources:
    opened = _named_sources(data_dir, values)
    if values["pictures"] != splits.AUTO:
        opened = dataclasses.replace(opened, pictures=values["pictures"])
    return opened


def _named_sources(data_dir: str, values: Mapping[str, Any]) -> sources.Sources:
    from mnist_estimator.data import data_dirs, file_lists, sources

    classes, transpose = values["num_classes"], values["transpose"]
    if values["source_dir"]:
        return sources.from_folder(values["source_dir"], classes, transpose=transpose)
    if values["train_images"]:
        return sources.from_idx(
            file_lists.of_flags(values, prepare_config.IDX), classes, transpose=transpose
        )
    shape = prepare_config.parse_shape(values["image_shape"]) if values["image_shape"] else None
    columns = {"image_shape": shape, "label_column": values["label_column"]}
    if values["train_csv"]:
        tables = file_lists.of_flags(values, prepare_config.CSV, folders=True)
        options = {"num_classes": classes, "transpose": transpose}
        return sources.from_csv(*tables.values(), **options, **columns)
    if values["train_parquet"]:
        tables = file_lists.of_flags(values, prepare_config.PARQUET, folders=True)
        options = {"num_classes": classes, "transpose": transpose}
        return sources.from_parquet(*tables.values(), **options, **columns)
    if values["image_folder"]:
        train, test = values["image_folder"], values["test_image_folder"] or None
        return sources.from_image_folder(train, test, image_shape=shape)
    if values["npz"]:
        return sources.from_npz(values["npz"], classes, transpose=transpose)
    interrupted = "" if values["part"] else data_dirs.unfinished(data_dir)
    opened = data_dirs.from_data_dir(data_dir, values["dataset"], interrupted)
    if not (values["force"] and values["dataset"]):
        data_dirs.check_finishes(data_dir, interrupted, opened.dataset)
    return opened


def _verify(data_dir: str) -> int | None:
    from mnist_estimator.data import records
    from mnist_estimator.data.manifest import read_manifest

    with progress.ProgressLine() as report:
        problems = records.verify(data_dir, report)
    if problems:
        progress.tell(*problems)
        return signals.EXIT_INPUT
    manifest = read_manifest(data_dir)
    counts = ", ".join(f"{manifest.num_examples(split):,} {split}" for split in splits.SPLITS)
    progress.tell(f"{data_dir}: OK, {counts} examples")
    return None


if __name__ == "__main__":
    define_flags()
    program.run(main, phase=watchdog.PREPARING)
