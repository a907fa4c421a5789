"""Training is a function of the records, the flags and the seed, however it is interrupted."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from conftest import CLASSES, TEST, TRAIN, VALIDATION

from mnist_estimator import InputError, RunError, networks, runs, training
from mnist_estimator.cluster import Task
from mnist_estimator.compat import tf, v1
from mnist_estimator.config import TrainConfig

STEPS = 12


def train(model_dir: Path, data_dir: str, **options):
    """Trains a short run; the schedule's length is fixed, so that stopping early changes
    nothing."""
    options = {"max_steps": STEPS, "decay_steps": STEPS, "batch_size": 16, "log_steps": 4} | options
    config = TrainConfig(model_dir=str(model_dir), data_dir=data_dir, **options)
    return training.train(config, Task())


def variables(model_dir: Path) -> dict[str, bytes]:
    """Every variable of the newest checkpoint: weights, optimizer slots, global step."""
    reader = tf.train.load_checkpoint(str(model_dir))
    names = reader.get_variable_to_shape_map()
    return {name: np.asarray(reader.get_tensor(name)).tobytes() for name in names}


memory_and_stream = pytest.mark.parametrize("cache_mb", [1, 0], ids=["memory", "stream"])


@pytest.mark.smoke
@memory_and_stream
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_same_flags_give_the_same_bytes(tmp_path, make_dataset, cache_mb, precision):
    data_dir = make_dataset()
    first, second, other = (tmp_path / name for name in ("first", "second", "other"))
    options = {"cache_mb": cache_mb, "precision": precision}
    train(first, data_dir, **options)
    train(second, data_dir, **options)
    train(other, data_dir, **options, seed=1)
    assert "dense/kernel/Adam_1" in variables(first)
    assert variables(first) == variables(second)
    assert variables(first)["dense/kernel"] != variables(other)["dense/kernel"]


@pytest.mark.smoke
@memory_and_stream
@pytest.mark.parametrize("stop", [3, 7])
def test_a_run_stopped_and_continued_ends_as_if_it_had_not_been(
    tmp_path, make_dataset, cache_mb, stop
):
    data_dir = make_dataset()
    train(tmp_path / "whole", data_dir, cache_mb=cache_mb)
    train(tmp_path / "stopped", data_dir, cache_mb=cache_mb, max_steps=stop)
    stopped = variables(tmp_path / "stopped")
    train(tmp_path / "stopped", data_dir, cache_mb=cache_mb)
    assert variables(tmp_path / "stopped") == variables(tmp_path / "whole") != stopped


def test_evaluating_while_training_changes_nothing(tmp_path, make_dataset):
    data_dir = make_dataset()
    train(tmp_path / "often", data_dir, save_checkpoints_steps=2)
    train(tmp_path / "never", data_dir, eval_split="none")
    assert variables(tmp_path / "often") == variables(tmp_path / "never")
    assert [step for step, _ in scalars(tmp_path / "often/eval", "accuracy")] == [
        2,
        4,
        6,
        8,
        10,
        12,
    ]
    assert not (tmp_path / "never/eval").exists()


def test_a_finished_run_trains_nothing_more_but_evaluates(tmp_path, make_dataset):
    data_dir = make_dataset()
    first = train(tmp_path / "run", data_dir)
    before = variables(tmp_path / "run")
    (tmp_path / "run/metrics.json").unlink()
    assert train(tmp_path / "run", data_dir) == first
    assert variables(tmp_path / "run") == before
    assert json.loads((tmp_path / "run/metrics.json").read_text()) == first


def test_it_learns(tmp_path, make_dataset):
    metrics = train(tmp_path / "run", make_dataset(), max_steps=30, decay_steps=30)
    assert metrics["accuracy"] > 0.9
    assert (metrics["examples"], metrics["global_step"]) == (TEST, 30)


def test_the_run_is_recorded(tmp_path, make_dataset):
    data_dir = make_dataset()
    train(tmp_path / "run", data_dir, seed=4, max_steps=1)
    config, record = runs.read_run(str(tmp_path / "run"))
    assert (config.seed, config.data_dir, config.max_steps) == (4, data_dir, 1)
    assert record["versions"]["tensorflow"] == tf.__version__
    assert record["dataset"]["num_classes"] == CLASSES
    assert record["dataset"]["examples"] == {"train": TRAIN, "validation": VALIDATION, "test": TEST}


def test_without_a_validation_split_nothing_is_evaluated_before_the_end(tmp_path, make_dataset):
    metrics = train(tmp_path / "run", make_dataset(validation=0))
    assert metrics["examples"] == TEST
    assert not (tmp_path / "run/eval").exists()


def test_without_a_test_split_there_is_no_final_result(tmp_path, make_dataset, capsys):
    assert train(tmp_path / "run", make_dataset(test=0), max_steps=1) is None
    assert "the data has no test split" in capsys.readouterr().out
    assert not (tmp_path / "run/metrics.json").exists()


CLUSTER = {"chief": ("a:1",), "worker": ("b:1",), "ps": ("c:1",)}


def test_a_cluster_without_evaluation_trains(tmp_path, make_dataset, monkeypatch):
    started = []
    monkeypatch.setattr(
        training.estimator, "train_and_evaluate", lambda run, *specs: started.append(specs)
    )
    config = TrainConfig(
        model_dir=str(tmp_path), data_dir=make_dataset(), strategy="ps", eval_split="none"
    )
    training.train(config, Task(CLUSTER, "worker", 0))
    ((train_spec, eval_spec),) = started
    assert train_spec.max_steps == config.max_steps
    assert not eval_spec.exporters


def test_an_evaluator_with_nothing_to_evaluate_ends(tmp_path, make_dataset, capsys):
    config = TrainConfig(
        model_dir=str(tmp_path), data_dir=make_dataset(validation=0), strategy="ps"
    )
    training.train(config, Task(CLUSTER, "evaluator", 0))
    assert "nothing to evaluate while training: no validation split" in capsys.readouterr().err


def test_mirrored_on_one_device_trains_and_resumes_the_same(tmp_path, make_dataset):
    data_dir = make_dataset()
    train(tmp_path / "one", data_dir)
    for max_steps in (5, STEPS):
        train(tmp_path / "mirrored", data_dir, strategy="mirrored", max_steps=max_steps)
    assert variables(tmp_path / "one") == variables(tmp_path / "mirrored")


def test_train_and_eval_curves_share_their_names(tmp_path, make_dataset):
    train(tmp_path / "run", make_dataset(), save_checkpoints_steps=4)
    for tag in ("loss", "accuracy"):
        assert [step for step, _ in scalars(tmp_path / "run", tag)] == [1, 5, 9]
        assert [step for step, _ in scalars(tmp_path / "run/eval", tag)] == [4, 8, 12]
    assert scalars(tmp_path / "run", "learning_rate")[0] == (1, pytest.approx(0.001))
    assert [step for step, _ in scalars(tmp_path / "run", "examples_per_second")] == [4, 8, 12]


def test_a_model_dir_without_a_checkpoint_says_so(tmp_path):
    with pytest.raises(InputError, match="empty: found no checkpoint, expected one; train first"):
        runs.find_checkpoint(str(tmp_path / "empty"))


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"flags": {"model": "vgg"}}', '{"flags": {"a": 1}}']
)
def test_a_run_json_that_is_none_is_named(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(InputError, match="run.json: found no record of a run"):
        runs.read_run(str(tmp_path))


def scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    """The (step, value) points of a curve, in the order in which they were written."""
    return [
        (event.step, value.simple_value)
        for path in sorted(folder.glob("events.*"))
        for event in v1.train.summary_iterator(str(path))
        for value in event.summary.value
        if value.tag == tag and value.WhichOneof("value") == "simple_value"
    ]


def test_a_loss_that_is_no_number_is_one_line(tmp_path, make_dataset, monkeypatch):
    def diverging(images, **options):
        return networks.cnn(images, **options) * math.nan

    monkeypatch.setitem(networks.NETWORKS, "cnn", diverging)
    with pytest.raises(RunError, match="the loss is not a number any more"):
        train(tmp_path / "run", make_dataset())


def test_a_damaged_shard_is_one_line(tmp_path, make_dataset):
    data_dir = make_dataset()
    shard = sorted(Path(data_dir).glob("train-*"))[1]
    damaged = bytearray(shard.read_bytes())
    damaged[40] ^= 1
    shard.write_bytes(damaged)
    with pytest.raises(RunError, match="corrupted record at"):
        train(tmp_path / "run", data_dir)


def test_a_shard_that_lost_records_is_found_before_training(tmp_path, make_dataset):
    data_dir = make_dataset()
    shard = sorted(Path(data_dir).glob("train-*"))[1]
    size = len(shard.read_bytes())
    record = 12 + int.from_bytes(shard.read_bytes()[:8], "little") + 4
    shard.write_bytes(shard.read_bytes()[:-record])
    found = f"found {size - record} bytes in {shard.name}, not {size}; prepare it again"
    with pytest.raises(InputError, match=found):
        train(tmp_path / "run", data_dir)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"optimizer": "sgd"}, "--optimizer adam, found sgd"),
        ({"precision": "float32"}, "--precision bfloat16, found float32"),
        ({"data": {"train": 50}}, "records in .* found"),
    ],
)
def test_a_run_is_continued_as_it_began_or_not_at_all(tmp_path, make_dataset, options, what):
    train(tmp_path / "run", make_dataset(), max_steps=2, precision="bfloat16")
    record = (tmp_path / "run/run.json").read_text()
    data_dir = make_dataset(**options.get("data", {}))
    options = {"precision": "bfloat16"} | {k: v for k, v in options.items() if k != "data"}
    with pytest.raises(InputError, match=f"holds a run with {what}"):
        train(tmp_path / "run", data_dir, **options)
    assert (tmp_path / "run/run.json").read_text() == record
