"""gs://, which TensorFlow serves itself unless it is told before its import to leave it alone."""

import os
import sys
import types
from urllib.parse import urlsplit

# Where this is set, TensorFlow registers no filesystem for gs://, and imports this module instead
# (tensorflow/core/platform/env.h, tensorflow/__init__.py, in 2.15 to 2.21).
_VARIABLE, _MODULE = "TF_USE_MODULAR_FILESYSTEM", "tensorflow_io_gcs_filesystem"
_stand_in = types.ModuleType(_MODULE)


def emulator() -> str:
    """Return the URL of the server in Google's place, "" where the environment names none."""
    found = os.environ.get("STORAGE_EMULATOR_HOST") or os.environ.get("GOOGLE_BASE_URL") or ""
    # Google's own clients take host:port too.
    return found if not found or urlsplit(found).netloc else f"http://{found}"


def reserve() -> None:
    """Keep TensorFlow from serving gs:// when it is imported; without effect once it has been."""
    if "tensorflow" not in sys.modules and _VARIABLE not in os.environ:
        os.environ[_VARIABLE] = "1"
        sys.modules.setdefault(_MODULE, _stand_in)


def end_reserve() -> None:
    """Undo `reserve` after the import: a program that this one starts has no stand-in."""
    if sys.modules.get(_MODULE) is _stand_in:
        del sys.modules[_MODULE]
        os.environ.pop(_VARIABLE, None)
