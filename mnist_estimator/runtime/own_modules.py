"""Finds the modules of the user's own networks, and decides which may be imported.

Importing a module runs its code, and the record of a run may come from somebody else. So a network
that only a record names is imported only if this user has trained it on this machine from the same
file. `train`, whose command line names the network, notes the name and the file outside of all
runs, so that a run from somebody else cannot contain such a note.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import sys
from importlib import machinery

from mnist_estimator import InputError
from mnist_estimator.runtime import local_files

_MOST_BYTES = 2**24


def look_here() -> None:
    """Adds the current folder to the folders where Python looks for modules."""
    if os.getcwd() not in sys.path:  # Programs that are not started by `python -m` lack it.
        sys.path.insert(0, os.getcwd())


def note_trained(name: str) -> None:
    """Notes that the user trains the network `module:function`, and in which file it is.

    If the note cannot be written, the other commands need the network's name as a flag.
    """
    line = _note(name, place(name))
    with contextlib.suppress(OSError):
        path = _notes()
        if line in _noted(path):
            return
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
        with open(os.open(path, flags, 0o600), "w", encoding="ascii") as file:
            file.write(f"{line}\n")


def check_trusted(name: str, model_dir: str) -> None:
    """Raises InputError if a network that only the record of a run names may not be imported.

    Args:
      name: `module:function`.
      model_dir: the folder of the run; a module in it may come from somebody else, too.
    """
    found = place(name)
    if not found:
        why = "whose module is not found here"
    elif _is_below(found, model_dir):
        why = f"whose module {found} lies in the run's own folder"
    elif _note(name, found) not in _noted(_notes()):
        why = f"which you have not trained on this machine from {found}"
    else:
        return
    raise InputError(
        f"{model_dir}: run.json names the network {name}, {why}; to load it runs the code of that "
        f"module: if you trust it, give --model={name}"
    )


def place(name: str) -> str:
    """The absolute path of the file that has `module:function`; "" if there is none.

    Nothing is imported, not even the packages above the module. Links are not followed: a link may
    lie beside an __init__.py that the file it points to does not lie beside.
    """
    look_here()
    first, *rest = name.partition(":")[0].split(".")
    with contextlib.suppress(ImportError, ValueError, OSError):
        spec = importlib.util.find_spec(first)
        inner = _folders(spec, first, sys.path)
        for part in rest:
            # Only its last name: for the full name Python would import the packages above.
            spec = machinery.PathFinder.find_spec(part, inner)
            inner = _folders(spec, part, inner)
        if spec and spec.has_location and spec.origin:
            return os.path.abspath(spec.origin)
    return ""


def _folders(spec: machinery.ModuleSpec | None, name: str, above: list[str]) -> list[str]:
    """The folders with a package's modules; empty if this is no package."""
    if spec is None or spec.submodule_search_locations is None:
        return []
    if spec.origin is None:  # Without an __init__.py all folders of that name are one package.
        return [folder for entry in above if os.path.isdir(folder := os.path.join(entry, name))]
    return list(spec.submodule_search_locations)


def _is_below(path: str, folder: str) -> bool:
    """Whether a file lies in a folder or below, by its name or after following links."""
    return any(
        form(path).startswith(os.path.join(form(folder), ""))
        for form in (os.path.abspath, os.path.realpath)
    )


def _note(name: str, found: str) -> str:
    return json.dumps([name, found])


def _notes() -> str:
    """The path of the notes; "" if the user has no home folder."""
    folder = local_files.user_folder("XDG_STATE_HOME", "~/.local/state")
    return os.path.join(folder, "networks") if folder else ""


def _noted(path: str) -> list[str]:
    """The notes; empty if somebody else could have written them."""
    with contextlib.suppress(OSError, ValueError):
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        with open(os.open(path, flags), encoding="ascii") as file:
            if local_files.is_private(os.fstat(file.fileno())):
                return file.read(_MOST_BYTES).splitlines()
    return []
