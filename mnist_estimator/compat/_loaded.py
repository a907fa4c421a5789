"""TensorFlow and Estimator, imported when this module is: `tf`, `v1`, `estimator`, `estimator_v1`.

Nothing but `compat` imports it, when one of the four is first asked for.
"""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator
from typing import Any

from mnist_estimator.compat import _gaps, _keras, _quiet, _versions, calls_on_import


def _import_tensorflow() -> Any:
    """Imports TensorFlow, after the check that it can be used."""
    estimator_version = _versions.installed("tensorflow_estimator", "tensorflow-estimator")
    # Checked before, since a TensorFlow that is too old may fail to import in its own way.
    _versions.check_versions(_versions.installed("tensorflow", "tensorflow"), estimator_version)
    with _keras.chosen(), _quiet.without_noise(_quiet.START_UP_NOISE):
        tf = _tensorflow()
        if _quiet.is_asked() and not os.path.exists("/proc/driver/nvidia"):
            # TensorFlow looks for GPUs when the first session starts and reports as an error that
            # there is no driver. Looking now leaves that line out with the others.
            tf.config.list_physical_devices("GPU")
    _versions.check_versions(tf.__version__, estimator_version)
    if _quiet.is_asked():
        _quiet.silence_deprecations()
    return tf


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """Has nothing look for garbage meanwhile.

    The million objects that TensorFlow's import makes stay. To look through them again and again
    takes a sixth of its time. To look once, when the collector is on again, takes 0.3 s: what is
    called on import may freeze them before.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _tensorflow() -> Any:
    try:
        import tensorflow as tf
    except (ImportError, MemoryError, OSError) as error:
        first: BaseException = error
        while first.__context__:  # What TensorFlow makes of it is many lines.
            first = first.__context__
        reason = " ".join(str(first).split()) or type(first).__name__
        raise _versions.TensorFlowError(
            f"TensorFlow cannot be imported: {reason}; the memory that a process may have "
            "(ulimit -v, or the job's) may be too little, else install TensorFlow again"
        ) from error
    return tf


with _without_collector():
    tf = _import_tensorflow()
    v1 = tf.compat.v1
    if _versions.release(tf.__version__) < (2, 16):
        estimator, estimator_v1 = tf.estimator, v1.estimator
    else:
        estimator, estimator_v1 = _gaps.close()
    for call in calls_on_import:
        call()
