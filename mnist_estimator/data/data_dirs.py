"""What a data_dir holds or is to hold: it is prepared once, and never replaced unasked."""

from __future__ import annotations

import os
import random
import time

from mnist_estimator import InputError
from mnist_estimator.compat import tf
from mnist_estimator.data import (
    folder_contents,
    idx_folder,
    known_datasets,
    parts,
    plan,
    sources,
    splits,
    workspace,
)
from mnist_estimator.data.known_datasets import FILE_NAMES, ROLES
from mnist_estimator.data.manifest import (
    MANIFEST,
    Manifest,
    ManifestError,
    find_manifest,
    prepare_again,
    prepare_command,
)
from mnist_estimator.runtime.progress import ProgressLine

DEFAULT_DATASET = "mnist"


def ensure_dataset(
    data_dir: str,
    *,
    dataset: str = "",
    validation_split: str = splits.AUTO,
    shards: int = 8,
    seed: int = 0,
    line: ProgressLine | None = None,
) -> Manifest:
    """Makes sure that `data_dir` holds the dataset that was asked for, and returns its manifest.

    A data_dir with a manifest is taken as it is. One with the four IDX files is prepared in place,
    and one with files of other kinds is refused. Otherwise the dataset is downloaded, MNIST if none
    is named, and prepared. It is never another one than was asked for, by its name or by its
    validation split ("auto" accepts any). Of several processes that come at once, as in a cluster,
    one prepares and the others wait for it.

    Args:
      dataset: a name, or "" for whatever is there.
      line: where progress is shown; default: stderr.
      The others are as in `writer.write_dataset`.

    Raises:
      InputError: if the dataset cannot be had, or another one is there.
    """
    if dataset:
        known_datasets.check_name(dataset)
    options = {"validation_split": validation_split, "shards": shards, "seed": seed}
    with line or ProgressLine() as line:
        while (manifest := find_manifest(data_dir)) is None:
            try:
                # First: another process may be downloading one file after the other.
                interrupted = unfinished(data_dir)
                opened = from_data_dir(data_dir, dataset, interrupted, line)
                check_finishes(data_dir, interrupted, opened.dataset)
                return opened.write(data_dir, report=line, **options)
            except workspace.BusyError:
                line(f"waiting for the process that prepares {data_dir}")
                # Not all at once: without locks, those that start together all give way.
                time.sleep(random.uniform(0.5, 1.5))
    check_asked(data_dir, manifest, dataset, validation_split, seed)
    # A shard that lost whole records has sound checksums; training would just see fewer examples.
    for damage in plan.damages(data_dir, manifest):
        again = prepare_again(data_dir, manifest)
        raise InputError(f"{data_dir}: found {damage}; {again}")
    return manifest


def unfinished(data_dir: str) -> str:
    """The name of the dataset whose publishing in a data_dir was interrupted; "" if there is none.

    Raises:
      InputError: if it holds parts of a dataset that are not merged.
      BusyError: if another process is at work there.
    """
    is_there = tf.io.gfile.exists(os.path.join(data_dir, MANIFEST))
    if is_there or not tf.io.gfile.isdir(data_dir):
        return ""
    if parts.look(data_dir):
        raise InputError(
            f"{data_dir}: holds parts of a dataset that are not merged; merge them with "
            f"{prepare_command(data_dir, '--merge')}, or give another --data_dir"
        )
    return workspace.unfinished(data_dir)


def check_finishes(data_dir: str, interrupted: str, dataset: str) -> None:
    """Raises InputError if another dataset than an interrupted one would take its place."""
    if interrupted not in ("", dataset):
        raise InputError(
            f"{data_dir}: the command that prepared {interrupted} here was interrupted; give it "
            "again, or another --data_dir"
        )


def check_asked(
    data_dir: str, manifest: Manifest, dataset: str, validation_split: str, seed: int
) -> None:
    """Raises InputError if a prepared dataset is another one than is asked for."""
    advice = "give another --data_dir, or"
    if dataset and manifest.dataset != dataset:
        command = prepare_command(data_dir, f"--dataset={dataset}", "--force")
        raise InputError(
            f"{data_dir}: holds {manifest.dataset}, expected {dataset} (--dataset); {advice} "
            f"replace it with {command}"
        )
    if validation_split != splits.AUTO:
        total = manifest.num_examples(splits.TRAIN) + manifest.num_examples(splits.VALIDATION)
        asked = str(splits.validation_split(validation_split, total, seed))
        if manifest.split_rule != asked:
            raise InputError(
                f"{data_dir}: its validation split is {manifest.split_rule!r}, expected {asked!r} "
                f"(--validation_split); {advice} {prepare_again(data_dir, manifest)} and "
                f"--validation_split={validation_split}"
            )


def from_data_dir(
    data_dir: str, dataset: str = "", interrupted: str = "", line: ProgressLine | None = None
) -> sources.Sources:
    """Opens what a data_dir's dataset is prepared from, if no files are named.

    That is the four IDX files in it, unless they are not the named dataset's; else the named
    dataset, or MNIST.

    Args:
      interrupted: as `unfinished` gives it; a named one is taken where `dataset` is "".

    Raises:
      InputError: as `from_idx` and `from_name`, or if some but not all of the four are there, or
        files of other kinds. With a name only files that may be meant as examples are in the way.
    """
    present = idx_folder.find_in_data_dir(data_dir) if dataset != known_datasets.SAMPLE else {}
    if len(present) == len(ROLES):
        opened = sources.from_idx(present)
        if dataset in ("", opened.dataset):
            return opened
    elif present and not dataset:
        missing = [FILE_NAMES[role] for role in ROLES if role not in present]
        raise InputError(
            f"{data_dir}: no {' and no '.join(missing)}, expected all four IDX files or none; "
            f"add what is missing, or give --dataset={DEFAULT_DATASET} to have it downloaded"
        )
    if not present:
        named = interrupted if known_datasets.is_known(interrupted) else ""
        dataset = dataset or _prepared(data_dir) or named
        if not tf.io.gfile.exists(os.path.join(data_dir, MANIFEST)):
            _check_fillable(data_dir, dataset)
    return sources.from_name(dataset or DEFAULT_DATASET, data_dir, line)


def default_dataset(data_dir: str) -> str:
    """What is prepared in a data_dir if no name is said; "" for the IDX files in it."""
    return "" if idx_folder.find_in_data_dir(data_dir) else DEFAULT_DATASET


def _prepared(data_dir: str) -> str:
    """The named dataset that a data_dir holds already; "" if it holds none.

    Raises:
      InputError: if what it holds is no named one: in its place MNIST would be prepared.
    """
    try:
        manifest = find_manifest(data_dir)
        problem = f"holds {manifest.dataset}" if manifest else ""
    except ManifestError:
        manifest, problem = None, f"its {MANIFEST} is damaged"
    if manifest and known_datasets.is_known(manifest.dataset):
        return manifest.dataset
    if problem:
        raise InputError(
            f"{data_dir}: {problem}; to prepare it again give the flags that name its files, or "
            "--dataset, or give another --data_dir"
        )
    return ""


def _check_fillable(data_dir: str, dataset: str) -> None:
    """Raises InputError if a data_dir holds what may be the data that the user means."""
    contents = folder_contents.look(data_dir)
    if contents and (contents.is_data or not dataset):
        raise InputError(
            f"{data_dir}: holds {contents.found}, expected a prepared dataset, the four IDX files "
            f"in it, or nothing; {contents.advice}"
        )
