"""Evaluates checkpoints of one network again and again, all in one graph.

`Estimator.evaluate` builds its graph and starts a session for every checkpoint. This is as its
method of the same name on all of the data: the same results and events for TensorBoard.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from mnist_estimator import model_fn, networks, predictions
from mnist_estimator.compat import estimator, tf, v1
from mnist_estimator.runs import events, saver
from mnist_estimator.runs.evaluations import STEP
from mnist_estimator.runtime import watchdog


class OneGraph:
    """The evaluations of an Estimator's network."""

    def __init__(self, model: estimator.Estimator) -> None:
        """Of the Estimator it takes the params, the session's config and the folders."""
        self._model = model
        self._graph = tf.Graph()
        self._session: v1.Session | None = None
        self._inputs: dict[tuple[str | None, str], tf.Operation] = {}

    def evaluate(
        self,
        input_fn: Callable[[], tf.data.Dataset],
        hooks: Sequence[v1.train.SessionRunHook] | None = None,
        checkpoint_path: str = "",
        name: str | None = None,
        split: str = "",
    ) -> dict[str, Any]:
        """Evaluates a checkpoint on all batches of `input_fn`.

        Args:
          input_fn: is called once for each `name` and `split`: it always gives the same data.
          hooks: of each only `begin`, `before_run` and `after_run` are called.
          checkpoint_path: restored as it is; a pattern restores what it matches.
          name: events go to `eval_NAME` in the model_dir; without a name to `eval`.
          split: which data `input_fn` gives.

        Returns:
          The metrics of `model_fn.evaluation`, `loss` and `global_step`.

        Raises:
          ValueError: if there is no checkpoint.
          InputError: if it is one of another network.
        """
        # In training the default graph is that of the training session.
        with self._graph.as_default():
            begin_input = self._input(input_fn, (name, split))
            with self._opened_session() as session:
                self._saver.restore(session, checkpoint_path)
                # TensorFlow takes a value of any shape, and with it whatever network that makes.
                saver.check_variables(checkpoint_path, self._shapes)
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

    def _input(
        self, input_fn: Callable[[], tf.data.Dataset], key: tuple[str | None, str]
    ) -> tf.Operation:
        """The operation that begins an input; builds the graph the first time."""
        if not self._inputs:
            self._build(input_fn)
            self._inputs[key] = self._iterator.initializer
        elif key not in self._inputs:
            self._inputs[key] = self._iterator.make_initializer(input_fn())
        return self._inputs[key]

    def _build(self, input_fn: Callable[[], tf.data.Dataset]) -> None:
        # In Estimator's order: the seed of a random operation is how many were made before it.
        v1.set_random_seed(self._model.config.tf_random_seed)
        step = v1.train.get_or_create_global_step()
        self._iterator = v1.data.make_initializable_iterator(input_fn())
        features, labels = self._iterator.get_next()
        found = model_fn.evaluation(features, labels, self._model.params)
        metrics = {**found.metrics, model_fn.LOSS: v1.metrics.mean(found.loss)}
        self._update = tf.group(*(update for _, update in metrics.values()))
        self._values = {name: value for name, (value, _) in sorted(metrics.items())}
        self._values[STEP] = step
        self._reset = tf.group(v1.local_variables_initializer(), v1.tables_initializer())
        averages = predictions.uses_averages(self._model.params)
        stored = saver.stored_variables(averages=averages)
        self._shapes = {
            name: variable.shape.as_list()
            for name, variable in stored.items()
            if variable.shape.is_fully_defined()
        }
        self._saver = v1.train.Saver(stored, sharded=True)

    @contextlib.contextmanager
    def _opened_session(self) -> Iterator[v1.Session]:
        """One session for all evaluations; for a user's own network a new one for each.

        Random operations of such a network keep a state in the session. The result of a checkpoint
        must not depend on the evaluations before it.
        """
        config = self._model.config.session_config
        if self._model.params["model"] not in networks.NETWORKS:
            with contextlib.closing(v1.Session(config=config)) as session:
                yield session
            return
        self._session = self._session or v1.Session(config=config)
        yield self._session

    def _run_batches(self, session: v1.Session, hooks: Sequence[v1.train.SessionRunHook]) -> None:
        for hook in hooks:
            hook.begin()
        with contextlib.suppress(tf.errors.OutOfRangeError):  # The end of the data.
            while True:
                asked = [hook.before_run(None) for hook in hooks]
                fetches = [each.fetches for each in asked]
                _, fetched = session.run([self._update, fetches])
                watchdog.alive()
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
