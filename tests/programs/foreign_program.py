"""One task of a parameter-server cluster that trains with `hooks`, for test_foreign_estimator.py.

    python foreign_program.py MODEL_DIR MAX_STEPS

Fits w to 3. What the tests wait for comes sooner than in real clusters.
"""

import functools
import sys

from mnist_estimator import compat, hooks
from mnist_estimator.training import endings

compat.quiet()
estimator, tf, v1 = compat.estimator, compat.tf, compat.v1


def model_fn(features, labels, mode):
    del features
    w = v1.get_variable("w", [], initializer=v1.zeros_initializer())
    loss = (w - labels) ** 2
    train_op = v1.train.GradientDescentOptimizer(0.01).minimize(
        loss, global_step=v1.train.get_or_create_global_step()
    )
    return estimator.EstimatorSpec(mode, loss=loss, train_op=train_op)


def input_fn():
    return tf.data.Dataset.from_tensors((0.0, 3.0)).repeat()


# A worker that finds no variables yet looks again, by default, half a minute later.
v1.train.SessionManager.__init__ = functools.partialmethod(
    v1.train.SessionManager.__init__, recovery_wait_secs=1
)
endings._SILENT_SECS = 2.0  # A task that is gone might come back, by default for 20 s.
config = estimator.RunConfig(
    sys.argv[1],
    save_checkpoints_steps=50,
    # Estimator's evaluator ends with an error if its checkpoint is deleted before it is read: of
    # the default of 5 that happens to a slow one.
    keep_checkpoint_max=100,
    experimental_max_worker_delay_secs=0,
)
classifier = estimator.Estimator(model_fn, config=config)
with hooks.resumable(classifier) as run:
    spec = estimator.TrainSpec(run.input_fn(input_fn), int(sys.argv[2]), run.hooks)
    evaluation = estimator.EvalSpec(input_fn, steps=1, start_delay_secs=0, throttle_secs=1)
    estimator.train_and_evaluate(classifier, spec, evaluation)
print("done", flush=True)
