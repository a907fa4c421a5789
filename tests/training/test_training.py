"""Training is a function of the records, the flags and the seed, however it is interrupted."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.datasets import CLASSES, TEST, TRAIN, VALIDATION, record_header
from support.short_runs import STEPS, train, variables
from tensorboard.backend.event_processing import event_accumulator

from mnist_estimator import InputError, RunError, estimators, networks
from mnist_estimator.cluster import peers
from mnist_estimator.cluster.roles import Task
from mnist_estimator.compat import tf, v1
from mnist_estimator.config import TrainConfig
from mnist_estimator.data import inputs, records
from mnist_estimator.data.manifest import Dataset, read_manifest
from mnist_estimator.runs import checkpoints, lock, record
from mnist_estimator.runtime import files
from mnist_estimator.scoring import evaluation
from mnist_estimator.serving import saved_model
from mnist_estimator.training import endings, loop, training

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


def test_fewer_steps_than_a_run_has_are_said_to_train_nothing(tmp_path, make_dataset, capsys):
    data_dir = make_dataset(test=0)
    train(tmp_path / "run", data_dir, model="softmax", max_steps=4)
    before = variables(tmp_path / "run")
    capsys.readouterr()
    train(tmp_path / "run", data_dir, model="softmax", max_steps=2)
    assert variables(tmp_path / "run") == before
    said = capsys.readouterr()
    assert f"{tmp_path}/run: has reached step 4 already, --max_steps=2: trains nothing" in said.err
    assert said.out.startswith("trained to step 4;")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 2.7 TiB for an array"),
        tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[9,9]"),
        tf.errors.ResourceExhaustedError(None, None, "Failed to allocate memory for the batch"),
    ],
)
def test_a_batch_that_memory_does_not_hold_is_not_to_be_tried_again(error, tmp_path, make_dataset):
    config = TrainConfig(model_dir=str(tmp_path), data_dir=make_dataset(), batch_size=9000)
    expected = (
        "^--batch_size=9000: needs more memory than there is .*; give a smaller --batch_size$"
    )
    with pytest.raises(RunError, match=expected) as caught, training._open_dataset(config):
        raise error
    assert "continue" not in str(caught.value)


@pytest.mark.parametrize("path", ["model.ckpt", "memory/OOM/model.ckpt"])
@pytest.mark.parametrize("more", ["", "\n\t [[{{node save}}]]\nallocated in memory"])
def test_a_full_disk_is_no_lack_of_memory(tmp_path, make_dataset, path, more):
    config = TrainConfig(model_dir=str(tmp_path), data_dir=make_dataset())
    line = f"{path}; No space left on device{more}"
    full = tf.errors.ResourceExhaustedError(None, None, line)
    expected = "No space left on device; nothing is saved yet"
    with pytest.raises(RunError, match=expected), training._open_dataset(config):
        raise full


def test_it_learns(tmp_path, make_dataset):
    metrics = train(tmp_path / "run", make_dataset(), max_steps=30, decay_steps=30)
    assert metrics["accuracy"] > 0.9
    assert (metrics["examples"], metrics["global_step"]) == (TEST, 30)


def test_the_run_is_recorded(tmp_path, make_dataset):
    data_dir = make_dataset()
    train(tmp_path / "run", data_dir, seed=4, max_steps=1)
    config, found = record.read_run(str(tmp_path / "run"))
    assert (config.seed, config.data_dir, config.max_steps) == (4, data_dir, 1)
    assert found["versions"]["tensorflow"] == tf.__version__
    assert found["dataset"]["num_classes"] == CLASSES
    assert found["dataset"]["examples"] == {"train": TRAIN, "validation": VALIDATION, "test": TEST}


def test_below_a_folder_that_tensorflow_cannot_name_relative_names_work(monkeypatch):
    monkeypatch.setattr(record.os.path, "abspath", lambda path: f"/latin\udce9/{path}")
    assert record._absolute("data") == "data"


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
        loop.estimator, "train_and_evaluate", lambda run, *specs: started.append(specs)
    )
    # The cluster's other tasks are not there, and would be waited for.
    seconds = {"gone_secs": 9, "silent_secs": 9, "start_secs": 9}
    nobody = peers.Watch({}, on_lost=pytest.fail, **seconds)
    monkeypatch.setattr(endings, "watch_peers", lambda *_, **__: nobody)
    config = TrainConfig(
        model_dir=str(tmp_path), data_dir=make_dataset(), strategy="ps", eval_split="none"
    )
    training.train(config, Task(CLUSTER, "worker", 0))
    ((train_spec, eval_spec),) = started
    (stop,) = [hook for hook in train_spec.hooks if isinstance(hook, v1.train.StopAtStepHook)]
    assert stop._last_step == config.max_steps
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
        assert [step for step, _ in scalars(tmp_path / "run", tag)] == [4, 8, 12]
        assert [step for step, _ in scalars(tmp_path / "run/eval", tag)] == [4, 8, 12]
    assert scalars(tmp_path / "run", "learning_rate")[0] == (4, pytest.approx(0.00085, abs=1e-5))
    assert [step for step, _ in scalars(tmp_path / "run", "examples_per_second")] == [4, 8, 12]


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"flags": {"model": "vgg"}}', '{"flags": {"a": 1}}']
)
def test_a_run_json_that_is_none_is_named(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(InputError, match="run.json: found no record of a run"):
        record.read_run(str(tmp_path))


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
    line = "step 1: loss is nan at learning rate .*; nothing of it was saved, the newest .*ckpt-0;"
    with pytest.raises(RunError, match=line):
        train(tmp_path / "run", make_dataset())
    assert checkpoints.newest(str(tmp_path / "run")) == f"{tmp_path}/run/model.ckpt-0"


def damage_shard(data_dir: str, split: str) -> str:
    """Flips a bit in the fourth record of a split's second shard; returns the shard's name."""
    shard = sorted(Path(data_dir).glob(f"{split}-*"))[1]
    data = bytearray(shard.read_bytes())
    frames = [0]
    while len(frames) < 4:
        frames.append(frames[-1] + 16 + int.from_bytes(data[frames[-1] :][:8], "little"))
    data[frames[3] + 40] ^= 1
    shard.write_bytes(data)
    return shard.name


@memory_and_stream
def test_a_damaged_record_is_named(tmp_path, make_dataset, cache_mb):
    data_dir = make_dataset()
    name = damage_shard(data_dir, "train")
    with pytest.raises(RunError, match=f"{data_dir}: {name}: record 3 is corrupt .*; stopped"):
        train(tmp_path / "run", data_dir, cache_mb=cache_mb)
    assert records.verify(data_dir)[-1].startswith(f"{name}: record 3 is corrupt")


@memory_and_stream
def test_a_shard_that_is_wrong_in_a_store_is_named(tmp_path, make_dataset, cache_mb):
    data_dir, options = make_dataset(), {"cache_mb": cache_mb, "cache_dir": str(tmp_path / "cache")}
    name = damage_shard(data_dir, "train")
    with files.memory_folder() as store:
        for path in Path(data_dir).iterdir():
            tf.io.gfile.copy(str(path), f"{store}/{path.name}")
        with pytest.raises(RunError, match=f"^{store}: {name}: sha256 .*; stopped; replace it"):
            train(tmp_path / "run", store, **options)


def test_a_length_that_no_memory_can_hold_is_named(tmp_path, make_dataset):
    data_dir = make_dataset()
    shard = sorted(Path(data_dir).glob("train-*"))[1]
    data, header = shard.read_bytes(), record_header(2**40, tmp_path / "scratch")
    shard.write_bytes(header + data[12:])
    with pytest.raises(RunError, match=f"{shard.name}: record 0 is corrupt .*; stopped"):
        train(tmp_path / "run", data_dir, cache_mb=0)


def test_a_damaged_record_of_an_evaluation_is_named(tmp_path, make_dataset):
    data_dir = make_dataset()
    name = damage_shard(data_dir, "validation")
    with pytest.raises(RunError, match=f"{name}: record 3 is corrupt"):
        train(tmp_path / "run", data_dir)
    assert checkpoints.newest(str(tmp_path / "run")) == f"{tmp_path}/run/model.ckpt-{STEPS}"


def cut_while_training(monkeypatch, data_dir: str) -> str:
    """Has a shard lose its last records after the check at the start; returns its name."""
    shard = sorted(Path(data_dir).glob("train-*"))[1]
    make = estimators.make_estimator

    def cut(*args):
        data = shard.read_bytes()
        shard.write_bytes(data[: 16 + int.from_bytes(data[:8], "little")])
        return make(*args)

    monkeypatch.setattr(estimators, "make_estimator", cut)
    return shard.name


@memory_and_stream
def test_a_shard_cut_off_between_records_does_not_shift_the_order(
    tmp_path, make_dataset, monkeypatch, cache_mb
):
    data_dir = make_dataset()
    name = cut_while_training(monkeypatch, data_dir)
    with pytest.raises(RunError, match=f"{name}: 1 records, expected 23; stopped"):
        train(tmp_path / "run", data_dir, cache_mb=cache_mb)


def test_a_shard_that_lost_records_is_found_before_training(tmp_path, make_dataset):
    data_dir = make_dataset()
    shard = sorted(Path(data_dir).glob("train-*"))[1]
    size = len(shard.read_bytes())
    record = 12 + int.from_bytes(shard.read_bytes()[:8], "little") + 4
    shard.write_bytes(shard.read_bytes()[:-record])
    found = f"found {size - record} bytes in {shard.name}, not {size}; replace it with python -m "
    with pytest.raises(InputError, match=found):
        train(tmp_path / "run", data_dir)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"optimizer": "sgd"}, "--optimizer adam, found sgd"),
        ({"precision": "float32"}, "--precision bfloat16, found float32"),
        ({"best_metric": "loss"}, "--best_metric accuracy, found loss"),
        ({"use_ema": False}, "--use_ema in effect True, found False"),
        ({"ema_decay": 0.0}, "--use_ema in effect True, found False"),
        ({"data": {"train": 50}}, "records in .* found"),
    ],
)
def test_a_run_is_continued_as_it_began_or_not_at_all(tmp_path, make_dataset, options, what):
    began = {"precision": "bfloat16", "ema_decay": 0.5}
    train(tmp_path / "run", make_dataset(), max_steps=2, **began)
    record = (tmp_path / "run/run.json").read_text()
    data_dir = make_dataset(**options.get("data", {}))
    options = began | {k: v for k, v in options.items() if k != "data"}
    with pytest.raises(InputError, match=f"holds a run with {what}"):
        train(tmp_path / "run", data_dir, **options)
    assert (tmp_path / "run/run.json").read_text() == record


def test_a_flag_that_changes_the_weights_is_said_to_have_changed(tmp_path, make_dataset, capsys):
    data_dir = make_dataset()
    train(tmp_path / "run", data_dir, max_steps=2)
    train(tmp_path / "run", data_dir, learning_rate=0.1, seed=7, log_steps=9)
    line = "continuing with other flags: --learning_rate=0.1 (was 0.001), --seed=7 (was 0)"
    assert line in capsys.readouterr().err
    train(tmp_path / "run", data_dir, learning_rate=0.1, seed=7, max_steps=14, decay_steps=0)
    capsys.readouterr()
    train(tmp_path / "run", data_dir, learning_rate=0.1, seed=7, max_steps=16, decay_steps=0)
    line = "continuing with other flags: --schedule=cosine over 16 steps (was 14)"
    assert line in capsys.readouterr().err


@pytest.mark.parametrize(("schedule", "warned"), [("one_cycle", True), ("constant", False)])
def test_a_warm_up_that_takes_all_steps_is_said(tmp_path, make_dataset, capsys, schedule, warned):
    options = {"schedule": schedule, "warmup_steps": 3, "decay_steps": 0, "max_steps": 3}
    train(tmp_path / "run", make_dataset(), **options)
    line = "--warmup_steps=3: the learning rate only rises, as --schedule=one_cycle ends at step 3"
    assert (line in capsys.readouterr().err) == warned


def evaluations(folder: Path) -> dict:
    return json.loads((folder / "evaluations.json").read_text())


def test_the_best_checkpoint_is_kept_evaluated_and_exported(tmp_path, make_dataset, monkeypatch):
    accuracy = {4: 0.5, 8: 0.75, 12: 0.25}
    pretend(monkeypatch, accuracy)
    run = tmp_path / "run"
    options = {"save_checkpoints_steps": 4, "keep_checkpoint_max": 1, "export": "best"}
    metrics = train(run, make_dataset(), **options)
    assert evaluations(run)["best"]["global_step"] == 8
    assert metrics["checkpoint"] == f"{run}/best/model.ckpt-8"
    assert [path.name for path in (run / "export/best").iterdir()] == ["8"]
    assert [path.stem for path in run.glob("model.*.index")] == ["model.ckpt-12"]


# The tests below are about which checkpoint is chosen, so the network is the cheapest.
SMALL = {"model": "softmax"}


def pretend(monkeypatch, accuracy: dict[int, float]) -> list[int]:
    """Has the evaluations while training find these accuracies; returns the steps they see."""
    evaluate, seen = evaluation.evaluate, []

    def pretending(run, data_dir, manifest, split, **options):
        result = evaluate(run, data_dir, manifest, split, **options)
        if split == "validation":
            seen.append(result["global_step"])
            result["accuracy"] = accuracy.get(result["global_step"], 0.0)
        return result

    monkeypatch.setattr(evaluation, "evaluate", pretending)
    return seen


def test_a_restarted_run_does_not_take_a_worse_model_for_the_best(
    tmp_path, make_dataset, monkeypatch
):
    pretend(monkeypatch, {4: 0.75, 8: 0.25, 12: 0.5})
    run, data_dir = tmp_path / "run", make_dataset()
    for max_steps in (8, 12):
        options = SMALL | {"save_checkpoints_steps": 4, "export": "best"}
        train(run, data_dir, max_steps=max_steps, **options)
    assert evaluations(run)["best"]["global_step"] == 4
    assert [path.name for path in (run / "export/best").iterdir()] == ["4"]


@pytest.mark.parametrize("stopped_at", [None, 3, 8, 10])
def test_patience_survives_a_restart(tmp_path, make_dataset, monkeypatch, stopped_at):
    seen = pretend(monkeypatch, {2: 0.5, 4: 0.75, 6: 0.75, 8: 0.25, 10: 0.25})
    run, data_dir = tmp_path / "run", make_dataset()
    options = SMALL | {"save_checkpoints_steps": 2, "early_stop_patience": 3, "export": "best"}
    if stopped_at:
        train(run, data_dir, **options, max_steps=stopped_at)
    metrics = train(run, data_dir, **options, max_steps=STEPS)
    assert checkpoints.newest(str(run)) == f"{run}/model.ckpt-10"
    assert metrics["global_step"] == 4
    assert [step for step in seen if step % 2 == 0] == [2, 4, 6, 8, 10]
    before = variables(run)
    assert train(run, data_dir, **options, max_steps=STEPS) == metrics
    assert variables(run) == before


def test_patience_does_not_count_evaluations_of_a_damaged_checkpoint(
    tmp_path, make_dataset, monkeypatch
):
    pretend(monkeypatch, {2: 0.5, 4: 0.75, 6: 0.75, 8: 0.25, 10: 0.25})
    run, data_dir = tmp_path / "run", make_dataset()
    options = SMALL | {"save_checkpoints_steps": 2, "early_stop_patience": 3, "export": "final"}
    train(run, data_dir, **options, max_steps=STEPS)
    before = variables(run)
    (data,) = run.glob("model.ckpt-10.data*")
    data.write_bytes(data.read_bytes()[:-7])
    train(run, data_dir, **options, max_steps=STEPS)
    assert checkpoints.newest(str(run)) == f"{run}/model.ckpt-10"
    assert variables(run) == before


def test_an_evaluation_that_was_killed_is_made_up_for(tmp_path, make_dataset, monkeypatch):
    run, data_dir = tmp_path / "run", make_dataset()
    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "evaluate", lambda *args, **options: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train(run, data_dir, save_checkpoints_steps=4, **SMALL)
    assert checkpoints.newest(str(run)) == f"{run}/model.ckpt-4"
    train(run, data_dir, save_checkpoints_steps=4, **SMALL)
    train(tmp_path / "whole", data_dir, save_checkpoints_steps=4, **SMALL)
    assert evaluations(run) == evaluations(tmp_path / "whole")
    assert [step for step, _ in scalars(run / "eval", "accuracy")] == [4, 8, 12]


@pytest.mark.smoke
def test_a_damaged_checkpoint_is_passed_over(tmp_path, make_dataset, capsys):
    data_dir = make_dataset()
    for name in ("whole", "run"):
        train(tmp_path / name, data_dir, save_checkpoints_steps=4)
    whole, run = tmp_path / "whole", tmp_path / "run"
    (data,) = run.glob("model.ckpt-12.data*")
    data.write_bytes(data.read_bytes()[:-7])
    capsys.readouterr()
    train(run, data_dir, save_checkpoints_steps=4)
    error = capsys.readouterr().err
    assert f"warning: {data} is damaged" in error
    assert f"; going on from {run}/model.ckpt-8\n" in error
    assert variables(run) == variables(whole)
    assert evaluations(run) == evaluations(whole)


@pytest.mark.parametrize("export", ["best", "final", "none"])
def test_what_is_exported_answers_as_the_model_does(tmp_path, make_dataset, export):
    data_dir = make_dataset()
    run = tmp_path / "run"
    metrics = train(run, data_dir, export=export, save_checkpoints_steps=4)
    found = list(run.glob("export/*/*"))
    assert [path.name for path in found] == [str(metrics["global_step"])] * (export != "none")
    if not found:
        return
    serve = tf.saved_model.load(str(found[0])).signatures["serving_uint8"]
    examples = inputs.eval_batches(
        Dataset(data_dir, read_manifest(data_dir)), "test", batch_size=TEST
    )
    ((features, labels),) = examples
    classes = serve(images=features[inputs.IMAGES])["classes"].numpy()
    assert np.mean(classes == labels.numpy()) == pytest.approx(metrics["accuracy"])


def test_an_export_is_made_once_and_again_when_it_is_gone(tmp_path, make_dataset, monkeypatch):
    run, data_dir = tmp_path / "run", make_dataset()
    made, save = [], saved_model.save
    monkeypatch.setattr(saved_model, "save", lambda *args: made.append(1) or save(*args))
    for _ in range(2):
        train(run, data_dir, export="best")
    assert made == [1]
    (path,) = run.glob("export/best/*/saved_model.pb")
    shutil.rmtree(path.parent)
    train(run, data_dir, export="best")
    assert path.exists()
    assert [p.name for p in (run / "export/best").iterdir()] == [path.parent.name]


def test_without_an_evaluation_the_final_model_is_exported(tmp_path, make_dataset):
    metrics = train(tmp_path / "run", make_dataset(), eval_split="none", export="best")
    assert metrics["checkpoint"] == f"{tmp_path}/run/model.ckpt-{STEPS}"
    assert (tmp_path / f"run/export/best/{STEPS}/saved_model.pb").exists()


def test_a_test_evaluation_made_twice_is_one_point(tmp_path, make_dataset):
    data_dir = make_dataset()
    for _ in range(2):
        train(tmp_path / "run", data_dir)
    events = event_accumulator.EventAccumulator(str(tmp_path / "run/eval_test"))
    assert len(events.Reload().Scalars("accuracy")) == 1


def test_a_model_dir_that_vanished_is_one_line(tmp_path, make_dataset, monkeypatch):
    run = tmp_path / "run"
    evaluate = evaluation.evaluate

    def vanish(*args, **options):
        shutil.rmtree(run)
        return evaluate(*args, **options)

    monkeypatch.setattr(evaluation, "evaluate", vanish)
    with pytest.raises(RunError, match="run: is gone, stopped training"):
        train(run, make_dataset(), save_checkpoints_steps=4)


@pytest.mark.parametrize("name", ["run.json", "metrics.json", "evaluations.json", "status.json"])
def test_files_of_another_program_are_not_replaced(tmp_path, make_dataset, name):
    run = tmp_path / "run"
    run.mkdir()
    (run / name).write_text('{"mine": 1}')
    with pytest.raises(InputError, match=f"{name}.* move it away, or give another --model_dir"):
        train(run, make_dataset())
    assert (run / name).read_text() == '{"mine": 1}'
    assert {path.name for path in run.iterdir()} == {name, lock.LOCK_FILE}


def test_fewer_checkpoints_are_kept_from_the_next_start_on(tmp_path, make_dataset):
    run, data_dir = tmp_path / "run", make_dataset()
    train(run, data_dir, save_checkpoints_steps=3, max_steps=9, keep_checkpoint_max=0)
    assert len(list(run.glob("model.ckpt-*.index"))) == 4
    best = {p.name: p.read_bytes() for p in (run / "best").iterdir()}
    train(run, data_dir, save_checkpoints_steps=3, max_steps=9, keep_checkpoint_max=2)
    assert sorted(p.stem for p in run.glob("*.index")) == ["model.ckpt-6", "model.ckpt-9"]
    assert {p.name: p.read_bytes() for p in (run / "best").iterdir()} == best
    train(run, data_dir, save_checkpoints_steps=3, keep_checkpoint_max=1)
    assert [p.stem for p in run.glob("*.index")] == ["model.ckpt-12"]


def test_a_run_that_was_copied_goes_on_with_its_own_weights(tmp_path, make_dataset):
    data_dir = make_dataset()
    first, copy = tmp_path / "first", tmp_path / "copy"
    train(first, data_dir, max_steps=4)
    shutil.copytree(first, copy)
    state = (first / "checkpoint").read_text()
    (copy / "checkpoint").write_text(state.replace('"model', f'"{first}/model'))
    shutil.rmtree(first)
    train(copy, data_dir)
    assert checkpoints.newest(str(copy)) == f"{copy}/model.ckpt-{STEPS}"


def test_a_model_dir_in_use_is_refused_and_untouched(tmp_path, make_dataset):
    run, data_dir = tmp_path / "run", make_dataset()
    with lock.held(str(run)), pytest.raises(InputError, match="in use by the trainer on host"):
        train(run, data_dir)
    assert [path.name for path in run.iterdir()] == [lock.LOCK_FILE]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, True),
        ({"deterministic": False}, False),
        ({"strategy": "ps"}, False),
        ({"strategy": "multi_worker"}, True),
    ],
)
def test_deterministic_operations_are_the_default_but_for_parameter_servers(options, expected):
    assert TrainConfig(**options).is_deterministic is expected


def test_the_flag_reaches_tensorflow(tmp_path, make_dataset, monkeypatch):
    enabled = []
    monkeypatch.setattr(tf.config.experimental, "enable_op_determinism", lambda: enabled.append(1))
    data_dir = make_dataset()
    for deterministic in (False, True):
        train(tmp_path / "run", data_dir, max_steps=1, deterministic=deterministic)
    assert enabled == [1]


@pytest.mark.smoke
def test_a_batch_normalized_run_is_continued_as_if_it_had_not_been_stopped(tmp_path, make_dataset):
    data_dir, options = make_dataset(), {"model": "cnn", "batch_norm": "all"}
    train(tmp_path / "whole", data_dir, **options)
    train(tmp_path / "stopped", data_dir, **options, max_steps=5)
    train(tmp_path / "stopped", data_dir, **options)
    whole = variables(tmp_path / "whole")
    assert variables(tmp_path / "stopped") == whole
    for layer in ("conv1", "conv2", "dense"):
        assert np.frombuffer(whole[f"{layer}/batch_norm/moving_mean"], np.float32).any()


@pytest.mark.parametrize("model", ["softmax", "dnn"])
def test_every_network_learns(tmp_path, make_dataset, model):
    options = {"model": model, "learning_rate": 0.01, "max_steps": 40, "decay_steps": 40}
    assert train(tmp_path / "run", make_dataset(), **options)["accuracy"] > 0.9


@pytest.mark.parametrize(
    ("flag", "other"),
    [("model", "softmax"), ("hidden_units", "9"), ("batch_norm", "dense"), ("pixel_max", 255.0)],
)
def test_another_network_does_not_continue_a_run(tmp_path, make_dataset, flag, other):
    data_dir, options = make_dataset(), {"model": "dnn", "hidden_units": "8", "max_steps": 1}
    train(tmp_path / "run", data_dir, **options)
    with pytest.raises(InputError, match=f"holds a run with --{flag} .*, found {other}"):
        train(tmp_path / "run", data_dir, **options | {flag: other})
