"""The evaluate command: what it prints and writes, and what it answers."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from support import programs
from support.datasets import CLASSES, TEST, array_source
from support.short_runs import train

from mnist_estimator.data import idx, writer

NAMES = ("north", "east", "south", "west")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of softmax regression, and its test examples as IDX and CSV files."""
    folder = tmp_path_factory.mktemp("work")
    test = array_source(TEST, seed=1)
    writer.write_dataset(
        str(folder / "data"),
        dataset="squares",
        train=array_source(82, wrong_every=6),
        test=test,
        num_classes=CLASSES,
        class_names=NAMES,
        validation_split="12",
        shards=3,
    )
    options = {"model": "softmax", "optimizer": "sgd", "learning_rate": 0.1, "max_steps": 20}
    train(folder / "run", str(folder / "data"), **options)
    for name, array in (("images.idx", test.images[..., 0]), ("labels.idx", test.labels)):
        with open(folder / name, "wb") as file:
            idx.write_idx(file, array.astype(np.uint8))
    rows = np.c_[test.labels, test.images.reshape(TEST, -1)]
    np.savetxt(folder / "test.csv", rows, fmt="%d", delimiter=",")
    return folder


def command(*flags: str, cwd: Path, code: int = 0, run=programs.run_forked) -> tuple[str, str]:
    done = run(programs.command("evaluate", *flags), cwd=cwd)
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


def test_what_is_printed_and_written_is_what_training_found(work, tmp_path):
    metrics = json.loads((work / "run/metrics.json").read_text())
    flags = ["--model_dir=run", f"--output={tmp_path}/results"]
    stdout, stderr = command(*flags, cwd=work, run=programs.run)
    assert stderr == ""
    first, second, empty, header, *lines = stdout.splitlines()
    accuracy, loss = metrics["accuracy"], metrics["loss"]
    assert first == (
        f"step 20: test accuracy {accuracy:.4f}, loss {loss:.4f} on {TEST} examples of squares"
    )
    assert second == f"calibration error {metrics['calibration_error']:.4f}"
    assert empty == "" and header.split() == ["class", "precision", "recall", "f1", "examples"]
    assert [line.split()[0] for line in lines[:CLASSES]] == list(NAMES)
    written = json.loads((tmp_path / "results/evaluation.json").read_text())
    assert written.keys() == metrics.keys() - {"checkpoint_sha256"}
    assert written["confusion_matrix"] == metrics["confusion_matrix"]
    assert written["macro_f1"] == metrics["macro_f1"]
    with open(tmp_path / "results/per_class.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == list(NAMES)
    assert [float(row["recall"]) for row in rows] == metrics["recall"]
    with open(tmp_path / "results/confusion_matrix.csv", newline="", encoding="utf-8") as file:
        _, *cells = csv.reader(file)
    assert [[int(cell) for cell in row[1:]] for row in cells] == metrics["confusion_matrix"]


@pytest.mark.parametrize("flags", ["--csv=test.csv", "--images=images.idx --labels=labels.idx"])
def test_a_file_of_the_test_examples_has_their_result(work, flags):
    metrics = json.loads((work / "run/metrics.json").read_text())
    stdout, _ = command("--model_dir=run", "--json", *flags.split(), cwd=work)
    found = json.loads(stdout)
    assert stdout.count("\n") == 1
    for name in ("accuracy", "examples", "confusion_matrix"):
        assert found[name] == metrics[name]


def test_a_fitted_temperature_is_told(work):
    stdout, stderr = command("--model_dir=run", "--calibrate", "--json", cwd=work)
    found = json.loads(stdout)["temperature"]
    assert 0.05 < found < 20 and found != 1
    assert stderr == f"temperature {found:.3f}, fitted on the validation split\n"


def test_a_file_has_no_split(work):
    stdout, _ = command("--model_dir=run", "--csv=test.csv", cwd=work)
    assert re.match(r"step 20: accuracy [01]\.\d{4}, loss .* examples of test\.csv\n", stdout)


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--images=x"], "--images without --labels: expected both"),
        (["--labels=x"], "--labels without --images: expected both"),
        (["--images=x", "--labels=y", "--csv=z"], "--csv and --images: found both"),
        (["--label_column=last"], "--label_column: found it without --csv, expected both"),
        (["--transpose"], "--transpose: found it without --images or --csv, expected one of them"),
        (["--csv=x", "--split=test"], "--csv and --split: found both, expected one source"),
        (["--csv=x", "--data_dir=y"], "--csv and --data_dir: found both, expected one source"),
        (["--images=x", "--labels=y", "--data_dir=z"], "--images and --data_dir: found both"),
        (["--split=all"], "flag --split=all: value should be one of"),
        (["--batch_size=0"], "flag --batch_size=0: "),
        (["--model_dir=none"], "none/run.json: not found, expected the record of a run"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, flags, line):
    stdout, stderr = command(*flags, cwd=tmp_path, code=2)
    assert stdout == ""
    assert stderr.startswith(f"evaluate: {line}") and stderr.count("\n") == 1
