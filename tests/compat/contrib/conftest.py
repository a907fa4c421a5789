"""A graph for each test, as programs of TensorFlow 1 build them, and tf.contrib where asked for."""

from __future__ import annotations

import sys

import pytest

from mnist_estimator.compat import contrib as package
from mnist_estimator.compat import estimator_v1, v1


@pytest.fixture(autouse=True)
def graph():
    with v1.Graph().as_default() as graph:
        v1.set_random_seed(1)
        yield graph


@pytest.fixture
def evaluate(graph):
    """Returns a function that gives the values of tensors, in one session, whatever starts it."""
    sessions = []

    def run(fetches, feed=None, values=None):
        if not sessions:
            sessions.append(v1.Session(graph=graph))
            start = (v1.global_variables_initializer(), v1.local_variables_initializer())
            sessions[0].run([*start, v1.tables_initializer()])
        for variable, value in (values or {}).items():
            variable.load(value, sessions[0])
        return sessions[0].run(fetches, feed)

    run.sessions = sessions
    yield run
    for session in sessions:
        session.close()


@pytest.fixture
def contrib():
    """tf.contrib, and nothing of it afterwards."""
    before, finders = set(sys.modules), list(sys.meta_path)
    package.install(v1, estimator_v1)
    yield v1.contrib
    del v1.contrib, v1.examples
    for name in set(sys.modules) - before:
        if name.startswith(("tensorflow.contrib", "tensorflow.examples")):
            del sys.modules[name]
    sys.meta_path[:] = finders
