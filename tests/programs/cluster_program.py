"""One task of a cluster, started by test_compat_cluster.py with TF_CONFIG in its environment.

    python cluster_program.py {ps,mirrored} MODEL_DIR MAX_STEPS

Fits w to a target that differs from worker to worker, by halving the distance in each step, and
prints a line of JSON: where w was, what place in the cluster this task had and how many steps it
took, and what the checkpoint holds.
"""

import functools
import json
import os
import sys

from mnist_estimator import compat

compat.quiet()
estimator, tf, v1 = compat.estimator, compat.tf, compat.v1

TARGETS = {"chief": 3.0, "worker": 1.0, "evaluator": 0.0, "ps": 0.0}


class CountSteps(estimator.SessionRunHook):
    def after_run(self, run_context, run_values):
        found["steps"] += 1


def model_fn(features, labels, mode, config):
    del features
    w = v1.get_variable("w", [], initializer=v1.zeros_initializer())
    found["device"] = w.device
    found["place"] = [config.global_id_in_cluster, config.num_worker_replicas, config.is_chief]
    loss = tf.reduce_mean(tf.square(w - labels)) / 2
    train_op = v1.train.GradientDescentOptimizer(0.5).minimize(
        loss, global_step=v1.train.get_or_create_global_step()
    )
    return estimator.EstimatorSpec(mode, loss=loss, train_op=train_op)


def input_fn():
    return tf.data.Dataset.from_tensors((0.0, target)).repeat(None if training else 1)


def strategy():
    if kind == "ps":
        return None  # Estimator has its own way with parameter servers.
    if task["type"] == "evaluator":
        return tf.distribute.OneDeviceStrategy("/cpu:0")  # Has nothing to do with the workers.
    return tf.distribute.MultiWorkerMirroredStrategy()


# A worker that finds no variables yet looks again, by default, half a minute later.
v1.train.SessionManager.__init__ = functools.partialmethod(
    v1.train.SessionManager.__init__, recovery_wait_secs=1
)
kind, model_dir, max_steps = sys.argv[1], sys.argv[2], int(sys.argv[3])
task = json.loads(os.environ["TF_CONFIG"])["task"]
training = task["type"] != "evaluator"
target = TARGETS[task["type"]] + task["index"]
found = {"steps": 0}
hooks = [CountSteps()]
if kind == "ps" and task["type"] == "chief":
    # Else the chief, which starts first, could be done before the worker has begun.
    hooks.append(estimator.GlobalStepWaiterHook(5))
config = estimator.RunConfig(
    model_dir,
    save_checkpoints_steps=max_steps,
    train_distribute=strategy(),
    experimental_max_worker_delay_secs=0,
)
estimator.train_and_evaluate(
    estimator.Estimator(model_fn, config=config),
    estimator.TrainSpec(input_fn, max_steps=max_steps, hooks=hooks),
    estimator.EvalSpec(input_fn, steps=None, hooks=hooks, start_delay_secs=0, throttle_secs=1),
)
checkpoint = tf.train.latest_checkpoint(model_dir)
found |= {name: tf.train.load_variable(checkpoint, name).item() for name in ("w", "global_step")}
print(json.dumps(found), flush=True)
