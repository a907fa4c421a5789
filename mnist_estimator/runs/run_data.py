"""Finds out whether a recorded run's data are still where they were, and says how to get them."""

from __future__ import annotations

from typing import Any

from mnist_estimator import InputError
from mnist_estimator.data import data_dirs, folder_contents, known_datasets, splits
from mnist_estimator.data.manifest import MANIFEST, find_manifest, prepare_command

_USUAL = {"validation_split": splits.AUTO, "shards": 8, "seed": 0}


def check_there(record: dict[str, Any], model_dir: str, data_dir: str, dataset: str) -> None:
    """Raises InputError if the data_dir lacks the run's data and others would be prepared there.

    Args:
      record: the run's, from run.json.
      dataset: the value of --dataset; "" for whatever is in the data_dir.
    """
    if find_manifest(data_dir) is None:
        to_prepare = dataset or data_dirs.default_dataset(data_dir)
        # For IDX files in the data_dir the name is "", as it is known only once they are prepared.
        if to_prepare and to_prepare != record["dataset"]["name"]:
            raise InputError(missing(record, model_dir, data_dir))


def missing(record: dict[str, Any], model_dir: str, data_dir: str) -> str:
    """Returns the error line for a data_dir that does not hold the records of a run."""
    trained = record["dataset"]
    contents = folder_contents.look(data_dir)
    found = f"holds {contents.found}" if contents else f"no {MANIFEST}"
    again = "name its folder with --data_dir, or prepare it again with "
    again += _prepare_command(record, data_dir)
    return (
        f"{data_dir}: {found}, expected the prepared dataset of the run in {model_dir}, which is "
        f"{_described(trained)}; {contents.advice if contents and contents.is_data else again}"
    )


def _described(trained: dict[str, Any]) -> str:
    if known_datasets.is_known(trained["name"]):
        return trained["name"]
    digests = ", ".join(f"{role} {digest[:12]}" for role, digest in trained["sources"].items())
    return f"{trained['name']} (sha256 of its sources: {digests})"


def _prepare_command(record: dict[str, Any], data_dir: str) -> str:
    name, given = record["dataset"]["name"], record["flags"]
    named = known_datasets.is_known(name)
    flags = [f"--dataset={name}"] if named else []
    flags += [f"--{flag}={given[flag]}" for flag in _USUAL if given[flag] != _USUAL[flag]]
    command = prepare_command(data_dir, *flags)
    return command if named else f"{command} and the flags that name its files"
