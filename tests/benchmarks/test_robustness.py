"""The measurement of runs on corrupted images: what it prints, writes and refuses."""

import copy
import csv
import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
from support import programs
from support.datasets import CLASSES, TEST, array_source
from support.short_runs import train

from benchmarks import robustness, robustness_scores
from benchmarks.corruptions import CORRUPTIONS
from mnist_estimator import InputError
from mnist_estimator.compat import tf
from mnist_estimator.data import writer
from mnist_estimator.scoring import evaluation, temperature
from mnist_estimator.scoring.scores import Scores

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two runs, `a` and `b`, and three datasets.

    `whole` has no validation split, and `other` has other test images.
    """
    folder = tmp_path_factory.mktemp("robustness")
    for name, validation, seed in (("data", "12", 1), ("whole", "0", 1), ("other", "12", 2)):
        writer.write_dataset(
            str(folder / name),
            dataset="squares",
            train=array_source(80, wrong_every=5),  # Else no temperature would fit.
            test=array_source(TEST, seed=seed),
            num_classes=CLASSES,
            validation_split=validation,
            shards=2,
        )
    options = {"model": "softmax", "precision": "float32", "learning_rate": 0.1}
    train(folder / "a", str(folder / "data"), **options)
    train(folder / "b", str(folder / "data"), seed=1, ema_decay=0.5, **options)
    return folder


@pytest.mark.parametrize("names", ["b", "a,b"])
def test_a_run_is_scored_as_by_an_evaluation(folder, names, monkeypatch):
    monkeypatch.setattr(robustness_scores, "_BATCH_SIZE", 10)
    run = robustness_scores.open_runs(",".join(str(folder / name) for name in names.split(",")), 5)
    test, shown = robustness_scores.read_test({names: run}), []
    result = robustness_scores.measure(run, test, show=shown.append)
    calibrated = temperature.calibrated(run)
    assert result.temperature == pytest.approx(calibrated.options["temperature"], rel=1e-4)
    for opened, found in ((run, result.scores), (calibrated, result.scaled)):
        expected = Scores(CLASSES)
        evaluation.evaluate_alone(opened, *run.data(), "test", scores=expected)
        assert found["clean"].accuracy == expected.accuracy
        assert found["clean"].calibration_error == pytest.approx(expected.calibration_error, 1e-3)
        assert found["clean"].log_loss == pytest.approx(expected.log_loss, rel=1e-4)
    assert {scores.examples for scores in result.scores.values()} == {TEST}
    assert shown[:2] == ["clean: 0 of 23 images", "clean: 10 of 23 images"]


def test_the_network_sees_the_corrupted_images(folder):
    run = robustness_scores.open_runs(str(folder / "a"), 1)
    test = robustness_scores.read_test({"a": run}, most=9)
    moved = robustness_scores.corrupted("translate", test.images, seed=3)
    same = robustness_scores.Examples(moved, test.labels)
    result = robustness_scores.measure(run, test, seed=3)
    plain = robustness_scores.measure(run, same).scores["clean"]
    assert result.scores["translate"].log_loss == pytest.approx(plain.log_loss, rel=1e-6)
    assert result.scores["translate"].log_loss != result.scores["clean"].log_loss


def test_without_validation_images_there_is_no_temperature(folder):
    run = robustness_scores.open_runs(str(folder / "a"), 1)
    test = robustness_scores.read_test({"a": run}, str(folder / "whole"))
    result = robustness_scores.measure(run, test, data_dir=str(folder / "whole"))
    assert (result.temperature, result.scaled) == (None, {})
    lines = robustness.as_lines({"a": result})
    assert lines[-1] == "| temperature | - |" and lines[-2].endswith(" scaled | - |")
    assert robustness.as_csv({"a": result}).splitlines()[1].endswith(",,")


def test_the_mean_is_that_of_the_corruptions():
    right, wrong = ({"labels": np.array([0, 0]), "logits": np.eye(2)[[i, i]]} for i in (0, 1))
    scores = {}
    for kind in robustness_scores.KINDS:
        scores[kind] = Scores(2, worst=0)
        images = np.zeros([2, 1, 1, 1], np.uint8)
        scores[kind].add(**(wrong if kind == "fog" else right), images=images, index=np.arange(2))
    rows = robustness_scores.Result(scores, None, {}).rows()
    assert [row.images for row in rows] == [*robustness_scores.KINDS, robustness_scores.MEAN]
    assert rows[-1].accuracy == pytest.approx(14 / 15) and rows[0].accuracy == 1
    sure = np.e / (1 + np.e)
    assert rows[-1].calibration_error == pytest.approx((14 * (1 - sure) + sure) / 15)


def test_images_of_another_kind_are_refused(folder, monkeypatch):
    run = robustness_scores.open_runs(str(folder / "a"), 1)
    monkeypatch.setitem(run.record["dataset"], "brightest_pixel", 16)
    monkeypatch.setattr(robustness_scores.ensemble, "open_runs", lambda models, views: run)
    with pytest.raises(InputError, match="in which white is 16, expected one channel, in which"):
        robustness_scores.open_runs("a", 1)


def test_the_program_measures_runs_side_by_side(folder):
    a, picture = str(folder / "a"), folder / "kinds.png"
    both = f"{a},{folder / 'b'}"
    words = [sys.executable, "-m", "benchmarks.robustness", f"--model_dir={a}", "--views=5"]
    words += [f"--model_dir={both}", f"--output={folder / 'out'}", f"--picture={picture}"]
    done = programs.run_forked(words, cwd=ROOT, check=True)
    lines = done.stdout.splitlines()
    assert lines[:2] == [f"|  | {a} | {both} |", "| --- | --: | --: |"]
    names = [line.split(" | ")[0].removeprefix("| ") for line in lines[2:]]
    assert names[:17] == ["clean", *CORRUPTIONS, "mean of the corruptions"] and len(names) == 22
    rows = list(csv.DictReader((folder / "out" / robustness.CSV_FILE).open()))
    assert [row["run"] for row in rows] == [a] * 17 + [both] * 17
    assert f"{100 * float(rows[17]['accuracy']):.2f}%" == lines[2].strip(" |").split(" | ")[2]
    for line, row, column in ((19, 0, "calibration_error"), (22, 16, "scaled_calibration_error")):
        assert f"| {float(rows[row][column]):.4f} | " in lines[line]
    expected, run = Scores(CLASSES), robustness_scores.open_runs(a, 5)
    evaluation.evaluate_alone(run, *run.data(), "test", scores=expected)
    found = float(rows[0]["calibration_error"])
    assert found == pytest.approx(expected.calibration_error, rel=1e-3)
    shown = tf.io.decode_png(picture.read_bytes()).numpy()
    assert shown.shape == (16 * 8 * 2, 12 * 8 * 2, 1)


def test_other_test_images_are_refused(folder):
    run = robustness_scores.open_runs(str(folder / "a"), 1)
    other = dataclasses.replace(run, record=copy.deepcopy(run.record))
    other.record["dataset"]["data_dir"] = str(folder / "other")
    assert len(robustness_scores.read_test({"a": run, "b": run}).labels) == TEST
    with pytest.raises(InputError, match="the data of b have other test images than those of a, "):
        robustness_scores.read_test({"a": run, "b": other})


def test_other_labels_of_the_same_images_are_refused(folder, monkeypatch):
    run = robustness_scores.open_runs(str(folder / "a"), 1)
    first = robustness_scores.read_test({"a": run})
    read = iter([first, dataclasses.replace(first, labels=1 - first.labels)])
    monkeypatch.setattr(robustness_scores, "_read", lambda *given: next(read))
    with pytest.raises(InputError, match="the data of b have other test labels than those of a, "):
        robustness_scores.read_test({"a": run, "b": run})


@pytest.mark.parametrize("flags", [[], ["--model_dir=a", "--model_dir=a"]])
def test_each_run_is_to_be_named_once(flags):
    words = [sys.executable, "-m", "benchmarks.robustness", *flags]
    done = programs.run_forked(words, cwd=ROOT)
    assert done.returncode == 2
    assert "expected one or more, each of them once" in done.stderr
