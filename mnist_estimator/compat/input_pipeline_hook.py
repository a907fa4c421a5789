"""`tf.data.experimental.CheckpointInputPipelineHook`, which TensorFlow 2.16 removed.

It saves how far the input has been read, beside the checkpoints of the model, so that training
that goes on reads on there. Files and arguments are those of TensorFlow 2.15, which reads what this
saves, and the reverse.
"""

from __future__ import annotations

import os
from typing import Any

import tensorflow as tf

v1: Any = tf.compat.v1

_POLICIES = {
    "fail": tf.data.experimental.ExternalStatePolicy.FAIL,
    "ignore": tf.data.experimental.ExternalStatePolicy.IGNORE,
    "warn": tf.data.experimental.ExternalStatePolicy.WARN,
}


class CheckpointInputPipelineHook(v1.train.SessionRunHook):
    """Saves the iterators of `estimator`'s input when the model is saved, and restores them.

    Args:
      estimator: the Estimator that is given this hook for `train`, and for nothing else.
      external_state_policy: what to do with an input that depends on a state of its own, such as
        random numbers, which is not saved: "fail" (the default), "warn" or "ignore".
    """

    def __init__(self, estimator: Any, external_state_policy: Any = None) -> None:
        policy = external_state_policy or "fail"
        if policy not in (*_POLICIES, *_POLICIES.values()):
            raise ValueError(
                f"external_state_policy is {policy!r}; expected one of {', '.join(_POLICIES)}"
            )
        self._policy = _POLICIES.get(policy, policy)
        config = estimator.config
        prefix = "input"
        if config.num_worker_replicas > 1:
            prefix += f"_{config.task_type}_{config.task_id}"
        self._folder = estimator.model_dir
        self._max_to_keep = config.keep_checkpoint_max
        self._path = os.path.join(self._folder, f"{prefix}.ckpt")
        # Beside "checkpoint", which is the model's.
        self._state_file = f"checkpoint_{prefix}"
        self._timer = v1.train.SecondOrStepTimer(
            every_secs=config.save_checkpoints_secs, every_steps=config.save_checkpoints_steps
        )

    def begin(self) -> None:
        from tensorflow.python.data.ops import iterator_ops

        iterators = v1.get_collection(iterator_ops.GLOBAL_ITERATORS)
        # What make_saveable_from_iterator returns for an iterator, of which a graph keeps only the
        # resource.
        saveables = [
            iterator_ops._IteratorSaveable(each, each.name, external_state_policy=self._policy)
            for each in iterators
        ]
        if not saveables:
            raise ValueError(
                "CheckpointInputPipelineHook found no iterator to save; expected an input_fn that "
                "returns a tf.data.Dataset"
            )
        self._saver = v1.train.Saver(saveables, sharded=True, max_to_keep=self._max_to_keep)
        self._global_step = v1.train.get_or_create_global_step()
        self._timer.reset()

    def after_create_session(self, session: Any, coord: Any) -> None:
        self._is_new_session = True

    def before_run(self, run_context: Any) -> Any:
        # Not in after_create_session, where Estimator initializes the iterators, before this hook
        # or after it.
        if self._is_new_session:
            self._is_new_session = False
            self._restore_or_save(run_context.session)
        return v1.train.SessionRunArgs(self._global_step)

    def after_run(self, run_context: Any, run_values: Any) -> None:
        # The value may be from before this step, or after it.
        if self._timer.should_trigger_for_step(run_values.results + 1):
            step = run_context.session.run(self._global_step)
            if self._timer.should_trigger_for_step(step):
                self._save(run_context.session, step)

    def end(self, session: Any) -> None:
        step = session.run(self._global_step)
        if step != self._timer.last_triggered_step():
            self._save(session, step)

    def _restore_or_save(self, session: Any) -> None:
        step = int(session.run(self._global_step))
        state = v1.train.get_checkpoint_state(self._folder, self._state_file)
        if state is None:
            self._save(session, step)
            return
        # Not always the newest: a task that is killed may have saved its input, and not the model.
        saved = {os.path.basename(path): path for path in state.all_model_checkpoint_paths}
        path = saved.get(f"{os.path.basename(self._path)}-{step}")
        if path is None:
            # As of workers that train asynchronously, which save at steps of their own.
            path = state.model_checkpoint_path
            v1.logging.warning(
                "No state of the input was saved at step %d: the input goes on from %s", step, path
            )
        self._saver.restore(session, path)
        self._timer.update_last_triggered_step(step)

    def _save(self, session: Any, step: int) -> None:
        self._timer.update_last_triggered_step(step)
        self._saver.save(
            session,
            self._path,
            global_step=step,
            latest_filename=self._state_file,
            write_meta_graph=False,
        )
