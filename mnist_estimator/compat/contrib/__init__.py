"""Stand-ins for the parts of `tf.contrib` that programs of TensorFlow 1 used most.

    from mnist_estimator.compat import contrib
    contrib.install(v1, estimator_v1)

TensorFlow 2.0 dropped `tf.contrib`. After `install` a program finds `tf.contrib.layers` and the
others at `v1.contrib`, and can import them by their old paths. They are for graphs, as TensorFlow 1
builds them. What is there has the values, defaults, names of variables and collections of
TensorFlow 1.15; `_catalog` is the list. A name that is not there says so, and what to do.

The modules whose names begin with _ make the namespaces; the others hold what no TensorFlow has any
more, a topic each. They import TensorFlow, this one does not.
"""

from __future__ import annotations

import importlib
from typing import Any


def install(v1: Any, estimator_v1: Any) -> None:
    """Sets `v1.contrib`, and makes tensorflow.contrib and tensorflow.examples importable.

    Args:
      v1: `tf.compat.v1`.
      estimator_v1: what `tf.compat.v1.estimator` was. Its `tpu` is looked up when it is used.
    """
    # Not at the top: they import TensorFlow.
    namespaces = importlib.import_module(f"{__name__}._namespaces")
    catalog = importlib.import_module(f"{__name__}._catalog")
    roots = {"v1": v1, "estimator": estimator_v1}
    v1.contrib = namespaces.install("tensorflow.contrib", catalog.CONTRIB, roots)
    v1.examples = namespaces.install("tensorflow.examples", catalog.EXAMPLES, roots)
