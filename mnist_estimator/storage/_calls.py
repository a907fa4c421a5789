"""The functions that TensorFlow calls: from C's arguments to this package's, and back.

They run in any thread of TensorFlow's, which waits for the interpreter's lock first; obstore lets
go of that lock while it waits for a store. None of them raises: an error becomes a status.
"""

import ctypes
import functools
import itertools
import os
from collections.abc import Callable
from typing import Any

from mnist_estimator import RunError
from mnist_estimator.storage import _errors, _filesystem, _moving, _paths, _reading, _writing

_Call = Callable[..., Any]
_open_files: dict[int, Any] = {}
_numbers = itertools.count(1)
# A string of C's ends here; TensorFlow shows no more of it.
_MOST_OF_TEXT = 1000


def functions(set_status: _Call, fill_names: _Call) -> dict[str, _Call]:
    """Return all functions, by the names in `_abi.OPERATIONS`.

    Args:
      set_status: TF_SetStatus.
      fill_names: shim_names of _shim.c.
    """
    on_path = functools.partial(_on_path, set_status)
    names = functools.partial(_names, set_status, fill_names)
    return {
        "new_reader": on_path(_opening(_reading.Reader)),
        "new_writer": on_path(_opening(_writing.Writer)),
        "new_appender": on_path(_opening(_writing.appender)),
        "create_dir": on_path(_filesystem.create_folder),
        "create_dirs": on_path(_filesystem.create_folders),
        "delete_file": on_path(_filesystem.delete_file),
        "delete_dir": on_path(_filesystem.delete_folder),
        "delete_recursively": on_path(_delete_recursively),
        "rename": on_path(lambda one, other: _moving.rename(one, _location(other))),
        "copy": on_path(lambda one, other: _moving.copy(one, _location(other))),
        "exists": on_path(_filesystem.check_exists),
        "stat": on_path(_fill_statistics),
        "is_directory": on_path(_filesystem.check_folder),
        "get_children": names(_filesystem.children),
        "get_matching_paths": names(lambda place: map(str, _filesystem.matching(place))),
        "flush_caches": lambda: None,
        **_of_files(functools.partial(_on_file, set_status)),
    }


def _of_files(on_file: _Call) -> dict[str, _Call]:
    return {
        "read": on_file(_read, 0),
        "close_reader": lambda file: _end(file, "close"),
        "append": on_file(lambda file, data, size: file.append(_bytes_at(data, size))),
        "tell": on_file(lambda file: file.tell(), -1),
        "flush": on_file(lambda file: file.flush()),
        "close": on_file(lambda file: file.close()),
        "drop_writer": lambda file: _end(file, "drop"),
    }


def _on_path(set_status: _Call, function: _Call, default: Any = None) -> _Call:
    def call(path: bytes, *arguments: Any) -> Any:
        try:
            return function(_location(path), *arguments[:-1])
        except BaseException as error:
            _report(set_status, arguments[-1], error, _shown(path))
            return default

    return call


def _on_file(set_status: _Call, function: _Call, default: Any = None) -> _Call:
    def call(file: Any, *arguments: Any) -> Any:
        try:
            return function(_opened(file), *arguments[:-1])
        except EOFError as error:
            set_status(arguments[-1], _errors.OUT_OF_RANGE, b"end of file")
            return error.args[0]
        except BaseException as error:
            _report(set_status, arguments[-1], error)
            return default

    return call


def _names(set_status: _Call, fill_names: _Call, function: _Call) -> _Call:
    def fill(location: _paths.Location, entries: int) -> int:
        found = [os.fsencode(name) for name in function(location)]
        return fill_names(b"".join(name + b"\0" for name in found), len(found), entries)

    return _on_path(set_status, fill, -1)


def drop_all() -> None:
    """End all files that are open, as their owners do not live longer."""
    for number in list(_open_files):
        _drop(number, "drop")


def forget_all() -> None:
    """Forget the files that are open, and do nothing to what they write."""
    _open_files.clear()


def _report(set_status: _Call, status: int, error: BaseException, path: str = "") -> None:
    text = _errors.text_of(error)
    if path and path not in text:
        text = f"{path}: {text}"
    shown = text[:_MOST_OF_TEXT].encode(errors="replace").replace(b"\0", b"?")
    set_status(status, _errors.code_of(error), shown)


def _location(path: bytes) -> _paths.Location:
    return _paths.parse(os.fsdecode(path))


def _shown(path: bytes) -> str:
    try:
        return str(_location(path))
    except _paths.PathError:
        return ""


def _opening(kind: _Call) -> _Call:
    def open_file(location: _paths.Location, file: Any) -> None:
        opened = kind(location)
        number = next(_numbers)
        _open_files[number] = opened
        file[0].id = number

    return open_file


def _opened(file: Any) -> Any:
    try:
        return _open_files[file[0].id]
    except KeyError:
        raise RunError("this file was opened before the process was forked") from None


def _end(file: Any, how: str) -> None:
    _drop(file[0].id, how)


def _drop(number: int, how: str) -> None:
    opened = _open_files.pop(number, None)
    try:
        if how == "drop" and opened is not None and hasattr(opened, "drop"):
            opened.drop()
        elif opened is not None:
            opened.close()
    except BaseException as error:
        # There is no status here, and C must see no exception.
        _writing.log_lost(opened, error)


def _bytes_at(address: int, size: int) -> Any:
    return memoryview((ctypes.c_char * size).from_address(address)) if size else b""


def _read(file: Any, offset: int, size: int, address: int) -> int:
    if not size:
        return 0
    count = file.read_into(offset, _bytes_at(address, size).cast("B"))
    if count < size:
        raise EOFError(count)
    return count


def _fill_statistics(location: _paths.Location, out: Any) -> None:
    found = _filesystem.stat(location)
    out[0].length, out[0].mtime_nsec, out[0].is_directory = found


def _delete_recursively(location: _paths.Location, files: Any, folders: Any) -> None:
    files[0] = _filesystem.delete_all(location)
