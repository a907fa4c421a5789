"""Evaluations in one graph give what Estimator's own give, each in a graph of its own."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from support.datasets import CLASSES, TEST, TRAIN, VALIDATION, array_source
from support.short_runs import train

from mnist_estimator import InputError, estimators, model_fn, networks
from mnist_estimator.compat import estimator, tf, v1
from mnist_estimator.data import inputs, writer
from mnist_estimator.data.manifest import Dataset, read_manifest
from mnist_estimator.runs import record
from mnist_estimator.scoring import evaluation, one_graph

STEPS = (2, 4, 6)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with evaluations of several steps: its data, its model_dir, its evaluation graphs."""
    folder, graphs = tmp_path_factory.mktemp("run"), []

    def counted(*given, build=model_fn.evaluation):
        graphs.append(v1.get_default_graph())
        return build(*given)

    data_dir = str(folder / "data")
    writer.write_dataset(
        data_dir,
        dataset="squares",
        train=array_source(TRAIN + VALIDATION),
        test=array_source(TEST, seed=1),
        num_classes=CLASSES,
        shards=1,
        validation_split=str(VALIDATION),
    )
    options = {"max_steps": STEPS[-1], "save_checkpoints_steps": 2, "keep_checkpoint_max": 0}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_fn, "evaluation", counted)
        train(folder / "model", data_dir, model="dnn", hidden_units="5", **options)
    return Dataset(data_dir, read_manifest(data_dir)), folder / "model", graphs


def make(run, **options) -> estimator.Estimator:
    dataset, model_dir, _ = run
    config, _ = record.read_run(str(model_dir))
    return estimators.make_estimator(dataclasses.replace(config, **options), dataset.manifest)


def asked(run, step: int, split: str, hooks=None) -> dict:
    """The arguments of an evaluation whose last batch is smaller than the others."""
    dataset, model_dir, _ = run
    return {
        "input_fn": lambda: inputs.eval_batches(dataset, split, batch_size=7),
        "hooks": hooks,
        "checkpoint_path": str(model_dir / f"model.ckpt-{step}"),
        "name": split,
    }


def events(folder: str) -> list[tuple[int, str, bytes]]:
    found = []
    for path in sorted(Path(folder).glob("events.out.tfevents.*")):
        for event in v1.train.summary_iterator(str(path)):
            found += [(event.step, v.tag, v.SerializeToString()) for v in event.summary.value]
    return found


def test_the_results_and_events_are_those_of_estimator(run, tmp_path):
    ours, theirs = make(run), make(run)
    ours._model_dir, theirs._model_dir = f"{tmp_path}/ours", f"{tmp_path}/theirs"
    model = one_graph.OneGraph(ours)
    # Back and forth, so that nothing of one evaluation may be left in the next one.
    for step, split in [(2, "validation"), (6, "validation"), (2, "test"), (4, "validation")]:
        expected = theirs.evaluate(**asked(run, step, split))
        assert model.evaluate(**asked(run, step, split)) == expected
        assert expected["examples"] == {"validation": VALIDATION, "test": TEST}[split]
        assert expected["global_step"] == step
    model.close()
    for split in ("validation", "test"):
        written = events(ours.eval_dir(split))
        assert sorted(written) == sorted(events(theirs.eval_dir(split)))
        assert {"accuracy", "class_accuracy/0", "loss"} <= {tag for _, tag, _ in written}


def test_a_checkpoint_of_another_network_is_refused(run):
    """Whose values TensorFlow would take, and with them whatever network they make."""
    model = one_graph.OneGraph(make(run, hidden_units="6"))
    with pytest.raises(
        InputError, match=r"holds another network: dense1/kernel of shape \[64, 5\]"
    ):
        model.evaluate(**asked(run, 2, "test"))
    model.close()


def test_a_training_builds_one_graph_for_all_its_evaluations(run):
    _, model_dir, graphs = run
    recorded = json.loads((model_dir / "evaluations.json").read_text())["evaluations"]
    assert tuple(entry["global_step"] for entry in recorded) == STEPS
    assert os.path.exists(model_dir / "metrics.json")
    assert len(graphs) == 1


def test_hooks_are_given_every_batch(run):
    class Kept(v1.train.SessionRunHook):
        def begin(self):
            self.index, self.tensors = [], v1.get_collection(model_fn.SCORED)

        def before_run(self, run_context):
            return v1.train.SessionRunArgs(self.tensors[3])

        def after_run(self, run_context, run_values):
            self.index += run_values.results.tolist()

    hook, model = Kept(), one_graph.OneGraph(make(run))
    for _ in range(2):
        model.evaluate(**asked(run, 4, "test", [hook]))
        assert hook.index == list(range(TEST))


def test_an_evaluation_leaves_the_session_around_it_alone(run):
    model = one_graph.OneGraph(make(run))
    with tf.Graph().as_default() as graph, v1.Session() as session:
        value = tf.constant(3)
        before = len(graph.get_operations())
        model.evaluate(**asked(run, 4, "test"))
        assert len(graph.get_operations()) == before
        assert session.run(value) == 3


def test_a_checkpoint_that_is_gone_is_an_error_and_the_next_one_is_evaluated(run):
    model = one_graph.OneGraph(make(run))
    with pytest.raises(ValueError, match="model.ckpt-5"):
        model.evaluate(**asked(run, 5, "test"))
    assert np.isfinite(model.evaluate(**asked(run, 4, "test"))["loss"])


def test_a_name_that_comes_with_another_split_gives_that_splits_result(run):
    model = one_graph.OneGraph(make(run))
    for split, examples in [("validation", VALIDATION), ("test", TEST)]:
        given = asked(run, 4, split) | {"name": None, "split": split}
        assert model.evaluate(**given)["examples"] == examples


def test_what_becomes_of_the_data_between_evaluations_is_noticed(run):
    dataset, model_dir, _ = run
    model, checkpoint = one_graph.OneGraph(make(run)), str(model_dir / "model.ckpt-4")
    given = (model, dataset.folder, dataset.manifest, "test")
    assert evaluation.evaluate(*given, batch_size=7, checkpoint=checkpoint)["examples"] == TEST
    (path,) = dataset.shard_paths("test")
    os.rename(path, f"{path}.aside")
    os.mkdir(path)
    try:
        with pytest.raises(InputError, match="not a plain file"):
            evaluation.evaluate(*given, batch_size=7, checkpoint=checkpoint)
    finally:
        os.rmdir(path)
        os.rename(f"{path}.aside", path)


def noise(images, **_):
    return images + tf.random.normal(tf.shape(images))


def looked_up(images, **_):
    content = tf.lookup.KeyValueTensorInitializer(tf.constant([1]), tf.constant([2.0]))
    return images * tf.lookup.StaticHashTable(content, 0.0).lookup(tf.constant(1))


def of_the_name_of_a_metric(images, **_):
    return images * v1.get_variable("class_counts", [], initializer=v1.ones_initializer())


@pytest.mark.parametrize("change", [noise, looked_up, of_the_name_of_a_metric])
def test_a_network_of_a_users_own_is_evaluated_as_by_estimator(run, change, tmp_path, monkeypatch):
    def network(images, *, num_classes, params, **_):
        values = networks.flatten(change(images))
        return networks.dense(values, "logits", units=num_classes, params=params)

    module = types.ModuleType("mine")
    module.network = network
    monkeypatch.setitem(sys.modules, "mine", module)
    ours, theirs = (make(run, model="mine:network", model_dir=f"{tmp_path}/{n}") for n in "ab")
    checkpoint = str(tmp_path / "model.ckpt-0")
    with tf.Graph().as_default(), v1.Session() as session:
        v1.set_random_seed(0)
        v1.train.create_global_step()
        shape = [None, *run[0].manifest.image_shape]
        network(v1.placeholder(tf.float32, shape), num_classes=CLASSES, params=ours.params)
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, checkpoint)
    model = one_graph.OneGraph(ours)
    for split in ("validation", "test", "validation"):
        given = asked(run, 0, split) | {"checkpoint_path": checkpoint}
        assert model.evaluate(**given) == theirs.evaluate(**given)
