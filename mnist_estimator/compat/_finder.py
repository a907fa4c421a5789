"""Finds modules by the names they had: the same module object by the old name and the new one."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Callable, Sequence

# A function that makes the module of a name, or returns None for a name that it does not know.
Maker = Callable[[str], types.ModuleType | None]


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds modules that nothing else finds: it is the last on `sys.meta_path`.

    So a module that exists is never hidden, and a program that uses none of the old names runs as
    without this finder.
    """

    def __init__(self) -> None:
        self._aliases: dict[str, str] = {}
        self._makers: list[Maker] = []
        self._own_specs: dict[str, importlib.machinery.ModuleSpec | None] = {}
        self._below = _Below(self)

    def add_aliases(self, aliases: dict[str, str]) -> None:
        """Adds old names with the names of today. The modules below an old name are found too."""
        self._aliases.update(aliases)
        self._take_places()

    def add_maker(self, maker: Maker) -> None:
        """Adds a function that makes modules which have no successor."""
        if maker not in self._makers:
            self._makers.append(maker)
        self._take_places()

    def _take_places(self) -> None:
        for finder in (self, self._below):
            if finder in sys.meta_path:
                sys.meta_path.remove(finder)
        sys.meta_path.append(self)
        sys.meta_path.insert(0, self._below)

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        spec = self.find_alias(fullname)
        if spec is None and any(maker(fullname) is not None for maker in self._makers):
            spec = importlib.machinery.ModuleSpec(fullname, self)
        return spec

    def find_alias(self, name: str) -> importlib.machinery.ModuleSpec | None:
        """The spec of a module that has another name today; None if it has not."""
        real = self._real_name(name)
        if not real or not _exists(real):
            return None
        return importlib.machinery.ModuleSpec(name, self, origin=real, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        if spec.origin:
            module = importlib.import_module(spec.origin)
            self._own_specs[spec.name] = module.__spec__
            return module
        (made, *_) = filter(None, (maker(spec.name) for maker in self._makers))
        return made

    def exec_module(self, module: types.ModuleType) -> None:
        """Gives a module that has been executed its own spec back, which Python has replaced."""
        assert module.__spec__ is not None
        own = self._own_specs.pop(module.__spec__.name, None)
        if own:
            module.__spec__ = own

    def _real_name(self, name: str) -> str:
        """The name of today, by the longest old name that it begins with; "" if there is none."""
        old, rest = name, ""
        while old not in self._aliases:
            old, dot, last = old.rpartition(".")
            if not dot:
                return ""
            rest = f".{last}{rest}"
        return self._aliases[old] + rest


class _Below(importlib.abc.MetaPathFinder):
    """Finds the modules below a package that has another name today. It is the first.

    Python would find their files in the package's folder, and load them a second time.
    """

    def __init__(self, finder: Finder) -> None:
        self._finder = finder

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        parent = fullname.rpartition(".")[0]
        if parent not in sys.modules or sys.modules[parent].__name__ == parent:
            return None
        return self._finder.find_alias(fullname)


def _exists(name: str) -> bool:
    if name in sys.modules:
        return True
    try:
        return importlib.util.find_spec(name) is not None
    except (ModuleNotFoundError, ValueError):  # Its parent is no package, or there is none.
        return False


finder = Finder()  # One in a process.
