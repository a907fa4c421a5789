"""Which data a command uses: what is in the data_dir, or what is prepared there."""

from __future__ import annotations

import fcntl
import io
import itertools
import os
import shutil
from pathlib import Path

import pytest
from support.idx_files import arrays, make_known, put

from mnist_estimator import InputError
from mnist_estimator.data import (
    data_dirs,
    download,
    known_datasets,
    parts,
    records,
    sources,
    splits,
    workspace,
)
from mnist_estimator.data.manifest import MANIFEST
from mnist_estimator.runtime.progress import ProgressLine


def test_sample(tmp_path: Path):
    manifest = data_dirs.ensure_dataset(str(tmp_path / "data"), dataset="sample")
    assert (manifest.dataset, manifest.image_shape) == ("sample", (28, 28, 1))
    counts = [manifest.num_examples(split) for split in splits.SPLITS]
    assert counts == [3600, 400, 1000] and manifest.num_classes == 10
    assert records.verify(str(tmp_path / "data")) == []


def test_manifest_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    manifest = sources.from_folder(_folder(tmp_path)).write(str(tmp_path / "data"), shards=2)
    monkeypatch.setattr(data_dirs, "from_data_dir", None)  # Nothing else is looked at.
    assert data_dirs.ensure_dataset(str(tmp_path / "data")) == manifest
    assert data_dirs.ensure_dataset(str(tmp_path / "data"), shards=7, seed=3) == manifest
    rule = {"validation_split": "auto"}
    assert data_dirs.ensure_dataset(str(tmp_path / "data"), **rule) == manifest


def _folder(tmp_path: Path) -> str:
    put(tmp_path / "idx", arrays())
    return str(tmp_path / "idx")


def test_other_dataset_than_asked(tmp_path: Path):
    sources.from_folder(_folder(tmp_path)).write(str(tmp_path / "data"))
    with pytest.raises(InputError, match="holds custom, expected mnist"):
        data_dirs.ensure_dataset(str(tmp_path / "data"), dataset="mnist")


@pytest.mark.parametrize("asked", ["2", "0", "0.5"])
def test_other_split_than_asked(tmp_path: Path, asked: str):
    sources.from_folder(_folder(tmp_path)).write(str(tmp_path / "data"))
    with pytest.raises(InputError, match="its validation split is '1 of 12 by .*', expected"):
        data_dirs.ensure_dataset(str(tmp_path / "data"), validation_split=asked)


def test_other_seed_of_a_random_split(tmp_path: Path):
    write = sources.from_folder(_folder(tmp_path)).write
    write(str(tmp_path / "data"), validation_split="0.5", seed=1)
    data_dirs.ensure_dataset(str(tmp_path / "data"), validation_split="0.5", seed=1)
    with pytest.raises(InputError, match="seed 1', expected '6 of 12 by .*seed 2'"):
        data_dirs.ensure_dataset(str(tmp_path / "data"), validation_split="0.5", seed=2)


def test_idx_files_are_prepared_in_place(tmp_path: Path):
    paths = put(tmp_path, arrays())
    manifest = data_dirs.ensure_dataset(str(tmp_path))
    assert manifest.dataset == "custom" and records.verify(str(tmp_path)) == []
    assert all(os.path.exists(path) for path in paths.values())


def test_idx_files_of_another_dataset_than_asked(tmp_path: Path):
    put(tmp_path, arrays())
    with pytest.raises(download.DownloadError, match="is not MNIST's file"):
        data_dirs.ensure_dataset(str(tmp_path), dataset="mnist")
    assert not (tmp_path / MANIFEST).exists()


def test_some_idx_files(tmp_path: Path):
    os.remove(put(tmp_path, arrays())["test_images"])
    with pytest.raises(InputError, match="no t10k-images-idx3-ubyte, expected all four"):
        data_dirs.ensure_dataset(str(tmp_path))


def test_parts_that_are_not_merged_are_not_filled_up_with_mnist(tmp_path: Path):
    data_dir = str(tmp_path / "data")
    plan = sources.from_folder(_folder(tmp_path)).plan(validation_split="auto", shards=2, seed=0)
    parts.write_part(data_dir, splits.parse_part("1/2"), plan)
    with pytest.raises(InputError, match=r"holds parts of a dataset.*prepare .*--merge, or"):
        data_dirs.ensure_dataset(data_dir)


def test_an_interrupted_dataset_is_not_replaced_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    data_dir, given = str(tmp_path / "data"), sources.from_folder(_folder(tmp_path))

    def interrupted(folder: str, *_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(workspace, "_check_stray", interrupted)
        with pytest.raises(KeyboardInterrupt):
            given.write(data_dir)
    assert data_dirs.unfinished(data_dir) == ""  # Nothing was published.
    with monkeypatch.context() as patch:
        patch.setattr(workspace, "sync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            given.write(data_dir)
    with pytest.raises(InputError, match="the command that prepared custom here was interrupted"):
        data_dirs.ensure_dataset(data_dir)
    assert given.write(data_dir).dataset == "custom"
    assert records.verify(data_dir) == []


def test_an_interrupted_dataset_of_the_files_in_the_folder_is_prepared_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    data_dir = _folder(tmp_path)

    def interrupted(folder: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(workspace, "sync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            data_dirs.ensure_dataset(data_dir)
    assert workspace.unfinished(data_dir) == "custom"
    assert data_dirs.ensure_dataset(data_dir).dataset == "custom"


def test_an_interrupted_named_dataset_is_known_without_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    data_dir = str(tmp_path / "data")

    def interrupted(folder: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(workspace, "sync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            data_dirs.ensure_dataset(data_dir, dataset="sample")
    assert data_dirs.unfinished(data_dir) == "sample"
    assert data_dirs.ensure_dataset(data_dir).dataset == "sample"


def test_one_file_of_four_is_waited_for_while_another_process_is_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    data_dir, paths = _folder(tmp_path), arrays()
    rest = {role: data for role, data in paths.items() if role != "train_images"}
    for role in rest:
        os.remove(os.path.join(data_dir, known_datasets.FILE_NAMES[role]))
    handle = os.open(data_dir, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)

    def done(secs: float) -> None:
        put(Path(data_dir), arrays())
        os.close(handle)

    monkeypatch.setattr(data_dirs.time, "sleep", done)
    assert data_dirs.ensure_dataset(data_dir).dataset == "custom"


def test_named_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    paths = put(tmp_path, arrays((3, 3)), compressed=True)
    make_known(monkeypatch, paths)
    manifest = data_dirs.ensure_dataset(str(tmp_path), dataset="mnist")
    assert (manifest.dataset, manifest.class_names) == ("mnist", ("zero", "one", "two"))
    assert manifest.sources == known_datasets.DATASETS["mnist"].digests
    # Without its files it is still known to be the same, and not fetched again.
    for path in paths.values():
        os.remove(path)
    again = data_dirs.from_data_dir(str(tmp_path), "mnist").write(str(tmp_path))
    assert again == manifest


def test_fetched_to_a_temporary_folder_for_another_filesystem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    paths = put(tmp_path / "mirror", arrays((3, 3)))
    make_known(monkeypatch, paths)
    folders = []

    def fetch(known: known_datasets.KnownDataset, folder: str, line: object) -> dict[str, str]:
        folders.append(folder)
        copied = shutil.copytree(tmp_path / "mirror", folder, dirs_exist_ok=True)
        return {role: os.path.join(copied, os.path.basename(paths[role])) for role in paths}

    monkeypatch.setattr(download, "fetch", fetch)
    manifest = data_dirs.ensure_dataset("ram://named/data", dataset="mnist")
    assert manifest.dataset == "mnist" and records.verify("ram://named/data") == []
    assert len(folders) == 1 and "://" not in folders[0]


def test_dataset_that_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    make_known(monkeypatch, put(tmp_path / "elsewhere", arrays((3, 3))))
    with pytest.raises(download.DownloadError, match="--dataset=sample") as error:
        data_dirs.ensure_dataset(str(tmp_path / "data"))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "data" / MANIFEST).exists()


def test_waits_for_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    put(tmp_path, arrays())
    handle = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    log, naps = io.StringIO(), []
    seconds = itertools.count(step=20)
    line = ProgressLine(log, clock=lambda: next(seconds))

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            os.close(handle)

    monkeypatch.setattr(data_dirs.time, "sleep", nap)
    assert data_dirs.ensure_dataset(str(tmp_path), line=line).dataset == "custom"
    waiting = f"waiting for the process that prepares {tmp_path}"
    assert len(naps) == 3 and log.getvalue().splitlines()[:3] == [waiting] * 3
