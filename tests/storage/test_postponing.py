"""Signals that come while TensorFlow calls a filesystem."""

import contextlib
import secrets
import signal
import threading
import time

import pytest

from mnist_estimator import storage
from mnist_estimator.compat import tf, v1
from mnist_estimator.runtime import signals
from mnist_estimator.storage import _abi, _objects, _postponing, _retrying

pytestmark = pytest.mark.skipif(not _abi.shim_path(), reason="the part in C needs a compiler")


@pytest.fixture
def path():
    """A file in memory."""
    storage.install()
    path = f"memory://{secrets.token_hex(4)}/file"
    with tf.io.gfile.GFile(path, "w") as file:
        file.write("content")
    return path


@pytest.fixture(autouse=True)
def handled():
    with signals.handled(restore=True):
        yield


@pytest.fixture
def signalled(monkeypatch):
    """Lets each look at an object be the moment of a signal; the results of the looks."""
    answers = []

    def head(location, original=_objects.head):
        signal.raise_signal(signal.SIGTERM)
        answers.append(original(location))
        return answers[-1]

    monkeypatch.setattr(_objects, "head", head)
    return answers


@pytest.mark.smoke
@pytest.mark.parametrize(
    "call",
    [
        tf.io.gfile.exists,
        tf.io.gfile.stat,
        tf.io.gfile.remove,
        lambda path: tf.io.gfile.copy(path, f"{path}.copy"),
        lambda path: tf.io.gfile.glob(path),
        v1.train.NewCheckpointReader,
        # It takes an error for a folder without a checkpoint.
        lambda path: tf.train.get_checkpoint_state(path.rpartition("/")[0]),
    ],
)
def test_a_signal_in_a_call_raises_after_it_as_what_it_is(path, signalled, call):
    with pytest.raises(signals.Interruption, match="SIGTERM") as caught:
        call(path)
        time.sleep(1)  # After an error it takes a moment.
    assert caught.value.exit_code == 143
    # The call went on meanwhile.
    assert len(signalled) > 0


def test_a_deferred_signal_raises_no_sooner(path, signalled):
    with pytest.raises(signals.Interruption), signals.deferrable():
        signals.defer()
        assert tf.io.gfile.exists(path)
        reached = True
    assert reached and signalled[0]["size"] == 7


def test_the_same_signal_raised_again_is_no_second_one(path, monkeypatch):
    monkeypatch.setattr(signals, "_SAME_SECS", 0)
    monkeypatch.setattr(signals, "_end", lambda *reason: ended.append(reason))
    ended = []

    def head(location, original=_objects.head):
        signal.raise_signal(signal.SIGTERM)
        time.sleep(0.1)  # The thread that watches sees the first.
        return original(location)

    monkeypatch.setattr(_objects, "head", head)
    with pytest.raises(signals.Interruption):
        tf.io.gfile.exists(path)
    time.sleep(0.1)
    assert ended == []
    signal.raise_signal(signal.SIGTERM)
    time.sleep(0.1)
    assert len(ended) == 1


def test_nobody_waits_for_a_store_once_a_signal_has_come(path, monkeypatch):
    monkeypatch.setattr(_retrying.time, "sleep", lambda secs: pytest.fail("waited"))

    def head(location):
        signal.raise_signal(signal.SIGTERM)
        assert _postponing.is_waiting()
        _retrying.call(cut)

    def cut():
        raise ConnectionError("cut")

    monkeypatch.setattr(_objects, "head", head)
    with pytest.raises(signals.Interruption):
        with contextlib.suppress(tf.errors.UnavailableError):
            tf.io.gfile.exists(path)
        threading.Event().wait(1)


def test_outside_of_a_call_nothing_is_postponed(path):
    assert not storage.postpone_signal(signal.SIGTERM)
    assert not _postponing.is_waiting()
    with contextlib.suppress(tf.errors.NotFoundError):
        tf.io.gfile.stat(f"{path}/nothing")
    assert not storage.postpone_signal(signal.SIGTERM)
