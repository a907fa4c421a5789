"""What is doubtful about a dataset, or about evaluating a run on it: a line each, for a warning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mnist_estimator import InputError
from mnist_estimator.data.manifest import Manifest, prepare_command
from mnist_estimator.data.splits import SPLITS, TEST, TRAIN, VALIDATION

_SHOWN = 8  # Classes that a line names.
# How much brighter the brightest pixel is where the scale is another: pixels of 0 to 1, 0 to 15 or
# 0 to 16 are the usual ones beside 0 to 255.
_OTHER_SCALE = 12
_BRIGHTER, _DARKER = 2, 4  # From here on it is doubtful.
_DARK = range(2, 64)  # What is left of pictures of 10 to 14 bits in files of 16; 1 is a mask's.


def of_dataset(data_dir: str, manifest: Manifest) -> list[str]:
    """What `train` and `prepare` warn of. Format version 1 has no counts to look at."""
    lines = [_same_examples(manifest), _one_class(manifest), _sorted(data_dir, manifest)]
    lines += [_untrained_classes(manifest), _absent_classes(manifest), _dark_pictures(manifest)]
    return [f"{data_dir}: {line}" for line in lines if line]


def of_splits(data_dir: str, manifest: Manifest) -> list[str]:
    """The classes that validation or test lack although training has them, for `prepare`."""
    train = _counts(manifest, TRAIN)
    lines = []
    for split in (VALIDATION, TEST):
        counts = _counts(manifest, split)
        if counts.any():
            lacking = np.flatnonzero((counts == 0) & (train > 0))
            if len(lacking):
                named = _named(lacking, manifest.class_names)
                lines.append(f"{data_dir}: {split} has no example of {named}")
    return lines


def differ(manifest: Manifest) -> bool:
    """Whether the classes are spread over some split much otherwise than over training."""
    train = _counts(manifest, TRAIN)
    others = [_counts(manifest, split) for split in (VALIDATION, TEST)]
    return any(counts.any() and _spread_otherwise(train, counts) for counts in others)


def check_trainable(data_dir: str, manifest: Manifest) -> None:
    """Raises InputError if there is nothing to learn, as all training examples are of one class."""
    problem = _one_class(manifest)
    if problem:
        raise InputError(f"{data_dir}: {problem}")


def check_scale(name: str, brightest: int, trained: int, where: str) -> str:
    """Compares the brightest pixel of images with that of training images.

    Args:
      name: what the images are called, and `where` the training images.

    Returns:
      What is doubtful; "" if nothing is.

    Raises:
      InputError: if the images are of another scale for certain.
    """
    found = f"{name}: the brightest pixel is {brightest}, expected about {trained} as in {where}"
    # Darker images may be what they are; those whose pixels are 0 and 1 are not.
    if brightest >= _OTHER_SCALE * trained or (brightest == 1 and trained >= _OTHER_SCALE):
        raise InputError(f"{found}; bring both to one scale")
    if brightest >= _BRIGHTER * trained or brightest * _DARKER <= trained:
        return f"{found}; see that both have one scale"
    return ""


def of_evaluation(
    manifest: Manifest, split: str, trained: Mapping[str, Any], *, name: str, records: bool
) -> list[str]:
    """What is doubtful about evaluating a run on a split.

    Args:
      trained: what run.json says of the data that the run was trained on.
      name: what the data are called: a data_dir, or with `records` False a file.

    Raises:
      InputError: if they are of another scale.
    """
    if manifest.digest == trained["manifest_sha256"]:
        return []
    lines = [_other_records(manifest, trained)] if records else []
    seen = _seen_examples(manifest, split if records else "", trained)
    lines += [_other_names(manifest, trained), seen]
    lines = [f"{name}: {line}" for line in lines if line]
    if "brightest_pixel" in trained and manifest.format_version > 1:
        where = "the run's data"
        doubt = check_scale(name, manifest.brightest_pixel, trained["brightest_pixel"], where)
        lines += [doubt] if doubt else []
    return lines


def _counts(manifest: Manifest, split: str) -> np.ndarray:
    """Examples of each class, int64 [K]; of format version 1 none."""
    return np.array(manifest.class_examples[split], np.int64)


def _same_examples(manifest: Manifest) -> str:
    """Labels do not count: the same few are easily those of other images."""
    train, test = (_image_digests(manifest.sources, part) for part in (TRAIN, TEST))
    if not set(train) & set(test):
        return ""
    return (
        "the test examples are the training examples, so the test accuracy will say nothing about "
        "new ones; give other examples for the test split"
    )


def _image_digests(sources: Mapping[str, str], part: str) -> list[str]:
    return [digest for role, digest in sources.items() if part in role and "labels" not in role]


def _one_class(manifest: Manifest) -> str:
    present = np.flatnonzero(_counts(manifest, TRAIN))
    if len(present) != 1:
        return ""
    return (
        f"all training examples are of {_named(present, manifest.class_names)}, expected two "
        "classes or more; prepare it again from data that have them"
    )


def _sorted(data_dir: str, manifest: Manifest) -> str:
    """Of a validation split from the front."""
    train, validation = (_counts(manifest, split) for split in (TRAIN, VALIDATION))
    by_front = manifest.split_rule.startswith("first ") and validation.any() and train.any()
    if not by_front or not _spread_otherwise(train, validation):
        return ""
    again = prepare_command(data_dir, "--validation_split=auto", "--force")
    return (
        f"the examples are sorted by class: validation, the {manifest.split_rule}, has other "
        f"classes than training; prepare it again with {again} and the flags that name its files"
    )


def _dark_pictures(manifest: Manifest) -> str:
    is_of_pictures = any("pictures" in role for role in manifest.sources)
    if not is_of_pictures or manifest.brightest_pixel not in _DARK:
        return ""
    return (
        f"the brightest pixel of all pictures is {manifest.brightest_pixel} of 255; of 16 bits a "
        "pixel the upper 8 are used, so scale pictures of fewer bits to 0 to 65535"
    )


def _untrained_classes(manifest: Manifest) -> str:
    others = _counts(manifest, VALIDATION) + _counts(manifest, TEST)
    lacking = np.flatnonzero((_counts(manifest, TRAIN) == 0) & (others > 0))
    if not len(lacking):
        return ""
    splits = [split for split in (VALIDATION, TEST) if _counts(manifest, split)[lacking].any()]
    return (
        f"training has no example of {_named(lacking, manifest.class_names)}, but "
        f"{' and '.join(splits)} {'have' if len(splits) > 1 else 'has'}: no network can learn it; "
        "add training examples of it, or leave it out"
    )


def _absent_classes(manifest: Manifest) -> str:
    absent = np.flatnonzero(sum(_counts(manifest, split) for split in SPLITS) == 0)
    if not len(absent) or manifest.format_version == 1:
        return ""
    start = absent[0] == 0
    return (
        f"no split has an example of {_named(absent, manifest.class_names)}, of "
        f"{manifest.num_classes} classes"
        + ("; if the labels start at 1, write them from 0 on" if start else "; is that right?")
    )


def _named(classes: Sequence[int], names: Sequence[str]) -> str:
    shown = [
        str(label) if names[label] == str(label) else f"{label} ({names[label]})"
        for label in classes[:_SHOWN]
    ]
    more = f" and {len(classes) - _SHOWN} more" if len(classes) > _SHOWN else ""
    return f"{'class' if len(classes) == 1 else 'the classes'} {', '.join(shown)}{more}"


def _spread_otherwise(train: np.ndarray, other: np.ndarray) -> bool:
    """Whether the shares of the classes differ by more than a random choice makes them differ.

    Compared is the total variation distance, half the sum of the absolute differences. That of two
    random choices is on average less than half the sum of the shares' standard deviations.
    """
    shares = [counts / max(counts.sum(), 1) for counts in (train, other)]
    distance = 0.5 * np.abs(shares[0] - shares[1]).sum()
    both = (train + other) / max((train + other).sum(), 1)
    fewer = max(min(train.sum(), other.sum()), 1)
    by_chance = 0.5 * np.sqrt(2 * both * (1 - both) / fewer).sum()
    return bool(distance > 0.1 + 2 * by_chance)


def _other_records(manifest: Manifest, trained: Mapping[str, Any]) -> str:
    def shown(name: str, rule: str, digest: str) -> str:
        return f"{name} ({f'validation: {rule}, ' if rule else ''}manifest {digest[:8]})"

    was = shown(trained["name"], trained.get("split_rule", ""), trained["manifest_sha256"])
    found = shown(manifest.dataset, manifest.split_rule, manifest.digest)
    return f"these are not the records of the run: it was trained on {was}, these are {found}"


def _other_names(manifest: Manifest, trained: Mapping[str, Any]) -> str:
    ours, theirs = list(manifest.class_names), list(trained.get("class_names", ()))
    numbers = list(map(str, range(len(ours))))
    if numbers in (ours, theirs) or len(theirs) != len(ours):
        return ""
    label = next((k for k, name in enumerate(ours) if name != theirs[k]), None)
    if label is None:
        return ""
    return (
        f"the classes have other names than those of the run: {label} is {ours[label]}, there "
        f"{theirs[label]}"
    )


def _seen_examples(manifest: Manifest, split: str, trained: Mapping[str, Any]) -> str:
    """`split` is "" for all examples of a file."""
    part = {TEST: TEST, "": ""}.get(split, TRAIN)
    found = set(_image_digests(manifest.sources, part))
    if not found & set(_image_digests(trained.get("sources", {}), TRAIN)):
        return ""
    if split == VALIDATION and manifest.split_rule == trained.get("split_rule"):
        return ""
    what = f"the {split} examples" if split else "its examples"
    which = "may be among those" if split in (TRAIN, VALIDATION) else "are those"
    return f"{what} {which} that the run was trained on, so the accuracy says little about new ones"
