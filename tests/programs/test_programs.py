"""The real commands, one after the other, on the bundled digits: what a user does and sees."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from support import programs

pytestmark = pytest.mark.smoke


def command(name, *flags, cwd, code=0, run=programs.run, **environment):
    """Runs a command of the package; returns what it printed on stdout and stderr."""
    words, environment = programs.command(name, *flags), os.environ | environment
    result = run(words, cwd=cwd, env=environment)
    assert result.returncode == code, result.stderr
    return result.stdout, result.stderr


def forked(name, *flags, **options):
    """As `command`, where the start of the program is not what is tested."""
    return command(name, *flags, run=programs.run_forked, **options)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder in which the sample has been prepared and a network trained on it for 60 steps."""
    folder = tmp_path_factory.mktemp("work")
    command("prepare", "--dataset=sample", "--data_dir=data/sample", cwd=folder)
    stdout, stderr = command(
        "train",
        "--data_dir=data/sample",
        "--model_dir=tboard/mod1",
        "--max_steps=60",
        "--save_checkpoints_steps=30",
        "--log_steps=20",
        cwd=folder,
    )
    (folder / "stdout").write_text(stdout)
    (folder / "stderr").write_text(stderr)
    return folder


def test_training_shows_progress_and_result_and_nothing_else(work):
    progress = r"step \d+/60  loss \d\.\d{4}  [\d,]+ examples/s  \dm\d\ds left"
    evaluation = r"step \d+: validation accuracy 0\.\d{4}, loss \d\.\d{4}"
    first, *lines = (work / "stderr").read_text().splitlines()
    assert first == "training cnn on 3,600 examples of sample to step 60, in tboard/mod1"
    assert [line for line in lines if not re.fullmatch(f"{progress}|{evaluation}", line)] == []
    assert len(lines) == 3 + 2
    result, exported, *served, where = (work / "stdout").read_text().splitlines()
    assert exported == "exported to tboard/mod1/export/best/60"
    # Where training computes in bfloat16, the export does not.
    line = r"test accuracy of the export, in float32: 0\.\d{4}"
    computed = json.loads((work / "tboard/mod1/run.json").read_text())["compute_dtype"]
    assert len(served) == (computed == "bfloat16")
    assert all(re.fullmatch(line, each) for each in served)
    assert re.fullmatch(
        r"step 60: test accuracy 0\.\d{4}, loss \d\.\d{4} on 1,000 examples of sample", result
    )
    assert where == "results in tboard/mod1; watch with: tensorboard --logdir tboard/mod1"


def test_evaluate_prints_what_training_wrote(work):
    stdout, stderr = command("evaluate", "--model_dir=tboard/mod1", "--json", cwd=work)
    metrics = json.loads(stdout)
    assert stderr == ""
    headline = ["accuracy", "loss", "examples", "global_step", "checkpoint"]
    assert list(metrics)[:5] == headline
    assert np.trace(metrics["confusion_matrix"]) == round(1000 * metrics["accuracy"])
    written = json.loads((work / "tboard/mod1/metrics.json").read_text())
    del written["checkpoint_sha256"]
    assert metrics == written
    assert metrics["accuracy"] > 0.85
    assert (metrics["examples"], metrics["global_step"]) == (1000, 60)


def test_evaluate_works_alone_inside_a_cluster(work):
    stdout, _ = forked("evaluate", "--model_dir=tboard/mod1", cwd=work, TF_CONFIG="{")
    assert stdout.startswith("step 60: test accuracy 0.")


def test_evaluate_takes_any_split_and_checkpoint(work):
    stdout, _ = forked(
        "evaluate",
        "--model_dir=tboard/mod1",
        "--split=validation",
        "--checkpoint=tboard/mod1/model.ckpt-30",
        cwd=work,
    )
    assert re.match(
        r"step 30: validation accuracy 0\.\d{4}, loss .* on 400 examples of sample", stdout
    )


def test_evaluate_speaks_of_the_file_that_it_was_given(work):
    rows = "".join(f"{'0,' * 783}255,{label}\n" for label in range(10))
    (work / "dots.csv").write_text(rows)
    flags = ["--model_dir=tboard/mod1", "--csv=dots.csv", "--label_column=last"]
    stdout, stderr = forked("evaluate", *flags, cwd=work)
    assert stderr == ""
    line = r"step 60: accuracy 0\.1000, loss \d+\.\d{4} on 10 examples of dots\.csv"
    assert re.fullmatch(line, stdout.splitlines()[0])


def test_a_second_process_ends_with_the_same_bytes(work):
    from mnist_estimator.compat import tf

    flags = ["--data_dir=data/sample", "--log_steps=20", "--max_steps=60"]
    command("train", *flags, "--model_dir=tboard/again", "--eval_split=none", cwd=work)
    runs = [tf.train.load_checkpoint(str(work / "tboard" / name)) for name in ("mod1", "again")]
    shapes = [run.get_variable_to_shape_map() for run in runs]
    assert shapes[0] == shapes[1]
    for name in shapes[0]:
        first, second = (run.get_tensor(name) for run in runs)
        assert first.tobytes() == second.tobytes(), name


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (
            ["--model_dir=none"],
            "none/run.json: not found, expected the record of a run; train first",
        ),
        (
            ["--data_dir=none"],
            "none: no manifest.json, expected the prepared dataset of the run in tboard/mod1",
        ),
        (["--checkpoint=c-7"], "--checkpoint: c-7 not found, expected one of tboard/mod1"),
        (
            ["--images=small.idx", "--labels=labels.idx"],
            "small.idx: found images (2, 2, 1) of 10 classes, expected (28, 28, 1) of 10, which",
        ),
    ],
)
def test_evaluate_answers_a_mistake_in_one_line(work, flags, line):
    (work / "small.idx").write_bytes(bytes([0, 0, 8, 3, *[0, 0, 0, 2] * 3, *range(8)]))
    (work / "labels.idx").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 0, 1]))
    stdout, stderr = forked("evaluate", "--model_dir=tboard/mod1", *flags, cwd=work, code=2)
    assert stdout == ""
    assert stderr.startswith(f"evaluate: {line}")
    assert stderr.count("\n") == 1


def test_a_model_dir_that_cannot_be_is_one_line(work):
    flags = ["--data_dir=data/sample", "--model_dir=stdout/mod"]
    _, stderr = forked("train", *flags, cwd=work, code=2)
    assert re.search(r"^train: .*stdout/mod.*\n\Z", stderr, re.MULTILINE)
    assert "Traceback" not in stderr


def test_a_checkpoint_that_is_damaged_is_one_line(work, tmp_path):
    (data,) = (work / "tboard/mod1").glob("model.ckpt-30.data*")
    (index,) = (work / "tboard/mod1").glob("model.ckpt-30.index")
    (tmp_path / "model.ckpt-30.index").write_bytes(index.read_bytes())
    (tmp_path / data.name).write_bytes(data.read_bytes()[:1000])
    _, stderr = forked(
        "evaluate",
        "--model_dir=tboard/mod1",
        f"--checkpoint={tmp_path}/model.ckpt-30",
        cwd=work,
        code=1,
    )
    assert stderr.startswith("evaluate: ")
    assert stderr.count("\n") == 1


def test_tensorboard_shows_the_run(work):
    with tensorboard(work / "tboard") as get:
        tags = get("/data/plugin/scalars/tags")
        both = {"loss", "accuracy"}
        assert {*both, "learning_rate", "examples_per_second"} <= tags["mod1"].keys()
        assert {*both, "class_accuracy/0", "class_accuracy/9"} <= tags["mod1/eval"].keys()
        curve = get("/data/plugin/scalars/scalars?run=mod1%2Feval&tag=accuracy")
        assert [step for _, step, _ in curve] == [30, 60]
        test = get("/data/plugin/scalars/scalars?run=mod1%2Feval_test&tag=accuracy")
        metrics = json.loads((work / "tboard/mod1/metrics.json").read_text())
        assert [(step, value) for _, step, value in test] == [
            (60, pytest.approx(metrics["accuracy"]))
        ]
        pictures = get("/data/plugin/images/tags")["mod1"]
        assert list(pictures) == ["images/image"]
        (picture, *_) = get("/data/plugin/images/images?run=mod1&tag=images%2Fimage&sample=0")
        assert get(f"/data/plugin/images/individualImage?{picture['query']}")[:4] == b"\x89PNG"
        assert get("/data/plugin/graphs/info")["mod1"]["run_graph"]


@contextlib.contextmanager
def tensorboard(logdir: Path):
    """Starts the real TensorBoard; gives a function that returns what it answers for a path."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "tensorboard.main", f"--logdir={logdir}", f"--port={port}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def get(path: str):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
            content = answer.read()
            return content if answer.headers["Content-Type"] == "image/png" else json.loads(content)

    try:
        until = time.monotonic() + 90
        while "mod1" not in _runs(get):
            assert process.poll() is None, "tensorboard ended"
            assert time.monotonic() < until, "tensorboard does not show the run"
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.2)
        yield get
    finally:
        process.terminate()
        process.wait(30)


def _runs(get):
    try:
        return get("/data/plugin/scalars/tags")
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return {}
