"""Fixtures of the tests of serving: a run that was exported, trained once for all of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from support.exports import Exported, train_and_export
from support.server import Server

from mnist_estimator.compat import tf, v1


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return train_and_export(tmp_path_factory.mktemp("exported"))


@pytest.fixture(scope="session", params=[255, 249, 100, 16, 1])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with tf.Graph().as_default() as graph:
        session = v1.Session(graph=graph)
        made = Server(request.param, session)
    # Outside of its graph, so that tests that use it may run eagerly.
    with contextlib.closing(session):
        yield made
