"""Modules by the names they had, on packages made for the purpose."""

from __future__ import annotations

import importlib
import sys
import types

import pytest

from mnist_estimator.compat._finder import Finder


@pytest.fixture
def finder(tmp_path, monkeypatch):
    """A finder beside the packages `today_only` and `native`, which are gone after the test."""
    for path, text in {
        "today_only/__init__.py": "",
        "today_only/part/__init__.py": "",
        "today_only/part/leaf.py": "class Leaf: pass\n",
        "native/__init__.py": "",
        "native/there.py": "found = 'the file'\n",
    }.items():
        (tmp_path / path).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / path).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    before = set(sys.modules)
    yield Finder()
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_module_is_the_same_object_by_both_names(finder):
    finder.add_aliases({"native.old": "today_only.part"})
    old = importlib.import_module("native.old")
    new = importlib.import_module("today_only.part")
    assert old is new and sys.modules["native"].old is new
    assert new.__name__ == new.__spec__.name == "today_only.part"


@pytest.mark.parametrize("first", ["native.old.leaf", "today_only.part.leaf"])
def test_modules_below_it_are_loaded_once_whichever_name_comes_first(finder, first):
    finder.add_aliases({"native.old": "today_only.part"})
    importlib.import_module(first)
    old = importlib.import_module("native.old.leaf")
    new = importlib.import_module("today_only.part.leaf")
    assert old is new
    assert old.Leaf.__module__ == "today_only.part.leaf"


def test_the_longest_name_decides(finder):
    finder.add_aliases({"native.old": "today_only", "native.old.thing": "today_only.part.leaf"})
    assert importlib.import_module("native.old.thing").Leaf
    assert importlib.import_module("native.old.part").__name__ == "today_only.part"


def test_a_module_that_is_there_is_never_hidden(finder):
    finder.add_aliases({"native.there": "today_only.part"})
    finder.add_maker(lambda name: types.ModuleType(name))
    assert importlib.import_module("native.there").found == "the file"


@pytest.mark.parametrize("name", ["native.old.no_such", "native.none", "native.there.below"])
def test_a_name_that_leads_nowhere_is_python_s_own_error(finder, name):
    finder.add_aliases({"native.old": "today_only.part", "native.none": "today_only.gone"})
    with pytest.raises(ModuleNotFoundError, match=name.rpartition(".")[2]):
        importlib.import_module(name)


def test_a_module_without_a_successor_is_made_once(finder):
    made = []

    def maker(name):
        return made.append(name) or types.ModuleType(name) if name == "native.gone" else None

    finder.add_maker(maker)
    finder.add_maker(maker)
    module = importlib.import_module("native.gone")
    assert importlib.import_module("native.gone") is module
    assert finder._makers == [maker]
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("native.gone_too")


def test_a_reload_of_a_module_by_its_own_name_works(finder):
    finder.add_aliases({"native.old": "today_only.part"})
    module = importlib.import_module("native.old")
    assert importlib.reload(module) is module
