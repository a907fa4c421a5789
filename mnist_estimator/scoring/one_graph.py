"""Evaluates checkpoints of one network again and again, all in one graph and one session.

`Estimator.evaluate` builds its graph and starts a session for every checkpoint. This is as its
method of the same name: the same arguments, results and events for TensorBoard.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mnist_estimator import model_fn
from mnist_estimator.compat import estimator, tf, v1
from mnist_estimator.runs import events
from mnist_estimator.runs.evaluations import STEP


class OneGraph:
    """The evaluations of an Estimator's network."""

    def __init__(self, model: estimator.Estimator) -> None:
        """Of the Estimator it takes the params, the session's config and the folders."""
        self._model = model
        self._graph = tf.Graph()
        self._session: v1.Session | None = None
        self._inputs: dict[str | None, tf.Operation] = {}

    def evaluate(
        self,
        input_fn: Callable[[], tf.data.Dataset],
        steps: None = None,
        hooks: Sequence[v1.train.SessionRunHook] | None = None,
        checkpoint_path: str = "",
        name: str | None = None,
    ) -> dict[str, Any]:
        """Evaluates a checkpoint on all batches of `input_fn`.

        Args:
          input_fn: is called once for each `name`: it always gives the same data.
          hooks: of each only `begin`, `before_run` and `after_run` are called.
          checkpoint_path: restored as it is; a pattern restores what it matches.
          name: events go to `eval_NAME` in the model_dir; without a name to `eval`.

        Returns:
          The metrics of `model_fn.evaluation`, `loss` and `global_step`.

        Raises:
          ValueError: if there is no checkpoint.
        """
        # In training the default graph is that of the training session.
        with self._graph.as_default():
            begin_input = self._input(input_fn, name)
            session = self._session or self._start()
            self._saver.restore(session, checkpoint_path)
            session.run([self._reset, begin_input])
            self._run_batches(session, hooks or [])
            results = session.run(self._values)
        step = int(results[STEP])
        _write(self._model.eval_dir(name), results, checkpoint_path, step)
        return results

    def close(self) -> None:
        """Frees the memory of the session. No evaluation can follow."""
        if self._session:
            self._session.close()

    def _input(self, input_fn: Callable[[], tf.data.Dataset], name: str | None) -> tf.Operation:
        """The operation that begins the input of this name; builds the graph the first time."""
        if name not in self._inputs:
            dataset = input_fn()
            if not self._inputs:
                self._build(v1.data.get_output_types(dataset), v1.data.get_output_shapes(dataset))
            self._inputs[name] = self._iterator.make_initializer(dataset)
        return self._inputs[name]

    def _build(self, types: Any, shapes: Any) -> None:
        v1.set_random_seed(self._model.config.tf_random_seed)
        step = v1.train.create_global_step()
        self._iterator = v1.data.Iterator.from_structure(types, shapes)
        features, labels = self._iterator.get_next()
        found = model_fn.evaluation(features, labels, self._model.params)
        metrics = {**found.metrics, model_fn.LOSS: v1.metrics.mean(found.loss)}
        self._update = tf.group(*(update for _, update in metrics.values()))
        self._values = {name: value for name, (value, _) in sorted(metrics.items())}
        self._values[STEP] = step
        self._reset = v1.local_variables_initializer()
        self._saver = v1.train.Saver(sharded=True)

    def _start(self) -> v1.Session:
        self._session = v1.Session(config=self._model.config.session_config)
        return self._session

    def _run_batches(self, session: v1.Session, hooks: Sequence[v1.train.SessionRunHook]) -> None:
        for hook in hooks:
            hook.begin()
        with contextlib.suppress(tf.errors.OutOfRangeError):  # The end of the data.
            while True:
                asked = [hook.before_run(None) for hook in hooks]
                fetches = [each.fetches for each in asked]
                _, fetched = session.run([self._update, fetches])
                for hook, results in zip(hooks, fetched, strict=True):
                    hook.after_run(None, v1.train.SessionRunValues(results, None, None))


def _write(folder: str, results: Mapping[str, Any], checkpoint: str, step: int) -> None:
    """Writes the events that Estimator writes of an evaluation."""
    values = [
        v1.Summary.Value(tag=name, simple_value=float(value))
        for name, value in results.items()
        if name != STEP
    ]
    path = v1.Summary.Value(tag="checkpoint_path", tensor=tf.make_tensor_proto(checkpoint))
    writer = events.writer(folder)
    writer.add_summary(v1.Summary(value=values), step)
    writer.add_summary(v1.Summary(value=[path]), step)
    writer.flush()
