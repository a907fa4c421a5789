"""Labelled files become datasets that fit the run they are evaluated on."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest

from mnist_estimator import InputError
from mnist_estimator.data import idx, inputs
from mnist_estimator.data.manifest import Dataset, Manifest, TrainedOn
from mnist_estimator.scoring import labelled_files

IMAGES = np.arange(4 * 3 * 2, dtype=np.uint8).reshape(4, 3, 2)
LABELS = np.array([0, 1, 2, 1], np.uint8)


@dataclasses.dataclass
class Run:
    """Stands for an open run; what it is asked to check is kept in `checked`."""

    shape: tuple[int, int, int] = (3, 2, 1)
    role: str = "train_images"
    checked: list[tuple] = dataclasses.field(default_factory=list)

    @property
    def trained_on(self) -> TrainedOn:
        return TrainedOn(self.shape, 3, ("a", "b", "c"), 255, "plain", "0" * 64)

    @property
    def record(self):
        return {"dataset": {"sources": {self.role: "0" * 64}}}

    def check(self, name, manifest, split, *, is_file=False):
        self.checked.append((name, manifest.image_shape, split, is_file))


def content(data_dir: str, manifest: Manifest) -> tuple[np.ndarray, list[int]]:
    batches = inputs.eval_batches(Dataset(data_dir, manifest), labelled_files.SPLIT, batch_size=9)
    ((features, labels),) = batches.as_numpy_iterator()
    return features[inputs.IMAGES][..., 0], labels.tolist()


@pytest.fixture
def idx_files(tmp_path: Path) -> tuple[str, str]:
    paths = str(tmp_path / "i.idx"), str(tmp_path / "l.idx")
    for path, array in zip(paths, (IMAGES, LABELS), strict=True):
        with open(path, "wb") as file:
            idx.write_idx(file, array)
    return paths


@pytest.mark.parametrize(
    ("asked", "role", "done", "said"),
    [
        (None, "train_images_transposed", True, True),
        (None, "train_images", False, False),
        (False, "train_images_transposed", False, False),
        (True, "train_images", True, False),
    ],
)
def test_images_are_transposed_as_the_run_says_or_the_user(
    idx_files, capsys, asked, role, done, said
):
    run = Run((2, 3, 1) if done else (3, 2, 1), role)
    with labelled_files.idx_dataset(run, *idx_files, asked) as (data_dir, manifest):
        images, labels = content(data_dir, manifest)
        np.testing.assert_array_equal(images, IMAGES.swapaxes(1, 2) if done else IMAGES)
        assert labels == LABELS.tolist()
        assert manifest.dataset == idx_files[0]
    assert run.checked == [(idx_files[0], run.trained_on.image_shape, "train", True)]
    assert ("--notranspose" in capsys.readouterr().err) == said
    assert not os.path.exists(data_dir)


@pytest.mark.parametrize("column", ["", "last"])
def test_a_csv_file_has_its_label_where_it_is_said(tmp_path, column):
    pixels = IMAGES.reshape(4, -1)
    columns = [pixels, LABELS[:, None]] if column else [LABELS[:, None], pixels]
    path = str(tmp_path / "a.csv")
    np.savetxt(path, np.concatenate(columns, axis=1), fmt="%d", delimiter=",")
    with labelled_files.csv_dataset(Run(), path, column) as (data_dir, manifest):
        images, labels = content(data_dir, manifest)
    np.testing.assert_array_equal(images, IMAGES)
    assert labels == LABELS.tolist() and manifest.num_classes == 3


def test_a_csv_file_without_names_is_refused_where_they_gave_the_order(tmp_path):
    path, run = tmp_path / "a.csv", Run((2, 3, 1), "train_csv_by_name")
    np.savetxt(path, np.c_[LABELS, IMAGES.reshape(4, -1)], fmt="%d", delimiter=",")
    line = "a.csv: no header, expected the names of the columns, by which"
    with pytest.raises(InputError, match=line), contextlib.ExitStack() as stack:
        stack.enter_context(labelled_files.csv_dataset(run, str(path)))
    path.write_text("label,p0,p1,p2,p3,p4,p5\n" + path.read_text())
    with labelled_files.csv_dataset(run, str(path)) as found:
        assert len(content(*found)[1]) == 4


def test_a_csv_file_without_names_is_refused_where_the_run_s_label_was_not_first(tmp_path):
    path, run = tmp_path / "a.csv", Run((2, 3, 1), "train_csv_label6")
    np.savetxt(path, np.c_[IMAGES.reshape(4, -1), LABELS], fmt="%d", delimiter=",")
    line = "a.csv: no header, and the label of the run's own lines is field 7; say which"
    with pytest.raises(InputError, match=line), contextlib.ExitStack() as stack:
        stack.enter_context(labelled_files.csv_dataset(run, str(path)))
    with labelled_files.csv_dataset(run, str(path), "last") as found:
        assert content(*found)[1] == LABELS.tolist()


@pytest.mark.parametrize(("asked", "role"), [(None, "train_csv_transposed"), (True, "train_csv")])
def test_a_csv_file_is_transposed_as_the_run_says_or_the_user(tmp_path, capsys, asked, role):
    path = str(tmp_path / "a.csv")
    np.savetxt(path, np.c_[LABELS, IMAGES.reshape(4, -1)], fmt="%d", delimiter=",")
    with labelled_files.csv_dataset(Run((2, 3, 1), role), path, "", asked) as found:
        np.testing.assert_array_equal(content(*found)[0], IMAGES.swapaxes(1, 2))
    assert ("--notranspose" in capsys.readouterr().err) == (asked is None)


def test_several_files(tmp_path, capsys):
    names = {}
    for part, rows in enumerate((slice(0, 1), slice(1, 4))):
        for kind, array in (("i", IMAGES), ("l", LABELS)):
            names[kind] = f"{tmp_path}/{kind}*.idx"
            with open(tmp_path / f"{kind}{part}.idx", "wb") as file:
                idx.write_idx(file, array[rows])
        table = np.concatenate([LABELS[rows, None], IMAGES.reshape(4, -1)[rows]], axis=1)
        (tmp_path / "out").mkdir(exist_ok=True)
        np.savetxt(tmp_path / f"out/part-{part}.csv", table, fmt="%d", delimiter=",")
    (tmp_path / "out/_SUCCESS").touch()
    opened = [labelled_files.idx_dataset(Run(), names["i"], names["l"])]
    opened.append(labelled_files.csv_dataset(Run(), str(tmp_path / "out")))
    for dataset in opened:
        with dataset as (data_dir, manifest):
            images, labels = content(data_dir, manifest)
        np.testing.assert_array_equal(images, IMAGES)
        assert labels == LABELS.tolist()


def test_a_file_that_is_none_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("1,2\n")
    with pytest.raises(InputError, match="a.csv"), contextlib.ExitStack() as stack:
        stack.enter_context(labelled_files.csv_dataset(Run(), str(tmp_path / "a.csv")))
