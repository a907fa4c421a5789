"""Checkpoints of a run: sealed with digests when saved, verified before use, deleted in time.

The seal of `model.ckpt-40.index` and `model.ckpt-40.data-*` is `model.ckpt-40.sha256`. It is
written last, in the format of sha256sum (`sha256sum -c model.ckpt-40.sha256`). A checkpoint without
a seal comes from another program, or its save was killed. It is verified by reading all of it, as
TensorFlow keeps checksums of the tensors, though not of everything else in the files.

TensorFlow takes the path of a checkpoint for a pattern, both to read and to delete. This module
uses exact names only, and deletes only what is sealed, so written by this package.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from mnist_estimator import InputError, RunError
from mnist_estimator.compat import tf, v1
from mnist_estimator.runtime import files, local_files
from mnist_estimator.runtime.files import error_line, file_errors, sync

BASENAME = "model.ckpt"
STATE = "checkpoint"  # TensorFlow's list of the checkpoints in a folder, the newest one apart.
_SEAL = ".sha256"
_MOST_SEAL = 2**20  # Bytes of a seal, which has a line a file.
_PATH = re.compile(r"model\.ckpt-(?P<step>[0-9]{1,18})")
_FILE = re.compile(rf"(?P<name>{_PATH.pattern})\.(index|data-\d{{5}}-of-\d{{5}}|sha256)")
# Files that a killed save leaves behind.
_LEFT_OVER = re.compile(
    rf"{_PATH.pattern}(_temp|\.index\.tempstate\d+|\.sha256\.tmp)|{STATE}\.tmp[0-9a-f]*"
)
# On s3:// TensorFlow has no folder for what it has yet to rename.
_LEFT_OVER_PART = re.compile(rf"{_PATH.pattern}\.part-\d{{5}}-of-\d{{5}}\.(index|data-).*")
_DATA = re.compile(r"\.data-\d{5}-of-\d{5}$")
_SEALED = re.compile(r"(?P<sha256>[0-9a-f]{64})  (?P<file>\S+)")


def step_of(path: str) -> int:
    """The global step in a checkpoint's name; 0 if there is none."""
    found = _PATH.fullmatch(os.path.basename(path))
    return int(found["step"]) if found else 0


def saved_step(path: str) -> int:
    """The global step that a checkpoint holds.

    It may be later than the one in the name: asynchronous workers go on while it is saved.
    """
    with opened(path) as reader:
        return int(reader.get_tensor(v1.GraphKeys.GLOBAL_STEP))


def newest_step(model_dir: str) -> int:
    """The global step that the newest checkpoint of a model_dir holds; 0 if it has none.

    Raises:
      files.OutageError: if there is a list of checkpoints, but it cannot be read.
    """
    path = newest(model_dir)
    if not path:
        state = os.path.join(model_dir, STATE)
        try:
            content = files.read_bytes(state)
        except (OSError, tf.errors.OpError) as error:
            raise files.OutageError(f"{state}: {error_line(error)}") from error
        # TensorFlow takes a list that it cannot read for none, and a damaged one too.
        path = newest(model_dir) if content else ""
    return saved_step(path) if path else 0


def newest(model_dir: str) -> str:
    """The path of the checkpoint that TensorFlow's list calls the newest; "" if there is none.

    If the list names another folder, as after a move, the name is looked up in this one.
    """
    state = _state(model_dir)
    return _in_folder(model_dir, state.model_checkpoint_path) if state else ""


def newest_whole(model_dir: str, warn: Callable[[str], None] = lambda line: None) -> str:
    """Returns the path of the newest checkpoint of a model_dir that is whole; "" if it has none.

    Args:
      warn: is called with a line that names the damaged checkpoints that were skipped, if any.

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
    """Returns a line that names the damaged file of a checkpoint; "" if all of it is whole.

    Raises:
      files.OutageError: if a store does not answer, so that it is not known.
    """
    seal = path + _SEAL
    try:
        if not tf.io.gfile.exists(seal):
            return _unreadable(path)
        lines = (files.read_bytes(seal, _MOST_SEAL) or b"").decode("ascii", "replace").splitlines()
        sealed = [_SEALED.fullmatch(line) for line in lines]
        # The last line is that of the index, unless the seal was cut off.
        if not sealed or None in sealed or not sealed[-1]["file"].endswith(".index"):
            return f"{seal} is damaged"
        for line in sealed:
            file = os.path.join(os.path.dirname(path), os.path.basename(line["file"]))
            if not tf.io.gfile.exists(file):
                return f"{file} is missing"
            if files.size_and_sha256(file)[1] != line["sha256"]:
                return f"{file} is damaged: its sha256 is not the one in {os.path.basename(seal)}"
    except files.OutageError:
        raise
    except (OSError, tf.errors.OpError, InputError) as error:
        if files.is_outage(error):
            raise files.OutageError(f"{path} cannot be read: {error_line(error)}") from error
        return f"{path} cannot be read: {error_line(error)}"
    return ""


def seal(path: str) -> None:
    """Writes the digests of a checkpoint's files to its seal, and forces all files to the disk."""
    parts = sorted(name for name in files_of(path) if not is_seal(name))
    lines = [f"{files.size_and_sha256(name)[1]}  {os.path.basename(name)}\n" for name in parts]
    for name in parts:
        sync(name)
    files.write_text(path + _SEAL, "".join(lines))
    sync(os.path.dirname(path) or ".")


def is_sealed(path: str) -> bool:
    """Whether this package has saved all of a checkpoint."""
    return tf.io.gfile.exists(path + _SEAL)


def is_seal(file: str) -> bool:
    """Whether a file has the name of a seal."""
    return file.endswith(_SEAL)


def is_file(name: str) -> bool:
    """Whether a file of this name is part of a checkpoint."""
    return _FILE.fullmatch(name) is not None


def sealed_among(names: Iterable[str]) -> list[str]:
    """The checkpoints whose seals are among the files of a folder."""
    sealed = [name.removesuffix(_SEAL) for name in names if is_seal(name)]
    return [name for name in sealed if _PATH.fullmatch(name)]


def digest(path: str) -> str:
    """sha256, in hex, of a checkpoint's index, which holds the checksum of every variable."""
    return files.size_and_sha256(_in_memory.get(path, path) + ".index")[1]


def copy_to_memory(path: str) -> None:
    """Copies a checkpoint to memory, from where this process reads it: a trainer may delete it.

    Raises:
      InputError or RunError: if it has been deleted by now.
    """
    folder, name = os.path.split(path)
    with file_errors(path):
        copy = _copies.enter_context(files.in_memory(folder, map(os.path.basename, files_of(path))))
    in_memory = os.path.join(copy, name)
    if damage(in_memory):
        raise RunError(f"{path}: deleted while it was read")
    _in_memory[path] = in_memory


_in_memory: dict[str, str] = {}  # Path -> path of the copy.
_copies = contextlib.ExitStack()
# The copies last as long as the process; TensorFlow, which removes them, must still be there.
atexit.register(_copies.close)


def point_to(path: str) -> None:
    """Writes TensorFlow's list so that this checkpoint is the newest one of its folder."""
    keep_newest(path, 0)


def is_pointed_to(path: str) -> bool:
    """Whether TensorFlow, which uses the paths in its list unchanged, restores this checkpoint."""
    state = _state(os.path.dirname(path))
    found = state.model_checkpoint_path if state else ""
    return os.path.normpath(found) == os.path.normpath(path)


def keep_newest(path: str, keep: int) -> None:
    """Makes a whole checkpoint the newest one in TensorFlow's list, and deletes the oldest ones.

    Args:
      keep: how many sealed checkpoints remain, with this one; 0: all. Later ones remain too, as the
        user may have gone back to this one.
    """
    folder = os.path.dirname(path)
    too_many = surplus(path, keep)
    if os.path.basename(newest(folder)) == os.path.basename(path):
        # The list already ends with this one. They go first, as they may fill the disk.
        remove(too_many)
    remaining = [older for older in older_than(path) if older not in too_many]
    names = [os.path.basename(older) for older in [*remaining, path]]
    lines = [f'model_checkpoint_path: "{names[-1]}"']
    lines += [f'all_model_checkpoint_paths: "{name}"' for name in names]
    text = "\n".join(lines) + "\n"
    state = os.path.join(folder, STATE)
    with file_errors(state):
        is_new = files.read_bytes(state) != text.encode()
    if is_new:
        files.write_text(state, text)
    remove(too_many)


def surplus(path: str, keep: int) -> list[str]:
    """The sealed checkpoints before this one that are too many if `keep` remain; none for 0."""
    sealed = [older for older in older_than(path) if is_sealed(older)] if keep else []
    return sealed[: max(len(sealed) + 1 - keep, 0)]


def remove_links(path: str) -> None:
    """Removes links at the names to which TensorFlow is about to save a checkpoint.

    It would write to wherever they point; whoever may write to the folder can predict the names.
    """
    if not files.is_local(path):
        return
    files.remove_folder(f"{path}_temp")
    for file in files_of(path):
        found = os.lstat(file)
        if found.st_nlink > 1 or not stat.S_ISREG(found.st_mode):
            files.remove(file)


def remove_left_overs(model_dir: str) -> None:
    """Removes the files that killed saves left behind, and the seals of deleted checkpoints."""
    files.remove_left_overs(model_dir, local_files.is_temporary)
    with contextlib.suppress(tf.errors.OpError):
        names = [name.rstrip("/") for name in tf.io.gfile.listdir(model_dir)]
        for name in names:
            path = os.path.join(model_dir, name)
            found = _FILE.fullmatch(name)
            is_part = not files.is_local(model_dir) and _LEFT_OVER_PART.fullmatch(name)
            is_lone_seal = found and is_seal(name) and f"{found['name']}.index" not in names
            if _LEFT_OVER.fullmatch(name):
                files.remove_folder(path)
            elif is_part or is_lone_seal:
                files.remove(path)


@contextlib.contextmanager
def readable(path: str) -> Iterator[str]:
    """A path by which TensorFlow can read a checkpoint: its own, or that of a copy in memory.

    TensorFlow would take a path that is not literal for a pattern.
    """
    if path in _in_memory:
        yield _in_memory[path]
        return
    if files.is_literal(path):
        yield path
        return
    folder, name = os.path.split(path)
    with files.in_memory(folder, map(os.path.basename, files_of(path))) as copy:
        yield os.path.join(copy, name)


@contextlib.contextmanager
def opened(path: str) -> Iterator[Any]:
    """Opens a checkpoint with TensorFlow's reader."""
    for file in files_of(path):
        files.check_plain(file)
    with readable(path) as literal:
        yield v1.train.NewCheckpointReader(literal)


def _candidates(model_dir: str) -> list[str]:
    """Paths of the checkpoints in the order to try: as TensorFlow lists them, then any others."""
    if not tf.io.gfile.isdir(model_dir):
        return []
    state = _state(model_dir)
    listed = [*reversed(state.all_model_checkpoint_paths)] if state else []
    if state:
        listed.insert(0, state.model_checkpoint_path)
    with file_errors(model_dir):
        found = filter(None, map(_FILE.fullmatch, tf.io.gfile.listdir(model_dir)))
    # TensorFlow writes the data first. Where there are no more than these, a save was killed.
    present = {match["name"] for match in found if not _DATA.search(match[0])}
    others = [os.path.join(model_dir, name) for name in present]
    paths = [_in_folder(model_dir, path) for path in listed]
    return list(dict.fromkeys([*paths, *sorted(others, key=step_of, reverse=True)]))


def _state(folder: str) -> Any:
    """TensorFlow's list of the checkpoints in a folder; None if there is none, or it is damaged."""
    files.check_plain(os.path.join(folder, STATE))
    try:
        state = tf.train.get_checkpoint_state(folder)
    except ValueError:  # Not text, or nothing in it.
        return None
    # TensorFlow reads a name up to a NUL; Python accepts no name with a NUL.
    names = [state.model_checkpoint_path, *state.all_model_checkpoint_paths] if state else []
    return None if "\0" in "".join(names) else state


def _in_folder(folder: str, path: str) -> str:
    # TensorFlow lists absolute paths if it was given one, which are wrong once the folder is moved.
    return os.path.join(folder, os.path.basename(path))


def older_than(path: str) -> list[str]:
    """The checkpoints of the same folder with a smaller step than this one, in their order."""
    folder = os.path.dirname(path)
    with file_errors(folder):
        found = filter(None, map(_FILE.fullmatch, tf.io.gfile.listdir(folder or ".")))
    paths = {os.path.join(folder, match["name"]) for match in found}
    return sorted((p for p in paths if step_of(p) < step_of(path)), key=step_of)


def files_of(path: str) -> list[str]:
    """Paths of a checkpoint's files: index, data and seal."""
    folder = os.path.dirname(path)
    with file_errors(folder):
        found = map(_FILE.fullmatch, tf.io.gfile.listdir(folder or "."))
    name = os.path.basename(path)
    return [os.path.join(folder, match[0]) for match in found if match and match["name"] == name]


def remove(paths: Iterable[str]) -> None:
    """Deletes checkpoints."""
    for path in paths:
        # The seal last: after a kill it still marks the other files as ones to delete.
        for file in sorted(files_of(path), key=is_seal):
            files.remove(file)


def _unreadable(path: str) -> str:
    """Reads all of a checkpoint; returns a line that says what is wrong, "" if nothing is."""
    try:
        with opened(path) as reader:
            for name in reader.get_variable_to_shape_map():
                reader.get_tensor(name)
    except (tf.errors.OpError, ValueError, RuntimeError, IndexError) as error:
        return f"{path} is damaged: {error_line(error)}"
    return ""
