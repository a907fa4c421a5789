"""The part in C, and the types of the functions that it calls.

It stands between these and TensorFlow's filesystem_interface.h
(tensorflow/c/experimental/filesystem/, ABI 0 in TensorFlow 2.15 to 2.21); see _shim.c.
"""

import ctypes
import pathlib
from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    c_bool,
    c_char_p,
    c_int,
    c_int64,
    c_size_t,
    c_uint64,
    c_void_p,
)
from typing import Any

from mnist_estimator import InputError


class File(Structure):
    """TF_RandomAccessFile and TF_WritableFile: a number that stands for an open file."""

    _fields_ = (("id", c_void_p),)


class Statistics(Structure):
    """TF_FileStatistics."""

    _fields_ = (("length", c_int64), ("mtime_nsec", c_int64), ("is_directory", c_bool))


_PATH, _STATUS, _FILE = c_char_p, c_void_p, POINTER(File)
_NAMES = c_void_p  # char ***
_ON_PATH = CFUNCTYPE(None, _PATH, _STATUS)
_ON_TWO_PATHS = CFUNCTYPE(None, _PATH, _PATH, _STATUS)
_OPEN = CFUNCTYPE(None, _PATH, _FILE, _STATUS)
_LIST = CFUNCTYPE(c_int, _PATH, _NAMES, _STATUS)
_ON_FILE = CFUNCTYPE(None, _FILE, _STATUS)
_END = CFUNCTYPE(None, _FILE)

# In the order of `Operations` in _shim.c.
OPERATIONS: tuple[tuple[str, Any], ...] = (
    ("set_status", c_void_p),
    ("new_reader", _OPEN),
    ("new_writer", _OPEN),
    ("new_appender", _OPEN),
    ("create_dir", _ON_PATH),
    ("create_dirs", _ON_PATH),
    ("delete_file", _ON_PATH),
    ("delete_dir", _ON_PATH),
    (
        "delete_recursively",
        CFUNCTYPE(None, _PATH, POINTER(c_uint64), POINTER(c_uint64), _STATUS),
    ),
    ("rename", _ON_TWO_PATHS),
    ("copy", _ON_TWO_PATHS),
    ("exists", _ON_PATH),
    ("stat", CFUNCTYPE(None, _PATH, POINTER(Statistics), _STATUS)),
    ("is_directory", _ON_PATH),
    ("get_children", _LIST),
    ("get_matching_paths", _LIST),
    ("flush_caches", CFUNCTYPE(None)),
    ("read", CFUNCTYPE(c_int64, _FILE, c_uint64, c_size_t, c_void_p, _STATUS)),
    ("close_reader", _END),
    ("append", CFUNCTYPE(None, _FILE, c_void_p, c_size_t, _STATUS)),
    ("tell", CFUNCTYPE(c_int64, _FILE, _STATUS)),
    ("flush", _ON_FILE),
    ("close", _ON_FILE),
    ("drop_writer", _END),
)


class Operations(Structure):
    """What _shim.c calls."""

    _fields_ = OPERATIONS


def shim_path() -> str | None:
    """Return the path of the part in C, or None where it was not built."""
    # The name says for which Python a part in C is; this one is for any.
    found = sorted(pathlib.Path(__file__).parent.glob("_shim.*so"))
    return str(found[0]) if found else None


def load_shim(path: str) -> ctypes.CDLL:
    """Load the part in C."""
    shim = ctypes.CDLL(path)
    shim.shim_set_schemes.argtypes = [c_char_p, c_size_t]
    shim.shim_open.argtypes = [POINTER(Operations), c_void_p]
    shim.shim_open.restype = None
    shim.shim_forget_calls.restype = None
    shim.shim_names.argtypes = [c_char_p, c_int, c_void_p]
    return shim


def status_setter(tensorflow_folder: str) -> Any:
    """Return TF_SetStatus of the TensorFlow in a folder.

    Raises:
      InputError: its library is not there.
    """
    names = ("libtensorflow_framework.so.2", "libtensorflow_framework.2.dylib")
    paths = [pathlib.Path(tensorflow_folder, name) for name in names]
    for path in paths:
        if path.exists():
            setter = ctypes.CDLL(str(path)).TF_SetStatus
            setter.argtypes, setter.restype = [c_void_p, c_int, c_char_p], None
            return setter
    raise InputError(f"{tensorflow_folder} has no {names[0]}, which object storage needs")
