"""Registers the filesystems with TensorFlow, and takes them out of its way when Python ends."""

import atexit
import ctypes
import logging
import os
import threading
import time
from typing import Any

from mnist_estimator import InputError
from mnist_estimator.storage import _abi, _calls, _gs, _memory, _paths, _postponing

_log = logging.getLogger("mnist_estimator.storage")
_lock = threading.Lock()
_served: set[str] = set()
# What C holds pointers to.
_kept: list[Any] = []
# For what files that were left open still publish, and for calls that are still under way.
_LAST_SECONDS, _DRAIN_SECONDS = 30.0, 5.0


def installed() -> frozenset[str]:
    """Return the schemes that this package serves in this process."""
    return frozenset(_served)


def install(*, gs: bool | None = None) -> frozenset[str]:
    """See `storage.install`."""
    with _lock:
        wanted = [name for name in _paths.SCHEMES if name != "gs" or _wants_gs(gs)]
        missing = [name for name in wanted if name not in _served]
        if missing:
            _register(_shim_path(), missing)
        if gs and "gs" not in _served:
            raise InputError(
                "gs:// is TensorFlow's own in this process; to serve it from here, call "
                "storage.install(gs=True) before TensorFlow is imported"
            )
        return installed()


def _wants_gs(gs: bool | None) -> bool:
    return bool(_gs.emulator()) if gs is None else gs


def _shim_path() -> str:
    path = _abi.shim_path()
    if path is None:
        raise InputError(
            "object storage needs a part in C that was not built when mnist_estimator was "
            "installed; install a C compiler, such as gcc, and then: pip install "
            "--force-reinstall --no-deps --no-binary mnist_estimator mnist_estimator"
        )
    return path


def _register(path: str, wanted: list[str]) -> None:
    if "gs" in wanted:
        _gs.reserve()
    import tensorflow as tf

    _gs.end_reserve()
    known = tf.io.gfile.get_registered_schemes()
    new = [name for name in wanted if name not in known]
    theirs = [name for name in wanted if name in known]
    if theirs:
        names = ", ".join(f"{name}://" for name in theirs)
        _log.warning("%s stays with the filesystem that TensorFlow has for it already", names)
    if new:
        shim = _kept[0] if _kept else _open_gate(path, tf)
        names = b"".join(name.encode() + b"\0" for name in new)
        shim.shim_set_schemes(names, len(names))
        tf.experimental.register_filesystem_plugin(path)
        _served.update(new)


def _open_gate(path: str, tf: Any) -> ctypes.CDLL:
    shim = _abi.load_shim(path)
    set_status = _abi.status_setter(os.path.dirname(tf.__file__))
    kinds = dict(_abi.OPERATIONS)
    calls = _calls.functions(set_status, shim.shim_names)
    wrapped = {name: kinds[name](function) for name, function in calls.items()}
    address = ctypes.cast(set_status, ctypes.c_void_p).value
    table = _abi.Operations(set_status=address, **wrapped)
    _kept.extend([shim, set_status, wrapped, table])
    # It may be called without the interpreter's lock, as the part in C does.
    again = ctypes.cast(ctypes.pythonapi.PyErr_SetInterruptEx, ctypes.c_void_p)
    shim.shim_open(table, again)
    _postponing.use(shim)
    atexit.register(_close_gate, shim)
    os.register_at_fork(after_in_child=lambda: _forget_parent(shim))
    return shim


def _close_gate(shim: ctypes.CDLL) -> None:
    """Let no call of TensorFlow's into Python any more: its threads and destructors live longer."""
    closing = threading.Thread(target=_calls.drop_all, daemon=True, name="storage-end")
    try:
        closing.start()
        closing.join(_LAST_SECONDS)
    except RuntimeError:
        # Python 3.12 starts no thread any more.
        _calls.drop_all()
    deadline = time.monotonic() + _DRAIN_SECONDS
    while shim.shim_close() > 0 and time.monotonic() < deadline:
        time.sleep(0.01)


def _forget_parent(shim: ctypes.CDLL) -> None:
    """In a forked process: what the parent has open is the parent's to finish."""
    shim.shim_forget_calls()
    _calls.forget_all()
    _memory.forget_all()
