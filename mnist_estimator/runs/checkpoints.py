"""Checkpoints that are known to be whole: sealed by digests, verified before they are used.

Beside `model.ckpt-40.index` and `model.ckpt-40.data-*` lies `model.ckpt-40.sha256`, written last,
in the format of sha256sum (`sha256sum -c model.ckpt-40.sha256`). A checkpoint without one, as
another program writes it or a killed one leaves it, is read through instead: TensorFlow keeps
checksums of its tensors, but not of everything else in the files.

TensorFlow takes the path of a checkpoint for a pattern, where it reads one and where it deletes old
ones. Here all is done by exact names, and only what is sealed is deleted: this package wrote it.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from mnist_estimator import InputError, RunError
from mnist_estimator.compat import tf, v1
from mnist_estimator.runtime import files, local_files
from mnist_estimator.runtime.files import error_line, file_errors, sync

BASENAME = "model.ckpt"
_STATE = "checkpoint"  # TensorFlow's list of the checkpoints in a folder, the newest one apart.
_SEAL = ".sha256"
_MOST_SEAL = 2**20  # Bytes; a line for each file.
_PATH = re.compile(r"model\.ckpt-(?P<step>[0-9]{1,18})")
_FILE = re.compile(rf"(?P<name>{_PATH.pattern})\.(index|data-\d{{5}}-of-\d{{5}}|sha256)")
# What a save that was killed leaves behind.
_LEFT_OVER = re.compile(
    rf"{_PATH.pattern}(_temp|\.index\.tempstate\d+|\.sha256\.tmp)|{_STATE}\.tmp[0-9a-f]*"
)
_SEALED = re.compile(r"(?P<sha256>[0-9a-f]{64})  (?P<file>\S+)")


def step_of(path: str) -> int:
    """The global step in a checkpoint's name; 0 if there is none."""
    found = _PATH.fullmatch(os.path.basename(path))
    return int(found["step"]) if found else 0


def saved_step(path: str) -> int:
    """The global step that a checkpoint holds.

    Asynchronous workers move it on while it is saved: it may be later than the one in the name.
    """
    with opened(path) as reader:
        return int(reader.get_tensor(v1.GraphKeys.GLOBAL_STEP))


def newest_step(model_dir: str) -> int:
    """The global step that the newest checkpoint of a model_dir holds; 0 if it has none."""
    path = newest(model_dir)
    return saved_step(path) if path else 0


def newest(model_dir: str) -> str:
    """The path of the checkpoint that TensorFlow takes for the newest one; "" if there is none.

    Where the list names another folder, as after a move, that of the same name in this folder.
    """
    state = _state(model_dir)
    return _here(model_dir, state.model_checkpoint_path) if state else ""


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
        lines = (files.read_bytes(seal, _MOST_SEAL) or b"").decode("ascii", "replace").splitlines()
        sealed = [_SEALED.fullmatch(line) for line in lines]
        # The index is in the last line: the seal was not cut off.
        if not sealed or None in sealed or not sealed[-1]["file"].endswith(".index"):
            return f"{seal} is damaged"
        for line in sealed:
            file = os.path.join(os.path.dirname(path), os.path.basename(line["file"]))
            if not tf.io.gfile.exists(file):
                return f"{file} is missing"
            if files.size_and_sha256(file)[1] != line["sha256"]:
                return f"{file} is damaged: its sha256 is not the one in {os.path.basename(seal)}"
    except (OSError, tf.errors.OpError, InputError) as error:
        return f"{path} cannot be read: {error_line(error)}"
    return ""


def seal(path: str) -> None:
    """Writes the digests of a checkpoint's files, and forces all of them to the disk."""
    parts = sorted(name for name in _files(path) if not name.endswith(_SEAL))
    lines = [f"{files.size_and_sha256(name)[1]}  {os.path.basename(name)}\n" for name in parts]
    for name in parts:
        sync(name)
    files.write_text(path + _SEAL, "".join(lines))
    sync(os.path.dirname(path) or ".")


def is_sealed(path: str) -> bool:
    """Whether a checkpoint has been saved to the end, by this package."""
    return tf.io.gfile.exists(path + _SEAL)


def digest(path: str) -> str:
    """sha256 in hex of a checkpoint's index, which has the checksum of every variable."""
    return files.size_and_sha256(_held.get(path, path) + ".index")[1]


def hold(path: str) -> None:
    """Has this process read a checkpoint from a copy in memory, as a trainer may delete it.

    Raises:
      InputError or RunError: if it has been deleted by now.
    """
    folder, name = os.path.split(path)
    with file_errors(path):
        copy = _copies.enter_context(files.in_memory(folder, map(os.path.basename, _files(path))))
    held = os.path.join(copy, name)
    if damage(held):
        raise RunError(f"{path}: deleted while it was read")
    _held[path] = held


_held: dict[str, str] = {}  # Path -> path of the copy.
_copies = contextlib.ExitStack()  # They last as long as the process...
atexit.register(_copies.close)  # ... and no longer: TensorFlow must be there to remove them.


def point_to(path: str) -> None:
    """Makes TensorFlow take this checkpoint of its folder for the newest one."""
    keep_newest(path, 0)


def is_pointed_to(path: str) -> bool:
    """Whether TensorFlow, which takes the paths in its list as they are, restores this one."""
    state = _state(os.path.dirname(path))
    found = state.model_checkpoint_path if state else ""
    return os.path.normpath(found) == os.path.normpath(path)


def keep_newest(path: str, keep: int) -> None:
    """Makes a checkpoint that is whole the newest one; of those before it the oldest ones go.

    Args:
      keep: how many sealed ones are left, with this one; 0: all. Later ones stay, too: the user
        may have gone back.
    """
    folder = os.path.dirname(path)
    going = surplus(path, keep)
    if os.path.basename(newest(folder)) == os.path.basename(path):
        # Nothing points to them, and the disk may be full of them.
        _remove(going)
    kept = [older for older in _older(path) if older not in going]
    names = [os.path.basename(older) for older in [*kept, path]]
    lines = [f'model_checkpoint_path: "{names[-1]}"']
    lines += [f'all_model_checkpoint_paths: "{name}"' for name in names]
    text = "\n".join(lines) + "\n"
    state = os.path.join(folder, _STATE)
    with file_errors(state):
        is_new = files.read_bytes(state) != text.encode()
    if is_new:
        files.write_text(state, text)
    _remove(going)


def surplus(path: str, keep: int) -> list[str]:
    """The sealed checkpoints before this one that are too many if only `keep` are kept."""
    sealed = [older for older in _older(path) if is_sealed(older)] if keep else []
    return sealed[: max(len(sealed) + 1 - keep, 0)]


def make_way(path: str) -> None:
    """Removes what TensorFlow would write through while it saves a checkpoint: links.

    Whoever may write to the folder can tell the names beforehand.
    """
    if not files.is_local(path):
        return
    files.remove_folder(f"{path}_temp")
    for file in _files(path):
        found = os.lstat(file)
        if found.st_nlink > 1 or not stat.S_ISREG(found.st_mode):
            files.remove(file)


def tidy(model_dir: str) -> None:
    """Removes what killed saves left behind, and the seals of checkpoints that are gone."""
    files.remove_left_overs(model_dir, local_files.is_temporary)
    with contextlib.suppress(tf.errors.OpError):
        names = [name.rstrip("/") for name in tf.io.gfile.listdir(model_dir)]
        for name in names:
            path = os.path.join(model_dir, name)
            found = _FILE.fullmatch(name)
            if _LEFT_OVER.fullmatch(name):
                files.remove_folder(path)
            elif found and name.endswith(_SEAL) and f"{found['name']}.index" not in names:
                files.remove(path)


def keep_copy(path: str, folder: str) -> None:
    """Makes `folder` hold a copy of this checkpoint, and then no other; at every moment one."""
    files.check_no_link(folder)
    before = newest(folder)
    files.make_folders(folder)
    # The seal first: by it a copy that was killed is known for one of this package's.
    for file in sorted(_files(path), key=lambda file: not file.endswith(_SEAL)):
        files.copy(file, os.path.join(folder, os.path.basename(file)))
    kept = os.path.join(folder, os.path.basename(path))
    problem = damage(kept)
    if problem:
        raise RunError(f"{problem}, after it was copied from {path}")
    point_to(kept)
    drop_copies(folder, [before] if before != kept else [], kept)


def drop_copies(folder: str, more: Iterable[str] = (), kept: str = "") -> None:
    """Removes the copies that `keep_copy` has made in a folder, and the folder once it is empty.

    Args:
      more: copies of checkpoints that have no seal.
      kept: the one that stays.

    Raises:
      InputError: if the folder is a link, or cannot be read.
    """
    files.check_no_link(folder)
    with file_errors(folder):
        names = [name.rstrip("/") for name in tf.io.gfile.listdir(folder)]
    for name in names:
        is_older_versions = name.endswith(".tmp") and _FILE.fullmatch(name.removesuffix(".tmp"))
        if is_older_versions or local_files.is_temporary(name):
            files.remove(os.path.join(folder, name))
    sealed = {name.removesuffix(_SEAL) for name in names if name.endswith(_SEAL)}
    copies = [os.path.join(folder, name) for name in sealed if _PATH.fullmatch(name)]
    _remove(copy for copy in {*copies, *more} if copy and copy != kept)
    if not kept:
        files.remove(os.path.join(folder, _STATE))
        files.remove_empty(folder)


class Saver(v1.train.Saver):
    """Restores what lies at exactly this path, and deletes nothing."""

    def __init__(self) -> None:
        # Of 0 none is deleted: TensorFlow deletes what matches.
        super().__init__(
            sharded=True,
            max_to_keep=0,
            defer_build=True,
            allow_empty=True,
            save_relative_paths=True,
        )

    def restore(self, sess: v1.Session, save_path: str) -> None:
        """Restores the variables. Of a path that is not literal this process reads the values."""
        if files.is_literal(save_path):
            super().restore(sess, save_path)
            return
        filename = sess.graph.get_tensor_by_name(self.saver_def.filename_tensor_name)
        readers = [op for op in filename.consumers() if op.type == "RestoreV2"]
        with opened(save_path) as reader:
            # Fed, they are not computed, so that no device, a parameter server's neither, reads.
            values = {
                tensor: reader.get_tensor(name.decode())
                for op in readers
                for name, tensor in zip(tf.get_static_value(op.inputs[1]), op.outputs, strict=True)
            }
        sess.run(self.saver_def.restore_op_name, values)

    def recover_last_checkpoints(self, checkpoint_paths: list[str]) -> None:
        """Does nothing: the list is for deleting, and TensorFlow looks for what matches it."""


def add_saver() -> None:
    """Has the graph's sessions restore, and the run's hook save, with a `Saver`."""
    if not v1.get_collection(v1.GraphKeys.SAVERS):
        v1.add_to_collection(v1.GraphKeys.SAVERS, Saver())


@contextlib.contextmanager
def readable(path: str) -> Iterator[str]:
    """A literal path of a checkpoint; of one that has none, or is held, a copy in memory."""
    if path in _held:
        yield _held[path]
        return
    if files.is_literal(path):
        yield path
        return
    folder, name = os.path.split(path)
    with files.in_memory(folder, map(os.path.basename, _files(path))) as copy:
        yield os.path.join(copy, name)


@contextlib.contextmanager
def opened(path: str) -> Iterator[Any]:
    """TensorFlow's reader of a checkpoint."""
    for file in _files(path):
        files.check_plain(file)
    with readable(path) as literal:
        yield v1.train.NewCheckpointReader(literal)


def check_variables(path: str, expected: Mapping[str, list[int]]) -> None:
    """Raises InputError unless a checkpoint has each of the graph's variables, in its shape.

    Args:
      expected: the graph's variables, name -> shape.
    """
    with opened(path) as reader:
        found = reader.get_variable_to_shape_map()
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
        present = _names(model_dir)
    others = [os.path.join(model_dir, name) for name in present]
    paths = [_here(model_dir, path) for path in listed]
    return list(dict.fromkeys([*paths, *sorted(others, key=step_of, reverse=True)]))


def _state(folder: str) -> Any:
    """TensorFlow's list of the checkpoints in a folder; None if there is none, or it is damaged."""
    files.check_plain(os.path.join(folder, _STATE))
    try:
        state = tf.train.get_checkpoint_state(folder)
    except ValueError:  # Not text, or nothing in it.
        return None
    # TensorFlow takes a name for what comes before a NUL, Python for none at all.
    names = [state.model_checkpoint_path, *state.all_model_checkpoint_paths] if state else []
    return None if "\0" in "".join(names) else state


def _here(folder: str, path: str) -> str:
    # TensorFlow writes names relative to the folder, or absolute if it was given so; then they are
    # of no use once the folder is moved.
    return os.path.join(folder, os.path.basename(path))


def _names(folder: str) -> set[str]:
    """Names of the checkpoints of which there is a file."""
    found = map(_FILE.fullmatch, tf.io.gfile.listdir(folder or "."))
    return {match["name"] for match in found if match}


def _older(path: str) -> list[str]:
    """The checkpoints of the same folder that come before this one, by their steps."""
    folder = os.path.dirname(path)
    with file_errors(folder):
        paths = [os.path.join(folder, name) for name in _names(folder)]
    return sorted((p for p in paths if step_of(p) < step_of(path)), key=step_of)


def _files(path: str) -> list[str]:
    folder = os.path.dirname(path)
    with file_errors(folder):
        found = map(_FILE.fullmatch, tf.io.gfile.listdir(folder or "."))
    name = os.path.basename(path)
    return [os.path.join(folder, match[0]) for match in found if match and match["name"] == name]


def _remove(paths: Iterable[str]) -> None:
    for path in paths:
        # The seal goes last: it is what says that the others may go.
        for file in sorted(_files(path), key=lambda file: file.endswith(_SEAL)):
            files.remove(file)


def _unreadable(path: str) -> str:
    """Reads a checkpoint through; returns what is wrong with it."""
    try:
        with opened(path) as reader:
            for name in reader.get_variable_to_shape_map():
                reader.get_tensor(name)
    except (tf.errors.OpError, ValueError, RuntimeError, IndexError) as error:
        return f"{path} is damaged: {error_line(error)}"
    return ""
