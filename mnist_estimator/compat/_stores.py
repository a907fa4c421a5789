"""Object stores for programs that no line was changed of: s3:// and the others of `storage`.

They are there wherever the extra `storage` is installed: to install it is to ask for them. A path
with such a scheme is an error otherwise, so they change nothing for a program that has none.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import importlib.util
import os
import pkgutil
import re

from mnist_estimator import InputError, RunError, storage

_MISSING = re.compile(r"File system scheme '([a-z0-9]+)' not implemented")
_LIBRARY = os.path.join("python", "ops", "libtensorflow_io_plugins.so")


def before_tensorflow() -> None:
    """Has TensorFlow leave gs:// alone where the environment names another server than Google's."""
    if importlib.util.find_spec("tensorflow_io") is None:
        storage.before_tensorflow("gs://")


def offer() -> None:
    """Makes the schemes known to the TensorFlow that is imported, if that can be done."""
    if importlib.util.find_spec("obstore") is None or _tensorflow_io_works():
        return
    with contextlib.suppress(InputError, RunError):  # It matters to a program with such a path.
        storage.install()


def _import_what_comes_late() -> None:
    """Imports what `storage` imports at the first path, when this package's name may be another's.

    See `_programs.give_name_back`. obstore is not imported.
    """
    for module in pkgutil.iter_modules(storage.__path__):
        if module.name.startswith("_") and module.name != "_shim":
            importlib.import_module(f"{storage.__name__}.{module.name}")


def hint(error: BaseException) -> str:
    """What to do about a program's error, in a line; "" if it is not that a scheme is missing."""
    found = _MISSING.search(str(error))
    if not found or found[1] not in storage.SCHEMES:
        return ""
    scheme = f"{found[1]}://"
    if importlib.util.find_spec("obstore") is not None and _tensorflow_io_works():
        return f"{scheme} is left to tensorflow-io, which is installed: import tensorflow_io"
    try:
        storage.install_for(scheme)
    except (InputError, RunError) as reason:
        return str(reason)
    return ""


def _tensorflow_io_works() -> bool:
    """Whether tensorflow-io is installed and its filesystems can be loaded, as up to 2.16.

    Its import fails if one of its schemes is taken, and it has some that `storage` has not.
    """
    found = importlib.util.find_spec("tensorflow_io")
    for folder in (found and found.submodule_search_locations) or ():
        with contextlib.suppress(OSError):  # As "undefined symbol" on later ones.
            ctypes.CDLL(os.path.join(folder, _LIBRARY))
            return True
    return False


if importlib.util.find_spec("obstore") is not None:
    _import_what_comes_late()
