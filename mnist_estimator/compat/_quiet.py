"""Keeps TensorFlow's start-up lines and deprecation notices from being printed, if asked to.

Nobody who runs a program can act on them. Errors are shown. TF_CPP_MIN_LOG_LEVEL=0 in the
environment shows all.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator

_LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"

# Written by TensorFlow's C++ libraries as they are loaded, whatever TF_CPP_MIN_LOG_LEVEL is.
START_UP_NOISE = (
    r"Unable to register cu(DNN|FFT|BLAS) factory"  # 2.15 to 2.20, on every machine.
    r"|computation placer already registered"
    r"|All log messages before absl::InitializeLog\(\) is called"
    r"|oneDNN custom operations are on"  # 2.21.
    r"|Could not find cuda drivers on your machine"
    r"|failed call to cuInit"  # On a machine without a GPU.
)


class _State:
    """What the program has asked for; TensorFlow belongs to the whole process, and so does this."""

    asked = False
    shows_all = False


def quiet() -> None:
    """Has TensorFlow print no start-up lines and no deprecation notices.

    Call it before TensorFlow is imported; after that only the notices can be turned off. It sets
    TF_CPP_MIN_LOG_LEVEL=2 unless it is set, so that programs started by this one are quiet, too.
    """
    _State.asked = True
    _State.shows_all = os.environ.setdefault(_LOG_LEVEL, "2") == "0"
    if sys.modules.get("tensorflow"):
        silence_deprecations()


def is_asked() -> bool:
    """Whether `quiet` has been called."""
    return _State.asked


@contextlib.contextmanager
def without_noise(pattern: str) -> Iterator[None]:
    """Passes what is written to standard error through `grep -v`, if `quiet` was called.

    The lines come from C++, below anything that Python could redirect. A process does it, and not
    a file read afterwards, because a TensorFlow that cannot run on this processor ends this process
    while it is imported, and its last words must come through.
    """
    if not _State.asked or _State.shows_all:
        yield
        return
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # No standard error, or no grep: nothing is left out.
            stderr = stack.enter_context(open(os.dup(2), "wb"))
            command = ["grep", "-vE", pattern]
            grep = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=stderr)
            os.dup2(stack.enter_context(grep).stdin.fileno(), 2)
            stack.callback(os.dup2, stderr.fileno(), 2)
        yield


def silence_deprecations() -> None:
    """Turns off notices about what this package, or Estimator, calls on the user's behalf."""
    if _State.shows_all:
        return
    from tensorflow.python.util import deprecation

    # "Use tf.keras instead", "Instructions for updating": from all of Estimator and much of
    # tf.compat.v1. The public way, `deprecation.silence`, covers only a block.
    deprecation._PRINT_DEPRECATION_WARNINGS = False
    # Estimator asks for the options of each dataset under a strategy of several workers.
    warnings.filterwarnings("ignore", "To make it possible to preserve tf.data options")
