"""A real S3 server for the tests of object stores."""

from __future__ import annotations

import pytest
from support import object_stores

from mnist_estimator import storage


@pytest.fixture(scope="session")
def s3_server():
    with object_stores.server() as server:
        yield server


@pytest.fixture
def bucket(s3_server, monkeypatch):
    """The URL of a new bucket, which TensorFlow can read and write."""
    for name, value in object_stores.environment(s3_server.endpoint).items():
        monkeypatch.setenv(name, value)
    storage.install()
    return f"s3://{s3_server.make_bucket()}"
