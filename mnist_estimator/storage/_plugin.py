"""Registers the filesystems with TensorFlow, and answers its calls."""

import atexit
import ctypes
import itertools
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from mnist_estimator.storage import _abi, _errors, _filesystem, _paths, _reading, _writing
from mnist_estimator.storage._errors import InputError

_lock = threading.Lock()
_served: dict[str, ctypes.CDLL] = {}
# What C holds pointers to.
_kept: list[Any] = []
_open_files: dict[int, Any] = {}
_numbers = itertools.count(1)
_DRAIN_SECONDS = 5.0


def installed() -> tuple[str, ...]:
    """Return the schemes that this package serves in this process."""
    return tuple(_served)


def install(*, gs: bool | None = None) -> tuple[str, ...]:
    """See `storage.install`."""
    with _lock:
        wanted = [name for name in _paths.SCHEMES if name != "gs" or gs]
        if all(name in _served for name in wanted):
            return installed()
        path = _abi.shim_path()
        if path is None:
            raise InputError(
                "object storage needs a part in C that was not built when mnist_estimator was "
                "installed; install a C compiler (gcc) and then: pip install --force-reinstall "
                "--no-deps --no-binary mnist_estimator mnist_estimator"
            )
        _register(path, wanted)
        return installed()


def _register(path: str, wanted: list[str]) -> None:
    import tensorflow as tf

    known = tf.io.gfile.get_registered_schemes()
    new = [name for name in wanted if name not in known]
    if not new:
        return
    shim = _abi.load_shim(path)
    if not _kept:
        _open_gate(shim)
    names = b"".join(name.encode() + b"\0" for name in new)
    shim.shim_set_schemes(names, len(names))
    tf.experimental.register_filesystem_plugin(path)
    shim.shim_set_schemes(b"", 0)
    _served.update(dict.fromkeys(new, shim))


def _open_gate(shim: ctypes.CDLL) -> None:
    types = dict(_abi.OPERATIONS)
    calls = {name: types[name](function) for name, function in _calls(shim).items()}
    table = _abi.Operations(set_status=ctypes.cast(_set_status(), ctypes.c_void_p).value, **calls)
    _kept.extend([shim, calls, table])
    shim.shim_open(table)
    atexit.register(_close_gate, shim)
    os.register_at_fork(after_in_child=shim.shim_forget_calls)


def _close_gate(shim: ctypes.CDLL) -> None:
    deadline = time.monotonic() + _DRAIN_SECONDS
    while shim.shim_close() > 0 and time.monotonic() < deadline:
        time.sleep(0.01)


def _set_status() -> Any:
    import tensorflow as tf

    folder = os.path.dirname(tf.__file__)
    names = ("libtensorflow_framework.so.2", "libtensorflow_framework.2.dylib")
    for name in names:
        if os.path.exists(os.path.join(folder, name)):
            return ctypes.CDLL(os.path.join(folder, name)).TF_SetStatus
    raise InputError(f"TensorFlow in {folder} has no {names[0]}, which object storage needs")


def _calls(shim: ctypes.CDLL) -> dict[str, Callable[..., Any]]:
    """Return the functions that C calls, by name. None of them raises."""
    setter = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p)(
        ctypes.cast(_set_status(), ctypes.c_void_p).value
    )

    def guarded(function: Callable[..., Any], default: Any = None) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            try:
                return function(*arguments[:-1])
            except EOFError as error:
                setter(arguments[-1], _errors.OUT_OF_RANGE, b"end of file")
                return error.args[0]
            except BaseException as error:
                text = _errors.text_of(error).encode(errors="replace").replace(b"\0", b"?")
                setter(arguments[-1], _errors.code_of(error), text)
                return default

        return call

    def on_path(function: Callable[[_paths.Location], Any]) -> Callable[..., Any]:
        return guarded(lambda path: function(_location(path)))

    def on_two(function: Callable[..., Any]) -> Callable[..., Any]:
        return guarded(lambda one, other: function(_location(one), _location(other)))

    def opening(kind: Callable[[_paths.Location], Any]) -> Callable[..., Any]:
        return guarded(lambda path, file: _keep(kind(_location(path)), file))

    def listing(function: Callable[[bytes], list[str]]) -> Callable[..., Any]:
        def names(path: bytes, entries: int) -> int:
            found = function(path)
            joined = b"".join(os.fsencode(name) + b"\0" for name in found)
            return shim.shim_names(joined, len(found), entries)

        return guarded(names, -1)

    return {
        "new_reader": opening(_reading.Reader),
        "new_writer": opening(_writing.Writer),
        "new_appender": opening(_writing.appended),
        "create_dir": on_path(_filesystem.create_folder),
        "create_dirs": on_path(_filesystem.create_folders),
        "delete_file": on_path(_filesystem.delete_file),
        "delete_dir": on_path(_filesystem.delete_folder),
        "delete_recursively": guarded(lambda path, *_: _filesystem.delete_all(_location(path))),
        "rename": on_two(_filesystem.rename),
        "copy": on_two(_filesystem.copy),
        "exists": on_path(_filesystem.exists),
        "stat": guarded(_fill_statistics),
        "is_directory": on_path(_filesystem.check_folder),
        "get_children": listing(lambda path: _filesystem.children(_location(path))),
        "get_matching_paths": listing(
            lambda path: [str(found) for found in _filesystem.matching(_location(path))]
        ),
        "flush_caches": lambda: None,
        "read": guarded(_read, 0),
        "close_reader": lambda file: _open_files.pop(file[0].id).close(),
        "append": guarded(lambda f, data, n: _file(f).append(ctypes.string_at(data, n))),
        "tell": guarded(lambda f: _file(f).tell(), -1),
        "flush": guarded(lambda f: _file(f).flush()),
        "close": guarded(lambda f: _file(f).close()),
        "drop_writer": lambda file: _open_files.pop(file[0].id).drop(),
    }


def _location(path: bytes) -> _paths.Location:
    return _paths.parse(os.fsdecode(path))


def _keep(opened: Any, file: Any) -> None:
    file[0].id = next(_numbers)
    _open_files[file[0].id] = opened


def _file(file: Any) -> Any:
    return _open_files[file[0].id]


def _fill_statistics(path: bytes, out: Any) -> None:
    found = _filesystem.stat(_location(path))
    out[0].length, out[0].mtime_nsec, out[0].is_directory = found


def _read(file: Any, offset: int, size: int, buffer: int) -> int:
    content = _file(file).read(offset, size)
    count = len(content)
    if count:
        ctypes.memmove(buffer, bytes(content), count)
    if count < size:
        raise EOFError(count)
    return count
