"""The flags of `prepare`, and which of them go together. TensorFlow is not imported."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags

from mnist_estimator import InputError, config
from mnist_estimator.data import known_datasets, splits
from mnist_estimator.pictures import methods
from mnist_estimator.runtime import flag_fields, help_text

IDX = known_datasets.ROLES
CSV = ("train_csv", "test_csv")
PARQUET = ("train_parquet", "test_parquet")
_FOLDERS = ("image_folder", "test_image_folder")
_SOURCES = (("dataset",), ("source_dir",), IDX, CSV, PARQUET, ("npz",), _FOLDERS)
_WITH_MERGE = ("merge", "data_dir", "force", "stall_timeout_secs")
_SEVERAL = "Several are a list with commas or a pattern with *, ? or [...], in the order of names."
_SEVERAL_OR_FOLDER = "Several are a list with commas, a pattern with *, ? or [...], or a folder."


def define_flags(values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the flags of `prepare`."""
    before = set(values)
    config.define_data_flags(values)
    _define_files(values)
    _define_examples(values)
    _define_work(values)
    for name in set(values) - before:
        flag_fields.show_in_help(name, values)
    help_text.group("The prepared dataset", ["data_dir", "verify", "force"], values)
    help_text.group("Parts, on many machines", ["part", "merge"], values)
    help_text.group("A named dataset", ["dataset"], values)
    help_text.group("IDX or .npz files", ["source_dir", *IDX, "npz", "transpose"], values)
    help_text.group("CSV or Parquet files", [*CSV, *PARQUET, "label_column"], values)
    help_text.group("Folders of pictures", _FOLDERS, values)
    help_text.group("The examples", ["image_shape", "num_classes", "pictures"], values)
    help_text.group("The splits", ["validation_split", "seed", "shards"], values)
    config.define_stall_timeout(values)


def _define_files(values: flags.FlagValues) -> None:
    def define(name: str, text: str) -> None:
        flag_fields.define_path(name, "", text, values)

    define(
        "source_dir",
        "Folder with IDX files of the four usual names, plain or .gz; EMNIST's names and "
        "torchvision's folders will do, too.",
    )
    for role in IDX:
        kind, what = role.split("_")
        also = " Without test files the test split is empty." if role == "test_images" else ""
        several = f" {_SEVERAL}" if role == "train_images" else ""
        define(role, f"IDX file of the {kind} {what}, plain or .gz, of any name.{also}{several}")
    define(
        "npz",
        ".npz file with arrays x_train and y_train (and x_test and y_test), or train_images and "
        "train_labels (and test_images and test_labels): uint8 images, integer labels.",
    )
    define(
        "train_csv",
        "CSV file of the training examples, plain or .gz: a line each, its label and its pixels, 0 "
        f"to 255. A header line may come first. {_SEVERAL_OR_FOLDER}",
    )
    define(
        "train_parquet",
        "Parquet file of the training examples: a column of pictures, as the Hugging Face hub has "
        f"them, or of lists of pixels, or a column a pixel; and a label. {_SEVERAL_OR_FOLDER}",
    )
    define(
        "image_folder",
        "Folder with a folder of pictures (PNG, JPEG, GIF, BMP) for each class. Classes are "
        "numbered in the order of the folders' names.",
    )
    for name in (CSV[1], PARQUET[1], _FOLDERS[1]):
        define(name, "The same for the test examples. Without it the test split is empty.")


def _define_examples(values: flags.FlagValues) -> None:
    config.define_label_column(values)
    flags.DEFINE_bool(
        "transpose",
        False,
        "Swap the rows and columns of each image of IDX, .npz, CSV or Parquet files. EMNIST's, and "
        "those that MATLAB wrote, have them swapped.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "image_shape",
        "",
        "H,W,C of the images in a table, by default a grey square; or what pictures of several "
        "sizes become, with 1 channel grey, with 3 coloured.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "num_classes",
        None,
        "Labels must be less than this. Default: the largest label plus 1.",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "pictures",
        splits.AUTO,
        [splits.AUTO, *methods.PICTURES],
        "How predict makes such an image from a picture. digit: finds the digit on it, makes it "
        "light on black, of MNIST's size and place. plain: only resizes it. auto: digit for images "
        "that have MNIST's form, else plain.",
        flag_values=values,
    )


def _define_work(values: flags.FlagValues) -> None:
    flags.DEFINE_bool(
        "verify",
        False,
        "Prepare nothing: re-read every record in the data_dir, and say what is wrong.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "force",
        False,
        "Replace the dataset in the data_dir: the files that its manifest.json lists, no others. "
        "Until it is written both need room.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "part",
        "",
        "I/N, as 3/16: prepare only the third of 16 parts, counted from 1, of the examples. All "
        "parts need the same flags and the same data_dir. A part that is killed is started anew; "
        "one that is there already is left as it is.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "merge",
        False,
        "Join the parts in the data_dir; this needs no other flag. With --part: prepare that part, "
        "and then join them if all are there.",
        flag_values=values,
    )


def check(values: flags.FlagValues) -> None:
    """Raises InputError for flags that are out of range or contradict each other."""
    found = values.flag_values_dict()
    splits.check_range("shards", found["shards"], 1, splits.MAX_SHARDS)
    splits.check_range("seed", found["seed"], 0, splits.MAX_SEED)
    splits.check_validation_split(found["validation_split"])
    if found["dataset"]:
        known_datasets.check_name(found["dataset"])
    if found["part"]:
        splits.parse_part(found["part"])
    given = [name for group in _SOURCES for name in group if found[name]]
    _check_verify(found, given)
    _check_sources(given)
    is_custom = bool(given) and given != ["dataset"]
    if is_custom and not found["data_dir"]:
        raise InputError("--data_dir: found nothing, expected the folder to write to")
    _check_classes(found, given, is_custom)
    _check_shape(found, given)
    _check_merge(values)


def parse_shape(text: str) -> tuple[int, int, int]:
    """Returns (H, W, C) of the text of --image_shape; one channel if it says none."""
    match = re.fullmatch(r"([1-9]\d{0,8}),([1-9]\d{0,8})(?:,([1-9]\d{0,8}))?", text)
    if not match:
        raise InputError(f"--image_shape: found {text!r}, expected H,W,C as in 28,28,1")
    height, width, channels = (int(number or 1) for number in match.groups())
    return height, width, channels


def _check_verify(found: Mapping[str, Any], given: Sequence[str]) -> None:
    others = [*given, *(name for name in ("force", "part", "merge") if found[name])]
    if found["verify"] and others:
        raise InputError(
            f"--verify and --{others[0]}: found both; --verify only reads the data_dir"
        )


def _check_sources(given: Sequence[str]) -> None:
    named = [[name for name in group if name in given] for group in _SOURCES]
    named = [names for names in named if names]
    if len(named) > 1:
        raise InputError(f"--{named[0][0]} and --{named[1][0]}: found both, expected one source")
    for part in ("train", "test"):
        images, labels = f"{part}_images", f"{part}_labels"
        if (images in given) != (labels in given):
            there, missing = (images, labels) if images in given else (labels, images)
            raise InputError(f"--{there} without --{missing}: expected both")
    for train, test in (("train_images", "test_images"), CSV, PARQUET, _FOLDERS):
        if test in given and train not in given:
            raise InputError(f"--{test} without --{train}: expected training examples too")


def _check_classes(found: Mapping[str, Any], given: Sequence[str], is_custom: bool) -> None:
    if found["num_classes"] is not None:
        splits.check_range("num_classes", found["num_classes"], 2, splits.MAX_CLASSES)
        if not is_custom or _FOLDERS[0] in given:
            raise InputError(
                f"--num_classes: not without --source_dir, --{IDX[0]}, --{CSV[0]}, "
                f"--{PARQUET[0]} or --npz"
            )
    if found["label_column"] and not set(given) & {*CSV, *PARQUET}:
        raise InputError(f"--label_column: not without --{CSV[0]} or --{PARQUET[0]}")


def _check_shape(found: Mapping[str, Any], given: Sequence[str]) -> None:
    if found["transpose"] and not set(given) & {"source_dir", *IDX, *CSV, *PARQUET, "npz"}:
        raise InputError(
            f"--transpose: not without --source_dir, --{IDX[0]}, --{CSV[0]}, --{PARQUET[0]} "
            "or --npz"
        )
    if not found["image_shape"]:
        return
    channels = parse_shape(found["image_shape"])[2]
    if not set(given) & {*CSV, *PARQUET, *_FOLDERS}:
        raise InputError(
            f"--image_shape: not without --{CSV[0]}, --{PARQUET[0]} or --{_FOLDERS[0]}; IDX "
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
        if values[name].present and is_ours and name not in _WITH_MERGE:
            raise InputError(
                f"--merge and --{name}: found both; --merge reads only the parts in the data_dir, "
                "which were made with such flags; drop it, or add --part=I/N"
            )
