"""Checkpoints that are known to be whole: sealed by digests, verified before they are used.

Beside `model.ckpt-40.index` and `model.ckpt-40.data-*` lies `model.ckpt-40.sha256`, written last,
in the format of sha256sum (`sha256sum -c model.ckpt-40.sha256`). A checkpoint without one, as
another program writes it or a killed one leaves it, is read through instead: TensorFlow keeps
checksums of its tensors, but not of everything else in the files.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from mnist_estimator import InputError, RunError
from mnist_estimator.compat import tf
from mnist_estimator.files import is_local, sync, write_text
from mnist_estimator.records import error_line, file_errors, file_sha256

BASENAME = "model.ckpt"
_STATE = "checkpoint"  # TensorFlow's list of the checkpoints in a folder, the newest one apart.
_SEAL = ".sha256"
_PATH = re.compile(r"model\.ckpt-(?P<step>\d+)")
_FILE = re.compile(rf"(?P<name>{_PATH.pattern})\.(index|data-\d{{5}}-of-\d{{5}}|sha256)")
# What a save that was killed leaves behind.
_LEFT_OVER = re.compile(
    rf"{_PATH.pattern}(_temp|\.index\.tempstate\d+|\.sha256\.tmp)|{_STATE}\.tmp.*"
)
_SEALED = re.compile(r"(?P<sha256>[0-9a-f]{64})  (?P<file>\S+)")


def step_of(path: str) -> int:
    """The global step in a checkpoint's name; 0 if there is none."""
    found = _PATH.fullmatch(os.path.basename(path))
    return int(found["step"]) if found else 0


def newest(model_dir: str) -> str:
    """The path of the checkpoint that TensorFlow takes for the newest one; "" if there is none."""
    state = _state(model_dir)
    return _absolute(model_dir, state.model_checkpoint_path) if state else ""


def newest_whole(model_dir: str, warn: Callable[[str], None] = lambda line: None) -> str:
    """Returns the path of the newest checkpoint of a model_dir that is whole; "" if it has none.

    Args:
      warn: is called with a line that names the damaged checkpoints that were passed over, if any.

    Raises:
      InputError: if the model_dir cannot be read.
      RunError: if there are checkpoints, but none is whole: a run must not begin anew unasked.
    """
    problems = []
    for path in _candidates(model_dir):
        problem = damage(path)
        if not problem:
            if problems:
                warn(f"{'; '.join(problems)}; going on from {path}")
            return path
        problems.append(problem)
    if problems:
        raise RunError(
            f"{model_dir}: no checkpoint is whole: {'; '.join(problems)}; "
            "give another --model_dir to begin anew"
        )
    return ""


def damage(path: str) -> str:
    """What is wrong with a checkpoint, a line that names the file; "" if it is whole."""
    seal = path + _SEAL
    try:
        if not tf.io.gfile.exists(seal):
            return _unreadable(path)
        with tf.io.gfile.GFile(seal, "rb") as file:
            lines = file.read().decode("ascii", "replace").splitlines()
        sealed = [_SEALED.fullmatch(line) for line in lines]
        # The index is in the last line: the seal was not cut off.
        if not sealed or None in sealed or not sealed[-1]["file"].endswith(".index"):
            return f"{seal} is damaged"
        for line in sealed:
            file = os.path.join(os.path.dirname(path), os.path.basename(line["file"]))
            if not tf.io.gfile.exists(file):
                return f"{file} is missing"
            if file_sha256(file)[1] != line["sha256"]:
                return f"{file} is damaged: its sha256 is not the one in {os.path.basename(seal)}"
    except (tf.errors.OpError, InputError) as error:
        return f"{path} cannot be read: {error_line(error)}"
    return ""


def seal(path: str) -> None:
    """Writes the digests of a checkpoint's files, and forces all of them to the disk."""
    files = sorted(name for name in _files(path) if not name.endswith(_SEAL))
    lines = [f"{file_sha256(name)[1]}  {os.path.basename(name)}\n" for name in files]
    for name in files:
        sync(name)
    write_text(path + _SEAL, "".join(lines))
    sync(os.path.dirname(path) or ".")


def is_sealed(path: str) -> bool:
    """Whether a checkpoint has been saved to the end, by this package."""
    return tf.io.gfile.exists(path + _SEAL)


def digest(path: str) -> str:
    """sha256 in hex of a checkpoint's index, which has the checksum of every variable."""
    return file_sha256(path + ".index")[1]


def point_to(path: str) -> None:
    """Makes TensorFlow take this checkpoint of its folder for the newest one."""
    folder = os.path.dirname(path)
    if newest(folder) == path:
        return
    older = [p for p in _candidates(folder) if step_of(p) < step_of(path) and not damage(p)]
    names = [os.path.basename(p) for p in [*sorted(older, key=step_of), path]]
    lines = [f'model_checkpoint_path: "{names[-1]}"']
    lines += [f'all_model_checkpoint_paths: "{name}"' for name in names]
    write_text(os.path.join(folder, _STATE), "\n".join(lines) + "\n")


def tidy(model_dir: str) -> None:
    """Removes what killed saves left behind, and the seals of checkpoints that are gone."""
    with contextlib.suppress(tf.errors.OpError):
        names = [name.rstrip("/") for name in tf.io.gfile.listdir(model_dir)]
        for name in names:
            path = os.path.join(model_dir, name)
            if _LEFT_OVER.fullmatch(name):
                (tf.io.gfile.rmtree if tf.io.gfile.isdir(path) else tf.io.gfile.remove)(path)
            elif name.endswith(_SEAL) and name.removesuffix(_SEAL) + ".index" not in names:
                tf.io.gfile.remove(path)


def keep_copy(path: str, folder: str) -> None:
    """Makes `folder` hold a copy of this checkpoint, and then no other; at every moment one."""
    with file_errors(folder):
        tf.io.gfile.makedirs(folder)
        for file in _files(path):
            copy = os.path.join(folder, os.path.basename(file))
            tf.io.gfile.copy(file, copy + ".tmp", overwrite=True)
            sync(copy + ".tmp")
            tf.io.gfile.rename(copy + ".tmp", copy, overwrite=True)
    kept = os.path.join(folder, os.path.basename(path))
    problem = damage(kept)
    if problem:
        raise RunError(f"{problem}, after it was copied from {path}")
    point_to(kept)
    with file_errors(folder):
        for name in tf.io.gfile.listdir(folder):
            if _PATH.match(name) and not name.startswith(os.path.basename(path) + "."):
                tf.io.gfile.remove(os.path.join(folder, name))


def check_variables(path: str, expected: Mapping[str, list[int]]) -> None:
    """Raises InputError unless a checkpoint has each of the graph's variables, in its shape.

    Args:
      expected: the graph's variables, name -> shape.
    """
    found = tf.train.load_checkpoint(path).get_variable_to_shape_map()
    for name, shape in expected.items():
        if found.get(name) != shape:
            has = f"of shape {found[name]}" if name in found else "not at all"
            raise InputError(
                f"{path}: holds another network: {name} {has}, expected it of shape {shape}; "
                "continue with the flags it was trained with, or give another --model_dir"
            )


def _candidates(model_dir: str) -> list[str]:
    """Paths of the checkpoints to try, in order: as TensorFlow lists them, then any others."""
    if not tf.io.gfile.isdir(model_dir):
        return []
    state = _state(model_dir)
    listed = [*reversed(state.all_model_checkpoint_paths)] if state else []
    if state:
        listed.insert(0, state.model_checkpoint_path)
    with file_errors(model_dir):
        files = [_FILE.fullmatch(name) for name in tf.io.gfile.listdir(model_dir)]
    present = {found["name"] for found in files if found}
    others = [os.path.join(model_dir, name) for name in present]
    paths = [_absolute(model_dir, path) for path in listed]
    return list(dict.fromkeys([*paths, *sorted(others, key=step_of, reverse=True)]))


def _state(folder: str) -> Any:
    """TensorFlow's list of the checkpoints in a folder; None if there is none, or it is damaged."""
    try:
        return tf.train.get_checkpoint_state(folder)
    except ValueError:  # Not text, or nothing in it.
        return None


def _absolute(folder: str, path: str) -> str:
    # TensorFlow writes names relative to the folder, or absolute if it was given so.
    name = os.path.basename(path)
    return os.path.join(folder, name) if is_local(path) else path


def _files(path: str) -> list[str]:
    folder = os.path.dirname(path)
    with file_errors(folder):
        found = map(_FILE.fullmatch, tf.io.gfile.listdir(folder or "."))
    name = os.path.basename(path)
    return [os.path.join(folder, match[0]) for match in found if match and match["name"] == name]


def _unreadable(path: str) -> str:
    """Reads a checkpoint through; returns what is wrong with it."""
    try:
        reader = tf.train.load_checkpoint(path)
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)
    except (tf.errors.OpError, ValueError, RuntimeError, IndexError) as error:
        return f"{path} is damaged: {error_line(error)}"
    return ""
