"""Which data a run is trained and evaluated on, and what is said of others."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from support.datasets import CLASSES, ArraySource, array_source

from mnist_estimator import InputError
from mnist_estimator.cluster.roles import Task
from mnist_estimator.config import TrainConfig
from mnist_estimator.data import idx, known_datasets, sources, writer
from mnist_estimator.runs import open_run
from mnist_estimator.scoring import labelled_files
from mnist_estimator.training import training


def _train(model_dir: Path, data_dir: Path, max_steps: int = 2, **options: str) -> None:
    options = {"model": "softmax", "export": "none", "batch_size": 8} | options
    config = TrainConfig(
        model_dir=str(model_dir), data_dir=str(data_dir), max_steps=max_steps, **options
    )
    training.train(config, Task())


def _write(data_dir: Path, train: ArraySource, test: ArraySource | None = None, **options: str):
    options = {"dataset": "custom", "num_classes": CLASSES} | options
    return writer.write_dataset(str(data_dir), train=train, test=test, **options)


def _sorted(examples: int) -> ArraySource:
    source = array_source(examples)
    order = np.argsort(source.labels, kind="stable")
    return ArraySource(source.images[order], source.labels[order])


def _idx(folder: Path, images: np.ndarray, labels: np.ndarray) -> dict[str, str]:
    paths = {}
    for what, array in (("images", images[..., 0]), ("labels", labels.astype(np.uint8))):
        paths[what] = str(folder / f"{len(labels)}-{what}")
        with open(paths[what], "wb") as file:
            idx.write_idx(file, array)
    return paths


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with IDX files `80-images` and `20-images`, their dataset `data` and a run on it."""
    folder = tmp_path_factory.mktemp("run")
    paths = {}
    for part, examples in (("train", 80), ("test", 20)):
        source = array_source(examples, seed=examples)
        found = _idx(folder, source.images, source.labels)
        paths |= {f"{part}_{what}": path for what, path in found.items()}
    sources.from_idx(paths, CLASSES).write(str(folder / "data"), validation_split="8")
    _train(folder / "model", folder / "data")
    return folder


def test_training_says_what_is_doubtful(tmp_path: Path, capsys):
    _write(tmp_path / "data", _sorted(80), array_source(20), validation_split="20")
    _train(tmp_path / "model", tmp_path / "data")
    said = capsys.readouterr().err
    assert f"warning: {tmp_path}/data: the examples are sorted by class" in said
    assert "training has no example of class 0, but validation and test have" in said


def test_training_is_quiet_where_nothing_is_doubtful(run: Path, tmp_path: Path, capsys):
    _write(tmp_path / "data", _sorted(80), array_source(20))
    _train(tmp_path / "model", tmp_path / "data")
    assert "warning" not in capsys.readouterr().err


def test_training_on_one_class_is_refused(tmp_path: Path):
    source = array_source(30)
    _write(tmp_path / "data", ArraySource(source.images, np.full(30, 2)))
    with pytest.raises(InputError, match="all training examples are of class 2, expected two"):
        _train(tmp_path / "model", tmp_path / "data")


@pytest.mark.parametrize("name", ["custom", "sample", "mnist"])
def test_data_that_have_gone_are_named_and_not_replaced(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    _write(tmp_path / "data", array_source(40), dataset=name)
    _train(tmp_path / "model", tmp_path / "data")
    shutil.rmtree(tmp_path / "data")
    fetched = []

    def fetch(name: str, *_: object) -> None:
        fetched.append(name)
        raise InputError("fetching")

    monkeypatch.setattr(sources, "from_name", fetch)
    with pytest.raises(InputError) as error:
        _train(tmp_path / "model", tmp_path / "data", max_steps=4)
    if name == "mnist":
        assert fetched == ["mnist"]
        return
    line, again = str(error.value), f"python -m mnist_estimator.prepare --data_dir={tmp_path}/data"
    again += " --dataset=sample" if name == "sample" else ""
    assert f"no manifest.json, expected the prepared dataset of the run in {tmp_path}/model" in line
    assert f"which is {name}" in line and again in line
    with pytest.raises(InputError) as error:
        open_run.open_run(str(tmp_path / "model")).data()
    assert str(error.value) == line and not fetched


def test_other_named_data_are_not_fetched_for_a_run(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sources, "from_name", None)
    with pytest.raises(InputError, match="the prepared dataset of the run .*, which is custom"):
        _train(run / "model", tmp_path / "elsewhere", max_steps=4, dataset="sample")


@pytest.mark.parametrize("split", ["validation", "test"])
def test_records_of_another_split_are_said_to_be_others(
    run: Path, tmp_path: Path, capsys, split: str
):
    paths = {
        role: str(run / f"{80 if role.startswith('train') else 20}-{role.split('_')[1]}")
        for role in known_datasets.ROLES
    }
    sources.from_idx(paths, CLASSES).write(str(tmp_path / "data"), validation_split="0.3")
    opened = open_run.open_run(str(run / "model"))
    opened.data(split=split)
    assert capsys.readouterr().err == ""
    opened.data(str(tmp_path / "data"), split)
    said = capsys.readouterr().err
    assert "these are not the records of the run" in said
    assert ("may be among those that the run was trained on" in said) == (split == "validation")


def test_folder_without_records_is_said_to_hold_what_it_holds(run: Path, tmp_path: Path):
    (tmp_path / "x.csv").write_text("1,2\n")
    with pytest.raises(InputError, match=r"holds CSV files \(x.csv\), expected .*--train_csv="):
        open_run.open_run(str(run / "model")).data(str(tmp_path))


def _evaluated(run: Path, images: str = "", labels: str = "", csv: str = "") -> str:
    opened = open_run.open_run(str(run / "model"))
    if csv:
        dataset = labelled_files.csv_dataset(opened, csv)
    else:
        dataset = labelled_files.idx_dataset(opened, images, labels)
    with dataset as (_, manifest):
        return manifest.dataset


def test_training_files_are_known_again(run: Path, capsys):
    name = str(run / "80-images")
    assert _evaluated(run, name, str(run / "80-labels")) == name
    assert f"warning: {name}: its examples are those that the run was trained" in (
        capsys.readouterr().err
    )
    _evaluated(run, str(run / "20-images"), str(run / "20-labels"))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("brightest", "said"), [(1, "refused"), (16, "said"), (255, "")])
def test_file_of_another_scale(run: Path, tmp_path: Path, capsys, brightest: int, said: str):
    source = array_source(9)
    scaled = (source.images.astype(int) * brightest // source.images.max()).astype(np.uint8)
    rows = np.c_[source.labels, scaled.reshape(9, -1)]
    path = tmp_path / "a.csv"
    np.savetxt(path, rows, fmt="%d", delimiter=",")
    if said == "refused":
        with pytest.raises(InputError, match="a.csv: the brightest pixel is 1, expected about 249"):
            _evaluated(run, csv=str(path))
        return
    _evaluated(run, csv=str(path))
    assert (f"the brightest pixel is {brightest}" in capsys.readouterr().err) == (said == "said")
