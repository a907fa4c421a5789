"""The training program of replay.py: the real one, with a fault at one step.

  python benchmarks/replay_child.py --fault=weight --after=30 [train flags]

weight: one bit of one weight flips in memory. slot: one of Adam's averages. image: one bit of one
pixel of a batch flips on its way to the network. noise: an operation gives other bits each time.
"""

from __future__ import annotations

import numpy as np
from absl import flags

from mnist_estimator import config
from mnist_estimator.cluster import roles
from mnist_estimator.runtime import program

FAULTS = ("weight", "slot", "image", "noise")
_FAULT = flags.DEFINE_enum("fault", "weight", FAULTS, "What goes wrong.")
_AFTER = flags.DEFINE_integer("after", 30, "After so many steps of this process.", lower_bound=1)
_BIT = 1 << 12


def main(argv: list[str]) -> None:
    """Trains."""
    del argv
    settings = config.train_config()
    plant(_FAULT.value, _AFTER.value)
    from mnist_estimator.training import training

    training.train(settings, roles.Task())


def plant(fault: str, after: int) -> None:
    """Has the trainings of this process go wrong."""
    from mnist_estimator import estimators, model_fn
    from mnist_estimator.compat import estimator, tf, v1
    from mnist_estimator.data import inputs
    from mnist_estimator.training import loop

    made, build = loop._hooks, model_fn.model_fn

    class Flip(v1.train.SessionRunHook):
        """Flips one bit of a variable after some steps."""

        def begin(self) -> None:
            self._step, suffix = 0, {"weight": "kernel", "slot": "kernel/Adam"}[fault]
            *_, self._variable = (v for v in v1.global_variables() if v.op.name.endswith(suffix))
            self._value = self._variable.read_value()
            self._given = v1.placeholder(self._value.dtype, self._value.shape)
            self._put = self._variable.assign(self._given, read_value=False)

        def after_run(self, run_context: object, run_values: object) -> None:
            self._step += 1
            if self._step == after:
                value = run_context.session.run(self._value)
                value.reshape(-1).view(np.uint32)[value.size // 2] ^= _BIT
                run_context.session.run(self._put, {self._given: value})

    # Estimator reads the names of a model_fn's arguments.
    def faulty_model_fn(
        features: dict, labels: object, mode: str, params: dict
    ) -> estimator.EstimatorSpec:
        if mode == estimator.ModeKeys.TRAIN:
            images = features[inputs.IMAGES]
            now = tf.equal(v1.train.get_or_create_global_step().read_value(), after)
            bit = tf.cast(now, tf.uint8) * 64
            if fault == "noise":
                bit = tf.cast(tf.random.uniform([], seed=1) < 0.5, tf.uint8)
            pixel = tf.one_hot(tf.size(images) // 2, tf.size(images), bit, tf.constant(0, tf.uint8))
            images = tf.bitwise.bitwise_xor(images, tf.reshape(pixel, tf.shape(images)))
            features = features | {
                inputs.IMAGES: tf.ensure_shape(images, features[inputs.IMAGES].shape)
            }
        return build(features, labels, mode, params)

    if fault in ("weight", "slot"):
        loop._hooks = lambda *given: [Flip(), *made(*given)]
    else:
        estimators.model_fn = faulty_model_fn


if __name__ == "__main__":
    config.define_train_flags()
    program.run(main)
