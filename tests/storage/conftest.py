"""A bucket that this process has served to TensorFlow."""

from __future__ import annotations

import pytest

from mnist_estimator import storage


@pytest.fixture
def bucket(bucket):
    """The URL of a new bucket, which TensorFlow can read and write."""
    storage.install()
    return bucket
