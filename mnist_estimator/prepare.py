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
import re
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from mnist_estimator import InputError, config
from mnist_estimator.data import known_datasets, splits
from mnist_estimator.pictures import methods
from mnist_estimator.runtime import flag_fields, help_text, program, progress, signals

if TYPE_CHECKING:
    from mnist_estimator.data import sources
    from mnist_estimator.data.manifest import Manifest

EXIT_NO_MIRROR = 3

_IDX = known_datasets.ROLES
_CSV = ("train_csv", "test_csv")
_PARQUET = ("train_parquet", "test_parquet")
_FOLDERS = ("image_folder", "test_image_folder")
_SEVERAL = "Several are a list with commas or a pattern with *, ? or [...], in the order of names."
_SEVERAL_OR_FOLDER = "Several are a list with commas, a pattern with *, ? or [...], or a folder."


def define_flags() -> None:
    """Defines the command's flags."""
    config.define_data_flags()
    define = flag_fields.define_path
    define(
        "source_dir",
        "",
        "Folder with IDX files of the four usual names, plain or .gz; EMNIST's names and "
        "torchvision's folders will do, too.",
    )
    for role in _IDX:
        kind, what = role.split("_")
        also = " Without test files the test split is empty." if role == "test_images" else ""
        several = f" {_SEVERAL}" if role == "train_images" else ""
        text = f"IDX file of the {kind} {what}, plain or .gz, of any name.{also}{several}"
        define(role, "", text)
    define(
        "npz",
        "",
        ".npz file with arrays x_train and y_train (and x_test and y_test), or train_images and "
        "train_labels (and test_images and test_labels): uint8 images, integer labels.",
    )
    flags.DEFINE_bool(
        "transpose",
        False,
        "Swap the rows and columns of each image of IDX, .npz or Parquet files. EMNIST's, and "
        "those that MATLAB wrote, have them swapped.",
    )
    define(
        "train_csv",
        "",
        "CSV file of the training examples, plain or .gz: a line each, its label and its pixels, 0 "
        f"to 255. A header line may come first. {_SEVERAL_OR_FOLDER}",
    )
    define("test_csv", "", "The same for the test examples. Without it the test split is empty.")
    define(
        "train_parquet",
        "",
        "Parquet file of the training examples: a column of pictures, as the Hugging Face hub has "
        f"them, or of lists of pixels, or a column a pixel; and a label. {_SEVERAL_OR_FOLDER}",
    )
    define(
        "test_parquet", "", "The same for the test examples. Without it the test split is empty."
    )
    define(
        "image_folder",
        "",
        "Folder with a folder of pictures (PNG, JPEG, GIF, BMP) for each class. Classes are "
        "numbered in the order of the folders' names.",
    )
    define(
        "test_image_folder",
        "",
        "The same for the test examples. Without it the test split is empty.",
    )
    config.define_label_column()
    flags.DEFINE_string(
        "image_shape",
        "",
        "H,W,C of the images in a table, by default a grey square; or what pictures of several "
        "sizes become, with 1 channel grey, with 3 coloured.",
    )
    flags.DEFINE_integer(
        "num_classes", None, "Labels must be less than this. Default: the largest label plus 1."
    )
    flags.DEFINE_enum(
        "pictures",
        splits.AUTO,
        [splits.AUTO, *methods.PICTURES],
        "How predict makes such an image from a picture. digit: finds the digit on it, makes it "
        "light on black, of MNIST's size and place. plain: only resizes it. auto: digit for images "
        "that have MNIST's form, else plain.",
    )
    flags.DEFINE_bool(
        "verify",
        False,
        "Prepare nothing: re-read every record in the data_dir, and say what is wrong.",
    )
    flags.DEFINE_bool(
        "force",
        False,
        "Replace the dataset in the data_dir: the files that its manifest.json lists, no others. "
        "Until it is written both need room.",
    )
    flags.DEFINE_string(
        "part",
        "",
        "I/N, as 3/16: prepare only the third of 16 parts, counted from 1, of the examples. All "
        "parts need the same flags and the same data_dir. A part that is killed is started anew; "
        "one that is there already is left as it is.",
    )
    flags.DEFINE_bool(
        "merge",
        False,
        "Join the parts in the data_dir; this needs no other flag. With --part: prepare that part, "
        "and then join them if all are there.",
    )
    help_text.group("The prepared dataset", ["data_dir", "verify", "force"])
    help_text.group("Parts, on many machines", ["part", "merge"])
    help_text.group("A named dataset", ["dataset"])
    help_text.group("IDX or .npz files", ["source_dir", *_IDX, "npz", "transpose"])
    help_text.group("CSV or Parquet files", [*_CSV, *_PARQUET, "label_column"])
    help_text.group("Folders of pictures", _FOLDERS)
    help_text.group("The examples", ["image_shape", "num_classes", "pictures"])
    help_text.group("The splits", ["validation_split", "seed", "shards"])


def main(argv: list[str]) -> int | None:
    """Reads the flags; prepares or verifies."""
    values = flags.FLAGS.flag_values_dict()
    _check(values)
    _check_merge(flags.FLAGS)
    data_dir = values["data_dir"] or config.default_data_dir(values["dataset"])
    # Both import TensorFlow, which takes seconds; wrong flags have been answered by now.
    return _verify(data_dir) if values["verify"] else _prepare(data_dir, values)


def _check(values: Mapping[str, Any]) -> None:
    """Raises InputError for flags that are out of range or contradict each other."""
    splits.check_range("shards", values["shards"], 1, splits.MAX_SHARDS)
    splits.check_range("seed", values["seed"], 0, splits.MAX_SEED)
    splits.check_validation_split(values["validation_split"])
    if values["dataset"]:
        known_datasets.check_name(values["dataset"])
    given = [
        name
        for name in ("dataset", "source_dir", *_IDX, *_CSV, *_PARQUET, "npz", *_FOLDERS)
        if values[name]
    ]
    others = [*given, *(name for name in ("force", "part", "merge") if values[name])]
    if values["verify"] and others:
        raise InputError(
            f"--verify and --{others[0]}: found both; --verify only reads the data_dir"
        )
    if values["part"]:
        splits.parse_part(values["part"])
    _check_sources(given)
    custom = bool(given) and given != ["dataset"]
    if custom and not values["data_dir"]:
        raise InputError("--data_dir: found nothing, expected the folder to write to")
    if values["num_classes"] is not None:
        splits.check_range("num_classes", values["num_classes"], 2, splits.MAX_CLASSES)
        if not custom or _FOLDERS[0] in given:
            raise InputError(
                f"--num_classes: not without --source_dir, --{_IDX[0]}, --{_CSV[0]}, "
                f"--{_PARQUET[0]} or --npz"
            )
    if values["label_column"] and not set(given) & {*_CSV, *_PARQUET}:
        raise InputError(f"--label_column: not without --{_CSV[0]} or --{_PARQUET[0]}")
    if values["transpose"] and not set(given) & {"source_dir", *_IDX, *_PARQUET, "npz"}:
        raise InputError(
            f"--transpose: not without --source_dir, --{_IDX[0]}, --{_PARQUET[0]} or --npz"
        )
    if values["image_shape"]:
        channels = _parse_shape(values["image_shape"])[2]
        if not set(given) & {*_CSV, *_PARQUET, *_FOLDERS}:
            raise InputError(
                f"--image_shape: not without --{_CSV[0]}, --{_PARQUET[0]} or --{_FOLDERS[0]}; IDX "
                "files say it themselves"
            )
        if channels not in (1, 3) and _FOLDERS[0] in given:
            raise InputError(
                f"--image_shape: found {channels} channels, expected 1 (grey) or 3 (colours)"
            )


def _check_merge(values: flags.FlagValues) -> None:
    """Raises InputError for a flag that says what to prepare, where parts are only joined."""
    if not values.merge or values.part:
        return
    for name in sorted(values):
        is_ours = not str(values.find_module_defining_flag(name)).startswith("absl")
        if values[name].present and is_ours and name not in ("merge", "data_dir", "force"):
            raise InputError(
                f"--merge and --{name}: found both; --merge reads only the parts in the data_dir, "
                "which were made with such flags; drop it, or add --part=I/N"
            )


def _check_sources(given: Sequence[str]) -> None:
    groups = (("dataset",), ("source_dir",), _IDX, _CSV, _PARQUET, ("npz",), _FOLDERS)
    named = [[name for name in group if name in given] for group in groups]
    named = [names for names in named if names]
    if len(named) > 1:
        raise InputError(f"--{named[0][0]} and --{named[1][0]}: found both, expected one source")
    for part in ("train", "test"):
        images, labels = f"{part}_images", f"{part}_labels"
        if (images in given) != (labels in given):
            there, missing = (images, labels) if images in given else (labels, images)
            raise InputError(f"--{there} without --{missing}: expected both")
    for train, test in (("train_images", "test_images"), _CSV, _PARQUET, _FOLDERS):
        if test in given and train not in given:
            raise InputError(f"--{test} without --{train}: expected training examples too")


def _parse_shape(text: str) -> tuple[int, int, int]:
    match = re.fullmatch(r"([1-9]\d{0,8}),([1-9]\d{0,8})(?:,([1-9]\d{0,8}))?", text)
    if not match:
        raise InputError(f"--image_shape: found {text!r}, expected H,W,C as in 28,28,1")
    height, width, channels = (int(number or 1) for number in match.groups())
    return height, width, channels


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
        return sources.from_idx(file_lists.of_flags(values, _IDX), classes, transpose=transpose)
    shape = _parse_shape(values["image_shape"]) if values["image_shape"] else None
    columns = {"image_shape": shape, "label_column": values["label_column"]}
    if values["train_csv"]:
        tables = file_lists.of_flags(values, _CSV, folders=True)
        return sources.from_csv(*tables.values(), num_classes=classes, **columns)
    if values["train_parquet"]:
        tables = file_lists.of_flags(values, _PARQUET, folders=True)
        options = {"num_classes": classes, "transpose": transpose}
        return sources.from_parquet(*tables.values(), **options, **columns)
    if values["image_folder"]:
        train, test = values["image_folder"], values["test_image_folder"] or None
        return sources.from_image_folder(train, test, image_shape=shape)
    if values["npz"]:
        return sources.from_npz(values["npz"], classes, transpose=transpose)
    return data_dirs.from_data_dir(data_dir, values["dataset"])


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
    program.run(main)
