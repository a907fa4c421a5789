"""Production `tf.data` + Estimator training on the TensorFlow you can install today."""

__version__ = "0.1.0"


class InputError(ValueError):
    """A mistake in what the user gave: the commands print it as one line and exit with 2."""


class RunError(RuntimeError):
    """A run that cannot go on: the commands print it as one line and exit with 1."""
