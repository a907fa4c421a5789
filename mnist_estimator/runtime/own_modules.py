"""Modules that the user's own networks are in: where they lie, and which may be imported.

To import a module is to run its code, and the record of a run may come from somebody else. So a
network that only a record names is imported only if this user has trained it on this machine, from
the same file: `train`, whose command line names the network, notes both in a file outside of all
runs. What is handed over cannot bring such a note with it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import stat
import sys
from importlib import machinery

from mnist_estimator import InputError

_MOST_BYTES = 2**24


def look_here() -> None:
    """Has Python look for modules in the current folder, too."""
    if os.getcwd() not in sys.path:  # Programs that are not started by `python -m` lack it.
        sys.path.insert(0, os.getcwd())


def note_trained(name: str) -> None:
    """Notes that the user trains the network `module:function` from the file that it now is in.

    Where no note can be kept, the other commands have to be given the network's name.
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
    """Raises InputError unless a network that only the record of a run names may be imported.

    Args:
      name: as `module:function`.
      model_dir: the run's. What lies in it may have come with the record.
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
    """The file that Python would import `module:function` from, absolute; "" if there is none.

    Nothing is imported, no package above the module either. Links are not followed: beside one to
    a file there may be an __init__.py that is not beside the file.
    """
    look_here()
    first, *rest = name.partition(":")[0].split(".")
    with contextlib.suppress(ImportError, ValueError, OSError):
        spec = importlib.util.find_spec(first)
        inner = _folders(spec, first, sys.path)
        for part in rest:
            # By its last name alone: for the whole one Python wants the packages above imported.
            spec = machinery.PathFinder.find_spec(part, inner)
            inner = _folders(spec, part, inner)
        if spec and spec.has_location and spec.origin:
            return os.path.abspath(spec.origin)
    return ""


def _folders(spec: machinery.ModuleSpec | None, name: str, above: list[str]) -> list[str]:
    """Where the modules in a package lie; nowhere if it is none."""
    if spec is None or spec.submodule_search_locations is None:
        return []
    if spec.origin is None:  # A folder without an __init__.py: all of that name are one package.
        return [folder for entry in above if os.path.isdir(folder := os.path.join(entry, name))]
    return list(spec.submodule_search_locations)


def _is_below(path: str, folder: str) -> bool:
    """Whether a file lies in a folder or below, by its name or where links lead."""
    return any(
        form(path).startswith(os.path.join(form(folder), ""))
        for form in (os.path.abspath, os.path.realpath)
    )


def _note(name: str, found: str) -> str:
    return json.dumps([name, found])


def _notes() -> str:
    """The file with the notes; "" where the user has no folder of their own."""
    folder = os.environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(folder):
        folder = os.path.expanduser("~/.local/state")
    return os.path.join(folder, "mnist_estimator", "networks") if os.path.isabs(folder) else ""


def _noted(path: str) -> list[str]:
    """The notes; none if anybody else could have written them."""
    with contextlib.suppress(OSError, ValueError):
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        with open(os.open(path, flags), encoding="ascii") as file:
            if _is_private(os.fstat(file.fileno())):
                return file.read(_MOST_BYTES).splitlines()
    return []


def _is_private(found: os.stat_result) -> bool:
    writable = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and not writable
