"""Which versions of TensorFlow and tensorflow-estimator can be used, and which are installed."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import sys

from mnist_estimator import InputError, RunError

OLDEST = (2, 15)
NEWEST = (2, 21)
ESTIMATOR = "2.15"


class VersionError(InputError):
    """The TensorFlow or tensorflow-estimator that is installed cannot be used."""


class TensorFlowError(RunError):
    """TensorFlow is installed and cannot be imported."""


def check_versions(tensorflow: str | None, tensorflow_estimator: str | None) -> None:
    """Checks versions; None stands for not installed, "" for a version that is not known.

    Raises:
      VersionError: if the two cannot be used.
    """
    works = "mnist_estimator works with TensorFlow {}.{} to {}.{}".format(*OLDEST, *NEWEST)
    below = f"{NEWEST[0]}.{NEWEST[1] + 1}"
    remedy = "pip install 'tensorflow>={}.{},<{}' 'tensorflow-estimator=={}.*'".format(
        *OLDEST, below, ESTIMATOR
    )
    found = None
    if tensorflow is None:
        found = "TensorFlow is not installed"
    elif tensorflow and not OLDEST <= release(tensorflow) <= NEWEST:
        found = f"TensorFlow {tensorflow} is installed"
    elif tensorflow_estimator is None:
        found = "tensorflow-estimator is not installed"
    elif tensorflow_estimator and not tensorflow_estimator.startswith(f"{ESTIMATOR}."):
        found = f"tensorflow-estimator {tensorflow_estimator} is installed"
    if found:
        raise VersionError(f"{found}, {works} and tensorflow-estimator {ESTIMATOR}: {remedy}")


def release(version: str) -> tuple[int, int]:
    """The first two numbers of a version: (2, 21) for "2.21.0-rc1"."""
    found = re.match(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def installed(module: str, distribution: str) -> str | None:
    """The version of a package, which is not imported; None and "" as in `check_versions`."""
    if module in sys.modules:
        return getattr(sys.modules[module], "__version__", "")
    if importlib.util.find_spec(module) is None:
        return None
    return of_distribution(distribution)


def of_distribution(distribution: str) -> str:
    """The version of a package that is installed; "" if it came under another name."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""  # As tensorflow-cpu, or a vendor's build.
