"""Compares the public names of TensorFlow 2.15 with those of a later one that has the hook.

    python benchmarks/api_walk.py --old=PYTHON --new=PYTHON

OLD is the Python of an environment with TensorFlow 2.15, NEW that of one with a later TensorFlow
and this package's requirements. Each imports TensorFlow in a process of its own, NEW after
`compat.install()`, and walks `tf`, `tf.compat.v1`, `tf.compat.v2` and both `estimator` to depth 4.
Keras is Keras 2 in both. The members of classes are walked too.

Printed is every name that OLD has and NEW lacks, with the explanation that EXPLANATIONS has for it;
of a module or class that is missing, not what is in it. Exits with 1 if a name has no explanation,
with 2 if a walk failed.
"""

from __future__ import annotations

import argparse
import fnmatch
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import types
from collections.abc import Iterator
from typing import Any

PROJECT = pathlib.Path(__file__).resolve().parent.parent
ROOTS = ("tf", "tf.compat.v1", "tf.compat.v2", "tf.estimator", "tf.compat.v1.estimator")
DEPTH = 4
# The packages that public modules come from, and those below them that are not public.
PUBLIC = ("tensorflow", "tensorflow_estimator._api", "keras", "tf_keras")
PRIVATE = ("tensorflow.python", "tensorflow.core", "tensorflow.lite", "keras.src", "tf_keras.src")

# The names that a later TensorFlow, or what it needs, has not: the first pattern that matches.
EXPLANATIONS = {
    "tf.tsl*": "protocol messages that TensorFlow is built from: never part of its API",
    "tf.dtensor.python*": "a private module: never part of the API",
    "tf.compat.v1.rnn_cell": (
        "TensorFlow's lazy loader of tf.compat.v1.nn.rnn_cell leaves it there: not part of the API"
    ),
    "*.RegisterExtension": "protobuf 5 removed it from every message",
    **dict.fromkeys(
        [
            *(f"*.test.TestCase.{name}" for name in ("assert_", "assert*Equals", "fail[IU]*")),
            "*.test.TestCase.assert*RegexpMatches",
        ],
        "Python 3.12 removed it from unittest.TestCase",
    ),
    **dict.fromkeys(
        [f"tf.*numpy.*.{name}" for name in ("itemset", "newbyteorder", "ptp", "tostring")],
        "NumPy 2 removed it from its numbers",
    ),
}


def main(argv: list[str] | None = None) -> int:
    """Walks both, prints what is missing, returns the exit status."""
    options = _parse_arguments(argv)
    if options.walk:
        json.dump(sorted(walk_tensorflow(hook=options.hook)), sys.stdout)
        return 0
    try:
        old = _walk_in(options.old, hook=False)
        new = _walk_in(options.new, hook=not options.plain)
    except subprocess.CalledProcessError as error:
        print(f"{error.cmd[0]}: the walk failed\n{error.stderr[-2000:]}", file=sys.stderr)
        return 2
    missing = topmost(old - new)
    print(f"{len(old)} names of OLD, {len(new)} of NEW; OLD's that NEW lacks: {len(missing)}")
    for why in sorted({explain(name) for name in missing}, reverse=True):
        names = [name for name in missing if explain(name) == why]
        print(f"{len(names)} {why or 'NOT EXPLAINED'}:", *names, sep="\n  ")
    return 1 if "" in map(explain, missing) else 0


def topmost(names: set[str]) -> list[str]:
    """The names whose parent is not among them: what a missing module had is not listed."""
    return sorted(name for name in names if name.rpartition(".")[0] not in names)


def explain(name: str) -> str:
    """Why a name is missing: of the first of EXPLANATIONS' patterns that matches; "": unknown."""
    matches = (why for pattern, why in EXPLANATIONS.items() if fnmatch.fnmatchcase(name, pattern))
    return next(matches, "")


def walk_tensorflow(*, hook: bool) -> set[str]:
    """The public names of this process's TensorFlow, below each of ROOTS that is there."""
    if hook:
        from mnist_estimator import compat

        compat.install()
    elif importlib.util.find_spec("tf_keras"):
        os.environ["TF_USE_LEGACY_KERAS"] = "1"
    import tensorflow as tf

    names: set[str] = set()
    for root in ROOTS:
        found: Any = types.SimpleNamespace(tf=tf)
        for part in root.split("."):
            found = getattr(found, part, None)
        if found is not None:
            names.add(root)
            names.update(_walk(root, found, DEPTH, ()))
    return names


def _walk(name: str, space: Any, depth: int, path: tuple[Any, ...]) -> Iterator[str]:
    """The dotted names below a module or class; `path` is the modules above it."""
    for child in dir(space):
        try:
            value = None if child.startswith("_") else getattr(space, child)
        except (AttributeError, ImportError):
            continue  # What is there by name only is missing.
        if child.startswith("_") or (isinstance(value, types.ModuleType) and not _is_public(value)):
            continue
        dotted = f"{name}.{child}"
        yield dotted
        cycle = any(value is above for above in (space, *path))
        if isinstance(value, types.ModuleType) and depth > 1 and not cycle:
            yield from _walk(dotted, value, depth - 1, (space, *path))
        elif isinstance(value, type):
            yield from (f"{dotted}.{member}" for member in dir(value) if member[0] != "_")


def _is_public(module: types.ModuleType) -> bool:
    name = module.__name__
    return name.startswith(PUBLIC) and not name.startswith(PRIVATE)


def _walk_in(python: str, *, hook: bool) -> set[str]:
    """What `--walk` prints in another Python."""
    command = [python, __file__, "--walk", *(["--hook"] if hook else [])]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return set(json.loads(done.stdout.splitlines()[-1]))


def _parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--old", help="Python with TensorFlow 2.15")
    parser.add_argument("--new", help="Python with a later TensorFlow")
    parser.add_argument("--plain", action="store_true", help="walk NEW without the hook")
    parser.add_argument("--walk", action="store_true", help="print this Python's names as JSON")
    parser.add_argument("--hook", action="store_true", help="with --walk: after compat.install()")
    options = parser.parse_args(argv)
    if not options.walk and not (options.old and options.new):
        parser.error("--old and --new, or --walk, is expected")
    return options


if __name__ == "__main__":
    sys.exit(main())
