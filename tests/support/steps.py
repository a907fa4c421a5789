"""Steps of training without a network, for tests of hooks."""

from __future__ import annotations

from mnist_estimator import model_fn
from mnist_estimator.compat import tf, v1


def run_steps(*watchers, steps, start=0, loss=0.25, build=lambda: None):
    """Runs a train_op that counts steps under hooks, until `steps` are done or a hook stops it."""
    with tf.Graph().as_default():
        step = v1.train.get_or_create_global_step()
        build()
        v1.add_to_collection(v1.GraphKeys.LOSSES, tf.constant(loss))
        v1.add_to_collection(model_fn.LEARNING_RATE, tf.constant(0.5))
        v1.add_to_collection(v1.GraphKeys.SAVERS, v1.train.Saver(sharded=True, max_to_keep=9))
        train_op = step.assign_add(1)
        init = tf.group(v1.global_variables_initializer(), step.initializer)
        if start:
            with tf.control_dependencies([init]):
                init = step.assign(start)
        creator = v1.train.ChiefSessionCreator(v1.train.Scaffold(init_op=init))
        with v1.train.MonitoredSession(creator, hooks=watchers) as session:
            for _ in range(steps):
                if session.should_stop():
                    break
                session.run(train_op)
